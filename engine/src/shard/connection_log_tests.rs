//! A listener's log of its connections, on in-memory pipes: each has one line, whatever ends it, and the line says what that was.

use super::MemoryShard;
use crate::hcm::access_log::LogQueue;
use crate::http::format::take_field;
use crate::listener::ListenerFilter;
use crate::mux::h2::PREFACE;
use crate::net::PipeEnd;
use ringway_config::model::{Address, Config, OTLP_FIELDS, TlsFingerprints};
use std::cell::RefCell;
use std::task::Poll;
use std::time::Duration;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const CLIENT: &str = "192.0.2.7:1";

const LOG: &str = "[[listeners.access_log]]\nformat = \"%FILTER_CHAIN_NAME% %PROTOCOL% %RESPONSE_FLAGS% %CONNECTION_REQUESTS% \
                   %CONNECTION_TERMINATION_DETAILS%\"\notlp = { cluster = \"collector\" }\n";

/// One chain for clients in 192.0.2.0/24. Requests for /slow get no answer.
fn config(listener: &str, http: &str, log: &str) -> Config {
    let text = format!(
        r#"
[[listeners]]
address = "127.0.0.1:1"
{listener}
{log}
[[listeners.filter_chains]]
name = "near"
match = {{ source_prefix_ranges = ["192.0.2.0/24"] }}
[listeners.filter_chains.http]
{http}
routes = [
  {{ match = {{ path = "/slow" }}, route = {{ cluster = "slow" }} }},
  {{ match = {{ prefix = "/" }}, direct_response = {{ status = 200, body = "ok" }} }},
]
[[clusters]]
name = "collector"
endpoints = ["127.0.0.1:9"]
[[clusters]]
name = "slow"
endpoints = ["127.0.0.1:8"]
"#
    );
    ringway_config::load_str("test.toml", &text).unwrap_or_else(|problems| panic!("{problems}"))
}

struct World {
    shard: MemoryShard,
    queues: RefCell<Vec<LogQueue>>,
    /// Takes the connections of the cluster `slow`.
    _slow: crate::net::MemoryListener,
}

impl World {
    fn new(listener: &str, http: &str) -> Self {
        Self::with(config(listener, http, LOG))
    }

    fn with(config: Config) -> Self {
        let shard = MemoryShard::new(config, 1);
        let slow = shard.network.listen(Address::Ip(([127, 0, 0, 1], 8).into()), 4096);
        Self { shard, queues: RefCell::default(), _slow: slow }
    }

    fn connect(&self) -> PipeEnd {
        self.shard.connect(0, CLIENT.parse().expect("an address"))
    }

    /// A client that has sent this.
    fn client(&self, bytes: &[u8]) -> PipeEnd {
        let client = self.connect();
        client.write(bytes);
        self.pass(5);
        client
    }

    fn pass(&self, milliseconds: u64) {
        self.shard.advance(Duration::from_millis(milliseconds));
    }

    /// The lines that were written since the last call.
    fn lines(&self) -> Vec<String> {
        self.pass(5);
        self.shard.flush_logs();
        let mut queues = self.queues.borrow_mut();
        queues.extend(self.shard.log_queues().take());
        let mut lines = Vec::new();
        for records in queues.iter().flat_map(|queue| std::iter::from_fn(|| queue.next())) {
            let mut bytes = records.bytes();
            while !bytes.is_empty() {
                let fields: Vec<_> =
                    std::iter::from_fn(|| take_field(&mut bytes)).take(OTLP_FIELDS.len() + 1).collect();
                lines.push(String::from_utf8(fields[OTLP_FIELDS.len()].to_vec()).expect("text"));
            }
        }
        lines
    }

    fn connections(&self) -> i64 {
        self.shard.registry.value("listener.127.0.0.1_1.downstream_cx_total").expect("a statistic")
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shard.reactor.shut_down();
    }
}

/// Reads all there is.
fn read(client: &PipeEnd) {
    while let Poll::Ready(Ok(Some(_))) = client.poll_recv() {}
}

