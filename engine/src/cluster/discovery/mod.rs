//! Discovery by DNS: the endpoints of a cluster are the addresses of host names, looked up in the background.
//!
//! It runs on one control thread with a tokio runtime of its own (the resolver needs one) and meets the rest in
//! `ClusterShared` alone: nothing here is on a request's path, and a name server that is slow delays nobody.

mod resolver;
mod settings;
mod target;
mod watch;

use super::{CONTROL, ClusterShared};
use crate::base::random::Random;
use crate::stats::{DnsStats, Registry};
use resolver::Resolver;
use ringway_config::model;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use watch::{Known, Watch, dns_of};

/// Whether the members of a cluster come from DNS.
pub fn is_discovered(cluster: &model::Cluster) -> bool {
    dns_of(cluster).is_some()
}

/// All clusters that are discovered. Lives on the control thread, in a tokio `LocalSet`.
pub struct Discovery {
    watches: Vec<Watch>,
    /// One for each list of name servers; the empty list is the system's.
    resolvers: HashMap<Vec<SocketAddr>, Rc<Resolver>>,
    random: Rc<Random>,
    stats: Arc<DnsStats>,
}

impl Discovery {
    pub fn new(registry: &Registry) -> Self {
        Self {
            watches: Vec::new(),
            resolvers: HashMap::new(),
            random: Rc::new(Random::from_entropy()),
            stats: registry.scope("", CONTROL),
        }
    }

    /// Go over to the clusters of a new configuration: those that stay the same go on, new ones begin (with what is known
    /// of their names, where a cluster of that name was there before), the others end. `warm` is dropped when the first
    /// lookups of the new ones have ended, well or not.
    pub fn apply(&mut self, clusters: &[Arc<ClusterShared>], warm: Sender<()>) {
        let mut before = std::mem::take(&mut self.watches);
        for cluster in clusters {
            let Some((dns, _)) = dns_of(&cluster.config) else { continue };
            if let Some(at) = before.iter().position(|watch| watch.is_of(cluster)) {
                self.watches.push(before.swap_remove(at));
                continue;
            }
            let stats = &self.stats;
            let resolver = self
                .resolvers
                .entry(dns.resolvers.clone())
                .or_insert_with(|| Resolver::new(&dns.resolvers, stats.clone()))
                .clone();
            let old = before.iter().find(|watch| watch.cluster_name() == cluster.config.name);
            let known = old.map_or_else(Known::new, |watch| watch.known_to(&cluster.config));
            self.watches.extend(Watch::start(cluster, resolver, self.random.clone(), &known, &warm));
        }
        drop(before);
        // Resolvers that nobody uses any more.
        self.resolvers.retain(|_, resolver| Rc::strong_count(resolver) > 1);
    }
}
