//! Tests of formatted lines and values.

use ringway_config::model::{
    AccessLogFormat, AddressOf, AddressPart, CommandOperator, FieldOperand, FormatPiece, TimeFormat,
};

use super::*;
use crate::http::{Field, FieldId, HeadView, RequestHead, ResponseHead, Span, Times, TryTimes};

pub(super) fn literal(text: &str) -> FormatPiece {
    FormatPiece::Literal(text.to_owned())
}

pub(super) fn operator(operator: CommandOperator) -> FormatPiece {
    FormatPiece::Operator(operator)
}

pub(super) fn field(name: &str) -> FieldOperand {
    FieldOperand { name: name.to_owned(), alternative: None, max_length: None }
}

fn req(name: &str) -> FormatPiece {
    operator(CommandOperator::Req(field(name)))
}

pub(super) fn text_line(pieces: &[FormatPiece], record: &Record<'_>) -> String {
    let mut out = Vec::new();
    let format = LineFormat::new(&AccessLogFormat::Text(pieces.to_vec()));
    format_line(&format, record, &mut SecondCache::default(), &mut out);
    String::from_utf8(out).expect("a line is UTF-8 whatever peers sent")
}

pub(super) fn json_line(members: &[(&str, &[FormatPiece])], record: &Record<'_>) -> String {
    let members = members.iter().map(|(key, pieces)| ((*key).to_owned(), pieces.to_vec())).collect();
    let mut out = Vec::new();
    format_line(&LineFormat::new(&AccessLogFormat::Json(members)), record, &mut SecondCache::default(), &mut out);
    String::from_utf8(out).expect("a line is UTF-8 whatever peers sent")
}

/// Puts `name: value` lines behind `bytes` and into the index.
pub(super) fn add_field(fields: &mut crate::http::Fields, bytes: &mut Vec<u8>, name: &str, value: &[u8]) {
    let start = bytes.len();
    bytes.extend_from_slice(name.as_bytes());
    let middle = bytes.len();
    bytes.extend_from_slice(value);
    fields.push(Field {
        name: Span::new(start, middle),
        value: Span::new(middle, bytes.len()),
        id: FieldId::lookup(name.to_ascii_lowercase().as_bytes()),
        hop_by_hop: false,
        never_indexed: false,
        is_canonical: false,
    });
}

