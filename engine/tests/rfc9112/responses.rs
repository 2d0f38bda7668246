//! RFC 9112 section 4 and RFC 9110 sections 6.4.1, 9.3.2 and 15: status lines, interim responses, responses without
//! content.

use crate::support::{DATE, Proxy, State, answered_as, canonical};

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

fn response(start: &str, fields: &str, body: &str) -> String {
    format!("HTTP/1.1 {start}\r\n{DATE}{fields}\r\n{body}")
}

/// RFC 9112 section 4: "A client SHOULD ignore the reason-phrase content": it passes, whatever it is, also when it is
/// empty; and RFC 9110 section 15: unknown codes are forwarded.
#[test]
fn status_lines_pass() {
    for start in ["200 OK", "200 ", "404 Not Found At All", "299 \u{e4}", "599 x", "999 y", "600 "] {
        let response = response(start, "Content-Length: 2\r\n", "hi");
        assert_eq!(answered_as("", GET, &response, &response), 1, "{start}");
    }
}

/// RFC 9110 section 15.2: "A proxy MUST forward 1xx responses unless the proxy itself requested the generation of the
/// 1xx response." RFC 8297 for 103. Their hop-by-hop fields stay behind.
#[test]
fn interim_responses_pass() {
    let last = response("200 OK", "Content-Length: 2\r\n", "hi");
    let received = format!(
        "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\nConnection: x-a\r\nX-A: 1\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n{last}"
    );
    for (version, expected_interim) in [
        ("1.1", "HTTP/1.1 103 Early Hints\r\nLink: </a>; rel=preload\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n"),
        ("1.0", ""),
    ] {
        for cut in crate::support::cuts(received.len()) {
            let proxy = Proxy::new();
            let mut client = proxy.client();
            client.write(format!("GET / HTTP/{version}\r\nHost: h\r\nConnection: keep-alive\r\n\r\n"));
            let origin = proxy.accept();
            crate::support::send_cut(&proxy, &origin, received.as_bytes(), cut);
            let seen = proxy.read(&mut client);
            let Some(seen) = seen.strip_prefix(expected_interim) else { panic!("cut {cut}: {seen}") };
            let option = if version == "1.0" { "Connection: keep-alive\r\n\r\n" } else { "\r\n" };
            assert_eq!(
                canonical(seen),
                canonical(&last.replacen("\r\n\r\n", &format!("\r\n{option}"), 1)),
                "cut {cut}"
            );
            assert_eq!((client.state(), proxy.pooled()), (State::Open, 1), "cut {cut}");
        }
    }
}

/// security.md section 2.4, 1xx: sixteen pass, more are an attack.
#[test]
fn interim_responses_are_capped() {
    let last = response("200 OK", "Content-Length: 2\r\n", "hi");
    let interim = "HTTP/1.1 102 Processing\r\n\r\n";
    let proxy = Proxy::new();
    let mut client = proxy.client();
    client.write(GET);
    let mut origin = proxy.accept();
    proxy.read(&mut origin);
    origin.write(format!("{}{last}", interim.repeat(16)));
    let seen = proxy.read(&mut client);
    let Some(seen) = seen.strip_prefix(&interim.repeat(16)) else { panic!("{seen}") };
    assert_eq!(canonical(seen), canonical(&last));
    client.write(GET);
    proxy.read(&mut origin);
    origin.write(format!("{}{last}", interim.repeat(17)));
    let seen = proxy.read(&mut client);
    let Some(seen) = seen.strip_prefix(&interim.repeat(16)) else { panic!("{seen}") };
    assert!(seen.starts_with("HTTP/1.1 502 "), "{seen}");
    assert_ne!(origin.state(), State::Open);
    assert_eq!(proxy.pooled(), 0);
}

