//! The pass over the fields of a head: index, line ends, framing facts, connection options.

use std::mem::MaybeUninit;

use super::{BodyKind, HeadError, Limits};
use crate::http::{Field, FieldId, Fields, Span, Version, grammar};

/// Lines that the table on the stack of the common path holds; longer heads take [`Limits::FIELDS_MAX`].
pub(super) const COMMON_LINES: usize = 128;

/// The tokeniser's table of lines, not initialised: it costs nothing until it is written.
pub(super) type Lines<'b, const N: usize> = [MaybeUninit<httparse::Header<'b>>; N];

/// Connection options that a message may name. Each is looked for among all fields.
const CONNECTION_OPTIONS_MAX: u32 = 32;

/// What the fields say about the message as a whole.
#[derive(Debug, Default)]
pub(super) struct Facts {
    pub content_length: Option<u64>,
    pub coding: Coding,
    pub host: Span,
    pub hosts: u32,
    pub expect: bool,
    pub unknown_expectation: bool,
    pub close: bool,
    pub keep_alive: bool,
    /// Connection names `upgrade`.
    pub upgrade: bool,
    connection_options: u32,
    /// Connection names a field that is not hop-by-hop anyway.
    pub nominates: bool,
}

/// What the Transfer-Encoding lines so far amount to, read as one list (RFC 9110 section 5.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Coding {
    #[default]
    Absent,
    /// `chunked`, once and last.
    Chunked,
    /// A list without `chunked`.
    Unknown,
}

/// Whether the head ends in CRLF, and the line ends at `end`; `bytes` is the whole head.
#[inline]
pub(super) fn ends_in_crlf(bytes: &[u8], mut end: usize) -> bool {
    loop {
        match bytes.get(end..end + 2) {
            Some(b"\r\n") => return true,
            Some([b' ' | b'\t', _]) => end += 1,
            _ => return false,
        }
    }
}

