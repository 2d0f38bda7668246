//! Pools by name: where an endpoint is asked for the name that a request's Host has, and has shown a certificate for it, a
//! connection serves requests for that name only.
//!
//! The endpoint's own pool keeps no connection then. It finds the pool of a request, and gives a connection back to its pool.

use super::lease::Lease;
use super::pool::{Pool, PoolOptions};
use crate::base::clock::Nanos;
use crate::http::host_name;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::{Rc, Weak};

/// Clients choose the names: beyond this number, the one that was used longest ago gives way.
const NAMES_MAX: usize = 256;

/// Which requests a pool is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Split {
    /// All to its endpoint.
    #[default]
    None,
    /// Those that others are not for: there is one for each name.
    ByName,
    /// Those with one name.
    Member,
}

/// The pools of one endpoint, by name.
pub(super) type Names = RefCell<HashMap<Box<str>, Named>>;

pub(super) struct Named {
    pool: Rc<Pool>,
    used: Nanos,
}

impl Pool {
    /// The pool for requests with this Host; `None`: the endpoint has one for all.
    pub fn named(self: &Rc<Self>, authority: &[u8]) -> Option<Rc<Self>> {
        let pools = self.names.as_ref()?;
        let (name, now) = (host_name(authority), self.reactor.now());
        let mut pools = pools.borrow_mut();
        if let Some(named) = pools.get_mut(&*name) {
            named.used = now;
            return Some(named.pool.clone());
        }
        if pools.len() >= NAMES_MAX {
            make_room(&mut pools);
        }
        let pool = self.member(&name);
        pools.insert(name, Named { pool: pool.clone(), used: now });
        Some(pool)
    }

    fn member(&self, name: &str) -> Rc<Self> {
        let tls = self.options.tls.as_ref().map(|connector| connector.named(name));
        let options = PoolOptions { tls, split: Split::Member, ..self.options.clone() };
        let (addresses, host) = (self.addresses.borrow().clone(), self.host.borrow().clone());
        Self::new(&self.reactor, &self.network, addresses, options, self.stats.clone(), &self.group, host)
    }

    /// What a connection of this pool is told to find back.
    pub(super) fn for_name(self: &Rc<Self>) -> Weak<Self> {
        match self.options.split {
            Split::Member => Rc::downgrade(self),
            Split::None | Split::ByName => Weak::new(),
        }
    }

    /// What concerns the endpoint concerns the pools of all names.
    pub(super) fn each_named(&self, mut f: impl FnMut(&Rc<Self>)) {
        if let Some(pools) = &self.names {
            pools.borrow().values().for_each(|named| f(&named.pool));
        }
    }

    /// Take back a connection that this pool does not keep, for the pool of its name.
    #[cold]
    pub(super) fn put_by_name(&self, lease: Lease) {
        if self.names.is_some()
            && let Some(pool) = lease.connection.pool.upgrade()
        {
            pool.put_ended(lease);
        }
    }
}

