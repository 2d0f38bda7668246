//! Wires: everything that turns bytes into one message's events and back, on either side.
//!
//! [`Downstream`] is the client's side of one exchange, [`Upstream`] the server's side of one try. Both speak of heads,
//! pieces of a body, its end and its trailers. How a message is framed, whether a connection may serve another one and
//! how many exchanges share it is known here and in `codec`, and nowhere else.
//!
//! Invariant: nothing here knows routes, filters, clusters or deadlines.

mod calls;
mod coders;
pub mod h1;
pub mod h2;
mod hooks;
mod pace;
mod pieces;
mod pump;
mod transform;
mod web;

pub use crate::codec::coding::Settings as EncoderSettings;
pub use crate::codec::h1::Limits;
pub use calls::{CallNotes, Side};
pub use coders::{Coders, Lease};
pub use hooks::Hooks;
pub use pace::Pace;
pub use pieces::Pieces;
pub use pump::{Moved, Pump, Sink, Source};
pub use transform::{Expansion, Transform};

use crate::http::{Message, RequestHead, ResponseHead, Trailers, Violation};
use crate::net::{ByteStream, Delivery, tls};
use crate::ring::{Buf, TaskId};
use std::task::Poll;

/// The next part of a body.
#[derive(Debug)]
pub enum Piece {
    /// Never empty.
    Data(Buf),
    /// The body has ended; its trailers are in the message.
    End,
}

/// Why an exchange cannot go on on its wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// The peer ended its side within a message, and may still listen.
    Truncated,
    /// The connection ended or broke.
    Closed,
    /// The peer gave up this exchange alone, with this code.
    Reset(u32),
    /// The peer has not looked at the request and will not: it may be sent again, whatever it is.
    Refused,
    /// The peer broke a rule.
    Violation(Violation),
}

/// What a head that came is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadKind {
    /// A 1xx; another head follows.
    Interim,
    Final,
    /// The peer speaks another protocol from here on: what follows belongs to a tunnel.
    Switched,
}

/// How an idle connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Bytes came that belong to nothing.
    pub unasked: bool,
}

/// The client's side of one exchange.
pub enum Downstream<'c> {
    H1(h1::Served<'c>),
    H2(h2::Served),
}

/// The server's side of one try.
pub enum Upstream {
    /// A connection of its own, in memory of its own: an idle connection is moved around by its address.
    H1(Box<h1::Asked>),
    /// A stream of a connection that is shared.
    H2(h2::Asked),
}

macro_rules! forward {
    ($self:ident, $wire:ident => $call:expr) => {
        match $self {
            Self::H1($wire) => $call,
            Self::H2($wire) => $call,
        }
    };
}

