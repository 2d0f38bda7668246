//! The cells behind the limits, and how a shard gets by without summing them up for each request.
//!
//! Each limit is far or near. While it is far, a shard takes a *lease*: it publishes how many it may use at most, once
//! the leases of all shards together fit into half of the limit, and stays below its lease without looking at other shards.
//! When leases no longer fit, the limit becomes near, which ends all leases, and every shard sums what is really used
//! before each step. So overshoot happens only in the near phase, where two shards may see the last free place at the
//! same moment: at most one too many for each shard but the first.
//!
//! A phase has a number, even for far and odd for near, and a lease is of one phase. Any shard may end a far phase (the
//! store is the same from every shard); far phases are begun only under the lock, with a number never used before, so
//! that no old lease comes to life again.
//!
//! A place that one shard gives up for another ([`super::claims`]) moves without a store: the giver never counts it down,
//! and the taker, which does not count it up, does that in the end. So a shard's number may be too high for good and another's
//! below zero, and the sum is right at every moment.

use super::budget::RateCells;
use super::claims::Desk;
use super::{Overflow, Priority, Resource};
use crate::base::clock::Nanos;
use crate::stats::{PerShard, ShardCopy};
use ringway_config::model::{CircuitBreakers, RetryBudget};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

const SLOTS: usize = 2 * Resource::ALL.len();

fn slot(resource: Resource, priority: Priority) -> usize {
    Resource::ALL.len() * priority as usize + resource as usize
}

/// What one shard uses, and its leases: written by that shard alone.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(super) struct UseCells {
    used: [AtomicI32; SLOTS],
    /// Phase in the upper half, the most that may be used in the lower.
    leases: [AtomicU64; SLOTS],
    /// Connections of each priority that the shard would give up for a neighbour.
    spare: [AtomicU32; 2],
}

impl UseCells {
    fn used(&self, slot: usize) -> i32 {
        self.used[slot].load(Relaxed)
    }

    pub(super) fn spare(&self, priority: Priority) -> u32 {
        self.spare[priority as usize].load(Relaxed)
    }

    /// What may be used in `phase` without asking other shards.
    /// Without a lease nothing may, not even where the number is below zero.
    fn lease(&self, slot: usize, phase: u32) -> i32 {
        let lease = self.leases[slot].load(Relaxed);
        if (lease >> 32) as u32 == phase { lease as u32 as i32 } else { i32::MIN }
    }
}

/// How much of a limit is used, for statistics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    pub used: u32,
    /// `None`: no limit. For a retry budget, what it allows now.
    pub limit: Option<u32>,
}

impl Usage {
    /// Whether one more would be refused.
    pub fn is_open(self) -> bool {
        self.limit.is_some_and(|limit| self.used >= limit)
    }

    /// How many more would be taken.
    pub fn remaining(self) -> u32 {
        self.limit.map_or(u32::MAX, |limit| limit.saturating_sub(self.used))
    }
}

/// One cluster's limits, as all shards share them.
#[derive(Debug)]
pub struct SharedLimits {
    cluster: String,
    breakers: [CircuitBreakers; 2],
    /// For each priority: some limit needs the numbers.
    counts: [bool; 2],
    phases: Phases,
    cells: Arc<PerShard<UseCells>>,
    /// Requests and retries of the last seconds.
    rates: Arc<PerShard<RateCells>>,
    /// For each priority: the configuration has neither `max_retries` nor a retry budget.
    default_budget: [bool; 2],
    /// When the default budget was last over, plus one.
    budget_over: AtomicU64,
    /// Where shards ask each other for connections.
    pub(super) desk: Desk,
    /// The last far phase of each slot.
    far: Mutex<[u32; SLOTS]>,
    origin: Instant,
    /// Milliseconds after `origin`, plus one, of the last line in the log about each kind of overflow.
    logged: [AtomicU64; Overflow::COUNT],
}

/// Apart from everything that is written often.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Phases([AtomicU32; SLOTS]);

/// The first phase: no shard has a lease, and each step is summed.
const FIRST_NEAR: u32 = 1;

fn is_far(phase: u32) -> bool {
    phase.is_multiple_of(2)
}

/// Without a retry refused for this time, the default budget's shortage is over.
const BUDGET_QUIET: Nanos = 10_000_000_000;

