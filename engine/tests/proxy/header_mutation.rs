//! Edits of header fields by weighted clusters, routes, virtual hosts and the connection manager.

use super::support::{Message, Origin, Ringway, response};

fn config(origin: &Origin, http: &str, host: &str, route: &str, action: &str) -> String {
    format!(
        r#"
[[listeners]]
address = "127.0.0.1:0"
[listeners.http]
{http}
[[listeners.http.virtual_hosts]]
name = "host"
domains = ["*"]
{host}
[[listeners.http.virtual_hosts.routes]]
match = {{ prefix = "/" }}
{route}
{action}
[[clusters]]
name = "app"
endpoints = ["{}"]
"#,
        origin.address
    )
}

const FORWARD: &str = "route = { cluster = \"app\" }";

fn exchange(proxy: &Ringway, origin: &Origin, fields: &str) -> (Message, Message) {
    let mut client = proxy.connect();
    client.send(format!("GET /p?q HTTP/1.1\r\nHost: example.com\r\n{fields}\r\n").as_bytes());
    let answer = client.response();
    (origin.last(), answer)
}

/// Envoy: weighted cluster, route, virtual host, route configuration.
#[test]
fn the_most_specific_edits_come_first() {
    let origin = Origin::answering(|_| response(200, &["X-Log: origin"], "ok"));
    let add = |who: &str| {
        format!(
            "request_headers_to_add = [{{ name = \"x-log\", value = \"{who}\" }}, \
             {{ name = \"x-last\", value = \"{who}\", append_action = \"overwrite_if_exists_or_add\" }}]\n\
             response_headers_to_add = [{{ name = \"x-log\", value = \"{who}\" }}]"
        )
    };
    let weighted = format!(
        "route = {{ weighted_clusters = [{{ cluster = \"app\", weight = 1, {} }}] }}",
        add("cluster").replace('\n', ", ")
    );
    let proxy = Ringway::start(&config(&origin, &add("http"), &add("host"), &add("route"), &weighted));
    let (request, answer) = exchange(&proxy, &origin, "X-Log: client\r\n");
    assert_eq!(request.all("x-log"), ["client", "cluster", "route", "host", "http"]);
    assert_eq!(request.field("x-last"), Some("http"), "the last one wins");
    assert_eq!(answer.all("x-log"), ["origin", "cluster", "route", "host", "http"]);
}

/// Naming a field in `connection` removes what the client sent, and not what the proxy says (RFC 9110 section 7.6.1).
#[test]
fn a_client_cannot_suppress_a_field() {
    let origin =
        Origin::answering(|_| response(200, &["Connection: date", "Date: Thu, 01 Jan 1970 00:00:00 GMT"], "ok"));
    let http = "use_remote_address = false\n\
         request_headers_to_add = [{ name = \"x-tenant\", value = \"ours\", append_action = \"add_if_absent\" }]";
    let proxy = Ringway::start(&config(&origin, http, "", "", FORWARD));
    let fields = "Connection: x-tenant, x-request-id, x-forwarded-for\r\nX-Tenant: a\r\nX-Request-Id: 1\r\nX-Forwarded-For: 1.2.3.4\r\n";
    let (request, answer) = exchange(&proxy, &origin, fields);
    assert_eq!(request.all("x-tenant"), ["ours"]);
    assert_eq!(request.all("x-request-id"), ["1"], "what proxies live by is not for one hop");
    assert!(request.field("x-forwarded-for").is_some_and(|list| list.ends_with("127.0.0.1")));
    assert!(answer.field("date").is_some_and(|date| !date.contains("1970")));
}

#[test]
fn what_each_action_does() {
    let origin = Origin::answering(|_| response(200, &["X-There: 1", "X-There: 2"], "ok"));
    for (action, there, absent) in [
        ("append_if_exists_or_add", &["1", "2", "new"][..], Some("new")),
        ("add_if_absent", &["1", "2"], Some("new")),
        ("overwrite_if_exists_or_add", &["new"], Some("new")),
        ("overwrite_if_exists", &["new"], None),
    ] {
        let edit = |name: &str| format!("{{ name = \"{name}\", value = \"new\", append_action = \"{action}\" }}");
        let both = format!("[{}, {}]", edit("x-there"), edit("x-absent"));
        let http = format!("request_headers_to_add = {both}\nresponse_headers_to_add = {both}");
        let proxy = Ringway::start(&config(&origin, &http, "", "", FORWARD));
        let (request, answer) = exchange(&proxy, &origin, "X-There: 1\r\nx-there: 2\r\n");
        for (message, which) in [(request, "request"), (answer, "response")] {
            assert_eq!(message.all("x-there"), there, "{action}, {which}");
            assert_eq!(message.field("x-absent"), absent, "{action}, {which}");
        }
    }
}

