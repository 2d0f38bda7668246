//! What is said of a field besides its text: id, pseudo-header field, validity, never-indexed.

use super::super::statics::{BY_ID, FIELDS};
use super::super::{Decoded, Decoder, Name, Pseudo, is_valid_value};
use super::{decoder, hex, to_index, unlimited};
use crate::http::FieldId;

fn fields(decoder: &mut Decoder, block: &[u8]) -> Vec<Decoded> {
    let mut fields = Vec::new();
    decoder.decode(block, &mut Vec::new(), &mut unlimited(), |field, _| fields.push(*field)).unwrap();
    fields
}

/// The static table says what a look at its text would say.
#[test]
fn the_static_table_knows_its_names() {
    for (at, field) in FIELDS.iter().enumerate() {
        let (name, value) = field.text.split_at(field.name_len as usize);
        assert_eq!(field.name, Name::of(name.as_bytes()), "{name}");
        assert!(field.name.is_valid && is_valid_value(value.as_bytes()));
        let decoded = fields(&mut decoder(4096), &[0x80 | (at as u8 + 1)])[0];
        assert_eq!((decoded.id, decoded.pseudo, decoded.is_valid), (field.name.id, field.name.pseudo, true));
        assert_eq!((decoded.name.len(), decoded.value.len()), (name.len(), value.len()));
    }
    for id in FieldId::ALL {
        let index = FIELDS.iter().position(|field| field.name.id == *id).map_or(0, |at| at + 1);
        assert_eq!(usize::from(BY_ID[*id as usize]), index, "{}", id.name());
    }
    assert_eq!(BY_ID[FieldId::Unknown as usize], 0);
}

/// Every name with an id gets it as a literal, as an entry, and as the name of another literal.
#[test]
fn ids_and_pseudo_headers_in_every_representation() {
    let pseudo = [
        (":authority", Pseudo::Authority),
        (":method", Pseudo::Method),
        (":path", Pseudo::Path),
        (":protocol", Pseudo::Protocol),
        (":scheme", Pseudo::Scheme),
        (":status", Pseudo::Status),
    ];
    let names = FieldId::ALL.iter().map(|id| (id.name(), *id, None));
    for (name, id, pseudo) in names.chain(pseudo.map(|(name, it)| (name, FieldId::Unknown, Some(it)))) {
        let mut decoder = decoder(4096);
        let literal = [&[0, name.len() as u8][..], name.as_bytes(), b"\x01v"].concat();
        let block = [literal, to_index(name, "value"), hex("be 7e 0161 0f2f 0162 1f2f 0163")].concat();
        let fields = fields(&mut decoder, &block);
        assert_eq!(fields.len(), 6);
        for field in fields {
            assert_eq!((field.id, field.pseudo, field.is_valid), (id, pseudo, true), "{name}");
        }
    }
}

/// RFC 9113 section 8.2.1: names are lower-case tokens; values have no NUL, CR or LF (nor another control character), and
/// no white space at their ends. An entry remembers it, for its name and its value.
#[test]
fn validity_is_remembered() {
    let cases = [
        ("name", "value", true, true),
        ("x-1!#$%&'*+.^_`|~", "", true, true),
        ("name", "a \t b\u{e9}", true, true),
        ("", "value", false, false),
        ("Name", "value", false, false),
        ("Host", "value", false, false),
        ("na me", "value", false, false),
        ("na:me", "value", false, false),
        ("name:", "value", false, false),
        ("na\0me", "value", false, false),
        ("na\u{e9}me", "value", false, false),
        (":unknown", "value", false, false),
        (":", "value", false, false),
        (":Path", "value", false, false),
        (":path", "/a\r\n", true, false),
        ("name", " value", true, false),
        ("name", "value\t", true, false),
        ("name", " ", true, false),
        ("name", "a\nb", true, false),
        ("name", "a\rb", true, false),
        ("name", "a\0b", true, false),
        ("name", "a\u{7f}b", true, false),
    ];
    for (name, value, name_is_valid, is_valid) in cases {
        let mut decoder = decoder(4096);
        // The literal, the entry, and the entry's name with a valid value.
        let fields = fields(&mut decoder, &[to_index(name, value), hex("be 7e 0176 be")].concat());
        let verdicts: Vec<bool> = fields.iter().map(|field| field.is_valid).collect();
        assert_eq!(verdicts, [is_valid, is_valid, name_is_valid, name_is_valid], "{name:?}: {value:?}");
        let is_pseudo = name.starts_with(':');
        assert!(fields.iter().all(|field| field.pseudo.is_some() == is_pseudo));
        assert!(is_pseudo || name_is_valid || fields.iter().all(|field| field.id == FieldId::Unknown));
    }
}

/// "When a header field is represented as a literal header field never indexed, it MUST always be encoded with this
/// specific literal representation" (RFC 7541 section 7.1.3): only that representation says so.
#[test]
fn never_indexed_is_told() {
    let block = hex("10 0161 0176 1401 2f 00 0161 0176 04012f 40 0161 0176 be 82");
    let never: Vec<bool> = fields(&mut decoder(4096), &block).iter().map(|field| field.never_indexed).collect();
    assert_eq!(never, [true, true, false, false, false, false, false]);
}
