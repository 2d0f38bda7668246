//! Clients that send or read slowly: below which rate they are given up, and that steady ones never are.

use crate::peer::{End, Wire};
use crate::semantics::pattern;
use crate::support::{Bench, in_all_pairs};
use ringway::net::PipeEnd;
use std::task::Poll;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const LARGE: usize = 2_000_000;

in_all_pairs! {
    fn a_body_that_comes_too_slowly_gets_408(pair) {
        let mut bench = Bench::new(pair);
        let client = bench.client();
        let sent = bench.begin(client, "POST", "/", &[], Some(100_000));
        bench.arrived();
        for second in 0..40 {
            if bench.seen(sent).head.is_some() {
                assert!((20..=23).contains(&second), "10 s to begin, and 10 s in which too little came: {second} s");
                break;
            }
            bench.data(sent, b"x");
            bench.advance(SECOND);
            bench.settle();
        }
        assert_eq!((bench.seen(sent).status(), bench.seen(sent).text().as_str()), (408, "request body too slow"));
        assert_eq!((bench.http("downstream_rq_body_too_slow"), bench.http("downstream_rq_4xx")), (1, 1));
        assert_eq!(bench.cluster("upstream_rq_active"), 0, "the try ends with it");
        bench.finish();
    }

    /// So does one of which nothing more comes at all.
    fn a_body_that_stops_gets_408(pair) {
        let mut bench = Bench::new(pair);
        let client = bench.client();
        let sent = bench.begin(client, "POST", "/", &[], Some(100_000));
        bench.arrived();
        bench.data(sent, &[b'x'; 50_000]);
        bench.advance(SECOND * 25);
        bench.settle();
        assert_eq!((bench.seen(sent).status(), bench.http("downstream_rq_body_too_slow")), (408, 1));
        bench.finish();
    }

    fn a_body_at_the_minimum_rate_passes(pair) {
        let mut bench = Bench::new(pair);
        let client = bench.client();
        let sent = bench.begin(client, "POST", "/", &[], Some(60 * 26));
        let got = bench.arrived();
        for _ in 0..60 {
            bench.data(sent, &[b'x'; 26]);
            bench.advance(SECOND);
        }
        bench.end(sent);
        bench.settle();
        assert_eq!((bench.request(got).end, bench.request(got).body.len()), (End::Whole, 60 * 26));
        bench.answer(got, 200, &[], b"ok");
        assert_eq!(bench.seen(sent).text(), "ok");
        bench.finish();
    }

    /// A client that could not send is not slow.
    fn time_in_which_this_side_does_not_read_does_not_count(pair) {
        let mut bench = Bench::with(pair, "buffer_limit = \"64KiB\"", "", "");
        let client = bench.client();
        let sent = bench.begin(client, "POST", "/", &[], Some(LARGE));
        let got = bench.arrived();
        bench.origins[got.0].exchanges[got.1].is_paused = true;
        bench.data(sent, &pattern(LARGE));
        bench.end(sent);
        bench.advance(SECOND * 100);
        assert!(bench.seen(sent).head.is_none());
        bench.origins[got.0].resume(got.1);
        for _ in 0..300 {
            bench.settle();
        }
        assert_eq!((bench.request(got).end, bench.request(got).body.len()), (End::Whole, LARGE));
        bench.answer(got, 200, &[], b"ok");
        assert_eq!(bench.seen(sent).text(), "ok");
        bench.finish();
    }

    /// Once the response has begun, it is that which the client wants; a conversation may pause.
    fn the_rate_is_of_no_interest_once_the_response_has_begun(pair) {
        let mut bench = Bench::new(pair);
        let client = bench.client();
        let sent = bench.begin(client, "POST", "/", &[], Some(100));
        let got = bench.arrived();
        bench.respond(got, 200, &[], None);
        bench.advance(SECOND * 100);
        bench.data(sent, &[b'x'; 100]);
        bench.end(sent);
        bench.settle();
        assert_eq!(bench.request(got).end, End::Whole);
        bench.respond_end(got, &[]);
        assert_eq!((bench.seen(sent).status(), bench.seen(sent).end), (200, End::Whole));
        bench.finish();
    }

    fn neither_is_that_of_grpc_nor_of_a_configuration_without_one(pair) {
        for (http, content_type) in [("", "application/grpc+proto"), ("min_request_body_rate = 0", "text/plain")] {
            let mut bench = Bench::with(pair, http, "", "");
            let client = bench.client();
            let sent = bench.begin(client, "POST", "/", &[("content-type", content_type)], Some(100));
            let got = bench.arrived();
            bench.advance(SECOND * 100);
            bench.data(sent, &[b'x'; 100]);
            bench.end(sent);
            bench.settle();
            assert_eq!(bench.request(got).end, End::Whole, "{content_type}");
            bench.answer(got, 200, &[], b"ok");
            assert_eq!(bench.seen(sent).text(), "ok");
            bench.finish();
        }
    }

    /// What a client takes is seen where the connection is its own.
    fn a_client_that_reads_steadily_is_never_cut_and_one_that_stops_is(pair) {
        if pair.0 == Wire::H1 {
            let mut bench = Bench::with(pair, "stream_idle_timeout = \"5s\"", "timeout = \"off\"", "");
            let client = slow_client(&mut bench, "", LARGE);
            for _ in 0..500 {
                bench.advance(SECOND);
                let Poll::Ready(Ok(Some(bytes))) = client.poll_recv() else { panic!("a steady reader was cut") };
                assert!((1..=100).contains(&bytes.len()));
            }
            assert_eq!((bench.http("downstream_rq_active"), bench.http("downstream_rq_idle_timeout")), (1, 0));
            bench.advance(SECOND * 20);
            assert_eq!((bench.http("downstream_rq_active"), bench.http("downstream_rq_idle_timeout")), (0, 1));
            bench.finish();
        }
    }

    /// A client behind a receive buffer of 6,000 bytes, whose kernel takes nothing until a reader at 100 B/s has emptied it.
    fn a_slow_reader_is_never_cut_for_what_its_receive_buffer_holds(pair) {
        if pair.0 == Wire::H1 {
            for len in [LARGE, 100_000] {
                let mut bench = Bench::with(pair, "", "timeout = \"off\"", "");
                let client = slow_client(&mut bench, "", len);
                client.set_read_limit(6000);
                for _ in 0..12 {
                    let Poll::Ready(Ok(Some(_))) = client.poll_recv() else { panic!("a steady reader was cut") };
                    bench.advance(SECOND * 62);
                }
                assert_eq!((bench.http("downstream_rq_active"), bench.http("downstream_cx_active")), (i64::from(len == LARGE), 1));
                bench.advance(SECOND * 160);
                assert_eq!(bench.http("downstream_cx_active"), 0, "it has stopped");
                assert_eq!(bench.http("downstream_rq_send_timeout") + bench.http("downstream_cx_send_timeout"), 1);
                bench.finish();
            }
        }
    }

    fn a_response_of_which_nothing_is_taken_is_reset(pair) {
        if pair.0 == Wire::H1 {
            let mut bench = Bench::with(pair, "", "timeout = \"off\"", "");
            let client = slow_client(&mut bench, "", LARGE);
            bench.advance(SECOND * 55);
            assert_eq!((bench.http("downstream_rq_active"), bench.http("downstream_rq_send_timeout")), (1, 0));
            bench.advance(SECOND * 10);
            assert_eq!((bench.http("downstream_rq_active"), bench.http("downstream_rq_send_timeout")), (0, 1));
            assert_eq!((bench.http("downstream_rq_tx_reset"), bench.cluster("upstream_rq_active")), (1, 0));
            assert!(matches!(client.poll_recv(), Poll::Ready(Err(_))), "the client sees a reset");
            bench.finish();
        }
    }

    /// A response that was handed over whole keeps its connection only as long as it is taken, whether that stays or closes.
    fn a_last_response_that_is_not_taken_resets_its_connection(pair) {
        if pair.0 == Wire::H1 {
            for fields in ["", "Connection: close\r\n"] {
                let mut bench = Bench::new(pair);
                let client = slow_client(&mut bench, fields, 100_000);
                for _ in 0..100 {
                    bench.advance(SECOND);
                    let _ = client.poll_recv();
                }
                assert_eq!((bench.http("downstream_rq_active"), bench.http("downstream_cx_active")), (0, 1));
                bench.advance(SECOND * 50);
                assert_eq!(bench.http("downstream_cx_active"), 1);
                bench.advance(SECOND * 25);
                assert_eq!((bench.http("downstream_cx_active"), bench.http("downstream_cx_send_timeout")), (0, 1));
                assert!(matches!(client.poll_recv(), Poll::Ready(Err(_))), "the client sees a reset");
                bench.finish();
            }
        }
    }

    /// An earlier response of the connection is sent to its end, however slowly it is taken, and then what there is of the one
    /// that broke off.
    fn a_response_that_breaks_off_does_not_take_what_was_said_before_it_with_it(pair) {
        if pair.0 == Wire::H1 {
            let mut bench = Bench::new(pair);
            let client = slow_client(&mut bench, "", 100_000);
            client.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
            bench.settle();
            let got = bench.arrived();
            bench.respond(got, 200, &[], Some(1000));
            bench.respond_data(got, b"begun");
            bench.fail(got);
            bench.settle();
            assert_eq!((bench.http("downstream_rq_active"), bench.http("downstream_rq_tx_reset")), (0, 1));
            let mut taken = Vec::new();
            loop {
                bench.advance(SECOND);
                match client.poll_recv() {
                    Poll::Ready(Ok(Some(bytes))) => taken.extend_from_slice(&bytes),
                    Poll::Ready(Ok(None)) => break,
                    other => panic!("{other:?} behind {} bytes", taken.len()),
                }
            }
            assert!(taken.len() > 100_000 && taken.ends_with(b"\r\n\r\nbegun"), "{}", taken.len());
            drop(client);
            bench.finish();
        }
    }

    /// Neither does one of which nothing is taken stay for ever, whether it waits here or in the kernel.
    fn a_response_that_broke_off_and_is_not_taken_resets_its_connection(pair) {
        if pair.0 == Wire::H1 {
            for sent in [LARGE, 1000] {
                let mut bench = Bench::with(pair, "", "timeout = \"15s\"", "");
                let client = bench.shard.connect(0, "192.0.2.9:40000".parse().expect("an address"));
                client.write(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
                bench.settle();
                let got = bench.arrived();
                bench.respond(got, 200, &[], Some(LARGE + 1));
                bench.respond_data(got, &pattern(sent));
                bench.advance(SECOND * 20);
                assert_eq!((bench.http("downstream_rq_active"), bench.cluster("upstream_rq_timeout")), (0, 1));
                bench.advance(SECOND * 30);
                assert_eq!((bench.http("downstream_cx_active"), bench.http("downstream_cx_send_timeout")), (1, 0));
                bench.advance(SECOND * 45);
                assert_eq!((bench.http("downstream_cx_active"), bench.http("downstream_cx_send_timeout")), (0, 1));
                assert!(matches!(client.poll_recv(), Poll::Ready(Err(_))), "the client sees a reset");
                bench.finish();
            }
        }
    }

    /// What was taken in the end is no stall: the connection is idle, and goes on.
    fn a_connection_whose_last_response_was_taken_stays(pair) {
        if pair.0 == Wire::H1 {
            let mut bench = Bench::new(pair);
            let client = bench.client();
            bench.works(client);
            bench.advance(SECOND * 1000);
            bench.works(client);
            bench.finish();
        }
    }
}

/// A client that reads at most 100 bytes at a time, and only when it is told to, of a response with a body of `len` bytes.
fn slow_client(bench: &mut Bench, fields: &str, len: usize) -> PipeEnd {
    let client = bench.shard.connect(0, "192.0.2.9:40000".parse().expect("an address"));
    client.set_read_limit(100);
    client.write(format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n").as_bytes());
    bench.settle();
    let got = bench.arrived();
    bench.respond(got, 200, &[], Some(len));
    bench.respond_data(got, &pattern(len));
    bench.respond_end(got, &[]);
    for _ in 0..20 {
        bench.settle();
    }
    client
}
