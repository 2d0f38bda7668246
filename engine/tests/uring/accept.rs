//! Accepting: many at once, out of descriptors without spinning, within bounds, and closing.

use crate::support::{Ring, in_child, listener, open_descriptors, recv, set_descriptor_limit};
use ringway::net::sys;
use ringway::ring::{Acceptor, Socket};
use socket2::{Domain, Protocol, Type};
use std::cell::Cell;
use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::Duration;

fn acceptor(ring: &Ring) -> (Acceptor, SocketAddr) {
    let listener = listener();
    let address = listener.local_addr().unwrap();
    (Acceptor::new(ring, listener.into()), address)
}

async fn accept(acceptor: &Acceptor) -> std::io::Result<OwnedFd> {
    poll_fn(|_| acceptor.poll_accept()).await
}

/// Accepting is cancelled while connections come: each is handed out, or still in the backlog.
#[test]
fn a_cancelled_accept_loses_no_connection() {
    const CLIENTS: usize = 60;
    for round in 0..30 {
        let ring = Ring::new();
        let listener = listener();
        let address = listener.local_addr().unwrap();
        let backlog = listener.try_clone().unwrap();
        let acceptor = Acceptor::new(&ring, listener.into());
        let clients =
            std::thread::spawn(move || (0..CLIENTS).map(|_| TcpStream::connect(address).unwrap()).collect::<Vec<_>>());
        let mut accepted = ring.run(async move {
            let mut accepted = Vec::new();
            for _ in 0..round {
                accepted.push(accept(&acceptor).await.unwrap());
            }
            while let Some(fd) = poll_fn(|_| acceptor.poll_rest()).await {
                accepted.push(fd);
            }
            accepted
        });
        let clients = clients.join().unwrap();
        backlog.set_nonblocking(true).unwrap();
        accepted.extend(std::iter::from_fn(|| backlog.accept().ok()).map(|(stream, _)| OwnedFd::from(stream)));
        assert_eq!((accepted.len(), clients.len()), (CLIENTS, CLIENTS), "round {round}");
    }
}

/// Of a socket that rings share: each accept is for one connection, and none is lost when the last one is cancelled.
#[test]
fn a_shared_socket_gives_one_connection_at_a_time() {
    for round in 0..20 {
        let ring = Ring::new();
        let listener = listener();
        let address = listener.local_addr().unwrap();
        let backlog = listener.try_clone().unwrap();
        let acceptor = Acceptor::shared(&ring, listener.into());
        let clients: Vec<_> = (0..20).map(|_| TcpStream::connect(address).unwrap()).collect();
        let mut accepted = ring.run(async move {
            let mut accepted = Vec::new();
            for _ in 0..round {
                accepted.push(accept(&acceptor).await.unwrap());
            }
            while let Some(fd) = poll_fn(|_| acceptor.poll_rest()).await {
                accepted.push(fd);
            }
            accepted
        });
        // The one that is asked for and not taken is at most one more.
        assert!((round..=round + 1).contains(&accepted.len()), "{} of {round}", accepted.len());
        backlog.set_nonblocking(true).unwrap();
        accepted.extend(std::iter::from_fn(|| backlog.accept().ok()).map(|(stream, _)| OwnedFd::from(stream)));
        assert_eq!((accepted.len(), clients.len()), (20, 20), "round {round}");
    }
}

/// An address that a socket of the ring still has could not be bound again. It is one that no other test uses, which might
/// otherwise be given the port that has become free.
#[test]
fn nothing_is_under_way_after_the_shut_down() {
    for round in 0..20 {
        let ring = Ring::new();
        let listener = TcpListener::bind("127.7.7.7:0").unwrap();
        let address = listener.local_addr().unwrap();
        let acceptor = Acceptor::new(&ring, listener.into());
        let clients: Vec<_> = (0..round % 4).map(|_| TcpStream::connect(address).unwrap()).collect();
        let reactor = ring.0.clone();
        ring.spawn(async move {
            while let Ok(fd) = accept(&acceptor).await {
                let socket = Socket::new(&reactor, fd);
                reactor.spawn(async move { drop(recv(&socket).await) });
            }
        });
        ring.sleep(1);
        ring.0.shut_down();
        assert_eq!(ring.facts().sockets, 0);
        let free = socket2::Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap();
        free.set_reuse_address(true).unwrap();
        // A process that another test is starting just now has a copy of each descriptor for a moment.
        let is_free = (0..1000).any(|_| {
            let is_bound = free.bind(&address.into()).is_ok();
            is_bound || {
                std::thread::sleep(Duration::from_millis(10));
                false
            }
        });
        assert!(is_free, "round {round}: the address is not free");
        free.listen(1).unwrap();
        drop(clients);
    }
}