#[test]
fn fields_are_removed_before_others_are_added() {
    let origin = Origin::answering(|_| response(200, &["X-Powered-By: PHP", "Server: Apache"], "ok"));
    let route = "request_headers_to_remove = [\"cookie\", \"x-secret\"]\n\
                 request_headers_to_add = [{ name = \"x-secret\", value = \"ours\" }]\n\
                 response_headers_to_remove = [\"x-powered-by\"]";
    let proxy = Ringway::start(&config(&origin, "", "", route, FORWARD));
    let (request, answer) =
        exchange(&proxy, &origin, "Cookie: a=b\r\nX-Secret: theirs\r\nX-Kept: 1\r\nx-secret: 2\r\n");
    assert_eq!((request.field("cookie"), request.field("x-kept")), (None, Some("1")));
    assert_eq!(request.field("x-secret"), Some("ours"));
    assert_eq!(answer.field("x-powered-by"), None);
}

#[test]
fn values_are_made_of_the_exchange() {
    let origin = Origin::answering(|_| response(200, &["X-Version: 7"], "ok"));
    let route = "request_headers_to_add = [{ name = \"x-from\", value = \"%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%\" }, \
                 { name = \"x-what\", value = \"%REQ(:METHOD)% %REQ(:PATH)% of %REQ(:AUTHORITY)%\" }, \
                 { name = \"x-none\", value = \"%REQ(X-NOT-THERE)%\" }]\n\
                 response_headers_to_add = [{ name = \"x-said\", value = \"%RESP(X-VERSION)% by %UPSTREAM_CLUSTER%\" }, \
                 { name = \"x-code\", value = \"%RESPONSE_CODE%\" }]";
    let proxy = Ringway::start(&config(&origin, "", "", route, FORWARD));
    let (request, answer) = exchange(&proxy, &origin, "");
    assert_eq!(request.field("x-from"), Some("127.0.0.1"));
    assert_eq!(request.field("x-what"), Some("GET /p?q of example.com"));
    assert_eq!(request.field("x-none"), None, "an empty value adds nothing");
    assert_eq!(answer.field("x-said"), Some("7 by app"));
    assert_eq!(answer.field("x-code"), Some("200"));
}

/// Mutations see the path and the host as they came; a rewrite may use what they wrote.
#[test]
fn rewrites_come_after_the_edits() {
    let origin = Origin::answering(|_| response(200, &[], "ok"));
    let route = "request_headers_to_add = [{ name = \"x-path\", value = \"%REQ(:PATH)%\" }, \
                 { name = \"x-tenant\", value = \"tenant-%REQ(:AUTHORITY)%\" }]";
    let action = "route = { cluster = \"app\", prefix_rewrite = \"/new/\", host_rewrite_header = \"x-tenant\", \
                  append_x_forwarded_host = true }";
    let proxy = Ringway::start(&config(&origin, "", "", route, action));
    let (request, _) =
        exchange(&proxy, &origin, "X-Envoy-Original-Path: /spoofed\r\nX-Envoy-Original-Host: spoofed\r\n");
    assert_eq!((request.target(), request.field("host")), ("/new/p?q", Some("tenant-example.com")));
    assert_eq!(request.field("x-path"), Some("/p?q"));
    assert_eq!(request.field("x-envoy-original-path"), Some("/p?q"));
    for name in ["x-forwarded-host", "x-envoy-original-host"] {
        assert_eq!(request.field(name), Some("example.com"), "{name}");
    }
}

/// Envoy edits every response to a request that has a route, its own ones, too.
#[test]
fn local_replies_are_edited() {
    let origin = Origin::answering(|_| response(200, &[], "ok"));
    let add = "response_headers_to_add = [{ name = \"x-cors\", value = \"*\" }]";
    let dead = format!(
        "route = {{ cluster = \"dead\" }}\n[[clusters]]\nname = \"dead\"\nendpoints = [\"{}\"]",
        super::support::dead_address()
    );
    for (http, action, status) in [
        ("", "direct_response = { status = 403 }", 403),
        ("", "redirect = { path = \"/x\" }", 301),
        ("http_filters = [{ fault = { abort = { http_status = 418, percent = 100 } } }]", FORWARD, 418),
        ("", dead.as_str(), 503),
    ] {
        let proxy = Ringway::start(&config(&origin, http, "", add, action));
        let answer = proxy.get("/");
        assert_eq!((answer.status(), answer.field("x-cors")), (status, Some("*")), "{action}");
    }
}
