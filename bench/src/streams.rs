//! Whole exchanges of HTTP/2: a client with 32 streams at a time, the proxy, and an origin that speaks HTTP/2 or HTTP/1, on
//! one reactor and joined by in-memory pipes. As in exchange.rs, everything is warm, and both ends do little.

use crate::exchange::{ORIGIN, Rig, Turns};
use crate::{config, messages};
use ringway::codec::h2::frame::{self, FRAME_MAX, INITIAL_WINDOW, PREFACE, STREAM_MAX, flag, kind};
use ringway::net::{MemoryListener, PipeEnd};
use ringway::ring::{Reactor, Segment};
use ringway::shard::MemoryShard;
use ringway_config::model::Address;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;

/// Requests that go out together; the next ones follow when all are answered.
pub const AT_ONCE: u32 = 32;
/// Rounds of that many before anything is measured.
const WARM_UP: u64 = 50;
const CAPACITY: usize = 1 << 20;

/// What the origin speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    Http1,
    Http2,
}

/// 32 exchanges, all at the same time.
pub fn exchanges(origin: Origin) -> impl FnMut() {
    let rig = rig(origin);
    move || rig.run(1)
}

fn rig(origin: Origin) -> Rig {
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
    let rig = Rig::with_client(shard, |reactor, turns| ask(reactor, pipe, turns));
    rig.run(WARM_UP);
    check(&rig);
    rig
}

/// Every exchange so far was routed and answered with 200.
fn check(rig: &Rig) {
    let exchanges = rig.done() as i64 * i64::from(AT_ONCE);
    for name in ["http.bench.downstream_rq_2xx", "http.bench.downstream_rq_http2_total", "cluster.app7.upstream_rq_2xx"]
    {
        assert_eq!(rig.stat(name), exchanges, "{name}");
    }
    assert_eq!(rig.stat("http.bench.downstream_cx_total"), 1);
    assert_eq!(rig.shard.reactor.facts().panics, 0, "a task panicked");
}

/// SETTINGS, and a window of the connection that never ends here.
fn begin(out: &mut Vec<u8>) {
    frame::settings(out, &[]);
    frame::window_update(out, 0, STREAM_MAX - INITIAL_WINDOW);
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
        let [a, b, c, of_kind, flags, id @ ..] = *header;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        assert!(rest.len() >= length, "frames come whole");
        match of_kind {
            kind::DATA | kind::HEADERS if flags & flag::END_STREAM != 0 => each(u32::from_be_bytes(id)),
            kind::SETTINGS if flags & flag::ACK == 0 => settings(),
            _ => {}
        }
        bytes = &rest[length..];
    }
    assert!(bytes.is_empty(), "frames come whole");
}

async fn ask(reactor: Rc<Reactor>, pipe: PipeEnd, turns: Turns) {
    let fields =
        [(":path", "/api/7/items/42"), (":authority", "www.example.com"), ("user-agent", "h2load"), ("accept", "*/*")];
    let (first, next) = blocks(&[0x82, 0x86], &fields);
    let mut out = reactor.take_vec();
    out.extend_from_slice(PREFACE);
    begin(&mut out);
    let mut stream = 1;
    loop {
        turns.next(&reactor).await;
        for _ in 0..AT_ONCE {
            let block = if stream == 1 { &first } else { &next };
            frame::headers(&mut out, stream, true, FRAME_MAX, |out| out.extend_from_slice(block));
            stream += 2;
        }
        let mut open = AT_ONCE;
        while open > 0 {
            if !out.is_empty() {
                pipe.send_one(Segment::Owned(std::mem::replace(&mut out, reactor.take_vec())));
            }
            let bytes = poll_fn(|_| pipe.poll_recv()).await.expect("nobody resets").expect("nobody hangs up");
            ends(&bytes, |_| open -= 1, || frame::settings_ack(&mut out));
        }
        turns.end();
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
            frame::settings_ack(&mut out);
        }
        for stream in ended {
            frame::headers(&mut out, stream, false, FRAME_MAX, |out| out.extend_from_slice(block));
            out.extend_from_slice(&frame::data_header(body.len(), stream, true));
            out.extend_from_slice(body.as_bytes());
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
            let rig = rig(origin);
            rig.run(3);
            check(&rig);
            assert_eq!(rig.done(), WARM_UP + 3);
        }
    }
}
