//! Tests of formatted lines and values.

use ringway_config::model::{AccessLogFormat, CommandOperator, FieldOperand, FormatPiece};

use super::*;
use crate::http::{Field, FieldId, HeadView, RequestHead, ResponseHead, Span};

fn literal(text: &str) -> FormatPiece {
    FormatPiece::Literal(text.to_owned())
}

fn operator(operator: CommandOperator) -> FormatPiece {
    FormatPiece::Operator(operator)
}

fn field(name: &str) -> FieldOperand {
    FieldOperand { name: name.to_owned(), alternative: None, max_length: None }
}

fn req(name: &str) -> FormatPiece {
    operator(CommandOperator::Req(field(name)))
}

fn text_line(pieces: &[FormatPiece], record: &Record<'_>) -> String {
    let mut out = Vec::new();
    let format_of_pieces = CompiledFormat::new(&AccessLogFormat::Text(pieces.to_vec()));
    format_line(record, &format_of_pieces, &mut SecondCache::default(), &mut out);
    String::from_utf8(out).expect("a line is UTF-8 whatever peers sent")
}

fn json_line(members: &[(&str, &[FormatPiece])], record: &Record<'_>) -> String {
    let members = members.iter().map(|(key, pieces)| ((*key).to_owned(), pieces.to_vec())).collect();
    let mut out = Vec::new();
    format_line(record, &CompiledFormat::new(&AccessLogFormat::Json(members)), &mut SecondCache::default(), &mut out);
    String::from_utf8(out).expect("a line is UTF-8 whatever peers sent")
}

/// Puts `name: value` lines behind `bytes` and into the index.
fn add_field(fields: &mut crate::http::Fields, bytes: &mut Vec<u8>, name: &str, value: &[u8]) {
    let start = bytes.len();
    bytes.extend_from_slice(name.as_bytes());
    let middle = bytes.len();
    bytes.extend_from_slice(value);
    fields.push(Field {
        name: Span::new(start, middle),
        value: Span::new(middle, bytes.len()),
        id: FieldId::lookup(name.to_ascii_lowercase().as_bytes()),
        hop_by_hop: false,
    });
}

fn request(fields: &[(&str, &[u8])]) -> (RequestHead, Vec<u8>) {
    let mut bytes = b"GET/a?b=1example.org".to_vec();
    let mut head = RequestHead {
        method_span: Span::new(0, 3),
        path: Span::new(3, 9),
        path_len: 2,
        authority: Span::new(9, 20),
        ..RequestHead::default()
    };
    for (name, value) in fields {
        add_field(&mut head.fields, &mut bytes, name, value);
    }
    (head, bytes)
}

fn record<'a>(head: &'a RequestHead, bytes: &'a [u8]) -> Record<'a> {
    Record {
        start_unix_micros: 1_767_225_599_123_456,
        request: Some((head, HeadView::new(bytes))),
        scheme: "http",
        protocol: Some("HTTP/1.1"),
        response_code: 200,
        response_code_details: Some("via_upstream"),
        bytes_received: 5,
        bytes_sent: 46,
        duration_micros: Some(12_999),
        request_duration_micros: Some(1_000),
        response_duration_micros: Some(11_500),
        upstream_host: Some("127.0.0.1:8080"),
        upstream_cluster: Some("app"),
        downstream_remote_address: Some("192.0.2.1:4711".parse().unwrap()),
        downstream_local_address: Some("[2001:db8::1]:80".parse().unwrap()),
        virtual_host_name: Some("local_service"),
        connection_id: 77,
        ..Record::default()
    }
}

