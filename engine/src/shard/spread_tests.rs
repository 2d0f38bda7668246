//! Connections of HTTP/2 that go over to another shard: two shards on one thread, each with a ring, and sockets between them
//! and the clients.

use super::plan::{Plan, PlanContext};
use super::snapshot::Snapshot;
use super::{Sockets, reactor_options};
use crate::base::clock::Wall;
use crate::hcm::HcmShard;
use crate::hcm::access_log::{ShardLog, Writer};
use crate::listener;
use crate::mux::h2::PREFACE;
use crate::net::{Arrival, ByteStream, Loopback, Network};
use crate::ring::{Reactor, Socket};
use crate::stats::Registry;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

const HEADERS: u8 = 1;
const GOAWAY: u8 = 7;
const SETTINGS: u8 = 4;

pub(super) struct World {
    shards: Vec<(Rc<Reactor>, Snapshot)>,
    registry: Arc<Registry>,
    writer: Arc<Writer>,
    plan: Arc<Plan>,
    /// Takes connections and says nothing.
    silent: TcpListener,
}

/// `/slow` has no answer, everything else has one at once.
fn config(listener: &str, http: &str, silent: &TcpListener) -> ringway_config::model::Config {
    let text = format!(
        "[runtime]\nring_entries = 64\nbuffer_count = 64\n[[listeners]]\naddress = \"127.0.0.1:1\"\nstat_prefix = \"main\"\n{listener}\n\
         [listeners.http]\n{http}\nroutes = [{{ match = {{ prefix = \"/slow\" }}, route = {{ cluster = \"silent\" }} }},\n\
         {{ match = {{ prefix = \"/\" }}, direct_response = {{ status = 200, body = \"hello\" }} }}]\n\
         [[clusters]]\nname = \"silent\"\nendpoints = [\"{}\"]\n",
        silent.local_addr().expect("bound")
    );
    ringway_config::load_str("test.toml", &text).unwrap_or_else(|problems| panic!("{problems}"))
}

impl World {
    fn new(listener: &str) -> Self {
        Self::with(listener, "")
    }

    pub(super) fn with(listener: &str, http: &str) -> Self {
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
        let registry = Registry::new();
        let writer = Writer::new(&registry);
        let context = PlanContext {
            writer: &writer,
            registry: &registry,
            descriptors: 1 << 10,
            shards: 2,
            wall: Wall::default(),
        };
        let plan = Plan::new(config(listener, http, &silent), &context, None).expect("no files");
        plan.put_in_force(None);
        let shard = |shard: usize| {
            let reactor = Reactor::new(&reactor_options(&plan.config.runtime)).expect("a ring");
            let hcm = HcmShard::new(&reactor, ShardLog::new(&registry, shard), shard);
            let stats = registry.scope(&shard.to_string(), shard);
            let mut snapshot =
                Snapshot::empty(&reactor, Network::Kernel(Loopback::AsSystem), registry.clone(), shard, hcm, stats);
            snapshot.apply(&plan, Sockets::new());
            (reactor, snapshot)
        };
        let shards = (0..2).map(shard).collect();
        Self { shards, registry, writer, plan, silent }
    }

    fn apply(&mut self, config: ringway_config::model::Config) {
        let context = PlanContext {
            writer: &self.writer,
            registry: &self.registry,
            descriptors: 1 << 10,
            shards: 2,
            wall: Wall::default(),
        };
        let plan = Plan::new(config, &context, Some(&self.plan)).expect("no files");
        plan.put_in_force(Some(&self.plan));
        self.shards.iter_mut().for_each(|(_, snapshot)| snapshot.apply(&plan, Sockets::new()));
        self.plan = plan;
    }

    /// A client whose connection is accepted on this shard.
    pub(super) fn connect(&self, shard: usize) -> Client {
        let (near, far) = UnixStream::pair().expect("sockets");
        near.set_nonblocking(true).expect("a socket");
        let (reactor, snapshot) = &self.shards[shard];
        let arrival = Arrival { remote: Some(([192, 0, 2, 1], 7).into()), ..Arrival::default() };
        listener::admit(reactor, &snapshot.listeners()[0], arrival, || {
            ByteStream::Socket(Socket::accepted(reactor, far.into()))
        });
        Client { stream: near, received: Vec::new(), has_ended: false }
    }

