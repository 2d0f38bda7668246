//! Tests on bytes; blocks are written in hexadecimal as in the RFC.

mod appendix_c;
mod budget;
mod encode;
mod errors;
mod huffman;
mod table;
mod verdict;

use super::{Budget, Decoder, Error};

/// A block from its hexadecimal digits; white space is for the reader.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|it| it.to_digit(16)).collect();
    assert_eq!(digits.len(), text.chars().filter(|it| !it.is_whitespace()).count(), "{text}");
    assert!(digits.len().is_multiple_of(2), "{text}");
    digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

/// What a decoder for this table size reads once its SETTINGS are acknowledged.
fn decoder(table_size: u32) -> Decoder {
    let mut decoder = Decoder::new(table_size);
    decoder.acknowledged();
    decoder
}

/// A budget that is no limit.
fn unlimited() -> Budget {
    Budget::new(u32::MAX, u16::MAX)
}

/// The fields of a block as `name: value`.
fn read(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<String>, Error> {
    read_within(decoder, block, &mut unlimited())
}

fn read_within(decoder: &mut Decoder, block: &[u8], budget: &mut Budget) -> Result<Vec<String>, Error> {
    const BEFORE: &[u8] = b"before";
    let (mut arena, mut fields, mut shown) = (BEFORE.to_vec(), Vec::new(), BEFORE.len());
    decoder.decode(block, &mut arena, budget, |field, arena| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        fields.push(format!("{}: {}", text(field.name.of(arena)), text(field.value.of(arena))));
        shown += field.name.len() + field.value.len();
        assert_eq!(arena.len(), shown);
    })?;
    assert!(arena.starts_with(BEFORE) && arena.len() == shown);
    Ok(fields)
}

/// The dynamic table's entries, the newest first.
fn entries(decoder: &mut Decoder) -> Vec<String> {
    let mut read_at = |index: usize| {
        let mut block = Vec::new();
        super::integer::write(&mut block, 0x80, 7, index);
        read(decoder, &block).ok()
    };
    (62..).map_while(&mut read_at).flatten().collect()
}

/// The size of entries (RFC 7541 section 4.1).
fn size_of(entries: &[String]) -> usize {
    entries.iter().map(|entry| entry.len() - ": ".len() + 32).sum()
}

/// A literal that becomes an entry, both strings as they are.
fn to_index(name: &str, value: &str) -> Vec<u8> {
    let mut block = vec![0x40];
    for text in [name, value] {
        super::integer::write(&mut block, 0, 7, text.len());
        block.extend_from_slice(text.as_bytes());
    }
    block
}

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        (self.0 >> 33) as usize % limit
    }
}
