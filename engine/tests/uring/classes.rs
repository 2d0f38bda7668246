//! Short, long and bulk receive buffers: which a socket gets, the change between them, and what happens when they run out.

use crate::support::{Pattern, Ring, in_child, recv};
use ringway::ring::{BULK_SIZE, Buf, PoolSize, Reactor, ReactorOptions, ReceiveClass, Socket};
use std::cell::Cell;
use std::future::poll_fn;
use std::io::Write;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

const SHORT: usize = 4096;
const LONG: usize = 32 * 1024;

/// `count` short buffers of 4 KiB; one long one for each 16 of them, one bulk one for each 64, at least one of each.
fn ring(count: u16) -> Ring {
    Ring::with_buffers(count)
}

/// The next message of `len` bytes, written at once; returns the lengths in which it came.
async fn message(socket: &Socket, peer: &mut std::net::TcpStream, pattern: &Pattern, len: usize) -> Vec<usize> {
    peer.write_all(&pattern.bytes(0, len)).unwrap();
    let mut pieces = Vec::new();
    let mut at = 0;
    while at < len {
        let buf = recv(socket).await.unwrap().unwrap();
        pattern.check(at, &buf);
        at += buf.len();
        pieces.push(buf.len());
    }
    assert_eq!(at, len);
    pieces
}

/// What the long buffers are for: the largest TLS record (RFC 8446 section 5.2) in one piece.
#[test]
fn a_socket_that_asks_for_long_buffers_gets_a_whole_record() {
    let ring = Ring::new();
    for armed_before in [false, true] {
        let (socket, mut peer) = ring.pair();
        ring.run(async move {
            let pattern = Pattern::new(1);
            if armed_before {
                assert!(poll_fn(|_| Poll::Ready(socket.poll_recv())).await.is_pending());
                socket.reactor().yield_now().await;
            }
            socket.set_receive_class(ReceiveClass::Long);
            if armed_before {
                // The receive into short buffers ends, and another begins without being asked.
                socket.reactor().yield_now().await;
                socket.reactor().yield_now().await;
            }
            for _ in 0..10 {
                assert_eq!(message(&socket, &mut peer, &pattern, 16_645).await, [16_645]);
            }
            socket.set_receive_class(ReceiveClass::Short);
            socket.reactor().sleep(Duration::from_millis(2)).await;
            assert_eq!(message(&socket, &mut peer, &pattern, 16_645).await, [16_384, 261]);
        });
    }
}

#[test]
fn a_socket_that_asks_for_bulk_buffers_gets_all_that_has_come() {
    /// In one segment over loopback.
    const MANY: usize = 60_000;
    let ring = ring(64);
    let (socket, mut peer) = ring.pair();
    ring.run(async move {
        let pattern = Pattern::new(7);
        socket.set_receive_once(true);
        socket.set_receive_class(ReceiveClass::Bulk);
        for len in [MANY, 100, MANY] {
            assert_eq!(message(&socket, &mut peer, &pattern, len).await, [len]);
        }
        peer.write_all(&[1; MANY]).unwrap();
        let held = recv(&socket).await.unwrap().unwrap();
        assert_eq!(
            (held.len(), held.charge()),
            (MANY, BULK_SIZE),
            "what is behind what may be received does not count"
        );
        let pieces = message(&socket, &mut peer, &pattern, MANY).await;
        assert_eq!(pieces, [LONG, MANY - LONG], "it was the only one");
        drop(held);
        assert_eq!(message(&socket, &mut peer, &pattern, MANY).await, [MANY]);
    });
    ring.settle(|facts| facts.sockets == 0 && facts.buffers_in_use == 0);
}

#[test]
fn a_socket_that_filled_a_short_buffer_goes_on_with_long_ones() {
    let ring = Ring::new();
    let (socket, mut peer) = ring.pair();
    ring.run(async move {
        let pattern = Pattern::new(2);
        assert_eq!(message(&socket, &mut peer, &pattern, 100).await, [100]);
        let first = message(&socket, &mut peer, &pattern, 16_600).await;
        assert_eq!(first[0], 16_384, "{first:?}");
        for _ in 0..5 {
            socket.reactor().yield_now().await;
            assert_eq!(message(&socket, &mut peer, &pattern, 16_600).await, [16_600]);
        }
    });
}

/// The change needs a cancel and a new receive: while nothing has polled meanwhile, as with a connection in a pool, the
/// end of the stream must still be told.
#[test]
fn a_connection_at_rest_stays_armed_over_the_change() {
    let ring = Ring::new();
    let (socket, mut peer) = ring.pair();
    ring.run(async move {
        let pattern = Pattern::new(3);
        message(&socket, &mut peer, &pattern, 16_600).await;
        assert!(poll_fn(|_| Poll::Ready(socket.poll_recv())).await.is_pending());
        let reactor = socket.reactor().clone();
        for _ in 0..4 {
            reactor.yield_now().await;
        }
        let woken = Rc::new(Cell::new(0));
        let count = woken.clone();
        let keeper = reactor.spawn(poll_fn(move |_| {
            count.set(count.get() + 1);
            Poll::Pending
        }));
        socket.set_receive_waiter(keeper);
        drop(peer);
        while !socket.has_received() {
            reactor.sleep(Duration::from_millis(1)).await;
        }
        assert!(woken.get() >= 2, "the waiter was not told");
        reactor.cancel(keeper);
    });
}

