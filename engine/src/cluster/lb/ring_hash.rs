//! Ring hash (ketama): each host has points on a ring, and a request goes to the first point at or after its hash. A host
//! that joins or leaves moves only its own share (Envoy: RingHashLbConfig with XX_HASH).

use super::member::Member;
use crate::cluster::Endpoint;
use crate::ring::Progress;
use std::fmt::Write;
use std::rc::Rc;
use xxhash_rust::xxh64::xxh64;

pub struct RingHash {
    /// The points by the first bits of their hashes, each part sorted by hash: so the ring is made and freed in pieces.
    parts: Vec<Part>,
    shift: u32,
    len: usize,
    /// The smallest and the largest number of points of a host.
    spread: (i64, i64),
}

/// Hashes and hosts.
pub type Part = Vec<(u64, u32)>;

/// A ring that is being made.
pub struct RingBuild {
    /// Each host with its weight, in the order of their indexes, and its name where it has points on the ring.
    hosts: std::vec::IntoIter<(Member, Option<Rc<str>>)>,
    /// The host whose points are being made: the start of their keys.
    current: Option<(u32, String, i64)>,
    sum: f64,
    scale: f64,
    /// Shares are not whole numbers: running sums keep the whole ring right.
    points: f64,
    target: f64,
    spread: (i64, i64),
    /// The points by the first bits of their hashes. Each part is sorted by itself.
    parts: Vec<Part>,
    bits: u32,
    sorted: usize,
    len: usize,
    /// For a ring that is so small that only hosts that may not be used have points on it.
    first: u32,
}

/// Points made in one step.
const STEP: usize = 512;
/// Points in one part, on average.
const PART: f64 = 512.0;

impl RingBuild {
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
        let host = |member: &Member| {
            let is_member = members.binary_search_by_key(&member.index, |member| member.index).is_ok();
            (*member, is_member.then(|| endpoints[member.index as usize].name.clone()))
        };
        let bits = (scale / PART).max(1.0).log2().ceil() as u32;
        Self {
            hosts: everyone.iter().map(host).collect::<Vec<_>>().into_iter(),
            current: None,
            sum,
            scale,
            points: 0.0,
            target: 0.0,
            spread: (i64::MAX, 0),
            parts: vec![Vec::new(); 1 << bits],
            bits,
            sorted: 0,
            len: 0,
            first: members[0].index,
        }
    }

    pub(super) fn step(&mut self) -> Progress {
        for _ in 0..STEP {
            if !self.add() {
                return self.sort();
            }
        }
        Progress::More
    }

    /// Makes a point, or goes to the next host; `false`: all points are made.
    fn add(&mut self) -> bool {
        let Some((index, key, number)) = &mut self.current else {
            let Some((member, name)) = self.hosts.next() else { return false };
            self.target += self.scale * member.weight / self.sum;
            match name {
                Some(name) => self.current = Some((member.index, format!("{name}_"), 0)),
                None => self.points = f64::max(self.points, self.target.ceil()),
            }
            return true;
        };
        if self.points >= self.target {
            self.spread = (self.spread.0.min(*number), self.spread.1.max(*number));
            self.current = None;
            return true;
        }
        let prefix = key.len();
        write!(key, "{number}").expect("a string takes text");
        let hash = xxh64(key.as_bytes(), 0);
        key.truncate(prefix);
        self.parts[part_of(hash, u64::BITS - self.bits)].push((hash, *index));
        *number += 1;
        self.points += 1.0;
        true
    }

    /// Sorts the next part.
    fn sort(&mut self) -> Progress {
        let Some(part) = self.parts.get_mut(self.sorted) else { return Progress::Done };
        part.sort_unstable();
        part.shrink_to_fit();
        self.len += part.len();
        self.sorted += 1;
        Progress::More
    }

    pub(super) fn finish(mut self) -> RingHash {
        if self.len == 0 {
            self.parts[0].push((0, self.first));
            self.len = 1;
        }
        RingHash { parts: self.parts, shift: u64::BITS - self.bits, len: self.len, spread: self.spread }
    }
}

/// The part for a hash; there is only one where the shift is all of it.
fn part_of(hash: u64, shift: u32) -> usize {
    hash.checked_shr(shift).unwrap_or(0) as usize
}

impl RingHash {
    /// The host at `hash`; a further attempt takes the next point.
    pub fn pick(&self, hash: u64, attempt: u32) -> u32 {
        let first = part_of(hash, self.shift);
        let mut left = attempt as usize % self.len + self.parts[first].partition_point(|(point, _)| *point < hash);
        // A part may be empty; after the last one the ring begins again.
        for part in self.parts[first..].iter().chain(self.parts.iter().cycle()) {
            match part.get(left) {
                Some((_, host)) => return *host,
                None => left -= part.len(),
            }
        }
        unreachable!("a ring is not empty")
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// To be freed.
    pub(super) fn take_pieces(&mut self) -> Vec<Part> {
        std::mem::take(&mut self.parts)
    }

    pub fn spread(&self) -> (i64, i64) {
        self.spread
    }
}
