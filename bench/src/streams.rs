//! Whole exchanges of HTTP/2: a client with 32 streams at a time, the proxy, and an origin that speaks HTTP/2 or HTTP/1, on
//! one reactor and joined by in-memory pipes. As in exchange.rs, everything is warm, and both ends do little.

use crate::exchange::ORIGIN;
use crate::{config, messages};
use ringway::net::{MemoryListener, PipeEnd};
use ringway::ring::{Reactor, Segment, TaskId};
use ringway::shard::MemoryShard;
use ringway_config::model::Address;
use std::cell::Cell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;

/// Requests that go out together; the next ones follow when all are answered.
pub const AT_ONCE: u32 = 32;
/// Rounds of that many before anything is measured.
const WARM_UP: u64 = 50;
const CAPACITY: usize = 1 << 20;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const WINDOW_UPDATE: u8 = 8;
const ENDS_STREAM: u8 = 1;
const ENDS_HEADERS: u8 = 4;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What the origin speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Http1,
    Http2,
}

/// 32 exchanges, all at the same time.
pub fn exchanges(origin: Origin) -> impl FnMut() {
    let rig = Rig::new(origin);
    move || rig.run(1)
}

struct Rig {
    shard: MemoryShard,
    client: TaskId,
    wanted: Rc<Cell<u64>>,
    done: Rc<Cell<u64>>,
}

impl Rig {
    fn new(origin: Origin) -> Self {
        let mut text = config::text(10);
        if origin == Origin::Http2 {
            let named = "name = \"app7\"\n";
            assert!(text.contains(named), "the text has another form now");
            text = text.replace(named, "name = \"app7\"\nprotocol = \"http2\"\n");
        }
        let shard = MemoryShard::new(config::loaded(&text), 1);
        let listener = shard.network.listen(Address::Ip(ORIGIN.parse::<SocketAddr>().expect("an address")), CAPACITY);
        let reactor = shard.reactor.clone();
        match origin {
            Origin::Http1 => drop(shard.reactor.spawn(serve_http1(reactor, listener))),
            Origin::Http2 => drop(shard.reactor.spawn(serve_http2(reactor, listener))),
        }
        let pipe = shard.connect(0, "192.0.2.1:40000".parse().expect("an address"));
        let (wanted, done) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
        let client = shard.reactor.spawn(ask(shard.reactor.clone(), pipe, wanted.clone(), done.clone()));
        let rig = Self { shard, client, wanted, done };
        rig.run(WARM_UP);
        rig.check();
        rig
    }

    /// `rounds` more, one after the other.
    fn run(&self, rounds: u64) {
        self.wanted.set(self.wanted.get() + rounds);
        self.shard.reactor.wake(self.client);
        self.shard.reactor.run_until(|| self.done.get() == self.wanted.get());
    }

    /// Every exchange so far was routed and answered with 200.
    fn check(&self) {
        let stat = |name: &str| self.shard.registry.value(name).unwrap_or_else(|| panic!("no statistic {name}"));
        let exchanges = self.done.get() as i64 * i64::from(AT_ONCE);
        for name in
            ["http.bench.downstream_rq_2xx", "http.bench.downstream_rq_http2_total", "cluster.app7.upstream_rq_2xx"]
        {
            assert_eq!(stat(name), exchanges, "{name}");
        }
        assert_eq!(stat("http.bench.downstream_cx_total"), 1);
        assert_eq!(self.shard.reactor.facts().panics, 0, "a task panicked");
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.shard.reactor.shut_down();
    }
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}

/// SETTINGS of which each stream has a wide window, and one for the connection that never ends here.
fn begin(out: &mut Vec<u8>) {
    frame(out, SETTINGS, 0, 0, &[]);
    frame(out, WINDOW_UPDATE, 0, 0, &(i32::MAX as u32 - 65_535).to_be_bytes());
}

/// A field that goes into the peer's table.
fn field(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0x40);
    for text in [name, value] {
        block.push(text.len() as u8);
        block.extend_from_slice(text.as_bytes());
    }
}

/// A block that brings `fields` into the peer's table behind what is `indexed` by the static one, and one that names them there.
fn blocks(indexed: &[u8], fields: &[(&str, &str)]) -> (Vec<u8>, Vec<u8>) {
    let (mut first, mut next) = (indexed.to_vec(), indexed.to_vec());
    for (at, (name, value)) in fields.iter().enumerate() {
        field(&mut first, name, value);
        // The table's newest entry is 62.
        next.push(0x80 | (62 + fields.len() - 1 - at) as u8);
    }
    (first, next)
}

