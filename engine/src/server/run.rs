//! From a configuration to a running process and to its end.

use super::bind::{self, Binder};
use super::control::{self, Supervision};
use super::export::{self, Exports};
use super::notify::Notifier;
use super::orders::{Orders, forward_signals, is_stop};
use super::passed::Passed;
use super::renewal::Renewal;
use super::running::{Running, Unused};
use super::worker::{Work, Worker};
use super::{holders, placement, reload, warnings};
use crate::admin::{self, Control, Source, State};
use crate::base::clock::Wall;
use crate::base::logging;
use crate::base::span::Span;
use crate::hcm::CutOff;
use crate::hcm::access_log::Writer;
use crate::net::{ListenOptions, Loopback, sys, users};
use crate::ring::memory::{self, Reserved, Resource};
use crate::shard::{self, Command, Plan, PlanContext, ShardSetup};
use crate::stats::{Registry, ServerState};
use ringway_config::access;
use ringway_config::model::Config;
use signal_hook::consts::{SIGHUP, SIGUSR1};
use std::io::ErrorKind;
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
    logging::start(&config.runtime.log, config.runtime.log_format);
    let (control, mut orders) = Orders::new();
    // Before anything else, so that no signal is lost during the start.
    forward_signals(control.clone()).map_err(|error| StartError(format!("signals: {error}")))?;
    let mut running = match prepare(config, source, control, &mut orders) {
        Ok(running) => running,
        Err(_) if orders.say_stop() => return Ok(()),
        Err(why) => return Err(StartError(why)),
    };
    let started = start(&mut running, &mut orders);
    // An order to stop ends the start early, and is no failure.
    let result = if orders.say_stop() { Ok(()) } else { started.map_err(StartError) };
    if result.is_ok() && !orders.say_stop() {
        ready(&running.addresses, running.admin.as_deref());
        running.state.set(ServerState::Live);
        running.notifier.ready();
        serve(&mut running, &mut orders);
    }
    stop(running);
    // After a start that failed, the error is all there is to say.
    if result.is_ok() {
        tracing::info!(target: "ringway::server", "stopped");
    }
    result
}

/// What can fail without a trace: addresses, log files, limits. No thread runs yet.
fn prepare(config: Config, source: Source, control: Sender<Control>, orders: &mut Orders) -> Result<Running, String> {
    let descriptors = sys::raise_descriptor_limit();
    enough_descriptors(descriptors)?;
    Resource::LockedMemory.raise();
    warnings::warn(&config, descriptors);
    let cpus = placement::of_process(&config.runtime)?;
    let registry = Registry::new();
    let passed = Passed::from_environment()?;
    let mut binder = Binder::at_start(&config.runtime, orders, passed.assign(&config)?)?;
    let loopback = Loopback::new(&config.runtime);
    let options = ListenOptions { backlog: config.runtime.backlog, loopback };
    let bound = binder.listeners(config.listeners.iter(), cpus.len(), options)?;
    let admin_socket = match &config.admin {
        Some(admin) => {
            let options = ListenOptions { backlog: admin::BACKLOG, loopback };
            binder.bind(&admin.address.clone().into(), &admin.access, 1, options)?.pop().map(|socket| socket.fd)
        }
        None => None,
    };
    let writer = Writer::new(&registry);
    let context =
        PlanContext { writer: &writer, registry: &registry, descriptors, shards: cpus.len(), wall: Wall::System };
    let plan = Plan::new(config, &context, None).map_err(|error| error.to_string())?;
    plan.put_in_force(None);
    let state = State::new(registry.clone(), source, plan.clone(), control, cpus.len());
    let admin = plan.config.admin.as_ref().map(|admin| bind::actual(&admin.address, admin_socket.as_ref()).to_string());
    let addresses = bound.addresses.iter().map(ToString::to_string).collect();
    let sockets = Unused { admin: admin_socket, shards: cpus.into_iter().zip(bound.shards).collect() };
    let (dns, supervision, exports) = (Worker::new(&registry), Worker::new(&registry), Worker::new(&registry));
    let (shards, admin_thread, renewal) = (Vec::new(), None, Renewal::new(&registry));
    Ok(Running {
        state,
        registry,
        writer,
        plan,
        sockets,
        passed,
        notifier: Notifier::from_environment(),
        shards,
        dns,
        supervision,
        exports,
        renewal,
        admin_thread,
        descriptors,
        loopback,
        addresses,
        admin,
    })
}

