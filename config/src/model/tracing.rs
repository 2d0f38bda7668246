//! Distributed tracing.

use super::{Destination, FormatPiece, Fraction};
use std::sync::Arc;
use std::time::Duration;

/// Tracing of a connection manager's exchanges.
#[derive(Clone, Debug)]
pub struct Tracing {
    pub exporter: Arc<SpanExporter>,
    /// Where a request's context is looked for, in this order.
    pub extract: Vec<TraceForm>,
    /// How a request goes on, whatever it came with.
    pub inject: Vec<TraceForm>,
    pub trust: TraceTrust,
    pub sampling: Sampling,
    /// The span of an exchange has the id of its client's, where B3 tells one (default true for Zipkin).
    pub shared_span: bool,
    /// Traces that begin here have ids of 128 bits and not of 64 (default true).
    pub trace_id_128bit: bool,
    /// `None`: the exporter's usual one.
    pub operation: Option<Vec<FormatPiece>>,
    /// Names and values.
    pub tags: Vec<(String, Vec<FormatPiece>)>,
    /// Bytes of path and query in tags (default 256).
    pub max_path_length: usize,
    /// Default true.
    pub events: bool,
}

/// What a route says in addition.
#[derive(Clone, Debug, Default)]
pub struct RouteTracing {
    /// `None`: as for the connection manager.
    pub client: Option<Fraction>,
    pub random: Option<Fraction>,
    pub overall: Option<Fraction>,
    pub operation: Option<Vec<FormatPiece>>,
    pub tags: Vec<(String, Vec<FormatPiece>)>,
}

/// Shares of requests that are traced (Envoy: client_sampling, random_sampling, overall_sampling).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sampling {
    /// Of those with `x-client-trace-id`.
    pub client: Fraction,
    /// Of those without a decision.
    pub random: Fraction,
    /// Of those that this side has decided to trace.
    pub overall: Fraction,
}

/// Whose word counts in what is sampled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceTrust {
    /// That of requests from inside and from trusted proxies (default).
    Internal,
    Always,
    Never,
}

/// How a request tells of the trace that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TraceForm {
    /// `b3`.
    B3,
    /// `x-b3-traceid` and its relatives.
    B3Multi,
    /// `traceparent` and `tracestate`.
    W3c,
}

/// Where finished spans go, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanExporter {
    /// What this proxy is called in spans.
    pub service_name: String,
    pub to: Destination,
    pub format: SpanFormat,
    /// A batch goes out when it is this old ...
    pub flush_interval: Duration,
    /// ... or has this many spans.
    pub flush_spans: u32,
}

/// What batches of spans look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpanFormat {
    /// Zipkin v2.
    ZipkinJson,
    ZipkinProtobuf,
    /// OpenTelemetry's protocol, with the names of its conventions or Envoy's for tags.
    OtlpHttp {
        names: TagNames,
    },
    OtlpGrpc {
        names: TagNames,
    },
}

/// What tags are called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagNames {
    /// OpenTelemetry's semantic conventions.
    Semantic,
    Envoy,
}
