//! Retries: when a request is sent again, where, how often, and that nothing is lost or delivered twice on the way.

use super::support::{Origin, Ringway, Setup, assert_same, dead_address, eventually, pattern, quoted, response};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const LOG: &str = "access_log = [{ path = \"DIR/log\", format = \"%RESPONSE_CODE% %RESPONSE_FLAGS% \
                   %RESPONSE_CODE_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%\" }]";

/// A proxy in front of these endpoints: `route` goes into the route, `cluster` into the cluster. Clients are inside.
fn proxy(endpoints: &[SocketAddr], http: &str, route: &str, cluster: &str) -> Ringway {
    Setup::new(&format!(
        r#"
[[listeners]]
address = "127.0.0.1:0"
stat_prefix = "main"
[listeners.http]
internal_addresses = ["127.0.0.0/8"]
{LOG}
{http}
[[listeners.http.virtual_hosts]]
name = "all"
domains = ["*"]
[[listeners.http.virtual_hosts.routes]]
match = {{ prefix = "/" }}
[listeners.http.virtual_hosts.routes.route]
cluster = "app"
{route}
[[clusters]]
name = "app"
endpoints = [{endpoints}]
{cluster}
"#,
        endpoints = quoted(endpoints)
    ))
    .runtime("access_log_flush_interval = \"5ms\"")
    .start()
}

pub(super) fn retrying(endpoints: &[SocketAddr], policy: &str) -> Ringway {
    let back_off = "retry_back_off = { base_interval = \"1ms\" }";
    proxy(endpoints, "", &format!("retry_policy = {{ {policy}, {back_off} }}"), "")
}

/// An origin that answers the first requests with `statuses`, one after another, and all others with 200.
fn failing(statuses: &'static [u16]) -> Origin {
    let count = AtomicUsize::new(0);
    Origin::answering(move |request| {
        let status = statuses.get(count.fetch_add(1, Ordering::SeqCst)).copied().unwrap_or(200);
        response(status, &["x-from: origin"], &request.body)
    })
}

/// Whether the request that is answered like this first is sent again under these conditions.
fn is_retried(conditions: &str, status: u16, fields: &'static [&'static str]) -> bool {
    let count = AtomicUsize::new(0);
    let origin = Origin::answering(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => response(status, fields, "first"),
        _ => response(200, &[], "second"),
    });
    let mut policy = format!("retry_on = [{conditions}]");
    if conditions.contains("codes") {
        policy += ", retriable_status_codes = [418]";
    }
    if conditions.contains("headers") {
        policy += ", retriable_headers = [{ name = \"x-again\", present = true }]";
    }
    let proxy = retrying(&[origin.address], &policy);
    let answer = proxy.get("/");
    let retried = answer.text() == "second";
    assert_eq!(answer.status(), if retried { 200 } else { status });
    assert_eq!(proxy.stat("cluster.app.upstream_rq_retry"), i64::from(retried));
    assert_eq!(proxy.stat("cluster.app.upstream_rq_retry_success"), i64::from(retried));
    assert_eq!(origin.requests().len(), 1 + usize::from(retried));
    retried
}

#[test]
fn conditions_on_the_response() {
    assert!(is_retried("\"5xx\"", 500, &[]));
    assert!(!is_retried("\"5xx\"", 429, &[]));
    assert!(is_retried("\"gateway-error\"", 502, &[]));
    assert!(!is_retried("\"gateway-error\"", 500, &[]));
    assert!(is_retried("\"retriable-4xx\"", 409, &[]));
    assert!(is_retried("\"retriable-status-codes\"", 418, &[]));
    assert!(!is_retried("\"5xx\"", 418, &[]));
    assert!(is_retried("\"retriable-headers\"", 200, &["x-again: yes"]));
    assert!(is_retried("\"envoy-ratelimited\"", 429, &["x-envoy-ratelimited: true"]));
    assert!(!is_retried("\"5xx\"", 503, &["x-envoy-ratelimited: true"]));
}

