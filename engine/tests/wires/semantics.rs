//! What HTTP means, whatever carries it (RFC 9110).

use crate::h2::Head;
use crate::peer::{End, Wire};
use crate::support::{Bench, in_all_pairs};

/// A body of `len` bytes with a pattern.
pub fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at * 7 + (at >> 8) * 13) as u8).collect()
}

in_all_pairs! {
    fn a_request_and_its_response_arrive(pair) {
        let mut bench = Bench::with(pair, "", "", "");
        let client = bench.client();
        for (body, answer) in [(0, 0), (1, 2), (700, 300), (70_000, 200_000)] {
            let sent = bench.send(client, "PUT", "/p?q=1", &[("X-Name", "value")], &pattern(body));
            let got = bench.arrived();
            let request = bench.request(got);
            let head = request.head.clone().expect("a head");
            assert_eq!((head.method.as_str(), head.target.as_str(), head.authority.as_str()), ("PUT", "/p?q=1", "h"));
            assert_eq!((request.end, &request.body, request.field("x-name")), (End::Whole, &pattern(body), Some("value")));
            bench.answer(got, 201, &[("X-Answer", "yes")], &pattern(answer));
            let seen = bench.seen(sent);
            assert_eq!((seen.status(), seen.end, &seen.body), (201, End::Whole, &pattern(answer)));
            assert_eq!(seen.field("x-answer"), Some("yes"));
            assert_eq!(seen.field("content-length"), Some(answer.to_string().as_str()));
        }
        assert_eq!((bench.clients.len(), bench.origins.len()), (1, 1), "all went over one connection");
        bench.finish();
    }

    fn bodies_of_unknown_length_keep_their_bytes(pair) {
        let mut bench = Bench::new(pair);
        let client = bench.client();
        let sent = bench.begin(client, "POST", "/", &[], None);
        bench.data(sent, b"one ");
        bench.data(sent, b"two");
        let got = bench.arrived();
        assert_eq!((bench.request(got).text().as_str(), bench.request(got).end), ("one two", End::None));
        bench.end(sent);
        assert_eq!(bench.request(got).end, End::Whole);
        bench.respond(got, 200, &[], None);
        bench.respond_data(got, b"three ");
        assert_eq!((bench.seen(sent).text().as_str(), bench.seen(sent).end), ("three ", End::None));
        bench.respond_data(got, b"four");
        bench.respond_end(got, &[]);
        assert_eq!((bench.seen(sent).text().as_str(), bench.seen(sent).end), ("three four", End::Whole));
        bench.works(client);
        bench.finish();
    }

    /// RFC 9110 section 10.1.1.
    fn the_expectation_and_its_answer_pass_through(pair) {
        let mut bench = Bench::new(pair);
        let client = bench.client();
        let sent = bench.begin(client, "POST", "/", &[("expect", "100-continue")], Some(5));
        let got = bench.arrived();
        assert_eq!(bench.request(got).field("expect"), Some("100-continue"));
        assert!(bench.seen(sent).interim.is_empty(), "the origin decides");
        bench.respond(got, 100, &[], Some(0));
        assert_eq!(bench.seen(sent).interim[0].status, 100);
        bench.data(sent, b"hello");
        bench.end(sent);
        assert_eq!(bench.request(got).text(), "hello");
        bench.answer(got, 200, &[], b"ok");
        assert_eq!((bench.seen(sent).text().as_str(), bench.seen(sent).interim.len()), ("ok", 1));
        bench.works(client);
        bench.finish();
    }

    fn a_final_answer_in_place_of_100(pair) {
        let mut bench = Bench::new(pair);
        let client = bench.client();
        let sent = bench.begin(client, "POST", "/", &[("expect", "100-continue")], Some(5));
        let got = bench.arrived();
        bench.answer(got, 417, &[], b"no");
        let seen = bench.seen(sent);
        assert_eq!((seen.status(), seen.text().as_str(), seen.end), (417, "no", End::Whole));
        // Where the next request would begin is not known on HTTP/1.
        assert_eq!(seen.field("connection"), (pair.0 == Wire::H1).then_some("close"));
        bench.finish();
    }

    /// RFC 9110 section 15.2: "A proxy MUST forward 1xx responses".
    fn interim_responses_pass(pair) {
        let mut bench = Bench::new(pair);
        let client = bench.client();
        let sent = bench.get(client, "/");
        let got = bench.arrived();
        bench.respond(got, 103, &[("link", "</a>")], Some(0));
        bench.respond(got, 103, &[("link", "</b>")], Some(0));
        bench.answer(got, 200, &[], b"ok");
        let links: Vec<_> = bench.seen(sent).interim.iter().map(|head| (head.status, head.field("link"))).collect();
        assert_eq!(links, [(103, Some("</a>")), (103, Some("</b>"))]);
        assert_eq!(bench.seen(sent).text(), "ok");
        bench.finish();
    }

    fn interim_responses_have_a_limit(pair) {
        let mut bench = Bench::new(pair);
        let client = bench.client();
        let sent = bench.get(client, "/");
        let got = bench.arrived();
        for _ in 0..17 {
            bench.respond(got, 103, &[], Some(0));
        }
        assert_eq!((bench.seen(sent).status(), bench.seen(sent).interim.len()), (502, 16));
        bench.finish();
    }

    /// RFC 9110 section 7.6.1. What concerns one hop goes no further, and HTTP/2 has no such fields.
    fn fields_of_one_hop_stay_there(pair) {
        let mut bench = Bench::new(pair);
        let client = bench.client();
        let of_hop: &[(&str, &str)] = if pair.0 == Wire::H1 {
            &[("Connection", "x-private, keep-alive"), ("X-Private", "1"), ("Keep-Alive", "timeout=5"), ("Te", "trailers")]
        } else {
            &[]
        };
        let sent = bench.send(client, "GET", "/", &[of_hop, &[("x-public", "2")]].concat(), b"");
        let got = bench.arrived();
        let head = bench.request(got).head.clone().expect("a head");
        for name in ["connection", "x-private", "keep-alive"] {
            assert_eq!(head.field(name), None, "{name}");
        }
        // It says of this hop what it said of the one before, and servers of gRPC want to hear it.
        assert_eq!(head.field("te"), (pair == (Wire::H1, Wire::H2)).then_some("trailers"));
        assert_eq!(head.field("x-public"), Some("2"));
        let of_hop: &[(&str, &str)] =
            if pair.1 == Wire::H1 { &[("Connection", "x-private"), ("X-Private", "1"), ("Keep-Alive", "5")] } else { &[] };
        bench.answer(got, 200, &[of_hop, &[("x-public", "2")]].concat(), b"ok");
        let seen = bench.seen(sent);
        assert_eq!((seen.field("x-private"), seen.field("keep-alive"), seen.field("x-public")), (None, None, Some("2")));
        bench.finish();
    }

    /// Names are compared without case, and the second wire writes them in lower case.
    fn one_field_may_have_several_lines(pair) {
        let mut bench = Bench::new(pair);
        let client = bench.client();
        let sent = bench.send(client, "GET", "/", &[("x-a", "1"), ("x-a", "2"), ("cookie", "a=b")], b"");
        let got = bench.arrived();
        let fields = &bench.request(got).head.as_ref().expect("a head").fields;
        let values: Vec<_> = fields.iter().filter(|field| field.0 == "x-a").map(|field| field.1.as_str()).collect();
        assert_eq!(values, ["1", "2"]);
        bench.answer(got, 200, &[("set-cookie", "a"), ("set-cookie", "b")], b"");
        let fields = &bench.seen(sent).head.as_ref().expect("a head").fields;
        assert_eq!(fields.iter().filter(|field| field.0 == "set-cookie").count(), 2);
        bench.finish();
    }

    /// RFC 9110 section 8.6: they tell a length and have no body.
    fn responses_without_a_body(pair) {
        let mut bench = Bench::new(pair);
        let client = bench.client();
        for (method, status, length, told) in [
            ("HEAD", 200, 1234, Some("1234")),
            ("GET", 204, 0, None),
            ("GET", 304, 99, Some("99")),
            ("HEAD", 404, 0, Some("0")),
            ("GET", 200, 0, Some("0")),
        ] {
            let sent = bench.send(client, method, "/", &[], b"");
            let got = bench.arrived();
            bench.respond(got, status, &[], Some(length));
            let seen = bench.seen(sent);
            assert_eq!((seen.status(), seen.end, seen.body.len()), (status, End::Whole, 0), "{method} {status}");
            assert_eq!(seen.field("content-length"), told, "{method} {status}");
        }
        assert_eq!(bench.origins.len(), 1, "the connection stays in use");
        bench.works(client);
        bench.finish();
    }

    /// On HTTP/2 a head can be all there is; HTTP/1 has to be told that nothing follows.
    fn a_response_that_is_over_with_its_head(pair) {
        if pair.1 == Wire::H2 {
            let mut bench = Bench::new(pair);
            let client = bench.client();
            for method in ["GET", "POST", "HEAD"] {
                let sent = bench.send(client, method, "/", &[], b"");
                let got = bench.arrived();
                let head = Head { ends: true, status: 200, ..Head::default() };
                let id = bench.request(got).id;
                bench.origins[got.0].write(&head.frame(id));
                bench.settle();
                let seen = bench.seen(sent);
                assert_eq!((seen.status(), seen.end, seen.body.len()), (200, End::Whole, 0), "{method}");
            }
            bench.works(client);
            bench.finish();
        }
    }

    /// As servers of gRPC send them that know that there is no message.
    fn trailers_behind_a_body_of_length_0(pair) {
        if pair == (Wire::H2, Wire::H2) {
            let mut bench = Bench::new(pair);
            let client = bench.client();
            let sent = bench.get(client, "/");
            let got = bench.arrived();
            let (id, fields) = (bench.request(got).id, vec![("content-length".to_owned(), "0".to_owned())]);
            let head = Head { status: 200, fields, ..Head::default() };
            let trailers = vec![("x-end".to_owned(), "1".to_owned())];
            bench.origins[got.0].write(&[head.frame(id), crate::h2::end(id, &trailers)].concat());
            bench.settle();
            assert_eq!((bench.seen(sent).end, &bench.seen(sent).trailers), (End::Whole, &trailers));
            bench.works(client);
            bench.finish();
        }
    }

    /// RFC 9110 section 6.5.
    fn trailers_pass_where_they_are_enabled(pair) {
        for enabled in [true, false] {
            let mut bench = Bench::with(pair, &format!("enable_trailers = {enabled}"), "", "");
            let client = bench.client();
            let sent = bench.begin(client, "POST", "/", &[], None);
            bench.data(sent, b"body");
            bench.end_with(sent, &[("x-sum", "1"), ("x-more", "2")]);
            let got = bench.arrived();
            let of = |pairs: &[(&str, &str)]| -> Vec<(String, String)> {
                // HTTP/2 has them in any case.
                let pairs = if enabled || pair == (Wire::H2, Wire::H2) { pairs } else { &[] };
                pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
            };
            assert_eq!(bench.request(got).trailers, of(&[("x-sum", "1"), ("x-more", "2")]));
            bench.respond(got, 200, &[], None);
            bench.respond_data(got, b"answer");
            bench.respond_end(got, &[("x-end", "3")]);
            assert_eq!((&bench.seen(sent).trailers, bench.seen(sent).end), (&of(&[("x-end", "3")]), End::Whole));
            bench.works(client);
            bench.finish();
        }
    }

    fn heads_are_edited(pair) {
        let http = "via = \"edge\"\n\
                    request_headers_to_add = [{ name = \"x-added\", value = \"%REQ(x-in)%\" }]\n\
                    response_headers_to_add = [{ name = \"x-served-by\", value = \"edge\" }]\n\
                    response_headers_to_remove = [\"x-secret\"]";
        let mut bench = Bench::with(pair, http, "prefix_rewrite = \"/v2/\"\nhost_rewrite = \"inside\"", "");
        let client = bench.client();
        let sent = bench.send(client, "GET", "/x?y=1", &[("x-in", "in")], b"");
        let got = bench.arrived();
        let head = bench.request(got).head.clone().expect("a head");
        let received = if pair.0 == Wire::H1 { "1.1 edge" } else { "2 edge" };
        assert_eq!((head.target.as_str(), head.authority.as_str()), ("/v2/x?y=1", "inside"));
        assert_eq!((head.field("x-added"), head.field("via")), (Some("in"), Some(received)));
        assert_eq!(head.field("x-envoy-original-path"), Some("/x?y=1"));
        assert!(head.field("x-envoy-original-host").is_some_and(|host| !host.is_empty() && host != "inside"));
        bench.answer(got, 200, &[("x-secret", "1")], b"ok");
        let seen = bench.seen(sent);
        assert_eq!((seen.field("x-served-by"), seen.field("x-secret")), (Some("edge"), None));
        assert!(seen.field("date").is_some() && seen.field("server").is_some());
        bench.finish();
    }

    /// An answer may come before the request has ended.
    fn an_early_answer_reaches_the_client(pair) {
        let mut bench = Bench::new(pair);
        let client = bench.client();
        let sent = bench.begin(client, "POST", "/", &[], Some(1000));
        bench.data(sent, &pattern(10));
        let got = bench.arrived();
        bench.answer(got, 403, &[], b"no");
        let seen = bench.seen(sent);
        assert_eq!((seen.status(), seen.text().as_str(), seen.end), (403, "no", End::Whole));
        // HTTP/1 has to read the rest, HTTP/2 calls it off.
        assert_eq!(seen.was_given_up(), pair.0 == Wire::H2);
        bench.data(sent, &pattern(990));
        bench.end(sent);
        bench.works(client);
        bench.finish();
    }

    /// And the upload goes on while the answer does.
    fn a_request_goes_on_under_its_response(pair) {
        let mut bench = Bench::new(pair);
        let client = bench.client();
        let sent = bench.begin(client, "POST", "/", &[], None);
        bench.data(sent, b"a");
        let got = bench.arrived();
        bench.respond(got, 200, &[], None);
        for round in 0..5 {
            bench.respond_data(got, &pattern(round * 100 + 1));
            bench.data(sent, &pattern(round * 50 + 1));
        }
        assert_eq!((bench.request(got).body.len(), bench.seen(sent).body.len()), (506, 1005));
        bench.end(sent);
        bench.respond_end(got, &[]);
        assert_eq!((bench.request(got).end, bench.seen(sent).end), (End::Whole, End::Whole));
        bench.works(client);
        bench.finish();
    }

    fn replies_of_the_proxy_itself(pair) {
        let config = "[[listeners]]\naddress = \"127.0.0.1:1\"\n[listeners.http]\nroutes = [\n\
             { match = { path = \"/direct\" }, direct_response = { status = 418, body = \"teapot\" } },\n\
             { match = { path = \"/moved\" }, redirect = { path = \"/there\" } },\n\
             { match = { path = \"/app\" }, route = { cluster = \"app\" } }]\n\
             [[clusters]]\nname = \"app\"\nendpoints = [\"127.0.0.1:2\"]\n";
        let mut bench = Bench::of(pair, config);
        let client = bench.client();
        for (target, status, text) in [("/direct", 418, "teapot"), ("/nothing", 404, ""), ("/moved", 301, "")] {
            let sent = bench.get(client, target);
            let seen = bench.seen(sent);
            assert_eq!((seen.status(), seen.text().as_str(), seen.end), (status, text, End::Whole), "{target}");
            let head = bench.send(client, "HEAD", target, &[], b"");
            assert_eq!((bench.seen(head).status(), bench.seen(head).body.len()), (status, 0), "HEAD {target}");
        }
        assert!(!bench.clients[client].is_over);
        bench.finish();
    }
}
