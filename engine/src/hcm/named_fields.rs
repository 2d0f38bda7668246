//! Names with `_` instead of `-`. Gateways to CGI, WSGI and the like make one variable of both, so that a client could
//! say under the one name what it may not say under the other.

use crate::http::{DASHED_MAX, FieldId, dash};
use ringway_config::model::{
    self, ClusterTarget, FilterOverride, Forward, HashPolicyKind, HeaderMatch, HeaderMutation, HostRewrite, HttpFilter,
    LocalRateLimit, RateLimitAction, RouteAction,
};
use std::collections::HashSet;

/// The request headers that one connection manager's configuration names: it sets, removes or believes them.
#[derive(Debug, Default)]
pub struct NamedFields(HashSet<Box<[u8]>>);

impl NamedFields {
    pub fn new(hcm: &model::Hcm) -> Self {
        let mut named = Self::default();
        named.add_all(&hcm.trust.internal_only_headers);
        named.add_mutations(&hcm.mutations);
        for filter in &hcm.http_filters {
            match filter {
                HttpFilter::LocalRateLimit(limit) => named.add_rate_limit(limit),
                HttpFilter::Fault(fault) => named.add_matches(&fault.headers),
                HttpFilter::Buffer(_)
                | HttpFilter::Compressor(_)
                | HttpFilter::Decompressor(_)
                | HttpFilter::GrpcStats(_)
                | HttpFilter::GrpcWeb(_) => {}
            }
        }
        for host in &hcm.virtual_hosts {
            named.add_mutations(&host.headers);
            named.add_overrides(&host.filters);
            for route in &host.routes {
                named.add_matches(&route.matcher.headers);
                named.add_mutations(&route.headers);
                named.add_overrides(&route.filters);
                if let RouteAction::Forward(forward) = &route.action {
                    named.add_forward(forward);
                }
            }
        }
        named
    }

    /// Whether `name`, which has a `_`, would pass for another field that the proxy or its configuration names.
    pub(super) fn shadows(&self, name: &[u8]) -> bool {
        let mut dashed = [0; DASHED_MAX];
        let dashed = dash(name, &mut dashed);
        if FieldId::lookup(dashed).is_the_proxys(dashed) {
            return true;
        }
        // Which of two names that are both there is the right one, the configuration knows.
        self.0.contains(dashed) && !self.0.contains(&*name.to_ascii_lowercase())
    }

    fn add(&mut self, name: &str) {
        self.0.insert(name.as_bytes()[..name.len().min(DASHED_MAX)].into());
    }

    fn add_all(&mut self, names: &[String]) {
        names.iter().for_each(|name| self.add(name));
    }

    fn add_mutations(&mut self, headers: &model::HeaderMutations) {
        for mutation in &headers.request {
            let (HeaderMutation::Remove(name) | HeaderMutation::Set { name, .. }) = mutation;
            self.add(name);
        }
    }

    fn add_matches(&mut self, headers: &[HeaderMatch]) {
        headers.iter().for_each(|header| self.add(&header.name));
    }

    fn add_rate_limit(&mut self, limit: &LocalRateLimit) {
        for action in limit.rate_limits.iter().flat_map(|rule| &rule.actions) {
            match action {
                RateLimitAction::RequestHeader { name, .. } => self.add(name),
                RateLimitAction::HeaderValueMatch { headers, .. } => self.add_matches(headers),
                RateLimitAction::RemoteAddress | RateLimitAction::GenericKey { .. } => {}
            }
        }
    }

    fn add_overrides(&mut self, filters: &model::FilterOverrides) {
        if let FilterOverride::Settings(limit) = &filters.local_ratelimit {
            self.add_rate_limit(limit);
        }
        if let FilterOverride::Settings(fault) = &filters.fault {
            self.add_matches(&fault.headers);
        }
    }

    fn add_forward(&mut self, forward: &Forward) {
        match &forward.target {
            ClusterTarget::Cluster(_) => {}
            ClusterTarget::Weighted(clusters) => clusters.iter().for_each(|cluster| {
                self.add_mutations(&cluster.headers);
                self.add_overrides(&cluster.filters);
            }),
            ClusterTarget::Header(name) => self.add(name),
        }
        if let Some(HostRewrite::Header(name)) = &forward.host_rewrite {
            self.add(name);
        }
        for policy in &forward.hash_policy {
            if let HashPolicyKind::Header(name) = &policy.kind {
                self.add(name);
            }
        }
        if let Some(retry) = &forward.retry {
            self.add_matches(&retry.retriable_request_headers);
        }
    }
}
