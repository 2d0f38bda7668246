//! A whole shard on in-memory pipes, with virtual time and a seed: what the conformance tests, the simulation and the
//! benches drive. It is the same code that serves sockets; only the listeners are missing.

use super::plan::{Plan, PlanContext};
use super::snapshot::Snapshot;
use crate::cluster::ClusterShared;
use crate::hcm::HcmShard;
use crate::hcm::access_log::{LogQueues, ShardLog, Writer};
use crate::http::trace::Tracers;
use crate::listener::{self, Listener};
use crate::net::{Arrival, ByteStream, MemoryNetwork, Network, PipeEnd, pipe};
use crate::ring::{PoolSize, Reactor};
use crate::stats::Registry;
use ringway_config::model::Config;
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Pipes need no descriptors; connections are limited as if there were this many.
const DESCRIPTORS: u64 = 1 << 20;

/// Bytes that each direction of a downstream connection holds.
const CAPACITY: usize = 64 * 1024;

pub struct MemoryShard {
    pub reactor: Rc<Reactor>,
    /// Where clusters connect to: listen here as their endpoints.
    pub network: Rc<MemoryNetwork>,
    pub registry: Arc<Registry>,
    plan: Arc<Plan>,
    snapshot: Snapshot,
    hcm: Rc<HcmShard>,
    writer: Arc<Writer>,
}

impl MemoryShard {
    /// Run `config` (its listeners are known by their index, nothing is bound).
    ///
    /// # Panics
    /// When an access log cannot be opened.
    pub fn new(config: Config, seed: u64) -> Self {
        let reactor = Reactor::simulated(seed, PoolSize { count: 256, size: 16 * 1024 });
        let network = Rc::new(MemoryNetwork::default());
        let registry = Registry::new();
        let writer = Writer::new(&registry);
        let context = PlanContext {
            writer: &writer,
            registry: &registry,
            descriptors: DESCRIPTORS,
            shards: 1,
            wall: reactor.wall(),
        };
        let plan = Plan::new(config, &context, None).expect("access logs can be opened");
        plan.put_in_force(None);
        Self::build(reactor, network, registry, plan, writer, 0)
    }

    /// Another shard of the same process, on the same thread: it runs when it is told to.
    #[cfg(test)]
    pub(super) fn neighbour(&self, shard: usize) -> Self {
        let reactor = Reactor::simulated(shard as u64, PoolSize { count: 256, size: 16 * 1024 });
        let (registry, plan, writer) = (self.registry.clone(), self.plan.clone(), self.writer.clone());
        Self::build(reactor, self.network.clone(), registry, plan, writer, shard)
    }

    fn build(
        reactor: Rc<Reactor>,
        network: Rc<MemoryNetwork>,
        registry: Arc<Registry>,
        plan: Arc<Plan>,
        writer: Arc<Writer>,
        shard: usize,
    ) -> Self {
        let hcm = HcmShard::new(&reactor, ShardLog::new(&registry, shard), shard);
        let stats = registry.scope(&shard.to_string(), shard);
        let upstream = Network::Memory(network.clone());
        let mut snapshot = Snapshot::empty(&reactor, upstream, registry.clone(), shard, hcm.clone(), stats);
        snapshot.apply(&plan, super::Sockets::new());
        Self { reactor, network, registry, plan, snapshot, hcm, writer }
    }

    /// Go over to another configuration, as a reload does.
    ///
    /// # Panics
    /// When an access log cannot be opened.
    pub fn apply(&mut self, config: Config) {
        let context = PlanContext {
            writer: &self.writer,
            registry: &self.registry,
            descriptors: DESCRIPTORS,
            shards: 1,
            wall: self.reactor.wall(),
        };
        let plan = Plan::new(config, &context, Some(&self.plan)).expect("access logs can be opened");
        plan.put_in_force(Some(&self.plan));
        self.snapshot.apply(&plan, super::Sockets::new());
        self.plan = plan;
    }

    /// What all shards share of the cluster with this index: its members and their health.
    pub fn cluster(&self, index: usize) -> &Arc<ClusterShared> {
        &self.plan.clusters[index]
    }

    /// All clusters of the configuration in force.
    pub fn clusters(&self) -> &[Arc<ClusterShared>] {
        &self.plan.clusters
    }

    /// Where spans go.
    pub fn tracers(&self) -> &Tracers {
        &self.plan.tracers
    }

    /// Where the records of access logs for programs elsewhere come out, behind `flush_logs`.
    pub fn log_queues(&self) -> &LogQueues {
        &self.plan.log_queues
    }

    /// Hand over what the access logs have.
    pub fn flush_logs(&self) {
        self.hcm.log.flush();
    }

    /// A new connection from `remote` to the listener with this index, through the chain that is for it.
    pub fn connect(&self, listener: usize, remote: SocketAddr) -> PipeEnd {
        let (client, server) = pipe(&self.reactor, CAPACITY);
        let listener = &self.snapshot.listeners()[listener];
        let arrival = Arrival { remote: Some(remote), ..Arrival::default() };
        listener::admit(&self.reactor, listener, arrival, || ByteStream::Pipe(server));
        client
    }

    /// Let time pass. As long as a task is ready, time stands still, and the caller looks before anything else happens.
    ///
    /// # Panics
    /// When a task of the shard has panicked.
    pub fn advance(&self, time: Duration) {
        let (reactor, done) = (self.reactor.clone(), Rc::new(Cell::new(false)));
        let told = done.clone();
        self.reactor.spawn(async move {
            reactor.sleep(time).await;
            told.set(true);
            reactor.yield_now().await;
        });
        self.reactor.run_until(|| done.get());
        assert_eq!(self.reactor.facts().panics, 0, "a task panicked");
    }

    /// The listener with this index.
    pub fn listener(&self, index: usize) -> &Rc<Listener> {
        &self.snapshot.listeners()[index]
    }

    /// Stop: connections end with their present exchange, idle ones at once.
    pub fn drain(&self) {
        self.snapshot.drain();
    }

    /// Give back what is only kept for reuse, as a shard that has nothing to do.
    pub fn trim(&self) {
        self.hcm.trim();
        self.snapshot.trim();
        self.reactor.trim();
    }

    /// Open downstream connections.
    pub fn connections(&self) -> usize {
        self.snapshot.connections()
    }
}
