//! One connection at the origin: reads requests in order, checks uploads, writes what was asked for.
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use super::answer::{Answer, Close};
use super::h2::Http2;
use crate::http::{Event, RequestHead, RequestReader};
use crate::pattern::{Pattern, SPAN};
use crate::rng::Rng;

/// Answers of up to this size go out as one write together with their head.
const SMALL: u64 = 32 * 1024;

pub struct Connection {
    pub stream: TcpStream,
    pub generation: u32,
    /// What epoll reports for it now.
    pub interest: Interest,
    reader: RequestReader,
    /// Received bytes behind a request whose answer is not out yet.
    unread: Vec<u8>,
    out: Vec<u8>,
    out_sent: usize,
    stage: Stage,
    last: bool,
    /// Once the first bytes have told.
    http2: Option<Box<Http2>>,
    is_new: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    Read,
    Write,
    Nothing,
}

/// What a connection waits for next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    Input,
    Room,
    Time(Instant),
    Gone,
}

enum Stage {
    /// Between requests, or in the middle of a head.
    Idle,
    /// In a request's content.
    Upload { answer: Answer, to_head: bool, position: u64, wrong: bool },
    /// The answer waits for its delay to pass.
    Delay { answer: Answer, to_head: bool, until: Instant },
    /// In an answer's content.
    Content(Content),
}

struct Content {
    pattern: Pattern,
    position: u64,
    size: u64,
    chunk: u64,
    /// Stop here instead of at the end, in the way that the answer's `close` says.
    cut: Option<u64>,
    close: Close,
}

impl Connection {
    pub fn new(stream: TcpStream, generation: u32) -> Connection {
        Connection {
            stream,
            generation,
            interest: Interest::Read,
            reader: RequestReader::new(),
            unread: Vec::new(),
            out: Vec::new(),
            out_sent: 0,
            stage: Stage::Idle,
            last: false,
            http2: None,
            is_new: true,
        }
    }

