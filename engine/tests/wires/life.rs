//! How connections end: drains, idle connections, ages, limits.

use crate::peer::{End, Wire};
use crate::support::{Bench, in_all_pairs};
use std::time::Duration;

in_all_pairs! {
    fn a_drain_lets_exchanges_end(pair) {
        let mut bench = Bench::new(pair);
        let (idle, busy) = (bench.client(), bench.client());
        bench.works(idle);
        let sent = bench.get(busy, "/");
        let got = bench.arrived();
        bench.shard.drain();
        bench.settle();
        assert_eq!(bench.clients[idle].is_over, pair.0 == Wire::H2, "it cannot know, and has a second");
        bench.advance(Duration::from_millis(1100));
        bench.settle();
        assert!(bench.clients[idle].is_over);
        assert!(!bench.clients[busy].is_over);
        assert_eq!(bench.clients[busy].goes_away, pair.0 == Wire::H2);
        if pair.0 == Wire::H2 {
            // A request that comes too late is not looked at.
            let late = bench.get(busy, "/late");
            assert_eq!((bench.try_arrived(), bench.seen(late).end), (None, End::None));
        }
        bench.answer(got, 200, &[], b"ok");
        let seen = bench.seen(sent);
        assert_eq!((seen.text().as_str(), seen.end), ("ok", End::Whole));
        assert_eq!(seen.field("connection"), (pair.0 == Wire::H1).then_some("close"));
        assert!(bench.clients[busy].is_over, "it ends with its last exchange");
        bench.finish();
    }

    fn a_new_connection_is_served_once_while_the_listener_drains(pair) {
        let mut bench = Bench::new(pair);
        let (before, silent) = (bench.client(), bench.client());
        bench.settle();
        bench.shard.drain();
        // As from the backlog.
        let after = bench.client();
        bench.settle();
        assert!([before, silent, after].iter().all(|client| !bench.clients[*client].is_over));
        for client in [before, after] {
            let sent = bench.get(client, "/");
            let got = bench.arrived();
            bench.answer(got, 200, &[], b"ok");
            let seen = bench.seen(sent);
            assert_eq!((seen.text().as_str(), seen.end), ("ok", End::Whole));
            assert_eq!(seen.field("connection"), (pair.0 == Wire::H1).then_some("close"));
            bench.settle();
            assert!(bench.clients[client].is_over, "with its first exchange");
        }
        bench.advance(Duration::from_millis(800));
        assert!(!bench.clients[silent].is_over);
        bench.advance(Duration::from_millis(300));
        bench.settle();
        assert!(bench.clients[silent].is_over, "it has a second");
        if pair.0 == Wire::H1 {
            assert_eq!(bench.http("downstream_cx_drain_close"), 3);
        }
        bench.finish();
    }

    fn an_idle_connection_ends(pair) {
        let mut bench = Bench::with(pair, "idle_timeout = \"10s\"", "", "idle_timeout = \"20s\"");
        let client = bench.client();
        bench.works(client);
        bench.advance(Duration::from_secs(9));
        bench.works(client);
        bench.advance(Duration::from_secs(9));
        assert!(!bench.clients[client].is_over);
        bench.advance(Duration::from_secs(2));
        bench.settle();
        assert!(bench.clients[client].is_over);
        assert_eq!((bench.http("downstream_cx_idle_timeout"), bench.cluster("upstream_cx_active")), (1, 1));
        bench.advance(Duration::from_secs(21));
        bench.settle();
        assert!(bench.origins[0].is_over);
        assert_eq!((bench.cluster("upstream_cx_idle_timeout"), bench.cluster("upstream_cx_active")), (1, 0));
        bench.finish();
    }

    fn an_old_connection_ends_with_its_exchange(pair) {
        let mut bench = Bench::with(pair, "max_connection_duration = \"10s\"", "", "");
        let client = bench.client();
        bench.works(client);
        let sent = bench.get(client, "/");
        let got = bench.arrived();
        bench.advance(Duration::from_secs(11));
        assert!(!bench.clients[client].is_over);
        bench.answer(got, 200, &[], b"ok");
        bench.settle();
        let seen = bench.seen(sent);
        assert_eq!((seen.text().as_str(), seen.end), ("ok", End::Whole));
        assert_eq!(seen.field("connection"), (pair.0 == Wire::H1).then_some("close"));
        assert!(bench.clients[client].is_over);
        assert_eq!(bench.http("downstream_cx_max_duration_reached"), 1);
        bench.finish();
    }

    fn connections_that_come_together_end_one_after_the_other(pair) {
        let jitter = "max_connection_duration = \"10s\"\nmax_connection_duration_jitter = 50";
        let mut bench = Bench::with(pair, jitter, "", "");
        for _ in 0..20 {
            let client = bench.client();
            bench.works(client);
        }
        // A connection of HTTP/1 without a request has five more seconds for its last one.
        let last_wait = if pair.0 == Wire::H1 { 5 } else { 0 };
        bench.advance(Duration::from_millis(last_wait * 1000 + 9900));
        let mut before = 0;
        for _ in 0..6 {
            let over = bench.clients.iter().filter(|client| client.is_over).count();
            assert!(over - before < 12, "{over} of 20 after {before}");
            before = over;
            bench.advance(Duration::from_secs(1));
            bench.settle();
        }
        assert_eq!((before, bench.http("downstream_cx_max_duration_reached")), (20, 20));
        bench.finish();
    }

    fn a_connection_serves_as_many_requests_as_it_may(pair) {
        let mut bench = Bench::with(pair, "max_requests_per_connection = 2", "", "max_requests_per_connection = 3");
        for _ in 0..3 {
            let client = bench.client();
            bench.works(client);
            assert!(!bench.clients[client].is_over);
            bench.works(client);
            bench.settle();
            assert!(bench.clients[client].is_over);
        }
        assert_eq!((bench.http("downstream_cx_max_requests_reached"), bench.origins.len()), (3, 2));
        assert_eq!((bench.cluster("upstream_cx_max_requests"), bench.cluster("upstream_cx_active")), (2, 0));
        bench.finish();
    }

    /// Where an exchange is longer than one idle time, it is not idle.
    fn an_exchange_that_is_idle_too_long_ends(pair) {
        let mut bench = Bench::with(pair, "stream_idle_timeout = \"5s\"", "timeout = \"off\"", "");
        let client = bench.client();
        let sent = bench.get(client, "/");
        bench.arrived();
        bench.advance(Duration::from_secs(6));
        bench.settle();
        assert_eq!((bench.seen(sent).status(), bench.http("downstream_rq_idle_timeout")), (504, 1));
        bench.finish();
    }

    /// A new configuration finds connections where they are.
    fn a_connection_outlives_its_configuration(pair) {
        let mut bench = Bench::new(pair);
        let client = bench.client();
        bench.works(client);
        let sent = bench.get(client, "/old");
        let got = bench.arrived();
        let text = "[[listeners]]\naddress = \"127.0.0.1:1\"\nhttp.routes = [\n\
                    { match = { path = \"/new\" }, direct_response = { status = 202 } },\n\
                    { match = { prefix = \"/\" }, route = { cluster = \"app\" } }]\n\
                    [[clusters]]\nname = \"app\"\nendpoints = [\"127.0.0.1:2\"]\nconnect_timeout = \"1s\"\n";
        bench.shard.apply(ringway_config::load_str("test.toml", text).unwrap_or_else(|problems| panic!("{problems}")));
        bench.answer(got, 200, &[], b"old");
        assert_eq!(bench.seen(sent).text(), "old");
        let sent = bench.get(client, "/new");
        assert_eq!(bench.seen(sent).status(), 202);
        bench.finish();
    }
}
