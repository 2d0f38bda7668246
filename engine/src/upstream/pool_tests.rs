//! Which request gets which connection, on both wires.

use super::connection::Connection;
use super::limits::{Priority, ShardLimits, SharedLimits};
use super::pool::{Pool, PoolOptions};
use super::{ConnectError, Lease, PoolGroup, Work};
use crate::codec::h2::frame;
use crate::net::{MemoryListener, MemoryNetwork, Network, PipeEnd};
use crate::ring::{PoolSize, Reactor, TaskId};
use crate::stats::{ClusterStats, HostStats, PerShard, Registry};
use UpstreamProtocol::{Http1, Http2 as SHARED};
use ringway_config::model::{Address, CircuitBreakers, Http2Options, UpstreamProtocol};
use std::cell::{Cell, RefCell};
use std::future::{pending, poll_fn};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// A request, and the connection that it got.
pub(super) type Served = (char, Option<Rc<Connection>>);

/// One pool, and what came of each request, in the order in which it came: its name, and whether it got a connection.
pub(super) struct World {
    pub(super) reactor: Rc<Reactor>,
    pub(super) network: Rc<MemoryNetwork>,
    pub(super) stats: Arc<ClusterStats>,
    pub(super) pool: Rc<Pool>,
    pub(super) endpoint: Rc<Endpoint>,
    pub(super) served: Rc<RefCell<Vec<Served>>>,
}

/// What connections lead to.
#[derive(Default)]
pub(super) struct Endpoint {
    listener: RefCell<Option<MemoryListener>>,
    pub(super) accepted: RefCell<Vec<PipeEnd>>,
    /// What it says first on each connection.
    greeting: RefCell<Vec<u8>>,
    task: Cell<Option<TaskId>>,
}

impl Endpoint {
    fn listen(&self, listener: Option<MemoryListener>, reactor: &Reactor) {
        self.listener.replace(listener);
        self.task.get().iter().for_each(|task| reactor.wake(*task));
    }

    fn accept(&self, reactor: &Reactor) -> Poll<()> {
        while let Some(listener) = &*self.listener.borrow()
            && let Poll::Ready(end) = listener.poll_accept(reactor)
        {
            end.write(&self.greeting.borrow());
            self.accepted.borrow_mut().push(end);
        }
        Poll::Pending
    }
}

/// SETTINGS that say how many exchanges a connection takes.
fn settings(streams_max: Option<u32>) -> Vec<u8> {
    let mut out = Vec::new();
    let values: Vec<(u16, u32)> =
        streams_max.map(|max| (frame::setting::MAX_CONCURRENT_STREAMS, max)).into_iter().collect();
    frame::settings(&mut out, &values);
    out
}

fn address() -> Address {
    Address::Ip(([10, 0, 0, 1], 80).into())
}

impl World {
    pub(super) fn new(protocol: UpstreamProtocol, breakers: CircuitBreakers) -> Self {
        let http2 = Http2Options { max_concurrent_streams: 2, ..Http2Options::default() };
        Self::with(protocol, breakers, http2)
    }

    pub(super) fn with(protocol: UpstreamProtocol, breakers: CircuitBreakers, http2: Http2Options) -> Self {
        Self::of(breakers, PoolOptions { protocol, http2, ..PoolOptions::plain() })
    }

    pub(super) fn of(breakers: CircuitBreakers, options: PoolOptions) -> Self {
        let reactor = Reactor::simulated(1, PoolSize { count: 16, size: 1024 });
        let network = Rc::new(MemoryNetwork::default());
        let stats: Arc<ClusterStats> = Registry::new().scope("app", 0);
        let shared = SharedLimits::new("app", &[breakers, CircuitBreakers::default()]);
        let group = PoolGroup::new(&reactor, ShardLimits::new(&shared, stats.clone(), 0));
        let (protocol, options) = (options.protocol, PoolOptions { max_idle: 16, ..options });
        let host = Rc::new(Arc::<PerShard<HostStats>>::default().join(0));
        let to = Network::Memory(network.clone());
        let pool = Pool::new(&reactor, &to, Rc::new([address()]), options, stats.clone(), &group, host);
        let endpoint = Rc::<Endpoint>::default();
        if protocol == SHARED {
            endpoint.greeting.replace(settings(None));
        }
        let (there, handle) = (endpoint.clone(), reactor.clone());
        endpoint.task.set(Some(reactor.spawn(poll_fn(move |_| there.accept(&handle)))));
        endpoint.listen(Some(network.listen(address(), 1024)), &reactor);
        Self { reactor, network, stats, pool, endpoint, served: Rc::default() }
    }

    pub(super) fn listen(&self, on: bool) {
        let listener = on.then(|| self.network.listen(address(), 1024));
        self.endpoint.listen(listener, &self.reactor);
    }

    /// The endpoint says this on all its connections.
    pub(super) fn say(&self, bytes: &[u8]) {
        self.endpoint.accepted.borrow().iter().for_each(|end| end.write(bytes));
    }

    /// PINGs that have come on all connections.
    pub(super) fn pings(&self) -> usize {
        let received = |end: &PipeEnd| {
            let mut all = Vec::new();
            while let Poll::Ready(Ok(Some(bytes))) = end.poll_recv() {
                all.extend_from_slice(&bytes);
            }
            all.windows(8).filter(|part| part == b"ringway?").count()
        };
        self.endpoint.accepted.borrow().iter().map(received).sum()
    }

