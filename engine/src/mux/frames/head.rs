//! Heads and trailers as payloads.
//!
//! ```text
//! request  = flags  method  target  authority  fields
//! response = flags  status (2 bytes)  fields
//! trailers = fields
//! fields   = count (2 bytes), then name and value of each
//! ```
//!
//! A text is its length (4 bytes) and its bytes. Flag 1: nothing follows the head.

use crate::http::grammar::{is_token, is_value};
use crate::http::{
    Field, FieldId, Fields, HeadView, Length, Message, Method, RequestHead, ResponseHead, Span, TargetForm, Trailers,
    Version, Violation, is_valid_authority,
};
use crate::mux::Limits;

const NOTHING_FOLLOWS: u8 = 1;

const fn violation(status: u16, details: &'static str) -> Violation {
    Violation { status, details }
}

pub(super) const MALFORMED: Violation = violation(400, "frames.malformed_head");
const TOO_LARGE: Violation = violation(431, "frames.head_too_large");
const TARGET_TOO_LONG: Violation = violation(414, "frames.target_too_long");
const CONNECT_NOT_SUPPORTED: Violation = violation(501, "frames.connect_not_supported");
const TRACE_NOT_ALLOWED: Violation = violation(405, "frames.trace_not_allowed");

/// A head's body is another than it announced.
pub(super) const WRONG_LENGTH: Violation = violation(400, "frames.wrong_content_length");

/// Append a request's head, for `host`. Whether a body follows.
pub(super) fn write_request(out: &mut Vec<u8>, message: &Message<RequestHead>, host: &[u8]) -> bool {
    let (head, view) = (&message.head, message.view());
    let follows = !head.length.is_empty();
    out.push(if follows { 0 } else { NOTHING_FOLLOWS });
    text(out, head.method_bytes(view));
    text(out, &head.target(view).concat());
    text(out, host);
    let length = match head.length {
        Length::Known(length) => Some(length),
        Length::None | Length::Unknown => None,
    };
    write_fields(out, &head.fields, view, length);
    follows
}

/// Append a response's head. Whether a body follows.
pub(super) fn write_response(out: &mut Vec<u8>, is_head: bool, message: &Message<ResponseHead>) -> bool {
    let head = &message.head;
    let follows = !head.length.is_empty() && !head.is_interim();
    out.push(if follows { 0 } else { NOTHING_FOLLOWS });
    out.extend_from_slice(&head.status.to_be_bytes());
    let length = match head.length {
        Length::Known(length) => Some(length),
        // Answers to HEAD, and 304, tell the length that a GET would have (RFC 9110 section 8.6).
        Length::None if is_head || head.status == 304 => head.content_length,
        Length::None | Length::Unknown => None,
    };
    write_fields(out, &head.fields, message.view(), length);
    follows
}

/// Append a head that is only a status.
pub(super) fn write_status(out: &mut Vec<u8>, status: u16) {
    out.push(NOTHING_FOLLOWS);
    out.extend_from_slice(&status.to_be_bytes());
    out.extend_from_slice(&[0, 0]);
}

pub(super) fn write_trailers(out: &mut Vec<u8>, trailers: &Trailers) {
    out.extend_from_slice(&(trailers.iter().count() as u16).to_be_bytes());
    for (name, value) in trailers.iter() {
        lower_text(out, name);
        text(out, value);
    }
}

fn write_fields(out: &mut Vec<u8>, fields: &Fields, view: HeadView<'_>, length: Option<u64>) {
    let goes = |field: &&Field| !(field.hop_by_hop || matches!(field.id, FieldId::Host | FieldId::ContentLength));
    let count = fields.iter().filter(goes).count() + usize::from(length.is_some());
    out.extend_from_slice(&(count as u16).to_be_bytes());
    for field in fields.iter().filter(goes) {
        lower_text(out, field.name.of(view));
        text(out, field.value.of(view));
    }
    if let Some(length) = length {
        text(out, b"content-length");
        text(out, itoa::Buffer::new().format(length).as_bytes());
    }
}