#[test]
fn envoys_default_format() {
    use CommandOperator::*;
    let (head, bytes) = request(&[("User-Agent", b"curl/8"), ("X-Request-Id", b"from the client")]);
    let mut record = record(&head, &bytes);
    record.request_edits = &[("x-request-id", b"1-2-3")];
    record.response_edits = &[("x-envoy-upstream-service-time", b"11")];
    let original =
        FieldOperand { name: "x-envoy-original-path".into(), alternative: Some(":path".into()), max_length: None };
    let pieces = [
        literal("["),
        operator(StartTime),
        literal("] \""),
        req(":method"),
        literal(" "),
        operator(Req(original)),
        literal(" "),
        operator(Protocol),
        literal("\" "),
        operator(ResponseCode),
        literal(" "),
        operator(ResponseFlags),
        literal(" "),
        operator(BytesReceived),
        literal(" "),
        operator(BytesSent),
        literal(" "),
        operator(Duration),
        literal(" "),
        operator(Resp(field("x-envoy-upstream-service-time"))),
        literal(" \""),
        req("x-forwarded-for"),
        literal("\" \""),
        req("user-agent"),
        literal("\" \""),
        req("x-request-id"),
        literal("\" \""),
        req(":authority"),
        literal("\" \""),
        operator(UpstreamHost),
        literal("\"\n"),
    ];
    assert_eq!(
        text_line(&pieces, &record),
        "[2025-12-31T23:59:59.123Z] \"GET /a?b=1 HTTP/1.1\" 200 - 5 46 12 11 \"-\" \"curl/8\" \"1-2-3\" \
         \"example.org\" \"127.0.0.1:8080\"\n"
    );
}

#[test]
fn every_other_operator() {
    use CommandOperator::*;
    let (head, bytes) = request(&[]);
    let mut full = record(&head, &bytes);
    full.response_flags = super::ResponseFlags::UPSTREAM_REQUEST_TIMEOUT | super::ResponseFlags::NO_HEALTHY_UPSTREAM;
    full.upstream_local_address = Some("10.0.0.1:5000".parse().unwrap());
    full.route_name = Some("r1");
    let cases = [
        (ResponseCodeDetails, "via_upstream", "-"),
        (ResponseFlags, "UH,UT", "-"),
        (RequestDuration, "1", "-"),
        (ResponseDuration, "11", "-"),
        (ResponseTxDuration, "1", "-"),
        (UpstreamCluster, "app", "-"),
        (UpstreamLocalAddress, "10.0.0.1:5000", "-"),
        (DownstreamRemoteAddress, "192.0.2.1:4711", "-"),
        (DownstreamRemoteAddressWithoutPort, "192.0.2.1", "-"),
        (DownstreamLocalAddress, "[2001:db8::1]:80", "-"),
        (DownstreamLocalAddressWithoutPort, "2001:db8::1", "-"),
        (DownstreamLocalPort, "80", "-"),
        (RouteName, "r1", "-"),
        (VirtualHostName, "local_service", "-"),
        (ConnectionId, "77", "0"),
        (ResponseCode, "200", "0"),
        (Req(field(":scheme")), "http", "-"),
        (Req(field(":path")), "/a?b=1", "-"),
        (Resp(field("server")), "-", "-"),
    ];
    for (kind, expected, absent) in cases {
        assert_eq!(text_line(&[operator(kind.clone())], &full), expected, "{kind:?}");
        assert_eq!(text_line(&[operator(kind.clone())], &Record::default()), absent, "{kind:?} without a value");
    }
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert_eq!(text_line(&[operator(Hostname)], &full), hostname.trim());
}

#[test]
fn a_field_is_cut_and_an_empty_one_is_not_absent() {
    let (head, bytes) = request(&[("X-Long", &[b'a'; 20_000]), ("X-Empty", b""), ("Accept", b"1"), ("Accept", b"2")]);
    let record = record(&head, &bytes);
    let line = |name: &str, max_length, alternative: Option<&str>| {
        let field = FieldOperand { name: name.into(), alternative: alternative.map(Into::into), max_length };
        text_line(&[operator(CommandOperator::Req(field))], &record)
    };
    assert_eq!(line("x-long", Some(3), None), "aaa");
    assert_eq!(line("x-long", None, None).len(), 16 * 1024);
    assert_eq!(line("x-empty", None, Some("accept")), "");
    assert_eq!(line("x-none", None, Some("accept")), "1");
    assert_eq!(line(":path", Some(4), None), "/a?b");
}

