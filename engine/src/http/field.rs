//! The fields of a head: an index over the bytes, reused from message to message.

use super::field_id::FieldId;
use super::span::{Span, SpanBytes};

/// One field line. The value is without the white space around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub name: Span,
    pub value: Span,
    pub id: FieldId,
    /// Concerns this connection only (RFC 9110 section 7.6.1): the line is not forwarded. Content-Length is not marked,
    /// but what goes out is written from the framing and never copied.
    pub hop_by_hop: bool,
    /// No table of a compressor may hold it, here or further on (RFC 7541 section 7.1.3).
    pub never_indexed: bool,
    /// Where it stands it is `name: value CRLF`, as the proxy itself would write it. What gives it another value takes that
    /// back.
    pub is_canonical: bool,
}

impl Field {
    /// The line with its line end, if it is canonical: received like that, or added by an edit. Lines that stand one behind
    /// the other have spans that do. Of a value that was replaced and not by `set_value`, the place tells.
    #[inline]
    pub fn canonical_line(&self) -> Option<Span> {
        let is_one_line = self.is_canonical && self.value.start == self.name.end + 2;
        is_one_line.then_some(Span { start: self.name.start, end: self.value.end + 2 })
    }

    /// Another value, which stands elsewhere.
    #[inline]
    pub fn set_value(&mut self, value: Span) {
        self.value = value;
        self.is_canonical = false;
    }

    #[inline]
    pub(super) fn is_named<'a>(&self, id: FieldId, lower: &[u8], bytes: impl SpanBytes<'a>) -> bool {
        self.id == id && (id != FieldId::Unknown || self.name.of(bytes).eq_ignore_ascii_case(lower))
    }
}

/// The field lines in the order in which they came.
#[derive(Clone, Debug, Default)]
pub struct Fields {
    lines: Vec<Field>,
    /// One bit for each id that occurs, so that looking for an absent field costs nothing.
    present: u128,
}

impl Fields {
    /// Without a line.
    pub const NONE: Self = Self { lines: Vec::new(), present: 0 };

    /// Forgets the lines and keeps the capacity.
    #[inline]
    pub fn clear(&mut self) {
        self.lines.clear();
        self.present = 0;
    }

    #[inline]
    pub fn reserve(&mut self, additional: usize) {
        self.lines.reserve(additional);
    }

    #[inline]
    pub fn push(&mut self, field: Field) {
        self.present |= 1 << field.id as u32;
        self.lines.push(field);
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    #[inline]
    pub fn as_slice(&self) -> &[Field] {
        &self.lines
    }

    #[inline]
    pub fn as_mut_slice(&mut self) -> &mut [Field] {
        &mut self.lines
    }

    #[inline]
    pub fn iter(&self) -> std::slice::Iter<'_, Field> {
        self.lines.iter()
    }

    #[inline]
    pub fn contains(&self, id: FieldId) -> bool {
        self.present & (1 << id as u32) != 0
    }

    /// The first line with this id.
    #[inline]
    pub fn get(&self, id: FieldId) -> Option<&Field> {
        if !self.contains(id) {
            return None;
        }
        self.lines.iter().find(|field| field.id == id)
    }

    /// Every line with this id, in order.
    #[inline]
    pub fn all(&self, id: FieldId) -> impl Iterator<Item = &Field> {
        let lines = if self.contains(id) { &self.lines[..] } else { &[] };
        lines.iter().filter(move |field| field.id == id)
    }

