//! Addresses: `ip:port`, `[v6]:port`, `unix:/path`, and ranges such as `10.0.0.0/8`.

use crate::reader::{FromText, Holds, Refusal, Shape};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use crate::model::{Address, Cidr};

/// Bytes of a socket's path (sun_path in unix(7) without the zero byte that ends it).
const UNIX_PATH_MAX: usize = 107;

/// Bytes of a host name and of one label of it (RFC 1035 section 2.3.4, in text form).
const NAME_MAX: usize = 253;
const LABEL_MAX: usize = 63;

impl FromText for Address {
    fn shape() -> Shape {
        Shape::Address
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        if let Some(path) = text.strip_prefix("unix:") {
            return unix(text, path);
        }
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Ok(Self::Ip(address));
        }
        Err(no_address(Refusal::new(format!("{text:?} is not an address")), text))
    }
}

fn unix(text: &str, path: &str) -> Result<Address, Refusal> {
    if path.len() > UNIX_PATH_MAX {
        return Err(Refusal::new(format!(
            "a socket's path has at most {UNIX_PATH_MAX} bytes, this one {}",
            path.len()
        )));
    }
    if !path.starts_with('/') || path.ends_with('/') || path.contains('\0') {
        let hint = path.starts_with('@').then(|| "abstract sockets are not supported".to_owned());
        let refusal = Refusal::new(format!("{text:?} does not name an absolute path")).hint(hint);
        let absolute = path.starts_with("//").then(|| format!("unix:/{}", path.trim_start_matches('/')));
        return Err(refusal.instead("did you mean {}?", absolute));
    }
    Ok(Address::Unix(PathBuf::from(path)))
}

/// What to write in place of `text`.
fn no_address(refusal: Refusal, text: &str) -> Refusal {
    if let Some((scheme, rest)) = text.split_once("://") {
        let host = rest.split('/').next().unwrap_or(rest);
        let phrase = format!("write the address without {scheme}:// and path: {{}}");
        let port = if scheme == "https" { 443 } else { 80 };
        let words = format!("write the address with its port, without {scheme}:// and path");
        return refusal.hint(Some(words)).instead(&phrase, [host.to_owned(), format!("{host}:{port}")]);
    }
    if text.starts_with('/') {
        return refusal.instead("did you mean {}?", [format!("unix:{text}")]);
    }
    if text.parse::<Ipv4Addr>().is_ok() {
        return refusal.instead("the port is missing: {}", [format!("{text}:8080")]);
    }
    if text.trim_matches(['[', ']']).parse::<Ipv6Addr>().is_ok() {
        return refusal.instead("the port is missing: {}", [format!("[{}]:8080", text.trim_matches(['[', ']']))]);
    }
    let (host, port) = text.rsplit_once(':').unwrap_or((text, ""));
    let digits = !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit());
    if digits && port.parse::<u16>().is_err() {
        return refusal.hint(Some("a port is at most 65535".into()));
    }
    if digits && (host.is_empty() || host == "*") {
        let all = [format!("0.0.0.0:{port}"), format!("[::]:{port}")];
        return refusal.instead("for every interface, write {}", all);
    }
    if digits && host == "localhost" {
        return refusal.instead("host names are not looked up: did you mean {}?", [format!("127.0.0.1:{port}")]);
    }
    if digits && host.parse::<Ipv6Addr>().is_ok() {
        return refusal.instead("did you mean {}?", [format!("[{host}]:{port}")]);
    }
    let numeric = host.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let is_name = !numeric && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    let words = "host names are looked up only for endpoints: write the IP address, or \"unix:/path\"";
    refusal.hint(is_name.then(|| words.into()))
}

/// The name in lower case, if it can be looked up (RFC 1123 section 2.1; with underscores, which are common).
pub fn dns_name(text: &str) -> Option<String> {
    let labels = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        let bytes_ok = label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        bytes_ok && (1..=LABEL_MAX).contains(&label.len()) && !label.starts_with('-') && !label.ends_with('-')
    };
    // A last label of digits makes it a mistyped IPv4 address.
    let last = labels.rsplit('.').next().unwrap_or_default();
    let is_numeric = last.bytes().all(|byte| byte.is_ascii_digit());
    let is_name = labels.len() <= NAME_MAX && labels.split('.').all(is_label) && !is_numeric;
    is_name.then(|| text.to_ascii_lowercase())
}

impl Holds for Cidr {
    type Inner = Self;

    fn inner(&self) -> &Self {
        self
    }
}

impl FromText for Cidr {
    fn shape() -> Shape {
        Shape::Text {
            noun: "an address range",
            allowed: "\"ip/bits\", such as \"10.0.0.0/8\" or \"fd00::/8\"; an ip alone",
        }
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        let (address, bits) = text.split_once('/').map_or((text, None), |(address, bits)| (address, Some(bits)));
        let refusal = |hint| Err(Refusal::new(format!("{text:?} is not an address range")).hint(hint));
        let Ok(address) = address.parse::<IpAddr>() else {
            return refusal(None);
        };
        let bits_max = if address.is_ipv4() { 32 } else { 128 };
        let prefix_len = match bits {
            None => bits_max,
            Some(bits) => match bits.parse::<u8>() {
                Ok(bits) if bits <= bits_max => bits,
                _ => return refusal(Some(format!("the '/' must be followed by a number from 0 to {bits_max}"))),
            },
        };
        let network = network(address, prefix_len);
        if network != address {
            let refusal = Refusal::new(format!("{text:?} has bits set after its first {prefix_len}"));
            return Err(refusal.instead("did you mean {}?", [format!("{network}/{prefix_len}")]));
        }
        Ok(Self { address, prefix_len })
    }
}

/// The address with every bit after the first `prefix_len` cleared.
fn network(address: IpAddr, prefix_len: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix_len)).unwrap_or(0);
            IpAddr::V4(Ipv4Addr::from_bits(v4.to_bits() & mask))
        }
        IpAddr::V6(v6) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix_len)).unwrap_or(0);
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() & mask))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges() {
        for (text, prefix_len) in
            [("0.0.0.0/0", 0), ("::/0", 0), ("10.0.0.1", 32), ("10.0.0.1/32", 32), ("fe80::/10", 10)]
        {
            assert_eq!(Cidr::from_text(text).unwrap().prefix_len, prefix_len, "{text}");
        }
        for text in ["10.0.0.0/33", "10.0.0.1/31", "::1/127", "10.0.0/8", "", "/8", "1.2.3.4/", "1.2.3.4/-1"] {
            assert!(Cidr::from_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_print_as_they_are_written() {
        for text in ["127.0.0.1:8080", "[::1]:80", "[fe80::1%2]:80", "unix:/run/a b.sock"] {
            assert_eq!(Address::from_text(text).unwrap().to_string(), text);
        }
        assert!(Address::from_text(&format!("unix:/{}", "a".repeat(UNIX_PATH_MAX))).is_err());
    }
}
