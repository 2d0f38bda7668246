//! Rule 3 of the house: a warm keep-alive exchange allocates nothing. Rule 4: an idle connection costs at most 1 KiB.
//!
//! A counting allocator, per thread, so that neither the access log's writer nor other tests are counted. The client and
//! the origin are tasks on the same reactor that send static bytes and keep what they receive in the pool's buffers, so
//! every allocation within a turn of the loop is the proxy's.
#![allow(unsafe_code)]

use ringway::net::{MemoryListener, PipeEnd, pipe};
use ringway::ring::{Reactor, Segment};
use ringway::shard::MemoryShard;
use ringway_config::model::Address;
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

#[path = "alloc/bodies.rs"]
mod bodies;
#[path = "alloc/connection_log.rs"]
mod connection_log;
#[path = "alloc/counter.rs"]
mod counter;
#[path = "alloc/h2.rs"]
mod h2;
#[path = "alloc/tls.rs"]
mod tls;
#[path = "alloc/trace.rs"]
mod trace;
#[path = "support/veil.rs"]
mod veil;

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static DEALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    /// Allocations and deallocations of `LOG_BATCH` bytes or more.
    static BATCHES: Cell<u64> = const { Cell::new(0) };
    /// Bytes allocated and not freed by this thread.
    static LIVE: Cell<i64> = const { Cell::new(0) };
    /// What is done now is the test's own.
    static IS_OWN: Cell<bool> = const { Cell::new(false) };
    /// Panic at the next allocation, to see where it is made.
    static TRAP: Cell<bool> = const { Cell::new(false) };
}

/// What the access log allocates at once: a batch that goes to the writer, allocated again when none has come back. How
/// many that are depends on the writer's thread and not on exchanges, so they are counted apart.
const LOG_BATCH: usize = 64 * 1024;

fn count(counter: &'static std::thread::LocalKey<Cell<u64>>, size: usize, bytes: i64) {
    // A thread that ends frees after its thread-local storage is gone; that belongs to no exchange.
    if IS_OWN.try_with(Cell::get).unwrap_or(true) {
        return;
    }
    if size >= LOG_BATCH {
        let _ = BATCHES.try_with(|batches| batches.set(batches.get() + 1));
        let _ = LIVE.try_with(|live| live.set(live.get() + bytes));
        return;
    }
    let _ = counter.try_with(|counter| counter.set(counter.get() + 1));
    let _ = LIVE.try_with(|live| live.set(live.get() + bytes));
    if TRAP.try_with(|trap| trap.replace(false)).unwrap_or(false) {
        panic!("an exchange on a warm connection allocates or frees {} bytes here", bytes.abs());
    }
}

// SAFETY: every call is passed on unchanged to the system's allocator; counting touches only thread-local cells without
// destructors and does not allocate.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(&ALLOCATIONS, layout.size(), layout.size() as i64);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(&ALLOCATIONS, layout.size(), layout.size() as i64);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(&DEALLOCATIONS, layout.size(), -(layout.size() as i64));
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(&ALLOCATIONS, size, size as i64 - layout.size() as i64);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Routing over several virtual hosts and routes, both rewrites, every header edit, statistics, access logs; retries,
/// limits and outlier detection that are not needed.
const CONFIG: &str = include_str!("alloc/ringway.toml");

const PLAIN_FIELDS: &str = "Host: app.example\r\nUser-Agent: test/1.0 (counting)\r\nAccept: */*\r\n\
                            Accept-Encoding: gzip, br\r\nCookie: session=0123456789abcdef; theme=dark\r\n";

fn leak(text: String) -> &'static [u8] {
    text.into_bytes().leak()
}

/// Reads messages off a stream without keeping anything: where one ends is all it finds out.
struct Reader {
    body: Body,
    /// Bytes of the empty line that ends the head, or of the last chunk, matched so far.
    matched: usize,
    in_head: bool,
    left: usize,
}

#[derive(Clone, Copy)]
enum Body {
    Length(usize),
    /// Ends with the last chunk; the data holds no '0'.
    Chunked,
}

impl Reader {
    fn new(body: Body) -> Self {
        Self { body, matched: 0, in_head: true, left: 0 }
    }

    /// Messages that ended within `bytes`.
    fn read(&mut self, bytes: &[u8]) -> u64 {
        let mut ended = 0;
        let mut rest = bytes;
        while let Some((&byte, after)) = rest.split_first() {
            if !self.in_head && matches!(self.body, Body::Length(_)) {
                let taken = rest.len().min(self.left);
                self.left -= taken;
                rest = &rest[taken..];
            } else {
                rest = after;
                let pattern: &[u8] = if self.in_head { b"\r\n\r\n" } else { b"0\r\n\r\n" };
                self.matched = match byte == pattern[self.matched] {
                    true => self.matched + 1,
                    false => usize::from(byte == pattern[0]),
                };
                if self.matched < pattern.len() {
                    continue;
                }
                self.matched = 0;
                if self.in_head {
                    self.in_head = false;
                    self.left = if let Body::Length(length) = self.body { length } else { usize::MAX };
                } else {
                    self.left = 0;
                }
            }
            if !self.in_head && self.left == 0 {
                self.in_head = true;
                ended += 1;
            }
        }
        ended
    }
}

