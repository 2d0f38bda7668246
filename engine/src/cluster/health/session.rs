//! The health of one endpoint after a row of checks. Without I/O.

use super::Failure;
use crate::cluster::HealthFlags;
use ringway_config::model::HealthCheck;
use std::time::Duration;

/// The effect of a check (Envoy: HealthTransition).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transition {
    Unchanged,
    /// The first of several checks that it takes.
    Pending,
    Changed,
}

/// One endpoint under one check (Envoy: ActiveHealthCheckSession).
#[derive(Debug)]
pub struct Session {
    failed: bool,
    /// Failed, and the last failure was a timeout.
    timed_out: bool,
    /// The last successful check said so.
    pub degraded: bool,
    /// The endpoint asked to be left out, and no check has passed since.
    pub excluded: bool,
    /// No check has ended yet.
    first: bool,
    /// Results in a row.
    passed: u32,
    missed: u32,
}

impl Session {
    /// Begins with the flags that the endpoint has.
    pub fn new(flags: HealthFlags) -> Self {
        Self {
            failed: flags.contains(HealthFlags::FAILED_ACTIVE_HC),
            timed_out: flags.contains(HealthFlags::ACTIVE_HC_TIMEOUT),
            degraded: flags.contains(HealthFlags::DEGRADED_ACTIVE_HC),
            excluded: flags.is_excluded(),
            first: true,
            passed: 0,
            missed: 0,
        }
    }

    pub fn is_failed(&self) -> bool {
        self.failed
    }

    /// Failed, and the last failure was a timeout.
    pub fn is_timed_out(&self) -> bool {
        self.timed_out
    }

    /// No check has ended yet.
    pub fn is_first(&self) -> bool {
        self.first
    }

    /// A check passed. The first check decides alone, so that a start does not take several intervals.
    pub fn pass(&mut self, check: &HealthCheck, degraded: bool) -> Transition {
        self.missed = 0;
        self.degraded = degraded;
        let mut transition = Transition::Unchanged;
        if self.failed {
            self.passed += 1;
            transition = Transition::Pending;
            if self.first || self.passed >= check.healthy_threshold {
                self.failed = false;
                transition = Transition::Changed;
            }
        }
        self.excluded &= self.failed;
        self.timed_out &= self.failed;
        self.first = false;
        transition
    }

    /// A check failed. A failure that the endpoint itself declared and that may not be retried decides alone.
    pub fn fail(&mut self, check: &HealthCheck, failure: Failure) -> Transition {
        self.passed = 0;
        let mut transition = Transition::Unchanged;
        if !self.failed {
            self.missed += 1;
            transition = Transition::Pending;
            if failure.decides_alone() || self.missed >= check.unhealthy_threshold {
                self.failed = true;
                self.missed = 0;
                transition = Transition::Changed;
            }
        }
        self.timed_out = self.failed && failure == Failure::Timeout;
        self.first = false;
        transition
    }
}

/// The time until the next check, without jitter. `passed`: the last check did; `traffic`: the cluster has had a connection
/// for a request. Envoy: HealthCheckerImplBase::interval.
pub fn interval(check: &HealthCheck, passed: bool, transition: Transition, traffic: bool) -> Duration {
    if !traffic {
        return check.no_traffic_interval;
    }
    match (passed, transition == Transition::Pending) {
        (true, true) => check.healthy_edge_interval,
        (true, false) => check.interval,
        (false, true) => check.unhealthy_edge_interval,
        (false, false) => check.unhealthy_interval,
    }
}

#[cfg(test)]
mod tests {
    use super::Transition::{Changed, Pending, Unchanged};
    use super::*;
    use crate::cluster::health::tests::check;

    const STATUS: Failure = Failure::Active { retriable: false };
    const RETRIABLE: Failure = Failure::Active { retriable: true };

    #[test]
    fn the_first_check_decides_alone() {
        let check = HealthCheck { unhealthy_threshold: 3, healthy_threshold: 2, ..check() };
        let mut session = Session::new(HealthFlags::FAILED_ACTIVE_HC);
        assert_eq!((session.pass(&check, false), session.is_failed()), (Changed, false));
        let mut session = Session::new(HealthFlags::FAILED_ACTIVE_HC);
        assert_eq!((session.fail(&check, Failure::Network), session.is_failed()), (Unchanged, true));
        assert_eq!(
            (session.pass(&check, false), session.pass(&check, false), session.pass(&check, false)),
            (Pending, Changed, Unchanged)
        );
    }

    #[test]
    fn thresholds_count_in_a_row() {
        let check = HealthCheck { unhealthy_threshold: 3, healthy_threshold: 2, ..check() };
        let mut session = Session::new(HealthFlags::FAILED_ACTIVE_HC);
        session.pass(&check, false);
        for failure in [Failure::Network, Failure::Timeout, RETRIABLE] {
            assert_eq!([session.fail(&check, failure), session.fail(&check, failure)], [Pending; 2]);
            assert_eq!((session.pass(&check, false), session.is_failed()), (Unchanged, false));
        }
        assert_eq!([0; 3].map(|_| session.fail(&check, RETRIABLE)), [Pending, Pending, Changed]);
        assert_eq!(session.fail(&check, STATUS), Unchanged);
        assert_eq!(session.pass(&check, false), Pending);
        session.fail(&check, STATUS);
        assert_eq!([session.pass(&check, false), session.pass(&check, false)], [Pending, Changed]);
    }

    #[test]
    fn a_status_that_is_not_retriable_decides_alone() {
        let check = HealthCheck { unhealthy_threshold: 3, ..check() };
        for failure in [STATUS, Failure::Passive] {
            let mut session = Session::new(HealthFlags::FAILED_ACTIVE_HC);
            session.pass(&check, false);
            assert_eq!((session.fail(&check, failure), session.is_failed()), (Changed, true));
        }
    }

    #[test]
    fn what_an_endpoint_said_of_itself_holds_until_a_success() {
        let check = HealthCheck { healthy_threshold: 2, ..check() };
        let mut session = Session::new(HealthFlags::default());
        session.pass(&check, true);
        session.excluded = true;
        session.fail(&check, RETRIABLE);
        assert_eq!((session.failed, session.degraded, session.excluded), (true, true, true));
        session.pass(&check, false);
        assert_eq!((session.failed, session.degraded, session.excluded), (true, false, true), "one is not enough");
        session.pass(&check, false);
        assert_eq!((session.failed, session.degraded, session.excluded), (false, false, false));
    }

    /// The example in Envoy's source: an unhealthy host that needs three successes.
    #[test]
    fn edge_intervals_are_for_the_way_between_two_states() {
        let seconds = Duration::from_secs;
        let check = HealthCheck {
            healthy_threshold: 3,
            unhealthy_threshold: 2,
            interval: seconds(1),
            unhealthy_interval: seconds(2),
            healthy_edge_interval: seconds(3),
            unhealthy_edge_interval: seconds(4),
            no_traffic_interval: seconds(60),
            ..check()
        };
        let mut session = Session::new(HealthFlags::FAILED_ACTIVE_HC);
        let steps = [false, true, true, true, true, false, false, false];
        let times = steps.map(|passed| {
            let transition = if passed { session.pass(&check, false) } else { session.fail(&check, Failure::Network) };
            interval(&check, passed, transition, true).as_secs()
        });
        assert_eq!(times, [2, 3, 3, 1, 1, 4, 2, 2]);
        assert_eq!(interval(&check, true, Pending, false), seconds(60));
    }
}
