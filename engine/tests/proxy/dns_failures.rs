//! Lookups that fail: what stays in force, what is removed, and what the log says of it (docs/DISCOVERY.md).

use super::dns::{Everywhere, LOGICAL, OFTEN_ALWAYS, STRICT, config, reached, set, wait_until_reached};
use super::name_server::{NameServer, Zone, addresses};
use super::support::{Ringway, eventually};
use hickory_proto::op::ResponseCode;
use std::time::{Duration, Instant};

#[test]
fn a_failure_keeps_the_last_answer() {
    let origin = Everywhere::start();
    let server = NameServer::with("a.test", addresses(&["127.0.0.1", "127.0.0.2"]));
    let proxy = Ringway::start(&config(&server, &origin, OFTEN_ALWAYS, STRICT, r#"["a.test:PORT"]"#));
    for code in [ResponseCode::ServFail, ResponseCode::Refused, ResponseCode::FormErr] {
        server.set("a.test", Zone::Error(code));
        let before = proxy.stat("cluster.app.update_failure");
        eventually("lookups fail", || proxy.stat("cluster.app.update_failure") > before + 1);
        assert_eq!(reached(&proxy, 4), set(&["127.0.0.1", "127.0.0.2"]), "{code}");
    }
    server.set("a.test", Zone::Silent);
    eventually("a lookup runs out of time", || proxy.stat("dns.hickory.timeouts") >= 1);
    assert_eq!(reached(&proxy, 4), set(&["127.0.0.1", "127.0.0.2"]));
    assert_eq!(proxy.stat("cluster.app.membership_change"), 1);
    let warnings = proxy.stderr().matches("the name does not resolve; the last answer stays in force").count();
    assert_eq!(warnings, 1, "one warning for failures in a row: {}", proxy.stderr());
    server.set("a.test", addresses(&["127.0.0.3"]));
    wait_until_reached(&proxy, &["127.0.0.3"]);
}

/// HAProxy: hold nx. Envoy: an empty answer is an answer for STRICT_DNS and a failure for LOGICAL_DNS.
#[test]
fn a_name_that_vanishes_empties_a_strict_cluster_only() {
    let origin = Everywhere::start();
    let nothing = [Zone::NoSuchName, Zone::Addresses(60, Vec::new())];
    for zone in nothing {
        let server = NameServer::with("a.test", addresses(&["127.0.0.1"]));
        let hold = format!("{OFTEN_ALWAYS}, hold_nx = \"1h\"");
        let holding = Ringway::start(&config(&server, &origin, &hold, STRICT, r#"["a.test:PORT"]"#));
        let hold = format!("{OFTEN_ALWAYS}, hold_nx = \"2s\"");
        let proxy = Ringway::start(&config(&server, &origin, &hold, STRICT, r#"["a.test:PORT"]"#));
        assert_eq!(proxy.get("/").status(), 200);
        server.set("a.test", zone.clone());
        let vanished = Instant::now();
        let endpoint = ([127, 0, 0, 1], origin.port).into();
        eventually("the endpoint is flagged", || holding.health_flags(endpoint) == "/failed_dns_lookup");
        assert_eq!(holding.get("/").status(), 200, "and still used");
        proxy.wait_for_stat("cluster.app.membership_total", 0);
        assert!(vanished.elapsed() >= Duration::from_secs(2), "{:?}", vanished.elapsed());
        assert_eq!(proxy.get("/").status(), 503);
        assert!(proxy.stat("cluster.app.update_empty") >= 2);
        // The hold and its end are one line each.
        proxy.wait_for_log("the name does not resolve, and the cluster has no endpoint");
        let log = proxy.stderr();
        assert_eq!(log.matches("the last answer stays in force").count(), 1, "{log}");
        assert_eq!(log.matches("the name does not resolve, and the cluster has no endpoint").count(), 1, "{log}");
        assert!(proxy.stat("dns.hickory.not_found") >= 1);
        server.set("a.test", addresses(&["127.0.0.2"]));
        proxy.wait_for_stat("cluster.app.membership_total", 1);
        assert_eq!(proxy.get("/").text(), "127.0.0.2");
        proxy.wait_for_log("the name resolves again");

        server.set("a.test", addresses(&["127.0.0.1"]));
        let proxy = Ringway::start(&config(&server, &origin, OFTEN_ALWAYS, LOGICAL, r#"["a.test:PORT"]"#));
        assert_eq!(proxy.get("/").status(), 200);
        server.set("a.test", zone);
        eventually("the answer is empty", || proxy.stat("cluster.app.update_empty") >= 2);
        assert!(proxy.stat("cluster.app.update_failure") >= 2);
        assert_eq!(proxy.get("/").text(), "127.0.0.1");
    }
}

/// What a name server says of a name without an address is in the log at once, once, and so is the name's return.
#[test]
fn a_name_that_does_not_resolve_is_logged_at_once() {
    let origin = Everywhere::start();
    let answers = [
        (Zone::NoSuchName, "NXDOMAIN"),
        (Zone::Addresses(60, Vec::new()), "no address"),
        (Zone::Error(ResponseCode::ServFail), "SERVFAIL"),
        (Zone::Error(ResponseCode::Refused), "REFUSED"),
    ];
    for (zone, answer) in answers {
        for discovery in [STRICT, LOGICAL] {
            let server = NameServer::with("nosuch.test", zone.clone());
            let text = config(&server, &origin, OFTEN_ALWAYS, discovery, r#"["nosuch.test:PORT"]"#);
            let proxy = Ringway::start(&text);
            let missing = "the name does not resolve, and the cluster has no endpoint";
            proxy.wait_for_log(missing);
            let log = proxy.stderr();
            let line = log.lines().find(|line| line.contains(missing)).unwrap_or_else(|| panic!("{log}"));
            let told = format!("cluster=\"app\" host=\"nosuch.test\" answer=\"{answer}\" endpoints=0");
            assert!(line.contains("WARN") && line.contains(&told), "{line}");
            let before = server.count("nosuch.test");
            eventually("it is looked up again", || server.count("nosuch.test") > before + 3);
            server.set("nosuch.test", addresses(&["127.0.0.2"]));
            proxy.wait_for_log("the name resolves again");
            let log = proxy.stderr();
            let back = log.lines().find(|line| line.contains("resolves again")).expect("waited for");
            assert!(back.contains("INFO") && back.contains("127.0.0.2"), "{back}");
            assert_eq!(log.matches("does not resolve").count(), 1, "{log}");
        }
    }
}

/// A name that does not resolve takes nothing but its own endpoints away.
#[test]
fn a_name_of_several_that_does_not_resolve_says_how_many_endpoints_there_are() {
    let (origin, server) = (Everywhere::start(), NameServer::start());
    let proxy = Ringway::start(&config(&server, &origin, "", STRICT, r#"["127.0.0.4:PORT", "nosuch.test:PORT"]"#));
    let missing = "the name does not resolve and has no endpoints";
    proxy.wait_for_log(missing);
    let log = proxy.stderr();
    let line = log.lines().find(|line| line.contains(missing));
    assert!(line.is_some_and(|line| line.contains("answer=\"NXDOMAIN\" endpoints=1")), "{log}");
}

/// Aliases that lead in a circle say nothing about the addresses: a failure like SERVFAIL, whatever `hold_nx` is.
#[test]
fn aliases_in_a_circle_keep_the_last_answer() {
    let origin = Everywhere::start();
    let to = |target: &str| Zone::Alias(60, target.into(), Box::new(Zone::Addresses(60, Vec::new())));
    for circle in [vec![("a.test", "a.test")], vec![("a.test", "b.test"), ("b.test", "a.test")]] {
        let server = NameServer::with("a.test", addresses(&["127.0.0.1"]));
        let no_hold = format!("{OFTEN_ALWAYS}, hold_nx = \"0s\"");
        let proxy = Ringway::start(&config(&server, &origin, &no_hold, STRICT, r#"["a.test:PORT"]"#));
        assert_eq!(proxy.get("/").status(), 200);
        circle.iter().for_each(|(name, target)| server.set(name, to(target)));
        eventually("lookups fail", || proxy.stat("cluster.app.update_failure") >= 2);
        assert_eq!((proxy.get("/").text(), proxy.stat("cluster.app.update_empty")), ("127.0.0.1", 0));
        // An alias that leads to nothing is an answer.
        server.set("a.test", Zone::Alias(60, "c.test".into(), Box::new(Zone::Addresses(60, Vec::new()))));
        server.set("c.test", Zone::Addresses(60, Vec::new()));
        proxy.wait_for_stat("cluster.app.membership_total", 0);
    }
}
