//! Connecting: it never blocks the shard, can be given up at any time, and reports what the kernel says.

use crate::support::{Ring, flushed, in_child, listener, open_descriptors, patient, recv};
use ringway::net::{Loopback, sys};
use ringway::ring::{Segment, Socket, Timer};
use ringway_config::model::Address;
use socket2::{Domain, Protocol, Type};
use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::task::Poll;
use std::time::Duration;

fn connect(ring: &Ring, address: SocketAddr) -> Socket {
    let (fd, target) = sys::stream_socket(&Address::Ip(address), Loopback::AsSystem).unwrap();
    Socket::connect(ring, fd, target)
}

async fn connected(socket: &Socket) -> std::io::Result<()> {
    poll_fn(|_| socket.poll_connected()).await
}

#[test]
fn nobody_listens() {
    let ring = Ring::new();
    // Bound and not listening: no other socket can get the port meanwhile.
    let bound = socket2::Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    bound.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let socket = connect(&ring, bound.local_addr().unwrap().as_socket().unwrap());
    ring.run(async move {
        // What is queued on a connection that never stands is dropped with it.
        socket.send_one(Segment::Static(b"early"));
        assert_eq!(connected(&socket).await.unwrap_err().raw_os_error(), Some(libc::ECONNREFUSED));
        assert_eq!(flushed(&socket, 0).await.unwrap_err().raw_os_error(), Some(libc::ECONNREFUSED));
        assert!(!matches!(recv(&socket).await, Ok(Some(_))));
    });
    ring.settle(|facts| facts.sockets == 0);
}

#[test]
fn what_is_queued_early_goes_out_once_connected() {
    let ring = Ring::new();
    let listener = listener();
    let socket = connect(&ring, listener.local_addr().unwrap());
    socket.send_one(Segment::Static(b"hello "));
    socket.send(&mut vec![Segment::Static(b"wor"), Segment::Static(b"ld")]);
    let peer = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        patient(&peer);
        let mut bytes = [0; 11];
        peer.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"hello world");
        peer.write_all(b"welcome").unwrap();
    });
    ring.run(async move {
        connected(&socket).await.unwrap();
        assert_eq!(&*recv(&socket).await.unwrap().unwrap(), b"welcome");
    });
    peer.join().unwrap();
}

/// A task that asks for bytes first must be woken too.
#[test]
fn a_receive_asked_for_before_the_connection_stands_gets_its_bytes() {
    let ring = Ring::new();
    let listener = listener();
    let socket = connect(&ring, listener.local_addr().unwrap());
    let peer = std::thread::spawn(move || {
        let (mut peer, _) = listener.accept().unwrap();
        peer.write_all(b"banner").unwrap();
        peer
    });
    ring.run(async move {
        assert_eq!(&*recv(&socket).await.unwrap().unwrap(), b"banner");
    });
    peer.join().unwrap();
}

/// A listener whose backlog is full: further connects wait without end.
fn full_backlog() -> (socket2::Socket, SocketAddr, Vec<socket2::Socket>) {
    let listener = socket2::Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
    listener.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    listener.listen(0).unwrap();
    let address = listener.local_addr().unwrap().as_socket().unwrap();
    let fill = (0..4)
        .map(|_| {
            let socket = socket2::Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
            socket.set_nonblocking(true).unwrap();
            let _ = socket.connect(&address.into());
            socket
        })
        .collect();
    (listener, address, fill)
}

#[test]
fn a_deadline_ends_a_connect_that_hangs() {
    let ring = Ring::new();
    let (_listener, address, _fill) = full_backlog();
    let socket = connect(&ring, address);
    let reactor = ring.0.clone();
    ring.run(async move {
        let timer = Timer::new(&reactor);
        timer.arm_in(Duration::from_millis(80));
        let start = reactor.now();
        let timed_out = poll_fn(|_| match socket.poll_connected() {
            Poll::Ready(result) => panic!("connected to a full backlog: {result:?}"),
            Poll::Pending if timer.fired() => Poll::Ready(true),
            Poll::Pending => Poll::Pending,
        });
        assert!(timed_out.await);
        assert!(reactor.now() - start >= 80_000_000, "the deadline came early");
    });
    // The socket was dropped with the future: its connect is cancelled, not waited for.
    ring.settle(|facts| facts.sockets == 0);
}

#[test]
fn a_connect_dropped_at_any_moment_leaves_nothing_behind() {
    in_child("connect::a_connect_dropped_at_any_moment_leaves_nothing_behind", &[("MALLOC_PERTURB_", "165")], || {
        let ring = Ring::new();
        let (_full, hanging, _fill) = full_backlog();
        let listener = listener();
        let standing = listener.local_addr().unwrap();
        ring.sleep(1);
        let before = open_descriptors();
        for round in 0..300 {
            let socket = connect(&ring, if round % 2 == 0 { hanging } else { standing });
            let reactor = ring.0.clone();
            if round % 3 == 0 {
                socket.send_one(Segment::Owned(vec![1; 100_000]));
            }
            ring.run(async move {
                for _ in 0..round % 4 {
                    reactor.yield_now().await;
                }
                drop(socket);
            });
        }
        ring.settle(|facts| facts.sockets == 0);
        ring.sleep(1);
        assert_eq!(open_descriptors(), before, "descriptors leak");
        assert_eq!(ring.facts().stale_completions, 0);
    });
}
