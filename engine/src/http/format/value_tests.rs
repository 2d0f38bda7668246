//! Tests of values: of several lines, of calls, of failed connections, in JSON, decoded.

use super::operator_tests::{line, value, with_full_record};
use super::tests::{add_field, json_line, record, request};
use super::*;
use crate::http::{HeadView, RequestHead, ResponseHead, Span, Trailers, Version};
use ringway_config::format_pieces;
use std::net::SocketAddr;

/// Several lines of one name are one value (RFC 9110 section 5.3).
#[test]
fn fields_of_several_lines() {
    let fields: [(&str, &[u8]); 6] =
        [("X-A", b"1"), ("via", b"1.1 a"), ("x-a", b""), ("Via", b"1.1 b"), ("X-A", b"3\n"), ("x-b", b"")];
    let (head, bytes) = request(&fields);
    let record = &record(&head, &bytes);
    assert_eq!(line("%REQ(x-a)% %REQ(via)% %REQ(x-b)%", record), "1,,3\\x0a 1.1 a,1.1 b ");
    assert_eq!(line("%REQ(x-a):1% %REQ(x-a):2% %REQ(x-none?via):7%", record), "1 1, 1.1 a,1");
    assert_eq!(value("<%REQ(via)%>", record).as_deref(), Some("<1.1 a,1.1 b>"));
    assert_eq!(json_line(&[("v", &format_pieces("%REQ(via)%").expect("valid"))], record), "{\"v\":\"1.1 a,1.1 b\"}\n");
    let (head, bytes) = request(&[]);
    let mut response = ResponseHead::default();
    let mut response_bytes = Vec::new();
    add_field(&mut response.fields, &mut response_bytes, "Set-Cookie", b"a=1");
    add_field(&mut response.fields, &mut response_bytes, "Set-Cookie", b"b=2");
    let mut record = super::tests::record(&head, &bytes);
    record.response = Some((&response, HeadView::new(&response_bytes)));
    assert_eq!(line("%RESP(set-cookie)%", &record), "a=1,b=2");
}

#[test]
fn calls_have_statuses() {
    let (mut head, bytes) = request(&[("content-type", b"application/grpc+proto")]);
    head.version = Version::Http2;
    let (mut response, mut response_bytes) = (ResponseHead::default(), Vec::new());
    add_field(&mut response.fields, &mut response_bytes, "grpc-status", b"14");
    let (empty, none) = (ResponseHead::default(), Trailers::default());
    let (mut trailers, mut unnamed) = (Trailers::default(), Trailers::default());
    trailers.add(b"grpc-status", b"4");
    unnamed.add(b"grpc-status", b"99");
    let shown = |response, trailers, response_code| {
        let response = Some((response, HeadView::new(&response_bytes)));
        let record = Record { response, response_trailers: trailers, response_code, ..record(&head, &bytes) };
        line(
            "%GRPC_STATUS% %GRPC_STATUS(CAMEL_STRING)% %GRPC_STATUS(SNAKE_STRING)% %GRPC_STATUS(NUMBER)% %GRPC_STATUS_NUMBER%",
            &record,
        )
    };
    let late = "DeadlineExceeded DeadlineExceeded DEADLINE_EXCEEDED 4 4";
    assert_eq!(shown(&response, Some(&trailers), 200), late, "trailers come first");
    let unavailable = "Unavailable Unavailable UNAVAILABLE 14 14";
    assert_eq!(shown(&response, Some(&none), 200), unavailable);
    assert_eq!(shown(&empty, None, 403), "PermissionDenied PermissionDenied PERMISSION_DENIED 7 7");
    assert_eq!(shown(&empty, None, 0), "- - - - -");
    assert_eq!(shown(&empty, Some(&unnamed), 200), "99 99 99 99 99");
}

