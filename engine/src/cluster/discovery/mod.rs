//! Discovery by DNS: the endpoints of a cluster are the addresses of host names, looked up in the background.
//!
//! It runs on one control thread with its own tokio runtime, which the resolver needs, and touches only `ClusterShared`:
//! nothing here is on the path of a request, so a slow name server delays none.

mod resolver;
mod settings;
mod target;
mod watch;

use super::{CONTROL, ClusterShared, Warm};
use crate::base::random::Random;
use crate::stats::{DnsStats, Registry};
use resolver::Resolver;
use ringway_config::model;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use watch::{Known, Watch, dns_of};

/// Whether the members of a cluster come from DNS.
pub fn is_discovered(cluster: &model::Cluster) -> bool {
    dns_of(cluster).is_some()
}

/// All discovered clusters. Lives on the control thread, in a tokio `LocalSet`.
pub struct Discovery {
    /// By the cluster's name.
    watches: HashMap<String, Watch>,
    /// One for each list of name servers; the empty list stands for the system's servers.
    resolvers: HashMap<Vec<SocketAddr>, Rc<Resolver>>,
    random: Rc<Random>,
    stats: Arc<DnsStats>,
}

impl Discovery {
    pub fn new(registry: &Registry) -> Self {
        Self {
            watches: HashMap::new(),
            resolvers: HashMap::new(),
            random: Rc::new(Random::from_entropy()),
            stats: registry.scope("", CONTROL),
        }
    }

    /// Switches over to the clusters of a new configuration. Clusters that stay the same continue, but look their names up
    /// again: a reload is the way to tell Ringway that something has changed. New ones begin with the
    /// known addresses of their names where a cluster of the same name was there before; the others end. `warm` is dropped
    /// when the first lookups of the new ones have ended, with or without an answer.
    pub fn apply(&mut self, clusters: &[Arc<ClusterShared>], warm: Warm) {
        let mut before = std::mem::take(&mut self.watches);
        for cluster in clusters {
            let Some((dns, _)) = dns_of(&cluster.config) else { continue };
            let name = &cluster.config.name;
            let old = before.remove(name);
            if old.as_ref().is_some_and(|watch| watch.is_of(cluster)) {
                old.iter().for_each(Watch::look_again);
                self.watches.extend(old.map(|watch| (name.clone(), watch)));
                continue;
            }
            let stats = &self.stats;
            let resolver = self
                .resolvers
                .entry(dns.resolvers.clone())
                .or_insert_with(|| Resolver::new(&dns.resolvers, stats.clone()))
                .clone();
            let known = old.as_ref().map_or_else(Known::new, |watch| watch.known_to(&cluster.config));
            let watch = Watch::start(cluster, resolver, self.random.clone(), &known, &warm);
            self.watches.extend(watch.map(|watch| (name.clone(), watch)));
        }
        drop(before);
        // Resolvers that no watch uses any more.
        self.resolvers.retain(|_, resolver| Rc::strong_count(resolver) > 1);
    }
}
