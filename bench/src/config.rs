//! Configurations of any size, as text and loaded.

use crate::exchange::Traced;
use ringway_config::model::{Config, NetworkFilter, VirtualHost};
use std::fmt::Write as _;
use std::hint::black_box;

/// Routes that share a virtual host in [`text_with_hosts`].
pub const ROUTES_PER_HOST: usize = 10;

/// One listener with one virtual host of `routes` routes: `/api/N/` leads to cluster `N % 10`, and each tenth kind of
/// match is an exact path, a path-separated prefix, or one with a method and a header field.
pub fn text(routes: usize) -> String {
    let mut text = head();
    writeln!(text, "routes = [").expect(WRITES);
    (0..routes).for_each(|route| push_route(&mut text, route));
    text.push_str("]\n");
    push_clusters(&mut text);
    text
}

/// The same routes, ten to a virtual host: those of `/api/N/` belong to `hostH.example.com`, H being N / 10.
pub fn text_with_hosts(routes: usize) -> String {
    let mut text = head();
    for host in 0..routes.div_ceil(ROUTES_PER_HOST) {
        writeln!(text, "[[listeners.http.virtual_hosts]]\nname = \"host{host}\"").expect(WRITES);
        writeln!(text, "domains = [\"host{host}.example.com\"]\nroutes = [").expect(WRITES);
        let first = host * ROUTES_PER_HOST;
        (first..routes.min(first + ROUTES_PER_HOST)).for_each(|route| push_route(&mut text, route));
        text.push_str("]\n");
    }
    push_clusters(&mut text);
    text
}

/// [`text`] with 1,000 routes and what a service has in force while all is well: a header edit in each direction, retries,
/// circuit breakers, outlier detection, and least request among three endpoints.
pub fn resilient() -> String {
    let edits = "stat_prefix = \"bench\"\n\
        request_headers_to_add = [{ name = \"x-edge\", value = \"one\" }]\n\
        response_headers_to_add = [{ name = \"x-served-by\", value = \"edge\" }]\n";
    let text = text(1000).replace("stat_prefix = \"bench\"\n", edits);
    let retries = "cluster = \"app7\", retry_policy = { retry_on = [\"5xx\", \"reset\", \"connect-failure\"], \
        num_retries = 2, per_try_timeout = \"1s\" } }";
    let text = text.replace("cluster = \"app7\" }", retries);
    let plain = "endpoints = [\"127.0.0.1:8007\"]\n";
    assert!(text.contains(retries) && text.contains(plain), "the text has another form now");
    let guarded = "endpoints = [\"127.0.0.1:8007\", \"127.0.0.2:8007\", \"127.0.0.3:8007\"]\n\
        lb_policy = \"least_request\"\noutlier_detection = {}\n\
        circuit_breakers = { max_connections = 1000, max_pending_requests = 1000, max_requests = 1000, max_retries = 10 }\n";
    text.replace(plain, guarded)
}

/// [`text`] with tracing, and a cluster for the spans.
pub fn traced(routes: usize, traced: Traced) -> String {
    let (share, form, exporter) = match traced {
        Traced::UnsampledW3c => (0, "w3c", "zipkin"),
        Traced::UnsampledB3 => (0, "b3_multi", "zipkin"),
        Traced::SampledW3c => (100, "w3c", "zipkin"),
        Traced::SampledOtlp => (100, "w3c", "otlp"),
    };
    let tracing = format!(
        "stat_prefix = \"bench\"\n\
        tracing = {{ {exporter} = {{ cluster = \"spans\" }}, random_sampling = {share}, inject = [\"{form}\"] }}\n"
    );
    let mut text = text(routes).replace("stat_prefix = \"bench\"\n", &tracing);
    assert!(text.contains("tracing"), "the text has another form now");
    text.push_str("[[clusters]]\nname = \"spans\"\nendpoints = [\"127.0.0.1:9411\"]\n");
    text
}

/// # Panics
/// When the text is refused: it is made here.
pub fn loaded(text: &str) -> Config {
    ringway_config::load_str("bench.toml", text).unwrap_or_else(|problems| panic!("{problems}"))
}

/// The virtual hosts of the first listener.
pub fn virtual_hosts(text: &str) -> Vec<VirtualHost> {
    let NetworkFilter::Http(hcm) = &loaded(text).listeners[0].filter_chains[0].filter;
    hcm.virtual_hosts.clone()
}

/// Load a configuration, from text to model.
pub fn load(text: String) -> impl FnMut() {
    move || {
        black_box(loaded(black_box(&text)));
    }
}

const WRITES: &str = "a String takes text";

pub(crate) fn head() -> String {
    "[[listeners]]\naddress = \"127.0.0.1:10000\"\n[listeners.http]\nstat_prefix = \"bench\"\n".into()
}

fn push_route(text: &mut String, route: usize) {
    let matcher = match route % 10 {
        3 => format!("path = \"/exact/{route}\""),
        5 => format!("path_separated_prefix = \"/separated/{route}\""),
        6 => format!(
            "prefix = \"/post/{route}/\", methods = [\"POST\"], headers = [{{ name = \"x-kind\", exact = \"a\" }}]"
        ),
        _ => format!("prefix = \"/api/{route}/\""),
    };
    let cluster = route % 10;
    writeln!(text, "  {{ match = {{ {matcher} }}, route = {{ cluster = \"app{cluster}\" }} }},").expect(WRITES);
}

fn push_clusters(text: &mut String) {
    for cluster in 0..10 {
        writeln!(text, "[[clusters]]\nname = \"app{cluster}\"\nendpoints = [\"127.0.0.1:{}\"]", 8000 + cluster)
            .expect(WRITES);
    }
}
