//! The dynamic table (RFC 7541 section 2.3.2): texts in one ring of bytes, entries in another.
//!
//! Both rings grow with what the peer puts in, to no more than the table's size, and are then filled round and round.

use super::{FIELD_OVERHEAD, Name};
use std::collections::VecDeque;

/// The ring's size when something is put in first.
const FIRST_CAPACITY: usize = 128;

/// An entry without its text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    /// Where in the ring the name begins; the value is behind it.
    start: u32,
    pub name_len: u32,
    pub len: u32,
    pub name: Name,
    pub value_is_valid: bool,
}

impl Entry {
    fn size(&self) -> u32 {
        self.len + FIELD_OVERHEAD
    }
}

#[derive(Debug)]
pub(super) struct Table {
    ring: Box<[u8]>,
    /// Where the next text goes.
    head: u32,
    /// The newest first.
    entries: VecDeque<Entry>,
    /// The sum of the entries' sizes (RFC 7541 section 4.1).
    size: u32,
    max: u32,
}

impl Table {
    pub fn new(max: u32) -> Self {
        Self { ring: Box::default(), head: 0, entries: VecDeque::new(), size: 0, max }
    }

    pub fn max(&self) -> u32 {
        self.max
    }

    /// A new maximum; what no longer fits is evicted (RFC 7541 section 4.3). Without a table there is no memory either.
    pub fn set_max(&mut self, max: u32) {
        self.max = max;
        if max == 0 {
            *self = Self::new(0);
        }
        self.evict_to(max);
    }

    /// `index`: 0 is the newest.
    #[inline]
    pub fn get(&self, index: u32) -> Option<&Entry> {
        self.entries.get(index as usize)
    }

    /// Appends the first `len` bytes of an entry's text to `out`.
    #[inline]
    pub fn copy(&self, entry: &Entry, len: u32, out: &mut Vec<u8>) {
        debug_assert!(len <= entry.len);
        let (start, end) = (entry.start as usize, entry.start as usize + len as usize);
        match self.ring.get(start..end) {
            Some(whole) => out.extend_from_slice(whole),
            None => self.copy_around(start, end, out),
        }
    }

    /// A text that goes on at the ring's beginning.
    #[cold]
    fn copy_around(&self, start: usize, end: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.ring[start..]);
        out.extend_from_slice(&self.ring[..end - self.ring.len()]);
    }

    /// Puts in a field, `text` being its name and value, and evicts what no longer fits. One that is larger than the table
    /// empties it (RFC 7541 section 4.4).
    #[inline]
    pub fn insert(&mut self, text: &[u8], name_len: u32, name: Name, value_is_valid: bool) {
        let len = text.len() as u32;
        let size = len + FIELD_OVERHEAD;
        let Some(room) = self.max.checked_sub(size) else { return self.clear() };
        self.evict_to(room);
        self.make_room(text.len());
        let start = self.head;
        let first = text.len().min(self.ring.len() - start as usize);
        self.ring[start as usize..][..first].copy_from_slice(&text[..first]);
        self.ring[..text.len() - first].copy_from_slice(&text[first..]);
        let end = start as usize + text.len();
        self.head = if end < self.ring.len() { end } else { end - self.ring.len() } as u32;
        self.entries.push_front(Entry { start, name_len, len, name, value_is_valid });
        self.size += size;
    }

    /// Forgets all entries.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.size = 0;
    }

    /// Bytes on the heap.
    #[cfg(test)]
    pub fn memory(&self) -> usize {
        self.ring.len() + self.entries.capacity() * size_of::<Entry>()
    }

    /// Where the ring is.
    #[cfg(test)]
    pub fn place(&self) -> *const u8 {
        self.ring.as_ptr()
    }

    fn evict_to(&mut self, size: u32) {
        while self.size > size {
            let Some(oldest) = self.entries.pop_back() else { return };
            self.size -= oldest.size();
        }
    }

    /// Bytes of texts in the ring.
    fn text_len(&self) -> usize {
        self.size as usize - self.entries.len() * FIELD_OVERHEAD as usize
    }

    /// A ring with `more` bytes of room; the texts are moved to the beginning of a larger one.
    #[inline]
    fn make_room(&mut self, more: usize) {
        let needed = self.text_len() + more;
        if needed > self.ring.len() {
            self.grow(needed);
        }
    }

    #[cold]
    fn grow(&mut self, needed: usize) {
        let capacity = needed.max(2 * self.ring.len()).max(FIRST_CAPACITY).min(self.max as usize);
        let mut ring = Vec::with_capacity(capacity);
        for at in (0..self.entries.len()).rev() {
            let start = ring.len() as u32;
            let entry = self.entries[at];
            self.copy(&entry, entry.len, &mut ring);
            self.entries[at].start = start;
        }
        self.head = ring.len() as u32;
        ring.resize(capacity, 0);
        self.ring = ring.into_boxed_slice();
    }
}
