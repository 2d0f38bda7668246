//! The fields that the proxy adds, changes and drops.

use super::support::{Message, Origin, Ringway, response};

fn echo() -> Origin {
    Origin::answering(|_| response(200, &[], "ok"))
}

fn ask(proxy: &Ringway, fields: &str) -> Message {
    let mut client = proxy.connect();
    client.send(format!("GET / HTTP/1.1\r\nHost: example.com\r\n{fields}\r\n").as_bytes());
    client.response()
}

/// RFC 9562 section 5.4: version 4, variant 10.
fn is_uuid4(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() == 36
        && bytes.iter().enumerate().all(|(i, byte)| match i {
            8 | 13 | 18 | 23 => *byte == b'-',
            14 => *byte == b'4',
            19 => matches!(byte, b'8' | b'9' | b'a' | b'b'),
            _ => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

#[test]
fn requests_get_envoys_fields() {
    let origin = echo();
    let proxy = Ringway::before(origin.address, "");
    ask(&proxy, "");
    let first = origin.last();
    assert_eq!(first.field("x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(first.field("x-forwarded-proto"), Some("http"));
    assert!(is_uuid4(first.field("x-request-id").expect("an id")), "{first:?}");
    assert_eq!(first.field("host"), Some("example.com"));
    assert_eq!(first.field("x-envoy-original-path"), None);
    assert_eq!(first.field("via"), None);
    let proxy = Ringway::before(origin.address, "use_remote_address = false");
    ask(&proxy, "X-Forwarded-For: 10.0.0.1, 10.0.0.2\r\nX-Forwarded-Proto: https\r\nX-Request-Id: mine\r\n");
    let second = origin.last();
    assert_eq!(second.field("x-forwarded-for"), Some("10.0.0.1, 10.0.0.2, 127.0.0.1"));
    assert_eq!(second.field("x-forwarded-proto"), Some("https"));
    assert_eq!(second.field("x-request-id"), Some("mine"));
    // Several lines are one list, in order (RFC 9110 section 5.3).
    ask(&proxy, "X-Forwarded-For: 10.0.0.1\r\nX-Other: 1\r\nX-Forwarded-For: 10.0.0.2\r\n");
    assert_eq!(origin.last().all("x-forwarded-for").join(", "), "10.0.0.1, 10.0.0.2, 127.0.0.1");
    let ids: Vec<_> =
        origin.requests().iter().map(|request| request.field("x-request-id").map(str::to_owned)).collect();
    assert_ne!(ids[0], ids[2], "each request has its own");
}

#[test]
fn each_of_them_can_be_switched_off() {
    let origin = echo();
    for (off, absent) in [
        ("x_forwarded_for = false", "x-forwarded-for"),
        ("x_forwarded_proto = false", "x-forwarded-proto"),
        ("x_request_id = false", "x-request-id"),
    ] {
        let proxy = Ringway::before(origin.address, off);
        ask(&proxy, "");
        let request = origin.last();
        for name in ["x-forwarded-for", "x-forwarded-proto", "x-request-id"] {
            assert_eq!(request.field(name).is_none(), name == absent, "{name} with {off}");
        }
        // What the client sent stays as it is.
        ask(&proxy, &format!("{absent}: as it was\r\n"));
        assert_eq!(origin.last().field(absent), Some("as it was"));
    }
}

#[test]
fn responses_get_envoys_fields() {
    let origin = Origin::answering(|request| match request.target() {
        "/dated" => response(200, &["Date: Sun, 06 Nov 1994 08:49:37 GMT", "X-Envoy-Upstream-Service-Time: 9999"], ""),
        _ => response(200, &[], ""),
    });
    let proxy = Ringway::before(origin.address, "");
    let plain = proxy.get("/");
    let time: u64 = plain.field("x-envoy-upstream-service-time").expect("a time").parse().expect("milliseconds");
    assert!(time < 30_000);
    assert_eq!(plain.field("server"), Some("ringway"));
    // RFC 9110 section 6.6.1: an intermediary adds Date where it is missing, and leaves it where it is.
    let date = plain.field("date").expect("a date");
    assert!(date.ends_with(" GMT") && date.len() == 29, "{date}");
    assert_eq!(proxy.get("/dated").field("date"), Some("Sun, 06 Nov 1994 08:49:37 GMT"));
    assert_ne!(proxy.get("/dated").field("x-envoy-upstream-service-time"), Some("9999"), "only the proxy says this");
    let off = Ringway::before(origin.address, "x_envoy_upstream_service_time = false");
    assert_eq!(off.get("/").field("x-envoy-upstream-service-time"), None);
}

#[test]
fn the_server_field() {
    for (option, own, foreign) in [
        ("", Some("ringway"), Some("ringway")),
        ("server_header = \"append_if_absent\"", Some("ringway"), Some("Apache")),
        ("server_header = \"pass_through\"", None, Some("Apache")),
        ("server_name = \"edge\"", Some("edge"), Some("edge")),
    ] {
        let origin = Origin::answering(|request| match request.target() {
            "/foreign" => response(200, &["Server: Apache"], ""),
            _ => response(200, &[], ""),
        });
        let proxy = Ringway::before(origin.address, option);
        assert_eq!(proxy.get("/own").field("server"), own, "{option}");
        assert_eq!(proxy.get("/foreign").field("server"), foreign, "{option}");
    }
}

/// RFC 9110 section 7.6.3: each recipient appends its own entry.
#[test]
fn via_on_both_sides() {
    let origin = Origin::answering(|_| response(200, &["Via: 1.0 inner"], ""));
    let proxy = Ringway::before(origin.address, "via = \"edge-1\"");
    let answer = ask(&proxy, "Via: 1.1 outer\r\n");
    assert_eq!(origin.last().all("via").join(", "), "1.1 outer, 1.1 edge-1");
    assert_eq!(answer.all("via").join(", "), "1.0 inner, 1.1 edge-1");
}

/// RFC 9110 section 7.6.1: fields that Connection names, and those for one hop, go no further.
#[test]
fn fields_for_one_hop_are_dropped() {
    let origin = Origin::answering(|_| {
        response(
            200,
            &["Connection: x-secret", "X-Secret: 1", "Keep-Alive: timeout=5", "Proxy-Connection: x", "X-Kept: 1"],
            "",
        )
    });
    let proxy = Ringway::before(origin.address, "");
    let answer = ask(
        &proxy,
        "Connection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nProxy-Connection: keep-alive\r\nTE: trailers\r\n\
         Upgrade: h2c\r\nX-End: 1\r\n",
    );
    let request = origin.last();
    for name in ["x-hop", "keep-alive", "proxy-connection", "te", "upgrade", "connection"] {
        assert_eq!(request.field(name), None, "{name} in the request");
    }
    assert_eq!(request.field("x-end"), Some("1"));
    for name in ["x-secret", "keep-alive", "proxy-connection"] {
        assert_eq!(answer.field(name), None, "{name} in the response");
    }
    assert_eq!(answer.field("x-kept"), Some("1"));
    // Not a way to take away what the proxy says, nor Host.
    ask(&proxy, "Connection: host, x-forwarded-for, x-request-id, content-length\r\n");
    let request = origin.last();
    assert_eq!(request.field("host"), Some("example.com"));
    assert_eq!(request.field("x-forwarded-for"), Some("127.0.0.1"));
    assert!(request.field("x-request-id").is_some());
}

#[test]
fn fields_keep_their_order_their_case_and_their_bytes() {
    let origin = Origin::answering(|_| response(200, &["X-B: 1", "x-A: \u{fc}ml\u{e4}ut", "X-B: 2"], ""));
    let proxy = Ringway::before(origin.address, "");
    let answer = ask(&proxy, "X-Many: 1\r\nCookie: a=b; c=\"d\"\r\nX-Many: 2\r\nX-Empty:\r\nX-Text: caf\u{e9}\r\n");
    let request = origin.last();
    assert_eq!(request.all("x-many"), ["1", "2"]);
    assert_eq!(request.field("cookie"), Some("a=b; c=\"d\""));
    assert_eq!(request.field("x-empty"), Some(""));
    assert_eq!(request.field("x-text"), Some("caf\u{e9}"));
    assert_eq!(answer.all("x-b"), ["1", "2"]);
    assert_eq!(answer.field("x-a"), Some("\u{fc}ml\u{e4}ut"));
}
