//! Tests of the three formats.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use regex::Regex;

use super::Format;
use super::shown::PERCENTILES;
use crate::stats::{ClusterStats, HttpStats, Kind, ListenerStats, Registry, ServerStats, ShardStats};

/// Some traffic on two shards.
fn registry() -> Arc<Registry> {
    let registry = Registry::new();
    for shard in 0..2 {
        let listener: Arc<ListenerStats> = registry.scope("0.0.0.0_10000", shard);
        let http: Arc<HttpStats> = registry.scope("ingress_http", shard);
        let cluster: Arc<ClusterStats> = registry.scope("app", shard);
        let ring: Arc<ShardStats> = registry.scope(&shard.to_string(), shard);
        listener.downstream_cx_total.add(3);
        listener.downstream_cx_active.inc();
        http.downstream_rq_total.add(4);
        http.count_status(200);
        http.downstream_rq_time.record(1500);
        cluster.count_status(200);
        cluster.count_status(503);
        cluster.upstream_rq_time.record(1200);
        cluster.upstream_cx_connect_ms.record(50);
        ring.completions.add(9);
    }
    registry.scope::<ClusterStats>("idle", 0);
    registry.scope::<ServerStats>("", 0).uptime.set(12);
    registry
}

#[test]
fn text_is_sorted_with_histograms_last() {
    let text = registry().render(Format::Text, None, false);
    let histogram = |line: &&str| line.contains(": P0(") || line.ends_with(": No recorded values");
    let lines: Vec<&str> = text.lines().collect();
    let figures: Vec<&str> = lines.iter().copied().take_while(|line| !histogram(line)).collect();
    assert!(figures.is_sorted() && lines[figures.len()..].is_sorted() && lines[figures.len()..].iter().all(histogram));
    assert!(lines.len() - figures.len() == 12, "{text}");
    for line in [
        "listener.0.0.0.0_10000.downstream_cx_total: 6",
        "listener.0.0.0.0_10000.downstream_cx_active: 2",
        "http.ingress_http.downstream_rq_2xx: 2",
        "http.ingress_http.no_route: 0",
        "cluster.app.upstream_rq_503: 2",
        "cluster.app.membership_total: 0",
        "server.uptime: 12",
        "shard.1.completions: 9",
        "cluster.idle.upstream_rq_time: No recorded values",
    ] {
        assert!(lines.contains(&line), "{line} is missing in\n{text}");
    }
    let time = lines.iter().find(|line| line.starts_with("cluster.app.upstream_cx_connect_ms: ")).unwrap();
    assert_eq!(
        time.split_once(": ").unwrap().1,
        "P0(nan,0.05) P25(nan,0.05) P50(nan,0.05) P75(nan,0.05) P90(nan,0.05) P95(nan,0.05) P99(nan,0.05) \
         P99.5(nan,0.05) P99.9(nan,0.05) P100(nan,0.05)"
    );
}

/// Scopes whose names begin with each other's are mixed, as sorting all lines would mix them; and no more than these are held.
#[test]
fn text_is_sorted_whatever_the_names() {
    let registry = Registry::new();
    for name in ["app", "app.v2", "app-v1", "app.ring_hash_lb", "app.v", "b", "app.v2.x", "", "app.upstream_rq_1xx"] {
        registry.scope::<ClusterStats>(name, 0).upstream_rq_1xx.inc();
        registry.scope::<HttpStats>(name, 0);
    }
    let text = registry.render(Format::Text, None, false);
    let figures: Vec<&str> = text.lines().take_while(|line| !line.ends_with("No recorded values")).collect();
    assert!(figures.is_sorted() && figures.len() > 900, "{text}");
    assert_eq!(text.lines().filter(|line| line.ends_with("upstream_rq_1xx: 1")).count(), 9);
}

