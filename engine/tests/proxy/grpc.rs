//! Calls of gRPC by real clients and servers: grpcio (the C core) and grpc-js.

use crate::support::{Ringway, Server, eventually, must_run, program, quoted};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;

/// Where .ci/install puts packages.
pub fn peers_directory() -> PathBuf {
    let test = std::env::current_exe().expect("this test");
    test.ancestors().nth(3).expect("the target directory").join("peers")
}

/// The same, where it has run.
pub fn peers() -> PathBuf {
    let peers = peers_directory();
    assert!(peers.is_dir(), "{} is missing; install it: .ci/install", peers.display());
    peers
}

fn script(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/support/grpc").join(name)
}

pub fn python(name: &str) -> Command {
    let mut command = program("python3");
    command.env("PYTHONPATH", peers().join("python")).arg(script(name));
    command
}

/// A program in JavaScript.
pub fn node_script(name: &str) -> Command {
    let mut command = program("node");
    command.env("NODE_PATH", peers().join("node/node_modules")).arg(script(name));
    command
}

fn node(what: &str) -> Command {
    let mut command = node_script("peer.js");
    command.arg(what);
    command
}

fn cancelled(server: &Server) -> usize {
    server.lines.lock().unwrap().iter().filter(|line| *line == "cancelled").count()
}

/// A proxy before a cluster of these endpoints, which speak HTTP/2; further lines for the listener's `http`, and for the cluster.
pub fn proxy(endpoints: &[SocketAddr], http: &str, cluster: &str) -> Ringway {
    Ringway::start(&format!(
        r#"
[[listeners]]
address = "127.0.0.1:0"
[listeners.http]
{http}
[[clusters]]
name = "app"
endpoints = [{}]
protocol = "http2"
{cluster}
"#,
        quoted(endpoints)
    ))
}

pub const ALL: &str = "routes = [{ match = { prefix = \"/\" }, route = { cluster = \"app\" } }]";

/// Unary calls and streams in all directions, metadata, statuses with their details, messages of all sizes, deadlines and
/// cancelled calls.
#[test]
fn calls_through_the_proxy_are_those_without_it() {
    let servers = [Server::start(python("server.py")), Server::start(node("serve"))];
    let proxies = servers.each_ref().map(|server| proxy(&[server.address], ALL, ""));
    let call = |mut command: Command, to: SocketAddr| must_run(command.arg(to.to_string()));
    let direct = call(python("client.py"), servers[0].address);
    for line in [
        "echo (b'hello', 'plain', b'\\x00\\xff', 'OK')",
        "sizes equal",
        "down (500, 350000)",
        "up b'4 320001'",
        "both True",
        "status 14 UNAVAILABLE 100 % of \u{fc}",
        "deadline DEADLINE_EXCEEDED Deadline Exceeded",
        "cancel True",
    ] {
        assert!(direct.lines().any(|other| other == line), "{line} is not in:\n{direct}");
    }
    let before = cancelled(&servers[0]);
    assert_eq!(call(python("client.py"), proxies[0].address(0)), direct);
    // Two whose time was over; the third may have been cancelled before it was sent.
    eventually("calls are cancelled", || cancelled(&servers[0]) >= before + 2);
    let direct = call(node("call"), servers[1].address);
    assert!(direct.contains("both 50\n") && direct.contains("status 16 UNAUTHENTICATED"), "{direct}");
    for proxy in &proxies {
        assert_eq!(call(node("call"), proxy.address(0)), direct);
    }
    for proxy in &proxies {
        proxy.wait_for_stat("cluster.app.upstream_rq_active", 0);
        assert_eq!(proxy.stat("http.ingress_http.downstream_rq_tx_reset"), 0);
    }
}

