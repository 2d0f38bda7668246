//! Logs of connections: what a listener writes down when a connection ends.

use super::access_log::{DurationComparison, OtlpAccessLog, meant_flag, unknown_flag};
use super::destination::destination;
use crate::model::CONNECTION_FLAGS;
use crate::reader::{FilePath, FromText, List, Map, Name, Nested, Percent, Refusal, Shape, Text, holds, table};

table! {
    /// A file, or a program elsewhere, that gets a line or a record for each connection when it ends, and what it says. Exactly one
    /// of `path`, `grpc` and `otlp` is written. [OBSERVABILITY](OBSERVABILITY.md#logs-of-connections) tells what the lines say.
    ConnectionLog at "listeners[].access_log[]", example "connection-log.toml" {
        /// File to append to, as for `http.access_log`; the two may have the same file.
        path: FilePath, optional "`grpc` or `otlp`";
        /// A service that gets records: `envoy.service.accesslog.v3.AccessLogService`. It has fields of its own, so that there is
        /// no `format`.
        grpc: GrpcConnectionLog, optional "`path` or `otlp`";
        /// An OpenTelemetry collector, which gets a log record for each connection; `format` is the record's body.
        otlp: OtlpAccessLog, optional "`path` or `grpc`";
        /// The line as text with command operators such as `%DURATION%`: [those that say something of a
        /// connection](#command-operators). A line end is added if the text has none. Excludes `json`.
        format: Text, optional "[the default line](#command-operators)";
        /// The line as a JSON object with keys of your choice, each with a text like that of `format`. Excludes
        /// `format`.
        json: Map<Text, Text>, optional "`format`";
        /// The connections that get a line.
        filter: ConnectionLogFilter, optional "every connection";
    }
}

destination! {
    /// Envoy's access log service, which gets `tcp_logs` (Envoy: TcpGrpcAccessLogConfig), and whose cluster needs
    /// `protocol = "http2"` or `"auto"`. Records go out as for `http.access_log`.
    GrpcConnectionLog at "listeners[].access_log[].grpc", example "connection-log.toml" {
        /// What the service knows the log by.
        log_name: Name, default "\"ringway\"";
    }
}

table! {
    /// A condition for a connection to be logged (Envoy: AccessLogFilter): a table with exactly one key.
    ConnectionLogFilter at "listeners[].access_log[].filter", example "connection-log.toml" {
        /// How long the connection lasted.
        duration: DurationComparison, optional "another filter";
        /// The connection has one of these [response flags](#command-operators). An empty list means any flag at all: then the log
        /// has the connections that failed.
        response_flags: List<ConnectionFlag>, optional "another filter";
        /// A random sample: this percentage of the connections.
        sample_percent: Percent, optional "another filter";
        /// All of these conditions hold.
        and: List<ConnectionLogFilter>, optional "another filter";
        /// At least one of these conditions holds.
        or: List<ConnectionLogFilter>, optional "another filter";
        /// This condition does not hold.
        not: Nested<ConnectionLogFilter>, optional "another filter";
    }
}

/// The short name of a response flag that connections have.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionFlag(pub &'static str);

holds! { [] ConnectionFlag: &'static str; }

impl FromText for ConnectionFlag {
    fn shape() -> Shape {
        Shape::Words(CONNECTION_FLAGS.iter().map(|(name, _)| *name).collect())
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        match meant_flag(text) {
            Some(name) if CONNECTION_FLAGS.iter().all(|(of_connections, _)| *of_connections != name) => {
                Err(Refusal::new(format!("no connection has the response flag \"{text}\": it is one of exchanges"))
                    .hint(Some("they have a log of their own: http.access_log".to_owned())))
            }
            Some(name) if name == text => Ok(Self(name)),
            near => Err(unknown_flag(text, near)),
        }
    }
}
