//! Virtual hosts, routes, their matches and their actions.

use super::filter::FilterOverrides;
use super::forward::{Forward, RedirectStatus, RegexRewrite};
use super::header::{CookieMatch, HeaderMatch, HeaderToAdd, QueryParameterMatch};
use super::retry::RetryPolicy;
use super::source::AddressCondition;
use super::template::Template;
use super::tracing::RouteTracing;
use crate::reader::{
    Domain, EditableHeader, FilePath, HeaderValue, HostName, Int, List, Method, Name, NewPath, Pattern, Percent,
    Scheme, SeparatedPrefix, Text, UrlPath, table,
};

table! {
    /// The routes of some domains (Envoy: VirtualHost). The most specific domain wins: an exact one, then the longest
    /// `*.suffix`, then the longest `prefix.*`, then `*`. A request for any other host gets status 404.
    VirtualHost at "listeners[].http.virtual_hosts[]", example "virtual-hosts.toml" {
        /// Name in the access log; unique in its `http`.
        name: Name, required;
        /// Hosts without a port, in any case: exact, `*.suffix`, `prefix.*`, or `*` for every host. A domain can belong
        /// to one virtual host only.
        domains: List<Domain>, required;
        /// Routes, tried in order; the first one that matches is used. A request that matches none gets status 404.
        routes: List<Route>, required;
        /// When and how requests are retried, for the routes without a `retry_policy`.
        retry_policy: RetryPolicy, optional "no retries";
        /// Tell the upstream in `x-envoy-attempt-count` the number of this try, from 1.
        include_request_attempt_count: bool, default "false";
        /// Tell the client in `x-envoy-attempt-count` how many tries there were.
        include_attempt_count_in_response: bool, default "false";
        /// Headers added to requests, after those of the route.
        request_headers_to_add: List<HeaderToAdd>, optional "none";
        /// Headers removed from requests.
        request_headers_to_remove: List<EditableHeader>, optional "none";
        /// Headers added to responses.
        response_headers_to_add: List<HeaderToAdd>, optional "none";
        /// Headers removed from responses.
        response_headers_to_remove: List<EditableHeader>, optional "none";
        /// Settings of HTTP filters for this host.
        filters: FilterOverrides, optional "those of `http_filters`";
    }
}

table! {
    /// One match and one action (Envoy: Route); `listeners[].http.routes[]` in the short form. Exactly one of `route`,
    /// `redirect` and `direct_response` is written.
    Route at "listeners[].http.virtual_hosts[].routes[]", example "routes.toml" {
        /// Name in logs.
        name: Name, optional "no name";
        /// The requests that this route takes.
        r#match: RouteMatch, required;
        /// Forward the request to a cluster.
        route: Forward, optional "another action";
        /// Answer with a redirect.
        redirect: Redirect, optional "another action";
        /// Answer directly, without an upstream.
        direct_response: DirectResponse, optional "another action";
        /// Headers added to requests, before those of the virtual host.
        request_headers_to_add: List<HeaderToAdd>, optional "none";
        /// Headers removed from requests.
        request_headers_to_remove: List<EditableHeader>, optional "none";
        /// Headers added to responses.
        response_headers_to_add: List<HeaderToAdd>, optional "none";
        /// Headers removed from responses.
        response_headers_to_remove: List<EditableHeader>, optional "none";
        /// Tracing of this route's requests.
        tracing: RouteTracing, optional "as in `http.tracing`";
        /// Settings of HTTP filters for this route.
        filters: FilterOverrides, optional "those of the virtual host";
    }
}