/// What clients make of replies of the proxy, and what its log says.
#[test]
fn replies_of_the_proxy_are_statuses() {
    let server = Server::start(python("server.py"));
    let http = r#"
access_log = [
    { path = "all.log", format = "%REQ(:PATH)% %GRPC_STATUS% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS_NUMBER% %RESPONSE_CODE_DETAILS%" },
    { path = "some.log", format = "%REQ(:PATH)%", filter = { grpc_status = { statuses = ["OK", "DEADLINE_EXCEEDED"], exclude = true } } },
]
routes = [
    { match = { path = "/test.Echo/Late", grpc = true }, route = { cluster = "app", timeout = "300ms" } },
    { match = { path = "/test.Echo/Denied", grpc = true }, direct_response = { status = 403, body = "not for you: 100 %" } },
    { match = { path = "/test.Echo/Limited" }, route = { cluster = "app" }, filters = { fault = { abort = { grpc_status = "RESOURCE_EXHAUSTED", percent = 100 } } } },
    { match = { path = "/test.Echo/Gone" }, route = { cluster = "gone" } },
    { match = { path = "/test.Echo/Down" }, route = { cluster = "app" } },
    { match = { path = "/test.Echo/Status" }, route = { cluster = "app" } },
]
http_filters = [{ fault = {} }]
"#;
    let gone = format!(
        "[[clusters]]\nname = \"gone\"\nendpoints = [\"{}\"]\nprotocol = \"http2\"",
        crate::support::dead_address()
    );
    let ringway = proxy(&[server.address], http, &gone);
    // A message that ends in a space costs no call its status.
    let calls = ["Late", "x", "Denied", "", "Limited", "", "Gone", "", "Nowhere", "", "Down", "1x3", "Status", "9:no "];
    let expected = "DEADLINE_EXCEEDED upstream request timeout\n\
                    PERMISSION_DENIED not for you: 100 %\n\
                    RESOURCE_EXHAUSTED fault filter abort\n\
                    UNAVAILABLE upstream connect error or disconnect/reset before headers. reset reason: remote connection failure\n\
                    UNIMPLEMENTED ";
    for mut command in [python("call.py"), node("calls")] {
        let said = must_run(command.arg(ringway.address(0).to_string()).args(calls));
        let said = said.replace("UNIMPLEMENTED \n", "UNIMPLEMENTED None\n").replace("Unknown", "");
        assert!(said.starts_with(expected), "{said}");
        assert!(said.ends_with("message 3\nOK\nFAILED_PRECONDITION no\n"), "{said}");
    }
    let lines = ringway.log_lines("all.log", 14);
    for line in [
        "/test.Echo/Late DeadlineExceeded DEADLINE_EXCEEDED 4 upstream_response_timeout",
        "/test.Echo/Denied PermissionDenied PERMISSION_DENIED 7 direct_response",
        "/test.Echo/Limited ResourceExhausted RESOURCE_EXHAUSTED 8 fault_filter_abort",
        "/test.Echo/Nowhere Unimplemented UNIMPLEMENTED 12 route_not_found",
        "/test.Echo/Down OK OK 0 via_upstream",
        "/test.Echo/Status FailedPrecondition FAILED_PRECONDITION 9 via_upstream",
    ] {
        assert_eq!(lines.iter().filter(|other| *other == line).count(), 2, "{line}: {lines:?}");
    }
    let some = ringway.log_lines("some.log", 10);
    assert!(!some.iter().any(|line| line.ends_with("/Late") || line.ends_with("/Down")), "{some:?}");
    // Other requests meet no condition on calls.
    assert_eq!(ringway.get("/test.Echo/Denied").status(), 404);
}

/// Calls by service and method, with their messages; what clients make up is counted together.
#[test]
fn calls_are_counted_by_their_methods() {
    let server = Server::start(python("server.py"));
    let count = |settings: &str, route: &str| {
        let filter = format!("http_filters = [{{ grpc_stats = {{ enable_upstream_stats = true, {settings} }} }}]");
        let ringway = proxy(&[server.address], &format!("{filter}\n{route}"), "");
        let calls = ["Down", "3x10", "Down", "0x0", "Status", "9:no", "MadeUp", "", "MadeUp", "", "Unary", "x"];
        must_run(python("call.py").arg(ringway.address(0).to_string()).args(calls));
        ringway.get("/test.Echo/Down");
        ringway
    };
    let all = count("stats_for_all_methods = true, max_methods = 2", ALL);
    let stats = |ringway: &Ringway, of: &str, names: &[&str]| -> Vec<i64> {
        names.iter().map(|name| ringway.stat(&format!("cluster.app.grpc.{of}{name}"))).collect()
    };
    let names = ["total", "success", "failure", "request_message_count", "response_message_count"];
    all.wait_for_stat("cluster.app.grpc.other.total", 3);
    assert_eq!(stats(&all, "test.Echo.Down.", &names), [2, 2, 0, 2, 3]);
    assert_eq!(stats(&all, "test.Echo.Status.", &names), [1, 0, 1, 1, 0]);
    assert_eq!(stats(&all, "other.", &names), [3, 1, 2, 3, 1]);
    assert_eq!(stats(&all, "", &["test.Echo.Down.0", "test.Echo.Status.9", "other.12", "other.0"]), [2, 1, 2, 1]);
    let metrics = all.admin("GET", "/stats/prometheus?filter=Status.upstream_rq_time").text().to_owned();
    let labels =
        "envoy_cluster_name=\"app\",envoy_grpc_bridge_service=\"test.Echo\",envoy_grpc_bridge_method=\"Status\"";
    assert!(metrics.contains(&format!("envoy_cluster_grpc_upstream_rq_time_count{{{labels}}} 1")), "{metrics}");
    // Without names, and for a route whose calls are counted by one name.
    let none = count("", ALL);
    none.wait_for_stat("cluster.app.grpc.total", 6);
    let list =
        "individual_method_stats_allowlist = { services = [{ name = \"test.Echo\", method_names = [\"Unary\"] }] }";
    let route = format!(
        "routes = [{{ match = {{ prefix = \"/\" }}, route = {{ cluster = \"app\" }}, filters = {{ grpc_stats = {{ {list} }} }} }}]"
    );
    let listed = count("", &route);
    listed.wait_for_stat("cluster.app.grpc.total", 5);
    assert_eq!(stats(&listed, "test.Echo.Unary.", &names), [1, 1, 0, 1, 1]);
    assert_eq!(stats(&listed, "", &["success", "9", "12"]), [2, 1, 2]);
}

