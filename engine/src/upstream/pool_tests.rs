//! Which request gets which connection, on both wires.

use super::connection::Connection;
use super::limits::{Priority, ShardLimits, SharedLimits};
use super::pool::{Pool, PoolOptions};
use super::{ConnectError, Lease, PoolGroup, Work};
use crate::net::{MemoryListener, MemoryNetwork, Network, PipeEnd};
use crate::ring::{PoolSize, Reactor, TaskId};
use crate::stats::{ClusterStats, HostStats, PerShard, Registry};
use UpstreamProtocol::{Http1, Http2 as SHARED};
use ringway_config::model::{Address, CircuitBreakers, Http2Options, UpstreamProtocol};
use std::cell::RefCell;
use std::future::pending;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// A request, and the connection that it got.
type Served = (char, Option<Rc<Connection>>);

/// One pool, and what came of each request, in the order in which it came: its name, and whether it got a connection.
struct World {
    reactor: Rc<Reactor>,
    network: Rc<MemoryNetwork>,
    listener: Option<MemoryListener>,
    stats: Arc<ClusterStats>,
    pool: Rc<Pool>,
    /// The endpoint's ends.
    accepted: RefCell<Vec<PipeEnd>>,
    served: Rc<RefCell<Vec<Served>>>,
}

fn address() -> Address {
    Address::Ip(([10, 0, 0, 1], 80).into())
}

impl World {
    fn new(protocol: UpstreamProtocol, breakers: CircuitBreakers) -> Self {
        let reactor = Reactor::simulated(1, PoolSize { count: 16, size: 1024 });
        let network = Rc::new(MemoryNetwork::default());
        let stats: Arc<ClusterStats> = Registry::new().scope("app", 0);
        let shared = SharedLimits::new("app", &[breakers, CircuitBreakers::default()]);
        let group = PoolGroup::new(&reactor, ShardLimits::new(&shared, stats.clone(), 0));
        let options = PoolOptions {
            max_idle: 16,
            protocol,
            http2: Http2Options { max_concurrent_streams: 2, ..Http2Options::default() },
            ..PoolOptions::plain()
        };
        let host = Rc::new(Arc::<PerShard<HostStats>>::default().join(0));
        let to = Network::Memory(network.clone());
        let pool = Pool::new(&reactor, &to, Rc::new([address()]), options, stats.clone(), &group, host);
        let listener = Some(network.listen(address(), 1024));
        Self { reactor, network, listener, stats, pool, accepted: RefCell::default(), served: Rc::default() }
    }

    /// A request that waits for a connection, and keeps it.
    fn request(&self, name: char) -> TaskId {
        let (pool, served) = (self.pool.clone(), self.served.clone());
        self.reactor.spawn(async move {
            let lease = match pool.take() {
                Some(lease) => Ok(lease),
                None => pool.acquire(Priority::Default, Work::Main).await,
            };
            served.borrow_mut().push((name, lease.as_ref().ok().map(|lease| lease.connection.clone())));
            let _lease: Result<Lease, ConnectError> = lease;
            pending::<()>().await;
        })
    }

    fn requests(&self, names: &str) {
        for name in names.chars() {
            self.request(name);
        }
    }

    fn lease(&self) -> Lease {
        let pool = self.pool.clone();
        let lease = self.reactor.block_on(async move { pool.acquire(Priority::Default, Work::Main).await });
        lease.expect("the listener is there")
    }

    /// In a task, which runs behind those that there are and before what they spawn.
    fn then(&self, what: impl FnOnce() + 'static) {
        self.reactor.spawn(async move { what() });
    }

    fn settle(&self) {
        let reactor = self.reactor.clone();
        self.reactor.block_on(async move { reactor.sleep(Duration::from_millis(1)).await });
        assert_eq!(self.reactor.facts().panics, 0);
        while let Some(listener) = &self.listener
            && let Poll::Ready(end) = listener.poll_accept(&self.reactor)
        {
            self.accepted.borrow_mut().push(end);
        }
    }

    /// Names in order; in upper case those that got no connection.
    fn order(&self) -> String {
        let name = |(name, got): &Served| if got.is_some() { *name } else { name.to_ascii_uppercase() };
        self.served.borrow().iter().map(name).collect()
    }

    fn connection_of(&self, name: char) -> Rc<Connection> {
        let served = self.served.borrow();
        served.iter().find(|entry| entry.0 == name).and_then(|entry| entry.1.clone()).expect("it got one")
    }

    fn connections(&self) -> (i64, u64) {
        (self.stats.upstream_cx_active.get(), self.stats.upstream_cx_total.get())
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.reactor.shut_down();
    }
}

#[test]
fn waiters_are_served_in_order() {
    for (protocol, connections) in [(Http1, 5), (SHARED, 3)] {
        let world = World::new(protocol, CircuitBreakers::default());
        world.requests("abcde");
        world.settle();
        assert_eq!((world.order().as_str(), world.connections()), ("abcde", (connections, connections as u64)));
    }
}

