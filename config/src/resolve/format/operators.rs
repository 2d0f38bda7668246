//! The command operators: their names, what they mean, and what may follow them.

use super::FormatFault;
use super::arguments::{
    Call, coalesce, code_details, common_duration, environment, field, grpc_status, mask_prefix_len, no_argument, path,
    query_parameter, query_parameters, requested_server_name, time,
};
use crate::diagnostic::closest;
use crate::model::{
    AddressOf, AddressPart, ByteCount, CertificateFact, CertificateOf, CommandOperator, GrpcStatusForm, Precision,
    TimePoint, TlsFact, TlsFingerprint, TlsSide,
};

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

const fn plain(name: &'static str, operator: CommandOperator, meaning: &'static str) -> OperatorForm {
    OperatorForm { name, form: "", meaning, read: Read::Plain(operator) }
}

const fn bytes(name: &'static str, count: ByteCount, meaning: &'static str) -> OperatorForm {
    plain(name, CommandOperator::Bytes(count), meaning)
}

const fn elapsed(name: &'static str, start: TimePoint, end: TimePoint, meaning: &'static str) -> OperatorForm {
    plain(name, CommandOperator::Elapsed { start, end, precision: Precision::Milliseconds }, meaning)
}

const fn tls(name: &'static str, side: TlsSide, fact: TlsFact, meaning: &'static str) -> OperatorForm {
    plain(name, CommandOperator::Tls { side, fact }, meaning)
}

const fn peer(name: &'static str, side: TlsSide, fact: CertificateFact, meaning: &'static str) -> OperatorForm {
    plain(name, CommandOperator::Certificate { side, of: CertificateOf::Peer, fact }, meaning)
}

const fn local(name: &'static str, side: TlsSide, fact: CertificateFact, meaning: &'static str) -> OperatorForm {
    plain(name, CommandOperator::Certificate { side, of: CertificateOf::Local, fact }, meaning)
}

/// A macro, because a `fn` pointer cannot carry `$side`.
macro_rules! peer_certificate {
    ($name:literal, $side:expr, $meaning:literal) => {
        text($name, ":LENGTH", false, $meaning, |call| match call.argument {
            "" => Ok(CommandOperator::PeerCertificate { side: $side, max_length: call.max_length }),
            _ => Err(no_argument(call.name)),
        })
    };
}

