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

    /// Uniform in `0..bound` (Lemire's multiply-shift; the bias is below 2^-32 for bounds that fit 32 bits).
    pub fn below(&self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn a_seed_replays() {
        let (a, b) = (Random::seeded(7), Random::seeded(7));
        assert!((0..100).all(|_| a.next_u64() == b.next_u64()));
        assert!((0..1000).all(|_| a.below(10) < 10));
    }
}
