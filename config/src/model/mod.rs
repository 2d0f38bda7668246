//! What a configuration means: defaults filled in, names resolved, patterns compiled. The engine reads only this.
//!
//! Invariant: nothing here knows TOML, files or positions, and nothing here can be invalid: every index points into
//! its list, every list that must have members has them.

mod access_log;
pub use access_log::{DEFAULT_TEXT_FORMAT, LogField, LogOperator, LogPiece};

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// A whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    pub runtime: Runtime,
    pub admin: Option<Admin>,
    pub listeners: Vec<Listener>,
    pub clusters: Vec<Cluster>,
}

/// How the process uses the machine.
#[derive(Clone, Debug)]
pub struct Runtime {
    pub shards: Shards,
    /// Submission queue entries of each shard's ring; a power of two.
    pub ring_entries: u32,
    /// Receive buffers of each shard; a power of two, at most 32768.
    pub buffer_count: u16,
    /// Bytes in one receive buffer.
    pub buffer_size: u32,
    /// `listen(2)` backlog.
    pub backlog: u32,
    /// How long a drain waits for exchanges in flight.
    pub drain_time: Duration,
    /// Downstream connections in the whole process; `None` means half of the file descriptor limit, less a reserve.
    pub max_connections: Option<u64>,
    /// Plain bodies whose known remaining length is at least this many bytes are moved with splice(2); `None`: never.
    pub splice_threshold: Option<u64>,
    /// How often shards hand their access log batches to the writer.
    pub access_log_flush_interval: Duration,
    /// User (and group, by default that user's) to become after the sockets are bound; only when started as root.
    pub user: Option<String>,
    pub group: Option<String>,
    /// Directives for the program log, `target=level` separated by commas, as RUST_LOG writes them.
    pub log: String,
}

/// Which cores run a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shards {
    /// One for each core this process may run on.
    Auto,
    /// The first N of those cores.
    Count(usize),
    /// Exactly these cores.
    Cpus(Vec<usize>),
}

#[derive(Clone, Debug)]
pub struct Admin {
    pub address: Address,
    pub access_log: Option<PathBuf>,
}

/// Where to listen or connect.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    Ip(SocketAddr),
    Unix(PathBuf),
}

#[derive(Clone, Debug)]
pub struct Listener {
    /// Given, or the address in its text form.
    pub name: String,
    pub address: Address,
    /// Part of the statistics' names after `listener.`; default: the address with ':' replaced by '_', as Envoy does.
    pub stat_prefix: String,
    /// Never empty; the last one may be the only one without a match.
    pub filter_chains: Vec<FilterChain>,
    /// Downstream connections on this listener in the whole process.
    pub max_connections: Option<u64>,
}

#[derive(Clone, Debug)]
pub struct FilterChain {
    pub name: String,
    /// `None` matches every connection.
    pub matcher: Option<FilterChainMatch>,
    pub filter: NetworkFilter,
}

/// All that are given must hold. Envoy: FilterChainMatch.
#[derive(Clone, Debug)]
pub struct FilterChainMatch {
    pub source_prefix_ranges: Vec<Cidr>,
    pub destination_ports: Vec<u16>,
}

/// An address range such as 10.0.0.0/8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cidr {
    pub address: IpAddr,
    pub prefix_len: u8,
}

/// The terminal network filter of a chain.
#[derive(Clone, Debug)]
pub enum NetworkFilter {
    Http(Box<Hcm>),
}

/// HTTP connection manager.
#[derive(Clone, Debug)]
pub struct Hcm {
    /// Part of the statistics' names after `http.`.
    pub stat_prefix: String,
    pub virtual_hosts: Vec<VirtualHost>,
    pub http_filters: Vec<HttpFilter>,
    pub access_logs: Vec<AccessLog>,
    pub timeouts: HttpTimeouts,
    pub limits: HttpLimits,
    pub headers: HeaderOptions,
}

/// `None` switches a timeout off.
#[derive(Clone, Debug)]
pub struct HttpTimeouts {
    /// Between exchanges on one connection (default 1h).
    pub idle: Option<Duration>,
    /// From the first byte of a request to the end of its head; also the time a new connection has (default 10s).
    pub request_headers: Option<Duration>,
    /// From the first byte of a request to the last of its body (default off).
    pub request: Option<Duration>,
    /// Without a byte moving in either direction during an exchange (default 5m).
    pub stream_idle: Option<Duration>,
    /// A connection's whole life (default off).
    pub max_connection_duration: Option<Duration>,
}

#[derive(Clone, Debug)]
pub struct HttpLimits {
    /// Bytes of a request or response head (default 60KiB).
    pub max_headers_size: u32,
    /// Fields in a head (default 100).
    pub max_headers_count: u16,
    /// Bytes of the request line's target (default 16KiB).
    pub max_path_size: u32,
    /// Bytes of a request body (default none).
    pub max_request_body: Option<u64>,
    /// Bytes received for one exchange and not yet sent on, in each direction (default 256KiB).
    pub buffer_limit: u32,
    /// Requests on one connection (default none).
    pub max_requests_per_connection: Option<u64>,
    /// Forward the trailers of chunked messages; they are dropped otherwise (default false).
    pub enable_trailers: bool,
}

