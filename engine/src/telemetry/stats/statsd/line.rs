//! Lines of the protocol of statsd, and of Datadog's dialect of it.

use std::fmt::Write as _;

use ringway_config::model::StatsdDialect;

use crate::stats::{Change, Distribution, Reading};

/// Times of one statistic in one report, at most: more are told by a sample. The 99th percentile is the second highest of it.
const SAMPLES_MAX: u64 = 100;

/// Shows the lines of one statistic, without line ends; there are none if there is nothing new.
///
/// Counters tell by how much they have grown, gauges their level. A time is told once for each value; since only the numbers of
/// values in cells are known, lines have a rate: `|@0.1` stands for ten values. statsd itself counts such a line as ten but
/// takes it once for its percentiles, so that all lines of a statistic stand for the same number of values. Datadog's
/// agent weighs them, and gets each cell as it is.
pub(super) fn lines(dialect: StatsdDialect, prefix: &str, reading: &Reading<'_>, mut show: impl FnMut(&str)) {
    if matches!(reading.change, Change::Counter { grown: 0, .. } | Change::Times { grown: None, .. }) {
        return;
    }
    let mut line = String::with_capacity(128);
    push_name(&mut line, dialect, prefix, reading);
    let name = line.len();
    let tags = tags(dialect, reading);
    let mut show = |value: &str, kind: &str, rate: &str| {
        line.truncate(name);
        for part in [":", value, "|", kind, rate, &tags] {
            line.push_str(part);
        }
        show(&line);
    };
    match reading.change {
        Change::Counter { grown, .. } => show(itoa::Buffer::new().format(grown), "c", ""),
        Change::Level(level) => {
            // To statsd, a sign means a change of the level and not a level.
            if level < 0 && dialect == StatsdDialect::Plain {
                show("0", "g", "");
            }
            show(itoa::Buffer::new().format(level), "g", "");
        }
        Change::Times { grown, .. } => {
            let Some(times) = grown else { return };
            for (micros, count) in shares(dialect, times) {
                show(&milliseconds(micros), "ms", &rate(count));
            }
        }
    }
}

fn shares(dialect: StatsdDialect, times: &Distribution) -> Vec<(u64, u64)> {
    match dialect {
        StatsdDialect::Plain => times.sample(SAMPLES_MAX),
        StatsdDialect::Datadog => times.values().collect(),
    }
}

/// The part of a line that says for how many values it stands. Receivers divide 1 by it and cut the fraction off, so that it is
/// never a little too large.
fn rate(count: u64) -> String {
    if count == 1 {
        return String::new();
    }
    let mut rate = 1.0 / count as f64;
    while 1.0 / rate < count as f64 {
        rate = rate.next_down();
    }
    format!("|@{rate}")
}

/// `1500` is `1.5`.
fn milliseconds(micros: u64) -> String {
    let mut text = format!("{}.{:03}", micros / 1000, micros % 1000);
    text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    text
}

fn push_name(line: &mut String, dialect: StatsdDialect, prefix: &str, reading: &Reading<'_>) {
    line.push_str(prefix);
    line.push('.');
    match dialect {
        StatsdDialect::Plain => reading.push_dotted(line),
        StatsdDialect::Datadog => reading.push_tagged(line),
    }
    let is_special = |c: char| matches!(c, ':' | '|' | '@' | '#') || c.is_control() || c.is_whitespace();
    if line.contains(is_special) {
        *line = line.replace(is_special, "_");
    }
}

