//! A request's body as far as it was sent, in case it has to be sent again.

use crate::mux::Pieces;
use crate::ring::{Buf, Reactor};

/// What is kept of a body, up to a limit. Past it, all is dropped: half a body is of no use.
#[derive(Debug, Default)]
pub struct Replay {
    keeping: Keeping,
    pieces: Pieces,
    limit: u64,
    /// The body's end was sent.
    ended: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Keeping {
    /// The request cannot have to be sent again.
    #[default]
    Off,
    On,
    /// It grew past the limit.
    Abandoned,
}

impl Replay {
    /// Keeps up to `limit` bytes from now on, if it is `wanted`; nothing went out before.
    pub fn start(&mut self, wanted: bool, limit: u64) {
        debug_assert!(self.is_empty());
        (self.keeping, self.limit) = (if wanted { Keeping::On } else { Keeping::Off }, limit);
    }

    /// Whether all of the body that was sent is here.
    pub fn is_possible(&self) -> bool {
        self.keeping == Keeping::On
    }

    /// Whether nothing went out.
    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty() && !self.ended
    }

    /// The next piece of the body goes out. `false`: with it the body is too large, and just now given up.
    pub fn keep(&mut self, buf: &Buf, reactor: &Reactor) -> bool {
        if self.keeping != Keeping::On {
            return true;
        }
        if (self.pieces.bytes() + buf.len()) as u64 > self.limit {
            self.keeping = Keeping::Abandoned;
            self.drop_pieces(reactor);
            return false;
        }
        self.pieces.push_in(buf.slice(0..buf.len()), || reactor.take_vec());
        true
    }

    /// The body's end goes out.
    pub fn end(&mut self) {
        self.ended = self.keeping == Keeping::On;
    }

    /// Show each piece in order; at last, where it was sent, the body's end.
    pub fn for_each(&self, mut piece: impl FnMut(ReplayPiece<'_>)) {
        for buf in self.pieces.bufs() {
            piece(ReplayPiece::Buf(buf.slice(0..buf.len())));
        }
        if !self.pieces.joined().is_empty() {
            piece(ReplayPiece::Bytes(self.pieces.joined()));
        }
        if self.ended {
            piece(ReplayPiece::End);
        }
    }

    /// The request has no body any more.
    pub fn forget_body(&mut self, reactor: &Reactor) {
        self.drop_pieces(reactor);
        self.ended = false;
    }

    /// The request will not be sent again.
    pub fn clear(&mut self, reactor: &Reactor) {
        self.keeping = Keeping::Off;
        self.drop_pieces(reactor);
    }

    fn drop_pieces(&mut self, reactor: &Reactor) {
        if !self.pieces.is_empty() {
            reactor.give_vec(self.pieces.clear());
        }
    }
}

/// One piece of a kept body.
#[derive(Debug)]
pub enum ReplayPiece<'a> {
    Buf(Buf),
    Bytes(&'a [u8]),
    End,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::PoolSize;
    use std::rc::Rc;

    fn reactor() -> Rc<Reactor> {
        Reactor::simulated(1, PoolSize { count: 8, size: 1024 })
    }

    fn started(wanted: bool, limit: u64) -> Replay {
        let mut replay = Replay::default();
        replay.start(wanted, limit);
        replay
    }

    fn replayed(replay: &Replay) -> (Vec<u8>, bool) {
        let (mut bytes, mut end) = (Vec::new(), false);
        replay.for_each(|piece| match piece {
            ReplayPiece::Buf(buf) => bytes.extend_from_slice(&buf),
            ReplayPiece::Bytes(part) => bytes.extend_from_slice(part),
            ReplayPiece::End => end = true,
        });
        (bytes, end)
    }

    #[test]
    fn large_and_small_pieces_come_back_in_order_as_often_as_asked() {
        let reactor = reactor();
        let mut replay = started(true, 10_000);
        let mut expected = Vec::new();
        for (len, byte) in [(10, b'a'), (1024, b'b'), (3, b'c'), (4, b'd'), (600, b'e'), (512, b'f')] {
            let piece = vec![byte; len];
            assert!(replay.keep(&reactor.pool().copy_from(&piece), &reactor));
            expected.extend_from_slice(&piece);
        }
        assert_eq!(replayed(&replay), (expected.clone(), false));
        replay.end();
        for _ in 0..2 {
            assert_eq!(replayed(&replay), (expected.clone(), true));
        }
        assert!(replay.is_possible());
    }

    #[test]
    fn many_tiny_pieces_do_not_hold_a_receive_buffer_each() {
        let reactor = reactor();
        let mut replay = started(true, 10_000);
        for _ in 0..100 {
            assert!(replay.keep(&reactor.pool().copy_from(b"tiny"), &reactor));
        }
        assert_eq!(reactor.pool().in_use(), 0);
        assert_eq!(replayed(&replay).0, b"tiny".repeat(100));
    }

    #[test]
    fn past_the_limit_all_is_dropped_and_told_once() {
        let reactor = reactor();
        let mut replay = started(true, 1500);
        let piece = reactor.pool().copy_from(&[b'a'; 1000]);
        assert!(replay.keep(&piece, &reactor));
        assert!(!replay.keep(&piece, &reactor));
        assert!(replay.keep(&piece, &reactor), "it was told already");
        assert!(!replay.is_possible());
        drop(piece);
        assert_eq!(reactor.pool().in_use(), 0);
    }

    #[test]
    fn what_nobody_wants_is_not_kept() {
        let reactor = reactor();
        let mut replay = started(false, 1500);
        assert!(replay.keep(&reactor.pool().copy_from(&[b'a'; 1000]), &reactor));
        assert_eq!(reactor.pool().in_use(), 0);
        assert!(!replay.is_possible());
    }
}
