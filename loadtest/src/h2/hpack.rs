//! Header blocks (RFC 7541): a decoder with its dynamic table, and blocks that are prepared once and sent again and again.
use std::collections::VecDeque;

use super::huffman;
use super::statics::FIELDS;
use crate::http::Malformed;

/// What the load test announces (by announcing nothing) and fills at most.
pub const TABLE_SIZE: usize = 4_096;
/// What a table's entry takes besides its text.
const OVERHEAD: usize = 32;

/// One connection's decoder.
#[derive(Debug)]
pub struct Decoder {
    /// The newest first; name and value in one text, with the name's length.
    table: VecDeque<(Box<[u8]>, usize)>,
    size: usize,
    max: usize,
    text: Vec<u8>,
}

impl Default for Decoder {
    fn default() -> Decoder {
        Decoder { table: VecDeque::new(), size: 0, max: TABLE_SIZE, text: Vec::new() }
    }
}

impl Decoder {
    /// Reads a whole block; `on_field` is given each name and value in turn.
    pub fn decode(&mut self, mut block: &[u8], mut on_field: impl FnMut(&[u8], &[u8])) -> Result<(), Malformed> {
        while let Some(&first) = block.first() {
            if first & 0x80 != 0 {
                let (name, value) = self.entry(integer(&mut block, 7)?)?;
                on_field(name, value);
                continue;
            }
            if first & 0xe0 == 0x20 {
                let max = integer(&mut block, 5)?;
                if max > TABLE_SIZE {
                    return Err(Malformed("a header table larger than was announced"));
                }
                self.max = max;
                self.evict(0);
                continue;
            }
            let is_indexed = first & 0x40 != 0;
            let index = integer(&mut block, if is_indexed { 6 } else { 4 })?;
            let mut text = std::mem::take(&mut self.text);
            text.clear();
            if index == 0 {
                string(&mut block, &mut text)?;
            } else {
                text.extend_from_slice(self.entry(index)?.0);
            }
            let name = text.len();
            string(&mut block, &mut text)?;
            on_field(&text[..name], &text[name..]);
            if is_indexed {
                self.insert(&text, name);
            }
            self.text = text;
        }
        Ok(())
    }

    fn entry(&self, index: usize) -> Result<(&[u8], &[u8]), Malformed> {
        if let Some((name, value)) = index.checked_sub(1).and_then(|index| FIELDS.get(index)) {
            return Ok((name.as_bytes(), value.as_bytes()));
        }
        let entry = index.checked_sub(FIELDS.len() + 1).and_then(|index| self.table.get(index));
        let (text, name) = entry.ok_or(Malformed("an index beyond the header table"))?;
        Ok(text.split_at(*name))
    }

    fn insert(&mut self, text: &[u8], name: usize) {
        let size = text.len() + OVERHEAD;
        self.evict(size);
        if size <= self.max {
            self.size += size;
            self.table.push_front((text.into(), name));
        }
    }

    fn evict(&mut self, room: usize) {
        while self.size + room > self.max {
            let Some((text, _)) = self.table.pop_back() else { return };
            self.size -= text.len() + OVERHEAD;
        }
    }
}

/// A number whose prefix has `prefix` bits (section 5.1).
fn integer(input: &mut &[u8], prefix: u32) -> Result<usize, Malformed> {
    const SHORT: Malformed = Malformed("a header block that ends within a field");
    let mask = (1usize << prefix) - 1;
    let (&first, mut rest) = input.split_first().ok_or(SHORT)?;
    let mut value = usize::from(first) & mask;
    if value == mask {
        for shift in [0, 7, 14, 21, 28] {
            let (&byte, after) = rest.split_first().ok_or(SHORT)?;
            rest = after;
            value += (usize::from(byte) & 0x7f) << shift;
            if byte & 0x80 == 0 {
                *input = rest;
                return Ok(value);
            }
        }
        return Err(Malformed("a number in a header block that is too large"));
    }
    *input = rest;
    Ok(value)
}

fn string(input: &mut &[u8], out: &mut Vec<u8>) -> Result<(), Malformed> {
    let is_huffman = input.first().is_some_and(|byte| byte & 0x80 != 0);
    let len = integer(input, 7)?;
    let (text, rest) = input.split_at_checked(len).ok_or(Malformed("a header block that ends within a text"))?;
    *input = rest;
    if is_huffman {
        return huffman::decode(text, out);
    }
    out.extend_from_slice(text);
    Ok(())
}

fn write_integer(out: &mut Vec<u8>, flags: u8, prefix: u32, value: usize) {
    let mask = (1usize << prefix) - 1;
    if value < mask {
        out.push(flags | value as u8);
        return;
    }
    out.push(flags | mask as u8);
    let mut rest = value - mask;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
}

fn write_string(out: &mut Vec<u8>, text: &[u8]) {
    let encoded = huffman::encoded_len(text);
    if encoded < text.len() {
        write_integer(out, 0x80, 7, encoded);
        huffman::encode(text, out);
    } else {
        write_integer(out, 0, 7, text.len());
        out.extend_from_slice(text);
    }
}

/// Fields as a connection's first message sends them, and as every later one does.
///
/// The first fills the dynamic table, the later ones refer to it, as nghttp2, browsers and gRPC clients do. So all
/// messages of a connection must have the same fields in the same order, but for `:path` and the others that
/// [`is_worth_keeping`] leaves out, as nghttp2 does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Blocks {
    pub first: Vec<u8>,
    pub later: Vec<u8>,
    /// Without the table, for those that differ, and for a peer that has none.
    pub alone: Vec<u8>,
}

