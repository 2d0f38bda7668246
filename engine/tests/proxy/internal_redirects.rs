//! Internal redirects: an upstream's redirect is followed here, as far as the policy goes, and passed on otherwise.

use super::support::{Origin, Ringway, Setup, response};
use std::net::SocketAddr;

/// Routes: `/other...` leads to the second origin, `/nowhere` of host `void` to no route, all else to the first one.
fn proxy(first: SocketAddr, second: SocketAddr, policy: &str) -> Ringway {
    with_http(first, second, policy, "")
}

/// The same with these lines in its `http` table.
fn with_http(first: SocketAddr, second: SocketAddr, policy: &str, http: &str) -> Ringway {
    Setup::new(&format!(
        r#"
[[listeners]]
address = "127.0.0.1:0"
[listeners.http]
access_log = [{{ path = "DIR/log", format = "%REQ(:AUTHORITY)% %REQ(:PATH)%" }}]
{http}
[[listeners.http.virtual_hosts]]
name = "all"
domains = ["example.com", "other.example.com", "[::1]"]
routes = [
  {{ match = {{ prefix = "/other" }}, route = {{ cluster = "second", internal_redirect_policy = {{ {policy} }} }} }},
  {{ match = {{ prefix = "/" }}, route = {{ cluster = "first", internal_redirect_policy = {{ {policy} }} }} }},
]
[[clusters]]
name = "first"
endpoints = ["{first}"]
[[clusters]]
name = "second"
endpoints = ["{second}"]
"#
    ))
    .runtime("access_log_flush_interval = \"5ms\"")
    .start()
}

/// An origin that redirects everything to `location` with `status`.
fn redirecting(status: u16, location: &'static str) -> Origin {
    Origin::answering(move |_| response(status, &[&format!("location: {location}")], "moved"))
}

fn target() -> Origin {
    Origin::answering(|request| response(200, &["x-from: second"], &request.body))
}

#[test]
fn a_redirect_is_followed_to_another_cluster() {
    let (first, second) = (redirecting(302, "http://other.example.com/other/new?x=1#there"), target());
    let proxy = proxy(first.address, second.address, "");
    let mut client = proxy.connect();
    for _ in 0..2 {
        let answer = client.get("/old?q");
        assert_eq!((answer.status(), answer.field("x-from")), (200, Some("second")));
    }
    let request = second.last();
    assert_eq!((request.method(), request.target()), ("GET", "/other/new?x=1"));
    assert_eq!(request.field("host"), Some("other.example.com"));
    assert_eq!(request.field("x-envoy-original-url"), Some("http://example.com/old?q"));
    assert_eq!(request.all("x-forwarded-for").len(), 1, "{:?}", request.fields);
    assert_eq!(proxy.stat("cluster.first.upstream_internal_redirect_succeeded_total"), 2);
    assert_eq!(proxy.stat("cluster.first.upstream_internal_redirect_failed_total"), 0);
    assert_eq!(proxy.stat("http.ingress_http.downstream_rq_2xx"), 2);
    assert_eq!(proxy.stat("http.ingress_http.downstream_rq_3xx"), 0);
    assert_eq!(first.connections(), 1, "the redirect's connection is used again");
}

#[test]
fn a_body_goes_along_and_303_drops_it() {
    for (status, method, body) in [(307, "POST", "body"), (303, "GET", "")] {
        let (first, second) = (redirecting(status, "http://example.com/other"), target());
        let proxy = proxy(first.address, second.address, "redirect_response_codes = [303, 307]");
        let mut client = proxy.connect();
        client.send(b"POST / HTTP/1.1\r\nHost: example.com\r\nContent-Length: 4\r\n\r\nbody");
        assert_eq!(client.response().text(), body);
        let request = second.last();
        assert_eq!((request.method(), request.text()), (method, body));
        assert_eq!(request.field("content-length"), (!body.is_empty()).then_some("4"));
    }
}

/// What is not followed is passed on as it came, and counted.
#[test]
fn other_redirects_are_the_clients() {
    let statistic = |name: &str| format!("http.ingress_http.passthrough_internal_redirect_{name}");
    for (status, location, counted) in [
        (301, "http://example.com/other", None),
        (302, "/other", Some("bad_location")),
        (302, "https://example.com/other", Some("unsafe_scheme")),
        (302, "http://unknown.example.org/other", Some("no_route")),
    ] {
        let (first, second) = (redirecting(status, location), target());
        let proxy = proxy(first.address, second.address, "");
        let answer = proxy.get("/");
        assert_eq!((answer.status(), answer.field("location")), (status, Some(location)));
        assert_eq!(answer.text(), "moved");
        assert!(second.requests().is_empty());
        let failed = proxy.stat("cluster.first.upstream_internal_redirect_failed_total");
        assert_eq!(failed, i64::from(counted.is_some()), "{location}");
        if let Some(name) = counted {
            assert_eq!(proxy.stat(&statistic(name)), 1, "{location}");
        }
    }
}

