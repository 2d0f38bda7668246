//! The policies behind one enum: each picks one of the hosts from which it was made.

use super::bounded_load::BoundedLoad;
use super::hashed::Hashed;
use super::least_request::LeastRequest;
use super::member::{Build, Member};
use super::peak_ewma::PeakEwma;
use super::pick::Picking;
use super::random::RandomPick;
use super::round_robin::RoundRobin;
use crate::stats::ClusterStats;
use ringway_config::model::LbPolicy;
use std::sync::Arc;

/// A policy with its state on one shard.
pub enum LoadBalancer {
    RoundRobin(RoundRobin),
    LeastRequest(LeastRequest),
    Random(RandomPick),
    Hashed(Hashed, Option<BoundedLoad>),
    PeakEwma(PeakEwma),
}

impl LoadBalancer {
    /// Whether the policy is a consistent hash.
    pub(super) fn is_by_hash(policy: &LbPolicy) -> bool {
        match policy {
            LbPolicy::RingHash { .. } | LbPolicy::Maglev { .. } => true,
            LbPolicy::RoundRobin { .. }
            | LbPolicy::LeastRequest { .. }
            | LbPolicy::Random
            | LbPolicy::PeakEwma { .. } => false,
        }
    }

    /// `members` are not empty and in the order of their indexes. `everyone` is the same with the hosts that may not be used
    /// now; `None` where all may be used.
    pub(super) fn new(build: &Build<'_>, mut members: Vec<Member>, everyone: Option<Vec<Member>>) -> Self {
        if Self::is_by_hash(build.policy) {
            let sum: f64 = members.iter().map(|member| member.weight).sum();
            members.iter_mut().for_each(|member| member.weight /= sum);
        }
        let bounded = || build.options.hash_balance_factor.map(|factor| BoundedLoad::new(factor, &members));
        match build.policy {
            LbPolicy::RoundRobin { slow_start } => Self::RoundRobin(RoundRobin::new(build, &members, slow_start)),
            LbPolicy::LeastRequest { choice_count, active_request_bias, slow_start } => {
                Self::LeastRequest(LeastRequest::new(build, &members, *choice_count, *active_request_bias, slow_start))
            }
            LbPolicy::Random => Self::Random(RandomPick::new(&members)),
            LbPolicy::RingHash { .. } | LbPolicy::Maglev { .. } => {
                let everyone = everyone.as_deref().unwrap_or(&members);
                Self::Hashed(Hashed::new(build, &members, everyone), bounded())
            }
            LbPolicy::PeakEwma { .. } => Self::PeakEwma(PeakEwma::new(&members)),
        }
    }

    /// An index into the cluster's endpoints.
    pub(super) fn pick(&self, picking: &Picking<'_>) -> u32 {
        let bound = |picked, bound: &Option<BoundedLoad>| match bound {
            Some(bound) => bound.apply(picked, picking),
            None => picked,
        };
        match self {
            Self::RoundRobin(policy) => policy.pick(picking),
            Self::LeastRequest(policy) => policy.pick(picking),
            Self::Random(policy) => policy.pick(picking.random),
            Self::Hashed(table, bounded) => bound(table.pick(picking.hash, picking.attempt), bounded),
            Self::PeakEwma(policy) => policy.pick(picking),
        }
    }

    pub(super) fn show(&self, stats: &Arc<ClusterStats>) {
        match self {
            Self::Hashed(table, _) => table.show(stats),
            Self::RoundRobin(_) | Self::LeastRequest(_) | Self::Random(_) | Self::PeakEwma(_) => {}
        }
    }
}
