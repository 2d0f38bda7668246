//! Limits of connections over several shards, each with its own reactor: what is spare on one refuses no request on another,
//! and the limit still holds.

use super::connection::Connection;
use super::limits::{Overflow, Priority, Resource, ShardLimits, SharedLimits};
use super::{ConnectError, Lease, Loan, Pool, PoolGroup, PoolOptions, Work};
use crate::base::random::Random;
use crate::net::{MemoryListener, MemoryNetwork, Network};
use crate::ring::{PoolSize, Reactor, TaskId};
use crate::stats::{ClusterStats, HostStats, PerShard, Registry};
use ringway_config::model::{Address, CircuitBreakers};
use std::cell::RefCell;
use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Endpoints of the cluster.
const HOSTS: usize = 2;

/// A request: `None` while it waits.
type Got = Rc<RefCell<Option<Result<Lease, ConnectError>>>>;

struct Shard {
    reactor: Rc<Reactor>,
    limits: Rc<ShardLimits>,
    /// One for each endpoint.
    pools: Vec<Rc<Pool>>,
    _listeners: Vec<MemoryListener>,
}

struct World {
    registry: Arc<Registry>,
    shared: Arc<SharedLimits>,
    shards: Vec<Shard>,
    hosts: Vec<Arc<PerShard<HostStats>>>,
}

/// Either limit, of `max` connections.
fn cluster_limit(max: u32) -> CircuitBreakers {
    CircuitBreakers { max_connections: Some(max), ..CircuitBreakers::default() }
}

fn host_limit(max: u32) -> CircuitBreakers {
    CircuitBreakers { max_connections_per_host: Some(max), ..CircuitBreakers::default() }
}

impl World {
    fn new(count: usize, breakers: CircuitBreakers) -> Self {
        let registry = Registry::new();
        let shared = SharedLimits::new("app", &[breakers, CircuitBreakers::default()]);
        let hosts: Vec<Arc<PerShard<HostStats>>> = (0..HOSTS).map(|_| Arc::default()).collect();
        let shard = |number: usize| {
            let reactor = Reactor::simulated(number as u64, PoolSize { count: 16, size: 1024 });
            let network = Rc::new(MemoryNetwork::default());
            let stats: Arc<ClusterStats> = registry.scope("app", number);
            let limits = ShardLimits::new(&shared, stats.clone(), number);
            let group = PoolGroup::new(&reactor, limits.clone());
            let address = |host: usize| Address::Ip(([10, 0, 0, host as u8], 80).into());
            let pools = hosts.iter().enumerate().map(|(host, copies)| {
                let (options, copy) = (PoolOptions::plain(), Rc::new(copies.join(number)));
                let to = Network::Memory(network.clone());
                Pool::new(&reactor, &to, Rc::new([address(host)]), options, stats.clone(), &group, copy)
            });
            let pools = pools.collect();
            let _listeners = (0..HOSTS).map(|host| network.listen(address(host), 1024)).collect();
            Shard { reactor, limits, pools, _listeners }
        };
        let shards = (0..count).map(shard).collect();
        Self { registry, shared, shards, hosts }
    }

    /// A request on a shard to an endpoint.
    fn request(&self, shard: usize, host: usize) -> Got {
        self.ask(shard, host, Work::Main).0
    }

    fn ask(&self, shard: usize, host: usize, work: Work) -> (Got, TaskId) {
        let (got, pool) = (Got::default(), self.shards[shard].pools[host].clone());
        let result = got.clone();
        let task = self.shards[shard].reactor.spawn(async move {
            let lease = match pool.take() {
                Some(lease) => Ok(lease),
                None => pool.acquire(Priority::Default, work).await,
            };
            let _loan: Option<Loan> = lease.as_ref().ok().filter(|_| work == Work::Side).and_then(|it| pool.lend(it));
            result.replace(Some(lease));
            if work == Work::Side {
                // Cancelled, it closes its connection.
                let _held = Held(result);
                pending::<()>().await;
            }
        });
        (got, task)
    }

    /// A request ends well.
    fn end(&self, shard: usize, host: usize, got: &Got) {
        let lease = got.take().expect("it was answered").expect("it had a connection");
        let pool = self.shards[shard].pools[host].clone();
        self.shards[shard].reactor.spawn(async move { pool.put(lease) });
        self.turn(shard);
    }

