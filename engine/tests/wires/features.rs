//! Mirrors, redirects, filters and limits on any wire.

use crate::peer::{End, Wire};
use crate::semantics::pattern;
use crate::support::{Bench, Got, in_all_pairs};

in_all_pairs! {
    fn a_mirror_gets_a_copy(pair) {
        let mut bench = Bench::with(pair, "", "request_mirror_policies = [{ cluster = \"app\" }]", "");
        let client = bench.client();
        let sent = bench.send(client, "POST", "/", &[], &pattern(30_000));
        let both = [bench.arrived(), bench.arrived()];
        let is_copy = |got: &Got| bench.request(*got).head.as_ref().is_some_and(|head| head.authority == "h-shadow");
        let copy = *both.iter().find(|got| is_copy(got)).expect("one is the copy");
        let request = *both.iter().find(|got| !is_copy(got)).expect("one is not");
        for got in both {
            assert_eq!((&bench.request(got).body, bench.request(got).end), (&pattern(30_000), End::Whole));
        }
        bench.answer(request, 200, &[], b"ok");
        assert_eq!(bench.seen(sent).text(), "ok");
        bench.answer(copy, 500, &[], b"not wanted");
        assert_eq!((bench.cluster("upstream_rq_200"), bench.cluster("upstream_rq_500")), (1, 1));
        bench.finish();
    }

    /// A mirror that refuses its copies is asked a few times, and no request waits for that.
    fn a_mirror_that_refuses_is_given_up(pair) {
        if pair.1 == Wire::H2 {
            let mut bench = Bench::with(pair, "", "request_mirror_policies = [{ cluster = \"app\" }]", "");
            let client = bench.client();
            let sent = bench.get(client, "/");
            let mut copies = 0;
            while let Some(got) = bench.try_arrived() {
                let is_copy = bench.request(got).head.as_ref().is_some_and(|head| head.authority == "h-shadow");
                match is_copy {
                    true => bench.origins[got.0].refuse(got.1),
                    false => bench.answer(got, 200, &[], b"ok"),
                }
                copies += usize::from(is_copy);
                bench.settle();
                assert!(copies < 10, "it goes on for ever");
            }
            assert_eq!((copies, bench.seen(sent).text().as_str()), (4, "ok"));
            bench.finish();
        }
    }

    fn a_redirect_is_followed_inside(pair) {
        let mut bench = Bench::with(pair, "", "internal_redirect_policy = {}", "");
        let client = bench.client();
        let sent = bench.send(client, "GET", "/old", &[], b"");
        let first = bench.arrived();
        bench.answer(first, 302, &[("location", "http://h/new")], b"moved");
        let second = bench.arrived();
        assert_eq!(bench.request(second).head.as_ref().map(|head| head.target.as_str()), Some("/new"));
        bench.answer(second, 200, &[], b"new");
        assert_eq!((bench.seen(sent).status(), bench.seen(sent).text().as_str()), (200, "new"));
        bench.finish();
    }

    fn the_buffer_filter_waits_for_all_of_a_body(pair) {
        let mut bench = Bench::with(pair, "http_filters = [{ buffer = { max_request_bytes = \"10KiB\" } }]", "", "");
        let client = bench.client();
        let sent = bench.begin(client, "POST", "/", &[], None);
        bench.data(sent, b"half ");
        assert_eq!(bench.try_arrived(), None);
        bench.data(sent, b"and half");
        bench.end(sent);
        let got = bench.arrived();
        assert_eq!((bench.request(got).text().as_str(), bench.request(got).end), ("half and half", End::Whole));
        bench.answer(got, 200, &[], b"ok");
        assert_eq!(bench.seen(sent).text(), "ok");
        let sent = bench.begin(client, "POST", "/", &[], None);
        bench.data(sent, &pattern(11_000));
        assert_eq!((bench.seen(sent).status(), bench.try_arrived()), (413, None));
        bench.finish();
    }

    /// RFC 9110 section 10.1.1: the filter needs the body, so the proxy asks for it.
    fn the_buffer_filter_invites_a_body_that_waits(pair) {
        let mut bench = Bench::with(pair, "http_filters = [{ buffer = { max_request_bytes = \"10KiB\" } }]", "", "");
        let client = bench.client();
        let sent = bench.begin(client, "POST", "/", &[("expect", "100-continue")], Some(4));
        assert_eq!(bench.seen(sent).interim.iter().map(|head| head.status).collect::<Vec<_>>(), [100]);
        bench.data(sent, b"body");
        bench.end(sent);
        let got = bench.arrived();
        assert_eq!((bench.request(got).text().as_str(), bench.request(got).field("expect")), ("body", None));
        bench.answer(got, 200, &[], b"ok");
        assert_eq!(bench.seen(sent).text(), "ok");
        bench.finish();
    }

    fn a_body_that_is_too_long_is_refused(pair) {
        let mut bench = Bench::with(pair, "max_request_body = \"1000B\"", "", "");
        let client = bench.client();
        let sent = bench.begin(client, "POST", "/", &[], Some(2000));
        assert_eq!((bench.seen(sent).status(), bench.try_arrived()), (413, None), "it is announced");
        let client = bench.client();
        let sent = bench.begin(client, "POST", "/", &[], None);
        bench.data(sent, &pattern(900));
        let got = bench.arrived();
        bench.data(sent, &pattern(200));
        assert_eq!((bench.seen(sent).status(), bench.http("downstream_rq_too_large")), (413, 2));
        assert!(matches!(bench.request(got).end, End::Broken(_)));
        bench.finish();
    }

    fn a_head_that_is_too_large_is_refused(pair) {
        let mut bench = Bench::with(pair, "max_headers_count = 10", "", "");
        let client = bench.client();
        let fields: Vec<(&str, &str)> = (0..20).map(|_| ("x-many", "1")).collect();
        let sent = bench.send(client, "GET", "/", &fields, b"");
        assert_eq!((bench.seen(sent).status(), bench.try_arrived()), (431, None));
        bench.finish();
    }
}
