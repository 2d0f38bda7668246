//! The HTTP connection manager and the access log.

use super::{
    Cidr, FormatPiece, Fraction, HeaderMatch, HeaderMutations, HttpFilter, Pattern, Place, Texts, Tracing, VirtualHost,
};
use std::path::PathBuf;
use std::time::Duration;

/// HTTP connection manager.
#[derive(Clone, Debug)]
pub struct Hcm {
    /// Part of the statistics' names after `http.`.
    pub stat_prefix: String,
    pub virtual_hosts: Vec<VirtualHost>,
    /// In order; the router, which ends every chain, is not among them.
    pub http_filters: Vec<HttpFilter>,
    /// For every request and response, after the edits of routes and virtual hosts.
    pub mutations: HeaderMutations,
    pub paths: PathOptions,
    pub trust: Trust,
    pub access_logs: Vec<AccessLog>,
    /// The first that takes a reply is used.
    pub local_replies: Vec<LocalReply>,
    pub timeouts: HttpTimeouts,
    pub limits: HttpLimits,
    /// A client's FIN behind a complete request ends the exchange (default true).
    pub fin_cancels: bool,
    pub headers: HeaderOptions,
    /// Default `Auto`.
    pub codec_type: CodecType,
    pub http2: Http2Options,
    /// `None`: none, and contexts of traces pass as they came.
    pub tracing: Option<Tracing>,
}

/// What clients speak (Envoy: CodecType).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodecType {
    /// What ALPN agreed on, or the first bytes say.
    Auto,
    Http1,
    Http2,
}

/// What is spoken with endpoints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamProtocol {
    Http1,
    Http2,
    /// What ALPN agrees on: HTTP/1 where it does not.
    Auto,
}

/// HTTP/2 connections (Envoy: Http2ProtocolOptions).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2Options {
    /// Exchanges at a time (default 100).
    pub max_concurrent_streams: u32,
    /// Bytes (default 64KiB).
    pub initial_stream_window_size: u32,
    /// Bytes (default 16MiB).
    pub initial_connection_window_size: u32,
    /// Bytes by which the windows of all streams may grow altogether (default 8MiB).
    pub stream_window_growth: u32,
    pub keepalive: Http2Keepalive,
    /// Connections that each shard makes to an endpoint, at least and at most (default 1 and no limit).
    pub connections_min: u32,
    pub connections_max: Option<u32>,
}

/// When a peer has to show that it is there (Envoy: KeepaliveSettings).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Http2Keepalive {
    /// While exchanges are under way and nothing comes; `None` (default): never.
    pub interval: Option<Duration>,
    /// Percent of the interval by which it varies (default 15).
    pub interval_jitter: u32,
    /// What is waited for a sign of life (default 5s).
    pub timeout: Duration,
    /// After how much time without exchanges an endpoint has to show it before it gets the next one (default 30s); `None`: never.
    pub connection_idle_interval: Option<Duration>,
}

impl Default for Http2Keepalive {
    fn default() -> Self {
        Self {
            interval: None,
            interval_jitter: 15,
            timeout: Duration::from_secs(5),
            connection_idle_interval: Some(Duration::from_secs(30)),
        }
    }
}

impl Default for Http2Options {
    fn default() -> Self {
        Self {
            max_concurrent_streams: 100,
            initial_stream_window_size: 64 << 10,
            initial_connection_window_size: 16 << 20,
            stream_window_growth: 8 << 20,
            keepalive: Http2Keepalive::default(),
            connections_min: 1,
            connections_max: None,
        }
    }
}

/// Changes replies that are made here (Envoy: ResponseMapper).
#[derive(Clone, Debug)]
pub struct LocalReply {
    /// `None`: every reply.
    pub filter: Option<AccessLogFilter>,
    /// What is `None` stays as it is.
    pub status: Option<u16>,
    pub body: Option<AccessLogFormat>,
    /// Of the new body.
    pub content_type: String,
    /// All of it as the file writes it, for people.
    pub text: String,
    pub place: Place,
}

/// `None` switches a timeout off.
#[derive(Clone, Debug)]
pub struct HttpTimeouts {
    /// Idle time between exchanges on one connection (default 1h).
    pub idle: Option<Duration>,
    /// From the first byte of a request to the end of its head; also for the first byte of a new connection (default
    /// 10s).
    pub request_headers: Option<Duration>,
    /// From the first byte of a request to the last of its body (default off).
    pub request: Option<Duration>,
    /// Time without a byte moving in either direction during an exchange (default 5m).
    pub stream_idle: Option<Duration>,
    /// Time that a client may take nothing of what is there for it (default 60s).
    pub send: Option<Duration>,
    /// Lifetime of a connection (default off).
    pub max_connection_duration: Option<Duration>,
    /// By which it is longer at most, at random (default none).
    pub max_connection_duration_jitter: Duration,
    /// Duration of an exchange (default off).
    pub max_stream_duration: Option<Duration>,
    pub texts: Texts,
}

