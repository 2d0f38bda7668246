//! The local rate limit filter.

use crate::document::header::HeaderMatch;
use crate::reader::{Empty, Int, List, MatchableHeader, Name, Percent, Text, Time, table};

table! {
    /// Limits the rate of requests with token buckets that the whole process shares (Envoy: local_ratelimit). A request
    /// takes a token from the buckets of its descriptors, then one from `token_bucket`; if one of them is empty, the
    /// request is refused.
    LocalRateLimit at "listeners[].http.http_filters[].local_ratelimit", example "local-ratelimit.toml" {
        /// Part of the statistics' names before `.http_local_rate_limit.`.
        stat_prefix: Name, default "\"http_local_rate_limiter\"";
        /// The bucket of all requests, those with a descriptor included.
        token_bucket: TokenBucket, optional "only descriptors have limits";
        /// How requests get their descriptors.
        rate_limits: List<RateLimitRule>, optional "no request has a descriptor";
        /// Descriptors with buckets of their own.
        descriptors: List<RateLimitDescriptor>, optional "none";
        /// Number of buckets kept for descriptors with an open value. Above it, the bucket that was not used for the
        /// longest time is dropped.
        max_dynamic_descriptors: Int<1, 10_000_000>, default "10000";
        /// Percentage of the requests that the filter looks at.
        enabled_percent: Percent, default "100";
        /// Percentage of the requests above the limit that are refused; the others are only counted.
        enforced_percent: Percent, default "100";
        /// Status of the refusal.
        status: Int<400, 599>, default "429";
        /// Calls of [gRPC](GRPC.md) that are refused get the status `RESOURCE_EXHAUSTED` instead of `UNAVAILABLE`, after which
        /// clients try again.
        rate_limited_as_resource_exhausted: bool, default "false";
        /// Tell clients how many requests they have left, in the headers `x-ratelimit-limit`, `x-ratelimit-remaining`
        /// and `x-ratelimit-reset`.
        x_ratelimit_headers: bool, default "false";
    }
}

table! {
    /// A bucket that is full at the start and is refilled at regular intervals; each request takes a token (Envoy:
    /// TokenBucket).
    TokenBucket at "listeners[].http.http_filters[].local_ratelimit.token_bucket", example "local-ratelimit.toml" {
        /// Number of tokens that the bucket holds.
        max_tokens: Int<1, 4_294_967_295>, required;
        /// Number of tokens added each time.
        tokens_per_fill: Int<1, 4_294_967_295>, default "1";
        /// Time between two refills.
        fill_interval: Time<1>, required;
    }
}

table! {
    /// Gives a request a descriptor: a list of keys with values, one from each action. If an action finds no value in
    /// the request, the request gets no descriptor from this rule (Envoy: RateLimit).
    RateLimitRule at "listeners[].http.http_filters[].local_ratelimit.rate_limits[]", example "local-ratelimit.toml" {
        /// The actions that make its entries, in order.
        actions: List<RateLimitAction>, required;
    }
}

table! {
    /// An entry of a descriptor: a table with exactly one key (Envoy: RateLimit.Action).
    RateLimitAction at "listeners[].http.http_filters[].local_ratelimit.rate_limits[].actions[]", example "local-ratelimit.toml" {
        /// `{}`: the client's address, with the key `remote_address`.
        remote_address: Empty, optional "another action";
        /// The value of a header.
        request_headers: RequestHeadersAction, optional "another action";
        /// A fixed value.
        generic_key: GenericKeyAction, optional "another action";
        /// A fixed value for requests that meet conditions.
        header_value_match: HeaderValueMatchAction, optional "another action";
    }
}

table! {
    /// The value of a header (Envoy: RequestHeaders).
    RequestHeadersAction at "listeners[].http.http_filters[].local_ratelimit.rate_limits[].actions[].request_headers", example "local-ratelimit.toml" {
        /// Name of the header, or `:path`, `:method`, `:authority` or `:scheme`.
        header_name: MatchableHeader, required;
        /// The entry's key.
        descriptor_key: Name, required;
    }
}

table! {
    /// A fixed value (Envoy: GenericKey).
    GenericKeyAction at "listeners[].http.http_filters[].local_ratelimit.rate_limits[].actions[].generic_key", example "local-ratelimit.toml" {
        /// The entry's key.
        descriptor_key: Name, default "\"generic_key\"";
        /// The entry's value.
        descriptor_value: Text, required;
    }
}

table! {
    /// A fixed value for requests that meet all conditions (Envoy: HeaderValueMatch).
    HeaderValueMatchAction at "listeners[].http.http_filters[].local_ratelimit.rate_limits[].actions[].header_value_match", example "local-ratelimit.toml" {
        /// The entry's key.
        descriptor_key: Name, default "\"header_match\"";
        /// The entry's value.
        descriptor_value: Text, required;
        /// The conditions.
        headers: List<HeaderMatch>, required;
    }
}

table! {
    /// A descriptor with its own bucket (Envoy: LocalRateLimitDescriptor). If two of them match what a rule makes of a
    /// request, the one that names every value is used.
    RateLimitDescriptor at "listeners[].http.http_filters[].local_ratelimit.descriptors[]", example "local-ratelimit.toml" {
        /// Its entries, in the order of the actions that make them; at least one.
        entries: List<RateLimitEntry>, required;
        /// The bucket.
        token_bucket: TokenBucket, required;
    }
}

table! {
    /// An entry of a descriptor.
    RateLimitEntry at "listeners[].http.http_filters[].local_ratelimit.descriptors[].entries[]", example "local-ratelimit.toml" {
        /// Its key, as an action gives it.
        key: Name, required;
        /// Its value.
        value: Text, optional "every value, each with its own bucket";
    }
}
