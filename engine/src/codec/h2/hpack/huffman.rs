//! The Huffman code of strings (RFC 7541 section 5.2 and appendix B).
//!
//! The code is canonical: symbols of the same length have consecutive codes, in the order of the symbols, and shorter
//! codes come first. So the lengths say all, and a long code is found by comparing it with the end of each length.

use super::Error;

/// The bytes, and the end-of-string symbol, which must not occur (its beginning is the padding).
const SYMBOLS: usize = 257;

/// Bits of the longest code.
const LONGEST: usize = 30;

/// Bits of each symbol's code.
#[rustfmt::skip]
const LENGTHS: [u8; SYMBOLS] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28,
    28, 28, 28, 28, 28, 28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10, 13, 6, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7,
    7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20, 22, 22, 23, 23, 21,
    23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24,
    21, 21, 26, 26, 28, 27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26, 30,
];

/// The symbols of one length.
#[derive(Clone, Copy)]
struct Length {
    bits: u32,
    /// The first code, in the upper bits.
    start: u32,
    /// The last code of this length with ones behind it.
    last: u32,
    /// Where in [`ORDER`] its symbols begin.
    order: u32,
}

const LENGTH_COUNT: usize = 21;

/// The lengths of at most 8 bits, which [`SHORT`] has.
const SHORT_LENGTHS: usize = 4;

/// In the order of the codes.
static BY_LENGTH: [Length; LENGTH_COUNT] = lengths();

/// The symbols in the order of their codes.
static ORDER: [u16; SYMBOLS] = order();

/// For each first byte: bits and symbol of the code of at most 8 bits that it begins with; 0 where the code is longer.
static SHORT: [u16; 256] = short();

const fn order() -> [u16; SYMBOLS] {
    let (mut order, mut at, mut bits) = ([0; SYMBOLS], 0, 1);
    while bits <= LONGEST as u32 {
        let mut symbol = 0;
        while symbol < SYMBOLS {
            if LENGTHS[symbol] as u32 == bits {
                order[at] = symbol as u16;
                at += 1;
            }
            symbol += 1;
        }
        bits += 1;
    }
    order
}

const fn lengths() -> [Length; LENGTH_COUNT] {
    let mut lengths = [Length { bits: 0, start: 0, last: 0, order: 0 }; LENGTH_COUNT];
    let (mut next, mut seen, mut at, mut bits) = (0u64, 0, 0, 1);
    while bits <= LONGEST as u32 {
        let (mut count, mut symbol) = (0, 0);
        while symbol < SYMBOLS {
            count += (LENGTHS[symbol] as u32 == bits) as u32;
            symbol += 1;
        }
        if count > 0 {
            let end = next + ((count as u64) << (32 - bits));
            lengths[at] = Length { bits, start: next as u32, last: (end - 1) as u32, order: seen };
            (next, seen, at) = (end, seen + count, at + 1);
        }
        bits += 1;
    }
    assert!(next == 1 << 32 && at == LENGTH_COUNT, "the code is complete");
    lengths
}

const fn short() -> [u16; 256] {
    let (mut short, mut first, lengths, order) = ([0; 256], 0, lengths(), order());
    while first < 256 {
        let window = (first as u32) << 24;
        let mut at = 0;
        while window > lengths[at].last {
            at += 1;
        }
        let Length { bits, start, order: base, .. } = lengths[at];
        if bits <= 8 {
            short[first] = (bits as u16) << 8 | order[(base + ((window - start) >> (32 - bits))) as usize];
        }
        first += 1;
    }
    short
}

/// The byte whose code `bits` begins with, and the code's length above it, as in [`SHORT`].
#[inline]
fn byte(bits: u64) -> Result<u16, Error> {
    let short = SHORT[(bits >> 56) as usize];
    if short != 0 { Ok(short) } else { long((bits >> 32) as u32).ok_or(Error::Huffman) }
}

/// A byte with a code of more than 8 bits; `None` is the end of the string.
#[cold]
fn long(window: u32) -> Option<u16> {
    let length = BY_LENGTH[SHORT_LENGTHS..].iter().find(|length| window <= length.last)?;
    let symbol = ORDER[(length.order + ((window - length.start) >> (32 - length.bits))) as usize];
    (symbol <= u16::from(u8::MAX)).then_some((length.bits as u16) << 8 | symbol)
}

/// Writes the string's bytes to the beginning of `out`, which has room for [`decoded_max`]. How many there are.
pub(super) fn decode(input: &[u8], out: &mut [u8]) -> Result<usize, Error> {
    let end = 8 * input.len();
    let (mut position, mut len) = (0, 0);
    // While any code fits into what is left, none can reach beyond the end.
    while end - position >= LONGEST {
        let mut bits = window(input, position);
        let last = (end - LONGEST).min(position + WINDOW - LONGEST);
        while position <= last {
            let byte = byte(bits)?;
            out[len] = byte as u8;
            let length = usize::from(byte >> 8);
            len += 1;
            bits <<= length;
            position += length;
        }
    }
    let mut bits = window(input, position);
    loop {
        let left = end - position;
        if left < 8 && bits >> 56 == 0xff {
            return Ok(len);
        }
        let byte = byte(bits)?;
        let length = usize::from(byte >> 8);
        if length > left {
            return Err(Error::Huffman);
        }
        out[len] = byte as u8;
        len += 1;
        bits <<= length;
        position += length;
    }
}

/// Bits that a window has at least, wherever in a byte it begins.
const WINDOW: usize = 57;

/// The bits from `position` on, the next one being the highest, with ones behind the end, like the padding.
#[inline]
fn window(input: &[u8], position: usize) -> u64 {
    let rest = &input[position / 8..];
    let bytes = rest.first_chunk().copied().unwrap_or_else(|| {
        let mut padded = [0xff; 8];
        padded[..rest.len()].copy_from_slice(rest);
        padded
    });
    u64::from_be_bytes(bytes) << (position % 8)
}

/// Bytes that a string of this encoded length has at most: no code is shorter than 5 bits.
#[inline]
pub(super) fn decoded_max(encoded: usize) -> usize {
    encoded * 8 / 5
}

/// Writes the string's code.
#[cfg(test)]
pub(super) fn encode(out: &mut Vec<u8>, text: &[u8]) {
    let (mut bits, mut count) = (0u64, 0);
    for byte in text {
        let length = BY_LENGTH.iter().find(|length| length.bits == u32::from(LENGTHS[usize::from(*byte)])).unwrap();
        let rank = ORDER[length.order as usize..].iter().position(|symbol| *symbol == u16::from(*byte)).unwrap();
        let code = (length.start >> (32 - length.bits)) as u64 + rank as u64;
        bits |= code << (64 - count - length.bits);
        count += length.bits;
        while count >= 8 {
            out.push((bits >> 56) as u8);
            bits <<= 8;
            count -= 8;
        }
    }
    if count > 0 {
        out.push(((bits | u64::MAX >> count) >> 56) as u8);
    }
}
