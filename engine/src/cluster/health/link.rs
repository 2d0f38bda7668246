//! The connection for one endpoint's checks.

use super::Missed;
use crate::mux::h2::{Asked, Driver, Link as Streams, Role};
use crate::mux::{Limits, Upstream, h1};
use crate::net::{ByteStream, Network, tls};
use crate::ring::{Buf, Reactor, Segment, TaskId};
use crate::stats::Http2Stats;
use ringway_config::model::{Address, Http2Options, UpstreamProtocol};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

pub(super) struct Link {
    pub reactor: Rc<Reactor>,
    network: Network,
    addresses: Rc<[Address]>,
    /// What carries the checks, if not plain bytes.
    tls: Option<Rc<tls::Connector>>,
    protocol: UpstreamProtocol,
    http2: Http2Options,
    line: Line,
    /// A check has been made on it before.
    used: bool,
    /// The bytes that came for a check of bytes.
    pub received: Vec<u8>,
}

/// What checks speak on.
enum Line {
    None,
    /// Bytes.
    Plain(ByteStream),
    /// Messages.
    Http(Upstream),
    /// The same on streams.
    Http2(Http2Line),
}

impl Link {
    pub fn new(
        reactor: &Rc<Reactor>,
        network: &Network,
        addresses: Rc<[Address]>,
        tls: Option<Rc<tls::Connector>>,
        (protocol, http2): (UpstreamProtocol, Http2Options),
    ) -> Self {
        let (reactor, network) = (reactor.clone(), network.clone());
        let (line, used, received) = (Line::None, false, Vec::new());
        Self { reactor, network, addresses, tls, protocol, http2, line, used, received }
    }

    /// Connects to `addresses` from now on and returns whether the first one is another. A connection to the old one says
    /// nothing about the new one.
    pub fn aim(&mut self, addresses: Rc<[Address]>) -> bool {
        let before = std::mem::replace(&mut self.addresses, addresses);
        let has_moved = before.first() != self.addresses.first();
        if has_moved {
            self.close();
        }
        has_moved
    }

    pub fn close(&mut self) {
        self.line = Line::None;
    }

    /// Closes the connection if the other end has closed it or has sent something unasked.
    pub fn sweep(&mut self) {
        let is_over = match &mut self.line {
            Line::None => false,
            Line::Plain(stream) => stream.has_received(),
            Line::Http(wire) => wire.poll_idle().is_ready(),
            Line::Http2(line) => !line.streams.has_room(0),
        };
        if is_over {
            self.close();
        }
    }

    /// # Errors
    /// `Failure::Network` or `Failure::Local`.
    async fn connect(&self) -> Result<ByteStream, Missed> {
        let missed = |error| Missed::io("connect", &error);
        let (stream, index) = self.network.connect_any(&self.reactor, &self.addresses).await.map_err(missed)?;
        let Some(connector) = &self.tls else { return Ok(stream) };
        let secured = tls::connect(stream, connector, &self.addresses[index], &self.reactor).await;
        secured.map_err(|failure| Missed::tls(&failure))
    }

    /// Connect for an exchange of bytes, unless the connection of the check before is still there.
    ///
    /// # Errors
    /// `Failure::Network` or `Failure::Local`.
    pub async fn open(&mut self) -> Result<(), Missed> {
        self.sweep();
        self.used = matches!(self.line, Line::Plain(_));
        if !self.used {
            self.line = Line::Plain(self.connect().await?);
        }
        Ok(())
    }

    /// The same for a request: the wire to send it on.
    ///
    /// # Errors
    /// `Failure::Network` or `Failure::Local`.
    pub async fn open_http(&mut self) -> Result<&mut Upstream, Missed> {
        self.sweep();
        self.used = matches!(self.line, Line::Http(_) | Line::Http2(_));
        if !self.used {
            let stream = self.connect().await?;
            let is_http2 = match self.protocol {
                UpstreamProtocol::Http1 => false,
                UpstreamProtocol::Http2 => true,
                UpstreamProtocol::Auto => stream.agrees_on_http2(),
            };
            self.line = match is_http2 {
                false => Line::Http(Upstream::H1(h1::Asked::new(stream, &self.reactor))),
                true => Line::Http2(Http2Line::new(stream, &self.reactor, &self.http2)),
            };
        }
        match &mut self.line {
            Line::Http(wire) => Ok(wire),
            Line::Http2(line) => Ok(line.next()),
            Line::None | Line::Plain(_) => Err(Missed::closed()),
        }
    }

