//! Spans on their way out: collected from the shards' rings, put into batches for each exporter, and sent.

mod batch;
mod otlp;
mod outlet;
mod zipkin;

pub use batch::SpanBatch;

use super::Clusters;
use crate::base::clock::nanos;
use crate::http::trace::{SpanRecord, Tracers};
use crate::ring::Reactor;
use crate::stats::Registry;
use outlet::Outlet;
use ringway_config::model::{Config, NetworkFilter};
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Whether a configuration has an exporter of spans.
pub(super) fn is_needed(config: &Config) -> bool {
    let mut chains = config.listeners.iter().flat_map(|listener| &listener.filter_chains);
    chains.any(|chain| {
        let NetworkFilter::Http(http) = &chain.filter;
        http.tracing.is_some()
    })
}

/// All exporters of spans.
pub struct Spans {
    reactor: Rc<Reactor>,
    clusters: Rc<Clusters>,
    registry: Arc<Registry>,
    tracers: Arc<Tracers>,
    /// By the number that spans have in their records.
    outlets: RefCell<HashMap<u32, Rc<Outlet>>>,
    record: RefCell<Vec<u8>>,
}

/// Between two looks into the rings, by how much was in them: short enough that they do not become full in the meantime.
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(32);
/// Bytes of spans in one look that are many, and few.
const MANY: usize = 128 * 1024;
const FEW: usize = 16 * 1024;

impl Spans {
    pub fn start(
        reactor: &Rc<Reactor>,
        clusters: &Rc<Clusters>,
        registry: &Arc<Registry>,
        tracers: &Arc<Tracers>,
    ) -> Rc<Self> {
        let spans = Rc::new(Self {
            reactor: reactor.clone(),
            clusters: clusters.clone(),
            registry: registry.clone(),
            tracers: tracers.clone(),
            outlets: RefCell::default(),
            record: RefCell::default(),
        });
        reactor.spawn(collect(spans.clone()));
        spans
    }

    /// Makes ready for the exporters of a new configuration, whose statistics are there from the beginning.
    pub fn follow(&self) {
        let numbers = (0..).take_while(|number| self.tracers.get(*number).is_some());
        numbers.for_each(|number| drop(self.outlet(number)));
    }

    /// Puts what is in the rings into batches, and sends those that are due. How many bytes there were.
    fn look(&self) -> usize {
        let (mut bytes, mut record) = (0, self.record.take());
        self.tracers.drain(&mut record, |record| {
            bytes += record.len();
            let Some(span) = SpanRecord::read(record) else { return };
            if let Some(outlet) = self.outlet(span.facts.tracer) {
                outlet.add(&span, record.len());
            }
        });
        self.record.replace(record);
        self.outlets.borrow().values().for_each(|outlet| outlet.flush_if_due());
        bytes
    }

    /// `None`: no exporter has this number, which is an error of this program.
    fn outlet(&self, tracer: u32) -> Option<Rc<Outlet>> {
        if let Some(outlet) = self.outlets.borrow().get(&tracer) {
            return Some(outlet.clone());
        }
        let exporter = self.tracers.get(tracer)?;
        let outlet = Rc::new(Outlet::new(&self.reactor, &self.clusters, &self.registry, &exporter));
        self.outlets.borrow_mut().insert(tracer, outlet.clone());
        Some(outlet)
    }

    /// Sends all spans that there are, for at most this time. The shards have ended.
    pub async fn finish(&self, patience: Duration) {
        self.look();
        let outlets: Vec<_> = self.outlets.borrow().values().cloned().collect();
        outlets.iter().for_each(|outlet| outlet.finish());
        let end = self.reactor.now() + nanos(patience);
        while self.reactor.now() < end && !outlets.iter().all(|outlet| outlet.is_idle()) {
            self.reactor.sleep(PAUSE_MIN).await;
        }
    }
}

/// Runs as long as the reactor.
async fn collect(spans: Rc<Spans>) {
    let mut pause = PAUSE_MAX;
    loop {
        pause = match spans.look() {
            MANY.. => (pause / 2).max(PAUSE_MIN),
            ..FEW => (pause * 2).min(PAUSE_MAX),
            FEW..MANY => pause,
        };
        spans.reactor.sleep(pause).await;
    }
}

#[cfg(test)]
mod tests;
