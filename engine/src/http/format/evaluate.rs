//! What each command operator stands for in one record.

use std::net::{IpAddr, SocketAddr};

use ringway_config::model::{
    AddressOf, AddressPart, ByteCount, CommandOperator, FieldOperand, GRPC_STATUSES, GrpcStatusForm, Precision,
    Rewritten, TimeFormat, TimePoint, TlsFact, TlsSide,
};

use super::compile::{Operator, Part};
use super::query::{parameter, without_query};
use super::secured;
use super::{ConnectionEnd, Record, ResponseFlags};
use crate::base::random::Uuid;
use crate::http::matcher::scheme;
use crate::http::trace::Trace;
use crate::http::{Field, FieldId, Fields, HeadView};

/// Bytes of one value at most, before escaping: the fields of a head are limited by the codec, but a format may name
/// one of them several times.
const VALUE_MAX: usize = 16 * 1024;

pub(super) enum Value<'a> {
    Absent,
    Number(u64),
    /// Two parts because a request's target may have one that the head left out. What peers sent is escaped.
    Bytes([&'a [u8]; 2]),
    /// Several lines of one name.
    Lines(FieldLines<'a>),
    /// Percent-encoded; of what it stands for, at most this number of bytes.
    Encoded(&'a [u8], usize),
    /// A certificate as percent-encoded PEM, at most this number of bytes of that.
    Pem(&'a [u8], usize),
    /// Without its white space.
    Joined([&'a str; 2]),
    /// The same, or with it.
    Details(FailedDetails<'a>),
    Flags {
        flags: ResponseFlags,
        long: bool,
    },
    /// Microseconds since the epoch.
    Time(u64, &'a TimeFormat),
    Address(SocketAddr),
    Ip(IpAddr),
    /// The host's bits are zero.
    Network(IpAddr, u8),
    Uuid(Uuid),
    /// Of a trace or a span, with 32 or 16 digits.
    Trace(u128),
    Span(u64),
}

/// The details of a connection that failed, and of what: `upstream_reset_before_response_started{connection_termination|TLS:_...}`.
pub(super) struct FailedDetails<'a> {
    pub parts: [&'a str; 5],
    pub keep_spaces: bool,
}

/// The lines of a field that has more than one: one value, joined by commas (RFC 9110 section 5.3), at most `max` bytes.
pub(super) struct FieldLines<'a> {
    fields: &'a Fields,
    view: HeadView<'a>,
    id: FieldId,
    name: &'a str,
    max: usize,
}

impl<'a> FieldLines<'a> {
    /// The bytes, piece by piece.
    pub(super) fn pieces(&self) -> impl Iterator<Item = &'a [u8]> {
        let mut left = self.max;
        let lines = lines(self.fields, self.view, self.id, self.name).enumerate();
        let pieces = lines.flat_map(|(at, line)| [if at == 0 { &b""[..] } else { b"," }, line]);
        pieces.map(move |piece| {
            let piece = &piece[..piece.len().min(left)];
            left -= piece.len();
            piece
        })
    }
}

pub(super) fn evaluate<'a>(operator: &'a Operator, record: &Record<'a>) -> Value<'a> {
    match &operator.operator {
        CommandOperator::StartTime(format) => Value::Time(record.times.start_wall_micros, format),
        CommandOperator::EmitTime(format) => Value::Time(record.now_unix_micros(), format),
        CommandOperator::Req(field) => request_lines(operator, field, record),
        CommandOperator::ReqWithoutQuery(field) => {
            let value = request_field(operator, field, record).map(|value| value.map(without_query));
            bytes(value, field.max_length)
        }
        CommandOperator::Resp(field) => response_lines(operator, field, record),
        CommandOperator::Path { with_query, source, max_length } => {
            let path = path(record, *source);
            bytes(path.map(|path| if *with_query { path } else { path.map(without_query) }), *max_length)
        }
        CommandOperator::QueryParam { name, max_length } => {
            let value = query(record).and_then(|query| parameter(query, name.as_bytes()));
            value.map_or(Value::Absent, |value| Value::Encoded(value, limit(*max_length)))
        }
        CommandOperator::QueryParams { decoded, max_length } => match query(record) {
            Some(query) if *decoded => Value::Encoded(query, limit(*max_length)),
            query => bytes(query.map(|query| [query, b""]), *max_length),
        },
        CommandOperator::Protocol => text(record.protocol),
        CommandOperator::UpstreamProtocol => text(record.upstream_protocol),
        CommandOperator::ResponseCode => Value::Number(u64::from(record.response_code)),
        CommandOperator::GrpcStatus(form) => grpc_status(record, *form),
        CommandOperator::ResponseCodeDetails { keep_spaces } => details(record, *keep_spaces),
        CommandOperator::ResponseFlags => Value::Flags { flags: record.response_flags, long: false },
        CommandOperator::ResponseFlagsLong => Value::Flags { flags: record.response_flags, long: true },
        CommandOperator::Bytes(_) if record.connection.is_some_and(|end| !end.is_counted) => Value::Absent,
        CommandOperator::Bytes(count) => Value::Number(byte_count(record, *count)),
        CommandOperator::Duration => Value::Number(record.duration_ms()),
        CommandOperator::Elapsed { start, end, precision } => elapsed(record, *start, *end, *precision),
        CommandOperator::Address { of, part } => address(record, *of, *part),
        CommandOperator::UpstreamHost => text(record.upstream_host),
        CommandOperator::UpstreamHostName { with_port } => text(upstream_host_name(record, *with_port)),
        CommandOperator::UpstreamCluster => text(record.upstream_cluster),
        CommandOperator::UpstreamRequestAttemptCount => Value::Number(u64::from(record.upstream_attempts)),
        CommandOperator::UpstreamTransportFailureReason => text(record.upstream_transport_failure),
        CommandOperator::Tls { side, fact } => text(secured::fact(record, *side, *fact)),
        CommandOperator::TlsFingerprint(which) => text(record.fingerprints.and_then(|all| all.get(*which))),
        CommandOperator::RequestedHost { host_first, host } => requested_host(record, *host_first, *host),
        CommandOperator::Certificate { side, of, fact } => text(secured::certificate_fact(record, *side, *of, *fact)),
        CommandOperator::PeerCertificate { side, max_length } => peer_certificate(record, *side, *max_length),
        CommandOperator::PeerValidity { side, is_end, format } => peer_validity(record, *side, *is_end, format),
        CommandOperator::UpstreamConnectionId => record.upstream_connection_id.map_or(Value::Absent, Value::Number),
        CommandOperator::RouteName => text(record.route_name),
        CommandOperator::VirtualHostName => text(record.virtual_host_name),
        CommandOperator::FilterChainName => text(record.filter_chain_name),
        CommandOperator::ConnectionId => Value::Number(record.connection_id),
        CommandOperator::ConnectionRequests => of_end(record, |end| Value::Number(end.requests)),
        CommandOperator::ConnectionTerminationDetails => of_end(record, |end| text(Some(end.details))),
        CommandOperator::DownstreamTransportFailureReason => of_end(record, |end| text(end.transport_failure)),
        CommandOperator::StreamId => stream_id(record),
        CommandOperator::TraceId => record.trace.map_or(Value::Absent, |trace| Value::Trace(trace.trace)),
        CommandOperator::SpanId => record.trace.map_or(Value::Absent, |trace| Value::Span(trace.span)),
        CommandOperator::TraceFlags => text(record.trace.map(Trace::flags)),
        CommandOperator::UniqueId => record.random.map_or(Value::Absent, |random| Value::Uuid(random.uuid())),
        CommandOperator::Hostname => text(operator.constant.as_deref()),
        CommandOperator::Environment { max_length, .. } => {
            bytes(operator.constant.as_deref().map(|value| [value.as_bytes(), b""]), *max_length)
        }
        CommandOperator::LocalReplyBody => local_reply_body(record),
        CommandOperator::AccessLogType => text(Some(log_type(record))),
        CommandOperator::Coalesce { max_length, .. } => {
            let mut values = operator.inner.iter().map(|inner| evaluate(inner, record));
            values.find(|value| !value.is_empty()).map_or(Value::Absent, |value| value.cut(limit(*max_length)))
        }
    }
}

fn grpc_status<'a>(record: &Record<'a>, form: GrpcStatusForm) -> Value<'a> {
    let Some(status) = record.grpc_status() else { return Value::Absent };
    match (GRPC_STATUSES.get(status.0 as usize), form) {
        (Some((name, _)), GrpcStatusForm::Camel) | (Some((_, name)), GrpcStatusForm::Snake) => text(Some(name)),
        (None, _) | (_, GrpcStatusForm::Number) => Value::Number(u64::from(status.0)),
    }
}

fn peer_certificate<'a>(record: &Record<'a>, side: TlsSide, max_length: Option<usize>) -> Value<'a> {
    let certificate = secured::peer_certificate(record, side);
    certificate.map_or(Value::Absent, |certificate| Value::Pem(certificate, limit(max_length)))
}

fn peer_validity<'a>(record: &Record<'a>, side: TlsSide, is_end: bool, format: &'a TimeFormat) -> Value<'a> {
    secured::peer_validity(record, side, is_end).map_or(Value::Absent, |micros| Value::Time(micros, format))
}

fn stream_id<'a>(record: &Record<'a>) -> Value<'a> {
    bytes(request_value(record, "x-request-id", Part::Field(FieldId::XRequestId)), None)
}

