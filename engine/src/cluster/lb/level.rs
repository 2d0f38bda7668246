//! The hosts of a cluster or subset by priority, and those of one priority by health and locality (Envoy:
//! ZoneAwareLoadBalancerBase and ThreadAwareLoadBalancerBase).

use super::edf::Edf;
use super::member::{Build, Member};
use super::pick::Picking;
use super::policy::LoadBalancer;
use super::priority::{Availability, Priorities};
use crate::cluster::Health;
use crate::cluster::counts::Counts;
use crate::stats::ClusterStats;
use std::sync::Arc;

/// The panic threshold that only a priority without any usable host is below.
const WITHOUT_USABLE: f64 = f64::MIN_POSITIVE;

/// All priorities. Without a priority nothing is picked.
#[derive(Default)]
pub struct Levels {
    levels: Vec<Level>,
    priorities: Option<Priorities>,
    /// The place, where all requests go to the same one.
    only: Option<(usize, Availability)>,
    by_hash: bool,
    fail_on_panic: bool,
    in_panic: bool,
    members: usize,
}

impl Levels {
    /// Over all endpoints.
    pub(super) fn all(build: &Build<'_>) -> Self {
        Self::new(build, &(0..build.endpoints.len() as u32).collect::<Vec<_>>())
    }

    /// Over those whose indexes are `members`.
    pub(super) fn new(build: &Build<'_>, members: &[u32]) -> Self {
        let Some(last) = build.last_priority else { return Self::default() };
        let mut by_priority = vec![Vec::new(); last as usize + 1];
        for member in members {
            by_priority[build.endpoints[*member as usize].host.spec.priority as usize].push(*member);
        }
        let counts: Vec<_> = by_priority.iter().map(|members| count(build, members)).collect();
        let options = build.options;
        let panic_threshold = options.panic_threshold.unwrap_or(WITHOUT_USABLE);
        let priorities = Priorities::new(&counts, options.overprovisioning_factor, panic_threshold);
        let level = |(priority, (members, panic)): (usize, (&Vec<u32>, &bool))| {
            Level::new(&build.at(priority as u64), members, *panic)
        };
        Self {
            levels: by_priority.iter().zip(&priorities.panic).enumerate().map(level).collect(),
            in_panic: !members.is_empty() && priorities.is_load_in_panic(),
            only: priorities.loads.only(),
            priorities: Some(priorities),
            by_hash: LoadBalancer::is_by_hash(build.policy),
            fail_on_panic: options.fail_traffic_on_panic,
            members: members.len(),
        }
    }

    pub(super) fn cost(&self) -> u64 {
        /// Nanoseconds for each member, roughly measured. Tables are background work.
        const MEMBER: u64 = 100;
        self.members as u64 * MEMBER
    }

    /// Whether there is no endpoint, healthy or not.
    pub(super) fn is_empty(&self) -> bool {
        self.members == 0
    }

    /// Whether requests go to a priority that ignores health.
    pub(super) fn is_in_panic(&self) -> bool {
        self.in_panic
    }

    pub(super) fn show(&self, stats: &Arc<ClusterStats>) {
        if let Some(Level { healthy: Source::Flat(balancer), .. }) = self.levels.first() {
            balancer.show(stats);
        }
    }

    /// The endpoint for a request: one that was not tried before, where the allowed attempts find one.
    pub(super) fn pick(&self, mut picking: Picking<'_>) -> Option<u32> {
        let priorities = self.priorities.as_ref()?;
        if self.by_hash {
            picking.hash = picking.context.hash.unwrap_or_else(|| picking.random.next_u64());
        }
        loop {
            let picked = self.pick_once(priorities, &picking)?;
            if picking.context.tried.is_empty()
                || picking.attempt >= picking.context.max_attempts
                || !picking.was_tried(picked)
            {
                return Some(picked);
            }
            picking.attempt += 1;
        }
    }

    fn pick_once(&self, priorities: &Priorities, picking: &Picking<'_>) -> Option<u32> {
        let excluded = picking.context.excluded_priorities;
        let place = || if self.by_hash { picking.hash } else { picking.random.next_u64() };
        let (priority, availability) = match self.only {
            _ if !excluded.is_empty() => priorities.without(excluded).choose(place()),
            Some(only) => only,
            None => priorities.loads.choose(place()),
        };
        let level = &self.levels[priority];
        if priorities.panic[priority] {
            picking.stats.lb_healthy_panic.inc();
            return if self.fail_on_panic { None } else { level.healthy.pick(picking) };
        }
        match availability {
            Availability::Healthy => level.healthy.pick(picking),
            Availability::Degraded => level.degraded.pick(picking),
        }
    }
}

fn count(build: &Build<'_>, members: &[u32]) -> Counts {
    let mut counts = Counts::default();
    members.iter().for_each(|member| counts.add(build.endpoints[*member as usize].flags()));
    counts
}

