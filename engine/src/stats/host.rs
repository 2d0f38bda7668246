//! Statistics of one endpoint (Envoy: host stats): the figures of /clusters, and the counts for outlier detection.

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
    /// Connections that this shard would give up for another one, where connections are limited
    pub cx_spare: Gauge,
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
    /// Requests that timed out; they count as errors, too
    pub rq_timeout: Counter,
    /// Outcomes that count for the success rate of outlier detection, and the successes among them
    pub results: Counter,
    pub successes: Counter,
    /// The same for outcomes of local origin, where they are counted separately
    pub local_results: Counter,
    pub local_successes: Counter,
}

/// One of the figures that /clusters shows.
pub struct HostFigure {
    pub name: &'static str,
    pub is_gauge: bool,
    pub read: fn(&HostStats) -> i64,
}

impl HostStats {
    /// With Envoy's names, sorted.
    pub const FIGURES: [HostFigure; 8] = [
        gauge("cx_active", |stats| stats.cx_active.get()),
        counter("cx_connect_fail", |stats| stats.cx_connect_fail.get() as i64),
        counter("cx_total", |stats| stats.cx_total.get() as i64),
        gauge("rq_active", |stats| stats.rq_active.get()),
        counter("rq_error", |stats| stats.rq_error.get() as i64),
        counter("rq_success", |stats| stats.rq_success.get() as i64),
        counter("rq_timeout", |stats| stats.rq_timeout.get() as i64),
        counter("rq_total", |stats| stats.rq_total.get() as i64),
    ];
}

const fn gauge(name: &'static str, read: fn(&HostStats) -> i64) -> HostFigure {
    HostFigure { name, is_gauge: true, read }
}

const fn counter(name: &'static str, read: fn(&HostStats) -> i64) -> HostFigure {
    HostFigure { name, is_gauge: false, read }
}
