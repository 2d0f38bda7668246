//! What went wrong with TLS in other proxies. Which test is about which report says docs/TESTING.md; here are those that belong
//! nowhere else.

use super::support::{Client, Origin, Pki, Ringway, Setup, eventually, pattern, response};
use super::tls::{HELLO, egress, front, hello, rustls_to};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConnection, ServerConfig, ServerConnection, StreamOwned};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

/// nginx CVE-2026-1642: bytes from before the handshake were taken for the response.
#[test]
fn an_endpoint_that_speaks_no_tls_says_nothing() {
    const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nplain";
    // At once, or in answer to the first message; and then the connection stays open.
    for (at_once, said, why) in [
        (true, RESPONSE, "the first bytes are plain HTTP, not TLS"),
        (
            false,
            &b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"[..],
            "the first bytes are plain HTTP, not TLS",
        ),
        (true, b"220 mail.example ESMTP\r\n", "the first bytes are not TLS"),
    ] {
        let origin = Origin::raw(move |mut connection, _| {
            if at_once || connection.some() {
                connection.send(said);
            }
            while connection.some() {
                connection.take_buffered();
            }
        });
        let setup = Setup::new("");
        let pki = Pki::new(setup.dir());
        pki.issue("origin", &["origin.example"]);
        let proxy = egress(setup, origin.address, &["sni = \"origin.example\", ca = \"ca.pem\""]);
        let answer = Client::open(proxy.address(0)).get("/");
        assert_eq!(answer.status(), 503, "{answer:?}");
        assert!(answer.text().starts_with("upstream connect error"), "{}", answer.text());
        assert_eq!(proxy.log_lines("log0", 1)[0], format!("503 UF TLS: {why}"));
        assert_eq!(proxy.stat("cluster.c0.ssl.connection_error"), 1);
        eventually("nothing is left of it", || proxy.stat("cluster.c0.upstream_cx_active") == 0);
    }
}

/// HAProxy issue 24: new keys broke the connection. Here they come before, within and behind a request's body and its response's.
#[test]
fn keys_change_within_bodies_in_both_directions() {
    let origin = Origin::answering(|request| response(200, &[], &request.body));
    let (proxy, pki) = front(origin.address, "", "");
    let mut client = rustls_to(&proxy, &pki, "a.example", b"http/1.1");
    let body = pattern(200_000);
    let head = format!("POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: {}\r\n\r\n", body.len());
    for _ in 0..2 {
        client.write_all(head.as_bytes()).expect("sent");
        for piece in body.chunks(20_000) {
            client.conn.refresh_traffic_keys().expect("TLS 1.3");
            client.write_all(piece).expect("sent");
        }
        client.conn.refresh_traffic_keys().expect("TLS 1.3");
        client.flush().expect("sent");
        let (mut received, mut renewed_at) = (Vec::new(), 0);
        while !received.ends_with(&body) {
            let mut piece = [0; 4096];
            let count = client.read(&mut piece).expect("it goes on");
            assert!(count > 0, "{} bytes", received.len());
            received.extend_from_slice(&piece[..count]);
            if received.len() - renewed_at > 20_000 {
                renewed_at = received.len();
                client.conn.refresh_traffic_keys().expect("TLS 1.3");
                client.flush().expect("sent");
            }
        }
    }
    assert_eq!(proxy.stat("http.ingress_http.downstream_rq_2xx"), 2);
}

