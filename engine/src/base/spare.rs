//! Memory that is used again: pieces that are done with wait for the next use, up to a number of them.

use std::cell::RefCell;

/// At most `MAX` pieces. More may be in use.
#[derive(Debug)]
pub struct Spare<T, const MAX: usize>(RefCell<Vec<T>>);

impl<T, const MAX: usize> Spare<T, MAX> {
    pub const fn new() -> Self {
        Self(RefCell::new(Vec::new()))
    }

    /// As its last use has left it.
    pub fn take(&self) -> Option<T> {
        self.0.borrow_mut().pop()
    }

    pub fn give(&self, piece: T) {
        let mut pieces = self.0.borrow_mut();
        if pieces.len() < MAX {
            pieces.push(piece);
        }
    }

    /// All of them go back to the heap.
    pub fn trim(&self) {
        self.0.take();
    }
}

impl<T, const MAX: usize> Default for Spare<T, MAX> {
    fn default() -> Self {
        Self::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn up_to_a_number_of_pieces_is_kept() {
        let spare = Spare::<_, 2>::new();
        assert_eq!(spare.take(), None);
        (1..=3).for_each(|piece| spare.give(piece));
        assert_eq!([spare.take(), spare.take(), spare.take()], [Some(2), Some(1), None]);
        spare.give(4);
        spare.trim();
        assert_eq!(spare.take(), None);
    }
}
