//! How long a response may take by default, and with `timeout` and `response_head_timeout`; the time is virtual.

use crate::support::{DATE, End, Proxy, State};
use std::time::Duration;

const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";

/// A proxy whose route has these further keys, and an exchange whose request the origin has.
fn asked(route: &str, request: &str) -> (Proxy, End, End) {
    let proxy = Proxy::with_route(route);
    let client = proxy.client();
    client.write(request);
    let origin = proxy.accept();
    (proxy, client, origin)
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

#[test]
fn a_head_is_awaited_for_a_minute() {
    let (proxy, mut client, mut origin) = asked("", GET);
    proxy.advance(seconds(59));
    assert_eq!((client.take(), origin.state()), (String::new(), State::Open));
    proxy.advance(seconds(2));
    assert!(client.take().starts_with("HTTP/1.1 504 "));
    assert_ne!(origin.state(), State::Open);
    assert_eq!(proxy.stat("cluster.app.upstream_rq_timeout"), 1);
}

/// The time begins with the end of the request.
#[test]
fn an_upload_is_not_in_it() {
    let (proxy, mut client, mut origin) = asked("", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 8000\r\n\r\n");
    for _ in 0..8 {
        proxy.advance(seconds(10));
        client.write("x".repeat(1000));
    }
    proxy.advance(seconds(55));
    assert_eq!((client.take(), origin.state()), (String::new(), State::Open));
    proxy.advance(seconds(10));
    assert!(client.take().starts_with("HTTP/1.1 504 "));
}

/// A response that has begun takes as long as it moves: downloads, event streams.
#[test]
fn a_body_may_take_any_time() {
    let (proxy, mut client, mut origin) = asked("", GET);
    proxy.advance(seconds(50));
    origin.write(format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: 100\r\n\r\n"));
    let mut text = proxy.read(&mut client);
    for _ in 0..100 {
        proxy.advance(seconds(200));
        assert_eq!((client.state(), origin.state()), (State::Open, State::Open));
        origin.write("x");
        text += &proxy.read(&mut client);
    }
    assert!(text.starts_with("HTTP/1.1 200 ") && text.ends_with(&"x".repeat(100)), "{text}");
}

/// An early response: the request ends after the response's head, and nothing is left to wait for.
#[test]
fn a_request_that_ends_after_the_head_starts_nothing() {
    let (proxy, mut client, origin) = asked("", "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n");
    origin.write(format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: 4\r\n\r\nso"));
    assert!(proxy.read(&mut client).ends_with("so"));
    client.write("abc");
    proxy.advance(seconds(120));
    origin.write("me");
    assert!(proxy.read(&mut client).ends_with("me"));
}

#[test]
fn a_grpc_stream_may_begin_late() {
    for (kind, waits) in [("application/grpc+proto", true), ("application/json", false)] {
        let request = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Type: {kind}\r\nContent-Length: 2\r\n\r\nhi");
        let (proxy, _client, mut origin) = asked("", &request);
        proxy.advance(seconds(200));
        assert_eq!(origin.state() == State::Open, waits, "{kind}");
    }
}

/// What is written for the whole response holds for its head, too, unless that has a time of its own.
#[test]
fn a_route_says_how_long() {
    for (route, passes, ends) in [
        (", timeout = \"5m\", stream_idle_timeout = \"off\"", 290, 310),
        (", timeout = \"off\", stream_idle_timeout = \"off\"", 5000, u64::MAX),
        (", timeout = \"5m\", response_head_timeout = \"10s\"", 9, 11),
        (", response_head_timeout = \"10s\"", 9, 11),
        (", response_head_timeout = \"off\", stream_idle_timeout = \"off\"", 5000, u64::MAX),
        (", timeout = \"15s\"", 14, 16),
    ] {
        let (proxy, client, mut origin) = asked(route, GET);
        proxy.advance(seconds(passes));
        assert_eq!(origin.state(), State::Open, "{route}");
        if ends < u64::MAX {
            proxy.advance(seconds(ends - passes));
            assert_ne!(origin.state(), State::Open, "{route}");
        }
        drop(client);
    }
}

/// All tries share it.
#[test]
fn tries_have_one_time_together() {
    let retry = ", retry_policy = { retry_on = [\"5xx\"], num_retries = 100, per_try_timeout = \"10s\" }";
    let (proxy, mut client, _origin) = asked(retry, GET);
    proxy.advance(seconds(58));
    assert_eq!(client.take(), "");
    assert!(proxy.stat("cluster.app.upstream_rq_per_try_timeout") >= 4);
    proxy.advance(seconds(3));
    assert!(client.take().starts_with("HTTP/1.1 504 "));
    assert_eq!(proxy.stat("cluster.app.upstream_rq_timeout"), 1);
}
