//! Retries, circuit breakers, health checks, outlier detection.

use super::{HeaderMatch, Place, Texts};
use std::time::Duration;

/// Envoy: RetryPolicy.
#[derive(Clone, Debug)]
pub struct RetryPolicy {
    pub place: Place,
    pub retry_on: RetryOn,
    /// Default 1.
    pub num_retries: u32,
    /// Of one try, from its start; `None`: only the route's timeout.
    pub per_try_timeout: Option<Duration>,
    /// Of one try, without a byte from the upstream.
    pub per_try_idle_timeout: Option<Duration>,
    /// Base and maximum of the exponential, fully jittered back-off (default 25ms, ten times the base).
    pub back_off: (Duration, Duration),
    pub rate_limited_back_off: Option<RateLimitedBackOff>,
    /// For the condition `retriable_status_codes`.
    pub retriable_status_codes: Vec<u16>,
    /// Conditions on a response: it is retried if one of them holds.
    pub retriable_headers: Vec<HeaderMatch>,
    /// Conditions on a request: if there are any, only requests for which one of them holds are retried.
    pub retriable_request_headers: Vec<HeaderMatch>,
    /// Avoid the endpoints that were tried before (Envoy: retry_host_predicate previous_hosts).
    pub avoid_previous_hosts: bool,
    /// Largest number of picks to find an endpoint that was not tried (default 1).
    pub host_selection_max_attempts: u32,
    /// After each such number of tries, leave out the priorities that were tried (Envoy:
    /// previous_priorities.update_frequency).
    pub previous_priorities: Option<u32>,
    /// Bytes of the request's body that are kept for a retry (default the connection manager's `buffer_limit`).
    pub max_replay_bytes: Option<u64>,
    /// The times, those of `retry_back_off` too.
    pub texts: Texts,
}

/// One bit for each condition (Envoy: x-envoy-retry-on).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RetryOn(pub u32);

impl RetryOn {
    pub const NAMES: [(Self, &'static str); 14] = [
        (Self::SERVER_ERROR, "5xx"),
        (Self::GATEWAY_ERROR, "gateway-error"),
        (Self::RESET, "reset"),
        (Self::RESET_BEFORE_REQUEST, "reset-before-request"),
        (Self::CONNECT_FAILURE, "connect-failure"),
        (Self::ENVOY_RATELIMITED, "envoy-ratelimited"),
        (Self::RETRIABLE_4XX, "retriable-4xx"),
        (Self::RETRIABLE_STATUS_CODES, "retriable-status-codes"),
        (Self::RETRIABLE_HEADERS, "retriable-headers"),
        (Self::CANCELLED, "cancelled"),
        (Self::DEADLINE_EXCEEDED, "deadline-exceeded"),
        (Self::INTERNAL, "internal"),
        (Self::RESOURCE_EXHAUSTED, "resource-exhausted"),
        (Self::UNAVAILABLE, "unavailable"),
    ];
    pub const SERVER_ERROR: Self = Self(1);
    pub const GATEWAY_ERROR: Self = Self(1 << 1);
    pub const RESET: Self = Self(1 << 2);
    pub const RESET_BEFORE_REQUEST: Self = Self(1 << 3);
    pub const CONNECT_FAILURE: Self = Self(1 << 4);
    pub const ENVOY_RATELIMITED: Self = Self(1 << 5);
    pub const RETRIABLE_4XX: Self = Self(1 << 6);
    pub const RETRIABLE_STATUS_CODES: Self = Self(1 << 7);
    pub const RETRIABLE_HEADERS: Self = Self(1 << 8);
    // The statuses of gRPC (Envoy: x-envoy-retry-grpc-on).
    pub const CANCELLED: Self = Self(1 << 9);
    pub const DEADLINE_EXCEEDED: Self = Self(1 << 10);
    pub const INTERNAL: Self = Self(1 << 11);
    pub const RESOURCE_EXHAUSTED: Self = Self(1 << 12);
    pub const UNAVAILABLE: Self = Self(1 << 13);
    const GRPC: u32 = 0b11111 << 9;

    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether a status of gRPC is among the conditions.
    pub fn is_grpc(self) -> bool {
        self.0 & Self::GRPC != 0
    }

    /// The condition for this status of gRPC, if there is one.
    pub fn of_grpc_status(status: u32) -> Option<Self> {
        match status {
            1 => Some(Self::CANCELLED),
            4 => Some(Self::DEADLINE_EXCEEDED),
            8 => Some(Self::RESOURCE_EXHAUSTED),
            13 => Some(Self::INTERNAL),
            14 => Some(Self::UNAVAILABLE),
            _ => None,
        }
    }

    pub fn insert(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The condition of this name; `refused-stream` is none: what is refused so is sent again without it.
    pub fn named(name: &str) -> Option<Self> {
        Self::NAMES.iter().find(|(_, known)| *known == name).map(|(flag, _)| *flag)
    }
}

/// Envoy: RetryPolicy.RateLimitedRetryBackOff.
#[derive(Clone, Debug)]
pub struct RateLimitedBackOff {
    /// Tried in order.
    pub reset_headers: Vec<ResetHeader>,
    /// If a response asks for a longer wait, the exponential back-off is used instead (default 300s).
    pub max_interval: Duration,
}

#[derive(Clone, Debug)]
pub struct ResetHeader {
    /// Lower case.
    pub name: String,
    /// The value is a time in seconds since the epoch, not a number of seconds from now.
    pub is_unix_timestamp: bool,
}

/// Limits of one cluster at one priority; `None`: unlimited, which is the default. Envoy's defaults (1024, and 3
/// retries) do not apply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CircuitBreakers {
    /// Connections, in the whole process.
    pub max_connections: Option<u32>,
    /// Requests that wait for a connection.
    pub max_pending_requests: Option<u32>,
    /// Requests in flight.
    pub max_requests: Option<u32>,
    /// Retries in flight.
    pub max_retries: Option<u32>,
    /// Instead of `max_retries`.
    pub retry_budget: Option<RetryBudget>,
    /// Connections to one endpoint, in the whole process (Envoy: per_host_thresholds).
    pub max_connections_per_host: Option<u32>,
    /// Copies of requests in flight, of both priorities together (default 64).
    pub max_mirrors: u32,
}

impl Default for CircuitBreakers {
    fn default() -> Self {
        Self {
            max_connections: None,
            max_pending_requests: None,
            max_requests: None,
            max_retries: None,
            retry_budget: None,
            max_connections_per_host: None,
            max_mirrors: 64,
        }
    }
}

/// At most this percentage of the requests in flight may be retries, but `min_retry_concurrency` are always allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryBudget {
    /// In hundredths of a per cent (default 20 % = 2000).
    pub budget_per_10_000: u32,
    /// Default 3.
    pub min_retry_concurrency: u32,
}

