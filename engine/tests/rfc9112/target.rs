//! RFC 9112 sections 2.3 and 3: the request line, its target, and Host.

use crate::support::{Proxy, Refusal, forwarded_as, refused};

/// RFC 9112 section 3.2.1: "the target's absolute path and query are sent as the request-target": unchanged, where it has
/// its normal form.
#[test]
fn origin_form_is_forwarded_unchanged() {
    for target in ["/", "/a/b?c=d&e=%20", "/?x", "//double//", "/a;b=c,d", "/~user", "/100%", "/a?b?c", "/x?a=/../b"] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: h:8080\r\n\r\n");
        forwarded_as("", &request, &request);
    }
}

/// RFC 9112 section 3.2.2: "When a proxy receives a request with an absolute-form of request-target, the proxy MUST
/// ignore the received Host header field (if any) and instead replace it with the host information of the
/// request-target."
#[test]
fn absolute_form_replaces_host() {
    for (target, host, path) in [
        ("http://good/x?y", "good", "/x?y"),
        ("http://good:81/x", "good:81", "/x"),
        ("HTTP://good", "good", "/"),
        ("http://good?q=1", "good", "/?q=1"),
        ("https://[::1]:8443/x", "[::1]:8443", "/x"),
    ] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: evil\r\n\r\n");
        forwarded_as("", &request, &format!("GET {path} HTTP/1.1\r\nhost: {host}\r\n\r\n"));
    }
}

/// The same for routing: the target's authority chooses the virtual host (security.md section 2.1, absolute-form).
#[test]
fn absolute_form_is_routed_by_the_target() {
    let config = r#"
[[listeners]]
address = "127.0.0.1:1"
[[listeners.http.virtual_hosts]]
name = "good"
domains = ["good"]
routes = [{ match = { prefix = "/" }, direct_response = { status = 200, body = "good" } }]
[[listeners.http.virtual_hosts]]
name = "evil"
domains = ["evil"]
routes = [{ match = { prefix = "/" }, direct_response = { status = 200, body = "evil" } }]
"#;
    let config = ringway_config::load_str("test.toml", config).unwrap_or_else(|problems| panic!("{problems}"));
    let mut proxy = Proxy::new();
    proxy.shard.apply(config);
    let mut client = proxy.client();
    client.write("GET http://good/ HTTP/1.1\r\nHost: evil\r\n\r\n");
    let answer = proxy.read(&mut client);
    assert!(answer.ends_with("\r\n\r\ngood"), "{answer}");
}

