//! The Huffman code against what its table says, symbol by symbol.

use super::super::{Error, huffman};
use super::Numbers;

fn decode(input: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = vec![0; huffman::decoded_max(input.len())];
    let len = huffman::decode(input, &mut out)?;
    out.truncate(len);
    Ok(out)
}

fn encode(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    huffman::encode(&mut out, text);
    out
}

/// Codes from RFC 7541 appendix B, one of each length: symbol, code and bits.
const CODES: [(u8, u32, u32); 20] = [
    (b'0', 0x0, 5),
    (b'%', 0x15, 6),
    (b':', 0x5c, 7),
    (b'&', 0xf8, 8),
    (b'!', 0x3f8, 10),
    (b'|', 0x7fc, 11),
    (b'#', 0xffa, 12),
    (b'~', 0x1ffd, 13),
    (b'}', 0x3ffd, 14),
    (b'<', 0x7ffc, 15),
    (b'\\', 0x7fff0, 19),
    (0x80, 0xfffe6, 20),
    (0x99, 0x1fffdc, 21),
    (0x81, 0x3fffd2, 22),
    (0x01, 0x7fffd8, 23),
    (0x09, 0xffffea, 24),
    (0xc7, 0x1ffffec, 25),
    (0xc0, 0x3ffffe0, 26),
    (0xcb, 0x7ffffde, 27),
    (0x02, 0xfffffe2, 28),
];

#[test]
fn codes_are_those_of_the_rfc() {
    let with_padding = |code: u32, bits: u32| {
        let padded = u64::from(code) << (40 - bits) | ((1u64 << (40 - bits)) - 1);
        padded.to_be_bytes()[3..3 + bits.div_ceil(8) as usize].to_vec()
    };
    for (symbol, code, bits) in CODES {
        assert_eq!(decode(&with_padding(code, bits)), Ok(vec![symbol]), "{symbol:#x}");
        assert_eq!(encode(&[symbol]), with_padding(code, bits), "{symbol:#x}");
    }
    // 30 bits: LF, CR and 0x16, and behind them the end of the string.
    for (at, symbol) in [b'\n', b'\r', 0x16].into_iter().enumerate() {
        assert_eq!(decode(&with_padding(0x3fff_fffc + at as u32, 30)), Ok(vec![symbol]));
    }
    assert_eq!(decode(&with_padding(0x3fff_ffff, 30)), Err(Error::Huffman));
}

/// Every pair of bytes in front of and behind text, so that each code meets each place of the refill.
#[test]
fn every_pair_is_read_back() {
    for first in 0..=255u8 {
        for second in 0..=255u8 {
            let around = usize::from(first ^ second) % 13;
            let text = [&b"0123456789abc"[..around], &[first, second], &b"www.example.com"[around..]].concat();
            assert_eq!(decode(&encode(&text)).as_deref(), Ok(&text[..]));
        }
    }
}

#[test]
fn every_length_is_read_back() {
    let mut numbers = Numbers(3);
    for len in 0..300 {
        let any: Vec<u8> = (0..len).map(|_| numbers.below(256) as u8).collect();
        let common: Vec<u8> = (0..len).map(|_| b"aceiost /.-=0129"[numbers.below(16)]).collect();
        for text in [any, common] {
            let code = encode(&text);
            assert_eq!(decode(&code).as_deref(), Ok(&text[..]));
            // Another byte of ones is too much padding, whatever stands there already.
            assert_eq!(decode(&[&code[..], &[0xff]].concat()), Err(Error::Huffman));
        }
    }
}

/// Each string has one encoding, so what is accepted is what the encoder would have written: padding and all.
#[test]
fn nothing_else_is_read() {
    let mut numbers = Numbers(4);
    let short = (0..=u16::MAX).map(|bytes| bytes.to_be_bytes().to_vec());
    let long = (0..100_000).map(|_| (0..3 + numbers.below(12)).map(|_| numbers.below(256) as u8).collect());
    let mut accepted = 0;
    for code in short.chain((0..=255).map(|byte| vec![byte])).chain(long) {
        if let Ok(text) = decode(&code) {
            assert_eq!(encode(&text), code);
            accepted += 1;
        }
    }
    assert!(accepted > 10_000, "{accepted}");
}