/// Between two lines of the log about one limit.
const LOG_INTERVAL_MS: u64 = 1000;

impl SharedLimits {
    pub fn new(cluster: &str, breakers: &[CircuitBreakers; 2]) -> Arc<Self> {
        let counts = |breakers: &CircuitBreakers| *breakers != CircuitBreakers::default();
        Arc::new(Self {
            cluster: cluster.into(),
            counts: breakers.each_ref().map(counts),
            breakers: breakers.clone(),
            phases: Phases([const { AtomicU32::new(FIRST_NEAR) }; SLOTS]),
            cells: Arc::default(),
            rates: Arc::default(),
            default_budget: breakers.each_ref().map(|it| it.max_retries.is_none() && it.retry_budget.is_none()),
            budget_over: AtomicU64::new(0),
            desk: Desk::default(),
            far: Mutex::default(),
            origin: Instant::now(),
            logged: Default::default(),
        })
    }

    /// Whether any limit is set.
    pub fn is_limited(&self) -> bool {
        self.counts.contains(&true)
    }

    /// Whether connections are limited, at whichever priority.
    pub fn limits_connections(&self) -> bool {
        let limits =
            |breakers: &CircuitBreakers| breakers.max_connections.or(breakers.max_connections_per_host).is_some();
        self.breakers.iter().any(limits)
    }

    pub fn breakers(&self, priority: Priority) -> &CircuitBreakers {
        &self.breakers[priority as usize]
    }

    #[inline]
    pub(super) fn has_default_budget(&self, priority: Priority) -> bool {
        self.default_budget[priority as usize]
    }

    pub(super) fn rates(&self) -> &Arc<PerShard<RateCells>> {
        &self.rates
    }

    /// What each shard would give up, for that shard's number.
    pub(super) fn each_spare(&self, priority: Priority, mut show: impl FnMut(usize, u32)) {
        self.cells.each(|shard, cells| show(shard, cells.spare(priority)));
    }

    #[inline]
    pub(super) fn counts(&self, priority: Priority) -> bool {
        self.counts[priority as usize]
    }

    /// For statistics.
    pub fn usage(&self, resource: Resource, priority: Priority) -> Usage {
        let used = |resource| self.cells.sum(|cells| i64::from(cells.used(slot(resource, priority)))).max(0) as u32;
        let breakers = self.breakers(priority);
        let limit = match (&breakers.retry_budget, resource) {
            (Some(budget), Resource::Retries) => Some(budget_now(budget, used(Resource::Requests))),
            _ => resource.limit(breakers),
        };
        Usage { used: used(resource), limit }
    }

    /// Begin far phases again where little is used: a burst that is over no longer costs a sum for each request. To be
    /// called now and then, off the request path.
    pub fn relax(&self) {
        for priority in Priority::ALL {
            for resource in Resource::ALL {
                let Some(limit) = resource.limit(self.breakers(priority)) else { continue };
                let is_near = !is_far(self.phases.0[slot(resource, priority)].load(Relaxed));
                if is_near && self.usage(resource, priority).used < limit / 4 {
                    self.begin_far(slot(resource, priority));
                }
            }
        }
    }

    pub(super) fn join(&self, shard: usize) -> Lessee {
        let own = self.cells.join(shard);
        // Leases were measured for fewer shards.
        (0..SLOTS).for_each(|slot| self.begin_far(slot));
        Lessee { own }
    }

    fn begin_far(&self, slot: usize) {
        let mut far = self.far.lock().unwrap_or_else(PoisonError::into_inner);
        // Cells that never had a lease hold the phase 0.
        far[slot] = far[slot].wrapping_add(2).max(2);
        self.phases.0[slot].store(far[slot], SeqCst);
    }

    #[cfg(test)]
    pub(super) fn is_far(&self, resource: Resource, priority: Priority) -> bool {
        is_far(self.phases.0[slot(resource, priority)].load(Relaxed))
    }

    /// The default retry budget is over: said when that begins, and not again while it lasts.
    pub(super) fn log_default_budget(&self, now: Nanos) {
        let before = self.budget_over.load(Relaxed);
        // Two shards in the same moment may both write a line.
        self.budget_over.store(now + 1, Relaxed);
        if before == 0 || now > before + BUDGET_QUIET {
            tracing::warn!(
                target: "ringway::limits",
                cluster = %self.cluster,
                key = Overflow::DefaultRetryBudget(Priority::Default).config_key(),
                "the default retry budget is used up: no retries beyond 20 % of the requests of the last 10 s, and 3 a second; \
                 cluster.{}.upstream_rq_retry_overflow counts those not made",
                self.cluster,
            );
        }
    }

