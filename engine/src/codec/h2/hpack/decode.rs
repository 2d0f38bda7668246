//! Decoding header blocks (RFC 7541 sections 3 and 6).

use super::statics::{self, StaticField};
use super::table::Table;
use super::{DEFAULT_TABLE_SIZE, Error, FIELD_OVERHEAD, Name, Pseudo, huffman, integer, is_valid_value};
use crate::http::{FieldId, Span, grammar};

/// Times of the budget that a block may hold before it counts as an attack, and the least that this is. A field takes one
/// byte of a block and is up to as large as the table, so the length of blocks alone does not bound the work.
const EXCESS: u32 = 8;
const EXCESS_MIN: u32 = 512 * 1024;

/// A field as a block has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// In the arena, as the value.
    pub name: Span,
    pub value: Span,
    pub id: FieldId,
    pub pseudo: Option<Pseudo>,
    /// The name is a lower-case token or that of a known pseudo-header field, and the value has neither control characters
    /// nor white space at its ends (RFC 9113 section 8.2.1).
    pub is_valid: bool,
    /// Must be a never-indexed literal wherever it is forwarded to (RFC 7541 section 6.2.3).
    pub never_indexed: bool,
}

impl Decoded {
    /// The value without the white space at its ends, if nothing else is wrong with the field. HTTP/1 takes none of it for a
    /// part of the value (RFC 9110 section 5.5).
    #[cold]
    pub fn trimmed(&self, arena: &[u8]) -> Option<Span> {
        let value = self.value.of(arena);
        let is_field = self.pseudo.is_none() && Name::of(self.name.of(arena)).is_valid && grammar::is_value(value);
        let behind = value.trim_ascii_start();
        let start = self.value.start as usize + value.len() - behind.len();
        is_field.then(|| Span::new(start, start + behind.trim_ascii_end().len()))
    }
}

/// What the fields of one message may hold: SETTINGS_MAX_HEADER_LIST_SIZE (RFC 9113 section 6.5.2) and a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Left of the sum of names, values and 32 bytes for each field.
    pub bytes: u32,
    /// Fields left, each crumb of a cookie being one.
    pub fields: u16,
    /// A field did not fit; neither it nor any after it was shown.
    pub is_exceeded: bool,
    /// What may still be decoded once the budget is exceeded.
    excess: u32,
}

impl Budget {
    pub fn new(bytes: u32, fields: u16) -> Self {
        Self { bytes, fields, is_exceeded: false, excess: bytes.saturating_mul(EXCESS).max(EXCESS_MIN) }
    }

    /// Whether a field with this much text may be shown.
    #[inline]
    fn charge(&mut self, text_len: usize) -> Result<bool, Error> {
        let size = u32::try_from(text_len).unwrap_or(u32::MAX).saturating_add(FIELD_OVERHEAD);
        if !self.is_exceeded && self.fields > 0 && size <= self.bytes {
            self.fields -= 1;
            self.bytes -= size;
            return Ok(true);
        }
        self.is_exceeded = true;
        self.excess = self.excess.checked_sub(size).ok_or(Error::Excessive)?;
        Ok(false)
    }
}

/// Reads the header blocks of one direction of a connection, in their order and every one of them.
#[derive(Debug)]
pub struct Decoder {
    table: Table,
    /// What a size update may ask for.
    limit: u32,
    /// What was announced, and holds once it is acknowledged.
    announced: u32,
    /// The next block must begin with a size update.
    expects_update: bool,
}

impl Decoder {
    /// `announced`: SETTINGS_HEADER_TABLE_SIZE of the connection's first SETTINGS. Until the peer has acknowledged them
    /// it may still work with the default.
    pub fn new(announced: u32) -> Self {
        let limit = announced.max(DEFAULT_TABLE_SIZE);
        Self { table: Table::new(DEFAULT_TABLE_SIZE), limit, announced, expects_update: false }
    }

    /// The peer has acknowledged the SETTINGS. If they made its table smaller, its next block begins with saying so (RFC
    /// 7541 section 4.2).
    pub fn acknowledged(&mut self) {
        self.limit = self.announced;
        self.expects_update |= self.table.max() > self.limit;
    }

