//! Success rates: the rate of one endpoint in one interval, and the threshold below which a rate is an outlier.

use crate::stats::{Counter, HostStats, PerShard};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Stands for a missing rate, as in Envoy's output.
pub(super) const NO_RATE: f64 = -1.0;

/// The side whose outcomes make up a success rate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Responses, and all failures unless those of local origin are counted separately.
    External,
    /// Connections made, and failures to make or keep one.
    Local,
}

impl Origin {
    pub(super) const ALL: [Self; 2] = [Self::External, Self::Local];
}

/// A rate that threads share: a percentage, as the bits of an f64.
#[derive(Debug)]
pub(super) struct Rate(AtomicU64);

impl Default for Rate {
    fn default() -> Self {
        Self(AtomicU64::new(NO_RATE.to_bits()))
    }
}

impl Rate {
    pub fn get(&self) -> f64 {
        f64::from_bits(self.0.load(Relaxed))
    }

    pub fn set(&self, rate: f64) {
        self.0.store(rate.to_bits(), Relaxed);
    }
}

/// Outcomes of an endpoint, added up over the shards since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub results: u64,
    pub successes: u64,
}

impl Tally {
    pub fn of(origin: Origin, stats: &PerShard<HostStats>) -> Self {
        let sum = |counter: fn(&HostStats) -> &Counter| stats.sum(|cells| counter(cells).get() as i64) as u64;
        // Successes are read first: a request counted in between only adds a result, so no rate exceeds 100.
        let (successes, results) = match origin {
            Origin::External => (sum(|cells| &cells.successes), sum(|cells| &cells.results)),
            Origin::Local => (sum(|cells| &cells.local_successes), sum(|cells| &cells.local_results)),
        };
        Self { results, successes }
    }

    /// The outcomes since `before`.
    pub fn since(self, before: Self) -> Self {
        let successes = self.successes.saturating_sub(before.successes);
        Self { results: self.results.saturating_sub(before.results).max(successes), successes }
    }

    /// The percentage of successes; `None` without a request.
    pub fn rate(self) -> Option<f64> {
        (self.results > 0).then(|| self.successes as f64 * 100.0 / self.results as f64)
    }
}

/// Mean of the rates, and the threshold below which one is an outlier: `stdev_factor`, in thousandths, times the
/// standard deviation below the mean (Envoy: DetectorImpl::successRateEjectionThreshold). `rates` is not empty.
pub(super) fn threshold(rates: &[f64], stdev_factor: u32) -> (f64, f64) {
    let count = rates.len() as f64;
    let mean = rates.iter().sum::<f64>() / count;
    let variance = rates.iter().map(|rate| (rate - mean).powi(2)).sum::<f64>() / count;
    (mean, mean - f64::from(stdev_factor) / 1000.0 * variance.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example in Envoy's source and documentation.
    #[test]
    fn envoys_example() {
        let (mean, threshold) = threshold(&[50.0, 100.0, 100.0, 100.0, 100.0], 1900);
        assert_eq!(mean, 90.0);
        assert!((threshold - 52.0).abs() < 1e-9, "{threshold}");
    }

    #[test]
    fn rates_of_an_interval() {
        let (before, now) = (Tally { results: 100, successes: 90 }, Tally { results: 140, successes: 120 });
        assert_eq!(now.since(before).rate(), Some(75.0));
        assert_eq!(now.since(now).rate(), None);
        assert_eq!(Tally { results: 100, successes: 91 }.since(before).rate(), Some(100.0), "read while it changed");
    }
}
