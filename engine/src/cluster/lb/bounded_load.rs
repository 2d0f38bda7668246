//! Consistent hashing with bounded loads: further requests for a host that has more than its share of the requests in
//! flight go to another host (Mirrokni, Thorup, Zadimoghaddam; Envoy: hash_balance_factor). Requests in flight are counted
//! per shard.

use super::member::Member;
use super::pick::Picking;
use crate::base::random::Random;

pub struct BoundedLoad {
    /// Percentage of the mean.
    factor: u64,
    /// In the order of their indexes; weights add up to 1.
    members: Box<[Member]>,
}

impl BoundedLoad {
    pub fn new(factor: u32, members: &[Member]) -> Self {
        Self { factor: u64::from(factor), members: members.into() }
    }

    /// `picked`, or, when it is overloaded, the first other host that is not. The order of the others is random but follows
    /// from the hash alone, so that one host's keys do not all go to its neighbour. When all hosts are overloaded, the least
    /// overloaded one.
    pub(super) fn apply(&self, picked: u32, picking: &Picking<'_>) -> u32 {
        let Ok(first) = self.members.binary_search_by_key(&picked, |member| member.index) else { return picked };
        let mut least = self.overload(first, picking);
        if least <= 1.0 {
            return picked;
        }
        let mut best = picked;
        let count = self.members.len() as u64;
        let (mut at, step) = walk(picking.hash, count);
        for _ in 0..count {
            at = (at + step) % count;
            let overload = self.overload(at as usize, picking);
            if overload <= 1.0 {
                return self.members[at as usize].index;
            }
            if overload < least {
                (best, least) = (self.members[at as usize].index, overload);
            }
        }
        best
    }

    /// Requests in flight divided by the number that is allowed.
    fn overload(&self, at: usize, picking: &Picking<'_>) -> f64 {
        let Member { index, weight } = self.members[at];
        let endpoint = &picking.endpoints[index as usize];
        let slots = (u64::from(endpoint.cluster_active()) + 1) * self.factor;
        let slots = (slots.div_ceil(100) as f64 * weight).ceil().max(1.0);
        // This request is counted, too: at the bound it goes elsewhere.
        (f64::from(endpoint.active()) + 1.0) / slots
    }
}

/// A start, and a step that visits each of `count` places.
fn walk(hash: u64, count: u64) -> (u64, u64) {
    let random = Random::seeded(hash);
    let start = random.below(count);
    loop {
        let step = 1 + random.below(count);
        if gcd(step, count) == 1 {
            return (start, step);
        }
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}