fn text(out: &mut Vec<u8>, bytes: &[u8]) {
    out.extend_from_slice(&(bytes.len() as u32).to_be_bytes());
    out.extend_from_slice(bytes);
}

fn lower_text(out: &mut Vec<u8>, bytes: &[u8]) {
    text(out, bytes);
    let start = out.len() - bytes.len();
    out[start..].make_ascii_lowercase();
}

/// Reads a payload from its beginning to its end.
struct Reader<'p> {
    payload: &'p [u8],
    at: usize,
}

impl<'p> Reader<'p> {
    fn new(payload: &'p [u8]) -> Self {
        Self { payload, at: 0 }
    }

    fn take(&mut self, len: usize) -> Result<Span, Violation> {
        let end = self.at.checked_add(len).filter(|end| *end <= self.payload.len()).ok_or(MALFORMED)?;
        let span = Span::new(self.at, end);
        self.at = end;
        Ok(span)
    }

    fn number(&mut self, len: usize) -> Result<usize, Violation> {
        let span = self.take(len)?;
        Ok(span.of(self.payload).iter().fold(0, |number, byte| number << 8 | usize::from(*byte)))
    }

    fn text(&mut self) -> Result<(Span, &'p [u8]), Violation> {
        let len = self.number(4)?;
        let span = self.take(len)?;
        Ok((span, span.of(self.payload)))
    }

    /// Show each field to `each`, and expect the payload's end behind them.
    fn fields(
        &mut self,
        limits: &Limits,
        mut each: impl FnMut(Field, &'p [u8], &'p [u8]) -> Result<(), Violation>,
    ) -> Result<(), Violation> {
        let count = self.number(2)?;
        if count > usize::from(limits.fields) {
            return Err(TOO_LARGE);
        }
        for _ in 0..count {
            let ((name_span, name), (value_span, value)) = (self.text()?, self.text()?);
            if name.len() + value.len() > limits.field_bytes as usize {
                return Err(TOO_LARGE);
            }
            let id = FieldId::lookup(name);
            let is_lower = !name.iter().any(u8::is_ascii_uppercase);
            let is_allowed = !id.is_hop_by_hop() && id != FieldId::Host;
            let is_trimmed = value.trim_ascii() == value;
            if !(is_lower && is_allowed && is_trimmed && is_token(name) && is_value(value)) {
                return Err(MALFORMED);
            }
            each(Field { name: name_span, value: value_span, id, hop_by_hop: false }, name, value)?;
        }
        if self.at < self.payload.len() { Err(MALFORMED) } else { Ok(()) }
    }
}

/// Whether `body` bytes are more than the head announced.
pub(super) fn is_too_long(length: Length, body: u64) -> bool {
    matches!(length, Length::Known(length) if body > length)
}

/// Whether nothing follows the head with this payload. `None`: it is none.
pub(super) fn ends(payload: &[u8]) -> Option<bool> {
    payload.first().map(|flags| flags & NOTHING_FOLLOWS != 0)
}

/// Whether a response's head is that of a 1xx.
pub(super) fn is_interim(payload: &[u8]) -> bool {
    payload.get(1..3).is_some_and(|status| u16::from_be_bytes([status[0], status[1]]) < 200)
}

/// A content-length's number; `before`: that of another line.
fn content_length(value: &[u8], before: Option<u64>) -> Result<Option<u64>, Violation> {
    let digits = value.iter().all(u8::is_ascii_digit).then(|| std::str::from_utf8(value).ok()).flatten();
    let length: u64 = digits.and_then(|digits| digits.parse().ok()).ok_or(MALFORMED)?;
    if before.is_some_and(|before| before != length) { Err(MALFORMED) } else { Ok(Some(length)) }
}

fn length(follows: bool, announced: Option<u64>) -> Result<Length, Violation> {
    match (follows, announced) {
        (true, Some(length)) => Ok(Length::Known(length)),
        (true, None) => Ok(Length::Unknown),
        (false, None) => Ok(Length::None),
        (false, Some(0)) => Ok(Length::Known(0)),
        (false, Some(_)) => Err(WRONG_LENGTH),
    }
}

