//! Internal redirects: following an upstream's 30x here, in the client's place (Envoy: InternalRedirectPolicy).

use crate::http::{
    EditBytes, FieldId, Fields, HeadEditor, ImpliedPath, Length, Method, RequestHead, Scheme, Span, TargetForm,
    is_valid_authority,
};
use crate::stats::HttpStats;
use ringway_config::model::InternalRedirect;

/// Where a `location` leads: an absolute URL in its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RedirectTarget<'a> {
    pub scheme: Scheme,
    pub authority: &'a [u8],
    /// With the query, without the fragment; may be empty or begin with the query.
    pub path: &'a [u8],
}

/// Why a redirect goes to the client instead.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoRedirect {
    /// Not all of the request has come, or its body is no longer here.
    BodyGone,
    /// No `location`, not an absolute http or https URL, or a path that no request may have.
    BadLocation,
    /// Another scheme than the request's.
    UnsafeScheme,
    TooMany,
    /// Nothing is routed there.
    NoRoute,
}

impl NoRedirect {
    /// The connection manager's part of the accounting; the cluster's is one counter for all.
    pub fn count(self, stats: &HttpStats) {
        match self {
            Self::BodyGone => {}
            Self::BadLocation => stats.passthrough_internal_redirect_bad_location.inc(),
            Self::UnsafeScheme => stats.passthrough_internal_redirect_unsafe_scheme.inc(),
            Self::TooMany => stats.passthrough_internal_redirect_too_many_redirects.inc(),
            Self::NoRoute => stats.passthrough_internal_redirect_no_route.inc(),
        }
    }
}

/// Whether the route's policy follows responses with this status.
pub fn is_followed(policy: &InternalRedirect, status: u16) -> bool {
    policy.codes.contains(&status)
}

/// Where to go. `scheme`: the request's; `redirects`: how many this request has followed already; `max_path`: bytes of
/// a target at most.
///
/// # Errors
/// The response is the client's.
pub fn target<'a>(
    policy: &InternalRedirect,
    location: Option<&'a [u8]>,
    scheme: Scheme,
    redirects: u32,
    max_path: usize,
) -> Result<RedirectTarget<'a>, NoRedirect> {
    let target = location.and_then(parse).ok_or(NoRedirect::BadLocation)?;
    if target.path.len() >= max_path {
        return Err(NoRedirect::BadLocation);
    }
    if target.scheme != scheme && !policy.allow_cross_scheme {
        return Err(NoRedirect::UnsafeScheme);
    }
    if redirects >= policy.max_redirects {
        return Err(NoRedirect::TooMany);
    }
    Ok(target)
}

/// An absolute URL, as Envoy wants it; a reference relative to the request's is no such thing.
fn parse(location: &[u8]) -> Option<RedirectTarget<'_>> {
    let colon = location.iter().position(|byte| *byte == b':')?;
    let (name, rest) = location.split_at(colon);
    let scheme = match name {
        name if name.eq_ignore_ascii_case(b"http") => Scheme::Http,
        name if name.eq_ignore_ascii_case(b"https") => Scheme::Https,
        _ => return None,
    };
    let rest = rest.strip_prefix(b"://")?;
    let end = rest.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let path = &path[..path.iter().position(|byte| *byte == b'#').unwrap_or(path.len())];
    // What the codec lets through in a request line.
    let is_sound = is_valid_authority(authority) && path.iter().all(|byte| byte.is_ascii_graphic());
    is_sound.then_some(RedirectTarget { scheme, authority, path })
}

/// Fields that only a request with a body has, next to content-language and content-location (RFC 9110 sections 8 and
/// 10.1.1).
const OF_BODY: u128 = Fields::set_of(&[
    FieldId::ContentLength,
    FieldId::TransferEncoding,
    FieldId::Expect,
    FieldId::ContentType,
    FieldId::ContentEncoding,
]);

