//! RFC 9112 section 9: connections that persist, pipelining, and how connections end.

use crate::support::{DATE, End, Proxy, Refusal, State, canonical, cuts, send_cut};
use std::time::Duration;

const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";

fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: {}\r\n\r\n{body}", body.len())
}

fn assert_same(seen: &str, expected: &str) {
    assert_eq!(canonical(seen), canonical(expected));
}

/// RFC 9112 section 9.3: "If the received protocol is HTTP/1.1 (or later), the connection will persist after the
/// current response".
#[test]
fn http11_connections_persist_on_both_sides() {
    let proxy = Proxy::new();
    let mut client = proxy.client();
    client.write(GET);
    let mut origin = proxy.accept();
    for body in ["one", "two", "three"] {
        assert_same(&proxy.read(&mut origin), "GET /a HTTP/1.1\r\nHost: h\r\n\r\n");
        origin.write(ok(body));
        assert_same(&proxy.read(&mut client), &ok(body));
        client.write(GET);
    }
    assert!(proxy.try_accept().is_none(), "one connection to the origin serves all three");
    assert_eq!((client.state(), origin.state()), (State::Open, State::Open));
}

/// RFC 9112 section 9.3: "If the "close" connection option is present, the connection will not persist after the
/// current response".
#[test]
fn close_from_the_client_ends_its_connection_only() {
    for option in ["close", "Close", "keep-alive, close", "close, x-unknown", ", close"] {
        let proxy = Proxy::new();
        let mut client = proxy.client();
        client.write(format!("GET /a HTTP/1.1\r\nHost: h\r\nConnection: {option}\r\n\r\n"));
        let mut origin = proxy.accept();
        assert_same(&proxy.read(&mut origin), GET);
        origin.write(ok("bye"));
        let expected = ok("bye").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
        assert_same(&proxy.read(&mut client), &expected);
        assert_eq!(client.state(), State::Ended, "{option}");
        assert_eq!(
            (origin.state(), proxy.pooled()),
            (State::Open, 1),
            "{option}: the origin's connection is not the client's"
        );
    }
}

