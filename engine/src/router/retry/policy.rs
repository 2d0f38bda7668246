//! What holds for the tries of one request: the route's policy, and what a trusted client asks for in x-envoy-* fields
//! (Envoy: router filter, HTTP headers consumed from downstreams).

use super::super::Fault;
use crate::http::matcher::{HeadRef, matches_header};
use crate::http::{FieldId, Fields, HeadView, Message, RequestHead, ResponseHead};
use ringway_config::model::{Forward, RetryOn, RetryPolicy};
use smallvec::SmallVec;
use std::time::Duration;

/// `None`: no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TryTimeouts {
    /// Of the whole response, all tries together, from the end of the request.
    pub route: Option<Duration>,
    /// Of the response's head, all tries together, from the end of the request.
    pub response_head: Option<Duration>,
    /// Of one try, from the end of the request or, where that is later, from its connection on; to the response's head.
    pub per_try: Option<Duration>,
    /// Of one try, without a byte moving.
    pub per_try_idle: Option<Duration>,
}

/// How a try failed without a response, as far as retries care (Envoy: StreamResetReason).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailedTry {
    /// No connection was made.
    Connect,
    /// The upstream did not answer: closed, reset, broke the protocol, or took too long.
    Reset,
}

impl FailedTry {
    /// `None`: the fault is not the try's, and another one would not help.
    pub fn of(fault: Fault) -> Option<Self> {
        match fault {
            Fault::ConnectFailed | Fault::ConnectTimeout | Fault::LocalResources => Some(Self::Connect),
            Fault::UpstreamClosed
            | Fault::UpstreamTruncated
            | Fault::UpstreamReset { .. }
            | Fault::UpstreamRefused
            | Fault::ResponseHead(_)
            | Fault::PerTryTimeout
            | Fault::PerTryIdleTimeout => Some(Self::Reset),
            _ => None,
        }
    }
}

/// The tries of one request: how many, when and for how long.
#[derive(Debug)]
pub struct TryPolicy<'a> {
    pub retry_on: RetryOn,
    /// Retries at most, in addition to the first try.
    pub num_retries: u32,
    pub timeouts: TryTimeouts,
    /// When a try's time is over, send another one and keep the first.
    pub hedge_on_per_try_timeout: bool,
    /// What the client is told when the route's timeout is over (504, or 204 where it asked for that).
    pub timeout_status: u16,
    /// It is a call of gRPC.
    pub is_grpc: bool,
    /// The route's.
    pub config: Option<&'a RetryPolicy>,
    /// What the request adds to the retriable status codes.
    status_codes: SmallVec<[u16; 4]>,
    /// And to the retriable headers: names in a comma-separated list.
    header_names: Vec<u8>,
}

/// Fields that speak to this proxy and go no further.
const CONSUMED: u128 = Fields::set_of(&[
    FieldId::XEnvoyRetryOn,
    FieldId::XEnvoyRetryGrpcOn,
    FieldId::XEnvoyMaxRetries,
    FieldId::XEnvoyRetriableStatusCodes,
    FieldId::XEnvoyRetriableHeaderNames,
    FieldId::XEnvoyUpstreamRqTimeoutMs,
    FieldId::XEnvoyUpstreamRqPerTryTimeoutMs,
    FieldId::XEnvoyUpstreamRqTimeoutAltResponse,
    FieldId::XEnvoyHedgeOnPerTryTimeout,
    FieldId::XEnvoyUpstreamAltStatName,
]);

impl<'a> TryPolicy<'a> {
    /// The policy in force; see `apply`.
    pub fn new(route: &'a Forward, request: &RequestHead, bytes: HeadView<'_>, may_ask: Option<u32>) -> Self {
        let mut policy = Self::of_route(route);
        policy.apply(request, bytes, may_ask);
        policy
    }

