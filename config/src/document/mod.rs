//! What a user may write: every table and key of the file, declared once.
//!
//! From a declaration come the reader (with every problem's position), the hint for an unknown key, and docs/CONFIG.md.
//! A new key is one line here and one use in the resolver. How values are read is the job of `reader`.
//!
//! Invariant: nothing here looks at two keys at once; what depends on several is the resolver's.

mod access_log;
mod address;
mod cluster;
mod connection_log;
mod destination;
mod filter;
mod forward;
mod header;
mod http;
mod http2;
mod listener;
mod local_reply;
mod retry;
mod route;
mod runtime;
mod socket;
mod source;
mod stats;
mod template;
mod tls;
mod tracing;

pub use access_log::{AccessLog, AccessLogFilter, GrpcAccessLog, OtlpAccessLog};
pub use cluster::{
    CheckedStatuses, CircuitBreakers, Cluster, DiscoveryKind, EndpointAddress, EndpointEntry, GrpcHealthCheck,
    HealthCheck, HttpHealthCheck, LbPolicyName, Maglev, OutlierDetection, RetryBudget, RingHash, SlowStart, Subsets,
};
pub use connection_log::{ConnectionLog, ConnectionLogFilter, GrpcConnectionLog};
pub use destination::HeaderSource;
pub use filter::*;
pub use forward::{
    CookieHash, Forward, HashPolicy, InternalRedirectPolicy, MirrorPolicy, RegexRewrite, WeightedCluster,
};
pub use header::{CookieMatch, HeaderMatch, HeaderToAdd, QueryParameterMatch, RangeMatch};
pub use http::Http;
pub use http2::{Http2, Http2Keepalive};
pub use listener::{FilterChain, FilterChainMatch, Listener};
pub use local_reply::LocalReply;
pub use retry::{BackOff, HostPredicate, RateLimitedBackOff, ResetFormat, RetryCondition, RetryPolicy};
pub use route::{DirectResponse, Redirect, Route, RouteMatch, TlsContextMatch, VirtualHost};
pub use runtime::{Admin, Runtime, ShardCount};
pub use socket::SocketMode;
pub use source::{AddressCondition, ranges};
pub use stats::{OtlpStats, Stats, StatsSink};
pub use template::{Template, TemplateRewrite};
pub use tls::{
    CertificateHash, ClientCertificate, DownstreamTls, KeyLog, SanType, SpkiHash, SubjectAltName, TransportSocketMatch,
    UpstreamTls, all_groups, all_suites, group_name, suite_name,
};
pub use tracing::{Otlp, RouteTracing, Tracing, Zipkin, ZipkinFormat};

use crate::reader::{List, Shape, TableSpec, table};

table! {
    /// The file itself. Connections arrive at listeners, requests leave for clusters; everything else has defaults.
    Document at "", example "minimal.toml" {
        /// How the process uses the machine.
        runtime: Runtime, optional "every key at its default";
        /// The admin endpoint.
        admin: Admin, optional "no admin endpoint";
        /// Where statistics are sent.
        stats: Stats, optional "statistics are only shown by the admin endpoint";
        /// Where connections arrive, `[[listeners]]`; at least one.
        listeners: List<Listener>, optional "refused: at least one is needed";
        /// Where requests go, `[[clusters]]`.
        clusters: List<Cluster>, optional "no clusters: routes can only redirect or answer directly";
    }
}

/// Every table, each once, parents before the tables in them.
pub fn all_tables() -> Vec<&'static TableSpec> {
    let mut tables = vec![Document::spec()];
    let mut next = 0;
    while next < tables.len() {
        for key in tables[next].keys {
            collect_tables(&(key.shape)(), &mut tables);
        }
        next += 1;
    }
    tables
}

fn collect_tables(shape: &Shape, tables: &mut Vec<&'static TableSpec>) {
    match shape {
        Shape::Table(spec) => {
            if !tables.iter().any(|known| std::ptr::eq(*known, *spec)) {
                tables.push(spec);
            }
        }
        Shape::OrOff(inner) | Shape::List(inner) | Shape::Map(inner) => collect_tables(inner, tables),
        Shape::Either(shapes) => shapes.iter().for_each(|shape| collect_tables(shape, tables)),
        Shape::Boolean
        | Shape::Integer { .. }
        | Shape::PowerOfTwo { .. }
        | Shape::Numbers(_)
        | Shape::Number { .. }
        | Shape::Duration { .. }
        | Shape::Size { .. }
        | Shape::Address
        | Shape::EndpointAddress
        | Shape::Text { .. }
        | Shape::Words(_) => {}
    }
}
