//! `route`: to which cluster a request goes, and how.

use super::filter::FilterOverrides;
use super::header::HeaderToAdd;
use super::retry::RetryPolicy;
use super::template::TemplateRewrite;
use crate::diagnostic::Problems;
use crate::model::Priority;
use crate::reader::{
    ClusterName, CookieName, CookiePath, EditableHeader, HeaderName, Host, Input, Int, List, Map, MatchableHeader,
    Name, OffOr, OneOf, Percent, QueryName, Read, SearchPattern, Shape, Substitution, Text, Time, Timeout, UrlPath,
    Word, holds, read_status, table,
};

table! {
    /// Send the request to a cluster (Envoy: RouteAction). Exactly one of `cluster`, `weighted_clusters` and
    /// `cluster_header` is written.
    Forward at "listeners[].http.virtual_hosts[].routes[].route", example "routes.toml" {
        /// Name of the cluster.
        cluster: ClusterName, optional "another target";
        /// Several clusters, each of which gets a share of the requests.
        weighted_clusters: List<WeightedCluster>, optional "another target";
        /// Name of the field of the request whose value names the cluster. Where the field is not there or names none,
        /// the answer has `cluster_not_found_status`.
        cluster_header: HeaderName, optional "another target";
        /// Status where `cluster_header` finds no cluster: 503, 404 or 500.
        cluster_not_found_status: NotFoundStatus, optional "`503`";
        /// Only the endpoints that have these values in their `metadata`; it needs `subsets` of the cluster.
        metadata_match: Map<Name, Text>, optional "every endpoint";

        /// Replaces the part of the path that matched: the prefix, or the whole `path`. Not with `regex` and `template`.
        /// Only one of this, `regex_rewrite` and `template_rewrite` is written.
        prefix_rewrite: UrlPath, optional "the path goes on as it came";
        /// Replaces what a pattern matches in the path.
        regex_rewrite: RegexRewrite, optional "the path goes on as it came";
        /// Builds the path of literals and the variables of `match.template`: `"/v2/{id}"`.
        template_rewrite: TemplateRewrite, optional "the path goes on as it came";
        /// Replaces the host. Only one of the keys that rewrite the host is written.
        host_rewrite: Host, optional "the host goes on as it came";
        /// Replaces the host with the name of the endpoint that is chosen, where it has one.
        auto_host_rewrite: bool, default "false";
        /// Replaces the host with the value of this field of the request, where it is there.
        host_rewrite_header: HeaderName, optional "the host goes on as it came";
        /// Replaces the host with what this makes of the path.
        host_rewrite_path_regex: RegexRewrite, optional "the host goes on as it came";
        /// Keep the host that is replaced, in `x-forwarded-host`.
        append_x_forwarded_host: bool, default "false";

        /// Time for the whole response, further tries included, from the end of the request on. Status 504. It may be
        /// changed by `x-envoy-upstream-rq-timeout-ms` in a request from inside.
        timeout: Timeout, default "\"15s\"";
        /// Time without a byte moving in either direction (Envoy: idle_timeout).
        stream_idle_timeout: Timeout, optional "that of `http`";
        /// Time for the whole exchange, from its start.
        max_stream_duration: Timeout, optional "that of `http`";
        /// When and how a request is sent again.
        retry_policy: OffOr<RetryPolicy>, optional "that of the virtual host";
        /// When `per_try_timeout` passes, go on waiting for that try and send another one beside it; the first good
        /// response counts (Envoy: hedge_policy).
        hedge_on_per_try_timeout: bool, default "false";

        /// What the load balancing policies `ring_hash` and `maglev` make their choice by; the hashes of all members
        /// together, up to the first `terminal` one that gave a hash.
        hash_policy: List<HashPolicy>, optional "a random choice";
        /// Clusters that get a copy of the request; their answers are dropped.
        request_mirror_policies: List<MirrorPolicy>, optional "no copy";
        /// Follow redirects of the upstream here and not in the client.
        internal_redirect_policy: InternalRedirectPolicy, optional "redirects go to the client";
        /// Which of the cluster's circuit breakers count.
        priority: OneOf<Priority>, default "\"default\"";
    }
}

