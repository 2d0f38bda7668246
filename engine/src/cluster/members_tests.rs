//! Members and flags: which hosts stay, which are removed, and what the statistics say.

use super::*;
use crate::base::random::Random;
use crate::cluster::Health;
use ringway_config::model::Address;
use std::time::Duration;

fn endpoint(address: &str) -> model::Endpoint {
    model::Endpoint {
        place: model::Place::default(),
        target: EndpointTarget::Address(Address::Ip(address.parse().expect("an address"))),
        weight: 1,
        priority: 0,
        locality: String::new(),
        metadata: Vec::new(),
        hostname: None,
        health_check_port: None,
    }
}

fn spec(address: &str) -> HostSpec {
    HostSpec::new(&endpoint(address), Address::Ip(address.parse().expect("an address")))
}

fn config(endpoints: &[&str], checked: bool) -> model::Cluster {
    let check = model::HealthCheck {
        texts: Default::default(),
        place: model::Place::default(),
        kind: model::HealthCheckKind::Tcp(model::TcpHealthCheck { send: Vec::new(), receive: Vec::new() }),
        timeout: Duration::from_secs(1),
        interval: Duration::from_secs(1),
        interval_jitter: Duration::ZERO,
        no_traffic_interval: Duration::from_secs(60),
        unhealthy_interval: Duration::from_secs(1),
        unhealthy_edge_interval: Duration::from_secs(1),
        healthy_edge_interval: Duration::from_secs(1),
        unhealthy_threshold: 1,
        healthy_threshold: 1,
        reuse_connection: true,
        event_log: None,
        always_log_failures: false,
    };
    model::Cluster {
        endpoints: endpoints.iter().map(|address| endpoint(address)).collect(),
        health_checks: if checked { vec![check] } else { Vec::new() },
        ..crate::cluster::testing::cluster()
    }
}

fn names(shared: &ClusterShared) -> Vec<String> {
    shared.hosts().iter().map(|host| host.name.to_string()).collect()
}

fn gauges(shared: &ClusterShared) -> [i64; 4] {
    let stats = &shared.stats;
    [&stats.membership_total, &stats.membership_healthy, &stats.membership_degraded, &stats.membership_excluded]
        .map(|gauge| gauge.get())
}

#[test]
fn hosts_of_which_nothing_changed_stay_the_same_with_their_flags() {
    let registry = Registry::new();
    let shared = ClusterShared::new(&config(&["10.0.0.1:80", "10.0.0.2:80"], false), &registry, 1, None);
    shared.put_in_force();
    let first = shared.hosts()[0].clone();
    assert!(shared.set_flag(&first, HealthFlags::FAILED_OUTLIER_CHECK, true));
    assert!(!shared.set_flag(&first, HealthFlags::FAILED_OUTLIER_CHECK, true));
    let generation = shared.generation();
    let change = shared.set_members(vec![spec("10.0.0.1:80"), spec("10.0.0.2:80"), spec("10.0.0.1:80")]);
    assert!(change.is_empty());
    assert_eq!(shared.generation(), generation);
    let change = shared.set_members(vec![spec("10.0.0.3:80"), spec("10.0.0.1:80")]);
    assert_eq!((change.added.len(), change.removed.len()), (1, 1));
    assert_ne!(shared.generation(), generation);
    assert_eq!(names(&shared), ["10.0.0.3:80", "10.0.0.1:80"]);
    assert!(Arc::ptr_eq(&shared.hosts()[1], &first));
    assert_eq!(first.health(), Health::Unhealthy);
    assert_eq!(gauges(&shared), [2, 1, 0, 0]);
    assert_eq!(shared.stats.membership_change.get(), 2);
    // With another weight it is the same host.
    let change = shared.set_members(vec![HostSpec { weight: 7, ..spec("10.0.0.1:80") }]);
    assert_eq!((change.added.len(), change.renewed.len(), change.removed.len()), (0, 1, 1));
    assert!(shared.hosts()[0].is(&first) && shared.hosts()[0].health() == Health::Unhealthy);
    assert_eq!((shared.stats.max_host_weight.get(), gauges(&shared)), (7, [1, 0, 0, 0]));
}

