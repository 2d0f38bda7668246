//! An HTTP/1 connection to a server, and the exchange on it: the request out, the response in.

use super::Intake;
use super::body_writer::BodyWriter;
use super::encode;
use crate::codec::h1::{BodyDecoder, BodyKind, Framing, HeadScanner, Limits, Parse};
use crate::http::{Length, Message, Method, RequestHead, ResponseHead, Trailers, Violation};
use crate::mux::{Broken, Ended, HeadKind, INTERIM_MAX, LONG_BODY, Piece};
use crate::net::{ByteStream, Outbox};
use crate::ring::{Buf, Reactor, TaskId};
use std::rc::Rc;
use std::task::Poll;

const TOO_MANY_INTERIM: Violation = Violation { status: 502, details: "http1.too_many_interim_responses" };

/// The server's side of one exchange after the other.
pub struct Asked {
    stream: ByteStream,
    reactor: Rc<Reactor>,
    limits: Limits,
    keep_trailers: bool,
    method: Method,
    out: Outbox,
    writer: BodyWriter,
    sent: u64,
    scanner: HeadScanner,
    /// Of the final response.
    framing: Framing,
    decoder: BodyDecoder,
    /// Received behind the head or behind the last data, not yet decoded.
    rest: Option<Buf>,
    interim: u8,
    /// Bytes of the response so far.
    received: u64,
    /// A byte of the response has come.
    begun: bool,
    /// Stays from one exchange to the next: a connection that just brought a long body will probably bring another, whose head
    /// then comes alone, and splice gets the rest.
    intake: Intake,
    ended_by_peer: bool,
}

impl Asked {
    /// Take over a connection that stands.
    pub fn new(stream: ByteStream, reactor: &Rc<Reactor>) -> Box<Self> {
        Box::new(Self {
            stream,
            reactor: reactor.clone(),
            limits: Limits::default(),
            keep_trailers: false,
            method: Method::Get,
            out: Outbox::default(),
            writer: BodyWriter::default(),
            sent: 0,
            scanner: HeadScanner::default(),
            framing: Framing::default(),
            decoder: BodyDecoder::new(BodyKind::None),
            rest: None,
            interim: 0,
            received: 0,
            begun: false,
            intake: Intake::default(),
            ended_by_peer: false,
        })
    }

    pub fn stream(&self) -> &ByteStream {
        &self.stream
    }

    pub(in crate::mux) fn begin(&mut self, limits: &Limits, keep_trailers: bool) {
        self.limits = *limits;
        self.keep_trailers = keep_trailers;
        self.sent = 0;
        self.scanner = HeadScanner::default();
        self.framing = Framing::default();
        self.interim = 0;
        self.received = 0;
        self.begun = false;
    }

