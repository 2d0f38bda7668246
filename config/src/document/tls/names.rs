//! Names that a handshake carries: those of servers and of application protocols.

use crate::document::address::dns_name;
use crate::model::TransportProtocol;
use crate::reader::{FromText, Refusal, Shape, holds};
use std::net::IpAddr;

/// A host name as SNI and certificates have it, in lower case (RFC 6066 section 3).
#[derive(Clone, Debug)]
pub struct ServerName(pub String);

/// What ALPN calls a protocol (RFC 7301).
#[derive(Clone, Debug)]
pub struct AlpnProtocol(pub String);

/// A host name that clients ask for, or `*.` and what such names end in; in lower case.
#[derive(Clone, Debug)]
pub struct ServerNames(pub String);

/// A protocol that clients offer, which need not be spoken here.
#[derive(Clone, Debug)]
pub struct OfferedProtocol(pub String);

holds! {
    [] ServerName: String;
    [] AlpnProtocol: String;
    [] ServerNames: String;
    [] OfferedProtocol: String;
}

impl FromText for ServerNames {
    fn shape() -> Shape {
        Shape::Text {
            noun: "a host name",
            allowed: "a host name without a port, such as \"www.example.com\", or \"*.example.com\" for all below it",
        }
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        let suffix = text.strip_prefix("*.").unwrap_or(text);
        if suffix.contains('*') {
            let message =
                format!("{text:?} is not a host name: `*` stands only for the first labels, as in \"*.example.com\"");
            let hint = match text {
                "*" => "transport_protocol = \"tls\" takes every name, and clients that ask for none",
                _ => "list the names themselves, or what they end in",
            };
            return Err(Refusal::new(message).hint(Some(hint.into())));
        }
        if suffix.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            let message = format!("{text:?} is an address, and clients ask for host names only (RFC 6066)");
            let hint =
                "a client that connects to an address asks for no name: a chain without `server_names` serves it";
            return Err(Refusal::new(message).hint(Some(hint.into())));
        }
        if suffix.starts_with(['~', '^', '/']) {
            let hint = "names are not matched by patterns: list them, or write \"*.example.com\"";
            return Err(Refusal::new(format!("{text:?} is not a host name")).hint(Some(hint.into())));
        }
        if let Some(name) = suffix.strip_prefix('.').filter(|name| is_server_name(name)) {
            let hint = format!("write \"*.{name}\" for all names below it");
            return Err(Refusal::new(format!("{text:?} is not a host name")).hint(Some(hint)));
        }
        let ServerName(name) = ServerName::from_text(suffix)?;
        Ok(Self(if suffix == text { name } else { format!("*.{name}") }))
    }
}

impl FromText for OfferedProtocol {
    fn shape() -> Shape {
        Shape::Text { noun: "a protocol", allowed: "a protocol's name in ALPN, such as \"http/1.1\" or \"h2\"" }
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        let is_name = (1..=255).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        if !is_name {
            return Err(Refusal::new(format!("{text:?} is not the name of a protocol in ALPN")));
        }
        let meant = match text.to_ascii_lowercase().as_str() {
            "http/1.1" | "http1.1" | "http/1" | "http1" | "http" | "h1" => Some("http/1.1"),
            "h2" | "http/2" | "http2" => Some("h2"),
            _ => None,
        };
        match meant.filter(|meant| *meant != text) {
            Some(meant) => {
                Err(Refusal::new(format!("no client offers {text:?}")).hint(Some(format!("did you mean \"{meant}\"?"))))
            }
            None => Ok(Self(text.into())),
        }
    }
}

impl FromText for TransportProtocol {
    fn shape() -> Shape {
        Shape::Words(vec!["tls", "raw_buffer"])
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        match text {
            "tls" => return Ok(Self::Tls),
            "raw_buffer" => return Ok(Self::RawBuffer),
            _ => {}
        }
        let meant = match text.to_ascii_lowercase().as_str() {
            "tls" | "ssl" | "https" => Some("tls"),
            "raw_buffer" | "raw" | "plain" | "plaintext" | "tcp" | "http" | "none" | "" => Some("raw_buffer"),
            _ => None,
        };
        let hint = meant.map(|word| format!("did you mean \"{word}\"?"));
        Err(Refusal::new(format!("unknown transport \"{text}\"")).hint(hint))
    }
}