/// Read a request's head, whose payload is `payload`.
pub(super) fn read_request(payload: &[u8], limits: &Limits, head: &mut RequestHead) -> Result<(), Violation> {
    if payload.len() > limits.head_bytes as usize {
        return Err(TOO_LARGE);
    }
    let mut reader = Reader::new(payload);
    let follows = reader.number(1)? & usize::from(NOTHING_FOLLOWS) == 0;
    let (method_span, method) = reader.text()?;
    let ((path, target), (authority_span, authority)) = (reader.text()?, reader.text()?);
    if target.len() > limits.target_bytes as usize {
        return Err(TARGET_TOO_LONG);
    }
    let is_star = target == b"*" && method == b"OPTIONS";
    let is_path =
        target.first() == Some(&b'/') && target.iter().all(|byte| (0x21..0x7f).contains(byte) && *byte != b'#');
    if !is_token(method) || !(is_star || is_path) || !is_valid_authority(authority) {
        return Err(MALFORMED);
    }
    let mut announced = None;
    let mut fields = std::mem::take(&mut head.fields);
    fields.clear();
    let read = reader.fields(limits, |field, _, value| {
        if field.id == FieldId::ContentLength {
            announced = content_length(value, announced)?;
        }
        fields.push(field);
        Ok(())
    });
    *head = RequestHead {
        method: Method::from_bytes(method),
        method_span,
        version: Version::Http11,
        target_form: if is_star { TargetForm::Asterisk } else { TargetForm::Origin },
        path,
        path_len: target.iter().position(|byte| *byte == b'?').unwrap_or(target.len()) as u32,
        authority: authority_span,
        fields,
        ..RequestHead::default()
    };
    read?;
    head.length = length(follows, announced)?;
    match head.method {
        Method::Connect => Err(CONNECT_NOT_SUPPORTED),
        Method::Trace => Err(TRACE_NOT_ALLOWED),
        _ => Ok(()),
    }
}

/// Read a response's head, whose payload is `payload`, to a request with `method`. Whether anything follows.
pub(super) fn read_response(
    payload: &[u8],
    limits: &Limits,
    method: Method,
    head: &mut ResponseHead,
) -> Result<bool, Violation> {
    if payload.len() > limits.head_bytes as usize {
        return Err(TOO_LARGE);
    }
    let mut reader = Reader::new(payload);
    let follows = reader.number(1)? & usize::from(NOTHING_FOLLOWS) == 0;
    let status = reader.number(2)?;
    if !(100..1000).contains(&status) || status == 101 {
        return Err(MALFORMED);
    }
    let mut announced = None;
    let mut fields = std::mem::take(&mut head.fields);
    fields.clear();
    let read = reader.fields(limits, |field, _, value| {
        if field.id == FieldId::ContentLength {
            announced = content_length(value, announced)?;
        }
        fields.push(field);
        Ok(())
    });
    *head = ResponseHead { status: status as u16, fields, content_length: announced, ..ResponseHead::default() };
    read?;
    let is_bodiless = status < 200 || method == Method::Head || matches!(status, 204 | 304);
    if is_bodiless && follows {
        return Err(MALFORMED);
    }
    head.length = if is_bodiless { Length::None } else { length(follows, announced)? };
    Ok(follows)
}

