//! What must hold for any header blocks, without another implementation (see `differential` for that).

use crate::codec::h2::hpack::{Budget, Decoder, Error, FIELD_OVERHEAD, Pseudo, encode};
use crate::http::{FieldId, Span};

/// A field, its text taken out of the arena.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    pub name: Vec<u8>,
    pub value: Vec<u8>,
    id: FieldId,
    pseudo: Option<Pseudo>,
    is_valid: bool,
    never_indexed: bool,
}

/// A connection: the first byte chooses its settings, the second one the budget, and each block comes behind its length.
pub struct Input<'d> {
    pub table_size: u32,
    pub is_acknowledged: bool,
    budget: u32,
    pub blocks: Vec<&'d [u8]>,
}

impl<'d> Input<'d> {
    pub fn of(data: &'d [u8]) -> Option<Self> {
        let [settings, budget, rest @ ..] = data else { return None };
        let table_size = [4096, 0, 64, 200, 16_384][usize::from(settings & 0x7f) % 5];
        let (mut rest, mut blocks) = (rest, Vec::new());
        while let Some((len, behind)) = rest.split_first() {
            let (block, behind) = behind.split_at(behind.len().min(usize::from(*len)));
            blocks.push(block);
            rest = behind;
        }
        Some(Self { table_size, is_acknowledged: settings & 0x80 == 0, budget: u32::from(*budget) * 8, blocks })
    }

    pub fn decoder(&self) -> Decoder {
        let mut decoder = Decoder::new(self.table_size);
        if self.is_acknowledged {
            decoder.acknowledged();
        }
        decoder
    }
}

/// Every field is what an independent reading of its text says, a budget changes nothing but what is shown, and fields
/// that are written are read back.
pub fn hpack(data: &[u8]) {
    let Some(input) = Input::of(data) else { return };
    let (mut whole, mut limited) = (input.decoder(), input.decoder());
    for block in &input.blocks {
        let mut budget = Budget::new(input.budget, 20);
        let shown = read(&mut limited, block, &mut budget);
        let fields = read(&mut whole, block, &mut Budget::new(u32::MAX, u16::MAX));
        match (&fields, &shown) {
            (Ok(fields), Ok(shown)) => {
                assert!(fields.starts_with(shown));
                assert_eq!(budget.is_exceeded, shown.len() < fields.len());
                let size = |field: &Field| field.name.len() as u32 + field.value.len() as u32 + FIELD_OVERHEAD;
                assert_eq!(input.budget - budget.bytes, shown.iter().map(size).sum::<u32>());
                is_read_back(fields);
            }
            (Ok(_), Err(Error::Excessive)) => return,
            (Err(error), Err(other)) => return assert_eq!(error, other),
            _ => panic!("{fields:?}, and with a budget {shown:?}"),
        }
    }
    assert_eq!(entries(&mut limited), entries(&mut whole));
}

/// The fields of a block, each of them checked.
pub fn read(decoder: &mut Decoder, block: &[u8], budget: &mut Budget) -> Result<Vec<Field>, Error> {
    const BEFORE: &[u8] = b"before";
    let (mut arena, mut fields, mut end) = (BEFORE.to_vec(), Vec::new(), BEFORE.len());
    decoder.decode(block, &mut arena, budget, |field, arena| {
        let (name, value) = (field.name.of(arena), field.value.of(arena));
        assert_eq!((field.name.start as usize, field.value.start), (end, field.name.end));
        end += name.len() + value.len();
        assert_eq!(arena.len(), end);
        let (id, pseudo, is_valid) = judge(name, value);
        assert_eq!((field.id, field.pseudo, field.is_valid), (id, pseudo, is_valid));
        let (name, value) = (name.to_vec(), value.to_vec());
        fields.push(Field { name, value, id, pseudo, is_valid, never_indexed: field.never_indexed });
    })?;
    assert_eq!(Span::new(0, BEFORE.len()).of(&arena), BEFORE);
    assert_eq!(arena.len(), end);
    Ok(fields)
}

