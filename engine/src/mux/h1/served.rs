//! One exchange of a client on its HTTP/1 connection: the request in, the response out, and what becomes of the
//! connection.

use super::Intake;
use super::body_writer::BodyWriter;
use super::encode::{self, ResponseShape};
use crate::codec::h1::{self, BodyDecoder, BodyError, BodyKind, Framing, HeadScanner, Limits, Parse};
use crate::http::{Message, RequestHead, ResponseHead, Trailers, Version};
use crate::mux::{Broken, Piece};
use crate::net::{ByteStream, Delivery, Outbox};
use crate::ring::{Buf, Reactor};
use std::rc::Rc;
use std::task::Poll;

/// What an exchange left of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Disposition {
    /// The next request may come.
    KeepAlive,
    /// All was said and read.
    Close,
    /// The client may still be sending.
    Linger,
    /// The response is incomplete: the connection ends behind what there is of it, so that the client can tell.
    Abort,
    /// The same where only a reset tells, because the response's end would be the connection's, and where the client takes
    /// nothing.
    Reset,
}

/// The client's side of one exchange.
pub struct Served<'c> {
    stream: &'c ByteStream,
    reactor: &'c Rc<Reactor>,
    limits: &'c Limits,
    /// Of the request.
    framing: Framing,
    version: Version,
    scanner: HeadScanner,
    decoder: BodyDecoder,
    keep_trailers: bool,
    /// Received behind the head or behind the last data, not yet decoded.
    rest: Option<Buf>,
    /// Bytes of the request so far.
    received: u64,
    /// The head is whole.
    has_head: bool,
    /// A byte of the body has come.
    begun: bool,
    /// Of the body.
    intake: Intake,
    out: Outbox,
    writer: BodyWriter,
    sent: u64,
    /// Some of them by splice.
    spliced: bool,
    /// The response's, once its head is written.
    shape: Option<ResponseShape>,
    /// The client takes nothing.
    given_up: bool,
}

impl<'c> Served<'c> {
    pub fn new(stream: &'c ByteStream, reactor: &'c Rc<Reactor>, limits: &'c Limits, keep_trailers: bool) -> Self {
        Self {
            stream,
            reactor,
            limits,
            framing: Framing::default(),
            version: Version::Http11,
            scanner: HeadScanner::default(),
            decoder: BodyDecoder::new(BodyKind::None),
            keep_trailers,
            rest: None,
            received: 0,
            has_head: false,
            begun: false,
            intake: Intake::default(),
            out: Outbox::default(),
            writer: BodyWriter::default(),
            sent: 0,
            spliced: false,
            shape: None,
            given_up: false,
        }
    }

    /// Read the head into `request`, which holds the bytes that came so far: at least one.
    ///
    /// # Errors
    /// There will be no request: it breaks a rule, or the client is gone.
    pub fn poll_request(&mut self, request: &mut Message<RequestHead>) -> Poll<Result<(), Broken>> {
        loop {
            match self.scanner.request(request.received.as_slice(), self.limits, &mut request.head) {
                Err(error) => return Poll::Ready(Err(Broken::Violation(error.into()))),
                Ok(Parse::Complete(framing)) => {
                    self.begin(request, framing);
                    return Poll::Ready(Ok(()));
                }
                Ok(Parse::Partial) => {}
            }
            match self.stream.poll_recv() {
                Poll::Ready(Ok(Some(buf))) => request.received.append(buf, self.reactor),
                Poll::Ready(Ok(None) | Err(_)) => return Poll::Ready(Err(Broken::Closed)),
                Poll::Pending => {
                    request.received.settle(usize::MAX);
                    return Poll::Pending;
                }
            }
        }
    }

    /// There will be no request. What its line says stays known.
    #[cold]
    pub fn keep_line(&self, request: &mut Message<RequestHead>) {
        request.has_line = h1::parse_line(request.received.as_slice(), &mut request.head);
    }

