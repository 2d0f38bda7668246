//! Everything may be dropped at any time: the kernel's memory outlives its user, and a completion that comes late finds
//! no socket. These tests run in processes whose allocator fills freed memory with garbage (MALLOC_PERTURB_).

use crate::support::{Pattern, Random, Ring, expect, flushed, in_child, listener, pair, patient, recv, reset};
use ringway::ring::{Acceptor, PoolSize, Reactor, ReactorOptions, Segment, Socket, TaskId};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::rc::Rc;
use std::time::Duration;

const PERTURB: &[(&str, &str)] = &[("MALLOC_PERTURB_", "165")];

/// Segments of every kind, of together `len` bytes of `pattern`.
fn segments(reactor: &Reactor, pattern: &Pattern, len: usize, piece: usize) -> Vec<Segment> {
    (0..len)
        .step_by(piece)
        .enumerate()
        .map(|(i, at)| {
            let bytes = pattern.bytes(at, piece.min(len - at));
            if i % 2 == 0 { Segment::Owned(bytes) } else { Segment::Buf(reactor.pool().copy_from(&bytes)) }
        })
        .collect()
}

/// Write over whatever was given back too early.
fn scribble(reactor: &Reactor, piece: usize) {
    let pool = reactor.pool();
    let held: Vec<_> = (0..64).map(|_| (pool.copy_from(&vec![0xee; piece]), vec![0xdd_u8; piece])).collect();
    let mut vec = reactor.take_vec();
    vec.resize(piece, 0xcc);
    reactor.give_vec(vec);
    drop(held);
}

#[test]
fn a_socket_dropped_while_sending_leaves_a_clean_prefix() {
    in_child("drops::a_socket_dropped_while_sending_leaves_a_clean_prefix", PERTURB, || {
        const LEN: usize = 4 << 20;
        let ring = Ring::new();
        let (mut random, mut cut, mut nothing) = (Random::new(1), 0, 0);
        for round in 0..60 {
            let (socket, mut peer) = ring.pair();
            let pattern = Pattern::new(round);
            let expected = pattern.clone();
            let reader = std::thread::spawn(move || expected.check_prefix(&mut peer));
            // One large segment, or many: both ways of submitting.
            let piece = if round % 3 == 0 { LEN } else { 1000 + random.below(12_000) };
            let (reactor, turns) = (ring.0.clone(), random.below(12));
            ring.run(async move {
                let mut all = segments(&reactor, &pattern, LEN, piece);
                socket.send(&mut all);
                for _ in 0..turns {
                    reactor.yield_now().await;
                }
                drop(socket);
                scribble(&reactor, piece.min(16_000));
                reactor.yield_now().await;
                scribble(&reactor, piece.min(16_000));
            });
            ring.settle(|facts| facts.sockets == 0);
            let arrived = reader.join().unwrap();
            cut += u32::from(arrived < LEN);
            nothing += u32::from(arrived == 0);
        }
        let facts = ring.facts();
        assert!(cut > nothing && nothing < 60, "{cut} were cut and {nothing} empty: the test does not test");
        assert_eq!((facts.stale_completions, facts.buffers_in_use), (0, 0), "{facts:?}");
    });
}

