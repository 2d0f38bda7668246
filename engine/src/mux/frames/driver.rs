//! Moving a connection's bytes: from the socket into its streams' slots, and what those have to send back to it.

use super::codec::Decoder;
use super::link::Link;
use super::stream::Key;
use crate::net::{ByteStream, Outbox};
use std::rc::Rc;
use std::task::Poll;

/// Bytes unsent above which no DATA is added, and above which not even what comes is read: a peer that asks and does not
/// listen is not served.
const DATA_LIMIT: usize = 64 * 1024;
const READ_LIMIT: usize = 1024 * 1024;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    pub by_peer: bool,
    /// It sent what are no frames.
    pub is_violation: bool,
}

/// One end of a connection, in the task that drives it.
pub struct Driver {
    link: Rc<Link>,
    decoder: Decoder,
    batch: Outbox,
}

impl Driver {
    pub fn new(link: &Rc<Link>) -> Self {
        Self { link: link.clone(), decoder: Decoder::default(), batch: Outbox::default() }
    }

    /// Move what there is in both directions; `begin` gets each stream that begins. Ready when the connection is over.
    pub fn poll(&mut self, wire: &ByteStream, mut begin: impl FnMut(Key)) -> Poll<Over> {
        self.link.driven();
        loop {
            self.write(wire);
            if wire.poll_flushed(READ_LIMIT).is_pending() {
                return Poll::Pending;
            }
            match wire.poll_recv() {
                Poll::Pending => break,
                Poll::Ready(Ok(Some(mut buf))) => {
                    self.link.note_received(buf.len());
                    loop {
                        let event = match self.decoder.next(&mut buf) {
                            Ok(None) => break,
                            Ok(Some(event)) => self.link.receive(event),
                            Err(error) => Err(error),
                        };
                        match event {
                            Ok(begun) => begun.into_iter().for_each(&mut begin),
                            Err(_) => return Poll::Ready(Over { by_peer: false, is_violation: true }),
                        }
                    }
                }
                Poll::Ready(_) => return Poll::Ready(Over { by_peer: true, is_violation: false }),
            }
        }
        self.write(wire);
        if wire.is_broken() { Poll::Ready(Over { by_peer: true, is_violation: false }) } else { Poll::Pending }
    }

    /// One batch, or as many as the socket takes at once.
    fn write(&mut self, wire: &ByteStream) {
        loop {
            let takes_data = wire.poll_flushed(DATA_LIMIT).is_ready();
            self.link.write(&mut self.batch, wire, takes_data);
            if self.batch.is_empty() {
                return;
            }
            self.batch.flush(wire);
            if !takes_data || !self.link.has_data() {
                return;
            }
        }
    }
}
