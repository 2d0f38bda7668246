//! Matchers, value by value.

use super::*;
use crate::codec::h1::{Limits, parse_request, parse_response};
use crate::http::Method;
use regex::bytes::Regex;

const REQUEST: &[u8] = b"GET /Some/Path?x=1&flag&x=2&empty=&xy=3 HTTP/1.1\r\nHost: h:80\r\nX-Kind: alpha\r\nX-Kind: beta\r\n\
    X-Number: -7\r\nX-Empty:\r\nX-Forwarded-Proto: https\r\nCookie: a=1; b=\"two\";c=3\r\nCookie: a=9; d=4; bad\r\n\r\n";

fn request() -> RequestHead {
    let mut head = RequestHead::default();
    parse_request(REQUEST, &Limits::default(), &mut head).expect("valid");
    assert_eq!(head.method, Method::Get);
    head
}

fn text(kind: StringMatchKind) -> StringMatch {
    StringMatch { kind, ignore_case: false }
}

fn folded(kind: StringMatchKind) -> HeaderMatchKind {
    HeaderMatchKind::Value(StringMatch { kind, ignore_case: true })
}

fn value(kind: StringMatchKind) -> HeaderMatchKind {
    HeaderMatchKind::Value(text(kind))
}

fn regex(pattern: &str) -> StringMatchKind {
    StringMatchKind::Regex(Regex::new(pattern).expect("valid"))
}

fn header(name: &str, kind: HeaderMatchKind) -> HeaderMatch {
    HeaderMatch { name: name.into(), kind, invert: false, missing_as_empty: false }
}

fn inverted(matcher: HeaderMatch) -> HeaderMatch {
    HeaderMatch { invert: true, ..matcher }
}

fn or_empty(matcher: HeaderMatch) -> HeaderMatch {
    HeaderMatch { missing_as_empty: true, ..matcher }
}

#[test]
fn header_values() {
    use StringMatchKind::*;
    let head = request();
    for (matcher, expected) in [
        (header("x-kind", value(Exact("alpha,beta".into()))), true),
        (header("x-kind", value(Exact("alpha".into()))), false),
        (header("x-kind", value(Exact("Alpha,Beta".into()))), false),
        (header("x-kind", folded(Exact("Alpha,Beta".into()))), true),
        (header("x-kind", value(Prefix("alp".into()))), true),
        (header("x-kind", folded(Prefix("ALP".into()))), true),
        (header("x-kind", value(Prefix("alpha,beta,gamma".into()))), false),
        (header("x-kind", value(Suffix("beta".into()))), true),
        (header("x-kind", folded(Suffix("BETA".into()))), true),
        (header("x-kind", value(Suffix("BETA".into()))), false),
        (header("x-kind", value(Contains("a,b".into()))), true),
        (header("x-kind", folded(Contains("A,B".into()))), true),
        (header("x-kind", folded(Contains("A;B".into()))), false),
        (header("x-kind", folded(Contains("".into()))), true),
        (header("x-kind", value(regex("^(?:[a-z,]+)$"))), true),
        (header("host", value(Exact("h:80".into()))), true),
        (header("x-empty", value(Exact("".into()))), true),
        (header(":method", value(Exact("GET".into()))), true),
        (header(":path", value(Exact("/Some/Path?x=1&flag&x=2&empty=&xy=3".into()))), true),
        (header(":authority", value(Exact("h:80".into()))), true),
        (header(":scheme", value(Exact("https".into()))), true),
        (header(":status", value(Exact("200".into()))), false),
    ] {
        assert_eq!(matches_header(&matcher, HeadRef::request(&head, HeadView::new(REQUEST))), expected, "{matcher:?}");
    }
}

