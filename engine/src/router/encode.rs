//! The heads that go out: what is taken over from the head that came in, what is dropped, what is added.

use crate::codec::h1::encode;
use crate::http::{BodyKind, Exchange, FieldId, Method, RequestHead, RequestId, ResponseHead, Version};
use ringway_config::model::{self, HeaderOptions, ServerHeader};

/// What the configuration says about fields, ready to write.
#[derive(Debug)]
pub struct HeaderPolicy {
    pub options: HeaderOptions,
    /// What stands behind the received protocol in `via` (RFC 9110 section 7.6.3).
    via: Option<Box<str>>,
}

impl HeaderPolicy {
    pub fn new(options: &HeaderOptions) -> Self {
        Self { options: options.clone(), via: options.via.as_deref().map(Box::from) }
    }
}

/// The request's target after the route's rewrite, in pieces.
pub(super) fn target<'a>(
    head: &RequestHead,
    bytes: &'a [u8],
    rewrite: Option<&'a str>,
    matched_len: usize,
) -> [&'a [u8]; 3] {
    let [implied, path] = head.target(bytes);
    let Some(rewrite) = rewrite else { return [b"", implied, path] };
    let rest = if implied.is_empty() { &path[matched_len.min(path.len())..] } else { path };
    // A rewrite to nothing must leave a path.
    let root: &[u8] = if rewrite.is_empty() && !rest.starts_with(b"/") { b"/" } else { b"" };
    [root, rewrite.as_bytes(), rest]
}

/// Write the head that goes to the upstream.
pub(super) fn request(
    out: &mut Vec<u8>,
    exchange: &Exchange,
    policy: &HeaderPolicy,
    forward: &model::Forward,
    matched_len: usize,
    peer: &str,
    default_host: &str,
) {
    let (head, bytes) = (&exchange.request, exchange.request_bytes.as_slice());
    let options = &policy.options;
    let rewrite = forward.prefix_rewrite.as_deref();
    encode::request_line(out, head.method_bytes(bytes), &target(head, bytes, rewrite, matched_len));
    encode::field(out, b"host", host(head, bytes, forward, default_host));
    let mut forwarded_for = head.fields.all(FieldId::XForwardedFor).count();
    for field in &head.fields {
        let (name, value) = (field.name.of(bytes), field.value.of(bytes));
        match field.id {
            FieldId::Host | FieldId::ContentLength => {}
            FieldId::XForwardedFor if options.x_forwarded_for && !peer.is_empty() => {
                forwarded_for -= 1;
                if forwarded_for > 0 {
                    encode::field(out, name, value);
                } else {
                    out.extend_from_slice(b"x-forwarded-for: ");
                    out.extend_from_slice(value);
                    out.extend_from_slice(if value.is_empty() { b"" } else { b", " });
                    out.extend_from_slice(peer.as_bytes());
                    out.extend_from_slice(encode::CRLF);
                }
            }
            // Only the proxy says what the path was before it rewrote it.
            FieldId::XEnvoyOriginalPath if rewrite.is_some() => {}
            _ if field.hop_by_hop => {}
            _ => encode::field(out, name, value),
        }
    }
    if options.x_forwarded_for && !peer.is_empty() && !head.fields.contains(FieldId::XForwardedFor) {
        encode::field(out, b"x-forwarded-for", peer.as_bytes());
    }
    if options.x_forwarded_proto && !head.fields.contains(FieldId::XForwardedProto) {
        encode::field(out, b"x-forwarded-proto", b"http");
    }
    if let Some(id) = &exchange.request_id {
        encode::field(out, b"x-request-id", id);
    }
    if rewrite.is_some() {
        let [implied, path] = head.target(bytes);
        out.extend_from_slice(b"x-envoy-original-path: ");
        out.extend_from_slice(implied);
        out.extend_from_slice(path);
        out.extend_from_slice(encode::CRLF);
    }
    via(out, policy, head.version);
    framing(out, head.framing);
    encode::end(out);
}

fn host<'a>(head: &RequestHead, bytes: &'a [u8], forward: &'a model::Forward, default: &'a str) -> &'a [u8] {
    let authority = head.authority.of(bytes);
    match &forward.host_rewrite {
        Some(host) => host.as_bytes(),
        // HTTP/1.0 without Host: HTTP/1.1, which goes out, must have one (RFC 9112 section 3.2).
        None if authority.is_empty() => default.as_bytes(),
        None => authority,
    }
}

/// `received`: the version of the message that came in.
fn via(out: &mut Vec<u8>, policy: &HeaderPolicy, received: Version) {
    let Some(name) = &policy.via else { return };
    out.extend_from_slice(match received {
        Version::Http10 => b"via: 1.0 ",
        Version::Http11 => b"via: 1.1 ",
    });
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(encode::CRLF);
}

fn framing(out: &mut Vec<u8>, kind: BodyKind) {
    match kind {
        BodyKind::None | BodyKind::UntilClose => {}
        BodyKind::Length(length) => encode::field_u64(out, b"content-length", length),
        BodyKind::Chunked => encode::field(out, b"transfer-encoding", b"chunked"),
    }
}

/// How the response goes out: its framing, and whether the connection ends after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseShape {
    pub framing: BodyKind,
    pub close: bool,
}

