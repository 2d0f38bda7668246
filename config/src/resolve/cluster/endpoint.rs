//! Endpoints: checks over their addresses, weights and priorities.

use std::collections::{BTreeMap, HashMap};

use super::discovery_kind;
use crate::diagnostic::Problem;
use crate::document::{self, DiscoveryKind, EndpointAddress, EndpointEntry};
use crate::model::{Address, Endpoint, EndpointTarget};
use crate::place::Origin;
use crate::reader::Located;
use crate::resolve::Resolver;

impl<'d> Resolver<'d, '_, '_> {
    pub(super) fn endpoints(&mut self, cluster: &'d Located<document::Cluster>) -> Vec<Endpoint> {
        let hint = "list at least one: endpoints = [\"127.0.0.1:8080\"]";
        self.refuse_empty(&cluster.endpoints, "the cluster has no endpoint", hint);
        let entries = cluster.endpoints.items();
        let kind = discovery_kind(cluster);
        let mut first: HashMap<&EndpointTarget, &Origin> = HashMap::new();
        for address in entries.iter().filter_map(|entry| entry.address()) {
            self.check_target(kind, address);
            match first.get(&address.0) {
                Some(earlier) => {
                    let message = format!("the endpoint {} is listed twice", target_text(&address.0));
                    let problem = Problem::at(&address.origin, message).earlier(earlier);
                    let hint = "for more requests, write { address = \"...\", weight = 2 }";
                    self.problems.push(problem.hint(Some(hint)));
                }
                None => drop(first.insert(&address.0, &address.origin)),
            }
        }
        if let (Some(DiscoveryKind::LogicalDns), [_, further, ..]) = (kind, entries) {
            let problem = Problem::at(&further.origin, "a cluster with logical_dns has exactly one endpoint");
            let hint = "for several names, or every address of a name, write discovery = \"strict_dns\"";
            self.problems.push(problem.hint(Some(hint)));
        }
        if cluster.endpoints.given().is_some_and(|list| !list.is_incomplete) {
            self.check_priorities(entries);
        }
        self.check_weights(entries);
        entries.iter().filter_map(|entry| self.endpoint(entry)).collect()
    }

    fn check_target(&mut self, kind: Option<DiscoveryKind>, address: &Located<EndpointAddress>) {
        let (message, hint) = match (kind, &address.0) {
            (Some(DiscoveryKind::Static), EndpointTarget::Name { host, port }) => {
                let message = format!("`{host}` is a host name, and a static cluster does not look up names");
                let hint = match host.as_str() {
                    "localhost" => format!("write \"127.0.0.1:{port}\", or discovery = \"strict_dns\""),
                    _ => "add discovery = \"strict_dns\", or write the IP address".to_owned(),
                };
                (message, hint)
            }
            (Some(DiscoveryKind::LogicalDns), EndpointTarget::Address(_)) => (
                "there is no host name to look up".to_owned(),
                "leave `discovery` out: addresses are static".to_owned(),
            ),
            _ => return,
        };
        self.problems.push(Problem::at(&address.origin, message).hint(Some(hint)));
    }

    /// Requests that a priority cannot take go to the next one, which must exist.
    fn check_priorities(&mut self, entries: &[Located<EndpointEntry>]) {
        let mut lowest = BTreeMap::new();
        for entry in entries {
            lowest.entry(entry.priority()).or_insert(entry);
        }
        let Some((expected, (_, entry))) = (0..).zip(lowest).find(|(expected, (priority, _))| expected != priority)
        else {
            return;
        };
        let place = entry.table().map_or(&entry.origin, |endpoint| &endpoint.priority.origin);
        let problem = Problem::at(place, format!("no endpoint has priority {expected}"));
        let problem = problem.allowed(if expected == 0 { "0".into() } else { format!("0 to {expected}") });
        self.problems.push(problem.hint(Some("priorities begin with 0 and have no gaps")));
    }

    fn check_weights(&mut self, entries: &[Located<EndpointEntry>]) {
        let sum: u64 = entries.iter().map(|entry| u64::from(entry.weight())).sum();
        if let (true, Some(last)) = (sum > u64::from(u32::MAX), entries.last()) {
            let message = format!("the weights up to here add up to {sum}, more than {}", u32::MAX);
            self.problems.push(Problem::at(&last.origin, message).hint(Some("divide them all by the same number")));
        }
    }

    fn endpoint(&mut self, entry: &'d Located<EndpointEntry>) -> Option<Endpoint> {
        let table = entry.table();
        let port = table.and_then(|endpoint| endpoint.health_check_port.given());
        let target = &entry.address()?.0;
        if let (Some(port), EndpointTarget::Address(Address::Unix(_))) = (port, target) {
            self.problems
                .push(Problem::at_key(&port.origin, "a unix socket has no port: `health_check_port` is unused"));
        }
        let written = table.and_then(|endpoint| endpoint.hostname.given()).map(|host| host.0.clone());
        let name = match target {
            EndpointTarget::Name { host, .. } => Some(host.trim_end_matches('.').to_owned()),
            EndpointTarget::Address(_) => None,
        };
        Some(Endpoint {
            place: self.problems.place(&entry.origin),
            target: target.clone(),
            weight: entry.weight(),
            priority: entry.priority(),
            locality: entry.locality().map(|locality| locality.0.clone()).unwrap_or_default(),
            metadata: super::lb::sorted_pairs(entry.metadata()),
            hostname: written.or(name),
            health_check_port: port.map(|port| port.to_u16()),
        })
    }
}

fn target_text(target: &EndpointTarget) -> String {
    match target {
        EndpointTarget::Address(address) => address.to_string(),
        EndpointTarget::Name { host, port } => format!("{host}:{port}"),
    }
}
