//! Retry policies.

use std::collections::HashMap;
use std::time::Duration;

use super::{Resolver, is_written};
use crate::diagnostic::Problem;
use crate::document::{self, HostPredicate, ResetFormat};
use crate::model::{RateLimitedBackOff, ResetHeader, RetryOn, RetryPolicy, Texts};
use crate::place::Origin;
use crate::reader::{List, Located, Slot};

/// Envoy: RetryBackOff.
const DEFAULT_BASE_INTERVAL: Duration = Duration::from_millis(25);
const MAX_INTERVAL_FACTOR: u32 = 10;

/// A condition and the key that belongs to it.
struct ConditionKey<'d> {
    flag: RetryOn,
    condition: &'static str,
    key: &'static str,
    origin: Option<&'d Origin>,
    is_empty: bool,
}

impl<'d> Resolver<'d, '_, '_> {
    pub(super) fn retry_policy(&mut self, written: &'d Located<document::RetryPolicy>) -> RetryPolicy {
        let retry_on = self.retry_on(&written.retry_on);
        self.check_conditions(written, retry_on);
        let hint = "write [\"previous_hosts\"], or leave it out";
        self.refuse_empty(&written.retry_host_predicate, "the list names nothing to avoid", hint);
        let predicates = written.retry_host_predicate.items();
        let avoid_previous_hosts = predicates.iter().any(|it| it.0 == HostPredicate::PreviousHosts);
        let attempts = &written.host_selection_retry_max_attempts;
        if !avoid_previous_hosts && is_written(&attempts.origin, &written.origin) {
            let message = "`host_selection_retry_max_attempts` has no effect: no endpoint is avoided";
            let problem = Problem::at_key(&attempts.origin, message);
            self.problems.push(problem.hint(Some("add retry_host_predicate = [\"previous_hosts\"]")));
        }
        RetryPolicy {
            place: self.problems.place(&written.origin),
            texts: self.retry_texts(written),
            retry_on,
            num_retries: written.num_retries.to_u32(),
            per_try_timeout: written.per_try_timeout.0,
            per_try_idle_timeout: written.per_try_idle_timeout.0,
            back_off: self.back_off(&written.retry_back_off),
            rate_limited_back_off: written.rate_limited_retry_back_off.given().map(|it| self.rate_limited(it)),
            retriable_status_codes: written.retriable_status_codes.items().iter().map(|code| code.to_u16()).collect(),
            retriable_headers: self.response_header_matches(written.retriable_headers.items()),
            retriable_request_headers: self.header_matches(written.retriable_request_headers.items()),
            avoid_previous_hosts,
            host_selection_max_attempts: attempts.to_u32(),
            previous_priorities: written
                .retry_priority
                .given()
                .and_then(|priority| priority.update_frequency.given())
                .map(|frequency| frequency.to_u32()),
            max_replay_bytes: written.max_replay_bytes.value(),
        }
    }

    fn retry_texts(&self, written: &'d Located<document::RetryPolicy>) -> Texts {
        let times = [
            ("per_try_timeout", Some(&written.per_try_timeout.origin)),
            ("per_try_idle_timeout", Some(&written.per_try_idle_timeout.origin)),
        ];
        let mut texts = self.texts(document::RetryPolicy::spec(), &written.origin, &times);
        if let Some(back_off) = written.retry_back_off.given() {
            let times =
                [("base_interval", back_off.base_interval.origin()), ("max_interval", back_off.max_interval.origin())];
            self.add_texts(&mut texts, document::BackOff::spec(), &back_off.origin, &times);
        }
        texts
    }

    fn retry_on(&mut self, written: &'d Slot<List<document::RetryCondition>>) -> RetryOn {
        let hint = "such as [\"connect-failure\", \"gateway-error\"]";
        self.refuse_empty(written, "the list names no condition: nothing would be retried", hint);
        let mut first = HashMap::new();
        let mut conditions = RetryOn::default();
        for condition in written.items() {
            let name = RetryOn::NAMES.iter().find(|(flag, _)| *flag == condition.0).map_or("", |(_, name)| *name);
            self.unique(&mut first, name, &condition.origin, |name| format!("\"{name}\" is listed twice"));
            conditions.insert(condition.0);
        }
        conditions
    }

    /// Two conditions need another key, and this key has no effect without its condition.
    fn check_conditions(&mut self, written: &'d Located<document::RetryPolicy>, retry_on: RetryOn) {
        let Some(list) = written.retry_on.given().filter(|list| !list.is_incomplete) else {
            return;
        };
        let (codes, headers) = (&written.retriable_status_codes, &written.retriable_headers);
        let status_codes = ConditionKey {
            flag: RetryOn::RETRIABLE_STATUS_CODES,
            condition: "retriable-status-codes",
            key: "retriable_status_codes",
            origin: codes.origin(),
            is_empty: codes.given().is_some_and(|list| list.is_empty),
        };
        let response_headers = ConditionKey {
            flag: RetryOn::RETRIABLE_HEADERS,
            condition: "retriable-headers",
            key: "retriable_headers",
            origin: headers.origin(),
            is_empty: headers.given().is_some_and(|list| list.is_empty),
        };
        for ConditionKey { flag, condition, key, origin, is_empty } in [status_codes, response_headers] {
            match (retry_on.contains(flag), origin) {
                (true, None) if !written.has_unknown => {
                    let member = list.items.iter().find(|member| member.0 == flag);
                    let place = member.map_or(&list.origin, |member| &member.origin);
                    self.problems.push(Problem::at(place, format!("\"{condition}\" needs `{key}`")));
                }
                (true, Some(origin)) if is_empty => {
                    self.problems.push(Problem::at(origin, format!("`{key}` is empty")));
                }
                (false, Some(origin)) => {
                    let problem = Problem::at_key(origin, format!("`{key}` has no effect"));
                    self.problems.push(problem.hint(Some(format!("add \"{condition}\" to retry_on"))));
                }
                _ => {}
            }
        }
    }

    fn back_off(&mut self, written: &'d Slot<document::BackOff>) -> (Duration, Duration) {
        let base = written.given().and_then(|it| it.base_interval.given()).map(|base| base.0);
        let max = written.given().and_then(|it| it.max_interval.given());
        let base = base.unwrap_or(DEFAULT_BASE_INTERVAL);
        if let Some(max) = max.filter(|max| max.0 < base) {
            let problem = Problem::at(&max.origin, "`max_interval` is shorter than `base_interval`");
            self.problems
                .push(problem.hint(Some("the interval begins with base_interval and doubles up to max_interval")));
        }
        (base, max.map_or(base * MAX_INTERVAL_FACTOR, |max| max.0))
    }

    fn rate_limited(&mut self, written: &'d Located<document::RateLimitedBackOff>) -> RateLimitedBackOff {
        self.refuse_empty(&written.reset_headers, "the list names no header", "such as [{ name = \"retry-after\" }]");
        let headers = written.reset_headers.items().iter().filter_map(|header| {
            let is_unix_timestamp = header.format.0 == ResetFormat::UnixTimestamp;
            Some(ResetHeader { name: header.name.value()?, is_unix_timestamp })
        });
        RateLimitedBackOff { reset_headers: headers.collect(), max_interval: written.max_interval.0 }
    }
}
