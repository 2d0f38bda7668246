//! Calls of gRPC: what clients are told by the proxy itself, how calls end that an endpoint breaks off, and what follows
//! from the status of a call.

use crate::peer::{End, Exchange, Peer, Wire};
use crate::support::{Bench, Got, PAIRS, Sent, owned};
use std::time::Duration;

const CALL: [(&str, &str); 2] = [("content-type", "application/grpc"), ("te", "trailers")];
const MESSAGE: &[u8] = b"\0\0\0\0\x02hi";

/// A whole call with one message.
fn call(bench: &mut Bench, fields: &[(&str, &str)]) -> Sent {
    let client = bench.client();
    let sent = open(bench, client, fields);
    bench.data(sent, MESSAGE);
    bench.end(sent);
    sent
}

fn open(bench: &mut Bench, client: usize, fields: &[(&str, &str)]) -> Sent {
    bench.begin(client, "POST", "/pkg.Service/Method", &[&CALL[..], fields].concat(), None)
}

/// The head of an endpoint's response, with a message behind it.
fn respond(bench: &mut Bench, got: Got) {
    bench.respond(got, 200, &[("content-type", "application/grpc")], None);
    bench.respond_data(got, MESSAGE);
}

/// A response that is nothing but its trailers.
fn trailers_only(bench: &mut Bench, got: Got, status: &str) {
    let head = [("content-type", "application/grpc"), ("grpc-status", status)];

    bench.origins[got.0].response_without_length(got.1, 200, &owned(&head));
    bench.settle();
}

/// That the response is nothing but trailers, with this status and message.
#[track_caller]
fn assert_trailers_only(seen: &Exchange, status: &str, message: Option<&str>) {
    let fields = ["content-type", "grpc-status", "grpc-message", "content-length"].map(|name| seen.field(name));
    assert_eq!((seen.status(), fields), (200, [Some("application/grpc"), Some(status), message, None]));
    assert!(seen.head.as_ref().is_some_and(|head| head.ends), "the head ends the response");
    assert_eq!((seen.end, seen.body.len(), seen.trailers.len()), (End::Whole, 0, 0));
}

fn trailer<'a>(seen: &'a Exchange, name: &str) -> Option<&'a str> {
    seen.trailers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
}

fn pairs() -> impl Iterator<Item = (Wire, Wire)> {
    PAIRS.into_iter().filter(|pair| pair.0 == Wire::H2)
}

const H2: (Wire, Wire) = (Wire::H2, Wire::H2);

#[test]
fn replies_of_the_proxy_are_trailers_only() {
    let routed = |prefix: &str, action: &str| {
        format!(
            "[[listeners]]\naddress = \"127.0.0.1:1\"\n[listeners.http]\nx_request_id = false\n\
             [[listeners.http.routes]]\nmatch = {{ prefix = \"{prefix}\" }}\n{action}\n\
             [[clusters]]\nname = \"app\"\nendpoints = [\"127.0.0.1:2\"]\n"
        )
    };
    let direct = |status: u16, body: &str| {
        let body = if body.is_empty() { String::new() } else { format!(", body = \"{body}\"") };
        routed("/", &format!("direct_response = {{ status = {status}{body} }}"))
    };
    let cases = [
        (direct(403, "not 100 % for you, \u{e9}"), "7", Some("not 100 %25 for you, %C3%A9")),
        (direct(401, ""), "16", None),
        (direct(429, "slow down"), "14", Some("slow down")),
        (direct(418, ""), "2", None),
        (direct(204, ""), "2", None),
        (routed("/", "redirect = { host = \"other.example\" }"), "2", None),
        (routed("/other", "route = { cluster = \"app\" }"), "12", None),
    ];
    for (config, status, message) in cases {
        let mut bench = Bench::of(H2, &config);
        let sent = call(&mut bench, &[]);
        assert_trailers_only(bench.seen(sent), status, message);
        assert_eq!((bench.http("downstream_rq_2xx"), bench.http("downstream_rq_completed")), (1, 1));
        bench.finish();
    }
}

