//! `clusters[].endpoints`: the servers.

use toml::de::DeValue;

use crate::diagnostic::Problems;
use crate::document::address::dns_name;
use crate::model::{Address, EndpointTarget};
use crate::reader::{FromText, Host, Input, Int, Located, Map, Name, Read, Refusal, Shape, Slot, table};

table! {
    /// A server that needs more than an address (Envoy: LbEndpoint).
    Endpoint at "clusters[].endpoints[]", example "localities.toml" {
        /// Address of the server. With `discovery = "strict_dns"` or `"logical_dns"` the host may be a name.
        address: EndpointAddress, required;
        /// Weight of the endpoint: how many requests it gets in relation to the others. Each address found for a host
        /// name has this weight.
        weight: Int<1, 1_000_000>, default "1";
        /// Failover order. Endpoints with priority `0` are used first; endpoints with priority `1` are their backup and
        /// get what those cannot take, and so on. Priorities have no gaps.
        priority: Int<0, 127>, default "0";
        /// Place of the endpoint, such as a zone, for `locality_weights`.
        locality: Name, optional "none";
        /// Keys and values that `subsets` are formed by and `transport_socket_matches` look at; values are strings (Envoy:
        /// metadata under `envoy.lb` and `envoy.transport_socket_match`).
        metadata: Map<Name, Name>, optional "none";
        /// Host name for `auto_host_rewrite` of routes and for health checks.
        hostname: Host, optional "the name in `address`, if it is one";
        /// Port for health checks, instead of the one in `address`.
        health_check_port: Int<1, 65_535>, optional "the port in `address`";
    }
}

/// An endpoint, written as an address alone or as a table.
#[derive(Clone, Debug)]
pub enum EndpointEntry {
    Address(Located<EndpointAddress>),
    Table(Box<Endpoint>),
}

impl EndpointEntry {
    pub fn address(&self) -> Option<&Located<EndpointAddress>> {
        match self {
            Self::Address(address) => Some(address),
            Self::Table(endpoint) => endpoint.address.given(),
        }
    }

    pub fn table(&self) -> Option<&Endpoint> {
        match self {
            Self::Address(_) => None,
            Self::Table(endpoint) => Some(endpoint),
        }
    }

    pub fn priority(&self) -> u32 {
        self.table().map_or(0, |endpoint| endpoint.priority.to_u32())
    }

    /// Its weight; the default is 1.
    pub fn weight(&self) -> u32 {
        self.table().map_or(1, |endpoint| endpoint.weight.to_u32())
    }

    pub fn locality(&self) -> Option<&Located<Name>> {
        self.table().and_then(|endpoint| endpoint.locality.given())
    }

    /// Whether the metadata could be read, where it was written.
    pub fn metadata(&self) -> &[(Located<Name>, Located<Name>)] {
        self.table().and_then(|endpoint| endpoint.metadata.given()).map_or(&[], |map| &map.entries)
    }

    /// Whether a part of it could not be read: what seems to be missing may be that part.
    pub fn is_incomplete(&self) -> bool {
        self.table().is_some_and(|endpoint| {
            let is_invalid = |slot: &Slot<_>| matches!(slot, Slot::Invalid(_));
            endpoint.has_unknown || is_invalid(&endpoint.locality) || matches!(endpoint.metadata, Slot::Invalid(_))
        })
    }
}

impl Read for EndpointEntry {
    fn shape() -> Shape {
        Shape::Either(vec![Shape::EndpointAddress, Endpoint::shape()])
    }

    fn read(input: &Input<'_, '_>, problems: &mut Problems<'_>) -> Option<Self> {
        match input.value {
            DeValue::String(_) => {
                let value = EndpointAddress::read(input, problems)?;
                Some(Self::Address(Located { value, origin: input.origin.clone() }))
            }
            DeValue::Table(_) => Endpoint::read(input, problems).map(|endpoint| Self::Table(Box::new(endpoint))),
            _ => {
                input.refuse_type::<Self>(problems);
                None
            }
        }
    }
}

