//! Hash tables are computed in the background: until one is there, the one before serves.

use crate::cluster::testing::{World, cluster, endpoint};
use crate::cluster::{HealthFlags, HostSpec, PickContext};
use ringway_config::model::{self, LbPolicy};
use std::collections::HashSet;

const KEYS: u64 = 2000;

fn world(policy: &LbPolicy, hosts: u32) -> World {
    let endpoints = (1..=hosts).map(endpoint).collect();
    let config = model::Cluster { lb_policy: policy.clone(), endpoints, ..cluster() };
    let world = World::new(&config, 1);
    // The first table is there. From now on there is traffic that jobs must not delay.
    world.reactor.compute_in_turns();
    world
}

fn policies() -> [LbPolicy; 2] {
    [LbPolicy::Maglev { table_size: 65537 }, LbPolicy::RingHash { minimum_size: 20_000, maximum_size: 1 << 20 }]
}

fn key(number: u64) -> u64 {
    xxhash_rust::xxh64::xxh64(&number.to_ne_bytes(), 0)
}

fn picks(world: &World) -> Vec<String> {
    let pick = |number| {
        let context = PickContext { hash: Some(key(number)), ..PickContext::default() };
        world.cluster.pick(&context).expect("there are hosts").name.to_string()
    };
    (0..KEYS).map(pick).collect()
}

fn turns_until_done(world: &World) -> usize {
    let mut turns = 0;
    while !world.reactor.jobs_are_done() {
        world.reactor.turn();
        turns += 1;
        assert!(turns < 100_000, "it does not end");
    }
    turns
}

fn differences(a: &[String], b: &[String]) -> usize {
    a.iter().zip(b).filter(|(a, b)| a != b).count()
}

#[test]
fn the_old_table_serves_without_hosts_that_are_unhealthy() {
    for policy in policies() {
        let world = world(&policy, 20);
        let before = picks(&world);
        let ill = world.shared.hosts()[3].clone();
        world.shared.set_flag(&ill, HealthFlags::FAILED_ACTIVE_HC, true);
        let meanwhile = picks(&world);
        assert!(!world.reactor.jobs_are_done(), "the new table is under way");
        assert!(!meanwhile.contains(&ill.name.to_string()), "unhealthy at once");
        let owned = before.iter().filter(|name| **name == *ill.name).count();
        assert_eq!(differences(&before, &meanwhile), owned, "only the keys of that host move: {policy:?}");
        let slices = world.reactor.facts().slices;
        let turns = turns_until_done(&world);
        assert_eq!(world.reactor.facts().slices - slices, turns as u64, "a slice a turn");
        let after = picks(&world);
        assert!(!after.contains(&ill.name.to_string()));
        // As if the table had been made at once.
        let reference = self::world(&policy, 20);
        let same = reference.shared.hosts()[3].clone();
        reference.shared.set_flag(&same, HealthFlags::FAILED_ACTIVE_HC, true);
        picks(&reference);
        turns_until_done(&reference);
        assert_eq!(after, picks(&reference));
    }
}

/// A host of a long table becomes unhealthy. The turn that sees it computes nothing; between two turns there is one slice, of
/// steps of which each makes or frees a small piece, and so there are at least `steps`; the table before is freed like that,
/// too.
fn change_a_long_table(policy: &LbPolicy, steps: u64) {
    let world = world(policy, 3);
    let ill = world.shared.hosts()[1].clone();
    let before = world.reactor.job_steps();
    world.shared.set_flag(&ill, HealthFlags::FAILED_ACTIVE_HC, true);
    assert!(!picks(&world).contains(&ill.name.to_string()));
    assert_eq!(world.reactor.job_steps(), before);
    while !world.reactor.jobs_are_done() {
        let slices = world.reactor.facts().slices;
        world.reactor.turn();
        assert_eq!(world.reactor.facts().slices, slices + 1);
    }
    let done = world.reactor.job_steps() - before;
    assert!(done >= steps, "{done} steps, not {steps}");
}

