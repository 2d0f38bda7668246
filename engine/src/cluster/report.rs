//! Messages from shards and discovery to the control thread about a cluster's endpoints: rare, and delivered at once.

use super::host::Host;
use super::outlier::Ejection;
use crate::ring::Unpark;
use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Clone, Debug)]
pub enum Report {
    /// The members have changed.
    Members,
    /// The endpoint has failed as often in a row as the configuration allows, and is to be ejected.
    Consecutive(Arc<Host>, Ejection),
    /// A response said `x-envoy-immediate-health-check-fail`.
    ImmediateHealthCheckFail(Arc<Host>),
}

impl PartialEq for Report {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Members, Self::Members) => true,
            (Self::Consecutive(host, ejection), Self::Consecutive(other, other_ejection)) => {
                host.is(other) && ejection == other_ejection
            }
            (Self::ImmediateHealthCheckFail(host), Self::ImmediateHealthCheckFail(other)) => host.is(other),
            _ => false,
        }
    }
}

impl Eq for Report {}

impl Hash for Report {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        match self {
            Self::Members => 0u8.hash(hasher),
            Self::Consecutive(host, ejection) => (1u8, Arc::as_ptr(&host.state), ejection).hash(hasher),
            Self::ImmediateHealthCheckFail(host) => (2u8, Arc::as_ptr(&host.state)).hash(hasher),
        }
    }
}

/// Reports of one cluster. A report that is already queued is not queued again, which bounds the queue by a few entries
/// for each endpoint.
#[derive(Debug, Default)]
pub struct Reports {
    queue: Mutex<Queue>,
    /// Whether the queue holds anything.
    waiting: AtomicBool,
}

#[derive(Debug, Default)]
struct Queue {
    reports: Vec<Report>,
    /// The same reports, for the search: a fault of a whole zone reports thousands of endpoints at once.
    queued: HashSet<Report>,
    /// Wakes the control thread, once there is one.
    reader: Option<Unpark>,
}

impl Reports {
    pub fn push(&self, report: Report) {
        let mut queue = self.lock();
        if !queue.queued.insert(report.clone()) {
            return;
        }
        queue.reports.push(report);
        self.waiting.store(true, Ordering::Release);
        if let Some(reader) = &queue.reader {
            reader.unpark();
        }
    }

    /// From now on each report wakes `reader`.
    pub fn attach(&self, reader: Unpark) {
        self.lock().reader = Some(reader);
    }

    /// Everything queued, in order. Cheap where there is nothing.
    pub fn take(&self) -> Vec<Report> {
        if !self.waiting.load(Ordering::Acquire) {
            return Vec::new();
        }
        let mut queue = self.lock();
        self.waiting.store(false, Ordering::Release);
        queue.queued.clear();
        std::mem::take(&mut queue.reports)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::host::{HostSpec, HostState};
    use crate::cluster::testing::endpoint;
    use ringway_config::model::Address;

    #[test]
    fn a_report_is_queued_once_and_again_after_it_was_taken() {
        let host = |state: &Arc<HostState>, x: u8| {
            Host::new(HostSpec::new(&endpoint(1), Address::Ip(([10, 0, 0, x], 80).into())), state.clone())
        };
        let (state, other) = (Arc::default(), Arc::default());
        let reports = Reports::default();
        let gateway = Ejection::ConsecutiveGatewayFailure;
        for _ in 0..2 {
            for report in [
                Report::Consecutive(host(&state, 1), Ejection::Consecutive5xx),
                Report::Members,
                // The same host under another description.
                Report::Consecutive(host(&state, 2), Ejection::Consecutive5xx),
                Report::Consecutive(host(&state, 1), gateway),
                Report::ImmediateHealthCheckFail(host(&state, 1)),
                Report::Consecutive(host(&other, 1), gateway),
                Report::Members,
            ] {
                reports.push(report);
            }
            let taken = reports.take();
            let expected = [
                Report::Consecutive(host(&state, 1), Ejection::Consecutive5xx),
                Report::Members,
                Report::Consecutive(host(&state, 1), gateway),
                Report::ImmediateHealthCheckFail(host(&state, 1)),
                Report::Consecutive(host(&other, 1), gateway),
            ];
            assert_eq!(taken, expected);
            assert!(reports.take().is_empty());
        }
    }
}
