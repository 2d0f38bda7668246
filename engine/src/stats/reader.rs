//! Statistics for sinks, which are told at each report what has changed since the last one.

use std::collections::HashMap;
use std::sync::Arc;

use super::histogram::Compact;
use super::merge::{Merged, Value};
use super::registry::{Key, Registry};
use super::{CellKind, Descriptor, Distribution, Kind};

/// Reads all statistics again and again, and knows what they were the last time. Not affected by `reset_counters`, which is for
/// people that look at /stats.
#[derive(Debug)]
pub struct Reader {
    scopes: HashMap<Key, Known>,
    /// The scopes of this round, and the next of them.
    keys: Arc<[Key]>,
    at: usize,
    /// Counts the rounds, so that scopes that are gone are forgotten.
    round: u64,
    /// When this round and the one before it began, in microseconds since the epoch.
    now: u64,
    last: u64,
}

#[derive(Debug)]
struct Known {
    round: u64,
    /// Counters have counted since then.
    since: u64,
    values: Vec<Past>,
}

/// What a value was.
#[derive(Debug)]
enum Past {
    Counter(u64),
    Level,
    Times(Compact),
    Codes(Vec<(u16, u64)>),
}

/// One statistic in a round.
pub struct Reading<'a> {
    pub kind: Kind,
    pub descriptor: &'static Descriptor,
    /// The scope's name; empty where there is only one.
    pub scope: &'a str,
    /// For one of the counters by status code, or by status of gRPC.
    pub code: Option<u16>,
    pub change: Change<'a>,
    /// When counters and times began to count, in microseconds since the epoch.
    pub since: u64,
}

/// A value, and by how much it has grown since the round before.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    Counter {
        total: u64,
        grown: u64,
    },
    Level(i64),
    /// Microseconds. `None` when nothing was recorded.
    Times {
        total: Option<&'a Distribution>,
        grown: Option<&'a Distribution>,
    },
}

impl Reader {
    /// A reader to which all that was counted before `now`, in microseconds since the epoch, is old; it was counted since `start`.
    pub fn new(registry: &Registry, start: u64, now: u64) -> Self {
        let mut reader = Self { scopes: HashMap::new(), keys: [].into(), at: 0, round: 0, now: start, last: start };
        reader.begin(registry, start);
        while reader.next(registry, |_| ()) {}
        reader.now = now;
        reader
    }

    /// Begins a round.
    pub fn begin(&mut self, registry: &Registry, now: u64) {
        self.keys = registry.keys();
        self.at = 0;
        self.round += 1;
        self.last = std::mem::replace(&mut self.now, now);
    }

    /// When this round began, and the one before it.
    pub fn interval(&self) -> (u64, u64) {
        (self.last, self.now)
    }

    /// Shows the statistics of the next scope. Returns whether there was one; if not, the round is over.
    pub fn next(&mut self, registry: &Registry, mut show: impl FnMut(&Reading<'_>)) -> bool {
        let Some(key) = self.keys.get(self.at).cloned() else {
            self.scopes.retain(|_, known| known.round == self.round);
            return false;
        };
        self.at += 1;
        // `None`: it has gone meanwhile.
        let Some(view) = registry.view(&key) else { return true };
        let merged = Merged::sum(view.kind, &view.shards);
        let known = self.scopes.entry(key).or_insert_with(|| Known { round: 0, since: self.last, values: Vec::new() });
        if merged.values().iter().zip(&known.values).any(|(value, past)| past.is_beyond(value)) {
            // The scope has gone and come back, and so its cells began again.
            *known = Known { round: 0, since: self.last, values: Vec::new() };
        }
        known.round = self.round;
        for (index, value) in merged.values().iter().enumerate() {
            let descriptor = &view.kind.descriptors()[index];
            let mut show = |code, change: Change<'_>| {
                show(&Reading { kind: view.kind, descriptor, scope: &view.name, code, change, since: known.since });
            };
            changes(value, known.values.get(index), &mut show);
        }
        known.values = merged.values().iter().map(Past::of).collect();
        true
    }
}

