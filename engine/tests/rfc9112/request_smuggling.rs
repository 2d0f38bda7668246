//! security.md section 2.1: requests whose framing not every reader takes for the same. Each is refused whole: the named
//! status, `connection: close`, a closed connection, and an origin that hears nothing.

use crate::support::{DATE, Proxy, Refusal, State, canonical, cuts, refused, send_cut};
use std::time::Duration;

/// CL.TE and TE.CL. RFC 9112 section 6.1: "A server MAY reject a request that contains both Content-Length and
/// Transfer-Encoding"; section 6.3: "Such a message might indicate an attempt to perform request smuggling".
#[test]
fn content_length_with_transfer_encoding() {
    refused(&[
        ("CL.TE", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nG", 400),
        ("TE.CL", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n8\r\nSMUGGLED\r\n0\r\n\r\n", 400),
        ("CL: 0 and TE", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("CL and empty TE", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\nTransfer-Encoding:\r\n\r\nabcd", 400),
        ("CL and nominated TE", b"POST / HTTP/1.1\r\nHost: h\r\nConnection: transfer-encoding\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ]);
}

/// TE.TE. RFC 9112 section 6.1: "A server that receives a request message with a transfer coding it does not understand
/// SHOULD respond with 501"; section 6.3: chunked must be the final coding of a request, else 400; section 7: exactly
/// once.
#[test]
fn transfer_encodings_other_than_chunked_once() {
    refused(&[
        ("chunked twice", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400),
        (
            "chunked in two lines",
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "identity behind",
            b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
            400,
        ),
        ("chunked not last", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400),
        ("gzip", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
        ("gzip alone", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\nabc", 501),
        ("identity", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: identity\r\n\r\nabc", 501),
        ("prefix", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", 501),
        ("suffix", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunkedx\r\n\r\n0\r\n\r\n", 501),
        ("parameter", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked;x=y\r\n\r\n0\r\n\r\n", 400),
        ("quoted", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", 400),
        ("vertical tab", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", 400),
        ("NUL", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n", 400),
        ("space before colon", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n", 400),
        ("folded", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n", 400),
        ("bare LF", b"POST / HTTP/1.1\r\nHost: h\r\nX: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        ("bare CR", b"POST / HTTP/1.1\r\nHost: h\r\nX: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ]);
}

/// An empty Transfer-Encoding is no list of codings (RFC 9110 section 5.6.1 with RFC 9112 section 6.1: 1#), and some
/// recipients would take it for chunked, others for nothing.
#[test]
fn empty_transfer_encodings() {
    refused(&[
        ("empty", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding:\r\n\r\n", 400),
        ("comma", b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: ,\r\n\r\n", 400),
    ]);
}

/// TE in HTTP/1.0. RFC 9112 section 6.1: "A server or client that receives an HTTP/1.0 message containing a
/// Transfer-Encoding header field MUST treat the message as if the framing is faulty, even if a Content-Length is
/// present".
#[test]
fn transfer_encoding_in_http10() {
    refused(&[
        ("chunked", b"POST / HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
        (
            "with CL",
            b"POST / HTTP/1.0\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        (
            "keep-alive",
            b"POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
        ),
        ("unknown", b"POST / HTTP/1.0\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n", 400),
    ]);
}

/// CL grammar. RFC 9110 section 8.6: Content-Length = 1*DIGIT; "a recipient MUST anticipate potentially large decimal
/// numerals and prevent parsing errors due to integer conversion overflows". Duplicates are refused.
#[test]
fn content_length_grammar() {
    for value in [
        "",
        "+5",
        "-5",
        "5 5",
        "5,5",
        "5, 6",
        "0x5",
        "5a",
        "5.0",
        "five",
        "18446744073709551616",
        "99999999999999999999999",
        "5;x",
        "\"5\"",
        "1e1",
        "5\u{b}",
        "\u{ff15}",
    ] {
        let request = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {value}\r\n\r\nhello");
        refused(&[(value, request.as_bytes(), 400)]);
    }
    refused(&[
        ("two", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", 400),
        ("two alike", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\ncontent-length: 5\r\n\r\nhello", 400),
        ("two in HTTP/1.0", b"POST / HTTP/1.0\r\nContent-Length: 5\r\nContent-Length: 0\r\n\r\nhello", 400),
    ]);
}

/// Bare LF, bare CR, NUL and other control characters. RFC 9112 section 2.2: "a recipient of such a bare CR MUST
/// consider that element to be invalid"; RFC 9110 section 5.5: "Field values containing CR, LF, or NUL characters are
/// invalid and dangerous". LF alone as a line end MAY be taken: it is not.
#[test]
fn line_ends_and_control_characters() {
    refused(&[
        ("bare LF after the request line", b"GET / HTTP/1.1\nHost: h\r\n\r\n", 400),
        ("bare LF after a field", b"GET / HTTP/1.1\r\nHost: h\nX: y\r\n\r\n", 400),
        ("bare LF at the end", b"GET / HTTP/1.1\r\nHost: h\r\n\n", 400),
        ("bare LF everywhere", b"GET / HTTP/1.1\nHost: h\n\n", 400),
        ("bare LF before", b"\nGET / HTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("bare CR in a value", b"GET / HTTP/1.1\r\nHost: h\r\nX: a\rb\r\n\r\n", 400),
        ("CR CR LF", b"GET / HTTP/1.1\r\nHost: h\r\nX: a\r\r\n\r\n", 400),
        ("bare CR in a name", b"GET / HTTP/1.1\r\nHost: h\r\nX\r: a\r\n\r\n", 400),
        ("bare CR in the request line", b"GET /\rHTTP/1.1\r\nHost: h\r\n\r\n", 400),
        ("NUL in a value", b"GET / HTTP/1.1\r\nHost: h\r\nX: a\0b\r\n\r\n", 400),
        ("NUL in a name", b"GET / HTTP/1.1\r\nHost: h\r\nX\0: a\r\n\r\n", 400),
        ("BEL in a value", b"GET / HTTP/1.1\r\nHost: h\r\nX: \x07\r\n\r\n", 400),
        ("ESC in a value", b"GET / HTTP/1.1\r\nHost: h\r\nX: \x1b[0m\r\n\r\n", 400),
        ("DEL in a value", b"GET / HTTP/1.1\r\nHost: h\r\nX: \x7f\r\n\r\n", 400),
    ]);
}

/// RFC 9112 sections 2.2, 5.1 and 5.2: "A server MUST reject, with a response status code of 400 (Bad Request), any
/// received request message that contains whitespace between a header field name and colon"; obs-fold likewise; "a
/// recipient that receives whitespace between the start-line and the first header field MUST either reject the message
/// as invalid or ...".
#[test]
fn field_lines() {
    refused(&[
        ("obs-fold with SP", b"GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n", 400),
        ("obs-fold with HTAB", b"GET / HTTP/1.1\r\nHost: h\r\nX: a\r\n\tb\r\n\r\n", 400),
        ("obs-fold on the last line", b"GET / HTTP/1.1\r\nHost: h\r\n \r\n\r\n", 400),
        ("SP before colon", b"GET / HTTP/1.1\r\nHost: h\r\nX : a\r\n\r\n", 400),
        ("HTAB before colon", b"GET / HTTP/1.1\r\nHost: h\r\nX\t: a\r\n\r\n", 400),
        ("SP before colon of Host", b"GET / HTTP/1.1\r\nHost : h\r\n\r\n", 400),
        ("SP before the first field", b"GET / HTTP/1.1\r\n Host: h\r\n\r\n", 400),
        ("HTAB before the first field", b"GET / HTTP/1.1\r\n\tX: y\r\nHost: h\r\n\r\n", 400),
        ("no colon", b"GET / HTTP/1.1\r\nHost: h\r\nX\r\n\r\n", 400),
        ("empty name", b"GET / HTTP/1.1\r\nHost: h\r\n: a\r\n\r\n", 400),
        ("name with a space", b"GET / HTTP/1.1\r\nHost: h\r\nX Y: a\r\n\r\n", 400),
        ("name with a slash", b"GET / HTTP/1.1\r\nHost: h\r\nX/Y: a\r\n\r\n", 400),
        ("name in UTF-8", b"GET / HTTP/1.1\r\nHost: h\r\n\xc3\xa4: a\r\n\r\n", 400),
    ]);
}

/// RFC 9112 section 3: Transfer-Encoding hidden behind an invalid name is not ignored and not forwarded.
const CHUNKED: &str = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";

/// Chunk size, chunk line ends, extensions and trailers. RFC 9112 section 7.1: chunk-size = 1*HEXDIG; "a recipient MUST
/// anticipate potentially large hexadecimal numerals". If the origin has heard of the request already, it never gets the
/// last chunk, and its connection is closed.
#[test]
fn invalid_chunks() {
    let proxy = Proxy::new();
    for body in [
        "x\r\n",
        "\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n",
        "0x5\r\nhello\r\n0\r\n\r\n",
        "5 5\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello",
        "10000000000000000\r\nhello",
        "00000000000000000000000000000005\r\nhello\r\n0\r\n\r\n",
        "5_0\r\nhello",
        "5\u{e4}\r\nhello",
        // Line ends.
        "5\nhello\r\n0\r\n\r\n",
        "5\rhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhello0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\r\nhello\r0\r\n\r\n",
        "4\r\nhello\r\n0\r\n\r\n",
        "5\r\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello\r\n0\n\r\n",
        "5\r\nhello\r\n0\r\n\n",
        "5\r\nhello\r\n0\r\n\rX",
        "5\r\nhello\r\n0\r\n\r\r\n",
        // Extensions.
        "5;\nhello\r\n0\r\n\r\n",
        "5;a\nb\r\nhello\r\n0\r\n\r\n",
        "5;a\rb\r\nhello\r\n0\r\n\r\n",
        "5;a=\"b\nc\"\r\nhello\r\n0\r\n\r\n",
        "5;a=\"b\r\nhello\r\n0\r\n\r\n",
        "5;a=\0\r\nhello\r\n0\r\n\r\n",
        "5;=x\r\nhello\r\n0\r\n\r\n",
        "5 x\r\nhello\r\n0\r\n\r\n",
        // Trailers.
        "5\r\nhello\r\n0\r\nX : y\r\n\r\n",
        "5\r\nhello\r\n0\r\n: y\r\n\r\n",
        "5\r\nhello\r\n0\r\nX\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: y\n\r\n",
        "5\r\nhello\r\n0\r\nX: y\r\n z\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: \0\r\n\r\n",
        "5\r\nhello\r\n0\r\n X: y\r\n\r\n",
        "5\r\nhello\r\n0\r\nX: a\rb\r\n\r\n",
    ] {
        let request = format!("{CHUNKED}{body}");
        for cut in cuts(request.len()) {
            refused_within_the_body(&proxy, request.as_bytes(), cut, 400);
        }
    }
}

fn refused_within_the_body(proxy: &Proxy, request: &[u8], cut: usize, status: u16) {
    let text = String::from_utf8_lossy(&request[request.len().saturating_sub(60)..]);
    let mut client = proxy.client();
    send_cut(proxy, &client, request, cut);
    let answer = proxy.read(&mut client);
    assert_eq!(Refusal::parse(&answer, client.state()), Refusal::closing(status), "{text:?}, cut {cut}: {answer:?}");
    if let Some(mut origin) = proxy.try_accept() {
        let seen = proxy.read(&mut origin);
        assert!(!seen.contains("\r\n0\r\n"), "{text:?}, cut {cut}: the origin got a last chunk: {seen:?}");
        assert_ne!(origin.state(), State::Open, "{text:?}, cut {cut}");
    }
    assert_eq!(proxy.pooled(), 0, "{text:?}, cut {cut}");
    proxy.advance(Duration::from_millis(1100));
    assert_eq!(proxy.shard.connections(), 0, "{text:?}, cut {cut}");
}

/// security.md section 2.1: extensions are limited to 16 KiB for each request, not for each chunk.
#[test]
fn chunk_extensions_are_limited_in_sum() {
    let chunk = format!("1;{}\r\nx\r\n", "e".repeat(1000));
    let fits = format!("{CHUNKED}{}0\r\n\r\n", chunk.repeat(16));
    let proxy = Proxy::new();
    let client = proxy.client();
    client.write(&fits);
    let mut origin = proxy.accept();
    assert!(proxy.read(&mut origin).ends_with("\r\n0\r\n\r\n"));
    drop((client, origin));
    let exceeds = format!("{CHUNKED}{}0\r\n\r\n", chunk.repeat(17));
    for cut in [exceeds.len(), 100, 5000, exceeds.len() - 300] {
        refused_within_the_body(&proxy, exceeds.as_bytes(), cut, 400);
    }
}

/// The same after the response has begun: nothing more can be said, so the connection is cut, visibly.
#[test]
fn invalid_chunks_after_the_response_has_begun() {
    let proxy = Proxy::new();
    let mut client = proxy.client();
    client.write(format!("{CHUNKED}5\r\nhello\r\n"));
    let mut origin = proxy.accept();
    proxy.read(&mut origin);
    origin.write(format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: 10\r\n\r\nhalf"));
    assert!(proxy.read(&mut client).ends_with("half"));
    client.write("zzz\r\n");
    assert_eq!(proxy.read(&mut client), "", "no second response inside the first");
    assert_ne!(client.state(), State::Open);
    assert_ne!(origin.state(), State::Open);
    assert!(!proxy.read(&mut origin).contains("0\r\n"));
    assert_eq!(proxy.pooled(), 0);
}

/// CL.0, 0.CL and early responses. RFC 9112 section 9.3: "a server MUST read the entire request message body or close
/// the connection after sending its response; otherwise, the remaining data on a persistent connection would be
/// misinterpreted as the next request". At most 64 KiB and one second are read; the origin's connection is not pooled.
#[test]
fn early_responses_do_not_turn_bodies_into_requests() {
    let early = format!("HTTP/1.1 403 Forbidden\r\n{DATE}Content-Length: 2\r\n\r\nno");
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
    let head = format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", smuggled.len());
    // The body comes in time: it is read away, and the connection serves the next request.
    let proxy = Proxy::new();
    let mut client = proxy.client();
    client.write(&head);
    let mut origin = proxy.accept();
    proxy.read(&mut origin);
    origin.write(&early);
    assert_eq!(canonical(&proxy.read(&mut client)), canonical(&early));
    client.write(format!("{smuggled}GET /next HTTP/1.1\r\nHost: h\r\n\r\n"));
    let mut next = proxy.accept();
    assert!(proxy.read(&mut next).starts_with("GET /next HTTP/1.1\r\n"), "not the body");
    assert_ne!(origin.state(), State::Open, "half a request was sent on it");
    // It does not come in time: the connection is closed.
    let proxy = Proxy::new();
    let mut client = proxy.client();
    client.write(&head);
    let origin = proxy.accept();
    origin.write(&early);
    assert_eq!(canonical(&proxy.read(&mut client)), canonical(&early));
    assert_eq!(client.state(), State::Open);
    proxy.advance(Duration::from_millis(1100));
    assert_eq!(client.state(), State::Ended);
    client.write(smuggled);
    assert!(proxy.try_accept().is_none());
    proxy.advance(Duration::from_millis(1100));
    assert_eq!((proxy.shard.connections(), proxy.pooled()), (0, 0));
}

/// More than 64 KiB of an unwanted body are not read.
#[test]
fn long_bodies_that_nobody_wants_close_the_connection() {
    let early = format!("HTTP/1.1 403 Forbidden\r\n{DATE}Content-Length: 2\r\n\r\nno");
    let proxy = Proxy::new();
    let mut client = proxy.client();
    client.write("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n");
    let origin = proxy.accept();
    origin.write(&early);
    assert_eq!(canonical(&proxy.read(&mut client)), canonical(&early));
    for _ in 0..8 {
        client.write("GET /smuggled HTTP/1.1\r\n".repeat(1000));
        proxy.settle();
    }
    assert_ne!(client.state(), State::Open, "192 KB were not read away");
    drop(client);
    proxy.advance(Duration::from_millis(1100));
    assert_eq!((proxy.shard.connections(), proxy.pooled()), (0, 0));
    assert!(proxy.try_accept().is_none());
}

/// A refused request ends the connection: what was pipelined behind it is not served (RFC 9112 section 9.6).
#[test]
fn nothing_behind_a_refused_request_is_served() {
    refused(&[(
        "pipelined",
        b"GET / HTTP/1.1\r\nHost: h\r\nX : y\r\n\r\nGET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n",
        400,
    )]);
}

/// Requests before the refused one are served, in order.
#[test]
fn requests_before_a_refused_one_are_served() {
    let proxy = Proxy::new();
    let mut client = proxy.client();
    client.write("GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\nX : y\r\n\r\n");
    let mut origin = proxy.accept();
    assert!(proxy.read(&mut origin).starts_with("GET /1 "));
    origin.write(format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: 2\r\n\r\nok"));
    let seen = proxy.read(&mut client);
    let (first, second) = seen.split_once("\r\n\r\nok").expect("the first response");
    assert!(first.starts_with("HTTP/1.1 200 OK"), "{seen}");
    assert_eq!(Refusal::parse(second, client.state()), Refusal::closing(400), "{seen}");
    assert_eq!(proxy.read(&mut origin), "");
}