/// RFC 9110 section 8.6: "A server MUST NOT send a Content-Length header field in any response with a status code of
/// 1xx (Informational) or 204 (No Content)" (security.md section 2.4, Bodiless).
#[test]
fn no_content_has_no_length() {
    for (fields, kept) in [("", 1), ("Content-Length: 0\r\n", 1), ("Content-Length: 5\r\n", 0)] {
        let received = response("204 No Content", fields, "");
        assert_eq!(answered_as("", GET, &received, &response("204 No Content", "", "")), kept, "{fields}");
    }
    let received =
        format!("HTTP/1.1 103 Early Hints\r\nContent-Length: 0\r\n\r\n{}", response("204 No Content", "", ""));
    let proxy = Proxy::new();
    let mut client = proxy.client();
    client.write(GET);
    proxy.accept().write(received);
    let seen = proxy.read(&mut client).to_ascii_lowercase();
    assert!(seen.starts_with("http/1.1 103 ") && !seen.contains("content-length"), "{seen}");
}

/// RFC 9110 section 15.4.5 and RFC 9112 section 6.3: a 304 "cannot contain a message body"; its Content-Length tells
/// what a 200 would have had, and is kept (RFC 9110 section 8.6).
#[test]
fn not_modified_has_no_body() {
    for fields in ["ETag: \"x\"\r\n", "Content-Length: 12345\r\n"] {
        let response = response("304 Not Modified", fields, "");
        assert_eq!(answered_as("", GET, &response, &response), 1, "{fields}");
    }
    // The framing of a message that has no body says nothing; it is not this proxy's to send on.
    let received = response("304 Not Modified", "Transfer-Encoding: chunked\r\n", "");
    assert_eq!(answered_as("", GET, &received, &response("304 Not Modified", "", "")), 1);
}

/// RFC 9110 section 9.3.2: "The HEAD method is identical to GET except that the server MUST NOT send content in the
/// response"; section 8.6 lets Content-Length tell what GET would have had.
#[test]
fn head_has_no_body() {
    let head = "HEAD / HTTP/1.1\r\nHost: h\r\n\r\n";
    for fields in ["Content-Length: 12345\r\n", "Content-Length: 0\r\n"] {
        let response = response("200 OK", fields, "");
        assert_eq!(answered_as("", head, &response, &response), 1, "{fields}");
    }
    for fields in ["", "Transfer-Encoding: chunked\r\n"] {
        let proxy = Proxy::new();
        let mut client = proxy.client();
        client.write(head);
        proxy_answers_head(&proxy, &response("200 OK", fields, ""));
        let seen = proxy.read(&mut client);
        assert!(seen.starts_with("HTTP/1.1 200 OK\r\n") && seen.ends_with("\r\n\r\n"), "{seen}");
        assert_eq!(seen.matches("\r\n\r\n").count(), 1, "no body, not even a last chunk: {seen}");
        assert_eq!(client.state(), State::Open, "the response is whole without a body");
    }
}

fn proxy_answers_head(proxy: &Proxy, response: &str) {
    let origin = proxy.accept();
    origin.write(response);
    proxy.settle();
    assert_eq!(proxy.pooled(), 1, "the end is known: the connection stays");
}

/// RFC 9110 section 9.3.2 for what the proxy says itself.
#[test]
fn local_answers_to_head_have_no_body() {
    let mut proxy = Proxy::new();
    let config = "[[listeners]]\naddress = \"127.0.0.1:1\"\nhttp.routes = \
                  [{ match = { prefix = \"/\" }, direct_response = { status = 200, body = \"hello\" } }]";
    proxy.shard.apply(ringway_config::load_str("t", config).unwrap_or_else(|problems| panic!("{problems}")));
    let mut client = proxy.client();
    client.write("HEAD / HTTP/1.1\r\nHost: h\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n");
    let seen = proxy.read(&mut client);
    let (first, second) = seen.split_once("\r\n\r\n").expect("two responses");
    assert!(first.contains("\r\ncontent-length: 5"), "{seen}");
    assert!(second.starts_with("HTTP/1.1 200 ") && second.ends_with("\r\n\r\nhello"), "{seen}");
}

/// RFC 9110 section 6.6.1: "A recipient with a clock that receives a response message without a Date header field MUST
/// record the time it was received and append a corresponding Date header field".
#[test]
fn a_missing_date_is_added() {
    let proxy = Proxy::new();
    let mut client = proxy.client();
    client.write(GET);
    proxy.accept().write("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    let seen = proxy.read(&mut client).to_ascii_lowercase();
    assert_eq!(seen.matches("\r\ndate: thu, 01 jan 2026 00:00:0").count(), 1, "{seen}");
}
