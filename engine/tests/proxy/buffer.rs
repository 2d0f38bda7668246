//! The buffer filter.

use super::filters::{filtering, origin, refusal, start};
use super::support::{Connection, Origin, assert_same, eventually, pattern, response};
use std::sync::mpsc;

const SMALL: &str = "{ buffer = { max_request_bytes = \"10KiB\" } }";

fn echo() -> Origin {
    Origin::answering(|request| response(200, &[], &request.body))
}

/// Nothing reaches the upstream before the request is whole; then its length is known.
#[test]
fn a_request_waits_until_it_is_whole() {
    let origin = echo();
    let proxy = filtering(&origin, SMALL, "");
    let mut client = proxy.connect();
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    let body = pattern(3000);
    for part in body.chunks(100) {
        client.send(format!("{:x}\r\n", part.len()).as_bytes());
        client.send(part);
        client.send(b"\r\n");
    }
    proxy.wait_for_stat("http.ingress_http.downstream_rq_active", 1);
    std::thread::sleep(std::time::Duration::from_millis(100));
    assert_eq!((origin.connections(), proxy.stat("cluster.app.upstream_rq_total")), (0, 0));
    client.send(b"0\r\n\r\n");
    assert_same(&client.response().body, &body, "the echo");
    let request = origin.last();
    assert_eq!((request.field("content-length"), request.field("transfer-encoding")), (Some("3000"), None));

    // One with a length keeps it, and one without a body is not held up.
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10240\r\n\r\n");
    let body = pattern(10 * 1024);
    client.send(&body[..1]);
    client.send(&body[1..]);
    assert_same(&client.response().body, &body, "the echo");
    assert_eq!(origin.last().field("content-length"), Some("10240"));
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(origin.last().field("content-length"), None);
}

#[test]
fn a_request_that_is_too_large_is_refused() {
    let origin = echo();
    let proxy = filtering(&origin, SMALL, "");
    let mut client = proxy.connect();
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10241\r\n\r\n");
    let answer = client.response();
    assert_eq!((answer.status(), answer.text()), (413, "Payload Too Large"));
    assert!(answer.says_close());

    let mut client = proxy.connect();
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2801\r\n");
    client.try_send(&pattern(10_241));
    assert_eq!(client.response().status(), 413);
    assert!(origin.requests().is_empty());
    assert_eq!(proxy.stat("http.ingress_http.downstream_rq_too_large"), 2);
    assert_eq!(proxy.log_lines("log", 2)[1], "413 - request_payload_too_large");
}

/// Byte by byte, many pieces, larger than every buffer on the way.
#[test]
fn large_bodies_keep_their_bytes() {
    let origin = echo();
    let proxy = filtering(&origin, "{ buffer = { max_request_bytes = \"4MiB\" } }", "");
    let mut client = proxy.connect();
    let body = pattern(3_000_000);
    client.send(format!("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes());
    for byte in &body[..200] {
        client.send(&[*byte]);
    }
    client.send(&body[200..]);
    assert_same(&client.response().body, &body, "the echo");
    // The connection is in order.
    assert_eq!(client.get("/").status(), 200);
}

/// Trailers that are forwarded need chunks.
#[test]
fn trailers() {
    let origin = echo();
    let proxy = start(&origin, SMALL, "", "enable_trailers = true", "");
    let mut client = proxy.connect();
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-End: 1\r\n\r\n");
    assert_eq!(client.response().text(), "abc");
    let request = origin.last();
    assert_eq!((request.field("content-length"), request.trailers.as_slice()), (None, &["X-End: 1".to_owned()][..]));
}

/// The client waits for `100 Continue`, and the filter for the body: the filter is the one to say it.
#[test]
fn a_client_that_waits_for_100() {
    let origin = echo();
    let proxy = filtering(&origin, SMALL, "");
    let mut client = proxy.connect();
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.response().status(), 100);
    client.send(b"abc");
    assert_eq!(client.response().text(), "abc");
    let request = origin.last();
    assert_eq!((request.field("expect"), request.text()), (None, "abc"));
    // Refused before the body was sent, which may not be sent now.
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 99999\r\nExpect: 100-continue\r\n\r\n");
    let answer = client.response();
    assert!(answer.status() == 413 && answer.says_close());
}

/// What was read ahead goes out again, as often as it must.
#[test]
fn a_buffered_request_survives_a_dead_connection() {
    let (said, heard) = mpsc::channel();
    let said = std::sync::Mutex::new(said);
    let origin = Origin::raw(move |mut connection: Connection<_>, number| {
        while let Some(request) = connection.request() {
            said.lock().expect("no panic").send((number, request.body.len())).expect("the test listens");
            if number == 0 && request.method() == "PUT" {
                return;
            }
            connection.send(&response(200, &[], ""));
        }
    });
    let proxy = filtering(&origin, SMALL, "");
    let mut client = proxy.connect();
    assert_eq!(client.get("/").status(), 200);
    let mut request = b"PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 5000\r\n\r\n".to_vec();
    request.extend(pattern(5000));
    client.send(&request);
    assert_eq!(client.response().status(), 200);
    assert_eq!(heard.try_iter().collect::<Vec<_>>(), [(0, 0), (0, 5000), (1, 5000)]);
}

#[test]
fn a_client_that_stops_or_goes_away() {
    let origin = origin();
    let proxy = start(&origin, SMALL, "", "stream_idle_timeout = \"300ms\"", "");
    let mut client = proxy.connect();
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\n");
    // Bytes that come now and then keep the exchange alive.
    for _ in 0..6 {
        client.send(b"x");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    assert_eq!(client.response().status(), 408);
    let mut client = proxy.connect();
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\nabc");
    proxy.wait_for_stat("http.ingress_http.downstream_rq_active", 1);
    client.reset();
    eventually("it is over", || proxy.stat("http.ingress_http.downstream_rq_active") == 0);
    assert!(origin.requests().is_empty());
}

#[test]
fn a_route_may_have_another_limit_or_none() {
    let origin = echo();
    let routes = "{ match = { path = \"/tiny\" }, route = { cluster = \"app\" }, filters = { buffer = { max_request_bytes = \"2B\" } } }, \
                  { match = { path = \"/any\" }, route = { cluster = \"app\" }, filters = { buffer = \"off\" } }, \
                  { match = { prefix = \"/\" }, route = { cluster = \"app\" } }";
    let proxy = filtering(&origin, SMALL, routes);
    let status = |target: &str, length: usize| {
        let mut client = proxy.connect();
        client.send(format!("POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\n").as_bytes());
        client.try_send(&pattern(length));
        client.response().status()
    };
    assert_eq!((status("/tiny", 2), status("/tiny", 3)), (200, 413));
    assert_eq!((status("/any", 20_000), status("/", 20_000), status("/", 10_000)), (200, 413, 200));
}

#[test]
fn what_is_refused() {
    for (settings, complaint) in [
        ("", "max_request_bytes"),
        ("max_request_bytes = \"0B\"", "max_request_bytes"),
        ("max_request_bytes = 10", "max_request_bytes"),
        ("max_request_byte = \"1KiB\"", "max_request_bytes"),
    ] {
        let said = refusal(&format!("{{ buffer = {{ {settings} }} }}"), "");
        assert!(said.contains(complaint), "{settings}: {said}");
    }
}
