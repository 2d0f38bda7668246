//! Heads in plain form: what one pass takes is what the tokeniser and the rules around it take, in the same spans.

use super::*;
use crate::codec::h1::{plain, request::parse_any, response};
use std::fmt::Debug;

const REQUESTS: [&str; 2] = [
    "POST /a/b?c=d&e HTTP/1.1\r\nHost: a.example:80\r\nUser-Agent: curl/8 (x) \u{e9}\r\nx-Other_1: a, b\r\n\
     Connection: close\r\nExpect: 100-continue\r\nContent-Length: 10\r\n\r\nthe body..",
    PLAIN,
];
const PLAIN: &str = "GET / HTTP/1.1\r\nhost: a\r\naccept: */*\r\nTe: trailers\r\nConnection: keep-alive\r\n\r\n";
const RESPONSES: [&str; 2] = [
    "HTTP/1.1 200 No problem\r\nServer: x\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nx: y\r\n\
     Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n5\r\n",
    "HTTP/1.1 404 \r\nContent-Length: 12\r\nConnection: close\r\n\r\nthe body....",
];

/// The same with each byte replaced by each other, left out, or put in twice, and cut off in front of each.
fn neighbours(text: &str) -> impl Iterator<Item = Vec<u8>> {
    let bytes = text.as_bytes();
    let replaced = move |at: usize| {
        (0..=255).map(move |byte| {
            let mut other = bytes.to_vec();
            other[at] = byte;
            other
        })
    };
    let moved = move |at: usize| {
        let (before, behind) = bytes.split_at(at);
        [before.to_vec(), [before, &behind[1..]].concat(), [&bytes[..=at], behind].concat()]
    };
    (0..bytes.len()).flat_map(move |at| replaced(at).chain(moved(at)))
}

/// Limits that the head just meets.
fn tight(text: &str) -> Limits {
    let (head, _) = text.split_once("\r\n\r\n").expect("the head is whole");
    let (line, fields) = head.split_once("\r\n").expect("there is a field");
    Limits {
        head_bytes: head.len() as u32 + 4,
        fields: fields.split("\r\n").count() as u16,
        target_bytes: line.split(' ').nth(1).expect("a target").len() as u32,
        field_bytes: fields.split("\r\n").map(str::len).max().expect("a field") as u32,
        ..Limits::default()
    }
}

/// Compare what comes of each neighbour of a head. `read` gives whether it is plain, and what the usual way and the tokeniser
/// say, which make heads of it that are used again and again.
fn compare<H: Debug + Default, E: Debug + PartialEq>(
    text: &str,
    read: impl Fn(&[u8], &Limits, &mut [H; 2]) -> (bool, [Result<Parse, E>; 2]),
) {
    let mut heads = Default::default();
    for limits in [Limits::default(), tight(text)] {
        assert!(read(text.as_bytes(), &limits, &mut heads).0, "{text}");
        let mut plainly = 0;
        for bytes in neighbours(text) {
            let (is_plain, [parsed, expected]) = read(&bytes, &limits, &mut heads);
            plainly += usize::from(is_plain);
            assert_eq!(parsed, expected, "{:?}", bytes.escape_ascii().to_string());
            if matches!(parsed, Ok(Parse::Complete(_))) {
                let [head, other] = &heads;
                assert_eq!(format!("{head:?}"), format!("{other:?}"), "{:?}", bytes.escape_ascii().to_string());
            }
        }
        // A fifth of the bytes can be about any other.
        assert!(plainly > text.len() * 256 / 5, "{plainly} of {text}");
    }
}

#[test]
fn a_request_is_the_same_as_with_the_tokeniser() {
    for text in REQUESTS {
        compare(text, |bytes, limits, [head, other]| {
            let is_plain = plain::request(bytes, limits, &mut RequestHead::default()).is_some();
            (is_plain, [parse_request(bytes, limits, head), parse_any(bytes, limits, other)])
        });
    }
}

#[test]
fn a_response_is_the_same_as_with_the_tokeniser() {
    for (text, method) in RESPONSES.iter().flat_map(|text| [(text, Method::Get), (text, Method::Head)]) {
        compare(text, |bytes, limits, [head, other]| {
            let is_plain = plain::response(bytes, limits, &mut ResponseHead::default()).is_some();
            let expected = response::parse_any(bytes, limits, method, other);
            (is_plain, [parse_response(bytes, limits, method, head), expected])
        });
    }
}

/// The limits hold to the byte.
#[test]
fn what_is_over_a_limit_is_not_plain() {
    let is_plain = |limits: &Limits| plain::request(PLAIN.as_bytes(), limits, &mut RequestHead::default()).is_some();
    let longest = "Connection: keep-alive".len() as u32;
    let exact = Limits {
        head_bytes: PLAIN.len() as u32,
        target_bytes: 1,
        fields: 4,
        field_bytes: longest,
        ..Limits::default()
    };
    assert!(is_plain(&exact));
    assert!(!is_plain(&Limits { head_bytes: exact.head_bytes - 1, ..exact }));
    assert!(!is_plain(&Limits { target_bytes: 0, ..exact }));
    assert!(!is_plain(&Limits { fields: 3, ..exact }));
    assert!(!is_plain(&Limits { field_bytes: longest - 1, ..exact }));
}

#[test]
fn the_usual_heads_are_plain() {
    for text in [PLAIN, "OPTIONS /x?? HTTP/1.1\r\nHost: a\r\n\r\n", "DELETE /%20 HTTP/1.1\r\nHost: [::1]\r\n\r\n"] {
        assert!(plain::request(text.as_bytes(), &Limits::default(), &mut RequestHead::default()).is_some(), "{text}");
    }
    let made = "HTTP/1.1 999 \u{e9}\r\nx: y\r\n\r\n";
    assert!(plain::response(made.as_bytes(), &Limits::default(), &mut ResponseHead::default()).is_some());
}

/// These are for the tokeniser, whatever it says to them.
#[test]
fn whatever_is_unusual_is_not_plain() {
    for text in [
        "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
        "get / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /# HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /?# HTTP/1.1\r\nHost: a\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\r\nHost:a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:  a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a \r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nx:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nx: \r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nx: a\tb\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n x: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent\rLength: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nx\u{e9}: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: cookie\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
    ] {
        let is_plain = plain::request(text.as_bytes(), &Limits::default(), &mut RequestHead::default()).is_some();
        assert!(!is_plain, "{text:?}");
    }
    for text in
        ["HTTP/1.1 200\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\n", "HTTP/1.1 099 OK\r\n\r\n", "HTTP/1.1 200 O\tK\r\n\r\n"]
    {
        let is_plain = plain::response(text.as_bytes(), &Limits::default(), &mut ResponseHead::default()).is_some();
        assert!(!is_plain, "{text:?}");
    }
}
