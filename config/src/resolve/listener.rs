//! Listeners and their filter chains.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Resolver, port_is_free};
use crate::diagnostic::Problem;
use crate::document::{self, Document};
use crate::model::{Address, FilterChain, Listener, Needed, NetworkFilter, TlsFingerprints};
use crate::place::Origin;
use crate::reader::Located;

impl<'d> Resolver<'d, '_, '_> {
    pub(super) fn listeners(&mut self, document: &'d Document) -> Vec<Listener> {
        let written = document.listeners.items();
        let nothing_written = document.listeners.origin().is_none() && !document.has_unknown;
        if nothing_written || document.listeners.given().is_some_and(|list| list.is_empty) {
            let place = document.listeners.origin().cloned();
            let place = place.unwrap_or(Origin { path: Default::default(), key: 0..0, span: 0..0 });
            let problem = Problem::at(&place, "there is no listener: nothing would be served");
            self.problems.push(problem.hint(Some("begin with [[listeners]] and address = \"0.0.0.0:10000\"")));
        }
        let mut addresses = HashMap::new();
        let mut names: HashMap<String, &Origin> = HashMap::new();
        for listener in written {
            let address = listener.address.given();
            if let Some(address) = address.filter(|address| !port_is_free(address)) {
                self.unique(&mut addresses, &address.value, &address.origin, |address| {
                    format!("two listeners have the address {address}")
                });
            }
            let name = listener.name.given();
            let text = name.map(|name| name.0.clone()).or(address.map(|address| address.to_string()));
            let Some((text, origin)) = text.zip(name.map(|name| &name.origin).or(address.map(|it| &it.origin))) else {
                continue;
            };
            // Unnamed listeners collide only through their addresses, which has been reported.
            match names.get(&text) {
                Some(earlier) if name.is_some() => {
                    let message = format!("there are two listeners with the name `{text}`");
                    self.problems.push(Problem::at(origin, message).earlier(earlier));
                }
                _ => drop(names.insert(text, origin)),
            }
        }
        let mut listeners: Vec<Listener> = written.iter().filter_map(|listener| self.listener(listener)).collect();
        let mut seen: HashMap<Address, u32> = HashMap::new();
        for listener in &mut listeners {
            let before = seen.entry(listener.address.clone()).or_default();
            listener.nth = *before;
            *before += 1;
        }
        listeners
    }

    fn listener(&mut self, listener: &'d Located<document::Listener>) -> Option<Listener> {
        let keys = [("http", listener.http.origin()), ("filter_chains", listener.filter_chains.origin())];
        self.exactly_one(
            &listener.origin,
            listener.has_unknown,
            &keys,
            "the listener does not say what to do with its connections",
        );
        self.check_ipv4_compat(listener);
        self.fingerprints = TlsFingerprints::default();
        if let (Some(tls), Some(_)) = (listener.tls.origin(), listener.filter_chains.origin()) {
            let problem = Problem::at_key(tls, "`tls` and `filter_chains` exclude each other");
            self.problems.push(problem.hint(Some("write `tls` in each filter chain that speaks it")));
        }
        let filter_chains = match listener.http.given() {
            Some(http) => {
                self.check_peers(listener, http);
                let tls = self.downstream_tls(&listener.tls, http.codec_type.0);
                let filter = NetworkFilter::Http(Arc::new(self.http(http)));
                let place = self.problems.place(&http.origin);
                vec![FilterChain { place, name: "default".into(), matcher: None, tls, filter }]
            }
            None => self.filter_chains(listener),
        };
        let written = listener.address.given()?;
        let address = &written.value;
        self.need(&written.origin, Needed::Address(address.clone()));
        let (mode, user, group) = (&listener.socket_mode, &listener.socket_user, &listener.socket_group);
        let access = self.socket_access(address, mode, user, group);
        let access_logs = listener.access_log.items().iter().filter_map(|log| self.connection_log(log)).collect();
        let default_prefix = || address.to_string().replace(':', "_");
        Some(Listener {
            place: self.problems.place(&listener.origin),
            name: listener.name.value().unwrap_or_else(|| address.to_string()),
            address: address.clone(),
            nth: 0,
            ipv4_compat: listener.ipv4_compat.value,
            access,
            stat_prefix: listener.stat_prefix.value().unwrap_or_else(default_prefix),
            filter_chains,
            max_connections: listener.max_connections.value(),
            max_connections_per_client: listener.max_connections_per_client.value(),
            access_logs,
            fingerprints: self.fingerprints,
        })
    }

    fn check_ipv4_compat(&mut self, listener: &Located<document::Listener>) {
        let Some(address) = listener.address.given().filter(|_| listener.ipv4_compat.value) else { return };
        if !is_any_v6(address) {
            let message = format!("`ipv4_compat` has no effect at {}: it is for the address [::]", address.value);
            let problem = Problem::at(&listener.ipv4_compat.origin, message);
            self.problems.push(problem.hint(Some("leave it out, or listen on \"[::]:PORT\"")));
        }
    }
}

fn is_any_v6(address: &Address) -> bool {
    matches!(address, Address::Ip(address) if address.is_ipv6() && address.ip().is_unspecified())
}
