//! `/clusters`: settings, health and statistics of each cluster's endpoints, in the form of Envoy's clusters_handler.cc.

use super::body::Body;
use super::message::{Answer, Query, TEXT};
use super::state::State;
use crate::cluster::outlier::Origin;
use crate::cluster::{ClusterShared, HealthFlags, Host};
use crate::shard::Plan;
use crate::stats::{ClusterStats, HostStats, Registry};
use crate::upstream::limits::{Priority, Resource};
use ringway_config::model::Address;
use serde_json::{Value, json};
use std::fmt::Write;
use std::sync::Arc;

/// Envoy's value for a limit that is not set.
const UNLIMITED: u32 = u32::MAX;

/// The limits that Envoy shows, with its names.
const SHOWN_LIMITS: [(Resource, &str); 4] = [
    (Resource::Connections, "max_connections"),
    (Resource::PendingRequests, "max_pending_requests"),
    (Resource::Requests, "max_requests"),
    (Resource::Retries, "max_retries"),
];

pub(super) fn clusters(state: &State, query: &Query) -> Answer {
    let json = query.get("format") == Some("json");
    let clusters = Clusters { plan: state.loaded().plan, json, next: 0, hosts: None };
    Answer::streamed(if json { "application/json" } else { TEXT }, Body::Clusters(clusters))
}

/// The clusters on their way to a reader, one host at a time.
pub(super) struct Clusters {
    plan: Arc<Plan>,
    json: bool,
    /// The next cluster.
    next: usize,
    /// The hosts of the cluster that is being shown, and the next one of them.
    hosts: Option<(Arc<[Arc<Host>]>, usize)>,
}

impl Clusters {
    /// Shows a host, or what stands before the hosts of a cluster. Returns whether there is more.
    pub(super) fn step(&mut self, registry: &Registry, out: &mut String) -> bool {
        if let Some((hosts, at)) = &mut self.hosts {
            let cluster = &self.plan.clusters[self.next - 1];
            match hosts.get(*at) {
                Some(host) if self.json => {
                    out.push_str(if *at == 0 { "" } else { "," });
                    out.push_str(&host_status(host).to_string());
                }
                // Writing to a String cannot fail.
                Some(host) => drop(write_host(out, &cluster.config.name, host)),
                None => {
                    out.push_str(if self.json { "]}" } else { "" });
                    self.hosts = None;
                    return true;
                }
            }
            *at += 1;
            return true;
        }
        if self.json {
            out.push_str(if self.next == 0 { "{\"cluster_statuses\":[" } else { "" });
        }
        let Some(cluster) = self.plan.clusters.get(self.next) else {
            out.push_str(if self.json { "]}\n" } else { "" });
            return false;
        };
        if self.json {
            out.push_str(if self.next == 0 { "" } else { "," });
            let head = cluster_status(cluster).to_string();
            out.push_str(head.strip_suffix('}').unwrap_or(&head));
            out.push_str(",\"host_statuses\":[");
        } else {
            let _ = write_cluster(out, cluster, registry);
        }
        (self.hosts, self.next) = (Some((cluster.hosts(), 0)), self.next + 1);
        true
    }
}

fn write_cluster(out: &mut String, cluster: &ClusterShared, registry: &Registry) -> std::fmt::Result {
    let name = &cluster.config.name;
    writeln!(out, "{name}::observability_name::{name}")?;
    if let Some(outlier) = &cluster.outlier {
        for (origin, prefix) in [(Origin::External, ""), (Origin::Local, "local_origin_")] {
            let (average, threshold) = outlier.success_rates(origin);
            writeln!(out, "{name}::outlier::{prefix}success_rate_average::{average}")?;
            writeln!(out, "{name}::outlier::{prefix}success_rate_ejection_threshold::{threshold}")?;
        }
    }
    for priority in Priority::ALL {
        for (resource, key) in SHOWN_LIMITS {
            let limit = cluster.limits.usage(resource, priority).limit.unwrap_or(UNLIMITED);
            writeln!(out, "{name}::{}_priority::{key}::{limit}", priority.name())?;
        }
    }
    writeln!(out, "{name}::added_via_api::false")?;
    let sum = |read: fn(&ClusterStats) -> i64| registry.sum(name, read);
    writeln!(out, "{name}::upstream_cx_active::{}", sum(|stats| stats.upstream_cx_active.get()))?;
    writeln!(out, "{name}::upstream_rq_active::{}", sum(|stats| stats.upstream_rq_active.get()))?;
    writeln!(out, "{name}::upstream_rq_total::{}", sum(|stats| stats.upstream_rq_total.get() as i64))
}