    /// Does all that can be done now, and says what it waits for. An error ends the connection.
    pub fn advance(&mut self, buffer: &mut [u8], delay: Duration, rng: &mut Rng) -> io::Result<Next> {
        let mut drained = false;
        loop {
            if self.http2.is_some() {
                return self.advance_http2(buffer, rng);
            }
            match self.answer(rng)? {
                Next::Input => {}
                other => return Ok(other),
            }
            if self.last {
                return Ok(Next::Gone);
            }
            if !self.unread.is_empty() && !self.is_new {
                let unread = std::mem::take(&mut self.unread);
                self.on_bytes(&unread, delay, rng);
                continue;
            }
            if drained {
                return Ok(Next::Input);
            }
            match self.stream.read(buffer) {
                Ok(0) => return Ok(Next::Gone),
                Ok(count) => {
                    // Less than was asked for means that the socket is empty; epoll reports what comes later.
                    drained = count < buffer.len();
                    if self.is_new {
                        self.on_first_bytes(&buffer[..count], delay, rng)?;
                    } else {
                        self.on_bytes(&buffer[..count], delay, rng);
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Next::Input),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Tells the wire by the first bytes, and takes them.
    fn on_first_bytes(&mut self, bytes: &[u8], delay: Duration, rng: &mut Rng) -> io::Result<()> {
        self.unread.extend_from_slice(bytes);
        let Some(is_http2) = Http2::is_spoken(&self.unread) else { return Ok(()) };
        self.is_new = false;
        let unread = std::mem::take(&mut self.unread);
        if is_http2 && !delay.is_zero() {
            return Err(io::Error::other("delays are for HTTP/1"));
        }
        if is_http2 {
            let mut http2 = Http2::new(&mut self.out);
            http2.on_bytes(&unread, &mut self.out, rng).map_err(io::Error::other)?;
            self.http2 = Some(Box::new(http2));
        } else {
            self.on_bytes(&unread, delay, rng);
        }
        Ok(())
    }

    fn advance_http2(&mut self, buffer: &mut [u8], rng: &mut Rng) -> io::Result<Next> {
        let Some(mut http2) = self.http2.take() else { return Ok(Next::Gone) };
        let mut is_drained = false;
        let next = loop {
            http2.fill(&mut self.out);
            let has_more = !self.out.is_empty();
            if !self.flush()? {
                break Next::Room;
            }
            if has_more {
                continue;
            }
            if is_drained {
                break Next::Input;
            }
            match self.stream.read(buffer) {
                Ok(0) => break Next::Gone,
                Ok(count) => {
                    is_drained = count < buffer.len();
                    http2.on_bytes(&buffer[..count], &mut self.out, rng).map_err(io::Error::other)?;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => is_drained = true,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        };
        self.http2 = Some(http2);
        Ok(next)
    }

    /// Sends what is ready; [`Next::Input`] says that nothing is left to send.
    fn answer(&mut self, rng: &mut Rng) -> io::Result<Next> {
        loop {
            if !self.flush()? {
                return Ok(Next::Room);
            }
            match &mut self.stage {
                Stage::Idle | Stage::Upload { .. } => return Ok(Next::Input),
                Stage::Delay { until, .. } if *until > Instant::now() => return Ok(Next::Time(*until)),
                Stage::Delay { .. } => {
                    if let Stage::Delay { answer, to_head, .. } = std::mem::replace(&mut self.stage, Stage::Idle) {
                        self.respond(&answer, to_head, rng);
                    }
                }
                Stage::Content(content) => {
                    if content.position == content.cut.unwrap_or(content.size) {
                        let reset = content.close == Close::Reset;
                        self.finish_content(reset)?;
                    } else if content.chunk > 0 {
                        content.write_chunk(&mut self.out);
                    } else {
                        let end = content.cut.unwrap_or(content.size);
                        match self.stream.write(content.pattern.run(content.position, end - content.position)) {
                            Ok(sent) => content.position += sent as u64,
                            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Next::Room),
                            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                            Err(error) => return Err(error),
                        }
                    }
                }
            }
        }
    }

    fn flush(&mut self) -> io::Result<bool> {
        while self.out_sent < self.out.len() {
            match self.stream.write(&self.out[self.out_sent..]) {
                Ok(sent) => self.out_sent += sent,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.out.clear();
        self.out_sent = 0;
        Ok(true)
    }

    /// Reads requests until one's answer must go out first; the rest is kept.
    fn on_bytes(&mut self, mut input: &[u8], delay: Duration, rng: &mut Rng) {
        loop {
            if self.last || matches!(self.stage, Stage::Delay { .. } | Stage::Content(_)) {
                self.unread.extend_from_slice(input);
                return;
            }
            match self.reader.next(&mut input, ()) {
                Ok(Event::Head(head)) => self.on_head(&head),
                Ok(Event::Data(data)) => self.on_content(data),
                Ok(Event::End) => self.on_end(delay, rng),
                Ok(Event::More) => return,
                Err(error) => return self.refuse(&error.to_string()),
            }
        }
    }

    fn on_head(&mut self, head: &RequestHead) {
        let answer = match Answer::from_target(&head.target) {
            Ok(answer) => answer,
            Err(reason) => return self.refuse(&reason),
        };
        if head.expect_continue {
            self.out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        let answer = if head.keep_alive { answer } else { answer.closing() };
        self.stage = Stage::Upload { answer, to_head: head.method == "HEAD", position: 0, wrong: false };
    }

    fn on_content(&mut self, data: &[u8]) {
        if let Stage::Upload { answer, position, wrong, .. } = &mut self.stage {
            if let Some(seed) = answer.upload {
                *wrong |= !Pattern::new(seed).matches(*position, data);
            }
            *position += data.len() as u64;
        }
    }

    fn on_end(&mut self, delay: Duration, rng: &mut Rng) {
        let Stage::Upload { mut answer, to_head, wrong, .. } = std::mem::replace(&mut self.stage, Stage::Idle) else {
            return;
        };
        if wrong {
            answer = Answer { status: 400, size: 0, chunk: 0, ..answer };
        }
        let delay = delay + answer.delay;
        if delay.is_zero() {
            self.respond(&answer, to_head, rng);
        } else {
            self.stage = Stage::Delay { answer, to_head, until: Instant::now() + delay };
        }
    }

    fn respond(&mut self, answer: &Answer, to_head: bool, rng: &mut Rng) {
        if answer.error > 0.0 && rng.chance(answer.error) {
            let error = Answer { status: 503, size: 0, chunk: 0, error: 0.0, ..answer.clone() };
            return self.respond(&error, to_head, rng);
        }
        match answer.close {
            Close::Before => {
                self.last = true;
                return;
            }
            Close::Garbage => {
                self.out.extend_from_slice(b"\x16\x03\x01 this is not HTTP\r\n\r\n");
                self.last = true;
                return;
            }
            _ => {}
        }
        answer.write_head(&mut self.out);
        let cut = matches!(answer.close, Close::Mid | Close::Reset).then_some(answer.size / 2);
        self.last = answer.close != Close::Keep && cut.is_none();
        if to_head || !answer.has_content() {
            return;
        }
        let content = Content {
            pattern: answer.pattern(),
            position: 0,
            size: answer.size,
            chunk: answer.chunk,
            cut,
            close: answer.close,
        };
        if answer.size <= SMALL && answer.chunk == 0 && cut.is_none() {
            self.out.extend_from_slice(content.pattern.run(0, answer.size));
        } else {
            self.stage = Stage::Content(content);
        }
    }

    fn finish_content(&mut self, reset: bool) -> io::Result<()> {
        if let Stage::Content(content) = std::mem::replace(&mut self.stage, Stage::Idle) {
            if content.cut.is_some() {
                self.last = true;
                if reset {
                    socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO))?;
                }
            } else if content.chunk > 0 {
                self.out.extend_from_slice(b"0\r\n\r\n");
            }
        }
        Ok(())
    }

    fn refuse(&mut self, reason: &str) {
        let head = format!("HTTP/1.1 400 Bad Request\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", reason.len());
        self.out.extend_from_slice(head.as_bytes());
        self.out.extend_from_slice(reason.as_bytes());
        self.stage = Stage::Idle;
        self.last = true;
    }
}

impl Content {
    fn write_chunk(&mut self, out: &mut Vec<u8>) {
        let left = self.cut.unwrap_or(self.size) - self.position;
        let data = self.pattern.run(self.position, left.min(self.chunk).min(SPAN as u64));
        out.extend_from_slice(format!("{:x}\r\n", data.len()).as_bytes());
        out.extend_from_slice(data);
        out.extend_from_slice(b"\r\n");
        self.position += data.len() as u64;
    }
}

impl Answer {
    /// The same answer, with the connection closed after it as the request asked (RFC 9112 section 9.6).
    fn closing(self) -> Answer {
        let close = if self.close == Close::Keep { Close::After } else { self.close };
        Answer { close, ..self }
    }
}
