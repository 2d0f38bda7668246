//! The fault filter.

use crate::document::header::HeaderMatch;
use crate::reader::{ClusterName, Empty, Int, List, Percent, Size, Time, table};

table! {
    /// Makes faults, to see how clients bear them: requests are delayed, answered with an error, or their responses slowed
    /// down (Envoy: fault). At least one of `delay`, `abort` and `response_rate_limit` is written; `{}` makes no fault, where
    /// only some routes have any. Each is decided by itself; a request may be delayed and then aborted.
    Fault at "listeners[].http.http_filters[].fault", example "fault.toml" {
        /// Hold the request back.
        delay: FaultDelay, optional "no delay";
        /// Answer the request in the place of the upstream.
        abort: FaultAbort, optional "no abort";
        /// Slow the response's body down.
        response_rate_limit: FaultRateLimit, optional "as fast as it comes";
        /// Only requests for which all these conditions hold.
        headers: List<HeaderMatch>, optional "every request";
        /// Only requests for this cluster.
        upstream_cluster: ClusterName, optional "every cluster";
        /// Requests with a fault at the same time, in the whole process; further ones pass without.
        max_active_faults: Int<0, 4_294_967_295>, optional "no limit";
    }
}

table! {
    /// Exactly one of `fixed_delay` and `header_delay` is written (Envoy: FaultDelay).
    FaultDelay at "listeners[].http.http_filters[].fault.delay", example "fault.toml" {
        /// For so long.
        fixed_delay: Time<1>, optional "see `header_delay`";
        /// `{}`: for as many milliseconds as `x-envoy-fault-delay-request` of the request says;
        /// `x-envoy-fault-delay-request-percentage` may lower the share.
        header_delay: Empty, optional "see `fixed_delay`";
        /// How many per cent of the requests.
        percent: Percent, required;
    }
}

table! {
    /// Exactly one of `http_status` and `header_abort` is written (Envoy: FaultAbort).
    FaultAbort at "listeners[].http.http_filters[].fault.abort", example "fault.toml" {
        /// With this status.
        http_status: Int<200, 599>, optional "see `header_abort`";
        /// `{}`: with the status that `x-envoy-fault-abort-request` of the request says;
        /// `x-envoy-fault-abort-request-percentage` may lower the share.
        header_abort: Empty, optional "see `http_status`";
        /// How many per cent of the requests.
        percent: Percent, required;
    }
}

table! {
    /// Exactly one of `fixed_limit` and `header_limit` is written (Envoy: FaultRateLimit).
    FaultRateLimit at "listeners[].http.http_filters[].fault.response_rate_limit", example "fault.toml" {
        /// So many bytes of the body a second.
        fixed_limit: Size<1024, 1_099_511_627_776>, optional "see `header_limit`";
        /// `{}`: as many KiB a second as `x-envoy-fault-throughput-response` of the request says;
        /// `x-envoy-fault-throughput-response-percentage` may lower the share.
        header_limit: Empty, optional "see `fixed_limit`";
        /// How many per cent of the responses.
        percent: Percent, required;
    }
}
