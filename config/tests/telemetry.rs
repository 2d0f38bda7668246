//! What `http.tracing` means, and the destinations of all that is exported: every default, every option.

use std::time::Duration;

use ringway_config::model::*;
use ringway_config::{load_file, load_str};

/// The configuration whose `http` has these keys, and the clusters `app` and, with HTTP/2, `collector`.
fn with_http(keys: &str) -> Config {
    let text = format!(
        "[[listeners]]\naddress = \"127.0.0.1:10000\"\n[listeners.http]\n\
         routes = [{{ match = {{ prefix = \"/\" }}, route = {{ cluster = \"app\" }} }}]\n{keys}\n\
         [[clusters]]\nname = \"app\"\nendpoints = [\"127.0.0.1:8080\"]\n\
         [[clusters]]\nname = \"collector\"\nendpoints = [\"127.0.0.1:4317\"]\nprotocol = \"http2\"\n"
    );
    load_str("test.toml", &text).unwrap_or_else(|problems| panic!("{problems}"))
}

fn http(config: &Config) -> &Hcm {
    let NetworkFilter::Http(http) = &config.listeners[0].filter_chains[0].filter;
    http
}

fn tracing(keys: &str) -> Tracing {
    http(&with_http(&format!("tracing = {{ {keys} }}"))).tracing.clone().expect("tracing")
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn defaults_of_zipkin() {
    let tracing = tracing("zipkin = { cluster = \"collector\" }");
    let to = Destination {
        cluster: "collector".into(),
        host: "collector".into(),
        path: "/api/v2/spans".into(),
        headers: Vec::new(),
        timeout: seconds(5),
    };
    let exporter = SpanExporter {
        service_name: "ringway".into(),
        to,
        format: SpanFormat::ZipkinJson,
        flush_interval: seconds(1),
        flush_spans: 100,
    };
    assert_eq!(*tracing.exporter, exporter);
    assert_eq!(tracing.extract, [TraceForm::B3, TraceForm::B3Multi, TraceForm::W3c]);
    assert_eq!(tracing.inject, [TraceForm::B3Multi]);
    let all = Fraction { per_million: 1_000_000 };
    assert_eq!(tracing.sampling, Sampling { client: all, random: all, overall: all });
    assert_eq!((tracing.trust, tracing.max_path_length), (TraceTrust::Internal, 256));
    assert!(tracing.shared_span && tracing.trace_id_128bit && tracing.events);
    assert!(tracing.operation.is_none() && tracing.tags.is_empty());
}

#[test]
fn defaults_of_opentelemetry() {
    let tracing = tracing("otlp = { cluster = \"collector\" }");
    assert_eq!(tracing.exporter.to.path, "/v1/traces");
    assert_eq!(tracing.exporter.format, SpanFormat::OtlpHttp { names: TagNames::Semantic });
    assert_eq!((tracing.exporter.flush_interval, tracing.exporter.flush_spans), (seconds(1), 100));
    assert_eq!(tracing.extract, [TraceForm::W3c, TraceForm::B3, TraceForm::B3Multi]);
    assert_eq!(tracing.inject, [TraceForm::W3c]);
    assert!(!tracing.shared_span && tracing.trace_id_128bit);
    let grpc = self::tracing("otlp = { cluster = \"collector\", protocol = \"grpc\", tags = \"envoy\" }");
    assert_eq!(grpc.exporter.to.path, "/opentelemetry.proto.collector.trace.v1.TraceService/Export");
    assert_eq!(grpc.exporter.format, SpanFormat::OtlpGrpc { names: TagNames::Envoy });
}

#[test]
fn every_option_of_tracing() {
    let tracing = tracing(
        "service_name = \"edge\", extract = [\"w3c\"], inject = [\"b3\", \"w3c\"], trust = \"always\", client_sampling = 0, \
         random_sampling = 0.0001, overall_sampling = 12.5, operation = \"all of %REQ(:METHOD)%\", tags = { a = \"b\" }, \
         max_path_tag_length = 10, events = false, zipkin = { cluster = \"app\", path = \"/in\", host = \"zipkin.example\", \
         format = \"protobuf\", shared_span = false, trace_id_128bit = false, timeout = \"2s\", flush_interval = \"3s\", \
         min_flush_spans = 7, headers = { b = \"1\", A = \"2 3\" } }",
    );
    let headers = vec![("b".into(), Secret("1".into())), ("a".into(), Secret("2 3".into()))];
    let to = Destination {
        cluster: "app".into(),
        host: "zipkin.example".into(),
        path: "/in".into(),
        headers,
        timeout: seconds(2),
    };
    let exporter = SpanExporter {
        service_name: "edge".into(),
        to,
        format: SpanFormat::ZipkinProtobuf,
        flush_interval: seconds(3),
        flush_spans: 7,
    };
    assert_eq!(*tracing.exporter, exporter);
    assert_eq!((tracing.extract, tracing.inject), (vec![TraceForm::W3c], vec![TraceForm::B3, TraceForm::W3c]));
    let parts = |per_million| Fraction { per_million };
    assert_eq!(tracing.sampling, Sampling { client: parts(0), random: parts(1), overall: parts(125_000) });
    assert_eq!((tracing.trust, tracing.max_path_length, tracing.events), (TraceTrust::Always, 10, false));
    assert!(!tracing.shared_span && !tracing.trace_id_128bit);
    assert_eq!((tracing.operation.map(|pieces| pieces.len()), tracing.tags.len()), (Some(2), 1));
}

/// They are in no text that shows the configuration.
#[test]
fn values_of_headers_may_be_in_files() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/tracing-otlp.toml");
    let config = load_file(path).unwrap_or_else(|error| panic!("{error}"));
    let exporter = &http(&config).tracing.as_ref().expect("tracing").exporter;
    let value = |text: &str| Secret(text.into());
    let expected = [("x-tenant".into(), value("shop")), ("x-api-key".into(), value("not-a-real-key"))];
    assert_eq!(exporter.to.headers, expected);
    assert!(!format!("{config:?}").contains("not-a-real-key"));
}

