//! Which operators say something of an exchange, and which of a connection.

use super::FormatFault;
use crate::model::{AddressOf, ByteCount, CommandOperator, Subject, TlsSide};

const OWN_LOG: &str = "requests have a log of their own, http.access_log";

/// Why an operator, written as `text`, has no value in a text about `subject`.
pub(super) fn misplaced(operator: &CommandOperator, text: &str, subject: Subject) -> Option<FormatFault> {
    if let CommandOperator::Coalesce { operators, .. } = operator {
        return operators.iter().find_map(|inner| misplaced(inner, "an operator of %COALESCE%", subject));
    }
    match (of(operator), subject) {
        (Some(Subject::Exchange), Subject::Connection) => {
            let fault = FormatFault::new(format!("{text} is about a request, and a connection may have many or none"));
            Some(fault.hint(instead(operator).unwrap_or(OWN_LOG)))
        }
        (Some(Subject::Connection), Subject::Exchange) => {
            let fault = FormatFault::new(format!("{text} is about a connection that has ended"));
            Some(fault.hint("it belongs in the listener's own access_log, next to `http`"))
        }
        _ => None,
    }
}

/// `None`: of both.
fn of(operator: &CommandOperator) -> Option<Subject> {
    use ByteCount as Bytes;
    use CommandOperator::*;
    match operator {
        StartTime(_)
        | EmitTime(_)
        | Protocol
        | ResponseFlags
        | ResponseFlagsLong
        | CommandOperator::Bytes(
            Bytes::Received | Bytes::Sent | Bytes::DownstreamWireReceived | Bytes::DownstreamWireSent,
        )
        | Duration
        | Address {
            of: AddressOf::DownstreamRemote | AddressOf::DownstreamDirectRemote | AddressOf::DownstreamLocal,
            ..
        }
        | Tls { side: TlsSide::Downstream, .. }
        | TlsFingerprint(_)
        | Certificate { side: TlsSide::Downstream, .. }
        | PeerCertificate { side: TlsSide::Downstream, .. }
        | PeerValidity { side: TlsSide::Downstream, .. }
        | FilterChainName
        | ConnectionId
        | UniqueId
        | Hostname
        | Environment { .. }
        | AccessLogType
        | Coalesce { .. } => None,
        ConnectionRequests | ConnectionTerminationDetails | DownstreamTransportFailureReason => {
            Some(Subject::Connection)
        }
        Req(_)
        | ReqWithoutQuery(_)
        | Resp(_)
        | Path { .. }
        | QueryParam { .. }
        | QueryParams { .. }
        | UpstreamProtocol
        | ResponseCode
        | ResponseCodeDetails { .. }
        | CommandOperator::Bytes(_)
        | Elapsed { .. }
        | Address { .. }
        | UpstreamHost
        | UpstreamHostName { .. }
        | UpstreamCluster
        | UpstreamRequestAttemptCount
        | UpstreamTransportFailureReason
        | UpstreamConnectionId
        | Tls { .. }
        | RequestedHost { .. }
        | Certificate { .. }
        | PeerCertificate { .. }
        | PeerValidity { .. }
        | GrpcStatus(_)
        | RouteName
        | VirtualHostName
        | StreamId
        | TraceId
        | SpanId
        | TraceFlags
        | LocalReplyBody => Some(Subject::Exchange),
    }
}

/// What a connection has in place of it.
fn instead(operator: &CommandOperator) -> Option<&'static str> {
    use CommandOperator::*;
    Some(match operator {
        Req(field) if field.name == ":authority" || field.name == "host" => {
            "the name that a client asks for in its TLS handshake is %REQUESTED_SERVER_NAME%"
        }
        RequestedHost { .. } => "write %REQUESTED_SERVER_NAME%, without an argument",
        ResponseCode | ResponseCodeDetails { .. } => {
            "how a connection has ended is in %RESPONSE_FLAGS% and %CONNECTION_TERMINATION_DETAILS%"
        }
        Bytes(_) => "write %BYTES_RECEIVED% or %BYTES_SENT%, which have all bytes of the connection",
        Elapsed { .. } => "write %DURATION%, which has the time until the end of the connection",
        UpstreamTransportFailureReason => {
            "write %DOWNSTREAM_TRANSPORT_FAILURE_REASON%, which is about the client's side"
        }
        StreamId | TraceId | SpanId | TraceFlags => "write %CONNECTION_ID%, which a log of requests may have, too",
        RouteName | VirtualHostName => "write %FILTER_CHAIN_NAME%",
        _ => return None,
    })
}
