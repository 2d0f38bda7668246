//! Settings of the local rate limit filter.

use std::collections::HashMap;

use crate::diagnostic::Problem;
use crate::document;
use crate::model::{LocalRateLimit, RateLimitAction, RateLimitDescriptor, RateLimitRule, TokenBucket};
use crate::reader::Located;
use crate::resolve::Resolver;
use crate::resolve::matcher::fraction;

impl<'d> Resolver<'d, '_, '_> {
    pub(super) fn local_ratelimit(&mut self, written: &'d Located<document::LocalRateLimit>) -> Option<LocalRateLimit> {
        let rules: Vec<_> = written.rate_limits.items().iter().map(|rule| self.rate_limit_rule(rule)).collect();
        let descriptors = written.descriptors.items();
        match (written.rate_limits.origin(), written.descriptors.origin()) {
            (Some(origin), None) if !written.has_unknown => {
                let problem = Problem::at_key(origin, "`rate_limits` has no effect without `descriptors`");
                let hint =
                    "such as descriptors = [{ entries = [{ key = \"remote_address\" }], token_bucket = { ... } }]";
                self.problems.push(problem.hint(Some(hint)));
            }
            (None, Some(origin)) if !written.has_unknown => {
                let problem = Problem::at_key(origin, "`descriptors` has no effect without `rate_limits`");
                let hint = "such as rate_limits = [{ actions = [{ remote_address = {} }] }]";
                self.problems.push(problem.hint(Some(hint)));
            }
            (Some(_), Some(_)) => self.check_descriptors(written, &rules),
            _ => {}
        }
        let descriptors = descriptors.iter().filter_map(|descriptor| self.descriptor(descriptor)).collect();
        Some(LocalRateLimit {
            stat_prefix: written.stat_prefix.0.clone(),
            token_bucket: written.token_bucket.given().and_then(token_bucket),
            rate_limits: rules,
            descriptors,
            max_dynamic_descriptors: written.max_dynamic_descriptors.to_u32(),
            enabled: fraction(written.enabled_percent.value),
            enforced: fraction(written.enforced_percent.value),
            status: written.status.to_u16(),
            as_resource_exhausted: written.rate_limited_as_resource_exhausted.value,
            x_ratelimit_headers: written.x_ratelimit_headers.value,
        })
    }

    fn rate_limit_rule(&mut self, written: &'d Located<document::RateLimitRule>) -> RateLimitRule {
        let hint = "such as [{ remote_address = {} }]";
        self.refuse_empty(&written.actions, "a rule without actions makes no descriptor", hint);
        let actions = written.actions.items().iter().filter_map(|action| self.rate_limit_action(action)).collect();
        RateLimitRule { actions }
    }

    fn rate_limit_action(&mut self, written: &'d Located<document::RateLimitAction>) -> Option<RateLimitAction> {
        let keys = [
            ("remote_address", written.remote_address.origin()),
            ("request_headers", written.request_headers.origin()),
            ("generic_key", written.generic_key.origin()),
            ("header_value_match", written.header_value_match.origin()),
        ];
        self.exactly_one(&written.origin, written.has_unknown, &keys, "this table names no action");
        if written.remote_address.given().is_some() {
            return Some(RateLimitAction::RemoteAddress);
        }
        if let Some(header) = written.request_headers.given() {
            let name = header.header_name.value()?;
            return Some(RateLimitAction::RequestHeader { name, key: header.descriptor_key.value()? });
        }
        if let Some(fixed) = written.generic_key.given() {
            let value = fixed.descriptor_value.value()?;
            return Some(RateLimitAction::GenericKey { key: fixed.descriptor_key.0.clone(), value });
        }
        let conditional = written.header_value_match.given()?;
        self.refuse_empty(&conditional.headers, "there is no condition", "for every request, write generic_key");
        let headers = self.header_matches(conditional.headers.items());
        let value = conditional.descriptor_value.value()?;
        Some(RateLimitAction::HeaderValueMatch { key: conditional.descriptor_key.0.clone(), value, headers })
    }

