//! The head of a request (RFC 9112 sections 3, 5 and 6).

use std::mem::MaybeUninit;

use memchr::{memchr, memchr2};

use super::index::{COMMON_LINES, Facts, Lines, index_fields};
use super::words::{Word, find};
use super::{BodyKind, Framing, HeadError, Limits, Parse, RequestError, diagnose, minor, plain};
use crate::http::{
    FieldId, ImpliedPath, Method, RequestHead, Scheme, Span, TargetForm, Version, grammar, is_valid_authority,
};

/// The longest registered method, UPDATEREDIRECTREF, has 17 bytes.
const METHOD_BYTES_MAX: usize = 32;

/// Parses a request head at the start of `bytes` into `head`, whose spans are then offsets into `bytes`.
///
/// # Errors
/// The rule that the bytes break, as soon as they break it. After an error the connection must be closed: where the
/// next message begins is unknown.
#[inline]
pub fn parse_request(bytes: &[u8], limits: &Limits, head: &mut RequestHead) -> Result<Parse, RequestError> {
    head.clear();
    if let Some((facts, len)) = plain::request(bytes, limits, head)
        && let Ok(framing) = conclude(&facts, &bytes[..len], head)
    {
        return Ok(Parse::Complete(framing));
    }
    parse_any(bytes, limits, head)
}

/// Of any form.
#[inline(never)]
pub(super) fn parse_any(bytes: &[u8], limits: &Limits, head: &mut RequestHead) -> Result<Parse, RequestError> {
    if usize::from(limits.fields) <= COMMON_LINES {
        let mut lines: Lines<'_, COMMON_LINES> = [const { MaybeUninit::uninit() }; COMMON_LINES];
        parse_with(bytes, limits, head, &mut lines[..usize::from(limits.fields)])
    } else {
        parse_many(bytes, limits, head)
    }
}

/// Apart, so that the common path does not reserve the large table on its stack.
#[cold]
#[inline(never)]
fn parse_many(bytes: &[u8], limits: &Limits, head: &mut RequestHead) -> Result<Parse, RequestError> {
    let mut lines: Lines<'_, { Limits::FIELDS_MAX as usize }> =
        [const { MaybeUninit::uninit() }; Limits::FIELDS_MAX as usize];
    parse_with(bytes, limits, head, &mut lines[..usize::from(limits.fields.min(Limits::FIELDS_MAX))])
}

#[inline(always)]
fn parse_with<'b>(
    bytes: &'b [u8],
    limits: &Limits,
    head: &mut RequestHead,
    lines: &mut [MaybeUninit<httparse::Header<'b>>],
) -> Result<Parse, RequestError> {
    head.clear();
    let Some(skipped) = skip_empty_lines(bytes)? else { return Ok(Parse::Partial) };
    let mut request = httparse::Request::new(&mut []);
    let len = match request.parse_with_uninit_headers(&bytes[skipped..], lines) {
        Ok(httparse::Status::Complete(len)) => skipped + len,
        Ok(httparse::Status::Partial) => return partial(bytes, skipped, limits),
        Err(error) => match later_minor(&bytes[skipped..]) {
            Some(at) => return parse_as_http11(bytes, skipped + at, limits, head),
            None => return Err(diagnose::request(&bytes[skipped..], limits, error)),
        },
    };
    if len > limits.head_bytes as usize {
        return Err(HeadError::HeadTooLarge.into());
    }
    let (Some(method), Some(target), Some(minor)) = (request.method, request.path, request.version) else {
        return Err(HeadError::Malformed.into());
    };
    // From here on the head is what counts, and an offset beyond it is a bug.
    let bytes = &bytes[..len];
    head.version = if minor == 0 { Version::Http10 } else { Version::Http11 };
    head.method_span = Span::within(method.as_bytes(), bytes);
    head.method = Method::from_bytes(method.as_bytes());
    head.path = Span::within(target.as_bytes(), bytes);
    let line_end = head.path.end as usize + " HTTP/1.1".len();
    if !bytes[line_end..].starts_with(b"\r\n") || !bytes.ends_with(b"\r\n") {
        return Err(HeadError::BareLf.into());
    }
    if method.len() > METHOD_BYTES_MAX {
        return Err(RequestError::MethodTooLong);
    }
    parse_target(target, bytes, limits, head)?;
    let facts = index_fields(bytes, request.headers, limits, &mut head.fields)?;
    Ok(Parse::Complete(conclude(&facts, bytes, head)?))
}

