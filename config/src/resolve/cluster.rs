//! Clusters: their discovery, and the checks over all of their parts.

mod endpoint;
mod health;
mod lb;
mod limits;
mod outlier;
pub(super) mod transport;

use std::collections::HashMap;

use super::Resolver;
use crate::diagnostic::Problem;
use crate::document::{self, DiscoveryKind, Document};
use crate::model::{Cluster, Discovery, Dns, LookupFamily, UpstreamProtocol};
use crate::reader::{Located, Read, Slot, absent};

/// The longest time between lookups that fail, in base intervals (Envoy: RefreshRate.max_interval).
const FAILURE_REFRESH_FACTOR: u32 = 10;

impl<'d> Resolver<'d, '_, '_> {
    /// The clusters in the order of the file: routes refer to them by index.
    pub(super) fn all_clusters(&mut self, document: &'d Document) -> Vec<Cluster> {
        let mut first = HashMap::new();
        for name in document.clusters.items().iter().filter_map(|cluster| cluster.name.given()) {
            self.unique(&mut first, name.0.as_str(), &name.origin, |name| {
                format!("there are two clusters with the name `{name}`")
            });
        }
        document.clusters.items().iter().filter_map(|cluster| self.cluster(cluster)).collect()
    }

    fn cluster(&mut self, cluster: &'d Located<document::Cluster>) -> Option<Cluster> {
        let endpoints = self.endpoints(cluster);
        let discovery = self.discovery(cluster);
        let (lb_policy, hash_balance_factor) = self.lb_policy(cluster);
        let load_balancing = self.load_balancing(cluster, hash_balance_factor);
        let health_checks = self.health_checks(cluster);
        let outlier_detection = cluster.outlier_detection.given().map(|written| self.outlier_detection(written));
        let circuit_breakers = self.circuit_breakers(&cluster.circuit_breakers);
        let tls = cluster.tls.given().map(|written| self.upstream_tls(written, cluster.protocol.0));
        let transport_matches = self.transport_matches(cluster);
        self.check_names(cluster);
        self.check_ports(cluster);
        if cluster.protocol.0 == UpstreamProtocol::Auto && transport::is_plain(cluster) {
            let message = "`auto` chooses by what a handshake of TLS agrees on, and the cluster has no `tls`";
            let hint = "write protocol = \"http2\" or \"http1\", or add tls = {}";
            self.problems.push(Problem::at(&cluster.protocol.origin, message).hint(Some(hint)));
        }
        Some(Cluster {
            place: self.problems.place(&cluster.origin),
            name: cluster.name.value()?,
            discovery,
            endpoints,
            lb_policy,
            load_balancing,
            health_checks,
            outlier_detection,
            circuit_breakers,
            tls,
            transport_matches,
            protocol: cluster.protocol.0,
            http2: self.endpoint_http2(cluster),
            connect_timeout: cluster.connect_timeout.0,
            texts: self.texts(
                document::Cluster::spec(),
                &cluster.origin,
                &[("connect_timeout", Some(&cluster.connect_timeout.origin))],
            ),
            idle_timeout: cluster.idle_timeout.0,
            max_idle_connections: cluster.max_idle_connections.value.to_u32(),
            max_requests_per_connection: cluster.max_requests_per_connection.0.map(|count| count.0),
        })
    }

    fn discovery(&mut self, cluster: &'d Located<document::Cluster>) -> Discovery {
        let dns = self.dns(cluster);
        match discovery_kind(cluster) {
            Some(DiscoveryKind::StrictDns) => Discovery::StrictDns(dns),
            Some(DiscoveryKind::LogicalDns) => Discovery::LogicalDns(dns),
            Some(DiscoveryKind::Static) => {
                let keys = [("dns_lookup_family", cluster.dns_lookup_family.origin()), ("dns", cluster.dns.origin())];
                for (key, origin) in keys.into_iter().filter_map(|(key, origin)| Some((key, origin?))) {
                    let message = format!("`{key}` has no effect: a static cluster does not look up names");
                    let hint = "add discovery = \"strict_dns\" or \"logical_dns\", or leave it out";
                    self.problems.push(Problem::at_key(origin, message).hint(Some(hint)));
                }
                Discovery::Static
            }
            None => Discovery::Static,
        }
    }

    fn dns(&mut self, cluster: &'d Located<document::Cluster>) -> Dns {
        let written = or_defaults(&cluster.dns);
        let refresh_rate = written.refresh_rate.0;
        let failure = written.failure_refresh_rate.given();
        let base = failure.and_then(|failure| failure.base_interval.given());
        let max = failure.and_then(|failure| failure.max_interval.given());
        if let (Some(base), Some(max)) = (base, max)
            && max.0 < base.0
        {
            let problem = Problem::at(&max.origin, "`max_interval` is shorter than `base_interval`");
            self.problems.push(problem.hint(Some("leave it out for ten times `base_interval`")));
        }
        let hint = "leave it out to use the servers in /etc/resolv.conf";
        self.refuse_empty(&written.resolvers, "`resolvers` names no server", hint);
        let base = base.map_or(refresh_rate, |base| base.0);
        Dns {
            lookup_family: cluster.dns_lookup_family.value().unwrap_or(LookupFamily::Auto),
            refresh_rate,
            jitter: written.jitter.0,
            failure_refresh: (base, max.map_or(base * FAILURE_REFRESH_FACTOR, |max| max.0)),
            respect_ttl: written.respect_ttl.value,
            max_ttl: written.max_ttl.0,
            hold_nx: written.hold_nx.0,
            resolvers: written.resolvers.values(),
        }
    }
}

/// `None` if it is written and wrong, or may be a misspelt key.
fn discovery_kind(cluster: &document::Cluster) -> Option<DiscoveryKind> {
    match &cluster.discovery {
        Slot::Absent if cluster.has_unknown => None,
        Slot::Absent => Some(DiscoveryKind::Static),
        Slot::Given(kind) => Some(kind.0),
        Slot::Invalid(_) => None,
    }
}

/// The table, or one with every key at its default if it was left out.
pub(super) fn or_defaults<T: Read>(slot: &Slot<T>) -> T {
    match slot.given().cloned().or_else(absent::<T>) {
        Some(table) => table.value,
        None => unreachable!("every key of the table has a default"),
    }
}
