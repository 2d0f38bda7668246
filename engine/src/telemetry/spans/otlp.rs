//! Spans as OpenTelemetry takes them (`opentelemetry.proto.collector.trace.v1.ExportTraceServiceRequest`).

use crate::base::address;
use crate::http::trace::{Item, Key, Kind, SpanRecord, Tag, Value};
use crate::telemetry::Fields;
use crate::telemetry::otlp::Frame;
use ringway_config::model::{GRPC_STATUSES, TagNames};

/// Numbers of a span's fields.
mod field {
    pub const TRACE_ID: u32 = 1;
    pub const SPAN_ID: u32 = 2;
    pub const TRACE_STATE: u32 = 3;
    pub const PARENT_SPAN_ID: u32 = 4;
    pub const NAME: u32 = 5;
    pub const KIND: u32 = 6;
    pub const START: u32 = 7;
    pub const END: u32 = 8;
    pub const ATTRIBUTE: u32 = 9;
    pub const EVENT: u32 = 11;
    pub const STATUS: u32 = 15;
    pub const FLAGS: u32 = 16;
}

/// `ScopeSpans.spans`: with this number a span stands in a report.
const SPANS: u32 = 2;

const STATUS_ERROR: u64 = 2;

/// Of a span: it is sampled, and it is known whether its parent is of another process.
const FLAGS: u32 = 0x101;
const TRACE_IS_RANDOM: u32 = 2;
const PARENT_IS_REMOTE: u32 = 0x200;

/// The conventions whose names attributes have.
const SCHEMA: &[u8] = b"https://opentelemetry.io/schemas/1.37.0";

/// Methods that the conventions know; any other one is `_OTHER`.
const METHODS: [&[u8]; 9] = [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"];

/// What stands around the spans of a report.
pub(super) fn frame(service: &str, names: TagNames) -> Frame {
    Frame::new(service, &[], (names == TagNames::Semantic).then_some(SCHEMA))
}

/// Appends the span as one more field of a report.
pub(super) fn span(out: &mut Vec<u8>, span: &SpanRecord<'_>, names: TagNames) {
    Fields(out).long_message(SPANS, |fields| write(fields, span, names));
}

fn write(fields: &mut Fields<'_>, span: &SpanRecord<'_>, names: TagNames) {
    let facts = &span.facts;
    let is_server = facts.kind == Kind::Server;
    fields.bytes(field::TRACE_ID, &facts.trace_id.to_be_bytes());
    fields.bytes(field::SPAN_ID, &facts.id.to_be_bytes());
    if !span.tracestate.is_empty() {
        fields.text(field::TRACE_STATE, span.tracestate);
    }
    if facts.parent != 0 {
        fields.bytes(field::PARENT_SPAN_ID, &facts.parent.to_be_bytes());
    }
    fields.text(field::NAME, span.name);
    fields.varint(field::KIND, if is_server { 2 } else { 3 });
    fields.fixed64(field::START, facts.start * 1000);
    fields.fixed64(field::END, (facts.start + facts.duration) * 1000);
    let mut statuses = Statuses::default();
    let own = Own(span.own_names());
    for item in span.items() {
        match item {
            Item::Tag(key, value) => {
                statuses.see(&key, &value);
                match (key, names) {
                    (Key::Custom(name), _) => attribute(fields, name, value),
                    (Key::Known(tag), TagNames::Semantic) => semantic(fields, &own, tag, value),
                    (Key::Known(tag), TagNames::Envoy) => envoy(fields, &own, tag, value),
                }
            }
            Item::Event(event, after) => fields.message(field::EVENT, |fields| {
                fields.fixed64(1, (facts.start + after) * 1000);
                fields.bytes(2, event.name().as_bytes());
            }),
        }
    }
    if !is_server && !span.remote_service.is_empty() && names == TagNames::Semantic {
        own.unless(fields, b"peer.service", Value::Text(span.remote_service));
    }
    if facts.error && names == TagNames::Envoy {
        own.unless(fields, b"error", Value::Text(b"true"));
    }
    if statuses.are_an_error(is_server, facts.error) {
        if names == TagNames::Semantic {
            statuses.tell_type(fields, &own);
        }
        fields.message(field::STATUS, |status| status.varint(3, STATUS_ERROR));
    }
    let bit = |is_set: bool, bit: u32| if is_set { bit } else { 0 };
    let further = bit(facts.random, TRACE_IS_RANDOM) | bit(is_server && facts.parent != 0, PARENT_IS_REMOTE);
    fields.fixed32(field::FLAGS, FLAGS | further);
}

/// Names of the configuration's attributes, which are written themselves. No span may have two of a name.
struct Own<'a>(Vec<&'a [u8]>);