/// The bytes to skip before the request line: "a server ... SHOULD ignore at least one empty line (CRLF) received
/// prior to the request-line" (RFC 9112 section 2.2). Up to two are. `None` when that cannot be told yet.
#[inline]
fn skip_empty_lines(bytes: &[u8]) -> Result<Option<usize>, HeadError> {
    match bytes.first() {
        Some(b'\r' | b'\n') | None => count_empty_lines(bytes),
        Some(_) => Ok(Some(0)),
    }
}

#[cold]
fn count_empty_lines(bytes: &[u8]) -> Result<Option<usize>, HeadError> {
    const MOST: usize = 2;
    let mut rest = bytes;
    loop {
        let skipped = bytes.len() - rest.len();
        rest = match rest {
            [] | [b'\r'] => return Ok(None),
            [b'\r' | b'\n', ..] if skipped == MOST * 2 => return Err(HeadError::LeadingEmptyLine),
            [b'\r', b'\n', rest @ ..] => rest,
            [b'\r', ..] => return Err(HeadError::BareCr),
            [b'\n', ..] => return Err(HeadError::BareLf),
            _ => return Ok(Some(skipped)),
        };
    }
}

/// Where the request line that `bytes` begin with has the digit of a later minor version.
#[cold]
fn later_minor(bytes: &[u8]) -> Option<usize> {
    let method = memchr(b' ', bytes)?;
    let target = memchr(b' ', &bytes[method + 1..])?;
    minor::later_minor(bytes, method + target + 2, b"\r\n")
}

#[cold]
#[inline(never)]
fn parse_as_http11(bytes: &[u8], digit: usize, limits: &Limits, head: &mut RequestHead) -> Result<Parse, RequestError> {
    parse_request(&minor::as_http11(bytes, digit, limits), limits, head)
}

/// What can be known of a head that was refused or did not come to its end: its method and its target, where the line
/// holds them. For logs.
#[cold]
pub fn parse_line(bytes: &[u8], head: &mut RequestHead) -> bool {
    head.clear();
    let start = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or(bytes.len());
    let line = &bytes[start..];
    let line = &line[..memchr2(b'\r', b'\n', line).unwrap_or(line.len())];
    let Some(space) = memchr(b' ', line) else { return false };
    let (method, target) = (&line[..space], &line[space + 1..]);
    let target = &target[..memchr(b' ', target).unwrap_or(target.len())];
    if !grammar::is_token(method) || target.is_empty() {
        return false;
    }
    head.method_span = Span::within(method, bytes);
    head.method = Method::from_bytes(method);
    head.path = Span::within(target, bytes);
    head.path_len = memchr(b'?', target).unwrap_or(target.len()) as u32;
    true
}

/// What an incomplete head comes to: it must still have room to end within the limits.
#[cold]
fn partial(bytes: &[u8], skipped: usize, limits: &Limits) -> Result<Parse, RequestError> {
    let line = &bytes[skipped..];
    let line = &line[..memchr(b'\n', line).unwrap_or(line.len())];
    let method = memchr(b' ', line).unwrap_or(line.len());
    if method > METHOD_BYTES_MAX {
        return Err(RequestError::MethodTooLong);
    }
    let target = line.get(method + 1..).unwrap_or_default();
    if memchr(b' ', target).unwrap_or(target.len()) > limits.target_bytes as usize {
        return Err(RequestError::TargetTooLong);
    }
    match bytes.len() >= limits.head_bytes as usize {
        true => Err(HeadError::HeadTooLarge.into()),
        false => Ok(Parse::Partial),
    }
}

/// Fills form, scheme, authority and path from the target; `head.path` is the target's span, and method is known.
#[inline]
fn parse_target(target: &str, bytes: &[u8], limits: &Limits, head: &mut RequestHead) -> Result<(), RequestError> {
    let raw = target.as_bytes();
    if raw.len() > limits.target_bytes as usize {
        return Err(RequestError::TargetTooLong);
    }
    // The tokeniser lets UTF-8 pass; a URI is ASCII (RFC 3986 section 2).
    if !target.is_ascii() {
        return Err(RequestError::InvalidTarget);
    }
    match head.method {
        Method::Connect => return Err(refuse_connect(raw)),
        Method::Trace => return Err(RequestError::TraceNotAllowed),
        _ => {}
    }
    match raw {
        [b'/', ..] => split_query(bytes, head),
        b"*" if head.method == Method::Options => {
            head.target_form = TargetForm::Asterisk;
            head.path_len = 1;
            Ok(())
        }
        b"*" => Err(RequestError::AsteriskWithoutOptions),
        _ => parse_absolute(raw, bytes, head),
    }
}

