//! Limits over several shards: step by step, where they are exact, and from threads, where one per shard is the bound.

use super::*;
use crate::base::random::Random;
use crate::stats::Registry;
use ringway_config::model::RetryBudget;
use std::sync::Barrier;
use std::sync::atomic::{AtomicI64, Ordering};

fn limited(edit: impl FnOnce(&mut CircuitBreakers)) -> Arc<SharedLimits> {
    let mut breakers = CircuitBreakers::default();
    edit(&mut breakers);
    SharedLimits::new("app", &[breakers, CircuitBreakers::default()])
}

fn shards(shared: &Arc<SharedLimits>, registry: &Registry, count: usize) -> Vec<Rc<ShardLimits>> {
    (0..count).map(|shard| ShardLimits::new(shared, registry.scope("app", shard), shard)).collect()
}

const REQUESTS: Resource = Resource::Requests;
const DEFAULT: Priority = Priority::Default;

/// One step after the other, a limit is exact: refused if and only if it is reached.
#[test]
fn refused_exactly_at_the_limit_whoever_asks() {
    for seed in 0..200 {
        let random = Random::seeded(seed);
        let limit = [0, 1, 2, 3, 10, 100, 1000][random.below(7) as usize];
        let count = 1 + random.below(8) as usize;
        let registry = Registry::new();
        let shared = limited(|breakers| breakers.max_requests = Some(limit));
        let shards = shards(&shared, &registry, count);
        let mut held: Vec<Permit> = Vec::new();
        let mut refused = 0;
        // Long waves up and down, so that far and near phases both last.
        for step in 0..6000_u64 {
            let rising = (step / (u64::from(limit) + 20)).is_multiple_of(2);
            let give = random.below(100) < if rising { 30 } else { 70 };
            if give && !held.is_empty() {
                drop(held.swap_remove(random.below(held.len() as u64) as usize));
            } else {
                let before = held.len();
                match shards[random.below(count as u64) as usize].acquire(REQUESTS, DEFAULT) {
                    Ok(permit) => held.push(permit),
                    Err(overflow) => {
                        assert_eq!(overflow, Overflow::Requests(DEFAULT));
                        refused += 1;
                    }
                }
                assert_eq!(held.len() > before, before < limit as usize, "seed {seed}, {before} of {limit}");
            }
            if random.below(500) == 0 {
                shared.relax();
            }
        }
        assert_eq!(shared.usage(REQUESTS, DEFAULT), Usage { used: held.len() as u32, limit: Some(limit) });
        assert_eq!(registry.value("cluster.app.upstream_rq_pending_overflow"), Some(refused));
        held.clear();
        assert_eq!(shared.usage(REQUESTS, DEFAULT).used, 0);
    }
}

/// While the limit is far, and again after a burst, a shard does not look at the others.
#[test]
fn leases_cover_the_common_case() {
    let registry = Registry::new();
    let shared = limited(|breakers| breakers.max_requests = Some(1024));
    let shards = shards(&shared, &registry, 4);
    let take = |shard: usize, count: usize| -> Vec<Permit> {
        (0..count).map(|_| shards[shard].acquire(REQUESTS, DEFAULT).expect("there is room")).collect()
    };
    drop(take(0, 100));
    drop(take(3, 100));
    assert!(shared.is_far(REQUESTS, DEFAULT));
    let burst = [take(1, 512), take(2, 512)];
    assert!(!shared.is_far(REQUESTS, DEFAULT));
    assert!(shards[0].acquire(REQUESTS, DEFAULT).is_err());
    shared.relax();
    assert!(!shared.is_far(REQUESTS, DEFAULT), "still in the burst");
    drop(burst);
    assert!(!shared.is_far(REQUESTS, DEFAULT), "nobody has looked");
    shared.relax();
    assert!(shared.is_far(REQUESTS, DEFAULT));
    drop(take(0, 100));
    assert!(shared.is_far(REQUESTS, DEFAULT));
}

