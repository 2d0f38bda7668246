//! The client's side of HTTP/1: answers come in the order of the requests.
use std::collections::VecDeque;

use super::flight::{Answer, Flight};
use super::recorder::Failure;
use super::spec::{Content, Prepared};
use crate::http::{Event, Malformed, ResponseReader};

/// Type of the records of TLS that carry messages of a handshake (RFC 8446 section 5.1).
const HANDSHAKE: u8 = 22;

#[derive(Default)]
pub struct Http1 {
    pub flights: VecDeque<Flight>,
    reader: ResponseReader,
    upload: Option<Upload>,
}

#[derive(Clone, Copy, Debug)]
struct Upload {
    request: u32,
    position: u64,
}

impl Http1 {
    /// Forgets the connection, not what was in flight on it.
    pub fn close(&mut self) {
        self.reader = ResponseReader::new();
        self.upload = None;
    }

    pub fn begin(&mut self, requests: &[Prepared], flight: Flight, out: &mut Vec<u8>) {
        self.flights.push_back(flight);
        let prepared = &requests[flight.request as usize];
        out.extend_from_slice(&prepared.head);
        if prepared.upload.is_some() {
            self.upload = Some(Upload { request: flight.request, position: 0 });
        }
    }

    /// Queues what is in flight again, on a fresh socket after the last one was closed.
    pub fn requeue(&mut self, requests: &[Prepared], now: u64, out: &mut Vec<u8>) {
        for flight in std::mem::take(&mut self.flights) {
            self.begin(requests, flight.again(now), out);
        }
    }

    /// Content to send behind the heads.
    pub fn content<'r>(&self, requests: &'r [Prepared]) -> &'r [u8] {
        let Some(upload) = self.upload else { return &[] };
        match requests[upload.request as usize].upload.as_ref() {
            Some(content) if upload.position < content.len() => Content::run(content, upload.position),
            _ => &[],
        }
    }

    pub fn content_sent(&mut self, sent: usize) {
        if let Some(upload) = &mut self.upload {
            upload.position += sent as u64;
        }
    }

    pub fn all_sent(&mut self) {
        self.upload = None;
    }

    /// Reads received bytes up to the end of one answer. `is_last` is set when the connection ends with it.
    pub fn next_answer(
        &mut self,
        input: &mut &[u8],
        requests: &[Prepared],
        is_last: &mut bool,
        on_status: &mut impl FnMut(u16),
        on_content: &mut impl FnMut(usize),
    ) -> Result<Option<Answer>, Malformed> {
        loop {
            let Some(flight) = self.flights.front_mut() else {
                return if input.is_empty() { Ok(None) } else { Err(Malformed("bytes that no request asked for")) };
            };
            let prepared = &requests[flight.request as usize];
            if prepared.is_hello {
                let Some(first) = std::mem::take(input).first() else { return Ok(None) };
                if *first != HANDSHAKE {
                    flight.verdict = Some(Failure::Status);
                }
                *is_last = true;
                return Ok(self.finish(prepared, prepared.to_head, is_last));
            }
            match self.reader.next(input, prepared.to_head)? {
                Event::Head(head) => {
                    on_status(head.status);
                    *is_last = !head.keep_alive;
                    if !prepared.expect.status.allows(head.status) {
                        flight.verdict = Some(Failure::Status);
                    }
                }
                Event::Data(data) => {
                    on_content(data.len());
                    flight.check(&prepared.expect, data);
                }
                Event::End => return Ok(self.finish(prepared, prepared.to_head, is_last)),
                Event::More => return Ok(None),
            }
        }
    }

    /// The answer that the end of the connection completes, if its content was to end there.
    pub fn answer_at_end(&mut self, requests: &[Prepared], is_last: &mut bool) -> Option<Answer> {
        let request = self.flights.front()?.request;
        if !self.reader.ends_at_close() {
            return None;
        }
        *is_last = true;
        self.finish(&requests[request as usize], false, is_last)
    }

    fn finish(&mut self, prepared: &Prepared, to_head: bool, is_last: &mut bool) -> Option<Answer> {
        let flight = self.flights.pop_front()?;
        // An answer before the end of the upload leaves the connection in the middle of a request.
        if self.upload.is_some() {
            *is_last = true;
        }
        Some(flight.finish(&prepared.expect, to_head))
    }
}
