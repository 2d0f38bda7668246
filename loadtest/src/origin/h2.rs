//! The origin's side of HTTP/2, without TLS: the answers that URLs ask for, and gRPC calls whose messages come back.
use std::collections::HashMap;
use std::rc::Rc;

use super::answer::{Answer, Close};
use crate::h2::frame::{self, Frame, FrameReader, INITIAL_WINDOW, PREFACE, WINDOW_MAX, flag, kind, setting};
use crate::h2::hpack::Blocks;
use crate::h2::receive::Receiver;
use crate::h2::send::{self, Sender};
use crate::http::Malformed;
use crate::pattern::Pattern;
use crate::rng::Rng;

/// Targets whose answers are remembered.
const KNOWN: usize = 4_096;

pub struct Http2 {
    /// Bytes of the preface that have come.
    preface: usize,
    reader: FrameReader,
    receiver: Receiver,
    sender: Sender,
    /// Those that are not answered in whole; few, since most are answered at once.
    streams: Vec<Stream>,
    known: HashMap<Vec<u8>, Rc<Known>>,
    grpc_head: Blocks,
}

struct Known {
    answer: Answer,
    head: Blocks,
}

struct Stream {
    id: u32,
    window: i64,
    does: Does,
}

enum Does {
    /// Receives a request's content.
    Upload { known: Rc<Known>, to_head: bool, position: u64, is_wrong: bool },
    /// Sends an answer's content.
    Content { pattern: Pattern, position: u64, size: u64 },
    /// Sends back what it receives.
    Echo { back: Vec<u8>, has_ended: bool },
}

/// What a request's head says.
#[derive(Default)]
struct Head {
    target: Vec<u8>,
    is_head: bool,
    is_grpc: bool,
}

impl Http2 {
    /// Whether a connection that begins with `bytes` speaks HTTP/2; `None` when they are too few to tell.
    pub fn is_spoken(bytes: &[u8]) -> Option<bool> {
        let len = bytes.len().min(PREFACE.len());
        match bytes[..len] == PREFACE[..len] {
            true if len < PREFACE.len() => None,
            is_spoken => Some(is_spoken),
        }
    }

    pub fn new(out: &mut Vec<u8>) -> Http2 {
        frame::settings(out, &[(setting::INITIAL_WINDOW_SIZE, WINDOW_MAX)]);
        frame::window_update(out, 0, WINDOW_MAX - INITIAL_WINDOW as u32);
        Http2 {
            preface: 0,
            reader: FrameReader::default(),
            receiver: Receiver::default(),
            sender: Sender::default(),
            streams: Vec::new(),
            known: HashMap::new(),
            grpc_head: Blocks::new(&[(":status", "200"), ("server", "origin"), ("content-type", "application/grpc")]),
        }
    }

    /// Takes what was received; what there is to answer goes to `out`, but for content: see [`Http2::fill`].
    pub fn on_bytes(&mut self, mut input: &[u8], out: &mut Vec<u8>, rng: &mut Rng) -> Result<(), Malformed> {
        if self.preface < PREFACE.len() {
            let len = input.len().min(PREFACE.len() - self.preface);
            self.preface += len;
            input = &input[len..];
        }
        let mut reader = std::mem::take(&mut self.reader);
        while let Some(frame) = reader.next(&mut input)? {
            match frame.kind {
                kind::DATA => self.on_data(&frame, out, rng)?,
                kind::HEADERS | kind::CONTINUATION => self.on_headers(&frame, out, rng)?,
                kind::RST_STREAM => self.streams.retain(|stream| stream.id != frame.stream),
                kind::SETTINGS => {
                    let change = self.sender.settings(&frame, out)?;
                    self.streams.iter_mut().for_each(|stream| stream.window += change);
                }
                kind::PING if !frame.has(flag::ACK) => frame::acknowledge(out, &frame),
                kind::WINDOW_UPDATE if frame.stream == 0 => self.sender.connection += i64::from(frame.number()?),
                kind::WINDOW_UPDATE => {
                    let increment = i64::from(frame.number()?);
                    if let Some(stream) = self.stream(frame.stream) {
                        stream.window += increment;
                    }
                }
                _ => {}
            }
        }
        self.reader = reader;
        Ok(())
    }

    fn stream(&mut self, id: u32) -> Option<&mut Stream> {
        self.streams.iter_mut().rev().find(|stream| stream.id == id)
    }

    fn on_data(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>, rng: &mut Rng) -> Result<(), Malformed> {
        let content = self.receiver.data(frame, out)?;
        match self.stream(frame.stream).map(|stream| &mut stream.does) {
            Some(Does::Upload { known, position, is_wrong, .. }) => {
                if let Some(seed) = known.answer.upload {
                    *is_wrong |= !Pattern::new(seed).matches(*position, content);
                }
                *position += content.len() as u64;
            }
            Some(Does::Echo { back, .. }) => back.extend_from_slice(content),
            Some(Does::Content { .. }) | None => {}
        }
        if frame.has(flag::END_STREAM) {
            self.on_end(frame.stream, out, rng);
        }
        Ok(())
    }

