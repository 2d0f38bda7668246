//! Clusters as one shard sees them: endpoints with their pools, and the policy that picks one.

pub mod lb;

use crate::net::Network;
use crate::ring::Reactor;
use crate::stats::{ClusterStats, Registry};
use crate::upstream::{Pool, PoolOptions};
use lb::LoadBalancer;
use ringway_config::model;
use std::rc::Rc;
use std::sync::Arc;

/// One endpoint.
pub struct Endpoint {
    /// Its address in text form, for logs.
    pub name: Box<str>,
    pub pool: Rc<Pool>,
}

/// One cluster on one shard.
pub struct Cluster {
    pub config: model::Cluster,
    pub endpoints: Vec<Endpoint>,
    pub stats: Arc<ClusterStats>,
    balancer: LoadBalancer,
}

impl Cluster {
    pub fn new(
        config: &model::Cluster,
        reactor: &Rc<Reactor>,
        network: &Network,
        registry: &Registry,
        shard: usize,
    ) -> Rc<Self> {
        let stats: Arc<ClusterStats> = registry.scope(&config.name, shard);
        let options = PoolOptions {
            connect_timeout: config.connect_timeout,
            idle_timeout: config.idle_timeout,
            max_idle: config.max_idle_connections as usize,
            max_requests: config.max_requests_per_connection,
        };
        let endpoints: Vec<_> = config
            .endpoints
            .iter()
            .map(|endpoint| Endpoint {
                name: endpoint.address.to_string().into(),
                pool: Pool::new(reactor, network, endpoint.address.clone(), options.clone(), stats.clone()),
            })
            .collect();
        // Membership is a fact of the process; gauges are summed, so one shard reports it.
        if shard == 0 {
            stats.membership_total.set(endpoints.len() as i64);
            stats.membership_healthy.set(endpoints.len() as i64);
        }
        let weights: Vec<u32> = config.endpoints.iter().map(|endpoint| endpoint.weight).collect();
        let balancer = match config.lb_policy {
            model::LbPolicy::RoundRobin => {
                LoadBalancer::RoundRobin(lb::RoundRobin::new(&weights, reactor.random().next_u64()))
            }
        };
        Rc::new(Self { config: config.clone(), endpoints, stats, balancer })
    }

    /// The endpoint for the next request: its index in `endpoints`.
    pub fn pick(&self) -> usize {
        self.balancer.pick()
    }
}