#[test]
fn the_upstreams_fields_and_what_the_proxy_made_of_them() {
    let (head, bytes) = request(&[]);
    let (mut response, mut response_bytes) = (ResponseHead::default(), Vec::new());
    add_field(&mut response.fields, &mut response_bytes, "Server", b"nginx");
    add_field(&mut response.fields, &mut response_bytes, "Etag", b"x");
    let mut record = record(&head, &bytes);
    record.response = Some((&response, HeadView::new(&response_bytes)));
    record.response_edits = &[("server", b"envoy"), ("server", b"ringway")];
    let pieces = ["server", "etag"].map(|name| operator(CommandOperator::Resp(field(name))));
    assert_eq!(text_line(&pieces, &record), "ringwayx");
}

/// What CWE-117 describes: a value that tries to end its line, its quotes or its JSON string.
const INJECTION: &[u8] = b"x\"\r\n[2026] \"GET /forged\", \"admin\": \"1\\ \x1b[2J\xff\xc2";

#[test]
fn a_text_line_cannot_be_forged() {
    let (head, bytes) = request(&[("User-Agent", INJECTION)]);
    let line = text_line(&[literal("\""), req("user-agent"), literal("\"\n")], &record(&head, &bytes));
    assert_eq!(
        line,
        "\"x\\x22\\x0d\\x0a[2026] \\x22GET /forged\\x22, \\x22admin\\x22: \\x221\\x5c \\x1b[2J\\xff\\xc2\"\n"
    );
}

#[test]
fn a_json_line_cannot_be_forged() {
    let (head, bytes) = request(&[("User-Agent", INJECTION)]);
    let agent = [req("user-agent")];
    let line =
        json_line(&[("a\"gent", &agent), ("code", &[operator(CommandOperator::ResponseCode)])], &record(&head, &bytes));
    assert_eq!(line.lines().count(), 1);
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value.as_object().unwrap().len(), 2);
    assert_eq!(value["a\"gent"], "x\"\r\n[2026] \"GET /forged\", \"admin\": \"1\\ \u{1b}[2J\\xff\\xc2");
    assert_eq!(value["code"], 200);
}

#[test]
fn json_values_keep_their_types() {
    use CommandOperator::*;
    let (head, bytes) = request(&[]);
    let two = [operator(ResponseCode), literal(" \"of\" "), operator(RouteName)];
    let members: [(&str, &[FormatPiece]); 7] = [
        ("time", &[operator(StartTime)]),
        ("duration", &[operator(Duration)]),
        ("route", &[operator(RouteName)]),
        ("peer", &[operator(DownstreamRemoteAddress)]),
        ("flags", &[operator(ResponseFlags)]),
        ("two", &two),
        ("fixed", &[literal("x")]),
    ];
    assert_eq!(
        json_line(&members, &record(&head, &bytes)),
        "{\"time\":\"2025-12-31T23:59:59.123Z\",\"duration\":12,\"route\":null,\"peer\":\"192.0.2.1:4711\",\
         \"flags\":\"-\",\"two\":\"200 \\\"of\\\" -\",\"fixed\":\"x\"}\n"
    );
    assert_eq!(json_line(&[], &record(&head, &bytes)), "{}\n");
}

#[test]
fn flags_are_named_as_in_envoy() {
    let flags = super::ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION | super::ResponseFlags::UPSTREAM_OVERFLOW;
    assert_eq!(flags.names().collect::<Vec<_>>(), ["UO", "DC"]);
    assert!(flags.contains(super::ResponseFlags::UPSTREAM_OVERFLOW) && !flags.is_empty());
    assert!(!flags.contains(super::ResponseFlags::NO_ROUTE_FOUND) && super::ResponseFlags::empty().is_empty());
}
