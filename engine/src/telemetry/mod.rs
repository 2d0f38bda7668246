//! What the process tells other systems about itself, from a thread of its own with a small ring.
//!
//! Nothing here is on the path of a request: what shards have to tell comes in bounded rings, which this thread looks into by
//! timer, and what is sent goes to clusters as this thread sees them ([`Clusters`]).

mod clusters;
mod courier;
mod json;
mod otlp;
mod spans;
mod stats;
#[cfg(test)]
mod testing;
mod verdict;
mod wire;

pub use clusters::Clusters;
pub use courier::{Courier, Destination, Fate, Tally};
pub use spans::Spans;
pub use verdict::Protocol;
pub use wire::Fields;

use crate::net::Network;
use crate::ring::Reactor;
use crate::shard::Plan;
use crate::stats::Registry;
use ringway_config::model::Config;
use stats::Stats;
use std::rc::Rc;
use std::sync::Arc;

/// All that is exported.
#[derive(Clone)]
pub struct Telemetry {
    clusters: Rc<Clusters>,
    stats: Rc<Stats>,
}

/// What is exported, each with whether a configuration has it.
const SERVICES: &[fn(&Config) -> bool] = &[|config| config.stats.is_some()];

impl Telemetry {
    /// Whether a configuration has something that exports.
    pub fn is_needed(config: &Config) -> bool {
        SERVICES.iter().any(|has| has(config))
    }

    pub fn new(reactor: &Rc<Reactor>, network: Network, registry: Arc<Registry>) -> Self {
        let clusters = Clusters::new(reactor, network, registry.clone());
        Self { stats: Stats::new(reactor, &clusters, registry), clusters }
    }

    /// Switches over to a new configuration.
    pub fn apply(&self, plan: &Arc<Plan>) {
        self.clusters.apply(&plan.clusters);
        self.stats.apply(plan.config.stats.as_ref());
    }

    /// Sends all that there is to tell.
    pub async fn finish(&self) {
        self.stats.finish().await;
    }
}
