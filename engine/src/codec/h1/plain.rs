//! Heads in their plain form, tokenised and indexed in one pass: HTTP/1.1, one of the common methods with a target in
//! origin-form, each field line as `name: value CRLF` with a value and no other white space around it.
//!
//! Nothing is refused here. Of whatever is not plain, or breaks a rule, or has not come to its end, `None` is said, and
//! the tokeniser with the rules around it decides. What is taken here must be what they would have taken, in the same
//! spans; tests and the fuzzer compare the two.

use super::Limits;
use super::index::Facts;
use super::words::{Word, find};
use crate::http::{Field, FieldId, Fields, Method, RequestHead, ResponseHead, Span, grammar};

/// A request's line and fields; `conclude` is still to come.
#[inline]
pub(super) fn request(bytes: &[u8], limits: &Limits, head: &mut RequestHead) -> Option<(Facts, usize)> {
    let (method, method_len) = method(bytes)?;
    let start = method_len + 1;
    // The word itself has marks where a byte is not ASCII.
    let is_outside = |word: Word| word.up_to(b' ').or(word.equal(0x7f)).or(word).or(word.equal(b'#'));
    let target = &bytes[start..];
    let mut len = find(target, bytes, |word| is_outside(word).or(word.equal(b'?')));
    head.path_len = len as u32;
    if let Some(query @ [b'?', ..]) = target.get(len..) {
        len += find(query, bytes, is_outside);
    }
    let end = start + len;
    let fields_start = end + b" HTTP/1.1\r\n".len();
    if bytes.get(end..fields_start)? != b" HTTP/1.1\r\n" || bytes[start] != b'/' {
        return None;
    }
    if end - start > limits.target_bytes as usize {
        return None;
    }
    head.method = method;
    head.method_span = Span::new(0, method_len);
    head.path = Span::new(start, end);
    fields(bytes, fields_start, limits, &mut head.fields)
}

/// A method with its length, and a space behind it.
#[inline]
fn method(bytes: &[u8]) -> Option<(Method, usize)> {
    Some(match bytes {
        [b'G', b'E', b'T', b' ', ..] => (Method::Get, 3),
        [b'P', b'O', b'S', b'T', b' ', ..] => (Method::Post, 4),
        [b'P', b'U', b'T', b' ', ..] => (Method::Put, 3),
        [b'H', b'E', b'A', b'D', b' ', ..] => (Method::Head, 4),
        [b'P', b'A', b'T', b'C', b'H', b' ', ..] => (Method::Patch, 5),
        [b'D', b'E', b'L', b'E', b'T', b'E', b' ', ..] => (Method::Delete, 6),
        [b'O', b'P', b'T', b'I', b'O', b'N', b'S', b' ', ..] => (Method::Options, 7),
        _ => return None,
    })
}

/// A response's line and fields; `conclude` is still to come.
#[inline]
pub(super) fn response(bytes: &[u8], limits: &Limits, head: &mut ResponseHead) -> Option<(Facts, usize)> {
    let [line @ .., b' '] = bytes.first_chunk::<13>()? else { return None };
    let [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'1', b' ', hundreds @ b'1'..=b'9', tens, ones] = line else {
        return None;
    };
    if !tens.is_ascii_digit() || !ones.is_ascii_digit() {
        return None;
    }
    let digit = |byte: &u8| u16::from(byte - b'0');
    head.status = 100 * digit(hundreds) + 10 * digit(tens) + digit(ones);
    let start = line.len() + 1;
    let end = start + find(&bytes[start..], bytes, is_control);
    if bytes.get(end..end + 2)? != b"\r\n" {
        return None;
    }
    head.reason = Span::new(start, end);
    fields(bytes, end + 2, limits, &mut head.fields)
}

/// Control characters, of which a plain value has none: HTAB is for the tokeniser.
#[inline(always)]
fn is_control(word: Word) -> Word {
    word.up_to(0x1f).or(word.equal(0x7f))
}

/// The field lines from `at` to the empty line, what they say of the message, and the head's length.
#[inline]
fn fields(bytes: &[u8], mut at: usize, limits: &Limits, fields: &mut Fields) -> Option<(Facts, usize)> {
    let mut facts = Facts::default();
    let most = usize::from(limits.fields.min(Limits::FIELDS_MAX));
    let mut rest = bytes.get(at..)?;
    while !rest.starts_with(b"\r\n") {
        if fields.len() >= most {
            return None;
        }
        let Line { name, value, id, behind } = line(rest, bytes)?;
        let name_end = at + name.len();
        let end = name_end + SEPARATOR.len() + value.len();
        if end - at > limits.field_bytes as usize {
            return None;
        }
        let (name, span) = (Span::new(at, name_end), Span::new(name_end + SEPARATOR.len(), end));
        facts.note(id, span, value).ok()?;
        let hop_by_hop = id.is_hop_by_hop();
        fields.push(Field { name, value: span, id, hop_by_hop, never_indexed: false, is_canonical: true });
        (at, rest) = (end + 2, behind);
    }
    let len = at + 2;
    (len <= limits.head_bytes as usize && !facts.nominates).then_some((facts, len))
}

const SEPARATOR: &[u8] = b": ";

struct Line<'b> {
    name: &'b [u8],
    value: &'b [u8],
    id: FieldId,
    /// What follows its CRLF.
    behind: &'b [u8],
}

/// The line that `bytes` begin with, the last part of `whole`.
#[inline(always)]
fn line<'b>(bytes: &'b [u8], whole: &[u8]) -> Option<Line<'b>> {
    let colon = find(bytes, whole, |word| word.equal(b':').or(word.up_to(b' ')));
    let (name, behind) = bytes.split_at_checked(colon)?;
    let value = behind.strip_prefix(SEPARATOR)?;
    let (value, behind) = value.split_at_checked(find(value, whole, is_control))?;
    let behind = behind.strip_prefix(b"\r\n")?;
    let (b'!'..=0xff, b'!'..=0xff) = (*value.first()?, *value.last()?) else { return None };
    // Of a name that is known, the folding of `lookup` is exact: there is no byte below 0x21 in it.
    let id = FieldId::lookup(name);
    (id != FieldId::Unknown || grammar::is_token(name)).then_some(Line { name, value, id, behind })
}
