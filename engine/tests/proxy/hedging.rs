//! Hedging: a second try next to one that is late; whichever answers well first is the client's.

use super::support::{Origin, Ringway, Setup, eventually, response};
use When::{Later, Never, Now, Second};
use socket2::{Domain, Socket, Type};
use std::io::Write;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

fn hedging(origin: SocketAddr, policy: &str) -> Ringway {
    hedging_after("150ms", origin, policy)
}

fn hedging_after(per_try_timeout: &str, origin: SocketAddr, policy: &str) -> Ringway {
    Setup::new(&format!(
        r#"
[[listeners]]
address = "127.0.0.1:0"
[listeners.http]
internal_addresses = ["127.0.0.0/8"]
access_log = [{{ path = "DIR/log", format = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_REQUEST_ATTEMPT_COUNT%" }}]
[[listeners.http.virtual_hosts]]
name = "all"
domains = ["*"]
[[listeners.http.virtual_hosts.routes]]
match = {{ prefix = "/" }}
[listeners.http.virtual_hosts.routes.route]
cluster = "app"
hedge_on_per_try_timeout = true
retry_policy = {{ per_try_timeout = "{per_try_timeout}", retry_back_off = {{ base_interval = "1ms" }}, {policy} }}
[[clusters]]
name = "app"
endpoints = ["{origin}"]
"#
    ))
    .runtime("access_log_flush_interval = \"5ms\"")
    .start()
}

/// When an origin answers.
#[derive(Clone, Copy)]
enum When {
    Now,
    /// A little after the origin has seen two requests.
    Second,
    /// Later than that.
    Later,
    Never,
}

/// An origin whose answers, by the number of the request, have a status and the number as body.
fn slow(answers: &'static [(When, u16)]) -> Origin {
    let count = AtomicUsize::new(0);
    Origin::recording(move |connection, request, _| {
        let number = count.fetch_add(1, Ordering::SeqCst);
        let (when, status) = answers[number.min(answers.len() - 1)];
        let pause = match when {
            When::Now => 0,
            When::Second => 50,
            When::Later => 400,
            When::Never => {
                connection.some();
                return false;
            }
        };
        if pause > 0 {
            eventually("there is a second request", || count.load(Ordering::SeqCst) >= 2);
            std::thread::sleep(Duration::from_millis(pause));
        }
        let body = format!("{number}:{}", String::from_utf8_lossy(&request.body));
        connection.try_send(&response(status, &[], body))
    })
}

#[test]
fn the_second_try_overtakes_the_first() {
    let origin = slow(&[(Never, 200), (Now, 200)]);
    let proxy = hedging(origin.address, "retry_on = [\"5xx\"]");
    let mut client = proxy.connect();
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nbody");
    assert_eq!(client.response().text(), "1:body");
    assert_eq!(proxy.stat("cluster.app.upstream_rq_retry"), 1);
    assert_eq!(proxy.stat("cluster.app.upstream_rq_per_try_timeout"), 0, "nothing was given up");
    assert_eq!(proxy.log_lines("log", 1)[0], "200 - via_upstream 2");
    // The other one is cancelled: its connection goes.
    proxy.wait_for_stat("cluster.app.upstream_cx_active", 1);
    assert_eq!(proxy.stat("cluster.app.upstream_rq_active"), 0);
    assert_eq!(proxy.stat("cluster.app.upstream_rq_tx_reset"), 1);
    assert_eq!(client.get("/").text(), "2:", "both sides are in order");
}

#[test]
fn the_first_try_may_still_win() {
    let origin = slow(&[(Second, 200), (Never, 200)]);
    let proxy = hedging(origin.address, "retry_on = [\"5xx\"]");
    assert_eq!(proxy.get("/").text(), "0:");
    assert_eq!(origin.requests().len(), 2);
    proxy.wait_for_stat("cluster.app.upstream_cx_active", 1);
    assert_eq!(proxy.stat("cluster.app.upstream_rq_active"), 0);
}

/// A bad answer does not win as long as a better one may come.
#[test]
fn a_bad_answer_waits_for_a_better_one() {
    let origin = slow(&[(Later, 200), (Now, 503)]);
    let proxy = hedging(origin.address, "retry_on = [\"5xx\"], num_retries = 1");
    assert_eq!(proxy.get("/").text(), "0:");
    let origin = slow(&[(Second, 503), (Later, 200)]);
    let proxy = hedging(origin.address, "retry_on = [\"5xx\"], num_retries = 1");
    assert_eq!(proxy.get("/").text(), "1:");
    // All are bad: the last one is the client's.
    let origin = slow(&[(Second, 503), (Now, 503)]);
    let proxy = hedging(origin.address, "retry_on = [\"5xx\"], num_retries = 1");
    assert_eq!(proxy.get("/").status(), 503);
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn all_tries_end_with_the_routes_time() {
    let origin = slow(&[(Never, 200)]);
    let proxy = hedging(origin.address, "retry_on = [\"5xx\"], num_retries = 3");
    // From inside, a request may say how long its route's time is.
    let mut client = proxy.connect();
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\nx-envoy-upstream-rq-timeout-ms: 3000\r\n\r\n");
    assert_eq!(client.response().status(), 504);
    assert_eq!(origin.requests().len(), 4);
    assert!(proxy.log_lines("log", 1)[0].ends_with(" upstream_response_timeout 4"));
    proxy.wait_for_stat("cluster.app.upstream_cx_active", 0);
    assert_eq!(proxy.stat("cluster.app.upstream_rq_active"), 0);
}

/// The second try still waits for its connection when the first one answers.
#[test]
fn a_try_without_a_connection_is_cancelled() {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).expect("bound");
    listener.listen(0).expect("listening");
    let address = listener.local_addr().expect("bound").as_socket().expect("an IP address");
    let proxy = hedging(address, "retry_on = [\"5xx\"]");
    let mut client = proxy.connect();
    let inside = "x-envoy-upstream-rq-per-try-timeout-ms: 600";
    client.send(format!("GET / HTTP/1.1\r\nHost: h\r\n{inside}\r\n\r\n").as_bytes());
    let (mut first, _) = listener.accept().expect("the first try");
    // Fill the backlog: further connections are neither made nor refused.
    let fill = (0..4).map(|_| {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        socket.set_nonblocking(true).expect("a flag");
        // It connects later, or never.
        drop(socket.connect(&address.into()));
        socket
    });
    let _fill: Vec<_> = fill.collect();
    proxy.wait_for_stat("cluster.app.upstream_rq_retry", 1);
    proxy.wait_for_stat("cluster.app.upstream_rq_pending_active", 1);
    first.write_all(&response(200, &[], "first")).expect("the proxy reads");
    assert_eq!(client.response().text(), "first");
    proxy.wait_for_stat("cluster.app.upstream_cx_active", 1);
    assert_eq!(proxy.stat("cluster.app.upstream_rq_pending_active"), 0);
    assert_eq!(proxy.stat("cluster.app.upstream_rq_cancelled"), 1);
    assert_eq!(proxy.stat("cluster.app.upstream_rq_active"), 0);
}

/// Without retries there is nothing to hedge with: the time of a try is as hard as ever, and the log says that.
#[test]
fn a_policy_without_retries_does_not_hedge() {
    for (policy, flags) in [
        ("retry_on = [\"5xx\"], retriable_request_headers = [{ name = \"x-other\" }]", "UT"),
        ("retry_on = [\"5xx\"], num_retries = 0", "UT,URX"),
    ] {
        let origin = slow(&[(Never, 200)]);
        let proxy = hedging(origin.address, policy);
        let mut client = proxy.connect();
        client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(client.response().status(), 504);
        assert_eq!(proxy.log_lines("log", 1)[0], format!("504 {flags} upstream_per_try_timeout 1"));
        assert_eq!(proxy.stat("cluster.app.upstream_rq_total"), 1);
        assert_eq!(proxy.stat("cluster.app.upstream_rq_per_try_timeout"), 1);
    }
}

/// A try on which nothing moves is given up, and an ordinary retry follows.
#[test]
fn an_idle_try_is_not_hedged() {
    let origin = slow(&[(Never, 200), (Now, 200)]);
    let policy = "retry_on = [\"reset\"], num_retries = 10, per_try_idle_timeout = \"400ms\"";
    // Hedging is far off, so that on a busy machine a second try may be idle for too long as well.
    let proxy = hedging_after("14s", origin.address, policy);
    let answer = proxy.get("/");
    assert_eq!(answer.status(), 200);
    let given_up: u64 = answer.text().trim_end_matches(':').parse().expect("the number of the request");
    assert!(proxy.stat("cluster.app.upstream_rq_per_try_idle_timeout") as u64 >= given_up.max(1));
    assert_eq!(proxy.stat("cluster.app.upstream_rq_per_try_timeout"), 0);
    proxy.wait_for_stat("cluster.app.upstream_cx_active", 1);
}
