//! RFC 9112 sections 6, 7 and 8: where bodies end, in both directions.

use crate::support::{DATE, Proxy, Refusal, State, answered_as, canonical, cuts, forwarded_as, send_cut};

/// RFC 9112 section 6.2: "When a message does not have a Transfer-Encoding header field, a Content-Length header field
/// can provide the anticipated size". RFC 9110 section 8.6: the number is forwarded, not its text.
#[test]
fn content_length_requests() {
    let post = |length: &str| format!("POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\n\r\nhello");
    forwarded_as("", &post("5"), &post("5"));
    forwarded_as("", &post("005"), &post("5"));
    let empty = "POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n";
    forwarded_as("", empty, empty);
    // RFC 9110 section 9.3.1: content in a GET has no meaning, but it is content.
    let get = "GET /p HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc";
    forwarded_as("", get, get);
}

/// RFC 9112 section 7.1: the chunked coding; "a recipient MUST ignore unrecognized chunk extensions" (section 7.1.1),
/// and an intermediary does not pass on what it has decoded. Coding names are case-insensitive (section 7).
#[test]
fn chunked_requests() {
    let expected = "POST /p HTTP/1.1\r\nHost: h\r\ntransfer-encoding: chunked\r\n\r\nb\r\nhello world\r\n0\r\n\r\n";
    for (coding, body) in [
        ("chunked", "b\r\nhello world\r\n0\r\n\r\n"),
        ("Chunked", "B\r\nhello world\r\n0\r\n\r\n"),
        ("chunked", "5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n"),
        ("chunked", "000b\r\nhello world\r\n00\r\n\r\n"),
        ("chunked", "b;name=value;flag; q=\"a\\\"; b\"\r\nhello world\r\n0;last\r\n\r\n"),
        ("chunked", "b ; a = b\r\nhello world\r\n0\r\n\r\n"),
        // Trailers are dropped unless they are switched on.
        ("chunked", "b\r\nhello world\r\n0\r\nX-Trailer: 1\r\nContent-Length: 3\r\n\r\n"),
    ] {
        let request = format!("POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: {coding}\r\n\r\n{body}");
        forwarded_as("", &request, expected);
    }
    let empty = "POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    forwarded_as("", empty, empty);
}

/// RFC 9110 section 6.5.1: "Trailer fields ... MUST NOT be ... merged ... unless"; a sender must not generate trailers
/// for framing, routing, authentication or control. With trailers on, the others pass, as trailers.
#[test]
fn trailers_pass_as_trailers_where_switched_on() {
    let trailers = "X-Sum: abc\r\nHost: evil\r\nContent-Length: 7\r\nTransfer-Encoding: gzip\r\nAuthorization: x\r\n\
                    Set-Cookie: a=b\r\nConnection: close\r\nX-Forwarded-For: 1.1.1.1\r\nX-Empty:\r\n";
    let expected = "3\r\nabc\r\n0\r\nX-Sum: abc\r\nX-Empty: \r\n\r\n";
    let head = "POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let request = format!("{head}3\r\nabc\r\n0\r\n{trailers}\r\n");
    forwarded_as("enable_trailers = true", &request, &format!("{head}{expected}"));
    let head = format!("HTTP/1.1 200 OK\r\n{DATE}Transfer-Encoding: chunked\r\n\r\n");
    let response = format!("{head}3\r\nabc\r\n0\r\n{trailers}\r\n");
    let get = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    assert_eq!(answered_as("enable_trailers = true", get, &response, &format!("{head}{expected}")), 1);
    assert_eq!(answered_as("", get, &response, &format!("{head}3\r\nabc\r\n0\r\n\r\n")), 1);
}

/// RFC 6585 section 5: 431 for fields that are too large. Trailers are fields, whether they are kept or dropped.
#[test]
fn trailers_over_the_limit_get_431() {
    let head = "POST /p HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n";
    let long = format!("X-Long: {}\r\n\r\n", "y".repeat(17 * 1024));
    let many = format!("{}\r\n", "X-Many: y\r\n".repeat(101));
    for (http, trailers) in
        [("", &long), ("", &many), ("enable_trailers = true", &long), ("enable_trailers = true", &many)]
    {
        let proxy = Proxy::with(http, "");
        let mut client = proxy.client();
        client.write(head);
        proxy.settle();
        client.write(trailers.as_str());
        let answer = proxy.read(&mut client);
        assert_eq!(Refusal::parse(&answer, client.state()), Refusal::closing(431), "{answer}");
        assert!(answer.ends_with("request header fields too large"), "{answer}");
    }
}

