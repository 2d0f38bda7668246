//! One client connection: its socket, what is left to send on it, and the wire that it speaks.
use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, TcpStream};

use rustls::HandshakeKind;
use socket2::{Domain, Protocol, Socket, Type};

use super::calls::Calls;
use super::flight::{Answer, Flight};
use super::h1::Http1;
use super::h2::Http2;
use super::spec::{Prepared, Spec, Wire};
use super::transport::{Received, Transport};
use crate::http::Malformed;
use crate::tls;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    Closed,
    Connecting,
    Open,
}

pub struct Connection {
    pub target: SocketAddr,
    pub link: Link,
    /// Counts the sockets this slot has had, so that an event for an earlier one is told apart.
    pub generation: u32,
    /// Whether epoll also reports room to write.
    pub watches_room: bool,
    /// The last answer said that the connection ends with it.
    pub last_answer: bool,
    transport: Option<Transport>,
    tls: Option<tls::Client>,
    speaks: Speaks,
    out: Vec<u8>,
    out_sent: usize,
    next_request: u32,
    requests: u32,
}

/// The wire, with what is in flight on it.
enum Speaks {
    Http1(Http1),
    Http2(Box<Http2>),
    /// HTTP/2 with calls of gRPC that last.
    Calls(Box<Calls>),
}

impl Connection {
    /// Connection `number` of the run.
    pub fn new(spec: &Spec, number: usize) -> Connection {
        let target = spec.targets[number % spec.targets.len()];
        let connection = Connection::to(target, spec.wire, spec.tls.clone());
        let requests = spec.requests.len();
        let connection = match spec.requests.iter().any(|request| request.messages > 0) {
            true => Connection { speaks: Speaks::Calls(Box::default()), ..connection },
            false => connection,
        };
        Connection { next_request: (number % requests) as u32, requests: requests as u32, ..connection }
    }

    /// A connection that sends one request over and over.
    pub fn to(target: SocketAddr, wire: Wire, tls: Option<tls::Client>) -> Connection {
        Connection {
            target,
            link: Link::Closed,
            generation: 0,
            watches_room: false,
            last_answer: false,
            transport: None,
            tls,
            speaks: match wire {
                Wire::Http1 => Speaks::Http1(Http1::default()),
                Wire::Http2 => Speaks::Http2(Box::default()),
            },
            out: Vec::new(),
            out_sent: 0,
            next_request: 0,
            requests: 1,
        }
    }

    pub fn in_flight(&self) -> usize {
        match &self.speaks {
            Speaks::Http1(h1) => h1.flights.len(),
            Speaks::Http2(h2) => h2.in_flight(),
            Speaks::Calls(calls) => calls.in_flight(),
        }
    }

    /// Whether the other side takes another request in addition to those in flight.
    pub fn takes_more(&self) -> bool {
        match &self.speaks {
            Speaks::Http1(_) => true,
            Speaks::Http2(h2) => h2.takes_more(),
            Speaks::Calls(calls) => calls.takes_more(),
        }
    }

    /// The oldest exchange in flight.
    pub fn front(&self) -> Option<&Flight> {
        match &self.speaks {
            Speaks::Http1(h1) => h1.flights.front(),
            Speaks::Http2(h2) => h2.front(),
            Speaks::Calls(calls) => calls.front(),
        }
    }

    pub fn take_flights(&mut self) -> VecDeque<Flight> {
        match &mut self.speaks {
            Speaks::Http1(h1) => std::mem::take(&mut h1.flights),
            Speaks::Http2(h2) => h2.take_flights(),
            Speaks::Calls(calls) => calls.take_flights(),
        }
    }

