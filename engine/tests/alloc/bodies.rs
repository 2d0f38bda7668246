//! What a body holds on its way, whatever the size of the pieces that it comes in: the sum of docs/THREAT_MODEL.md, counted
//! to the byte. Heap and receive buffers are counted; what the pipes hold stands for the kernel's buffers.

use crate::tls::uncounted;
use crate::veil::{Veil, files};
use crate::{LIVE, leak};
use ringway::net::{MemoryListener, PipeEnd, Protocol};
use ringway::ring::{ReceiveClass, Segment};
use ringway::shard::MemoryShard;
use ringway_config::model::Address;
use std::io::Write;
use std::task::Poll;
use std::time::Duration;

/// The default of `buffer_limit`.
const LIMIT: usize = 256 * 1024;

/// What the sum adds to it for each direction.
const BEYOND: usize = 64 * 1024;

/// Receive buffers of each kind, with what is behind them.
const BUFFERS: [(ReceiveClass, usize); 3] =
    [(ReceiveClass::Short, 16 * 1024), (ReceiveClass::Long, 36 * 1024), (ReceiveClass::Bulk, 132 * 1024)];

const PIECES: [usize; 10] = [1, 2, 10, 100, 1000, 2049, 4096, 10_000, 16 * 1024, 64 * 1024];

/// Turns of the shard in which nothing moves before the scene counts as stalled.
const STILL: usize = 20;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    Chunked,
    /// With the connection's end, or a length that is never reached.
    Plain,
}

/// Bytes of a body that goes on for ever, to be sent again and again.
fn endless(framing: Framing, piece: usize) -> &'static [u8] {
    let data = "x".repeat(piece);
    match framing {
        Framing::Plain => leak(data),
        Framing::Chunked => leak(format!("{piece:x}\r\n{data}\r\n")),
    }
}

/// A shard with a client and the servers that it needs.
struct Scene {
    shard: MemoryShard,
    origin: MemoryListener,
    mirror: MemoryListener,
    client: PipeEnd,
    servers: Vec<PipeEnd>,
    before: i64,
    peak: usize,
}

impl Scene {
    fn new(route: &str) -> Self {
        Self::with("", route)
    }

    fn with(http: &str, route: &str) -> Self {
        Self::of(&Self::config(http, route))
    }

    fn config(http: &str, route: &str) -> String {
        format!(
            r#"
[[listeners]]
address = "127.0.0.1:1"
http = {{ access_log = [], {http} routes = [{{ match = {{ prefix = "/" }}, route = {{ cluster = "app", {route} }} }}] }}
[[clusters]]
name = "app"
endpoints = ["127.0.0.1:2"]
[[clusters]]
name = "copy"
endpoints = ["127.0.0.1:3"]
"#
        )
    }

    fn of(config: &str) -> Self {
        let config = ringway_config::load_str("test.toml", config).unwrap_or_else(|problems| panic!("{problems}"));
        let shard = MemoryShard::new(config, 1);
        let listen = |port: u16| shard.network.listen(Address::Ip(([127, 0, 0, 1], port).into()), 4096);
        let (origin, mirror) = (listen(2), listen(3));
        shard.reactor.turn();
        let servers = Vec::with_capacity(16);
        let before = LIVE.get();
        let client = shard.connect(0, "192.0.2.1:40000".parse().expect("an address"));
        Self { shard, origin, mirror, client, servers, before, peak: 0 }
    }

    /// With a task that is always ready, time stands still, and no timeout ends the scene.
    fn stop_time(&self) {
        let reactor = self.shard.reactor.clone();
        self.shard.reactor.spawn(async move {
            loop {
                reactor.yield_now().await;
            }
        });
    }

    fn turn(&mut self) {
        self.shard.reactor.turn();
        for listener in [&self.origin, &self.mirror] {
            if let Poll::Ready(end) = listener.poll_accept(&self.shard.reactor) {
                self.servers.push(end);
            }
        }
        self.peak = self.peak.max(self.held());
    }

    /// Bytes of memory that the proxy holds more than in the beginning.
    fn held(&self) -> usize {
        let pipes: usize = self.servers.iter().chain([&self.client]).map(PipeEnd::kernel_memory).sum();
        let heap = LIVE.get() - self.before - pipes as i64;
        let buffers = BUFFERS.map(|(class, bytes)| self.shard.reactor.pool_of(class).in_use() * bytes);
        heap.max(0) as usize + buffers.iter().sum::<usize>()
    }

