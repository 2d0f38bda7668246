//! The fault filter: delays, aborts, slow responses.

use super::filters::{filtering, get, origin, refusal};
use super::support::{Client, Origin, eventually, pattern, response};
use std::time::{Duration, Instant};

fn fault(settings: &str) -> String {
    format!("{{ fault = {{ {settings} }} }}")
}

#[test]
fn aborts() {
    let origin = origin();
    let proxy = filtering(&origin, &fault("abort = { http_status = 418, percent = 100 }"), "");
    let mut client = proxy.connect();
    for _ in 0..2 {
        let answer = client.get("/");
        assert_eq!((answer.status(), answer.text()), (418, "fault filter abort"));
    }
    assert!(origin.requests().is_empty());
    assert_eq!(proxy.stat("http.ingress_http.fault.aborts_injected"), 2);
    assert_eq!(proxy.stat("http.ingress_http.fault.active_faults"), 0);
    assert_eq!(proxy.log_lines("log", 2)[1], "418 FI fault_filter_abort");
}

#[test]
fn a_share_of_the_requests() {
    let origin = origin();
    let proxy = filtering(&origin, &fault("abort = { http_status = 500, percent = 50 }"), "");
    let mut client = proxy.connect();
    let aborted = (0..400).filter(|_| client.get("/").status() == 500).count();
    // Seven standard deviations.
    assert!((130..=270).contains(&aborted), "{aborted}");
    let proxy = filtering(&origin, &fault("abort = { http_status = 500, percent = 0 }"), "");
    assert!((0..20).all(|_| proxy.get("/").status() == 200));
}

#[test]
fn delays() {
    const DELAY: Duration = Duration::from_millis(300);
    let origin = origin();
    let settings = "delay = { fixed_delay = \"300ms\", percent = 100 }";
    let proxy = filtering(&origin, &fault(settings), "");
    let mut client = proxy.connect();
    let start = Instant::now();
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    eventually("the fault is under way", || proxy.stat("http.ingress_http.fault.active_faults") == 1);
    assert_eq!(client.response().status(), 200);
    assert!(start.elapsed() >= DELAY, "{:?}", start.elapsed());
    assert_eq!(proxy.stat("http.ingress_http.fault.delays_injected"), 1);
    assert_eq!(proxy.log_lines("log", 1), ["200 DI via_upstream"]);

    // Delayed, then aborted.
    let proxy = filtering(&origin, &fault(&format!("{settings}, abort = {{ http_status = 503, percent = 100 }}")), "");
    let start = Instant::now();
    assert_eq!(proxy.get("/").status(), 503);
    assert!(start.elapsed() >= DELAY, "{:?}", start.elapsed());
    let line = proxy.log_lines("log", 1).remove(0);
    assert!(matches!(line.as_str(), "503 DI,FI fault_filter_abort" | "503 FI,DI fault_filter_abort"), "{line}");
}

/// A client that goes away during its delay ends the exchange.
#[test]
fn a_delayed_client_that_goes_away() {
    let origin = origin();
    let proxy = filtering(&origin, &fault("delay = { fixed_delay = \"60s\", percent = 100 }"), "");
    let mut client = proxy.connect();
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    proxy.wait_for_stat("http.ingress_http.fault.active_faults", 1);
    client.reset();
    proxy.wait_for_stat("http.ingress_http.fault.active_faults", 0);
    proxy.wait_for_stat("http.ingress_http.downstream_rq_active", 0);
    assert_eq!(proxy.log_lines("log", 1), ["0 DI,DC downstream_remote_disconnect"]);
    assert!(origin.requests().is_empty());
}

#[test]
fn requests_ask_for_their_faults() {
    let origin = origin();
    let settings = "headers = [{ name = \"x-test\", exact = \"chaos\" }], delay = { header_delay = {}, percent = 100 }, \
                    abort = { header_abort = {}, percent = 100 }";
    let proxy = filtering(&origin, &fault(settings), "");
    let status = |fields: &str| get(&proxy, "/", fields).status();
    assert_eq!(status("x-envoy-fault-abort-request: 429\r\n"), 200, "the condition does not hold");
    assert_eq!(status("X-Test: chaos\r\n"), 200, "nothing is asked for");
    assert_eq!(status("X-Test: chaos\r\nx-envoy-fault-abort-request: 429\r\n"), 429);
    assert_eq!(status("X-Test: chaos\r\nx-envoy-fault-abort-request: 99\r\n"), 200);
    let none = "x-envoy-fault-abort-request-percentage: 0\r\n";
    assert_eq!(status(&format!("X-Test: chaos\r\nx-envoy-fault-abort-request: 429\r\n{none}")), 200);
    let start = Instant::now();
    assert_eq!(status("X-Test: chaos\r\nx-envoy-fault-delay-request: 200\r\n"), 200);
    assert!(start.elapsed() >= Duration::from_millis(200));
    assert_eq!(proxy.stat("http.ingress_http.fault.delays_injected"), 1);
    assert_eq!(proxy.stat("http.ingress_http.fault.aborts_injected"), 1);
}

