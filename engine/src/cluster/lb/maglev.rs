//! Maglev: a table that maps every hash to a host in one step. Hosts fill it in turns, each in its own order, so that
//! shares are even and most entries stay when a host joins or leaves (Eisenbud et al.: "Maglev: A Fast and Reliable
//! Software Network Load Balancer", section 3.4; weights as in Envoy's MaglevLbConfig).

use super::member::Member;
use crate::cluster::Endpoint;
use crate::ring::Progress;
use std::collections::BTreeMap;
use std::rc::Rc;
use xxhash_rust::xxh64::xxh64;

pub struct Maglev {
    table: Places,
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

/// A table that is being filled.
pub struct MaglevBuild {
    size: u64,
    /// Hosts that have no place in `fillers` yet.
    waiting: std::vec::IntoIter<Member>,
    names: Vec<Rc<str>>,
    /// By name: the order of turns must not depend on the order of discovery.
    sorted: BTreeMap<(Rc<str>, u32), Filler>,
    fillers: Vec<Filler>,
    heaviest: f64,
    table: Places,
    taken: Taken,
    filled: u64,
    /// From 1.
    round: u64,
    /// The filler whose turn it is in this round, and whether it is in search of a free place.
    at: usize,
    searches: bool,
}

/// Hosts, or places looked at, in one step.
const STEP: u64 = 2048;

impl MaglevBuild {
    /// `size` is a prime: each step of a filler's order then visits every place.
    pub(super) fn new(endpoints: &[Rc<Endpoint>], members: &[Member], size: u64) -> Self {
        Self {
            size,
            names: members.iter().map(|member| endpoints[member.index as usize].name.clone()).rev().collect(),
            waiting: Vec::from(members).into_iter(),
            sorted: BTreeMap::new(),
            fillers: Vec::with_capacity(members.len()),
            heaviest: members.iter().map(|member| member.weight).fold(0.0, f64::max),
            table: Places { pieces: Vec::new(), size },
            taken: Taken(vec![0; size.div_ceil(64) as usize]),
            filled: 0,
            round: 1,
            at: 0,
            searches: false,
        }
    }

    pub(super) fn step(&mut self) -> Progress {
        if self.waiting.len() > 0 {
            for member in self.waiting.by_ref().take(STEP as usize / 16) {
                let name = self.names.pop().expect("one for each member");
                let filler = filler(&name, &member, self.size);
                self.sorted.insert((name, member.index), filler);
            }
            return Progress::More;
        }
        if !self.sorted.is_empty() {
            let sorted = std::iter::from_fn(|| self.sorted.pop_first());
            self.fillers.extend(sorted.take(STEP as usize / 16).map(|(_, filler)| filler));
            return Progress::More;
        }
        if self.table.grow() {
            return Progress::More;
        }
        for _ in 0..STEP {
            if self.filled == self.size {
                return Progress::Done;
            }
            self.look();
        }
        Progress::More
    }

    /// The filler whose turn it is looks at one place, or lets the turn pass.
    fn look(&mut self) {
        let filler = &mut self.fillers[self.at];
        // The heaviest host has a turn in every round, a host with a third of its weight in every third round.
        let has_turn = self.searches || self.round as f64 * filler.weight >= filler.used;
        if has_turn {
            if !self.searches {
                filler.used += self.heaviest;
            }
            let place = filler.place;
            filler.step(self.size);
            self.searches = !self.taken.take(place);
            if self.searches {
                return;
            }
            self.table.set(place, filler.index);
            filler.entries += 1;
            self.filled += 1;
        }
        self.at += 1;
        if self.at == self.fillers.len() {
            (self.at, self.round) = (0, self.round + 1);
        }
    }

    pub(super) fn finish(self) -> Maglev {
        let entries = || self.fillers.iter().map(|filler| filler.entries);
        let spread = (entries().min().unwrap_or(0), entries().max().unwrap_or(0));
        Maglev { table: self.table, spread }
    }
}

impl Maglev {
    /// The host at `hash`; a further attempt looks at a distant place.
    pub fn pick(&self, hash: u64, attempt: u32) -> u32 {
        let hash = match attempt {
            0 => hash,
            attempt => hash ^ (u64::MAX - u64::from(attempt) + 1),
        };
        self.table.get(hash % self.table.size)
    }

    /// To be freed.
    pub(super) fn take_pieces(&mut self) -> Vec<Piece> {
        std::mem::take(&mut self.table.pieces)
    }

    pub fn spread(&self) -> (i64, i64) {
        self.spread
    }
}

/// The hosts by place, in pieces: a long table is neither made nor freed in one go.
struct Places {
    pieces: Vec<Piece>,
    size: u64,
}

/// Hosts of neighbouring places.
pub type Piece = Box<[u32]>;

/// Places in a piece; 32 KiB.
const PIECE: u64 = 8192;

impl Places {
    /// Adds a piece, if one is missing.
    fn grow(&mut self) -> bool {
        let missing = (self.pieces.len() as u64) < self.size.div_ceil(PIECE);
        if missing {
            self.pieces.push(vec![0; PIECE as usize].into_boxed_slice());
        }
        missing
    }

    fn get(&self, place: u64) -> u32 {
        self.pieces[(place / PIECE) as usize][(place % PIECE) as usize]
    }

    fn set(&mut self, place: u64, host: u32) {
        self.pieces[(place / PIECE) as usize][(place % PIECE) as usize] = host;
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

fn filler(name: &str, member: &Member, size: u64) -> Filler {
    let name = name.as_bytes();
    Filler {
        index: member.index,
        weight: member.weight,
        used: 0.0,
        place: xxh64(name, 0) % size,
        skip: xxh64(name, 1) % (size - 1) + 1,
        entries: 0,
    }
}