    fn begin(&mut self, request: &mut Message<RequestHead>, framing: Framing) {
        request.is_whole = true;
        self.framing = framing;
        self.version = request.head.version;
        self.has_head = true;
        self.received = u64::from(framing.len);
        self.rest = request.received.rest(framing.len as usize, self.reactor);
        self.decoder = BodyDecoder::with_limits(framing.body, self.limits, self.keep_trailers);
    }

    #[inline]
    pub(in crate::mux) fn is_done(&self) -> bool {
        self.decoder.is_done() && self.has_head
    }

    /// In HTTP/1.0 the two headers mean nothing (RFC 9110 section 7.8).
    pub(in crate::mux) fn asks_upgrade(&self) -> bool {
        self.framing.upgrade && self.version == Version::Http11
    }

    pub(in crate::mux) fn received(&self) -> u64 {
        self.received
    }

    pub(in crate::mux) fn head_received(&self) -> u64 {
        u64::from(self.framing.len)
    }

    pub(in crate::mux) fn poll_piece(&mut self, trailers: &mut Trailers) -> Poll<Result<Piece, Broken>> {
        loop {
            if self.decoder.is_done() {
                super::take_trailers(&mut self.decoder, trailers);
                self.intake.stream(false, self.stream);
                return Poll::Ready(Ok(Piece::End));
            }
            let mut buf = match self.rest.take() {
                Some(buf) => buf,
                None => match self.intake.poll_recv(self.stream) {
                    Poll::Pending => return Poll::Pending,
                    Poll::Ready(Ok(Some(buf))) => buf,
                    Poll::Ready(Ok(None)) => return Poll::Ready(Err(Broken::Truncated)),
                    Poll::Ready(Err(_)) => return Poll::Ready(Err(Broken::Closed)),
                },
            };
            let decoded = match super::decode(&mut self.decoder, &mut buf) {
                Ok(decoded) => decoded,
                Err(BodyError::Truncated) => return Poll::Ready(Err(Broken::Truncated)),
                Err(error) => return Poll::Ready(Err(Broken::Violation(error.into()))),
            };
            self.received += decoded.consumed as u64;
            let data = (!decoded.data.is_empty()).then(|| buf.slice(decoded.data.clone()));
            // What follows is the next piece or the next request.
            buf.advance(decoded.consumed);
            self.rest = (!buf.is_empty()).then_some(buf);
            if let Some(data) = data {
                self.begun = true;
                self.intake.note(data.len());
                if super::is_long(&self.decoder, self.received) {
                    self.intake.stream(true, self.stream);
                }
                return Poll::Ready(Ok(Piece::Data(data)));
            }
        }
    }

    #[inline]
    pub(in crate::mux) fn wanted(&mut self, limit: usize) -> usize {
        self.intake.wanted(limit, &self.decoder)
    }

    /// Whether the client may be waiting for `100 Continue`.
    fn waits(&self) -> bool {
        self.framing.expect_continue && !self.begun && !self.is_done()
    }

    pub(in crate::mux) fn invite(&mut self) -> bool {
        let waits = self.waits();
        let expected = std::mem::take(&mut self.framing.expect_continue);
        if waits {
            let out = self.out.bytes(self.reactor);
            h1::encode::status_line(out, 100, b"Continue");
            h1::encode::end(out);
            self.flush();
        }
        expected
    }

    /// HTTP/1.0 knows no interim responses (RFC 9110 section 15.2).
    pub(in crate::mux) fn send_interim(&mut self, response: &Message<ResponseHead>) -> bool {
        if self.version == Version::Http10 {
            return false;
        }
        if response.head.status == 100 {
            self.framing.expect_continue = false;
        }
        encode::interim(self.out.bytes(self.reactor), &response.head, response.view());
        self.flush();
        true
    }

    pub(in crate::mux) fn send_head(
        &mut self,
        request: &RequestHead,
        response: &Message<ResponseHead>,
        closes: bool,
    ) -> u64 {
        // A client that waits for 100 and got a final response instead may or may not send its body now: where the next
        // request would begin cannot be told (RFC 9110 section 10.1.1).
        let close = closes || self.waits() || !self.framing.keep_alive;
        let shape = ResponseShape::new(self.version, response.head.length, close);
        self.writer = BodyWriter::new(shape.framing == BodyKind::Chunked, self.keep_trailers);
        self.shape = Some(shape);
        let out = self.out.bytes(self.reactor);
        let before = out.len();
        encode::response(out, request, &response.head, response.view(), shape);
        (out.len() - before) as u64
    }

