//! What a configuration means: defaults filled in, names resolved, patterns compiled. The engine reads only this.
//!
//! Invariant: nothing here knows TOML, files or positions, and nothing here can be invalid: every index points into
//! its list, every list that must have members has them.

mod cluster;
mod destination;
mod filter;
mod format;
mod http;
mod log_export;
mod ranges;
mod resilience;
mod route;
mod stats;
mod tls;
mod tracing;

pub use cluster::*;
pub use destination::*;
pub use filter::*;
pub use format::*;
pub use http::*;
pub use log_export::*;
pub use ranges::*;
pub use resilience::*;
pub use route::*;
pub use stats::*;
pub use tls::*;
pub use tracing::*;

pub use crate::diagnostic::Diagnostic;
pub use crate::place::{Place, Texts};
pub use crate::reader::{CompiledPattern as Pattern, MATCH_STEPS_MAX, steps};

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// A whole configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Name of the file, for people.
    pub file: String,
    pub runtime: Runtime,
    pub admin: Option<Admin>,
    pub stats: Option<Stats>,
    pub listeners: Vec<Listener>,
    pub clusters: Vec<Cluster>,
    /// What is valid in the file, and may not be what its author wants.
    pub warnings: Vec<Diagnostic>,
    /// What the host must have for a start. Shared: thousands of certificates are two files each.
    pub needs: Arc<[Need]>,
}

/// Something that the host must have, and the place that asks for it; the place has no message yet.
#[derive(Clone, Debug)]
pub struct Need {
    pub what: Needed,
    pub at: Diagnostic,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Needed {
    /// `runtime.user`.
    User,
    /// `runtime.group`.
    Group,
    /// The receive buffers of all shards.
    Buffers,
    /// Those of `runtime.shards` or `runtime.cpus`.
    Cores,
    /// An address to listen at.
    Address(Address),
    /// User or group of a Unix socket's file: one of them, so that each has its place.
    Owner(SocketAccess),
    /// A file to append to.
    LogFile(PathBuf),
    /// As `LogFile`, but opened for each line, so that it may come later.
    EventLog(PathBuf),
    /// A file of certificates, keys or certificate authorities, which TLS reads.
    Pem(PathBuf),
    /// Those that the system trusts: a cluster verifies its endpoints with them.
    Authorities,
}

/// How the process uses the machine.
#[derive(Clone, Debug)]
pub struct Runtime {
    pub shards: Shards,
    pub placement: Placement,
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
    /// How long connections are accepted after the order to stop, while /ready fails already.
    pub drain_delay: Duration,
    /// Downstream connections in the whole process; `None` means half of the file descriptor limit, less a reserve.
    pub max_connections: Option<u64>,
    /// Plain bodies whose known remaining length is at least this many bytes are moved with splice(2); `None`: never.
    pub splice_threshold: Option<u64>,
    /// TCP over loopback is paced where the system's congestion control paces.
    pub loopback_pacing: bool,
    /// Bytes of each shard for compressing and decompressing.
    pub compression_memory: u64,
    /// TLS handshakes with clients that a shard computes at the same time, or that wait for that.
    pub max_handshakes: u32,
    /// How often shards hand their access log batches to the writer.
    pub access_log_flush_interval: Duration,
    /// User (and group, by default that user's) to switch to after the sockets are bound; only if started as root.
    pub user: Option<String>,
    pub group: Option<String>,
    /// Directives for the program log, `target=level` separated by commas, in the format of RUST_LOG.
    pub log: String,
    /// Default `Text`.
    pub log_format: LogFormat,
}

/// How the program log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// An object on each line.
    Json,
}

/// Which cores run a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shards {
    /// One for each core this process may run on.
    Auto,
    /// N of those cores, see `Placement`.
    Count(usize),
    /// Exactly these cores.
    Cpus(Vec<usize>),
}

/// The order in which cores get shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// Physical cores before their second hardware threads, in turns from all sockets.
    Spread,
    /// Neighbours first.
    Pack,
}

#[derive(Clone, Debug)]
pub struct Admin {
    pub address: Address,
    pub access: SocketAccess,
    pub access_log: Option<PathBuf>,
    /// Besides `localhost` and IP addresses; in lower case, in the form of a virtual host's domains.
    pub allowed_hosts: Vec<String>,
}

