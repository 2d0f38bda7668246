//! What the process tells other systems about itself, from a thread of its own with a small ring.
//!
//! Nothing here is on the path of a request: what shards have to tell comes in bounded rings, which this thread looks into by
//! timer, and what is sent goes to clusters as this thread sees them ([`Clusters`]).

mod clusters;
mod courier;
mod json;
mod logs;
mod otlp;
mod spans;
mod stats;
#[cfg(test)]
mod testing;
mod verdict;
mod wire;

pub use clusters::Clusters;
pub use courier::{Courier, Destination, Fate, Tally};
pub use spans::{SpanBatch, Spans};
pub use verdict::Protocol;
pub use wire::Fields;

use crate::net::Network;
use crate::ring::Reactor;
use crate::shard::Plan;
use crate::stats::Registry;
use logs::Logs;
use ringway_config::model::Config;
use stats::Stats;
use std::cell::OnceCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// All that is exported.
#[derive(Clone)]
pub struct Telemetry {
    reactor: Rc<Reactor>,
    registry: Arc<Registry>,
    clusters: Rc<Clusters>,
    stats: Rc<Stats>,
    logs: Rc<Logs>,
    /// From the first configuration on.
    spans: Rc<OnceCell<Rc<Spans>>>,
}

/// What is exported, each with whether a configuration has it.
const SERVICES: &[fn(&Config) -> bool] = &[|config| config.stats.is_some(), spans::is_needed, Logs::is_needed];

/// How long the last spans and access logs may take at the end of the process. It leaves time for what comes after them.
const PATIENCE: Duration = Duration::from_millis(750);

impl Telemetry {
    /// Whether a configuration has something that exports.
    pub fn is_needed(config: &Config) -> bool {
        SERVICES.iter().any(|has| has(config))
    }

    pub fn new(reactor: &Rc<Reactor>, network: Network, registry: Arc<Registry>) -> Self {
        let clusters = Clusters::new(reactor, network, registry.clone());
        Self {
            reactor: reactor.clone(),
            stats: Stats::new(reactor, &clusters, registry.clone()),
            logs: Logs::new(reactor, &clusters, registry.clone()),
            clusters,
            registry,
            spans: Rc::default(),
        }
    }

    /// Switches over to a new configuration.
    pub fn apply(&self, plan: &Arc<Plan>) {
        self.clusters.apply(&plan.clusters);
        self.stats.apply(plan.config.stats.as_ref());
        let start = || Spans::start(&self.reactor, &self.clusters, &self.registry, &plan.tracers);
        self.spans.get_or_init(start).follow();
        self.logs.apply(Logs::is_needed(&plan.config), &plan.log_queues);
    }

    /// Another thread has woken this one: shards may have something to tell.
    pub fn wake(&self) {
        if let Some(spans) = self.spans.get() {
            spans.wake();
        }
    }

    /// Sends all that there is to tell.
    pub async fn finish(&self) {
        let until = self.reactor.now() + PATIENCE.as_nanos() as u64;
        // They are under way while spans are waited for.
        self.logs.look();
        if let Some(spans) = self.spans.get() {
            spans.finish(PATIENCE).await;
        }
        self.logs.finish(until).await;
        // Last, since they count the others.
        self.stats.finish().await;
    }
}