#[derive(Clone, Debug)]
pub struct HeaderOptions {
    /// Value of the `server` response header (default "ringway").
    pub server_name: String,
    pub server_header: ServerHeader,
    /// Name for a `via` field on both sides (default none: no field is added).
    pub via: Option<String>,
    /// Append the peer's address to x-forwarded-for (default true).
    pub x_forwarded_for: bool,
    /// Set x-forwarded-proto where the request has none (default true).
    pub x_forwarded_proto: bool,
    /// Set x-request-id where the request has none (default true).
    pub x_request_id: bool,
    /// Set x-envoy-upstream-service-time on responses (default true).
    pub x_envoy_upstream_service_time: bool,
}

/// Envoy: ServerHeaderTransformation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerHeader {
    Overwrite,
    AppendIfAbsent,
    PassThrough,
}

#[derive(Clone, Debug)]
pub enum HttpFilter {
    Router,
}

#[derive(Clone, Debug)]
pub struct AccessLog {
    pub sink: AccessLogSink,
    pub format: AccessLogFormat,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AccessLogSink {
    Stdout,
    File(PathBuf),
}

#[derive(Clone, Debug)]
pub enum AccessLogFormat {
    /// The pieces make the whole line, its end included.
    Text(Vec<LogPiece>),
    /// Keys in the order of the file; the line's end is the writer's.
    Json(Vec<(String, Vec<LogPiece>)>),
}

#[derive(Clone, Debug)]
pub struct VirtualHost {
    pub name: String,
    /// Lower case: exact, `*.suffix`, `prefix.*` or `*`; no domain stands in two virtual hosts.
    pub domains: Vec<String>,
    pub routes: Vec<Route>,
}

#[derive(Clone, Debug)]
pub struct Route {
    pub name: Option<String>,
    pub matcher: RouteMatch,
    pub action: RouteAction,
}

#[derive(Clone, Debug)]
pub struct RouteMatch {
    pub path: PathMatch,
    pub case_sensitive: bool,
    /// Empty: every method.
    pub methods: Vec<String>,
    /// All must hold.
    pub headers: Vec<HeaderMatch>,
}

/// Matched against the path without the query, except that a regex must match all of it.
#[derive(Clone, Debug)]
pub enum PathMatch {
    Prefix(String),
    Exact(String),
    /// `/api` matches `/api` and `/api/x`, not `/apix`. Never ends in '/'.
    PathSeparatedPrefix(String),
    /// Anchored at both ends by the resolver.
    Regex(regex::bytes::Regex),
}

#[derive(Clone, Debug)]
pub struct HeaderMatch {
    /// Lower case.
    pub name: String,
    pub kind: HeaderMatchKind,
    pub invert: bool,
}

#[derive(Clone, Debug)]
pub enum HeaderMatchKind {
    Present,
    Exact(String),
    Prefix(String),
    Suffix(String),
    Contains(String),
    /// Anchored at both ends.
    Regex(regex::bytes::Regex),
}

#[derive(Clone, Debug)]
pub enum RouteAction {
    Forward(Forward),
    Redirect(Redirect),
    DirectResponse(DirectResponse),
}

#[derive(Clone, Debug)]
pub struct Forward {
    /// Index in `Config::clusters`.
    pub cluster: usize,
    /// Replaces the matched prefix or the whole exact path.
    pub prefix_rewrite: Option<String>,
    /// Replaces the host.
    pub host_rewrite: Option<String>,
    /// For the whole response, from the end of the request (default 15s).
    pub timeout: Option<Duration>,
}

#[derive(Clone, Debug)]
pub struct Redirect {
    pub scheme: Option<String>,
    pub host: Option<String>,
    pub port: Option<u16>,
    pub path: Option<String>,
    pub prefix_rewrite: Option<String>,
    /// 301, 302, 303, 307 or 308 (default 301).
    pub status: u16,
    pub strip_query: bool,
}

#[derive(Clone, Debug)]
pub struct DirectResponse {
    pub status: u16,
    pub body: Vec<u8>,
    /// Value of content-type when there is a body (default "text/plain").
    pub content_type: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    pub name: String,
    /// Never empty, each with weight 1 to 128.
    pub endpoints: Vec<Endpoint>,
    pub lb_policy: LbPolicy,
    /// Default 5s.
    pub connect_timeout: Duration,
    /// How long a connection may stay unused in the pool (default 1h).
    pub idle_timeout: Option<Duration>,
    /// Idle connections kept for each endpoint by each shard (default 1024).
    pub max_idle_connections: u32,
    /// Requests after which an upstream connection is closed (default none).
    pub max_requests_per_connection: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub address: Address,
    pub weight: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LbPolicy {
    RoundRobin,
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