#[test]
fn every_connection_is_accepted_once() {
    const CLIENTS: usize = 100;
    let ring = Ring::new();
    let (acceptor, address) = acceptor(&ring);
    let clients = std::thread::spawn(move || {
        let mut clients: Vec<_> = (0..CLIENTS).map(|_| TcpStream::connect(address).unwrap()).collect();
        for (i, client) in clients.iter_mut().enumerate() {
            client.write_all(&[i as u8]).unwrap();
        }
        for (i, client) in clients.iter_mut().enumerate() {
            let mut echo = [0];
            client.read_exact(&mut echo).unwrap();
            assert_eq!(usize::from(echo[0]), i);
        }
    });
    let reactor = ring.0.clone();
    ring.run(async move {
        let served = Rc::new(Cell::new(0));
        for _ in 0..CLIENTS {
            let socket = Socket::new(&reactor, accept(&acceptor).await.unwrap());
            let served = served.clone();
            reactor.spawn(async move {
                let byte = recv(&socket).await.unwrap().unwrap();
                socket.send_one(ringway::ring::Segment::Buf(byte));
                assert!(recv(&socket).await.is_ok_and(|end| end.is_none()));
                served.set(served.get() + 1);
            });
        }
        while served.get() < CLIENTS {
            reactor.sleep(Duration::from_millis(1)).await;
        }
    });
    clients.join().unwrap();
}

#[test]
fn a_closed_listener_refuses() {
    let ring = Ring::new();
    for armed in [false, true] {
        let (acceptor, address) = acceptor(&ring);
        let reactor = ring.0.clone();
        ring.run(async move {
            if armed {
                assert!(poll_fn(|_| std::task::Poll::Ready(acceptor.poll_accept())).await.is_pending());
                reactor.yield_now().await;
            }
            drop(acceptor);
            // The cancel and the close take a turn or two.
            while TcpStream::connect(address).is_ok() {
                reactor.sleep(Duration::from_millis(1)).await;
            }
        });
    }
}

/// Accepted and not taken, or accepted while the cancel was on its way: still closed. Counted on this side,
/// because a client whose handshake meets the end of a listener may wait without end, on whichever side it is closed.
#[test]
fn connections_that_meet_a_closing_listener_are_closed() {
    in_child("accept::connections_that_meet_a_closing_listener_are_closed", &[], || {
        let ring = Ring::new();
        ring.sleep(1);
        let before = open_descriptors();
        for round in 0..100u64 {
            let (acceptor, address) = acceptor(&ring);
            let clients = std::thread::spawn(move || {
                let _clients: Vec<_> = (0..20).map_while(|_| TcpStream::connect(address).ok()).collect();
            });
            let reactor = ring.0.clone();
            ring.run(async move {
                for _ in 0..round % 5 {
                    drop(accept(&acceptor).await);
                }
                drop(acceptor);
                while TcpStream::connect(address).is_ok() {
                    reactor.sleep(Duration::from_millis(1)).await;
                }
            });
            clients.join().unwrap();
        }
        ring.sleep(5);
        assert_eq!(open_descriptors(), before, "descriptors leak");
    });
}

/// Not connected yet, so that connecting takes no further descriptor.
fn client() -> socket2::Socket {
    socket2::Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP)).unwrap()
}

/// The lowest descriptor that is free.
fn next_descriptor() -> u64 {
    use std::os::fd::AsRawFd;
    client().as_raw_fd() as u64
}

