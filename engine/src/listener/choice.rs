//! Which filter chain a connection is for: the first in the order of the file whose conditions all hold, found without
//! looking at each.

use crate::net::Arrival;
use ringway_config::model::{Cidr, FilterChain, FilterChainMatch};
use std::collections::HashMap;
use std::net::IpAddr;

/// The chains of one listener, by what they ask of a connection. Made once and shared by all shards.
#[derive(Debug, Default)]
pub struct ChainMatcher {
    /// Chains that name a destination port, by each of the ports that they name.
    by_port: HashMap<u16, Sources>,
    /// Chains that do not.
    any_port: Sources,
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
        for (index, chain) in chains.iter().enumerate() {
            let index = u32::try_from(index).unwrap_or(u32::MAX);
            let Some(matcher) = &chain.matcher else {
                this.any_port.add(&[], index);
                continue;
            };
            let ranges = &matcher.source_prefix_ranges;
            if matcher.destination_ports.is_empty() {
                this.any_port.add(ranges, index);
            }
            for port in &matcher.destination_ports {
                this.by_port.entry(*port).or_default().add(ranges, index);
            }
        }
        this
    }

    /// The place of the first chain for this connection.
    pub fn choose(&self, arrival: &Arrival) -> Option<usize> {
        let remote = arrival.remote.map(|remote| remote.ip());
        let of_port = arrival.local.and_then(|local| self.by_port.get(&local.port()));
        let candidates = [of_port.and_then(|sources| sources.first(remote)), self.any_port.first(remote)];
        candidates.into_iter().flatten().min().map(|index| index as usize)
    }
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
    (source.is_empty() || arrival.remote.is_some_and(from))
        && (ports.is_empty() || arrival.local.is_some_and(|local| ports.contains(&local.port())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::random::Random;
    use ringway_config::model::{NetworkFilter, Place};
    use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};

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
        (random.below(8) > 0).then(|| FilterChainMatch {
            source_prefix_ranges: list(4).map(|_| range(random)).collect(),
            destination_ports: list(3).map(|_| random.below(4) as u16).collect(),
        })
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
                let arrival = Arrival { remote, local, ..Arrival::default() };
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
