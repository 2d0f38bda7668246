//! Virtual hosts and routes: which requests match, and what happens to them.

use super::{
    AddressMatch, FilterOverrides, FormatPiece, Pattern, Place, RetryPolicy, RouteTracing, StringMatch, Texts,
};
use std::time::Duration;

#[derive(Clone, Debug)]
pub struct VirtualHost {
    pub place: Place,
    pub name: String,
    /// Lower case: exact, `*.suffix`, `prefix.*` or `*`; no domain belongs to two virtual hosts.
    pub domains: Vec<String>,
    pub routes: Vec<Route>,
    pub headers: HeaderMutations,
    pub filters: FilterOverrides,
    /// Set x-envoy-attempt-count on requests, and on responses.
    pub include_request_attempt_count: bool,
    pub include_attempt_count_in_response: bool,
}

#[derive(Clone, Debug)]
pub struct Route {
    pub place: Place,
    pub name: Option<String>,
    pub matcher: RouteMatch,
    pub action: RouteAction,
    pub headers: HeaderMutations,
    pub tracing: RouteTracing,
    /// They override the virtual host's (Envoy: typed_per_filter_config).
    pub filters: FilterOverrides,
}

/// Every condition that is written must hold (Envoy: RouteMatch).
#[derive(Clone, Debug)]
pub struct RouteMatch {
    pub path: PathMatch,
    pub case_sensitive: bool,
    /// Empty: every method.
    pub methods: Vec<String>,
    /// All must hold.
    pub headers: Vec<HeaderMatch>,
    pub query_parameters: Vec<QueryParameterMatch>,
    pub cookies: Vec<CookieMatch>,
    pub addresses: Vec<AddressMatch>,
    pub tls: Option<TlsContextMatch>,
    /// The fraction of the requests that match (Envoy: runtime_fraction, without a runtime key).
    pub fraction: Option<Fraction>,
}

impl RouteMatch {
    /// Every request with such a path.
    pub fn of_path(path: PathMatch) -> Self {
        Self {
            path,
            case_sensitive: true,
            methods: Vec::new(),
            headers: Vec::new(),
            query_parameters: Vec::new(),
            cookies: Vec::new(),
            addresses: Vec::new(),
            tls: None,
            fraction: None,
        }
    }
}

/// Envoy: TlsContextMatchOptions. Each that is given must be so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TlsContextMatch {
    pub presented: Option<bool>,
    pub validated: Option<bool>,
}

/// Matched against the path without the query, except that a regex must match all of it.
#[derive(Clone, Debug)]
pub enum PathMatch {
    Prefix(String),
    Exact(String),
    /// `/api` matches `/api` and `/api/x`, not `/apix`. Never ends in '/'.
    PathSeparatedPrefix(String),
    /// Anchored at both ends by the resolver.
    Regex(Pattern),
    /// Envoy: path_match_policy with uri_template.
    Template(UriTemplate),
}

/// `/videos/{id}/*.ts` and the like (Envoy: UriTemplateMatchConfig), compiled to a pattern with a named group for each
/// variable.
#[derive(Clone, Debug)]
pub struct UriTemplate {
    pub text: String,
    /// Anchored at both ends.
    pub regex: Pattern,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeaderMatch {
    /// Lower case; `:method`, `:path`, `:authority` and `:scheme` name the parts of the request line.
    pub name: String,
    pub kind: HeaderMatchKind,
    pub invert: bool,
    /// A header that is not there counts as an empty one (Envoy: treat_missing_header_as_empty). Otherwise it meets no
    /// condition on its value, inverted or not.
    pub missing_as_empty: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HeaderMatchKind {
    Present,
    Value(StringMatch),
    /// A decimal integer, `start` included, `end` not (Envoy: range_match).
    Range {
        start: i64,
        end: i64,
    },
}

/// The first parameter with this name counts. Values are compared as they are in the URL, not decoded (Envoy:
/// QueryParameterMatcher).
#[derive(Clone, Debug)]
pub struct QueryParameterMatch {
    pub name: String,
    /// `None`: it is there.
    pub value: Option<StringMatch>,
}

/// One cookie of the `cookie` header (Envoy: CookieMatcher).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CookieMatch {
    pub name: String,
    pub value: StringMatch,
    pub invert: bool,
}

/// A fraction in parts of a million: 1_000_000 is all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fraction {
    pub per_million: u32,
}

