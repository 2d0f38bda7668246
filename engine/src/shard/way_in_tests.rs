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
