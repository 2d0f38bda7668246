//! The same over HTTP/2: warm exchanges on a connection that is shared allocate nothing.

use super::{Body, CONFIG, Kind, LIVE, count_exchanges, kinds, pipes_alone, shard};
use ringway::net::{MemoryListener, PipeEnd};
use ringway::ring::{Reactor, Segment};
use ringway_config::model::Address;
use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, id: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&id.to_be_bytes());
    out.extend_from_slice(payload);
}

/// A window for all streams that never ends within a test.
fn begin(out: &mut Vec<u8>) {
    frame(out, SETTINGS, 0, 0, &[]);
    frame(out, WINDOW_UPDATE, 0, 0, &(i32::MAX as u32 - 65_535).to_be_bytes());
}

fn field(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    for text in [name, value] {
        block.push(text.len() as u8);
        block.extend_from_slice(text.as_bytes());
    }
}

/// Finds frames however they are cut, and keeps nothing of them.
#[derive(Default)]
pub(super) struct Frames {
    header: [u8; 9],
    filled: usize,
    left: usize,
}

impl Frames {
    /// Show `each` the kind, flags and stream of each frame that ends in `bytes`.
    pub(super) fn read(&mut self, mut bytes: &[u8], mut each: impl FnMut(u8, u8, u32)) {
        loop {
            if self.filled < 9 {
                let now = bytes.len().min(9 - self.filled);
                self.header[self.filled..self.filled + now].copy_from_slice(&bytes[..now]);
                (self.filled, bytes) = (self.filled + now, &bytes[now..]);
                if self.filled < 9 {
                    return;
                }
                self.left = self.header[..3].iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            }
            let now = self.left.min(bytes.len());
            (self.left, bytes) = (self.left - now, &bytes[now..]);
            if self.left > 0 {
                return;
            }
            self.filled = 0;
            let [_, _, _, kind, flags, id @ ..] = self.header;
            each(kind, flags, u32::from_be_bytes(id));
        }
    }
}

/// What a client says for its exchange of this number, from 0.
pub(super) fn asking(exchange: u32) -> Vec<u8> {
    let (mut out, mut block) = (Vec::new(), vec![0x82, 0x86]);
    if exchange == 0 {
        out.extend_from_slice(PREFACE);
        begin(&mut out);
    }
    field(&mut block, ":path", "/api/items?q=1");
    field(&mut block, ":authority", "app.example");
    frame(&mut out, HEADERS, 5, 1 + 2 * exchange, &block);
    out
}

/// Whether such a frame ends its stream.
pub(super) fn ends(kind: u8, flags: u8) -> bool {
    matches!(kind, DATA | HEADERS) && flags & 1 != 0
}

/// What is to be said to frames that want an answer.
fn answer(out: &mut Vec<u8>, kind: u8, flags: u8) {
    match (kind, flags & 1) {
        (SETTINGS, 0) => frame(out, SETTINGS, 1, 0, &[]),
        (PING, 0) => panic!("a PING"),
        _ => {}
    }
}

async fn received(end: &PipeEnd, frames: &mut Frames, each: impl FnMut(u8, u8, u32)) -> bool {
    match poll_fn(|_| end.poll_recv()).await {
        Ok(Some(bytes)) => frames.read(&bytes, each),
        _ => return false,
    }
    true
}

/// What the exchanges are about.
#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Requests,
    /// Of gRPC.
    Calls,
    /// Of gRPC-Web by the client; of gRPC at the endpoint.
    WebCalls,
    /// In base64.
    WebTextCalls,
}

impl What {
    /// The client's, and the endpoint's.
    fn content_types(self) -> [&'static str; 2] {
        match self {
            Self::Requests => ["text/plain"; 2],
            Self::Calls => ["application/grpc"; 2],
            Self::WebCalls => ["application/grpc-web+proto", "application/grpc+proto"],
            Self::WebTextCalls => ["application/grpc-web-text+proto", "application/grpc+proto"],
        }
    }
}