#[test]
fn a_task_dropped_while_receiving_takes_no_other_down() {
    in_child("drops::a_task_dropped_while_receiving_takes_no_other_down", PERTURB, || {
        const LEN: usize = 1 << 20;
        let ring = Ring::with_buffers(64);
        let (steady, mut steady_peer) = ring.pair();
        let (pattern, done) = (Pattern::new(77), Rc::new(Cell::new(false)));
        let (source, flag) = (pattern.clone(), done.clone());
        let writer = std::thread::spawn(move || {
            for at in (0..16 * LEN).step_by(LEN) {
                steady_peer.write_all(&source.bytes(at, LEN)).unwrap();
                std::thread::sleep(Duration::from_millis(5));
            }
        });
        ring.spawn(async move {
            expect(&steady, &pattern, 16 * LEN).await;
            flag.set(true);
        });
        let mut random = Random::new(5);
        while !done.get() {
            assert_eq!(ring.facts().panics, 0, "the steady reader failed");
            let (socket, mut peer) = ring.pair();
            let blast = std::thread::spawn(move || {
                let garbage = vec![0xbb; 64 * 1024];
                while peer.write_all(&garbage).is_ok() {}
            });
            let (reactor, turns) = (ring.0.clone(), random.below(20));
            ring.run(async move {
                let task = reactor.spawn(async move { while let Ok(Some(_)) = recv(&socket).await {} });
                for _ in 0..turns {
                    reactor.yield_now().await;
                }
                reactor.cancel(task);
            });
            ring.settle(|facts| facts.sockets <= 1);
            blast.join().unwrap();
        }
        writer.join().unwrap();
        ring.settle(|facts| facts.sockets == 0 && facts.buffers_in_use == 0);
        assert_eq!(ring.facts().stale_completions, 0);
    });
}

/// An echo server whose tasks are cancelled at random, against clients that leave at random; slots and descriptors are
/// used again all the time. Every connection sends a pattern of its own, and no byte of another may ever show up.
#[test]
fn connections_that_come_and_go_never_mix() {
    in_child("drops::connections_that_come_and_go_never_mix", PERTURB, || {
        const CLIENTS: usize = 4;
        const CONNECTIONS: usize = 250;
        let ring = Ring::with(&ReactorOptions {
            ring_entries: 16,
            buffers: PoolSize { count: 32, size: 4096 },
            receive_limit: 16 * 1024,
        });
        let listener = listener();
        let address = listener.local_addr().unwrap();
        let acceptor = Acceptor::new(&ring, listener.into());
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                std::thread::spawn(move || {
                    let mut random = Random::new(client as u64 + 100);
                    (0..CONNECTIONS).map(|_| usize::from(visit(address, &mut random))).sum::<usize>()
                })
            })
            .collect();
        let reactor = ring.0.clone();
        let live: Rc<RefCell<Vec<TaskId>>> = Rc::default();
        let server = ring.spawn(async move {
            let mut random = Random::new(999);
            loop {
                let socket = Socket::new(&reactor, poll_fn(|_| acceptor.poll_accept()).await.unwrap());
                live.borrow_mut().push(reactor.spawn(echo(socket)));
                // Some are ended in the middle of what they do.
                if random.below(4) == 0 {
                    let victim = random.below(live.borrow().len());
                    reactor.cancel(live.borrow_mut().swap_remove(victim));
                }
            }
        });
        let complete: usize = {
            let waiting: Vec<_> = clients;
            let reactor = ring.0.clone();
            ring.run(async move {
                while !waiting.iter().all(std::thread::JoinHandle::is_finished) {
                    reactor.sleep(Duration::from_millis(2)).await;
                }
                waiting.into_iter().map(|client| client.join().unwrap()).sum()
            })
        };
        assert!(complete > CLIENTS * CONNECTIONS / 10, "only {complete} echoes were complete: the test does not test");
        ring.cancel(server);
        ring.settle(|facts| facts.sockets == 0 && facts.buffers_in_use == 0);
        let facts = ring.facts();
        assert_eq!((facts.stale_completions, facts.panics), (0, 0), "{facts:?}");
    });
}

async fn echo(socket: Socket) {
    while let Ok(Some(buf)) = recv(&socket).await {
        socket.send_one(Segment::Buf(buf));
        if flushed(&socket, 8 * 1024).await.is_err() {
            return;
        }
    }
    let _ = flushed(&socket, 0).await;
}

