//! Receiving: how it ends, how it is held back, and that nothing is lost when the completion queue is too small.

use crate::support::{Pattern, Ring, expect, flushed, in_child, recv, reset};
use ringway::ring::{PoolSize, ReactorOptions, Segment, Socket};
use std::future::poll_fn;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;

#[test]
fn the_end_comes_after_the_last_byte_and_stays() {
    let ring = Ring::new();
    let (socket, mut peer) = ring.pair();
    peer.write_all(b"last words").unwrap();
    drop(peer);
    ring.run(async move {
        assert_eq!(&*recv(&socket).await.unwrap().unwrap(), b"last words");
        for _ in 0..3 {
            assert!(recv(&socket).await.unwrap().is_none());
        }
        assert!(!socket.is_broken(), "a FIN alone breaks nothing");
    });
}

#[test]
fn a_reset_is_an_error_after_what_came_before_it() {
    let ring = Ring::new();
    let (socket, mut peer) = ring.pair();
    peer.write_all(b"abc").unwrap();
    ring.run(async move {
        assert_eq!(&*recv(&socket).await.unwrap().unwrap(), b"abc");
        reset(peer);
        let error = recv(&socket).await.unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
        assert!(socket.is_broken());
        assert!(recv(&socket).await.is_err(), "the error stays");
        socket.send_one(Segment::Static(b"into the void"));
        assert!(flushed(&socket, 0).await.is_err());
        socket.send_one(Segment::Static(b"again"));
        assert_eq!(socket.unsent(), 0, "after a failed send nothing is queued");
    });
}

/// Nothing is received, so that only the watch can tell; a FIN is no reset.
#[test]
fn a_reset_is_noticed_where_nothing_is_received() {
    let ring = Ring::new();
    for fin_first in [false, true] {
        let (socket, mut peer) = ring.pair();
        peer.write_all(b"unread").unwrap();
        let reactor = ring.0.clone();
        ring.run(async move {
            socket.watch_end();
            if fin_first {
                assert!(!socket.has_ended());
                peer.shutdown(Shutdown::Write).unwrap();
                poll_fn(|_| if socket.has_ended() { Poll::Ready(()) } else { Poll::Pending }).await;
                reactor.sleep(Duration::from_millis(30)).await;
            }
            assert!(!socket.is_broken());
            reset(peer);
            poll_fn(|_| if socket.is_broken() { Poll::Ready(()) } else { Poll::Pending }).await;
            socket.watch_end();
        });
    }
}

