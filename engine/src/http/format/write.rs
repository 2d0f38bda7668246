//! Values become text: a line of a log, a member of a JSON object, the value of a header field.

use std::io::Write;

use super::compile::{CompiledFormat, JsonMember, LineFormat, Piece};
use super::escape::{push_field, push_json, push_markup, push_text};
use super::evaluate::{Value, evaluate};
use super::query::Decoded;
use super::time::push_time;
use super::{Record, SecondCache};
use crate::base::random::hex;
use crate::net::tls::encode_pem;

/// Where a value ends up, which decides what has to be escaped and what an absent one looks like.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Target {
    Text,
    Json,
    Field,
    /// A text of HTML or XML, or the value of an attribute in double quotes.
    Markup,
    /// A place whose length is known: nothing has to be escaped.
    Record,
}

impl Target {
    pub(super) fn push(self, bytes: &[u8], out: &mut Vec<u8>) {
        match self {
            Self::Text => push_text(bytes, out),
            Self::Json => push_json(bytes, out),
            Self::Field => push_field(bytes, out),
            Self::Markup => push_markup(bytes, out),
            Self::Record => out.extend_from_slice(bytes),
        }
    }
}

/// Appends the line for `record`. Allocates only when `out` has no room. Absent values are `-` in text; in JSON a
/// member that is one operator is `null` or a number where it can be, as in Envoy.
pub fn format_line(format: &LineFormat, record: &Record<'_>, second: &mut SecondCache, out: &mut Vec<u8>) {
    match format {
        LineFormat::Text(format) => format.pieces.iter().for_each(|piece| match piece {
            Piece::Literal(text) => out.extend_from_slice(text),
            Piece::Operator(operator) => push_value(evaluate(operator, record), second, Target::Text, out),
        }),
        LineFormat::Json(members) => {
            out.push(b'{');
            for member in members {
                push_member(member, record, second, out);
            }
            out.extend_from_slice(b"}\n");
        }
        LineFormat::Fields(fields) => fields.iter().for_each(|field| {
            let start = out.len() + LENGTH;
            out.extend_from_slice(&[0; LENGTH]);
            field.pieces.iter().for_each(|piece| match piece {
                Piece::Literal(text) => out.extend_from_slice(text),
                Piece::Operator(operator) => match evaluate(operator, record) {
                    // Within a text, as in a line: columns stay where they are.
                    Value::Absent if field.pieces.len() > 1 => out.push(b'-'),
                    value => push_value(value, second, Target::Record, out),
                },
            });
            let length = (out.len() - start) as u32;
            out[start - LENGTH..start].copy_from_slice(&length.to_le_bytes());
        }),
    }
}

/// Bytes of the length of a field.
const LENGTH: usize = size_of::<u32>();

/// Takes the next field of records from `bytes`; one operator whose value was absent is empty. `None` at the end.
pub fn take_field<'b>(bytes: &mut &'b [u8]) -> Option<&'b [u8]> {
    let (length, rest) = bytes.split_first_chunk::<LENGTH>()?;
    let (field, rest) = rest.split_at_checked(u32::from_le_bytes(*length) as usize)?;
    *bytes = rest;
    Some(field)
}

/// What the values in a body have to be made harmless for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Escape {
    Text,
    Json,
    Markup,
}

impl Escape {
    /// By the value of `content-type`.
    pub fn for_type(content_type: &str) -> Self {
        let content_type = content_type.to_ascii_lowercase();
        let media_type = content_type.split(';').next().unwrap_or_default();
        match media_type {
            _ if media_type.contains("html") || media_type.contains("xml") => Self::Markup,
            _ if media_type.contains("json") => Self::Json,
            _ => Self::Text,
        }
    }
}

/// Appends a body for `record`.
pub fn format_body(format: &LineFormat, record: &Record<'_>, escape: Escape, out: &mut Vec<u8>) {
    let second = &mut SecondCache::default();
    let target = match escape {
        Escape::Text => Target::Text,
        Escape::Json => Target::Json,
        Escape::Markup => Target::Markup,
    };
    match format {
        LineFormat::Text(format) => format.pieces.iter().for_each(|piece| match piece {
            Piece::Literal(text) => out.extend_from_slice(text),
            Piece::Operator(operator) => push_value(evaluate(operator, record), second, target, out),
        }),
        LineFormat::Json(_) | LineFormat::Fields(_) => format_line(format, record, second, out),
    }
}

