//! The pools of a shard's receive buffers, and which of them a socket receives into.

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
    /// Up to 128 KiB, for bodies that come fast.
    Bulk,
}

/// Bytes of a long buffer.
const LONG_SIZE: u32 = 32 * 1024;

/// Bytes that a bulk buffer receives. Two receives of 64 KiB cost more, by system calls and segments; twice as many bytes
/// would no longer all be in a core's cache until they are sent.
pub const BULK_SIZE: usize = 128 * 1024;

/// Bytes behind those of a long or bulk buffer that the kernel fills, for what is made of as many and is a little longer: their
/// records, when they are sealed.
const BEHIND: usize = 4096;

/// Marks a long buffer where all kinds are numbered together; a pool has at most 32,768 buffers.
const LONG_BIT: u16 = 1 << 15;
/// Marks a bulk buffer together with it; there are fewer long ones.
const BULK_BITS: u16 = LONG_BIT | 1 << 14;

/// Pools of short, long and bulk buffers. There are none of a kind where the configured buffers are as long already.
#[derive(Clone, Debug)]
pub(super) struct Pools {
    pub short: Rc<BufPool>,
    pub long: Option<Rc<BufPool>>,
    pub bulk: Option<Rc<BufPool>>,
}

impl Pools {
    /// # Errors
    /// As those of `BufPool::new`.
    pub(super) fn new(sizes: PoolSize) -> Result<Self, String> {
        let longer = |sizes: Option<PoolSize>| sizes.map(|sizes| BufPool::with_room(sizes, BEHIND)).transpose();
        Ok(Self { short: BufPool::new(sizes)?, long: longer(long(sizes))?, bulk: longer(bulk(sizes))? })
    }

    pub(super) fn of(&self, class: ReceiveClass) -> &Rc<BufPool> {
        match class {
            ReceiveClass::Short => &self.short,
            ReceiveClass::Long => self.long.as_ref().unwrap_or(&self.short),
            ReceiveClass::Bulk => self.bulk.as_ref().or(self.long.as_ref()).unwrap_or(&self.short),
        }
    }

    /// Whether a receive into a long buffer may succeed.
    pub(super) fn has_long(&self) -> bool {
        self.long.as_ref().is_some_and(|pool| pool.is_available())
    }

    /// The class, or the next one below it whose buffers may be had.
    pub(super) fn available(&self, class: ReceiveClass) -> ReceiveClass {
        match class {
            ReceiveClass::Bulk if self.bulk.as_ref().is_some_and(|pool| !pool.is_short()) => class,
            ReceiveClass::Bulk | ReceiveClass::Long if self.has_long() => ReceiveClass::Long,
            _ => ReceiveClass::Short,
        }
    }

    /// The number by which the kernel knows a buffer.
    pub(super) fn number(class: ReceiveClass, id: u16) -> u16 {
        match class {
            ReceiveClass::Short => id,
            ReceiveClass::Long => id | LONG_BIT,
            ReceiveClass::Bulk => id | BULK_BITS,
        }
    }

