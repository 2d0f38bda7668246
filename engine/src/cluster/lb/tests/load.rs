//! The policies that look at the load of endpoints, against a model of endpoints that take time.

use super::*;
use crate::cluster::InFlight;
use std::collections::VecDeque;

/// Endpoints that each answer after their own time, with any number of requests at once. `arrivals` requests come, one each
/// `every`. Returns the number of requests of each endpoint.
fn run(world: &World, latency: impl Fn(u32) -> Duration, arrivals: usize, every: Duration) -> BTreeMap<u32, usize> {
    let mut counts = BTreeMap::new();
    let mut held: VecDeque<(u64, InFlight)> = VecDeque::new();
    for _ in 0..arrivals {
        world.advance(every);
        let now = world.reactor.now();
        let (done, left): (Vec<_>, Vec<_>) = held.drain(..).partition(|(due, _)| *due <= now);
        held.extend(left);
        done.iter().for_each(|(due, request)| request.responded(*due));
        drop(done);
        let endpoint = world.cluster.pick(&PickContext::default()).expect("a host");
        let number = number(&endpoint.host);
        *counts.entry(number).or_default() += 1;
        let due = now + latency(number).as_nanos() as u64;
        held.push_back((due, endpoint.request_started(now)));
    }
    counts
}

/// One of ten endpoints is ten times slower. With round robin it would get a tenth of the requests, which would be slow.
#[test]
fn a_slow_endpoint_gets_few_requests() {
    let latency = |number| Duration::from_millis(if number == 0 { 100 } else { 10 });
    let least = LbPolicy::LeastRequest { choice_count: 2, active_request_bias: 1.0, slow_start: None };
    for (policy, most) in [(least, 600), (LbPolicy::PeakEwma { decay: Duration::from_secs(10) }, 100)] {
        let world = World::new(&config(policy.clone(), 10, |_, _| {}), 1);
        let counts = run(&world, latency, 20_000, Duration::from_micros(500));
        assert!(counts[&0] <= most, "{policy:?} {counts:?}");
        let others: Vec<usize> = (1..10).map(|number| counts[&number]).collect();
        assert!(others.iter().all(|count| count.abs_diff(2200) < 500), "{policy:?} {counts:?}");
    }
}

#[test]
fn with_weights_least_request_divides_by_requests_in_flight() {
    let policy = LbPolicy::LeastRequest { choice_count: 2, active_request_bias: 1.0, slow_start: None };
    let world = World::new(&config(policy, 4, |number, it| it.weight = if number == 0 { 2 } else { 1 }), 1);
    let counts = run(
        &world,
        |number| Duration::from_millis(if number == 1 { 100 } else { 10 }),
        20_000,
        Duration::from_millis(1),
    );
    // The slow endpoint gets far fewer requests than the others, the heavy one more.
    assert!(counts[&1] * 2 < counts[&2] && counts[&0] > counts[&2], "{counts:?}");
}

#[test]
fn without_bias_requests_in_flight_do_not_matter() {
    let policy = LbPolicy::LeastRequest { choice_count: 2, active_request_bias: 0.0, slow_start: None };
    let world = World::new(&config(policy, 2, |number, it| it.weight = 1 + number), 1);
    let counts =
        run(&world, |number| Duration::from_millis(1 + 99 * u64::from(number)), 3000, Duration::from_millis(1));
    assert!(counts[&1].abs_diff(2000) <= 2, "{counts:?}");
}

#[test]
fn more_choices_find_the_idle_endpoint() {
    let policy = LbPolicy::LeastRequest { choice_count: 40, active_request_bias: 1.0, slow_start: None };
    let world = World::new(&config(policy, 5, |_, _| {}), 1);
    let busy: Vec<_> = world.cluster.endpoints();
    let _held: Vec<_> = busy.iter().filter(|it| number(&it.host) != 2).map(|it| it.request_started(0)).collect();
    let counts = counts(&world, 1000);
    assert!(counts[&2] >= 998, "{counts:?}");
}

#[test]
fn an_endpoint_that_fails_fast_does_not_look_fast() {
    let world = World::new(&config(LbPolicy::PeakEwma { decay: Duration::from_secs(10) }, 5, |_, _| {}), 1);
    let mut failed = 0;
    for _ in 0..5000 {
        let now = world.reactor.now();
        let endpoint = world.cluster.pick(&PickContext::default()).expect("a host");
        let request = endpoint.request_started(now);
        world.advance(Duration::from_millis(1));
        if number(&endpoint.host) == 0 {
            failed += 1;
            request.failed(now + 10_000);
        } else {
            request.responded(world.reactor.now());
        }
    }
    assert!(failed <= 5, "{failed}");
}

#[test]
fn an_endpoint_that_recovers_is_found_again() {
    let world = World::new(&config(LbPolicy::PeakEwma { decay: Duration::from_secs(1) }, 3, |_, _| {}), 1);
    let slow = |number| Duration::from_millis(if number == 0 { 500 } else { 5 });
    let before = run(&world, slow, 2000, Duration::from_millis(5));
    assert!(before[&0] < 20, "{before:?}");
    let after = run(&world, |_| Duration::from_millis(5), 4000, Duration::from_millis(5));
    assert!(after[&0] > 700, "{after:?}");
}

#[test]
fn requests_in_flight_are_counted_while_they_are() {
    let world = World::new(&config(LbPolicy::Random, 2, |_, _| {}), 1);
    let endpoint = world.cluster.pick(&PickContext::default()).expect("a host");
    let (first, second) = (endpoint.request_started(0), endpoint.request_started(0));
    assert_eq!((endpoint.active(), endpoint.cluster_active()), (2, 2));
    drop(first);
    // The endpoint leaves; its request continues.
    world.shared.set_members(Vec::new());
    assert!(world.cluster.pick(&PickContext::default()).is_err());
    assert!(world.cluster.endpoints().is_empty());
    assert_eq!((second.endpoint().active(), second.endpoint().cluster_active()), (1, 1));
    drop(second);
    assert_eq!((endpoint.active(), endpoint.cluster_active()), (0, 0));
}
