//! Paths, hosts and redirect targets that routes make of a request. Pure: bytes in, bytes appended to a vector.

use super::Route;
use crate::http::matcher::scheme;
use crate::http::{HeadView, RequestHead, split_port};
use ringway_config::model::{PathMatch, PathRewrite, Redirect, RedirectPath, RegexRewrite, TemplatePiece};

/// Appends the request's target after the rewrite, `path` and `query` being what it is before. Returns the bytes of the
/// path in it; where there is a query, a `?` follows.
pub fn target(rewrite: &PathRewrite, route: &Route, path: &[u8], query: Option<&[u8]>, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    match rewrite {
        PathRewrite::Prefix(prefix) => {
            out.extend_from_slice(prefix.as_bytes());
            out.extend_from_slice(&path[route.matched_len(path)..]);
        }
        PathRewrite::Regex(rewrite) => substitute(rewrite, path, out),
        PathRewrite::Template(pieces) => fill(pieces, &route.matcher.path, path, out),
    }
    // A target begins with a slash (RFC 9112 section 3.2.1).
    if out.get(start) != Some(&b'/') && path != b"*" {
        out.insert(start, b'/');
    }
    // A substitution may have brought a query of its own.
    let end = memchr::memchr(b'?', &out[start..]).unwrap_or(out.len() - start);
    if let Some(query) = query {
        out.push(if start + end == out.len() { b'?' } else { b'&' });
        out.extend_from_slice(query);
    }
    end
}

/// Appends the text with every match of the pattern replaced (Envoy: RegexMatchAndSubstitute).
pub fn substitute(rewrite: &RegexRewrite, text: &[u8], out: &mut Vec<u8>) {
    let mut end = 0;
    // Groups cost an allocation, a match alone does not.
    if rewrite.substitution.iter().all(|(_, group)| group.is_none()) {
        for found in rewrite.pattern.find_iter(text) {
            out.extend_from_slice(&text[end..found.start()]);
            rewrite.substitution.iter().for_each(|(literal, _)| out.extend_from_slice(literal.as_bytes()));
            end = found.end();
        }
    } else {
        for groups in rewrite.pattern.captures_iter(text) {
            let Some(found) = groups.get(0) else { continue };
            out.extend_from_slice(&text[end..found.start()]);
            for (literal, group) in &rewrite.substitution {
                out.extend_from_slice(literal.as_bytes());
                let group = group.and_then(|group| groups.get(usize::from(group)));
                out.extend_from_slice(group.map_or(&[][..], |group| group.as_bytes()));
            }
            end = found.end();
        }
    }
    out.extend_from_slice(&text[end..]);
}

/// Appends the template with what its variables stand for in the path (Envoy: UriTemplateRewriteConfig).
fn fill(pieces: &[TemplatePiece], matcher: &PathMatch, path: &[u8], out: &mut Vec<u8>) {
    let groups = match matcher {
        PathMatch::Template(template) => template.regex.captures(path),
        PathMatch::Prefix(_) | PathMatch::Exact(_) | PathMatch::PathSeparatedPrefix(_) | PathMatch::Regex(_) => None,
    };
    let Some(groups) = groups else { return out.extend_from_slice(path) };
    for piece in pieces {
        match piece {
            TemplatePiece::Literal(text) => out.extend_from_slice(text.as_bytes()),
            TemplatePiece::Variable(name) => {
                out.extend_from_slice(groups.name(name).map_or(&[][..], |group| group.as_bytes()));
            }
        }
    }
}

/// Appends the value of `location` (Envoy: RedirectAction): what the redirect does not name is kept from the request.
/// Without a host, which HTTP/1.0 allows, it is a path alone (RFC 9110 section 10.2.2).
pub fn location(redirect: &Redirect, route: &Route, head: &RequestHead, view: HeadView<'_>, out: &mut Vec<u8>) {
    let old_scheme = scheme(head, view);
    let new_scheme = redirect.scheme.as_deref().unwrap_or(old_scheme);
    let host = match &redirect.host {
        Some(host) => host.as_bytes(),
        None => kept_authority(head.authority.of(view), old_scheme, new_scheme, redirect.port.is_some()),
    };
    if !host.is_empty() {
        out.extend_from_slice(new_scheme.as_bytes());
        out.extend_from_slice(b"://");
        out.extend_from_slice(host);
        if let Some(port) = redirect.port {
            out.push(b':');
            out.extend_from_slice(itoa::Buffer::new().format(port).as_bytes());
        }
    }
    let path = head.path(view);
    match &redirect.path {
        Some(RedirectPath::Path(text)) => {
            out.extend_from_slice(text.as_bytes());
            if text.contains('?') {
                return;
            }
        }
        Some(RedirectPath::Prefix(prefix)) => {
            out.extend_from_slice(prefix.as_bytes());
            out.extend_from_slice(&path[route.matched_len(path)..]);
        }
        Some(RedirectPath::Regex(rewrite)) => substitute(rewrite, path, out),
        None => out.extend_from_slice(path),
    }
    if let Some(query) = head.query(view).filter(|_| !redirect.strip_query) {
        out.push(b'?');
        out.extend_from_slice(query);
    }
}

