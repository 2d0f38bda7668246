//! From a configuration to a running process and to its end.

use super::control::{self, Supervision};
use super::running::Running;
use super::worker::{Work, Worker};
use super::{bind, placement, reload};
use crate::admin::{self, Control, Source, State};
use crate::base::logging;
use crate::hcm::access_log::Writer;
use crate::net::sys;
use crate::ring::memory::{self, Reserved};
use crate::shard::{self, Command, Plan, PlanContext, ShardSetup};
use crate::stats::{Registry, ServerState};
use ringway_config::model::{Config, Runtime};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};
use signal_hook::iterator::Signals;
use std::path::Path;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant};

/// Why the process cannot start: one sentence with cause and remedy. Exit code 3.
#[derive(Debug)]
pub struct StartError(pub String);

/// Runs until it is told to stop. `ready` is called once connections are accepted, with the addresses of the listeners and
/// of the admin endpoint.
///
/// # Errors
/// The process could not start; nothing was served.
pub fn run(config: Config, source: Source, ready: impl FnOnce(&[String], Option<&str>)) -> Result<(), StartError> {
    logging::start(&config.runtime.log);
    let (control, events) = mpsc::channel();
    // Registered first, so that no signal is lost during the start.
    let signals =
        Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1]).map_err(|error| StartError(format!("signals: {error}")))?;
    let mut running = start(config, source, &control)?;
    ready(&running.addresses, running.admin.as_deref());
    forward_signals(signals, control);
    running.state.set(ServerState::Live);
    serve(&mut running, &events);
    stop(running);
    Ok(())
}

fn start(config: Config, source: Source, control: &Sender<Control>) -> Result<Running, StartError> {
    let descriptors = sys::raise_descriptor_limit();
    memory::raise_limit();
    let cpus = choose_cpus(&config.runtime).map_err(StartError)?;
    let registry = Registry::new();
    let bound = bind::bind(config.listeners.iter(), cpus.len(), config.runtime.backlog).map_err(StartError)?;
    let admin_socket = match &config.admin {
        Some(admin) => Some(admin::bind(admin).map_err(|error| StartError(bind::explain(&admin.address, &error)))?),
        None => None,
    };
    let writer = Writer::new(&registry);
    let context = PlanContext { writer: &writer, registry: &registry, descriptors, shards: cpus.len() };
    let plan = Plan::new(config, &context, None).map_err(|error| StartError(error.to_string()))?;
    plan.put_in_force(None);
    let state = State::new(registry.clone(), source, plan.clone(), control.clone(), cpus.len());
    let admin = plan.config.admin.as_ref().map(|admin| bind::actual(&admin.address, admin_socket.as_ref()).to_string());
    let mut reserved = reserve(&plan.config, cpus.len()).map_err(StartError)?;
    if let Some(socket) = admin_socket {
        reserved.release_one();
        let log = plan.config.admin.as_ref().and_then(|admin| admin.access_log.clone());
        admin::start(socket, state.clone(), writer.clone(), log).map_err(StartError)?;
    }
    // Meanwhile the admin endpoint reports "initializing".
    let mut dns = Worker::new(&registry);
    dns.apply(dns.ready(&plan.config.clusters).map_err(StartError)?, &plan.clusters);
    let mut supervision = Worker::new(&registry);
    if plan.config.clusters.iter().any(Supervision::is_needed) {
        reserved.release_one();
    }
    supervision.apply(supervision.ready(&plan.config.clusters).map_err(StartError)?, &plan.clusters);
    let mut shards = Vec::new();
    let (started, answers) = mpsc::channel();
    for ((index, cpu), sockets) in cpus.iter().enumerate().zip(bound.shards) {
        let setup = ShardSetup { index, cpu: Some(*cpu), plan: plan.clone(), sockets, registry: registry.clone() };
        reserved.release_one();
        let thread = shard::start(setup, started.clone()).map_err(StartError)?;
        // Shards start one after the other: the first failure ends the start, and the mailboxes keep the shards' order.
        let mailbox =
            answers.recv().unwrap_or_else(|_| Err("a shard ended while it started".into())).map_err(StartError)?;
        shards.push((mailbox, thread));
    }
    // Last, since rings count against the locked memory of an ordinary user. The C library changes all threads.
    become_user(&plan.config)?;
    let addresses = bound.addresses.iter().map(ToString::to_string).collect();
    Ok(Running { state, registry, writer, plan, shards, dns, supervision, descriptors, addresses, admin })
}

