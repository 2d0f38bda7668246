//! Sets of addresses, written as ranges and arranged to be searched: a list of thousands costs some ten comparisons.

use super::Cidr;
use std::net::IpAddr;

/// A condition on where a request comes from.
#[derive(Clone, Debug)]
pub struct AddressMatch {
    pub whose: Whose,
    pub ranges: Ranges,
    pub invert: bool,
}

/// Whose address a condition is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The client's, as trust finds it (Envoy: remote_ip).
    Client,
    /// The one of the connection's other end (Envoy: direct_remote_ip).
    Peer,
}

impl AddressMatch {
    /// No address is in no range.
    pub fn holds(&self, address: Option<IpAddr>) -> bool {
        address.is_some_and(|address| self.ranges.contain(address)) != self.invert
    }
}

#[derive(Clone, Debug)]
pub struct Ranges {
    pub written: Vec<Cidr>,
    /// First and last address of each stretch, in their order and with gaps between them.
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl Ranges {
    pub fn new(written: Vec<Cidr>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for range in &written {
            let length = u32::from(range.prefix_len);
            match range.address {
                IpAddr::V4(first) => {
                    let rest = u32::MAX.checked_shr(length).unwrap_or(0);
                    v4.push((first.to_bits(), first.to_bits() | rest));
                }
                IpAddr::V6(first) => {
                    let rest = u128::MAX.checked_shr(length).unwrap_or(0);
                    v6.push((first.to_bits(), first.to_bits() | rest));
                }
            }
        }
        Self { written, v4: joined(v4), v6: joined(v6) }
    }

    /// Whether these contain all that `other` contains.
    pub fn include(&self, other: &Self) -> bool {
        within(&self.v4, &other.v4) && within(&self.v6, &other.v6)
    }

    /// Whether one of the ranges contains the address; an IPv4-mapped IPv6 address counts as IPv4.
    pub fn contain(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(address) => has(&self.v4, address.to_bits()),
            IpAddr::V6(address) => has(&self.v6, address.to_bits()),
        }
    }
}

fn joined<T: Copy + Ord>(mut stretches: Vec<(T, T)>) -> Box<[(T, T)]> {
    stretches.sort_unstable();
    stretches.dedup_by(|(first, last), (_, end)| {
        let overlaps = *first <= *end;
        if overlaps {
            *end = (*end).max(*last);
        }
        overlaps
    });
    stretches.into()
}

fn within<T: Copy + Ord>(outer: &[(T, T)], inner: &[(T, T)]) -> bool {
    inner.iter().all(|(first, last)| {
        let begun = outer.partition_point(|(begin, _)| begin <= first);
        begun.checked_sub(1).is_some_and(|index| *last <= outer[index].1)
    })
}

fn has<T: Copy + Ord>(stretches: &[(T, T)], address: T) -> bool {
    let begun = stretches.partition_point(|(first, _)| *first <= address);
    begun.checked_sub(1).is_some_and(|index| address <= stretches[index].1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(texts: &[&str]) -> Ranges {
        let range = |text: &&str| {
            let (address, length) = text.split_once('/').expect("a range");
            Cidr { address: address.parse().expect("an address"), prefix_len: length.parse().expect("a number") }
        };
        Ranges::new(texts.iter().map(range).collect())
    }

    /// At every edge, the set has what one of its ranges has.
    #[test]
    fn a_set_holds_what_its_ranges_hold() {
        for texts in [
            &["10.0.0.0/8", "10.1.0.0/16", "10.255.255.255/32", "9.0.0.0/8", "192.0.2.0/31", "fd00::/8"][..],
            &["0.0.0.0/0", "127.0.0.1/32"],
            &["::/0", "fe80::/10", "::1/128"],
            &["255.255.255.255/32", "0.0.0.0/32", "ffff::/16"],
            &[],
        ] {
            let set = ranges(texts);
            let mut edges: Vec<IpAddr> = ["0.0.0.0", "255.255.255.255", "::", "ffff:ffff::", "::ffff:10.1.2.3"]
                .map(|text| text.parse().expect("an address"))
                .into();
            for range in &set.written {
                match range.address {
                    IpAddr::V4(first) => {
                        let last = first.to_bits() | u32::MAX.checked_shr(range.prefix_len.into()).unwrap_or(0);
                        let near = [first.to_bits().wrapping_sub(1), first.to_bits(), last, last.wrapping_add(1)];
                        edges.extend(near.map(|bits| IpAddr::V4(bits.into())));
                    }
                    IpAddr::V6(first) => {
                        let last = first.to_bits() | u128::MAX.checked_shr(range.prefix_len.into()).unwrap_or(0);
                        let near = [first.to_bits().wrapping_sub(1), first.to_bits(), last, last.wrapping_add(1)];
                        edges.extend(near.map(|bits| IpAddr::V6(bits.into())));
                    }
                }
            }
            for address in edges {
                let expected = set.written.iter().any(|range| range.contains(address));
                assert_eq!(set.contain(address), expected, "{address} in {texts:?}");
            }
        }
    }

    #[test]
    fn what_has_no_address_is_in_no_range() {
        let of = |invert| AddressMatch { whose: Whose::Client, ranges: ranges(&["0.0.0.0/0"]), invert };
        let some: Option<IpAddr> = Some("::ffff:192.0.2.1".parse().expect("an address"));
        assert!(of(false).holds(some) && !of(true).holds(some));
        assert!(!of(false).holds(None) && of(true).holds(None));
    }
}
