//! Tracing on in-memory pipes: what goes on to the endpoint, and the spans that are left.

use super::MemoryShard;
use crate::http::trace::{Event, Item, Key, Kind, SpanFacts, SpanRecord, Tag};
use crate::net::PipeEnd;
use crate::ring::Segment;
use ringway_config::model::Address;
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";
const BUSY: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
const TRACE: &str = "463ac35c9f6413ad48485a3953bb6124";
const SPAN: &str = "a2fb4a1d1a96d312";

/// With `tracing` in the listener's `http` and `route` in its route.
fn config(tracing: &str, route: &str, action: &str) -> String {
    format!(
        r#"
[[listeners]]
address = "127.0.0.1:1"
[listeners.http]
internal_addresses = ["10.0.0.0/8"]
tracing = {{ {tracing} }}
routes = [
    {{ match = {{ prefix = "/direct" }}, direct_response = {{ status = 200, body = "here" }} }},
    {{ match = {{ prefix = "/" }}, {route} route = {{ cluster = "app", {action} }} }},
]
[[clusters]]
name = "app"
endpoints = ["127.0.0.1:80"]
[[clusters]]
name = "collector"
endpoints = ["127.0.0.1:81"]
"#
    )
}

/// One span that was left, with texts as text.
struct Left {
    facts: SpanFacts,
    name: String,
    remote_service: String,
    tracestate: String,
    tags: BTreeMap<String, String>,
    events: Vec<Event>,
}

struct World {
    shard: MemoryShard,
    /// Heads of the requests that came to the origin.
    seen: Rc<RefCell<Vec<String>>>,
    answers: Rc<RefCell<VecDeque<&'static str>>>,
}

impl World {
    fn new(tracing: &str, route: &str, action: &str) -> Self {
        Self::of(&config(tracing, route, action))
    }

    fn of(text: &str) -> Self {
        let config = ringway_config::load_str("test.toml", text).unwrap_or_else(|problems| panic!("{problems}"));
        let shard = MemoryShard::new(config, 1);
        let listener = shard.network.listen(Address::Ip("127.0.0.1:80".parse().expect("an address")), 65_536);
        let seen = Rc::new(RefCell::new(Vec::new()));
        let answers = Rc::new(RefCell::new(VecDeque::new()));
        let (reactor, heads, script) = (shard.reactor.clone(), seen.clone(), answers.clone());
        shard.reactor.spawn(async move {
            loop {
                let pipe = poll_fn(|_| listener.poll_accept(&reactor)).await;
                reactor.spawn(serve(pipe, heads.clone(), script.clone()));
            }
        });
        Self { shard, seen, answers }
    }

    /// Ask with these lines in the head, from `remote`; what the client got.
    fn ask_from(&self, remote: &str, path: &str, lines: &str) -> String {
        self.request(remote, "GET", path, lines)
    }

    fn ask_with(&self, method: &str, path: &str, lines: &str) {
        assert!(self.request("192.0.2.1", method, path, lines).starts_with("HTTP/1.1 "));
    }

    fn request(&self, remote: &str, method: &str, path: &str, lines: &str) -> String {
        let client = self.shard.connect(0, format!("{remote}:1000").parse().expect("an address"));
        let head = format!("{method} {path} HTTP/1.1\r\nhost: shop.example\r\nconnection: close\r\n{lines}\r\n");
        client.send_one(Segment::Owned(head.into_bytes()));
        self.shard.advance(Duration::from_secs(1));
        let mut text = String::new();
        while let Poll::Ready(Ok(Some(bytes))) = client.poll_recv() {
            text += std::str::from_utf8(&bytes).expect("text");
        }
        text
    }

    /// From a client that is not believed.
    fn ask(&self, path: &str, lines: &str) {
        assert!(self.ask_from("192.0.2.1", path, lines).starts_with("HTTP/1.1 "));
    }

    /// From inside.
    fn ask_inside(&self, lines: &str) {
        assert!(self.ask_from("10.0.0.1", "/", lines).starts_with("HTTP/1.1 200"));
    }

