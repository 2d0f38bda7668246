//! Reports by the interval, and the sinks of each configuration.

use super::*;
use crate::stats::{ClusterStats, StatsSinkStats};
use crate::telemetry::testing::{BUSY, TAKEN, World};
use crate::telemetry::wire::{Message, Value};
use ringway_config::model::{
    Address, Destination, EndpointTarget, OtlpProtocol, OtlpStats, Statsd, StatsdDialect, Temporality,
};
use std::net::UdpSocket;

/// The cluster "app" is a collector.
struct Reported {
    world: World,
    stats: Rc<Stats>,
}

impl Reported {
    fn new() -> Self {
        let world = World::new();
        let stats = Stats::new(&world.reactor, &world.clusters, world.registry.clone());
        Self { world, stats }
    }

    fn pass(&self, time: Duration) {
        self.world.pass(time);
    }

    fn requests(&self, count: u64) {
        self.world.registry.scope::<ClusterStats>("app", 0).upstream_rq_total.add(count);
    }

    fn finish(&self) {
        let stats = self.stats.clone();
        self.world.reactor.block_on(async move { stats.finish().await });
    }
}

struct Receiver(UdpSocket);

impl Receiver {
    fn new() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a port");
        socket.set_nonblocking(true).expect("a socket");
        Self(socket)
    }

    fn sink(&self, prefix: &str) -> StatsSink {
        let target = EndpointTarget::Address(Address::Ip(self.0.local_addr().expect("bound")));
        let dialect = StatsdDialect::Plain;
        StatsSink::Statsd(Statsd { dialect, target, prefix: prefix.into(), max_bytes_per_datagram: 1432 })
    }

    /// The lines about requests that have come.
    fn requests(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut datagram = [0; 65536];
        while let Ok(len) = self.0.recv(&mut datagram) {
            let text = std::str::from_utf8(&datagram[..len]).expect("text");
            lines.extend(text.lines().filter(|line| line.contains("upstream_rq_total")).map(str::to_owned));
        }
        lines
    }
}

const SECOND: Duration = Duration::from_secs(1);

fn config(sinks: &[StatsSink]) -> Option<model::Stats> {
    Some(model::Stats { flush_interval: SECOND, sinks: sinks.to_vec() })
}

#[test]
fn reports_come_at_the_interval_and_follow_the_configuration() {
    let (sent, first, second) = (Reported::new(), Receiver::new(), Receiver::new());
    sent.requests(5);
    sent.stats.apply(config(&[first.sink("a")]).as_ref());
    sent.requests(2);
    sent.pass(SECOND / 2);
    assert!(first.requests().is_empty());
    sent.pass(SECOND);
    assert_eq!(first.requests(), ["a.cluster.app.upstream_rq_total:2|c"]);
    // Another one: both get what has happened since the last report.
    sent.requests(3);
    sent.stats.apply(config(&[first.sink("a"), second.sink("b")]).as_ref());
    sent.pass(SECOND);
    assert_eq!(first.requests(), ["a.cluster.app.upstream_rq_total:3|c"]);
    assert_eq!(second.requests(), ["b.cluster.app.upstream_rq_total:3|c"]);
    assert_eq!(sent.world.registry.names(Kind::StatsSink).len(), 2);
    // A longer interval, and one sink less.
    let slow = model::Stats { flush_interval: 3 * SECOND, sinks: vec![second.sink("b")] };
    sent.stats.apply(Some(&slow));
    assert_eq!(sent.world.registry.names(Kind::StatsSink).len(), 1);
    sent.requests(1);
    sent.pass(2 * SECOND);
    assert!(second.requests().is_empty());
    sent.pass(2 * SECOND);
    assert_eq!(second.requests(), ["b.cluster.app.upstream_rq_total:1|c"]);
    // None at all; what happens meanwhile is nothing new to a later sink.
    sent.stats.apply(None);
    sent.requests(1);
    sent.pass(10 * SECOND);
    sent.stats.apply(Some(&slow));
    sent.requests(4);
    sent.finish();
    assert_eq!(second.requests(), ["b.cluster.app.upstream_rq_total:4|c"]);
    sent.requests(1);
    sent.pass(10 * SECOND);
    assert!(second.requests().is_empty() && first.requests().is_empty());
}

#[test]
fn thousands_of_statistics_are_sent_in_bursts_with_pauses() {
    let (sent, receiver) = (Reported::new(), Receiver::new());
    (0..1000).for_each(|index| drop(sent.world.registry.scope::<ClusterStats>(&format!("app-{index}"), 0)));
    sent.stats.apply(config(&[receiver.sink("a")]).as_ref());
    sent.pass(SECOND + PAUSE);
    let StatsSink::Statsd(sink) = receiver.sink("a") else { unreachable!("it is one") };
    let stats: Arc<StatsSinkStats> = sent.world.registry.scope(&statsd::scope_name(&sink), crate::cluster::EXPORT);
    let first = stats.datagrams_sent.get();
    assert!((1..=2 * u64::from(BURST)).contains(&first), "{first}");
    sent.pass(SECOND / 2);
    assert!(stats.datagrams_sent.get() > 4 * first, "{}", stats.datagrams_sent.get());
    assert_eq!((stats.flushes.get(), stats.datagrams_lost.get()), (1, 0));
}

