//! Does a route match a request? What a route asks for, one predicate after the other.

use crate::http::matcher::{
    HeadRef, is_in_share, matches_cookie, matches_header, matches_pattern, matches_query_parameter, take,
};
use crate::http::{HeadView, RequestHead, Work};
use crate::net::tls;
use ringway_config::model::{
    AddressMatch, CookieMatch, Fraction, HeaderMatch, PathMatch, QueryParameterMatch, RouteMatch, TlsContextMatch,
    Whose,
};
use std::net::{IpAddr, SocketAddr};

/// What routes look at.
pub struct Request<'a> {
    pub authority: &'a [u8],
    /// Without the query, rows of slashes as one.
    pub path: &'a [u8],
    pub query: Option<&'a [u8]>,
    pub method: &'a [u8],
    pub head: &'a RequestHead,
    pub view: HeadView<'a>,
    /// For fractions. One number for the whole exchange: then shares of several routes overlap, as Envoy's do.
    pub random: u64,
    /// Where it comes from, as trust finds it.
    pub client: Option<&'a SocketAddr>,
    /// The connection's other end.
    pub peer: Option<&'a SocketAddr>,
    /// What was agreed on with it, if the connection has TLS.
    pub tls: Option<&'a tls::Facts>,
}

impl<'a> Request<'a> {
    #[inline(always)]
    pub fn new(head: &'a RequestHead, view: HeadView<'a>, random: u64) -> Self {
        Self {
            authority: head.authority.of(view),
            path: head.match_path(view),
            query: head.query(view),
            method: head.method_bytes(view),
            head,
            view,
            random,
            client: None,
            peer: None,
            tls: None,
        }
    }

    /// The same request, and where it comes from.
    #[inline]
    #[must_use]
    pub fn from(self, client: Option<&'a SocketAddr>, peer: Option<&'a SocketAddr>) -> Self {
        Self { client, peer, ..self }
    }

    /// The same request, and the TLS that it came through.
    #[inline]
    #[must_use]
    pub fn over(self, tls: Option<&'a tls::Facts>) -> Self {
        Self { tls, ..self }
    }

    /// Whether the client has shown a certificate, and one that was verified.
    pub fn certificate(&self) -> [bool; 2] {
        self.tls.map_or([false; 2], |tls| [tls.has_peer_certificate, tls.is_peer_verified])
    }

    pub fn address(&self, whose: Whose) -> Option<IpAddr> {
        let address = match whose {
            Whose::Client => self.client,
            Whose::Peer => self.peer,
        };
        address.map(SocketAddr::ip)
    }

    pub fn head_ref(&self) -> HeadRef<'a> {
        HeadRef::request(self.head, self.view)
    }
}

/// What it costs to look an address up, in a long list of ranges.
const ADDRESS_STEPS: u64 = 16;

