//! Which route takes a request, and what the actions do.

use super::support::{Message, Origin, Ringway, dead_address, response};

/// A proxy whose routes answer with their own name: each is `(match, name)`.
fn named_routes(routes: &[(&str, &str)]) -> Ringway {
    let routes: String = routes
        .iter()
        .map(|(matcher, name)| {
            format!("[[listeners.http.routes]]\nmatch = {{ {matcher} }}\ndirect_response = {{ status = 200, body = \"{name}\" }}\n")
        })
        .collect();
    Ringway::start(&format!("[[listeners]]\naddress = \"127.0.0.1:0\"\n{routes}"))
}

fn ask(proxy: &Ringway, method: &str, target: &str, fields: &str) -> Message {
    let mut client = proxy.connect();
    client.send(format!("{method} {target} HTTP/1.1\r\nHost: example.com\r\n{fields}\r\n").as_bytes());
    client.try_response(method).expect("a response")
}

/// The name of the route, or the status as a number where none took it.
fn taken(answer: &Message) -> String {
    if answer.status() == 200 { answer.text().to_owned() } else { answer.status().to_string() }
}

#[test]
fn paths() {
    let proxy = named_routes(&[
        ("path = \"/exact\"", "exact"),
        ("path = \"/Any-Case\", case_sensitive = false", "any case"),
        ("path_separated_prefix = \"/api\"", "separated"),
        ("regex = '/v\\d+/[a-z]+'", "regex"),
        ("prefix = \"/pre\"", "prefix"),
    ]);
    for (target, expected) in [
        ("/exact", "exact"),
        ("/exact?query=1", "exact"),
        ("/exact/", "404"),
        ("/Exact", "404"),
        ("/aNY-cASE", "any case"),
        ("/api", "separated"),
        ("/api?x", "separated"),
        ("/api/", "separated"),
        ("/api/x/y", "separated"),
        ("/apix", "404"),
        ("/v12/abc", "regex"),
        ("/v12/abc?not=part", "regex"),
        ("/v12/abc/", "404"),
        ("/x/v12/abc", "404"),
        ("/prefixed", "prefix"),
        ("/pre", "prefix"),
        ("/pr", "404"),
        ("http://example.com/exact", "exact"),
    ] {
        assert_eq!(taken(&ask(&proxy, "GET", target, "")), expected, "{target}");
    }
}

#[test]
fn the_first_route_that_matches_is_taken() {
    let proxy = named_routes(&[
        ("prefix = \"/a\", methods = [\"POST\", \"PURGE\"]", "methods"),
        ("prefix = \"/a\", headers = [{ name = \"X-Canary\", exact = \"yes\" }]", "canary"),
        ("prefix = \"/\"", "rest"),
    ]);
    assert_eq!(taken(&ask(&proxy, "GET", "/a", "")), "rest");
    assert_eq!(taken(&ask(&proxy, "POST", "/a", "Content-Length: 0\r\n")), "methods");
    assert_eq!(taken(&ask(&proxy, "PURGE", "/a", "")), "methods");
    assert_eq!(taken(&ask(&proxy, "GET", "/a", "x-canary: yes\r\n")), "canary");
    assert_eq!(taken(&ask(&proxy, "GET", "/a", "x-canary: no\r\n")), "rest");
    assert_eq!(taken(&ask(&proxy, "GET", "/b", "x-canary: yes\r\n")), "rest");
}

#[test]
fn header_matchers() {
    for (matcher, fields, expected) in [
        ("", "X-K: anything\r\n", true),
        ("", "", false),
        ("present = true", "X-K:\r\n", true),
        ("present = false", "", true),
        ("present = false", "x-k: 1\r\n", false),
        ("exact = \"a\"", "x-k: a\r\n", true),
        ("exact = \"a\"", "x-k: A\r\n", false),
        ("exact = \"a\", invert = true", "x-k: b\r\n", true),
        ("prefix = \"ab\"", "x-k: abc\r\n", true),
        ("prefix = \"ab\"", "x-k: cab\r\n", false),
        ("suffix = \"bc\"", "x-k: abc\r\n", true),
        ("suffix = \"bc\"", "x-k: bca\r\n", false),
        ("contains = \"b\"", "x-k: abc\r\n", true),
        ("contains = \"d\"", "x-k: abc\r\n", false),
        ("regex = '\\d+'", "x-k: 123\r\n", true),
        ("regex = '\\d+'", "x-k: 123a\r\n", false),
        // RFC 9110 section 5.3: lines of one name are one value, joined by commas.
        ("contains = \"two\"", "x-k: one\r\nx-k: two\r\n", true),
    ] {
        let comma = if matcher.is_empty() { "" } else { ", " };
        let proxy =
            named_routes(&[(&format!("prefix = \"/\", headers = [{{ name = \"x-k\"{comma}{matcher} }}]"), "yes")]);
        let got = taken(&ask(&proxy, "GET", "/", fields));
        assert_eq!(got, if expected { "yes" } else { "404" }, "{matcher} with {fields:?}");
    }
}