fn otlp(temporality: Temporality) -> StatsSink {
    StatsSink::Otlp(OtlpStats {
        to: Destination {
            cluster: "app".into(),
            host: "collector.example".into(),
            path: "/v1/metrics".into(),
            headers: Vec::new(),
            timeout: SECOND,
        },
        protocol: OtlpProtocol::Http,
        service_name: "edge".into(),
        attributes: vec![("zone".into(), "a".into()), ("host.name".into(), "this".into())],
        prefix: "rw".into(),
        temporality,
    })
}

/// The members of a message that are messages or texts, with this number.
fn inner<'a>(message: &'a [u8], number: u32) -> Vec<&'a [u8]> {
    let bytes = |(at, value): (u32, Value<'a>)| match value {
        Value::Bytes(bytes) if at == number => Some(bytes),
        _ => None,
    };
    Message(message).filter_map(bytes).collect()
}

fn number(message: &[u8], number: u32) -> Option<u64> {
    Message(message).find_map(|(at, value)| match value {
        Value::Number(value) if at == number => Some(value),
        _ => None,
    })
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("text")
}

/// `name=value` of `KeyValue`s.
fn attributes(message: &[u8], at: u32) -> Vec<String> {
    let pair = |pair: &[u8]| format!("{}={}", text(inner(pair, 1)[0]), text(inner(inner(pair, 2)[0], 1)[0]));
    inner(message, at).into_iter().map(pair).collect()
}

/// The metrics of a report.
fn metrics(report: &[u8]) -> Vec<&[u8]> {
    inner(inner(inner(report, 1)[0], 2)[0], 2)
}

/// The only point of the metric with this name, and its data: a gauge, a sum or a histogram by its number.
fn point<'a>(report: &'a [u8], name: &str, kind: u32) -> Option<(&'a [u8], &'a [u8])> {
    let metric = metrics(report).into_iter().find(|metric| inner(metric, 1) == [name.as_bytes()])?;
    let data = inner(metric, kind)[0];
    let points = inner(data, 1);
    assert_eq!(points.len(), 1, "{name}");
    Some((points[0], data))
}

const START: u64 = 1_767_225_600_000_000_000;

#[test]
fn reports_for_collectors_have_sums_gauges_and_histograms() {
    let sent = Reported::new();
    sent.pass(2 * SECOND);
    let stats: Arc<ClusterStats> = sent.world.registry.scope("app", 0);
    stats.upstream_rq_total.add(5);
    stats.count_status(503);
    sent.stats.apply(config(&[otlp(Temporality::Cumulative)]).as_ref());
    stats.upstream_rq_total.add(2);
    [400, 700, 700, 4_000_000_000].iter().for_each(|micros| stats.upstream_rq_time.record(*micros));
    sent.pass(SECOND + PAUSE);
    let reports = sent.world.bodies();
    let resource = inner(inner(&reports[0], 1)[0], 1)[0];
    assert_eq!(attributes(resource, 1), ["service.name=edge", "zone=a", "host.name=this"]);
    let scope = inner(inner(inner(&reports[0], 1)[0], 2)[0], 1)[0];
    assert_eq!(inner(scope, 1), [b"ringway"]);
    // Everything since the start of the process, and not only what is new.
    let (requests, sum) = point(&reports[0], "rw.cluster.upstream_rq_total", 7).expect("a sum");
    assert_eq!((number(sum, 2), number(sum, 3)), (Some(2), Some(1)), "cumulative and monotonic");
    assert_eq!(attributes(requests, 7), ["envoy.cluster_name=app"]);
    assert_eq!((number(requests, 6), number(requests, 2)), (Some(7), Some(START)));
    assert_eq!((number(requests, 3).expect("a time") - START) / 1_000_000_000, 3);
    let (class, _) = point(&reports[0], "rw.cluster.upstream_rq_xx", 7).expect("a sum");
    assert_eq!(attributes(class, 7), ["envoy.response_code_class=5", "envoy.cluster_name=app"]);
    let (level, _) = point(&reports[0], "rw.cluster.membership_healthy", 5).expect("a gauge");
    assert_eq!((number(level, 6), number(level, 2)), (Some(0), None));
    let (times, data) = point(&reports[0], "rw.cluster.upstream_rq_time", 9).expect("a histogram");
    assert_eq!((number(data, 2), number(times, 4), attributes(times, 9).len()), (Some(2), Some(4), 1));
    assert_eq!(f64::from_bits(number(times, 5).expect("a sum")), 4_000_001.8);
    let eight =
        |bytes: &[u8]| -> Vec<[u8; 8]> { bytes.chunks(8).map(|part| part.try_into().expect("eight")).collect() };
    let buckets: Vec<u64> = eight(inner(times, 6)[0]).into_iter().map(u64::from_le_bytes).collect();
    let bounds: Vec<f64> = eight(inner(times, 7)[0]).into_iter().map(f64::from_le_bytes).collect();
    assert_eq!((buckets.len(), bounds.len(), bounds[0], bounds[18]), (20, 19, 0.5, 3_600_000.0));
    assert_eq!((buckets[0], buckets[1], buckets[19], buckets.iter().sum::<u64>()), (1, 2, 1, 4));
    // A counter that never counted is not there, and one that stands still is.
    assert!(point(&reports[0], "rw.cluster.upstream_cx_overflow", 7).is_none());
    sent.pass(SECOND);
    let reports = sent.world.bodies();
    assert_eq!(number(point(&reports[1], "rw.cluster.upstream_rq_total", 7).expect("a sum").0, 6), Some(8));
}

