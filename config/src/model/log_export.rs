//! Access logs that go to programs elsewhere.

use super::{Destination, OtlpProtocol};

/// Where records of exchanges or connections go, and how.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct LogExport {
    pub to: Destination,
    pub kind: LogExportKind,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum LogExportKind {
    /// Envoy's access log service. A record has the fields of `SERVICE_FIELDS`, and then the values of these headers.
    Service { log_name: String, request_headers: Vec<String>, response_headers: Vec<String> },
    /// The same service. A record, of a connection, has the fields of `CONNECTION_FIELDS`.
    TcpService { log_name: String },
    /// A record has the fields of `OTLP_FIELDS`, its body, and then the values of these attributes.
    Otlp { protocol: OtlpProtocol, service_name: String, resource: Vec<(String, String)>, attributes: Vec<String> },
}

/// Declares the fields of records: for each its index, and the format of its text.
macro_rules! fields {
    ($(#[doc = $doc:literal])+ $list:ident, $names:ident { $($name:ident = $format:literal;)+ }) => {
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $names {
            $($name,)+
        }

        $(#[doc = $doc])+
        pub const $list: &[&str] = &[$($format,)+];
    };
}

fields! {
    /// What each record for a collector of OpenTelemetry has.
    OTLP_FIELDS, OtlpField {
        Start = "%START_TIME(%s%6f)%";
        Trace = "%TRACE_ID%";
        Span = "%SPAN_ID%";
        Flags = "%TRACE_FLAGS%";
    }
}

fields! {
    /// What each record for Envoy's access log service has. Times are in microseconds since the start.
    SERVICE_FIELDS, ServiceField {
        Start = "%START_TIME(%s%6f)%";
        Duration = "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%";
        LastRx = "%COMMON_DURATION(DS_RX_BEG:DS_RX_END:us)%";
        FirstUpstreamTx = "%COMMON_DURATION(DS_RX_BEG:US_TX_BEG:us)%";
        LastUpstreamTx = "%COMMON_DURATION(DS_RX_BEG:US_TX_END:us)%";
        FirstUpstreamRx = "%COMMON_DURATION(DS_RX_BEG:US_RX_BEG:us)%";
        LastUpstreamRx = "%COMMON_DURATION(DS_RX_BEG:US_RX_END:us)%";
        FirstTx = "%COMMON_DURATION(DS_RX_BEG:DS_TX_BEG:us)%";
        Remote = "%DOWNSTREAM_REMOTE_ADDRESS%";
        DirectRemote = "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%";
        Local = "%DOWNSTREAM_LOCAL_ADDRESS%";
        UpstreamRemote = "%UPSTREAM_REMOTE_ADDRESS%";
        UpstreamLocal = "%UPSTREAM_LOCAL_ADDRESS%";
        UpstreamCluster = "%UPSTREAM_CLUSTER%";
        UpstreamFailure = "%UPSTREAM_TRANSPORT_FAILURE_REASON%";
        UpstreamAttempts = "%UPSTREAM_REQUEST_ATTEMPT_COUNT%";
        Flags = "%RESPONSE_FLAGS%";
        Route = "%ROUTE_NAME%";
        Stream = "%STREAM_ID%";
        WireSent = "%DOWNSTREAM_WIRE_BYTES_SENT%";
        WireReceived = "%DOWNSTREAM_WIRE_BYTES_RECEIVED%";
        UpstreamWireSent = "%UPSTREAM_WIRE_BYTES_SENT%";
        UpstreamWireReceived = "%UPSTREAM_WIRE_BYTES_RECEIVED%";
        TlsVersion = "%DOWNSTREAM_TLS_VERSION%";
        TlsName = "%REQUESTED_SERVER_NAME%";
        TlsJa3 = "%TLS_JA3_FINGERPRINT%";
        Protocol = "%PROTOCOL%";
        Method = "%REQ(:METHOD)%";
        Scheme = "%REQ(:SCHEME)%";
        Authority = "%REQ(:AUTHORITY)%";
        Path = "%REQ(:PATH)%";
        OriginalPath = "%REQ(X-ENVOY-ORIGINAL-PATH)%";
        UserAgent = "%REQ(USER-AGENT)%";
        Referer = "%REQ(REFERER)%";
        ForwardedFor = "%REQ(X-FORWARDED-FOR)%";
        RequestHeadersBytes = "%REQUEST_HEADERS_BYTES%";
        RequestBodyBytes = "%BYTES_RECEIVED%";
        HeaderReceived = "%DOWNSTREAM_HEADER_BYTES_RECEIVED%";
        UpstreamHeaderSent = "%UPSTREAM_HEADER_BYTES_SENT%";
        Code = "%RESPONSE_CODE%";
        Details = "%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%";
        ResponseHeadersBytes = "%RESPONSE_HEADERS_BYTES%";
        ResponseBodyBytes = "%BYTES_SENT%";
        HeaderSent = "%DOWNSTREAM_HEADER_BYTES_SENT%";
        UpstreamHeaderReceived = "%UPSTREAM_HEADER_BYTES_RECEIVED%";
    }
}

fields! {
    /// What each record of a connection for Envoy's access log service has. Times are in microseconds since the start.
    CONNECTION_FIELDS, ConnectionField {
        Start = "%START_TIME(%s%6f)%";
        End = "%EMIT_TIME(%s%6f)%";
        Remote = "%DOWNSTREAM_REMOTE_ADDRESS%";
        DirectRemote = "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS%";
        Local = "%DOWNSTREAM_LOCAL_ADDRESS%";
        Flags = "%RESPONSE_FLAGS%";
        TerminationDetails = "%CONNECTION_TERMINATION_DETAILS%";
        TransportFailure = "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%";
        Connection = "%CONNECTION_ID%";
        TlsVersion = "%DOWNSTREAM_TLS_VERSION%";
        TlsName = "%REQUESTED_SERVER_NAME%";
        TlsJa3 = "%TLS_JA3_FINGERPRINT%";
        Received = "%BYTES_RECEIVED%";
        Sent = "%BYTES_SENT%";
    }
}