#[test]
fn a_freed_connection_serves_the_oldest_waiter_and_the_surplus_is_idle() {
    let world = World::new(Http1, CircuitBreakers::default());
    let lease = world.lease();
    let freed = lease.connection.clone();
    world.requests("ab");
    let pool = world.pool.clone();
    world.then(move || pool.put(lease));
    world.settle();
    assert_eq!(world.order(), "ab");
    assert!(Rc::ptr_eq(&world.connection_of('a'), &freed));
    assert_eq!((world.connections(), world.pool.idle_count()), ((3, 3), 1));
}

#[test]
fn a_freed_place_serves_the_oldest_waiter() {
    let world = World::new(SHARED, CircuitBreakers::default());
    let (first, _second) = (world.lease(), world.lease());
    let full = first.connection.clone();
    world.requests("ab");
    world.then(move || drop(first));
    world.settle();
    assert_eq!((world.order().as_str(), world.connections()), ("ab", (2, 2)));
    assert!(Rc::ptr_eq(&world.connection_of('a'), &full) && !Rc::ptr_eq(&world.connection_of('b'), &full));
    // The next goes to the one with more room.
    assert!(Rc::ptr_eq(&world.lease().connection, &world.connection_of('b')));
}

#[test]
fn a_failed_connect_fails_the_oldest_waiter_only() {
    let mut world = World::new(Http1, CircuitBreakers::default());
    let lease = world.lease();
    world.settle();
    world.listener = None;
    world.requests("abc");
    let pool = world.pool.clone();
    world.then(move || pool.put(lease));
    world.settle();
    // Three connects fail; the first two waiters behind the freed connection hear of one each.
    assert_eq!((world.order().as_str(), world.stats.upstream_cx_connect_fail.get()), ("aBC", 3));
    world.listener = Some(world.network.listen(address(), 1024));
    world.request('d');
    world.settle();
    assert_eq!(world.order(), "aBCd");
}

#[test]
fn waiters_of_a_shared_connect_that_failed_get_another_one_each() {
    let mut world = World::new(SHARED, CircuitBreakers::default());
    world.listener = None;
    world.requests("abc");
    world.settle();
    assert_eq!((world.order().as_str(), world.stats.upstream_cx_connect_fail.get()), ("ABC", 3));
    assert_eq!(world.connections(), (0, 0));
}

#[test]
fn a_connect_that_is_not_wanted_any_more_is_given_up() {
    for protocol in [Http1, SHARED] {
        let world = World::new(protocol, CircuitBreakers::default());
        let task = world.request('a');
        let reactor = world.reactor.clone();
        world.then(move || reactor.cancel(task));
        world.settle();
        assert_eq!((world.order().as_str(), world.connections(), world.pool.idle_count()), ("", (0, 0), 0));
        assert!(world.accepted.borrow().is_empty(), "none was made");
    }
}

#[test]
fn a_waiter_that_leaves_gives_its_turn_to_the_next() {
    for (protocol, connections) in [(Http1, 2), (SHARED, 1)] {
        let world = World::new(protocol, CircuitBreakers::default());
        let task = world.request('a');
        world.request('b');
        let reactor = world.reactor.clone();
        world.then(move || reactor.cancel(task));
        world.settle();
        assert_eq!((world.order().as_str(), world.connections().1), ("b", connections));
    }
}

#[test]
fn over_the_limit_it_fails_at_once_and_an_idle_connection_makes_room() {
    for (protocol, places) in [(Http1, 1), (SHARED, 2)] {
        let world = World::new(protocol, CircuitBreakers { max_connections: Some(1), ..CircuitBreakers::default() });
        let leases: Vec<Lease> = (0..places).map(|_| world.lease()).collect();
        world.request('a');
        world.settle();
        assert_eq!(world.order(), "A", "{protocol:?}");
        leases.into_iter().for_each(|lease| world.pool.put(lease));
        world.request('b');
        world.settle();
        assert_eq!((world.order().as_str(), world.connections()), ("Ab", (1, 1)));
    }
}

/// A shared connection ends when its pool wants no more of it, but not before its last exchange.
#[test]
fn a_drained_connection_ends_with_its_last_exchange() {
    let world = World::new(SHARED, CircuitBreakers::default());
    let (first, second) = (world.lease(), world.lease());
    world.pool.drain();
    drop(first);
    world.settle();
    assert_eq!(world.connections(), (1, 1));
    let next = world.lease();
    assert!(!Rc::ptr_eq(&next.connection, &second.connection), "it gets no other");
    drop(second);
    world.settle();
    assert_eq!(world.connections(), (1, 2));
}

/// The peer ends it: all exchanges on it hear of that, and it is counted once.
#[test]
fn the_end_of_a_shared_connection_is_counted_once() {
    let world = World::new(SHARED, CircuitBreakers::default());
    let leases = [world.lease(), world.lease()];
    world.settle();
    world.accepted.borrow_mut().clear();
    world.settle();
    assert_eq!((world.connections(), world.stats.upstream_cx_destroy_remote.get()), ((0, 1), 1));
    drop(leases);
    world.request('a');
    world.settle();
    assert_eq!((world.order().as_str(), world.connections()), ("a", (1, 2)));
    let stats = &world.stats;
    assert_eq!((stats.upstream_cx_destroy.get(), stats.upstream_cx_destroy_with_active_rq.get()), (1, 1));
}