/// Starts all threads, unless `orders` say stop meanwhile.
fn start(running: &mut Running, orders: &mut Orders) -> Result<(), String> {
    let Unused { admin, shards } = std::mem::take(&mut running.sockets);
    let plan = running.plan.clone();
    let mut reserved = reserve(&plan.config, shards.len())?;
    if let Some(socket) = admin {
        reserved.release_one();
        let log = plan.config.admin.as_ref().and_then(|admin| admin.access_log.clone());
        running.admin_thread = Some(admin::start(socket, running.state.clone(), running.writer.clone(), log)?);
    }
    // Meanwhile the admin endpoint reports "initializing".
    running.dns.apply(running.dns.ready(&plan.config)?, plan.clusters.clone(), orders);
    if Supervision::is_needed(&plan.config) {
        reserved.release_one();
    }
    running.supervision.apply(running.supervision.ready(&plan.config)?, plan.clusters.clone(), orders);
    if Exports::is_needed(&plan.config) {
        reserved.release_one();
    }
    running.exports.apply(running.exports.ready(&plan.config)?, plan.clone(), orders);
    if orders.say_stop() {
        return Ok(());
    }
    let (started, answers) = mpsc::channel();
    for (index, (cpu, sockets)) in shards.into_iter().enumerate() {
        let setup = ShardSetup {
            index,
            cpu: Some(cpu),
            plan: plan.clone(),
            sockets,
            registry: running.registry.clone(),
            loopback: running.loopback,
        };
        reserved.release_one();
        let thread = shard::start(setup, started.clone())?;
        // Shards start one after the other: the first failure ends the start, and the mailboxes keep the shards' order.
        let mailbox = answers.recv().unwrap_or_else(|_| Err("a shard ended while it started".into()))?;
        running.shards.push((mailbox, thread));
    }
    // Last, since rings count against the locked memory of an ordinary user. The C library changes all threads.
    become_user(&plan.config)?;
    warn_of_unreadable(&plan);
    running.renewal.follow(&plan);
    Ok(())
}

/// Below this there is nothing left for connections.
const DESCRIPTORS_MIN: u64 = 64;

/// # Errors
/// One sentence: the process may open too few files and sockets.
pub(super) fn enough_descriptors(may_open: u64) -> Result<(), String> {
    match may_open {
        DESCRIPTORS_MIN.. => Ok(()),
        _ => Err(format!(
            "this process may open {may_open} files and sockets, and needs at least {DESCRIPTORS_MIN}: raise the limit (ulimit -n, \
             systemd's LimitNOFILE, docker's --ulimit nofile)"
        )),
    }
}

/// Locked memory for the rings that the start makes, the last one first. Root may lock as much as there is.
pub(super) fn reserve(config: &Config, shards: usize) -> Result<Reserved, String> {
    if users::is_root() {
        return Ok(Reserved::nothing());
    }
    let exports = Exports::is_needed(config).then(export::reactor_options);
    let control = Supervision::is_needed(config).then(control::reactor_options);
    let admin = config.admin.is_some().then(admin::reactor_options);
    let shards = std::iter::repeat_n(shard::reactor_options(&config.runtime), shards);
    memory::reserve(&shards.chain(exports).chain(control).chain(admin).collect::<Vec<_>>())
}

fn become_user(config: &Config) -> Result<(), String> {
    match &config.runtime.user {
        Some(user) if users::is_root() => users::ids(user, config.runtime.group.as_deref())?.assume(),
        Some(user) => {
            tracing::warn!(target: "ringway::server", user, "not started as root: runtime.user is ignored");
            Ok(())
        }
        None => Ok(()),
    }
}

/// Root has read files that this user may not.
fn warn_of_unreadable(plan: &Plan) {
    if plan.config.runtime.user.is_none() {
        return;
    }
    for file in plan.files.get().files() {
        let refused = std::fs::File::open(&file).err().filter(|error| error.kind() == ErrorKind::PermissionDenied);
        if let Some(error) = refused {
            let why = access::cannot_read(&file, &error);
            tracing::warn!(target: "ringway::tls", "changes of this file will not be renewed, and reloads will fail: {why}");
        }
    }
}