/// A client with this many exchanges at a time.
async fn ask(reactor: Rc<Reactor>, end: PipeEnd, what: What, at_once: u32, body: usize, answered: Rc<Cell<u64>>) {
    let mut block = Vec::new();
    let pairs = [
        (":method", if body == 0 { "GET" } else { "POST" }),
        (":scheme", "http"),
        (":path", "/api/items?q=1"),
        (":authority", "app.example"),
        ("content-type", what.content_types()[0]),
        ("user-agent", "test/1.0 (counting)"),
        ("accept", "*/*"),
        ("cookie", "session=0123456789abcdef; theme=dark"),
    ];
    pairs.iter().for_each(|(name, value)| field(&mut block, name, value));
    let data = vec![b'x'; body];
    let (mut out, mut frames, mut id, mut open) = (reactor.take_vec(), Frames::default(), 1, 0);
    out.extend_from_slice(PREFACE);
    begin(&mut out);
    loop {
        while open < at_once {
            frame(&mut out, HEADERS, if body == 0 { 5 } else { 4 }, id, &block);
            if body > 0 {
                frame(&mut out, DATA, 1, id, &data);
            }
            (id, open) = (id + 2, open + 1);
        }
        if !out.is_empty() {
            end.send_one(Segment::Owned(std::mem::replace(&mut out, reactor.take_vec())));
        }
        let more = received(&end, &mut frames, |kind, flags, _| {
            answer(&mut out, kind, flags);
            if ends(kind, flags) {
                open -= 1;
                answered.set(answered.get() + 1);
            }
        });
        if !more.await {
            return;
        }
    }
}

/// An endpoint that speaks HTTP/2, too.
async fn serve(reactor: Rc<Reactor>, listener: MemoryListener, what: What, body: usize) {
    let (mut block, mut trailers) = (vec![0x88], Vec::new());
    field(&mut block, "content-type", what.content_types()[1]);
    field(&mut trailers, "grpc-status", "0");
    field(&mut trailers, "grpc-message", "all is well");
    let mut data = vec![b'x'; body];
    if what != What::Requests {
        // A message.
        data.splice(..0, [&[0][..], &(body as u32).to_be_bytes()].concat());
    }
    let end = poll_fn(|_| listener.poll_accept(&reactor)).await;
    let (mut out, mut frames) = (reactor.take_vec(), Frames::default());
    begin(&mut out);
    let mut skip = PREFACE.len();
    loop {
        let Ok(Some(bytes)) = poll_fn(|_| end.poll_recv()).await else { return };
        let now = skip.min(bytes.len());
        skip -= now;
        frames.read(&bytes[now..], |kind, flags, id| {
            answer(&mut out, kind, flags);
            if ends(kind, flags) {
                frame(&mut out, HEADERS, 4, id, &block);
                frame(&mut out, DATA, u8::from(what == What::Requests), id, &data);
                if what != What::Requests {
                    frame(&mut out, HEADERS, 5, id, &trailers);
                }
            }
        });
        if !out.is_empty() {
            end.send_one(Segment::Owned(std::mem::replace(&mut out, reactor.take_vec())));
        }
    }
}

fn exchanges_allocate_nothing(name: &str, kind: &Kind, at_once: u32, upstream: bool) {
    exchanges_allocate(name, kind, What::Requests, at_once, upstream, (CONFIG, 0));
}

/// `each`: allocations that an exchange may make.
fn exchanges_allocate(name: &str, kind: &Kind, what: What, at_once: u32, upstream: bool, (config, each): (&str, u64)) {
    let address = Address::Ip("127.0.0.1:2".parse().expect("an address"));
    let config = if upstream {
        config.replace("[[clusters]]\nname = \"app\"\n", "[[clusters]]\nname = \"app\"\nprotocol = \"http2\"\n")
    } else {
        config.into()
    };
    let shard = shard(kind, &config);
    if upstream {
        // In place of the one that speaks HTTP/1.
        let listener = shard.network.listen(address, 1 << 20);
        let Body::Length(body) = kind.response_body else { panic!("a length") };
        shard.reactor.spawn(serve(shard.reactor.clone(), listener, what, body));
    }
    let answered = Rc::new(Cell::new(0));
    let client = shard.connect(0, "192.0.2.1:40000".parse().expect("an address"));
    let asking = ask(shard.reactor.clone(), client, what, at_once, kind.request_body, answered.clone());
    shard.reactor.spawn(asking);
    count_exchanges(name, &shard, &answered, (400, 4000), each);
}

