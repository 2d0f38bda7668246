//! What all shards share of one cluster: its hosts and what is known of their health.
//!
//! Writers are control threads: discovery, health checks, outlier detection. They take the lock, change the list or a
//! flag, and raise the generation; a shard compares that with one relaxed load and then makes its own view anew. Nothing
//! else of a cluster crosses shards on the request path.

use super::outlier::{Monitor, OutlierShared};
use super::report::{Report, Reports};
use crate::stats::{ClusterStats, HostStats, PerShard, Registry};
use crate::upstream::limits::SharedLimits;
use ringway_config::model::{self, Address, Discovery, EndpointTarget};
use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The registry's number for cells that control threads write: no shard has it.
pub const CONTROL: usize = usize::MAX;

/// One bit for each thing that is known of a host's health (Envoy: Host::HealthFlag).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealthFlags(pub u32);

impl HealthFlags {
    /// An active check failed; also a host that no check has seen yet, in a cluster with checks.
    pub const FAILED_ACTIVE_HC: Self = Self(1);
    /// Ejected by outlier detection.
    pub const FAILED_OUTLIER_CHECK: Self = Self(1 << 1);
    /// An active check succeeded and the host calls itself degraded.
    pub const DEGRADED_ACTIVE_HC: Self = Self(1 << 2);
    /// Discovery no longer knows the host, active checks find it healthy: it stays until one fails.
    pub const PENDING_DYNAMIC_REMOVAL: Self = Self(1 << 3);
    /// Failed by its own word (x-envoy-immediate-health-check-fail): it does not count as a member for panic.
    pub const EXCLUDED_VIA_IMMEDIATE_HC_FAIL: Self = Self(1 << 4);
    /// The active check failed by its timeout.
    pub const ACTIVE_HC_TIMEOUT: Self = Self(1 << 5);

    /// As Envoy's /clusters writes them.
    pub const NAMES: [(Self, &'static str); 6] = [
        (Self::FAILED_ACTIVE_HC, "/failed_active_hc"),
        (Self::FAILED_OUTLIER_CHECK, "/failed_outlier_check"),
        (Self::DEGRADED_ACTIVE_HC, "/degraded_active_hc"),
        (Self::PENDING_DYNAMIC_REMOVAL, "/pending_dynamic_removal"),
        (Self::EXCLUDED_VIA_IMMEDIATE_HC_FAIL, "/excluded_via_immediate_hc_fail"),
        (Self::ACTIVE_HC_TIMEOUT, "/active_hc_timeout"),
    ];

    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// What it means for load balancing (Envoy: Host::coarseHealth).
    pub fn health(self) -> Health {
        if self.intersects(Self(Self::FAILED_ACTIVE_HC.0 | Self::FAILED_OUTLIER_CHECK.0)) {
            Health::Unhealthy
        } else if self.contains(Self::DEGRADED_ACTIVE_HC) {
            Health::Degraded
        } else {
            Health::Healthy
        }
    }

    /// Left out of the counts that priorities and panic go by (Envoy: HostSet::excludedHosts).
    pub fn is_excluded(self) -> bool {
        self.contains(Self::EXCLUDED_VIA_IMMEDIATE_HC_FAIL)
    }
}

/// `healthy`, or the flags' names in a row, as Envoy's /clusters writes them.
impl std::fmt::Display for HealthFlags {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 == 0 {
            return f.write_str("healthy");
        }
        Self::NAMES.iter().filter(|(flag, _)| self.contains(*flag)).try_for_each(|(_, name)| f.write_str(name))
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    Healthy,
    Degraded,
    Unhealthy,
}

/// What discovery says of a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSpec {
    pub address: Address,
    /// Identity in the place of the address, where that may change under the host (Envoy: LOGICAL_DNS).
    pub logical_name: Option<Box<str>>,
    /// For auto host rewrites and health checks.
    pub hostname: Option<Box<str>>,
    /// 1 or more.
    pub weight: u32,
    /// 0 is the first.
    pub priority: u32,
    /// Empty: none.
    pub locality: Box<str>,
    /// For subsets, sorted by key.
    pub metadata: Vec<(String, String)>,
    /// Port for health checks where it is not the address's.
    pub health_check_port: Option<u16>,
}

impl HostSpec {
    /// A host at `address` with what the configuration says of `endpoint`.
    pub fn new(endpoint: &model::Endpoint, address: Address) -> Self {
        let name = match &endpoint.target {
            EndpointTarget::Name { host, .. } => Some(host),
            EndpointTarget::Address(_) => None,
        };
        Self {
            address,
            logical_name: None,
            hostname: endpoint.hostname.as_ref().or(name).map(|name| name.as_str().into()),
            weight: endpoint.weight,
            priority: endpoint.priority,
            locality: endpoint.locality.as_str().into(),
            metadata: endpoint.metadata.clone(),
            health_check_port: endpoint.health_check_port,
        }
    }