pub(super) fn request(fields: &[(&str, &[u8])]) -> (RequestHead, Vec<u8>) {
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

pub(super) fn record<'a>(head: &'a RequestHead, bytes: &'a [u8]) -> Record<'a> {
    Record {
        times: Times {
            start: 5_000_000,
            start_wall_micros: 1_767_225_599_123_456,
            request_end: Some(6_000_000),
            ..Times::default()
        },
        try_times: TryTimes { response_start: Some(16_500_000), ..TryTimes::default() },
        now: 17_999_000,
        request: Some((head, HeadView::new(bytes))),
        protocol: Some("HTTP/1.1"),
        response_code: 200,
        response_code_details: Some("via_upstream"),
        received: 5,
        sent: 46,
        upstream_host: Some("127.0.0.1:8080"),
        upstream_cluster: Some("app"),
        downstream_remote_address: Some("192.0.2.1:4711".parse().unwrap()),
        downstream_direct_remote_address: Some("[::ffff:198.51.100.7]:99".parse().unwrap()),
        downstream_local_address: Some("[2001:db8::1]:80".parse().unwrap()),
        virtual_host_name: Some("local_service"),
        connection_id: 77,
        ..Record::default()
    }
}

#[test]
fn the_default_format_is_envoys_and_the_details() {
    let fields: [(&str, &[u8]); 2] = [("User-Agent", b"curl/8"), ("X-Request-Id", b"1-2-3")];
    let (head, bytes) = request(&fields);
    let (mut response, mut response_bytes) = (ResponseHead::default(), Vec::new());
    add_field(&mut response.fields, &mut response_bytes, "X-Envoy-Upstream-Service-Time", b"11");
    let mut record = record(&head, &bytes);
    record.response = Some((&response, HeadView::new(&response_bytes)));
    let pieces = ringway_config::format_pieces(ringway_config::model::DEFAULT_TEXT_FORMAT).expect("valid");
    assert_eq!(
        text_line(&pieces, &record),
        "[2025-12-31T23:59:59.123Z] \"GET /a?b=1 HTTP/1.1\" 200 - 5 46 12 11 \"-\" \"curl/8\" \"1-2-3\" \
         \"example.org\" \"127.0.0.1:8080\" via_upstream \"-\"\n"
    );
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
    assert_eq!(line("x-none", None, Some("accept")), "1,2");
    assert_eq!(line(":path", Some(4), None), "/a?b");
}

#[test]
fn edits_of_a_head_are_seen() {
    let (mut head, bytes) = request(&[("X-A", b"1"), ("X-B", b"2")]);
    let mut edits = crate::http::EditBytes::default();
    let mut editor = crate::http::HeadEditor { fields: &mut head.fields, received: &bytes, edits: &mut edits };
    editor.set(b"x-a", b"new");
    editor.remove(b"x-b");
    let mut record = record(&head, &bytes);
    record.request = Some((&head, HeadView { received: &bytes, edits: edits.as_slice() }));
    assert_eq!(text_line(&[req("x-a"), req("x-b")], &record), "new-");
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
        ("time", &[operator(StartTime(TimeFormat::default()))]),
        ("duration", &[operator(Duration)]),
        ("route", &[operator(RouteName)]),
        ("peer", &[operator(Address { of: AddressOf::DownstreamRemote, part: AddressPart::AddressAndPort })]),
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
    let flags = ResponseFlags::DOWNSTREAM_CONNECTION_TERMINATION | ResponseFlags::UPSTREAM_OVERFLOW;
    assert_eq!(
        flags.names().collect::<Vec<_>>(),
        [("UO", "UpstreamOverflow"), ("DC", "DownstreamConnectionTermination")]
    );
    assert!(flags.contains(ResponseFlags::UPSTREAM_OVERFLOW) && !flags.is_empty());
    assert!(!flags.contains(ResponseFlags::NO_ROUTE_FOUND) && ResponseFlags::empty().is_empty());
    assert!(flags.intersects(ResponseFlags::UPSTREAM_OVERFLOW | ResponseFlags::NO_ROUTE_FOUND));
    assert!(!flags.intersects(ResponseFlags::NO_ROUTE_FOUND));
    // Each name is that of the flag in its place.
    for (short, flag) in [
        ("UH", ResponseFlags::NO_HEALTHY_UPSTREAM),
        ("DI", ResponseFlags::DELAY_INJECTED),
        ("FI", ResponseFlags::FAULT_INJECTED),
        ("RL", ResponseFlags::RATE_LIMITED),
        ("URX", ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED),
        ("UMSDR", ResponseFlags::UPSTREAM_MAX_STREAM_DURATION_REACHED),
        ("DT", ResponseFlags::DURATION_TIMEOUT),
        ("NC", ResponseFlags::NO_CLUSTER_FOUND),
        ("DR", ResponseFlags::DOWNSTREAM_REMOTE_RESET),
    ] {
        assert_eq!(ResponseFlags::named(short), Some(flag), "{short}");
    }
    let all = ringway_config::model::RESPONSE_FLAGS.iter().map(|(short, ..)| ResponseFlags::named(short).unwrap());
    let all = all.fold(ResponseFlags::empty(), |all, flag| {
        assert!(!all.intersects(flag), "two names for one flag");
        all | flag
    });
    assert_eq!(all.names().count(), ringway_config::model::RESPONSE_FLAGS.len());
    assert_eq!(ResponseFlags::named("XX"), None);
}

/// Records have the values as they are: nothing is escaped, and a field whose value is absent is empty.
#[test]
fn fields_of_records_come_back_as_they_were() {
    let pieces = |text| ringway_config::format_pieces(text).unwrap();
    let fields = ["%CONNECTION_ID%", "a\"b\n", "%ROUTE_NAME%", "<%ROUTE_NAME%>%RESPONSE_CODE%", "%UPSTREAM_CLUSTER%"];
    let format = LineFormat::new(&AccessLogFormat::Fields(fields.map(pieces).into()));
    let record = Record { connection_id: 7, route_name: Some("a\"\n\u{e9}"), response_code: 503, ..Record::default() };
    let mut out = Vec::new();
    format_line(&format, &record, &mut SecondCache::default(), &mut out);
    format_line(&format, &Record::default(), &mut SecondCache::default(), &mut out);
    let mut bytes = &out[..];
    let found: Vec<_> =
        std::iter::from_fn(|| take_field(&mut bytes)).map(|field| std::str::from_utf8(field).unwrap()).collect();
    assert_eq!(found[..5], ["7", "a\"b\n", "a\"\n\u{e9}", "<a\"\n\u{e9}>503", ""]);
    assert_eq!(found[5..], ["0", "a\"b\n", "", "<->0", ""]);
    for cut in 1..out.len() {
        let mut bytes = &out[..cut];
        while take_field(&mut bytes).is_some() {}
    }
}
