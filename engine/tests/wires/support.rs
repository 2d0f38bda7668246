//! The bench for tests that hold whatever the wires are: a proxy on in-memory pipes with one origin, driven from outside.

use crate::balance::imbalances;
use crate::h2::Fields;
use crate::peer::{End, Exchange, Peer, STREAMS, Wire};
use ringway::cluster::ClusterShared;
use ringway::net::MemoryListener;
use ringway::shard::MemoryShard;
use ringway::stats::HostStats;
use ringway_config::model::Address;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// Bytes that a pipe holds in each direction.
const CAPACITY: usize = 16 * 1024;

/// Client's wire and origin's wire.
pub type Pair = (Wire, Wire);

pub const PAIRS: [Pair; 4] = [(Wire::H1, Wire::H1), (Wire::H1, Wire::H2), (Wire::H2, Wire::H1), (Wire::H2, Wire::H2)];

/// An exchange of a client: its connection, and its place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent(pub usize, pub usize);

/// The same of an origin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Got(pub usize, pub usize);

pub struct Bench {
    pub pair: Pair,
    pub shard: MemoryShard,
    /// Of the first configuration.
    clusters: Vec<Arc<ClusterShared>>,
    listener: Option<MemoryListener>,
    pub clients: Vec<Peer>,
    pub origins: Vec<Peer>,
    /// Requests of each origin's connection that `arrived` has given.
    taken: Vec<usize>,
}

fn address() -> Address {
    Address::Ip("127.0.0.1:2".parse().expect("an address"))
}

impl Bench {
    pub fn new(pair: Pair) -> Self {
        Self::with(pair, "", "", "")
    }

    /// Further lines for the listener's `http`, for the route, and for the cluster.
    pub fn with(pair: Pair, http: &str, route: &str, cluster: &str) -> Self {
        let config = format!(
            "[[listeners]]\naddress = \"127.0.0.1:1\"\n[listeners.http]\nx_request_id = false\n{http}\n\
             [[listeners.http.routes]]\nmatch = {{ prefix = \"/\" }}\n[listeners.http.routes.route]\n\
             cluster = \"app\"\n{route}\n\
             [[clusters]]\nname = \"app\"\nendpoints = [\"127.0.0.1:2\"]\n{cluster}\n"
        );
        Self::of(pair, &config)
    }

    pub fn of(pair: Pair, config: &str) -> Self {
        let empty = "[[listeners]]\naddress = \"127.0.0.1:1\"\n\
                     http.routes = [{ match = { prefix = \"/\" }, direct_response = { status = 503 } }]";
        let load =
            |text: &str| ringway_config::load_str("test.toml", text).unwrap_or_else(|problems| panic!("{problems}"));
        let mut shard = MemoryShard::new(load(empty), 1);
        let streams = format!("[listeners.http]\nhttp2.max_concurrent_streams = {STREAMS}\n");
        let config = config.replace("[listeners.http]\n", &streams);
        shard.apply(load(&config.replace("[[clusters]]\n", &format!("[[clusters]]\n{}", pair.1.protocol()))));
        let listener = Some(shard.network.listen(address(), CAPACITY));
        let clusters = shard.clusters().to_vec();
        Self { pair, shard, clusters, listener, clients: Vec::new(), origins: Vec::new(), taken: Vec::new() }
    }

    /// Connects are refused from now on.
    pub fn stop_listening(&mut self) {
        self.listener = None;
    }

    pub fn listen(&mut self) {
        self.listener = Some(self.shard.network.listen(address(), CAPACITY));
    }

    /// A new connection of a client. Its number.
    pub fn client(&mut self) -> usize {
        let remote = "192.0.2.1:40000".parse().expect("an address");
        let pipe = self.shard.connect(0, remote);
        self.clients.push(Peer::new(self.pair.0, true, pipe));
        self.clients.len() - 1
    }

    /// A place for another exchange at the same time: on HTTP/2 the same connection.
    pub fn another(&mut self, client: usize) -> usize {
        if self.pair.0 == Wire::H1 { self.client() } else { client }
    }

