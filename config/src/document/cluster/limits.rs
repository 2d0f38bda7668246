//! `clusters[].circuit_breakers`: limits on what a cluster gets.

use crate::reader::{Int, Percent, table};

table! {
    /// Limits on what a cluster gets, in the whole process (Envoy: CircuitBreakers). What is over a limit is refused at
    /// once, with status 503, `x-envoy-overloaded`, the response flag `UO` and the name of the limit in the log. Unlike
    /// Envoy, which has silent ones of 1024 (and of 3 retries), nothing is limited that is not written.
    CircuitBreakers at "clusters[].circuit_breakers", example "circuit-breakers.toml" {
        /// Connections.
        max_connections: Int<1, 4_294_967_295>, optional "no limit";
        /// Requests that wait for a connection.
        max_pending_requests: Int<1, 4_294_967_295>, optional "no limit";
        /// Requests in flight.
        max_requests: Int<1, 4_294_967_295>, optional "no limit";
        /// Retries in flight. Excludes `retry_budget`.
        max_retries: Int<1, 4_294_967_295>, optional "no limit";
        /// Retries in flight as a share of the requests. Excludes `max_retries`.
        retry_budget: RetryBudget, optional "no limit";
        /// Connections to one endpoint (Envoy: per_host_thresholds).
        max_connections_per_host: Int<1, 4_294_967_295>, optional "no limit";
        /// Limits of the requests on routes with `priority = "high"`, which are counted apart.
        high: HighCircuitBreakers, optional "no limit";
    }
}

table! {
    /// Limits of the requests on routes with `priority = "high"`. They are counted apart from those of normal priority
    /// and do not take over their limits.
    HighCircuitBreakers at "clusters[].circuit_breakers.high", example "circuit-breakers.toml" {
        /// Connections.
        max_connections: Int<1, 4_294_967_295>, optional "no limit";
        /// Requests that wait for a connection.
        max_pending_requests: Int<1, 4_294_967_295>, optional "no limit";
        /// Requests in flight.
        max_requests: Int<1, 4_294_967_295>, optional "no limit";
        /// Retries in flight. Excludes `retry_budget`.
        max_retries: Int<1, 4_294_967_295>, optional "no limit";
        /// Retries in flight as a share of the requests. Excludes `max_retries`.
        retry_budget: RetryBudget, optional "no limit";
        /// Connections to one endpoint.
        max_connections_per_host: Int<1, 4_294_967_295>, optional "no limit";
    }
}

table! {
    /// Retries in flight as a share of the requests in flight (Envoy: RetryBudget); `{}` is a fifth of them. Also in
    /// `high`.
    RetryBudget at "clusters[].circuit_breakers.retry_budget", example "circuit-breakers.toml" {
        /// Per cent of the requests in flight and waiting; steps of 0.01.
        budget_percent: Percent, default "20";
        /// Retries that are always allowed.
        min_retry_concurrency: Int<0, 1_000_000>, default "3";
    }
}
