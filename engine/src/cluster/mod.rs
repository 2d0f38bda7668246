//! Clusters as one shard sees them: endpoints with their pools, and the policy that picks one.
//!
//! What the shards share of a cluster is in members.rs. From that, a shard makes its own view, and makes it again when the
//! members or their health have changed, which it notices at its next pick.

mod accounting;
pub mod call;
mod counts;
pub mod discovery;
mod endpoint;
pub mod health;
mod host;
pub mod lb;
mod members;
pub mod outlier;
mod report;
mod supervisor;
#[cfg(test)]
pub(crate) mod testing;
mod warm;

pub use accounting::{Accounting, RequestEnd};
pub use endpoint::{Endpoint, InFlight};
pub use host::{Health, HealthFlags, Host, HostSpec};
pub use lb::{NoHost, PickContext};
pub use members::{CONTROL, ClusterShared, EXPORT, MembersChange, transport_scopes};
pub use report::{Report, Reports};
pub use supervisor::Supervisor;
pub use warm::{FirstLook, Warm, Warming};

use crate::base::clock::Nanos;
use crate::net::Network;
use crate::ring::Reactor;
use crate::stats::{ClusterStats, ClusterTlsStats, Registry};
use crate::upstream::limits::{ShardLimits, SharedLimits};
use crate::upstream::{Pool, PoolGroup, PoolOptions, Split};
use lb::{Balancer, Tables, Workshop};
use outlier::Outcome;
use ringway_config::model;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::rc::Rc;
use std::sync::Arc;

/// One cluster on one shard.
pub struct Cluster {
    pub config: Arc<model::Cluster>,
    pub shared: Arc<ClusterShared>,
    pub stats: Arc<ClusterStats>,
    /// Circuit breakers.
    pub limits: Rc<ShardLimits>,
    pools: Rc<PoolGroup>,
    shard: usize,
    reactor: Rc<Reactor>,
    network: Network,
    options: PoolOptions,
    /// Of a cluster with TLS.
    tls_stats: Option<Arc<ClusterTlsStats>>,
    /// One shard writes the gauges about the whole process, such as the number of subsets: gauges are added up over shards.
    speaks: bool,
    /// Requests in flight on this shard, to all endpoints together.
    active: Rc<Cell<u32>>,
    view: RefCell<View>,
    /// The generation that the view was made from.
    seen: Cell<u64>,
    /// The earliest time of the next view: a storm of changes to a large cluster must not take all of the shard's time.
    not_before: Cell<Nanos>,
    /// The view was out of date when it was made, and the next one is made at once.
    late: Cell<bool>,
    /// What the program log said last about panic.
    panic_said: Cell<bool>,
}

struct View {
    hosts: Arc<[Arc<Host>]>,
    /// One for each host, in the same order.
    endpoints: Vec<Rc<Endpoint>>,
    balancer: Balancer,
    /// The balancer's.
    tables: Tables,
}

impl Cluster {
    /// `before`: the cluster of this name in the previous configuration, whose hash tables serve until those of this one
    /// are computed.
    pub fn new(
        shared: &Arc<ClusterShared>,
        reactor: &Rc<Reactor>,
        network: &Network,
        registry: &Registry,
        shard: usize,
        before: Option<&Self>,
    ) -> Rc<Self> {
        let config = shared.config.clone();
        let stats: Arc<ClusterStats> = registry.scope(&config.name, shard);
        let options = PoolOptions {
            connect_timeout: config.connect_timeout,
            idle_timeout: config.idle_timeout,
            max_idle: config.max_idle_connections as usize,
            max_requests: config.max_requests_per_connection,
            protocol: config.protocol,
            http2: config.http2,
            tls: None,
            split: Split::None,
        };
        // Under the same limits, but not counted together with the shards.
        let apart = (shard == EXPORT).then(|| SharedLimits::new(&config.name, &config.circuit_breakers));
        let limits = ShardLimits::new(apart.as_ref().unwrap_or(&shared.limits), stats.clone(), shard);
        // The gauge may hold the number of an earlier cluster of this name. The first view sets it where there are subsets.
        stats.lb_subsets_active.set(0);
        let tables = before.map(|before| before.view.borrow().tables.for_another()).unwrap_or_default();
        let cluster = Rc::new(Self {
            view: RefCell::new(View {
                hosts: Arc::new([]),
                endpoints: Vec::new(),
                balancer: Balancer::empty(),
                tables,
            }),
            config,
            shared: shared.clone(),
            pools: PoolGroup::new(reactor, limits.clone()),
            limits,
            shard,
            stats,
            reactor: reactor.clone(),
            network: network.clone(),
            options,
            tls_stats: shared.speaks_tls().then(|| registry.scope(&shared.config.name, shard)),
            speaks: shard == 0,
            active: Rc::default(),
            seen: Cell::new(u64::MAX),
            not_before: Cell::new(0),
            late: Cell::new(false),
            panic_said: Cell::new(before.is_some_and(|before| before.panic_said.get())),
        });
        cluster.refresh();
        cluster
    }

