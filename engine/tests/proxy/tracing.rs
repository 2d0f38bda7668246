//! One trace over HTTP/2 and TLS: from a client by way of two proxies to an origin that speaks HTTP/1.

use super::support::{Origin, Pki, Ringway, Setup, curl, eventually, response};
use serde_json::Value;
use std::net::SocketAddr;

const TRACE: &str = "463ac35c9f6413ad48485a3953bb6124";
const SPAN: &str = "a2fb4a1d1a96d312";

/// A proxy in front of `endpoint`, whose spans go to `collector`.
fn config(name: &str, endpoint: SocketAddr, collector: SocketAddr, [listener, cluster]: [&str; 2]) -> String {
    format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\n{listener}\n[listeners.http]\n
         access_log = [{{ path = \"DIR/log\", format = \"%TRACE_ID% %SPAN_ID%\" }}]\n
         tracing = {{ zipkin = {{ cluster = \"collector\", flush_interval = \"20ms\" }}, service_name = \"{name}\", trust = \"always\" }}\n
         routes = [{{ match = {{ prefix = \"/\" }}, route = {{ cluster = \"next\" }} }}]\n
         [[clusters]]\nname = \"next\"\nendpoints = [\"{endpoint}\"]\n{cluster}\n
         [[clusters]]\nname = \"collector\"\nendpoints = [\"{collector}\"]\n"
    )
}

fn started(setup: Setup, config: &str) -> Ringway {
    setup.replace_config(config).runtime("access_log_flush_interval = \"5ms\"").start()
}

fn spans(collector: &Origin) -> Vec<Value> {
    let lists = collector.requests().into_iter().map(|request| serde_json::from_slice::<Vec<Value>>(&request.body));
    lists.flat_map(|list| list.expect("a list of spans")).collect()
}

fn moments(span: &Value) -> Vec<&str> {
    let annotations = span["annotations"].as_array().expect("annotations");
    annotations.iter().map(|annotation| annotation["value"].as_str().expect("text")).collect()
}

#[test]
fn a_trace_goes_on_over_http2_and_tls() {
    let (origin, collector) =
        (Origin::answering(|_| response(200, &[], "ok")), Origin::answering(|_| response(202, &[], "")));
    let setup = Setup::new("");
    let pki = Pki::new(setup.dir());
    pki.issue("a", &["a.example"]);
    let tls = format!("tls = {{ certificate = {:?}, key = {:?} }}", pki.path("a.pem"), pki.path("a.key"));
    let inner = started(Setup::new(""), &config("inner", origin.address, collector.address, [&tls, ""]));
    let secure = format!("protocol = \"http2\"\ntls = {{ ca = {:?}, sni = \"a.example\" }}", pki.path("ca.pem"));
    let outer = started(setup, &config("outer", inner.address(0), collector.address, ["", &secure]));

    let url = format!("http://{}/shop", outer.address(0));
    let context = format!("traceparent: 00-{TRACE}-{SPAN}-01");
    let answer = curl(&["--http2-prior-knowledge", "-H", &context, "-H", "tracestate: a=1", &url]);
    assert_eq!((answer.exit, answer.status), (0, 200));

    eventually("four spans", || spans(&collector).len() == 4);
    let spans = spans(&collector);
    let of = |service: &str, kind: &str| {
        let is_it = |span: &&Value| span["localEndpoint"]["serviceName"] == service && span["kind"] == kind;
        spans.iter().find(is_it).expect("one of each")
    };
    assert!(spans.iter().all(|span| span["traceId"] == TRACE));
    let (server, tried) = (of("outer", "SERVER"), of("outer", "CLIENT"));
    let (inner_server, inner_tried) = (of("inner", "SERVER"), of("inner", "CLIENT"));
    assert_eq!((&server["parentId"], server.get("shared")), (&SPAN.into(), None), "W3C has no shared spans");
    assert_eq!(tried["parentId"], server["id"]);
    // B3 came first, and tells the span that the two halves share.
    assert_eq!((&inner_server["id"], &inner_server["shared"]), (&tried["id"], &true.into()));
    assert_eq!(inner_tried["parentId"], inner_server["id"]);
    for span in [server, tried, inner_server] {
        assert_eq!(span["tags"]["http.protocol"], "HTTP/2");
    }
    assert_eq!(inner_tried["tags"]["http.protocol"], "HTTP/1.1");
    let made = ["connect_start", "connected", "tls_handshake_done", "first_upstream_tx_byte_sent"];
    assert_eq!(moments(tried)[..4], made);
    assert_eq!(moments(inner_tried)[..3], ["connect_start", "connected", "first_upstream_tx_byte_sent"]);

    let sent = origin.last();
    let id = inner_tried["id"].as_str().expect("text");
    assert_eq!(sent.field("x-b3-spanid"), Some(id));
    assert_eq!(sent.field("traceparent"), Some(&*format!("00-{TRACE}-{id}-01")));
    assert_eq!(sent.field("tracestate"), Some("a=1"));
    for (proxy, server) in [(&outer, server), (&inner, inner_server)] {
        let line = format!("{TRACE} {}", server["id"].as_str().expect("text"));
        assert_eq!(proxy.log_lines("log", 1), [line], "the log tells the ids");
    }
}