    /// Reads one whole block: a HEADERS frame's fragment with those of its CONTINUATIONs. Each field is appended to `arena`
    /// and passed to `each` together with the arena. What exceeds the budget is decoded for the table's sake only. After
    /// an error the connection cannot go on.
    #[inline]
    pub fn decode(
        &mut self,
        block: &[u8],
        arena: &mut Vec<u8>,
        budget: &mut Budget,
        mut each: impl FnMut(&Decoded, &[u8]),
    ) -> Result<(), Error> {
        let mut input = block;
        self.size_updates(&mut input)?;
        while let Some(&first) = input.first() {
            let start = arena.len();
            let shape = if first & 0x80 != 0 {
                self.indexed(&mut input, arena, budget)?
            } else if first & 0x40 != 0 {
                self.literal_to_index(&mut input, arena, budget)?
            } else if first & 0x20 != 0 {
                return Err(Error::SizeUpdate);
            } else if !budget.is_exceeded {
                self.literal(&mut input, arena, budget)?
            } else {
                self.skip_literal(&mut input, arena, budget)?;
                None
            };
            if let Some(shape) = shape {
                each(&shape.at(start, arena.len()), arena);
            }
        }
        Ok(())
    }

    /// Size updates at the block's beginning: the smallest size since the last block, and the final one.
    fn size_updates(&mut self, input: &mut &[u8]) -> Result<(), Error> {
        let is_update = |input: &[u8]| input.first().is_some_and(|first| first & 0xe0 == 0x20);
        for _ in 0..2 {
            if !is_update(input) {
                break;
            }
            let size = integer::read(input, 5)?;
            if size > self.limit {
                return Err(Error::SizeUpdate);
            }
            self.table.set_max(size);
            self.expects_update = false;
        }
        if self.expects_update { Err(Error::NoSizeUpdate) } else { Ok(()) }
    }

    /// A field of a table (RFC 7541 section 6.1).
    #[inline]
    fn indexed(&self, input: &mut &[u8], arena: &mut Vec<u8>, budget: &mut Budget) -> Result<Option<Shape>, Error> {
        let index = integer::read(input, 7)?;
        match self.find(index)? {
            Found::Static(field) => {
                if !budget.charge(field.text.len())? {
                    return Ok(None);
                }
                arena.extend_from_slice(field.text.as_bytes());
                Ok(Some(Shape::new(field.name_len, field.name, true)))
            }
            Found::Dynamic(entry) => {
                if !budget.charge(entry.len as usize)? {
                    return Ok(None);
                }
                self.table.copy(entry, entry.len, arena);
                Ok(Some(Shape::new(entry.name_len, entry.name, entry.value_is_valid)))
            }
        }
    }

    /// A literal that becomes an entry (RFC 7541 section 6.2.1), whether or not it is shown.
    fn literal_to_index(
        &mut self,
        input: &mut &[u8],
        arena: &mut Vec<u8>,
        budget: &mut Budget,
    ) -> Result<Option<Shape>, Error> {
        let start = arena.len();
        let name = self.name(input, 6, arena)?;
        let name_end = arena.len();
        string(input, arena)?;
        let value_is_valid = is_valid_value(&arena[name_end..]);
        self.table.insert(&arena[start..], (name_end - start) as u32, name, value_is_valid);
        if !budget.charge(arena.len() - start)? {
            arena.truncate(start);
            return Ok(None);
        }
        Ok(Some(Shape::new((name_end - start) as u32, name, value_is_valid)))
    }

    /// A literal without indexing, or never to be indexed (RFC 7541 sections 6.2.2 and 6.2.3).
    fn literal(&mut self, input: &mut &[u8], arena: &mut Vec<u8>, budget: &mut Budget) -> Result<Option<Shape>, Error> {
        let never_indexed = input.first().is_some_and(|first| first & 0x10 != 0);
        let start = arena.len();
        let name = self.name(input, 4, arena)?;
        let name_end = arena.len();
        string(input, arena)?;
        if !budget.charge(arena.len() - start)? {
            arena.truncate(start);
            return Ok(None);
        }
        let value_is_valid = is_valid_value(&arena[name_end..]);
        Ok(Some(Shape { never_indexed, ..Shape::new((name_end - start) as u32, name, value_is_valid) }))
    }

