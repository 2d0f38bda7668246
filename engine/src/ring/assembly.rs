//! A buffer that is written piece by piece and then travels on as a received one does: a message that is put together,
//! bytes that are encrypted or compressed.

use super::buffer::{Buf, BufPool};
use std::fmt;
use std::rc::Rc;

/// A buffer under construction.
pub struct Assembly {
    /// All of the buffer; the only reference to it.
    whole: Buf,
    filled: usize,
}

impl BufPool {
    /// A buffer to write into; from the heap when none is free.
    pub fn assembly(self: &Rc<Self>) -> Assembly {
        let whole = self.take().unwrap_or_else(|| self.heap_buf(vec![0; self.buffer_size()].into()));
        Assembly { whole, filled: 0 }
    }
}

impl Assembly {
    /// Bytes that still fit.
    pub fn room(&self) -> usize {
        self.whole.len() - self.filled
    }

    /// What is written so far.
    pub fn filled(&self) -> &[u8] {
        &self.whole[..self.filled]
    }

    /// What is written so far, to be changed in place.
    pub fn filled_mut(&mut self) -> &mut [u8] {
        let filled = self.filled;
        &mut self.bytes()[..filled]
    }

    /// Where the next bytes go; `advance` says how many were written. It holds the bytes of an earlier use.
    pub fn spare(&mut self) -> &mut [u8] {
        let filled = self.filled;
        &mut self.bytes()[filled..]
    }

    /// The first `n` bytes of `spare` are written.
    pub fn advance(&mut self, n: usize) {
        assert!(n <= self.room());
        self.filled += n;
    }

    /// Append as much of `bytes` as fits; returns how much that is.
    pub fn push(&mut self, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.room());
        self.spare()[..n].copy_from_slice(&bytes[..n]);
        self.filled += n;
        n
    }

    /// What was written, as a buffer like any other.
    pub fn finish(self) -> Buf {
        let mut buf = self.whole;
        buf.truncate(self.filled);
        buf
    }

    fn bytes(&mut self) -> &mut [u8] {
        self.whole.unique_mut().expect("slices are made of finished buffers only")
    }
}

impl fmt::Debug for Assembly {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Assembly({} of {} bytes)", self.filled, self.whole.len())
    }
}

#[cfg(test)]
mod tests {
    use super::super::buffer::PoolSize;
    use super::*;

    #[test]
    fn what_was_written_comes_out_and_nothing_of_an_earlier_use() {
        let pool = BufPool::new(PoolSize { count: 1, size: 8 }).expect("memory");
        drop(pool.copy_from(b"secret!!"));
        let mut assembly = pool.assembly();
        assert_eq!(assembly.push(b"abc"), 3);
        assembly.spare()[..2].copy_from_slice(b"de");
        assembly.advance(2);
        assembly.filled_mut()[0] = b'A';
        assert_eq!((assembly.room(), assembly.filled()), (3, &b"Abcde"[..]));
        let buf = assembly.finish();
        assert_eq!((&*buf, pool.in_use(), pool.heap_buffers()), (&b"Abcde"[..], 1, 0));
    }

    #[test]
    fn more_than_fits_is_left_to_the_caller_and_the_heap_serves_when_the_pool_is_empty() {
        let pool = BufPool::new(PoolSize { count: 1, size: 8 }).expect("memory");
        let (mut first, mut second) = (pool.assembly(), pool.assembly());
        assert_eq!((first.push(b"0123456789"), second.push(b"0123456789")), (8, 8));
        assert_eq!((first.push(b"x"), pool.heap_buffers()), (0, 1));
        assert_eq!((&*first.finish(), &*second.finish()), (&b"01234567"[..], &b"01234567"[..]));
        assert_eq!(pool.in_use(), 0);
    }
}
