//! `route`: the cluster that a request goes to, and how it gets there.

use super::filter::FilterOverrides;
use super::header::HeaderToAdd;
use super::retry::RetryPolicy;
use super::template::TemplateRewrite;
use crate::diagnostic::Problems;
use crate::model::Priority;
use crate::reader::{
    ClusterName, CookieName, CookiePath, EditableHeader, HeaderName, Host, Input, Int, List, Located, Map,
    MatchableHeader, Name, OffOr, OneOf, Percent, QueryName, Read, SearchPattern, Shape, Substitution, Text, Time,
    Timeout, UrlPath, Word, Written, holds, read_status, table,
};

table! {
    /// Forward the request to a cluster (Envoy: RouteAction). Exactly one of `cluster`, `weighted_clusters` and
    /// `cluster_header` is written.
    Forward at "listeners[].http.virtual_hosts[].routes[].route", example "routes.toml" {
        /// Name of the cluster.
        cluster: ClusterName, optional "another target";
        /// Several clusters, each of which gets a percentage of the requests by its weight: a canary release,
        /// blue-green, an A/B test.
        weighted_clusters: List<WeightedCluster>, optional "another target";
        /// Name of a request header whose value names the cluster. If the header is missing or names no cluster, the
        /// response has `cluster_not_found_status`.
        cluster_header: HeaderName, optional "another target";
        /// Status if `cluster_header` finds no cluster: 503, 404 or 500.
        cluster_not_found_status: NotFoundStatus, optional "`503`";
        /// Use only the endpoints with these values in their `metadata`. The cluster needs `subsets` for that.
        metadata_match: Map<Name, Text>, optional "every endpoint";

        /// Replaces the part of the path that matched: the prefix, or the whole `path`. It cannot be used with
        /// `match.regex` or `match.template`. At most one of `prefix_rewrite`, `regex_rewrite` and `template_rewrite`
        /// is written.
        prefix_rewrite: UrlPath, optional "the path is not changed";
        /// Replaces the parts of the path that match a pattern.
        regex_rewrite: RegexRewrite, optional "the path is not changed";
        /// Builds the path from literals and the variables of `match.template`: `"/v2/{id}"`.
        template_rewrite: TemplateRewrite, optional "the path is not changed";
        /// Replaces the host, which goes on in `x-envoy-original-host`. At most one of the keys that rewrite the host is written.
        host_rewrite: Host, optional "the host is not changed";
        /// Replaces the host by the name of the chosen endpoint, if it has one.
        auto_host_rewrite: bool, default "false";
        /// Replaces the host by the value of this request header, if it is there.
        host_rewrite_header: HeaderName, optional "the host is not changed";
        /// Replaces the host by the path after this rewrite.
        host_rewrite_path_regex: RegexRewrite, optional "the host is not changed";
        /// Keep the replaced host in `x-forwarded-host`, too.
        append_x_forwarded_host: bool, default "false";

        /// Time from the end of the request to the end of the response, retries included. Above it, status 504, or a reset if
        /// the response has begun: downloads and event streams are cut by it, too. Internal requests may change it with
        /// `x-envoy-upstream-rq-timeout-ms`.
        timeout: Timeout, default "\"off\"";
        /// Time from the end of the request to the head of the response, retries included. Above it, status 504. It is not for
        /// requests whose `content-type` begins with `application/grpc`. A response that has begun is guarded by
        /// `stream_idle_timeout`.
        response_head_timeout: Timeout, optional "`\"60s\"`, or off where `timeout` is written";
        /// Time that an exchange may last without a byte moving in either direction (Envoy: idle_timeout).
        stream_idle_timeout: Timeout, optional "that of `http`";
        /// Time that a whole exchange may take, from its start.
        max_stream_duration: Timeout, optional "that of `http`";
        /// A [call of gRPC](GRPC.md#time) may take the time that its `grpc-timeout` says, up to this one; `"0s"` is without a
        /// maximum. It takes the place of `max_stream_duration`; `x-envoy-upstream-rq-timeout-ms` of internal requests takes
        /// the place of both (Envoy: grpc_timeout_header_max in max_stream_duration).
        grpc_timeout_header_max: Time<0>, optional "`grpc-timeout` is only passed on";
        /// What the time of `grpc_timeout_header_max` is shortened by, so that the call ends here with its status before the
        /// client gives it up. A call that has no time left ends at once.
        grpc_timeout_header_offset: Time<0>, optional "`\"0s\"`";
        /// When and how a request is retried; `"off"` switches off the virtual host's retries.
        retry_policy: OffOr<RetryPolicy>, optional "that of the virtual host";
        /// When `per_try_timeout` has passed, send another try and still wait for the one before it; the first good
        /// response is used (Envoy: hedge_policy).
        hedge_on_per_try_timeout: bool, default "false";

        /// What the load balancing policies `ring_hash` and `maglev` choose an endpoint by, for sticky sessions and
        /// caches. The hashes of all members are combined, up to the first `terminal` member that gives a hash.
        hash_policy: List<Written<HashPolicy>>, optional "a random choice";
        /// Clusters that get a copy of the request (mirroring, shadow traffic); their responses are dropped.
        request_mirror_policies: List<MirrorPolicy>, optional "no copy";
        /// Follow the upstream's redirects in the proxy instead of passing them to the client.
        internal_redirect_policy: InternalRedirectPolicy, optional "redirects go to the client";
        /// The circuit breakers of the cluster that the requests count towards: the normal ones or those of high
        /// priority.
        priority: OneOf<Priority>, default "\"default\"";
    }
}

