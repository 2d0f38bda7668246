//! Virtual hosts, routes, their matches and their actions.

use super::pattern::Pattern;
use super::read::List;
use super::scalar::{Int, RedirectStatus};
use super::table::table;
use super::text::{
    ClusterName, Domain, FilePath, HeaderName, HeaderValue, Host, HostName, Method, Name, NewPath, Scheme, SeparatedPrefix,
    Text, UrlPath,
};
use super::units::Timeout;

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
    }
}

table! {
    /// Which requests a route takes; all that is given must hold. Exactly one of `prefix`, `path`,
    /// `path_separated_prefix` and `regex` is written; they see the path without the query (Envoy: RouteMatch).
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
        /// Compare the path with upper and lower case apart. Not for `regex`: start the pattern with `(?i)`.
        case_sensitive: bool, optional "`true`";
        /// Methods, one of which the request must have.
        methods: List<Method>, optional "every method";
        /// Conditions on header fields.
        headers: List<HeaderMatch>, optional "no condition";
    }
}

table! {
    /// A condition on one header field (Envoy: HeaderMatcher). At most one of `exact`, `prefix`, `suffix`, `contains`,
    /// `regex` and `present` is written.
    HeaderMatch at "listeners[].http.virtual_hosts[].routes[].match.headers[]", example "routes.toml" {
        /// Name of the field, in any case.
        name: HeaderName, required;
        /// The value is this.
        exact: Text, optional "another kind of match";
        /// The value starts with this.
        prefix: Text, optional "another kind of match";
        /// The value ends with this.
        suffix: Text, optional "another kind of match";
        /// This stands in the value.
        contains: Text, optional "another kind of match";
        /// The whole value matches this pattern, see `match.regex`.
        regex: Pattern, optional "another kind of match";
        /// `true`: the field is there; `false`: it is not.
        present: bool, optional "`true` where no other kind is written";
        /// The condition must not hold.
        invert: bool, default "false";
    }
}

table! {
    /// Send the request to a cluster (Envoy: RouteAction).
    Forward at "listeners[].http.virtual_hosts[].routes[].route", example "routes.toml" {
        /// Name of the cluster.
        cluster: ClusterName, required;
        /// Replaces the part of the path that matched: the prefix, or the whole `path`. Not with `regex`.
        prefix_rewrite: UrlPath, optional "the path goes on as it came";
        /// Replaces the host.
        host_rewrite: Host, optional "the host goes on as it came";
        /// Time for the whole response, from the end of the request. Status 504.
        timeout: Timeout, default "\"15s\"";
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
        /// New path; a query in it replaces the request's. Excludes `prefix_rewrite`.
        path: NewPath, optional "unchanged";
        /// Replaces the part of the path that matched. Not with `match.regex`. Excludes `path`.
        prefix_rewrite: UrlPath, optional "unchanged";
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
