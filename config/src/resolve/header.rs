//! Edits of headers.

use std::collections::HashMap;

use super::Resolver;
use super::format::name_of;
use crate::diagnostic::Problem;
use crate::document::HeaderToAdd;
use crate::model::{
    AddressOf, ByteCount, CommandOperator, FormatPiece, HeaderMutation, HeaderMutations, TimePoint, TlsSide,
};
use crate::reader::{EditableHeader, HeaderName, List, Located, Map, Slot, is_fixed_field};

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Request,
    Response,
}

/// The four keys of a table that edits headers.
pub(super) struct WrittenMutations<'d> {
    pub request_add: &'d Slot<List<HeaderToAdd>>,
    pub request_remove: &'d Slot<List<EditableHeader>>,
    pub response_add: &'d Slot<List<HeaderToAdd>>,
    pub response_remove: &'d Slot<List<EditableHeader>>,
}

/// The edits of a table that has the four keys.
macro_rules! mutations {
    ($table:expr) => {
        $crate::resolve::header::WrittenMutations {
            request_add: &$table.request_headers_to_add,
            request_remove: &$table.request_headers_to_remove,
            response_add: &$table.response_headers_to_add,
            response_remove: &$table.response_headers_to_remove,
        }
    };
}
pub(super) use mutations;

impl<'d> Resolver<'d, '_, '_> {
    pub(super) fn mutations(&mut self, written: WrittenMutations<'d>) -> HeaderMutations {
        HeaderMutations {
            request: self.edits(written.request_add, written.request_remove, Side::Request),
            response: self.edits(written.response_add, written.response_remove, Side::Response),
        }
    }

    /// Refuses, in the headers that are written for a request of the proxy's own, one that stands there twice, and one that `writer`
    /// has in any case: one about the connection, or one of `own`, each with what to write instead.
    pub(super) fn check_further_headers<V>(
        &mut self,
        writer: &str,
        headers: &'d Slot<Map<HeaderName, V>>,
        own: &[(&str, &str)],
    ) {
        let mut first = HashMap::new();
        for (name, _) in headers.given().iter().flat_map(|map| &map.entries) {
            self.unique(&mut first, name.0.as_str(), &name.origin, |name| format!("`{name}` is written twice"));
            let hint = own.iter().find(|(own, _)| *own == name.0).map(|(_, hint)| *hint);
            if hint.is_some() || is_fixed_field(&name.0) || name.0 == "expect" {
                let problem = Problem::at(&name.origin, format!("{writer} writes `{}` itself", name.0));
                self.problems.push(problem.allowed("any header that is not about the connection").hint(hint));
            }
        }
    }

    /// Headers are removed first, so that a header can be replaced (Envoy: HeaderParser).
    fn edits(
        &mut self,
        add: &'d Slot<List<HeaderToAdd>>,
        remove: &'d Slot<List<EditableHeader>>,
        side: Side,
    ) -> Vec<HeaderMutation> {
        let mut first = HashMap::new();
        for name in remove.items() {
            self.unique(&mut first, name.0.as_str(), &name.origin, |name| format!("`{name}` is removed twice"));
        }
        let mut edits: Vec<_> = remove.items().iter().map(|name| HeaderMutation::Remove(name.0.clone())).collect();
        edits.extend(add.items().iter().filter_map(|header| self.header_to_add(header, side)));
        edits
    }

    fn header_to_add(&mut self, written: &'d Located<HeaderToAdd>, side: Side) -> Option<HeaderMutation> {
        let name = written.name.given();
        let text = written.value.value.given()?;
        let value = self.format(text);
        if text.0.is_empty() {
            let problem = Problem::at(&text.origin, "the value is empty: no header would be added");
            self.problems.push(problem.hint(Some("to remove a header, list it in ..._headers_to_remove")));
        }
        let is_literal = |c: char| matches!(c, ' ' | '\t' | '!'..='~');
        let mut literals = value.iter().filter_map(|piece| match piece {
            FormatPiece::Literal(text) => Some(text),
            FormatPiece::Operator(_) => None,
        });
        if let Some(bad) = literals.find_map(|text| text.chars().find(|c| !is_literal(*c))) {
            let problem = Problem::at(&text.origin, format!("a header's value cannot hold {bad:?}"));
            self.problems.push(problem.allowed("visible ASCII characters, spaces and command operators"));
        }
        if text.0.trim() != text.0 {
            let problem = Problem::at(&text.origin, "spaces at the ends of a header's value are not part of it");
            self.problems.push(problem.hint(Some("remove them")));
        }
        let operators = value.iter().filter_map(|piece| match piece {
            FormatPiece::Operator(operator) if side == Side::Request => later(operator),
            FormatPiece::Operator(_) | FormatPiece::Literal(_) => None,
        });
        for name in operators {
            let message = format!("%{name}% has no value yet when the request is edited");
            self.problems
                .push(Problem::at(&text.origin, message).hint(Some("it can be used in response_headers_to_add")));
        }
        Some(HeaderMutation::Set {
            name: name?.0.clone(),
            value,
            written: text.0.clone(),
            action: written.append_action.0,
        })
    }
}