#[test]
fn limits_are_counted_apart() {
    let registry = Registry::new();
    let breakers = CircuitBreakers { max_requests: Some(1), max_connections: Some(1), ..CircuitBreakers::default() };
    let high = CircuitBreakers { max_requests: Some(2), ..CircuitBreakers::default() };
    let shared = SharedLimits::new("app", &[breakers, high]);
    let shards = shards(&shared, &registry, 2);
    let _request = shards[0].acquire(REQUESTS, DEFAULT).expect("the first");
    let overflow = shards[1].acquire(REQUESTS, DEFAULT).expect_err("the second");
    assert_eq!(overflow.config_key(), "clusters[].circuit_breakers.max_requests");
    let _connection = shards[1].acquire(Resource::Connections, DEFAULT).expect("the first");
    let overflow = shards[1].acquire(Resource::Connections, DEFAULT).expect_err("the second");
    assert_eq!(overflow.statistic(), "upstream_cx_overflow");
    let _high = [shards[0].acquire(REQUESTS, Priority::High), shards[1].acquire(REQUESTS, Priority::High)]
        .map(|permit| permit.expect("two of high priority"));
    let overflow = shards[0].acquire(REQUESTS, Priority::High).expect_err("the third");
    assert_eq!(overflow.config_key(), "clusters[].circuit_breakers.high.max_requests");
    // What has no limit is not refused, and counted where something has one.
    let _pending = shards[0].acquire(Resource::PendingRequests, DEFAULT).expect("no limit");
    assert_eq!(shared.usage(Resource::PendingRequests, DEFAULT), Usage { used: 1, limit: None });
    assert_eq!(registry.value("cluster.app.upstream_cx_overflow"), Some(1));
    assert_eq!(registry.value("cluster.app.upstream_rq_pending_overflow"), Some(2));
}

#[test]
fn without_limits_nothing_is_counted() {
    let registry = Registry::new();
    let shared = limited(|_| ());
    let shards = shards(&shared, &registry, 1);
    let _permit = shards[0].acquire(REQUESTS, DEFAULT).expect("no limit");
    assert!(!shared.is_limited());
    assert_eq!(shared.usage(REQUESTS, DEFAULT), Usage { used: 0, limit: None });
}

#[test]
fn retries_under_a_number_and_under_a_budget() {
    let registry = Registry::new();
    let numbered = limited(|breakers| breakers.max_retries = Some(2));
    let numbered = shards(&numbered, &registry, 2);
    let _two = [numbered[0].acquire_retry(DEFAULT, false, 0), numbered[1].acquire_retry(DEFAULT, false, 0)]
        .map(|permit| permit.expect("two"));
    assert_eq!(numbered[0].acquire_retry(DEFAULT, false, 0).expect_err("a third"), Overflow::Retries(DEFAULT));

    let budget = RetryBudget { budget_per_10_000: 2000, min_retry_concurrency: 3 };
    let shared = limited(|breakers| breakers.retry_budget = Some(budget));
    let shards = shards(&shared, &registry, 2);
    let retries = |count: usize| -> Vec<Permit> {
        (0..).map_while(|i: usize| shards[i % 2].acquire_retry(DEFAULT, false, 0).ok()).take(count).collect()
    };
    assert_eq!(retries(100).len(), 3, "always");
    let mut requests: Vec<_> = (0..100).map(|i| shards[i % 2].acquire(REQUESTS, DEFAULT).expect("no limit")).collect();
    assert_eq!(retries(200).len(), 20, "a fifth of those in flight");
    assert_eq!(shared.usage(Resource::Retries, DEFAULT), Usage { used: 0, limit: Some(20) });
    requests.truncate(60);
    assert_eq!(retries(200).len(), 12);
    drop(requests);
    assert_eq!(
        shards[0].overflow(Overflow::RetryBudget(DEFAULT)).config_key(),
        "clusters[].circuit_breakers.retry_budget"
    );
    assert!(registry.value("cluster.app.upstream_rq_retry_overflow").expect("counted") >= 4);
}