#[test]
fn virtual_hosts() {
    let hosts = [
        ("exact", "\"shop.example.com\", \"Mixed.Example.com\""),
        ("long suffix", "\"*.eu.example.com\""),
        ("suffix", "\"*.example.com\""),
        ("prefix", "\"www.*\""),
        ("any", "\"*\""),
    ];
    let hosts: String = hosts
        .iter()
        .map(|(name, domains)| {
            format!(
                "[[listeners.http.virtual_hosts]]\nname = \"{name}\"\ndomains = [{domains}]\n\
                 routes = [{{ match = {{ prefix = \"/\" }}, direct_response = {{ status = 200, body = \"{name}\" }} }}]\n"
            )
        })
        .collect();
    let proxy = Ringway::start(&format!("[[listeners]]\naddress = \"127.0.0.1:0\"\n{hosts}"));
    let mut client = proxy.connect();
    for (host, expected) in [
        ("shop.example.com", "exact"),
        ("SHOP.example.COM", "exact"),
        ("shop.example.com:8080", "exact"),
        ("mixed.example.com", "exact"),
        ("a.eu.example.com", "long suffix"),
        ("a.b.example.com", "suffix"),
        ("example.com", "any"),
        ("www.shop.test", "prefix"),
        ("www.example.com", "suffix"),
        ("127.0.0.1", "any"),
        ("[::1]:80", "any"),
    ] {
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        assert_eq!(client.response().text(), expected, "{host}");
    }
    // RFC 9112 section 3.2.2: the host of an absolute target wins over the field.
    client.send(b"GET http://shop.example.com/ HTTP/1.1\r\nHost: www.shop.test\r\n\r\n");
    assert_eq!(client.response().text(), "exact");
}

#[test]
fn no_virtual_host_is_404() {
    let proxy = Ringway::start(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\n[[listeners.http.virtual_hosts]]\nname = \"one\"\ndomains = [\"one.org\"]\n\
         routes = [{ match = { prefix = \"/\" }, direct_response = { status = 200 } }]",
    );
    assert_eq!(proxy.get("/").status(), 404);
    assert_eq!(proxy.stat("http.ingress_http.no_route"), 1);
}

#[test]
fn filter_chains_by_source() {
    let proxy = Ringway::start(
        r#"
[[listeners]]
address = "127.0.0.1:0"
[[listeners.filter_chains]]
name = "two"
match = { source_prefix_ranges = ["127.0.0.2/32"] }
http.routes = [{ match = { prefix = "/" }, direct_response = { status = 200, body = "two" } }]
[[listeners.filter_chains]]
name = "one"
match = { source_prefix_ranges = ["127.0.0.0/31"] }
http.routes = [{ match = { prefix = "/" }, direct_response = { status = 200, body = "one" } }]
"#,
    );
    let from = |source: &str| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
        let source: std::net::SocketAddr = source.parse().expect("an address");
        socket.bind(&source.into()).expect("bound");
        socket.connect(&proxy.address(0).into()).expect("connected");
        super::support::Connection::new(std::net::TcpStream::from(socket))
    };
    assert_eq!(from("127.0.0.1:0").get("/").text(), "one");
    assert_eq!(from("127.0.0.2:0").get("/").text(), "two");
    // RFC 9110 knows no answer for this: the connection is closed.
    from("127.0.0.3:0").expect_end();
}

#[test]
fn redirects() {
    for (redirect, target, status, location) in [
        ("scheme = \"https\"", "/a?b=c", 301, "https://example.com/a?b=c"),
        ("host = \"other.org\", status = 302", "/a", 302, "http://other.org/a"),
        ("port = 8443, scheme = \"https\"", "/a", 301, "https://example.com:8443/a"),
        ("path = \"/new\", status = 303", "/a?b=c", 303, "http://example.com/new?b=c"),
        ("path = \"/new?d\"", "/a?b=c", 301, "http://example.com/new?d"),
        ("prefix_rewrite = \"/b\", status = 307", "/a/x?y", 307, "http://example.com/b/x?y"),
        ("host = \"h\", strip_query = true, status = 308", "/a?b", 308, "http://h/a"),
    ] {
        let proxy = Ringway::start(&format!(
            "[[listeners]]\naddress = \"127.0.0.1:0\"\nhttp.routes = [{{ match = {{ prefix = \"/a\" }}, redirect = {{ {redirect} }} }}]"
        ));
        let answer = proxy.get(target);
        assert_eq!((answer.status(), answer.field("location")), (status, Some(location)), "{redirect}");
        assert_eq!(answer.field("content-length"), Some("0"));
    }
}

