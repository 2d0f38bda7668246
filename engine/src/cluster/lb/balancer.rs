//! The load balancer of one cluster on one shard: over all endpoints, or over subsets.

use super::hashed::Workshop;
use super::level::Levels;
use super::member::Build;
use super::pick::{PickContext, Picking};
use super::slow_start;
use super::subset::Subsets;
use crate::base::clock::Nanos;
use crate::base::random::Random;
use crate::cluster::Endpoint;
use crate::stats::ClusterStats;
use ringway_config::model;
use std::rc::Rc;
use std::sync::Arc;

/// Spreads one cluster's requests on one shard. Endpoints are indexes into the list from which it was made.
pub enum Balancer {
    Whole(Levels),
    Subsets(Subsets),
}

impl Balancer {
    /// For a cluster without endpoints.
    pub fn empty() -> Self {
        Self::Whole(Levels::default())
    }

    /// `endpoints` have noted their health. `stats` is for facts of the process, and `None` on the shards that do not
    /// write them.
    pub fn new(
        config: &model::Cluster,
        endpoints: &[Rc<Endpoint>],
        random: &Random,
        now: Nanos,
        before: &Self,
        stats: Option<&Arc<ClusterStats>>,
        workshop: Workshop<'_>,
    ) -> Self {
        let build = Build {
            policy: &config.lb_policy,
            options: &config.load_balancing,
            endpoints,
            last_priority: endpoints.iter().map(|endpoint| endpoint.host.spec.priority).max(),
            slow: slow_start::is_any_slow(&config.lb_policy, endpoints, now),
            random,
            now,
            workshop,
            place: 0,
        };
        let this = match &config.load_balancing.subsets {
            None => Self::Whole(Levels::all(&build)),
            Some(subsets) => Self::Subsets(Subsets::new(&build, subsets)),
        };
        if let Some(stats) = stats {
            match (&this, before) {
                (Self::Whole(levels), _) => levels.show(stats),
                (Self::Subsets(now), Self::Subsets(before)) => now.show(Some(before), stats),
                (Self::Subsets(now), Self::Whole(_)) => now.show(None, stats),
            }
        }
        this
    }

    /// Roughly the time it took to make this, in nanoseconds.
    pub fn cost(&self) -> u64 {
        match self {
            Self::Whole(levels) => levels.cost(),
            Self::Subsets(subsets) => subsets.cost(),
        }
    }

    /// Whether any requests go to endpoints regardless of their health.
    pub fn is_in_panic(&self) -> bool {
        match self {
            Self::Whole(levels) => levels.is_in_panic(),
            Self::Subsets(subsets) => subsets.is_in_panic(),
        }
    }

    /// An index into the endpoints from which this was made; `None` where none of them may be used.
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

    /// Whether there is no endpoint in what `context` asks for, healthy or not.
    pub fn is_outside(&self, context: &PickContext<'_>) -> bool {
        match self {
            Self::Whole(_) => false,
            Self::Subsets(subsets) => subsets.is_outside(context.metadata_match),
        }
    }
}
