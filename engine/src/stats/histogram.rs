//! Log-linear histograms: 24 cells to each power of two, so that a value is off by at most 2.3 %.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Values below this have a cell each.
const LINEAR: u64 = 1 << LINEAR_BITS;
const LINEAR_BITS: u32 = 6;
/// Cells for each power of two from there on. Not a power of two itself: with 16 a value is off by up to 3.1 %, and 32 take
/// a third more memory.
const CELLS_PER_OCTAVE: u64 = 24;
const VALUE_BITS: u32 = 40;
const CELLS: usize = LINEAR as usize + (VALUE_BITS - LINEAR_BITS) as usize * CELLS_PER_OCTAVE as usize;

/// The largest value with a cell of its own (about 12 days in microseconds, 1 TiB in bytes); larger ones count as this.
pub const HISTOGRAM_VALUE_MAX: u64 = (1 << VALUE_BITS) - 1;

/// Values by size. Times are recorded in microseconds, sizes in bytes.
///
/// Single writer, as [`super::Counter`]. Memory is allocated by the first value of each octave, since the values of one
/// histogram lie close together: 1 to 2 KiB for a response time, and 8 KiB for values of every size.
#[derive(Debug, Default)]
pub struct Histogram(OnceLock<Box<Rows>>);

/// The cells of one octave, or of a part of the linear range.
type Row = [AtomicU64; CELLS_PER_OCTAVE as usize];
type RowGroup = [OnceLock<Box<Row>>; ROWS_PER_GROUP];

/// A row costs 192 bytes, a place for one 16, and most places stay empty: they come in groups, which are allocated when
/// they are needed as well.
const ROWS_PER_GROUP: usize = 8;
const ROWS: usize = LINEAR_ROWS + (VALUE_BITS - LINEAR_BITS) as usize;
/// Linear rows use 16 of their cells, so that a short time is placed without a division.
const CELLS_PER_LINEAR_ROW: u64 = 16;
const LINEAR_ROWS: usize = (LINEAR / CELLS_PER_LINEAR_ROW) as usize;

#[derive(Debug, Default)]
struct Rows {
    sum: AtomicU64,
    groups: [OnceLock<Box<RowGroup>>; ROWS.div_ceil(ROWS_PER_GROUP)],
}

impl Histogram {
    /// Counts one value.
    #[inline]
    pub fn record(&self, value: u64) {
        let rows = self.0.get_or_init(make);
        let value = value.min(HISTOGRAM_VALUE_MAX);
        add(&rows.sum, value);
        let (row, cell) = place_of(value);
        let group = rows.groups[row / ROWS_PER_GROUP].get_or_init(make);
        add(&group[row % ROWS_PER_GROUP].get_or_init(make)[cell], 1);
    }

    /// Values recorded on this shard.
    pub fn count(&self) -> u64 {
        self.rows().flat_map(|(_, row)| row).map(|cell| cell.load(Relaxed)).sum()
    }

    /// Whether nothing was recorded on this shard.
    pub fn is_empty(&self) -> bool {
        self.0.get().is_none()
    }

