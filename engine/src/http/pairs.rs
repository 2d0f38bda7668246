//! Cookies and query parameters by name. The first look at them is a walk along the text; a request for which many are
//! looked for gets an index, so that the cost is the length of the text plus the number of conditions, and not their product.

use std::hash::{BuildHasher, RandomState};

use super::span::Span;
use std::cell::RefCell;

/// Pairs in an index. A head has room for more of the shortest; those that have are walked along each time.
const PAIRS_MAX: usize = 4096;

/// Capacity in pairs that stays from request to request.
const PAIRS_KEPT: usize = 256;

/// Names and values of one text.
#[derive(Clone, Debug, Default)]
pub struct Pairs {
    /// What the index is of: a mark of the text's place among the head's bytes. 0: of nothing.
    of: u64,
    is_complete: bool,
    entries: Vec<(Span, Span)>,
    /// Places in `entries` by hash; `NONE`: free.
    slots: Vec<u32>,
    /// With keys of chance: no client knows names that meet in one slot.
    hasher: RandomState,
}

const NONE: u32 = u32::MAX;

/// Of one request.
#[derive(Clone, Debug, Default)]
pub struct Index {
    pub cookies: RefCell<Pairs>,
    pub parameters: RefCell<Pairs>,
}

impl Pairs {
    /// The value of the first pair with this name; `None`: there is an index, and no such pair. `Err`: there is no index.
    pub fn get<'a>(&self, of: u64, name: &[u8], text: impl Fn(Span) -> &'a [u8]) -> Result<Option<&'a [u8]>, ()> {
        if self.of != of || !self.is_complete {
            return Err(());
        }
        let mut at = self.slot(name);
        while self.slots[at] != NONE {
            let (key, value) = self.entries[self.slots[at] as usize];
            if text(key) == name {
                return Ok(Some(text(value)));
            }
            at = (at + 1) % self.slots.len();
        }
        Ok(None)
    }

    /// Whether it was tried to make an index of this text.
    pub fn is_of(&self, of: u64) -> bool {
        self.of == of
    }

    /// Make an index of these pairs.
    pub fn fill<'a>(&mut self, of: u64, pairs: impl Iterator<Item = (Span, Span)>, text: impl Fn(Span) -> &'a [u8]) {
        self.of = of;
        self.entries.clear();
        self.entries.extend(pairs.take(PAIRS_MAX + 1));
        self.is_complete = self.entries.len() <= PAIRS_MAX;
        if !self.is_complete {
            self.entries.clear();
            return;
        }
        self.slots.clear();
        self.slots.resize((2 * self.entries.len()).next_power_of_two().max(8), NONE);
        for place in 0..self.entries.len() {
            let name = text(self.entries[place].0);
            let mut at = self.slot(name);
            while self.slots[at] != NONE && text(self.entries[self.slots[at] as usize].0) != name {
                at = (at + 1) % self.slots.len();
            }
            // The first of a name is the one that counts.
            if self.slots[at] == NONE {
                self.slots[at] = place as u32;
            }
        }
    }

    fn slot(&self, name: &[u8]) -> usize {
        self.hasher.hash_one(name) as usize % self.slots.len()
    }

    /// Forget the text; the capacity stays, within reason.
    pub fn clear(&mut self) {
        self.of = 0;
        if self.entries.capacity() > PAIRS_KEPT {
            (self.entries, self.slots) = (Vec::new(), Vec::new());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_name_is_found() {
        let text = b"a=1;b=2;a=3;c=";
        let span = |part: &[u8]| Span::within(part, text);
        let pairs = text.split(|byte| *byte == b';').map(|pair| (span(&pair[..1]), span(&pair[2..])));
        let mut index = Pairs::default();
        let found = |index: &Pairs, of, name: &[u8]| index.get(of, name, |span| span.of(&text[..]));
        assert_eq!(found(&index, 7, b"a"), Err(()));
        index.fill(7, pairs, |span| span.of(&text[..]));
        for (name, value) in [(b"a", Some(&b"1"[..])), (b"b", Some(b"2")), (b"c", Some(b"")), (b"d", None)] {
            assert_eq!(found(&index, 7, name), Ok(value));
        }
        assert_eq!(found(&index, 8, b"a"), Err(()), "of another text");
        index.clear();
        assert_eq!(found(&index, 7, b"a"), Err(()));
        // More pairs than an index takes.
        index.fill(9, (0..=PAIRS_MAX).map(|_| (Span::new(0, 1), Span::new(2, 3))), |span| span.of(&text[..]));
        assert_eq!((found(&index, 9, b"a"), index.is_of(9)), (Err(()), true));
    }
}
