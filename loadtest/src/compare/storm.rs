//! Storms: more handshakes than a peer can make, while it has kept connections to serve.
//!
//! A round has four parts: a few of the storm's clients without the traffic, which is the most handshakes that the peer makes;
//! the traffic without the storm; the same on cores that are full, for a storm fills them; and traffic and storm. What is told is
//! how much longer the traffic waits, and what is left of the handshakes.
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::process::Process;
use super::result::{Latency, PeerResult, Run, Spread};
use super::run::{Bench, Measured, Origin};
use crate::generator;
use crate::generator::spec::{Arrivals, Pace, Prepared, Reuse, Spec, Wire};
use crate::measure::filler::Filler;
use crate::measure::precedence::Precedence;
use crate::measure::process::{self, CpuTime};
use crate::{interrupt, units};

/// Clients that show what a peer can do: enough to keep it busy, few enough to wait for each other.
const ALONE: usize = 64;
/// Before a storm comes, the connections of the traffic are open: with RSA keys, their handshakes take a peer more than a second.
const HEAD_START: Duration = Duration::from_secs(2);
/// How often, and how long at most, it is looked whether a proxy is done with what came before, and what share of a core it
/// takes then.
const SETTLE_LOOK: Duration = Duration::from_millis(250);
const SETTLE_MAX: Duration = Duration::from_secs(20);
const IDLE: f64 = 0.1;
/// Connections that fit the backlogs of all peers, which are 4,096 long.
const CLIENTS_MAX: usize = 4_000;
const ALONE_TRIES: usize = 5;
/// From when a client has waited for long enough until another one has taken its place.
const REPLACED: Duration = Duration::from_millis(100);

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Storm {
    pub kind: Kind,
    /// Handshakes a second that are begun, as a multiple of those that the peer makes without other traffic.
    pub times: f64,
    /// When a client goes away that has no answer yet; earlier where there would be too many at a time.
    #[serde(default = "second")]
    pub patience: units::Span,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Handshakes that are made to their end, with one request each.
    Full,
    /// The same first message again and again, from clients that take the server's answer and go: it costs them nothing.
    Replayed,
}

fn second() -> units::Span {
    units::Span(Duration::from_secs(1))
}

/// What a storm did to one peer in one round.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct StormRun {
    pub clients: usize,
    /// Handshakes a second: without the traffic, with it, and as many as clients began with it.
    pub alone: f64,
    pub during: f64,
    pub offered: f64,
    /// The traffic without the storm.
    pub calm: Latency,
    pub calm_lag_p99_us: Option<f64>,
    /// The same while threads that give way at once keep all cores busy.
    pub full: Latency,
    /// Share of the proxy's cores that the traffic takes without the storm.
    pub calm_busy: f64,
}

impl StormRun {
    /// How much of the handshakes is left that fit next to the traffic.
    fn kept(&self) -> f64 {
        self.during / (self.alone * (1.0 - self.calm_busy)).max(f64::MIN_POSITIVE)
    }
}

impl Storm {
    /// When a client gives up where `rate` come in a second: early enough for another one to come in time, with as many
    /// connections as there are at most.
    fn patience(&self, rate: f64) -> Duration {
        let longest = CLIENTS_MAX as f64 / rate.max(1.0) - REPLACED.as_secs_f64();
        self.patience.0.min(Duration::from_secs_f64(longest.max(REPLACED.as_secs_f64())))
    }

    /// How many clients there are at a time where `rate` come in a second, and each of them waits in vain.
    fn clients(&self, rate: f64) -> usize {
        let wanted = rate * (self.patience(rate) + REPLACED).as_secs_f64();
        (wanted.ceil() as usize).clamp(ALONE, CLIENTS_MAX)
    }