async fn receive(end: &PipeEnd, reader: &mut Reader) -> u64 {
    match poll_fn(|_| end.poll_recv()).await {
        Ok(Some(bytes)) => reader.read(&bytes),
        ended => panic!("the connection ended: {ended:?}"),
    }
}

struct Kind {
    name: &'static str,
    request: &'static [u8],
    request_body: usize,
    response: &'static [u8],
    response_body: Body,
}

fn kinds() -> [Kind; 4] {
    let get = leak(format!("GET /api/items?q=1 HTTP/1.1\r\n{PLAIN_FIELDS}\r\n"));
    let length = |length: usize| {
        leak(format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\n\r\n{}",
            "x".repeat(length)
        ))
    };
    let chunk = format!("1000\r\n{}\r\n", "x".repeat(4096));
    [
        Kind {
            name: "GET, 46 bytes",
            request: get,
            request_body: 0,
            response: length(46),
            response_body: Body::Length(46),
        },
        Kind {
            name: "GET, 100 KiB",
            request: get,
            request_body: 0,
            response: length(100 * 1024),
            response_body: Body::Length(100 * 1024),
        },
        Kind {
            name: "POST, 10 KiB",
            request: leak(format!(
                "POST /api/items HTTP/1.1\r\n{PLAIN_FIELDS}Content-Length: 10240\r\n\r\n{}",
                "x".repeat(10240)
            )),
            request_body: 10240,
            response: length(2),
            response_body: Body::Length(2),
        },
        Kind {
            name: "GET, chunked",
            request: get,
            request_body: 0,
            response: leak(format!(
                "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
                chunk.repeat(4)
            )),
            response_body: Body::Chunked,
        },
    ]
}

async fn serve_origin(reactor: Rc<Reactor>, listener: MemoryListener, request_body: usize, response: &'static [u8]) {
    loop {
        let end = poll_fn(|_| listener.poll_accept(&reactor)).await;
        let mut reader = Reader::new(Body::Length(request_body));
        reactor.spawn(async move {
            while let Ok(Some(bytes)) = poll_fn(|_| end.poll_recv()).await {
                for _ in 0..reader.read(&bytes) {
                    end.send_one(Segment::Static(response));
                }
            }
        });
    }
}

/// A thousand routes, a chain of filters of which none fires, header edits, and everything that admission can do.
fn filtering_config() -> String {
    use std::fmt::Write;
    let mut config = include_str!("alloc/filtering.toml").to_owned();
    for i in 0..1000 {
        let _ = write!(
            config,
            "[[listeners.http.routes]]\nmatch = {{ prefix = \"/other/{i}/\" }}\ndirect_response = {{ status = 404 }}\n"
        );
    }
    config
        + "[[listeners.http.routes]]\nmatch = { prefix = \"/api/\" }\nroute = { cluster = \"app\", timeout = \"5s\" }\n"
}

fn shard(kind: &Kind, config: &str) -> MemoryShard {
    let config = ringway_config::load_str("test.toml", config).unwrap_or_else(|problems| panic!("{problems}"));
    let shard = MemoryShard::new(config, 1);
    let address = Address::Ip("127.0.0.1:2".parse().expect("an address"));
    let listener = shard.network.listen(address, 1 << 20);
    shard.reactor.spawn(serve_origin(shard.reactor.clone(), listener, kind.request_body, kind.response));
    shard
}

fn exchanges_allocate_nothing(kind: &Kind, config: &str) {
    exchanges_allocate(kind, config, 0);
}

/// `each`: allocations that an exchange may make.
fn exchanges_allocate(kind: &Kind, config: &str, each: u64) {
    let shard = shard(kind, config);
    let answered = Rc::new(Cell::new(0));
    let client = shard.connect(0, "192.0.2.1:40000".parse().expect("an address"));
    let (request, counter) = (kind.request, answered.clone());
    let mut reader = Reader::new(kind.response_body);
    shard.reactor.spawn(async move {
        loop {
            client.send_one(Segment::Static(request));
            while receive(&client, &mut reader).await == 0 {}
            counter.set(counter.get() + 1);
        }
    });
    count_exchanges(kind.name, &shard, &answered, (200, 2000), each);
}

