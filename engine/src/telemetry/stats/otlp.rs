//! A sink of statistics that speaks OpenTelemetry's protocol (`opentelemetry.proto.collector.metrics.v1`).

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use ringway_config::model::{OtlpStats, Temporality};

use super::Progress;
use crate::cluster::EXPORT;
use crate::ring::Reactor;
use crate::stats::{Change, Distribution, Reading, Registry, StatsSinkStats, TIME_BOUNDS};
use crate::telemetry::otlp::Frame;
use crate::telemetry::{Clusters, Courier, Destination, Fate, Fields, Tally};

/// Bytes of a report; more statistics are in several.
const BODY_MAX: usize = 1 << 20;
/// Bytes that wait for the collector before the next report is put off.
const WAITING_MAX: usize = 4 * BODY_MAX;
/// Requests under way at a time.
const AT_ONCE: usize = 2;

/// Numbers of fields.
mod field {
    /// `ScopeMetrics.metrics`.
    pub const METRICS: u32 = 2;
    pub const NAME: u32 = 1;
    pub const DESCRIPTION: u32 = 2;
    pub const UNIT: u32 = 3;
    pub const GAUGE: u32 = 5;
    pub const SUM: u32 = 7;
    pub const HISTOGRAM: u32 = 9;
    /// Of a gauge, a sum and a histogram.
    pub const POINTS: u32 = 1;
    pub const TEMPORALITY: u32 = 2;
    pub const IS_MONOTONIC: u32 = 3;
    /// Of any point.
    pub const START: u32 = 2;
    pub const TIME: u32 = 3;
    pub const AS_INT: u32 = 6;
    pub const ATTRIBUTES: u32 = 7;
    /// Of a point of a histogram.
    pub const COUNT: u32 = 4;
    pub const TOTAL: u32 = 5;
    pub const BUCKETS: u32 = 6;
    pub const BOUNDS: u32 = 7;
    pub const HISTOGRAM_ATTRIBUTES: u32 = 9;
}

pub(super) struct Sink {
    config: OtlpStats,
    frame: Frame,
    courier: Rc<Courier>,
    stats: Arc<StatsSinkStats>,
    /// By name.
    metrics: BTreeMap<String, Metric>,
    size: usize,
    points: u64,
    /// All statistics of this round are added.
    is_whole: bool,
    /// When this round began and the one before it, in microseconds since the epoch.
    interval: (u64, u64),
}

/// What is known of one name.
struct Metric {
    help: &'static str,
    kind: Kind,
    points: Vec<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Sum,
    Gauge,
    Histogram,
}

impl Sink {
    pub fn new(config: &OtlpStats, reactor: &Rc<Reactor>, clusters: &Rc<Clusters>, registry: &Registry) -> Self {
        let stats: Arc<StatsSinkStats> = registry.scope(&scope_name(config), EXPORT);
        let destination = Destination::otlp(&config.to, config.protocol, AT_ONCE);
        Self {
            config: config.clone(),
            frame: Frame::new(&config.service_name, &config.attributes, None),
            courier: Courier::new(reactor, clusters, destination, Cells(stats.clone())),
            stats,
            metrics: BTreeMap::new(),
            size: 0,
            points: 0,
            is_whole: false,
            interval: (0, 0),
        }
    }

    pub fn config(&self) -> &OtlpStats {
        &self.config
    }

    pub fn begin(&mut self, interval: (u64, u64)) {
        self.interval = interval;
        self.is_whole = false;
    }

    /// Adds a point, if there is something to tell: a counter that never counted has no points.
    pub fn add(&mut self, reading: &Reading<'_>) {
        let is_delta = self.config.temporality == Temporality::Delta;
        let kind = match reading.change {
            Change::Level(_) => Kind::Gauge,
            Change::Counter { total, grown } if (if is_delta { grown } else { total }) > 0 => Kind::Sum,
            Change::Times { total, grown } if (if is_delta { grown } else { total }).is_some() => Kind::Histogram,
            Change::Counter { .. } | Change::Times { .. } => return,
        };
        let mut name = format!("{}.", self.config.prefix);
        reading.push_tagged(&mut name);
        let help = if reading.descriptor.class().is_some() {
            "Responses by the class of their code"
        } else {
            reading.descriptor.help
        };
        let (last, now) = self.interval;
        let start = if is_delta { last } else { reading.since };
        let metric = self.metrics.entry(name).or_insert_with(|| Metric { help, kind, points: Vec::new() });
        let before = metric.points.len();
        Fields(&mut metric.points).message(field::POINTS, |point| {
            if kind != Kind::Gauge {
                point.fixed64(field::START, start * 1000);
            }
            point.fixed64(field::TIME, now * 1000);
            let number = if kind == Kind::Histogram { field::HISTOGRAM_ATTRIBUTES } else { field::ATTRIBUTES };
            reading.tags(|name, value| point.attribute(number, name.as_bytes(), value.as_bytes()));
            match reading.change {
                Change::Level(level) => point.fixed64(field::AS_INT, level.cast_unsigned()),
                Change::Counter { total, grown } => {
                    point.fixed64(field::AS_INT, if is_delta { grown } else { total });
                }
                Change::Times { total, grown } => {
                    (if is_delta { grown } else { total }).into_iter().for_each(|times| histogram(point, times));
                }
            }
        });
        self.size += metric.points.len() - before;
        self.points += 1;
    }

