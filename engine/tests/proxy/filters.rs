//! The filter chain: its order, its effect on answers from everywhere, overrides, and files that are refused.

use super::support::{Message, Origin, Ringway, Setup, forwarding, response};
use std::process::Command;

pub fn origin() -> Origin {
    Origin::answering(|_| response(200, &[], "ok"))
}

/// A proxy before `origin` with these filters and routes, and an access log `log` of status, flags and details.
pub fn filtering(origin: &Origin, filters: &str, routes: &str) -> Ringway {
    start(origin, filters, routes, "", "")
}

/// As `filtering`, with lines for `http` and for `[runtime]`.
pub fn start(origin: &Origin, filters: &str, routes: &str, http: &str, runtime: &str) -> Ringway {
    let log = "{ path = \"DIR/log\", format = \"%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\" }";
    let http = format!("http_filters = [{filters}]\naccess_log = [{log}]\n{http}\n");
    let mut config = forwarding(origin.address, &http);
    if !routes.is_empty() {
        let (start, end) = (config.find("routes = ").expect("routes"), config.find("http_filters").expect("filters"));
        config.replace_range(start..end, &format!("routes = [{routes}]\n"));
    }
    Setup::new(&config).runtime("access_log_flush_interval = \"5ms\"").runtime(runtime).start()
}

/// What `ringway check` says of a file with these filters and this override in a route.
pub fn refusal(filters: &str, overrides: &str) -> String {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("wrong.toml");
    let config = forwarding(super::support::dead_address(), &format!("http_filters = [{filters}]\n"));
    let config =
        config.replace("cluster = \"app\" } }]", &format!("cluster = \"app\" }}, filters = {{ {overrides} }} }}]"));
    std::fs::write(&file, config).expect("written");
    let checked = Command::new(env!("CARGO_BIN_EXE_ringway")).arg("check").arg(&file).output().expect("it starts");
    assert_eq!(checked.status.code(), Some(1), "{filters} | {overrides}");
    String::from_utf8(checked.stderr).expect("a text")
}

pub fn get(proxy: &Ringway, target: &str, fields: &str) -> Message {
    let mut client = proxy.connect();
    client.send(format!("GET {target} HTTP/1.1\r\nHost: example.com\r\n{fields}\r\n").as_bytes());
    client.response()
}

const ABORT: &str = "{ fault = { abort = { http_status = 503, percent = 100 } } }";
const LIMIT: &str = "{ local_ratelimit = { stat_prefix = \"limit\", x_ratelimit_headers = true, \
                     token_bucket = { max_tokens = 2, fill_interval = \"1h\" } } }";

#[test]
fn requests_pass_in_the_order_of_the_file() {
    let origin = origin();
    let proxy = filtering(&origin, &format!("{LIMIT}, {ABORT}"), "");
    for (status, remaining) in [(503, "1"), (503, "0"), (429, "0")] {
        let answer = proxy.get("/");
        assert_eq!((answer.status(), answer.field("x-ratelimit-remaining")), (status, Some(remaining)));
    }
    let proxy = filtering(&origin, &format!("{ABORT}, {LIMIT}, {{ router = {{}} }}"), "");
    for _ in 0..4 {
        let answer = proxy.get("/");
        assert_eq!((answer.status(), answer.field("x-ratelimit-remaining")), (503, None));
    }
    assert_eq!(proxy.stat("limit.http_local_rate_limit.enabled"), 0);
    assert!(origin.requests().is_empty());
}

/// Whatever answers, the filters that saw the request see the answer.
#[test]
fn answers_of_all_kinds_pass_the_filters() {
    let origin = origin();
    let limit = LIMIT.replace("max_tokens = 2", "max_tokens = 100");
    let dead = super::support::dead_address();
    let routes = "{ match = { path = \"/direct\" }, direct_response = { status = 204 } }, \
                  { match = { path = \"/redirect\" }, redirect = { path = \"/\" } }, \
                  { match = { path = \"/dead\" }, route = { cluster = \"dead\" } }, \
                  { match = { prefix = \"/app\" }, route = { cluster = \"app\" } }";
    let config = forwarding(origin.address, &format!("http_filters = [{limit}]\n"));
    let (start, end) = (config.find("routes = ").expect("routes"), config.find("http_filters").expect("filters"));
    let mut config = config;
    config.replace_range(start..end, &format!("routes = [{routes}]\n"));
    let proxy = Ringway::start(&format!("{config}[[clusters]]\nname = \"dead\"\nendpoints = [\"{dead}\"]\n"));
    let mut left = 100;
    for (target, status) in [("/app", 200), ("/direct", 204), ("/redirect", 301), ("/dead", 503), ("/none", 404)] {
        let answer = proxy.get(target);
        left -= 1;
        assert_eq!(answer.status(), status, "{target}");
        assert_eq!(answer.field("x-ratelimit-limit"), Some("100"), "{target}");
        assert_eq!(answer.field("x-ratelimit-remaining"), Some(left.to_string().as_str()), "{target}");
        assert!(answer.field("server").is_some() && answer.field("date").is_some(), "{target}");
    }
    // No filter saw this one.
    let mut client = proxy.connect();
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n");
    let answer = client.response();
    assert_eq!((answer.status(), answer.field("x-ratelimit-limit")), (400, None));
}