    /// `rate`: of clients that come, whatever becomes of those before them; else another comes when one is done.
    fn spec(&self, bench: &Bench<'_>, rate: Option<f64>) -> anyhow::Result<Spec> {
        let clients = rate.map_or(ALONE, |rate| self.clients(rate));
        let traffic = bench.spec(bench.warmup, bench.duration);
        let spec = Spec {
            connections: clients,
            wire: Wire::Http1,
            pipeline: 1,
            reuse: Reuse::PerRequest,
            pace: rate.map_or(Pace::Closed, |rate| Pace::Open {
                rate,
                arrivals: Arrivals::Poisson,
                tick: bench.scenario.load.tick(),
            }),
            timeout: rate.map_or(self.patience.0, |rate| self.patience(rate)),
            precedence: Precedence::Last,
            ..traffic
        };
        Ok(match (self.kind, &bench.caller.tls) {
            (Kind::Replayed, Some(tls)) => Spec { requests: vec![Prepared::hello(tls.hello()?)], tls: None, ..spec },
            _ => Spec { requests: vec![bench.scenario.probe(Reuse::PerRequest)], ..spec },
        })
    }
}

/// Runs the four parts. What is measured is the traffic in the storm.
pub fn run(bench: &Bench<'_>, storm: &Storm, round: usize, origins: &mut [Origin]) -> anyhow::Result<Measured> {
    let warmup = bench.warmup;
    let bench = &Bench { warmup: warmup + HEAD_START, ..*bench };
    settle(bench);
    let alone = alone(bench, storm)?;
    settle(bench);
    let calm = bench.run(round, origins)?.run;
    let cores = [bench.cores.proxy.as_slice(), &bench.cores.load_side()].concat();
    let (filler, full) = beside(bench, round, origins, || Filler::start(&cores))?;
    let full = full?.run;
    filler.stop()?;
    let rate = storm.times * alone;
    let spec = storm.spec(bench, Some(rate))?;
    let spec = Arc::new(Spec { warmup, ..spec });
    let (outcome, measured) = beside(bench, round, origins, || generator::run(&spec))?;
    let outcome = outcome?;
    let mut measured = measured?;
    measured.run.storm = Some(StormRun {
        clients: storm.clients(rate),
        alone,
        during: outcome.rate(),
        offered: outcome.connects as f64 / (spec.warmup + spec.duration).as_secs_f64(),
        calm: calm.latency_us,
        calm_lag_p99_us: calm.lag_p99_us,
        full: full.latency_us,
        calm_busy: calm.proxy_own.min(1.0),
    });
    // Another peer has the cores next, and some go on for seconds with handshakes of clients that are gone.
    settle(bench);
    Ok(measured)
}

/// Handshakes a second without other traffic, of which the storm is a multiple.
fn alone(bench: &Bench<'_>, storm: &Storm) -> anyhow::Result<f64> {
    let spec = Arc::new(storm.spec(bench, None)?);
    // They give way to all else that the machine does.
    for _ in 0..ALONE_TRIES {
        let rate = generator::run(&spec)?.rate();
        if rate > 0.0 {
            return Ok(rate);
        }
    }
    anyhow::bail!("no handshake came to its end without other traffic: measure for longer (-d)")
}

/// The traffic, and what else begins when its connections are open.
fn beside<T: Send>(
    bench: &Bench<'_>,
    round: usize,
    origins: &mut [Origin],
    what: impl FnOnce() -> T + Send,
) -> anyhow::Result<(T, anyhow::Result<Measured>)> {
    thread::scope(|scope| {
        let other = scope.spawn(|| {
            interrupt::sleep_until(Instant::now() + HEAD_START);
            what()
        });
        let measured = bench.run(round, origins);
        let other = other.join().map_err(|_| anyhow::anyhow!("what came beside the traffic panicked"))?;
        Ok((other, measured))
    })
}

/// Waits until the proxy has nothing left to do of an earlier part: handshakes of clients that are gone may take it seconds.
fn settle(bench: &Bench<'_>) {
    let pids = bench.proxy.map_or_else(Vec::new, Process::pids);
    let spent = || {
        let CpuTime { user_us, system_us } = process::cpu_time(&pids);
        user_us + system_us
    };
    let end = Instant::now() + SETTLE_MAX;
    while Instant::now() < end {
        let before = spent();
        interrupt::sleep_until(Instant::now() + SETTLE_LOOK);
        if spent() - before < SETTLE_LOOK.as_secs_f64() * 1e6 * IDLE {
            return;
        }
    }
}

