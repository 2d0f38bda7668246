//! A slow reader stops its writer, and no other exchange; memory stays within its limits.

use crate::peer::{End, Peer, Wire};
use crate::semantics::pattern;
use crate::support::{Bench, in_all_pairs};

const LARGE: usize = 2_000_000;

/// What may be on its way between the two ends: the buffers and windows of both sides, and the pipes.
const UNDER_WAY: usize = 600_000;

in_all_pairs! {
    fn a_slow_client_stops_its_origin(pair) {
        let mut bench = Bench::with(pair, "buffer_limit = \"64KiB\"", "", "");
        let client = bench.client();
        let sent = bench.get(client, "/");
        bench.clients[client].exchanges[sent.1].is_paused = true;
        let got = bench.arrived();
        bench.respond(got, 200, &[], Some(LARGE));
        bench.respond_data(got, &pattern(LARGE));
        bench.respond_end(got, &[]);
        for _ in 0..20 {
            bench.settle();
        }
        assert!(bench.origins[got.0].unsent() > LARGE - UNDER_WAY, "{}", bench.origins[got.0].unsent());
        // Another exchange passes it.
        let other = bench.another(client);
        bench.works(other);
        bench.clients[client].resume(sent.1);
        for _ in 0..300 {
            bench.settle();
        }
        let seen = bench.seen(sent);
        assert!(seen.end == End::Whole && seen.body == pattern(LARGE), "{:?} {}", seen.end, seen.body.len());
        bench.finish();
    }

    fn a_slow_origin_stops_its_client(pair) {
        let mut bench = Bench::with(pair, "buffer_limit = \"64KiB\"", "", "");
        let client = bench.client();
        let sent = bench.begin(client, "POST", "/", &[], Some(LARGE));
        let got = bench.arrived();
        bench.origins[got.0].exchanges[got.1].is_paused = true;
        bench.data(sent, &pattern(LARGE));
        bench.end(sent);
        for _ in 0..20 {
            bench.settle();
        }
        assert!(bench.clients[client].unsent() > LARGE - UNDER_WAY, "{}", bench.clients[client].unsent());
        bench.origins[got.0].resume(got.1);
        for _ in 0..300 {
            bench.settle();
        }
        let request = bench.request(got);
        assert!(request.end == End::Whole && request.body == pattern(LARGE), "{:?}", request.end);
        bench.answer(got, 200, &[], b"ok");
        assert_eq!(bench.seen(sent).text(), "ok");
        bench.finish();
    }

    /// Many exchanges at a time, whose bodies come in turn.
    fn exchanges_do_not_mix(pair) {
        let mut bench = Bench::new(pair);
        let first = bench.client();
        let mut all = Vec::new();
        for number in 0..6usize {
            let client = if number == 0 { first } else { bench.another(first) };
            let sent = bench.begin(client, "POST", &format!("/{number}"), &[], None);
            all.push((number, sent, bench.arrived()));
        }
        for round in 1..8 {
            for (number, sent, got) in &all {
                bench.data(*sent, &[b'a' + *number as u8].repeat(round * 700));
                if round == 1 {
                    bench.respond(*got, 200, &[], None);
                }
                bench.respond_data(*got, &[b'A' + *number as u8].repeat(round * 500));
            }
        }
        let total: usize = (1..8).sum();
        for (number, sent, got) in all.into_iter().rev() {
            bench.end(sent);
            bench.respond_end(got, &[]);
            let target = bench.request(got).head.as_ref().map(|head| head.target.clone());
            assert_eq!(target, Some(format!("/{number}")));
            assert_eq!(bench.request(got).body, [b'a' + number as u8].repeat(total * 700));
            assert_eq!((&bench.seen(sent).body, bench.seen(sent).end), (&[b'A' + number as u8].repeat(total * 500), End::Whole));
        }
        assert_eq!(bench.origins.len(), if pair.1 == Wire::H2 { 1 } else { 6 });
        bench.finish();
    }

    /// Whatever a client sends that are no frames ends its connection, and nothing else.
    fn bytes_that_are_no_frames_end_the_connection(pair) {
        if pair.0 == Wire::H2 {
            for bytes in [&b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"[..], &[1, 0, 0, 0, 1, 255, 0, 0, 0], &[2, 0, 0, 0, 9, 0, 0, 0, 1, 7]] {
                let mut bench = Bench::new(pair);
                let client = bench.client();
                bench.works(client);
                bench.clients[client].write(bytes);
                bench.settle();
                assert!(bench.clients[client].is_over);
                assert_eq!(bench.http("downstream_cx_protocol_error"), 1);
                let client = bench.client();
                bench.works(client);
                bench.finish();
            }
        }
    }

    /// The same of an origin: the exchanges on that connection fail, and others do not.
    fn an_origin_that_sends_no_frames_loses_its_connection(pair) {
        if pair.1 == Wire::H2 {
            let mut bench = Bench::new(pair);
            let client = bench.client();
            let sent = bench.send(client, "POST", "/", &[], b"a");
            let got = bench.arrived();
            bench.origins[got.0].write(&[99; 20]);
            bench.settle();
            assert_eq!((bench.seen(sent).status(), bench.cluster("upstream_cx_protocol_error")), (503, 1));
            assert!(bench.origins[got.0].is_over);
            bench.works(client);
            bench.finish();
        }
    }

    /// A peer that sends more than it was given credit for is not served.
    fn credit_is_a_limit(pair) {
        if pair.0 == Wire::H2 {
            let mut bench = Bench::with(pair, "buffer_limit = \"16KiB\"", "", "");
            let client = bench.client();
            let sent = bench.begin(client, "POST", "/", &[], None);
            let got = bench.arrived();
            bench.origins[got.0].exchanges[got.1].is_paused = true;
            for _ in 0..60 {
                let frame = crate::h2::data(1, &pattern(16 * 1024));
                bench.clients[client].write(&frame);
                bench.settle();
            }
            assert_eq!(bench.seen(sent).end, End::Broken(Some(3)));
            bench.works(client);
            bench.finish();
        }
    }

    /// More streams than are allowed are refused, and those that there are go on.
    fn streams_have_a_limit(pair) {
        if pair.0 == Wire::H2 {
            let mut bench = Bench::new(pair);
            let client = bench.client();
            let all: Vec<_> = (0..10).map(|_| bench.get(client, "/")).collect();
            let ends: Vec<_> = all.iter().map(|sent| bench.seen(*sent).end).collect();
            assert_eq!(ends, [&[End::None; 8][..], &[End::Refused; 2]].concat());
            let got = bench.arrived();
            bench.answer(got, 200, &[], b"ok");
            let next = bench.get(client, "/");
            assert_eq!((bench.seen(all[0]).text().as_str(), bench.seen(next).end), ("ok", End::None));
            bench.finish();
        }
    }

    /// Streams that are opened and given up at once leave nothing.
    fn a_flood_of_resets_leaves_nothing(pair) {
        if pair.0 == Wire::H2 {
            let mut bench = Bench::new(pair);
            let client = bench.client();
            for _ in 0..200 {
                let index = bench.clients[client].request("GET", "/", &Vec::new(), Some(0));
                bench.clients[client].break_off(index);
            }
            bench.settle();
            assert_eq!(bench.http("downstream_rq_active"), 0);
            // Those that reached the origin are of no interest.
            while bench.try_arrived().is_some() {}
            bench.origins.iter_mut().for_each(Peer::hang_up);
            bench.settle();
            bench.works(client);
            bench.finish();
        }
    }
}