/// The request's authority, without its port where that is replaced or was the default of a scheme that is.
fn kept_authority<'a>(authority: &'a [u8], old_scheme: &str, new_scheme: &str, has_new_port: bool) -> &'a [u8] {
    let (host, port) = split_port(authority);
    let default: &[u8] = if old_scheme == "https" { b"443" } else { b"80" };
    let is_default = old_scheme != new_scheme && port == Some(default);
    if has_new_port || is_default { host } else { authority }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::h1::{Limits, parse_request};
    use crate::http::RouteRef;
    use crate::route::RouteTable;
    use regex::bytes::Regex;
    use ringway_config::model::{self, RouteAction, RouteMatch, UriTemplate};

    fn table(path: PathMatch) -> RouteTable {
        let matcher = RouteMatch::of_path(path);
        let response = model::DirectResponse { status: 200, body: vec![], content_type: String::new() };
        RouteTable::new(&[model::VirtualHost {
            place: model::Place::default(),
            name: String::new(),
            domains: vec!["*".into()],
            routes: vec![model::Route {
                place: model::Place::default(),
                name: None,
                matcher,
                action: RouteAction::DirectResponse(response),
                headers: model::HeaderMutations::default(),
                filters: model::FilterOverrides::default(),
            }],
            headers: model::HeaderMutations::default(),
            filters: model::FilterOverrides::default(),
            include_request_attempt_count: false,
            include_attempt_count_in_response: false,
        }])
    }

    fn substitution(pattern: &str, substitution: &[(&str, Option<u16>)]) -> RegexRewrite {
        let substitution = substitution.iter().map(|(text, group)| ((*text).into(), *group)).collect();
        RegexRewrite { pattern: Regex::new(pattern).expect("valid"), substitution }
    }

    fn rewritten(rewrite: &PathRewrite, path: PathMatch, from: &str) -> String {
        let table = table(path);
        let (path, query) = from.split_once('?').map_or((from, None), |(path, query)| (path, Some(query.as_bytes())));
        let mut out = b"before".to_vec();
        let route = table.route(RouteRef { virtual_host: 0, route: 0 });
        let len = target(rewrite, route, path.as_bytes(), query, &mut out);
        let text = String::from_utf8(out.split_off(6)).expect("text");
        assert_eq!(text.split('?').next().map(str::len), Some(len), "{text}");
        text
    }

    #[test]
    fn prefixes() {
        let prefix = |path: &str| PathMatch::Prefix(path.into());
        for (to, path, from, expected) in [
            ("/v2", prefix("/api"), "/api/x?y=1", "/v2/x?y=1"),
            ("/v2/", prefix("/api/"), "/api/x", "/v2/x"),
            ("", prefix("/api"), "/api/x", "/x"),
            ("", prefix("/api/x"), "/api/x?", "/?"),
            ("/", prefix("/api/"), "/api/x", "/x"),
            ("", prefix("/api/"), "/api/x", "/x"),
            ("/new", PathMatch::Exact("/api/x".into()), "/api/x", "/new"),
            ("/b", PathMatch::PathSeparatedPrefix("/a".into()), "/a/c", "/b/c"),
            ("/b", PathMatch::PathSeparatedPrefix("/a".into()), "/a", "/b"),
        ] {
            assert_eq!(rewritten(&PathRewrite::Prefix(to.into()), path, from), expected, "{from}");
        }
    }

    /// The examples of Envoy's RouteAction.regex_rewrite, and the edges.
    #[test]
    fn patterns() {
        for (pattern, with, from, expected) in [
            (
                "^/service/([^/]+)(/.*)$",
                &[("", Some(2)), ("/instance/", Some(1))][..],
                "/service/foo/v1/api",
                "/v1/api/instance/foo",
            ),
            ("one", &[("two", None)], "/xxx/one/yyy/one/zzz", "/xxx/two/yyy/two/zzz"),
            ("^(.*?)one(.*)$", &[("", Some(1)), ("two", Some(2))], "/xxx/one/yyy/one/zzz", "/xxx/two/yyy/one/zzz"),
            ("(?i)/xxx/", &[("/yyy/", None)], "/aaa/XxX/bbb", "/aaa/yyy/bbb"),
            ("none", &[("x", None)], "/a", "/a"),
            ("^/a(x)?", &[("/[", Some(1)), ("]", None)], "/ab", "/[]b"),
            (".*", &[("", None)], "/gone?q", "/?q"),
            ("^/old/(.*)$", &[("/new?id=", Some(1))], "/old/7?q", "/new?id=7&q"),
            ("^/old/(.*)$", &[("/new?id=", Some(1))], "/old/7", "/new?id=7"),
        ] {
            let rewrite = PathRewrite::Regex(substitution(pattern, with));
            assert_eq!(rewritten(&rewrite, PathMatch::Prefix("/".into()), from), expected, "{pattern}");
        }
    }

    #[test]
    fn templates() {
        let regex = Regex::new("^/videos/(?P<id>[^/]+)/(?P<file>.*)\\.ts$").expect("valid");
        let matcher = || PathMatch::Template(UriTemplate { text: String::new(), regex: regex.clone() });
        let literal = |text: &str| TemplatePiece::Literal(text.into());
        let variable = |name: &str| TemplatePiece::Variable(name.into());
        let pieces = vec![literal("/"), variable("file"), literal("/of/"), variable("id")];
        let rewrite = PathRewrite::Template(pieces);
        assert_eq!(rewritten(&rewrite, matcher(), "/videos/42/a/b.ts"), "/a/b/of/42");
        // Another kind of match has no variables.
        assert_eq!(rewritten(&rewrite, PathMatch::Prefix("/".into()), "/videos/42/a.ts"), "/videos/42/a.ts");
    }

    fn redirect() -> Redirect {
        Redirect { scheme: None, host: None, port: None, path: None, status: 301, strip_query: false }
    }

    #[test]
    fn redirects() {
        let scheme = |scheme: &str| Redirect { scheme: Some(scheme.into()), ..redirect() };
        let host = |host: &str| Redirect { host: Some(host.into()), ..redirect() };
        let port = |port| Redirect { port: Some(port), ..redirect() };
        let path = |path: &str| Redirect { path: Some(RedirectPath::Path(path.into())), ..redirect() };
        let prefix = |to: &str| Redirect { path: Some(RedirectPath::Prefix(to.into())), ..redirect() };
        let regex =
            Redirect { path: Some(RedirectPath::Regex(substitution("^/api/(.)", &[("/r/", Some(1))]))), ..redirect() };
        let stripped = |redirect| Redirect { strip_query: true, ..redirect };
        for (redirect, authority, fields, expected) in [
            (scheme("https"), "h", "", "https://h/api/x?y=1"),
            (scheme("https"), "h:80", "", "https://h/api/x?y=1"),
            (scheme("https"), "h:8080", "", "https://h:8080/api/x?y=1"),
            (scheme("https"), "[::1]:80", "", "https://[::1]/api/x?y=1"),
            (scheme("https"), "h:80", "X-Forwarded-Proto: https\r\n", "https://h:80/api/x?y=1"),
            (scheme("http"), "h:443", "X-Forwarded-Proto: https\r\n", "http://h/api/x?y=1"),
            (host("other"), "h:80", "", "http://other/api/x?y=1"),
            (host("other"), "h", "X-Forwarded-Proto: https\r\n", "https://other/api/x?y=1"),
            (port(8443), "h:80", "", "http://h:8443/api/x?y=1"),
            (port(8443), "[::1]", "", "http://[::1]:8443/api/x?y=1"),
            (path("/new"), "h", "", "http://h/new?y=1"),
            (path("/new?z=2"), "h", "", "http://h/new?z=2"),
            (stripped(path("/new?z=2")), "h", "", "http://h/new?z=2"),
            (stripped(path("/new")), "h", "", "http://h/new"),
            (prefix("/v2/"), "h", "", "http://h/v2/x?y=1"),
            (stripped(prefix("/v2/")), "h", "", "http://h/v2/x"),
            (regex, "h", "", "http://h/r/x?y=1"),
        ] {
            let bytes = format!("GET /api/x?y=1 HTTP/1.1\r\nHost: {authority}\r\n{fields}\r\n");
            assert_eq!(located(&redirect, &bytes), expected, "{redirect:?} {authority}");
        }
        let bytes = "GET /api/x HTTP/1.0\r\n\r\n";
        assert_eq!(located(&prefix("/v2/"), bytes), "/v2/x");
        assert_eq!(located(&host("other"), bytes), "http://other/api/x");
    }

    fn located(redirect: &Redirect, bytes: &str) -> String {
        let mut head = RequestHead::default();
        parse_request(bytes.as_bytes(), &Limits::default(), &mut head).expect("valid");
        let table = table(PathMatch::Prefix("/api/".into()));
        let mut out = Vec::new();
        let route = table.route(RouteRef { virtual_host: 0, route: 0 });
        location(redirect, route, &head, HeadView::new(bytes.as_bytes()), &mut out);
        String::from_utf8(out).expect("text")
    }
}
