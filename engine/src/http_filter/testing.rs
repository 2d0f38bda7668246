//! Exchanges for tests of what happens to a request's head.

use crate::codec::h1::{Limits, Parse, parse_request};
use crate::http::{Exchange, HeadEditor};
use crate::net::HeadBytes;

/// The exchange of a request with this head, the empty line left out.
pub fn exchange_of(head: &str) -> Exchange {
    let head = format!("{head}\r\n");
    let mut exchange = Exchange::default();
    let parsed = parse_request(head.as_bytes(), &Limits::default(), &mut exchange.request.head);
    assert!(matches!(parsed, Ok(Parse::Complete(_))), "{head}");
    exchange.request.is_whole = true;
    exchange.request.received = HeadBytes::Joined(head.into_bytes());
    exchange
}

/// The exchange of `GET /path?query` with these fields, each with its line end.
pub fn exchange(fields: &str) -> Exchange {
    exchange_of(&format!("GET /path?query HTTP/1.1\r\nHost: example.com\r\n{fields}"))
}

/// The lines of a head as `name=value`.
pub fn lines(head: &HeadEditor<'_>) -> Vec<String> {
    let view = head.view();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    head.fields.iter().map(|field| format!("{}={}", text(field.name.of(view)), text(field.value.of(view)))).collect()
}