    /// What the route says, before the request is looked at.
    #[inline]
    pub fn of_route(route: &'a Forward) -> Self {
        let config = route.retry.as_ref();
        Self {
            retry_on: config.map_or(RetryOn::default(), |config| config.retry_on),
            num_retries: config.map_or(1, |config| config.num_retries),
            timeouts: TryTimeouts {
                route: route.timeout,
                response_head: route.response_head_timeout,
                per_try: config.and_then(|config| config.per_try_timeout),
                per_try_idle: config.and_then(|config| config.per_try_idle_timeout),
            },
            hedge_on_per_try_timeout: route.hedge_on_per_try_timeout,
            timeout_status: 504,
            is_grpc: false,
            config,
            status_codes: SmallVec::new(),
            header_names: Vec::new(),
        }
    }

    /// Apply what the request says. Its own fields count only if there are retries that it `may_ask` for: up to that number,
    /// or up to the route's where that is higher.
    #[inline]
    pub fn apply(&mut self, request: &RequestHead, bytes: HeadView<'_>, may_ask: Option<u32>) {
        if let Some(retries_max) = may_ask
            && request.fields.contains_any(CONSUMED)
        {
            self.read(&request.fields, bytes, retries_max);
        }
        let required = self.config.map_or(&[][..], |config| &config.retriable_request_headers);
        let head = HeadRef::request(request, bytes);
        if !required.is_empty() && !required.iter().any(|matcher| matches_header(matcher, head)) {
            self.retry_on = RetryOn::default();
        }
        let timeouts = &mut self.timeouts;
        if let (Some(per_try), Some(route)) = (timeouts.per_try, timeouts.route)
            && per_try >= route
        {
            timeouts.per_try = None;
        }
    }

    /// Whether a try that fails can be followed by another one at all.
    pub fn retries(&self) -> bool {
        !self.retry_on.is_empty() && self.num_retries > 0
    }

    /// How long a call of gRPC may last, where its route takes that from `grpc-timeout`. The time that a client asks for in
    /// x-envoy-upstream-rq-timeout-ms, if it may, is the one that counts.
    pub fn call_limit(route: &Forward, request: &Message<RequestHead>, may_ask: bool) -> Option<Duration> {
        let limit = route.grpc_timeout?;
        if may_ask && request.head.fields.contains(FieldId::XEnvoyUpstreamRqTimeoutMs) {
            return None;
        }
        let asked = request.grpc_timeout()?;
        Some(limit.max.map_or(asked, |max| asked.min(max)).saturating_sub(limit.offset))
    }

    fn read(&mut self, fields: &Fields, bytes: HeadView<'_>, retries_max: u32) {
        let value = |id| fields.value(id, bytes);
        for id in [FieldId::XEnvoyRetryOn, FieldId::XEnvoyRetryGrpcOn] {
            let names = fields.all(id).flat_map(|line| list(line.value.of(bytes)));
            let conditions = names.filter_map(|name| std::str::from_utf8(name).ok().and_then(RetryOn::named));
            conditions
                .filter(|condition| condition.is_grpc() == (id == FieldId::XEnvoyRetryGrpcOn))
                .for_each(|condition| self.retry_on.insert(condition));
        }
        if let Some(count) = value(FieldId::XEnvoyMaxRetries).and_then(number) {
            let most = retries_max.max(self.num_retries);
            self.num_retries = u32::try_from(count).unwrap_or(u32::MAX).min(most);
        }
        if let Some(milliseconds) = value(FieldId::XEnvoyUpstreamRqTimeoutMs).and_then(number) {
            // What the request asks for holds for all of the response, its head included.
            (self.timeouts.route, self.timeouts.response_head) = (timeout(milliseconds), None);
        }
        if let Some(milliseconds) = value(FieldId::XEnvoyUpstreamRqPerTryTimeoutMs).and_then(number) {
            self.timeouts.per_try = timeout(milliseconds);
        }
        match value(FieldId::XEnvoyHedgeOnPerTryTimeout) {
            Some(b"true") => self.hedge_on_per_try_timeout = true,
            Some(b"false") => self.hedge_on_per_try_timeout = false,
            _ => {}
        }
        if fields.contains(FieldId::XEnvoyUpstreamRqTimeoutAltResponse) {
            self.timeout_status = 204;
        }
        for line in fields.all(FieldId::XEnvoyRetriableStatusCodes) {
            let codes = list(line.value.of(bytes)).filter_map(number);
            self.status_codes.extend(codes.filter_map(|code| u16::try_from(code).ok()));
        }
        for line in fields.all(FieldId::XEnvoyRetriableHeaderNames) {
            self.header_names.extend_from_slice(line.value.of(bytes));
            self.header_names.push(b',');
        }
    }