/// Turn the request's head into one for `target`, whose bytes are copied. Where the status is 303, what was not GET or
/// HEAD becomes GET and loses its body (RFC 9110 section 15.4.4): the return value says so. What tells of that body goes
/// with it (section 15.4). `scheme`: the request's.
pub fn apply(
    head: &mut RequestHead,
    received: &[u8],
    edits: &mut EditBytes,
    scheme: Scheme,
    target: &RedirectTarget<'_>,
    status: u16,
) -> bool {
    let original = url(head, received, edits, scheme);
    let mut editor = HeadEditor { fields: &mut head.fields, received, edits };
    editor.remove(b"x-envoy-original-url");
    editor.add_stored(b"x-envoy-original-url", original);
    let authority = edits.store(|out| out.extend_from_slice(target.authority));
    for field in head.fields.as_mut_slice().iter_mut().filter(|field| field.id == FieldId::Host) {
        field.set_value(authority);
    }
    let root: &[u8] = if target.path.starts_with(b"/") { b"" } else { b"/" };
    let path_len = target.path.iter().position(|byte| *byte == b'?').unwrap_or(target.path.len());
    head.path = edits.store(|out| out.extend_from_slice(&[root, target.path].concat()));
    head.path_len = (root.len() + path_len) as u32;
    head.authority = authority;
    head.implied_path = ImpliedPath::None;
    head.matched_path = Span::EMPTY;
    head.target_form = TargetForm::Origin;
    head.scheme = Some(target.scheme);
    if status != 303 || matches!(head.method, Method::Get | Method::Head) {
        return false;
    }
    head.method = Method::Get;
    head.method_span = edits.store(|out| out.extend_from_slice(b"GET"));
    head.length = Length::None;
    head.fields.remove_all(OF_BODY);
    let mut editor = HeadEditor { fields: &mut head.fields, received, edits };
    editor.remove(b"content-language");
    editor.remove(b"content-location");
    true
}

