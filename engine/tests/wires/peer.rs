//! The test's end of a connection, on either wire: messages out, messages in.

use crate::h2::{self, Fields, Head};
use crate::support::{lines, lower};
use ringway::net::PipeEnd;
use std::cell::RefCell;
use std::task::Poll;

/// Exchanges at a time on a connection of HTTP/2.
pub const STREAMS: u32 = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wire {
    H1,
    H2,
}

impl Wire {
    /// The key of a cluster that speaks it.
    pub fn protocol(self) -> String {
        match self {
            Self::H1 => "protocol = \"http1\"\n".into(),
            Self::H2 => format!("protocol = \"http2\"\nhttp2.max_concurrent_streams = {STREAMS}\n"),
        }
    }
}

/// How a message that comes in ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum End {
    #[default]
    None,
    Whole,
    /// It was broken off, with the code where the wire has one.
    Broken(Option<u32>),
    Refused,
}

/// One exchange, as this end sees it.
#[derive(Debug, Default)]
pub struct Exchange {
    pub id: u32,
    pub interim: Vec<Head>,
    pub head: Option<Head>,
    pub body: Vec<u8>,
    pub trailers: Fields,
    pub end: End,
    /// RESET came, before the message's end or behind it.
    pub was_reset: bool,
    /// Nothing is read of it: no credit is given.
    pub is_paused: bool,
    /// What this end sent was a HEAD request.
    is_head: bool,
    is_chunked: bool,
    waits: Vec<u8>,
    out_end: Option<Fields>,
    credit: usize,
}

impl Exchange {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the proxy gave the exchange up, or at least the rest of what this end sends.
    pub fn was_given_up(&self) -> bool {
        self.was_reset || matches!(self.end, End::Broken(_))
    }

    pub fn status(&self) -> u16 {
        self.head.as_ref().map_or(0, |head| head.status)
    }

    pub fn field(&self, name: &str) -> Option<&str> {
        self.head.as_ref()?.field(name)
    }
}

/// Where in an HTTP/1 message the next byte belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    Head,
    Length(usize),
    ChunkSize,
    Chunk(usize),
    Trailers,
    UntilClose,
}

pub struct Peer {
    pub wire: Wire,
    is_client: bool,
    pub pipe: Option<PipeEnd>,
    /// Bytes that go out each time this end is looked at, and what waits for that. `None`: all at once.
    pub trickle: Option<usize>,
    held: RefCell<Vec<u8>>,
    unread: Vec<u8>,
    pub exchanges: Vec<Exchange>,
    at: At,
    /// The exchange whose message comes in (HTTP/1).
    current: usize,
    pub is_over: bool,
    pub goes_away: bool,
    last_id: u32,
}

impl Peer {
    pub fn new(wire: Wire, is_client: bool, pipe: PipeEnd) -> Self {
        let peer = Self {
            wire,
            is_client,
            pipe: Some(pipe),
            trickle: None,
            held: RefCell::default(),
            unread: Vec::new(),
            exchanges: Vec::new(),
            at: At::Head,
            current: 0,
            is_over: false,
            goes_away: false,
            last_id: 0,
        };
        if wire == Wire::H2 {
            peer.write(&h2::begin(is_client));
        }
        peer
    }

    pub fn write(&self, bytes: &[u8]) {
        match &self.pipe {
            Some(_) if self.trickle.is_some() => self.held.borrow_mut().extend_from_slice(bytes),
            Some(pipe) => pipe.write(bytes),
            None => {}
        }
    }

    /// Whether all that was written has gone out.
    pub fn is_flushed(&self) -> bool {
        self.held.borrow().is_empty()
    }

    pub fn hang_up(&mut self) {
        self.pipe = None;
        self.is_over = true;
    }

    pub fn reset(&mut self) {
        if let Some(pipe) = self.pipe.take() {
            pipe.reset();
        }
        self.is_over = true;
    }

    /// Bytes that the proxy has not taken.
    pub fn unsent(&self) -> usize {
        let queued: usize = self.exchanges.iter().map(|exchange| exchange.waits.len()).sum();
        queued + self.pipe.as_ref().map_or(0, PipeEnd::unsent)
    }

