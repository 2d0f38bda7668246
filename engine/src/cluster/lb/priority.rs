//! How much of the load each priority gets: Envoy's algorithm, with the same numbers (LoadBalancerBase and the chapters
//! "Priority levels", "Degraded endpoints" and "Panic threshold" of its documentation).

use crate::cluster::counts::Counts;
use smallvec::SmallVec;

/// One number for each priority.
pub type PerPriority = SmallVec<[u32; 4]>;

/// The percentage of a priority's capacity that `part` of its hosts has, with overprovisioning, at most 100. One host of a
/// thousand still has some: without it, no request would find the host.
fn availability(counts: &Counts, part: u32, overprovisioning: u32) -> u32 {
    match counts.considered() {
        0 => 0,
        _ if part == 0 => 0,
        total => (u64::from(overprovisioning) * u64::from(part) / u64::from(total)).clamp(1, 100) as u32,
    }
}

/// Whether so small a percentage of hosts can be used that health is better ignored.
fn is_in_panic(counts: &Counts, threshold: f64) -> bool {
    let usable = match counts.considered() {
        0 => 0.0,
        total => 100.0 * f64::from(counts.healthy + counts.degraded) / f64::from(total),
    };
    usable < threshold
}

/// The hosts of a priority that a request goes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Availability {
    Healthy,
    Degraded,
}

/// Shares of the load as percentages; they add up to 100.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loads {
    pub healthy: PerPriority,
    pub degraded: PerPriority,
}

impl Loads {
    /// The priority for a request, by its hash or by a random number.
    pub fn choose(&self, hash: u64) -> (usize, Availability) {
        let place = (hash % 100) as u32 + 1;
        let mut sum = 0;
        for (shares, availability) in [(&self.healthy, Availability::Healthy), (&self.degraded, Availability::Degraded)]
        {
            for (priority, share) in shares.iter().enumerate() {
                sum += share;
                if place <= sum {
                    return (priority, availability);
                }
            }
        }
        (0, Availability::Healthy)
    }

    /// The place, where all requests go to the same one.
    pub fn only(&self) -> Option<(usize, Availability)> {
        let full = |shares: &PerPriority| shares.iter().position(|share| *share == 100);
        full(&self.healthy)
            .map(|at| (at, Availability::Healthy))
            .or_else(|| full(&self.degraded).map(|at| (at, Availability::Degraded)))
    }
}

/// What follows from the hosts' health.
#[derive(Clone, Debug)]
pub struct Priorities {
    pub loads: Loads,
    /// For each priority: health is ignored.
    pub panic: SmallVec<[bool; 4]>,
    health: PerPriority,
    degraded: PerPriority,
}

impl Priorities {
    /// `counts` for each priority, at least one; `overprovisioning` and `panic_threshold` are percentages.
    pub fn new(counts: &[Counts], overprovisioning: u32, panic_threshold: f64) -> Self {
        let health = part(counts, |counts| availability(counts, counts.healthy, overprovisioning));
        let degraded = part(counts, |counts| availability(counts, counts.degraded, overprovisioning));
        let total = total_availability(&health, &degraded);
        let mut this = Self { loads: split(&health, &degraded), panic: SmallVec::new(), health, degraded };
        // Where all priorities together have enough capacity, one with little capacity is no reason for panic.
        this.panic = counts.iter().map(|counts| total != 100 && is_in_panic(counts, panic_threshold)).collect();
        if panic_threshold == 0.0 && total == 0 {
            // The load needs a place, although no host is found there.
            this.loads.healthy[0] = 100;
        } else if this.panic.iter().all(|panic| *panic) {
            this.loads = split_in_panic(counts);
        }
        this
    }

    /// Whether requests go to a priority that ignores health.
    pub fn is_load_in_panic(&self) -> bool {
        let loads = self.loads.healthy.iter().zip(&self.loads.degraded);
        self.panic.iter().zip(loads).any(|(panic, (healthy, degraded))| *panic && healthy + degraded > 0)
    }

    /// The loads without the priorities `excluded`; `self.loads` when no other priority has capacity (Envoy:
    /// envoy.retry_priorities.previous_priorities).
    pub fn without(&self, excluded: &[u32]) -> Loads {
        let kept = |availability: &PerPriority| -> PerPriority {
            let mark =
                |(priority, value): (usize, &u32)| if excluded.contains(&(priority as u32)) { 0 } else { *value };
            availability.iter().enumerate().map(mark).collect()
        };
        let (health, degraded) = (kept(&self.health), kept(&self.degraded));
        if total_availability(&health, &degraded) == 0 {
            return self.loads.clone();
        }
        split(&health, &degraded)
    }
}

fn part(counts: &[Counts], of: impl Fn(&Counts) -> u32) -> PerPriority {
    counts.iter().map(of).collect()
}

