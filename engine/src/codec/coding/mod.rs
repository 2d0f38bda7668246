//! Content codings (RFC 9110 section 8.4.1): compressed bytes out of plain ones and back, a bounded step at a time.
//!
//! Invariant: one step works on at most a slice of input and writes at most what its output has room for, so that it is
//! over within about 200 microseconds; an encoder's state takes at most [`STATE_MAX`] bytes.

mod brotli;
mod gzip;
#[cfg(test)]
mod tests;
mod zstd;

use crate::http::coding::Coding;

/// Bytes that the state of an encoder takes at most.
pub const STATE_MAX: usize = 320 * 1024;

/// Bytes that one step writes at most.
pub const OUTPUT_MAX: usize = 16 * 1024;

/// The settings of an encoder. Encoders with the same settings can take each other's place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settings {
    /// `level` 1 to 9, `window_bits` 9 to 14.
    Gzip { level: u8, window_bits: u8 },
    /// `quality` 0 or 1: from 2 on the state takes more than half a MiB.
    Brotli { quality: u8 },
    /// `level` 1 to 9.
    Zstd { level: u8 },
}

impl Settings {
    pub fn coding(self) -> Coding {
        match self {
            Self::Gzip { .. } => Coding::Gzip,
            Self::Brotli { .. } => Coding::Brotli,
            Self::Zstd { .. } => Coding::Zstd,
        }
    }

    /// Bytes that the state of such an encoder takes, rounded up; `tests/codings.rs` counts them.
    pub fn state_bytes(self) -> usize {
        match self {
            // Hash table, pending output and symbols, and twice the window in bytes and in links.
            Self::Gzip { window_bits, .. } => 244 * 1024 + (4 << window_bits),
            Self::Brotli { .. } => 192 * 1024,
            Self::Zstd { .. } => 256 * 1024,
        }
    }

    /// Bytes of input that one step takes at most, so that it stays within 200 microseconds.
    pub fn slice(self) -> usize {
        match self {
            Self::Gzip { level: 0..4, .. } | Self::Zstd { level: 0..5 } => 16 * 1024,
            Self::Brotli { .. } => brotli::BLOCK,
            Self::Gzip { level: 4..7, .. } | Self::Zstd { .. } => 8 * 1024,
            Self::Gzip { .. } => 4 * 1024,
        }
    }
}

/// What a step is to achieve.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Goal {
    /// Take the input; the encoder may keep what would come of it.
    Take,
    /// Write all that was taken, so that the receiver can read it.
    Flush,
    /// As `Flush`, and the end of the body.
    End,
}

/// What a step did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    pub consumed: usize,
    pub produced: usize,
    /// The goal is achieved. Otherwise another step follows.
    pub is_done: bool,
}

/// The input is not what the coding says, or the library refused to work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Corrupt;

/// Compresses one body.
pub enum Encoder {
    Gzip(gzip::Encoder),
    Brotli(Box<brotli::Encoder>),
    Zstd(zstd::Encoder),
}

impl Encoder {
    pub fn new(settings: Settings) -> Self {
        match settings {
            Settings::Gzip { level, window_bits } => Self::Gzip(gzip::Encoder::new(level, window_bits)),
            Settings::Brotli { quality } => Self::Brotli(Box::new(brotli::Encoder::new(quality))),
            Settings::Zstd { level } => Self::Zstd(zstd::Encoder::new(level)),
        }
    }

    /// Ready for another body.
    pub fn reset(&mut self) {
        match self {
            Self::Gzip(encoder) => encoder.reset(),
            Self::Brotli(encoder) => encoder.reset(),
            Self::Zstd(encoder) => encoder.reset(),
        }
    }

    /// One step. `Flush` and `End` are asked for with empty input, until they are done; `out` has room for 64 bytes or
    /// more then.
    ///
    /// # Errors
    /// The library failed.
    pub fn step(&mut self, input: &[u8], goal: Goal, out: &mut [u8]) -> Result<Step, Corrupt> {
        match self {
            Self::Gzip(encoder) => encoder.step(input, goal, out),
            Self::Brotli(encoder) => encoder.step(input, goal, out),
            Self::Zstd(encoder) => encoder.step(input, goal, out),
        }
    }
}

impl Encoder {
    /// Bytes that do not come from Rust's allocator.
    pub fn native_bytes(&self) -> usize {
        match self {
            Self::Gzip(_) | Self::Brotli(_) => 0,
            Self::Zstd(encoder) => encoder.bytes(),
        }
    }
}

/// Restores one body.
pub enum Decoder {
    Gzip(gzip::Decoder),
    Brotli(Box<brotli::Decoder>),
    Zstd(zstd::Decoder),
}

impl Decoder {
    pub fn new(coding: Coding) -> Self {
        match coding {
            Coding::Gzip => Self::Gzip(gzip::Decoder::new()),
            Coding::Brotli => Self::Brotli(Box::new(brotli::Decoder::new())),
            Coding::Zstd => Self::Zstd(zstd::Decoder::new()),
        }
    }

    /// Bytes that a decoder takes before it has seen input.
    pub fn first_bytes(coding: Coding) -> usize {
        match coding {
            Coding::Gzip => 48 * 1024,
            Coding::Brotli => brotli::DECODER_BYTES,
            Coding::Zstd => 96 * 1024,
        }
    }

    /// Bytes that it takes now, or will soon: brotli and zstd say in their first bytes how much of the past a receiver
    /// has to remember.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Gzip(_) => Self::first_bytes(Coding::Gzip),
            Self::Brotli(decoder) => decoder.bytes(),
            Self::Zstd(decoder) => decoder.bytes(),
        }
    }

    /// Those of them that do not come from Rust's allocator.
    pub fn native_bytes(&self) -> usize {
        match self {
            Self::Gzip(_) | Self::Brotli(_) => 0,
            Self::Zstd(decoder) => decoder.bytes(),
        }
    }

    /// One step; done when all input was taken and all that follows from it was written.
    ///
    /// # Errors
    /// The input is not of this coding.
    pub fn step(&mut self, input: &[u8], out: &mut [u8]) -> Result<Step, Corrupt> {
        match self {
            Self::Gzip(decoder) => decoder.step(input, out),
            Self::Brotli(decoder) => decoder.step(input, out),
            Self::Zstd(decoder) => decoder.step(input, out),
        }
    }

    /// Whether the input may end here. Nothing at all is the coding of nothing.
    pub fn may_end(&self) -> bool {
        match self {
            Self::Gzip(decoder) => decoder.may_end(),
            Self::Brotli(decoder) => decoder.may_end(),
            Self::Zstd(decoder) => decoder.may_end(),
        }
    }
}