/// Finds the ends of streams among frames that come whole, as they do where everything fits into the pipe.
fn ends(mut bytes: &[u8], mut each: impl FnMut(u32), mut settings: impl FnMut()) {
    while let Some((header, rest)) = bytes.split_first_chunk::<9>() {
        let [a, b, c, kind, flags, id @ ..] = *header;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        assert!(rest.len() >= length, "frames come whole");
        match kind {
            DATA | HEADERS if flags & ENDS_STREAM != 0 => each(u32::from_be_bytes(id)),
            SETTINGS if flags & 1 == 0 => settings(),
            _ => {}
        }
        bytes = &rest[length..];
    }
    assert!(bytes.is_empty(), "frames come whole");
}

async fn ask(reactor: Rc<Reactor>, pipe: PipeEnd, wanted: Rc<Cell<u64>>, done: Rc<Cell<u64>>) {
    let fields =
        [(":path", "/api/7/items/42"), (":authority", "www.example.com"), ("user-agent", "h2load"), ("accept", "*/*")];
    let (first, next) = blocks(&[0x82, 0x86], &fields);
    let mut out = reactor.take_vec();
    out.extend_from_slice(PREFACE);
    begin(&mut out);
    let mut stream = 1;
    loop {
        while done.get() == wanted.get() {
            reactor.yield_now().await;
        }
        for _ in 0..AT_ONCE {
            frame(&mut out, HEADERS, ENDS_STREAM | ENDS_HEADERS, stream, if stream == 1 { &first } else { &next });
            stream += 2;
        }
        let mut open = AT_ONCE;
        while open > 0 {
            if !out.is_empty() {
                pipe.send_one(Segment::Owned(std::mem::replace(&mut out, reactor.take_vec())));
            }
            let bytes = poll_fn(|_| pipe.poll_recv()).await.expect("nobody resets").expect("nobody hangs up");
            ends(&bytes, |_| open -= 1, || frame(&mut out, SETTINGS, 1, 0, &[]));
        }
        done.set(done.get() + 1);
    }
}

async fn serve_http2(reactor: Rc<Reactor>, listener: MemoryListener) {
    let body = messages::SMALL_RESPONSE.rsplit("\r\n").next().expect("a body");
    let fields = [
        ("server", "nginx/1.22.1"),
        ("date", "Thu, 01 Jan 2026 00:00:00 GMT"),
        ("content-type", "text/plain"),
        ("content-length", "46"),
    ];
    let (first, next) = blocks(&[0x88], &fields);
    let mut block = &first;
    let pipe = poll_fn(|_| listener.poll_accept(&reactor)).await;
    let mut out = reactor.take_vec();
    begin(&mut out);
    let mut skip = PREFACE.len();
    loop {
        let bytes = poll_fn(|_| pipe.poll_recv()).await.expect("nobody resets").expect("nobody hangs up");
        let (mut ended, mut asked) = (Vec::with_capacity(AT_ONCE as usize), false);
        ends(&bytes[std::mem::take(&mut skip)..], |stream| ended.push(stream), || asked = true);
        if asked {
            frame(&mut out, SETTINGS, 1, 0, &[]);
        }
        for stream in ended {
            frame(&mut out, HEADERS, ENDS_HEADERS, stream, block);
            frame(&mut out, DATA, ENDS_STREAM, stream, body.as_bytes());
            block = &next;
        }
        if !out.is_empty() {
            pipe.send_one(Segment::Owned(std::mem::replace(&mut out, reactor.take_vec())));
        }
    }
}

/// Connections with a task each, as the proxy opens them.
async fn serve_http1(reactor: Rc<Reactor>, listener: MemoryListener) {
    loop {
        let pipe = poll_fn(|_| listener.poll_accept(&reactor)).await;
        reactor.spawn(async move {
            loop {
                let bytes = poll_fn(|_| pipe.poll_recv()).await.expect("nobody resets").expect("nobody hangs up");
                assert!(bytes.ends_with(b"\r\n\r\n"), "heads come whole");
                pipe.send_one(Segment::Static(messages::SMALL_RESPONSE.as_bytes()));
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_exchange_is_counted() {
        for origin in [Origin::Http1, Origin::Http2] {
            let rig = Rig::new(origin);
            rig.run(3);
            rig.check();
            assert_eq!(rig.done.get(), WARM_UP + 3);
        }
    }
}