/// Finds where the query begins, and refuses a fragment.
#[inline]
fn split_query(bytes: &[u8], head: &mut RequestHead) -> Result<(), RequestError> {
    let path = head.path.of(bytes);
    head.path_len = path.len() as u32;
    if let Some(at) = memchr2(b'?', b'#', path) {
        head.path_len = at as u32;
        if memchr(b'#', &path[at..]).is_some() {
            return Err(RequestError::TargetFragment);
        }
    }
    Ok(())
}

/// `scheme "://" authority path-abempty [ "?" query ]` with http or https (RFC 9112 section 3.2.2).
#[cold]
fn parse_absolute(target: &[u8], bytes: &[u8], head: &mut RequestHead) -> Result<(), RequestError> {
    let Some(colon) = memchr(b':', target) else { return Err(RequestError::InvalidTarget) };
    let (scheme, rest) = target.split_at(colon);
    let Some(rest) = rest.strip_prefix(b"://") else { return Err(RequestError::InvalidTarget) };
    head.scheme = match scheme {
        _ if scheme.eq_ignore_ascii_case(b"http") => Some(Scheme::Http),
        _ if scheme.eq_ignore_ascii_case(b"https") => Some(Scheme::Https),
        _ => return Err(RequestError::InvalidScheme),
    };
    head.target_form = TargetForm::Absolute;
    let authority_len = rest.iter().position(|b| matches!(b, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority_len);
    if !is_valid_authority(authority) {
        return Err(RequestError::InvalidAuthority);
    }
    head.authority = Span::within(authority, bytes);
    head.path = Span::within(path, bytes);
    head.implied_path = match path.first() {
        None if head.method == Method::Options => ImpliedPath::Asterisk,
        None | Some(b'?') => ImpliedPath::Slash,
        Some(_) => ImpliedPath::None,
    };
    split_query(bytes, head)
}

/// CONNECT takes authority-form, with the port required (RFC 9112 section 3.2.3); a valid one is refused as well.
#[cold]
fn refuse_connect(target: &[u8]) -> RequestError {
    let has_port = target.last().is_some_and(u8::is_ascii_digit)
        && target.iter().rposition(|b| *b == b':').is_some_and(|at| !target[at..].contains(&b']'));
    match has_port && is_valid_authority(target) {
        true => RequestError::ConnectNotSupported,
        false => RequestError::InvalidTarget,
    }
}

/// Whether this is letters, digits, hyphens and dots alone, as nearly all names of hosts are: valid without a closer look.
#[inline]
fn is_name(host: Span, bytes: &[u8]) -> bool {
    let is_other = |word: Word| {
        let no_letter = word.folded().minus(b'a').down_to(26);
        // A slash stands between dot and digits.
        let no_digit = word.minus(b'-').down_to(b'9' - b'-' + 1).or(word.equal(b'/'));
        no_letter.and(no_digit)
    };
    !host.is_empty() && find(&bytes[host.start as usize..], bytes, is_other) >= host.len()
}

/// Host, framing, persistence and expectation, once all fields are known.
#[inline(always)]
fn conclude(facts: &Facts, bytes: &[u8], head: &mut RequestHead) -> Result<Framing, RequestError> {
    match facts.hosts {
        0 if head.version == Version::Http11 => return Err(RequestError::MissingHost),
        0 => {}
        1 => {
            let host = facts.host.of(bytes);
            // HTTP/1.0 has no virtual hosts, and an empty Host there means none.
            let is_absent = host.is_empty() && head.version == Version::Http10;
            if !is_absent && !is_name(facts.host, bytes) && !is_valid_authority(host) {
                return Err(RequestError::InvalidHost);
            }
            // "... MUST ignore the received Host header field (if any) and instead replace it with the host
            // information of the request-target" (RFC 9112 section 3.2.2).
            if head.target_form != TargetForm::Absolute {
                head.authority = facts.host;
            }
        }
        _ => return Err(RequestError::DuplicateHost),
    }
    let body = facts.framing(head.version)?.unwrap_or(BodyKind::None);
    head.length = body.length();
    // "A server that receives a 100-continue expectation in an HTTP/1.0 request MUST ignore that expectation" (RFC
    // 9110 section 10.1.1).
    let expects = facts.expect && head.version == Version::Http11;
    if expects && facts.unknown_expectation {
        return Err(RequestError::UnknownExpectation);
    }
    Ok(Framing {
        len: bytes.len() as u32,
        body,
        keep_alive: facts.allows_keep_alive(head.version),
        expect_continue: expects && !body.is_empty(),
        upgrade: facts.upgrade && head.fields.contains(FieldId::Upgrade),
        content_length_dropped: false,
    })
}