/// The name of an operator that has no value before an endpoint has been chosen.
fn later(operator: &CommandOperator) -> Option<&'static str> {
    match operator {
        CommandOperator::Resp(_) => Some("RESP"),
        CommandOperator::ResponseCode => Some("RESPONSE_CODE"),
        CommandOperator::GrpcStatus(_) => Some("GRPC_STATUS"),
        CommandOperator::ResponseCodeDetails { .. } => Some("RESPONSE_CODE_DETAILS"),
        CommandOperator::ResponseFlags => Some("RESPONSE_FLAGS"),
        CommandOperator::ResponseFlagsLong => Some("RESPONSE_FLAGS_LONG"),
        CommandOperator::LocalReplyBody => Some("LOCAL_REPLY_BODY"),
        CommandOperator::UpstreamProtocol => Some("UPSTREAM_PROTOCOL"),
        CommandOperator::UpstreamHost => Some("UPSTREAM_HOST"),
        CommandOperator::UpstreamHostName { .. } => Some("UPSTREAM_HOST_NAME"),
        CommandOperator::UpstreamRequestAttemptCount => Some("UPSTREAM_REQUEST_ATTEMPT_COUNT"),
        CommandOperator::UpstreamTransportFailureReason => Some("UPSTREAM_TRANSPORT_FAILURE_REASON"),
        CommandOperator::UpstreamConnectionId => Some("UPSTREAM_CONNECTION_ID"),
        CommandOperator::Tls { .. }
        | CommandOperator::Certificate { .. }
        | CommandOperator::PeerCertificate { .. }
        | CommandOperator::PeerValidity { .. } => later_tls(operator),
        CommandOperator::Address { of, .. } => match of {
            AddressOf::UpstreamRemote => Some("UPSTREAM_REMOTE_ADDRESS"),
            AddressOf::UpstreamLocal => Some("UPSTREAM_LOCAL_ADDRESS"),
            AddressOf::DownstreamRemote | AddressOf::DownstreamDirectRemote | AddressOf::DownstreamLocal => None,
        },
        CommandOperator::Bytes(count) => later_count(*count),
        CommandOperator::Elapsed { start, end, .. } => {
            (!is_known_early(*start) || !is_known_early(*end)).then_some("COMMON_DURATION")
        }
        CommandOperator::Coalesce { operators, .. } => operators.iter().find_map(later),
        CommandOperator::StartTime(_)
        | CommandOperator::EmitTime(_)
        | CommandOperator::Req(_)
        | CommandOperator::ReqWithoutQuery(_)
        | CommandOperator::Path { .. }
        | CommandOperator::QueryParam { .. }
        | CommandOperator::QueryParams { .. }
        | CommandOperator::Protocol
        | CommandOperator::TlsFingerprint(_)
        | CommandOperator::RequestedHost { .. }
        | CommandOperator::Duration
        | CommandOperator::UpstreamCluster
        | CommandOperator::RouteName
        | CommandOperator::VirtualHostName
        | CommandOperator::FilterChainName
        | CommandOperator::ConnectionId
        | CommandOperator::StreamId
        | CommandOperator::TraceId
        | CommandOperator::SpanId
        | CommandOperator::TraceFlags
        | CommandOperator::UniqueId
        | CommandOperator::Hostname
        | CommandOperator::Environment { .. }
        | CommandOperator::AccessLogType
        // Refused where it was read.
        | CommandOperator::ConnectionRequests
        | CommandOperator::ConnectionTerminationDetails
        | CommandOperator::DownstreamTransportFailureReason => None,
    }
}

/// Whether a moment is over before an endpoint has been chosen.
fn is_known_early(point: TimePoint) -> bool {
    match point {
        TimePoint::DownstreamReceiveBegin | TimePoint::DownstreamReceiveEnd => true,
        TimePoint::UpstreamConnectBegin
        | TimePoint::UpstreamConnectEnd
        | TimePoint::UpstreamSendBegin
        | TimePoint::UpstreamSendEnd
        | TimePoint::UpstreamReceiveBegin
        | TimePoint::UpstreamReceiveBodyBegin
        | TimePoint::UpstreamReceiveEnd
        | TimePoint::DownstreamSendBegin
        | TimePoint::DownstreamSendEnd => false,
    }
}

/// The same as `later` for what is said of TLS.
fn later_tls(operator: &CommandOperator) -> Option<&'static str> {
    match operator {
        CommandOperator::Tls { side: TlsSide::Upstream, .. }
        | CommandOperator::Certificate { side: TlsSide::Upstream, .. } => name_of(operator),
        CommandOperator::PeerCertificate { side: TlsSide::Upstream, .. } => Some("UPSTREAM_PEER_CERT"),
        CommandOperator::PeerValidity { side: TlsSide::Upstream, is_end, .. } => {
            Some(if *is_end { "UPSTREAM_PEER_CERT_V_END" } else { "UPSTREAM_PEER_CERT_V_START" })
        }
        _ => None,
    }
}

/// The same for a count of bytes.
fn later_count(count: ByteCount) -> Option<&'static str> {
    match count {
        ByteCount::Sent => Some("BYTES_SENT"),
        ByteCount::ResponseHeaders => Some("RESPONSE_HEADERS_BYTES"),
        ByteCount::DownstreamWireSent => Some("DOWNSTREAM_WIRE_BYTES_SENT"),
        ByteCount::DownstreamHeaderSent => Some("DOWNSTREAM_HEADER_BYTES_SENT"),
        ByteCount::UpstreamWireReceived => Some("UPSTREAM_WIRE_BYTES_RECEIVED"),
        ByteCount::UpstreamWireSent => Some("UPSTREAM_WIRE_BYTES_SENT"),
        ByteCount::UpstreamHeaderReceived => Some("UPSTREAM_HEADER_BYTES_RECEIVED"),
        ByteCount::UpstreamHeaderSent => Some("UPSTREAM_HEADER_BYTES_SENT"),
        ByteCount::Received
        | ByteCount::RequestHeaders
        | ByteCount::DownstreamWireReceived
        | ByteCount::DownstreamHeaderReceived => None,
    }
}
