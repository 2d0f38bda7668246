//! `[[clusters]]`: servers that can answer the same requests.

mod dns;
mod endpoint;
mod health;
mod lb;
mod limits;
mod outlier;

pub use dns::Dns;
pub use endpoint::{EndpointAddress, EndpointEntry};
pub use health::{CheckedStatuses, HealthCheck, HttpHealthCheck};
pub use lb::{LbPolicyName, Maglev, RingHash, SlowStart, Subsets};
pub use limits::{CircuitBreakers, RetryBudget};
pub use outlier::OutlierDetection;

use lb::{LeastRequest, PeakEwma, RoundRobin};

use crate::model::LookupFamily;
use crate::reader::{
    FromText, Int, IntOrOff, List, Map, Name, OneOf, Percent, Refusal, Shape, Time, Timeout, Word, holds, table,
};

table! {
    /// Servers that can answer the same requests (Envoy: Cluster).
    Cluster at "clusters[]", example "clusters.toml" {
        /// Name that routes use, and part of the statistics' names after `cluster.`; unique.
        name: ClusterLabel, required;
        /// Where the endpoints come from (Envoy: type). `"static"`: the addresses in `endpoints`. `"strict_dns"`: host
        /// names are looked up, again and again, and every address found is an endpoint. `"logical_dns"`: one host
        /// name; new connections go to the first address of the last lookup, and connections to earlier ones stay.
        discovery: OneOf<DiscoveryKind>, optional "`\"static\"`";
        /// Which addresses of a host name are taken: `"auto"` means IPv6, and IPv4 where there is none;
        /// `"v4_preferred"` the reverse; `"all"` both.
        dns_lookup_family: OneOf<LookupFamily>, optional "`\"auto\"`";
        /// How host names are looked up.
        dns: Dns, optional "every key at its default";
        /// The servers, at least one; each an address, or a table with weight, priority and so on. With `"strict_dns"`
        /// and `"logical_dns"` the host may be a name.
        endpoints: List<EndpointEntry>, required;

        /// How the endpoint for a request is chosen: in turn; the one with the fewest requests in flight of two taken
        /// at random; at random; by the hash that the route's `hash_policy` computes (two ways); the one that is
        /// expected to answer first of two taken at random.
        lb_policy: OneOf<LbPolicyName>, optional "`\"round_robin\"`";
        /// Options of this policy.
        round_robin: RoundRobin, optional "every key at its default";
        /// Options of this policy.
        least_request: LeastRequest, optional "every key at its default";
        /// Options of this policy.
        ring_hash: RingHash, optional "every key at its default";
        /// Options of this policy.
        maglev: Maglev, optional "every key at its default";
        /// Options of this policy.
        peak_ewma: PeakEwma, optional "every key at its default";
        /// Per cent: where fewer endpoints of a priority are healthy, health is ignored there, so that the rest is not
        /// overrun (Envoy: healthy_panic_threshold). `0`: never.
        panic_threshold: Percent, default "50";
        /// Answer with status 503 instead where health would be ignored.
        fail_traffic_on_panic: bool, default "false";
        /// Per cent: a priority keeps all of its traffic while its healthy share times this is 100 or more; what is
        /// missing goes to the next priority.
        overprovisioning_factor: Int<1, 10_000>, default "140";
        /// Shares of the localities that the endpoints name; weights of endpoints count inside a locality then (Envoy:
        /// locality_weighted_lb_config).
        locality_weights: Map<Name, Int<1, 1_000_000>>, optional "localities do not matter";
        /// Choose among the endpoints whose metadata is what the route's `metadata_match` asks for.
        subsets: Subsets, optional "no subsets";

        /// Requests and connections that are made only to see which endpoints are well.
        health_checks: List<HealthCheck>, optional "no checks: every endpoint counts as healthy";
        /// Take endpoints out that answer badly. `{}` switches it on with every default.
        outlier_detection: OutlierDetection, optional "off";
        /// Limits on what this cluster gets, in the whole process.
        circuit_breakers: CircuitBreakers, optional "no limit";

        /// Time for a connection to be made. Status 503.
        connect_timeout: Time<1>, default "\"5s\"";
        /// Time that a connection stays unused in the pool.
        idle_timeout: Timeout, default "\"1h\"";
        /// Unused connections that each shard keeps for each endpoint.
        max_idle_connections: Int<0, 1_000_000>, default "1024";
        /// Requests after which a connection is closed.
        max_requests_per_connection: IntOrOff<1, { u64::MAX }>, default "\"off\"";
    }
}

/// A cluster's name where it is given.
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
            let hint = format!("did you mean \"{}\"?", name.split_whitespace().collect::<Vec<_>>().join("_"));
            let refusal = Refusal::new("a cluster's name is part of statistics' names and has no spaces");
            return Err(refusal.hint(Some(hint).filter(|_| !name.trim().is_empty())));
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