/// What the storms of all rounds did, in words: medians over the rounds.
pub fn notes(peer: &PeerResult) -> Vec<String> {
    let storms = || peer.runs.iter().filter_map(|run| Some((run, run.storm.as_ref()?)));
    let median = |value: fn(&Run, &StormRun) -> f64| {
        Spread::of(storms().map(|(run, storm)| value(run, storm))).unwrap_or_default()
    };
    if storms().next().is_none() {
        return Vec::new();
    }
    let [calm, full, stormy] =
        [median(|_, storm| storm.calm.p99), median(|_, storm| storm.full.p99), median(|run, _| run.latency_us.p99)];
    let ratio = median(|run, storm| run.latency_us.p99 / storm.calm.p99.max(f64::MIN_POSITIVE));
    let to_full = median(|run, storm| run.latency_us.p99 / storm.full.p99.max(f64::MIN_POSITIVE));
    let (alone, during) = (median(|_, storm| storm.alone), median(|_, storm| storm.during));
    let [share, kept] = [median(|_, storm| storm.during / storm.alone.max(1e-9)), median(|_, storm| storm.kept())];
    vec![
        format!(
            "p99 of the traffic: {} without the storm, {} in it: {:.2} times ({:.2} to {:.2})",
            units::micros(calm.median),
            units::micros(stormy.median),
            ratio.median,
            ratio.low,
            ratio.high
        ),
        format!(
            "without the storm, but with threads that keep the cores busy and give way: {}: {:.2} times in the storm ({:.2} to {:.2})",
            units::micros(full.median),
            to_full.median,
            to_full.low,
            to_full.high
        ),
        format!(
            "handshakes: {}/s without the traffic, {}/s with it ({:.2}), of {}/s begun; the traffic alone takes {:.0} % of the \
             proxy's cores: {:.2} of what fits next to it ({:.2} to {:.2})",
            units::count(alone.median),
            units::count(during.median),
            share.median,
            units::count(median(|_, storm| storm.offered).median),
            median(|_, storm| storm.calm_busy).median * 100.0,
            kept.median,
            kept.low,
            kept.high
        ),
        // Long before it is full, the traffic waits there, too.
        format!(
            "in the storm, the cores of generator and origin are {:.0} % busy",
            median(|run, _| run.load_busy).median * 100.0
        ),
        format!(
            "the generator sent late without the storm: p99 {}",
            units::micros(median(|_, storm| storm.calm_lag_p99_us.unwrap_or_default()).median)
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_as_many_clients_as_come_while_one_waits() {
        let storm = Storm { kind: Kind::Full, times: 10.0, patience: second() };
        assert_eq!((storm.clients(2_000.0), storm.patience(2_000.0)), (2_200, second().0));
        assert_eq!((storm.clients(1.0), storm.clients(50_000.0)), (ALONE, CLIENTS_MAX));
        let patient = Storm { patience: units::Span(Duration::from_secs(4)), ..storm };
        assert_eq!(patient.clients(200.0), 820);
    }

    #[test]
    fn clients_of_a_fast_storm_wait_for_a_shorter_time() {
        let storm = Storm { kind: Kind::Replayed, times: 10.0, patience: second() };
        assert_eq!((storm.clients(8_000.0), storm.patience(8_000.0)), (CLIENTS_MAX, Duration::from_millis(400)));
        assert_eq!(storm.patience(1e9), REPLACED);
    }

    #[test]
    fn what_the_traffic_takes_is_no_loss_of_handshakes() {
        let storm = StormRun {
            clients: 100,
            alone: 1_000.0,
            during: 480.0,
            offered: 9_000.0,
            calm: Latency::default(),
            calm_lag_p99_us: None,
            full: Latency::default(),
            calm_busy: 0.4,
        };
        assert!((storm.kept() - 0.8).abs() < 1e-9);
    }
}
