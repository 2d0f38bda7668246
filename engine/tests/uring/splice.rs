//! A body moved inside the kernel, from one socket to the other.

use crate::support::{Pattern, Random, Ring, expect, flushed, recv, reset};
use ringway::ring::{Moved, Segment, Socket, Splice};
use std::future::poll_fn;
use std::io::{self, Write};
use std::net::TcpStream;
use std::rc::Rc;
use std::task::{Poll, ready};
use std::time::Duration;

/// Relay everything up to the source's end; returns the bytes that went through the pipe, and how it ended.
async fn relay(from: &Socket, to: &Socket) -> (usize, io::Result<()>) {
    poll_fn(|_| from.poll_receive_stopped()).await;
    while from.has_received_bytes() {
        to.send_one(Segment::Buf(recv(from).await.unwrap().unwrap()));
    }
    if let Err(error) = flushed(to, 0).await {
        return (0, Err(error));
    }
    let mut pipe = from.reactor().take_pipe().unwrap();
    from.set_nonblocking(true);
    to.set_nonblocking(true);
    let mut moved = 0;
    let result = poll_fn(|_| poll_move(from, to, &mut pipe, &mut moved)).await;
    from.set_nonblocking(false);
    to.set_nonblocking(false);
    from.reactor().give_pipe(pipe);
    (moved, result)
}

