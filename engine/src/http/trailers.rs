//! What stands behind a body.

use super::field::{Field, Fields};
use super::field_id::FieldId;
use super::span::Span;

/// The fields behind a body (RFC 9110 section 6.5): only those that may be forwarded.
#[derive(Debug, Default)]
pub struct Trailers {
    fields: Fields,
    bytes: Vec<u8>,
    /// The body has them already.
    is_in_body: bool,
}

/// Bytes for which room is kept: the status of a call with a line of text.
const KEPT_BYTES: usize = 512;

impl Trailers {
    /// A message without any.
    pub const NONE: Self = Self { fields: Fields::NONE, bytes: Vec::new(), is_in_body: false };

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Make them empty; a usual capacity stays.
    #[inline]
    pub fn clear(&mut self) {
        if !self.is_empty() {
            self.fields.clear();
            self.bytes.clear();
            self.bytes.shrink_to(KEPT_BYTES);
            self.is_in_body = false;
        }
    }

    /// The body says all of it: there is nothing to be sent behind it.
    pub fn are_in_body(&mut self) {
        self.is_in_body = true;
    }

    /// Whether they are to be sent behind the body.
    #[inline]
    pub fn follow_body(&self) -> bool {
        !self.is_empty() && !self.is_in_body
    }

    pub fn add(&mut self, name: &[u8], value: &[u8]) {
        self.add_as(name, value, false);
    }

    /// `never_indexed`: HTTP/2 has to keep it out of tables on every further hop (RFC 7541 section 7.1.3).
    pub fn add_as(&mut self, name: &[u8], value: &[u8], never_indexed: bool) {
        let mut store = |bytes: &[u8]| {
            let start = self.bytes.len();
            self.bytes.extend_from_slice(bytes);
            Span::new(start, self.bytes.len())
        };
        let (id, name, value) = (FieldId::lookup(name), store(name), store(value));
        self.fields.push(Field { name, value, id, hop_by_hop: false, never_indexed, is_canonical: false });
    }

    /// Name and value of each, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.fields.iter().map(|field| (field.name.of(&self.bytes[..]), field.value.of(&self.bytes[..])))
    }

    /// The same, and whether no table may have it.
    pub fn marked(&self) -> impl Iterator<Item = (&[u8], &[u8], bool)> {
        self.iter().zip(self.fields.iter()).map(|((name, value), field)| (name, value, field.never_indexed))
    }

    pub fn copy_from(&mut self, other: &Self) {
        if !other.is_empty() {
            self.fields.clone_from(&other.fields);
            self.bytes.clone_from(&other.bytes);
        }
    }
}
