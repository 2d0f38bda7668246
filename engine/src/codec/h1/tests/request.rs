//! The request line, its target, Host, and what the head says about the exchange (RFC 9112 section 3, RFC 9110).

use super::*;
use crate::http::{FieldId, ImpliedPath, Scheme, TargetForm, Version, is_valid_authority};

/// "request-line = method SP request-target SP HTTP-version" (RFC 9112 section 3)
#[test]
fn a_plain_request() {
    let text =
        "GET /a/b?c=d?e HTTP/1.1\r\nHost: example.com:8080\r\nAccept: \t*/* \t\r\nX-Empty:\r\nX-Blank: \t \r\n\r\nbody";
    let bytes = text.as_bytes();
    let head = request(text).unwrap();
    assert_eq!((head.method, head.version, head.target_form), (Method::Get, Version::Http11, TargetForm::Origin));
    assert_eq!(head.method_bytes(bytes), b"GET");
    assert_eq!(head.target(bytes).concat(), b"/a/b?c=d?e");
    assert_eq!((head.path(bytes), head.query(bytes)), (&b"/a/b"[..], Some(&b"c=d?e"[..])));
    assert_eq!(head.authority.of(bytes), b"example.com:8080");
    assert_eq!(head.fields.value(FieldId::Accept, bytes), Some(&b"*/*"[..]));
    let found = |name: &[u8]| head.fields.find(name, bytes).map(|field| field.value.of(bytes).to_vec());
    assert_eq!((found(b"x-empty"), found(b"x-blank"), found(b"x-none")), (Some(vec![]), Some(vec![]), None));
    assert_eq!(head.framing.len as usize, text.len() - "body".len());
    assert_eq!(
        (head.framing.body, head.framing.keep_alive, head.framing.expect_continue),
        (BodyKind::None, true, false)
    );
    assert_eq!((head.scheme, head.framing.upgrade), (None, false));
}

#[test]
fn a_head_is_reused_without_traces_of_the_last() {
    let mut head = RequestHead::default();
    let first = b"POST http://x/?q HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\nVia: 1\r\n\r\n";
    assert!(matches!(parse_request(first, &Limits::default(), &mut head), Ok(Parse::Complete(_))));
    let second = b"GET / HTTP/1.1\r\nHost: b\r\n\r\n";
    assert!(matches!(parse_request(second, &Limits::default(), &mut head), Ok(Parse::Complete(_))));
    let fresh = request_bytes(second, &Limits::default()).unwrap();
    assert_eq!(format!("{head:?}"), format!("{:?}", fresh.head));
}

/// "A recipient ... SHOULD NOT attempt to autocorrect ... since the invalid request-line might be deliberately
/// crafted" (RFC 9112 section 3); parsing on whitespace is allowed and not done.
#[test]
fn request_line_is_strict() {
    for line in [
        "GET  / HTTP/1.1",
        "GET /  HTTP/1.1",
        "GET / HTTP/1.1 ",
        "GET /\tHTTP/1.1",
        "GET / a HTTP/1.1",
        " GET / HTTP/1.1",
        "GET /",
        "GET",
        "GET / ",
        "GET\t/\tHTTP/1.1",
    ] {
        let error = refused(&format!("{line}\r\nHost: a\r\n\r\n"));
        assert_eq!(error.status(), 400, "{line:?} {error}");
    }
    assert_eq!(refused("GET  / HTTP/1.1\r\nHost: a\r\n\r\n"), RequestError::InvalidRequestLine);
    assert_eq!(refused("GET / HTTP/1.1 \r\nHost: a\r\n\r\n"), RequestError::InvalidRequestLine);
    assert_eq!(refused("GET / a HTTP/1.1\r\nHost: a\r\n\r\n"), RequestError::InvalidRequestLine);
}

