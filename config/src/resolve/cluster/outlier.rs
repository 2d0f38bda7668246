//! Outlier detection.

use std::time::Duration;

use crate::diagnostic::Problem;
use crate::document;
use crate::model::OutlierDetection;
use crate::reader::{Int, IntOrOff, Located, Slot};
use crate::resolve::Resolver;

/// Envoy: OutlierDetection.max_ejection_time.
const MAX_EJECTION_TIME: Duration = Duration::from_secs(300);

impl Resolver<'_, '_, '_> {
    pub(super) fn outlier_detection(&mut self, written: &Located<document::OutlierDetection>) -> OutlierDetection {
        self.check_local_origin(written);
        let base_ejection_time = written.base_ejection_time.0;
        let max_ejection_time = written.max_ejection_time.given();
        if let Some(max) = max_ejection_time.filter(|max| max.0 < base_ejection_time) {
            let problem = Problem::at(&max.origin, "`max_ejection_time` is shorter than `base_ejection_time`");
            self.problems.push(problem.hint(Some("the default of `base_ejection_time` is \"30s\": lower it, too")));
        }
        OutlierDetection {
            place: self.problems.place(&written.origin),
            texts: self.texts(
                document::OutlierDetection::spec(),
                &written.origin,
                &[("base_ejection_time", Some(&written.base_ejection_time.origin))],
            ),
            consecutive_5xx: count(written.consecutive_5xx.value),
            consecutive_gateway_failure: count(written.consecutive_gateway_failure.value),
            consecutive_local_origin_failure: match written.consecutive_local_origin_failure.given() {
                Some(written) => count(written.value),
                None => Some(5),
            },
            interval: written.interval.0,
            base_ejection_time,
            max_ejection_time: max_ejection_time.map_or(MAX_EJECTION_TIME.max(base_ejection_time), |max| max.0),
            max_ejection_time_jitter: written.max_ejection_time_jitter.0,
            max_ejection_percent: written.max_ejection_percent.to_u32(),
            always_eject_one_host: written.always_eject_one_host.value,
            enforcing_consecutive_5xx: written.enforcing_consecutive_5xx.to_u32(),
            enforcing_consecutive_gateway_failure: written.enforcing_consecutive_gateway_failure.to_u32(),
            enforcing_consecutive_local_origin_failure: per_cent(
                &written.enforcing_consecutive_local_origin_failure,
                100,
            ),
            enforcing_success_rate: written.enforcing_success_rate.to_u32(),
            enforcing_local_origin_success_rate: per_cent(&written.enforcing_local_origin_success_rate, 100),
            success_rate_minimum_hosts: written.success_rate_minimum_hosts.to_u32(),
            success_rate_request_volume: written.success_rate_request_volume.to_u32(),
            success_rate_stdev_factor: written.success_rate_stdev_factor.to_u32(),
            failure_percentage_threshold: written.failure_percentage_threshold.to_u32(),
            enforcing_failure_percentage: written.enforcing_failure_percentage.to_u32(),
            enforcing_failure_percentage_local_origin: per_cent(&written.enforcing_failure_percentage_local_origin, 0),
            failure_percentage_minimum_hosts: written.failure_percentage_minimum_hosts.to_u32(),
            failure_percentage_request_volume: written.failure_percentage_request_volume.to_u32(),
            split_external_local_origin_errors: written.split_external_local_origin_errors.value,
            successful_active_health_check_uneject_host: written.successful_active_health_check_uneject_host.value,
        }
    }

    /// These keys are about local failures, which are counted only if they are split off.
    fn check_local_origin(&mut self, written: &Located<document::OutlierDetection>) {
        let keys = [
            ("consecutive_local_origin_failure", written.consecutive_local_origin_failure.origin()),
            ("enforcing_consecutive_local_origin_failure", written.enforcing_consecutive_local_origin_failure.origin()),
            ("enforcing_local_origin_success_rate", written.enforcing_local_origin_success_rate.origin()),
            ("enforcing_failure_percentage_local_origin", written.enforcing_failure_percentage_local_origin.origin()),
        ];
        let written_keys = keys.into_iter().filter_map(|(key, origin)| Some((key, origin?)));
        for (key, origin) in written_keys.filter(|_| !written.split_external_local_origin_errors.value) {
            let problem =
                Problem::at_key(origin, format!("`{key}` has no effect: local failures are not counted separately"));
            self.problems.push(problem.hint(Some("add split_external_local_origin_errors = true, or leave it out")));
        }
    }
}

fn count(written: IntOrOff<1, 4_294_967_295>) -> Option<u32> {
    written.0.map(Int::to_u32)
}

fn per_cent(written: &Slot<Int<0, 100>>, default: u32) -> u32 {
    written.given().map_or(default, |written| written.to_u32())
}