/// Permissions and owner of a Unix socket's file; what is `None` stays as it comes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SocketAccess {
    pub mode: Option<u32>,
    /// Names or numbers.
    pub user: Option<String>,
    pub group: Option<String>,
}

/// Where to listen or connect.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Address {
    Ip(SocketAddr),
    Unix(PathBuf),
}

#[derive(Clone, Debug)]
pub struct Listener {
    pub place: Place,
    /// As written, or the address as text.
    pub name: String,
    pub address: Address,
    /// The number of listeners with the same address before this one: with port 0 there may be several.
    pub nth: u32,
    /// `[::]` takes IPv4 connections, too.
    pub ipv4_compat: bool,
    pub access: SocketAccess,
    /// Part of the statistics' names after `listener.`; default: the address with ':' replaced by '_', as Envoy does.
    pub stat_prefix: String,
    /// Never empty; the last one may be the only one without a match.
    pub filter_chains: Vec<FilterChain>,
    /// Downstream connections on this listener in the whole process.
    pub max_connections: Option<u64>,
    /// The same for each client, by the address of its socket.
    pub max_connections_per_client: Option<u64>,
    /// Of its connections.
    pub access_logs: Vec<AccessLog>,
    /// Of its clients, wherever a text of this listener tells them.
    pub fingerprints: TlsFingerprints,
}

impl Listener {
    /// What its socket is bound to.
    pub fn binding(&self) -> Binding {
        Binding { address: self.address.clone(), nth: self.nth, ipv4_compat: self.ipv4_compat }
    }

    /// Whether connections are looked at before a chain is chosen for them (Envoy: tls_inspector).
    pub fn inspects_tls(&self) -> bool {
        self.filter_chains.iter().any(FilterChain::is_about_tls)
    }
}

/// What a listening socket is bound to. A reload keeps the sockets whose binding stays.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Binding {
    pub address: Address,
    /// Tells those with the same address and port 0 apart.
    pub nth: u32,
    pub ipv4_compat: bool,
}

impl From<Address> for Binding {
    fn from(address: Address) -> Self {
        Self { address, nth: 0, ipv4_compat: false }
    }
}

#[derive(Clone, Debug)]
pub struct FilterChain {
    pub place: Place,
    pub name: String,
    /// `None` matches every connection.
    pub matcher: Option<FilterChainMatch>,
    pub tls: Option<Arc<DownstreamTls>>,
    pub filter: NetworkFilter,
}

impl FilterChain {
    /// Whether its match asks for something that only the first bytes of a connection tell.
    pub fn is_about_tls(&self) -> bool {
        self.matcher.as_ref().is_some_and(|it| {
            !it.server_names.is_empty() || !it.application_protocols.is_empty() || it.transport_protocol.is_some()
        })
    }
}

/// Every condition that is written must hold. Envoy: FilterChainMatch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FilterChainMatch {
    pub source_prefix_ranges: Vec<Cidr>,
    pub destination_ports: Vec<u16>,
    /// In lower case; `*.example.com` stands for every name that ends in the rest.
    pub server_names: Vec<String>,
    pub application_protocols: Vec<String>,
    pub transport_protocol: Option<TransportProtocol>,
}

/// What a connection begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TransportProtocol {
    Tls,
    /// Anything else.
    RawBuffer,
}

/// An address range such as 10.0.0.0/8.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cidr {
    pub address: IpAddr,
    pub prefix_len: u8,
}

impl Cidr {
    /// Whether the range contains the address; an IPv4-mapped IPv6 address counts as IPv4.
    pub fn contains(&self, address: IpAddr) -> bool {
        let equal_bits = match (self.address, address.to_canonical()) {
            (IpAddr::V4(range), IpAddr::V4(address)) => (range.to_bits() ^ address.to_bits()).leading_zeros(),
            (IpAddr::V6(range), IpAddr::V6(address)) => (range.to_bits() ^ address.to_bits()).leading_zeros(),
            _ => return false,
        };
        equal_bits >= u32::from(self.prefix_len)
    }
}

/// The terminal network filter of a chain.
#[derive(Clone, Debug)]
pub enum NetworkFilter {
    Http(Arc<Hcm>),
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Ip(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
