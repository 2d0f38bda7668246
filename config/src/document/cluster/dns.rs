//! `clusters[].dns`: how host names are looked up.

use crate::reader::{FromText, List, Refusal, Shape, Time, holds, table};
use std::net::{IpAddr, SocketAddr};

/// RFC 1035 section 4.2.
const DNS_PORT: u16 = 53;

table! {
    /// How the host names of a cluster with `discovery = "strict_dns"` or `"logical_dns"` are looked up. A failed
    /// lookup leaves the endpoints as they are; [DISCOVERY.md](DISCOVERY.md) says which lookups count as failed.
    Dns at "clusters[].dns", example "dns.toml" {
        /// Look a name up again when the time to live of its answer has passed. Envoy's default is `false`; `true` is
        /// what most configurations set.
        respect_ttl: bool, default "true";
        /// Time between two lookups of a name if the time to live is not respected or the answer has none.
        refresh_rate: Time<1>, default "\"5s\"";
        /// A random time up to this is added between two lookups.
        jitter: Time<0>, default "\"0s\"";
        /// Times between lookups while they fail.
        failure_refresh_rate: FailureRefreshRate, optional "from `refresh_rate` to ten times it";
        /// The longest time to live that is respected: a name is looked up again after it, whatever its answer says.
        max_ttl: Time<1>, default "\"1h\"";
        /// How long a cluster with `discovery = "strict_dns"` keeps the endpoints of a name whose lookups say that there is no
        /// such name or that it has no address (HAProxy: hold nx). `"0s"`: not at all.
        hold_nx: Time<0>, default "\"30s\"";
        /// Name servers to ask instead of those in `/etc/resolv.conf`: `"10.0.0.53"` or, with a port,
        /// `"10.0.0.53:5353"`.
        resolvers: List<ResolverAddress>, optional "those in `/etc/resolv.conf`";
    }
}

table! {
    /// Times between lookups while they fail (Envoy: dns_failure_refresh_rate): at most `base_interval` at first, then
    /// twice as long after each failure.
    FailureRefreshRate at "clusters[].dns.failure_refresh_rate", example "dns.toml" {
        /// Longest time after the first failure.
        base_interval: Time<1>, required;
        /// Longest time of all.
        max_interval: Time<1>, optional "ten times `base_interval`";
    }
}

/// A name server's address, with or without a port.
#[derive(Clone, Copy, Debug)]
pub struct ResolverAddress(pub SocketAddr);

holds! { [] ResolverAddress: SocketAddr; }

impl FromText for ResolverAddress {
    fn shape() -> Shape {
        Shape::Text { noun: "a name server's address", allowed: "\"ip\" or \"ip:port\", such as \"10.0.0.53\"" }
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        if let Ok(address) = text.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
            return Ok(Self(SocketAddr::new(address, DNS_PORT)));
        }
        match text.parse::<SocketAddr>() {
            Ok(address) if address.port() > 0 => Ok(Self(address)),
            _ => Err(Refusal::new(format!("{text:?} is not the address of a name server")).hint(
                Some("a name server has an IP address: it is what looks names up".to_owned())
                    .filter(|_| text.contains(char::is_alphabetic) && !text.contains("::")),
            )),
        }
    }
}
