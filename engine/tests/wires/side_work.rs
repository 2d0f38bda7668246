//! Copies of requests have bounds of their own, and give way to main traffic where something is short.

use crate::peer::{End, Wire};
use crate::support::Bench;
use ringway::net::{MemoryListener, PipeEnd};
use ringway_config::model::Address;
use std::task::Poll;
use std::time::Duration;

/// A proxy that copies the requests for `/copied` to the cluster `shadow`, which serves all others.
struct Copying {
    bench: Bench,
    listener: MemoryListener,
    /// What connects there: nothing is answered.
    silent: Vec<PipeEnd>,
}

impl Copying {
    fn new(limits: &str) -> Self {
        let config = format!(
            "[[listeners]]\naddress = \"127.0.0.1:1\"\n\
             [[listeners.http.routes]]\nmatch = {{ prefix = \"/copied\" }}\n\
             route = {{ cluster = \"app\", request_mirror_policies = [{{ cluster = \"shadow\" }}] }}\n\
             [[listeners.http.routes]]\nmatch = {{ prefix = \"/\" }}\nroute = {{ cluster = \"shadow\" }}\n\
             [[clusters]]\nname = \"app\"\nendpoints = [\"127.0.0.1:2\"]\n\
             [[clusters]]\nname = \"shadow\"\nendpoints = [\"127.0.0.1:3\"]\n{limits}\n"
        );
        let bench = Bench::of((Wire::H1, Wire::H1), &config);
        let address = Address::Ip("127.0.0.1:3".parse().expect("an address"));
        let listener = bench.shard.network.listen(address, 1024);
        Self { bench, listener, silent: Vec::new() }
    }

    /// A request that is copied, and answered.
    fn copied(&mut self) {
        let client = self.bench.client();
        let sent = self.bench.get(client, "/copied");
        let got = self.bench.arrived();
        self.bench.answer(got, 200, &[], b"ok");
        assert_eq!(self.bench.seen(sent).end, End::Whole);
        self.accept();
    }

    fn accept(&mut self) {
        while let Poll::Ready(pipe) = self.listener.poll_accept(&self.bench.shard.reactor) {
            self.silent.push(pipe);
        }
    }

    fn shadow(&self, name: &str) -> i64 {
        self.bench.stat(&format!("cluster.shadow.{name}"))
    }

    fn finish(mut self) {
        self.silent.clear();
        // The route's timeout ends what is left of the copies.
        self.bench.advance(Duration::from_secs(20));
        assert_eq!((self.shadow("upstream_rq_active"), self.shadow("upstream_cx_active")), (0, 0));
        self.bench.finish();
    }
}

#[test]
fn copies_in_flight_are_bounded_by_default() {
    let mut copying = Copying::new("");
    (0..70).for_each(|_| copying.copied());
    assert_eq!((copying.shadow("upstream_rq_active"), copying.shadow("upstream_rq_mirror_overflow")), (64, 6));
    assert_eq!(copying.silent.len(), 64);
    // One ends, and another one may begin.
    copying.silent.pop();
    copying.copied();
    copying.copied();
    assert_eq!((copying.shadow("upstream_rq_active"), copying.shadow("upstream_rq_mirror_overflow")), (64, 7));
    copying.finish();
}

#[test]
fn the_number_of_copies_is_configurable() {
    for (most, overflow) in [(0, 3), (2, 1)] {
        let mut copying = Copying::new(&format!("circuit_breakers = {{ max_mirrors = {most} }}"));
        (0..3).for_each(|_| copying.copied());
        let counted = (copying.shadow("upstream_rq_active"), copying.shadow("upstream_rq_mirror_overflow"));
        assert_eq!(counted, (most, overflow));
        copying.finish();
    }
}

/// Copies fill up what main traffic leaves of `max_requests`, and refuse it nothing.
#[test]
fn copies_take_no_place_of_a_request() {
    let mut copying = Copying::new("circuit_breakers = { max_requests = 2 }");
    (0..3).for_each(|_| copying.copied());
    assert_eq!((copying.shadow("upstream_rq_active"), copying.shadow("upstream_rq_mirror_overflow")), (2, 1));
    for _ in 0..2 {
        let client = copying.bench.client();
        copying.bench.get(client, "/main");
    }
    assert_eq!((copying.shadow("upstream_rq_active"), copying.shadow("upstream_rq_pending_overflow")), (4, 0));
    let client = copying.bench.client();
    let refused = copying.bench.get(client, "/main");
    assert_eq!((copying.bench.seen(refused).status(), copying.shadow("upstream_rq_pending_overflow")), (503, 1));
    copying.accept();
    copying.finish();
}

#[test]
fn a_copy_gives_its_connection_up() {
    for limit in ["max_connections = 1", "max_connections_per_host = 1"] {
        let mut copying = Copying::new(&format!("circuit_breakers = {{ {limit} }}"));
        copying.copied();
        assert_eq!((copying.shadow("upstream_rq_active"), copying.shadow("upstream_cx_active")), (1, 1));
        let client = copying.bench.client();
        let sent = copying.bench.get(client, "/main");
        copying.accept();
        assert_eq!((copying.shadow("upstream_rq_mirror_shed"), copying.shadow("upstream_cx_overflow")), (1, 0));
        copying.silent[1].write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmain");
        copying.bench.settle();
        assert_eq!(copying.bench.seen(sent).text(), "main", "{limit}");
        // The connection is idle: a copy may use it, and no other one, and a request takes it away again.
        copying.copied();
        assert_eq!((copying.shadow("upstream_rq_active"), copying.shadow("upstream_cx_total")), (1, 2));
        copying.bench.get(client, "/main");
        copying.accept();
        assert_eq!((copying.shadow("upstream_rq_mirror_shed"), copying.shadow("upstream_cx_total")), (2, 3));
        copying.copied();
        assert_eq!((copying.shadow("upstream_rq_active"), copying.shadow("upstream_rq_mirror_shed")), (1, 2));
        copying.finish();
    }
}

/// More than half of the receive buffers are in use: no copy begins.
#[test]
fn no_copy_begins_while_memory_is_short() {
    let mut copying = Copying::new("");
    let pool = copying.bench.shard.reactor.pool().clone();
    let held: Vec<_> = (0..140).map(|_| pool.copy_from(&[0; 100])).collect();
    copying.copied();
    assert_eq!((copying.shadow("upstream_rq_total"), copying.shadow("upstream_rq_mirror_shed")), (0, 1));
    drop(held);
    copying.copied();
    assert_eq!((copying.shadow("upstream_rq_total"), copying.shadow("upstream_rq_mirror_shed")), (1, 1));
    copying.finish();
}