#[test]
fn other_requests_get_the_replies_they_know() {
    for content_type in ["application/grpc-web", "application/json"] {
        let mut bench = Bench::new(H2);
        bench.stop_listening();
        let client = bench.client();
        let sent = bench.send(client, "POST", "/pkg.Service/Method", &[("content-type", content_type)], MESSAGE);
        assert_eq!((bench.seen(sent).status(), bench.seen(sent).field("grpc-status")), (503, None), "{content_type}");
        bench.finish();
    }
}

/// What an endpoint says outside gRPC, its limit for headers exceeded for example, is its own affair and the client's.
#[test]
fn responses_that_are_none_of_grpc_pass_as_they_are() {
    for pair in pairs() {
        for status in [401, 431, 500] {
            let mut bench = Bench::new(pair);
            let sent = call(&mut bench, &[]);
            let got = bench.arrived();
            bench.answer(got, status, &[("content-type", "text/plain")], b"too much");
            let seen = bench.seen(sent);
            assert_eq!((seen.status(), seen.text().as_str(), seen.end), (status, "too much", End::Whole));
            assert_eq!((seen.field("content-type"), seen.field("grpc-status")), (Some("text/plain"), None));
            assert_eq!(seen.trailers, []);
            bench.finish();
        }
    }
}

#[test]
fn an_endpoint_that_does_not_answer_is_unavailable() {
    for pair in pairs() {
        let mut bench = Bench::new(pair);
        let client = bench.client();
        let sent = open(&mut bench, client, &[]);
        let got = bench.arrived();
        bench.origins[got.0].hang_up();
        bench.settle();
        let message = "upstream connect error or disconnect/reset before headers. reset reason: connection termination";
        assert_trailers_only(bench.seen(sent), "14", Some(message));
        bench.works(client);
        bench.finish();
    }
}

#[test]
fn limits_of_time_are_deadlines() {
    let late = [
        ("timeout = \"2s\"", "", "upstream request timeout"),
        (
            "retry_policy = { retry_on = [\"reset\"], num_retries = 0, per_try_timeout = \"2s\" }",
            "",
            "upstream request timeout",
        ),
        ("max_stream_duration = \"2s\"", "", "downstream duration timeout"),
        ("stream_idle_timeout = \"2s\"", "", "stream timeout"),
    ];
    for (route, http, message) in late {
        let mut bench = Bench::with(H2, http, route, "");
        let sent = call(&mut bench, &[]);
        let got = bench.arrived();
        bench.advance(Duration::from_millis(2200));
        bench.settle();
        assert_trailers_only(bench.seen(sent), "4", Some(message));
        assert_eq!(bench.request(got).end, End::Whole);
        assert!(bench.request(got).was_given_up(), "{route}");
        bench.finish();
    }
}

/// The client learns why, behind whatever part of a message it has.
#[test]
fn an_endpoint_that_dies_within_a_call_leaves_trailers() {
    for pair in pairs() {
        for part in [MESSAGE, &MESSAGE[..3]] {
            let mut bench = Bench::new(pair);
            let sent = call(&mut bench, &[]);
            let got = bench.arrived();
            respond(&mut bench, got);
            bench.respond_data(got, part);
            bench.origins[got.0].hang_up();
            bench.settle();
            let seen = bench.seen(sent);
            assert_eq!((seen.status(), seen.body.len(), seen.end), (200, MESSAGE.len() + part.len(), End::Whole));
            assert_eq!(trailer(seen, "grpc-status"), Some("14"));
            assert_eq!(trailer(seen, "grpc-message"), Some("upstream closed the connection within its response"));
            assert_eq!((bench.http("downstream_rq_completed"), bench.http("downstream_rq_tx_reset")), (1, 0));
            assert_eq!(bench.cluster("upstream_rq_rx_reset"), 1);
            bench.finish();
        }
    }
}

