//! A real Zipkin: three services in a chain, two of them behind a Ringway, and what Zipkin's own API says of a request through
//! all of them.

use super::grpc::peers_directory;
use super::support::{Client, Message, Origin, Ringway, Server, eventually, response};
use serde_json::Value;
use std::net::SocketAddr;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Zipkin's server, with its spans in memory. `None`: it is not there; nothing is skipped where CI is set.
fn zipkin() -> Option<Server> {
    let jar = peers_directory().join("zipkin/zipkin-server-3.5.1-exec.jar");
    let has_java = Command::new("java").arg("-version").output().is_ok_and(|output| output.status.success());
    let missing = match (has_java, jar.is_file()) {
        (true, true) => None,
        (false, _) => Some("java is not installed"),
        (true, false) => Some("Zipkin's server is not there"),
    };
    if let Some(missing) = missing {
        assert!(std::env::var_os("CI").is_none(), "{missing}: .ci/install fetches both");
        eprintln!("skipped: {missing}");
        return None;
    }
    let mut command = Command::new("java");
    command.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m", "-jar"]).arg(jar).env("QUERY_PORT", "0");
    // It listens on all addresses, and tells one of them.
    Some(Server::start_with(command, |line| {
        let url = line.split_once("Serving HTTP at ")?.1;
        url.rsplit_once(" - http://127.0.0.1:")?.1.trim_end_matches('/').parse().ok()
    }))
}

