//! Records from a shard's log to the bytes of a report.

use super::*;
use crate::hcm::access_log::{CompiledLog, ShardLog, Writer};
use crate::http::format::Record;
use crate::http::trace::Trace;
use crate::telemetry::testing::{BUSY, TAKEN, World};
use crate::telemetry::wire::{Message, Value};
use ringway_config::model::{CONNECTION_FIELDS, SERVICE_FIELDS};

const SECOND: Duration = Duration::from_secs(1);

/// The access logs of a configuration whose cluster is `app`.
fn config(logs: &str) -> Config {
    let text = format!(
        "[[listeners]]\naddress = \"127.0.0.1:1\"\nhttp.access_log = [{logs}]\n\
         http.routes = [{{ match = {{ prefix = \"/\" }}, route = {{ cluster = \"app\" }} }}]\n\
         [[clusters]]\nname = \"app\"\nendpoints = [\"127.0.0.1:2\"]\nprotocol = \"auto\"\ntls = {{ sni = \"a\" }}\n"
    );
    ringway_config::load_str("test.toml", &text).unwrap_or_else(|problems| panic!("{problems}"))
}

/// A shard's log and the thread that sends.
struct Logged {
    world: World,
    writer: Arc<Writer>,
    logs: Rc<Logs>,
    shard: ShardLog,
    compiled: CompiledLog,
}

impl Logged {
    fn new(log: &str) -> Self {
        let world = World::new();
        let writer = Writer::new(&world.registry);
        let config = config(log);
        let NetworkFilter::Http(hcm) = &config.listeners[0].filter_chains[0].filter;
        let compiled = CompiledLog::new(&hcm.access_logs[0], &writer).expect("no file");
        let shard = ShardLog::new(&world.registry, 0);
        let logs = Logs::new(&world.reactor, &world.clusters, world.registry.clone());
        assert!(Logs::is_needed(&config));
        logs.apply(true, &writer.queues());
        Self { world, writer, logs, shard, compiled }
    }

    fn exchange(&self, code: u16) {
        let route_name = (code == 200).then_some("front");
        let record = Record { response_code: code, route_name, connection_id: 7, ..Record::default() };
        self.shard.append(&self.compiled, &record);
    }

    fn stat(&self, name: &str) -> i64 {
        self.world.registry.value(&format!("access_logs.open_telemetry_access_log.{name}")).unwrap_or(0)
    }
}

/// The members of a message that are messages or texts, with this number.
fn inner<'a>(message: &'a [u8], number: u32) -> Vec<&'a [u8]> {
    let bytes = |(at, value): (u32, Value<'a>)| match value {
        Value::Bytes(bytes) if at == number => Some(bytes),
        _ => None,
    };
    Message(message).filter_map(bytes).collect()
}

fn values(message: &[u8]) -> Vec<Value<'_>> {
    Message(message).map(|(_, value)| value).collect()
}

fn records(report: &[u8]) -> Vec<&[u8]> {
    inner(inner(inner(report, 1)[0], 2)[0], 2)
}

const OTLP: &str = "{ format = \"code %RESPONSE_CODE%\\n\", otlp = { cluster = \"app\", service_name = \"edge\", \
                    attributes = { route = \"%ROUTE_NAME%\", connection = \"#%CONNECTION_ID%\" } } }";

#[test]
fn records_reach_a_collector_with_body_and_attributes() {
    let logged = Logged::new(OTLP);
    [200, 503].into_iter().for_each(|code| logged.exchange(code));
    logged.world.pass(SECOND);
    assert!(logged.world.bodies().is_empty(), "the shard has not handed them over");
    logged.shard.flush();
    logged.world.pass(SECOND);
    let reports = logged.world.bodies();
    let [report] = &reports[..] else { panic!("{} reports", reports.len()) };
    let shown = |record: &&[u8]| {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
        let pair = |pair: &[u8]| format!(" {}={}", text(inner(pair, 1)[0]), text(inner(inner(pair, 2)[0], 1)[0]));
        text(inner(inner(record, 5)[0], 1)[0]) + &inner(record, 6).into_iter().map(pair).collect::<String>()
    };
    let shown: Vec<_> = records(report).iter().map(shown).collect();
    assert_eq!(shown, ["code 200 route=front connection=#7", "code 503 connection=#7"]);
    assert_eq!((logged.stat("logs_written"), logged.stat("logs_dropped"), logged.stat("reports_sent")), (2, 0, 1));
}

