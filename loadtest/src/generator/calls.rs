//! The client's side of gRPC calls that last: one at a time on each connection, whose messages come back one by one.
use std::collections::VecDeque;

use super::flight::{Answer, Flight};
use super::spec::Prepared;
use crate::h2::frame::{self, Frame, FrameReader, INITIAL_WINDOW, PREFACE, WINDOW_MAX, flag, kind, setting};
use crate::h2::receive::Receiver;
use crate::h2::send::{self, Sender};
use crate::http::Malformed;

#[derive(Default)]
pub struct Calls {
    reader: FrameReader,
    receiver: Receiver,
    sender: Sender,
    /// The last stream; 0 until the preface is written.
    last: u32,
    call: Option<Call>,
    /// Messages that have not come back, oldest first. The last `unsent` of them have not gone out.
    flights: VecDeque<Flight>,
    unsent: usize,
    /// Content that has come, how much of it was looked at, and how much of that is the oldest message's.
    content: Vec<u8>,
    looked_at: usize,
    of_message: u64,
    /// The server closes.
    goaway: bool,
}

/// A call under way.
struct Call {
    window: i64,
    /// Messages that have gone out, and bytes of the next one.
    messages: u64,
    position: u64,
    has_ended: bool,
    /// `grpc-status: 0` has come.
    is_ok: bool,
}

impl Calls {
    pub fn in_flight(&self) -> usize {
        self.flights.len()
    }

    /// The oldest message.
    pub fn front(&self) -> Option<&Flight> {
        self.flights.front()
    }

    pub fn takes_more(&self) -> bool {
        !self.goaway
    }

    pub fn is_over(&self) -> bool {
        self.goaway && self.call.is_none()
    }

    pub fn take_flights(&mut self) -> VecDeque<Flight> {
        self.unsent = 0;
        std::mem::take(&mut self.flights)
    }

    /// Forgets the connection, not what was in flight on it.
    pub fn close(&mut self) {
        let flights = self.take_flights();
        *self = Calls { unsent: flights.len(), flights, ..Calls::default() };
    }

    pub fn requeue(&mut self, now: u64) {
        self.flights.iter_mut().for_each(|flight| *flight = flight.again(now));
    }

    pub fn begin(&mut self, flight: Flight) {
        self.flights.push_back(flight);
        self.unsent += 1;
    }

    fn open(&mut self, prepared: &Prepared, out: &mut Vec<u8>) {
        if self.last == 0 {
            out.extend_from_slice(PREFACE);
            frame::settings(out, &[(setting::ENABLE_PUSH, 0), (setting::INITIAL_WINDOW_SIZE, WINDOW_MAX)]);
            frame::window_update(out, 0, WINDOW_MAX - INITIAL_WINDOW as u32);
        }
        self.last = if self.last == 0 { 1 } else { self.last + 2 };
        let block = self.sender.block(&prepared.blocks, true);
        frame::headers(out, self.last, &block, false);
        let window = self.sender.initial;
        self.call = Some(Call { window, messages: 0, position: 0, has_ended: false, is_ok: false });
    }

    pub fn has_content(&self) -> bool {
        self.unsent > 0
    }

    /// Writes messages as far as windows take them; gives how many bytes. With its last message a call ends, and the next one
    /// begins when all have come back.
    pub fn fill(&mut self, requests: &[Prepared], out: &mut Vec<u8>) -> usize {
        let mut total = 0;
        while self.unsent > 0 && out.len() < send::READY {
            let prepared = &requests[self.flights[self.flights.len() - self.unsent].request as usize];
            let Some(content) = &prepared.upload else { break };
            if self.call.is_none() && !self.goaway {
                self.open(prepared, out);
            }
            let Some(call) = self.call.as_mut().filter(|call| !call.has_ended) else { break };
            // Nothing of it ends the stream: that is done below.
            let sent = self.sender.data(out, self.last, &mut call.window, content.run(call.position), u64::MAX);
            if sent == 0 {
                break;
            }
            total += sent;
            call.position += sent as u64;
            if call.position == content.len() {
                (call.position, call.messages) = (0, call.messages + 1);
                self.unsent -= 1;
                if call.messages == prepared.messages {
                    call.has_ended = true;
                    frame::header(out, 0, kind::DATA, flag::END_STREAM, self.last);
                }
            }
        }
        total
    }