/// However many statistics there are, no step makes more than one scope's.
#[test]
fn a_step_is_one_scopes_worth() {
    let registry = Registry::new();
    for name in 0..300 {
        registry.scope::<ClusterStats>(&format!("app-{name}"), 0).count_status(200);
    }
    for (format, longest) in [(Format::Text, 400), (Format::Json, 8 * 1024), (Format::Prometheus, 4 * 1024)] {
        let mut rendering = super::Rendering::new(&registry, format, None, false);
        let (mut whole, mut piece, mut steps) = (String::new(), String::new(), 0);
        while rendering.step(&registry, &mut piece) {
            assert!(piece.len() <= longest, "{format:?}: {}", piece.len());
            whole += &std::mem::take(&mut piece);
            steps += 1;
        }
        assert_eq!(whole + &piece, registry.render(format, None, false));
        assert!(steps > 300, "{steps}");
    }
}

#[test]
fn filter_and_used_only_leave_lines_out() {
    let registry = registry();
    let filter = Regex::new("^cluster\\.app\\.upstream_rq_[25]").unwrap();
    let text = registry.render(Format::Text, Some(&filter), true);
    assert_eq!(
        text,
        "cluster.app.upstream_rq_200: 2\ncluster.app.upstream_rq_2xx: 2\n\
         cluster.app.upstream_rq_503: 2\ncluster.app.upstream_rq_5xx: 2\n"
    );
    // A level of 0 says something: no healthy endpoint, for one. A counter of 0 does not.
    let text = registry.render(Format::Text, None, true);
    assert!(text.contains("cluster.idle.membership_healthy: 0\n") && !text.contains("cluster.idle.upstream_rq_total"));
    let idle = |name: &str| format!("{name}{{envoy_cluster_name=\"idle\"}}");
    let text = registry.render(Format::Prometheus, None, true);
    assert!(text.contains(&idle("envoy_cluster_membership_healthy")));
    assert!(!text.contains(&idle("envoy_cluster_upstream_rq_total")));
    assert_eq!(registry.render(Format::Prometheus, Some(&Regex::new("nothing").unwrap()), false), "");
    assert_eq!(
        registry.render(Format::Prometheus, Some(&Regex::new(r"http\..*_rq_2xx").unwrap()), false),
        "# HELP envoy_http_downstream_rq_xx Responses by the class of their code\n\
         # TYPE envoy_http_downstream_rq_xx counter\n\
         envoy_http_downstream_rq_xx{envoy_response_code_class=\"2\",\
         envoy_http_conn_manager_prefix=\"ingress_http\"} 2\n"
    );
}

#[test]
fn json_has_envoys_shape() {
    let registry = registry();
    registry.scope::<ClusterStats>("we\"ird\n", 0).upstream_rq_total.inc();
    let json: serde_json::Value = serde_json::from_str(&registry.render(Format::Json, None, false)).unwrap();
    let stats = json["stats"].as_array().unwrap();
    let value = |name: &str| stats.iter().find(|stat| stat["name"] == name).map(|stat| stat["value"].as_i64().unwrap());
    assert_eq!(value("cluster.app.upstream_rq_503"), Some(2));
    assert_eq!(value("cluster.we\"ird\n.upstream_rq_total"), Some(1));
    assert_eq!(value("server.uptime"), Some(12));
    let histograms = &stats.last().unwrap()["histograms"];
    assert_eq!(histograms["supported_quantiles"].as_array().unwrap().len(), PERCENTILES.len());
    let computed = histograms["computed_quantiles"].as_array().unwrap();
    let values = |name: &str| &computed.iter().find(|histogram| histogram["name"] == name).unwrap()["values"];
    assert_eq!(
        values("cluster.app.upstream_cx_connect_ms")[2],
        serde_json::json!({"interval": null, "cumulative": 0.05})
    );
    assert_eq!(values("cluster.idle.upstream_rq_time")[9], serde_json::json!({"interval": null, "cumulative": null}));
    // Nothing at all is well-formed, too.
    let none = registry.render(Format::Json, Some(&Regex::new("nothing").unwrap()), false);
    let none: serde_json::Value = serde_json::from_str(&none).unwrap();
    assert_eq!(none["stats"].as_array().unwrap().len(), 1);
}

