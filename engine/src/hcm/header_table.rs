//! The header mutations of one connection manager, ready to use: its own, its virtual hosts', its routes' and its
//! weighted clusters'.

use super::named_fields::NamedFields;
use crate::http::{Mutations, RouteRef};
use ringway_config::model::{self, ClusterTarget, HeaderMutations, RouteAction};
use std::sync::atomic::{AtomicBool, Ordering};

/// For both directions.
#[derive(Debug, Default)]
pub(super) struct Headers {
    pub request: Mutations,
    pub response: Mutations,
}

/// Made once per configuration and shared by all shards.
#[derive(Debug, Default)]
pub struct HeaderTable {
    /// Headers of requests that the configuration names.
    pub(super) named: NamedFields,
    /// A peer that is not trusted has said for what client or over what scheme it forwards a request.
    has_forwarded: AtomicBool,
    /// A request has asked for an upgrade of its connection.
    has_upgrade: AtomicBool,
    /// The line `server`, as it goes out.
    pub(super) server_line: Option<Box<[u8]>>,
    /// There are mutations.
    has_any: bool,
    own: Headers,
    /// Empty where only the connection manager has any.
    hosts: Vec<Host>,
}

#[derive(Debug)]
struct Host {
    headers: Headers,
    routes: Vec<Route>,
}

#[derive(Debug)]
struct Route {
    headers: Headers,
    weighted: Vec<Headers>,
}

impl Headers {
    fn new(mutations: &HeaderMutations) -> Self {
        Self { request: Mutations::new(&mutations.request), response: Mutations::new(&mutations.response) }
    }

    fn is_empty(&self) -> bool {
        self.request.is_empty() && self.response.is_empty()
    }
}

impl HeaderTable {
    /// Whether this is the first request that a peer forwards without being trusted, on any shard.
    pub(super) fn is_first_forwarded(&self) -> bool {
        is_first(&self.has_forwarded)
    }

    /// Whether this is the first request that asks for an upgrade, on any shard.
    pub(super) fn is_first_upgrade(&self) -> bool {
        is_first(&self.has_upgrade)
    }

    pub fn new(hcm: &model::Hcm) -> Self {
        let route = |route: &model::Route| Route {
            headers: Headers::new(&route.headers),
            weighted: match &route.action {
                RouteAction::Forward(forward) => match &forward.target {
                    ClusterTarget::Weighted(clusters) => {
                        clusters.iter().map(|cluster| Headers::new(&cluster.headers)).collect()
                    }
                    ClusterTarget::Cluster(_) | ClusterTarget::Header(_) => Vec::new(),
                },
                RouteAction::Redirect(_) | RouteAction::DirectResponse(_) => Vec::new(),
            },
        };
        let host = |host: &model::VirtualHost| Host {
            headers: Headers::new(&host.headers),
            routes: host.routes.iter().map(route).collect(),
        };
        let server = &hcm.headers.server_name;
        let mut table = Self {
            server_line: (!server.is_empty()).then(|| format!("server: {server}\r\n").into_bytes().into()),
            has_any: true,
            has_forwarded: AtomicBool::new(false),
            has_upgrade: AtomicBool::new(false),
            named: NamedFields::new(hcm),
            own: Headers::new(&hcm.mutations),
            hosts: hcm.virtual_hosts.iter().map(host).collect(),
        };
        let is_plain = |route: &Route| route.headers.is_empty() && route.weighted.iter().all(Headers::is_empty);
        if table.hosts.iter().all(|host| host.headers.is_empty() && host.routes.iter().all(is_plain)) {
            table.hosts = Vec::new();
        }
        table.has_any = !(table.hosts.is_empty() && table.own.is_empty());
        table
    }

    /// What holds for an exchange, from the most specific to the least. `weighted`: the index of the cluster that was
    /// picked among the route's.
    #[inline]
    pub(super) fn for_route(&self, at: Option<RouteRef>, weighted: Option<usize>) -> impl Iterator<Item = &Headers> {
        let all = if self.has_any { Some(self.any_for_route(at, weighted)) } else { None };
        all.into_iter().flatten().flatten()
    }

    fn any_for_route(&self, at: Option<RouteRef>, weighted: Option<usize>) -> [Option<&Headers>; 4] {
        let Some(host) = at.and_then(|at| self.hosts.get(at.virtual_host as usize)) else {
            return [None, None, None, Some(&self.own)];
        };
        let route = at.and_then(|at| host.routes.get(at.route as usize));
        let cluster = route.zip(weighted).and_then(|(route, weighted)| route.weighted.get(weighted));
        [cluster, route.map(|route| &route.headers), Some(&host.headers), Some(&self.own)]
    }
}

/// Stores only once: the cache line stays with all shards.
#[cold]
fn is_first(seen: &AtomicBool) -> bool {
    !seen.load(Ordering::Relaxed) && !seen.swap(true, Ordering::Relaxed)
}
