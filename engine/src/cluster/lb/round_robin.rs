//! Weighted round robin, smooth: picks of a heavy endpoint are spread out and not made in a row (the algorithm nginx
//! uses; Envoy's is an earliest-deadline-first queue with the same shares).
//!
//! Each shard runs its own round and starts it at a random place, so that shards do not send their first requests all
//! to the same endpoint.

use std::cell::{Cell, RefCell};

pub struct RoundRobin {
    state: State,
}

enum State {
    /// All weights are equal: a counter does.
    Equal { count: usize, next: Cell<usize> },
    /// The sequence of one whole round, after which it repeats.
    Sequence { picks: Box<[u16]>, next: Cell<usize> },
    /// For rounds that are too long to write down.
    Smooth(RefCell<Vec<(i64, i64)>>),
}

/// The longest round that is written down, in picks.
const SEQUENCE_MAX: u64 = 16 * 1024;

impl RoundRobin {
    /// One weight, 1 or more, for each endpoint; `start` chooses where the round begins.
    pub fn new(weights: &[u32], start: u64) -> Self {
        assert!(!weights.is_empty());
        let divisor = weights.iter().fold(0, |a, &b| gcd(a, b));
        let round: u64 = weights.iter().map(|&weight| u64::from(weight / divisor)).sum();
        let state = if weights.iter().all(|weight| *weight == weights[0]) {
            State::Equal { count: weights.len(), next: Cell::new((start % weights.len() as u64) as usize) }
        } else {
            let mut current: Vec<_> = weights.iter().map(|&weight| (0, i64::from(weight))).collect();
            if round <= SEQUENCE_MAX {
                let picks = (0..round).map(|_| smooth(&mut current) as u16).collect();
                State::Sequence { picks, next: Cell::new((start % round) as usize) }
            } else {
                State::Smooth(RefCell::new(current))
            }
        };
        Self { state }
    }

    pub fn pick(&self) -> usize {
        match &self.state {
            State::Equal { count, next } => step(next, *count),
            State::Sequence { picks, next } => picks[step(next, picks.len())] as usize,
            State::Smooth(current) => smooth(&mut current.borrow_mut()),
        }
    }
}

fn step(next: &Cell<usize>, count: usize) -> usize {
    let now = next.get();
    next.set(if now + 1 == count { 0 } else { now + 1 });
    now
}

/// Everybody gains its weight; the richest is picked and pays the sum of all weights.
fn smooth(current: &mut [(i64, i64)]) -> usize {
    let total: i64 = current.iter().map(|(_, weight)| weight).sum();
    let mut best = 0;
    for i in 0..current.len() {
        current[i].0 += current[i].1;
        if current[i].0 > current[best].0 {
            best = i;
        }
    }
    current[best].0 -= total;
    best
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares(weights: &[u32], start: u64, picks: usize) -> Vec<usize> {
        let policy = RoundRobin::new(weights, start);
        let mut counts = vec![0; weights.len()];
        (0..picks).for_each(|_| counts[policy.pick()] += 1);
        counts
    }

    #[test]
    fn weights_are_respected_exactly_over_a_round() {
        for start in 0..20 {
            assert_eq!(shares(&[1, 1, 1], start, 30), [10, 10, 10]);
            assert_eq!(shares(&[1, 2, 5], start, 80), [10, 20, 50]);
            assert_eq!(shares(&[50, 100], start, 30), [10, 20]);
        }
        let long: Vec<u32> = (0..400).map(|i| 1 + i % 128).collect();
        let round: u32 = long.iter().sum();
        let expected: Vec<usize> = long.iter().map(|&weight| weight as usize).collect();
        assert_eq!(shares(&long, 3, round as usize), expected);
    }

    #[test]
    fn heavy_endpoints_are_spread_over_the_round() {
        let policy = RoundRobin::new(&[2, 3, 7], 0);
        let picks: Vec<_> = (0..120).map(|_| policy.pick()).collect();
        let heavy = |window: &[usize]| window.iter().filter(|&&pick| pick == 2).count();
        // 7 of 12: a third of a round holds two or three of them, never four.
        assert!(picks.windows(4).all(|window| (2..4).contains(&heavy(window))), "{picks:?}");
    }
}
