//! The index against its definition: whatever the table and the request, it finds what a scan in order finds.

use super::*;
use crate::codec::h1::{Limits, Parse, parse_request};
use crate::http::{HeadView, RequestHead, split_port};
use crate::route::explain::{Tried, Verdict, choose_host, walk};
use crate::route::matcher::predicates;
use regex::bytes::RegexBuilder;
use ringway_config::model::*;
use std::cell::RefCell;
use std::collections::HashMap;

/// Small numbers from a seed (xorshift64*): every failure can be repeated.
pub(super) struct Random(pub u64);

impl Random {
    pub(super) fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % end
    }

    pub(super) fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    pub(super) fn pick<'s>(&mut self, from: &[&'s str]) -> &'s str {
        from[self.below(from.len())]
    }

    pub(super) fn repeat<T>(&mut self, most: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| make(self)).collect()
    }
}

const SEGMENTS: &[&str] = &["", "a", "b", "A", "aa", "ab", "api", "v1", "x.jpg", "users", "k"];
const METHODS: &[&str] = &["GET", "POST", "PUT", "PURGE"];
const VALUES: &[&str] = &["", "1", "2", "one", "One", "1,2"];
const PATTERNS: &[&str] = &[
    "/.*",
    "/a.*",
    "/a/[^/]+",
    "/[^/]+/users",
    "/(?:a|b)/.*",
    ".*\\.jpg",
    "/[^/]+/v1/.*",
    "(?i)/a/?.*",
    "/v1(?:/a)?",
    "[^a]*",
    "/a|/b",
    "/(?:users|api)/.*",
    ".*",
    "(?i)/K",
    "/.*/(?:users|v1)",
];
const DOMAINS: &[&str] = &["*", "a.org", "*.a.org", "*.b.a.org", "www.*", "www.a.*", "b.org", "[::1]", "*.org"];
const AUTHORITIES: &[&str] =
    &["a.org", "A.ORG:80", "x.a.org", "x.b.a.org", "www.x.de", "www.a.b", "b.org", "[::1]:8080", "other", "c.org"];

fn path(random: &mut Random) -> String {
    let segments: String = (0..1 + random.below(3)).map(|_| format!("/{}", random.pick(SEGMENTS))).collect();
    segments
}

/// Compiled once: that is what takes the time here.
fn pattern(text: &str) -> Pattern {
    thread_local!(static KNOWN: RefCell<HashMap<String, Pattern>> = RefCell::default());
    let compile = || Pattern::whole(RegexBuilder::new(&format!("^(?:{text})$")).unicode(false).build().expect("valid"));
    KNOWN.with_borrow_mut(|known| known.entry(text.into()).or_insert_with(compile).clone())
}

fn string_match(random: &mut Random) -> StringMatch {
    let text = random.pick(VALUES).to_owned();
    let kind = match random.below(8) {
        0 => StringMatchKind::Prefix(text),
        1 => StringMatchKind::Suffix(text),
        2 => StringMatchKind::Contains(text),
        3 => StringMatchKind::Regex(pattern("[0-9]+")),
        _ => StringMatchKind::Exact(text),
    };
    StringMatch { kind, ignore_case: random.one_in(5) }
}

fn header_match(random: &mut Random) -> HeaderMatch {
    let kind = match random.below(6) {
        0 => HeaderMatchKind::Present,
        1 => HeaderMatchKind::Range { start: 0, end: 2 },
        _ => HeaderMatchKind::Value(string_match(random)),
    };
    let name = random.pick(&["x-a", "x-b", "user-agent", ":method", ":path"]).to_owned();
    HeaderMatch { name, kind, invert: random.one_in(6), missing_as_empty: random.one_in(6) }
}

