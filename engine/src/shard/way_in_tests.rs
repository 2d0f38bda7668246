//! A connection's way in, on in-memory pipes: listener filters, the choice of the chain, what ends a connection early.

use super::MemoryShard;
use crate::listener::ListenerFilter;
use crate::net::PipeEnd;
use std::task::Poll;
use std::time::Duration;

/// Two chains: clients in 10.0.0.0/8 have the first.
const CONFIG: &str = r#"
[[listeners]]
address = "127.0.0.1:1"
max_connections = 3
[[listeners.filter_chains]]
name = "inside"
match = { source_prefix_ranges = ["10.0.0.0/8"] }
http = { stat_prefix = "inside", routes = [{ match = { prefix = "/" }, direct_response = { status = 200, body = "inside" } }] }
[[listeners.filter_chains]]
name = "outside"
match = { source_prefix_ranges = ["192.0.2.0/24"] }
http = { stat_prefix = "outside", routes = [{ match = { prefix = "/" }, direct_response = { status = 200, body = "outside" } }] }
"#;

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: h\r\n\r\n";

struct World {
    shard: MemoryShard,
}

impl World {
    fn new(filters: Vec<ListenerFilter>) -> Self {
        let config = ringway_config::load_str("test.toml", CONFIG).unwrap_or_else(|problems| panic!("{problems}"));
        let shard = MemoryShard::new(config, 1);
        shard.listener(0).filters.replace(filters.into());
        Self { shard }
    }

    fn connect(&self, remote: &str) -> PipeEnd {
        self.shard.connect(0, remote.parse().expect("an address"))
    }

    fn pass(&self, time: Duration) {
        self.shard.advance(time);
    }

    /// What came, and whether the connection ended.
    fn read(&self, client: &PipeEnd) -> (String, bool) {
        self.pass(Duration::from_millis(5));
        let mut text = String::new();
        loop {
            match client.poll_recv() {
                Poll::Ready(Ok(Some(bytes))) => text += std::str::from_utf8(&bytes).expect("text"),
                Poll::Ready(Ok(None) | Err(_)) => return (text, true),
                Poll::Pending => return (text, false),
            }
        }
    }

    fn stat(&self, name: &str) -> i64 {
        self.shard.registry.value(name).unwrap_or_else(|| panic!("no statistic {name}"))
    }

    /// Connections being inspected, served, and ended after that.
    fn gauges(&self) -> [i64; 3] {
        ["downstream_pre_cx_active", "downstream_cx_active", "downstream_cx_destroy"]
            .map(|name| self.stat(&format!("listener.127.0.0.1_1.{name}")))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shard.reactor.shut_down();
    }
}

fn is_answered(text: &str, body: &str) -> bool {
    text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with(body)
}

#[test]
fn the_chain_is_chosen_by_what_the_connection_says_of_itself() {
    let world = World::new(vec![]);
    for (remote, body) in [("10.1.2.3:1", "inside"), ("192.0.2.7:1", "outside")] {
        let client = world.connect(remote);
        client.write(REQUEST.as_bytes());
        let (text, ended) = world.read(&client);
        assert!(is_answered(&text, body) && !ended, "{text}");
    }
    let refused = world.connect("203.0.113.1:1");
    assert_eq!(world.read(&refused), (String::new(), true));
    assert_eq!(world.stat("listener.127.0.0.1_1.no_filter_chain_match"), 1);
    world.pass(Duration::from_millis(5));
    assert_eq!(world.gauges(), [0, 0, 2]);
}

/// Bytes that a filter looked at and did not take are the request's, however they came.
#[test]
fn peeked_bytes_are_given_back_whatever_their_pieces() {
    for count in [1, 10, REQUEST.len()] {
        let world = World::new(vec![ListenerFilter::Peek(count), ListenerFilter::Peek(1)]);
        let client = world.connect("192.0.2.7:1");
        for (sent, byte) in REQUEST.bytes().enumerate() {
            assert_eq!(world.gauges()[0], i64::from(sent > 0 && sent < count), "{sent} of {count}");
            client.write(&[byte]);
            world.pass(Duration::from_millis(5));
        }
        let (text, ended) = world.read(&client);
        assert!(is_answered(&text, "outside") && !ended, "{count}: {text}");
        assert_eq!(world.gauges(), [0, 1, 0]);
    }
}

