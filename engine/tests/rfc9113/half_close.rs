//! Clients that close their side of the connection behind what they have asked for, and listen (decision 0007).

use crate::frames::{CANCEL, NO_ERROR, data, get, post, response};
use crate::support::{Bench, Cut, End, STREAMS, however_it_is_cut, pattern};
use std::time::Duration;

const SERVE: &str = "client_half_close = \"serve\"";

#[track_caller]
fn is_answered(bench: &Bench, client: &mut End, id: u32) {
    bench.look(client);
    assert_eq!((client.status(id), client.body(id), client.has_ended(id)), (200, b"whole".to_vec(), true), "{id}");
}

#[track_caller]
fn answer(bench: &Bench, origin: &mut End, id: u32) {
    bench.say(origin, &[response(id, false, "200", &[]), data(id, true, b"whole")].concat());
}

however_it_is_cut! {
    /// As many as there may be, over HTTP/2 and HTTP/1, and then the connection is over.
    fn whole_requests_are_answered(cut) {
        for (http, wait) in [("", 0), (SERVE, 50)] {
            let bench = Bench::with(cut, http, "", "");
            let mut client = bench.client();
            let ids: Vec<u32> = (0..STREAMS).map(|index| index * 2 + 1).collect();
            for id in &ids {
                let is_post = id % 3 == 0;
                client.write(&if is_post { [post(*id, "/"), data(*id, true, b"asked")].concat() } else { get(*id, "/") });
            }
            client.half_close();
            let mut origin = bench.accept();
            bench.advance(Duration::from_secs(wait));
            bench.look(&mut origin);
            assert_eq!(origin.requests().len(), ids.len());
            assert_eq!(origin.body(3), b"asked");
            for id in origin.requests() {
                assert!(!client.is_over, "answers are outstanding");
                answer(&bench, &mut origin, id);
            }
            ids.iter().for_each(|id| is_answered(&bench, &mut client, *id));
            assert_eq!((client.goaways(), client.is_over), (vec![(ids[ids.len() - 1], NO_ERROR)], true));
            bench.advance(Duration::from_secs(1));
            assert_eq!(bench.http("downstream_rq_2xx"), i64::from(STREAMS));
            assert_eq!((bench.http("downstream_cx_destroy_remote"), bench.shard.connections()), (1, 0));
            bench.finish([], [origin]);
        }
    }

    /// What is answered here and at once is answered before the connection is over.
    fn replies_of_the_proxy_are_sent(cut) {
        let bench = Bench::new(cut);
        let mut client = bench.client();
        client.write(&[get(1, "/direct"), get(3, "/direct")].concat());
        client.half_close();
        bench.look(&mut client);
        for id in [1, 3] {
            assert_eq!((client.body(id), client.has_ended(id)), (b"direct".to_vec(), true));
        }
        assert!(client.is_over && client.resets(1).is_empty());
        bench.finish([], []);
    }

    /// A client that has nothing to wait for has just left.
    fn an_idle_connection_is_over(cut) {
        let bench = Bench::with(cut, SERVE, "", "");
        for bytes in [vec![], b"PRI * HTTP/2.0".to_vec(), get(1, "/")[..7].to_vec()] {
            let mut client = if bytes.starts_with(b"PRI") { bench.silent() } else { bench.client() };
            client.write(&bytes);
            client.half_close();
            bench.look(&mut client);
            assert_eq!((client.goaways(), client.is_over), (vec![], true), "{bytes:?}");
        }
        bench.finish([], []);
    }

    /// Half a second after the end of a request its client's FIN takes it back.
    fn requests_that_take_long_are_taken_back(cut) {
        for (before, body) in [(0, false), (100, false), (700, false), (20_000, false), (0, true), (700, true)] {
            let bench = Bench::new(cut);
            let mut client = bench.client();
            bench.say(&mut client, &if body { post(1, "/") } else { get(1, "/") });
            let mut origin = bench.accept();
            bench.advance(Duration::from_millis(before));
            assert_eq!((origin.resets(1), client.is_over), (vec![], false), "{before} {body}");
            if body {
                client.write(&data(1, true, b"asked"));
            }
            client.half_close();
            bench.look(&mut client);
            assert_eq!(client.is_over, before > 500 && !body, "{before} {body}");
            bench.advance(Duration::from_secs(1));
            bench.look(&mut client);
            bench.look(&mut origin);
            assert_eq!((origin.resets(1), client.resets(1)), (vec![CANCEL], vec![CANCEL]), "{before} {body}");
            assert_eq!((client.is_over, client.status(1)), (true, 0));
            assert_eq!(bench.http("downstream_rq_rx_reset"), 1);
            bench.finish([client], [origin]);
        }
    }

    /// A request that is not whole never will be. It is given up alone.
    fn requests_that_are_not_whole_end(cut) {
        let bench = Bench::with(cut, SERVE, "", "");
        let mut client = bench.client();
        bench.say(&mut client, &[post(1, "/"), data(1, false, b"begun"), get(3, "/")].concat());
        let mut origin = bench.accept();
        client.half_close();
        bench.look(&mut origin);
        assert_eq!((origin.resets(1), origin.resets(3)), (vec![CANCEL], vec![]));
        assert_eq!((bench.http("downstream_rq_active"), client.is_over), (1, false));
        answer(&bench, &mut origin, 3);
        is_answered(&bench, &mut client, 3);
        assert!(client.is_over);
        bench.finish([client], [origin]);
    }

    /// What there is room for is sent. More room will never come: the rest is not waited with.
    fn a_response_that_is_too_long_for_the_window_is_given_up(cut) {
        for stream_window in [10_000, 1 << 20] {
            let bench = Bench::with(cut, SERVE, "", "");
            let mut client = bench.client_with(&[(4, stream_window)]);
            client.write(&[get(1, "/"), get(3, "/")].concat());
            client.half_close();
            let mut origin = bench.accept();
            bench.look(&mut origin);
            let body = pattern(70_000);
            bench.say(&mut origin, &response(1, false, "200", &[("content-length", "70000")]));
            for piece in body[..60_000].chunks(10_000) {
                bench.say(&mut origin, &data(1, false, piece));
            }
            bench.look(&mut client);
            if stream_window > 70_000 {
                assert_eq!((client.body(1).len(), client.resets(1)), (60_000, vec![]));
                bench.say(&mut origin, &data(1, true, &body[60_000..]));
                bench.look(&mut client);
            }
            assert_eq!(client.body(1), body[..65_535.min(stream_window as usize)]);
            assert_eq!((client.resets(1), client.has_ended(1)), (vec![CANCEL], false));
            bench.look(&mut origin);
            let has_all = stream_window > 70_000 && cut == Cut::Whole;
            let resets = if has_all { vec![] } else { vec![CANCEL] };
            assert_eq!((origin.resets(1), client.is_over), (resets, false));
            bench.say(&mut origin, &response(3, true, "204", &[]));
            bench.look(&mut client);
            assert_eq!((client.status(3), client.has_ended(3), client.is_over), (204, true, true));
            bench.finish([client], [origin]);
        }
    }

    /// PINGs are not answered by a client that says nothing more, and GOAWAY is not: neither is waited for.
    fn nothing_is_asked_of_a_client_that_says_nothing_more(cut) {
        let keepalive = "http2.connection_keepalive = { interval = \"2s\", timeout = \"1s\" }\nmax_connection_duration = \"5s\"";
        let bench = Bench::with(cut, &format!("{SERVE}\n{keepalive}"), "", "");
        let mut client = bench.client();
        client.write(&get(1, "/"));
        client.half_close();
        let mut origin = bench.accept();
        bench.advance(Duration::from_secs(20));
        bench.look(&mut client);
        assert_eq!((client.pings(), client.is_over), (vec![], false));
        answer(&bench, &mut origin, 1);
        is_answered(&bench, &mut client, 1);
        assert!(client.is_over);
        bench.finish([client], [origin]);
    }
}
