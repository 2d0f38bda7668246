//! Requests for a host whose clients are asked for other certificates than the client of this connection was: status
//! 421 (RFC 9110 section 15.5.20). Without it, a client could reach a site that wants certificates over a connection
//! that it made for another one.
//!
//! What is compared is what the host's name would have chosen in a handshake, and never names: two names of one filter
//! chain, or of two that ask for the same, may share a connection.

use super::connection::Connection;
use super::manager::Hcm;
use crate::http::{Exchange, split_port};
use crate::net::tls::client_hello::is_host_name;
use crate::net::{Arrival, ChainMatcher};
use ringway_config::model::{ClientCertificate, FilterChain};
use std::sync::Arc;

/// The longest host name.
const NAME_MAX: usize = 253;

/// A filter chain among those of its listener, where they do not ask clients for the same.
#[derive(Clone)]
pub struct TlsContext {
    listener: Arc<Contexts>,
    policy: usize,
}

/// The chains of a listener.
struct Contexts {
    matcher: Arc<ChainMatcher>,
    /// What each asks of clients, as a number; `None` without TLS.
    policies: Vec<Option<usize>>,
}

impl TlsContext {
    /// For each chain; none where all that have TLS ask for the same, or where names do not choose between them.
    pub fn of_chains(chains: &[FilterChain], matcher: &Arc<ChainMatcher>) -> Vec<Option<Self>> {
        let mut distinct: Vec<&Option<ClientCertificate>> = Vec::new();
        let policies = chains.iter().map(|chain| {
            let asked = &chain.tls.as_ref()?.client_certificate;
            let known = distinct.iter().position(|other| *other == asked);
            Some(known.unwrap_or_else(|| {
                distinct.push(asked);
                distinct.len() - 1
            }))
        });
        let policies: Vec<_> = policies.collect();
        let is_by_name =
            chains.iter().any(|chain| chain.matcher.as_ref().is_some_and(|asked| !asked.server_names.is_empty()));
        if distinct.len() < 2 || !is_by_name {
            return vec![None; chains.len()];
        }
        let listener = Arc::new(Contexts { matcher: matcher.clone(), policies });
        let of = |policy: &Option<usize>| policy.map(|policy| Self { listener: listener.clone(), policy });
        listener.policies.iter().map(of).collect()
    }

    #[inline(never)]
    fn is_left_on(&self, connection: &Connection, exchange: &Exchange) -> bool {
        let authority = exchange.request.head.authority.of(exchange.request.view());
        connection.tls().is_some_and(|tls| self.is_left_by(authority, tls.server_name.as_deref(), &connection.arrival))
    }

    /// Whether the host's name would have chosen a chain that asks clients for something else. `asked`: the name that the client
    /// asked for in its handshake.
    pub fn is_left_by(&self, authority: &[u8], asked: Option<&str>, arrival: &Arrival) -> bool {
        let (host, _) = split_port(authority);
        let host = host.strip_suffix(b".").unwrap_or(host);
        let asked = asked.map(|name| name.strip_suffix('.').unwrap_or(name));
        // Nearly always it is the name of the handshake. HTTP/1.0 may name no host.
        if host.is_empty() || asked.is_some_and(|asked| asked.as_bytes().eq_ignore_ascii_case(host)) {
            return false;
        }
        let mut lower = [0; NAME_MAX];
        let name = lower.get_mut(..host.len()).and_then(|lower| {
            lower.copy_from_slice(host);
            lower.make_ascii_lowercase();
            std::str::from_utf8(lower).ok().filter(|name| is_host_name(name))
        });
        // An address is no name, and asks for none.
        let chosen = self.listener.matcher.choose_by_name(arrival, name);
        let policy = chosen.and_then(|chosen| self.listener.policies.get(chosen).copied().flatten());
        policy.is_some_and(|policy| policy != self.policy)
    }
}

/// Whether the request belongs on another connection.
#[inline]
pub(super) fn is_misdirected(hcm: &Hcm, connection: &Connection, exchange: &Exchange) -> bool {
    hcm.tls_context.as_ref().is_some_and(|context| context.is_left_on(connection, exchange))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What becomes of chains with these matches and keys of `tls`; `None`: without TLS.
    fn policies(chains: &[(&str, Option<&str>)]) -> Vec<Option<usize>> {
        let mut text = "[[listeners]]\naddress = \"127.0.0.1:1\"\n".to_owned();
        for (matcher, tls) in chains {
            text += &format!("[[listeners.filter_chains]]\nmatch = {matcher}\n");
            if let Some(tls) = tls {
                text += &format!("tls = {{ certificate = \"c.pem\", key = \"c.key\"{tls} }}\n");
            }
            text += "http.routes = [{ match = { prefix = \"/\" }, direct_response = { status = 200 } }]\n";
        }
        let config = ringway_config::load_str("test.toml", &text).unwrap_or_else(|problems| panic!("{problems}"));
        let chains = &config.listeners[0].filter_chains;
        let contexts = TlsContext::of_chains(chains, &Arc::new(ChainMatcher::new(chains)));
        contexts.into_iter().map(|context| context.map(|context| context.policy)).collect()
    }

    #[test]
    fn chains_that_ask_clients_for_the_same_need_no_look() {
        let (a, b) = ("{ server_names = [\"a.example\"] }", "{ server_names = [\"b.example\"] }");
        let (raw, inside) = ("{ transport_protocol = \"raw_buffer\" }", "{ source_prefix_ranges = [\"10.0.0.0/8\"] }");
        let (required, other) =
            (", client_certificate = { ca = \"ca.pem\" }", ", client_certificate = { ca = \"b.pem\" }");
        let optional = ", client_certificate = { ca = \"ca.pem\", required = false }";
        assert_eq!(policies(&[(a, Some("")), (b, Some("")), (raw, None)]), [None; 3]);
        assert_eq!(policies(&[(a, Some(required)), (b, Some(required))]), [None; 2]);
        assert_eq!(policies(&[(a, Some(", min_version = \"1.3\"")), (b, Some(""))]), [None; 2]);
        // A name does not lead from one to the other.
        assert_eq!(policies(&[(inside, Some(required)), (raw, None)]), [None; 2]);
        assert_eq!(policies(&[(a, Some(required)), (b, Some("")), (raw, None)]), [Some(0), Some(1), None]);
        assert_eq!(policies(&[(a, Some(required)), (b, Some(optional))]), [Some(0), Some(1)]);
        assert_eq!(policies(&[(a, Some(required)), (b, Some(other))]), [Some(0), Some(1)]);
    }
}
