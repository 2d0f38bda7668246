//! `name: value` lines (Envoy: GET /stats).

use std::ops::Range;

use super::Walk;
use super::shown::{Figure, PERCENTILES, percentiles, prefix, push, push_milliseconds};
use crate::stats::Distribution;
use crate::stats::merge::ScopeView;

/// Counters and gauges sorted by name, then histograms sorted by name. Names of several scopes can be mixed only where one
/// scope's name begins with the other's (`app` and `app.v2`), so only these are held at the same time.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    /// Histograms are shown, and counters and gauges were before.
    times: bool,
    /// The next key.
    at: usize,
    open: Vec<Lines>,
}

/// The lines of one scope that are still to be shown.
#[derive(Debug)]
struct Lines {
    made: String,
    /// In descending order.
    places: Vec<Range<usize>>,
}

impl Lines {
    fn first(&self) -> Option<&str> {
        self.places.last().map(|place| &self.made[place.clone()])
    }
}

impl Sorted {
    pub(super) fn step(&mut self, walk: &Walk<'_>, out: &mut String) -> bool {
        let next = walk.keys.get(self.at);
        let first = (0..self.open.len()).min_by_key(|index| self.open[*index].first());
        match (next, first) {
            (Some(key), first) if first.is_none_or(|index| self.open[index].first() > Some(prefix(key).as_str())) => {
                self.at += 1;
                let lines = walk.registry.view(key).map(|view| lines(walk, &view, self.times));
                self.open.extend(lines.filter(|lines| !lines.places.is_empty()));
            }
            (_, Some(index)) => {
                let lines = &mut self.open[index];
                out.push_str(lines.first().unwrap_or_default());
                lines.places.pop();
                if lines.places.is_empty() {
                    self.open.swap_remove(index);
                }
            }
            (_, None) if self.times => return false,
            (_, None) => *self = Self { times: true, ..Self::default() },
        }
        true
    }
}

fn lines(walk: &Walk<'_>, view: &ScopeView, times: bool) -> Lines {
    let (mut made, mut places) = (String::new(), Vec::new());
    walk.choice.show_all(view, |shown| {
        if matches!(shown.figure, Figure::Time(_)) != times {
            return;
        }
        let start = made.len();
        made.push_str(shown.name);
        made.push_str(": ");
        match shown.figure {
            Figure::Counter(count) => push(&mut made, format_args!("{count}")),
            Figure::Gauge(level) => push(&mut made, format_args!("{level}")),
            Figure::Time(distribution) => push_quantiles(&mut made, distribution),
        }
        made.push('\n');
        places.push(start..made.len());
    });
    places.sort_unstable_by(|a: &Range<usize>, b| made[b.clone()].cmp(&made[a.clone()]));
    Lines { made, places }
}

/// `P0(nan,1.05) P25(nan,1.1) ...`, in milliseconds. Envoy writes the last interval's figure first, and `nan` where there
/// is none; intervals are not kept here.
fn push_quantiles(out: &mut String, distribution: Option<&Distribution>) {
    let Some(values) = distribution.and_then(percentiles) else {
        out.push_str("No recorded values");
        return;
    };
    for (position, (percentile, value)) in PERCENTILES.iter().zip(values).enumerate() {
        let space = if position == 0 { "" } else { " " };
        push(out, format_args!("{space}P{percentile}(nan,"));
        push_milliseconds(out, value);
        out.push(')');
    }
}