/// What a filter learned counts for the choice of the chain and for all that comes after it.
#[test]
fn a_filter_may_take_bytes_and_say_where_the_connection_is_from() {
    let preface = "10.9.9.9:7\n";
    let world = World::new(vec![ListenerFilter::Named]);
    for cut in 0..=preface.len() {
        let client = world.connect("192.0.2.7:1");
        let text = format!("{preface}{REQUEST}");
        client.write(&text.as_bytes()[..cut]);
        world.pass(Duration::from_millis(5));
        client.write(&text.as_bytes()[cut..]);
        let (text, ended) = world.read(&client);
        assert!(is_answered(&text, "inside") && !ended, "{cut}: {text}");
    }
    let client = world.connect("192.0.2.7:1");
    client.write(b"nonsense\nGET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(world.read(&client), (String::new(), true), "refused");
}

#[test]
fn a_connection_that_says_nothing_is_closed_in_time() {
    let world = World::new(vec![ListenerFilter::Peek(4)]);
    let client = world.connect("192.0.2.7:1");
    client.write(b"GET");
    world.pass(Duration::from_millis(14_900));
    assert_eq!((world.read(&client), world.gauges()), ((String::new(), false), [1, 0, 0]));
    world.pass(Duration::from_millis(200));
    assert_eq!((world.read(&client), world.gauges()), ((String::new(), true), [0, 0, 0]));
    assert_eq!(world.stat("listener.127.0.0.1_1.downstream_pre_cx_timeout"), 1);
    // A client that leaves is no timeout.
    drop(world.connect("192.0.2.7:1"));
    world.pass(Duration::from_secs(20));
    assert_eq!(world.gauges(), [0, 0, 0]);
    assert_eq!(world.stat("listener.127.0.0.1_1.downstream_pre_cx_timeout"), 1);
}

#[test]
fn a_connection_on_its_way_in_counts_against_limits_and_ends_with_a_drain() {
    let world = World::new(vec![ListenerFilter::Peek(4)]);
    let clients = [(); 3].map(|()| world.connect("192.0.2.7:1"));
    world.pass(Duration::from_millis(5));
    let fourth = world.connect("192.0.2.7:1");
    assert_eq!(world.read(&fourth), (String::new(), false));
    assert_eq!(world.read(&clients[0]), (String::new(), true), "the first one has waited longest");
    assert_eq!(world.stat("listener.127.0.0.1_1.downstream_cx_evicted"), 1);
    assert_eq!((world.shard.connections(), world.gauges()), (3, [3, 0, 0]));
    world.shard.drain();
    world.pass(Duration::from_millis(900));
    assert_eq!(world.gauges(), [3, 0, 0], "they have a second for their first request");
    world.pass(Duration::from_millis(200));
    for client in clients[1..].iter().chain([&fourth]) {
        assert_eq!(world.read(client), (String::new(), true));
    }
    assert_eq!((world.shard.connections(), world.gauges()), (0, [0, 0, 0]));
}

/// Chains by what connections begin with; none makes a handshake, so that what comes to each can be seen.
const BY_FIRST_BYTES: &str = r#"
[[listeners]]
address = "127.0.0.1:1"
[[listeners.filter_chains]]
name = "named"
match = { server_names = ["A.example", "*.b.example"] }
http = { stat_prefix = "named", routes = [{ match = { prefix = "/" }, direct_response = { status = 200 } }] }
[[listeners.filter_chains]]
name = "raw"
match = { transport_protocol = "raw_buffer" }
http = { stat_prefix = "raw", routes = [{ match = { prefix = "/" }, direct_response = { status = 200, body = "raw" } }] }
"#;

/// The first message of a client that asks for a.example and offers protocols.
const HELLO: &[u8] = include_bytes!("../../fuzz/corpus/client_hello/small");

fn by_first_bytes() -> World {
    let config = ringway_config::load_str("test.toml", BY_FIRST_BYTES).unwrap_or_else(|problems| panic!("{problems}"));
    World { shard: MemoryShard::new(config, 1) }
}

fn inspected(world: &World) -> Vec<(&'static str, i64)> {
    let names = [
        "connection_closed",
        "client_hello_too_large",
        "client_hello_invalid",
        "read_error",
        "tls_found",
        "tls_not_found",
        "alpn_found",
        "alpn_not_found",
        "sni_found",
        "sni_not_found",
    ];
    let values = names.map(|name| (name, world.stat(&format!("tls_inspector.{name}"))));
    values.into_iter().filter(|(_, value)| *value > 0).collect()
}

#[test]
fn a_chain_is_chosen_by_the_first_message_however_it_is_cut() {
    let world = by_first_bytes();
    for cut in 0..HELLO.len() {
        let client = world.connect("192.0.2.7:1");
        client.write(&HELLO[..cut]);
        world.pass(Duration::from_millis(5));
        assert_eq!(world.stat("http.named.downstream_cx_total"), cut as i64);
        client.write(&HELLO[cut..]);
        // The chain has no TLS, and answers that this is no HTTP.
        let (text, _) = world.read(&client);
        assert!(text.starts_with("HTTP/1.1 400 "), "{cut}: {text}");
        assert_eq!(world.stat("http.named.downstream_cx_total"), cut as i64 + 1);
    }
    let count = HELLO.len() as i64;
    assert_eq!(inspected(&world), [("tls_found", count), ("alpn_found", count), ("sni_found", count)]);
}

#[test]
fn what_does_not_begin_with_tls_has_a_chain_of_its_own() {
    let world = by_first_bytes();
    let client = world.connect("192.0.2.7:1");
    client.write(REQUEST.as_bytes());
    let (text, ended) = world.read(&client);
    assert!(is_answered(&text, "raw") && !ended, "{text}");
    assert_eq!(inspected(&world), [("tls_not_found", 1)]);
}

/// Neither the chain for other connections nor any other serves a client whose name is unknown, or cannot be read.
#[test]
fn a_first_message_that_no_chain_is_for_is_no_raw_traffic() {
    let replaced = |from: &[u8], to: &[u8]| {
        let at = HELLO.windows(from.len()).position(|part| part == from).expect("it is there");
        [&HELLO[..at], to, &HELLO[at + from.len()..]].concat()
    };
    let unknown = replaced(b"a.example", b"c.example");
    let unreadable = replaced(b"a.example", b"a\0example");
    let world = by_first_bytes();
    for (bytes, alert) in [(&unknown, &[21, 3, 3, 0, 2, 2, 112][..]), (&unreadable, &[])] {
        let client = world.connect("192.0.2.7:1");
        client.write(bytes);
        world.pass(Duration::from_millis(5));
        let mut received = Vec::new();
        while let Poll::Ready(Ok(Some(bytes))) = client.poll_recv() {
            received.extend_from_slice(&bytes);
        }
        assert_eq!(received, alert);
        world.pass(Duration::from_secs(2));
        assert_eq!(world.gauges(), [0, 0, 0]);
    }
    let large = world.connect("192.0.2.7:1");
    large.write(&[22, 3, 1, 0, 4, 1, 1, 0, 0]);
    assert_eq!(world.read(&large), (String::new(), true));
    assert_eq!(world.stat("listener.127.0.0.1_1.no_filter_chain_match"), 1);
    let found = [("client_hello_too_large", 1), ("client_hello_invalid", 1), ("tls_found", 1), ("alpn_found", 1)];
    assert_eq!(inspected(&world), [&found[..], &[("sni_found", 1)]].concat());
}

#[test]
fn a_first_message_that_does_not_end_is_waited_for_in_vain() {
    let world = by_first_bytes();
    let slow = world.connect("192.0.2.7:1");
    slow.write(&HELLO[..HELLO.len() - 1]);
    world.pass(Duration::from_millis(14_900));
    assert_eq!((world.read(&slow), world.gauges()), ((String::new(), false), [1, 0, 0]));
    world.pass(Duration::from_millis(200));
    assert_eq!((world.read(&slow), world.gauges()), ((String::new(), true), [0, 0, 0]));
    assert_eq!(world.stat("listener.127.0.0.1_1.downstream_pre_cx_timeout"), 1);
    let gone = world.connect("192.0.2.7:1");
    gone.write(&HELLO[..20]);
    world.pass(Duration::from_millis(5));
    drop(gone);
    world.pass(Duration::from_millis(5));
    assert_eq!((world.gauges(), inspected(&world)), ([0, 0, 0], vec![("connection_closed", 1)]));
}
