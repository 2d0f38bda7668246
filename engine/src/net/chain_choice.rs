//! Which filter chain a connection is for: the first in the order of the file whose conditions all hold, found without
//! looking at each.

use super::{Arrival, FirstBytes};
use ringway_config::model::{Cidr, FilterChain, FilterChainMatch, TransportProtocol};
use std::collections::HashMap;
use std::net::IpAddr;

/// The chains of one listener, by what they ask of a connection. Made once and shared by all shards.
#[derive(Debug, Default)]
pub struct ChainMatcher {
    /// The names that chains ask for, `*.example.com` as `.example.com`. Those that the same chains ask for have the
    /// same number.
    names: HashMap<Box<str>, u32>,
    /// Protocols likewise.
    protocols: HashMap<Box<str>, u32>,
    chains: HashMap<Key, Sources>,
}

/// Conditions but for the client's address; `None` and 0 ask for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key {
    port: Option<u16>,
    transport: Option<TransportProtocol>,
    name: u32,
    protocol: u32,
}

/// Chains by the client's address. Of those that ask for the same, only the first can be chosen.
#[derive(Debug, Default)]
struct Sources {
    any: Option<u32>,
    v4: Prefixes,
    v6: Prefixes,
}

/// Chains by ranges of addresses.
#[derive(Debug, Default)]
struct Prefixes {
    /// The lengths that occur.
    lengths: Vec<u8>,
    /// By length and the range's bits, shifted to the right end.
    chains: HashMap<(u8, u128), u32>,
}

impl ChainMatcher {
    pub fn new(chains: &[FilterChain]) -> Self {
        let mut this = Self::default();
        let nothing = FilterChainMatch::default();
        let matchers: Vec<_> = chains.iter().map(|chain| chain.matcher.as_ref().unwrap_or(&nothing)).collect();
        let (names, of_name) = numbered(&matchers, |matcher| &matcher.server_names);
        let (protocols, of_protocol) = numbered(&matchers, |matcher| &matcher.application_protocols);
        for (index, matcher) in matchers.iter().enumerate() {
            let ports = matcher.destination_ports.iter().map(|port| Some(*port));
            let ports: Vec<_> = if matcher.destination_ports.is_empty() { vec![None] } else { ports.collect() };
            for (port, name) in ports.iter().flat_map(|port| of_name[index].iter().map(move |name| (*port, *name))) {
                for protocol in &of_protocol[index] {
                    let key = Key { port, transport: matcher.transport_protocol, name, protocol: *protocol };
                    let sources = this.chains.entry(key).or_default();
                    sources.add(&matcher.source_prefix_ranges, u32::try_from(index).unwrap_or(u32::MAX));
                }
            }
        }
        Self { names, protocols, ..this }
    }

    /// The place of the first chain for this connection.
    pub fn choose(&self, arrival: &Arrival) -> Option<usize> {
        match arrival.first.as_deref() {
            None => self.first(arrival, None, None, &[0]),
            Some(FirstBytes::Raw) => self.first(arrival, Some(TransportProtocol::RawBuffer), None, &[0]),
            Some(FirstBytes::Tls { asked, .. }) => {
                let mut protocols = vec![0];
                if !self.protocols.is_empty() {
                    let offered = asked.protocols().filter_map(|name| std::str::from_utf8(name).ok());
                    protocols.extend(offered.filter_map(|name| self.protocols.get(name)));
                    // A client may repeat itself thousands of times.
                    protocols.sort_unstable();
                    protocols.dedup();
                }
                self.first(arrival, Some(TransportProtocol::Tls), asked.server_name.as_deref(), &protocols)
            }
        }
    }

    /// The same for a client there that would ask for another name, in lower case, and speak HTTP.
    pub fn choose_by_name(&self, arrival: &Arrival, name: Option<&str>) -> Option<usize> {
        let mut http = ["", "http/1.1", "h2"].map(|name| self.protocols.get(name).copied().unwrap_or_default());
        http.sort_unstable();
        self.first(arrival, Some(TransportProtocol::Tls), name, &http)
    }

