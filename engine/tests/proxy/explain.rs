//! `ringway explain` and POST /explain: what they say is what the proxy does, and where it stands in the file.

use super::support::{Ringway, Setup};
use std::path::Path;
use std::process::{Command, Output};

const CONFIG: &str = r#"
[[listeners]]
name = "front"
address = "127.0.0.1:0"

[listeners.http]
xff_trusted_cidrs = ["127.0.0.0/8"]
internal_addresses = ["10.0.0.0/8"]
http_filters = [{ buffer = { max_request_bytes = "1KiB" } }, { router = {} }]
request_headers_to_add = [{ name = "x-edge", value = "1" }]

[[listeners.http.virtual_hosts]]
name = "shop"
domains = ["*.shop.example"]

[[listeners.http.virtual_hosts.routes]]
name = "post"
match = { prefix = "/", methods = ["POST"] }
direct_response = { status = 200, body = "post" }

[[listeners.http.virtual_hosts.routes]]
name = "canary"
match = { prefix = "/", headers = [{ name = "x-canary", exact = "yes" }] }
direct_response = { status = 200, body = "canary" }

[[listeners.http.virtual_hosts.routes]]
name = "files"
match = { regex = '/files/\d+' }
direct_response = { status = 200, body = "files" }

[[listeners.http.virtual_hosts.routes]]
name = "moved"
match = { path_separated_prefix = "/old" }
redirect = { prefix_rewrite = "/new", status = 308 }

[[listeners.http.virtual_hosts]]
name = "app"
domains = ["app.example"]

[[listeners.http.virtual_hosts.routes]]
name = "api"
match = { prefix = "/api/" }
route = { cluster = "app", prefix_rewrite = "/v2/", timeout = "3s", retry_policy = { retry_on = ["5xx"], num_retries = 2 } }

[[clusters]]
name = "app"
endpoints = ["127.0.0.1:9"]
lb_policy = "least_request"
"#;

fn line_of(config: &str, needle: &str) -> usize {
    1 + config.lines().position(|line| line.contains(needle)).unwrap_or_else(|| panic!("{needle} in {config}"))
}

fn explain(file: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringway"));
    command.arg("explain").arg(file).args(args).output().expect("it starts")
}

fn told(file: &Path, args: &[&str], code: i32) -> String {
    let output = explain(file, args);
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{args:?}: {error}");
    assert!(error.is_empty(), "{args:?}: {error}");
    String::from_utf8(output.stdout).expect("text")
}

fn with_file(check: impl FnOnce(&Path)) {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("proxy.toml");
    std::fs::write(&file, CONFIG).expect("written");
    check(&file);
}

/// That the text has a line that begins with the label and holds all of the words.
#[track_caller]
fn assert_line(text: &str, label: &str, words: &[&str]) {
    let is_it = |line: &&str| line.starts_with(label) && words.iter().all(|word| line.contains(word));
    assert!(text.lines().any(|line| is_it(&line)), "{label} with {words:?} is missing in:\n{text}");
}

#[test]
fn every_step_has_its_line_in_the_file() {
    with_file(|file| {
        let text = told(file, &["GET", "http://app.example/api/../api/x?y=1", "--from", "192.0.2.7"], 0);
        let at = |needle: &str| format!("proxy.toml:{})", line_of(CONFIG, needle));
        assert_line(&text, "request", &["GET", "http://app.example/api/../api/x?y=1"]);
        assert_line(&text, "listener", &["front", &at("[[listeners]]")]);
        assert_line(&text, "client", &["192.0.2.7", "outside"]);
        assert_line(&text, "path", &["/api/x?y=1 (it was /api/../api/x?y=1)"]);
        assert_line(&text, "host", &["app:", "app.example", "the whole name"]);
        assert_line(&text, "taken", &["route 1", "\"api\""]);
        assert_line(&text, "cluster", &["app: static, 1 endpoint(s), least_request", "5s"]);
        assert_line(&text, "path", &["becomes /v2/x?y=1"]);
        assert_line(&text, "timeout", &["3s"]);
        assert_line(&text, "retries", &["up to 2 on 5xx"]);
        assert_line(
            &text,
            "filter",
            &["buffer: { max_request_bytes = \"1KiB\" }", &at("buffer = { max_request_bytes = \"1KiB\" }")],
        );
        assert_line(&text, "header", &["request header x-edge is added", "1, by the connection manager"]);
    });
}