#[test]
fn logs_have_headers_too() {
    let keys = "cluster = \"collector\", headers = { x-key = \"1\" }";
    let config = with_http(&format!("access_log = [{{ grpc = {{ {keys} }} }}, {{ otlp = {{ {keys} }} }}]"));
    for log in &http(&config).access_logs {
        let AccessLogSink::Export(export) = &log.sink else { panic!("{:?}", log.sink) };
        assert_eq!(export.to.headers, [("x-key".into(), Secret("1".into()))]);
    }
}

/// Fingerprints of clients are computed where a text of the listener tells them, wherever that is, and nowhere else.
#[test]
fn every_text_of_a_listener_asks_for_the_fingerprints_that_it_tells() {
    let found = |listener: &str, http: &str| {
        let text = format!(
            "[[listeners]]\naddress = \"127.0.0.1:10000\"\n{listener}\n[listeners.http]\n{http}\n\
             [[listeners]]\naddress = \"127.0.0.1:10001\"\n\
             http.routes = [{{ match = {{ prefix = \"/\" }}, direct_response = {{ status = 200 }} }}]\n\
             [[clusters]]\nname = \"collector\"\nendpoints = [\"127.0.0.1:4317\"]\nprotocol = \"http2\"\n"
        );
        let config = load_str("test.toml", &text).unwrap_or_else(|problems| panic!("{problems}"));
        assert_eq!(config.listeners[1].fingerprints, TlsFingerprints::default());
        (config.listeners[0].fingerprints.ja3, config.listeners[0].fingerprints.ja4)
    };
    let routes = "routes = [{ match = { prefix = \"/\" }, route = { cluster = \"collector\" } }]\n";
    let with = |keys: &str| found("", &format!("{routes}{keys}"));
    let (ja3, ja4) = ("%TLS_JA3_FINGERPRINT%", "%TLS_JA4_FINGERPRINT%");
    assert_eq!(with("access_log = [{ path = \"log\" }]"), (false, false));
    assert_eq!(with(&format!("access_log = [{{ path = \"log\", format = \"{ja3} {ja4}\" }}]")), (true, true));
    for keys in [
        "access_log = [{ path = \"log\", json = { a = \"FOUR\" } }]",
        "access_log = [{ path = \"log\", format = '%COALESCE({\"operators\": [\"ROUTE_NAME\", \"TLS_JA4_FINGERPRINT\"]})%' }]",
        "access_log = [{ otlp = { cluster = \"collector\", attributes = { a = \"FOUR\" } } }]",
        "access_log = [{ format = \"FOUR\", otlp = { cluster = \"collector\" } }]",
        "request_headers_to_add = [{ name = \"a\", value = \"FOUR\" }]",
        "response_headers_to_add = [{ name = \"a\", value = \"FOUR\" }]",
        "tracing = { zipkin = { cluster = \"collector\" }, tags = { a = \"FOUR\" } }",
        "tracing = { zipkin = { cluster = \"collector\" }, operation = \"FOUR\" }",
        "local_reply = [{ format = \"FOUR\" }]",
    ] {
        assert_eq!(with(&keys.replace("FOUR", ja4)), (false, true), "{keys}");
    }
    let in_route =
        routes.replace("} }]", &format!("}}, request_headers_to_add = [{{ name = \"a\", value = \"{ja3}\" }}] }}]"));
    assert_eq!(found("", &in_route), (true, false));
    let of_connections = |log: &str| found(&format!("access_log = [{log}]"), routes);
    assert_eq!(of_connections(&format!("{{ path = \"log\", format = \"{ja4}\" }}")), (false, true));
    assert_eq!(of_connections("{ path = \"log\" }"), (false, false));
    // The service gets all that its records have room for.
    let service = "{ grpc = { cluster = \"collector\", log_name = \"edge\" } }";
    assert_eq!(of_connections(service), (true, false));
    assert_eq!(with(&format!("access_log = [{service}]")), (true, false));
}
