//! The fault filter.

use crate::document::access_log::GrpcStatusName;
use crate::document::header::HeaderMatch;
use crate::reader::{ClusterName, Empty, Int, List, OneOf, Percent, Size, Time, table};

table! {
    /// Injects faults, to test how clients cope with them: requests are delayed or answered with an error, or their
    /// responses are slowed down (Envoy: fault). At least one of `delay`, `abort` and `response_rate_limit` is written;
    /// `{}` injects nothing, for chains in which only some routes have faults. Each kind is decided separately; a
    /// request may be delayed and then aborted.
    Fault at "listeners[].http.http_filters[].fault", example "fault.toml" {
        /// Hold the request back.
        delay: FaultDelay, optional "no delay";
        /// Answer the request with an error instead of forwarding it.
        abort: FaultAbort, optional "no abort";
        /// Slow down the body of the response.
        response_rate_limit: FaultRateLimit, optional "no limit";
        /// Only requests for which all these conditions hold.
        headers: List<HeaderMatch>, optional "every request";
        /// Only requests for this cluster.
        upstream_cluster: ClusterName, optional "every cluster";
        /// Requests that have a fault at the same time, in the whole process. Above it, requests pass without a fault.
        max_active_faults: Int<0, 4_294_967_295>, optional "no limit";
    }
}

table! {
    /// A delay of requests (Envoy: FaultDelay). Exactly one of `fixed_delay` and `header_delay` is written.
    FaultDelay at "listeners[].http.http_filters[].fault.delay", example "fault.toml" {
        /// How long a request is held back.
        fixed_delay: Time<1>, optional "see `header_delay`";
        /// `{}`: the request is held back for the number of milliseconds in its header `x-envoy-fault-delay-request`;
        /// `x-envoy-fault-delay-request-percentage` may lower `percent`.
        header_delay: Empty, optional "see `fixed_delay`";
        /// Percentage of the requests.
        percent: Percent, required;
    }
}

table! {
    /// An error instead of a response (Envoy: FaultAbort). Exactly one of `http_status`, `grpc_status` and `header_abort` is
    /// written.
    FaultAbort at "listeners[].http.http_filters[].fault.abort", example "fault.toml" {
        /// The status of the answer.
        http_status: Int<200, 599>, optional "another kind of abort";
        /// The status of the answer to a call of [gRPC](GRPC.md); other requests get the status of HTTP that tells as much.
        grpc_status: OneOf<GrpcStatusName>, optional "another kind of abort";
        /// `{}`: the status is the number in the request's header `x-envoy-fault-abort-request`;
        /// `x-envoy-fault-abort-request-percentage` may lower `percent`.
        header_abort: Empty, optional "another kind of abort";
        /// Percentage of the requests.
        percent: Percent, required;
    }
}

table! {
    /// A limit on the speed of responses (Envoy: FaultRateLimit). Exactly one of `fixed_limit` and `header_limit` is
    /// written.
    FaultRateLimit at "listeners[].http.http_filters[].fault.response_rate_limit", example "fault.toml" {
        /// Bytes of the body that go to the client in a second.
        fixed_limit: Size<1024, 1_099_511_627_776>, optional "see `header_limit`";
        /// `{}`: the number of KiB a second in the request's header `x-envoy-fault-throughput-response`;
        /// `x-envoy-fault-throughput-response-percentage` may lower `percent`.
        header_limit: Empty, optional "see `fixed_limit`";
        /// Percentage of the responses.
        percent: Percent, required;
    }
}