    /// Reads received bytes up to the end of one message.
    pub fn next_answer(
        &mut self,
        input: &mut &[u8],
        requests: &[Prepared],
        out: &mut Vec<u8>,
        on_status: &mut impl FnMut(u16),
        on_content: &mut impl FnMut(usize),
    ) -> Result<Option<Answer>, Malformed> {
        let mut reader = std::mem::take(&mut self.reader);
        let answer = loop {
            if let Some(answer) = self.next_message(requests)? {
                break Some(answer);
            }
            let Some(frame) = reader.next(input)? else { break None };
            match frame.kind {
                kind::DATA => {
                    let content = self.receiver.data(&frame, out)?;
                    on_content(content.len());
                    self.content.extend_from_slice(content);
                }
                kind::HEADERS | kind::CONTINUATION => self.on_headers(&frame, requests, on_status)?,
                kind::RST_STREAM if self.call.is_some() => return Err(Malformed("a call was reset")),
                _ => self.on_control(&frame, out)?,
            }
        };
        self.reader = reader;
        Ok(answer)
    }

    /// The oldest message, if it has come back in whole.
    fn next_message(&mut self, requests: &[Prepared]) -> Result<Option<Answer>, Malformed> {
        let content = &self.content[self.looked_at..];
        if content.is_empty() {
            return Ok(None);
        }
        let was_sent = self.unsent < self.flights.len();
        let Some(flight) = self.flights.front_mut().filter(|_| was_sent) else {
            return Err(Malformed("a message that was not sent"));
        };
        let expect = &requests[flight.request as usize].expect;
        let size = expect.content.map_or(0, |(_, len)| len) + expect.head_len() as u64;
        let now = content.len().min((size - self.of_message) as usize);
        flight.check(expect, &content[..now]);
        (self.looked_at, self.of_message) = (self.looked_at + now, self.of_message + now as u64);
        if self.looked_at == self.content.len() {
            self.content.clear();
            self.looked_at = 0;
        }
        if self.of_message < size {
            return Ok(None);
        }
        self.of_message = 0;
        Ok(self.flights.pop_front().map(|flight| flight.finish(expect, false)))
    }

    fn on_headers(
        &mut self,
        frame: &Frame<'_>,
        requests: &[Prepared],
        on_status: &mut impl FnMut(u16),
    ) -> Result<(), Malformed> {
        let (mut status, mut grpc_status) = (None, None);
        let end = self.receiver.headers(frame, |name, value| match name {
            b":status" => status = std::str::from_utf8(value).ok().and_then(|text| text.parse::<u16>().ok()),
            b"grpc-status" => grpc_status = Some(value == b"0"),
            _ => {}
        })?;
        let Some((_, ends)) = end else { return Ok(()) };
        let Some(call) = &mut self.call else { return Err(Malformed("HEADERS without a call")) };
        call.is_ok |= grpc_status == Some(true);
        if let Some(status) = status {
            on_status(status);
            if !requests.iter().all(|request| request.expect.status.allows(status)) {
                return Err(Malformed("a call has another status"));
            }
        }
        if ends {
            let is_whole = call.has_ended && call.is_ok && self.flights.len() == self.unsent;
            self.call = None;
            return if is_whole { Ok(()) } else { Err(Malformed("a call ends before its time")) };
        }
        Ok(())
    }

