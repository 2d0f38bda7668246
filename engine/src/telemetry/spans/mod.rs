//! Spans on their way out: collected from the shards' rings, put into batches for each exporter, and sent.

mod batch;
mod otlp;
mod outlet;
mod zipkin;

pub use batch::SpanBatch;

use super::Clusters;
use crate::base::clock::{NEVER, Nanos, nanos};
use crate::http::trace::{SpanRecord, Tracers};
use crate::ring::{Reactor, TaskId, Timer};
use crate::stats::Registry;
use outlet::Outlet;
use ringway_config::model::{Config, NetworkFilter};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
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
///
/// While there are many spans, it looks into the rings again and again. While there are few, it rests: until a shard says that it
/// has left some, or until those that may be there are to be sent.
pub struct Spans {
    reactor: Rc<Reactor>,
    clusters: Rc<Clusters>,
    registry: Arc<Registry>,
    tracers: Arc<Tracers>,
    /// By the number that spans have in their records.
    outlets: RefCell<Vec<Rc<Outlet>>>,
    record: RefCell<Vec<u8>>,
    /// Shards can wake this thread.
    can_be_woken: bool,
    /// When it looked into the rings: nothing in them was older at the next look.
    looked: Cell<Nanos>,
    /// The task that collects.
    task: Cell<Option<TaskId>>,
    woken: Cell<bool>,
}

/// Between two looks into the rings while there are many spans, so that reports are large.
const PAUSE: Duration = Duration::from_millis(32);
/// The same where no shard says when its ring fills.
const BLIND_PAUSE: Duration = Duration::from_millis(4);
/// Between two looks at what is left at the end of the process.
const LAST_PAUSE: Duration = Duration::from_millis(1);

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
            can_be_woken: tracers.can_be_woken(reactor.unpark_handle()),
            looked: Cell::new(reactor.now()),
            task: Cell::default(),
            woken: Cell::default(),
        });
        spans.task.set(Some(reactor.spawn(collect(spans.clone()))));
        spans
    }

    /// Makes ready for the exporters of a new configuration, whose statistics are there from the beginning.
    pub fn follow(&self) {
        self.make_outlets();
        // How long it may rest has changed.
        self.wake();
    }

    fn make_outlets(&self) {
        let mut outlets = self.outlets.borrow_mut();
        while let Some(exporter) = self.tracers.get(outlets.len() as u32) {
            outlets.push(Rc::new(Outlet::new(&self.reactor, &self.clusters, &self.registry, &exporter)));
        }
    }

    /// A shard may have woken this thread: it looks into the rings.
    pub fn wake(&self) {
        self.woken.set(true);
        if let Some(task) = self.task.get() {
            self.reactor.wake(task);
        }
    }

    /// Puts what is in the rings into batches, and sends those that are due. How many spans there were.
    fn look(&self) -> u64 {
        let (mut found, mut record) = (0, self.record.take());
        let since = self.looked.replace(self.reactor.now());
        self.tracers.drain(&mut record, |record| {
            found += 1;
            let Some(span) = SpanRecord::read(record) else { return };
            if let Some(outlet) = self.outlet(span.facts.tracer) {
                outlet.add(&span, record.len(), since);
            }
        });
        self.record.replace(record);
        self.outlets.borrow().iter().for_each(|outlet| outlet.flush_if_due());
        found
    }

    /// `None`: no exporter has this number, which is an error of this program.
    fn outlet(&self, tracer: u32) -> Option<Rc<Outlet>> {
        let known = || self.outlets.borrow().get(tracer as usize).cloned();
        known().or_else(|| {
            self.make_outlets();
            known()
        })
    }

    /// With this number of spans from one shard, a report may be large enough to be sent.
    fn enough(&self) -> u64 {
        let least = self.outlets.borrow().iter().map(|outlet| outlet.flush_spans()).min();
        self.tracers.share(least.unwrap_or(1))
    }

    /// Waits for the next look, after one that has found this number of spans.
    async fn rest(&self, found: u64) {
        let enough = self.enough();
        let (looked, is_busy) = (self.looked.get(), found >= enough);
        let due = match (self.can_be_woken, is_busy) {
            (false, _) => looked + nanos(BLIND_PAUSE),
            (true, true) => looked + nanos(PAUSE),
            (true, false) => self.due().max(looked + nanos(PAUSE)),
        };
        self.woken.set(false);
        self.tracers.rest((!is_busy).then_some(enough));
        let timer = Timer::new(&self.reactor);
        timer.arm_at(due);
        poll_fn(|_| if timer.fired() || self.woken.get() { Poll::Ready(()) } else { Poll::Pending }).await;
    }

    /// When a report is due with the spans that there are, or that may have come since the last look.
    fn due(&self) -> Nanos {
        let outlets = self.outlets.borrow();
        outlets.iter().map(|outlet| outlet.due(self.looked.get())).min().unwrap_or(NEVER)
    }

    /// Sends all spans that there are, for at most this time. The shards have ended.
    pub async fn finish(&self, patience: Duration) {
        self.look();
        let outlets = self.outlets.borrow().clone();
        outlets.iter().for_each(|outlet| outlet.finish());
        let end = self.reactor.now() + nanos(patience);
        while self.reactor.now() < end && !outlets.iter().all(|outlet| outlet.is_idle()) {
            self.reactor.sleep(LAST_PAUSE).await;
        }
    }
}

/// Runs as long as the reactor.
async fn collect(spans: Rc<Spans>) {
    loop {
        let found = spans.look();
        spans.rest(found).await;
    }
}

#[cfg(test)]
mod tests;