    /// One turn of a shard, in which no time passes.
    fn turn(&self, shard: usize) {
        let mut turns = 0;
        self.shards[shard].reactor.run_until(|| {
            turns += 1;
            turns > 1
        });
        assert_eq!(self.shards[shard].reactor.facts().panics, 0);
    }

    /// All shards turn until nothing happens any more.
    fn settle(&self) {
        (0..8).for_each(|_| (0..self.shards.len()).for_each(|shard| self.turn(shard)));
    }

    fn advance(&self, time: Duration) {
        for shard in &self.shards {
            let reactor = shard.reactor.clone();
            shard.reactor.block_on(async move { reactor.sleep(time).await });
        }
    }

    /// Connections that stand.
    fn open(&self) -> i64 {
        self.registry.value("cluster.app.upstream_cx_active").expect("a statistic")
    }

    fn refused(&self) -> i64 {
        self.registry.value("cluster.app.upstream_cx_overflow").expect("a statistic")
    }

    fn used(&self) -> u32 {
        self.shared.usage(Resource::Connections, Priority::Default).used
    }

    fn to_host(&self, host: usize) -> i64 {
        self.hosts[host].sum(|stats| stats.cx_active.get())
    }

    fn spare(&self) -> i64 {
        self.hosts.iter().map(|host| host.sum(|stats| stats.cx_spare.get())).sum()
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shards.iter().for_each(|shard| shard.reactor.shut_down());
    }
}

struct Held(Got);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.take();
    }
}

#[track_caller]
fn assert_served(got: &Got) -> Rc<Connection> {
    match &*got.borrow() {
        Some(Ok(lease)) => lease.connection.clone(),
        Some(Err(error)) => panic!("refused: {}", error.reason()),
        None => panic!("it still waits"),
    }
}

#[track_caller]
fn assert_refused(got: &Got, overflow: Overflow) {
    match &*got.borrow() {
        Some(Err(ConnectError::Overflow(told))) => assert_eq!(*told, overflow),
        Some(_) => panic!("served, or another error"),
        None => panic!("it still waits"),
    }
}

/// The fault as it was seen: all connections idle on one shard, and every request on the other refused.
#[test]
fn idle_connections_of_one_shard_refuse_no_request_on_another() {
    for breakers in [cluster_limit(10), host_limit(10)] {
        let world = World::new(2, breakers);
        let first: Vec<Got> = (0..10).map(|_| world.request(0, 0)).collect();
        world.settle();
        first.iter().for_each(|got| drop(assert_served(got)));
        first.iter().for_each(|got| world.end(0, 0, got));
        assert_eq!((world.open(), world.spare()), (10, 10));
        let second: Vec<Got> = (0..10).map(|_| world.request(1, 0)).collect();
        world.settle();
        second.iter().for_each(|got| drop(assert_served(got)));
        assert_eq!((world.open(), world.to_host(0), world.refused(), world.spare()), (10, 10, 0, 0));
        assert_eq!(world.shards[0].pools[0].idle_count(), 0);
        // And back: the numbers of one shard are below zero now.
        second.iter().for_each(|got| world.end(1, 0, got));
        let third: Vec<Got> = (0..10).map(|_| world.request(0, 0)).collect();
        world.settle();
        third.iter().for_each(|got| drop(assert_served(got)));
        assert_eq!((world.open(), world.to_host(0), world.refused()), (10, 10, 0));
    }
}

/// Nothing is spare: the answer comes in the same turn, and no other shard is asked.
#[test]
fn over_the_limit_it_is_refused_at_once() {
    for (breakers, overflow) in [
        (cluster_limit(2), Overflow::Connections(Priority::Default)),
        (host_limit(2), Overflow::ConnectionsPerHost(Priority::Default)),
    ] {
        let world = World::new(2, breakers);
        let held = [world.request(0, 0), world.request(0, 0)];
        world.settle();
        held.iter().for_each(|got| drop(assert_served(got)));
        let late = world.request(1, 0);
        world.turn(1);
        assert_refused(&late, overflow);
        assert_eq!((world.open(), world.refused()), (2, 1));
    }
}

