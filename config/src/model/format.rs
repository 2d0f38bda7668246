//! The format language of access logs and header values, compiled: literals and command operators, with Envoy's names
//! and meaning (Envoy: advanced/substitution_formatter).

/// One piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormatPiece {
    Literal(String),
    Operator(CommandOperator),
}

/// `%REQ(a?b):n%`: the header `name`, or `alternative` if there is none; at most `max_length` bytes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldOperand {
    /// Lower case; `:method`, `:path`, `:authority` and `:scheme` name the parts of the request line.
    pub name: String,
    pub alternative: Option<String>,
    pub max_length: Option<usize>,
}

/// All command operators. `max_length` is in bytes and applies only to texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandOperator {
    /// When the request began.
    StartTime(TimeFormat),
    /// Now.
    EmitTime(TimeFormat),
    Req(FieldOperand),
    /// As `Req`, without what follows the first `?` of the value.
    ReqWithoutQuery(FieldOperand),
    Resp(FieldOperand),
    Path {
        with_query: bool,
        source: Rewritten,
        max_length: Option<usize>,
    },
    /// The first parameter with this name, decoded.
    QueryParam {
        name: String,
        max_length: Option<usize>,
    },
    /// The whole query.
    QueryParams {
        decoded: bool,
        max_length: Option<usize>,
    },
    Protocol,
    UpstreamProtocol,
    ResponseCode,
    /// White space becomes `_` unless it is kept.
    ResponseCodeDetails {
        keep_spaces: bool,
    },
    /// Short names, such as `UH`.
    ResponseFlags,
    /// Such as `NoHealthyUpstream`.
    ResponseFlagsLong,
    Bytes(ByteCount),
    /// From the start of the request until now, in milliseconds.
    Duration,
    Elapsed {
        start: TimePoint,
        end: TimePoint,
        precision: Precision,
    },
    Address {
        of: AddressOf,
        part: AddressPart,
    },
    UpstreamHost,
    /// The endpoint's host name, or its address if it has none.
    UpstreamHostName {
        with_port: bool,
    },
    UpstreamCluster,
    UpstreamRequestAttemptCount,
    /// Why the last connection to the upstream failed.
    UpstreamTransportFailureReason,
    UpstreamConnectionId,
    /// Of a connection's TLS.
    Tls {
        side: TlsSide,
        fact: TlsFact,
    },
    /// Of the client's first message.
    TlsFingerprint(TlsFingerprint),
    /// The name that the client asks for in its handshake, or the host of its request, whichever there is. `host_first`: the
    /// host, if there are both.
    RequestedHost {
        host_first: bool,
        host: Rewritten,
    },
    /// Of a certificate that was shown in a handshake.
    Certificate {
        side: TlsSide,
        of: CertificateOf,
        fact: CertificateFact,
    },
    /// The peer's certificate itself, as PEM, percent-encoded.
    PeerCertificate {
        side: TlsSide,
        max_length: Option<usize>,
    },
    /// When the peer's certificate begins to be valid, or ends.
    PeerValidity {
        side: TlsSide,
        is_end: bool,
        format: TimeFormat,
    },
    /// Of a call of gRPC.
    GrpcStatus(GrpcStatusForm),
    RouteName,
    VirtualHostName,
    FilterChainName,
    ConnectionId,
    /// Of a connection that has ended: the number of its requests, why it has ended, and why its TLS came to nothing.
    ConnectionRequests,
    ConnectionTerminationDetails,
    DownstreamTransportFailureReason,
    /// The request's x-request-id.
    StreamId,
    /// Of the trace that the exchange belongs to, and of its span.
    TraceId,
    SpanId,
    TraceFlags,
    /// A new UUID each time.
    UniqueId,
    Hostname,
    Environment {
        name: String,
        max_length: Option<usize>,
    },
    /// Body of a response that this proxy made.
    LocalReplyBody,
    AccessLogType,
    /// The first of these with a value that is not empty.
    Coalesce {
        operators: Vec<CommandOperator>,
        max_length: Option<usize>,
    },
}

/// How the status of a call is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrpcStatusForm {
    /// `DeadlineExceeded`
    Camel,
    /// `DEADLINE_EXCEEDED`
    Snake,
    /// `4`
    Number,
}

/// The statuses of gRPC by number: in camel case, and as they are written in configurations.
pub const GRPC_STATUSES: [(&str, &str); 17] = [
    ("OK", "OK"),
    ("Canceled", "CANCELLED"),
    ("Unknown", "UNKNOWN"),
    ("InvalidArgument", "INVALID_ARGUMENT"),
    ("DeadlineExceeded", "DEADLINE_EXCEEDED"),
    ("NotFound", "NOT_FOUND"),
    ("AlreadyExists", "ALREADY_EXISTS"),
    ("PermissionDenied", "PERMISSION_DENIED"),
    ("ResourceExhausted", "RESOURCE_EXHAUSTED"),
    ("FailedPrecondition", "FAILED_PRECONDITION"),
    ("Aborted", "ABORTED"),
    ("OutOfRange", "OUT_OF_RANGE"),
    ("Unimplemented", "UNIMPLEMENTED"),
    ("Internal", "INTERNAL"),
    ("Unavailable", "UNAVAILABLE"),
    ("DataLoss", "DATA_LOSS"),
    ("Unauthenticated", "UNAUTHENTICATED"),
];

/// Which value of what routes rewrite. Envoy: the parameter Y of `%PATH(X:Y)%` and of `%REQUESTED_SERVER_NAME(X:Y)%`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rewritten {
    /// x-envoy-original-path, x-envoy-original-host.
    Original,
    Current,
    OriginalOrCurrent,
}