#[test]
fn a_limit_of_time_within_a_call_leaves_trailers() {
    for route in ["timeout = \"2s\"", "max_stream_duration = \"2s\"", "stream_idle_timeout = \"2s\""] {
        let mut bench = Bench::with(H2, "", route, "");
        let sent = call(&mut bench, &[]);
        let got = bench.arrived();
        respond(&mut bench, got);
        bench.advance(Duration::from_millis(2200));
        bench.settle();
        let seen = bench.seen(sent);
        assert_eq!((trailer(seen, "grpc-status"), seen.end), (Some("4"), End::Whole), "{route}");
        assert_eq!(bench.request(got).end, End::Whole);
        assert!(bench.request(got).was_given_up());
        bench.finish();
    }
}

/// How a call ends for its client whose endpoint breaks it off behind the response's first message.
fn end_of_cut(bench: &mut Bench, length: Option<usize>, cut: impl FnOnce(&mut Peer, usize)) -> End {
    let sent = call(bench, &[]);
    let got = bench.arrived();
    bench.respond(got, 200, &[("content-type", "application/grpc")], length);
    bench.respond_data(got, MESSAGE);
    cut(&mut bench.origins[got.0], got.1);
    bench.settle();
    bench.seen(sent).end
}

/// A body whose length is known cannot end early.
#[test]
fn a_call_with_a_length_is_cut_by_a_reset() {
    let mut bench = Bench::new(H2);
    assert_eq!(end_of_cut(&mut bench, Some(100), |origin, _| origin.hang_up()), End::Broken(Some(2)));
    bench.finish();
}

#[test]
fn codes_of_resets_pass() {
    for (code, before, within) in [(8, "1", 8), (11, "8", 11), (12, "7", 12), (2, "14", 2), (1, "14", 2), (0, "14", 2)]
    {
        let mut bench = Bench::new(H2);
        let sent = call(&mut bench, &[]);
        let got = bench.arrived();
        bench.origins[got.0].reset_stream(got.1, code);
        bench.settle();
        let message = "upstream connect error or disconnect/reset before headers. reset reason: remote reset";
        assert_trailers_only(bench.seen(sent), before, Some(message));
        let end = end_of_cut(&mut bench, None, |origin, call| origin.reset_stream(call, code));
        // NO_ERROR is no reason, and other codes speak of the connection to the endpoint.
        assert_eq!(end, End::Broken(Some(within)), "{code}");
        bench.finish();
    }
}

/// A server of grpc-go gives a call up with CANCEL when its time is over, a moment before the client does.
#[test]
fn an_endpoint_that_cancels_a_call_in_its_time_and_behind_it() {
    for (timeout, code, status) in [("2S", 8, "4"), ("3S", 8, "1"), ("2S", 11, "8"), ("soon", 8, "1")] {
        let mut bench = Bench::new(H2);
        let sent = call(&mut bench, &[("grpc-timeout", timeout)]);
        let got = bench.arrived();
        bench.advance(Duration::from_millis(2100));
        bench.origins[got.0].reset_stream(got.1, code);
        bench.settle();
        let message = "upstream connect error or disconnect/reset before headers. reset reason: remote reset";
        assert_trailers_only(bench.seen(sent), status, Some(message));
        bench.finish();
    }
}

/// REFUSED_STREAM would say that the request was not looked at.
#[test]
fn a_refusal_within_a_response_does_not_pass() {
    let mut bench = Bench::new(H2);
    assert_eq!(end_of_cut(&mut bench, None, Peer::refuse), End::Broken(Some(2)));
    bench.finish();
}

#[test]
fn a_client_that_cancels_cancels_its_call() {
    for begins in [false, true] {
        let mut bench = Bench::new(H2);
        let client = bench.client();
        let sent = open(&mut bench, client, &[]);
        let got = bench.arrived();
        if begins {
            respond(&mut bench, got);
        }
        bench.clients[client].reset_stream(sent.1, 8);
        bench.settle();
        assert_eq!(bench.request(got).end, End::Broken(Some(8)));
        bench.works(client);
        bench.finish();
    }
}

