//! The instants at which an open loop's requests are due, fixed before any answer is seen.
use std::time::Duration;

use super::spec::Arrivals;
use crate::rng::Rng;

/// One worker's arrivals, in nanoseconds since the start of the run.
#[derive(Clone, Debug)]
pub struct Schedule {
    /// Nanoseconds between two arrivals, on average.
    interval: f64,
    /// The arrival after the last one handed out.
    next: f64,
    arrivals: Arrivals,
    rng: Rng,
}

impl Schedule {
    /// Worker `index` of `workers` takes its share of `rate` a second; constant arrivals of the workers interleave.
    pub fn new(rate: f64, arrivals: Arrivals, index: usize, workers: usize, seed: u64) -> Schedule {
        let interval = 1e9 * workers as f64 / rate;
        let rng = Rng::new(seed ^ (index as u64).wrapping_mul(0x1000_0000_01b3));
        let mut schedule = Schedule { interval, next: 0.0, arrivals, rng };
        schedule.next = match arrivals {
            Arrivals::Constant => interval * index as f64 / workers as f64,
            Arrivals::Poisson => schedule.gap(),
        };
        schedule
    }

    /// The next arrival, due or not.
    pub fn next(&self) -> u64 {
        self.next as u64
    }

    /// Takes the next arrival if it is due at `now`.
    pub fn take_due(&mut self, now: u64) -> Option<u64> {
        let due = self.next();
        if due > now {
            return None;
        }
        // A sum of doubles drifts by less than a nanosecond a minute: 2^53 ns are a hundred days.
        self.next += self.gap();
        Some(due)
    }

    fn gap(&mut self) -> f64 {
        match self.arrivals {
            Arrivals::Constant => self.interval,
            Arrivals::Poisson => self.rng.exponential(Duration::from_secs(1)).as_secs_f64() * self.interval,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn due_within(schedule: &mut Schedule, until: u64) -> Vec<u64> {
        std::iter::from_fn(|| schedule.take_due(until)).collect()
    }

    #[test]
    fn constant_arrivals_of_all_workers_interleave_evenly() {
        let mut all: Vec<u64> = (0..4)
            .flat_map(|index| due_within(&mut Schedule::new(1_000.0, Arrivals::Constant, index, 4, 0), 999_999_999))
            .collect();
        all.sort_unstable();
        assert_eq!(all.len(), 1_000);
        assert!(all.windows(2).all(|pair| pair[1] - pair[0] == 1_000_000));
    }

    #[test]
    fn a_late_caller_gets_every_arrival_at_its_own_instant() {
        let mut schedule = Schedule::new(10.0, Arrivals::Constant, 0, 1, 0);
        assert_eq!(schedule.take_due(0), Some(0));
        assert_eq!(schedule.take_due(50_000_000), None);
        assert_eq!(due_within(&mut schedule, 350_000_000), [100_000_000, 200_000_000, 300_000_000]);
    }

    #[test]
    fn poisson_arrivals_keep_the_rate_and_replay_from_the_seed() {
        let count = |seed| due_within(&mut Schedule::new(50_000.0, Arrivals::Poisson, 0, 1, seed), 1_000_000_000);
        assert!((49_000..51_000).contains(&count(1).len()));
        assert_eq!(count(1), count(1));
        assert_ne!(count(1), count(2));
    }
}
