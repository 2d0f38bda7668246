//! The question: a request, written as command line arguments, a query or JSON.

use crate::codec::h1::{Limits, Parse, parse_request};
use crate::http::{Exchange, grammar, split_port};
use crate::net::tls::client_hello::{Asked, is_host_name};
use crate::net::{FirstBytes, HeadBytes};
use ringway_config::quoted;
use serde_json::Value;
use std::net::{IpAddr, Ipv4Addr};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Question {
    pub method: String,
    /// Absolute, or a path alone.
    pub url: String,
    /// In order; a name may occur more than once.
    pub headers: Vec<(String, String)>,
    /// The connection's peer.
    pub from: IpAddr,
    /// Name or address of a listener; `None`: the first one.
    pub listener: Option<String>,
}

impl Default for Question {
    fn default() -> Self {
        Self {
            method: "GET".into(),
            url: String::new(),
            headers: Vec::new(),
            from: IpAddr::V4(Ipv4Addr::LOCALHOST),
            listener: None,
        }
    }
}

impl Question {
    /// Add one part by its name: method, url, header (`name: value`), from, listener.
    ///
    /// # Errors
    /// A sentence about the part.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        match name {
            "method" => self.method = value.into(),
            "url" => self.url = value.into(),
            "from" => {
                self.from =
                    value.parse().map_err(|_| format!("from: {value} is no IP address", value = quoted(value)))?
            }
            "listener" => self.listener = Some(value.into()),
            "header" => {
                let (name, value) = value.split_once(':').ok_or("header: say it as `name: value`")?;
                self.headers.push((name.trim().into(), value.trim().into()));
            }
            _ => {
                return Err(format!(
                    "{name} is unknown; say method, url, header, from or listener",
                    name = quoted(name)
                ));
            }
        }
        Ok(())
    }

    /// # Errors
    /// A sentence: no JSON, or not of the form `{"method": "GET", "url": "...", "headers": {"name": "value"}, "from":
    /// "address", "listener": "name"}`. A header's value may be a list.
    pub fn from_json(text: &[u8]) -> Result<Self, String> {
        let value: Value = serde_json::from_slice(text).map_err(|error| format!("the body is no JSON: {error}"))?;
        let object = value.as_object().ok_or("the body is no JSON object")?;
        let mut question = Self::default();
        for (key, value) in object {
            match (key.as_str(), value) {
                ("headers", Value::Object(headers)) => {
                    for (name, value) in headers {
                        let values = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
                        for value in values {
                            let value = value.as_str().ok_or_else(|| format!("headers.{name} is no text"))?;
                            question.headers.push((name.clone(), value.into()));
                        }
                    }
                }
                ("headers", _) => return Err("headers is no object".into()),
                ("header", _) => return Err("say headers, an object of names and values".into()),
                (name, Value::String(value)) => question.set(name, value)?,
                (name, _) => return Err(format!("{name} is no text")),
            }
        }
        Ok(question)
    }

    /// The port of the URL, or that of its scheme; `None` for a path alone.
    pub(super) fn port(&self) -> Option<u16> {
        let (scheme, rest) = self.url.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        let written = split_port(authority.as_bytes()).1;
        let written = written.and_then(|port| std::str::from_utf8(port).ok()?.parse().ok());
        written.or(Some(if scheme == "https" { 443 } else { 80 }))
    }

    /// What the client came over, as if TLS ended here.
    pub(super) fn is_https(&self) -> bool {
        self.url.starts_with("https://")
    }

    /// What the connection begins with: for https, a handshake that asks for the URL's host.
    pub(super) fn first_bytes(&self) -> FirstBytes {
        match self.is_secure() {
            Some(true) => FirstBytes::Tls {
                asked: Asked::new(self.server_name().as_deref(), &["h2", "http/1.1"]),
                fingerprints: None,
            },
            _ => FirstBytes::Raw,
        }
    }

    /// Whether the client speaks TLS. A path alone says nothing of it.
    pub(super) fn is_secure(&self) -> Option<bool> {
        self.url.split_once("://").map(|(scheme, _)| scheme == "https")
    }

    /// The name that a handshake asks for: that of the URL, or with a path alone that of the header.
    pub(super) fn server_name(&self) -> Option<String> {
        let authority = match self.url.split_once("://") {
            Some((_, rest)) => rest.split(['/', '?', '#']).next()?,
            None => &self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case("host"))?.1,
        };
        let host = String::from_utf8_lossy(split_port(authority.as_bytes()).0).to_ascii_lowercase();
        Some(host.strip_suffix('.').unwrap_or(&host).to_owned()).filter(|host| is_host_name(host))
    }

    /// The exchange as it is when a client's head has been read.
    ///
    /// # Errors
    /// A sentence: it is no request.
    pub(super) fn exchange(&self) -> Result<Exchange, String> {
        let (scheme, rest) = match self.url.split_once("://") {
            Some((scheme, rest)) => (Some(scheme), rest),
            None => (None, self.url.as_str()),
        };
        if let Some(scheme) = scheme.filter(|scheme| !matches!(*scheme, "http" | "https")) {
            return Err(format!("the URL's scheme is {scheme}; say http or https", scheme = quoted(scheme)));
        }
        let without_fragment = rest.split('#').next().unwrap_or_default();
        let path_at = if scheme.is_some() { without_fragment.find(['/', '?']) } else { Some(0) };
        let (host, target) = without_fragment.split_at(path_at.unwrap_or(without_fragment.len()));
        if scheme.is_none() && !target.starts_with('/') {
            return Err(format!("{} is no URL; say http://host/path, or /path and a host header", quoted(&self.url)));
        }
        let slash = if target.starts_with('/') { "" } else { "/" };
        let mut head = format!("{} {slash}{target} HTTP/1.1\r\n", self.method);
        let is_given = |name: &str| self.headers.iter().any(|(given, _)| given.eq_ignore_ascii_case(name));
        if !is_given("host") {
            head += &format!("host: {}\r\n", if scheme.is_some() { host } else { "localhost" });
        }
        for (name, value) in &self.headers {
            if !grammar::is_token(name.as_bytes()) || value.contains(['\r', '\n']) {
                return Err(format!("{} is no header", quoted(&format!("{name}: {value}"))));
            }
            head += &format!("{name}: {value}\r\n");
        }
        head += "\r\n";
        let mut exchange = Exchange::default();
        match parse_request(head.as_bytes(), &Limits::default(), &mut exchange.request.head) {
            Ok(Parse::Complete(framing)) if framing.len as usize == head.len() => {}
            Ok(_) => return Err("this is no request: method or URL hold a line end".into()),
            Err(error) => return Err(format!("this is no request: {error}")),
        }
        exchange.request.is_whole = true;
        exchange.request.received = HeadBytes::Joined(head.into_bytes());
        Ok(exchange)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(url: &str) -> Result<(String, String), String> {
        let exchange = Question { url: url.into(), ..Question::default() }.exchange()?;
        let view = exchange.request.view();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ok((text(exchange.request.head.authority.of(view)), text(&exchange.request.head.target(view).concat())))
    }

    #[test]
    fn urls() {
        for (url, authority, target) in [
            ("http://h/a?b#c", "h", "/a?b"),
            ("http://h:81", "h:81", "/"),
            ("http://h?q", "h", "/?q"),
            ("https://[::1]/x", "[::1]", "/x"),
            ("/only/a/path", "localhost", "/only/a/path"),
        ] {
            assert_eq!(asked(url), Ok((authority.into(), target.into())), "{url}");
        }
        for url in ["", "h/a", "ftp://h/", "http://h/a b", "http://h/a\r\nx: y", "http:///a", "http://u@h/"] {
            assert!(asked(url).is_err(), "{url}: {:?}", asked(url));
        }
    }

    #[test]
    fn json() {
        let text = br#"{"method": "POST", "url": "/x", "headers": {"a": "1", "b": ["2", "3"]}, "from": "::1"}"#;
        let headers = [("a", "1"), ("b", "2"), ("b", "3")].map(|(name, value)| (name.to_owned(), value.to_owned()));
        let expected = Question {
            method: "POST".into(),
            url: "/x".into(),
            headers: headers.into(),
            from: "::1".parse().expect("an address"),
            listener: None,
        };
        assert_eq!(Question::from_json(text), Ok(expected));
        for wrong in ["", "[]", "{\"url\": 1}", "{\"uri\": \"/\"}", "{\"from\": \"x\"}", "{\"headers\": {\"a\": 1}}"] {
            assert!(Question::from_json(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn headers_that_are_none_are_refused() {
        for header in ["no colon", "a b: c", ": x", "a: b\r\nc: d"] {
            let mut question = Question { url: "/".into(), ..Question::default() };
            assert!(question.set("header", header).and_then(|()| question.exchange().map(drop)).is_err(), "{header}");
        }
        assert!(Question::default().set("color", "red").is_err());
    }
}
