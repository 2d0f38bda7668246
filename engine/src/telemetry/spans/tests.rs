//! What spans look like on their way out, and when they go.

use super::*;
use crate::http::trace::{Event, Kind, RecordWriter, SpanFacts, Tag};
use crate::telemetry::testing::{BUSY, TAKEN, World};
use crate::telemetry::wire::{Message, Value};
use ringway_config::model::{Destination, SpanExporter, SpanFormat, TagNames};
use std::net::SocketAddr;

const TRACE: u128 = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;
const START: u64 = 1_700_000_000_000_000;

pub(super) fn facts() -> SpanFacts {
    SpanFacts {
        tracer: 0,
        kind: Kind::Client,
        shared: false,
        debug: false,
        random: false,
        error: false,
        trace_id: TRACE,
        id: 0x00f0_67aa_0ba9_02b7,
        parent: 0xb7ad_6b71_6920_3331,
        start: START,
        duration: 1500,
        local: Some(SocketAddr::from(([127, 0, 0, 1], 4000))),
        remote: Some(SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 443))),
    }
}

fn exporter(format: SpanFormat) -> SpanExporter {
    SpanExporter {
        service_name: "edge".into(),
        to: Destination {
            cluster: "app".into(),
            host: "zipkin".into(),
            path: "/api/v2/spans".into(),
            headers: Vec::new(),
            timeout: Duration::from_secs(5),
        },
        format,
        flush_interval: Duration::from_secs(5),
        flush_spans: 5,
    }
}

fn record(facts: &SpanFacts, fill: impl FnOnce(&mut RecordWriter<'_>)) -> Vec<u8> {
    let mut out = Vec::new();
    fill(&mut RecordWriter::new(&mut out, facts, b"get /", b"backend", b"v=1"));
    out
}

/// The report of one span.
fn report(format: SpanFormat, record: &[u8]) -> Vec<u8> {
    let mut batch = SpanBatch::new(&Arc::new(exporter(format)));
    batch.add(&SpanRecord::read(record).expect("a record"));
    batch.take()
}

#[test]
fn a_span_as_json_of_zipkin() {
    let bytes = record(&facts(), |span| {
        span.tag(Tag::Method, b"GET");
        span.event(Event::Connected, 30);
        span.number(Tag::StatusCode, 200);
        span.custom(b"quote\"d", b"caf\xe9\n");
        span.event(Event::ResponseReceiving, 1400);
    });
    let expected =
        r#"[{"traceId":"0af7651916cd43dd8448eb211c80319c","parentId":"b7ad6b7169203331","id":"00f067aa0ba902b7","#
            .to_owned()
            + r#""kind":"CLIENT","name":"get /","timestamp":1700000000000000,"duration":1500,"#
            + r#""localEndpoint":{"serviceName":"edge","ipv4":"127.0.0.1","port":4000},"#
            + r#""remoteEndpoint":{"serviceName":"backend","ipv6":"2001:db8::1","port":443},"#
            + "\"tags\":{\"http.method\":\"GET\",\"http.status_code\":\"200\",\"quote\\\"d\":\"caf\\\\xe9\\n\"},"
            + r#""annotations":[{"timestamp":1700000000000030,"value":"connected"},"#
            + r#"{"timestamp":1700000000001400,"value":"first_upstream_rx_byte_received"}]}]"#;
    assert_eq!(String::from_utf8(report(SpanFormat::ZipkinJson, &bytes)).expect("text"), expected);
}

/// A trace id of 64 bits, no parent, no addresses, flags: each is written where it is, and only there.
#[test]
fn the_other_half_of_a_span_as_json_of_zipkin() {
    let other = SpanFacts {
        kind: Kind::Server,
        shared: true,
        debug: true,
        error: true,
        trace_id: 0xabc,
        parent: 0,
        duration: 0,
        local: None,
        remote: None,
        ..facts()
    };
    let mut bytes = Vec::new();
    RecordWriter::new(&mut bytes, &other, b"", b"", b"");
    let expected = r#"[{"traceId":"0000000000000abc","id":"00f067aa0ba902b7","kind":"SERVER","#.to_owned()
        + r#""timestamp":1700000000000000,"duration":1,"localEndpoint":{"serviceName":"edge"},"#
        + r#""tags":{"error":"true"},"debug":true,"shared":true}]"#;
    assert_eq!(String::from_utf8(report(SpanFormat::ZipkinJson, &bytes)).expect("text"), expected);
}

/// The fields of the message in this field of another one.
fn inner<'a>(message: &[(u32, Value<'a>)], number: u32) -> Vec<Vec<(u32, Value<'a>)>> {
    let with_number = message.iter().filter(|field| field.0 == number);
    let bytes = with_number.map(|field| match field.1 {
        Value::Bytes(bytes) => bytes,
        Value::Number(number) => panic!("{number} is no message"),
    });
    bytes.map(|bytes| Message(bytes).collect()).collect()
}