    /// Send `bytes` on `from` again and again, until they are not taken any more. `each_turn`: no more than once in a turn,
    /// so that each piece is received alone. Gives the bytes taken.
    fn flood(&mut self, from: From, bytes: &'static [u8], each_turn: bool, at_most: usize) -> usize {
        let (mut still, mut taken) = (0, 0);
        while still < STILL && taken < at_most {
            let end = match from {
                From::Client => &self.client,
                From::Server(index) => &self.servers[index],
            };
            still += 1;
            while end.unsent() == 0 && taken < at_most {
                end.send_one(Segment::Static(bytes));
                taken += bytes.len();
                still = 0;
                if each_turn {
                    break;
                }
            }
            self.turn();
        }
        self.turn();
        taken
    }

    fn end(self, name: &str, piece: usize, bound: usize) {
        let Self { shard, peak, .. } = self;
        println!("{name}, pieces of {piece} bytes: {} KiB at most, {} KiB are allowed", peak / 1024, bound / 1024);
        assert_eq!(shard.reactor.facts().panics, 0);
        shard.reactor.shut_down();
        assert!(peak <= bound, "{name}, pieces of {piece} bytes: {peak} bytes are held, {bound} allowed");
    }
}

#[derive(Clone, Copy)]
enum From {
    Client,
    Server(usize),
}

const POST: &str = "POST / HTTP/1.1\r\nHost: h\r\n";
const PUT: &str = "PUT / HTTP/1.1\r\nHost: h\r\n";

/// A request whose body an origin does not take.
fn upload(name: &str, head: &str, framing: Framing, piece: usize, each_turn: bool, bound: usize) {
    let bytes = endless(framing, piece);
    let mut scene = Scene::new("");
    scene.stop_time();
    let framed = match framing {
        Framing::Chunked => "Transfer-Encoding: chunked\r\n\r\n",
        Framing::Plain => "Content-Length: 1000000000\r\n\r\n",
    };
    scene.client.send_one(Segment::Static(leak(format!("{head}{framed}"))));
    (0..10).for_each(|_| scene.turn());
    let taken = scene.flood(From::Client, bytes, each_turn, 64 * LIMIT);
    assert!(taken > 80 * 1024 && taken < 64 * LIMIT, "{name}, {piece}: {taken} bytes were taken");
    scene.end(name, piece, bound);
}

/// A response that its client does not read.
fn download(name: &str, version: &str, framing: Framing, piece: usize, each_turn: bool) {
    let bytes = endless(framing, piece);
    let mut scene = Scene::new("");
    scene.stop_time();
    scene.client.send_one(Segment::Static(leak(format!("GET / HTTP/{version}\r\nHost: h\r\n\r\n"))));
    (0..10).for_each(|_| scene.turn());
    let framed = if framing == Framing::Chunked { "Transfer-Encoding: chunked\r\n" } else { "" };
    scene.servers[0].send_one(Segment::Static(leak(format!("HTTP/1.1 200 OK\r\n{framed}\r\n"))));
    let taken = scene.flood(From::Server(0), bytes, each_turn, 64 * LIMIT);
    assert!(taken > 80 * 1024 && taken < 64 * LIMIT, "{name}, {piece}: {taken} bytes were taken");
    scene.end(name, piece, LIMIT + BEYOND);
}

#[test]
fn uploads_to_an_origin_that_does_not_read() {
    for piece in PIECES {
        upload("chunked upload", POST, Framing::Chunked, piece, false, LIMIT + BEYOND);
        upload("plain upload", POST, Framing::Plain, piece, false, LIMIT + BEYOND);
    }
    for piece in [10, 1000, 2049, 10_000] {
        upload("chunked upload, one by one", POST, Framing::Chunked, piece, true, LIMIT + BEYOND);
        upload("plain upload, one by one", POST, Framing::Plain, piece, true, LIMIT + BEYOND);
    }
}

#[test]
fn bodies_that_are_kept_for_a_replay() {
    for piece in PIECES {
        upload("kept upload", PUT, Framing::Chunked, piece, false, LIMIT + BEYOND + LIMIT);
    }
    for piece in [10, 1000, 2049, 9000] {
        upload("kept upload, one by one", PUT, Framing::Plain, piece, true, LIMIT + BEYOND + LIMIT);
    }
}