/// The cluster of the collector counts, too: each report is one of its requests.
#[test]
fn deltas_are_since_the_last_report() {
    let sent = Reported::new();
    sent.requests(5);
    sent.stats.apply(config(&[otlp(Temporality::Delta)]).as_ref());
    sent.requests(2);
    sent.pass(SECOND + PAUSE);
    sent.requests(3);
    sent.pass(SECOND);
    let reports = sent.world.bodies();
    for (report, expected) in reports.iter().zip([(2, 0), (4, 1)]) {
        let (point, sum) = point(report, "rw.cluster.upstream_rq_total", 7).expect("a sum");
        assert_eq!((number(point, 6), number(sum, 2)), (Some(expected.0), Some(1)));
        let start = (number(point, 2).expect("a time") - START) / 1_000_000_000;
        assert_eq!(start, expected.1, "it begins with the report before");
    }
    assert_eq!(reports.len(), 2);
    sent.requests(9);
    sent.finish();
    let last = sent.world.bodies().pop().expect("a last one");
    assert_eq!(number(point(&last, "rw.cluster.upstream_rq_total", 7).expect("a sum").0, 6), Some(10));
}

#[test]
fn what_is_more_than_a_report_takes_is_in_several() {
    let sent = Reported::new();
    (0..2000).for_each(|index| drop(sent.world.registry.scope::<ClusterStats>(&format!("app-{index:04}"), 0)));
    sent.stats.apply(config(&[otlp(Temporality::Cumulative)]).as_ref());
    sent.pass(SECOND + SECOND / 2);
    let reports = sent.world.bodies();
    assert!(reports.len() > 1, "{}", reports.len());
    let mut names = std::collections::BTreeSet::new();
    for report in &reports {
        assert!(report.len() < 3 << 19, "{}", report.len());
        let metrics = metrics(report);
        let metric = metrics.into_iter().find(|metric| inner(metric, 1) == [b"rw.cluster.membership_healthy"]);
        let points = metric.map_or(Vec::new(), |metric| inner(inner(metric, 5)[0], 1));
        names.extend(points.into_iter().flat_map(|point| attributes(point, 7)));
    }
    assert!(names.len() >= 2000, "{}", names.len());
    let stats: Arc<StatsSinkStats> = sent.world.registry.scope("otlp.app", crate::cluster::EXPORT);
    assert_eq!(stats.reports_sent.get(), reports.len() as u64);
    assert!(stats.points_sent.get() > 20_000 && stats.flushes.get() == 1);
}

#[test]
fn a_collector_that_is_busy_is_told_the_totals_later() {
    let sent = Reported::new();
    sent.stats.apply(config(&[otlp(Temporality::Cumulative)]).as_ref());
    sent.world.collector.behaviour.set(BUSY);
    sent.requests(2);
    sent.pass(20 * SECOND);
    let stats: Arc<StatsSinkStats> = sent.world.registry.scope("otlp.app", crate::cluster::EXPORT);
    assert!(stats.reports_lost.get() > 0 && stats.reports_retried.get() > 0 && stats.reports_sent.get() == 0);
    assert!(stats.points_lost.get() > 0);
    sent.world.collector.behaviour.set(TAKEN);
    sent.pass(20 * SECOND);
    assert!(stats.reports_sent.get() > 0);
    sent.stats.apply(None);
    sent.pass(10 * SECOND);
    let reports = sent.world.bodies().len();
    sent.pass(10 * SECOND);
    assert_eq!(sent.world.bodies().len(), reports);
}
