//! Outlier detection (Envoy: outlier_detection): endpoints that answer badly get no requests for a while.
//!
//! On the request path, [`OutlierShared::report`] counts what came of each request: in the shard's own cells, and in
//! counters of failures in a row that all shards share, which nobody touches while all is well. When one of those reaches
//! its limit, the control thread hears of it at once. Everything else is decided there, by [`Detector`], once each
//! interval: success rates, failure percentages, and the ends of ejections.

mod detector;
mod rates;
#[cfg(test)]
mod tests;

pub use detector::Detector;

use super::members::{ClusterShared, Host};
use super::report::{Report, Reports};
use crate::stats::HostStats;
use rates::Rate;
use ringway_config::model::OutlierDetection;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

/// What came of one request at an endpoint.
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
    /// The status that a failure of local origin stands for where such failures are not counted apart. Envoy:
    /// DetectorHostMonitorImpl::resultToHttpCode, and the router's timeout_response_code.
    fn status(self) -> u16 {
        match self {
            Self::Status(status) => status,
            Self::ConnectFailed | Self::ConnectTimeout | Self::Reset => 503,
            Self::ResponseTimeout => 504,
        }
    }

    /// Counts the request in the endpoint's statistics.
    fn count(self, stats: &HostStats) {
        match self {
            Self::Status(500..600) => stats.rq_error.inc(),
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
    /// As the log has it; the key that enforces it is named after it.
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
}

/// What all shards share about one endpoint. Written for failures, and by the control thread.
// Apart from what is read for each request.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Monitor {
    consecutive_5xx: AtomicU32,
    consecutive_gateway_failure: AtomicU32,
    consecutive_local_origin_failure: AtomicU32,
    /// For /clusters, for each origin.
    rates: [Rate; 2],
}

impl Monitor {
    /// The success rate of the last interval in per cent; -1 where there were too few requests.
    pub fn success_rate(&self, origin: Origin) -> f64 {
        self.rates[origin as usize].get()
    }

    fn set_success_rate(&self, origin: Origin, rate: f64) {
        self.rates[origin as usize].set(rate);
    }

    fn consecutive(&self, ejection: Ejection) -> Option<&AtomicU32> {
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

/// Whose outcomes a rate is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Responses; and all failures, unless they are counted apart.
    External,
    /// Connections made, and failures to make or keep one.
    Local,
}

impl Origin {
    const ALL: [Self; 2] = [Self::External, Self::Local];
}

/// Not for every success a store: the line stays with all shards as long as nothing fails.
fn reset(counter: &AtomicU32) {
    if counter.load(Relaxed) != 0 {
        counter.store(0, Relaxed);
    }
}

/// One cluster's outlier detection as all shards share it.
#[derive(Debug)]
pub struct OutlierShared {
    config: OutlierDetection,
    /// Mean and threshold of the success rates of the last interval, for each origin.
    figures: [[Rate; 2]; 2],
}

impl OutlierShared {
    pub fn new(config: &OutlierDetection) -> Self {
        Self { config: config.clone(), figures: Default::default() }
    }

    /// Mean of the endpoints' success rates in the last interval, and below what an endpoint was an outlier; -1 where
    /// there were too few requests.
    pub fn success_rates(&self, origin: Origin) -> (f64, f64) {
        let [mean, threshold] = &self.figures[origin as usize];
        (mean.get(), threshold.get())
    }

    fn set_success_rates(&self, origin: Origin, mean: f64, threshold: f64) {
        let [mean_cell, threshold_cell] = &self.figures[origin as usize];
        mean_cell.set(mean);
        threshold_cell.set(threshold);
    }

    #[inline]
    fn report(&self, host: &Arc<Host>, stats: &HostStats, outcome: Outcome, reports: &Reports) {
        if !self.config.split_external_local_origin_errors {
            return self.external(host, stats, outcome.status(), reports);
        }
        match outcome {
            Outcome::Status(status) => {
                stats.local_results.inc();
                stats.local_successes.inc();
                reset(&host.record.monitor.consecutive_local_origin_failure);
                self.external(host, stats, status, reports);
            }
            Outcome::ConnectFailed | Outcome::ConnectTimeout | Outcome::Reset | Outcome::ResponseTimeout => {
                stats.local_results.inc();
                self.failed(host, Ejection::ConsecutiveLocalOriginFailure, reports);
            }
        }
    }

    #[inline]
    fn external(&self, host: &Arc<Host>, stats: &HostStats, status: u16, reports: &Reports) {
        stats.results.inc();
        let monitor = &host.record.monitor;
        if !(500..600).contains(&status) {
            stats.successes.inc();
            reset(&monitor.consecutive_gateway_failure);
            reset(&monitor.consecutive_5xx);
            return;
        }
        if matches!(status, 502..=504) {
            self.failed(host, Ejection::ConsecutiveGatewayFailure, reports);
        } else {
            reset(&monitor.consecutive_gateway_failure);
        }
        self.failed(host, Ejection::Consecutive5xx, reports);
    }

    /// One more failure in a row. Only the one that reaches the limit is reported: the control thread begins the count
    /// anew when it has decided.
    #[cold]
    fn failed(&self, host: &Arc<Host>, ejection: Ejection, reports: &Reports) {
        let limit = match ejection {
            Ejection::ConsecutiveGatewayFailure => self.config.consecutive_gateway_failure,
            Ejection::ConsecutiveLocalOriginFailure => self.config.consecutive_local_origin_failure,
            _ => self.config.consecutive_5xx,
        };
        let (Some(limit), Some(counter)) = (limit, host.record.monitor.consecutive(ejection)) else { return };
        if counter.fetch_add(1, Relaxed) + 1 == limit {
            reports.push(Report::Consecutive(host.clone(), ejection));
        }
    }
}

impl ClusterShared {
    /// What came of a request to `host`; `stats` are the calling shard's cells of it.
    #[inline]
    pub fn report(&self, host: &Arc<Host>, stats: &HostStats, outcome: Outcome) {
        outcome.count(stats);
        if let Some(outlier) = &self.outlier {
            outlier.report(host, stats, outcome, &self.reports);
        }
    }
}