#[test]
fn redirects_end() {
    let first = redirecting(302, "http://example.com/again");
    let proxy = proxy(first.address, first.address, "max_internal_redirects = 3");
    assert_eq!(proxy.get("/").status(), 302);
    assert_eq!(first.requests().len(), 4);
    assert_eq!(first.last().field("x-envoy-original-url"), Some("http://example.com/again"));
    assert_eq!(proxy.stat("http.ingress_http.passthrough_internal_redirect_too_many_redirects"), 1);
    assert_eq!(proxy.stat("cluster.first.upstream_internal_redirect_succeeded_total"), 3);
}

/// The new path and host are made canonical before a route is looked for, as those of a client's request are.
#[test]
fn another_spelling_meets_the_same_rule() {
    let moved = "http://example.com/public/%2e%2e/other?x";
    for (http, location, path) in [
        ("", moved, "/other?x"),
        ("merge_slashes = true", "http://example.com//other", "/other"),
        ("strip_trailing_host_dot = true", "http://other.example.com./other", "/other"),
    ] {
        let (first, second) = (redirecting(302, location), target());
        let proxy = with_http(first.address, second.address, "", http);
        let answer = proxy.get("/");
        assert_eq!((answer.status(), answer.field("x-from")), (200, Some("second")), "{http}");
        assert_eq!(second.last().target(), path);
        assert!(!second.last().field("host").expect("a host").ends_with('.'));
    }
    let first = Origin::answering(|request| {
        let location = format!("location: {}", request.field("x-to").expect("where to go"));
        response(302, &[&location], "moved")
    });
    let second = target();
    let proxy = with_http(first.address, second.address, "", "strip_matching_host_port = true");
    let mut client = proxy.connect();
    let port = proxy.address(0).port();
    for (to, host) in [(port, "example.com".to_owned()), (port ^ 1, format!("example.com:{}", port ^ 1))] {
        let to = format!("http://example.com:{to}/other");
        client.send(format!("GET / HTTP/1.1\r\nHost: example.com\r\nX-To: {to}\r\n\r\n").as_bytes());
        assert_eq!(client.response().status(), 200, "{to}");
        assert_eq!(second.last().field("host"), Some(host.as_str()), "{to}");
    }
}

/// A path that no client may ask for is not followed, and the log tells of the request as it was.
#[test]
fn bad_paths_are_not_followed() {
    let slashes = |action: &str| format!("path_with_escaped_slashes_action = \"{action}\"");
    for (http, location) in [
        (String::new(), "http://other.example.com/%2e%2e/other"),
        (slashes("reject_request"), "http://other.example.com/other%2fa"),
        (slashes("unescape_and_redirect"), "http://other.example.com/other%2fa"),
    ] {
        let (first, second) = (redirecting(302, location), target());
        let proxy = with_http(first.address, second.address, "", &http);
        let answer = proxy.get("/old?q");
        assert_eq!((answer.status(), answer.field("location")), (302, Some(location)), "{http}");
        assert!(second.requests().is_empty());
        assert_eq!(proxy.stat("http.ingress_http.passthrough_internal_redirect_bad_location"), 1, "{http}");
        assert_eq!(proxy.log_lines("log", 1)[0], "example.com /old?q", "{http}");
    }
}

/// A route with a percentage takes a redirect or does not: what was found for it is not lost with a second throw of the dice.
#[test]
fn a_percentage_decides_once() {
    let (first, second) = (redirecting(302, "http://example.com/canary"), target());
    let proxy = Ringway::start(&format!(
        r#"
[[listeners]]
address = "127.0.0.1:0"
[listeners.http]
routes = [
  {{ match = {{ prefix = "/canary", percent = 50 }}, route = {{ cluster = "second" }} }},
  {{ match = {{ path = "/" }}, route = {{ cluster = "first", internal_redirect_policy = {{}} }} }},
]
[[clusters]]
name = "first"
endpoints = ["{}"]
[[clusters]]
name = "second"
endpoints = ["{}"]
"#,
        first.address, second.address
    ));
    let mut client = proxy.connect();
    let statuses: Vec<u16> = (0..60).map(|_| client.get("/").status()).collect();
    assert!(statuses.iter().all(|status| matches!(status, 200 | 302)), "{statuses:?}");
    assert!(statuses.contains(&200) && statuses.contains(&302), "{statuses:?}");
}
