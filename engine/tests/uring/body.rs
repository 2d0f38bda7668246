//! How the body of a response over HTTP/1 is received: in pieces as large as they come, once it is long and fast.

use crate::support::{Pattern, Ring};
use ringway::codec::h1::Limits;
use ringway::http::{Message, ResponseHead, Trailers};
use ringway::mux::{HeadKind, Piece, Upstream, h1};
use ringway::net::ByteStream;
use std::future::poll_fn;
use std::io::Write;
use std::net::TcpStream;

/// In one segment over loopback.
const SEGMENT: usize = 60_000;
const LONG: usize = 32 * 1024;

/// What the sink has room for when it is empty, by default.
const LIMIT: usize = 192 * 1024;

/// An exchange whose response begins with `head`.
async fn begin(wire: &mut Upstream, peer: &mut TcpStream, head: &str) {
    wire.begin(&Limits::default(), false);
    peer.write_all(head.as_bytes()).unwrap();
    let mut response = Message::<ResponseHead>::default();
    let kind = poll_fn(|_| wire.poll_head(&mut response)).await.expect("a head");
    assert_eq!(kind, HeadKind::Final);
}

/// The next piece's length, where the sink has room for `limit` bytes, and how much of it the source waits for.
async fn piece(wire: &mut Upstream, limit: usize) -> (usize, usize) {
    let mut trailers = Trailers::default();
    let wanted = wire.wanted(limit);
    match poll_fn(|_| wire.poll_piece(&mut trailers)).await {
        Ok(Piece::Data(buf)) => (buf.len(), wanted),
        Ok(Piece::End) => (0, wanted),
        Err(broken) => panic!("{broken:?}"),
    }
}

#[test]
fn a_long_body_fills_large_buffers_where_there_is_room() {
    let ring = Ring::new();
    let (socket, mut peer) = ring.pair();
    let reactor = ring.0.clone();
    ring.run(async move {
        let mut wire = Upstream::H1(h1::Asked::new(ByteStream::Socket(socket), &reactor));
        let body = Pattern::new(1).bytes(0, SEGMENT);
        // The second one is received as the first one was at its end.
        for slow_start in [&[(LONG, 0), (SEGMENT - LONG, LONG)][..], &[(SEGMENT, LONG)]] {
            let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", 7 * SEGMENT);
            begin(&mut wire, &mut peer, &head).await;
            peer.write_all(&body).unwrap();
            let mut first = 0;
            while first < SEGMENT {
                first += piece(&mut wire, LIMIT).await.0;
            }
            // The last of these was short, in the first response. The next one shows that the body is fast.
            for (limit, lengths) in [
                (LIMIT, slow_start),
                (LIMIT, &[(SEGMENT, LONG)]),
                // Too little for a large buffer, however empty it is.
                (100 * 1024, &[(LONG, 0), (SEGMENT - LONG, 0)]),
                (LIMIT, &[(SEGMENT, LONG)]),
            ] {
                peer.write_all(&body).unwrap();
                for expected in lengths {
                    assert_eq!(piece(&mut wire, limit).await, *expected);
                }
            }
            // Where it gets slow, it is as any other, and at its end.
            for (sent, pieces) in [
                (100, &[(100, LONG)][..]),
                (100, &[(100, 0)]),
                (SEGMENT - 200, &[(LONG, 0), (SEGMENT - 200 - LONG, LONG)]),
                (SEGMENT, &[(LONG, 0), (SEGMENT - LONG, 0)]),
            ] {
                peer.write_all(&body[..sent]).unwrap();
                for expected in pieces {
                    assert_eq!(piece(&mut wire, LIMIT).await, *expected);
                }
            }
            assert_eq!(piece(&mut wire, LIMIT).await.0, 0, "the end");
        }
    });
    ring.settle(|facts| facts.sockets == 0 && facts.buffers_in_use == 0);
}

/// Each slice of a buffer counts as all of it.
#[test]
fn only_long_chunks_fill_large_buffers() {
    let ring = Ring::new();
    let (socket, mut peer) = ring.pair();
    let reactor = ring.0.clone();
    ring.run(async move {
        let mut wire = Upstream::H1(h1::Asked::new(ByteStream::Socket(socket), &reactor));
        begin(&mut wire, &mut peer, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await;
        let body = Pattern::new(1).bytes(0, SEGMENT);
        let mut chunk = |len: usize, sent: &[usize]| {
            peer.write_all(format!("{len:x}\r\n").as_bytes()).unwrap();
            sent.iter().for_each(|sent| peer.write_all(&body[..*sent]).unwrap());
            peer.write_all(if sent.iter().sum::<usize>() == len { b"\r\n" } else { b"" }).unwrap();
        };
        for _ in 0..10 {
            chunk(20_000, &[20_000]);
            let mut at = 0;
            while at < 20_000 {
                let (len, wanted) = piece(&mut wire, LIMIT).await;
                assert_eq!(wanted, 0);
                at += len;
            }
        }
        chunk(1 << 20, &[SEGMENT]);
        let mut at = 0;
        while at < SEGMENT {
            at += piece(&mut wire, LIMIT).await.0;
        }
        assert_eq!(wire.wanted(LIMIT), LONG);
    });
}
