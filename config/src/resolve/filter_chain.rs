//! The filter chains of a listener: what each asks of a connection, and which of them can have one.

use std::collections::HashMap;
use std::sync::Arc;

use super::Resolver;
use super::implies::list_implies;
use super::reach::COMPARISONS_MAX;
use crate::diagnostic::Problem;
use crate::document;
use crate::model::{Cidr, FilterChain, FilterChainMatch, NetworkFilter, TransportProtocol};
use crate::place::Origin;
use crate::reader::{List, Located, Slot};

impl<'d> Resolver<'d, '_, '_> {
    pub(super) fn filter_chains(&mut self, listener: &'d Located<document::Listener>) -> Vec<FilterChain> {
        let written = listener.filter_chains.items();
        let hint = "list at least one, or write http = { ... } instead";
        self.refuse_empty(&listener.filter_chains, "the listener has no filter chain", hint);
        let mut names = HashMap::new();
        let mut matches: Vec<(FilterChainMatch, &Origin)> = Vec::new();
        let mut chains = Vec::new();
        for (index, chain) in written.iter().enumerate() {
            if let Some(name) = chain.name.given() {
                self.unique(&mut names, name.0.as_str(), &name.origin, |name| {
                    format!("two filter chains have the name `{name}`")
                });
            }
            if chain.r#match.origin().is_none() && !chain.has_unknown && index + 1 < written.len() {
                let problem =
                    Problem::at(&chain.origin, "this chain takes every connection: the chains after it get none");
                self.problems.push(problem.hint(Some("give it a `match`, or put it last")));
            }
            let matcher = chain.r#match.given().map(|matcher| self.chain_match(matcher, &mut matches));
            if let Some(written) = chain.r#match.given() {
                self.check_family(listener, written.source_prefix_ranges.items());
                self.check_transport(chain, written);
            }
            if let Some(http) = chain.http.given() {
                self.check_peers(listener, http);
                let name = chain.name.value().unwrap_or_else(|| format!("filter_chain_{index}"));
                let tls = self.downstream_tls(&chain.tls, http.codec_type.0);
                let filter = NetworkFilter::Http(Arc::new(self.http(http)));
                chains.push(FilterChain { place: self.problems.place(&chain.origin), name, matcher, tls, filter });
            }
        }
        if chains.iter().any(FilterChain::is_about_tls) {
            // A connection without TLS is of no use to a chain with it, and may be to one behind it.
            for chain in chains.iter_mut().filter(|chain| chain.tls.is_some()) {
                chain.matcher.get_or_insert_default().transport_protocol.get_or_insert(TransportProtocol::Tls);
            }
        }
        if chains.len() == written.len() {
            self.check_chains(&chains, written);
        }
        chains
    }

    fn chain_match(
        &mut self,
        written: &'d Located<document::FilterChainMatch>,
        earlier: &mut Vec<(FilterChainMatch, &'d Origin)>,
    ) -> FilterChainMatch {
        let ports = written.destination_ports.items();
        let matcher = FilterChainMatch {
            source_prefix_ranges: written.source_prefix_ranges.values(),
            destination_ports: ports.iter().map(|port| port.to_u16()).collect(),
            server_names: written.server_names.values(),
            application_protocols: written.application_protocols.values(),
            transport_protocol: written.transport_protocol.given().map(|it| it.value),
        };
        let lists = [
            state(&written.source_prefix_ranges),
            state(&written.destination_ports),
            state(&written.server_names),
            state(&written.application_protocols),
        ];
        if !lists.contains(&Written::Given) && matcher.transport_protocol.is_none() {
            let is_readable = !lists.contains(&Written::Invalid) && written.transport_protocol.origin().is_none();
            if is_readable && !written.has_unknown {
                let problem = Problem::at(&written.origin, "an empty match takes every connection");
                self.problems.push(problem.hint(Some("leave `match` out of the last chain, or fill it")));
            }
            return matcher;
        }
        match earlier.iter().find(|(other, _)| *other == matcher) {
            Some((_, origin)) => {
                let problem = Problem::at(&written.origin, "another filter chain has the same match");
                self.problems.push(problem.earlier(origin));
            }
            None => earlier.push((matcher.clone(), &written.origin)),
        }
        matcher
    }

    /// What a chain asks of the first bytes of its connections, and whether it speaks what comes with them.
    fn check_transport(
        &mut self,
        chain: &'d Located<document::FilterChain>,
        written: &'d Located<document::FilterChainMatch>,
    ) {
        let names = written.server_names.origin().map(|origin| (origin, "server_names"));
        let of_tls = names.or(written.application_protocols.origin().map(|origin| (origin, "application_protocols")));
        match (written.transport_protocol.given().map(|it| (it.value, &it.origin)), of_tls) {
            (Some((TransportProtocol::RawBuffer, raw)), Some((origin, key))) => {
                let message = format!("no connection matches: only TLS tells what `{key}` asks for");
                let problem = Problem::at_key(origin, message).earlier_at(raw.span.start);
                self.problems.push(problem.hint(Some("remove it, or transport_protocol = \"raw_buffer\"")));
            }
            (Some((TransportProtocol::RawBuffer, raw)), None) => {
                if let Some(tls) = chain.tls.origin() {
                    let message = "`tls` is never spoken: the chain takes connections that do not begin with TLS";
                    let problem = Problem::at_key(tls, message).earlier_at(raw.span.start);
                    self.problems.push(problem.hint(Some("remove it, or transport_protocol = \"raw_buffer\"")));
                }
            }
            (Some((TransportProtocol::Tls, origin)), _) => self.check_speaks(chain, origin),
            (None, Some((origin, _))) => self.check_speaks(chain, origin),
            (None, None) => {}
        }
    }

    fn check_speaks(&mut self, chain: &'d Located<document::FilterChain>, origin: &'d Origin) {
        if chain.tls.origin().is_none() && !chain.has_unknown {
            let message = "this chain gets connections that begin with TLS, and does not speak it";
            let hint = "add tls = { certificate = \"cert.pem\", key = \"key.pem\" } to the chain";
            self.problems.warn(Problem::at_key(origin, message).hint(Some(hint)));
        }
    }

    /// Warns of chains that no connection reaches, because one before them takes all that they match.
    fn check_chains(&mut self, chains: &[FilterChain], written: &'d [Located<document::FilterChain>]) {
        let mut comparisons = 0;
        let nothing = FilterChainMatch::default();
        let matchers: Vec<_> = chains.iter().map(|chain| chain.matcher.as_ref().unwrap_or(&nothing)).collect();
        for (index, later) in matchers.iter().enumerate() {
            let before = &matchers[..index];
            comparisons += before.len();
            if comparisons > COMPARISONS_MAX {
                return;
            }
            // An equal match, or one that asks for nothing, is an error of its own.
            let covers =
                |earlier: &&FilterChainMatch| **earlier != nothing && earlier != later && covers(earlier, later);
            if let Some(cover) = before.iter().position(covers) {
                let message = "no connection reaches this filter chain: one before it takes all that it matches";
                let problem = Problem::at(&written[index].origin, message).earlier_at(written[cover].origin.span.start);
                self.problems.warn(problem.hint(Some("put it before that one, or remove one of the two")));
            }
        }
    }
}

