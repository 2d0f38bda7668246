//! Every timeout has its answer, its response flag and its counter. The times are short; nothing here depends on how
//! exactly they are kept, only on what happens when they run out.

use super::support::{Origin, PATIENCE, Ringway, Setup, eventually, forwarding, response};
use socket2::{Domain, Socket, Type};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A proxy with these lines in its `http` table, a route timeout where given, and status, flags and details logged.
fn proxy(origin: SocketAddr, http: &str, route: &str, cluster: &str) -> Ringway {
    let log =
        "access_log = [{ path = \"DIR/log\", format = \"%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\" }]";
    let config = forwarding(origin, &format!("{http}\n{log}"))
        .replace("cluster = \"app\" }", &format!("cluster = \"app\"{route} }}"));
    Setup::new(&format!("{config}\n{cluster}")).runtime("access_log_flush_interval = \"5ms\"").start()
}

/// An origin that does not answer before the proxy has lost its patience.
fn silent() -> Origin {
    Origin::recording(|connection, _, _| {
        connection.some();
        false
    })
}

/// An address where connections are neither made nor refused: its backlog is full.
pub fn black_hole() -> (Socket, Vec<Socket>, SocketAddr) {
    let listener = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let any: SocketAddr = "127.0.0.1:0".parse().expect("an address");
    listener.bind(&any.into()).expect("bound");
    listener.listen(0).expect("listening");
    let address = listener.local_addr().expect("bound").as_socket().expect("an IP address");
    let mut fillers = Vec::new();
    loop {
        let filler = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        let connected = filler.connect_timeout(&address.into(), Duration::from_millis(300)).is_ok();
        fillers.push(filler);
        if !connected {
            return (listener, fillers, address);
        }
        assert!(fillers.len() < 64, "the backlog never fills");
    }
}

#[test]
fn connect_timeout() {
    let (_listener, _fillers, address) = black_hole();
    let proxy = proxy(address, "", "", "connect_timeout = \"100ms\"");
    let answer = proxy.get("/");
    assert_eq!(answer.status(), 503);
    assert_eq!(proxy.log_lines("log", 1)[0], "503 UF upstream_reset_before_response_started{connection_timeout}");
    assert_eq!(proxy.stat("cluster.app.upstream_cx_connect_timeout"), 1);
    assert_eq!(proxy.stat("cluster.app.upstream_cx_connect_fail"), 1);
    assert_eq!(proxy.stat("cluster.app.upstream_rq_pending_active"), 0);
}

/// A client that gives up during the connect ends it.
#[test]
fn a_connect_ends_with_its_client() {
    let (_listener, _fillers, address) = black_hole();
    let proxy = proxy(address, "", "", "connect_timeout = \"1h\"");
    let mut client = proxy.connect();
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    proxy.wait_for_stat("cluster.app.upstream_rq_pending_active", 1);
    client.reset();
    proxy.wait_for_stat("cluster.app.upstream_rq_pending_active", 0);
    proxy.wait_for_stat("http.ingress_http.downstream_cx_active", 0);
}

#[test]
fn route_timeout_is_504_ut() {
    let origin = silent();
    let proxy = proxy(origin.address, "", ", timeout = \"100ms\"", "");
    let mut client = proxy.connect();
    let answer = client.get("/");
    assert_eq!((answer.status(), answer.text()), (504, "upstream request timeout"));
    assert!(!answer.says_close(), "the client's connection is in order");
    assert_eq!(client.get("/").status(), 504);
    for line in proxy.log_lines("log", 2) {
        assert_eq!(line, "504 UT upstream_response_timeout");
    }
    assert_eq!(proxy.stat("cluster.app.upstream_rq_timeout"), 2);
    assert_eq!(origin.connections(), 2, "a connection whose answer did not come is not used again");
}

/// The route's time is for the response and begins with the end of the request: a slow upload does not use it up.
#[test]
fn route_timeout_begins_after_the_request() {
    let origin = Origin::answering(|request| response(200, &[], &request.body));
    let proxy = proxy(origin.address, "", ", timeout = \"3s\"", "");
    let mut client = proxy.connect();
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n");
    for byte in b"abc" {
        std::thread::sleep(Duration::from_millis(1200));
        client.send(&[*byte]);
    }
    assert_eq!(client.response().text(), "abc");
}

