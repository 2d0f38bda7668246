//! security.md section 2.4: origins that break the protocol, send too much, or stop in the middle.

use crate::support::{DATE, Proxy, State, canonical, cuts, send_cut};
use std::time::Duration;

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

/// Each response must become a 502 with nothing of it in the answer; the origin's connection is closed, the client's
/// stays, and the request is not sent again.
fn bad_gateway(rows: &[(&str, &[u8])]) {
    let proxy = Proxy::new();
    for (name, response) in rows {
        for cut in cuts(response.len()) {
            let mut client = proxy.client();
            client.write(GET);
            let mut origin = proxy.accept();
            proxy.read(&mut origin);
            send_cut(&proxy, &origin, response, cut);
            let answer = proxy.read(&mut client);
            assert!(answer.starts_with("HTTP/1.1 502 "), "{name}, cut {cut}: {answer:?}");
            assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{name}, cut {cut}: {answer:?}");
            assert!(!answer.to_ascii_lowercase().contains("evil"), "{name}, cut {cut}: {answer:?}");
            assert_ne!(origin.state(), State::Open, "{name}, cut {cut}");
            assert_eq!((client.state(), proxy.pooled()), (State::Open, 0), "{name}, cut {cut}");
            assert!(proxy.try_accept().is_none(), "{name}, cut {cut}: sent again");
        }
    }
}

