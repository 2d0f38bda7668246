//! `clusters[].outlier_detection`: endpoints that answer badly are taken out for a while.

use crate::reader::{Int, IntOrOff, Time, table};

table! {
    /// Endpoints that answer badly get no requests for a while: they are ejected (Envoy: OutlierDetection, with its
    /// names and defaults). The first ejection lasts `base_ejection_time`, each further one longer by that;
    /// well-behaved intervals shorten it again. What the `enforcing_*` keys do not enforce is only counted. Every
    /// ejection is logged with its reason.
    OutlierDetection at "clusters[].outlier_detection", example "outlier-detection.toml" {
        /// Responses with a status of 500 or more in a row, failed connections among them.
        consecutive_5xx: IntOrOff<1, 4_294_967_295>, default "5";
        /// Per cent of the cases of `consecutive_5xx` that lead to an ejection.
        enforcing_consecutive_5xx: Int<0, 100>, default "100";
        /// Responses with status 502, 503 or 504 in a row, failed connections among them.
        consecutive_gateway_failure: IntOrOff<1, 4_294_967_295>, default "5";
        /// Per cent of the cases of `consecutive_gateway_failure` that lead to an ejection.
        enforcing_consecutive_gateway_failure: Int<0, 100>, default "0";
        /// Time between two looks at success rates, failure percentages and at the ends of ejections.
        interval: Time<1>, default "\"10s\"";
        /// Time that a first ejection lasts.
        base_ejection_time: Time<1>, default "\"30s\"";
        /// Time that the longest ejection lasts.
        max_ejection_time: Time<1>, optional "`\"300s\"`, or `base_ejection_time` if that is longer";
        /// Up to this much is added at random to the time of an ejection.
        max_ejection_time_jitter: Time<0>, default "\"0s\"";
        /// Per cent of the endpoints that may be ejected at the same time.
        max_ejection_percent: Int<0, 100>, default "10";
        /// Eject one endpoint even where that is more than `max_ejection_percent` of them.
        always_eject_one_host: bool, default "false";

        /// Per cent of the cases of a success rate far below the others' that lead to an ejection.
        enforcing_success_rate: Int<0, 100>, default "100";
        /// Endpoints that must have had enough requests in an interval, for their success rates to be compared.
        success_rate_minimum_hosts: Int<1, 1_000_000>, default "5";
        /// Requests in an interval that are enough.
        success_rate_request_volume: Int<1, 4_294_967_295>, default "100";
        /// How far below is far, in thousandths of the success rates' standard deviation: 1900 is mean - 1.9 stdev.
        success_rate_stdev_factor: Int<0, 1_000_000>, default "1900";

        /// Per cent of failed requests in an interval from which an endpoint is taken for failing.
        failure_percentage_threshold: Int<1, 100>, default "85";
        /// Per cent of the cases of `failure_percentage_threshold` that lead to an ejection.
        enforcing_failure_percentage: Int<0, 100>, default "0";
        /// Endpoints that must have had enough requests in an interval, for failure percentages to be looked at.
        failure_percentage_minimum_hosts: Int<1, 1_000_000>, default "5";
        /// Requests in an interval that are enough.
        failure_percentage_request_volume: Int<1, 4_294_967_295>, default "50";

        /// Keep failures of our own side (connection refused, reset, time-out) apart from the statuses that endpoints
        /// answer with: each is then judged by keys of its own.
        split_external_local_origin_errors: bool, default "false";
        /// Failures of our own side in a row. Needs `split_external_local_origin_errors`.
        consecutive_local_origin_failure: IntOrOff<1, 4_294_967_295>, optional "`5`";
        /// Per cent of the cases of `consecutive_local_origin_failure` that lead to an ejection. Needs
        /// `split_external_local_origin_errors`.
        enforcing_consecutive_local_origin_failure: Int<0, 100>, optional "`100`";
        /// Like `enforcing_success_rate`. Needs `split_external_local_origin_errors`.
        enforcing_local_origin_success_rate: Int<0, 100>, optional "`100`";
        /// Like `enforcing_failure_percentage`. Needs `split_external_local_origin_errors`.
        enforcing_failure_percentage_local_origin: Int<0, 100>, optional "`0`";

        /// An ejected endpoint that passes an active health check comes back.
        successful_active_health_check_uneject_host: bool, default "true";
    }
}