/// A response that is complete before the request: all of it passes, and then both sides are told to stop.
#[test]
fn a_call_may_end_before_its_request() {
    let mut bench = Bench::new(H2);
    let client = bench.client();
    let sent = open(&mut bench, client, &[]);
    let got = bench.arrived();
    respond(&mut bench, got);
    bench.respond_end(got, &[("grpc-status", "9"), ("x-trailer-bin", "AAA")]);
    let seen = bench.seen(sent);
    assert_eq!((trailer(seen, "grpc-status"), trailer(seen, "x-trailer-bin")), (Some("9"), Some("AAA")));
    assert_eq!((seen.body.as_slice(), seen.end, seen.was_reset), (MESSAGE, End::Whole, true));
    bench.works(client);
    bench.finish();
}

#[test]
fn trailers_only_passes_as_it_is() {
    let mut bench = Bench::new(H2);
    let sent = call(&mut bench, &[]);
    let got = bench.arrived();
    assert_eq!(bench.request(got).field("te"), Some("trailers"));
    trailers_only(&mut bench, got, "5");
    assert_trailers_only(bench.seen(sent), "5", None);
    bench.finish();
}

#[test]
fn a_call_has_the_time_that_it_says() {
    let route = "grpc_timeout_header_max = \"5s\"\ngrpc_timeout_header_offset = \"100ms\"";
    for (fields, millis) in [
        (&[("grpc-timeout", "1S")][..], Some(900)),
        (&[("grpc-timeout", "1M")], Some(4900)),
        (&[("grpc-timeout", "100m")], Some(0)),
        (&[("grpc-timeout", "soon")], None),
        (&[], None),
    ] {
        let mut bench = Bench::with(H2, "", route, "");
        let sent = call(&mut bench, fields);
        if millis != Some(0) {
            let got = bench.arrived();
            let passed = fields.first().map(|(_, value)| *value);
            assert_eq!(bench.request(got).field("grpc-timeout"), passed);
        }
        if let Some(millis @ 1..) = millis {
            bench.advance(Duration::from_millis(millis - 50));
            assert_eq!(bench.seen(sent).end, End::None, "{fields:?}");
        }
        bench.advance(Duration::from_millis(100));
        bench.settle();
        match millis {
            Some(_) => {
                assert_trailers_only(bench.seen(sent), "4", Some("downstream duration timeout"));
                assert_eq!(bench.http("downstream_rq_max_duration_reached"), 1);
            }
            None => {
                bench.advance(Duration::from_secs(60));
                assert_eq!(bench.seen(sent).end, End::None, "{fields:?}");
            }
        }
        bench.finish();
    }
}

/// Neither the head nor the whole of a call has a limit by default.
#[test]
fn streams_may_last() {
    let mut bench = Bench::with(H2, "stream_idle_timeout = \"off\"", "", "");
    let client = bench.client();
    let sent = open(&mut bench, client, &[]);
    let got = bench.arrived();
    bench.advance(Duration::from_secs(3600));
    respond(&mut bench, got);
    for _ in 0..3 {
        bench.advance(Duration::from_secs(3600));
        bench.data(sent, MESSAGE);
        bench.respond_data(got, MESSAGE);
    }
    bench.end(sent);
    bench.respond_end(got, &[("grpc-status", "0")]);
    let (seen, request) = (bench.seen(sent), bench.request(got));
    assert_eq!((seen.body.len(), seen.end, trailer(seen, "grpc-status")), (4 * 7, End::Whole, Some("0")));
    assert_eq!((request.body.len(), request.end), (3 * 7, End::Whole));
    bench.finish();
}

const RETRY: &str = "retry_policy = { retry_on = [\"unavailable\", \"cancelled\"], num_retries = 2 }";

