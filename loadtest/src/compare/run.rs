//! One run: one scenario on one peer in one round.
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::process::{OriginPlan, Process};
use super::result::{CpuPerRequest, IdleRun, Latency, MemoryRun, RestartRun, Run, Syscalls};
use super::scenario::{Background, Restart, Scenario};
use crate::generator::background::{Caller, Idle, Slow};
use crate::generator::spec::{Pace, Spec};
use crate::generator::{self, Outcome};
use crate::interrupt;
use crate::measure::cpus::CoreTimes;
use crate::measure::process::{self, CpuTime, Memory};
use crate::measure::syscalls::Tool;

/// Answers and uploads of this size and more are counted by the bytes moved.
const COUNT_BY_BYTES: u64 = 256 * 1024;
/// A core is full from this share on; the rest is the resolution of the kernel's ticks.
const FULL: f64 = 0.95;
/// Connections that show whether tickets come with resumed sessions.
const TRIAL: usize = 8;
/// Resumed sessions a second that no peer reaches on one core.
const RESUMED_RATE: f64 = 8_000.0;
const TIMEOUT: Duration = Duration::from_secs(5);

/// The cores of the three parties.
#[derive(Clone, Debug)]
pub struct Cores {
    pub proxy: Vec<usize>,
    pub load: Vec<usize>,
    pub origin: Vec<usize>,
}

impl Cores {
    /// Generator and origin together: what must not be full.
    pub fn load_side(&self) -> Vec<usize> {
        let mut cores = [self.load.as_slice(), self.origin.as_slice()].concat();
        cores.sort_unstable();
        cores.dedup();
        cores
    }
}

/// An origin that runs, and how it is started again.
pub struct Origin {
    pub plan: OriginPlan,
    pub process: Process,
}

/// What a run needs.
pub struct Bench<'a> {
    pub scenario: &'a Scenario,
    pub cores: &'a Cores,
    pub targets: &'a [std::net::SocketAddr],
    /// How the clients call.
    pub caller: &'a Caller,
    /// The proxy, unless the run is direct.
    pub proxy: Option<&'a Process>,
    pub warmup: Duration,
    pub duration: Duration,
    /// Requests a second, for an open loop.
    pub rate: Option<f64>,
}

/// A run with the latencies that medians over rounds are not formed from.
pub struct Measured {
    pub run: Run,
    pub latency: hdrhistogram::Histogram<u64>,
}

