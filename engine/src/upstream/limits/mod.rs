//! Limits of one cluster (Envoy: circuit breakers): connections, requests, requests that wait for a connection, retries,
//! for each of two priorities, counted over the whole process.
//!
//! Exact to within one per shard, without a lock or an atomic read-modify-write: what a shard uses stands in a cell that
//! only it writes, and each refusal rests on a fresh sum of all cells. [`shared`] says how the sum is avoided
//! while the limit is far.

mod budget;
mod claims;
mod overflow;
mod shared;
#[cfg(test)]
mod tests;

pub use claims::{Asking, Claim, HostPlace, Lacking, Moved, Places};
pub use overflow::Overflow;
pub use shared::{SharedLimits, Usage};

use crate::base::clock::Nanos;
use crate::stats::{ClusterStats, HostStats, ShardCopy};
use budget::Rate;
use ringway_config::model::{self, CircuitBreakers};
use shared::{Lessee, budget_now};
use std::rc::Rc;
use std::sync::Arc;

/// Priority of a route (Envoy: RoutingPriority). Each has limits of its own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    #[default]
    Default,
    High,
}

impl Priority {
    pub const ALL: [Self; 2] = [Self::Default, Self::High];

    /// As in the names of statistics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::High => "high",
        }
    }
}

impl From<model::Priority> for Priority {
    fn from(priority: model::Priority) -> Self {
        match priority {
            model::Priority::Default => Self::Default,
            model::Priority::High => Self::High,
        }
    }
}

/// What is limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    Connections,
    /// Requests that wait for a connection; requests in flight, too.
    PendingRequests,
    Requests,
    Retries,
    /// Copies of requests, of both priorities together.
    Mirrors,
}

impl Resource {
    pub const ALL: [Self; 5] = [Self::Connections, Self::PendingRequests, Self::Requests, Self::Retries, Self::Mirrors];

    fn limit(self, breakers: &CircuitBreakers) -> Option<u32> {
        match self {
            Self::Connections => breakers.max_connections,
            Self::PendingRequests => breakers.max_pending_requests,
            Self::Requests => breakers.max_requests,
            Self::Retries => breakers.max_retries,
            Self::Mirrors => Some(breakers.max_mirrors),
        }
    }
}

/// One shard's side of a cluster's limits.
pub struct ShardLimits {
    shared: Arc<SharedLimits>,
    shard: usize,
    lessee: Lessee,
    /// Requests and retries of the last seconds.
    rate: Rate,
    stats: Arc<ClusterStats>,
}

impl ShardLimits {
    /// `stats` are the shard's cells of the cluster; overflows are counted there.
    pub fn new(shared: &Arc<SharedLimits>, stats: Arc<ClusterStats>, shard: usize) -> Rc<Self> {
        let (lessee, rate) = (shared.join(shard), Rate::join(shared.rates(), shard));
        Rc::new(Self { shared: shared.clone(), shard, lessee, rate, stats })
    }

    /// Room for one more. It is given back when the permit is dropped.
    ///
    /// # Errors
    /// The limit is reached; it has been counted and, at most once a second, logged.
    #[inline]
    pub fn acquire(self: &Rc<Self>, resource: Resource, priority: Priority) -> Result<Permit, Overflow> {
        self.try_acquire(resource, priority).ok_or_else(|| self.overflow(Overflow::of(resource, priority)))
    }

    /// As `acquire`, where there is another way out: that the limit is reached is neither counted nor logged.
    #[inline]
    pub fn try_acquire(self: &Rc<Self>, resource: Resource, priority: Priority) -> Option<Permit> {
        debug_assert!(resource != Resource::Retries, "retries have a budget of their own");
        let Some(limit) = resource.limit(self.shared.breakers(priority)) else {
            if self.shared.counts(priority) {
                self.lessee.take(resource, priority);
                return Some(self.permit(resource, priority));
            }
            return Some(Permit { from: None });
        };
        let taken = self.lessee.try_take(&self.shared, resource, priority, limit);
        taken.then(|| self.permit(resource, priority))
    }

    /// For what has been counted.
    fn permit(self: &Rc<Self>, resource: Resource, priority: Priority) -> Permit {
        Permit { from: Some((self.clone(), resource, priority)) }
    }

    /// A request has come, for the retry budget.
    #[inline]
    pub fn note_request(&self, priority: Priority, now: Nanos) {
        if self.shared.has_default_budget(priority) {
            self.rate.note_request(priority, now);
        }
    }

