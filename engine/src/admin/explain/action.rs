//! The action of the route that takes the request: its cluster, timeouts, filters and header edits.

use super::page::Page;
use crate::http::{Exchange, RouteRef, is_valid_authority};
use crate::route::explain::{Tried, per_cent};
use crate::route::{RouteTable, rewrite};
use crate::router::retry::TryPolicy;
use ringway_config::model::{
    self, AppendAction, Cluster, ClusterTarget, Config, Discovery, FilterOverride, FilterOverrides, Forward, Hcm,
    HeaderMutation, HeaderMutations, HostRewrite, HttpFilter, LbPolicy, Place, Priority, RetryOn, RetryPolicy, Route,
    RouteAction, Texts, VirtualHost, WeightedCluster,
};
use ringway_config::quoted;
use std::time::Duration;

/// The surroundings of a route.
pub(super) struct Scene<'s> {
    pub config: &'s Config,
    pub hcm: &'s Hcm,
    pub host: &'s VirtualHost,
    pub exchange: &'s Exchange,
    /// Of `host` alone.
    pub table: &'s RouteTable,
}

pub(super) fn describe(page: &mut Page<'_>, scene: &Scene<'_>, tried: &Tried<'_>) {
    let route = tried.route;
    let name = route.name.as_deref().map(|name| format!(" {}", quoted(name))).unwrap_or_default();
    page.line_at("taken", format!("route {}{name}", tried.index + 1), route.place);
    match &route.action {
        RouteAction::Forward(forward) => describe_forward(page, scene, tried.index, forward),
        RouteAction::Redirect(redirect) => {
            let (head, view) = (&scene.exchange.request.head, scene.exchange.request.view());
            let mut location = Vec::new();
            rewrite::location(redirect, scene.table.route(place_of(tried.index)), head, view, &mut location);
            page.line("redirect", format!("status {} to {}", redirect.status, String::from_utf8_lossy(&location)));
        }
        RouteAction::DirectResponse(response) => {
            let body = response.body.len();
            page.line("response", format!("status {} with a body of {body} bytes, from here", response.status));
        }
    }
    let weighted = match &route.action {
        RouteAction::Forward(forward) => weighted(forward),
        RouteAction::Redirect(_) | RouteAction::DirectResponse(_) => &[],
    };
    filters(page, scene, route, weighted);
    headers(page, scene, route, weighted);
}

fn place_of(route: usize) -> RouteRef {
    RouteRef { virtual_host: 0, route: route as u32 }
}

fn weighted(forward: &Forward) -> &[WeightedCluster] {
    match &forward.target {
        ClusterTarget::Weighted(clusters) => clusters,
        ClusterTarget::Cluster(_) | ClusterTarget::Header(_) => &[],
    }
}

fn describe_forward(page: &mut Page<'_>, scene: &Scene<'_>, route: usize, forward: &Forward) {
    let clusters = &scene.config.clusters;
    match &forward.target {
        ClusterTarget::Cluster(index) => describe_cluster(page, "", &clusters[*index], forward.priority),
        ClusterTarget::Weighted(list) => {
            let total: u64 = list.iter().map(|cluster| u64::from(cluster.weight)).sum();
            for weighted in list {
                let share = u64::from(weighted.weight) * 1_000_000 / total.max(1);
                let label = format!("{} %: ", per_cent(share as u32));
                describe_cluster(page, &label, &clusters[weighted.cluster], forward.priority);
            }
        }
        ClusterTarget::Header(name) => {
            let value = header(scene.exchange, name);
            let named = clusters.iter().find(|cluster| value.as_deref() == Some(cluster.name.as_str()));
            match named {
                Some(cluster) => describe_cluster(page, &format!("as {name} says: "), cluster, forward.priority),
                None => {
                    let status = forward.cluster_not_found_status;
                    let value = value.map_or_else(|| "is absent".into(), |value| format!("says {}", quoted(&value)));
                    page.line("cluster", format!("{name} {value}, and there is no such cluster: status {status}"));
                }
            }
        }
    }
    describe_rewrites(page, scene, route, forward);
    describe_times(page, scene, forward);
    for mirror in &forward.mirrors {
        let cluster = &clusters[mirror.cluster];
        let text = format!("{} % of the requests to cluster {}", per_cent(mirror.fraction.per_million), cluster.name);
        page.line_at("mirror", text, cluster.place);
    }
    for policy in &forward.hash_policy {
        page.line("hash", &policy.text);
    }
    if !forward.metadata_match.is_empty() {
        page.line("subset", pairs(&forward.metadata_match));
    }
    if let Some(redirect) = &forward.internal_redirect {
        let codes: Vec<_> = redirect.codes.iter().map(u16::to_string).collect();
        let cross = if redirect.allow_cross_scheme { ", also to another scheme" } else { "" };
        page.line(
            "redirects",
            format!("up to {} of status {} are followed here{cross}", redirect.max_redirects, codes.join(", ")),
        );
    }
}

