//! `route`: the cluster that a request goes to, and how it gets there.

use std::time::Duration;

use super::header::mutations;
use super::matcher::fraction;
use super::{Resolver, is_written};
use crate::diagnostic::{Problem, name_list};
use crate::document;
use crate::model::{
    ClusterTarget, Forward, HashPolicy, HashPolicyKind, HostRewrite, InternalRedirect, Mirror, PathRewrite, Place,
    RegexRewrite, RetryPolicy, TemplatePiece, WeightedCluster,
};
use crate::place::Origin;
use crate::reader::{ClusterName, List, Located, Map, Name, OffOr, Slot, Text, Written};

/// Envoy: InternalRedirectPolicy.redirect_response_codes.
const DEFAULT_REDIRECT_CODES: &[u16] = &[302];
/// Envoy: RouteAction.ClusterNotFoundResponseCode.
const DEFAULT_NOT_FOUND_STATUS: u16 = 503;
/// Where the route says nothing of the response's time.
const DEFAULT_RESPONSE_HEAD_TIMEOUT: Duration = Duration::from_secs(60);

impl<'d> Resolver<'d, '_, '_> {
    pub(super) fn forward(
        &mut self,
        written: &'d Located<document::Forward>,
        matcher: Option<&'d Located<document::RouteMatch>>,
        inherited: Option<&RetryPolicy>,
    ) -> Option<Forward> {
        let path_rewrite = self.path_rewrite(written, matcher);
        let host_rewrite = self.host_rewrite(written);
        let retry = match written.retry_policy.given().map(|policy| &policy.value) {
            Some(OffOr::On(policy)) => Some(self.retry_policy(policy)),
            Some(OffOr::Off) => None,
            None => inherited.cloned(),
        };
        self.check_hedging(written, retry.as_ref());
        self.check_hash(written);
        self.check_calls(written, matcher);
        let hash_policy = written.hash_policy.items().iter().filter_map(|policy| self.hash_policy(policy)).collect();
        let mirrors = written.request_mirror_policies.items();
        let mirrors = mirrors.iter().filter_map(|mirror| self.mirror(mirror)).collect();
        let internal_redirect = written.internal_redirect_policy.given().map(|policy| self.internal_redirect(policy));
        let (timeout_place, default_head) = match is_written(&written.timeout.origin, &written.origin) {
            true => (self.problems.place(&written.timeout.origin), None),
            false => (Place::default(), Some(DEFAULT_RESPONSE_HEAD_TIMEOUT)),
        };
        let times = [
            ("timeout", Some(&written.timeout.origin)),
            ("response_head_timeout", written.response_head_timeout.origin()),
            ("stream_idle_timeout", written.stream_idle_timeout.origin()),
            ("max_stream_duration", written.max_stream_duration.origin()),
            ("grpc_timeout_header_max", written.grpc_timeout_header_max.origin()),
            ("grpc_timeout_header_offset", written.grpc_timeout_header_offset.origin()),
        ];
        let texts = self.texts(document::Forward::spec(), &written.origin, &times);
        Some(Forward {
            target: self.target(written)?,
            cluster_not_found_status: written.cluster_not_found_status.value().unwrap_or(DEFAULT_NOT_FOUND_STATUS),
            path_rewrite,
            host_rewrite,
            append_x_forwarded_host: written.append_x_forwarded_host.value,
            timeout: written.timeout.0,
            response_head_timeout: written.response_head_timeout.value().unwrap_or(default_head),
            stream_idle_timeout: written.stream_idle_timeout.value(),
            max_stream_duration: written.max_stream_duration.value(),
            grpc_timeout: self.grpc_timeout(written),
            retry,
            hedge_on_per_try_timeout: written.hedge_on_per_try_timeout.value,
            hash_policy,
            mirrors,
            internal_redirect,
            priority: written.priority.0,
            metadata_match: pairs(&[&written.metadata_match]),
            timeout_place,
            texts,
        })
    }

    fn target(&mut self, written: &'d Located<document::Forward>) -> Option<ClusterTarget> {
        let keys = [
            ("cluster", written.cluster.origin()),
            ("weighted_clusters", written.weighted_clusters.origin()),
            ("cluster_header", written.cluster_header.origin()),
        ];
        self.exactly_one(&written.origin, written.has_unknown, &keys, "the route names no cluster");
        if let (Some(status), None) = (written.cluster_not_found_status.origin(), written.cluster_header.origin()) {
            let problem = Problem::at_key(status, "`cluster_not_found_status` has no effect without `cluster_header`");
            self.problems.push(problem.hint(Some("a cluster that is named in the file always exists")));
        }
        // Every target is checked, even if there is one too many.
        let weighted = written.weighted_clusters.given().map(|list| self.weighted_clusters(list, written));
        let cluster = written.cluster.given().and_then(|name| {
            self.check_metadata_match(name, &[&written.metadata_match]);
            self.cluster_named(name)
        });
        self.names_are_dynamic |= written.cluster_header.origin().is_some();
        let header = written.cluster_header.value().map(ClusterTarget::Header);
        cluster.map(ClusterTarget::Cluster).or(weighted.map(ClusterTarget::Weighted)).or(header)
    }

