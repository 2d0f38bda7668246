//! A small seeded generator (SplitMix64), so that a soak or a schedule can be replayed from its seed.
use std::time::Duration;

/// SplitMix64 (Steele, Lea, Flood 2014): one addition and three mixes a number, full period 2^64.
#[derive(Clone, Debug)]
pub struct Rng {
    state: u64,
}

impl Rng {
    pub fn new(seed: u64) -> Rng {
        Rng { state: seed }
    }

    pub fn number(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number in `0..bound`; the bias of the remainder is below 2^-40 for the bounds used here.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound.max(1)
    }

    /// A number in `low..=high`.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// A number in `[0, 1)`.
    pub fn unit(&mut self) -> f64 {
        (self.number() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// True with the given probability.
    pub fn chance(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    /// A waiting time of a Poisson process with the given mean (exponentially distributed).
    pub fn exponential(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(-(1.0 - self.unit()).ln())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let (mut a, mut b) = (Rng::new(7), Rng::new(7));
        assert!((0..100).all(|_| a.number() == b.number()));
        assert_ne!(Rng::new(7).number(), Rng::new(8).number());
    }

    #[test]
    fn exponential_waits_have_the_mean_asked_for() {
        let mut rng = Rng::new(1);
        let total: Duration = (0..20_000).map(|_| rng.exponential(Duration::from_micros(100))).sum();
        let mean_us = total.as_secs_f64() * 1e6 / 20_000.0;
        assert!((97.0..103.0).contains(&mean_us), "{mean_us}");
    }
}