/// Read the trailers behind a body; where they are not wanted they are only checked.
pub(super) fn read_trailers(
    payload: &[u8],
    limits: &Limits,
    keeps: bool,
    into: &mut Trailers,
) -> Result<(), Violation> {
    if payload.len() > limits.trailer_bytes as usize {
        return Err(TOO_LARGE);
    }
    Reader::new(payload).fields(limits, |field, name, value| {
        if keeps && field.id != FieldId::ContentLength {
            into.add(name, value);
        }
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(method: &str, target: &str, authority: &str, fields: &[(&str, &str)], flags: u8) -> Vec<u8> {
        let mut out = vec![flags];
        [method, target, authority].iter().for_each(|part| text(&mut out, part.as_bytes()));
        out.extend_from_slice(&(fields.len() as u16).to_be_bytes());
        for (name, value) in fields {
            text(&mut out, name.as_bytes());
            text(&mut out, value.as_bytes());
        }
        out
    }

    fn status(payload: &[u8]) -> Result<(), u16> {
        let limits = Limits { fields: 3, target_bytes: 20, ..Limits::default() };
        read_request(payload, &limits, &mut RequestHead::default()).map_err(|violation| violation.status)
    }

    #[test]
    fn a_request_is_checked_as_one_of_http_1_is() {
        let get = |fields: &[(&str, &str)]| status(&payload("GET", "/a?b", "h", fields, 1));
        assert_eq!(get(&[("x-a", "1"), ("content-length", "0")]), Ok(()));
        assert_eq!(status(&payload("OPTIONS", "*", "h:80", &[], 1)), Ok(()));
        for (name, value) in [
            ("X-A", "1"),
            ("", "1"),
            ("x a", "1"),
            ("x-a", " 1"),
            ("x-a", "1\r\nx-b: 2"),
            ("connection", "close"),
            ("transfer-encoding", "chunked"),
            ("host", "other"),
            ("content-length", "-1"),
            ("content-length", "5"),
            ("content-length", ""),
        ] {
            assert_eq!(get(&[(name, value)]), Err(400), "{name}: {value:?}");
        }
        assert_eq!(get(&[("content-length", "0"), ("content-length", "1")]), Err(400));
        assert_eq!(get(&[("x-a", "1"); 4]), Err(431));
        for (method, target, authority, expected) in [
            ("G T", "/", "h", 400),
            ("GET", "*", "h", 400),
            ("GET", "a", "h", 400),
            ("GET", "/ b", "h", 400),
            ("GET", "/#b", "h", 400),
            ("GET", "/", "h/x", 400),
            ("GET", "/12345678901234567890", "h", 414),
            ("CONNECT", "/", "h", 501),
            ("TRACE", "/", "h", 405),
        ] {
            assert_eq!(
                status(&payload(method, target, authority, &[], 1)),
                Err(expected),
                "{method} {target} {authority}"
            );
        }
    }

    #[test]
    fn half_a_payload_and_more_than_one_are_refused() {
        let whole = payload("POST", "/", "h", &[("content-length", "5")], 0);
        assert_eq!(status(&whole), Ok(()));
        for len in 0..whole.len() {
            assert_eq!(status(&whole[..len]), Err(400), "{len} bytes");
        }
        assert_eq!(status(&[&whole[..], &[0]].concat()), Err(400));
        // No bytes make it panic.
        for at in 0..whole.len() {
            for byte in 0..=255 {
                let mut changed = whole.clone();
                changed[at] = byte;
                let _ = status(&changed);
                let (limits, mut head) = (Limits::default(), ResponseHead::default());
                let _ = read_response(&changed, &limits, Method::Get, &mut head);
                let _ = read_trailers(&changed, &limits, true, &mut Trailers::default());
            }
        }
    }

    #[test]
    fn a_response_without_a_body_has_none() {
        let head = |status: u16, flags: u8, method| {
            let payload = [&[flags][..], &status.to_be_bytes(), &[0, 0]].concat();
            read_response(&payload, &Limits::default(), method, &mut ResponseHead::default()).map_err(|v| v.status)
        };
        assert_eq!((head(200, 0, Method::Get), head(200, 1, Method::Get)), (Ok(true), Ok(false)));
        for (status, method) in [(200, Method::Head), (204, Method::Get), (304, Method::Get), (103, Method::Get)] {
            assert_eq!((head(status, 0, method), head(status, 1, method)), (Err(400), Ok(false)), "{status}");
        }
        assert_eq!(
            (head(99, 1, Method::Get), head(101, 1, Method::Get), head(1000, 1, Method::Get)),
            (Err(400), Err(400), Err(400))
        );
    }
}
