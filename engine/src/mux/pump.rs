//! Moving a body from one side to the other: no faster than the sink takes it, and without looking at it where both sides
//! are plain sockets. The same loop serves uploads, downloads and tunnels.

use super::Piece;
use crate::http::Trailers;
use crate::net::{ByteStream, SpliceError, SpliceRun, Step};
use crate::ring::{Buf, Reactor, Socket};
use std::task::Poll;

/// Where a body comes from.
pub trait Source {
    type Error;

    /// # Errors
    /// The body ends here, incomplete.
    fn poll_piece(&mut self) -> Poll<Result<Piece, Self::Error>>;

    /// How much room the next piece is worth waiting for, where the sink has room for `limit` bytes when it is empty: a source that
    /// is fast brings more at once then. 0: none, and what it brings is as short as usual.
    fn wanted(&mut self, _limit: usize) -> usize {
        0
    }

    /// Those that came behind the body; complete when `poll_piece` gave its end.
    fn trailers(&self) -> &Trailers;

    /// The stream and how many bytes may be taken from it without being looked at. `None`: none may.
    fn plain(&self) -> Option<(&ByteStream, u64)> {
        None
    }

    /// Bytes went past `poll_piece`.
    fn passed(&mut self, _count: u64) {}

    /// The stream that `plain` gave has ended.
    ///
    /// # Errors
    /// The body has not.
    fn passed_end(&mut self) -> Result<(), Self::Error>;

    /// What it means that the connection broke while bytes went past `poll_piece`, or that the body is gone.
    fn broken(&self) -> Self::Error;

    /// Whether the rest of the body will never come, as far as that shows without asking for a piece: while the sink is full,
    /// none is asked for.
    fn is_gone(&self) -> bool {
        false
    }
}

/// Where a body goes.
pub trait Sink<E> {
    /// Take a piece. Gives the memory that it holds.
    fn put(&mut self, buf: Buf) -> usize;

    /// The body ends; sends what was put before it, too.
    fn end(&mut self, trailers: &Trailers);

    fn flush(&mut self);

    /// Ready when at most `limit` bytes of memory are held by what is unsent, with what is left up to the limit.
    ///
    /// # Errors
    /// The sink takes nothing any more.
    fn poll_room(&mut self, limit: usize) -> Poll<Result<usize, E>>;

    /// The sink is slower than the source, from now on or no longer.
    fn note_pause(&mut self, paused: bool);

    /// The stream, where bytes may be put that were not looked at.
    fn plain(&self) -> Option<&ByteStream> {
        None
    }

    /// Bytes went past `put`.
    fn passed(&mut self, _count: u64) {}

    /// What it means that the connection broke while bytes went past `put`.
    fn broken(&self) -> E;
}

/// How far a body came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moved {
    /// Something moved.
    Some,
    /// The body's end was handed over.
    All,
}

/// One body on its way.
pub struct Pump {
    /// Bytes of memory that may wait in the sink. Above it the source is not asked, until half of it is gone.
    limit: usize,
    paused: bool,
    /// Bodies of which at least this many bytes are left are spliced. `None`: none are.
    splice_from: Option<u64>,
    phase: Phase,
    /// Enough was moved in one go: other tasks come first.
    yields: bool,
}

enum Phase {
    Copying,
    /// The receive of the source is being stopped and the sink emptied, so that splice may work on both.
    Clearing,
    Splicing(SpliceRun),
}

/// Bytes spliced before other tasks get their turn.
const SPLICE_TURN: u64 = 1024 * 1024;

impl Pump {
    /// `buffer_limit`: bytes of memory that the body may take on its way. A quarter of it is for what the source has
    /// received and nothing has asked for yet.
    pub fn new(buffer_limit: usize) -> Self {
        let limit = buffer_limit - buffer_limit / 4;
        Self { limit, paused: false, splice_from: None, phase: Phase::Copying, yields: false }
    }

    /// Splice bodies of which at least `threshold` bytes are left, where both sides allow it.
    pub fn splice_from(&mut self, threshold: Option<u64>) {
        self.splice_from = threshold;
    }

