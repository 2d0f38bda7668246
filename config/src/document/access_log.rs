//! Access logs: their files, their lines, and the exchanges that they log.

use super::destination::destination;
use super::header::HeaderMatch;
use crate::model::{GRPC_STATUSES, RESPONSE_FLAGS};
use crate::reader::{
    FilePath, FromText, HeaderName, Int, List, Map, Name, Nested, OneOf, Percent, Refusal, Shape, Text, Time, Word,
    holds, table,
};

table! {
    /// A file, or a program elsewhere, that gets a line or a record for each exchange, and what it says. Exactly one of `path`,
    /// `grpc` and `otlp` is written.
    AccessLog at "listeners[].http.access_log[]", example "access-log.toml" {
        /// File to append to; `/dev/stdout` is the standard output. A relative path starts at the directory of the
        /// configuration file. The file is reopened on SIGUSR1. It may be a FIFO: lines are lost while nothing reads it.
        /// A terminal gets each line at once, whatever `access_log_flush_interval` says.
        path: FilePath, optional "`grpc` or `otlp`";
        /// A service that gets records: `envoy.service.accesslog.v3.AccessLogService`. It has fields of its own, so that there is
        /// no `format`.
        grpc: GrpcAccessLog, optional "`path` or `otlp`";
        /// An OpenTelemetry collector, which gets a log record for each exchange; `format` is the record's body.
        otlp: OtlpAccessLog, optional "`path` or `grpc`";
        /// The line as text with command operators such as `%RESPONSE_CODE%`, [listed below](#command-operators). A
        /// line end is added if the text has none. Excludes `json`.
        format: Text, optional "[the default line](#command-operators)";
        /// The line as a JSON object with keys of your choice, each with a text like that of `format`. Excludes
        /// `format`.
        json: Map<Text, Text>, optional "`format`";
        /// The exchanges that get a line.
        filter: AccessLogFilter, optional "every exchange";
    }
}

destination! {
    /// Envoy's access log service (Envoy: HttpGrpcAccessLogConfig), whose cluster needs `protocol = "http2"` or `"auto"`. Records go
    /// out when a shard has 64 KiB of them, and after `access_log_flush_interval`; each report is one call of the service, whose
    /// answer says that it arrived.
    GrpcAccessLog at "listeners[].http.access_log[].grpc", example "access-log-export.toml" {
        /// What the service knows the log by.
        log_name: Name, default "\"ringway\"";
        /// Headers of the request that records have (Envoy: additional_request_headers_to_log).
        request_headers: List<HeaderName>, optional "none";
        /// Headers of the response (Envoy: additional_response_headers_to_log).
        response_headers: List<HeaderName>, optional "none";
    }
}

destination! {
    /// An OpenTelemetry collector for logs (Envoy: OpenTelemetryAccessLogConfig). Records go out as for `grpc`.
    OtlpAccessLog at "listeners[].http.access_log[].otlp", example "access-log-export.toml", otlp path "`/v1/logs`; with `grpc`, the method's path" {
        /// What this proxy is called: the attribute `service.name` of its resource.
        service_name: Name, default "\"ringway\"";
        /// Further attributes of the resource, next to `host.name`.
        resource_attributes: Map<Name, Text>, optional "none";
        /// Attributes of each record, with [command operators](#command-operators):
        /// `{ "http.response.status_code" = "%RESPONSE_CODE%" }`. One without a value is left out.
        attributes: Map<Name, Text>, optional "none";
    }
}

table! {
    /// A condition for an exchange to be logged (Envoy: AccessLogFilter): a table with exactly one key.
    AccessLogFilter at "listeners[].http.access_log[].filter", example "access-log-filters.toml" {
        /// The status of the response; 0 if none was sent.
        status: StatusComparison, optional "another filter";
        /// How long the exchange took.
        duration: DurationComparison, optional "another filter";
        /// The exchange has one of these [response flags](#command-operators). An empty list means any flag at all.
        response_flags: List<ResponseFlag>, optional "another filter";
        /// A header of the request meets this condition.
        header: HeaderMatch, optional "another filter";
        /// A call of gRPC that ended with one of these statuses. Other requests are no calls, and are not taken.
        grpc_status: GrpcStatusFilter, optional "another filter";
        /// A random sample: this percentage of the exchanges.
        sample_percent: Percent, optional "another filter";
        /// All of these conditions hold.
        and: List<AccessLogFilter>, optional "another filter";
        /// At least one of these conditions holds.
        or: List<AccessLogFilter>, optional "another filter";
        /// This condition does not hold.
        not: Nested<AccessLogFilter>, optional "another filter";
    }
}

table! {
    /// A comparison with a status; exactly one key is written.
    StatusComparison at "listeners[].http.access_log[].filter.status", example "access-log-filters.toml" {
        /// Equal to this.
        equal: Int<0, 999>, optional "another comparison";
        /// This or larger.
        at_least: Int<0, 999>, optional "another comparison";
        /// This or smaller.
        at_most: Int<0, 999>, optional "another comparison";
    }
}

table! {
    /// A comparison with a duration, in whole milliseconds; exactly one key is written.
    DurationComparison at "listeners[].http.access_log[].filter.duration", example "access-log-filters.toml" {
        /// Equal to this.
        equal: Time<0>, optional "another comparison";
        /// This or longer.
        at_least: Time<0>, optional "another comparison";
        /// This or shorter.
        at_most: Time<0>, optional "another comparison";
    }
}

table! {
    /// Statuses of gRPC, as the trailers say them, or the head, or as the status of HTTP means them (Envoy: GrpcStatusFilter).
    GrpcStatusFilter at "listeners[].http.access_log[].filter.grpc_status", example "grpc.toml" {
        /// Names such as `UNAVAILABLE`.
        statuses: List<OneOf<GrpcStatusName>>, required;
        /// Take the calls with all other statuses instead.
        exclude: bool, default "false";
    }
}

/// A status of gRPC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GrpcStatusName(pub u32);

impl Word for GrpcStatusName {
    const WORDS: &'static [(&'static str, Self)] = &{
        let mut words = [("", Self(0)); GRPC_STATUSES.len()];
        let mut at = 0;
        while at < words.len() {
            words[at] = (GRPC_STATUSES[at].1, Self(at as u32));
            at += 1;
        }
        words
    };
    const LATER: &'static [&'static str] = &[];
}

/// The short name of a response flag.
#[derive(Clone, Copy, Debug)]
pub struct ResponseFlag(pub &'static str);

holds! { [] ResponseFlag: &'static str; }

impl FromText for ResponseFlag {
    fn shape() -> Shape {
        Shape::Words(RESPONSE_FLAGS.iter().map(|(name, ..)| *name).collect())
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        match meant_flag(text) {
            Some(name) if name == text => Ok(Self(name)),
            near => Err(unknown_flag(text, near)),
        }
    }
}

/// The flag whose short name this is, in either case, or whose long one.
pub(super) fn meant_flag(text: &str) -> Option<&'static str> {
    let upper = text.to_ascii_uppercase();
    RESPONSE_FLAGS.iter().find(|(name, long, _)| *name == upper || *long == text).map(|flag| flag.0)
}

/// `near`: what may have been meant.
pub(super) fn unknown_flag(text: &str, near: Option<&str>) -> Refusal {
    let hint = near.map(|name| format!("did you mean \"{name}\"?"));
    Refusal::new(format!("unknown response flag \"{text}\"")).hint(hint)
}