#[test]
fn faults_for_one_cluster_or_one_route() {
    let origin = origin();
    let abort = "abort = { http_status = 503, percent = 100 }";
    let proxy = filtering(&origin, &fault(&format!("{abort}, upstream_cluster = \"app\"")), "");
    assert_eq!(proxy.get("/").status(), 503);
    let routes = "{ match = { path = \"/direct\" }, direct_response = { status = 204 } }, \
                  { match = { prefix = \"/\" }, route = { cluster = \"app\" }, filters = { fault = \"off\" } }";
    let proxy = filtering(&origin, &fault(&format!("{abort}, upstream_cluster = \"app\"")), routes);
    assert_eq!((proxy.get("/direct").status(), proxy.get("/").status()), (204, 200));
}

#[test]
fn there_are_only_so_many_at_a_time() {
    let origin = origin();
    let settings = "delay = { fixed_delay = \"60s\", percent = 100 }, max_active_faults = 2";
    let proxy = filtering(&origin, &fault(settings), "");
    let waiting: Vec<Client> = (0..2)
        .map(|_| {
            let mut client = proxy.connect();
            client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
            client
        })
        .collect();
    proxy.wait_for_stat("http.ingress_http.fault.active_faults", 2);
    assert_eq!((proxy.get("/").status(), proxy.get("/").status()), (200, 200));
    assert_eq!(proxy.stat("http.ingress_http.fault.faults_overflow"), 2);
    assert_eq!(proxy.stat("http.ingress_http.fault.delays_injected"), 2);
    waiting.into_iter().for_each(Client::reset);
    proxy.wait_for_stat("http.ingress_http.fault.active_faults", 0);
}

/// Of the body, whatever its framing; what the origin sends at once is held back.
#[test]
fn slow_responses() {
    const LENGTH: usize = 24 * 1024;
    let expected = pattern(LENGTH);
    let body = expected.clone();
    let origin = Origin::answering(move |request| match request.target() {
        "/chunked" => {
            let mut answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_vec();
            for part in body.chunks(1000) {
                answer.extend_from_slice(format!("{:x}\r\n", part.len()).as_bytes());
                answer.extend_from_slice(part);
                answer.extend_from_slice(b"\r\n");
            }
            answer.extend_from_slice(b"0\r\n\r\n");
            answer
        }
        _ => response(200, &[], &body),
    });
    let proxy = filtering(&origin, &fault("response_rate_limit = { fixed_limit = \"32KiB\", percent = 100 }"), "");
    let mut client = proxy.connect();
    for target in ["/length", "/chunked"] {
        let start = Instant::now();
        let answer = client.get(target);
        super::support::assert_same(&answer.body, &expected, target);
        // Twelve portions, of which the first comes at once.
        assert!(start.elapsed() >= Duration::from_millis(680), "{target}: {:?}", start.elapsed());
    }
    assert_eq!(proxy.stat("http.ingress_http.fault.response_rl_injected"), 2);
    proxy.wait_for_stat("http.ingress_http.fault.active_faults", 0);
    let by_header = fault("response_rate_limit = { header_limit = {}, percent = 100 }");
    let proxy = filtering(&origin, &by_header, "");
    let start = Instant::now();
    get(&proxy, "/length", "x-envoy-fault-throughput-response: 32\r\n");
    assert!(start.elapsed() >= Duration::from_millis(680), "{:?}", start.elapsed());
}

#[test]
fn what_is_refused() {
    for (settings, complaint) in [
        ("max_active_faults = 1", "injects no fault"),
        ("abort = { http_status = 503 }", "percent"),
        ("abort = { percent = 1 }", "http_status"),
        ("abort = { http_status = 700, percent = 1 }", "http_status"),
        ("abort = { http_status = 503, percent = 101 }", "percent"),
        ("delay = { fixed_delay = \"1s\", header_delay = {}, percent = 1 }", "header_delay"),
        ("abort = { http_status = 503, percent = 1 }, upstream_cluster = \"apq\"", "apq"),
    ] {
        let said = refusal(&fault(settings), "");
        assert!(said.contains(complaint), "{settings}: {said}");
    }
}