/// `|#name:value,...`.
fn tags(dialect: StatsdDialect, reading: &Reading<'_>) -> String {
    let mut tags = String::new();
    if dialect == StatsdDialect::Plain {
        return tags;
    }
    let is_special = |c: char| matches!(c, ',' | '|' | '#') || c.is_control();
    reading.tags(|name, value| {
        let start = if tags.is_empty() { "|#" } else { "," };
        let value = value.replace(is_special, "_");
        write!(tags, "{start}{name}:{value}").expect("a String takes everything");
    });
    tags
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{ClusterStats, Reader, Registry, StatsSinkStats};
    use StatsdDialect::{Datadog, Plain};
    use std::sync::Arc;

    /// All lines about the scopes of `registry` after a round.
    fn all(dialect: StatsdDialect, count: impl Fn(&Registry)) -> Vec<String> {
        let registry = Registry::new();
        let mut reader = Reader::new(&registry, 0, 0);
        count(&registry);
        reader.begin(&registry, 1);
        let mut shown = Vec::new();
        while reader.next(&registry, |reading| {
            lines(dialect, "edge", reading, |line| shown.push(line.to_owned()));
        }) {}
        shown
    }

    fn of_cluster(dialect: StatsdDialect, name: &str, count: impl Fn(&ClusterStats)) -> Vec<String> {
        let mut lines = all(dialect, |registry| count(&registry.scope::<ClusterStats>(name, 0)));
        // A level of 0 is told, too.
        assert!(lines.iter().any(|line| line.contains("upstream_cx_active:0|g")), "{lines:?}");
        lines.retain(|line| !line.contains(":0|g"));
        lines
    }

    #[test]
    fn counters_tell_what_is_new_and_gauges_their_level() {
        let count = |stats: &ClusterStats| {
            stats.count_status(503);
            stats.upstream_rq_total.add(7);
            stats.upstream_rq_active.set(3);
        };
        assert_eq!(
            of_cluster(Plain, "app", count),
            [
                "edge.cluster.app.upstream_rq_total:7|c",
                "edge.cluster.app.upstream_rq_active:3|g",
                "edge.cluster.app.upstream_rq_5xx:1|c",
                "edge.cluster.app.upstream_rq_503:1|c",
            ]
        );
        assert_eq!(
            of_cluster(Datadog, "app", count),
            [
                "edge.cluster.upstream_rq_total:7|c|#envoy.cluster_name:app",
                "edge.cluster.upstream_rq_active:3|g|#envoy.cluster_name:app",
                "edge.cluster.upstream_rq_xx:1|c|#envoy.response_code_class:5,envoy.cluster_name:app",
                "edge.cluster.upstream_rq:1|c|#envoy.response_code:503,envoy.cluster_name:app",
            ]
        );
    }

    #[test]
    fn a_negative_level_is_no_change_of_the_level() {
        let count = |stats: &ClusterStats| stats.upstream_rq_active.set(-2);
        let name = "edge.cluster.app.upstream_rq_active";
        let plain = all(Plain, |registry| count(&registry.scope::<ClusterStats>("app", 0)));
        let at = plain.iter().position(|line| *line == format!("{name}:-2|g")).expect("a line");
        assert_eq!(plain[at - 1], format!("{name}:0|g"));
        let datadog = of_cluster(Datadog, "app", count);
        assert_eq!(datadog, ["edge.cluster.upstream_rq_active:-2|g|#envoy.cluster_name:app"]);
    }

    #[test]
    fn what_the_protocol_needs_is_replaced_in_names() {
        let count = |stats: &ClusterStats| stats.upstream_rq_total.inc();
        assert_eq!(of_cluster(Plain, "a:b|c@d#e f\ng", count), ["edge.cluster.a_b_c_d_e_f_g.upstream_rq_total:1|c"]);
        assert_eq!(
            of_cluster(Datadog, "a:b|c,d#e f\ng", count),
            ["edge.cluster.upstream_rq_total:1|c|#envoy.cluster_name:a:b_c_d_e f_g"]
        );
        let sink = |registry: &Registry| registry.scope::<StatsSinkStats>("statsd.[::1]_8125", 0).flushes.inc();
        assert_eq!(all(Plain, sink), ["edge.stats_sink.statsd.[__1]_8125.flushes:1|c"]);
    }

    #[test]
    fn times_stand_for_the_number_of_their_values() {
        let count = |stats: &ClusterStats| {
            stats.upstream_rq_time.record(40);
            (0..3).for_each(|_| stats.upstream_rq_time.record(63));
        };
        assert_eq!(
            of_cluster(Plain, "app", count),
            ["0.04", "0.063", "0.063", "0.063"].map(|ms| format!("edge.cluster.app.upstream_rq_time:{ms}|ms"))
        );
        assert_eq!(
            of_cluster(Datadog, "app", count),
            [
                "edge.cluster.upstream_rq_time:0.04|ms|#envoy.cluster_name:app",
                "edge.cluster.upstream_rq_time:0.063|ms|@0.3333333333333333|#envoy.cluster_name:app",
            ]
        );
        let many = of_cluster(Plain, "app", |stats| (0..1000).for_each(|_| stats.upstream_rq_time.record(5_000_000)));
        assert_eq!(many.len(), 100);
        assert!(many.iter().all(|line| *line == many[0] && line.ends_with("|ms|@0.1")), "{many:?}");
    }

    #[test]
    fn rates_give_their_number_of_values_in_whole() {
        for count in (1..5000).chain([99_999, 1_000_003, u64::from(u32::MAX)]) {
            let text = rate(count);
            let parsed: f64 = text.strip_prefix("|@").map_or(1.0, |rate| rate.parse().expect("a number"));
            assert_eq!((1.0 / parsed) as u64, count, "{text}");
            assert!(!text.contains('e'), "{text}");
        }
        assert_eq!([0, 1, 40, 1500, 2000].map(milliseconds), ["0", "0.001", "0.04", "1.5", "2"]);
    }

    #[test]
    fn nothing_new_is_nothing_to_tell() {
        let registry = Registry::new();
        let stats: Arc<StatsSinkStats> = registry.scope("x", 0);
        stats.flushes.inc();
        let mut reader = Reader::new(&registry, 0, 0);
        reader.begin(&registry, 1);
        while reader.next(&registry, |reading| lines(Plain, "edge", reading, |line| panic!("{line}"))) {}
    }
}
