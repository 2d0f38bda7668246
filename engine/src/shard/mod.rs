//! A shard: one thread, one reactor, one snapshot of the configuration. Shards share nothing on the request path but
//! immutable configuration and statistics cells with a single writer each.

#[cfg(test)]
mod connection_log_tests;
#[cfg(test)]
mod full_house_tests;
#[cfg(test)]
mod leaving_tests;
mod mailbox;
mod memory;
mod plan;
mod snapshot;
#[cfg(test)]
mod spread_tests;
#[cfg(test)]
mod spread_tls_tests;
#[cfg(test)]
mod trace_tests;
mod transports;
#[cfg(test)]
mod way_in_tests;

pub use mailbox::{Command, Mailbox};
pub use memory::MemoryShard;
pub use plan::{Plan, PlanContext, connections_for};
pub use snapshot::Sockets;
pub use transports::{Renewable, Renewed, Transports};

use crate::hcm::access_log::ShardLog;
use crate::hcm::{CutOff, HcmShard};
use crate::net::{Loopback, Network, sys};
use crate::ring::host::Host;
use crate::ring::{Facts, PoolSize, Reactor, ReactorOptions};
use crate::stats::{Registry, ShardStats};
use mailbox::Reading;
use ringway_config::model;
use snapshot::Snapshot;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::thread::JoinHandle;
use std::time::Duration;

/// What a shard is started with.
pub struct ShardSetup {
    pub index: usize,
    /// The core to run on.
    pub cpu: Option<usize>,
    pub plan: Arc<Plan>,
    pub sockets: Sockets,
    pub registry: Arc<Registry>,
    pub loopback: Loopback,
}

/// Start the shard's thread. Its mailbox, or why it cannot start, comes through `started`.
///
/// # Errors
/// No thread can be made.
pub fn start(setup: ShardSetup, started: Sender<Result<Arc<Mailbox>, String>>) -> Result<JoinHandle<()>, String> {
    let host = Host::new(&format!("shard-{}", setup.index)).of_shard(setup.cpu);
    host.start(move |host| run(host, setup, &started))
}

/// Sizes of a shard's reactor as the configuration has them.
pub fn reactor_options(runtime: &model::Runtime) -> ReactorOptions {
    ReactorOptions {
        ring_entries: runtime.ring_entries,
        buffers: PoolSize { count: runtime.buffer_count, size: runtime.buffer_size },
        ..ReactorOptions::default()
    }
}

fn run(host: &Host, setup: ShardSetup, started: &Sender<Result<Arc<Mailbox>, String>>) {
    let options = reactor_options(&setup.plan.config.runtime);
    let reactor = match host.pin().and_then(|()| Reactor::new(&options)) {
        Ok(reactor) => reactor,
        Err(why) => {
            let _ = started.send(Err(why));
            return;
        }
    };
    let mailbox = Mailbox::new(reactor.unpark_handle());
    let shard = Shard::new(&reactor, setup);
    let _reading = Reading(mailbox.clone());
    let _ = started.send(Ok(mailbox.clone()));
    host.run(&reactor, async |turns| {
        while !shard.stopped.get() {
            reactor.turn();
            if reactor.take_event() {
                mailbox.take().into_iter().for_each(|command| shard.obey(command));
            }
            turns.next().await;
        }
    });
    shard.hcm.log.flush();
    shard.export_facts();
    reactor.shut_down();
    for told in shard.told.take() {
        let _ = told.send(shard.hcm.cut_off());
    }
}

struct Shard {
    reactor: Rc<Reactor>,
    hcm: Rc<HcmShard>,
    snapshot: RefCell<Snapshot>,
    stats: Arc<ShardStats>,
    exported: Cell<Facts>,
    stopped: Cell<bool>,
    /// What waits to hear how it ended.
    told: RefCell<Vec<Sender<CutOff>>>,
}

