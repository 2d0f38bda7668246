//! Does a route match a request?

use crate::http::{Method, RequestHead};
use ringway_config::model::{HeaderMatch, HeaderMatchKind, PathMatch, RouteMatch};
use std::borrow::Cow;

/// What routes look at.
pub struct Request<'a> {
    pub authority: &'a [u8],
    /// Without the query.
    pub path: &'a [u8],
    pub method: Method,
    pub method_bytes: &'a [u8],
    pub head: &'a RequestHead,
    pub bytes: &'a [u8],
}

impl<'a> Request<'a> {
    pub fn new(head: &'a RequestHead, bytes: &'a [u8]) -> Self {
        Self {
            authority: head.authority.of(bytes),
            path: head.path(bytes),
            method: head.method,
            method_bytes: head.method_bytes(bytes),
            head,
            bytes,
        }
    }
}

pub(super) fn matches(route: &RouteMatch, request: &Request<'_>) -> bool {
    matches_path(&route.path, route.case_sensitive, request.path)
        && (route.methods.is_empty() || route.methods.iter().any(|method| method.as_bytes() == request.method_bytes))
        && route.headers.iter().all(|header| matches_header(header, request))
}

fn matches_path(matcher: &PathMatch, case_sensitive: bool, path: &[u8]) -> bool {
    let equal = |a: &[u8], b: &[u8]| if case_sensitive { a == b } else { a.eq_ignore_ascii_case(b) };
    let begins = |prefix: &[u8]| path.get(..prefix.len()).is_some_and(|start| equal(start, prefix));
    match matcher {
        PathMatch::Prefix(prefix) => begins(prefix.as_bytes()),
        PathMatch::Exact(exact) => equal(path, exact.as_bytes()),
        PathMatch::PathSeparatedPrefix(prefix) => {
            begins(prefix.as_bytes()) && matches!(path.get(prefix.len()), None | Some(b'/'))
        }
        PathMatch::Regex(regex) => regex.is_match(path),
    }
}

/// Bytes of the path that a rewrite of the prefix replaces. An exact path or a regex stands for all of it.
pub(super) fn matched_len(matcher: &PathMatch, path: &[u8]) -> usize {
    match matcher {
        PathMatch::Prefix(prefix) | PathMatch::PathSeparatedPrefix(prefix) => prefix.len(),
        PathMatch::Exact(_) | PathMatch::Regex(_) => path.len(),
    }
}

/// Several lines of one name count as one value, joined by commas (RFC 9110 section 5.3). A field that is not there
/// matches no value, inverted or not (Envoy: HeaderMatcher without treat_missing_header_as_empty).
fn matches_header(matcher: &HeaderMatch, request: &Request<'_>) -> bool {
    let mut lines = request.head.fields.all_named(matcher.name.as_bytes(), request.bytes);
    let first = lines.next();
    if matches!(matcher.kind, HeaderMatchKind::Present) {
        return first.is_some() != matcher.invert;
    }
    let Some(first) = first else { return false };
    let mut value = Cow::Borrowed(first.value.of(request.bytes));
    for line in lines {
        let joined = value.to_mut();
        joined.push(b',');
        joined.extend_from_slice(line.value.of(request.bytes));
    }
    let matched = match &matcher.kind {
        HeaderMatchKind::Present => true,
        HeaderMatchKind::Exact(exact) => *value == *exact.as_bytes(),
        HeaderMatchKind::Prefix(prefix) => value.starts_with(prefix.as_bytes()),
        HeaderMatchKind::Suffix(suffix) => value.ends_with(suffix.as_bytes()),
        HeaderMatchKind::Contains(part) => memchr::memmem::find(&value, part.as_bytes()).is_some(),
        HeaderMatchKind::Regex(regex) => regex.is_match(&value),
    };
    matched != matcher.invert
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::h1::{Limits, parse_request};
    use regex::bytes::Regex;

    const BYTES: &[u8] = b"GET /Some/Path?x=1 HTTP/1.1\r\nHost: h\r\nX-Kind: alpha\r\nX-Kind: beta\r\n\r\n";

    fn with_request(check: impl Fn(&Request<'_>)) {
        let mut head = RequestHead::default();
        parse_request(BYTES, &Limits::default(), &mut head).expect("valid");
        check(&Request::new(&head, BYTES));
    }

    #[test]
    fn paths() {
        let regex = |text| PathMatch::Regex(Regex::new(text).expect("valid"));
        for (matcher, case_sensitive, expected) in [
            (PathMatch::Prefix("/Some".into()), true, true),
            (PathMatch::Prefix("/some".into()), true, false),
            (PathMatch::Prefix("/some".into()), false, true),
            (PathMatch::Exact("/Some/Path".into()), true, true),
            (PathMatch::Exact("/Some/Path?x=1".into()), true, false),
            (PathMatch::PathSeparatedPrefix("/Some".into()), true, true),
            (PathMatch::PathSeparatedPrefix("/Som".into()), true, false),
            (regex("^(?:/[A-Z][a-z]+){2}$"), true, true),
            (regex("^(?:/x)$"), true, false),
        ] {
            with_request(|request| {
                assert_eq!(matches_path(&matcher, case_sensitive, request.path), expected, "{matcher:?}");
            });
        }
    }

    #[test]
    fn headers() {
        use HeaderMatchKind::*;
        let header = |name: &str, kind, invert| HeaderMatch { name: name.into(), kind, invert };
        for (matcher, expected) in [
            (header("x-kind", Present, false), true),
            (header("x-other", Present, false), false),
            (header("x-other", Present, true), true),
            (header("x-kind", Exact("alpha,beta".into()), false), true),
            (header("x-kind", Exact("alpha".into()), false), false),
            (header("x-kind", Exact("alpha".into()), true), true),
            (header("x-other", Exact("alpha".into()), true), false),
            (header("x-kind", Prefix("alp".into()), false), true),
            (header("x-kind", Suffix("beta".into()), false), true),
            (header("x-kind", Contains("a,b".into()), false), true),
            (header("x-kind", Regex(regex::bytes::Regex::new("^(?:[a-z,]+)$").expect("valid")), false), true),
            (header("host", Exact("h".into()), false), true),
        ] {
            with_request(|request| assert_eq!(matches_header(&matcher, request), expected, "{matcher:?}"));
        }
    }
}
