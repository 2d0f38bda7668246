//! Bytes looked at sixteen at a time.

use wide::u8x16;

/// Where the first byte at or behind `at` is that `marks` marks, if there is one.
#[inline(always)]
pub(super) fn find(bytes: &[u8], mut at: usize, marks: impl Fn(Word) -> Word) -> Option<usize> {
    while let Some(word) = bytes.get(at..)?.first_chunk() {
        match marks(Word::load(word)).first(0) {
            Some(found) => return Some(at + found),
            None => at += Word::BYTES,
        }
    }
    // The last word again, without those of its bytes that have been seen.
    match bytes.last_chunk() {
        Some(word) => {
            let start = bytes.len() - Word::BYTES;
            marks(Word::load(word)).first(at - start).map(|found| start + found)
        }
        None => find_in_few(bytes, at, marks),
    }
}

#[cold]
#[inline(never)]
fn find_in_few(bytes: &[u8], at: usize, marks: impl Fn(Word) -> Word) -> Option<usize> {
    let mut word = [0; Word::BYTES];
    word[..bytes.len()].copy_from_slice(bytes);
    marks(Word::load(&word)).first(at).filter(|found| *found < bytes.len())
}

/// Bytes, or marks of bytes: those whose highest bit is set.
#[derive(Clone, Copy)]
pub(super) struct Word(u8x16);

impl Word {
    const BYTES: usize = 16;

    #[inline(always)]
    fn load(bytes: &[u8; Self::BYTES]) -> Self {
        Self(u8x16::new(*bytes))
    }

    /// Marks the bytes that are this one or below it.
    #[inline(always)]
    pub fn up_to(self, byte: u8) -> Self {
        Self(self.0.min(u8x16::splat(byte)).simd_eq(self.0))
    }

    /// Marks the bytes that are this one.
    #[inline(always)]
    pub fn equal(self, byte: u8) -> Self {
        Self(self.0.simd_eq(u8x16::splat(byte)))
    }

    /// Marked in one of the two.
    #[inline(always)]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// The place of the first byte that is marked, from `from` on, which is below 16.
    #[inline(always)]
    fn first(self, from: usize) -> Option<usize> {
        let marks = self.0.to_bitmask() >> from << from;
        (marks != 0).then_some(marks.trailing_zeros() as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each byte at each place of texts that are shorter than a word, a word, and longer; looked for from each place on.
    #[test]
    fn the_first_that_is_marked_is_found() {
        let marks = |word: Word| word.equal(b':').or(word.up_to(b' '));
        let is_marked = |byte: u8| byte == b':' || byte <= b' ';
        for len in [1, 7, 15, 16, 17, 31, 32, 33, 50] {
            for at in 0..len {
                for byte in [0, 1, b' ', b'!', b'9', b':', b';', 0x7f, 0x80, 0xa0, 0xba, 0xff] {
                    let mut text = vec![b'x'; len];
                    text[at] = byte;
                    text[len - 1] = if at == len - 1 { byte } else { b':' };
                    for from in 0..=len + 1 {
                        let expected =
                            text.iter().skip(from).position(|byte| is_marked(*byte)).map(|found| from + found);
                        assert_eq!(find(&text, from, marks), expected, "{byte} at {at} of {len} from {from}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_byte_is_up_to_another_without_a_sign() {
        for limit in [0, 0x1f, 0x20, 0x7f, 0x80, 0xfe] {
            for byte in 0..=255 {
                let found = find(&[byte; 16], 0, |word| word.up_to(limit));
                assert_eq!(found.is_some(), byte <= limit, "{byte} up to {limit}");
            }
        }
    }
}
