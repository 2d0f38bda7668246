//! The admin endpoint: every path, the methods, the formats, and what the statistics say after known traffic.

use super::support::{Client, Connection, Message, Origin, Ringway, Setup, eventually, forwarding, program, response};
use ringway::codec::coding::Decoder;
use ringway::http::coding::Coding;
use serde_json::Value;
use std::io::Write;
use std::net::TcpListener;
use std::process::Stdio;
use std::time::SystemTime;

const READ: [&str; 11] = [
    "/",
    "/help",
    "/stats",
    "/stats/prometheus",
    "/clusters",
    "/listeners",
    "/config_dump",
    "/server_info",
    "/ready",
    "/memory",
    "/stats?format=json",
];
const CHANGE: [&str; 5] =
    ["/healthcheck/fail", "/healthcheck/ok", "/reset_counters", "/reopen_logs", "/logging?level=info"];

fn idle() -> Ringway {
    Ringway::start(
        "[[listeners]]\nname = \"front\"\naddress = \"127.0.0.1:0\"\nstat_prefix = \"main\"\n\
         http.routes = [{ match = { prefix = \"/\" }, direct_response = { status = 200 } }]",
    )
}

fn json(answer: &Message) -> Value {
    assert_eq!(answer.status(), 200);
    assert_eq!(answer.field("content-type"), Some("application/json"));
    serde_json::from_slice(&answer.body).unwrap_or_else(|error| panic!("{error}: {}", answer.text()))
}

/// "Changes need POST"; what only reads needs GET.
#[test]
fn methods_and_paths() {
    let proxy = idle();
    for path in READ {
        assert_eq!(proxy.admin("GET", path).status(), 200, "GET {path}");
        assert_eq!(proxy.admin("HEAD", path).status(), 200, "HEAD {path}");
        for method in ["POST", "DELETE"] {
            let refused = proxy.admin(method, path);
            assert_eq!(refused.status(), 405, "{method} {path}");
            assert!(refused.field("allow").expect("RFC 9110 section 15.5.6 asks for it").contains("GET"));
        }
    }
    for path in CHANGE {
        let refused = proxy.admin("GET", path);
        assert_eq!((refused.status(), refused.field("allow")), (405, Some("POST")), "GET {path}");
        assert_eq!(proxy.admin("POST", path).status(), 200, "POST {path}");
    }
    for path in ["/drain_listeners", "/quitquitquit"] {
        assert_eq!(proxy.admin("GET", path).status(), 405, "GET {path} must not end anything");
    }
    for path in ["/nonsense", "/stats/", "/ready/x", "/STATS"] {
        assert_eq!(proxy.admin("GET", path).status(), 404, "{path}");
    }
    let help = proxy.admin("GET", "/help");
    for path in READ.iter().chain(&CHANGE).map(|path| path.split('?').next().unwrap_or_default()) {
        assert!(help.text().contains(path), "{path} in /help");
    }
}

