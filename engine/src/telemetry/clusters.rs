//! The clusters that exporters send to, as the export thread sees them.

use crate::cluster::{Cluster, ClusterShared, EXPORT};
use crate::net::Network;
use crate::ring::Reactor;
use crate::stats::Registry;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// By name. A cluster is made when the first report is for it, with connections and limits of its own; its members and their
/// health are those that the shards see.
pub struct Clusters {
    reactor: Rc<Reactor>,
    network: Network,
    registry: Arc<Registry>,
    /// Those of the configuration.
    known: RefCell<HashMap<String, Arc<ClusterShared>>>,
    made: RefCell<HashMap<String, Rc<Cluster>>>,
}

/// How often the clusters are looked after.
const HOUSEKEEPING: Duration = Duration::from_secs(1);

impl Clusters {
    pub fn new(reactor: &Rc<Reactor>, network: Network, registry: Arc<Registry>) -> Rc<Self> {
        let clusters = Rc::new(Self {
            reactor: reactor.clone(),
            network,
            registry,
            known: RefCell::default(),
            made: RefCell::default(),
        });
        reactor.spawn(tend(clusters.clone()));
        clusters
    }

    /// The clusters of a new configuration. One that did not change keeps its connections.
    pub fn apply(&self, clusters: &[Arc<ClusterShared>]) {
        let by_name = |shared: &Arc<ClusterShared>| (shared.config.name.clone(), shared.clone());
        let known: HashMap<_, _> = clusters.iter().map(by_name).collect();
        let stays = |name: &String, cluster: &Rc<Cluster>| {
            known.get(name).is_some_and(|shared| Arc::ptr_eq(shared, &cluster.shared))
        };
        let gone: Vec<_> = self.made.borrow_mut().extract_if(|name, cluster| !stays(name, cluster)).collect();
        self.known.replace(known);
        // A call that is under way keeps its cluster until it ends.
        drop(gone);
    }

    /// `None`: the configuration has no such cluster.
    pub fn get(&self, name: &str) -> Option<Rc<Cluster>> {
        if let Some(cluster) = self.made.borrow().get(name) {
            return Some(cluster.clone());
        }
        let shared = self.known.borrow().get(name)?.clone();
        let cluster = Cluster::new(&shared, &self.reactor, &self.network, &self.registry, EXPORT, None);
        self.made.borrow_mut().insert(name.into(), cluster.clone());
        Some(cluster)
    }
}

/// Runs as long as the reactor.
async fn tend(clusters: Rc<Clusters>) {
    loop {
        clusters.reactor.sleep(HOUSEKEEPING).await;
        clusters.reactor.resync_clock();
        let made: Vec<_> = clusters.made.borrow().values().cloned().collect();
        made.iter().for_each(|cluster| cluster.tend());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cluster::HostSpec;
    use crate::cluster::testing::{cluster, endpoint};
    use crate::net::{MemoryListener, MemoryNetwork};
    use crate::ring::PoolSize;
    use crate::upstream::limits::{Priority, Resource};
    use crate::upstream::{ConnectError, Lease, Work};
    use ringway_config::model::{self, Address, CircuitBreakers};

    /// One endpoint, as a shard and the export thread see it.
    struct World {
        reactor: Rc<Reactor>,
        shared: Arc<ClusterShared>,
        shard: Rc<Cluster>,
        clusters: Rc<Clusters>,
        _listener: MemoryListener,
    }

    impl World {
        fn new(breakers: &CircuitBreakers) -> Self {
            let reactor = Reactor::simulated(1, PoolSize { count: 16, size: 1024 });
            let (registry, memory) = (Registry::new(), Rc::new(MemoryNetwork::default()));
            let network = Network::Memory(memory.clone());
            let circuit_breakers = [breakers.clone(), CircuitBreakers::default()];
            let config = model::Cluster { endpoints: vec![endpoint(1)], circuit_breakers, ..cluster() };
            let shared = ClusterShared::new(&config, &registry, 1, None);
            let _listener = memory.listen(shared.hosts()[0].spec.address.clone(), 1024);
            let shard = Cluster::new(&shared, &reactor, &network, &registry, 0, None);
            let clusters = Clusters::new(&reactor, network, registry);
            clusters.apply(std::slice::from_ref(&shared));
            Self { reactor, shared, shard, clusters, _listener }
        }

        fn connect(&self, cluster: &Rc<Cluster>) -> Result<Lease, ConnectError> {
            let pool = cluster.endpoints()[0].pool.clone();
            self.reactor.block_on(async move { pool.acquire(Priority::Default, Work::Main).await })
        }
    }

    #[test]
    fn exporters_and_shards_are_not_in_each_others_limits() {
        for breakers in [
            CircuitBreakers { max_connections: Some(1), max_requests: Some(1), ..CircuitBreakers::default() },
            CircuitBreakers { max_connections_per_host: Some(1), max_requests: Some(1), ..CircuitBreakers::default() },
        ] {
            let world = World::new(&breakers);
            let exports = world.clusters.get("app").expect("it is configured");
            let mut held = Vec::new();
            for cluster in [&world.shard, &exports] {
                let request = || cluster.limits.acquire(Resource::Requests, Priority::Default);
                let lease = world.connect(cluster).expect("the first of its own");
                held.push((lease, request().expect("the same")));
                assert!(matches!(world.connect(cluster), Err(ConnectError::Overflow(_))));
                assert!(request().is_err());
            }
            let used = world.shared.limits.usage(Resource::Connections, Priority::Default).used;
            assert_eq!(used, 1, "the admin endpoint shows what counts for requests");
            assert_eq!(world.shared.hosts()[0].state.sum(|stats| stats.cx_active.get()), 2, "both are connections");
        }
    }

    #[test]
    fn members_change_as_they_do_for_shards() {
        let world = World::new(&CircuitBreakers::default());
        let exports = world.clusters.get("app").expect("it is configured");
        let other = HostSpec::new(&endpoint(2), Address::Ip(([10, 0, 0, 2], 80).into()));
        world.shared.set_members(vec![other]);
        let reactor = world.reactor.clone();
        world.reactor.block_on(async move { reactor.sleep(2 * HOUSEKEEPING).await });
        assert_eq!(&*exports.endpoints()[0].name, "10.0.0.2:80");
    }

    #[test]
    fn a_cluster_ends_with_the_configuration_that_has_it_and_an_equal_one_stays() {
        let world = World::new(&CircuitBreakers::default());
        let before = world.clusters.get("app").expect("it is configured");
        world.clusters.apply(std::slice::from_ref(&world.shared));
        assert!(Rc::ptr_eq(&before, &world.clusters.get("app").expect("it stays")));
        world.clusters.apply(&[]);
        assert!(world.clusters.get("app").is_none());
        assert_eq!(Rc::strong_count(&before), 1);
    }
}
