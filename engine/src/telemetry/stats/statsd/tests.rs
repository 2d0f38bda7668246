//! Sinks against sockets of the kernel; nothing in them waits.

use super::*;
use crate::stats::{ClusterStats, Reader};
use ringway_config::model::Address;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::time::{Duration, Instant};

fn config(target: EndpointTarget, max_bytes_per_datagram: usize) -> Statsd {
    Statsd { dialect: StatsdDialect::Plain, target, prefix: "edge".into(), max_bytes_per_datagram }
}

fn at(address: std::net::SocketAddr) -> EndpointTarget {
    EndpointTarget::Address(Address::Ip(address))
}

/// A registry with clusters, and a sink to which a report is added.
fn reported(config: &Statsd, clusters: usize) -> (Arc<Registry>, Sink) {
    let registry = Registry::new();
    let mut reader = Reader::new(&registry, 0, 0);
    (0..clusters).for_each(|index| {
        registry.scope::<ClusterStats>(&format!("app-{index}"), 0).upstream_rq_total.inc();
    });
    let mut sink = Sink::new(config, &registry);
    reader.begin(&registry, 1);
    while reader.next(&registry, |reading| sink.add(reading)) {}
    sink.finish();
    (registry, sink)
}

/// Sends all there is; returns how many datagrams were sent or lost.
fn send_all(sink: &mut Sink) -> usize {
    std::iter::from_fn(|| (sink.send(true) == Progress::One).then_some(())).count()
}

fn received(socket: &UdpSocket) -> Vec<String> {
    socket.set_nonblocking(true).expect("a socket");
    let mut datagram = [0; 65536];
    let next = || socket.recv(&mut datagram).ok().map(|len| String::from_utf8(datagram[..len].to_vec()).expect("text"));
    std::iter::from_fn(next).collect()
}

#[test]
fn datagrams_are_as_full_as_they_may_be() {
    let receiver = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let target = at(receiver.local_addr().expect("bound"));
    let mut sizes = Vec::new();
    for most in [256, 1432, 65_507, 20] {
        let (_registry, mut sink) = reported(&config(target.clone(), most), 8);
        let count = send_all(&mut sink);
        assert_eq!(sink.send(true), Progress::Done);
        let datagrams = received(&receiver);
        assert_eq!(datagrams.len(), count);
        let lines: usize = datagrams.iter().map(|datagram| datagram.lines().count()).sum();
        sizes.push((count, lines));
        for (index, datagram) in datagrams.iter().enumerate() {
            let is_one_line = datagram.lines().count() == 1;
            assert!(datagram.len() <= most || is_one_line, "{datagram}");
            assert!(!datagram.ends_with('\n'));
            let next = datagrams.get(index + 1).and_then(|next| next.lines().next());
            assert!(next.is_none_or(|line| datagram.len() + 1 + line.len() > most), "{line:?} fits", line = next);
        }
        assert_eq!((sink.stats.datagrams_sent.get(), sink.stats.datagrams_lost.get()), (count as u64, 0));
    }
    let [small, usual, large, least] = sizes[..] else { unreachable!("four") };
    assert!(small.0 > usual.0 && usual.0 > large.0 && large.0 == 1, "{sizes:?}");
    assert!(small.1 == usual.1 && usual.1 == large.1 && least.0 == least.1, "{sizes:?}");
}

#[test]
fn a_receiver_that_is_not_there_costs_datagrams_and_is_found_when_it_comes() {
    let closed = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a port");
    let (registry, mut sink) = reported(&config(at(closed), 256), 4);
    let count = send_all(&mut sink) as u64;
    assert!(count > 3 && sink.is_failing);
    assert!(sink.stats.datagrams_lost.get() >= count / 2, "{} of {count}", sink.stats.datagrams_lost.get());
    let Ok(receiver) = UdpSocket::bind(closed) else { return };
    let lost = sink.stats.datagrams_lost.get();
    let mut reader = Reader::new(&registry, 0, 0);
    reader.begin(&registry, 2);
    sink.begin(2);
    while reader.next(&registry, |reading| sink.add(reading)) {}
    sink.finish();
    send_all(&mut sink);
    assert!(!received(&receiver).is_empty());
    // What was reported late belongs to the datagrams before.
    assert!(sink.stats.datagrams_lost.get() <= lost + 1);
    reader.begin(&registry, 3);
    sink.begin(3);
    while reader.next(&registry, |reading| sink.add(reading)) {}
    sink.finish();
    send_all(&mut sink);
    assert_eq!((sink.send(true), sink.is_failing), (Progress::Done, false));
}