#[derive(Clone, Debug)]
pub enum RouteAction {
    Forward(Box<Forward>),
    Redirect(Redirect),
    DirectResponse(DirectResponse),
}

/// Envoy: RouteAction.
#[derive(Clone, Debug)]
pub struct Forward {
    pub target: ClusterTarget,
    /// Status if the `Header` target names no cluster that exists (Envoy: cluster_not_found_response_code; default
    /// 503).
    pub cluster_not_found_status: u16,
    pub path_rewrite: Option<PathRewrite>,
    pub host_rewrite: Option<HostRewrite>,
    /// Keep the host as it was in `x-forwarded-host` when it is rewritten.
    pub append_x_forwarded_host: bool,
    /// For the whole response, from the end of the request, retries included (default off).
    pub timeout: Option<Duration>,
    /// For the response's head, from the end of the request, retries included (default 60s, off where `timeout` is written).
    pub response_head_timeout: Option<Duration>,
    /// Without a byte moving in either direction: outer `None`: the connection manager's; inner `None`: off.
    pub stream_idle_timeout: Option<Option<Duration>>,
    /// For the whole exchange, from its start (Envoy: max_stream_duration; default the connection manager's).
    pub max_stream_duration: Option<Option<Duration>>,
    /// Where calls of gRPC have the time that their `grpc-timeout` says (Envoy: max_stream_duration.grpc_timeout_header_max).
    pub grpc_timeout: Option<GrpcTimeout>,
    pub retry: Option<RetryPolicy>,
    /// When the per-try timeout has passed, send a second try and keep the first one (Envoy: hedge_policy).
    pub hedge_on_per_try_timeout: bool,
    /// Evaluated in order; the hashes are combined, up to the first `terminal` member that gives one.
    pub hash_policy: Vec<HashPolicy>,
    pub mirrors: Vec<Mirror>,
    pub internal_redirect: Option<InternalRedirect>,
    pub priority: Priority,
    /// Which subset of the endpoints (Envoy: metadata_match under `envoy.lb`), sorted by key.
    pub metadata_match: Vec<(String, String)>,
    /// Where `timeout` was written.
    pub timeout_place: Place,
    /// The times.
    pub texts: Texts,
}

/// What `grpc-timeout` counts for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrpcTimeout {
    /// `None`: any time.
    pub max: Option<Duration>,
    /// It is shorter by this here than for the client.
    pub offset: Duration,
}

#[derive(Clone, Debug)]
pub enum ClusterTarget {
    /// Index in `Config::clusters`.
    Cluster(usize),
    /// Never empty; the sum of the weights is at least 1.
    Weighted(Vec<WeightedCluster>),
    /// The header whose value names the cluster, lower case.
    Header(String),
}

/// Envoy: WeightedCluster.ClusterWeight.
#[derive(Clone, Debug)]
pub struct WeightedCluster {
    pub cluster: usize,
    pub weight: u32,
    pub headers: HeaderMutations,
    pub filters: FilterOverrides,
    pub host_rewrite: Option<String>,
    /// The route's and its own, which overrides the route's; sorted by key.
    pub metadata_match: Vec<(String, String)>,
}

/// What happens to the path, without the query.
#[derive(Clone, Debug)]
pub enum PathRewrite {
    /// Replaces the matched prefix or the whole exact path.
    Prefix(String),
    Regex(RegexRewrite),
    /// Literals and names of the match's variables (Envoy: path_rewrite_policy with uri_template).
    Template(Vec<TemplatePiece>),
}

