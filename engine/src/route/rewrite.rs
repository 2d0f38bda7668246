//! Paths, hosts and redirect targets that routes make of a request. Pure: bytes in, bytes appended to a vector.

use super::Route;
use crate::http::matcher::{matches_pattern, scheme, take};
use crate::http::{HeadView, RequestHead, Work, split_port};
use ringway_config::model::{PathMatch, PathRewrite, Redirect, RedirectPath, RegexRewrite, TemplatePiece, steps};

/// Appends the request's target after the rewrite. Returns the bytes of the path in it; where there is a query, a `?`
/// follows. `*` has no path to rewrite.
pub fn target(
    rewrite: &PathRewrite,
    route: &Route,
    head: &RequestHead,
    view: HeadView<'_>,
    out: &mut Vec<u8>,
) -> usize {
    let start = out.len();
    if head.is_asterisk() {
        out.push(b'*');
        return 1;
    }
    match rewrite {
        PathRewrite::Prefix(prefix) => replace_prefix(prefix, route, head, view, out),
        PathRewrite::Regex(rewrite) => substitute_path(rewrite, head, view, out),
        PathRewrite::Template(pieces) => fill(pieces, &route.matcher.path, head, view, out),
    }
    // A target begins with a slash (RFC 9112 section 3.2.1).
    begin_with_slash(out, start);
    // A substitution may have brought a query of its own.
    let end = memchr::memchr(b'?', &out[start..]).unwrap_or(out.len() - start);
    if let Some(query) = head.query(view) {
        out.push(if start + end == out.len() { b'?' } else { b'&' });
        out.extend_from_slice(query);
    }
    end
}

/// The path in `out[start..]` begins with a slash then, whatever a rewrite made of it: what stands behind a host must not
/// become a part of it.
fn begin_with_slash(out: &mut Vec<u8>, start: usize) {
    if out.get(start) != Some(&b'/') {
        out.insert(start, b'/');
    }
}

/// Appends the path with `prefix` instead of what the route matched. No second slash comes of it where `prefix` ends
/// with one and the rest begins with one: `/` for `/api` makes `/x` of `/api/x`.
fn replace_prefix(prefix: &str, route: &Route, head: &RequestHead, view: HeadView<'_>, out: &mut Vec<u8>) {
    let (path, matched) = (head.path(view), head.match_path(view));
    let rest = &path[unmerged_len(path, matched, route.matched_len(matched))..];
    let prefix = if rest.starts_with(b"/") { prefix.strip_suffix('/').unwrap_or(prefix) } else { prefix };
    out.extend_from_slice(prefix.as_bytes());
    out.extend_from_slice(rest);
}

/// Bytes of `path` that the first `len` of `matched` stand for, which is the same path with rows of slashes as one.
fn unmerged_len(path: &[u8], matched: &[u8], len: usize) -> usize {
    if path.len() == matched.len() {
        return len;
    }
    let mut at = 0;
    for byte in &matched[..len] {
        at += 1;
        if *byte == b'/' {
            at += path[at..].iter().take_while(|byte| **byte == b'/').count();
        }
    }
    at
}

/// As `substitute`, on the path. Where the pattern finds nothing in it as it came, rows of slashes are one for it, as they
/// were for the route.
pub fn substitute_path(rewrite: &RegexRewrite, head: &RequestHead, view: HeadView<'_>, out: &mut Vec<u8>) {
    let (path, matched) = (head.path(view), head.match_path(view));
    let is_match = |text: &[u8]| matches_pattern(&rewrite.pattern, text, &head.work);
    let is_merged = path.len() != matched.len() && !is_match(path) && is_match(matched);
    substitute(rewrite, if is_merged { matched } else { path }, &head.work, out);
}