    /// The value of a header in the last request that came to the origin.
    fn sent(&self, name: &str) -> Option<String> {
        let seen = self.seen.borrow();
        let lines = seen.last().expect("a request").lines();
        let mut values = lines.filter_map(|line| line.strip_prefix(name)?.strip_prefix(": ").map(str::to_owned));
        let first = values.next();
        assert_eq!(values.next(), None, "{name} is there twice");
        first
    }

    /// The spans that were left since the last call, in their order.
    fn spans(&self) -> Vec<Left> {
        let mut spans = Vec::new();
        self.shard.tracers().drain(&mut Vec::new(), |record| {
            let record = SpanRecord::read(record).expect("a record");
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
            let (mut tags, mut events) = (BTreeMap::new(), Vec::new());
            for item in record.items() {
                match item {
                    Item::Event(event, after) => {
                        assert!(after <= record.facts.duration);
                        events.push(event);
                    }
                    Item::Tag(key, value) => {
                        let key = match key {
                            Key::Known(tag) => tag.envoy_name().to_owned(),
                            Key::Custom(name) => text(name),
                        };
                        assert_eq!(tags.insert(key, value.as_text(text)), None);
                    }
                }
            }
            let (name, remote_service) = (text(record.name), text(record.remote_service));
            spans.push(Left {
                facts: record.facts,
                name,
                remote_service,
                tracestate: text(record.tracestate),
                tags,
                events,
            });
        });
        spans
    }

    fn stat(&self, name: &str) -> i64 {
        let name = format!("http.ingress_http.tracing.{name}");
        self.shard.registry.value(&name).unwrap_or_else(|| panic!("no statistic {name}"))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.shard.reactor.shut_down();
    }
}

async fn serve(pipe: PipeEnd, seen: Rc<RefCell<Vec<String>>>, answers: Rc<RefCell<VecDeque<&'static str>>>) {
    let mut head = Vec::new();
    while let Ok(Some(bytes)) = poll_fn(|_| pipe.poll_recv()).await {
        head.extend_from_slice(&bytes);
        if head.ends_with(b"\r\n\r\n") {
            seen.borrow_mut().push(String::from_utf8(std::mem::take(&mut head)).expect("text"));
            let answer = answers.borrow_mut().pop_front().unwrap_or(OK);
            pipe.send_one(Segment::Static(answer.as_bytes()));
        }
    }
}

const ZIPKIN: &str = r#"zipkin = { cluster = "collector" }"#;
const OTLP: &str = r#"otlp = { cluster = "collector" }"#;

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
    for (name, expected) in [
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
    ] {
        assert_eq!(tag(server, name), expected, "{name:?}");
    }
    assert_eq!(Some(tag(server, Tag::RequestId)), world.sent("x-request-id"));
    for (name, expected) in [
        (Tag::UpstreamClusterName, "app"),
        (Tag::UpstreamAddress, "127.0.0.1:80"),
        (Tag::PeerAddress, "127.0.0.1:80"),
        (Tag::StatusCode, "200"),
        (Tag::RetryCount, ""),
    ] {
        assert_eq!(tag(client, name), expected, "{name:?}");
    }
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
fn a_context_that_came_goes_on_in_its_form() {
    let world = World::new(ZIPKIN, "", "");
    world.ask_inside(&format!("b3: {TRACE}-{SPAN}-1\r\n"));
    let spans = world.spans();
    let id = format!("{:016x}", spans[1].facts.id);
    assert_eq!(world.sent("b3"), Some(format!("{TRACE}-{id}-1-{SPAN}")), "the span is shared with the client's");
    assert_eq!(world.sent("x-b3-spanid"), Some(id));
    assert_eq!(format!("{:016x}", spans[0].facts.id), SPAN);
    assert!(spans[0].facts.shared && spans[0].facts.parent == 0 && !spans[1].facts.shared);
    // W3C has no shared spans.
    world.ask_inside(&format!("traceparent: 00-{TRACE}-{SPAN}-01\r\ntracestate: a=1\r\n"));
    let spans = world.spans();
    assert_eq!(format!("{:016x}", spans[0].facts.parent), SPAN);
    assert!(!spans[0].facts.shared);
    assert_eq!(spans[0].tracestate, "a=1");
    assert_eq!(world.sent("traceparent"), Some(format!("00-{TRACE}-{:016x}-01", spans[1].facts.id)));
    assert_eq!(world.sent("tracestate").as_deref(), Some("a=1"));
    assert_eq!(world.sent("b3"), None);
    // That the id is random is known of what said so, and of traces that begin here.
    world.ask_inside(&format!("traceparent: 00-{TRACE}-{SPAN}-03\r\n"));
    let spans = world.spans();
    assert_eq!(world.sent("traceparent"), Some(format!("00-{TRACE}-{:016x}-03", spans[1].facts.id)));
    assert!(spans[0].facts.random && spans[1].facts.random);
    world.ask_inside(&format!("b3: {TRACE}-{SPAN}-1\r\n"));
    assert!(!world.spans()[0].facts.random);
    assert_eq!(world.stat("continued"), 4);
    world.ask_inside(&format!("traceparent: 00-{TRACE}-{SPAN}-01\r\ntracestate: a=1\r\ntracestate: b=2\r\n"));
    assert_eq!(world.spans()[0].tracestate, "a=1,b=2", "lines count as one");
    // B3 comes first, and `tracestate` stays where both tell of one trace.
    let w3c = format!("traceparent: 00-{TRACE}-{SPAN}-01\r\ntracestate: a=1\r\n");
    world.ask_inside(&format!("b3: {TRACE}-{SPAN}-1\r\n{w3c}"));
    assert_eq!(world.sent("tracestate").as_deref(), Some("a=1"));
    world.ask_inside(&format!("b3: {}-{SPAN}-1\r\n{w3c}", TRACE.replace('4', "5")));
    assert_eq!(world.sent("tracestate"), None);
    assert_eq!(world.spans().len(), 4);
}