#[test]
fn downloads_to_a_client_that_does_not_read() {
    for piece in PIECES {
        for version in ["1.0", "1.1"] {
            download("chunked download", version, Framing::Chunked, piece, false);
            download("plain download", version, Framing::Plain, piece, false);
        }
    }
    for piece in [10, 1000, 2049, 10_000] {
        download("chunked download, one by one", "1.0", Framing::Chunked, piece, true);
        download("plain download, one by one", "1.1", Framing::Plain, piece, true);
    }
}

/// A client over TLS sends its request, and reads nothing of what comes behind the handshake.
fn ask_over_tls(scene: &mut Scene) {
    let mut tls = uncounted(|| Veil::new((Protocol::Http1, Protocol::Http1), &scene.shard.reactor).client());
    let mut is_sent = false;
    for _ in 0..20 {
        uncounted(|| {
            if !tls.is_handshaking() && !std::mem::replace(&mut is_sent, true) {
                tls.writer().write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").expect("it has room");
            }
            let mut out = Vec::new();
            while tls.wants_write() {
                tls.write_tls(&mut out).expect("a vector takes it");
            }
            scene.client.write(&out);
        });
        scene.turn();
        while !is_sent && let Poll::Ready(Ok(Some(bytes))) = scene.client.poll_recv() {
            uncounted(|| {
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    tls.read_tls(&mut rest).expect("records");
                    tls.process_new_packets().expect("an honest proxy");
                }
            });
        }
    }
    assert_eq!(scene.servers.len(), 1, "the request is on its way");
    uncounted(|| drop(tls));
}

/// The records lie in buffers, each of which counts as a whole.
#[test]
fn downloads_over_tls_to_a_client_that_does_not_read() {
    let [certificate, key] = files();
    let tls = format!("127.0.0.1:1\"\ntls = {{ certificate = {certificate:?}, key = {key:?} }}\n");
    let config = Scene::config("", "").replace("127.0.0.1:1\"\n", &tls);
    let mut sealed = 0;
    for piece in PIECES {
        let bytes = endless(Framing::Plain, piece);
        let mut scene = Scene::of(&config);
        scene.stop_time();
        ask_over_tls(&mut scene);
        scene.servers[0].send_one(Segment::Static(b"HTTP/1.1 200 OK\r\n\r\n"));
        let taken = scene.flood(From::Server(0), bytes, false, 64 * LIMIT);
        assert!(taken > 80 * 1024 && taken < 64 * LIMIT, "{piece}: {taken} bytes were taken");
        sealed += BUFFERS[1..].iter().map(|(class, _)| scene.shard.reactor.pool_of(*class).in_use()).sum::<usize>();
        scene.end("download over TLS", piece, LIMIT + BEYOND);
    }
    assert!(sealed > 0, "no record is in a buffer");
}

/// The origin reads, so that only the copy's bytes are left; the mirror does not, until it is given up.
fn mirrored(piece: usize, each_turn: bool) {
    let bytes = endless(Framing::Chunked, piece);
    let mut scene = Scene::new("request_mirror_policies = [{ cluster = \"copy\" }]");
    scene.stop_time();
    scene.stop_time();
    scene.client.send_one(Segment::Static(leak(format!("{POST}Transfer-Encoding: chunked\r\n\r\n"))));
    (0..10).for_each(|_| scene.turn());
    assert_eq!(scene.servers.len(), 2, "the origin's and the mirror's");
    let mut taken = 0;
    loop {
        while scene.client.unsent() == 0 && taken < 2 * LIMIT {
            scene.client.send_one(Segment::Static(bytes));
            taken += piece;
            if each_turn {
                break;
            }
        }
        while let Poll::Ready(Ok(Some(_))) = scene.servers[0].poll_recv() {}
        scene.turn();
        if taken >= 2 * LIMIT && scene.client.unsent() == 0 {
            break;
        }
    }
    assert_eq!(scene.shard.registry.value("cluster.app.retry_or_shadow_abandoned"), Some(1), "the mirror was given up");
    scene.end("mirrored upload", piece, LIMIT + BEYOND);
}

#[test]
fn copies_for_a_mirror_that_does_not_read() {
    PIECES.into_iter().for_each(|piece| mirrored(piece, false));
    [100, 1000, 2049, 9000].into_iter().for_each(|piece| mirrored(piece, true));
}

