//! Prometheus' text format, version 0.0.4 (prometheus.io: exposition formats), with Envoy's names and labels.

use std::fmt;

use regex::Regex;

use super::shown::{Figure, Shown, for_each, push, push_milliseconds};
use crate::stats::merge::ScopeView;
use crate::stats::{CellKind, Descriptor, Distribution, Kind};

/// Upper bounds of the buckets in microseconds with Prometheus' text for them in milliseconds (Envoy: the default
/// histogram buckets).
const BUCKETS: [(u64, &str); 19] = [
    (500, "0.5"),
    (1_000, "1"),
    (5_000, "5"),
    (10_000, "10"),
    (25_000, "25"),
    (50_000, "50"),
    (100_000, "100"),
    (250_000, "250"),
    (500_000, "500"),
    (1_000_000, "1000"),
    (2_500_000, "2500"),
    (5_000_000, "5000"),
    (10_000_000, "10000"),
    (30_000_000, "30000"),
    (60_000_000, "60000"),
    (300_000_000, "300000"),
    (600_000_000, "600000"),
    (1_800_000_000, "1800000"),
    (3_600_000_000, "3600000"),
];

/// All series of one name: the format keeps them together under one TYPE line.
struct Family {
    name: String,
    help: String,
    kind: &'static str,
    lines: String,
}

/// Where the series of a statistic are written.
struct Place {
    family: usize,
    /// The digit of a `_2xx` counter, which becomes a label.
    class: Option<char>,
}

/// Families in the order of their declaration, except those without series.
pub(in crate::stats) fn prometheus(views: &[ScopeView], filter: Option<&Regex>, used_only: bool) -> String {
    let (mut families, places) = families();
    for_each(views, filter, used_only, |shown| {
        let place = &places[shown.kind as usize][shown.index];
        push_series(&mut families[place.family], place.class, shown);
    });
    let mut out = String::with_capacity(families.iter().map(|family| family.lines.len() + 256).sum());
    for Family { name, help, kind, lines } in families.iter().filter(|family| !family.lines.is_empty()) {
        push(&mut out, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n{lines}"));
    }
    out
}

/// The families of all kinds of scopes, and for each kind the places of its statistics.
fn families() -> (Vec<Family>, Vec<Vec<Place>>) {
    let mut families: Vec<Family> = Vec::new();
    let place = |kind: &Kind| {
        let mut places = Vec::with_capacity(kind.descriptors().len());
        for descriptor in kind.descriptors() {
            let (name, class) = family_name(*kind, descriptor);
            // The five classes of a counter are declared one after the other.
            if families.last().is_none_or(|last| last.name != name) {
                let help = if class.is_some() { "Responses by the class of their code" } else { descriptor.help };
                families.push(Family { name, help: escaped(help), kind: type_of(descriptor), lines: String::new() });
            }
            places.push(Place { family: families.len() - 1, class });
        }
        places
    };
    let places = Kind::ALL.iter().map(place).collect();
    (families, places)
}

/// `downstream_rq_2xx` is `envoy_http_downstream_rq_xx` with the class 2 (Envoy: the tag envoy.response_code_class).
/// Envoy's names stay as they are; counters that only Ringway has end in `_total`, as Prometheus recommends.
fn family_name(kind: Kind, descriptor: &Descriptor) -> (String, Option<char>) {
    let (family, name) = (kind.family(), descriptor.name.replace('.', "_"));
    let class = name.strip_suffix("xx").and_then(|head| head.chars().last()).filter(char::is_ascii_digit);
    match class {
        Some(digit) => (format!("{family}_{}xx", &name[..name.len() - 3]), Some(digit)),
        None if family.starts_with("envoy_") || descriptor.cell != CellKind::Counter => {
            (format!("{family}_{name}"), None)
        }
        None => (format!("{family}_{name}_total"), None),
    }
}

fn type_of(descriptor: &Descriptor) -> &'static str {
    match descriptor.cell {
        CellKind::Counter | CellKind::Codes => "counter",
        CellKind::Gauge => "gauge",
        CellKind::Time => "histogram",
    }
}

fn push_series(family: &mut Family, class: Option<char>, shown: &Shown<'_>) {
    let labels = Labels { class, code: shown.code, kind: shown.kind, scope: shown.scope };
    let Family { name, lines, .. } = family;
    match shown.figure {
        Figure::Counter(count) => push(lines, format_args!("{name}{labels} {count}\n")),
        Figure::Gauge(level) => push(lines, format_args!("{name}{labels} {level}\n")),
        Figure::Time(distribution) => push_histogram(lines, name, &labels, distribution),
    }
}

/// Cumulative buckets, the sum in milliseconds and the count. A value within one cell's width of a bound may be counted on
/// its other side.
fn push_histogram(lines: &mut String, name: &str, labels: &Labels<'_>, distribution: Option<&Distribution>) {
    let totals = distribution.map_or([0; BUCKETS.len()], |d| d.cumulative(&BUCKETS.map(|bucket| bucket.0)));
    let count = distribution.map_or(0, Distribution::count);
    // The labels are escaped once, not for each of the twenty buckets.
    let mut with_bound = labels.to_string();
    if with_bound.is_empty() {
        with_bound.push('{');
    } else {
        with_bound.pop();
        with_bound.push(',');
    }
    let bounds = BUCKETS.iter().map(|bucket| bucket.1).chain(["+Inf"]);
    for (bound, total) in bounds.zip(totals.into_iter().chain([count])) {
        for part in [name, "_bucket", &with_bound, "le=\"", bound, "\"} ", itoa::Buffer::new().format(total), "\n"] {
            lines.push_str(part);
        }
    }
    push(lines, format_args!("{name}_sum{labels} "));
    push_milliseconds(lines, distribution.map_or(0, Distribution::sum));
    push(lines, format_args!("\n{name}_count{labels} {count}\n"));
}

/// The labels of a series in braces; nothing where there are no labels.
struct Labels<'a> {
    class: Option<char>,
    code: Option<u16>,
    kind: Kind,
    scope: &'a str,
}

impl fmt::Display for Labels<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "{";
        if let Some(class) = self.class {
            write!(f, "{{envoy_response_code_class=\"{class}\"")?;
            separator = ",";
        }
        if let Some(code) = self.code {
            write!(f, "{separator}envoy_response_code=\"{code}\"")?;
            separator = ",";
        }
        if !self.scope.is_empty() {
            write!(f, "{separator}{}=\"{}\"", self.kind.label(), Escaped(self.scope))?;
            separator = ",";
        }
        f.write_str(if separator == "," { "}" } else { "" })
    }
}

/// A label's value: backslash, quote and line end escaped.
struct Escaped<'a>(&'a str);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in self.0.split_inclusive(['\\', '"', '\n']) {
            let (plain, escape) = match part.as_bytes().last() {
                Some(b'\\') => (&part[..part.len() - 1], "\\\\"),
                Some(b'"') => (&part[..part.len() - 1], "\\\""),
                Some(b'\n') => (&part[..part.len() - 1], "\\n"),
                _ => (part, ""),
            };
            f.write_str(plain)?;
            f.write_str(escape)?;
        }
        Ok(())
    }
}

/// A help text: backslash and line end escaped.
fn escaped(help: &str) -> String {
    help.replace('\\', "\\\\").replace('\n', "\\n")
}
