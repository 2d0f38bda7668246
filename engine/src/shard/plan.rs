//! A configuration prepared once for all shards: route tables, log formats, limits, the clusters' members.

use super::transports::Transports;
use crate::base::clock::Wall;
use crate::cluster::ClusterShared;
use crate::hcm::access_log::{CompiledLog, LogQueues, OpenError, Writer};
use crate::hcm::{HeaderTable, ReplyMapper, TlsContext, TraceTable};
use crate::http::trace::Tracers;
use crate::http_filter::{SharedChain, number_overrides};
use crate::net::tls::{Client, Context, Current, Server};
use crate::net::{ChainMatcher, ClientLimit, ConnectionLimit, House};
use crate::route::RouteTable;
use crate::stats::Registry;
use ringway_config::model::{self, Binding, Listener, NetworkFilter};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Immutable, and shared by all shards.
pub struct Plan {
    pub config: model::Config,
    /// For each listener, for each chain.
    pub chains: Vec<Vec<HcmPlan>>,
    /// For each listener, the logs of its connections.
    pub connection_logs: Vec<Arc<[CompiledLog]>>,
    /// For each listener, for each chain: its TLS, if it has any.
    pub servers: Vec<Vec<Option<Arc<Current<Server>>>>>,
    /// All files of TLS.
    pub files: Arc<Current<Context>>,
    /// For each listener.
    pub matchers: Vec<Arc<ChainMatcher>>,
    /// For each cluster; the same object as in the plan before where nothing changed, so that its health goes on.
    pub clusters: Vec<Arc<ClusterShared>>,
    /// For each cluster, what its TLS is from when the plan is in force.
    clients: Vec<Vec<Option<Arc<Client>>>>,
    /// For each listener, the limits of its connections and of each client's; the same objects as in the plan before, so
    /// that their counts go on.
    pub limits: Vec<(Arc<ConnectionLimit>, Arc<ClientLimit>)>,
    /// Of the process.
    pub global_limit: Arc<ConnectionLimit>,
    global_max: Option<u64>,
    /// Where connections wait; the same object in every plan.
    pub house: Arc<House>,
    /// Where spans go; the same object in every plan.
    pub tracers: Arc<Tracers>,
    /// Where records of access logs come out; the same object in every plan.
    pub log_queues: Arc<LogQueues>,
}

/// Why there is no plan.
#[derive(Debug)]
pub enum PlanError {
    Log(OpenError),
    /// Files that cannot be used.
    Tls(Vec<model::Diagnostic>),
}

impl std::fmt::Display for PlanError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Log(error) => error.fmt(f),
            Self::Tls(faults) => {
                let faults: Vec<_> = faults.iter().map(ToString::to_string).collect();
                f.write_str(&faults.join("\n"))
            }
        }
    }
}

pub struct HcmPlan {
    pub config: Arc<model::Hcm>,
    pub headers: Arc<HeaderTable>,
    pub filters: Arc<SharedChain>,
    pub table: Arc<RouteTable>,
    pub logs: Vec<CompiledLog>,
    pub replies: Arc<[ReplyMapper]>,
    pub tls_context: Option<TlsContext>,
    pub tracing: Option<Arc<TraceTable>>,
}

/// What a plan needs to know in addition to the configuration.
pub struct PlanContext<'a> {
    pub writer: &'a Writer,
    pub registry: &'a Registry,
    /// How many the process may open. Unless the configuration says otherwise, half of them, less a reserve for files and
    /// the admin endpoint, are for downstream connections: each may need one upstream.
    pub descriptors: u64,
    /// How many shards run.
    pub shards: usize,
    /// The clock by which certificates expire.
    pub wall: Wall,
}

