//! The two pools of a shard's receive buffers, and which of them a socket receives into.

use super::buffer::{Buf, BufPool, PoolSize};
use std::rc::Rc;

/// Which buffers a socket receives into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReceiveClass {
    /// As large as the configuration says: heads and small messages.
    #[default]
    Short,
    /// At least 32 KiB: a head with its body of 16 KiB, or a whole TLS record (at most 16,645 bytes in TLS 1.3, RFC 8446
    /// section 5.2), without a seam.
    Long,
}

/// Bytes of a long buffer.
const LONG_SIZE: u32 = 32 * 1024;

/// Marks a long buffer where both kinds are numbered together; a pool has at most 32,768 buffers.
const LONG_BIT: u16 = 1 << 15;

/// A short and a long pool. There is no long one where the configured buffers are long already.
#[derive(Clone, Debug)]
pub(super) struct Pools {
    pub short: Rc<BufPool>,
    pub long: Option<Rc<BufPool>>,
}

impl Pools {
    /// # Errors
    /// As those of `BufPool::new`.
    pub(super) fn new(sizes: PoolSize) -> Result<Self, String> {
        Ok(Self { short: BufPool::new(sizes)?, long: long(sizes).map(BufPool::new).transpose()? })
    }

    pub(super) fn of(&self, class: ReceiveClass) -> &Rc<BufPool> {
        match (class, &self.long) {
            (ReceiveClass::Long, Some(long)) => long,
            _ => &self.short,
        }
    }

    /// Whether a receive into a long buffer may succeed.
    pub(super) fn has_long(&self) -> bool {
        self.long.as_ref().is_some_and(|pool| pool.is_available())
    }

    /// The number by which the kernel knows a buffer.
    pub(super) fn number(class: ReceiveClass, id: u16) -> u16 {
        if class == ReceiveClass::Long { id | LONG_BIT } else { id }
    }

    /// The kernel filled `len` bytes of the buffer with this number.
    pub(super) fn received(&self, number: u16, len: u32) -> Buf {
        match &self.long {
            Some(long) if number & LONG_BIT != 0 => long.received(number & !LONG_BIT, len),
            _ => self.short.received(number, len),
        }
    }

    /// A copy of all `bytes`: in a buffer of the first pool whose buffers are long enough, else from the heap.
    pub(super) fn copy_from(&self, bytes: &[u8]) -> Buf {
        let fits = |pool: &&Rc<BufPool>| bytes.len() <= pool.buffer_size();
        match [Some(&self.short), self.long.as_ref()].into_iter().flatten().find(fits) {
            Some(pool) => pool.copy_from(bytes),
            None => self.short.heap_buf(bytes.into()),
        }
    }

    pub(super) fn in_use(&self) -> usize {
        self.all().map(|pool| pool.in_use()).sum()
    }

    pub(super) fn heap_buffers(&self) -> u64 {
        self.all().map(|pool| pool.heap_buffers()).sum()
    }

    /// See `BufPool::release_free_pages`.
    pub(super) fn release_free_pages(&self) {
        self.all().for_each(|pool| {
            pool.release_free_pages();
        });
    }

    fn all(&self) -> impl Iterator<Item = &Rc<BufPool>> {
        [Some(&self.short), self.long.as_ref()].into_iter().flatten()
    }
}

impl PoolSize {
    /// Bytes of both pools of a reactor.
    pub fn bytes_of_both(self) -> u64 {
        let bytes = |sizes: Self| u64::from(sizes.count) * u64::from(sizes.size);
        bytes(self) + long(self).map_or(0, bytes)
    }
}

/// The long pool that goes with a short one: half as much memory.
fn long(short: PoolSize) -> Option<PoolSize> {
    if short.size >= LONG_SIZE {
        return None;
    }
    let fits = (u32::from(short.count) * short.size / 2 / LONG_SIZE).max(1);
    // Short buffers are at most 2^15 of less than 2^15 bytes, so that fewer than 2^14 long ones fit.
    Some(PoolSize { count: 1 << fits.ilog2(), size: LONG_SIZE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_buffers_take_half_as_much_memory_again() {
        let sizes = |count, size| long(PoolSize { count, size }).map(|long| (long.count, long.size));
        assert_eq!(sizes(1024, 16 * 1024), Some((256, 32 * 1024)));
        assert_eq!(sizes(64, 4096), Some((4, 32 * 1024)));
        assert_eq!(sizes(1, 1024), Some((1, 32 * 1024)));
        assert_eq!(sizes(32_768, 32_767), Some((8192, 32 * 1024)));
        assert_eq!(sizes(16, 32 * 1024), None);
        assert_eq!(sizes(32_768, 1 << 20), None);
    }

    /// No system has that many bytes. In the program, this is one sentence and exit code 3.
    #[test]
    fn memory_that_there_is_not_is_an_error() {
        let sizes = PoolSize { count: 32_768, size: u32::MAX };
        assert_eq!(sizes.bytes_of_both(), 32_768 * u64::from(u32::MAX));
        let why = Pools::new(sizes).expect_err("as much as all addresses of a process");
        assert!(why.contains("32768 receive buffers") && why.contains("lower runtime.buffer_count"), "{why}");
        assert_eq!(PoolSize { count: 1024, size: 16 * 1024 }.bytes_of_both(), 24 << 20);
    }

    #[test]
    fn a_copy_goes_where_it_fits_and_is_never_cut() {
        let pools = Pools::new(PoolSize { count: 16, size: 4096 }).expect("memory");
        let long = pools.long.clone().expect("4 KiB are short");
        for (len, in_short, in_long, heap) in [(4096, 1, 0, 0), (4097, 0, 1, 0), (32_768, 0, 1, 0), (32_769, 0, 0, 1)] {
            let bytes: Vec<u8> = (0..len).map(|i| i as u8).collect();
            let before = pools.heap_buffers();
            let copy = pools.copy_from(&bytes);
            assert!(*copy == *bytes, "{len} bytes");
            let used = (pools.short.in_use(), long.in_use(), pools.heap_buffers() - before);
            assert_eq!(used, (in_short, in_long, heap), "{len} bytes");
        }
    }
}
