//! Randomness for ids, jitter and choices: one small generator per shard, seeded by the kernel or by a test.
//! Not for secrets.

use std::cell::Cell;

/// xoshiro-like splitmix64 stream (Steele, Lea, Flood: "Fast splittable pseudorandom number generators").
#[derive(Debug)]
pub struct Random {
    state: Cell<u64>,
}

impl Random {
    /// The same seed gives the same sequence.
    pub fn seeded(seed: u64) -> Self {
        Self { state: Cell::new(seed) }
    }

    /// Seeded by the kernel.
    pub fn from_entropy() -> Self {
        Self::seeded(getrandom::u64().unwrap_or_else(|_| {
            // Without entropy (early boot) ids must still differ between shards and starts.
            let here = 0u8;
            (&raw const here as u64) ^ u64::from(std::process::id()).rotate_left(32)
        }))
    }

    pub fn next_u64(&self) -> u64 {
        let state = self.state.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.state.set(state);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A new UUID.
    pub fn uuid(&self) -> Uuid {
        uuid4(self.next_u64(), self.next_u64())
    }

    /// Uniform in `0..bound` (Lemire's multiply-shift; the bias is below 2^-32 for bounds that fit 32 bits).
    pub fn below(&self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }
}

/// The text form of a UUID.
pub type Uuid = [u8; 36];

/// A random UUID (RFC 9562 section 5.4).
pub fn uuid4(high: u64, low: u64) -> Uuid {
    let high = high & 0xffff_ffff_ffff_0fff | 0x4000;
    let low = low & 0x3fff_ffff_ffff_ffff | 0x8000_0000_0000_0000;
    let (high, low) = (hex(high), hex(low));
    let mut text = [b'-'; 36];
    text[..8].copy_from_slice(&high[..8]);
    text[9..13].copy_from_slice(&high[8..12]);
    text[14..18].copy_from_slice(&high[12..]);
    text[19..23].copy_from_slice(&low[..4]);
    text[24..].copy_from_slice(&low[4..]);
    text
}

/// The sixteen digits of a number.
#[inline]
pub fn hex(number: u64) -> [u8; 16] {
    let [high, low] = [number >> 32, number & 0xffff_ffff].map(eight_digits);
    (u128::from(high) << 64 | u128::from(low)).to_be_bytes()
}

/// The digits of the lower half, all eight at once: the first one is the highest byte.
#[inline]
const fn eight_digits(number: u64) -> u64 {
    const ONES: u64 = u64::MAX / 0xff;
    let number = (number << 16 | number) & 0x0000_ffff_0000_ffff;
    let number = (number << 8 | number) & 0x00ff_00ff_00ff_00ff;
    let number = (number << 4 | number) & 0x0f0f_0f0f_0f0f_0f0f;
    // In each byte, one where the digit is a letter.
    let letters = (number + 6 * ONES) >> 4 & ONES;
    number + b'0' as u64 * ONES + letters * (b'a' - b'9' - 1) as u64
}

#[cfg(test)]
mod tests {
    use super::{Random, hex, uuid4};

    #[test]
    fn uuids_have_version_and_variant() {
        assert_eq!(&uuid4(u64::MAX, 0), b"ffffffff-ffff-4fff-8000-000000000000");
        assert_eq!(&uuid4(0x0123_4567_89ab_cdef, 0x0123_4567_89ab_cdef), b"01234567-89ab-4def-8123-456789abcdef");
    }

    #[test]
    fn digits() {
        for number in [0, 9, 10, 0x0123_4567_89ab_cdef, 0xffff_ffff_0000_0000, u64::MAX] {
            assert_eq!(hex(number), format!("{number:016x}").as_bytes());
        }
    }

    #[test]
    fn a_seed_replays() {
        let (a, b) = (Random::seeded(7), Random::seeded(7));
        assert!((0..100).all(|_| a.next_u64() == b.next_u64()));
        assert!((0..1000).all(|_| a.below(10) < 10));
    }
}