/// One connection: send, check the echo, leave in one of several ways. Returns whether the whole echo came.
fn visit(address: SocketAddr, random: &mut Random) -> bool {
    let mut stream = TcpStream::connect(address).unwrap();
    patient(&stream);
    let pattern = Pattern::new(random.next());
    let len = 1 + random.below(30_000);
    let bytes = pattern.bytes(0, len);
    if stream.write_all(&bytes).is_err() {
        return false;
    }
    let wanted = if random.below(2) == 0 { len } else { random.below(len) };
    let mut at = 0;
    let mut buffer = [0; 4096];
    while at < wanted {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return false,
            Ok(n) => {
                pattern.check(at, &buffer[..n]);
                at += n;
            }
        }
    }
    if random.below(3) == 0 {
        reset(stream);
    }
    at == len
}

/// What a reactor is dropped with: every kind of operation under way.
fn busy_reactor(round: usize) -> Vec<TcpStream> {
    let ring = Ring::with(&ReactorOptions { buffers: PoolSize { count: 16, size: 4096 }, ..ReactorOptions::default() });
    let mut peers = Vec::new();
    let acceptor = Acceptor::new(&ring, listener().into());
    ring.spawn(async move {
        let _ = poll_fn(|_| acceptor.poll_accept()).await;
    });
    for i in 0..6 {
        let (socket, mut peer) = ring.pair();
        peer.write_all(&[i; 10_000]).unwrap();
        peers.push(peer);
        let reactor = ring.0.clone();
        ring.spawn(async move {
            let pattern = Pattern::new(u64::from(i));
            match i % 3 {
                // Sending more than is taken, receiving, waiting for readiness.
                0 => socket.send(&mut segments(&reactor, &pattern, 3 << 20, 50_000)),
                1 => drop(recv(&socket).await),
                _ => poll_fn(|_| socket.poll_readable()).await,
            }
            reactor.sleep(PATIENCE_OF_A_TASK).await;
            drop(socket);
        });
    }
    for _ in 0..round % 5 {
        ring.wake_and_turn();
    }
    if round.is_multiple_of(2) {
        ring.shut_down();
    }
    peers
}

const PATIENCE_OF_A_TASK: Duration = Duration::from_secs(3600);

impl Ring {
    /// One turn that does not sleep.
    fn wake_and_turn(&self) {
        self.unpark_handle().unpark();
        self.turn();
    }
}

#[test]
fn a_reactor_dropped_in_the_middle_closes_everything() {
    in_child("drops::a_reactor_dropped_in_the_middle_closes_everything", PERTURB, || {
        drop(busy_reactor(0));
        let before = crate::support::open_descriptors();
        for round in 0..200 {
            for mut peer in busy_reactor(round) {
                // Closed: FIN, or RST where bytes were left unread. An open descriptor would keep the read waiting.
                let mut buffer = vec![0; 64 * 1024];
                while matches!(peer.read(&mut buffer), Ok(1..)) {}
                let error = peer.read(&mut buffer).err().map(|error| error.kind());
                assert_ne!(error, Some(std::io::ErrorKind::WouldBlock), "round {round}: the descriptor is still open");
            }
        }
        // Rings are freed by a worker of the kernel, but their descriptors are closed at once.
        assert_eq!(crate::support::open_descriptors(), before, "descriptors leak");
    });
}

#[test]
fn received_buffers_outlive_their_reactor() {
    in_child("drops::received_buffers_outlive_their_reactor", PERTURB, || {
        let buf = {
            let ring = Ring::with_buffers(4);
            let (socket, mut peer) = ring.pair();
            peer.write_all(b"keep me").unwrap();
            ring.run(async move { recv(&socket).await.unwrap().unwrap() })
        };
        drop(vec![0_u8; 1 << 16]);
        assert_eq!(&*buf, b"keep me");
    });
}

#[test]
fn an_idle_reactor_is_dropped_cleanly() {
    // More rings on one thread than a thread may register.
    for _ in 0..40 {
        let ring = Ring::new();
        let (ours, mut peer) = pair();
        let socket = Socket::new(&ring, ours);
        ring.run(async move {
            socket.send_one(Segment::Static(b"bye"));
            flushed(&socket, 0).await.unwrap();
        });
        drop(ring);
        let mut all = Vec::new();
        peer.read_to_end(&mut all).unwrap();
        assert_eq!(all, b"bye");
    }
}