    /// The same, with an exchange under way on it.
    fn busy(&self, shard: usize) -> Client {
        let mut client = self.connect(shard);
        client.write(&[&begin()[..], &get(1, "/slow")].concat());
        let before = self.stat("http.ingress_http.downstream_rq_active");
        self.until("its request has come", || self.stat("http.ingress_http.downstream_rq_active") > before);
        client
    }

    pub(super) fn turn(&self, shard: usize) {
        let reactor = &self.shards[shard].0;
        reactor.unpark_handle().unpark();
        reactor.turn();
        assert_eq!(reactor.facts().panics, 0);
    }

    pub(super) fn until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let start = Instant::now();
        while !done() {
            assert!(start.elapsed() < Duration::from_secs(60), "{what}");
            (0..2).for_each(|shard| self.turn(shard));
        }
        // However long it has taken: what counts is what is under way now.
        (0..2).for_each(|_| self.shards.iter().for_each(|(_, snapshot)| snapshot.tend()));
    }

    /// A response, or the connection's end; `None`: the end.
    fn response(&self, client: &mut Client) -> Option<u32> {
        let mut found = None;
        self.until("a response has come", || {
            found = client.frame(HEADERS);
            found.is_some() || client.has_ended
        });
        found
    }

    pub(super) fn stat(&self, name: &str) -> i64 {
        self.registry.value(name).unwrap_or_else(|| panic!("no statistic {name}"))
    }

    /// Connections that went over to each shard.
    pub(super) fn moved(&self) -> [i64; 2] {
        [0, 1].map(|shard| self.stat(&format!("shard.{shard}.http2_cx_taken_over")))
    }

    pub(super) fn connections(&self) -> [usize; 2] {
        [0, 1].map(|shard| self.shards[shard].1.connections())
    }

    /// Places that connections hold in the limit of the process.
    pub(super) fn plan_used(&self) -> u64 {
        self.plan.global_limit.used()
    }

    /// After the last client has gone nothing is left, and every connection is counted once.
    pub(super) fn finish(self, connections: i64) {
        let sockets = || self.shards.iter().map(|(reactor, _)| reactor.facts().sockets).sum::<u64>();
        self.until("all connections have ended", || self.connections() == [0, 0] && sockets() == 0);
        for name in ["listener.main.downstream_cx_", "http.ingress_http.downstream_cx_"] {
            let [total, active, destroyed] =
                ["total", "active", "destroy"].map(|rest| self.stat(&format!("{name}{rest}")));
            assert_eq!((total, active, destroyed), (connections, 0, connections), "{name}");
        }
        assert_eq!(self.stat("listener.main.downstream_pre_cx_active"), 0);
        for shard in 0..2 {
            assert_eq!(self.stat(&format!("shard.{shard}.http2_cx_active")), 0);
        }
        let given: i64 = (0..2).map(|shard| self.stat(&format!("shard.{shard}.http2_cx_handed_over"))).sum();
        assert_eq!(given, self.moved().iter().sum::<i64>());
        assert_eq!((self.plan.global_limit.used(), self.plan.limits[0].0.used()), (0, 0));
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shards.iter().for_each(|(reactor, _)| reactor.shut_down());
    }
}

pub(super) struct Client {
    stream: UnixStream,
    received: Vec<u8>,
    has_ended: bool,
}

impl Client {
    pub(super) fn into_stream(self) -> UnixStream {
        self.stream
    }

    fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("there is room");
    }

    fn read(&mut self) {
        let mut bytes = [0; 4096];
        loop {
            match self.stream.read(&mut bytes) {
                Ok(0) => return self.has_ended = true,
                Ok(count) => self.received.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => return self.has_ended = true,
            }
        }
    }

    /// The stream of the next frame of this kind; those before it are forgotten.
    fn frame(&mut self, kind: u8) -> Option<u32> {
        self.read();
        while let Some(header) = self.received.first_chunk::<9>().copied() {
            let length = header[..3].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            if self.received.len() < 9 + length {
                break;
            }
            self.received.drain(..9 + length);
            if header[3] == kind {
                return Some(u32::from_be_bytes([header[5], header[6], header[7], header[8]]));
            }
        }
        None
    }
}

pub(super) fn begin() -> Vec<u8> {
    [&PREFACE[..], &[0, 0, 0, SETTINGS, 0, 0, 0, 0, 0]].concat()
}

/// A request whose method and scheme are in HPACK's table.
pub(super) fn get(id: u8, path: &str) -> Vec<u8> {
    let block = [&[0x82, 0x86, 0x44, path.len() as u8], path.as_bytes(), b"\x41\x01h"].concat();
    [&[0, 0, block.len() as u8, HEADERS, 5, 0, 0, 0, id], &block[..]].concat()
}

