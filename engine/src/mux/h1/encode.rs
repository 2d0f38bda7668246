//! The heads that go out: the head that came in, as it is after all edits, with the framing of this hop.

use crate::codec::h1::{BodyKind, encode};
use crate::http::{
    Field, FieldId, Fields, HeadView, Length, Method, RequestHead, ResponseHead, Span, Version, grammar,
    reason as standard_reason,
};

/// Write the head that goes to the upstream, for `host`.
pub(super) fn request(out: &mut Vec<u8>, head: &RequestHead, view: HeadView<'_>, host: &[u8]) {
    encode::request_line(out, head.method_bytes(view), &head.target(view));
    encode::field(out, b"host", host);
    let is_kept = |field: &Field| !(matches!(field.id, FieldId::Host | FieldId::ContentLength) || field.hop_by_hop);
    fields(out, &head.fields, view, is_kept);
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

/// Write the fields that are kept. Lines that came as this proxy would write them, one behind the other, are copied as
/// one piece; the bytes are the same as those of each line written by itself.
fn fields(out: &mut Vec<u8>, fields: &Fields, view: HeadView<'_>, is_kept: impl Fn(&Field) -> bool) {
    let mut run = Span::EMPTY;
    for field in fields.iter().filter(|field| is_kept(field)) {
        debug_assert!(grammar::is_token(field.name.of(view)) && grammar::is_value(field.value.of(view)));
        debug_assert!(field.canonical_line().is_none_or(|line| is_line(field, line.of(view), view)));
        match field.canonical_line() {
            Some(line) if line.start == run.end => run.end = line.end,
            Some(line) => {
                out.extend_from_slice(run.of(view));
                run = line;
            }
            None => {
                out.extend_from_slice(std::mem::take(&mut run).of(view));
                encode::field(out, field.name.of(view), field.value.of(view));
            }
        }
    }
    out.extend_from_slice(run.of(view));
}

/// Whether this is how the field is written.
fn is_line(field: &Field, line: &[u8], view: HeadView<'_>) -> bool {
    let parts = [field.name.of(view), b": ", field.value.of(view), encode::CRLF];
    line.iter().eq(parts.into_iter().flatten())
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
            (Length::Unknown, Version::Http11 | Version::Http2) => Self { framing: BodyKind::Chunked, close },
            (Length::Known(length), _) => Self { framing: BodyKind::Length(length), close },
            (Length::None, _) => Self { framing: BodyKind::None, close },
        }
    }
}

/// What stands behind the status: HTTP/2 has no such words, and some clients of HTTP/1 miss them.
#[inline]
fn reason<'a>(head: &ResponseHead, view: HeadView<'a>) -> &'a [u8] {
    match head.version {
        Version::Http2 => standard_reason(head.status).as_bytes(),
        Version::Http10 | Version::Http11 => head.reason.of(view),
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
    encode::status_line(out, head.status, reason(head, view));
    fields(out, &head.fields, view, |field| !(field.id == FieldId::ContentLength || field.hop_by_hop));
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
        (false, Version::Http11 | Version::Http2) => {}
    }
}

/// A 1xx head, passed on.
pub(super) fn interim(out: &mut Vec<u8>, head: &ResponseHead, view: HeadView<'_>) {
    encode::status_line(out, head.status, reason(head, view));
    fields(out, &head.fields, view, |field| !(field.id == FieldId::ContentLength || field.hop_by_hop));
    encode::end(out);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::h1::{Limits, parse_request};
    use crate::http::{EditBytes, HeadEditor};

    /// Whatever the lines look like and whichever are kept, removed or added: the bytes are those of line by line.
    #[test]
    fn runs_of_lines_are_the_same_bytes_as_lines() {
        let lines = [
            "Host: h",
            "A: 1",
            "b:2",
            "C:  3",
            "D: 4 ",
            "e: 5\t",
            "Connection: x-f, close",
            "X-F: 6",
            "G:",
            "H: ",
            "i: 7",
            "Accept: */*",
            "Content-Length: 0",
            "J: 8",
        ];
        for skipped in 0..1u32 << lines.len() {
            if skipped & 1 == 1 || skipped % 7 > 1 {
                continue;
            }
            let kept = lines.iter().enumerate().filter(|(at, _)| skipped >> at & 1 == 0);
            let text: String = kept.map(|(_, line)| format!("{line}\r\n")).collect();
            let bytes = format!("GET / HTTP/1.1\r\n{text}\r\n").into_bytes();
            let mut head = RequestHead::default();
            parse_request(&bytes, &Limits::default(), &mut head).expect("valid");
            let mut edits = EditBytes::default();
            let mut editor = HeadEditor { fields: &mut head.fields, received: &bytes, edits: &mut edits };
            editor.remove(b"accept");
            editor.append(b"a", b"9");
            editor.add(b"x-new", b"10");
            let view = HeadView { received: &bytes, edits: edits.as_slice() };
            let is_kept = |field: &Field| field.id != FieldId::ContentLength && !field.hop_by_hop;
            let (mut runs, mut by_line) = (Vec::new(), Vec::new());
            fields(&mut runs, &head.fields, view, is_kept);
            for field in head.fields.iter().filter(|field| is_kept(field)) {
                encode::field(&mut by_line, field.name.of(view), field.value.of(view));
            }
            assert_eq!(String::from_utf8(runs), String::from_utf8(by_line), "{text}");
        }
    }
}
