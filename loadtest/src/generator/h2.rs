//! The client's side of HTTP/2: a stream for each request, answers in any order.
use std::collections::VecDeque;

use super::flight::{Answer, Flight};
use super::recorder::Failure;
use super::spec::Prepared;
use crate::h2::frame::{self, Frame, FrameReader, INITIAL_WINDOW, PREFACE, WINDOW_MAX, flag, kind, setting};
use crate::h2::receive::Receiver;
use crate::h2::send::{self, Sender};
use crate::http::Malformed;

const CANCEL: u32 = 8;

#[derive(Default)]
pub struct Http2 {
    reader: FrameReader,
    receiver: Receiver,
    sender: Sender,
    /// Entry `i` is stream `first + 2 * i`, until its answer is whole; the front is never empty. `first` is 0 until the
    /// preface is written.
    streams: VecDeque<Option<Stream>>,
    first: u32,
    in_flight: usize,
    /// What was in flight when the connection was closed.
    left: VecDeque<Flight>,
    /// Streams with content to send, in turn.
    uploads: VecDeque<u32>,
    /// The last stream that a server which wants to close answers.
    goaway: Option<u32>,
}

struct Stream {
    flight: Flight,
    window: i64,
    sent: u64,
    /// `grpc-status: 0` has come.
    is_ok: bool,
}

impl Http2 {
    pub fn in_flight(&self) -> usize {
        self.left.len() + self.in_flight
    }

    /// The oldest exchange.
    pub fn front(&self) -> Option<&Flight> {
        self.left.front().or_else(|| self.streams.iter().flatten().map(|stream| &stream.flight).next())
    }

    pub fn takes_more(&self) -> bool {
        self.goaway.is_none() && self.in_flight < self.sender.max_streams
    }

    /// Whether the server closes, and everything is answered that it still answers.
    pub fn is_over(&self) -> bool {
        self.goaway.is_some_and(|last| self.first > last || self.streams.is_empty())
    }

    pub fn take_flights(&mut self) -> VecDeque<Flight> {
        let streams = std::mem::take(&mut self.streams).into_iter().flatten().map(|stream| stream.flight);
        self.in_flight = 0;
        let mut flights = std::mem::take(&mut self.left);
        flights.extend(streams);
        flights
    }

    /// Forgets the connection, not what was in flight on it.
    pub fn close(&mut self) {
        let left = self.take_flights();
        *self = Http2 { left, ..Http2::default() };
    }

    pub fn requeue(&mut self, requests: &[Prepared], now: u64, out: &mut Vec<u8>) {
        for flight in std::mem::take(&mut self.left) {
            self.begin(requests, flight.again(now), out);
        }
    }

    pub fn begin(&mut self, requests: &[Prepared], flight: Flight, out: &mut Vec<u8>) {
        let prepared = &requests[flight.request as usize];
        if self.first == 0 {
            self.first = 1;
            out.extend_from_slice(PREFACE);
            frame::settings(out, &[(setting::ENABLE_PUSH, 0), (setting::INITIAL_WINDOW_SIZE, WINDOW_MAX)]);
            frame::window_update(out, 0, WINDOW_MAX - INITIAL_WINDOW as u32);
        }
        let id = self.first + 2 * self.streams.len() as u32;
        let block = self.sender.block(&prepared.blocks, true);
        frame::headers(out, id, &block, prepared.upload.is_none());
        let stream = Stream { flight, window: self.sender.initial, sent: 0, is_ok: false };
        self.streams.push_back(Some(stream));
        self.in_flight += 1;
        if prepared.upload.is_some() {
            self.uploads.push_back(id);
        }
    }

    pub fn has_content(&self) -> bool {
        !self.uploads.is_empty()
    }

    /// Writes content as far as windows take it; gives how much.
    pub fn fill(&mut self, requests: &[Prepared], out: &mut Vec<u8>) -> usize {
        let mut total = 0;
        for _ in 0..self.uploads.len() {
            let Some(id) = self.uploads.pop_front() else { break };
            let Some(stream) = slot(&mut self.streams, self.first, id).and_then(Option::as_mut) else { continue };
            let Some(content) = &requests[stream.flight.request as usize].upload else { continue };
            while stream.sent < content.len() && out.len() < send::READY {
                let left = content.len() - stream.sent;
                let sent = self.sender.data(out, id, &mut stream.window, content.run(stream.sent), left);
                if sent == 0 {
                    break;
                }
                stream.sent += sent as u64;
                total += sent;
            }
            if stream.sent < content.len() {
                self.uploads.push_back(id);
            }
        }
        total
    }

    /// Reads received bytes up to the end of one answer.
    pub fn next_answer(
        &mut self,
        input: &mut &[u8],
        requests: &[Prepared],
        out: &mut Vec<u8>,
        on_status: &mut impl FnMut(u16),
        on_content: &mut impl FnMut(usize),
    ) -> Result<Option<Answer>, Malformed> {
        let mut reader = std::mem::take(&mut self.reader);
        let mut answer = None;
        while answer.is_none() {
            let Some(frame) = reader.next(input)? else { break };
            answer = match frame.kind {
                kind::DATA => self.on_data(&frame, requests, out, on_content)?,
                kind::HEADERS | kind::CONTINUATION => self.on_headers(&frame, requests, out, on_status)?,
                kind::RST_STREAM => self.on_reset(&frame)?,
                _ => self.on_control(&frame, out).map(|()| None)?,
            };
        }
        self.reader = reader;
        Ok(answer)
    }