/// Appends the text with every match of the pattern replaced (Envoy: RegexMatchAndSubstitute), as far as the request may
/// cost that: a search that begins behind each match may look at the rest of the text again and again.
fn substitute(rewrite: &RegexRewrite, text: &[u8], work: &Work, out: &mut Vec<u8>) {
    let pattern = &rewrite.pattern;
    // Groups cost an allocation, a match alone does not.
    let has_groups = rewrite.substitution.iter().any(|(_, group)| group.is_some());
    let each_byte = u64::from(pattern.cost()) + if has_groups { u64::from(pattern.states()) } else { 0 };
    let again = |end: usize| {
        let rest = text.len() - end;
        let looked_at = pattern.longest().unwrap_or(rest).min(rest);
        take(work, 1 + steps(pattern.cost(), looked_at))
    };
    let mut end = 0;
    if take(work, each_byte * text.len() as u64) {
        if has_groups {
            for groups in pattern.regex().captures_iter(text) {
                let Some(found) = groups.get(0) else { continue };
                out.extend_from_slice(&text[end..found.start()]);
                for (literal, group) in &rewrite.substitution {
                    out.extend_from_slice(literal.as_bytes());
                    let group = group.and_then(|group| groups.get(usize::from(group)));
                    out.extend_from_slice(group.map_or(&[][..], |group| group.as_bytes()));
                }
                end = found.end();
                if !again(end) {
                    break;
                }
            }
        } else {
            for found in pattern.regex().find_iter(text) {
                out.extend_from_slice(&text[end..found.start()]);
                rewrite.substitution.iter().for_each(|(literal, _)| out.extend_from_slice(literal.as_bytes()));
                end = found.end();
                if !again(end) {
                    break;
                }
            }
        }
    }
    out.extend_from_slice(&text[end..]);
}