    /// Whether the sink is slower than the source at the moment.
    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Move what there is. Pending wakes the task when the source has more or the sink has room.
    ///
    /// # Errors
    /// The side that ended. What came before that was handed over.
    pub fn poll<S: Source, K: Sink<S::Error>>(
        &mut self,
        source: &mut S,
        sink: &mut K,
        reactor: &Reactor,
    ) -> Poll<Result<Moved, S::Error>> {
        if std::mem::take(&mut self.yields) {
            reactor.wake(reactor.current_task());
            return Poll::Pending;
        }
        loop {
            let polled = match &mut self.phase {
                Phase::Copying => self.copy(source, sink),
                Phase::Clearing => self.clear(source, sink, reactor),
                Phase::Splicing(_) => self.splice(source, sink, reactor),
            };
            match polled {
                Poll::Ready(Ok(Some(moved))) => return Poll::Ready(Ok(moved)),
                // Another phase began.
                Poll::Ready(Ok(None)) => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// The body is over or given up: the streams belong to the ring again.
    pub fn stop<S: Source, K: Sink<S::Error>>(&mut self, source: &S, sink: &K, reactor: &Reactor) {
        if let Phase::Splicing(run) = std::mem::replace(&mut self.phase, Phase::Copying)
            && let Some((from, to, _)) = sockets(source, sink)
        {
            run.stop(from, to, reactor);
        }
    }

    fn copy<S: Source, K: Sink<S::Error>>(
        &mut self,
        source: &mut S,
        sink: &mut K,
    ) -> Poll<Result<Option<Moved>, S::Error>> {
        let limit = if self.paused { self.limit / 2 } else { self.limit };
        let wanted = if self.paused { 0 } else { source.wanted(self.limit) };
        let room = sink.poll_room(limit - wanted);
        if room.is_pending() != self.paused {
            self.paused = !self.paused;
            sink.note_pause(self.paused);
        }
        let Poll::Ready(room) = room else {
            if source.is_gone() {
                return Poll::Ready(Err(source.broken()));
            }
            sink.flush();
            return Poll::Pending;
        };
        let mut budget = (room? + wanted).max(1);
        let mut gathered = false;
        while budget > 0 {
            // A large piece is not worth waiting for where half of the room is left.
            if gathered && budget < self.limit / 2 && source.wanted(self.limit) > budget {
                break;
            }
            // Asking for more would start a receive that takes from what is to be spliced.
            if self.splice_from.is_some() && self.may_splice(source, sink) {
                self.phase = Phase::Clearing;
                if gathered {
                    break;
                }
                return Poll::Ready(Ok(None));
            }
            match hand_over(source, sink) {
                Poll::Ready(Ok(Some(charge))) => {
                    budget = budget.saturating_sub(charge);
                    gathered = true;
                }
                Poll::Ready(Ok(None)) => return Poll::Ready(Ok(Some(Moved::All))),
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => break,
            }
        }
        // The head, too, where the body has not begun: it does not wait for it.
        sink.flush();
        if !gathered {
            return Poll::Pending;
        }
        Poll::Ready(Ok(Some(Moved::Some)))
    }

    /// Whether the rest of the body is plain and long, and nothing that the ring received waits before it.
    fn may_splice<S: Source, K: Sink<S::Error>>(&self, source: &S, sink: &K) -> bool {
        let Some(threshold) = self.splice_from else { return false };
        let Some((stream, rest)) = source.plain() else { return false };
        rest > 0 && rest >= threshold && !stream.has_received() && sockets(source, sink).is_some()
    }

    fn clear<S: Source, K: Sink<S::Error>>(
        &mut self,
        source: &mut S,
        sink: &mut K,
        reactor: &Reactor,
    ) -> Poll<Result<Option<Moved>, S::Error>> {
        while let Some((from, _, _)) = sockets(source, sink) {
            std::task::ready!(from.poll_receive_stopped());
            // What the ring has received goes first. Asking only while bytes are there keeps the receive stopped.
            if !from.has_received_bytes() {
                break;
            }
            match hand_over(source, sink) {
                Poll::Ready(Ok(Some(_))) => {}
                Poll::Ready(Ok(None)) => {
                    self.phase = Phase::Copying;
                    return Poll::Ready(Ok(Some(Moved::All)));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => break,
            }
        }
        sink.flush();
        std::task::ready!(sink.poll_room(0))?;
        self.phase = Phase::Copying;
        if let Some((from, to, rest)) = sockets(source, sink)
            && rest > 0
            && !from.has_received()
        {
            match SpliceRun::start(from, to, reactor) {
                Some(run) => self.phase = Phase::Splicing(run),
                None => self.splice_from = None,
            }
        }
        Poll::Ready(Ok(None))
    }

    fn splice<S: Source, K: Sink<S::Error>>(
        &mut self,
        source: &mut S,
        sink: &mut K,
        reactor: &Reactor,
    ) -> Poll<Result<Option<Moved>, S::Error>> {
        let mut turn = 0;
        while let Phase::Splicing(run) = &mut self.phase {
            if turn >= SPLICE_TURN {
                self.yields = true;
                return Poll::Ready(Ok(Some(Moved::Some)));
            }
            let Some((from, to, rest)) = sockets(source, sink) else { break };
            match run.step(from, to, rest.min(SPLICE_TURN)) {
                Ok(Step::Pulled(count)) => source.passed(count),
                Ok(Step::Pushed(count)) => {
                    sink.passed(count);
                    turn += count;
                }
                Ok(Step::Blocked) if turn > 0 => return Poll::Ready(Ok(Some(Moved::Some))),
                Ok(Step::Blocked) => return Poll::Pending,
                Ok(Step::Done) => self.stop(source, sink, reactor),
                Ok(Step::Eof) => {
                    self.stop(source, sink, reactor);
                    source.passed_end()?;
                }
                Err(SpliceError::Target) => return Poll::Ready(Err(sink.broken())),
                Err(SpliceError::Source(_)) => return Poll::Ready(Err(source.broken())),
            }
        }
        Poll::Ready(Ok(None))
    }
}

/// Hand one piece over. Gives the memory that it holds; `None`: the body has ended, and the sink was told so.
///
/// # Errors
/// The source's; what came before was sent.
#[inline]
fn hand_over<S: Source, K: Sink<S::Error>>(source: &mut S, sink: &mut K) -> Poll<Result<Option<usize>, S::Error>> {
    match std::task::ready!(source.poll_piece()) {
        Ok(Piece::Data(buf)) => Poll::Ready(Ok(Some(sink.put(buf)))),
        Ok(Piece::End) => {
            sink.end(source.trailers());
            Poll::Ready(Ok(None))
        }
        Err(error) => {
            sink.flush();
            Poll::Ready(Err(error))
        }
    }
}

/// The sockets of both sides and how many bytes may go from one to the other, where both are plain.
fn sockets<'s, S: Source, K: Sink<S::Error>>(source: &'s S, sink: &'s K) -> Option<(&'s Socket, &'s Socket, u64)> {
    let (from, rest) = source.plain()?;
    Some((from.plain_socket()?, sink.plain()?.plain_socket()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mux::h1::WANTED;
    use crate::ring::{BULK_SIZE, PoolSize};

    const KIB: usize = 1024;
    /// The default of `http.buffer_limit`, and what may wait in the sink.
    const BUFFER_LIMIT: usize = 256 * KIB;
    const LIMIT: usize = 192 * KIB;
    /// A body without end, in pieces as long as a receive buffer.
    struct Endless<'r> {
        reactor: &'r Reactor,
        is_fast: bool,
        has_room: bool,
        trailers: Trailers,
    }

    impl Source for Endless<'_> {
        type Error = ();

        fn poll_piece(&mut self) -> Poll<Result<Piece, ()>> {
            let len = if self.has_room { BULK_SIZE } else { 32 * KIB };
            Poll::Ready(Ok(Piece::Data(self.reactor.copy_from(&vec![0; len]))))
        }

        fn wanted(&mut self, limit: usize) -> usize {
            self.has_room = self.is_fast && limit >= BULK_SIZE;
            if self.has_room { WANTED } else { 0 }
        }

        fn trailers(&self) -> &Trailers {
            &self.trailers
        }

        fn passed_end(&mut self) -> Result<(), ()> {
            Err(())
        }

        fn broken(&self) {}
    }

    #[derive(Default)]
    struct Slow {
        held: usize,
        pieces: Vec<usize>,
        pauses: usize,
    }

    impl Sink<()> for Slow {
        fn put(&mut self, buf: Buf) -> usize {
            self.pieces.push(buf.len());
            self.held += buf.charge();
            buf.charge()
        }

        fn end(&mut self, _trailers: &Trailers) {}

        fn flush(&mut self) {}

        fn poll_room(&mut self, limit: usize) -> Poll<Result<usize, ()>> {
            if self.held > limit { Poll::Pending } else { Poll::Ready(Ok(limit - self.held)) }
        }

        fn note_pause(&mut self, paused: bool) {
            self.pauses += usize::from(paused);
        }

        fn broken(&self) {}
    }

    /// What the sink gets, in KiB, when it has drained to these numbers of bytes.
    fn pieces(buffer_limit: usize, is_fast: bool, drained: &[usize]) -> (Vec<Vec<usize>>, usize, Slow) {
        let reactor = Reactor::simulated(1, PoolSize { count: 64, size: 16 * 1024 });
        let mut source = Endless { reactor: &reactor, is_fast, has_room: false, trailers: Trailers::default() };
        let (mut pump, mut sink, mut peak) = (Pump::new(buffer_limit), Slow::default(), 0);
        let all = drained.iter().map(|held| {
            sink.held = *held;
            while pump.poll(&mut source, &mut sink, &reactor).is_ready() {}
            peak = peak.max(sink.held);
            sink.pieces.drain(..).map(|len| len / KIB).collect()
        });
        (all.collect(), peak, sink)
    }

    #[test]
    fn a_fast_body_comes_in_large_pieces_while_there_is_room() {
        let (pieces, peak, _) = pieces(BUFFER_LIMIT, true, &[0, 0, 64 * KIB]);
        assert_eq!(
            pieces,
            [&[128, 128][..], &[128, 128], &[128]],
            "after a pause only half of the sink is filled at once"
        );
        assert_eq!(peak, 256 * KIB);
    }

    #[test]
    fn a_large_piece_waits_for_its_room() {
        let reactor = Reactor::simulated(1, PoolSize { count: 64, size: 16 * 1024 });
        let mut source = Endless { reactor: &reactor, is_fast: true, has_room: false, trailers: Trailers::default() };
        for (held, expected) in [(LIMIT - WANTED, 1), (LIMIT - WANTED + 1, 0)] {
            let (mut pump, mut sink) = (Pump::new(BUFFER_LIMIT), Slow { held, ..Slow::default() });
            let polled = pump.poll(&mut source, &mut sink, &reactor);
            let waits = expected == 0;
            assert_eq!(
                (polled.is_pending(), pump.is_paused(), sink.pauses),
                (waits, waits, usize::from(waits)),
                "{held}"
            );
            assert_eq!(sink.pieces.len(), expected);
            // No more than the sum in docs/THREAT_MODEL.md allows: a receive buffer, and 64 KiB and another one that wait.
            assert!(sink.held <= LIMIT + 32 * KIB + 64 * KIB + 32 * KIB, "{}", sink.held);
        }
    }

    #[test]
    fn other_bodies_come_in_pieces_as_before() {
        let fill = vec![32; 7];
        let (got, peak, sink) = pieces(BUFFER_LIMIT, false, &[0, 0]);
        assert_eq!((got, peak, sink.pauses), (vec![fill.clone(), fill], LIMIT + 32 * KIB, 2));
        // A limit below the length of a large piece.
        let (got, _, _) = pieces(128 * KIB, true, &[0]);
        assert_eq!(got, [[32, 32, 32, 32]]);
    }
}