    /// Starts to connect. The kernel often completes this at once on loopback, and the link is then open.
    pub fn connect(&mut self) -> io::Result<&TcpStream> {
        let socket = Socket::new(Domain::for_address(self.target), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
        socket.set_tcp_nodelay(true)?;
        self.link = match socket.connect(&self.target.into()) {
            Ok(()) => Link::Open,
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {
                Link::Connecting
            }
            Err(error) => return Err(error),
        };
        self.generation = self.generation.wrapping_add(1);
        self.last_answer = false;
        let session = self.tls.as_ref().map(tls::Client::session).transpose()?;
        Ok(self.transport.insert(Transport::new(socket.into(), session)).stream())
    }

    /// The error of a connect that has ended, if it failed.
    pub fn connect_error(&self) -> Option<io::Error> {
        match self.stream().map(TcpStream::take_error) {
            Some(Ok(error)) => error,
            Some(Err(error)) => Some(error),
            None => Some(io::ErrorKind::NotConnected.into()),
        }
    }

    pub fn stream(&self) -> Option<&TcpStream> {
        self.transport.as_ref().map(Transport::stream)
    }

    /// The kind of the connection's handshake, once, when it is over.
    pub fn take_handshake(&mut self) -> Option<HandshakeKind> {
        self.transport.as_mut()?.take_handshake()
    }

    /// Drops the socket and everything unsent; the flights stay for the caller to judge.
    pub fn close(&mut self) {
        self.transport = None;
        self.link = Link::Closed;
        self.watches_room = false;
        self.out.clear();
        self.out_sent = 0;
        match &mut self.speaks {
            Speaks::Http1(h1) => h1.close(),
            Speaks::Http2(h2) => h2.close(),
            Speaks::Calls(calls) => calls.close(),
        }
    }

    /// Puts the next request in flight; [`Connection::flush`] sends it.
    pub fn begin(&mut self, requests: &[Prepared], intended: u64, now: u64) {
        let request = self.next_request;
        self.next_request = if request + 1 == self.requests { 0 } else { request + 1 };
        let flight = Flight::new(request, intended, now);
        match &mut self.speaks {
            Speaks::Http1(h1) => h1.begin(requests, flight, &mut self.out),
            Speaks::Http2(h2) => h2.begin(requests, flight, &mut self.out),
            Speaks::Calls(calls) => calls.begin(flight),
        }
    }

    /// Queues what is in flight again, on a fresh socket after the last one was closed.
    pub fn requeue(&mut self, requests: &[Prepared], now: u64) {
        match &mut self.speaks {
            Speaks::Http1(h1) => h1.requeue(requests, now, &mut self.out),
            Speaks::Http2(h2) => h2.requeue(requests, now, &mut self.out),
            Speaks::Calls(calls) => calls.requeue(now),
        }
    }

    /// Whether received bytes may be the reason to send: with acknowledgements, with records of a handshake, or with content
    /// that waits for a window.
    pub fn has_unsent(&self) -> bool {
        let waits_for_window = match &self.speaks {
            Speaks::Http1(_) => false,
            Speaks::Http2(h2) => h2.has_content(),
            Speaks::Calls(calls) => calls.has_content(),
        };
        waits_for_window || self.out_sent < self.out.len() || self.transport.as_ref().is_some_and(Transport::has_unsent)
    }

    /// Sends what the socket takes. True when nothing is left that could be sent now; the count is of content bytes.
    pub fn flush(&mut self, requests: &[Prepared]) -> io::Result<(bool, usize)> {
        let Some(transport) = &mut self.transport else { return Ok((true, 0)) };
        let mut content_sent = 0;
        loop {
            if self.out_sent == self.out.len() {
                let is_http1 = matches!(self.speaks, Speaks::Http1(_));
                if !is_http1 {
                    self.out.clear();
                    self.out_sent = 0;
                }
                content_sent += match &mut self.speaks {
                    Speaks::Http1(_) => 0,
                    Speaks::Http2(h2) => h2.fill(requests, &mut self.out),
                    Speaks::Calls(calls) => calls.fill(requests, &mut self.out),
                };
            }
            let head = &self.out[self.out_sent..];
            let content = match &self.speaks {
                Speaks::Http1(h1) => h1.content(requests),
                Speaks::Http2(_) | Speaks::Calls(_) => &[],
            };
            let is_done = head.is_empty() && content.is_empty();
            if is_done && !transport.has_unsent() {
                self.out.clear();
                self.out_sent = 0;
                if let Speaks::Http1(h1) = &mut self.speaks {
                    h1.all_sent();
                }
                return Ok((true, content_sent));
            }
            match transport.write(head, content) {
                Ok(_) if is_done && transport.has_unsent() => return Ok((false, content_sent)),
                Ok(sent) => {
                    let of_head = sent.min(head.len());
                    self.out_sent += of_head;
                    if let Speaks::Http1(h1) = &mut self.speaks {
                        h1.content_sent(sent - of_head);
                        content_sent += sent - of_head;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok((false, content_sent)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Receives into `buffer`; `sealed` is the place for what TLS has to open first.
    pub fn receive(&mut self, buffer: &mut [u8], sealed: &mut [u8]) -> io::Result<Received> {
        let Some(transport) = &mut self.transport else { return Ok(Received::Nothing) };
        loop {
            match transport.read(buffer, sealed) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => return other,
            }
        }
    }

    /// Reads received bytes up to the end of one answer. `None` when the input is used up before that; `on_status`
    /// and `on_content` are told of each head and each run of content bytes.
    pub fn next_answer(
        &mut self,
        input: &mut &[u8],
        requests: &[Prepared],
        mut on_status: impl FnMut(u16),
        mut on_content: impl FnMut(usize),
    ) -> Result<Option<Answer>, Malformed> {
        match &mut self.speaks {
            Speaks::Http1(h1) => {
                h1.next_answer(input, requests, &mut self.last_answer, &mut on_status, &mut on_content)
            }
            Speaks::Http2(h2) => {
                let answer = h2.next_answer(input, requests, &mut self.out, &mut on_status, &mut on_content);
                self.last_answer = h2.is_over();
                answer
            }
            Speaks::Calls(calls) => {
                let answer = calls.next_answer(input, requests, &mut self.out, &mut on_status, &mut on_content);
                self.last_answer = calls.is_over();
                answer
            }
        }
    }

    /// The answer that the end of the connection completes, if its content was to end there.
    pub fn answer_at_end(&mut self, requests: &[Prepared]) -> Option<Answer> {
        match &mut self.speaks {
            Speaks::Http1(h1) => h1.answer_at_end(requests, &mut self.last_answer),
            Speaks::Http2(_) | Speaks::Calls(_) => None,
        }
    }
}