#[test]
fn with_active_checks_hosts_begin_as_failed_and_leave_when_a_check_fails() {
    let registry = Registry::new();
    let shared = ClusterShared::new(&config(&["10.0.0.1:80", "10.0.0.2:80"], true), &registry, 1, None);
    shared.put_in_force();
    assert_eq!(gauges(&shared), [2, 0, 0, 0]);
    let host = shared.hosts()[0].clone();
    shared.set_flag(&host, HealthFlags::FAILED_ACTIVE_HC, false);
    assert_eq!(gauges(&shared), [2, 1, 0, 0]);
    // Discovery lists neither: the failed host is removed, the healthy one stays until its check fails.
    let change = shared.set_members(Vec::new());
    assert_eq!((change.added.len(), change.removed.len()), (0, 1));
    assert_eq!(names(&shared), ["10.0.0.1:80"]);
    assert_eq!(host.flags().to_string(), "/pending_dynamic_removal");
    assert_eq!(host.health(), Health::Healthy);
    // Discovery lists it again, and then no longer.
    assert!(shared.set_members(vec![spec("10.0.0.1:80")]).is_empty());
    assert_eq!(host.flags().to_string(), "healthy");
    assert!(shared.set_members(Vec::new()).is_empty());
    shared.set_flag(&host, HealthFlags::FAILED_ACTIVE_HC, true);
    assert!(shared.hosts().is_empty());
    assert_eq!(gauges(&shared), [0, 0, 0, 0]);
}

#[test]
fn a_logical_host_keeps_its_state_when_its_address_changes() {
    let registry = Registry::new();
    let shared = ClusterShared::new(&config(&[], true), &registry, 1, None);
    let logical = |address| HostSpec { logical_name: Some("example.com:80".into()), ..spec(address) };
    shared.put_in_force();
    shared.set_members(vec![logical("10.0.0.1:80")]);
    let old = shared.hosts()[0].clone();
    shared.set_flag(&old, HealthFlags::FAILED_ACTIVE_HC, false);
    shared.set_flag(&old, HealthFlags::FAILED_OUTLIER_CHECK, true);
    let generation = shared.generation();
    let change = shared.set_members(vec![logical("10.0.0.2:80")]);
    assert_eq!((change.added.len(), change.renewed.len(), change.removed.len()), (0, 1, 0));
    assert_ne!(shared.generation(), generation, "shards are to see the address");
    assert_eq!((names(&shared), shared.stats.membership_change.get()), (vec!["10.0.0.2:80".into()], 1));
    assert_eq!(shared.hosts()[0].flags(), HealthFlags::FAILED_OUTLIER_CHECK);
    // A holder of the old description means the same host.
    assert!(shared.set_flag(&old, HealthFlags::FAILED_OUTLIER_CHECK, false));
    assert_eq!((shared.hosts()[0].health(), gauges(&shared)), (Health::Healthy, [1, 1, 0, 0]));
    shared.set_members(Vec::new());
    shared.set_flag(&old, HealthFlags::FAILED_ACTIVE_HC, true);
    assert!(shared.hosts().is_empty(), "it was waiting for its removal");
}

#[test]
fn a_reload_keeps_what_checks_found() {
    let registry = Registry::new();
    let before = ClusterShared::new(&config(&["10.0.0.1:80", "10.0.0.2:80"], true), &registry, 1, None);
    before.set_flag(&before.hosts()[0], HealthFlags::FAILED_ACTIVE_HC, false);
    before.set_flag(&before.hosts()[0], HealthFlags::FAILED_OUTLIER_CHECK, true);
    let more = config(&["10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"], true);
    let after = ClusterShared::new(&more, &registry, 1, Some(&before));
    let health: Vec<_> = after.hosts().iter().map(|host| host.health()).collect();
    assert_eq!(health, [Health::Healthy, Health::Unhealthy, Health::Unhealthy]);
    // With other checks nothing is known.
    let unchecked = ClusterShared::new(&config(&["10.0.0.2:80"], false), &registry, 1, Some(&after));
    assert_eq!(unchecked.hosts()[0].health(), Health::Healthy);
}