/// The first line of this name.
fn header(exchange: &Exchange, name: &str) -> Option<String> {
    let view = exchange.request.view();
    let field = exchange.request.head.fields.find(name.as_bytes(), view)?;
    Some(String::from_utf8_lossy(field.value.of(view)).into_owned())
}

fn pairs(pairs: &[(String, String)]) -> String {
    pairs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(", ")
}

fn describe_cluster(page: &mut Page<'_>, label: &str, cluster: &Cluster, priority: Priority) {
    let discovery = match cluster.discovery {
        Discovery::Static => "static",
        Discovery::StrictDns(_) => "strict_dns",
        Discovery::LogicalDns(_) => "logical_dns",
    };
    let policy = match cluster.lb_policy {
        LbPolicy::RoundRobin { .. } => "round_robin",
        LbPolicy::LeastRequest { .. } => "least_request",
        LbPolicy::Random => "random",
        LbPolicy::RingHash { .. } => "ring_hash",
        LbPolicy::Maglev { .. } => "maglev",
        LbPolicy::PeakEwma { .. } => "peak_ewma",
    };
    let endpoints = cluster.endpoints.len();
    let text = format!("{label}{}: {discovery}, {endpoints} endpoint(s), {policy}", cluster.name);
    let connect = written(&cluster.texts, "connect_timeout", Some(cluster.connect_timeout));
    page.line_at("cluster", format!("{text}, connect_timeout {connect}"), cluster.place);
    let (name, limits) = match priority {
        Priority::Default => ("default", &cluster.circuit_breakers[0]),
        Priority::High => ("high", &cluster.circuit_breakers[1]),
    };
    if *limits != model::CircuitBreakers::default() {
        let limit = |name: &str, value: Option<u32>| value.map(|value| format!("{name} {value}"));
        let budget = limits.retry_budget.as_ref().map(|budget| {
            let share = per_cent(budget.budget_per_10_000 * 100);
            format!("retry_budget {share} %, at least {}", budget.min_retry_concurrency)
        });
        let all = [
            limit("max_connections", limits.max_connections),
            limit("max_pending_requests", limits.max_pending_requests),
            limit("max_requests", limits.max_requests),
            limit("max_retries", limits.max_retries),
            budget,
            limit("max_connections_per_host", limits.max_connections_per_host),
        ];
        page.line("limits", format!("priority {name}: {}", all.into_iter().flatten().collect::<Vec<_>>().join(", ")));
    }
    for check in &cluster.health_checks {
        let interval = written(&check.texts, "interval", Some(check.interval));
        let timeout = written(&check.texts, "timeout", Some(check.timeout));
        page.line_at("health", format!("every {interval}, timeout {timeout}"), check.place);
    }
    if let Some(outlier) = &cluster.outlier_detection {
        let time = written(&outlier.texts, "base_ejection_time", Some(outlier.base_ejection_time));
        page.line_at("outliers", format!("ejected for {time} and longer"), outlier.place);
    }
}