    /// Whether another check was on it before: its other end may have closed it at any moment since.
    pub fn is_reused(&self) -> bool {
        self.used
    }

    pub fn send(&self, bytes: &[u8]) {
        if let Line::Plain(stream) = &self.line {
            let mut owned = self.reactor.take_vec();
            owned.extend_from_slice(bytes);
            stream.send_one(Segment::Owned(owned));
        }
    }

    /// Waits until the kernel has everything.
    ///
    /// # Errors
    /// `Failure::Network`.
    pub async fn flush(&self) -> Result<(), Missed> {
        match &self.line {
            Line::Plain(stream) => {
                poll_fn(|_| stream.poll_flushed(0)).await.map_err(|error| Missed::io("send", &error))
            }
            Line::None | Line::Http(_) | Line::Http2(_) => Err(Missed::closed()),
        }
    }

    /// The next bytes; `None` at the end of the connection.
    ///
    /// # Errors
    /// `Failure::Network`.
    pub async fn receive(&self) -> Result<Option<Buf>, Missed> {
        match &self.line {
            Line::Plain(stream) => {
                let received = poll_fn(|_| stream.poll_recv()).await;
                received.map_err(|error| match stream.tls_failure() {
                    Some(failure) => Missed::tls(&failure),
                    None => Missed::io("receive", &error),
                })
            }
            Line::None | Line::Http(_) | Line::Http2(_) => Err(Missed::closed()),
        }
    }

    /// Why TLS ended the connection, where it did.
    pub fn tls_failure(&self) -> Option<tls::Failure> {
        match &self.line {
            Line::None => None,
            Line::Plain(stream) => stream.tls_failure(),
            Line::Http(wire) => wire.tls_failure(),
            Line::Http2(line) => line.wire.tls_failure(),
        }
    }

    /// Keeps the connection for the next check. It stays armed, so that its end is noticed.
    pub fn keep(&mut self) {
        let is_over = match &mut self.line {
            Line::None => true,
            Line::Plain(stream) => stream.unsent() > 0 || !matches!(stream.poll_recv(), Poll::Pending),
            Line::Http(wire) => !wire.is_reusable() || wire.poll_idle().is_ready(),
            Line::Http2(line) => !line.streams.has_room(0),
        };
        if is_over {
            self.close();
        }
    }
}

/// A connection of HTTP/2, driven by a task of its own; each check has a stream.
struct Http2Line {
    reactor: Rc<Reactor>,
    streams: Rc<Streams>,
    is_secure: bool,
    driver: TaskId,
    wire: Upstream,
}

impl Http2Line {
    fn new(stream: ByteStream, reactor: &Rc<Reactor>, options: &Http2Options) -> Self {
        let is_secure = stream.tls().is_some();
        let stats = Http2Stats::Uncounted(Arc::default());
        let streams = Streams::new(reactor, Role::Client, options, &Limits::default(), stats);
        let driver = reactor.spawn(drive(Driven { streams: streams.clone(), stream }));
        let wire = Upstream::H2(Asked::new(&streams, is_secure));
        Self { reactor: reactor.clone(), streams, is_secure, driver, wire }
    }

    /// A stream for the next check.
    fn next(&mut self) -> &mut Upstream {
        self.wire = Upstream::H2(Asked::new(&self.streams, self.is_secure));
        &mut self.wire
    }
}

impl Drop for Http2Line {
    fn drop(&mut self) {
        self.reactor.cancel(self.driver);
    }
}

/// What the driving task holds. Dropped, the connection is over.
struct Driven {
    streams: Rc<Streams>,
    stream: ByteStream,
}

impl Drop for Driven {
    fn drop(&mut self) {
        self.streams.close();
    }
}

async fn drive(driven: Driven) {
    let mut driver = Driver::new(&driven.streams, None);
    poll_fn(|_| driver.poll(&driven.stream, |_| {})).await;
}
