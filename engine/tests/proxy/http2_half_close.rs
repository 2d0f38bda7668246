//! Clients of HTTP/2 that close their side of the connection behind their requests, over plain sockets and over TLS.

use super::http2::BEGIN;
use super::slow_clients::unfinished;
use super::support::{Origin, PATIENCE, Pki, Ringway, Setup, response};
use super::tls::{rustls_to, secured};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

const SERVE: &str = "client_half_close = \"serve\"";

/// HEADERS of `GET /` with the authority `h`, which end the stream.
const GET: &[u8] = b"\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x41\x01h";

/// Answers when a client that is taken to be gone would have been given up.
fn slow() -> Origin {
    Origin::answering(|_| {
        std::thread::sleep(Duration::from_millis(1200));
        response(200, &[], "hello, world")
    })
}

fn connect(proxy: &Ringway) -> TcpStream {
    let stream = TcpStream::connect(proxy.address(0)).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("SO_RCVTIMEO");
    stream
}

/// All that comes, to the end of the connection.
#[track_caller]
fn rest(mut stream: impl Read) -> String {
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::UnexpectedEof, "{error}"),
    }
    String::from_utf8_lossy(&all).into_owned()
}

#[test]
fn a_half_closed_client_gets_its_answer() {
    let origin = slow();
    let proxy = Ringway::before(origin.address, SERVE);
    let mut client = connect(&proxy);
    client.write_all(&[BEGIN, GET].concat()).expect("sent");
    client.shutdown(Shutdown::Write).expect("shut down");
    let text = rest(client);
    assert!(text.contains("hello, world"), "{text:?}");
    assert_eq!(proxy.stat("http.ingress_http.downstream_rq_2xx"), 1);
}

/// With its close_notify, and without: a request that is whole is not cut off by that.
#[test]
fn a_half_closed_client_gets_its_answer_over_tls() {
    let origin = slow();
    let setup = Setup::new(&secured(origin.address, "certificate = \"a.pem\", key = \"a.key\"", SERVE));
    let pki = Pki::new(setup.dir());
    pki.issue("a", &["h"]);
    let proxy = setup.start();
    for says_so in [true, false] {
        let mut client = rustls_to(&proxy, &pki, "h", b"h2");
        client.write_all(&[BEGIN, GET].concat()).expect("sent");
        if says_so {
            client.conn.send_close_notify();
        }
        client.flush().expect("sent");
        client.sock.shutdown(Shutdown::Write).expect("shut down");
        let text = rest(client);
        assert!(text.contains("hello, world"), "{says_so} {text:?}");
    }
    assert_eq!(proxy.stat("http.ingress_http.downstream_rq_2xx"), 2);
}

/// One that does not listen any more is told from one that does, although nothing is sent to it for long.
#[test]
fn a_client_that_is_gone_is_not_served() {
    let origin = unfinished();
    let proxy = Ringway::before(origin.address, SERVE);
    let mut client = connect(&proxy);
    client.write_all(&[BEGIN, GET].concat()).expect("sent");
    proxy.wait_for_stat("cluster.app.upstream_rq_active", 1);
    // With bytes unread, closing would be a reset.
    client.set_nonblocking(true).expect("non-blocking");
    while client.read(&mut [0; 1024]).is_ok() {}
    drop(client);
    proxy.wait_for_stat("cluster.app.upstream_rq_active", 0);
    assert_eq!(proxy.stat("http.ingress_http.downstream_rq_rx_reset"), 1);
}
