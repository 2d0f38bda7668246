//! Virtual hosts, routes, their matches and their actions.

use super::filter::FilterOverrides;
use super::forward::{Forward, RedirectStatus, RegexRewrite};
use super::header::{CookieMatch, HeaderMatch, HeaderToAdd, QueryParameterMatch};
use super::retry::RetryPolicy;
use super::template::Template;
use crate::reader::{
    Domain, EditableHeader, FilePath, HeaderValue, HostName, Int, List, Method, Name, NewPath, Pattern, Percent,
    Scheme, SeparatedPrefix, Text, UrlPath, table,
};

table! {
    /// The routes of some domains (Envoy: VirtualHost). The most specific domain wins: an exact one, then the longest
    /// `*.suffix`, then the longest `prefix.*`, then `*`. A request for none of them gets status 404.
    VirtualHost at "listeners[].http.virtual_hosts[]", example "virtual-hosts.toml" {
        /// Name in the access log; unique in its `http`.
        name: Name, required;
        /// Hosts without port, in any case: exact, `*.suffix`, `prefix.*`, or `*` for every host. Each stands in one
        /// virtual host only.
        domains: List<Domain>, required;
        /// Tried in order; the first that matches is taken. A request that matches none gets status 404.
        routes: List<Route>, required;
        /// When and how requests are sent again, for the routes that say nothing about it.
        retry_policy: RetryPolicy, optional "no further try";
        /// Tell the upstream in `x-envoy-attempt-count` which try this is, from 1.
        include_request_attempt_count: bool, default "false";
        /// Tell the client in `x-envoy-attempt-count` how many tries there were.
        include_attempt_count_in_response: bool, default "false";
        /// Header fields added to requests, after the route's were.
        request_headers_to_add: List<HeaderToAdd>, optional "none";
        /// Header fields removed from requests.
        request_headers_to_remove: List<EditableHeader>, optional "none";
        /// Header fields added to responses.
        response_headers_to_add: List<HeaderToAdd>, optional "none";
        /// Header fields removed from responses.
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
        /// Which requests.
        r#match: RouteMatch, required;
        /// Send the request to a cluster.
        route: Forward, optional "another action";
        /// Answer with a redirect.
        redirect: Redirect, optional "another action";
        /// Answer without any upstream.
        direct_response: DirectResponse, optional "another action";
        /// Header fields added to requests, before the virtual host's are.
        request_headers_to_add: List<HeaderToAdd>, optional "none";
        /// Header fields removed from requests.
        request_headers_to_remove: List<EditableHeader>, optional "none";
        /// Header fields added to responses.
        response_headers_to_add: List<HeaderToAdd>, optional "none";
        /// Header fields removed from responses.
        response_headers_to_remove: List<EditableHeader>, optional "none";
        /// Settings of HTTP filters for this route.
        filters: FilterOverrides, optional "those of the virtual host";
    }
}

table! {
    /// Which requests a route takes; all that is given must hold. Exactly one of `prefix`, `path`,
    /// `path_separated_prefix`, `regex` and `template` is written; they see the path without the query (Envoy:
    /// RouteMatch).
    RouteMatch at "listeners[].http.virtual_hosts[].routes[].match", example "routes.toml" {
        /// The path starts with this; `"/"` matches every path.
        prefix: UrlPath, optional "another kind of match";
        /// The path is this.
        path: UrlPath, optional "another kind of match";
        /// The path is this or goes on with a `/`: `/api` matches `/api` and `/api/x`, not `/apix`.
        path_separated_prefix: SeparatedPrefix, optional "another kind of match";
        /// The whole path matches this pattern. Syntax: the Rust crate regex, like RE2; linear time. It works on
        /// bytes; `.` is any byte but a line end.
        regex: Pattern, optional "another kind of match";
        /// The whole path matches this template: `*` stands for a segment, `**` for all that is left, `{name}` for a
        /// segment and `{name=**}` for more of them that `template_rewrite` can use (Envoy: UriTemplateMatchConfig).
        template: Template, optional "another kind of match";
        /// Compare the path with upper and lower case apart. Not for `regex`, where the pattern may start with `(?i)`, and
        /// not for `template`.
        case_sensitive: bool, optional "`true`";
        /// Methods, one of which the request must have.
        methods: List<Method>, optional "every method";
        /// Conditions on header fields.
        headers: List<HeaderMatch>, optional "no condition";
        /// Conditions on query parameters.
        query_parameters: List<QueryParameterMatch>, optional "no condition";
        /// Conditions on cookies.
        cookies: List<CookieMatch>, optional "no condition";
        /// How many per cent of the requests that fulfil the rest match; the others go on to the next route (Envoy:
        /// runtime_fraction).
        percent: Percent, optional "all";
    }
}

table! {
    /// Answer with a redirect to the request's own address, with these parts of it changed (Envoy: RedirectAction). At
    /// least one part must be.
    Redirect at "listeners[].http.virtual_hosts[].routes[].redirect", example "redirect.toml" {
        /// New scheme, `"http"` or `"https"`. The request's port is dropped with it.
        scheme: Scheme, optional "unchanged";
        /// New host.
        host: HostName, optional "unchanged";
        /// New port.
        port: Int<1, 65535>, optional "unchanged";
        /// New path; a query in it replaces the request's. Only one of this, `prefix_rewrite` and `regex_rewrite` is
        /// written.
        path: NewPath, optional "unchanged";
        /// Replaces the part of the path that matched. Not with `match.regex` and `match.template`.
        prefix_rewrite: UrlPath, optional "unchanged";
        /// Replaces what a pattern matches in the path.
        regex_rewrite: RegexRewrite, optional "unchanged";
        /// Status code; 307 and 308 keep the method.
        status: RedirectStatus, default "301";
        /// Drop the query.
        strip_query: bool, default "false";
    }
}

table! {
    /// Answer without any upstream (Envoy: DirectResponseAction).
    DirectResponse at "listeners[].http.virtual_hosts[].routes[].direct_response", example "direct-response.toml" {
        /// Status code.
        status: Int<200, 599>, required;
        /// The body. Excludes `body_file`.
        body: Text, optional "no body";
        /// File with the body, read once at start, at most 1MiB; a relative path starts at this file's directory.
        /// Excludes `body`.
        body_file: FilePath, optional "no body";
        /// Value of `content-type` where there is a body.
        content_type: HeaderValue, default "\"text/plain\"";
    }
}
