//! Clients that leave, send or read slowly while this side waits for something else.

use super::filters::filtering;
use super::flow::with_receive_buffer;
use super::support::{Client, Origin, Ringway, Setup, eventually, forwarding, pattern, response};
use super::timeouts::black_hole;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::time::Duration;

/// Begin a request with a long body, of which as much is sent as is taken.
fn held_back(proxy: &Ringway) -> Client {
    let mut client = proxy.connect();
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\n");
    client.stream.set_write_timeout(Some(Duration::from_millis(500))).expect("SO_SNDTIMEO");
    let piece = pattern(1 << 20);
    while client.stream.write(&piece).is_ok() {}
    client
}

/// Nothing reads from the client, whose reset still ends the exchange and its tries.
fn ends_with_its_client(proxy: &Ringway, client: Client) {
    assert_eq!(proxy.stat("http.ingress_http.downstream_rq_active"), 1);
    client.reset();
    proxy.wait_for_stat("http.ingress_http.downstream_rq_active", 0);
    proxy.wait_for_stat("http.ingress_http.downstream_cx_active", 0);
    proxy.wait_for_stat("cluster.app.upstream_rq_active", 0);
    assert_eq!(proxy.stat("http.ingress_http.downstream_rq_rx_reset"), 1);
}

#[test]
fn a_reset_is_noticed_while_the_body_is_held_back() {
    // Connections are made, and nothing is read from them.
    let origin = TcpListener::bind("127.0.0.1:0").expect("a port");
    let proxy = Ringway::before(origin.local_addr().expect("bound"), "stream_idle_timeout = \"off\"");
    let client = held_back(&proxy);
    let paused = "http.ingress_http.downstream_flow_control_paused_reading_total";
    eventually("the body is held back", || proxy.stat(paused) > 0);
    ends_with_its_client(&proxy, client);
    proxy.wait_for_stat("cluster.app.upstream_cx_active", 0);
}

#[test]
fn a_reset_is_noticed_while_an_unread_body_waits_for_a_connection() {
    let (_listener, _fillers, address) = black_hole();
    let config = format!("{}\nconnect_timeout = \"1h\"", forwarding(address, "stream_idle_timeout = \"off\""));
    let proxy = Ringway::start(&config);
    let client = held_back(&proxy);
    proxy.wait_for_stat("cluster.app.upstream_rq_pending_active", 1);
    ends_with_its_client(&proxy, client);
    proxy.wait_for_stat("cluster.app.upstream_rq_pending_active", 0);
}

#[test]
fn a_reset_is_noticed_during_a_delay_with_an_unread_body() {
    let origin = Origin::answering(|_| response(200, &[], "ok"));
    let proxy = filtering(&origin, "{ fault = { delay = { fixed_delay = \"1h\", percent = 100 } } }", "");
    let client = held_back(&proxy);
    proxy.wait_for_stat("http.ingress_http.fault.active_faults", 1);
    ends_with_its_client(&proxy, client);
    proxy.wait_for_stat("http.ingress_http.fault.active_faults", 0);
}

/// A client that closes only its own side is served, however long its request waits, where that is asked for.
#[test]
fn a_fin_behind_a_request_that_waits_is_no_reset() {
    let origin = Origin::answering(|request| response(200, &[], request.body.len().to_string()));
    let filters =
        "http_filters = [{ fault = { delay = { fixed_delay = \"1500ms\", percent = 100 } } }, { router = {} }]";
    let proxy = Ringway::before(origin.address, &format!("client_half_close = \"serve\"\n{filters}"));
    let mut client = proxy.connect();
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n");
    client.send(&pattern(100_000));
    client.half_close();
    assert_eq!(client.response().text(), "100000");
}

/// An origin that begins its response to `/stream`, answers nothing else, and then waits for the proxy.
pub fn unfinished() -> Origin {
    Origin::recording(|connection, request, _| {
        if request.target() == "/stream" {
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nsome");
        }
        connection.some();
        false
    })
}