/// RFC 9112 section 3.2.4: "If a proxy receives an OPTIONS request with an absolute-form of request-target in which the
/// URI has an empty path and no query component, then the last proxy on the request chain MUST send a request-target of
/// "*" when it forwards the request to the indicated origin server."
#[test]
fn options_for_the_whole_server() {
    forwarded_as(
        "",
        "OPTIONS http://www.example.org:8001 HTTP/1.1\r\nHost: x\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nhost: www.example.org:8001\r\n\r\n",
    );
    forwarded_as("", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n");
    forwarded_as("", "OPTIONS http://h/ HTTP/1.1\r\nHost: h\r\n\r\n", "OPTIONS / HTTP/1.1\r\nhost: h\r\n\r\n");
}

/// security.md section 2.1, `*`, CONNECT, TRACE. RFC 9112 section 3.2.4: asterisk-form is for OPTIONS only; section
/// 3.2.3: authority-form is for CONNECT only; RFC 9110 section 9.3.6: no tunnel without a wish for one.
#[test]
fn asterisk_connect_and_trace() {
    refused(&[
        ("asterisk", b"GET * HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("CONNECT", b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\n", 501),
        ("CONNECT without port", b"CONNECT h HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("CONNECT to a path", b"CONNECT / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        (
            "CONNECT with early bytes",
            b"CONNECT h:443 HTTP/1.1\r\nHost: h:443\r\n\r\nGET /secret HTTP/1.1\r\nHost: h\r\n\r\n",
            501,
        ),
        ("TRACE", b"TRACE / HTTP/1.1\r\nHost: h\r\n\r\n", 405),
        ("authority-form", b"GET h:80 HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ]);
}

/// RFC 9110 section 15.5.6: "The origin server MUST generate an Allow header field in a 405 response".
#[test]
fn trace_is_told_what_is_allowed() {
    let proxy = Proxy::new();
    let mut client = proxy.client();
    client.write("TRACE / HTTP/1.1\r\nHost: h\r\n\r\n");
    let answer = proxy.read(&mut client).to_ascii_lowercase();
    assert!(answer.contains("\r\nallow: ") && !answer.contains("trace"), "{answer}");
}

/// security.md section 2.1, Request line. RFC 9112 section 3: "Recipients of an invalid request-line SHOULD respond
/// with either a 400 (Bad Request) error"; section 2.3 and RFC 9110 section 15.6.6 for the version.
#[test]
fn invalid_request_lines() {
    refused(&[
        ("no version", b"GET /\r\nHost: h\r\n\r\n", 400),
        ("no target", b"GET HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("two spaces", b"GET  / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("space in the target", b"GET /a b HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("two spaces before the version", b"GET /  HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("space at the end", b"GET / HTTP/1.1 \r\nHost: h\r\n\r\n", 400),
        ("space at the start", b" GET / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("tab for space", b"GET\t/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("method not a token", b"G(T / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("version in lower case", b"GET / http/1.1\r\nHost: h\r\n\r\n", 400),
        ("version with two digits", b"GET / HTTP/1.10\r\nHost: h\r\n\r\n", 400),
        ("version without a dot", b"GET / HTTP/11\r\nHost: h\r\n\r\n", 400),
        ("another protocol", b"GET / ICAP/1.1\r\nHost: h\r\n\r\n", 400),
        ("HTTP/0.9 with a version", b"GET / HTTP/0.9\r\nHost: h\r\n\r\n", 400),
        ("major 2", b"GET / HTTP/2.0\r\nHost: h\r\n\r\n", 505),
        ("major 3", b"GET / HTTP/3.0\r\nHost: h\r\n\r\n", 505),
        ("NUL in the target", b"GET /\0 HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("DEL in the target", b"GET /\x7f HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("UTF-8 in the target", b"GET /\xc3\xa4 HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("fragment", b"GET /a#b HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("no slash", b"GET a HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("other scheme", b"GET ftp://h/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("user information", b"GET http://user@h/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("empty authority", b"GET http:///x HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("backslash authority", b"GET http://h\\@evil/ HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ]);
}

/// security.md section 2.1, Host. RFC 9112 section 3.2: "A server MUST respond with a 400 (Bad Request) status code to
/// any HTTP/1.1 request message that lacks a Host header field and to any request message that contains more than one
/// Host header field line or a Host header field with an invalid field value."
#[test]
fn host_rules() {
    refused(&[
        ("none", b"GET / HTTP/1.1\r\n\r\n", 400),
        ("none with absolute-form", b"GET http://h/ HTTP/1.1\r\n\r\n", 400),
        ("two", b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("two alike", b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nhost: a\r\n\r\n", 400),
        ("two with absolute-form", b"GET http://a/ HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("two in HTTP/1.0", b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("empty", b"GET / HTTP/1.1\r\nHost:\r\n\r\n", 400),
        ("list", b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", 400),
        ("space", b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
        ("path", b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", 400),
        ("query", b"GET / HTTP/1.1\r\nHost: a?b\r\n\r\n", 400),
        ("user information", b"GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", 400),
        ("port with letters", b"GET / HTTP/1.1\r\nHost: a:8x\r\n\r\n", 400),
        ("two ports", b"GET / HTTP/1.1\r\nHost: a:80:81\r\n\r\n", 400),
        ("open bracket", b"GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", 400),
        ("port alone", b"GET / HTTP/1.1\r\nHost: :80\r\n\r\n", 400),
        ("invalid with absolute-form", b"GET http://a/ HTTP/1.1\r\nHost: a b\r\n\r\n", 400),
    ]);
}

/// RFC 9112 section 3.2: "A client MUST send a Host header field in all HTTP/1.1 request messages", and towards the
/// origin the proxy is that client, whatever an HTTP/1.0 client left out.
#[test]
fn http10_without_host_gets_one() {
    forwarded_as("", "GET /x HTTP/1.0\r\n\r\n", "GET /x HTTP/1.1\r\nhost: 127.0.0.1:2\r\n\r\n");
}

/// Limits: RFC 9112 section 3: "A server that receives a request-target longer than any URI it wishes to parse MUST
/// respond with a 414"; "a server that receives a method longer than any that it implements SHOULD respond with a 501";
/// RFC 6585 section 5 for 431. The limits are exact: what just fits passes.
#[test]
fn limits_are_refused_with_their_status() {
    let path = |len: usize| format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "a".repeat(len - 1));
    let fields = |count: usize| format!("GET / HTTP/1.1\r\nHost: h\r\n{}\r\n", "X: y\r\n".repeat(count - 1));
    let head = |len: usize| {
        let empty = "GET / HTTP/1.1\r\nHost: h\r\nX: \r\n\r\n".len();
        format!("GET / HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "v".repeat(len - empty))
    };
    let method = |len: usize| format!("{} / HTTP/1.1\r\nHost: h\r\n\r\n", "M".repeat(len));
    let rows = [
        ("target", path(16 * 1024), path(16 * 1024 + 1), 414),
        ("fields", fields(100), fields(101), 431),
        ("head", head(60 * 1024), head(60 * 1024 + 1), 431),
        ("method", method(17), method(1000), 501),
    ];
    for (name, fits, exceeds, status) in rows {
        let proxy = Proxy::new();
        let client = proxy.client();
        client.write(&fits);
        let mut origin = proxy.accept();
        assert!(proxy.read(&mut origin).contains(" HTTP/1.1\r\n"), "{name} within its limit");
        drop((client, origin));
        let mut client = proxy.client();
        client.write(&exceeds);
        let answer = proxy.read(&mut client);
        assert_eq!(Refusal::parse(&answer, client.state()), Refusal::closing(status), "{name}: {answer}");
        assert!(proxy.try_accept().is_none(), "{name}");
    }
}