    pub(super) fn log_overflow(&self, overflow: Overflow) {
        let now = self.origin.elapsed().as_millis() as u64 + 1;
        let last = &self.logged[overflow.index()];
        let before = last.load(Relaxed);
        if before != 0 && now < before + LOG_INTERVAL_MS {
            return;
        }
        // Two shards in the same moment may both write a line.
        last.store(now, Relaxed);
        tracing::warn!(
            target: "ringway::limits",
            cluster = %self.cluster,
            key = overflow.config_key(),
            limit = overflow.limit(self.breakers(overflow.priority())),
            "limit reached; cluster.{}.{} counts how often", self.cluster, overflow.statistic(),
        );
    }
}

/// What a retry budget allows while `requests` are in flight.
pub(super) fn budget_now(budget: &RetryBudget, requests: u32) -> u32 {
    let share = u64::from(requests) * u64::from(budget.budget_per_10_000) / 10_000;
    u32::try_from(share).unwrap_or(u32::MAX).max(budget.min_retry_concurrency)
}

/// A shard's hold on the cells.
pub(super) struct Lessee {
    own: ShardCopy<UseCells>,
}

impl Lessee {
    /// One more, if that stays within the limit.
    #[inline]
    pub(super) fn try_take(&self, shared: &SharedLimits, resource: Resource, priority: Priority, limit: u32) -> bool {
        let slot = slot(resource, priority);
        let phase = shared.phases.0[slot].load(Relaxed);
        if is_far(phase) && self.own.used(slot) < self.own.lease(slot, phase) || self.ask(shared, slot, phase, limit) {
            self.take(resource, priority);
            return true;
        }
        false
    }

    /// The same without a lease: for limits that move.
    pub(super) fn try_take_exactly(&self, resource: Resource, priority: Priority, limit: u32) -> bool {
        let fits = self.used(resource, priority) < limit;
        if fits {
            self.take(resource, priority);
        }
        fits
    }

    /// One more, whatever the limit.
    #[inline]
    pub(super) fn take(&self, resource: Resource, priority: Priority) {
        let used = &self.own.used[slot(resource, priority)];
        used.store(used.load(Relaxed).wrapping_add(1), Relaxed);
    }

    #[inline]
    pub(super) fn give(&self, resource: Resource, priority: Priority) {
        let used = &self.own.used[slot(resource, priority)];
        used.store(used.load(Relaxed).wrapping_sub(1), Relaxed);
    }

    /// `change` more connections of this priority are spare, or fewer.
    #[inline]
    pub(super) fn spare(&self, priority: Priority, change: i32) {
        let spare = &self.own.spare[priority as usize];
        spare.store(spare.load(Relaxed).wrapping_add_signed(change), Relaxed);
    }

    /// In use on all shards.
    pub(super) fn used(&self, resource: Resource, priority: Priority) -> u32 {
        self.sum(|cells| cells.used(slot(resource, priority))).max(0) as u32
    }

    fn sum(&self, read: impl Fn(&UseCells) -> i32) -> i64 {
        self.own.sum(|cells| i64::from(read(cells)))
    }

    /// Try for a longer lease; failing that, look at what is really used.
    #[cold]
    fn ask(&self, shared: &SharedLimits, slot: usize, phase: u32, limit: u32) -> bool {
        if is_far(phase) {
            let step = i64::from(limit / 8) / shared.cells.count() as i64;
            let held = self.sum(|cells| cells.used(slot).max(cells.lease(slot, phase)));
            let used = self.own.used(slot);
            let others = held - i64::from(used.max(self.own.lease(slot, phase)));
            let lease = i64::from(used) + step;
            if step > 0
                && others + lease <= i64::from(limit / 2)
                && let Ok(lease) = i32::try_from(lease)
            {
                self.own.leases[slot].store(u64::from(phase) << 32 | u64::from(lease as u32), Relaxed);
                return true;
            }
            shared.phases.0[slot].store(phase | 1, SeqCst);
        }
        self.sum(|cells| cells.used(slot)) < i64::from(limit)
    }
}