/// Envoy: the details of a connection that failed say of what, those of other failures have nothing to say.
#[test]
fn details_of_failed_connections_say_of_what() {
    let told = |details: &'static str, failure, operator: &str| {
        let (response_code_details, upstream_transport_failure) = (Some(details), failure);
        let record = Record { response_code_details, upstream_transport_failure, ..Record::default() };
        let inner = format!("COALESCE({{\"operators\": [\"{operator}\"]}})");
        assert_eq!(line(&format!("%{inner}%"), &record), line(&format!("%{operator}%"), &record));
        line(&format!("%{operator}%"), &record)
    };
    let why = Some("TLS: received fatal  alert: UnknownCA");
    for open in [
        "upstream_reset_before_response_started{remote_connection_failure",
        "upstream_reset_after_response_started{connection_termination",
    ] {
        let details: &'static str = format!("{open}}}").leak();
        let alert = "|TLS:_received_fatal__alert:_UnknownCA}";
        assert_eq!(told(details, why, "RESPONSE_CODE_DETAILS"), format!("{open}{alert}"));
        let spaced = line(
            "%RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)%",
            &Record {
                response_code_details: Some(details),
                upstream_transport_failure: why,
                upgrade_dropped: true,
                ..Record::default()
            },
        );
        assert_eq!(spaced, format!("{open}|TLS: received fatal  alert: UnknownCA}}{{upgrade_dropped}}"));
        assert_eq!(told(details, None, "RESPONSE_CODE_DETAILS"), details);
    }
    for details in
        ["upstream_reset_before_response_started{overflow|clusters[].circuit_breakers.max_requests}", "via_upstream"]
    {
        assert_eq!(told(details, why, "RESPONSE_CODE_DETAILS"), details);
    }
}

#[test]
fn json_members_are_null_or_numbers_where_they_can_be() {
    with_full_record(|full| {
        let pieces = |format| format_pieces(format).unwrap();
        let (sent, id, none, mixed, time) = (
            pieces("%UPSTREAM_WIRE_BYTES_SENT%"),
            pieces("%UPSTREAM_CONNECTION_ID%"),
            pieces("%QUERY_PARAM(none)%"),
            pieces("%REQ(X-NONE)%/%DOWNSTREAM_REMOTE_PORT%"),
            pieces("%START_TIME(\"%Y\")%"),
        );
        let members: [(&str, &[_]); 5] =
            [("sent", &sent), ("id", &id), ("none", &none), ("mixed", &mixed), ("time", &time)];
        assert_eq!(
            json_line(&members, full),
            "{\"sent\":104,\"id\":12,\"none\":null,\"mixed\":\"-/4711\",\"time\":\"\\\"2025\\\"\"}\n"
        );
    });
}

fn with_query(query: &str, check: impl FnOnce(&Record<'_>)) {
    let bytes = format!("GET/?{query}").into_bytes();
    let (method_span, path) = (Span::new(0, 3), Span::new(3, bytes.len()));
    let head = RequestHead { method_span, path, path_len: 1, ..RequestHead::default() };
    check(&record(&head, &bytes));
}

/// CWE-113 and CWE-117: what a client percent-encodes does not end a field or a line when it is decoded.
#[test]
fn a_decoded_parameter_stays_one_value() {
    with_query("a=x%0d%0aSet-Cookie:%20b=1%00%22&b=%20%20padded%09&c=%0D%0A", |record| {
        assert_eq!(value("%QUERY_PARAM(a)%", record).unwrap(), "x  Set-Cookie: b=1 \"");
        assert_eq!(line("%QUERY_PARAM(a)%", record), r"x\x0d\x0aSet-Cookie: b=1\x00\x22");
        assert_eq!(value("%QUERY_PARAM(b)%", record).unwrap(), "padded");
        assert_eq!(value(" %QUERY_PARAM(b)% end ", record).unwrap(), "padded\t end");
        assert_eq!(value("%QUERY_PARAM(c)%", record), None);
        assert_eq!(value("%QUERY_PARAM(none)%", record), None);
    });
}

/// Decoding goes in pieces; a character that lies across their border must come out whole.
#[test]
fn long_decoded_values_keep_their_characters() {
    for prefix in 0..8 {
        let text = "x".repeat(prefix) + &"é日🦀".repeat(100);
        let encoded: String = text.bytes().map(|byte| format!("%{byte:02X}")).collect();
        with_query(&format!("q={encoded}"), |record| {
            assert_eq!(line("%QUERY_PARAM(q)%", record), text);
            assert_eq!(value("%QUERY_PARAM(q)%", record).unwrap(), text);
            assert_eq!(line(&format!("%QUERY_PARAM(q):{}%", prefix + 2), record).len(), prefix + 2);
        });
    }
    // Bytes that only begin characters, without end.
    with_query(&format!("q={}", "%F0".repeat(600)), |record| {
        assert_eq!(line("%QUERY_PARAM(q)%", record), r"\xf0".repeat(600));
    });
}

#[test]
fn a_listener_for_both_families_has_ipv4_clients() {
    let mapped: SocketAddr = "[::ffff:10.1.2.3]:9".parse().unwrap();
    let record = Record { downstream_remote_address: Some(mapped), ..Record::default() };
    assert_eq!(
        line("%DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(8)%", &record),
        "10.1.2.3:9 10.0.0.0/8"
    );
}
