//! What a comparison found: every run, and medians with their spread over the rounds.
use std::collections::BTreeMap;

use hdrhistogram::Histogram;
use serde::Serialize;

use super::scenario::Scenario;
use super::storm::StormRun;
use crate::generator::background::SlowOutcome;
use crate::generator::recorder::{Failures, Handshakes, Slice};
use crate::measure::machine::Machine;

/// The whole comparison; this is what report.json holds.
#[derive(Clone, Debug, Serialize)]
pub struct Comparison {
    pub command: String,
    pub started_unix_s: u64,
    pub machine: Machine,
    pub pinning: Pinning,
    pub rounds: usize,
    pub peers: Vec<PeerFacts>,
    /// Left out, with the command that would install it.
    pub missing: Vec<String>,
    /// The peer that ratios are formed against.
    pub baseline: String,
    pub scenarios: Vec<ScenarioResult>,
    /// An interrupt ended it early.
    pub cut_short: bool,
}

#[derive(Clone, Debug, Serialize)]
pub struct Pinning {
    pub proxy: Vec<usize>,
    pub load: Vec<usize>,
    pub origin: Vec<usize>,
}

#[derive(Clone, Debug, Serialize)]
pub struct PeerFacts {
    pub name: String,
    pub program: String,
    pub version: String,
    /// The config of its first scenario; those of all scenarios are next to the report.
    pub config: String,
}

#[derive(Clone, Debug, Serialize)]
pub struct ScenarioResult {
    pub scenario: Scenario,
    pub seconds: f64,
    pub peers: Vec<PeerResult>,
}

#[derive(Clone, Debug, Default, Serialize)]
pub struct PeerResult {
    pub peer: String,
    /// Why there are no runs, or not all.
    pub error: Option<String>,
    pub runs: Vec<Run>,
    pub median: Option<Medians>,
    /// Latency of all rounds together: share below, and microseconds.
    pub curve: Vec<(f64, f64)>,
    /// Closed-loop requests a second, where an open loop's rate was a share of them.
    pub capacity: Option<f64>,
    pub syscalls: Option<Syscalls>,
}

/// One peer in one round.
#[derive(Clone, Debug, Serialize)]
pub struct Run {
    pub round: usize,
    /// Right answers; of large ones, what the bytes moved amount to.
    pub requests: f64,
    pub requests_per_second: f64,
    pub content_in_per_second: f64,
    pub content_out_per_second: f64,
    /// CPU time of the proxy's processes for each request.
    pub cpu: Option<CpuPerRequest>,
    pub latency_us: Latency,
    /// Open loop: how late the generator itself sent.
    pub lag_p99_us: Option<f64>,
    pub failed: Failures,
    pub statuses: BTreeMap<usize, u64>,
    pub memory: Option<MemoryRun>,
    pub idle: Option<IdleRun>,
    pub slow: Option<SlowOutcome>,
    pub restart: Option<RestartRun>,
    pub storm: Option<StormRun>,
    /// Shares of the cores' time, 0 to 1.
    pub proxy_busy: f64,
    /// Of the proxy's cores, by the proxy itself.
    pub proxy_own: f64,
    pub load_busy: f64,
    pub stolen: f64,
    /// Of the proxy's cores, by other programs of this machine.
    pub others: f64,
    /// The generator's and origin's cores were full and the proxy's were not: throughput and latency say nothing about
    /// the proxy; CPU time for each request still does.
    pub load_bound: bool,
    /// Of the clients, where they come over TLS.
    pub handshakes: Option<Handshakes>,
    pub timeline: Vec<Slice>,
}

#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct CpuPerRequest {
    pub user_us: f64,
    pub system_us: f64,
}

impl CpuPerRequest {
    pub fn total(self) -> f64 {
        self.user_us + self.system_us
    }
}

/// Microseconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Latency {
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p99_9: f64,
    pub p99_99: f64,
    pub max: f64,
}

