//! Clusters: where their endpoints come from, how one is picked, what protects them.

use super::{
    Address, CircuitBreakers, HealthCheck, Http2Options, OutlierDetection, Place, Texts, UpstreamProtocol, UpstreamTls,
};
use std::time::Duration;

#[derive(Clone, Debug, PartialEq)]
pub struct Cluster {
    pub place: Place,
    pub name: String,
    pub discovery: Discovery,
    /// Never empty. With `Discovery::Static` every one has an address, otherwise a host name to look up (or an
    /// address, which stays as it is).
    pub endpoints: Vec<Endpoint>,
    pub lb_policy: LbPolicy,
    pub load_balancing: LoadBalancing,
    pub health_checks: Vec<HealthCheck>,
    pub outlier_detection: Option<OutlierDetection>,
    /// For the priorities Default and High.
    pub circuit_breakers: [CircuitBreakers; 2],
    /// How endpoints are reached that no member of `transport_matches` is for.
    pub tls: Option<UpstreamTls>,
    pub transport_matches: Vec<TransportMatch>,
    /// Default `Http1`.
    pub protocol: UpstreamProtocol,
    pub http2: Http2Options,
    /// Default 5s. The handshake of TLS is part of it.
    pub connect_timeout: Duration,
    pub texts: Texts,
    /// How long a connection may stay unused in the pool (default 1h).
    pub idle_timeout: Option<Duration>,
    /// Idle connections kept for each endpoint by each shard (default 1024).
    pub max_idle_connections: u32,
    /// Requests after which an upstream connection is closed (default none).
    pub max_requests_per_connection: Option<u64>,
}

/// How some of the endpoints are reached (Envoy: TransportSocketMatch).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransportMatch {
    pub place: Place,
    pub name: String,
    /// What the endpoint's metadata must have, sorted by key.
    pub criteria: Vec<(String, String)>,
    pub tls: Option<UpstreamTls>,
}

impl TransportMatch {
    pub fn takes(&self, metadata: &[(String, String)]) -> bool {
        self.criteria.iter().all(|wanted| metadata.contains(wanted))
    }
}

impl Cluster {
    /// All ways to reach an endpoint: those of `transport_matches`, and the default.
    pub fn transports(&self) -> impl Iterator<Item = Option<&UpstreamTls>> {
        let matches = self.transport_matches.iter().map(|it| it.tls.as_ref());
        matches.chain(std::iter::once(self.tls.as_ref()))
    }

    /// Which of them is for an endpoint with this metadata: the first one that matches.
    pub fn transport_of(&self, metadata: &[(String, String)]) -> usize {
        let matching = self.transport_matches.iter().position(|it| it.takes(metadata));
        matching.unwrap_or(self.transport_matches.len())
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Discovery {
    Static,
    /// Every address of every name is an endpoint (Envoy: STRICT_DNS).
    StrictDns(Dns),
    /// One name; new connections go to the first of its addresses that can be reached (Envoy: LOGICAL_DNS).
    LogicalDns(Dns),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dns {
    /// Default `Auto`, as Envoy's.
    pub lookup_family: LookupFamily,
    /// Time between two lookups if the TTL is not respected (default 5s).
    pub refresh_rate: Duration,
    /// A random time up to this is added (default 0).
    pub jitter: Duration,
    /// Base and maximum of the back-off after a failure (default `refresh_rate`, ten times it).
    pub failure_refresh: (Duration, Duration),
    /// Use the time to live of an answer as the refresh rate (default true; Envoy's is false).
    pub respect_ttl: bool,
    /// The longest time to live that is respected (default 1h).
    pub max_ttl: Duration,
    /// How long answers without an address leave the endpoints as they are (default 30s).
    pub hold_nx: Duration,
    /// Name servers to ask instead of those in /etc/resolv.conf.
    pub resolvers: Vec<std::net::SocketAddr>,
}

/// Envoy: DnsLookupFamily.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookupFamily {
    /// V6, and V4 if there is no such address.
    Auto,
    V4Only,
    V6Only,
    /// V4, and V6 if there is no such address.
    V4Preferred,
    All,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub place: Place,
    pub target: EndpointTarget,
    /// 1 to 1_000_000. The sum of the weights in the file fits into 32 bits; with addresses found by DNS it may be
    /// larger.
    pub weight: u32,
    /// 0 is the first; priorities have no gaps.
    pub priority: u32,
    /// Empty: none.
    pub locality: String,
    /// For subsets and transports, sorted by key (Envoy: metadata under `envoy.lb` and `envoy.transport_socket_match`).
    pub metadata: Vec<(String, String)>,
    /// Value of `host` for auto rewrites and health checks. If the endpoint was written as a name, it is that name.
    pub hostname: Option<String>,
    /// Port that health checks use (Envoy: health_check_config.port_value).
    pub health_check_port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EndpointTarget {
    Address(Address),
    Name { host: String, port: u16 },
}

#[derive(Clone, Debug, PartialEq)]
pub enum LbPolicy {
    RoundRobin {
        slow_start: Option<SlowStart>,
    },
    /// The better of `choice_count` (default 2) random ones; weighted endpoints by weight divided by
    /// (active requests + 1) to the power of `active_request_bias` (default 1.0).
    LeastRequest {
        choice_count: u32,
        active_request_bias: f64,
        slow_start: Option<SlowStart>,
    },
    Random,
    /// Default 1024 to 8_388_608 points.
    RingHash {
        minimum_size: u64,
        maximum_size: u64,
    },
    /// Default 65537; a prime.
    Maglev {
        table_size: u64,
    },
    /// The lower expected latency of two random endpoints: the moving average of response times, which takes over peaks
    /// at once and decays with this time (default 10s), times the requests in flight.
    PeakEwma {
        decay: Duration,
    },
}

/// Envoy: SlowStartConfig.
#[derive(Clone, Debug, PartialEq)]
pub struct SlowStart {
    pub window: Duration,
    /// Default 1.0.
    pub aggression: f64,
    /// Percentage of the weight to begin with (default 10).
    pub min_weight_percent: f64,
}

/// Settings that hold for every policy (Envoy: CommonLbConfig and LbSubsetConfig).
#[derive(Clone, Debug, PartialEq)]
pub struct LoadBalancing {
    /// Percentage of healthy endpoints of a priority below which health is ignored (0: never); `None`, the default: where
    /// none is usable.
    pub panic_threshold: Option<f64>,
    /// In panic, refuse instead (default false).
    pub fail_traffic_on_panic: bool,
    /// A priority takes all traffic while its percentage of healthy endpoints, times this number divided by 100, is at
    /// least 100 (default 140).
    pub overprovisioning_factor: u32,
    /// Weights of localities, `(locality, weight)`, of 1 or more, for the locality of every endpoint; `None`: localities
    /// do not matter.
    pub locality_weights: Option<Vec<(String, u32)>>,
    pub subsets: Option<Subsets>,
    /// For the consistent hashes: no endpoint gets more than this percentage of the mean load in flight (Envoy:
    /// hash_balance_factor); `None`: no bound.
    pub hash_balance_factor: Option<u32>,
}

/// Envoy: LbSubsetConfig.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subsets {
    /// Each a sorted set of keys; there is a subset for each combination of their values.
    pub selectors: Vec<Vec<String>>,
    pub fallback: SubsetFallback,
    /// For `SubsetFallback::DefaultSubset`, sorted by key.
    pub default_subset: Vec<(String, String)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubsetFallback {
    NoEndpoint,
    AnyEndpoint,
    DefaultSubset,
}
