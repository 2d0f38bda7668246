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
    /// Endpoints in turn, as often as their weights say (Envoy: RoundRobinLbConfig).
    RoundRobin at "clusters[].round_robin", example "load-balancing.toml" {
        /// Bring new endpoints in gradually.
        slow_start: SlowStart, optional "at once";
    }
}

table! {
    /// The endpoint with the fewest requests in flight of `choice_count` taken at random (Envoy: LeastRequestLbConfig).
    /// Where weights differ, endpoints come in turn, each as often as its weight says, divided by its requests in
    /// flight (plus one) to the power of `active_request_bias`.
    LeastRequest at "clusters[].least_request", example "load-balancing.toml" {
        /// Endpoints that are compared.
        choice_count: Int<2, 1_000>, default "2";
        /// How much requests in flight count where weights differ; `0`: not at all.
        active_request_bias: Number<0, 100_000>, default "1.0";
        /// Bring new endpoints in gradually.
        slow_start: SlowStart, optional "at once";
    }
}

table! {
    /// Each endpoint stands on a ring as often as its weight says; a request goes to the one next to its hash (Envoy:
    /// RingHashLbConfig). When an endpoint comes or goes, only its own share of the requests moves. The hash function
    /// is xxHash.
    RingHash at "clusters[].ring_hash", example "consistent-hash.toml" {
        /// Points on the ring at least: the more, the better shares are kept, and the more memory it takes.
        minimum_ring_size: Int<1, 8_388_608>, default "1024";
        /// Points on the ring at most.
        maximum_ring_size: Int<1, 8_388_608>, default "8388608";
        /// Per cent of the mean number of requests in flight that an endpoint may have; those over it go to the next.
        hash_balance_factor: Int<100, 100_000>, optional "no bound";
    }
}

table! {
    /// A table that says for each hash which endpoint it goes to (Envoy: MaglevLbConfig). Faster to look up than a
    /// ring; when an endpoint comes or goes, a little more than its own share of the requests moves.
    Maglev at "clusters[].maglev", example "consistent-hash.toml" {
        /// Entries of the table, a prime number.
        table_size: Int<2, 5_000_011>, default "65537";
        /// Per cent of the mean number of requests in flight that an endpoint may have; those over it go to the next.
        hash_balance_factor: Int<100, 100_000>, optional "no bound";
    }
}

table! {
    /// The endpoint that is expected to answer first of two taken at random: the moving average of its response times,
    /// multiplied by its requests in flight. A slow answer raises the average at once.
    PeakEwma at "clusters[].peak_ewma", example "load-balancing.toml" {
        /// Time in which an old response time loses most of its weight.
        decay_time: Time<1>, default "\"10s\"";
    }
}

table! {
    /// A new endpoint gets its share of the requests little by little (Envoy: SlowStartConfig). In `round_robin` and
    /// `least_request`.
    SlowStart at "clusters[].least_request.slow_start", example "load-balancing.toml" {
        /// Time from its first appearance, or from when it became healthy, to its full share.
        window: Time<1>, required;
        /// How the share grows: 1 is a straight line; above, it grows faster in the beginning.
        aggression: Number<1, 1_000_000>, default "1.0";
        /// Per cent of its weight to begin with.
        min_weight_percent: Percent, default "10";
    }
}

table! {
    /// Groups of endpoints by their metadata, of which a request takes one (Envoy: LbSubsetConfig). A route with
    /// `metadata_match` whose keys are those of a selector takes the endpoints that have these values; any other route
    /// takes the fallback.
    Subsets at "clusters[].subsets", example "subsets.toml" {
        /// Lists of metadata keys. Each makes a group for every combination of their values.
        selectors: List<List<Name>>, required;
        /// Where a request finds no group: no endpoint (status 503), any endpoint, or those of `default_subset`.
        fallback_policy: OneOf<SubsetFallback>, default "\"no_fallback\"";
        /// Metadata of the endpoints for `"default_subset"`.
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
