//! A random host, by weight. Envoy ignores weights here.

use super::member::Member;
use super::sample::Sample;
use crate::base::random::Random;

pub struct RandomPick(Sample);

impl RandomPick {
    pub fn new(members: &[Member]) -> Self {
        Self(Sample::new(members))
    }

    pub fn pick(&self, random: &Random) -> u32 {
        self.0.pick(random)
    }
}
