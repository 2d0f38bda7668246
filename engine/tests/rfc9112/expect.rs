//! RFC 9110 section 10.1.1: Expect: 100-continue through a proxy.

use crate::support::{DATE, Proxy, State, canonical, forwarded_as, refused};
use std::time::Duration;

const HEAD: &str = "POST /p HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";

/// "A proxy MUST, upon receiving an HTTP/1.1 (or later) request that has a valid method, target URI, and complete header
/// section that contains a 100-continue expectation and indicates a request content will follow, either: send an
/// immediate response with a final status code ...; or forward the request toward the origin server ...". And RFC 9110
/// section 15.2: "A proxy MUST forward 1xx responses".
#[test]
fn the_expectation_and_its_answer_pass_through() {
    let proxy = Proxy::new();
    let mut client = proxy.client();
    client.write(HEAD);
    let mut origin = proxy.accept();
    assert_eq!(canonical(&proxy.read(&mut origin)), canonical(HEAD));
    assert_eq!(proxy.read(&mut client), "", "the origin decides");
    origin.write("HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(proxy.read(&mut client), "HTTP/1.1 100 Continue\r\n\r\n");
    client.write("hello");
    assert_eq!(proxy.read(&mut origin), "hello");
    origin.write(format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: 2\r\n\r\nok"));
    let answer = proxy.read(&mut client);
    assert_eq!(canonical(&answer), canonical(&format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: 2\r\n\r\nok")));
    assert_eq!((client.state(), proxy.pooled()), (State::Open, 1));
}

/// A client that waits for 100 does not send slowly, however long it waits; once it has been told to send, it does.
#[test]
fn the_minimum_rate_begins_with_100() {
    let proxy = Proxy::new();
    let mut client = proxy.client();
    client.write(HEAD);
    let mut origin = proxy.accept();
    assert_eq!(canonical(&proxy.read(&mut origin)), canonical(HEAD));
    proxy.advance(Duration::from_secs(100));
    assert_eq!(proxy.read(&mut client), "");
    origin.write("HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(proxy.read(&mut client), "HTTP/1.1 100 Continue\r\n\r\n");
    proxy.advance(Duration::from_secs(15));
    let answer = proxy.read(&mut client);
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
}

/// "A server that responds with a final status code instead of reading the entire request content SHOULD indicate
/// whether it intends to close the connection": it is unknown whether the body will come, so the connection closes, and
/// the origin's connection is not used again (security.md section 2.1, Expect).
#[test]
fn a_final_answer_in_place_of_100() {
    for late_body in ["", "hello", "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n"] {
        let proxy = Proxy::new();
        let mut client = proxy.client();
        client.write(HEAD);
        let mut origin = proxy.accept();
        assert_eq!(canonical(&proxy.read(&mut origin)), canonical(HEAD));
        origin.write(format!("HTTP/1.1 417 Expectation Failed\r\n{DATE}Content-Length: 2\r\n\r\nno"));
        let answer = proxy.read(&mut client).to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 417 ") && answer.contains("\r\nconnection: close\r\n"), "{answer}");
        assert!(answer.ends_with("\r\n\r\nno"), "{answer}");
        client.write(late_body);
        assert_eq!(proxy.read(&mut origin), "", "no body after a final answer");
        assert_ne!(origin.state(), State::Open);
        assert_eq!(client.state(), State::Ended);
        assert_eq!((client.take(), proxy.pooled()), (String::new(), 0));
        assert!(proxy.try_accept().is_none(), "what came late is no request");
    }
}

/// The same for an answer that the proxy makes itself: here there is no origin.
#[test]
fn a_local_answer_in_place_of_100() {
    let mut proxy = Proxy::new();
    let config = "[[listeners]]\naddress = \"127.0.0.1:1\"\nhttp.routes = \
                  [{ match = { prefix = \"/\" }, direct_response = { status = 200, body = \"hi\" } }]";
    proxy.shard.apply(ringway_config::load_str("t", config).unwrap_or_else(|problems| panic!("{problems}")));
    let mut client = proxy.client();
    client.write(HEAD);
    let answer = proxy.read(&mut client);
    assert!(answer.contains("\r\nconnection: close\r\n") && answer.ends_with("\r\n\r\nhi"), "{answer}");
    client.write("hello");
    assert_eq!(proxy.read(&mut client), "");
    assert_eq!(client.state(), State::Ended);
}

/// "A server MAY omit sending a 100 (Continue) response if it has already received some or all of the content": a
/// client that does not wait loses nothing.
#[test]
fn a_client_that_does_not_wait() {
    let request = format!("{HEAD}hello");
    forwarded_as("", &request, &request);
    let chunked = "POST /p HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    forwarded_as("", chunked, chunked);
    let proxy = Proxy::new();
    let mut client = proxy.client();
    client.write(&request);
    let origin = proxy.accept();
    origin.write(format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: 2\r\n\r\nok"));
    assert!(proxy.read(&mut client).ends_with("\r\n\r\nok"));
    assert_eq!((client.state(), proxy.pooled()), (State::Open, 1), "the body was there: the connection goes on");
}

/// "A server that receives an Expect field value containing a member other than 100-continue MAY respond with a 417".
#[test]
fn unknown_expectations() {
    refused(&[
        ("unknown", b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 200-ok\r\nContent-Length: 5\r\n\r\n", 417),
        ("in a list", b"POST / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue, x\r\nContent-Length: 5\r\n\r\n", 417),
        ("two lines", b"GET / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nExpect: x=y\r\n\r\n", 417),
    ]);
}

/// "A server that receives a 100-continue expectation in an HTTP/1.0 request MUST ignore that expectation", and section
/// 15.2: "a server MUST NOT send a 1xx response to an HTTP/1.0 client".
#[test]
fn http10_clients_get_no_interim_response() {
    let proxy = Proxy::new();
    let mut client = proxy.client();
    client.write("POST /p HTTP/1.0\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n");
    let mut origin = proxy.accept();
    proxy.read(&mut origin);
    origin.write("HTTP/1.1 100 Continue\r\n\r\n");
    assert_eq!(proxy.read(&mut client), "");
    client.write("hello");
    assert_eq!(proxy.read(&mut origin), "hello");
    origin.write(format!("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n{DATE}Content-Length: 2\r\n\r\nok"));
    let answer = proxy.read(&mut client);
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\nok"), "{answer}");
}
