//! Tracing takes nothing from the heap either: neither where an exchange is sampled, in whatever form its context comes and goes
//! on, nor where it is not.

use super::{CONFIG, Kind, PLAIN_FIELDS, exchanges_allocate_nothing, kinds, leak};

const CONTEXTS: &str = "b3: 463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-1\r\n\
    traceparent: 00-463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-01\r\ntracestate: a=1,b=2\r\n";

#[test]
fn traced_exchanges() {
    for (exporter, share, contexts) in [
        ("zipkin", 100, ""),
        ("zipkin", 100, CONTEXTS),
        ("zipkin", 0, CONTEXTS),
        ("otlp", 100, CONTEXTS),
        ("otlp", 0, ""),
    ] {
        let tracing = format!(
            "via = \"edge\"\ntracing = {{ {exporter} = {{ cluster = \"spans\" }}, random_sampling = {share}, \
             inject = [\"b3_multi\", \"w3c\"], operation = \"%REQ(:METHOD)% %ROUTE_NAME%\", \
             tags = {{ user = \"%REQ(user-agent)%\", trace = \"%TRACE_ID%\" }} }}"
        );
        let mut config = CONFIG.replace("via = \"edge\"", &tracing);
        assert!(config.contains("tracing"), "the configuration has another form now");
        config += "[[clusters]]\nname = \"spans\"\nendpoints = [\"127.0.0.1:3\"]\n";
        let head = format!("GET /api/items?q=1 HTTP/1.1\r\n{PLAIN_FIELDS}{contexts}\r\n");
        let kind = Kind { name: "traced", request: leak(head), ..kinds()[0] };
        exchanges_allocate_nothing(&kind, &config);
    }
}
