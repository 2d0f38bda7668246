//! The filter `decompressor`: what upstreams and clients get, bombs, broken bodies.

use super::compression::{decoded, encoded, page};
use super::filters::{filtering, get, refusal, start};
use super::support::{Connection, Origin, PATIENCE, Ringway, assert_same, response};
use ringway::http::coding::Coding;

const CODINGS: [(&str, Coding); 3] = [("gzip", Coding::Gzip), ("br", Coding::Brotli), ("zstd", Coding::Zstd)];
const FILTER: &str = "{ decompressor = {} }";

fn echo() -> Origin {
    Origin::answering(|request| response(200, &[], &request.body))
}

/// The request's status, and the status of the same again on a new connection.
fn post(proxy: &Ringway, fields: &str, body: &[u8]) -> super::support::Message {
    let mut client = proxy.connect();
    client.send(format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}Content-Length: {}\r\n\r\n", body.len()).as_bytes());
    client.try_send(body);
    client.response()
}

#[test]
fn requests_arrive_decompressed() {
    let origin = echo();
    let proxy = filtering(&origin, FILTER, "");
    let body = page(300_000);
    for (name, coding) in CODINGS {
        let answer = post(&proxy, &format!("Content-Encoding: {name}\r\n"), &encoded(coding, &body));
        assert_same(&answer.body, &body, name);
        let request = origin.last();
        assert_eq!((request.field("content-encoding"), request.field("content-length")), (None, None));
        let library = coding.envoy_name();
        let stat =
            |name: &str| proxy.stat(&format!("http.ingress_http.decompressor.{library}.{library}.request.{name}"));
        assert_eq!((stat("decompressed"), stat("total_uncompressed_bytes")), (1, 300_000));
    }
    // Two codings, of which the outer one is undone by name of both; an unknown one stays. Short, since a longer page would
    // become more than a hundred times as long.
    let short = page(60_000);
    let twice = encoded(Coding::Brotli, &encoded(Coding::Gzip, &short));
    assert_same(
        &post(&proxy, "Content-Encoding: gzip\r\nContent-Encoding: br\r\n", &twice).body,
        &short,
        "two codings",
    );
    let answer = post(&proxy, "Content-Encoding: x-own, gzip\r\n", &encoded(Coding::Gzip, &body));
    assert_same(&answer.body, &body, "the inner coding");
    assert_eq!(origin.last().field("content-encoding"), Some("x-own"));
    // What is protected, or a part, or of another coding, stays as it is.
    let gzip = encoded(Coding::Gzip, &body);
    for fields in [
        "Content-Encoding: gzip\r\nCache-Control: no-transform\r\n",
        "Content-Encoding: gzip\r\nContent-Range: bytes 0-9/100\r\n",
        "Content-Encoding: gzip, x-own\r\n",
    ] {
        assert_same(&post(&proxy, fields, &gzip).body, &gzip, fields);
    }
}

#[test]
fn responses_reach_the_client_decompressed() {
    let body = page(300_000);
    for (name, coding) in CODINGS {
        let compressed = encoded(coding, &body);
        let origin = Origin::answering(move |_| {
            response(200, &[&format!("Content-Encoding: {name}"), "ETag: \"a\""], &compressed)
        });
        let proxy = filtering(&origin, FILTER, "");
        let answer = get(&proxy, "/", "Accept-Encoding: deflate, gzip;q=0.1\r\n");
        assert_eq!((answer.field("content-encoding"), answer.field("etag")), (None, Some("W/\"a\"")));
        assert_same(&answer.body, &body, name);
        assert_eq!(origin.last().field("accept-encoding"), Some("deflate, gzip, br, zstd"));
        get(&proxy, "/", "Accept-Encoding: deflate\r\nRange: bytes=0-1\r\n");
        assert_eq!(origin.last().field("accept-encoding"), Some("deflate"), "a part cannot be decompressed");
    }
}

/// What the client accepts decides, although the upstream is told otherwise.
#[test]
fn a_compressor_before_it_compresses_again() {
    let body = page(100_000);
    let compressed = encoded(Coding::Brotli, &body);
    let origin =
        Origin::answering(move |_| response(200, &["Content-Type: text/html", "Content-Encoding: br"], &compressed));
    for filters in [
        "{ compressor = {} }, { decompressor = {} }",
        "{ compressor = { response = { remove_accept_encoding_header = true } } }, { decompressor = {} }",
    ] {
        let proxy = filtering(&origin, filters, "");
        let answer = get(&proxy, "/", "Accept-Encoding: gzip\r\n");
        assert_eq!(answer.field("content-encoding"), Some("gzip"));
        assert_same(&decoded(Coding::Gzip, &answer.body), &body, filters);
        let answer = get(&proxy, "/", "Accept-Encoding: identity\r\n");
        assert_eq!(answer.field("content-encoding"), None);
        assert_same(&answer.body, &body, filters);
    }
}

