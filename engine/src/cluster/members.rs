//! What all shards share of one cluster: its hosts and what is known of their health.
//!
//! Control threads write it: discovery, health checks, outlier detection. They take the lock, change the list or a flag,
//! and raise the generation. A shard compares the generation with one relaxed load and makes a new view when it differs.
//! Nothing else of a cluster crosses shards on the request path.

use super::counts::Counts;
use super::host::{HealthFlags, Host, HostSpec, HostState, Identity};
use super::outlier::{Outcome, OutlierShared};
use super::report::{Report, Reports};
use crate::net::tls;
use crate::stats::{ClusterStats, ClusterTlsStats, HostStats, Registry, TransportMatchStats};
use crate::upstream::limits::SharedLimits;
use ringway_config::model::{self, Discovery, EndpointTarget};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The registry's number for cells that control threads write; no shard has this number.
pub const CONTROL: usize = usize::MAX;

/// The same for the thread that sends what the process tells about itself. Its view of a cluster is as a shard's, with
/// connections and limits of its own.
pub const EXPORT: usize = usize::MAX - 1;

/// The result of `ClusterShared::set_members`.
#[derive(Debug, Default)]
pub struct MembersChange {
    pub added: Vec<Arc<Host>>,
    /// Members that stay, with a new description.
    pub renewed: Vec<Arc<Host>>,
    /// No longer members; exchanges on them continue.
    pub removed: Vec<Arc<Host>>,
}

impl MembersChange {
    pub fn is_empty(&self) -> bool {
        !self.is_of_members() && self.renewed.is_empty()
    }

    /// Whether a host was added or removed.
    fn is_of_members(&self) -> bool {
        !(self.added.is_empty() && self.removed.is_empty())
    }
}

/// One cluster of one configuration, for the whole process.
#[derive(Debug)]
pub struct ClusterShared {
    pub config: Arc<model::Cluster>,
    /// The number of shards, for what exists once on each of them.
    pub shards: usize,
    /// The control side's cells. Those of the membership are written here, under the lock, while in force.
    pub stats: Arc<ClusterStats>,
    /// Circuit breakers.
    pub limits: Arc<SharedLimits>,
    pub outlier: Option<OutlierShared>,
    /// With what connections are made, for each of the configuration's transports. `None`: plain bytes.
    pub transports: Vec<Option<Arc<tls::Current<tls::Client>>>>,
    /// Of each of them, where there are several.
    transport_stats: Vec<Arc<TransportMatchStats>>,
    /// From shards and discovery to the control thread.
    pub reports: Reports,
    generation: AtomicU64,
    members: Mutex<Members>,
}

#[derive(Debug, Default)]
struct Members {
    hosts: Arc<[Arc<Host>]>,
    /// Of `hosts`. Changed with each flag, so that a flag of one host costs the same in a large cluster as in a small one.
    counts: Counts,
    /// The largest weight of `hosts`.
    max_weight: u32,
    /// Whether the membership statistics are written from here: from when the configuration is put in force until it is
    /// retired.
    in_force: bool,
    /// Changes that the statistics do not have yet.
    changes: u64,
}

impl Members {
    /// Every edit of a host's flags goes through here, so that the counts follow. Returns whether anything changed.
    fn edit(&mut self, host: &Host, flags: HealthFlags, on: bool) -> bool {
        let before = host.edit_flags(flags, on);
        let after = host.flags();
        if host.is_member() {
            self.counts.remove(before);
            self.counts.add(after);
        }
        before != after
    }

    fn add(&mut self, host: &Host) {
        host.set_member(true);
        self.counts.add(host.flags());
    }

    fn remove(&mut self, host: &Host) {
        host.set_member(false);
        self.counts.remove(host.flags());
    }

    fn list(&mut self, hosts: Arc<[Arc<Host>]>) {
        debug_assert_eq!(hosts.len(), self.counts.total as usize);
        self.max_weight = hosts.iter().map(|host| host.spec.weight).max().unwrap_or(0);
        self.hosts = hosts;
    }
}

/// The names of the statistics of a cluster's transports, where there are several.
pub fn transport_scopes(config: &model::Cluster) -> Vec<String> {
    if config.transport_matches.is_empty() {
        return Vec::new();
    }
    let names = config.transport_matches.iter().map(|it| &*it.name).chain(std::iter::once("default"));
    names.map(|name| format!("{}.transport_socket_match.{name}", config.name)).collect()
}

