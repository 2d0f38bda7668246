//! Envoy: GET /stats?format=json.

use regex::Regex;

use super::shown::{Figure, PERCENTILES, for_each, percentiles, push, push_milliseconds};
use crate::stats::Distribution;
use crate::stats::merge::ScopeView;

/// `{"stats": [{"name": ..., "value": ...}, ..., {"histograms": {"supported_quantiles": [...], "computed_quantiles":
/// [{"name": ..., "values": [{"interval": null, "cumulative": 1.05}, ...]}, ...]}}]}`; times in milliseconds.
pub(in crate::stats) fn json(views: &[ScopeView], filter: Option<&Regex>, used_only: bool) -> String {
    let mut out = String::from("{\"stats\":[");
    let mut histograms = String::new();
    for_each(views, filter, used_only, |shown| match shown.figure {
        Figure::Counter(count) => push(&mut out, format_args!("{{\"name\":{},\"value\":{count}}},", Json(shown.name))),
        Figure::Gauge(level) => push(&mut out, format_args!("{{\"name\":{},\"value\":{level}}},", Json(shown.name))),
        Figure::Time(distribution) => {
            let comma = if histograms.is_empty() { "" } else { "," };
            push(&mut histograms, format_args!("{comma}{{\"name\":{},\"values\":[", Json(shown.name)));
            push_quantiles(&mut histograms, distribution);
            histograms.push_str("]}");
        }
    });
    out.push_str("{\"histograms\":{\"supported_quantiles\":[");
    for (position, percentile) in PERCENTILES.iter().enumerate() {
        let comma = if position == 0 { "" } else { "," };
        push(&mut out, format_args!("{comma}{percentile}"));
    }
    push(&mut out, format_args!("],\"computed_quantiles\":[{histograms}]}}}}]}}"));
    out
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
