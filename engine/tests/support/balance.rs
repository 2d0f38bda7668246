//! What must hold between the statistics of a cluster, whatever has happened.

/// Sentences about what does not balance. `stat`: the value of a statistic of the cluster.
pub fn imbalances(stat: impl Fn(&str) -> i64) -> Vec<String> {
    let sum = |names: &[&str]| names.iter().map(|name| stat(name)).sum::<i64>();
    let mut found = Vec::new();
    let mut equal = |whole: &str, parts: &[&str]| {
        if stat(whole) != sum(parts) {
            let parts: Vec<String> = parts.iter().map(|name| format!("{name} {}", stat(name))).collect();
            found.push(format!("{whole} is {}, but {}", stat(whole), parts.join(" + ")));
        }
    };
    equal("upstream_cx_total", &["upstream_cx_active", "upstream_cx_destroy"]);
    equal("upstream_cx_destroy", &["upstream_cx_destroy_local", "upstream_cx_destroy_remote"]);
    let ends = ["upstream_cx_destroy_local_with_active_rq", "upstream_cx_destroy_remote_with_active_rq"];
    equal("upstream_cx_destroy_with_active_rq", &ends);
    // Each request to an endpoint ends in one way.
    let ends = [
        "upstream_rq_active",
        "upstream_rq_completed",
        "upstream_rq_rx_reset",
        "upstream_rq_tx_reset",
        "upstream_rq_pending_failure_eject",
        "retry.upstream_rq_completed",
        "upstream_internal_redirect_succeeded_total",
    ];
    equal("upstream_rq_total", &ends);
    let classes = ["1xx", "2xx", "3xx", "4xx", "5xx"].map(|class| format!("upstream_rq_{class}"));
    equal("upstream_rq_completed", &classes.each_ref().map(String::as_str));
    found
}