fn fields(bytes: &[u8]) -> Vec<(u32, Value<'_>)> {
    Message(bytes).collect()
}

#[test]
fn a_span_as_protobuf_of_zipkin() {
    let flagged = SpanFacts { shared: true, debug: true, error: true, ..facts() };
    let bytes = record(&flagged, |span| {
        span.tag(Tag::Method, b"G\xff");
        span.number(Tag::StatusCode, -5);
        span.event(Event::Connected, 30);
    });
    let report = report(SpanFormat::ZipkinProtobuf, &bytes);
    let spans = inner(&fields(&report), 1);
    let [span] = &spans[..] else { panic!("{spans:?}") };
    let (trace_id, ids) = (TRACE.to_be_bytes(), [flagged.parent, flagged.id].map(u64::to_be_bytes));
    let plain: Vec<_> = span.iter().filter(|field| !(8..=11).contains(&field.0)).copied().collect();
    let expected = [
        (1, Value::Bytes(&trace_id)),
        (2, Value::Bytes(&ids[0])),
        (3, Value::Bytes(&ids[1])),
        (4, Value::Number(1)),
        (5, Value::Bytes(b"get /")),
        (6, Value::Number(START)),
        (7, Value::Number(1500)),
        (12, Value::Number(1)),
        (13, Value::Number(1)),
    ];
    assert_eq!(plain, expected);
    let local = [(1, Value::Bytes(&b"edge"[..])), (2, Value::Bytes(&[127, 0, 0, 1])), (4, Value::Number(4000))];
    assert_eq!(inner(span, 8), [local]);
    let ip = [0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    assert_eq!(inner(span, 9), [[(1, Value::Bytes(&b"backend"[..])), (3, Value::Bytes(&ip)), (4, Value::Number(443))]]);
    assert_eq!(inner(span, 10), [[(1, Value::Number(START + 30)), (2, Value::Bytes(b"connected"))]]);
    let tag = |name, value| [(1, Value::Bytes(name)), (2, Value::Bytes(value))];
    let tags = [tag(b"http.method", b"G\\xff"), tag(b"http.status_code", b"-5"), tag(b"error", b"true")];
    assert_eq!(inner(span, 11), tags);
}

/// Resource, scope and span of a report of one span.
type Parts<'a> = [Vec<(u32, Value<'a>)>; 3];

fn parts(report: &[u8]) -> Parts<'_> {
    let only = |mut messages: Vec<Vec<_>>| {
        assert_eq!(messages.len(), 1);
        messages.remove(0)
    };
    let resource_spans = only(inner(&fields(report), 1));
    let scope_spans = only(inner(&resource_spans, 2));
    [only(inner(&resource_spans, 1)), only(inner(&scope_spans, 1)), only(inner(&scope_spans, 2))]
}

