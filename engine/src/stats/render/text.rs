//! `name: value` lines (Envoy: GET /stats).

use std::ops::Range;

use regex::Regex;

use super::shown::{Figure, PERCENTILES, for_each, percentiles, push, push_milliseconds};
use crate::stats::Distribution;
use crate::stats::merge::ScopeView;

/// Counters and gauges sorted by name, then histograms sorted by name.
pub(in crate::stats) fn text(views: &[ScopeView], filter: Option<&Regex>, used_only: bool) -> String {
    // Lines are written once, to one string, and sorted by their place in it.
    let mut made = String::new();
    let (mut figures, mut histograms): (Vec<Range<usize>>, Vec<Range<usize>>) = (Vec::new(), Vec::new());
    for_each(views, filter, used_only, |shown| {
        let start = made.len();
        made.push_str(shown.name);
        made.push_str(": ");
        match shown.figure {
            Figure::Counter(count) => push(&mut made, format_args!("{count}")),
            Figure::Gauge(level) => push(&mut made, format_args!("{level}")),
            Figure::Time(distribution) => push_quantiles(&mut made, distribution),
        }
        made.push('\n');
        let lines = if matches!(shown.figure, Figure::Time(_)) { &mut histograms } else { &mut figures };
        lines.push(start..made.len());
    });
    let mut sorted = String::with_capacity(made.len());
    for mut lines in [figures, histograms] {
        lines.sort_unstable_by_key(|line| &made[line.clone()]);
        lines.into_iter().for_each(|line| sorted.push_str(&made[line]));
    }
    sorted
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