/// Of several requests, as many are served as there are spare connections; for the others it is said at once.
#[test]
fn one_connection_is_asked_for_once() {
    let world = World::new(2, cluster_limit(2));
    let (idle, held) = (world.request(0, 0), world.request(0, 0));
    world.settle();
    world.end(0, 0, &idle);
    let late: Vec<Got> = (0..3).map(|_| world.request(1, 0)).collect();
    world.turn(1);
    assert_eq!(late.iter().filter(|got| got.borrow().is_some()).count(), 2, "refused without a wait");
    world.settle();
    assert_eq!(late.iter().filter(|got| matches!(*got.borrow(), Some(Ok(_)))).count(), 1);
    assert_served(&held);
    assert_eq!((world.open(), world.used()), (2, 2));
}

/// The connection that was spare is in use again before its shard hears of the claim: no wait for what does not come.
#[test]
fn a_claim_that_comes_too_late_is_denied() {
    let world = World::new(2, cluster_limit(1));
    let first = world.request(0, 0);
    world.settle();
    world.end(0, 0, &first);
    let late = world.request(1, 0);
    world.turn(1);
    assert!(late.borrow().is_none(), "it asks");
    // The own shard's task is older than the wake.
    let again = world.shards[0].pools[0].take().expect("still idle");
    world.settle();
    assert_refused(&late, Overflow::Connections(Priority::Default));
    assert_eq!((world.open(), world.used()), (1, 1));
    drop(again);
}

/// A request that gives up, before the answer or when the place is already on its way, leaves nothing taken.
#[test]
fn a_withdrawn_claim_leaves_nothing_behind() {
    for turns_of_the_other in [0, 1] {
        for breakers in [cluster_limit(1), host_limit(1)] {
            let world = World::new(2, breakers);
            let first = world.request(0, 0);
            world.settle();
            world.end(0, 0, &first);
            let (late, task) = world.ask(1, 0, Work::Main);
            world.turn(1);
            assert!(late.borrow().is_none());
            (0..turns_of_the_other).for_each(|_| (0..2).for_each(|_| world.turn(0)));
            world.shards[1].reactor.cancel(task);
            world.settle();
            let kept = i64::from(turns_of_the_other == 0);
            assert_eq!((world.open(), world.to_host(0), world.spare()), (kept, kept, kept));
            // The limit is whole again.
            let next = world.request(1, 1);
            world.settle();
            assert_served(&next);
        }
    }
}

/// A claim that is withdrawn, and that its shard has not looked at, stands in the way of no other.
#[test]
fn a_withdrawn_claim_holds_no_connection_back() {
    for breakers in [cluster_limit(1), host_limit(1)] {
        let world = World::new(2, breakers);
        let first = world.request(0, 0);
        world.settle();
        world.end(0, 0, &first);
        let (_, task) = world.ask(1, 0, Work::Main);
        world.turn(1);
        world.shards[1].reactor.cancel(task);
        let next = world.request(1, 0);
        world.settle();
        drop(assert_served(&next));
        assert_eq!((world.open(), world.refused()), (1, 0));
    }
}

/// However many places have moved from one shard to the other, the limit holds, also while it is far.
#[test]
fn numbers_below_zero_allow_no_more() {
    let world = World::new(2, cluster_limit(2));
    for _ in 0..20 {
        let first = world.request(0, 0);
        world.settle();
        world.end(0, 0, &first);
        let held = [world.request(1, 0), world.request(1, 0)];
        world.settle();
        held.iter().for_each(|got| world.end(1, 0, got));
        world.shards.iter().for_each(|shard| shard.pools[0].trim(0));
        world.shared.relax();
    }
    let all: Vec<Got> = (0..10).map(|number| world.request(1 - number % 2, 0)).collect();
    world.settle();
    assert_eq!(all.iter().filter(|got| matches!(*got.borrow(), Some(Ok(_)))).count(), 2);
    assert_eq!(world.open(), 2);
}

/// A shard that does not answer: the request has its connect timeout, and the limit is whole afterwards.
#[test]
fn a_claim_waits_no_longer_than_a_connect() {
    let world = World::new(2, cluster_limit(1));
    let first = world.request(0, 0);
    world.settle();
    world.end(0, 0, &first);
    let late = world.request(1, 0);
    let reactor = world.shards[1].reactor.clone();
    world.shards[1].reactor.block_on(async move { reactor.sleep(Duration::from_secs(6)).await });
    assert_refused(&late, Overflow::Connections(Priority::Default));
    world.settle();
    assert_eq!((world.open(), world.spare(), world.used()), (1, 1, 1), "the idle connection is still there");
}