    /// Room for one more retry: under `max_retries`; or, where there is a retry budget, under its share of the requests in
    /// flight, those that wait for a connection among them; and where neither is written, under a share of the last
    /// seconds' requests. `is_unseen`: no endpoint has seen the request, so a retry is no additional load and needs no share.
    ///
    /// # Errors
    /// As `acquire`.
    pub fn acquire_retry(self: &Rc<Self>, priority: Priority, is_unseen: bool, now: Nanos) -> Result<Permit, Overflow> {
        let breakers = self.shared.breakers(priority);
        let (limit, overflow) = match &breakers.retry_budget {
            Some(budget) => {
                let limit = budget_now(budget, self.lessee.used(Resource::Requests, priority));
                (Some(limit), Overflow::RetryBudget(priority))
            }
            None => (breakers.max_retries, Overflow::Retries(priority)),
        };
        if limit.is_none() {
            if !is_unseen && !self.rate.try_take(priority, now) {
                Overflow::DefaultRetryBudget(priority).count(&self.stats);
                self.shared.log_default_budget(now);
                return Err(Overflow::DefaultRetryBudget(priority));
            }
            self.lessee.take(Resource::Retries, priority);
            return Ok(self.permit(Resource::Retries, priority));
        }
        // A budget moves, so there are no leases on it; retries are rare enough to sum for each.
        if limit.is_some_and(|limit| !self.lessee.try_take_exactly(Resource::Retries, priority, limit)) {
            return Err(self.overflow(overflow));
        }
        Ok(self.permit(Resource::Retries, priority))
    }

    /// Whether an endpoint may have one more connection (Envoy: per_host_thresholds). The caller counts connections in
    /// its own copy's `cx_active`.
    pub fn has_host_room(&self, priority: Priority, host: &ShardCopy<HostStats>) -> bool {
        let limit = self.shared.breakers(priority).max_connections_per_host;
        limit.is_none_or(|limit| host.sum(|stats| stats.cx_active.get()) < i64::from(limit))
    }

    /// `change` more connections could be given up for another shard, or fewer.
    #[inline]
    pub fn spare(&self, priority: Priority, change: i32) {
        self.lessee.spare(priority, change);
    }

    /// Room for a copy of a request: main traffic comes first under `max_requests`.
    pub fn acquire_mirror(self: &Rc<Self>, priority: Priority) -> Option<Permit> {
        if let Some(most) = self.shared.breakers(priority).max_requests {
            let requests = self.lessee.used(Resource::Requests, priority);
            if requests.saturating_add(self.lessee.used(Resource::Mirrors, Priority::Default)) >= most {
                self.stats.upstream_rq_mirror_overflow.inc();
                return None;
            }
        }
        self.acquire(Resource::Mirrors, Priority::Default).ok()
    }

    /// A copy was given up, or not made, for the sake of main traffic.
    pub fn count_shed(&self) {
        self.stats.upstream_rq_mirror_shed.inc();
    }

    pub fn count_shed_if(&self, was_shed: bool) {
        self.stats.upstream_rq_mirror_shed.add(u64::from(was_shed));
    }

    /// A request is refused because this limit is reached: it is counted and, at most once a second, logged.
    pub fn refuse(&self, lacking: &Lacking, priority: Priority) -> Overflow {
        self.overflow(match lacking {
            Lacking::Cluster(priority) => Overflow::Connections(*priority),
            Lacking::Host(_) => Overflow::ConnectionsPerHost(priority),
        })
    }

    pub fn shared(&self) -> &Arc<SharedLimits> {
        &self.shared
    }

    #[cold]
    fn overflow(&self, overflow: Overflow) -> Overflow {
        overflow.count(&self.stats);
        self.shared.log_overflow(overflow);
        overflow
    }
}

/// One of what is limited. Dropped, it is given back.
#[must_use]
pub struct Permit {
    /// `None` where it is not counted.
    from: Option<(Rc<ShardLimits>, Resource, Priority)>,
}

impl Permit {
    /// Whether it is counted among the connections of this priority.
    pub fn is_of(&self, priority: Priority) -> bool {
        self.from.as_ref().is_some_and(|from| (from.1, from.2) == (Resource::Connections, priority))
    }

    /// It moves to another shard, which gives it back one day.
    pub fn move_away(mut self) {
        self.from = None;
    }
}

impl std::fmt::Debug for Permit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Permit").field(&self.from.as_ref().map(|(_, resource, priority)| (resource, priority))).finish()
    }
}

impl Drop for Permit {
    #[inline]
    fn drop(&mut self) {
        if let Some((limits, resource, priority)) = &self.from {
            limits.lessee.give(*resource, *priority);
        }
    }
}
