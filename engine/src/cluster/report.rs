//! What shards and discovery tell the control thread about a cluster's endpoints: rare, and at once.

use super::members::Host;
use super::outlier::Ejection;
use crate::ring::Unpark;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[derive(Clone, Debug)]
pub enum Report {
    /// The members have changed.
    Members,
    /// So many failures in a row that the endpoint is to be ejected.
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

/// Reports of one cluster. The same one is not queued twice, so the queue is no longer than the cluster's endpoints.
#[derive(Debug, Default)]
pub struct Reports {
    queue: Mutex<Queue>,
    /// Something is in the queue.
    waiting: AtomicBool,
}

#[derive(Debug, Default)]
struct Queue {
    reports: Vec<Report>,
    /// Wakes the control thread, once there is one.
    reader: Option<Unpark>,
}

impl Reports {
    pub fn push(&self, report: Report) {
        let mut queue = self.lock();
        if queue.reports.contains(&report) {
            return;
        }
        queue.reports.push(report);
        self.waiting.store(true, Ordering::Release);
        if let Some(reader) = &queue.reader {
            reader.unpark();
        }
    }

    /// From now on `reader` is woken for each report.
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
        std::mem::take(&mut queue.reports)
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