impl Downstream<'_> {
    /// Whether the request's last byte was handed out.
    #[inline]
    pub fn is_done(&self) -> bool {
        forward!(self, wire => wire.is_done())
    }

    /// The next piece of the request's body, or its end; not to be called after the end.
    ///
    /// # Errors
    /// The request is void.
    pub fn poll_piece(&mut self, trailers: &mut Trailers) -> Poll<Result<Piece, Broken>> {
        forward!(self, wire => wire.poll_piece(trailers))
    }

    /// See `pump::Source::wanted`.
    pub fn wanted(&mut self, limit: usize) -> usize {
        match self {
            Self::H1(wire) => wire.wanted(limit),
            Self::H2(_) => 0,
        }
    }

    /// Whether the request asks for another protocol on its connection.
    pub fn asks_upgrade(&self) -> bool {
        forward!(self, wire => wire.asks_upgrade())
    }

    /// Bytes of the request so far, with what marks its end.
    pub fn received(&self) -> u64 {
        forward!(self, wire => wire.received())
    }

    /// Bytes of the request's head.
    pub fn head_received(&self) -> u64 {
        forward!(self, wire => wire.head_received())
    }

    /// Tell the client to send the body that it announced and waits with (RFC 9110 section 10.1.1). Whether it waited.
    pub fn invite(&mut self) -> bool {
        forward!(self, wire => wire.invite())
    }

    /// Pass a 1xx head on. Whether the client can hear it.
    pub fn send_interim(&mut self, response: &Message<ResponseHead>) -> bool {
        forward!(self, wire => wire.send_interim(response))
    }

    /// Write the response's head into the batch, `flush` sends it. `closes`: the connection is to end after this exchange.
    /// Returns the head's bytes.
    pub fn send_head(&mut self, request: &RequestHead, response: &Message<ResponseHead>, closes: bool) -> u64 {
        forward!(self, wire => wire.send_head(request, response, closes))
    }

    /// Append a piece of the body to the batch. Gives the memory that it takes.
    #[inline]
    pub fn put(&mut self, buf: Buf) -> usize {
        forward!(self, wire => wire.put(buf))
    }

    /// The same, copied.
    pub fn put_bytes(&mut self, bytes: &[u8]) {
        forward!(self, wire => wire.put_bytes(bytes));
    }

    /// The body ends here.
    pub fn end(&mut self, trailers: &Trailers) {
        forward!(self, wire => wire.end(trailers));
    }

    #[inline]
    pub fn flush(&mut self) {
        forward!(self, wire => wire.flush());
    }

    /// Ready when at most `limit` bytes of memory are held by what is unsent, with what is left up to the limit.
    ///
    /// # Errors
    /// The client is gone.
    #[inline]
    pub fn poll_room(&mut self, limit: usize) -> Poll<Result<usize, Broken>> {
        forward!(self, wire => wire.poll_room(limit))
    }

    /// Bytes of the response so far, with what marks its end.
    pub fn sent(&mut self) -> u64 {
        forward!(self, wire => wire.sent())
    }

    /// Whether the client gave up, or is gone. The end of its sending side is neither.
    #[inline]
    pub fn is_broken(&self) -> bool {
        forward!(self, wire => wire.is_broken())
    }

    /// The exchange begins, in a task of its own: its request's head was read before.
    ///
    /// # Errors
    /// What came behind the head breaks a rule, or the client has given the request up.
    pub fn begin(&mut self, request: &Message<RequestHead>) -> Result<(), Broken> {
        match self {
            Self::H1(_) => Ok(()),
            Self::H2(wire) => wire.begin(request),
        }
    }

    /// The code with which the client gave up this exchange alone, if it did; HTTP/1 has none.
    pub fn reset_code(&self) -> Option<u32> {
        match self {
            Self::H1(_) => None,
            Self::H2(wire) => wire.reset_code(),
        }
    }

    /// Whether the client has closed its connection's sending side behind this request, as far as that was noticed: it has
    /// sent no other request behind it, and all responses before this one are sent.
    pub fn has_left(&mut self) -> bool {
        forward!(self, wire => wire.has_left())
    }

    /// Notice that the client is gone even while nothing is received.
    pub fn watch_end(&self) {
        forward!(self, wire => wire.watch_end());
    }

    /// Whether the client could send more of the request now: it need not wait for a word, and none of it waits here.
    pub fn is_awaited(&self) -> bool {
        forward!(self, wire => wire.is_awaited())
    }

    /// How far the response came; `None` where that is not the exchange's own.
    pub fn delivery(&self) -> Option<Delivery> {
        forward!(self, wire => wire.delivery())
    }

    /// The client takes nothing: it is to see a reset.
    pub fn give_up(&mut self) {
        forward!(self, wire => wire.give_up());
    }

    /// The code to reset the exchange with, unless its response is sent to its end; HTTP/1 has none.
    pub fn reset_with(&mut self, code: u32) {
        if let Self::H2(wire) = self {
            wire.reset_with(code);
        }
    }

    /// Whether what is left of the request should be read away, so that the connection can go on.
    pub fn reads_away(&self) -> bool {
        forward!(self, wire => wire.reads_away())
    }

    /// The stream, where a body may pass without being looked at.
    pub fn plain(&self) -> Option<&ByteStream> {
        forward!(self, wire => wire.plain())
    }

    /// Bytes went past `put`, straight to the stream that `plain` gave.
    pub fn passed(&mut self, count: u64) {
        forward!(self, wire => wire.passed(count));
    }

    /// The exchange is over: what becomes of the connection. `whole`: the response was sent to its end.
    #[inline]
    pub fn close(self, whole: bool) -> h1::Disposition {
        forward!(self, wire => wire.close(whole))
    }
}

impl Upstream {
    /// Whether the connection serves one exchange at a time.
    #[inline]
    pub fn is_exclusive(&self) -> bool {
        match self {
            Self::H1(_) => true,
            Self::H2(_) => false,
        }
    }

    /// A new exchange begins.
    pub fn begin(&mut self, limits: &Limits, keep_trailers: bool) {
        forward!(self, wire => wire.begin(limits, keep_trailers));
    }