    fn on_control(&mut self, frame: &Frame<'_>, out: &mut Vec<u8>) -> Result<(), Malformed> {
        match frame.kind {
            kind::SETTINGS => {
                let change = self.sender.settings(frame, out)?;
                self.call.iter_mut().for_each(|call| call.window += change);
            }
            kind::PING if !frame.has(flag::ACK) => frame::acknowledge(out, frame),
            kind::WINDOW_UPDATE if frame.stream == 0 => self.sender.connection += i64::from(frame.number()?),
            kind::WINDOW_UPDATE if frame.stream == self.last => {
                let increment = i64::from(frame.number()?);
                self.call.iter_mut().for_each(|call| call.window += increment);
            }
            kind::GOAWAY => self.goaway = true,
            kind::PUSH_PROMISE => return Err(Malformed("a push that was forbidden")),
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::recorder::Failure;
    use super::super::spec::{Content, Expect, ExpectStatus, RequestText, Reuse, message_head};
    use super::*;
    use crate::origin::h2::Http2 as Origin;
    use crate::pattern::Pattern;
    use crate::rng::Rng;

    fn prepared(seed: u64, messages: u64) -> Prepared {
        let pattern = Pattern::new(seed);
        let message = [message_head(20).as_slice(), &pattern.to_vec(20)].concat();
        let prepared = Prepared::new(RequestText {
            method: "POST",
            target: "/loadtest.Echo/Stream",
            host: "h",
            fields: &[("content-type".into(), "application/grpc".into())],
            upload: Some(Content::Bytes(message.into())),
            reuse: Reuse::KeepAlive,
            expect: Expect { status: ExpectStatus::Exactly(200), content: Some((pattern, 20)), grpc: true },
            secure: false,
        });
        Prepared { messages, ..prepared }
    }

    /// The answers to this many messages, four at a time, and the last stream. `step`: bytes that are received at once.
    fn talk(messages: u64, step: usize, change: impl Fn(&mut [u8])) -> (Vec<Result<Option<Answer>, Malformed>>, u32) {
        let requests: Vec<Prepared> = (1..4).map(|seed| prepared(seed, 3)).collect();
        let (mut calls, mut there, mut rng) = (Calls::default(), Vec::new(), Rng::new(1));
        let mut origin = Origin::new(&mut there);
        let (mut begun, mut answers) = (0, Vec::new());
        while (answers.len() as u64) < messages {
            while begun < messages && calls.in_flight() < 4 {
                calls.begin(Flight::new((begun % 3) as u32, 0, 0));
                begun += 1;
            }
            let mut out = Vec::new();
            calls.fill(&requests, &mut out);
            for piece in std::mem::take(&mut there).chunks_mut(step) {
                change(piece);
                let mut input = &*piece;
                loop {
                    match calls.next_answer(&mut input, &requests, &mut out, &mut |_| {}, &mut |_| {}) {
                        Ok(None) => break,
                        Ok(answer) => answers.push(Ok(answer)),
                        Err(error) => return ([answers, vec![Err(error)]].concat(), calls.last),
                    }
                }
            }
            origin.on_bytes(&out, &mut there, &mut rng).unwrap();
            origin.fill(&mut there);
        }
        (answers, calls.last)
    }

    #[test]
    fn messages_come_back_in_calls_of_as_many_as_are_asked_for() {
        for step in [1, 7, 10_000] {
            let (answers, last) = talk(20, step, |_| {});
            assert!(answers.iter().all(|answer| matches!(answer, Ok(Some(Answer { verdict: None, .. })))));
            // Seven calls of three messages.
            assert_eq!((answers.len(), last), (20, 13));
        }
    }

    #[test]
    fn another_byte_or_status_is_noticed() {
        let change = |from: &[u8], piece: &mut [u8]| {
            if let Some(at) = piece.windows(from.len()).position(|part| part == from) {
                piece[at + from.len() - 1] ^= 1;
            }
        };
        let second = Pattern::new(2).to_vec(20);
        let (answers, _) = talk(3, 10_000, |piece| change(&second, piece));
        let verdicts: Vec<_> = answers.iter().map(|answer| answer.unwrap().unwrap().verdict).collect();
        assert_eq!(verdicts, [None, Some(Failure::Bytes), None]);
        let (answers, _) = talk(20, 10_000, |piece| change(b"grpc-status\x010", piece));
        assert_eq!((answers.len(), answers[3].err()), (4, Some(Malformed("a call ends before its time"))));
    }
}
