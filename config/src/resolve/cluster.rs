//! Clusters and their endpoints.

use std::collections::HashMap;

use crate::diagnostic::{Problem, Problems};
use crate::document::{self, EndpointEntry, Located, Origin};
use crate::model::{Address, Cluster, Endpoint};

/// The clusters in the order of the file: routes refer to them by index.
pub fn resolve_all(written: &[Located<document::Cluster>], problems: &mut Problems<'_>) -> Vec<Cluster> {
    let mut first: HashMap<&str, &Origin> = HashMap::new();
    for name in written.iter().filter_map(|cluster| cluster.name.given()) {
        match first.get(name.value.0.as_str()) {
            Some(earlier) => {
                let message = format!("there are two clusters with the name `{}`", name.value.0);
                problems.push(Problem::at(&name.origin, message).earlier(earlier));
            }
            None => drop(first.insert(&name.value.0, &name.origin)),
        }
    }
    written.iter().filter_map(|cluster| resolve(cluster, problems)).collect()
}

fn resolve(cluster: &Located<document::Cluster>, problems: &mut Problems<'_>) -> Option<Cluster> {
    let endpoints = endpoints(cluster, problems);
    Some(Cluster {
        name: cluster.name.given()?.value.0.clone(),
        endpoints,
        lb_policy: cluster.lb_policy.value.0,
        connect_timeout: cluster.connect_timeout.value.0,
        idle_timeout: cluster.idle_timeout.value.0,
        max_idle_connections: cluster.max_idle_connections.value.to_u32(),
        max_requests_per_connection: cluster.max_requests_per_connection.value.0,
    })
}

fn endpoints(cluster: &Located<document::Cluster>, problems: &mut Problems<'_>) -> Vec<Endpoint> {
    if let Some(list) = cluster.endpoints.given().filter(|list| list.is_empty) {
        let problem = Problem::at(&list.origin, "the cluster has no endpoint");
        problems.push(problem.hint(Some("list at least one: endpoints = [\"127.0.0.1:8080\"]")));
    }
    let mut first: HashMap<&Address, &Origin> = HashMap::new();
    let mut endpoints = Vec::new();
    for entry in cluster.endpoints.items() {
        let Some(address) = entry.address.given() else {
            continue;
        };
        if matches!(address.value, Address::Ip(ip) if ip.port() == 0) {
            problems.push(
                Problem::at(&address.origin, "nothing can be reached at port 0").allowed("a port from 1 to 65535"),
            );
        }
        match first.get(&address.value) {
            Some(earlier) => {
                let message = format!("the endpoint {} is listed twice", address.value);
                let problem = Problem::at(&address.origin, message).earlier(earlier);
                problems.push(problem.hint(Some("for a larger share, write { address = \"...\", weight = 2 }")));
            }
            None => drop(first.insert(&address.value, &address.origin)),
        }
        endpoints.push(endpoint(entry, address));
    }
    endpoints
}

fn endpoint(entry: &EndpointEntry, address: &Located<Address>) -> Endpoint {
    Endpoint { address: address.value.clone(), weight: entry.weight }
}