/// Envoy: core.v3.HealthCheck.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthCheck {
    pub place: Place,
    pub texts: Texts,
    pub kind: HealthCheckKind,
    /// Time that one check may take (default 1s).
    pub timeout: Duration,
    pub interval: Duration,
    /// A random time up to this is added.
    pub interval_jitter: Duration,
    /// Interval while there is no traffic to the cluster (default 60s).
    pub no_traffic_interval: Duration,
    /// Interval for an unhealthy endpoint (default `interval`).
    pub unhealthy_interval: Duration,
    /// Interval right after an endpoint became unhealthy (default `unhealthy_interval`).
    pub unhealthy_edge_interval: Duration,
    /// Interval right after an endpoint became healthy (default `interval`).
    pub healthy_edge_interval: Duration,
    /// Consecutive failures until an endpoint is unhealthy; at the first check, or with a status that is not retriable,
    /// one is enough.
    pub unhealthy_threshold: u32,
    /// Consecutive successes until it is healthy; at the first check after the start one is enough.
    pub healthy_threshold: u32,
    /// Keep the connection between checks (default true).
    pub reuse_connection: bool,
    /// File that gets a JSON line for each change.
    pub event_log: Option<std::path::PathBuf>,
    /// Log every failed check, not only changes (Envoy: always_log_health_check_failures).
    pub always_log_failures: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub enum HealthCheckKind {
    Http(HttpHealthCheck),
    Tcp(TcpHealthCheck),
    Grpc(GrpcHealthCheck),
}

#[derive(Clone, Debug, PartialEq)]
pub struct HttpHealthCheck {
    /// `None`: the endpoint's host name, or the cluster's name if it has none.
    pub host: Option<String>,
    pub path: String,
    /// Default GET.
    pub method: String,
    /// `first..end`; default only 200.
    pub expected_statuses: Vec<std::ops::Range<u16>>,
    /// Failures that count towards the threshold; other unexpected ones make the endpoint unhealthy at once.
    pub retriable_statuses: Vec<std::ops::Range<u16>>,
    /// Headers added to the request.
    pub request_headers: Vec<(String, String)>,
}

/// Envoy: GrpcHealthCheck.
#[derive(Clone, Debug, PartialEq)]
pub struct GrpcHealthCheck {
    /// Empty: the server as a whole.
    pub service_name: String,
    /// As `HttpHealthCheck::host`.
    pub authority: Option<String>,
    /// Headers added to the request, names in lower case.
    pub initial_metadata: Vec<(String, String)>,
}

#[derive(Clone, Debug, PartialEq)]
pub struct TcpHealthCheck {
    /// Empty: connecting is enough.
    pub send: Vec<u8>,
    /// Each must occur in the received bytes, in this order.
    pub receive: Vec<Vec<u8>>,
}

/// Envoy: OutlierDetection, with its defaults. The `enforcing_*` values are percentages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutlierDetection {
    pub place: Place,
    pub texts: Texts,
    /// 5
    pub consecutive_5xx: Option<u32>,
    /// 5, enforced at 0 %
    pub consecutive_gateway_failure: Option<u32>,
    /// 5
    pub consecutive_local_origin_failure: Option<u32>,
    /// 10s
    pub interval: Duration,
    /// 30s
    pub base_ejection_time: Duration,
    /// 300s
    pub max_ejection_time: Duration,
    /// 0s
    pub max_ejection_time_jitter: Duration,
    /// 10
    pub max_ejection_percent: u32,
    /// false
    pub always_eject_one_host: bool,
    /// 100
    pub enforcing_consecutive_5xx: u32,
    /// 0
    pub enforcing_consecutive_gateway_failure: u32,
    /// 100
    pub enforcing_consecutive_local_origin_failure: u32,
    /// 100
    pub enforcing_success_rate: u32,
    /// 100
    pub enforcing_local_origin_success_rate: u32,
    /// 5
    pub success_rate_minimum_hosts: u32,
    /// 100
    pub success_rate_request_volume: u32,
    /// 1900: thousandths of the standard deviation
    pub success_rate_stdev_factor: u32,
    /// 85
    pub failure_percentage_threshold: u32,
    /// 0
    pub enforcing_failure_percentage: u32,
    /// 0
    pub enforcing_failure_percentage_local_origin: u32,
    /// 5
    pub failure_percentage_minimum_hosts: u32,
    /// 50
    pub failure_percentage_request_volume: u32,
    /// false
    pub split_external_local_origin_errors: bool,
    /// true
    pub successful_active_health_check_uneject_host: bool,
}