/// More clusters than a Unix socket has room for datagrams (net.unix.max_dgram_qlen: 10 or 512).
const QUEUE: usize = 600;

#[test]
fn a_full_unix_socket_is_told_from_one_that_is_gone() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("dsd.sock");
    let target = EndpointTarget::Address(Address::Unix(path.clone()));
    let (_registry, mut sink) = reported(&config(target, 256), QUEUE);
    // Nothing listens yet.
    assert_eq!((sink.send(false), sink.stats.datagrams_lost.get()), (Progress::One, 1));
    let receiver = UnixDatagram::bind(&path).expect("a socket");
    let mut sent = 0;
    let last = loop {
        match sink.send(false) {
            Progress::One => sent += 1,
            other => break other,
        }
    };
    assert!(sent > 0 && sink.stats.datagrams_lost.get() == 1);
    assert_eq!((last, sink.send(false)), (Progress::Full, Progress::Full), "the kernel holds {sent} datagrams");
    let mut datagram = [0; 4096];
    receiver.recv(&mut datagram).expect("a datagram");
    assert_eq!(sink.send(false), Progress::One);
    // Patience has an end.
    assert_eq!(
        (sink.send(false), sink.send(true), sink.stats.datagrams_lost.get()),
        (Progress::Full, Progress::One, 2)
    );
    // The receiver starts again, with another socket at the same path.
    drop(receiver);
    std::fs::remove_file(&path).expect("it is there");
    let again = UnixDatagram::bind(&path).expect("a socket");
    assert_eq!((sink.send(false), sink.stats.datagrams_lost.get()), (Progress::One, 3));
    assert_eq!((sink.send(false), sink.stats.datagrams_lost.get()), (Progress::One, 3));
    assert!(again.recv(&mut datagram).expect("a datagram") > 0);
}

#[test]
fn a_name_is_looked_up_meanwhile() {
    let receiver = UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = receiver.local_addr().expect("bound").port();
    let mut config = config(EndpointTarget::Name { host: "localhost".into(), port }, 256);
    let (_registry, mut sink) = reported(&config, 1);
    assert_eq!((sink.send(true), sink.stats.datagrams_lost.get()), (Progress::One, 1), "it is not known yet");
    sink.look_up(100_000_000);
    let end = Instant::now() + Duration::from_secs(60);
    while sink.stats.datagrams_sent.get() == 0 {
        assert!(Instant::now() < end, "the name is not found");
        (_, sink) = reported(&config, 1);
        sink.look_up(100_000_000);
        std::thread::sleep(Duration::from_millis(20));
        sink.send(true);
    }
    // One that does not exist: it says so, and is not looked up again before a minute is over.
    config.target = EndpointTarget::Name { host: "no-such-name.invalid".into(), port };
    let (_registry, mut sink) = reported(&config, 1);
    sink.look_up(100_000_000);
    assert_eq!((sink.send(true), sink.is_failing), (Progress::One, true));
}

#[test]
fn names_of_sinks() {
    let at = |text: &str| scope_name(&config(at(text.parse().expect("an address")), 256));
    assert_eq!(at("127.0.0.1:8125"), "statsd.127.0.0.1_8125");
    let name = EndpointTarget::Name { host: "agent".into(), port: 8125 };
    assert_eq!(scope_name(&Statsd { dialect: StatsdDialect::Datadog, ..config(name, 256) }), "dog_statsd.agent_8125");
}
