//! The gauges of the circuit breakers, which are brought up to date when statistics are read.

use crate::cluster::{CONTROL, ClusterShared};
use crate::stats::{CircuitBreakerStats, Gauge, Registry};
use crate::upstream::limits::{Priority, Resource, Usage};
use std::sync::Arc;

/// Writes the gauges. One thread at a time: cells have one writer.
pub(super) fn refresh(clusters: &[Arc<ClusterShared>], registry: &Registry) {
    for cluster in clusters.iter().filter(|cluster| cluster.limits.is_limited()) {
        let stats: Arc<CircuitBreakerStats> = registry.scope(&cluster.config.name, CONTROL);
        for (priority, resource, open, remaining) in gauges(&stats) {
            let usage: Usage = cluster.limits.usage(resource, priority);
            open.set(usage.is_open().into());
            remaining.set(usage.remaining().into());
        }
    }
}

fn gauges(stats: &CircuitBreakerStats) -> [(Priority, Resource, &Gauge, &Gauge); 8] {
    use Priority::{Default, High};
    use Resource::{Connections, PendingRequests, Requests, Retries};
    [
        (Default, Connections, &stats.default_cx_open, &stats.default_remaining_cx),
        (Default, PendingRequests, &stats.default_rq_pending_open, &stats.default_remaining_pending),
        (Default, Requests, &stats.default_rq_open, &stats.default_remaining_rq),
        (Default, Retries, &stats.default_rq_retry_open, &stats.default_remaining_retries),
        (High, Connections, &stats.high_cx_open, &stats.high_remaining_cx),
        (High, PendingRequests, &stats.high_rq_pending_open, &stats.high_remaining_pending),
        (High, Requests, &stats.high_rq_open, &stats.high_remaining_rq),
        (High, Retries, &stats.high_rq_retry_open, &stats.high_remaining_retries),
    ]
}
