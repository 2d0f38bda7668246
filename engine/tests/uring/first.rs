//! The first receive of an accepted socket: it brings one buffer and then rests, and nothing is missed for it.

use crate::support::{Pattern, Ring, expect, in_child, pair, recv, reset};
use ringway::ring::{PoolSize, Reactor, ReactorOptions, Segment, Socket};
use std::cell::Cell;
use std::future::poll_fn;
use std::io::Write;
use std::net::TcpStream;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

fn accepted(ring: &Ring) -> (Socket, TcpStream) {
    let (ours, peer) = pair();
    (Socket::accepted(&ring.0, ours), peer)
}

/// Run `test` with an accepted socket and its peer.
fn with_accepted(test: impl AsyncFnOnce(Rc<Reactor>, Socket, TcpStream) + 'static) {
    let ring = Ring::new();
    let (socket, peer) = accepted(&ring);
    let reactor = ring.0.clone();
    ring.run(async move { test(reactor, socket, peer).await });
}

/// Longer than the ring lets a connection rest after its first bytes.
const LONG_AFTER: Duration = Duration::from_millis(120);

/// What the first receive is for: a connection of one request ends with nothing left to cancel, whose completion would be
/// the third. A close completes silently.
#[test]
fn a_connection_of_one_exchange_takes_two_completions() {
    with_accepted(async |reactor, socket, mut peer| {
        let before = reactor.facts();
        peer.write_all(b"request").unwrap();
        assert_eq!(&*recv(&socket).await.unwrap().unwrap(), b"request");
        socket.send_one(Segment::Static(b"response"));
        poll_fn(|_| socket.poll_flushed(0)).await.unwrap();
        drop(socket);
        while reactor.facts().sockets > 0 {
            reactor.yield_now().await;
        }
        reactor.yield_now().await;
        assert_eq!(reactor.facts().completions - before.completions, 2, "a receive and a send");
    });
}

#[test]
fn what_comes_between_the_first_receive_and_the_second_is_there() {
    with_accepted(async |reactor, socket, mut peer| {
        peer.write_all(b"one").unwrap();
        assert_eq!(&*recv(&socket).await.unwrap().unwrap(), b"one");
        assert!(!socket.has_received_bytes());
        peer.write_all(b"two").unwrap();
        // Sent over loopback, so it is there at once, though only in the kernel.
        assert!(!socket.has_received(), "the first receive is for one buffer");
        assert!(socket.has_received_bytes(), "bytes that a close would reset");
        assert_eq!(&*recv(&socket).await.unwrap().unwrap(), b"two");
        peer.write_all(b"three").unwrap();
        reactor.sleep(Duration::from_millis(5)).await;
        assert!(socket.has_received(), "from the second receive on, as many come as there are");
        assert_eq!(&*recv(&socket).await.unwrap().unwrap(), b"three");
        drop(peer);
        assert!(recv(&socket).await.unwrap().is_none());
    });
}

/// It begins with waiting, and bytes that came before it must not be waited for.
#[test]
fn bytes_that_came_before_the_first_receive_are_not_waited_for() {
    let ring = Ring::new();
    for end in [false, true] {
        let (socket, mut peer) = accepted(&ring);
        if !end {
            peer.write_all(b"early").unwrap();
        }
        drop(peer);
        ring.sleep(2);
        ring.run(async move {
            if !end {
                assert_eq!(&*recv(&socket).await.unwrap().unwrap(), b"early");
            }
            assert!(recv(&socket).await.unwrap().is_none());
        });
    }
}

/// A client that goes away while its first request is answered: the task that was woken last hears of it, though it asks
/// for nothing.
#[test]
fn a_client_that_leaves_during_its_first_request_is_noticed() {
    for leaves_late in [false, true] {
        with_accepted(async move |reactor, socket, mut peer| {
            peer.write_all(b"request").unwrap();
            assert_eq!(&*recv(&socket).await.unwrap().unwrap(), b"request");
            if leaves_late {
                reactor.sleep(LONG_AFTER).await;
            }
            reset(peer);
            poll_fn(|_| if socket.is_broken() { Poll::Ready(()) } else { Poll::Pending }).await;
        });
    }
}

#[test]
fn a_connection_that_is_done_in_time_is_not_listened_to_again() {
    let ring = Ring::new();
    let mut peers = Vec::new();
    for i in 0..10 {
        let (socket, mut peer) = accepted(&ring);
        let reactor = ring.0.clone();
        ring.run(async move {
            peer.write_all(b"request").unwrap();
            recv(&socket).await.unwrap().unwrap();
            if i % 2 == 0 {
                // Asked for more by itself: one receive, not two.
                assert!(poll_fn(|_| Poll::Ready(socket.poll_recv())).await.is_pending());
                reactor.spawn(async move {
                    assert!(recv(&socket).await.unwrap().is_none());
                });
            }
            peers.push(peer);
        });
        peers = Vec::new();
    }
    ring.settle(|facts| facts.sockets == 0);
    let before = ring.facts();
    ring.sleep(100);
    let turns = ring.facts().turns - before.turns;
    assert!(turns <= 6, "{turns} turns with no socket left");
    assert_eq!((ring.facts().panics, ring.facts().stale_completions), (0, 0));
}