#[test]
fn statuses_without_a_message_are_tried_again() {
    for is_bare in [true, false] {
        let mut bench = Bench::with(H2, "", RETRY, "");
        let sent = call(&mut bench, &[]);
        for status in ["14", "1"] {
            let got = bench.arrived();
            assert_eq!((bench.request(got).body.as_slice(), bench.request(got).end), (MESSAGE, End::Whole));
            match is_bare {
                true => trailers_only(&mut bench, got, status),
                false => {
                    // Head and trailers come apart.
                    bench.origins[got.0].response(got.1, 200, &owned(&[("content-type", "application/grpc")]), None);
                    bench.advance(Duration::from_millis(2));
                    bench.origins[got.0].end(got.1, &owned(&[("grpc-status", status)]));
                }
            }
            bench.advance(Duration::from_millis(600));
            bench.settle();
        }
        let got = bench.arrived();
        respond(&mut bench, got);
        bench.respond_end(got, &[("grpc-status", "0")]);
        let seen = bench.seen(sent);
        assert_eq!((seen.body.as_slice(), trailer(seen, "grpc-status")), (MESSAGE, Some("0")));
        assert_eq!((bench.cluster("upstream_rq_retry"), bench.cluster("upstream_rq_retry_success")), (2, 1));
        // The responses that were dropped left their connection as it was.
        assert_eq!(bench.origins.len(), 1);
        bench.finish();
    }
}

/// What is not asked for passes as it came, and what has a message is not held.
#[test]
fn other_calls_are_not_tried_again() {
    let mut bench = Bench::with(H2, "", RETRY, "");
    let sent = call(&mut bench, &[]);
    let got = bench.arrived();
    bench.respond(got, 200, &[("content-type", "application/grpc")], None);
    bench.respond_end(got, &[("grpc-status", "5"), ("grpc-message", "no such")]);
    let seen = bench.seen(sent);
    assert_eq!(
        (seen.status(), trailer(seen, "grpc-status"), trailer(seen, "grpc-message")),
        (200, Some("5"), Some("no such"))
    );
    assert!(seen.head.as_ref().is_some_and(|head| !head.ends));
    let sent = call(&mut bench, &[]);
    let got = bench.arrived();
    respond(&mut bench, got);
    assert_eq!(bench.seen(sent).body, MESSAGE, "a message is there, and passes");
    bench.respond_end(got, &[("grpc-status", "14")]);
    assert_eq!(trailer(bench.seen(sent), "grpc-status"), Some("14"));
    assert_eq!(bench.cluster("upstream_rq_retry"), 0);
    bench.finish();
}

/// A client may wait for the head alone, and a call whose request goes on is not held at all.
#[test]
fn a_head_is_held_for_a_moment_only() {
    for is_open in [false, true] {
        let mut bench = Bench::with(H2, "", RETRY, "");
        let client = bench.client();
        let sent = open(&mut bench, client, &[]);
        bench.data(sent, MESSAGE);
        if !is_open {
            bench.end(sent);
        }
        let got = bench.arrived();
        bench.origins[got.0].response(got.1, 200, &owned(&[("content-type", "application/grpc")]), None);
        bench.advance(Duration::from_millis(2));
        assert_eq!(bench.seen(sent).status(), if is_open { 200 } else { 0 });
        bench.advance(Duration::from_millis(8));
        bench.settle();
        assert_eq!((bench.seen(sent).status(), bench.seen(sent).end), (200, End::None));
        if is_open {
            bench.end(sent);
        }
        bench.respond_end(got, &[("grpc-status", "14")]);
        assert_eq!((bench.seen(sent).end, bench.cluster("upstream_rq_retry")), (End::Whole, 0));
        bench.finish();
    }
}

#[test]
fn statuses_of_calls_count_for_the_cluster() {
    for is_bare in [true, false] {
        let mut bench = Bench::new(H2);
        for status in ["14", "13", "0", "2", "15", "4"] {
            let sent = call(&mut bench, &[]);
            let got = bench.arrived();
            match is_bare {
                true => trailers_only(&mut bench, got, status),
                false => {
                    respond(&mut bench, got);
                    bench.respond_end(got, &[("grpc-status", status)]);
                }
            }
            assert_eq!(bench.seen(sent).end, End::Whole);
        }
        assert_eq!(
            ["200", "5xx", "503", "504"].map(|name| bench.cluster(&format!("upstream_rq_{name}"))),
            [1, 5, 1, 1]
        );
        bench.finish();
    }
}
