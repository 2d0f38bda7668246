//! Spans on their way to a collector: what arrives, and what a bad collector costs.

use super::grpc::peers;
use super::support::{
    Origin, Pki, Ringway, Server, Setup, dead_address, eventually, free_port, must_run, program, response,
};
use rustix::process::Signal;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

fn config(origin: SocketAddr, collector: SocketAddr, tracing: &str, cluster: &str) -> String {
    format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\n[listeners.http]\ntracing = {{ {tracing} }}\n
         routes = [{{ match = {{ prefix = \"/\" }}, route = {{ cluster = \"app\" }} }}]\n
         [[clusters]]\nname = \"app\"\nendpoints = [\"{origin}\"]\n
         [[clusters]]\nname = \"collector\"\nendpoints = [\"{collector}\"]\n{cluster}\n"
    )
}

const ZIPKIN: &str = "zipkin = { cluster = \"collector\", flush_interval = \"20ms\", timeout = \"1s\" }";

/// A collector that answers with this status.
fn collector(status: &Arc<AtomicU16>) -> Origin {
    let status = status.clone();
    Origin::answering(move |_| response(status.load(Ordering::Relaxed), &[], ""))
}

fn spans(collector: &Origin) -> Vec<Value> {
    let lists = collector.requests().into_iter().map(|request| serde_json::from_slice::<Vec<Value>>(&request.body));
    lists.flat_map(|list| list.expect("a list of spans")).collect()
}

#[test]
fn an_exchange_and_its_try_arrive_in_one_report() {
    let (origin, collector) = (Origin::answering(|_| response(404, &[], "no")), collector(&Arc::new(202.into())));
    let tracing = format!("{ZIPKIN}, service_name = \"front\"");
    let proxy = Ringway::start(&config(origin.address, collector.address, &tracing, ""));
    assert!(proxy.admin("GET", "/stats").text().contains("tracing.zipkin.spans_sent: 0\n"));
    let mut client = proxy.connect();
    client.send(b"GET /a?b=c HTTP/1.1\r\nHost: h\r\nUser-Agent: say \"caf\xe9\"\r\n\r\n");
    assert_eq!(client.response().status(), 404);
    eventually("two spans", || spans(&collector).len() == 2);
    let report = collector.last();
    assert_eq!((report.method(), report.target()), ("POST", "/api/v2/spans"));
    assert_eq!(report.field("host"), Some("collector"));
    assert_eq!(report.field("content-type"), Some("application/json"));
    assert!(report.field("traceparent").is_none() && report.field("x-b3-traceid").is_none());
    let spans = spans(&collector);
    let of = |kind: &str| spans.iter().find(|span| span["kind"] == kind).expect("one of each");
    let (server, client) = (of("SERVER"), of("CLIENT"));
    assert_eq!(server["traceId"], client["traceId"]);
    assert_eq!(client["parentId"], server["id"]);
    assert_eq!(server["localEndpoint"]["serviceName"], "front");
    assert_eq!(client["remoteEndpoint"]["port"], origin.address.port());
    assert_eq!(server["tags"]["http.status_code"], "404");
    assert_eq!(server["tags"]["http.url"], "http://h/a?b=c");
    assert_eq!(server["tags"]["user_agent"], "say \"caf\\xe9\"", "what is not UTF-8 is shown");
    let sent = origin.last();
    assert_eq!(
        client["id"],
        sent.field("x-b3-spanid").expect("the context goes on"),
        "the origin hears of the try's span"
    );
    let figures =
        ["tracing.zipkin.spans_sent", "tracing.zipkin.reports_sent", "cluster.collector.upstream_rq_completed"];
    eventually("they are counted", || figures.map(|name| proxy.stat(name)) == [2, 1, 1]);
}

/// Reports that are not taken are tried again, and each span is either taken or counted as lost.
#[test]
fn a_collector_may_be_busy_or_dead() {
    let status = Arc::new(AtomicU16::new(503));
    let (origin, collector) = (Origin::answering(|_| response(200, &[], "ok")), collector(&status));
    let proxy = Ringway::start(&config(origin.address, collector.address, ZIPKIN, ""));
    assert_eq!(proxy.get("/").status(), 200);
    proxy.wait_for_log("the collector takes no reports");
    assert!(proxy.stderr().contains("status 503"));
    status.store(202, Ordering::Relaxed);
    proxy.wait_for_log("the collector takes reports again");
    proxy.wait_for_stat("tracing.zipkin.spans_sent", 2);
    assert_eq!(proxy.stat("tracing.zipkin.spans_dropped"), 0);
    // Not there at all, and with far more spans than there is room for: requests do not notice.
    assert!({
        proxy.write_config(&config(origin.address, dead_address(), ZIPKIN, ""));
        proxy.reload()
    });
    let mut client = proxy.connect();
    for _ in 0..5000 {
        assert_eq!(client.get("/").status(), 200);
    }
    eventually("its spans are lost and counted", || proxy.stat("tracing.zipkin.spans_dropped") > 0);
    assert_eq!(proxy.stderr().matches("the collector takes no reports").count(), 2, "{}", proxy.stderr());
    // A configuration without tracing ends it.
    let before = proxy.stat("http.ingress_http.tracing.random_sampling");
    assert!({
        let plain = config(origin.address, collector.address, ZIPKIN, "");
        proxy.write_config(&plain.replace(&format!("tracing = {{ {ZIPKIN} }}"), ""));
        proxy.reload()
    });
    assert_eq!(proxy.get("/").status(), 200);
    assert_eq!(proxy.stat("http.ingress_http.tracing.random_sampling"), before);
}

#[test]
fn a_collector_that_does_not_answer_is_not_waited_for() {
    let origin = Origin::answering(|_| response(200, &[], "ok"));
    let silent = Origin::recording(|connection, _, _| connection.some());
    let quick = ZIPKIN.replace("\"1s\"", "\"100ms\"");
    let mut proxy = Ringway::start(&config(origin.address, silent.address, &quick, ""));
    assert_eq!(proxy.get("/").status(), 200);
    proxy.wait_for_log("no answer within 100ms");
    assert_eq!(proxy.get("/").status(), 200);
    proxy.signal(Signal::TERM);
    assert!(proxy.wait().success());
}

#[test]
fn a_cluster_that_a_reload_takes_away_loses_its_reports() {
    let status = Arc::new(AtomicU16::new(503));
    let (origin, collector) = (Origin::answering(|_| response(200, &[], "ok")), collector(&status));
    let text = config(origin.address, collector.address, ZIPKIN, "");
    let proxy = Ringway::start(&text);
    assert_eq!(proxy.get("/").status(), 200);
    eventually("a report comes", || !collector.requests().is_empty());
    proxy.write_config(&text.replace("\"collector\"", "\"other\""));
    assert!(proxy.reload());
    proxy.wait_for_stat("tracing.zipkin.reports_skipped_no_cluster", 1);
    status.store(202, Ordering::Relaxed);
    assert_eq!(proxy.get("/").status(), 200);
    proxy.wait_for_stat("tracing.zipkin.spans_sent", 2);
}

/// A minute is longer than any test waits. There is a second for what is left, which a busy machine may take for other things.
#[test]
fn the_last_spans_go_out_at_the_end_of_the_process() {
    let origin = Origin::answering(|_| response(200, &[], "ok"));
    let slow = ZIPKIN.replace("20ms", "60s");
    let arrived = (0..5).any(|_| {
        let collector = collector(&Arc::new(202.into()));
        let mut proxy = Ringway::start(&config(origin.address, collector.address, &slow, ""));
        assert_eq!(proxy.get("/").status(), 200);
        proxy.signal(Signal::TERM);
        assert!(proxy.wait().success());
        spans(&collector).len() == 2
    });
    assert!(arrived);
}

/// OpenTelemetry's own messages, in Python.
fn opentelemetry(way: &[&str]) -> Server {
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/support/otlp/spans.py");
    let mut command: Command = program("python3");
    command.env("PYTHONPATH", peers().join("python")).arg(script).args(way);
    Server::start(command)
}

fn reports(server: &Server) -> Vec<Value> {
    let lines = server.lines.lock().expect("no panic");
    lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// The attribute with this key.
fn attribute<'a>(attributes: &'a Value, key: &str) -> Option<&'a Value> {
    attributes.as_array()?.iter().find(|attribute| attribute["key"] == key).map(|attribute| &attribute["value"])
}

const HEADERS: &str = "headers = { X-Tenant = \"shop 1\", \"x-api-key\" = { file = \"collector.key\" } }";

#[test]
fn opentelemetry_takes_them_over_http_and_over_grpc_and_tls() {
    for (way, is_secure, cluster) in [
        ("http", false, ""),
        ("grpc", false, "protocol = \"http2\""),
        ("grpc", true, "protocol = \"auto\"\ntls = { ca = \"DIR/ca.pem\", sni = \"a.example\" }"),
    ] {
        let setup = Setup::new("");
        let pki = Pki::new(setup.dir());
        pki.issue("a", &["a.example"]);
        let files = [pki.path("a.pem"), pki.path("a.key")];
        let arguments = if is_secure { vec![way, &files[0], &files[1]] } else { vec![way] };
        let (origin, server) = (Origin::answering(|_| response(503, &[], "no")), opentelemetry(&arguments));
        let tracing = format!(
            "otlp = {{ cluster = \"collector\", protocol = \"{way}\", flush_interval = \"20ms\", {HEADERS} }}, service_name = \"picky\""
        );
        let key = setup.dir().join("collector.key");
        std::fs::write(&key, "the first key\n").expect("written");
        let proxy = setup.replace_config(&config(origin.address, server.address, &tracing, cluster)).start();
        assert_eq!(proxy.get("/").status(), 503);
        eventually("a report", || !reports(&server).is_empty());
        let report = &reports(&server)[0];
        let carrier = &report["carrier"];
        assert_eq!((&carrier["x-tenant"], &carrier["x-api-key"]), (&"shop 1".into(), &"the first key".into()));
        let dump = proxy.admin("GET", "/config_dump");
        assert!(dump.text().contains("shop 1") && !dump.text().contains("the first key"));
        if way == "http" {
            assert_eq!((&carrier["path"], &carrier["type"]), (&"/v1/traces".into(), &"application/x-protobuf".into()));
        }
        let resource = &report["report"]["resourceSpans"][0];
        let name = attribute(&resource["resource"]["attributes"], "service.name").expect("a service");
        assert_eq!(name["stringValue"], "picky");
        let scope = &resource["scopeSpans"][0];
        assert_eq!(scope["scope"]["name"], "ringway");
        let spans = scope["spans"].as_array().expect("spans");
        let of = |kind: &str| spans.iter().find(|span| span["kind"] == kind).expect("one of each");
        let (server_span, client_span) = (of("SPAN_KIND_SERVER"), of("SPAN_KIND_CLIENT"));
        assert_eq!(server_span["traceId"], client_span["traceId"]);
        assert_eq!(client_span["parentSpanId"], server_span["spanId"]);
        for span in [server_span, client_span] {
            assert_eq!(span["status"]["code"], "STATUS_CODE_ERROR", "{span}");
            let status = attribute(&span["attributes"], "http.response.status_code").expect("a status");
            assert_eq!(status["intValue"], "503");
        }
        // It says that it does not take one of them.
        let figures = ["spans_sent", "spans_dropped", "reports_sent"];
        let stats = || figures.map(|name| proxy.stat(&format!("tracing.opentelemetry.{name}")));
        eventually("they are counted", || stats() == [1, 1, 1]);
        assert_eq!(proxy.stat("cluster.collector.ssl.handshake"), i64::from(is_secure));
        proxy.wait_for_log("the collector does not take all that is in a report");
        assert!(proxy.stderr().contains("one is too many"));
        // A reload reads the file again.
        std::fs::write(&key, "the second key").expect("written");
        assert!(proxy.reload());
        assert_eq!(proxy.get("/").status(), 503);
        eventually("the other key", || {
            reports(&server).iter().any(|it| it["carrier"]["x-api-key"] == "the second key")
        });
    }
}

/// Longer than what a stream of HTTP/2 takes at once, and than what one report may be.
#[test]
fn long_reports_arrive_whole() {
    for (way, cluster) in [("http", ""), ("grpc", "protocol = \"http2\"")] {
        let (origin, server) = (Origin::answering(|_| response(200, &[], "ok")), opentelemetry(&[way]));
        let filler = "x".repeat(8000);
        let tracing = format!(
            "otlp = {{ cluster = \"collector\", protocol = \"{way}\", flush_interval = \"1s\", min_flush_spans = 10000 }},
             tags = {{ filler = \"{filler}\" }}"
        );
        let proxy = Ringway::start(&config(origin.address, server.address, &tracing.replace('\n', ""), cluster));
        let mut client = proxy.connect();
        let stat = |name: &str| proxy.stat(&format!("tracing.opentelemetry.{name}"));
        let mut asked = 0;
        // Those that do not go by the timer go because they are long.
        while stat("reports_sent") <= stat("timer_flushed") {
            assert!(asked < 20_000, "no report has become long");
            (0..50).for_each(|_| assert_eq!(client.get("/").status(), 200));
            asked += 50;
        }
        let lost = proxy.stat("http.ingress_http.tracing.spans_lost") as usize;
        let spans = |report: &Value| report["report"]["resourceSpans"][0]["scopeSpans"][0]["spans"].as_array().cloned();
        let spans = || reports(&server).iter().flat_map(|report| spans(report).expect("spans")).collect::<Vec<_>>();
        eventually("each span has come", || spans().len() + lost == 2 * asked);
        let is_whole = |span: &Value| {
            let value = attribute(&span["attributes"], "filler");
            value.is_none_or(|value| value["stringValue"].as_str() == Some(&filler))
        };
        assert!(spans().iter().all(is_whole));
    }
}

/// OpenTelemetry's own collector, and what it says.
fn collector_of_opentelemetry(ports: [u16; 2]) -> Server {
    let directory = peers().join("otelcol");
    let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/support/otlp/otelcol/build.sh");
    must_run(Command::new(script).arg(&directory));
    let [grpc, http] = ports.map(|port| format!("{{ endpoint: \"127.0.0.1:{port}\" }}"));
    let config = format!(
        "{{ receivers: {{ otlp: {{ protocols: {{ grpc: {grpc}, http: {http} }} }} }},
            exporters: {{ debug: {{ verbosity: detailed }} }},
            service: {{ telemetry: {{ metrics: {{ level: none }} }},
                        pipelines: {{ traces: {{ receivers: [otlp], exporters: [debug] }} }} }} }}"
    );
    let mut command = program("sh");
    command.args(["-c", "exec \"$0\" \"$1\" 2>&1"]).arg(directory.join("otelcol")).arg(config);
    Server::start_with(command, |line| line.contains("Everything is ready").then_some(ports[0]))
}

#[test]
#[ignore = "builds OpenTelemetry's collector with Go, which takes minutes"]
fn the_collector_of_opentelemetry_takes_them() {
    let ports = [free_port(), free_port()];
    let server = collector_of_opentelemetry(ports);
    let origin = Origin::answering(|_| response(404, &[], "no"));
    for (way, port, cluster) in [("grpc", ports[0], "protocol = \"http2\""), ("http", ports[1], "")] {
        let tracing = format!(
            "otlp = {{ cluster = \"collector\", protocol = \"{way}\", flush_interval = \"20ms\" }}, service_name = \"by-{way}\""
        );
        let proxy = Ringway::start(&config(origin.address, ([127, 0, 0, 1], port).into(), &tracing, cluster));
        assert_eq!(proxy.get("/").status(), 404);
        proxy.wait_for_stat("tracing.opentelemetry.spans_sent", 2);
        let name = format!("     -> service.name: Str(by-{way})");
        let mut said = Vec::new();
        eventually("it shows both spans", || {
            said = server.lines.lock().expect("no panic").clone();
            let from = said.iter().position(|line| *line == name);
            said.drain(..from.unwrap_or(said.len()));
            said.iter().filter(|line| line.contains("network.peer.port")).count() == 2
        });
        let values = |what: &str| -> Vec<String> {
            let of_line =
                |line: &String| Some(line.trim().strip_prefix(what)?.trim_start_matches([' ', ':']).to_owned());
            said.iter().filter_map(of_line).collect()
        };
        assert_eq!(values("InstrumentationScope"), [concat!("ringway ", env!("CARGO_PKG_VERSION"))]);
        assert_eq!(values("Kind"), ["Server", "Client"]);
        assert_eq!(values("Status code"), ["Unset", "Error"], "a 404 is the client's error");
        assert_eq!(values("Parent ID"), ["", &*values("ID")[0]]);
        assert_eq!(values("-> http.response.status_code"), ["Int(404)", "Int(404)"]);
    }
}
