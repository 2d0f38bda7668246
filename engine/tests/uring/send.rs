//! Sending: order over many segments, short sends, one send at a time, the watermark.

use crate::support::{Pattern, Random, Ring, flushed};
use ringway::ring::Segment;
use std::io::Read;
use std::net::TcpStream;
use std::thread::JoinHandle;
use std::time::Duration;

static STATIC: &[u8] = &[0x5a; 3000];

/// Reads everything, slowly at first, and returns it.
fn slow_reader(mut peer: TcpStream) -> JoinHandle<Vec<u8>> {
    socket2::SockRef::from(&peer).set_recv_buffer_size(16 * 1024).unwrap();
    std::thread::spawn(move || {
        let mut all = Vec::new();
        let mut buffer = vec![0; 30_000];
        for round in 0.. {
            if round < 40 {
                std::thread::sleep(Duration::from_millis(1));
            }
            match peer.read(&mut buffer).unwrap() {
                0 => break,
                n => all.extend_from_slice(&buffer[..n]),
            }
        }
        all
    })
}

fn segment(ring: &ringway::ring::Reactor, random: &mut Random, pattern: &Pattern, sent: &mut Vec<u8>) -> Segment {
    let len = random.below(6000);
    let bytes = pattern.bytes(sent.len(), len);
    let segment = match random.below(4) {
        0 => {
            let len = len.min(STATIC.len());
            sent.extend_from_slice(&STATIC[..len]);
            return Segment::Static(&STATIC[..len]);
        }
        1 => Segment::Buf(ring.pool().copy_from(&bytes)),
        2 => {
            // A slice out of the middle of a buffer.
            let framed = [b"head", &bytes[..], b"tail"].concat();
            Segment::Buf(ring.pool().copy_from(&framed).slice(4..4 + len))
        }
        _ => {
            let mut vec = ring.take_vec();
            vec.extend_from_slice(&bytes);
            Segment::Owned(vec)
        }
    };
    sent.extend_from_slice(&bytes);
    segment
}

#[test]
fn order_is_kept_over_thousands_of_segments_and_short_sends() {
    for seed in 0..4 {
        let ring = Ring::new();
        let (socket, peer) = ring.pair();
        socket2::SockRef::from(&peer).set_recv_buffer_size(16 * 1024).unwrap();
        let reader = slow_reader(peer);
        let reactor = ring.0.clone();
        let sent = ring.run(async move {
            let (mut random, pattern) = (Random::new(seed), Pattern::new(seed));
            let mut sent = Vec::new();
            while sent.len() < 4 << 20 {
                // Batches from one segment to more than one system call takes.
                let mut batch: Vec<_> =
                    (0..1 + random.below(80)).map(|_| segment(&reactor, &mut random, &pattern, &mut sent)).collect();
                socket.send(&mut batch);
                assert!(batch.is_empty());
                if random.below(3) == 0 {
                    socket.send_one(segment(&reactor, &mut random, &pattern, &mut sent));
                }
                match random.below(3) {
                    0 => reactor.yield_now().await,
                    1 => flushed(&socket, 128 * 1024).await.unwrap(),
                    _ => {}
                }
            }
            flushed(&socket, 0).await.unwrap();
            assert_eq!(socket.unsent(), 0);
            assert_eq!(reactor.facts().buffers_in_use, 0, "segments that are sent hold nothing");
            sent
        });
        let got = reader.join().unwrap();
        assert_eq!(got.len(), sent.len());
        assert!(got == sent, "seed {seed}: the bytes differ");
    }
}

#[test]
fn the_watermark_wakes_the_sender_below_it() {
    const LIMIT: usize = 100_000;
    const PIECE: usize = 10_000;
    let ring = Ring::new();
    let (socket, peer) = ring.pair();
    socket2::SockRef::from(&peer).set_recv_buffer_size(16 * 1024).unwrap();
    let reader = slow_reader(peer);
    let pattern = Pattern::new(9);
    let expected = pattern.clone();
    ring.run(async move {
        let mut paused = 0;
        for at in (0..8 << 20).step_by(PIECE) {
            socket.send_one(Segment::Owned(pattern.bytes(at, PIECE)));
            if socket.poll_flushed(LIMIT).is_pending() {
                paused += 1;
                assert!(socket.unsent() > LIMIT - PIECE, "{} bytes are no reason to wait", socket.unsent());
            }
            flushed(&socket, LIMIT).await.unwrap();
            assert!(socket.unsent() <= LIMIT);
        }
        assert!(paused > 0, "the reader was never too slow");
        flushed(&socket, 0).await.unwrap();
    });
    expected.check(0, &reader.join().unwrap());
}

#[test]
fn one_segment_larger_than_every_buffer_goes_out_whole() {
    const LEN: usize = 32 << 20;
    let ring = Ring::new();
    let (socket, mut peer) = ring.pair();
    let pattern = Pattern::new(10);
    let expected = pattern.clone();
    let reader = std::thread::spawn(move || expected.check_prefix(&mut peer));
    ring.run(async move {
        socket.send_one(Segment::Owned(pattern.bytes(0, LEN)));
        flushed(&socket, 0).await.unwrap();
    });
    assert_eq!(reader.join().unwrap(), LEN);
}

/// What is announced as the last comes with the FIN: a peer that has read the one finds the other. The kernel keeps it for
/// 200 ms only, which may be over on a machine that is busy with other things; not most times, though.
#[test]
fn the_end_comes_with_the_last_bytes() {
    const TIMES: usize = 9;
    for is_dropped in [true, false] {
        let ring = Ring::new();
        let mut together = 0;
        for _ in 0..TIMES {
            let (socket, mut peer) = ring.pair();
            let reader = std::thread::spawn(move || {
                let mut bytes = [0; 8];
                let first = peer.read(&mut bytes).unwrap();
                assert_eq!(&bytes[..first], b"last");
                peer.set_nonblocking(true).unwrap();
                peer.read(&mut bytes).is_ok_and(|read| read == 0)
            });
            let reactor = ring.0.clone();
            ring.run(async move {
                socket.ends_with_next();
                socket.queue(Segment::Static(b"la"));
                socket.send_one(Segment::Static(b"st"));
                flushed(&socket, 0).await.unwrap();
                if !is_dropped {
                    socket.shutdown_write();
                }
                // Meanwhile a peer reads what has come.
                reactor.sleep(Duration::from_millis(if is_dropped { 0 } else { 20 })).await;
            });
            together += usize::from(reader.join().unwrap());
        }
        assert!(together > TIMES / 2, "{together} of {TIMES}, dropped: {is_dropped}");
    }
}
