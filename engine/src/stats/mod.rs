//! Statistics: every counter, gauge and histogram declared once, kept in single-writer cells, merged off the path.
//!
//! Each shard has its own copy of a scope's cells and is the only one that writes them, with relaxed loads and stores:
//! counting costs what adding to a plain integer costs. Whoever wants to read (the admin shard) adds the copies up.
//!
//! Invariant: nothing here is locked, allocated or read-modify-written when a request is counted. Two things allocate
//! at their first use in a scope on a shard and never again: a histogram's cells and the table of status codes; a
//! configuration with thousands of clusters pays for the ones that have traffic.

mod cell;
mod declare;
mod filters;
mod histogram;
mod host;
mod meaning;
mod merge;
mod per_shard;
mod registry;
mod render;
mod scopes;

pub use cell::{Cell, Counter, Gauge, StatusCodes};
pub use declare::{CellKind, Descriptor, Scope};
pub use histogram::{Distribution, HISTOGRAM_VALUE_MAX, Histogram};
pub use host::HostStats;
pub use meaning::{ServerState, server_version};
pub use per_shard::{PerShard, ShardCopy};
pub use registry::Registry;
pub use scopes::{
    AccessLogStats, AnyScope, CircuitBreakerStats, ClusterStats, CodingStats, CompressorChoiceStats, CompressorStats,
    DecompressorStats, DnsStats, FaultStats, HealthCheckStats, HttpStats, Kind, ListenerStats, LocalRateLimitStats,
    OutlierStats, ServerStats, ShardStats,
};
