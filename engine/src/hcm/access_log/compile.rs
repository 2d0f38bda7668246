//! An access log as the shards use it, made once per configuration.

use super::SinkId;
use crate::http::format::LineFormat;

/// One `access_log` entry of an HTTP connection manager: what to write and where.
#[derive(Clone, Debug)]
pub struct CompiledLog {
    pub format: LineFormat,
    /// From [`super::Writer::open`].
    pub sink: SinkId,
}