impl Plan {
    /// `before`: the plan in force, which stays so until `put_in_force`. What fails leaves nothing behind but an empty log
    /// file: clusters, which show in the statistics, are made last.
    ///
    /// # Errors
    /// A file of TLS cannot be used, or an access log cannot be opened.
    pub fn new(
        mut config: model::Config,
        context: &PlanContext<'_>,
        before: Option<&Self>,
    ) -> Result<Arc<Self>, PlanError> {
        let Transports { servers, clients, files, warnings } =
            Transports::load(&config, before, context.wall.clone()).map_err(PlanError::Tls)?;
        for warning in &warnings {
            tracing::warn!(target: "ringway::server", "{}", warning.one_line());
        }
        let matcher = |listener: &model::Listener| Arc::new(ChainMatcher::new(&listener.filter_chains));
        let matchers: Vec<_> = config.listeners.iter().map(matcher).collect();
        let tracers = before.map(|plan| plan.tracers.clone()).unwrap_or_default();
        let (mut chains, mut connection_logs) = (Vec::new(), Vec::new());
        for (listener, matcher) in config.listeners.iter_mut().zip(&matchers) {
            let mut plans = Vec::new();
            let contexts = TlsContext::of_chains(&listener.filter_chains, matcher);
            for (chain, tls_context) in listener.filter_chains.iter_mut().zip(contexts) {
                let NetworkFilter::Http(hcm) = &mut chain.filter;
                number_overrides(Arc::make_mut(hcm));
                let logs = compile_logs(&hcm.access_logs, context.writer)?;
                plans.push(HcmPlan {
                    config: hcm.clone(),
                    headers: Arc::new(HeaderTable::new(hcm)),
                    filters: SharedChain::new(hcm, context.shards),
                    table: Arc::new(RouteTable::new(&hcm.virtual_hosts)),
                    logs,
                    replies: hcm.local_replies.iter().map(ReplyMapper::new).collect(),
                    tls_context,
                    tracing: TraceTable::new(hcm, &tracers).map(Arc::new),
                });
            }
            chains.push(plans);
            connection_logs.push(compile_logs(&listener.access_logs, context.writer)?.into());
        }
        let kept: HashMap<Binding, &(Arc<ConnectionLimit>, Arc<ClientLimit>)> = before
            .map(|plan| plan.config.listeners.iter().map(Listener::binding).zip(&plan.limits).collect())
            .unwrap_or_default();
        let limits = config.listeners.iter().map(|listener| match kept.get(&listener.binding()) {
            Some(limits) => (*limits).clone(),
            None => {
                (ConnectionLimit::new(listener.max_connections), ClientLimit::new(listener.max_connections_per_client))
            }
        });
        let limits = limits.collect();
        let global_max = Some(config.runtime.max_connections.unwrap_or(connections_for(context.descriptors)));
        let global_limit = before.map_or_else(|| ConnectionLimit::new(global_max), |plan| plan.global_limit.clone());
        let house = before.map(|plan| plan.house.clone()).unwrap_or_default();
        let clusters = clusters(&config, &clients, context, before);
        Ok(Arc::new(Self {
            config,
            chains,
            connection_logs,
            servers,
            files,
            matchers,
            clusters,
            clients,
            limits,
            global_limit,
            global_max,
            house,
            tracers,
            log_queues: context.writer.queues(),
        }))
    }

    /// The limits of this plan hold from now on, and its clusters are those that count their members. `before`: the plan
    /// that was in force.
    pub fn put_in_force(&self, before: Option<&Self>) {
        let listeners = self.config.listeners.iter();
        for (listener, (limit, client)) in listeners.zip(&self.limits) {
            limit.set(listener.max_connections);
            client.set(listener.max_connections_per_client);
        }
        self.global_limit.set(self.global_max);
        let stays: HashSet<_> = self.clusters.iter().map(Arc::as_ptr).collect();
        let before = before.into_iter().flat_map(|plan| &plan.clusters);
        before.filter(|cluster| !stays.contains(&Arc::as_ptr(cluster))).for_each(|cluster| cluster.retire());
        for (cluster, client) in self.clusters.iter().zip(&self.clients) {
            for (current, client) in cluster.transports.iter().zip(client) {
                if let (Some(current), Some(client)) = (current, client) {
                    current.replace(client.clone());
                }
            }
            cluster.put_in_force();
        }
    }
}

fn compile_logs(logs: &[model::AccessLog], writer: &Writer) -> Result<Vec<CompiledLog>, PlanError> {
    logs.iter().map(|log| CompiledLog::new(log, writer).map_err(PlanError::Log)).collect()
}

/// Downstream connections for which this number of descriptors suffices: each may need one upstream, and some are kept
/// for files and the admin endpoint.
pub fn connections_for(descriptors: u64) -> u64 {
    (descriptors - (descriptors / 8).min(64)) / 2
}

fn clusters(
    config: &model::Config,
    clients: &[Vec<Option<Arc<Client>>>],
    context: &PlanContext<'_>,
    before: Option<&Plan>,
) -> Vec<Arc<ClusterShared>> {
    let kept: HashMap<&str, &Arc<ClusterShared>> = before
        .map(|plan| plan.clusters.iter().map(|shared| (shared.config.name.as_str(), shared)).collect())
        .unwrap_or_default();
    let shared =
        |(cluster, clients): (&model::Cluster, &Vec<Option<Arc<Client>>>)| match kept.get(cluster.name.as_str()) {
            Some(shared) if *shared.config == *cluster => Arc::clone(shared),
            before => {
                let before = before.map(|shared| &***shared);
                let transports = clients.iter().map(|client| client.clone().map(Current::new)).collect();
                ClusterShared::with_transports(cluster, transports, context.registry, context.shards, before)
            }
        };
    config.clusters.iter().zip(clients).map(shared).collect()
}