/// HAProxy issue 3450: a byte between rows of KeyUpdates makes no difference. They come in rows that are sent at once, until the
/// connection ends.
#[test]
fn a_storm_of_key_updates_ends_its_connection() {
    let origin = hello();
    let (proxy, pki) = front(origin.address, "", "");
    let mut client = rustls_to(&proxy, &pki, "a.example", b"http/1.1");
    client.write_all(b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 1000000\r\n\r\n").expect("sent");
    client.flush().expect("sent");
    eventually("it has ended", || {
        for _ in 0..10 {
            (0..30).for_each(|_| client.conn.refresh_traffic_keys().expect("TLS 1.3"));
            client.conn.writer().write_all(b"d").expect("it has room");
        }
        let mut records = Vec::new();
        while client.conn.wants_write() {
            client.conn.write_tls(&mut records).expect("it has room");
        }
        client.sock.write_all(&records).is_err() || proxy.stat("listener.main.ssl.connection_error") > 0
    });
    proxy.wait_for_stat("listener.main.ssl.connection_error", 1);
    proxy.wait_for_stat("http.ingress_http.downstream_cx_active", 0);
    assert!(origin.requests().iter().all(|request| !request.complete));
}

/// Envoy issue 11619: a client's close_notify cut the response that was on its way.
#[test]
fn a_client_that_says_no_more_gets_all_of_its_response() {
    let body = pattern(300_000);
    let expected = body.clone();
    let origin = Origin::answering(move |_| response(200, &[], &body));
    let (proxy, pki) = front(origin.address, "", "client_half_close = \"serve\"");
    for behind in [0, 1, 100_000] {
        let mut client = rustls_to(&proxy, &pki, "a.example", b"http/1.1");
        client.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").expect("sent");
        let mut received = vec![0; behind];
        client.read_exact(&mut received).expect("the beginning");
        client.conn.send_close_notify();
        client.flush().expect("sent");
        client.read_to_end(&mut received).expect("the rest, and the word that this was all");
        assert!(received.ends_with(&expected), "{} bytes after {behind}", received.len());
    }
}

/// A client's side of a connection on which the handshake's last message went out with a request that asks for the close.
fn asked_at_once(proxy: &Ringway, pki: &Pki) -> (ClientConnection, TcpStream) {
    let StreamOwned { conn: mut tls, mut sock } = rustls_to(proxy, pki, "a.example", b"http/1.1");
    tls.write_tls(&mut sock).expect("sent");
    while tls.is_handshaking() {
        tls.read_tls(&mut sock).expect("received");
        tls.process_new_packets().expect("a handshake");
    }
    tls.writer().write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n").expect("it has room");
    let mut records = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut records).expect("it has room");
    }
    sock.write_all(&records).expect("sent");
    (tls, sock)
}

/// What a client gets for a request that it sends with its last message of the handshake comes in one segment: the tickets, the
/// response, the word that this was all, and the end. Not where the machine does something else for 200 ms, so most times.
#[test]
fn tickets_response_and_end_come_together() {
    const TIMES: usize = 9;
    let origin = Origin::answering(|_| response(200, &[], "all"));
    let (proxy, pki) = front(origin.address, "", "");
    let together = (0..TIMES).filter(|_| {
        let (mut tls, mut sock) = asked_at_once(&proxy, &pki);
        let mut bytes = vec![0; 16_384];
        let read = sock.read(&mut bytes).expect("everything");
        sock.set_nonblocking(true).expect("a socket");
        let has_ended = sock.read(&mut [0]).is_ok_and(|read| read == 0);
        let mut received = &bytes[..read];
        while !received.is_empty() {
            tls.read_tls(&mut received).expect("it has room");
            tls.process_new_packets().expect("records");
        }
        let mut answer = Vec::new();
        has_ended
            && tls.tls13_tickets_received() == 2
            // Fails where this was not said to be all.
            && tls.reader().read_to_end(&mut answer).is_ok()
            && answer.ends_with(b"\r\n\r\nall")
    });
    let together = together.count();
    assert!(together > TIMES / 2, "{together} of {TIMES}");
}

/// Tickets that wait for a response keep nothing else waiting: they come before one that takes long, and a client that goes away
/// instead ends its exchange.
#[test]
fn tickets_do_not_wait_for_a_slow_response() {
    let (origin, begun, gate) = Origin::held(response(200, &[], "all"));
    let (proxy, pki) = front(origin.address, "", "");
    for leaves in [false, true] {
        let (mut tls, mut sock) = asked_at_once(&proxy, &pki);
        begun.wait();
        if leaves {
            drop(sock);
            proxy.wait_for_stat("http.ingress_http.downstream_rq_active", 0);
            gate.wait();
            continue;
        }
        while tls.tls13_tickets_received() < 2 {
            tls.read_tls(&mut sock).expect("tickets");
            tls.process_new_packets().expect("records");
        }
        gate.wait();
        let mut answer = Vec::new();
        StreamOwned::new(tls, sock).read_to_end(&mut answer).expect("the rest");
        assert!(answer.ends_with(b"\r\n\r\nall"));
    }
}