    /// The kernel filled `len` bytes of the buffer with this number.
    pub(super) fn received(&self, number: u16, len: u32) -> Buf {
        match (&self.long, &self.bulk) {
            (_, Some(bulk)) if number & BULK_BITS == BULK_BITS => bulk.received(number & !BULK_BITS, len),
            (Some(long), _) if number & LONG_BIT != 0 => long.received(number & !LONG_BIT, len),
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

    /// See `Reactor::take_buf`. What is sent to a slow peer may be kept long: most long buffers are left for what is received, and
    /// all short ones; and one that is bulk is filled.
    pub(super) fn take(&self, len: usize) -> Option<Buf> {
        let bulk = self.bulk.as_ref().filter(|pool| len >= pool.buffer_size() / 8 * 7 && !pool.is_short());
        let long = self.long.as_ref().filter(|pool| len > pool.buffer_size() / 2 && !pool.is_scarce());
        [bulk, long].into_iter().flatten().find_map(|pool| pool.take())
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
        [Some(&self.short), self.long.as_ref(), self.bulk.as_ref()].into_iter().flatten()
    }
}

impl PoolSize {
    /// Bytes of all pools of a reactor.
    pub fn bytes_of_all(self) -> u64 {
        let longer = |sizes: Self| u64::from(sizes.count) * (u64::from(sizes.size) + BEHIND as u64);
        let bytes = |sizes: Self| u64::from(sizes.count) * u64::from(sizes.size);
        bytes(self) + long(self).map_or(0, longer) + bulk(self).map_or(0, longer)
    }
}

/// The long pool that goes with a short one: half as much memory.
fn long(short: PoolSize) -> Option<PoolSize> {
    half(short, LONG_SIZE)
}

/// The bulk pool: half as much memory as the short one, too.
fn bulk(short: PoolSize) -> Option<PoolSize> {
    half(short, BULK_SIZE as u32)
}

/// Half as much memory as a pool has, in longer buffers. `None`: they would not be longer.
fn half(short: PoolSize, size: u32) -> Option<PoolSize> {
    if short.size >= size {
        return None;
    }
    let fits = (u64::from(short.count) * u64::from(short.size) / 2 / u64::from(size)).max(1);
    // Short buffers are at most 2^15 of less than `size` bytes, so that at most 2^14 long ones fit.
    Some(PoolSize { count: 1 << fits.ilog2(), size })
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
        let sizes = |count, size| bulk(PoolSize { count, size }).map(|bulk| (bulk.count, bulk.size));
        assert_eq!(sizes(1024, 16 * 1024), Some((64, 128 * 1024)));
        assert_eq!(sizes(512, 32 * 1024), Some((64, 128 * 1024)), "next to buffers that are long");
        assert_eq!(sizes(16, 4096), Some((1, 128 * 1024)));
        assert_eq!(sizes(32_768, 128 * 1024 - 1), Some((8192, 128 * 1024)));
        assert_eq!(sizes(16, 128 * 1024), None);
    }

    #[test]
    fn a_receive_falls_back_to_the_next_shorter_buffers() {
        use ReceiveClass::{Bulk, Long, Short};
        let pools = Pools::new(PoolSize { count: 64, size: 16 * 1024 }).expect("memory");
        let [long, bulk] = [&pools.long, &pools.bulk].map(|pool| pool.clone().expect("16 KiB are short"));
        assert_eq!([Short, Long, Bulk].map(|class| pools.available(class)), [Short, Long, Bulk]);
        let mut held = vec![bulk.take(), bulk.take()];
        assert_eq!(pools.available(Bulk), Bulk, "half of them are free");
        held.push(bulk.take());
        assert_eq!([Short, Long, Bulk].map(|class| pools.available(class)), [Short, Long, Long]);
        held.extend((0..long.count()).map(|_| long.take()));
        assert_eq!([Short, Long, Bulk].map(|class| pools.available(class)), [Short, Short, Short]);
        assert!(held.iter().all(Option::is_some));
    }

    /// What is sealed there is a little longer than what was received.
    #[test]
    fn a_buffer_for_our_own_bytes_is_well_filled() {
        let pools = Pools::new(PoolSize { count: 128, size: 16 * 1024 }).expect("memory");
        let [long, bulk] = [&pools.long, &pools.bulk].map(|pool| pool.clone().expect("16 KiB are short"));
        let room = |len| pools.take(len).map(|buf| buf.len());
        let rooms = [100, 16_384, 16_385, 32_768 + 44, 100_000, 114_688, 131_072 + 176, 1 << 20].map(room);
        let (a_long, a_bulk) = (Some(36 * 1024), Some(132 * 1024));
        assert_eq!(rooms, [None, None, a_long, a_long, a_long, a_bulk, a_bulk, a_bulk]);
        let held: Vec<_> = (0..5).map(|_| bulk.take().expect("a free one")).collect();
        assert_eq!(room(1 << 20), a_long, "more than half of eight are in use");
        let rest: Vec<_> = (0..9).map(|_| long.take().expect("a free one")).collect();
        assert_eq!(room(1 << 20), None, "more than a quarter of 32 are in use");
        assert!(held.iter().chain(&rest).all(|buf| buf.charge() == buf.len()));
        drop((held, rest));
        let received = bulk.received(bulk.lend().expect("a free one").0, 1000);
        assert_eq!((received.charge(), bulk.lent()), (128 * 1024, 0), "what is behind is not received");
        // All of them are lent to the kernel.
        let lent = std::iter::from_fn(|| bulk.lend()).count();
        assert_eq!((lent, room(1 << 20)), (7, a_long));
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