fn of_end<'a>(record: &Record<'a>, value: fn(&ConnectionEnd<'a>) -> Value<'a>) -> Value<'a> {
    record.connection.map_or(Value::Absent, value)
}

/// Envoy: AccessLogType.
fn log_type(record: &Record<'_>) -> &'static str {
    if record.connection.is_some() { "TcpConnectionEnd" } else { "DownstreamEnd" }
}

fn local_reply_body<'a>(record: &Record<'a>) -> Value<'a> {
    match record.local_reply_body {
        b"" => Value::Absent,
        body => bytes(Some([body, b""]), None),
    }
}

fn upstream_host_name<'a>(record: &Record<'a>, with_port: bool) -> Option<&'a str> {
    let name = record.upstream_host_name.or(record.upstream_host);
    if with_port { name } else { name.map(without_port) }
}

impl Value<'_> {
    fn is_empty(&self) -> bool {
        match self {
            Self::Absent => true,
            Self::Bytes([first, second]) => first.is_empty() && second.is_empty(),
            Self::Encoded(encoded, _) => encoded.is_empty(),
            // There is a comma at least, or a brace, or what begins a certificate.
            Self::Lines(_) | Self::Details(_) | Self::Pem(..) => false,
            Self::Joined([first, second]) => first.is_empty() && second.is_empty(),
            Self::Number(_) | Self::Flags { .. } | Self::Time(..) | Self::Address(_) | Self::Ip(_) => false,
            Self::Network(..) | Self::Uuid(_) | Self::Trace(_) | Self::Span(_) => false,
        }
    }

    /// Texts have at most `max` bytes then; other values are not cut.
    fn cut(self, max: usize) -> Self {
        match self {
            Self::Bytes(parts) => Self::Bytes(cut(parts, max)),
            Self::Encoded(encoded, before) => Self::Encoded(encoded, before.min(max)),
            Self::Pem(certificate, before) => Self::Pem(certificate, before.min(max)),
            Self::Lines(lines) => Self::Lines(FieldLines { max: lines.max.min(max), ..lines }),
            other => other,
        }
    }
}