/// The request's URL. What is stored in a row lies in a row.
fn url(head: &RequestHead, received: &[u8], edits: &mut EditBytes, scheme: Scheme) -> Span {
    let scheme: &[u8] = match scheme {
        Scheme::Http => b"http://",
        Scheme::Https => b"https://",
    };
    let start = edits.store(|out| out.extend_from_slice(scheme)).start;
    edits.extend(received, head.authority, |out| out.extend_from_slice(head.implied_path.as_bytes()));
    let end = edits.extend(received, head.path, |_| {}).end;
    Span { start, end }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::h1::{Limits, parse_request};
    use crate::http::HeadView;

    fn policy(max_redirects: u32, allow_cross_scheme: bool) -> InternalRedirect {
        InternalRedirect { max_redirects, codes: vec![302, 303], allow_cross_scheme }
    }

    fn go(location: &str) -> Result<RedirectTarget<'_>, NoRedirect> {
        target(&policy(1, false), Some(location.as_bytes()), Scheme::Http, 0, 100)
    }

    #[test]
    fn only_absolute_urls_are_followed() {
        for (location, authority, path) in [
            ("http://a/b?c#d", "a", "/b?c"),
            ("HTTP://a:8080", "a:8080", ""),
            ("http://[::1]:80?x=/", "[::1]:80", "?x=/"),
            ("http://a#b/c", "a", ""),
            ("http://a//b", "a", "//b"),
        ] {
            let expected =
                RedirectTarget { scheme: Scheme::Http, authority: authority.as_bytes(), path: path.as_bytes() };
            assert_eq!(go(location), Ok(expected), "{location}");
        }
        for location in
            ["", "/relative", "//a/b", "ftp://a/", "http:/a", "http://", "http:///x", "http://u@a/", "http://a/b c"]
        {
            assert_eq!(go(location), Err(NoRedirect::BadLocation), "{location}");
        }
        assert_eq!(go(&format!("http://a/{}", "x".repeat(100))), Err(NoRedirect::BadLocation));
        assert_eq!(target(&policy(1, false), None, Scheme::Http, 0, 100), Err(NoRedirect::BadLocation));
    }

    #[test]
    fn scheme_and_count_are_limited() {
        assert_eq!(go("https://a/"), Err(NoRedirect::UnsafeScheme));
        let go = |policy, redirects| target(&policy, Some(b"https://a/"), Scheme::Http, redirects, 100);
        assert!(go(policy(1, true), 0).is_ok());
        assert_eq!(go(policy(1, true), 1), Err(NoRedirect::TooMany));
        assert_eq!(go(policy(0, true), 0), Err(NoRedirect::TooMany));
        assert!(is_followed(&policy(1, false), 303) && !is_followed(&policy(1, false), 301));
    }

    /// The request line's parts and the fields after redirects to these places.
    fn applied(request: &str, locations: &[(&str, u16)]) -> (RequestHead, String, Vec<String>) {
        let received = request.as_bytes();
        let mut head = RequestHead::default();
        parse_request(received, &Limits::default(), &mut head).expect("valid");
        let mut edits = EditBytes::default();
        for (location, status) in locations {
            let target = parse(location.as_bytes()).expect("a URL");
            apply(&mut head, received, &mut edits, Scheme::Http, &target, *status);
        }
        let view = HeadView { received, edits: edits.as_slice() };
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let line =
            [head.method_bytes(view), head.authority.of(view), head.path(view), head.query(view).unwrap_or(b"-")];
        let line = line.map(text).join(" ");
        let fields = head.fields.iter();
        let fields = fields.map(|field| text(field.name.of(view)) + "=" + &text(field.value.of(view))).collect();
        (head, line, fields)
    }

    #[test]
    fn the_request_is_turned_to_its_target() {
        let request = "GET /old?q HTTP/1.1\r\nHost: one\r\nX-A: 1\r\n\r\n";
        let (head, line, fields) = applied(request, &[("http://two/new?r=1", 302)]);
        assert_eq!(line, "GET two /new r=1");
        assert_eq!(fields, ["Host=two", "X-A=1", "x-envoy-original-url=http://one/old?q"]);
        assert_eq!((head.scheme, head.target_form), (Some(Scheme::Http), TargetForm::Origin));
        let (_, line, fields) = applied(request, &[("http://two/new?r=1", 302), ("http://three?x", 302)]);
        assert_eq!(line, "GET three / x");
        assert_eq!(fields, ["Host=three", "X-A=1", "x-envoy-original-url=http://two/new?r=1"]);
        let (_, _, fields) = applied("OPTIONS http://one HTTP/1.1\r\nHost: one\r\n\r\n", &[("http://two/", 302)]);
        assert_eq!(fields, ["Host=two", "x-envoy-original-url=http://one*"]);
    }

    /// "If a 303 ... the user agent performs a GET" (RFC 9110 section 15.4.4); 307 and 308 keep the method.
    #[test]
    fn see_other_makes_a_get() {
        let of_body = "Content-Length: 3\r\nExpect: 100-continue\r\nContent-Type: text/plain\r\n\
            Content-Encoding: gzip\r\nContent-Language: en\r\nContent-Location: /here\r\n";
        let request = &format!("POST /old HTTP/1.1\r\nHost: one\r\n{of_body}Content-X: 1\r\n\r\n");
        let (head, line, fields) = applied(request, &[("http://two/new", 303)]);
        assert_eq!((line.as_str(), head.length), ("GET two /new -", Length::None));
        assert_eq!(fields, ["Host=two", "Content-X=1", "x-envoy-original-url=http://one/old"]);
        assert!(!head.fields.contains(FieldId::Expect));
        let (head, line, fields) = applied(request, &[("http://two/new", 307)]);
        assert_eq!((line.as_str(), head.length), ("POST two /new -", Length::Known(3)));
        assert_eq!((fields.len(), head.fields.contains(FieldId::Expect)), (9, true));
        let (head, line, _) = applied("HEAD / HTTP/1.1\r\nHost: one\r\n\r\n", &[("http://two/new", 303)]);
        assert_eq!((line.as_str(), head.method), ("HEAD two /new -", Method::Head));
    }
}
