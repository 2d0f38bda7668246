//! How streams and connections end (RFC 9113 sections 5.1, 5.4, 6.4, 6.8 and 8.7): resets, refusals, GOAWAY of an endpoint.

use crate::frames::{
    self, CANCEL, HTTP_1_1_REQUIRED, NO_ERROR, PROTOCOL_ERROR, REFUSED_STREAM, STREAM_CLOSED, data, get, post,
};
use crate::support::{Bench, Cut, End, WINDOW, however_it_is_cut, pattern};
use std::time::Duration;

const RETRY: &str = "retry_policy = { retry_on = [\"5xx\", \"reset\", \"connect-failure\"], num_retries = 2 }";

/// A later stream on the same connection to the endpoint that must go well.
#[track_caller]
fn passes(bench: &Bench, client: &mut End, origin: &mut End, id: u32) {
    bench.say(client, &get(id, "/"));
    bench.look(origin);
    let asked = origin.asked();
    bench.say(origin, &[frames::response(asked, false, "200", &[]), data(asked, true, b"passes")].concat());
    bench.look(client);
    assert_eq!((client.status(id), client.body(id), client.has_ended(id)), (200, b"passes".to_vec(), true));
}

however_it_is_cut! {
    /// envoy#30149, envoy#34461: an endpoint that has answered, and does not want the rest of the request, has answered.
    fn a_response_before_the_requests_end_is_whole(cut) {
        let bench = Bench::with(cut, "enable_trailers = true", "", "");
        let mut client = bench.client();
        client.credits = [true; 2];
        bench.say(&mut client, &[post(1, "/"), data(1, false, b"begun")].concat());
        let mut origin = bench.accept();
        let body = pattern(cut.size(200_000));
        bench.say(&mut origin, &frames::response(1, false, "200", &[]));
        let mut sent = 0;
        while sent < body.len() {
            let window = (WINDOW + origin.credited(1) as usize).min(WINDOW + origin.credited(0) as usize) - sent;
            let now = (body.len() - sent).min(window).min(16_384);
            bench.say(&mut origin, &data(1, false, &body[sent..sent + now]));
            sent += now;
            bench.look(&mut client);
            bench.look(&mut origin);
        }
        let end = [frames::headers(1, true, &[("grpc-status", "0")]), frames::reset(1, NO_ERROR)].concat();
        bench.say(&mut origin, &end);
        bench.look(&mut client);
        assert_eq!((client.body(1) == body, client.has_ended(1)), (true, true));
        assert_eq!((client.field(1, "grpc-status").as_deref(), client.status(1)), (Some("0"), 200));
        assert_eq!(client.resets(1), [NO_ERROR], "the rest of the request is of no use");
        // It may be on its way.
        bench.say(&mut client, &data(1, true, b"rest"));
        passes(&bench, &mut client, &mut origin, 3);
        bench.finish([client], [origin]);
    }

    /// The same without a reset of the endpoint: the request is given up for it.
    fn an_endpoint_that_has_answered_is_sent_nothing_more(cut) {
        let bench = Bench::new(cut);
        let mut client = bench.client();
        bench.say(&mut client, &[post(1, "/"), data(1, false, b"begun")].concat());
        let mut origin = bench.accept();
        bench.say(&mut origin, &[frames::response(1, false, "403", &[]), data(1, true, b"no")].concat());
        bench.look(&mut client);
        assert_eq!((client.status(1), client.body(1), client.has_ended(1)), (403, b"no".to_vec(), true));
        bench.look(&mut origin);
        let ended = origin.resets(1);
        assert!(ended == [CANCEL] || ended == [NO_ERROR], "{ended:?}");
        passes(&bench, &mut client, &mut origin, 3);
        bench.finish([client], [origin]);
    }

    /// "An endpoint that receives any frames other than PRIORITY after receiving a RST_STREAM MUST treat that as a stream error"
    /// (section 5.1), and WINDOW_UPDATE and RST_STREAM may come behind END_STREAM.
    fn frames_on_streams_that_are_over(cut) {
        let bench = Bench::new(cut);
        let mut client = bench.client();
        bench.works(&mut client, 1);
        bench.say(&mut client, &[frames::credit(1, 10), frames::reset(1, CANCEL)].concat());
        bench.say(&mut client, &frames::frame(frames::PRIORITY, 0, 1, &[0, 0, 0, 0, 1]));
        bench.works(&mut client, 3);
        assert!(client.resets(1).is_empty());
        bench.say(&mut client, &[post(5, "/"), frames::reset(5, CANCEL), data(5, false, b"x")].concat());
        assert!(client.resets(5).iter().all(|code| *code == STREAM_CLOSED));
        bench.works(&mut client, 7);
        assert_eq!(client.goaways(), []);
        drop(client);
        for bytes in [data(7, false, b"x"), get(7, "/direct")] {
            let mut client = bench.client();
            bench.works(&mut client, 7);
            bench.say(&mut client, &bytes);
            assert_eq!((client.goaways(), client.is_over), (vec![(7, STREAM_CLOSED)], true));
        }
        let origins = bench.origins();
        bench.finish([], origins);
    }

    /// The same of an endpoint, whether or not the exchange has seen the end of its response, which stays whole.
    fn frames_behind_the_end_of_a_response(cut) {
        for bytes in [data(1, true, b"x"), frames::response(1, true, "200", &[]), frames::headers(1, true, &[("a", "b")])] {
            for waits in [false, true] {
                let bench = Bench::new(cut);
                let mut client = bench.client();
                bench.say(&mut client, &[get(1, "/"), get(3, "/")].concat());
                let mut origin = bench.accept();
                origin.write(&[frames::response(1, false, "200", &[]), data(1, true, b"whole")].concat());
                if waits {
                    bench.look(&mut client);
                }
                bench.say(&mut origin, &bytes);
                bench.look(&mut client);
                assert_eq!((client.status(1), client.body(1), client.has_ended(1)), (200, b"whole".to_vec(), true));
                assert_eq!((client.status(3), origin.is_over), (503, true), "{waits} {bytes:?}");
                assert!(origin.goaways() == [(0, STREAM_CLOSED)] || cut == Cut::Bytes, "{:?}", origin.goaways());
                bench.finish([client], [origin]);
            }
        }
    }

    /// "Receiving any frame other than HEADERS or PRIORITY on a stream in this state MUST be treated as a connection error"
    /// (section 5.1: idle); ids of a client are odd, and rise.
    fn frames_on_streams_that_were_never_opened(cut) {
        let bench = Bench::new(cut);
        let bytes = [
            data(7, false, b"x"),
            frames::reset(7, CANCEL),
            frames::credit(7, 1),
            frames::credit(2, 1),
            get(4, "/direct"),
            get(3, "/direct"),
            frames::frame(frames::PUSH_PROMISE, frames::END_HEADERS, 5, &[0, 0, 0, 2]),
        ];
        for (index, bytes) in bytes.iter().enumerate() {
            let mut client = bench.client();
            bench.works(&mut client, 5);
            bench.say(&mut client, bytes);
            assert_eq!((client.goaways(), client.is_over), (vec![(5, PROTOCOL_ERROR)], true), "{index}");
        }
        bench.finish([], []);
    }

    /// A stream error on a stream that is not open yet is none: nothing may be said on it.
    fn nothing_is_said_on_streams_that_were_never_opened(cut) {
        let bench = Bench::new(cut);
        for bytes in [
            frames::frame(frames::PRIORITY, 0, 7, &[0, 0, 0, 0]),
            frames::frame(frames::PRIORITY, 0, 7, &[0, 0, 0, 7, 0]),
            frames::frame(frames::PRIORITY, 0, 2, &[0, 0, 0, 0]),
            frames::credit(7, 0),
            frames::credit(2, 0),
        ] {
            let mut client = bench.client();
            bench.works(&mut client, 1);
            bench.say(&mut client, &bytes);
            assert_eq!((client.resets(7), client.resets(2), client.is_over), (vec![], vec![], true), "{bytes:?}");
            assert_eq!(client.goaways().len(), 1);
        }
        bench.finish([], []);
    }

    /// The rule that one stream breaks ends that one only.
    fn a_stream_error_ends_its_stream_alone(cut) {
        let bench = Bench::new(cut);
        let mut client = bench.client();
        bench.say(&mut client, &post(1, "/"));
        let mut origin = bench.accept();
        for (id, bytes, code) in [
            (3, frames::credit(3, 0), PROTOCOL_ERROR),
            (5, frames::frame(frames::PRIORITY, 0, 5, &[0; 4]), frames::FRAME_SIZE_ERROR),
            (7, frames::headers(7, false, &[("a", "b")]), PROTOCOL_ERROR),
            (9, frames::headers(9, true, &[(":path", "/")]), PROTOCOL_ERROR),
        ] {
            bench.say(&mut client, &[post(id, "/"), data(id, false, b"x")].concat());
            bench.say(&mut client, &bytes);
            assert_eq!((client.resets(id), client.goaways()), (vec![code], vec![]), "{id}");
        }
        bench.look(&mut origin);
        assert!(origin.requests().iter().skip(1).all(|id| origin.resets(*id) == [CANCEL]));
        bench.say(&mut client, &data(1, true, b"whole"));
        bench.say(&mut origin, &frames::response(1, true, "200", &[]));
        bench.look(&mut client);
        assert_eq!((client.status(1), client.has_ended(1), origin.body(1)), (200, true, b"whole".to_vec()));
        bench.finish([client], [origin]);
    }

    /// linkerd2#2801, h2#375: frames for streams that were just reset are late, and break nothing.
    fn late_frames_of_many_streams_that_this_side_has_reset_are_ignored(cut) {
        let bench = Bench::new(cut);
        let mut client = bench.client();
        let many = if cut == Cut::Whole { 400 } else { 100 };
        let mut origin = None;
        for index in 0..many {
            let id = index * 2 + 1;
            bench.say(&mut client, &get(id, "/"));
            let origin = origin.get_or_insert_with(|| bench.accept());
            bench.look(origin);
            bench.say(origin, &[frames::response(id, false, "200", &[]), data(id, false, b"begun")].concat());
            bench.say(&mut client, &frames::reset(id, CANCEL));
            bench.say(origin, &data(id, false, b"late"));
        }
        let mut origin = origin.unwrap();
        // Those of the first ones come so late that those streams are not remembered.
        for index in 0..many {
            let id = index * 2 + 1;
            origin.write(&data(id, false, b"later"));
            bench.say(&mut origin, &frames::headers(id, true, &[("grpc-status", "1")]));
            assert_eq!(origin.resets(id), [CANCEL], "{id}");
        }
        assert_eq!((origin.goaways(), client.goaways()), (vec![], vec![]));
        passes(&bench, &mut client, &mut origin, many * 2 + 1);
        bench.finish([client], [origin]);
    }

    /// The same with a client's: trailers of requests that were answered before their end.
    fn late_trailers_of_streams_that_are_forgotten_are_ignored(cut) {
        let bench = Bench::new(cut);
        let mut client = bench.client();
        for index in 0..100 {
            let id = index * 2 + 1;
            bench.say(&mut client, &[post(id, "/direct"), data(id, false, b"x")].concat());
            assert_eq!((client.status(id), client.resets(id)), (200, vec![NO_ERROR]), "{id}");
        }
        for index in 0..100 {
            bench.say(&mut client, &frames::headers(index * 2 + 1, true, &[("a", "b")]));
        }
        assert_eq!(client.goaways(), []);
        bench.works(&mut client, 201);
        bench.finish([client], []);
    }

    /// linkerd#1696: a client that leaves ends what is under way for it.
    fn a_client_that_leaves_is_told_upstream(cut) {
        let bench = Bench::new(cut);
        for leaves in ["reset", "end", "break"] {
            let mut client = bench.client();
            bench.say(&mut client, &get(1, "/"));
            let mut origin = bench.accept();
            bench.say(&mut origin, &[frames::response(1, false, "200", &[]), data(1, false, b"begun")].concat());
            bench.look(&mut client);
            assert_eq!(client.body(1), b"begun");
            match leaves {
                "reset" => bench.say(&mut client, &frames::reset(1, CANCEL)),
                "break" => client.reset_connection(),
                _ => drop(client),
            }
            bench.look(&mut origin);
            assert_eq!(origin.resets(1), [CANCEL], "{leaves}");
            assert_eq!((bench.http("downstream_rq_active"), bench.cluster("upstream_rq_active")), (0, 0), "{leaves}");
            drop(origin);
            bench.settle();
        }
        bench.finish([], []);
    }

    /// envoy#36450, nginx#1431, haproxy#1006: what an endpoint has not looked at when it leaves is sent elsewhere, once.
    fn what_goaway_leaves_out_is_sent_elsewhere(cut) {
        let bench = Bench::new(cut);
        let mut client = bench.client();
        for id in (1..41).step_by(2) {
            client.write(&[post(id, "/"), data(id, true, format!("body {id}").as_bytes())].concat());
        }
        bench.look(&mut client);
        let mut first = bench.accept();
        bench.look(&mut first);
        assert_eq!(first.requests().len(), 20);
        bench.say(&mut first, &frames::goaway(35, NO_ERROR));
        let mut second = bench.accept();
        bench.look(&mut second);
        assert_eq!(second.requests(), [1, 3]);
        let mut bodies = Vec::new();
        for origin in [&mut first, &mut second] {
            for id in origin.requests().into_iter().filter(|id| *id <= 35) {
                assert!(origin.has_ended(id));
                bodies.push(String::from_utf8(origin.body(id)).unwrap());
                bench.say(origin, &frames::response(id, true, "200", &[]));
            }
        }
        bench.look(&mut client);
        for id in (1..41).step_by(2) {
            assert_eq!((client.status(id), client.has_ended(id)), (200, true), "{id}");
            assert_eq!(bodies.iter().filter(|body| **body == format!("body {id}")).count(), 1);
        }
        bench.settle();
        first.pump();
        assert!(first.is_over, "with its last exchange");
        assert_eq!((bench.cluster("upstream_rq_total"), bench.cluster("upstream_rq_5xx")), (20, 0));
        bench.finish([client], [first, second]);
    }

    /// nginx#1135, nginx#1724: nothing of the old connection is said on the new one. (All that comes is parsed strictly.)
    fn the_next_connection_begins_anew(cut) {
        let bench = Bench::with(cut, "", RETRY, "");
        let mut client = bench.client();
        let body = pattern(1000);
        bench.say(&mut client, &[post(1, "/"), data(1, true, &body)].concat());
        let first = bench.accept();
        assert_eq!(first.body(1), body);
        drop(first);
        bench.advance(Duration::from_millis(100));
        let mut second = bench.accept();
        assert_eq!((second.requests(), second.body(1), second.has_ended(1)), (vec![1], body, true));
        bench.say(&mut second, &frames::response(1, true, "200", &[]));
        bench.look(&mut client);
        assert_eq!((client.status(1), second.credited(1), second.resets(1)), (200, 0, vec![]));
        bench.finish([client], [second]);
    }

    /// haproxy#1495: endpoints of HTTP/1 that close after each response are in no client's way.
    fn connections_of_http1_that_end_refuse_no_stream(cut) {
        let bench = Bench::of(cut, "http1", "", RETRY, "");
        let mut client = bench.client();
        for id in (1..21).step_by(2) {
            bench.say(&mut client, &get(id, "/"));
            let mut origin = bench.try_accept().expect("another connection");
            origin.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
            bench.settle();
            origin.discard();
            drop(origin);
            bench.look(&mut client);
            assert_eq!((client.status(id), client.has_ended(id), client.resets(id)), (200, true, vec![]));
        }
        bench.finish([client], []);
    }

    /// envoy#20650: what is refused has not been looked at, and is sent again whatever it is, at most three times.
    fn a_refused_stream_is_sent_again(cut) {
        let bench = Bench::new(cut);
        let mut client = bench.client();
        bench.say(&mut client, &[post(1, "/"), data(1, true, b"body")].concat());
        let mut origin = bench.accept();
        bench.say(&mut origin, &frames::reset(1, REFUSED_STREAM));
        bench.look(&mut origin);
        assert_eq!((origin.requests(), origin.body(3)), (vec![1, 3], b"body".to_vec()));
        bench.say(&mut origin, &frames::response(3, true, "200", &[]));
        bench.look(&mut client);
        assert_eq!((client.status(1), bench.cluster("upstream_rq_total")), (200, 1), "it is one try");
        bench.say(&mut client, &get(3, "/"));
        for _ in 0..10 {
            bench.look(&mut origin);
            let last = origin.asked();
            if origin.resets(last).is_empty() && client.status(3) == 0 {
                bench.say(&mut origin, &frames::reset(last, REFUSED_STREAM));
                bench.look(&mut client);
            }
        }
        assert_eq!((client.status(3), client.goaways()), (503, vec![]));
        assert!((4..=6).contains(&origin.requests().len()), "{:?}", origin.requests());
        passes(&bench, &mut client, &mut origin, 5);
        bench.finish([client], [origin]);
    }

    /// What an endpoint resets is a failure of that exchange, whatever its code, and of no other.
    fn resets_of_an_endpoint(cut) {
        let bench = Bench::new(cut);
        let mut client = bench.client();
        bench.say(&mut client, &get(1, "/"));
        let mut origin = bench.accept();
        let mut id = 1;
        for code in [NO_ERROR, PROTOCOL_ERROR, CANCEL, HTTP_1_1_REQUIRED, 0xdead_beef] {
            let asked = origin.asked();
            bench.say(&mut origin, &frames::reset(asked, code));
            bench.look(&mut client);
            assert_eq!((client.status(id), client.has_ended(id)), (503, true), "{code}");
            bench.say(&mut client, &get(id + 2, "/"));
            bench.look(&mut origin);
            let asked = origin.asked();
            bench.say(&mut origin, &[frames::response(asked, false, "200", &[]), data(asked, false, b"begun")].concat());
            bench.say(&mut origin, &frames::reset(asked, code));
            bench.look(&mut client);
            assert_eq!((client.status(id + 2), client.resets(id + 2).len()), (200, 1), "{code}");
            assert_ne!(client.resets(id + 2), [REFUSED_STREAM]);
            id += 4;
            bench.say(&mut client, &get(id, "/"));
            bench.look(&mut origin);
        }
        let asked = origin.asked();
        bench.say(&mut origin, &frames::response(asked, true, "200", &[]));
        bench.look(&mut client);
        assert_eq!((client.status(id), origin.goaways()), (200, vec![]));
        bench.finish([client], [origin]);
    }

    /// What has come before a reset, or before the connection ends, is the client's, as far as it takes it at once.
    fn what_comes_right_before_a_reset_is_passed_on(cut) {
        let settings = |window: u32| [(4, window)];
        for (window, way) in [(65_535, "reset"), (65_535, "end"), (3, "reset"), (0, "end")] {
            for protocol in ["http2", "http1"] {
                let bench = Bench::of(cut, protocol, "", "", "");
                let mut client = bench.client_with(&settings(window));
                bench.say(&mut client, &get(1, "/"));
                let mut origin = if protocol == "http2" { bench.accept() } else { bench.try_accept().unwrap() };
                origin.discard();
                origin.write(&match protocol {
                    "http2" => [frames::response(1, false, "200", &[]), data(1, false, b"as far as it came")].concat(),
                    _ => b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nas far as it came".to_vec(),
                });
                if way == "reset" && protocol == "http2" {
                    origin.write(&frames::reset(1, CANCEL));
                }
                drop(origin);
                bench.look(&mut client);
                assert_eq!(client.status(1), 200, "{window} {way} {protocol}");
                let came = &b"as far as it came"[..17.min(window as usize)];
                assert_eq!((client.body(1), client.has_ended(1)), (came.to_vec(), false), "{window} {way} {protocol}");
                let code = if way == "reset" && protocol == "http2" { CANCEL } else { frames::INTERNAL_ERROR };
                assert_eq!(client.resets(1), [code], "{window} {way} {protocol}");
                assert_eq!(client.goaways(), []);
                bench.finish([client], []);
            }
        }
    }

    /// An endpoint breaks a rule: its connection is over, and what was asked on it fails or is tried elsewhere.
    fn endpoints_that_break_rules(cut) {
        for (index, bytes) in [
            frames::frame(frames::PUSH_PROMISE, frames::END_HEADERS, 1, &[0, 0, 0, 2]),
            frames::settings(&[(2, 1)]),
            frames::frame(frames::DATA, 0, 0, b"x"),
            data(3, false, b"x"),
            frames::response(2, true, "200", &[]),
            frames::frame(frames::HEADERS, frames::END_HEADERS, 1, &[0x80]),
            frames::frame(frames::SETTINGS, 0, 0, &[0; 5]),
            b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        ].into_iter().enumerate() {
            let bench = Bench::new(cut);
            let mut client = bench.client();
            bench.say(&mut client, &get(1, "/"));
            let mut origin = bench.accept();
            bench.say(&mut origin, &bytes);
            bench.look(&mut client);
            assert_eq!((client.status(1), client.has_ended(1)), (503, true), "{index}");
            // Bytes that were not read break the connection before it is told.
            assert!(origin.goaways().len() == 1 || cut == Cut::Bytes, "{index}");
            assert!(origin.is_over, "{index}");
            assert_eq!(bench.cluster("upstream_cx_protocol_error"), 1, "{index}");
            bench.works(&mut client, 3);
            bench.finish([client], [origin]);
        }
    }

    /// What stands in a request's way for an hour costs nothing: streams of a connection come and go.
    fn many_exchanges_leave_nothing(cut) {
        let bench = Bench::new(cut);
        let mut client = bench.client();
        let many = if cut == Cut::Whole { 1000 } else { 50 };
        for index in 0..many {
            bench.works(&mut client, index * 2 + 1);
            bench.advance(Duration::from_millis(10));
        }
        assert_eq!(bench.http("downstream_rq_2xx"), i64::from(many));
        bench.finish([client], []);
    }
}
