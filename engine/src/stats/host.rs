//! Statistics of one endpoint (Envoy: host stats), shown by /clusters, and what outlier detection counts.

use super::{Counter, Gauge};

/// One shard's copy.
// Two cache lines, as for scopes.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct HostStats {
    /// Connections
    pub cx_total: Counter,
    /// Open connections
    pub cx_active: Gauge,
    /// Failed connection attempts
    pub cx_connect_fail: Counter,
    /// Requests
    pub rq_total: Counter,
    /// Requests in flight
    pub rq_active: Gauge,
    /// Responses that were not 5xx
    pub rq_success: Counter,
    /// Responses with 5xx, and requests that failed before a response
    pub rq_error: Counter,
    /// Requests that timed out; errors, too
    pub rq_timeout: Counter,
    /// Outcomes that count for the success rate of outlier detection, and those of them that were good
    pub results: Counter,
    pub successes: Counter,
    /// The same for outcomes of local origin, where they are counted apart
    pub local_results: Counter,
    pub local_successes: Counter,
}

impl HostStats {
    /// Counters and gauges with the names that Envoy's /clusters has, sorted.
    pub const SHOWN: [(&'static str, bool, fn(&Self) -> i64); 8] = [
        ("cx_active", true, |stats| stats.cx_active.get()),
        ("cx_connect_fail", false, |stats| stats.cx_connect_fail.get() as i64),
        ("cx_total", false, |stats| stats.cx_total.get() as i64),
        ("rq_active", true, |stats| stats.rq_active.get()),
        ("rq_error", false, |stats| stats.rq_error.get() as i64),
        ("rq_success", false, |stats| stats.rq_success.get() as i64),
        ("rq_timeout", false, |stats| stats.rq_timeout.get() as i64),
        ("rq_total", false, |stats| stats.rq_total.get() as i64),
    ];
}
