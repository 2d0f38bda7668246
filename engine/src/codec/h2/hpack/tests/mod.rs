//! Tests on bytes; blocks are written in hexadecimal as in the RFC.

mod appendix_c;

use super::{Budget, Decoder, Error};

/// A block from its hexadecimal digits; white space is for the reader.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u32> = text.chars().filter_map(|it| it.to_digit(16)).collect();
    assert_eq!(digits.len(), text.chars().filter(|it| !it.is_whitespace()).count(), "{text}");
    digits.chunks_exact(2).map(|pair| (pair[0] << 4 | pair[1]) as u8).collect()
}

/// What a decoder for this table size reads once its SETTINGS are acknowledged.
fn decoder(table_size: u32) -> Decoder {
    let mut decoder = Decoder::new(table_size);
    decoder.acknowledged();
    decoder
}

/// The fields of a block as `name: value`, with a budget that is no limit.
fn read(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<String>, Error> {
    let (mut arena, mut fields) = (b"before".to_vec(), Vec::new());
    decoder.decode(block, &mut arena, &mut Budget::new(u32::MAX, u16::MAX), |field, arena| {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        fields.push(format!("{}: {}", text(field.name.of(arena)), text(field.value.of(arena))));
    })?;
    assert!(arena.starts_with(b"before"));
    Ok(fields)
}

/// The dynamic table's entries, the newest first.
fn entries(decoder: &mut Decoder) -> Vec<String> {
    let read_at = |index: u8| read(decoder, &[0x80 | index]).ok();
    (62..127).map_while(read_at).flatten().collect()
}

/// The size of entries (RFC 7541 section 4.1).
fn size_of(entries: &[String]) -> usize {
    entries.iter().map(|entry| entry.len() - ": ".len() + 32).sum()
}