/// The field, or its alternative where there is no such field.
fn lookup<'a, T>(operator: &Operator, field: &'a FieldOperand, find: impl Fn(&'a str, Part) -> Option<T>) -> Option<T> {
    find(&field.name, operator.part).or_else(|| find(field.alternative.as_deref()?, operator.alternative))
}

fn request_lines<'a>(operator: &Operator, field: &'a FieldOperand, record: &Record<'a>) -> Value<'a> {
    let max = limit(field.max_length);
    let found = lookup(operator, field, |name, part| match (part, record.request) {
        (Part::Field(id), Some((head, view))) => all_lines(&head.fields, view, id, name, max),
        (part, _) => request_value(record, name, part).map(|value| Value::Bytes(cut(value, max))),
    });
    found.unwrap_or(Value::Absent)
}

fn response_lines<'a>(operator: &Operator, field: &'a FieldOperand, record: &Record<'a>) -> Value<'a> {
    let max = limit(field.max_length);
    let found = lookup(operator, field, |name, part| match (part, record.response) {
        (Part::Field(id), Some((head, view))) => all_lines(&head.fields, view, id, name, max),
        _ => None,
    });
    found.unwrap_or(Value::Absent)
}

fn request_field<'a>(operator: &Operator, field: &'a FieldOperand, record: &Record<'a>) -> Option<[&'a [u8]; 2]> {
    lookup(operator, field, |name, part| request_value(record, name, part))
}

