//! The retry rules, one test for each sentence of Envoy's documentation that they follow.

use super::back_off::rate_limited;
use super::policy::consume;
use super::*;
use crate::base::random::Random;
use crate::codec::h1::{Limits, parse_request, parse_response};
use crate::http::{FieldId, HeadView, Message, Method, RequestHead, ResponseHead};
use crate::net::HeadBytes;
use crate::router::Fault;
use crate::stats::ClusterStats;
use crate::upstream::limits::{Overflow, Priority, ShardLimits, SharedLimits};
use ringway_config::model::{
    self, CircuitBreakers, ClusterTarget, Forward, GrpcTimeout, HeaderMatch, HeaderMatchKind, Place,
    RateLimitedBackOff, ResetHeader, RetryOn, RetryPolicy,
};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

fn retry_policy(conditions: &[RetryOn]) -> RetryPolicy {
    let mut retry_on = RetryOn::default();
    conditions.iter().for_each(|condition| retry_on.insert(*condition));
    RetryPolicy {
        place: Place::default(),
        retry_on,
        num_retries: 2,
        per_try_timeout: None,
        per_try_idle_timeout: None,
        back_off: (Duration::from_millis(25), Duration::from_millis(250)),
        rate_limited_back_off: None,
        retriable_status_codes: vec![],
        retriable_headers: vec![],
        retriable_request_headers: vec![],
        avoid_previous_hosts: false,
        host_selection_max_attempts: 1,
        previous_priorities: None,
        max_replay_bytes: None,
        texts: model::Texts::default(),
    }
}

fn route(retry: Option<RetryPolicy>) -> Forward {
    Forward {
        target: ClusterTarget::Cluster(0),
        cluster_not_found_status: 503,
        path_rewrite: None,
        host_rewrite: None,
        append_x_forwarded_host: false,
        timeout: Some(Duration::from_secs(15)),
        stream_idle_timeout: None,
        max_stream_duration: None,
        grpc_timeout: None,
        retry,
        hedge_on_per_try_timeout: false,
        hash_policy: vec![],
        mirrors: vec![],
        internal_redirect: None,
        priority: model::Priority::Default,
        metadata_match: vec![],
        response_head_timeout: None,
        timeout_place: Place::default(),
        texts: model::Texts::default(),
    }
}

fn request(fields: &str) -> (RequestHead, Vec<u8>) {
    let bytes = format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n").into_bytes();
    let mut head = RequestHead::default();
    parse_request(&bytes, &Limits::default(), &mut head).expect("valid");
    (head, bytes)
}

fn response(status: u16, fields: &str) -> Message<ResponseHead> {
    let bytes = format!("HTTP/1.1 {status} X\r\n{fields}\r\n").into_bytes();
    let mut message = Message::default();
    parse_response(&bytes, &Limits::default(), Method::Get, &mut message.head).expect("valid");
    message.received = HeadBytes::Joined(bytes);
    message
}

/// Retries that a trusted request may ask for.
const REQUESTED_MAX: u32 = 3;