impl ClusterShared {
    /// With the endpoints that need no discovery. `before` is the same cluster in the previous configuration: hosts with
    /// the same checks keep their results.
    pub fn new(
        config: &model::Cluster,
        registry: &Registry,
        shards: usize,
        before: Option<&ClusterShared>,
    ) -> Arc<Self> {
        let transports = config.transports().map(|_| None).collect();
        Self::with_transports(config, transports, registry, shards, before)
    }

    /// The same, with what its connections are made with.
    pub fn with_transports(
        config: &model::Cluster,
        transports: Vec<Option<Arc<tls::Current<tls::Client>>>>,
        registry: &Registry,
        shards: usize,
        before: Option<&ClusterShared>,
    ) -> Arc<Self> {
        let shared = Self {
            config: Arc::new(config.clone()),
            shards,
            stats: registry.scope(&config.name, CONTROL),
            limits: SharedLimits::new(&config.name, &config.circuit_breakers),
            outlier: config.outlier_detection.as_ref().map(OutlierShared::new),
            transports,
            transport_stats: transport_scopes(config).iter().map(|name| registry.scope(name, CONTROL)).collect(),
            reports: Reports::default(),
            generation: AtomicU64::new(0),
            members: Mutex::default(),
        };
        let specs = config.endpoints.iter().filter_map(|endpoint| match &endpoint.target {
            EndpointTarget::Address(address) => Some(HostSpec::new(endpoint, address.clone())),
            EndpointTarget::Name { .. } => None,
        });
        // The others come with the first answer.
        let mut specs: Vec<_> = specs.collect();
        let before = before.filter(|before| before.config.health_checks == config.health_checks);
        if let Some(before) = before
            && config.discovery != Discovery::Static
            && before.config.discovery == config.discovery
            && before.config.endpoints == config.endpoints
        {
            specs = before.hosts().iter().map(|host| host.spec.clone()).collect();
        }
        let known = before.map(ClusterShared::hosts).unwrap_or_default();
        let known: HashMap<_, _> = known.iter().map(|host| (host.spec.identity(), host.flags())).collect();
        shared.replace(specs, |spec| known.get(&spec.identity()).copied());
        Arc::new(shared)
    }

    /// Differs after each change of the members or of a flag.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// The current members.
    pub fn hosts(&self) -> Arc<[Arc<Host>]> {
        self.lock().hosts.clone()
    }

    /// Counts the outcome of a request to `host`; `stats` are the calling shard's cells of that host.
    #[inline]
    pub fn report(&self, host: &Arc<Host>, stats: &HostStats, outcome: Outcome) {
        outcome.count(stats);
        if let Some(outlier) = &self.outlier {
            outlier.report(host, stats, outcome, &self.reports);
        }
    }

    /// From now on the statistics show these members. A cluster of the same name that was in force is retired first: both
    /// write the same cells.
    pub fn put_in_force(&self) {
        let mut members = self.lock();
        members.in_force = true;
        self.show(&mut members);
    }

    /// Another configuration is in force: later changes of these members do not show.
    pub fn retire(&self) {
        self.lock().in_force = false;
    }

    /// What speaks TLS with this host, if its transport is that. `stats`: where handshakes count, if they do.
    pub(super) fn connector(
        &self,
        host: &HostSpec,
        stats: Option<&Arc<ClusterTlsStats>>,
    ) -> Option<Rc<tls::Connector>> {
        let transport = self.transports.get(self.config.transport_of(&host.metadata))?;
        Some(tls::Connector::new(transport.as_ref()?, host.hostname.as_deref(), stats.cloned()))
    }

    /// Whether some of its hosts may.
    pub(super) fn speaks_tls(&self) -> bool {
        self.transports.iter().any(Option::is_some)
    }

    /// Whether this host is asked for the name that a request has.
    pub(super) fn is_by_name(&self, host: &HostSpec) -> bool {
        let transport = self.config.transports().nth(self.config.transport_of(&host.metadata)).flatten();
        transport.is_some_and(|tls| tls.auto_sni)
    }

    /// There is a new host, and it has a transport.
    fn count_transport(&self, host: &HostSpec) {
        if !self.transport_stats.is_empty() {
            self.transport_stats[self.config.transport_of(&host.metadata)].total_match_count.inc();
        }
    }

    /// Replaces the members. A host that is in `specs` stays, with its state, even when its address changes (Envoy:
    /// LogicalHost). One that active checks find healthy stays until a check fails, even when `specs` does not list it
    /// (Envoy: eventually consistent discovery). New hosts of a cluster with active checks begin as failed. Of several
    /// specs with the same identity the first one counts.
    pub fn set_members(&self, specs: Vec<HostSpec>) -> MembersChange {
        self.replace(specs, |_| None)
    }