#[test]
fn each_route_that_was_tried_says_what_failed() {
    with_file(|file| {
        let text = told(file, &["GET", "/files/12x", "-H", "Host: a.shop.example:80", "-H", "X-Canary: no"], 1);
        assert_line(&text, "host", &["shop:", "\"*.shop.example\"", "longest suffix"]);
        assert_line(&text, "route", &["1 \"post\": no: wants method POST; got GET"]);
        assert_line(&text, "route", &["2 \"canary\": no: wants header x-canary: \"yes\"; got \"no\""]);
        assert_line(&text, "route", &["3 \"files\": no: wants path matching", "got \"/files/12x\""]);
        assert_line(&text, "route", &["4 \"moved\": no: wants path \"/old\" or below it; got \"/files/12x\""]);
        assert_line(&text, "result", &["404"]);
        let text = told(file, &["GET", "http://other.example/"], 1);
        assert_line(&text, "host", &["no virtual host", "other.example"]);
        let text = told(file, &["GET", "http://a.shop.example/old/x?y"], 0);
        assert_line(&text, "redirect", &["308", "http://a.shop.example/new/x?y"]);
    });
}

/// Only requests from inside may say how long and how often. From a trusted proxy, the client is the one that x-forwarded-for
/// says.
#[test]
fn what_a_request_says_about_retries_counts_from_inside() {
    with_file(|file| {
        let ask = |client: &str| {
            let forwarded = format!("x-forwarded-for: {client}");
            let asked =
                ["-H", "x-envoy-max-retries: 7", "-H", "x-envoy-upstream-rq-timeout-ms: 1500", "-H", &forwarded];
            told(file, &[&["GET", "http://app.example/api/"], &asked[..]].concat(), 0)
        };
        let inside = ask("10.0.0.1");
        assert_line(&inside, "client", &["10.0.0.1", "internal"]);
        assert_line(&inside, "retries", &["up to 3"]);
        assert_line(&inside, "timeout", &["1.5s"]);
        let outside = ask("192.0.2.9");
        assert_line(&outside, "client", &["192.0.2.9", "outside"]);
        assert_line(&outside, "retries", &["up to 2"]);
        assert_line(&outside, "timeout", &["3s"]);
    });
}

#[test]
fn questions_that_make_no_sense_exit_with_2() {
    with_file(|file| {
        for args in [
            &["GET"][..],
            &["GET", "no-url"],
            &["G T", "/"],
            &["GET", "ftp://h/"],
            &["GET", "/", "-H", "no colon"],
            &["GET", "/", "--from", "nowhere"],
            &["GET", "/", "--listener", "none"],
        ] {
            let refused = explain(file, args);
            assert_eq!(refused.status.code(), Some(2), "{args:?}");
            assert!(refused.stdout.is_empty() && !refused.stderr.is_empty(), "{args:?}");
        }
        let refused = explain(Path::new("/nonexistent/file.toml"), &["GET", "/"]);
        assert_eq!(refused.status.code(), Some(1));
    });
}

/// A share is taken by some requests, and the others go on.
#[test]
fn shares_are_told_apart() {
    let config = r#"
[[listeners]]
address = "127.0.0.1:0"
[[listeners.http.routes]]
match = { prefix = "/", percent = 25 }
direct_response = { status = 201 }
[[listeners.http.routes]]
match = { prefix = "/", percent = 10 }
direct_response = { status = 202 }
[[listeners.http.routes]]
match = { prefix = "/" }
direct_response = { status = 203 }
"#;
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("proxy.toml");
    std::fs::write(&file, config).expect("written");
    let text = told(&file, &["GET", "/"], 0);
    assert_line(&text, "route", &["1: yes, for 25 % of such requests"]);
    assert_line(&text, "route", &["2: no: it matches, but its share"]);
    assert_line(&text, "route", &["3: yes, for 75 % of such requests"]);
    assert_line(&text, "response", &["201"]);
    assert_line(&text, "response", &["203"]);
    assert!(!text.contains("202"), "{text}");
}

fn post(proxy: &Ringway, target: &str, body: &str) -> (u16, String) {
    let mut connection = proxy.admin_connection();
    let length = body.len();
    let head = format!("POST {target} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n{body}");
    connection.send(head.as_bytes());
    let answer = connection.try_response("POST").expect("the admin endpoint answers");
    (answer.status(), answer.text().to_owned())
}

