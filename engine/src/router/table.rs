//! The route table of one HTTP connection manager: virtual hosts by domain, routes in order.

use super::matcher::{self, Request};
use crate::http::RouteRef;
use ringway_config::model;
use std::collections::HashMap;

/// Made once per configuration and shared by all shards.
#[derive(Debug)]
pub struct RouteTable {
    virtual_hosts: Vec<VirtualHost>,
    exact: HashMap<Box<[u8]>, u32>,
    /// `*.suffix` without the star, longest first.
    suffixes: Vec<(Box<[u8]>, u32)>,
    /// `prefix.*` without the star, longest first.
    prefixes: Vec<(Box<[u8]>, u32)>,
    /// `*`.
    any: Option<u32>,
    /// Nothing but `*`: no need to look at the host.
    only_any: bool,
}

#[derive(Debug)]
pub struct VirtualHost {
    pub name: Box<str>,
    pub routes: Vec<Route>,
}

#[derive(Debug)]
pub struct Route {
    pub name: Option<Box<str>>,
    matcher: model::RouteMatch,
    pub action: Action,
}

/// `model::RouteAction`, ready to use.
#[derive(Debug)]
pub enum Action {
    Forward(model::Forward),
    Redirect(model::Redirect),
    DirectResponse(model::DirectResponse),
}

/// Hosts longer than this are compared without a lower-case copy on the stack; no DNS name is (RFC 1035: 255).
const HOST_MAX: usize = 300;

impl RouteTable {
    pub fn new(virtual_hosts: &[model::VirtualHost]) -> Self {
        let mut table = Self {
            virtual_hosts: Vec::new(),
            exact: HashMap::new(),
            suffixes: Vec::new(),
            prefixes: Vec::new(),
            any: None,
            only_any: false,
        };
        for (index, host) in virtual_hosts.iter().enumerate() {
            for domain in &host.domains {
                table.add_domain(domain, index as u32);
            }
            table.virtual_hosts.push(VirtualHost {
                name: host.name.as_str().into(),
                routes: host.routes.iter().map(Route::new).collect(),
            });
        }
        let by_length = |a: &(Box<[u8]>, u32), b: &(Box<[u8]>, u32)| b.0.len().cmp(&a.0.len());
        table.suffixes.sort_by(by_length);
        table.prefixes.sort_by(by_length);
        table.only_any =
            table.any.is_some() && table.exact.is_empty() && table.suffixes.is_empty() && table.prefixes.is_empty();
        table
    }

    fn add_domain(&mut self, domain: &str, index: u32) {
        if domain == "*" {
            self.any = Some(index);
        } else if let Some(suffix) = domain.strip_prefix('*') {
            self.suffixes.push((suffix.as_bytes().into(), index));
        } else if let Some(prefix) = domain.strip_suffix('*') {
            self.prefixes.push((prefix.as_bytes().into(), index));
        } else {
            self.exact.insert(domain.as_bytes().into(), index);
        }
    }

    /// The first route of the request's virtual host that matches.
    pub fn find(&self, request: &Request<'_>) -> Option<RouteRef> {
        let virtual_host = self.find_virtual_host(request.authority)?;
        let routes = &self.virtual_hosts[virtual_host as usize].routes;
        let route = routes.iter().position(|route| matcher::matches(&route.matcher, request))?;
        Some(RouteRef { virtual_host, route: route as u32 })
    }

    /// Envoy's order: exact, longest suffix, longest prefix, any. The port does not count.
    fn find_virtual_host(&self, authority: &[u8]) -> Option<u32> {
        if self.only_any {
            return self.any;
        }
        let mut lower = [0; HOST_MAX];
        let Some(host) = lower.get_mut(..authority.len()) else { return self.any };
        host.copy_from_slice(authority);
        host.make_ascii_lowercase();
        let host = &*host;
        let host = without_port(host);
        let listed = |list: &[(Box<[u8]>, u32)], holds: fn(&[u8], &[u8]) -> bool| {
            // The star stands for at least one byte.
            list.iter().find(|(part, _)| host.len() > part.len() && holds(host, part)).map(|(_, index)| *index)
        };
        self.exact
            .get(host)
            .copied()
            .or_else(|| listed(&self.suffixes, <[u8]>::ends_with))
            .or_else(|| listed(&self.prefixes, <[u8]>::starts_with))
            .or(self.any)
    }

