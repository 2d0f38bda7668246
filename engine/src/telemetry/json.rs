//! Writes JSON, key by key: spans are written without an object for each of their parts.

use crate::base::address;
use crate::base::random::hex;
use crate::http::format::push_json;
use std::net::IpAddr;

/// An object that is being written.
pub struct Object<'o> {
    out: &'o mut Vec<u8>,
    is_empty: bool,
}

impl<'o> Object<'o> {
    pub fn new(out: &'o mut Vec<u8>) -> Self {
        out.push(b'{');
        Self { out, is_empty: true }
    }

    pub fn end(self) {
        self.out.push(b'}');
    }

    /// `key` needs no escapes.
    #[inline]
    fn key(&mut self, key: &str) {
        self.out.extend_from_slice(if std::mem::take(&mut self.is_empty) { b"\"" } else { b",\"" });
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
    }

    /// `key` needs no escapes.
    pub fn text(&mut self, key: &str, value: &[u8]) {
        self.key(key);
        quoted(self.out, value);
    }

    /// As `text`, with a value that needs no escapes either.
    pub fn word(&mut self, key: &str, value: &str) {
        self.key(key);
        self.out.push(b'"');
        self.out.extend_from_slice(value.as_bytes());
        self.out.push(b'"');
    }

    /// A text whose key is written already, with a comma in front and a colon behind it. `is_plain`: it needs no escapes.
    #[inline]
    pub fn keyed(&mut self, key: &'static str, value: &[u8], is_plain: bool) {
        let from = usize::from(std::mem::take(&mut self.is_empty));
        self.out.extend_from_slice(&key.as_bytes()[from..]);
        match is_plain {
            false => quoted(self.out, value),
            true => {
                self.out.push(b'"');
                self.out.extend_from_slice(value);
                self.out.push(b'"');
            }
        }
    }

    /// A text with a name from outside.
    pub fn named(&mut self, name: &[u8], value: &[u8]) {
        if !std::mem::take(&mut self.is_empty) {
            self.out.push(b',');
        }
        quoted(self.out, name);
        self.out.push(b':');
        quoted(self.out, value);
    }

    pub fn number(&mut self, key: &str, value: i64) {
        self.key(key);
        self.out.extend_from_slice(itoa::Buffer::new().format(value).as_bytes());
    }

    pub fn truth(&mut self, key: &str) {
        self.key(key);
        self.out.extend_from_slice(b"true");
    }

    /// Numbers as hexadecimal digits, 16 of each.
    pub fn hex(&mut self, key: &str, numbers: &[u64]) {
        self.key(key);
        self.out.push(b'"');
        numbers.iter().for_each(|number| self.out.extend_from_slice(&hex(*number)));
        self.out.push(b'"');
    }

    pub fn ip(&mut self, key: &str, ip: IpAddr) {
        self.key(key);
        self.out.push(b'"');
        self.out.extend_from_slice(&address::ip(ip));
        self.out.push(b'"');
    }

    pub fn object(&mut self, key: &str, write: impl FnOnce(&mut Object<'_>)) {
        self.key(key);
        let mut object = Object::new(self.out);
        write(&mut object);
        object.end();
    }

    /// An object for each item.
    pub fn array<T>(&mut self, key: &str, items: impl Iterator<Item = T>, mut write: impl FnMut(&mut Object<'_>, T)) {
        self.key(key);
        self.out.push(b'[');
        for (index, item) in items.enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            let mut object = Object::new(self.out);
            write(&mut object, item);
            object.end();
        }
        self.out.push(b']');
    }
}

/// The text between quotes.
fn quoted(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    push_json(text, out);
    out.push(b'"');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(write: impl FnOnce(&mut Object<'_>)) -> String {
        let mut out = Vec::new();
        let mut object = Object::new(&mut out);
        write(&mut object);
        object.end();
        String::from_utf8(out).expect("JSON is UTF-8")
    }

    #[test]
    fn values_of_all_kinds_are_written() {
        let text = written(|object| {
            object.text("a", b"b");
            object.number("n", -7);
            object.hex("h", &[0, 0xfedc_ba98_7654_3210]);
            object.word("w", "GET");
            object.keyed(",\"k\":", b"q\"", false);
            object.object("o", |inner| inner.keyed(",\"k\":", b"1", true));
            object.ip("i", [192, 0, 2, 1].into());
            object.truth("t");
            object.object("o", |inner| inner.named(b"x\"", b"y"));
            object.array("l", 0..2, |item, number| item.number("i", number));
            object.array("e", std::iter::empty::<()>(), |_, ()| {});
        });
        let expected = r#"{"a":"b","n":-7,"h":"0000000000000000fedcba9876543210","w":"GET","k":"q\"","o":{"k":"1"},"i":"192.0.2.1","t":true,"o":{"x\"":"y"},"l":[{"i":0},{"i":1}],"e":[]}"#;
        assert_eq!(text, expected);
    }

    /// A second implementation reads all that there is.
    #[test]
    fn any_bytes_become_text_that_is_read_back() {
        let all: Vec<u8> = (0..=255).collect();
        for bytes in
            [&all[..], b"", b"\"", b"\\", "\u{1f4a1}\u{7f}\u{80}\u{2028}".as_bytes(), b"\xf0\x9f", b"a\xed\xa0\x80b"]
        {
            let text = written(|object| object.named(bytes, bytes));
            let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            let texts = bytes.utf8_chunks().map(|part| {
                let invalid = part.invalid().iter().map(|byte| format!("\\x{byte:02x}"));
                format!("{}{}", part.valid(), invalid.collect::<String>())
            });
            let expected: String = texts.collect();
            assert_eq!(value[&expected], expected);
        }
    }
}