/// Shows what has become of one value: a counter by codes is several.
fn changes(value: &Value, past: Option<&Past>, show: &mut impl FnMut(Option<u16>, Change<'_>)) {
    match (value, past) {
        (Value::Counter(total), past) => {
            let before = if let Some(Past::Counter(before)) = past { *before } else { 0 };
            show(None, Change::Counter { total: *total, grown: total.saturating_sub(before) });
        }
        (Value::Gauge(level), _) => show(None, Change::Level(*level)),
        (Value::Time(total), past) => {
            let new = match (total, past) {
                (Some(total), Some(Past::Times(before))) => total.since(before),
                _ => None,
            };
            let is_known = matches!(past, Some(Past::Times(_)));
            let grown = if is_known { new.as_ref() } else { total.as_ref() };
            show(None, Change::Times { total: total.as_ref(), grown });
        }
        (Value::Codes(seen), past) => {
            let past = if let Some(Past::Codes(past)) = past { past.as_slice() } else { &[] };
            for (code, total) in seen {
                let before = past.iter().find(|entry| entry.0 == *code).map_or(0, |entry| entry.1);
                show(Some(*code), Change::Counter { total: *total, grown: total.saturating_sub(before) });
            }
        }
    }
}

impl Past {
    fn of(value: &Value) -> Self {
        match value {
            Value::Counter(count) => Self::Counter(*count),
            Value::Gauge(_) => Self::Level,
            Value::Time(distribution) => {
                Self::Times(distribution.as_ref().map_or_else(Compact::default, Distribution::compact))
            }
            Value::Codes(seen) => Self::Codes(seen.clone()),
        }
    }

    /// Whether this is more than there is now, of something that only grows.
    fn is_beyond(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Counter(before), Value::Counter(now)) => before > now,
            (Self::Codes(before), Value::Codes(now)) => {
                let count = |code| now.iter().find(|entry| entry.0 == code).map_or(0, |entry| entry.1);
                before.iter().any(|(code, before)| *before > count(*code))
            }
            _ => false,
        }
    }
}

impl Reading<'_> {
    /// Adds the name as /stats has it.
    pub fn push_dotted(&self, out: &mut String) {
        for part in std::iter::once(self.kind.dotted()).chain(self.kind.parts(self.scope)) {
            if !part.is_empty() {
                out.push_str(part);
                out.push('.');
            }
        }
        out.push_str(self.descriptor.name);
        if let Some(code) = self.code {
            out.push_str(if self.descriptor.name.is_empty() { "" } else { "_" });
            out.push_str(itoa::Buffer::new().format(code));
        }
    }

    /// Adds the name without what stands in `tags` (Envoy: the tag-extracted name).
    pub fn push_tagged(&self, out: &mut String) {
        let root = self.kind.tagged();
        out.push_str(&root);
        out.push_str(if root.is_empty() { "" } else { "." });
        match self.descriptor.class() {
            Some(_) => {
                out.push_str(&self.descriptor.name[..self.descriptor.name.len() - 3]);
                out.push_str("xx");
            }
            None if self.descriptor.cell == CellKind::Statuses => out.push_str("status"),
            None => out.push_str(self.descriptor.name),
        }
    }

    /// Shows the tags, with Envoy's names: `envoy.cluster_name` where Prometheus' label is `envoy_cluster_name`.
    pub fn tags(&self, mut show: impl FnMut(&str, &str)) {
        let mut class = [0; 4];
        if let Some(digit) = self.descriptor.class() {
            show("envoy.response_code_class", digit.encode_utf8(&mut class));
        }
        if let Some(code) = self.code {
            show(&tag(self.kind.code_label()), itoa::Buffer::new().format(code));
        }
        for (label, part) in self.kind.labels(self.scope) {
            if !part.is_empty() && !label.is_empty() {
                show(&tag(label), part);
            }
        }
    }
}

