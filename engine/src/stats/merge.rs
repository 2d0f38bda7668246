//! One scope's values, added up over the shards.

use super::{AnyScope, Cell, Distribution, Kind};
use std::sync::Arc;

/// One scope with what a reader needs to know of it.
pub(super) struct ScopeView {
    pub kind: Kind,
    pub name: Arc<str>,
    pub shards: Vec<AnyScope>,
    /// What the counters were at the last reset.
    pub baseline: Option<Arc<Merged>>,
}

impl ScopeView {
    /// The scope's values, added up over its shards.
    pub fn merge(&self) -> Merged {
        let mut merged = Merged::sum(self.kind, &self.shards);
        if let Some(baseline) = &self.baseline {
            merged.subtract_counters(baseline);
        }
        merged
    }

    /// The value with this index alone.
    pub fn merge_one(&self, index: usize) -> Option<Value> {
        let mut cells = self.shards.iter().filter_map(|shard| shard.cell(index)).peekable();
        let mut value = Value::zero(cells.peek()?);
        cells.for_each(|cell| value.add(&cell));
        if let Some(start) = self.baseline.as_ref().and_then(|baseline| baseline.0.get(index)) {
            value.subtract(start);
        }
        Some(value)
    }
}

/// The values of a scope in the order of its kind's descriptors.
#[derive(Debug)]
pub(super) struct Merged(Vec<Value>);

#[derive(Debug)]
pub(super) enum Value {
    Counter(u64),
    Gauge(i64),
    /// Microseconds; `None` when nothing was recorded.
    Time(Option<Distribution>),
    /// The codes, or statuses of gRPC, that were seen, ascending, with their counts.
    Codes(Vec<(u16, u64)>),
}

impl Merged {
    /// Everything.
    pub fn sum<'a>(kind: Kind, shards: impl IntoIterator<Item = &'a AnyScope>) -> Self {
        Self::sum_if(kind, shards, |_| true)
    }

    /// Counters and codes only; everything else stays empty.
    pub fn counters<'a>(kind: Kind, shards: impl IntoIterator<Item = &'a AnyScope>) -> Self {
        Self::sum_if(kind, shards, |cell| matches!(cell, Cell::Counter(_) | Cell::Codes(_) | Cell::Statuses(_)))
    }

    pub fn values(&self) -> &[Value] {
        &self.0
    }

    /// Subtracts the counters' values at the time of `baseline`.
    pub fn subtract_counters(&mut self, baseline: &Merged) {
        self.0.iter_mut().zip(&baseline.0).for_each(|(value, start)| value.subtract(start));
    }

    fn sum_if<'a>(
        kind: Kind,
        shards: impl IntoIterator<Item = &'a AnyScope>,
        wanted: impl Fn(&Cell<'_>) -> bool,
    ) -> Self {
        let mut values = Vec::with_capacity(kind.descriptors().len());
        for shard in shards {
            shard.for_each_cell(|index, cell| {
                if index == values.len() {
                    values.push(Value::zero(&cell));
                }
                if wanted(&cell) {
                    values[index].add(&cell);
                }
            });
        }
        Self(values)
    }
}

impl Value {
    /// Whether it says anything: a counter of 0 does not, and a level of 0 may say the most.
    pub fn is_used(&self) -> bool {
        match self {
            Self::Counter(count) => *count != 0,
            Self::Gauge(_) => true,
            Self::Time(distribution) => distribution.is_some(),
            Self::Codes(seen) => !seen.is_empty(),
        }
    }

    /// Counters and codes begin at `start`.
    fn subtract(&mut self, start: &Self) {
        match (self, start) {
            (Self::Counter(count), Self::Counter(start)) => *count = count.saturating_sub(*start),
            (Self::Codes(seen), Self::Codes(start)) => {
                for (code, count) in seen.iter_mut() {
                    let start = start.iter().find(|entry| entry.0 == *code).map_or(0, |entry| entry.1);
                    *count = count.saturating_sub(start);
                }
                seen.retain(|entry| entry.1 != 0);
            }
            (Self::Gauge(_) | Self::Time(_), _) => {}
            (Self::Counter(_) | Self::Codes(_), _) => unreachable!("both are of one kind of scope"),
        }
    }

    fn zero(cell: &Cell<'_>) -> Self {
        match cell {
            Cell::Counter(_) => Self::Counter(0),
            Cell::Gauge(_) => Self::Gauge(0),
            Cell::Time(_) => Self::Time(None),
            Cell::Codes(_) | Cell::Statuses(_) => Self::Codes(Vec::new()),
        }
    }

    fn add(&mut self, cell: &Cell<'_>) {
        match (self, cell) {
            (Self::Counter(count), Cell::Counter(cell)) => *count = count.wrapping_add(cell.get()),
            (Self::Gauge(level), Cell::Gauge(cell)) => *level = level.wrapping_add(cell.get()),
            (Self::Time(distribution), Cell::Time(cell)) if !cell.is_empty() => {
                cell.merge_into(distribution.get_or_insert_default());
            }
            (Self::Time(_), Cell::Time(_)) => {}
            (Self::Codes(seen), Cell::Codes(cell)) => cell.seen().for_each(|entry| add_code(seen, entry)),
            (Self::Codes(seen), Cell::Statuses(cell)) => cell.seen().for_each(|entry| add_code(seen, entry)),
            _ => unreachable!("all copies of a scope are of one kind"),
        }
    }
}

fn add_code(seen: &mut Vec<(u16, u64)>, (code, count): (u16, u64)) {
    match seen.binary_search_by_key(&code, |entry| entry.0) {
        Ok(at) => seen[at].1 += count,
        Err(at) => seen.insert(at, (code, count)),
    }
}