/// One thing that a route asks for.
#[derive(Clone, Copy, Debug)]
pub enum Predicate<'m> {
    Path(&'m RouteMatch),
    /// One of these.
    Method(&'m [String]),
    Header(&'m HeaderMatch),
    QueryParameter(&'m QueryParameterMatch),
    Cookie(&'m CookieMatch),
    Address(&'m AddressMatch),
    Tls(&'m TlsContextMatch),
    Fraction(Fraction),
}

impl Predicate<'_> {
    pub fn holds(&self, request: &Request<'_>) -> bool {
        match self {
            Self::Path(route) => matches_path(&route.path, route.case_sensitive, request.path, &request.head.work),
            Self::Method(methods) => methods.iter().any(|method| method.as_bytes() == request.method),
            Self::Header(header) => matches_header(header, request.head_ref()),
            Self::QueryParameter(parameter) => matches_query_parameter(parameter, request.head, request.view),
            Self::Cookie(cookie) => matches_cookie(cookie, request.head, request.view),
            Self::Address(matcher) => {
                take(&request.head.work, ADDRESS_STEPS) && matcher.holds(request.address(matcher.whose))
            }
            Self::Tls(asked) => {
                let [presented, validated] = request.certificate();
                asked.presented.is_none_or(|asked| asked == presented)
                    && asked.validated.is_none_or(|asked| asked == validated)
            }
            Self::Fraction(share) => is_in_share(*share, request.random),
        }
    }
}

/// All that the route asks for, the path first.
pub fn predicates(route: &RouteMatch) -> impl Iterator<Item = Predicate<'_>> {
    std::iter::once(Predicate::Path(route)).chain(predicates_beside_path(route))
}

/// All that the route asks for in addition to the path.
pub(super) fn predicates_beside_path(route: &RouteMatch) -> impl Iterator<Item = Predicate<'_>> {
    let methods = (!route.methods.is_empty()).then_some(Predicate::Method(&route.methods));
    let share = route.fraction.map(Predicate::Fraction);
    methods
        .into_iter()
        .chain(route.addresses.iter().map(Predicate::Address))
        .chain(route.tls.iter().map(Predicate::Tls))
        .chain(route.headers.iter().map(Predicate::Header))
        .chain(route.query_parameters.iter().map(Predicate::QueryParameter))
        .chain(route.cookies.iter().map(Predicate::Cookie))
        .chain(share)
}

pub(super) fn matches_path(matcher: &PathMatch, case_sensitive: bool, path: &[u8], work: &Work) -> bool {
    let equal = |a: &[u8], b: &[u8]| if case_sensitive { a == b } else { a.eq_ignore_ascii_case(b) };
    let begins = |prefix: &[u8]| path.get(..prefix.len()).is_some_and(|start| equal(start, prefix));
    match matcher {
        PathMatch::Prefix(prefix) => begins(prefix.as_bytes()),
        PathMatch::Exact(exact) => equal(path, exact.as_bytes()),
        PathMatch::PathSeparatedPrefix(prefix) => {
            begins(prefix.as_bytes()) && matches!(path.get(prefix.len()), None | Some(b'/'))
        }
        PathMatch::Regex(pattern) => matches_pattern(pattern, path, work),
        PathMatch::Template(template) => matches_pattern(&template.regex, path, work),
    }
}

/// Bytes of the path that a rewrite of the prefix replaces. An exact path, a regex and a template stand for all of it.
pub(super) fn matched_len(matcher: &PathMatch, path: &[u8]) -> usize {
    match matcher {
        PathMatch::Prefix(prefix) | PathMatch::PathSeparatedPrefix(prefix) => prefix.len().min(path.len()),
        PathMatch::Exact(_) | PathMatch::Regex(_) | PathMatch::Template(_) => path.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::h1::{Limits, parse_request};
    use regex::bytes::Regex;
    use ringway_config::model::{Cidr, HeaderMatchKind, Pattern, Ranges, StringMatch, StringMatchKind, UriTemplate};

    const BYTES: &[u8] = b"GET /Some/Path?x=1 HTTP/1.1\r\nHost: h\r\nX-Kind: alpha\r\nCookie: a=b\r\n\r\n";

    fn with_request(check: impl Fn(&Request<'_>)) {
        let mut head = RequestHead::default();
        parse_request(BYTES, &Limits::default(), &mut head).expect("valid");
        let [client, peer] = ["192.0.2.7:0", "[::ffff:198.51.100.7]:80"].map(|it| it.parse().expect("an address"));
        check(&Request::new(&head, HeadView::new(BYTES), 499_999).from(Some(&client), Some(&peer)));
    }

    fn any() -> RouteMatch {
        RouteMatch::of_path(PathMatch::Prefix("/".into()))
    }

    #[test]
    fn paths() {
        let regex = |text| PathMatch::Regex(Pattern::whole(Regex::new(text).expect("valid")));
        let template = |text| {
            PathMatch::Template(UriTemplate {
                text: String::new(),
                regex: Pattern::whole(Regex::new(text).expect("valid")),
            })
        };
        for (path, case_sensitive, expected) in [
            (PathMatch::Prefix("/Some".into()), true, true),
            (PathMatch::Prefix("/some".into()), true, false),
            (PathMatch::Prefix("/some".into()), false, true),
            (PathMatch::Exact("/Some/Path".into()), true, true),
            (PathMatch::Exact("/Some/Path?x=1".into()), true, false),
            (PathMatch::PathSeparatedPrefix("/Some".into()), true, true),
            (PathMatch::PathSeparatedPrefix("/Som".into()), true, false),
            (PathMatch::PathSeparatedPrefix("/some/path".into()), false, true),
            (regex("^(?:(?:/[A-Z][a-z]+){2})$"), true, true),
            (regex("^(?:/x)$"), true, false),
            (template("^/Some/(?P<rest>[^/]+)$"), true, true),
            (template("^/Some/(?P<rest>[^/]+)/x$"), true, false),
        ] {
            with_request(|request| {
                assert_eq!(matches_path(&path, case_sensitive, request.path, &request.head.work), expected, "{path:?}");
            });
        }
    }

    #[test]
    fn certificates_of_clients() {
        let facts = |shown, verified| tls::Facts {
            has_peer_certificate: shown,
            is_peer_verified: verified,
            ..tls::Facts::default()
        };
        let cases = [
            (None, [false, false]),
            (Some(facts(false, false)), [false, false]),
            (Some(facts(true, false)), [true, false]),
            (Some(facts(true, true)), [true, true]),
        ];
        let options = [None, Some(false), Some(true)];
        for (tls, [shown, verified]) in &cases {
            for (presented, validated) in options.into_iter().flat_map(|a| options.map(|b| (a, b))) {
                let asked = TlsContextMatch { presented, validated };
                let expected = presented.is_none_or(|it| it == *shown) && validated.is_none_or(|it| it == *verified);
                with_request(|request| {
                    let request = Request::new(request.head, request.view, 0).over(tls.as_ref());
                    assert_eq!(Predicate::Tls(&asked).holds(&request), expected, "{asked:?} of {tls:?}");
                });
            }
        }
    }

    /// Each predicate is asked, and one that fails is enough.
    #[test]
    fn all_predicates_must_hold() {
        let exact = |text: &str| StringMatch { kind: StringMatchKind::Exact(text.into()), ignore_case: false };
        let methods = |method: &str| RouteMatch { methods: vec!["PUT".into(), method.into()], ..any() };
        let header = |value: &str| {
            let kind = HeaderMatchKind::Value(exact(value));
            let header = HeaderMatch { name: "x-kind".into(), kind, invert: false, missing_as_empty: false };
            RouteMatch { headers: vec![header], ..any() }
        };
        let query = |value: &str| {
            let parameter = QueryParameterMatch { name: "x".into(), value: Some(exact(value)) };
            RouteMatch { query_parameters: vec![parameter], ..any() }
        };
        let cookie = |value: &str| {
            let cookie = CookieMatch { name: "a".into(), value: exact(value), invert: false };
            RouteMatch { cookies: vec![cookie], ..any() }
        };
        let address = |whose, range: &str, invert| {
            let range = Cidr { address: range.parse().expect("an address"), prefix_len: 24 };
            let matcher = AddressMatch { whose, ranges: Ranges::new(vec![range]), invert };
            RouteMatch { addresses: vec![matcher], ..any() }
        };
        let share = |per_million| RouteMatch { fraction: Some(Fraction { per_million }), ..any() };
        for (route, expected) in [
            (any(), true),
            (methods("GET"), true),
            (methods("get"), false),
            (header("alpha"), true),
            (header("beta"), false),
            (query("1"), true),
            (query("2"), false),
            (cookie("b"), true),
            (cookie("c"), false),
            (address(Whose::Client, "192.0.2.0", false), true),
            (address(Whose::Client, "192.0.2.0", true), false),
            (address(Whose::Client, "198.51.100.0", false), false),
            (address(Whose::Peer, "198.51.100.0", false), true),
            (address(Whose::Peer, "192.0.2.0", true), true),
            (share(500_000), true),
            (share(499_999), false),
        ] {
            with_request(|request| {
                assert_eq!(predicates(&route).all(|predicate| predicate.holds(request)), expected, "{route:?}");
            });
        }
    }
}
