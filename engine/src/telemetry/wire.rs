//! Writes and reads protobuf's wire format, field by field: spans are written without an object for each of their parts.

use std::fmt::Write as _;

/// Appends fields to bytes.
pub struct Fields<'o>(pub &'o mut Vec<u8>);

const VARINT: u32 = 0;
const FIXED64: u32 = 1;
const BYTES: u32 = 2;
const FIXED32: u32 = 5;

impl Fields<'_> {
    /// uint64, uint32, int64, bool, enum. A zero is written, too.
    pub fn varint(&mut self, field: u32, value: u64) {
        self.key(field, VARINT);
        varint(self.0, value);
    }

    pub fn fixed64(&mut self, field: u32, value: u64) {
        self.key(field, FIXED64);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub fn fixed32(&mut self, field: u32, value: u32) {
        self.key(field, FIXED32);
        self.0.extend_from_slice(&value.to_le_bytes());
    }

    pub fn bytes(&mut self, field: u32, value: &[u8]) {
        self.key(field, BYTES);
        varint(self.0, value.len() as u64);
        self.0.extend_from_slice(value);
    }

    /// A string, which has to be UTF-8: what is not becomes the text `\xNN`, as in JSON.
    pub fn text(&mut self, field: u32, value: &[u8]) {
        match is_text(value) {
            true => self.bytes(field, value),
            false => self.bytes(field, as_text(value).as_bytes()),
        }
    }

    /// A message whose fields 1 and 2 are texts, such as an entry of a map. It is the same as `message` with two `text`, and
    /// spans consist of these.
    #[inline]
    pub fn pair(&mut self, field: u32, name: &[u8], value: &[u8]) {
        let front = |length| [key(2, BYTES), length];
        self.named(field, name, value, front, |pair| pair.text(2, value));
    }

    /// The same where the second field is a message with the text, in its field 1: an attribute of OpenTelemetry.
    #[inline]
    pub fn attribute(&mut self, field: u32, name: &[u8], value: &[u8]) {
        let front = |length| [key(2, BYTES), length + 2, key(1, BYTES), length];
        self.named(field, name, value, front, |pair| pair.message(2, |any| any.text(1, value)));
    }

    /// A message whose field 1 is `name`, and whose last bytes are `value`. Between them are those of `front`, for the length of a
    /// short `value`; where the message is not short, `long` writes all that comes behind the name.
    #[inline]
    fn named<const N: usize>(
        &mut self,
        field: u32,
        name: &[u8],
        value: &[u8],
        front: impl FnOnce(u8) -> [u8; N],
        long: impl FnOnce(&mut Fields<'_>),
    ) {
        let length = 2 + name.len() + N + value.len();
        if length < ONE_BYTE && field < 16 && is_text(name) && is_text(value) {
            self.0.reserve(length + 2);
            self.0.extend_from_slice(&[key(field, BYTES), length as u8, key(1, BYTES), name.len() as u8]);
            self.0.extend_from_slice(name);
            self.0.extend_from_slice(&front(value.len() as u8));
            self.0.extend_from_slice(value);
        } else {
            self.long_named(field, name, long);
        }
    }

    #[inline(never)]
    fn long_named(&mut self, field: u32, name: &[u8], rest: impl FnOnce(&mut Fields<'_>)) {
        self.message(field, |message| {
            message.text(1, name);
            rest(message);
        });
    }

    /// A message, whose fields `write` appends. Most are short.
    #[inline]
    pub fn message(&mut self, field: u32, write: impl FnOnce(&mut Fields<'_>)) {
        self.nested::<1>(field, write);
    }

    /// The same for one that probably takes 128 bytes or more.
    #[inline]
    pub fn long_message(&mut self, field: u32, write: impl FnOnce(&mut Fields<'_>)) {
        self.nested::<2>(field, write);
    }

    /// `N`: bytes that its length probably takes. Where it takes others, the message moves.
    #[inline]
    fn nested<const N: usize>(&mut self, field: u32, write: impl FnOnce(&mut Fields<'_>)) {
        self.key(field, BYTES);
        let at = self.0.len();
        self.0.extend_from_slice(&[0; N]);
        write(&mut Fields(self.0));
        let length = self.0.len() - at - N;
        if N == 1 && length < ONE_BYTE {
            self.0[at] = length as u8;
        } else {
            self.set_length(at, N, length);
        }
    }

    /// The message of this length is at `at`, behind `room` bytes for its length.
    #[inline(never)]
    fn set_length(&mut self, at: usize, room: usize, length: usize) {
        let mut prefix = [0; 10];
        let prefix = encode(length as u64, &mut prefix);
        if prefix.len() != room {
            let start = at + room;
            self.0.resize(self.0.len().max(at + prefix.len() + length), 0);
            self.0.copy_within(start..start + length, at + prefix.len());
            self.0.truncate(at + prefix.len() + length);
        }
        self.0[at..at + prefix.len()].copy_from_slice(prefix);
    }

    #[inline]
    fn key(&mut self, field: u32, kind: u32) {
        varint(self.0, u64::from(field << 3 | kind));
    }
}

/// Varints below this take one byte.
const ONE_BYTE: usize = 0x80;

/// What a field of a number below 16 begins with.
#[inline]
const fn key(field: u32, kind: u32) -> u8 {
    (field << 3 | kind) as u8
}

/// Most are ASCII, which is seen sooner.
#[inline]
fn is_text(bytes: &[u8]) -> bool {
    bytes.is_ascii() || std::str::from_utf8(bytes).is_ok()
}

#[cold]
fn as_text(bytes: &[u8]) -> String {
    let mut text = String::new();
    for part in bytes.utf8_chunks() {
        text += part.valid();
        for byte in part.invalid() {
            // Writing to a String cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
    text
}

#[inline]
fn varint(out: &mut Vec<u8>, value: u64) {
    match value < ONE_BYTE as u64 {
        true => out.push(value as u8),
        false => long_varint(out, value),
    }
}

#[inline(never)]
fn long_varint(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(encode(value, &mut [0; 10]));
}

fn encode(mut value: u64, room: &mut [u8; 10]) -> &[u8] {
    let mut length = 0;
    while value >= 0x80 {
        room[length] = value as u8 | 0x80;
        value >>= 7;
        length += 1;
    }
    room[length] = value as u8;
    &room[..=length]
}

/// A field that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The fields of a message, with their numbers. They end where the bytes are no message any more.
pub struct Message<'a>(pub &'a [u8]);

impl<'a> Iterator for Message<'a> {
    type Item = (u32, Value<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.varint()?;
        let field = u32::try_from(key >> 3).ok()?;
        let value = match key as u32 & 7 {
            VARINT => Value::Number(self.varint()?),
            FIXED64 => Value::Number(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            FIXED32 => Value::Number(u32::from_le_bytes(self.take(4)?.try_into().ok()?).into()),
            BYTES => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            _ => return None,
        };
        Some((field, value))
    }
}

impl<'a> Message<'a> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }

    fn take(&mut self, count: u64) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(usize::try_from(count).ok()?)?;
        self.0 = rest;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Examples of protobuf's page on encoding.
    #[test]
    fn fields_are_written_as_protobuf_describes_them() {
        let mut out = Vec::new();
        let mut fields = Fields(&mut out);
        fields.varint(1, 150);
        fields.text(2, b"testing");
        fields.message(3, |inner| inner.varint(1, 150));
        fields.fixed32(4, 1);
        fields.fixed64(16, 2);
        let expected = b"\x08\x96\x01\x12\x07testing\x1a\x03\x08\x96\x01\x25\x01\0\0\0\x81\x01\x02\0\0\0\0\0\0\0";
        assert_eq!(out, expected);
    }

    #[test]
    fn messages_of_any_length_are_read_as_they_were_written() {
        for length in [0, 1, 127, 128, 129, 16_383, 16_384, 70_000] {
            let text = vec![b'x'; length];
            let fill = |inner: &mut Fields<'_>| {
                inner.message(1, |innermost| innermost.bytes(2, &text));
                inner.varint(3, u64::MAX);
            };
            let (mut out, mut long) = (Vec::new(), Vec::new());
            Fields(&mut out).message(7, fill);
            Fields(&mut long).long_message(7, fill);
            assert_eq!(out, long, "{length}");
            Fields(&mut out).varint(8, 0);
            let outer: Vec<_> = Message(&out).collect();
            let [(7, Value::Bytes(inner)), (8, Value::Number(0))] = outer[..] else { panic!("{length}: {outer:?}") };
            let inner: Vec<_> = Message(inner).collect();
            let [(1, Value::Bytes(innermost)), (3, Value::Number(u64::MAX))] = inner[..] else { panic!("{length}") };
            assert_eq!(Message(innermost).collect::<Vec<_>>(), [(2, Value::Bytes(&text))], "{length}");
        }
    }

    #[test]
    fn a_pair_is_a_message_of_two_texts() {
        let long = vec![b'x'; 200];
        for (name, value) in [
            (&b"name"[..], &b"value"[..]),
            (b"", b""),
            (b"caf\xc3\xa9", b"\xff"),
            (&long[..100], &long[..23]),
            (&long[..100], &long[..24]),
            (&long[..100], &long[..21]),
            (&long[..100], &long[..22]),
            (&long, b"v"),
            (b"n", &long),
        ] {
            for field in [1, 15, 16, 2000] {
                let (mut pair, mut message) = (Vec::new(), Vec::new());
                Fields(&mut pair).pair(field, name, value);
                Fields(&mut message).message(field, |fields| {
                    fields.text(1, name);
                    fields.text(2, value);
                });
                assert_eq!(pair, message, "{field} {name:?} {value:?}");
                let (mut attribute, mut message) = (Vec::new(), Vec::new());
                Fields(&mut attribute).attribute(field, name, value);
                Fields(&mut message).message(field, |fields| {
                    fields.text(1, name);
                    fields.message(2, |any| any.text(1, value));
                });
                assert_eq!(attribute, message, "{field} {name:?} {value:?}");
            }
        }
    }

    #[test]
    fn text_that_is_none_becomes_text() {
        let mut out = Vec::new();
        Fields(&mut out).text(1, b"a\xffb");
        assert_eq!(out, b"\x0a\x06a\\xffb");
    }

    #[test]
    fn what_is_no_message_ends_it() {
        for bytes in
            [&b"\x80"[..], b"\x0a\x05abc", b"\x0b", b"\x09\0\0", b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"]
        {
            assert_eq!(Message(bytes).count(), 0, "{bytes:?}");
        }
    }
}