/// One priority. In panic, `healthy` holds all hosts.
struct Level {
    healthy: Source,
    degraded: Source,
}

impl Level {
    fn new(build: &Build<'_>, members: &[u32], panic: bool) -> Self {
        if panic {
            // Localities are ignored as well.
            return Self { healthy: Source::flat(&build.at(0), members, members.to_vec()), degraded: Source::Empty };
        }
        let source = |health| {
            let is = |member: &u32| build.endpoints[*member as usize].flags().health() == health;
            let eligible: Vec<u32> = members.iter().copied().filter(is).collect();
            let build = build.at(u64::from(health == Health::Degraded));
            match &build.options.locality_weights {
                Some(weights) => Source::by_locality(&build, members, eligible, weights),
                None => Source::flat(&build, members, eligible),
            }
        };
        Self { healthy: source(Health::Healthy), degraded: source(Health::Degraded) }
    }
}

/// Hosts to pick from.
enum Source {
    Empty,
    Flat(LoadBalancer),
    /// A locality by its weight, then a host by the policy.
    Localities {
        turns: Edf,
        localities: Vec<(f64, LoadBalancer)>,
    },
}

impl Source {
    /// Over `eligible`, which are part of `members`.
    fn flat(build: &Build<'_>, members: &[u32], eligible: Vec<u32>) -> Self {
        if eligible.is_empty() {
            return Self::Empty;
        }
        let everyone = (members.len() > eligible.len()).then(|| weighted(build, members));
        Self::Flat(LoadBalancer::new(build, weighted(build, &eligible), everyone))
    }

    /// Over `eligible`, which are part of `members`, with a share for each locality (Envoy: locality weighted load
    /// balancing). A locality without a weight gets nothing; when no eligible host has one, localities are ignored.
    fn by_locality(build: &Build<'_>, members: &[u32], eligible: Vec<u32>, weights: &[(String, u32)]) -> Self {
        let endpoint = |index: &u32| &build.endpoints[*index as usize];
        let mut localities = Vec::new();
        for (name, weight) in weights.iter().filter(|(_, weight)| *weight > 0) {
            let of = |index: &&u32| *endpoint(index).host.spec.locality == **name;
            let chosen: Vec<u32> = eligible.iter().filter(of).copied().collect();
            let present = members.iter().filter(of).filter(|index| !endpoint(index).flags().is_excluded()).count();
            if present > 0 && !chosen.is_empty() {
                let available = chosen.len() as f64 / present as f64;
                let capacity = available * f64::from(build.options.overprovisioning_factor) / 100.0;
                localities.push((f64::from(*weight), capacity.min(1.0), chosen));
            }
        }
        if localities.is_empty() {
            return Self::flat(build, members, eligible);
        }
        if LoadBalancer::is_by_hash(build.policy) {
            return Self::Flat(LoadBalancer::new(build, shared_out(build, &localities), None));
        }
        let balancer = |(weight, capacity, chosen): (f64, f64, Vec<u32>)| {
            (weight * capacity, LoadBalancer::new(build, weighted(build, &chosen), None))
        };
        let localities: Vec<_> = localities.into_iter().map(balancer).collect();
        let turns = Edf::new(localities.iter().enumerate().map(|(at, (weight, _))| (at as u32, *weight)), build.random);
        Self::Localities { turns, localities }
    }

    fn pick(&self, picking: &Picking<'_>) -> Option<u32> {
        match self {
            Self::Empty => None,
            Self::Flat(balancer) => Some(balancer.pick(picking)),
            Self::Localities { turns, localities } => {
                let locality = turns.pick(|at| localities[at as usize].0);
                Some(localities[locality as usize].1.pick(picking))
            }
        }
    }
}

fn weighted(build: &Build<'_>, members: &[u32]) -> Vec<Member> {
    let weight = |index: u32| f64::from(build.endpoints[index as usize].host.spec.weight);
    members.iter().map(|index| Member { index: *index, weight: weight(*index) }).collect()
}

/// A consistent hash covers all localities at once: each host has a share of its locality's share (Envoy:
/// normalizeLocalityWeights, which ignores how much of a locality is healthy).
fn shared_out(build: &Build<'_>, localities: &[(f64, f64, Vec<u32>)]) -> Vec<Member> {
    let mut members = Vec::new();
    for (locality_weight, _, chosen) in localities {
        let weight = |index: u32| f64::from(build.endpoints[index as usize].host.spec.weight);
        let sum: f64 = chosen.iter().map(|index| weight(*index)).sum();
        let share = |index: &u32| Member { index: *index, weight: locality_weight * weight(*index) / sum };
        members.extend(chosen.iter().map(share));
    }
    members.sort_by_key(|member| member.index);
    members
}
