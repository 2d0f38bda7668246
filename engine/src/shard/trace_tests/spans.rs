//! What spans of exchanges and of tries say.

use super::*;

#[test]
fn an_exchange_leaves_its_span_and_that_of_its_try() {
    let world = World::new(ZIPKIN, "", "");
    world.ask("/a?b=c", "user-agent: test\r\n");
    let spans = world.spans();
    let [server, client] = &spans[..] else { panic!("{} spans", spans.len()) };
    assert_eq!((server.facts.kind, client.facts.kind), (Kind::Server, Kind::Client));
    assert!(server.facts.trace_id >> 64 != 0 && server.facts.trace_id == client.facts.trace_id);
    assert_eq!((server.facts.parent, client.facts.parent), (0, server.facts.id));
    assert!(server.facts.id != client.facts.id && !server.facts.shared && !server.facts.error);
    assert_eq!((&*server.name, &*client.name), ("shop.example", "router app egress"));
    assert_eq!((&*server.remote_service, &*client.remote_service), ("", "app"));
    assert_eq!(server.facts.remote, Some("192.0.2.1:1000".parse().expect("an address")));
    assert_eq!(client.facts.remote, Some("127.0.0.1:80".parse().expect("an address")));
    let tag = |span: &Left, tag: Tag| span.tags.get(tag.envoy_name()).cloned().unwrap_or_default();
    let check = |span: &Left, expected: &[(Tag, &str)]| {
        expected.iter().for_each(|(name, expected)| assert_eq!(tag(span, *name), *expected, "{name:?}"));
    };
    let of_exchange = [
        (Tag::Component, "proxy"),
        (Tag::Url, "http://shop.example/a?b=c"),
        (Tag::Method, "GET"),
        (Tag::Protocol, "HTTP/1.1"),
        (Tag::UserAgent, "test"),
        (Tag::StatusCode, "200"),
        (Tag::ResponseFlags, "-"),
        (Tag::RequestSize, "0"),
        (Tag::ResponseSize, "2"),
        (Tag::UpstreamCluster, "app"),
        (Tag::UpstreamClusterName, "app"),
        (Tag::PeerAddress, "192.0.2.1:1000"),
    ];
    check(server, &of_exchange);
    assert_eq!(Some(tag(server, Tag::RequestId)), world.sent("x-request-id"));
    let of_try = [
        (Tag::UpstreamClusterName, "app"),
        (Tag::UpstreamAddress, "127.0.0.1:80"),
        (Tag::PeerAddress, "127.0.0.1:80"),
        (Tag::StatusCode, "200"),
        (Tag::RetryCount, ""),
    ];
    check(client, &of_try);
    let events = [
        Event::ConnectStart,
        Event::Connected,
        Event::RequestSending,
        Event::ResponseReceiving,
        Event::ResponseReceived,
    ];
    assert_eq!(client.events, events);
    assert_eq!(server.events, [Event::RequestReceived, Event::ResponseSending, Event::ResponseSent]);
    // The endpoint is told of the try's span.
    assert_eq!(world.sent("x-b3-traceid"), Some(format!("{:032x}", server.facts.trace_id)));
    assert_eq!(world.sent("x-b3-spanid"), Some(format!("{:016x}", client.facts.id)));
    assert_eq!(world.sent("x-b3-parentspanid"), Some(format!("{:016x}", server.facts.id)));
    assert_eq!(world.sent("x-b3-sampled").as_deref(), Some("1"));
    assert_eq!((world.sent("b3"), world.sent("traceparent")), (None, None));
    assert_eq!(world.stat("random_sampling"), 1);
    // The second one goes over the connection of the first.
    world.ask("/", "");
    assert_eq!(world.spans()[1].events[0], Event::RequestSending);
}