/// How a list stands in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Written {
    No,
    Given,
    /// It cannot be read.
    Invalid,
}

fn state<T>(list: &Slot<List<T>>) -> Written {
    match (list.given(), list.origin()) {
        (Some(given), _) if !given.is_empty => Written::Given,
        (Some(_), _) | (None, None) => Written::No,
        (None, Some(_)) => Written::Invalid,
    }
}

/// Whether every connection that matches `later` matches `earlier`, as far as can be told.
fn covers(earlier: &FilterChainMatch, later: &FilterChainMatch) -> bool {
    let transport = match earlier.transport_protocol {
        None => true,
        Some(TransportProtocol::Tls) if !later.server_names.is_empty() || !later.application_protocols.is_empty() => {
            true
        }
        asked => asked == later.transport_protocol,
    };
    let has_port = |port: &u16| earlier.destination_ports.contains(port);
    let has_protocol = |protocol: &String| earlier.application_protocols.contains(protocol);
    let has_name = |name: &String| earlier.server_names.iter().any(|wider| is_within(name, wider));
    let has_range = |range: &Cidr| earlier.source_prefix_ranges.iter().any(|wider| holds(wider, range));
    transport
        && list_implies(&later.server_names, &earlier.server_names, has_name)
        && list_implies(&later.source_prefix_ranges, &earlier.source_prefix_ranges, has_range)
        && list_implies(&later.destination_ports, &earlier.destination_ports, has_port)
        && list_implies(&later.application_protocols, &earlier.application_protocols, has_protocol)
}

/// Whether all that `name` stands for is in `wider`.
fn is_within(name: &str, wider: &str) -> bool {
    match wider.strip_prefix('*') {
        Some(suffix) => name == wider || (name.ends_with(suffix) && name.trim_start_matches('*').len() > suffix.len()),
        None => name == wider,
    }
}

fn holds(wider: &Cidr, range: &Cidr) -> bool {
    wider.address.is_ipv4() == range.address.is_ipv4()
        && wider.prefix_len <= range.prefix_len
        && wider.contains(range.address)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_within_others() {
        for (name, wider, expected) in [
            ("a.b", "a.b", true),
            ("a.b", "*.b", true),
            ("x.a.b", "*.b", true),
            ("*.a.b", "*.b", true),
            ("*.b", "*.b", true),
            ("*.b", "*.a.b", false),
            ("b", "*.b", false),
            ("xb", "*.b", false),
            ("*.b", "a.b", false),
            ("*.xb", "*.b", false),
        ] {
            assert_eq!(is_within(name, wider), expected, "{name} in {wider}");
        }
    }
}