/// 100 at most.
fn total_availability(health: &[u32], degraded: &[u32]) -> u32 {
    (health.iter().sum::<u32>() + degraded.iter().sum::<u32>()).min(100)
}

/// Healthy hosts take all they can, from the first priority on; degraded hosts take the rest.
fn split(health: &[u32], degraded: &[u32]) -> Loads {
    let total = total_availability(health, degraded);
    let nothing: PerPriority = health.iter().map(|_| 0).collect();
    if total == 0 {
        return Loads { healthy: nothing.clone(), degraded: nothing };
    }
    let mut left = 100;
    let mut spread = |availability: &[u32]| -> PerPriority {
        let mut share = |available: &u32| {
            let share = left.min(available * 100 / total);
            left -= share;
            share
        };
        availability.iter().map(&mut share).collect()
    };
    let mut loads = Loads { healthy: spread(health), degraded: spread(degraded) };
    // The rest that rounding leaves goes to the first priority with any capacity.
    if let Some(first) = health.iter().position(|available| *available > 0) {
        loads.healthy[first] += left;
    } else if let Some(first) = degraded.iter().position(|available| *available > 0) {
        loads.degraded[first] += left;
    }
    loads
}

/// By the number of hosts, healthy or not.
fn split_in_panic(counts: &[Counts]) -> Loads {
    let mut healthy: PerPriority = counts.iter().map(|_| 0).collect();
    let degraded = healthy.clone();
    let total: u64 = counts.iter().map(|counts| u64::from(counts.total)).sum();
    if total == 0 {
        healthy[0] = 100;
        return Loads { healthy, degraded };
    }
    let mut left = 100;
    for (share, counts) in healthy.iter_mut().zip(counts) {
        *share = (100 * u64::from(counts.total) / total) as u32;
        left -= *share;
    }
    if let Some(first) = counts.iter().position(|counts| counts.total > 0) {
        healthy[first] += left;
    }
    Loads { healthy, degraded }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(healthy: u32, total: u32) -> Counts {
        Counts { total, healthy, ..Counts::default() }
    }

    fn of(percent: &[u32]) -> Priorities {
        let counts: Vec<_> = percent.iter().map(|percent| counts(*percent, 100)).collect();
        Priorities::new(&counts, 140, 50.0)
    }

    fn shares(priorities: &Priorities) -> Vec<u32> {
        priorities.loads.healthy.to_vec()
    }

    /// The tables of Envoy's page "Priority levels".
    #[test]
    fn envoys_tables_for_two_and_three_priorities() {
        for (health, expected) in [
            ([100, 100], [100, 0]),
            ([72, 100], [100, 0]),
            ([71, 100], [99, 1]),
            ([50, 100], [70, 30]),
            ([25, 100], [35, 65]),
            ([0, 100], [0, 100]),
        ] {
            assert_eq!(shares(&of(&health)), expected, "{health:?}");
        }
        for (health, expected) in [
            ([100, 100, 100], [100, 0, 0]),
            ([72, 72, 100], [100, 0, 0]),
            ([71, 71, 100], [99, 1, 0]),
            ([50, 50, 100], [70, 30, 0]),
            ([25, 100, 100], [35, 65, 0]),
            ([25, 25, 100], [35, 35, 30]),
        ] {
            assert_eq!(shares(&of(&health)), expected, "{health:?}");
        }
    }

    /// The table of Envoy's page "Panic threshold": health of P=0 and P=1, traffic and panic. The page's last line says 7
    /// and 93, but Envoy's code gives the rest that rounding leaves to the first priority.
    #[test]
    fn envoys_table_of_panic() {
        for (health, expected, panic) in [
            ([72, 72], [100, 0], [false, false]),
            ([71, 71], [99, 1], [false, false]),
            ([50, 60], [70, 30], [false, false]),
            ([25, 100], [35, 65], [false, false]),
            ([25, 25], [50, 50], [true, true]),
            ([5, 65], [8, 92], [true, false]),
        ] {
            let priorities = of(&health);
            assert_eq!((shares(&priorities), &*priorities.panic), (expected.to_vec(), &panic[..]), "{health:?}");
        }
    }

    #[test]
    fn in_total_panic_the_number_of_hosts_decides() {
        let priorities = Priorities::new(&[counts(0, 1), counts(0, 3)], 140, 50.0);
        assert_eq!(shares(&priorities), [25, 75]);
        let priorities = Priorities::new(&[counts(0, 0), counts(0, 1), counts(0, 2)], 140, 50.0);
        assert_eq!(shares(&priorities), [0, 34, 66]);
        let empty = Priorities::new(&[counts(0, 0)], 140, 50.0);
        assert_eq!(shares(&empty), [100]);
    }

    #[test]
    fn without_panic_a_dead_cluster_has_its_load_at_the_first_priority() {
        let priorities = Priorities::new(&[counts(0, 2), counts(0, 2)], 140, 0.0);
        assert_eq!((shares(&priorities), &*priorities.panic), (vec![100, 0], &[false, false][..]));
    }

    /// By default: panic is for a cluster without any usable host, however few of its hosts are usable.
    #[test]
    fn the_least_threshold_is_for_a_cluster_without_usable_hosts() {
        let of = |counts: &[Counts]| {
            let priorities = Priorities::new(counts, 140, f64::MIN_POSITIVE);
            (shares(&priorities), priorities.loads.degraded.to_vec(), priorities.is_load_in_panic())
        };
        assert_eq!(of(&[counts(1, 3)]), (vec![100], vec![0], false));
        assert_eq!(of(&[counts(1, 1000)]), (vec![100], vec![0], false));
        assert_eq!(of(&[counts(0, 3), counts(1, 1000)]), (vec![0, 100], vec![0, 0], false));
        assert_eq!(of(&[Counts { degraded: 1, ..counts(0, 1000) }]), (vec![0], vec![100], false));
        assert_eq!(of(&[counts(0, 3)]), (vec![100], vec![0], true));
        assert_eq!(of(&[counts(0, 1), counts(0, 3)]), (vec![25, 75], vec![0, 0], true));
    }

    /// Envoy's page "Degraded endpoints": 5/5 as healthy/degraded at P=0 and 5 healthy at P=1 and the like.
    #[test]
    fn degraded_hosts_get_what_healthy_ones_cannot_take() {
        let level = |healthy, degraded, total| Counts { total, healthy, degraded, excluded: 0 };
        let priorities = Priorities::new(&[level(0, 100, 100), level(100, 0, 100)], 140, 50.0);
        assert_eq!(shares(&priorities), [0, 100]);
        let priorities = Priorities::new(&[level(0, 100, 100), level(71, 0, 100)], 140, 50.0);
        assert_eq!((shares(&priorities), priorities.loads.degraded.to_vec()), (vec![0, 99], vec![1, 0]));
        let priorities = Priorities::new(&[level(0, 100, 100), level(50, 0, 100)], 140, 50.0);
        assert_eq!((shares(&priorities), priorities.loads.degraded.to_vec()), (vec![0, 70], vec![30, 0]));
        assert!(priorities.panic.iter().all(|panic| !panic));
    }

    #[test]
    fn excluded_hosts_do_not_count() {
        let level = Counts { total: 10, healthy: 2, degraded: 0, excluded: 8 };
        let priorities = Priorities::new(&[level], 140, 50.0);
        assert_eq!((shares(&priorities), priorities.panic[0]), (vec![100], false));
    }

    #[test]
    fn a_retry_leaves_priorities_out_while_others_have_capacity() {
        let priorities = of(&[100, 100, 100]);
        assert_eq!(priorities.without(&[0]).healthy.to_vec(), [0, 100, 0]);
        assert_eq!(priorities.without(&[0, 1]).healthy.to_vec(), [0, 0, 100]);
        assert_eq!(priorities.without(&[0, 1, 2]), priorities.loads);
        // Capacity is normalised to the priorities that are left.
        assert_eq!(of(&[100, 25, 25]).without(&[0]).healthy.to_vec(), [0, 50, 50]);
    }

    #[test]
    fn every_hundredth_goes_where_the_shares_say() {
        let mut counted = [0; 3];
        let loads = of(&[25, 25, 100]).loads;
        (0..1000).for_each(|hash| counted[loads.choose(hash).0] += 1);
        assert_eq!(counted, [350, 350, 300]);
        assert_eq!((loads.only(), of(&[0, 100]).loads.only()), (None, Some((1, Availability::Healthy))));
    }

    #[test]
    fn shares_add_up_to_100_whatever_the_health() {
        let random = crate::base::random::Random::seeded(1);
        for _ in 0..20_000 {
            let level = || {
                let total = random.below(20) as u32;
                let healthy = random.below(u64::from(total) + 1) as u32;
                let degraded = random.below(u64::from(total - healthy) + 1) as u32;
                let excluded = random.below(u64::from(total - healthy - degraded) + 1) as u32;
                Counts { total, healthy, degraded, excluded }
            };
            let counts: Vec<_> = (0..=random.below(5)).map(|_| level()).collect();
            let threshold = [0.0, f64::MIN_POSITIVE, 50.0, 100.0][random.below(4) as usize];
            let priorities = Priorities::new(&counts, 100 + random.below(100) as u32, threshold);
            let loads = &priorities.loads;
            assert_eq!(loads.healthy.iter().chain(&loads.degraded).sum::<u32>(), 100, "{counts:?} {priorities:?}");
        }
    }
}
