//! Bytes through an established connection.

use super::session::records_in;
use super::*;

fn pair(world: &World) -> (Box<TlsStream>, Box<TlsStream>) {
    let files = Files::new();
    let server = server(&downstream(vec![files.issue(&["a.example"])]));
    world.agree(&connector(&upstream(&files, "a.example")), &server)
}

fn pipe_of(stream: &TlsStream) -> &PipeEnd {
    match stream.below() {
        ByteStream::Pipe(pipe) => pipe,
        ByteStream::Socket(_) | ByteStream::Tls(_) => unreachable!("the tests use pipes"),
    }
}

/// Sends all of `bytes` in pieces of these sizes, and returns what comes out.
fn carry(world: &World, from: Rc<TlsStream>, to: &Rc<TlsStream>, bytes: &[u8], piece: usize) -> Vec<u8> {
    let pieces: Vec<Vec<u8>> = bytes.chunks(piece).map(<[u8]>::to_vec).collect();
    world.reactor.spawn(async move {
        for piece in pieces {
            from.queue(Segment::Owned(piece));
            from.start_send();
            // Nothing is wrong with the pipe.
            let _ = poll_fn(|_| from.below().poll_flushed(4096)).await;
        }
    });
    let (to, expected) = (to.clone(), bytes.len());
    world.run(async move {
        let mut all = Vec::new();
        while all.len() < expected {
            match poll_fn(|_| to.poll_recv()).await {
                Ok(Some(buf)) => all.extend_from_slice(&buf),
                _ => break,
            }
        }
        all
    })
}

#[test]
fn bytes_come_out_as_they_went_in_however_they_are_cut() {
    let bytes = pattern(100_000);
    for limit in [1, 4, 5, 21, 22, 1000, 16_406, 40_000] {
        let world = World::new(limit as u64);
        let (client, server) = pair(&world);
        pipe_of(&client).set_read_limit(limit);
        pipe_of(&server).set_read_limit(limit);
        let (client, server) = (Rc::<TlsStream>::from(client), Rc::<TlsStream>::from(server));
        let sent = if limit < 1000 { &bytes[..20_000] } else { &bytes[..] };
        for piece in [700, 16_384, 50_000] {
            assert!(carry(&world, client.clone(), &server, sent, piece) == sent, "up, {limit}, {piece}");
            assert!(carry(&world, server.clone(), &client, sent, piece) == sent, "down, {limit}, {piece}");
        }
    }
}

/// A record costs 22 bytes and a computation: a head and its body share one.
#[test]
fn a_batch_fills_as_few_records_as_it_fits_in() {
    let world = World::new(1);
    let (client, server) = pair(&world);
    // Past the tickets.
    assert_eq!(received(&client).0, b"");
    let cost = |sizes: &[usize]| {
        let before = pipe_of(&client).received_total();
        let mut segments: Vec<_> = sizes.iter().map(|size| Segment::Owned(pattern(*size))).collect();
        server.send(&mut segments);
        let total: usize = sizes.iter().sum();
        let expected: Vec<u8> = sizes.iter().flat_map(|size| pattern(*size)).collect();
        assert!(received(&client).0 == expected);
        (pipe_of(&client).received_total() - before) as usize - total
    };
    // Type, version and length, the type within, and the tag (RFC 8446 section 5.2).
    const RECORD: usize = 5 + 1 + 16;
    assert_eq!(cost(&[100, 5000, 1]), RECORD);
    assert_eq!(cost(&[16_384]), RECORD);
    assert_eq!(cost(&[16_385]), 2 * RECORD);
    assert_eq!(cost(&[200, 16_184]), RECORD);
    assert_eq!(cost(&[200, 32_768]), 3 * RECORD);
    assert_eq!(cost(&[16_384, 16_384, 7]), 3 * RECORD);
}

