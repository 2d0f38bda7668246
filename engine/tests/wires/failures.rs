//! Tries that fail: retries, resets, refusals, time limits, hedges.

use crate::peer::{End, Wire};
use crate::semantics::pattern;
use crate::support::{Bench, in_all_pairs};
use std::time::Duration;

const RETRY: &str = "retry_policy = { retry_on = [\"5xx\", \"reset\", \"connect-failure\"], num_retries = 2 }";

in_all_pairs! {
    fn a_5xx_is_tried_again_with_its_body(pair) {
        let mut bench = Bench::with(pair, "", RETRY, "");
        let client = bench.client();
        let sent = bench.send(client, "POST", "/", &[], &pattern(5000));
        let first = bench.arrived();
        bench.answer(first, 503, &[], b"busy");
        bench.advance(Duration::from_millis(200));
        let second = bench.arrived();
        assert_eq!((&bench.request(second).body, bench.request(second).end), (&pattern(5000), End::Whole));
        bench.answer(second, 200, &[], b"ok");
        assert_eq!((bench.seen(sent).status(), bench.seen(sent).text().as_str()), (200, "ok"));
        assert_eq!((bench.cluster("upstream_rq_retry"), bench.cluster("upstream_rq_retry_success")), (1, 1));
        bench.finish();
    }

    fn a_reset_is_tried_again_where_the_policy_says_so(pair) {
        for (route, tries) in [(RETRY, 2), ("", 1)] {
            let mut bench = Bench::with(pair, "", route, "");
            let client = bench.client();
            let sent = bench.send(client, "POST", "/", &[], b"body");
            let first = bench.arrived();
            bench.fail(first);
            bench.advance(Duration::from_millis(200));
            match bench.try_arrived() {
                Some(second) => bench.answer(second, 200, &[], b"ok"),
                None => assert_eq!(tries, 1),
            }
            let status = if tries == 2 { 200 } else { 503 };
            assert_eq!((bench.seen(sent).status(), bench.seen(sent).end), (status, End::Whole));
            assert_eq!(bench.cluster("upstream_rq_rx_reset"), 1);
            bench.works(client);
            bench.finish();
        }
    }

    /// A request that was not looked at goes out again free of charge, whatever it is.
    fn a_refused_request_goes_out_again(pair) {
        if pair.1 == Wire::H2 {
            let mut bench = Bench::new(pair);
            let client = bench.client();
            let sent = bench.send(client, "POST", "/", &[], b"body");
            let first = bench.arrived();
            bench.origins[first.0].refuse(first.1);
            bench.settle();
            let second = bench.arrived();
            assert_eq!((bench.request(second).text().as_str(), bench.request(second).end), ("body", End::Whole));
            bench.answer(second, 200, &[], b"ok");
            assert_eq!((bench.seen(sent).status(), bench.seen(sent).text().as_str()), (200, "ok"));
            assert_eq!(bench.cluster("upstream_rq_total"), 1, "it is one try");
            bench.finish();
        }
    }

    /// As long as all of it is here.
    fn a_refused_request_whose_body_is_gone_fails(pair) {
        if pair.1 == Wire::H2 {
            let mut bench = Bench::with(pair, "buffer_limit = \"4KiB\"", "", "");
            let client = bench.client();
            let sent = bench.send(client, "POST", "/", &[], &pattern(20_000));
            let first = bench.arrived();
            bench.origins[first.0].refuse(first.1);
            bench.settle();
            assert_eq!(bench.try_arrived(), None);
            assert_eq!((bench.seen(sent).status(), bench.seen(sent).end), (503, End::Whole));
            bench.finish();
        }
    }

    fn a_request_is_not_refused_for_ever(pair) {
        if pair.1 == Wire::H2 {
            let mut bench = Bench::new(pair);
            let client = bench.client();
            let sent = bench.get(client, "/");
            let mut refused = 0;
            while let Some(got) = bench.try_arrived() {
                bench.origins[got.0].refuse(got.1);
                bench.settle();
                refused += 1;
            }
            assert_eq!((refused, bench.seen(sent).status()), (4, 503));
            bench.finish();
        }
    }

    /// GOAWAY: what it leaves out goes to another connection, what it covers is answered on this one.
    fn what_goaway_leaves_out_goes_elsewhere(pair) {
        if pair.1 == Wire::H2 {
            let mut bench = Bench::new(pair);
            let client = bench.client();
            let kept = bench.send(client, "POST", "/kept", &[], b"a");
            let other = bench.another(client);
            let moved = bench.send(other, "POST", "/moved", &[], b"b");
            let (first, second) = (bench.arrived(), bench.arrived());
            assert_eq!((first.0, second.0), (0, 0), "both are on one connection");
            bench.origins[0].go_away(1);
            bench.settle();
            let third = bench.arrived();
            assert_eq!((third.0, bench.request(third).text().as_str()), (1, "b"));
            bench.answer(third, 200, &[], b"moved");
            bench.answer(first, 200, &[], b"kept");
            assert_eq!((bench.seen(kept).text().as_str(), bench.seen(moved).text().as_str()), ("kept", "moved"));
            assert!(bench.origins[0].is_over, "the connection ends with its last exchange");
            bench.finish();
        }
    }

    /// A connection that ends while it is idle is not a try, where the request can be sent twice.
    fn a_stale_connection_is_not_a_try(pair) {
        let mut bench = Bench::new(pair);
        let client = bench.client();
        bench.works(client);
        for (method, status) in [("PUT", 200), ("POST", 503)] {
            let sent = bench.begin(client, method, "/", &[], Some(4));
            let first = bench.arrived();
            // Credit would tell that the origin was there.
            bench.origins[first.0].exchanges[first.1].is_paused = true;
            bench.data(sent, b"body");
            bench.end(sent);
            bench.origins[first.0].hang_up();
            bench.settle();
            if status == 200 {
                let second = bench.arrived();
                assert_eq!((second.0, bench.request(second).text().as_str()), (1, "body"));
                bench.answer(second, 200, &[], b"ok");
            }
            assert_eq!((bench.seen(sent).status(), bench.try_arrived()), (status, None), "{method}");
        }
        bench.finish();
    }

    fn a_connection_that_ends_within_a_response_cuts_it(pair) {
        let mut bench = Bench::new(pair);
        let client = bench.client();
        let sent = bench.get(client, "/");
        let got = bench.arrived();
        bench.respond(got, 200, &[], Some(1000));
        bench.respond_data(got, &pattern(400));
        bench.origins[got.0].hang_up();
        bench.settle();
        let seen = bench.seen(sent);
        assert_eq!((seen.status(), seen.body.len()), (200, 400));
        assert!(matches!(seen.end, End::Broken(_)), "{:?}", seen.end);
        assert_eq!(bench.http("downstream_rq_tx_reset"), 1);
        // Only the stream is broken where others may be on the connection.
        assert_eq!(bench.clients[client].is_over, pair.0 == Wire::H1);
        bench.finish();
    }

    fn a_reset_within_a_response_cuts_it(pair) {
        let mut bench = Bench::new(pair);
        let client = bench.client();
        let sent = bench.get(client, "/");
        let got = bench.arrived();
        bench.respond(got, 200, &[], None);
        bench.respond_data(got, &pattern(400));
        bench.fail(got);
        assert!(matches!(bench.seen(sent).end, End::Broken(_)));
        let client = if pair.0 == Wire::H1 { bench.client() } else { client };
        bench.works(client);
        // The connection to the origin goes on where it is shared.
        assert_eq!(bench.origins.len(), if pair.1 == Wire::H1 { 2 } else { 1 });
        bench.finish();
    }

    fn a_body_that_is_shorter_than_announced_is_no_body(pair) {
        if pair.0 == Wire::H2 {
            let mut bench = Bench::new(pair);
            let client = bench.client();
            let sent = bench.begin(client, "POST", "/", &[], Some(10));
            bench.data(sent, b"short");
            bench.end(sent);
            // Such a request gets no answer but a reset (RFC 9113 section 8.1.1).
            assert_eq!((bench.seen(sent).status(), bench.seen(sent).end), (0, End::Broken(Some(1))));
            let got = bench.arrived();
            assert!(matches!(bench.request(got).end, End::Broken(_)));
            bench.works(client);
            bench.finish();
        }
    }

    fn a_client_that_gives_up_ends_the_try(pair) {
        let mut bench = Bench::new(pair);
        let client = bench.client();
        let sent = bench.begin(client, "POST", "/", &[], Some(1000));
        bench.data(sent, &pattern(100));
        let got = bench.arrived();
        bench.clients[client].break_off(sent.1);
        bench.settle();
        assert!(matches!(bench.request(got).end, End::Broken(_)), "{:?}", bench.request(got).end);
        assert_eq!((bench.http("downstream_rq_rx_reset"), bench.http("downstream_rq_active")), (1, 0));
        assert_eq!(bench.cluster("upstream_rq_active"), 0);
        // The same while the response is awaited, and within it.
        for begins in [false, true] {
            let client = if pair.0 == Wire::H1 { bench.client() } else { client };
            let sent = bench.get(client, "/");
            let got = bench.arrived();
            if begins {
                bench.respond(got, 200, &[], None);
                bench.respond_data(got, b"part");
            }
            bench.clients[client].break_off(sent.1);
            bench.settle();
            assert_eq!(bench.cluster("upstream_rq_active"), 0);
            assert!(bench.origins[got.0].is_over || bench.request(got).was_given_up());
        }
        let client = if pair.0 == Wire::H1 { bench.client() } else { client };
        bench.works(client);
        bench.finish();
    }

    fn a_try_has_its_time(pair) {
        let route = "retry_policy = { retry_on = [\"5xx\"], num_retries = 1, per_try_timeout = \"1s\" }";
        let mut bench = Bench::with(pair, "", route, "");
        let client = bench.client();
        let sent = bench.send(client, "GET", "/", &[], b"");
        let first = bench.arrived();
        bench.advance(Duration::from_millis(1100));
        bench.settle();
        assert!(bench.origins[first.0].is_over || bench.request(first).was_given_up());
        bench.advance(Duration::from_millis(200));
        let second = bench.arrived();
        bench.answer(second, 200, &[], b"ok");
        assert_eq!(bench.seen(sent).text(), "ok");
        assert_eq!(bench.cluster("upstream_rq_per_try_timeout"), 1);
        bench.finish();
    }

    fn a_route_has_its_time(pair) {
        let mut bench = Bench::with(pair, "", "timeout = \"2s\"", "");
        let client = bench.client();
        let sent = bench.get(client, "/");
        bench.arrived();
        bench.advance(Duration::from_millis(2100));
        bench.settle();
        assert_eq!((bench.seen(sent).status(), bench.cluster("upstream_rq_timeout")), (504, 1));
        bench.works(client);
        bench.finish();
    }

    fn of_two_tries_at_a_time_the_first_answer_counts(pair) {
        let route = "hedge_on_per_try_timeout = true\n\
                     retry_policy = { retry_on = [\"5xx\"], num_retries = 2, per_try_timeout = \"1s\" }";
        for late in [true, false] {
            let mut bench = Bench::with(pair, "", route, "");
            let client = bench.client();
            let sent = bench.send(client, "POST", "/", &[], b"body");
            let first = bench.arrived();
            bench.advance(Duration::from_millis(1300));
            bench.settle();
            let second = bench.arrived();
            assert_eq!(bench.request(second).text(), "body");
            let winner = if late { second } else { first };
            bench.answer(winner, 200, &[], b"first");
            assert_eq!((bench.seen(sent).text().as_str(), bench.seen(sent).end), ("first", End::Whole));
            bench.works(client);
            bench.finish();
        }
    }

    fn an_origin_that_is_not_there(pair) {
        let mut bench = Bench::new(pair);
        bench.stop_listening();
        let client = bench.client();
        let sent = bench.get(client, "/");
        assert_eq!((bench.seen(sent).status(), bench.cluster("upstream_cx_connect_fail")), (503, 1));
        bench.listen();
        bench.works(client);
        bench.finish();
    }
}