fn write_host(out: &mut String, cluster: &str, host: &Host) -> std::fmt::Result {
    let mut line = |key: &str, value: &dyn std::fmt::Display| writeln!(out, "{cluster}::{}::{key}::{value}", host.name);
    for figure in HostStats::FIGURES {
        line(figure.name, &host.state.sum(figure.read))?;
    }
    line("hostname", &host.spec.hostname.as_deref().unwrap_or(""))?;
    line("health_flags", &host.flags())?;
    if let Some(failure) = host.state.failure() {
        line("health_check_failure", &failure)?;
    }
    line("weight", &host.spec.weight)?;
    line("region", &"")?;
    line("zone", &host.spec.locality)?;
    line("sub_zone", &"")?;
    line("canary", &false)?;
    line("priority", &host.spec.priority)?;
    line("success_rate", &host.state.monitor.success_rate(Origin::External))?;
    line("local_origin_success_rate", &host.state.monitor.success_rate(Origin::Local))
}

/// Envoy: admin.v3.ClusterStatus, without its hosts.
fn cluster_status(cluster: &Arc<ClusterShared>) -> Value {
    let thresholds = Priority::ALL.map(|priority| {
        let mut status = json!({ "priority": priority.name().to_ascii_uppercase() });
        for (resource, key) in SHOWN_LIMITS {
            status[key] = cluster.limits.usage(resource, priority).limit.unwrap_or(UNLIMITED).into();
        }
        status
    });
    let mut status = json!({
        "name": cluster.config.name,
        "observability_name": cluster.config.name,
        "added_via_api": false,
        "circuit_breakers": { "thresholds": thresholds },
    });
    if let Some(outlier) = &cluster.outlier {
        for (origin, prefix) in [(Origin::External, ""), (Origin::Local, "local_origin_")] {
            let (_, threshold) = outlier.success_rates(origin);
            if threshold > 0.0 {
                status[format!("{prefix}success_rate_ejection_threshold")] = json!({ "value": threshold });
            }
        }
    }
    status
}

/// Envoy: admin.v3.HostStatus.
fn host_status(host: &Host) -> Value {
    let address = match &host.spec.address {
        Address::Ip(ip) => json!({ "socket_address": { "address": ip.ip().to_string(), "port_value": ip.port() } }),
        Address::Unix(path) => json!({ "pipe": { "path": path.display().to_string() } }),
    };
    let stats = HostStats::FIGURES.map(|figure| {
        let kind = if figure.is_gauge { "GAUGE" } else { "COUNTER" };
        json!({ "name": figure.name, "type": kind, "value": host.state.sum(figure.read).to_string() })
    });
    let flags = host.flags();
    let mut health = json!({ "eds_health_status": "HEALTHY" });
    for (flag, key) in [
        (HealthFlags::FAILED_ACTIVE_HC, "failed_active_health_check"),
        (HealthFlags::FAILED_OUTLIER_CHECK, "failed_outlier_check"),
        (HealthFlags::DEGRADED_ACTIVE_HC, "failed_active_degraded_check"),
        (HealthFlags::PENDING_DYNAMIC_REMOVAL, "pending_dynamic_removal"),
        (HealthFlags::EXCLUDED_VIA_IMMEDIATE_HC_FAIL, "excluded_via_immediate_hc_fail"),
        (HealthFlags::ACTIVE_HC_TIMEOUT, "active_hc_timeout"),
        (HealthFlags::FAILED_DNS_LOOKUP, "failed_dns_lookup"),
    ] {
        if flags.contains(flag) {
            health[key] = true.into();
        }
    }
    if let Some(failure) = host.state.failure() {
        health["health_check_failure"] = (*failure).into();
    }
    let mut status = json!({
        "address": address,
        "stats": stats,
        "health_status": health,
        "weight": host.spec.weight,
        "hostname": host.spec.hostname.as_deref().unwrap_or(""),
        "locality": { "zone": *host.spec.locality },
        "priority": host.spec.priority,
    });
    for (origin, key) in [(Origin::External, "success_rate"), (Origin::Local, "local_origin_success_rate")] {
        let rate = host.state.monitor.success_rate(origin);
        if rate >= 0.0 {
            status[key] = json!({ "value": rate });
        }
    }
    status
}
