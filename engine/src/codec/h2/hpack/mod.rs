//! HPACK (RFC 7541): header blocks of HTTP/2.
//!
//! [`Decoder`] reads a connection's blocks into an arena that the caller owns. A field of either table comes with its
//! [`FieldId`] and with the verdict of its validation, so that what a peer repeats costs one copy and is neither looked
//! up nor scanned again. [`encode`] writes blocks without a dynamic table.

mod decode;
pub mod encode;
mod error;
mod huffman;
mod integer;
mod statics;
mod table;
#[cfg(test)]
mod tests;

pub use decode::{Budget, Decoded, Decoder};
pub use error::Error;

use crate::http::{FieldId, grammar};

/// What SETTINGS_HEADER_TABLE_SIZE is before it is announced (RFC 9113 section 6.5.2).
pub const DEFAULT_TABLE_SIZE: u32 = 4096;

/// What a field takes of a table and of a budget in addition to its name and value (RFC 7541 section 4.1, RFC 9113
/// section 6.5.2).
pub const FIELD_OVERHEAD: u32 = 32;

/// A pseudo-header field (RFC 9113 section 8.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pseudo {
    Authority,
    Method,
    Path,
    /// Of an extended CONNECT (RFC 8441 section 4).
    Protocol,
    Scheme,
    Status,
    /// Any other name that begins with a colon; such a field is never valid.
    Unknown,
}

impl Pseudo {
    /// What a name that begins with a colon is.
    fn lookup(name: &[u8]) -> Self {
        match name {
            b":authority" => Pseudo::Authority,
            b":method" => Pseudo::Method,
            b":path" => Pseudo::Path,
            b":protocol" => Pseudo::Protocol,
            b":scheme" => Pseudo::Scheme,
            b":status" => Pseudo::Status,
            _ => Pseudo::Unknown,
        }
    }
}

/// What is known of a name once it was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Name {
    id: FieldId,
    pseudo: Option<Pseudo>,
    is_valid: bool,
}

impl Name {
    /// A token without upper-case letters (RFC 9113 section 8.2.1), or the name of a pseudo-header field.
    fn of(name: &[u8]) -> Self {
        if name.first() == Some(&b':') {
            let pseudo = Pseudo::lookup(name);
            return Self { id: FieldId::Unknown, pseudo: Some(pseudo), is_valid: pseudo != Pseudo::Unknown };
        }
        let is_valid = !name.is_empty() && name.iter().all(|b| grammar::is_token_byte(*b) && !b.is_ascii_uppercase());
        let id = if is_valid { FieldId::lookup(name) } else { FieldId::Unknown };
        Self { id, pseudo: None, is_valid }
    }
}

/// A value without control characters, and without white space at its ends (RFC 9113 section 8.2.1).
fn is_valid_value(value: &[u8]) -> bool {
    let is_blank = |byte: Option<&u8>| matches!(byte, Some(b' ' | b'\t'));
    grammar::is_value(value) && !is_blank(value.first()) && !is_blank(value.last())
}