    fn weighted_clusters(
        &mut self,
        written: &'d Located<List<document::WeightedCluster>>,
        route: &'d Located<document::Forward>,
    ) -> Vec<WeightedCluster> {
        let sum: u64 = written.items.iter().filter_map(|it| it.weight.given()).map(|weight| weight.0).sum();
        let is_complete = !written.is_incomplete && written.items.iter().all(|it| it.weight.given().is_some());
        if written.is_empty {
            let problem = Problem::at(&written.origin, "the list names no cluster");
            self.problems.push(problem.hint(Some("such as [{ cluster = \"app\", weight = 90 }, { ... }]")));
        } else if sum == 0 && is_complete {
            let problem = Problem::at(&written.origin, "every weight is 0: no cluster would get a request");
            self.problems.push(problem.hint(Some("give at least one of them a weight")));
        } else if sum > u64::from(u32::MAX) {
            let problem = Problem::at(&written.origin, format!("the weights add up to {sum}, more than {}", u32::MAX));
            self.problems.push(problem.hint(Some("divide them all by the same number")));
        }
        written.items.iter().filter_map(|cluster| self.weighted_cluster(cluster, route)).collect()
    }

    fn weighted_cluster(
        &mut self,
        written: &'d Located<document::WeightedCluster>,
        route: &'d Located<document::Forward>,
    ) -> Option<WeightedCluster> {
        let headers = self.mutations(mutations!(written));
        let filters = self.filter_overrides(&written.filters);
        let maps = [&route.metadata_match, &written.metadata_match];
        let name = written.cluster.given()?;
        self.check_metadata_match(name, &maps);
        Some(WeightedCluster {
            cluster: self.cluster_named(name)?,
            weight: written.weight.given()?.to_u32(),
            headers,
            filters,
            host_rewrite: written.host_rewrite.value(),
            metadata_match: pairs(&maps),
        })
    }

    /// The index of the cluster, if there is one of this name.
    pub(super) fn cluster_named(&mut self, name: &Located<ClusterName>) -> Option<usize> {
        let written = &name.0;
        if let Some((index, _)) = self.clusters.get(written.as_str()) {
            self.used.insert(*index);
            return Some(*index);
        }
        let near = self.problems.suggest(written, self.cluster_names.iter().copied());
        let hint = match near {
            Some(near) => Some(format!("did you mean `{near}`?")),
            None if self.cluster_names.is_empty() => Some(format!(
                "the file has no clusters: add [[clusters]] with name = {written:?} and endpoints = [...]"
            )),
            None => None,
        };
        let mut problem = Problem::at(&name.origin, format!("there is no cluster `{written}`"));
        if !self.cluster_names.is_empty() {
            problem = problem.allowed(name_list(self.cluster_names.iter().copied()));
        }
        self.problems.push(problem.hint(hint));
        None
    }