/// One that came before anything watched is noticed, too.
#[test]
fn a_reset_is_noticed_afterwards() {
    let ring = Ring::new();
    let (socket, peer) = ring.pair();
    reset(peer);
    ring.run(async move {
        poll_fn(|_| {
            socket.watch_end();
            if socket.is_broken() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    });
}

#[test]
fn each_direction_ends_on_its_own() {
    const LEN: usize = 1 << 20;
    let ring = Ring::new();
    let (socket, mut peer) = ring.pair();
    let pattern = Pattern::new(1);
    let expected = pattern.clone();
    let reader = std::thread::spawn(move || {
        peer.write_all(b"request").unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
        assert_eq!(expected.check_prefix(&mut peer), LEN);
    });
    ring.run(async move {
        assert_eq!(&*recv(&socket).await.unwrap().unwrap(), b"request");
        assert!(recv(&socket).await.unwrap().is_none());
        socket.send_one(Segment::Owned(pattern.bytes(0, LEN)));
        flushed(&socket, 0).await.unwrap();
        socket.shutdown_write();
    });
    reader.join().unwrap();
}

/// The kernel would signal a writer whose peer is gone, and the default answer to SIGPIPE is death.
#[test]
fn a_send_to_a_gone_peer_raises_no_signal() {
    in_child("receive::a_send_to_a_gone_peer_raises_no_signal", &[], || {
        // SAFETY: no pointers are passed. Rust's runtime ignores the signal; take that away.
        unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
        let ring = Ring::new();
        for many in [false, true] {
            let (socket, peer) = ring.pair();
            reset(peer);
            ring.run(async move {
                let _ = recv(&socket).await;
                let mut segments = vec![Segment::Static(b"a")];
                if many {
                    segments.push(Segment::Static(b"b"));
                }
                socket.send(&mut segments);
                assert_eq!(flushed(&socket, 0).await.unwrap_err().raw_os_error(), Some(libc::EPIPE));
            });
        }
    });
}

#[test]
fn bytes_put_back_come_first() {
    let ring = Ring::new();
    let (socket, mut peer) = ring.pair();
    peer.write_all(b"one,two").unwrap();
    ring.run(async move {
        let mut buf = recv(&socket).await.unwrap().unwrap();
        while buf.len() < 7 {
            buf = [&*buf, &*recv(&socket).await.unwrap().unwrap()].concat().into_boxed_slice().into();
        }
        buf.advance(4);
        socket.unread(buf);
        assert!(socket.has_received() && socket.has_received_bytes());
        peer.write_all(b"three").unwrap();
        assert_eq!(&*recv(&socket).await.unwrap().unwrap(), b"two");
        assert_eq!(&*recv(&socket).await.unwrap().unwrap(), b"three");
    });
}

#[test]
fn a_slow_reader_stops_a_fast_writer() {
    const LEN: usize = 16 << 20;
    const SIZE: usize = 4096;
    const LIMIT: usize = 64 * 1024;
    // What one entry of the kernel may bring beyond the limit before the receive is cancelled: each shot of a
    // multishot receive goes on for 32 buffers at most (MULTISHOT_MAX_RETRY), and the cancel is one turn behind.
    const OVERSHOOT: usize = 64 * SIZE;
    let ring = Ring::with(&ReactorOptions {
        buffers: PoolSize { count: 512, size: SIZE as u32 },
        receive_limit: LIMIT,
        ..ReactorOptions::default()
    });
    let (socket, mut peer) = ring.pair();
    let option = socket2::SockRef::from(&peer).set_send_buffer_size(64 * 1024);
    option.unwrap();
    let pattern = Pattern::new(2);
    let (written, source) = (Arc::new(AtomicUsize::new(0)), pattern.clone());
    let progress = written.clone();
    let writer = std::thread::spawn(move || {
        for at in (0..LEN).step_by(32 * 1024) {
            peer.write_all(&source.bytes(at, 32 * 1024)).unwrap();
            progress.fetch_add(32 * 1024, Ordering::SeqCst);
        }
    });
    let reactor = ring.0.clone();
    ring.run(async move {
        let mut at = 0;
        for round in 1..=3 {
            // Take one buffer, which asks for more, and then look away for a while.
            let buf = recv(&socket).await.unwrap().unwrap();
            pattern.check(at, &buf);
            at += buf.len();
            drop(buf);
            let mut seen = usize::MAX;
            while seen != written.load(Ordering::SeqCst) {
                seen = written.load(Ordering::SeqCst);
                reactor.sleep(Duration::from_millis(50)).await;
            }
            let facts = reactor.facts();
            assert!(facts.buffers_in_use as usize * SIZE <= LIMIT + OVERSHOOT, "round {round}: {facts:?}");
            // Of the pool's buffers few are lent at a time at first, and a burst may take them all; but there are others.
            assert_eq!(facts.heap_buffers, 0, "round {round}: {facts:?}");
            assert!(facts.receive_pauses > 0, "round {round}: {facts:?}");
            assert!(seen < LEN, "the writer was not stopped");
        }
        while at < LEN {
            let buf = recv(&socket).await.unwrap().unwrap();
            pattern.check(at, &buf);
            at += buf.len();
        }
        assert_eq!(at, LEN);
        assert!(recv(&socket).await.unwrap().is_none());
        assert_eq!(reactor.facts().buffers_in_use, 0);
    });
    writer.join().unwrap();
}

/// The smallest ring there is, and many sockets that all have something to say at once: most completions overflow the
/// queue, which ends multishot receives without the MORE flag.
#[test]
fn an_overflowing_completion_queue_loses_nothing() {
    const SOCKETS: usize = 64;
    const LEN: usize = 64 * 1024;
    let ring = Ring::with(&ReactorOptions {
        ring_entries: 1,
        buffers: PoolSize { count: 256, size: 4096 },
        ..ReactorOptions::default()
    });
    let mut peers = Vec::new();
    let done = std::rc::Rc::new(std::cell::Cell::new(0));
    for i in 0..SOCKETS {
        let (socket, mut peer) = ring.pair();
        let pattern = Pattern::new(i as u64);
        peer.write_all(&pattern.bytes(0, 1024)).unwrap();
        peers.push((peer, pattern.clone()));
        let done = done.clone();
        ring.spawn(async move {
            expect(&socket, &pattern, LEN).await;
            assert!(recv(&socket).await.unwrap().is_none());
            done.set(done.get() + 1);
        });
    }
    let writer = std::thread::spawn(move || {
        for at in (1024..LEN).step_by(1024) {
            for (peer, pattern) in &mut peers {
                peer.write_all(&pattern.bytes(at, 1024)).unwrap();
            }
        }
    });
    ring.finish(&done, SOCKETS);
    writer.join().unwrap();
    ring.settle(|facts| facts.sockets == 0);
}

#[test]
fn a_stopped_receive_leaves_the_descriptor_alone() {
    let ring = Ring::new();
    for round in 0..50 {
        let (socket, mut peer) = ring.pair();
        ring.run(async move {
            // Armed, with and without data under way.
            let mut before = 0;
            if round % 2 == 0 {
                peer.write_all(b"before").unwrap();
                before = recv(&socket).await.unwrap().unwrap().len();
            } else {
                assert!(poll_fn(|_| std::task::Poll::Ready(socket.poll_recv())).await.is_pending());
                socket.reactor().yield_now().await;
                peer.write_all(b"before").unwrap();
            }
            poll_fn(|_| socket.poll_receive_stopped()).await;
            peer.write_all(b"after").unwrap();
            socket.reactor().sleep(Duration::from_millis(2)).await;
            let mut got = Vec::new();
            while socket.has_received_bytes() {
                got.extend_from_slice(&recv(&socket).await.unwrap().unwrap());
            }
            let left = read_now(&socket);
            let whole = [&b"before"[..before], &got, &left].concat();
            assert_eq!(whole, b"beforeafter");
            assert!(left.ends_with(b"after"), "the ring took what came after it had stopped");
        });
    }
}

/// What the kernel holds for this socket.
fn read_now(socket: &Socket) -> Vec<u8> {
    let fd = socket.raw_fd();
    let mut bytes = vec![0; 64];
    // SAFETY: the buffer has the length given, and the descriptor is the socket's.
    let n = unsafe { libc::recv(fd, bytes.as_mut_ptr().cast(), bytes.len(), libc::MSG_DONTWAIT) };
    bytes.truncate(n.max(0) as usize);
    bytes
}

/// Data that a submission in the middle of a task has already brought must survive the release of idle memory.
#[test]
fn trimming_spares_what_has_just_been_received() {
    let ring = Ring::with(&ReactorOptions {
        ring_entries: 2,
        buffers: PoolSize { count: 8, size: 4096 },
        ..ReactorOptions::default()
    });
    let (socket, mut peer) = ring.pair();
    let others: Vec<_> = (0..8).map(|_| ring.pair()).collect();
    let reactor = ring.0.clone();
    ring.run(async move {
        // The first turn lends the buffers.
        reactor.yield_now().await;
        peer.write_all(b"precious").unwrap();
        std::thread::sleep(Duration::from_millis(5));
        assert!(poll_fn(|_| std::task::Poll::Ready(socket.poll_recv())).await.is_pending());
        // More entries than the queue holds: it is submitted here and now, and the receive completes.
        others.iter().for_each(|(other, _)| other.send_one(Segment::Static(b"x")));
        reactor.trim();
        assert_eq!(&*recv(&socket).await.unwrap().unwrap(), b"precious");
    });
}

#[test]
fn unix_sockets_carry_bytes_as_well() {
    let ring = Ring::new();
    let (ours, mut peer) = std::os::unix::net::UnixStream::pair().unwrap();
    let socket = Socket::new(&ring, ours.into());
    ring.run(async move {
        peer.write_all(b"ping").unwrap();
        assert_eq!(&*recv(&socket).await.unwrap().unwrap(), b"ping");
        socket.send_one(Segment::Static(b"pong"));
        flushed(&socket, 0).await.unwrap();
        let mut answer = [0; 4];
        peer.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"pong");
        drop(peer);
        assert!(recv(&socket).await.unwrap().is_none());
    });
}

/// One buffer for each time of asking; the rest waits in the kernel, where splice can have it.
#[test]
fn a_receive_of_one_buffer_leaves_the_rest_to_the_kernel() {
    const SIZE: usize = 4096;
    const LEN: usize = 20 * SIZE;
    let ring = Ring::with_buffers(64);
    let (socket, mut peer) = ring.pair();
    let pattern = Pattern::new(15);
    peer.write_all(&pattern.bytes(0, LEN)).unwrap();
    let reactor = ring.0.clone();
    ring.run(async move {
        socket.set_receive_once(true);
        let mut at = 0;
        for _ in 0..5 {
            let buf = recv(&socket).await.unwrap().unwrap();
            pattern.check(at, &buf);
            at += buf.len();
            drop(buf);
            reactor.sleep(Duration::from_millis(2)).await;
            assert!(!socket.has_received(), "more came than was asked for");
            assert!(at <= 5 * SIZE);
        }
        // Back to as many as come, on the same socket.
        socket.set_receive_once(false);
        while at < LEN {
            let buf = recv(&socket).await.unwrap().unwrap();
            pattern.check(at, &buf);
            at += buf.len();
        }
        assert_eq!(at, LEN);
        socket.set_receive_once(true);
        drop(peer);
        assert!(recv(&socket).await.unwrap().is_none());
    });
}
