//! Tracing on in-memory pipes: what goes on to the endpoint, and the spans that are left.

mod contexts;
mod spans;

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