impl Shard {
    fn new(reactor: &Rc<Reactor>, setup: ShardSetup) -> Rc<Self> {
        let log = ShardLog::new(&setup.registry, setup.index);
        let hcm = HcmShard::new(reactor, log, setup.index);
        let stats: Arc<ShardStats> = setup.registry.scope(&setup.index.to_string(), setup.index);
        let network = Network::Kernel(setup.loopback);
        let mut snapshot = Snapshot::empty(reactor, network, setup.registry, setup.index, hcm.clone(), stats.clone());
        snapshot.apply(&setup.plan, setup.sockets);
        reactor.measure_turns(stats.clone());
        let flush = setup.plan.config.runtime.access_log_flush_interval;
        let shard = Rc::new(Self {
            reactor: reactor.clone(),
            hcm,
            snapshot: RefCell::new(snapshot),
            stats,
            exported: Cell::new(Facts::default()),
            stopped: Cell::new(false),
            told: RefCell::default(),
        });
        reactor.spawn(flush_logs(shard.hcm.clone(), flush));
        reactor.spawn(housekeeping(shard.clone()));
        shard
    }

    fn obey(self: &Rc<Self>, command: Command) {
        match command {
            Command::Apply { plan, sockets, done } => {
                self.snapshot.borrow_mut().apply(&plan, sockets);
                let _ = done.send(());
            }
            Command::Drain { drained } => {
                self.snapshot.borrow().drain();
                self.reactor.spawn(report_drained(self.clone(), drained));
            }
            Command::Stop { cut_off } => {
                self.snapshot.borrow().abort();
                self.stopped.set(true);
                self.told.borrow_mut().push(cut_off);
            }
        }
    }

    /// Move the reactor's counts into the statistics.
    fn export_facts(&self) {
        let (now, before) = (self.reactor.facts(), self.exported.get());
        self.exported.set(now);
        self.stats.completions.add(now.completions - before.completions);
        self.stats.enters.add(now.enters - before.enters);
        self.stats.sleeps.add(now.sleeps - before.sleeps);
        self.stats.enobufs.add(now.out_of_buffers - before.out_of_buffers);
        self.stats.panics.add(now.panics - before.panics);
        self.stats.background_slices.add(now.slices - before.slices);
        self.stats.heap_buffers.add(now.heap_buffers - before.heap_buffers);
        self.stats.receive_pauses.add(now.receive_pauses - before.receive_pauses);
        self.stats.stale_completions.add(now.stale_completions - before.stale_completions);
        self.stats.tasks.set(now.tasks as i64);
        self.stats.buffers_in_use.set(now.buffers_in_use as i64);
    }
}

async fn flush_logs(hcm: Rc<HcmShard>, interval: Duration) {
    loop {
        hcm.reactor.sleep(interval).await;
        hcm.log.flush();
    }
}

/// How often the shard looks after itself.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// Turns of housekeeping without much to do after which memory goes back to the system.
const QUIET_TURNS: u32 = 3;
/// Idle connections to each endpoint that a quiet shard keeps.
const QUIET_POOL: usize = 64;
/// Completions in one turn of housekeeping that still count as quiet.
const QUIET_COMPLETIONS: u64 = 500;

/// Statistics of the ring, steps of the wall clock, and after a burst the memory that it needed.
async fn housekeeping(shard: Rc<Shard>) {
    let mut quiet = 0;
    let mut trimmed = true;
    loop {
        shard.reactor.sleep(HOUSEKEEPING).await;
        shard.reactor.resync_clock();
        shard.snapshot.borrow().tend();
        let before = shard.exported.get().completions;
        shard.export_facts();
        if shard.exported.get().completions - before > QUIET_COMPLETIONS {
            (quiet, trimmed) = (0, false);
            continue;
        }
        quiet += 1;
        if quiet + 1 == QUIET_TURNS && !trimmed {
            shard.snapshot.borrow().trim_pools(QUIET_POOL);
        }
        if quiet >= QUIET_TURNS && !trimmed {
            // More than once: what is made meanwhile takes low places in the tables, which can shrink further.
            trimmed = quiet >= QUIET_TURNS + 2;
            shard.hcm.trim();
            shard.snapshot.borrow().trim();
            shard.reactor.trim();
            sys::trim_heap();
        }
    }
}

async fn report_drained(shard: Rc<Shard>, drained: Sender<()>) {
    while !shard.snapshot.borrow().is_drained() {
        shard.reactor.sleep(Duration::from_millis(5)).await;
    }
    let _ = drained.send(());
}