table! {
    /// The requests that a route takes; every condition that is written must hold. Exactly one of `prefix`, `path`,
    /// `path_separated_prefix`, `regex` and `template` is written; they are compared with the path without the query
    /// (Envoy: RouteMatch).
    RouteMatch at "listeners[].http.virtual_hosts[].routes[].match", example "routes.toml" {
        /// The path starts with this; `"/"` matches every path.
        prefix: UrlPath, optional "another kind of match";
        /// The path is exactly this.
        path: UrlPath, optional "another kind of match";
        /// The path is this, or this followed by `/` and more: `/api` matches `/api` and `/api/x`, but not `/apix`.
        path_separated_prefix: SeparatedPrefix, optional "another kind of match";
        /// The whole path matches this regular expression. Its syntax is that of the Rust crate regex, which is like
        /// RE2; matching takes linear time. It works on bytes; `.` is any byte but a line end.
        regex: Pattern, optional "another kind of match";
        /// The whole path matches this template: `*` stands for a segment of any characters, `**` for the rest of the path; `{name}` for
        /// a segment and `{name=**}` for several that `template_rewrite` can use (Envoy: UriTemplateMatchConfig).
        template: Template, optional "another kind of match";
        /// Whether upper and lower case differ in the path. It cannot be used with `template` or with `regex`, where
        /// the pattern may start with `(?i)`.
        case_sensitive: bool, optional "`true`";
        /// Methods, one of which must be the request's.
        methods: List<Method>, optional "every method";
        /// Conditions on headers.
        headers: List<HeaderMatch>, optional "no condition";
        /// `true`: only calls of [gRPC](GRPC.md), by their `content-type` (Envoy: grpc).
        grpc: bool, default "false";
        /// Conditions on query parameters.
        query_parameters: List<QueryParameterMatch>, optional "no condition";
        /// Conditions on cookies.
        cookies: List<CookieMatch>, optional "no condition";
        /// Ranges, one of which must contain the client's address, as [trust](TRUST.md#the-clients-address) finds it: the
        /// peer's, or what a trusted proxy says in `x-forwarded-for`. `{ ranges = [...], invert = true }` takes all
        /// others (nginx: allow and deny; Envoy: remote_ip of the RBAC filter).
        remote_ip: AddressCondition, optional "every client";
        /// The same for the address of the connection's other end, whatever it says of others: the proxy in front, if
        /// there is one (Envoy: direct_remote_ip).
        direct_remote_ip: AddressCondition, optional "every peer";
        /// Conditions on the certificate of the client.
        tls_context: TlsContextMatch, optional "no condition";
        /// Percentage of the requests that match, of those that meet all other conditions; the rest go on to the next
        /// route (Envoy: runtime_fraction).
        percent: Percent, optional "all";
    }
}

table! {
    /// What the client showed in its TLS handshake (Envoy: TlsContextMatchOptions). At least one key is written.
    TlsContextMatch at "listeners[].http.virtual_hosts[].routes[].match.tls_context", example "client-certificates.toml" {
        /// Whether it showed a certificate.
        presented: bool, optional "either";
        /// Whether it showed one that was verified, which differs only with `accept_untrusted`.
        validated: bool, optional "either";
    }
}

table! {
    /// Answer with a redirect to the request's own URL with some parts changed (Envoy: RedirectAction). At least one
    /// part must change.
    Redirect at "listeners[].http.virtual_hosts[].routes[].redirect", example "redirect.toml" {
        /// New scheme, `"http"` or `"https"`. Where it is another one than the request's, the request's port is dropped,
        /// unless `port` is written.
        scheme: Scheme, optional "unchanged";
        /// New host. The request's port is dropped with it, unless `port` is written.
        host: HostName, optional "unchanged";
        /// New port.
        port: Int<1, 65535>, optional "unchanged";
        /// New path; a query in it replaces the request's. At most one of `path`, `prefix_rewrite` and `regex_rewrite`
        /// is written.
        path: NewPath, optional "unchanged";
        /// Replaces the part of the path that matched. It cannot be used with `match.regex` or `match.template`.
        prefix_rewrite: UrlPath, optional "unchanged";
        /// Replaces the parts of the path that match a pattern.
        regex_rewrite: RegexRewrite, optional "unchanged";
        /// Status code; with 307 and 308 the client keeps the method.
        status: RedirectStatus, default "301";
        /// Drop the query.
        strip_query: bool, default "false";
    }
}

table! {
    /// Answer directly, without an upstream (Envoy: DirectResponseAction).
    DirectResponse at "listeners[].http.virtual_hosts[].routes[].direct_response", example "direct-response.toml" {
        /// Status code.
        status: Int<200, 599>, required;
        /// The body. Excludes `body_file`.
        body: Text, optional "no body";
        /// File with the body, at most 1MiB, read once when the configuration is loaded. A relative path starts at the
        /// directory of the configuration file. Excludes `body`.
        body_file: FilePath, optional "no body";
        /// Value of the `content-type` header if there is a body.
        content_type: HeaderValue, default "\"text/plain\"";
    }
}