/// Bytes. `start` and `settled` are without the images of files: see [`crate::measure::process::Memory`].
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct MemoryRun {
    pub start: u64,
    /// Highest resident set, images of files included.
    pub peak_resident: u64,
    /// Right after the load, or after the scenario's settling time.
    pub settled: u64,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct IdleRun {
    pub asked: usize,
    pub opened: usize,
    pub open_at_end: usize,
    /// Growth of memory for each.
    pub bytes_each: Option<f64>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct RestartRun {
    /// From the origin's return to the end of the slice with the last failed exchange; 0 where none failed after it.
    pub last_failure_after_ms: f64,
    pub failed_after_return: u64,
}

/// System calls for each request.
#[derive(Clone, Debug, Serialize)]
pub struct Syscalls {
    pub tool: &'static str,
    pub total: f64,
    pub by_name: BTreeMap<String, f64>,
}

/// The middle of the rounds, and how far they lay apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Spread {
    pub median: f64,
    pub low: f64,
    pub high: f64,
}

#[derive(Clone, Debug, Serialize)]
pub struct Medians {
    pub requests_per_second: Spread,
    pub cpu_us: Option<Spread>,
    pub cpu_user_us: Option<Spread>,
    pub cpu_system_us: Option<Spread>,
    pub p50_us: Spread,
    pub p99_us: Spread,
    pub p99_9_us: Spread,
    pub p99_99_us: Spread,
    pub max_us: Spread,
    pub memory_peak: Option<Spread>,
    pub memory_settled: Option<Spread>,
    pub failed: u64,
    /// Answers that were wrong, not merely missing.
    pub wrong: u64,
    pub load_bound: bool,
    pub stolen: f64,
    pub others: f64,
    /// This peer's value divided by the other peer's.
    pub ratios: BTreeMap<String, Ratios>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct Ratios {
    pub requests_per_second: f64,
    pub cpu_us: Option<f64>,
    pub p99_us: f64,
}

impl Spread {
    /// `None` for no values.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let (low, high) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 { values[middle] } else { (values[middle - 1] + values[middle]) / 2.0 };
        Some(Spread { median, low, high })
    }

    /// Half the distance of the extremes as a share of the median: the `±` of the tables.
    pub fn half_width(&self) -> f64 {
        if self.median == 0.0 { 0.0 } else { (self.high - self.low) / 2.0 / self.median }
    }
}

impl PeerResult {
    /// Fills the medians from the runs.
    pub fn summarise(&mut self, latency: &Histogram<u64>) {
        let runs = &self.runs;
        let spread = |value: fn(&Run) -> f64| Spread::of(runs.iter().map(value)).unwrap_or_default();
        let maybe = |value: fn(&Run) -> Option<f64>| Spread::of(runs.iter().filter_map(value));
        if runs.is_empty() {
            return;
        }
        self.median = Some(Medians {
            requests_per_second: spread(|run| run.requests_per_second),
            cpu_us: maybe(|run| run.cpu.map(CpuPerRequest::total)),
            cpu_user_us: maybe(|run| run.cpu.map(|cpu| cpu.user_us)),
            cpu_system_us: maybe(|run| run.cpu.map(|cpu| cpu.system_us)),
            p50_us: spread(|run| run.latency_us.p50),
            p99_us: spread(|run| run.latency_us.p99),
            p99_9_us: spread(|run| run.latency_us.p99_9),
            p99_99_us: spread(|run| run.latency_us.p99_99),
            max_us: spread(|run| run.latency_us.max),
            memory_peak: maybe(|run| run.memory.map(|memory| memory.peak_resident as f64)),
            memory_settled: maybe(|run| run.memory.map(|memory| memory.settled as f64)),
            failed: runs.iter().map(|run| run.failed.total()).sum(),
            wrong: runs.iter().map(|run| run.failed.wrong()).sum(),
            load_bound: runs.iter().filter(|run| run.load_bound).count() * 2 > runs.len(),
            stolen: spread(|run| run.stolen).median,
            others: spread(|run| run.others).median,
            ratios: BTreeMap::new(),
        });
        self.curve = curve(latency);
    }
}

/// Points of the percentile curve, dense towards the tail, down to where a single exchange decides.
fn curve(latency: &Histogram<u64>) -> Vec<(f64, f64)> {
    let mut points = Vec::new();
    for nines in 0..=24 {
        let below = 1.0 - 10f64.powf(-f64::from(nines) / 4.0);
        if latency.len() as f64 * (1.0 - below) < 1.0 {
            break;
        }
        points.push((below, latency.value_at_quantile(below) as f64 / 1e3));
    }
    points
}

impl ScenarioResult {
    /// Forms each peer's ratios to every other.
    pub fn compare(&mut self) {
        let medians: Vec<(String, Medians)> = self
            .peers
            .iter()
            .filter_map(|peer| peer.median.clone().map(|median| (peer.peer.clone(), median)))
            .collect();
        for peer in &mut self.peers {
            let Some(mine) = &mut peer.median else { continue };
            for (name, theirs) in medians.iter().filter(|(name, _)| *name != peer.peer) {
                let cpu_us = match (mine.cpu_us, theirs.cpu_us) {
                    (Some(mine), Some(theirs)) if theirs.median > 0.0 => Some(mine.median / theirs.median),
                    _ => None,
                };
                let of = |mine: Spread, theirs: Spread| mine.median / theirs.median.max(f64::MIN_POSITIVE);
                let ratios = Ratios {
                    requests_per_second: of(mine.requests_per_second, theirs.requests_per_second),
                    cpu_us,
                    p99_us: of(mine.p99_us, theirs.p99_us),
                };
                mine.ratios.insert(name.clone(), ratios);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians_and_spreads() {
        assert_eq!(Spread::of([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, low: 1.0, high: 3.0 }));
        assert_eq!(Spread::of([1.0, 2.0]).unwrap().median, 1.5);
        assert_eq!(Spread::of([]), None);
        assert_eq!(Spread { median: 10.0, low: 9.0, high: 11.0 }.half_width(), 0.1);
    }

    #[test]
    fn the_curve_ends_where_one_exchange_decides() {
        let mut latency = crate::generator::recorder::latency_histogram();
        (0..1_000).for_each(|us| latency.record(us * 1_000 + 1_000).unwrap());
        let curve = curve(&latency);
        assert!(curve.len() > 8 && curve.last().unwrap().0 <= 0.9991);
        assert!(curve.windows(2).all(|pair| pair[0].1 <= pair[1].1));
    }
}