/// Under both limits, an idle connection to another endpoint makes no room at this one.
#[test]
fn each_limit_gets_what_it_lacks() {
    let breakers = CircuitBreakers { max_connections_per_host: Some(1), ..cluster_limit(2) };
    let world = World::new(3, breakers);
    let held = [world.request(0, 0), world.request(1, 1)];
    world.settle();
    world.end(1, 1, &held[1]);
    let late = world.request(2, 0);
    world.settle();
    assert_refused(&late, Overflow::ConnectionsPerHost(Priority::Default));
    assert_eq!((world.open(), world.spare()), (2, 1), "the idle one stays");
    world.end(0, 0, &held[0]);
    let late = [world.request(2, 0), world.request(2, 1)];
    world.settle();
    late.iter().for_each(|got| drop(assert_served(got)));
    assert_eq!((world.open(), world.to_host(0), world.to_host(1), world.used()), (2, 1, 1, 2));
}

/// Side work gives way to main traffic, on its own shard and on others, and never the other way round.
#[test]
fn side_work_gives_way() {
    for shard in [0, 1] {
        for breakers in [cluster_limit(1), host_limit(1)] {
            let world = World::new(2, breakers);
            let (side, _) = world.ask(0, 0, Work::Side);
            world.settle();
            assert_served(&side);
            let main = world.request(shard, 0);
            world.settle();
            assert_served(&main);
            assert!(side.borrow().is_none(), "given up");
            assert_eq!((world.open(), world.to_host(0), world.refused()), (1, 1, 0));
            let (side, _) = world.ask(1 - shard, 0, Work::Side);
            world.settle();
            assert!(matches!(*side.borrow(), Some(Err(ConnectError::Overflow(_)))));
            assert_served(&main);
        }
    }
}

/// Whatever happens in whatever order: the limit holds, nothing is left counted at the end, and a request that is alone gets
/// its connection wherever the idle ones are.
#[test]
fn no_order_of_events_breaks_the_limit() {
    for seed in 0..150 {
        let random = Random::seeded(seed);
        let (max, per_host) = ([1, 2, 5, 40][random.below(4) as usize], random.below(3) == 0);
        let world = World::new(3, if per_host { host_limit(max) } else { cluster_limit(max) });
        let mut requests: Vec<(usize, usize, Got, TaskId)> = Vec::new();
        for _ in 0..400 {
            let (shard, host) = (random.below(3) as usize, random.below(HOSTS as u64) as usize);
            match random.below(10) {
                0..4 => {
                    let (got, task) = world.ask(shard, host, Work::Main);
                    requests.push((shard, host, got, task));
                }
                4..7 if !requests.is_empty() => {
                    let (shard, host, got, task) = requests.swap_remove(random.below(requests.len() as u64) as usize);
                    match got.take() {
                        None => world.shards[shard].reactor.cancel(task),
                        Some(Ok(lease)) if random.below(4) > 0 => world.shards[shard].pools[host].put(lease),
                        Some(_) => {}
                    }
                }
                _ => world.turn(shard),
            }
            let limited = if per_host { (0..HOSTS).map(|host| world.to_host(host)).max() } else { Some(world.open()) };
            assert!(limited <= Some(max.into()), "seed {seed}: {limited:?} of {max}");
            if !per_host {
                assert!(world.used() <= max, "seed {seed}");
            }
        }
        world.settle();
        // One request at a time is never refused, wherever the idle connections are.
        requests.drain(..).for_each(|(shard, _, got, task)| {
            world.shards[shard].reactor.cancel(task);
            got.take();
        });
        world.settle();
        for turn in 0..6 {
            let got = world.request(turn % 3, turn % HOSTS);
            world.settle();
            drop(assert_served(&got));
            world.end(turn % 3, turn % HOSTS, &got);
        }
        world.shards.iter().for_each(|shard| shard.pools.iter().for_each(|pool| pool.trim(0)));
        world.settle();
        let left = (world.open(), world.used(), world.to_host(0), world.to_host(1), world.spare());
        assert_eq!(left, (0, 0, 0, 0, 0), "seed {seed}");
        world.advance(Duration::from_secs(6));
        let waits = |shard: &Shard| shard.limits.shared().usage(Resource::PendingRequests, Priority::Default).used;
        assert!(world.shards.iter().all(|shard| waits(shard) == 0));
    }
}