fn request_value<'a>(record: &Record<'a>, name: &'a str, part: Part) -> Option<[&'a [u8]; 2]> {
    let (head, view) = record.request?;
    let value = match part {
        Part::Method => [head.method_bytes(view), b""],
        Part::Path => head.target(view),
        Part::Authority => [head.authority.of(view), b""],
        Part::Scheme => [scheme(head, view).as_bytes(), b""],
        // An empty field is there; an empty part of the request line is not.
        Part::Field(id) => return field_value(&head.fields, view, id, name),
    };
    value.iter().any(|part| !part.is_empty()).then_some(value)
}

/// The first line of this name. `name` is in lower case and `id` is its id.
fn field_value<'a>(fields: &'a Fields, view: HeadView<'a>, id: FieldId, name: &'a str) -> Option<[&'a [u8]; 2]> {
    lines(fields, view, id, name).next().map(|value| [value, b""])
}

/// The values of all lines of this name.
fn lines<'a>(fields: &'a Fields, view: HeadView<'a>, id: FieldId, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let is_it =
        move |field: &&Field| id != FieldId::Unknown || field.name.of(view).eq_ignore_ascii_case(name.as_bytes());
    fields.all(id).filter(is_it).map(move |field| field.value.of(view))
}

/// All lines of this name as one value.
fn all_lines<'a>(fields: &'a Fields, view: HeadView<'a>, id: FieldId, name: &'a str, max: usize) -> Option<Value<'a>> {
    let mut lines = lines(fields, view, id, name);
    let first = lines.next()?;
    Some(match lines.next() {
        Some(_) => Value::Lines(FieldLines { fields, view, id, name, max }),
        None => Value::Bytes(cut([first, b""], max)),
    })
}

fn path<'a>(record: &Record<'a>, source: Rewritten) -> Option<[&'a [u8]; 2]> {
    let original = ("x-envoy-original-path", FieldId::XEnvoyOriginalPath);
    rewritten(record, source, original, (":path", Part::Path))
}

fn rewritten<'a>(
    record: &Record<'a>,
    source: Rewritten,
    (original_name, original_id): (&'static str, FieldId),
    (name, part): (&'static str, Part),
) -> Option<[&'a [u8]; 2]> {
    let original =
        || request_value(record, original_name, Part::Field(original_id)).filter(|[value, _]| !value.is_empty());
    let current = || request_value(record, name, part);
    match source {
        Rewritten::Original => original(),
        Rewritten::Current => current(),
        Rewritten::OriginalOrCurrent => original().or_else(current),
    }
}

fn requested_host<'a>(record: &Record<'a>, host_first: bool, source: Rewritten) -> Value<'a> {
    let name = || {
        let name = secured::fact(record, TlsSide::Downstream, TlsFact::ServerName)?;
        Some([name.as_bytes(), b""])
    };
    let original = ("x-envoy-original-host", FieldId::XEnvoyOriginalHost);
    let host = || rewritten(record, source, original, (":authority", Part::Authority));
    bytes(if host_first { host().or_else(name) } else { name().or_else(host) }, None)
}

fn query<'a>(record: &Record<'a>) -> Option<&'a [u8]> {
    let (head, view) = record.request?;
    head.query(view)
}

/// A dropped upgrade may explain any answer, so that it stands behind each reason.
fn details<'a>(record: &Record<'a>, keep_spaces: bool) -> Value<'a> {
    let Some(details) = record.response_code_details else { return Value::Absent };
    let dropped = if record.upgrade_dropped { "{upgrade_dropped}" } else { "" };
    if let Some(failure) = record.upstream_transport_failure
        && let Some(open) =
            CONNECTION_FAILURES.iter().find_map(|it| details.ends_with(it).then(|| details.strip_suffix('}'))?)
    {
        return Value::Details(FailedDetails { parts: [open, "|", failure, "}", dropped], keep_spaces });
    }
    match keep_spaces {
        true => bytes(Some([details.as_bytes(), dropped.as_bytes()]), None),
        false => Value::Joined([details, dropped]),
    }
}

/// How details end that say no more than that a connection failed.
const CONNECTION_FAILURES: [&str; 3] =
    ["{remote_connection_failure}", "{local_connection_failure}", "{connection_termination}"];