/// Kept for another try and copied for a mirror, and neither the origin nor the mirror reads.
#[test]
fn all_that_may_be_held_of_a_request() {
    let retries = "retry_policy = { retry_on = [\"5xx\"], num_retries = 3 }";
    for piece in PIECES {
        let bytes = endless(Framing::Chunked, piece);
        let mut scene = Scene::new(&format!("{retries}, request_mirror_policies = [{{ cluster = \"copy\" }}]"));
        scene.stop_time();
        scene.client.send_one(Segment::Static(leak(format!("{PUT}Transfer-Encoding: chunked\r\n\r\n"))));
        (0..10).for_each(|_| scene.turn());
        assert_eq!(scene.servers.len(), 2, "the origin's and the mirror's");
        let taken = scene.flood(From::Client, bytes, false, 64 * LIMIT);
        assert!(taken > 80 * 1024 && taken < 64 * LIMIT, "{piece}: {taken} bytes were taken");
        scene.end("kept and mirrored upload", piece, LIMIT + BEYOND + 2 * LIMIT);
    }
}

/// What the filter `buffer` has collected is one body more, for a server that takes nothing of it.
#[test]
fn bodies_that_a_filter_reads_ahead() {
    const COLLECTED: usize = 200 * 1024;
    for piece in PIECES {
        let bytes = endless(Framing::Chunked, piece);
        let mut scene = Scene::with("http_filters = [{ buffer = { max_request_bytes = \"256KiB\" } }],", "");
        scene.stop_time();
        scene.client.send_one(Segment::Static(leak(format!("{POST}Transfer-Encoding: chunked\r\n\r\n"))));
        scene.before = LIVE.get();
        let taken = scene.flood(From::Client, bytes, false, COLLECTED / piece * bytes.len());
        assert!(taken >= COLLECTED / piece * bytes.len(), "the filter reads all of it");
        assert_eq!(scene.servers.len(), 0, "the request is not whole");
        scene.client.send_one(Segment::Static(b"0\r\n\r\n"));
        (0..STILL).for_each(|_| scene.turn());
        assert_eq!(scene.servers.len(), 1);
        scene.end("collected upload", piece, COLLECTED + BEYOND);
    }
}

/// Half a head, after which nothing comes.
#[test]
fn a_head_that_is_not_whole_is_held_in_a_small_buffer() {
    const CONNECTIONS: usize = 100;
    const EACH: usize = 6 * 1024;
    let mut scene = Scene::new("");
    scene.stop_time();
    let mut clients = Vec::with_capacity(CONNECTIONS);
    scene.before = LIVE.get();
    for port in 0..CONNECTIONS {
        let client = scene.shard.connect(0, ([192, 0, 2, 2], 1024 + port as u16).into());
        client.send_one(Segment::Static(b"GET / HTTP/1.1\r\nHost: example"));
        clients.push(client);
    }
    (0..10).for_each(|_| scene.turn());
    let pipes: usize = clients.iter().map(PipeEnd::kernel_memory).sum();
    assert_eq!(scene.shard.reactor.pool().in_use(), 0, "receive buffers are for all");
    let each = (LIVE.get() - scene.before - pipes as i64) as usize / CONNECTIONS;
    println!("{each} bytes for half a head");
    assert!(each <= EACH, "{each} bytes are held for half a head, {EACH} allowed");
    for client in &clients {
        client.send_one(Segment::Static(b".org\r\n\r\n"));
    }
    (0..10).for_each(|_| scene.turn());
    assert_eq!(scene.shard.registry.value("http.ingress_http.rq_total"), Some(CONNECTIONS as i64));
    scene.shard.reactor.shut_down();
}

/// Four tries at the same time of a request with a body, on servers that do not read.
#[test]
fn hedged_tries() {
    const TRIES: usize = 4;
    for piece in PIECES {
        let retries = "retry_policy = { retry_on = [\"5xx\"], num_retries = 3, per_try_timeout = \"1s\" }";
        let bytes = endless(Framing::Chunked, piece);
        let mut scene = Scene::new(&format!("hedge_on_per_try_timeout = true, {retries}"));
        scene.client.send_one(Segment::Static(leak(format!("{POST}Transfer-Encoding: chunked\r\n\r\n"))));
        // No more than the proxy takes on its way to a server that reads nothing: these tries are of whole requests.
        for _ in 0..(96 * 1024 / bytes.len()) {
            scene.client.send_one(Segment::Static(bytes));
        }
        scene.client.send_one(Segment::Static(b"0\r\n\r\n"));
        for _ in 0..TRIES {
            (0..3).for_each(|_| scene.turn());
            scene.shard.advance(Duration::from_millis(900));
        }
        assert_eq!(scene.servers.len(), TRIES, "pieces of {piece}");
        scene.end("hedged upload", piece, LIMIT + BEYOND + LIMIT + (TRIES - 1) * LIMIT);
    }
}
