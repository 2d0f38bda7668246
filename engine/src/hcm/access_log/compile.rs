//! A log line's format as the shards use it, made once per configuration.

use ringway_config::model::{AccessLogFormat, LogPiece};

use super::SinkId;
use super::escape::push_json;

/// One `access_logs` entry of an HTTP connection manager: what to write and where.
#[derive(Clone, Debug)]
pub struct CompiledLog {
    pub format: CompiledFormat,
    /// From [`super::Writer::open`].
    pub sink: SinkId,
}

/// How a record becomes a line.
#[derive(Clone, Debug)]
pub struct CompiledFormat {
    pub(super) shape: Shape,
    /// What `%HOSTNAME%` writes.
    pub(super) hostname: Box<str>,
}

#[derive(Clone, Debug)]
pub(super) enum Shape {
    /// The pieces make the whole line.
    Text(Vec<LogPiece>),
    /// One object for each line.
    Json(Vec<JsonMember>),
}

#[derive(Clone, Debug)]
pub(super) struct JsonMember {
    /// What stands before the value, its comma, quotes and colon included: `,"key":`.
    pub lead: Box<[u8]>,
    pub pieces: Vec<LogPiece>,
}

impl CompiledFormat {
    pub fn new(format: &AccessLogFormat) -> Self {
        let shape = match format {
            AccessLogFormat::Text(pieces) => Shape::Text(pieces.clone()),
            AccessLogFormat::Json(members) => Shape::Json(members.iter().enumerate().map(member).collect()),
        };
        Self { shape, hostname: hostname() }
    }
}

fn member((position, (key, pieces)): (usize, &(String, Vec<LogPiece>))) -> JsonMember {
    let mut lead = Vec::with_capacity(key.len() + 4);
    lead.extend_from_slice(if position == 0 { b"\"" } else { b",\"" });
    push_json(key.as_bytes(), &mut lead);
    lead.extend_from_slice(b"\":");
    JsonMember { lead: lead.into(), pieces: pieces.clone() }
}

/// The machine's name (the file holds what gethostname(2) gives); `-` where /proc is not there.
fn hostname() -> Box<str> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "-".into(),
        name => name.into(),
    }
}