    fn first(
        &self,
        arrival: &Arrival,
        transport: Option<TransportProtocol>,
        name: Option<&str>,
        protocols: &[u32],
    ) -> Option<usize> {
        let remote = arrival.remote.map(|remote| remote.ip());
        let port = arrival.local.map(|local| local.port());
        let mut first: Option<u32> = None;
        // Each once without a condition, and once with what is known.
        for port in std::iter::once(None).chain(port.map(Some)) {
            for transport in std::iter::once(None).chain(transport.map(Some)) {
                for name in std::iter::once(0).chain(name.into_iter().flat_map(|name| self.numbers_of(name))) {
                    for protocol in protocols.iter().copied() {
                        let sources = self.chains.get(&Key { port, transport, name, protocol });
                        let found = sources.and_then(|sources| sources.first(remote));
                        first = [first, found].into_iter().flatten().min();
                    }
                }
            }
        }
        first.map(|index| index as usize)
    }

    /// The numbers of what chains ask for that this name has.
    fn numbers_of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = u32> + 'a {
        let name = Some(name).filter(|_| !self.names.is_empty());
        let suffixes = name.into_iter().flat_map(|name| name.match_indices('.').map(move |(at, _)| &name[at..]));
        name.into_iter().chain(suffixes).filter_map(|text| self.names.get(text).copied())
    }
}

/// A number for each text in these lists, the same for texts in the same lists, and the numbers in each list: 0 where
/// it is empty.
fn numbered(
    matchers: &[&FilterChainMatch],
    list: impl Fn(&FilterChainMatch) -> &Vec<String>,
) -> (HashMap<Box<str>, u32>, Vec<Vec<u32>>) {
    let mut lists_of: HashMap<&str, Vec<usize>> = HashMap::new();
    for (index, matcher) in matchers.iter().enumerate() {
        for text in list(matcher) {
            let lists = lists_of.entry(text.strip_prefix('*').unwrap_or(text)).or_default();
            if lists.last() != Some(&index) {
                lists.push(index);
            }
        }
    }
    let mut numbers: HashMap<Vec<usize>, u32> = HashMap::new();
    let mut texts = HashMap::new();
    for (text, lists) in lists_of {
        let next = u32::try_from(numbers.len() + 1).unwrap_or(u32::MAX);
        texts.insert(text.into(), *numbers.entry(lists).or_insert(next));
    }
    let mut of_list: Vec<Vec<u32>> =
        matchers.iter().map(|matcher| if list(matcher).is_empty() { vec![0] } else { vec![] }).collect();
    for (lists, number) in numbers {
        lists.into_iter().for_each(|index| of_list[index].push(number));
    }
    (texts, of_list)
}

impl Sources {
    /// A chain behind all that were added before. Without ranges it takes every address.
    fn add(&mut self, ranges: &[Cidr], index: u32) {
        if ranges.is_empty() {
            self.any.get_or_insert(index);
        }
        for range in ranges {
            let (prefixes, bits, width) = match range.address {
                IpAddr::V4(address) => (&mut self.v4, u128::from(address.to_bits()), 32),
                IpAddr::V6(address) => (&mut self.v6, address.to_bits(), 128),
            };
            prefixes.add(bits, width, range.prefix_len.min(width), index);
        }
    }

    fn first(&self, remote: Option<IpAddr>) -> Option<u32> {
        let in_range = remote.and_then(|remote| match remote.to_canonical() {
            IpAddr::V4(address) => self.v4.first(u128::from(address.to_bits()), 32),
            IpAddr::V6(address) => self.v6.first(address.to_bits(), 128),
        });
        [in_range, self.any].into_iter().flatten().min()
    }
}

