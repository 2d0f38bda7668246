//! One endpoint on one shard: its connections and how busy it is.

use super::host::{Health, HealthFlags, Host};
use crate::base::clock::{Nanos, nanos};
use crate::stats::{HostStats, ShardCopy};
use crate::upstream::Pool;
use ringway_config::model::LbPolicy;
use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

/// The shortest latency of a failed request, in nanoseconds: an endpoint that fails fast must not look fast.
const FAILURE_LATENCY: f64 = 1e9;

/// Handed out as `Rc`: it may leave the cluster while exchanges use it.
pub struct Endpoint {
    pub host: Arc<Host>,
    /// The address in text form, for logs.
    pub name: Rc<str>,
    /// The host's name, where it has one.
    pub hostname: Option<Rc<str>>,
    pub pool: Rc<Pool>,
    /// This shard's cells of the host.
    pub stats: Rc<ShardCopy<HostStats>>,
    load: Rc<Load>,
    /// Requests in flight on this shard to all endpoints of the cluster together.
    cluster_active: Rc<Cell<u32>>,
    /// The time constant of the average's decay, in nanoseconds; 0: the policy needs no average.
    decay: f64,
    /// Since when this shard has seen the endpoint healthy without a break; `None` while it is not.
    healthy_since: Cell<Option<Nanos>>,
    /// The host's flags at this shard's last look: a view is made from one look at each host.
    flags: Cell<HealthFlags>,
}

/// How busy and how fast an endpoint is. It outlives a new description of the endpoint.
#[derive(Default)]
struct Load {
    /// Requests in flight on this shard.
    active: Cell<u32>,
    /// Moving average of the response times in nanoseconds, which follows peaks at once (peak EWMA); 0: no response yet.
    latency: Cell<f64>,
    latency_at: Cell<Nanos>,
}

impl Endpoint {
    pub(super) fn new(
        host: &Arc<Host>,
        stats: Rc<ShardCopy<HostStats>>,
        pool: Rc<Pool>,
        cluster_active: Rc<Cell<u32>>,
        policy: &LbPolicy,
    ) -> Rc<Self> {
        let decay = match policy {
            LbPolicy::PeakEwma { decay } => nanos(*decay).max(1) as f64,
            _ => 0.0,
        };
        Rc::new(Self {
            host: host.clone(),
            stats,
            name: Rc::from(&*host.name),
            hostname: host.spec.hostname.as_deref().map(Rc::from),
            pool,
            load: Rc::default(),
            cluster_active,
            decay,
            healthy_since: Cell::new(None),
            flags: Cell::new(host.flags()),
        })
    }

    /// The same endpoint with a new description. Its connections stay.
    pub(super) fn renewed(host: &Arc<Host>, shard: usize, before: &Self) -> Rc<Self> {
        let stats = Rc::new(host.state.join(shard));
        before.pool.set_addresses(host.spec.addresses(), stats.clone());
        Rc::new(Self {
            host: host.clone(),
            stats,
            name: Rc::from(&*host.name),
            hostname: host.spec.hostname.as_deref().map(Rc::from),
            pool: before.pool.clone(),
            load: before.load.clone(),
            cluster_active: before.cluster_active.clone(),
            decay: before.decay,
            healthy_since: before.healthy_since.clone(),
            flags: before.flags.clone(),
        })
    }

    /// Looks at the host's flags. An endpoint that has become unhealthy loses its connections as soon as they are idle, as
    /// in Envoy.
    pub(super) fn note_health(&self, now: Nanos) {
        let flags = self.host.flags();
        let before = self.flags.replace(flags).health();
        match flags.health() {
            Health::Healthy if self.healthy_since.get().is_none() => self.healthy_since.set(Some(now)),
            Health::Unhealthy => {
                if before != Health::Unhealthy {
                    self.pool.drain();
                }
                self.healthy_since.set(None);
            }
            Health::Healthy | Health::Degraded => {}
        }
    }

    /// The host's flags at the last look.
    pub(super) fn flags(&self) -> HealthFlags {
        self.flags.get()
    }

    pub(super) fn healthy_since(&self) -> Option<Nanos> {
        self.healthy_since.get()
    }

