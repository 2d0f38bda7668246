//! The Huffman code of HPACK (RFC 7541 appendix B).
use std::sync::LazyLock;

use crate::http::Malformed;

const EOS: usize = 256;
const LONGEST: usize = 30;
/// Bits that the first look-up takes; most of what fields contain is coded in fewer.
const FIRST: u32 = 10;

/// How many bits each byte has, and last the end of string. The code is canonical: codes of one length are numbered in
/// the order of their bytes, so that the lengths say everything.
const LENGTHS: [u8; 257] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28,
    28, 28, 28, 6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12,
    10, 13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6, 15, 5, 6,
    5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28, 20, 22, 20, 20, 22, 22,
    22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24, 22, 21, 20,
    22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28,
    27, 27, 27, 20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28,
    27, 27, 27, 27, 27, 26, 30,
];

struct Code {
    codes: [u32; 257],
    /// Symbols by length, then by number.
    symbols: Vec<u16>,
    /// For each length: its first code, and where its symbols begin.
    first: [(u32, usize); LONGEST + 2],
    /// For each start of [`FIRST`] bits: the byte and its length, or length 0 where the code is longer.
    quick: Vec<(u8, u8)>,
}

static CODE: LazyLock<Code> = LazyLock::new(|| {
    let mut code = Code { codes: [0; 257], symbols: Vec::new(), first: [(0, 0); LONGEST + 2], quick: Vec::new() };
    code.quick = vec![(0, 0); 1 << FIRST];
    let mut next = 0;
    for len in 1..=LONGEST {
        next <<= 1;
        code.first[len] = (next, code.symbols.len());
        for symbol in (0..=EOS).filter(|symbol| usize::from(LENGTHS[*symbol]) == len) {
            code.codes[symbol] = next;
            code.symbols.push(symbol as u16);
            if len as u32 <= FIRST {
                let spare = FIRST - len as u32;
                let from = (next << spare) as usize;
                code.quick[from..from + (1 << spare)].fill((symbol as u8, len as u8));
            }
            next += 1;
        }
    }
    code.first[LONGEST + 1] = (0, code.symbols.len());
    code
});

/// Appends the bytes that `input` stands for.
pub fn decode(input: &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let code = &*CODE;
    let (mut bits, mut held) = (0u64, 0u32);
    let mut input = input.iter();
    loop {
        while held <= 56 {
            let Some(&byte) = input.next() else { break };
            bits = bits << 8 | u64::from(byte);
            held += 8;
        }
        // What is missing is read as ones, which are no code's end but the padding's.
        let peek = |len: u32| if held >= len { (bits >> (held - len)) as u32 } else { ones(bits, held, len) };
        let (byte, len) = code.quick[(peek(FIRST) & ((1 << FIRST) - 1)) as usize];
        let (byte, len) = if len > 0 { (byte, u32::from(len)) } else { long(code, peek)? };
        if len > held {
            // Only ones, and less than a byte of them; all else is clear in `bits`.
            let is_padding = held < 8 && bits == (1 << held) - 1;
            return if is_padding { Ok(()) } else { Err(Malformed("a Huffman code that ends within a byte")) };
        }
        out.push(byte);
        held -= len;
        bits &= (1 << held) - 1;
    }
}

fn ones(bits: u64, held: u32, len: u32) -> u32 {
    let missing = len - held;
    (bits << missing | ((1 << missing) - 1)) as u32
}

/// A code of more than [`FIRST`] bits.
fn long(code: &Code, peek: impl Fn(u32) -> u32) -> Result<(u8, u32), Malformed> {
    for len in FIRST as usize + 1..=LONGEST {
        let ((first, from), (_, to)) = (code.first[len], code.first[len + 1]);
        let offset = (peek(len as u32) & ((1 << len) - 1)).wrapping_sub(first) as usize;
        if offset < to - from {
            return match code.symbols[from + offset] {
                // The padding's ones, if the input ends here; an end of string that is sent is an error.
                256 => Ok((0, u32::MAX)),
                symbol => Ok((symbol as u8, len as u32)),
            };
        }
    }
    Err(Malformed("no Huffman code"))
}

/// Appends the code of `text`, padded with ones.
pub fn encode(text: &[u8], out: &mut Vec<u8>) {
    let (mut bits, mut held) = (0u64, 0u32);
    for byte in text {
        let len = u32::from(LENGTHS[usize::from(*byte)]);
        bits = bits << len | u64::from(CODE.codes[usize::from(*byte)]);
        held += len;
        while held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    if held > 0 {
        out.push((bits << (8 - held)) as u8 | (0xff >> held));
    }
}

/// Bytes that [`encode`] makes of `text`.
pub fn encoded_len(text: &[u8]) -> usize {
    text.iter().map(|byte| usize::from(LENGTHS[usize::from(*byte)])).sum::<usize>().div_ceil(8)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decoded(input: &[u8]) -> Result<Vec<u8>, Malformed> {
        let mut out = Vec::new();
        decode(input, &mut out).map(|()| out)
    }

    #[test]
    fn the_examples_of_rfc_7541() {
        for (text, code) in [
            ("www.example.com", &[0xf1, 0xe3, 0xc2, 0xe5, 0xf2, 0x3a, 0x6b, 0xa0, 0xab, 0x90, 0xf4, 0xff][..]),
            ("no-cache", &[0xa8, 0xeb, 0x10, 0x64, 0x9c, 0xbf]),
            ("302", &[0x64, 0x02]),
        ] {
            let mut out = Vec::new();
            encode(text.as_bytes(), &mut out);
            assert_eq!((out.as_slice(), encoded_len(text.as_bytes())), (code, code.len()));
            assert_eq!(decoded(code), Ok(text.as_bytes().to_vec()));
        }
    }

    #[test]
    fn every_byte_comes_back() {
        for text in [(0..=255u8).collect::<Vec<_>>(), (0..=255u8).rev().collect(), Vec::new()] {
            for text in (0..text.len().max(1)).map(|from| &text[from.min(text.len())..]) {
                let mut out = Vec::new();
                encode(text, &mut out);
                assert_eq!(decoded(&out).as_deref(), Ok(text));
            }
        }
    }

    #[test]
    fn wrong_padding_and_an_end_of_string_are_refused() {
        assert!(decoded(&[0x64, 0x02, 0xff]).is_err(), "eight bits of padding");
        assert!(decoded(&[0x00]).is_err(), "padding of zeros");
        for len in [4, 8, 9] {
            assert!(decoded(&vec![0xff; len]).is_err(), "the end of string, {len}");
        }
    }
}
