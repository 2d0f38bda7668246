//! The files of docs/OBSERVABILITY.md: what they ask for exists, and Prometheus' own tool takes them.

use super::support::{Origin, Setup, eventually, forwarding, program, response};
use regex::Regex;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::PathBuf;

fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/deploy/prometheus").join(name)
}

/// Alerts and panels ask for statistics that a proxy in use has.
#[test]
fn what_alerts_and_panels_ask_for_exists() {
    let origin = Origin::answering(|_| response(200, &[], "ok"));
    let proxy = Setup::new(&forwarding(origin.address, "")).start();
    proxy.get("/");
    let text = proxy.admin("GET", "/stats/prometheus").text().to_owned();
    let known: BTreeSet<&str> = text.lines().filter_map(|line| line.split(['{', ' ']).next()).collect();
    let name = Regex::new(r"\b(envoy|ringway|process)_[a-z0-9_]+").expect("an expression");
    let label = Regex::new(r"\b(by|without) \([^)]*\)|\{\{[^}]*\}\}|envoy_[a-z_]+ ?=").expect("an expression");
    for (file_name, fewest) in [("alerts.yml", 10), ("dashboard.json", 15)] {
        let written = std::fs::read_to_string(file(file_name)).expect("it is there");
        let without_labels = label.replace_all(&written, "");
        let asked: BTreeSet<&str> = name.find_iter(&without_labels).map(|found| found.as_str()).collect();
        assert!(asked.len() >= fewest, "{asked:?}");
        let missing: Vec<_> = asked.difference(&known).collect();
        assert!(missing.is_empty(), "{file_name} asks for {missing:?}");
    }
    // The page names them, too.
    let page = std::fs::read_to_string(file("../../OBSERVABILITY.md")).expect("it is there");
    let named: BTreeSet<&str> = name.find_iter(&page).map(|found| found.as_str()).collect();
    assert!(named.iter().all(|name| known.contains(name)), "{named:?}");
}

/// The dashboard is JSON in which every panel has a place of its own.
#[test]
fn the_dashboard_is_whole() {
    let text = std::fs::read_to_string(file("dashboard.json")).expect("it is there");
    let dashboard: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("a list");
    let places: BTreeSet<String> = panels.iter().map(|panel| panel["gridPos"].to_string()).collect();
    assert_eq!(places.len(), panels.len());
    assert!(panels.iter().all(|panel| panel["targets"].as_array().is_some_and(|targets| !targets.is_empty())));
}

#[test]
fn promtool_takes_the_files_and_the_alerts_fire_when_they_should() {
    for arguments in [
        &["check", "config", "prometheus.yml"],
        &["check", "rules", "alerts.yml"],
        &["test", "rules", "alerts_test.yml"],
    ] {
        let output = program("promtool").args(arguments).current_dir(file("")).output().expect("promtool starts");
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
    }
}

/// At `debug`, what goes wrong leaves a line each time: tries whose status is tried again, clients that a limit refuses, and those
/// that no chain is for.
#[test]
fn each_failed_try_and_each_refused_client_is_told_at_debug() {
    let answers = std::sync::atomic::AtomicU32::new(0);
    let origin = Origin::answering(move |_| {
        let is_last = answers.fetch_add(1, std::sync::atomic::Ordering::Relaxed) == 2;
        response(if is_last { 200 } else { 503 }, &[], "")
    });
    let retries =
        "retry_policy = { retry_on = [\"5xx\"], num_retries = 2, retry_back_off = { base_interval = \"1ms\" } }";
    let config =
        forwarding(origin.address, "").replace("cluster = \"app\" } }", &format!("cluster = \"app\", {retries} }} }}"));
    let config = config.replace("stat_prefix = \"main\"", "stat_prefix = \"main\"\nmax_connections = 1");
    let chains = "[[listeners]]\naddress = \"127.0.0.1:0\"\n[[listeners.filter_chains]]\nmatch = { source_prefix_ranges = [\"192.0.2.0/24\"] }\n\
                  http.routes = [{ match = { prefix = \"/\" }, route = { cluster = \"app\" } }]\n[[clusters]]";
    let config = config.replacen("[[clusters]]", chains, 1);
    let proxy = Setup::new(&config).runtime("log = \"info,ringway::router=debug,ringway::listener=debug\"").start();
    assert_eq!(proxy.get("/").status(), 200);
    let count = |what: &str| proxy.stderr().matches(what).count();
    eventually("both tries are logged", || count("a try failed") == 2);
    let text = proxy.stderr();
    let line = text.lines().find(|line| line.contains("a try failed")).expect("a line");
    for part in ["status=503", &format!("endpoint={}", origin.address), "attempt=1", "request_id="] {
        assert!(line.contains(part), "{part}: {line}");
    }
    drop(std::net::TcpStream::connect(proxy.address(1)).expect("it listens"));
    eventually("it is logged", || count("no filter chain is for this connection") == 1);
    eventually("there is room", || proxy.stat("listener.main.downstream_cx_active") == 0);
    let mut busy = proxy.connect();
    // A request under way: the connection does not make room for others.
    busy.send(b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\na");
    proxy.wait_for_stat("http.ingress_http.downstream_rq_active", 1);
    for refused in 1..=3 {
        proxy.connect().expect_end();
        eventually("it is logged", || count("a connection is refused") == refused);
    }
}

/// Each event is an object on a line of its own, also a failed try and a refused connection at `debug`.
#[test]
fn the_program_log_may_be_json() {
    let gone = std::net::TcpListener::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("an address");
    let runtime = "log = \"info,ringway::router=debug,ringway::upstream=debug\"\nlog_format = \"json\"";
    let proxy = Setup::new(&forwarding(gone, "")).runtime(runtime).start();
    assert_eq!(proxy.get("/").status(), 503);
    eventually("both are logged", || {
        proxy.stderr().contains("a try failed") && proxy.stderr().contains("no connection")
    });
    let text = proxy.stderr();
    let events: Vec<Value> = text
        .lines()
        .filter(|line| line.starts_with('{'))
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}")))
        .collect();
    assert!(events.iter().all(|event| event["level"].is_string() && event["target"].is_string()), "{text}");
    let find = |message: &str| events.iter().find(|event| event["message"] == message).expect(message);
    let tried = find("a try failed");
    assert_eq!(
        (&tried["target"], &tried["cluster"], &tried["level"]),
        (&"ringway::router".into(), &"app".into(), &"DEBUG".into())
    );
    assert_eq!(tried["reason"], "the connection failed");
    let refused = find("no connection");
    assert_eq!((&refused["address"], &refused["reason"]), (&gone.to_string().into(), &"connection refused".into()));
}
