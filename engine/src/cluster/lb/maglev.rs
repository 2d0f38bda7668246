//! Maglev: a table that maps every hash to a host in one step. Hosts fill it in turns, each in its own order, so that
//! shares are even and most entries stay when a host joins or leaves (Eisenbud et al.: "Maglev: A Fast and Reliable
//! Software Network Load Balancer", section 3.4; weights as in Envoy's MaglevLbConfig).

use super::member::Member;
use crate::cluster::Endpoint;
use std::rc::Rc;
use xxhash_rust::xxh64::xxh64;

pub struct Maglev {
    table: Box<[u32]>,
    /// The smallest and the largest number of entries of a host.
    spread: (i64, i64),
}

/// A host while the table is filled.
struct Filler {
    index: u32,
    weight: f64,
    /// The weight used up by this host's turns.
    used: f64,
    /// The next place in its order, and the step from place to place.
    place: u64,
    skip: u64,
    entries: i64,
}

impl Maglev {
    /// `size` is a prime: each step then visits every place.
    pub(super) fn new(endpoints: &[Rc<Endpoint>], members: &[Member], size: u64) -> Self {
        let mut fillers: Vec<Filler> = members.iter().map(|member| filler(endpoints, member, size)).collect();
        // The order of turns must not depend on the order of discovery.
        fillers.sort_by(|a, b| endpoints[a.index as usize].name.cmp(&endpoints[b.index as usize].name));
        let heaviest = members.iter().map(|member| member.weight).fold(0.0, f64::max);
        let mut table = vec![0; size as usize].into_boxed_slice();
        let mut taken = Taken(vec![0; size.div_ceil(64) as usize]);
        let mut filled = 0;
        for round in 1.. {
            if filled == size {
                break;
            }
            for filler in &mut fillers {
                // The heaviest host has a turn in every round, a host with a third of its weight in every third round.
                if filled == size || f64::from(round) * filler.weight < filler.used {
                    continue;
                }
                filler.used += heaviest;
                while !taken.take(filler.place) {
                    filler.step(size);
                }
                table[filler.place as usize] = filler.index;
                filler.step(size);
                filler.entries += 1;
                filled += 1;
            }
        }
        let entries = || fillers.iter().map(|filler| filler.entries);
        Self { table, spread: (entries().min().unwrap_or(0), entries().max().unwrap_or(0)) }
    }

    /// The host at `hash`; a further attempt looks at a distant place.
    pub fn pick(&self, hash: u64, attempt: u32) -> u32 {
        let hash = match attempt {
            0 => hash,
            attempt => hash ^ (u64::MAX - u64::from(attempt) + 1),
        };
        self.table[(hash % self.table.len() as u64) as usize]
    }

    pub fn len(&self) -> usize {
        self.table.len()
    }

    pub fn spread(&self) -> (i64, i64) {
        self.spread
    }
}

/// One bit for each place. Most of the work is to find a free place, and the bits fit into the fastest cache.
struct Taken(Vec<u64>);

impl Taken {
    /// Takes a place and returns whether it was free.
    fn take(&mut self, place: u64) -> bool {
        let (word, bit) = (&mut self.0[(place / 64) as usize], 1 << (place % 64));
        let free = *word & bit == 0;
        *word |= bit;
        free
    }
}

impl Filler {
    fn step(&mut self, size: u64) {
        self.place += self.skip;
        if self.place >= size {
            self.place -= size;
        }
    }
}

fn filler(endpoints: &[Rc<Endpoint>], member: &Member, size: u64) -> Filler {
    let name = endpoints[member.index as usize].name.as_bytes();
    Filler {
        index: member.index,
        weight: member.weight,
        used: 0.0,
        place: xxh64(name, 0) % size,
        skip: xxh64(name, 1) % (size - 1) + 1,
        entries: 0,
    }
}
