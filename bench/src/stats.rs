//! Statistics: recorded on the request path, merged and rendered outside of it.

use ringway::stats::{ClusterStats, Distribution, HttpStats, ListenerStats, Registry};
use std::hint::black_box;
use std::sync::Arc;

/// What one exchange counts at least: requests, bytes, status and three times.
pub fn record() -> impl FnMut() {
    let registry = Registry::new();
    let http: Arc<HttpStats> = registry.scope("bench", 0);
    let listener: Arc<ListenerStats> = registry.scope("127.0.0.1_10000", 0);
    let cluster: Arc<ClusterStats> = registry.scope("app", 0);
    let mut micros = 0;
    move || {
        micros = (micros + 37) & 0xffff;
        http.downstream_rq_total.inc();
        http.downstream_rq_active.inc();
        http.downstream_cx_rx_bytes_total.add(black_box(120));
        http.downstream_cx_tx_bytes_total.add(black_box(240));
        http.count_status(black_box(200));
        http.downstream_rq_time.record(micros);
        listener.downstream_rq_time.record(micros);
        cluster.upstream_rq_total.inc();
        cluster.count_status(black_box(200));
        cluster.upstream_rq_time.record(micros);
        http.downstream_rq_active.dec();
    }
}

/// Record one time.
pub fn record_time() -> impl FnMut() {
    let registry = Registry::new();
    let cluster: Arc<ClusterStats> = registry.scope("app", 0);
    let mut micros = 0;
    move || {
        micros = (micros + 37) & 0xffff;
        cluster.upstream_rq_time.record(black_box(micros));
    }
}

/// A registry of `clusters` clusters on `shards` shards that have all had traffic.
fn used(clusters: usize, shards: usize) -> Arc<Registry> {
    let registry = Registry::new();
    for cluster in 0..clusters {
        for shard in 0..shards {
            let stats: Arc<ClusterStats> = registry.scope(&format!("app{cluster}"), shard);
            for i in 0..200 {
                stats.upstream_rq_total.inc();
                stats.count_status(if i % 50 == 0 { 503 } else { 200 });
                stats.upstream_rq_time.record(i * i * 10);
                stats.upstream_cx_connect_ms.record(i);
            }
        }
    }
    registry
}

/// Add up one histogram over two shards and read its quantiles.
pub fn merge() -> impl FnMut() {
    let registry = used(1, 2);
    let shards: [Arc<ClusterStats>; 2] = [registry.scope("app0", 0), registry.scope("app0", 1)];
    move || {
        let mut merged = Distribution::default();
        shards.iter().for_each(|shard| shard.upstream_rq_time.merge_into(&mut merged));
        assert!(black_box(merged.quantiles(&[0.5, 0.9, 0.99, 0.999])).is_some());
    }
}

/// The formats of /stats.
#[derive(Clone, Copy, Debug)]
pub enum Format {
    Text,
    Json,
    Prometheus,
}

/// Merge and render the statistics of 100 clusters on two shards.
pub fn render(format: Format) -> impl FnMut() {
    let registry = used(100, 2);
    move || {
        let text = match format {
            Format::Text => registry.render(ringway::stats::Format::Text, None, false),
            Format::Json => registry.render(ringway::stats::Format::Json, None, false),
            Format::Prometheus => registry.render(ringway::stats::Format::Prometheus, None, false),
        };
        assert!(black_box(text).len() > 100_000);
    }
}
