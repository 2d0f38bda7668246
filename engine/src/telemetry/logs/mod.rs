//! Access logs on their way out: the shards' records, put into reports for each program, and sent.

mod common;
mod otlp;
mod service;
mod tcp_service;

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use ringway_config::model::{AccessLogSink, Config, LogExportKind, NetworkFilter, OtlpProtocol};

use super::{Clusters, Courier, Destination, Fate, Tally};
use crate::base::clock::Nanos;
use crate::cluster::EXPORT;
use crate::hcm::access_log::{LogQueue, LogQueues};
use crate::http::format::take_field;
use crate::ring::Reactor;
use crate::stats::{Counter, OtlpLogStats, Registry, ServiceLogStats};

/// Between two looks into the queues. Shards hand over what they have once a second, or when they have 64 KiB.
const PAUSE: Duration = Duration::from_millis(50);
/// Bytes of a report.
const BODY_MAX: usize = 1 << 20;
/// Bytes that wait for a program before no more is taken out of its queue, where shards notice that it is full.
const WAITING_MAX: usize = 4 * BODY_MAX;
/// Reports under way at a time.
const AT_ONCE: usize = 2;

/// All access logs that go to programs elsewhere.
pub(super) struct Logs {
    reactor: Rc<Reactor>,
    clusters: Rc<Clusters>,
    registry: Arc<Registry>,
    queues: RefCell<Option<Arc<LogQueues>>>,
    outlets: RefCell<Vec<Outlet>>,
    is_looking: Cell<bool>,
}

/// One program.
struct Outlet {
    queue: LogQueue,
    courier: Rc<Courier>,
    encoder: Encoder,
}

/// How records become a report.
enum Encoder {
    Service(service::Encoder),
    TcpService(tcp_service::Encoder),
    Otlp(otlp::Encoder),
}

impl Logs {
    /// Whether a configuration has such an access log.
    pub fn is_needed(config: &Config) -> bool {
        let chains = config.listeners.iter().flat_map(|listener| &listener.filter_chains);
        let logs = chains.flat_map(|chain| {
            let NetworkFilter::Http(hcm) = &chain.filter;
            &hcm.access_logs
        });
        let of_connections = config.listeners.iter().flat_map(|listener| &listener.access_logs);
        logs.chain(of_connections).any(|log| matches!(log.sink, AccessLogSink::Export(_)))
    }

    pub fn new(reactor: &Rc<Reactor>, clusters: &Rc<Clusters>, registry: Arc<Registry>) -> Rc<Self> {
        Rc::new(Self {
            reactor: reactor.clone(),
            clusters: clusters.clone(),
            registry,
            queues: RefCell::default(),
            outlets: RefCell::default(),
            is_looking: Cell::new(false),
        })
    }

    /// Follows a new configuration, whose queues are these. A program that it has no more gets what is on its way.
    pub fn apply(self: &Rc<Self>, is_needed: bool, queues: &Arc<LogQueues>) {
        self.queues.replace(Some(queues.clone()));
        if is_needed && !self.is_looking.replace(true) {
            self.reactor.spawn(look(self.clone()));
        }
    }

    /// Puts what is in the queues into reports.
    pub fn look(&self) {
        let new = self.queues.borrow().as_ref().map_or_else(Vec::new, |queues| queues.take());
        let mut outlets = self.outlets.borrow_mut();
        outlets.extend(new.into_iter().map(|queue| Outlet::new(queue, self)));
        outlets.iter().for_each(Outlet::look);
        // Those that a reload has removed, once what is on its way has arrived.
        outlets.retain(|outlet| !(outlet.queue.is_over() && outlet.courier.is_idle()));
    }

    /// Sends all there is, as far as the time until then allows. The shards have ended.
    pub async fn finish(&self, until: Nanos) {
        loop {
            self.look();
            self.outlets.borrow().iter().for_each(|outlet| outlet.courier.finish());
            let is_over = self.outlets.borrow().iter().all(|outlet| outlet.courier.is_idle());
            if is_over || self.reactor.now() >= until {
                return;
            }
            self.reactor.sleep(Duration::from_millis(1)).await;
        }
    }
}

async fn look(logs: Rc<Logs>) {
    loop {
        logs.reactor.sleep(PAUSE).await;
        logs.look();
    }
}