/// Splice reads from the descriptor itself: once the receive is stopped, the ring must not begin another.
#[test]
fn a_stopped_socket_is_not_listened_to_again() {
    with_accepted(async |reactor, socket, mut peer| {
        peer.write_all(b"head").unwrap();
        assert_eq!(&*recv(&socket).await.unwrap().unwrap(), b"head");
        poll_fn(|_| socket.poll_receive_stopped()).await;
        peer.write_all(b"for splice").unwrap();
        reactor.sleep(LONG_AFTER).await;
        assert!(!socket.has_received(), "the ring took what splice was to read");
    });
}

#[test]
fn one_buffer_at_a_time_stays_that_way() {
    with_accepted(async |reactor, socket, mut peer| {
        peer.write_all(b"head").unwrap();
        assert_eq!(&*recv(&socket).await.unwrap().unwrap(), b"head");
        socket.set_receive_once(true);
        peer.write_all(b"body").unwrap();
        reactor.sleep(LONG_AFTER).await;
        assert!(!socket.has_received(), "more came than was asked for");
        assert_eq!(&*recv(&socket).await.unwrap().unwrap(), b"body");
    });
}

/// Closed while the first receive is under way, while it has just completed, and while it rests, with slots and
/// descriptors used again at once.
#[test]
fn a_first_receive_closed_at_any_time_harms_nobody() {
    in_child("first::a_first_receive_closed_at_any_time_harms_nobody", &[("MALLOC_PERTURB_", "165")], || {
        let ring = Ring::with_buffers(16);
        let (steady, mut steady_peer) = ring.pair();
        let pattern = Pattern::new(9);
        let source = pattern.clone();
        let seen = Rc::new(Cell::new(0));
        let count = seen.clone();
        ring.spawn(async move {
            for round in 0..200 {
                expect_at(&steady, &pattern, round * 1000, 1000).await;
                count.set(round + 1);
            }
        });
        for round in 0..200 {
            let (socket, mut peer) = accepted(&ring);
            let reactor = ring.0.clone();
            if round % 4 > 0 {
                peer.write_all(b"request").unwrap();
            }
            ring.run(async move {
                match round % 4 {
                    // Under way, with and without bytes that are on their way.
                    0 | 1 => assert!(poll_fn(|_| Poll::Ready(socket.poll_recv())).await.is_pending()),
                    2 => drop(recv(&socket).await.unwrap()),
                    _ => {
                        drop(recv(&socket).await.unwrap());
                        reactor.sleep(Duration::from_millis(55)).await;
                    }
                }
                if round % 3 == 0 {
                    reactor.yield_now().await;
                }
                drop(socket);
            });
            steady_peer.write_all(&source.bytes(round * 1000, 1000)).unwrap();
            drop(peer);
        }
        ring.finish(&seen, 200);
        ring.settle(|facts| facts.sockets == 0 && facts.buffers_in_use == 0);
        assert_eq!((ring.facts().stale_completions, ring.facts().panics), (0, 0));
    });
}

async fn expect_at(socket: &Socket, pattern: &Pattern, at: usize, len: usize) {
    let mut got = 0;
    while got < len {
        let buf = recv(socket).await.unwrap().unwrap();
        pattern.check(at + got, &buf);
        got += buf.len();
    }
    assert_eq!(got, len);
}

/// ENOBUFS at the first receive, and a completion queue that overflows: the bytes still come.
#[test]
fn first_receives_do_without_buffers_and_through_a_tiny_ring() {
    const SOCKETS: usize = 48;
    const LEN: usize = 20_000;
    let ring = Ring::with(&ReactorOptions {
        ring_entries: 1,
        buffers: PoolSize { count: 2, size: 4096 },
        ..ReactorOptions::default()
    });
    let done = Rc::new(Cell::new(0));
    let mut peers = Vec::new();
    for i in 0..SOCKETS {
        let (socket, mut peer) = accepted(&ring);
        let pattern = Pattern::new(i as u64);
        peer.write_all(&pattern.bytes(0, LEN)).unwrap();
        peers.push(peer);
        let done = done.clone();
        ring.spawn(async move {
            expect(&socket, &pattern, LEN).await;
            done.set(done.get() + 1);
        });
    }
    ring.finish(&done, SOCKETS);
    assert!(ring.facts().out_of_buffers > 0, "the pool never ran out: the test does not test");
    assert_eq!(ring.facts().buffers_in_use, 0);
}
