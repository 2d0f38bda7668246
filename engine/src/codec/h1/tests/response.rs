//! The status line and the framing of responses (RFC 9112 sections 4 and 6.3).

use super::*;
use crate::http::{FieldId, Version};

/// "status-line = HTTP-version SP status-code SP [ reason-phrase ]" (RFC 9112 section 4)
#[test]
fn a_plain_response() {
    let text = "HTTP/1.1 404 Not Found\r\nServer: x\r\nContent-Length: 3\r\n\r\nabc";
    let head = response(text).unwrap();
    assert_eq!((head.version, head.status), (Version::Http11, 404));
    assert_eq!(head.reason.of(text.as_bytes()), b"Not Found");
    assert_eq!((head.framing.body, head.content_length), (BodyKind::Length(3), Some(3)));
    assert_eq!(head.fields.value(FieldId::Server, text.as_bytes()), Some(&b"x"[..]));
    assert_eq!(head.framing.len as usize, text.len() - 3);
    assert!(head.framing.keep_alive && !head.is_interim() && !head.framing.content_length_dropped);
}

/// "reason-phrase = 1*( HTAB / SP / VCHAR / obs-text )", optional; a client "SHOULD ignore the reason-phrase content"
/// (RFC 9112 section 4)
#[test]
fn reasons() {
    for (line, expected) in [
        (&b"HTTP/1.1 200 \r\n\r\n"[..], &b""[..]),
        (b"HTTP/1.1 200\r\n\r\n", b""),
        (b"HTTP/1.1 200 \t a\xff\r\n\r\n", b"\t a\xff"),
        (b"HTTP/1.1 200 x\r\nA: b\r\n\r\n", b"x"),
    ] {
        let mut head = ResponseHead::default();
        assert!(matches!(parse_response(line, &Limits::default(), Method::Get, &mut head), Ok(Parse::Complete(_))));
        assert_eq!(head.reason.of(line), expected);
    }
}

/// What is no status line is refused (RFC 9112 section 4).
#[test]
fn status_lines_are_strict() {
    for line in [
        "HTTP/1.1  200 OK",
        "HTTP/1.1 20 OK",
        "HTTP/1.1 2000 OK",
        "HTTP/1.1 2x0 OK",
        "HTTP/1.1\t200 OK",
        "HTTP/1.10 200 OK",
        "HTTP/1.x 200 OK",
        "HTTP/1.1 200\tOK",
    ] {
        assert!(response(&format!("{line}\r\n\r\n")).is_err(), "{line:?}");
    }
    assert_eq!(refused_response("HTTP/1.1 200 O\0K\r\n\r\n"), ResponseError::InvalidStatusLine);
    assert_eq!(refused_response("HTTP/1.1 200 O\rK\r\n\r\n"), ResponseError::InvalidStatusLine);
    assert_eq!(refused_response("HTTP/1.1 2x0 OK\r\n\r\n"), ResponseError::InvalidStatusLine);
    assert_eq!(refused_response("<html>not http at all"), HeadError::InvalidVersion.into());
    for version in ["HTTP/2.0", "HTTP/2 "] {
        assert_eq!(refused_response(&format!("{version} 200 OK\r\n\r\n")), HeadError::VersionNotSupported.into());
    }
}

/// A later minor version is read as 1.1 (RFC 9110 section 2.5), rules and framing included.
#[test]
fn later_minor_versions() {
    for minor in 2..=9 {
        let head = response(&format!("HTTP/1.{minor} 200 OK\r\nContent-Length: 3\r\n\r\n")).expect("valid");
        assert_eq!((head.status, head.content_length), (200, Some(3)));
    }
    assert_eq!(
        refused_response("HTTP/1.2 200 OK\r\nA : b\r\n\r\n"),
        refused_response("HTTP/1.1 200 OK\r\nA : b\r\n\r\n")
    );
    assert!(response("HTTP/1.2 2x0 OK\r\n\r\n").is_err());
    let whole = b"HTTP/1.2 200 OK\r\n\r\n";
    for len in 0..whole.len() {
        let mut head = ResponseHead::default();
        let parsed = parse_response(&whole[..len], &Limits::default(), Method::Get, &mut head);
        assert!(matches!(parsed, Ok(Parse::Partial)), "{len} bytes: {parsed:?}");
    }
}

