//! The same over TLS on both sides: what the library allocates for an exchange is counted, so that it does not grow unseen.

use super::veil::{Relay, Veil, files};
use super::{CONFIG, IS_OWN, Kind, LIVE, Reader, count_exchanges, h2, kinds, receive, shard};
use ringway::net::{MemoryListener, PipeEnd, Protocol};
use ringway::ring::{Reactor, Segment};
use ringway::shard::MemoryShard;
use ringway_config::model::Address;
use std::cell::Cell;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// The peer's end of a connection that goes on in `wire`; what the peer's TLS allocates is not counted.
fn cover(reactor: &Rc<Reactor>, wire: PipeEnd, tls: rustls::Connection) -> PipeEnd {
    let (mut relay, near) = Relay::new(reactor, wire, tls);
    reactor.spawn(async move { poll_fn(|_| uncounted(|| relay.poll())).await });
    near
}

async fn serve(reactor: Rc<Reactor>, listener: MemoryListener, veil: Rc<Veil>, kind: Kind) {
    let end = poll_fn(|_| listener.poll_accept(&reactor)).await;
    let end = cover(&reactor, end, veil.server());
    let mut reader = Reader::new(super::Body::Length(kind.request_body));
    loop {
        for _ in 0..receive(&end, &mut reader).await {
            end.send_one(Segment::Static(kind.response));
        }
    }
}

/// The configuration of all tests here, and its listener speaks TLS.
fn over_tls() -> String {
    let [certificate, key] = files();
    let tls = format!("127.0.0.1:1\"\ntls = {{ certificate = {certificate:?}, key = {key:?} }}\n");
    CONFIG.replace("127.0.0.1:1\"\n", &tls)
}

/// `each`: allocations that an exchange may make.
fn exchanges_allocate(index: usize, each: u64) {
    let kind = || kinds().into_iter().nth(index).expect("a kind");
    let config = over_tls().replace(
        "name = \"app\"\nendp",
        &format!("name = \"app\"\ntls = {{ sni = \"h\", ca = {:?} }}\nendp", files()[0]),
    );
    let config = ringway_config::load_str("test.toml", &config).unwrap_or_else(|problems| panic!("{problems}"));
    let shard = MemoryShard::new(config, 1);
    let veil = Rc::new(Veil::new((Protocol::Http1, Protocol::Http1), &shard.reactor));
    let address = Address::Ip("127.0.0.1:2".parse().expect("an address"));
    let listener = shard.network.listen(address, 1 << 20);
    shard.reactor.spawn(serve(shard.reactor.clone(), listener, veil.clone(), kind()));
    let client = shard.connect(0, "192.0.2.1:40000".parse().expect("an address"));
    let client = cover(&shard.reactor, client, veil.client());
    let (answered, kind) = (Rc::new(Cell::new(0)), kind());
    let (counter, mut reader, request) = (answered.clone(), Reader::new(kind.response_body), kind.request);
    shard.reactor.spawn(async move {
        loop {
            client.send_one(Segment::Static(request));
            while receive(&client, &mut reader).await == 0 {}
            counter.set(counter.get() + 1);
        }
    });
    count_exchanges(&format!("{} over TLS", kind.name), &shard, &answered, (200, 2000), each);
    assert!(shard.registry.value("cluster.app.ssl.handshake").is_some_and(|handshakes| handshakes > 0));
}

#[test]
fn over_tls_on_both_sides() {
    // One for each record that is opened or sealed, and now and then one for a vector that has to grow.
    for (index, each) in [(0, 4), (2, 5)] {
        exchanges_allocate(index, each);
    }
}

/// Bytes of heap that TLS adds to an idle connection: 296 for the stream, and the rest is the library's state, of which 640 are
/// room for a handshake that is over. The two contexts of AWS-LC's ciphers, of some 600 bytes each, are not counted, since C
/// allocates them. 4 KiB are the budget of it all.
const TLS_BYTES_MAX: i64 = 2640;

/// A client that keeps its connection. What its own TLS takes is not counted.
struct Kept {
    end: PipeEnd,
    tls: Option<rustls::Connection>,
}

/// Does what is the test's own.
pub fn uncounted<T>(work: impl FnOnce() -> T) -> T {
    let before = IS_OWN.replace(true);
    let done = work();
    IS_OWN.set(before);
    done
}

