//! The chunked transfer coding (RFC 9112 section 7.1): a machine that can stop between any two bytes.
//!
//! ```text
//! Size -> [extensions] -> SizeLf -> Data -> DataCr -> DataLf -> Size
//!                            `-- size 0 --> Trailers -> Done
//! ```

use super::trailers::Trailers;
use super::{BodyError, Decoded, Limits};
use crate::http::grammar::{is_token_byte, is_value_byte};

/// Hexadecimal digits of a chunk size, leading zeros included: 64 bits.
const SIZE_DIGITS_MAX: u8 = 16;

#[derive(Debug)]
pub(super) struct Chunked {
    state: State,
    digits: u8,
    /// While `Size`: the size so far. While `Data`: bytes of the chunk still to come.
    remaining: u64,
    /// Extension bytes still allowed in this message.
    extension_bytes: u32,
    trailers: Trailers,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Size,
    Extension(Extension),
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailers,
    Done,
}

/// Inside `*( BWS ";" BWS chunk-ext-name [ BWS "=" BWS chunk-ext-val ] )` (RFC 9112 section 7.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Extension {
    /// White space that only `;` may follow.
    BeforeSemicolon,
    BeforeName,
    Name,
    AfterName,
    BeforeValue,
    Token,
    Quoted,
    Escaped,
    AfterQuoted,
}

impl Chunked {
    #[inline]
    pub fn new(limits: &Limits, keep_trailers: bool) -> Chunked {
        Chunked {
            state: State::Size,
            digits: 0,
            remaining: 0,
            extension_bytes: limits.chunk_extension_bytes,
            trailers: Trailers::new(limits, keep_trailers),
        }
    }

    #[inline]
    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Data bytes that are certain to come next.
    #[inline]
    pub fn data_remaining(&self) -> u64 {
        if self.state == State::Data { self.remaining } else { 0 }
    }

    pub fn skip(&mut self, count: u64) {
        if self.state == State::Data {
            self.take(count.min(self.remaining));
        }
    }

    pub fn take_trailers(&mut self) -> Option<Vec<u8>> {
        self.trailers.take()
    }

    /// See `BodyDecoder::decode`. After the data it goes on through the framing, so that the end of the message is
    /// seen in the same call, and stops where the next chunk's data begin.
    pub fn decode(&mut self, input: &[u8]) -> Result<Decoded, BodyError> {
        let mut at = 0;
        let mut data = 0..0;
        while at < input.len() && self.state != State::Done {
            if self.state == State::Data {
                if !data.is_empty() {
                    break;
                }
                let taken = usize::try_from(self.remaining).unwrap_or(usize::MAX).min(input.len() - at);
                data = at..at + taken;
                at += taken;
                self.take(taken as u64);
                continue;
            }
            self.step(input[at])?;
            at += 1;
        }
        Ok(Decoded { consumed: at, data, done: self.state == State::Done })
    }

    #[inline]
    fn take(&mut self, count: u64) {
        self.remaining -= count;
        if self.remaining == 0 {
            self.state = State::DataCr;
        }
    }

    /// One byte that is not chunk data.
    #[inline]
    fn step(&mut self, byte: u8) -> Result<(), BodyError> {
        self.state = match (self.state, byte) {
            (State::Size, _) => return self.size(byte),
            (State::Extension(within), _) => return self.extension(within, byte),
            (State::SizeLf, b'\n') if self.remaining == 0 => State::Trailers,
            (State::SizeLf, b'\n') => State::Data,
            (State::SizeLf, _) => return Err(BodyError::BareCr),
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => {
                self.digits = 0;
                State::Size
            }
            (State::DataCr, b'\n') => return Err(BodyError::BareLf),
            (State::DataCr | State::DataLf, _) => return Err(BodyError::MissingChunkEnd),
            (State::Trailers, _) if self.trailers.step(byte)? => State::Done,
            (State::Trailers, _) => State::Trailers,
            // The caller looks at these before it steps.
            (State::Data | State::Done, _) => self.state,
        };
        Ok(())
    }

    #[inline]
    fn size(&mut self, byte: u8) -> Result<(), BodyError> {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            b'A'..=b'F' => byte - b'A' + 10,
            _ if self.digits == 0 => return Err(BodyError::InvalidChunkSize),
            b'\r' => {
                self.state = State::SizeLf;
                return Ok(());
            }
            b'\n' => return Err(BodyError::BareLf),
            b';' => return self.enter(Extension::BeforeName),
            b' ' | b'\t' => return self.enter(Extension::BeforeSemicolon),
            _ => return Err(BodyError::InvalidChunkSize),
        };
        if self.digits == SIZE_DIGITS_MAX {
            return Err(BodyError::ChunkSizeOverflow);
        }
        self.digits += 1;
        self.remaining = self.remaining << 4 | u64::from(digit);
        Ok(())
    }

    /// Moves on within the extensions and counts the byte that led there.
    fn enter(&mut self, within: Extension) -> Result<(), BodyError> {
        self.extension_bytes = self.extension_bytes.checked_sub(1).ok_or(BodyError::ChunkExtensionsTooLarge)?;
        self.state = State::Extension(within);
        Ok(())
    }

    #[cold]
    fn extension(&mut self, within: Extension, byte: u8) -> Result<(), BodyError> {
        use Extension::*;
        let may_end = matches!(within, Name | Token | AfterQuoted);
        let next = match (within, byte) {
            (_, b'\r') if may_end => {
                self.state = State::SizeLf;
                return Ok(());
            }
            (_, b'\n') if may_end => return Err(BodyError::BareLf),
            (BeforeSemicolon | Name | AfterName | Token | AfterQuoted, b';') => BeforeName,
            (Name | AfterName, b'=') => BeforeValue,
            (Name | AfterName, b' ' | b'\t') => AfterName,
            (Token | AfterQuoted, b' ' | b'\t') => BeforeSemicolon,
            (BeforeSemicolon | BeforeName | BeforeValue, b' ' | b'\t') => within,
            (BeforeName | Name, _) if is_token_byte(byte) => Name,
            (BeforeValue | Token, _) if is_token_byte(byte) => Token,
            (BeforeValue, b'"') => Quoted,
            (Quoted, b'"') => AfterQuoted,
            (Quoted, b'\\') => Escaped,
            (Quoted | Escaped, _) if is_value_byte(byte) => Quoted,
            _ => return Err(BodyError::InvalidChunkExtension),
        };
        self.enter(next)
    }
}
