//! One client connection: what is in flight on it, what is left to send, what has been received.
use std::collections::VecDeque;
use std::io::{self, IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream};

use socket2::{Domain, Protocol, Socket, Type};

use super::recorder::Failure;
use super::spec::{Content, Expect, Prepared};
use crate::http::{Event, Malformed, ResponseReader};

/// One exchange under way.
#[derive(Clone, Copy, Debug)]
pub struct Flight {
    /// Index into the prepared requests.
    pub request: u32,
    /// When it was due (open loop) or begun (closed loop); latency counts from here.
    pub intended: u64,
    /// When it was handed to the connection; the time limit counts from here.
    pub begun: u64,
    /// Content bytes of the answer so far.
    received: u64,
    verdict: Option<Failure>,
}

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
    pub flights: VecDeque<Flight>,
    stream: Option<TcpStream>,
    reader: ResponseReader,
    out: Vec<u8>,
    out_sent: usize,
    upload: Option<Upload>,
    next_request: u32,
    /// The last answer said that the connection ends with it.
    pub last_answer: bool,
}

#[derive(Clone, Copy, Debug)]
struct Upload {
    request: u32,
    position: u64,
}

/// What an answer was, once it is whole.
#[derive(Clone, Copy, Debug)]
pub struct Answer {
    pub flight: Flight,
    pub verdict: Option<Failure>,
}

/// What reading from a socket gave.
pub enum Received {
    Bytes(usize),
    Nothing,
    End,
}

impl Connection {
    pub fn new(target: SocketAddr, number: usize, requests: usize) -> Connection {
        Connection {
            target,
            link: Link::Closed,
            generation: 0,
            watches_room: false,
            flights: VecDeque::new(),
            stream: None,
            reader: ResponseReader::new(),
            out: Vec::new(),
            out_sent: 0,
            upload: None,
            next_request: (number % requests) as u32,
            last_answer: false,
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
        self.reader = ResponseReader::new();
        self.last_answer = false;
        Ok(self.stream.insert(socket.into()))
    }

    /// The error of a connect that has ended, if it failed.
    pub fn connect_error(&self) -> Option<io::Error> {
        match self.stream.as_ref().map(TcpStream::take_error) {
            Some(Ok(error)) => error,
            Some(Err(error)) => Some(error),
            None => Some(io::ErrorKind::NotConnected.into()),
        }
    }

    pub fn stream(&self) -> Option<&TcpStream> {
        self.stream.as_ref()
    }

    /// Drops the socket and everything unsent; the flights stay for the caller to judge.
    pub fn close(&mut self) {
        self.stream = None;
        self.link = Link::Closed;
        self.watches_room = false;
        self.out.clear();
        self.out_sent = 0;
        self.upload = None;
    }

    /// Puts the next request in flight; [`Connection::flush`] sends it.
    pub fn begin(&mut self, requests: &[Prepared], intended: u64, now: u64) {
        let request = self.next_request;
        self.next_request = if (request + 1) as usize == requests.len() { 0 } else { request + 1 };
        self.flights.push_back(Flight { request, intended, begun: now, received: 0, verdict: None });
        self.queue(requests, request);
    }

    /// Queues what is in flight again, on a fresh socket after the last one was closed.
    pub fn requeue(&mut self, requests: &[Prepared], now: u64) {
        for index in 0..self.flights.len() {
            let flight = &mut self.flights[index];
            (flight.begun, flight.received, flight.verdict) = (now, 0, None);
            let request = flight.request;
            self.queue(requests, request);
        }
    }

    fn queue(&mut self, requests: &[Prepared], request: u32) {
        let prepared = &requests[request as usize];
        self.out.extend_from_slice(&prepared.head);
        if prepared.upload.is_some() {
            self.upload = Some(Upload { request, position: 0 });
        }
    }

    /// Sends what the socket takes. True when nothing is left to send; the count is of content bytes.
    pub fn flush(&mut self, requests: &[Prepared]) -> io::Result<(bool, usize)> {
        let Some(stream) = &mut self.stream else { return Ok((true, 0)) };
        let mut content_sent = 0;
        loop {
            let head = &self.out[self.out_sent..];
            let content = match &self.upload {
                Some(upload) => upload_run(requests, *upload),
                None => &[],
            };
            if head.is_empty() && content.is_empty() {
                self.out.clear();
                self.out_sent = 0;
                self.upload = None;
                return Ok((true, content_sent));
            }
            let written = if content.is_empty() {
                stream.write(head)
            } else {
                stream.write_vectored(&[IoSlice::new(head), IoSlice::new(content)])
            };
            match written {
                Ok(sent) => {
                    let of_head = sent.min(head.len());
                    self.out_sent += of_head;
                    if let Some(upload) = &mut self.upload {
                        upload.position += (sent - of_head) as u64;
                        content_sent += sent - of_head;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok((false, content_sent)),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        let Some(stream) = &mut self.stream else { return Ok(Received::Nothing) };
        loop {
            match stream.read(buffer) {
                Ok(0) => return Ok(Received::End),
                Ok(count) => return Ok(Received::Bytes(count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Received::Nothing),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
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
        loop {
            let Some(flight) = self.flights.front_mut() else {
                return if input.is_empty() { Ok(None) } else { Err(Malformed("bytes that no request asked for")) };
            };
            let prepared = &requests[flight.request as usize];
            match self.reader.next(input, prepared.to_head)? {
                Event::Head(head) => {
                    on_status(head.status);
                    self.last_answer = !head.keep_alive;
                    if !prepared.expect.status.allows(head.status) {
                        flight.verdict = Some(Failure::Status);
                    }
                }
                Event::Data(data) => {
                    on_content(data.len());
                    flight.check(&prepared.expect, data);
                }
                Event::End => return Ok(self.finish(&prepared.expect, prepared.to_head)),
                Event::More => return Ok(None),
            }
        }
    }

    /// The answer that the end of the connection completes, if its content was to end there.
    pub fn answer_at_end(&mut self, requests: &[Prepared]) -> Option<Answer> {
        let request = self.flights.front()?.request;
        if !self.reader.ends_at_close() {
            return None;
        }
        self.last_answer = true;
        self.finish(&requests[request as usize].expect, false)
    }

    fn finish(&mut self, expect: &Expect, to_head: bool) -> Option<Answer> {
        let flight = self.flights.pop_front()?;
        let short = !to_head && expect.content.is_some_and(|(_, len)| flight.received != len);
        // An answer before the end of the upload leaves the connection in the middle of a request.
        if self.upload.is_some() {
            self.last_answer = true;
        }
        let verdict = flight.verdict.or(if short { Some(Failure::Length) } else { None });
        Some(Answer { flight, verdict })
    }
}

impl Flight {
    fn check(&mut self, expect: &Expect, data: &[u8]) {
        if let (None, Some((pattern, len))) = (self.verdict, expect.content) {
            if self.received + data.len() as u64 > len {
                self.verdict = Some(Failure::Length);
            } else if !pattern.matches(self.received, data) {
                self.verdict = Some(Failure::Bytes);
            }
        }
        self.received += data.len() as u64;
    }
}

fn upload_run(requests: &[Prepared], upload: Upload) -> &[u8] {
    match requests[upload.request as usize].upload.as_ref() {
        Some(content) if upload.position < content.len() => Content::run(content, upload.position),
        _ => &[],
    }
}
