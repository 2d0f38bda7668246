//! Why a request gets the route that it gets: the walk in the order of the configuration, with what each route asked and
//! what the request had. It is for people and knows nothing of the index in `table`; both must agree, which is tested.

use super::matcher::{Predicate, Request, predicates};
use crate::http::matcher::{Joined, cookie, query_parameter};
use crate::http::split_port;
use ringway_config::model::{
    AddressMatch, HeaderMatchKind, PathMatch, Route, RouteMatch, StringMatch, StringMatchKind, VirtualHost, Whose,
};
use ringway_config::quoted;

/// A virtual host, and the domain by which it was chosen.
#[derive(Clone, Copy, Debug)]
pub struct ChosenHost<'m> {
    pub host: &'m VirtualHost,
    pub index: usize,
    pub domain: &'m str,
    pub why: &'static str,
}

/// A route that was looked at.
#[derive(Clone, Copy, Debug)]
pub struct Tried<'m> {
    pub route: &'m Route,
    /// In its virtual host, from 0.
    pub index: usize,
    pub verdict: Verdict<'m>,
}

#[derive(Clone, Copy, Debug)]
pub enum Verdict<'m> {
    /// The first thing that the request does not have.
    Failed(Predicate<'m>),
    /// Taken by the exchanges with a random number (see `matcher::Request::random`) from `from` up to `to`.
    Taken { from: u32, to: u32 },
    /// It matches, but all of its share is taken by routes before it.
    Exhausted,
}

/// In parts of a million.
pub const ALL: u32 = 1_000_000;

/// The virtual host for this authority: a whole name before the longest suffix, that before the longest prefix, that
/// before `*`.
pub fn choose_host<'m>(hosts: &'m [VirtualHost], authority: &[u8]) -> Option<ChosenHost<'m>> {
    let name = split_port(authority).0.to_ascii_lowercase();
    let named =
        hosts.iter().enumerate().flat_map(|(index, host)| host.domains.iter().map(move |domain| (index, host, domain)));
    let fitting = named.filter_map(|(index, host, domain)| {
        let (rank, why) = fit(domain, &name)?;
        Some((rank, domain.len(), ChosenHost { host, index, domain, why }))
    });
    fitting.max_by_key(|(rank, len, _)| (*rank, *len)).map(|(_, _, chosen)| chosen)
}

fn fit(domain: &str, name: &[u8]) -> Option<(u8, &'static str)> {
    // A star stands for at least one byte.
    let longer = |part: &str| name.len() > part.len();
    if domain == "*" {
        return Some((0, "as no other fits"));
    }
    if let Some(suffix) = domain.strip_prefix('*') {
        return (longer(suffix) && name.ends_with(suffix.as_bytes())).then_some((2, "the longest suffix that fits"));
    }
    if let Some(prefix) = domain.strip_suffix('*') {
        return (longer(prefix) && name.starts_with(prefix.as_bytes())).then_some((1, "the longest prefix that fits"));
    }
    (domain.as_bytes() == name).then_some((3, "the whole name"))
}

/// Every route that is looked at, in order, until all exchanges of this kind have theirs; whatever `request.random` is.
pub fn walk<'m>(host: &'m VirtualHost, request: &Request<'_>) -> Vec<Tried<'m>> {
    let mut tried = Vec::new();
    let mut covered = 0;
    for (index, route) in host.routes.iter().enumerate() {
        let is_share = |predicate: &Predicate<'_>| matches!(predicate, Predicate::Fraction(_));
        let failed = predicates(&route.matcher).find(|predicate| !is_share(predicate) && !predicate.holds(request));
        let to = route.matcher.fraction.map_or(ALL, |share| share.per_million.min(ALL));
        let verdict = match failed {
            Some(predicate) => Verdict::Failed(predicate),
            None if to <= covered => Verdict::Exhausted,
            None => Verdict::Taken { from: std::mem::replace(&mut covered, to), to },
        };
        tried.push(Tried { route, index, verdict });
        if covered == ALL {
            break;
        }
    }
    tried
}