/// Let exchanges run, which `answered` counts, some to warm up, and count what the others allocate: at most `each`.
fn count_exchanges(name: &str, shard: &MemoryShard, answered: &Cell<u64>, (warm, counted): (u64, u64), each: u64) {
    shard.reactor.run_until(|| answered.get() >= warm || shard.reactor.facts().panics > 0);
    let trap = std::env::var_os("RINGWAY_ALLOC_TRAP").is_some();
    TRAP.set(trap);
    let before = (ALLOCATIONS.get(), DEALLOCATIONS.get(), BATCHES.get());
    // A handshake's may not.
    let oversize = shard.reactor.facts().oversize_futures;
    // A trapped panic ends the client's task: without it there would be no answer.
    shard.reactor.run_until(|| answered.get() >= warm + counted || shard.reactor.facts().panics > 0);
    TRAP.set(false);
    let (allocations, deallocations) = (ALLOCATIONS.get() - before.0, DEALLOCATIONS.get() - before.1);
    let batches = BATCHES.get() - before.2;
    println!("{name}: {allocations} allocations, {deallocations} deallocations, {batches} batches, {counted} in all");
    assert!(batches <= counted / 100, "{batches} large allocations are more than the access log's batches");
    assert_eq!(shard.reactor.facts().panics, 0);
    assert_eq!(
        shard.reactor.facts().oversize_futures,
        oversize,
        "an exchange's futures fit the blocks that they are given"
    );
    assert_eq!(shard.registry.value("http.ingress_http.downstream_rq_2xx").map(|n| n as u64 / counted), Some(1));
    shard.reactor.shut_down();
    // RINGWAY_ALLOC_TRAP=1 with RUST_BACKTRACE=1 shows where the first one is made.
    assert!(allocations <= each * counted, "{name}: {allocations} allocations in {counted} exchanges");
    assert!(deallocations <= each * counted, "{name}: {deallocations} deallocations in {counted} exchanges");
}

#[test]
fn get_with_a_small_body() {
    exchanges_allocate_nothing(&kinds()[0], CONFIG);
}

/// Nor does a path that routes see in another spelling, or a header that is dropped for its name.
#[test]
fn get_with_rows_of_slashes() {
    let head = format!("GET //api///items?q=1 HTTP/1.1\r\n{PLAIN_FIELDS}X_Forwarded_For: 10.0.0.1\r\n\r\n");
    exchanges_allocate_nothing(&Kind { name: "rows of slashes", request: leak(head), ..kinds()[0] }, CONFIG);
}

#[test]
fn get_with_a_long_body() {
    exchanges_allocate_nothing(&kinds()[1], CONFIG);
}

#[test]
fn post_with_a_body() {
    exchanges_allocate_nothing(&kinds()[2], CONFIG);
}

#[test]
fn chunked_response() {
    exchanges_allocate_nothing(&kinds()[3], CONFIG);
}

/// Neither do records for programs elsewhere.
#[test]
fn exported_access_logs() {
    const FIRST: &str = "  { path = \"/dev/null\" },\n";
    let logs = "  { otlp = { cluster = \"app\", attributes = { path = \"%REQ(:PATH)%\" } } },\n  \
                { grpc = { cluster = \"elsewhere\", request_headers = [\"user-agent\"] } },\n";
    let cluster = "[[clusters]]\nname = \"elsewhere\"\nendpoints = [\"127.0.0.1:3\"]\nprotocol = \"http2\"\n";
    assert!(CONFIG.contains(FIRST));
    exchanges_allocate_nothing(&kinds()[0], &(CONFIG.replace(FIRST, logs) + cluster));
}

/// Neither do filters, as long as they have nothing to do, nor many routes, header edits, trust and paths to be changed.
#[test]
fn filters_and_a_thousand_routes() {
    let config = filtering_config();
    for path in ["/api/items?q=1", "/x/../api//%69tems%2Fall?q=1"] {
        let head = format!(
            "GET {path} HTTP/1.1\r\n{PLAIN_FIELDS}X-Forwarded-For: 203.0.113.5\r\nX-Envoy-Retry-On: 5xx\r\nX-User: me\r\n\r\n"
        );
        let kind = Kind { name: "filters", request: leak(head.replace("app.example", "app.example.")), ..kinds()[0] };
        exchanges_allocate_nothing(&kind, &config);
    }
}

/// A body that is compressed takes the state of one before it, and a box for its stages.
#[test]
fn compressed_bodies_use_the_same_state_again() {
    let filter = "[listeners.http]\nhttp_filters = [{ compressor = {} }]";
    let config = CONFIG.replacen("[listeners.http]", filter, 1);
    let kind =
        Kind { name: "compressed", response_body: Body::Chunked, ..kinds().into_iter().next().expect("the first") };
    exchanges_allocate(&kind, &config, 1);
}

/// A little more than it takes; the budget is 1 KiB.
const IDLE_BYTES_MAX: i64 = 864;
const CONNECTIONS: usize = 1000;

