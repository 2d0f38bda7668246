//! What all formats share: the walk over the values, the percentiles and how times are written.

use std::fmt::Write;

use regex::Regex;

use crate::stats::merge::{ScopeView, Value};
use crate::stats::registry::Key;
use crate::stats::{Distribution, Kind};

/// Percentiles in text and JSON (Envoy's supported quantiles).
pub(super) const PERCENTILES: [f64; 10] = [0.0, 25.0, 50.0, 75.0, 90.0, 95.0, 99.0, 99.5, 99.9, 100.0];

/// One value to show.
pub(super) struct Shown<'a> {
    pub kind: Kind,
    /// The scope's name; empty where there is only one.
    pub scope: &'a str,
    /// The full dotted name.
    pub name: &'a str,
    /// For one of the counters by status code, or by status of gRPC.
    pub code: Option<u16>,
    pub figure: Figure<'a>,
}

#[derive(Clone, Copy)]
pub(super) enum Figure<'a> {
    Counter(u64),
    Gauge(i64),
    Time(Option<&'a Distribution>),
}

/// What is shown of a scope.
#[derive(Clone, Copy)]
pub(super) struct Choice<'a> {
    /// Names that match.
    pub filter: Option<&'a Regex>,
    /// Values that are not zero.
    pub used_only: bool,
}

impl Choice<'_> {
    /// Shows the chosen values of a scope, in the order of their declaration.
    pub(super) fn show_all(self, view: &ScopeView, mut show: impl FnMut(&Shown<'_>)) {
        let mut name = prefix(&(view.kind, view.name.clone()));
        let merged = view.merge();
        for (index, value) in merged.values().iter().enumerate() {
            self.show(view, &mut name, index, value, &mut show);
        }
    }

    /// Shows one statistic of a scope, if it is chosen: a counter by codes is several values.
    pub(super) fn show_one(self, view: &ScopeView, index: usize, mut show: impl FnMut(&Shown<'_>)) {
        let mut name = prefix(&(view.kind, view.name.clone()));
        if let Some(value) = view.merge_one(index) {
            self.show(view, &mut name, index, &value, &mut show);
        }
    }

    /// `name` is the scope's prefix, before and afterwards.
    fn show(self, view: &ScopeView, name: &mut String, index: usize, value: &Value, show: &mut impl FnMut(&Shown<'_>)) {
        if self.used_only && !value.is_used() {
            return;
        }
        let prefix_len = name.len();
        let descriptor = &view.kind.descriptors()[index];
        name.push_str(descriptor.name);
        let mut show_one = |name: &str, code, figure| {
            if self.filter.is_none_or(|filter| filter.is_match(name)) {
                show(&Shown { kind: view.kind, scope: &view.name, name, code, figure });
            }
        };
        match value {
            Value::Counter(count) => show_one(name, None, Figure::Counter(*count)),
            Value::Gauge(level) => show_one(name, None, Figure::Gauge(*level)),
            Value::Time(distribution) => show_one(name, None, Figure::Time(distribution.as_ref())),
            Value::Codes(seen) => {
                let bare_len = name.len();
                for (code, count) in seen {
                    name.truncate(bare_len);
                    let separator = if descriptor.name.is_empty() { "" } else { "_" };
                    push(name, format_args!("{separator}{code}"));
                    show_one(name, Some(*code), Figure::Counter(*count));
                }
            }
        }
        name.truncate(prefix_len);
    }
}

/// The counter or gauge with the full name `wanted`.
pub(in crate::stats) fn find(view: &ScopeView, wanted: &str) -> Option<i64> {
    if !wanted.starts_with(&prefix(&(view.kind, view.name.clone()))) {
        return None;
    }
    let mut found = None;
    Choice { filter: None, used_only: false }.show_all(view, |shown| {
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

/// What the names of a scope's statistics begin with.
pub(in crate::stats) fn prefix((kind, name): &Key) -> String {
    let mut out = String::with_capacity(96);
    for part in std::iter::once(kind.dotted()).chain(kind.parts(name)) {
        if !part.is_empty() {
            out.push_str(part);
            out.push('.');
        }
    }
    out
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