    /// Counts a request to this endpoint, which is in flight as long as the returned value lives.
    pub fn request_started(self: &Rc<Self>, now: Nanos) -> InFlight {
        let stats: &HostStats = &self.stats;
        stats.rq_total.inc();
        stats.rq_active.inc();
        self.load.active.set(self.load.active.get() + 1);
        self.cluster_active.set(self.cluster_active.get() + 1);
        InFlight { endpoint: self.clone(), started: now }
    }

    /// Requests in flight on this shard.
    pub fn active(&self) -> u32 {
        self.load.active.get()
    }

    /// The same for the whole cluster.
    pub(super) fn cluster_active(&self) -> u32 {
        self.cluster_active.get()
    }

    /// The average at this time: it decays while no response comes. `None` before the first response.
    pub(super) fn latency(&self, now: Nanos) -> Option<f64> {
        let latency = self.load.latency.get();
        (latency > 0.0).then(|| latency * self.share_left(now))
    }

    /// The share with which the past still counts.
    fn share_left(&self, now: Nanos) -> f64 {
        let elapsed = now.saturating_sub(self.load.latency_at.get());
        (-(elapsed as f64) / self.decay).exp()
    }

    fn observe(&self, latency: f64, now: Nanos) {
        if self.decay == 0.0 {
            return;
        }
        let left = self.share_left(now);
        let before = self.load.latency.get() * left;
        let average = if latency >= before { latency } else { before + latency * (1.0 - left) };
        self.load.latency.set(average.max(1.0));
        self.load.latency_at.set(now);
    }
}

/// A request on its way to an endpoint and back.
pub struct InFlight {
    endpoint: Rc<Endpoint>,
    started: Nanos,
}

impl InFlight {
    pub fn endpoint(&self) -> &Rc<Endpoint> {
        &self.endpoint
    }

    /// The response's head has come.
    pub fn responded(&self, now: Nanos) {
        self.endpoint.observe(now.saturating_sub(self.started) as f64, now);
    }