/// All statistics of a request that needed three tries.
#[test]
fn a_request_is_sent_again_until_it_succeeds() {
    let origin = failing(&[503, 503]);
    let proxy = retrying(&[origin.address], "retry_on = [\"5xx\"], num_retries = 3");
    let mut client = proxy.connect();
    client.send(b"POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nX-A: 1\r\n\r\nbody");
    let answer = client.response();
    assert_eq!((answer.status(), answer.text()), (200, "body"));
    let requests = origin.requests();
    assert_eq!(requests.len(), 3);
    for request in &requests {
        assert_eq!((request.method(), request.target(), request.text()), ("POST", "/x", "body"));
        assert_eq!(request.field("x-a"), Some("1"));
    }
    assert_eq!(proxy.log_lines("log", 1)[0], "200 - via_upstream 3");
    assert_eq!(proxy.stat("cluster.app.upstream_rq_retry"), 2);
    assert_eq!(proxy.stat("cluster.app.upstream_rq_retry_backoff_exponential"), 2);
    assert_eq!(proxy.stat("cluster.app.upstream_rq_retry_success"), 1);
    assert_eq!(proxy.stat("cluster.app.upstream_rq_total"), 3);
    assert_eq!(proxy.stat("cluster.app.upstream_rq_200"), 1);
    assert_eq!(proxy.stat("cluster.app.upstream_rq_active"), 0);
    assert_eq!(origin.connections(), 1, "a response that came whole leaves its connection in order");
}

#[test]
fn retries_are_limited_and_the_last_response_is_the_clients() {
    let origin = Origin::answering(|_| response(503, &["x-from: origin"], "no"));
    let proxy = retrying(&[origin.address], "retry_on = [\"5xx\"], num_retries = 2");
    let answer = proxy.get("/");
    assert_eq!((answer.status(), answer.field("x-from"), answer.text()), (503, Some("origin"), "no"));
    assert_eq!(origin.requests().len(), 3);
    assert_eq!(proxy.log_lines("log", 1)[0], "503 URX via_upstream 3");
    assert_eq!(proxy.stat("cluster.app.upstream_rq_retry_limit_exceeded"), 1);
    assert_eq!(proxy.stat("cluster.app.upstream_rq_retry_success"), 0);
}

#[test]
fn connect_failures_go_to_another_endpoint() {
    let origin = Origin::answering(|_| response(200, &[], "ok"));
    let endpoints = [dead_address(), origin.address];
    let policy = "retry_on = [\"connect-failure\"], retry_host_predicate = [\"previous_hosts\"], \
                  host_selection_retry_max_attempts = 5";
    let proxy = retrying(&endpoints, policy);
    let mut client = proxy.connect();
    for _ in 0..20 {
        assert_eq!(client.get("/").text(), "ok");
    }
    let retries = proxy.stat("cluster.app.upstream_rq_retry");
    // A round robin's next pick may always be the retry.
    assert!((5..=20).contains(&retries), "{retries}");
    assert_eq!(proxy.stat("cluster.app.upstream_rq_retry_success"), retries);
    assert_eq!(proxy.stat("cluster.app.upstream_cx_connect_fail"), retries);
    // There is no other endpoint: the fault is told.
    let alone = retrying(&[dead_address()], "retry_on = [\"connect-failure\"]");
    assert_eq!(alone.get("/").status(), 503);
    let line = "503 UF,URX upstream_reset_before_response_started{remote_connection_failure|connection_refused} 2";
    assert_eq!(alone.log_lines("log", 1)[0], line);
}

/// "reset": the upstream did not answer at all; a POST is sent again, too, because the operator says so.
#[test]
fn resets_are_retried_only_where_asked() {
    for (condition, status) in [("reset", 200), ("connect-failure", 503), ("reset-before-request", 503)] {
        let count = AtomicUsize::new(0);
        let origin = Origin::recording(move |connection, request, _| {
            if count.fetch_add(1, Ordering::SeqCst) == 0 {
                return false;
            }
            connection.send(&response(200, &[], &request.body));
            true
        });
        let proxy = retrying(&[origin.address], &format!("retry_on = [\"{condition}\"]"));
        let mut client = proxy.connect();
        client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
        let answer = client.response();
        assert_eq!(answer.status(), status, "{condition}");
        assert_eq!(origin.requests().len(), if status == 200 { 2 } else { 1 }, "{condition}");
    }
}

#[test]
fn a_chunked_body_is_replayed_whole() {
    let origin = failing(&[503]);
    let proxy = retrying(&[origin.address], "retry_on = [\"5xx\"]");
    let body = pattern(150_000);
    let mut client = proxy.connect();
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    for piece in body.chunks(7001) {
        client.send(format!("{:x}\r\n", piece.len()).as_bytes());
        client.send(piece);
        client.send(b"\r\n");
    }
    client.send(b"0\r\n\r\n");
    let answer = client.response();
    assert_eq!(answer.status(), 200);
    assert_same(&answer.body, &body, "what came back");
    for request in origin.requests() {
        assert_same(&request.body, &body, "what each try had");
    }
    assert_eq!(origin.requests().len(), 2);
}

