//! `[[clusters]]`: servers that can answer the same requests.

mod dns;
mod endpoint;
mod health;
mod lb;
mod limits;
mod outlier;

pub use dns::Dns;
pub use endpoint::{EndpointAddress, EndpointEntry};
pub use health::{CheckedStatuses, GrpcHealthCheck, HealthCheck, HttpHealthCheck};
pub use lb::{LbPolicyName, Maglev, RingHash, SlowStart, Subsets};
pub use limits::{CircuitBreakers, RetryBudget};
pub use outlier::OutlierDetection;

use super::tls::{TransportSocketMatch, UpstreamTls};
use lb::{LeastRequest, PeakEwma, RoundRobin};

use super::http2::Http2;
use crate::model::{LookupFamily, UpstreamProtocol};
use crate::reader::{
    FromText, Int, IntOrOff, List, Map, Name, OneOf, Percent, Refusal, Shape, Time, Timeout, Word, holds, table,
};

table! {
    /// A set of servers that can answer the same requests (Envoy: Cluster).
    Cluster at "clusters[]", example "clusters.toml" {
        /// Name that routes use, and part of the statistics' names after `cluster.`; unique.
        name: ClusterLabel, required;
        /// Where the endpoints come from (Envoy: type). `"static"`: the addresses in `endpoints`. `"strict_dns"`: host
        /// names are looked up regularly, and every address found is an endpoint. `"logical_dns"`: one host name is
        /// looked up regularly; new connections go to its first address that can be reached, and connections to earlier
        /// addresses stay open.
        discovery: OneOf<DiscoveryKind>, optional "`\"static\"`";
        /// Which addresses of a host name are used: `"auto"` means IPv6, or IPv4 if the name has no IPv6 address;
        /// `"v4_preferred"` the reverse; `"all"` both; `"v4_only"` and `"v6_only"` only one kind.
        dns_lookup_family: OneOf<LookupFamily>, optional "`\"auto\"`";
        /// How host names are looked up.
        dns: Dns, optional "every key at its default";
        /// The servers, at least one. Each is an address, or a table with a weight, a priority and so on. With
        /// `"strict_dns"` and `"logical_dns"` the host may be a name.
        endpoints: List<EndpointEntry>, required;

        /// How the endpoint for a request is chosen: in turn (`round_robin`); of two endpoints picked at random, the
        /// one with fewer requests in flight (`least_request`); at random (`random`); by the hash of the route's
        /// `hash_policy`, for sticky sessions (`ring_hash`, `maglev`); of two endpoints picked at random, the one that
        /// is expected to answer first (`peak_ewma`).
        lb_policy: OneOf<LbPolicyName>, optional "`\"round_robin\"`";
        /// Options of the policy of this name.
        round_robin: RoundRobin, optional "every key at its default";
        /// Options of the policy of this name.
        least_request: LeastRequest, optional "every key at its default";
        /// Options of the policy of this name.
        ring_hash: RingHash, optional "every key at its default";
        /// Options of the policy of this name.
        maglev: Maglev, optional "every key at its default";
        /// Options of the policy of this name.
        peak_ewma: PeakEwma, optional "every key at its default";
        /// Percentage of healthy endpoints below which a priority ignores health and uses all its endpoints, so that
        /// the healthy ones are not overloaded (Envoy: healthy_panic_threshold, there 50). `0` means never: requests
        /// get status 503. The program log says when panic begins and when it ends.
        panic_threshold: Percent, optional "only while no endpoint of the cluster is healthy or degraded";
        /// Answer with status 503 instead of ignoring health.
        fail_traffic_on_panic: bool, default "false";
        /// How soon traffic fails over to the next priority: a priority keeps all of it while its percentage of healthy
        /// endpoints, times this number divided by 100, is at least 100. What is missing to 100 goes to the next
        /// priority as a percentage of the requests.
        overprovisioning_factor: Int<1, 10_000>, default "140";
        /// Weights of the localities that the endpoints name. The weights of endpoints then count inside their locality
        /// (Envoy: locality_weighted_lb_config).
        locality_weights: Map<Name, Int<1, 1_000_000>>, optional "localities do not matter";
        /// Choose among the endpoints whose metadata is what the route's `metadata_match` asks for, such as a version
        /// or a canary.
        subsets: Subsets, optional "no subsets";

        /// Active checks: requests or connections that the proxy makes to find out which endpoints are healthy.
        health_checks: List<HealthCheck>, optional "no checks: every endpoint counts as healthy";
        /// Passive checks: endpoints that keep failing are taken out for a while. `{}` switches this on with every
        /// default.
        outlier_detection: OutlierDetection, optional "off";
        /// Limits on the traffic to this cluster, for the whole process.
        circuit_breakers: CircuitBreakers, optional "no limit";

        /// What is spoken with the endpoints. `"http2"`: it is offered in handshakes of TLS, and endpoints that agree to nothing
        /// are taken to know it, as they are without TLS. `"auto"`: what a handshake agrees on, which needs `tls`.
        protocol: OneOf<UpstreamProtocol>, default "\"http1\"";
        /// Options of HTTP/2 connections.
        http2: Http2, optional "every key at its default";
        /// TLS to the endpoints; `{}` switches it on with every default. Health checks use it, too.
        tls: UpstreamTls, optional "plain text";
        /// Other ways to reach some of the endpoints, by their `metadata`. The first one that matches is used; an endpoint
        /// that none matches is reached as `tls` says.
        transport_socket_matches: List<TransportSocketMatch>, optional "all endpoints are reached in the same way";
        /// Time to establish a connection, with the handshake of TLS. Above it, the try has failed, with status 503.
        connect_timeout: Time<1>, default "\"5s\"";
        /// How long an unused connection stays in the pool.
        idle_timeout: Timeout, default "\"1h\"";
        /// Unused connections that each shard keeps for each endpoint.
        max_idle_connections: Int<0, 1_000_000>, default "1024";
        /// Number of requests after which a connection is closed.
        max_requests_per_connection: IntOrOff<1, { u64::MAX }>, default "\"off\"";
    }
}

/// The name of a cluster in its own table.
#[derive(Clone, Debug)]
pub struct ClusterLabel(pub String);

holds! { [] ClusterLabel: String; }

impl FromText for ClusterLabel {
    fn shape() -> Shape {
        Shape::Text { noun: "a name", allowed: "1 to 256 characters, without spaces and control characters" }
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        let name = <Name as FromText>::from_text(text)?.0;
        if name.contains(char::is_whitespace) {
            let joined = name.split_whitespace().collect::<Vec<_>>().join("_");
            let refusal = Refusal::new("a cluster's name is part of statistics' names and has no spaces");
            return Err(refusal.instead("did you mean {}?", [joined]));
        }
        Ok(Self(name))
    }
}

/// Where endpoints come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DiscoveryKind {
    Static,
    StrictDns,
    LogicalDns,
}

impl Word for DiscoveryKind {
    const WORDS: &'static [(&'static str, Self)] =
        &[("static", Self::Static), ("strict_dns", Self::StrictDns), ("logical_dns", Self::LogicalDns)];
    const LATER: &'static [&'static str] = &["eds", "original_dst", "aggregate", "dynamic_forward_proxy"];
}

impl Word for LookupFamily {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("auto", Self::Auto),
        ("v4_only", Self::V4Only),
        ("v6_only", Self::V6Only),
        ("v4_preferred", Self::V4Preferred),
        ("all", Self::All),
    ];
    const LATER: &'static [&'static str] = &[];
}