    /// The endpoint for the next request.
    ///
    /// # Errors
    /// No endpoint may be used: response flag UH.
    pub fn pick(&self, context: &PickContext<'_>) -> Result<Rc<Endpoint>, NoHost> {
        self.catch_up();
        let view = self.view.borrow();
        let picked =
            view.balancer.pick(&view.endpoints, context, self.reactor.random(), self.reactor.now(), &self.stats);
        match picked {
            Some(index) => Ok(view.endpoints[index as usize].clone()),
            None => {
                self.stats.upstream_cx_none_healthy.inc();
                Err(Self::why_no_host(&view, context))
            }
        }
    }

    #[cold]
    fn why_no_host(view: &View, context: &PickContext<'_>) -> NoHost {
        if view.endpoints.is_empty() {
            NoHost::Dns
        } else if view.balancer.is_outside(context) {
            NoHost::Subset
        } else {
            NoHost::Unhealthy
        }
    }

    /// Counts the outcome of a request to an endpoint, for outlier detection and for the endpoint's statistics.
    #[inline]
    pub fn report(&self, endpoint: &Endpoint, outcome: Outcome) {
        self.shared.report(&endpoint.host, &endpoint.stats, outcome);
    }

    /// Whether endpoints may refuse a request without looking at it, so that it can be sent again whatever it is.
    pub fn may_refuse(&self) -> bool {
        self.config.protocol != model::UpstreamProtocol::Http1
    }

    /// The endpoints there are at present, healthy or not.
    pub fn endpoints(&self) -> Vec<Rc<Endpoint>> {
        self.view.borrow().endpoints.clone()
    }

    /// Regular work off the request path: a cluster without requests closes its connections to removed endpoints, too,
    /// limits that were nearly reached are looked at again, and the program log says that panic has begun or ended.
    pub fn tend(&self) {
        self.catch_up();
        let keeps_limits = self.speaks || self.shard == EXPORT;
        if keeps_limits && self.limits.shared().is_limited() {
            self.limits.shared().relax();
        }
        if !self.speaks {
            return;
        }
        let in_panic = self.view.borrow().balancer.is_in_panic();
        if self.panic_said.replace(in_panic) != in_panic {
            self.say_panic(in_panic);
        }
    }

    fn say_panic(&self, begins: bool) {
        let (cluster, view) = (&self.config.name, self.view.borrow());
        let usable = view.endpoints.iter().filter(|endpoint| endpoint.flags().health() != Health::Unhealthy).count();
        let total = view.endpoints.len();
        if !begins {
            tracing::info!(target: "ringway::health", %cluster, usable, total, "panic is over: health counts again");
        } else if self.config.load_balancing.fail_traffic_on_panic {
            tracing::warn!(target: "ringway::health", %cluster, usable, total, "panic: requests get status 503");
        } else {
            tracing::warn!(
                target: "ringway::health", %cluster, usable, total,
                "panic: requests go to all endpoints, healthy or not (panic_threshold)"
            );
        }
    }

    /// Makes a new view if anything has changed.
    fn catch_up(&self) {
        let is_due = self.shared.generation() != self.seen.get() || self.view.borrow().tables.are_due();
        if is_due && self.reactor.now() >= self.not_before.get() {
            self.refresh();
        }
    }

    /// Closes idle connections except for `keep` to each endpoint.
    pub fn trim_pools(&self, keep: usize) {
        self.view.borrow().endpoints.iter().for_each(|endpoint| endpoint.pool.trim(keep));
    }

    /// Makes the view again.
    #[cold]
    fn refresh(&self) {
        // The generation is read first: a change in between leads to another view.
        self.seen.set(self.shared.generation());
        let hosts = self.shared.hosts();
        let now = self.reactor.now();
        let mut view = self.view.borrow_mut();
        let mut gone = Vec::new();
        if !Arc::ptr_eq(&hosts, &view.hosts) {
            let endpoints = self.adopt(&hosts, &view.endpoints);
            gone = std::mem::replace(&mut view.endpoints, endpoints);
            view.hosts = hosts;
        }
        view.endpoints.iter().for_each(|endpoint| endpoint.note_health(now));
        let stats = self.speaks.then_some(&self.stats);
        let tables = view.tables.next();
        let workshop = Workshop { reactor: &self.reactor, before: &view.tables, now: &tables };
        let random = self.reactor.random();
        view.balancer = Balancer::new(&self.config, &view.endpoints, random, now, &view.balancer, stats, workshop);
        view.tables = tables;
        self.rest(now, view.balancer.cost());
        if !gone.is_empty() {
            let kept: HashSet<*const Pool> = view.endpoints.iter().map(|endpoint| Rc::as_ptr(&endpoint.pool)).collect();
            gone.retain(|endpoint| !kept.contains(&Rc::as_ptr(&endpoint.pool)));
        }
        drop(view);
        // Exchanges that are under way keep their endpoint until they end.
        gone.iter().for_each(|endpoint| endpoint.pool.close());
    }

