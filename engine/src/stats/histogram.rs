//! Log-linear histograms: 24 cells to each power of two, so that a value is off by at most 2.1 %.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Values below this have a cell each.
const LINEAR: u64 = 1 << LINEAR_BITS;
const LINEAR_BITS: u32 = 5;
/// Cells for each power of two from there on. Not a power of two itself: 16 would be off by 3.1 %, 32 would take more
/// than 8 KiB.
const CELLS_PER_OCTAVE: u64 = 24;
const VALUE_BITS: u32 = 40;
const CELLS: usize = LINEAR as usize + (VALUE_BITS - LINEAR_BITS) as usize * CELLS_PER_OCTAVE as usize;

/// The largest value with a cell of its own (about 12 days in microseconds, 1 TiB in bytes); larger ones count as this.
pub const HISTOGRAM_VALUE_MAX: u64 = (1 << VALUE_BITS) - 1;

/// Values by size. Times are recorded in microseconds, sizes in bytes.
///
/// Single writer, as [`super::Counter`]. 7 KiB, allocated by the first value.
#[derive(Debug, Default)]
pub struct Histogram(OnceLock<Box<Cells>>);

#[derive(Debug)]
struct Cells {
    sum: AtomicU64,
    counts: [AtomicU64; CELLS],
}

const _: () = assert!(size_of::<Cells>() <= 8 * 1024);

impl Histogram {
    /// Counts one value.
    #[inline]
    pub fn record(&self, value: u64) {
        let cells = self.0.get_or_init(Cells::boxed);
        let value = value.min(HISTOGRAM_VALUE_MAX);
        add(&cells.sum, value);
        add(&cells.counts[index_of(value)], 1);
    }

    /// Values recorded on this shard.
    pub fn count(&self) -> u64 {
        self.0.get().map_or(0, |cells| cells.counts.iter().map(|cell| cell.load(Relaxed)).sum())
    }

    /// Whether nothing was recorded on this shard.
    pub fn is_empty(&self) -> bool {
        self.0.get().is_none()
    }

    /// Adds this shard's values to `merged`. Nothing is recorded twice or lost when the writer goes on meanwhile, but
    /// the sum may be a value ahead of the cells.
    pub fn merge_into(&self, merged: &mut Distribution) {
        let Some(cells) = self.0.get() else { return };
        merged.sum += cells.sum.load(Relaxed);
        for (total, cell) in merged.counts.iter_mut().zip(&cells.counts) {
            *total += cell.load(Relaxed);
        }
    }

    /// Adds this shard's values to an HDR histogram, each as the middle of its cell.
    ///
    /// # Errors
    /// When `target` neither covers [`HISTOGRAM_VALUE_MAX`] nor may resize itself.
    pub fn merge_into_hdr(&self, target: &mut hdrhistogram::Histogram<u64>) -> Result<(), hdrhistogram::RecordError> {
        let mut merged = Distribution::default();
        self.merge_into(&mut merged);
        merged.merge_into_hdr(target)
    }
}

impl Cells {
    #[cold]
    fn boxed() -> Box<Self> {
        Box::new(Self { sum: AtomicU64::new(0), counts: [const { AtomicU64::new(0) }; CELLS] })
    }
}

#[inline]
fn add(cell: &AtomicU64, n: u64) {
    cell.store(cell.load(Relaxed).wrapping_add(n), Relaxed);
}

/// The cell of `value`, which is at most [`HISTOGRAM_VALUE_MAX`].
#[inline]
fn index_of(value: u64) -> usize {
    if value < LINEAR {
        return value as usize;
    }
    let octave = value.ilog2();
    let within = ((value - (1 << octave)) * CELLS_PER_OCTAVE) >> octave;
    (LINEAR + u64::from(octave - LINEAR_BITS) * CELLS_PER_OCTAVE + within) as usize
}

/// The smallest value of cell `index`.
fn lowest_of(index: usize) -> u64 {
    let index = index as u64;
    if index < LINEAR {
        return index;
    }
    let octave = (index - LINEAR) / CELLS_PER_OCTAVE + u64::from(LINEAR_BITS);
    let within = (index - LINEAR) % CELLS_PER_OCTAVE;
    (1 << octave) + (within << octave).div_ceil(CELLS_PER_OCTAVE)
}

/// The value that stands for all of cell `index`: its middle.
fn middle_of(index: usize) -> u64 {
    let lowest = lowest_of(index);
    let highest = lowest_of(index + 1).max(lowest + 1) - 1;
    lowest + (highest - lowest) / 2
}

/// The values of any number of shards, added up for a reader.
#[derive(Clone, Debug)]
pub struct Distribution {
    sum: u64,
    counts: Box<[u64; CELLS]>,
}

impl Default for Distribution {
    fn default() -> Self {
        Self { sum: 0, counts: Box::new([0; CELLS]) }
    }
}

impl Distribution {
    /// Values recorded.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Sum of the values, each at most [`HISTOGRAM_VALUE_MAX`].
    pub fn sum(&self) -> u64 {
        self.sum
    }

    /// For each of the ascending `quantiles` (0 to 1) the value that this share of the values does not exceed, within
    /// the width of a cell. `None` when nothing was recorded.
    ///
    /// Read from the cells in one walk: an HDR histogram of the same range takes a walk of its array for each quantile,
    /// which at thousands of clusters is most of the time that /stats takes.
    pub fn quantiles<const N: usize>(&self, quantiles: &[f64; N]) -> Option<[u64; N]> {
        let count = self.count();
        let mut values = [0; N];
        let (mut below, mut next) = (0, 0);
        for (index, &in_cell) in self.counts.iter().enumerate().filter(|cell| *cell.1 != 0) {
            below += in_cell;
            while next < N && below >= rank(quantiles[next], count) {
                values[next] = middle_of(index);
                next += 1;
            }
        }
        (count != 0).then_some(values)
    }

    /// For each of the ascending `bounds` the number of values up to it; values count as the middle of their cell.
    pub fn cumulative<const N: usize>(&self, bounds: &[u64; N]) -> [u64; N] {
        let mut totals = [0; N];
        let (mut below, mut next) = (0, 0);
        for (index, &in_cell) in self.counts.iter().enumerate().filter(|cell| *cell.1 != 0) {
            while next < N && bounds[next] < middle_of(index) {
                totals[next] = below;
                next += 1;
            }
            below += in_cell;
        }
        totals[next..].fill(below);
        totals
    }

    /// Adds the values to an HDR histogram, each as the middle of its cell.
    ///
    /// # Errors
    /// When `target` neither covers [`HISTOGRAM_VALUE_MAX`] nor may resize itself.
    pub fn merge_into_hdr(&self, target: &mut hdrhistogram::Histogram<u64>) -> Result<(), hdrhistogram::RecordError> {
        for (index, &in_cell) in self.counts.iter().enumerate().filter(|cell| *cell.1 != 0) {
            target.record_n(middle_of(index), in_cell)?;
        }
        Ok(())
    }
}

/// How many of `count` values must lie at or below the quantile; at least one.
fn rank(quantile: f64, count: u64) -> u64 {
    ((quantile * count as f64).ceil() as u64).clamp(1, count)
}
