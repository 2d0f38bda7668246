//! One host of a cluster: how discovery describes it, what is known of its health, and what all shards share about it.

use super::members::EXPORT;
use super::outlier::Monitor;
use crate::stats::{HostStats, PerShard, ShardCopy};
use ringway_config::model::{self, Address, EndpointTarget};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

/// One bit for each fact about a host's health (Envoy: Host::HealthFlag).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HealthFlags(pub u32);

impl HealthFlags {
    /// An active check failed. In a cluster with checks, a host also begins with this flag.
    pub const FAILED_ACTIVE_HC: Self = Self(1);
    /// Ejected by outlier detection.
    pub const FAILED_OUTLIER_CHECK: Self = Self(1 << 1);
    /// An active check succeeded and the host calls itself degraded.
    pub const DEGRADED_ACTIVE_HC: Self = Self(1 << 2);
    /// Discovery no longer lists the host, but active checks find it healthy: it stays until one fails.
    pub const PENDING_DYNAMIC_REMOVAL: Self = Self(1 << 3);
    /// The host declared itself failed (x-envoy-immediate-health-check-fail): it does not count as a member for panic.
    pub const EXCLUDED_VIA_IMMEDIATE_HC_FAIL: Self = Self(1 << 4);
    /// The active check failed by its timeout.
    pub const ACTIVE_HC_TIMEOUT: Self = Self(1 << 5);
    /// The lookup of the host's name fails; the last answer stays in force. This says nothing about the host's health.
    pub const FAILED_DNS_LOOKUP: Self = Self(1 << 6);

    /// The names in Envoy's /clusters.
    pub const NAMES: [(Self, &'static str); 7] = [
        (Self::FAILED_ACTIVE_HC, "/failed_active_hc"),
        (Self::FAILED_OUTLIER_CHECK, "/failed_outlier_check"),
        (Self::DEGRADED_ACTIVE_HC, "/degraded_active_hc"),
        (Self::PENDING_DYNAMIC_REMOVAL, "/pending_dynamic_removal"),
        (Self::EXCLUDED_VIA_IMMEDIATE_HC_FAIL, "/excluded_via_immediate_hc_fail"),
        (Self::ACTIVE_HC_TIMEOUT, "/active_hc_timeout"),
        (Self::FAILED_DNS_LOOKUP, "/failed_dns_lookup"),
    ];

    pub fn contains(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }

    pub fn intersects(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    /// What the flags mean for load balancing (Envoy: Host::coarseHealth).
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

/// `healthy`, or the names of the flags one after the other, as in Envoy's /clusters.
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

/// How discovery describes a host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSpec {
    pub address: Address,
    /// Further addresses, which are tried in this order where the first one cannot be reached.
    pub more_addresses: Vec<Address>,
    /// The identity in place of the address, where the host's address may change (Envoy: LOGICAL_DNS).
    pub logical_name: Option<Box<str>>,
    /// For automatic host rewrites and health checks.
    pub hostname: Option<Box<str>>,
    /// 1 or more.
    pub weight: u32,
    /// 0 is the first.
    pub priority: u32,
    /// Empty: none.
    pub locality: Box<str>,
    /// For subsets, sorted by key.
    pub metadata: Vec<(String, String)>,
    /// The port for health checks where it differs from the address's.
    pub health_check_port: Option<u16>,
}

impl HostSpec {
    /// A host at `address` with the settings of `endpoint`.
    pub fn new(endpoint: &model::Endpoint, address: Address) -> Self {
        let name = match &endpoint.target {
            EndpointTarget::Name { host, .. } => Some(host),
            EndpointTarget::Address(_) => None,
        };
        Self {
            address,
            more_addresses: Vec::new(),
            logical_name: None,
            hostname: endpoint.hostname.as_ref().or(name).map(|name| name.as_str().into()),
            weight: endpoint.weight,
            priority: endpoint.priority,
            locality: endpoint.locality.as_str().into(),
            metadata: endpoint.metadata.clone(),
            health_check_port: endpoint.health_check_port,
        }
    }

    /// All addresses in the order in which they are tried.
    pub fn addresses(&self) -> Rc<[Address]> {
        std::iter::once(&self.address).chain(&self.more_addresses).cloned().collect()
    }

    /// Two descriptions with the same identity are of the same host, however else they differ.
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

/// One host of a cluster as discovery describes it. The description never changes: a new one is a new value, with the
/// same state.
#[derive(Debug)]
pub struct Host {
    /// The address in text form.
    pub name: Box<str>,
    pub spec: HostSpec,
    /// Two values with the same state are the same host.
    pub state: Arc<HostState>,
}

/// What all descriptions of a host share: statistics, outlier detection, health.
#[derive(Debug, Default)]
pub struct HostState {
    pub stats: Arc<PerShard<HostStats>>,
    /// Of the export thread, apart from those of the shards: its connections do not count under their limits.
    exported: OnceLock<Arc<PerShard<HostStats>>>,
    /// For outlier detection.
    pub monitor: Monitor,
    flags: AtomicU32,
    /// Why a health check failed last; `None` while all find the host healthy. Written by the control thread and read by the
    /// admin endpoint.
    failure: Mutex<Option<Arc<str>>>,
    /// Whether the host is in its cluster's list. Read and written under the cluster's lock.
    member: AtomicBool,
}

impl HostState {
    pub(super) fn new(flags: HealthFlags) -> Arc<Self> {
        Arc::new(Self { flags: flags.0.into(), ..Self::default() })
    }

    /// The cells that this shard, or the export thread, writes.
    pub(super) fn join(&self, shard: usize) -> ShardCopy<HostStats> {
        match shard {
            EXPORT => self.exported.get_or_init(Arc::default).join_at_use(shard),
            _ => self.stats.join_at_use(shard),
        }
    }

    /// The sum over all threads.
    pub fn sum(&self, read: fn(&HostStats) -> i64) -> i64 {
        self.stats.sum(read) + self.exported.get().map_or(0, |stats| stats.sum(read))
    }

    /// Why a health check failed last: `status 500, expected 200-299`.
    pub fn failure(&self) -> Option<Arc<str>> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn set_failure(&self, failure: Option<Arc<str>>) {
        *self.failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }
}

impl Host {
    pub(super) fn new(spec: HostSpec, state: Arc<HostState>) -> Arc<Self> {
        Arc::new(Self { name: spec.address.to_string().into(), spec, state })
    }

    /// Whether both are the same host, perhaps with different descriptions.
    pub fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.state, &other.state)
    }

    pub fn flags(&self) -> HealthFlags {
        HealthFlags(self.state.flags.load(Relaxed))
    }

    pub fn health(&self) -> Health {
        self.flags().health()
    }

    /// Sets or clears flags and returns them as they were. The caller holds the cluster's lock, so no change is lost.
    pub(super) fn edit_flags(&self, flags: HealthFlags, on: bool) -> HealthFlags {
        let before = self.flags();
        let after = if on { before.0 | flags.0 } else { before.0 & !flags.0 };
        self.state.flags.store(after, Relaxed);
        before
    }

    pub(super) fn is_member(&self) -> bool {
        self.state.member.load(Relaxed)
    }

    /// The caller holds the cluster's lock.
    pub(super) fn set_member(&self, member: bool) {
        self.state.member.store(member, Relaxed);
    }
}