impl Outlet {
    fn new(queue: LogQueue, logs: &Logs) -> Self {
        let export = &queue.export;
        let courier = |protocol, cells| {
            let destination = Destination::otlp(&export.to, protocol, AT_ONCE);
            Courier::new(&logs.reactor, &logs.clusters, destination, cells)
        };
        let (courier, encoder) = match &export.kind {
            LogExportKind::Service { log_name, request_headers, response_headers } => {
                let cells = Cells::Service(logs.registry.scope("", EXPORT));
                let encoder = service::Encoder::new(log_name, request_headers, response_headers);
                // A call of gRPC as those of OTLP, whose answer says nothing.
                (courier(OtlpProtocol::Grpc, cells), Encoder::Service(encoder))
            }
            LogExportKind::TcpService { log_name } => {
                let cells = Cells::Service(logs.registry.scope("", EXPORT));
                let encoder = Encoder::TcpService(tcp_service::Encoder::new(log_name));
                (courier(OtlpProtocol::Grpc, cells), encoder)
            }
            LogExportKind::Otlp { protocol, service_name, resource, attributes } => {
                let cells = Cells::Otlp(logs.registry.scope("", EXPORT));
                let encoder = Encoder::Otlp(otlp::Encoder::new(service_name, resource, attributes));
                (courier(*protocol, cells), encoder)
            }
        };
        Self { queue, courier, encoder }
    }

    fn look(&self) {
        let (mut items, mut count) = (Vec::new(), 0);
        while self.courier.waiting() < WAITING_MAX
            && let Some(records) = self.queue.next()
        {
            let mut bytes = records.bytes();
            while !bytes.is_empty() && self.encoder.add(&mut bytes, &mut items) {}
            count += records.count();
            if items.len() >= BODY_MAX {
                self.send(&std::mem::take(&mut items), std::mem::take(&mut count));
            }
        }
        if count > 0 {
            self.send(&items, count);
        }
    }

    fn send(&self, items: &[u8], count: u64) {
        let report = match &self.encoder {
            Encoder::Service(encoder) => encoder.around(items),
            Encoder::TcpService(encoder) => encoder.around(items),
            Encoder::Otlp(encoder) => encoder.around(items),
        };
        self.courier.send(report, count);
    }
}

impl Encoder {
    /// Adds the next record of `bytes` to the items of a report. `false`: there was none.
    fn add(&self, bytes: &mut &[u8], items: &mut Vec<u8>) -> bool {
        let count = match self {
            Self::Service(encoder) => encoder.field_count(),
            Self::TcpService(_) => tcp_service::FIELD_COUNT,
            Self::Otlp(encoder) => encoder.field_count(),
        };
        let fields: Vec<&[u8]> = std::iter::from_fn(|| take_field(bytes)).take(count).collect();
        if fields.len() < count {
            return false;
        }
        match self {
            Self::Service(encoder) => encoder.add(&fields, items),
            Self::TcpService(encoder) => encoder.add(&fields, items),
            Self::Otlp(encoder) => encoder.add(&fields, items),
        }
        true
    }
}

/// A number in digits; 0 if there is none.
fn number(field: &[u8]) -> u64 {
    std::str::from_utf8(field).ok().and_then(|text| text.parse().ok()).unwrap_or(0)
}

enum Cells {
    Service(Arc<ServiceLogStats>),
    Otlp(Arc<OtlpLogStats>),
}

impl Cells {
    /// Written, dropped, reports sent, reports retried.
    fn all(&self) -> [&Counter; 4] {
        match self {
            Self::Service(it) => [&it.logs_written, &it.logs_dropped, &it.reports_sent, &it.reports_retried],
            Self::Otlp(it) => [&it.logs_written, &it.logs_dropped, &it.reports_sent, &it.reports_retried],
        }
    }
}

impl Tally for Cells {
    fn ended(&self, fate: Fate, records: u64) {
        let [written, dropped, sent, _] = self.all();
        let lost = match fate {
            Fate::Taken { rejected } => {
                sent.inc();
                rejected.min(records)
            }
            Fate::Refused | Fate::Unanswered | Fate::NoCluster | Fate::Overflow => records,
        };
        written.add(records - lost);
        dropped.add(lost);
    }

    fn retried(&self) {
        self.all()[3].inc();
    }
}

#[cfg(test)]
mod tests;