#[derive(Clone, Debug)]
pub enum TemplatePiece {
    Literal(String),
    Variable(String),
}

/// Every match of the pattern is replaced (Envoy: RegexMatchAndSubstitute); `\1` in the text names a group.
#[derive(Clone, Debug)]
pub struct RegexRewrite {
    pub pattern: Pattern,
    /// `(literal, then the group)`, in order.
    pub substitution: Vec<(String, Option<u16>)>,
}

#[derive(Clone, Debug)]
pub enum HostRewrite {
    Literal(String),
    /// The host name of the chosen endpoint; nothing changes for endpoints without one (Envoy: auto_host_rewrite).
    Auto,
    /// The value of this header, lower case; nothing changes if it is missing or empty.
    Header(String),
    /// From the path without the query (Envoy: host_rewrite_path_regex).
    PathRegex(RegexRewrite),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Priority {
    #[default]
    Default,
    High,
}

/// Envoy: RouteAction.HashPolicy.
#[derive(Clone, Debug)]
pub struct HashPolicy {
    pub kind: HashPolicyKind,
    pub terminal: bool,
    /// All of it as the file writes it, for people.
    pub text: String,
}

#[derive(Clone, Debug)]
pub enum HashPolicyKind {
    /// Lower case; also `:method`, `:path`, `:authority` and `:scheme`.
    Header(String),
    /// With a time to live, the cookie is set if the request has none; zero makes a session cookie.
    Cookie {
        name: String,
        ttl: Option<Duration>,
        path: Option<String>,
    },
    SourceIp,
    QueryParameter(String),
}

/// Envoy: RequestMirrorPolicy.
#[derive(Clone, Debug)]
pub struct Mirror {
    pub cluster: usize,
    /// Default: all.
    pub fraction: Fraction,
}

/// Envoy: InternalRedirectPolicy.
#[derive(Clone, Debug)]
pub struct InternalRedirect {
    /// Default 1.
    pub max_redirects: u32,
    /// Of 301, 302, 303, 307, 308; default 302.
    pub codes: Vec<u16>,
    /// Default false.
    pub allow_cross_scheme: bool,
}

/// Envoy: RedirectAction.
#[derive(Clone, Debug)]
pub struct Redirect {
    pub scheme: Option<String>,
    pub host: Option<String>,
    pub port: Option<u16>,
    pub path: Option<RedirectPath>,
    /// 301, 302, 303, 307 or 308 (default 301).
    pub status: u16,
    pub strip_query: bool,
}

#[derive(Clone, Debug)]
pub enum RedirectPath {
    /// A query in it replaces the request's.
    Path(String),
    Prefix(String),
    Regex(RegexRewrite),
}

#[derive(Clone, Debug)]
pub struct DirectResponse {
    pub status: u16,
    pub body: Vec<u8>,
    /// Value of content-type when there is a body (default "text/plain").
    pub content_type: String,
}

/// Edits of headers. They are applied from the most specific to the least specific: weighted cluster, route, virtual
/// host, connection manager (Envoy's order, most_specific_header_mutations_wins off).
#[derive(Clone, Debug, Default)]
pub struct HeaderMutations {
    pub request: Vec<HeaderMutation>,
    pub response: Vec<HeaderMutation>,
}

/// Names in lower case; never pseudo-headers with `:`, `host` or headers of the connection.
#[derive(Clone, Debug)]
pub enum HeaderMutation {
    Remove(String),
    Set {
        name: String,
        value: Vec<FormatPiece>,
        /// The value as the file has it.
        written: String,
        action: AppendAction,
    },
}

/// Envoy: HeaderValueOption.HeaderAppendAction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AppendAction {
    #[default]
    AppendIfExistsOrAdd,
    AddIfAbsent,
    OverwriteIfExistsOrAdd,
    OverwriteIfExists,
}
