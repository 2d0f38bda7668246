//! The request's body on its way: within its limit, read ahead where a filter asks for that, kept in case it has to go
//! again, copied to mirrors.

use super::Fault;
use super::mirror::MirrorBody;
use super::replay::Replay;
use crate::base::clock::Nanos;
use crate::http::{Exchange, Message, RequestHead, Trailers};
use crate::mux::{Downstream, Hooks, Piece, Pieces};
use smallvec::SmallVec;
use std::task::{Poll, ready};

/// What `Upload::poll_collect` has read.
#[derive(Clone, Copy, Debug)]
pub struct Collected {
    pub bytes: u64,
    pub is_whole: bool,
}

/// What was read ahead of time.
#[derive(Default)]
struct Ahead {
    /// What becomes of the body's bytes before they are read ahead of time: what filters before the one that reads ahead
    /// want.
    hooks: Hooks,
    held: Pieces,
    /// Bytes read ahead of time.
    collected: u64,
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
    /// The end has come off the wire.
    ended: bool,
    /// More was asked for, and had not come.
    asks: bool,
    /// What becomes of the body's bytes; where some are read ahead of time, after that.
    hooks: Hooks,
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
            ended: done,
            asks: false,
            hooks: Hooks::default(),
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

    /// Whether the client is waited for: more was asked for than it has sent, although it could.
    pub fn is_awaited(&self) -> bool {
        self.asks && self.wire.is_awaited()
    }

    /// Tell the exchange what has come.
    pub fn note(&self, exchange: &mut Exchange) {
        exchange.facts.received = self.received;
        exchange.facts.wire.received = self.wire.received();
    }

    /// What another filter wants done with the body.
    pub fn add_hooks(&mut self, hooks: Hooks) {
        self.hooks.add(hooks);
    }

    /// The next piece of the body, or its end; not to be called after the end.
    ///
    /// # Errors
    /// The request is void.
    pub fn poll_piece(&mut self, trailers: &mut Trailers, now: Nanos) -> Poll<Result<Piece, Fault>> {
        // Hooks cannot be borrowed next to all the rest.
        let polled = if self.hooks.is_empty() {
            self.poll_early(trailers, now)
        } else {
            let mut hooks = std::mem::take(&mut self.hooks);
            let polled = hooks.poll(now, trailers, |trailers| self.poll_early(trailers, now), Fault::RequestCoding);
            self.hooks = hooks;
            polled
        };
        self.done = matches!(polled, Poll::Ready(Ok(Piece::End)));
        polled
    }

    /// The next piece of the body as it came, or its end: what is in it does not matter. What was read ahead of time
    /// is dropped.
    ///
    /// # Errors
    /// The request is void.
    pub fn poll_away(&mut self, trailers: &mut Trailers) -> Poll<Result<Piece, Fault>> {
        self.ahead = None;
        let polled = self.poll_receive(trailers);
        self.done = matches!(polled, Poll::Ready(Ok(Piece::End)));
        polled
    }

    /// What was read ahead of time, then what comes.
    fn poll_early(&mut self, trailers: &mut Trailers, now: Nanos) -> Poll<Result<Piece, Fault>> {
        let Some(mut ahead) = self.ahead.take() else { return self.poll_receive(trailers) };
        let polled = match ahead.held.pop(usize::MAX) {
            Some(buf) => Poll::Ready(Ok(Piece::Data(buf))),
            None if ahead.holds_end => Poll::Ready(Ok(Piece::End)),
            None => ahead.hooks.poll(now, trailers, |trailers| self.poll_receive(trailers), Fault::RequestCoding),
        };
        self.ahead = Some(ahead);
        polled
    }

    /// Read the body ahead of time, to its end or to more than `limit` bytes; `poll_piece` hands it out afterwards.
    /// Gives the bytes that are held, and whether that is all. Not to be called after the end.
    ///
    /// # Errors
    /// The request is void.
    pub fn poll_collect(
        &mut self,
        request: &mut Message<RequestHead>,
        limit: u64,
        now: Nanos,
    ) -> Poll<Result<Collected, Fault>> {
        let mut ahead = self.ahead.take().unwrap_or_default();
        if ahead.hooks.is_empty() && ahead.collected == 0 {
            ahead.hooks = std::mem::take(&mut self.hooks);
        }
        let collected = self.collect(&mut ahead, &mut request.trailers, limit, now);
        self.ahead = Some(ahead);
        collected
    }

    fn collect(
        &mut self,
        ahead: &mut Ahead,
        trailers: &mut Trailers,
        limit: u64,
        now: Nanos,
    ) -> Poll<Result<Collected, Fault>> {
        while !ahead.holds_end && ahead.collected <= limit {
            let mut receive = |trailers: &mut Trailers| self.poll_receive(trailers);
            match ready!(ahead.hooks.poll(now, trailers, &mut receive, Fault::RequestCoding))? {
                // Copied, because a body may stay for long and receive buffers are for all.
                Piece::Data(buf) => {
                    ahead.collected += buf.len() as u64;
                    ahead.held.push_bytes(&buf);
                }
                Piece::End => ahead.holds_end = true,
            }
        }
        Poll::Ready(Ok(Collected { bytes: ahead.collected, is_whole: ahead.holds_end && ahead.collected <= limit }))
    }

    fn poll_receive(&mut self, trailers: &mut Trailers) -> Poll<Result<Piece, Fault>> {
        if self.ended {
            return Poll::Ready(Ok(Piece::End));
        }
        let polled = self.wire.poll_piece(trailers);
        self.asks = polled.is_pending();
        let piece = ready!(polled).map_err(Fault::of_request_body)?;
        match &piece {
            Piece::Data(buf) => {
                self.received += buf.len() as u64;
                if self.received > self.limit {
                    return Poll::Ready(Err(Fault::RequestTooLarge));
                }
            }
            Piece::End => self.ended = true,
        }
        Poll::Ready(Ok(piece))
    }
}