    /// Begin a request. `length` of its body; `None` where it has one whose length is not known. Its index.
    pub fn request(&mut self, method: &str, target: &str, fields: &Fields, length: Option<usize>) -> usize {
        self.last_id = h2::next_id(self.last_id);
        let is_chunked = length.is_none();
        let exchange = Exchange {
            id: self.last_id,
            is_head: method == "HEAD",
            is_chunked,
            credit: h2::WINDOW,
            ..Exchange::default()
        };
        self.exchanges.push(exchange);
        let mut fields = fields.clone();
        let announced = length.filter(|length| *length > 0);
        match self.wire {
            Wire::H1 => {
                if is_chunked {
                    fields.push(("Transfer-Encoding".into(), "chunked".into()));
                }
                fields.extend(announced.map(|length| ("Content-Length".into(), length.to_string())));
                self.write(format!("{method} {target} HTTP/1.1\r\nHost: h\r\n{}\r\n", lines(&fields)).as_bytes());
            }
            Wire::H2 => {
                lower(&mut fields);
                fields.extend(announced.map(|length| ("content-length".into(), length.to_string())));
                let (method, target, authority) = (method.into(), target.into(), "h".into());
                let head = Head { ends: length == Some(0), method, target, authority, fields, ..Head::default() };
                self.write(&head.frame(self.last_id));
            }
        }
        self.exchanges.len() - 1
    }

    /// Begin a response to exchange `index`. `length`: as in `request`. Those to HEAD, 1xx, 204 and 304 have no body.
    pub fn response(&mut self, index: usize, status: u16, fields: &Fields, length: Option<usize>) {
        let exchange = &mut self.exchanges[index];
        let (id, is_head) = (exchange.id, exchange.head.as_ref().is_some_and(|head| head.method == "HEAD"));
        let is_bodiless = status < 200 || is_head || matches!(status, 204 | 304);
        exchange.is_chunked = length.is_none() && !is_bodiless;
        exchange.credit = h2::WINDOW;
        let tells_length = length.filter(|_| status >= 200 && status != 204);
        let mut fields = fields.clone();
        match self.wire {
            Wire::H1 => {
                if exchange.is_chunked {
                    fields.push(("Transfer-Encoding".into(), "chunked".into()));
                }
                fields.extend(tells_length.map(|length| ("Content-Length".into(), length.to_string())));
                self.write(format!("HTTP/1.1 {status} Status\r\n{}\r\n", lines(&fields)).as_bytes());
            }
            Wire::H2 => {
                lower(&mut fields);
                fields.extend(tells_length.map(|length| ("content-length".into(), length.to_string())));
                let ends = is_bodiless || length == Some(0);
                let head = Head { ends, status, fields, ..Head::default() };
                self.write(&head.frame(id));
            }
        }
    }

    /// The head of a response on HTTP/2 that is all of it and says no length.
    pub fn response_without_length(&mut self, index: usize, status: u16, fields: &Fields) {
        let head = Head { ends: true, status, fields: fields.clone(), ..Head::default() };
        self.write(&head.frame(self.exchanges[index].id));
    }

    /// A piece of the body goes out, on HTTP/2 as far as there is credit.
    pub fn data(&mut self, index: usize, data: &[u8]) {
        match self.wire {
            Wire::H1 if self.exchanges[index].is_chunked => {
                self.write(&[format!("{:x}\r\n", data.len()).as_bytes(), data, b"\r\n"].concat());
            }
            Wire::H1 => self.write(data),
            Wire::H2 => {
                self.exchanges[index].waits.extend_from_slice(data);
                self.send_frames(index);
            }
        }
    }

    /// The body ends.
    pub fn end(&mut self, index: usize, trailers: &Fields) {
        match self.wire {
            Wire::H1 if self.exchanges[index].is_chunked => {
                self.write(format!("0\r\n{}\r\n", lines(trailers)).as_bytes());
            }
            Wire::H1 => {}
            Wire::H2 => {
                self.exchanges[index].out_end = Some(trailers.clone());
                self.send_frames(index);
            }
        }
    }

    /// Break the exchange off: the stream, or the connection that serves nothing else.
    pub fn break_off(&mut self, index: usize) {
        match self.wire {
            Wire::H1 => self.reset(),
            Wire::H2 => {
                self.exchanges[index].waits.clear();
                self.write(&h2::reset(self.exchanges[index].id, 8));
            }
        }
    }