#[derive(Clone, Debug)]
pub struct HttpLimits {
    /// Bytes of a request or response head (default 60KiB).
    pub max_headers_size: u32,
    /// Number of headers (default 100).
    pub max_headers_count: u16,
    /// Bytes of the request line's target (default 16KiB).
    pub max_path_size: u32,
    /// Bytes of a request body (default none).
    pub max_request_body: Option<u64>,
    /// Bytes per second of a request body at least, 0 for any (default 24).
    pub min_request_body_rate: u32,
    /// Bytes received for one exchange and not yet sent on, in each direction (default 256KiB).
    pub buffer_limit: u32,
    /// Requests on one connection (default none).
    pub max_requests_per_connection: Option<u64>,
    /// Forward the trailers of chunked messages; otherwise they are dropped (default false).
    pub enable_trailers: bool,
    /// Retries that an internal request may ask for (default 3).
    pub max_requested_retries: u32,
}

#[derive(Clone, Debug)]
pub struct HeaderOptions {
    /// Value of the `server` response header (default "ringway").
    pub server_name: String,
    pub server_header: ServerHeader,
    /// Name for the `via` header of requests and responses (default none: no header is added).
    pub via: Option<String>,
    /// Append the peer's address to x-forwarded-for (default true).
    pub x_forwarded_for: bool,
    /// Set x-forwarded-proto where the request has none (default true).
    pub x_forwarded_proto: bool,
    /// Set x-request-id where the request has none (default true).
    pub x_request_id: bool,
    /// Set x-envoy-upstream-service-time on responses (default true).
    pub x_envoy_upstream_service_time: bool,
    /// Set x-envoy-original-host where a route replaces the host (default true).
    pub x_envoy_original_host: bool,
}

/// Envoy: ServerHeaderTransformation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerHeader {
    Overwrite,
    AppendIfAbsent,
    PassThrough,
}

/// A FIN of the client behind a complete request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClientHalfClose {
    Cancel,
    Serve,
}

/// Changes to a request's path and host before a route is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathOptions {
    /// Resolve `.` and `..` and unreserved escapes (RFC 3986 section 6); a path that leaves the root gets status 400
    /// (default true).
    pub normalize: bool,
    /// Adjacent slashes become one (default false).
    pub merge_slashes: bool,
    /// Conditions see adjacent slashes as one (default true).
    pub matches_merged_slashes: bool,
    pub escaped_slashes: EscapedSlashes,
    /// Remove the port from the host if it is the listener's port.
    pub strip_matching_host_port: bool,
    /// Remove a trailing dot from the host.
    pub strip_trailing_host_dot: bool,
}

/// `%2F`, `%2f`, `%5C` and `%5c` in a path (Envoy: PathWithEscapedSlashesAction).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EscapedSlashes {
    Keep,
    /// Status 400.
    Reject,
    /// Status 307 to the path with slashes.
    UnescapeAndRedirect,
    UnescapeAndForward,
}

/// Which addresses and headers are trusted (Envoy: use_remote_address, xff_num_trusted_hops, internal_address_config,
/// skip_xff_append).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trust {
    /// The client is the connection's peer, not the address in `x-forwarded-for` (default true, unlike Envoy). Headers that
    /// only proxies set are then removed from requests from outside.
    pub use_remote_address: bool,
    /// Number of proxies in front of this one whose `x-forwarded-for` is trusted (default 0).
    pub xff_num_trusted_hops: u32,
    /// Proxies whose `x-forwarded-for` and `x-forwarded-proto` are believed; if not empty, the number is 0 (default none).
    pub xff_trusted_cidrs: Vec<Cidr>,
    /// Default none.
    pub internal_addresses: Vec<Cidr>,
    /// Headers that are removed from requests from outside, in addition to x-envoy-* ones; lower case (Envoy:
    /// route_config.internal_only_headers).
    pub internal_only_headers: Vec<String>,
    pub underscores: Underscores,
    pub client_cert_details: ClientCertDetails,
}

/// Request headers with `_` in their names (Envoy: HeadersWithUnderscoresAction).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Underscores {
    /// Those that would pass for another header that is named are dropped (default).
    DropShadowing,
    Allow,
    /// Status 400.
    RejectRequest,
    DropHeader,
}

/// `x-forwarded-client-cert` in requests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertDetails {
    pub forward: ForwardCert,
    /// What an element that is added says besides hash and own URI, in this order (Envoy: set_current_client_cert_details).
    pub set: Vec<CertificatePart>,
}

