//! The comparison: every scenario through every peer, interleaved over several rounds in rotated order.
//!
//! For each scenario the origins and peers are started again; a round runs each peer once; the order rotates from round
//! to round, so that drifts of the machine affect all of them equally.
pub mod peer;
pub mod process;
pub mod result;
pub mod run;
pub mod scenario;
pub mod storm;
pub mod template;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::{Context, bail};
use hdrhistogram::Histogram;
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::CompareArgs;
use crate::generator::background::Caller;
use crate::generator::recorder::{Handshakes, latency_histogram};
use crate::generator::spec::{Reuse, Wire};
use crate::interrupt;
use crate::measure::machine::Machine;
use crate::measure::syscalls::Tool;
use crate::measure::{cpus, process as proc};
use crate::report;
use crate::tls::{Client, Identity, KeyKind};
use peer::{Peer, Setup, Started, Transport};
use process::{OriginPlan, Ports};
use result::{Comparison, PeerFacts, PeerResult, Pinning, ScenarioResult};
use run::{Bench, Cores, Origin};
use scenario::Scenario;

/// Descriptors for the widest scenario: idle clients, and at a proxy as many again towards the origin.
const OPEN_FILES: u64 = 65_536;

/// Measured in every scenario, unless the command line names others.
const DEFAULT_PEERS: &[&str] = &["ringway", "haproxy", "nginx", "envoy", "direct"];

pub fn run(args: &CompareArgs) -> anyhow::Result<ExitCode> {
    let scenarios = scenario::read_all(&args.programs.assets.join("scenarios"))?;
    let scenarios = scenario::select(scenarios, &args.scenarios)?;
    if args.list {
        scenarios.iter().for_each(|scenario| println!("{:<16} {}", scenario.name, scenario.title));
        return Ok(ExitCode::SUCCESS);
    }
    let mut comparer = Comparer::new(args, &scenarios)?;
    let comparison = comparer.run(&scenarios)?;
    let written = report::write(&comparison, &args.out)?;
    println!("\nreport: {}", written.display());
    if comparison.cut_short {
        return Ok(ExitCode::FAILURE);
    }
    if args.strict && !comparison.sound() {
        eprintln!("loadtest: wrong or failed answers, or a peer that did not run: see the tables above");
        return Ok(ExitCode::FAILURE);
    }
    Ok(ExitCode::SUCCESS)
}

impl Comparison {
    /// Every peer ran everything, nothing was wrong, and nothing failed where nothing may.
    pub fn sound(&self) -> bool {
        let peer_sound = |scenario: &Scenario, peer: &PeerResult| {
            peer.error.is_none()
                && peer.median.as_ref().is_some_and(|m| m.wrong == 0 && (scenario.may_fail || m.failed == 0))
        };
        !self.scenarios.is_empty()
            && !self.cut_short
            && self.scenarios.iter().all(|s| s.peers.iter().all(|peer| peer_sound(&s.scenario, peer)))
    }
}

struct Comparer<'a> {
    args: &'a CompareArgs,
    peers: Vec<Peer>,
    missing: Vec<String>,
    baseline: String,
    cores: Cores,
    ports: Ports,
    machine: Machine,
    tool: Option<Tool>,
    /// Closed-loop requests a second by peer and family of scenarios, measured once.
    capacities: HashMap<(String, String), f64>,
    /// The first config that each peer ran with.
    configs: BTreeMap<String, String>,
    /// What peers show to clients that come over TLS, made when a scenario first needs it.
    identities: Vec<(KeyKind, Identity)>,
}

/// A peer of the scenario under way, with what it has shown so far.
struct Contestant {
    peer: Peer,
    setup: Setup,
    caller: Caller,
    started: Option<Started>,
    result: PeerResult,
    latency: Histogram<u64>,
}

