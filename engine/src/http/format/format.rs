//! A record becomes a line: what each command operator stands for and how it is written in text and in JSON.

use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use ringway_config::model::{CommandOperator, FieldOperand};

use super::compile::{CompiledFormat, JsonMember, Operator, Part, Piece, Shape};
use super::escape::{push_json, push_text};
use super::{Record, ResponseFlags, SecondCache};
use crate::http::{FieldId, Fields, HeadView, Scheme};

/// Bytes of one value at most, before escaping: the fields of a head are limited by the codec, but a format may name
/// one of them several times.
const VALUE_MAX: usize = 16 * 1024;

/// What an operator stands for in one record.
enum Value<'a> {
    Absent,
    Number(u64),
    /// Two parts because a request's target may have one that the head left out. What peers sent is escaped.
    Bytes([&'a [u8]; 2]),
    Flags(ResponseFlags),
    /// Microseconds since the epoch.
    Time(u64),
    Address(SocketAddr),
    Ip(IpAddr),
}

/// Appends the line for `record`. Allocates only when `out` has no room. Absent values are `-` in text; in JSON a
/// member that is one operator is `null` or a number where it can be, as in Envoy.
pub fn format_line(record: &Record<'_>, format: &CompiledFormat, second: &mut SecondCache, out: &mut Vec<u8>) {
    match &format.shape {
        Shape::Text(pieces) => pieces.iter().for_each(|piece| match piece {
            Piece::Literal(text) => out.extend_from_slice(text),
            Piece::Operator(operator) => {
                push_value(evaluate(operator, record, &format.hostname), second, push_text, out);
            }
        }),
        Shape::Json(members) => {
            out.push(b'{');
            for member in members {
                push_member(member, record, &format.hostname, second, out);
            }
            out.extend_from_slice(b"}\n");
        }
    }
}

fn push_member(member: &JsonMember, record: &Record<'_>, hostname: &str, second: &mut SecondCache, out: &mut Vec<u8>) {
    out.extend_from_slice(&member.lead);
    if let [Piece::Operator(operator)] = &member.pieces[..] {
        match evaluate(operator, record, hostname) {
            Value::Absent => return out.extend_from_slice(b"null"),
            Value::Number(number) => return push_number(number, out),
            Value::Bytes(_) | Value::Flags(_) | Value::Time(_) | Value::Address(_) | Value::Ip(_) => {}
        }
    }
    out.push(b'"');
    for piece in &member.pieces {
        match piece {
            Piece::Literal(text) => push_json(text, out),
            Piece::Operator(operator) => push_value(evaluate(operator, record, hostname), second, push_json, out),
        }
    }
    out.push(b'"');
}

fn push_value(value: Value<'_>, second: &mut SecondCache, escape: fn(&[u8], &mut Vec<u8>), out: &mut Vec<u8>) {
    match value {
        Value::Absent => out.push(b'-'),
        Value::Number(number) => push_number(number, out),
        Value::Bytes(parts) => parts.iter().for_each(|part| escape(part, out)),
        Value::Flags(flags) => push_flags(flags, out),
        Value::Time(unix_micros) => second.push(unix_micros, out),
        // Writing to a Vec cannot fail.
        Value::Address(address) => write!(out, "{address}").expect("a Vec takes everything"),
        Value::Ip(address) => write!(out, "{address}").expect("a Vec takes everything"),
    }
}

fn push_number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

fn push_flags(flags: ResponseFlags, out: &mut Vec<u8>) {
    if flags.is_empty() {
        return out.push(b'-');
    }
    for (position, name) in flags.names().enumerate() {
        if position != 0 {
            out.push(b',');
        }
        out.extend_from_slice(name.as_bytes());
    }
}

fn evaluate<'a>(operator: &Operator, record: &Record<'a>, hostname: &'a str) -> Value<'a> {
    match &operator.operator {
        CommandOperator::StartTime => Value::Time(record.start_unix_micros),
        CommandOperator::Req(field) => lookup(operator, field, |name, part| request_value(record, name, part)),
        CommandOperator::Resp(field) => lookup(operator, field, |name, part| response_value(record, name, part)),
        CommandOperator::Protocol => text(record.protocol),
        CommandOperator::ResponseCode => Value::Number(u64::from(record.response_code)),
        CommandOperator::ResponseCodeDetails => text(record.response_code_details),
        CommandOperator::ResponseFlags => Value::Flags(record.response_flags),
        CommandOperator::BytesReceived => Value::Number(record.bytes_received),
        CommandOperator::BytesSent => Value::Number(record.bytes_sent),
        CommandOperator::Duration => milliseconds(record.duration_micros),
        CommandOperator::RequestDuration => milliseconds(record.request_duration_micros),
        CommandOperator::ResponseDuration => milliseconds(record.response_duration_micros),
        CommandOperator::ResponseTxDuration => milliseconds(
            record.duration_micros.zip(record.response_duration_micros).map(|(all, first)| all.saturating_sub(first)),
        ),
        CommandOperator::UpstreamHost => text(record.upstream_host),
        CommandOperator::UpstreamCluster => text(record.upstream_cluster),
        CommandOperator::UpstreamLocalAddress => address(record.upstream_local_address),
        CommandOperator::DownstreamRemoteAddress => address(record.downstream_remote_address),
        CommandOperator::DownstreamRemoteAddressWithoutPort => ip(record.downstream_remote_address),
        CommandOperator::DownstreamLocalAddress => address(record.downstream_local_address),
        CommandOperator::DownstreamLocalAddressWithoutPort => ip(record.downstream_local_address),
        CommandOperator::DownstreamLocalPort => {
            record.downstream_local_address.map_or(Value::Absent, |address| Value::Number(u64::from(address.port())))
        }
        CommandOperator::RouteName => text(record.route_name),
        CommandOperator::VirtualHostName => text(record.virtual_host_name),
        CommandOperator::ConnectionId => Value::Number(record.connection_id),
        CommandOperator::Hostname => text(Some(hostname)),
    }
}

/// The field, or its alternative where there is no such field, cut to its length.
fn lookup<'a>(
    operator: &Operator,
    field: &FieldOperand,
    find: impl Fn(&str, Part) -> Option<[&'a [u8]; 2]>,
) -> Value<'a> {
    let alternative = || find(field.alternative.as_deref()?, operator.alternative);
    let Some([first, second]) = find(&field.name, operator.part).or_else(alternative) else { return Value::Absent };
    let max = field.max_length.unwrap_or(VALUE_MAX).min(VALUE_MAX);
    let first = &first[..first.len().min(max)];
    Value::Bytes([first, &second[..second.len().min(max - first.len())]])
}