/// "The status code of a response is a three-digit integer code"; 100 is the first (RFC 9110 section 15).
#[test]
fn statuses() {
    assert_eq!(refused_response("HTTP/1.1 099 x\r\n\r\n"), ResponseError::InvalidStatus);
    assert_eq!(refused_response("HTTP/1.1 000 x\r\n\r\n"), ResponseError::InvalidStatus);
    // "A client that receives a response with an invalid status code SHOULD process the response as if it had a 5xx"
    assert_eq!(response("HTTP/1.1 999 x\r\n\r\n").unwrap().status, 999);
    assert!(response("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n").unwrap().is_interim());
}

/// "A server MUST NOT switch to a protocol that was not indicated by the client in the corresponding request's Upgrade
/// header field" (RFC 9110 section 7.8), and none is indicated.
#[test]
fn unasked_101() {
    let text = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n";
    assert_eq!(refused_response(text), ResponseError::UnaskedSwitchingProtocols);
}

/// "Any response to a HEAD request and any response with a 1xx (Informational), 204 (No Content), or 304 (Not Modified)
/// status code is always terminated by the first empty line after the header fields, regardless of the header fields
/// present in the message" (RFC 9112 section 6.3)
#[test]
fn responses_without_a_body() {
    for (method, status, lines) in [
        (Method::Head, 200, "Content-Length: 5\r\n"),
        (Method::Head, 200, "Transfer-Encoding: chunked\r\n"),
        (Method::Head, 200, ""),
        (Method::Get, 304, "Content-Length: 5\r\n"),
        (Method::Get, 304, "Transfer-Encoding: chunked\r\n"),
        (Method::Get, 204, ""),
        (Method::Get, 100, ""),
        // "Any 2xx (Successful) response to a CONNECT request implies that the connection will become a tunnel"
        (Method::Connect, 200, "Content-Length: 5\r\n"),
    ] {
        let head = response_to(method, &format!("HTTP/1.1 {status} x\r\n{lines}\r\n")).unwrap();
        assert_eq!(head.framing.body, BodyKind::None, "{method:?} {status} {lines:?}");
        assert!(head.framing.keep_alive);
        assert_eq!(head.content_length, lines.starts_with('C').then_some(5));
    }
}

/// "A server MUST NOT send a Content-Length header field in any response with a status code of 1xx (Informational) or
/// 204 (No Content)" (RFC 9110 section 8.6)
#[test]
fn content_length_of_204_is_dropped() {
    for (status, length, keep_alive) in [(204, 0, true), (204, 5, false), (103, 0, true), (100, 5, false)] {
        let head = response(&format!("HTTP/1.1 {status} x\r\nContent-Length: {length}\r\n\r\n")).unwrap();
        assert_eq!(
            (head.framing.body, head.content_length, head.framing.content_length_dropped),
            (BodyKind::None, None, true)
        );
        assert!(head.fields.get(FieldId::ContentLength).unwrap().hop_by_hop);
        assert_eq!(head.framing.keep_alive, keep_alive, "{status} {length}");
    }
}

/// "A server MUST NOT send a Transfer-Encoding header field in any response with a status code of 1xx (Informational) or
/// 204 (No Content)" (RFC 9112 section 6.1)
#[test]
fn transfer_encoding_of_204_is_refused() {
    for status in [100, 103, 204] {
        let text = format!("HTTP/1.1 {status} x\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!(refused_response(&text), ResponseError::TransferEncodingNotAllowed);
    }
}

/// "Otherwise, this is a response message without a declared message body length, so the message body length is
/// determined by the number of octets received prior to the server closing the connection" (RFC 9112 section 6.3)
#[test]
fn close_delimited() {
    let head = response("HTTP/1.1 200 OK\r\n\r\n").unwrap();
    assert_eq!((head.framing.body, head.framing.keep_alive), (BodyKind::UntilClose, false));
    let head = response("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n").unwrap();
    assert_eq!((head.framing.body, head.framing.keep_alive), (BodyKind::UntilClose, false));
}

/// The persistence of a response's connection (RFC 9112 section 9.3).
#[test]
fn keep_alive() {
    for (version, lines, expected) in [
        ("1.1", "", true),
        ("1.1", "Connection: close\r\n", false),
        ("1.0", "", false),
        ("1.0", "Connection: keep-alive\r\n", true),
        ("1.0", "Connection: keep-alive\r\nConnection: close\r\n", false),
    ] {
        let head = response(&format!("HTTP/{version} 200 OK\r\nContent-Length: 1\r\n{lines}\r\n")).unwrap();
        assert_eq!(
            (head.framing.body, head.framing.keep_alive),
            (BodyKind::Length(1), expected),
            "{version} {lines:?}"
        );
    }
}