macro_rules! peer_validity {
    ($name:literal, $side:expr, $is_end:literal, $meaning:literal) => {
        value($name, "(FORMAT)", false, $meaning, |call| {
            Ok(CommandOperator::PeerValidity { side: $side, is_end: $is_end, format: time(call)? })
        })
    };
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

    tls("DOWNSTREAM_TLS_VERSION", TlsSide::Downstream, TlsFact::Version, "version of TLS with the client: `TLSv1.3`"),
    tls("DOWNSTREAM_TLS_CIPHER", TlsSide::Downstream, TlsFact::Cipher, "cipher suite of TLS with the client, by OpenSSL's name"),
    tls("DOWNSTREAM_TLS_GROUP", TlsSide::Downstream, TlsFact::Group, "group of the key agreement with the client: `X25519MLKEM768`"),
    value("REQUESTED_SERVER_NAME", "(SNI_ONLY, SNI_FIRST or HOST_FIRST:ORIG, HOST or ORIG_OR_HOST)", false, "name that the client asked for in its TLS handshake (SNI): that alone (`SNI_ONLY`, default), the host of the request where there is none (`SNI_FIRST`), or the host, and the name where there is no host (`HOST_FIRST`). The host is x-envoy-original-host (`ORIG`), `:authority` or Host (`HOST`), or the first of these two that exists (default)", requested_server_name),
    plain("TLS_JA3_FINGERPRINT", CommandOperator::TlsFingerprint(TlsFingerprint::Ja3), "[fingerprint](TLS.md#fingerprints-of-clients) of the client's first message in TLS by JA3, 32 hexadecimal digits"),
    plain("TLS_JA4_FINGERPRINT", CommandOperator::TlsFingerprint(TlsFingerprint::Ja4), "the same by JA4: `t13d1516h2_8daaf6152771_e5627efa2ab1`"),

    peer("DOWNSTREAM_PEER_SUBJECT", TlsSide::Downstream, CertificateFact::Subject, "subject of the certificate that the client has shown, verified or not, the last part first: `CN=client,O=Example`"),
    peer("DOWNSTREAM_PEER_ISSUER", TlsSide::Downstream, CertificateFact::Issuer, "its issuer"),
    peer("DOWNSTREAM_PEER_SERIAL", TlsSide::Downstream, CertificateFact::Serial, "its serial number in hexadecimal digits"),
    peer("DOWNSTREAM_PEER_FINGERPRINT_256", TlsSide::Downstream, CertificateFact::Sha256, "its SHA-256 in hexadecimal digits"),
    peer("DOWNSTREAM_PEER_FINGERPRINT_1", TlsSide::Downstream, CertificateFact::Sha1, "its SHA-1 in hexadecimal digits"),
    peer("DOWNSTREAM_PEER_URI_SAN", TlsSide::Downstream, CertificateFact::UriSan, "its URIs, with commas between them, which a name may have as well: what decides by names is `subject_alt_names`, and not a program that splits this text"),
    peer("DOWNSTREAM_PEER_DNS_SAN", TlsSide::Downstream, CertificateFact::DnsSan, "its DNS names"),
    peer("DOWNSTREAM_PEER_IP_SAN", TlsSide::Downstream, CertificateFact::IpSan, "its IP addresses"),
    peer("DOWNSTREAM_PEER_EMAIL_SAN", TlsSide::Downstream, CertificateFact::EmailSan, "its e-mail addresses"),
    peer("DOWNSTREAM_PEER_OTHERNAME_SAN", TlsSide::Downstream, CertificateFact::OtherNameSan, "its names of other types"),
    peer("DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256", TlsSide::Downstream, CertificateFact::ChainSha256, "SHA-256 of each certificate that the client has shown, its own first, with commas between them, of 16 at most"),
    peer("DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1", TlsSide::Downstream, CertificateFact::ChainSha1, "SHA-1 of each"),
    peer("DOWNSTREAM_PEER_CHAIN_SERIALS", TlsSide::Downstream, CertificateFact::ChainSerials, "serial number of each"),
    peer_certificate!("DOWNSTREAM_PEER_CERT", TlsSide::Downstream, "the certificate itself as PEM, percent-encoded; as all values, at most 16 KiB of it"),
    peer_validity!("DOWNSTREAM_PEER_CERT_V_START", TlsSide::Downstream, false, "when it begins to be valid"),
    peer_validity!("DOWNSTREAM_PEER_CERT_V_END", TlsSide::Downstream, true, "when it ceases to be"),
    local("DOWNSTREAM_LOCAL_SUBJECT", TlsSide::Downstream, CertificateFact::Subject, "subject of the certificate that the client was shown"),
    local("DOWNSTREAM_LOCAL_URI_SAN", TlsSide::Downstream, CertificateFact::UriSan, "its URIs"),
    local("DOWNSTREAM_LOCAL_DNS_SAN", TlsSide::Downstream, CertificateFact::DnsSan, "its DNS names"),
    local("DOWNSTREAM_LOCAL_IP_SAN", TlsSide::Downstream, CertificateFact::IpSan, "its IP addresses"),
    local("DOWNSTREAM_LOCAL_EMAIL_SAN", TlsSide::Downstream, CertificateFact::EmailSan, "its e-mail addresses"),
    local("DOWNSTREAM_LOCAL_OTHERNAME_SAN", TlsSide::Downstream, CertificateFact::OtherNameSan, "its names of other types"),

    tls("UPSTREAM_TLS_VERSION", TlsSide::Upstream, TlsFact::Version, "version of TLS with the endpoint"),
    tls("UPSTREAM_TLS_CIPHER", TlsSide::Upstream, TlsFact::Cipher, "cipher suite of TLS with the endpoint, by OpenSSL's name"),
    tls("UPSTREAM_TLS_GROUP", TlsSide::Upstream, TlsFact::Group, "group of the key agreement with the endpoint"),
    tls("UPSTREAM_SERVER_NAME", TlsSide::Upstream, TlsFact::ServerName, "name that the endpoint was asked for in the TLS handshake (SNI)"),
    peer("UPSTREAM_PEER_SUBJECT", TlsSide::Upstream, CertificateFact::Subject, "subject of the certificate that the endpoint has shown"),
    peer("UPSTREAM_PEER_ISSUER", TlsSide::Upstream, CertificateFact::Issuer, "its issuer"),
    peer("UPSTREAM_PEER_SERIAL", TlsSide::Upstream, CertificateFact::Serial, "its serial number in hexadecimal digits"),
    peer("UPSTREAM_PEER_FINGERPRINT_256", TlsSide::Upstream, CertificateFact::Sha256, "its SHA-256 in hexadecimal digits"),
    peer("UPSTREAM_PEER_FINGERPRINT_1", TlsSide::Upstream, CertificateFact::Sha1, "its SHA-1 in hexadecimal digits"),
    peer("UPSTREAM_PEER_URI_SAN", TlsSide::Upstream, CertificateFact::UriSan, "its URIs, with commas between them"),
    peer("UPSTREAM_PEER_DNS_SAN", TlsSide::Upstream, CertificateFact::DnsSan, "its DNS names"),
    peer("UPSTREAM_PEER_IP_SAN", TlsSide::Upstream, CertificateFact::IpSan, "its IP addresses"),
    peer("UPSTREAM_PEER_EMAIL_SAN", TlsSide::Upstream, CertificateFact::EmailSan, "its e-mail addresses"),
    peer("UPSTREAM_PEER_OTHERNAME_SAN", TlsSide::Upstream, CertificateFact::OtherNameSan, "its names of other types"),
    peer_certificate!("UPSTREAM_PEER_CERT", TlsSide::Upstream, "the certificate itself as PEM, percent-encoded"),
    peer_validity!("UPSTREAM_PEER_CERT_V_START", TlsSide::Upstream, false, "when it begins to be valid"),
    peer_validity!("UPSTREAM_PEER_CERT_V_END", TlsSide::Upstream, true, "when it ceases to be"),
    local("UPSTREAM_LOCAL_SUBJECT", TlsSide::Upstream, CertificateFact::Subject, "subject of the certificate that this side has for the endpoint, whether it asked for one or not"),
    local("UPSTREAM_LOCAL_URI_SAN", TlsSide::Upstream, CertificateFact::UriSan, "its URIs"),
    local("UPSTREAM_LOCAL_DNS_SAN", TlsSide::Upstream, CertificateFact::DnsSan, "its DNS names"),
    local("UPSTREAM_LOCAL_IP_SAN", TlsSide::Upstream, CertificateFact::IpSan, "its IP addresses"),
    local("UPSTREAM_LOCAL_EMAIL_SAN", TlsSide::Upstream, CertificateFact::EmailSan, "its e-mail addresses"),
    local("UPSTREAM_LOCAL_OTHERNAME_SAN", TlsSide::Upstream, CertificateFact::OtherNameSan, "its names of other types"),

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

/// Operators of Envoy that have no value here, and why.
const UNAVAILABLE: &[(&[&str], &str)] = &[(
    &["DOWNSTREAM_TLS_SESSION_ID", "UPSTREAM_TLS_SESSION_ID"],
    "TLS 1.3 has no session ids, and the library does not tell those of TLS 1.2; connections have %CONNECTION_ID% and %UPSTREAM_CONNECTION_ID%",
)];

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

/// The name of an operator that takes no argument.
pub fn name_of(operator: &CommandOperator) -> Option<&'static str> {
    let is_it = |form: &&OperatorForm| matches!(&form.read, Read::Plain(plain) if plain == operator);
    OPERATORS.iter().find(is_it).map(|form| form.name)
}

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

pub(super) fn call(
    name: &str,
    argument: Option<&str>,
    max_length: Option<usize>,
) -> Result<CommandOperator, FormatFault> {
    let Some(form) = OPERATORS.iter().find(|form| form.name == name) else {
        if let Some((_, why)) = UNAVAILABLE.iter().find(|(names, _)| names.contains(&name)) {
            return Err(FormatFault::new(format!("%{name}% is not available")).hint(*why));
        }
        let names = OPERATORS.iter().map(|form| form.name);
        let hint = closest(name, names.clone()).map(|near| format!("did you mean %{near}%?"));
        let fault = FormatFault::new(format!("unknown operator %{name}%"));
        return Err(FormatFault { hint, ..fault.allowed(crate::diagnostic::name_list(names)) });
    };
    let (needs_argument, is_text, read) = match form.read {
        Read::Plain(_) if argument.is_some() => {
            return Err(no_argument(name));
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