    /// Takes out every line with this name. `lower` is in lower case. Whether there was one.
    pub fn remove<'a>(&mut self, lower: &[u8], bytes: impl SpanBytes<'a>) -> bool {
        self.remove_if(FieldId::lookup(lower), |field, id| field.is_named(id, lower, bytes))
    }

    /// Takes out every line with this id. Whether there was one.
    pub fn remove_id(&mut self, id: FieldId) -> bool {
        self.remove_if(id, |field, id| field.id == id)
    }

    fn remove_if(&mut self, id: FieldId, is_it: impl Fn(&Field, FieldId) -> bool) -> bool {
        if !self.contains(id) {
            return false;
        }
        let before = self.lines.len();
        self.lines.retain(|field| !is_it(field, id));
        if id != FieldId::Unknown || self.lines.iter().all(|field| field.id != id) {
            self.present &= !(1 << id as u32);
        }
        self.lines.len() < before
    }

    /// A set of ids for `remove_all` and `contains_any`.
    pub const fn set_of(ids: &[FieldId]) -> u128 {
        let (mut set, mut i) = (0, 0);
        while i < ids.len() {
            set |= 1 << ids[i] as u32;
            i += 1;
        }
        set
    }

    /// Whether there is a line whose id is in the set.
    #[inline]
    pub fn contains_any(&self, set: u128) -> bool {
        self.present & set != 0
    }

    /// Takes out every line whose id is in the set.
    #[inline]
    pub fn remove_all(&mut self, set: u128) {
        if self.present & set != 0 {
            self.lines.retain(|field| set & (1 << field.id as u32) == 0);
            self.present &= !set;
        }
    }

    /// Takes out every line without an id whose name is unwanted. How many there were.
    pub fn remove_unknown<'a>(&mut self, bytes: impl SpanBytes<'a>, is_unwanted: impl Fn(&[u8]) -> bool) -> usize {
        let before = self.lines.len();
        self.lines.retain(|field| field.id != FieldId::Unknown || !is_unwanted(field.name.of(bytes)));
        before - self.lines.len()
    }

    /// The value of the first line with this id.
    #[inline]
    pub fn value<'a>(&self, id: FieldId, bytes: impl SpanBytes<'a>) -> Option<&'a [u8]> {
        self.get(id).map(|field| field.value.of(bytes))
    }

    /// The first line with this name. `lower` is in lower case; a name that has an id is found through it.
    pub fn find<'a>(&self, lower: &[u8], bytes: impl SpanBytes<'a>) -> Option<&Field> {
        let id = FieldId::lookup(lower);
        if !self.contains(id) {
            return None;
        }
        self.lines.iter().find(|field| field.is_named(id, lower, bytes))
    }

    /// Every line with this name, in order. `lower` is in lower case.
    pub fn all_named<'a, 'b: 'a>(
        &'a self,
        lower: &'a [u8],
        bytes: impl SpanBytes<'b> + 'a,
    ) -> impl Iterator<Item = &'a Field> {
        let id = FieldId::lookup(lower);
        let lines = if self.contains(id) { &self.lines[..] } else { &[] };
        lines.iter().filter(move |field| field.is_named(id, lower, bytes))
    }
}

impl<'a> IntoIterator for &'a Fields {
    type Item = &'a Field;
    type IntoIter = std::slice::Iter<'a, Field>;

    fn into_iter(self) -> Self::IntoIter {
        self.lines.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lookup_by_id_and_by_name() {
        let bytes = b"HostX-Aaax-a";
        let mut fields = Fields::default();
        let value = Span::new(7, 9);
        let line =
            |name: Span, id| Field { name, value, id, hop_by_hop: false, never_indexed: false, is_canonical: false };
        fields.push(line(Span::new(0, 4), FieldId::Host));
        fields.push(line(Span::new(4, 7), FieldId::Unknown));
        fields.push(line(Span::new(9, 12), FieldId::Unknown));
        assert_eq!(fields.value(FieldId::Host, bytes), Some(&b"aa"[..]));
        assert_eq!(fields.find(b"x-a", bytes).map(|field| field.name.start), Some(4));
        assert_eq!(fields.all_named(b"x-a", bytes).count(), 2);
        assert_eq!(fields.all(FieldId::Host).count(), 1);
        assert!(fields.get(FieldId::Via).is_none() && fields.find(b"via", bytes).is_none());
        fields.clear();
        assert!(fields.is_empty() && !fields.contains(FieldId::Host));
        assert!(size_of::<Field>() <= 20);
    }
}