    /// "HTTP/1.1" or "HTTP/2".
    pub fn protocol(&self) -> &'static str {
        forward!(self, wire => wire.protocol())
    }

    /// Write the request's head, for `host`, into the batch; `flush` sends it. Returns the head's bytes.
    pub fn send_head(&mut self, request: &Message<RequestHead>, host: &[u8]) -> u64 {
        forward!(self, wire => wire.send_head(request, host))
    }

    /// Append a piece of the body to the batch. Gives the memory that it takes.
    #[inline]
    pub fn put(&mut self, buf: Buf) -> usize {
        forward!(self, wire => wire.put(buf))
    }

    /// The same, copied.
    pub fn put_bytes(&mut self, bytes: &[u8]) {
        forward!(self, wire => wire.put_bytes(bytes));
    }

    /// The body ends here.
    pub fn end(&mut self, trailers: &Trailers) {
        forward!(self, wire => wire.end(trailers));
    }

    #[inline]
    pub fn flush(&mut self) {
        forward!(self, wire => wire.flush());
    }

    /// Ready when at most `limit` bytes of memory are held by what is unsent, with what is left up to the limit.
    ///
    /// # Errors
    /// Nothing more can be sent; reading tells why.
    #[inline]
    pub fn poll_room(&mut self, limit: usize) -> Poll<Result<usize, Broken>> {
        forward!(self, wire => wire.poll_room(limit))
    }

    /// The next head of the response.
    ///
    /// # Errors
    /// There will be none.
    #[inline]
    pub fn poll_head(&mut self, response: &mut Message<ResponseHead>) -> Poll<Result<HeadKind, Broken>> {
        forward!(self, wire => wire.poll_head(response))
    }

    /// The next piece of the response's body, or its end; after the final head.
    ///
    /// # Errors
    /// The message is not complete.
    #[inline]
    pub fn poll_piece(&mut self, trailers: &mut Trailers) -> Poll<Result<Piece, Broken>> {
        forward!(self, wire => wire.poll_piece(trailers))
    }

    /// Whether the response has no body, ready when that is known; after the final head. HTTP/1 says so before the body.
    pub fn poll_bare_end(&mut self) -> Poll<bool> {
        match self {
            Self::H1(_) => Poll::Ready(false),
            Self::H2(wire) => wire.poll_bare_end(),
        }
    }

    /// Whether a byte of the response has come.
    pub fn has_begun(&self) -> bool {
        forward!(self, wire => wire.has_begun())
    }

    /// Why TLS ended the connection, where it did.
    pub fn tls_failure(&self) -> Option<tls::Failure> {
        match self {
            Self::H1(wire) => wire.stream().tls_failure(),
            Self::H2(wire) => wire.tls_failure(),
        }
    }

    /// Whether its TLS ended without the peer's word for it.
    pub fn is_cut(&self) -> bool {
        match self {
            Self::H1(wire) => wire.is_cut(),
            // Its messages have ends of their own.
            Self::H2(_) => false,
        }
    }

    /// Whether anything came on the connection since the exchange began: if not, it may have been closed while it was idle.
    pub fn has_heard(&self) -> bool {
        forward!(self, wire => wire.has_heard())
    }

    /// Bytes of the response so far, interim ones and what marks its end included.
    pub fn received(&self) -> u64 {
        forward!(self, wire => wire.received())
    }

    /// Bytes of the final response's head.
    pub fn head_received(&self) -> u64 {
        forward!(self, wire => wire.head_received())
    }

    /// Bytes of the request so far, with what marks its end.
    pub fn sent(&mut self) -> u64 {
        forward!(self, wire => wire.sent())
    }

    /// Whether the connection broke.
    pub fn is_broken(&self) -> bool {
        forward!(self, wire => wire.is_broken())
    }

    /// Whether the peer ended the connection.
    pub fn ended_by_peer(&self) -> bool {
        forward!(self, wire => wire.ended_by_peer())
    }

    /// Whether the connection can serve another exchange after this one, whose request and response have ended.
    pub fn is_reusable(&self) -> bool {
        forward!(self, wire => wire.is_reusable())
    }

    /// Whether the connection, on which no exchange is, has ended. The task that asks is woken when it may have.
    pub fn poll_idle(&mut self) -> Poll<Ended> {
        forward!(self, wire => wire.poll_idle())
    }

    /// The task to wake when an idle connection receives something.
    #[inline]
    pub fn watch(&self, task: TaskId) {
        forward!(self, wire => wire.watch(task));
    }

    /// The connection's place in the table of sockets.
    pub fn place(&self) -> u32 {
        forward!(self, wire => wire.place())
    }

    /// The stream and how many bytes of body may be taken from it without being looked at, where they may.
    pub fn plain(&self) -> Option<(&ByteStream, u64)> {
        forward!(self, wire => wire.plain())
    }

    /// See `pump::Source::wanted`.
    pub fn wanted(&mut self, limit: usize) -> usize {
        match self {
            Self::H1(wire) => wire.wanted(limit),
            Self::H2(_) => 0,
        }
    }

    /// Bytes of body went past `poll_piece`, straight from the stream that `plain` gave.
    pub fn passed(&mut self, count: u64) {
        forward!(self, wire => wire.passed(count));
    }

    /// The stream that `plain` gave has ended.
    ///
    /// # Errors
    /// The body has not.
    pub fn passed_end(&mut self) -> Result<(), Broken> {
        forward!(self, wire => wire.passed_end())
    }
}

/// A body with at least this many bytes to come, or that has brought as many already, streams: it is received one buffer at a
/// time. Shorter ones are bounded by their length.
const LONG_BODY: u64 = 64 * 1024;

/// Interim (1xx) responses to one request at most.
const INTERIM_MAX: u8 = 16;
