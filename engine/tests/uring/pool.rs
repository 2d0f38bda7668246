//! The receive buffers run out (ENOBUFS): traffic goes on through the heap, waiting costs nothing, and all recovers.

use crate::support::{Pattern, Ring, expect, recv};
use ringway::ring::Socket;
use std::cell::Cell;
use std::io::Write;
use std::rc::Rc;
use std::time::Duration;

#[test]
fn every_byte_arrives_through_a_pool_of_two_to_eight() {
    for count in [2, 4, 8] {
        through_a_tiny_pool(count);
    }
}

fn through_a_tiny_pool(count: u16) {
    const SOCKETS: usize = 6;
    const LEN: usize = 512 * 1024;
    let ring = Ring::with_buffers(count);
    let done = Rc::new(Cell::new(0));
    let mut writers = Vec::new();
    for i in 0..SOCKETS {
        let (socket, mut peer) = ring.pair();
        let pattern = Pattern::new(i as u64);
        let source = pattern.clone();
        writers.push(std::thread::spawn(move || peer.write_all(&source.bytes(0, LEN)).unwrap()));
        let (done, reactor) = (done.clone(), ring.0.clone());
        ring.spawn(async move {
            let (mut at, mut held) = (0, Vec::new());
            while at < LEN {
                let buf = recv(&socket).await.unwrap().unwrap();
                pattern.check(at, &buf);
                held.push((at, buf.slice(0..buf.len())));
                at += buf.len();
                // Buffers are held for a while, as a slow client's are, and must keep their bytes.
                if held.len() == 4 {
                    reactor.yield_now().await;
                    held.drain(..).for_each(|(at, buf)| pattern.check(at, &buf));
                }
            }
            assert!(recv(&socket).await.unwrap().is_none());
            done.set(done.get() + 1);
        });
    }
    ring.finish(&done, SOCKETS);
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    let facts = ring.facts();
    assert!(facts.out_of_buffers > 0 && facts.heap_buffers > 0, "the pool of {count} never ran out: {facts:?}");
    assert_eq!(facts.buffers_in_use, 0, "{facts:?}");
    recovers(&ring);
}

/// With the buffers free again, the heap is left alone.
fn recovers(ring: &Ring) {
    let (socket, mut peer) = ring.pair();
    let before = ring.facts();
    let reactor = ring.0.clone();
    ring.run(async move {
        reactor.yield_now().await;
        for _ in 0..20 {
            peer.write_all(b"ping").unwrap();
            assert_eq!(&*recv(&socket).await.unwrap().unwrap(), b"ping");
        }
    });
    let after = ring.facts();
    assert_eq!((after.out_of_buffers, after.heap_buffers), (before.out_of_buffers, before.heap_buffers));
}

/// Take every buffer of the pool and keep it.
async fn exhaust(ring: &Rc<ringway::ring::Reactor>, socket: &Socket, buffers: usize) -> Vec<ringway::ring::Buf> {
    let mut held = Vec::new();
    while held.len() < buffers {
        held.push(recv(socket).await.unwrap().unwrap());
    }
    assert_eq!(ring.facts().buffers_in_use as usize, buffers);
    held
}

#[test]
fn waiting_without_buffers_does_not_spin() {
    let ring = Ring::with_buffers(2);
    let (hog, mut hog_peer) = ring.pair();
    hog_peer.write_all(&vec![7; 2 * 4096]).unwrap();
    let (socket, mut peer) = ring.pair();
    let reactor = ring.0.clone();
    let held = ring.run(async move {
        let held = exhaust(&reactor, &hog, 2).await;
        (hog, held)
    });
    let pattern = Pattern::new(3);
    let expected = pattern.clone();
    let received = Rc::new(Cell::new(false));
    let flag = received.clone();
    ring.spawn(async move {
        expect(&socket, &expected, 100_000).await;
        flag.set(true);
    });
    ring.sleep(20);
    let before = ring.facts();
    ring.sleep(300);
    let after = ring.facts();
    let (turns, allocated) = (after.turns - before.turns, after.out_of_buffers - before.out_of_buffers);
    assert!(turns < 20 && allocated < 5, "{turns} turns and {allocated} tries while nothing came");
    // It still gets its bytes, and the end of the shortage is not missed.
    peer.write_all(&pattern.bytes(0, 50_000)).unwrap();
    ring.settle(|facts| facts.heap_buffers > 0);
    drop(held);
    peer.write_all(&pattern.bytes(50_000, 50_000)).unwrap();
    let reactor = ring.0.clone();
    ring.run(async move {
        while !received.get() {
            assert_eq!(reactor.facts().panics, 0);
            reactor.sleep(Duration::from_millis(1)).await;
        }
    });
}

#[test]
fn a_socket_that_waits_without_buffers_can_end_and_be_closed() {
    let ring = Ring::with_buffers(2);
    let (hog, mut hog_peer) = ring.pair();
    hog_peer.write_all(&vec![7; 2 * 4096]).unwrap();
    let (ending, ending_peer) = ring.pair();
    let (closed, _closed_peer) = ring.pair();
    let reactor = ring.0.clone();
    ring.run(async move {
        let held = exhaust(&reactor, &hog, 2).await;
        let on = reactor.clone();
        let waiting = reactor.spawn(async move {
            let _ = recv(&closed).await;
            on.sleep(Duration::ZERO).await;
            panic!("nothing was sent");
        });
        reactor.sleep(Duration::from_millis(10)).await;
        reactor.cancel(waiting);
        drop(ending_peer);
        assert!(recv(&ending).await.unwrap().is_none());
        drop((held, hog, ending));
    });
    ring.settle(|facts| facts.sockets == 0 && facts.buffers_in_use == 0);
    assert_eq!(ring.facts().panics, 0);
}