table! {
    /// Replaces every match of a pattern (Envoy: RegexMatchAndSubstitute). It is written as `regex_rewrite` in `route` and
    /// `redirect`, and as `host_rewrite_path_regex`.
    RegexRewrite at "listeners[].http.virtual_hosts[].routes[].route.regex_rewrite", example "rewrites.toml" {
        /// What is replaced; it need not match all of the path.
        pattern: SearchPattern, required;
        /// What takes its place. `\1` is what the first group matched, `\0` all of the match, `\\` a backslash.
        substitution: Substitution, required;
    }
}

/// The status where no cluster has the name.
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
    /// A cluster with its share of the requests (Envoy: ClusterWeight).
    WeightedCluster at "listeners[].http.virtual_hosts[].routes[].route.weighted_clusters[]", example "weighted-clusters.toml" {
        /// Name of the cluster.
        cluster: ClusterName, required;
        /// Its share, relative to the sum of all weights, which is at least 1.
        weight: Int<0, 1_000_000>, required;
        /// Replaces the host, stronger than the route's.
        host_rewrite: Host, optional "what the route says";
        /// Only the endpoints that have these values in their `metadata`, beside those of the route.
        metadata_match: Map<Name, Text>, optional "what the route says";
        /// Header fields added to requests, before the route's are.
        request_headers_to_add: List<HeaderToAdd>, optional "none";
        /// Header fields removed from requests.
        request_headers_to_remove: List<EditableHeader>, optional "none";
        /// Header fields added to responses.
        response_headers_to_add: List<HeaderToAdd>, optional "none";
        /// Header fields removed from responses.
        response_headers_to_remove: List<EditableHeader>, optional "none";
        /// Settings of HTTP filters for these requests, stronger than the route's.
        filters: FilterOverrides, optional "what the route says";
    }
}

table! {
    /// One part of what consistent hashing is done by (Envoy: HashPolicy). Exactly one of `header`, `cookie`, `source_ip`
    /// and `query_parameter` is written.
    HashPolicy at "listeners[].http.virtual_hosts[].routes[].route.hash_policy[]", example "hash-policy.toml" {
        /// The value of this field, or of `:path`, `:method`, `:authority` or `:scheme`.
        header: MatchableHeader, optional "another kind";
        /// The value of a cookie.
        cookie: CookieHash, optional "another kind";
        /// The client's address; `true`.
        source_ip: bool, optional "another kind";
        /// The value of this query parameter.
        query_parameter: QueryName, optional "another kind";
        /// When this part gave a hash, leave the ones after it out.
        terminal: bool, default "false";
    }
}

table! {
    /// The cookie that keeps a client at its endpoint.
    CookieHash at "listeners[].http.virtual_hosts[].routes[].route.hash_policy[].cookie", example "hash-policy.toml" {
        /// Name of the cookie.
        name: CookieName, required;
        /// Make the cookie where the request has none, and let it live so long; `"0s"` makes one for the session.
        ttl: Time<0>, optional "no cookie is made";
        /// Path of the cookie that is made.
        path: CookiePath, optional "none";
    }
}

table! {
    /// A cluster that gets a copy of the requests (Envoy: RequestMirrorPolicy). To the host `-shadow` is added. The request
    /// never waits for its copy: one that falls behind by more than `buffer_limit` of `http` is given up.
    MirrorPolicy at "listeners[].http.virtual_hosts[].routes[].route.request_mirror_policies[]", example "mirror.toml" {
        /// Name of the cluster.
        cluster: ClusterName, required;
        /// How many per cent of the requests are copied.
        percent: Percent, default "100";
    }
}

table! {
    /// Which redirects of the upstream are followed here (Envoy: InternalRedirectPolicy).
    InternalRedirectPolicy at "listeners[].http.virtual_hosts[].routes[].route.internal_redirect_policy", example "internal-redirect.toml" {
        /// How many of them for one request; the next one goes to the client.
        max_internal_redirects: Int<1, 100>, default "1";
        /// Statuses that count as a redirect; 301, 302, 303, 307 and 308 are possible.
        redirect_response_codes: List<RedirectStatus>, optional "`[302]`";
        /// Follow also from `https` to `http` and back.
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
