//! Pieces of a body that wait, or are kept, in memory that is hardly more than their bytes.

use crate::ring::{Buf, JOINED_MAX};
use smallvec::SmallVec;

/// Unused bytes in the receive buffers of pieces that are kept where they are.
const UNUSED_MAX: usize = 16 * 1024;

/// A queue of pieces. One that fills most of its receive buffer is kept there, as long as few bytes are wasted that way;
/// any other is copied behind the piece before it.
#[derive(Debug, Default)]
pub struct Pieces {
    queue: SmallVec<[Option<Buf>; 2]>,
    /// Where the first one stands in the queue; those before it were taken.
    first: usize,
    /// Behind all others.
    joined: Vec<u8>,
    bytes: usize,
    /// Memory of the pieces in the queue, and the part of it that holds none of their bytes.
    charge: usize,
    unused: usize,
}

impl Pieces {
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Memory that is held.
    pub fn charge(&self) -> usize {
        self.charge + self.joined.capacity()
    }

    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    pub fn push(&mut self, buf: Buf) {
        self.push_in(buf, Vec::new);
    }

    /// `vec` gives the memory where small pieces are joined first.
    pub fn push_in(&mut self, buf: Buf, vec: impl FnOnce() -> Vec<u8>) {
        let unused = buf.charge() - buf.len();
        if unused > buf.len() || self.unused + unused > UNUSED_MAX {
            if self.joined.capacity() == 0 {
                self.joined = vec();
            }
            return self.push_bytes(&buf);
        }
        self.close_joined();
        self.bytes += buf.len();
        self.enqueue(buf);
    }

    /// The same where pieces are expected to go soon: one that has none before it stays in its buffer, however little of that
    /// it fills.
    pub fn push_passing(&mut self, buf: Buf, vec: impl FnOnce() -> Vec<u8>) {
        if self.is_empty() {
            self.bytes += buf.len();
            return self.enqueue(buf);
        }
        self.push_in(buf, vec);
    }

    pub fn push_bytes(&mut self, mut bytes: &[u8]) {
        self.bytes += bytes.len();
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(JOINED_MAX - self.joined.len()));
            self.joined.extend_from_slice(now);
            if self.joined.len() == JOINED_MAX {
                self.close_joined();
            }
            bytes = later;
        }
    }

    /// The next piece, of `most` bytes at most.
    pub fn pop(&mut self, most: usize) -> Option<Buf> {
        if self.first == self.queue.len() {
            self.forget_taken();
            self.close_joined();
        }
        let slot = self.queue.get_mut(self.first)?;
        let mut piece = slot.take()?;
        if piece.len() > most {
            let rest = slot.insert(piece.slice(most..piece.len()));
            self.unused += piece.len() - rest.len();
            piece.truncate(most);
        } else {
            self.first += 1;
            self.charge -= piece.charge();
            self.unused -= piece.charge() - piece.len();
        }
        self.bytes -= piece.len();
        Some(piece)
    }

    /// The pieces in buffers of their own.
    pub fn bufs(&self) -> impl Iterator<Item = &Buf> {
        self.queue.iter().flatten()
    }

    /// The last ones, joined.
    pub fn joined(&self) -> &[u8] {
        &self.joined
    }

    /// Forget all pieces. Gives the vector that small ones were joined in.
    pub fn clear(&mut self) -> Vec<u8> {
        self.forget_taken();
        (self.bytes, self.charge, self.unused) = (0, 0, 0);
        std::mem::take(&mut self.joined)
    }

    /// Whatever is in the queue is of no use any more, and most often that is nothing.
    fn forget_taken(&mut self) {
        self.first = 0;
        if self.queue.spilled() {
            self.queue = SmallVec::new();
        } else if !self.queue.is_empty() {
            self.queue.clear();
        }
    }

    fn enqueue(&mut self, buf: Buf) {
        if self.first == self.queue.len() {
            self.first = 0;
            self.queue.clear();
        }
        self.charge += buf.charge();
        self.unused += buf.charge() - buf.len();
        self.queue.push(Some(buf));
    }

    fn close_joined(&mut self) {
        if !self.joined.is_empty() {
            let joined = std::mem::take(&mut self.joined);
            self.enqueue(Buf::from(joined.into_boxed_slice()));
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
        let shown = pieces.bufs().flat_map(|buf| buf.iter()).chain(pieces.joined());
        assert_eq!((shown.copied().collect(), pieces.joined()), (expected.clone(), &b"eeeeend"[..]));
        let mut seen = Vec::new();
        while let Some(piece) = pieces.pop(700) {
            assert!((1..=700).contains(&piece.len()));
            seen.extend_from_slice(&piece);
        }
        assert_eq!((seen, pieces.is_empty(), reactor.pool().in_use()), (expected, true, 0));
        assert_eq!((pieces.charge, pieces.unused), (0, 0));
    }

    /// Whatever the size of the pieces, and however full their buffers are.
    #[test]
    fn memory_is_hardly_more_than_bytes() {
        const BYTES: usize = 400_000;
        for size in [1, 10, 100, 1000, 2049, 5000, 8191, 8193, 12_000, 16_000, 16_384] {
            let reactor = Reactor::simulated(1, PoolSize { count: 64, size: 16 * 1024 });
            let mut pieces = Pieces::default();
            let piece = vec![b'x'; size];
            while pieces.bytes() < BYTES {
                pieces.push(reactor.pool().copy_from(&piece));
            }
            assert!(pieces.charge() <= pieces.bytes() + 2 * JOINED_MAX, "{size}: {}", pieces.charge());
            let in_buffers = reactor.pool().in_use() * 16 * 1024;
            assert!(in_buffers <= pieces.charge(), "{size}: {in_buffers} bytes of buffers");
        }
    }
}