    /// Whether the conditions ask for another try after this failure. `sent`: a byte of the request has gone to an
    /// upstream, in this try or an earlier one.
    pub fn retries_failure(&self, failed: FailedTry, sent: bool) -> bool {
        let on = |condition| self.retry_on.contains(condition);
        on(RetryOn::RESET)
            || on(RetryOn::SERVER_ERROR)
            || on(RetryOn::GATEWAY_ERROR)
            || on(RetryOn::RESET_BEFORE_REQUEST) && !sent
            || on(RetryOn::CONNECT_FAILURE) && failed == FailedTry::Connect
    }

    /// Whether a call is to be held back until it is known whether it ends without a message.
    pub fn waits_for_trailers(&self) -> bool {
        self.is_grpc && self.retry_on.is_grpc() && self.num_retries > 0
    }

    /// Whether the conditions ask for another try after this response.
    #[inline]
    pub fn retries_response(&self, response: &Message<ResponseHead>) -> bool {
        !self.retry_on.is_empty()
            && (self.retries_head(&response.head, response.view())
                || self.retry_on.is_grpc() && self.retries_status(response))
    }

    fn retries_status(&self, response: &Message<ResponseHead>) -> bool {
        let asked = response.grpc_status().and_then(|status| RetryOn::of_grpc_status(status.0));
        asked.is_some_and(|asked| self.retry_on.contains(asked))
            && !response.head.fields.contains(FieldId::XEnvoyRatelimited)
    }

    fn retries_head(&self, response: &ResponseHead, bytes: HeadView<'_>) -> bool {
        let on = |condition| self.retry_on.contains(condition);
        // From a proxy that refused the request: only a policy that asks for it goes on.
        if response.fields.contains(FieldId::XEnvoyRatelimited) {
            return on(RetryOn::ENVOY_RATELIMITED);
        }
        let status = response.status;
        on(RetryOn::SERVER_ERROR) && status >= 500
            || on(RetryOn::GATEWAY_ERROR) && (502..=504).contains(&status)
            || on(RetryOn::RETRIABLE_4XX) && status == 409
            || on(RetryOn::RETRIABLE_STATUS_CODES) && self.is_retriable_status(status)
            || on(RetryOn::RETRIABLE_HEADERS) && self.has_retriable_header(response, bytes)
    }

    fn is_retriable_status(&self, status: u16) -> bool {
        self.config.is_some_and(|config| config.retriable_status_codes.contains(&status))
            || self.status_codes.contains(&status)
    }

    fn has_retriable_header(&self, response: &ResponseHead, bytes: HeadView<'_>) -> bool {
        let head = HeadRef::response(response, bytes);
        let has = |name: &[u8]| response.fields.iter().any(|field| field.name.of(bytes).eq_ignore_ascii_case(name));
        self.config.is_some_and(|config| config.retriable_headers.iter().any(|matcher| matches_header(matcher, head)))
            || list(&self.header_names).any(has)
    }
}

/// Take the fields out that speak to this proxy.
pub fn consume(fields: &mut Fields) {
    fields.remove_all(CONSUMED);
}

/// Zero switches a timeout off.
fn timeout(milliseconds: u64) -> Option<Duration> {
    (milliseconds > 0).then(|| Duration::from_millis(milliseconds))
}

/// Members of a comma-separated list, without the empty ones.
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii).filter(|item| !item.is_empty())
}

/// A decimal number; too large ones saturate.
pub(super) fn number(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |number: u64, digit| number.saturating_mul(10).saturating_add(u64::from(digit - b'0'))))
}