    /// Without a selector with the same keys, a metadata match never finds an endpoint.
    fn check_metadata_match(&mut self, name: &Located<ClusterName>, maps: &[&'d Slot<Map<Name, Text>>]) {
        let Some(origin) = maps.iter().rev().find_map(|map| map.given()).map(|map| &map.origin) else {
            return;
        };
        let Some((_, cluster)) = self.clusters.get(name.0.as_str()) else {
            return;
        };
        let Some(subsets) = cluster.subsets.given() else {
            if cluster.subsets.origin().is_none() && !cluster.has_unknown {
                let problem = Problem::at_key(origin, format!("the cluster `{}` has no subsets", name.0));
                self.problems.push(problem.hint(Some("write subsets = { selectors = [[\"key\"]] } in the cluster")));
            }
            return;
        };
        let wanted: Vec<_> = pairs(maps).into_iter().map(|(key, _)| key).collect();
        let selectors = subsets.selectors.items().iter().map(|selector| {
            let mut keys: Vec<_> = selector.items.iter().map(|key| key.0.clone()).collect();
            keys.sort();
            keys
        });
        let selectors: Vec<_> = selectors.collect();
        let is_readable = subsets.selectors.given().is_some_and(|list| !list.is_incomplete);
        if is_readable && !wanted.is_empty() && !selectors.contains(&wanted) {
            let allowed: Vec<_> = selectors.iter().map(|selector| selector.join(" and ")).collect();
            let message = format!("no selector of `{}` has the keys {}", name.0, wanted.join(" and "));
            self.problems.push(Problem::at(origin, message).allowed(allowed.join("; ")));
        }
    }

    fn path_rewrite(
        &mut self,
        written: &'d Located<document::Forward>,
        matcher: Option<&'d Located<document::RouteMatch>>,
    ) -> Option<PathRewrite> {
        let keys = [
            ("prefix_rewrite", written.prefix_rewrite.origin()),
            ("regex_rewrite", written.regex_rewrite.origin()),
            ("template_rewrite", written.template_rewrite.origin()),
        ];
        self.at_most_one(&keys);
        self.check_prefix_rewrite(written.prefix_rewrite.origin(), matcher);
        if let Some(rewrite) = written.template_rewrite.given() {
            self.check_variables(rewrite, matcher);
        }
        let prefix = written.prefix_rewrite.value().map(PathRewrite::Prefix);
        let regex = written.regex_rewrite.given().and_then(|rewrite| self.regex_rewrite(rewrite));
        let template = written.template_rewrite.value().map(PathRewrite::Template);
        prefix.or(regex.map(PathRewrite::Regex)).or(template)
    }

    /// A pattern and a template have no prefix that could be replaced.
    pub(super) fn check_prefix_rewrite(
        &mut self,
        rewrite: Option<&Origin>,
        matcher: Option<&Located<document::RouteMatch>>,
    ) {
        let (Some(rewrite), Some(matcher)) = (rewrite, matcher) else {
            return;
        };
        let (kind, hint) = match (matcher.regex.origin(), matcher.template.origin()) {
            (Some(_), _) => ("regex", "write regex_rewrite, or match by prefix, path or path_separated_prefix"),
            (None, Some(_)) => ("template", "write template_rewrite in `route`, or match by prefix or path"),
            (None, None) => return,
        };
        let problem = Problem::at_key(rewrite, format!("`prefix_rewrite` does not apply to a route with match.{kind}"));
        self.problems.push(problem.hint(Some(hint)));
    }

    /// Variables of a rewrite must be in the template of the match.
    fn check_variables(
        &mut self,
        rewrite: &Located<document::TemplateRewrite>,
        matcher: Option<&'d Located<document::RouteMatch>>,
    ) {
        let Some(matcher) = matcher else { return };
        let Some(template) = matcher.template.given() else {
            if matcher.template.origin().is_none() && !matcher.has_unknown {
                let problem = Problem::at_key(&rewrite.origin, "`template_rewrite` needs match.template");
                self.problems.push(problem.hint(Some("such as match = { template = \"/videos/{id}\" }")));
            }
            return;
        };
        let known: Vec<_> = template.0.regex.regex().capture_names().flatten().collect();
        let mut reported = Vec::new();
        for piece in &rewrite.0 {
            let TemplatePiece::Variable(name) = piece else { continue };
            if known.contains(&name.as_str()) || reported.contains(&name) {
                continue;
            }
            reported.push(name);
            let near = self.problems.suggest(name, known.iter().copied());
            let mut problem = Problem::at(&rewrite.origin, format!("match.template has no variable `{name}`"));
            if !known.is_empty() {
                problem = problem.allowed(known.join(", "));
            }
            self.problems.push(problem.hint(near.map(|near| format!("did you mean {{{near}}}?"))));
        }
    }

    pub(super) fn regex_rewrite(&mut self, written: &'d Located<document::RegexRewrite>) -> Option<RegexRewrite> {
        let pattern = written.pattern.given()?;
        self.check_cost(&pattern.origin, &pattern.0);
        let substitution = written.substitution.given()?;
        let last_group = pattern.0.regex().captures_len() - 1;
        let groups = substitution.0.iter().filter_map(|(_, group)| *group);
        if let Some(group) = groups.max().filter(|group| usize::from(*group) > last_group) {
            let problem = Problem::at(&substitution.origin, format!("the pattern has no group {group}"));
            self.problems.push(problem.allowed(match last_group {
                0 => "\\0 for the whole match; groups are made with (...)".to_owned(),
                last => format!("\\0 to \\{last}"),
            }));
        }
        Some(RegexRewrite { pattern: pattern.0.clone(), substitution: substitution.0.clone() })
    }

    fn host_rewrite(&mut self, written: &'d Located<document::Forward>) -> Option<HostRewrite> {
        let auto = Some(&written.auto_host_rewrite).filter(|auto| auto.value);
        let keys = [
            ("host_rewrite", written.host_rewrite.origin()),
            ("auto_host_rewrite", auto.map(|auto| &auto.origin)),
            ("host_rewrite_header", written.host_rewrite_header.origin()),
            ("host_rewrite_path_regex", written.host_rewrite_path_regex.origin()),
        ];
        self.at_most_one(&keys);
        let literal = written.host_rewrite.value().map(HostRewrite::Literal);
        let header = written.host_rewrite_header.value().map(HostRewrite::Header);
        let regex = written.host_rewrite_path_regex.given().and_then(|rewrite| self.regex_rewrite(rewrite));
        let host_rewrite = literal.or(auto.map(|_| HostRewrite::Auto)).or(header).or(regex.map(HostRewrite::PathRegex));
        let is_rewritten = keys.iter().any(|(_, origin)| origin.is_some())
            || written.weighted_clusters.items().iter().any(|cluster| cluster.host_rewrite.origin().is_some());
        if written.append_x_forwarded_host.value && !is_rewritten && !written.has_unknown {
            let origin = &written.append_x_forwarded_host.origin;
            let problem = Problem::at_key(origin, "`append_x_forwarded_host` has no effect: the host is not rewritten");
            self.problems.push(problem.hint(Some("add host_rewrite, or remove it")));
        }
        host_rewrite
    }

    fn check_hedging(&mut self, written: &Located<document::Forward>, retry: Option<&RetryPolicy>) {
        let hedge = &written.hedge_on_per_try_timeout;
        if hedge.value && retry.is_none_or(|retry| retry.per_try_timeout.is_none()) {
            let problem = Problem::at_key(&hedge.origin, "`hedge_on_per_try_timeout` needs a per_try_timeout");
            let hint = "such as retry_policy = { retry_on = [\"5xx\"], per_try_timeout = \"1s\" }";
            self.problems.push(problem.hint(Some(hint)));
        }
    }

    fn hash_policy(&mut self, policy: &'d Located<Written<document::HashPolicy>>) -> Option<HashPolicy> {
        let written = &policy.settings;
        let keys = [
            ("header", written.header.origin()),
            ("cookie", written.cookie.origin()),
            ("source_ip", written.source_ip.origin()),
            ("query_parameter", written.query_parameter.origin()),
        ];
        self.exactly_one(&written.origin, written.has_unknown, &keys, "the policy does not say what to hash");
        if let Some(source_ip) = written.source_ip.given().filter(|source_ip| !source_ip.value) {
            let problem = Problem::at(&source_ip.origin, "the policy does not say what to hash");
            self.problems.push(problem.allowed("true").hint(Some("remove this member of the list")));
        }
        let header = written.header.value().map(HashPolicyKind::Header);
        let cookie = written.cookie.given().and_then(|cookie| self.cookie_hash(cookie));
        let source_ip = written.source_ip.given().map(|_| HashPolicyKind::SourceIp);
        let parameter = written.query_parameter.given();
        let parameter = parameter.map(|name| HashPolicyKind::QueryParameter(name.0.clone()));
        let kind = header.or(cookie).or(source_ip).or(parameter)?;
        Some(HashPolicy { kind, terminal: written.terminal.value, text: policy.text.clone() })
    }

    fn cookie_hash(&mut self, written: &'d Located<document::CookieHash>) -> Option<HashPolicyKind> {
        if let (None, Some(path)) = (written.ttl.origin(), written.path.origin())
            && !written.has_unknown
        {
            let problem = Problem::at_key(path, "`path` has no effect: without `ttl` the cookie is never set");
            self.problems.push(problem.hint(Some("add ttl = \"0s\" for a session cookie")));
        }
        Some(HashPolicyKind::Cookie {
            name: written.name.value()?,
            ttl: written.ttl.value(),
            path: written.path.value(),
        })
    }

    fn mirror(&mut self, written: &'d Located<document::MirrorPolicy>) -> Option<Mirror> {
        Some(Mirror {
            cluster: self.cluster_named(written.cluster.given()?)?,
            fraction: fraction(written.percent.value),
        })
    }

    fn internal_redirect(&mut self, written: &'d Located<document::InternalRedirectPolicy>) -> InternalRedirect {
        let message = "the list names no status: no redirect would be followed";
        let hint = "leave it out for [302]";
        self.refuse_empty(&written.redirect_response_codes, message, hint);
        let codes = written.redirect_response_codes.given();
        InternalRedirect {
            max_redirects: written.max_internal_redirects.to_u32(),
            codes: codes.map_or(DEFAULT_REDIRECT_CODES.to_vec(), |list| list.items.iter().map(|it| it.0).collect()),
            allow_cross_scheme: written.allow_cross_scheme_redirect.value,
        }
    }
}

/// The pairs of all these maps, sorted by key; a later value replaces an earlier one of the same key.
fn pairs(maps: &[&Slot<Map<Name, Text>>]) -> Vec<(String, String)> {
    let mut pairs = std::collections::BTreeMap::new();
    for (key, value) in maps.iter().filter_map(|map| map.given()).flat_map(|map| &map.entries) {
        pairs.insert(key.0.clone(), value.0.clone());
    }
    pairs.into_iter().collect()
}