    pub fn route(&self, at: RouteRef) -> &Route {
        &self.virtual_hosts[at.virtual_host as usize].routes[at.route as usize]
    }

    pub fn virtual_host(&self, at: RouteRef) -> &VirtualHost {
        &self.virtual_hosts[at.virtual_host as usize]
    }
}

/// The host of an authority; an IPv6 address keeps its brackets.
fn without_port(authority: &[u8]) -> &[u8] {
    match authority.iter().rposition(|&byte| byte == b':' || byte == b']') {
        Some(at) if authority[at] == b':' => &authority[..at],
        _ => authority,
    }
}

impl Route {
    fn new(route: &model::Route) -> Self {
        let action = match &route.action {
            model::RouteAction::Forward(forward) => Action::Forward(forward.clone()),
            model::RouteAction::Redirect(redirect) => Action::Redirect(redirect.clone()),
            model::RouteAction::DirectResponse(response) => Action::DirectResponse(response.clone()),
        };
        Self { name: route.name.as_deref().map(Into::into), matcher: route.matcher.clone(), action }
    }

    /// Bytes of the path that a prefix rewrite replaces.
    pub fn matched_len(&self, path: &[u8]) -> usize {
        matcher::matched_len(&self.matcher.path, path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{Method, RequestHead};

    fn host(name: &str, domains: &[&str]) -> model::VirtualHost {
        model::VirtualHost {
            name: name.into(),
            domains: domains.iter().map(|domain| (*domain).into()).collect(),
            routes: Vec::new(),
        }
    }

    fn find(table: &RouteTable, authority: &str) -> Option<String> {
        let index = table.find_virtual_host(authority.as_bytes())?;
        Some(table.virtual_hosts[index as usize].name.to_string())
    }

    #[test]
    fn hosts_match_in_envoys_order() {
        let table = RouteTable::new(&[
            host("any", &["*"]),
            host("short", &["*.example.com"]),
            host("long", &["*.api.example.com"]),
            host("prefix", &["www.*"]),
            host("exact", &["www.example.com", "[::1]"]),
        ]);
        for (authority, expected) in [
            ("www.example.com", "exact"),
            ("WWW.Example.COM:8080", "exact"),
            ("a.example.com", "short"),
            ("a.api.example.com", "long"),
            ("example.com", "any"),
            (".example.com", "any"),
            ("www.other.org", "prefix"),
            ("[::1]", "exact"),
            ("[::1]:80", "exact"),
            ("", "any"),
        ] {
            assert_eq!(find(&table, authority).as_deref(), Some(expected), "{authority}");
        }
        let none = RouteTable::new(&[host("one", &["one.org"])]);
        assert_eq!(find(&none, "two.org"), None);
        assert_eq!(find(&none, &"x".repeat(400)), None);
    }

    #[test]
    fn the_first_matching_route_wins() {
        let route = |path: model::PathMatch| model::Route {
            name: None,
            matcher: model::RouteMatch { path, case_sensitive: true, methods: vec![], headers: vec![] },
            action: model::RouteAction::DirectResponse(model::DirectResponse {
                status: 200,
                body: vec![],
                content_type: String::new(),
            }),
        };
        let mut any = host("any", &["*"]);
        any.routes = vec![
            route(model::PathMatch::Exact("/a".into())),
            route(model::PathMatch::PathSeparatedPrefix("/api".into())),
            route(model::PathMatch::Prefix("/".into())),
        ];
        let table = RouteTable::new(&[any]);
        let head = RequestHead::default();
        for (path, expected) in [("/a", 0), ("/ab", 2), ("/api", 1), ("/api/x", 1), ("/apix", 2)] {
            let request = Request {
                authority: b"x",
                path: path.as_bytes(),
                method: Method::Get,
                method_bytes: b"GET",
                head: &head,
                bytes: b"",
            };
            assert_eq!(table.find(&request).map(|found| found.route), Some(expected), "{path}");
        }
    }
}
