//! security.md section 2.2, as far as it is about staying HTTP: this proxy switches no protocols.

use crate::support::{DATE, Proxy, State, canonical, forwarded_as};

const UPGRADES: [&str; 4] = [
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n",
    "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\n",
    "Connection: upgrade\r\nUpgrade: foo/2, bar\r\n",
    "Upgrade: h2c\r\n",
];

/// h2c smuggling and Upgrade in general. RFC 9110 section 7.8: "A server MAY ignore a received Upgrade header field if
/// it wishes to continue using the current protocol on that connection": the field and its connection option go no
/// further.
#[test]
fn upgrades_are_not_forwarded() {
    for fields in UPGRADES {
        let kept = if fields.contains("Sec-WebSocket") { "Sec-WebSocket-Version: 13\r\n" } else { "" };
        forwarded_as(
            "",
            &format!("GET /chat HTTP/1.1\r\nHost: h\r\n{fields}\r\n"),
            &format!("GET /chat HTTP/1.1\r\nHost: h\r\n{kept}\r\n"),
        );
    }
}

/// Upgrade before 101 (CVE-2026-2833): what follows the request is the next request, routed as any other.
#[test]
fn what_follows_an_upgrade_is_a_request() {
    for fields in UPGRADES {
        let proxy = Proxy::new();
        let mut client = proxy.client();
        client.write(format!(
            "GET /chat HTTP/1.1\r\nHost: h\r\n{fields}\r\nGET /second HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 1\r\n\r\n"
        ));
        let mut origin = proxy.accept();
        assert!(!proxy.read(&mut origin).contains("second"), "no byte of it before the first response");
        origin.write(format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: 2\r\n\r\nok"));
        assert!(proxy.read(&mut client).ends_with("ok"));
        assert!(proxy.read(&mut origin).starts_with("GET /second HTTP/1.1\r\n"));
    }
}

/// Upgrade with a body (CVE-2026-58055): the body is framed as a body.
#[test]
fn upgrades_with_a_body() {
    forwarded_as(
        "",
        "POST /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 5\r\n\r\nhello",
        "POST /chat HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
    );
}

/// 200 as upgrade (CVE-2024-23326): a plain response, with its framing, and no tunnel behind it.
#[test]
fn a_200_to_an_upgrade_is_a_response() {
    let proxy = Proxy::new();
    let mut client = proxy.client();
    client.write("GET /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    let mut origin = proxy.accept();
    proxy.read(&mut origin);
    let response =
        format!("HTTP/1.1 200 OK\r\n{DATE}Connection: Upgrade\r\nUpgrade: websocket\r\nContent-Length: 2\r\n\r\nok");
    origin.write(response);
    let expected = format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: 2\r\n\r\nok");
    assert_eq!(canonical(&proxy.read(&mut client)), canonical(&expected));
    client.write("\x01\x02raw");
    let answer = proxy.read(&mut client);
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(proxy.read(&mut origin), "", "no tunnel");
}

/// Unasked 101. RFC 9110 section 15.2.2: 101 is an answer to Upgrade, and none was forwarded: 502, and the connection
/// is closed.
#[test]
fn an_unasked_101_is_refused() {
    for request in ["", "Connection: Upgrade\r\nUpgrade: websocket\r\n"] {
        let proxy = Proxy::new();
        let mut client = proxy.client();
        client.write(format!("GET / HTTP/1.1\r\nHost: h\r\n{request}\r\n"));
        let mut origin = proxy.accept();
        proxy.read(&mut origin);
        origin.write("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nraw bytes");
        let answer = proxy.read(&mut client);
        assert!(answer.starts_with("HTTP/1.1 502 ") && !answer.contains("raw bytes"), "{answer}");
        assert_ne!(origin.state(), State::Open);
        assert_eq!(proxy.pooled(), 0);
    }
}
