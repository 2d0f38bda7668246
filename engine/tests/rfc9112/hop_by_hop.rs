//! RFC 9110 section 7.6: what a proxy removes, adds and leaves alone.

use crate::support::{DATE, answered_as, forwarded_as, refused};

const GET: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

/// RFC 9110 section 7.6.1: "Intermediaries MUST parse a received Connection header field before a message is forwarded
/// and, for each connection-option in this field, remove any header or trailer field(s) from the message with the same
/// name as the connection-option, and then remove the Connection header field itself".
#[test]
fn nominated_fields_are_removed() {
    forwarded_as(
        "",
        "GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nConnection: x-a, X-B , ,x-missing\r\nX-B: 2\r\nX-b: 3\r\nX-C: 4\r\n\
         Connection: x-d\r\nX-D: 5\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX-C: 4\r\n\r\n",
    );
    let response = format!(
        "HTTP/1.1 200 OK\r\nX-A: 1\r\nConnection: x-a, keep-alive\r\nKeep-Alive: timeout=5\r\n{DATE}Content-Length: 0\r\n\r\n"
    );
    let expected = format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: 0\r\n\r\n");
    assert_eq!(answered_as("", GET, &response, &expected), 1);
}

/// security.md section 2.1, Hop-by-hop abuse: never Host, framing, or what the proxy sets.
#[test]
fn fields_that_cannot_be_nominated_away() {
    forwarded_as(
        "",
        "POST / HTTP/1.1\r\nConnection: host, content-length, close, transfer-encoding\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi",
        "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi",
    );
    forwarded_as(
        "",
        "POST / HTTP/1.1\r\nConnection: Transfer-Encoding\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    );
    let nominated = "X-Forwarded-For, X-Forwarded-Proto, X-Request-Id, Via, X-Envoy-Original-Path";
    forwarded_as(
        "via = \"edge\"",
        &format!(
            "GET / HTTP/1.1\r\nHost: h\r\nConnection: {nominated}\r\nX-Forwarded-For: 198.51.100.7\r\n\
             X-Forwarded-Proto: https\r\nX-Request-Id: abc\r\n\r\n"
        ),
        "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 198.51.100.7\r\nX-Forwarded-Proto: https\r\nX-Request-Id: abc\r\n\
         via: 1.1 edge\r\n\r\n",
    );
    let response = format!("HTTP/1.1 200 OK\r\nConnection: content-length\r\nContent-Length: 2\r\n{DATE}\r\nhi");
    let expected = format!("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n{DATE}\r\nhi");
    assert_eq!(answered_as("", GET, &response, &expected), 1);
}

/// RFC 9110 section 7.6.1: "intermediaries SHOULD remove or replace fields that are known to require removal before
/// forwarding, whether or not they appear as a connection-option": Proxy-Connection, Keep-Alive, TE, Transfer-Encoding,
/// Upgrade.
#[test]
fn known_hop_by_hop_fields_are_removed() {
    forwarded_as(
        "",
        "GET / HTTP/1.1\r\nHost: h\r\nProxy-Connection: keep-alive\r\nKeep-Alive: timeout=5\r\nTE: trailers, gzip\r\n\
         Upgrade: foo/1\r\nHTTP2-Settings: AAMAAABkAAQAoAAAAAIAAAAA\r\nX: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX: y\r\n\r\n",
    );
    let response = format!(
        "HTTP/1.1 200 OK\r\nProxy-Connection: close\r\nUpgrade: h2c\r\nTE: x\r\nKeep-Alive: 5\r\n{DATE}Content-Length: 0\r\n\r\n"
    );
    let expected = format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: 0\r\n\r\n");
    assert_eq!(answered_as("", GET, &response, &expected), 1);
}

/// RFC 9110 section 5.3: "A proxy MUST NOT change the order of these field line values when forwarding a message"; and
/// section 5.1: unrecognised fields are forwarded. Values are forwarded as they are, without the white space around.
#[test]
fn end_to_end_fields_are_left_alone() {
    forwarded_as(
        "",
        "GET / HTTP/1.1\r\nHost: h\r\nX-A:1\r\nX-A: \t two words \t\r\nX-A:\r\nX-Strange~Name!: \u{e4}\r\nCookie: a=b; c=\"d\"\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nX-A: 1\r\nX-A: two words\r\nX-A: \r\nX-Strange~Name!: \u{e4}\r\nCookie: a=b; c=\"d\"\r\n\r\n",
    );
    let response = format!(
        "HTTP/1.1 200 OK\r\nSet-Cookie: a=b, c\r\nSet-Cookie: d\r\nServer: origin\r\nETag: \"x\"\r\n{DATE}Content-Length: 0\r\n\r\n"
    );
    assert_eq!(answered_as("", GET, &response, &response), 1);
}

/// RFC 9110 section 7.6.3: "A proxy MUST send an appropriate Via header field, as described below, in each message that
/// it forwards"; a gateway may. The received protocol is the message's own.
#[test]
fn via_is_appended_on_both_sides() {
    let via = "via = \"edge\"";
    forwarded_as(
        via,
        "GET / HTTP/1.1\r\nHost: h\r\nVia: 1.0 fred\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nvia: 1.0 fred\r\nvia: 1.1 edge\r\n\r\n",
    );
    let response = |via: &str| format!("HTTP/1.1 200 OK\r\n{DATE}{via}Content-Length: 0\r\n\r\n");
    answered_as(via, GET, &response("Via: 1.1 p\r\n"), &response("Via: 1.1 p\r\nVia: 1.1 edge\r\n"));
}

/// RFC 9110 section 7.6.3: "received-protocol": of the message that was received, which may be HTTP/1.0.
#[test]
fn via_tells_the_received_protocol() {
    forwarded_as(
        "via = \"edge\"",
        "GET / HTTP/1.0\r\nHost: h\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: h\r\nvia: 1.0 edge\r\n\r\n",
    );
    answered_as(
        "via = \"edge\"",
        GET,
        &format!("HTTP/1.0 200 OK\r\n{DATE}Content-Length: 0\r\n\r\n"),
        &format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: 0\r\nvia: 1.0 edge\r\n\r\n"),
    );
}

/// Connection is a list of tokens (RFC 9110 section 7.6.1); anything else is refused, and so is a list without end.
#[test]
fn connection_that_is_no_list() {
    refused(&[
        ("quoted", b"GET / HTTP/1.1\r\nHost: h\r\nConnection: \"close\"\r\n\r\n", 400),
        ("parameter", b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close;x=y\r\n\r\n", 400),
    ]);
}