#[test]
fn prometheus_names_and_labels_are_envoys() {
    let text = registry().render(Format::Prometheus, None, false);
    for line in [
        "envoy_cluster_upstream_cx_total{envoy_cluster_name=\"app\"} 0",
        "envoy_cluster_upstream_rq{envoy_response_code=\"503\",envoy_cluster_name=\"app\"} 2",
        "envoy_cluster_upstream_rq_xx{envoy_response_code_class=\"5\",envoy_cluster_name=\"app\"} 2",
        "envoy_cluster_upstream_cx_connect_ms_bucket{envoy_cluster_name=\"app\",le=\"0.5\"} 2",
        "envoy_cluster_upstream_cx_connect_ms_sum{envoy_cluster_name=\"app\"} 0.1",
        "envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"app\",le=\"1\"} 0",
        "envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"app\",le=\"5\"} 2",
        "envoy_cluster_upstream_rq_time_bucket{envoy_cluster_name=\"app\",le=\"+Inf\"} 2",
        "envoy_cluster_upstream_rq_time_sum{envoy_cluster_name=\"app\"} 2.4",
        "envoy_cluster_upstream_rq_time_count{envoy_cluster_name=\"app\"} 2",
        "envoy_http_downstream_rq_xx{envoy_response_code_class=\"2\",envoy_http_conn_manager_prefix=\"ingress_http\"} 2",
        "envoy_listener_downstream_cx_total{envoy_listener_address=\"0.0.0.0_10000\"} 6",
        "envoy_server_uptime 12",
        "ringway_shard_completions_total{shard=\"1\"} 9",
        "# TYPE envoy_cluster_upstream_rq_time histogram",
        "# TYPE envoy_listener_downstream_cx_active gauge",
    ] {
        assert!(text.lines().any(|shown| shown == line), "{line} is missing in\n{text}");
    }
}

#[test]
fn labels_are_escaped() {
    let registry = Registry::new();
    registry.scope::<ClusterStats>("a\\b\"c\nd", 0);
    let text = registry.render(Format::Prometheus, Some(&Regex::new("upstream_rq_total").unwrap()), false);
    assert!(text.ends_with("envoy_cluster_upstream_rq_total{envoy_cluster_name=\"a\\\\b\\\"c\\nd\"} 0\n"), "{text}");
}

/// The grammar and the rules of prometheus.io's exposition formats: TYPE before the samples and once, families in one
/// piece, no series twice, buckets cumulative and the last one equal to the count.
#[test]
fn prometheus_keeps_the_formats_rules() {
    let registry = registry();
    registry.scope::<ClusterStats>("a\\b\"c\nd", 1).upstream_rq_time.record(90_000_000);
    let text = registry.render(Format::Prometheus, None, false);
    let sample = Regex::new(
        r#"^([a-zA-Z_:][a-zA-Z0-9_:]*)(\{(?:[a-zA-Z_][a-zA-Z0-9_]*="(?:[^"\\\n]|\\["\\n])*",?)+\})? (-?[0-9]+(?:\.[0-9]+)?)$"#,
    )
    .unwrap();
    let (mut types, mut seen) = (HashMap::new(), HashSet::new());
    let mut current = ("", "");
    let mut last_bucket = 0.0;
    for line in text.lines() {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            current = declared.split_once(' ').unwrap();
            assert!(["counter", "gauge", "histogram"].contains(&current.1), "{line}");
            assert!(types.insert(current.0, current.1).is_none(), "twice: {line}");
        } else if let Some(help) = line.strip_prefix("# HELP ") {
            assert!(help.split_once(' ').is_some_and(|(_, text)| !text.is_empty()), "{line}");
        } else {
            let parts = sample.captures(line).unwrap_or_else(|| panic!("not a sample: {line}"));
            let name = parts.get(1).unwrap().as_str();
            let value: f64 = parts[3].parse().unwrap();
            assert!(seen.insert(line.rsplit_once(' ').unwrap().0), "twice: {line}");
            if current.1 != "histogram" {
                assert_eq!(name, current.0);
                continue;
            }
            match name.strip_prefix(current.0) {
                Some("_bucket") => {
                    assert!(value >= last_bucket || line.contains("le=\"0.5\""), "not cumulative: {line}");
                    last_bucket = value;
                }
                Some("_count") => assert_eq!(value, last_bucket, "{line}"),
                suffix => assert_eq!(suffix, Some("_sum"), "{line}"),
            }
        }
    }
    assert!(types.len() > 90 && seen.len() > 280);
}