/// The server is gone within a message, or gives the call up: clients learn of it by its status.
#[test]
fn calls_that_break_off_have_statuses() {
    let cases = [
        ("close", "UNAVAILABLE upstream closed the connection within its response"),
        ("8", "CANCELLED "),
        ("11", "RESOURCE_EXHAUSTED "),
        ("2", "INTERNAL "),
    ];
    for (code, status) in cases {
        let mut broken = python("broken.py");
        broken.arg(code);
        let server = Server::start(broken);
        let log = "access_log = [{ path = \"log\", format = \"%RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\" }]";
        let stats = "http_filters = [{ grpc_stats = {} }]";
        let ringway = proxy(&[server.address], &format!("{log}\n{stats}\n{ALL}"), "");
        for mut command in [python("call.py"), node("calls")] {
            let said = must_run(command.arg(ringway.address(0).to_string()).args(["Down", "1x1"]));
            // A client may drop what came before a reset, and hears all that came before trailers.
            assert!(code != "close" || said.starts_with("message 2\n"), "{code}: {said}");
            let last = said.strip_prefix("message 2\n").unwrap_or(&said);
            assert!(last.starts_with(status), "{code}: {said}");
        }
        let logged = match code {
            "close" => "UC upstream_reset_after_response_started{connection_termination}",
            _ => "UR upstream_reset_after_response_started{remote_reset}",
        };
        assert_eq!(ringway.log_lines("log", 2), [logged; 2]);
        // A call without a status is a failure, too.
        ringway.wait_for_stat("cluster.app.grpc.failure", 2);
        let statuses = ringway.admin("GET", "/stats?filter=app.grpc.[0-9]").text().to_owned();
        assert_eq!(statuses, if code == "close" { "cluster.app.grpc.14: 2\n" } else { "" });
    }
}

/// Servers in C answer with a head and trailers, or with trailers only; either is tried again.
#[test]
fn calls_are_tried_again_by_their_status() {
    let server = Server::start(python("server.py"));
    let route = r#"
[[listeners.http.routes]]
match = { prefix = "/" }
route = { cluster = "app", retry_policy = { retry_on = ["unavailable"], num_retries = 3 } }
"#;
    let outliers = "outlier_detection = { consecutive_5xx = 4 }";
    let ringway = proxy(&[server.address], route, outliers);
    let said = must_run(python("call.py").arg(ringway.address(0).to_string()).args(["Flaky", "2", "Flaky", "9"]));
    assert_eq!(said, "message 4\nOK\nUNAVAILABLE not yet\n");
    assert_eq!(ringway.stat("cluster.app.upstream_rq_retry"), 2 + 3);
    // A success stands between the first two failures and the last four.
    ringway.wait_for_stat("cluster.app.outlier_detection.ejections_detected_consecutive_5xx", 1);
    assert_eq!((ringway.stat("cluster.app.upstream_rq_200"), ringway.stat("cluster.app.upstream_rq_503")), (1, 1));
}

#[test]
fn servers_are_asked_for_their_health() {
    let server = Server::start(python("server.py"));
    let checks = "health_checks = [{ grpc = { service_name = \"test.Echo\" }, interval = \"50ms\", no_traffic_interval = \"50ms\" }]";
    let ringway = proxy(&[server.address], ALL, checks);
    let flags = || ringway.health_flags(server.address);
    let set = |status: &str| must_run(python("call.py").arg(server.address.to_string()).args(["Health", status]));
    eventually("healthy", || flags() == "healthy");
    set("2");
    eventually("not serving", || flags().contains("/failed_active_hc"));
    ringway.wait_for_log("NOT_SERVING, expected SERVING");
    set("1");
    eventually("serving again", || flags() == "healthy");
    // A server without the service is not healthy, and one that is gone neither.
    let stranger = Server::start(node("serve"));
    let other = proxy(&[stranger.address], ALL, checks);
    eventually("no such service", || other.health_flags(stranger.address).contains("/failed_active_hc"));
    other.wait_for_log("grpc-status 12 (UNIMPLEMENTED), expected 0");
}