    /// Let all tasks do what there is to do.
    pub fn settle(&mut self) {
        for _ in 0..4 {
            self.advance(Duration::from_millis(1));
        }
    }

    /// Let time pass, and read what comes meanwhile.
    pub fn advance(&mut self, time: Duration) {
        self.shard.advance(time);
        self.take_in();
    }

    /// One turn of the shard's loop.
    pub fn turn(&mut self) {
        self.shard.reactor.turn();
        self.take_in();
    }

    fn take_in(&mut self) {
        while let Some(listener) = &self.listener
            && let Poll::Ready(pipe) = listener.poll_accept(&self.shard.reactor)
        {
            self.origins.push(Peer::new(self.pair.1, false, pipe));
            self.taken.push(0);
        }
        self.clients.iter_mut().chain(&mut self.origins).for_each(Peer::pump);
    }

    /// A request without a body.
    pub fn get(&mut self, client: usize, target: &str) -> Sent {
        self.send(client, "GET", target, &[], b"")
    }

    /// A whole request.
    pub fn send(&mut self, client: usize, method: &str, target: &str, fields: &[(&str, &str)], body: &[u8]) -> Sent {
        let sent = self.begin(client, method, target, fields, Some(body.len()));
        if !body.is_empty() {
            self.data(sent, body);
            self.end(sent);
        }
        self.settle();
        sent
    }

    /// The head of a request whose body has this length, or one that is not known.
    pub fn begin(
        &mut self,
        client: usize,
        method: &str,
        target: &str,
        fields: &[(&str, &str)],
        length: Option<usize>,
    ) -> Sent {
        let index = self.clients[client].request(method, target, &owned(fields), length);
        self.settle();
        Sent(client, index)
    }

    pub fn data(&mut self, sent: Sent, data: &[u8]) {
        self.clients[sent.0].data(sent.1, data);
        self.settle();
    }

    pub fn end(&mut self, sent: Sent) {
        self.end_with(sent, &[]);
    }

    pub fn end_with(&mut self, sent: Sent, trailers: &[(&str, &str)]) {
        self.clients[sent.0].end(sent.1, &owned(trailers));
        self.settle();
    }

    /// What the client has seen of the response.
    pub fn seen(&self, sent: Sent) -> &Exchange {
        &self.clients[sent.0].exchanges[sent.1]
    }

    /// The next request that reached an origin, if one did.
    pub fn try_arrived(&mut self) -> Option<Got> {
        for (number, origin) in self.origins.iter().enumerate() {
            if self.taken[number] < origin.exchanges.len() {
                self.taken[number] += 1;
                return Some(Got(number, self.taken[number] - 1));
            }
        }
        None
    }

    #[track_caller]
    pub fn arrived(&mut self) -> Got {
        self.try_arrived().expect("a request reaches the origin")
    }

    /// What the origin has seen of the request.
    pub fn request(&self, got: Got) -> &Exchange {
        &self.origins[got.0].exchanges[got.1]
    }

    /// A whole response.
    pub fn answer(&mut self, got: Got, status: u16, fields: &[(&str, &str)], body: &[u8]) {
        self.respond(got, status, fields, Some(body.len()));
        if !body.is_empty() {
            self.respond_data(got, body);
            self.respond_end(got, &[]);
        }
        self.settle();
    }

    /// A response's head.
    pub fn respond(&mut self, got: Got, status: u16, fields: &[(&str, &str)], length: Option<usize>) {
        self.origins[got.0].response(got.1, status, &owned(fields), length);
        self.settle();
    }

    pub fn respond_data(&mut self, got: Got, data: &[u8]) {
        self.origins[got.0].data(got.1, data);
        self.settle();
    }

    pub fn respond_end(&mut self, got: Got, trailers: &[(&str, &str)]) {
        self.origins[got.0].end(got.1, &owned(trailers));
        self.settle();
    }

