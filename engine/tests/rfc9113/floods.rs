//! What a client may make the proxy do for nothing (RFC 9113 section 10.5), and that it is let go when it does more.

use crate::frames::{self, CANCEL, ENHANCE_YOUR_CALM, HEADERS, PROTOCOL_ERROR, data, get, post};
use crate::support::{Bench, Cut, End, STREAMS, however_it_is_cut};
use std::time::Duration;

/// Write frames until the proxy has enough of them, at most `most`: how many it took.
#[track_caller]
fn flood(bench: &Bench, client: &mut End, most: u32, frame: impl Fn(u32) -> Vec<u8>) -> u32 {
    for index in 0..most {
        client.write(&frame(index));
        if index % 16 == 15 {
            bench.look(client);
        }
        if client.is_over {
            let code = client.goaways().last().map(|goaway| goaway.1);
            assert!(code.is_none_or(|code| code == ENHANCE_YOUR_CALM), "{:?}", client.goaways());
            return index;
        }
    }
    most
}

however_it_is_cut! {
    fn frames_that_move_nothing_are_bounded(cut) {
        type Make = fn(u32) -> Vec<u8>;
        let kinds: [(&str, Make); 11] = [
            ("PING", |_| frames::ping([0; 8])),
            ("PING ACK", |_| frames::pong([0; 8])),
            ("SETTINGS", |_| frames::settings(&[])),
            ("SETTINGS ACK", |_| frames::frame(frames::SETTINGS, frames::ACK, 0, b"")),
            ("PRIORITY", |_| frames::frame(frames::PRIORITY, 0, 99, &[0, 0, 0, 1, 0])),
            ("WINDOW_UPDATE", |_| frames::credit(0, 1)),
            ("WINDOW_UPDATE of a stream", |_| frames::credit(1, 1)),
            ("DATA", |_| data(1, false, b"")),
            ("padding", |_| frames::padded(1, false, b"", 0)),
            ("unknown", |_| frames::frame(0xaa, 0, 0, b"abc")),
            ("GOAWAY", |_| frames::goaway(0, 0)),
        ];
        for (name, frame) in kinds {
            let bench = Bench::new(cut);
            let mut client = bench.client();
            bench.say(&mut client, &post(1, "/"));
            let mut origin = bench.accept();
            let count = flood(&bench, &mut client, 3000, frame);
            assert!((900..1100).contains(&count), "{name}: {count}");
            assert_eq!(client.goaways(), [(1, ENHANCE_YOUR_CALM)], "{name}");
            assert_eq!((bench.http("http2.flood"), bench.http("downstream_cx_protocol_error")), (1, 1), "{name}");
            bench.look(&mut origin);
            assert_eq!(origin.resets(1), [CANCEL], "{name}");
            bench.finish([client], [origin]);
        }
    }

    /// In the course of time, and with exchanges, there may be as many as there are.
    fn frames_in_the_course_of_time_are_none_too_many(cut) {
        let bench = Bench::new(cut);
        let mut client = bench.client();
        for _ in 0..10 {
            assert_eq!(flood(&bench, &mut client, 490, |_| frames::ping([0; 8])), 490);
            bench.advance(Duration::from_secs(6));
        }
        for index in 0..200 {
            bench.works(&mut client, index * 2 + 1);
            assert_eq!(flood(&bench, &mut client, 10, |_| frames::ping([0; 8])), 10);
        }
        assert_eq!(client.goaways(), []);
        bench.finish([client], []);
    }

    /// CVE-2023-44487: streams that are opened and reset at once.
    fn rapid_resets_are_bounded(cut) {
        let bench = Bench::new(cut);
        let mut client = bench.client();
        let count = flood(&bench, &mut client, 3000, |index| {
            let id = index * 2 + 1;
            [get(id, "/"), frames::reset(id, CANCEL)].concat()
        });
        assert!((400..600).contains(&count), "{count}");
        assert_eq!(client.goaways().len(), 1);
        assert_eq!(bench.http("http2.flood"), 1);
        let origins = bench.origins();
        // Byte by byte, a request may be looked at before its reset is.
        assert!(cut == Cut::Bytes || bench.cluster("upstream_rq_total") == 0, "{}", bench.cluster("upstream_rq_total"));
        bench.finish([client], origins);
    }

    /// All in one burst: what was reset before it was looked at costs no endpoint anything.
    fn a_burst_of_streams_and_resets_reaches_no_endpoint(cut) {
        let bench = Bench::new(cut);
        let mut client = bench.client();
        let burst: Vec<u8> = (0..200_u32).flat_map(|index| [get(index * 2 + 1, "/"), frames::reset(index * 2 + 1, CANCEL)].concat()).collect();
        bench.say(&mut client, &burst);
        assert_eq!((client.goaways(), bench.http("downstream_rq_active")), (vec![], 0));
        assert!(cut == Cut::Bytes || bench.try_accept().is_none(), "none needed an endpoint");
        bench.works(&mut client, 401);
        let origins = bench.origins();
        bench.finish([client], origins);
    }

    /// linkerd2#14908: deadlines that expire, up to half of all, and resets of what was answered, are no abuse.
    fn resets_of_an_honest_client_are_no_abuse(cut) {
        let bench = Bench::new(cut);
        let mut client = bench.client();
        client.credits = [true; 2];
        let many = if cut == Cut::Whole { 700 } else { 520 };
        let mut id = 1;
        bench.say(&mut client, &get(id, "/"));
        let mut origin = bench.accept();
        for index in 0..many {
            id += 2;
            match index % 5 {
                0 => bench.say(&mut client, &[get(id, "/"), frames::reset(id, CANCEL)].concat()),
                1 => {
                    bench.say(&mut client, &get(id, "/"));
                    bench.look(&mut origin);
                    let asked = origin.asked();
                    bench.say(&mut origin, &frames::response(asked, false, "200", &[]));
                    bench.say(&mut client, &frames::reset(id, CANCEL));
                }
                _ => bench.works(&mut client, id),
            }
        }
        assert_eq!((client.goaways(), bench.http("http2.flood")), (vec![], 0));
        bench.finish([client], [origin]);
    }

    /// CVE-2025-8671: resets that the client makes this side send.
    fn provoked_resets_are_bounded(cut) {
        type Make = fn(u32) -> Vec<u8>;
        let ways: [Make; 5] = [
            |id| [post(id, "/"), frames::credit(id, 0)].concat(),
            |id| [get(id, "/"), data(id, true, b"x")].concat(),
            |id| [post(id, "/"), frames::credit(id, (1 << 31) - 1)].concat(),
            |id| frames::request(id, true, "GET", "bad", &[]),
            |id| [post(id, "/"), frames::frame(frames::PRIORITY, 0, id, &[0; 4])].concat(),
        ];
        for (index, way) in ways.into_iter().enumerate() {
            let bench = Bench::new(cut);
            let mut client = bench.client();
            let count = flood(&bench, &mut client, 3000, |index| way(index * 2 + 1));
            assert!((400..600).contains(&count), "{index}: {count}");
            assert_eq!(bench.http("http2.flood"), 1, "{index}");
            assert!(bench.http("http2.tx_reset") + bench.http("http2.stream_errors") >= i64::from(count) - 20, "{index}");
            let origins = bench.origins();
            bench.finish([client], origins);
        }
    }

    /// envoy#13948: a client that opens more than it may before it knows.
    fn surplus_streams_are_refused(cut) {
        let bench = Bench::new(cut);
        let client = bench.silent();
        let mut client = client;
        let surplus: Vec<u8> = (0..300_u32).flat_map(|index| {
            let id = index * 2 + 1;
            // In the tables from here on.
            let block = [&[0x83, 0x86, 0x84, 0x41, 1, b'h', 0x40, 1, b'n', 3], format!("{index:03}").as_bytes()].concat();
            [frames::frame(HEADERS, frames::END_HEADERS, id, &block), data(id, false, b"body")].concat()
        }).collect();
        bench.say(&mut client, &[frames::PREFACE, &frames::settings(&[]), &surplus].concat());
        let mut origin = bench.accept();
        bench.look(&mut origin);
        assert_eq!((origin.requests().len(), client.goaways()), (STREAMS as usize, vec![]));
        for id in (1..600).step_by(2) {
            let refused = if id < STREAMS * 2 { vec![] } else { vec![frames::REFUSED_STREAM] };
            assert_eq!(client.resets(id), refused, "{id}");
        }
        assert_eq!(bench.http("http2.stream_refused_errors"), i64::from(300 - STREAMS));
        for index in 0..STREAMS {
            client.write(&data(index * 2 + 1, true, b""));
        }
        bench.look(&mut client);
        bench.look(&mut origin);
        for id in origin.requests() {
            assert_eq!((origin.body(id), origin.field(id, "n")), (b"body".to_vec(), Some(format!("{:03}", id / 2))));
            bench.say(&mut origin, &frames::response(id, true, "200", &[]));
        }
        bench.look(&mut client);
        assert!((0..STREAMS).all(|index| client.status(index * 2 + 1) == 200));
        // The table is in step: the newest entry is what the last one added.
        let block = [0x82, 0x86, 0x84, 0x41, 1, b'h', 0x80 | 63];
        bench.say(&mut client, &frames::frame(HEADERS, 5, 601, &block));
        bench.look(&mut origin);
        let asked = origin.asked();
        assert_eq!(origin.field(asked, "n").as_deref(), Some("299"));
        bench.say(&mut origin, &frames::response(asked, true, "200", &[]));
        bench.finish([client], [origin]);
    }

    /// A client that never heeds the limit.
    fn refused_streams_are_bounded(cut) {
        let bench = Bench::new(cut);
        let mut client = bench.client();
        let count = flood(&bench, &mut client, 10_000, |index| post(index * 2 + 1, "/"));
        assert!((1000..2300).contains(&count), "{count}");
        let origins = bench.origins();
        bench.finish([client], origins);
    }

    /// Of CONTINUATION frames there are 8 at most, and their bytes are bounded.
    fn header_blocks_are_bounded(cut) {
        let bench = Bench::with(cut, "max_headers_size = \"4KiB\"", "", "");
        let cont = |flags, payload: &[u8]| frames::frame(frames::CONTINUATION, flags, 1, payload);
        let begin = frames::frame(HEADERS, 1, 1, &frames::block(&[(":method", "GET")]));
        for (bytes, code) in [
            ([begin.clone(), cont(0, b"").repeat(9)].concat(), ENHANCE_YOUR_CALM),
            ([begin.clone(), cont(0, &[0; 3000]).repeat(3)].concat(), ENHANCE_YOUR_CALM),
            ([begin.clone(), cont(4, &[0; 16_000])].concat(), ENHANCE_YOUR_CALM),
            (frames::frame(HEADERS, 5, 1, &[0; 16_000]), ENHANCE_YOUR_CALM),
            ([begin.clone(), frames::ping([0; 8])].concat(), PROTOCOL_ERROR),
            ([begin.clone(), frames::frame(frames::CONTINUATION, 4, 3, b"")].concat(), PROTOCOL_ERROR),
            ([get(1, "/direct"), cont(4, b"")].concat(), PROTOCOL_ERROR),
        ] {
            let mut client = bench.client();
            bench.say(&mut client, &bytes);
            assert_eq!((client.goaways().last().map(|last| last.1), client.is_over), (Some(code), true), "{:?}", client.frames);
        }
        bench.finish([], []);
    }

    /// A small block that is a large head, once it is decoded.
    fn a_bomb_is_not_unfolded(cut) {
        let bench = Bench::new(cut);
        let mut client = bench.client();
        let long = [&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e][..], &[b'y'; 4000]].concat();
        let begin = frames::block(&[(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "h")]);
        let block = [&begin[..], &long, &[0xbe; 10_000]].concat();
        bench.say(&mut client, &frames::frame(HEADERS, 5, 1, &block));
        let is_let_go = client.goaways() == [(0, ENHANCE_YOUR_CALM)];
        assert!(is_let_go || client.status(1) == 431, "{:?}", client.frames);
        if !is_let_go {
            bench.works(&mut client, 3);
        }
        bench.finish([client], []);
    }
}
