//! What all formats share: the walk over the values, the percentiles and how times are written.

use std::fmt::Write;

use regex::Regex;

use crate::stats::merge::{ScopeView, Value};
use crate::stats::{Distribution, Kind};

/// Percentiles in text and JSON (Envoy's supported quantiles).
pub(super) const PERCENTILES: [f64; 10] = [0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 100.0];

/// One value to show.
pub(super) struct Shown<'a> {
    pub kind: Kind,
    /// The scope's name; empty where there is only one.
    pub scope: &'a str,
    /// Index in the kind's descriptors.
    pub index: usize,
    /// The full dotted name.
    pub name: &'a str,
    /// For one of the counters by status code.
    pub code: Option<u16>,
    pub figure: Figure<'a>,
}

#[derive(Clone, Copy)]
pub(super) enum Figure<'a> {
    Counter(u64),
    Gauge(i64),
    Time(Option<&'a Distribution>),
}

/// Shows every value whose name matches `filter` and, with `used_only`, every value that is not zero. Scopes come in order,
/// values in the order of their declaration.
pub(super) fn for_each(views: &[ScopeView], filter: Option<&Regex>, used_only: bool, mut show: impl FnMut(&Shown<'_>)) {
    let mut name = String::new();
    for view in views {
        let merged = view.merge();
        name.clear();
        push_prefix(&mut name, view);
        let prefix_len = name.len();
        for (index, (value, descriptor)) in merged.values().iter().zip(view.kind.descriptors()).enumerate() {
            if used_only && !value.is_used() {
                continue;
            }
            name.truncate(prefix_len);
            name.push_str(descriptor.name);
            let mut show_one = |name: &str, code, figure| {
                if filter.is_none_or(|filter| filter.is_match(name)) {
                    show(&Shown { kind: view.kind, scope: &view.name, index, name, code, figure });
                }
            };
            match value {
                Value::Counter(count) => show_one(&name, None, Figure::Counter(*count)),
                Value::Gauge(level) => show_one(&name, None, Figure::Gauge(*level)),
                Value::Time(distribution) => show_one(&name, None, Figure::Time(distribution.as_ref())),
                Value::Codes(seen) => {
                    let bare_len = name.len();
                    for (code, count) in seen {
                        name.truncate(bare_len);
                        push(&mut name, format_args!("_{code}"));
                        show_one(&name, Some(*code), Figure::Counter(*count));
                    }
                }
            }
        }
    }
}

/// The counter or gauge with the full name `wanted`.
pub(in crate::stats) fn find(view: &ScopeView, wanted: &str) -> Option<i64> {
    let mut prefix = String::new();
    push_prefix(&mut prefix, view);
    if !wanted.starts_with(&prefix) {
        return None;
    }
    let mut found = None;
    for_each(std::slice::from_ref(view), None, false, |shown| {
        if shown.name == wanted {
            found = match shown.figure {
                Figure::Counter(count) => i64::try_from(count).ok(),
                Figure::Gauge(level) => Some(level),
                Figure::Time(_) => None,
            };
        }
    });
    found
}

fn push_prefix(out: &mut String, view: &ScopeView) {
    if !view.kind.dotted().is_empty() {
        out.push_str(view.kind.dotted());
        out.push('.');
    }
    if !view.name.is_empty() {
        out.push_str(&view.name);
        out.push('.');
    }
}

/// Writing to a String cannot fail.
pub(super) fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes everything");
}

/// `micros` as milliseconds without trailing zeros: 1500 is `1.5`.
pub(super) fn push_milliseconds(out: &mut String, micros: u64) {
    push(out, format_args!("{}", micros / 1000));
    let fraction = micros % 1000;
    if fraction != 0 {
        push(out, format_args!(".{fraction:03}"));
        out.truncate(out.trim_end_matches('0').len());
    }
}

/// The figures of `PERCENTILES` in microseconds.
pub(super) fn percentiles(distribution: &Distribution) -> Option<[u64; PERCENTILES.len()]> {
    distribution.quantiles(&PERCENTILES.map(|percentile| percentile / 100.0))
}