/// A try fails while the client is still sending: the next one gets what came before and what comes now.
#[test]
fn a_try_may_fail_within_the_request() {
    let count = AtomicUsize::new(0);
    let origin = Origin::raw(move |mut connection, _| {
        let first = count.fetch_add(1, Ordering::SeqCst) == 0;
        if first {
            connection.head();
            connection.reset();
            return;
        }
        let request = connection.request().expect("a request");
        connection.send(&response(200, &[], &request.body));
    });
    let proxy = retrying(&[origin.address], "retry_on = [\"reset\"]");
    let mut client = proxy.connect();
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc");
    proxy.wait_for_stat("cluster.app.upstream_rq_retry", 1);
    client.send(b"def");
    assert_eq!(client.response().text(), "abcdef");
}

/// What is too large to be kept is sent once, which is counted and told.
#[test]
fn a_body_too_large_for_another_try() {
    let origin = failing(&[503]);
    let proxy = retrying(&[origin.address], "retry_on = [\"5xx\"], max_replay_bytes = \"1KiB\"");
    let mut client = proxy.connect();
    for (length, status, details) in [
        (1025, 503, "503 - via_upstream{request_payload_exceeded_retry_buffer_limit} 1"),
        (1024, 200, "200 - via_upstream 1"),
    ] {
        client.send(format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n").as_bytes());
        client.send(&vec![b'x'; length]);
        assert_eq!(client.response().status(), status);
        let lines = if status == 503 { 1 } else { 2 };
        assert_eq!(proxy.log_lines("log", lines)[lines - 1], details);
    }
    assert_eq!(proxy.stat("cluster.app.retry_or_shadow_abandoned"), 1);
    // Within the limit, it is sent again.
    let origin = failing(&[503]);
    let proxy = retrying(&[origin.address], "retry_on = [\"5xx\"], max_replay_bytes = \"1KiB\"");
    let mut client = proxy.connect();
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1024\r\n\r\n");
    client.send(&[b'x'; 1024]);
    assert_eq!(client.response().body.len(), 1024);
    assert_eq!(proxy.stat("cluster.app.retry_or_shadow_abandoned"), 0);
}

/// Once the client has seen a response begin, there is no other.
#[test]
fn a_response_that_has_begun_is_never_followed_by_another() {
    let origin = Origin::recording(|connection, _, _| {
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        false
    });
    let proxy = retrying(&[origin.address], "retry_on = [\"5xx\", \"reset\"]");
    let answer = proxy.get("/");
    assert_eq!((answer.status(), answer.complete), (200, false));
    assert_eq!(origin.requests().len(), 1);
    // The same goes for an interim response.
    let origin = Origin::recording(|connection, _, _| {
        connection.send(b"HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n");
        connection.send(&response(503, &[], "no"));
        true
    });
    let proxy = retrying(&[origin.address], "retry_on = [\"5xx\"]");
    let mut client = proxy.connect();
    assert_eq!(client.get("/").status(), 103);
    assert_eq!(client.response().status(), 503);
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn per_try_timeout() {
    let count = AtomicUsize::new(0);
    let origin = Origin::recording(move |connection, _, _| {
        if count.fetch_add(1, Ordering::SeqCst) == 0 {
            connection.some();
            return false;
        }
        connection.send(&response(200, &[], "second"));
        true
    });
    let proxy = retrying(&[origin.address], "retry_on = [\"5xx\"], per_try_timeout = \"150ms\"");
    assert_eq!(proxy.get("/").text(), "second");
    assert_eq!(proxy.stat("cluster.app.upstream_rq_per_try_timeout"), 1);
    // The last one tells.
    let origin = Origin::recording(|connection, _, _| {
        connection.some();
        false
    });
    let silent = retrying(&[origin.address], "retry_on = [\"5xx\"], per_try_timeout = \"100ms\"");
    let answer = silent.get("/");
    assert_eq!((answer.status(), answer.text()), (504, "upstream request timeout"));
    assert_eq!(silent.log_lines("log", 1)[0], "504 UT,URX upstream_per_try_timeout 2");
    assert_eq!(silent.stat("cluster.app.upstream_rq_per_try_timeout"), 2);
    assert_eq!(silent.stat("cluster.app.upstream_rq_timeout"), 0);
    assert_eq!(silent.stat("cluster.app.upstream_cx_active"), 0);
}

/// It goes on with the response's body; what has begun is cut off visibly.
#[test]
fn per_try_idle_timeout() {
    let count = AtomicUsize::new(0);
    let origin = Origin::recording(move |connection, _, _| {
        if count.fetch_add(1, Ordering::SeqCst) > 0 {
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf");
        }
        connection.some();
        false
    });
    let proxy = retrying(&[origin.address], "retry_on = [\"reset\"], per_try_idle_timeout = \"150ms\"");
    let answer = proxy.get("/");
    assert_eq!((answer.status(), answer.text(), answer.complete), (200, "half", false));
    proxy.wait_for_stat("cluster.app.upstream_rq_per_try_idle_timeout", 2);
    assert_eq!(proxy.stat("cluster.app.upstream_rq_retry"), 1);
}

/// "The route timeout includes all retries", and it is not retried.
#[test]
fn the_routes_timeout_is_for_all_tries() {
    let origin = Origin::recording(|connection, _, _| {
        connection.some();
        false
    });
    let route =
        "timeout = \"300ms\"\nretry_policy = { retry_on = [\"5xx\"], num_retries = 100, per_try_timeout = \"100ms\" }";
    let proxy = proxy(&[origin.address], "", route, "");
    let start = Instant::now();
    assert_eq!(proxy.get("/").status(), 504);
    assert!(start.elapsed() >= Duration::from_millis(300));
    assert!(proxy.log_lines("log", 1)[0].starts_with("504 UT upstream_response_timeout "));
    assert!(origin.requests().len() < 10);
}

#[test]
fn the_upstream_may_say_when_to_try_again() {
    let count = AtomicUsize::new(0);
    let origin = Origin::answering(move |_| match count.fetch_add(1, Ordering::SeqCst) {
        0 => response(429, &["retry-after: 1"], "later"),
        _ => response(200, &[], "now"),
    });
    let policy = "retry_policy = { retry_on = [\"retriable-status-codes\"], retriable_status_codes = [429], \
                  rate_limited_retry_back_off = { reset_headers = [{ name = \"Retry-After\" }] } }";
    let proxy = proxy(&[origin.address], "", policy, "");
    let start = Instant::now();
    assert_eq!(proxy.get("/").text(), "now");
    assert!(start.elapsed() >= Duration::from_secs(1), "{:?}", start.elapsed());
    assert_eq!(proxy.stat("cluster.app.upstream_rq_retry_backoff_ratelimited"), 1);
    assert_eq!(proxy.stat("cluster.app.upstream_rq_retry_backoff_exponential"), 0);
}

/// x-envoy-* fields of a request count only from inside, and go no further.
#[test]
fn a_request_from_inside_says_how_it_is_retried() {
    let ask = "X-Envoy-Retry-On: 5xx\r\nX-Envoy-Max-Retries: 3\r\nX-Envoy-Upstream-Rq-Timeout-Ms: 5000\r\n";
    let get = |proxy: &Ringway, more: &str| {
        let mut client = proxy.connect();
        client.send(format!("GET / HTTP/1.1\r\nHost: h\r\n{ask}{more}\r\n").as_bytes());
        client.response().status()
    };
    let origin = failing(&[500, 500, 500]);
    let inside = proxy(&[origin.address], "", "", "");
    assert_eq!(get(&inside, ""), 200);
    assert_eq!(origin.requests().len(), 4);
    for request in origin.requests() {
        let left: Vec<_> = request.fields.iter().filter(|(name, _)| name.starts_with("x-envoy-retry")).collect();
        assert!(left.is_empty() && request.field("x-envoy-max-retries").is_none(), "{:?}", request.fields);
        assert_eq!(request.field("x-envoy-upstream-rq-timeout-ms"), None);
    }
    // An address that came through another proxy is not checkable: outside.
    let origin = failing(&[500]);
    let outside = proxy(&[origin.address], "", "", "");
    assert_eq!(get(&outside, "X-Forwarded-For: 1.2.3.4\r\n"), 500);
    assert_eq!(origin.last().field("x-envoy-retry-on"), None);
    // A timeout, and the answer that it is to have.
    let silent = Origin::recording(|connection, _, _| {
        connection.some();
        false
    });
    let late = proxy(&[silent.address], "", "", "");
    let mut client = late.connect();
    let fields = "x-envoy-upstream-rq-timeout-ms: 100\r\nx-envoy-upstream-rq-timeout-alt-response: 1\r\n";
    client.send(format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n").as_bytes());
    assert_eq!(client.response().status(), 204);
    assert_eq!(late.log_lines("log", 1)[0], "204 UT upstream_response_timeout 1");
}

#[test]
fn retries_in_flight_are_limited() {
    let slow = AtomicUsize::new(0);
    let origin = Origin::recording(move |connection, request, _| {
        if request.target() == "/slow" && slow.fetch_add(1, Ordering::SeqCst) > 0 {
            // The retry stays in flight until the client goes.
            return !connection.some();
        }
        connection.send(&response(503, &[], "no"));
        true
    });
    let cluster = "circuit_breakers = { max_retries = 1 }";
    let proxy = proxy(&[origin.address], "", "retry_policy = { retry_on = [\"5xx\"] }", cluster);
    let mut first = proxy.connect();
    first.send(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n");
    eventually("the retry is in flight", || origin.requests().len() == 2);
    assert_eq!(proxy.get("/").status(), 503);
    assert_eq!(proxy.log_lines("log", 1)[0], "503 UO via_upstream 1");
    assert_eq!(proxy.stat("cluster.app.upstream_rq_retry_overflow"), 1);
    assert_eq!(proxy.stat("cluster.app.upstream_rq_retry"), 1);
    // Its place is free again when its client is gone.
    first.reset();
    proxy.wait_for_stat("cluster.app.upstream_rq_active", 0);
    assert_eq!(proxy.get("/").status(), 503);
    assert_eq!(proxy.stat("cluster.app.upstream_rq_retry"), 2);
}

/// A pooled connection that was closed meanwhile costs no retry: the first try is still to come.
#[test]
fn a_stale_connection_is_not_a_try() {
    let origin = Origin::recording(|connection, _, number| {
        // The first connection serves one request and dies with the second; the next one fails once, too.
        let status = if number == 1 { 503 } else { 200 };
        connection.send(&response(status, &[], "ok"));
        number != 0 || connection.request().is_none()
    });
    let proxy = retrying(&[origin.address], "retry_on = [\"5xx\"], num_retries = 1");
    let mut client = proxy.connect();
    assert_eq!(client.get("/").status(), 200);
    // Dies (not counted), 503 (the first try), then 200 or 503 by the connection it gets: a retry was left for it.
    client.get("/");
    assert_eq!(proxy.stat("cluster.app.upstream_rq_retry_backoff_exponential"), 1);
}

/// x-envoy-attempt-count, for both sides.
#[test]
fn both_sides_may_hear_which_try_it_is() {
    let origin = failing(&[503]);
    let config = format!(
        r#"
[[listeners]]
address = "127.0.0.1:0"
[[listeners.http.virtual_hosts]]
name = "all"
domains = ["*"]
include_request_attempt_count = true
include_attempt_count_in_response = true
retry_policy = {{ retry_on = ["5xx"] }}
routes = [{{ match = {{ prefix = "/" }}, route = {{ cluster = "app" }} }}]
[[clusters]]
name = "app"
endpoints = ["{}"]
"#,
        origin.address
    );
    let proxy = Ringway::start(&config);
    assert_eq!(proxy.get("/").field("x-envoy-attempt-count"), Some("2"));
    let counts: Vec<_> =
        origin.requests().iter().map(|r| r.field("x-envoy-attempt-count").map(str::to_owned)).collect();
    assert_eq!(counts, [Some("1".to_owned()), Some("2".to_owned())]);
}

/// The host follows the endpoint from try to try (auto_host_rewrite); one without a name leaves the client's, and the client's
/// is told once it is replaced.
#[test]
fn each_try_has_its_endpoints_host() {
    for (hostname, at_bad) in [(", hostname = \"bad.internal\"", "bad.internal"), ("", "example.com")] {
        let (bad, good) =
            (Origin::answering(|_| response(503, &[], "no")), Origin::answering(|_| response(200, &[], "ok")));
        let config = format!(
            r#"
[[listeners]]
address = "127.0.0.1:0"
[[listeners.http.routes]]
match = {{ prefix = "/" }}
[listeners.http.routes.route]
cluster = "app"
auto_host_rewrite = true
append_x_forwarded_host = true
retry_policy = {{ retry_on = ["5xx"], retry_host_predicate = ["previous_hosts"], host_selection_retry_max_attempts = 10 }}
[[clusters]]
name = "app"
endpoints = [{{ address = "{}"{hostname} }}, {{ address = "{}", hostname = "good.internal" }}]
"#,
            bad.address, good.address
        );
        let proxy = Ringway::start(&config);
        let mut client = proxy.connect();
        for _ in 0..4 {
            assert_eq!(client.get("/").text(), "ok");
        }
        assert_eq!(good.requests().len(), 4);
        assert!(bad.requests().iter().all(|request| request.field("host") == Some(at_bad)));
        for request in good.requests() {
            assert_eq!(request.field("host"), Some("good.internal"));
            for name in ["x-forwarded-host", "x-envoy-original-host"] {
                assert_eq!(request.field(name), Some("example.com"), "{name}");
            }
        }
    }
}