    /// What makes a host the same one, whatever else discovery says of it.
    pub(super) fn identity(&self) -> Identity<'_> {
        match &self.logical_name {
            Some(name) => Identity::Name(name),
            None => Identity::Address(&self.address),
        }
    }
}

#[derive(Debug, PartialEq, Eq, Hash)]
pub(super) enum Identity<'a> {
    Name(&'a str),
    Address(&'a Address),
}

/// One host of a cluster, as discovery describes it. The description never changes: when discovery says something new,
/// another value takes this one's place, with the same record.
#[derive(Debug)]
pub struct Host {
    /// The address in text form.
    pub name: Box<str>,
    pub spec: HostSpec,
    /// Also what tells whether two of these are the same host.
    pub record: Arc<Record>,
}

/// What is known of a host, wherever it is.
#[derive(Debug, Default)]
pub struct Record {
    pub stats: Arc<PerShard<HostStats>>,
    /// Of outlier detection.
    pub monitor: Monitor,
    flags: AtomicU32,
}

impl Host {
    fn new(spec: HostSpec, record: Arc<Record>) -> Arc<Self> {
        Arc::new(Self { name: spec.address.to_string().into(), spec, record })
    }

    /// Whether it is the same host, described anew perhaps.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.record, &other.record)
    }

    pub fn flags(&self) -> HealthFlags {
        HealthFlags(self.record.flags.load(Ordering::Relaxed))
    }

    pub fn health(&self) -> Health {
        self.flags().health()
    }

    /// Set or clear flags; whether that changed anything. Only under the cluster's lock, so that no change is lost.
    fn edit_flags(&self, flags: HealthFlags, on: bool) -> bool {
        let before = self.flags();
        let after = HealthFlags(if on { before.0 | flags.0 } else { before.0 & !flags.0 });
        self.record.flags.store(after.0, Ordering::Relaxed);
        before != after
    }
}

/// What `ClusterShared::set_members` did.
#[derive(Debug, Default)]
pub struct MembersChange {
    pub added: Vec<Arc<Host>>,
    /// Members as before, of which discovery says something new.
    pub renewed: Vec<Arc<Host>>,
    /// No longer members; exchanges on them go on.
    pub removed: Vec<Arc<Host>>,
}

impl MembersChange {
    pub fn is_empty(&self) -> bool {
        !self.is_of_members() && self.renewed.is_empty()
    }

    /// Somebody came or went.
    fn is_of_members(&self) -> bool {
        !(self.added.is_empty() && self.removed.is_empty())
    }
}

/// One cluster of one configuration, for the whole process.
#[derive(Debug)]
pub struct ClusterShared {
    pub config: Arc<model::Cluster>,
    /// How many shards there are, for what each of them has one of.
    pub shards: usize,
    /// The control side's cells; those of the membership are written under the lock, here, while in force.
    pub stats: Arc<ClusterStats>,
    /// Circuit breakers.
    pub limits: Arc<SharedLimits>,
    pub outlier: Option<OutlierShared>,
    /// What shards have to tell the control thread.
    pub reports: Reports,
    generation: AtomicU64,
    members: Mutex<Members>,
}

#[derive(Debug)]
struct Members {
    hosts: Arc<[Arc<Host>]>,
    /// The statistics are this one's to write: not before its configuration is in force, and no longer afterwards.
    in_force: bool,
    /// Changes that the statistics do not have yet.
    changes: u64,
}

impl ClusterShared {
    /// With the endpoints that need no discovery. `before`: the same cluster in the configuration before; hosts that
    /// were checked the same way keep what the checks found.
    pub fn new(
        config: &model::Cluster,
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
            reports: Reports::default(),
            generation: AtomicU64::new(0),
            members: Mutex::new(Members { hosts: Arc::new([]), in_force: false, changes: 0 }),
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

    /// Another number after each change of the members or of a flag.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Relaxed)
    }

    /// The members of the moment.
    pub fn hosts(&self) -> Arc<[Arc<Host>]> {
        self.lock().hosts.clone()
    }

    /// From now on the statistics say how many members there are. The cluster of the same name that did so before is to
    /// be retired first: both write the same cells.
    pub fn put_in_force(&self) {
        let mut members = self.lock();
        members.in_force = true;
        self.count(&mut members);
    }

    /// Another configuration is in force: whatever becomes of the members is no longer counted.
    pub fn retire(&self) {
        self.lock().in_force = false;
    }

