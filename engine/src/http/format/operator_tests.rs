//! Tests of every command operator, present and absent, and of values for header fields.

use crate::net::tls::client_hello::HelloReader;
use crate::net::tls::{Facts, Fingerprints, Identities, Identity, Known};
use ringway_config::model::{FormatPiece, TlsFingerprints};
use ringway_config::{connection_format_pieces, format_pieces};

use super::tests::{add_field, record, request, text_line};
use super::*;
use crate::base::random::Random;
use crate::http::trace::Trace;
use crate::http::{HeadView, RequestHead, ResponseHead, TryWireBytes, WireBytes};
use std::sync::Arc;

/// The line that `format` makes of `record`.
pub(super) fn line(format: &str, record: &Record<'_>) -> String {
    text_line(&pieces(format), record)
}

/// Some operators are only for connections.
pub(super) fn pieces(format: &str) -> Vec<FormatPiece> {
    let of_connection = |_| connection_format_pieces(format);
    format_pieces(format).or_else(of_connection).unwrap_or_else(|faults| panic!("{format}: {faults}"))
}

pub(super) fn value(format: &str, record: &Record<'_>) -> Option<String> {
    let format = CompiledFormat::new(&pieces(format));
    let mut out = b"before".to_vec();
    let is_some = format_value(&format, record, &mut out);
    let value = String::from_utf8(out.split_off(6)).expect("these tests use text");
    assert_eq!(out, b"before");
    assert_eq!(is_some, !value.is_empty());
    is_some.then_some(value)
}

/// Everything that can be there is.
fn full<'a>(
    head: &'a RequestHead,
    bytes: &'a [u8],
    response: &'a ResponseHead,
    response_bytes: &'a [u8],
    random: &'a Random,
    tls: [(&'a Facts, &'a Identities); 2],
) -> Record<'a> {
    let mut full = record(head, bytes);
    full.random = Some(random);
    full.response = Some((response, HeadView::new(response_bytes)));
    full.response_flags = ResponseFlags::UPSTREAM_REQUEST_TIMEOUT | ResponseFlags::NO_HEALTHY_UPSTREAM;
    (full.response_code_details, full.upgrade_dropped) = (Some("upstream reset{by  peer}"), true);
    full.upstream_protocol = Some("HTTP/1.1");
    full.upstream_host_name = Some("app.internal:8080");
    full.upstream_local_address = Some("10.1.10.23:5000".parse().unwrap());
    full.upstream_remote_address = Some("[2001:db8:1234:5678:9abc:def0:1234:5678]:8080".parse().unwrap());
    full.upstream_connection_id = Some(12);
    full.upstream_attempts = 3;
    full.upstream_transport_failure = Some("connection refused");
    let [downstream, upstream] = tls.map(|(facts, identities)| Some(Known::Noted(facts, Some(identities))));
    (full.downstream_tls, full.upstream_tls) = (downstream, upstream);
    full.route_name = Some("r1");
    full.filter_chain_name = Some("chain");
    full.local_reply_body = b"no healthy upstream";
    full.wire = WireBytes { received: 101, sent: 102, head_sent: 103, head_received: 70 };
    full.try_wire = TryWireBytes { sent: 104, head_sent: 105, received: 106, head_received: 50 };
    // In microseconds after the start, 5 ms: 100, 200, ... 900.
    let times = &mut full.try_times;
    times.connect_start = Some(5_100_000);
    times.connect_end = Some(5_200_000);
    times.start = 5_300_000;
    times.end = Some(5_400_000);
    times.response_body_start = Some(17_000_000);
    times.response_end = Some(17_100_000);
    full.times.downstream_start = Some(17_200_000);
    full.times.downstream_end = Some(17_300_000);
    full
}