#[test]
fn a_hundred_thousand_series_are_rendered_in_one_go() {
    let registry = Registry::new();
    for index in 0..1000 {
        let stats: Arc<ClusterStats> = registry.scope(&format!("cluster_{index}"), 0);
        stats.upstream_rq_time.record(index);
        stats.count_status(200);
    }
    let text = registry.render(Format::Prometheus, None, false);
    assert!(text.lines().filter(|line| !line.starts_with('#')).count() > 100_000);
    assert!(registry.render(Format::Text, None, false).lines().count() > 38_000);
}

/// Statistics that Envoy does not have.
const RINGWAYS: &[&str] = &[
    "http2.stream_errors",
    "http2.flood",
    "http2.keepalive_timeout",
    "accept_error",
    "downstream_rq_time",
    "downstream_cx_panic",
    "downstream_cx_send_timeout",
    "downstream_rq_body_too_slow",
    "downstream_rq_match_cost_exceeded",
    "downstream_rq_misdirected",
    "tracing.continued",
    "tracing.context_malformed",
    "tracing.spans_lost",
    "downstream_rq_forwarded_not_trusted",
    "downstream_rq_cut_off",
    "downstream_rq_send_timeout",
    "upstream_rq",
    "upstream_rq_mirror_overflow",
    "upstream_rq_mirror_shed",
    "log_lines_lost",
    "tls_files_refused",
    "tls_files_renewed",
    "downstream_cx_client_overflow",
    "downstream_cx_evicted",
];