/// Attributes as text.
fn attributes(message: &[(u32, Value<'_>)], number: u32) -> Vec<String> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.into()).expect("text");
    let attribute = |fields: Vec<(u32, Value<'_>)>| {
        let [(1, Value::Bytes(name)), (2, Value::Bytes(value))] = fields[..] else { panic!("{fields:?}") };
        match Message(value).collect::<Vec<_>>()[..] {
            [(1, Value::Bytes(value))] => format!("{} = {:?}", text(name), text(value)),
            [(3, Value::Number(value))] => format!("{} = {value}", text(name)),
            ref value => panic!("{value:?}"),
        }
    };
    inner(message, number).into_iter().map(attribute).collect()
}

const SEMANTIC: SpanFormat = SpanFormat::OtlpHttp { names: TagNames::Semantic };
const ENVOY: SpanFormat = SpanFormat::OtlpGrpc { names: TagNames::Envoy };

#[test]
fn a_span_of_opentelemetry() {
    let bytes = record(&facts(), |span| span.event(Event::Connected, 30));
    let report = report(SEMANTIC, &bytes);
    let [resource, scope, span] = parts(&report);
    let resource = attributes(&resource, 1);
    assert_eq!(resource[0], "service.name = \"edge\"");
    assert!(resource[1].starts_with("host.name = \"") && resource.len() == 2, "{resource:?}");
    let version = env!("CARGO_PKG_VERSION").as_bytes();
    assert_eq!(scope, [(1, Value::Bytes(b"ringway")), (2, Value::Bytes(version))]);
    let (trace_id, ids) = (TRACE.to_be_bytes(), [facts().parent, facts().id].map(u64::to_be_bytes));
    let plain: Vec<_> = span.iter().filter(|field| !matches!(field.0, 9 | 11)).copied().collect();
    let expected = [
        (1, Value::Bytes(&trace_id)),
        (2, Value::Bytes(&ids[1])),
        (3, Value::Bytes(b"v=1")),
        (4, Value::Bytes(&ids[0])),
        (5, Value::Bytes(b"get /")),
        (6, Value::Number(3)),
        (7, Value::Number(START * 1000)),
        (8, Value::Number((START + 1500) * 1000)),
        (16, Value::Number(0x101)),
    ];
    assert_eq!(plain, expected);
    assert_eq!(attributes(&span, 9), ["peer.service = \"backend\""]);
    assert_eq!(inner(&span, 11), [[(1, Value::Number((START + 30) * 1000)), (2, Value::Bytes(b"connected"))]]);
}

/// The parent of a server's span is another process's. A trace id of 64 bits takes 16 bytes.
#[test]
fn a_span_of_a_server_of_opentelemetry() {
    for (parent, random, flags) in [(1, false, 0x301), (0, false, 0x101), (1, true, 0x303), (0, true, 0x103)] {
        let server = SpanFacts { kind: Kind::Server, trace_id: 0xabc, parent, random, ..facts() };
        let report = report(SEMANTIC, &record(&server, |_| {}));
        let [_, _, span] = parts(&report);
        assert!(span.contains(&(6, Value::Number(2))) && span.contains(&(16, Value::Number(flags))), "{span:?}");
        assert!(span.contains(&(1, Value::Bytes(&0xabc_u128.to_be_bytes()))));
        assert_eq!(span.iter().any(|field| field.0 == 4), parent != 0);
        assert_eq!(attributes(&span, 9), [""; 0], "its client's name is not known");
    }
}

#[test]
fn attributes_have_the_names_of_the_conventions_or_of_envoy() {
    let fill = |span: &mut RecordWriter<'_>| {
        span.tag(Tag::Component, b"proxy");
        span.tag(Tag::Method, b"BREW");
        span.tag(Tag::Protocol, b"HTTP/1.1");
        span.tag(Tag::StatusCode, b"200");
        span.address(Tag::PeerAddress, facts().remote.expect("an address"));
        span.tag(Tag::GrpcPath, b"/a.b.C/Do");
        span.number(Tag::RetryCount, 2);
        span.tag(Tag::ResponseFlags, b"UF");
        span.custom(b"team", b"blue");
    };
    let bytes = record(&facts(), fill);
    let [semantic, envoy] = [SEMANTIC, ENVOY].map(|format| report(format, &bytes));
    let expected = [
        "http.request.method = \"_OTHER\"",
        "http.request.method_original = \"BREW\"",
        "network.protocol.version = \"1.1\"",
        "http.response.status_code = 200",
        "network.peer.address = \"2001:db8::1\"",
        "network.peer.port = 443",
        "rpc.system = \"grpc\"",
        "rpc.service = \"a.b.C\"",
        "rpc.method = \"Do\"",
        "http.request.resend_count = 2",
        "response_flags = \"UF\"",
        "team = \"blue\"",
        "peer.service = \"backend\"",
    ];
    assert_eq!(attributes(&parts(&semantic)[2], 9), expected);
    let expected = [
        "component = \"proxy\"",
        "http.method = \"BREW\"",
        "http.protocol = \"HTTP/1.1\"",
        "http.status_code = \"200\"",
        "peer.address = \"[2001:db8::1]:443\"",
        "grpc.path = \"/a.b.C/Do\"",
        "retry.count = \"2\"",
        "response_flags = \"UF\"",
        "team = \"blue\"",
    ];
    assert_eq!(attributes(&parts(&envoy)[2], 9), expected);
}

/// A tag of the configuration stands instead of one that spans have anyway, in each format: names are unique.
#[test]
fn a_tag_of_ones_own_replaces_another() {
    let own = ["http.url", "error", "url.path", "error.type", "peer.service", "network.peer.port"];
    let fill = |span: &mut RecordWriter<'_>| {
        span.tag(Tag::Url, b"/secret");
        span.tag(Tag::Path, b"/secret");
        span.address(Tag::PeerAddress, facts().remote.expect("an address"));
        span.number(Tag::StatusCode, 503);
        own.iter().for_each(|name| span.custom(name.as_bytes(), b"own"));
    };
    let bytes = record(&SpanFacts { error: true, ..facts() }, fill);
    let json = String::from_utf8(report(SpanFormat::ZipkinJson, &bytes)).expect("text");
    let protobuf = report(SpanFormat::ZipkinProtobuf, &bytes);
    let (spans, semantic, envoy) = (inner(&fields(&protobuf), 1), report(SEMANTIC, &bytes), report(ENVOY, &bytes));
    let tags: Vec<_> = inner(&spans[0], 11).into_iter().map(|tag| (tag[0].1, tag[1].1)).collect();
    let (semantic, envoy) = (attributes(&parts(&semantic)[2], 9), attributes(&parts(&envoy)[2], 9));
    for name in own {
        assert_eq!(json.matches(&format!("\"{name}\":")).count(), 1, "{name} in {json}");
        let of_name: Vec<_> = tags.iter().filter(|tag| tag.0 == Value::Bytes(name.as_bytes())).collect();
        assert_eq!(of_name, [&(Value::Bytes(name.as_bytes()), Value::Bytes(b"own"))]);
        for attributes in [&semantic, &envoy] {
            let of_name: Vec<_> = attributes.iter().filter(|text| text.starts_with(&format!("{name} = "))).collect();
            assert_eq!(of_name, [&format!("{name} = \"own\"")]);
        }
    }
}