    /// Sets when the next view may be made. A view that was out of date when it was made is replaced at once, but not twice
    /// in a row, which would be a storm.
    fn rest(&self, now: Nanos, cost: u64) {
        let late = self.shared.generation() != self.seen.get() && !self.late.get();
        self.late.set(late);
        self.not_before.set(if cost > COST_FREE && !late { now + cost * COST_SHARE } else { 0 });
    }

    /// Endpoints for `hosts`, existing ones where possible. Most changes leave the start and the end of the list as they are,
    /// so only the part in between is looked up by identity.
    fn adopt(&self, hosts: &[Arc<Host>], before: &[Rc<Endpoint>]) -> Vec<Rc<Endpoint>> {
        let same = |(endpoint, host): &(&Rc<Endpoint>, &Arc<Host>)| Arc::ptr_eq(&endpoint.host, host);
        let head = before.iter().zip(hosts).take_while(same).count();
        let (changed, new) = (&before[head..], &hosts[head..]);
        let tail = changed.iter().rev().zip(new.iter().rev()).take_while(same).count();
        let (changed, kept) = changed.split_at(changed.len() - tail);
        let new = &new[..new.len() - tail];
        let known: HashMap<_, _> = changed.iter().map(|endpoint| (endpoint.host.spec.identity(), endpoint)).collect();
        let endpoint = |host: &Arc<Host>| match known.get(&host.spec.identity()) {
            Some(endpoint) if Arc::ptr_eq(&endpoint.host, host) => Rc::clone(endpoint),
            Some(before) if before.host.is(host) => Endpoint::renewed(host, self.shard, before),
            // New, or removed and added again since the last look: another host with the same identity.
            _ => self.endpoint(host),
        };
        before[..head].iter().cloned().chain(new.iter().map(endpoint)).chain(kept.iter().cloned()).collect()
    }

    fn endpoint(&self, host: &Arc<Host>) -> Rc<Endpoint> {
        let stats = Rc::new(host.state.join(self.shard));
        let pool = Pool::new(
            &self.reactor,
            &self.network,
            host.spec.addresses(),
            PoolOptions {
                tls: self.shared.connector(&host.spec, self.tls_stats.as_ref()),
                split: if self.shared.is_by_name(&host.spec) { Split::ByName } else { Split::None },
                ..self.options.clone()
            },
            self.stats.clone(),
            &self.pools,
            stats.clone(),
        );
        Endpoint::new(host, stats, pool, self.active.clone(), &self.config.lb_policy)
    }
}

/// Views that cost fewer nanoseconds than this are made at every change.
const COST_FREE: u64 = 100_000;
/// Views of one cluster take at most one part in `COST_SHARE` of a shard's time.
const COST_SHARE: u64 = 10;

#[cfg(test)]
mod tests {
    use super::testing::{World, cluster, endpoint};
    use super::*;
    use crate::ring::PoolSize;

    #[test]
    fn a_view_is_made_from_one_look_at_each_host() {
        let world = World::new(&model::Cluster { endpoints: vec![endpoint(1), endpoint(2)], ..cluster() }, 1);
        let (cluster, now) = (&world.cluster, world.reactor.now());
        let (endpoints, random) = (cluster.endpoints(), world.reactor.random());
        let picked = || {
            let tables = Tables::default();
            let workshop = Workshop { reactor: &world.reactor, before: &tables, now: &Tables::default() };
            let balancer = Balancer::new(&cluster.config, &endpoints, random, now, &Balancer::empty(), None, workshop);
            let pick = || balancer.pick(&endpoints, &PickContext::default(), random, now, &cluster.stats);
            (0..10).filter_map(|_| pick()).collect::<HashSet<_>>()
        };
        // A change between the look and the making.
        world.shared.set_flag(&endpoints[0].host, HealthFlags::FAILED_OUTLIER_CHECK, true);
        assert_eq!(picked(), HashSet::from([0, 1]));
        endpoints.iter().for_each(|endpoint| endpoint.note_health(now));
        assert_eq!(picked(), HashSet::from([1]));
    }