impl<'a> Comparer<'a> {
    fn new(args: &'a CompareArgs, scenarios: &[Scenario]) -> anyhow::Result<Comparer<'a>> {
        let names = args.peers.clone().unwrap_or_else(|| {
            let more: BTreeSet<_> = scenarios.iter().flat_map(|scenario| &scenario.more_peers).cloned().collect();
            DEFAULT_PEERS.iter().map(|name| (*name).to_owned()).chain(more).collect()
        });
        let (peers, missing) = peer::find(&names, &args.programs)?;
        for missing in &missing {
            println!("left out: {} ({} is not there; run `{}`)", missing.name, missing.program, missing.remedy);
        }
        let Some(first) = peers.first() else { bail!("none of the peers is installed") };
        let baseline = args.baseline.clone().unwrap_or_else(|| first.name.clone());
        if !peers.iter().any(|peer| peer.name == baseline) {
            bail!("the baseline `{baseline}` is not among the peers that run");
        }
        let machine = Machine::read(proc::raise_open_files(OPEN_FILES));
        let cores = cores(args)?;
        // Threads and tools started from here on stay off the proxy's cores.
        cpus::pin_thread(&cores.load)?;
        let tool = if args.syscalls { Tool::find() } else { None };
        if args.syscalls && tool.is_none() {
            println!(
                "system calls are not counted: neither perf nor strace works here; run `loadtest/peers/install.sh`"
            );
        }
        Ok(Comparer {
            args,
            missing: missing.iter().map(|missing| format!("{} ({})", missing.name, missing.remedy)).collect(),
            peers,
            baseline,
            cores,
            ports: Ports::new(),
            machine,
            tool,
            capacities: HashMap::new(),
            configs: BTreeMap::new(),
            identities: Vec::new(),
        })
    }

    fn run(&mut self, scenarios: &[Scenario]) -> anyhow::Result<Comparison> {
        let started = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let runs: usize = scenarios.iter().map(|scenario| self.contestants(scenario).len() * self.args.rounds).sum();
        let bar = progress_bar(runs as u64);
        let mut results = Vec::new();
        for scenario in scenarios {
            if interrupt::requested() {
                break;
            }
            let result = self.scenario(scenario, &bar)?;
            let table = report::table::scenario(&result, &self.baseline);
            bar.suspend(|| println!("{table}"));
            results.push(result);
        }
        bar.finish_and_clear();
        let facts = self.peers.iter().map(|peer| PeerFacts {
            name: peer.name.clone(),
            program: peer.program.display().to_string(),
            version: peer.version.clone(),
            config: self.configs.get(&peer.name).cloned().unwrap_or_default(),
        });
        Ok(Comparison {
            command: std::env::args().skip(1).fold("loadtest".to_owned(), |line, word| line + " " + &word),
            started_unix_s: started,
            machine: self.machine.clone(),
            pinning: Pinning {
                proxy: self.cores.proxy.clone(),
                load: self.cores.load.clone(),
                origin: self.cores.origin.clone(),
            },
            rounds: self.args.rounds,
            peers: facts.collect(),
            missing: self.missing.clone(),
            baseline: self.baseline.clone(),
            scenarios: results,
            cut_short: interrupt::requested(),
        })
    }

    /// The peers that a scenario makes sense for: without a proxy nothing balances over several origins, nor ends TLS.
    fn contestants(&self, scenario: &Scenario) -> Vec<Peer> {
        let needs_proxy = scenario.origin.delays.len() > 1 || scenario.load.tls;
        let is_meant = |peer: &Peer| {
            let is_in = |name: &str| peer::Kind::from_name(name) == Some(peer.kind);
            self.args.peers.is_some()
                || DEFAULT_PEERS.iter().any(|name| is_in(name))
                || scenario.more_peers.iter().any(|name| is_in(name))
        };
        let can = |peer: &Peer| !scenario.left_out.keys().any(|name| peer::Kind::from_name(name) == Some(peer.kind));
        let makes_sense = |peer: &Peer| can(peer) && (peer.kind != peer::Kind::Direct || !needs_proxy);
        self.peers.iter().filter(|peer| is_meant(peer) && makes_sense(peer)).cloned().collect()
    }

    fn scenario(&mut self, scenario: &Scenario, bar: &ProgressBar) -> anyhow::Result<ScenarioResult> {
        let directory = self.args.out.join("configs").join(scenario.name.replace('/', "-"));
        fs::create_dir_all(&directory).with_context(|| format!("cannot make {}", directory.display()))?;
        let mut origins = self.start_origins(scenario, &directory)?;
        let addresses: Vec<_> = origins.iter().map(|origin| origin.plan.address).collect();
        let identity = self.identity(scenario)?;
        let mut contestants = Vec::new();
        for peer in self.contestants(scenario) {
            let caller = caller(scenario, identity.as_ref())?;
            let setup = Setup {
                listen: self.ports.take()?,
                admin: self.ports.take()?,
                origins: addresses.clone(),
                routes: scenario.routes(),
                transport: Transport {
                    http2: scenario.load.wire == Wire::Http2,
                    identity: identity.as_ref().map(|identity| identity.directory.clone()),
                    origin_http2: scenario.origin.wire == Wire::Http2,
                    grpc: scenario.request.grpc,
                },
                cpus: self.cores.proxy.clone(),
                directory: directory.join(&peer.name),
            };
            let result = PeerResult { peer: peer.name.clone(), ..PeerResult::default() };
            contestants.push(Contestant { peer, setup, caller, started: None, result, latency: latency_histogram() });
        }
        let count = contestants.len().max(1);
        for round in 0..self.args.rounds {
            for turn in 0..count {
                let contestant = &mut contestants[(turn + round) % count];
                if interrupt::requested() {
                    break;
                }
                bar.set_message(format!("{}  {}  round {}", scenario.name, contestant.peer.name, round + 1));
                if let Err(error) = self.turn(scenario, contestant, round, &mut origins) {
                    contestant.result.error = Some(format!("{error:#}"));
                }
                bar.inc(1);
            }
        }
        if let Some(tool) = self.tool {
            for contestant in &mut contestants {
                bar.set_message(format!("{}  {}  system calls", scenario.name, contestant.peer.name));
                self.count_syscalls(scenario, contestant, tool);
            }
        }
        let duration = scenario.duration.unwrap_or(self.args.duration);
        let mut result = ScenarioResult {
            scenario: scenario.clone(),
            seconds: duration.0.as_secs_f64(),
            peers: contestants
                .into_iter()
                .map(|mut contestant| {
                    contestant.result.summarise(&contestant.latency);
                    contestant.result
                })
                .collect(),
        };
        result.compare();
        Ok(result)
    }

    fn identity(&mut self, scenario: &Scenario) -> anyhow::Result<Option<Identity>> {
        if !scenario.load.tls {
            return Ok(None);
        }
        let kind = scenario.load.key;
        if let Some((_, identity)) = self.identities.iter().find(|(made, _)| *made == kind) {
            return Ok(Some(identity.clone()));
        }
        let identity = Identity::make(&self.args.out.join("identity").join(kind.name()), kind)?;
        self.identities.push((kind, identity.clone()));
        Ok(Some(identity))
    }

    fn start_origins(&mut self, scenario: &Scenario, directory: &std::path::Path) -> anyhow::Result<Vec<Origin>> {
        let delays = scenario.origin.delays.clone();
        delays
            .iter()
            .enumerate()
            .map(|(index, delay)| {
                let plan = OriginPlan {
                    address: self.ports.take()?,
                    cores: self.cores.origin.clone(),
                    delay: delay.0,
                    precedence: scenario.precedence(),
                    log: directory.join(format!("origin-{index}.log")),
                };
                let process = plan.start()?;
                Ok(Origin { plan, process })
            })
            .collect()
    }

    /// One peer's run in one round; its process is started first if it does not run, or is to be fresh.
    fn turn(
        &mut self,
        scenario: &Scenario,
        contestant: &mut Contestant,
        round: usize,
        origins: &mut [Origin],
    ) -> anyhow::Result<()> {
        if contestant.result.error.is_some() {
            return Ok(());
        }
        if scenario.fresh {
            contestant.started = None;
        }
        if contestant.started.is_none() {
            let started = contestant.peer.start(&contestant.setup, &self.args.programs.assets, &contestant.caller)?;
            self.configs.entry(contestant.peer.name.clone()).or_insert_with(|| started.config.clone());
            contestant.started = Some(started);
        }
        let Some(started) = &contestant.started else { return Ok(()) };
        let caller = &contestant.caller;
        let rate = self.rate(scenario, &contestant.peer.name, started, caller)?;
        let by_capacity = scenario.load.capacity_share.is_some();
        let capacity = self.capacities.get(&capacity_key(scenario, &contestant.peer.name)).copied();
        contestant.result.capacity = capacity.filter(|_| by_capacity);
        let bench = self.bench(scenario, started, rate, caller);
        bench.stock_tickets()?;
        let measured = match &scenario.storm {
            Some(storm) => storm::run(&bench, storm, round, origins)?,
            None => bench.run(round, origins)?,
        };
        if interrupt::requested() {
            // A run that was cut off counts exchanges that were cut off with it.
            return Ok(());
        }
        if started.process.as_ref().is_some_and(|process| !process.is_alive()) {
            bail!("it ended during round {}", round + 1);
        }
        if let Some(handshakes) = measured.run.handshakes.filter(|_| scenario.is_about_handshakes()) {
            check_handshakes(handshakes, scenario.load.resume)?;
        }
        contestant.latency.add(&measured.latency).map_err(|error| anyhow::anyhow!("{error:?}"))?;
        contestant.result.runs.push(measured.run);
        Ok(())
    }

    fn bench<'b>(
        &'b self,
        scenario: &'b Scenario,
        started: &'b Started,
        rate: Option<f64>,
        caller: &'b Caller,
    ) -> Bench<'b> {
        Bench {
            scenario,
            caller,
            cores: &self.cores,
            targets: &started.targets,
            proxy: started.process.as_ref(),
            warmup: self.args.warmup.0,
            duration: scenario.duration.unwrap_or(self.args.duration).0,
            rate,
        }
    }

    fn rate(
        &mut self,
        scenario: &Scenario,
        peer: &str,
        started: &Started,
        caller: &Caller,
    ) -> anyhow::Result<Option<f64>> {
        if let Some(rate) = scenario.load.rate {
            return Ok(Some(rate.0));
        }
        let Some(share) = scenario.load.capacity_share else { return Ok(None) };
        let key = capacity_key(scenario, peer);
        let capacity = match self.capacities.get(&key) {
            Some(capacity) => *capacity,
            None => {
                let capacity = self.bench(scenario, started, None, caller).capacity()?;
                if capacity < 1.0 {
                    bail!("no request was answered in the closed loop that measures its capacity");
                }
                self.capacities.insert(key, capacity);
                capacity
            }
        };
        Ok(Some(share * capacity))
    }

    fn count_syscalls(&mut self, scenario: &Scenario, contestant: &mut Contestant, tool: Tool) {
        let Some(started) = &contestant.started else { return };
        let counted = self.rate(scenario, &contestant.peer.name, started, &contestant.caller).and_then(|rate| {
            self.bench(scenario, started, rate, &contestant.caller).syscalls(tool, &contestant.setup.directory)
        });
        match counted {
            Ok(syscalls) => contestant.result.syscalls = syscalls,
            Err(error) => contestant.result.error = Some(format!("system calls: {error:#}")),
        }
    }
}