/// An address, or a host name with a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndpointAddress(pub EndpointTarget);

impl FromText for EndpointAddress {
    fn shape() -> Shape {
        Shape::EndpointAddress
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        if let Some(rest) = text.strip_prefix("https://") {
            let host = rest.split('/').next().unwrap_or(rest);
            let addresses = [host.to_owned(), format!("{host}:443")];
            let refusal = Refusal::new(format!("{text:?} is not an address"));
            return Err(refusal.instead("write {}, and tls = {} in the cluster", addresses));
        }
        let refusal = match Address::from_text(text) {
            Ok(Address::Ip(address)) if address.port() == 0 => {
                return Err(Refusal::new("nothing can be reached at port 0"));
            }
            Ok(address) => return Ok(Self(EndpointTarget::Address(address))),
            Err(refusal) => refusal,
        };
        if dns_name(text).is_some() {
            let refusal = Refusal::new(format!("{text:?} has no port"));
            return Err(refusal.instead("such as {}", [format!("{text}:8080")]));
        }
        let split = text.rsplit_once(':').filter(|(host, _)| *host != "unix" && !host.contains([':', '/']));
        let Some((host, port)) = split else { return Err(refusal) };
        let is_number = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
        if matches!(host, "" | "*") && is_number {
            return Err(refusal.instead("an endpoint is one server: {}", [format!("127.0.0.1:{port}")]));
        }
        match (dns_name(host), port.parse()) {
            (Some(_), Ok(0)) => Err(Refusal::new("nothing can be reached at port 0")),
            (Some(host), Ok(port)) if is_number => Ok(Self(EndpointTarget::Name { host, port })),
            (Some(_), _) if !is_number => {
                Err(Refusal::new(format!("{port:?} is not a port")).hint(Some("write its number".into())))
            }
            (None, _) if host.contains(char::is_alphabetic) => {
                let hint = "names have letters, digits, '-' and '_', with dots between; others have a form with xn--";
                Err(Refusal::new(format!("{host:?} is not a host name")).hint(Some(hint.into())))
            }
            _ => Err(refusal),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_addresses() {
        for text in ["app:80", "APP.internal:8080", "a_b.svc.cluster.local.:1", "3com.com:80", "xn--bcher-kva.ch:80"] {
            let EndpointAddress(EndpointTarget::Name { host, port }) = EndpointAddress::from_text(text).unwrap() else {
                panic!("{text} is an address")
            };
            assert_eq!(format!("{host}:{port}"), text.to_ascii_lowercase());
        }
        for text in ["127.0.0.1:80", "[::1]:80", "unix:/run/a.sock"] {
            let target = EndpointAddress::from_text(text).unwrap().0;
            assert!(matches!(target, EndpointTarget::Address(address) if address.to_string() == text), "{text}");
        }
    }

    #[test]
    fn what_is_neither_is_refused() {
        let long = format!("{}:80", "a".repeat(64));
        let texts = [
            "",
            ":80",
            "app",
            "app:",
            "app:http",
            "app:0",
            "app:65536",
            "app:+80",
            "a..b:80",
            "-a:80",
            "a-:80",
            "10.0.0:80",
            "1.2.3.4.5:80",
            "http://app:80",
            "app:80/path",
            "bücher.ch:80",
            "*:80",
            "::1:80",
            &long,
        ];
        for text in texts {
            assert!(EndpointAddress::from_text(text).is_err(), "{text:?}");
        }
        let problems = Problems::new("");
        let hint = |text| EndpointAddress::from_text(text).unwrap_err().hint_of::<EndpointAddress>(&problems).unwrap();
        assert_eq!(hint("https://app/x"), "write \"app:443\", and tls = {} in the cluster");
        assert_eq!(hint("https://app:8443"), "write \"app:8443\", and tls = {} in the cluster");
        assert_eq!(hint("https://[::1]"), "write \"[::1]:443\", and tls = {} in the cluster");
    }
}
