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