fn capacity_key(scenario: &Scenario, peer: &str) -> (String, String) {
    (peer.to_owned(), scenario.family().to_owned())
}

/// How a peer's clients call. Each peer has clients of its own, since tickets are for the server that made them.
fn caller(scenario: &Scenario, identity: Option<&Identity>) -> anyhow::Result<Caller> {
    let wire = scenario.load.wire;
    let tls = match identity {
        Some(identity) => Some(Client::new(wire, scenario.load.resume, Some(identity.certificate.clone()))?),
        None => None,
    };
    Ok(Caller { request: scenario.probe(Reuse::KeepAlive), wire, tls })
}

/// Full handshakes and resumed ones cost so different an amount that a mixture measures neither.
fn check_handshakes(seen: Handshakes, resumes: bool) -> anyhow::Result<()> {
    let (right, wrong) = if resumes { (seen.resumed, seen.full) } else { (seen.full, seen.resumed) };
    if right == 0 || wrong * 100 > right {
        let meant = if resumes { "resumed" } else { "full" };
        bail!("its handshakes were not all {meant}: {} full, {} resumed", seen.full, seen.resumed);
    }
    Ok(())
}

/// The cores asked for, or: the first for the proxy, the second for the origin and the generator; with three and more
/// the origin has the second and the generator the third.
fn cores(args: &CompareArgs) -> anyhow::Result<Cores> {
    let allowed = cpus::allowed()?;
    let pick = |index: usize| vec![allowed[index.min(allowed.len() - 1)]];
    let given = |list: &Option<cpus::CpuList>, index| list.clone().map_or_else(|| pick(index), |list| list.0);
    let cores = Cores {
        proxy: given(&args.proxy_cpus, 0),
        origin: given(&args.origin_cpus, 1),
        load: given(&args.load_cpus, 2),
    };
    for core in cores.proxy.iter().chain(&cores.origin).chain(&cores.load) {
        if !allowed.contains(core) {
            bail!("core {core} is not among those this process may run on ({})", cpus::join(&allowed));
        }
    }
    if cores.proxy.iter().any(|core| cores.origin.contains(core) || cores.load.contains(core)) {
        println!("the proxy shares a core with the load: throughput and latency are not the proxy's alone");
    }
    Ok(cores)
}

fn progress_bar(runs: u64) -> ProgressBar {
    let bar = ProgressBar::new(runs);
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} runs  {elapsed} (eta {eta})  {msg}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.enable_steady_tick(Duration::from_millis(500));
    bar
}