/// Operator, its value, and what stands there when nothing is known of the exchange.
#[rustfmt::skip]
const OPERATORS: &[(&str, &str, &str)] = &[
    ("REQ(:METHOD)", "GET", "-"),
    ("REQ(:PATH)", "/a?b=1", "-"),
    ("REQ(:AUTHORITY)", "example.org", "-"),
    ("REQ(:SCHEME)", "http", "-"),
    ("REQUEST_HEADER(X-NONE?X-Q):3", "/x?", "-"),
    ("REQ_WITHOUT_QUERY(X-Q)", "/x", "-"),
    ("REQ_WITHOUT_QUERY(X-NONE?:PATH):1", "/", "-"),
    ("RESP(SERVER)", "nginx", "-"),
    ("RESPONSE_HEADER(X-NONE?SERVER):2", "ng", "-"),
    ("PATH", "/orig?z", "-"),
    ("PATH(NQ)", "/orig", "-"),
    ("PATH(WQ:PATH)", "/a?b=1", "-"),
    ("PATH(NQ:PATH):1", "/", "-"),
    ("PATH(NQ:ORIG)", "/orig", "-"),
    ("QUERY_PARAM(b)", "1", "-"),
    ("QUERY_PARAM(c)", "-", "-"),
    ("QUERY_PARAMS", "b=1", "-"),
    ("QUERY_PARAMS(DECODED):2", "b=", "-"),
    ("PROTOCOL", "HTTP/1.1", "-"),
    ("UPSTREAM_PROTOCOL", "HTTP/1.1", "-"),
    ("RESPONSE_CODE", "200", "0"),
    ("RESPONSE_CODE_DETAILS", "upstream_reset{by__peer}{upgrade_dropped}", "-"),
    ("RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)", "upstream reset{by  peer}{upgrade_dropped}", "-"),
    // No call.
    ("GRPC_STATUS", "-", "-"),
    ("GRPC_STATUS_NUMBER", "-", "-"),
    ("RESPONSE_FLAGS", "UH,UT", "-"),
    ("RESPONSE_FLAGS_LONG", "NoHealthyUpstream,UpstreamRequestTimeout", "-"),
    ("LOCAL_REPLY_BODY", "no healthy upstream", "-"),
    ("START_TIME", "2025-12-31T23:59:59.123Z", "1970-01-01T00:00:00.000Z"),
    ("START_TIME(%d/%b/%Y:%H:%M:%S %z)", "31/Dec/2025:23:59:59 +0000", "01/Jan/1970:00:00:00 +0000"),
    ("START_TIME(%s.%3f)", "1767225599.123", "0.000"),
    ("EMIT_TIME", "2025-12-31T23:59:59.136Z", "1970-01-01T00:00:00.000Z"),
    ("EMIT_TIME(%6f)", "136455", "000000"),
    ("DURATION", "12", "0"),
    ("REQUEST_DURATION", "1", "-"),
    ("REQUEST_TX_DURATION", "0", "-"),
    ("RESPONSE_DURATION", "11", "-"),
    ("RESPONSE_TX_DURATION", "0", "-"),
    ("COMMON_DURATION(DS_RX_BEG:US_CX_BEG:us)", "100", "-"),
    ("COMMON_DURATION(DS_RX_BEG:US_CX_END:us)", "200", "-"),
    ("COMMON_DURATION(DS_RX_BEG:US_TX_BEG:us)", "300", "-"),
    ("COMMON_DURATION(DS_RX_BEG:US_TX_END:ns)", "400000", "-"),
    ("COMMON_DURATION(DS_RX_BEG:DS_RX_END)", "1", "-"),
    ("COMMON_DURATION(DS_RX_END:US_RX_BEG:us)", "10500", "-"),
    ("COMMON_DURATION(DS_RX_BEG:US_RX_BODY_BEG)", "12", "-"),
    ("COMMON_DURATION(US_RX_BODY_BEG:US_RX_END:us)", "100", "-"),
    ("COMMON_DURATION(US_RX_BODY_BEG:DS_TX_BEG:us)", "200", "-"),
    ("COMMON_DURATION(US_RX_BODY_BEG:DS_TX_END:us)", "300", "-"),
    ("COMMON_DURATION(DS_TX_END:DS_TX_BEG)", "-", "-"),
    ("BYTES_RECEIVED", "5", "0"),
    ("BYTES_SENT", "46", "0"),
    // 7 + 3, 5 + 6, 10 + 11, 7 + 4, and the fields: 3 + 6, 21 + 7, 12 + 4, 7.
    ("REQUEST_HEADERS_BYTES", "150", "0"),
    ("RESPONSE_HEADERS_BYTES", "21", "0"),
    ("DOWNSTREAM_WIRE_BYTES_RECEIVED", "101", "0"),
    ("DOWNSTREAM_WIRE_BYTES_SENT", "102", "0"),
    ("DOWNSTREAM_HEADER_BYTES_RECEIVED", "70", "0"),
    ("DOWNSTREAM_HEADER_BYTES_SENT", "103", "0"),
    ("UPSTREAM_WIRE_BYTES_SENT", "104", "0"),
    ("UPSTREAM_HEADER_BYTES_SENT", "105", "0"),
    ("UPSTREAM_WIRE_BYTES_RECEIVED", "106", "0"),
    ("UPSTREAM_HEADER_BYTES_RECEIVED", "50", "0"),
    ("DOWNSTREAM_REMOTE_ADDRESS", "192.0.2.1:4711", "-"),
    ("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT", "192.0.2.1", "-"),
    ("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(16)", "192.0.0.0/16", "-"),
    ("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(0)", "0.0.0.0/0", "-"),
    ("DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(64)", "-", "-"),
    ("DOWNSTREAM_REMOTE_PORT", "4711", "-"),
    ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS", "198.51.100.7:99", "-"),
    ("DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT(32)", "198.51.100.7/32", "-"),
    ("DOWNSTREAM_DIRECT_REMOTE_PORT", "99", "-"),
    ("DOWNSTREAM_LOCAL_ADDRESS", "[2001:db8::1]:80", "-"),
    ("DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT", "2001:db8::1", "-"),
    ("DOWNSTREAM_LOCAL_PORT", "80", "-"),
    ("UPSTREAM_REMOTE_ADDRESS", "[2001:db8:1234:5678:9abc:def0:1234:5678]:8080", "-"),
    ("UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(64)", "2001:db8:1234:5678::/64", "-"),
    ("UPSTREAM_REMOTE_PORT", "8080", "-"),
    ("UPSTREAM_LOCAL_ADDRESS", "10.1.10.23:5000", "-"),
    ("UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(16)", "10.1.0.0/16", "-"),
    ("UPSTREAM_LOCAL_PORT", "5000", "-"),
    ("CONNECTION_ID", "77", "0"),
    // Of connections, see below.
    ("CONNECTION_REQUESTS", "-", "-"),
    ("CONNECTION_TERMINATION_DETAILS", "-", "-"),
    ("DOWNSTREAM_TRANSPORT_FAILURE_REASON", "-", "-"),
    ("UPSTREAM_CLUSTER", "app", "-"),
    ("UPSTREAM_CLUSTER_RAW", "app", "-"),
    ("UPSTREAM_HOST", "127.0.0.1:8080", "-"),
    ("UPSTREAM_HOST_NAME", "app.internal:8080", "-"),
    ("UPSTREAM_HOST_NAME_WITHOUT_PORT", "app.internal", "-"),
    ("UPSTREAM_CONNECTION_ID", "12", "-"),
    ("UPSTREAM_REQUEST_ATTEMPT_COUNT", "3", "0"),
    ("UPSTREAM_TRANSPORT_FAILURE_REASON", "connection refused", "-"),
    ("DOWNSTREAM_TLS_VERSION", "TLSv1.3", "-"),
    ("DOWNSTREAM_TLS_CIPHER", "TLS_AES_128_GCM_SHA256", "-"),
    ("DOWNSTREAM_TLS_GROUP", "X25519", "-"),
    ("REQUESTED_SERVER_NAME", "a.example", "-"),
    ("REQUESTED_SERVER_NAME(SNI_ONLY)", "a.example", "-"),
    ("REQUESTED_SERVER_NAME(SNI_FIRST)", "a.example", "-"),
    ("REQUESTED_SERVER_NAME(HOST_FIRST)", "original.example", "-"),
    ("REQUESTED_SERVER_NAME(HOST_FIRST:ORIG)", "original.example", "-"),
    ("REQUESTED_SERVER_NAME(HOST_FIRST:HOST)", "example.org", "-"),
    ("REQUESTED_SERVER_NAME(HOST_FIRST:ORIG_OR_HOST)", "original.example", "-"),
    ("TLS_JA3_FINGERPRINT", "3faa4ad39f690c4ef1c3160caa375465", "-"),
    ("TLS_JA4_FINGERPRINT", "t12d4605h2_85626a9a5f7f_aaf95bb78ec9", "-"),
    ("DOWNSTREAM_PEER_SUBJECT", "CN=client,O=Example", "-"),
    ("DOWNSTREAM_PEER_ISSUER", "CN=issuer of client", "-"),
    ("DOWNSTREAM_PEER_SERIAL", "0a1b", "-"),
    ("DOWNSTREAM_PEER_FINGERPRINT_256", "256client", "-"),
    ("DOWNSTREAM_PEER_FINGERPRINT_1", "1client", "-"),
    ("DOWNSTREAM_PEER_URI_SAN", "spiffe://a/client,urn:c", "-"),
    ("DOWNSTREAM_PEER_DNS_SAN", "client.example", "-"),
    ("DOWNSTREAM_PEER_IP_SAN", "192.0.2.1", "-"),
    ("DOWNSTREAM_PEER_EMAIL_SAN", "client@b.example", "-"),
    ("DOWNSTREAM_PEER_OTHERNAME_SAN", "other,client", "-"),
    ("DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256", "2561,2562", "-"),
    ("DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1", "11,12", "-"),
    ("DOWNSTREAM_PEER_CHAIN_SERIALS", "0a1b,,2", "-"),
    ("DOWNSTREAM_PEER_CERT", "-----BEGIN%20CERTIFICATE-----%0AZmlyc3QgY2VydGlmaWNhdGU%3D%0A-----END%20CERTIFICATE-----%0A", "-"),
    ("DOWNSTREAM_PEER_CERT:31", "-----BEGIN%20CERTIFICATE-----%0", "-"),
    ("DOWNSTREAM_PEER_CERT_V_START", "2025-12-31T23:59:59.000Z", "-"),
    ("DOWNSTREAM_PEER_CERT_V_END(%s)", "1798761599", "-"),
    ("DOWNSTREAM_LOCAL_SUBJECT", "CN=front,O=Example", "-"),
    ("DOWNSTREAM_LOCAL_URI_SAN", "spiffe://a/front,urn:c", "-"),
    ("DOWNSTREAM_LOCAL_DNS_SAN", "front.example", "-"),
    ("DOWNSTREAM_LOCAL_IP_SAN", "192.0.2.1", "-"),
    ("DOWNSTREAM_LOCAL_EMAIL_SAN", "front@b.example", "-"),
    ("DOWNSTREAM_LOCAL_OTHERNAME_SAN", "other,front", "-"),
    ("UPSTREAM_TLS_VERSION", "TLSv1.2", "-"),
    ("UPSTREAM_TLS_CIPHER", "TLS_AES_128_GCM_SHA256", "-"),
    ("UPSTREAM_TLS_GROUP", "X25519", "-"),
    ("UPSTREAM_SERVER_NAME", "b.example", "-"),
    ("UPSTREAM_PEER_SUBJECT", "CN=endpoint,O=Example", "-"),
    ("UPSTREAM_PEER_ISSUER", "CN=issuer of endpoint", "-"),
    ("UPSTREAM_PEER_SERIAL", "0a1b", "-"),
    ("UPSTREAM_PEER_FINGERPRINT_256", "256endpoint", "-"),
    ("UPSTREAM_PEER_FINGERPRINT_1", "1endpoint", "-"),
    ("UPSTREAM_PEER_URI_SAN", "spiffe://a/endpoint,urn:c", "-"),
    ("UPSTREAM_PEER_DNS_SAN", "endpoint.example", "-"),
    ("UPSTREAM_PEER_IP_SAN", "192.0.2.1", "-"),
    ("UPSTREAM_PEER_EMAIL_SAN", "endpoint@b.example", "-"),
    ("UPSTREAM_PEER_OTHERNAME_SAN", "other,endpoint", "-"),
    ("UPSTREAM_PEER_CERT", "-----BEGIN%20CERTIFICATE-----%0AZmlyc3QgY2VydGlmaWNhdGU%3D%0A-----END%20CERTIFICATE-----%0A", "-"),
    ("UPSTREAM_PEER_CERT:31", "-----BEGIN%20CERTIFICATE-----%0", "-"),
    ("UPSTREAM_PEER_CERT_V_START", "2025-12-31T23:59:59.000Z", "-"),
    ("UPSTREAM_PEER_CERT_V_END(%s)", "1798761599", "-"),
    ("UPSTREAM_LOCAL_SUBJECT", "CN=own,O=Example", "-"),
    ("UPSTREAM_LOCAL_URI_SAN", "spiffe://a/own,urn:c", "-"),
    ("UPSTREAM_LOCAL_DNS_SAN", "own.example", "-"),
    ("UPSTREAM_LOCAL_IP_SAN", "192.0.2.1", "-"),
    ("UPSTREAM_LOCAL_EMAIL_SAN", "own@b.example", "-"),
    ("UPSTREAM_LOCAL_OTHERNAME_SAN", "other,own", "-"),
    ("ROUTE_NAME", "r1", "-"),
    ("VIRTUAL_HOST_NAME", "local_service", "-"),
    ("FILTER_CHAIN_NAME", "chain", "-"),
    ("TRACE_ID", "000000000000000a000000000000000b", "-"),
    ("SPAN_ID", "000000000000000c", "-"),
    ("TRACE_FLAGS", "01", "-"),
    ("STREAM_ID", "id-1", "-"),
    ("ENVIRONMENT(CARGO_PKG_NAME)", "ringway", "ringway"),
    ("ENVIRONMENT(CARGO_PKG_NAME):4", "ring", "ring"),
    ("ENVIRONMENT(RINGWAY_THIS_IS_NOT_SET)", "-", "-"),
    ("ACCESS_LOG_TYPE", "DownstreamEnd", "DownstreamEnd"),
    (r#"COALESCE({"operators": ["ROUTE_NAME", "UPSTREAM_HOST"]})"#, "r1", "-"),
    (r#"COALESCE({"operators": [{"command": "REQ", "param": "X-NONE"}, {"command": "REQ", "param": "X-EMPTY"}, {"command": "REQ", "param": "X-Q", "max_length": 3}]}):2"#, "/x", "-"),
    (r#"COALESCE({"operators": [{"command": "REQ", "param": "X-NONE"}, "CONNECTION_ID"]}):1"#, "77", "0"),
];

const REQUEST_FIELDS: [(&str, &[u8]); 5] = [
    ("X-Q", b"/x?y?z"),
    ("X-Envoy-Original-Path", b"/orig?z"),
    ("X-Envoy-Original-Host", b"original.example"),
    ("X-Request-Id", b"id-1"),
    ("X-Empty", b""),
];

/// A first message whose fingerprint by JA4 is published.
const HELLO: &[u8] = include_bytes!("../../../fuzz/corpus/client_hello/libressl");

fn fingerprints() -> Arc<Fingerprints> {
    let mut reader = HelloReader::default();
    assert_eq!(reader.is_whole(HELLO), Ok(true));
    let mut joined = Vec::new();
    let hello = reader.hello(HELLO, &mut joined).expect("a first message");
    Fingerprints::of(&hello, TlsFingerprints { ja3: true, ja4: true }).expect("both are wanted")
}

/// Of a peer called `peer`, and of this side.
fn identities(peer: &str, own: &str) -> Identities {
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let identity = |name: &str| Identity {
        subject: format!("CN={name},O=Example").into(),
        issuer: format!("CN=issuer of {name}").into(),
        serial: "0a1b".into(),
        sha256: format!("256{name}").into(),
        sha1: format!("1{name}").into(),
        valid_from: 1_767_225_599_000_000,
        valid_until: 1_798_761_599_000_000,
        uris: names(&[&format!("spiffe://a/{name}"), "urn:c"]),
        dns: names(&[&format!("{name}.example")]),
        ips: names(&["192.0.2.1"]),
        emails: names(&[&format!("{name}@b.example")]),
        others: names(&["other", name]),
    };
    Identities {
        peer: Some(identity(peer)),
        own: Some(identity(own)),
        certificates: [b"first certificate".as_slice(), b"2"].map(Box::from).into(),
        chain_sha256: names(&["2561", "2562"]),
        chain_sha1: names(&["11", "12"]),
        chain_serials: names(&["0a1b", "", "2"]),
    }
}

pub(super) fn with_full_record(check: impl FnOnce(&Record<'_>)) {
    let (head, bytes) = request(&REQUEST_FIELDS);
    let (mut response, mut response_bytes) = (ResponseHead::default(), Vec::new());
    add_field(&mut response.fields, &mut response_bytes, "Server", b"nginx");
    let random = Random::seeded(1);
    let [downstream, upstream] = [("TLSv1.3", "a.example"), ("TLSv1.2", "b.example")].map(|(version, name)| Facts {
        version,
        cipher: "TLS_AES_128_GCM_SHA256",
        group: "X25519",
        server_name: Some(name.into()),
        ..Facts::default()
    });
    let (client, endpoint) = (identities("client", "front"), identities("endpoint", "own"));
    let mut trace = Trace::default();
    (trace.trace, trace.span, trace.sampled) = (10 << 64 | 11, 12, true);
    let fingerprints = fingerprints();
    check(&Record {
        trace: Some(&trace),
        fingerprints: Some(&fingerprints),
        ..full(&head, &bytes, &response, &response_bytes, &random, [(&downstream, &client), (&upstream, &endpoint)])
    });
}

#[test]
fn every_operator_present_and_absent() {
    with_full_record(|full| {
        for (operator, present, absent) in OPERATORS {
            let format = format!("%{operator}%");
            assert_eq!(line(&format, full), *present, "{format}");
            assert_eq!(line(&format, &Record::default()), *absent, "{format} of nothing");
            // As a field's value, what is absent is nothing.
            let shown = Some(*present).filter(|present| *present != "-").map(str::to_owned);
            assert_eq!(value(&format, full), shown, "{format} as a value");
        }
    });
}

/// No operator is forgotten above or in this crate.
#[test]
fn the_operators_of_the_reference_are_tested() {
    let reference = ringway_config::schema::markdown();
    let (_, table) = reference.split_once("## Command operators").expect("a section");
    let mut count = 0;
    for name in table.lines().filter_map(|line| line.strip_prefix("| `%")?.split(['%', '(', ':']).next()) {
        let is_operator = name.len() > 2 && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_');
        if !is_operator || ["HOSTNAME", "UNIQUE_ID"].contains(&name) {
            continue;
        }
        count += 1;
        let tested = OPERATORS.iter().any(|(operator, ..)| operator.split(['(', ':']).next() == Some(name));
        assert!(tested, "{name} is not tested");
    }
    assert!(count > 60, "{count} operators found in the reference");
}

/// Where nothing is known of its bytes, no number is made up.
#[test]
fn records_of_connections() {
    let mut end = ConnectionEnd { requests: 9, details: "idle_timeout", is_counted: true, ..ConnectionEnd::default() };
    let bytes = "%ACCESS_LOG_TYPE% %BYTES_RECEIVED% %BYTES_SENT% %DOWNSTREAM_WIRE_BYTES_RECEIVED%";
    let told = "%CONNECTION_REQUESTS% %CONNECTION_TERMINATION_DETAILS% %DOWNSTREAM_TRANSPORT_FAILURE_REASON%";
    let show = |format: &str, end: &ConnectionEnd<'_>| {
        let wire = WireBytes { received: 7, ..WireBytes::default() };
        line(format, &Record { connection: Some(end), received: 7, wire, ..Record::default() })
    };
    assert_eq!(show(bytes, &end), "TcpConnectionEnd 7 0 7");
    assert_eq!(show(told, &end), "9 idle_timeout -");
    let default = ringway_config::model::DEFAULT_CONNECTION_FORMAT;
    let shown = "[1970-01-01T00:00:00.000Z] - - \"-\" \"-\" \"-\" \"-\" - 9 7 0 0 idle_timeout \"-\"\n";
    assert_eq!(show(default, &end), shown);
    (end.is_counted, end.transport_failure) = (false, Some("no shared\ncipher"));
    assert_eq!(show(bytes, &end), "TcpConnectionEnd - - -");
    assert_eq!(show(told, &end), "9 idle_timeout no shared\\x0acipher");
}

/// Without a name, the host stands in for it; without the host, the name for that.
#[test]
fn the_name_or_the_host() {
    let show = |sources: [&str; 5], record: &Record<'_>| {
        sources.map(|source| line(&format!("%REQUESTED_SERVER_NAME({source})%"), record)).join(" ")
    };
    let all = ["SNI_ONLY", "SNI_FIRST", "SNI_FIRST:ORIG", "SNI_FIRST:HOST", "HOST_FIRST"];
    with_full_record(|full| {
        assert_eq!(show(all, full), "a.example a.example a.example a.example original.example");
        let plain = Record { downstream_tls: None, ..*full };
        assert_eq!(show(all, &plain), "- original.example original.example example.org original.example");
        let passing = Record { requested_server_name: Some("b.example"), ..plain };
        assert_eq!(show(all, &passing), "b.example b.example b.example b.example original.example");
        let (head, bytes) = request(&[]);
        let unchanged = Record { request: record(&head, &bytes).request, ..plain };
        assert_eq!(show(all, &unchanged), "- example.org - example.org example.org");
        let named = Record { request: unchanged.request, ..*full };
        let hosts = ["HOST_FIRST:ORIG", "HOST_FIRST:HOST", "HOST_FIRST:ORIG_OR_HOST", "HOST_FIRST", "SNI_FIRST"];
        assert_eq!(show(hosts, &named), "a.example example.org example.org example.org a.example");
        assert_eq!(show(hosts, &Record { request: None, ..*full }), ["a.example"; 5].join(" "));
    });
}

#[test]
fn what_differs_from_use_to_use() {
    with_full_record(|full| {
        let (first, second) = (line("%UNIQUE_ID%", full), line("%UNIQUE_ID%", full));
        assert!(first.len() == 36 && second.len() == 36 && first != second, "{first} {second}");
        assert_eq!(line("%UNIQUE_ID%", &Record::default()), "-");
        let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
        assert_eq!(line("%HOSTNAME%", full), hostname.trim());
        // An endpoint that was found by no name.
        let mut unnamed = *full;
        unnamed.upstream_host_name = None;
        unnamed.upstream_host = Some("[::1]:80");
        assert_eq!(line("%UPSTREAM_HOST_NAME% %UPSTREAM_HOST_NAME_WITHOUT_PORT%", &unnamed), "[::1]:80 [::1]");
        unnamed.upstream_host = Some("unix:/run/app.sock");
        assert_eq!(line("%UPSTREAM_HOST_NAME_WITHOUT_PORT%", &unnamed), "unix:/run/app.sock");
    });
}
