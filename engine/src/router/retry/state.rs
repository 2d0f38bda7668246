//! The tries that one request has had, and whether it gets another one.

use super::back_off::{BackOff, rate_limited};
use super::policy::TryPolicy;
use crate::base::clock::Nanos;
use crate::base::random::Random;
use crate::cluster::{Endpoint, PickContext};
use crate::http::{HeadView, ResponseHead};
use crate::stats::ClusterStats;
use crate::upstream::limits::{Overflow, Permit};
use smallvec::SmallVec;
use std::rc::Rc;

/// Why there is no other try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRetry {
    /// No condition asks for one.
    NotAsked,
    /// All retries are used up (flag URX).
    LimitExceeded,
    /// The cluster has too many retries in flight (flag UO).
    Overflow(Overflow),
    /// The request's body is no longer here.
    BodyGone,
}

/// Counts the tries of one request.
pub struct Tries {
    /// Tries so far, the present one included.
    pub count: u32,
    left: u32,
    back_off: BackOff,
    /// The retry's place among those of its cluster, from the decision to its end.
    permit: Option<Permit>,
    /// A byte of the request has gone to an upstream.
    pub sent: bool,
    /// Nanoseconds until the next one.
    pub pause: Nanos,
    /// Endpoints tried so far, where a retry avoids them.
    tried: SmallVec<[Rc<Endpoint>; 2]>,
    priorities: PreviousPriorities,
}

impl Tries {
    pub fn new(policy: &TryPolicy<'_>) -> Self {
        let back_off = BackOff::new(policy.config.map(|config| config.back_off));
        Self {
            count: 1,
            left: policy.num_retries,
            back_off,
            permit: None,
            sent: false,
            pause: 0,
            tried: SmallVec::new(),
            priorities: PreviousPriorities::default(),
        }
    }

    /// What the next pick is to avoid.
    pub fn pick_context(&mut self, policy: &TryPolicy<'_>) -> PickContext<'_> {
        let frequency = policy.config.and_then(|config| config.previous_priorities);
        PickContext {
            tried: &self.tried,
            max_attempts: policy.config.map_or(1, |config| config.host_selection_max_attempts),
            excluded_priorities: frequency.map_or(&[], |frequency| self.priorities.excluded(frequency)),
            ..PickContext::default()
        }
    }

    /// The present try goes to this endpoint.
    pub fn picked(&mut self, policy: &TryPolicy<'_>, endpoint: &Rc<Endpoint>) {
        let Some(config) = policy.config else { return };
        if config.avoid_previous_hosts {
            self.tried.push(endpoint.clone());
        }
        if config.previous_priorities.is_some() {
            self.priorities.attempted(endpoint.host.spec.priority);
        }
    }

    /// A try has ended. Whether there is another one if the policy asks for it (`asked`) and the whole request is still
    /// here (`replayable`).
    ///
    /// # Errors
    /// Why not.
    pub fn decide(
        &mut self,
        asked: bool,
        replayable: bool,
        permit: impl FnOnce() -> Result<Permit, Overflow>,
        stats: &ClusterStats,
    ) -> Result<(), NoRetry> {
        self.permit = None;
        if !asked {
            return Err(NoRetry::NotAsked);
        }
        if !replayable {
            return Err(NoRetry::BodyGone);
        }
        if self.left == 0 {
            stats.upstream_rq_retry_limit_exceeded.inc();
            return Err(NoRetry::LimitExceeded);
        }
        self.left -= 1;
        self.permit = Some(permit().map_err(NoRetry::Overflow)?);
        stats.upstream_rq_retry.inc();
        self.count += 1;
        Ok(())
    }

    /// How long the try that was just decided on waits, in nanoseconds. `response`: what the last one ended with.
    pub fn wait(
        &mut self,
        policy: &TryPolicy<'_>,
        response: Option<(&ResponseHead, HeadView<'_>)>,
        wall_seconds: u64,
        random: &Random,
        stats: &ClusterStats,
    ) -> Nanos {
        let limits = policy.config.and_then(|config| config.rate_limited_back_off.as_ref());
        if let (Some(limits), Some((head, bytes))) = (limits, response)
            && let Some(wait) = rate_limited(limits, head, bytes, wall_seconds, random)
        {
            stats.upstream_rq_retry_backoff_ratelimited.inc();
            return wait;
        }
        stats.upstream_rq_retry_backoff_exponential.inc();
        self.back_off.next(random)
    }

    /// A response goes to the client: there will be no other try. `good`: no condition asks for one.
    pub fn end(&mut self, good: bool, stats: &ClusterStats) {
        self.permit = None;
        if good && self.count > 1 {
            stats.upstream_rq_retry_success.inc();
        }
    }
}

/// Which priorities a retry leaves out (Envoy: retry_priority previous_priorities): after a number of tries each time, those
/// of all endpoints tried so far.
#[derive(Clone, Debug, Default)]
pub struct PreviousPriorities {
    tried: SmallVec<[u32; 4]>,
    /// How many of them are left out.
    excluded: usize,
    tries: u32,
}

impl PreviousPriorities {
    pub fn attempted(&mut self, priority: u32) {
        self.tries += 1;
        if !self.tried.contains(&priority) {
            self.tried.push(priority);
        }
    }

    /// Those to leave out of the next pick.
    pub fn excluded(&mut self, update_frequency: u32) -> &[u32] {
        if self.tries > 0 && self.tries.is_multiple_of(update_frequency.max(1)) {
            self.excluded = self.tried.len();
        }
        &self.tried[..self.excluded]
    }
}