    /// Replace the members. A host that `specs` knows stays, with its record, also where another address is said of it
    /// (Envoy: LogicalHost); one that active checks find healthy stays until one fails, whatever `specs` says (Envoy:
    /// eventually consistent discovery). New hosts of a cluster with active checks begin as failed. Of hosts with the
    /// same identity the first counts.
    pub fn set_members(&self, specs: Vec<HostSpec>) -> MembersChange {
        self.replace(specs, |_| None)
    }

    fn replace(&self, specs: Vec<HostSpec>, known: impl Fn(&HostSpec) -> Option<HealthFlags>) -> MembersChange {
        let mut members = self.lock();
        let hosts = members.hosts.clone();
        let mut change = MembersChange::default();
        let mut after: Vec<Arc<Host>> = Vec::with_capacity(specs.len());
        let mut flagged = false;
        {
            let before: HashMap<Identity<'_>, &Arc<Host>> =
                hosts.iter().map(|host| (host.spec.identity(), host)).collect();
            let mut listed: HashSet<Identity<'_>> = HashSet::with_capacity(specs.len());
            for spec in &specs {
                if !listed.insert(spec.identity()) {
                    continue;
                }
                let host = match before.get(&spec.identity()) {
                    Some(host) if host.spec == *spec => Arc::clone(host),
                    Some(host) => {
                        let host = Host::new(spec.clone(), host.record.clone());
                        change.renewed.push(host.clone());
                        host
                    }
                    None => {
                        let flags = AtomicU32::new(self.first_flags(known(spec)).0);
                        let host = Host::new(spec.clone(), Arc::new(Record { flags, ..Record::default() }));
                        change.added.push(host.clone());
                        host
                    }
                };
                flagged |= host.edit_flags(HealthFlags::PENDING_DYNAMIC_REMOVAL, false);
                after.push(host);
            }
            let checked = !self.config.health_checks.is_empty();
            for host in hosts.iter().filter(|host| !listed.contains(&host.spec.identity())) {
                if checked && !host.flags().contains(HealthFlags::FAILED_ACTIVE_HC) {
                    flagged |= host.edit_flags(HealthFlags::PENDING_DYNAMIC_REMOVAL, true);
                    after.push(host.clone());
                } else {
                    change.removed.push(host.clone());
                }
            }
        }
        if change.is_empty() && !flagged {
            return change;
        }
        members.changes += u64::from(change.is_of_members());
        members.hosts = after.into();
        self.publish(&mut members);
        self.reports.push(Report::Members);
        change
    }

    /// What is known of a host that is new to this configuration: only active checks know something of an address.
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

    /// Set or clear flags of a host. Returns whether that changed anything. A member that waits for its removal goes when
    /// its active check fails.
    pub fn set_flag(&self, host: &Host, flag: HealthFlags, on: bool) -> bool {
        let mut members = self.lock();
        if !host.edit_flags(flag, on) {
            return false;
        }
        let after = host.flags();
        if after.contains(HealthFlags::PENDING_DYNAMIC_REMOVAL) && after.contains(HealthFlags::FAILED_ACTIVE_HC) {
            let hosts = &members.hosts;
            let left: Arc<[_]> = hosts.iter().filter(|member| !member.is(host)).cloned().collect();
            // What is said of a host that is gone already is no change of the members.
            if left.len() < hosts.len() {
                members.hosts = left;
                members.changes += 1;
                self.reports.push(Report::Members);
            }
        }
        self.publish(&mut members);
        true
    }

    /// Statistics first: who sees the generation may look at them.
    fn publish(&self, members: &mut Members) {
        if members.in_force {
            self.count(members);
        }
        // The flags were stored before; who sees the new generation sees them.
        self.generation.store(self.generation() + 1, Ordering::Release);
    }

    fn count(&self, members: &mut Members) {
        self.stats.membership_change.add(std::mem::take(&mut members.changes));
        let hosts = &members.hosts;
        let [mut healthy, mut degraded, mut excluded] = [0; 3];
        for host in hosts.iter() {
            let flags = host.flags();
            healthy += i64::from(flags.health() == Health::Healthy);
            degraded += i64::from(flags.health() == Health::Degraded);
            excluded += i64::from(flags.is_excluded());
        }
        self.stats.membership_total.set(hosts.len() as i64);
        self.stats.membership_healthy.set(healthy);
        self.stats.membership_degraded.set(degraded);
        self.stats.membership_excluded.set(excluded);
        self.stats.max_host_weight.set(hosts.iter().map(|host| i64::from(host.spec.weight)).max().unwrap_or(0));
    }

    /// A panic of another holder leaves the list whole, so it stays in use.
    fn lock(&self) -> MutexGuard<'_, Members> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
#[path = "members_tests.rs"]
mod tests;
