//! Which requests share which bucket.

use super::*;
use crate::http_filter::testing::exchange;
use ringway_config::model::{Fraction, HeaderMatch, HeaderMatchKind, StringMatch, StringMatchKind};
use std::time::Duration;

fn bucket(max_tokens: u32) -> TokenBucket {
    TokenBucket { max_tokens, tokens_per_fill: max_tokens, fill_interval: Duration::from_secs(60) }
}

fn descriptor(entries: &[(&str, Option<&str>)], tokens: u32) -> RateLimitDescriptor {
    let entries = entries.iter().map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned)));
    RateLimitDescriptor { entries: entries.collect(), token_bucket: bucket(tokens) }
}

fn rule(actions: &[RateLimitAction]) -> RateLimitRule {
    RateLimitRule { actions: actions.to_vec() }
}

fn header(name: &str, key: &str) -> RateLimitAction {
    RateLimitAction::RequestHeader { name: name.into(), key: key.into() }
}

fn settings(rate_limits: Vec<RateLimitRule>, descriptors: Vec<RateLimitDescriptor>) -> LocalRateLimit {
    let all = Fraction { per_million: 1_000_000 };
    LocalRateLimit {
        stat_prefix: "test".into(),
        token_bucket: None,
        rate_limits,
        descriptors,
        max_dynamic_descriptors: 3,
        enabled: all,
        enforced: all,
        as_resource_exhausted: false,
        status: 429,
        x_ratelimit_headers: true,
    }
}

fn one_shard(settings: &LocalRateLimit) -> Descriptors {
    Descriptors::new(&SharedDescriptors::new(settings, 1), 0)
}

/// How many of ten requests with these fields pass.
fn passing(descriptors: &Descriptors, fields: &str, client: &str) -> usize {
    let exchange = exchange(fields);
    let client = client.parse().ok();
    (0..10).filter(|_| descriptors.take(&exchange, client, 1, false).0).count()
}

#[test]
fn each_client_has_a_bucket() {
    let of = settings(vec![rule(&[RateLimitAction::RemoteAddress])], vec![descriptor(&[("remote_address", None)], 4)]);
    let descriptors = one_shard(&of);
    assert_eq!(passing(&descriptors, "", "192.0.2.1"), 4);
    assert_eq!(passing(&descriptors, "", "192.0.2.2"), 4);
    assert_eq!(passing(&descriptors, "", "2001:db8::1"), 4);
    // A client that is not known has no descriptor.
    assert_eq!(passing(&descriptors, "", "unix"), 10);
    let (is_ok, quota) = descriptors.take(&exchange(""), "192.0.2.1".parse().ok(), 1, false);
    assert_eq!((is_ok, quota), (false, Some(Quota { limit: 4, remaining: 0, reset: 60 })), "who refuses says so");
}

#[test]
fn the_client_that_was_quiet_longest_is_forgotten() {
    let of = settings(vec![rule(&[RateLimitAction::RemoteAddress])], vec![descriptor(&[("remote_address", None)], 4)]);
    let descriptors = one_shard(&of);
    for client in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        assert_eq!(passing(&descriptors, "", client), 4, "{client}");
    }
    assert_eq!(passing(&descriptors, "", "192.0.2.1"), 0, "known, and now the latest");
    // The shard forgets the second one for the fourth, and the process, when it next looks, for the fifth.
    assert_eq!(passing(&descriptors, "", "192.0.2.4"), 4);
    assert_eq!(passing(&descriptors, "", "192.0.2.1"), 0);
    assert_eq!(passing(&descriptors, "", "192.0.2.5"), 4);
    assert_eq!(passing(&descriptors, "", "192.0.2.2"), 4, "forgotten");
    // Neither the shard nor the process keeps more than a few.
    for i in 0..100 {
        passing(&descriptors, "", &format!("192.0.2.{i}"));
    }
    let Buckets::Dynamic(_, buckets) = &descriptors.shared.list[0].buckets else { panic!("it is dynamic") };
    let kept = buckets.lock().expect("no panic").len();
    assert!(descriptors.known[0].borrow().len() == 3 && kept <= 4, "{kept}");
}