/// Appends the value of a header field for `record`, and says whether there is one: Envoy adds no field with an empty
/// value. Absent values are nothing. Allocates only when `out` has no room. What is appended is a field's value (RFC 9110
/// section 5.5): control characters have become spaces, and there are none at its ends.
pub fn format_value(format: &CompiledFormat, record: &Record<'_>, out: &mut Vec<u8>) -> bool {
    let start = out.len();
    for piece in &format.pieces {
        match piece {
            Piece::Literal(text) => push_field(text, out),
            Piece::Operator(operator) => {
                push_value(evaluate(operator, record), &mut SecondCache::default(), Target::Field, out);
            }
        }
    }
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t');
    let end = out.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| (last + 1).max(start));
    out.truncate(end);
    let spaces = out[start..].iter().take_while(|byte| is_space(byte)).count();
    out.drain(start..start + spaces);
    out.len() > start
}

fn push_member(member: &JsonMember, record: &Record<'_>, second: &mut SecondCache, out: &mut Vec<u8>) {
    out.extend_from_slice(&member.lead);
    if let [Piece::Operator(operator)] = &*member.value.pieces {
        match evaluate(operator, record) {
            Value::Absent => out.extend_from_slice(b"null"),
            Value::Number(number) => push_number(number, out),
            value => {
                out.push(b'"');
                push_value(value, second, Target::Json, out);
                out.push(b'"');
            }
        }
        return;
    }
    out.push(b'"');
    for piece in &member.value.pieces {
        match piece {
            Piece::Literal(text) => push_json(text, out),
            Piece::Operator(operator) => push_value(evaluate(operator, record), second, Target::Json, out),
        }
    }
    out.push(b'"');
}

fn push_value(value: Value<'_>, second: &mut SecondCache, target: Target, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    const TAKEN: &str = "a Vec takes everything";
    match value {
        Value::Absent => match target {
            Target::Text | Target::Json | Target::Markup => out.push(b'-'),
            Target::Field | Target::Record => {}
        },
        Value::Number(number) => push_number(number, out),
        Value::Bytes(parts) => parts.iter().for_each(|part| target.push(part, out)),
        Value::Lines(lines) => lines.pieces().for_each(|piece| target.push(piece, out)),
        Value::Encoded(encoded, max) => push_decoded(encoded, max, target, out),
        // Its letters stand for themselves wherever a value ends up.
        Value::Pem(certificate, max) => {
            let start = out.len();
            encode_pem(certificate, out);
            out.truncate(out.len().min(start.saturating_add(max)));
        }
        Value::Joined(parts) => parts.iter().for_each(|part| push_joined(part, target, out)),
        Value::Details(details) => details.parts.iter().for_each(|part| match details.keep_spaces {
            true => target.push(part.as_bytes(), out),
            false => push_joined(part, target, out),
        }),
        Value::Flags { flags, long } => flags.push(long, out),
        Value::Time(unix_micros, format) => match &*format.0 {
            [] => second.push(unix_micros, out),
            pieces => push_time(pieces, unix_micros, target, out),
        },
        Value::Address(address) => write!(out, "{address}").expect(TAKEN),
        Value::Ip(address) => write!(out, "{address}").expect(TAKEN),
        Value::Network(address, len) => write!(out, "{address}/{len}").expect(TAKEN),
        Value::Uuid(uuid) => out.extend_from_slice(&uuid),
        Value::Trace(id) => [(id >> 64) as u64, id as u64].iter().for_each(|half| out.extend_from_slice(&hex(*half))),
        Value::Span(id) => out.extend_from_slice(&hex(id)),
    }
}

pub(super) fn push_number(number: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Decodes piece by piece on the stack. Pieces end between characters, so that none is taken for broken UTF-8.
fn push_decoded(encoded: &[u8], max: usize, target: Target, out: &mut Vec<u8>) {
    let mut bytes = Decoded::new(encoded).take(max);
    let mut piece = [0; 256];
    let mut len = 0;
    loop {
        while len < piece.len()
            && let Some(byte) = bytes.next()
        {
            piece[len] = byte;
            len += 1;
        }
        if len < piece.len() {
            return target.push(&piece[..len], out);
        }
        let whole = len - begun_character(&piece);
        target.push(&piece[..whole], out);
        piece.copy_within(whole.., 0);
        len -= whole;
    }
}

/// Bytes at the end that begin a character without ending it.
fn begun_character(bytes: &[u8]) -> usize {
    let tail = bytes.iter().rev().take(3);
    let Some(back) = tail.clone().position(|byte| byte & 0xc0 != 0x80) else { return 0 };
    let needed = match bytes[bytes.len() - 1 - back] {
        0xc2..=0xdf => 2,
        0xe0..=0xef => 3,
        0xf0..=0xf4 => 4,
        _ => return 0,
    };
    if back + 1 < needed { back + 1 } else { 0 }
}

/// White space becomes `_`, so that the value is one word.
fn push_joined(text: &str, target: Target, out: &mut Vec<u8>) {
    for (position, word) in text.split(char::is_whitespace).enumerate() {
        if position != 0 {
            out.push(b'_');
        }
        target.push(word.as_bytes(), out);
    }
}
