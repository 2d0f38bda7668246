//! Which limit was reached, in the words of the configuration and of the statistics.

use super::{Priority, Resource};
use crate::stats::ClusterStats;
use ringway_config::model::CircuitBreakers;

/// A limit that was reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overflow {
    Connections(Priority),
    ConnectionsPerHost(Priority),
    PendingRequests(Priority),
    Requests(Priority),
    Retries(Priority),
    RetryBudget(Priority),
    /// The retry budget of a cluster for which none is written.
    DefaultRetryBudget(Priority),
    Mirrors,
}

impl Overflow {
    pub(super) const COUNT: usize = 15;

    pub(super) fn of(resource: Resource, priority: Priority) -> Self {
        match resource {
            Resource::Connections => Self::Connections(priority),
            Resource::PendingRequests => Self::PendingRequests(priority),
            Resource::Requests => Self::Requests(priority),
            Resource::Retries => Self::Retries(priority),
            Resource::Mirrors => Self::Mirrors,
        }
    }

    pub(super) fn index(self) -> usize {
        let (kind, priority) = match self {
            Self::Connections(priority) => (0, priority),
            Self::ConnectionsPerHost(priority) => (1, priority),
            Self::PendingRequests(priority) => (2, priority),
            Self::Requests(priority) => (3, priority),
            Self::Retries(priority) => (4, priority),
            Self::RetryBudget(priority) => (5, priority),
            Self::DefaultRetryBudget(priority) => (6, priority),
            Self::Mirrors => (7, Priority::Default),
        };
        2 * kind + priority as usize
    }

    pub fn priority(self) -> Priority {
        match self {
            Self::Connections(priority)
            | Self::ConnectionsPerHost(priority)
            | Self::PendingRequests(priority)
            | Self::Requests(priority)
            | Self::Retries(priority)
            | Self::RetryBudget(priority)
            | Self::DefaultRetryBudget(priority) => priority,
            Self::Mirrors => Priority::Default,
        }
    }

    /// The key of the configuration that sets this limit.
    pub fn config_key(self) -> &'static str {
        use Priority::{Default, High};
        match self {
            Self::Connections(Default) => "clusters[].circuit_breakers.max_connections",
            Self::Connections(High) => "clusters[].circuit_breakers.high.max_connections",
            Self::ConnectionsPerHost(Default) => "clusters[].circuit_breakers.max_connections_per_host",
            Self::ConnectionsPerHost(High) => "clusters[].circuit_breakers.high.max_connections_per_host",
            Self::PendingRequests(Default) => "clusters[].circuit_breakers.max_pending_requests",
            Self::PendingRequests(High) => "clusters[].circuit_breakers.high.max_pending_requests",
            Self::Requests(Default) => "clusters[].circuit_breakers.max_requests",
            Self::Requests(High) => "clusters[].circuit_breakers.high.max_requests",
            Self::Retries(Default) => "clusters[].circuit_breakers.max_retries",
            Self::Retries(High) => "clusters[].circuit_breakers.high.max_retries",
            Self::RetryBudget(Default) | Self::DefaultRetryBudget(Default) => {
                "clusters[].circuit_breakers.retry_budget"
            }
            Self::RetryBudget(High) | Self::DefaultRetryBudget(High) => "clusters[].circuit_breakers.high.retry_budget",
            Self::Mirrors => "clusters[].circuit_breakers.max_mirrors",
        }
    }

    /// Envoy's response code details, with the key.
    pub fn details(self) -> &'static str {
        macro_rules! details {
            ($key:literal) => {
                concat!("upstream_reset_before_response_started{overflow|clusters[].circuit_breakers.", $key, "}")
            };
        }
        use Priority::{Default, High};
        match self {
            Self::Connections(Default) => details!("max_connections"),
            Self::Connections(High) => details!("high.max_connections"),
            Self::ConnectionsPerHost(Default) => details!("max_connections_per_host"),
            Self::ConnectionsPerHost(High) => details!("high.max_connections_per_host"),
            Self::PendingRequests(Default) => details!("max_pending_requests"),
            Self::PendingRequests(High) => details!("high.max_pending_requests"),
            Self::Requests(Default) => details!("max_requests"),
            Self::Requests(High) => details!("high.max_requests"),
            Self::Retries(Default) => details!("max_retries"),
            Self::Retries(High) => details!("high.max_retries"),
            Self::RetryBudget(Default) | Self::DefaultRetryBudget(Default) => details!("retry_budget"),
            Self::RetryBudget(High) | Self::DefaultRetryBudget(High) => details!("high.retry_budget"),
            Self::Mirrors => details!("max_mirrors"),
        }
    }

    /// The statistic of the cluster that counts this.
    pub fn statistic(self) -> &'static str {
        match self {
            Self::Connections(_) | Self::ConnectionsPerHost(_) => "upstream_cx_overflow",
            Self::PendingRequests(_) | Self::Requests(_) => "upstream_rq_pending_overflow",
            Self::Retries(_) | Self::RetryBudget(_) | Self::DefaultRetryBudget(_) => "upstream_rq_retry_overflow",
            Self::Mirrors => "upstream_rq_mirror_overflow",
        }
    }

    pub(super) fn count(self, stats: &ClusterStats) {
        match self {
            Self::Connections(_) | Self::ConnectionsPerHost(_) => stats.upstream_cx_overflow.inc(),
            Self::PendingRequests(_) | Self::Requests(_) => stats.upstream_rq_pending_overflow.inc(),
            Self::Retries(_) | Self::RetryBudget(_) | Self::DefaultRetryBudget(_) => {
                stats.upstream_rq_retry_overflow.inc();
            }
            Self::Mirrors => stats.upstream_rq_mirror_overflow.inc(),
        }
    }

    /// The limit as configured; `None` for a budget, which moves with the load.
    pub(super) fn limit(self, breakers: &CircuitBreakers) -> Option<u32> {
        match self {
            Self::Connections(_) => breakers.max_connections,
            Self::ConnectionsPerHost(_) => breakers.max_connections_per_host,
            Self::PendingRequests(_) => breakers.max_pending_requests,
            Self::Requests(_) => breakers.max_requests,
            Self::Retries(_) => breakers.max_retries,
            Self::RetryBudget(_) | Self::DefaultRetryBudget(_) => None,
            Self::Mirrors => Some(breakers.max_mirrors),
        }
    }
}
