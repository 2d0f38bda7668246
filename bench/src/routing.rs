//! Which route.

use crate::config;
use ringway::codec::h1::{Limits, Parse, parse_request};
use ringway::http::{HeadView, RequestHead};
use ringway::route::RouteTable;
use ringway::route::matcher::Request;
use ringway_config::model::{HeaderMatch, HeaderMatchKind, PathMatch, StringMatch, StringMatchKind, VirtualHost};
use std::hint::black_box;

/// What tells the routes of a table apart; `N` is the route's number, with five digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `prefix = "/api/N/"`
    Prefix,
    /// `path = "/api/N/items"`
    Exact,
    /// `regex = "/api/N/[a-z]+"`
    Regex,
    /// `regex = "/[a-z]+/N/.*"`: the paths do not begin with what tells them apart.
    Within,
    /// `template = "/{section}/N/*"`
    Template,
    /// `prefix = "/"` and the field `x-tenant: N`
    Header,
    /// `prefix = "/"`, each in a virtual host of its own, `N.example.com`
    Host,
}

/// Which routes are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    First,
    Last,
    /// None of them.
    None,
    /// Sixty-four from all over the table, in turn, and every fourth time none.
    Mix,
}

pub const KINDS: [Kind; 7] =
    [Kind::Prefix, Kind::Exact, Kind::Regex, Kind::Within, Kind::Template, Kind::Header, Kind::Host];

pub const PICKS: [Pick; 4] = [Pick::First, Pick::Last, Pick::None, Pick::Mix];

/// Find routes in a table of `routes` of this kind.
pub fn route_match(kind: Kind, routes: usize, pick: Pick) -> impl FnMut() {
    let table = RouteTable::new(&hosts(kind, routes));
    let numbers: Vec<Option<usize>> = match pick {
        Pick::First => vec![Some(0)],
        Pick::Last => vec![Some(routes - 1)],
        Pick::None => vec![None],
        // A prime spreads the numbers.
        Pick::Mix => (0..64).map(|i| (i % 4 != 3).then_some(i * 7919 % routes)).collect(),
    };
    let requests: Vec<_> = numbers.into_iter().map(|number| (number, Parsed::new(request(kind, number)))).collect();
    let mut next = 0;
    move || {
        let (number, Parsed { bytes, head }) = &requests[next];
        next = if next + 1 == requests.len() { 0 } else { next + 1 };
        let found = table.find(&Request::new(black_box(head), HeadView::new(black_box(bytes)), 0));
        let found = found.map(|at| if kind == Kind::Host { at.virtual_host } else { at.route } as usize);
        assert_eq!(found, *number);
    }
}

/// Find any of the routes, at random: between two that are alike the cache has seen the whole table, while the request is
/// as warm as one that was just read.
pub fn random_route(kind: Kind, routes: usize) -> impl FnMut() {
    let table = RouteTable::new(&hosts(kind, routes));
    let Parsed { mut bytes, head } = Parsed::new(request(kind, Some(0)));
    let numbers: Vec<usize> =
        bytes.windows(5).enumerate().filter(|(_, five)| *five == b"00000").map(|(at, _)| at).collect();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let number = (random >> 32) as usize % routes;
        let digits = [10_000, 1000, 100, 10, 1].map(|unit| b'0' + (number / unit % 10) as u8);
        numbers.iter().for_each(|at| bytes[*at..*at + 5].copy_from_slice(&digits));
        let found = table.find(&Request::new(black_box(&head), HeadView::new(black_box(&bytes)), 0));
        let found = found.map(|at| if kind == Kind::Host { at.virtual_host } else { at.route } as usize);
        assert_eq!(found, Some(number));
    }
}