/// The port goes with the scheme or the host that it belonged to.
#[test]
fn redirects_and_the_port_of_the_host() {
    let proxy = Ringway::start(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\nhttp.routes = [\
         { match = { prefix = \"/scheme\" }, redirect = { scheme = \"https\" } },\
         { match = { prefix = \"/host\" }, redirect = { host = \"other.org\" } },\
         { match = { prefix = \"/path\" }, redirect = { path = \"/x\" } },\
         { match = { prefix = \"/port\" }, redirect = { port = 9 } } ]",
    );
    for (host, target, location) in [
        ("example.com:80", "/scheme", "https://example.com/scheme"),
        ("example.com:8080", "/scheme", "https://example.com/scheme"),
        ("example.com:8080", "/host", "http://other.org/host"),
        ("example.com:8080", "/path", "http://example.com:8080/x"),
        ("example.com:8080", "/port", "http://example.com:9/port"),
        ("[::1]:80", "/scheme", "https://[::1]/scheme"),
        ("[::1]", "/port", "http://[::1]:9/port"),
    ] {
        let mut client = proxy.connect();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        assert_eq!(client.response().field("location"), Some(location), "{host} {target}");
    }
}

#[test]
fn direct_responses() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("body.html"), "<p>from a file</p>").expect("written");
    let proxy = Ringway::start(&format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\nhttp.routes = [\
         {{ match = {{ path = \"/json\" }}, direct_response = {{ status = 503, body = '{{}}', content_type = \"application/json\" }} }},\
         {{ match = {{ path = \"/file\" }}, direct_response = {{ status = 200, body_file = \"{}\" }} }},\
         {{ match = {{ path = \"/empty\" }}, direct_response = {{ status = 204 }} }} ]",
        dir.path().join("body.html").display()
    ));
    let json = proxy.get("/json");
    assert_eq!((json.status(), json.text(), json.field("content-type")), (503, "{}", Some("application/json")));
    assert_eq!(json.field("server"), Some("ringway"));
    let file = proxy.get("/file");
    assert_eq!(
        (file.status(), file.text(), file.field("content-type")),
        (200, "<p>from a file</p>", Some("text/plain"))
    );
    // RFC 9110 section 8.6: no Content-Length in a 204.
    let empty = proxy.get("/empty");
    assert_eq!((empty.status(), empty.field("content-length")), (204, None));
    // RFC 9110 section 9.3.2: HEAD has the fields that GET would have, and no body.
    let mut client = proxy.connect();
    client.send(b"HEAD /json HTTP/1.1\r\nHost: h\r\n\r\n");
    let head = client.try_response("HEAD").expect("a response");
    assert_eq!((head.status(), head.field("content-length")), (503, Some("2")));
    assert_eq!(client.get("/json").text(), "{}", "the connection goes on");
}

#[test]
fn rewrites() {
    let origin = Origin::answering(|_| response(200, &[], "ok"));
    let route = |matcher: &str, action: &str| {
        format!("[[listeners.http.routes]]\nmatch = {{ {matcher} }}\nroute = {{ cluster = \"app\", {action} }}\n")
    };
    let routes = [
        route("path_separated_prefix = \"/api\"", "prefix_rewrite = \"/v2\""),
        route("prefix = \"/strip/\"", "prefix_rewrite = \"/\""),
        route("path = \"/one\"", "prefix_rewrite = \"/other\""),
        route("prefix = \"/host\"", "host_rewrite = \"internal.example\""),
        route("prefix = \"/\"", "timeout = \"5s\""),
    ]
    .concat();
    let proxy = Ringway::start(&format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\n{routes}[[clusters]]\nname = \"app\"\nendpoints = [\"{}\"]",
        origin.address
    ));
    let mut client = proxy.connect();
    for (target, seen, original, host) in [
        ("/api/x?q=1", "/v2/x?q=1", Some("/api/x?q=1"), "example.com"),
        ("/api", "/v2", Some("/api"), "example.com"),
        ("/api?q", "/v2?q", Some("/api?q"), "example.com"),
        ("/strip/x", "/x", Some("/strip/x"), "example.com"),
        ("/one?q", "/other?q", Some("/one?q"), "example.com"),
        ("/host/x", "/host/x", None, "internal.example"),
        ("/plain?a=%20b", "/plain?a=%20b", None, "example.com"),
        ("http://example.com/abs?x", "/abs?x", None, "example.com"),
    ] {
        assert_eq!(client.get(target).status(), 200, "{target}");
        let request = origin.last();
        assert_eq!(request.target(), seen, "{target}");
        assert_eq!(request.field("x-envoy-original-path"), original, "{target}");
        assert_eq!(request.field("host"), Some(host), "{target}");
        let replaced = (host != "example.com").then_some("example.com");
        assert_eq!(request.field("x-envoy-original-host"), replaced, "{target}");
    }
}

/// `x-envoy-original-host` tells the client's host where there is one, unless it is not to; and where a redirect is followed, that of
/// an earlier route is not told.
#[test]
fn the_replaced_host_is_told_only_where_it_may_be() {
    let origin = Origin::answering(|request| match request.target() {
        "/moved" => response(302, &["location: http://example.com/here"], "moved"),
        _ => response(200, &[], "ok"),
    });
    let config = |http: &str| {
        format!(
            "[[listeners]]\naddress = \"127.0.0.1:0\"\n[listeners.http]\n{http}\n\
             [[listeners.http.routes]]\nmatch = {{ path = \"/here\" }}\nroute = {{ cluster = \"app\" }}\n\
             [[listeners.http.routes]]\nmatch = {{ prefix = \"/\" }}\n\
             route = {{ cluster = \"app\", host_rewrite = \"inside\", append_x_forwarded_host = true, \
             internal_redirect_policy = {{}} }}\n\
             [[clusters]]\nname = \"app\"\nendpoints = [\"{}\"]",
            origin.address
        )
    };
    let sent = |proxy: &Ringway, request: &str| {
        let mut client = proxy.connect();
        client.send(request.as_bytes());
        assert_eq!(client.response().status(), 200);
        let request = origin.last();
        let told = |name| request.field(name).map(str::to_owned);
        (told("host"), told("x-envoy-original-host"), told("x-forwarded-host"))
    };
    let text = |text: &str| Some(text.to_owned());
    let proxy = Ringway::start(&config(""));
    let named = "GET / HTTP/1.1\r\nHost: a.example\r\nx-envoy-original-host: spoofed\r\n\r\n";
    assert_eq!(sent(&proxy, named), (text("inside"), text("a.example"), text("a.example")));
    assert_eq!(sent(&proxy, "GET / HTTP/1.0\r\n\r\n"), (text("inside"), None, None));
    let moved = "GET /moved HTTP/1.1\r\nHost: a.example\r\n\r\n";
    assert_eq!(sent(&proxy, moved), (text("example.com"), None, text("a.example")));
    let silent = Ringway::start(&config("x_envoy_original_host = false"));
    assert_eq!(sent(&silent, named), (text("inside"), None, text("a.example")));
}

#[test]
fn weights_share_the_requests() {
    let origins = [Origin::answering(|_| response(200, &[], "0")), Origin::answering(|_| response(200, &[], "1"))];
    let proxy = Ringway::start(&format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\nhttp.routes = [{{ match = {{ prefix = \"/\" }}, route = {{ cluster = \"app\" }} }}]\n\
         [[clusters]]\nname = \"app\"\nendpoints = [\"{}\", {{ address = \"{}\", weight = 3 }}]",
        origins[0].address, origins[1].address
    ));
    let mut client = proxy.connect();
    let ones = (0..80).filter(|_| client.get("/").text() == "1").count();
    assert_eq!(ones, 60, "of 80 requests, weight 3 of 4 gets 60 exactly: round robin is no dice");
}

#[test]
fn routes_to_one_cluster_only_reach_that_one() {
    let origin = Origin::answering(|_| response(200, &[], "live"));
    let proxy = Ringway::start(&format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\nhttp.routes = [\
         {{ match = {{ prefix = \"/dead\" }}, route = {{ cluster = \"dead\" }} }},\
         {{ match = {{ prefix = \"/\" }}, route = {{ cluster = \"live\" }} }} ]\n\
         [[clusters]]\nname = \"live\"\nendpoints = [\"{}\"]\n[[clusters]]\nname = \"dead\"\nendpoints = [\"{}\"]",
        origin.address,
        dead_address()
    ));
    assert_eq!(proxy.get("/").text(), "live");
    assert_eq!(proxy.get("/dead").status(), 503);
    assert_eq!(proxy.stat("cluster.live.upstream_rq_total"), 1);
    assert_eq!(proxy.stat("cluster.dead.upstream_cx_connect_fail"), 1);
}