impl Bench<'_> {
    pub fn spec(&self, warmup: Duration, duration: Duration) -> Spec {
        let load = &self.scenario.load;
        Spec {
            targets: self.targets.to_vec(),
            requests: self.scenario.requests(),
            connections: load.connections,
            wire: self.caller.wire,
            tls: self.caller.tls.clone(),
            pipeline: load.pipeline,
            reuse: self.scenario.reuse(),
            pace: match self.rate {
                Some(rate) => Pace::Open { rate, arrivals: load.arrivals.into(), tick: load.tick() },
                None => Pace::Closed,
            },
            warmup,
            duration,
            timeout: TIMEOUT,
            threads: self.cores.load.len(),
            cpus: self.cores.load.clone(),
            slice: Duration::from_millis(if self.scenario.origin.restart.is_some() { 20 } else { 100 }),
            seed: 1,
            precedence: self.scenario.precedence(),
        }
    }

    /// Right answers; of large ones, what the bytes moved amount to.
    fn requests(&self, outcome: &Outcome) -> f64 {
        let answer = self.scenario.request.size.0;
        let upload = self.scenario.request.upload.map_or(0, |size| size.0);
        if answer >= COUNT_BY_BYTES {
            outcome.content_in as f64 / answer as f64
        } else if upload >= COUNT_BY_BYTES {
            outcome.content_out as f64 / upload as f64
        } else {
            outcome.completed as f64
        }
    }

    /// Requests a second in a closed loop of 64 connections: what an open loop's rate is a share of.
    pub fn capacity(&self) -> anyhow::Result<f64> {
        let spec = self.spec(Duration::from_millis(300), Duration::from_millis(1_500));
        let spec = Spec { connections: 64, pace: Pace::Closed, ..spec };
        Ok(generator::run(&Arc::new(spec))?.rate())
    }

    /// Sees to it that the clients have sessions to go on with. Servers that hand out tickets with resumed sessions too
    /// need few; for the others each connection of the run needs a full handshake before.
    pub fn stock_tickets(&self) -> anyhow::Result<()> {
        let Some(client) = self.caller.tls.as_ref().filter(|_| self.scenario.load.resume) else { return Ok(()) };
        let target = self.targets[0];
        let collect = |wanted| client.collect(wanted, || self.caller.open(target));
        collect(TRIAL + 2 * self.scenario.load.connections)?;
        let before = client.tickets();
        for _ in 0..TRIAL {
            self.caller.open(target)?;
        }
        if client.tickets() >= before {
            return Ok(());
        }
        collect(((self.warmup + self.duration).as_secs_f64() * RESUMED_RATE) as usize)
    }

    /// Counts system calls during a run of its own, since counting slows the proxy.
    pub fn syscalls(&self, tool: Tool, directory: &std::path::Path) -> anyhow::Result<Option<Syscalls>> {
        let Some(proxy) = self.proxy else { return Ok(None) };
        let output = directory.join("syscalls.txt");
        let spec = Arc::new(self.spec(Duration::ZERO, Duration::from_secs(2)));
        let tracing = tool.attach(&proxy.pids(), &output)?;
        let outcome = generator::run(&spec)?;
        let calls = tracing.end(&output)?;
        let requests = self.requests(&outcome).max(1.0);
        let by_name: std::collections::BTreeMap<_, _> =
            calls.into_iter().map(|(name, count)| (name, count as f64 / requests)).collect();
        Ok(Some(Syscalls { tool: tool.name(), total: by_name.values().sum(), by_name }))
    }

    /// Runs once. `origins` is needed to kill and restart the first one.
    pub fn run(&self, round: usize, origins: &mut [Origin]) -> anyhow::Result<Measured> {
        let pids = self.proxy.map_or_else(Vec::new, Process::pids);
        // Where another user's process refuses, its peak is that since its start.
        let _ = process::reset_peak(&pids);
        let start = process::memory(&pids);
        let (idle, slow) = self.start_background();
        if let (Some(_), Some(settle)) = (&idle, self.scenario.settle) {
            interrupt::sleep_until(Instant::now() + settle.0);
        }
        let with_idle = process::memory(&pids);
        let spec = Arc::new(self.spec(self.warmup, self.duration));
        let running = generator::start(&spec)?;
        interrupt::sleep_until(running.begins());
        let (cpu, cores) = (process::cpu_time(&pids), CoreTimes::read()?);
        let returned = match self.scenario.origin.restart {
            Some(restart) => Some(restart_origin(restart, running.begins(), origins)?),
            None => None,
        };
        interrupt::sleep_until(running.ends());
        let (cpu, cores) = (since(process::cpu_time(&pids), cpu), (CoreTimes::read()?, cores));
        let outcome = running.join()?;
        let slow = slow.map(Slow::stop);
        let idle = idle.map(|(asked, mut idle)| IdleRun {
            asked,
            opened: idle.len(),
            open_at_end: idle.still_open(),
            bytes_each: bytes_each(start, with_idle, idle.len(), &pids),
        });
        let peak = process::memory(&pids).peak;
        if let Some(settle) = self.scenario.settle {
            interrupt::sleep_until(Instant::now() + settle.0);
        }
        let settled = process::memory(&pids).own;
        let memory = self.proxy.map(|_| MemoryRun { start: start.own, peak_resident: peak, settled });
        let restart = returned.map(|returned| recovery(&outcome, spec.slice, returned));
        let requests = self.requests(&outcome);
        let proxy = cores.0.since(&cores.1, &self.cores.proxy);
        let load = cores.0.since(&cores.1, &self.cores.load_side());
        let run = Run {
            round,
            requests,
            requests_per_second: requests / outcome.seconds,
            content_in_per_second: outcome.content_in as f64 / outcome.seconds,
            content_out_per_second: outcome.content_out as f64 / outcome.seconds,
            cpu: (self.proxy.is_some() && requests >= 1.0)
                .then(|| CpuPerRequest { user_us: cpu.user_us / requests, system_us: cpu.system_us / requests }),
            latency_us: latency(&outcome),
            lag_p99_us: self.rate.map(|_| outcome.lag.value_at_quantile(0.99) as f64 / 1e3),
            failed: outcome.failed,
            statuses: outcome.statuses.iter().copied().enumerate().filter(|&(_, count)| count > 0).collect(),
            memory,
            idle,
            slow,
            restart,
            storm: None,
            proxy_own: self.own_share(cpu),
            proxy_busy: proxy.busy,
            load_busy: load.busy,
            stolen: proxy.stolen.max(load.stolen),
            others: self.proxy.map_or(0.0, |_| (proxy.programs - self.own_share(cpu)).max(0.0)),
            load_bound: self.proxy.is_some() && load.busy >= FULL && proxy.busy < FULL,
            handshakes: self.scenario.load.tls.then_some(outcome.handshakes),
            timeline: outcome.timeline,
        };
        Ok(Measured { run, latency: outcome.latency })
    }

    /// Share of the proxy's cores that its CPU time amounts to.
    fn own_share(&self, cpu: CpuTime) -> f64 {
        let window_us = self.duration.as_secs_f64() * 1e6 * self.cores.proxy.len().max(1) as f64;
        (cpu.user_us + cpu.system_us) / window_us
    }

    fn start_background(&self) -> (Option<(usize, Idle)>, Option<Slow>) {
        let target = self.targets[0];
        match self.scenario.background {
            Some(Background::Idle { connections }) => {
                let idle = Idle::open(target, connections, self.caller);
                (Some((connections, idle)), None)
            }
            Some(Background::Slow { clients, rate, size }) => {
                (None, Some(Slow::start(target, clients, rate.0, self.scenario.request_of_size(size.0))))
            }
            None => (None, None),
        }
    }
}

