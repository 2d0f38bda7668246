//! What one shard runs: listeners and clusters, made from a plan. A new plan changes what differs and keeps the rest:
//! listening sockets, connections, pools and statistics live on.

use super::plan::{HcmPlan, Plan};
use crate::base::clock::deadline;
use crate::base::span::Span;
use crate::cluster::{Cluster, ClusterShared};
use crate::hcm::{self, ChainSlot, Clusters, Hcm, HcmShard};
use crate::http_filter::{Chain, Setup};
use crate::listener::{ChainTls, ConnectionLogs, FilterChain, Listener, ListenerFilter, accept, keep};
use crate::net::tls::{Current, Handshakes, Server};
use crate::net::{Drain, Limits, ListeningSocket, Network, Spreader};
use crate::network_filter::NetworkFilter;
use crate::ring::Reactor;
use crate::stats::{Registry, ShardStats};
use ringway_config::model::{self, Binding};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Listening sockets of one shard, for the listeners that need one.
pub type Sockets = HashMap<Binding, ListeningSocket>;

pub(super) struct Snapshot {
    reactor: Rc<Reactor>,
    network: Network,
    registry: Arc<Registry>,
    shard: usize,
    hcm_shard: Rc<HcmShard>,
    handshakes: Rc<Handshakes>,
    /// From the first plan on.
    spreader: OnceCell<Rc<Spreader>>,
    stats: Arc<ShardStats>,
    clusters: Rc<[Rc<Cluster>]>,
    listeners: Vec<Rc<Listener>>,
    /// No longer accepting, but with connections.
    leaving: Vec<Rc<Drain>>,
}

impl Snapshot {
    pub(super) fn empty(
        reactor: &Rc<Reactor>,
        network: Network,
        registry: Arc<Registry>,
        shard: usize,
        hcm_shard: Rc<HcmShard>,
        stats: Arc<ShardStats>,
    ) -> Self {
        Self {
            handshakes: Handshakes::new(reactor, &stats),
            spreader: OnceCell::new(),
            reactor: reactor.clone(),
            network,
            registry,
            shard,
            hcm_shard,
            stats,
            clusters: Rc::new([]),
            listeners: Vec::new(),
            leaving: Vec::new(),
        }
    }

    pub(super) fn apply(&mut self, plan: &Plan, mut sockets: Sockets) {
        let memory = plan.config.runtime.compression_memory;
        self.hcm_shard.coders.set_limit(usize::try_from(memory).unwrap_or(usize::MAX));
        self.handshakes.set_max(plan.config.runtime.max_handshakes as usize);
        self.clusters = plan.clusters.iter().map(|shared| self.cluster(shared)).collect();
        let names =
            self.clusters.iter().enumerate().map(|(index, cluster)| (cluster.config.name.as_bytes().into(), index));
        let clusters = Clusters { index: Rc::new(names.collect()), list: self.clusters.clone() };
        let mut before: HashMap<Binding, Rc<Listener>> =
            self.listeners.drain(..).map(|listener| (listener.binding.clone(), listener)).collect();
        for (index, config) in plan.config.listeners.iter().enumerate() {
            let listener = match before.remove(&config.binding()) {
                Some(listener) => {
                    listener.limits.replace(limits(plan, index));
                    listener
                }
                None => self.new_listener(config, plan, index, &mut sockets),
            };
            let chains = self.chains(config, index, plan, &clusters, &listener);
            listener.chains.replace(chains);
            listener.matcher.replace(plan.matchers[index].clone());
            listener.filters.replace(self.filters(config));
            listener.logs.replace(&plan.connection_logs[index]);
            listener.fingerprints.set(config.fingerprints);
            self.listeners.push(listener);
        }
        for listener in before.into_values() {
            listener.drain.start(&self.reactor);
            self.leaving.push(listener.drain.clone());
            self.reactor.spawn(end_in_time(self.reactor.clone(), listener, plan.config.runtime.drain_time));
        }
        self.leaving.retain(|drain| !drain.is_over());
    }

    /// A cluster that did not change keeps its pools.
    fn cluster(&self, shared: &Arc<ClusterShared>) -> Rc<Cluster> {
        match self.clusters.iter().find(|cluster| Arc::ptr_eq(&cluster.shared, shared)) {
            Some(cluster) => cluster.clone(),
            None => {
                let name = &shared.config.name;
                let before = self.clusters.iter().find(|cluster| cluster.config.name == *name);
                let before = before.map(|cluster| &**cluster);
                Cluster::new(shared, &self.reactor, &self.network, &self.registry, self.shard, before)
            }
        }
    }

    fn new_listener(&self, config: &model::Listener, plan: &Plan, index: usize, sockets: &mut Sockets) -> Rc<Listener> {
        let spreader = self.spreader.get_or_init(|| Spreader::new(&plan.house, self.shard, &self.stats));
        let listener = Rc::new(Listener {
            binding: config.binding(),
            filters: RefCell::new(Rc::new([])),
            chains: RefCell::default(),
            matcher: RefCell::default(),
            stats: self.registry.scope(&config.stat_prefix, self.shard),
            shard_stats: self.stats.clone(),
            drain: Drain::new(plan.house.room(&plan.limits[index].0, self.shard), spreader),
            limits: RefCell::new(limits(plan, index)),
            house: plan.house.clone(),
            handshakes: self.handshakes.clone(),
            logs: ConnectionLogs::new(&self.hcm_shard),
            fingerprints: Cell::default(),
        });
        self.reactor.spawn(keep(self.reactor.clone(), listener.clone()));
        if let Some(socket) = sockets.remove(&config.binding()) {
            self.reactor.spawn(accept(self.reactor.clone(), listener.clone(), socket));
        }
        listener
    }