/// The hosts are edited copies of a loaded one: reading thousands of routes from text takes minutes under valgrind.
/// Patterns are still loaded, because they must be compiled.
fn hosts(kind: Kind, routes: usize) -> Vec<VirtualHost> {
    let pattern = |n: usize| match kind {
        Kind::Regex => format!("regex = \"/api/{n:05}/[a-z]+\""),
        Kind::Within => format!("regex = \"/[a-z]+/{n:05}/.*\""),
        Kind::Template => format!("template = \"/{{section}}/{n:05}/*\""),
        Kind::Prefix | Kind::Exact | Kind::Header | Kind::Host => "prefix = \"/\"".into(),
    };
    let is_loaded = matches!(kind, Kind::Regex | Kind::Within | Kind::Template);
    let route = |n: usize| format!("{{ match = {{ {} }}, direct_response = {{ status = 200 }} }}", pattern(n));
    let list: Vec<_> = (0..if is_loaded { routes } else { 1 }).map(route).collect();
    let mut loaded = config::virtual_hosts(&format!("{}routes = [\n{}\n]\n", config::head(), list.join(",\n")));
    if is_loaded {
        return loaded;
    }
    let mut host = loaded.remove(0);
    let template = host.routes.remove(0);
    let numbered = |n: usize| {
        let mut route = template.clone();
        match kind {
            Kind::Prefix => route.matcher.path = PathMatch::Prefix(format!("/api/{n:05}/")),
            Kind::Exact => route.matcher.path = PathMatch::Exact(format!("/api/{n:05}/items")),
            Kind::Header => route.matcher.headers.push(tenant(n)),
            Kind::Host | Kind::Regex | Kind::Within | Kind::Template => {}
        }
        route
    };
    if kind == Kind::Host {
        let named = |n| VirtualHost {
            domains: vec![format!("{n:05}.example.com")],
            routes: vec![template.clone()],
            ..host.clone()
        };
        return (0..routes).map(named).collect();
    }
    host.routes = (0..routes).map(numbered).collect();
    vec![host]
}

fn tenant(n: usize) -> HeaderMatch {
    let text = StringMatch { kind: StringMatchKind::Exact(format!("{n:05}")), ignore_case: false };
    let kind = HeaderMatchKind::Value(text);
    HeaderMatch { name: "x-tenant".into(), kind, invert: false, missing_as_empty: false }
}

/// A request for the route; `None`: one that no route takes.
fn request(kind: Kind, route: Option<usize>) -> String {
    let number = route.map_or("00x00".into(), |route| format!("{route:05}"));
    let host = if kind == Kind::Host { format!("{number}.example.com") } else { "www.example.com".into() };
    let fields = format!("Host: {host}\r\nUser-Agent: wrk\r\nX-Tenant: {number}\r\n");
    format!("GET /api/{number}/items?id=7 HTTP/1.1\r\n{fields}\r\n")
}

struct Parsed {
    bytes: Vec<u8>,
    head: RequestHead,
}

impl Parsed {
    fn new(text: String) -> Self {
        let (bytes, mut head) = (text.into_bytes(), RequestHead::default());
        assert!(matches!(parse_request(&bytes, &Limits::default(), &mut head), Ok(Parse::Complete(_))));
        Self { bytes, head }
    }
}

/// Find the last of `routes` routes of one virtual host, with matches of several kinds among them.
pub fn last_route(routes: usize) -> impl FnMut() {
    find(&config::text(routes), "www.example.com", routes - 1, 0, routes - 1)
}

/// Find the last of `routes` routes that are spread over virtual hosts, ten in each.
pub fn last_route_of_hosts(routes: usize) -> impl FnMut() {
    let (route, host) = (routes - 1, (routes - 1) / config::ROUTES_PER_HOST);
    let text = config::text_with_hosts(routes);
    find(&text, &format!("host{host}.example.com"), route, host as u32, route % config::ROUTES_PER_HOST)
}

fn find(config: &str, host: &str, number: usize, virtual_host: u32, route: usize) -> impl FnMut() + use<> {
    let table = RouteTable::new(&config::virtual_hosts(config));
    let fields = format!("Host: {host}\r\nUser-Agent: wrk\r\n");
    let request = Parsed::new(format!("GET /api/{number}/items?id=7 HTTP/1.1\r\n{fields}\r\n"));
    move || {
        let found = table.find(&Request::new(black_box(&request.head), HeadView::new(black_box(&request.bytes)), 0));
        assert!(found.is_some_and(|at| at.route as usize == route && at.virtual_host == virtual_host));
    }
}
