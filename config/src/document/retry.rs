//! Retry policies of routes and virtual hosts.

use super::header::HeaderMatch;
use crate::model::RetryOn;
use crate::reader::{FromText, HeaderName, Int, List, OneOf, Refusal, Shape, Size, Time, Timeout, Word, holds, table};

/// Conditions of Envoy for other protocols.
const OTHER_PROTOCOLS: &[(&str, &str)] = &[
    ("refused-stream", "leave it out: what an endpoint refuses over HTTP/2 is sent again without it"),
    ("http3-post-connect-failure", "it belongs to HTTP/3: leave it out"),
];

table! {
    /// When and how a request is retried, before any of its response has gone to the client (Envoy: RetryPolicy). A
    /// route's policy replaces the one of its virtual host; `retry_policy = "off"` switches retries off there. Internal
    /// requests (see `internal_addresses`) may change it with Envoy's `x-envoy-retry-on`, `x-envoy-retry-grpc-on`,
    /// `x-envoy-max-retries` and the other headers of that kind.
    RetryPolicy at "listeners[].http.virtual_hosts[].routes[].route.retry_policy", example "retries.toml" {
        /// Conditions, one of which must hold for a retry: `5xx` (a status of 500 or more, or no response),
        /// `gateway-error` (502, 503, 504, or no response), `reset` (the connection broke, or the try's timeout passed,
        /// before the response), `connect-failure` (no connection was made), `reset-before-request` (the connection
        /// broke before the request was sent), `envoy-ratelimited` (the response has `x-envoy-ratelimited`),
        /// `retriable-4xx` (409), `retriable-status-codes` and `retriable-headers` (see the keys of these names); for
        /// [gRPC](GRPC.md#retries) `cancelled`, `deadline-exceeded`, `internal`, `resource-exhausted` and `unavailable`
        /// (the call ended with this status, and no message).
        retry_on: List<RetryCondition>, required;
        /// Number of retries after the first try.
        num_retries: Int<0, 1000>, default "1";
        /// Time for the response of one try to begin, counted from when the try has a connection and the whole request.
        /// Above it, the try has failed; if it was the last one, the client gets status 504.
        per_try_timeout: Timeout, default "\"off\"";
        /// Time that one try may wait without receiving a byte from the upstream.
        per_try_idle_timeout: Timeout, default "\"off\"";
        /// The pause before each retry.
        retry_back_off: BackOff, optional "25ms, doubled for each try up to 250ms";
        /// Pauses that the upstream asks for.
        rate_limited_retry_back_off: RateLimitedBackOff, optional "only `retry_back_off`";
        /// Statuses for the condition `retriable-status-codes`.
        retriable_status_codes: List<Int<100, 599>>, optional "none";
        /// Conditions on the response's headers, one of which must hold, for the condition `retriable-headers`.
        retriable_headers: List<HeaderMatch>, optional "none";
        /// Conditions on the request's headers: only a request for which one of them holds is retried.
        retriable_request_headers: List<HeaderMatch>, optional "every request";
        /// Endpoints that a retry avoids: `previous_hosts` means those that were already tried.
        retry_host_predicate: List<OneOf<HostPredicate>>, optional "none is avoided";
        /// How many times the load balancer picks an endpoint, until it finds one that is not avoided; the last pick is
        /// used in any case.
        host_selection_retry_max_attempts: Int<1, 100>, default "1";
        /// Priorities that a retry avoids.
        retry_priority: RetryPriority, optional "none is avoided";
        /// Bytes of a request's body that are kept for a retry. A request with a longer body is sent only once, and
        /// counted in `cluster.<name>.retry_or_shadow_abandoned`.
        max_replay_bytes: Size<0, 1_073_741_824>, optional "`buffer_limit` of `http`";
    }
}

table! {
    /// The pause before a retry is a random part of an interval, which is `base_interval` at first and doubles with
    /// each retry (Envoy: RetryBackOff).
    BackOff at "listeners[].http.virtual_hosts[].routes[].route.retry_policy.retry_back_off", example "retries.toml" {
        /// The first interval.
        base_interval: Time<1>, required;
        /// The longest interval.
        max_interval: Time<1>, optional "ten times `base_interval`";
    }
}

table! {
    /// Waits as long as the response that is retried asks for (Envoy: RateLimitedRetryBackOff).
    RateLimitedBackOff at "listeners[].http.virtual_hosts[].routes[].route.retry_policy.rate_limited_retry_back_off", example "retries.toml" {
        /// Headers of the response that say how long to wait; the first one that is there counts.
        reset_headers: List<ResetHeader>, required;
        /// The longest pause that a response may ask for. If it asks for more, `retry_back_off` is used instead.
        max_interval: Time<1>, default "\"300s\"";
    }
}

table! {
    /// A header that says how long to wait (Envoy: ResetHeader).
    ResetHeader at "listeners[].http.virtual_hosts[].routes[].route.retry_policy.rate_limited_retry_back_off.reset_headers[]", example "retries.toml" {
        /// Name of the header, in any case.
        name: HeaderName, required;
        /// Format of its value: `seconds` from now, as in `retry-after`, or a `unix_timestamp`, seconds since 1970.
        format: OneOf<ResetFormat>, default "\"seconds\"";
    }
}

table! {
    /// Retries go to other priorities than the tries before them: after every `update_frequency` tries, the priorities
    /// that were tried are left out of the choice (Envoy: previous_priorities).
    RetryPriority at "listeners[].http.virtual_hosts[].routes[].route.retry_policy.retry_priority", example "retries.toml" {
        /// Number of tries after which the choice is made again.
        update_frequency: Int<1, 1000>, required;
    }
}

/// One condition.
#[derive(Clone, Copy, Debug)]
pub struct RetryCondition(pub RetryOn);

holds! { [] RetryCondition: RetryOn; }

impl FromText for RetryCondition {
    fn shape() -> Shape {
        Shape::Words(RetryOn::NAMES.iter().map(|(_, name)| *name).collect())
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        if let Some(condition) = RetryOn::named(text) {
            return Ok(Self(condition));
        }
        let name = text.to_ascii_lowercase().replace('_', "-");
        let hint = if text.contains(',') {
            let parts: Vec<_> = text.split(',').map(|part| format!("{:?}", part.trim())).collect();
            Some(format!("each condition is a string of its own: [{}]", parts.join(", ")))
        } else {
            let other = OTHER_PROTOCOLS.iter().find(|(known, _)| *known == name).map(|(_, hint)| (*hint).to_owned());
            other.or_else(|| {
                let names = RetryOn::NAMES.iter().map(|(_, name)| *name);
                crate::diagnostic::closest(&name, names).map(|near| format!("did you mean \"{near}\"?"))
            })
        };
        Err(Refusal::new(format!("unknown condition \"{text}\"")).hint(hint))
    }
}

/// Endpoints that a retry avoids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostPredicate {
    PreviousHosts,
}

impl Word for HostPredicate {
    const WORDS: &'static [(&'static str, Self)] = &[("previous_hosts", Self::PreviousHosts)];
    const LATER: &'static [&'static str] = &["omit_canary_hosts", "omit_host_metadata"];
}

/// How the value of a reset header is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResetFormat {
    Seconds,
    UnixTimestamp,
}

impl Word for ResetFormat {
    const WORDS: &'static [(&'static str, Self)] =
        &[("seconds", Self::Seconds), ("unix_timestamp", Self::UnixTimestamp)];
    const LATER: &'static [&'static str] = &[];
}