/// Envoy's tag for Prometheus' label.
fn tag(label: &str) -> String {
    label.replacen("envoy_", "envoy.", 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::{ClusterStats, GrpcScope, GrpcStats, LocalRateLimitStats, ShardStats};

    /// A round, with what it shows of the counters that have grown and of times.
    fn round(reader: &mut Reader, registry: &Registry, now: u64) -> Vec<(String, u64, u64, u64)> {
        let mut shown = Vec::new();
        reader.begin(registry, now);
        let mut note = |reading: &Reading<'_>| {
            let mut name = String::new();
            reading.push_dotted(&mut name);
            match reading.change {
                Change::Counter { grown: 0, .. } | Change::Times { grown: None, .. } | Change::Level(_) => {}
                Change::Counter { total, grown } => shown.push((name, total, grown, reading.since)),
                Change::Times { total, grown: Some(grown) } => {
                    shown.push((name, total.map_or(0, Distribution::count), grown.count(), reading.since));
                }
            }
        };
        while reader.next(registry, &mut note) {}
        shown
    }

    fn entry(name: &str, total: u64, grown: u64, since: u64) -> (String, u64, u64, u64) {
        (name.into(), total, grown, since)
    }

    #[test]
    fn rounds_tell_what_is_new() {
        let registry = Registry::new();
        let stats: Arc<ClusterStats> = registry.scope("app", 0);
        stats.upstream_rq_total.add(5);
        let mut reader = Reader::new(&registry, 10, 90);
        stats.upstream_rq_total.add(2);
        stats.upstream_rq.inc(503);
        stats.upstream_rq_time.record(1000);
        registry.scope::<ClusterStats>("app", 1).upstream_rq_total.inc();
        // People start the figures of /stats again; sinks do not notice.
        registry.reset_counters();
        let expected = [
            entry("cluster.app.upstream_rq_total", 8, 3, 10),
            entry("cluster.app.upstream_rq_time", 1, 1, 10),
            entry("cluster.app.upstream_rq_503", 1, 1, 10),
        ];
        assert_eq!(round(&mut reader, &registry, 100), expected);
        assert_eq!(reader.interval(), (90, 100));
        assert_eq!(round(&mut reader, &registry, 200), []);
        stats.upstream_rq_time.record(1000);
        assert_eq!(round(&mut reader, &registry, 300), [entry("cluster.app.upstream_rq_time", 2, 1, 10)]);
        // A scope that is new counts since the round before.
        registry.scope::<ClusterStats>("new", 0).upstream_rq_total.inc();
        assert_eq!(round(&mut reader, &registry, 400), [entry("cluster.new.upstream_rq_total", 1, 1, 300)]);
    }

    #[test]
    fn a_scope_that_goes_and_comes_back_begins_again() {
        let registry = Registry::new();
        let add = |count| registry.scope::<ClusterStats>("app", 0).upstream_rq_total.add(count);
        let mut reader = Reader::new(&registry, 0, 0);
        add(7);
        assert_eq!(round(&mut reader, &registry, 100), [entry("cluster.app.upstream_rq_total", 7, 7, 0)]);
        registry.remove(Kind::Cluster, "app");
        add(2);
        assert_eq!(round(&mut reader, &registry, 200), [entry("cluster.app.upstream_rq_total", 2, 2, 100)]);
        registry.remove(Kind::Cluster, "app");
        assert_eq!(round(&mut reader, &registry, 300), []);
        assert!(reader.scopes.is_empty());
        add(9);
        assert_eq!(round(&mut reader, &registry, 400), [entry("cluster.app.upstream_rq_total", 9, 9, 300)]);
    }

    #[test]
    fn names_without_tags_and_tags() {
        let registry = Registry::new();
        let cluster: Arc<ClusterStats> = registry.scope("a.b", 0);
        cluster.count_status(503);
        let _: Arc<LocalRateLimitStats> = registry.scope("api", 0);
        let _: Arc<ShardStats> = registry.scope("3", 0);
        let grpc: Arc<GrpcStats> =
            registry.scope(&GrpcScope { cluster: "app", service: "shop.Orders", method: "Place" }.to_string(), 0);
        grpc.status.inc(14);
        let (mut reader, mut all) = (Reader::new(&registry, 0, 0), Vec::new());
        reader.begin(&registry, 1);
        let mut note = |reading: &Reading<'_>| {
            let mut text = String::new();
            reading.push_tagged(&mut text);
            reading.tags(|name, value| text += &format!(" {name}:{value}"));
            all.push(text);
        };
        while reader.next(&registry, &mut note) {}
        for expected in [
            "cluster.upstream_rq_total envoy.cluster_name:a.b",
            "cluster.upstream_rq_xx envoy.response_code_class:5 envoy.cluster_name:a.b",
            "cluster.upstream_rq envoy.response_code:503 envoy.cluster_name:a.b",
            "http_local_rate_limit.ok envoy.local_http_ratelimit_prefix:api",
            "shard.completions shard:3",
            "cluster.grpc.total envoy.cluster_name:app envoy.grpc_bridge_service:shop.Orders envoy.grpc_bridge_method:Place",
            "cluster.grpc.status envoy.grpc_status:14 envoy.cluster_name:app envoy.grpc_bridge_service:shop.Orders \
             envoy.grpc_bridge_method:Place",
        ] {
            assert!(all.iter().any(|text| text == expected), "{expected} is not in {all:#?}");
        }
        // No two statistics share a name and tags.
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
    }

    #[test]
    fn roots_without_tags() {
        let roots =
            [Kind::Cluster, Kind::GrpcWeb, Kind::CompressorChoice, Kind::Dns, Kind::LocalRateLimit, Kind::AccessLog];
        let expected = ["cluster", "cluster.grpc_web", "http.compressor_choice", "dns.hickory", "", "access_log"];
        assert_eq!(roots.map(Kind::tagged), expected);
    }
}