impl Predicate<'_> {
    /// What is asked, in words, such as `header x-a: "b"`.
    pub fn wanted(&self) -> String {
        match self {
            Self::Path(route) => path(route),
            Self::Method(methods) => format!("method {}", methods.join(" or ")),
            Self::Header(header) => {
                let kind = match &header.kind {
                    HeaderMatchKind::Present if header.invert => return format!("header {} absent", header.name),
                    HeaderMatchKind::Present => return format!("header {} present", header.name),
                    HeaderMatchKind::Value(value) => text(value),
                    HeaderMatchKind::Range { start, end } => {
                        format!("an integer from {start} up to, not including, {end}")
                    }
                };
                let absent = if header.missing_as_empty { " (absent counts as empty)" } else { "" };
                format!("header {}: {}{kind}{absent}", header.name, not(header.invert))
            }
            Self::QueryParameter(parameter) => match &parameter.value {
                None => format!("query parameter {} present", parameter.name),
                Some(value) => format!("query parameter {}: {}", parameter.name, text(value)),
            },
            Self::Cookie(cookie) => format!("cookie {}: {}{}", cookie.name, not(cookie.invert), text(&cookie.value)),
            Self::Address(matcher) => source(matcher),
            Self::Tls(asked) => certificate([asked.presented, asked.validated]),
            Self::Fraction(share) => format!("a share of {} %", per_cent(share.per_million)),
        }
    }

    /// What the request has instead.
    pub fn had(&self, request: &Request<'_>) -> String {
        match self {
            Self::Path(_) => quoted_bytes(request.path),
            Self::Method(_) => String::from_utf8_lossy(request.method).into_owned(),
            Self::Header(header) => {
                let mut joined = Joined::new();
                or_nothing(request.head_ref().value(header.name.as_bytes(), &mut joined))
            }
            Self::QueryParameter(parameter) => {
                or_nothing(query_parameter(request.head, request.view, parameter.name.as_bytes()))
            }
            Self::Cookie(matcher) => or_nothing(cookie(request.head, request.view, matcher.name.as_bytes())),
            Self::Address(matcher) => {
                let address = request.address(matcher.whose);
                address.map_or_else(|| "no address".into(), |address| address.to_canonical().to_string())
            }
            Self::Tls(_) => certificate(request.certificate().map(Some)),
            Self::Fraction(_) => format!("number {}", request.random % u64::from(ALL)),
        }
    }
}

/// A certificate of the client that it shows, and one that is verified.
fn certificate(facts: [Option<bool>; 2]) -> String {
    let text = |(is, word): (Option<bool>, &str)| is.map(|is| format!("{}{word}", if is { "" } else { "not " }));
    let words: Vec<_> = facts.into_iter().zip(["presented", "validated"]).filter_map(text).collect();
    format!("client certificate {}", words.join(" and "))
}

/// Ranges that are named; a list may have thousands.
const NAMED_MAX: usize = 4;

fn source(matcher: &AddressMatch) -> String {
    let whose = match matcher.whose {
        Whose::Client => "a client",
        Whose::Peer => "a peer",
    };
    let written = &matcher.ranges.written;
    let ranges = written.iter().take(NAMED_MAX).map(|range| format!("{}/{}", range.address, range.prefix_len));
    let more = written.len().saturating_sub(NAMED_MAX);
    let more = (more > 0).then(|| format!("one of {more} more ranges"));
    let ranges: Vec<_> = ranges.chain(more).collect();
    format!("{whose} {}in {}", not(matcher.invert), ranges.join(" or "))
}

fn path(route: &RouteMatch) -> String {
    let case = if route.case_sensitive { "" } else { " in any case" };
    match &route.path {
        PathMatch::Prefix(prefix) => format!("path beginning with {prefix}{case}", prefix = quoted(prefix)),
        PathMatch::Exact(exact) => format!("path {exact}{case}", exact = quoted(exact)),
        PathMatch::PathSeparatedPrefix(prefix) => format!("path {prefix} or below it{case}", prefix = quoted(prefix)),
        PathMatch::Regex(regex) => format!("path matching {}", regex.as_str()),
        PathMatch::Template(template) => format!("path of the form {}", template.text),
    }
}

fn text(matcher: &StringMatch) -> String {
    let case = if matcher.ignore_case { " in any case" } else { "" };
    match &matcher.kind {
        StringMatchKind::Exact(text) => format!("{text}{case}", text = quoted(text)),
        StringMatchKind::Prefix(text) => format!("beginning with {text}{case}", text = quoted(text)),
        StringMatchKind::Suffix(text) => format!("ending with {text}{case}", text = quoted(text)),
        StringMatchKind::Contains(text) => format!("containing {text}{case}", text = quoted(text)),
        StringMatchKind::Regex(regex) => format!("matching {}", regex.as_str()),
    }
}

fn not(invert: bool) -> &'static str {
    if invert { "not " } else { "" }
}

fn quoted_bytes(bytes: &[u8]) -> String {
    quoted(&String::from_utf8_lossy(bytes))
}