fn route_match(random: &mut Random) -> RouteMatch {
    let path = match random.below(7) {
        0 | 1 => PathMatch::Prefix(if random.one_in(3) { "/".into() } else { path(random) }),
        2 => PathMatch::PathSeparatedPrefix(format!("/{}", random.pick(&["a", "api", "v1", "a/b"]))),
        3 => PathMatch::Regex(pattern(random.pick(PATTERNS))),
        4 => PathMatch::Template(UriTemplate { text: String::new(), regex: pattern("/(?P<a>[^/]+)/(?P<b>[^/]+)") }),
        _ => PathMatch::Exact(path(random)),
    };
    let is_plain = random.one_in(3);
    let most = |n| if is_plain { 0 } else { n };
    RouteMatch {
        path,
        case_sensitive: !random.one_in(4),
        methods: random.repeat(most(2), |random| random.pick(METHODS).to_owned()),
        headers: random.repeat(most(1), header_match),
        query_parameters: random.repeat(most(1), |random| QueryParameterMatch {
            name: random.pick(&["q", "p"]).to_owned(),
            value: (!random.one_in(4)).then(|| string_match(random)),
        }),
        cookies: random.repeat(most(1), |random| CookieMatch {
            name: random.pick(&["c", "d"]).to_owned(),
            value: string_match(random),
            invert: random.one_in(4),
        }),
        addresses: random.repeat(most(1), |random| {
            let address = random.pick(&["10.0.0.0", "10.0.1.0", "192.0.2.0"]).parse().expect("an address");
            let range = Cidr { address, prefix_len: 24 };
            let whose = if random.one_in(2) { Whose::Client } else { Whose::Peer };
            AddressMatch { whose, ranges: Ranges::new(vec![range]), invert: random.one_in(3) }
        }),
        tls: None,
        fraction: (!is_plain && random.one_in(4)).then(|| Fraction { per_million: random.below(1_000_001) as u32 }),
    }
}

fn route(matcher: RouteMatch) -> model::Route {
    model::Route {
        place: Place::default(),
        name: None,
        matcher,
        action: RouteAction::DirectResponse(DirectResponse { status: 200, body: vec![], content_type: String::new() }),
        tracing: model::RouteTracing::default(),
        headers: HeaderMutations::default(),
        filters: FilterOverrides::default(),
    }
}

fn host(domains: &[&str], routes: Vec<model::Route>) -> model::VirtualHost {
    model::VirtualHost {
        place: Place::default(),
        name: String::new(),
        domains: domains.iter().map(|domain| (*domain).to_owned()).collect(),
        routes,
        headers: HeaderMutations::default(),
        filters: FilterOverrides::default(),
        include_request_attempt_count: false,
        include_attempt_count_in_response: false,
    }
}

/// What `find` must do, in the plainest words.
fn scan(hosts: &[model::VirtualHost], request: &Request<'_>) -> Option<RouteRef> {
    let name = String::from_utf8(split_port(request.authority).0.to_ascii_lowercase()).expect("text");
    // Exact, longest suffix, longest prefix, any.
    let rank = |domain: &str| match (domain.strip_prefix('*'), domain.strip_suffix('*')) {
        (Some(""), _) => Some((1, 0)),
        (Some(suffix), _) => (name.len() > suffix.len() && name.ends_with(suffix)).then_some((3, suffix.len())),
        (_, Some(prefix)) => (name.len() > prefix.len() && name.starts_with(prefix)).then_some((2, prefix.len())),
        _ => (name == domain).then_some((4, 0)),
    };
    let best = |host: &model::VirtualHost| host.domains.iter().filter_map(|domain| rank(domain)).max();
    let (place, host) =
        hosts.iter().enumerate().filter(|(_, host)| best(host).is_some()).max_by_key(|(_, host)| best(host))?;
    let route = host.routes.iter().position(|route| predicates(&route.matcher).all(|asked| asked.holds(request)))?;
    Some(RouteRef { virtual_host: place as u32, route: route as u32 })
}

/// What `explain` says.
fn explained(hosts: &[model::VirtualHost], request: &Request<'_>) -> Option<RouteRef> {
    let chosen = choose_host(hosts, request.authority)?;
    let number = request.random as u32;
    let is_taken =
        |tried: &Tried<'_>| matches!(tried.verdict, Verdict::Taken { from, to } if (from..to).contains(&number));
    let tried = walk(chosen.host, request).into_iter().find(is_taken)?;
    Some(RouteRef { virtual_host: chosen.index as u32, route: tried.index as u32 })
}

