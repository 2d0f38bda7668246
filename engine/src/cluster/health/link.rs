//! The connection for one endpoint's checks.

use super::Failure;
use crate::net::{ByteStream, Network};
use crate::ring::{Buf, Reactor, Segment};
use ringway_config::model::Address;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

pub(super) struct Link {
    pub reactor: Rc<Reactor>,
    network: Network,
    address: Address,
    stream: Option<ByteStream>,
    /// Whether an earlier check used it.
    used: bool,
}

impl Link {
    pub fn new(reactor: &Rc<Reactor>, network: &Network, address: Address) -> Self {
        Self { reactor: reactor.clone(), network: network.clone(), address, stream: None, used: false }
    }

    /// Connects to `address` from now on and returns whether that is another address. A connection to the old address says
    /// nothing about the new one.
    pub fn aim(&mut self, address: Address) -> bool {
        let has_moved = address != self.address;
        if has_moved {
            self.address = address;
            self.close();
        }
        has_moved
    }

    pub fn close(&mut self) {
        self.stream = None;
    }

    /// Closes the connection if the other end has closed it or has sent something unasked.
    pub fn sweep(&mut self) {
        if self.stream.as_ref().is_some_and(ByteStream::has_received) {
            self.close();
        }
    }

    /// Connects, unless the last check's connection is still open.
    ///
    /// # Errors
    /// `Failure::Network`.
    pub async fn open(&mut self) -> Result<(), Failure> {
        self.sweep();
        self.used = self.stream.is_some();
        if self.used {
            return Ok(());
        }
        let stream = self.network.connect(&self.reactor, &self.address).map_err(|_| Failure::Network)?;
        poll_fn(|_| stream.poll_connected()).await.map_err(|_| Failure::Network)?;
        self.stream = Some(stream);
        Ok(())
    }

    /// Whether an earlier check used the connection: the other end may have closed it at any time since.
    pub fn is_reused(&self) -> bool {
        self.used
    }

    pub fn send(&self, bytes: &[u8]) {
        if let Some(stream) = &self.stream {
            let mut owned = self.reactor.take_vec();
            owned.extend_from_slice(bytes);
            stream.send_one(Segment::Owned(owned));
        }
    }

    /// Waits until the kernel has everything.
    ///
    /// # Errors
    /// `Failure::Network`.
    pub async fn flush(&self) -> Result<(), Failure> {
        match &self.stream {
            Some(stream) => poll_fn(|_| stream.poll_flushed(0)).await.map_err(|_| Failure::Network),
            None => Err(Failure::Network),
        }
    }

    /// The next bytes; `None` at the end of the connection.
    ///
    /// # Errors
    /// `Failure::Network`.
    pub async fn receive(&self) -> Result<Option<Buf>, Failure> {
        match &self.stream {
            Some(stream) => poll_fn(|_| stream.poll_recv()).await.map_err(|_| Failure::Network),
            None => Err(Failure::Network),
        }
    }

    /// Keeps the connection for the next check. It stays armed, so that its end is noticed.
    pub fn keep(&mut self) {
        let ended = self
            .stream
            .as_ref()
            .is_none_or(|stream| stream.unsent() > 0 || !matches!(stream.poll_recv(), Poll::Pending));
        if ended {
            self.close();
        }
    }
}
