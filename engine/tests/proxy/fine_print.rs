//! Values that the RFCs leave to a careful reading: later versions, empty lines, odd statuses, and what is told of requests
//! that never became whole.

use super::access_log::logging;
use super::cli::ringway;
use super::support::{Origin, Ringway, Setup, dead_address, forwarding, response};

#[test]
fn a_later_minor_version_is_served_as_1_1() {
    let origin = Origin::answering(|request| response(200, &[], &request.start));
    let proxy = Ringway::before(origin.address, "");
    let mut client = proxy.connect();
    for version in ["HTTP/1.2", "HTTP/1.9", "HTTP/1.1"] {
        client.send(format!("POST /x {version}\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc").as_bytes());
        let answer = client.response();
        assert_eq!((answer.status(), answer.text()), (200, "POST /x HTTP/1.1"), "{version}");
        assert!(answer.start.starts_with("HTTP/1.1 "), "{}", answer.start);
    }
    assert_eq!(origin.last().body, b"abc");
}

#[test]
fn up_to_two_empty_lines_before_a_request_are_skipped() {
    let origin = Origin::answering(|request| response(200, &[], request.target()));
    let proxy = Ringway::before(origin.address, "");
    let mut client = proxy.connect();
    for lines in ["\r\n", "\r\n\r\n", ""] {
        client.send(format!("{lines}GET /x HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
        assert_eq!(client.response().text(), "/x", "{lines:?}");
    }
    client.send(b"\r\n\r\n\r\nGET /x HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.response().status(), 400);
}

/// RFC 9110 section 15: the client may know more than the proxy.
#[test]
fn a_status_above_599_is_passed_on_and_counts_as_5xx() {
    let origin = Origin::answering(|request| response(request.target()[1..].parse().expect("a status"), &[], "a body"));
    let retried = "route = { cluster = \"app\", retry_policy = { retry_on = [\"5xx\"] } }";
    let config = forwarding(origin.address, "").replace("route = { cluster = \"app\" }", retried);
    let proxy = Ringway::start(&config);
    for status in [600, 799, 999] {
        let answer = proxy.get(&format!("/{status}"));
        assert_eq!((answer.status(), answer.text()), (status, "a body"));
    }
    assert_eq!(proxy.stat("http.ingress_http.downstream_rq_5xx"), 3);
    assert_eq!(proxy.stat("cluster.app.upstream_rq_retry"), 3, "they are retried as a 5xx is");
}

#[test]
fn what_is_known_of_a_refused_request_is_logged() {
    let origin = Origin::answering(|_| response(200, &[], ""));
    let format = "%REQ(:METHOD)% %REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %REQ(x-a)%";
    let log = format!("{{ path = \"DIR/log\", format = \"{format}\" }}");
    let proxy = logging(origin.address, &log);
    let long = "x".repeat(20_000);
    let requests = [
        ("GET /a?b HTTP/1.1\r\nHost: h\r\nbad line\r\n\r\n", "GET /a?b 400 http1.missing_colon -"),
        ("POST /c HTTP/1.1\r\nHost: h\r\nHost: h\r\n\r\n", "POST /c 400 http1.duplicate_host_header -"),
        ("GET /d#e HTTP/1.1\r\nHost: h\r\n\r\n", "GET /d#e 400 http1.fragment_in_url -"),
        ("TRACE /f HTTP/1.1\r\nHost: h\r\n\r\n", "TRACE /f 405 http1.trace_not_allowed -"),
        ("GET /g HTTP/3.0\r\nHost: h\r\n\r\n", "GET /g 505 http1.version_not_supported -"),
        ("G(T /h HTTP/1.1\r\nHost: h\r\n\r\n", "- - 400 http1.invalid_method -"),
        ("GET /i HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nX-A: 2\r\n\r\n", "GET /i 200 via_upstream 1,2"),
    ];
    for (at, (request, line)) in requests.into_iter().enumerate() {
        let mut client = proxy.connect();
        client.send(request.as_bytes());
        client.response();
        assert_eq!(proxy.log_lines("log", at + 1)[at], line);
    }
    let mut client = proxy.connect();
    client.send(format!("GET /{long} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
    assert_eq!(client.response().status(), 414);
    let last = proxy.log_lines("log", 8).remove(7);
    assert!(last.starts_with("GET /xxx") && last.ends_with(" 414 http1.url_too_long -"), "{last}");
}

/// The request is served without it, and counter, details and log say so.
#[test]
fn an_upgrade_that_is_not_served_is_told() {
    let origin = Origin::answering(|_| response(426, &[], ""));
    let proxy = logging(origin.address, "{ path = \"DIR/log\", format = \"%RESPONSE_CODE% %RESPONSE_CODE_DETAILS%\" }");
    let websocket = "Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n";
    let requests = [
        ("HTTP/1.1", websocket, "426 via_upstream{upgrade_dropped}"),
        ("HTTP/1.1", "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n", "426 via_upstream{upgrade_dropped}"),
        // None of these asks for one.
        ("HTTP/1.1", "Upgrade: websocket\r\n", "426 via_upstream"),
        ("HTTP/1.1", "Connection: Upgrade\r\n", "426 via_upstream"),
        ("HTTP/1.0", websocket, "426 via_upstream"),
    ];
    for (at, (version, fields, line)) in requests.into_iter().enumerate() {
        let mut client = proxy.connect();
        client.send(format!("GET / {version}\r\nHost: h\r\n{fields}\r\n").as_bytes());
        assert_eq!(client.response().status(), 426);
        assert_eq!(proxy.log_lines("log", at + 1)[at], line, "{fields}");
        assert_eq!(origin.last().field("upgrade"), None);
    }
    assert_eq!(proxy.stat("http.ingress_http.downstream_rq_ws_on_non_ws_route"), 2);
    proxy.wait_for_log("upgrade=websocket");
    assert_eq!(proxy.stderr().matches("it is served as plain HTTP").count(), 1, "{}", proxy.stderr());
}

/// Also where the proxy answers itself, whatever it says.
#[test]
fn an_upgrade_that_is_not_served_is_told_of_replies_of_the_proxys_own() {
    let config = format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\n[listeners.http]\n\
         access_log = [{{ path = \"DIR/log\", format = \"%RESPONSE_CODE% %RESPONSE_CODE_DETAILS%\" }}]\n\
         routes = [{{ match = {{ path = \"/direct\" }}, direct_response = {{ status = 200 }} }},\n\
         {{ match = {{ path = \"/moved\" }}, redirect = {{ path = \"/\" }} }},\n\
         {{ match = {{ path = \"/dead\" }}, route = {{ cluster = \"dead\" }} }},\n\
         {{ match = {{ path = \"/empty\" }}, route = {{ cluster = \"empty\" }} }}]\n\
         [[clusters]]\nname = \"dead\"\nendpoints = [\"{}\"]\n\
         [[clusters]]\nname = \"empty\"\ndiscovery = \"strict_dns\"\nendpoints = [\"no.such.name.invalid:80\"]\ndns = {{ resolvers = [\"{}\"] }}\n",
        dead_address(),
        dead_address(),
    );
    let proxy = Setup::new(&config).runtime("access_log_flush_interval = \"5ms\"").start();
    let requests = [
        ("/direct", 200, "direct_response{upgrade_dropped}"),
        ("/moved", 301, "direct_response{upgrade_dropped}"),
        ("/none", 404, "route_not_found{upgrade_dropped}"),
        ("/empty", 503, "no_healthy_upstream{dns}{upgrade_dropped}"),
        ("/dead", 503, "{upgrade_dropped}"),
    ];
    for (at, (path, status, details)) in requests.into_iter().enumerate() {
        let mut client = proxy.connect();
        let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\n";
        client.send(format!("GET {path} HTTP/1.1\r\nHost: h\r\n{upgrade}\r\n").as_bytes());
        assert_eq!(client.response().status(), status, "{path}");
        let line = proxy.log_lines("log", at + 1).remove(at);
        assert!(line.starts_with(&format!("{status} ")) && line.ends_with(details), "{path}: {line}");
    }
}

/// What a request may cost is bounded, also where a pattern is such that a text can be made for it.
#[test]
fn a_request_that_would_cost_too_much_to_compare_is_refused() {
    let guard = "{ match = { regex = '.*a.{100}b.*' }, direct_response = { status = 403 } }";
    let all = "{ match = { prefix = \"/\" }, direct_response = { status = 200 } }";
    let log = "access_log = [{ path = \"DIR/log\", format = \"%RESPONSE_CODE% %RESPONSE_CODE_DETAILS%\" }]";
    let config =
        format!("[[listeners]]\naddress = \"127.0.0.1:0\"\n[listeners.http]\n{log}\nroutes = [{guard}, {all}]\n");
    let proxy = Setup::new(&config).runtime("access_log_flush_interval = \"5ms\"").start();
    let mut client = proxy.connect();
    assert_eq!(client.get(&format!("/{}", "a".repeat(90))).status(), 200);
    assert_eq!(client.get(&format!("/a{}b", "x".repeat(100))).status(), 403);
    // Whether the guard would have taken it is not known.
    assert_eq!(client.get(&format!("/{}", "a".repeat(10_000))).status(), 431);
    assert_eq!(client.get("/").status(), 200, "the connection stays");
    assert_eq!(proxy.log_lines("log", 4)[2], "431 match_cost_exceeded");
    assert_eq!(proxy.stat("http.ingress_http.downstream_rq_match_cost_exceeded"), 1);
}

#[test]
fn check_warns_of_patterns_that_cost_much() {
    let check = |pattern: &str| {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("config.toml");
        let route = format!("{{ match = {{ regex = '{pattern}' }}, direct_response = {{ status = 403 }} }}");
        std::fs::write(&file, format!("[[listeners]]\naddress = \"127.0.0.1:1\"\nhttp.routes = [{route}]\n"))
            .expect("written");
        let checked = ringway(&["check", file.to_str().expect("text")]);
        (checked.status.code(), String::from_utf8(checked.stderr).expect("text"))
    };
    assert_eq!(check(".*\\.(?:jpg|png)"), (Some(0), String::new()));
    let (code, said) = check(".*a.{100}b.*");
    assert!(code == Some(0) && said.starts_with("warning: ") && said.contains("status 431"), "{said}");
    let (code, said) = check(".*a.{3000}b.*");
    assert!(code == Some(1) && said.contains("too complex"), "{said}");
}
