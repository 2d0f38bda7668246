//! What is done to a request's path and host before a route is looked for.

use super::support::{Origin, Ringway, forwarding, response};

fn routed(http: &str) -> (Origin, Ringway) {
    let origin = Origin::answering(|request| response(200, &[], request.target()));
    let config = format!(
        r#"
[[listeners]]
address = "127.0.0.1:0"
[listeners.http]
{http}
routes = [
  {{ match = {{ path_separated_prefix = "/admin" }}, direct_response = {{ status = 403 }} }},
  {{ match = {{ prefix = "/" }}, route = {{ cluster = "app" }} }},
]
[[clusters]]
name = "app"
endpoints = ["{}"]
"#,
        origin.address
    );
    let proxy = Ringway::start(&config);
    (origin, proxy)
}

/// Every spelling of a guarded path meets the guard, and the upstream gets the path that was matched.
#[test]
fn a_path_has_one_spelling() {
    let (_origin, proxy) = routed("merge_slashes = true\npath_with_escaped_slashes_action = \"unescape_and_forward\"");
    for target in
        ["/admin", "/%61dmin/x", "/x/../admin", "/x/%2e%2E/admin", "//admin", "/x%2f..%2fadmin", "/x\\..\\admin"]
    {
        assert_eq!(proxy.get(target).status(), 403, "{target}");
    }
    for (target, expected) in [
        ("/a/./b//c?x=/../y", "/a/b/c?x=/../y"),
        ("/a%2Fb%20c", "/a/b%20c"),
        ("/a/..", "/"),
        ("/%7Euser", "/~user"),
        ("/plain", "/plain"),
        ("/100%", "/100%"),
        ("/%zz", "/%zz"),
    ] {
        let answer = proxy.get(target);
        assert_eq!((answer.status(), answer.text()), (200, expected), "{target}");
    }
    let mut client = proxy.connect();
    for target in ["/..", "/%2e%2e/admin", "/%00"] {
        let answer = client.get(target);
        assert_eq!(answer.status(), 400, "{target}");
        assert!(!answer.says_close(), "the message itself is sound");
    }
}

/// Without a word in the file: dot segments are resolved, and rows of slashes are one for routes, and only for them.
#[test]
fn by_default_a_guard_is_not_passed_by_with_another_spelling() {
    let (_origin, proxy) = routed("");
    for target in [
        "/admin",
        "//admin",
        "///admin//x",
        "/x/../admin",
        "/x/%2e%2E//admin",
        "/.//admin",
        "/%61dmin",
        "/x\\..\\admin",
    ] {
        assert_eq!(proxy.get(target).status(), 403, "{target}");
    }
    for (target, expected) in [
        ("//a///b?c=//d", "//a///b?c=//d"),
        ("/a/./b//c", "/a/b//c"),
        // Dots first, in what is sent on as well: the upstream cannot take it for `/admin`.
        ("/x//../admin", "/x/admin"),
        ("/adminx//", "/adminx//"),
        ("/a%2Fb/100%", "/a%2Fb/100%"),
        ("/a/..;/admin", "/a/..;/admin"),
    ] {
        let answer = proxy.get(target);
        assert_eq!((answer.status(), answer.text()), (200, expected), "{target}");
    }
    for target in ["/..", "/%00"] {
        assert_eq!(proxy.get(target).status(), 400, "{target}");
    }
}

#[test]
fn switched_off_a_path_is_left_alone() {
    let (_origin, proxy) = routed("normalize_path = false\nmerge_slashes_for_matching = false");
    for target in ["/x/../admin", "//admin", "/%61dmin", "/a%2Fb", "/..", "/%00"] {
        let answer = proxy.get(target);
        assert_eq!((answer.status(), answer.text()), (200, target));
    }
}

/// Conditions on `:path` see what routes see; rewrites keep the slashes that they do not replace.
#[test]
fn conditions_and_rewrites_see_one_slash() {
    let origin = Origin::answering(|request| response(200, &[], request.target()));
    let config = format!(
        r#"
[[listeners]]
address = "127.0.0.1:0"
[listeners.http]
routes = [
  {{ match = {{ prefix = "/", headers = [{{ name = ":path", prefix = "/closed" }}] }}, direct_response = {{ status = 403 }} }},
  {{ match = {{ path_separated_prefix = "/api" }}, route = {{ cluster = "app", prefix_rewrite = "/" }} }},
  {{ match = {{ template = "/item/{{id}}" }}, route = {{ cluster = "app", template_rewrite = "/i/{{id}}" }} }},
  {{ match = {{ regex = "/old/.*" }}, redirect = {{ regex_rewrite = {{ pattern = "^/old/(.*)$", substitution = '\1' }} }} }},
  {{ match = {{ prefix = "/" }}, route = {{ cluster = "app" }} }},
]
[[clusters]]
name = "app"
endpoints = ["{}"]
"#,
        origin.address
    );
    let proxy = Ringway::start(&config);
    assert_eq!(proxy.get("//closed/x").status(), 403);
    for (target, expected) in [
        ("/api/hello", "/hello"),
        ("//api//hello//x", "//hello//x"),
        ("/api", "/"),
        ("//item//7", "/i/7"),
        ("/open//closed", "/open//closed"),
    ] {
        assert_eq!(proxy.get(target).text(), expected, "{target}");
    }
    let mut client = proxy.connect();
    for (target, location) in [("/old/@evil.example/x", "/@evil.example/x"), ("//old//.evil.example", "/.evil.example")]
    {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: good.example\r\n\r\n").as_bytes());
        let answer = client.response();
        assert_eq!(answer.field("location"), Some(&*format!("http://good.example{location}")), "{target}");
    }
}