impl Blocks {
    pub fn new(fields: &[(&str, &str)]) -> Blocks {
        let mut blocks = Blocks::default();
        let mut room = TABLE_SIZE;
        let kept: Vec<bool> = fields
            .iter()
            .map(|(name, value)| {
                let size = name.len() + value.len() + OVERHEAD;
                let keeps = is_worth_keeping(name) && !FIELDS.contains(&(name, value)) && size <= room;
                room -= if keeps { size } else { 0 };
                keeps
            })
            .collect();
        let mut newer = kept.iter().filter(|kept| **kept).count();
        for ((name, value), kept) in fields.iter().zip(&kept) {
            newer -= usize::from(*kept);
            if let Some(index) = FIELDS.iter().position(|field| field == &(*name, *value)) {
                write_integer(&mut blocks.first, 0x80, 7, index + 1);
                write_integer(&mut blocks.later, 0x80, 7, index + 1);
                write_integer(&mut blocks.alone, 0x80, 7, index + 1);
                continue;
            }
            literal(&mut blocks.alone, 0, 4, name, value);
            if *kept {
                literal(&mut blocks.first, 0x40, 6, name, value);
                write_integer(&mut blocks.later, 0x80, 7, FIELDS.len() + 1 + newer);
            } else {
                literal(&mut blocks.first, 0, 4, name, value);
                literal(&mut blocks.later, 0, 4, name, value);
            }
        }
        blocks
    }
}

fn literal(out: &mut Vec<u8>, flags: u8, prefix: u32, name: &str, value: &str) {
    match FIELDS.iter().position(|field| field.0 == name) {
        Some(index) => write_integer(out, flags, prefix, index + 1),
        None => {
            out.push(flags);
            write_string(out, name.as_bytes());
        }
    }
    write_string(out, value.as_bytes());
}

/// Not what differs from one message to the next.
fn is_worth_keeping(name: &str) -> bool {
    !name.starts_with("x-origin-")
        && !matches!(
            name,
            ":path" | ":status" | "content-length" | "x-seed" | "age" | "etag" | "location" | "set-cookie"
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(decoder: &mut Decoder, block: &[u8]) -> Result<Vec<String>, Malformed> {
        let mut seen = Vec::new();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        decoder.decode(block, |name, value| seen.push(format!("{}: {}", text(name), text(value))))?;
        Ok(seen)
    }

    /// RFC 7541 appendix C.6: responses in a table of 256 bytes, which the second and third evict from.
    #[test]
    fn the_example_of_rfc_7541_with_eviction() {
        let mut decoder = Decoder::default();
        let first = b"\x3f\xe1\x01\x48\x82\x64\x02\x58\x85\xae\xc3\x77\x1a\x4b\x61\x96\xd0\x7a\xbe\x94\x10\x54\xd4\x44\
            \xa8\x20\x05\x95\x04\x0b\x81\x66\xe0\x82\xa6\x2d\x1b\xff\x6e\x91\x9d\x29\xad\x17\x18\x63\xc7\x8f\x0b\x97\
            \xc8\xe9\xae\x82\xae\x43\xd3";
        let expected =
            ["cache-control: private", "date: Mon, 21 Oct 2013 20:13:21 GMT", "location: https://www.example.com"];
        let seen = fields(&mut decoder, first).unwrap();
        assert_eq!((seen[0].as_str(), &seen[1..]), (":status: 302", &expected.map(String::from)[..]));
        assert_eq!(decoder.size, 222);
        let seen = fields(&mut decoder, b"\x48\x83\x64\x0e\xff\xc1\xc0\xbf").unwrap();
        assert_eq!((seen[0].as_str(), &seen[1..]), (":status: 307", &expected.map(String::from)[..]));
        assert_eq!((decoder.size, decoder.table.len()), (222, 4));
    }

    #[test]
    fn blocks_refer_to_what_the_first_one_kept() {
        let list = [(":method", "GET"), (":authority", "a.example"), (":path", "/x"), ("x-long-name", "value")];
        let blocks = Blocks::new(&list);
        let expected = list.map(|(name, value)| format!("{name}: {value}"));
        let mut decoder = Decoder::default();
        assert_eq!(fields(&mut decoder, &blocks.first).unwrap(), expected);
        for _ in 0..2 {
            assert_eq!(fields(&mut decoder, &blocks.later).unwrap(), expected);
        }
        assert!(blocks.later.len() < 8, "{blocks:?}");
        assert_eq!(fields(&mut Decoder::default(), &blocks.alone).unwrap(), expected);
    }

    #[test]
    fn what_does_not_fit_the_table_is_sent_each_time() {
        let long = "v".repeat(3_000);
        let list = [("a", long.as_str()), ("b", long.as_str()), ("c", "short")];
        let blocks = Blocks::new(&list);
        let mut decoder = Decoder::default();
        let first = fields(&mut decoder, &blocks.first).unwrap();
        assert_eq!((fields(&mut decoder, &blocks.later), decoder.table.len()), (Ok(first), 2));
    }

    #[test]
    fn broken_blocks_are_refused() {
        for block in [&b"\x80"[..], b"\xbf", b"\x40\x05ab", b"\x3f\xe2\x1f", b"\xff\xff\xff\xff\xff\xff\xff"] {
            assert!(fields(&mut Decoder::default(), block).is_err(), "{block:x?}");
        }
    }
}
