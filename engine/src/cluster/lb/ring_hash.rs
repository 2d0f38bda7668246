//! Ring hash (ketama): each host has points on a ring, and a request goes to the first point at or after its hash. A host
//! that joins or leaves moves only its own share (Envoy: RingHashLbConfig with XX_HASH).

use super::member::Member;
use crate::cluster::Endpoint;
use std::fmt::Write;
use std::rc::Rc;
use xxhash_rust::xxh64::xxh64;

pub struct RingHash {
    /// Sorted by hash.
    ring: Box<[(u64, u32)]>,
    /// The smallest and the largest number of points of a host.
    spread: (i64, i64),
}

impl RingHash {
    /// A ring for `everyone` has at least `minimum_size` points, more where the lightest host needs them to have a whole
    /// point, and at most `maximum_size`. Only the points of `members` are on it: an ejected host takes away its own points
    /// and no others, while Envoy makes a ring of the same size for the hosts that are left.
    pub(super) fn new(
        endpoints: &[Rc<Endpoint>],
        members: &[Member],
        everyone: &[Member],
        minimum_size: u64,
        maximum_size: u64,
    ) -> Self {
        let sum: f64 = everyone.iter().map(|member| member.weight).sum();
        let lightest = everyone.iter().map(|member| member.weight / sum).fold(f64::INFINITY, f64::min);
        let scale = ((lightest * minimum_size as f64).ceil() / lightest).min(maximum_size as f64);
        let mut ring = Vec::with_capacity(scale.ceil() as usize);
        // Shares are not whole numbers: running sums keep the whole ring right.
        let (mut points, mut target) = (0.0, 0.0);
        let mut spread = (i64::MAX, 0);
        let mut key = String::new();
        for member in everyone {
            target += scale * member.weight / sum;
            if members.binary_search_by_key(&member.index, |member| member.index).is_err() {
                points = f64::max(points, target.ceil());
                continue;
            }
            key.clear();
            key.push_str(&endpoints[member.index as usize].name);
            key.push('_');
            let prefix = key.len();
            let mut number = 0;
            while points < target {
                key.truncate(prefix);
                write!(key, "{number}").expect("a string takes text");
                ring.push((xxh64(key.as_bytes(), 0), member.index));
                number += 1;
                points += 1.0;
            }
            spread = (spread.0.min(number), spread.1.max(number));
        }
        if ring.is_empty() {
            // The ring is so small that only hosts that may not be used have points on it.
            ring.push((0, members[0].index));
        }
        ring.sort_unstable();
        Self { ring: ring.into(), spread }
    }

    /// The host at `hash`; a further attempt takes the next point.
    pub fn pick(&self, hash: u64, attempt: u32) -> u32 {
        let at = self.ring.partition_point(|(point, _)| *point < hash);
        self.ring[(at + attempt as usize) % self.ring.len()].1
    }

    pub fn len(&self) -> usize {
        self.ring.len()
    }

    pub fn spread(&self) -> (i64, i64) {
        self.spread
    }
}
