//! The heads that go out: the head that came in, as it is after all edits, with the framing of this hop.

use crate::codec::h1::{BodyKind, encode};
use crate::http::{FieldId, HeadView, Length, Method, RequestHead, ResponseHead, Version};

/// Write the head that goes to the upstream, for `host`.
pub(super) fn request(out: &mut Vec<u8>, head: &RequestHead, view: HeadView<'_>, host: &[u8]) {
    encode::request_line(out, head.method_bytes(view), &head.target(view));
    encode::field(out, b"host", host);
    for field in &head.fields {
        if !(matches!(field.id, FieldId::Host | FieldId::ContentLength) || field.hop_by_hop) {
            encode::field(out, field.name.of(view), field.value.of(view));
        }
    }
    framing(
        out,
        match head.length {
            Length::None => BodyKind::None,
            Length::Known(length) => BodyKind::Length(length),
            Length::Unknown => BodyKind::Chunked,
        },
    );
    encode::end(out);
}

fn framing(out: &mut Vec<u8>, kind: BodyKind) {
    match kind {
        BodyKind::None | BodyKind::UntilClose => {}
        BodyKind::Length(length) => encode::field_u64(out, b"content-length", length),
        BodyKind::Chunked => encode::field(out, b"transfer-encoding", b"chunked"),
    }
}

/// How a response goes out: its framing, and whether the connection ends after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ResponseShape {
    pub framing: BodyKind,
    pub close: bool,
}

impl ResponseShape {
    /// `close`: the connection must end for other reasons. HTTP/1.0 knows no chunks, so there a body of unknown length
    /// ends with the connection (RFC 9112 section 6.3).
    pub(super) fn new(version: Version, length: Length, close: bool) -> Self {
        match (length, version) {
            (Length::Unknown, Version::Http10) => Self { framing: BodyKind::UntilClose, close: true },
            (Length::Unknown, Version::Http11) => Self { framing: BodyKind::Chunked, close },
            (Length::Known(length), _) => Self { framing: BodyKind::Length(length), close },
            (Length::None, _) => Self { framing: BodyKind::None, close },
        }
    }
}

/// Write the head that goes to the downstream.
pub(super) fn response(
    out: &mut Vec<u8>,
    request: &RequestHead,
    head: &ResponseHead,
    view: HeadView<'_>,
    shape: ResponseShape,
) {
    encode::status_line(out, head.status, head.reason.of(view));
    for field in &head.fields {
        if !(field.id == FieldId::ContentLength || field.hop_by_hop) {
            encode::field(out, field.name.of(view), field.value.of(view));
        }
    }
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
    connection(out, request.version, shape.close);
    encode::end(out);
}

/// `connection`, where it does not go without saying (RFC 9112 section 9.3). `version`: the request's.
pub fn connection(out: &mut Vec<u8>, version: Version, close: bool) {
    match (close, version) {
        (true, _) => encode::field(out, b"connection", b"close"),
        (false, Version::Http10) => encode::field(out, b"connection", b"keep-alive"),
        (false, Version::Http11) => {}
    }
}

/// A 1xx head, passed on.
pub(super) fn interim(out: &mut Vec<u8>, head: &ResponseHead, view: HeadView<'_>) {
    encode::status_line(out, head.status, head.reason.of(view));
    for field in head.fields.iter().filter(|field| !field.hop_by_hop && field.id != FieldId::ContentLength) {
        encode::field(out, field.name.of(view), field.value.of(view));
    }
    encode::end(out);
}
