//! What is written and has no effect, seen over the whole file: clusters without routes, hashes without a balancer that
//! hashes, addresses inside of others.

use std::net::SocketAddr;

use super::{Resolver, port_is_free};
use crate::diagnostic::Problem;
use crate::document::{self, Document, LbPolicyName};
use crate::model::Address;
use crate::place::Origin;
use crate::reader::{ClusterName, Located};

impl<'d> Resolver<'d, '_, '_> {
    /// Warns of clusters that nothing leads to.
    pub(super) fn check_unused(&mut self, document: &'d Document) {
        // A header of the request may name any of them.
        if self.names_are_dynamic {
            return;
        }
        let named = document.clusters.items().iter().filter_map(|cluster| cluster.name.given());
        for (index, name) in named.enumerate() {
            if !self.used.contains(&index) {
                let message = format!("no route leads to the cluster `{}`", name.0);
                let problem = Problem::at(&name.origin, message);
                self.problems.warn(problem.hint(Some("add a route for it, or remove it")));
            }
        }
    }

    /// Warns of a hash policy if no cluster of the route balances by hash.
    pub(super) fn check_hash(&mut self, written: &'d Located<document::Forward>) {
        let Some(policy) = written.hash_policy.given() else { return };
        let names: Vec<_> = written.clusters().collect();
        let hashes = |name: &&Located<ClusterName>| {
            let cluster = self.clusters.get(name.0.as_str());
            let policy = cluster.and_then(|(_, cluster)| cluster.lb_policy.value());
            matches!(policy, Some(LbPolicyName::RingHash | LbPolicyName::Maglev))
        };
        if names.is_empty() || names.iter().any(hashes) {
            return;
        }
        let list: Vec<_> = names.iter().map(|name| format!("`{}`", name.0)).collect();
        let message = format!("`hash_policy` has no effect: {} does not balance by hash", list.join(" or "));
        let hint = "for sticky sessions, write lb_policy = \"ring_hash\" or \"maglev\" in the cluster";
        self.problems.warn(Problem::at_key(&policy.origin, message).hint(Some(hint)));
    }

    /// Warns of addresses that lie inside of another one, which then does not get their connections.
    pub(super) fn check_overlap(&mut self, document: &'d Document) {
        let listeners = document.listeners.items().iter();
        let listeners = listeners.filter_map(|it| Some((it.address.given()?, it.ipv4_compat.value)));
        let admin = document.admin.given().map(|admin| (&admin.address, false));
        let all: Vec<Taken<'_>> = listeners.chain(admin).filter_map(Taken::new).collect();
        for inner in &all {
            if let Some(outer) = all.iter().find(|outer| outer.covers(inner)) {
                let (address, other) = (inner.address, outer.address);
                let message = format!("{address} is one of the addresses of {other}: its connections come here only");
                let problem = Problem::at(inner.origin, message).earlier_at(outer.origin.span.start);
                self.problems.warn(problem.hint(Some("give one of the two another port, or remove one")));
            }
        }
    }
}

/// An address that a listener or the admin endpoint takes.
struct Taken<'d> {
    address: SocketAddr,
    /// It is `[::]` and takes IPv4 connections, too.
    ipv4_compat: bool,
    origin: &'d Origin,
}

impl<'d> Taken<'d> {
    fn new((address, ipv4_compat): (&'d Located<Address>, bool)) -> Option<Self> {
        match &address.value {
            Address::Ip(ip) if !port_is_free(address) => {
                Some(Self { address: *ip, ipv4_compat, origin: &address.origin })
            }
            Address::Ip(_) | Address::Unix(_) => None,
        }
    }

    /// Whether the kernel, which prefers the narrower address, leaves connections to `other` that would come here.
    fn covers(&self, other: &Self) -> bool {
        let is_any = |address: SocketAddr| address.ip().is_unspecified();
        let is_wider = match self.address.is_ipv4() == other.address.is_ipv4() {
            true => !is_any(other.address),
            false => self.ipv4_compat && other.address.is_ipv4(),
        };
        is_any(self.address) && is_wider && self.address.port() == other.address.port()
    }
}