fn or_nothing(value: Option<&[u8]>) -> String {
    value.map_or_else(|| "nothing".into(), quoted_bytes)
}

/// Parts of a million as per cent, without needless zeros.
pub fn per_cent(per_million: u32) -> String {
    let text = format!("{}.{:04}", per_million / 10_000, per_million % 10_000);
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::h1::{Limits, parse_request};
    use crate::http::{HeadView, RequestHead};
    use regex::bytes::Regex;
    use ringway_config::model::{
        Cidr, CookieMatch, Fraction, HeaderMatch, Pattern, QueryParameterMatch, Ranges, TlsContextMatch, UriTemplate,
    };

    #[test]
    fn what_was_wanted_and_had() {
        let bytes = b"PUT /x?q=1 HTTP/1.1\r\nHost: h\r\nA: b\r\nCookie: c=d\r\n\r\n";
        let mut head = RequestHead::default();
        parse_request(bytes, &Limits::default(), &mut head).expect("valid");
        let client = "[::ffff:198.51.100.1]:9".parse().expect("an address");
        let request = Request::new(&head, HeadView::new(bytes), 1_000_007).from(Some(&client), None);
        let sources = |whose, ranges: &[&str], invert| {
            let range = |text: &&str| Cidr { address: text.parse().expect("an address"), prefix_len: 24 };
            AddressMatch { whose, ranges: Ranges::new(ranges.iter().map(range).collect()), invert }
        };
        let exact = |text: &str| StringMatch { kind: StringMatchKind::Exact(text.into()), ignore_case: false };
        let header =
            |name: &str, kind, invert| HeaderMatch { name: name.into(), kind, invert, missing_as_empty: false };
        let regex = || Pattern::whole(Regex::new("^(?:/y+)$").expect("valid"));
        let route = |path, case_sensitive| RouteMatch {
            path,
            case_sensitive,
            methods: vec!["GET".into(), "POST".into()],
            headers: vec![
                header("a", HeaderMatchKind::Value(exact("z")), true),
                header("n", HeaderMatchKind::Range { start: 1, end: 9 }, false),
                header("a", HeaderMatchKind::Present, true),
            ],
            query_parameters: vec![
                QueryParameterMatch { name: "q".into(), value: Some(exact("2")) },
                QueryParameterMatch { name: "r".into(), value: None },
            ],
            cookies: vec![CookieMatch { name: "c".into(), value: exact("e"), invert: false }],
            addresses: vec![
                sources(Whose::Client, &["10.0.0.0", "192.0.2.0"], false),
                sources(Whose::Peer, &["10.0.0.0", "10.0.1.0", "10.0.2.0", "10.0.3.0", "10.0.4.0"], true),
            ],
            tls: Some(TlsContextMatch { presented: Some(true), validated: Some(false) }),
            fraction: Some(Fraction { per_million: 2_500 }),
        };
        let all = route(PathMatch::Prefix("/y".into()), false);
        let said: Vec<_> =
            predicates(&all).map(|asked| format!("{}; {}", asked.wanted(), asked.had(&request))).collect();
        let expected = [
            "path beginning with \"/y\" in any case; \"/x\"",
            "method GET or POST; PUT",
            "a client in 10.0.0.0/24 or 192.0.2.0/24; 198.51.100.1",
            "a peer not in 10.0.0.0/24 or 10.0.1.0/24 or 10.0.2.0/24 or 10.0.3.0/24 or one of 1 more ranges; no address",
            "client certificate presented and not validated; client certificate not presented and not validated",
            "header a: not \"z\"; \"b\"",
            "header n: an integer from 1 up to, not including, 9; nothing",
            "header a absent; \"b\"",
            "query parameter q: \"2\"; \"1\"",
            "query parameter r present; nothing",
            "cookie c: \"e\"; \"d\"",
            "a share of 0.25 %; number 7",
        ];
        assert_eq!(said, expected);
        let template = UriTemplate { text: "/{y}".into(), regex: regex() };
        for (path, expected) in [
            (PathMatch::Exact("/y".into()), "path \"/y\""),
            (PathMatch::PathSeparatedPrefix("/y".into()), "path \"/y\" or below it"),
            (PathMatch::Regex(regex()), "path matching ^(?:/y+)$"),
            (PathMatch::Template(template), "path of the form /{y}"),
        ] {
            assert_eq!(Predicate::Path(&route(path, true)).wanted(), expected);
        }
        assert_eq!([per_cent(0), per_cent(ALL), per_cent(1), per_cent(12_340)], ["0", "100", "0.0001", "1.234"]);
    }
}
