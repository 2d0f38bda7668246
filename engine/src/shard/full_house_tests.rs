//! A full house, on in-memory pipes: which connection makes room for a new one, on which shard, and which never does.

use super::MemoryShard;
use crate::base::logging::captured;
use crate::net::PipeEnd;
use std::task::Poll;
use std::time::Duration;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const MOMENT: Duration = Duration::from_millis(5);

/// Listener 0 answers at once; listener 1 has a chain of its own.
fn config(runtime: &str, listener: &str) -> ringway_config::model::Config {
    let http = r#"routes = [{ match = { prefix = "/" }, direct_response = { status = 200, body = "hello" } }]"#;
    let text = format!(
        "[runtime]\n{runtime}\n[[listeners]]\naddress = \"127.0.0.1:1\"\n{listener}\nhttp = {{ {http} }}\n\
         [[listeners]]\naddress = \"127.0.0.1:2\"\nhttp = {{ stat_prefix = \"other\", {http} }}\n"
    );
    ringway_config::load_str("test.toml", &text).unwrap_or_else(|problems| panic!("{problems}"))
}

/// Two shards of one process.
struct World([MemoryShard; 2]);

impl World {
    fn new(runtime: &str, listener: &str) -> Self {
        let first = MemoryShard::new(config(runtime, listener), 1);
        let second = first.neighbour(1);
        Self([first, second])
    }

    /// Time passes on both shards. What goes from one to the other and back has come when it is over.
    fn pass(&self, time: Duration) {
        self.0.iter().for_each(|shard| shard.advance(time - MOMENT));
        for _ in 0..5 {
            self.0.iter().for_each(|shard| shard.advance(MOMENT / 5));
        }
    }

    fn connect(&self, shard: usize, listener: usize, remote: &str) -> PipeEnd {
        let client = self.0[shard].connect(listener, format!("{remote}:1").parse().expect("an address"));
        self.pass(MOMENT);
        client
    }

    fn stat(&self, name: &str) -> i64 {
        self.0[0].registry.value(name).unwrap_or_else(|| panic!("no statistic {name}"))
    }

    fn evicted(&self) -> i64 {
        self.stat("listener.127.0.0.1_1.downstream_cx_evicted")
    }

    fn open(&self) -> usize {
        self.0.iter().map(MemoryShard::connections).sum()
    }

    fn ask(&self, client: &PipeEnd) {
        client.write(REQUEST);
        self.pass(MOMENT);
        let (text, ended) = read(client);
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n") && text.ends_with("hello") && !ended, "{text}");
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.0.iter().for_each(|shard| shard.reactor.shut_down());
    }
}

/// What came, and whether the connection ended.
fn read(client: &PipeEnd) -> (String, bool) {
    let mut text = String::new();
    loop {
        match client.poll_recv() {
            Poll::Ready(Ok(Some(bytes))) => text += std::str::from_utf8(&bytes).expect("text"),
            Poll::Ready(Ok(None) | Err(_)) => return (text, true),
            Poll::Pending => return (text, false),
        }
    }
}

fn has_ended(client: &PipeEnd) -> bool {
    read(client) == (String::new(), true)
}

/// The longest wait counts, on whichever shard: connections that have served requests and fresh ones alike.
#[test]
fn the_longest_idle_connection_of_all_shards_makes_room() {
    for accepting in [0, 1] {
        let world = World::new("", "max_connections = 3");
        let clients = [0, 1, 0].map(|shard| {
            let client = world.connect(shard, 0, "192.0.2.1");
            world.pass(Duration::from_secs(1));
            client
        });
        // The first one has just had a request: the second one waits longest.
        world.ask(&clients[0]);
        let new = world.connect(accepting, 0, "192.0.2.1");
        world.ask(&new);
        assert_eq!([0, 1, 2].map(|at| has_ended(&clients[at])), [false, true, false], "{accepting}");
        assert_eq!((world.evicted(), world.open()), (1, 3));
        world.ask(&clients[2]);
        world.ask(&clients[0]);
        assert_eq!(world.stat("listener.127.0.0.1_1.downstream_cx_overflow"), 0);
        assert_eq!(world.stat("http.ingress_http.downstream_cx_destroy_local"), 1);
    }
}

#[test]
fn the_limit_of_the_process_takes_a_connection_of_any_listener() {
    let world = World::new("max_connections = 2", "");
    let (other, own) = (world.connect(1, 1, "192.0.2.1"), world.connect(0, 0, "192.0.2.1"));
    world.ask(&own);
    let new = world.connect(0, 0, "192.0.2.1");
    world.ask(&new);
    assert!(has_ended(&other) && !has_ended(&own));
    assert_eq!((world.stat("listener.127.0.0.1_2.downstream_cx_evicted"), world.open()), (1, 2));
    // Both limits at once: the place in the other listener's count does not help.
    let world = World::new("max_connections = 2", "max_connections = 1");
    let (own, other) = (world.connect(0, 0, "192.0.2.1"), world.connect(1, 1, "192.0.2.1"));
    world.ask(&own);
    let new = world.connect(1, 0, "192.0.2.1");
    world.ask(&new);
    assert!(has_ended(&own) && !has_ended(&other));
}