impl Forward {
    /// The clusters that it names.
    pub fn clusters(&self) -> impl Iterator<Item = &Located<ClusterName>> {
        let weighted = self.weighted_clusters.items().iter().filter_map(|weighted| weighted.cluster.given());
        self.cluster.given().into_iter().chain(weighted)
    }
}

table! {
    /// Replaces every match of a pattern (Envoy: RegexMatchAndSubstitute). It is written as `regex_rewrite` in `route` and
    /// `redirect`, and as `host_rewrite_path_regex`.
    RegexRewrite at "listeners[].http.virtual_hosts[].routes[].route.regex_rewrite", example "rewrites.toml" {
        /// Pattern of the parts that are replaced; it need not match the whole path.
        pattern: SearchPattern, required;
        /// The replacement. `\1` is the text that the first group matched, `\0` the whole match, `\\` a backslash.
        substitution: Substitution, required;
    }
}

/// The status if no cluster has the name.
#[derive(Clone, Copy, Debug)]
pub struct NotFoundStatus(pub u16);

holds! { [] NotFoundStatus: u16; }

impl NotFoundStatus {
    const ALL: [u64; 3] = [404, 500, 503];
}

impl Read for NotFoundStatus {
    fn shape() -> Shape {
        Shape::Numbers(&Self::ALL)
    }

    fn read(input: &Input<'_, '_>, problems: &mut Problems<'_>) -> Option<Self> {
        read_status::<Self>(input, &Self::ALL, "a status for this", problems).map(Self)
    }
}

table! {
    /// A cluster and its weight (Envoy: ClusterWeight).
    WeightedCluster at "listeners[].http.virtual_hosts[].routes[].route.weighted_clusters[]", example "weighted-clusters.toml" {
        /// Name of the cluster.
        cluster: ClusterName, required;
        /// Its weight: the cluster gets this part of the sum of all weights, which must be at least 1.
        weight: Int<0, 1_000_000>, required;
        /// Replaces the host; overrides the route.
        host_rewrite: Host, optional "as in the route";
        /// Use only the endpoints with these values in their `metadata`, in addition to those that the route asks for.
        metadata_match: Map<Name, Text>, optional "as in the route";
        /// Headers added to requests, before those of the route.
        request_headers_to_add: List<HeaderToAdd>, optional "none";
        /// Headers removed from requests.
        request_headers_to_remove: List<EditableHeader>, optional "none";
        /// Headers added to responses.
        response_headers_to_add: List<HeaderToAdd>, optional "none";
        /// Headers removed from responses.
        response_headers_to_remove: List<EditableHeader>, optional "none";
        /// Settings of HTTP filters for these requests; they override those of the route.
        filters: FilterOverrides, optional "as in the route";
    }
}

