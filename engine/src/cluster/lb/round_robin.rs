//! Weighted round robin: endpoints take turns. Heavy ones come more often, and their turns are spread over the round.

use super::edf::Edf;
use super::member::{Build, Member};
use super::pick::Picking;
use super::slow_start;
use ringway_config::model::SlowStart;
use std::cell::Cell;

pub enum RoundRobin {
    /// All weights are equal: a counter is enough.
    Equal {
        members: Box<[u32]>,
        next: Cell<usize>,
    },
    Weighted {
        turns: Edf,
        slow_start: Option<SlowStart>,
    },
}

impl RoundRobin {
    pub(super) fn new(build: &Build<'_>, members: &[Member], slow_start: &Option<SlowStart>) -> Self {
        if !build.slow && members.iter().all(|member| member.weight == members[0].weight) {
            let next = build.random.below(members.len() as u64) as usize;
            return Self::Equal { members: members.iter().map(|member| member.index).collect(), next: next.into() };
        }
        let factor = |index: u32| match slow_start {
            Some(slow_start) => slow_start::factor(slow_start, &build.endpoints[index as usize], build.now),
            None => 1.0,
        };
        let weights = members.iter().map(|member| (member.index, member.weight * factor(member.index)));
        Self::Weighted { turns: Edf::new(weights, build.random), slow_start: slow_start.clone() }
    }

    pub(super) fn pick(&self, picking: &Picking<'_>) -> u32 {
        match self {
            Self::Equal { members, next } => {
                let now = next.get();
                next.set(if now + 1 == members.len() { 0 } else { now + 1 });
                members[now]
            }
            Self::Weighted { turns, slow_start } => turns.pick(|index| {
                let endpoint = &picking.endpoints[index as usize];
                let weight = f64::from(endpoint.host.spec.weight);
                match slow_start {
                    Some(slow_start) => weight * slow_start::factor(slow_start, endpoint, picking.now),
                    None => weight,
                }
            }),
        }
    }
}
