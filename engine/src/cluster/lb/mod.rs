//! Load balancing: from a request to an endpoint.
//!
//! ```text
//! subset (subset.rs) -> priority, panic (priority.rs) -> locality (level.rs) -> policy (policy.rs, one file each)
//! ```
//!
//! Everything here is made anew when the members or their health change and is fixed in between, but for the state of the
//! policies. A pick does not allocate. All of it is Envoy's but for the random policy, which respects weights.

mod bounded_load;
mod edf;
mod least_request;
mod level;
mod maglev;
mod peak_ewma;
mod policy;
mod priority;
mod random;
mod ring_hash;
mod round_robin;
mod sample;
mod slow_start;
mod subset;
#[cfg(test)]
mod tests;

use super::Endpoint;
use crate::base::clock::Nanos;
use crate::base::random::Random;
use crate::stats::ClusterStats;
use level::Levels;
use policy::{LoadBalancer, Member};
use ringway_config::model;
use std::rc::Rc;
use std::sync::Arc;
use subset::Subsets;

/// What a request asks for.
#[derive(Clone, Copy, Default)]
pub struct PickContext<'a> {
    /// For the consistent hashes; without one, or with another policy, chance decides.
    pub hash: Option<u64>,
    /// The subset to pick from, sorted by key.
    pub metadata_match: &'a [(String, String)],
    /// Endpoints to avoid: those of the tries before.
    pub tried: &'a [Rc<Endpoint>],
    /// Further picks at most to find one that is not in `tried`; the last one counts whatever it is (Envoy:
    /// host_selection_retry_max_attempts).
    pub max_attempts: u32,
    /// Priorities to leave out while others have capacity (Envoy: previous_priorities).
    pub excluded_priorities: &'a [u32],
}

/// No endpoint may be used: none healthy, none in the subset, or none at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoHost;

/// What a balancer is made from.
#[derive(Clone, Copy)]
struct Build<'a> {
    policy: &'a model::LbPolicy,
    options: &'a model::LoadBalancing,
    endpoints: &'a [Rc<Endpoint>],
    /// Of all endpoints; `None`: there are none.
    last_priority: Option<u32>,
    /// Whether any endpoint gets less than its weight now.
    slow: bool,
    random: &'a Random,
    now: Nanos,
}

/// One pick on its way down.
#[derive(Clone, Copy)]
struct Picking<'a> {
    context: &'a PickContext<'a>,
    endpoints: &'a [Rc<Endpoint>],
    random: &'a Random,
    now: Nanos,
    stats: &'a ClusterStats,
    /// The request's or a random one. Only for the consistent hashes.
    hash: u64,
    /// Picks for this request before this one.
    attempt: u32,
}

/// How one cluster's requests are spread, on one shard. Endpoints are indexes into the list it was made from.
pub enum Balancer {
    Whole(Levels),
    Subsets(Subsets),
}

impl Balancer {
    /// For a cluster without endpoints.
    pub fn empty() -> Self {
        Self::Whole(Levels::default())
    }

    /// `endpoints` have noted their health. Facts of the process go into `stats`, where this shard tells them.
    pub fn new(
        config: &model::Cluster,
        endpoints: &[Rc<Endpoint>],
        random: &Random,
        now: Nanos,
        before: &Self,
        stats: Option<&ClusterStats>,
    ) -> Self {
        let build = Build {
            policy: &config.lb_policy,
            options: &config.load_balancing,
            endpoints,
            last_priority: endpoints.iter().map(|endpoint| endpoint.host.spec.priority).max(),
            slow: slow_start::is_any_slow(&config.lb_policy, endpoints, now),
            random,
            now,
        };
        let this = match &config.load_balancing.subsets {
            None => Self::Whole(Levels::all(&build)),
            Some(subsets) => Self::Subsets(Subsets::new(&build, subsets)),
        };
        if let Some(stats) = stats {
            match (&this, before) {
                (Self::Whole(levels), _) => levels.tell(stats),
                (Self::Subsets(now), Self::Subsets(before)) => now.tell(Some(before), stats),
                (Self::Subsets(now), Self::Whole(_)) => now.tell(None, stats),
            }
        }
        this
    }

    /// Roughly what it cost to make this, in nanoseconds.
    pub fn cost(&self) -> u64 {
        match self {
            Self::Whole(levels) => levels.cost(),
            Self::Subsets(subsets) => subsets.cost(),
        }
    }

    /// An index into the endpoints that this was made from, or `None` where none may be used.
    pub fn pick(
        &self,
        endpoints: &[Rc<Endpoint>],
        context: &PickContext<'_>,
        random: &Random,
        now: Nanos,
        stats: &ClusterStats,
    ) -> Option<u32> {
        let picking = Picking { context, endpoints, random, now, stats, hash: 0, attempt: 0 };
        match self {
            Self::Whole(levels) => levels.pick(picking),
            Self::Subsets(subsets) => subsets.pick(picking),
        }
    }
}

impl Picking<'_> {
    fn was_tried(&self, index: u32) -> bool {
        let host = &self.endpoints[index as usize].host;
        // By name: when discovery says something new of a host between two tries, it is another object.
        self.context.tried.iter().any(|tried| Arc::ptr_eq(&tried.host, host) || *tried.name == *host.name)
    }
}