/// RFC 9112 section 9.6: "The server MUST NOT process any further requests received on that connection" after a
/// request with close; and "a server ... SHOULD ... read ... until it receives a corresponding close by the client", so
/// that what it still sends cannot destroy the response.
#[test]
fn requests_behind_close_are_not_processed() {
    let proxy = Proxy::new();
    let mut client = proxy.client();
    client.write("GET /a HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut origin = proxy.accept();
    assert_same(&proxy.read(&mut origin), GET);
    origin.write(ok("last"));
    let expected = ok("last").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    assert_same(&proxy.read(&mut client), &expected);
    assert_eq!(client.state(), State::Ended, "the response must not be destroyed by a reset");
    assert_eq!(proxy.read(&mut origin), "");
    assert!(proxy.try_accept().is_none());
}

/// RFC 9112 section 9.6: "If a server performs an immediate close of a TCP connection, there is a significant risk that
/// the client will not be able to read the last HTTP response." A client that did not ask for the close may have sent
/// more requests.
#[test]
fn a_close_that_the_proxy_chose_does_not_reset_the_client() {
    let proxy = Proxy::with("max_requests_per_connection = 1", "");
    let mut client = proxy.client();
    client.write("GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n");
    let mut origin = proxy.accept();
    assert_same(&proxy.read(&mut origin), GET);
    origin.write(ok("only"));
    let expected = ok("only").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    proxy.settle();
    // Requests that come after the close was decided must not destroy the response either.
    client.write("GET /c HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_same(&proxy.read(&mut client), &expected);
    assert_eq!(client.state(), State::Ended);
    assert_eq!(proxy.read(&mut origin), "");
    proxy.advance(Duration::from_millis(1100));
    assert_eq!(proxy.shard.connections(), 0);
}

/// RFC 9112 section 9.3: "If the received protocol is HTTP/1.0, the "keep-alive" connection option is present, ... the
/// connection will persist after the current response; otherwise, the connection will close after the current
/// response." And RFC 9110 section 6.2: an intermediary sends its own protocol version.
#[test]
fn http10_connections_persist_on_request_only() {
    let proxy = Proxy::new();
    let mut client = proxy.client();
    client.write("GET /a HTTP/1.0\r\nHost: h\r\nConnection: Keep-Alive\r\n\r\n");
    let mut origin = proxy.accept();
    assert_same(&proxy.read(&mut origin), GET);
    origin.write(ok("one"));
    let expected = ok("one").replace("\r\n\r\n", "\r\nConnection: keep-alive\r\n\r\n");
    assert_same(&proxy.read(&mut client), &expected);
    assert_eq!(client.state(), State::Open);
    client.write("GET /a HTTP/1.0\r\nHost: h\r\n\r\n");
    assert_same(&proxy.read(&mut origin), GET);
    origin.write(ok("two"));
    let expected = ok("two").replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    assert_same(&proxy.read(&mut client), &expected);
    assert_eq!(client.state(), State::Ended);
}

/// RFC 9112 section 9.3.2: "A server MAY process a sequence of pipelined requests in parallel if they all have safe
/// methods ..., but it MUST send the corresponding responses in the same order that the requests were received."
#[test]
fn pipelined_requests_are_answered_in_order() {
    let pipeline = "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n\
                    POST /2 HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello\
                    PUT /3 HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
                    GET /4 HTTP/1.1\r\nHost: h\r\n\r\n";
    let proxy = Proxy::new();
    for cut in cuts(pipeline.len()) {
        let mut client = proxy.client();
        send_cut(&proxy, &client, pipeline.as_bytes(), cut);
        let mut origin = proxy.accept();
        for (path, body) in [("GET /1", ""), ("POST /2", "hello"), ("PUT /3", "abc"), ("GET /4", "")] {
            let seen = canonical(&proxy.read(&mut origin));
            assert!(seen.starts_with(path) && seen.contains(body), "cut {cut}: {seen}");
            assert_eq!(seen.matches("HTTP/1.1").count(), 1, "cut {cut}: one request at a time: {seen}");
            origin.write(ok(path));
            assert_same(&proxy.read(&mut client), &ok(path));
        }
        proxy.hang_up(client, origin);
    }
}

/// RFC 9112 section 2.2: "a server that is expecting to receive and parse a request-line SHOULD ignore at least one
/// empty line (CRLF) received prior to the request-line."
#[test]
fn an_empty_line_before_a_request_is_ignored() {
    let pipeline = "POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n";
    let proxy = Proxy::new();
    for cut in cuts(pipeline.len()) {
        let mut client = proxy.client();
        send_cut(&proxy, &client, pipeline.as_bytes(), cut);
        let mut origin = proxy.accept();
        let seen = proxy.read(&mut origin);
        assert!(seen.ends_with("\r\n\r\nhi"), "cut {cut}: {seen:?}");
        origin.write(ok("1"));
        assert_same(&proxy.read(&mut client), &ok("1"));
        let seen = proxy.read(&mut origin);
        assert!(seen.starts_with("GET /2 HTTP/1.1\r\n"), "cut {cut}: {seen:?}");
        proxy.hang_up(client, origin);
    }
}

/// RFC 9112 section 9.6: a client that has closed its side after its request still waits for the response.
#[test]
fn a_client_that_half_closes_gets_its_response() {
    // What comes at once, in any case.
    half_close("", Duration::ZERO);
    half_close("client_half_close = \"serve\"", Duration::from_secs(50));
}

fn half_close(http: &str, wait: Duration) {
    let proxy = Proxy::with(http, "");
    let mut client = proxy.client();
    client.write(GET);
    client.half_close();
    let mut origin = proxy.accept();
    assert_same(&proxy.read(&mut origin), GET);
    proxy.advance(wait);
    origin.write(ok("still here"));
    assert_same(&proxy.read(&mut client), &ok("still here"));
    assert_eq!(client.state(), State::Ended);
    assert_eq!(proxy.shard.connections(), 0);
    assert_eq!(proxy.pooled(), 1);
}

/// Decision 0007: one that waits for more than a moment is gone, whenever its FIN comes.
#[test]
fn a_client_that_closes_its_side_cancels_its_request_within_a_second() {
    const POST: &str = "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n";
    for (before, body) in [(0, ""), (100, ""), (700, ""), (20_000, ""), (0, "abc"), (700, "abc"), (20_000, "abc")] {
        let proxy = Proxy::with("min_request_body_rate = 0", "");
        let mut client = proxy.client();
        client.write(if body.is_empty() { GET } else { POST });
        let mut origin = proxy.accept();
        // The time before it is that of a client that is there, and of a body that is still to come.
        proxy.advance(Duration::from_millis(before));
        assert_eq!((origin.state(), client.state()), (State::Open, State::Open), "{before} ms {body}");
        client.write(body);
        client.half_close();
        proxy.advance(Duration::from_secs(1));
        proxy.settle();
        assert_ne!(origin.state(), State::Open, "{before} ms {body}");
        assert_ne!(client.state(), State::Open, "{before} ms {body}");
        assert_eq!((client.take(), proxy.shard.connections(), proxy.pooled()), (String::new(), 0, 0));
        assert_eq!(proxy.stat("http.ingress_http.downstream_rq_rx_reset"), 1);
    }
}

/// The half second in which a FIN means nothing begins with the end of the request, however long that took.
#[test]
fn what_comes_at_once_reaches_a_client_that_closes_its_side_behind_a_long_upload() {
    for upload in [700, 990, 1010, 1490, 20_000] {
        let proxy = Proxy::with("min_request_body_rate = 0", "");
        let mut client = proxy.client();
        client.write("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n");
        let origin = proxy.accept();
        proxy.advance(Duration::from_millis(upload));
        client.write("abc");
        client.half_close();
        proxy.advance(Duration::from_millis(450));
        origin.write(ok("at once"));
        assert_same(&proxy.read(&mut client), &ok("at once"));
        assert_eq!((client.state(), proxy.pooled()), (State::Ended, 1), "{upload} ms");
    }
}

/// A client that has pipelined requests and closes its side wants the responses to all of them: only the last request can be
/// taken back.
#[test]
fn a_fin_behind_pipelined_requests_cancels_none_before_the_last() {
    let proxy = Proxy::new();
    let mut client = proxy.client();
    client.write("POST /1 HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
    client.write(GET);
    client.write(GET);
    client.half_close();
    let mut origin = proxy.accept();
    for body in ["one", "two"] {
        proxy.advance(Duration::from_secs(30));
        origin.write(ok(body));
        assert_same(&proxy.read(&mut client), &ok(body));
        assert_eq!((client.state(), origin.state()), (State::Open, State::Open), "{body}");
    }
    proxy.advance(Duration::from_secs(1));
    assert_ne!((client.state(), origin.state()), (State::Open, State::Open));
    assert_eq!((client.take(), proxy.shard.connections()), (String::new(), 0));
}

/// A response that is still on its way is not lost with the request behind it.
#[test]
fn a_fin_cancels_nothing_while_an_earlier_response_is_unsent() {
    const SIZE: usize = 200_000;
    let proxy = Proxy::new();
    let mut client = proxy.client();
    client.write(GET);
    let mut origin = proxy.accept();
    origin.write(ok(&"x".repeat(SIZE)));
    // The client takes none of it, and asks for more.
    client.write(GET);
    client.half_close();
    proxy.settle();
    assert!(origin.take().matches("GET /a").count() == 2, "the second request is on its way");
    proxy.advance(Duration::from_secs(10));
    assert_eq!(origin.state(), State::Open);
    let mut text = String::new();
    while client.state() == State::Open {
        text += &proxy.read(&mut client);
    }
    assert!(text.ends_with('x') && text.len() > SIZE, "{} bytes", text.len());
    // Then the second one is taken back at once.
    proxy.settle();
    assert_ne!(origin.state(), State::Open);
    assert_eq!(proxy.stat("http.ingress_http.downstream_rq_rx_reset"), 1);
}

/// A response that has begun is no reason to wait for a client that is gone.
#[test]
fn a_client_that_closes_its_side_within_the_response_cancels_it() {
    let proxy = Proxy::new();
    let mut client = proxy.client();
    client.write(GET);
    let mut origin = proxy.accept();
    origin.write(format!("HTTP/1.1 200 OK\r\n{DATE}Content-Length: 100\r\n\r\nsome"));
    assert!(proxy.read(&mut client).ends_with("some"));
    proxy.advance(Duration::from_secs(5));
    client.half_close();
    proxy.advance(Duration::from_secs(1));
    assert_ne!(origin.state(), State::Open);
    assert_eq!((proxy.shard.connections(), proxy.pooled()), (0, 0));
}

/// RFC 9110 section 7.6.1: connection options are for the immediate peer. An origin's close ends its connection, not
/// the client's.
#[test]
fn close_from_the_origin_ends_its_connection_only() {
    for head in ["HTTP/1.1 200 OK\r\nConnection: close\r\n", "HTTP/1.0 200 OK\r\n"] {
        let proxy = Proxy::new();
        let mut client = proxy.client();
        client.write(GET);
        let mut origin = proxy.accept();
        origin.write(format!("{head}{DATE}Content-Length: 2\r\n\r\nhi"));
        assert_same(&proxy.read(&mut client), &ok("hi"));
        assert_eq!((client.state(), origin.state(), proxy.pooled()), (State::Open, State::Ended, 0), "{head}");
        client.write(GET);
        let again = proxy.accept();
        again.write(ok("more"));
        assert_same(&proxy.read(&mut client), &ok("more"));
    }
}

/// RFC 9112 section 9.3: an HTTP/1.0 origin that says keep-alive keeps its connection.
#[test]
fn http10_origins_may_keep_their_connection() {
    let proxy = Proxy::new();
    let mut client = proxy.client();
    client.write(GET);
    let mut origin = proxy.accept();
    origin.write(format!("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n{DATE}Content-Length: 2\r\n\r\nhi"));
    assert_same(&proxy.read(&mut client), &ok("hi"));
    assert_eq!((origin.state(), proxy.pooled()), (State::Open, 1));
}

/// RFC 9112 section 9.5: "A client, server, or proxy MAY close the transport connection at any time." A pooled
/// connection closed meanwhile costs the next request nothing.
#[test]
fn a_pooled_connection_closed_while_idle_is_not_used() {
    for reset in [false, true] {
        let proxy = Proxy::new();
        let mut client = proxy.client();
        client.write(GET);
        let origin = proxy.accept();
        origin.write(ok("one"));
        assert_same(&proxy.read(&mut client), &ok("one"));
        if reset {
            origin.reset();
        }
        drop(origin);
        proxy.settle();
        assert_eq!(proxy.pooled(), 0, "reset: {reset}: noticed without a request");
        client.write("POST /p HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\nx");
        let origin = proxy.accept();
        origin.write(ok("two"));
        assert_same(&proxy.read(&mut client), &ok("two"));
    }
}

/// Serve one request so that a connection is pooled; returns the client and the origin's end.
fn pooled_connection(proxy: &Proxy) -> (End, End) {
    let mut client = proxy.client();
    client.write(GET);
    let mut origin = proxy.accept();
    assert_same(&proxy.read(&mut origin), GET);
    origin.write(ok("first"));
    assert_same(&proxy.read(&mut client), &ok("first"));
    (client, origin)
}

/// RFC 9112 section 9.3.1: "When an inbound connection is closed prematurely, a client MAY open a new connection and
/// automatically retransmit an aborted sequence of requests if all of those requests have idempotent methods". The
/// whole request, with its body and its end, and once.
#[test]
fn idempotent_requests_are_sent_again_once_and_whole() {
    let requests = [
        "GET /x HTTP/1.1\r\nHost: h\r\n\r\n",
        "HEAD /x HTTP/1.1\r\nHost: h\r\n\r\n",
        "DELETE /x HTTP/1.1\r\nHost: h\r\n\r\n",
        "PUT /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
        "PUT /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
        "PUT /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "PUT /x HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\n\r\n",
    ];
    for request in requests {
        let proxy = Proxy::with("enable_trailers = true", "");
        let (mut client, mut origin) = pooled_connection(&proxy);
        client.write(request);
        assert_same(&proxy.read(&mut origin), request);
        drop(origin);
        let mut again = proxy.accept();
        assert_same(&proxy.read(&mut again), request);
        // A second connection that dies under the request is a failure that the client hears of.
        drop(again);
        let answer = proxy.read(&mut client);
        assert!(answer.starts_with("HTTP/1.1 503 "), "{request}: {answer}");
        assert!(proxy.try_accept().is_none(), "{request}: one retry, not more");
    }
}

/// RFC 9110 section 9.2.2: "A proxy MUST NOT automatically retry non-idempotent requests."
#[test]
fn post_is_delivered_at_most_once() {
    for request in [
        "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello",
        "POST /x HTTP/1.1\r\nHost: h\r\n\r\n",
        "PATCH /x HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n",
        "LOCK /x HTTP/1.1\r\nHost: h\r\n\r\n",
    ] {
        let proxy = Proxy::new();
        let (mut client, mut origin) = pooled_connection(&proxy);
        client.write(request);
        assert_same(&proxy.read(&mut origin), request);
        drop(origin);
        let answer = proxy.read(&mut client);
        assert!(answer.starts_with("HTTP/1.1 503 "), "{request}: {answer}");
        assert!(proxy.try_accept().is_none(), "{request}: sent twice");
        assert_eq!(client.state(), State::Open, "the client's connection is not to blame");
    }
}

/// RFC 9112 section 9.3.1, again: nothing is sent twice once a byte of a response has come.
#[test]
fn nothing_is_sent_again_after_the_response_has_begun() {
    let proxy = Proxy::new();
    let (mut client, mut origin) = pooled_connection(&proxy);
    client.write(GET);
    assert_same(&proxy.read(&mut origin), GET);
    origin.write("HTT");
    proxy.settle();
    drop(origin);
    let answer = proxy.read(&mut client);
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(proxy.try_accept().is_none());
}

/// RFC 9112 section 9.6: "A server that sends a "close" connection option MUST initiate closure of the connection after
/// it sends the response containing the "close" connection option": draining.
#[test]
fn draining_closes_with_the_present_exchange() {
    let proxy = Proxy::new();
    let mut busy = proxy.client();
    let mut idle = proxy.client();
    busy.write(GET);
    let origin = proxy.accept();
    proxy.shard.drain();
    proxy.settle();
    assert_eq!((busy.state(), idle.state()), (State::Open, State::Open), "it may not have known, and has a second");
    proxy.advance(Duration::from_millis(1100));
    assert_eq!((busy.state(), idle.state()), (State::Open, State::Ended));
    origin.write(ok("last"));
    let answer = proxy.read(&mut busy);
    assert!(answer.ends_with("\r\n\r\nlast"), "{answer}");
    assert_eq!(busy.state(), State::Ended);
    drop((busy, idle));
    proxy.advance(Duration::from_millis(1100));
    assert_eq!(proxy.shard.connections(), 0);
}

/// RFC 9112 section 9.5: a server that times out a request it has begun to receive sends 408 and closes.
#[test]
fn a_head_that_does_not_end_is_timed_out() {
    let proxy = Proxy::with("request_headers_timeout = \"3s\"", "");
    let mut client = proxy.client();
    client.write("GET / HTTP/1.1\r\nHo");
    proxy.advance(Duration::from_secs(2));
    client.write("st: h\r\n");
    assert_eq!(proxy.read(&mut client), "");
    proxy.advance(Duration::from_secs(1));
    let answer = client.take();
    assert_eq!(Refusal::parse(&answer, client.state()), Refusal::closing(408), "{answer}");
}

/// RFC 9112 section 7.1: a chunked body is not its data alone. Whatever of it comes a byte at a time comes too slowly.
#[test]
fn every_part_of_a_body_has_a_minimum_rate() {
    for start in ["ffff\r\n", "5;extension=", "5\r\nhello\r\n0\r\ntrailer: "] {
        let proxy = Proxy::new();
        let mut client = proxy.client();
        client.write(format!("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n{start}"));
        let mut answer = String::new();
        for _ in 0..30 {
            client.write("a");
            proxy.advance(Duration::from_secs(1));
            answer += &proxy.read(&mut client);
        }
        assert!(answer.starts_with("HTTP/1.1 408 "), "{start:?}: {answer:?}");
    }
}