#[test]
fn records_tell_their_trace_and_whether_it_is_sampled() {
    let logged = Logged::new(OTLP);
    let flags = |sampled, random| {
        let trace = Trace { trace: 1, span: 2, sampled, random, ..Trace::default() };
        logged.shard.append(&logged.compiled, &Record { trace: Some(&trace), ..Record::default() });
        logged.shard.flush();
        logged.world.pass(SECOND);
        let reports = logged.world.bodies();
        let record = records(reports.last().expect("a report"))[0];
        assert_eq!((inner(record, 9)[0].last(), inner(record, 10)[0].last()), (Some(&1), Some(&2)));
        let flags = Message(record).find(|(number, _)| *number == 8);
        flags.map(|(_, value)| match value {
            Value::Number(flags) => flags,
            Value::Bytes(bytes) => panic!("{bytes:?}"),
        })
    };
    assert_eq!([flags(false, false), flags(true, false), flags(true, true)], [None, Some(1), Some(3)]);
}

#[test]
fn what_is_on_its_way_at_the_end_is_sent() {
    let Logged { world, writer, logs, shard, compiled } = Logged::new(OTLP);
    shard.append(&compiled, &Record::default());
    drop(shard);
    let sending = logs.clone();
    world.reactor.block_on(async move { sending.finish(u64::MAX).await });
    assert_eq!(records(&world.bodies()[0]).len(), 1);
    drop(writer);
}

/// The queue ends at the shards: they lose lines, and the request path waits for nothing.
#[test]
fn a_program_that_takes_nothing_costs_records_and_bounded_memory() {
    let logged = Logged::new(OTLP);
    logged.world.collector.behaviour.set(BUSY);
    for _ in 0..40 {
        (0..10_000).for_each(|_| logged.exchange(200));
        logged.world.pass(SECOND / 10);
    }
    let waiting = logged.logs.outlets.borrow()[0].courier.waiting();
    assert!(waiting < WAITING_MAX + 2 * BODY_MAX, "{waiting}");
    let lost = logged.world.registry.value("access_log.lines_lost").expect("a counter");
    assert!(lost > 0);
    logged.world.collector.behaviour.set(TAKEN);
    logged.world.pass(60 * SECOND);
    logged.shard.flush();
    logged.world.pass(60 * SECOND);
    assert_eq!(logged.stat("logs_written") + logged.stat("logs_dropped") + lost, 400_000, "each has its count");
}

#[test]
fn entries_of_the_access_log_service() {
    let encoder = service::Encoder::new("edge", &["x-a".into(), "x-b".into()], &["server".into()]);
    assert_eq!(encoder.field_count(), SERVICE_FIELDS.len() + 3);
    let value = |format: &&str| match *format {
        "%START_TIME(%s%6f)%" => "1700000000123456",
        "%COMMON_DURATION(DS_RX_BEG:DS_TX_END:us)%" => "2500001",
        "%DOWNSTREAM_REMOTE_ADDRESS%" => "[::1]:80",
        "%PROTOCOL%" => "HTTP/2",
        "%REQ(:METHOD)%" => "PATCH",
        "%RESPONSE_CODE%" => "503",
        "%RESPONSE_FLAGS%" => "UF,URX",
        "%DOWNSTREAM_TLS_VERSION%" => "TLSv1.3",
        "%TLS_JA3_FINGERPRINT%" => "ada70206e40642a3e4461f35503241d5",
        _ => "",
    };
    let fields: Vec<&str> = SERVICE_FIELDS.iter().map(value).chain(["one", "", "ringway"]).collect();
    let fields: Vec<&[u8]> = fields.iter().map(|field| field.as_bytes()).collect();
    let mut items = Vec::new();
    encoder.add(&fields, &mut items);
    encoder.add(&fields, &mut items);
    let report = encoder.around(&items);
    let identifier = inner(&report, 1)[0];
    assert_eq!((inner(identifier, 2), inner(inner(identifier, 1)[0], 2)), (vec![&b"edge"[..]], vec![&b"ringway"[..]]));
    let entries = inner(inner(&report, 2)[0], 1);
    assert_eq!(entries.len(), 2);
    let common = inner(entries[0], 1)[0];
    assert_eq!(values(inner(common, 5)[0]), [Value::Number(1_700_000_000), Value::Number(123_456_000)]);
    assert_eq!(values(inner(common, 23)[0]), [Value::Number(2), Value::Number(500_001_000)]);
    assert!(inner(common, 6).is_empty(), "what is not known is not there");
    let tls: Vec<_> = Message(inner(common, 4)[0]).collect();
    assert_eq!(tls, [(1, Value::Number(4)), (7, Value::Bytes(b"ada70206e40642a3e4461f35503241d5"))]);
    assert_eq!(values(inner(inner(common, 2)[0], 1)[0]), [Value::Bytes(b"::1"), Value::Number(80)]);
    let flags: Vec<u32> = Message(inner(common, 16)[0]).map(|flag| flag.0).collect();
    assert_eq!(flags, [6, 16]);
    assert!(Message(entries[0]).any(|field| field == (2, Value::Number(3))));
    let request = inner(entries[0], 3)[0];
    assert!(Message(request).any(|field| field == (1, Value::Number(9))));
    assert_eq!(inner(request, 13).len(), 1);
    assert_eq!(values(inner(request, 13)[0]), [Value::Bytes(b"x-a"), Value::Bytes(b"one")]);
    let response = inner(entries[0], 4)[0];
    assert_eq!(values(inner(response, 1)[0]), [Value::Number(503)]);
    assert_eq!(values(inner(response, 4)[0]), [Value::Bytes(b"server"), Value::Bytes(b"ringway")]);
}