/// Connections that had one exchange each and are idle. `at_once`: all exchanges ran at the same time.
fn idle_connections(at_once: bool, config: &str) -> i64 {
    let kind = &kinds()[0];
    let shard = shard(kind, config);
    // With a task that is always ready, time stands still and nothing is idle for too long.
    let reactor = shard.reactor.clone();
    shard.reactor.spawn(async move {
        loop {
            reactor.yield_now().await;
        }
    });
    let open = |count: usize| -> Vec<PipeEnd> {
        let ends: Vec<_> = (0..count)
            .map(|i| {
                let end = shard.connect(0, ([192, 0, 2, 1], 1024 + i as u16).into());
                end.send_one(Segment::Static(kind.request));
                if !at_once {
                    read_response(&shard, &end, kind);
                }
                end
            })
            .collect();
        if at_once {
            ends.iter().for_each(|end| read_response(&shard, end, kind));
        }
        ends
    };
    // What the shard itself needs is there before counting begins, and the connections that needed it are gone.
    drop(open(64));
    shard.reactor.run_until(|| shard.connections() == 0);
    let mut ends = Vec::with_capacity(CONNECTIONS);
    let before = LIVE.get();
    ends.extend(open(CONNECTIONS));
    let live = LIVE.get() - before - pipes_alone(&shard.reactor, kind);
    assert!(shard.connections() >= CONNECTIONS);
    drop(ends);
    shard.reactor.shut_down();
    live / CONNECTIONS as i64
}

fn read_response(shard: &MemoryShard, end: &PipeEnd, kind: &Kind) {
    let mut reader = Reader::new(kind.response_body);
    let mut ended = 0;
    while ended == 0 {
        match end.poll_recv() {
            Poll::Ready(Ok(Some(bytes))) => ended += reader.read(&bytes),
            Poll::Ready(end) => panic!("the connection ended: {end:?}"),
            Poll::Pending => shard.reactor.turn(),
        }
    }
}

/// Bytes that the test's pipes take for as many connections after as many bytes: a socket would be the kernel's.
fn pipes_alone(reactor: &Rc<Reactor>, kind: &Kind) -> i64 {
    let mut ends = Vec::with_capacity(CONNECTIONS);
    let before = LIVE.get();
    for _ in 0..CONNECTIONS {
        let (one, other) = pipe(reactor, 64 * 1024);
        for (from, to) in [(&one, &other), (&other, &one)] {
            from.send_one(Segment::Static(kind.request));
            while let Poll::Ready(Ok(Some(_))) = to.poll_recv() {}
        }
        ends.push((one, other));
    }
    // The pipe's far end is part of the connection's own memory and is counted there, in either case.
    LIVE.get() - before
}

#[test]
fn an_idle_connection_is_small() {
    // After exchanges at once, as many of them are kept for reuse, until the shard's housekeeping finds time to give them
    // back; they are not the connections' and have their own, wider bound here.
    for (at_once, budget) in [(false, IDLE_BYTES_MAX), (true, 8 * 1024)] {
        let bytes = idle_connections(at_once, CONFIG);
        println!("{bytes} bytes of heap per idle connection, exchanges at once: {at_once}");
        assert!((1..=budget).contains(&bytes), "{bytes} bytes; {budget} are the budget");
    }
}

/// Tasks that come and go, one for each exchange of a multiplexed connection, with futures as large as an exchange's.
#[test]
fn a_pooled_task_allocates_nothing() {
    const TASKS: usize = 1000;
    let reactor = Reactor::simulated(1, ringway::ring::PoolSize { count: 1, size: 1024 });
    let done = Rc::new(Cell::new(0));
    let run = |count: usize| {
        for _ in 0..count {
            let tasks: [_; 4] = std::array::from_fn(|i| {
                let (on, done) = (reactor.clone(), done.clone());
                reactor.spawn_pooled(move || async move {
                    let room = [i as u8; 2048];
                    on.yield_now().await;
                    done.set(done.get() + usize::from(std::hint::black_box(room)[2047] == i as u8));
                })
            });
            reactor.turn();
            reactor.cancel(tasks[3]);
            reactor.turn();
        }
    };
    run(10);
    let (before, warm) = ((ALLOCATIONS.get(), DEALLOCATIONS.get()), done.get());
    run(TASKS);
    assert_eq!((ALLOCATIONS.get() - before.0, DEALLOCATIONS.get() - before.1), (0, 0));
    assert_eq!((done.get() - warm, reactor.facts().tasks), (3 * TASKS, 0), "three of four ran to their end");
    // The same tasks in boxes do allocate: the test can fail.
    let before = ALLOCATIONS.get();
    reactor.spawn(async {
        let room = [1_u8; 64];
        std::future::pending::<()>().await;
        std::hint::black_box(room);
    });
    assert!(ALLOCATIONS.get() > before);
    reactor.shut_down();
}