    fn replace(&self, specs: Vec<HostSpec>, known: impl Fn(&HostSpec) -> Option<HealthFlags>) -> MembersChange {
        let mut members = self.lock();
        let hosts = members.hosts.clone();
        let mut change = MembersChange::default();
        let mut after: Vec<Arc<Host>> = Vec::with_capacity(specs.len());
        let mut flagged = false;
        let before: HashMap<Identity<'_>, &Arc<Host>> = hosts.iter().map(|host| (host.spec.identity(), host)).collect();
        let mut listed: HashSet<Identity<'_>> = HashSet::with_capacity(specs.len());
        for spec in &specs {
            if !listed.insert(spec.identity()) {
                continue;
            }
            let host = match before.get(&spec.identity()) {
                Some(host) if host.spec == *spec => Arc::clone(host),
                Some(host) => {
                    let host = Host::new(spec.clone(), host.state.clone());
                    change.renewed.push(host.clone());
                    host
                }
                None => {
                    let host = Host::new(spec.clone(), HostState::new(self.first_flags(known(spec))));
                    members.add(&host);
                    change.added.push(host.clone());
                    self.count_transport(spec);
                    host
                }
            };
            flagged |= members.edit(&host, HealthFlags::PENDING_DYNAMIC_REMOVAL, false);
            after.push(host);
        }
        let checked = !self.config.health_checks.is_empty();
        for host in hosts.iter().filter(|host| !listed.contains(&host.spec.identity())) {
            if checked && !host.flags().contains(HealthFlags::FAILED_ACTIVE_HC) {
                flagged |= members.edit(host, HealthFlags::PENDING_DYNAMIC_REMOVAL, true);
                after.push(host.clone());
            } else {
                members.remove(host);
                change.removed.push(host.clone());
            }
        }
        if change.is_empty() && !flagged {
            return change;
        }
        members.changes += u64::from(change.is_of_members());
        members.list(after.into());
        self.publish(&mut members);
        self.reports.push(Report::Members);
        change
    }

    /// The flags of a host that is new to this configuration. `before` are its flags in the previous one, of which only
    /// the results of active checks are kept: they are about the address, not about this cluster.
    fn first_flags(&self, before: Option<HealthFlags>) -> HealthFlags {
        let kept = HealthFlags::FAILED_ACTIVE_HC.0
            | HealthFlags::DEGRADED_ACTIVE_HC.0
            | HealthFlags::EXCLUDED_VIA_IMMEDIATE_HC_FAIL.0
            | HealthFlags::ACTIVE_HC_TIMEOUT.0;
        match before {
            _ if self.config.health_checks.is_empty() => HealthFlags::default(),
            Some(flags) => HealthFlags(flags.0 & kept),
            None => HealthFlags::FAILED_ACTIVE_HC,
        }
    }

    /// Sets or clears flags of a host and returns whether that changed anything. A member that waits for its removal is
    /// removed when its active check fails.
    pub fn set_flag(&self, host: &Host, flag: HealthFlags, on: bool) -> bool {
        let mut members = self.lock();
        if !members.edit(host, flag, on) {
            return false;
        }
        let after = host.flags();
        let is_to_go =
            after.contains(HealthFlags::PENDING_DYNAMIC_REMOVAL) && after.contains(HealthFlags::FAILED_ACTIVE_HC);
        // A host that has already gone is no change of the members.
        if is_to_go && host.is_member() {
            members.remove(host);
            let left = members.hosts.iter().filter(|member| !member.is(host)).cloned().collect();
            members.list(left);
            members.changes += 1;
            self.reports.push(Report::Members);
        }
        self.publish(&mut members);
        true
    }

    /// Statistics first: a reader that sees the new generation may look at them.
    fn publish(&self, members: &mut Members) {
        if members.in_force {
            self.show(members);
        }
        // The flags were stored before: a shard that sees the new generation sees them.
        self.generation.store(self.generation() + 1, Ordering::Release);
    }

    /// Writes the membership statistics.
    fn show(&self, members: &mut Members) {
        let (stats, counts) = (&self.stats, members.counts);
        stats.membership_change.add(std::mem::take(&mut members.changes));
        stats.membership_total.set(counts.total.into());
        stats.membership_healthy.set(counts.healthy.into());
        stats.membership_degraded.set(counts.degraded.into());
        stats.membership_excluded.set(counts.excluded.into());
        stats.max_host_weight.set(members.max_weight.into());
    }

    /// A panic of another holder leaves the list whole, so it stays in use.
    fn lock(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "members_tests.rs"]
mod tests;
