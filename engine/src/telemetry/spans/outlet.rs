//! One exporter: its batch, when the batch goes out, and what becomes of it.

use super::SpanBatch;
use crate::base::clock::{Nanos, nanos};
use crate::cluster::EXPORT;
use crate::http::trace::SpanRecord;
use crate::ring::Reactor;
use crate::stats::{Counter, OpentelemetryStats, Registry, ZipkinStats};
use crate::telemetry::{Clusters, Courier, Destination, Fate, Protocol, Tally};
use ringway_config::model::{OtlpProtocol, SpanExporter, SpanFormat};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

pub(super) struct Outlet {
    reactor: Rc<Reactor>,
    exporter: Arc<SpanExporter>,
    stats: SpanStats,
    courier: Rc<Courier>,
    batch: RefCell<SpanBatch>,
    /// The first span of the batch came no sooner.
    since: Cell<Nanos>,
}

/// Reports under way at a time.
const AT_ONCE: usize = 2;

/// The longest body of a report, unless it is a single span.
const BODY_MAX: usize = 1024 * 1024;

impl Outlet {
    pub(super) fn new(
        reactor: &Rc<Reactor>,
        clusters: &Rc<Clusters>,
        registry: &Registry,
        exporter: &Arc<SpanExporter>,
    ) -> Self {
        let zipkin = |content_type| {
            let to = exporter.to.clone();
            Destination { to, protocol: Protocol::Http, content_type, at_once: AT_ONCE }
        };
        let destination = match exporter.format {
            SpanFormat::ZipkinJson => zipkin("application/json"),
            SpanFormat::ZipkinProtobuf => zipkin("application/x-protobuf"),
            SpanFormat::OtlpHttp { .. } => Destination::otlp(&exporter.to, OtlpProtocol::Http, AT_ONCE),
            SpanFormat::OtlpGrpc { .. } => Destination::otlp(&exporter.to, OtlpProtocol::Grpc, AT_ONCE),
        };
        let stats = match exporter.format {
            SpanFormat::ZipkinJson | SpanFormat::ZipkinProtobuf => SpanStats::Zipkin(registry.scope("", EXPORT)),
            SpanFormat::OtlpHttp { .. } | SpanFormat::OtlpGrpc { .. } => {
                SpanStats::Opentelemetry(registry.scope("", EXPORT))
            }
        };
        Self {
            reactor: reactor.clone(),
            courier: Courier::new(reactor, clusters, destination, stats.clone()),
            batch: RefCell::new(SpanBatch::new(exporter)),
            exporter: exporter.clone(),
            stats,
            since: Cell::new(0),
        }
    }

    /// `size`: of the record. What it takes in a report is about as long. `since`: it came no sooner.
    pub(super) fn add(&self, span: &SpanRecord<'_>, size: usize, since: Nanos) {
        if self.batch.borrow().size() + 2 * size > BODY_MAX {
            self.flush();
        }
        let mut batch = self.batch.borrow_mut();
        if batch.count() == 0 {
            self.since.set(since);
        }
        batch.add(span);
    }

    /// Spans that are sent without waiting.
    pub(super) fn flush_spans(&self) -> u64 {
        self.exporter.flush_spans.into()
    }

    /// When the batch goes out at the latest, or one of spans that have come since `looked`.
    pub(super) fn due(&self, looked: Nanos) -> Nanos {
        let since = if self.batch.borrow().count() == 0 { looked } else { self.since.get() };
        since + nanos(self.exporter.flush_interval)
    }

    /// Sends the batch if it is large or old enough.
    pub(super) fn flush_if_due(&self) {
        let (count, waited) = (self.batch.borrow().count(), self.reactor.now().saturating_sub(self.since.get()));
        if count >= self.exporter.flush_spans {
            self.flush();
        } else if count > 0 && waited >= nanos(self.exporter.flush_interval) {
            self.stats.cells().timer_flushed.inc();
            self.flush();
        }
    }

    fn flush(&self) {
        let mut batch = self.batch.borrow_mut();
        let count = batch.count();
        if count > 0 {
            self.courier.send(batch.take(), count.into());
        }
    }

    pub(super) fn finish(&self) {
        self.courier.finish();
        self.flush();
    }

    pub(super) fn is_idle(&self) -> bool {
        self.courier.is_idle()
    }
}

/// The cells of this thread.
#[derive(Clone)]
enum SpanStats {
    Zipkin(Arc<ZipkinStats>),
    Opentelemetry(Arc<OpentelemetryStats>),
}

/// What both have.
struct Cells<'s> {
    spans_sent: &'s Counter,
    spans_dropped: &'s Counter,
    timer_flushed: &'s Counter,
    reports_sent: &'s Counter,
    reports_dropped: &'s Counter,
    reports_failed: &'s Counter,
    reports_skipped_no_cluster: &'s Counter,
    reports_retried: &'s Counter,
}

macro_rules! cells {
    ($stats:expr) => {
        Cells {
            spans_sent: &$stats.spans_sent,
            spans_dropped: &$stats.spans_dropped,
            timer_flushed: &$stats.timer_flushed,
            reports_sent: &$stats.reports_sent,
            reports_dropped: &$stats.reports_dropped,
            reports_failed: &$stats.reports_failed,
            reports_skipped_no_cluster: &$stats.reports_skipped_no_cluster,
            reports_retried: &$stats.reports_retried,
        }
    };
}

impl SpanStats {
    fn cells(&self) -> Cells<'_> {
        match self {
            Self::Zipkin(stats) => cells!(stats),
            Self::Opentelemetry(stats) => cells!(stats),
        }
    }
}

impl Tally for SpanStats {
    fn ended(&self, fate: Fate, spans: u64) {
        let cells = self.cells();
        let (reports, lost) = match fate {
            Fate::Taken { rejected } => (cells.reports_sent, rejected.min(spans)),
            Fate::Refused | Fate::Overflow => (cells.reports_dropped, spans),
            Fate::Unanswered => (cells.reports_failed, spans),
            Fate::NoCluster => (cells.reports_skipped_no_cluster, spans),
        };
        reports.inc();
        cells.spans_sent.add(spans - lost);
        cells.spans_dropped.add(lost);
    }

    fn retried(&self) {
        self.cells().reports_retried.inc();
    }
}