fn request_value<'a>(record: &Record<'a>, name: &str, part: Part) -> Option<[&'a [u8]; 2]> {
    if let Some(value) = edited(record.request_edits, name) {
        return Some([value, b""]);
    }
    let (head, bytes) = record.request?;
    let value = match part {
        Part::Method => [head.method_bytes(bytes), b""],
        Part::Path => head.target(bytes),
        Part::Authority => [head.authority.of(bytes), b""],
        Part::Scheme => match head.scheme {
            Some(Scheme::Http) => [&b"http"[..], b""],
            Some(Scheme::Https) => [&b"https"[..], b""],
            None => [record.scheme.as_bytes(), b""],
        },
        // An empty field is there; an empty part of the request line is not.
        Part::Field(id) => return field_value(&head.fields, bytes, id, name),
    };
    value.iter().any(|part| !part.is_empty()).then_some(value)
}

fn response_value<'a>(record: &Record<'a>, name: &str, part: Part) -> Option<[&'a [u8]; 2]> {
    if let Some(value) = edited(record.response_edits, name) {
        return Some([value, b""]);
    }
    let (head, bytes) = record.response?;
    match part {
        Part::Field(id) => field_value(&head.fields, bytes, id, name),
        Part::Method | Part::Path | Part::Authority | Part::Scheme => None,
    }
}

fn edited<'a>(edits: &[(&'a str, &'a [u8])], name: &str) -> Option<&'a [u8]> {
    edits.iter().rev().find(|edit| edit.0 == name).map(|edit| edit.1)
}

/// The first field of this name, as in Envoy. `name` is in lower case and `id` is its id.
fn field_value<'a>(fields: &Fields, bytes: HeadView<'a>, id: FieldId, name: &str) -> Option<[&'a [u8]; 2]> {
    let field = match id {
        FieldId::Unknown => fields.all(id).find(|field| field.name.of(bytes).eq_ignore_ascii_case(name.as_bytes()))?,
        id => fields.get(id)?,
    };
    Some([field.value.of(bytes), b""])
}

fn text(value: Option<&str>) -> Value<'_> {
    value.filter(|value| !value.is_empty()).map_or(Value::Absent, |value| Value::Bytes([value.as_bytes(), b""]))
}

fn milliseconds<'a>(micros: Option<u64>) -> Value<'a> {
    micros.map_or(Value::Absent, |micros| Value::Number(micros / 1000))
}

fn address<'a>(address: Option<SocketAddr>) -> Value<'a> {
    address.map_or(Value::Absent, Value::Address)
}

fn ip<'a>(address: Option<SocketAddr>) -> Value<'a> {
    address.map_or(Value::Absent, |address| Value::Ip(address.ip()))
}
