//! The access log's line format, compiled: literals and command operators (Envoy: access_log/usage).

/// One piece of a log line or of a JSON value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FormatPiece {
    Literal(String),
    Operator(CommandOperator),
}

/// `%REQ(a?b):n%`: field `name`, or `alternative` where the first is absent; at most `max_length` bytes of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldOperand {
    /// Lower case; `:method`, `:path`, `:authority` and `:scheme` name the parts of the request line.
    pub name: String,
    pub alternative: Option<String>,
    pub max_length: Option<usize>,
}

/// The command operators that exist; names and meaning are Envoy's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandOperator {
    /// `%START_TIME%`: UTC, `2026-01-31T23:59:59.123Z`.
    StartTime,
    Req(FieldOperand),
    Resp(FieldOperand),
    Protocol,
    ResponseCode,
    ResponseCodeDetails,
    ResponseFlags,
    BytesReceived,
    BytesSent,
    /// Milliseconds, start of the request to the last byte out.
    Duration,
    /// Milliseconds, start of the request to its last byte in.
    RequestDuration,
    /// Milliseconds, start of the request to the first byte from upstream.
    ResponseDuration,
    /// Milliseconds, first byte from upstream to the last byte out.
    ResponseTxDuration,
    UpstreamHost,
    UpstreamCluster,
    UpstreamLocalAddress,
    DownstreamRemoteAddress,
    DownstreamRemoteAddressWithoutPort,
    DownstreamLocalAddress,
    DownstreamLocalAddressWithoutPort,
    DownstreamLocalPort,
    RouteName,
    VirtualHostName,
    ConnectionId,
    Hostname,
}

/// Envoy's default text format, for the operators that exist.
pub const DEFAULT_TEXT_FORMAT: &str = concat!(
    "[%START_TIME%] \"%REQ(:METHOD)% %REQ(X-ENVOY-ORIGINAL-PATH?:PATH)% %PROTOCOL%\" ",
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %BYTES_RECEIVED% %BYTES_SENT% %DURATION% ",
    "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)% \"%REQ(X-FORWARDED-FOR)%\" \"%REQ(USER-AGENT)%\" ",
    "\"%REQ(X-REQUEST-ID)%\" \"%REQ(:AUTHORITY)%\" \"%UPSTREAM_HOST%\"\n"
);
