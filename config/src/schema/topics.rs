//! The parts of the reference that are not about one table: an index by topic, and the rules that no message tells.

use std::fmt::Write as _;

use crate::document::all_tables;
use crate::reader::TableSpec;

const HTTP: &str = "listeners[].http";
const HOST: &str = "listeners[].http.virtual_hosts[]";
const ROUTE: &str = "listeners[].http.virtual_hosts[].routes[]";
const MATCH: &str = "listeners[].http.virtual_hosts[].routes[].match";
const FORWARD: &str = "listeners[].http.virtual_hosts[].routes[].route";
const FILTERS: &str = "listeners[].http.http_filters[]";
const CLUSTER: &str = "clusters[]";

/// Topic, and the keys for it: the place of the table and the key.
const TOPICS: &[(&str, &[(&str, &str)])] = &[
    ("Access log", &[(HTTP, "access_log"), ("listeners[]", "access_log"), ("admin", "access_log")]),
    (
        "Allow lists, deny lists",
        &[
            ("listeners[].filter_chains[].match", "source_prefix_ranges"),
            (MATCH, "remote_ip"),
            (MATCH, "direct_remote_ip"),
        ],
    ),
    ("Backup servers, failover", &[("clusters[].endpoints[]", "priority"), (CLUSTER, "overprovisioning_factor")]),
    (
        "Blue/green, canary",
        &[(FORWARD, "weighted_clusters"), (MATCH, "percent"), (MATCH, "headers"), (MATCH, "cookies")],
    ),
    (
        "Body sizes, uploads",
        &[(HTTP, "max_request_body"), (HTTP, "buffer_limit"), (HTTP, "min_request_body_rate"), (FILTERS, "buffer")],
    ),
    ("Circuit breakers", &[(CLUSTER, "circuit_breakers")]),
    (
        "Client address, trusted proxies",
        &[
            (HTTP, "xff_trusted_cidrs"),
            (HTTP, "xff_num_trusted_hops"),
            (HTTP, "use_remote_address"),
            (HTTP, "internal_addresses"),
        ],
    ),
    (
        "Compression: gzip, brotli, zstd",
        &[(FILTERS, "compressor"), (FILTERS, "decompressor"), ("runtime", "compression_memory")],
    ),
    (
        "Connection limits",
        &[
            ("runtime", "max_connections"),
            ("runtime", "max_handshakes"),
            ("listeners[]", "max_connections"),
            ("listeners[]", "max_connections_per_client"),
        ],
    ),
    ("Cookies", &[(MATCH, "cookies"), (FORWARD, "hash_policy")]),
    ("DNS", &[(CLUSTER, "discovery"), (CLUSTER, "dns"), (CLUSTER, "dns_lookup_family")]),
    ("Drain, reload, restart", &[("runtime", "drain_time"), ("runtime", "drain_delay"), ("listeners[]", "name")]),
    ("Error pages", &[(HTTP, "local_reply")]),
    ("Faults for tests", &[(FILTERS, "fault")]),
    ("gRPC", &[(MATCH, "grpc"), (FORWARD, "grpc_timeout_header_max"), (FILTERS, "grpc_stats"), (FILTERS, "grpc_web")]),
    (
        "Headers",
        &[
            (HTTP, "request_headers_to_add"),
            (HTTP, "response_headers_to_add"),
            (HTTP, "request_headers_to_remove"),
            (HTTP, "response_headers_to_remove"),
            (HTTP, "headers_with_underscores_action"),
        ],
    ),
    ("Health checks, outlier detection", &[(CLUSTER, "health_checks"), (CLUSTER, "outlier_detection")]),
    ("Host: rewrite", &[(FORWARD, "host_rewrite"), (FORWARD, "append_x_forwarded_host")]),
    ("Keep-alive", &[(HTTP, "idle_timeout"), (CLUSTER, "idle_timeout"), (HTTP, "max_requests_per_connection")]),
    ("Load balancing", &[(CLUSTER, "lb_policy"), (CLUSTER, "panic_threshold"), (CLUSTER, "subsets")]),
    ("Maintenance page, fixed answers", &[(ROUTE, "direct_response")]),
    ("Methods", &[(MATCH, "methods")]),
    ("Mirroring, shadowing", &[(FORWARD, "request_mirror_policies")]),
    (
        "Paths: rewrite, normalize",
        &[
            (FORWARD, "prefix_rewrite"),
            (FORWARD, "regex_rewrite"),
            (FORWARD, "template_rewrite"),
            (HTTP, "normalize_path"),
            (HTTP, "merge_slashes"),
        ],
    ),
    ("Rate limits", &[(FILTERS, "local_ratelimit")]),
    ("Redirects", &[(ROUTE, "redirect"), (FORWARD, "internal_redirect_policy")]),
    ("Retries, hedging", &[(FORWARD, "retry_policy"), (HOST, "retry_policy"), (FORWARD, "hedge_on_per_try_timeout")]),
    (
        "Sites by name",
        &[(HTTP, "virtual_hosts"), (HOST, "domains"), ("listeners[].filter_chains[].match", "server_names")],
    ),
    ("Statistics: statsd, Datadog, OpenTelemetry", &[("stats", "sinks"), ("stats", "flush_interval")]),
    ("Sticky sessions", &[(FORWARD, "hash_policy"), (CLUSTER, "lb_policy"), (CLUSTER, "ring_hash")]),
    (
        "Timeouts",
        &[
            (CLUSTER, "connect_timeout"),
            (HTTP, "request_headers_timeout"),
            (HTTP, "request_timeout"),
            (FORWARD, "response_head_timeout"),
            (FORWARD, "timeout"),
            (FORWARD, "stream_idle_timeout"),
            (HTTP, "send_timeout"),
        ],
    ),
    (
        "TLS: certificates, mutual TLS",
        &[("listeners[]", "tls"), ("listeners[].tls", "client_certificate"), (CLUSTER, "tls")],
    ),
    (
        "Unix sockets",
        &[("listeners[]", "socket_mode"), ("listeners[]", "socket_user"), ("listeners[]", "socket_group")],
    ),
    ("User, privileges", &[("runtime", "user"), ("runtime", "group")]),
];