fn with_request(text: &str, random: u64, check: impl FnOnce(&Request<'_>)) {
    let mut head = RequestHead::default();
    assert!(matches!(parse_request(text.as_bytes(), &Limits::default(), &mut head), Ok(Parse::Complete(_))), "{text}");
    // The number says where it is from, too.
    let of = |number: u64| ["10.0.0.9:1", "10.0.1.9:1", "198.51.100.1:1"].get(number as usize % 4)?.parse().ok();
    let (client, peer) = (of(random), of(random / 4));
    check(&Request::new(&head, HeadView::new(text.as_bytes()), random).from(client.as_ref(), peer.as_ref()));
}

fn request_text(random: &mut Random) -> String {
    let mut text = format!("{} {}", random.pick(METHODS), path(random));
    if random.one_in(2) {
        text += &format!("?q={}&p={}", random.pick(VALUES), random.pick(VALUES));
    }
    text += &format!(" HTTP/1.1\r\nHost: {}\r\n", random.pick(AUTHORITIES));
    for name in ["x-a", "x-b", "user-agent", "x-a"] {
        if random.one_in(2) {
            text += &format!("{name}: {}\r\n", random.pick(VALUES));
        }
    }
    if random.one_in(2) {
        text += &format!("cookie: c={}; d={}\r\n", random.pick(VALUES), random.pick(VALUES));
    }
    text + "\r\n"
}

/// Two hundred tables of up to 60 routes a host, a hundred requests each.
#[test]
fn the_index_finds_what_a_scan_finds() {
    let (mut found, mut requests) = (0, 0);
    for seed in 1..=200u64 {
        let mut random = Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mut domains = DOMAINS.to_vec();
        let hosts: Vec<_> = (0..1 + random.below(3))
            .map(|_| {
                let domains: Vec<_> =
                    (0..1 + random.below(3)).map(|_| domains.swap_remove(random.below(domains.len()))).collect();
                host(&domains, random.repeat(60, |random| route(route_match(random))))
            })
            .collect();
        let table = RouteTable::new(&hosts);
        for _ in 0..100 {
            let text = request_text(&mut random);
            with_request(&text, random.below(1_000_000) as u64, |request| {
                let expected = scan(&hosts, request);
                assert_eq!(table.find(request), expected, "seed {seed}: {text}{hosts:#?}");
                assert_eq!(explained(&hosts, request), expected, "seed {seed}: {text}{hosts:#?}");
                found += usize::from(expected.is_some());
                requests += 1;
            });
        }
    }
    assert!(found > requests / 3 && found < requests, "{found} of {requests}: the test does not tell apart");
}

fn path_route(path: PathMatch) -> model::Route {
    route(RouteMatch::of_path(path))
}

fn find(table: &RouteTable, target: &str, fields: &str) -> Option<u32> {
    let mut found = None;
    let text = format!("GET {target} HTTP/1.1\r\nHost: h\r\n{fields}\r\n");
    with_request(&text, 0, |request| found = table.find(request).map(|at| at.route));
    found
}

#[test]
fn the_first_matching_route_wins() {
    let table = RouteTable::new(&[host(
        &["*"],
        vec![
            path_route(PathMatch::Exact("/a".into())),
            path_route(PathMatch::PathSeparatedPrefix("/api".into())),
            path_route(PathMatch::Prefix("/".into())),
            path_route(PathMatch::Exact("/never".into())),
        ],
    )]);
    for (path, expected) in [("/a", 0), ("/ab", 2), ("/api", 1), ("/api/x", 1), ("/apix", 2), ("/never", 2)] {
        assert_eq!(find(&table, path, ""), Some(expected), "{path}");
    }
}

/// What an attacker writes is found right, too: paths in which very many patterns' texts stand, and prefixes that nest
/// deeper than lists are merged.
#[test]
fn very_many_candidates() {
    let patterns = (0..500).map(|i| path_route(PathMatch::Regex(pattern(&format!("/[^/]+/(?:.*/)?x{i}/.*")))));
    let nested = (0..40).rev().map(|i| path_route(PathMatch::Exact("/n".repeat(i))));
    let prefixes = (0..40).rev().map(|i| {
        let mut matcher = path_route(PathMatch::Prefix("/n".repeat(i + 1))).matcher;
        matcher.methods = vec![if i == 20 { "GET" } else { "POST" }.into()];
        route(matcher)
    });
    let table = RouteTable::new(&[host(&["*"], patterns.chain(nested).chain(prefixes).collect())]);
    let all: String = (0..500).rev().map(|i| format!("/x{i}")).collect();
    assert_eq!(find(&table, &format!("/t{all}/"), ""), Some(0));
    assert_eq!(find(&table, &format!("/t{}/", all.replace("/x0", "")), ""), Some(1));
    assert_eq!(find(&table, &"/n".repeat(60), ""), Some(500 + 40 + 19));
}

/// Programs say nothing of such paths; then the regex does.
#[test]
fn paths_that_are_not_ascii() {
    let texts = ["/a/[^/]+", "/[^/]+/x/[0-9]+", r"/a/\xc3\xa9/.*"];
    let routes = texts.map(|text| path_route(PathMatch::Regex(pattern(text))));
    let table = RouteTable::new(&[host(&["*"], routes.into())]);
    let paths = [("/a/\u{e9}", Some(0)), ("/\u{e9}/x/1", Some(1)), ("/a/\u{e9}/", Some(2)), ("/\u{e9}", None)];
    for (path, expected) in paths {
        // Set here: the codec lets none of them in.
        with_request("GET / HTTP/1.1\r\nHost: h\r\n\r\n", 0, |request| {
            let request = Request { path: path.as_bytes(), ..*request };
            assert_eq!(table.find(&request).map(|at| at.route), expected, "{path}");
        });
    }
}

/// Texts of which only the beginning is looked for, so that several are the same.
#[test]
fn very_long_texts() {
    let long = "/x".repeat(100);
    let patterns: Vec<_> = (0..20).map(|i| format!("/[^/]+{long}{i}(?:/.*)?|/[^/]+{long}/{i}")).collect();
    let routes = patterns.iter().map(|text| path_route(PathMatch::Regex(pattern(text)))).collect();
    let table = RouteTable::new(&[host(&["*"], routes)]);
    for i in 0..20 {
        assert_eq!(find(&table, &format!("/t{long}{i}/"), ""), Some(i));
        assert_eq!(find(&table, &format!("/t{long}/{i}"), ""), Some(i));
        assert_eq!(find(&table, &format!("/t/t{long}/{i}"), ""), None);
    }
}

/// Routes of one path are told apart by what they ask for, and those that ask for something else keep their turn.
#[test]
fn routes_that_share_a_path() {
    let mut routes: Vec<_> = (0..100)
        .map(|i| {
            let kind = StringMatchKind::Exact(format!("t{i}"));
            let kind = HeaderMatchKind::Value(StringMatch { kind, ignore_case: false });
            let tenant = HeaderMatch { name: "x-tenant".into(), kind, invert: false, missing_as_empty: false };
            let mut matcher = path_route(PathMatch::Prefix("/".into())).matcher;
            matcher.headers = vec![tenant];
            route(matcher)
        })
        .collect();
    let debug =
        HeaderMatch { name: "x-debug".into(), kind: HeaderMatchKind::Present, invert: false, missing_as_empty: false };
    let mut matcher = path_route(PathMatch::Prefix("/".into())).matcher;
    matcher.headers = vec![debug];
    routes.insert(50, route(matcher));
    let table = RouteTable::new(&[host(&["*"], routes)]);
    assert_eq!(find(&table, "/", "x-tenant: t49\r\nx-debug: 1\r\n"), Some(49));
    assert_eq!(find(&table, "/", "x-tenant: t50\r\n"), Some(51));
    assert_eq!(find(&table, "/", "x-tenant: t50\r\nx-debug: 1\r\n"), Some(50));
    assert_eq!(find(&table, "/", "x-tenant: t\r\n"), None);
    assert_eq!(find(&table, "/", "x-tenant: t1\r\nx-tenant: t2\r\n"), None);
}
