//! The files of docs/OBSERVABILITY.md: what they ask for exists, and Prometheus' own tool takes them.

use super::support::{Origin, Setup, forwarding, program, response};
use regex::Regex;
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