impl Own<'_> {
    /// Writes an attribute that each span has, unless the configuration has one of this name.
    fn unless(&self, fields: &mut Fields<'_>, name: &[u8], value: Value<'_>) {
        if !self.0.contains(&name) {
            attribute(fields, name, value);
        }
    }
}

/// What a span says of its outcome.
#[derive(Default)]
struct Statuses {
    http: Option<i64>,
    grpc: Option<i64>,
    /// It has a tag with the kind of its error.
    has_type: bool,
}

impl Statuses {
    fn see(&mut self, key: &Key<'_>, value: &Value<'_>) {
        match key {
            Key::Known(Tag::StatusCode) => self.http = number(value),
            Key::Known(Tag::GrpcStatus) => self.grpc = number(value),
            Key::Known(Tag::ErrorType) => self.has_type = true,
            Key::Known(_) | Key::Custom(_) => {}
        }
    }

    /// By the conventions: what a client did wrong is no error of the server. `is_broken`: it is one for another reason, too.
    fn are_an_error(&self, is_server: bool, is_broken: bool) -> bool {
        match (self.grpc, self.http) {
            // UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS.
            (Some(status @ 1..), _) => !is_server || matches!(status, 2 | 4 | 12 | 13 | 14 | 15),
            (None, Some(400..500)) => !is_server,
            (None, Some(500..)) => true,
            _ => is_broken,
        }
    }

    /// The kind of the error, which is its status where there is no other.
    fn tell_type(&self, fields: &mut Fields<'_>, own: &Own<'_>) {
        let status = match (self.grpc, self.http) {
            _ if self.has_type => return,
            (Some(status @ 1..), _) => {
                let known = usize::try_from(status).ok().and_then(|status| GRPC_STATUSES.get(status));
                known.map_or_else(|| status.to_string(), |(_, name)| (*name).into())
            }
            (_, Some(status)) => status.to_string(),
            (_, None) => return,
        };
        own.unless(fields, b"error.type", Value::Text(status.as_bytes()));
    }
}

fn number(value: &Value<'_>) -> Option<i64> {
    match value {
        Value::Int(number) => Some(*number),
        Value::Text(text) => std::str::from_utf8(text).ok()?.parse().ok(),
        Value::Address(_) => None,
    }
}

/// All values are texts with Envoy.
fn envoy(fields: &mut Fields<'_>, own: &Own<'_>, tag: Tag, value: Value<'_>) {
    value.as_text(|text| own.unless(fields, tag.envoy_name().as_bytes(), Value::Text(text)));
}

/// Names and values of the conventions. What they have no name for keeps Envoy's.
fn semantic(fields: &mut Fields<'_>, own: &Own<'_>, tag: Tag, value: Value<'_>) {
    let mut add = |name: &str, value: Value<'_>| own.unless(fields, name.as_bytes(), value);
    let name = tag.semantic_name().unwrap_or(tag.envoy_name());
    match (tag, value) {
        // Each span of this program has it.
        (Tag::Component, _) => {}
        (Tag::Method, Value::Text(method)) if !METHODS.contains(&method) => {
            add(name, Value::Text(b"_OTHER"));
            add("http.request.method_original", value);
        }
        (Tag::Protocol, Value::Text(protocol)) => {
            add(name, Value::Text(protocol.strip_prefix(b"HTTP/").unwrap_or(protocol)));
        }
        (Tag::PeerAddress, Value::Address(peer)) => {
            add(name, Value::Text(&address::ip(peer.ip())));
            add("network.peer.port", Value::Int(peer.port().into()));
        }
        (Tag::GrpcPath, Value::Text(path)) => {
            add("rpc.system", Value::Text(b"grpc"));
            let path = path.strip_prefix(b"/").unwrap_or(path);
            match path.iter().rposition(|byte| *byte == b'/') {
                Some(at) => {
                    add("rpc.service", Value::Text(&path[..at]));
                    add(name, Value::Text(&path[at + 1..]));
                }
                None => add(name, Value::Text(path)),
            }
        }
        (
            Tag::StatusCode
            | Tag::GrpcStatus
            | Tag::ServerPort
            | Tag::RetryCount
            | Tag::RequestSize
            | Tag::ResponseSize,
            _,
        ) => {
            add(name, number(&value).map_or(value, Value::Int));
        }
        _ => add(name, value),
    }
}

/// `KeyValue`.
fn attribute(fields: &mut Fields<'_>, name: &[u8], value: Value<'_>) {
    match value {
        Value::Int(number) => fields.message(field::ATTRIBUTE, |fields| {
            fields.text(1, name);
            fields.message(2, |fields| fields.varint(3, number as u64));
        }),
        _ => value.as_text(|text| fields.attribute(field::ATTRIBUTE, name, text)),
    }
}
