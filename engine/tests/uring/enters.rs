//! Kernel entries: what many connections do in one turn goes to the kernel at once.

use crate::support::{Ring, recv};
use ringway::ring::{Reactor, Segment, Socket, TaskId};
use std::cell::Cell;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::rc::Rc;
use std::task::Poll;

const CONNECTIONS: usize = 64;
const EXCHANGES: usize = 200;
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

/// Take a message of this length and pass it on, or `None` at the end.
async fn message(socket: &Socket, len: usize) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    while bytes.len() < len {
        bytes.extend_from_slice(&recv(socket).await.ok()??);
    }
    Some(bytes)
}

/// Client, forward loop and origin share one reactor, so that the count does not depend on scheduling: it includes the
/// entries of all three, and still a turn of all connections takes only a few.
#[test]
fn ping_pong_over_many_connections_needs_less_than_half_an_enter_per_exchange() {
    let ring = Ring::new();
    let answered = Rc::new(Cell::new(0));
    for _ in 0..CONNECTIONS {
        let (downstream, client) = ring.pair();
        let (upstream, origin) = ring.pair();
        let (client, origin) = (Socket::new(&ring, client_fd(client)), Socket::new(&ring, client_fd(origin)));
        ring.spawn(async move {
            while let Some(request) = message(&origin, REQUEST.len()).await {
                assert_eq!(request, REQUEST);
                origin.send_one(Segment::Static(RESPONSE));
            }
        });
        ring.spawn(async move {
            while let Some(request) = message(&downstream, REQUEST.len()).await {
                upstream.send_one(Segment::Owned(request));
                let Some(response) = message(&upstream, RESPONSE.len()).await else { break };
                downstream.send_one(Segment::Owned(response));
            }
        });
        let answered = answered.clone();
        ring.spawn(async move {
            for _ in 0..EXCHANGES {
                client.send_one(Segment::Static(REQUEST));
                assert_eq!(message(&client, RESPONSE.len()).await.as_deref(), Some(RESPONSE));
                answered.set(answered.get() + 1);
            }
        });
    }
    let before = ring.facts();
    ring.run_until(|| answered.get() == CONNECTIONS * EXCHANGES || ring.facts().panics > 0);
    let after = ring.facts();
    assert_eq!(after.panics, 0);
    let enters = (after.enters - before.enters) as f64 / answered.get() as f64;
    assert!(enters < 0.5, "{enters} enters per exchange");
    ring.settle(|facts| facts.sockets == 0);
}

fn client_fd(stream: std::net::TcpStream) -> std::os::fd::OwnedFd {
    // The ring waits by itself; time limits of the blocking calls are not for it.
    stream.set_read_timeout(None).unwrap();
    stream.set_write_timeout(None).unwrap();
    stream.into()
}

/// Two tasks that hand a ball to each other `hops` times. Nothing else happens in the reactor.
fn ping_pong(reactor: &Rc<Reactor>, hops: usize) -> Rc<Cell<usize>> {
    let (done, players) = (Rc::new(Cell::new(0)), Rc::new(Cell::new([TaskId::NONE; 2])));
    let play = |me: usize| {
        let (reactor, done, players) = (reactor.clone(), done.clone(), players.clone());
        poll_fn(move |_| {
            if done.get() % 2 == me && done.get() < hops {
                done.set(done.get() + 1);
                reactor.wake(players.get()[1 - me]);
            }
            if done.get() >= hops { Poll::Ready(()) } else { Poll::Pending }
        })
    };
    players.set([reactor.spawn(play(0)), reactor.spawn(play(1))]);
    done
}

/// From the driver of a connection to an exchange and back: not an entry into the kernel for each step.
#[test]
fn wakes_between_tasks_share_a_turn() {
    const HOPS: usize = 100;
    let ring = Ring::new();
    let done = ping_pong(&ring, HOPS);
    let before = ring.facts();
    ring.run_until(|| done.get() == HOPS);
    let after = ring.facts();
    let (turns, enters) = (after.turns - before.turns, after.enters - before.enters);
    // Four rounds a turn; in the first of all both players are polled.
    assert!((HOPS / 5..=HOPS / 4 + 1).contains(&(turns as usize)), "{turns} turns for {HOPS} hops");
    assert!(enters <= turns, "{enters} entries in {turns} turns");
}

/// Tasks that never stop waking each other leave the others, and the kernel, their turns.
#[test]
fn endless_wakes_between_tasks_do_not_keep_a_socket_waiting() {
    let ring = Ring::new();
    let balls = ping_pong(&ring, usize::MAX);
    let (socket, mut peer) = ring.pair();
    let reactor = ring.0.clone();
    ring.run(async move {
        for _ in 0..50 {
            peer.write_all(b"x").unwrap();
            socket.send_one(Segment::Buf(recv(&socket).await.unwrap().unwrap()));
            poll_fn(|_| socket.poll_flushed(0)).await.unwrap();
            peer.read_exact(&mut [0]).unwrap();
        }
        let (turns, hops) = (reactor.facts().turns as usize, balls.get());
        assert!(hops <= 4 * turns + 4, "{hops} hops in {turns} turns");
    });
}

/// A yield is for the others, sockets included: one turn, and so one look at the kernel, for each.
#[test]
fn a_task_that_wakes_itself_waits_for_the_next_turn() {
    const YIELDS: u64 = 25;
    let ring = Ring::new();
    let reactor = ring.0.clone();
    ring.run(async move {
        let before = reactor.facts();
        for _ in 0..YIELDS {
            reactor.yield_now().await;
        }
        let after = reactor.facts();
        assert_eq!((after.turns - before.turns, after.enters - before.enters), (YIELDS, YIELDS));
        // By its waker, and woken by another task in the same turn as well: still one poll a turn.
        let polls = Rc::new(Cell::new(0));
        let counter = polls.clone();
        let restless = reactor.spawn(poll_fn(move |context| {
            counter.set(counter.get() + 1);
            context.waker().wake_by_ref();
            Poll::Pending
        }));
        for _ in 0..YIELDS {
            reactor.wake(restless);
            reactor.yield_now().await;
        }
        reactor.cancel(restless);
        assert!(polls.get() <= YIELDS + 1, "{} polls in {YIELDS} turns", polls.get());
    });
}