#[test]
fn the_admin_endpoint_says_the_same() {
    let proxy = Setup::new(CONFIG).start();
    let file = proxy.file("ringway.toml");
    let url = "http://a.shop.example/files/7";
    let expected = told(&file, &["GET", url, "-H", "x-canary: yes", "-H", "a: b"], 0);
    assert_line(&expected, "taken", &["\"canary\""]);
    let (status, text) = post(&proxy, &format!("/explain?url={url}&header=x-canary:+yes&header=a%3Ab"), "");
    assert_eq!((status, text.as_str()), (200, expected.as_str()));
    let json = format!(r#"{{"method": "GET", "url": "{url}", "headers": {{"x-canary": "yes", "a": ["b"]}}}}"#);
    assert_eq!(post(&proxy, "/explain", &json), (200, expected));
    // No route is an answer, too.
    let (status, text) = post(&proxy, "/explain", r#"{"url": "http://other.example/"}"#);
    assert_eq!(status, 200);
    assert_line(&text, "result", &["404"]);
    for (target, body) in [
        ("/explain", ""),
        ("/explain", "{"),
        ("/explain", "{\"url\": \"no-url\"}"),
        ("/explain?url=/&color=red", ""),
        ("/explain?url=/", "{\"url\": \"/\"}"),
        ("/explain?url=/&listener=none", ""),
    ] {
        let (status, text) = post(&proxy, target, body);
        assert_eq!(status, 400, "{target} {body}: {text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
    assert_eq!(proxy.admin("GET", "/explain?url=/").status(), 405);
}

/// A URL has a port, by which a client would choose the listener; and nothing is shown as Rust prints it.
#[test]
fn the_port_chooses_the_listener_and_settings_are_as_written() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("ports.toml");
    let config = r#"
[[listeners]]
name = "first"
address = "127.0.0.1:18001"
http.routes = [{ match = { prefix = "/" }, route = { cluster = "app", timeout = "0.25s", hash_policy = [{ cookie = { name = "sticky", ttl = "1.5s" } }] } }]
http.response_headers_to_add = [{ name = "x-peer", value = "%UPSTREAM_HOST% at %REQ(:PATH)%" }]

[[listeners]]
name = "second"
address = "127.0.0.1:18002"
http.routes = [{ match = { prefix = "/" }, direct_response = { status = 200 } }]

[[listeners]]
name = "plain"
address = "127.0.0.1:80"
http.routes = [{ match = { prefix = "/" }, direct_response = { status = 200 } }]

[[clusters]]
name = "app"
endpoints = ["127.0.0.1:9"]
lb_policy = "ring_hash"
"#;
    std::fs::write(&file, config).expect("written");
    for (args, name) in [
        (&["GET", "http://a.example:18002/"][..], "second"),
        (&["GET", "http://a.example:18001/?x:18002"], "first"),
        (&["GET", "http://[::1]/"], "plain"),
        (&["GET", "http://a.example:9/"], "first"),
        (&["GET", "/"], "first"),
        (&["GET", "http://a.example:18002/", "--listener", "first"], "first"),
    ] {
        assert_line(&told(&file, args, 0), "listener", &[name]);
    }
    let text = told(&file, &["GET", "http://a.example:18001/"], 0);
    assert_line(&text, "timeout", &["0.25s"]);
    assert_line(&text, "hash", &["{ cookie = { name = \"sticky\", ttl = \"1.5s\" } }"]);
    assert_line(&text, "header", &["x-peer", ": %UPSTREAM_HOST% at %REQ(:PATH)%"]);
}

/// What is explained is what happens.
#[test]
fn the_proxy_does_what_was_explained() {
    let proxy = Setup::new(CONFIG).start();
    for (method, target, canary) in [
        ("GET", "/files/1", "yes"),
        ("GET", "/files/1", "no"),
        ("POST", "/files/1", "yes"),
        ("GET", "/files/x", "no"),
        ("GET", "/a/../files/22", "no"),
        ("GET", "/oldest", "no"),
    ] {
        let fields = format!("Host: a.shop.example\r\nX-Canary: {canary}\r\nContent-Length: 0\r\n");
        let mut client = proxy.connect();
        client.send(format!("{method} {target} HTTP/1.1\r\n{fields}\r\n").as_bytes());
        let answer = client.try_response(method).expect("a response");
        let question =
            format!("/explain?method={method}&url={target}&header=host:a.shop.example&header=x-canary:{canary}");
        let (status, text) = post(&proxy, &question, "");
        assert_eq!(status, 200);
        match answer.status() {
            200 => assert_line(&text, "taken", &[&format!("{:?}", answer.text())]),
            status => assert_line(&text, "result", &[&status.to_string()]),
        }
    }
}
