//! Moving a connection's bytes: from the socket into its streams' slots, and what those have to send back to it.

use super::link::{Link, Role};
use super::stream::Key;
use crate::codec::h2::frame::PREFACE;
use crate::codec::h2::{Code, Decoder, Error};
use crate::net::{ByteStream, Outbox};
use crate::ring::Buf;
use std::io;
use std::rc::Rc;
use std::task::Poll;

/// Bytes unsent above which no DATA is added, and above which not even what comes is read: a peer that asks and does not
/// listen is not served.
const DATA_LIMIT: usize = 128 * 1024;
const READ_LIMIT: usize = 1024 * 1024;

/// Receives in one turn at most, so that other connections have theirs.
const RECEIVES: usize = 12;

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Over {
    pub by_peer: bool,
    /// The rule that the peer broke.
    pub error: Option<Error>,
}

/// One end of a connection, in the task that drives it.
pub struct Driver {
    link: Rc<Link>,
    decoder: Decoder,
    batch: Outbox,
    /// What came before this was made.
    first: Option<Buf>,
    /// Bytes of the preface that have come, on a server.
    preface: usize,
}

impl Driver {
    /// `first`: what has already come.
    pub fn new(link: &Rc<Link>, first: Option<Buf>) -> Self {
        let preface = if link.role == Role::Server { 0 } else { PREFACE.len() };
        // Compressed, a block is at most about as long as what it holds; one that is a little too long gets its answer.
        let block_max = link.limits.head_bytes as usize * 2;
        Self { link: link.clone(), decoder: Decoder::new(block_max), batch: Outbox::default(), first, preface }
    }

    /// Move what there is in both directions; `begin` gets each stream that begins. Ready when the connection is over.
    pub fn poll(&mut self, wire: &ByteStream, mut begin: impl FnMut(Key)) -> Poll<Over> {
        self.link.driven();
        if let Some(first) = self.first.take()
            && let Err(error) = self.take(first, &mut begin)
        {
            return self.fail(wire, error);
        }
        // Once all has been taken that came, everything that there is to say goes out together.
        let mut receives = 0;
        while !self.link.has_left() && wire.poll_flushed(READ_LIMIT).is_ready() {
            match wire.poll_recv() {
                Poll::Pending => break,
                Poll::Ready(Ok(Some(buf))) => {
                    if let Err(error) = self.take(buf, &mut begin) {
                        return self.fail(wire, error);
                    }
                    receives += 1;
                    if receives == RECEIVES {
                        self.link.flush();
                        break;
                    }
                }
                Poll::Ready(end) if has_said_all(&end) && self.goes_on_half_closed(wire) => {}
                Poll::Ready(_) => return self.ended(wire),
            }
        }
        if let Some(error) = self.link.failure.take() {
            return self.fail(wire, error);
        }
        self.write(wire);
        // What an endpoint said before it broke the connection still counts, and is read in the next turn.
        let is_broken = wire.is_broken() && !(self.link.role == Role::Client && wire.has_received_bytes());
        let is_over = is_broken || self.link.has_left() && self.link.is_quiet();
        if is_over { self.ended(wire) } else { Poll::Pending }
    }

    /// The peer has closed its side. A client is owed answers to what it has asked for by then; an endpoint that says nothing
    /// more is of no use.
    fn goes_on_half_closed(&self, wire: &ByteStream) -> bool {
        let goes_on = self.link.role == Role::Server && !wire.is_broken() && self.link.hear_no_more();
        if goes_on {
            // Nothing is received any more that would tell that the client is gone.
            wire.watch_end();
        }
        goes_on
    }

    fn ended(&self, wire: &ByteStream) -> Poll<Over> {
        self.link.tls_failure.replace(wire.tls_failure());
        Poll::Ready(Over { by_peer: true, error: None })
    }

    fn fail(&mut self, wire: &ByteStream, error: Error) -> Poll<Over> {
        self.link.fail(&error);
        self.link.write(&mut self.batch, wire, false);
        self.batch.flush(wire);
        Poll::Ready(Over { by_peer: false, error: Some(error) })
    }

    /// Take what came, to its end.
    fn take(&mut self, mut buf: Buf, begin: &mut impl FnMut(Key)) -> Result<(), Error> {
        self.link.note_received(buf.len());
        if self.preface < PREFACE.len() {
            let now = (PREFACE.len() - self.preface).min(buf.len());
            if buf[..now] != PREFACE[self.preface..self.preface + now] {
                return Err(Error::connection(Code::PROTOCOL_ERROR, "the connection does not begin as it should"));
            }
            self.preface += now;
            buf.advance(now);
        }
        // A frame of which nothing follows its header is whole without another byte.
        loop {
            let (used, event) = self.decoder.next(&buf)?;
            let Some(event) = event else { break };
            if let Some(key) = self.link.receive(&event, &self.decoder, &buf)? {
                begin(key);
            }
            buf.advance(used);
            if buf.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Whether the peer is within a frame, or has not said what it begins with.
    pub fn is_within(&self) -> bool {
        self.preface < PREFACE.len() || self.decoder.is_within()
    }

    /// No exchange is under way: memory that frames were gathered in goes back.
    pub fn shrink(&mut self) {
        self.decoder.shrink();
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

/// Whether the peer has closed its side, though it may still listen. With TLS it may not have said so: whole requests are not
/// cut off by that.
fn has_said_all(end: &io::Result<Option<Buf>>) -> bool {
    match end {
        Ok(end) => end.is_none(),
        Err(error) => error.kind() == io::ErrorKind::UnexpectedEof,
    }
}
