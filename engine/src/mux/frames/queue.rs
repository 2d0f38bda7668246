//! Pieces of a body that wait, in either direction.

use crate::ring::Buf;
use std::collections::VecDeque;

/// A queue whose memory is bounded by its bytes: pieces that fill little of their buffer are copied together.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    queue: VecDeque<Buf>,
    /// Behind all others.
    joined: Vec<u8>,
    bytes: usize,
}

impl Pieces {
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub(super) fn push(&mut self, buf: Buf) {
        self.bytes += buf.len();
        if buf.len() * 2 <= buf.charge() {
            return self.joined.extend_from_slice(&buf);
        }
        self.close_joined();
        self.queue.push_back(buf);
    }

    pub(super) fn push_bytes(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len();
        self.joined.extend_from_slice(bytes);
    }

    /// The next piece, of `most` bytes at most.
    pub(super) fn pop(&mut self, most: usize) -> Option<Buf> {
        if self.queue.is_empty() {
            self.close_joined();
        }
        let mut piece = self.queue.pop_front()?;
        if piece.len() > most {
            let mut rest = piece.slice(0..piece.len());
            rest.advance(most);
            piece.truncate(most);
            self.queue.push_front(rest);
        }
        self.bytes -= piece.len();
        Some(piece)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    fn close_joined(&mut self) {
        if !self.joined.is_empty() {
            self.queue.push_back(Buf::from(std::mem::take(&mut self.joined).into_boxed_slice()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::{PoolSize, Reactor};

    #[test]
    fn pieces_come_in_order_and_small_ones_hold_no_receive_buffer() {
        let reactor = Reactor::simulated(1, PoolSize { count: 8, size: 1024 });
        let mut pieces = Pieces::default();
        let mut expected = Vec::new();
        for (len, byte) in [(10, b'a'), (1024, b'b'), (3, b'c'), (600, b'd'), (4, b'e')] {
            pieces.push(reactor.pool().copy_from(&vec![byte; len]));
            expected.extend_from_slice(&vec![byte; len]);
        }
        pieces.push_bytes(b"end");
        expected.extend_from_slice(b"end");
        assert_eq!((reactor.pool().in_use(), pieces.bytes()), (2, expected.len()));
        let mut seen = Vec::new();
        while let Some(piece) = pieces.pop(700) {
            assert!((1..=700).contains(&piece.len()));
            seen.extend_from_slice(&piece);
        }
        assert_eq!((seen, pieces.is_empty(), reactor.pool().in_use()), (expected, true, 0));
    }
}