    /// No response has come, or one that says that the endpoint cannot serve.
    pub fn failed(&self, now: Nanos) {
        self.endpoint.observe((now.saturating_sub(self.started) as f64).max(FAILURE_LATENCY), now);
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let Endpoint { load, cluster_active, stats, .. } = &*self.endpoint;
        stats.rq_active.dec();
        load.active.set(load.active.get() - 1);
        cluster_active.set(cluster_active.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::testing::{cluster, endpoint};
    use crate::cluster::{Cluster, ClusterShared, HostSpec};
    use crate::net::{MemoryListener, MemoryNetwork, Network};
    use crate::ring::{PoolSize, Reactor};
    use crate::stats::Registry;
    use crate::upstream::limits::Priority;
    use crate::upstream::{Lease, Work};
    use ringway_config::model::{self, Address};

    /// One endpoint, and how a connection to it is made.
    struct World {
        reactor: Rc<Reactor>,
        registry: Arc<Registry>,
        network: Rc<MemoryNetwork>,
        shared: Arc<ClusterShared>,
        _listener: MemoryListener,
    }

    impl World {
        fn new() -> Self {
            let reactor = Reactor::simulated(1, PoolSize { count: 16, size: 1024 });
            let (registry, network) = (Registry::new(), Rc::new(MemoryNetwork::default()));
            let config = model::Cluster { endpoints: vec![endpoint(1)], ..cluster() };
            let shared = ClusterShared::new(&config, &registry, 1, None);
            let _listener = network.listen(shared.hosts()[0].spec.address.clone(), 1024);
            Self { reactor, registry, network, shared, _listener }
        }

        fn cluster(&self) -> Rc<Cluster> {
            Cluster::new(&self.shared, &self.reactor, &Network::Memory(self.network.clone()), &self.registry, 0, None)
        }

        fn connect(&self, pool: &Rc<Pool>) -> Lease {
            let pool = pool.clone();
            let lease = self.reactor.block_on(async move { pool.acquire(Priority::Default, Work::Main).await });
            lease.expect("the listener is there")
        }
    }

    /// Whatever made it unhealthy.
    #[test]
    fn an_endpoint_that_becomes_unhealthy_keeps_no_idle_connection() {
        let world = World::new();
        let host = world.shared.hosts()[0].clone();
        for degraded in [false, true] {
            world.shared.set_flag(&host, HealthFlags::DEGRADED_ACTIVE_HC, degraded);
            let cluster = world.cluster();
            let endpoint = cluster.endpoints()[0].clone();
            endpoint.pool.put(world.connect(&endpoint.pool));
            endpoint.note_health(1);
            assert_eq!((endpoint.pool.idle_count(), endpoint.healthy_since().is_some()), (1, !degraded));
            world.shared.set_flag(&host, HealthFlags::FAILED_OUTLIER_CHECK, true);
            endpoint.note_health(2);
            assert_eq!((endpoint.pool.idle_count(), endpoint.healthy_since()), (0, None), "{degraded}");
            world.shared.set_flag(&host, HealthFlags::FAILED_OUTLIER_CHECK, false);
        }
    }

    /// Envoy: DrainExistingConnections. A connection made afterwards, in panic, is kept like any other.
    #[test]
    fn an_endpoint_that_becomes_unhealthy_loses_busy_connections_when_they_are_idle() {
        let world = World::new();
        let (host, cluster) = (world.shared.hosts()[0].clone(), world.cluster());
        let endpoint = cluster.endpoints()[0].clone();
        let pool = &endpoint.pool;
        let busy = [world.connect(pool), world.connect(pool)];
        world.shared.set_flag(&host, HealthFlags::FAILED_ACTIVE_HC, true);
        cluster.tend();
        let [ends_while_failed, ends_later] = busy;
        pool.put(ends_while_failed);
        assert_eq!((pool.idle_count(), cluster.stats.upstream_cx_destroy_local.get()), (0, 1));
        pool.put(world.connect(pool));
        assert_eq!(pool.idle_count(), 1);
        world.shared.set_flag(&host, HealthFlags::FAILED_ACTIVE_HC, false);
        cluster.tend();
        pool.put(ends_later);
        assert_eq!((pool.idle_count(), cluster.stats.upstream_cx_destroy_local.get()), (1, 2));
    }

    #[test]
    fn a_removed_endpoint_loses_each_connection_when_it_is_idle() {
        let world = World::new();
        let cluster = world.cluster();
        let endpoint = cluster.endpoints()[0].clone();
        let busy = world.connect(&endpoint.pool);
        world.shared.set_members(Vec::new());
        cluster.tend();
        // One connection from before, and one that is made although the endpoint is gone.
        for connection in [busy, world.connect(&endpoint.pool)] {
            endpoint.pool.put(connection);
            assert_eq!(endpoint.pool.idle_count(), 0);
        }
        assert_eq!(cluster.stats.upstream_cx_active.get(), 0);
    }

    /// Envoy: LogicalHost.
    #[test]
    fn an_endpoint_that_moves_keeps_its_requests_and_connections() {
        let world = World::new();
        let at = |x: u8| HostSpec {
            logical_name: Some("app.test:80".into()),
            ..HostSpec::new(&endpoint(1), Address::Ip(([10, 0, 0, x], 80).into()))
        };
        world.shared.set_members(vec![at(1)]);
        let cluster = world.cluster();
        let before = cluster.endpoints()[0].clone();
        let (idle, busy) = (world.connect(&before.pool), world.connect(&before.pool));
        before.pool.put(idle);
        let in_flight = before.request_started(0);
        world.shared.set_members(vec![at(2)]);
        cluster.tend();
        let after = cluster.endpoints()[0].clone();
        assert_eq!((&*after.name, after.active(), after.pool.idle_count()), ("10.0.0.2:80", 1, 1));
        let figures = || after.host.state.stats.sum(|stats| stats.rq_active.get() + 10 * stats.rq_total.get() as i64);
        assert_eq!(figures(), 11);
        before.pool.put(busy);
        drop(in_flight);
        assert_eq!((after.active(), after.pool.idle_count(), figures()), (0, 2, 10));
        let _listener = world.network.listen(after.host.spec.address.clone(), 1024);
        let remote = world.connect(&after.pool).connection.remote.expect("an address");
        assert_eq!(remote.to_string(), "10.0.0.2:80");
    }
}