/// Sizes of one exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteCount {
    /// Of the request's body.
    Received,
    /// Of the response's body.
    Sent,
    /// Names and values, those of the request line included.
    RequestHeaders,
    ResponseHeaders,
    DownstreamWireReceived,
    DownstreamWireSent,
    DownstreamHeaderReceived,
    DownstreamHeaderSent,
    UpstreamWireReceived,
    UpstreamWireSent,
    UpstreamHeaderReceived,
    UpstreamHeaderSent,
}

/// Moments of an exchange (Envoy: `%COMMON_DURATION%`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimePoint {
    /// DS_RX_BEG
    DownstreamReceiveBegin,
    /// DS_RX_END
    DownstreamReceiveEnd,
    /// US_CX_BEG: the connection may be older than the exchange.
    UpstreamConnectBegin,
    /// US_CX_END
    UpstreamConnectEnd,
    /// US_TX_BEG
    UpstreamSendBegin,
    /// US_TX_END
    UpstreamSendEnd,
    /// US_RX_BEG
    UpstreamReceiveBegin,
    /// US_RX_BODY_BEG
    UpstreamReceiveBodyBegin,
    /// US_RX_END
    UpstreamReceiveEnd,
    /// DS_TX_BEG
    DownstreamSendBegin,
    /// DS_TX_END
    DownstreamSendEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    Milliseconds,
    Microseconds,
    Nanoseconds,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressOf {
    /// The client, which may come from x-forwarded-for.
    DownstreamRemote,
    /// The connection's peer.
    DownstreamDirectRemote,
    DownstreamLocal,
    UpstreamRemote,
    UpstreamLocal,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AddressPart {
    AddressAndPort,
    /// With a length: the network in CIDR notation.
    Address {
        mask_prefix_len: Option<u8>,
    },
    Port,
}

/// How a moment is written, always in UTC. Empty: `2026-01-31T23:59:59.123Z`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TimeFormat(pub Vec<TimePiece>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimePiece {
    Literal(String),
    Field(TimeField),
}

/// A conversion of strftime(3) in the C locale or one of Envoy's; conversions that stand for several are resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeField {
    /// %Y
    Year,
    /// %C
    Century,
    /// %y
    YearOfCentury,
    /// %G
    IsoYear,
    /// %g
    IsoYearOfCentury,
    /// %m
    Month,
    /// %B
    MonthName,
    /// %b
    MonthShort,
    /// %d
    Day,
    /// %e: a space instead of a leading zero.
    DayPadded,
    /// %j
    DayOfYear,
    /// %A
    Weekday,
    /// %a
    WeekdayShort,
    /// %u: Monday is 1.
    WeekdayFromMonday,
    /// %w: Sunday is 0.
    WeekdayFromSunday,
    /// %U: the first Sunday begins week 1.
    WeekFromSunday,
    /// %W: the first Monday begins week 1.
    WeekFromMonday,
    /// %V
    IsoWeek,
    /// %H
    Hour,
    /// %I
    HourOf12,
    /// %p
    AmPm,
    /// %M
    Minute,
    /// %S
    Second,
    /// %z
    Offset,
    /// %Z
    Zone,
    /// %s
    EpochSeconds,
    /// %f and %1f to %9f: this number of digits of the second's fraction.
    Fraction(u8),
}

/// Envoy's default text format, with the details of the response and why a connection failed at its end.
pub const DEFAULT_TEXT_FORMAT: &str = concat!(
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" ",
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ",
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" ",
    "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\" ",
    "%RESPONSE_CODE_DETAILS% \"%UPSTREAM_TRANSPORT_FAILURE_REASON%\"\n"
);

/// The line of a connection.
pub const DEFAULT_CONNECTION_FORMAT: &str = concat!(
    "[%START_TIME%] %DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% \"%FILTER_CHAIN_NAME%\" \"%PROTOCOL%\" ",
    "\"%DOWNSTREAM_TLS_VERSION%\" \"%REQUESTED_SERVER_NAME%\" %RESPONSE_FLAGS% %CONNECTION_REQUESTS% ",
    "%BYTES_RECEIVED% %BYTES_SENT% %DURATION% %CONNECTION_TERMINATION_DETAILS% ",
    "\"%DOWNSTREAM_TRANSPORT_FAILURE_REASON%\"\n"
);

/// What a text with operators is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    Exchange,
    Connection,
}

/// Which connection's TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsSide {
    /// With the client.
    Downstream,
    /// With the endpoint.
    Upstream,
}

/// Whose certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateOf {
    /// The client's or the endpoint's.
    Peer,
    /// That of this side.
    Local,
}

/// What a certificate says of its holder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CertificateFact {
    Subject,
    Issuer,
    Serial,
    Sha256,
    Sha1,
    /// Alternative names, with commas between them.
    UriSan,
    DnsSan,
    IpSan,
    EmailSan,
    OtherNameSan,
    /// Of all certificates that were shown, with commas between them.
    ChainSha256,
    ChainSha1,
    ChainSerials,
}

/// What is known of a connection with TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFact {
    Version,
    Cipher,
    Group,
    /// The name that was asked for in the handshake (SNI).
    ServerName,
}

/// What a client's program is recognized by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsFingerprint {
    Ja3,
    Ja4,
}

/// Which fingerprints some text tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TlsFingerprints {
    pub ja3: bool,
    pub ja4: bool,
}

impl TlsFingerprints {
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }

    /// Adds those that `operator` tells.
    pub fn add(&mut self, operator: &CommandOperator) {
        match operator {
            CommandOperator::TlsFingerprint(TlsFingerprint::Ja3) => self.ja3 = true,
            CommandOperator::TlsFingerprint(TlsFingerprint::Ja4) => self.ja4 = true,
            CommandOperator::Coalesce { operators, .. } => operators.iter().for_each(|inner| self.add(inner)),
            _ => {}
        }
    }
}