    /// The origin gives the exchange up.
    pub fn fail(&mut self, got: Got) {
        self.origins[got.0].break_off(got.1);
        self.settle();
    }

    pub fn stat(&self, name: &str) -> i64 {
        self.shard.registry.value(name).unwrap_or_else(|| panic!("no statistic {name}"))
    }

    pub fn cluster(&self, name: &str) -> i64 {
        self.stat(&format!("cluster.app.{name}"))
    }

    pub fn http(&self, name: &str) -> i64 {
        self.stat(&format!("http.ingress_http.{name}"))
    }

    /// A whole exchange that must go well: what the proxy answers.
    #[track_caller]
    pub fn works(&mut self, client: usize) {
        let sent = self.get(client, "/works");
        let got = self.arrived();
        self.answer(got, 200, &[], b"works");
        let seen = self.seen(sent);
        assert_eq!((seen.status(), seen.text().as_str(), seen.end), (200, "works", End::Whole));
    }

    /// All leave, and nothing of them may be left.
    #[track_caller]
    pub fn finish(mut self) {
        self.clients.iter_mut().for_each(Peer::hang_up);
        self.settle();
        self.advance(Duration::from_secs(2));
        self.origins.iter_mut().for_each(Peer::hang_up);
        self.settle();
        assert_eq!(self.shard.connections(), 0, "connections of clients are left");
        for gauge in ["upstream_cx_active", "upstream_rq_active", "upstream_rq_pending_active"] {
            assert_eq!(self.cluster(gauge), 0, "{gauge}");
        }
        for gauge in ["downstream_cx_active", "downstream_cx_http1_active", "downstream_rq_active"] {
            assert_eq!(self.http(gauge), 0, "{gauge}");
        }
        for cluster in self.shard.clusters() {
            let name = &cluster.config.name;
            let found = imbalances(|statistic| self.stat(&format!("cluster.{name}.{statistic}")));
            assert!(found.is_empty(), "{name}: {found:?}");
            // The endpoints' figures add up to the cluster's, unless a reload has replaced them.
            if !self.clusters.iter().any(|first| Arc::ptr_eq(first, cluster)) {
                continue;
            }
            let hosts = cluster.hosts();
            let sum = |read: fn(&HostStats) -> i64| hosts.iter().map(|host| host.state.stats.sum(read)).sum::<i64>();
            let figures = [
                ("upstream_cx_total", sum(|stats| stats.cx_total.get() as i64)),
                ("upstream_cx_active", sum(|stats| stats.cx_active.get())),
                ("upstream_rq_total", sum(|stats| stats.rq_total.get() as i64)),
                ("upstream_rq_active", sum(|stats| stats.rq_active.get())),
                ("upstream_cx_connect_fail", sum(|stats| stats.cx_connect_fail.get() as i64)),
            ];
            for (statistic, of_hosts) in figures {
                assert_eq!(self.stat(&format!("cluster.{name}.{statistic}")), of_hosts, "{name}: {statistic}");
            }
            assert_eq!(sum(|stats| stats.cx_spare.get()), 0, "{name}: spare connections");
        }
        assert_eq!(self.shard.reactor.facts().buffers_in_use, 0, "buffers are left");
        self.shard.reactor.shut_down();
    }
}

pub fn owned(fields: &[(&str, &str)]) -> Fields {
    fields.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect()
}

/// As HTTP/1 writes them.
pub fn lines(fields: &Fields) -> String {
    fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect()
}

pub fn lower(fields: &mut Fields) {
    fields.iter_mut().for_each(|(name, _)| name.make_ascii_lowercase());
}

/// A test for each pair of wires.
macro_rules! in_all_pairs {
    ($($(#[$meta:meta])* fn $name:ident($pair:ident) $body:block)*) => {
        $(
            $(#[$meta])*
            #[test]
            fn $name() {
                for $pair in $crate::support::PAIRS {
                    println!("client {:?}, origin {:?}", $pair.0, $pair.1);
                    $body
                }
            }
        )*
    };
}
pub(crate) use in_all_pairs;