/// Without a written limit, a budget by time holds, for requests that an endpoint has seen.
#[test]
fn retries_under_the_default_budget() {
    let registry = Registry::new();
    let shared = limited(|_| ());
    let shards = shards(&shared, &registry, 2);
    (0..100).for_each(|i| shards[i % 2].note_request(DEFAULT, 0));
    let retries =
        |is_unseen, now| (0..200).take_while(|i| shards[i % 2].acquire_retry(DEFAULT, is_unseen, now).is_ok()).count();
    assert_eq!(retries(false, 0), 50, "a fifth of them, and three a second");
    assert_eq!(retries(true, 0), 200, "an endpoint that cannot be reached costs nothing");
    let refused = shards[0].acquire_retry(DEFAULT, false, 0).expect_err("used up");
    assert_eq!(refused.config_key(), "clusters[].circuit_breakers.retry_budget");
    assert_eq!(registry.value("cluster.app.upstream_rq_retry_overflow"), Some(2));
    assert_eq!(retries(false, 10_000_000_000), 30);
    assert_eq!(shared.usage(Resource::Retries, DEFAULT), Usage { used: 0, limit: None });
    // A number, however high, takes its place.
    let numbered = limited(|breakers| breakers.max_retries = Some(u32::MAX));
    let limits = ShardLimits::new(&numbered, registry.scope("other", 0), 0);
    let permits: Vec<_> = (0..1000).map_while(|_| limits.acquire_retry(DEFAULT, false, 0).ok()).collect();
    assert_eq!(permits.len(), 1000);
}

#[test]
fn connections_to_one_endpoint() {
    let registry = Registry::new();
    let shared = limited(|breakers| breakers.max_connections_per_host = Some(2));
    let shards = shards(&shared, &registry, 2);
    let host = Arc::new(crate::stats::PerShard::<HostStats>::default());
    let copies = [host.join(0), host.join(1)];
    for (limits, copy) in shards.iter().zip(&copies) {
        assert!(limits.has_host_room(DEFAULT, copy));
        copy.cx_active.inc();
    }
    assert!(!shards[0].has_host_room(DEFAULT, &copies[0]));
    copies[1].cx_active.dec();
    assert!(shards[0].has_host_room(DEFAULT, &copies[0]));
}

/// Threads that take and give back as fast as they can: never more than one per shard over the limit. Threads that then
/// only take reach the limit before all of them are refused. At the end all is given back.
#[test]
fn threads_never_go_over_by_more_than_one_per_shard() {
    const THREADS: usize = 4;
    const ROUNDS: u64 = 30_000;
    for limit in [1, 3, 16, 500] {
        let registry = Registry::new();
        let shared = limited(|breakers| breakers.max_requests = Some(limit));
        let (held, most, reached) = (AtomicI64::new(0), AtomicI64::new(0), AtomicI64::new(0));
        let start = Barrier::new(THREADS);
        std::thread::scope(|threads| {
            for shard in 0..THREADS {
                let (shared, registry, start) = (&shared, &registry, &start);
                let (held, most, reached) = (&held, &most, &reached);
                threads.spawn(move || {
                    let limits = ShardLimits::new(shared, registry.scope("app", shard), shard);
                    let random = Random::seeded(shard as u64);
                    let mut permits = Vec::new();
                    start.wait();
                    for round in 0..ROUNDS {
                        // Waves, so that the limit is far now and then.
                        let give = random.below(100) < if (round >> 10) & 1 == 0 { 35 } else { 65 };
                        if give && let Some(permit) = permits.pop() {
                            held.fetch_sub(1, Ordering::SeqCst);
                            drop(permit);
                        } else if let Ok(permit) = limits.acquire(REQUESTS, DEFAULT) {
                            most.fetch_max(held.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                            permits.push(permit);
                        }
                        if shard == 0 && round.is_multiple_of(100) {
                            shared.relax();
                        }
                    }
                    start.wait();
                    while let Ok(permit) = limits.acquire(REQUESTS, DEFAULT) {
                        held.fetch_add(1, Ordering::SeqCst);
                        permits.push(permit);
                    }
                    // All have been refused, and none has given back.
                    start.wait();
                    reached.fetch_max(held.load(Ordering::SeqCst), Ordering::SeqCst);
                    start.wait();
                    held.fetch_sub(permits.len() as i64, Ordering::SeqCst);
                });
            }
        });
        let (most, limit) = (most.into_inner(), i64::from(limit));
        let over = limit + THREADS as i64;
        assert!(most < over, "{most} of {limit}");
        assert!((limit..over).contains(&reached.into_inner()), "all were refused below the limit of {limit}");
        assert_eq!(held.into_inner(), 0);
        assert_eq!(shared.usage(REQUESTS, DEFAULT).used, 0);
    }
}
