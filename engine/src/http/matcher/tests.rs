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
    StringMatchKind::Regex(Pattern::whole(Regex::new(pattern).expect("valid")))
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
    let (head, view) = (request(), HeadView::new(REQUEST));
    let none = b"GET /?a HTTP/1.1\r\nHost: h\r\n\r\n";
    let mut other = RequestHead::default();
    parse_request(none, &Limits::default(), &mut other).expect("valid");
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
        // Along the query, and by its index.
        for before in [0, INDEX_FROM + 1] {
            head.work.reset();
            take(&head.work, before);
            assert_eq!(matches_query_parameter(&matcher, &head, view), expected, "{matcher:?}");
        }
        assert!(!matches_query_parameter(&matcher, &other, HeadView::new(none)));
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
        for before in [0, INDEX_FROM + 1] {
            head.work.reset();
            take(&head.work, before);
            assert_eq!(matches_cookie(&matcher, &head, HeadView::new(REQUEST)), expected, "{matcher:?}");
        }
    }
}

#[test]
fn shares_nest() {
    let share = |per_million| Fraction { per_million };
    let count = |share| (0..3_000_000u64).filter(|random| is_in_share(share, *random)).count();
    assert_eq!([count(share(0)), count(share(250_000)), count(share(1_000_000))], [0, 750_000, 3_000_000]);
    assert!((0..1000).all(|random| !is_in_share(share(10), random) || is_in_share(share(20), random)));
}

/// A head with these cookies and this query.
fn head_of(text: &str) -> RequestHead {
    let mut head = RequestHead::default();
    parse_request(text.as_bytes(), &Limits::default(), &mut head).expect("valid");
    head
}

/// Looking for many cookies or parameters costs the text and the number of conditions, and not their product.
#[test]
fn many_conditions_on_long_texts_are_cheap() {
    for pairs in [40, 1000, 3500] {
        let pair = |at: usize| format!("c{at}={}", "v".repeat(40_000 / pairs - 8));
        let cookies: Vec<_> = (0..pairs).map(pair).collect();
        let text = format!(
            "GET /?{} HTTP/1.1\r\nHost: h\r\nCookie: {}\r\n\r\n",
            &cookies.join("&")[..16_000],
            cookies.join("; ")
        );
        let head = head_of(&text);
        let view = HeadView::new(text.as_bytes());
        for at in (0..5000).step_by(10) {
            let value = format!("c{at}");
            let expected = (at < pairs).then(|| 40_000 / pairs - 8);
            assert_eq!(cookie(&head, view, value.as_bytes()).map(<[u8]>::len), expected, "{at}");
            query_parameter(&head, view, value.as_bytes());
        }
        assert!(head.work.taken() < MATCH_STEPS_MAX / 2, "{} steps for {pairs} pairs", head.work.taken());
    }
    // More pairs than an index takes: there is an end to walking along them.
    let text = format!("GET / HTTP/1.1\r\nHost: h\r\nCookie: {}\r\n\r\n", "a=;".repeat(19_000));
    let (head, view) = (head_of(&text), HeadView::new(text.as_bytes()));
    let found = (0..1000).filter(|_| cookie(&head, view, b"b").is_some()).count();
    assert!(found == 0 && is_exhausted(&head.work));
}

/// No text is compared with a pattern or a word beyond the steps of the request.
#[test]
fn comparisons_end_with_the_steps_of_the_request() {
    let long = "a".repeat(50_000);
    let text = format!("GET / HTTP/1.1\r\nHost: h\r\nX-A: {long}\r\n\r\n");
    let view = HeadView::new(text.as_bytes());
    let dear = regex::bytes::RegexBuilder::new("^(?:.*a.{100}b.*)$").unicode(false).build().expect("valid");
    let contains = StringMatch { kind: StringMatchKind::Contains(format!("{}b", "a".repeat(999))), ignore_case: true };
    let is_dear = [value(StringMatchKind::Regex(Pattern::whole(dear))), HeaderMatchKind::Value(contains)];
    for kind in is_dear {
        let head = head_of(&text);
        let matcher = header("x-a", kind);
        assert!(!matches_header(&matcher, HeadRef::request(&head, view)) && is_exhausted(&head.work), "{matcher:?}");
    }
    let cheap = [
        regex(r"^(?:.{300}.*)$"),
        regex(r"^(?:a+)$"),
        StringMatchKind::Contains("aa".into()),
        StringMatchKind::Exact(long.clone()),
    ];
    for kind in cheap {
        let head = head_of(&text);
        let matcher = header("x-a", value(kind));
        assert!(matches_header(&matcher, HeadRef::request(&head, view)), "{matcher:?}");
        assert!(head.work.taken() <= 50_100, "{} steps", head.work.taken());
    }
}
