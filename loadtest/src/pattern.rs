//! The bytes of every body: fixed by a seed and the position, so that any answer can be checked without being stored.
//!
//! A body is a window into one pseudo-random table of a prime length that repeats. The seed chooses where the window
//! starts, so two exchanges with different seeds carry different bytes, and a byte lost, doubled or taken from another
//! exchange shows at once. A prime length keeps shifts by pages or buffers (powers of two) from fitting by chance.
use std::sync::LazyLock;

use crate::rng::Rng;

/// Length after which the table repeats; prime, and small enough to stay in the first-level cache.
pub const PERIOD: usize = 16_381;

/// The longest run of bytes that [`run`] hands out at once.
pub const SPAN: usize = 65_536;

static TABLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let letters = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut rng = Rng::new(0x5269_6e67_7761_7900);
    let once: Vec<u8> = (0..PERIOD).map(|_| letters[rng.below(64) as usize]).collect();
    (0..PERIOD + SPAN).map(|i| once[i % PERIOD]).collect()
});

/// One body's bytes: what the seed fixes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pattern {
    start: u32,
}

impl Pattern {
    /// Neighbouring seeds start far apart: the factor is a generator of the whole range, since PERIOD is prime.
    pub fn new(seed: u64) -> Pattern {
        Pattern { start: ((seed % PERIOD as u64) * 4_093 % PERIOD as u64) as u32 }
    }

    /// The bytes from `position` on: `len` of them, or [`SPAN`] if that is less.
    pub fn run(self, position: u64, len: u64) -> &'static [u8] {
        let from = (u64::from(self.start) + position % PERIOD as u64) as usize % PERIOD;
        &TABLE[from..from + len.min(SPAN as u64) as usize]
    }

    /// Whether `got` is what stands at `position`.
    pub fn matches(self, position: u64, got: &[u8]) -> bool {
        let mut at = position;
        got.chunks(SPAN).all(|piece| {
            let same = piece == self.run(at, piece.len() as u64);
            at += piece.len() as u64;
            same
        })
    }

    /// The whole body in memory, for bodies that are small.
    pub fn to_vec(self, len: usize) -> Vec<u8> {
        let mut body = Vec::with_capacity(len);
        while body.len() < len {
            body.extend_from_slice(self.run(body.len() as u64, (len - body.len()) as u64));
        }
        body
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_matches_itself_in_any_pieces() {
        let pattern = Pattern::new(12);
        let body = pattern.to_vec(200_000);
        assert!(pattern.matches(0, &body));
        assert!(pattern.matches(70_001, &body[70_001..150_000]));
    }

    #[test]
    fn another_seed_a_lost_byte_and_a_page_shift_all_show() {
        let body = Pattern::new(1).to_vec(100_000);
        assert!(!Pattern::new(2).matches(0, &body[..46]));
        assert!(!Pattern::new(1).matches(0, &body[1..47]));
        for pages in 1..8 {
            assert!(!Pattern::new(1).matches(0, &body[4_096 * pages..4_096 * pages + 64]));
        }
    }

    #[test]
    fn every_seed_up_to_the_period_starts_elsewhere() {
        let mut starts: Vec<u32> = (0..PERIOD as u64).map(|seed| Pattern::new(seed).start).collect();
        starts.sort_unstable();
        starts.dedup();
        assert_eq!(starts.len(), PERIOD);
    }
}
