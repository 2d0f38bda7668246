//! The soak: minutes of mixed traffic with faults on both sides of one proxy, every answer checked byte for byte.
//!
//! Each exchange has a seed of its own that fixes its content, and the origin sends the seed back: an answer that
//! belongs to another exchange, is too long or too short, or does not come is a violation. Faults (resets, garbage,
//! half-closes, slow readers) are there to make the proxy mix things up.
mod client;
mod exchange;

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::ValueEnum;
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::SoakArgs;
use crate::compare::peer::{self, Setup, Transport};
use crate::compare::process::{OriginPlan, Ports};
use crate::generator::background::Caller;
use crate::generator::spec::{Expect, ExpectStatus, Prepared, RequestText, Reuse, Wire};
use crate::interrupt;
use crate::measure::precedence::Precedence;
use crate::measure::process as proc;
use client::Client;

/// What a client may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Action {
    Get,
    Head,
    Upload,
    ChunkedUpload,
    Continue,
    Pipeline,
    SlowAnswer,
    SlowRead,
    SlowSend,
    HalfClose,
    ClientReset,
    UploadAbort,
    ClientGarbage,
    OriginError,
    OriginSilentClose,
    OriginCloses,
    OriginNoAnswer,
    OriginMidClose,
    OriginReset,
    OriginGarbage,
}

/// Actions with their weights: valid traffic has the largest, so that it runs next to every fault.
const ACTIONS: [(Action, u64); 20] = [
    (Action::Get, 40),
    (Action::Head, 4),
    (Action::Upload, 12),
    (Action::ChunkedUpload, 8),
    (Action::Continue, 3),
    (Action::Pipeline, 8),
    (Action::SlowAnswer, 5),
    (Action::SlowRead, 3),
    (Action::SlowSend, 3),
    (Action::HalfClose, 2),
    (Action::ClientReset, 2),
    (Action::UploadAbort, 2),
    (Action::ClientGarbage, 2),
    (Action::OriginError, 2),
    (Action::OriginSilentClose, 2),
    (Action::OriginCloses, 2),
    (Action::OriginNoAnswer, 1),
    (Action::OriginMidClose, 1),
    (Action::OriginReset, 1),
    (Action::OriginGarbage, 1),
];

/// Violations that are kept with their text; the rest is only counted.
const TOLD: usize = 20;

/// What the clients counted.
#[derive(Debug, Default)]
pub struct Tally {
    exchanges: BTreeMap<Action, u64>,
    unavailable: BTreeMap<(Action, u16), u64>,
    /// Connections that the proxy had closed between two exchanges; each was tried again.
    races: u64,
    violations: Vec<String>,
    violation_count: u64,
}

impl Tally {
    fn exchange(&mut self, action: Action) {
        *self.exchanges.entry(action).or_default() += 1;
    }

    fn unavailable(&mut self, action: Action, status: u16) {
        *self.unavailable.entry((action, status)).or_default() += 1;
    }

    fn violation(&mut self, action: Action, text: String) {
        self.violation_count += 1;
        self.violations.push(format!("{action:?}, {text}"));
        self.violations.truncate(TOLD);
    }

    fn add(&mut self, other: Tally) {
        for (action, count) in other.exchanges {
            *self.exchanges.entry(action).or_default() += count;
        }
        for (key, count) in other.unavailable {
            *self.unavailable.entry(key).or_default() += count;
        }
        self.races += other.races;
        self.violation_count += other.violation_count;
        self.violations.extend(other.violations);
        self.violations.truncate(TOLD);
    }

    fn total(&self) -> u64 {
        self.exchanges.values().sum()
    }

    fn unavailable_share(&self) -> f64 {
        self.unavailable.values().sum::<u64>() as f64 / self.total().max(1) as f64
    }
}