#[test]
fn every_retry_has_a_span_with_its_reason() {
    let world = World::new(ZIPKIN, "", r#"retry_policy = { retry_on = ["5xx"], num_retries = 2 }"#);
    world.answers.borrow_mut().extend([BUSY, BUSY]);
    world.ask("/", "");
    let spans = world.spans();
    assert_eq!(spans.len(), 4);
    let tag = |at: usize, tag: Tag| spans[at].tags.get(tag.envoy_name()).map(String::as_str);
    let all = |name| [1, 2, 3].map(|at| tag(at, name));
    assert_eq!(all(Tag::StatusCode), [Some("503"), Some("503"), Some("200")]);
    assert_eq!(all(Tag::RetryCount), [None, Some("1"), Some("2")]);
    assert_eq!(all(Tag::RetryReason), [None, Some("503"), Some("503")]);
    assert_eq!([1, 2, 3].map(|at| spans[at].facts.error), [true, true, false]);
    let ids = [1, 2, 3].map(|at| format!("{:016x}", spans[at].facts.id));
    let seen = world.seen.borrow();
    for (head, id) in seen.iter().zip(&ids) {
        assert!(head.contains(&format!("x-b3-spanid: {id}\r\n")), "each try has its own: {head}");
    }
}

#[test]
fn answers_of_the_proxys_own_have_a_span() {
    let world = World::new(ZIPKIN, "", r#"timeout = "500ms""#);
    world.ask("/direct", "");
    let spans = world.spans();
    assert_eq!(spans.len(), 1);
    assert_eq!(spans[0].tags["http.status_code"], "200");
    world.answers.borrow_mut().push_back("");
    world.ask("/slow", "");
    let spans = world.spans();
    assert_eq!(spans.len(), 2);
    assert_eq!((&*spans[0].tags["http.status_code"], &*spans[0].tags["response_flags"]), ("504", "UT"));
    assert!(spans[0].facts.error && spans[1].facts.error);
    assert!(!spans[1].tags.contains_key("http.status_code"));
    assert_eq!(spans[1].tags["error.reason"], "no whole response within the route's timeout");
}

#[test]
fn routes_and_tags() {
    let tracing = r#"zipkin = { cluster = "collector" }, tags = { team = "payments", tenant = "%REQ(x-tenant)%", code = "%RESPONSE_CODE%" }"#;
    let route = r#"tracing = { operation = "shop %REQ(:METHOD)%", tags = { team = "%TRACE_ID%" } },"#;
    let world = World::new(tracing, route, "");
    world.ask("/", "");
    let spans = world.spans();
    assert_eq!(spans[0].name, "shop GET");
    assert_eq!(spans[0].tags["team"], format!("{:032x}", spans[0].facts.trace_id));
    assert_eq!((spans[0].tags.get("tenant"), &*spans[0].tags["code"]), (None, "200"));
    world.ask("/direct", "x-tenant: t\r\n");
    let spans = world.spans();
    assert_eq!(
        (&*spans[0].name, &*spans[0].tags["team"], &*spans[0].tags["tenant"]),
        ("shop.example", "payments", "t")
    );
    world.ask_inside("x-envoy-decorator-operation: checkout\r\n");
    assert_eq!(world.spans()[0].name, "checkout");
    assert_eq!(world.sent("x-envoy-decorator-operation"), None);
    world.ask("/", "x-envoy-decorator-operation: strange\r\n");
    assert_eq!(world.spans()[0].name, "shop GET", "a stranger names no spans");
    let world = World::new(ZIPKIN, r#"tracing = { operation = "%REQ(x-name)%" },"#, "");
    world.ask("/", "");
    assert_eq!(world.spans()[0].name, "shop.example", "a span has a name");
    let world = World::new(ZIPKIN, "tracing = { random_sampling = 0 },", "");
    world.ask("/", "");
    assert_eq!(world.spans().len(), 0);
    world.ask("/direct", "");
    assert_eq!(world.spans().len(), 1);
}

#[test]
fn spans_for_opentelemetry_follow_its_conventions() {
    let world = World::new(OTLP, r#"name = "shop","#, "");
    world.ask("/a?b=c", "");
    let spans = world.spans();
    assert_eq!((&*spans[0].name, &*spans[1].name), ("GET shop", "GET"));
    for (tag, value) in [
        ("url.path", "/a"),
        ("url.query", "b=c"),
        ("url.scheme", "http"),
        ("server.address", "shop.example"),
        ("http.protocol", "1.1"),
    ] {
        assert_eq!(spans[0].tags[tag], value);
    }
    assert_eq!(spans[1].tags["http.url"], "http://shop.example/a?b=c");
    world.ask_with("BREW", "/", "");
    let brewed = world.spans();
    assert_eq!((&*brewed[0].name, &*brewed[1].name), ("HTTP shop", "HTTP"));
    assert_eq!((&*brewed[0].tags["http.method"], &*brewed[0].tags["http.request.method_original"]), ("_OTHER", "BREW"));
    world.ask("/", "");
    assert_eq!(world.spans().len(), 2);
    assert!(!spans[0].tags.contains_key("component") && !spans[0].tags.contains_key("response_flags"));
    assert!(world.sent("traceparent").is_some() && world.sent("x-b3-traceid").is_none());
    world.answers.borrow_mut().push_back("");
    let client = world.shard.connect(0, "192.0.2.1:1000".parse().expect("an address"));
    client.send_one(Segment::Static(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"));
    world.shard.advance(Duration::from_secs(1));
    client.reset();
    world.shard.advance(Duration::from_secs(1));
    let span = &world.spans()[0];
    assert_eq!(span.tags["error.reason"], "downstream_remote_disconnect");
    assert_eq!(span.tags.get("http.status_code"), None, "there was no response");
}

/// `/a` was asked for, and its endpoint redirected the request with this answer.
fn redirected(exporter: &str, answer: &'static str) -> World {
    let world = World::new(exporter, "", "internal_redirect_policy = {}");
    world.answers.borrow_mut().push_back(answer);
    world.ask("/a", "");
    world
}

#[test]
fn an_internal_redirect_is_one_exchange_with_two_tries() {
    let answer = "HTTP/1.1 302 Found\r\nlocation: http://shop.example/b\r\ncontent-length: 0\r\n\r\n";
    let world = redirected(ZIPKIN, answer);
    let spans = world.spans();
    assert_eq!(spans.len(), 3);
    let codes = [1, 2].map(|at| spans[at].tags["http.status_code"].clone());
    assert_eq!(codes, ["302", "200"]);
    let id = format!("{:016x}", spans[2].facts.id);
    assert_eq!(world.sent("x-b3-spanid"), Some(id));
}

#[test]
fn tries_around_an_internal_redirect_have_the_urls_that_they_went_to() {
    let answer = "HTTP/1.1 302 Found\r\nlocation: http://other.example/b\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(&*redirected(ZIPKIN, answer).spans()[0].name, "shop.example", "the client's");
    let spans = redirected(OTLP, answer).spans();
    assert_eq!(spans[0].tags["url.path"], "/a", "the client's");
    let urls = [1, 2].map(|at| spans[at].tags["http.url"].clone());
    assert_eq!(urls, ["http://shop.example/a", "http://other.example/b"]);
    let hosts = [0, 1, 2].map(|at| spans[at].tags["server.address"].clone());
    assert_eq!(hosts, ["shop.example", "shop.example", "other.example"]);
    assert_eq!(spans[2].tags["retry.reason"], "internal redirect");
    assert!(!spans[1].tags.contains_key("retry.reason"));
}

#[test]
fn nothing_is_touched_without_tracing() {
    let text = config(ZIPKIN, "", "").replace("tracing = { zipkin", "server_name = \"x\" # {");
    let world = World::of(&text);
    world.ask_inside("b3: d\r\ntraceparent: broken\r\nx-b3-spanid: 1\r\n");
    assert_eq!((world.sent("b3").as_deref(), world.sent("traceparent").as_deref()), (Some("d"), Some("broken")));
    assert_eq!(world.spans().len(), 0);
}