    /// Whatever discovery does to the list, an endpoint that stays keeps its pool, at its new place.
    #[test]
    fn endpoints_follow_their_hosts_through_any_change_of_the_list() {
        let spec = |number: u32, weight: u32| {
            let endpoint = endpoint(number);
            let model::EndpointTarget::Address(address) = endpoint.target.clone() else { panic!("an address") };
            HostSpec { weight, ..HostSpec::new(&endpoint, address) }
        };
        let world = World::new(&cluster(), 1);
        let random = world.reactor.random();
        let mut pools: HashMap<String, *const Pool> = HashMap::new();
        for step in 0..300 {
            let mut specs: Vec<_> = world.shared.hosts().iter().map(|host| host.spec.clone()).collect();
            for _ in 0..=random.below(3) {
                let at = random.below(specs.len() as u64 + 1) as usize;
                match random.below(5) {
                    0 if at < specs.len() => drop(specs.remove(at)),
                    1 if at < specs.len() => specs[at].weight += 1,
                    2 => specs.rotate_left(at),
                    _ if specs.len() < 20 => specs.insert(at, spec(random.below(40) as u32, 1)),
                    _ => {}
                }
            }
            world.shared.set_members(specs);
            world.cluster.tend();
            let (hosts, endpoints) = (world.shared.hosts(), world.cluster.endpoints());
            assert_eq!(endpoints.len(), hosts.len());
            for (host, endpoint) in hosts.iter().zip(&endpoints) {
                assert!(Arc::ptr_eq(host, &endpoint.host), "step {step}");
                let known = pools.get(&*host.name).copied();
                assert!(known.is_none_or(|pool| pool == Rc::as_ptr(&endpoint.pool)), "step {step}: {}", host.name);
            }
            let pool = |endpoint: &Rc<Endpoint>| (endpoint.name.to_string(), Rc::as_ptr(&endpoint.pool));
            pools = endpoints.iter().map(pool).collect();
        }
    }

    /// Between two looks, that is: load, connections and the start of its healthy time are those of a new host.
    #[test]
    fn an_endpoint_that_was_removed_and_added_again_is_a_new_one() {
        let world = World::new(&model::Cluster { endpoints: vec![endpoint(1)], ..cluster() }, 1);
        let (before, specs) = (world.cluster.endpoints()[0].clone(), vec![world.shared.hosts()[0].spec.clone()]);
        let in_flight = before.request_started(world.reactor.now());
        world.advance(std::time::Duration::from_secs(60));
        world.shared.set_members(Vec::new());
        world.shared.set_members(specs);
        world.cluster.tend();
        let after = world.cluster.endpoints()[0].clone();
        assert_eq!((before.active(), after.active()), (1, 0));
        assert_eq!(after.healthy_since(), Some(world.reactor.now()), "it starts slowly");
        assert!(!Rc::ptr_eq(&before.pool, &after.pool));
        drop(in_flight);
        assert_eq!((before.active(), after.active()), (0, 0));
    }

    #[test]
    fn subsets_end_with_the_configuration_that_has_them() {
        let registry = Registry::new();
        let selectors = vec![vec!["zone".into()]];
        let subsets =
            model::Subsets { selectors, fallback: model::SubsetFallback::NoEndpoint, default_subset: Vec::new() };
        let metadata = vec![("zone".into(), "a".into())];
        let with = model::Cluster { endpoints: vec![model::Endpoint { metadata, ..endpoint(1) }], ..cluster() };
        let mut config = with.clone();
        config.load_balancing.subsets = Some(subsets);
        let active = [config, with].map(|config| {
            let reactor = Reactor::simulated(1, PoolSize { count: 16, size: 1024 });
            let network = Network::Memory(Rc::default());
            Cluster::new(&ClusterShared::new(&config, &registry, 1, None), &reactor, &network, &registry, 0, None);
            registry.value("cluster.app.lb_subsets_active").expect("a statistic")
        });
        assert_eq!(active, [1, 0]);
    }

    #[test]
    fn a_view_that_is_out_of_date_at_birth_is_made_again_at_once() {
        const COST: u64 = 2 * COST_FREE;
        let world = World::new(&model::Cluster { endpoints: vec![endpoint(1)], ..cluster() }, 1);
        let (cluster, now) = (&world.cluster, world.reactor.now());
        let rests = || cluster.not_before.get();
        cluster.rest(now, COST);
        assert_eq!(rests(), now + COST * COST_SHARE, "nothing has changed meanwhile");
        world.shared.set_flag(&world.shared.hosts()[0], HealthFlags::DEGRADED_ACTIVE_HC, true);
        cluster.rest(now, COST);
        assert_eq!(rests(), 0);
        cluster.rest(now, COST);
        assert_eq!(rests(), now + COST * COST_SHARE, "a storm does not take all the time");
        cluster.rest(now, COST);
        assert_eq!(rests(), 0);
        cluster.tend();
        assert_eq!(cluster.seen.get(), world.shared.generation());
    }
}
