//! One exchange of a client on its stream: the request in, the response out.

use super::body::{Body, Missing, sent_as};
use super::link::{Link, Release};
use super::room;
use super::stream::Key;
use crate::codec::h2::frame::HEADER;
use crate::codec::h2::{Code, WRONG_LENGTH, hpack::encode, write};
use crate::http::{FieldId, Length, Message, Method, RequestHead, ResponseHead, Trailers, Violation};
use crate::mux::h1::Disposition;
use crate::mux::{Broken, Limits, Piece};
use crate::net::ByteStream;
use crate::ring::Buf;
use std::rc::Rc;
use std::task::{Poll, ready};

/// The peer broke a rule of frames, and its stream was reset.
pub(super) const STREAM_ERROR: Violation = Violation { status: 400, details: "http2.stream_error" };

/// The client's side of one exchange. Dropped before `close`, the stream is reset.
pub struct Served {
    link: Rc<Link>,
    key: Key,
    limits: Limits,
    body: Body,
    /// The client may be waiting for `100 Continue`.
    waits: bool,
    head_received: u64,
    sent: u64,
    /// The response was sent to its end.
    whole: bool,
    /// What the stream is reset with otherwise.
    code: Code,
    /// The client does not take what is there for it.
    is_given_up: bool,
    /// The request is malformed: it gets no answer but a reset (RFC 9113 section 8.1.1).
    malformed: bool,
}

impl Served {
    pub fn new(link: &Rc<Link>, key: Key, limits: &Limits) -> Self {
        Self {
            link: link.clone(),
            key,
            limits: *limits,
            body: Body::default(),
            waits: false,
            head_received: 0,
            sent: 0,
            whole: false,
            code: Code::INTERNAL_ERROR,
            is_given_up: false,
            malformed: false,
        }
    }

    /// Read the head, which has come, into `request`.
    ///
    /// # Errors
    /// It breaks a rule, or the client is gone.
    pub fn read_request(&mut self, request: &mut Message<RequestHead>) -> Result<(), Broken> {
        let Poll::Ready(block) = self.link.poll_head(self.key) else { return Err(Broken::Closed) };
        let mut block = block?;
        self.head_received = u64::from(block.size) + HEADER as u64;
        self.body.received = self.head_received;
        let read = block.read_request(&self.limits, &mut request.head);
        request.received.replace(&mut block.arena);
        room::give_block(block);
        request.has_line = true;
        read.map_err(|violation| self.violated(violation))?;
        request.is_whole = true;
        self.body.length = request.head.length;
        Ok(())
    }

    /// The exchange with this request begins. By now more of the message may have come, or the client has given it up.
    ///
    /// # Errors
    /// It has, or what came breaks a rule.
    pub(in crate::mux) fn begin(&mut self, request: &Message<RequestHead>) -> Result<(), Broken> {
        let has_none = self.body.length == Length::Known(0);
        let (has_ended, has_body) = self.link.look_behind_head(self.key, has_none)?;
        self.body.is_done = self.body.length.is_empty() && has_ended;
        if has_none && has_body {
            return Err(self.violated(WRONG_LENGTH));
        }
        let expects = request.head.fields.value(FieldId::Expect, request.received.as_slice());
        self.waits = !self.body.is_done && expects.is_some_and(|value| value.eq_ignore_ascii_case(b"100-continue"));
        Ok(())
    }

    /// The request breaks a rule: what is malformed is reset, what is only too much or not served here is answered.
    fn violated(&mut self, violation: Violation) -> Broken {
        self.malformed = violation.status == 400;
        Broken::Violation(violation)
    }

    pub(in crate::mux) fn is_done(&self) -> bool {
        self.body.is_done
    }

    pub(in crate::mux) fn received(&self) -> u64 {
        self.body.received
    }

    pub(in crate::mux) fn head_received(&self) -> u64 {
        self.head_received
    }

    pub(in crate::mux) fn poll_piece(&mut self, trailers: &mut Trailers) -> Poll<Result<Piece, Broken>> {
        let piece = ready!(self.body.poll_piece(&self.link, self.key, &self.limits, trailers));
        self.waits &= !matches!(piece, Ok(Piece::Data(_)));
        Poll::Ready(piece.map_err(|missing| match missing {
            Missing::Broken(broken) => broken,
            Missing::Malformed(violation) => self.violated(violation),
        }))
    }

