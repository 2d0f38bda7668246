//! `http.tracing`: distributed tracing.

use super::destination::destination;
use crate::model::{TagNames, TraceForm, TraceTrust};
use crate::reader::{Int, List, Map, Name, OneOf, Percent, Text, Time, UrlPath, Word, table};

table! {
    /// Distributed tracing (Envoy: HttpConnectionManager.Tracing): each exchange becomes a span, each try of its request on an
    /// endpoint another one, and the request goes on with the trace's context. Exactly one of `zipkin` and `otlp` is written. See
    /// [TRACING](TRACING.md).
    Tracing at "listeners[].http.tracing", example "tracing.toml" {
        /// Finished spans go to a Zipkin server.
        zipkin: Zipkin, optional "`otlp`";
        /// Finished spans go to an OpenTelemetry collector.
        otlp: Otlp, optional "`zipkin`";
        /// What this proxy is called in its spans (Envoy: service-cluster).
        service_name: Name, default "\"ringway\"";

        /// The forms in which a request's context is looked for; the first in which there is one counts. `b3`: the header of this
        /// name; `b3_multi`: `x-b3-traceid` and its relatives; `w3c`: `traceparent` and `tracestate`.
        extract: List<OneOf<TraceForm>>, optional "`[\"b3\", \"b3_multi\", \"w3c\"]` with `zipkin`, `[\"w3c\", \"b3\", \"b3_multi\"]` with `otlp`";
        /// The forms in which a request goes on with its context, in addition to each form of `extract` in which one came, so that
        /// none goes on that is out of date.
        inject: List<OneOf<TraceForm>>, optional "`[\"b3_multi\"]` with `zipkin`, `[\"w3c\"]` with `otlp`";
        /// Whose word counts in what a context says of sampling and debugging, and whose `x-client-trace-id`: `internal` is
        /// requests from [inside](TRUST.md#internal-requests-and-requests-from-outside) and from trusted proxies, so that a stranger can neither switch
        /// tracing on nor off. The id of a trace is taken over from every client.
        trust: OneOf<TraceTrust>, default "\"internal\"";
        /// Of the requests with `x-client-trace-id` of those whose word counts, the percentage that is traced for it.
        client_sampling: Percent, optional "all";
        /// Of the requests without a decision, the percentage that is traced.
        random_sampling: Percent, optional "all";
        /// Of the requests that are to be traced by this side's decision, the percentage that is.
        overall_sampling: Percent, optional "all";

        /// Name of the span of an exchange, as text with [command operators](#command-operators).
        operation: Text, optional "the request's host with `zipkin`; the method with the route's name with `otlp`";
        /// Further tags of the span of an exchange, each as text with [command operators](#command-operators) as they stand at its
        /// end: `{ team = "payments", version = "%ENVIRONMENT(VERSION)%", tenant = "%REQ(x-tenant)%" }`. One whose text is empty
        /// is left out, and so is an operator without a value. One with the name of a tag that spans have anyway stands instead
        /// of it.
        tags: Map<Name, Text>, optional "none";
        /// Bytes of a URL's path and query in tags.
        max_path_tag_length: Int<0, 65_535>, default "256";
        /// Moments in spans, such as those at which a connection was there and a request was sent.
        events: bool, default "true";
    }
}

destination! {
    /// A Zipkin server (Envoy: ZipkinConfig).
    Zipkin at "listeners[].http.tracing.zipkin", example "tracing.toml" {
        /// Where its endpoints take spans.
        path: UrlPath, default "\"/api/v2/spans\"";
        /// How spans are written.
        format: OneOf<ZipkinFormat>, default "\"json\"";
        /// The span of an exchange has the id of its client's span, where B3 tells one (Envoy: shared_span_context).
        shared_span: bool, default "true";
        /// Traces that begin here have ids of 128 bits.
        trace_id_128bit: bool, default "true";
        /// Spans wait at most for this time until they are sent.
        flush_interval: Time<1>, default "\"1s\"";
        /// As many spans are sent without waiting.
        min_flush_spans: Int<1, 10_000>, default "100";
    }
}

destination! {
    /// An OpenTelemetry collector (Envoy: OpenTelemetryConfig).
    Otlp at "listeners[].http.tracing.otlp", example "tracing-otlp.toml", otlp path "`/v1/traces`; with `grpc`, the method's path" {
        /// What tags are called: `semantic` is OpenTelemetry's conventions, `envoy` the names that Envoy's spans have.
        tags: OneOf<TagNames>, default "\"semantic\"";
        /// Spans wait at most for this time until they are sent.
        flush_interval: Time<1>, default "\"1s\"";
        /// As many spans are sent without waiting.
        min_flush_spans: Int<1, 10_000>, default "100";
    }
}

table! {
    /// Tracing of a route's requests (Envoy: Tracing, Decorator).
    RouteTracing at "listeners[].http.virtual_hosts[].routes[].tracing", example "tracing.toml" {
        /// Instead of the connection manager's.
        client_sampling: Percent, optional "as in `http.tracing`";
        /// Instead of the connection manager's.
        random_sampling: Percent, optional "as in `http.tracing`";
        /// Instead of the connection manager's.
        overall_sampling: Percent, optional "as in `http.tracing`";
        /// Name of the span of an exchange, as text with [command operators](#command-operators).
        operation: Text, optional "as in `http.tracing`";
        /// Tags in addition to those of the connection manager, or instead of those with the same name; texts with
        /// [command operators](#command-operators).
        tags: Map<Name, Text>, optional "none";
    }
}

/// How spans are written for Zipkin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZipkinFormat {
    Json,
    Protobuf,
}

impl Word for ZipkinFormat {
    const WORDS: &'static [(&'static str, Self)] = &[("json", Self::Json), ("protobuf", Self::Protobuf)];
    const LATER: &'static [&'static str] = &[];
}

impl Word for TagNames {
    const WORDS: &'static [(&'static str, Self)] = &[("semantic", Self::Semantic), ("envoy", Self::Envoy)];
    const LATER: &'static [&'static str] = &[];
}

impl Word for TraceForm {
    const WORDS: &'static [(&'static str, Self)] = &[("b3", Self::B3), ("b3_multi", Self::B3Multi), ("w3c", Self::W3c)];
    const LATER: &'static [&'static str] = &[];
}

impl Word for TraceTrust {
    const WORDS: &'static [(&'static str, Self)] =
        &[("internal", Self::Internal), ("always", Self::Always), ("never", Self::Never)];
    const LATER: &'static [&'static str] = &[];
}
