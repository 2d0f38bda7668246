//! Log-linear histograms: 24 cells to each power of two, so that a value is off by at most 2.3 %.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Values below this have a cell each.
const LINEAR: u64 = 1 << LINEAR_BITS;
const LINEAR_BITS: u32 = 6;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;

    /// Half the width of a cell is 1/48 of its lowest value; rounding to whole numbers adds the rest.
    const RELATIVE_ERROR: f64 = 0.023;

    fn merged(histogram: &Histogram) -> Distribution {
        let mut merged = Distribution::default();
        histogram.merge_into(&mut merged);
        merged
    }

    fn close(approximate: u64, exact: u64) -> bool {
        approximate.abs_diff(exact) as f64 <= exact as f64 * RELATIVE_ERROR
    }

    #[test]
    fn cells_cover_every_value_once_and_in_order() {
        assert_eq!((lowest_of(0), index_of(HISTOGRAM_VALUE_MAX), lowest_of(CELLS)), (0, CELLS - 1, 1 << VALUE_BITS));
        for index in 0..CELLS {
            let lowest = lowest_of(index);
            assert!(lowest < lowest_of(index + 1), "cell {index} holds a value");
            assert_eq!((index_of(lowest), index_of(lowest_of(index + 1) - 1)), (index, index));
            assert_eq!(index_of(middle_of(index)), index);
        }
    }

    #[test]
    fn any_value_is_within_the_error() {
        let random = Random::seeded(1);
        for round in 0..200_000 {
            // Every magnitude as often as every other.
            let value = random.next_u64() >> (64 - VALUE_BITS + round % VALUE_BITS);
            let shown = middle_of(index_of(value));
            assert!(close(shown, value), "{value} is shown as {shown}");
        }
    }

    #[test]
    fn quantiles_of_random_values_are_those_of_the_sorted_list() {
        const QUANTILES: [f64; 6] = [0.0, 0.5, 0.9, 0.99, 0.999, 1.0];
        let random = Random::seeded(2);
        for size in [1, 2, 10, 999, 20_000] {
            let histogram = Histogram::default();
            let bits = 8 + size as u32 % 31;
            let mut values: Vec<u64> = (0..size).map(|_| random.next_u64() >> (64 - bits)).collect();
            values.iter().for_each(|value| histogram.record(*value));
            values.sort_unstable();
            let merged = merged(&histogram);
            assert_eq!((merged.count(), merged.sum()), (size as u64, values.iter().sum()));
            let exact = QUANTILES.map(|quantile| values[rank(quantile, size as u64) as usize - 1]);
            let shown = merged.quantiles(&QUANTILES).unwrap();
            assert!(shown.iter().zip(exact).all(|(shown, exact)| close(*shown, exact)), "{shown:?} for {exact:?}");

            let mut hdr = hdrhistogram::Histogram::<u64>::new_with_bounds(1, HISTOGRAM_VALUE_MAX, 3).unwrap();
            histogram.merge_into_hdr(&mut hdr).unwrap();
            assert_eq!(hdr.len(), size as u64);
            for (quantile, exact) in QUANTILES.iter().zip(exact) {
                let shown = hdr.value_at_quantile(*quantile);
                assert!(shown.abs_diff(exact) as f64 <= exact as f64 * 0.03, "{shown} for {exact}");
            }
        }
    }

    #[test]
    fn nothing_recorded_has_no_quantiles_and_no_memory() {
        let histogram = Histogram::default();
        assert!(histogram.is_empty() && size_of_val(&histogram) <= 16);
        assert_eq!(merged(&histogram).quantiles(&[0.5]), None);
        assert_eq!(merged(&histogram).cumulative(&[1, 2]), [0, 0]);
    }

    #[test]
    fn values_beyond_the_range_count_as_its_end() {
        let histogram = Histogram::default();
        histogram.record(u64::MAX);
        histogram.record(HISTOGRAM_VALUE_MAX);
        assert_eq!(histogram.count(), 2);
        assert!(close(merged(&histogram).quantiles(&[1.0]).unwrap()[0], HISTOGRAM_VALUE_MAX));
        assert_eq!(merged(&histogram).sum(), 2 * HISTOGRAM_VALUE_MAX);
    }

    #[test]
    fn cumulative_totals_count_what_is_at_or_below_the_bound() {
        let histogram = Histogram::default();
        [0, 3, 3, 10, 31, 1000].iter().for_each(|value| histogram.record(*value));
        assert_eq!(merged(&histogram).cumulative(&[0, 2, 3, 9, 10, 500, 2000]), [1, 1, 3, 3, 4, 5, 6]);
    }
}