    /// A literal of no consequence: its form is checked.
    #[cold]
    fn skip_literal(&self, input: &mut &[u8], arena: &mut Vec<u8>, budget: &mut Budget) -> Result<(), Error> {
        let name_len = match integer::read(input, 4)? {
            0 => skip_string(input, arena)?,
            index => match self.find(index)? {
                Found::Static(field) => field.name_len as usize,
                Found::Dynamic(entry) => entry.name_len as usize,
            },
        };
        let value_len = skip_string(input, arena)?;
        budget.charge(name_len + value_len).map(|_| ())
    }

    /// The name of a literal, appended to `arena`: that of an entry, or a string.
    #[inline]
    fn name(&self, input: &mut &[u8], prefix: u32, arena: &mut Vec<u8>) -> Result<Name, Error> {
        let index = integer::read(input, prefix)?;
        if index == 0 {
            let start = arena.len();
            string(input, arena)?;
            return Ok(Name::of(&arena[start..]));
        }
        match self.find(index)? {
            Found::Static(field) => {
                arena.extend_from_slice(&field.text.as_bytes()[..field.name_len as usize]);
                Ok(field.name)
            }
            Found::Dynamic(entry) => {
                self.table.copy(entry, entry.name_len, arena);
                Ok(entry.name)
            }
        }
    }

    #[inline]
    fn find(&self, index: u32) -> Result<Found<'_>, Error> {
        let at = index.checked_sub(1).ok_or(Error::Index)?;
        match at.checked_sub(statics::COUNT) {
            None => Ok(Found::Static(&statics::FIELDS[at as usize])),
            Some(at) => self.table.get(at).map(Found::Dynamic).ok_or(Error::Index),
        }
    }
}

/// Where an index leads.
enum Found<'d> {
    Static(&'static StaticField),
    Dynamic(&'d super::table::Entry),
}

/// What there is to say of a field apart from its place: few bytes, which need no memory on their way.
#[derive(Clone, Copy)]
struct Shape {
    name_len: u32,
    name: Name,
    value_is_valid: bool,
    never_indexed: bool,
}

impl Shape {
    #[inline]
    fn new(name_len: u32, name: Name, value_is_valid: bool) -> Self {
        Self { name_len, name, value_is_valid, never_indexed: false }
    }

    /// The field whose text has this place in the arena.
    #[inline]
    fn at(self, start: usize, end: usize) -> Decoded {
        let Self { name_len, name, value_is_valid, never_indexed } = self;
        let name_end = start + name_len as usize;
        Decoded {
            name: Span::new(start, name_end),
            value: Span::new(name_end, end),
            id: name.id,
            pseudo: name.pseudo,
            is_valid: name.is_valid && value_is_valid,
            never_indexed,
        }
    }
}

/// The encoded bytes of a string, and whether they are in the Huffman code.
#[inline]
fn encoded<'b>(input: &mut &'b [u8]) -> Result<(&'b [u8], bool), Error> {
    let is_huffman = input.first().is_some_and(|first| first & 0x80 != 0);
    let len = integer::read(input, 7)?;
    let (bytes, rest) = input.split_at_checked(len as usize).ok_or(Error::Truncated)?;
    *input = rest;
    Ok((bytes, is_huffman))
}

/// A string literal (RFC 7541 section 5.2), appended to `arena`.
#[inline]
fn string(input: &mut &[u8], arena: &mut Vec<u8>) -> Result<(), Error> {
    let (bytes, is_huffman) = encoded(input)?;
    if is_huffman {
        return huffman_string(bytes, arena);
    }
    arena.extend_from_slice(bytes);
    Ok(())
}

fn huffman_string(bytes: &[u8], arena: &mut Vec<u8>) -> Result<(), Error> {
    let start = arena.len();
    arena.resize(start + huffman::decoded_max(bytes.len()), 0);
    let len = huffman::decode(bytes, &mut arena[start..])?;
    arena.truncate(start + len);
    Ok(())
}

/// The length of a string literal whose bytes are of no use; `arena` is lent.
fn skip_string(input: &mut &[u8], arena: &mut Vec<u8>) -> Result<usize, Error> {
    let (bytes, is_huffman) = encoded(input)?;
    if !is_huffman {
        return Ok(bytes.len());
    }
    let start = arena.len();
    huffman_string(bytes, arena)?;
    let len = arena.len() - start;
    arena.truncate(start);
    Ok(len)
}