/// "method = token" (RFC 9110 section 9.1); "The method token is case-sensitive".
#[test]
fn methods_are_tokens() {
    assert_eq!(refused("G@T / HTTP/1.1\r\nHost: a\r\n\r\n"), RequestError::InvalidMethod);
    assert_eq!(refused("\x16\x03\x01\x02\r\n\r\n"), RequestError::InvalidMethod);
    assert_eq!(request("get / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().method, Method::Other);
    assert_eq!(request("M-SEARCH / HTTP/1.1\r\nHost: a\r\n\r\n").unwrap().method, Method::Other);
    for (name, method) in [
        ("GET", Method::Get),
        ("HEAD", Method::Head),
        ("POST", Method::Post),
        ("PUT", Method::Put),
        ("DELETE", Method::Delete),
        ("OPTIONS", Method::Options),
        ("PATCH", Method::Patch),
    ] {
        assert_eq!(request(&format!("{name} / HTTP/1.1\r\nHost: a\r\n\r\n")).unwrap().method, method);
    }
}

/// "A server that receives a method longer than any that it implements SHOULD respond with a 501 (Not Implemented)"
/// (RFC 9112 section 3)
#[test]
fn long_methods_are_not_implemented() {
    let long = "A".repeat(33);
    let error = refused(&format!("{long} / HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_eq!((error, error.status()), (RequestError::MethodTooLong, 501));
    let partial = parse_request(long.as_bytes(), &Limits::default(), &mut RequestHead::default());
    assert_eq!(partial, Err(RequestError::MethodTooLong));
}

/// "A server that receives a request-target longer than any URI it wishes to parse MUST respond with a 414 (URI Too
/// Long) status code" (RFC 9112 section 3), and need not wait for its end.
#[test]
fn long_targets_are_refused_even_while_partial() {
    let limits = Limits { target_bytes: 10, ..Limits::default() };
    let parse = |target: &str, rest: &str| {
        let text = format!("GET {target}{rest}");
        parse_request(text.as_bytes(), &limits, &mut RequestHead::default())
    };
    assert!(matches!(parse("/123456789", " HTTP/1.1\r\nHost: a\r\n\r\n"), Ok(Parse::Complete(_))));
    assert_eq!(parse("/1234567890", " HTTP/1.1\r\nHost: a\r\n\r\n"), Err(RequestError::TargetTooLong));
    assert_eq!(parse("/123456789", ""), Ok(Parse::Partial));
    assert_eq!(parse("/123456789", " HTTP/1.1"), Ok(Parse::Partial));
    assert_eq!(parse("/1234567890", ""), Err(RequestError::TargetTooLong));
    assert_eq!(RequestError::TargetTooLong.status(), 414);
}

/// "A server can send a 505 (HTTP Version Not Supported) response if it wishes, for any reason, to refuse service of
/// the client's major protocol version" (RFC 9110 section 2.5)
#[test]
fn versions() {
    for version in ["HTTP/2.0", "HTTP/3.0", "HTTP/2", "HTTP/9.9"] {
        let error = refused(&format!("GET / {version}\r\nHost: a\r\n\r\n"));
        assert_eq!((error, error.status()), (HeadError::VersionNotSupported.into(), 505), "{version}");
    }
    for version in
        ["HTTP/0.9", "http/1.1", "HTTP/1.1.1", "HTTP/1", "HTTP/1.10", "HTTP/11.1", "HTTPS/1.1", "HTTP 1.1", "x"]
    {
        assert_eq!(refused(&format!("GET / {version}\r\nHost: a\r\n\r\n")).status(), 400, "{version}");
    }
    assert_eq!(refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), HeadError::VersionNotSupported.into());
}

/// "... SHOULD process the message as if it was in the highest minor version within that major version to which the
/// recipient is conformant" (RFC 9110 section 2.5).
#[test]
fn later_minor_versions_are_read_as_1_1() {
    for minor in 2..=9 {
        let text = &format!("POST /p?q HTTP/1.{minor}\r\nHost: a\r\nContent-Length: 3\r\n\r\n");
        let head = request(text).unwrap();
        assert_eq!((head.version, head.framing.keep_alive), (Version::Http11, true));
        assert_eq!((head.framing.len as usize, head.framing.body), (text.len(), BodyKind::Length(3)));
        assert_eq!(head.path(text.as_bytes()), b"/p");
        assert_eq!(refused(&text.replace("Host: a\r\n", "")), RequestError::MissingHost);
        assert_eq!(refused(&text.replace("3\r\n", "3\n")), HeadError::BareLf.into());
    }
    // A head that is cut anywhere is not refused, and one that is too long is.
    let text = "\r\nGET / HTTP/1.5\r\nHost: a\r\n\r\n";
    for end in 0..text.len() {
        let parsed = parse_request(&text.as_bytes()[..end], &Limits::default(), &mut RequestHead::default());
        assert_eq!(parsed, Ok(Parse::Partial), "{end}");
    }
    let limits = Limits { head_bytes: text.len() as u32, ..Limits::default() };
    let parsed = |text: &str, limits: &Limits| parse_request(text.as_bytes(), limits, &mut RequestHead::default());
    assert!(matches!(parsed(text, &limits), Ok(Parse::Complete(_))));
    assert!(matches!(parsed(&format!("{text}GET"), &limits), Ok(Parse::Complete(_))));
    let limits = Limits { head_bytes: text.len() as u32 - 1, ..limits };
    assert_eq!(parsed(text, &limits), Err(HeadError::HeadTooLarge.into()));
}

/// Of a head that is refused, logs tell what its line says.
#[test]
fn the_line_of_a_refused_head() {
    let known = |text: &str| {
        let mut head = RequestHead::default();
        let bytes = text.as_bytes();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        parse_line(bytes, &mut head).then(|| (text(head.method_bytes(bytes)), text(&head.target(bytes).concat())))
    };
    let line = |method: &str, target: &str| Some((method.to_owned(), target.to_owned()));
    assert_eq!(known("GET /a?b HTTP/1.1\r\nno colon\r\n\r\n"), line("GET", "/a?b"));
    assert_eq!(known("\r\nPOST /a HTTP/7.7\r\n"), line("POST", "/a"));
    assert_eq!(known("GET /cut"), line("GET", "/cut"));
    assert_eq!(known("GET /\u{e9}\0 HTTP/1.1\r\n"), line("GET", "/\u{e9}\0"));
    for text in ["", "GET", "GET \r\n", "G(T / HTTP/1.1\r\n", " / HTTP/1.1\r\n", "\x16\x03\x01 x"] {
        assert_eq!(known(text), None, "{text:?}");
    }
}

/// "origin-form = absolute-path [ "?" query ]", of ASCII (RFC 3986 section 2); fragments are never sent.
#[test]
fn targets() {
    for target in
        ["a", "a/b", "?q", "example.com:80", "//", "/\u{e9}", "/a\u{7f}", "/a\x01", "http:/a", "http:a", ":", "**"]
    {
        let result = request(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        match target {
            "//" => assert!(result.is_ok()),
            _ => assert_eq!(result.unwrap_err(), RequestError::InvalidTarget, "{target:?}"),
        }
    }
    for target in ["/#", "/a?b#c", "/a#b?c", "http://x/#", "http://x?#"] {
        assert_eq!(refused(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n")), RequestError::TargetFragment);
    }
}

/// "When a proxy receives a request with an absolute-form of request-target, the proxy MUST ignore the received Host
/// header field (if any) and instead replace it with the host information of the request-target" (RFC 9112 3.2.2)
#[test]
fn absolute_form() {
    let text = "GET HTTP://good:81/p?q HTTP/1.1\r\nHost: bad\r\n\r\n";
    let head = request(text).unwrap();
    assert_eq!((head.target_form, head.scheme), (TargetForm::Absolute, Some(Scheme::Http)));
    assert_eq!(head.authority.of(text.as_bytes()), b"good:81");
    assert_eq!(head.target(text.as_bytes()).concat(), b"/p?q");
    for (method, target, sent, path, query) in [
        ("GET", "https://x", "/", "/", None),
        ("GET", "http://x?a=b", "/?a=b", "/", Some("a=b")),
        ("GET", "http://x/", "/", "/", None),
        // "If a proxy receives an OPTIONS request with an absolute-form of request-target in which the URI has an
        // empty path and no query component, then the last proxy on the request chain MUST send a request-target of
        // "*"" (RFC 9112 section 3.2.4)
        ("OPTIONS", "http://x", "*", "*", None),
        ("OPTIONS", "http://x?a", "/?a", "/", Some("a")),
        ("OPTIONS", "http://x/", "/", "/", None),
    ] {
        let text = format!("{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n");
        let (head, bytes) = (request(&text).unwrap(), text.as_bytes());
        assert_eq!(head.target(bytes).concat(), sent.as_bytes(), "{text:?}");
        assert_eq!(head.path(bytes), path.as_bytes(), "{text:?}");
        assert_eq!(head.query(bytes), query.map(str::as_bytes), "{text:?}");
    }
    let absolute = |target: &str| refused(&format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
    assert_eq!(absolute("ftp://x/"), RequestError::InvalidScheme);
    for bad in ["http://", "http:///p", "http://u@x/", "http://u:p@x/", "http://x:99999/", "http://x y/"] {
        let error = absolute(bad);
        assert!(matches!(error, RequestError::InvalidAuthority | RequestError::InvalidRequestLine), "{bad} {error}");
    }
    assert_eq!(refused("GET http://x/ HTTP/1.1\r\n\r\n"), RequestError::MissingHost);
    assert_eq!(request("GET http://x/ HTTP/1.0\r\n\r\n").unwrap().authority.len(), 1);
}

/// "The asterisk-form of request-target is only used for a server-wide OPTIONS request" (RFC 9112 section 3.2.4)
#[test]
fn asterisk_form() {
    let text = "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n";
    let head = request(text).unwrap();
    assert_eq!((head.target_form, head.implied_path), (TargetForm::Asterisk, ImpliedPath::None));
    assert_eq!((head.path(text.as_bytes()), head.query(text.as_bytes())), (&b"*"[..], None));
    assert_eq!(refused("GET * HTTP/1.1\r\nHost: a\r\n\r\n"), RequestError::AsteriskWithoutOptions);
}

/// "The authority-form of request-target is only used for CONNECT requests" (RFC 9112 section 3.2.3); a tunnel is
/// never opened.
#[test]
fn connect_is_not_implemented() {
    let error = refused("CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n");
    assert_eq!((error, error.status()), (RequestError::ConnectNotSupported, 501));
    assert_eq!(refused("CONNECT [::1]:443 HTTP/1.1\r\nHost: a\r\n\r\n"), RequestError::ConnectNotSupported);
    for target in ["/", "a", "[::1]", "http://a:443/", "*", "a:", "u@a:443"] {
        let error = refused(&format!("CONNECT {target} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!((error, error.status()), (RequestError::InvalidTarget, 400), "{target}");
    }
}

/// "The TRACE method requests a remote, application-level loop-back of the request message" (RFC 9110 section 9.3.8):
/// it would show what the proxy adds.
#[test]
fn trace_is_not_allowed() {
    let error = refused("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n");
    assert_eq!((error, error.status()), (RequestError::TraceNotAllowed, 405));
}

/// "A server MUST respond with a 400 (Bad Request) status code to any HTTP/1.1 request message that lacks a Host header
/// field and to any request message that contains more than one Host header field line or a Host header field with an
/// invalid field value" (RFC 9112 section 3.2)
#[test]
fn host() {
    assert_eq!(refused("GET / HTTP/1.1\r\n\r\n"), RequestError::MissingHost);
    assert_eq!(refused("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n"), RequestError::DuplicateHost);
    assert_eq!(refused("GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n"), RequestError::DuplicateHost);
    for host in ["", "a b", "a,b", "a/b", "u@a", "a:b", "a#", "[::1", "a\tb", "http://a"] {
        assert_eq!(refused(&format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")), RequestError::InvalidHost, "{host}");
        if !host.is_empty() {
            assert_eq!(refused(&format!("GET / HTTP/1.0\r\nHost: {host}\r\n\r\n")), RequestError::InvalidHost);
        }
    }
    assert!(request("GET / HTTP/1.0\r\n\r\n").unwrap().authority.is_empty());
    assert!(request("GET / HTTP/1.0\r\nHost:\r\n\r\n").unwrap().authority.is_empty());
}

/// "If the "close" connection option is present ..., the connection will not persist ...; else, if the received protocol
/// is HTTP/1.1 (or later), the connection will persist ...; else, if the received protocol is HTTP/1.0, the "keep-alive"
/// connection option is present ... the connection will persist" (RFC 9112 section 9.3)
#[test]
fn keep_alive() {
    for (version, lines, expected) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.1", "Connection: CLOSE\r\n", false),
        ("1.1", "Connection: keep-alive, close\r\n", false),
        ("1.1", "Connection: close\r\nConnection: keep-alive\r\n", false),
        ("1.1", "Connection: keep-alive\r\n", true),
        ("1.1", "Connection: closed\r\n", true),
        ("1.0", "", false),
        ("1.0", "Connection: Keep-Alive\r\n", true),
        ("1.0", "Connection: keep-alive, close\r\n", false),
        ("1.0", "Proxy-Connection: keep-alive\r\n", false),
    ] {
        let head = request(&format!("GET / HTTP/{version}\r\nHost: a\r\n{lines}\r\n")).unwrap();
        assert_eq!(head.framing.keep_alive, expected, "{version} {lines:?}");
    }
}

/// "A server that receives an Expect field value containing a member other than 100-continue MAY respond with a 417
/// (Expectation Failed) status code"; "A server that receives a 100-continue expectation in an HTTP/1.0 request MUST
/// ignore that expectation" (RFC 9110 section 10.1.1)
#[test]
fn expect() {
    let post = |version: &str, lines: &str| request(&format!("POST / HTTP/{version}\r\nHost: a\r\n{lines}\r\n"));
    assert!(post("1.1", "Content-Length: 3\r\nExpect: 100-Continue\r\n").unwrap().framing.expect_continue);
    assert!(post("1.1", "Transfer-Encoding: chunked\r\nExpect: 100-continue\r\n").unwrap().framing.expect_continue);
    assert!(!post("1.1", "Content-Length: 0\r\nExpect: 100-continue\r\n").unwrap().framing.expect_continue);
    assert!(!post("1.1", "Expect: 100-continue\r\n").unwrap().framing.expect_continue);
    assert!(!post("1.0", "Content-Length: 3\r\nExpect: 100-continue\r\n").unwrap().framing.expect_continue);
    assert!(!post("1.0", "Content-Length: 3\r\nExpect: x\r\n").unwrap().framing.expect_continue);
    for lines in
        ["Expect: x\r\n", "Expect:\r\n", "Expect: 100-continue, x\r\n", "Expect: 100-continue\r\nExpect: x\r\n"]
    {
        let error = post("1.1", lines).unwrap_err();
        assert_eq!((error, error.status()), (RequestError::UnknownExpectation, 417), "{lines:?}");
    }
}

/// "A sender of Upgrade MUST also send an "Upgrade" connection option in the Connection header field" (RFC 9110 section
/// 7.8)
#[test]
fn upgrade_needs_both_fields() {
    let upgrade = |lines: &str| request(&get_with(lines)).unwrap().framing.upgrade;
    assert!(upgrade("Upgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"));
    assert!(!upgrade("Upgrade: websocket\r\n"));
    assert!(!upgrade("Connection: upgrade\r\n"));
}

/// "If this is a request message and none of the above are true, then the message body length is zero (no message body
/// is present)" (RFC 9112 section 6.3), in HTTP/1.0 too.
#[test]
fn framing() {
    let post = |version: &str, lines: &str| {
        request(&format!("POST / HTTP/{version}\r\nHost: a\r\n{lines}\r\n")).map(|head| head.framing.body)
    };
    assert_eq!(post("1.1", ""), Ok(BodyKind::None));
    assert_eq!(post("1.0", ""), Ok(BodyKind::None));
    assert_eq!(post("1.1", "Content-Length: 0\r\n"), Ok(BodyKind::Length(0)));
    assert_eq!(post("1.0", "Content-Length: 7\r\n"), Ok(BodyKind::Length(7)));
    assert_eq!(post("1.1", "Content-Length: 18446744073709551615\r\n"), Ok(BodyKind::Length(u64::MAX)));
    // Forwarded as the number 5, never as the text.
    assert_eq!(post("1.1", "Content-Length: 05\r\n"), Ok(BodyKind::Length(5)));
    assert_eq!(post("1.1", "Transfer-Encoding: chunked\r\n"), Ok(BodyKind::Chunked));
    assert_eq!(post("1.1", "Transfer-Encoding: \t ChUnKeD \r\n"), Ok(BodyKind::Chunked));
    assert_eq!(post("1.1", "transfer-encoding:chunked\r\n"), Ok(BodyKind::Chunked));
}

/// Names are looked at sixteen bytes at a time, and only what is no plain name one by one.
#[test]
fn a_host_with_any_byte_is_judged_like_any_authority() {
    for byte in (b'!'..=0xff).filter(|byte| *byte != 0x7f) {
        for (len, at) in [(1, 0), (3, 1), (16, 15), (21, 0), (21, 20)] {
            let mut host = vec![b'a'; len];
            host[at] = byte;
            for tail in [&b"\r\n\r\n"[..], b"\r\naccept: text/html\r\n\r\n"] {
                let bytes = [b"GET / HTTP/1.1\r\nhost: ", &host[..], tail].concat();
                let parsed = request_bytes(&bytes, &Limits::default());
                assert_eq!(parsed.is_ok(), is_valid_authority(&host), "{byte:#x} at {at} of {len}: {parsed:?}");
            }
        }
    }
}