    /// What must look at a connection before its chain can be chosen.
    fn filters(&self, config: &model::Listener) -> Rc<[ListenerFilter]> {
        let inspector = || ListenerFilter::TlsInspector(self.registry.scope("", self.shard), config.fingerprints);
        config.inspects_tls().then(inspector).into_iter().collect()
    }

    /// A chain that was there before keeps its place, where its connections will find the new manager.
    fn chains(
        &self,
        config: &model::Listener,
        index: usize,
        plan: &Plan,
        clusters: &Clusters,
        listener: &Listener,
    ) -> Vec<FilterChain> {
        let build = |((chain, hcm_plan), tls): ((&model::FilterChain, &HcmPlan), &Option<Arc<Current<Server>>>)| {
            let model::NetworkFilter::Http(hcm) = &chain.filter;
            let setup = Setup {
                reactor: &self.reactor,
                registry: &self.registry,
                shard: self.shard,
                stat_prefix: &hcm.stat_prefix,
                coders: &self.hcm_shard.coders,
            };
            let filters = Chain::new(&hcm_plan.filters, &setup);
            let prepared = hcm::HcmPlan {
                config: &hcm_plan.config,
                table: &hcm_plan.table,
                headers: &hcm_plan.headers,
                logs: &hcm_plan.logs,
                replies: &hcm_plan.replies,
                stats: self.registry.scope(&hcm.stat_prefix, self.shard),
                chain: &chain.name,
                tls_context: hcm_plan.tls_context.as_ref(),
                tracing: hcm_plan.tracing.as_ref(),
                splice_threshold: plan.config.runtime.splice_threshold,
            };
            let hcm = Hcm::new(prepared, filters, clusters, &self.hcm_shard);
            let slot = match listener.slot(&chain.name) {
                Some(slot) => {
                    slot.replace(hcm);
                    slot
                }
                None => ChainSlot::new(hcm),
            };
            let tls = tls.as_ref().map(|server| {
                let stats = self.registry.scope(&config.stat_prefix, self.shard);
                Rc::new(ChainTls { server: server.clone(), stats })
            });
            FilterChain { name: chain.name.as_str().into(), tls, filter: NetworkFilter::Http(slot) }
        };
        config.filter_chains.iter().zip(&plan.chains[index]).zip(&plan.servers[index]).map(build).collect()
    }

    pub(super) fn listeners(&self) -> &[Rc<Listener>] {
        &self.listeners
    }

    fn drains(&self) -> impl Iterator<Item = &Rc<Drain>> {
        self.listeners.iter().map(|listener| &listener.drain).chain(&self.leaving)
    }

    pub(super) fn drain(&self) {
        self.drains().for_each(|drain| drain.start(&self.reactor));
    }

    /// Close idle upstream connections but for `keep` to each endpoint.
    pub(super) fn trim_pools(&self, keep: usize) {
        self.clusters.iter().for_each(|cluster| cluster.trim_pools(keep));
    }

    /// Take notice of endpoints that came, went or changed their health, and renew what other shards see of this one's
    /// connections; to be called once a second.
    pub(super) fn tend(&self) {
        self.clusters.iter().for_each(|cluster| cluster.tend());
        self.spreader.get().iter().for_each(|spreader| spreader.tick());
    }

    pub(super) fn trim(&self) {
        self.drains().for_each(|drain| drain.trim());
    }

    pub(super) fn abort(&self) {
        self.drains().for_each(|drain| drain.abort(&self.reactor));
    }

    /// Whether all listeners that drain have drained.
    pub(super) fn is_drained(&self) -> bool {
        self.drains().filter(|drain| drain.is_draining()).all(|drain| drain.is_over())
    }

    pub(super) fn connections(&self) -> usize {
        self.drains().map(|drain| drain.connections()).sum()
    }
}

/// How often a drain is looked at.
const LOOK: Duration = Duration::from_secs(1);

/// A listener that a reload has removed drains for as long as the process would.
async fn end_in_time(reactor: Rc<Reactor>, listener: Rc<Listener>, limit: Duration) {
    let drain = &listener.drain;
    let end = deadline(reactor.now(), Some(limit));
    while reactor.now() < end {
        reactor.sleep(LOOK.min(Duration::from_nanos(end - reactor.now()))).await;
        if drain.is_over() {
            return;
        }
    }
    let connections = drain.connections();
    if connections > 0 {
        tracing::warn!(
            target: "ringway::server",
            listener = %listener.binding.address, connections, drain_time = %Span(limit),
            "the drain time of a listener that a reload has removed is over: its connections are closed"
        );
    }
    drain.abort(&reactor);
}

fn limits(plan: &Plan, listener: usize) -> Rc<Limits> {
    let (listener, client) = plan.limits[listener].clone();
    Rc::new(Limits { listener, process: plan.global_limit.clone(), client })
}
