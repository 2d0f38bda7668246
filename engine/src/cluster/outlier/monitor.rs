//! What outlier detection knows of one endpoint: the outcomes of its requests, counted as they happen, and why it is
//! ejected.

use super::rates::{Origin, Rate};
use crate::stats::HostStats;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// The result of one request at an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// A response with this status.
    Status(u16),
    /// No connection was made.
    ConnectFailed,
    ConnectTimeout,
    /// The connection broke, or ended, before a response.
    Reset,
    /// No response within the time of the route or of the try.
    ResponseTimeout,
}

impl Outcome {
    /// The status that a failure of local origin stands for where such failures are not counted separately. Envoy:
    /// DetectorHostMonitorImpl::resultToHttpCode, and the router's timeout_response_code.
    pub(super) fn status(self) -> u16 {
        match self {
            Self::Status(status) => status,
            Self::ConnectFailed | Self::ConnectTimeout | Self::Reset => 503,
            Self::ResponseTimeout => 504,
        }
    }

    /// Counts the request in the endpoint's statistics.
    pub(in crate::cluster) fn count(self, stats: &HostStats) {
        match self {
            Self::Status(500..) => stats.rq_error.inc(),
            Self::Status(_) => stats.rq_success.inc(),
            Self::ConnectFailed | Self::ConnectTimeout | Self::Reset => stats.rq_error.inc(),
            Self::ResponseTimeout => {
                stats.rq_timeout.inc();
                stats.rq_error.inc();
            }
        }
    }
}

/// Why an endpoint is ejected (Envoy: OutlierEjectionType).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ejection {
    Consecutive5xx,
    ConsecutiveGatewayFailure,
    ConsecutiveLocalOriginFailure,
    SuccessRate,
    SuccessRateLocalOrigin,
    FailurePercentage,
    FailurePercentageLocalOrigin,
}

impl Ejection {
    /// The name in the log.
    pub fn name(self) -> &'static str {
        match self {
            Self::Consecutive5xx => "consecutive_5xx",
            Self::ConsecutiveGatewayFailure => "consecutive_gateway_failure",
            Self::ConsecutiveLocalOriginFailure => "consecutive_local_origin_failure",
            Self::SuccessRate => "success_rate",
            Self::SuccessRateLocalOrigin => "local_origin_success_rate",
            Self::FailurePercentage => "failure_percentage",
            Self::FailurePercentageLocalOrigin => "failure_percentage_local_origin",
        }
    }

    /// The key that says how many of these ejections are enforced.
    pub(super) fn enforcing_key(self) -> &'static str {
        match self {
            Self::Consecutive5xx => "enforcing_consecutive_5xx",
            Self::ConsecutiveGatewayFailure => "enforcing_consecutive_gateway_failure",
            Self::ConsecutiveLocalOriginFailure => "enforcing_consecutive_local_origin_failure",
            Self::SuccessRate => "enforcing_success_rate",
            Self::SuccessRateLocalOrigin => "enforcing_local_origin_success_rate",
            Self::FailurePercentage => "enforcing_failure_percentage",
            Self::FailurePercentageLocalOrigin => "enforcing_failure_percentage_local_origin",
        }
    }
}

/// What all shards share about one endpoint. Shards write it when a request fails, the control thread once each interval.
// On cache lines of its own: what is next to it is read for each request.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Monitor {
    pub(super) consecutive_5xx: AtomicU32,
    pub(super) consecutive_gateway_failure: AtomicU32,
    pub(super) consecutive_local_origin_failure: AtomicU32,
    /// Success rates for /clusters, one for each origin.
    rates: [Rate; 2],
}

impl Monitor {
    /// The success rate of the last interval as a percentage; -1 where there were too few requests.
    pub fn success_rate(&self, origin: Origin) -> f64 {
        self.rates[origin as usize].get()
    }

    pub(super) fn set_success_rate(&self, origin: Origin, rate: f64) {
        self.rates[origin as usize].set(rate);
    }

    pub(super) fn consecutive(&self, ejection: Ejection) -> Option<&AtomicU32> {
        match ejection {
            Ejection::Consecutive5xx => Some(&self.consecutive_5xx),
            Ejection::ConsecutiveGatewayFailure => Some(&self.consecutive_gateway_failure),
            Ejection::ConsecutiveLocalOriginFailure => Some(&self.consecutive_local_origin_failure),
            Ejection::SuccessRate
            | Ejection::SuccessRateLocalOrigin
            | Ejection::FailurePercentage
            | Ejection::FailurePercentageLocalOrigin => None,
        }
    }
}

/// Sets a row of failures back to zero. Successes store nothing while nothing fails, so the cache line stays with all
/// shards.
pub(super) fn reset(counter: &AtomicU32) {
    if counter.load(Relaxed) != 0 {
        counter.store(0, Relaxed);
    }
}
