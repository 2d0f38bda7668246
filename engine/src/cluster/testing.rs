//! Clusters for unit tests, on in-memory pipes.

use super::{Cluster, ClusterShared};
use crate::net::{MemoryNetwork, Network};
use crate::ring::{PoolSize, Reactor};
use crate::stats::Registry;
use ringway_config::model::{self, Address, EndpointTarget};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// A cluster named "app" without endpoints, with the defaults.
pub(crate) fn cluster() -> model::Cluster {
    model::Cluster {
        place: model::Place::default(),
        name: "app".into(),
        discovery: model::Discovery::Static,
        endpoints: Vec::new(),
        lb_policy: model::LbPolicy::RoundRobin { slow_start: None },
        load_balancing: model::LoadBalancing {
            panic_threshold: None,
            fail_traffic_on_panic: false,
            overprovisioning_factor: 140,
            locality_weights: None,
            subsets: None,
            hash_balance_factor: None,
        },
        health_checks: Vec::new(),
        outlier_detection: None,
        circuit_breakers: [model::CircuitBreakers::default(), model::CircuitBreakers::default()],
        tls: None,
        transport_matches: Vec::new(),
        protocol: model::UpstreamProtocol::Http1,
        http2: model::Http2Options::default(),
        connect_timeout: Duration::from_secs(5),
        texts: model::Texts::default(),
        idle_timeout: None,
        max_idle_connections: 1024,
        max_requests_per_connection: None,
    }
}

/// 10.x.y.z:80 with weight 1 and priority 0.
pub(crate) fn endpoint(number: u32) -> model::Endpoint {
    let [_, b, c, d] = number.to_be_bytes();
    model::Endpoint {
        place: model::Place::default(),
        target: EndpointTarget::Address(Address::Ip(([10, b, c, d], 80).into())),
        weight: 1,
        priority: 0,
        locality: String::new(),
        metadata: Vec::new(),
        hostname: None,
        health_check_port: None,
    }
}

/// A cluster on one shard, with virtual time.
pub(crate) struct World {
    pub reactor: Rc<Reactor>,
    pub shared: Arc<ClusterShared>,
    pub cluster: Rc<Cluster>,
    /// Where its endpoints may listen.
    pub network: Rc<MemoryNetwork>,
}

impl World {
    pub(crate) fn new(config: &model::Cluster, seed: u64) -> Self {
        let reactor = Reactor::simulated(seed, PoolSize { count: 16, size: 1024 });
        let registry = Registry::new();
        let shared = ClusterShared::new(config, &registry, 1, None);
        shared.put_in_force();
        let network = Rc::new(MemoryNetwork::default());
        let cluster = Cluster::new(&shared, &reactor, &Network::Memory(network.clone()), &registry, 0, None);
        Self { reactor, shared, cluster, network }
    }

    /// The same shard with another description of the cluster, as after a reload.
    pub(crate) fn renewed(&self, config: &model::Cluster) -> Self {
        let registry = Registry::new();
        let shared = ClusterShared::new(config, &registry, 1, Some(&self.shared));
        let network = self.network.clone();
        let over = Network::Memory(network.clone());
        let cluster = Cluster::new(&shared, &self.reactor, &over, &registry, 0, Some(&self.cluster));
        Self { reactor: self.reactor.clone(), shared, cluster, network }
    }

    /// Lets time pass.
    pub(crate) fn advance(&self, by: Duration) {
        let reactor = self.reactor.clone();
        self.reactor.block_on(async move { reactor.sleep(by).await });
    }
}