/// Envoy: ForwardClientCertDetails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ForwardCert {
    /// Removed (default).
    Sanitize,
    /// As it came, from clients with a verified certificate; else removed.
    ForwardOnly,
    /// An element is added, for clients with a verified certificate; else removed.
    AppendForward,
    /// Replaced by one element, for clients with a verified certificate; else removed.
    SanitizeSet,
    /// As it came, from every client.
    AlwaysForwardOnly,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificatePart {
    Cert,
    Chain,
    Subject,
    Uri,
    Dns,
}

#[derive(Clone, Debug)]
pub struct AccessLog {
    pub sink: AccessLogSink,
    pub format: AccessLogFormat,
    /// `None`: every exchange, or every connection.
    pub filter: Option<AccessLogFilter>,
}

/// Envoy: AccessLogFilter.
#[derive(Clone, Debug)]
pub enum AccessLogFilter {
    Status {
        op: ComparisonOp,
        value: u16,
    },
    Duration {
        op: ComparisonOp,
        value: Duration,
    },
    /// One of these; empty: any flag at all.
    ResponseFlag(Vec<&'static str>),
    /// A header of the request.
    Header(Box<HeaderMatch>),
    /// A call of gRPC with one of these statuses, or with `exclude` with none of them.
    GrpcStatus {
        statuses: Vec<u32>,
        exclude: bool,
    },
    /// A random fraction.
    Sample(Fraction),
    And(Vec<AccessLogFilter>),
    Or(Vec<AccessLogFilter>),
    Not(Box<AccessLogFilter>),
}

/// The response flags, short and long, with their meaning (Envoy: StreamInfo::CoreResponseFlag), for the features that
/// exist.
pub const RESPONSE_FLAGS: &[(&str, &str, &str)] = &[
    ("UH", "NoHealthyUpstream", "no endpoint of the cluster is healthy"),
    ("UT", "UpstreamRequestTimeout", "no response within the route's timeout"),
    ("LR", "LocalReset", "this side reset the exchange with the upstream"),
    ("UR", "UpstreamRemoteReset", "the upstream reset the exchange"),
    ("UF", "UpstreamConnectionFailure", "the connection to the upstream could not be established"),
    ("UC", "UpstreamConnectionTermination", "the upstream closed the connection during the exchange"),
    ("UO", "UpstreamOverflow", "a circuit breaker of the cluster is open"),
    ("NR", "NoRouteFound", "no route matched"),
    ("DI", "DelayInjected", "the fault filter delayed the request"),
    ("FI", "FaultInjected", "the fault filter aborted the request"),
    ("RL", "RateLimited", "the rate limit filter refused the request"),
    ("DC", "DownstreamConnectionTermination", "the client closed the connection during the exchange"),
    ("URX", "UpstreamRetryLimitExceeded", "every retry that was allowed failed"),
    ("SI", "StreamIdleTimeout", "the stream was idle for too long"),
    ("IH", "InvalidEnvoyRequestHeaders", "a header for the proxy has an invalid value"),
    ("DPE", "DownstreamProtocolError", "the client broke the protocol"),
    ("UMSDR", "UpstreamMaxStreamDurationReached", "the exchange reached its maximum duration"),
    ("DT", "DurationTimeout", "the request or its connection reached its maximum duration"),
    ("UPE", "UpstreamProtocolError", "the upstream broke the protocol"),
    ("NC", "NoClusterFound", "the cluster that the route names does not exist"),
    ("OM", "OverloadManagerTerminated", "refused to protect the process from overload"),
    ("DR", "DownstreamRemoteReset", "the client reset the exchange"),
];

/// Those that connections have, and what they mean there.
pub const CONNECTION_FLAGS: &[(&str, &str)] = &[
    ("NR", "no filter chain is for the connection"),
    ("DC", "the client ended the connection before it was served, or during an exchange"),
    ("SI", "the client took nothing, or answered no PING, for too long"),
    ("DPE", "its first bytes, its TLS handshake or its HTTP broke the rules, or it is not allowed in"),
    ("DT", "the handshake, the first bytes or the connection reached its maximum duration"),
    ("OM", "a limit of connections was reached: it was refused, or closed for a new one"),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComparisonOp {
    Equal,
    AtLeast,
    AtMost,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AccessLogSink {
    Stdout,
    File(PathBuf),
    Export(std::sync::Arc<super::LogExport>),
}

#[derive(Clone, Debug)]
pub enum AccessLogFormat {
    /// The pieces make the whole line, including its end.
    Text(Vec<FormatPiece>),
    /// Keys in the order of the file; the writer adds the line's end.
    Json(Vec<(String, Vec<FormatPiece>)>),
    /// The texts of a record, for `AccessLogSink::Export`.
    Fields(Vec<Vec<FormatPiece>>),
}

/// How a text is compared (Envoy: StringMatcher).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StringMatch {
    pub kind: StringMatchKind,
    /// Not for `Regex`.
    pub ignore_case: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StringMatchKind {
    Exact(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
    /// Anchored at both ends.
    Regex(Pattern),
}