#[test]
fn names_are_envoys() {
    let expected: [(Kind, &str); 4] = [
        (
            Kind::Listener,
            "downstream_cx_total downstream_cx_active downstream_cx_destroy downstream_cx_overflow \
             downstream_global_cx_overflow downstream_cx_length_ms downstream_pre_cx_timeout \
             downstream_pre_cx_active no_filter_chain_match downstream_cx_transport_socket_connect_timeout",
        ),
        (
            Kind::Http,
            "downstream_cx_total downstream_cx_active downstream_cx_http1_total downstream_cx_http1_active \
             downstream_cx_http2_total downstream_cx_http2_active downstream_rq_http2_total http2.rx_reset \
             http2.tx_reset http2.goaway_sent http2.rx_messaging_error http2.stream_refused_errors \
             downstream_cx_destroy downstream_cx_destroy_local downstream_cx_destroy_remote \
             downstream_cx_destroy_local_active_rq downstream_cx_destroy_remote_active_rq \
             downstream_cx_protocol_error downstream_cx_length_ms downstream_cx_rx_bytes_total \
             downstream_rq_ws_on_non_ws_route downstream_cx_tx_bytes_total downstream_cx_drain_close \
             downstream_cx_idle_timeout downstream_cx_max_duration_reached downstream_cx_max_requests_reached \
             downstream_rq_total downstream_rq_http1_total downstream_rq_active downstream_rq_completed downstream_rq_1xx \
             downstream_rq_2xx downstream_rq_3xx downstream_rq_4xx downstream_rq_5xx downstream_rq_time \
             downstream_rq_response_before_rq_complete downstream_rq_rx_reset downstream_rq_tx_reset \
             downstream_rq_too_large downstream_rq_idle_timeout downstream_rq_timeout downstream_rq_header_timeout \
             downstream_flow_control_paused_reading_total downstream_flow_control_resumed_reading_total no_route \
             rq_redirect rq_direct_response rq_total no_cluster downstream_rq_max_duration_reached \
             passthrough_internal_redirect_bad_location passthrough_internal_redirect_no_route \
             passthrough_internal_redirect_too_many_redirects passthrough_internal_redirect_unsafe_scheme \
             tracing.random_sampling tracing.client_enabled tracing.service_forced tracing.not_traceable \
             dropped_headers_with_underscores requests_rejected_with_underscores_in_headers",
        ),
        (
            Kind::Cluster,
            "upstream_cx_total upstream_cx_active upstream_cx_http1_total upstream_cx_http2_total http2.rx_reset \
             http2.tx_reset http2.goaway_sent http2.rx_messaging_error http2.stream_refused_errors upstream_cx_connect_fail \
             upstream_cx_connect_timeout upstream_cx_idle_timeout upstream_cx_connect_ms upstream_cx_length_ms \
             upstream_cx_destroy upstream_cx_destroy_local upstream_cx_destroy_remote \
             upstream_cx_destroy_with_active_rq upstream_cx_destroy_local_with_active_rq \
             upstream_cx_destroy_remote_with_active_rq upstream_cx_rx_bytes_total upstream_cx_tx_bytes_total \
             upstream_cx_protocol_error upstream_cx_max_requests upstream_rq_total \
             upstream_rq_active upstream_rq_cancelled upstream_rq_timeout upstream_rq_completed upstream_rq_time \
             upstream_rq_1xx upstream_rq_2xx upstream_rq_3xx upstream_rq_4xx upstream_rq_5xx upstream_rq_rx_reset \
             upstream_rq_tx_reset upstream_rq_retry upstream_rq_retry_success upstream_rq_pending_total \
             upstream_rq_pending_active upstream_flow_control_paused_reading_total \
             upstream_flow_control_resumed_reading_total membership_healthy membership_total \
             membership_degraded membership_excluded membership_change lb_healthy_panic lb_subsets_active \
             lb_subsets_created lb_subsets_removed lb_subsets_selected lb_subsets_fallback max_host_weight \
             ring_hash_lb.size ring_hash_lb.min_hashes_per_host ring_hash_lb.max_hashes_per_host \
             maglev_lb.min_entries_per_host maglev_lb.max_entries_per_host upstream_rq_retry_limit_exceeded \
             upstream_rq_retry_backoff_exponential upstream_rq_retry_backoff_ratelimited \
             retry.upstream_rq_completed upstream_rq_pending_failure_eject \
             upstream_rq_retry_overflow upstream_rq_max_duration_reached upstream_rq_per_try_timeout \
             upstream_rq_per_try_idle_timeout upstream_rq_pending_overflow upstream_cx_overflow \
             upstream_cx_none_healthy retry_or_shadow_abandoned upstream_internal_redirect_failed_total \
             upstream_internal_redirect_succeeded_total update_attempt update_success update_failure \
             update_empty update_no_rebuild",
        ),
        (
            Kind::Server,
            "uptime live state concurrency version total_connections memory_allocated \
             days_until_first_cert_expiring seconds_until_first_ocsp_response_expiring",
        ),
    ];
    for (kind, names) in expected {
        let declared: HashSet<&str> = kind.descriptors().iter().map(|descriptor| descriptor.name).collect();
        assert_eq!(declared.len(), kind.descriptors().len(), "a name stands twice in {kind:?}");
        names.split(' ').for_each(|name| assert!(declared.contains(name), "{kind:?} lacks {name}"));
        let own: Vec<_> = declared.iter().filter(|name| !names.split(' ').any(|known| known == **name)).collect();
        let own_are_known = own.iter().all(|name| RINGWAYS.contains(name));
        assert!(own_are_known, "not Envoy's: {own:?}");
    }
}
