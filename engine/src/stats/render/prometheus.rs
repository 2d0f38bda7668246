//! Prometheus' text format, version 0.0.4 (prometheus.io: exposition formats), with Envoy's names and labels.

use std::fmt;
use std::ops::Range;
use std::sync::LazyLock;

use super::Walk;
use super::shown::{Figure, Shown, push, push_milliseconds};
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

/// The bounds alone.
pub const TIME_BOUNDS: [u64; BUCKETS.len()] = {
    let mut bounds = [0; BUCKETS.len()];
    let mut at = 0;
    while at < bounds.len() {
        bounds[at] = BUCKETS[at].0;
        at += 1;
    }
    bounds
};

/// All series of one name: the format keeps them together under one TYPE line.
struct Family {
    of: Kind,
    /// The statistics whose series have the name, in the kind's descriptors.
    statistics: Range<usize>,
    name: String,
    help: String,
    kind: &'static str,
}

/// Families in the order of their declaration, except those without series.
#[derive(Debug, Default)]
pub(super) struct Position {
    family: usize,
    /// The next key.
    at: usize,
    /// The family has a series, and so its head.
    begun: bool,
}

static FAMILIES: LazyLock<Vec<Family>> = LazyLock::new(families);

impl Position {
    pub(super) fn step(&mut self, walk: &Walk<'_>, out: &mut String) -> bool {
        let Some(family) = FAMILIES.get(self.family) else { return false };
        let found = walk.keys[self.at..].iter().position(|key| key.0 == family.of);
        let Some(found) = found else {
            *self = Self { family: self.family + 1, ..Self::default() };
            return true;
        };
        let key = &walk.keys[self.at + found];
        self.at += found + 1;
        let Some(view) = walk.registry.view(key) else { return true };
        for index in family.statistics.clone() {
            let class = family.of.descriptors()[index].class();
            walk.choice.show_one(&view, index, |shown| {
                if !std::mem::replace(&mut self.begun, true) {
                    let Family { name, help, kind, .. } = family;
                    push(out, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
                }
                push_series(out, &family.name, class, shown);
            });
        }
        true
    }
}

/// The families of all kinds of scopes.
fn families() -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    for kind in Kind::ALL {
        for (index, descriptor) in kind.descriptors().iter().enumerate() {
            let name = family_name(*kind, descriptor);
            // The five classes of a counter are declared one after the other.
            if let Some(last) = families.last_mut().filter(|last| last.name == name) {
                last.statistics.end = index + 1;
                continue;
            }
            let class = descriptor.class();
            let help = if class.is_some() { "Responses by the class of their code" } else { descriptor.help };
            let statistics = index..index + 1;
            families.push(Family { of: *kind, statistics, name, help: escaped(help), kind: type_of(descriptor) });
        }
    }
    families
}

/// `downstream_rq_2xx` is `envoy_http_downstream_rq_xx` with the class 2 (Envoy: the tag envoy.response_code_class).
/// Envoy's names stay as they are; counters that only Ringway has end in `_total`, as Prometheus recommends.
fn family_name(kind: Kind, descriptor: &Descriptor) -> String {
    let (family, name) = (kind.family(), descriptor.name.replace('.', "_"));
    if descriptor.cell == CellKind::Statuses {
        return format!("{family}_status");
    }
    if descriptor.class().is_some() {
        return format!("{family}_{}xx", &name[..name.len() - 3]);
    }
    match family.starts_with("envoy_") || descriptor.cell != CellKind::Counter {
        true => format!("{family}_{name}"),
        false => format!("{family}_{name}_total"),
    }
}

fn type_of(descriptor: &Descriptor) -> &'static str {
    match descriptor.cell {
        CellKind::Counter | CellKind::Codes | CellKind::Statuses => "counter",
        CellKind::Gauge => "gauge",
        CellKind::Time => "histogram",
    }
}

fn push_series(lines: &mut String, name: &str, class: Option<char>, shown: &Shown<'_>) {
    let labels = Labels { class, code: shown.code, kind: shown.kind, scope: shown.scope };
    match shown.figure {
        Figure::Counter(count) => push(lines, format_args!("{name}{labels} {count}\n")),
        Figure::Gauge(level) => push(lines, format_args!("{name}{labels} {level}\n")),
        Figure::Time(distribution) => push_histogram(lines, name, &labels, distribution),
    }
}

/// Cumulative buckets, the sum in milliseconds and the count. A value within one cell's width of a bound may be counted on
/// its other side.
fn push_histogram(lines: &mut String, name: &str, labels: &Labels<'_>, distribution: Option<&Distribution>) {
    let totals = distribution.map_or([0; BUCKETS.len()], |d| d.cumulative(&TIME_BOUNDS));
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
            write!(f, "{separator}{}=\"{code}\"", self.kind.code_label())?;
            separator = ",";
        }
        for (label, part) in self.kind.labels(self.scope) {
            if !part.is_empty() && !label.is_empty() {
                write!(f, "{separator}{label}=\"{}\"", Escaped(part))?;
                separator = ",";
            }
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