impl Kept {
    /// Sends what `say` adds to the plain bytes, and takes what has come, until `is_done` with that.
    fn exchange(&mut self, shard: &MemoryShard, say: &[u8], mut is_done: impl FnMut(&[u8]) -> bool) {
        let Some(tls) = &mut self.tls else {
            self.end.write(say);
            while !matches!(self.end.poll_recv(), Poll::Ready(Ok(Some(bytes))) if is_done(&bytes)) {
                shard.reactor.turn();
            }
            return;
        };
        uncounted(|| tls.writer().write_all(say).expect("it has room"));
        loop {
            let (mut out, mut plain) = (Vec::new(), Vec::new());
            uncounted(|| while tls.wants_write() && tls.write_tls(&mut out).is_ok() {});
            if !out.is_empty() {
                self.end.write(&out);
            }
            uncounted(|| drop(out));
            if let Poll::Ready(Ok(Some(bytes))) = self.end.poll_recv() {
                uncounted(|| {
                    let mut rest = &bytes[..];
                    while !rest.is_empty() {
                        tls.read_tls(&mut rest).expect("records");
                        let state = tls.process_new_packets().expect("an honest proxy");
                        plain.resize(plain.len() + state.plaintext_bytes_to_read(), 0);
                        let at = plain.len() - state.plaintext_bytes_to_read();
                        tls.reader().read_exact(&mut plain[at..]).expect("they are there");
                    }
                });
            }
            let done = uncounted(|| !plain.is_empty() && is_done(&plain));
            uncounted(|| drop(plain));
            if done {
                return;
            }
            shard.reactor.turn();
        }
    }
}

/// Bytes of heap of a connection with a few exchanges behind it.
fn idle_bytes(protocol: Protocol, config: &str) -> i64 {
    const CONNECTIONS: usize = 100;
    let (kind, has_tls) = (&kinds()[0], config != CONFIG);
    let shard = shard(kind, config);
    let veil = uncounted(|| Veil::new((protocol, protocol), &shard.reactor));
    let open = |count: usize| -> Vec<Kept> {
        let keep = |i: usize| {
            let end = shard.connect(0, ([192, 0, 2, 1], 1024 + i as u16).into());
            let mut kept = Kept { end, tls: has_tls.then(|| uncounted(|| veil.client())) };
            for exchange in 0..3 {
                match protocol {
                    Protocol::Http1 => {
                        let mut reader = Reader::new(kind.response_body);
                        kept.exchange(&shard, kind.request, |bytes| reader.read(bytes) > 0);
                    }
                    Protocol::Http2 => {
                        let mut said = uncounted(|| h2::asking(exchange));
                        let mut frames = h2::Frames::default();
                        kept.exchange(&shard, &said, |bytes| {
                            let mut ended = false;
                            frames.read(bytes, |kind, flags, _| ended |= h2::ends(kind, flags));
                            ended
                        });
                        uncounted(|| said.clear());
                    }
                }
            }
            kept
        };
        let kept = (0..count).map(keep).collect();
        shard.advance(Duration::from_secs(2));
        kept
    };
    drop(open(64));
    shard.reactor.run_until(|| shard.connections() == 0);
    let mut kept = Vec::with_capacity(CONNECTIONS);
    // What is kept for reuse belongs to no connection.
    shard.reactor.trim();
    let before = LIVE.get();
    kept.extend(open(CONNECTIONS));
    shard.reactor.trim();
    let kernel: usize = kept.iter().map(|kept| kept.end.kernel_memory()).sum();
    let bytes = (LIVE.get() - before - kernel as i64) / CONNECTIONS as i64;
    assert!(shard.connections() >= CONNECTIONS);
    assert_eq!(shard.reactor.facts().buffers_in_use, 0, "idle connections hold no buffers");
    uncounted(|| drop(kept));
    shard.reactor.shut_down();
    bytes
}

#[test]
fn an_idle_connection_with_tls_is_small() {
    for protocol in [Protocol::Http1, Protocol::Http2] {
        let [plain, secured] = [CONFIG, &over_tls()].map(|config| idle_bytes(protocol, config));
        let added = secured - plain;
        println!("{protocol:?}: {secured} bytes of heap per idle connection with TLS, {added} of them for TLS");
        assert!((1..=TLS_BYTES_MAX).contains(&added), "{protocol:?}: {added} bytes; {TLS_BYTES_MAX} are the budget");
    }
}

/// Fingerprints of the client are there as long as the connection is, and only where a text tells them.
#[test]
fn an_idle_connection_keeps_its_fingerprints_in_little_memory() {
    const BOTH_MAX: i64 = 192;
    let without = over_tls();
    let told = "%TLS_JA3_FINGERPRINT% %TLS_JA4_FINGERPRINT% %COMMON_DURATION";
    let with = without.replacen("%COMMON_DURATION", told, 1);
    assert_ne!(with, without);
    let [without, with] = [without, with].map(|config| idle_bytes(Protocol::Http1, &config));
    println!("{} bytes of heap for the fingerprints of an idle connection", with - without);
    assert!((68..=BOTH_MAX).contains(&(with - without)), "{with} bytes; {without} without");
}