#[test]
fn over_http_2_to_http_1() {
    exchanges_allocate_nothing("GET to HTTP/1", &kinds()[0], 1, false);
    exchanges_allocate_nothing("8 GETs to HTTP/1", &kinds()[0], 8, false);
    exchanges_allocate_nothing("POST to HTTP/1", &kinds()[2], 1, false);
}

#[test]
fn over_http_2_on_both_sides() {
    exchanges_allocate_nothing("GET to HTTP/2", &kinds()[0], 1, true);
    exchanges_allocate_nothing("8 GETs to HTTP/2", &kinds()[0], 8, true);
    exchanges_allocate_nothing("POST to HTTP/2", &kinds()[2], 1, true);
}

#[test]
fn calls_of_grpc_with_statistics() {
    let stats = "http_filters = [{ grpc_stats = { stats_for_all_methods = true, enable_upstream_stats = true } }]";
    let config = CONFIG.replace("via = \"edge\"\n", &format!("via = \"edge\"\n{stats}\n"));
    for (name, config) in [("calls", CONFIG), ("calls that are counted", &config)] {
        exchanges_allocate(name, &kinds()[2], What::Calls, 1, true, (config, 0));
    }
}

#[test]
fn calls_of_grpc_web() {
    let config = CONFIG.replace("via = \"edge\"\n", "via = \"edge\"\nhttp_filters = [{ grpc_web = {} }]\n");
    let kind = Kind { request_body: 400, ..kinds().into_iter().nth(2).expect("a POST") };
    for (name, what) in [("gRPC-Web", What::WebCalls), ("gRPC-Web in base64", What::WebTextCalls)] {
        // HTTP/2 makes a buffer for the trailers, which are a second short piece behind the message.
        exchanges_allocate(name, &kind, what, 1, true, (&config, 3));
    }
}

/// Bytes of heap of a connection without exchanges, whose client has put nothing into its table.
const IDLE_BYTES_MAX: i64 = 1312;

/// What exchanges need goes back as soon as there are none: what a connection kept for longer would leave holes between those
/// that were opened meanwhile.
#[test]
fn an_idle_connection_of_http_2_is_small() {
    const CONNECTIONS: usize = 100;
    // More than a connection remembers of those that are over.
    const EXCHANGES: u32 = 70;
    let kind = &kinds()[0];
    let shard = shard(kind, CONFIG);
    let open = |count: usize| -> Vec<PipeEnd> {
        // With a task that is always ready, time stands still.
        let (stands, reactor) = (Rc::new(Cell::new(true)), shard.reactor.clone());
        let goes_on = stands.clone();
        shard.reactor.spawn(async move {
            while goes_on.get() {
                reactor.yield_now().await;
            }
        });
        let ends: Vec<_> = (0..count)
            .map(|i| {
                let end = shard.connect(0, ([192, 0, 2, 1], 1024 + i as u16).into());
                let mut frames = Frames::default();
                for exchange in 0..EXCHANGES {
                    end.write(&asking(exchange));
                    let mut ended = 0;
                    while ended == 0 {
                        match end.poll_recv() {
                            Poll::Ready(Ok(Some(bytes))) => frames.read(&bytes, |kind, flags, _| {
                                ended += u64::from(ends(kind, flags));
                            }),
                            Poll::Ready(over) => panic!("the connection ended: {over:?}"),
                            Poll::Pending => shard.reactor.turn(),
                        }
                    }
                }
                end
            })
            .collect();
        stands.set(false);
        ends
    };
    drop(open(64));
    shard.reactor.run_until(|| shard.connections() == 0);
    let mut ends = Vec::with_capacity(CONNECTIONS);
    let before = LIVE.get();
    ends.extend(open(CONNECTIONS));
    let at_once = LIVE.get() - before;
    shard.advance(Duration::from_secs(2));
    let later = LIVE.get() - before;
    let pipe = pipes_alone(&shard.reactor, kind) / super::CONNECTIONS as i64;
    let bytes = at_once.max(later) / CONNECTIONS as i64 - pipe;
    assert!(shard.connections() >= CONNECTIONS);
    assert_eq!(shard.reactor.facts().buffers_in_use, 0, "idle connections hold no buffers");
    println!("{bytes} bytes of heap per idle connection of HTTP/2");
    drop(ends);
    shard.reactor.shut_down();
    assert!((1..=IDLE_BYTES_MAX).contains(&bytes), "{bytes} bytes; {IDLE_BYTES_MAX} are the budget");
}
