//! A connection that goes over to another ring: nothing of what its peer says is lost or said twice.

use crate::support::{Ring, pair, recv};
use ringway::ring::{Buf, Reactor, Segment, Socket};
use std::future::poll_fn;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::os::fd::OwnedFd;
use std::rc::Rc;

async fn copy(socket: &Socket) -> std::io::Result<(OwnedFd, Vec<Buf>)> {
    poll_fn(|_| socket.poll_copy()).await
}

/// Receive `len` bytes.
async fn receive(socket: &Socket, len: usize) -> Vec<u8> {
    let mut received = Vec::new();
    while received.len() < len {
        received.extend_from_slice(&recv(socket).await.expect("unbroken").expect("more"));
    }
    received
}

fn numbered(from: u32, to: u32) -> Vec<u8> {
    (from..to).flat_map(u32::to_be_bytes).collect()
}

/// A thread that writes all the time, and a socket that goes from ring to ring under it.
#[test]
fn a_connection_goes_over_while_its_peer_sends() {
    const NUMBERS: u32 = 400_000;
    let (ours, mut peer) = pair();
    let writing = std::thread::spawn(move || {
        for from in (0..NUMBERS).step_by(1000) {
            peer.write_all(&numbered(from, from + 1000)).expect("it is read");
        }
        // Not closed: a connection whose end has come does not go over.
        peer
    });
    let rings = [Ring::new(), Ring::new()];
    let (mut fd, mut received) = (ours, Vec::new());
    let mut turn = 0;
    while received.len() < NUMBERS as usize * 4 {
        let reactor = rings[turn % 2].0.clone();
        let is_last = turn == 40;
        let (before, len) = (received.len(), if is_last { usize::MAX } else { 9000 });
        let goal = len.min(NUMBERS as usize * 4 - before);
        let (next, more) = rings[turn % 2].run(async move {
            let socket = if turn == 0 { Socket::accepted(&reactor, fd) } else { Socket::new(&reactor, fd) };
            let mut received = receive(&socket, goal).await;
            if is_last {
                return (None, received);
            }
            let (fd, rest) = copy(&socket).await.expect("it goes");
            rest.iter().for_each(|buf| received.extend_from_slice(buf));
            (Some(fd), received)
        });
        received.extend(more);
        turn += 1;
        match next {
            Some(next) => fd = next,
            None => break,
        }
    }
    let _peer = writing.join().expect("all is said");
    assert!(received == numbered(0, NUMBERS), "something is lost, doubled or displaced");
    rings.iter().for_each(|ring| ring.settle(|facts| facts.sockets == 0));
}

fn with_pair(test: impl AsyncFnOnce(Rc<Reactor>, Socket, TcpStream) + 'static) {
    let ring = Ring::new();
    let (socket, peer) = ring.pair();
    let reactor = ring.0.clone();
    ring.run(async move { test(reactor, socket, peer).await });
}

#[test]
fn the_old_descriptor_closes_and_the_connection_does_not() {
    with_pair(async |reactor, socket, mut peer| {
        peer.write_all(b"one").expect("sent");
        assert_eq!(receive(&socket, 3).await, b"one");
        let (fd, rest) = copy(&socket).await.expect("it goes");
        assert!(rest.is_empty());
        drop(socket);
        while reactor.facts().sockets > 0 {
            reactor.yield_now().await;
        }
        let socket = Socket::new(&reactor, fd);
        socket.send_one(Segment::Static(b"two"));
        poll_fn(|_| socket.poll_flushed(0)).await.expect("sent");
        let mut bytes = [0; 3];
        std::io::Read::read_exact(&mut peer, &mut bytes).expect("it comes");
        assert_eq!(&bytes, b"two");
    });
}

/// What has ended stays, with all that has come.
#[test]
fn an_ended_connection_stays_and_can_be_read() {
    with_pair(async |reactor, socket, mut peer| {
        peer.write_all(b"one").expect("sent");
        assert_eq!(receive(&socket, 3).await, b"one");
        peer.write_all(b"two").expect("sent");
        peer.shutdown(Shutdown::Write).expect("a socket");
        // Something is asked for, so that the ring hears of the end.
        assert_eq!(receive(&socket, 3).await, b"two");
        while !socket.has_ended() {
            reactor.yield_now().await;
        }
        assert!(copy(&socket).await.is_err());
        assert!(recv(&socket).await.expect("unbroken").is_none());
    });
}