fn byte_count(record: &Record<'_>, count: ByteCount) -> u64 {
    let (wire, tried) = (&record.wire, &record.try_wire);
    match count {
        ByteCount::Received => record.received,
        ByteCount::Sent => record.sent,
        ByteCount::RequestHeaders => request_headers(record),
        ByteCount::ResponseHeaders => {
            record.response.map_or(0, |(head, _)| (":status".len() + "200".len()) as u64 + fields_size(&head.fields))
        }
        ByteCount::DownstreamWireReceived => wire.received,
        ByteCount::DownstreamWireSent => wire.sent,
        ByteCount::DownstreamHeaderReceived => wire.head_received,
        ByteCount::DownstreamHeaderSent => wire.head_sent,
        ByteCount::UpstreamWireReceived => tried.received,
        ByteCount::UpstreamWireSent => tried.sent,
        ByteCount::UpstreamHeaderReceived => tried.head_received,
        ByteCount::UpstreamHeaderSent => tried.head_sent,
    }
}

/// As Envoy counts: with the parts of the request line as fields, `:authority` instead of Host.
fn request_headers(record: &Record<'_>) -> u64 {
    let Some((head, _)) = record.request else { return 0 };
    let host = head.fields.get(FieldId::Host).map_or(0, |field| field.name.len() + field.value.len());
    let parts =
        [(":method", Part::Method), (":path", Part::Path), (":authority", Part::Authority), (":scheme", Part::Scheme)];
    let size = |(name, part): (&'static str, Part)| {
        let value = request_value(record, name, part);
        value.map_or(0, |[first, second]| name.len() + first.len() + second.len())
    };
    let line: usize = parts.into_iter().map(size).sum();
    fields_size(&head.fields) - host as u64 + line as u64
}

fn fields_size(fields: &Fields) -> u64 {
    fields.iter().map(|field| (field.name.len() + field.value.len()) as u64).sum()
}

fn elapsed<'a>(record: &Record<'_>, start: TimePoint, end: TimePoint, precision: Precision) -> Value<'a> {
    let (Some(start), Some(end)) = (record.time(start), record.time(end)) else { return Value::Absent };
    let unit = match precision {
        Precision::Milliseconds => 1_000_000,
        Precision::Microseconds => 1000,
        Precision::Nanoseconds => 1,
    };
    end.checked_sub(start).map_or(Value::Absent, |nanos| Value::Number(nanos / unit))
}

fn address<'a>(record: &Record<'_>, of: AddressOf, part: AddressPart) -> Value<'a> {
    let address = match of {
        AddressOf::DownstreamRemote => record.downstream_remote_address,
        AddressOf::DownstreamDirectRemote => record.downstream_direct_remote_address,
        AddressOf::DownstreamLocal => record.downstream_local_address,
        AddressOf::UpstreamRemote => record.upstream_remote_address,
        AddressOf::UpstreamLocal => record.upstream_local_address,
    };
    let Some(address) = address else { return Value::Absent };
    // A listener on [::] has IPv4 clients, too.
    let ip = address.ip().to_canonical();
    match part {
        AddressPart::AddressAndPort => Value::Address(SocketAddr::new(ip, address.port())),
        AddressPart::Address { mask_prefix_len: None } => Value::Ip(ip),
        AddressPart::Address { mask_prefix_len: Some(len) } => network(ip, len),
        AddressPart::Port => Value::Number(u64::from(address.port())),
    }
}

/// Absent where the address has fewer bits (Envoy writes nothing then, too).
fn network<'a>(ip: IpAddr, len: u8) -> Value<'a> {
    match ip {
        IpAddr::V4(ip) if len <= 32 => {
            let mask = u32::MAX.checked_shl(32 - u32::from(len)).unwrap_or(0);
            Value::Network(IpAddr::V4((ip.to_bits() & mask).into()), len)
        }
        IpAddr::V6(ip) if len <= 128 => {
            let mask = u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0);
            Value::Network(IpAddr::V6((ip.to_bits() & mask).into()), len)
        }
        IpAddr::V4(_) | IpAddr::V6(_) => Value::Absent,
    }
}

/// `[::1]:80` is `[::1]` then, `app:80` is `app`.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if !name.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    }
}

fn text(value: Option<&str>) -> Value<'_> {
    bytes(value.filter(|value| !value.is_empty()).map(|value| [value.as_bytes(), b""]), None)
}

fn bytes(value: Option<[&[u8]; 2]>, max_length: Option<usize>) -> Value<'_> {
    value.map_or(Value::Absent, |parts| Value::Bytes(cut(parts, limit(max_length))))
}

fn limit(max_length: Option<usize>) -> usize {
    max_length.unwrap_or(VALUE_MAX).min(VALUE_MAX)
}

fn cut([first, second]: [&[u8]; 2], max: usize) -> [&[u8]; 2] {
    let first = &first[..first.len().min(max)];
    [first, &second[..second.len().min(max - first.len())]]
}
