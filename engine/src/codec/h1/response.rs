//! The head of a response (RFC 9112 sections 4, 5 and 6).

use std::mem::MaybeUninit;

use memchr::memchr;

use super::index::{COMMON_LINES, Coding, Facts, Lines, index_fields};
use super::{BodyKind, Framing, HeadError, Limits, Parse, ResponseError, diagnose, minor, plain};
use crate::http::{FieldId, Method, ResponseHead, Span, Version};

/// Bytes of `HTTP/1.1 200`.
const STATUS_END: usize = 12;

/// Parses a response head at the start of `bytes` into `head`, whose spans are then offsets into `bytes`. `method` is
/// the request's: it decides whether a body follows.
///
/// # Errors
/// The rule that the bytes break, as soon as they break it. After an error the connection must be closed: where the
/// next message begins is unknown.
#[inline]
pub fn parse_response(
    bytes: &[u8],
    limits: &Limits,
    method: Method,
    head: &mut ResponseHead,
) -> Result<Parse, ResponseError> {
    head.clear();
    if let Some((facts, len)) = plain::response(bytes, limits, head)
        && let Ok(framing) = conclude(&facts, method, head)
    {
        return Ok(Parse::Complete(Framing { len: len as u32, ..framing }));
    }
    parse_any(bytes, limits, method, head)
}

/// Of any form.
#[inline(never)]
pub(super) fn parse_any(
    bytes: &[u8],
    limits: &Limits,
    method: Method,
    head: &mut ResponseHead,
) -> Result<Parse, ResponseError> {
    if usize::from(limits.fields) <= COMMON_LINES {
        let mut lines: Lines<'_, COMMON_LINES> = [const { MaybeUninit::uninit() }; COMMON_LINES];
        parse_with(bytes, limits, method, head, &mut lines[..usize::from(limits.fields)])
    } else {
        parse_many(bytes, limits, method, head)
    }
}

/// Apart, so that the common path does not reserve the large table on its stack.
#[cold]
#[inline(never)]
fn parse_many(bytes: &[u8], limits: &Limits, method: Method, head: &mut ResponseHead) -> Result<Parse, ResponseError> {
    let mut lines: Lines<'_, { Limits::FIELDS_MAX as usize }> =
        [const { MaybeUninit::uninit() }; Limits::FIELDS_MAX as usize];
    parse_with(bytes, limits, method, head, &mut lines[..usize::from(limits.fields.min(Limits::FIELDS_MAX))])
}

#[inline(always)]
fn parse_with<'b>(
    bytes: &'b [u8],
    limits: &Limits,
    method: Method,
    head: &mut ResponseHead,
    lines: &mut [MaybeUninit<httparse::Header<'b>>],
) -> Result<Parse, ResponseError> {
    head.clear();
    // Only servers are told to tolerate an empty line (RFC 9112 section 2.2); before a response it is a left-over.
    if let [b'\r' | b'\n', ..] = bytes {
        return Err(HeadError::LeadingEmptyLine.into());
    }
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let len = match config.parse_response_with_uninit_headers(&mut response, bytes, lines) {
        Ok(httparse::Status::Complete(len)) => len,
        Ok(httparse::Status::Partial) => return partial(bytes, limits),
        Err(error) => match minor::later_minor(bytes, 0, b" ") {
            Some(digit) => return parse_as_http11(bytes, digit, limits, method, head),
            None => return Err(diagnose::response(bytes, limits, error)),
        },
    };
    if len > limits.head_bytes as usize {
        return Err(HeadError::HeadTooLarge.into());
    }
    let (Some(minor), Some(status)) = (response.version, response.code) else {
        return Err(HeadError::Malformed.into());
    };
    // From here on the head is what counts, and an offset beyond it is a bug.
    let bytes = &bytes[..len];
    head.version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    head.status = status;
    head.reason = reason_span(bytes)?;
    if !bytes.ends_with(b"\r\n") {
        return Err(HeadError::BareLf.into());
    }
    let facts = index_fields(bytes, response.headers, limits, &mut head.fields)?;
    let mut framing = conclude(&facts, method, head)?;
    framing.len = len as u32;
    Ok(Parse::Complete(framing))
}

#[cold]
#[inline(never)]
fn parse_as_http11(
    bytes: &[u8],
    digit: usize,
    limits: &Limits,
    method: Method,
    head: &mut ResponseHead,
) -> Result<Parse, ResponseError> {
    parse_response(&minor::as_http11(bytes, digit, limits), limits, method, head)
}

/// The tokeniser drops a reason with obs-text and takes LF alone for the line's end, so the line is read again here.
/// A status line without the space after the status is tolerated, as every proxy does: the line sent on is our own.
#[inline]
fn reason_span(bytes: &[u8]) -> Result<Span, ResponseError> {
    let line_end = memchr(b'\n', bytes).ok_or(HeadError::Malformed)?;
    let end = line_end - 1;
    if bytes[end] != b'\r' {
        return Err(HeadError::BareLf.into());
    }
    Ok(Span::new((STATUS_END + 1).min(end), end))
}

/// What an incomplete head comes to: it must still have room to end within the limits.
#[cold]
fn partial(bytes: &[u8], limits: &Limits) -> Result<Parse, ResponseError> {
    match bytes.len() >= limits.head_bytes as usize {
        true => Err(HeadError::HeadTooLarge.into()),
        false => Ok(Parse::Partial),
    }
}

/// Framing and persistence, once all fields are known (RFC 9112 section 6.3).
#[inline]
fn conclude(facts: &Facts, method: Method, head: &mut ResponseHead) -> Result<Framing, ResponseError> {
    match head.status {
        ..=99 => return Err(ResponseError::InvalidStatus),
        101 => return Err(ResponseError::UnaskedSwitchingProtocols),
        _ => {}
    }
    let asked = facts.framing(head.version)?;
    let never_has_length = head.status < 200 || head.status == 204;
    if never_has_length && facts.coding != Coding::Absent {
        return Err(ResponseError::TransferEncodingNotAllowed);
    }
    head.content_length = facts.content_length;
    let body = match (head.status, method) {
        (100..200 | 204 | 304, _) | (_, Method::Head) | (200..300, Method::Connect) => BodyKind::None,
        _ => asked.unwrap_or(BodyKind::UntilClose),
    };
    head.length = body.length();
    let keep_alive = facts.allows_keep_alive(head.version) && body != BodyKind::UntilClose;
    let mut framing = Framing { body, keep_alive, ..Framing::default() };
    if never_has_length && head.content_length.is_some() {
        drop_content_length(head, &mut framing);
    }
    Ok(framing)
}

/// "A server MUST NOT send a Content-Length header field in any response with a status code of 1xx (Informational) or
/// 204 (No Content)" (RFC 9110 section 8.6). A server that announces a body there may also send it: no reuse.
#[cold]
fn drop_content_length(head: &mut ResponseHead, framing: &mut Framing) {
    framing.content_length_dropped = true;
    if head.content_length.take() != Some(0) {
        framing.keep_alive = false;
    }
    for field in head.fields.as_mut_slice() {
        field.hop_by_hop |= field.id == FieldId::ContentLength;
    }
}