    /// Each descriptor must be one that some rule can make.
    fn check_descriptors(&mut self, written: &'d Located<document::LocalRateLimit>, rules: &[RateLimitRule]) {
        let rules_are_known = written.rate_limits.given().is_some_and(|list| {
            let is_read = |rule: &Located<document::RateLimitRule>| {
                rule.actions.given().is_some_and(|actions| !actions.is_incomplete)
            };
            !list.is_incomplete && list.items.iter().all(is_read)
        });
        if !rules_are_known
            || written.rate_limits.items().iter().zip(rules).any(|(a, b)| a.actions.items().len() != b.actions.len())
        {
            return;
        }
        let mut first = HashMap::new();
        for descriptor in written.descriptors.items() {
            let Some(list) = descriptor.entries.given().filter(|list| !list.is_incomplete && !list.is_empty) else {
                continue;
            };
            let entries: Option<Vec<_>> = list.items.iter().map(|entry| entry_of(entry)).collect();
            let Some(entries) = entries else { continue };
            if !rules.iter().any(|rule| makes(rule, &entries)) {
                let keys: Vec<_> = entries.iter().map(|(key, _)| *key).collect();
                let message = format!("no rule of `rate_limits` makes a descriptor with {}", shown(&entries));
                let allowed: Vec<_> = rules.iter().map(|rule| action_keys(rule).join(" and ")).collect();
                let problem = Problem::at(&list.origin, message).allowed(format!("the keys {}", allowed.join("; or ")));
                let same_keys = rules.iter().any(|rule| action_keys(rule) == keys);
                let hint = same_keys.then_some("the keys are right, but no action gives this value");
                self.problems.push(problem.hint(hint));
            }
            self.unique(&mut first, entries, &list.origin, |_| "two descriptors have the same entries".to_owned());
        }
    }

    fn descriptor(&mut self, written: &'d Located<document::RateLimitDescriptor>) -> Option<RateLimitDescriptor> {
        let hint = "such as [{ key = \"remote_address\" }]";
        self.refuse_empty(&written.entries, "a descriptor has at least one entry", hint);
        let entries = written.entries.items().iter().filter_map(|entry| {
            let (key, value) = entry_of(entry)?;
            Some((key.to_owned(), value.map(str::to_owned)))
        });
        let entries = entries.collect();
        Some(RateLimitDescriptor { entries, token_bucket: token_bucket(written.token_bucket.given()?)? })
    }
}

fn entry_of(entry: &Located<document::RateLimitEntry>) -> Option<(&str, Option<&str>)> {
    let value = entry.value.value.given().map(|value| value.0.as_str());
    Some((entry.value.key.given()?.0.as_str(), value))
}

fn token_bucket(written: &Located<document::TokenBucket>) -> Option<TokenBucket> {
    Some(TokenBucket {
        max_tokens: written.max_tokens.given()?.to_u32(),
        tokens_per_fill: written.tokens_per_fill.to_u32(),
        fill_interval: written.fill_interval.value()?,
    })
}

fn action_keys(rule: &RateLimitRule) -> Vec<&str> {
    rule.actions.iter().map(action_key).collect()
}

fn action_key(action: &RateLimitAction) -> &str {
    match action {
        RateLimitAction::RemoteAddress => "remote_address",
        RateLimitAction::RequestHeader { key, .. }
        | RateLimitAction::GenericKey { key, .. }
        | RateLimitAction::HeaderValueMatch { key, .. } => key,
    }
}

/// Whether the rule can make a descriptor with these entries.
fn makes(rule: &RateLimitRule, entries: &[(&str, Option<&str>)]) -> bool {
    let fits = |(action, (key, value)): (&RateLimitAction, &(&str, Option<&str>))| {
        let can_have = match action {
            RateLimitAction::RemoteAddress | RateLimitAction::RequestHeader { .. } => true,
            RateLimitAction::GenericKey { value: fixed, .. }
            | RateLimitAction::HeaderValueMatch { value: fixed, .. } => value.is_none_or(|value| value == fixed),
        };
        can_have && action_key(action) == *key
    };
    rule.actions.len() == entries.len() && rule.actions.iter().zip(entries).all(fits)
}

/// `key` or `key = "value"`, joined.
fn shown(entries: &[(&str, Option<&str>)]) -> String {
    let texts = entries.iter().map(|(key, value)| match value {
        Some(value) => format!("{key} = {value:?}"),
        None => (*key).to_owned(),
    });
    texts.collect::<Vec<_>>().join(" and ")
}