/// Appends the template with what its variables stand for in the path (Envoy: UriTemplateRewriteConfig): in the path as it
/// came, or, where only that matches, with rows of slashes as one.
fn fill(pieces: &[TemplatePiece], matcher: &PathMatch, head: &RequestHead, view: HeadView<'_>, out: &mut Vec<u8>) {
    let path = head.path(view);
    let groups = match matcher {
        PathMatch::Template(template) => {
            let captures = |text| {
                let is_affordable = take(&head.work, steps(template.regex.states(), path.len()));
                is_affordable.then(|| template.regex.captures(text)).flatten()
            };
            captures(path).or_else(|| captures(head.match_path(view)))
        }
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

/// Appends the value of `location` (Envoy: RedirectAction): what the redirect does not name is kept from the request, save
/// that the port goes with the scheme or the host that it belonged to.
/// Without a host, which HTTP/1.0 allows, it is a path alone (RFC 9110 section 10.2.2).
pub fn location(redirect: &Redirect, route: &Route, head: &RequestHead, view: HeadView<'_>, out: &mut Vec<u8>) {
    let scheme = scheme(head, view);
    let new_scheme = redirect.scheme.as_deref().unwrap_or(scheme);
    let authority = head.authority.of(view);
    let host = match &redirect.host {
        Some(host) => host.as_bytes(),
        None if redirect.port.is_some() || new_scheme != scheme => split_port(authority).0,
        None => authority,
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
    let start = out.len();
    let own_query = matches!(&redirect.path, Some(RedirectPath::Path(text)) if text.contains('?'));
    match &redirect.path {
        Some(RedirectPath::Path(text)) => out.extend_from_slice(text.as_bytes()),
        _ if head.is_asterisk() => {}
        Some(RedirectPath::Prefix(prefix)) => replace_prefix(prefix, route, head, view, out),
        Some(RedirectPath::Regex(rewrite)) => substitute_path(rewrite, head, view, out),
        None => out.extend_from_slice(head.path(view)),
    }
    begin_with_slash(out, start);
    if host.is_empty() {
        on_this_host(out, start);
    }
    if let Some(query) = head.query(view).filter(|_| !redirect.strip_query && !own_query) {
        out.push(b'?');
        out.extend_from_slice(query);
    }
}

/// A `location` in `out[start..]` that is a path alone begins with one slash: with two it would lead to another host (RFC
/// 3986 section 4.2), and browsers take backslashes for slashes.
pub fn on_this_host(out: &mut Vec<u8>, start: usize) {
    let slashes = out[start..].iter().take_while(|byte| matches!(byte, b'/' | b'\\')).count();
    out.splice(start..start + slashes, *b"/");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::h1::{Limits, parse_request};
    use crate::http::{EditBytes, RouteRef, path};
    use crate::route::RouteTable;
    use regex::bytes::Regex;
    use ringway_config::model::{self, Pattern, RouteAction, RouteMatch, UriTemplate};

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
                tracing: model::RouteTracing::default(),
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
        RegexRewrite { pattern: Pattern::search(Regex::new(pattern).expect("valid")), substitution }
    }

    /// The head of a request as it is when a route is looked for.
    fn with_head<T>(bytes: &str, then: impl FnOnce(&RequestHead, HeadView<'_>) -> T) -> T {
        let mut head = RequestHead::default();
        parse_request(bytes.as_bytes(), &Limits::default(), &mut head).expect("valid");
        let mut edits = EditBytes::default();
        let path = head.path(bytes.as_bytes());
        if path.windows(2).any(|pair| pair == b"//") {
            head.matched_path = edits.store(|out| {
                out.extend_from_slice(path);
                path::merge_slashes(out, 0);
            });
        }
        then(&head, HeadView { received: bytes.as_bytes(), edits: edits.as_slice() })
    }

    fn rewritten(rewrite: &PathRewrite, path: PathMatch, from: &str) -> String {
        let table = table(path);
        let mut out = b"before".to_vec();
        let route = table.route(RouteRef { virtual_host: 0, route: 0 });
        let bytes = format!("GET {from} HTTP/1.1\r\nHost: h\r\n\r\n");
        let len = with_head(&bytes, |head, view| target(rewrite, route, head, view, &mut out));
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
            // No slash is doubled.
            ("/", PathMatch::PathSeparatedPrefix("/a".into()), "/a/hello", "/hello"),
            ("/b/", PathMatch::PathSeparatedPrefix("/a".into()), "/a/c", "/b/c"),
            ("/", PathMatch::PathSeparatedPrefix("/a".into()), "/a", "/"),
            ("/", prefix("/api"), "/api/hello", "/hello"),
            ("/", prefix("/api"), "/apix", "/x"),
            // Rows of slashes were matched as one; what the prefix does not replace stays.
            ("/v2", prefix("/api"), "//api//x//y", "/v2//x//y"),
            ("/v2/", prefix("/api/"), "/api///x", "/v2/x"),
            ("/", prefix("/api"), "///api", "/"),
            ("/new", PathMatch::Exact("/api/x".into()), "/api//x?y//z", "/new?y//z"),
            ("/", prefix("/fetch/"), "/fetch/http://example.com//a", "/http://example.com//a"),
            // Nothing but a slash can begin a path.
            ("", prefix("/re/"), "/re/@evil.com/x", "/@evil.com/x"),
            ("", prefix("/re"), "/re.evil.com/x", "/.evil.com/x"),
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
            ("^/old/(.*)$", &[("", Some(1))], "/old/@evil.com", "/@evil.com"),
            // What the pattern finds in the path as it came, it finds there.
            ("^/fetch/(.*)$", &[("/", Some(1))], "/fetch/http://h//a", "/http://h//a"),
            ("^/old/(.*)$", &[("/new/", Some(1))], "//old/7", "/new/7"),
            ("^/other/(.*)$", &[("/new/", Some(1))], "//old//7", "//old//7"),
        ] {
            let rewrite = PathRewrite::Regex(substitution(pattern, with));
            assert_eq!(rewritten(&rewrite, PathMatch::Prefix("/".into()), from), expected, "{pattern}");
        }
    }

    #[test]
    fn templates() {
        let regex = Pattern::whole(Regex::new("^/videos/(?P<id>[^/]+)/(?P<file>.*)\\.ts$").expect("valid"));
        let matcher = || PathMatch::Template(UriTemplate { text: String::new(), regex: regex.clone() });
        let literal = |text: &str| TemplatePiece::Literal(text.into());
        let variable = |name: &str| TemplatePiece::Variable(name.into());
        let pieces = vec![literal("/"), variable("file"), literal("/of/"), variable("id")];
        let rewrite = PathRewrite::Template(pieces);
        assert_eq!(rewritten(&rewrite, matcher(), "/videos/42/a/b.ts"), "/a/b/of/42");
        assert_eq!(rewritten(&rewrite, matcher(), "//videos/42//a.ts"), "/a/of/42");
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
            (scheme("https"), "h:8080", "", "https://h/api/x?y=1"),
            (scheme("http"), "h:8080", "", "http://h:8080/api/x?y=1"),
            (scheme("https"), "[::1]:80", "", "https://[::1]/api/x?y=1"),
            (scheme("https"), "h:80", "X-Forwarded-Proto: https\r\n", "https://h:80/api/x?y=1"),
            (scheme("http"), "h:443", "X-Forwarded-Proto: https\r\n", "http://h/api/x?y=1"),
            (host("other"), "h:80", "", "http://other/api/x?y=1"),
            (host("other"), "h:8080", "", "http://other/api/x?y=1"),
            (Redirect { port: Some(8443), ..scheme("https") }, "h:8080", "", "https://h:8443/api/x?y=1"),
            (Redirect { port: Some(81), ..host("other") }, "h:8080", "", "http://other:81/api/x?y=1"),
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
        let table = table(PathMatch::Prefix("/api/".into()));
        let mut out = Vec::new();
        let route = table.route(RouteRef { virtual_host: 0, route: 0 });
        with_head(bytes, |head, view| location(redirect, route, head, view, &mut out));
        String::from_utf8(out).expect("text")
    }

    /// `GET /re/@evil.com/x` once gave `location: http://good.com@evil.com/x`.
    #[test]
    fn no_path_changes_the_host_of_a_redirect() {
        let with = |path| Redirect { path: Some(path), ..redirect() };
        let regex = |pattern: &str| with(RedirectPath::Regex(substitution(pattern, &[("", Some(1))])));
        for (redirect, target, expected) in [
            (regex("^/api/(.*)$"), "/api/@evil.com/x", "/@evil.com/x"),
            (regex("^/api/(.*)$"), "/api/.evil.com/x", "/.evil.com/x"),
            (regex("^/api/(.*)$"), "/api/:81/x?y", "/:81/x?y"),
            (regex("^/api(/.*)$"), "/api//evil.com/x", "//evil.com/x"),
            (with(RedirectPath::Prefix(String::new())), "/api/@evil.com/x", "/@evil.com/x"),
            (with(RedirectPath::Prefix("/".into())), "/api//evil.com/x", "/evil.com/x"),
            (Redirect { strip_query: true, ..redirect() }, "//evil.com/x?y", "//evil.com/x"),
        ] {
            let with_host = format!("GET {target} HTTP/1.1\r\nHost: good.com\r\n\r\n");
            assert_eq!(located(&redirect, &with_host), format!("http://good.com{expected}"), "{redirect:?}");
            // Behind no host the path itself must not name one.
            let without = format!("GET {target} HTTP/1.0\r\n\r\n");
            assert_eq!(located(&redirect, &without), expected.replacen("//", "/", 1), "{redirect:?}");
        }
        let backslash = "GET /api/\\\\evil.com/x HTTP/1.0\r\n\r\n";
        assert_eq!(located(&regex("^/api/(.*)$"), backslash), "/evil.com/x");
    }

    /// RFC 9112 section 3.2.4.
    #[test]
    fn an_asterisk_is_no_path_to_rewrite() {
        let asterisk = "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n";
        let rewrite = PathRewrite::Prefix("/v2".into());
        let table = table(PathMatch::Prefix("/".into()));
        let route = table.route(RouteRef { virtual_host: 0, route: 0 });
        let mut out = Vec::new();
        assert_eq!(with_head(asterisk, |head, view| target(&rewrite, route, head, view, &mut out)), 1);
        assert_eq!(out, b"*");
        let redirect = Redirect { scheme: Some("https".into()), ..redirect() };
        assert_eq!(located(&redirect, asterisk), "https://h/");
    }
}