#[test]
fn a_connection_with_an_exchange_makes_no_room() {
    let world = World::new("", "max_connections = 2");
    let busy = [0, 1].map(|shard| {
        let client = world.connect(shard, 0, "192.0.2.1");
        client.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
        client.write(b"he");
        client
    });
    world.pass(Duration::from_millis(100));
    // The response has gone out, and the rest of the body is read away.
    let refused = world.connect(0, 0, "192.0.2.1");
    assert!(has_ended(&refused));
    assert_eq!((world.stat("listener.127.0.0.1_1.downstream_cx_overflow"), world.evicted()), (1, 0));
    busy.iter().for_each(|client| client.write(b"llo"));
    world.pass(MOMENT);
    let texts = [0, 1].map(|at| read(&busy[at]));
    assert!(texts.iter().all(|(text, _)| text.ends_with("hello")), "{texts:?}");
}

/// A part of a head is no request. It has an answer, with which a client may repeat it.
#[test]
fn half_a_head_makes_room_in_its_turn_and_more_bytes_do_not_change_that() {
    let world = World::new("", "max_connections = 2");
    let half = world.connect(0, 0, "192.0.2.1");
    half.write(b"GET / HT");
    world.pass(Duration::from_secs(1));
    let idle = world.connect(1, 0, "192.0.2.1");
    world.pass(Duration::from_secs(1));
    half.write(b"TP/1.1\r\n");
    let new = world.connect(1, 0, "192.0.2.1");
    world.ask(&new);
    let (text, ended) = read(&half);
    assert!(text.starts_with("HTTP/1.1 408 ") && text.contains("connection: close\r\n") && ended, "{text}");
    assert!(!has_ended(&idle) && world.evicted() == 1);
}

/// The request is on its way when the connection is asked: it is served, and another connection makes room.
#[test]
fn a_request_that_is_arriving_is_not_lost() {
    let world = World::new("", "max_connections = 2");
    let longest = world.connect(0, 0, "192.0.2.1");
    world.pass(Duration::from_secs(1));
    let other = world.connect(0, 0, "192.0.2.1");
    // Nothing has run between the two: the task is woken by both.
    let new = world.0[0].connect(0, "192.0.2.1:1".parse().expect("an address"));
    longest.write(REQUEST);
    world.pass(MOMENT);
    let (text, ended) = read(&longest);
    assert!(text.ends_with("hello") && !ended, "{text}");
    assert!(has_ended(&other));
    world.ask(&new);
    assert_eq!((world.evicted(), world.open()), (1, 2));
}

/// A client that does not read its response holds its place no longer than that response, and loses nothing of it.
#[test]
fn a_response_on_its_way_is_not_cut() {
    let body = "x".repeat(100_000);
    let routes = format!(
        "http.routes = [{{ match = {{ prefix = \"/\" }}, direct_response = {{ status = 200, body = \"{body}\" }} }}]"
    );
    let text = format!("[[listeners]]\naddress = \"127.0.0.1:1\"\nmax_connections = 1\n{routes}\n");
    let config = ringway_config::load_str("test.toml", &text).unwrap_or_else(|problems| panic!("{problems}"));
    let shard = MemoryShard::new(config, 1);
    let slow = shard.connect(0, "192.0.2.1:1".parse().expect("an address"));
    slow.write(REQUEST);
    shard.advance(MOMENT);
    let connect = || {
        let client = shard.connect(0, "192.0.2.1:1".parse().expect("an address"));
        shard.advance(MOMENT);
        client
    };
    assert!(has_ended(&connect()), "there is no room");
    let (text, ended) = read(&slow);
    assert!(text.len() > 64 * 1024 && !ended);
    shard.advance(MOMENT);
    let (rest, ended) = read(&slow);
    assert!(text.ends_with('x') && (text + &rest).ends_with(&body) && !ended);
    let new = connect();
    assert!(has_ended(&slow) && !has_ended(&new));
    shard.reactor.shut_down();
}

#[test]
fn a_client_at_its_limit_replaces_its_own_connection() {
    let world = World::new("", "max_connections_per_client = 2");
    let other = world.connect(0, 0, "192.0.2.9");
    world.pass(Duration::from_secs(1));
    let own = [0, 1].map(|shard| world.connect(shard, 0, "192.0.2.1"));
    let new = [1, 0].map(|accepting| {
        let new = world.connect(accepting, 0, "192.0.2.1");
        world.ask(&new);
        assert_eq!(world.open(), 3);
        new
    });
    assert!(own.iter().all(has_ended) && !new.iter().any(has_ended) && !has_ended(&other));
    let unlimited = [(); 5].map(|()| world.connect(0, 1, "192.0.2.1"));
    assert!(unlimited.iter().all(|client| !has_ended(client)));
    assert_eq!(world.stat("listener.127.0.0.1_1.downstream_cx_client_overflow"), 0);
}