#[test]
fn out_of_descriptors_does_not_spin_and_recovers() {
    in_child("accept::out_of_descriptors_does_not_spin_and_recovers", &[], || {
        const CLIENTS: usize = 10;
        const SPARE: usize = 4;
        let ring = Ring::new();
        let (acceptor, address) = acceptor(&ring);
        let clients: Vec<_> = (0..CLIENTS).map(|_| client()).collect();
        set_descriptor_limit(next_descriptor() + SPARE as u64);
        clients.iter().for_each(|client| client.connect(&address.into()).unwrap());
        let reactor = ring.0.clone();
        let accepted = ring.run(async move {
            let mut accepted = Vec::new();
            let error = loop {
                match accept(&acceptor).await {
                    Ok(fd) => accepted.push(fd),
                    Err(error) => break error,
                }
            };
            assert_eq!(error.raw_os_error(), Some(libc::EMFILE));
            assert_eq!(accepted.len(), SPARE, "what could be accepted was");
            // As a listener does it: wait, ask again.
            let before = reactor.facts();
            for _ in 0..5 {
                reactor.sleep(Duration::from_millis(50)).await;
                assert_eq!(accept(&acceptor).await.unwrap_err().raw_os_error(), Some(libc::EMFILE));
            }
            let turns = reactor.facts().turns - before.turns;
            assert!(turns < 60, "{turns} turns in 250 ms");
            set_descriptor_limit(1024);
            while accepted.len() < CLIENTS {
                accepted.push(accept(&acceptor).await.unwrap());
            }
            accepted
        });
        assert_eq!(accepted.len(), CLIENTS);
    });
}

/// Connections that have waited during a pause each leave the others on the shard a turn. Once none waits, they come as fast as the
/// kernel brings them.
#[test]
fn after_a_pause_one_connection_is_accepted_a_turn() {
    const CLIENTS: u64 = 50;
    let release = rustix::system::uname();
    let mut numbers =
        release.release().to_str().unwrap().split(['.', '-']).map_while(|number| number.parse::<u32>().ok());
    // Older kernels do not tell whether more connections wait.
    let tells = (numbers.next(), numbers.next()) >= (Some(6), Some(10));
    let ring = Ring::new();
    let (acceptor, address) = acceptor(&ring);
    let connect = move || (0..CLIENTS).map(|_| TcpStream::connect(address).unwrap()).collect::<Vec<_>>();
    let reactor = ring.0.clone();
    ring.run(async move {
        let mut clients = Vec::new();
        for (pauses, catches_up) in [(false, false), (true, false), (false, false), (true, true), (false, false)] {
            if pauses {
                acceptor.pause();
                reactor.sleep(Duration::from_millis(2)).await;
            } else {
                assert!(poll_fn(|_| std::task::Poll::Ready(acceptor.poll_accept())).await.is_pending());
            }
            clients.extend(connect());
            if catches_up {
                acceptor.catch_up();
            }
            let before = reactor.turns();
            for _ in 0..CLIENTS {
                accept(&acceptor).await.unwrap();
            }
            let turns = reactor.turns() - before;
            if pauses && !catches_up {
                assert!(turns >= CLIENTS / 2 || !tells, "{CLIENTS} connections in {turns} turns");
            } else {
                assert!(turns < CLIENTS / 2, "{CLIENTS} connections in {turns} turns");
            }
        }
    });
}

/// What is accepted is not taken: beyond a bound, connections must wait in the kernel's backlog, where they cost no
/// descriptor.
#[test]
fn accepting_stops_when_nobody_takes_the_connections() {
    in_child("accept::accepting_stops_when_nobody_takes_the_connections", &[], || {
        const CLIENTS: usize = 1500;
        const BOUND: usize = 700;
        assert!(sys::raise_descriptor_limit() as usize > 2 * CLIENTS + 100, "this test needs descriptors");
        let ring = Ring::new();
        let socket = client();
        socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
        socket.listen(4096).unwrap();
        let address = socket.local_addr().unwrap().as_socket().unwrap();
        let acceptor = Acceptor::new(&ring, TcpListener::from(socket).into());
        let reactor = ring.0.clone();
        ring.run(async move {
            assert!(poll_fn(|_| std::task::Poll::Ready(acceptor.poll_accept())).await.is_pending());
            let before = open_descriptors();
            let mut clients = Vec::new();
            for i in 0..CLIENTS {
                let client = client();
                client.set_nonblocking(true).unwrap();
                let _ = client.connect(&address.into());
                clients.push(client);
                if i % 10 == 0 {
                    reactor.sleep(Duration::from_millis(1)).await;
                }
            }
            reactor.sleep(Duration::from_millis(20)).await;
            let accepted = open_descriptors() - before - CLIENTS;
            assert!(accepted <= BOUND, "{accepted} connections were accepted and not asked for");
            // None is lost.
            for _ in 0..CLIENTS {
                drop(accept(&acceptor).await.unwrap());
            }
        });
    });
}