/// Shows the policy in force for a request with these fields.
fn with_policy<T>(route: &Forward, fields: &str, trusted: bool, show: impl Fn(&TryPolicy<'_>) -> T) -> T {
    let (head, bytes) = request(fields);
    show(&TryPolicy::new(route, &head, HeadView::new(&bytes), trusted.then_some(REQUESTED_MAX)))
}

fn retries(route: &Forward, request: &str, status: u16, fields: &str) -> bool {
    let response = response(status, fields);
    with_policy(route, request, true, |policy| policy.retries_response(&response))
}

#[test]
fn statuses_of_calls_are_conditions() {
    let names = ["cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"];
    let conditions = names.map(|name| RetryOn::named(name).expect("a condition"));
    for (condition, status) in conditions.into_iter().zip([1, 4, 13, 8, 14]) {
        let policy = route(Some(retry_policy(&[condition])));
        let retried: Vec<u32> =
            (0..18).filter(|status| retries(&policy, "", 200, &format!("grpc-status: {status}\r\n"))).collect();
        assert_eq!(retried, [status], "{condition:?}");
        // The status may also stand behind the head.
        let mut late = response(200, "");
        late.trailers.add(b"grpc-status", status.to_string().as_bytes());
        assert!(with_policy(&policy, "", true, |policy| policy.retries_response(&late)));
    }
    let any = route(Some(retry_policy(&conditions)));
    assert!(!retries(&any, "", 200, "grpc-status: 14\r\nx-envoy-ratelimited: true\r\n"));
    assert!(!retries(&route(Some(retry_policy(&[RetryOn::SERVER_ERROR]))), "", 200, "grpc-status: 14\r\n"));
}

#[test]
fn requests_ask_for_statuses_of_calls_in_a_field_of_their_own() {
    let plain = route(None);
    let unavailable = "grpc-status: 14\r\n";
    assert!(retries(&plain, "x-envoy-retry-grpc-on: internal, unavailable\r\n", 200, unavailable));
    assert!(!retries(&plain, "x-envoy-retry-on: unavailable\r\n", 200, unavailable));
    assert!(!retries(&plain, "x-envoy-retry-grpc-on: 5xx\r\n", 503, ""));
    let untrusted = with_policy(&plain, "x-envoy-retry-grpc-on: unavailable\r\n", false, |policy| policy.retry_on);
    assert!(untrusted.is_empty());
}

#[test]
fn calls_take_the_time_that_they_say() {
    let second = Duration::from_secs(1);
    let limit = |max: Option<u64>, offset: u64, fields: &str, may_ask| {
        let mut route = route(None);
        let grpc_timeout =
            max.map(|max| GrpcTimeout { max: (max > 0).then(|| second * max as u32), offset: second * offset as u32 });
        route.grpc_timeout = grpc_timeout;
        let (head, bytes) = request(fields);
        let request = Message { head, received: HeadBytes::Joined(bytes), ..Message::default() };
        TryPolicy::call_limit(&route, &request, may_ask).map(|limit| limit.as_secs())
    };
    let ten = "grpc-timeout: 10S\r\n";
    assert_eq!(limit(None, 0, ten, true), None);
    assert_eq!([limit(Some(0), 0, ten, true), limit(Some(5), 0, ten, true)], [Some(10), Some(5)]);
    assert_eq!([limit(Some(60), 3, ten, true), limit(Some(60), 11, ten, true)], [Some(7), Some(0)]);
    assert_eq!([limit(Some(5), 0, "", true), limit(Some(5), 0, "grpc-timeout: soon\r\n", true)], [None, None]);
    let both = "grpc-timeout: 10S\r\nx-envoy-upstream-rq-timeout-ms: 100\r\n";
    assert_eq!([limit(Some(0), 0, both, true), limit(Some(0), 0, both, false)], [None, Some(10)]);
}

#[test]
fn each_condition_has_its_statuses() {
    let all = [409, 429, 499, 500, 501, 502, 503, 504, 505, 599];
    for (condition, expected) in [
        (RetryOn::SERVER_ERROR, &all[3..]),
        (RetryOn::GATEWAY_ERROR, &[502, 503, 504]),
        (RetryOn::RETRIABLE_4XX, &[409]),
        (RetryOn::RESET, &[]),
        (RetryOn::RESET_BEFORE_REQUEST, &[]),
        (RetryOn::CONNECT_FAILURE, &[]),
        (RetryOn::ENVOY_RATELIMITED, &[]),
        (RetryOn::RETRIABLE_STATUS_CODES, &[]),
        (RetryOn::RETRIABLE_HEADERS, &[]),
        (RetryOn::UNAVAILABLE, &[]),
    ] {
        let route = route(Some(retry_policy(&[condition])));
        let retried: Vec<u16> = all.into_iter().filter(|status| retries(&route, "", *status, "")).collect();
        assert_eq!(retried, expected, "{condition:?}");
    }
}

#[test]
fn status_codes_come_from_the_route_and_the_request() {
    let mut policy = retry_policy(&[RetryOn::RETRIABLE_STATUS_CODES]);
    policy.retriable_status_codes = vec![418];
    let asking = "x-envoy-retriable-status-codes: 404, 421,x,\r\nX-Envoy-Retriable-Status-Codes:425\r\n";
    let with = route(Some(policy.clone()));
    for status in [404, 418, 421, 425] {
        assert!(retries(&with, asking, status, ""), "{status}");
        assert_eq!(retries(&with, "", status, ""), status == 418);
    }
    policy.retry_on = RetryOn::SERVER_ERROR;
    assert!(!retries(&route(Some(policy)), asking, 404, ""), "only with the condition");
}

#[test]
fn headers_come_from_the_route_and_the_request() {
    let mut policy = retry_policy(&[RetryOn::RETRIABLE_HEADERS]);
    let present = |name: &str| HeaderMatch {
        name: name.into(),
        kind: HeaderMatchKind::Present,
        invert: false,
        missing_as_empty: false,
    };
    policy.retriable_headers = vec![present("x-again")];
    let route = route(Some(policy));
    assert!(retries(&route, "", 200, "x-again: 1\r\n"));
    assert!(!retries(&route, "", 200, "x-other: 1\r\n"));
    assert!(retries(&route, "x-envoy-retriable-header-names: X-Upstream, X-OTHER\r\n", 200, "x-other: 1\r\n"));
}

#[test]
fn a_response_of_a_rate_limiting_proxy_is_retried_only_where_asked() {
    let limited = "x-envoy-ratelimited: true\r\n";
    let server_error = route(Some(retry_policy(&[RetryOn::SERVER_ERROR])));
    assert!(!retries(&server_error, "", 503, limited));
    let asked = route(Some(retry_policy(&[RetryOn::ENVOY_RATELIMITED])));
    assert!(retries(&asked, "", 429, limited));
    assert!(!retries(&asked, "", 429, ""));
}

#[test]
fn failures_without_a_response() {
    use FailedTry::{Connect, Reset};
    // Condition, and whether it holds for: a failed connect, a reset before a byte of the request went, one after it.
    for (condition, expected) in [
        (RetryOn::SERVER_ERROR, [true; 3]),
        (RetryOn::GATEWAY_ERROR, [true; 3]),
        (RetryOn::RESET, [true; 3]),
        (RetryOn::RESET_BEFORE_REQUEST, [true, true, false]),
        (RetryOn::CONNECT_FAILURE, [true, false, false]),
        (RetryOn::RETRIABLE_4XX, [false; 3]),
        (RetryOn::RETRIABLE_STATUS_CODES, [false; 3]),
    ] {
        let route = route(Some(retry_policy(&[condition])));
        let retried = with_policy(&route, "", true, |policy| {
            [(Connect, false), (Reset, false), (Reset, true)].map(|(failed, sent)| policy.retries_failure(failed, sent))
        });
        assert_eq!(retried, expected, "{condition:?}");
    }
    assert_eq!(FailedTry::of(Fault::ConnectTimeout), Some(Connect));
    assert_eq!(FailedTry::of(Fault::LocalResources), Some(Connect));
    assert_eq!(FailedTry::of(Fault::UpstreamClosed), Some(Reset));
    assert_eq!(FailedTry::of(Fault::PerTryTimeout), Some(Reset));
    for fault in [Fault::RouteTimeout, Fault::DownstreamReset, Fault::RequestTooLarge, Fault::StreamIdle] {
        assert_eq!(FailedTry::of(fault), None, "{fault:?}");
    }
}

#[test]
fn a_trusted_request_extends_the_policy() {
    let fields =
        "x-envoy-retry-on: reset, 5xx,nonsense\r\nx-envoy-retry-on: retriable-4xx\r\nx-envoy-max-retries: 3\r\n";
    let plain = route(None);
    with_policy(&plain, fields, true, |policy| {
        for condition in [RetryOn::RESET, RetryOn::SERVER_ERROR, RetryOn::RETRIABLE_4XX] {
            assert!(policy.retry_on.contains(condition));
        }
        assert_eq!(policy.num_retries, 3);
    });
    with_policy(&plain, fields, false, |policy| assert!(!policy.retries()));
    with_policy(&plain, "", true, |policy| assert!(!policy.retries()));
    with_policy(&plain, "x-envoy-retry-on: reset\r\n", true, |policy| assert_eq!(policy.num_retries, 1));
    let retrying = route(Some(retry_policy(&[RetryOn::GATEWAY_ERROR])));
    with_policy(&retrying, "x-envoy-retry-on: reset\r\nx-envoy-max-retries: many\r\n", true, |policy| {
        assert!(policy.retry_on.contains(RetryOn::GATEWAY_ERROR) && policy.retry_on.contains(RetryOn::RESET));
        assert_eq!(policy.num_retries, 2);
    });
    with_policy(&retrying, "x-envoy-max-retries: 0\r\n", true, |policy| assert!(!policy.retries()));
}

/// However many a request asks for, it gets what it may ask for, or what the route has anyway.
#[test]
fn a_request_may_not_ask_for_any_number_of_retries() {
    let count = |of_route: u32, asked: u64| {
        let retry = RetryPolicy { num_retries: of_route, ..retry_policy(&[RetryOn::RESET]) };
        let fields = format!("x-envoy-max-retries: {asked}\r\n");
        with_policy(&route(Some(retry)), &fields, true, |policy| policy.num_retries)
    };
    assert_eq!([0, 2, 3, 4, 1000, u64::MAX].map(|asked| count(1, asked)), [0, 2, 3, 3, 3, 3]);
    assert_eq!([4, 5, 6, 1000].map(|asked| count(5, asked)), [4, 5, 5, 5]);
}

#[test]
fn retries_can_be_kept_to_some_requests() {
    let mut policy = retry_policy(&[RetryOn::RESET]);
    policy.retriable_request_headers = vec![HeaderMatch {
        name: "x-idempotent".into(),
        kind: HeaderMatchKind::Present,
        invert: false,
        missing_as_empty: false,
    }];
    let route = route(Some(policy));
    assert!(with_policy(&route, "x-idempotent: 1\r\n", true, |policy| policy.retries()));
    assert!(!with_policy(&route, "x-envoy-retry-on: 5xx\r\n", true, |policy| policy.retries()));
}

#[test]
fn timeouts_come_from_the_route_and_the_request() {
    let mut policy = retry_policy(&[RetryOn::RESET]);
    policy.per_try_timeout = Some(Duration::from_secs(1));
    let route = route(Some(policy));
    let timeouts = |fields| {
        with_policy(&route, fields, true, |policy| {
            (policy.timeouts.route.map(|d| d.as_millis()), policy.timeouts.per_try.map(|d| d.as_millis()))
        })
    };
    assert_eq!(timeouts(""), (Some(15_000), Some(1000)));
    assert_eq!(timeouts("x-envoy-upstream-rq-timeout-ms: 3000\r\n"), (Some(3000), Some(1000)));
    assert_eq!(timeouts("x-envoy-upstream-rq-per-try-timeout-ms: 5\r\n"), (Some(15_000), Some(5)));
    // "If a global route timeout is configured, this timeout must be less than [it] or it is ignored."
    assert_eq!(timeouts("x-envoy-upstream-rq-timeout-ms: 1000\r\n"), (Some(1000), None));
    assert_eq!(timeouts("x-envoy-upstream-rq-timeout-ms: 0\r\n"), (None, Some(1000)));
    assert_eq!(timeouts("x-envoy-upstream-rq-timeout-ms: soon\r\n"), (Some(15_000), Some(1000)));
    let hedges = |fields| with_policy(&route, fields, true, |policy| policy.hedge_on_per_try_timeout);
    assert!(hedges("x-envoy-hedge-on-per-try-timeout: true\r\n"));
    assert!(!hedges("x-envoy-hedge-on-per-try-timeout: 1\r\n"));
    let status = |fields| with_policy(&route, fields, true, |policy| policy.timeout_status);
    assert_eq!((status(""), status("x-envoy-upstream-rq-timeout-alt-response: 1\r\n")), (504, 204));
}

#[test]
fn fields_for_this_proxy_go_no_further() {
    let (mut head, _) =
        request("X-Envoy-Retry-On: 5xx\r\nx-envoy-max-retries: 1\r\nx-a: 1\r\nx-envoy-attempt-count: 1\r\n");
    consume(&mut head.fields);
    let left: Vec<FieldId> = head.fields.iter().map(|field| field.id).collect();
    assert_eq!(left, [FieldId::Host, FieldId::Unknown, FieldId::XEnvoyAttemptCount]);
    assert!(!head.fields.contains(FieldId::XEnvoyRetryOn));
}

/// One shard's limits of a cluster in which `max_retries` may be in flight.
fn limits(max_retries: u32, stats: &Arc<ClusterStats>) -> Rc<ShardLimits> {
    let breakers = CircuitBreakers { max_retries: Some(max_retries), ..CircuitBreakers::default() };
    ShardLimits::new(&SharedLimits::new("c", &[breakers, CircuitBreakers::default()]), stats.clone(), 0)
}

#[test]
fn tries_are_counted_down() {
    let stats = Arc::new(ClusterStats::default());
    let (room, none) = (limits(1, &stats), limits(0, &stats));
    let route = route(Some(retry_policy(&[RetryOn::RESET])));
    with_policy(&route, "", true, |policy| {
        let mut tries = Tries::new(policy);
        let mut decide = |asked, replayable, limits: &Rc<ShardLimits>| {
            tries.decide(asked, replayable, || limits.acquire_retry(Priority::Default, false, 0), &stats)
        };
        assert_eq!(decide(false, true, &room), Err(NoRetry::NotAsked));
        assert_eq!(decide(true, false, &room), Err(NoRetry::BodyGone));
        assert_eq!(decide(true, true, &room), Ok(()));
        assert_eq!(decide(true, true, &none), Err(NoRetry::Overflow(Overflow::Retries(Priority::Default))));
        assert_eq!(decide(true, true, &room), Err(NoRetry::LimitExceeded));
        assert_eq!(tries.count, 2);
        tries.end(false, &stats);
        assert_eq!(stats.upstream_rq_retry_success.get(), 0);
        tries.end(true, &stats);
    });
    assert_eq!(stats.upstream_rq_retry.get(), 1);
    assert_eq!(stats.upstream_rq_retry_overflow.get(), 1);
    assert_eq!(stats.upstream_rq_retry_limit_exceeded.get(), 1);
    assert_eq!(stats.upstream_rq_retry_success.get(), 1);
}

/// A retry counts among its cluster's from the decision to its end.
#[test]
fn a_permit_is_held_until_the_retry_ends() {
    let stats = Arc::new(ClusterStats::default());
    let limits = limits(1, &stats);
    let is_full = || limits.acquire_retry(Priority::Default, false, 0).is_err();
    let route = route(Some(retry_policy(&[RetryOn::RESET])));
    with_policy(&route, "", true, |policy| {
        let mut tries = Tries::new(policy);
        for _ in 0..2 {
            let decided = tries.decide(true, true, || limits.acquire_retry(Priority::Default, false, 0), &stats);
            assert_eq!((decided, is_full()), (Ok(()), true), "its own place is free for the next");
        }
        tries.end(true, &stats);
        assert!(!is_full());
    });
}

#[test]
fn back_off_doubles_its_bound_up_to_the_maximum() {
    let random = Random::seeded(1);
    const MS: u64 = 1_000_000;
    let mut largest = [0; 6];
    for _ in 0..2000 {
        let mut back_off = BackOff::new(None);
        for largest in &mut largest {
            *largest = back_off.next(&random).max(*largest);
        }
    }
    for (largest, bound) in largest.into_iter().zip([25, 50, 100, 200, 250, 250]) {
        assert!(largest < bound * MS && largest > bound * MS * 98 / 100, "{largest} of {bound} ms");
    }
    let mut zero = BackOff::new(Some((Duration::ZERO, Duration::ZERO)));
    assert_eq!(zero.next(&random), 0);
}

#[test]
fn a_response_may_say_how_long_to_wait() {
    let header = |name: &str, is_unix_timestamp| ResetHeader { name: name.into(), is_unix_timestamp };
    let policy = RateLimitedBackOff {
        reset_headers: vec![header("retry-after", false), header("x-ratelimit-reset", true)],
        max_interval: Duration::from_secs(300),
    };
    let random = Random::seeded(1);
    let wait = |fields: &str| {
        let response = response(429, fields);
        let (head, bytes) = (&response.head, response.view());
        let wait = rate_limited(&policy, head, bytes, 1_000, &random)?;
        Some(wait / 1_000_000)
    };
    let seconds = |wait: Option<u64>, low: u64| wait.is_some_and(|wait| (low * 1000..low * 1500).contains(&wait));
    assert!(seconds(wait("Retry-After: 2\r\n"), 2));
    assert!(seconds(wait("x-ratelimit-reset: 1010\r\n"), 10));
    assert!(seconds(wait("x-ratelimit-reset: 1010\r\nretry-after: 300\r\n"), 300));
    assert!(seconds(wait("x-ratelimit-reset: 1010\r\nretry-after: 301\r\n"), 10), "too long: the next one");
    for fields in ["", "retry-after: soon\r\n", "retry-after: 0\r\n", "x-ratelimit-reset: 999\r\n"] {
        assert_eq!(wait(fields), None, "{fields}");
    }
}

#[test]
fn priorities_that_were_tried_are_left_out_from_time_to_time() {
    let mut previous = PreviousPriorities::default();
    let mut excluded = Vec::new();
    for priority in [0, 0, 1, 1, 0] {
        previous.attempted(priority);
        excluded.push(previous.excluded(2).to_vec());
    }
    assert_eq!(excluded, [vec![], vec![0], vec![0], vec![0, 1], vec![0, 1]]);
    assert!(PreviousPriorities::default().excluded(1).is_empty());
}