/// Neither are they taken for bytes of a response that the client does not take.
#[test]
fn tickets_do_not_turn_a_timeout_into_a_reset() {
    let origin = Origin::raw(|mut client, _| while client.some() {});
    let (proxy, pki) = front(origin.address, "", "stream_idle_timeout = \"300ms\"");
    for _ in 0..3 {
        let (tls, sock) = asked_at_once(&proxy, &pki);
        let mut answer = Vec::new();
        StreamOwned::new(tls, sock).read_to_end(&mut answer).expect("an answer, and the word that this was all");
        assert!(answer.starts_with(b"HTTP/1.1 504 "), "{}", String::from_utf8_lossy(&answer));
    }
}

/// Answers each of these connections with what belongs to it, and says that this was all, or does not.
fn ending(pki: &Pki, answers: Vec<(&'static [u8], bool)>) -> SocketAddr {
    let chain = vec![CertificateDer::from_pem_file(pki.path("origin.pem")).expect("a certificate")];
    let key = PrivateKeyDer::from_pem_file(pki.path("origin.key")).expect("a key");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.expect("versions").with_no_client_auth().with_single_cert(chain, key).expect("a pair");
    let config = Arc::new(config);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    std::thread::spawn(move || {
        for (answer, says_so) in answers {
            let (stream, _) = listener.accept().expect("a connection");
            let tls = ServerConnection::new(config.clone()).expect("a connection");
            let mut stream = StreamOwned::new(tls, stream);
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                stream.read_exact(&mut byte).expect("a request");
                request.extend_from_slice(&byte);
            }
            stream.write_all(answer).expect("sent");
            if says_so {
                stream.conn.send_close_notify();
            }
            // A proxy that has all of it may be gone by now.
            let _ = stream.flush();
            let _ = stream.sock.shutdown(Shutdown::Write);
            let _ = stream.sock.read_to_end(&mut Vec::new());
        }
    });
    address
}

/// Envoy issue 41265 and its relatives: a response whose length is known is whole without a close_notify, and one that ends with
/// its connection is not.
#[test]
fn the_end_of_a_connection_alone_is_no_end_of_a_body() {
    const FRAMED: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwhole";
    const TO_THE_END: &[u8] = b"HTTP/1.1 200 OK\r\n\r\nwhole";
    let cases = [(FRAMED, true), (FRAMED, false), (TO_THE_END, true), (TO_THE_END, false)];
    let setup = Setup::new("");
    let pki = Pki::new(setup.dir());
    pki.issue("origin", &["origin.example"]);
    let address = ending(&pki, cases.to_vec());
    let proxy = egress(setup, address, &["sni = \"origin.example\", ca = \"ca.pem\""]);
    for case in cases {
        let mut client = Client::open(proxy.address(0));
        client.send(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = client.try_response("GET");
        let whole = answer.is_some_and(|answer| answer.complete && answer.text() == "whole");
        assert_eq!(whole, case != (TO_THE_END, false), "{} {}", String::from_utf8_lossy(case.0), case.1);
    }
    let cut = "200 UC TLS: the connection ended without close_notify, so that bytes may be missing";
    assert_eq!(proxy.log_lines("log0", 4), ["200 - -", "200 - -", "200 - -", cut]);
    assert_eq!(
        proxy.stat("cluster.c0.upstream_cx_destroy_remote_with_active_rq"),
        2,
        "the two that end with their connection"
    );
}

/// Traefik issue 12949: TLS on a port for plain HTTP was passed on.
#[test]
fn tls_on_a_plain_port_is_no_request() {
    let origin = hello();
    let proxy = Ringway::before(origin.address, "");
    let mut client = proxy.connect();
    client.send(HELLO);
    assert_eq!(client.response().status(), 400);
    client.expect_end();
    assert!(origin.requests().is_empty());
}