/// A request with a body of 60,000 bytes.
fn post(id: u8) -> Vec<u8> {
    let block = b"\x83\x86\x84\x41\x01h";
    let mut bytes = [&[0, 0, block.len() as u8, HEADERS, 4, 0, 0, 0, id], &block[..]].concat();
    for last in [0, 0, 0, 1] {
        bytes.extend([&[0, 0x3a, 0x98, 0, last, 0, 0, 0, id], &[b'x'; 15_000][..]].concat());
    }
    bytes
}

/// What came before its shard was known goes along, however it was cut.
#[test]
fn a_connection_goes_where_there_is_less_to_do() {
    let world = World::new("");
    let busy = world.busy(0);
    assert_eq!((world.moved(), world.connections()), ([0, 0], [1, 0]), "nothing is carried anywhere");
    let bytes = [begin(), get(1, "/")].concat();
    let cuts = [0, 1, 3, 4, 5, 23, 24, 25, 33, bytes.len() - 1];
    for (count, cut) in cuts.into_iter().enumerate() {
        let mut client = world.connect(0);
        client.write(&bytes[..cut]);
        (0..10).for_each(|turn| world.turn(turn % 2));
        client.write(&bytes[cut..]);
        assert_eq!(world.response(&mut client), Some(1), "{cut}");
        assert_eq!((world.moved(), world.connections()), ([0, count as i64 + 1], [1, 1]), "{cut}");
        client.write(&get(3, "/"));
        assert_eq!(world.response(&mut client), Some(3), "{cut}");
        drop(client);
        world.until("it has ended", || world.connections() == [1, 0]);
    }
    // To a shard that has as much to do nothing goes.
    let other = world.busy(0);
    let stays = [world.busy(1), world.busy(0)];
    assert_eq!(world.connections(), [2, 2]);
    assert_eq!(world.moved(), [0, cuts.len() as i64 + 1]);
    drop((busy, other, stays));
    world.finish(cuts.len() as i64 + 4);
}

/// A whole request with a body that comes at once, more than one receive takes.
#[test]
fn a_body_right_behind_the_preface_goes_along() {
    let world = World::new("");
    let busy = world.busy(0);
    let mut client = world.connect(0);
    client.write(&[begin(), post(1)].concat());
    assert_eq!(world.response(&mut client), Some(1));
    client.write(&get(3, "/"));
    assert_eq!(world.response(&mut client), Some(3), "all of the body was read");
    assert_eq!(world.moved(), [0, 1]);
    drop((busy, client));
    world.finish(2);
}

#[test]
fn http1_stays() {
    let world = World::new("");
    let busy = world.busy(0);
    let mut client = world.connect(0);
    client.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    world.until("it is answered", || {
        client.read();
        client.received.ends_with(b"hello")
    });
    assert_eq!((world.moved(), world.connections()), ([0, 0], [2, 0]));
    drop((busy, client));
    world.finish(2);
}

#[test]
fn a_client_that_leaves_at_once_is_no_loss() {
    let world = World::new("");
    let busy = world.busy(0);
    for _ in 0..3 {
        let mut client = world.connect(0);
        client.write(&begin());
        (0..3).for_each(|_| world.turn(0));
        drop(client);
        world.until("it has ended", || world.connections() == [1, 0]);
    }
    drop(busy);
    world.finish(4);
}

/// Its end may be known before it goes, or only afterwards.
#[test]
fn a_client_that_has_ended_already_is_no_loss() {
    let world = World::new("");
    let busy = world.busy(0);
    for cut in [0, 3] {
        let mut client = world.connect(0);
        let bytes = [begin(), get(1, "/")].concat();
        client.write(&bytes[..cut]);
        (0..3).for_each(|_| world.turn(0));
        client.write(&bytes[cut..]);
        client.stream.shutdown(std::net::Shutdown::Write).expect("a socket");
        world.until("it is told", || {
            client.read();
            client.has_ended
        });
    }
    assert_eq!(world.moved()[1] + world.stat("shard.0.http2_cx_kept"), 2);
    drop(busy);
    world.finish(3);
}