    fn on_data(
        &mut self,
        frame: &Frame<'_>,
        requests: &[Prepared],
        out: &mut Vec<u8>,
        on_content: &mut impl FnMut(usize),
    ) -> Result<Option<Answer>, Malformed> {
        let content = self.receiver.data(frame, out)?;
        // What comes after a stream was given up is dropped; what no request asked for is an error.
        let Some(stream) = find(&mut self.streams, self.first, frame.stream)? else { return Ok(None) };
        let prepared = &requests[stream.flight.request as usize];
        on_content(content.len());
        stream.flight.check(&prepared.expect, content);
        Ok(if frame.has(flag::END_STREAM) { self.finish(frame.stream, requests, out) } else { None })
    }

    fn on_headers(
        &mut self,
        frame: &Frame<'_>,
        requests: &[Prepared],
        out: &mut Vec<u8>,
        on_status: &mut impl FnMut(u16),
    ) -> Result<Option<Answer>, Malformed> {
        let (mut status, mut grpc_status) = (None, None);
        let end = self.receiver.headers(frame, |name, value| match name {
            b":status" => status = std::str::from_utf8(value).ok().and_then(|text| text.parse::<u16>().ok()),
            b"grpc-status" => grpc_status = Some(value == b"0"),
            _ => {}
        })?;
        let Some((id, ends)) = end else { return Ok(None) };
        let Some(stream) = find(&mut self.streams, self.first, id)? else { return Ok(None) };
        if let Some(status) = status.filter(|status| *status >= 200) {
            on_status(status);
            if !requests[stream.flight.request as usize].expect.status.allows(status) {
                stream.flight.fail(Failure::Status);
            }
        }
        stream.is_ok |= grpc_status == Some(true);
        Ok(if ends { self.finish(id, requests, out) } else { None })
    }

    fn on_reset(&mut self, frame: &Frame<'_>) -> Result<Option<Answer>, Malformed> {
        let Some(stream) = find(&mut self.streams, self.first, frame.stream)? else { return Ok(None) };
        stream.flight.fail(Failure::Closed);
        let Some(stream) = self.remove(frame.stream) else { return Ok(None) };
        Ok(Some(Answer { flight: stream.flight, verdict: stream.flight.verdict }))
    }

    fn on_control(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) -> Result<(), Malformed> {
        match frame.kind {
            kind::SETTINGS => {
                let change = self.sender.settings(frame, out)?;
                self.streams.iter_mut().flatten().for_each(|stream| stream.window += change);
            }
            kind::PING if !frame.has(flag::ACK) => frame::acknowledge(out, frame),
            kind::WINDOW_UPDATE if frame.stream == 0 => self.sender.connection += i64::from(frame.number()?),
            kind::WINDOW_UPDATE => {
                if let Some(stream) = find(&mut self.streams, self.first, frame.stream)? {
                    stream.window += i64::from(frame.number()?);
                }
            }
            kind::GOAWAY => self.goaway = Some(frame.number()?),
            kind::PUSH_PROMISE => return Err(Malformed("a push that was forbidden")),
            _ => {}
        }
        Ok(())
    }

    fn finish(&mut self, id: u32, requests: &[Prepared], out: &mut Vec<u8>) -> Option<Answer> {
        let mut stream = self.remove(id)?;
        let prepared = &requests[stream.flight.request as usize];
        if prepared.expect.grpc && !stream.is_ok {
            stream.flight.fail(Failure::Status);
        }
        if prepared.upload.as_ref().is_some_and(|content| stream.sent < content.len()) {
            frame::header(out, 4, kind::RST_STREAM, 0, id);
            out.extend_from_slice(&CANCEL.to_be_bytes());
        }
        Some(stream.flight.finish(&prepared.expect, prepared.to_head))
    }

    fn remove(&mut self, id: u32) -> Option<Stream> {
        let stream = slot(&mut self.streams, self.first, id)?.take()?;
        self.in_flight -= 1;
        while let Some(None) = self.streams.front() {
            self.streams.pop_front();
            self.first += 2;
        }
        Some(stream)
    }
}

fn slot(streams: &mut VecDeque<Option<Stream>>, first: u32, id: u32) -> Option<&mut Option<Stream>> {
    streams.get_mut(id.checked_sub(first)? as usize / 2)
}

/// The stream, unless it is over. An error for one that was never opened.
fn find(streams: &mut VecDeque<Option<Stream>>, first: u32, id: u32) -> Result<Option<&mut Stream>, Malformed> {
    if id.is_multiple_of(2) || id >= first + 2 * streams.len() as u32 {
        return Err(Malformed("a frame for a stream that no request opened"));
    }
    Ok(slot(streams, first, id).and_then(Option::as_mut))
}
