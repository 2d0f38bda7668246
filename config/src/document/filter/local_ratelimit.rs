//! The local rate limit filter.

use crate::document::header::HeaderMatch;
use crate::reader::{Empty, Int, List, MatchableHeader, Name, Percent, Text, Time, table};

table! {
    /// Refuses requests that come too fast, by buckets of tokens that hold for the whole process (Envoy:
    /// local_ratelimit). A request takes a token from the buckets of its descriptors, then one from `token_bucket`; where
    /// one of them is empty, it is refused.
    LocalRateLimit at "listeners[].http.http_filters[].local_ratelimit", example "local-ratelimit.toml" {
        /// Part of the statistics' names before `.http_local_rate_limit.`.
        stat_prefix: Name, default "\"http_local_rate_limiter\"";
        /// The bucket of all requests, those with a descriptor included.
        token_bucket: TokenBucket, optional "only descriptors limit";
        /// How requests get their descriptors.
        rate_limits: List<RateLimitRule>, optional "no request has a descriptor";
        /// Descriptors with buckets of their own.
        descriptors: List<RateLimitDescriptor>, optional "none";
        /// Buckets at the same time for descriptors with an open value; above it, the one that was used longest ago is
        /// given up.
        max_dynamic_descriptors: Int<1, 10_000_000>, default "10000";
        /// How many per cent of the requests are looked at.
        enabled_percent: Percent, default "100";
        /// Of the requests that are over the limit, how many per cent are refused; the others are only counted.
        enforced_percent: Percent, default "100";
        /// Status of the refusal.
        status: Int<400, 599>, default "429";
        /// Tell clients how much is left, in `x-ratelimit-limit`, `x-ratelimit-remaining` and `x-ratelimit-reset`.
        x_ratelimit_headers: bool, default "false";
    }
}

table! {
    /// A bucket that is full at the start and gets tokens from time to time; a request takes one (Envoy: TokenBucket).
    TokenBucket at "listeners[].http.http_filters[].local_ratelimit.token_bucket", example "local-ratelimit.toml" {
        /// How many it holds.
        max_tokens: Int<1, 4_294_967_295>, required;
        /// How many it gets each time.
        tokens_per_fill: Int<1, 4_294_967_295>, default "1";
        /// How often it gets them.
        fill_interval: Time<1>, required;
    }
}

table! {
    /// Gives a request one descriptor, a list of keys with values, one from each action. Where an action has nothing to
    /// say of a request, there is no descriptor (Envoy: RateLimit).
    RateLimitRule at "listeners[].http.http_filters[].local_ratelimit.rate_limits[]", example "local-ratelimit.toml" {
        /// What its entries are, in order.
        actions: List<RateLimitAction>, required;
    }
}

table! {
    /// An entry of a descriptor: a table with exactly one key (Envoy: RateLimit.Action).
    RateLimitAction at "listeners[].http.http_filters[].local_ratelimit.rate_limits[].actions[]", example "local-ratelimit.toml" {
        /// `{}`: the client's address, with the key `remote_address`.
        remote_address: Empty, optional "another action";
        /// The value of a header field.
        request_headers: RequestHeadersAction, optional "another action";
        /// A fixed value.
        generic_key: GenericKeyAction, optional "another action";
        /// A fixed value for requests that fulfil conditions.
        header_value_match: HeaderValueMatchAction, optional "another action";
    }
}

table! {
    /// The value of a header field (Envoy: RequestHeaders).
    RequestHeadersAction at "listeners[].http.http_filters[].local_ratelimit.rate_limits[].actions[].request_headers", example "local-ratelimit.toml" {
        /// Name of the field, or `:path`, `:method`, `:authority` or `:scheme`.
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
    /// A fixed value for requests that fulfil all conditions (Envoy: HeaderValueMatch).
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
    /// A descriptor with a bucket of its own (Envoy: LocalRateLimitDescriptor). Where two of them fit what a rule makes of
    /// a request, the one that names all values counts.
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
        /// Its key, as an action names it.
        key: Name, required;
        /// Its value.
        value: Text, optional "every value, each with a bucket of its own";
    }
}
