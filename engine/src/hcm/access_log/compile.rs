//! An access log as the shards use it, made once per configuration.

use super::filter::LogFilter;
use super::sink::Sink;
use super::{OpenError, Writer};
use crate::http::format::{LineFormat, Record};
use ringway_config::model::AccessLog;

/// One `access_log` entry of an HTTP connection manager: what to write, where, and for which exchanges.
#[derive(Clone, Debug)]
pub struct CompiledLog {
    pub(super) format: LineFormat,
    pub(super) sink: Sink,
    /// `None`: every exchange.
    filter: Option<LogFilter>,
}

impl CompiledLog {
    /// # Errors
    /// The file cannot be opened.
    pub fn new(log: &AccessLog, writer: &Writer) -> Result<Self, OpenError> {
        Ok(Self {
            format: LineFormat::new(&log.format),
            sink: writer.open(&log.sink)?,
            filter: log.filter.as_ref().map(LogFilter::new),
        })
    }

    /// Whether its lines tell the bodies of local replies.
    pub fn tells_local_body(&self) -> bool {
        self.format.tells_local_body()
    }

    /// Whether its lines tell certificates.
    pub fn tells_certificates(&self) -> bool {
        self.format.tells_certificates()
    }

    pub(super) fn takes(&self, record: &Record<'_>) -> bool {
        self.filter.as_ref().is_none_or(|filter| filter.takes(record))
    }
}
