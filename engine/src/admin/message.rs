//! A request to the admin endpoint and its answer.

use super::body::Body;
use super::state::Control;
use crate::http::Method;
use serde_json::Value;

/// The content type of plain text.
pub(super) const TEXT: &str = "text/plain; charset=UTF-8";

/// A request.
pub(super) struct Call<'a> {
    pub method: Method,
    pub path: &'a [u8],
    pub query: &'a [u8],
    /// Empty without a body; `None`: the body is too long or broken.
    pub body: Option<&'a [u8]>,
}

/// A response, and the order to the server that follows once it is sent.
pub(super) struct Answer {
    pub status: u16,
    pub content_type: &'static str,
    pub body: Body,
    pub allow: &'static str,
    pub then: Option<Control>,
}

impl Answer {
    pub(super) fn text(status: u16, body: impl Into<String>) -> Self {
        Self { status, content_type: TEXT, body: Body::Text(body.into()), allow: "", then: None }
    }

    pub(super) fn ok() -> Self {
        Self::text(200, "OK\n")
    }

    pub(super) fn json(value: &Value) -> Self {
        Self { content_type: "application/json", ..Self::text(200, pretty(value)) }
    }

    /// With a body that is made as it is sent.
    pub(super) fn streamed(content_type: &'static str, body: Body) -> Self {
        Self { content_type, body, ..Self::text(200, "") }
    }

    pub(super) fn then(control: Control) -> Self {
        Self { then: Some(control), ..Self::ok() }
    }
}

/// A JSON value as text for people.
pub(super) fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

/// What an endpoint needs to know of a request.
pub(super) struct Query {
    /// Parameters, decoded.
    pub pairs: Vec<(String, String)>,
    /// `None`: the body is too long or broken.
    pub body: Option<Vec<u8>>,
}

impl Query {
    pub(super) fn new(call: &Call<'_>) -> Self {
        Self { pairs: pairs(call.query), body: call.body.map(<[u8]>::to_vec) }
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.pairs.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

fn pairs(query: &[u8]) -> Vec<(String, String)> {
    let pairs = query.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let at = pair.iter().position(|&byte| byte == b'=');
        let (name, value) = at.map_or((pair, &[][..]), |at| (&pair[..at], &pair[at + 1..]));
        (decode(name), decode(value))
    });
    pairs.collect()
}

/// Percent-decoding (RFC 3986 section 2.1), and '+' for a space as in forms.
fn decode(bytes: &[u8]) -> String {
    let mut out = Vec::with_capacity(bytes.len());
    let mut i = 0;
    while i < bytes.len() {
        let escaped = (bytes[i] == b'%').then(|| bytes.get(i + 1..i + 3)).flatten();
        let value = escaped.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match (value, bytes[i]) {
            (Some(value), _) => {
                out.push(value);
                i += 2;
            }
            (None, b'+') => out.push(b' '),
            (None, byte) => out.push(byte),
        }
        i += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_decoded() {
        let query = Query { pairs: pairs(b"filter=a%2Eb+c&usedonly&x=%zz"), body: None };
        assert_eq!(query.get("filter"), Some("a.b c"));
        assert_eq!(query.get("usedonly"), Some(""));
        assert_eq!(query.get("x"), Some("%zz"));
        assert_eq!(query.get("y"), None);
    }
}