#[test]
fn the_end_is_told_and_an_end_without_a_word_is_an_error() {
    let world = World::new(1);
    for (says_so, half) in [(true, true), (true, false), (false, false)] {
        let (client, server) = pair(&world);
        server.send_one(Segment::Static(b"last"));
        if half {
            server.shutdown_write();
            // The other direction goes on (RFC 8446 section 6.1).
            client.send_one(Segment::Static(b"still"));
            assert_eq!(received(&server), (b"still".to_vec(), false));
        }
        if says_so {
            drop(server);
            assert_eq!(received(&client), (b"last".to_vec(), true));
            assert!(matches!(client.poll_recv(), Poll::Ready(Ok(None))), "it stays so");
        } else {
            assert_eq!(received(&client), (b"last".to_vec(), false));
            pipe_of(&server).shutdown_write();
            let end = client.poll_recv();
            assert!(matches!(&end, Poll::Ready(Err(error)) if error.kind() == std::io::ErrorKind::UnexpectedEof));
            assert!(client.has_received() && !client.has_received_bytes());
        }
    }
}

/// Tickets are no bytes for those above: a pooled connection on which they arrive is still idle.
#[test]
fn what_is_meant_for_tls_alone_is_not_received() {
    let world = World::new(1);
    let files = Files::new();
    let server = server(&downstream(vec![files.issue(&["a.example"])]));
    let (client, _server) = world.agree(&connector(&upstream(&files, "a.example")), &server);
    assert!(client.below().has_received_bytes(), "the tickets");
    assert!(!client.has_received() && !client.has_received_bytes());
    assert!(!client.below().has_received_bytes());
}

/// A client whose socket has Nagle's algorithm holds its request back until the last message of its handshake is acknowledged,
/// which takes 40 ms unless something goes out or is asked for.
#[test]
fn what_ends_a_handshake_is_answered_or_acknowledged_at_once() {
    let files = Files::new();
    let to = upstream(&files, "a.example");
    let with =
        |version| UpstreamTls { parameters: TlsParameters { max_version: version, ..parameters() }, ..to.clone() };
    let by_tickets = downstream(vec![files.issue(&["a.example"])]);
    let without = DownstreamTls { session_tickets: false, ..by_tickets.clone() };
    let asked = ClientCertificate { validation: by(&files), required: false };
    let mutual = DownstreamTls { client_certificate: Some(asked), ..by_tickets.clone() };
    for (model, version, acknowledged) in [
        (&by_tickets, TlsVersion::V1_3, 0),
        (&without, TlsVersion::V1_3, 1),
        (&mutual, TlsVersion::V1_3, 1),
        // The server's message is the last one.
        (&without, TlsVersion::V1_2, 0),
    ] {
        let world = World::new(1);
        let (client, accepted) = world.agree(&connector(&with(version)), &server(model));
        assert_eq!(pipe_of(&accepted).acknowledged(), acknowledged, "{version:?}, {model:?}");
        assert_eq!(pipe_of(&client).acknowledged(), 0, "nothing is owed to servers");
    }
}

#[test]
fn a_broken_record_ends_the_connection_and_the_peer_hears_why() {
    let world = World::new(1);
    let (client, server) = pair(&world);
    client.send_one(Segment::Static(b"good"));
    pipe_of(&client).write(&[23, 3, 3, 0, 20, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20]);
    assert_eq!(received(&server), (b"good".to_vec(), false), "what came before is good");
    let end = server.poll_recv();
    assert!(matches!(&end, Poll::Ready(Err(error)) if error.kind() == std::io::ErrorKind::InvalidData));
    assert!(server.is_broken());
    assert!(matches!(client.poll_recv(), Poll::Ready(Err(_))));
    let told = client.failure().map(|failure| failure.to_string()).unwrap_or_default();
    assert!(told.contains("BadRecordMac"), "{told}");
    server.send_one(Segment::Static(b"nothing goes out any more"));
}