#[test]
fn a_busy_client_at_its_limit_is_refused() {
    let world = World::new("", "max_connections_per_client = 1");
    let busy = world.connect(0, 0, "192.0.2.1");
    busy.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n");
    world.pass(Duration::from_millis(10));
    assert!(has_ended(&world.connect(1, 0, "192.0.2.1")));
    assert!(!has_ended(&world.connect(1, 0, "192.0.2.2")));
    assert_eq!(world.stat("listener.127.0.0.1_1.downstream_cx_client_overflow"), 1);
    drop(busy);
    world.pass(Duration::from_secs(2));
    assert!(!has_ended(&world.connect(1, 0, "192.0.2.1")));
}

/// One line for all shards, at most once in ten seconds, which says how many were refused since the last one.
#[test]
fn refusals_are_logged_once_in_ten_seconds() {
    for (runtime, listener, key) in [
        ("", "max_connections = 1", "listeners[].max_connections"),
        ("max_connections = 1", "", "runtime.max_connections"),
        ("", "max_connections_per_client = 1", "listeners[].max_connections_per_client"),
    ] {
        let log = captured(|| {
            let world = World::new(runtime, listener);
            // Refused at 0, 3, 6, 9 and 12 seconds, on both shards.
            for _ in 0..5 {
                let busy = world.connect(0, 0, "192.0.2.1");
                busy.write(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\n");
                world.pass(Duration::from_millis(10));
                (0..2).for_each(|shard| assert!(has_ended(&world.connect(shard, 0, "192.0.2.1"))));
                drop(busy);
                world.pass(Duration::from_secs(3));
            }
        });
        let lines: Vec<&str> = log.lines().filter(|line| line.contains("connections are refused")).collect();
        let told = |refused: u32| format!("peer=\"192.0.2.1:1\" key=\"{key}\" limit=1 refused={refused}");
        assert_eq!(lines.len(), 2, "{log}");
        assert!(lines[0].contains("WARN ringway::limits") && lines[0].contains("listener=127.0.0.1:1 "), "{log}");
        assert!(lines[0].contains(&told(1)) && lines[1].contains(&told(8)), "{log}");
    }
}

/// The shard with the idle connection does not answer: the new connection is refused in time, and no place is lost.
#[test]
fn a_shard_that_hangs_costs_a_second() {
    let world = World::new("", "max_connections = 1");
    let idle = world.connect(1, 0, "192.0.2.1");
    let new = world.0[0].connect(0, "192.0.2.1:1".parse().expect("an address"));
    world.0[0].advance(Duration::from_millis(900));
    assert!(!has_ended(&new));
    world.0[0].advance(Duration::from_millis(200));
    assert!(has_ended(&new));
    assert_eq!(world.stat("listener.127.0.0.1_1.downstream_cx_overflow"), 1);
    world.pass(MOMENT);
    assert!(!has_ended(&idle), "the demand is forgotten");
    world.ask(&world.connect(0, 0, "192.0.2.1"));
    assert_eq!((world.open(), world.evicted()), (1, 1));
}

/// Each of many new connections at a time has a place of its own.
#[test]
fn a_crowd_is_served_in_the_order_of_the_waits() {
    let world = World::new("", "max_connections = 20");
    let old: Vec<_> = (0..20)
        .map(|at| {
            let client = world.connect(at % 2, 0, "192.0.2.1");
            world.pass(Duration::from_millis(20));
            client
        })
        .collect();
    let remote = "192.0.2.1:1".parse().expect("an address");
    let new: Vec<_> = (0..10).map(|at| world.0[at / 5].connect(0, remote)).collect();
    world.pass(Duration::from_millis(50));
    new.iter().for_each(|client| world.ask(client));
    let ended: Vec<bool> = old.iter().map(has_ended).collect();
    assert_eq!((world.open(), world.evicted(), ended.iter().filter(|ended| **ended).count()), (20, 10, 10));
    assert!(ended[..10].iter().all(|ended| *ended), "{ended:?}");
}

/// A connection with several exchanges at a time is idle when it has none. It is told that it ends.
#[test]
fn a_multiplexed_connection_without_exchanges_makes_room() {
    let world = World::new("", "max_connections = 1");
    let remote = "192.0.2.1:1".parse().expect("an address");
    let idle = world.0[1].connect(0, remote);
    let settings = [0, 0, 0, 4, 0, 0, 0, 0, 0];
    idle.write(&[&crate::mux::h2::PREFACE[..], &settings].concat());
    world.pass(MOMENT);
    let new = world.connect(0, 0, "192.0.2.1");
    world.ask(&new);
    // It does not answer.
    world.pass(Duration::from_secs(2));
    let mut goodbye = 0;
    loop {
        match idle.poll_recv() {
            Poll::Ready(Ok(Some(bytes))) => goodbye += bytes.len(),
            Poll::Ready(_) => break,
            Poll::Pending => panic!("it is still open"),
        }
    }
    assert!(goodbye > 0 && world.evicted() == 1);
}