impl ResponseShape {
    /// `close`: the connection must end for other reasons. HTTP/1.0 knows no chunks, so there a body of unknown length
    /// ends with the connection (RFC 9112 section 6.3).
    pub fn new(request: &RequestHead, kind: BodyKind, close: bool) -> Self {
        let close = close || !request.keep_alive;
        match (kind, request.version) {
            (BodyKind::Chunked | BodyKind::UntilClose, Version::Http10) => {
                Self { framing: BodyKind::UntilClose, close: true }
            }
            (BodyKind::Chunked | BodyKind::UntilClose, Version::Http11) => Self { framing: BodyKind::Chunked, close },
            (kind, _) => Self { framing: kind, close },
        }
    }
}

/// What is added to a response beside its own fields.
pub(super) struct ResponseEdits<'a> {
    pub policy: &'a HeaderPolicy,
    pub service_time_ms: Option<u64>,
    pub date: &'a [u8],
}

/// Write the head that goes to the downstream.
pub(super) fn response(
    out: &mut Vec<u8>,
    request: &RequestHead,
    head: &ResponseHead,
    bytes: &[u8],
    shape: ResponseShape,
    edits: &ResponseEdits<'_>,
) {
    let options = &edits.policy.options;
    encode::status_line(out, head.status, head.reason.of(bytes));
    for field in &head.fields {
        match field.id {
            FieldId::ContentLength => {}
            FieldId::Server if options.server_header == ServerHeader::Overwrite => {}
            FieldId::XEnvoyUpstreamServiceTime if edits.service_time_ms.is_some() => {}
            _ if field.hop_by_hop => {}
            _ => encode::field(out, field.name.of(bytes), field.value.of(bytes)),
        }
    }
    if !head.fields.contains(FieldId::Date) {
        encode::field(out, b"date", edits.date);
    }
    let adds_server = match options.server_header {
        ServerHeader::Overwrite => true,
        ServerHeader::AppendIfAbsent => !head.fields.contains(FieldId::Server),
        ServerHeader::PassThrough => false,
    };
    if adds_server && !options.server_name.is_empty() {
        encode::field(out, b"server", options.server_name.as_bytes());
    }
    if let Some(milliseconds) = edits.service_time_ms {
        encode::field_u64(out, b"x-envoy-upstream-service-time", milliseconds);
    }
    via(out, edits.policy, head.version);
    match shape.framing {
        // Answers to HEAD, and 304, tell the length that a GET would have (RFC 9110 section 8.6).
        BodyKind::None => {
            if let Some(length) = head.content_length
                && (request.method == Method::Head || head.status == 304)
            {
                encode::field_u64(out, b"content-length", length);
            }
        }
        kind => framing(out, kind),
    }
    connection(out, request, shape.close);
    encode::end(out);
}

/// `connection`, where it does not go without saying (RFC 9112 section 9.3).
pub fn connection(out: &mut Vec<u8>, request: &RequestHead, close: bool) {
    match (close, request.version) {
        (true, _) => encode::field(out, b"connection", b"close"),
        (false, Version::Http10) => encode::field(out, b"connection", b"keep-alive"),
        (false, Version::Http11) => {}
    }
}

/// A 1xx head, passed on.
pub(super) fn interim(out: &mut Vec<u8>, head: &ResponseHead, bytes: &[u8]) {
    encode::status_line(out, head.status, head.reason.of(bytes));
    for field in head.fields.iter().filter(|field| !field.hop_by_hop && field.id != FieldId::ContentLength) {
        encode::field(out, field.name.of(bytes), field.value.of(bytes));
    }
    encode::end(out);
}

/// A random UUID (RFC 9562 section 5.4).
pub fn uuid4(high: u64, low: u64) -> RequestId {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let high = high & 0xffff_ffff_ffff_0fff | 0x4000;
    let low = low & 0x3fff_ffff_ffff_ffff | 0x8000_0000_0000_0000;
    let value = u128::from(high) << 64 | u128::from(low);
    let mut text = [b'-'; 36];
    let mut shift = 128;
    for (i, byte) in text.iter_mut().enumerate() {
        if !matches!(i, 8 | 13 | 18 | 23) {
            shift -= 4;
            *byte = HEX[(value >> shift) as usize & 15];
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_have_version_and_variant() {
        let id = uuid4(u64::MAX, 0);
        assert_eq!(&id, b"ffffffff-ffff-4fff-8000-000000000000");
    }

    #[test]
    fn rewrites_keep_the_query_and_never_leave_nothing() {
        let bytes = b"GET /api/x?y=1 HTTP/1.1\r\nHost: h\r\n\r\n";
        let mut head = RequestHead::default();
        let limits = crate::codec::h1::Limits::default();
        crate::codec::h1::parse_request(bytes, &limits, &mut head).expect("valid");
        let rewritten = |rewrite, matched| target(&head, bytes, rewrite, matched).concat();
        assert_eq!(rewritten(None, 0), b"/api/x?y=1");
        assert_eq!(rewritten(Some("/v2"), 4), b"/v2/x?y=1");
        assert_eq!(rewritten(Some(""), 4), b"/x?y=1");
        assert_eq!(rewritten(Some(""), 6), b"/?y=1");
        assert_eq!(rewritten(Some("/new"), 6), b"/new?y=1");
    }
}
