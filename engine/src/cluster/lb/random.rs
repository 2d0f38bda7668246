//! A random host. Weights count, which in Envoy they do not.

use super::policy::Member;
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