impl FromText for ServerName {
    fn shape() -> Shape {
        Shape::Text { noun: "a host name", allowed: "a host name without a port, such as \"www.example.com\"" }
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        let refusal = |hint: Option<String>| Err(Refusal::new(format!("{text:?} is not a host name")).hint(hint));
        if text.trim_matches(['[', ']']).parse::<IpAddr>().is_ok() {
            let refusal = Refusal::new(format!("{text:?} is an address, and SNI carries host names only (RFC 6066)"));
            let hint = "leave `sni` out: the address of the endpoint must then be in its certificate";
            return Err(refusal.hint(Some(hint.into())));
        }
        if let Some((_, rest)) = text.split_once("://") {
            let host = rest.split(['/', ':']).next().unwrap_or(rest);
            return refusal(Some(format!("write the host alone: \"{host}\"")));
        }
        if let Some((host, port)) = text.split_once(':').filter(|(host, _)| is_server_name(host)) {
            return refusal(port.parse::<u16>().ok().map(|_| format!("it has no port: \"{host}\"")));
        }
        if let Some(host) = text.strip_suffix('.').filter(|host| is_server_name(host)) {
            return refusal(Some(format!("it has no dot at its end: \"{host}\"")));
        }
        if text.starts_with("*.") {
            return refusal(Some("a client asks for one name, which a wildcard in the certificate may match".into()));
        }
        if !text.is_ascii() {
            return refusal(Some("write it as DNS has it, in Punycode: \"xn--...\"".into()));
        }
        if is_server_name(text) { Ok(Self(text.to_ascii_lowercase())) } else { refusal(None) }
    }
}

fn is_server_name(text: &str) -> bool {
    // TLS libraries take a last label in hexadecimal digits for a part of an address.
    let last = text.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    let is_hex = last.strip_prefix("0x").is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()));
    dns_name(text).is_some() && !text.ends_with('.') && !is_hex
}

impl FromText for AlpnProtocol {
    fn shape() -> Shape {
        Shape::Words(vec!["h2", "http/1.1", "http/1.0"])
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        let lower = text.to_ascii_lowercase();
        match lower.as_str() {
            "h2" | "http/1.1" | "http/1.0" if lower == text => Ok(Self(lower)),
            "h3" | "http/3" | "http3" => Err(Refusal::new("HTTP/3 is not supported yet")),
            _ => {
                let meant = match lower.as_str() {
                    "h2" | "h2c" | "http/2" | "http2" | "http/2.0" => Some("h2"),
                    "http/1.0" => Some("http/1.0"),
                    "http/1.1" | "http1.1" | "http/1" | "http1" | "http" | "h1" => Some("http/1.1"),
                    _ => None,
                };
                let hint = meant.map(|word| format!("did you mean \"{word}\"?"));
                Err(Refusal::new(format!("unknown protocol \"{text}\"")).hint(hint))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_a_handshake_can_carry() {
        let long = "a".repeat(63);
        let longest = format!("{long}.{long}.{long}.{}", "a".repeat(253 - 3 * 64));
        for text in
            ["a", "www.example.com", "_srv.example", "xn--bcher-kva.example", "1.example", "3x", &long, &longest]
        {
            assert_eq!(ServerName::from_text(text).unwrap().0, text);
        }
        assert_eq!(ServerName::from_text("WWW.Example.COM").unwrap().0, "www.example.com");
        let too_long = format!("{longest}a");
        let wrong = [
            "",
            ".",
            "a..b",
            ".a",
            "a.",
            "-a",
            "a-.b",
            "a b",
            "a/b",
            "127.0.0.1",
            "1.2",
            "a.0x1f",
            "a.0x",
            "[::1]",
            "::1",
            "bücher.example",
            "*.a",
            "a:443",
            "https://a/",
            &format!("{long}a"),
            &too_long,
        ];
        for text in wrong {
            assert!(ServerName::from_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_that_a_chain_can_ask_for() {
        for (text, expected) in
            [("WWW.Example.com", "www.example.com"), ("*.Example.com", "*.example.com"), ("*.a", "*.a")]
        {
            assert_eq!(ServerNames::from_text(text).unwrap().0, expected);
        }
        for text in [
            "*",
            "*.",
            "a.*.b",
            "*a.b",
            "www.*",
            "*.*.a",
            "a:443",
            "*.a:443",
            "a.",
            ".a",
            "~a",
            "10.0.0.1",
            "",
            "*.10.0.0.1",
        ] {
            assert!(ServerNames::from_text(text).is_err(), "{text}");
        }
        let hint = |text: &str| ServerNames::from_text(text).unwrap_err().hint.unwrap();
        assert_eq!(hint("a.example:443"), "it has no port: \"a.example\"");
        assert_eq!(hint(".example"), "write \"*.example\" for all names below it");
    }
}
