//! The consistent hashes: the same key goes to the same endpoint, and few keys move when a host joins or leaves.

use super::*;

const KEYS: u64 = 20_000;

fn key(number: u64) -> u64 {
    xxhash_rust::xxh64::xxh64(&number.to_le_bytes(), 7)
}

fn owners(world: &World) -> Vec<u32> {
    (0..KEYS).map(|number| pick(world, key(number)).expect("a host")).collect()
}

#[test]
fn every_shard_and_every_process_picks_the_same() {
    for policy in by_hash() {
        let made = config(policy.clone(), 10, |number, it| it.weight = 1 + number % 3);
        let mut reversed = made.clone();
        reversed.endpoints.reverse();
        assert_eq!(owners(&World::new(&made, 1)), owners(&World::new(&reversed, 2)), "{policy:?}");
    }
}

/// On a ring, an ejected host moves only its own keys. In a Maglev table a few others move as well: fewer than three in a
/// hundred with 65,537 entries and ten hosts. A host that joins a ring leaves fewer points to the others, since the size
/// stays: then up to one key in eleven moves to another host than the new one.
#[test]
fn little_moves_when_one_leaves_or_joins() {
    for policy in by_hash() {
        let world = World::new(&config(policy.clone(), 10, |_, _| {}), 1);
        let before = owners(&world);
        eject(&world, 3, true);
        let without = owners(&world);
        let moved = |a: &[u32], b: &[u32]| a.iter().zip(b).filter(|(a, b)| **a != 3 && a != b).count() as u64;
        let (leaving, joining) = match policy {
            LbPolicy::RingHash { .. } => (0, KEYS / 11),
            _ => (KEYS * 3 / 100, KEYS * 3 / 100),
        };
        assert!(moved(&before, &without) <= leaving, "{policy:?}: {} moved", moved(&before, &without));
        assert!(!without.contains(&3));
        eject(&world, 3, false);
        assert_eq!(owners(&world), before, "{policy:?}");
        let (shared, spec) = (&world.shared, |host: &Arc<Host>| host.spec.clone());
        let mut specs: Vec<_> = shared.hosts().iter().map(spec).collect();
        let more = config(policy.clone(), 11, |_, _| {});
        let joined = &more.endpoints[10];
        let model::EndpointTarget::Address(address) = &joined.target else { panic!("an address") };
        specs.push(crate::cluster::HostSpec::new(joined, address.clone()));
        shared.set_members(specs);
        world.advance(Duration::from_secs(1));
        let with = owners(&world);
        let moved = before.iter().zip(&with).filter(|(a, b)| a != b && **b != 10).count() as u64;
        assert!(moved <= joining, "{policy:?}: {moved} moved to others than the new one");
        let got = with.iter().filter(|owner| **owner == 10).count() as u64;
        assert!((KEYS / 20..KEYS / 7).contains(&got), "{policy:?}: the new one got {got}");
    }
}

#[test]
fn the_ring_has_the_size_that_envoy_gives_it() {
    for (weights, minimum, maximum, expected) in [
        (&[1, 1, 1][..], 1024, 8_388_608, 1026),
        (&[1, 1, 1, 1], 1024, 8_388_608, 1024),
        (&[1, 2], 5, 8_388_608, 6),
        (&[1, 1], 4, 3, 3),
        (&[1, 99], 1, 8_388_608, 100),
    ] {
        let policy = LbPolicy::RingHash { minimum_size: minimum, maximum_size: maximum };
        let count = weights.len() as u32;
        let world = World::new(&config(policy, count, |number, it| it.weight = weights[number as usize]), 1);
        assert_eq!(world.cluster.stats.ring_hash_lb_size.get(), expected, "{weights:?} {minimum} {maximum}");
    }
    let world = World::new(&config(by_hash().swap_remove(1), 3, |number, it| it.weight = 1 + number), 1);
    let stats = &world.cluster.stats;
    assert!(stats.maglev_lb_min_entries_per_host.get().abs_diff(65_537 / 6) <= 1);
    assert!(stats.maglev_lb_max_entries_per_host.get().abs_diff(65_537 / 2) <= 1);
}

/// Requests that stay in flight, all for the same key: no endpoint holds more than 1.25 times the mean, rounded up.
#[test]
fn bounded_loads_hold_with_a_single_hot_key() {
    for policy in by_hash() {
        for (count, factor) in [(3, 125), (10, 125), (10, 200)] {
            let made = with(config(policy.clone(), count, |_, _| {}), |it| it.hash_balance_factor = Some(factor));
            let world = World::new(&made, 1);
            let mut held = Vec::new();
            for requests in 1..=200_u32 {
                let context = PickContext { hash: Some(key(1)), ..PickContext::default() };
                let endpoint = world.cluster.pick(&context).expect("a host");
                held.push(endpoint.request_started(world.reactor.now()));
                let slots = (requests * factor).div_ceil(100).div_ceil(count);
                assert!(endpoint.active() <= slots.max(1), "{policy:?}: {} of {requests}", endpoint.active());
            }
            // With nothing in flight the key goes to its own endpoint again.
            let home = held[0].endpoint().name.clone();
            drop(held);
            let context = PickContext { hash: Some(key(1)), ..PickContext::default() };
            assert_eq!(world.cluster.pick(&context).expect("a host").name, home);
        }
    }
}