    /// Adds this shard's values to `merged`. Nothing is counted twice or lost when the writer continues meanwhile, but the
    /// sum may be a value ahead of the cells.
    pub fn merge_into(&self, merged: &mut Distribution) {
        merged.sum += self.0.get().map_or(0, |rows| rows.sum.load(Relaxed));
        for (number, row) in self.rows() {
            let totals = &mut merged.counts[first_of(number)..first_of(number + 1)];
            totals.iter_mut().zip(row).for_each(|(total, cell)| *total += cell.load(Relaxed));
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

    /// The allocated rows with their numbers, in ascending order.
    fn rows<'a>(&'a self) -> impl Iterator<Item = (usize, &'a Row)> {
        let groups = self.0.get().map_or(&[][..], |rows| &rows.groups);
        let group = |(at, group): (usize, &'a OnceLock<Box<RowGroup>>)| {
            let rows = group.get().map_or(&[][..], |rows| &rows[..]);
            (at * ROWS_PER_GROUP..).zip(rows).filter_map(|(number, row)| row.get().map(|row| (number, &**row)))
        };
        groups.iter().enumerate().flat_map(group)
    }
}

/// Out of line: recording a value needs it once for each octave.
#[cold]
fn make<T: Default>() -> Box<T> {
    Box::default()
}

#[inline]
fn add(cell: &AtomicU64, n: u64) {
    cell.store(cell.load(Relaxed).wrapping_add(n), Relaxed);
}

/// The row of `value`, which is at most [`HISTOGRAM_VALUE_MAX`], and its cell in that row.
#[inline]
fn place_of(value: u64) -> (usize, usize) {
    if value < LINEAR {
        return ((value / CELLS_PER_LINEAR_ROW) as usize, (value % CELLS_PER_LINEAR_ROW) as usize);
    }
    let octave = value.ilog2();
    let cell = ((value - (1 << octave)) * CELLS_PER_OCTAVE) >> octave;
    (LINEAR_ROWS + (octave - LINEAR_BITS) as usize, cell as usize)
}

/// The index of a row's first cell among the cells of all rows that are in use.
fn first_of(row: usize) -> usize {
    row.min(LINEAR_ROWS) * CELLS_PER_LINEAR_ROW as usize + row.saturating_sub(LINEAR_ROWS) * CELLS_PER_OCTAVE as usize
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

/// The value that stands for cell `index`: its middle.
fn middle_of(index: usize) -> u64 {
    let lowest = lowest_of(index);
    let highest = lowest_of(index + 1).max(lowest + 1) - 1;
    lowest + (highest - lowest) / 2
}

/// The values of several shards, added up for a reader.
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

    /// For each of the ascending `quantiles` (0 to 1), the value that this share of the values does not exceed, within the
    /// width of a cell. `None` when nothing was recorded.
    ///
    /// One walk over the cells finds them all: an HDR histogram walks its array once for each quantile, which with thousands
    /// of clusters is most of the time that /stats takes.
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

    /// For each of the ascending `bounds`, the number of values up to it; a value counts as the middle of its cell.
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

    /// The values in ascending order, equal ones together with their number; each is the middle of its cell.
    pub fn values(&self) -> impl Iterator<Item = (u64, u64)> {
        let used = self.counts.iter().enumerate().filter(|cell| *cell.1 != 0);
        used.map(|(index, in_cell)| (middle_of(index), *in_cell))
    }

    /// At most `most` values in ascending order that stand for all of them, each with the number of values for which it
    /// stands. These numbers differ by at most one: where there are more values, they are parted into shares of equal size, and
    /// the one in the middle stands for the share.
    pub fn sample(&self, most: u64) -> Vec<(u64, u64)> {
        let (count, mut shares) = (self.count(), Vec::new());
        let parts = most.min(count);
        let start_of = |part: u64| (u128::from(part) * u128::from(count) / u128::from(parts)) as u64;
        let (mut below, mut part) = (0, 0);
        for (value, number) in self.values() {
            below += number;
            while part < parts {
                let (start, end) = (start_of(part), start_of(part + 1));
                if start + (end - start) / 2 >= below {
                    break;
                }
                shares.push((value, end - start));
                part += 1;
            }
        }
        shares
    }

    /// The same in little memory, for `since`.
    pub(super) fn compact(&self) -> Compact {
        let used = self.counts.iter().enumerate().filter(|cell| *cell.1 != 0);
        Compact { sum: self.sum, cells: used.map(|(index, in_cell)| (index as u16, *in_cell)).collect() }
    }

    /// What was recorded since then; `None` if nothing was. If there was more then, the cells have begun again since, and all
    /// of it is new.
    pub(super) fn since(&self, past: &Compact) -> Option<Self> {
        let mut new = self.clone();
        let has_begun_again = past.cells.iter().any(|(index, count)| self.counts[usize::from(*index)] < *count);
        if !has_begun_again {
            past.cells.iter().for_each(|(index, count)| new.counts[usize::from(*index)] -= count);
            new.sum = new.sum.saturating_sub(past.sum);
        }
        new.counts.iter().any(|count| *count != 0).then_some(new)
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

/// The cells of a distribution that are in use, with their numbers.
#[derive(Debug, Default)]
pub(super) struct Compact {
    sum: u64,
    cells: Box<[(u16, u64)]>,
}

/// The number of values, out of `count`, that lie at or below the quantile; at least one.
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

    fn index_of(value: u64) -> usize {
        let (row, cell) = place_of(value);
        first_of(row) + cell
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

    /// One value in each cell of all rows: no cell counts for another, and none is left out of the merge.
    #[test]
    fn every_cell_is_merged_to_its_own_place() {
        let histogram = Histogram::default();
        for index in 0..CELLS {
            (0..=index % 7).for_each(|_| histogram.record(lowest_of(index)));
        }
        let merged = merged(&histogram);
        assert!(merged.counts.iter().enumerate().all(|(index, count)| *count == (index % 7) as u64 + 1));
        assert_eq!(histogram.count(), merged.count());
        assert_eq!((histogram.rows().count(), first_of(ROWS)), (ROWS, CELLS));
    }

    #[test]
    fn only_octaves_with_values_take_memory() {
        let histogram = Histogram::default();
        // A fast service: 90 us to 6 ms.
        (0..5000).for_each(|step| histogram.record(90 + step * 118 / 100));
        assert_eq!(histogram.rows().map(|(number, _)| number).collect::<Vec<_>>(), [4, 5, 6, 7, 8, 9, 10]);
        let rows = histogram.0.get().expect("values were recorded");
        let groups = rows.groups.iter().filter(|group| group.get().is_some()).count();
        let bytes = size_of::<Rows>() + groups * size_of::<RowGroup>() + histogram.rows().count() * size_of::<Row>();
        assert_eq!((size_of::<Row>(), groups), (192, 2));
        assert!(bytes < 1800, "{bytes}");
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
    fn a_sample_stands_for_all_values() {
        let few = Histogram::default();
        [1, 1, 5, 30].iter().for_each(|value| few.record(*value));
        assert_eq!(merged(&few).values().collect::<Vec<_>>(), [(1, 2), (5, 1), (30, 1)]);
        assert_eq!(merged(&few).sample(10), [(1, 1), (1, 1), (5, 1), (30, 1)]);
        let many = Histogram::default();
        (0..1003).for_each(|value| many.record(value % 59));
        let sample = merged(&many).sample(100);
        assert_eq!((sample.len(), sample.iter().map(|share| share.1).sum::<u64>()), (100, 1003));
        assert!(sample.iter().all(|share| [10, 11].contains(&share.1)));
        assert!(sample.is_sorted_by_key(|share| share.0), "{sample:?}");
        // Ten times the same share: percentiles of the sample are those of all values.
        assert_eq!((sample[0].0, sample[50].0, sample[99].0), (0, 29, 58));
        assert!(merged(&Histogram::default()).sample(100).is_empty());
    }

    #[test]
    fn what_is_new_is_told_from_what_was_there() {
        let histogram = Histogram::default();
        [3, 3, 900].iter().for_each(|value| histogram.record(*value));
        let past = merged(&histogram).compact();
        assert!(merged(&histogram).since(&past).is_none());
        [3, 70].iter().for_each(|value| histogram.record(*value));
        let new = merged(&histogram).since(&past).expect("two values");
        assert_eq!((new.sum(), new.values().map(|value| value.1).collect::<Vec<_>>()), (73, vec![1, 1]));
        // The scope has gone and come back.
        let again = Histogram::default();
        again.record(3);
        assert_eq!(merged(&again).since(&past).expect("a value").sum(), 3);
    }

    #[test]
    fn cumulative_totals_count_what_is_at_or_below_the_bound() {
        let histogram = Histogram::default();
        [0, 3, 3, 10, 31, 1000].iter().for_each(|value| histogram.record(*value));
        assert_eq!(merged(&histogram).cumulative(&[0, 2, 3, 9, 10, 500, 2000]), [1, 1, 3, 3, 4, 5, 6]);
    }
}
