//! `clusters[].outlier_detection`: passive checks, which take failing endpoints out for a while.

use crate::reader::{Int, IntOrOff, Time, table};

table! {
    /// Endpoints that keep failing are ejected: they get no requests for a while (Envoy: OutlierDetection, with its
    /// names and, except for `always_eject_one_host`, its defaults). The first ejection lasts `base_ejection_time`, each further one is longer by the same time,
    /// and intervals without an ejection shorten it again. The `enforcing_*` keys say how many of the detected cases
    /// lead to an ejection; the others are only counted. Every ejection is logged with its reason.
    OutlierDetection at "clusters[].outlier_detection", example "outlier-detection.toml" {
        /// Number of responses in a row with a status of 500 or more that lead to an ejection. Failed connections count
        /// as such responses.
        consecutive_5xx: IntOrOff<1, 4_294_967_295>, default "5";
        /// Percentage of the cases of `consecutive_5xx` that lead to an ejection.
        enforcing_consecutive_5xx: Int<0, 100>, default "100";
        /// Number of responses in a row with status 502, 503 or 504 that lead to an ejection. Failed connections count
        /// as such responses.
        consecutive_gateway_failure: IntOrOff<1, 4_294_967_295>, default "5";
        /// Percentage of the cases of `consecutive_gateway_failure` that lead to an ejection.
        enforcing_consecutive_gateway_failure: Int<0, 100>, default "0";
        /// How often success rates and failure percentages are evaluated and ejections ended.
        interval: Time<1>, default "\"10s\"";
        /// How long the first ejection of an endpoint lasts.
        base_ejection_time: Time<1>, default "\"30s\"";
        /// How long the longest ejection lasts.
        max_ejection_time: Time<1>, optional "`\"300s\"`, or `base_ejection_time` if that is longer";
        /// A random time up to this is added to each ejection.
        max_ejection_time_jitter: Time<0>, default "\"0s\"";
        /// Percentage of the endpoints that may be ejected at the same time.
        max_ejection_percent: Int<0, 100>, default "10";
        /// Allow one endpoint to be ejected even if that is more than `max_ejection_percent` of them, as long as its
        /// priority has another usable endpoint (Envoy: always_eject_one_host, there off, and without that condition).
        always_eject_one_host: bool, default "true";

        /// Percentage of the cases of a success rate far below those of the other endpoints that lead to an ejection.
        enforcing_success_rate: Int<0, 100>, default "100";
        /// Number of endpoints that must have had enough requests in an interval for success rates to be compared.
        success_rate_minimum_hosts: Int<1, 1_000_000>, default "5";
        /// Requests in an interval that an endpoint must have had for its success rate to count.
        success_rate_request_volume: Int<1, 4_294_967_295>, default "100";
        /// How far below the mean a success rate is an outlier, in thousandths of the standard deviation: 1900 means
        /// below mean - 1.9 stdev.
        success_rate_stdev_factor: Int<0, 1_000_000>, default "1900";

        /// Percentage of failed requests in an interval from which an endpoint counts as failing.
        failure_percentage_threshold: Int<1, 100>, default "85";
        /// Percentage of the cases of `failure_percentage_threshold` that lead to an ejection.
        enforcing_failure_percentage: Int<0, 100>, default "0";
        /// Number of endpoints that must have had enough requests in an interval for failure percentages to be
        /// evaluated.
        failure_percentage_minimum_hosts: Int<1, 1_000_000>, default "5";
        /// Requests in an interval that an endpoint must have had for its failure percentage to count.
        failure_percentage_request_volume: Int<1, 4_294_967_295>, default "50";

        /// Count local failures (connection refused, reset, timeout) separately from the statuses that endpoints answer
        /// with. Each kind is then judged by its own keys.
        split_external_local_origin_errors: bool, default "false";
        /// Number of local failures in a row that lead to an ejection. Needs `split_external_local_origin_errors`.
        consecutive_local_origin_failure: IntOrOff<1, 4_294_967_295>, optional "`5`";
        /// Percentage of the cases of `consecutive_local_origin_failure` that lead to an ejection. Needs
        /// `split_external_local_origin_errors`.
        enforcing_consecutive_local_origin_failure: Int<0, 100>, optional "`100`";
        /// Like `enforcing_success_rate`. Needs `split_external_local_origin_errors`.
        enforcing_local_origin_success_rate: Int<0, 100>, optional "`100`";
        /// Like `enforcing_failure_percentage`. Needs `split_external_local_origin_errors`.
        enforcing_failure_percentage_local_origin: Int<0, 100>, optional "`0`";

        /// End the ejection of an endpoint that passes an active health check.
        successful_active_health_check_uneject_host: bool, default "true";
    }
}