table! {
    /// One part of a request that its endpoint is chosen by (Envoy: HashPolicy): requests with the same value go to the
    /// same endpoint. Exactly one of `header`, `cookie`, `source_ip` and `query_parameter` is written.
    HashPolicy at "listeners[].http.virtual_hosts[].routes[].route.hash_policy[]", example "hash-policy.toml" {
        /// The value of this header, or of `:path`, `:method`, `:authority` or `:scheme`.
        header: MatchableHeader, optional "another kind";
        /// The value of a cookie.
        cookie: CookieHash, optional "another kind";
        /// `true`: the client's address.
        source_ip: bool, optional "another kind";
        /// The value of this query parameter.
        query_parameter: QueryName, optional "another kind";
        /// If this part gives a hash, ignore the parts after it.
        terminal: bool, default "false";
    }
}

table! {
    /// The cookie that keeps a client with one endpoint: sticky sessions.
    CookieHash at "listeners[].http.virtual_hosts[].routes[].route.hash_policy[].cookie", example "hash-policy.toml" {
        /// Name of the cookie.
        name: CookieName, required;
        /// Set the cookie if the request has none, with this lifetime; `"0s"` makes it a session cookie.
        ttl: Time<0>, optional "the cookie is never set";
        /// Path of the cookie that is set.
        path: CookiePath, optional "none";
    }
}

table! {
    /// A cluster that gets a copy of requests (Envoy: RequestMirrorPolicy), with `-shadow` appended to the host. A
    /// request never waits for its copy: a copy that falls behind by more than three quarters of
    /// `buffer_limit` of `http` is given up.
    MirrorPolicy at "listeners[].http.virtual_hosts[].routes[].route.request_mirror_policies[]", example "mirror.toml" {
        /// Name of the cluster.
        cluster: ClusterName, required;
        /// Percentage of the requests that are copied.
        percent: Percent, default "100";
    }
}

table! {
    /// The redirects of the upstream that the proxy follows itself (Envoy: InternalRedirectPolicy).
    InternalRedirectPolicy at "listeners[].http.virtual_hosts[].routes[].route.internal_redirect_policy", example "internal-redirect.toml" {
        /// Number of redirects that are followed for one request; the next one goes to the client.
        max_internal_redirects: Int<1, 100>, default "1";
        /// Statuses that count as a redirect: any of 301, 302, 303, 307 and 308.
        redirect_response_codes: List<RedirectStatus>, optional "`[302]`";
        /// Also follow redirects from `https` to `http` and from `http` to `https`.
        allow_cross_scheme_redirect: bool, default "false";
    }
}

impl Word for Priority {
    const WORDS: &'static [(&'static str, Self)] = &[("default", Self::Default), ("high", Self::High)];
    const LATER: &'static [&'static str] = &[];
}

/// The status of a redirect (RFC 9110 section 15.4).
#[derive(Clone, Copy, Debug)]
pub struct RedirectStatus(pub u16);

holds! { [] RedirectStatus: u16; }

impl RedirectStatus {
    const ALL: [u64; 5] = [301, 302, 303, 307, 308];
}

impl Read for RedirectStatus {
    fn shape() -> Shape {
        Shape::Numbers(&Self::ALL)
    }

    fn read(input: &Input<'_, '_>, problems: &mut Problems<'_>) -> Option<Self> {
        read_status::<Self>(input, &Self::ALL, "the status of a redirect", problems).map(Self)
    }
}