    /// A request that waits for a connection, and keeps it.
    pub(super) fn request(&self, name: char) -> TaskId {
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

    pub(super) fn requests(&self, names: &str) {
        for name in names.chars() {
            self.request(name);
        }
    }

    pub(super) fn lease(&self) -> Lease {
        let pool = self.pool.clone();
        let lease = self.reactor.block_on(async move { pool.acquire(Priority::Default, Work::Main).await });
        lease.expect("the listener is there")
    }

    /// In a task, which runs behind those that there are and before what they spawn.
    fn then(&self, what: impl FnOnce() + 'static) {
        self.reactor.spawn(async move { what() });
    }

    pub(super) fn settle(&self) {
        self.sleep(Duration::from_millis(1));
    }

    pub(super) fn sleep(&self, time: Duration) {
        let reactor = self.reactor.clone();
        self.reactor.block_on(async move { reactor.sleep(time).await });
        assert_eq!(self.reactor.facts().panics, 0);
    }

    /// Names in order; in upper case those that got no connection.
    pub(super) fn order(&self) -> String {
        let name = |(name, got): &Served| if got.is_some() { *name } else { name.to_ascii_uppercase() };
        self.served.borrow().iter().map(name).collect()
    }

    pub(super) fn connection_of(&self, name: char) -> Rc<Connection> {
        let served = self.served.borrow();
        served.iter().find(|entry| entry.0 == name).and_then(|entry| entry.1.clone()).expect("it got one")
    }

    pub(super) fn connections(&self) -> (i64, u64) {
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

/// What an endpoint speaks shows on its first connection; the others are made when it is known.
#[test]
fn one_connection_finds_out_what_an_endpoint_speaks() {
    let world = World::with(UpstreamProtocol::Auto, CircuitBreakers::default(), of_streams(100));
    let pool = world.pool.clone();
    world.requests("abcde");
    let begun = Rc::new(Cell::new(0));
    let told = begun.clone();
    world.then(move || told.set(pool.connecting.borrow().len()));
    world.settle();
    assert_eq!((begun.get(), world.order().as_str(), world.connections()), (1, "abcde", (5, 5)));
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
    let world = World::new(Http1, CircuitBreakers::default());
    let lease = world.lease();
    world.settle();
    world.listen(false);
    world.requests("abc");
    let pool = world.pool.clone();
    world.then(move || pool.put(lease));
    world.settle();
    // Three connects fail; the first two waiters behind the freed connection hear of one each.
    assert_eq!((world.order().as_str(), world.stats.upstream_cx_connect_fail.get()), ("aBC", 3));
    world.listen(true);
    world.request('d');
    world.settle();
    assert_eq!(world.order(), "aBCd");
}

#[test]
fn waiters_of_a_shared_connect_that_failed_get_another_one_each() {
    let world = World::new(SHARED, CircuitBreakers::default());
    world.listen(false);
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
        assert!(world.endpoint.accepted.borrow().is_empty(), "none was made");
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
    world.endpoint.accepted.borrow_mut().clear();
    world.settle();
    assert_eq!((world.connections(), world.stats.upstream_cx_destroy_remote.get()), ((0, 1), 1));
    drop(leases);
    world.request('a');
    world.settle();
    assert_eq!((world.order().as_str(), world.connections()), ("a", (1, 2)));
    let stats = &world.stats;
    assert_eq!((stats.upstream_cx_destroy.get(), stats.upstream_cx_destroy_with_active_rq.get()), (1, 1));
}

pub(super) fn of_streams(max_concurrent_streams: u32) -> Http2Options {
    Http2Options { max_concurrent_streams, ..Http2Options::default() }
}

/// One request goes out at once. The others wait for what the endpoint says, and no more than that share the connection.
#[test]
fn what_an_endpoint_takes_is_respected_before_it_is_known() {
    let world = World::with(SHARED, CircuitBreakers::default(), of_streams(100));
    world.endpoint.greeting.replace(Vec::new());
    world.requests("abcdefg");
    world.settle();
    assert_eq!((world.order().as_str(), world.connections()), ("a", (1, 1)));
    world.endpoint.greeting.replace(settings(Some(3)));
    world.say(&settings(Some(3)));
    world.settle();
    // The next connections are thought to take as many.
    assert_eq!((world.order().as_str(), world.connections()), ("abcdefg", (3, 3)));
    assert!(Rc::ptr_eq(&world.connection_of('a'), &world.connection_of('c')));
    assert!(!Rc::ptr_eq(&world.connection_of('a'), &world.connection_of('d')));
}

/// Requests that wait for the settings of an endpoint that never says them fail as those whose connect takes too long.
#[test]
fn an_endpoint_that_says_nothing_is_given_up() {
    let world = World::with(SHARED, CircuitBreakers::default(), of_streams(100));
    world.endpoint.greeting.replace(Vec::new());
    world.requests("abc");
    world.settle();
    assert_eq!(world.order(), "a");
    world.sleep(Duration::from_secs(6));
    assert_eq!((world.order().as_str(), world.connections()), ("aBC", (0, 1)));
    assert_eq!(world.stats.upstream_cx_connect_timeout.get(), 1);
}

/// Those that wait for another connection by then are none of its.
#[test]
fn a_retired_connection_that_says_nothing_fails_no_request_that_waits() {
    let world = World::with(SHARED, CircuitBreakers::default(), of_streams(100));
    world.endpoint.greeting.replace(Vec::new());
    world.requests("abc");
    world.sleep(Duration::from_secs(3));
    world.pool.drain();
    world.sleep(Duration::from_secs(3));
    assert_eq!((world.order().as_str(), world.connections()), ("ab", (1, 2)));
    assert_eq!(world.stats.upstream_cx_connect_timeout.get(), 1);
    world.say(&settings(None));
    world.settle();
    assert_eq!((world.order().as_str(), world.connections()), ("abc", (1, 2)));
}