fn poll_move(from: &Socket, to: &Socket, pipe: &mut Splice, moved: &mut usize) -> Poll<io::Result<()>> {
    loop {
        if pipe.held() > 0 {
            match pipe.push(to) {
                Ok(Moved::Bytes(n)) => *moved += n,
                Ok(Moved::WouldBlock) => ready!(to.poll_writable()),
                Ok(Moved::Eof) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Err(error) => return Poll::Ready(Err(error)),
            }
        } else {
            match pipe.pull(from, 1 << 20) {
                Ok(Moved::Bytes(_)) => {}
                Ok(Moved::WouldBlock) => ready!(from.poll_readable()),
                Ok(Moved::Eof) => return Poll::Ready(Ok(())),
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

/// Writes `len` bytes with pauses.
fn write_slowly(stream: &mut TcpStream, pattern: &Pattern, len: usize, random: &mut Random) -> io::Result<()> {
    let mut at = 0;
    while at < len {
        let piece = (1 + random.below(200_000)).min(len - at);
        stream.write_all(&pattern.bytes(at, piece))?;
        at += piece;
        if random.below(4) == 0 {
            std::thread::sleep(Duration::from_micros(random.next() % 3000));
        }
    }
    Ok(())
}

fn is_nonblocking(socket: &Socket) -> bool {
    // SAFETY: no pointers are passed; the descriptor is the socket's.
    let flags = unsafe { libc::fcntl(socket.raw_fd(), libc::F_GETFL) };
    assert!(flags >= 0);
    flags & libc::O_NONBLOCK != 0
}

#[test]
fn a_large_body_arrives_whole_whatever_the_pace() {
    const LEN: usize = 24 << 20;
    for seed in 0..3 {
        let ring = Ring::new();
        let ((from, mut origin), (to, mut client)) = (ring.pair(), ring.pair());
        let pattern = Pattern::new(seed);
        let (source, expected) = (pattern.clone(), pattern);
        let writer = std::thread::spawn(move || {
            write_slowly(&mut origin, &source, LEN, &mut Random::new(seed)).unwrap();
        });
        let reader = std::thread::spawn(move || read_slowly(&mut client, &expected, &mut Random::new(seed + 50)));
        ring.run(async move {
            // The ring has begun to receive, as it has when a head came.
            let head = recv(&from).await.unwrap().unwrap();
            to.send_one(Segment::Buf(head));
            let (moved, result) = relay(&from, &to).await;
            result.unwrap();
            assert!(moved > LEN / 2, "only {moved} bytes went through the pipe");
        });
        writer.join().unwrap();
        assert_eq!(reader.join().unwrap(), LEN);
        ring.settle(|facts| facts.sockets == 0 && facts.buffers_in_use == 0);
    }
}

fn read_slowly(stream: &mut TcpStream, pattern: &Pattern, random: &mut Random) -> usize {
    use std::io::Read;
    let (mut at, mut buffer) = (0, vec![0; 200_000]);
    loop {
        let wanted = 1 + random.below(buffer.len());
        match stream.read(&mut buffer[..wanted]).unwrap() {
            0 => return at,
            n => {
                pattern.check(at, &buffer[..n]);
                at += n;
            }
        }
        if random.below(8) == 0 {
            std::thread::sleep(Duration::from_micros(random.next() % 3000));
        }
    }
}

/// Between splices the connection is the ring's again, as on a connection that is kept alive.
#[test]
fn the_ring_takes_over_again_afterwards() {
    const LEN: usize = 1 << 20;
    let ring = Ring::new();
    let ((from, mut origin), (to, mut client)) = (ring.pair(), ring.pair());
    let pattern = Pattern::new(12);
    let (source, expected) = (pattern.clone(), pattern.clone());
    let writer = std::thread::spawn(move || {
        for _ in 0..3 {
            write_slowly(&mut origin, &source, LEN, &mut Random::new(1)).unwrap();
        }
        origin
    });
    let reader = std::thread::spawn(move || {
        let mut got = vec![0; 3 * LEN];
        std::io::Read::read_exact(&mut client, &mut got).unwrap();
        got.chunks(LEN).for_each(|message| expected.check(0, message));
        client.write_all(b"thanks").unwrap();
        client
    });
    let pattern = Rc::new(pattern);
    ring.run(async move {
        for _ in 0..3 {
            splice_exactly(&from, &to, LEN).await;
            assert!(!is_nonblocking(&from) && !is_nonblocking(&to));
        }
        // Waiting, not EAGAIN: before anything is there.
        assert_eq!(&*recv(&to).await.unwrap().unwrap(), b"thanks");
        let mut origin = writer.join().unwrap();
        let back = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(5));
            origin.write_all(&pattern_bytes(LEN)).unwrap();
        });
        expect(&from, &pattern, LEN).await;
        back.join().unwrap();
        drop(reader.join().unwrap());
    });
}

fn pattern_bytes(len: usize) -> Vec<u8> {
    Pattern::new(12).bytes(0, len)
}

async fn splice_exactly(from: &Socket, to: &Socket, len: usize) {
    poll_fn(|_| from.poll_receive_stopped()).await;
    let mut pipe = from.reactor().take_pipe().unwrap();
    from.set_nonblocking(true);
    to.set_nonblocking(true);
    let mut left = len;
    poll_fn(|_| {
        loop {
            if pipe.held() > 0 {
                match pipe.push(to).unwrap() {
                    Moved::Bytes(_) => {}
                    Moved::WouldBlock => ready!(to.poll_writable()),
                    Moved::Eof => panic!("a socket has no end for writing"),
                }
            } else if left == 0 {
                return Poll::Ready(());
            } else {
                match pipe.pull(from, left).unwrap() {
                    Moved::Bytes(n) => left -= n,
                    Moved::WouldBlock => ready!(from.poll_readable()),
                    Moved::Eof => panic!("the source ended early"),
                }
            }
        }
    })
    .await;
    from.set_nonblocking(false);
    to.set_nonblocking(false);
    from.reactor().give_pipe(pipe);
}

#[test]
fn an_origin_that_leaves_early_ends_the_splice() {
    let ring = Ring::new();
    for abort in [false, true] {
        let ((from, mut origin), (to, mut client)) = (ring.pair(), ring.pair());
        let pattern = Pattern::new(20);
        let (source, expected) = (pattern.clone(), pattern);
        let writer = std::thread::spawn(move || {
            origin.write_all(&source.bytes(0, 3 << 20)).unwrap();
            if abort {
                reset(origin);
            }
        });
        let reader = std::thread::spawn(move || expected.check_prefix(&mut client));
        ring.run(async move {
            let (_, result) = relay(&from, &to).await;
            assert_eq!(result.is_err(), abort, "{result:?}");
        });
        writer.join().unwrap();
        let arrived = reader.join().unwrap();
        assert!(abort || arrived == 3 << 20, "{arrived} bytes");
    }
    ring.settle(|facts| facts.sockets == 0);
}

#[test]
fn a_client_that_leaves_early_ends_the_splice() {
    let ring = Ring::new();
    for abort in [false, true] {
        let ((from, mut origin), (to, mut client)) = (ring.pair(), ring.pair());
        let writer = std::thread::spawn(move || {
            let chunk = vec![3; 1 << 16];
            while origin.write_all(&chunk).is_ok() {}
        });
        let reader = std::thread::spawn(move || {
            std::io::Read::read_exact(&mut client, &mut vec![0; 1 << 20]).unwrap();
            if abort {
                reset(client);
            }
        });
        ring.run(async move {
            let (_, result) = relay(&from, &to).await;
            let error = result.unwrap_err().raw_os_error();
            assert!(matches!(error, Some(libc::EPIPE | libc::ECONNRESET)), "{error:?}");
        });
        reader.join().unwrap();
        writer.join().unwrap();
    }
    ring.settle(|facts| facts.sockets == 0);
}

#[test]
fn a_splice_dropped_in_the_middle_leaves_a_prefix() {
    let ring = Ring::new();
    for turns in 0..20 {
        let ((from, mut origin), (to, mut client)) = (ring.pair(), ring.pair());
        let pattern = Pattern::new(30);
        let (source, expected) = (pattern.clone(), pattern);
        let writer = std::thread::spawn(move || {
            let _ = origin.write_all(&source.bytes(0, 2 << 20));
        });
        let reader = std::thread::spawn(move || expected.check_prefix(&mut client));
        let reactor = ring.0.clone();
        ring.run(async move {
            let task = reactor.spawn(async move {
                let _ = relay(&from, &to).await;
            });
            for _ in 0..turns {
                reactor.yield_now().await;
            }
            reactor.cancel(task);
        });
        ring.settle(|facts| facts.sockets == 0);
        writer.join().unwrap();
        reader.join().unwrap();
    }
}
