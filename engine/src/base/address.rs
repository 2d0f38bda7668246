//! Addresses as text, without the machinery of formatting, which takes longer than all else that is written of an address.

use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::ops::Deref;

/// The text of an address.
#[derive(Clone, Copy, Debug)]
pub struct Text {
    /// The longest address has 58: one of IPv6 with its scope and its port.
    bytes: [u8; 64],
    len: usize,
}

impl Deref for Text {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// The digits of each octet, and the dot behind them.
static OCTETS: [[u8; 4]; 256] = {
    let mut table = [[0; 4]; 256];
    let mut octet = 0;
    while octet < 256 {
        let digits = [b'0' + (octet / 100) as u8, b'0' + (octet / 10 % 10) as u8, b'0' + (octet % 10) as u8];
        table[octet] = match octet {
            0..10 => [digits[2], b'.', 0, 0],
            10..100 => [digits[1], digits[2], b'.', 0],
            _ => [digits[0], digits[1], digits[2], b'.'],
        };
        octet += 1;
    }
    table
};

/// `192.0.2.1` or `2001:db8::1`.
#[inline]
pub fn ip(ip: IpAddr) -> Text {
    match ip {
        IpAddr::V4(ip) => v4(ip),
        IpAddr::V6(ip) => formatted(&ip),
    }
}

/// `192.0.2.1:80` or `[2001:db8::1]:80`.
#[inline]
pub fn socket(address: SocketAddr) -> Text {
    match address {
        SocketAddr::V4(address) => {
            let mut text = v4(*address.ip());
            text.push(b":");
            text.push(itoa::Buffer::new().format(address.port()).as_bytes());
            text
        }
        SocketAddr::V6(address) => formatted(&address),
    }
}

fn v4(ip: Ipv4Addr) -> Text {
    let mut text = Text { bytes: [0; 64], len: 0 };
    for octet in ip.octets() {
        text.bytes[text.len..text.len + 4].copy_from_slice(&OCTETS[usize::from(octet)]);
        text.len += 2 + usize::from(octet > 9) + usize::from(octet > 99);
    }
    // Behind the last one there is no dot.
    text.len -= 1;
    text
}

#[inline(never)]
fn formatted(address: &impl std::fmt::Display) -> Text {
    let mut bytes = [0; 64];
    let mut room = &mut bytes[..];
    // There is always room.
    let _ = write!(room, "{address}");
    let left = room.len();
    Text { bytes, len: 64 - left }
}

impl Text {
    fn push(&mut self, part: &[u8]) {
        self.bytes[self.len..self.len + part.len()].copy_from_slice(part);
        self.len += part.len();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::SocketAddrV6;

    #[test]
    fn addresses_are_written_as_the_standard_library_writes_them() {
        let octets = (0..=255u8).flat_map(|octet| [[octet; 4], [1, octet, 20, 255], [octet, 0, octet, 9]]);
        let v6 = ["::", "2001:db8::1", "::ffff:192.0.2.1"].map(|text| text.parse().unwrap());
        for (at, one) in octets.map(IpAddr::from).chain(v6).enumerate() {
            assert_eq!(&*ip(one), one.to_string().as_bytes());
            let port = [0, 7, 80, 443, 10_000, 65_535][at % 6];
            let address = SocketAddr::new(one, port);
            assert_eq!(&*socket(address), address.to_string().as_bytes());
        }
        let longest = SocketAddr::V6(SocketAddrV6::new([0xffff; 8].into(), 65_535, 0, u32::MAX));
        assert_eq!(&*socket(longest), longest.to_string().as_bytes());
        assert_eq!(socket(longest).len(), 58);
    }
}