    #[inline]
    pub(in crate::mux) fn put(&mut self, buf: Buf) -> usize {
        self.writer.data(&mut self.out, buf, self.stream, self.reactor)
    }

    pub(in crate::mux) fn put_bytes(&mut self, bytes: &[u8]) {
        self.writer.bytes(&mut self.out, bytes, self.stream, self.reactor);
    }

    pub(in crate::mux) fn end(&mut self, trailers: &Trailers) {
        self.writer.end(&mut self.out, trailers, self.reactor);
        // Not where the rest of a request is waited for before the end.
        if self.shape.is_some_and(|shape| shape.close) && self.is_done() {
            self.stream.ends_with_next();
        }
    }

    #[inline]
    pub(in crate::mux) fn flush(&mut self) {
        self.out.flush(self.stream);
    }

    #[inline]
    pub(in crate::mux) fn poll_room(&mut self, limit: usize) -> Poll<Result<usize, Broken>> {
        self.stream.poll_room(limit).map_err(|_| Broken::Closed)
    }

    pub(in crate::mux) fn sent(&mut self) -> u64 {
        self.sent += self.out.take_total();
        self.sent
    }

    #[inline]
    pub(in crate::mux) fn is_broken(&self) -> bool {
        self.stream.is_broken()
    }

    pub(in crate::mux) fn has_left(&mut self) -> bool {
        self.stream.has_ended() && self.leaves_nothing()
    }

    /// A client that has sent further requests wants their responses, and this one before them. A response to an earlier
    /// request that is still unsent would be lost with the connection.
    #[cold]
    fn leaves_nothing(&mut self) -> bool {
        if self.rest.is_some() || self.stream.has_unread_bytes() {
            return false;
        }
        self.flush();
        let owes = self.stream.unsent() as u64 > self.sent();
        if owes {
            // So that this is asked again when more is sent.
            let _ = self.stream.poll_flushed(0);
        }
        !owes
    }

    pub(in crate::mux) fn watch_end(&self) {
        self.stream.watch_end();
    }

    pub(in crate::mux) fn is_awaited(&self) -> bool {
        !self.waits() && self.rest.is_none() && !self.stream.has_received()
    }

    pub(in crate::mux) fn delivery(&self) -> Option<Delivery> {
        Some(self.stream.delivery())
    }

    pub(in crate::mux) fn give_up(&mut self) {
        self.given_up = true;
    }

    pub(in crate::mux) fn reads_away(&self) -> bool {
        !self.is_done() && self.shape.is_some_and(|shape| !shape.close)
    }

    pub(in crate::mux) fn plain(&self) -> Option<&ByteStream> {
        (!self.writer.chunked).then_some(self.stream)
    }

    pub(in crate::mux) fn passed(&mut self, count: u64) {
        self.sent += count;
        self.spliced |= count > 0;
    }

    /// The exchange is over: what becomes of the connection. `whole`: the response was sent to its end. The bytes that came
    /// behind the request are put back.
    pub fn close(mut self, whole: bool) -> Disposition {
        self.flush();
        // The body may have ended without being asked for its end.
        self.intake.stream(false, self.stream);
        if let Some(rest) = self.rest.take() {
            self.stream.unread(rest);
        }
        if self.given_up {
            return Disposition::Reset;
        }
        let Some(shape) = self.shape else { return Disposition::Abort };
        match whole {
            false if shape.framing == BodyKind::UntilClose => Disposition::Reset,
            false => Disposition::Abort,
            true if !self.is_done() => Disposition::Linger,
            true if !shape.close => Disposition::KeepAlive,
            // A client that did not ask for the close may be sending its next request. And much may still wait in the kernel where
            // nothing was sent by the ring.
            true if self.framing.keep_alive || self.spliced => Disposition::Linger,
            true => Disposition::Close,
        }
    }
}
