//! Statistics: every counter, gauge and histogram is declared once, kept in single-writer cells and merged off the path.
//!
//! Each shard has its own copy of a scope's cells and is the only one that writes them, with relaxed loads and stores:
//! counting costs as much as adding to a plain integer. The reader (the admin shard) adds the copies up.
//!
//! Invariant: counting a request takes no lock, makes no atomic read-modify-write and, once warm, no allocation. Four
//! things are allocated at their first use on a shard and never again: the cells of a histogram's octave, the counters of a
//! block of status codes, the cells of an endpoint, and those of a method of gRPC, for which the registry's lock is taken
//! once. With thousands of clusters, only those with traffic cost memory.

mod cell;
mod declare;
mod exports;
mod filters;
mod histogram;
mod host;
mod http2;
mod meaning;
mod merge;
mod names;
mod per_shard;
mod process;
mod reader;
mod registry;
mod render;
mod scopes;
mod ssl;

pub use cell::{Cell, Counter, Gauge, GrpcStatuses, StatusCodes};
pub use declare::{CellKind, Descriptor, Scope};
pub use histogram::{Distribution, HISTOGRAM_VALUE_MAX, Histogram};
pub use host::HostStats;
pub use http2::{Http2Cells, Http2Stats};
pub use meaning::{ServerState, server_version};
pub use names::GrpcScope;
pub use per_shard::{PerShard, ShardCopy};
pub use reader::{Change, Reader, Reading};
pub use registry::Registry;
pub use render::{Format, Rendering, TIME_BOUNDS};
pub use scopes::{
    AccessLogStats, AnyScope, CircuitBreakerStats, ClusterStats, ClusterTlsStats, CodingStats, CompressorChoiceStats,
    CompressorStats, DecompressorStats, DnsStats, EventLogStats, FaultStats, GrpcStats, GrpcTimeStats, GrpcWebStats,
    HealthCheckStats, HttpStats, Kind, ListenerStats, ListenerTlsStats, LocalRateLimitStats, OpentelemetryStats,
    OtlpLogStats, OutlierStats, ServerStats, ServiceLogStats, ShardStats, StatsSinkStats, TlsInspectorStats,
    TransportMatchStats, ZipkinStats,
};
pub use ssl::SslStats;