/// OpenTelemetry's conventions for HTTP and gRPC.
#[test]
fn the_status_is_that_of_the_conventions() {
    let kind_of_error = |tags: &[(Tag, i64)]| {
        let bytes = record(&SpanFacts { error: true, ..facts() }, |span| {
            tags.iter().for_each(|(tag, value)| span.number(*tag, *value));
        });
        let report = report(SEMANTIC, &bytes);
        attributes(&parts(&report)[2], 9).into_iter().find(|attribute| attribute.starts_with("error.type"))
    };
    assert_eq!(kind_of_error(&[]), None);
    assert_eq!(kind_of_error(&[(Tag::StatusCode, 503)]).as_deref(), Some("error.type = \"503\""));
    let call = [(Tag::StatusCode, 200), (Tag::GrpcStatus, 14)];
    assert_eq!(kind_of_error(&call).as_deref(), Some("error.type = \"UNAVAILABLE\""));
    assert_eq!(kind_of_error(&[(Tag::StatusCode, 503), (Tag::ErrorType, 1)]).as_deref(), Some("error.type = 1"));
    let has_status = |kind, error, tags: &[(Tag, i64)]| {
        let bytes = record(&SpanFacts { kind, error, ..facts() }, |span| {
            tags.iter().for_each(|(tag, value)| span.number(*tag, *value));
        });
        let report = report(SEMANTIC, &bytes);
        let status = inner(&parts(&report)[2], 15);
        assert!(status.is_empty() || status == [[(3, Value::Number(2))]], "{status:?}");
        !status.is_empty()
    };
    for (tags, server, client) in [
        (&[(Tag::StatusCode, 200)][..], false, false),
        (&[(Tag::StatusCode, 302)], false, false),
        (&[(Tag::StatusCode, 404)], false, true),
        (&[(Tag::StatusCode, 500)], true, true),
        (&[(Tag::StatusCode, 200), (Tag::GrpcStatus, 0)], false, false),
        (&[(Tag::StatusCode, 200), (Tag::GrpcStatus, 5)], false, true),
        (&[(Tag::StatusCode, 200), (Tag::GrpcStatus, 14)], true, true),
    ] {
        assert_eq!(
            [Kind::Server, Kind::Client].map(|kind| has_status(kind, false, tags)),
            [server, client],
            "{tags:?}"
        );
    }
    assert!(has_status(Kind::Server, true, &[(Tag::StatusCode, 200)]), "it broke off");
    assert!(has_status(Kind::Client, true, &[]));
    assert!(!has_status(Kind::Server, true, &[(Tag::StatusCode, 404)]));
}

/// A ring of a shard, and what collects from it.
struct Collected {
    world: World,
    ring: crate::base::record_ring::Writer,
    spans: Rc<Spans>,
}

impl Collected {
    fn new(format: SpanFormat) -> Self {
        let world = World::new();
        let tracers = Tracers::new();
        assert_eq!(tracers.intern(&Arc::new(exporter(format))), 0);
        let ring = tracers.open();
        let spans = Spans::start(&world.reactor, &world.clusters, &world.registry, &tracers);
        spans.follow();
        Self { world, ring, spans }
    }