/// RFC 9113 section 8.2.1, slowly.
fn judge(name: &[u8], value: &[u8]) -> (FieldId, Option<Pseudo>, bool) {
    let pseudo = match name {
        b":authority" => Some(Pseudo::Authority),
        b":method" => Some(Pseudo::Method),
        b":path" => Some(Pseudo::Path),
        b":protocol" => Some(Pseudo::Protocol),
        b":scheme" => Some(Pseudo::Scheme),
        b":status" => Some(Pseudo::Status),
        [b':', ..] => Some(Pseudo::Unknown),
        _ => None,
    };
    let is_name_byte = |byte: &u8| byte.is_ascii_graphic() && !b"\"(),/:;<=>?@[\\]{}".contains(byte);
    let is_token = !name.is_empty() && name.iter().all(|byte| is_name_byte(byte) && !byte.is_ascii_uppercase());
    let is_name = if pseudo.is_some() { pseudo != Some(Pseudo::Unknown) } else { is_token };
    let is_value = value.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f));
    let is_blank = |byte: Option<&u8>| byte.is_some_and(|byte| b" \t".contains(byte));
    let is_trimmed = !is_blank(value.first()) && !is_blank(value.last());
    let id = FieldId::ALL.iter().find(|id| id.name().as_bytes() == name).copied();
    (id.unwrap_or_default(), pseudo, is_name && is_value && is_trimmed)
}

/// The dynamic table, the newest entry first.
pub fn entries(decoder: &mut Decoder) -> Vec<Field> {
    let at = |index: usize| {
        // An index of two bytes or three (RFC 7541 section 5.1).
        let block = match index.checked_sub(127) {
            None => vec![0x80 | index as u8],
            Some(rest @ ..128) => vec![0xff, rest as u8],
            Some(rest) => vec![0xff, rest as u8 | 0x80, (rest >> 7) as u8],
        };
        read(decoder, &block, &mut Budget::new(u32::MAX, 1)).ok()
    };
    (62..).map_while(at).flatten().collect()
}

/// Writes the valid fields and reads them again.
fn is_read_back(fields: &[Field]) {
    let (mut out, mut written) = (Vec::new(), Vec::new());
    encode::begin(&mut out);
    for field in fields.iter().filter(|field| field.is_valid) {
        match field.pseudo {
            None => encode::field(&mut out, field.id, &field.name, &field.value, field.never_indexed),
            Some(Pseudo::Method) if is_token(&field.value) => {
                encode::method(&mut out, &field.value);
            }
            Some(Pseudo::Authority) => encode::authority(&mut out, &field.value),
            Some(Pseudo::Path) if field.value.iter().all(u8::is_ascii_graphic) => {
                let (path, query) = field.value.split_at(field.value.len() / 2);
                encode::path(&mut out, [path, query]);
            }
            Some(Pseudo::Scheme) if field.value == b"http" || field.value == b"https" => {
                encode::scheme(&mut out, field.value == b"https");
            }
            Some(Pseudo::Status) if matches!(field.value[..], [b'1'..=b'9', b'0'..=b'9', b'0'..=b'9']) => {
                encode::status(&mut out, std::str::from_utf8(&field.value).unwrap().parse().unwrap());
            }
            _ => continue,
        }
        written.push(field);
    }
    let again = read(&mut Decoder::new(0), &out, &mut Budget::new(u32::MAX, u16::MAX)).unwrap();
    assert_eq!(again.len(), written.len());
    for (again, field) in again.iter().zip(written) {
        assert_eq!((&again.name, &again.value), (&field.name, &field.value));
        // Pseudo-header fields have no place for it; credentials get it here.
        assert!(again.never_indexed || !field.never_indexed || field.pseudo.is_some());
    }
}

fn is_token(value: &[u8]) -> bool {
    !value.is_empty() && value.iter().all(|byte| byte.is_ascii_alphanumeric())
}
