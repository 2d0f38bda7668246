//! Messages on streams (RFC 9113 section 8.1): bodies and their lengths, trailers, interim responses, cookies.

use crate::frames::{self, NO_ERROR, PROTOCOL_ERROR, TABLE_SIZE, data, get, post, request, response};
use crate::support::{Bench, Cut, End, WINDOW, however_it_is_cut, pattern};

/// Send a response's body as far as the windows allow, and let the client read it.
fn download(bench: &Bench, client: &mut End, origin: &mut End, id: u32, body: &[u8], sent_before: usize) {
    let mut sent = 0;
    while sent < body.len() {
        let of_connection = WINDOW + origin.credited(0) as usize - sent_before;
        let window = (WINDOW + origin.credited(id) as usize).min(of_connection) - sent;
        let now = (body.len() - sent).min(window).min(16_384);
        if now > 0 {
            bench.say(origin, &data(id, false, &body[sent..sent + now]));
        }
        sent += now;
        bench.look(client);
        bench.look(origin);
    }
}

however_it_is_cut! {
    /// haproxy#2388, linkerd2#15199: trailers behind a body of any size, read slowly or at once.
    fn trailers_follow_bodies_of_any_size(cut) {
        let sizes = [0, 1, 16_383, 16_384, 16_385, 65_535, 65_536, 65_537, 300_000];
        let bench = Bench::new(cut);
        let mut client = bench.client();
        client.credits = [true; 2];
        let (mut origin, mut id, mut sent) = (None, 1, 0);
        for size in sizes.into_iter().take(if cut == Cut::Whole { 9 } else { 5 }) {
            let body = pattern(size);
            bench.say(&mut client, &get(id, "/"));
            let origin = origin.get_or_insert_with(|| bench.accept());
            bench.look(origin);
            bench.say(origin, &response(id, false, "200", &[("content-type", "application/grpc")]));
            download(&bench, &mut client, origin, id, &body, sent);
            sent += size;
            bench.say(origin, &frames::headers(id, true, &[("grpc-status", "7"), ("grpc-message", "no")]));
            bench.look(&mut client);
            assert_eq!((client.body(id) == body, client.has_ended(id)), (true, true), "{size}");
            assert_eq!(client.field(id, "grpc-status").as_deref(), Some("7"), "{size}");
            assert_eq!(client.heads(id).len(), 2, "{size}");
            id += 2;
        }
        // The client takes the last bytes of a body after its trailers have come.
        let mut slow = bench.client_with(&[(frames::INITIAL_WINDOW, 10)]);
        let mut origin = origin.unwrap();
        bench.say(&mut slow, &get(1, "/"));
        bench.look(&mut origin);
        let end = frames::headers(id, true, &[("grpc-status", "0")]);
        bench.say(&mut origin, &[response(id, false, "200", &[]), data(id, false, &pattern(16_384)), end].concat());
        bench.look(&mut slow);
        assert_eq!((slow.body(1).len(), slow.has_ended(1)), (10, false));
        bench.say(&mut slow, &frames::credit(1, 16_374));
        assert_eq!((slow.body(1), slow.has_ended(1)), (pattern(16_384), true));
        assert_eq!(slow.field(1, "grpc-status").as_deref(), Some("0"));
        bench.finish([client, slow], [origin]);
    }

    /// The same in the other direction, and trailers alone.
    fn trailers_of_requests_pass(cut) {
        let bench = Bench::new(cut);
        let mut client = bench.client();
        let end = frames::headers(1, true, &[("checksum", "abc")]);
        bench.say(&mut client, &[post(1, "/"), data(1, false, b"body"), end].concat());
        let mut origin = bench.accept();
        assert_eq!((origin.body(1), origin.has_ended(1)), (b"body".to_vec(), true));
        assert_eq!(origin.field(1, "checksum").as_deref(), Some("abc"));
        bench.say(&mut client, &[post(3, "/"), frames::headers(3, true, &[("checksum", "def")])].concat());
        bench.look(&mut origin);
        assert_eq!((origin.field(3, "checksum").as_deref(), origin.has_ended(3)), (Some("def"), true));
        for id in [1, 3] {
            bench.say(&mut origin, &[response(id, false, "200", &[]), frames::headers(id, true, &[("a", "b")])].concat());
        }
        bench.look(&mut client);
        assert_eq!((client.field(1, "a").as_deref(), client.field(3, "a").as_deref()), (Some("b"), Some("b")));
        bench.finish([client], [origin]);
    }

    /// Servers of gRPC let the message of a status end in a space: it is no part of it, and no client sees it.
    fn white_space_at_the_ends_of_an_endpoints_values_is_taken_off(cut) {
        let bench = Bench::new(cut);
        let mut client = bench.client();
        bench.say(&mut client, &[get(1, "/"), get(3, "/")].concat());
        let mut origin = bench.accept();
        let status = [("grpc-status", "7"), ("grpc-message", "\tfailed:  ")];
        bench.say(&mut origin, &response(1, true, "200", &status));
        let whole = [response(3, false, "200", &[("name", " ")]), data(3, false, b"x"), frames::headers(3, true, &status)];
        bench.say(&mut origin, &whole.concat());
        bench.look(&mut client);
        for id in [1, 3] {
            assert_eq!((client.status(id), client.has_ended(id)), (200, true));
            assert_eq!(client.field(id, "grpc-message").as_deref(), Some("failed:"));
        }
        assert_eq!(client.field(3, "name").as_deref(), Some(""));
        // The same of a client is malformed.
        let trailers = frames::headers(5, true, &[("name", "value ")]);
        bench.say(&mut client, &[post(5, "/"), trailers].concat());
        assert_eq!((client.resets(5), client.goaways()), (vec![PROTOCOL_ERROR], vec![]));
        bench.finish([client], [origin]);
    }

    /// "A request or response that includes a payload body can include a content-length header field. [...] malformed if the
    /// value [...] does not equal the sum of the DATA frame payload lengths" (section 8.1.1; HAProxy d12edebe4).
    fn a_request_of_another_length_than_announced_is_reset(cut) {
        for protocol in ["http2", "http1"] {
            let bench = Bench::of(cut, protocol, "", "", "");
            let mut client = bench.client();
            let with = |id, ends, length| request(id, ends, "POST", "/", &[("content-length", length)]);
            for (id, bytes) in [
                (1, with(1, true, "5")),
                (3, [with(3, false, "5"), data(3, true, b"1234")].concat()),
                (5, [with(5, false, "5"), data(5, true, b"123456")].concat()),
                (7, [with(7, false, "5"), data(7, false, b"1234"), frames::headers(7, true, &[("a", "b")])].concat()),
                (9, [with(9, false, "5"), frames::headers(9, true, &[("a", "b")])].concat()),
                (11, [with(11, false, "0"), data(11, true, b"GET /admin HTTP/1.1\r\n\r\n")].concat()),
                (13, [with(13, false, "0"), data(13, false, b"x")].concat()),
                (15, with(15, true, "-1")),
                (17, with(17, true, "0x0")),
                (19, with(19, false, "18446744073709551616")),
                (21, request(21, false, "POST", "/", &[("content-length", "1"), ("content-length", "2")])),
            ] {
                bench.say(&mut client, &bytes);
                assert_eq!(client.resets(id), [PROTOCOL_ERROR], "{protocol}, {id}");
                assert_eq!(client.status(id), 0, "{protocol}, {id}");
            }
            let mut origins = bench.origins();
            for origin in &mut origins {
                if protocol == "http2" {
                    origin.begin(&[]);
                    bench.look(origin);
                    for id in origin.requests() {
                        // Nothing was announced, nothing was sent.
                        let is_empty = origin.field(id, "content-length").as_deref() == Some("0");
                        assert!(origin.has_ended(id) == is_empty && origin.resets(id).len() == 1, "{:?}", origin.frames);
                        assert!(!is_empty || origin.body(id).is_empty());
                    }
                } else {
                    let text = origin.text();
                    assert!(!text.contains("admin") && !text.contains("123456"), "{text}");
                }
            }
            assert_eq!(client.goaways(), []);
            bench.works(&mut client, 23);
            // Zero bytes are zero bytes, however they come.
            bench.say(&mut client, &request(25, true, "POST", "/direct", &[("content-length", "0")]));
            let early = || bench.http("downstream_rq_response_before_rq_complete");
            let before = early();
            bench.say(&mut client, &[request(27, false, "POST", "/direct", &[("content-length", "0")]), data(27, true, b"")].concat());
            assert_eq!((client.status(25), client.status(27)), (200, 200));
            // What comes along with its head has come before the answer.
            assert!(cut != Cut::Whole || early() == before);
            bench.finish([client], origins);
        }
    }

    fn a_response_of_another_length_than_announced_is_an_error(cut) {
        let bench = Bench::new(cut);
        let mut client = bench.client();
        let mut origin = None;
        let length = |value| [("content-length", value)];
        let cases: [(&str, Vec<Vec<u8>>, u16); 9] = [
            ("GET", vec![response(0, true, "200", &length("5"))], 502),
            ("GET", vec![response(0, false, "200", &length("5")), data(0, true, b"1234")], 200),
            ("GET", vec![response(0, false, "200", &length("5")), data(0, true, b"123456")], 200),
            ("GET", vec![response(0, false, "200", &length("5")), data(0, false, b"1234"), frames::headers(0, true, &[("a", "b")])], 200),
            ("GET", vec![response(0, false, "200", &length("x")), data(0, true, b"1234")], 502),
            ("HEAD", vec![response(0, true, "200", &length("5"))], 0),
            ("GET", vec![response(0, true, "204", &length("5"))], 0),
            ("GET", vec![response(0, true, "304", &length("5"))], 0),
            ("HEAD", vec![response(0, false, "200", &length("5")), data(0, true, b"")], 0),
        ];
        for (index, (method, frames, fails)) in cases.into_iter().enumerate() {
            let id = index as u32 * 2 + 1;
            bench.say(&mut client, &request(id, true, method, "/", &[]));
            let origin = origin.get_or_insert_with(|| bench.accept());
            bench.look(origin);
            let asked = origin.asked();
            for mut frame in frames {
                frame[5..9].copy_from_slice(&asked.to_be_bytes());
                bench.say(origin, &frame);
            }
            bench.look(&mut client);
            match fails {
                0 => assert_eq!((client.has_ended(id), client.resets(id)), (true, vec![]), "{index}: {:?}", client.heads(id)),
                200 => assert_eq!((client.status(id), client.resets(id).len()), (200, 1), "{index}"),
                status => assert_eq!((client.status(id), client.has_ended(id)), (status, true), "{index}"),
            }
            assert!(client.resets(id).is_empty() || !client.has_ended(id), "{index}: no end and then a reset");
        }
        bench.finish([client], origin);
    }

    /// haproxy#3209: interim responses, and the body behind them; HAProxy 827a6299e: one that ends its stream is none.
    fn interim_responses_pass(cut) {
        let bench = Bench::new(cut);
        let mut client = bench.client();
        client.credits = [true; 2];
        bench.say(&mut client, &get(1, "/"));
        let mut origin = bench.accept();
        let body = pattern(cut.size(200_000));
        for link in ["a", "b"] {
            bench.say(&mut origin, &response(1, false, "103", &[("link", link)]));
        }
        bench.look(&mut client);
        assert_eq!((client.heads(1).len(), client.status(1), client.has_ended(1)), (2, 103, false));
        bench.say(&mut origin, &response(1, false, "200", &[]));
        download(&bench, &mut client, &mut origin, 1, &body, 0);
        bench.say(&mut origin, &data(1, true, b""));
        bench.look(&mut client);
        assert_eq!((client.status(1), client.body(1) == body, client.has_ended(1)), (200, true, true));
        for (id, bytes) in [
            (3, response(3, true, "103", &[])),
            (5, response(5, false, "101", &[])),
            (7, [response(7, false, "103", &[]), data(7, true, b"x")].concat()),
            (9, frames::headers(9, true, &[("a", "b")])),
            (11, response(11, true, "20", &[])),
        ] {
            bench.say(&mut client, &get(id, "/"));
            bench.look(&mut origin);
            assert_eq!(origin.requests().last(), Some(&id));
            bench.say(&mut origin, &bytes);
            bench.look(&mut client);
            assert_eq!((client.status(id), client.has_ended(id)), (502, true), "{id}");
        }
        assert_eq!(origin.goaways(), []);
        bench.finish([client], [origin]);
    }

    /// "100-continue" on either side.
    fn a_client_that_expects_100_is_told(cut) {
        let bench = Bench::new(cut);
        let mut client = bench.client();
        bench.say(&mut client, &request(1, false, "POST", "/", &[("expect", "100-continue")]));
        let mut origin = bench.accept();
        assert_eq!(client.heads(1).len(), 0, "only the endpoint knows");
        bench.say(&mut origin, &response(1, false, "100", &[]));
        bench.look(&mut client);
        assert_eq!((client.status(1), client.has_ended(1)), (100, false));
        bench.say(&mut client, &data(1, true, b"body"));
        bench.look(&mut origin);
        assert_eq!((origin.body(1), origin.has_ended(1)), (b"body".to_vec(), true));
        bench.say(&mut origin, &response(1, true, "200", &[]));
        bench.look(&mut client);
        assert_eq!((client.status(1), client.heads(1).len()), (200, 2));
        bench.finish([client], [origin]);
    }

    /// haproxy#1992: the end of an HTTP/1 connection ends its response, but not one that is chunked.
    fn the_end_of_an_http1_response_is_that_of_its_stream(cut) {
        let bench = Bench::of(cut, "http1", "", "", "");
        let mut client = bench.client();
        for (id, text, is_whole) in [
            (1, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nall", true),
            (3, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nall\r\n", false),
            (5, "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nall", false),
        ] {
            bench.say(&mut client, &get(id, "/"));
            let mut origin = bench.try_accept().expect("a connection");
            origin.discard();
            origin.write(text.as_bytes());
            bench.settle();
            drop(origin);
            bench.look(&mut client);
            assert_eq!((client.status(id), client.body(id)), (200, b"all".to_vec()), "{id}");
            assert_eq!((client.has_ended(id), client.resets(id).len()), (is_whole, usize::from(!is_whole)), "{id}");
            assert!(client.field(id, "transfer-encoding").is_none() && client.field(id, "connection").is_none());
        }
        bench.finish([client], []);
    }

    /// "If there are multiple Cookie header fields after decompression, these MUST be concatenated into a single octet string"
    /// (section 8.2.3) for HTTP/1; Set-Cookie never are.
    fn crumbs_of_cookies_are_joined(cut) {
        let bench = Bench::of(cut, "http1", "", "", "");
        let mut client = bench.client();
        let fields = [("cookie", "a=1"), ("x", "y"), ("cookie", "b=2"), ("cookie", "c=3; d=4")];
        bench.say(&mut client, &request(1, true, "GET", "/", &fields));
        let mut origin = bench.try_accept().expect("a connection");
        let text = origin.text();
        assert!(text.contains("\r\ncookie: a=1; b=2; c=3; d=4\r\n"), "{text}");
        assert_eq!(text.matches("cookie").count(), 1, "{text}");
        origin.write(b"HTTP/1.1 200 OK\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Length: 0\r\n\r\n");
        bench.look(&mut client);
        let cookies = client.heads(1)[0].iter().filter(|field| field.0 == "set-cookie").count();
        assert_eq!(cookies, 2);
        // They count as what they are.
        let crumbs: Vec<(&str, &str)> = (0..101).map(|_| ("cookie", "a=1")).collect();
        bench.say(&mut client, &request(3, true, "GET", "/", &crumbs));
        assert_eq!(client.status(3), 431);
        bench.works(&mut client, 5);
        bench.finish([client], [origin]);
    }

    /// linkerd2#14050: where a response could have been retried, it is still what it was.
    fn a_route_with_retries_changes_no_response(cut) {
        let route = "retry_policy = { retry_on = [\"5xx\", \"reset\"], num_retries = 2 }";
        let bench = Bench::with(cut, "", route, "");
        let mut client = bench.client();
        bench.say(&mut client, &[request(1, false, "POST", "/", &[("content-type", "application/grpc")]), data(1, true, b"q")].concat());
        let mut origin = bench.accept();
        bench.say(&mut origin, &response(1, false, "200", &[("content-type", "application/grpc")]));
        bench.look(&mut client);
        assert_eq!((client.heads(1).len(), client.has_ended(1)), (1, false), "the head waits for nothing");
        bench.say(&mut origin, &data(1, false, b"answer"));
        bench.say(&mut origin, &frames::headers(1, true, &[("grpc-status", "14")]));
        bench.look(&mut client);
        assert_eq!((client.body(1), client.has_ended(1), client.heads(1).len()), (b"answer".to_vec(), true, 2));
        bench.say(&mut client, &[request(3, false, "POST", "/", &[("content-type", "application/grpc")]), data(3, true, b"q")].concat());
        bench.look(&mut origin);
        bench.say(&mut origin, &response(3, true, "200", &[("grpc-status", "12")]));
        bench.look(&mut client);
        assert_eq!((client.heads(3).len(), client.has_ended(3), client.resets(3)), (1, true, vec![]), "trailers alone");
        assert_eq!((client.field(3, "grpc-status").as_deref(), client.resets(1)), (Some("12"), vec![]));
        bench.finish([client], [origin]);
    }

    /// HAProxy c7d85485a: whatever a peer says of its table, it is not used. (All blocks are decoded without one.)
    fn the_peers_table_may_change(cut) {
        let bench = Bench::new(cut);
        let mut client = bench.client_with(&[(TABLE_SIZE, 0)]);
        bench.works(&mut client, 1);
        for (index, size) in [4096, 0, u32::MAX, 100].into_iter().enumerate() {
            bench.say(&mut client, &frames::settings(&[(TABLE_SIZE, size)]));
            bench.works(&mut client, index as u32 * 2 + 3);
        }
        bench.finish([client], []);
    }

    /// A request that was answered while its body came is over when its answer is.
    fn an_answer_before_the_requests_end(cut) {
        let bench = Bench::new(cut);
        let mut client = bench.client();
        bench.say(&mut client, &[post(1, "/direct"), data(1, false, b"x")].concat());
        assert_eq!((client.status(1), client.has_ended(1), client.resets(1)), (200, true, vec![NO_ERROR]));
        bench.say(&mut client, &data(1, true, &pattern(1000)));
        assert_eq!((client.resets(1), client.goaways()), (vec![NO_ERROR], vec![]));
        bench.works(&mut client, 3);
        bench.finish([client], []);
    }
}
