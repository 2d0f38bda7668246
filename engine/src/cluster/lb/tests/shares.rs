//! Weights.

use super::*;

/// Whether each share is that of its weight, within `tolerance` of it.
fn check(policy: &LbPolicy, weights: &[u32], tolerance: f64) {
    const PICKS: usize = 100_000;
    let count = weights.len() as u32;
    let world = World::new(&config(policy.clone(), count, |number, it| it.weight = weights[number as usize]), 11);
    let counts = counts(&world, PICKS);
    let sum: u32 = weights.iter().sum();
    for (number, weight) in (0..).zip(weights) {
        let expected = PICKS as f64 * f64::from(*weight) / f64::from(sum);
        let got = counts.get(&number).copied().unwrap_or(0) as f64;
        let off = (got - expected).abs() / expected;
        assert!(off <= tolerance, "{policy:?} {weights:?}: {number} got {got} and not {expected}");
    }
}

/// As a part of the exact share: turns are exact, random picks are off by a few standard deviations, Maglev's table by one
/// part in a hundred, and a ring by the chance of its points.
fn tolerance(policy: &LbPolicy) -> f64 {
    match policy {
        LbPolicy::RoundRobin { .. } => 0.001,
        LbPolicy::LeastRequest { .. } | LbPolicy::Random | LbPolicy::PeakEwma { .. } => 0.06,
        LbPolicy::Maglev { .. } => 0.07,
        LbPolicy::RingHash { .. } => 0.2,
    }
}

#[test]
fn weights_are_respected_by_every_policy() {
    for policy in policies() {
        for weights in [&[1, 1, 1][..], &[1, 2, 5], &[50, 100], &[3, 1, 1, 1, 1, 1, 1, 1], &[7]] {
            check(&policy, weights, tolerance(&policy));
        }
    }
}

#[test]
fn many_endpoints_of_many_weights_have_their_shares() {
    let weights: Vec<u32> = (0..100).map(|number| 1 + number % 4).collect();
    for policy in [
        LbPolicy::RoundRobin { slow_start: None },
        LbPolicy::LeastRequest { choice_count: 2, active_request_bias: 1.0, slow_start: None },
    ] {
        check(&policy, &weights, 0.01);
    }
    check(&LbPolicy::Random, &weights, 0.25);
    // A ring with this many points has nearly the exact shares.
    check(&LbPolicy::RingHash { minimum_size: 200_000, maximum_size: 8_388_608 }, &weights, 0.25);
    check(&LbPolicy::Maglev { table_size: 65_537 }, &weights, 0.25);
}

#[test]
fn localities_have_their_weights_whatever_the_number_of_their_endpoints() {
    for policy in policies() {
        // Six endpoints in a, two in b, one in c, which has no weight.
        let edit = |number: u32, it: &mut model::Endpoint| {
            it.locality = ["a", "a", "a", "a", "a", "a", "b", "b", "c"][number as usize].into();
        };
        let weights = Some(vec![("a".to_owned(), 1), ("b".to_owned(), 3)]);
        let world = World::new(&with(config(policy.clone(), 9, edit), |it| it.locality_weights = weights), 5);
        let counts = counts(&world, 40_000);
        let b: usize = [6, 7].iter().filter_map(|number| counts.get(number)).sum();
        let bound = if super::super::policy::LoadBalancer::is_by_hash(&policy) { 3000 } else { 600 };
        assert!(b.abs_diff(30_000) < bound, "{policy:?} {counts:?}");
        assert_eq!(counts.get(&8), None, "{policy:?}");
    }
}

#[test]
fn a_locality_that_is_half_dead_gives_traffic_away() {
    // Envoy's page "Locality weighted load balancing": weights 1 and 1, half of a's endpoints are unhealthy: 70 to 100.
    let edit = |number: u32, it: &mut model::Endpoint| it.locality = if number < 4 { "a" } else { "b" }.into();
    let weights = Some(vec![("a".to_owned(), 1), ("b".to_owned(), 1)]);
    let policy = LbPolicy::RoundRobin { slow_start: None };
    let world = World::new(&with(config(policy, 8, edit), |it| it.locality_weights = weights), 5);
    eject(&world, 0, true);
    eject(&world, 1, true);
    let counts = counts(&world, 17_000);
    let a: usize = (0..4).filter_map(|number| counts.get(&number)).sum();
    assert!(a.abs_diff(7000) < 20, "{counts:?}");
}

#[test]
fn slow_start_raises_the_share_with_time() {
    let slow_start = model::SlowStart { window: Duration::from_secs(100), aggression: 1.0, min_weight_percent: 10.0 };
    for policy in [
        LbPolicy::RoundRobin { slow_start: Some(slow_start.clone()) },
        LbPolicy::LeastRequest { choice_count: 2, active_request_bias: 1.0, slow_start: Some(slow_start.clone()) },
    ] {
        let world = World::new(&config(policy.clone(), 2, |_, _| {}), 5);
        world.advance(Duration::from_secs(200));
        eject(&world, 0, true);
        assert_eq!(counts(&world, 100).get(&0), None);
        eject(&world, 0, false);
        // The share of the slow endpoint next to one with its full weight: 10 % at first, then the elapsed share of the window.
        for (seconds, weight) in [(0, 0.1), (25, 0.25), (25, 0.5), (25, 0.75), (25, 1.0), (500, 1.0)] {
            world.advance(Duration::from_secs(seconds));
            // Turns that are already planned go by the previous weights.
            counts(&world, 100);
            let got = counts(&world, 10_000).get(&0).copied().unwrap_or(0) as f64;
            let due = 10_000.0 * weight / (1.0 + weight);
            assert!((got - due).abs() <= due * 0.05, "{policy:?} after {seconds} s: {got} and not {due}");
        }
    }
}
