//! A table whose entries keep their places, in pages that are freed one by one: after a burst a few entries at high
//! places keep their own pages only, and not the whole table.

use std::ops::{Index, IndexMut};

/// Entries of a page.
const PAGE: usize = 64;

enum Entry<T> {
    /// The next vacant place, or `NIL`.
    Vacant(u32),
    Occupied(T),
}

const NIL: u32 = u32::MAX;

pub(super) struct Paged<T> {
    /// `None`: given back; its places are made again when they are needed.
    pages: Vec<Option<Box<[Entry<T>; PAGE]>>>,
    vacant: u32,
    len: usize,
}

impl<T> Paged<T> {
    pub(super) const fn new() -> Self {
        Self { pages: Vec::new(), vacant: NIL, len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn insert(&mut self, value: T) -> usize {
        if self.vacant == NIL {
            self.add_page();
        }
        let place = self.vacant as usize;
        let entry = self.entry_mut(place).expect("the list of vacant places names only places that exist");
        match std::mem::replace(entry, Entry::Occupied(value)) {
            Entry::Vacant(next) => self.vacant = next,
            Entry::Occupied(_) => unreachable!("a place on the list of vacant ones is occupied"),
        }
        self.len += 1;
        place
    }

    /// # Panics
    /// When the place is vacant, as do the indices.
    pub(super) fn remove(&mut self, place: usize) -> T {
        let vacant = self.vacant;
        match self.entry_mut(place) {
            Some(entry @ Entry::Occupied(_)) => {
                let Entry::Occupied(value) = std::mem::replace(entry, Entry::Vacant(vacant)) else { unreachable!() };
                self.vacant = place as u32;
                self.len -= 1;
                value
            }
            _ => panic!("place {place} is vacant"),
        }
    }

    #[inline]
    pub(super) fn get(&self, place: usize) -> Option<&T> {
        match &self.pages.get(place / PAGE)?.as_ref()?[place % PAGE] {
            Entry::Occupied(value) => Some(value),
            Entry::Vacant(_) => None,
        }
    }

    #[inline]
    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        match self.entry_mut(place)? {
            Entry::Occupied(value) => Some(value),
            Entry::Vacant(_) => None,
        }
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        self.pages.iter().flatten().flat_map(|page| page.iter()).filter_map(|entry| match entry {
            Entry::Occupied(value) => Some(value),
            Entry::Vacant(_) => None,
        })
    }

    /// Take everything out, and the pages with it.
    pub(super) fn take(&mut self) -> impl Iterator<Item = T> + use<T> {
        let pages = std::mem::replace(self, Self::new()).pages;
        pages.into_iter().flatten().flat_map(|page| *page).filter_map(|entry| match entry {
            Entry::Occupied(value) => Some(value),
            Entry::Vacant(_) => None,
        })
    }

    /// Free the pages that hold nothing. Low places are taken first from then on.
    pub(super) fn trim(&mut self) {
        for page in &mut self.pages {
            page.take_if(|entries| entries.iter().all(|entry| matches!(entry, Entry::Vacant(_))));
        }
        let used = self.pages.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        self.pages.truncate(used);
        self.pages.shrink_to_fit();
        self.vacant = NIL;
        for page in (0..used).rev() {
            self.list_vacant(page);
        }
    }

    #[inline]
    fn entry_mut(&mut self, place: usize) -> Option<&mut Entry<T>> {
        Some(&mut self.pages.get_mut(place / PAGE)?.as_mut()?[place % PAGE])
    }

    fn add_page(&mut self) {
        let free = self.pages.iter().position(Option::is_none).unwrap_or(self.pages.len());
        if free == self.pages.len() {
            self.pages.push(None);
        }
        let entries: Box<[Entry<T>]> = (0..PAGE).map(|_| Entry::Vacant(NIL)).collect();
        self.pages[free] = entries.try_into().ok();
        self.list_vacant(free);
    }

    /// Put the page's vacant places before the others.
    fn list_vacant(&mut self, page: usize) {
        let Some(entries) = &mut self.pages[page] else { return };
        for (i, entry) in entries.iter_mut().enumerate().rev() {
            if let Entry::Vacant(next) = entry {
                *next = std::mem::replace(&mut self.vacant, (page * PAGE + i) as u32);
            }
        }
    }
}

impl<T> Index<usize> for Paged<T> {
    type Output = T;

    #[inline]
    fn index(&self, place: usize) -> &T {
        self.get(place).expect("the place is occupied")
    }
}

impl<T> IndexMut<usize> for Paged<T> {
    #[inline]
    fn index_mut(&mut self, place: usize) -> &mut T {
        self.get_mut(place).expect("the place is occupied")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use std::collections::BTreeMap;

    fn pages<T>(table: &Paged<T>) -> usize {
        table.pages.iter().flatten().count()
    }

    #[test]
    fn agrees_with_a_map_under_random_work() {
        let random = Random::seeded(7);
        let (mut table, mut model) = (Paged::new(), BTreeMap::new());
        for round in 0..30_000_u64 {
            // Grows and shrinks in turn.
            let growing = round / 3000 % 2 == 0;
            match random.below(100) {
                0 => table.trim(),
                n if (n < 70) == growing => {
                    let place = table.insert(Box::new(round));
                    assert!(model.insert(place, round).is_none(), "place {place} was occupied");
                }
                _ => {
                    let from = random.below(model.len() as u64 + 1) as usize;
                    if let Some(place) = model.keys().nth(from).copied() {
                        assert_eq!(Some(*table.remove(place)), model.remove(&place));
                        assert!(table.get(place).is_none());
                    }
                }
            }
            assert_eq!(table.len(), model.len());
        }
        assert!(model.iter().all(|(place, value)| *table[*place] == *value));
        assert!(table.values().map(|value| **value).eq(model.values().copied()));
        assert!(table.get(1 << 20).is_none());
        let taken: Vec<_> = table.take().map(|value| *value).collect();
        assert!(taken.into_iter().eq(model.into_values()));
        assert_eq!((table.len(), pages(&table)), (0, 0));
    }

    #[test]
    fn an_entry_at_a_high_place_keeps_one_page() {
        let mut table = Paged::new();
        let places: Vec<_> = (0..10_000).map(|i| table.insert(i)).collect();
        for place in places.into_iter().filter(|place| *place != 5000) {
            table.remove(place);
        }
        assert!(pages(&table) > 150);
        table.trim();
        assert_eq!((pages(&table), table[5000]), (1, 5000));
        assert_eq!(table.insert(1), 4992, "a place in a page that is there");
        let more: Vec<_> = (0..64).map(|i| table.insert(i)).collect();
        assert!(more.contains(&0), "a low page is made again: {more:?}");
        assert_eq!(pages(&table), 2);
    }

    #[test]
    #[should_panic(expected = "place 3 is vacant")]
    fn a_place_is_vacated_once() {
        let mut table = Paged::new();
        assert!((0..5).map(|i| table.insert(i)).eq(0..5));
        table.remove(3);
        table.remove(3);
    }
}