fn describe_rewrites(page: &mut Page<'_>, scene: &Scene<'_>, route: usize, forward: &Forward) {
    let (head, view) = (&scene.exchange.request.head, scene.exchange.request.view());
    if let Some(rewrite) = &forward.path_rewrite {
        let mut target = Vec::new();
        let route = scene.table.route(place_of(route));
        rewrite::target(rewrite, route, head, view, &mut target);
        page.line("path", format!("becomes {}", String::from_utf8_lossy(&target)));
    }
    for cluster in weighted(forward) {
        if let Some(host) = &cluster.host_rewrite {
            let name = &scene.config.clusters[cluster.cluster].name;
            page.line("host", format!("becomes {host} for cluster {name}"));
        }
    }
    let becomes = match &forward.host_rewrite {
        None => return,
        Some(HostRewrite::Literal(host)) => format!("becomes {host}"),
        Some(HostRewrite::Auto) => "becomes the endpoint's host name".into(),
        Some(HostRewrite::Header(name)) => match header(scene.exchange, name) {
            Some(host) if is_valid_authority(host.as_bytes()) => format!("becomes {host}, as {name} says"),
            Some(host) => format!("stays, as {name} says {}, which is no host", quoted(&host)),
            None => format!("stays, as there is no {name}"),
        },
        Some(HostRewrite::PathRegex(regex)) => {
            let mut host = Vec::new();
            rewrite::substitute_path(regex, head, view, &mut host);
            let text = String::from_utf8_lossy(&host);
            match is_valid_authority(&host) {
                true => format!("becomes {text}, from the path"),
                false => format!("stays, as {} from the path is no host", quoted(&text)),
            }
        }
    };
    page.line("host", becomes);
}

/// The timeouts and retries in force: the route's settings, and what the request may change of them.
fn describe_times(page: &mut Page<'_>, scene: &Scene<'_>, forward: &Forward) {
    let exchange = scene.exchange;
    let may_ask = exchange.facts.is_internal.then_some(scene.hcm.limits.max_requested_retries);
    let policy = TryPolicy::new(forward, &exchange.request.head, exchange.request.view(), may_ask);
    let timeout = match policy.timeouts.route == forward.timeout {
        true => written(&forward.texts, "timeout", forward.timeout),
        false => format!("{}, as x-envoy-upstream-rq-timeout-ms asks", time(policy.timeouts.route)),
    };
    page.line_at("timeout", timeout, forward.timeout_place);
    let head = match policy.timeouts.response_head == forward.response_head_timeout {
        true => written(&forward.texts, "response_head_timeout", forward.response_head_timeout),
        false => time(policy.timeouts.response_head),
    };
    let timeouts = &scene.hcm.timeouts;
    let inherited = |key, own: Option<Option<Duration>>, other| match own {
        Some(own) => written(&forward.texts, key, own),
        None => written(&timeouts.texts, key, other),
    };
    let idle = inherited("stream_idle_timeout", forward.stream_idle_timeout, timeouts.stream_idle);
    let whole = inherited("max_stream_duration", forward.max_stream_duration, timeouts.max_stream_duration);
    page.line("", format!("response_head_timeout {head}, stream_idle_timeout {idle}, max_stream_duration {whole}"));
    if !policy.retries() {
        let why = if policy.config.is_some() { "none for this request" } else { "none" };
        return page.line_at("retries", why, policy.config.map_or(Place::default(), |config| config.place));
    }
    let names = RetryOn::NAMES.iter().filter(|(flag, _)| policy.retry_on.contains(*flag)).map(|(_, name)| *name);
    let names = names.collect::<Vec<_>>().join(", ");
    let text = format!("up to {} on {names}", policy.num_retries);
    page.line_at("retries", text, policy.config.map_or(Place::default(), |config| config.place));
    let of_policy = |key, own: fn(&RetryPolicy) -> Option<Duration>, in_force| match policy.config {
        Some(config) if own(config) == in_force => written(&config.texts, key, in_force),
        _ => time(in_force),
    };
    let per_try = of_policy("per_try_timeout", |config| config.per_try_timeout, policy.timeouts.per_try);
    let idle = of_policy("per_try_idle_timeout", |config| config.per_try_idle_timeout, policy.timeouts.per_try_idle);
    let hedging = if policy.hedge_on_per_try_timeout { ", then hedged" } else { "" };
    page.line("", format!("per_try_timeout {per_try}{hedging}, per_try_idle_timeout {idle}"));
    if let Some(config) = policy.config {
        let base = written(&config.texts, "base_interval", Some(config.back_off.0));
        let max = written(&config.texts, "max_interval", Some(config.back_off.1));
        page.line("", format!("back-off {base} to {max}"));
    }
}