    fn on_headers(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>, rng: &mut Rng) -> Result<(), Malformed> {
        let mut head = Head::default();
        let end = self.receiver.headers(frame, |name, value| match name {
            b":path" => head.target = value.to_vec(),
            b":method" => head.is_head = value == b"HEAD",
            b"content-type" => head.is_grpc = value.starts_with(b"application/grpc"),
            _ => {}
        })?;
        let Some((id, ends)) = end else { return Ok(()) };
        // A head without a target is trailers, of which only the end counts.
        if !head.target.is_empty() {
            self.on_request(id, head, out);
        }
        if ends {
            self.on_end(id, out, rng);
        }
        Ok(())
    }

    fn on_request(&mut self, id: u32, head: Head, out: &mut Vec<u8>) {
        let window = self.sender.initial;
        if head.is_grpc {
            // Calls of gRPC are one dialect, all others the other.
            let block = self.sender.block(&self.grpc_head, true);
            frame::headers(out, id, &block, false);
            self.streams.push(Stream { id, window, does: Does::Echo { back: Vec::new(), has_ended: false } });
            return;
        }
        let known = match self.known.get(&head.target) {
            Some(known) => Rc::clone(known),
            None => {
                let known = Rc::new(Known::new(&head.target));
                if self.known.len() < KNOWN {
                    self.known.insert(head.target, Rc::clone(&known));
                }
                known
            }
        };
        let does = Does::Upload { known, to_head: head.is_head, position: 0, is_wrong: false };
        self.streams.push(Stream { id, window, does });
    }

    /// The request is whole.
    fn on_end(&mut self, id: u32, out: &mut Vec<u8>, rng: &mut Rng) {
        let Some(at) = self.streams.iter().rposition(|stream| stream.id == id) else { return };
        let stream = &mut self.streams[at];
        let (known, to_head, is_wrong) = match &mut stream.does {
            Does::Echo { has_ended, .. } => {
                *has_ended = true;
                return;
            }
            Does::Content { .. } => return,
            Does::Upload { known, to_head, is_wrong, .. } => (Rc::clone(known), *to_head, *is_wrong),
        };
        let failed = match &known.answer {
            _ if is_wrong => Some(400),
            answer if answer.error > 0.0 && rng.chance(answer.error) => Some(503),
            _ => None,
        };
        if let Some(status) = failed {
            let head = Known::of(Answer { status, size: 0, ..Answer::default() }).head;
            frame::headers(out, id, &head.alone, true);
            self.streams.swap_remove(at);
            return;
        }
        let answer = &known.answer;
        let is_over = to_head || !answer.has_content() || answer.size == 0;
        let block = self.sender.block(&known.head, false);
        frame::headers(out, id, &block, is_over);
        if is_over {
            self.streams.swap_remove(at);
            return;
        }
        stream.does = Does::Content { pattern: answer.pattern(), position: 0, size: answer.size };
    }

    /// Writes content and trailers as far as windows and `out` take them.
    pub fn fill(&mut self, out: &mut Vec<u8>) {
        loop {
            let before = out.len();
            let sender = &mut self.sender;
            // One frame of each in turn, so that none waits for another's end.
            self.streams.retain_mut(|stream| out.len() >= send::READY || !stream.advance(sender, out));
            if out.len() == before || out.len() >= send::READY {
                return;
            }
        }
    }
}

impl Stream {
    /// Sends one frame. True when the stream is over.
    fn advance(&mut self, sender: &mut Sender, out: &mut Vec<u8>) -> bool {
        match &mut self.does {
            Does::Upload { .. } => false,
            Does::Content { pattern, position, size } => {
                let left = *size - *position;
                *position += sender.data(out, self.id, &mut self.window, pattern.run(*position, left), left) as u64;
                position == size
            }
            Does::Echo { back, has_ended } => {
                if !back.is_empty() {
                    // The trailers end it.
                    let sent = sender.data(out, self.id, &mut self.window, back, u64::MAX);
                    back.drain(..sent);
                }
                let is_over = back.is_empty() && *has_ended;
                if is_over {
                    frame::headers(out, self.id, b"\x00\x0bgrpc-status\x010", true);
                }
                is_over
            }
        }
    }
}

impl Known {
    fn new(target: &[u8]) -> Known {
        let refused = |reason: String| Answer { status: 400, size: reason.len() as u64, ..Answer::default() };
        match Answer::from_target(&String::from_utf8_lossy(target)) {
            Ok(answer) if answer.close != Close::Keep || !answer.delay.is_zero() || answer.chunk > 0 => {
                Known::of(refused("close, delay and chunk are for HTTP/1".to_owned()))
            }
            Ok(answer) => Known::of(answer),
            Err(reason) => Known::of(refused(reason)),
        }
    }

    fn of(answer: Answer) -> Known {
        let (status, seed, size) = (answer.status.to_string(), answer.seed.to_string(), answer.size.to_string());
        let more: Vec<(String, String)> = (0..answer.fields)
            .map(|index| (format!("x-origin-field-{index:04}"), format!("value-of-origin-{index:04}")))
            .collect();
        let mut fields =
            vec![(":status", status.as_str()), ("server", "origin"), ("content-type", "text/plain"), ("x-seed", &seed)];
        fields.extend(more.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        if answer.has_content() {
            fields.push(("content-length", &size));
        }
        let head = Blocks::new(&fields);
        Known { answer, head }
    }
}