    /// All statistics of this round are added.
    pub fn finish(&mut self) {
        self.is_whole = true;
        self.stats.flushes.inc();
    }

    /// Sends what makes a report. With `gives_up`, however much waits already.
    pub fn send(&mut self, gives_up: bool) -> Progress {
        if self.size < BODY_MAX && !(self.is_whole && self.points > 0) {
            return Progress::Done;
        }
        if self.courier.waiting() > WAITING_MAX && !gives_up {
            return Progress::Full;
        }
        let mut metrics = Vec::with_capacity(self.size + self.size / 4);
        for (name, metric) in std::mem::take(&mut self.metrics) {
            write(&mut Fields(&mut metrics), &name, &metric, self.config.temporality);
        }
        self.courier.send(self.frame.around(&metrics), self.points);
        (self.size, self.points) = (0, 0);
        Progress::One
    }

    /// The process ends.
    pub fn give_up_later(&self) {
        self.courier.finish();
    }

    pub fn is_idle(&self) -> bool {
        self.courier.is_idle()
    }
}

fn write(fields: &mut Fields<'_>, name: &str, metric: &Metric, temporality: Temporality) {
    let temporality = match temporality {
        Temporality::Delta => 1,
        Temporality::Cumulative => 2,
    };
    fields.message(field::METRICS, |fields| {
        fields.text(field::NAME, name.as_bytes());
        fields.text(field::DESCRIPTION, metric.help.as_bytes());
        let data = match metric.kind {
            Kind::Gauge => field::GAUGE,
            Kind::Sum => field::SUM,
            Kind::Histogram => {
                fields.text(field::UNIT, b"ms");
                field::HISTOGRAM
            }
        };
        fields.message(data, |data| {
            data.0.extend_from_slice(&metric.points);
            if metric.kind != Kind::Gauge {
                data.varint(field::TEMPORALITY, temporality);
            }
            if metric.kind == Kind::Sum {
                data.varint(field::IS_MONOTONIC, 1);
            }
        });
    });
}

/// Buckets as those for Prometheus, in milliseconds.
fn histogram(point: &mut Fields<'_>, times: &Distribution) {
    let count = times.count();
    let below = times.cumulative(&TIME_BOUNDS);
    point.fixed64(field::COUNT, count);
    point.fixed64(field::TOTAL, (times.sum() as f64 / 1000.0).to_bits());
    let starts = std::iter::once(0).chain(below);
    let buckets = starts.zip(below.into_iter().chain([count])).map(|(below, up_to)| up_to - below);
    let buckets: Vec<u8> = buckets.flat_map(u64::to_le_bytes).collect();
    point.bytes(field::BUCKETS, &buckets);
    let bounds: Vec<u8> = TIME_BOUNDS.iter().flat_map(|bound| (*bound as f64 / 1000.0).to_le_bytes()).collect();
    point.bytes(field::BOUNDS, &bounds);
}

/// `otlp.collector`.
pub(super) fn scope_name(config: &OtlpStats) -> String {
    format!("otlp.{}", config.to.cluster)
}

struct Cells(Arc<StatsSinkStats>);

impl Tally for Cells {
    fn ended(&self, fate: Fate, points: u64) {
        let lost = match fate {
            Fate::Taken { rejected } => rejected.min(points),
            Fate::Refused | Fate::Unanswered | Fate::NoCluster | Fate::Overflow => points,
        };
        match fate {
            Fate::Taken { .. } => self.0.reports_sent.inc(),
            Fate::Refused | Fate::Unanswered | Fate::NoCluster | Fate::Overflow => self.0.reports_lost.inc(),
        }
        self.0.points_sent.add(points - lost);
        self.0.points_lost.add(lost);
    }

    fn retried(&self) {
        self.0.reports_retried.inc();
    }
}
