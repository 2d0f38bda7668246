//! Peers that say nothing, and what they take before they have said it: PINGs (RFC 9113 section 6.7), SETTINGS that are late
//! (section 3.4), and streams beyond those that an endpoint takes (section 5.1.2).

use crate::frames::{self, STREAMS_MAX, get, post};
use crate::support::{Bench, Cut, End, however_it_is_cut};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

const KEEPALIVE: &str = "http2.connection_keepalive = { interval = \"10s\", interval_jitter = 0, timeout = \"2s\" }";

/// Answer the requests that wait. How many they were.
fn serve(bench: &Bench, origin: &mut End) -> usize {
    bench.look(origin);
    let open: Vec<u32> = origin.requests().into_iter().filter(|id| !origin.answered.contains(id)).collect();
    for id in &open {
        origin.answered.push(*id);
        bench.say(origin, &frames::response(*id, true, "200", &[]));
    }
    open.len()
}

however_it_is_cut! {
    fn a_client_that_is_gone_is_noticed(cut) {
        let bench = Bench::with(cut, KEEPALIVE, "", "");
        let (mut gone, mut there) = (bench.client(), bench.client());
        // Without exchanges there is no PING.
        bench.advance(SECOND * 25);
        [&mut gone, &mut there].into_iter().for_each(|client| bench.look(client));
        assert_eq!((gone.pings(), there.pings()), (vec![], vec![]));
        gone.write(&get(1, "/"));
        there.write(&get(1, "/"));
        let mut origin = bench.accept();
        bench.look(&mut origin);
        bench.advance(SECOND * 10);
        [&mut gone, &mut there].into_iter().for_each(|client| bench.look(client));
        assert_eq!((gone.pings().len(), there.pings().len()), (1, 1));
        there.write(&frames::pong(there.pings()[0]));
        bench.advance(SECOND * 3);
        [&mut gone, &mut there].into_iter().for_each(|client| bench.look(client));
        assert!(gone.is_over && !there.is_over);
        assert_eq!(bench.http("http2.keepalive_timeout"), 1);
        // Whatever comes is a sign of life.
        for _ in 0..4 {
            bench.advance(SECOND * 6);
            bench.say(&mut there, &frames::frame(0x42, 0, 0, b""));
        }
        assert_eq!(there.pings().len(), 1);
        for id in origin.requests() {
            bench.say(&mut origin, &frames::response(id, true, "200", &[]));
        }
        bench.look(&mut there);
        assert_eq!(there.status(1), 200);
        bench.finish([gone, there], [origin]);
    }

    fn an_endpoint_that_falls_silent_is_noticed(cut) {
        let bench = Bench::with(cut, "", "", KEEPALIVE);
        let mut client = bench.client();
        client.write(&[1, 3].map(|id| frames::request(id, true, "POST", "/", &[])).concat());
        let mut origin = bench.accept();
        bench.look(&mut origin);
        // Something has come since the first request.
        bench.advance(SECOND * 21);
        bench.look(&mut origin);
        assert_eq!(origin.pings().len(), 1);
        bench.advance(SECOND * 3);
        bench.look(&mut client);
        assert_eq!((client.status(1), client.status(3), client.is_over), (503, 503, false));
        assert_eq!(bench.cluster("http2.keepalive_timeout"), 1);
        bench.finish([client], [origin]);
    }

    /// An endpoint that says so gets half as many on its next connection, and other words change nothing.
    fn pings_that_come_too_often_come_less_often(cut) {
        let bench = Bench::with(cut, "", "", &KEEPALIVE.replace("\"10s\"", "\"4s\""));
        let mut client = bench.client();
        let mut origins = Vec::new();
        let often = "too_many_pings";
        for (round, (words, seconds)) in [(often, 4), (often, 8), ("calm", 16), ("", 16)].into_iter().enumerate() {
            let id = round as u32 * 2 + 1;
            bench.say(&mut client, &get(id, "/"));
            let mut origin = bench.accept();
            // Byte by byte, something comes after the request, and the first look is at that.
            let seconds = if cut == Cut::Whole { seconds } else { 2 * seconds };
            bench.advance(SECOND * (seconds - 1));
            bench.look(&mut origin);
            assert_eq!(origin.pings().len(), 0, "{round}");
            bench.advance(SECOND * 2);
            bench.look(&mut origin);
            assert_eq!(origin.pings().len(), 1, "{round}");
            let pong = frames::pong(origin.pings()[0]);
            let payload = [&1_u32.to_be_bytes()[..], &frames::ENHANCE_YOUR_CALM.to_be_bytes(), words.as_bytes()].concat();
            bench.say(&mut origin, &[pong, frames::frame(frames::GOAWAY, 0, 0, &payload)].concat());
            bench.say(&mut origin, &frames::response(1, true, "200", &[]));
            bench.look(&mut client);
            assert_eq!(client.status(id), 200, "{round}");
            origins.push(origin);
        }
        bench.finish([client], origins);
    }

    /// A method that may not be repeated goes elsewhere, because nothing of it was sent.
    fn a_connection_that_was_idle_for_long_shows_that_it_lives(cut) {
        let bench = Bench::new(cut);
        let mut client = bench.client();
        client.write(&get(1, "/"));
        let mut origin = bench.accept();
        assert_eq!(serve(&bench, &mut origin), 1);
        bench.advance(SECOND * 31);
        bench.say(&mut client, &frames::request(3, true, "POST", "/", &[]));
        bench.look(&mut origin);
        assert_eq!((origin.pings().len(), origin.requests()), (1, vec![1]));
        origin.write(&frames::pong(origin.pings()[0]));
        assert_eq!((serve(&bench, &mut origin), origin.requests()), (1, vec![1, 3]));
        bench.look(&mut client);
        assert_eq!((client.status(1), client.status(3)), (200, 200));
        // Another one at once needs no PING; after 30 s the endpoint is gone.
        bench.say(&mut client, &frames::request(5, true, "POST", "/", &[]));
        assert_eq!((serve(&bench, &mut origin), origin.pings().len()), (1, 1));
        bench.advance(SECOND * 31);
        bench.say(&mut client, &frames::request(7, true, "POST", "/", &[]));
        bench.advance(SECOND);
        let mut second = bench.accept();
        assert_eq!(serve(&bench, &mut second), 1);
        bench.look(&mut client);
        assert_eq!((client.status(5), client.status(7)), (200, 200));
        bench.look(&mut origin);
        assert_eq!((origin.requests().len(), bench.cluster("http2.keepalive_timeout")), (3, 1));
        bench.finish([client], [origin, second]);
    }

    /// An endpoint that takes two exchanges on a connection gets no third one, however many come before it has said so.
    fn few_streams_are_respected_from_the_first_request_on(cut) {
        let bench = Bench::new(cut);
        let mut client = bench.client();
        let requests: Vec<u8> = (0..10).flat_map(|index| frames::request(index * 2 + 1, true, "POST", "/", &[])).collect();
        bench.say(&mut client, &requests);
        let mut origins = vec![bench.accept_with(&[(STREAMS_MAX, 2)])];
        while let Some(mut origin) = bench.try_accept() {
            origin.begin(&[(STREAMS_MAX, 2)]);
            bench.look(&mut origin);
            origins.push(origin);
        }
        bench.look(&mut origins[0]);
        assert_eq!(origins.iter().map(|origin| origin.requests().len()).collect::<Vec<_>>(), [2; 5]);
        origins.iter_mut().for_each(|origin| assert_eq!(serve(&bench, origin), 2));
        bench.look(&mut client);
        assert!((0..10).all(|index| client.status(index * 2 + 1) == 200));
        assert_eq!(bench.cluster("upstream_rq_retry"), 0);
        bench.finish([client], origins);
    }

    /// Of an endpoint that accepts connections and says nothing, not even its settings.
    fn settings_that_never_come_are_a_connect_that_takes_too_long(cut) {
        let bench = Bench::with(cut, "", "", "connect_timeout = \"3s\"");
        let mut client = bench.client();
        bench.say(&mut client, &[post(1, "/"), post(3, "/")].concat());
        let mut origin = bench.try_accept().expect("the proxy connects to the origin");
        origin.skip_preface();
        bench.look(&mut origin);
        assert_eq!(origin.requests(), [1]);
        bench.advance(SECOND * 4);
        bench.look(&mut client);
        assert_eq!((client.status(1), client.status(3)), (503, 503));
        assert_eq!(bench.cluster("upstream_cx_connect_timeout"), 1);
        bench.finish([client], [origin]);
    }
}
