//! The same over TLS on both sides: what the library allocates for an exchange is counted, so that it does not grow unseen.

use super::veil::{Relay, Veil, files};
use super::{CONFIG, IS_OWN, Kind, Reader, count_exchanges, kinds, receive};
use ringway::net::{MemoryListener, PipeEnd, Protocol};
use ringway::ring::{Reactor, Segment};
use ringway::shard::MemoryShard;
use ringway_config::model::Address;
use std::cell::Cell;
use std::future::poll_fn;
use std::rc::Rc;

/// The peer's end of a connection that goes on in `wire`; what the peer's TLS allocates is not counted.
fn cover(reactor: &Rc<Reactor>, wire: PipeEnd, tls: rustls::Connection) -> PipeEnd {
    let (mut relay, near) = Relay::new(reactor, wire, tls);
    reactor.spawn(async move {
        poll_fn(|_| {
            let before = IS_OWN.replace(true);
            let polled = relay.poll();
            IS_OWN.set(before);
            polled
        })
        .await;
    });
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

/// `each`: allocations that an exchange may make.
fn exchanges_allocate(index: usize, each: u64) {
    let kind = || kinds().into_iter().nth(index).expect("a kind");
    let [certificate, key] = files();
    let config = CONFIG
        .replace(
            "127.0.0.1:1\"\n",
            &format!("127.0.0.1:1\"\ntls = {{ certificate = {certificate:?}, key = {key:?} }}\n"),
        )
        .replace(
            "name = \"app\"\nendp",
            &format!("name = \"app\"\ntls = {{ sni = \"h\", ca = {certificate:?} }}\nendp"),
        );
    let config = ringway_config::load_str("test.toml", &config).unwrap_or_else(|problems| panic!("{problems}"));
    let shard = MemoryShard::new(config, 1);
    let veil = Rc::new(Veil::new((Protocol::Http1, Protocol::Http1)));
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
    // One for each record that is opened or sealed.
    for (index, each) in [(0, 4), (2, 5)] {
        exchanges_allocate(index, each);
    }
}
