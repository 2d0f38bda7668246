//! Bytes looked at sixteen at a time.

use wide::u8x16;

/// Where the first byte of `rest` is that `marks` marks; beyond its last byte, if there is none. `rest` is the last part of
/// `whole`, or all of it.
#[inline(always)]
pub(super) fn find(rest: &[u8], whole: &[u8], marks: impl Fn(Word) -> Word) -> usize {
    debug_assert!(std::ptr::eq(rest.as_ptr_range().end, whole.as_ptr_range().end) && rest.len() <= whole.len());
    let mut at = 0;
    while let Some(word) = rest.get(at..).and_then(|rest| rest.first_chunk()) {
        match marks(Word::load(word)).bits() {
            0 => at += Word::BYTES,
            bits => return at + bits.trailing_zeros() as usize,
        }
    }
    // The last word, without those of its bytes that have been seen or are not of the rest.
    let left = rest.len() - at;
    let skipped = Word::BYTES - left;
    let bits = match whole.last_chunk() {
        Some(word) => marks(Word::load(word)).bits() >> skipped,
        None => bits_of_few(whole, &marks) >> (whole.len() - left),
    };
    at + bits.trailing_zeros() as usize
}

/// Of fewer bytes than a word has. The zeros behind them may be marked as well.
#[inline(never)]
fn bits_of_few(bytes: &[u8], marks: impl Fn(Word) -> Word) -> u32 {
    let mut word = [0; Word::BYTES];
    word[..bytes.len()].copy_from_slice(bytes);
    marks(Word::load(&word)).bits()
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

    /// Marks the bytes that are this one or above it.
    #[inline(always)]
    pub fn down_to(self, byte: u8) -> Self {
        Self(self.0.max(u8x16::splat(byte)).simd_eq(self.0))
    }

    /// Each byte less this one; below it, that wraps.
    #[inline(always)]
    pub fn minus(self, byte: u8) -> Self {
        Self(self.0 - u8x16::splat(byte))
    }

    /// Capital letters become small ones, and other bytes with them.
    #[inline(always)]
    pub fn folded(self) -> Self {
        Self(self.0 | u8x16::splat(0x20))
    }

    /// Marks the bytes that are this one.
    #[inline(always)]
    pub fn equal(self, byte: u8) -> Self {
        Self(self.0.simd_eq(u8x16::splat(byte)))
    }

    /// Marked in both.
    #[inline(always)]
    pub fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// Marked in one of the two.
    #[inline(always)]
    pub fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// A bit for each byte that is marked; the lowest is the first byte's.
    #[inline(always)]
    fn bits(self) -> u32 {
        self.0.to_bitmask()
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
                    for from in 0..=len {
                        let expected = text[from..].iter().position(|byte| is_marked(*byte));
                        let found = Some(find(&text[from..], &text, marks)).filter(|found| *found < len - from);
                        assert_eq!(found, expected, "{byte} at {at} of {len} from {from}");
                    }
                }
            }
        }
    }

    #[test]
    fn a_byte_is_up_to_another_without_a_sign() {
        for limit in [0, 0x1f, 0x20, 0x7f, 0x80, 0xfe] {
            for byte in 0..=255 {
                let bytes = [byte; 16];
                let found = find(&bytes, &bytes, |word| word.up_to(limit));
                assert_eq!(found == 0, byte <= limit, "{byte} up to {limit}");
                let found = find(&bytes, &bytes, |word| word.down_to(limit));
                assert_eq!(found == 0, byte >= limit, "{byte} down to {limit}");
            }
        }
    }
}
