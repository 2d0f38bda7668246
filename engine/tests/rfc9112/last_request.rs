//! RFC 9112 section 9.6: a connection that this side ends says so in its last response, and a request that is on its way when
//! the end is decided on is served. Between two requests, that takes a wait. The time is virtual.

use crate::support::{DATE, End, Proxy, State};
use ringway_config::model::Config;
use std::time::Duration;

const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: {}\r\n\r\n{body}", body.len())
}

/// One whole exchange. Whether its response says that it is the last one.
fn exchange(proxy: &Proxy, client: &mut End, origin: &mut Option<End>) -> bool {
    client.write(GET);
    proxy.settle();
    let origin = origin.get_or_insert_with(|| proxy.accept());
    origin.write(ok("ok"));
    says_close(&proxy.read(client))
}

fn says_close(response: &str) -> bool {
    assert!(response.starts_with("HTTP/1.1 "), "{response:?}");
    response.to_ascii_lowercase().contains("\r\nconnection: close\r\n")
}

fn milliseconds(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn aged() -> (Proxy, End, Option<End>) {
    let proxy = Proxy::with("max_connection_duration = \"10s\"", "");
    let mut client = proxy.client();
    let mut origin = None;
    assert!(!exchange(&proxy, &mut client, &mut origin));
    (proxy, client, origin)
}

/// What ends a connection may come up at any time before its response's head: it is in there.
#[test]
fn an_age_that_is_reached_while_a_response_is_waited_for_is_in_it() {
    let (proxy, mut client, origin) = aged();
    let origin = origin.expect("a connection");
    client.write(GET);
    proxy.advance(milliseconds(10_500));
    assert_eq!(client.take(), "");
    origin.write(ok("ok"));
    assert!(says_close(&proxy.read(&mut client)));
    assert_eq!(client.state(), State::Ended);
    assert_eq!(proxy.stat("http.ingress_http.downstream_cx_max_duration_reached"), 1);
}

/// Within the body, or between two requests: the next request is the last, and is served.
#[test]
fn an_age_that_is_reached_later_is_in_the_next_response() {
    for in_body in [true, false] {
        let (proxy, mut client, mut origin) = aged();
        if in_body {
            client.write(GET);
            proxy.settle();
            let origin = origin.as_ref().expect("a connection");
            origin.write(format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: 4\r\n\r\nab"));
            assert!(!says_close(&proxy.read(&mut client)));
            proxy.advance(milliseconds(60_000));
            origin.write("cd");
            assert_eq!(proxy.read(&mut client), "cd");
            proxy.advance(milliseconds(4900));
        } else {
            proxy.advance(milliseconds(14_900));
        }
        assert_eq!(client.state(), State::Open, "in the body: {in_body}");
        assert!(exchange(&proxy, &mut client, &mut origin), "in the body: {in_body}");
        assert_eq!(client.state(), State::Ended);
        assert_eq!(proxy.stat("http.ingress_http.downstream_cx_max_duration_reached"), 1);
        assert_eq!(proxy.stat("http.ingress_http.downstream_cx_idle_timeout"), 0);
    }
}

/// A connection whose client has nothing to ask ends five seconds after its time.
#[test]
fn an_old_connection_without_a_request_ends() {
    let (proxy, mut client, _origin) = aged();
    proxy.advance(milliseconds(14_900));
    assert_eq!(client.state(), State::Open);
    proxy.advance(milliseconds(200));
    assert_eq!((client.state(), proxy.shard.connections()), (State::Ended, 0));
    assert_eq!(proxy.stat("http.ingress_http.downstream_cx_max_duration_reached"), 1);
}

/// A client that sends all the time loses nothing, however often its connections end.
#[test]
fn a_busy_client_loses_nothing_to_ages() {
    let proxy = Proxy::with("max_connection_duration = \"1s\"", "");
    let mut origin = None;
    let mut connections = 0;
    let mut client = None::<End>;
    for _ in 0..400 {
        let end = client.get_or_insert_with(|| {
            connections += 1;
            proxy.client()
        });
        assert_eq!(end.state(), State::Open, "it was not told");
        if exchange(&proxy, end, &mut origin) {
            assert_eq!(end.state(), State::Ended);
            client = None;
        }
        proxy.advance(milliseconds(30));
    }
    assert!((10..=16).contains(&connections), "{connections}");
}

/// A new configuration without the listener.
fn without_the_listener() -> Config {
    let text = "[[listeners]]\naddress = \"127.0.0.1:9\"\n\
                http.routes = [{ match = { prefix = \"/\" }, direct_response = { status = 503 } }]";
    ringway_config::load_str("test.toml", text).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The end of the process, and that of a listener.
#[test]
fn a_drain_between_two_requests_serves_one_more() {
    for removed in [false, true] {
        let mut proxy = Proxy::new();
        let (mut asks, mut idle) = (proxy.client(), proxy.client());
        let mut origin = None;
        assert!(!exchange(&proxy, &mut asks, &mut origin));
        assert!(!exchange(&proxy, &mut idle, &mut origin));
        proxy.advance(milliseconds(30_000));
        if removed {
            proxy.shard.apply(without_the_listener())
        } else {
            proxy.shard.drain()
        }
        proxy.advance(milliseconds(900));
        assert_eq!((asks.state(), idle.state()), (State::Open, State::Open), "removed: {removed}");
        assert!(exchange(&proxy, &mut asks, &mut origin), "removed: {removed}");
        assert_eq!(asks.state(), State::Ended);
        drop(asks);
        proxy.advance(milliseconds(200));
        assert_eq!((idle.state(), proxy.shard.connections()), (State::Ended, 0), "removed: {removed}");
        assert_eq!(proxy.stat("http.ingress_http.downstream_cx_drain_close"), 2);
    }
}

/// A response that had begun before the drain could not say so: the second begins with its end.
#[test]
fn a_drain_within_a_response_serves_one_more() {
    let proxy = Proxy::new();
    let mut client = proxy.client();
    client.write(GET);
    let origin = proxy.accept();
    origin.write(format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: 4\r\n\r\nab"));
    assert!(!says_close(&proxy.read(&mut client)));
    proxy.shard.drain();
    proxy.advance(milliseconds(20_000));
    origin.write("cd");
    assert_eq!(proxy.read(&mut client), "cd");
    proxy.advance(milliseconds(900));
    assert_eq!(client.state(), State::Open);
    assert!(exchange(&proxy, &mut client, &mut Some(origin)));
    assert_eq!(client.state(), State::Ended);
}

/// A reply of the proxy's own, and one about a failure, say it as well.
#[test]
fn replies_of_the_proxy_itself_say_it() {
    let proxy = Proxy::with("max_requests_per_connection = 2", "");
    for second in ["HTTP/1.1 200", "garbage\r\n\r\n"] {
        let mut client = proxy.client();
        let mut origin = None;
        assert!(!exchange(&proxy, &mut client, &mut origin));
        client.write("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
        proxy.settle();
        let origin = origin.expect("a connection");
        origin.write(second);
        drop(origin);
        let answer = proxy.read(&mut client);
        assert!(answer.starts_with("HTTP/1.1 50"), "{answer}");
        assert!(says_close(&answer), "{answer}");
        assert_eq!(client.state(), State::Ended);
    }
    assert_eq!(proxy.stat("http.ingress_http.downstream_cx_max_requests_reached"), 2);
    let proxy = Proxy::with("normalize_path = true\nmax_requests_per_connection = 1", "");
    let mut client = proxy.client();
    client.write("GET /../a HTTP/1.1\r\nHost: h\r\n\r\n");
    let answer = proxy.read(&mut client);
    assert!(answer.starts_with("HTTP/1.1 400 ") && says_close(&answer), "{answer}");
}