fn since(now: CpuTime, then: CpuTime) -> CpuTime {
    CpuTime { user_us: now.user_us - then.user_us, system_us: now.system_us - then.system_us }
}

fn bytes_each(before: Memory, with: Memory, count: usize, pids: &[u32]) -> Option<f64> {
    if pids.is_empty() || count == 0 {
        return None;
    }
    Some((with.own as f64 - before.own as f64) / count as f64)
}

fn latency(outcome: &Outcome) -> Latency {
    Latency {
        p50: outcome.latency_us(0.5),
        p90: outcome.latency_us(0.9),
        p99: outcome.latency_us(0.99),
        p99_9: outcome.latency_us(0.999),
        p99_99: outcome.latency_us(0.9999),
        max: outcome.latency_us(1.0),
    }
}

/// Kills the first origin and starts it again; gives the time from the start of the measurement to its return.
fn restart_origin(restart: Restart, begins: Instant, origins: &mut [Origin]) -> anyhow::Result<Duration> {
    interrupt::sleep_until(begins + restart.kill_after.0);
    if let Some(origin) = origins.first_mut() {
        origin.process.kill();
        interrupt::sleep_until(begins + restart.kill_after.0 + restart.down_for.0);
        origin.process = origin.plan.start()?;
    }
    Ok(begins.elapsed())
}

fn recovery(outcome: &Outcome, slice: Duration, returned: Duration) -> RestartRun {
    let first = (returned.as_nanos() / slice.as_nanos()) as usize + 1;
    let after = outcome.timeline.get(first..).unwrap_or_default();
    let last = after.iter().rposition(|entry| entry.failed > 0);
    let last_failure_after_ms =
        last.map_or(0.0, |index| (slice * (first + index + 1) as u32).saturating_sub(returned).as_secs_f64() * 1e3);
    RestartRun { last_failure_after_ms, failed_after_return: after.iter().map(|entry| entry.failed).sum() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generator::recorder::Window;

    #[test]
    fn recovery_counts_from_the_return_to_the_last_failure() {
        let slice = Duration::from_millis(20);
        let mut outcome = Outcome::new(Window::new(Duration::ZERO, Duration::from_secs(1)), slice);
        outcome.timeline[10].failed = 5;
        outcome.timeline[25].failed = 2;
        let run = recovery(&outcome, slice, Duration::from_millis(410));
        assert_eq!((run.last_failure_after_ms, run.failed_after_return), (110.0, 2));
        let run = recovery(&outcome, slice, Duration::from_millis(600));
        assert_eq!((run.last_failure_after_ms, run.failed_after_return), (0.0, 0));
    }
}
