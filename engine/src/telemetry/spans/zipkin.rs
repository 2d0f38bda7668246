//! Spans as Zipkin takes them: its JSON, version 2, and the same as protobuf (`zipkin.proto3.ListOfSpans`).

use crate::http::trace::{Event, Item, Key, Kind, SpanRecord};
use crate::telemetry::Fields;
use crate::telemetry::json::Object;
use smallvec::SmallVec;
use std::net::{IpAddr, SocketAddr};

/// An error's tag, whose presence is what counts.
const ERROR: &[u8] = b"error";

/// Numbers of fields.
mod field {
    pub const SPAN: u32 = 1;
    pub const TRACE_ID: u32 = 1;
    pub const PARENT_ID: u32 = 2;
    pub const ID: u32 = 3;
    pub const KIND: u32 = 4;
    pub const NAME: u32 = 5;
    pub const TIMESTAMP: u32 = 6;
    pub const DURATION: u32 = 7;
    pub const LOCAL_ENDPOINT: u32 = 8;
    pub const REMOTE_ENDPOINT: u32 = 9;
    pub const ANNOTATION: u32 = 10;
    pub const TAG: u32 = 11;
    pub const DEBUG: u32 = 12;
    pub const SHARED: u32 = 13;
}

/// Appends the span as an object.
pub(super) fn json(out: &mut Vec<u8>, span: &SpanRecord<'_>, service: &str) {
    let facts = &span.facts;
    let mut object = Object::new(out);
    match (facts.trace_id >> 64) as u64 {
        0 => object.hex("traceId", &[facts.trace_id as u64]),
        high => object.hex("traceId", &[high, facts.trace_id as u64]),
    }
    if facts.parent != 0 {
        object.hex("parentId", &[facts.parent]);
    }
    object.hex("id", &[facts.id]);
    object.word("kind", if facts.kind == Kind::Server { "SERVER" } else { "CLIENT" });
    if !span.name.is_empty() {
        object.text("name", span.name);
    }
    object.number("timestamp", facts.start as i64);
    object.number("duration", facts.duration.max(1) as i64);
    object.object("localEndpoint", |endpoint| json_endpoint(endpoint, service.as_bytes(), facts.local));
    if !span.remote_service.is_empty() || facts.remote.is_some() {
        object.object("remoteEndpoint", |endpoint| json_endpoint(endpoint, span.remote_service, facts.remote));
    }
    let own = span.own_names();
    let mut events = SmallVec::<[(Event, u64); 12]>::new();
    object.object("tags", |tags| {
        for item in span.items() {
            match item {
                Item::Event(event, after) => events.push((event, after)),
                Item::Tag(key, _) if is_replaced(&own, &key) => {}
                Item::Tag(key, value) => value.as_text(|text| match key {
                    Key::Known(tag) => tags.keyed(tag.json_key(), text, value.is_plain()),
                    Key::Custom(name) => tags.named(name, text),
                }),
            }
        }
        if facts.error && !own.contains(&ERROR) {
            tags.word("error", "true");
        }
    });
    if !events.is_empty() {
        object.array("annotations", events.into_iter(), |annotation, (event, after)| {
            annotation.number("timestamp", (facts.start + after) as i64);
            annotation.word("value", event.name());
        });
    }
    if facts.debug {
        object.truth("debug");
    }
    if facts.shared {
        object.truth("shared");
    }
    object.end();
}

fn json_endpoint(object: &mut Object<'_>, service: &[u8], address: Option<SocketAddr>) {
    if !service.is_empty() {
        object.text("serviceName", service);
    }
    let Some(address) = address else { return };
    object.ip(if address.is_ipv4() { "ipv4" } else { "ipv6" }, address.ip());
    if address.port() != 0 {
        object.number("port", address.port().into());
    }
}

fn name_of<'a>(key: &Key<'a>) -> &'a [u8] {
    match key {
        Key::Known(tag) => tag.envoy_name().as_bytes(),
        Key::Custom(name) => name,
    }
}

/// Names of tags are unique.
fn is_replaced(own: &[&[u8]], key: &Key<'_>) -> bool {
    matches!(key, Key::Known(_)) && own.contains(&name_of(key))
}

/// Appends the span as one more field of a list.
pub(super) fn protobuf(out: &mut Vec<u8>, span: &SpanRecord<'_>, service: &str) {
    Fields(out).long_message(field::SPAN, |fields| protobuf_span(fields, span, service));
}

fn protobuf_span(fields: &mut Fields<'_>, span: &SpanRecord<'_>, service: &str) {
    let facts = &span.facts;
    match (facts.trace_id >> 64) as u64 {
        0 => fields.bytes(field::TRACE_ID, &(facts.trace_id as u64).to_be_bytes()),
        _ => fields.bytes(field::TRACE_ID, &facts.trace_id.to_be_bytes()),
    }
    if facts.parent != 0 {
        fields.bytes(field::PARENT_ID, &facts.parent.to_be_bytes());
    }
    fields.bytes(field::ID, &facts.id.to_be_bytes());
    fields.varint(field::KIND, if facts.kind == Kind::Server { 2 } else { 1 });
    fields.text(field::NAME, span.name);
    fields.fixed64(field::TIMESTAMP, facts.start);
    fields.varint(field::DURATION, facts.duration.max(1));
    fields.message(field::LOCAL_ENDPOINT, |endpoint| protobuf_endpoint(endpoint, service.as_bytes(), facts.local));
    if !span.remote_service.is_empty() || facts.remote.is_some() {
        let service = span.remote_service;
        fields.message(field::REMOTE_ENDPOINT, |endpoint| protobuf_endpoint(endpoint, service, facts.remote));
    }
    let own = span.own_names();
    for item in span.items() {
        match item {
            Item::Tag(key, _) if is_replaced(&own, &key) => {}
            Item::Event(event, after) => fields.message(field::ANNOTATION, |annotation| {
                annotation.fixed64(1, facts.start + after);
                annotation.bytes(2, event.name().as_bytes());
            }),
            Item::Tag(key, value) => value.as_text(|text| fields.pair(field::TAG, name_of(&key), text)),
        }
    }
    if facts.error && !own.contains(&ERROR) {
        fields.pair(field::TAG, ERROR, b"true");
    }
    if facts.debug {
        fields.varint(field::DEBUG, 1);
    }
    if facts.shared {
        fields.varint(field::SHARED, 1);
    }
}

fn protobuf_endpoint(fields: &mut Fields<'_>, service: &[u8], address: Option<SocketAddr>) {
    if !service.is_empty() {
        fields.text(1, service);
    }
    let Some(address) = address else { return };
    match address.ip() {
        IpAddr::V4(ip) => fields.bytes(2, &ip.octets()),
        IpAddr::V6(ip) => fields.bytes(3, &ip.octets()),
    }
    if address.port() != 0 {
        fields.varint(4, address.port().into());
    }
}