/// Several requests on one connection, pipelined ones and one with a body included.
#[test]
fn the_connection_is_kept() {
    let proxy = idle();
    let mut admin = proxy.admin_connection();
    admin.send(b"GET /ready HTTP/1.1\r\nHost: localhost\r\n\r\nGET /server_info HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(admin.response().text(), "LIVE\n");
    assert!(admin.response().text().contains("\"version\""));
    admin.send(b"POST /reset_counters HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello");
    assert_eq!(admin.response().status(), 200);
    admin.send(b"nonsense\r\n\r\n");
    assert_eq!(admin.response().status(), 400);
    admin.expect_end();
}

#[test]
fn server_info_listeners_clusters_and_config() {
    let proxy = Ringway::start(&forwarding("127.0.0.1:9".parse().expect("an address"), "via = \"edge\""));
    let info = json(&proxy.admin("GET", "/server_info"));
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    assert!(info["target"].as_str().is_some_and(|target| target.starts_with(std::env::consts::ARCH)), "{info}");
    assert!(info["commit"].is_string() && info["features"].is_string(), "{info}");
    assert_eq!(info["state"], "LIVE");
    assert_eq!(info["pid"], proxy.pid());
    let listeners = json(&proxy.admin("GET", "/listeners?format=json"));
    assert_eq!(listeners["listener_statuses"].as_array().map(Vec::len), Some(1));
    assert_eq!(proxy.admin("GET", "/listeners").text().lines().count(), 1);
    let clusters = proxy.admin("GET", "/clusters");
    for line in ["app::upstream_rq_total::0", "app::127.0.0.1:9::health_flags::healthy", "app::127.0.0.1:9::weight::1"]
    {
        assert!(clusters.text().lines().any(|other| other == line), "{line} in {}", clusters.text());
    }
    let clusters = json(&proxy.admin("GET", "/clusters?format=json"));
    assert_eq!(clusters["cluster_statuses"][0]["name"], "app");
    assert_eq!(clusters["cluster_statuses"][0]["host_statuses"][0]["address"]["socket_address"]["port_value"], 9);
    let dump = json(&proxy.admin("GET", "/config_dump"));
    let config = &dump["configs"][0]["config"];
    assert_eq!(config["clusters"][0]["name"], "app");
    assert_eq!(config["listeners"][0]["http"]["via"], "edge");
    let memory = json(&proxy.admin("GET", "/memory"));
    assert!(memory["allocated"].as_u64().is_some_and(|bytes| bytes > 100_000));
}

#[test]
fn readiness() {
    let proxy = idle();
    assert_eq!(proxy.admin("GET", "/ready").text(), "LIVE\n");
    assert_eq!(proxy.stat("server.live"), 1);
    assert_eq!(proxy.admin("POST", "/healthcheck/fail").status(), 200);
    let failed = proxy.admin("GET", "/ready");
    assert_eq!((failed.status(), failed.text()), (503, "DRAINING\n"));
    assert_eq!((proxy.stat("server.live"), proxy.stat("server.state")), (0, 1));
    assert_eq!(proxy.get("/").status(), 200, "requests that come all the same are served");
    assert_eq!(proxy.admin("POST", "/healthcheck/ok").status(), 200);
    assert_eq!(proxy.admin("GET", "/ready").status(), 200);
}

#[test]
fn drain_listeners_and_quitquitquit() {
    let mut proxy = idle();
    let mut client = proxy.connect();
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(proxy.admin("POST", "/drain_listeners").status(), 200);
    client.expect_end();
    eventually("connections are refused", || std::net::TcpStream::connect(proxy.address(0)).is_err());
    assert!(proxy.is_running());
    assert_eq!(proxy.admin("GET", "/ready").status(), 503);
    assert_eq!(proxy.admin("POST", "/quitquitquit").status(), 200);
    assert_eq!(proxy.wait().code(), Some(0));
}

/// Names are Envoy's; figures are exact.
#[test]
fn statistics_after_known_traffic() {
    let origin = Origin::answering(|request| match request.target() {
        "/404" => response(404, &[], ""),
        "/500" => response(500, &[], ""),
        _ => response(200, &[], "0123456789"),
    });
    let proxy = Ringway::before(origin.address, "stat_prefix = \"edge\"");
    let mut client = proxy.connect();
    for target in ["/", "/", "/", "/404", "/500"] {
        client.get(target);
    }
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n");
    client.send(&[b'x'; 100]);
    assert_eq!(client.response().status(), 200);
    for (name, expected) in [
        ("listener.main.downstream_cx_total", 1),
        ("listener.main.downstream_cx_active", 1),
        ("http.edge.downstream_cx_total", 1),
        ("http.edge.downstream_cx_http1_active", 1),
        ("http.edge.downstream_rq_total", 6),
        ("http.edge.downstream_rq_http1_total", 6),
        ("http.edge.downstream_rq_completed", 6),
        ("http.edge.downstream_rq_active", 0),
        ("http.edge.downstream_rq_2xx", 4),
        ("http.edge.downstream_rq_4xx", 1),
        ("http.edge.downstream_rq_5xx", 1),
        ("http.edge.rq_total", 6),
        ("cluster.app.upstream_cx_total", 1),
        ("cluster.app.upstream_cx_active", 1),
        ("cluster.app.upstream_rq_total", 6),
        ("cluster.app.upstream_rq_completed", 6),
        ("cluster.app.upstream_rq_active", 0),
        ("cluster.app.upstream_rq_2xx", 4),
        ("cluster.app.upstream_rq_200", 4),
        ("cluster.app.upstream_rq_404", 1),
        ("cluster.app.upstream_rq_500", 1),
        ("cluster.app.upstream_rq_5xx", 1),
        ("cluster.app.upstream_rq_retry", 0),
        ("cluster.app.membership_total", 1),
        ("cluster.app.membership_healthy", 1),
        ("server.concurrency", 1),
        ("server.live", 1),
        ("server.total_connections", 1),
    ] {
        assert_eq!(proxy.stat(name), expected, "{name}");
    }
    // Counted in whole messages: heads and bodies.
    assert!(proxy.stat("http.edge.downstream_cx_rx_bytes_total") > 100);
    assert!(proxy.stat("http.edge.downstream_cx_tx_bytes_total") > 6 * 10);
    assert!(proxy.stat("cluster.app.upstream_cx_rx_bytes_total") > 0);
    assert!(proxy.stat("cluster.app.upstream_cx_tx_bytes_total") > 100);
    histograms(&proxy, 6);
    assert_eq!(proxy.admin("POST", "/reset_counters").status(), 200);
    assert_eq!(proxy.stat("http.edge.downstream_rq_total"), 0);
    assert_eq!(proxy.stat("http.edge.downstream_cx_active"), 1, "gauges are no counters");
    client.get("/");
    assert_eq!(proxy.stat("http.edge.downstream_rq_total"), 1);
}

/// p50, p90, p99 and p99.9 of clusters and listeners, and cumulative buckets for Prometheus.
fn histograms(proxy: &Ringway, count: u64) {
    let stats = proxy.admin("GET", "/stats");
    for name in ["cluster.app.upstream_rq_time", "listener.main.downstream_rq_time", "http.edge.downstream_rq_time"] {
        let line = stats
            .text()
            .lines()
            .find(|line| line.starts_with(&format!("{name}: ")))
            .unwrap_or_else(|| panic!("{name}"));
        for quantile in ["P50(", "P90(", "P99(", "P99.9("] {
            assert!(line.contains(quantile), "{quantile} in {line}");
        }
    }
    let text = proxy.admin("GET", "/stats/prometheus");
    let buckets: Vec<u64> = text
        .text()
        .lines()
        .filter(|line| line.starts_with("envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"app\""))
        .map(|line| line.rsplit(' ').next().and_then(|n| n.parse().ok()).expect("a number"))
        .collect();
    assert!(buckets.len() >= 10 && buckets.is_sorted() && buckets.last() == Some(&count), "{buckets:?}");
    assert!(
        text.text().contains(&format!("envoy_cluster_upstream_rq_time_count{{envoy_cluster_name=\"app\"}} {count}\n"))
    );
}

#[test]
fn statistics_formats_and_filters() {
    let proxy = idle();
    proxy.get("/");
    let filtered = proxy.admin("GET", "/stats?filter=%5Ehttp%5C..*rq_total%24");
    assert_eq!(filtered.text(), "http.ingress_http.downstream_rq_total: 1\nhttp.ingress_http.rq_total: 0\n");
    assert_eq!(proxy.admin("GET", "/stats?filter=(").status(), 400);
    assert_eq!(proxy.admin("GET", "/stats?format=xml").status(), 400);
    let used = proxy.admin("GET", "/stats?usedonly&filter=downstream_rq_.xx");
    assert_eq!(used.text(), "http.ingress_http.downstream_rq_2xx: 1\n");
    let json = json(&proxy.admin("GET", "/stats?format=json&filter=downstream_rq_2xx"));
    let stats = json["stats"].as_array().expect("a list");
    let found = stats.iter().find(|stat| stat["name"] == "http.ingress_http.downstream_rq_2xx").expect("there");
    assert_eq!(found["value"], 1);
    for target in ["/stats/prometheus", "/stats?format=prometheus"] {
        let text = proxy.admin("GET", target);
        assert!(text.field("content-type").expect("a type").starts_with("text/plain"));
        let series = "envoy_http_downstream_rq_xx{envoy_response_code_class=\"2\",envoy_http_conn_manager_prefix=\"ingress_http\"} 1\n";
        assert!(text.text().contains(series), "{target}");
    }
}

/// What each client library of Prometheus says of its process, and which build it is.
#[test]
fn prometheus_hears_of_the_process() {
    let proxy = idle();
    let text = proxy.admin("GET", "/stats/prometheus").text().to_owned();
    let value = |name: &str| -> f64 {
        let line = text.lines().find(|line| line.starts_with(&format!("{name} "))).unwrap_or_else(|| panic!("{name}"));
        line.split(' ').nth(1).and_then(|value| value.parse().ok()).expect("a number")
    };
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970").as_secs_f64();
    let started = value("process_start_time_seconds");
    assert!(started <= now && started > now - 3600.0, "{started} {now}");
    assert!(value("process_open_fds") < value("process_max_fds") && value("process_cpu_seconds_total") > 0.0);
    assert!(value("process_resident_memory_bytes") < value("process_virtual_memory_bytes"));
    assert!(text.contains("\nringway_build_info{version=\""), "{text}");
    let some = proxy.admin("GET", "/stats/prometheus?filter=%5Eprocess_cpu").text().to_owned();
    assert_eq!(some.lines().filter(|line| !line.starts_with('#')).count(), 1, "{some}");
}

/// Long answers are compressed for those that ask for it.
#[test]
fn long_answers_may_be_compressed() {
    let proxy = idle();
    let mut admin = proxy.admin_connection();
    let mut ask = |method: &str, path: &str, accept: &str| {
        admin.send(format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n{accept}\r\n").as_bytes());
        if method == "HEAD" { admin.head().expect("a head") } else { admin.response() }
    };
    let accept = "Accept-Encoding: gzip, br\r\n";
    for path in ["/stats/prometheus", "/stats", "/stats?format=json", "/help"] {
        let packed = ask("GET", path, accept);
        assert_eq!((packed.status(), packed.field("content-encoding")), (200, Some("gzip")), "{path}");
        let (mut decoder, mut rest, mut text, mut room) =
            (Decoder::new(Coding::Gzip), &packed.body[..], Vec::new(), [0; 4096]);
        loop {
            let step = decoder.step(rest, &mut room).expect("it is gzip");
            text.extend_from_slice(&room[..step.produced]);
            rest = &rest[step.consumed..];
            if step.is_done {
                break;
            }
        }
        assert!(decoder.may_end() && rest.is_empty());
        let plain = ask("GET", path, "");
        assert_eq!((plain.field("content-encoding"), plain.field("vary")), (None, Some("accept-encoding")));
        // Values move on in between.
        let lines = |text: &[u8]| String::from_utf8_lossy(text).lines().count();
        assert_eq!(lines(&text), lines(&plain.body), "{path}");
        assert!(text.len() > packed.body.len(), "{path}");
        assert_eq!(ask("HEAD", path, accept).field("content-encoding"), Some("gzip"));
    }
    assert_eq!(ask("GET", "/ready", accept).field("content-encoding"), None, "it is short");
    assert_eq!(ask("GET", "/stats", "Accept-Encoding: gzip;q=0\r\n").field("content-encoding"), None);
}

/// promtool parses it. Its exit code 3 is criticism of names, which are Envoy's; 1 is a parse error.
#[test]
fn prometheus_can_read_it() {
    let origin = Origin::answering(|_| response(200, &[], "ok"));
    let config = forwarding(origin.address, "stat_prefix = \"we\\\"ird\\\\name\"");
    let proxy = Setup::new(&config).runtime("shards = 2").start();
    for _ in 0..3 {
        proxy.get("/");
    }
    let text = proxy.admin("GET", "/stats/prometheus").body;
    let mut check = program("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool starts");
    check.stdin.take().expect("piped").write_all(&text).expect("it reads");
    let output = check.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(matches!(output.status.code(), Some(0 | 3)), "{}: {said}", output.status);
    assert!(!said.contains("error while linting"), "{said}");
}

/// Other names are allowed by the file, from the next reload on.
#[test]
fn allowed_hosts() {
    let proxy = idle();
    let ask = |host: &str| {
        let mut admin = proxy.admin_connection();
        admin.send(format!("GET /ready HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
        admin.response().status()
    };
    let file = proxy.file("ringway.toml");
    let written = std::fs::read_to_string(&file).expect("text");
    let allow = |list: &str| {
        let text = written.replace("admin.sock\"", &format!("admin.sock\"\nallowed_hosts = [{list}]"));
        std::fs::write(&file, text).expect("written");
        assert!(proxy.reload(), "{}", proxy.stderr());
    };
    assert_eq!(ask("ringway"), 403);
    allow("\"Ringway\", \"*.svc.example\"");
    for (host, status) in [
        ("ringway", 200),
        ("RINGWAY:9901", 200),
        ("a.svc.example", 200),
        (".svc.example", 403),
        ("svc.example", 403),
        ("ringway.evil.example", 403),
        ("localhost", 200),
        ("127.0.0.1", 200),
    ] {
        assert_eq!(ask(host), status, "{host}");
    }
    allow("\"*\"");
    assert_eq!(ask("any.example"), 200);
    allow("");
    assert_eq!((ask("ringway"), ask("localhost")), (403, 200));
}

/// DNS rebinding: a page that reaches the endpoint through a name of its own. Cross-site orders: the same by POST.
#[test]
fn other_hosts_and_sites_are_refused() {
    let proxy = idle();
    let ask = |method: &str, path: &str, fields: &str| {
        let mut admin = proxy.admin_connection();
        admin.send(format!("{method} {path} HTTP/1.1\r\n{fields}\r\n").as_bytes());
        admin.response().status()
    };
    for host in ["localhost", "LOCALHOST:9901", "127.0.0.1", "127.0.0.1:9901", "[::1]:9901", "10.1.2.3"] {
        assert_eq!(ask("GET", "/stats", &format!("Host: {host}\r\n")), 200, "{host}");
    }
    for host in ["evil.example", "evil.example:9901", "localhost.evil.example", "127.0.0.1.evil.example"] {
        assert_eq!(ask("GET", "/stats", &format!("Host: {host}\r\n")), 403, "{host}");
    }
    assert_eq!(ask("POST", "/healthcheck/fail", "Host: localhost\r\nOrigin: http://evil.example\r\n"), 403);
    assert_eq!(ask("POST", "/healthcheck/fail", "Host: localhost\r\nOrigin: null\r\n"), 403);
    for site in ["cross-site", "same-site", "Same-Origin", ""] {
        let fields = format!("Host: localhost\r\nSec-Fetch-Site: {site}\r\n");
        assert_eq!(ask("POST", "/healthcheck/fail", &fields), 403, "{site:?}");
    }
    assert_eq!(proxy.admin("GET", "/ready").status(), 200, "nothing was changed");
    assert_eq!(ask("GET", "/ready", "Host: localhost\r\nSec-Fetch-Site: cross-site\r\n"), 200, "it changes nothing");
    for site in ["same-origin", "none"] {
        assert_eq!(ask("POST", "/reset_counters", &format!("Host: localhost\r\nSec-Fetch-Site: {site}\r\n")), 200);
    }
    assert_eq!(ask("POST", "/reset_counters", "Host: localhost:9901\r\nOrigin: http://localhost:9901\r\n"), 200);
}

/// On a TCP port: taken from the configuration, and told at the start even when the kernel chose it.
#[test]
fn on_a_port_of_its_own() {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    for address in ["127.0.0.1:0".to_owned(), free.to_string()] {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("config.toml");
        let config = format!(
            "[admin]\naddress = \"{address}\"\naccess_log = \"{0}/admin.log\"\n[runtime]\nshards = 1\n[[listeners]]\naddress = \"127.0.0.1:0\"\n\
             http.routes = [{{ match = {{ prefix = \"/\" }}, direct_response = {{ status = 200 }} }}]",
            dir.path().display()
        );
        std::fs::write(&file, config).expect("written");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_ringway"));
        command.arg("run").arg(&file);
        let proxy = Ringway::spawn(command, dir, String::new());
        let mut told = String::new();
        eventually("it says where the admin endpoint is", || {
            let text = proxy.stderr();
            told = text.lines().find_map(|line| line.strip_prefix("admin endpoint on ")).unwrap_or_default().to_owned();
            !told.is_empty()
        });
        let mut admin: Client = Connection::open(told.parse().unwrap_or_else(|_| panic!("not an address: {told}")));
        admin.send(b"GET /ready?x HTTP/1.1\r\nHost: localhost\r\n\r\n");
        assert_eq!(admin.response().text(), "LIVE\n");
        let lines = proxy.log_lines("admin.log", 1);
        assert!(lines[0].contains("\"GET /ready?x\" 200 5 127.0.0.1:"), "{lines:?}");
    }
}

#[test]
fn log_levels_change_at_run_time() {
    let proxy = idle();
    assert_eq!(proxy.admin("POST", "/logging?level=nonsense!").status(), 400);
    assert_eq!(proxy.admin("POST", "/logging").status(), 400);
    assert_eq!(proxy.admin("POST", "/logging?level=off").status(), 200);
    proxy.write_config("nonsense");
    proxy.signal(rustix::process::Signal::HUP);
    // A second order is carried out after the first, so this shows that the first was.
    assert_eq!(proxy.admin("POST", "/logging?ringway::server=error").status(), 200);
    assert!(!proxy.reload());
    proxy.wait_for_log("not reloaded");
}

/// The level of one target leaves the others as they are.
#[test]
fn the_level_of_one_target_silences_no_other() {
    let proxy = idle();
    assert_eq!(proxy.admin("POST", "/logging?ringway::listener=debug").status(), 200);
    proxy.write_config("nonsense");
    assert!(!proxy.reload());
    proxy.wait_for_log("not reloaded");
}
