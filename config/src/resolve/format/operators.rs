//! The command operators: their names, what they mean, and how their arguments are read.

use super::FormatFault;
use super::time::time_format;
use crate::diagnostic::closest;
use crate::model::{
    AddressOf, AddressPart, ByteCount, CertificateFact, CertificateOf, CommandOperator, FieldOperand, GrpcStatusForm,
    PathSource, Precision, TimeFormat, TimePoint, TlsFact,
};
use crate::reader::{PSEUDO_FIELDS, is_token};
use serde_json::Value;

/// An operator as it is known to the reference and to the parser.
pub struct OperatorForm {
    pub name: &'static str,
    /// What may follow the name, for the reference: `(NAME?OTHER):LENGTH`.
    pub form: &'static str,
    pub meaning: &'static str,
    read: Read,
}

/// How an operator is read.
enum Read {
    /// It has neither argument nor length.
    Plain(CommandOperator),
    /// It may be cut; the argument is needed or not.
    Text { needs_argument: bool, read: fn(&Call<'_>) -> Result<CommandOperator, FormatFault> },
    /// It cannot be cut.
    Value { needs_argument: bool, read: fn(&Call<'_>) -> Result<CommandOperator, FormatFault> },
}

/// One use of an operator.
struct Call<'t> {
    name: &'t str,
    /// Empty: none.
    argument: &'t str,
    max_length: Option<usize>,
}

const fn plain(name: &'static str, operator: CommandOperator, meaning: &'static str) -> OperatorForm {
    OperatorForm { name, form: "", meaning, read: Read::Plain(operator) }
}

const fn bytes(name: &'static str, count: ByteCount, meaning: &'static str) -> OperatorForm {
    plain(name, CommandOperator::Bytes(count), meaning)
}

const fn elapsed(name: &'static str, start: TimePoint, end: TimePoint, meaning: &'static str) -> OperatorForm {
    plain(name, CommandOperator::Elapsed { start, end, precision: Precision::Milliseconds }, meaning)
}

const fn certificate(
    name: &'static str,
    of: CertificateOf,
    fact: CertificateFact,
    meaning: &'static str,
) -> OperatorForm {
    plain(name, CommandOperator::Certificate { of, fact }, meaning)
}

const fn address(name: &'static str, of: AddressOf, meaning: &'static str) -> OperatorForm {
    plain(name, CommandOperator::Address { of, part: AddressPart::AddressAndPort }, meaning)
}

const fn port(name: &'static str, of: AddressOf, meaning: &'static str) -> OperatorForm {
    plain(name, CommandOperator::Address { of, part: AddressPart::Port }, meaning)
}

/// A macro, because a `fn` pointer cannot carry `$of`.
macro_rules! network {
    ($name:literal, $of:expr, $meaning:literal) => {
        value($name, "(MASK_PREFIX_LEN)", false, $meaning, |call| {
            let mask_prefix_len = mask_prefix_len(call)?;
            Ok(CommandOperator::Address { of: $of, part: AddressPart::Address { mask_prefix_len } })
        })
    };
}

const fn text(
    name: &'static str,
    form: &'static str,
    needs_argument: bool,
    meaning: &'static str,
    read: fn(&Call<'_>) -> Result<CommandOperator, FormatFault>,
) -> OperatorForm {
    OperatorForm { name, form, meaning, read: Read::Text { needs_argument, read } }
}

const fn value(
    name: &'static str,
    form: &'static str,
    needs_argument: bool,
    meaning: &'static str,
    read: fn(&Call<'_>) -> Result<CommandOperator, FormatFault>,
) -> OperatorForm {
    OperatorForm { name, form, meaning, read: Read::Value { needs_argument, read } }
}

const FIELD: &str = "(NAME?OTHER):LENGTH";

/// Every operator, in the order of the reference.
#[rustfmt::skip]
pub static OPERATORS: &[OperatorForm] = &[
    text("REQ", FIELD, true, "header NAME of the request, or OTHER if there is no NAME, several lines of it joined by `,`; `:METHOD`, `:PATH`, `:AUTHORITY` and `:SCHEME` are the parts of the request line", |call| field(call).map(CommandOperator::Req)),
    text("REQUEST_HEADER", FIELD, true, "the same", |call| field(call).map(CommandOperator::Req)),
    text("REQ_WITHOUT_QUERY", FIELD, true, "the same up to the first `?` of the value", |call| field(call).map(CommandOperator::ReqWithoutQuery)),
    text("RESP", FIELD, true, "header NAME of the response", |call| field(call).map(CommandOperator::Resp)),
    text("RESPONSE_HEADER", FIELD, true, "the same", |call| field(call).map(CommandOperator::Resp)),
    text("PATH", "(WQ or NQ:ORIG, PATH or ORIG_OR_PATH):LENGTH", false, "path of the request with its query (`WQ`, default) or without (`NQ`), from x-envoy-original-path (`ORIG`), as it is now (`PATH`), or the first of these two that exists (default)", path),
    text("QUERY_PARAM", "(NAME):LENGTH", true, "first query parameter with this name, percent-decoded", query_parameter),
    text("QUERY_PARAMS", "(ORIG or DECODED):LENGTH", false, "the whole query as it was received (default) or percent-decoded", query_parameters),
    plain("PROTOCOL", CommandOperator::Protocol, "`HTTP/2`, `HTTP/1.1` or `HTTP/1.0`; of a connection, `HTTP/2` or `HTTP/1`"),
    plain("RESPONSE_CODE", CommandOperator::ResponseCode, "status; 0 if none was sent"),
    value("RESPONSE_CODE_DETAILS", "(ALLOW_WHITESPACES)", false, "reason for the status; where a connection failed, with the reason for that, `{remote_connection_failure\\|connection_refused}`; with `{upgrade_dropped}` behind it where the request asks for an upgrade, which is not served; white space is written as `_` unless it is allowed", code_details),
    value("GRPC_STATUS", "(CAMEL_STRING, SNAKE_STRING or NUMBER)", false, "status of a call of gRPC, from its trailers, or its head, or what the status of HTTP means: `DeadlineExceeded` (default), `DEADLINE_EXCEEDED` or `4`; statuses without a name are numbers", grpc_status),
    plain("GRPC_STATUS_NUMBER", CommandOperator::GrpcStatus(GrpcStatusForm::Number), "the same as a number"),
    plain("RESPONSE_FLAGS", CommandOperator::ResponseFlags, "what went wrong, by the short names below"),
    plain("RESPONSE_FLAGS_LONG", CommandOperator::ResponseFlagsLong, "the same, by the long names"),
    plain("LOCAL_REPLY_BODY", CommandOperator::LocalReplyBody, "body of a response that this proxy made itself"),

    value("START_TIME", "(FORMAT)", false, "when the request began, or the connection was accepted, UTC, `2026-01-31T23:59:59.123Z`, or in the FORMAT described below", |call| time(call).map(CommandOperator::StartTime)),
    value("EMIT_TIME", "(FORMAT)", false, "when the line is written", |call| time(call).map(CommandOperator::EmitTime)),
    plain("DURATION", CommandOperator::Duration, "ms from the start of the request to the last byte sent to the client; of a connection, until its end"),
    elapsed("REQUEST_DURATION", TimePoint::DownstreamReceiveBegin, TimePoint::DownstreamReceiveEnd, "ms from the start of the request to its last byte received"),
    elapsed("REQUEST_TX_DURATION", TimePoint::DownstreamReceiveBegin, TimePoint::UpstreamSendEnd, "ms from the start of the request to its last byte sent to the upstream"),
    elapsed("RESPONSE_DURATION", TimePoint::DownstreamReceiveBegin, TimePoint::UpstreamReceiveBegin, "ms from the start of the request to the first byte from the upstream"),
    elapsed("RESPONSE_TX_DURATION", TimePoint::UpstreamReceiveBegin, TimePoint::DownstreamSendEnd, "ms from the first byte from the upstream to the last byte sent to the client"),
    value("COMMON_DURATION", "(START:END:PRECISION)", true, "time between two of the moments below, in `ms` (default), `us` or `ns`", common_duration),

    bytes("BYTES_RECEIVED", ByteCount::Received, "bytes of the request's body; of a connection, all that came on it, TLS included, which is not known on Unix sockets"),
    bytes("BYTES_SENT", ByteCount::Sent, "bytes of the response's body; of a connection, all that was sent on it, TLS included"),
    bytes("REQUEST_HEADERS_BYTES", ByteCount::RequestHeaders, "bytes of the names and values of the request's headers, those of the request line included"),
    bytes("RESPONSE_HEADERS_BYTES", ByteCount::ResponseHeaders, "bytes of the names and values of the response's headers; 0 for a response that this proxy made"),
    bytes("DOWNSTREAM_WIRE_BYTES_RECEIVED", ByteCount::DownstreamWireReceived, "bytes of the whole request as the client sent it; of a connection, as `%BYTES_RECEIVED%`"),
    bytes("DOWNSTREAM_WIRE_BYTES_SENT", ByteCount::DownstreamWireSent, "bytes of the whole response as it was sent to the client; of a connection, as `%BYTES_SENT%`"),
    bytes("DOWNSTREAM_HEADER_BYTES_RECEIVED", ByteCount::DownstreamHeaderReceived, "bytes of the request's head as the client sent it"),
    bytes("DOWNSTREAM_HEADER_BYTES_SENT", ByteCount::DownstreamHeaderSent, "bytes of the response's head as it was sent to the client"),
    bytes("UPSTREAM_WIRE_BYTES_RECEIVED", ByteCount::UpstreamWireReceived, "bytes of the whole response as the upstream sent it"),
    bytes("UPSTREAM_WIRE_BYTES_SENT", ByteCount::UpstreamWireSent, "bytes of the whole request as it was sent to the upstream"),
    bytes("UPSTREAM_HEADER_BYTES_RECEIVED", ByteCount::UpstreamHeaderReceived, "bytes of the response's head as the upstream sent it"),
    bytes("UPSTREAM_HEADER_BYTES_SENT", ByteCount::UpstreamHeaderSent, "bytes of the request's head as it was sent to the upstream"),

    address("DOWNSTREAM_REMOTE_ADDRESS", AddressOf::DownstreamRemote, "address and port of the client, from x-forwarded-for where that header is trusted"),
    network!("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", AddressOf::DownstreamRemote, "address of the client; with a prefix length its network, such as `10.1.0.0/16`"),
    port("DOWNSTREAM_REMOTE_PORT", AddressOf::DownstreamRemote, "port of the client"),
    address("DOWNSTREAM_DIRECT_REMOTE_ADDRESS", AddressOf::DownstreamDirectRemote, "address and port of the connection's peer"),
    network!("DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT", AddressOf::DownstreamDirectRemote, "address or network of the connection's peer"),
    port("DOWNSTREAM_DIRECT_REMOTE_PORT", AddressOf::DownstreamDirectRemote, "port of the connection's peer"),
    address("DOWNSTREAM_LOCAL_ADDRESS", AddressOf::DownstreamLocal, "address and port that the client connected to"),
    network!("DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", AddressOf::DownstreamLocal, "address or network that the client connected to"),
    port("DOWNSTREAM_LOCAL_PORT", AddressOf::DownstreamLocal, "port that the client connected to"),
    plain("CONNECTION_ID", CommandOperator::ConnectionId, "number of the downstream connection"),
    plain("CONNECTION_REQUESTS", CommandOperator::ConnectionRequests, "number of requests that the connection has begun; only in the listener's `access_log` (Ringway's own)"),
    plain("CONNECTION_TERMINATION_DETAILS", CommandOperator::ConnectionTerminationDetails, "why the connection has ended, by [the words of the log](OBSERVABILITY.md#logs-of-connections); only in the listener's `access_log`"),
    plain("DOWNSTREAM_TRANSPORT_FAILURE_REASON", CommandOperator::DownstreamTransportFailureReason, "why TLS with the client failed, in words; only in the listener's `access_log`"),

    plain("UPSTREAM_CLUSTER", CommandOperator::UpstreamCluster, "name of the cluster"),
    plain("UPSTREAM_CLUSTER_RAW", CommandOperator::UpstreamCluster, "the same"),
    plain("UPSTREAM_HOST", CommandOperator::UpstreamHost, "address and port of the endpoint"),
    plain("UPSTREAM_HOST_NAME", CommandOperator::UpstreamHostName { with_port: true }, "host name of the endpoint, or its address and port if it has none"),
    plain("UPSTREAM_HOST_NAME_WITHOUT_PORT", CommandOperator::UpstreamHostName { with_port: false }, "the same without a port"),
    address("UPSTREAM_REMOTE_ADDRESS", AddressOf::UpstreamRemote, "address and port of the upstream connection's peer"),
    network!("UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", AddressOf::UpstreamRemote, "address or network of the upstream connection's peer"),
    port("UPSTREAM_REMOTE_PORT", AddressOf::UpstreamRemote, "port of the upstream connection's peer"),
    address("UPSTREAM_LOCAL_ADDRESS", AddressOf::UpstreamLocal, "address and port of this side of the upstream connection"),
    network!("UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", AddressOf::UpstreamLocal, "address or network of this side of the upstream connection"),
    port("UPSTREAM_LOCAL_PORT", AddressOf::UpstreamLocal, "port of this side of the upstream connection"),
    plain("UPSTREAM_PROTOCOL", CommandOperator::UpstreamProtocol, "protocol of the upstream connection: `HTTP/2` or `HTTP/1.1`"),
    plain("UPSTREAM_CONNECTION_ID", CommandOperator::UpstreamConnectionId, "number of the upstream connection"),
    plain("UPSTREAM_REQUEST_ATTEMPT_COUNT", CommandOperator::UpstreamRequestAttemptCount, "how many times the request was sent to an upstream; 0 if never"),
    plain("UPSTREAM_TRANSPORT_FAILURE_REASON", CommandOperator::UpstreamTransportFailureReason, "why the last connection to an endpoint failed; clients are not told, unless a `local_reply` or a header says it"),

    plain("DOWNSTREAM_TLS_VERSION", CommandOperator::DownstreamTls(TlsFact::Version), "version of TLS with the client: `TLSv1.3`"),
    plain("DOWNSTREAM_TLS_CIPHER", CommandOperator::DownstreamTls(TlsFact::Cipher), "cipher suite of TLS with the client, by OpenSSL's name"),
    plain("DOWNSTREAM_TLS_GROUP", CommandOperator::DownstreamTls(TlsFact::Group), "group of the key agreement with the client: `X25519MLKEM768`"),
    plain("REQUESTED_SERVER_NAME", CommandOperator::DownstreamTls(TlsFact::ServerName), "name that the client asked for in its TLS handshake"),

    certificate("DOWNSTREAM_PEER_SUBJECT", CertificateOf::Peer, CertificateFact::Subject, "subject of the certificate that the client has shown, verified or not, the last part first: `CN=client,O=Example`"),
    certificate("DOWNSTREAM_PEER_ISSUER", CertificateOf::Peer, CertificateFact::Issuer, "its issuer"),
    certificate("DOWNSTREAM_PEER_SERIAL", CertificateOf::Peer, CertificateFact::Serial, "its serial number in hexadecimal digits"),
    certificate("DOWNSTREAM_PEER_FINGERPRINT_256", CertificateOf::Peer, CertificateFact::Sha256, "its SHA-256 in hexadecimal digits"),
    certificate("DOWNSTREAM_PEER_FINGERPRINT_1", CertificateOf::Peer, CertificateFact::Sha1, "its SHA-1 in hexadecimal digits"),
    certificate("DOWNSTREAM_PEER_URI_SAN", CertificateOf::Peer, CertificateFact::UriSan, "its URIs, with commas between them"),
    certificate("DOWNSTREAM_PEER_DNS_SAN", CertificateOf::Peer, CertificateFact::DnsSan, "its DNS names"),
    certificate("DOWNSTREAM_PEER_IP_SAN", CertificateOf::Peer, CertificateFact::IpSan, "its IP addresses"),
    certificate("DOWNSTREAM_PEER_EMAIL_SAN", CertificateOf::Peer, CertificateFact::EmailSan, "its e-mail addresses"),
    value("DOWNSTREAM_PEER_CERT_V_START", "(FORMAT)", false, "when it begins to be valid", |call| Ok(CommandOperator::PeerValidity { is_end: false, format: time(call)? })),
    value("DOWNSTREAM_PEER_CERT_V_END", "(FORMAT)", false, "when it ceases to be", |call| Ok(CommandOperator::PeerValidity { is_end: true, format: time(call)? })),
    certificate("DOWNSTREAM_LOCAL_SUBJECT", CertificateOf::Local, CertificateFact::Subject, "subject of the certificate that the client was shown"),
    certificate("DOWNSTREAM_LOCAL_URI_SAN", CertificateOf::Local, CertificateFact::UriSan, "its URIs"),
    certificate("DOWNSTREAM_LOCAL_DNS_SAN", CertificateOf::Local, CertificateFact::DnsSan, "its DNS names"),

    plain("ROUTE_NAME", CommandOperator::RouteName, "name of the route"),
    plain("VIRTUAL_HOST_NAME", CommandOperator::VirtualHostName, "name of the virtual host"),
    plain("FILTER_CHAIN_NAME", CommandOperator::FilterChainName, "name of the filter chain"),
    plain("TRACE_ID", CommandOperator::TraceId, "id of the trace that the exchange belongs to, with `tracing`"),
    plain("SPAN_ID", CommandOperator::SpanId, "id of the exchange's span, also where it is not sampled"),
    plain("TRACE_FLAGS", CommandOperator::TraceFlags, "flags of `traceparent`: `01` or `03` where the exchange is sampled, `00` or `02` where it is not"),
    plain("STREAM_ID", CommandOperator::StreamId, "the request's x-request-id"),
    plain("UNIQUE_ID", CommandOperator::UniqueId, "a UUID, a new one each time"),
    plain("HOSTNAME", CommandOperator::Hostname, "name of this machine"),
    text("ENVIRONMENT", "(NAME):LENGTH", true, "environment variable NAME of this process, as it was when the configuration was loaded", environment),
    plain("ACCESS_LOG_TYPE", CommandOperator::AccessLogType, "when the line is written: `DownstreamEnd`; of a connection, `TcpConnectionEnd`"),
    text("COALESCE", "({\"operators\": [...]}):LENGTH", true, "value of the first operator that has one; each is a name, or an object with `command`, `param` and `max_length`; a `)` is written `\\u0029`", coalesce),
];

/// The moments of `%COMMON_DURATION%`, with what the reference says.
pub const TIME_POINTS: [(&str, TimePoint, &str); 11] = [
    ("DS_RX_BEG", TimePoint::DownstreamReceiveBegin, "the request's first byte was received"),
    ("DS_RX_END", TimePoint::DownstreamReceiveEnd, "the request's last byte was received"),
    (
        "US_CX_BEG",
        TimePoint::UpstreamConnectBegin,
        "the upstream connection was started; long ago, if it is from the pool",
    ),
    ("US_CX_END", TimePoint::UpstreamConnectEnd, "the upstream connection was established"),
    ("US_TX_BEG", TimePoint::UpstreamSendBegin, "the request's first byte was sent to the upstream"),
    ("US_TX_END", TimePoint::UpstreamSendEnd, "the request's last byte was sent to the upstream"),
    ("US_RX_BEG", TimePoint::UpstreamReceiveBegin, "the response's head was received from the upstream"),
    ("US_RX_BODY_BEG", TimePoint::UpstreamReceiveBodyBegin, "the first byte of the response's body was received"),
    ("US_RX_END", TimePoint::UpstreamReceiveEnd, "the response's last byte was received from the upstream"),
    ("DS_TX_BEG", TimePoint::DownstreamSendBegin, "the response's first byte was sent to the client"),
    ("DS_TX_END", TimePoint::DownstreamSendEnd, "the response's last byte was sent to the client"),
];

/// One operator, without its percent signs: `NAME`, `NAME(argument)` or `NAME(argument):length`.
pub(super) fn operator(text: &str) -> Result<CommandOperator, FormatFault> {
    let name_end = text.find(['(', ':']).unwrap_or(text.len());
    let (name, rest) = text.split_at(name_end);
    // A `)` in the argument ends it (Envoy has no way to write one either).
    let (argument, length) = match rest.strip_prefix('(') {
        Some(rest) => match rest.split_once(')') {
            Some((argument, length)) => (Some(argument), length),
            None => return Err(FormatFault::new(format!("the argument of %{name}% has no closing ')'"))),
        },
        None => (None, rest),
    };
    let max_length = match length.strip_prefix(':').map(str::parse::<usize>) {
        Some(Ok(max_length)) => Some(max_length),
        None if length.is_empty() => None,
        Some(Err(_)) | None => {
            let fault = FormatFault::new(format!("{length:?} is not a length"));
            return Err(fault.hint(format!("the largest number of bytes follows a colon: %{name}(...):20%")));
        }
    };
    call(name, argument, max_length)
}

fn call(name: &str, argument: Option<&str>, max_length: Option<usize>) -> Result<CommandOperator, FormatFault> {
    let Some(form) = OPERATORS.iter().find(|form| form.name == name) else {
        let names = OPERATORS.iter().map(|form| form.name);
        let hint = closest(name, names.clone()).map(|near| format!("did you mean %{near}%?"));
        let fault = FormatFault::new(format!("unknown operator %{name}%"));
        return Err(FormatFault { hint, ..fault.allowed(crate::diagnostic::name_list(names)) });
    };
    let (needs_argument, is_text, read) = match form.read {
        Read::Plain(_) if argument.is_some() => {
            return Err(FormatFault::new(format!("%{name}% takes no argument")).hint(format!("write %{name}%")));
        }
        Read::Plain(_) if max_length.is_some() => return Err(no_length(name)),
        Read::Plain(ref operator) => return Ok(operator.clone()),
        Read::Text { needs_argument, read } => (needs_argument, true, read),
        Read::Value { needs_argument, read } => (needs_argument, false, read),
    };
    if max_length.is_some() && !is_text {
        return Err(no_length(name));
    }
    if needs_argument && argument.is_none() {
        let fault = FormatFault::new(format!("%{name}% needs an argument"));
        return Err(fault.hint(format!("write it as %{name}{}%", form.form)));
    }
    read(&Call { name, argument: argument.unwrap_or_default(), max_length })
}

fn no_length(name: &str) -> FormatFault {
    FormatFault::new(format!("%{name}% cannot be cut to a length")).hint("remove the colon and what follows it")
}

/// `name?alternative`.
fn field(call: &Call<'_>) -> Result<FieldOperand, FormatFault> {
    let (name, alternative) = match call.argument.split_once('?') {
        Some((name, alternative)) => (name, Some(field_name(call.name, alternative)?)),
        None => (call.argument, None),
    };
    Ok(FieldOperand { name: field_name(call.name, name)?, alternative, max_length: call.max_length })
}

fn field_name(operator: &str, name: &str) -> Result<String, FormatFault> {
    let name = name.trim().to_ascii_lowercase();
    let of_response = operator.starts_with("RESP");
    if name.starts_with(':') {
        if !of_response && PSEUDO_FIELDS.contains(&name.as_str()) {
            return Ok(name);
        }
        let fault = FormatFault::new(format!("%{operator}({name})% is not known"));
        return Err(match of_response {
            true if name == ":status" => fault.hint("write %RESPONSE_CODE%"),
            true => fault.allowed("a header field"),
            false => fault.allowed(format!("{} or a header field", PSEUDO_FIELDS.join(", "))),
        });
    }
    if is_token(&name) {
        return Ok(name);
    }
    Err(FormatFault::new(format!("{name:?} is not a header name")).hint(format!("write it as %{operator}(X-NAME)%")))
}

fn path(call: &Call<'_>) -> Result<CommandOperator, FormatFault> {
    let (query, source) = call.argument.split_once(':').unwrap_or((call.argument, ""));
    let with_query = match query {
        "" | "WQ" => true,
        "NQ" => false,
        _ => return Err(not_one_of(query, "WQ, NQ")),
    };
    let source = match source {
        "" | "ORIG_OR_PATH" => PathSource::OriginalOrPath,
        "ORIG" => PathSource::Original,
        "PATH" => PathSource::Path,
        _ => return Err(not_one_of(source, "ORIG, PATH, ORIG_OR_PATH")),
    };
    Ok(CommandOperator::Path { with_query, source, max_length: call.max_length })
}

fn query_parameter(call: &Call<'_>) -> Result<CommandOperator, FormatFault> {
    if call.argument.is_empty() {
        return Err(FormatFault::new("%QUERY_PARAM()% names no parameter").hint("write it as %QUERY_PARAM(name)%"));
    }
    Ok(CommandOperator::QueryParam { name: call.argument.into(), max_length: call.max_length })
}

fn query_parameters(call: &Call<'_>) -> Result<CommandOperator, FormatFault> {
    let decoded = match call.argument {
        "" | "ORIG" => false,
        "DECODED" => true,
        other => return Err(not_one_of(other, "ORIG, DECODED")),
    };
    Ok(CommandOperator::QueryParams { decoded, max_length: call.max_length })
}

fn code_details(call: &Call<'_>) -> Result<CommandOperator, FormatFault> {
    match call.argument {
        "" => Ok(CommandOperator::ResponseCodeDetails { keep_spaces: false }),
        "ALLOW_WHITESPACES" => Ok(CommandOperator::ResponseCodeDetails { keep_spaces: true }),
        other => Err(not_one_of(other, "ALLOW_WHITESPACES")),
    }
}

fn grpc_status(call: &Call<'_>) -> Result<CommandOperator, FormatFault> {
    let form = match call.argument {
        "" | "CAMEL_STRING" => GrpcStatusForm::Camel,
        "SNAKE_STRING" => GrpcStatusForm::Snake,
        "NUMBER" => GrpcStatusForm::Number,
        other => return Err(not_one_of(other, "CAMEL_STRING, SNAKE_STRING, NUMBER")),
    };
    Ok(CommandOperator::GrpcStatus(form))
}

fn time(call: &Call<'_>) -> Result<TimeFormat, FormatFault> {
    time_format(call.argument)
}

fn mask_prefix_len(call: &Call<'_>) -> Result<Option<u8>, FormatFault> {
    match call.argument {
        "" => Ok(None),
        digits => match digits.parse() {
            Ok(len @ 0..=128) => Ok(Some(len)),
            Ok(_) | Err(_) => {
                let fault = FormatFault::new(format!("{digits:?} is not the length of an address prefix"));
                Err(fault.allowed("0 to 32 for IPv4, 0 to 128 for IPv6"))
            }
        },
    }
}

fn common_duration(call: &Call<'_>) -> Result<CommandOperator, FormatFault> {
    let mut parts = call.argument.split(':');
    let (Some(start), Some(end), precision, None) = (parts.next(), parts.next(), parts.next(), parts.next()) else {
        let fault = FormatFault::new(format!("{:?} does not name two moments", call.argument));
        return Err(fault.hint("write it as %COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%"));
    };
    let precision = match precision {
        None | Some("ms") => Precision::Milliseconds,
        Some("us") => Precision::Microseconds,
        Some("ns") => Precision::Nanoseconds,
        Some(other) => return Err(not_one_of(other, "ms, us, ns")),
    };
    Ok(CommandOperator::Elapsed { start: time_point(start)?, end: time_point(end)?, precision })
}

fn time_point(name: &str) -> Result<TimePoint, FormatFault> {
    let names = TIME_POINTS.iter().map(|(known, ..)| *known);
    TIME_POINTS.iter().find(|(known, ..)| *known == name).map(|(_, point, _)| *point).ok_or_else(|| {
        let hint = closest(name, names.clone()).map(|near| format!("did you mean {near}?"));
        FormatFault { hint, ..not_one_of(name, &names.collect::<Vec<_>>().join(", ")) }
    })
}

fn environment(call: &Call<'_>) -> Result<CommandOperator, FormatFault> {
    if call.argument.is_empty() || call.argument.contains(['=', '\0']) {
        return Err(FormatFault::new(format!("{:?} is not the name of an environment variable", call.argument)));
    }
    Ok(CommandOperator::Environment { name: call.argument.into(), max_length: call.max_length })
}

/// `{"operators": ["NAME", {"command": "NAME", "param": "...", "max_length": 10}]}`.
fn coalesce(call: &Call<'_>) -> Result<CommandOperator, FormatFault> {
    let example =
        "write it as %COALESCE({\"operators\": [\"ROUTE_NAME\", {\"command\": \"REQ\", \"param\": \"X-A\"}]})%";
    let json: Value = serde_json::from_str(call.argument)
        .map_err(|error| FormatFault::new(format!("the argument of %COALESCE% is not JSON: {error}")).hint(example))?;
    let list = match &json {
        Value::Object(members) if members.len() == 1 => members.get("operators").and_then(Value::as_array),
        _ => None,
    };
    let Some(list) = list.filter(|list| !list.is_empty()) else {
        return Err(FormatFault::new("%COALESCE% takes an object with an `operators` array").hint(example));
    };
    let operators = list.iter().map(coalesced).collect::<Result<_, _>>()?;
    Ok(CommandOperator::Coalesce { operators, max_length: call.max_length })
}

fn coalesced(json: &Value) -> Result<CommandOperator, FormatFault> {
    let members = match json {
        Value::String(name) => return self::call(name, None, None),
        Value::Object(members) => members,
        other => return Err(FormatFault::new(format!("{other} is neither an operator's name nor an object"))),
    };
    if let Some(unknown) = members.keys().find(|key| !matches!(key.as_str(), "command" | "param" | "max_length")) {
        return Err(not_one_of(unknown, "command, param, max_length"));
    }
    let name = members.get("command").and_then(Value::as_str);
    let name = name.ok_or_else(|| FormatFault::new(format!("{json} has no `command`")))?;
    let argument = match members.get("param") {
        None => None,
        Some(Value::String(argument)) => Some(argument.as_str()),
        Some(other) => return Err(FormatFault::new(format!("`param` is {other}")).allowed("a string")),
    };
    let max_length = match members.get("max_length").map(Value::as_u64) {
        None => None,
        Some(Some(length)) => Some(usize::try_from(length).unwrap_or(usize::MAX)),
        Some(None) => return Err(FormatFault::new("`max_length` is not a length").allowed("a number of bytes")),
    };
    self::call(name, argument, max_length)
}

fn not_one_of(written: &str, allowed: &str) -> FormatFault {
    FormatFault::new(format!("{written:?} is not known here")).allowed(allowed)
}