#[test]
fn a_client_may_close_reset_or_leave_within_an_exchange() {
    let world = World::new("", "");
    let silent = world.client(b"");
    assert_eq!(world.lines(), [""; 0], "it is still open");
    drop(silent);
    assert_eq!(world.lines(), ["near - - 0 remote_close"]);
    let client = world.client(REQUEST);
    client.write(REQUEST);
    world.pass(5);
    read(&client);
    drop(client);
    assert_eq!(world.lines(), ["near HTTP/1 - 2 remote_close"]);
    let client = world.client(REQUEST);
    client.reset();
    assert_eq!(world.lines(), ["near HTTP/1 - 1 remote_reset"]);
    let client = world.client(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n");
    client.reset();
    world.pass(1000);
    assert_eq!(world.lines(), ["near HTTP/1 DC 1 downstream_remote_disconnect"]);
    let client = world.client(b"GET / HTTP/1.1\r\nHo");
    drop(client);
    assert_eq!(world.lines(), ["near HTTP/1 DC 1 downstream_remote_disconnect"]);
    assert_eq!(world.connections(), 5);
}

#[test]
fn this_side_closes_for_a_reason() {
    let world =
        World::new("", "idle_timeout = \"7s\"\nrequest_headers_timeout = \"3s\"\nmax_requests_per_connection = 2");
    let closing = world.client(b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    read(&closing);
    assert_eq!(world.lines(), ["near HTTP/1 - 1 local_close"]);
    let idle = world.client(REQUEST);
    read(&idle);
    world.pass(6900);
    assert_eq!(world.lines(), [""; 0]);
    world.pass(200);
    assert_eq!(world.lines(), ["near HTTP/1 - 1 idle_timeout"]);
    let silent = world.client(b"");
    world.pass(3000);
    assert_eq!(world.lines(), ["near - - 0 idle_timeout"]);
    let slow = world.client(b"GET / HTTP/1.1\r\nHo");
    world.pass(3000);
    read(&slow);
    drop(slow);
    assert_eq!(world.lines(), ["near HTTP/1 DT 1 request_headers_timeout"]);
    let twice = world.client(&[REQUEST, REQUEST].concat());
    read(&twice);
    drop(twice);
    assert_eq!(world.lines(), ["near HTTP/1 - 2 max_requests_per_connection"]);
    let broken = world.client(b"GET / HTTP/1.1\r\nHost : h\r\n\r\n");
    read(&broken);
    drop(broken);
    assert_eq!(world.lines(), ["near HTTP/1 DPE 1 protocol_error"]);
    drop(silent);
    assert_eq!(world.connections(), 6);
}

#[test]
fn connections_end_with_their_time() {
    let world = World::new("", "max_connection_duration = \"10s\"");
    let client = world.client(REQUEST);
    read(&client);
    world.pass(20_000);
    assert_eq!(world.lines(), ["near HTTP/1 DT 1 max_connection_duration"]);
}

#[test]
fn http2_has_its_ends() {
    let world = World::new("", "idle_timeout = \"7s\"");
    // The preface and SETTINGS.
    let begin = [&PREFACE[..], &[0, 0, 0, 4, 0, 0, 0, 0, 0]].concat();
    let client = world.client(&begin);
    drop(client);
    assert_eq!(world.lines(), ["near HTTP/2 - 0 remote_close"]);
    let broken = world.client(&[&PREFACE[..], b"nonsense that is no frame"].concat());
    read(&broken);
    drop(broken);
    assert_eq!(world.lines(), ["near HTTP/2 DPE 0 protocol_error"]);
    // HEADERS of stream 1, which end it: GET /slow of h.
    let block = b"\x82\x86\x44\x05/slow\x41\x01h";
    let head = [&[0, 0, block.len() as u8, 1, 5, 0, 0, 0, 1][..], block].concat();
    let client = world.client(&[&begin[..], &head].concat());
    client.reset();
    world.pass(100);
    assert_eq!(world.lines(), ["near HTTP/2 DC 1 downstream_remote_disconnect"]);
    let idle = world.client(&begin);
    world.pass(10_000);
    drop(idle);
    assert_eq!(world.lines(), ["near HTTP/2 - 0 idle_timeout"]);
    assert_eq!(world.connections(), 4);
}

#[test]
fn no_chain_is_for_it() {
    let world = World::new("", "");
    drop(world.shard.connect(0, "203.0.113.9:1".parse().expect("an address")));
    assert_eq!(world.lines(), ["- - NR 0 filter_chain_not_found"]);
}

#[test]
fn listener_filters_end_connections() {
    let world = World::new("", "");
    world.shard.listener(0).filters.replace([ListenerFilter::Peek(4)].into());
    let late = world.client(b"GET");
    world.pass(15_100);
    assert_eq!(world.lines(), ["- - DT 0 listener_filters_timeout"]);
    drop(world.client(b"GE"));
    assert_eq!(world.lines(), ["- - DC 0 downstream_remote_disconnect"]);
    let waiting = world.client(b"GE");
    world.shard.drain();
    world.pass(1100);
    assert_eq!(world.lines(), ["- - - 0 drain"]);
    drop((late, waiting));
}

/// Broken, and larger than what is read of one.
#[test]
fn first_messages_that_cannot_be_read() {
    let log = LOG.replace("%FILTER_CHAIN_NAME%", "%BYTES_RECEIVED%");
    let text = config("", "", &log);
    let world = World::with(text);
    let inspector = world.shard.registry.scope("", 0);
    world
        .shard
        .listener(0)
        .filters
        .replace([ListenerFilter::TlsInspector(inspector, TlsFingerprints::default())].into());
    drop(world.client(&[22, 3, 1, 0, 4, 1, 1, 0, 0]));
    drop(world.client(&[22, 3, 1, 0, 4, 9, 0, 0, 0]));
    assert_eq!(world.lines(), ["9 - DPE 0 client_hello_too_large", "9 - DPE 0 client_hello_invalid"]);
}

#[test]
fn limits_refuse_and_evict() {
    let world = World::new("max_connections = 1", "");
    let busy = world.client(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n");
    let refused = world.client(REQUEST);
    assert_eq!(world.lines(), ["- - OM 0 listener_max_connections"]);
    busy.reset();
    world.pass(1000);
    assert_eq!(world.lines(), ["near HTTP/1 DC 1 downstream_remote_disconnect"]);
    let idle = world.client(REQUEST);
    let other = world.client(REQUEST);
    assert_eq!(world.lines(), ["near HTTP/1 OM 1 evicted"]);
    drop((refused, idle, other));
    assert_eq!(world.lines(), ["near HTTP/1 - 1 remote_close"]);
    assert_eq!(world.connections(), 4);
}

#[test]
fn a_drain_and_the_end_of_the_process() {
    let world = World::new("", "");
    let [idle, busy] = [REQUEST, b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n"].map(|bytes| world.client(bytes));
    read(&idle);
    world.shard.drain();
    world.pass(1500);
    assert_eq!(world.lines(), ["near HTTP/1 - 1 drain"]);
    world.shard.listener(0).drain.abort(&world.shard.reactor);
    assert_eq!(world.lines(), ["near HTTP/1 - 1 cut_off"]);
    drop((idle, busy));
    assert_eq!(world.connections(), 2);
}

/// A panic is the end of one connection, and the log has it.
#[test]
fn a_panic_has_a_line() {
    let world = World::new("", "");
    world.shard.listener(0).filters.replace([ListenerFilter::Panics].into());
    let client = world.connect();
    let facts = || world.shard.reactor.facts();
    world.shard.reactor.run_until(|| facts().panics == 1);
    world.shard.flush_logs();
    // Not by `lines`, which lets no task panic.
    let queue = world.shard.log_queues().take().remove(0);
    let records = queue.next().expect("records");
    let text = String::from_utf8_lossy(records.bytes());
    assert!(records.count() == 1 && text.ends_with("- - - 0 panic"), "{text}");
    drop(client);
}

/// A log that a reload adds has the connections that come then, and one that it removes has none that end then.
#[test]
fn a_reload_adds_and_removes_the_log() {
    let mut world = World::with(config("", "", ""));
    let before = world.client(REQUEST);
    world.shard.apply(config("", "", LOG));
    let after = world.client(REQUEST);
    drop(before);
    assert_eq!(world.lines(), [""; 0]);
    drop(after);
    assert_eq!(world.lines(), ["near HTTP/1 - 1 remote_close"]);
    let open = world.client(REQUEST);
    world.shard.apply(config("", "", &LOG.replace("%PROTOCOL%", "new")));
    drop(open);
    assert_eq!(world.lines(), ["near new - 1 remote_close"], "as the configuration says when it ends");
    let open = world.client(REQUEST);
    world.shard.apply(config("", "", ""));
    drop(open);
    assert_eq!(world.lines(), [""; 0]);
}

#[test]
fn filters_choose_connections() {
    let log = |filter: &str| format!("{LOG}filter = {{ {filter} }}\n");
    for (filter, taken) in [
        ("response_flags = []", &["- - NR 0 filter_chain_not_found"][..]),
        ("response_flags = [\"DC\", \"DT\"]", &[]),
        ("not = { response_flags = [] }", &["near - - 0 remote_close"]),
        ("duration = { at_least = \"3ms\" }", &["near - - 0 remote_close"]),
        ("sample_percent = 0", &[]),
    ] {
        let world = World::with(config("", "", &log(filter)));
        drop(world.shard.connect(0, "203.0.113.9:1".parse().expect("an address")));
        drop(world.client(b""));
        assert_eq!(world.lines(), taken, "{filter}");
    }
}