/// Forgets names without a connection, else the one that was used longest ago.
fn make_room(pools: &mut HashMap<Box<str>, Named>) {
    pools.retain(|_, named| Rc::strong_count(&named.pool) > 1 || named.pool.has_connections());
    if pools.len() < NAMES_MAX {
        return;
    }
    let oldest = pools.iter().min_by_key(|(_, named)| named.used).map(|(name, _)| name.clone());
    if let Some(named) = oldest.and_then(|name| pools.remove(&name)) {
        named.pool.close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::{MemoryListener, MemoryNetwork, Network};
    use crate::ring::{PoolSize, Reactor};
    use crate::stats::{ClusterStats, HostStats, PerShard, Registry};
    use crate::upstream::limits::{Priority, ShardLimits, SharedLimits};
    use crate::upstream::{PoolGroup, Work};
    use ringway_config::model::{Address, CircuitBreakers};
    use std::sync::Arc;
    use std::time::Duration;

    struct World {
        reactor: Rc<Reactor>,
        stats: Arc<ClusterStats>,
        pool: Rc<Pool>,
        _listener: MemoryListener,
    }

    impl World {
        fn new() -> Self {
            let reactor = Reactor::simulated(1, PoolSize { count: 16, size: 1024 });
            let stats: Arc<ClusterStats> = Registry::new().scope("app", 0);
            let breakers = [CircuitBreakers::default(), CircuitBreakers::default()];
            let limits = ShardLimits::new(&SharedLimits::new("app", &breakers), stats.clone(), 0);
            let group = PoolGroup::new(&reactor, limits);
            let options = PoolOptions { split: Split::ByName, ..PoolOptions::plain() };
            let network = Rc::new(MemoryNetwork::default());
            let address = Address::Ip(([10, 0, 0, 1], 80).into());
            let copies: Arc<PerShard<HostStats>> = Arc::default();
            let _listener = network.listen(address.clone(), 1024);
            let (network, copy) = (Network::Memory(network), Rc::new(copies.join(0)));
            let pool = Pool::new(&reactor, &network, Rc::new([address]), options, stats.clone(), &group, copy);
            Self { reactor, stats, pool, _listener }
        }

        fn of(&self, host: &str) -> Rc<Pool> {
            self.pool.named(host.as_bytes()).expect("there is one for each name")
        }

        fn lease(&self, host: &str) -> Lease {
            let pool = self.of(host);
            let lease = pool.take();
            let acquire = async move { pool.acquire(Priority::Default, Work::Main).await.expect("it listens") };
            lease.unwrap_or_else(|| self.reactor.block_on(acquire))
        }

        /// Connections made so far, and those that are open.
        fn connections(&self) -> (u64, i64) {
            (self.stats.upstream_cx_total.get(), self.stats.upstream_cx_active.get())
        }
    }

    #[test]
    fn a_connection_serves_the_name_that_it_was_made_for() {
        let world = World::new();
        // However it is written.
        for host in ["a.example", "A.Example:8443", "a.example."] {
            world.pool.put(world.lease(host));
            assert!(world.pool.take().is_none());
            assert_eq!(world.connections(), (1, 1));
        }
        let (first, second) = (world.lease("a.example"), world.lease("b.example"));
        assert_eq!(world.connections(), (2, 2));
        [first, second].into_iter().for_each(|lease| world.pool.put(lease));
        assert_eq!((world.of("a.example").idle_count(), world.of("b.example").idle_count()), (1, 1));
        world.pool.put(world.lease("b.example"));
        assert_eq!(world.connections(), (2, 2));
    }

    /// What concerns the endpoint concerns the pools of all names.
    #[test]
    fn connections_of_all_names_are_drained_and_closed() {
        let world = World::new();
        let busy = world.lease("busy.example");
        ["a.example", "b.example"].iter().for_each(|host| world.pool.put(world.lease(host)));
        world.pool.drain();
        assert_eq!(world.connections(), (3, 1));
        world.pool.put(busy);
        assert_eq!(world.connections(), (3, 0), "it is older than the drain");
        let busy = world.lease("busy.example");
        world.pool.put(world.lease("a.example"));
        world.pool.trim(0);
        assert_eq!(world.connections(), (5, 1));
        world.pool.close();
        world.pool.put(busy);
        world.pool.put(world.lease("a.example"));
        assert_eq!(world.connections(), (6, 0));
    }

    #[test]
    fn names_are_forgotten_when_there_are_too_many() {
        let world = World::new();
        let number = |number: usize| format!("{number}.example");
        world.pool.put(world.lease(&number(0)));
        for unused in 1..2 * NAMES_MAX {
            drop(world.of(&number(unused)));
        }
        assert_eq!(world.of(&number(0)).idle_count(), 1, "those without a connection go first");
        for used in 1..=NAMES_MAX {
            let reactor = world.reactor.clone();
            world.reactor.block_on(async move { reactor.sleep(Duration::from_millis(1)).await });
            world.pool.put(world.lease(&number(used)));
        }
        assert_eq!(world.connections().1, NAMES_MAX as i64);
        assert_eq!(world.of(&number(NAMES_MAX)).idle_count(), 1);
        assert_eq!(world.of(&number(0)).idle_count(), 0, "the oldest has given way");
    }
}
