//! How a cluster's endpoint is chosen: the policies' options and the subsets.

use crate::model::SubsetFallback;
use crate::reader::{Int, List, Map, Name, Number, OneOf, Percent, Time, Word, table};

/// The policies by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LbPolicyName {
    RoundRobin,
    LeastRequest,
    Random,
    RingHash,
    Maglev,
    PeakEwma,
}

impl Word for LbPolicyName {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("round_robin", Self::RoundRobin),
        ("least_request", Self::LeastRequest),
        ("random", Self::Random),
        ("ring_hash", Self::RingHash),
        ("maglev", Self::Maglev),
        ("peak_ewma", Self::PeakEwma),
    ];
    const LATER: &'static [&'static str] =
        &["cluster_provided", "client_side_weighted_round_robin", "pick_first", "wrr_locality"];
}

table! {
    /// Endpoints in turn, each as often as its weight says (Envoy: RoundRobinLbConfig).
    RoundRobin at "clusters[].round_robin", example "load-balancing.toml" {
        /// Give new endpoints their requests gradually.
        slow_start: SlowStart, optional "no slow start";
    }
}

table! {
    /// Of `choice_count` endpoints picked at random, the one with the fewest requests in flight (Envoy:
    /// LeastRequestLbConfig). If weights differ, endpoints are used in turn instead, each as often as its weight
    /// divided by its requests in flight (plus one) to the power of `active_request_bias` says.
    LeastRequest at "clusters[].least_request", example "load-balancing.toml" {
        /// Number of endpoints that are compared.
        choice_count: Int<2, 1_000>, default "2";
        /// How much the requests in flight count if weights differ; `0`: not at all.
        active_request_bias: Number<0, 100_000>, default "1.0";
        /// Give new endpoints their requests gradually.
        slow_start: SlowStart, optional "no slow start";
    }
}

table! {
    /// Consistent hashing on a ring: each endpoint has as many points on it as its weight says, and a request goes to
    /// the first point after its hash (Envoy: RingHashLbConfig). When an endpoint is added or removed, only its own
    /// requests move. The hash function is xxHash.
    RingHash at "clusters[].ring_hash", example "consistent-hash.toml" {
        /// Smallest number of points on the ring. With more points, the distribution of requests is closer to the
        /// weights, and the ring takes more memory.
        minimum_ring_size: Int<1, 8_388_608>, default "1024";
        /// Largest number of points on the ring.
        maximum_ring_size: Int<1, 8_388_608>, default "8388608";
        /// Most requests in flight that an endpoint may have, in per cent of the mean of all endpoints; requests above
        /// it go to the next endpoint.
        hash_balance_factor: Int<100, 100_000>, optional "no bound";
    }
}

table! {
    /// Consistent hashing by a table from hashes to endpoints (Envoy: MaglevLbConfig). A lookup is faster than on a
    /// ring; when an endpoint is added or removed, a few requests of other endpoints move too.
    Maglev at "clusters[].maglev", example "consistent-hash.toml" {
        /// Number of entries in the table, a prime number.
        table_size: Int<2, 5_000_011>, default "65537";
        /// Most requests in flight that an endpoint may have, in per cent of the mean of all endpoints; requests above
        /// it go to the next endpoint.
        hash_balance_factor: Int<100, 100_000>, optional "no bound";
    }
}

table! {
    /// Of two endpoints picked at random, the one that is expected to answer first: it has the lower moving average of
    /// response times multiplied by its requests in flight. A slow response raises the average at once.
    PeakEwma at "clusters[].peak_ewma", example "load-balancing.toml" {
        /// Time in which an old response time loses most of its weight in the average.
        decay_time: Time<1>, default "\"10s\"";
    }
}

table! {
    /// Gives a new endpoint its requests gradually, so that it can warm up (Envoy: SlowStartConfig). It can be used in
    /// `round_robin` and `least_request`.
    SlowStart at "clusters[].least_request.slow_start", example "load-balancing.toml" {
        /// Time until the endpoint has its full weight, from when it was added or became healthy.
        window: Time<1>, required;
        /// How the weight grows: 1 is a straight line; with a larger number it grows faster in the beginning.
        aggression: Number<1, 1_000_000>, default "1.0";
        /// Percentage of its weight that the endpoint begins with.
        min_weight_percent: Percent, default "10";
    }
}

table! {
    /// Groups of endpoints by their metadata, one of which a request uses (Envoy: LbSubsetConfig). A route whose
    /// `metadata_match` has the keys of a selector uses the endpoints with the same values; any other route uses the
    /// fallback.
    Subsets at "clusters[].subsets", example "subsets.toml" {
        /// Lists of metadata keys. For each list there is a group of endpoints for every combination of values.
        selectors: List<List<Name>>, required;
        /// What a request uses if there is no group for it: no endpoint (status 503), any endpoint, or those of
        /// `default_subset`.
        fallback_policy: OneOf<SubsetFallback>, default "\"no_fallback\"";
        /// Metadata of the endpoints that `"default_subset"` uses.
        default_subset: Map<Name, Name>, optional "needed only for that fallback";
    }
}

impl Word for SubsetFallback {
    const WORDS: &'static [(&'static str, Self)] = &[
        ("no_fallback", Self::NoEndpoint),
        ("any_endpoint", Self::AnyEndpoint),
        ("default_subset", Self::DefaultSubset),
    ];
    const LATER: &'static [&'static str] = &["keys_subset"];
}