/// RFC 9112 section 6.3: "If this is a request message and none of the above are true, then the message body length is
/// zero (no message body is present)": also in HTTP/1.0, where what follows is discarded or another request.
#[test]
fn requests_without_length_have_no_body() {
    forwarded_as("", "POST /p HTTP/1.1\r\nHost: h\r\n\r\n", "POST /p HTTP/1.1\r\nHost: h\r\n\r\n");
    let proxy = Proxy::new();
    let mut client = proxy.client();
    client.write("POST /p HTTP/1.0\r\nHost: h\r\n\r\nnot a body");
    let mut origin = proxy.accept();
    assert_eq!(canonical(&proxy.read(&mut origin)), "POST /p HTTP/1.1\r\nhost: h\r\n\r\n");
    origin.write(format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: 2\r\n\r\nok"));
    assert!(proxy.read(&mut client).ends_with("\r\n\r\nok"));
    assert_eq!(client.state(), State::Ended);
    assert_eq!(proxy.read(&mut origin), "");
}

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

/// RFC 9112 section 6: both framings of responses, cut everywhere, with the connection pooled after each.
#[test]
fn framed_responses() {
    let plain = format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: 11\r\n\r\nhello world");
    assert_eq!(answered_as("", GET, &plain, &plain), 1);
    let empty = format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: 0\r\n\r\n");
    assert_eq!(answered_as("", GET, &empty, &empty), 1);
    let head = format!("HTTP/1.1 200 OK\r\n{DATE}Transfer-Encoding: chunked\r\n\r\n");
    let chunked = format!("{head}5;x=y\r\nhello\r\n6\r\n world\r\n0;z\r\nX-T: 1\r\n\r\n");
    assert_eq!(answered_as("", GET, &chunked, &format!("{head}b\r\nhello world\r\n0\r\n\r\n")), 1);
}

/// RFC 9112 section 6.1: "A server MUST NOT send a response containing Transfer-Encoding unless the corresponding
/// request indicates HTTP/1.1 (or later minor revisions)."
#[test]
fn http10_clients_get_no_chunks() {
    let response =
        format!("HTTP/1.1 200 OK\r\n{DATE}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n");
    for (http, option) in [("", ""), ("enable_trailers = true", "Connection: keep-alive\r\n")] {
        let proxy = Proxy::with(http, "");
        let mut client = proxy.client();
        client.write(format!("GET / HTTP/1.0\r\n{option}\r\n"));
        let origin = proxy.accept();
        origin.write(&response);
        let expected = format!("HTTP/1.1 200 OK\r\n{DATE}Connection: close\r\n\r\nhello");
        assert_eq!(canonical(&proxy.read(&mut client)), canonical(&expected));
        assert_eq!(client.state(), State::Ended, "the close is the body's end");
    }
}

/// RFC 9112 section 6.3: "Otherwise, this is a response message without a declared message body length, so the message
/// body length is determined by the number of octets received prior to the server closing the connection."
#[test]
fn responses_that_end_with_the_connection() {
    let response = format!("HTTP/1.1 200 OK\r\n{DATE}\r\nhello");
    for cut in cuts(response.len()) {
        for version in ["1.0", "1.1"] {
            let proxy = Proxy::new();
            let mut client = proxy.client();
            client.write(format!("GET / HTTP/{version}\r\nHost: h\r\n\r\n"));
            let origin = proxy.accept();
            send_cut(&proxy, &origin, response.as_bytes(), cut);
            drop(origin);
            let seen = canonical(&proxy.read(&mut client));
            let (framing, body, state) = match version {
                "1.0" => ("Connection: close", "hello", State::Ended),
                _ => ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n\r\n", State::Open),
            };
            assert_eq!(seen, canonical(&format!("HTTP/1.1 200 OK\r\n{DATE}{framing}\r\n\r\n{body}")), "cut {cut}");
            assert_eq!((client.state(), proxy.pooled()), (state, 0), "cut {cut}, HTTP/{version}");
        }
    }
}

/// Bodies much longer than any buffer arrive whole, in both directions and framings.
#[test]
fn long_bodies_pass_unchanged() {
    let body: String = (0..200_000u32).map(|i| char::from(b'a' + (i % 23) as u8)).collect();
    let chunked: String = body.as_bytes().chunks(9973).map(chunk).chain(["0\r\n\r\n".into()]).collect();
    let length = format!("Content-Length: {}", body.len());
    for (framing, wire) in [(length.as_str(), &body), ("Transfer-Encoding: chunked", &chunked)] {
        let message = |start: &str| format!("{start}{framing}\r\n\r\n{wire}");
        let proxy = Proxy::new();
        let mut client = proxy.client();
        let request = message("PUT /big HTTP/1.1\r\nHost: h\r\n");
        client.write(&request);
        let mut origin = proxy.accept();
        assert!(canonical(&proxy.read(&mut origin)) == canonical(&request), "{framing}: the request changed");
        let response = message(&format!("HTTP/1.1 200 OK\r\n{DATE}"));
        origin.write(&response);
        // More than may wait for the client at once.
        let seen = proxy.read(&mut client) + &proxy.read(&mut client);
        assert!(canonical(&seen) == canonical(&response), "{framing}: the response changed");
        assert_eq!((client.state(), proxy.pooled()), (State::Open, 1));
    }
}

fn chunk(data: &[u8]) -> String {
    format!("{:x}\r\n{}\r\n", data.len(), String::from_utf8_lossy(data))
}

/// RFC 9112 section 8: "A client that receives an incomplete response message ... MUST record the message as
/// incomplete"; for requests: "a server that receives an incomplete request message, usually due to a canceled request
/// or a triggered timeout exception, MAY send an error response prior to closing the connection."
#[test]
fn incomplete_requests_are_not_completed_for_the_origin() {
    for (framing, part) in [
        ("Content-Length: 10", "hello"),
        ("Transfer-Encoding: chunked", "a\r\nhello"),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n"),
        ("Transfer-Encoding: chunked", "5\r\nhello\r\n0\r\n"),
    ] {
        for reset in [false, true] {
            let proxy = Proxy::new();
            let mut client = proxy.client();
            client.write(format!("POST / HTTP/1.1\r\nHost: h\r\n{framing}\r\n\r\n{part}"));
            let mut origin = proxy.accept();
            let seen = proxy.read(&mut origin);
            assert!(seen.contains("hello") && !seen.ends_with("0\r\n\r\n"), "{seen}");
            if reset {
                client.reset()
            } else {
                client.half_close()
            }
            assert_eq!(proxy.read(&mut origin), "", "{framing} {part}: no end is made up");
            assert_ne!(origin.state(), State::Open, "{framing}: the origin must hear of it");
            assert_eq!(proxy.pooled(), 0);
            let answer = client.take();
            assert!(reset || answer.starts_with("HTTP/1.1 400 "), "{answer}");
            assert!(reset || client.state() == State::Ended, "{framing}");
        }
    }
}

/// Limits on bodies (RFC 9110 section 15.5.14: 413, and the connection is closed "to prevent the client from continuing
/// the request").
#[test]
fn bodies_over_the_limit() {
    let limit = "max_request_body = \"16B\"";
    for (request, reaches_origin) in [
        ("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 17\r\n\r\n0123456789abcdefg", false),
        ("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n11\r\n0123456789abcdefg\r\n0\r\n\r\n", true),
    ] {
        for cut in cuts(request.len()) {
            let proxy = Proxy::with(limit, "");
            let mut client = proxy.client();
            send_cut(&proxy, &client, request.as_bytes(), cut);
            let answer = proxy.read(&mut client);
            assert!(answer.starts_with("HTTP/1.1 413 "), "cut {cut}: {answer}");
            assert_eq!(client.state(), State::Ended, "cut {cut}");
            if let Some(mut origin) = proxy.try_accept() {
                let seen = proxy.read(&mut origin);
                assert!(reaches_origin && !seen.ends_with("0\r\n\r\n"), "cut {cut}: {seen}");
                assert_ne!(origin.state(), State::Open, "cut {cut}");
            }
            assert_eq!(proxy.pooled(), 0);
        }
    }
    let fits = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 16\r\n\r\n0123456789abcdef";
    forwarded_as(limit, fits, fits);
}
