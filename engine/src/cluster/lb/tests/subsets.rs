//! Subsets by metadata.

use super::*;
use ringway_config::model::{SubsetFallback, Subsets};

type Pairs = Vec<(String, String)>;

fn pairs(pairs: &[(&str, &str)]) -> Pairs {
    pairs.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect()
}

/// Endpoints 0 to 7: stage prod, except for 6 and 7 (dev); versions 1 and 2 in turn, except for 7, which has none.
fn world(policy: LbPolicy, fallback: SubsetFallback) -> World {
    let made = config(policy, 8, |number, it| {
        it.metadata = pairs(&[("stage", if number < 6 { "prod" } else { "dev" })]);
        if number != 7 {
            it.metadata.push(("version".into(), (1 + number % 2).to_string()));
        }
    });
    let keys = |keys: &[&str]| keys.iter().map(|key| (*key).to_owned()).collect();
    let subsets = Subsets {
        selectors: vec![keys(&["stage"]), keys(&["stage", "version"])],
        fallback,
        default_subset: pairs(&[("version", "2")]),
    };
    World::new(&with(made, |it| it.subsets = Some(subsets)), 1)
}

fn picked(world: &World, criteria: &[(&str, &str)]) -> Vec<u32> {
    let criteria = pairs(criteria);
    let mut all: Vec<u32> = Vec::new();
    for _ in 0..400 {
        let hash = Some(world.reactor.random().next_u64());
        let context = PickContext { metadata_match: &criteria, hash, ..PickContext::default() };
        if let Ok(endpoint) = world.cluster.pick(&context) {
            all.push(number(&endpoint.host));
        }
    }
    all.sort_unstable();
    all.dedup();
    all
}

#[test]
fn the_subset_with_exactly_the_keys_asked_for_serves() {
    for policy in policies() {
        let world = world(policy, SubsetFallback::NoEndpoint);
        assert_eq!(picked(&world, &[("stage", "prod")]), [0, 1, 2, 3, 4, 5]);
        assert_eq!(picked(&world, &[("stage", "dev")]), [6, 7]);
        assert_eq!(picked(&world, &[("stage", "prod"), ("version", "2")]), [1, 3, 5]);
        assert_eq!(picked(&world, &[("stage", "dev"), ("version", "1")]), [6]);
        for nothing in [&[][..], &[("version", "1")], &[("stage", "test")], &[("stage", "dev"), ("version", "2")]] {
            assert_eq!(picked(&world, nothing), Vec::<u32>::new(), "{nothing:?}");
        }
        let stats = &world.cluster.stats;
        assert_eq!((stats.lb_subsets_active.get(), stats.lb_subsets_selected.get()), (5, 1600));
        assert_eq!((stats.lb_subsets_created.get(), stats.lb_subsets_fallback.get()), (5, 0));
    }
}

#[test]
fn what_there_is_no_subset_for_goes_to_the_fallback() {
    for policy in policies() {
        let any = world(policy.clone(), SubsetFallback::AnyEndpoint);
        assert_eq!(picked(&any, &[]), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(picked(&any, &[("stage", "test")]).len(), 8);
        assert_eq!(any.cluster.stats.lb_subsets_fallback.get(), 800);
        let default = world(policy, SubsetFallback::DefaultSubset);
        assert_eq!(picked(&default, &[]), [1, 3, 5]);
        assert_eq!(picked(&default, &[("stage", "dev")]), [6, 7]);
    }
}

/// The details of the response say which of the two it was.
#[test]
fn an_endpoint_that_is_not_in_the_subset_is_not_one_that_is_unhealthy() {
    let why = |world: &World, criteria: &[(&str, &str)]| {
        let criteria = pairs(criteria);
        let context = PickContext { metadata_match: &criteria, ..PickContext::default() };
        world.cluster.pick(&context).map(|endpoint| number(&endpoint.host))
    };
    for policy in policies() {
        let world = world(policy.clone(), SubsetFallback::NoEndpoint);
        for outside in [&[][..], &[("stage", "test")], &[("version", "1")]] {
            assert_eq!(why(&world, outside), Err(NoHost::Subset), "{policy:?} {outside:?}");
        }
        let made = with(world.cluster.config.as_ref().clone(), |it| it.fail_traffic_on_panic = true);
        let world = World::new(&made, 1);
        [6, 7].into_iter().for_each(|number| eject(&world, number, true));
        assert_eq!(why(&world, &[("stage", "dev")]), Err(NoHost::Unhealthy), "{policy:?}");
        assert!(why(&world, &[("stage", "prod")]).is_ok());
        // The fallback has endpoints, and none of them may be used.
        let made = with(world.cluster.config.as_ref().clone(), |it| {
            it.subsets.as_mut().expect("subsets").fallback = SubsetFallback::DefaultSubset;
        });
        let world = World::new(&made, 1);
        [1, 3, 5].into_iter().for_each(|number| eject(&world, number, true));
        assert_eq!(why(&world, &[("stage", "test")]), Err(NoHost::Unhealthy), "{policy:?}");
    }
}

#[test]
fn each_subset_has_its_own_health_and_panic() {
    for policy in policies() {
        let world = world(policy, SubsetFallback::NoEndpoint);
        eject(&world, 1, true);
        assert_eq!(picked(&world, &[("stage", "prod"), ("version", "2")]), [3, 5]);
        eject(&world, 3, true);
        // One of three is left: panic in the subset, and none in the whole stage.
        assert_eq!(picked(&world, &[("stage", "prod"), ("version", "2")]), [1, 3, 5]);
        assert_eq!(picked(&world, &[("stage", "prod")]), [0, 2, 4, 5]);
    }
}

#[test]
fn subsets_come_and_go_with_their_endpoints() {
    let world = world(LbPolicy::Random, SubsetFallback::NoEndpoint);
    let specs: Vec<_> = world.shared.hosts().iter().map(|host| host.spec.clone()).collect();
    world.shared.set_members(specs[..6].to_vec());
    assert_eq!(picked(&world, &[("stage", "dev")]), Vec::<u32>::new());
    let stats = &world.cluster.stats;
    assert_eq!((stats.lb_subsets_active.get(), stats.lb_subsets_removed.get()), (3, 2));
    world.shared.set_members(specs);
    assert_eq!(picked(&world, &[("stage", "dev")]), [6, 7]);
    assert_eq!((stats.lb_subsets_active.get(), stats.lb_subsets_created.get()), (5, 7));
}