/// Runs the soak. The exit code is a failure on any violation, on too many 5xx, or when nothing was exchanged.
pub fn run(args: &SoakArgs) -> anyhow::Result<ExitCode> {
    proc::raise_open_files(4_096);
    let (found, missing) = peer::find(std::slice::from_ref(&args.peer), &args.programs)?;
    if let Some(missing) = missing.first() {
        bail!("{} is not there ({}); run `{}`", missing.name, missing.program, missing.remedy);
    }
    let [peer] = found.as_slice() else { bail!("the soak takes one peer") };
    let directory = std::path::absolute("target/loadtest/soak")?;
    std::fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
    let mut ports = Ports::new();
    let origin = OriginPlan {
        address: ports.take()?,
        cores: Vec::new(),
        delay: Duration::ZERO,
        precedence: Precedence::Shared,
        log: directory.join("origin.log"),
    };
    let origin_process = origin.start()?;
    let setup = Setup {
        listen: ports.take()?,
        admin: ports.take()?,
        origins: vec![origin.address],
        routes: Vec::new(),
        transport: Transport::default(),
        cpus: args.proxy_cpus.clone().map_or_else(Vec::new, |list| list.0),
        directory: directory.join(&peer.name),
    };
    let caller = Caller { request: probe(), wire: Wire::Http1, tls: None };
    let started = peer.start(&setup, &args.programs.assets, &caller)?;
    println!("{} {}: {} clients for {}, seed {}", peer.name, peer.version, args.clients, args.duration, args.seed);
    let pids = started.process.as_ref().map_or_else(Vec::new, |process| process.pids());
    let before = proc::memory(&pids);
    let tally = soak(args, started.targets[0]);
    let mut sound = report(args, &tally);
    if started.process.as_ref().is_some_and(|process| !process.is_alive()) {
        println!("VIOLATION: {} ended during the soak; its log is in {}", peer.name, setup.directory.display());
        sound = false;
    } else if !pids.is_empty() {
        let after = proc::memory(&pids);
        let [before, after] = [before.own, after.own].map(|bytes| crate::units::bytes(bytes as f64));
        println!("memory of the proxy without files' images: {before} before, {after} after");
    }
    drop((started, origin_process));
    Ok(if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn probe() -> Prepared {
    Prepared::new(RequestText {
        method: "GET",
        target: "/",
        host: "soak.example",
        fields: &[],
        upload: None,
        reuse: Reuse::KeepAlive,
        expect: Expect { status: ExpectStatus::Exactly(200), content: None, grpc: false },
        secure: false,
    })
}

fn soak(args: &SoakArgs, target: std::net::SocketAddr) -> Tally {
    let until = Instant::now() + args.duration.0;
    let mut without = args.without.clone();
    if args.peer == "direct" {
        // Without a proxy, the origin's garbage would reach the client.
        without.push(Action::OriginGarbage);
    }
    let (done, violations) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let clients: Vec<_> = (0..args.clients as u64)
        .map(|number| {
            let client = Client::new(number, args.seed, target, without.clone());
            let (done, violations) = (Arc::clone(&done), Arc::clone(&violations));
            thread::spawn(move || {
                client.run(until, |violated| {
                    done.fetch_add(1, Ordering::Relaxed);
                    violations.fetch_add(u64::from(violated), Ordering::Relaxed);
                })
            })
        })
        .collect();
    let bar = ProgressBar::new(args.duration.0.as_secs());
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {pos}/{len} s  {msg}") {
        bar.set_style(style);
    }
    while Instant::now() < until && !interrupt::requested() {
        thread::sleep(Duration::from_millis(250));
        bar.set_position((args.duration.0.saturating_sub(until.saturating_duration_since(Instant::now()))).as_secs());
        let (done, violations) = (done.load(Ordering::Relaxed), violations.load(Ordering::Relaxed));
        bar.set_message(format!("{done} actions, {violations} violations"));
    }
    bar.finish_and_clear();
    let mut total = Tally::default();
    for client in clients {
        match client.join() {
            Ok(tally) => total.add(tally),
            Err(_) => total.violation(Action::Get, "a soak client panicked".to_owned()),
        }
    }
    total
}

fn report(args: &SoakArgs, tally: &Tally) -> bool {
    println!("{:<20} {:>10} {:>8}", "action", "exchanges", "5xx");
    for (action, count) in &tally.exchanges {
        let unavailable: u64 = tally.unavailable.iter().filter(|((a, _), _)| a == action).map(|(_, n)| n).sum();
        println!("{:<20} {count:>10} {unavailable:>8}", format!("{action:?}"));
    }
    let share = tally.unavailable_share();
    println!(
        "{} exchanges, {} connections found closed and replaced, {:.4} % 5xx to sound requests",
        tally.total(),
        tally.races,
        share * 100.0
    );
    for text in &tally.violations {
        println!("VIOLATION: {text}");
    }
    let mut sound = true;
    if tally.violation_count > 0 {
        println!("{} violations", tally.violation_count);
        sound = false;
    }
    if share > args.allow_5xx {
        println!("more than {} % of the sound requests were answered with a 5xx", args.allow_5xx * 100.0);
        sound = false;
    }
    if tally.total() == 0 {
        println!("nothing was exchanged");
        sound = false;
    }
    if sound {
        println!("every exchange got its own whole answer");
    }
    sound
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_action_has_a_weight() {
        for action in Action::value_variants() {
            assert!(ACTIONS.iter().any(|(listed, weight)| listed == action && *weight > 0), "{action:?}");
        }
    }

    #[test]
    fn tallies_keep_counts_and_the_first_texts() {
        let mut total = Tally::default();
        for _ in 0..3 {
            let mut tally = Tally::default();
            (0..15).for_each(|i| tally.violation(Action::Get, i.to_string()));
            tally.exchange(Action::Get);
            tally.unavailable(Action::Get, 502);
            total.add(tally);
        }
        assert_eq!((total.violation_count, total.violations.len(), total.total()), (45, TOLD, 3));
        assert_eq!(total.unavailable_share(), 1.0);
    }
}