/// Locked memory for the rings that the start makes, the last one first. Root may lock as much as there is.
fn reserve(config: &Config, shards: usize) -> Result<Reserved, String> {
    if sys::is_root() {
        return Ok(Reserved::nothing());
    }
    let control = config.clusters.iter().any(Supervision::is_needed).then(control::reactor_options);
    let admin = config.admin.is_some().then(admin::reactor_options);
    let shards = std::iter::repeat_n(shard::reactor_options(&config.runtime), shards);
    memory::reserve(&shards.chain(control).chain(admin).collect::<Vec<_>>())
}

/// The cores to run on.
fn choose_cpus(runtime: &Runtime) -> Result<Vec<usize>, String> {
    let allowed = core_affinity::get_core_ids().unwrap_or_default().iter().map(|core| core.id).collect();
    // Also bounded by a container's CPU quota.
    let quota = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    placement::choose(runtime, allowed, quota, Path::new(placement::TOPOLOGY))
}

fn become_user(config: &Config) -> Result<(), StartError> {
    match &config.runtime.user {
        Some(user) if sys::is_root() => sys::drop_privileges(user, config.runtime.group.as_deref()).map_err(StartError),
        Some(user) => {
            tracing::warn!(target: "ringway::server", user, "not started as root: runtime.user is ignored");
            Ok(())
        }
        None => Ok(()),
    }
}

fn forward_signals(mut signals: Signals, control: Sender<Control>) {
    let body = move || {
        for signal in signals.forever() {
            if control.send(Control::Signal(signal)).is_err() {
                return;
            }
        }
    };
    // Without the thread the process still serves, but no signal drains it.
    if let Err(error) = std::thread::Builder::new().name("signals".into()).spawn(body) {
        tracing::error!(target: "ringway::server", %error, "signals are not handled");
    }
}

/// Handles signals and orders until the process is to stop.
fn serve(running: &mut Running, events: &Receiver<Control>) {
    let mut draining: Option<(Instant, Receiver<()>)> = None;
    loop {
        let event = match &draining {
            None => events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(_) => events.recv_timeout(Duration::from_millis(10)),
        };
        match event {
            Ok(Control::Signal(SIGTERM | SIGINT) | Control::Quit) => {
                if draining.is_some() {
                    tracing::warn!(target: "ringway::server", "told to stop again: connections are closed now");
                    return;
                }
                let time = running.plan.config.runtime.drain_time;
                tracing::info!(target: "ringway::server", ?time, "draining");
                draining = Some((Instant::now() + time, drain(running)));
            }
            Ok(Control::Signal(SIGHUP)) if draining.is_some() => {
                tracing::warn!(target: "ringway::server", "draining: the configuration is not read again");
            }
            Ok(Control::Signal(SIGHUP)) => reload::reload(running),
            Ok(Control::Signal(SIGUSR1) | Control::ReopenLogs) => running.writer.reopen(),
            Ok(Control::DrainListeners) => {
                drop(drain(running));
            }
            Ok(Control::Signal(_)) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        if let Some((deadline, drained)) = &draining
            && is_over(*deadline, drained)
        {
            return;
        }
    }
}

/// Whether every shard is drained or the time is up. The channel closes with the last shard's sender.
fn is_over(deadline: Instant, drained: &Receiver<()>) -> bool {
    loop {
        match drained.try_recv() {
            Ok(()) => {}
            Err(mpsc::TryRecvError::Disconnected) => return true,
            Err(mpsc::TryRecvError::Empty) => break,
        }
    }
    let over = Instant::now() >= deadline;
    if over {
        tracing::warn!(target: "ringway::server", "the drain time is over: the connections left are closed");
    }
    over
}

fn drain(running: &Running) -> Receiver<()> {
    running.state.set(ServerState::Draining);
    let (sender, drained) = mpsc::channel();
    for (mailbox, _) in &running.shards {
        mailbox.send(Command::Drain { drained: sender.clone() });
    }
    drained
}

/// How long the last lines of access logs may take to reach their files.
const LOG_PATIENCE: Duration = Duration::from_millis(750);

fn stop(running: Running) {
    running.shards.iter().for_each(|(mailbox, _)| mailbox.send(Command::Stop));
    for (_, thread) in running.shards {
        if thread.join().is_err() {
            tracing::error!(target: "ringway::server", "a shard ended with a panic");
        }
    }
    if !running.writer.stop(LOG_PATIENCE) {
        tracing::warn!(target: "ringway::server", "access logs could not be written out in time");
    }
    tracing::info!(target: "ringway::server", "stopped");
}