/// Response framing. RFC 9112 section 6.3: "If a message is received without Transfer-Encoding and with an invalid
/// Content-Length header field, then the message framing is invalid ... If it is in a response message received by a
/// proxy, the proxy MUST close the connection to the server, discard the received response, and send a 502".
#[test]
fn invalid_response_framing() {
    bad_gateway(&[
        ("CL and TE", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\nevil"),
        ("two CL", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nevil"),
        ("CL list", b"HTTP/1.1 200 OK\r\nContent-Length: 4, 5\r\n\r\nevil"),
        ("CL sign", b"HTTP/1.1 200 OK\r\nContent-Length: +4\r\n\r\nevil"),
        ("CL negative", b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nevil"),
        ("CL empty", b"HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\nevil"),
        ("CL hex", b"HTTP/1.1 200 OK\r\nContent-Length: 0x4\r\n\r\nevil"),
        ("CL overflow", b"HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551616\r\n\r\nevil"),
        ("unknown coding", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nevil"),
        ("unknown and chunked", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n"),
        ("chunked twice", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n"),
        ("chunked not last", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, x\r\n\r\n4\r\nevil\r\n0\r\n\r\n"),
        ("TE in HTTP/1.0", b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n"),
        ("TE in a 204", b"HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n"),
        ("TE in a 103", b"HTTP/1.1 103 Early Hints\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n"),
    ]);
}

/// Header poison. RFC 9112 sections 4, 5.1 and 5.2, RFC 9110 section 5.5: a proxy replaces obs-fold or refuses; it never
/// passes on CR, LF or NUL within a value, white space before a colon, or what is no status line.
#[test]
fn invalid_response_heads() {
    bad_gateway(&[
        ("bare CR", b"HTTP/1.1 200 OK\r\nX: a\rSet-Cookie: evil\r\nContent-Length: 0\r\n\r\n"),
        ("bare LF", b"HTTP/1.1 200 OK\r\nX: a\nSet-Cookie: evil\r\nContent-Length: 0\r\n\r\n"),
        ("bare LF after the status line", b"HTTP/1.1 200 OK\nX: evil\r\nContent-Length: 0\r\n\r\n"),
        ("NUL", b"HTTP/1.1 200 OK\r\nX: evil\0\r\nContent-Length: 0\r\n\r\n"),
        ("control character", b"HTTP/1.1 200 OK\r\nX: evil\x08\r\nContent-Length: 0\r\n\r\n"),
        ("CR in the reason", b"HTTP/1.1 200 evil\rX\r\nContent-Length: 0\r\n\r\n"),
        ("NUL in the reason", b"HTTP/1.1 200 evil\0\r\nContent-Length: 0\r\n\r\n"),
        ("SP before colon", b"HTTP/1.1 200 OK\r\nX : evil\r\nContent-Length: 0\r\n\r\n"),
        ("obs-fold", b"HTTP/1.1 200 OK\r\nX: a\r\n evil\r\nContent-Length: 0\r\n\r\n"),
        ("SP before the first field", b"HTTP/1.1 200 OK\r\n X: evil\r\nContent-Length: 0\r\n\r\n"),
        ("no colon", b"HTTP/1.1 200 OK\r\nevil\r\nContent-Length: 0\r\n\r\n"),
        ("empty name", b"HTTP/1.1 200 OK\r\n: evil\r\nContent-Length: 0\r\n\r\n"),
        ("empty line first", b"\r\nHTTP/1.1 200 OK\r\nX: evil\r\nContent-Length: 0\r\n\r\n"),
        ("no version", b"200 OK\r\nX: evil\r\nContent-Length: 0\r\n\r\n"),
        ("HTTP/2", b"HTTP/2.0 200 OK\r\nX: evil\r\nContent-Length: 0\r\n\r\n"),
        ("HTTP/0.9", b"<html>evil</html>\r\n"),
        ("status of two digits", b"HTTP/1.1 20 evil\r\nContent-Length: 0\r\n\r\n"),
        ("status of four digits", b"HTTP/1.1 2000 evil\r\nContent-Length: 0\r\n\r\n"),
        ("status 099", b"HTTP/1.1 099 evil\r\nContent-Length: 0\r\n\r\n"),
        ("status with letters", b"HTTP/1.1 2x0 evil\r\nContent-Length: 0\r\n\r\n"),
    ]);
}

/// Limits hold for responses, too.
#[test]
fn response_heads_over_the_limits() {
    let fields = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n{}\r\n", "X: evil\r\n".repeat(100));
    let bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: {}\r\n\r\n", "evil".repeat(16_000));
    for response in [fields, bytes] {
        let proxy = Proxy::new();
        let mut client = proxy.client();
        client.write(GET);
        let mut origin = proxy.accept();
        proxy.read(&mut origin);
        origin.write(response);
        let answer = proxy.read(&mut client);
        assert!(answer.starts_with("HTTP/1.1 502 ") && !answer.contains("evil"), "{answer}");
        assert_ne!(origin.state(), State::Open);
    }
}

/// Truncation. RFC 9112 section 8: "A message body that uses the chunked transfer coding is incomplete if the
/// zero-sized chunk that terminates the encoding has not been received. A message that uses a valid Content-Length is
/// incomplete if the size of the message body received (in octets) is less than the value given". Its incompleteness
/// must show at the client: never a last chunk, never a clean end where the end is the body's.
#[test]
fn truncated_bodies_are_never_completed() {
    let responses = [
        "Content-Length: 10\r\n\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n",
        "Transfer-Encoding: chunked\r\n\r\na\r\nhello",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n",
        "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: y\r\n",
    ];
    for response in responses {
        for (version, reset) in [("1.1", false), ("1.1", true), ("1.0", false), ("1.0", true)] {
            let name = format!("{response:?} to HTTP/{version}, reset: {reset}");
            let proxy = Proxy::new();
            let mut client = proxy.client();
            client.write(format!("GET / HTTP/{version}\r\nHost: h\r\n\r\n"));
            let origin = proxy.accept();
            origin.write(format!("HTTP/1.1 200 OK\r\n{DATE}{response}"));
            let mut seen = proxy.read(&mut client);
            if reset {
                origin.reset();
            }
            drop(origin);
            seen += &proxy.read(&mut client);
            assert!(seen.starts_with("HTTP/1.1 200 OK\r\n") && seen.contains("hello"), "{name}: {seen:?}");
            assert!(!seen.ends_with("0\r\n\r\n"), "{name}: completed: {seen:?}");
            assert_ne!(client.state(), State::Open, "{name}");
            let until_close = !seen.to_ascii_lowercase().contains("content-length") && version == "1.0";
            assert!(!until_close || client.state() == State::Reset, "{name}: a clean end looks complete");
            // It hears of the end, and closes its side.
            drop(client);
            proxy.settle();
            assert_eq!((proxy.shard.connections(), proxy.pooled()), (0, 0), "{name}");
        }
    }
}

/// RFC 9112 section 8 on bodies that end with the connection: a reset is no end.
#[test]
fn a_reset_does_not_end_a_body() {
    for version in ["1.0", "1.1"] {
        let proxy = Proxy::new();
        let mut client = proxy.client();
        client.write(format!("GET / HTTP/{version}\r\nHost: h\r\n\r\n"));
        let origin = proxy.accept();
        origin.write(format!("HTTP/1.1 200 OK\r\n{DATE}\r\nhello"));
        let seen = proxy.read(&mut client);
        assert!(seen.contains("hello"), "{seen}");
        origin.reset();
        let rest = proxy.read(&mut client);
        assert_eq!(rest, "", "HTTP/{version}: nothing is made up");
        let expected = if version == "1.0" { State::Reset } else { State::Ended };
        assert_eq!(client.state(), expected, "HTTP/{version}");
    }
}

/// Invalid chunks from the origin: the client's message stays incomplete, the connection is closed.
#[test]
fn invalid_chunks_abort_the_response() {
    let proxy = Proxy::new();
    for broken in [
        "x\r\n",
        "5 5\r\nevil",
        "4\nevil",
        "fffffffffffffffff\r\n",
        "3\r\nevil\r\n",
        "4;a\nb\r\nevil",
        "0\r\nX : y\r\n\r\n",
        "0\r\n\n",
    ] {
        let body = format!("5\r\nhello\r\n{broken}");
        for cut in cuts(body.len()) {
            let mut client = proxy.client();
            client.write(GET);
            let mut origin = proxy.accept();
            proxy.read(&mut origin);
            origin.write(format!("HTTP/1.1 200 OK\r\n{DATE}Transfer-Encoding: chunked\r\n\r\n"));
            send_cut(&proxy, &origin, body.as_bytes(), cut);
            let seen = proxy.read(&mut client);
            let complete = seen.ends_with("0\r\n\r\n");
            let starts = seen.starts_with("HTTP/1.1 200 OK\r\n") || seen.starts_with("HTTP/1.1 502 ");
            assert!(starts && !complete, "{broken:?}, cut {cut}: {seen:?}");
            assert_ne!(client.state(), State::Open, "{broken:?}, cut {cut}");
            assert_ne!(origin.state(), State::Open, "{broken:?}, cut {cut}");
            assert_eq!(proxy.pooled(), 0, "{broken:?}, cut {cut}");
        }
    }
}

/// Response queue poisoning. RFC 9112 section 9.2: "If a client receives data on a connection that doesn't have
/// outstanding requests, the client MUST NOT consider that data to be a valid response to a not-yet-issued request; the
/// client SHOULD close the connection". The next client never sees it.
#[test]
fn unasked_responses_reach_nobody() {
    let real = format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: 4\r\n\r\nreal");
    let poison = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil";
    // With the response, just after it, and while the connection is pooled.
    for moment in 0..3 {
        let proxy = Proxy::new();
        let mut client = proxy.client();
        client.write(GET);
        let mut origin = proxy.accept();
        proxy.read(&mut origin);
        match moment {
            0 => origin.write(format!("{real}{poison}")),
            1 => {
                origin.write(&real);
                origin.write(poison);
            }
            _ => {
                origin.write(&real);
                proxy.settle();
                assert_eq!(proxy.pooled(), 1);
                origin.write(poison);
            }
        }
        assert_eq!(canonical(&proxy.read(&mut client)), canonical(&real), "moment {moment}");
        assert_ne!(origin.state(), State::Open, "moment {moment}");
        assert_eq!(proxy.pooled(), 0, "moment {moment}");
        let mut victim = proxy.client();
        victim.write(GET);
        let clean = proxy.accept();
        clean.write(&real);
        assert_eq!(canonical(&proxy.read(&mut victim)), canonical(&real), "moment {moment}");
    }
}

/// The poison comes together with the next request: the connection is dropped before the request is sent on it, or the
/// bytes came after the request was sent, and then they cannot be told from its response.
#[test]
fn bytes_that_wait_on_a_pooled_connection_are_seen_before_it_is_used() {
    let real = format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: 4\r\n\r\nreal");
    let proxy = Proxy::new();
    let mut client = proxy.client();
    client.write(GET);
    let origin = proxy.accept();
    origin.write(&real);
    proxy.read(&mut client);
    // Both are there when the proxy next runs.
    client.write(GET);
    origin.write("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil");
    let clean = proxy.accept();
    clean.write(&real);
    assert_eq!(canonical(&proxy.read(&mut client)), canonical(&real));
}

/// Bodiless. RFC 9112 section 6.3: "Any response to a HEAD request and any response with a 1xx (Informational), 204 (No
/// Content), or 304 (Not Modified) status code is always terminated by the first empty line after the header fields,
/// regardless of the header fields present": what follows is not forwarded, and the connection is closed.
#[test]
fn bodies_where_none_can_be() {
    let proxy = Proxy::new();
    for (method, response) in [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nevil\r\n0\r\n\r\n"),
        ("GET", "HTTP/1.1 204 No Content\r\n\r\nevil"),
        ("GET", "HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nevil"),
        ("GET", "HTTP/1.1 304 Not Modified\r\nContent-Length: 4\r\n\r\nevil"),
    ] {
        for cut in cuts(response.len()) {
            let mut client = proxy.client();
            client.write(format!("{method} / HTTP/1.1\r\nHost: h\r\n\r\n"));
            let mut origin = proxy.accept();
            proxy.read(&mut origin);
            send_cut(&proxy, &origin, response.as_bytes(), cut);
            let seen = proxy.read(&mut client);
            assert!(seen.ends_with("\r\n\r\n") && !seen.contains("evil"), "{method} {response:?}, cut {cut}: {seen:?}");
            assert!(!seen.starts_with("HTTP/1.1 204") || !seen.to_ascii_lowercase().contains("content-length"));
            assert_ne!(origin.state(), State::Open, "{method} {response:?}, cut {cut}");
            assert_eq!((client.state(), proxy.pooled()), (State::Open, 0), "{method} {response:?}, cut {cut}");
        }
    }
}

/// Premature response: a final response before the request has ended is passed on; the connection on which half a
/// request stands is not used again. POST exactly once.
#[test]
fn responses_before_the_request_has_ended() {
    let early = format!("HTTP/1.1 413 Too Large\r\n{DATE}Content-Length: 2\r\n\r\nno");
    let proxy = Proxy::new();
    let mut client = proxy.client();
    client.write("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhello");
    let mut origin = proxy.accept();
    assert!(proxy.read(&mut origin).ends_with("hello"));
    origin.write(&early);
    assert_eq!(canonical(&proxy.read(&mut client)), canonical(&early));
    assert_ne!(origin.state(), State::Open);
    client.write("world");
    client.write(GET);
    let mut next = proxy.accept();
    assert!(proxy.read(&mut next).starts_with("GET / "));
    assert_eq!(proxy.read(&mut origin), "", "and no rest of it");
}

/// RFC 9112 section 9.5: an origin that answers and closes without reading the request's body may still have answered.
#[test]
fn an_origin_that_answers_and_closes_without_reading() {
    let early = format!("HTTP/1.1 413 Too Large\r\n{DATE}Connection: close\r\nContent-Length: 2\r\n\r\nno");
    let proxy = Proxy::new();
    let mut client = proxy.client();
    client.write("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\nhello");
    let mut origin = proxy.accept();
    proxy.read(&mut origin);
    origin.write(&early);
    drop(origin);
    client.write("world");
    let seen = proxy.read(&mut client);
    assert!(seen.starts_with("HTTP/1.1 413 ") && seen.ends_with("\r\n\r\nno"), "{seen}");
}

/// A connection that ends before any response: 503 and no second try on a connection that was new.
#[test]
fn an_origin_that_says_nothing() {
    for reset in [false, true] {
        let proxy = Proxy::new();
        let mut client = proxy.client();
        client.write(GET);
        let mut origin = proxy.accept();
        proxy.read(&mut origin);
        if reset {
            origin.reset();
        }
        drop(origin);
        let answer = proxy.read(&mut client);
        assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
        assert_eq!(client.state(), State::Open);
        assert!(proxy.try_accept().is_none());
    }
}

/// An origin that never answers: 504 after the time for a response's head, and its connection is not used again.
#[test]
fn an_origin_that_never_answers() {
    let proxy = Proxy::new();
    let mut client = proxy.client();
    client.write(GET);
    let mut origin = proxy.accept();
    proxy.advance(Duration::from_millis(59_900));
    assert_eq!(client.take(), "");
    proxy.advance(Duration::from_millis(200));
    let answer = client.take();
    assert!(answer.starts_with("HTTP/1.1 504 "), "{answer}");
    proxy.read(&mut origin);
    assert_ne!(origin.state(), State::Open);
    assert_eq!(proxy.pooled(), 0);
}

/// Slow client: the origin's side is paused. What the proxy holds for one exchange is bounded by its buffer limit and
/// the windows, whatever the origin sends (security.md section 2.4).
#[test]
fn a_client_that_does_not_read_stops_the_origin() {
    let proxy = Proxy::with("buffer_limit = \"32KiB\"", "");
    let mut client = proxy.client();
    client.write(GET);
    let origin = proxy.accept();
    let body = "x".repeat(4 << 20);
    origin.write(format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: {}\r\n\r\n{body}", body.len()));
    proxy.settle();
    // 64 KiB in each pipe, the limit twice (one batch on top of what waits), and a buffer's rounding.
    let held = body.len() - origin.unsent();
    assert!(held <= (64 + 64 + 2 * 32 + 16) * 1024, "{held} bytes were taken");
    let seen = proxy.read(&mut client);
    assert!(seen.len() > 60_000);
    let mut total = seen.len();
    for _ in 0..2000 {
        let more = proxy.read(&mut client);
        if more.is_empty() {
            break;
        }
        total += more.len();
    }
    assert!(total > body.len(), "all of it arrives once it is read: {total}");
}
