//! One cluster's outlier detection as the shards see it: each outcome is counted, and a full row of failures is reported.

use super::monitor::{Ejection, Outcome, reset};
use super::rates::{Origin, Rate};
use crate::cluster::host::Host;
use crate::cluster::report::{Report, Reports};
use crate::stats::HostStats;
use ringway_config::model::OutlierDetection;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// What all shards share of one cluster's outlier detection.
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

    /// The mean of the endpoints' success rates in the last interval, and the rate below which an endpoint was an
    /// outlier; both are -1 where there were too few requests.
    pub fn success_rates(&self, origin: Origin) -> (f64, f64) {
        let [mean, threshold] = &self.figures[origin as usize];
        (mean.get(), threshold.get())
    }

    pub(super) fn set_success_rates(&self, origin: Origin, mean: f64, threshold: f64) {
        let [mean_cell, threshold_cell] = &self.figures[origin as usize];
        mean_cell.set(mean);
        threshold_cell.set(threshold);
    }

    #[inline]
    pub(in crate::cluster) fn report(&self, host: &Arc<Host>, stats: &HostStats, outcome: Outcome, reports: &Reports) {
        if !self.config.split_external_local_origin_errors {
            return self.external(host, stats, outcome.status(), reports);
        }
        match outcome {
            Outcome::Status(status) => {
                stats.local_results.inc();
                stats.local_successes.inc();
                reset(&host.state.monitor.consecutive_local_origin_failure);
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
        let monitor = &host.state.monitor;
        if status < 500 {
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

    /// Counts one more failure in a row. Only the failure that reaches the limit is reported: the control thread resets
    /// the count once it has decided.
    #[cold]
    fn failed(&self, host: &Arc<Host>, ejection: Ejection, reports: &Reports) {
        let limit = match ejection {
            Ejection::ConsecutiveGatewayFailure => self.config.consecutive_gateway_failure,
            Ejection::ConsecutiveLocalOriginFailure => self.config.consecutive_local_origin_failure,
            _ => self.config.consecutive_5xx,
        };
        let (Some(limit), Some(counter)) = (limit, host.state.monitor.consecutive(ejection)) else { return };
        if counter.fetch_add(1, Relaxed) + 1 == limit {
            reports.push(Report::Consecutive(host.clone(), ejection));
        }
    }
}