#[test]
fn routes_and_virtual_hosts_override_the_chain() {
    let origin = origin();
    let config = format!(
        r#"
[[listeners]]
address = "127.0.0.1:0"
[listeners.http]
http_filters = [{ABORT}]
[[listeners.http.virtual_hosts]]
name = "off"
domains = ["off.example"]
filters = {{ fault = "off" }}
routes = [
  {{ match = {{ path = "/on" }}, filters = {{ fault = {{ abort = {{ http_status = 418, percent = 100 }} }} }}, route = {{ cluster = "app" }} }},
  {{ match = {{ path = "/half" }}, route = {{ weighted_clusters = [{{ cluster = "app", weight = 1 }}, {{ cluster = "app2", weight = 1, filters = {{ fault = {{ abort = {{ http_status = 417, percent = 100 }} }} }} }}] }} }},
  {{ match = {{ prefix = "/" }}, route = {{ cluster = "app" }} }},
]
[[listeners.http.virtual_hosts]]
name = "rest"
domains = ["*"]
routes = [
  {{ match = {{ path = "/off" }}, filters = {{ fault = "off" }}, route = {{ cluster = "app" }} }},
  {{ match = {{ prefix = "/" }}, route = {{ cluster = "app" }} }},
]
[[clusters]]
name = "app"
endpoints = ["{address}"]
[[clusters]]
name = "app2"
endpoints = ["{address}"]
"#,
        address = origin.address
    );
    let proxy = Ringway::start(&config);
    let status = |host: &str, target: &str| {
        let mut client = proxy.connect();
        client.send(format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        client.response().status()
    };
    assert_eq!((status("off.example", "/"), status("off.example", "/on")), (200, 418));
    assert_eq!((status("example", "/"), status("example", "/off")), (503, 200));
    let halves: Vec<_> = (0..64).map(|_| status("off.example", "/half")).collect();
    assert!(halves.contains(&200) && halves.contains(&417), "{halves:?}");
    assert!(halves.iter().all(|status| matches!(status, 200 | 417)), "{halves:?}");
}

#[test]
fn what_is_refused() {
    for (filters, overrides, complaint) in [
        ("{ router = {} }, { buffer = { max_request_bytes = \"1KiB\" } }", "", "router is not the last filter"),
        ("{ buffr = { max_request_bytes = \"1KiB\" } }", "", "buffer"),
        ("{ buffer = { max_request_bytes = \"1KiB\" } }, { buffer = { max_request_bytes = \"1KiB\" } }", "", "twice"),
        ("{}", "", "names no filter"),
        ("", "buffer = \"off\"", "there is no filter `buffer` in `http_filters`"),
        ("{ buffer = { max_request_bytes = \"1KiB\" } }", "buffer = \"on\"", "off"),
    ] {
        let said = refusal(filters, overrides);
        assert!(said.contains(complaint), "{filters} | {overrides}: {said}");
    }
}

/// A reload changes the chain of connections that are open.
#[test]
fn a_reload_takes_effect() {
    let origin = origin();
    let proxy = Ringway::before(origin.address, "");
    let mut client = proxy.connect();
    assert_eq!(client.get("/").status(), 200);
    proxy.write_config(&forwarding(origin.address, &format!("http_filters = [{ABORT}]\n")));
    assert!(proxy.reload());
    super::support::eventually("the new chain holds", || client.get("/").status() == 503);
    proxy.write_config(&forwarding(origin.address, ""));
    assert!(proxy.reload());
    super::support::eventually("the old chain holds", || client.get("/").status() == 200);
}