/// Until the connection is taken from its desk, the drain waits for it.
#[test]
fn a_drain_serves_what_has_come_and_takes_nothing_more() {
    let world = World::new("");
    let busy = world.busy(0);
    let mut moved = world.connect(0);
    moved.write(&[begin(), get(1, "/")].concat());
    let start = Instant::now();
    while world.stat("shard.0.http2_cx_handed_over") == 0 {
        assert!(start.elapsed() < Duration::from_secs(60));
        world.turn(0);
    }
    world.shards[1].1.drain();
    assert!(!world.shards[1].1.is_drained() && world.connections() == [1, 0], "it is on its way");
    assert_eq!(world.response(&mut moved), Some(1));
    world.until("it is told", || moved.frame(GOAWAY).is_some());
    drop(moved);
    world.until("the drain is over", || world.shards[1].1.is_drained());
    // What has come meanwhile is back in its place.
    let mut stays = world.connect(0);
    let bytes = [begin(), post(1)].concat();
    stays.write(&bytes[..3]);
    (0..3).for_each(|_| world.turn(0));
    stays.write(&bytes[3..]);
    assert_eq!(world.response(&mut stays), Some(1));
    stays.write(&get(3, "/"));
    assert_eq!(world.response(&mut stays), Some(3));
    assert_eq!((world.moved(), world.stat("shard.0.http2_cx_kept")), ([0, 1], 1));
    // A shard that drains itself gives nothing away.
    world.shards[0].1.drain();
    drop((stays, busy));
    world.finish(3);
}

#[test]
fn a_listener_that_a_reload_removes_ends_them_where_they_are() {
    let mut world = World::new("");
    let mut busy = world.busy(0);
    let mut moved = world.connect(0);
    moved.write(&[begin(), get(1, "/")].concat());
    assert_eq!(world.response(&mut moved), Some(1));
    assert_eq!(world.connections(), [1, 1]);
    let same = config("", "", &world.silent);
    world.apply(same);
    moved.write(&get(3, "/"));
    assert_eq!(world.response(&mut moved), Some(3), "one that changes nothing is not noticed");
    let text = "[[listeners]]\naddress = \"127.0.0.1:2\"\nstat_prefix = \"other\"\n\
                http.routes = [{ match = { prefix = \"/\" }, direct_response = { status = 200 } }]\n";
    let limits = world.plan.limits[0].0.clone();
    world.apply(ringway_config::load_str("test.toml", text).unwrap_or_else(|problems| panic!("{problems}")));
    world.until("it is told", || moved.frame(GOAWAY).is_some());
    world.until("all are told", || busy.frame(GOAWAY).is_some());
    drop((busy, moved));
    world.until("nothing is left", || world.connections() == [0, 0]);
    assert_eq!((limits.used(), world.plan.global_limit.used()), (0, 0));
}

/// The place in the limit goes along.
#[test]
fn limits_count_a_connection_once() {
    for (limit, refusals) in [
        ("max_connections = 2", "downstream_cx_overflow"),
        ("max_connections_per_client = 2", "downstream_cx_client_overflow"),
    ] {
        let world = World::new(limit);
        let clients = [world.busy(0), world.busy(0)];
        assert_eq!((world.moved(), world.connections()), ([0, 1], [1, 1]));
        for shard in 0..2 {
            let mut refused = world.connect(shard);
            assert_eq!(world.response(&mut refused), None, "{limit}");
        }
        assert_eq!(world.stat(&format!("listener.main.{refusals}")), 2);
        let [first, moved] = clients;
        drop(moved);
        world.until("its place is free", || world.plan.limits[0].0.used() == 1);
        let third = world.busy(0);
        assert_eq!(world.moved(), [0, 2]);
        drop((first, third));
        // The refused ones were counted by the listener, and never served.
        assert_eq!(world.stat("listener.main.downstream_cx_total"), 5);
        world.until("all have ended", || world.connections() == [0, 0]);
        assert_eq!((world.plan.global_limit.used(), world.plan.limits[0].0.used()), (0, 0));
        assert_eq!(world.stat("http.ingress_http.downstream_cx_total"), 3);
    }
}

/// One that was moved and waits makes room for a new one on the shard that has accepted it.
#[test]
fn a_moved_connection_makes_room() {
    let world = World::new("max_connections = 2");
    let busy = world.busy(0);
    let mut moved = world.connect(0);
    moved.write(&[begin(), get(1, "/")].concat());
    assert_eq!(world.response(&mut moved), Some(1));
    let mut new = world.connect(0);
    new.write(&[begin(), get(1, "/")].concat());
    assert_eq!(world.response(&mut new), Some(1));
    assert_eq!((world.stat("listener.main.downstream_cx_evicted"), world.plan.limits[0].0.used()), (1, 2));
    drop((busy, moved, new));
    world.finish(3);
}
