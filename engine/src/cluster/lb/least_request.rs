//! Least request: the least busy of a few random endpoints, or turns by weight and requests in flight (Envoy:
//! LeastRequestLbConfig). Requests in flight are counted per shard.

use super::edf::Edf;
use super::member::{Build, Member};
use super::pick::Picking;
use super::slow_start;
use crate::base::clock::Nanos;
use crate::cluster::Endpoint;
use ringway_config::model::SlowStart;

pub enum LeastRequest {
    /// All weights are equal: of `choices` random endpoints, the one with the fewest requests in flight. The first two
    /// always differ; in Envoy they may be the same.
    Equal { members: Box<[u32]>, choices: u32 },
    /// Turns by the weight, divided by a power of the requests in flight.
    Weighted { turns: Edf, bias: f64, slow_start: Option<SlowStart> },
}

impl LeastRequest {
    pub(super) fn new(
        build: &Build<'_>,
        members: &[Member],
        choices: u32,
        bias: f64,
        slow_start: &Option<SlowStart>,
    ) -> Self {
        if !build.slow && members.iter().all(|member| member.weight == members[0].weight) {
            return Self::Equal { members: members.iter().map(|member| member.index).collect(), choices };
        }
        let weights = members.iter().map(|member| {
            let endpoint = &build.endpoints[member.index as usize];
            (member.index, weight(endpoint, bias, slow_start, build.now))
        });
        Self::Weighted { turns: Edf::new(weights, build.random), bias, slow_start: slow_start.clone() }
    }

    pub(super) fn pick(&self, picking: &Picking<'_>) -> u32 {
        match self {
            Self::Equal { members, choices } => pick_equal(members, *choices, picking),
            Self::Weighted { turns, bias, slow_start } => {
                turns.pick(|index| weight(&picking.endpoints[index as usize], *bias, slow_start, picking.now))
            }
        }
    }
}

fn pick_equal(members: &[u32], choices: u32, picking: &Picking<'_>) -> u32 {
    let count = members.len();
    let active = |index: u32| picking.endpoints[index as usize].active();
    let first = picking.random.below(count as u64) as usize;
    let mut best = members[first];
    if count == 1 {
        return best;
    }
    let mut fewest = active(best);
    for _ in 1..choices {
        let other = (first + 1 + picking.random.below(count as u64 - 1) as usize) % count;
        let busy = active(members[other]);
        if busy < fewest {
            (best, fewest) = (members[other], busy);
        }
    }
    best
}

/// With a large bias, an endpoint's next turn must still come.
const LEAST: f64 = 1e-6;

fn weight(endpoint: &Endpoint, bias: f64, slow_start: &Option<SlowStart>, now: Nanos) -> f64 {
    let weight = f64::from(endpoint.host.spec.weight);
    let busy = f64::from(endpoint.active()) + 1.0;
    let divisor = if bias == 1.0 { busy } else { busy.powf(bias) };
    let factor = slow_start.as_ref().map_or(1.0, |slow_start| slow_start::factor(slow_start, endpoint, now));
    (weight / divisor * factor).max(LEAST)
}