/// A time as the file writes it, or its default.
fn written(texts: &Texts, key: &str, value: Option<Duration>) -> String {
    texts.of(key).map_or_else(|| time(value), str::to_owned)
}

fn time(limit: Option<Duration>) -> String {
    limit.map_or_else(|| "off".into(), span)
}

/// As a file would write it: "250ms", "1.5s".
fn span(time: Duration) -> String {
    match time.as_millis() {
        ms if ms == 0 || ms >= 1000 => format!("{}s", time.as_secs_f64()),
        ms => format!("{ms}ms"),
    }
}

/// Each filter with the settings in force here.
fn filters(page: &mut Page<'_>, scene: &Scene<'_>, route: &Route, weighted: &[WeightedCluster]) {
    for filter in &scene.hcm.http_filters {
        let name = filter.name();
        for cluster in weighted {
            if let Some((settings, place)) = overridden(filter, &cluster.filters) {
                let cluster = &scene.config.clusters[cluster.cluster].name;
                let text = format!("{name}: {settings}, with cluster {cluster}");
                page.line_at("filter", text, place.unwrap_or(route.place));
            }
        }
        let (settings, place) = if let Some((settings, place)) = overridden(filter, &route.filters) {
            (format!("{settings}, by the route"), place.unwrap_or(route.place))
        } else if let Some((settings, place)) = overridden(filter, &scene.host.filters) {
            (format!("{settings}, by the virtual host"), place.unwrap_or(scene.host.place))
        } else {
            own(filter)
        };
        page.line_at("filter", format!("{name}: {settings}"), place);
    }
}

macro_rules! settings {
    ($($name:ident $filter:ident;)*) => {
        fn own(filter: &HttpFilter) -> (String, Place) {
            match filter {
                $(HttpFilter::$filter(settings) => (settings.text.clone(), settings.place),)*
            }
        }

        /// The settings that replace the chain's, if there are any.
        fn overridden(filter: &HttpFilter, overrides: &FilterOverrides) -> Option<(String, Option<Place>)> {
            match filter {
                $(HttpFilter::$filter(_) => match &overrides.$name {
                    FilterOverride::None => None,
                    FilterOverride::Disabled => Some(("off".into(), None)),
                    FilterOverride::Settings(settings) => Some((settings.text.clone(), Some(settings.place))),
                },)*
            }
        }
    };
}

ringway_config::http_filters!(settings);

/// Edits in their order.
fn headers(page: &mut Page<'_>, scene: &Scene<'_>, route: &Route, weighted: &[WeightedCluster]) {
    for cluster in weighted {
        let name = &scene.config.clusters[cluster.cluster].name;
        edits(page, &cluster.headers, &format!(", with cluster {name}"), route.place);
    }
    edits(page, &route.headers, "", route.place);
    edits(page, &scene.host.headers, ", by the virtual host", scene.host.place);
    edits(page, &scene.hcm.mutations, ", by the connection manager", Place::default());
}

fn edits(page: &mut Page<'_>, mutations: &HeaderMutations, whose: &str, place: Place) {
    for (label, list) in [("request", &mutations.request), ("response", &mutations.response)] {
        for mutation in list {
            page.line_at("header", format!("{label} header {}{whose}", edit(mutation)), place);
        }
    }
}

fn edit(mutation: &HeaderMutation) -> String {
    match mutation {
        HeaderMutation::Remove(name) => format!("{name} is removed"),
        HeaderMutation::Set { name, written, action, .. } => {
            let action = match action {
                AppendAction::AppendIfExistsOrAdd => "is added, beside others",
                AppendAction::AddIfAbsent => "is added where it is absent",
                AppendAction::OverwriteIfExistsOrAdd => "is set",
                AppendAction::OverwriteIfExists => "is set where it exists",
            };
            format!("{name} {action}: {written}")
        }
    }
}
