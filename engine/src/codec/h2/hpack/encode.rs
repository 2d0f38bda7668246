//! Encoding header blocks without a dynamic table: fields of the static table by index, others as literals without
//! indexing, strings as they are.
//!
//! Everything appends. The Huffman code would save the peer's link some bytes for much of both sides' time. The callers
//! pass parts that a codec or the configuration has validated.

use super::integer;
use super::statics::{self, index};
use crate::http::{FieldId, grammar};

/// A cookie below this many bytes is short enough to be guessed in a table that others fill (RFC 7541 section 7.1).
const COOKIE_SECURE: usize = 20;

const NEVER_INDEXED: u8 = 0x10;

/// What the four bits of a literal's index hold at most; the rest is added.
const PREFIX: u8 = 15;

/// Begins a connection's first block: the peer's decoder has to keep no table, whatever SETTINGS_HEADER_TABLE_SIZE it
/// announces and changes.
pub fn begin(out: &mut Vec<u8>) {
    integer::write(out, 0x20, 5, 0);
}

/// `:status`. `status` has three digits.
#[inline]
pub fn status(out: &mut Vec<u8>, status: u16) {
    debug_assert!((100..1000).contains(&status));
    let of_table = match status {
        200 => index::STATUS_200,
        204 => index::STATUS_204,
        206 => index::STATUS_206,
        304 => index::STATUS_304,
        400 => index::STATUS_400,
        404 => index::STATUS_404,
        500 => index::STATUS_500,
        _ => {
            let digit = |place: u16| b'0' + (status / place % 10) as u8;
            return out.extend_from_slice(&[index::STATUS_200, 3, digit(100), digit(10), digit(1)]);
        }
    };
    indexed(out, of_table);
}

/// `:method`.
#[inline]
pub fn method(out: &mut Vec<u8>, method: &[u8]) {
    debug_assert!(grammar::is_token(method));
    match method {
        b"GET" => indexed(out, index::METHOD_GET),
        b"POST" => indexed(out, index::METHOD_POST),
        _ => literal(out, 0, index::METHOD_GET, method),
    }
}

/// `:scheme`.
#[inline]
pub fn scheme(out: &mut Vec<u8>, https: bool) {
    indexed(out, if https { index::SCHEME_HTTPS } else { index::SCHEME_HTTP });
}

/// `:path`, in two pieces as after a rewrite.
#[inline]
pub fn path(out: &mut Vec<u8>, path: [&[u8]; 2]) {
    debug_assert!(path.iter().all(|piece| piece.iter().all(u8::is_ascii_graphic)));
    if let [b"/", b""] | [b"", b"/"] = path {
        return indexed(out, index::PATH_SLASH);
    }
    out.push(index::PATH_SLASH);
    integer::write(out, 0, 7, path[0].len() + path[1].len());
    out.extend_from_slice(path[0]);
    out.extend_from_slice(path[1]);
}

/// `:authority`.
#[inline]
pub fn authority(out: &mut Vec<u8>, authority: &[u8]) {
    debug_assert!(grammar::is_value(authority));
    literal(out, 0, index::AUTHORITY, authority);
}

/// A field. `name` may be in any case and is written in lower case; with an id it is not looked at. `never_indexed`: it
/// came as such; credentials become it here.
#[inline]
pub fn field(out: &mut Vec<u8>, id: FieldId, name: &[u8], value: &[u8], never_indexed: bool) {
    match id {
        FieldId::Unknown => unknown(out, name, value, never_indexed),
        id => known(out, id, value, never_indexed),
    }
}

/// The same for a name without an id.
pub fn unknown(out: &mut Vec<u8>, name: &[u8], value: &[u8], never_indexed: bool) {
    debug_assert!(grammar::is_token(name) && grammar::is_value(value));
    out.reserve(name.len() + value.len() + 16);
    out.push(if never_indexed { NEVER_INDEXED } else { 0 });
    string(out, name);
    let start = out.len() - name.len();
    out[start..].make_ascii_lowercase();
    string(out, value);
}

/// The same for a name with an id.
pub fn known(out: &mut Vec<u8>, id: FieldId, value: &[u8], never_indexed: bool) {
    debug_assert!(id != FieldId::Unknown && grammar::is_value(value));
    let is_secret = match id {
        FieldId::Authorization | FieldId::ProxyAuthorization => true,
        FieldId::Cookie => value.len() < COOKIE_SECURE,
        _ => false,
    };
    let flags = if never_indexed || is_secret { NEVER_INDEXED } else { 0 };
    match statics::BY_ID[id as usize] {
        0 => {
            let name = id.name().as_bytes();
            out.reserve(name.len() + value.len() + 16);
            out.push(flags);
            string(out, name);
            string(out, value);
        }
        index::ACCEPT_ENCODING if flags == 0 && value == b"gzip, deflate" => indexed(out, index::ACCEPT_ENCODING),
        index => literal(out, flags, index, value),
    }
}

/// A field of the static table (RFC 7541 section 6.1).
#[inline]
fn indexed(out: &mut Vec<u8>, index: u8) {
    out.push(0x80 | index);
}

/// A literal whose name is in the static table (RFC 7541 sections 6.2.2 and 6.2.3).
#[inline]
fn literal(out: &mut Vec<u8>, flags: u8, index: u8, value: &[u8]) {
    out.reserve(value.len() + 16);
    // An index of the static table needs at most one byte behind the prefix.
    match index.checked_sub(PREFIX) {
        None => out.push(flags | index),
        Some(more) => out.extend_from_slice(&[flags | PREFIX, more]),
    }
    string(out, value);
}

/// Inlined, since it runs for every name and value: its frame would take as many instructions as its work.
#[inline(always)]
fn string(out: &mut Vec<u8>, value: &[u8]) {
    integer::write(out, 0, 7, value.len());
    out.extend_from_slice(value);
}