#[test]
fn a_buffer_behind_it_sees_what_it_makes() {
    let origin = echo();
    let proxy = filtering(&origin, "{ decompressor = {} }, { buffer = { max_request_bytes = \"20KiB\" } }", "");
    let fits = page(20_000);
    assert_same(&post(&proxy, "Content-Encoding: gzip\r\n", &encoded(Coding::Gzip, &fits)).body, &fits, "the echo");
    assert_eq!(origin.last().field("content-length"), Some("20000"));
    let large = encoded(Coding::Gzip, &page(50_000));
    assert!(large.len() < 20_000);
    assert_eq!(post(&proxy, "Content-Encoding: gzip\r\n", &large).status(), 413);
    // Before it, the buffer sees what comes.
    let proxy = filtering(&origin, "{ buffer = { max_request_bytes = \"20KiB\" } }, { decompressor = {} }", "");
    assert_same(&post(&proxy, "Content-Encoding: gzip\r\n", &large).body, &page(50_000), "the echo");
}

#[test]
fn bombs_are_refused() {
    let origin = echo();
    let proxy = filtering(&origin, "{ decompressor = { max_output_bytes = \"1MiB\", max_inflate_ratio = 50 } }", "");
    for (name, coding) in CODINGS {
        let fields = format!("Content-Encoding: {name}\r\n");
        let bomb = post(&proxy, &fields, &encoded(coding, &vec![b'0'; 100 << 20]));
        assert_eq!(bomb.status(), 413, "{name}");
        // A page gets smaller by less than that.
        let noise: Vec<u8> = super::support::pattern(2 << 20);
        assert_eq!(post(&proxy, &fields, &encoded(coding, &noise)).status(), 413, "{name}: too long");
        assert_eq!(post(&proxy, &fields, b"not compressed at all, whatever it says").status(), 400, "{name}");
        let cut = encoded(coding, &page(10_000));
        assert_eq!(post(&proxy, &fields, &cut[..cut.len() - 3]).status(), 400, "{name}: cut");
    }
    let log = proxy.log_lines("log", 12);
    let expected = [
        "413 - decompression_max_inflate_ratio_exceeded",
        "413 - decompression_max_output_bytes_exceeded",
        "400 - decompression_corrupt_body",
        "400 - decompression_truncated_body",
    ];
    for (line, expected) in log.iter().zip(expected.iter().cycle()) {
        assert_eq!(line, expected);
    }
}

/// The head has gone out when the body shows what it is.
#[test]
fn a_response_that_breaks_is_left_incomplete() {
    for (body, details) in [
        (encoded(Coding::Gzip, &vec![b'0'; 50 << 20]), "decompression_max_inflate_ratio_exceeded"),
        (b"this is not gzip".to_vec(), "decompression_corrupt_body"),
        (encoded(Coding::Gzip, b"cut")[..15].to_vec(), "decompression_truncated_body"),
    ] {
        let origin = Origin::answering(move |_| response(200, &["Content-Encoding: gzip"], &body));
        let proxy = filtering(&origin, FILTER, "");
        let answer = get(&proxy, "/", "");
        assert!(answer.status() == 200 && !answer.complete, "{details}");
        assert_eq!(proxy.log_lines("log", 1), [format!("200 UPE {details}")]);
    }
}

/// A compressed request that trickles reaches the upstream as it comes.
#[test]
fn slow_requests_arrive_as_they_come() {
    let (told, seen) = std::sync::mpsc::channel();
    let told = std::sync::Mutex::new(told);
    let origin = Origin::raw(move |mut connection: Connection<_>, _| {
        while connection.head().is_some() {
            let mut body = Vec::new();
            while connection.chunk(&mut body) == Some(true) {
                told.lock().expect("one").send(body.clone()).expect("the test listens");
            }
            connection.trailers();
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let proxy = start(&origin, FILTER, "", "", "");
    // Two members, each of which can be read without the other.
    let mut client = proxy.connect();
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n\r\n");
    let mut expected = Vec::new();
    for part in ["one", "two"] {
        let member = encoded(Coding::Gzip, part.as_bytes());
        client.send(format!("{:x}\r\n", member.len()).as_bytes());
        client.send(&member);
        client.send(b"\r\n");
        expected.extend_from_slice(part.as_bytes());
        assert_eq!(seen.recv_timeout(PATIENCE).as_deref(), Ok(&expected[..]));
    }
    client.send(b"0\r\n\r\n");
    assert_eq!(client.response().status(), 200);
}

#[test]
fn wrong_settings_are_explained() {
    for (filter, complaint) in [
        ("{ decompressor = { decompressor_library = [] } }", "there is no library"),
        ("{ decompressor = { decompressor_library = [\"gzip\", \"gzip\"] } }", "in the list twice"),
        ("{ decompressor = { decompressor_library = [\"deflate\"] } }", "\"gzip\", \"brotli\", \"zstd\""),
        ("{ decompressor = { max_inflate_ratio = 0 } }", "1 to 4294967295"),
    ] {
        let text = refusal(filter, "");
        assert!(text.contains(complaint), "{filter}: {text}");
    }
}