    pub(in crate::mux) fn protocol(&self) -> &'static str {
        "HTTP/1.1"
    }

    pub(in crate::mux) fn send_head(&mut self, request: &Message<RequestHead>, host: &[u8]) -> u64 {
        self.method = request.head.method;
        self.writer = BodyWriter::new(request.head.length == Length::Unknown, self.keep_trailers);
        let out = self.out.bytes(&self.reactor);
        let before = out.len();
        encode::request(out, &request.head, request.view(), host);
        (out.len() - before) as u64
    }

    #[inline]
    pub(in crate::mux) fn put(&mut self, buf: Buf) -> usize {
        self.writer.data(&mut self.out, buf, &self.stream, &self.reactor)
    }

    pub(in crate::mux) fn put_bytes(&mut self, bytes: &[u8]) {
        self.writer.bytes(&mut self.out, bytes, &self.stream, &self.reactor);
    }

    pub(in crate::mux) fn end(&mut self, trailers: &Trailers) {
        self.writer.end(&mut self.out, trailers, &self.reactor);
    }

    #[inline]
    pub(in crate::mux) fn flush(&mut self) {
        self.out.flush(&self.stream);
    }

    #[inline]
    pub(in crate::mux) fn poll_room(&mut self, limit: usize) -> Poll<Result<usize, Broken>> {
        self.stream.poll_room(limit).map_err(|_| Broken::Closed)
    }

    pub(in crate::mux) fn poll_head(&mut self, response: &mut Message<ResponseHead>) -> Poll<Result<HeadKind, Broken>> {
        loop {
            let buf = match self.rest.take() {
                Some(buf) => buf,
                None => match self.stream.poll_recv() {
                    Poll::Pending => {
                        response.received.settle(usize::MAX);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(Some(buf))) => buf,
                    Poll::Ready(Ok(None)) => {
                        self.ended_by_peer = true;
                        return Poll::Ready(Err(Broken::Closed));
                    }
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Closed)),
                },
            };
            self.begun = true;
            response.received.append(buf, &self.reactor);
            let bytes = response.received.as_slice();
            match self.scanner.response(bytes, &self.limits, self.method, &mut response.head) {
                Ok(Parse::Partial) => {}
                Err(error) => return Poll::Ready(Err(Broken::Violation(error.into()))),
                Ok(Parse::Complete(framing)) => return Poll::Ready(self.on_head(response, framing)),
            }
        }
    }

    fn on_head(&mut self, response: &mut Message<ResponseHead>, framing: Framing) -> Result<HeadKind, Broken> {
        self.received += u64::from(framing.len);
        self.rest = response.received.rest(framing.len as usize, &self.reactor);
        if response.head.is_interim() {
            self.interim += 1;
            return if self.interim > INTERIM_MAX {
                Err(Broken::Violation(TOO_MANY_INTERIM))
            } else {
                Ok(HeadKind::Interim)
            };
        }
        response.is_whole = true;
        self.framing = framing;
        self.decoder = BodyDecoder::with_limits(framing.body, &self.limits, self.keep_trailers);
        Ok(HeadKind::Final)
    }

    pub(in crate::mux) fn poll_piece(&mut self, trailers: &mut Trailers) -> Poll<Result<Piece, Broken>> {
        loop {
            if self.decoder.is_done() {
                super::take_trailers(&mut self.decoder, trailers);
                self.intake.end(&self.stream);
                return Poll::Ready(Ok(Piece::End));
            }
            let mut buf = match self.rest.take() {
                Some(buf) => buf,
                None => match self.intake.poll_recv(&self.stream) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(Some(buf))) => buf,
                    Poll::Ready(Ok(None)) => match self.passed_end() {
                        Ok(()) => continue,
                        Err(broken) => return Poll::Ready(Err(broken)),
                    },
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Closed)),
                },
            };
            let decoded = match super::decode(&mut self.decoder, &mut buf) {
                Ok(decoded) => decoded,
                Err(error) => return Poll::Ready(Err(Broken::Violation(error.into()))),
            };
            self.received += decoded.consumed as u64;
            if decoded.data.is_empty() {
                buf.advance(decoded.consumed);
                self.rest = (!buf.is_empty()).then_some(buf);
                continue;
            }
            self.note_length();
            self.intake.note(decoded.data.len());
            if decoded.data == (0..buf.len()) {
                return Poll::Ready(Ok(Piece::Data(buf)));
            }
            let data = buf.slice(decoded.data);
            buf.advance(decoded.consumed);
            self.rest = (!buf.is_empty()).then_some(buf);
            return Poll::Ready(Ok(Piece::Data(data)));
        }
    }

    /// A piece of the body has come: how the next ones are received depends on how long it is.
    fn note_length(&mut self) {
        let is_long = super::is_long(&self.decoder, self.received);
        let ends_short = self.decoder.is_done() && self.received < LONG_BODY;
        if is_long || ends_short {
            self.intake.stream(is_long, &self.stream);
        }
    }

    #[inline]
    pub(in crate::mux) fn wanted(&mut self, limit: usize) -> usize {
        self.intake.wanted(limit, &self.decoder)
    }

    pub(in crate::mux) fn has_begun(&self) -> bool {
        self.begun
    }

    pub(in crate::mux) fn has_heard(&self) -> bool {
        self.begun
    }

    pub(in crate::mux) fn received(&self) -> u64 {
        self.received
    }

    pub(in crate::mux) fn head_received(&self) -> u64 {
        u64::from(self.framing.len)
    }

    pub(in crate::mux) fn sent(&mut self) -> u64 {
        self.sent += self.out.take_total();
        self.sent
    }

    pub(in crate::mux) fn is_broken(&self) -> bool {
        self.stream.is_broken()
    }

    /// Whether TLS ended without the peer's word for it.
    pub(in crate::mux) fn is_cut(&self) -> bool {
        self.stream.tls().is_some_and(|stream| stream.is_cut())
    }

    pub(in crate::mux) fn ended_by_peer(&self) -> bool {
        self.ended_by_peer || self.stream.is_broken() || self.is_cut()
    }

    /// Bytes behind the response would be taken for the next one. Those behind a short body come with it. A long one is
    /// fetched piece by piece or spliced, up to its last byte, so that they still wait in the kernel.
    pub(in crate::mux) fn is_reusable(&self) -> bool {
        let has_surplus = || match self.received {
            LONG_BODY.. => self.stream.has_unread_bytes(),
            _ => self.stream.has_received_bytes(),
        };
        let is_over = self.decoder.is_done() && self.rest.is_none() && self.stream.unsent() == 0;
        self.framing.keep_alive && is_over && !has_surplus()
    }

    pub(in crate::mux) fn poll_idle(&mut self) -> Poll<Ended> {
        if !self.stream.has_received() {
            // Asking keeps the receive armed: its completion is how the server's close is noticed.
            let _ = self.stream.poll_recv();
            return Poll::Pending;
        }
        self.ended_by_peer = true;
        Poll::Ready(Ended { unasked: self.stream.has_received_bytes() })
    }

    pub(in crate::mux) fn watch(&self, task: TaskId) {
        self.stream.set_receive_waiter(task);
    }

    pub(in crate::mux) fn place(&self) -> u32 {
        self.stream.place()
    }

    pub(in crate::mux) fn plain(&self) -> Option<(&ByteStream, u64)> {
        if self.framing.body == BodyKind::Chunked || self.rest.is_some() {
            return None;
        }
        Some((&self.stream, self.decoder.skippable().unwrap_or(u64::MAX)))
    }

    pub(in crate::mux) fn passed(&mut self, count: u64) {
        self.received += count;
        self.decoder.skip(count);
    }

    pub(in crate::mux) fn passed_end(&mut self) -> Result<(), Broken> {
        self.ended_by_peer = true;
        self.decoder.on_eof().map_err(|_| Broken::Closed)
    }
}
