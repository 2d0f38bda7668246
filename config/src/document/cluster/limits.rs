//! `clusters[].circuit_breakers`: limits on the traffic to a cluster.

use crate::reader::{Int, Percent, table};

table! {
    /// Limits on the traffic to a cluster, for the whole process (Envoy: CircuitBreakers). A request above a limit is
    /// refused with status 503, `x-envoy-overloaded`, the response flag `UO` and the name of the limit in the log: at once,
    /// unless another shard can spare it a connection. A retry or a copy above a limit is not made. A limit that is not
    /// written does not exist, save for retries and mirrors; Envoy has defaults of 1024 (3 for retries).
    CircuitBreakers at "clusters[].circuit_breakers", example "circuit-breakers.toml" {
        /// Connections. An idle one is closed, on whichever shard it is, before a request is refused.
        max_connections: Int<1, 4_294_967_295>, optional "no limit";
        /// Requests that wait for a connection: for one that is made, or for one that another shard gives up.
        max_pending_requests: Int<1, 4_294_967_295>, optional "no limit";
        /// Requests in flight.
        max_requests: Int<1, 4_294_967_295>, optional "no limit";
        /// Retries in flight. Excludes `retry_budget`. Without either there is a budget by time: within 10 s, retries of
        /// 20 % of the requests and 3 retries a second, not counting those of requests that no endpoint has seen. The
        /// highest number means no limit.
        max_retries: Int<1, 4_294_967_295>, optional "20 % of the last 10 seconds' requests, and 3 a second";
        /// Retries in flight as a percentage of the requests. Excludes `max_retries`.
        retry_budget: RetryBudget, optional "see `max_retries`";
        /// Connections to one endpoint (Envoy: per_host_thresholds), idle ones as for `max_connections`.
        max_connections_per_host: Int<1, 4_294_967_295>, optional "no limit";
        /// Copies of requests (`request_mirror_policies`) in flight to this cluster. They are the first to go when
        /// connections, descriptors or memory are short, and do not count among the requests of the other limits: no copy is
        /// sent while these and the copies together would exceed `max_requests`.
        max_mirrors: Int<0, 1_000_000>, default "64";
        /// Limits for requests on routes with `priority = "high"`, which are counted separately.
        high: HighCircuitBreakers, optional "no limit";
    }
}

table! {
    /// Limits for requests on routes with `priority = "high"`. These requests are counted separately from the others,
    /// and the other limits do not apply to them.
    HighCircuitBreakers at "clusters[].circuit_breakers.high", example "circuit-breakers.toml" {
        /// Connections.
        max_connections: Int<1, 4_294_967_295>, optional "no limit";
        /// Requests that wait for a connection.
        max_pending_requests: Int<1, 4_294_967_295>, optional "no limit";
        /// Requests in flight.
        max_requests: Int<1, 4_294_967_295>, optional "no limit";
        /// Retries in flight. Excludes `retry_budget`. Without either there is a budget by time: within 10 s, retries of
        /// 20 % of the requests and 3 retries a second, not counting those of requests that no endpoint has seen. The
        /// highest number means no limit.
        max_retries: Int<1, 4_294_967_295>, optional "20 % of the last 10 seconds' requests, and 3 a second";
        /// Retries in flight as a percentage of the requests. Excludes `max_retries`.
        retry_budget: RetryBudget, optional "see `max_retries`";
        /// Connections to one endpoint.
        max_connections_per_host: Int<1, 4_294_967_295>, optional "no limit";
    }
}

table! {
    /// Retries in flight as a percentage of the requests in flight (Envoy: RetryBudget); `{}` means 20 per cent. It can
    /// also be written in `high`.
    RetryBudget at "clusters[].circuit_breakers.retry_budget", example "circuit-breakers.toml" {
        /// Percentage of the requests that are in flight or waiting, in steps of 0.01.
        budget_percent: Percent, default "20";
        /// Number of retries in flight that are always allowed.
        min_retry_concurrency: Int<0, 1_000_000>, default "3";
    }
}