/// At least a look at each place, in steps of 2048; a step for each piece of 8192 places that is made, and for each that is
/// freed.
#[test]
fn the_longest_maglev_table_is_made_and_freed_in_steps() {
    const SIZE: u64 = 5_000_011;
    change_a_long_table(&LbPolicy::Maglev { table_size: SIZE }, SIZE / 2048 + 2 * (SIZE / 8192));
}

/// Two thirds of the points are left. They are made in steps of 512, sorted in parts of about 512, and the table before is
/// freed in such parts.
#[test]
fn the_longest_ring_is_made_and_freed_in_steps() {
    const SIZE: u64 = 1 << 23;
    let parts = SIZE / 512;
    change_a_long_table(&LbPolicy::RingHash { minimum_size: SIZE, maximum_size: SIZE }, SIZE * 2 / 3 / 512 + 2 * parts);
}

#[test]
fn hosts_that_are_gone_get_nothing_and_new_ones_wait_for_the_table() {
    for policy in policies() {
        let world = world(&policy, 10);
        let before = picks(&world);
        let hosts = world.shared.hosts();
        let mut specs: Vec<HostSpec> = hosts.iter().skip(1).map(|host| host.spec.clone()).collect();
        let added = endpoint(99);
        let model::EndpointTarget::Address(address) = added.target.clone() else { panic!("an address") };
        specs.push(HostSpec::new(&added, address));
        world.shared.set_members(specs);
        let meanwhile: HashSet<String> = picks(&world).into_iter().collect();
        let new = world.shared.hosts()[9].name.to_string();
        assert!(before.contains(&hosts[0].name.to_string()) && !meanwhile.contains(&hosts[0].name.to_string()));
        assert!(!meanwhile.contains(&new), "the old table does not know it");
        turns_until_done(&world);
        let after: HashSet<String> = picks(&world).into_iter().collect();
        assert!(after.contains(&new) && !after.contains(&hosts[0].name.to_string()));
    }
}

/// A change in each turn: tables are finished nevertheless, one after the other, and the last one is right.
#[test]
fn a_storm_of_changes_does_not_keep_tables_from_being_finished() {
    let policy = LbPolicy::Maglev { table_size: 655_373 };
    let world = world(&policy, 20);
    let added = endpoint(99);
    let model::EndpointTarget::Address(address) = added.target.clone() else { panic!("an address") };
    let hosts = world.shared.hosts();
    let specs = hosts.iter().map(|host| host.spec.clone()).chain([HostSpec::new(&added, address)]);
    world.shared.set_members(specs.collect());
    let (first, new) = (world.shared.hosts()[0].clone(), world.shared.hosts()[20].name.to_string());
    let mut turns = 0;
    while !picks(&world).contains(&new) {
        world.shared.set_flag(&first, HealthFlags::FAILED_ACTIVE_HC, turns % 2 == 0);
        world.cluster.tend();
        world.reactor.turn();
        turns += 1;
        assert!(turns < 20_000, "the new host waits for ever");
    }
    world.shared.set_flag(&first, HealthFlags::FAILED_ACTIVE_HC, false);
    for _ in 0..2 {
        world.cluster.tend();
        turns_until_done(&world);
    }
    let reference = World::new(
        &model::Cluster { lb_policy: policy, endpoints: (1..=20).chain([99]).map(endpoint).collect(), ..cluster() },
        1,
    );
    assert_eq!(picks(&world), picks(&reference));
}

/// A cluster that is described again keeps its keys where they are while its first table is computed.
#[test]
fn a_renewed_cluster_starts_with_the_tables_of_the_one_before() {
    for policy in policies() {
        let world = world(&policy, 10);
        let before = picks(&world);
        let renewed = world.renewed(&model::Cluster { max_idle_connections: 1, ..(*world.shared.config).clone() });
        assert_eq!(before, picks(&renewed));
        assert!(!world.reactor.jobs_are_done());
        turns_until_done(&renewed);
        assert_eq!(before, picks(&renewed));
    }
}