#[test]
fn bytes_that_are_put_back_come_first() {
    let world = World::new(1);
    let (client, server) = pair(&world);
    client.send_one(Segment::Static(b"one"));
    let Poll::Ready(Ok(Some(buf))) = server.poll_recv() else { panic!("they have come") };
    client.send_one(Segment::Static(b"two"));
    server.unread(buf);
    assert!(server.has_received_bytes());
    assert_eq!(received(&server).0, b"onetwo");
}

/// Wishes for new keys, as many as a peer may have within a second, whatever else comes in between (HAProxy issue 3450,
/// JDK-8329548): the library ends those that send more than 32 in a row.
#[test]
fn a_flood_of_new_keys_ends_the_connection() {
    let world = World::new(1);
    let (client, server) = pair(&world);
    assert_eq!(received(&client).0, b"");
    let broken = |count: usize, between: &'static [u8]| {
        for _ in 0..count {
            client.renew_keys();
            client.send_one(Segment::Static(between));
        }
        (received(&server).0.len(), server.failure().map(|failure| failure.to_string()))
    };
    // Also where they come in one piece, with those that bring something, and after a while.
    for _ in 0..3 {
        assert_eq!(broken(100, b"data"), (400, None));
        world.run({
            let reactor = world.reactor.clone();
            async move { reactor.sleep(Duration::from_secs(1)).await }
        });
    }
    for count in [40, 40, 20] {
        assert_eq!(broken(count, b"d"), (count, None));
    }
    let (_, why) = broken(1, b"d");
    assert!(why.is_some_and(|why| why.contains("KeyUpdates")));
    assert!(server.is_broken() && matches!(server.poll_recv(), Poll::Ready(Err(_))));
    // Bytes in records of any size are none of it.
    let (client, server) = pair(&world);
    for _ in 0..10_000 {
        client.send_one(Segment::Static(b"d"));
    }
    assert_eq!((received(&server).0.len(), server.is_broken()), (10_000, false));
}

/// However they are cut on their way.
#[test]
fn wishes_for_new_keys_go_with_bytes() {
    for limit in [1, 26, 27, 28, 50, 1000] {
        let world = World::new(1);
        let (client, server) = pair(&world);
        pipe_of(&server).set_read_limit(limit);
        for _ in 0..30 {
            client.renew_keys();
            client.renew_keys();
            client.renew_keys();
            client.send_one(Segment::Static(b"behind"));
        }
        let (bytes, _) = received(&server);
        assert_eq!((bytes.len(), server.is_broken()), (180, false), "{limit}");
    }
}

/// The answer to a wish goes before the records of the next batch, of which each has its new key.
#[test]
fn the_answer_to_a_wish_for_new_keys_goes_before_a_batch() {
    let world = World::new(1);
    let (client, server) = pair(&world);
    assert_eq!(received(&client).0, b"");
    for len in [10, 20_000, 300_000] {
        client.renew_keys();
        client.send_one(Segment::Static(b"renewed"));
        assert_eq!(received(&server).0, b"renewed");
        let bytes = pattern(len);
        server.send_one(Segment::Owned(bytes.clone()));
        assert!(received(&client).0 == bytes && !client.is_broken(), "{len}");
    }
}

/// What is no record any more, since the library put the pieces of a message together over it, counts for as many as fit.
#[test]
fn records_are_counted_by_their_headers() {
    let record = |length: u8| [vec![23, 3, 3, 0, length], vec![0; length.into()]].concat();
    let joined = |parts: &[Vec<u8>]| records_in(&parts.concat());
    assert_eq!((joined(&[]), joined(&[record(22)]), joined(&[record(17), record(255), record(0)])), (0, 1, 3));
    assert_eq!(joined(&[record(22), vec![4; 1]]), 2);
    assert_eq!(joined(&[record(22), vec![4; 54]]), 3);
    assert_eq!(joined(&[record(22), vec![4; 55], record(22)]), 5, "82 bytes, of which none are trusted");
    assert_eq!(joined(&[record(22), vec![23, 3, 3, 1, 0]]), 2, "longer than what is there");
}
