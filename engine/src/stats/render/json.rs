//! Envoy: GET /stats?format=json.

use super::Walk;
use super::shown::{Figure, PERCENTILES, percentiles, push, push_milliseconds};
use crate::stats::Distribution;

/// `{"stats": [{"name": ..., "value": ...}, ..., {"histograms": {"supported_quantiles": [...], "computed_quantiles":
/// [{"name": ..., "values": [{"interval": null, "cumulative": 1.05}, ...]}, ...]}}]}`; times in milliseconds.
#[derive(Debug, Default)]
pub(super) enum Part {
    #[default]
    Start,
    /// Counters and gauges, from this key on.
    Figures(usize),
    /// Histograms, from this key on, and whether it is the first one.
    Times(usize, bool),
    End,
}

impl Part {
    pub(super) fn step(&mut self, walk: &Walk<'_>, out: &mut String) -> bool {
        match self {
            Self::Start => {
                out.push_str("{\"stats\":[");
                *self = Self::Figures(0);
            }
            Self::Figures(at) => match walk.keys.get(*at) {
                Some(key) => {
                    *at += 1;
                    let Some(view) = walk.registry.view(key) else { return true };
                    walk.choice.show_all(&view, |shown| {
                        let (Figure::Counter(_) | Figure::Gauge(_)) = shown.figure else { return };
                        push(out, format_args!("{{\"name\":{},\"value\":", Json(shown.name)));
                        match shown.figure {
                            Figure::Counter(count) => push(out, format_args!("{count}}},")),
                            Figure::Gauge(level) => push(out, format_args!("{level}}},")),
                            Figure::Time(_) => {}
                        }
                    });
                }
                None => {
                    push_supported(out);
                    *self = Self::Times(0, true);
                }
            },
            Self::Times(at, is_first) => match walk.keys.get(*at) {
                Some(key) => {
                    *at += 1;
                    let Some(view) = walk.registry.view(key) else { return true };
                    walk.choice.show_all(&view, |shown| {
                        let Figure::Time(distribution) = shown.figure else { return };
                        let comma = if std::mem::take(is_first) { "" } else { "," };
                        push(out, format_args!("{comma}{{\"name\":{},\"values\":[", Json(shown.name)));
                        push_quantiles(out, distribution);
                        out.push_str("]}");
                    });
                }
                None => {
                    out.push_str("]}}]}");
                    *self = Self::End;
                }
            },
            Self::End => return false,
        }
        true
    }
}

fn push_supported(out: &mut String) {
    out.push_str("{\"histograms\":{\"supported_quantiles\":[");
    for (position, percentile) in PERCENTILES.iter().enumerate() {
        let comma = if position == 0 { "" } else { "," };
        push(out, format_args!("{comma}{percentile}"));
    }
    out.push_str("],\"computed_quantiles\":[");
}

fn push_quantiles(out: &mut String, distribution: Option<&Distribution>) {
    let values = distribution.and_then(percentiles);
    for position in 0..PERCENTILES.len() {
        out.push_str(if position == 0 { "" } else { "," });
        out.push_str("{\"interval\":null,\"cumulative\":");
        match values {
            Some(values) => push_milliseconds(out, values[position]),
            None => out.push_str("null"),
        }
        out.push('}');
    }
}

/// A string in JSON's quotes.
struct Json<'a>(&'a str);

impl std::fmt::Display for Json<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&serde_json::to_string(self.0).map_err(|_| std::fmt::Error)?)
    }
}
