//! Keys that people bring from Envoy, nginx and HAProxy to the tables of a cluster: what to write here instead.

const CLUSTER: &str = "clusters[]";
const ENDPOINT: &str = "clusters[].endpoints[]";
const HEALTH_CHECK: &str = "clusters[].health_checks[]";
const CIRCUIT_BREAKERS: &str = "clusters[].circuit_breakers";

/// Table, key, and what to say about it.
const HINTS: &[(&str, &str, &str)] = &[
    (CLUSTER, "type", "it is called discovery: \"static\", \"strict_dns\" or \"logical_dns\""),
    (CLUSTER, "resolve", "write discovery = \"strict_dns\""),
    (CLUSTER, "resolver", "name servers are in dns = { resolvers = [\"10.0.0.53\"] }"),
    (CLUSTER, "resolvers", "name servers are in dns = { resolvers = [\"10.0.0.53\"] }"),
    (CLUSTER, "dns_resolvers", "name servers are in dns = { resolvers = [\"10.0.0.53\"] }"),
    (CLUSTER, "dns_resolution_config", "name servers are in dns = { resolvers = [\"10.0.0.53\"] }"),
    (CLUSTER, "typed_dns_resolver_config", "name servers are in dns = { resolvers = [\"10.0.0.53\"] }"),
    (CLUSTER, "dns_refresh_rate", "it is in `dns`: dns = { refresh_rate = \"5s\" }"),
    (CLUSTER, "dns_jitter", "it is in `dns`: dns = { jitter = \"1s\" }"),
    (CLUSTER, "dns_failure_refresh_rate", "it is in `dns`: dns = { failure_refresh_rate = { base_interval = \"2s\" } }"),
    (CLUSTER, "respect_dns_ttl", "it is in `dns`, and true by default: dns = { respect_ttl = true }"),
    (CLUSTER, "round_robin_lb_config", "it is called round_robin"),
    (CLUSTER, "least_request_lb_config", "it is called least_request"),
    (CLUSTER, "ring_hash_lb_config", "it is called ring_hash"),
    (CLUSTER, "maglev_lb_config", "it is called maglev"),
    (CLUSTER, "load_balancing_policy", "write lb_policy = \"least_request\", and options in a table of that name"),
    (CLUSTER, "balance", "it is called lb_policy"),
    (CLUSTER, "least_conn", "write lb_policy = \"least_request\""),
    (CLUSTER, "leastconn", "write lb_policy = \"least_request\""),
    (CLUSTER, "ip_hash", "write lb_policy = \"maglev\", and a hash_policy in the route"),
    (CLUSTER, "hash", "write lb_policy = \"maglev\", and a hash_policy in the route"),
    (CLUSTER, "hash_policy", "it belongs in the route: route = { cluster = \"...\", hash_policy = [...] }"),
    (CLUSTER, "hash_balance_factor", "it is in the policy's table: maglev = { hash_balance_factor = 150 }"),
    (CLUSTER, "common_lb_config", "write its settings directly: panic_threshold, locality_weights, ..."),
    (CLUSTER, "healthy_panic_threshold", "it is called panic_threshold, in per cent"),
    (CLUSTER, "locality_weighted_lb_config", "write locality_weights = { a = 1, b = 2 }"),
    (CLUSTER, "zone_aware_lb_config", "zone-aware routing is not supported yet; locality_weights and priorities are"),
    (CLUSTER, "consistent_hashing_lb_config", "hash_balance_factor is in ring_hash or maglev"),
    (CLUSTER, "lb_subset_config", "it is called subsets"),
    (CLUSTER, "slow_start", "it is in the policy's table: least_request = { slow_start = { window = \"1m\" } }"),
    (CLUSTER, "slow_start_config", "it is in the policy's table: least_request = { slow_start = { window = \"1m\" } }"),
    (CLUSTER, "max_connections", "it is in `circuit_breakers`: circuit_breakers = { max_connections = 1000 }"),
    (CLUSTER, "max_conns", "it is in `circuit_breakers`: circuit_breakers = { max_connections_per_host = 100 }"),
    (CLUSTER, "maxconn", "it is in `circuit_breakers`: circuit_breakers = { max_connections_per_host = 100 }"),
    (CLUSTER, "max_requests", "it is in `circuit_breakers`: circuit_breakers = { max_requests = 1000 }"),
    (CLUSTER, "max_retries", "it is in `circuit_breakers`: circuit_breakers = { max_retries = 10 }"),
    (CLUSTER, "healthcheck", "write health_checks = [{ http = { path = \"/healthz\" } }]"),
    (CLUSTER, "check", "write health_checks = [{ http = { path = \"/healthz\" } }]"),
    (CLUSTER, "httpchk", "write health_checks = [{ http = { path = \"/healthz\" } }]"),
    (CLUSTER, "max_fails", "see outlier_detection = { consecutive_5xx = 5 }"),
    (CLUSTER, "fail_timeout", "see outlier_detection = { base_ejection_time = \"30s\" }"),
    (CLUSTER, "alt_stat_name", "statistics carry the cluster's name"),
    (CLUSTER, "upstream_bind_config", "the kernel chooses the address that connections come from"),
    (ENDPOINT, "endpoint", "write the address directly: address = \"127.0.0.1:8080\""),
    (ENDPOINT, "host", "write host and port together: address = \"app.internal:8080\""),
    (ENDPOINT, "port", "write host and port together: address = \"app.internal:8080\""),
    (ENDPOINT, "lb_endpoints", "list the endpoints directly, each with its locality"),
    (ENDPOINT, "load_balancing_weight", "it is called weight"),
    (ENDPOINT, "backup", "write priority = 1; the others have priority 0"),
    (ENDPOINT, "zone", "it is called locality"),
    (ENDPOINT, "region", "it is called locality"),
    (ENDPOINT, "health_check_config", "write health_check_port and hostname directly"),
    (ENDPOINT, "max_fails", "see outlier_detection of the cluster"),
    (ENDPOINT, "fail_timeout", "see outlier_detection of the cluster"),
    (ENDPOINT, "slow_start", "it is in the policy's table of the cluster: least_request = { slow_start = { ... } }"),
    (ENDPOINT, "max_conns", "it is in the cluster: circuit_breakers = { max_connections_per_host = 100 }"),
    (ENDPOINT, "maxconn", "it is in the cluster: circuit_breakers = { max_connections_per_host = 100 }"),
    (HEALTH_CHECK, "http_health_check", "it is called http"),
    (HEALTH_CHECK, "tcp_health_check", "it is called tcp"),
    (HEALTH_CHECK, "grpc_health_check", "gRPC checks are not supported yet; http and tcp are"),
    (HEALTH_CHECK, "custom_health_check", "http and tcp are the only kinds"),
    (HEALTH_CHECK, "path", "it is in `http`: http = { path = \"/healthz\" }"),
    (HEALTH_CHECK, "uri", "it is in `http`: http = { path = \"/healthz\" }"),
    (HEALTH_CHECK, "port", "endpoints have a health_check_port"),
    (HEALTH_CHECK, "alt_port", "endpoints have a health_check_port"),
    (HEALTH_CHECK, "initial_jitter", "first checks are made at once; interval_jitter spreads the others"),
    (HEALTH_CHECK, "interval_jitter_percent", "write a time: interval_jitter = \"1s\""),
    (HEALTH_CHECK, "event_log_path", "it is called event_log"),
    (HEALTH_CHECK, "event_logger", "name a file: event_log = \"/var/log/ringway/health.log\""),
    (HEALTH_CHECK, "always_log_health_check_failures", "it is called always_log_failures"),
    (HEALTH_CHECK, "fall", "it is called unhealthy_threshold"),
    (HEALTH_CHECK, "fails", "it is called unhealthy_threshold"),
    (HEALTH_CHECK, "rise", "it is called healthy_threshold"),
    (HEALTH_CHECK, "passes", "it is called healthy_threshold"),
    (HEALTH_CHECK, "inter", "it is called interval"),
    ("clusters[].health_checks[].http", "request_headers_to_add", "write request_headers = { x-check = \"1\" }"),
    ("clusters[].health_checks[].http", "headers", "write request_headers = { x-check = \"1\" }"),
    ("clusters[].health_checks[].http", "status", "write expected_statuses = [200]"),
    ("clusters[].health_checks[].http", "codec_client_type", "leave it out: checks are made over HTTP/1.1"),
    ("clusters[].health_checks[].http", "service_name_matcher", "checks look at the status only"),
    ("clusters[].health_checks[].http", "receive", "checks look at the status only"),
    ("clusters[].health_checks[].tcp.send", "text", "write the text itself: send = \"PING\"; or { hex = \"50494e47\" }"),
    ("clusters[].health_checks[].tcp.send", "binary", "it is called hex, in hexadecimal digits"),
    (CIRCUIT_BREAKERS, "thresholds", "write the limits directly; those for high priority in high = { ... }"),
    (CIRCUIT_BREAKERS, "per_host_thresholds", "write max_connections_per_host = 100"),
    (CIRCUIT_BREAKERS, "max_connection_pools", "each shard has one pool for each endpoint; limit max_connections"),
    (CIRCUIT_BREAKERS, "track_remaining", "leave it out: what remains is always counted"),
    ("clusters[].ring_hash", "hash_function", "leave it out: it is xxHash, Envoy's default"),
    ("clusters[].ring_hash", "table_size", "a ring has minimum_ring_size and maximum_ring_size"),
    ("clusters[].least_request.slow_start", "slow_start_window", "it is called window"),
    ("clusters[].subsets", "subset_selectors", "it is called selectors: selectors = [[\"version\"]]"),
    ("clusters[].dns", "dns_refresh_rate", "it is called refresh_rate"),
    ("clusters[].dns", "dns_lookup_family", "it stands beside `dns`, in the cluster"),
    ("clusters[].dns", "lookup_family", "it is called dns_lookup_family and stands beside `dns`, in the cluster"),
];

/// What to say about `key`, which the table at `place` does not have.
pub fn hint(place: &str, key: &str) -> Option<&'static str> {
    HINTS.iter().find(|(table, known, _)| *table == place && *known == key).map(|(_, _, hint)| *hint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::all_tables;

    #[test]
    fn no_hint_is_stale_or_shadowed() {
        for (index, (place, key, _)) in HINTS.iter().enumerate() {
            let table = all_tables().into_iter().find(|table| table.place == *place);
            let table = table.unwrap_or_else(|| panic!("there is no table {place}"));
            assert!(!table.keys.iter().any(|it| it.name == *key), "{place} has `{key}` now: remove its hint");
            let shadows = HINTS[..index].iter().any(|(table, earlier, _)| table == place && earlier == key);
            assert!(!shadows, "`{key}` is listed twice for {place}");
        }
    }
}
