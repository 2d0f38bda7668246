//! Access logs that go to programs elsewhere: collectors of OpenTelemetry and Envoy's access log service, by other libraries
//! than ours.

use super::grpc::peers;
use super::support::{Origin, Pki, Ringway, Server, Setup, curl, eventually, program, response};
use super::tls::curl_to;
use super::tls_fingerprints::{expected, first_message};
use rustix::process::Signal;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::PathBuf;

fn python(folder: &str, script: &str) -> std::process::Command {
    let mut command = program("python3");
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/support").join(script);
    command.env("PYTHONPATH", peers().join(folder)).arg(path);
    command
}

fn lines(server: &Server) -> Vec<Value> {
    let lines = server.lines.lock().unwrap().clone();
    lines.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect()
}

/// A proxy before `origin` with this access log, whose program is the cluster `elsewhere`.
fn config(origin: SocketAddr, log: &str, elsewhere: SocketAddr, wire: &str) -> String {
    format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\n[listeners.http]\naccess_log = [{log}]\n\
         routes = [{{ name = \"front\", match = {{ prefix = \"/\" }}, route = {{ cluster = \"app\" }} }}]\n\
         [[clusters]]\nname = \"app\"\nendpoints = [\"{origin}\"]\n\
         [[clusters]]\nname = \"elsewhere\"\nendpoints = [\"{elsewhere}\"]\nprotocol = \"{wire}\"\n"
    )
}

/// A listener with TLS and this log of its connections.
fn connections(log: &str, elsewhere: SocketAddr, wire: &str) -> String {
    format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\naccess_log = [{log}]\n\
         tls = {{ certificate = \"a.pem\", key = \"a.key\" }}\n[listeners.http]\n\
         routes = [{{ match = {{ prefix = \"/\" }}, direct_response = {{ status = 200 }} }}]\n\
         [[clusters]]\nname = \"elsewhere\"\nendpoints = [\"{elsewhere}\"]\nprotocol = \"{wire}\"\n"
    )
}

fn start(config: &str) -> Ringway {
    run(Setup::new(config))
}

/// The same with the certificate of a.example.
fn start_secure(config: &str) -> (Ringway, Pki) {
    let setup = Setup::new(config);
    let pki = Pki::new(setup.dir());
    pki.issue("a", &["a.example"]);
    (run(setup), pki)
}

fn run(setup: Setup) -> Ringway {
    setup.runtime("access_log_flush_interval = \"50ms\"").start()
}

/// What a collector of OpenTelemetry has been sent.
fn records(collector: &Server) -> Vec<Value> {
    let list = |report: &Value| report.pointer("/report/resourceLogs/0/scopeLogs/0/logRecords")?.as_array().cloned();
    lines(collector).iter().filter_map(list).flatten().collect()
}

fn attributes(of: &Value) -> Vec<(String, String)> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let all = of["attributes"].as_array().cloned().unwrap_or_default();
    all.iter().map(|one| (text(&one["key"]), text(&one["value"]["stringValue"]))).collect()
}

#[test]
fn collectors_of_opentelemetry_get_log_records_over_http_and_grpc() {
    let origin = Origin::answering(|_| response(200, &[], "ok"));
    for (protocol, wire) in [("http", "http1"), ("grpc", "http2")] {
        let mut command = python("python", "otlp/collector.py");
        command.arg(protocol);
        let collector = Server::start(command);
        let log = format!(
            "{{ format = \"%REQ(:METHOD)% %REQ(:PATH)%\", otlp = {{ cluster = \"elsewhere\", protocol = \"{protocol}\", \
                resource_attributes = {{ zone = \"a\" }}, attributes = {{ route = \"%ROUTE_NAME%\", none = \"%REQ(x-none)%\" }} }} }}"
        );
        let mut proxy = start(&config(origin.address, &log, collector.address, wire));
        assert_eq!(proxy.get("/first").status(), 200);
        eventually("the first has come", || !lines(&collector).is_empty());
        proxy.wait_for_stat("access_logs.open_telemetry_access_log.logs_written", 1);
        // The last ones are sent at the end.
        assert_eq!(proxy.get("/second?x=1").status(), 200);
        proxy.signal(Signal::TERM);
        assert!(proxy.wait().success());
        eventually("both have come", || records(&collector).len() == 2);
        let records = records(&collector);
        let body = |record: &Value| record["body"]["stringValue"].as_str().unwrap_or_default().to_owned();
        assert_eq!(body(&records[0]), "GET /first");
        assert_eq!(body(&records[1]), "GET /second?x=1");
        assert_eq!(attributes(&records[0]), [("route".to_owned(), "front".to_owned())]);
        assert!(records[0]["timeUnixNano"].as_str().is_some_and(|time| time.len() == 19), "{}", records[0]);
        let resource = attributes(lines(&collector)[0].pointer("/report/resourceLogs/0/resource").expect("a resource"));
        assert!(resource.contains(&("service.name".into(), "ringway".into())), "{resource:?}");
        assert!(resource.contains(&("zone".into(), "a".into())), "{resource:?}");
    }
}

#[test]
fn the_access_log_service_gets_entries() {
    let service = Server::start(python("envoy", "als/server.py"));
    let origin = Origin::recording(|connection, request, _| {
        let is_there = request.target() != "/gone";
        if is_there {
            connection.send(&response(201, &["server: origin"], "four"));
        }
        is_there
    });
    let grpc = "{ grpc = { cluster = \"elsewhere\", log_name = \"edge\", request_headers = [\"x-a\", \"x-none\"], \
                response_headers = [\"content-length\"] } }";
    let text = config(origin.address, grpc, service.address, "http2");
    let proxy = start(&text);
    let mut client = proxy.connect();
    client.send(
        b"POST /path?q=1 HTTP/1.1\r\nhost: a.example\r\nx-a: one\r\nuser-agent: test\r\ncontent-length: 3\r\n\r\nabc",
    );
    assert_eq!(client.response().status(), 201);
    eventually("an entry has come", || !lines(&service).is_empty());
    let message = lines(&service).remove(0);
    assert_eq!(message["identifier"]["logName"], "edge", "{message}");
    let entry = &message["httpLogs"]["logEntry"][0];
    let (request, response, common) = (&entry["request"], &entry["response"], &entry["commonProperties"]);
    assert_eq!(entry["protocolVersion"], "HTTP11", "{entry}");
    for (key, expected) in
        [("requestMethod", "POST"), ("authority", "a.example"), ("path", "/path?q=1"), ("userAgent", "test")]
    {
        assert_eq!(request[key], expected, "{request}");
    }
    assert_eq!(
        (&request["requestHeaders"]["x-a"], request["requestHeaders"].as_object().map(|map| map.len())),
        (&"one".into(), Some(1))
    );
    assert_eq!((&request["requestBodyBytes"], &response["responseBodyBytes"]), (&"3".into(), &"4".into()), "{entry}");
    assert_eq!((&response["responseCode"], &response["responseHeaders"]["content-length"]), (&201.into(), &"4".into()));
    assert_eq!(response["responseCodeDetails"], "via_upstream", "{response}");
    assert_eq!((&common["upstreamCluster"], &common["routeName"]), (&"app".into(), &"front".into()), "{common}");
    assert_eq!(common["upstreamRemoteAddress"]["socketAddress"]["portValue"], origin.address.port(), "{common}");
    assert_eq!(
        (&common["accessLogType"], &common["upstreamRequestAttemptCount"]),
        (&"DownstreamEnd".into(), &1.into())
    );
    assert!(common["duration"].as_str().is_some_and(|time| time.ends_with('s')), "{common}");
    assert!(common["startTime"].as_str().is_some_and(|time| time.starts_with("20")), "{common}");
    // What went wrong is in flags. The program is gone in the meantime, and costs only its records.
    assert_eq!(proxy.get("/gone").status(), 503);
    eventually("another one has come", || lines(&service).len() == 2);
    let failed = lines(&service).remove(1)["httpLogs"]["logEntry"][0]["commonProperties"]["responseFlags"].clone();
    assert_eq!(failed["upstreamConnectionTermination"], true, "{failed}");
    drop(service);
    assert_eq!(proxy.get("/").status(), 201);
    proxy.write_config(&text.replace(grpc, ""));
    assert!(proxy.reload(), "{}", proxy.stderr());
    assert_eq!(proxy.get("/").status(), 201);
}

/// The same program gets connections in entries of TCP. One that failed says why.
#[test]
fn the_access_log_service_gets_entries_of_connections() {
    let service = Server::start(python("envoy", "als/server.py"));
    let grpc = "{ grpc = { cluster = \"elsewhere\", log_name = \"edge\" } }";
    let text = connections(grpc, service.address, "http2");
    let (proxy, pki) = start_secure(&text);
    let answer = curl_to(&proxy, &pki, "https://a.example/", &["--http1.1"]);
    assert_eq!(answer.status, 200);
    let entries = || {
        let list = |message: &Value| message["tcpLogs"]["logEntry"].as_array().cloned().unwrap_or_default();
        lines(&service).iter().flat_map(list).collect::<Vec<_>>()
    };
    eventually("an entry has come", || entries().len() == 1);
    assert_eq!(lines(&service)[0]["identifier"]["logName"], "edge");
    assert_eq!(lines(&service)[0].get("httpLogs"), None);
    let entry = entries().remove(0);
    let (common, connection) = (&entry["commonProperties"], &entry["connectionProperties"]);
    assert_eq!((&common["accessLogType"], common.get("responseFlags")), (&"TcpConnectionEnd".into(), None), "{entry}");
    assert_eq!(common["connectionTerminationDetails"], "remote_close", "{entry}");
    assert_eq!(common["tlsProperties"]["tlsVersion"], "TLSv1_3", "{entry}");
    assert_eq!(common["tlsProperties"]["tlsSniHostname"], "a.example", "{entry}");
    let message = first_message(|address| {
        curl(&["-k", "--connect-to", &format!("::{address}"), "https://a.example/", "--http1.1"]);
    });
    assert_eq!(common["tlsProperties"]["ja3Fingerprint"], expected(&message)[..32], "{entry}");
    assert_eq!(common["downstreamLocalAddress"]["socketAddress"]["portValue"], proxy.address(0).port(), "{entry}");
    assert!(common["duration"].as_str().is_some_and(|time| time.ends_with('s')), "{entry}");
    assert!(common["startTime"].as_str().is_some_and(|time| time.starts_with("20")), "{entry}");
    let bytes = |value: &Value| value.as_str().and_then(|text| text.parse::<u64>().ok()).unwrap_or(0);
    for (key, wire) in [("receivedBytes", "downstreamWireBytesReceived"), ("sentBytes", "downstreamWireBytesSent")] {
        assert!(bytes(&connection[key]) > 300, "{entry}");
        assert_eq!(connection[key], common[wire], "{entry}");
    }
    // No request comes of it.
    assert_eq!(curl(&[&proxy.url("/")]).status, 400);
    eventually("another one has come", || entries().len() == 2);
    let failed = entries().remove(1)["commonProperties"].clone();
    assert_eq!(failed["responseFlags"]["downstreamProtocolError"], true, "{failed}");
    assert_eq!(failed["connectionTerminationDetails"], "tls_handshake_failed", "{failed}");
    assert_eq!(failed["downstreamTransportFailureReason"], "the first bytes are plain HTTP, not TLS", "{failed}");
}

#[test]
fn collectors_of_opentelemetry_get_records_of_connections() {
    let mut command = python("python", "otlp/collector.py");
    command.arg("http");
    let collector = Server::start(command);
    let log = "{ format = \"%CONNECTION_TERMINATION_DETAILS%\", filter = { not = { response_flags = [] } }, \
               otlp = { cluster = \"elsewhere\", attributes = { name = \"%REQUESTED_SERVER_NAME%\", \
               requests = \"%CONNECTION_REQUESTS%\", flags = \"%FILTER_CHAIN_NAME%\" } } }";
    let text = connections(log, collector.address, "http1");
    let (proxy, pki) = start_secure(&text);
    assert_eq!(curl(&[&proxy.url("/")]).status, 400, "it fails, and is left out");
    assert_eq!(curl_to(&proxy, &pki, "https://a.example/", &[]).status, 200);
    eventually("a record has come", || !records(&collector).is_empty());
    let all = records(&collector);
    assert_eq!((all.len(), &all[0]["body"]["stringValue"]), (1, &"remote_close".into()), "{all:?}");
    let expected = [("name", "a.example"), ("requests", "1"), ("flags", "default")];
    assert_eq!(attributes(&all[0]), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
    assert_eq!((all[0].get("traceId"), all[0].get("spanId")), (None, None));
    assert!(all[0]["timeUnixNano"].as_str().is_some_and(|time| time.len() == 19), "{all:?}");
}