#[test]
fn spans_are_shared_only_where_that_is_wanted() {
    let world = World::new(r#"zipkin = { cluster = "collector", shared_span = false }"#, "", "");
    world.ask_inside(&format!("b3: {TRACE}-{SPAN}-1-{SPAN}\r\n"));
    let spans = world.spans();
    assert!(!spans[0].facts.shared && spans[0].facts.id != spans[0].facts.parent);
    assert_eq!(format!("{:016x}", spans[0].facts.parent), SPAN);
}

#[test]
fn what_is_not_sampled_leaves_no_span_and_says_so_onward() {
    let world = World::new(ZIPKIN, "", "");
    world.ask_inside(&format!("x-b3-traceid: {TRACE}\r\nx-b3-spanid: {SPAN}\r\nx-b3-sampled: 0\r\n"));
    assert_eq!(world.spans().len(), 0);
    assert_eq!(world.sent("x-b3-traceid").as_deref(), Some(TRACE));
    assert_eq!(world.sent("x-b3-sampled").as_deref(), Some("0"));
    assert_ne!(world.sent("x-b3-spanid").as_deref(), Some(SPAN), "it is this side's, which logs can name");
    world.ask_inside("b3: 0\r\n");
    assert!(world.sent("b3").expect("there is one").ends_with("-0"));
    assert_eq!((world.spans().len(), world.stat("not_traceable")), (0, 2));
}

#[test]
fn a_stranger_switches_tracing_neither_on_nor_off() {
    let never = r#"zipkin = { cluster = "collector" }, random_sampling = 0"#;
    let world = World::new(never, "", "");
    for asked in ["b3: d", "x-b3-flags: 1", "x-b3-sampled: 1", "x-client-trace-id: 1", "x-envoy-force-trace: 1"] {
        world.ask("/", &format!("{asked}\r\n"));
        assert_eq!(world.spans().len(), 0, "{asked}");
        assert_eq!(world.sent("x-b3-sampled").as_deref(), Some("0"), "{asked}");
    }
    world.ask("/", &format!("traceparent: 00-{TRACE}-{SPAN}-01\r\n"));
    let on = world.sent("traceparent").expect("there is one");
    assert!(on.starts_with(&format!("00-{TRACE}-")) && on.ends_with("-00"), "the trace is the client's: {on}");
    let world = World::new(ZIPKIN, "", "");
    world.ask("/", &format!("b3: {TRACE}-{SPAN}-0\r\n"));
    assert_eq!(world.spans().len(), 2);
}

#[test]
fn those_inside_switch_it_on() {
    let never = r#"zipkin = { cluster = "collector" }, random_sampling = 0"#;
    let world = World::new(never, "", "");
    for (asked, debug) in [
        ("b3: d", true),
        ("x-b3-flags: 1", true),
        ("x-b3-sampled: 1", false),
        ("x-client-trace-id: 1", false),
        ("x-envoy-force-trace: 1", false),
    ] {
        world.ask_inside(&format!("{asked}\r\n"));
        let spans = world.spans();
        assert_eq!((spans.len(), spans[0].facts.debug), (2, debug), "{asked}");
    }
    assert!(world.stat("client_enabled") == 1 && world.stat("service_forced") == 1 && world.stat("continued") == 3);
    // Where no client is believed, they are not.
    let world = World::new(&format!(r#"{never}, trust = "never""#), "", "");
    world.ask_inside("b3: d\r\n");
    assert_eq!(world.spans().len(), 0);
    let world = World::new(&format!(r#"{never}, trust = "always""#), "", "");
    world.ask("/", "b3: d\r\n");
    assert_eq!(world.spans().len(), 2);
}

#[test]
fn a_malformed_context_begins_another_trace() {
    let world = World::new(ZIPKIN, "", "");
    for broken in ["b3: x", "x-b3-spanid: 1", "traceparent: 00-1-2-3\r\ntracestate: a=1"] {
        world.ask_inside(&format!("{broken}\r\n"));
        assert_eq!(world.spans().len(), 2, "{broken}");
        assert!(world.sent("b3").is_none_or(|b3| b3.len() > 60));
        assert_eq!(world.sent("tracestate"), None);
        assert_eq!(world.sent("traceparent").is_some(), broken.starts_with("traceparent"), "{broken}");
    }
    assert_eq!(world.stat("context_malformed"), 3);
}

#[test]
fn forms_that_are_not_read_pass_as_they_came() {
    let world = World::new(r#"zipkin = { cluster = "collector" }, extract = ["b3_multi"]"#, "", "");
    world.ask_inside(&format!("traceparent: 00-{TRACE}-{SPAN}-01\r\ntracestate: a=1\r\nb3: 0\r\n"));
    assert_eq!(world.spans().len(), 2);
    assert_eq!(world.sent("traceparent"), Some(format!("00-{TRACE}-{SPAN}-01")));
    assert_eq!((world.sent("tracestate").as_deref(), world.sent("b3").as_deref()), (Some("a=1"), Some("0")));
    let world = World::new(r#"zipkin = { cluster = "collector" }, inject = ["w3c", "b3"]"#, "", "");
    world.ask("/", "");
    assert!(world.sent("traceparent").is_some() && world.sent("b3").is_some());
    assert_eq!(world.sent("x-b3-traceid"), None);
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

#[test]
fn an_internal_redirect_is_one_exchange_with_two_tries() {
    let world = World::new(ZIPKIN, "", "internal_redirect_policy = {}");
    world
        .answers
        .borrow_mut()
        .push_back("HTTP/1.1 302 Found\r\nlocation: http://shop.example/b\r\ncontent-length: 0\r\n\r\n");
    world.ask("/a", "");
    let spans = world.spans();
    assert_eq!(spans.len(), 3);
    let codes = [1, 2].map(|at| spans[at].tags["http.status_code"].clone());
    assert_eq!(codes, ["302", "200"]);
    let id = format!("{:016x}", spans[2].facts.id);
    assert_eq!(world.sent("x-b3-spanid"), Some(id));
}

#[test]
fn tries_around_an_internal_redirect_have_the_urls_that_they_went_to() {
    let world = World::new(OTLP, "", "internal_redirect_policy = {}");
    world
        .answers
        .borrow_mut()
        .push_back("HTTP/1.1 302 Found\r\nlocation: http://other.example/b\r\ncontent-length: 0\r\n\r\n");
    world.ask("/a", "");
    let spans = world.spans();
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