#[test]
fn entries_of_connections() {
    let encoder = tcp_service::Encoder::new("edge");
    let value = |format: &&str| match *format {
        "%START_TIME(%s%6f)%" => "1700000000123456",
        "%EMIT_TIME(%s%6f)%" => "1700000002623457",
        "%DOWNSTREAM_REMOTE_ADDRESS%" => "192.0.2.1:80",
        "%RESPONSE_FLAGS%" => "DPE",
        "%CONNECTION_TERMINATION_DETAILS%" => "tls_handshake_failed",
        "%DOWNSTREAM_TRANSPORT_FAILURE_REASON%" => "the peer showed no certificate",
        "%CONNECTION_ID%" => "7",
        "%REQUESTED_SERVER_NAME%" => "a.example",
        "%BYTES_RECEIVED%" => "517",
        _ => "",
    };
    let fields: Vec<&[u8]> = CONNECTION_FIELDS.iter().map(|format| value(format).as_bytes()).collect();
    let mut items = Vec::new();
    encoder.add(&fields, &mut items);
    let report = encoder.around(&items);
    assert_eq!(inner(inner(&report, 1)[0], 2), [&b"edge"[..]]);
    assert!(inner(&report, 2).is_empty(), "no entries of HTTP");
    let entry = inner(inner(&report, 3)[0], 1)[0];
    let (common, connection) = (inner(entry, 1)[0], inner(entry, 2)[0]);
    assert_eq!(values(connection), [Value::Number(517)], "nothing was sent");
    assert_eq!(values(inner(common, 23)[0]), [Value::Number(2), Value::Number(500_001_000)]);
    assert_eq!(values(inner(common, 5)[0]), [Value::Number(1_700_000_000), Value::Number(123_456_000)]);
    assert_eq!(values(inner(common, 4)[0]), [Value::Bytes(b"a.example")], "a name, and no version");
    let texts = [25, 26, 28].map(|number| inner(common, number)[0]);
    assert_eq!(texts, [&b"tls_handshake_failed"[..], b"7", b"the peer showed no certificate"]);
    assert_eq!(Message(inner(common, 16)[0]).collect::<Vec<_>>(), [(19, Value::Number(1))]);
    assert!(Message(common).any(|field| field == (33, Value::Number(3))));
}

/// A program that no log has any more costs nothing, once it has got what was on its way.
#[test]
fn a_program_that_a_reload_removes_is_forgotten() {
    let Logged { world, writer, logs, shard, compiled } = Logged::new(OTLP);
    let record = Record { response_code: 200, ..Record::default() };
    shard.append(&compiled, &record);
    world.pass(SECOND);
    assert_eq!(logs.outlets.borrow().len(), 1);
    drop(compiled);
    world.pass(SECOND);
    assert_eq!((logs.outlets.borrow().len(), world.bodies().len()), (1, 0), "the shard has a record for it");
    shard.flush();
    world.pass(SECOND);
    assert_eq!((logs.outlets.borrow().len(), records(&world.bodies()[0]).len()), (0, 1));
    drop(writer);
}