    fn tell(&self, count: usize) -> usize {
        let bytes = record(&facts(), |span| span.tag(Tag::Url, &[b'u'; 256]));
        let told = (0..count).filter(|_| self.ring.push(&bytes)).count();
        if self.ring.is_due() {
            self.spans.wake();
        }
        told
    }

    fn stats(&self, names: &[&str]) -> Vec<i64> {
        let stat = |name: &&str| self.world.registry.value(&format!("tracing.zipkin.{name}")).expect("a statistic");
        names.iter().map(stat).collect()
    }

    fn spans_in_reports(&self) -> Vec<usize> {
        let count = |body: &Vec<u8>| serde_json::from_slice::<Vec<serde_json::Value>>(body).expect("JSON").len();
        self.world.bodies().iter().map(count).collect()
    }
}

#[test]
fn spans_go_out_when_there_are_enough_or_when_they_are_old() {
    let collected = Collected::new(SpanFormat::ZipkinJson);
    collected.tell(4);
    collected.world.pass(Duration::from_secs(4));
    assert_eq!(collected.spans_in_reports(), [0; 0]);
    collected.world.pass(Duration::from_secs(2));
    assert_eq!(collected.spans_in_reports(), [4]);
    assert_eq!(collected.stats(&["timer_flushed", "reports_sent", "spans_sent"]), [1, 1, 4]);
    collected.tell(7);
    collected.world.pass(Duration::from_secs(1));
    assert_eq!(collected.spans_in_reports(), [4, 7]);
    collected.tell(1);
    let spans = collected.spans.clone();
    collected.world.reactor.block_on(async move { spans.finish(Duration::from_secs(1)).await });
    assert_eq!(collected.spans_in_reports(), [4, 7, 1], "at the end of the process");
    assert_eq!(collected.stats(&["timer_flushed", "reports_sent", "spans_sent", "spans_dropped"]), [1, 3, 12, 0]);
}

/// Clusters are looked after once a second; for spans it wakes once in `flush_interval`. Each takes a few turns.
#[test]
fn while_there_are_no_spans_nothing_is_done() {
    let collected = Collected::new(SpanFormat::ZipkinJson);
    let turns = |time| {
        let before = collected.world.reactor.turns();
        collected.world.pass(time);
        collected.world.reactor.turns() - before
    };
    turns(Duration::from_secs(10));
    let idle = turns(Duration::from_secs(1000));
    assert!(idle < 3000, "{idle}");
    // Enough wake it, and a few wait for their time. It looks by itself while there are many.
    collected.tell(5);
    collected.world.pass(Duration::from_millis(1));
    assert_eq!(collected.spans_in_reports(), [5]);
    collected.tell(1);
    collected.world.pass(Duration::from_millis(100));
    assert_eq!(collected.spans_in_reports(), [5]);
    collected.world.pass(Duration::from_secs(5));
    assert_eq!(collected.spans_in_reports(), [5, 1]);
}

#[test]
fn no_report_is_longer_than_a_mebibyte() {
    let collected = Collected::new(SpanFormat::ZipkinJson);
    let mut told = 0;
    for _ in 0..4 {
        told += collected.tell(2000);
        collected.spans.look();
    }
    collected.world.pass(Duration::from_secs(10));
    let bodies = collected.world.bodies();
    assert!(bodies.len() > 2 && bodies.iter().all(|body| body.len() <= 1024 * 1024), "{}", bodies.len());
    assert_eq!(collected.spans_in_reports().iter().sum::<usize>(), told);
    assert_eq!(collected.stats(&["spans_sent", "spans_dropped"]), [told as i64, 0]);
}

/// Each span is sent or counted as lost, by the ring that was full or by the exporter.
#[test]
fn a_bad_collector_costs_nothing_but_its_spans() {
    let collected = Collected::new(SpanFormat::ZipkinJson);
    collected.world.collector.behaviour.set(BUSY);
    let mut told = 0;
    for _ in 0..30 {
        told += collected.tell(1000);
        collected.world.pass(Duration::from_millis(100));
    }
    assert!(collected.tell(10_000) < 10_000, "the ring is full");
    collected.world.pass(Duration::from_secs(60));
    let dropped = collected.stats(&["spans_dropped"])[0];
    assert!(dropped >= told as i64, "{dropped} of {told}");
    collected.world.collector.behaviour.set(TAKEN);
    collected.world.collector.reports.borrow_mut().clear();
    collected.tell(5);
    collected.world.pass(Duration::from_secs(1));
    assert_eq!(collected.spans_in_reports(), [5]);
    assert_eq!(collected.stats(&["spans_sent"]), [5]);
}