    /// The same on HTTP/2, with this code.
    pub fn reset_stream(&mut self, index: usize, code: u32) {
        self.exchanges[index].waits.clear();
        self.write(&h2::reset(self.exchanges[index].id, code));
    }

    pub fn refuse(&mut self, index: usize) {
        self.write(&h2::refuse(self.exchanges[index].id));
    }

    /// No stream after `last` is served.
    pub fn go_away(&mut self, last: u32) {
        self.write(&h2::go_away(last));
    }

    /// Read the exchange's body on.
    pub fn resume(&mut self, index: usize) {
        let exchange = &mut self.exchanges[index];
        exchange.is_paused = false;
        let (id, due) = (exchange.id, exchange.body.len());
        if self.wire == Wire::H2 && due > 0 {
            self.write(&h2::credit(id, due));
        }
    }

    fn send_frames(&mut self, index: usize) {
        let exchange = &mut self.exchanges[index];
        let mut out = Vec::new();
        while !exchange.waits.is_empty() && exchange.credit > 0 {
            let len = exchange.waits.len().min(exchange.credit).min(h2::DATA_MAX);
            exchange.credit -= len;
            out.extend(h2::data(exchange.id, &exchange.waits[..len]));
            exchange.waits.drain(..len);
        }
        if exchange.waits.is_empty()
            && let Some(trailers) = exchange.out_end.take()
        {
            out.extend(h2::end(exchange.id, &trailers));
        }
        self.write(&out);
    }

    /// Take what has come. On HTTP/1 a paused exchange pauses the connection.
    pub fn pump(&mut self) {
        if let (Some(pipe), Some(most)) = (&self.pipe, self.trickle) {
            let held = self.held.get_mut();
            let now: Vec<u8> = held.drain(..most.min(held.len())).collect();
            pipe.write(&now);
        }
        if self.wire == Wire::H1 && self.exchanges.get(self.current).is_some_and(|exchange| exchange.is_paused) {
            return;
        }
        let mut is_over = false;
        while let Some(pipe) = &self.pipe
            && let Poll::Ready(received) = pipe.poll_recv()
        {
            match received {
                Ok(Some(bytes)) => self.unread.extend_from_slice(&bytes),
                Ok(None) | Err(_) => {
                    is_over = true;
                    break;
                }
            }
        }
        match self.wire {
            Wire::H1 => while self.step() {},
            Wire::H2 => {
                while let Some(frames) = h2::take(&mut self.unread) {
                    frames.into_iter().for_each(|frame| self.on_frame(frame));
                }
            }
        }
        if is_over && !self.is_over {
            self.is_over = true;
            if self.at == At::UntilClose {
                self.finish(End::Whole);
            }
            for exchange in self.exchanges.iter_mut().filter(|exchange| exchange.end == End::None) {
                exchange.end = End::Broken(None);
            }
        }
    }

    fn on_frame(&mut self, frame: h2::Frame) {
        let index = self.exchanges.iter().position(|exchange| exchange.id == frame.id);
        match (frame.kind, index) {
            (h2::ANSWER, _) => self.write(&frame.payload),
            (h2::GOAWAY, _) => self.goes_away = true,
            (h2::HEAD, None) if !self.is_client => {
                assert!(frame.id > self.last_id, "streams begin in order");
                self.last_id = frame.id;
                let head = frame.head;
                let end = if head.ends { End::Whole } else { End::None };
                self.exchanges.push(Exchange { id: frame.id, head: Some(head), end, ..Exchange::default() });
            }
            (_, None) => panic!("a frame for no stream: {frame:?}"),
            (_, Some(index)) => self.on_stream_frame(index, &frame),
        }
    }

