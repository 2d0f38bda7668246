//! The trailer section of a chunked message (RFC 9112 section 7.1.2): checked always, kept on request.

use super::{BodyError, Limits};
use crate::http::FieldId;
use crate::http::grammar::{is_token_byte, is_value_byte, trim_ows};

#[derive(Debug)]
pub(super) struct Trailers {
    state: State,
    keep: bool,
    /// Lines still allowed.
    lines: u16,
    /// Bytes still allowed.
    bytes: u32,
    kept: Option<Box<Kept>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    LineStart,
    Name,
    Value,
    LineLf,
    EndLf,
}

/// What is collected. It exists only once the first kept trailer begins, which is rare.
#[derive(Debug, Default)]
struct Kept {
    /// The line that is being read, without CRLF.
    line: Vec<u8>,
    /// Canonical lines: `name: value CRLF`.
    text: Vec<u8>,
}

impl Trailers {
    #[inline]
    pub fn new(limits: &Limits, keep: bool) -> Trailers {
        Trailers { state: State::LineStart, keep, lines: limits.fields, bytes: limits.trailer_bytes, kept: None }
    }

    pub fn take(&mut self) -> Option<Vec<u8>> {
        self.kept.take().map(|kept| kept.text).filter(|text| !text.is_empty())
    }

    /// One byte; true when it ends the section.
    #[inline]
    pub fn step(&mut self, byte: u8) -> Result<bool, BodyError> {
        match (self.state, byte) {
            (State::LineStart, b'\r') => self.state = State::EndLf,
            (State::EndLf, b'\n') => return Ok(true),
            (State::EndLf, _) => return Err(BodyError::BareCr),
            _ => self.line(byte)?,
        }
        Ok(false)
    }

    #[cold]
    fn line(&mut self, byte: u8) -> Result<(), BodyError> {
        self.bytes = self.bytes.checked_sub(1).ok_or(BodyError::TrailersTooLarge)?;
        self.state = match (self.state, byte) {
            (State::LineStart, _) if is_token_byte(byte) => {
                self.lines = self.lines.checked_sub(1).ok_or(BodyError::TooManyTrailers)?;
                self.push(byte);
                State::Name
            }
            (State::Name, b':') => {
                self.push(byte);
                State::Value
            }
            (State::Name, _) if is_token_byte(byte) => {
                self.push(byte);
                State::Name
            }
            (State::Value, b'\r') => State::LineLf,
            (State::Value, _) if is_value_byte(byte) => {
                self.push(byte);
                State::Value
            }
            (State::LineLf, b'\n') => {
                self.finish_line();
                State::LineStart
            }
            (State::LineLf, _) => return Err(BodyError::BareCr),
            (State::LineStart | State::Value, b'\n') => return Err(BodyError::BareLf),
            _ => return Err(BodyError::InvalidTrailer),
        };
        Ok(())
    }

    fn push(&mut self, byte: u8) {
        if self.keep {
            self.kept.get_or_insert_default().line.push(byte);
        }
    }

    /// Keeps the line in canonical form if a trailer of this name may be forwarded.
    fn finish_line(&mut self) {
        let Some(kept) = &mut self.kept else { return };
        if let Some(colon) = kept.line.iter().position(|b| *b == b':') {
            let (name, value) = (&kept.line[..colon], trim_ows(&kept.line[colon + 1..]));
            if !FieldId::lookup(name).is_forbidden_trailer(name) {
                super::encode::field(&mut kept.text, name, value);
            }
        }
        kept.line.clear();
    }
}
