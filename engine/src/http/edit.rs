//! Edits of a head: fields are changed in the index, and their new bytes stand apart from the received ones.

use super::field::{Field, Fields};
use super::field_id::FieldId;
use super::span::{EditBytes, HeadView, Span};

/// A head's fields with the bytes they are in. Names are in lower case.
pub struct HeadEditor<'a> {
    pub fields: &'a mut Fields,
    pub received: &'a [u8],
    pub edits: &'a mut EditBytes,
}

impl HeadEditor<'_> {
    pub fn view(&self) -> HeadView<'_> {
        HeadView { received: self.received, edits: self.edits.as_slice() }
    }

    /// The value of the first line of this name.
    pub fn value(&self, name: &[u8]) -> Option<&[u8]> {
        self.fields.find(name, self.view()).map(|field| field.value.of(self.view()))
    }

    pub fn contains(&self, name: &[u8]) -> bool {
        self.fields.find(name, self.view()).is_some()
    }

    /// Whether a line of this name goes on. One that the sender named in `connection` does not, and counts for nothing: it
    /// must not keep the proxy from setting its own.
    pub fn forwards(&self, id: FieldId, name: &[u8]) -> bool {
        let is_it = |field: &Field| !field.hop_by_hop && field.is_named(id, name, self.view());
        self.fields.contains(id) && self.fields.iter().any(is_it)
    }

    /// As `forwards`, for a name that has an id.
    pub fn forwards_known(&self, id: FieldId) -> bool {
        self.forwards(id, b"")
    }

    /// Whether there was one.
    pub fn remove(&mut self, name: &[u8]) -> bool {
        let view = HeadView { received: self.received, edits: self.edits.as_slice() };
        self.fields.remove(name, view)
    }

    /// One more line, whether or not there are others of this name.
    pub fn add(&mut self, name: &[u8], value: &[u8]) {
        self.add_with(name, |out| out.extend_from_slice(value));
    }

    /// As `add`, with a value that `write` appends to the bytes it is given.
    pub fn add_with(&mut self, name: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        self.add_line(FieldId::lookup(name), name, write);
    }

    /// As `add`, with a value that is in the edits already.
    pub fn add_stored(&mut self, name: &[u8], value: Span) {
        let id = FieldId::lookup(name);
        let name = self.edits.store(|out| out.extend_from_slice(name));
        self.fields.push(Field { name, value, id, hop_by_hop: false, never_indexed: false, is_canonical: false });
    }

    /// As `add`, for a name that has an id.
    #[inline]
    pub fn add_known(&mut self, id: FieldId, write: impl FnOnce(&mut Vec<u8>)) {
        self.add_line(id, id.name().as_bytes(), write);
    }

    /// The line is stored as it goes out, so that lines added one behind the other are copied as one piece
    /// (`Field::canonical_line`).
    #[inline]
    fn add_line(&mut self, id: FieldId, name: &[u8], write: impl FnOnce(&mut Vec<u8>)) {
        let (name, value) = self.edits.store_line(name, write);
        self.fields.push(Field { name, value, id, hop_by_hop: false, never_indexed: false, is_canonical: true });
    }

    /// As `add_known`, with the whole line as it goes out: name, colon, space, value, CRLF.
    #[inline]
    pub fn add_whole(&mut self, id: FieldId, line: &[u8]) {
        let (name, value) = self.edits.store_whole_line(id.name().len(), line);
        self.fields.push(Field { name, value, id, hop_by_hop: false, never_indexed: false, is_canonical: true });
    }

    /// The only line of this name.
    pub fn set(&mut self, name: &[u8], value: &[u8]) {
        self.remove(name);
        self.add(name, value);
    }

    /// `value` behind the last line of this name, after a comma (RFC 9110 section 5.3), or a line of its own.
    pub fn append(&mut self, name: &[u8], value: &[u8]) {
        let id = FieldId::lookup(name);
        let view = HeadView { received: self.received, edits: self.edits.as_slice() };
        let last = || self.fields.as_slice().iter().rposition(|field| field.is_named(id, name, view));
        match self.fields.contains(id).then(last).flatten() {
            Some(at) => self.append_at(at, |out| out.extend_from_slice(value)),
            None => self.add(name, value),
        }
    }

    /// As `append`, for a name that has an id. `write` adds the value.
    pub fn append_known(&mut self, id: FieldId, write: impl FnOnce(&mut Vec<u8>)) {
        let last = || self.fields.as_slice().iter().rposition(|field| field.id == id);
        match self.fields.contains(id).then(last).flatten() {
            Some(at) => self.append_at(at, write),
            None => self.add_known(id, write),
        }
    }

    fn append_at(&mut self, at: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let old = self.fields.as_slice()[at].value;
        let separator: &[u8] = if old.is_empty() { b"" } else { b", " };
        let joined = self.edits.extend(self.received, old, |out| {
            out.extend_from_slice(separator);
            write(out);
        });
        let line = &mut self.fields.as_mut_slice()[at];
        line.set_value(joined);
        // What the proxy says goes on, whatever the sender named in `connection`.
        line.hop_by_hop = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::h1::{Limits, parse_request};
    use crate::http::RequestHead;

    const BYTES: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nVia: 1.0 a\r\nx-a: 2\r\n\r\n";

    fn edited(edit: impl Fn(&mut HeadEditor<'_>)) -> Vec<String> {
        let mut head = RequestHead::default();
        parse_request(BYTES, &Limits::default(), &mut head).expect("valid");
        let mut edits = EditBytes::default();
        edit(&mut HeadEditor { fields: &mut head.fields, received: BYTES, edits: &mut edits });
        let view = HeadView { received: BYTES, edits: edits.as_slice() };
        let text = |span: Span| String::from_utf8_lossy(span.of(view)).into_owned();
        head.fields.iter().map(|field| format!("{}={}", text(field.name), text(field.value))).collect()
    }

    #[test]
    fn lines_are_added_replaced_joined_and_removed() {
        assert_eq!(edited(|head| head.add(b"x-a", b"3")), ["Host=h", "X-A=1", "Via=1.0 a", "x-a=2", "x-a=3"]);
        assert_eq!(edited(|head| head.set(b"x-a", b"3")), ["Host=h", "Via=1.0 a", "x-a=3"]);
        assert_eq!(edited(|head| head.append(b"x-a", b"3")), ["Host=h", "X-A=1", "Via=1.0 a", "x-a=2, 3"]);
        assert_eq!(edited(|head| head.append(b"via", b"1.1 b"))[2], "Via=1.0 a, 1.1 b");
        assert_eq!(edited(|head| head.append(b"x-b", b"3"))[4], "x-b=3");
        assert_eq!(edited(|head| assert!(head.remove(b"x-a"))), ["Host=h", "Via=1.0 a"]);
        assert_eq!(edited(|head| assert!(!head.remove(b"x-b"))).len(), 4);
        assert_eq!(edited(|head| assert!(head.remove(b"via"))).len(), 3);
    }

    #[test]
    fn lines_that_the_sender_nominated_count_for_nothing() {
        let bytes = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: x-a, via\r\nX-A: 1\r\nVia: 1.0 a\r\n\r\n";
        let mut head = RequestHead::default();
        parse_request(bytes, &Limits::default(), &mut head).expect("valid");
        let mut edits = EditBytes::default();
        let mut editor = HeadEditor { fields: &mut head.fields, received: bytes, edits: &mut edits };
        assert!(editor.contains(b"x-a") && !editor.forwards(FieldId::Unknown, b"x-a"));
        assert!(!editor.forwards_known(FieldId::Via));
        // What the proxy adds goes on.
        editor.append(b"via", b"1.1 b");
        editor.add(b"x-a", b"2");
        assert!(editor.forwards_known(FieldId::Via) && editor.forwards(FieldId::Unknown, b"x-a"));
    }

    #[test]
    fn edits_are_found_and_edited_like_received_lines() {
        let lines = edited(|head| {
            head.add(b"x-new", b"1");
            head.append(b"x-new", b"2");
            assert_eq!(head.value(b"x-new"), Some(&b"1, 2"[..]));
            head.remove(b"via");
            assert!(!head.contains(b"via") && head.contains(b"x-a"));
            head.remove(b"x-a");
            assert!(!head.contains(b"x-a"));
        });
        assert_eq!(lines, ["Host=h", "x-new=1, 2"]);
    }
}