/// Both write the same cells.
#[test]
fn only_the_members_in_force_are_counted() {
    let registry = Registry::new();
    let old = ClusterShared::new(&config(&["10.0.0.1:80", "10.0.0.2:80"], false), &registry, 1, None);
    assert_eq!((gauges(&old), old.stats.membership_change.get()), ([0; 4], 0));
    old.put_in_force();
    assert_eq!((gauges(&old), old.stats.membership_change.get()), ([2, 2, 0, 0], 1));
    let new = ClusterShared::new(&config(&["10.0.0.1:80"], false), &registry, 1, Some(&old));
    new.set_members(vec![spec("10.0.0.7:80"), spec("10.0.0.8:80"), spec("10.0.0.9:80")]);
    new.set_flag(&new.hosts()[0], HealthFlags::DEGRADED_ACTIVE_HC, true);
    assert_eq!((gauges(&old), old.stats.membership_change.get()), ([2, 2, 0, 0], 1));
    old.set_flag(&old.hosts()[0], HealthFlags::FAILED_OUTLIER_CHECK, true);
    assert_eq!(gauges(&old), [2, 1, 0, 0]);
    old.retire();
    new.put_in_force();
    assert_eq!((gauges(&old), old.stats.membership_change.get()), ([3, 2, 1, 0], 3));
    old.set_members(Vec::new());
    assert_eq!((gauges(&old), old.stats.membership_change.get()), ([3, 2, 1, 0], 3));
}

/// The counts follow each change. A count over all hosts must agree.
#[test]
fn counts_by_delta_agree_with_a_full_recount() {
    for (seed, checked) in [(1, false), (2, true), (3, true)] {
        let registry = Registry::new();
        let shared = ClusterShared::new(&config(&["10.0.0.1:80"], checked), &registry, 1, None);
        shared.put_in_force();
        let random = Random::seeded(seed);
        let mut ever: Vec<Arc<Host>> = shared.hosts().to_vec();
        let mut removed = 0;
        for step in 0..3000 {
            if random.below(4) == 0 {
                let logical = |name: u64| HostSpec {
                    logical_name: Some(format!("host-{name}").into()),
                    weight: 1 + random.below(5) as u32,
                    ..spec(&format!("10.0.0.{}:80", random.below(200)))
                };
                let specs = (0..random.below(12)).map(|_| logical(random.below(20))).collect();
                let change = shared.set_members(specs);
                removed += change.removed.len();
                ever.extend(change.added.into_iter().chain(change.renewed));
            } else {
                // Also hosts that are no longer members, and descriptions that are no longer in force.
                let host = &ever[ever.len() - 1 - random.below(ever.len().min(40) as u64) as usize];
                shared.set_flag(
                    host,
                    HealthFlags(random.below(1 << HealthFlags::NAMES.len()) as u32),
                    random.below(2) == 0,
                );
            }
            let hosts = shared.hosts();
            let count = |is: fn(&Host) -> bool| hosts.iter().filter(|host| is(host)).count() as i64;
            let recount = [
                hosts.len() as i64,
                count(|host| host.health() == Health::Healthy),
                count(|host| host.health() == Health::Degraded),
                count(|host| host.flags().is_excluded()),
            ];
            assert_eq!(gauges(&shared), recount, "seed {seed}, step {step}");
            let weight = hosts.iter().map(|host| i64::from(host.spec.weight)).max().unwrap_or(0);
            assert_eq!(shared.stats.max_host_weight.get(), weight, "seed {seed}, step {step}");
        }
        assert!(removed > 100, "{removed}");
    }
}

#[test]
fn flags_say_what_they_mean() {
    let both = HealthFlags(HealthFlags::FAILED_ACTIVE_HC.0 | HealthFlags::FAILED_OUTLIER_CHECK.0);
    assert_eq!(both.to_string(), "/failed_active_hc/failed_outlier_check");
    assert_eq!(both.health(), Health::Unhealthy);
    assert_eq!(HealthFlags::DEGRADED_ACTIVE_HC.health(), Health::Degraded);
    assert_eq!(HealthFlags::PENDING_DYNAMIC_REMOVAL.health(), Health::Healthy);
    assert!(HealthFlags::EXCLUDED_VIA_IMMEDIATE_HC_FAIL.is_excluded() && !both.is_excluded());
}