    fn on_stream_frame(&mut self, index: usize, frame: &h2::Frame) {
        let exchange = &mut self.exchanges[index];
        let is_complete = exchange.end == End::Whole;
        match frame.kind {
            h2::HEAD => {
                let head = frame.head.clone();
                assert!(!is_complete && exchange.head.is_none(), "one final head: {head:?}");
                if head.status < 200 {
                    return exchange.interim.push(head);
                }
                exchange.end = if head.ends { End::Whole } else { End::None };
                exchange.head = Some(head);
            }
            h2::DATA => {
                assert!(!is_complete && exchange.head.is_some(), "DATA stands behind a head and before the end");
                exchange.body.extend_from_slice(&frame.payload);
                if !exchange.is_paused {
                    let credit = h2::credit(frame.id, frame.payload.len());
                    self.write(&credit);
                }
            }
            h2::END => {
                assert!(!is_complete, "a message ends once");
                exchange.trailers = frame.head.fields.clone();
                exchange.end = End::Whole;
            }
            h2::RESET => {
                exchange.was_reset = true;
                exchange.waits.clear();
                if !is_complete {
                    exchange.end = End::Broken(Some(h2::value(&frame.payload)));
                }
            }
            h2::REFUSED => exchange.end = End::Refused,
            _ => {
                exchange.credit += h2::value(&frame.payload) as usize;
                self.send_frames(index);
            }
        }
    }

    fn finish(&mut self, end: End) {
        self.exchanges[self.current].end = end;
        self.current += 1;
        self.at = At::Head;
    }

    fn line(&mut self) -> Option<String> {
        let at = self.unread.windows(2).position(|pair| pair == b"\r\n")?;
        let line = String::from_utf8(self.unread[..at].to_vec()).expect("a line of the tests is UTF-8");
        self.unread.drain(..at + 2);
        Some(line)
    }

    /// Read the next part of an HTTP/1 message. `false`: more bytes are needed.
    fn step(&mut self) -> bool {
        match self.at {
            At::Head => return self.step_head(),
            At::Length(0) => self.finish(End::Whole),
            At::Length(left) => {
                let now = self.take_body(left);
                self.at = At::Length(left - now);
                return now > 0;
            }
            At::UntilClose => return self.take_body(usize::MAX) > 0,
            At::ChunkSize => {
                let Some(line) = self.line() else { return false };
                let size = usize::from_str_radix(&line, 16).unwrap_or_else(|_| panic!("no size of a chunk: {line:?}"));
                self.at = if size == 0 { At::Trailers } else { At::Chunk(size) };
            }
            At::Chunk(0) => {
                let Some(line) = self.line() else { return false };
                assert_eq!(line, "");
                self.at = At::ChunkSize;
            }
            At::Chunk(left) => {
                let now = self.take_body(left);
                self.at = At::Chunk(left - now);
                return now > 0;
            }
            At::Trailers => {
                let Some(line) = self.line() else { return false };
                match line.split_once(": ") {
                    Some((name, value)) => {
                        self.exchanges[self.current].trailers.push((name.to_ascii_lowercase(), value.into()));
                    }
                    None => self.finish(End::Whole),
                }
            }
        }
        true
    }

    fn take_body(&mut self, most: usize) -> usize {
        let now = self.unread.len().min(most);
        self.exchanges[self.current].body.extend(self.unread.drain(..now));
        now
    }

    fn step_head(&mut self) -> bool {
        let Some(end) = self.unread.windows(4).position(|part| part == b"\r\n\r\n") else { return false };
        let text = String::from_utf8(self.unread[..end].to_vec()).expect("a head of the tests is UTF-8");
        self.unread.drain(..end + 4);
        let mut parts = text.split("\r\n");
        let words: Vec<&str> = parts.next().unwrap_or_default().splitn(3, ' ').collect();
        let split = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap_or_else(|| panic!("no field: {line:?}"));
            (name.to_ascii_lowercase(), value.to_owned())
        };
        let fields: Fields = parts.map(split).collect();
        let mut head = Head { fields, ..Head::default() };
        if self.is_client {
            head.status = words[1].parse().expect("a status");
            if head.status < 200 {
                self.exchanges[self.current].interim.push(head);
                return true;
            }
        } else {
            (head.method, head.target) = (words[0].into(), words[1].into());
            head.authority = head.field("host").unwrap_or_default().into();
            self.exchanges.push(Exchange::default());
        }
        let exchange = &mut self.exchanges[self.current];
        let is_bodiless = exchange.is_head || matches!(head.status, 204 | 304);
        self.at = match (head.field("transfer-encoding"), head.field("content-length")) {
            _ if self.is_client && is_bodiless => At::Length(0),
            (Some(_), _) => At::ChunkSize,
            (None, Some(length)) => At::Length(length.parse().expect("a length")),
            (None, None) if self.is_client => At::UntilClose,
            (None, None) => At::Length(0),
        };
        exchange.head = Some(head);
        true
    }
}