#[test]
fn a_receive_that_is_stopped_during_the_change_stays_stopped() {
    let ring = Ring::new();
    for round in 0..40 {
        let (socket, mut peer) = ring.pair();
        ring.run(async move {
            assert!(poll_fn(|_| Poll::Ready(socket.poll_recv())).await.is_pending());
            socket.reactor().yield_now().await;
            if round % 2 == 0 {
                peer.write_all(&[7; 16_384]).unwrap();
                assert_eq!(recv(&socket).await.unwrap().unwrap().len(), 16_384);
            } else {
                socket.set_receive_class(ReceiveClass::Long);
            }
            if round % 3 == 0 {
                socket.reactor().yield_now().await;
            }
            poll_fn(|_| socket.poll_receive_stopped()).await;
            peer.write_all(b"for splice").unwrap();
            socket.reactor().sleep(Duration::from_millis(2)).await;
            assert!(!socket.has_received(), "the ring took what splice was to read");
        });
    }
}

/// Take long buffers until none is left.
async fn exhaust(reactor: &Rc<Reactor>, hog: &Socket, long: usize) -> Vec<Buf> {
    let mut held = Vec::new();
    while held.len() < long {
        held.push(recv(hog).await.unwrap().unwrap());
    }
    assert_eq!(reactor.facts().buffers_in_use as usize, long);
    held
}

#[test]
fn without_long_buffers_short_ones_serve_and_without_either_the_heap() {
    let ring = ring(64);
    let (hog, mut hog_peer) = ring.pair();
    let (socket, mut peer) = ring.pair();
    let reactor = ring.0.clone();
    ring.run(async move {
        hog.set_receive_class(ReceiveClass::Long);
        socket.set_receive_class(ReceiveClass::Long);
        let writer = std::thread::spawn(move || {
            hog_peer.write_all(&vec![1; 4 * LONG]).unwrap();
            hog_peer
        });
        let held = exhaust(&reactor, &hog, 4).await;
        let _hog_peer = writer.join().unwrap();
        let pattern = Pattern::new(4);
        let pieces = message(&socket, &mut peer, &pattern, 10_000).await;
        assert_eq!(pieces, [SHORT, SHORT, 10_000 - 2 * SHORT], "there are short ones");
        assert_eq!(reactor.facts().heap_buffers, 0);
        let rest: Vec<_> = (0..64).map(|_| reactor.pool().copy_from(b"x")).collect();
        message(&socket, &mut peer, &pattern, 100_000).await;
        assert!(reactor.facts().heap_buffers > 0, "neither are left");
        drop((held, rest));
        // A few messages until the socket has noticed.
        for _ in 0..4 {
            message(&socket, &mut peer, &pattern, 10_000).await;
            reactor.yield_now().await;
        }
        let before = reactor.facts().heap_buffers;
        assert_eq!(message(&socket, &mut peer, &pattern, 10_000).await, [10_000]);
        assert_eq!(reactor.facts().heap_buffers, before);
    });
    ring.settle(|facts| facts.sockets == 0 && facts.buffers_in_use == 0);
}

/// Sockets that change back and forth, are paused by their limit, run out of all kinds and are dropped in between: every
/// byte that comes out is the right one.
#[test]
fn every_byte_arrives_through_all_kinds() {
    in_child("classes::every_byte_arrives_through_all_kinds", &[("MALLOC_PERTURB_", "165")], || {
        const SOCKETS: usize = 6;
        const LEN: usize = 3 << 20;
        let ring = Ring::with(&ReactorOptions {
            ring_entries: 4,
            buffers: PoolSize { count: 32, size: SHORT as u32 },
            receive_limit: 2 * LONG,
        });
        let done = Rc::new(Cell::new(0));
        let mut writers = Vec::new();
        for i in 0..SOCKETS {
            let (socket, mut peer) = ring.pair();
            let pattern = Pattern::new(i as u64);
            let source = pattern.clone();
            writers.push(std::thread::spawn(move || {
                let mut at = 0;
                while at < LEN {
                    let n = (1 + at % 50_021).min(LEN - at);
                    if peer.write_all(&source.bytes(at, n)).is_err() {
                        return;
                    }
                    at += n;
                }
            }));
            let (done, reactor) = (done.clone(), ring.0.clone());
            ring.spawn(async move {
                let (mut at, mut held, mut count) = (0, Vec::new(), 0_usize);
                while at < LEN {
                    let buf = recv(&socket).await.unwrap().unwrap();
                    pattern.check(at, &buf);
                    held.push((at, buf.slice(0..buf.len())));
                    at += buf.len();
                    count += 1;
                    match (count + i) % 17 {
                        3 => socket.set_receive_class(ReceiveClass::Long),
                        5 => socket.set_receive_class(ReceiveClass::Bulk),
                        8 => socket.set_receive_class(ReceiveClass::Short),
                        11 => socket.set_receive_once(count.is_multiple_of(2)),
                        13 => reactor.sleep(Duration::from_millis(1)).await,
                        _ => {}
                    }
                    if held.len() == 4 {
                        reactor.yield_now().await;
                        held.drain(..).for_each(|(at, buf)| pattern.check(at, &buf));
                    }
                    // One leaves in the middle.
                    if i == 0 && at > LEN / 2 {
                        break;
                    }
                }
                done.set(done.get() + 1);
            });
        }
        ring.finish(&done, SOCKETS);
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        ring.settle(|facts| facts.sockets == 0 && facts.buffers_in_use == 0);
        let facts = ring.facts();
        assert!(facts.out_of_buffers > 0, "{facts:?}");
        assert_eq!((facts.stale_completions, facts.panics), (0, 0), "{facts:?}");
    });
}