    pub(in crate::mux) fn invite(&mut self) -> bool {
        let waits = std::mem::take(&mut self.waits);
        if waits {
            self.sent += self.link.send_head(self.key, false, false, |out| encode::status(out, 100));
            self.flush();
        }
        waits
    }

    pub(in crate::mux) fn send_interim(&mut self, response: &Message<ResponseHead>) -> bool {
        if response.head.status == 100 {
            self.waits = false;
        }
        self.sent += self.link.send_head(self.key, false, false, |out| {
            write::response(out, Method::Get, &response.head, response.view());
        });
        self.flush();
        true
    }

    /// `closes`: the driver tells the client with GOAWAY, and not each response.
    pub(in crate::mux) fn send_head(
        &mut self,
        request: &RequestHead,
        response: &Message<ResponseHead>,
        _closes: bool,
    ) -> u64 {
        if self.malformed {
            return 0;
        }
        let ends = response.head.length.is_empty();
        let len = self.link.send_head(self.key, true, ends, |out| {
            write::response(out, request.method, &response.head, response.view());
        });
        self.sent += len;
        len
    }

    pub(in crate::mux) fn put(&mut self, buf: Buf) -> usize {
        let len = buf.len();
        if !self.malformed {
            self.sent += sent_as(len);
            self.link.put(self.key, |queue, reactor| queue.push_passing(buf, || reactor.take_vec()));
        }
        len
    }

    pub(in crate::mux) fn put_bytes(&mut self, bytes: &[u8]) {
        if !self.malformed {
            self.sent += sent_as(bytes.len());
            self.link.put(self.key, |queue, _| queue.push_bytes(bytes));
        }
    }

    pub(in crate::mux) fn end(&mut self, trailers: &Trailers) {
        if !self.malformed {
            self.sent += self.link.end(self.key, trailers);
        }
    }

    pub(in crate::mux) fn flush(&mut self) {
        self.link.flush();
    }

    pub(in crate::mux) fn poll_room(&mut self, limit: usize) -> Poll<Result<usize, Broken>> {
        self.link.poll_room(self.key, limit)
    }

    pub(in crate::mux) fn sent(&mut self) -> u64 {
        self.sent
    }

    /// The connection has other exchanges.
    pub(in crate::mux) fn asks_upgrade(&self) -> bool {
        false
    }

    /// Whether the client has closed its side of the connection.
    pub(in crate::mux) fn has_left(&mut self) -> bool {
        self.link.has_left()
    }

    /// The connection's driver always receives.
    pub(in crate::mux) fn watch_end(&self) {}

    pub(in crate::mux) fn is_awaited(&self) -> bool {
        !self.link.has_received(self.key)
    }

    pub(in crate::mux) fn delivery(&self) -> Option<crate::net::Delivery> {
        self.link.delivery(self.key)
    }

    pub(in crate::mux) fn give_up(&mut self) {
        self.is_given_up = true;
    }

    pub(in crate::mux) fn reset_with(&mut self, code: u32) {
        self.code = Code(code);
    }

    pub(in crate::mux) fn is_broken(&self) -> bool {
        self.link.is_broken(self.key)
    }

    pub(in crate::mux) fn reset_code(&self) -> Option<u32> {
        match self.link.broken(self.key) {
            Some(Broken::Reset(code)) => Some(code),
            _ => None,
        }
    }

    /// The rest of a request is in no other's way.
    pub(in crate::mux) fn reads_away(&self) -> bool {
        false
    }

    /// Each piece has its frame.
    pub(in crate::mux) fn plain(&self) -> Option<&ByteStream> {
        None
    }

    pub(in crate::mux) fn passed(&mut self, _count: u64) {}

    /// The exchange is over. `whole`: the response was sent to its end. The connection goes on in any case.
    pub fn close(mut self, whole: bool) -> Disposition {
        self.whole = whole;
        Disposition::KeepAlive
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let how = match (self.malformed, self.whole) {
            (true, _) => Release::Malformed,
            (false, true) => Release::Whole,
            (false, false) if self.is_given_up => Release::Reset(self.code),
            (false, false) => Release::Broken(self.code),
        };
        self.link.release(self.key, how);
    }
}
