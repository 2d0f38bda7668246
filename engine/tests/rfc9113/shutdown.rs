//! How a connection begins and ends (RFC 9113 sections 3.4, 6.5, 6.8 and 9.1): prefaces, idle time, ages, drains.

use crate::frames::{
    self, ENHANCE_YOUR_CALM, FRAME_SIZE_ERROR, Frame, NO_ERROR, PREFACE, PROTOCOL_ERROR, data, get, post,
};
use crate::support::{Bench, Cut, End, however_it_is_cut, pattern};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const ALL: u32 = (1 << 31) - 1;

/// Answer the PING that comes with the first GOAWAY.
fn answer_ping(bench: &Bench, client: &mut End) {
    let data = client.pings().pop().expect("a PING comes with the first GOAWAY");
    bench.say(client, &frames::pong(data));
}

however_it_is_cut! {
    fn what_a_client_says_first(cut) {
        let bench = Bench::new(cut);
        for bytes in [
            [PREFACE, &get(1, "/direct")].concat(),
            [PREFACE, &frames::ping([0; 8])].concat(),
            [PREFACE, &frames::frame(frames::SETTINGS, frames::ACK, 0, b"")].concat(),
        ] {
            let mut client = bench.silent();
            bench.say(&mut client, &bytes);
            assert_eq!((client.goaways(), client.is_over), (vec![(0, PROTOCOL_ERROR)], true), "{bytes:?}");
        }
        bench.finish([], []);
    }

    /// Values of SETTINGS (section 6.5.2), and sizes of frames (section 4.2).
    fn frames_that_are_wrong_end_the_connection(cut) {
        let bench = Bench::new(cut);
        for (index, (bytes, code)) in [
            (frames::settings(&[(2, 2)]), PROTOCOL_ERROR),
            (frames::settings(&[(5, 16_383)]), PROTOCOL_ERROR),
            (frames::settings(&[(5, 1 << 24)]), PROTOCOL_ERROR),
            (frames::frame(frames::SETTINGS, frames::ACK, 0, &[0; 6]), FRAME_SIZE_ERROR),
            (frames::frame(frames::SETTINGS, 0, 0, &[0; 3]), FRAME_SIZE_ERROR),
            (frames::frame(frames::SETTINGS, 0, 1, b""), PROTOCOL_ERROR),
            (frames::frame(frames::PING, 0, 0, &[0; 7]), FRAME_SIZE_ERROR),
            (frames::frame(frames::PING, 0, 1, &[0; 8]), PROTOCOL_ERROR),
            (frames::frame(frames::GOAWAY, 0, 0, &[0; 7]), FRAME_SIZE_ERROR),
            (frames::frame(frames::GOAWAY, 0, 1, &[0; 8]), PROTOCOL_ERROR),
            (frames::frame(frames::RST_STREAM, 0, 1, &[0; 3]), FRAME_SIZE_ERROR),
            (frames::frame(frames::RST_STREAM, 0, 0, &[0; 4]), PROTOCOL_ERROR),
            (frames::frame(frames::WINDOW_UPDATE, 0, 0, &[0, 0, 1]), FRAME_SIZE_ERROR),
            (frames::credit(0, 0), PROTOCOL_ERROR),
            (frames::frame(frames::PRIORITY, 0, 0, &[0; 5]), PROTOCOL_ERROR),
            (data(0, false, b"x"), PROTOCOL_ERROR),
            (frames::frame(frames::DATA, frames::PADDED, 1, &[5, 0]), PROTOCOL_ERROR),
            (frames::frame(frames::HEADERS, 0x2c, 3, &[1, 0, 0, 0, 0]), PROTOCOL_ERROR),
            (frames::frame(frames::HEADERS, 0x24, 3, &[0; 4]), FRAME_SIZE_ERROR),
            (frames::frame(frames::HEADERS, 5, 0, b""), PROTOCOL_ERROR),
            (vec![0, 0x40, 1, 0, 0, 0, 0, 0, 1], FRAME_SIZE_ERROR),
        ].into_iter().enumerate() {
            let mut client = bench.client();
            bench.works(&mut client, 1);
            bench.say(&mut client, &bytes);
            assert_eq!((client.goaways(), client.is_over), (vec![(1, code)], true), "{index}");
        }
        bench.finish([], []);
    }

    /// "Unknown or unsupported" frames, flags and settings are ignored (sections 4.1, 5.5 and 6.5.2), GOAWAY with any debug data.
    fn what_is_unknown_is_ignored(cut) {
        let bench = Bench::with(cut, "max_headers_size = \"1KiB\"", "", "");
        let mut client = bench.client();
        for bytes in [
            frames::frame(0xfa, 0xff, 0, &[1; 16_384]),
            frames::frame(0xfa, 0xff, 77, b""),
            frames::settings(&[(0xabcd, 1), (9, 1), (8, 1), (6, 1)]),
            frames::settings(&[(3, 0); 2000]),
            frames::frame(frames::PING, 0xfe, 0, &[7; 8]),
            frames::frame(frames::GOAWAY, 0xff, 0, &[0; 16_384]),
        ] {
            bench.say(&mut client, &bytes);
        }
        assert_eq!(client.goaways(), []);
        assert!(client.frames.contains(&Frame::PingAck([7; 8])));
        bench.works(&mut client, 1);
        bench.finish([client], []);
    }

    /// grpc-go#1387, envoy#7715: a drain tells at once, loses nothing, and waits for what is under way.
    fn a_drain_is_told_in_two_steps(cut) {
        let bench = Bench::new(cut);
        let (mut idle, mut busy) = (bench.client(), bench.client());
        bench.works(&mut idle, 1);
        bench.say(&mut busy, &[post(1, "/"), data(1, false, b"begun")].concat());
        let mut origin = bench.accept();
        bench.shard.drain();
        bench.look(&mut idle);
        bench.look(&mut busy);
        assert_eq!((idle.goaways(), busy.goaways()), (vec![(ALL, NO_ERROR)], vec![(ALL, NO_ERROR)]));
        // What was on its way is served.
        bench.works(&mut busy, 3);
        answer_ping(&bench, &mut idle);
        assert_eq!((idle.goaways().last(), idle.is_over), (Some(&(1, NO_ERROR)), true));
        answer_ping(&bench, &mut busy);
        assert_eq!((busy.goaways().last(), busy.is_over), (Some(&(3, NO_ERROR)), false));
        // What was on its way and is not served any more is ignored, whatever it is, and its bytes count.
        let late = [post(5, "/direct"), data(5, false, b"late"), frames::credit(5, 1), data(5, true, b"x")].concat();
        bench.say(&mut busy, &late);
        bench.say(&mut busy, &[post(7, "/direct"), frames::headers(7, true, &[("a", "b")])].concat());
        bench.say(&mut busy, &[get(9, "/direct"), frames::reset(9, 8)].concat());
        assert_eq!((busy.goaways().len(), busy.status(5), busy.resets(5), busy.is_over), (2, 0, vec![], false));
        bench.say(&mut busy, &data(1, true, b" and ended"));
        bench.look(&mut origin);
        assert_eq!((origin.body(1), origin.has_ended(1)), (b"begun and ended".to_vec(), true));
        bench.say(&mut origin, &[frames::response(1, false, "200", &[]), data(1, true, b"ok")].concat());
        bench.look(&mut busy);
        assert_eq!((busy.status(1), busy.body(1), busy.has_ended(1), busy.is_over), (200, b"ok".to_vec(), true, true));
        bench.finish([idle, busy], [origin]);
    }

    /// A client that does not answer has a second.
    fn a_client_that_answers_no_ping_is_told_in_time(cut) {
        let bench = Bench::new(cut);
        let mut client = bench.client();
        bench.works(&mut client, 1);
        bench.shard.drain();
        bench.advance(SECOND / 2);
        client.pump();
        assert_eq!((client.goaways(), client.is_over), (vec![(ALL, NO_ERROR)], false));
        bench.advance(SECOND);
        bench.look(&mut client);
        assert_eq!((client.goaways(), client.is_over), (vec![(ALL, NO_ERROR), (1, NO_ERROR)], true));
        bench.finish([client], []);
    }

    /// HAProxy 3ed936168: a connection that ends behind a large response ends with its last byte, however slowly it is read.
    fn a_slow_reader_gets_the_last_byte(cut) {
        let bench = Bench::new(cut);
        let mut client = bench.client();
        bench.say(&mut client, &get(1, "/"));
        let mut origin = bench.accept();
        let body = pattern(cut.size(60_000));
        bench.say(&mut origin, &[frames::response(1, false, "200", &[]), data(1, false, &body[..1000])].concat());
        for part in body[1000..].chunks(16_384) {
            bench.say(&mut origin, &data(1, false, part));
        }
        bench.say(&mut origin, &data(1, true, b""));
        bench.shard.drain();
        bench.settle();
        for _ in 0..20 {
            bench.advance(SECOND);
            client.write(&[frames::credit(1, 1000), frames::credit(0, 1000)].concat());
        }
        bench.look(&mut client);
        assert_eq!((client.body(1) == body, client.has_ended(1), client.is_over), (true, true, true));
        assert_eq!(client.goaways().last(), Some(&(1, NO_ERROR)));
        bench.finish([client], [origin]);
    }

    /// HAProxy d38d8c6cc: frames that are no exchange do not keep a connection open.
    fn frames_do_not_keep_a_connection_open(cut) {
        let bench = Bench::with(cut, "idle_timeout = \"30s\"", "", "");
        for split in [0, 4, 12] {
            let mut client = bench.client();
            bench.works(&mut client, 1);
            let mut seconds = 0;
            while !client.is_over && seconds < 100 {
                // The rest comes half a second later.
                let frame = frames::ping([0; 8]);
                client.write(&frame[..split]);
                bench.advance(SECOND / 2);
                client.write(&frame[split..]);
                bench.advance(SECOND / 2);
                client.pump();
                seconds += 1;
            }
            assert!((29..=32).contains(&seconds), "{split}: {seconds} s");
            assert_eq!(client.goaways(), [(ALL, NO_ERROR), (1, NO_ERROR)]);
        }
        assert_eq!(bench.http("downstream_cx_idle_timeout"), 3);
        bench.finish([], []);
    }

    /// A head that never ends is not waited for.
    fn a_frame_that_does_not_end_is_not_waited_for(cut) {
        let bench = Bench::with(cut, "request_headers_timeout = \"5s\"", "", "");
        let mut client = bench.client();
        bench.works(&mut client, 1);
        bench.say(&mut client, &frames::frame(frames::HEADERS, 0, 3, &frames::block(&[(":method", "GET")])));
        bench.advance(SECOND * 8);
        client.pump();
        assert!(client.is_over);
        let mut silent = bench.silent();
        bench.say(&mut silent, &PREFACE[..10]);
        bench.advance(SECOND * 12);
        silent.pump();
        assert!(silent.is_over);
        bench.finish([client, silent], []);
    }

    fn requests_of_a_connection_are_limited(cut) {
        let bench = Bench::with(cut, "max_requests_per_connection = 2", "", "");
        let mut client = bench.client();
        bench.works(&mut client, 1);
        bench.works(&mut client, 3);
        bench.look(&mut client);
        assert_eq!(client.goaways().first(), Some(&(ALL, NO_ERROR)));
        answer_ping(&bench, &mut client);
        assert!(client.is_over);
        bench.finish([client], []);
    }

    /// What a peer that floods is told comes before the connection's end.
    fn a_client_that_does_not_read_is_not_served_for_ever(cut) {
        if cut == Cut::Whole {
            let bench = Bench::new(cut);
            let mut client = bench.client();
            for _ in 0..2000 {
                client.write(&frames::settings(&[]));
                client.write(&frames::ping([0; 8]));
            }
            bench.settle();
            bench.look(&mut client);
            assert_eq!(client.goaways(), [(0, ENHANCE_YOUR_CALM)]);
            bench.finish([client], []);
        }
    }
}