const SILENT_RULES: &str = r#"
## Rules that no message tells

- **Several lines of one header** are one value for conditions, hash policies and formats: joined by `,` in their order.
- **Several cookies of one name**: the first one counts. So does the first of several query parameters of one name.
- **`invert` and what is missing.** A header that is not there meets no condition on its value, inverted or not:
  `{ name = "x-a", exact = "1", invert = true }` does not match a request without `x-a`. With
  `treat_missing_header_as_empty = true` it has an empty value, and matches. `present = false` is the condition for a missing
  header. A cookie that is not there does not hold its condition, so that an inverted one matches.
- **HTTP/1.0 without `Host`** is routed by the virtual host with the domain `*`, if there is one; an HTTP/1.1 request without it
  gets 400.
- **A host rewrite that gives no valid host** (`host_rewrite_header`, `host_rewrite_path_regex`) leaves the host as it is.
- **The first route that matches is used**, in the order of the file; `check` warns of routes that no request reaches. Virtual
  hosts have no order: a whole name goes before the longest `*.suffix`, that before the longest `prefix.*`, that before `*`.
- **The port of the request** takes no part in the choice of a virtual host.
- **Header edits**: first the weighted cluster's, then the route's, then the virtual host's, then those of `http`; what comes later sees what was done before.
- **Settings of a route replace those around it** and are never merged with them: those of one filter in `filters`, and a
  `retry_policy`.
"#;

pub(super) fn write(out: &mut String) {
    out.push_str("## By topic\n\n| Topic | Keys |\n|---|---|\n");
    let tables = all_tables();
    for (topic, keys) in TOPICS {
        let links = keys.iter().map(|(place, key)| link(&tables, place, key)).collect::<Vec<_>>();
        let _ = writeln!(out, "| {topic} | {} |", links.join(", "));
    }
    out.push_str(
        "\nWhole files for common tasks are in [RECIPES](RECIPES.md), words of other proxies in [WORDS](WORDS.md).\n",
    );
    out.push_str(SILENT_RULES);
    out.push('\n');
}

fn link(tables: &[&'static TableSpec], place: &str, key: &str) -> String {
    let anchor = tables.iter().find(|table| table.place == place).map(|table| table.anchor()).unwrap_or_default();
    let owner = place.rsplit('.').next().unwrap_or_default().trim_end_matches("[]");
    format!("[`{owner}: {key}`](#{anchor})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_topic_names_keys_that_exist() {
        for (topic, keys) in TOPICS {
            for (place, key) in *keys {
                let table = all_tables().into_iter().find(|table| table.place == *place);
                let table = table.unwrap_or_else(|| panic!("{topic}: there is no table {place}"));
                assert!(table.keys.iter().any(|known| known.name == *key), "{topic}: {place} has no key {key}");
            }
        }
        assert!(TOPICS.is_sorted_by_key(|(topic, _)| topic.to_lowercase()));
    }
}