/// Values that differ in one byte at either end, and what is kept of them.
#[test]
fn long_values_have_buckets_of_their_own_and_short_keys() {
    let of = settings(vec![rule(&[header("x-user", "user")])], vec![descriptor(&[("user", None)], 4)]);
    let shared = SharedDescriptors::new(&of, 2);
    let shards = [Descriptors::new(&shared, 0), Descriptors::new(&shared, 1)];
    let long = "a".repeat(20_000);
    let fields = [format!("X-User: {long}b\r\n"), format!("X-User: {long}c\r\n"), format!("X-User: b{long}\r\n")];
    for field in &fields {
        assert_eq!(passing(&shards[0], field, ""), 4);
    }
    for field in &fields {
        assert_eq!(passing(&shards[1], field, ""), 0, "the other shard meets the same bucket");
    }
    let is_short = |buckets: &Dynamic| buckets.len() == 3 && buckets.iter().all(|(key, _)| key.len() == 17);
    let Buckets::Dynamic(_, buckets) = &shared.list[0].buckets else { panic!("it is dynamic") };
    assert!(is_short(&buckets.lock().expect("no panic")) && is_short(&shards[0].known[0].borrow()));
    // The entry's key, its value and a zero: kept as they are up to the limit.
    for (len, kept) in [(LONGEST_KEY - 5, LONGEST_KEY), (LONGEST_KEY - 4, 17)] {
        assert_eq!(passing(&shards[0], &format!("X-User: {}\r\n", &long[..len]), ""), 4);
        let known = shards[0].known[0].borrow();
        assert_eq!(known.iter().next().map(|(key, _)| key.len()), Some(kept));
    }
}

/// A bucket that one shard uses is the one that another shard meets, however many others came in between.
#[test]
fn shards_share_the_bucket_of_a_value() {
    let of = settings(vec![rule(&[header("x-user", "user")])], vec![descriptor(&[("user", None)], 5)]);
    let shared = SharedDescriptors::new(&of, 2);
    let shards = [Descriptors::new(&shared, 0), Descriptors::new(&shared, 1)];
    assert_eq!(passing(&shards[0], "X-User: ann\r\n", ""), 5);
    for other in ["bob", "cid", "dan", "eve", "fay"] {
        assert_eq!(passing(&shards[1], &format!("X-User: {other}\r\n"), ""), 5);
    }
    assert_eq!(passing(&shards[1], "X-User: ann\r\n", ""), 0);
    assert_eq!(passing(&shards[0], "", ""), 10, "without the field there is no descriptor");
}

#[test]
fn a_named_value_goes_before_an_open_one() {
    let of = settings(
        vec![rule(&[header("x-user", "user")])],
        vec![descriptor(&[("user", None)], 2), descriptor(&[("user", Some("ann"))], 6)],
    );
    let descriptors = one_shard(&of);
    assert_eq!(passing(&descriptors, "X-User: ann\r\n", ""), 6);
    assert_eq!(passing(&descriptors, "X-User: bob\r\n", ""), 2);
}

#[test]
fn all_entries_must_be_there_and_in_order() {
    let paying = HeaderMatch {
        name: "x-plan".into(),
        kind: HeaderMatchKind::Value(StringMatch { kind: StringMatchKind::Exact("pro".into()), ignore_case: false }),
        invert: false,
        missing_as_empty: false,
    };
    let plan = RateLimitAction::HeaderValueMatch { key: "plan".into(), value: "pro".into(), headers: vec![paying] };
    let fixed = RateLimitAction::GenericKey { key: "api".into(), value: "v1".into() };
    let of = settings(
        vec![rule(&[plan, header("x-user", "user")]), rule(&[fixed, header(":path", "path")])],
        vec![
            descriptor(&[("plan", Some("pro")), ("user", None)], 3),
            descriptor(&[("user", None), ("plan", Some("pro"))], 1),
            descriptor(&[("plan", Some("pro"))], 1),
            descriptor(&[("api", Some("v1")), ("path", Some("/path?query"))], 8),
        ],
    );
    assert_eq!(passing(&one_shard(&of), "X-Plan: pro\r\nX-User: ann\r\n", ""), 3);
    assert_eq!(passing(&one_shard(&of), "X-Plan: free\r\nX-User: ann\r\n", ""), 8, "only the path counts");
    assert_eq!(passing(&one_shard(&of), "X-Plan: pro\r\n", ""), 8);
}

/// The bucket that is filled most slowly has the first word, and none after it loses a token when it refuses.
#[test]
fn the_slowest_bucket_is_asked_first() {
    let of = settings(
        vec![rule(&[header("x-b", "b")]), rule(&[header("x-a", "a")])],
        vec![descriptor(&[("b", None)], 9), descriptor(&[("a", None)], 2)],
    );
    let descriptors = one_shard(&of);
    let both = exchange("X-A: 1\r\nX-B: 1\r\n");
    let (is_ok, quota) = descriptors.take(&both, None, 1, true);
    assert_eq!((is_ok, quota.map(|quota| (quota.limit, quota.remaining))), (true, Some((2, 1))));
    assert_eq!(passing(&descriptors, "X-A: 1\r\nX-B: 1\r\n", ""), 1);
    assert_eq!(passing(&descriptors, "X-B: 1\r\n", ""), 7);
}