/// Envoy: HeaderMatcher.present_match, invert_match, treat_missing_header_as_empty, range_match.
#[test]
fn missing_headers_and_ranges() {
    use StringMatchKind::*;
    let head = request();
    let is_a = || value(Exact("a".into()));
    let range = |start, end| HeaderMatchKind::Range { start, end };
    for (matcher, expected) in [
        (header("x-kind", HeaderMatchKind::Present), true),
        (header("x-empty", HeaderMatchKind::Present), true),
        (header("x-none", HeaderMatchKind::Present), false),
        (inverted(header("x-none", HeaderMatchKind::Present)), true),
        (inverted(header("x-kind", HeaderMatchKind::Present)), false),
        (or_empty(header("x-none", HeaderMatchKind::Present)), true),
        (header("x-none", is_a()), false),
        (inverted(header("x-none", is_a())), false),
        (or_empty(header("x-none", is_a())), false),
        (inverted(or_empty(header("x-none", is_a()))), true),
        (or_empty(header("x-none", value(Exact("".into())))), true),
        (inverted(header("x-kind", is_a())), true),
        (header("x-number", range(-7, 0)), true),
        (header("x-number", range(-10, -7)), false),
        (inverted(header("x-number", range(-10, -7))), true),
        (header("x-kind", range(i64::MIN, i64::MAX)), false),
        (inverted(header("x-kind", range(0, 1))), true),
        (header("x-none", range(0, 1)), false),
        (inverted(or_empty(header("x-none", range(0, 1)))), true),
    ] {
        assert_eq!(matches_header(&matcher, HeadRef::request(&head, HeadView::new(REQUEST))), expected, "{matcher:?}");
    }
}

#[test]
fn response_heads() {
    let bytes = b"HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 0\r\n\r\n";
    let mut head = ResponseHead::default();
    parse_response(bytes, &Limits::default(), Method::Get, &mut head).expect("valid");
    let seen = HeadRef::response(&head, HeadView::new(bytes));
    let exact = |name, text: &str| matches_header(&header(name, value(StringMatchKind::Exact(text.into()))), seen);
    assert!(exact("retry-after", "7") && exact(":status", "503"));
    assert!(!exact(":status", "200") && !exact(":method", "GET") && !exact("retry-after", "8"));
}

#[test]
fn an_absolute_form_has_a_path_and_names_the_host() {
    let bytes = b"GET http://h?q HTTP/1.1\r\nHost: other\r\n\r\n";
    let mut head = RequestHead::default();
    parse_request(bytes, &Limits::default(), &mut head).expect("valid");
    let seen = HeadRef::request(&head, HeadView::new(bytes));
    assert!(matches_header(&header(":path", value(StringMatchKind::Exact("/?q".into()))), seen));
    assert!(matches_header(&header(":scheme", value(StringMatchKind::Exact("http".into()))), seen));
    assert!(matches_header(&header("host", value(StringMatchKind::Exact("h".into()))), seen));
}

/// Envoy: QueryParameterMatcher takes the first value, as it is written.
#[test]
fn query_parameters() {
    let head = request();
    let query = head.query(REQUEST);
    let exact = |value: &str| Some(text(StringMatchKind::Exact(value.into())));
    for (name, value, expected) in [
        ("x", None, true),
        ("x", exact("1"), true),
        ("x", exact("2"), false),
        ("flag", None, true),
        ("flag", exact(""), true),
        ("empty", exact(""), true),
        ("fla", None, false),
        ("y", None, false),
        ("xy", exact("3"), true),
    ] {
        let matcher = QueryParameterMatch { name: name.into(), value };
        assert_eq!(matches_query_parameter(&matcher, query), expected, "{matcher:?}");
        assert!(!matches_query_parameter(&matcher, None));
    }
}

#[test]
fn cookies() {
    let head = request();
    for (name, value, invert, expected) in [
        ("a", "1", false, true),
        ("a", "9", false, false),
        ("b", "two", false, true),
        ("c", "3", false, true),
        ("d", "4", false, true),
        ("a", "1", true, false),
        ("a", "2", true, true),
        ("none", "", false, false),
        ("none", "", true, true),
        ("bad", "", false, false),
    ] {
        let value = text(StringMatchKind::Exact(value.into()));
        let matcher = CookieMatch { name: name.into(), value, invert };
        assert_eq!(matches_cookie(&matcher, &head.fields, HeadView::new(REQUEST)), expected, "{matcher:?}");
    }
}

#[test]
fn shares_nest() {
    let share = |per_million| Fraction { per_million };
    let count = |share| (0..3_000_000u64).filter(|random| is_in_share(share, *random)).count();
    assert_eq!([count(share(0)), count(share(250_000)), count(share(1_000_000))], [0, 750_000, 3_000_000]);
    assert!((0..1000).all(|random| !is_in_share(share(10), random) || is_in_share(share(20), random)));
}
