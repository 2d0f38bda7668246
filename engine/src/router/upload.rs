//! The request's body on its way: within its limit, read ahead where a filter asks for that, kept in case it has to go
//! again, copied to mirrors.

use super::Fault;
use super::mirror::MirrorBody;
use super::replay::Replay;
use crate::http::{Exchange, Message, RequestHead, Trailers};
use crate::mux::{Downstream, Piece};
use crate::ring::Buf;
use smallvec::SmallVec;
use std::collections::VecDeque;
use std::task::Poll;

/// What `Upload::poll_collect` has read.
#[derive(Clone, Copy, Debug)]
pub struct Collected {
    pub bytes: u64,
    pub is_whole: bool,
}

/// What was read ahead of time.
#[derive(Default)]
struct Ahead {
    /// Whole pieces, and the one that is being put together.
    held: VecDeque<Buf>,
    gathered: Vec<u8>,
    /// The body's end was read, too.
    holds_end: bool,
}

/// Reads the body of one request off its wire.
pub struct Upload<'w, 'c> {
    pub wire: &'w mut Downstream<'c>,
    /// Bytes of body so far, and the most that there may be.
    received: u64,
    limit: u64,
    /// The end was handed out.
    done: bool,
    /// Read ahead of time, to be handed out before anything else. Rare, and so in memory of its own.
    ahead: Option<Box<Ahead>>,
    /// What went to an upstream, in case it has to go again.
    pub replay: Replay,
    /// Where copies of it go.
    pub mirrors: SmallVec<[MirrorBody; 1]>,
}

impl<'w, 'c> Upload<'w, 'c> {
    /// `limit`: bytes of body at most.
    pub fn new(wire: &'w mut Downstream<'c>, limit: Option<u64>) -> Self {
        let done = wire.is_done();
        Self {
            wire,
            received: 0,
            limit: limit.unwrap_or(u64::MAX),
            done,
            ahead: None,
            replay: Replay::default(),
            mirrors: SmallVec::new(),
        }
    }

    /// Whether the request's last byte has been handed out.
    #[inline]
    pub fn is_done(&self) -> bool {
        self.done
    }

    /// Bytes of body that came so far.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// Tell the exchange what has come.
    pub fn note(&self, exchange: &mut Exchange) {
        exchange.facts.received = self.received;
        exchange.facts.wire.received = self.wire.received();
    }

    /// The next piece of the body, or its end; not to be called after the end.
    ///
    /// # Errors
    /// The request is void.
    pub fn poll_piece(&mut self, trailers: &mut Trailers) -> Poll<Result<Piece, Fault>> {
        if let Some(ahead) = &mut self.ahead {
            if let Some(buf) = ahead.held.pop_front() {
                return Poll::Ready(Ok(Piece::Data(buf)));
            }
            if std::mem::take(&mut ahead.holds_end) {
                self.done = true;
                return Poll::Ready(Ok(Piece::End));
            }
        }
        let polled = self.poll_receive(trailers);
        self.done = matches!(polled, Poll::Ready(Ok(Piece::End)));
        polled
    }

    /// Read the body ahead of time, to its end or to more than `limit` bytes; `poll_piece` hands it out afterwards.
    /// Gives the bytes that are held, and whether that is all. Not to be called after the end.
    ///
    /// # Errors
    /// The request is void.
    pub fn poll_collect(&mut self, request: &mut Message<RequestHead>, limit: u64) -> Poll<Result<Collected, Fault>> {
        let mut ahead = self.ahead.take().unwrap_or_default();
        let collected = self.collect(&mut ahead, request, limit);
        self.ahead = Some(ahead);
        collected
    }

    fn collect(
        &mut self,
        ahead: &mut Ahead,
        request: &mut Message<RequestHead>,
        limit: u64,
    ) -> Poll<Result<Collected, Fault>> {
        while !ahead.holds_end && self.received <= limit {
            match std::task::ready!(self.poll_receive(&mut request.trailers))? {
                Piece::Data(buf) => ahead.hold(&buf),
                Piece::End => ahead.holds_end = true,
            }
        }
        ahead.close_piece();
        Poll::Ready(Ok(Collected { bytes: self.received, is_whole: ahead.holds_end && self.received <= limit }))
    }

    fn poll_receive(&mut self, trailers: &mut Trailers) -> Poll<Result<Piece, Fault>> {
        let piece = std::task::ready!(self.wire.poll_piece(trailers)).map_err(Fault::of_request_body)?;
        if let Piece::Data(buf) = &piece {
            self.received += buf.len() as u64;
            if self.received > self.limit {
                return Poll::Ready(Err(Fault::RequestTooLarge));
            }
        }
        Poll::Ready(Ok(piece))
    }
}

impl Ahead {
    /// Copied, because a body may stay for long and receive buffers are for all; into large pieces, because it may
    /// come byte by byte.
    fn hold(&mut self, bytes: &[u8]) {
        const PIECE: usize = 64 * 1024;
        if self.gathered.len() + bytes.len() > PIECE {
            self.close_piece();
        }
        self.gathered.extend_from_slice(bytes);
    }

    fn close_piece(&mut self) {
        if !self.gathered.is_empty() {
            self.held.push_back(Buf::from(std::mem::take(&mut self.gathered).into_boxed_slice()));
        }
    }
}
