//! The route table of one HTTP connection manager: virtual hosts by domain, routes by path.

mod choice;
mod hosts;
mod index;
mod literal;
mod pattern;
mod trie;

use super::matcher::{self, Request};
use crate::http::RouteRef;
use hosts::Hosts;
use index::RouteIndex;
use ringway_config::model;

/// Made once per configuration and shared by all shards.
#[derive(Debug)]
pub struct RouteTable {
    virtual_hosts: Vec<VirtualHost>,
    hosts: Hosts,
    index: RouteIndex,
}

#[derive(Debug)]
pub struct VirtualHost {
    pub name: Box<str>,
    pub routes: Vec<Route>,
}

#[derive(Debug)]
pub struct Route {
    pub name: Option<Box<str>>,
    pub matcher: model::RouteMatch,
    pub action: model::RouteAction,
}

impl RouteTable {
    pub fn new(virtual_hosts: &[model::VirtualHost]) -> Self {
        Self {
            virtual_hosts: virtual_hosts.iter().map(VirtualHost::new).collect(),
            hosts: Hosts::new(virtual_hosts),
            index: RouteIndex::new(virtual_hosts),
        }
    }

    /// The first route of the request's virtual host that matches.
    #[inline]
    pub fn find(&self, request: &Request<'_>) -> Option<RouteRef> {
        let virtual_host = self.hosts.find(request.authority)?;
        let routes = || self.virtual_hosts[virtual_host as usize].routes.as_slice();
        let route = self.index.find(virtual_host, request, routes)?;
        Some(RouteRef { virtual_host, route })
    }

    pub fn route(&self, at: RouteRef) -> &Route {
        &self.virtual_hosts[at.virtual_host as usize].routes[at.route as usize]
    }

    pub fn virtual_host(&self, at: RouteRef) -> &VirtualHost {
        &self.virtual_hosts[at.virtual_host as usize]
    }
}

impl VirtualHost {
    fn new(host: &model::VirtualHost) -> Self {
        Self { name: host.name.as_str().into(), routes: host.routes.iter().map(Route::new).collect() }
    }
}

impl Route {
    fn new(route: &model::Route) -> Self {
        let name = route.name.as_deref().map(Into::into);
        Self { name, matcher: route.matcher.clone(), action: route.action.clone() }
    }

    /// Bytes of the path that a prefix rewrite replaces.
    pub fn matched_len(&self, path: &[u8]) -> usize {
        matcher::matched_len(&self.matcher.path, path)
    }
}

#[cfg(test)]
mod cost_tests;
#[cfg(test)]
mod guard_tests;
#[cfg(test)]
mod tests;