impl Prefixes {
    fn add(&mut self, bits: u128, width: u8, len: u8, index: u32) {
        if !self.lengths.contains(&len) {
            self.lengths.push(len);
        }
        self.chains.entry((len, prefix(bits, width, len))).or_insert(index);
    }

    fn first(&self, bits: u128, width: u8) -> Option<u32> {
        let of_length = |len: &u8| self.chains.get(&(*len, prefix(bits, width, *len))).copied();
        self.lengths.iter().filter_map(of_length).min()
    }
}

/// The first `len` of `width` bits.
fn prefix(bits: u128, width: u8, len: u8) -> u128 {
    bits.checked_shr(u32::from(width - len)).unwrap_or(0)
}

/// Whether a connection is for the filter chain, condition by condition: what `ChainMatcher` amounts to.
pub fn matches(matcher: &FilterChainMatch, arrival: &Arrival) -> bool {
    let source = &matcher.source_prefix_ranges;
    let ports = &matcher.destination_ports;
    let from = |remote: std::net::SocketAddr| source.iter().any(|range| range.contains(remote.ip()));
    let asked = match arrival.first.as_deref() {
        Some(FirstBytes::Tls { asked, .. }) => Some(asked),
        Some(FirstBytes::Raw) | None => None,
    };
    let name = asked.and_then(|asked| asked.server_name.as_deref());
    let is_for = |wanted: &String, name: &str| match wanted.strip_prefix('*') {
        Some(suffix) => name.strip_suffix(suffix).is_some_and(|before| !before.is_empty()),
        None => wanted == name,
    };
    let is_offered = |wanted: &String| asked.is_some_and(|asked| asked.protocols().any(|it| it == wanted.as_bytes()));
    let protocols = &matcher.application_protocols;
    (source.is_empty() || arrival.remote.is_some_and(from))
        && (ports.is_empty() || arrival.local.is_some_and(|local| ports.contains(&local.port())))
        && (matcher.server_names.is_empty()
            || name.is_some_and(|name| matcher.server_names.iter().any(|wanted| is_for(wanted, name))))
        && (protocols.is_empty() || protocols.iter().any(is_offered))
        && match matcher.transport_protocol {
            None => true,
            Some(TransportProtocol::Tls) => asked.is_some(),
            Some(TransportProtocol::RawBuffer) => matches!(arrival.first.as_deref(), Some(FirstBytes::Raw)),
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use crate::net::tls::client_hello::Asked;
    use ringway_config::model::{NetworkFilter, Place};
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
    use std::rc::Rc;

    fn filter() -> NetworkFilter {
        let text = "[[listeners]]\naddress = \"127.0.0.1:1\"\n\
                    http.routes = [{ match = { prefix = \"/\" }, direct_response = { status = 200 } }]";
        let mut config = ringway_config::load_str("test.toml", text).unwrap_or_else(|problems| panic!("{problems}"));
        config.listeners.remove(0).filter_chains.remove(0).filter
    }

    /// Few bits and few lengths, so that ranges overlap and addresses hit them.
    fn address(random: &Random) -> IpAddr {
        let bits = random.below(16) as u32;
        match random.below(4) {
            0 => IpAddr::V6(Ipv6Addr::from_bits(u128::from(bits) << 124)),
            1 => IpAddr::V6(Ipv4Addr::from_bits(bits << 28).to_ipv6_mapped()),
            _ => IpAddr::V4(Ipv4Addr::from_bits(bits << 28)),
        }
    }

    fn range(random: &Random) -> Cidr {
        let address = address(random).to_canonical();
        let longest = if address.is_ipv4() { 32 } else { 128 };
        Cidr { address, prefix_len: [0, 1, 2, 3, 4, longest][random.below(6) as usize] }
    }

    fn matcher(random: &Random) -> Option<FilterChainMatch> {
        let list = |most: u64| 0..random.below(most);
        let texts =
            |from: &[&str]| list(3).map(|_| from[random.below(from.len() as u64) as usize].to_owned()).collect();
        let has_names = random.below(2) > 0;
        (random.below(8) > 0).then(|| FilterChainMatch {
            source_prefix_ranges: list(4).map(|_| range(random)).collect(),
            destination_ports: list(3).map(|_| random.below(4) as u16).collect(),
            server_names: if has_names { texts(&NAMES) } else { vec![] },
            application_protocols: if has_names { texts(&PROTOCOLS) } else { vec![] },
            transport_protocol: match random.below(6) {
                0 => Some(TransportProtocol::Tls),
                1 => Some(TransportProtocol::RawBuffer),
                _ => None,
            },
        })
    }

    const NAMES: [&str; 8] = ["a", "b.a", "c.b.a", "d.c.b.a", "*.a", "*.b.a", "*.c.b.a", "x.b.a"];
    const PROTOCOLS: [&str; 3] = ["h2", "http/1.1", "acme-tls/1"];

    fn first(random: &Random) -> Option<Rc<FirstBytes>> {
        let name =
            [None, Some("a"), Some("b.a"), Some("c.b.a"), Some("d.c.b.a"), Some("x.b.a"), Some("xb.a"), Some("b")];
        let name = name[random.below(8) as usize];
        let offered: Vec<&str> = (0..random.below(4)).map(|_| PROTOCOLS[random.below(3) as usize]).collect();
        match random.below(6) {
            0 => None,
            1 => Some(Rc::new(FirstBytes::Raw)),
            _ => Some(Rc::new(FirstBytes::Tls { asked: Asked::new(name, &offered), fingerprints: None })),
        }
    }

    #[test]
    fn the_first_chain_in_the_file_is_chosen_as_a_plain_scan_would() {
        let random = Random::seeded(1);
        let filter = filter();
        let mut found = [0; 2];
        for _ in 0..2000 {
            let chain = |_| FilterChain {
                tls: None,
                place: Place::default(),
                name: String::new(),
                matcher: matcher(&random),
                filter: filter.clone(),
            };
            let chains: Vec<FilterChain> = (0..1 + random.below(8)).map(chain).collect();
            let compiled = ChainMatcher::new(&chains);
            for _ in 0..20 {
                let remote = (random.below(8) > 0).then(|| SocketAddr::new(address(&random), 1));
                let local = (random.below(8) > 0).then(|| (Ipv4Addr::LOCALHOST, random.below(4) as u16).into());
                let arrival = Arrival { remote, local, first: first(&random), ..Arrival::default() };
                let holds = |chain: &FilterChain| chain.matcher.as_ref().is_none_or(|asked| matches(asked, &arrival));
                let scanned = chains.iter().position(holds);
                found[usize::from(scanned.is_some())] += 1;
                assert_eq!(
                    compiled.choose(&arrival),
                    scanned,
                    "{arrival:?} of {:?}",
                    chains.iter().map(|chain| &chain.matcher).collect::<Vec<_>>()
                );
            }
        }
        assert!(found.iter().all(|count| *count > 1000), "both ends are met: {found:?}");
    }

    #[test]
    fn ranges_hold_their_addresses() {
        let range = |address: &str, prefix_len| Cidr { address: address.parse().expect("an address"), prefix_len };
        for (range, address, expected) in [
            (range("10.0.0.0", 8), "10.255.1.2", true),
            (range("10.0.0.0", 8), "11.0.0.0", false),
            (range("10.0.0.0", 8), "::ffff:10.1.1.1", true),
            (range("0.0.0.0", 0), "1.2.3.4", true),
            (range("192.168.1.7", 32), "192.168.1.7", true),
            (range("fd00::", 8), "fdff::1", true),
            (range("::", 0), "2001:db8::1", true),
            (range("::", 0), "1.2.3.4", false),
        ] {
            assert_eq!(range.contains(address.parse().expect("an address")), expected, "{range:?} {address}");
        }
    }
}