/// A service without tracing of its own, which hands the context on, as services behind a proxy have to.
fn service(next: Option<SocketAddr>, fails_at_first: bool) -> Origin {
    let count = AtomicUsize::new(0);
    Origin::answering(move |request| {
        if fails_at_first && count.fetch_add(1, Ordering::Relaxed) == 0 {
            return response(503, &[], "not yet");
        }
        if let Some(next) = next {
            let names = ["b3", "x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "x-b3-sampled", "traceparent"];
            let context = names.iter().filter_map(|name| Some(format!("{name}: {}\r\n", request.field(name)?)));
            let head =
                format!("GET {} HTTP/1.1\r\nHost: next\r\n{}\r\n", request.target(), context.collect::<String>());
            let mut client = Client::open(next);
            client.send(head.as_bytes());
            return response(client.response().status(), &[], "passed on");
        }
        response(200, &[], "done")
    })
}

fn ringway(name: &str, service: SocketAddr, zipkin: SocketAddr, exporter: &str) -> Ringway {
    Ringway::start(&format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\n[listeners.http]\n
         tracing = {{ zipkin = {{ cluster = \"zipkin\", flush_interval = \"50ms\", {exporter} }}, service_name = \"{name}\", trust = \"always\" }}\n
         [[listeners.http.routes]]\nmatch = {{ prefix = \"/\" }}\n
         route = {{ cluster = \"{name}-service\", retry_policy = {{ retry_on = [\"5xx\"], num_retries = 2 }} }}\n
         [[clusters]]\nname = \"{name}-service\"\nendpoints = [\"{service}\"]\n
         [[clusters]]\nname = \"zipkin\"\nendpoints = [\"{zipkin}\"]\n"
    ))
}

fn ask(zipkin: SocketAddr, target: &str) -> Message {
    Client::open(zipkin).get(target)
}

fn begin(span: &Value) -> i64 {
    span["timestamp"].as_i64().expect("a time")
}

fn end(span: &Value) -> i64 {
    begin(span) + span["duration"].as_i64().expect("a time")
}

/// That one's times are within the other's. Two processes on one machine read the same clock, each now and then.
#[track_caller]
fn assert_within(inner: &Value, outer: &Value) {
    const TOLERANCE: i64 = 5_000;
    let is_within = begin(inner) >= begin(outer) - TOLERANCE && end(inner) <= end(outer) + TOLERANCE;
    assert!(is_within, "{inner}\nis not within\n{outer}");
}

#[test]
fn a_request_through_three_services_is_one_trace() {
    let Some(zipkin) = zipkin() else { return };
    // The last one is called directly.
    let store = service(None, false);
    let backend = service(Some(store.address), true);
    let inner = ringway("inner", backend.address, zipkin.address, "format = \"protobuf\"");
    let frontend = service(Some(inner.address(0)), false);
    let outer = ringway("outer", frontend.address, zipkin.address, "format = \"json\"");
    assert_eq!(outer.get("/shop").status(), 200);
    let trace_id = store.last().field("x-b3-traceid").expect("the context goes on").to_owned();

    let mut trace: Vec<Value> = Vec::new();
    eventually("the trace is whole", || {
        let answer = ask(zipkin.address, &format!("/api/v2/trace/{trace_id}"));
        if answer.status() == 200 {
            trace = serde_json::from_str(answer.text()).expect("JSON");
        }
        trace.len() == 5
    });
    let of = |service: &str, kind: &str| -> Vec<&Value> {
        let is_it = |span: &&Value| span["localEndpoint"]["serviceName"] == service && span["kind"] == kind;
        let mut spans: Vec<_> = trace.iter().filter(is_it).collect();
        spans.sort_by_key(|span| begin(span));
        spans
    };
    let [outer_server] = of("outer", "SERVER")[..] else { panic!("{trace:#?}") };
    let [outer_client] = of("outer", "CLIENT")[..] else { panic!("{trace:#?}") };
    let [inner_server] = of("inner", "SERVER")[..] else { panic!("{trace:#?}") };
    let [first, second] = of("inner", "CLIENT")[..] else { panic!("{trace:#?}") };

    assert!(outer_server.get("parentId").is_none() && outer_server.get("shared").is_none(), "it is the root");
    assert_eq!(outer_client["parentId"], outer_server["id"]);
    // The server's half of what the outer one sent has its id.
    assert_eq!((&inner_server["id"], &inner_server["shared"]), (&outer_client["id"], &true.into()));
    for span in [first, second] {
        assert_eq!(span["parentId"], inner_server["id"]);
        assert_eq!(span["remoteEndpoint"]["serviceName"], "inner-service");
        assert_eq!(span["remoteEndpoint"]["port"], backend.address.port());
        assert_within(span, inner_server);
    }
    assert_eq!(outer_client["remoteEndpoint"]["serviceName"], "outer-service");
    assert_within(outer_client, outer_server);
    assert_within(inner_server, outer_client);

    // The try that failed, and the retry with its reason.
    assert_eq!((&first["tags"]["http.status_code"], &first["tags"]["error"]), (&"503".into(), &"true".into()));
    assert_eq!((&second["tags"]["http.status_code"], second["tags"].get("error")), (&"200".into(), None));
    assert_eq!(second["tags"]["retry.count"], "1");
    assert!(second["tags"]["retry.reason"].is_string() && end(first) <= begin(second) + 1000, "{second}");

    // Zipkin draws its graph of dependencies by the names of remote services.
    let services: Vec<String> = serde_json::from_str(ask(zipkin.address, "/api/v2/services").text()).expect("JSON");
    assert_eq!(services, ["inner", "outer"]);
    let remote = ask(zipkin.address, "/api/v2/remoteServices?serviceName=inner");
    let remote: Vec<String> = serde_json::from_str(remote.text()).expect("JSON");
    assert!(remote.contains(&"inner-service".into()), "{remote:?}");
    let day = 24 * 3600 * 1000;
    let links =
        ask(zipkin.address, &format!("/api/v2/dependencies?endTs={}&lookback={day}", end(outer_server) / 1000 + 1));
    let links: Vec<Value> = serde_json::from_str(links.text()).expect("JSON");
    let is_link =
        |parent: &str, child: &str| links.iter().any(|link| link["parent"] == parent && link["child"] == child);
    assert!(is_link("outer", "inner") && is_link("inner", "inner-service"), "{links:?}");
    for (proxy, spans) in [(&inner, 3), (&outer, 2)] {
        proxy.wait_for_stat("tracing.zipkin.spans_sent", spans);
        assert_eq!(proxy.stat("tracing.zipkin.spans_dropped"), 0);
    }
}