/// By default it is gone (decision 0007): while its request waits for a response, and within one. The upstream's connection
/// ends with it.
#[test]
fn a_fin_behind_a_request_cancels_it() {
    let origin = unfinished();
    let log =
        "access_log = [{ path = \"DIR/log\", format = \"%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\" }]";
    let config = forwarding(origin.address, &format!("{log}\nstream_idle_timeout = \"off\""));
    let proxy = Setup::new(&config).runtime("access_log_flush_interval = \"5ms\"").start();
    for request in [
        &b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"[..],
        b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc",
        b"GET /stream HTTP/1.1\r\nHost: h\r\n\r\n",
    ] {
        let mut client = proxy.connect();
        client.send(request);
        proxy.wait_for_stat("cluster.app.upstream_rq_active", 1);
        if request.starts_with(b"GET /stream") {
            assert!(client.some());
        }
        client.half_close();
        proxy.wait_for_stat("cluster.app.upstream_cx_active", 0);
        proxy.wait_for_stat("http.ingress_http.downstream_cx_active", 0);
    }
    let lines = proxy.log_lines("log", 3);
    assert_eq!(lines[..2], ["0 DC downstream_remote_disconnect"; 2]);
    assert!(lines[2].starts_with("200 DC "), "{}", lines[2]);
    assert_eq!(proxy.stat("http.ingress_http.downstream_rq_rx_reset"), 3);
}

#[test]
fn a_body_that_stops_is_408() {
    let origin = Origin::answering(|_| response(200, &[], "ok"));
    let proxy = Ringway::before(origin.address, "");
    let mut client = proxy.connect();
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\nsome");
    let answer = client.response();
    assert_eq!((answer.status(), answer.text()), (408, "request body too slow"));
    assert!(answer.says_close());
    client.expect_end();
    assert_eq!(proxy.stat("http.ingress_http.downstream_rq_body_too_slow"), 1);
}

/// By what the client acknowledges, and not by the room in the kernel's buffers.
#[test]
fn a_response_that_is_not_taken_is_reset() {
    let origin = Origin::answering(|_| response(200, &[], pattern(64 << 20)));
    let proxy = Ringway::before(origin.address, "send_timeout = \"1s\"");
    let mut client = proxy.connect();
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    proxy.wait_for_stat("http.ingress_http.downstream_rq_send_timeout", 1);
    proxy.wait_for_stat("http.ingress_http.downstream_cx_active", 0);
    proxy.wait_for_stat("cluster.app.upstream_cx_active", 0);
    let mut rest = Vec::new();
    let error = client.stream.read_to_end(&mut rest).expect_err("a reset");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

/// An origin whose response to `/cut` breaks off; another path gets `len` bytes.
fn cutting(len: usize) -> Origin {
    Origin::recording(move |connection, request, _| {
        if request.target() == "/cut" {
            connection.try_send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegun");
            return false;
        }
        connection.try_send(&response(200, &[], pattern(len)))
    })
}

/// A response that breaks off ends the connection, but only behind the responses before it.
#[test]
fn what_was_said_before_a_response_that_breaks_off_arrives() {
    const LEN: usize = 190_000;
    let origin = cutting(LEN);
    let proxy = Ringway::before(origin.address, "");
    let mut client = with_receive_buffer(&proxy, 4096);
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\nGET /cut HTTP/1.1\r\nHost: h\r\n\r\n");
    proxy.wait_for_stat("http.ingress_http.downstream_rq_tx_reset", 1);
    let mut answer = Vec::new();
    client.stream.read_to_end(&mut answer).expect("an orderly end");
    let cut = b"\r\n\r\nbegun";
    assert!(answer.ends_with(cut) && answer.len() > LEN, "{} bytes", answer.len());
    let begin = answer.windows(4).position(|four| four == b"\r\n\r\n").expect("a head") + 4;
    assert!(answer[begin..begin + LEN] == pattern(LEN), "the first response is whole");
}

/// A client that takes nothing of a response whose time is over gets a reset, and the kernel keeps nothing for it.
#[test]
fn a_response_that_broke_off_and_is_not_taken_is_reset() {
    let origin = Origin::recording(|connection, _, _| {
        connection.try_send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
        let piece = pattern(1 << 20);
        while connection.try_send(&piece) {}
        false
    });
    let config = forwarding(origin.address, "send_timeout = \"2s\"")
        .replace("cluster = \"app\"", "cluster = \"app\", timeout = \"500ms\"");
    let proxy = Ringway::start(&config);
    let mut client = with_receive_buffer(&proxy, 4096);
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    proxy.wait_for_stat("http.ingress_http.downstream_rq_tx_reset", 1);
    proxy.wait_for_stat("http.ingress_http.downstream_cx_active", 0);
    let error = client.stream.read_to_end(&mut Vec::new()).expect_err("a reset");
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}
