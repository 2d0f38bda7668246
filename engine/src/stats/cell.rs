//! The cells that hold a statistic: one writer each, any number of readers.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Histogram;

/// The number of events since the start; it only grows.
///
/// Single writer: only the shard that owns the scope may call `inc` and `add`. A second writer would not be unsound,
/// but events would be lost.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Counts one event.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// Counts `n` events (or bytes).
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// This shard's count.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// A level that rises and falls, such as open connections. The process's value is the sum over the shards.
///
/// Single writer, as [`Counter`].
#[derive(Debug, Default)]
pub struct Gauge(AtomicU64);

impl Gauge {
    /// One more.
    #[inline]
    pub fn inc(&self) {
        self.add(1);
    }

    /// One less.
    #[inline]
    pub fn dec(&self) {
        self.add(-1);
    }

    /// `n` more, or less when negative.
    #[inline]
    pub fn add(&self, n: i64) {
        self.0.store(self.0.load(Relaxed).wrapping_add_signed(n), Relaxed);
    }

    /// Replaces this shard's share of the sum.
    #[inline]
    pub fn set(&self, value: i64) {
        self.0.store(value as u64, Relaxed);
    }

    /// This shard's share; negative on a shard that closes what another one opened.
    #[inline]
    pub fn get(&self) -> i64 {
        self.0.load(Relaxed) as i64
    }
}

/// Lowest and highest status code that is counted separately (RFC 9110 section 15: three digits, first 1 to 5).
const CODE_MIN: u16 = 100;
const CODE_MAX: u16 = 599;
/// Smaller than a class, and a power of two: a response is counted without a division.
const CODES_PER_BLOCK: usize = 64;
const BLOCKS: usize = ((CODE_MAX - CODE_MIN + 1) as usize).div_ceil(CODES_PER_BLOCK);

/// One counter for each status code; only codes that were seen are shown. The first response of each block of 64 codes
/// allocates 512 bytes: most clusters see one or two classes, and of each the first codes.
#[derive(Debug, Default)]
pub struct StatusCodes(OnceLock<Box<[OnceLock<Box<Block>>; BLOCKS]>>);

#[derive(Debug)]
struct Block([Counter; CODES_PER_BLOCK]);

impl StatusCodes {
    /// Counts one response; a code outside 100 to 599 is not counted.
    #[inline]
    pub fn inc(&self, code: u16) {
        if (CODE_MIN..=CODE_MAX).contains(&code) {
            let at = usize::from(code - CODE_MIN);
            let blocks = self.0.get_or_init(Box::default);
            blocks[at / CODES_PER_BLOCK].get_or_init(Block::boxed).0[at % CODES_PER_BLOCK].inc();
        }
    }

    /// This shard's count for `code`.
    pub fn get(&self, code: u16) -> u64 {
        self.seen().find(|seen| seen.0 == code).map_or(0, |seen| seen.1)
    }

    /// The codes seen on this shard with their counts, in ascending order.
    pub fn seen<'a>(&'a self) -> impl Iterator<Item = (u16, u64)> + 'a {
        let blocks = self.0.get().map_or(&[][..], |blocks| &blocks[..]);
        let codes = |(first, block): (u16, &'a OnceLock<Box<Block>>)| {
            let counters = block.get().map_or(&[][..], |block| &block.0[..]);
            (first..).zip(counters.iter().map(Counter::get)).filter(|seen| seen.1 != 0)
        };
        (CODE_MIN..).step_by(CODES_PER_BLOCK).zip(blocks).flat_map(codes)
    }
}

impl Block {
    #[cold]
    fn boxed() -> Box<Self> {
        Box::new(Self([const { Counter(AtomicU64::new(0)) }; CODES_PER_BLOCK]))
    }
}

/// One counter for each status of gRPC (0 to 16); only those that were seen are shown. Other numbers are not counted.
#[derive(Debug, Default)]
pub struct GrpcStatuses([Counter; 17]);

impl GrpcStatuses {
    /// Counts one call.
    pub fn inc(&self, status: u32) {
        if let Some(counter) = self.0.get(status as usize) {
            counter.inc();
        }
    }

    /// The statuses seen on this shard with their counts, in ascending order.
    pub fn seen(&self) -> impl Iterator<Item = (u16, u64)> {
        (0..).zip(self.0.iter().map(Counter::get)).filter(|seen| seen.1 != 0)
    }
}

/// A reader's view of one cell, whatever its kind.
#[derive(Clone, Copy, Debug)]
pub enum Cell<'a> {
    Counter(&'a Counter),
    Gauge(&'a Gauge),
    Time(&'a Histogram),
    Codes(&'a StatusCodes),
    Statuses(&'a GrpcStatuses),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gauge_goes_below_zero_on_one_shard() {
        let gauge = Gauge::default();
        gauge.dec();
        gauge.dec();
        assert_eq!(gauge.get(), -2);
        gauge.set(7);
        gauge.inc();
        assert_eq!(gauge.get(), 8);
    }

    #[test]
    fn only_codes_that_were_seen_are_listed() {
        let codes = StatusCodes::default();
        assert_eq!(codes.seen().count(), 0);
        for code in [599, 200, 100, 200, 99, 600, 0, u16::MAX] {
            codes.inc(code);
        }
        assert_eq!(codes.seen().collect::<Vec<_>>(), [(100, 1), (200, 2), (599, 1)]);
        assert_eq!((codes.get(200), codes.get(201), codes.get(600)), (2, 0, 0));
        let allocated = |block: &usize| codes.0.get().is_some_and(|blocks| blocks[*block].get().is_some());
        assert_eq!((0..BLOCKS).filter(allocated).collect::<Vec<_>>(), [0, 1, 7], "other blocks take no memory");
    }
}
