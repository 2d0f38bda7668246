//! No unhealthy endpoint is picked outside panic; priorities and panic are those of Envoy.

use super::*;
use crate::base::random::Random;
use crate::cluster::Health;

#[test]
fn whoever_is_picked_is_healthy_or_all_may_be() {
    let random = Random::seeded(17);
    for policy in policies() {
        for round in 0..8 {
            let levels = 1 + random.below(3) as u32;
            let count = 4 + random.below(8) as u32;
            let made = config(policy.clone(), count, |number, it| {
                it.priority = number % levels;
                it.weight = 1 + number % 3;
            });
            let world = World::new(&made, round);
            for _ in 0..10 {
                let changed = host(&world, random.below(u64::from(count)) as u32);
                let flag =
                    [HealthFlags::FAILED_OUTLIER_CHECK, HealthFlags::DEGRADED_ACTIVE_HC][random.below(2) as usize];
                world.shared.set_flag(&changed, flag, !changed.flags().contains(flag));
                world.advance(Duration::from_secs(1));
                check(&world, levels);
            }
        }
    }
}

/// An unhealthy endpoint is picked only if its priority and all priorities together have too few usable ones.
fn check(world: &World, levels: u32) {
    let hosts = world.shared.hosts();
    let usable = |level: u32| {
        let of: Vec<_> = hosts.iter().filter(|host| host.spec.priority == level).collect();
        (of.iter().filter(|host| host.health() != Health::Unhealthy).count(), of.len())
    };
    let share = |level: u32, factor: usize| {
        let (up, all) = usable(level);
        (factor * up).checked_div(all).unwrap_or(0)
    };
    let available: usize = (0..levels).map(|level| share(level, 140).min(100)).sum();
    for _ in 0..50 {
        let picked = host(world, pick(world, world.reactor.random().next_u64()).expect("in panic at least"));
        if picked.health() == Health::Unhealthy {
            // The shares of healthy and of degraded endpoints are each rounded down.
            let panic = share(picked.spec.priority, 100) < 50 && available <= 100 + levels as usize;
            assert!(panic, "{:?} {} was picked", world.cluster.config.lb_policy, picked.name);
        }
    }
}

#[test]
fn an_ejected_endpoint_gets_nothing_until_it_is_back() {
    for policy in policies() {
        let world = World::new(&config(policy.clone(), 10, |_, _| {}), 3);
        eject(&world, 4, true);
        let ejected = counts(&world, 5000);
        assert_eq!((ejected.get(&4), ejected.len()), (None, 9), "{policy:?}");
        eject(&world, 4, false);
        assert_eq!(counts(&world, 5000).len(), 10, "{policy:?}");
    }
}

#[test]
fn in_panic_all_are_picked_unless_that_is_to_fail() {
    for policy in policies() {
        let made = config(policy.clone(), 4, |_, _| {});
        for (fails, threshold, expected) in [
            (false, Some(50.0), Some(4)),
            (true, Some(50.0), None),
            (false, Some(0.0), Some(1)),
            (false, None, Some(1)),
        ] {
            let made = with(made.clone(), |it| {
                it.panic_threshold = threshold;
                it.fail_traffic_on_panic = fails;
            });
            let world = World::new(&made, 3);
            (0..3).for_each(|number| eject(&world, number, true));
            match expected {
                Some(picked) => assert_eq!(counts(&world, 2000).len(), picked, "{policy:?} {threshold:?}"),
                None => assert_eq!(pick(&world, 1), Err(NoHost::Unhealthy), "{policy:?}"),
            }
            let panics = world.cluster.stats.lb_healthy_panic.get();
            assert_eq!(
                panics,
                [0, 1, 2000][usize::from(threshold == Some(50.0)) * (1 + usize::from(!fails))],
                "{policy:?}"
            );
        }
    }
}

#[test]
fn without_a_usable_endpoint_there_is_no_host() {
    for policy in policies() {
        let world = World::new(&config(policy.clone(), 0, |_, _| {}), 3);
        assert_eq!(pick(&world, 1), Err(NoHost::Dns));
        let world = World::new(&with(config(policy.clone(), 3, |_, _| {}), |it| it.panic_threshold = Some(0.0)), 3);
        (0..3).for_each(|number| eject(&world, number, true));
        assert_eq!(pick(&world, 1), Err(NoHost::Unhealthy), "{policy:?}");
        assert_eq!(world.cluster.stats.upstream_cx_none_healthy.get(), 1);
    }
}

#[test]
fn traffic_spills_over_to_the_next_priority_as_envoys_table_has_it() {
    for policy in policies() {
        // Half of the first priority is unhealthy: 70 to 30.
        let world = World::new(&config(policy.clone(), 20, |number, it| it.priority = number / 10), 3);
        assert!(counts(&world, 2000).keys().all(|number| *number < 10));
        (0..5).for_each(|number| eject(&world, number, true));
        let counts = counts(&world, 20_000);
        let first: usize = (0..10).filter_map(|number| counts.get(&number)).sum();
        assert!(first.abs_diff(14_000) < 400, "{policy:?} {counts:?}");
        assert!((0..5).all(|number| !counts.contains_key(&number)), "{policy:?}");
    }
}

#[test]
fn degraded_endpoints_serve_what_healthy_ones_cannot() {
    for policy in policies() {
        let world = World::new(&config(policy.clone(), 4, |_, _| {}), 3);
        let degrade = |number| {
            world.shared.set_flag(&host(&world, number), HealthFlags::DEGRADED_ACTIVE_HC, true);
            world.advance(Duration::from_secs(1));
        };
        degrade(0);
        // Three of four are enough.
        assert_eq!(counts(&world, 1000).get(&0), None, "{policy:?}");
        degrade(1);
        let counts = counts(&world, 20_000);
        let degraded: usize = [0, 1].iter().filter_map(|number| counts.get(number)).sum();
        assert!(degraded.abs_diff(6000) < 400, "{policy:?} {counts:?}");
    }
}

#[test]
fn retries_avoid_what_was_tried() {
    for policy in policies() {
        let world = World::new(&config(policy.clone(), 6, |number, it| it.priority = number / 3), 3);
        for hash in 0..500_u64 {
            let hash = hash.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let first =
                world.cluster.pick(&PickContext { hash: Some(hash), ..PickContext::default() }).expect("a host");
            let tried = [first];
            let again = PickContext { hash: Some(hash), tried: &tried, max_attempts: 50, ..PickContext::default() };
            let second = world.cluster.pick(&again).expect("a host");
            assert_ne!(second.name, tried[0].name, "{policy:?}");
            assert_eq!(second.host.spec.priority, 0);
            let elsewhere = PickContext { hash: Some(hash), excluded_priorities: &[0], ..PickContext::default() };
            assert_eq!(world.cluster.pick(&elsewhere).expect("a host").host.spec.priority, 1, "{policy:?}");
        }
    }
}
