//! Which rule a refused head breaks. The tokeniser only says in which part it stopped; this cold path looks again.

use memchr::memchr;

use super::{HeadError, Limits, RequestError, ResponseError};
use crate::http::grammar;

/// The rule that `bytes`, which the tokeniser refused with `error`, breaks first. They begin at the request line.
#[cold]
pub(super) fn request(bytes: &[u8], limits: &Limits, error: httparse::Error) -> RequestError {
    use httparse::Error;
    match error {
        Error::TooManyHeaders => too_many(bytes, limits).into(),
        Error::HeaderName | Error::HeaderValue => field_section(bytes).into(),
        Error::Version => request_version(bytes),
        Error::Token => request_line(bytes),
        Error::NewLine => match line_of(bytes) {
            // Inside the request line something else than CRLF follows the version.
            (line, _) if line.ends_with(b"HTTP/1.1") || line.ends_with(b"HTTP/1.0") => field_section(bytes).into(),
            (line, _) if line.contains(&b'\r') => HeadError::BareCr.into(),
            _ => RequestError::InvalidRequestLine,
        },
        Error::Status => HeadError::Malformed.into(),
    }
}

/// The rule that `bytes`, which the tokeniser refused with `error`, breaks first. They begin at the status line.
#[cold]
pub(super) fn response(bytes: &[u8], limits: &Limits, error: httparse::Error) -> ResponseError {
    use httparse::Error;
    match error {
        Error::TooManyHeaders => too_many(bytes, limits).into(),
        Error::HeaderName | Error::HeaderValue | Error::NewLine => field_section(bytes).into(),
        Error::Version => version(bytes.get(..8).unwrap_or(bytes)).into(),
        Error::Status | Error::Token => ResponseError::InvalidStatusLine,
    }
}

/// The first line without its LF and CR, and what follows; all of it and nothing when there is no LF.
fn line_of(bytes: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr(b'\n', bytes) {
        Some(end) => {
            let line = &bytes[..end];
            (line.strip_suffix(b"\r").unwrap_or(line), Some(&bytes[end + 1..]))
        }
        None => (bytes, None),
    }
}

/// Too many lines, unless one of them is over the limit for one or a bare LF made two of one.
fn too_many(bytes: &[u8], limits: &Limits) -> HeadError {
    match bytes.len() > limits.head_bytes as usize && memchr(b'\n', &bytes[..limits.head_bytes as usize]).is_none() {
        true => HeadError::HeadTooLarge,
        false => HeadError::TooManyFields,
    }
}

/// The method or the target is wrong.
fn request_line(bytes: &[u8]) -> RequestError {
    let (line, _) = line_of(bytes);
    let Some(space) = memchr(b' ', line) else {
        return match grammar::is_token(line) {
            true => RequestError::InvalidRequestLine,
            false => RequestError::InvalidMethod,
        };
    };
    if space == 0 {
        return RequestError::InvalidRequestLine;
    }
    if !grammar::is_token(&line[..space]) {
        return RequestError::InvalidMethod;
    }
    let rest = &line[space + 1..];
    match memchr(b' ', rest) {
        // Two spaces, or the line ends with the target, as HTTP/0.9 had it.
        Some(0) => RequestError::InvalidRequestLine,
        None if rest.iter().all(|b| *b > b' ' && *b != 0x7f) => RequestError::InvalidRequestLine,
        _ if rest.contains(&b'\r') => HeadError::BareCr.into(),
        _ => RequestError::InvalidTarget,
    }
}

/// What stands where the version should is not `HTTP/1.0` or `HTTP/1.1`.
fn request_version(bytes: &[u8]) -> RequestError {
    let (line, _) = line_of(bytes);
    let Some(word) = line.splitn(3, |b| *b == b' ').nth(2) else { return RequestError::InvalidRequestLine };
    // White space inside the target, or a third space before the version.
    if word.contains(&b' ') || word.contains(&b'\t') || word.is_empty() {
        return RequestError::InvalidRequestLine;
    }
    version(word).into()
}

/// "A server can send a 505 (HTTP Version Not Supported) response if it wishes, for any reason, to refuse service of
/// the client's major protocol version" (RFC 9110 section 2.5). Of responses a minor version above 1 is refused too: no
/// server may answer with one that it was not asked in.
fn version(word: &[u8]) -> HeadError {
    match word {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor] if minor.is_ascii_digit() => HeadError::VersionNotSupported,
        [b'H', b'T', b'T', b'P', b'/', b'2'..=b'9', rest @ ..] => match rest {
            [] | [b'.'] | [b' ', ..] => HeadError::VersionNotSupported,
            [b'.', minor, ..] if minor.is_ascii_digit() => HeadError::VersionNotSupported,
            _ => HeadError::InvalidVersion,
        },
        _ => HeadError::InvalidVersion,
    }
}

/// The first wrong line after the start line.
fn field_section(bytes: &[u8]) -> HeadError {
    let (_, rest) = line_of(bytes);
    if start_line_ends_in_bare_lf(bytes) {
        return HeadError::BareLf;
    }
    let mut rest = rest.unwrap_or_default();
    let mut is_first = true;
    loop {
        let end = memchr(b'\n', rest);
        let raw = &rest[..end.unwrap_or(rest.len())];
        let line = raw.strip_suffix(b"\r").unwrap_or(raw);
        if let Some(error) = field_line(line, is_first, end.is_some()) {
            return error;
        }
        match end {
            Some(_) if raw.len() == line.len() => return HeadError::BareLf,
            Some(end) => rest = &rest[end + 1..],
            None => return HeadError::Malformed,
        }
        is_first = false;
    }
}

fn start_line_ends_in_bare_lf(bytes: &[u8]) -> bool {
    memchr(b'\n', bytes).is_some_and(|end| end == 0 || bytes[end - 1] != b'\r')
}

/// What is wrong with one line; `is_whole` when its end has come.
fn field_line(line: &[u8], is_first: bool, is_whole: bool) -> Option<HeadError> {
    match line.first() {
        None => return None,
        Some(b' ' | b'\t') if is_first => return Some(HeadError::SpaceBeforeFirstField),
        Some(b' ' | b'\t') => return Some(HeadError::ObsFold),
        Some(b'\r') => return Some(HeadError::BareCr),
        Some(b':') => return Some(HeadError::EmptyFieldName),
        Some(_) => {}
    }
    let Some(colon) = memchr(b':', line) else {
        let name_so_far = line.strip_suffix(b"\r").unwrap_or(line);
        return match grammar::is_token(name_so_far) || is_whole {
            true => Some(HeadError::MissingColon),
            false => Some(HeadError::InvalidFieldName),
        };
    };
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if !grammar::is_token(name) {
        return Some(match name.trim_ascii_end() {
            trimmed if trimmed.len() < name.len() && grammar::is_token(trimmed) => HeadError::SpaceBeforeColon,
            _ => HeadError::InvalidFieldName,
        });
    }
    let wrong = value.iter().find(|b| !grammar::is_value_byte(**b))?;
    Some(if *wrong == b'\r' { HeadError::BareCr } else { HeadError::InvalidFieldValue })
}
