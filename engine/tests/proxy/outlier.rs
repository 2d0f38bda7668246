//! Outlier detection with real origins: an endpoint that answers badly is left alone for a while, and the log says why.

use super::support::{Origin, Ringway, Setup, dead_address, eventually, forwarding_to, response};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

/// An origin that answers with a status that a test may change.
fn origin() -> (Origin, Arc<AtomicU16>) {
    let status = Arc::new(AtomicU16::new(200));
    let answered = status.clone();
    (Origin::answering(move |_| response(answered.load(Ordering::Acquire), &[], "")), status)
}

fn config(endpoints: &[SocketAddr], detection: &str) -> String {
    let common = "interval = \"50ms\"\nmax_ejection_percent = 50";
    forwarding_to(endpoints, "", &format!("[clusters.outlier_detection]\n{common}\n{detection}"))
}

fn is_ejected(proxy: &Ringway, endpoint: SocketAddr) -> bool {
    proxy.health_flags(endpoint) == "/failed_outlier_check"
}

/// Statuses of `count` requests.
fn statuses(proxy: &Ringway, count: usize) -> Vec<u16> {
    let mut client = proxy.connect();
    (0..count).map(|_| client.get("/").status()).collect()
}

/// The response has begun: how long its rest takes may be the client's doing, which must not be able to eject endpoints.
#[test]
fn a_response_that_takes_too_long_once_begun_ejects_nobody() {
    let slow = || {
        Origin::recording(|connection, _, _| {
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
            while connection.try_send(b"drip") {
                std::thread::sleep(Duration::from_millis(10));
            }
            false
        })
    };
    let (one, two) = (slow(), slow());
    let config = config(&[one.address, two.address], "consecutive_5xx = 1");
    let proxy = Ringway::start(&config.replace("cluster = \"app\"", "cluster = \"app\", timeout = \"3s\""));
    let mut clients: Vec<_> = (0..4).map(|_| proxy.connect()).collect();
    clients.iter_mut().for_each(|client| client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"));
    for client in &mut clients {
        let answer = client.response();
        assert_eq!((answer.status(), answer.complete), (200, false));
    }
    proxy.wait_for_stat("cluster.app.upstream_rq_timeout", 4);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(proxy.stat("cluster.app.outlier_detection.ejections_enforced_total"), 0);
    assert_eq!(proxy.stat("cluster.app.membership_healthy"), 2);
}

#[test]
fn five_5xx_eject() {
    let ((good, _), (bad, status)) = (origin(), origin());
    status.store(500, Ordering::Release);
    let detection = "base_ejection_time = \"1h\"\nmax_ejection_time = \"1h\"";
    // One of two is more than the default share, and ejected nevertheless.
    let config = config(&[good.address, bad.address], detection).replace("max_ejection_percent = 50", "");
    let proxy = Ringway::start(&config);
    assert_eq!(statuses(&proxy, 8).into_iter().filter(|status| *status == 500).count(), 4);
    assert!(!is_ejected(&proxy, bad.address), "four are not enough");
    statuses(&proxy, 2);
    eventually("it is out", || is_ejected(&proxy, bad.address));
    proxy.wait_for_stat("cluster.app.outlier_detection.ejections_active", 1);
    proxy.wait_for_stat("cluster.app.outlier_detection.ejections_enforced_consecutive_5xx", 1);
    proxy.wait_for_stat("cluster.app.membership_healthy", 1);
    eventually("it is said", || proxy.stderr().contains("ejected"));
    let log = proxy.stderr();
    let line = log.lines().find(|line| line.contains("ejected")).unwrap_or_else(|| panic!("no ejection in {log}"));
    for part in ["ringway::outlier", "consecutive_5xx", "app", &bad.address.to_string(), "enforced=true time=1h"] {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert_eq!(statuses(&proxy, 40), [200; 40]);
}

/// What the test waits for stays so once it is: the log and the counters, not whether the endpoint is out at a certain
/// moment. Unit tests with virtual time have the durations.
#[test]
fn an_ejection_ends_after_its_time() {
    let ((good, _), (bad, status)) = (origin(), origin());
    status.store(500, Ordering::Release);
    let proxy = Ringway::start(&config(&[good.address, bad.address], "base_ejection_time = \"100ms\""));
    for times in 1..=2 {
        eventually("it is out", || {
            statuses(&proxy, 2);
            proxy.stderr().matches("reason=\"consecutive_5xx\"").count() >= times
        });
    }
    eventually("it is back", || proxy.stderr().contains("ejection time is over"));
    status.store(200, Ordering::Release);
    eventually("back for good", || !is_ejected(&proxy, bad.address));
    assert_eq!(statuses(&proxy, 40), [200; 40]);
}

#[test]
fn an_endpoint_that_refuses_connections_is_ejected() {
    let (good, _) = origin();
    let proxy = Ringway::start(&config(
        &[good.address, dead_address()],
        "base_ejection_time = \"1h\"\nmax_ejection_time = \"1h\"",
    ));
    assert_eq!(statuses(&proxy, 10).into_iter().filter(|status| *status == 503).count(), 5);
    eventually("it is out", || is_ejected(&proxy, dead_address()));
    assert_eq!(statuses(&proxy, 40), [200; 40]);
    assert_eq!(proxy.stat("cluster.app.outlier_detection.ejections_overflow"), 0);
}

/// The failures are counted over all shards together.
#[test]
fn failures_in_a_row_are_those_of_all_shards() {
    let ((good, _), (bad, status)) = (origin(), origin());
    status.store(503, Ordering::Release);
    let detection = "base_ejection_time = \"1h\"\nmax_ejection_time = \"1h\"\nconsecutive_5xx = 12";
    let proxy = Setup::new(&config(&[good.address, bad.address], detection)).runtime("shards = 2").start();
    let mut failed = 0;
    // Each connection is one shard's; one request each, one after the other.
    while failed < 11 {
        failed += usize::from(proxy.get("/").status() == 503);
    }
    assert!(!is_ejected(&proxy, bad.address), "eleven are not enough");
    while failed < 12 {
        failed += usize::from(proxy.get("/").status() == 503);
    }
    eventually("it is out", || is_ejected(&proxy, bad.address));
}

#[test]
fn all_good_endpoints_stay() {
    let ((a, _), (b, b_status)) = (origin(), origin());
    b_status.store(404, Ordering::Release);
    let proxy = Ringway::start(&config(&[a.address, b.address], ""));
    statuses(&proxy, 100);
    assert_eq!(proxy.stat("cluster.app.outlier_detection.ejections_enforced_total"), 0);
    assert_eq!(proxy.stat("cluster.app.membership_healthy"), 2);
}

#[test]
fn a_success_rate_below_the_others_ejects() {
    let good: Vec<_> = (0..4).map(|_| origin()).collect();
    // One of three fails: never five in a row.
    let bad = Origin::recording(|connection, request, _| {
        let count: usize = request.field("x-count").and_then(|count| count.parse().ok()).expect("a number");
        connection.send(&response(if count.is_multiple_of(3) { 500 } else { 200 }, &[], ""));
        true
    });
    let mut endpoints: Vec<_> = good.iter().map(|(origin, _)| origin.address).collect();
    endpoints.push(bad.address);
    let detection = "success_rate_request_volume = 20\nbase_ejection_time = \"1h\"\nmax_ejection_time = \"1h\"\nconsecutive_5xx = \"off\"";
    let proxy = Ringway::start(&config(&endpoints, detection).replace("\"50ms\"", "\"2s\""));
    let mut client = proxy.connect();
    let mut count = 0;
    eventually("it is ejected", || {
        for _ in 0..50 {
            count += 1;
            client.send(format!("GET / HTTP/1.1\r\nHost: h\r\nx-count: {}\r\n\r\n", count / 5).as_bytes());
            client.response();
        }
        is_ejected(&proxy, bad.address)
    });
    proxy.wait_for_stat("cluster.app.outlier_detection.ejections_enforced_success_rate", 1);
    proxy.wait_for_stat("cluster.app.outlier_detection.ejections_active", 1);
    let log = proxy.stderr();
    assert!(log.lines().any(|line| line.contains("reason=\"success_rate\"") && line.contains("threshold=")), "{log}");
}

/// A check that passes brings an ejected endpoint back before its time.
#[test]
fn a_passed_health_check_brings_back() {
    let ((good, _), (bad, status)) = (origin(), origin());
    status.store(500, Ordering::Release);
    let detection = "base_ejection_time = \"1h\"\nmax_ejection_time = \"1h\"\n[[clusters.health_checks]]\ntcp = {}\ninterval = \"1s\"\nno_traffic_interval = \"1s\"";
    let proxy = Ringway::start(&config(&[good.address, bad.address], detection));
    eventually("out", || {
        statuses(&proxy, 10);
        proxy.stat("cluster.app.outlier_detection.ejections_enforced_total") > 0
    });
    status.store(200, Ordering::Release);
    eventually("and back", || !is_ejected(&proxy, bad.address));
    proxy.wait_for_log("active health check passed");
}
