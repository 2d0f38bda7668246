//! Distributed tracing.

use std::time::Duration;

/// Where finished spans go, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpanExporter {
    /// What this proxy is called in spans.
    pub service_name: String,
    /// Name of the cluster that takes them.
    pub cluster: String,
    /// Of its requests.
    pub host: String,
    pub path: String,
    pub format: SpanFormat,
    pub timeout: Duration,
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