/// Fills `fields` from the tokeniser's lines. `bytes` is the head exactly: the lines point into it.
pub(super) fn index_fields(
    bytes: &[u8],
    lines: &[httparse::Header<'_>],
    limits: &Limits,
    fields: &mut Fields,
) -> Result<Facts, HeadError> {
    let mut facts = Facts::default();
    fields.reserve(lines.len());
    for line in lines {
        let name = Span::within(line.name.as_bytes(), bytes);
        let value = Span::within(line.value, bytes);
        // The tokeniser takes LF alone for a line end.
        if !ends_in_crlf(bytes, value.end as usize) {
            return Err(HeadError::BareLf);
        }
        if value.end - name.start > limits.field_bytes {
            return Err(HeadError::FieldTooLarge);
        }
        let id = FieldId::lookup(line.name.as_bytes());
        facts.note(id, value, line.value)?;
        let is_canonical = bytes[name.end as usize..value.start as usize] == *b": "
            && bytes[value.end as usize..].starts_with(b"\r\n");
        let hop_by_hop = id.is_hop_by_hop();
        fields.push(Field { name, value, id, hop_by_hop, never_indexed: false, is_canonical });
    }
    if facts.nominates {
        mark_nominated(bytes, fields);
    }
    Ok(facts)
}

impl Facts {
    /// Takes down what a field says of the message as a whole. Few do, and one comparison tells which.
    #[inline]
    pub fn note(&mut self, id: FieldId, span: Span, value: &[u8]) -> Result<(), HeadError> {
        use FieldId::*;
        match id {
            Host | Connection | ContentLength | TransferEncoding | Expect => self.take_down(id, span, value),
            _ => Ok(()),
        }
    }

    #[inline(always)]
    fn take_down(&mut self, id: FieldId, span: Span, value: &[u8]) -> Result<(), HeadError> {
        match id {
            FieldId::Host => {
                self.host = span;
                self.hosts += 1;
            }
            FieldId::Connection => self.note_connection(value)?,
            FieldId::ContentLength => {
                let length = grammar::content_length(value).ok_or(HeadError::InvalidContentLength)?;
                if self.content_length.replace(length).is_some() {
                    return Err(HeadError::DuplicateContentLength);
                }
            }
            FieldId::TransferEncoding => self.note_transfer_encoding(value)?,
            FieldId::Expect => {
                self.expect = true;
                self.unknown_expectation |= !value.eq_ignore_ascii_case(b"100-continue");
            }
            _ => {}
        }
        Ok(())
    }

    #[inline]
    fn note_connection(&mut self, value: &[u8]) -> Result<(), HeadError> {
        // What nearly all say, without the walk.
        match value {
            b"keep-alive" => {
                self.keep_alive = true;
                self.count_option()
            }
            _ => self.note_options(value),
        }
    }

    fn note_options(&mut self, value: &[u8]) -> Result<(), HeadError> {
        for option in grammar::list(value) {
            match option {
                // "A recipient MUST parse and ignore a reasonable number of empty list elements" (RFC 9110 section
                // 5.6.1.2).
                [] => {}
                _ if option.eq_ignore_ascii_case(b"keep-alive") => self.keep_alive = true,
                _ if option.eq_ignore_ascii_case(b"close") => self.close = true,
                _ if option.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
                _ if !grammar::is_token(option) => return Err(HeadError::InvalidConnection),
                _ => self.nominates |= !FieldId::lookup(option).is_hop_by_hop(),
            }
            self.count_option()?;
        }
        Ok(())
    }

    #[inline]
    fn count_option(&mut self) -> Result<(), HeadError> {
        self.connection_options += 1;
        match self.connection_options > CONNECTION_OPTIONS_MAX {
            true => Err(HeadError::TooManyConnectionOptions),
            false => Ok(()),
        }
    }

    fn note_transfer_encoding(&mut self, value: &[u8]) -> Result<(), HeadError> {
        for coding in grammar::list(value) {
            // Nothing may follow chunked, and it takes no parameters (RFC 9112 sections 6.1 and 7.1).
            if self.coding == Coding::Chunked {
                return Err(HeadError::InvalidTransferEncoding);
            }
            if coding.eq_ignore_ascii_case(b"chunked") {
                // Another coding before it: named when the list is complete.
                if self.coding == Coding::Absent {
                    self.coding = Coding::Chunked;
                }
                continue;
            }
            let name = coding.split(|b| *b == b';').next().unwrap_or_default();
            if !grammar::is_token(grammar::trim_ows(name)) || grammar::trim_ows(name).eq_ignore_ascii_case(b"chunked") {
                return Err(HeadError::InvalidTransferEncoding);
            }
            self.coding = Coding::Unknown;
        }
        Ok(())
    }

    /// The framing that the fields ask for, or `None` when they ask for none; an error where they contradict each
    /// other (RFC 9112 section 6.3).
    #[inline]
    pub fn framing(&self, version: Version) -> Result<Option<BodyKind>, HeadError> {
        match (self.coding, self.content_length) {
            (Coding::Absent, None) => Ok(None),
            (Coding::Absent, Some(length)) => Ok(Some(BodyKind::Length(length))),
            _ if version == Version::Http10 => Err(HeadError::TransferEncodingInHttp10),
            (_, Some(_)) => Err(HeadError::ContentLengthWithTransferEncoding),
            (Coding::Unknown, None) => Err(HeadError::UnknownTransferCoding),
            (Coding::Chunked, None) => Ok(Some(BodyKind::Chunked)),
        }
    }

    /// Whether the connection may stay, as far as the head says (RFC 9112 section 9.3): `close` wins over everything.
    #[inline]
    pub fn allows_keep_alive(&self, version: Version) -> bool {
        match version {
            Version::Http11 | Version::Http2 => !self.close,
            Version::Http10 => self.keep_alive && !self.close,
        }
    }
}

/// Marks the fields that Connection names, except those that the proxy needs or sets (RFC 9110 section 7.6.1).
#[cold]
fn mark_nominated(bytes: &[u8], fields: &mut Fields) {
    for at in 0..fields.len() {
        let connection = fields.as_slice()[at];
        if connection.id != FieldId::Connection {
            continue;
        }
        for option in grammar::list(connection.value.of(bytes)).filter(|option| !option.is_empty()) {
            for field in fields.as_mut_slice() {
                let name = field.name.of(bytes);
                field.hop_by_hop |= name.eq_ignore_ascii_case(option) && !field.id.survives_connection_option(name);
            }
        }
    }
}