/// A prefix without its slash, and a rewrite with one, would bring back the dot segments that normalizing took away.
#[test]
fn a_rewrite_makes_no_dot_segments() {
    let origin = Origin::answering(|request| response(200, &[], request.target()));
    let route = "routes = [{ match = { prefix = \"/c\" }, route = { cluster = \"app\", prefix_rewrite = \"/\" } },\n\
                 { match = { prefix = \"/\" }, route = { cluster = \"app\", \
                 regex_rewrite = { pattern = \"x\", substitution = \"\" } } }]";
    for (http, dots) in [("", 400), ("normalize_path = false\n", 200)] {
        let config = forwarding(origin.address, http)
            .replace("routes = [{ match = { prefix = \"/\" }, route = { cluster = \"app\" } }]", route);
        let proxy = Ringway::start(&config);
        for target in ["/c../admin", "/c..", "/c./a", "/a/.x./b", "/a/%2xe./b"] {
            assert_eq!(proxy.get(target).status(), dots, "{target} with {http:?}");
        }
        for (target, expected) in [("/c..a/b", "/..a/b"), ("/c/a", "/a"), ("/ax/.b", "/a/.b")] {
            assert_eq!(proxy.get(target).text(), expected, "{target}");
        }
        assert_eq!(proxy.stat("cluster.app.upstream_rq_total"), if dots == 200 { 8 } else { 3 });
    }
}

#[test]
fn escaped_slashes_are_refused_or_redirected() {
    let (origin, proxy) = routed("path_with_escaped_slashes_action = \"reject_request\"");
    assert_eq!((proxy.get("/a%2fb").status(), proxy.get("/a%5Cb").status()), (400, 400));
    assert_eq!(proxy.get("/a?b%2fc").text(), "/a?b%2fc");
    assert_eq!(origin.requests().len(), 1);
    let (origin, proxy) = routed("path_with_escaped_slashes_action = \"unescape_and_redirect\"");
    let answer = proxy.get("/a/./b%2Fc?d=%2F");
    assert_eq!((answer.status(), answer.field("location")), (307, Some("/a/b/c?d=%2F")));
    assert_eq!(proxy.get("/a/./b").text(), "/a/b");
    assert_eq!(origin.requests().len(), 1);
    // Never to another host.
    for target in ["/%2fevil.example/x", "/%5Cevil.example/x", "/%2f%5c%2fevil.example/x"] {
        let answer = proxy.get(target);
        assert_eq!((answer.status(), answer.field("location")), (307, Some("/evil.example/x")), "{target}");
    }
}

/// RFC 9112 section 3.2.4: what is about the host has no path. Its route is that of `/`, and it goes on as `*`.
#[test]
fn an_asterisk_is_routed_as_the_root() {
    let (origin, proxy) = routed("merge_slashes = true");
    let mut client = proxy.connect();
    for target in ["*", "http://example.com"] {
        client.send(format!("OPTIONS {target} HTTP/1.1\r\nHost: example.com\r\n\r\n").as_bytes());
        let answer = client.response();
        assert_eq!((answer.status(), answer.text()), (200, "*"), "{target}");
    }
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn hosts_are_made_plain() {
    let origin = Origin::answering(|request| response(200, &[], request.field("host").unwrap_or_default()));
    let config = format!(
        r#"
[[listeners]]
address = "127.0.0.1:0"
[listeners.http]
strip_matching_host_port = true
strip_trailing_host_dot = true
[[listeners.http.virtual_hosts]]
name = "shop"
domains = ["shop.example"]
routes = [{{ match = {{ prefix = "/" }}, route = {{ cluster = "app" }} }}]
[[clusters]]
name = "app"
endpoints = ["{}"]
"#,
        origin.address
    );
    let proxy = Ringway::start(&config);
    let port = proxy.address(0).port();
    let asked = |host: &str| {
        let mut client = proxy.connect();
        client.send(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        let answer = client.response();
        (answer.status(), answer.text().to_owned())
    };
    let shop = (200, "shop.example".to_owned());
    assert_eq!(asked("shop.example"), shop);
    assert_eq!(asked(&format!("shop.example:{port}")), shop);
    assert_eq!(asked("shop.example."), shop);
    assert_eq!(asked(&format!("shop.example.:{port}")), shop);
    assert_eq!(asked("other.example").0, 404);
}