/// It is for the whole response: one that has begun is cut off, visibly.
#[test]
fn route_timeout_within_a_body() {
    let origin = Origin::recording(|connection, _, _| {
        connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n");
        while connection.try_send(b"drip") {
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    });
    let proxy = proxy(origin.address, "", ", timeout = \"2s\"", "");
    let answer = proxy.get("/");
    assert_eq!((answer.status(), answer.complete), (200, false));
    assert!(proxy.log_lines("log", 1)[0].starts_with("200 UT "));
    proxy.wait_for_stat("cluster.app.upstream_cx_active", 0);
}

#[test]
fn response_head_timeout_is_504_ut() {
    let origin = silent();
    let proxy = proxy(origin.address, "", ", response_head_timeout = \"100ms\"", "");
    let mut client = proxy.connect();
    let answer = client.get("/");
    assert_eq!((answer.status(), answer.text()), (504, "upstream request timeout"));
    assert!(!answer.says_close(), "the client's connection is in order");
    assert_eq!(proxy.log_lines("log", 1)[0], "504 UT upstream_response_head_timeout");
    assert_eq!(proxy.stat("cluster.app.upstream_rq_timeout"), 1);
}

#[test]
fn request_headers_timeout_is_408() {
    let origin = silent();
    let proxy = proxy(origin.address, "request_headers_timeout = \"1s\"", "", "");
    let mut client = proxy.connect();
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\n");
    let answer = client.response();
    assert_eq!(answer.status(), 408);
    assert!(answer.says_close());
    client.expect_end();
    assert!(proxy.log_lines("log", 1)[0].starts_with("408 "));
    assert_eq!(proxy.stat("http.ingress_http.downstream_rq_header_timeout"), 1);
    assert_eq!(origin.connections(), 0);
    // Slowloris: a byte now and then does not help.
    let mut drip = proxy.connect();
    drip.send(b"GET / HTTP/1.1\r\n");
    eventually("the drip ends", || {
        std::thread::sleep(Duration::from_millis(20));
        !drip.try_send(b"X")
    });
    assert_eq!(drip.response().status(), 408);
    // Before the first byte there is no request to answer.
    proxy.connect().expect_end();
}

/// The time begins with the head's first byte, not with the connection's last request.
#[test]
fn request_headers_timeout_does_not_cut_idle_connections() {
    let origin = Origin::answering(|_| response(200, &[], "ok"));
    let proxy = proxy(origin.address, "request_headers_timeout = \"2s\"", "", "");
    let mut client = proxy.connect();
    assert_eq!(client.get("/").status(), 200);
    std::thread::sleep(Duration::from_millis(2500));
    assert_eq!(client.get("/").status(), 200);
}

#[test]
fn request_timeout_is_408() {
    let origin = silent();
    let proxy = proxy(origin.address, "request_timeout = \"150ms\"", "", "");
    let mut client = proxy.connect();
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nsome");
    let answer = client.response();
    assert_eq!(answer.status(), 408);
    assert!(answer.says_close());
    client.expect_end();
    assert_eq!(proxy.stat("http.ingress_http.downstream_rq_timeout"), 1);
    proxy.wait_for_stat("cluster.app.upstream_cx_active", 0);
}

#[test]
fn idle_timeout_closes_between_exchanges() {
    let origin = Origin::answering(|_| {
        std::thread::sleep(Duration::from_millis(400));
        response(200, &[], "late")
    });
    let proxy = proxy(origin.address, "idle_timeout = \"150ms\"", "", "");
    let mut client = proxy.connect();
    assert_eq!(client.get("/").text(), "late", "an exchange in progress is not idle");
    client.expect_end();
    assert_eq!(proxy.stat("http.ingress_http.downstream_cx_idle_timeout"), 1);
}

#[test]
fn stream_idle_timeout() {
    // No byte of a response: 504.
    let origin = silent();
    let silent_proxy = proxy(origin.address, "stream_idle_timeout = \"150ms\"", ", timeout = \"off\"", "");
    assert_eq!(silent_proxy.get("/").status(), 504);
    assert_eq!(silent_proxy.log_lines("log", 1)[0], "504 SI stream_idle_timeout");
    assert_eq!(silent_proxy.stat("http.ingress_http.downstream_rq_idle_timeout"), 1);
    // No byte of the rest of the request: 408.
    let mut client = silent_proxy.connect();
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nsome");
    assert_eq!(client.response().status(), 408);
    client.expect_end();
    // Within a response: cut off.
    let stalling = Origin::recording(|connection, _, _| {
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nsome\r\n");
        connection.some();
        false
    });
    let proxy = proxy(stalling.address, "stream_idle_timeout = \"150ms\"", ", timeout = \"off\"", "");
    let answer = proxy.get("/");
    assert_eq!((answer.status(), answer.text(), answer.complete), (200, "some", false));
    assert!(proxy.log_lines("log", 1)[0].starts_with("200 SI "));
}

/// Bytes that move, in either direction and however slowly, keep the exchange alive.
#[test]
fn stream_idle_timeout_spares_what_moves() {
    let origin = Origin::recording(|connection, request, _| {
        connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", request.body.len()).as_bytes());
        for byte in &request.body {
            std::thread::sleep(Duration::from_millis(400));
            connection.send(&[*byte]);
        }
        true
    });
    let proxy = proxy(origin.address, "stream_idle_timeout = \"2s\"", ", timeout = \"off\"", "");
    let mut client = proxy.connect();
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 8\r\n\r\n");
    for byte in b"abcdefgh" {
        std::thread::sleep(Duration::from_millis(400));
        client.send(&[*byte]);
    }
    assert_eq!(client.response().text(), "abcdefgh");
}

#[test]
fn max_connection_duration_ends_with_the_exchange_in_flight() {
    let origin = Origin::answering(|_| {
        std::thread::sleep(Duration::from_millis(1500));
        response(200, &[], "whole")
    });
    let proxy = proxy(origin.address, "max_connection_duration = \"1s\"", "", "");
    let mut client = proxy.connect();
    assert_eq!(client.get("/").text(), "whole", "the exchange in flight is the last, not the victim");
    client.expect_end();
    proxy.wait_for_stat("http.ingress_http.downstream_cx_max_duration_reached", 1);
    // An idle connection ends by itself.
    let stream = TcpStream::connect(proxy.address(0)).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("SO_RCVTIMEO");
    super::support::Connection::new(stream).expect_end();
}

#[test]
fn upstream_idle_timeout() {
    let origin = Origin::answering(|_| response(200, &[], "ok"));
    let proxy = proxy(origin.address, "", "", "idle_timeout = \"150ms\"");
    let mut client = proxy.connect();
    assert_eq!(client.get("/").status(), 200);
    proxy.wait_for_stat("cluster.app.upstream_cx_idle_timeout", 1);
    assert_eq!(proxy.stat("cluster.app.upstream_cx_active"), 0);
    assert_eq!(client.get("/").status(), 200);
    assert_eq!(origin.connections(), 2);
}

/// The whole exchange, from its first byte; a route may have a time of its own.
#[test]
fn max_stream_duration() {
    let origin = silent();
    for (http, route) in [("max_stream_duration = \"200ms\"", ""), ("", ", max_stream_duration = \"200ms\"")] {
        let proxy = proxy(origin.address, http, &format!(", timeout = \"off\"{route}"), "");
        let answer = proxy.get("/");
        assert_eq!((answer.status(), answer.text()), (504, "downstream duration timeout"));
        assert_eq!(proxy.log_lines("log", 1)[0], "504 DT max_duration_timeout");
        assert_eq!(proxy.stat("http.ingress_http.downstream_rq_max_duration_reached"), 1);
        assert_eq!(proxy.stat("cluster.app.upstream_rq_max_duration_reached"), 1);
    }
    // The request is not complete: 408.
    let proxy = proxy(origin.address, "max_stream_duration = \"200ms\"", "", "");
    let mut client = proxy.connect();
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhalf");
    assert_eq!(client.response().status(), 408);
}