/// What has become of the order to stop.
enum Stage {
    /// There was none.
    Serving,
    /// Connections are still accepted, until then: load balancers turn away.
    Delayed(Instant),
    /// Until then at the latest; the channel tells when the shards are done.
    Draining(Instant, Receiver<()>),
}

/// Between two looks at what an order to stop waits for.
const LOOK: Duration = Duration::from_millis(10);

/// Obeys orders until the process is to stop.
fn serve(running: &mut Running, orders: &mut Orders) {
    let mut stage = Stage::Serving;
    loop {
        let limit = (!matches!(stage, Stage::Serving)).then_some(LOOK);
        match orders.next(limit) {
            Ok(order) if is_stop(order) => match stage {
                Stage::Serving => stage = begin_to_stop(running),
                Stage::Delayed(_) | Stage::Draining(..) => {
                    tracing::warn!(target: "ringway::server", "told to stop again: connections are closed now");
                    return;
                }
            },
            Ok(Control::Signal(SIGHUP)) if !matches!(stage, Stage::Serving) => {
                tracing::warn!(target: "ringway::server", "draining: the configuration is not read again");
            }
            Ok(Control::Signal(SIGHUP)) => reload::reload(running, orders),
            Ok(Control::Signal(SIGUSR1) | Control::ReopenLogs) => running.writer.reopen(),
            Ok(Control::DrainListeners) => drop(drain(running)),
            Ok(Control::Signal(_) | Control::Quit) | Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
        match &stage {
            Stage::Delayed(until) if Instant::now() >= *until => stage = begin_to_drain(running),
            Stage::Draining(deadline, drained) if is_over(*deadline, drained) => return,
            Stage::Serving | Stage::Delayed(_) | Stage::Draining(..) => {}
        }
    }
}

/// The first order to stop has come.
fn begin_to_stop(running: &Running) -> Stage {
    running.notifier.stopping();
    holders::show_draining();
    let delay = running.plan.config.runtime.drain_delay;
    if delay.is_zero() {
        return begin_to_drain(running);
    }
    running.state.set(ServerState::Draining);
    tracing::info!(target: "ringway::server", delay = %Span(delay), "told to stop: not ready from now on, draining after the delay");
    Stage::Delayed(Instant::now() + delay)
}

fn begin_to_drain(running: &Running) -> Stage {
    let time = running.plan.config.runtime.drain_time;
    tracing::info!(target: "ringway::server", time = %Span(time), "draining");
    Stage::Draining(Instant::now() + time, drain(running))
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
/// How long the end waits for the thread that watches over the clusters.
const CONTROL_PATIENCE: Duration = Duration::from_secs(1);
/// The same for the thread that exports, which sends for at most a second.
const EXPORT_PATIENCE: Duration = Duration::from_millis(1500);

/// Ends what runs. Each thread closes what its ring has under way: what is left to the kernel would keep the addresses
/// for some time, and a successor could not have them.
fn stop(running: Running) {
    let (tell, told) = mpsc::channel();
    running.shards.iter().for_each(|(mailbox, _)| mailbox.send(Command::Stop { cut_off: tell.clone() }));
    for (_, thread) in running.shards {
        if thread.join().is_err() {
            tracing::error!(target: "ringway::server", "a shard ended with a panic");
        }
    }
    let cut_off = told.try_iter().fold(CutOff::default(), CutOff::plus);
    if cut_off.count > 0 {
        let (exchanges, longest) = (cut_off.count, Span(Duration::from_nanos(cut_off.longest)));
        tracing::warn!(target: "ringway::server", exchanges, %longest, "exchanges were cut off");
    }
    if let Some(admin) = running.admin_thread {
        admin.stop();
    }
    // What the shards have told last is sent before the process ends.
    running.exports.stop(Instant::now() + EXPORT_PATIENCE);
    running.supervision.stop(Instant::now() + CONTROL_PATIENCE);
    if !running.writer.stop(LOG_PATIENCE) {
        tracing::warn!(target: "ringway::server", "access logs could not be written out in time");
    }
}
