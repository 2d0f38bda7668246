//! Outlier detection without a network: outcomes in, flags, statistics and times out.

use super::rates::NO_RATE;
use super::{Detector, Ejection, Origin, Outcome};
use crate::base::clock::Nanos;
use crate::base::logging::captured;
use crate::base::random::Random;
use crate::cluster::testing::{cluster, endpoint};
use crate::cluster::{CONTROL, ClusterShared, HealthFlags, Host, Report};
use crate::stats::{HostStats, Registry, ShardCopy};
use ringway_config::model::{self, OutlierDetection, Place};
use std::sync::Arc;
use std::time::Duration;

const SECOND: Nanos = 1_000_000_000;

fn defaults() -> OutlierDetection {
    OutlierDetection {
        texts: Default::default(),
        place: Place::default(),
        consecutive_5xx: Some(5),
        consecutive_gateway_failure: Some(5),
        consecutive_local_origin_failure: Some(5),
        interval: Duration::from_secs(10),
        base_ejection_time: Duration::from_secs(30),
        max_ejection_time: Duration::from_secs(300),
        max_ejection_time_jitter: Duration::ZERO,
        max_ejection_percent: 10,
        always_eject_one_host: true,
        enforcing_consecutive_5xx: 100,
        enforcing_consecutive_gateway_failure: 0,
        enforcing_consecutive_local_origin_failure: 100,
        enforcing_success_rate: 100,
        enforcing_local_origin_success_rate: 100,
        success_rate_minimum_hosts: 5,
        success_rate_request_volume: 100,
        success_rate_stdev_factor: 1900,
        failure_percentage_threshold: 85,
        enforcing_failure_percentage: 0,
        enforcing_failure_percentage_local_origin: 0,
        failure_percentage_minimum_hosts: 5,
        failure_percentage_request_volume: 50,
        split_external_local_origin_errors: false,
        successful_active_health_check_uneject_host: true,
    }
}

struct World {
    registry: Arc<Registry>,
    cluster: Arc<ClusterShared>,
    detector: Detector,
    random: Random,
    cells: Vec<ShardCopy<HostStats>>,
    now: Nanos,
}

impl World {
    fn new(hosts: usize, edit: impl FnOnce(&mut OutlierDetection)) -> Self {
        let mut config = defaults();
        edit(&mut config);
        let config = model::Cluster {
            name: "app".into(),
            endpoints: (1..=hosts as u32).map(endpoint).collect(),
            outlier_detection: Some(config),
            ..cluster()
        };
        let registry = Registry::new();
        let cluster = ClusterShared::new(&config, &registry, 1, None);
        let detector = Detector::new(&cluster, registry.scope("app", CONTROL)).expect("there is detection");
        let cells = cluster.hosts().iter().map(|host| host.state.stats.join(0)).collect();
        Self { registry, cluster, detector, random: Random::seeded(1), cells, now: 1000 * SECOND }
    }

    fn host(&self, index: usize) -> Arc<Host> {
        self.cluster.hosts()[index].clone()
    }

    /// Counts `count` outcomes at an endpoint, of which the control side learns at once.
    fn see(&mut self, index: usize, outcome: Outcome, count: usize) {
        for _ in 0..count {
            self.cluster.report(&self.host(index), &self.cells[index], outcome);
            self.decide();
        }
    }

    fn decide(&mut self) {
        for report in self.cluster.reports.take() {
            if let Report::Consecutive(host, ejection) = report {
                self.detector.on_consecutive(&host, ejection, self.now, &self.random);
            }
        }
    }

    /// Lets one interval pass.
    fn interval(&mut self) {
        self.now += 10 * SECOND;
        self.detector.on_interval(self.now, &self.random);
    }

    fn ejected(&self) -> Vec<usize> {
        let is_ejected = |host: &Arc<Host>| host.flags().contains(HealthFlags::FAILED_OUTLIER_CHECK);
        self.cluster.hosts().iter().enumerate().filter(|(_, host)| is_ejected(host)).map(|(index, _)| index).collect()
    }

    fn stat(&self, name: &str) -> i64 {
        self.registry.value(&format!("cluster.app.outlier_detection.{name}")).expect("a statistic")
    }

    /// The number of intervals until no endpoint is ejected.
    fn intervals_until_back(&mut self) -> usize {
        (1..)
            .find(|_| {
                self.interval();
                self.ejected().is_empty()
            })
            .expect("some time")
    }
}

#[test]
fn five_5xx_in_a_row_eject_and_a_success_between_them_does_not() {
    let mut world = World::new(10, |_| ());
    for _ in 0..3 {
        world.see(3, Outcome::Status(500), 4);
        world.see(3, Outcome::Status(404), 1);
    }
    assert!(world.ejected().is_empty());
    world.see(3, Outcome::Status(500), 4);
    world.see(4, Outcome::Status(200), 100);
    assert!(world.ejected().is_empty());
    world.see(3, Outcome::Status(599), 1);
    assert_eq!(world.ejected(), [3]);
    assert_eq!(world.stat("ejections_active"), 1);
    assert_eq!(world.stat("ejections_enforced_total"), 1);
    assert_eq!(world.stat("ejections_enforced_consecutive_5xx"), 1);
    assert_eq!(world.stat("ejections_detected_consecutive_5xx"), 1);
    // The outcomes of requests that were under way do not eject it again.
    world.see(3, Outcome::Status(500), 20);
    assert_eq!(world.stat("ejections_enforced_total"), 1);
}

#[test]
fn failures_of_our_own_side_count_as_5xx_and_as_gateway_failures() {
    let mut world = World::new(10, |config| {
        config.enforcing_consecutive_5xx = 0;
        config.enforcing_consecutive_gateway_failure = 100;
        config.max_ejection_percent = 100;
    });
    let failures = [Outcome::ConnectFailed, Outcome::ConnectTimeout, Outcome::Reset, Outcome::ResponseTimeout];
    for (index, outcome) in failures.into_iter().enumerate() {
        world.see(index, outcome, 5);
    }
    for (index, status) in [502, 503, 504].into_iter().enumerate() {
        world.see(4 + index, Outcome::Status(status), 5);
    }
    // A failure that is not the gateway's, between two that are.
    world.see(7, Outcome::Status(500), 5);
    for status in [502, 502, 502, 502, 501, 502] {
        world.see(8, Outcome::Status(status), 1);
    }
    assert_eq!(world.ejected(), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(world.stat("ejections_enforced_consecutive_gateway_failure"), 7);
    assert_eq!(world.stat("ejections_enforced_consecutive_5xx"), 0);
    assert!(world.stat("ejections_detected_consecutive_5xx") >= 2);
}

#[test]
fn split_errors_are_judged_apart() {
    let mut world = World::new(10, |config| {
        config.split_external_local_origin_errors = true;
        config.max_ejection_percent = 100;
    });
    // Neither row is broken by the other kind of failure; connections made end the local one.
    for _ in 0..4 {
        world.see(0, Outcome::ConnectFailed, 1);
    }
    world.see(0, Outcome::Status(500), 1);
    world.see(0, Outcome::ConnectFailed, 4);
    assert!(world.ejected().is_empty());
    world.see(0, Outcome::ResponseTimeout, 1);
    assert_eq!(world.ejected(), [0]);
    assert_eq!(world.stat("ejections_enforced_consecutive_local_origin_failure"), 1);
    world.see(1, Outcome::Status(503), 5);
    assert_eq!(world.ejected(), [0, 1]);
    assert_eq!(world.stat("ejections_enforced_consecutive_5xx"), 1);
    // Of local origin by rate: 60 of 100 connections of endpoint 2 fail, five others make all of theirs.
    for _ in 0..20 {
        world.see(2, Outcome::ConnectFailed, 3);
        world.see(2, Outcome::Status(200), 2);
    }
    (3..8).for_each(|index| world.see(index, Outcome::Status(200), 100));
    world.interval();
    assert_eq!(world.ejected(), [0, 1, 2]);
    assert_eq!(world.stat("ejections_enforced_local_origin_success_rate"), 1);
    assert_eq!(world.stat("ejections_detected_success_rate"), 0, "all that were answered were answered well");
}

#[test]
fn at_most_a_share_is_ejected() {
    let mut world = World::new(20, |config| config.max_ejection_percent = 14);
    (0..5).for_each(|index| world.see(index, Outcome::Status(500), 5));
    assert_eq!(world.ejected(), [0, 1], "three would be 15 %");
    assert_eq!(world.stat("ejections_overflow"), 3);
    // Too few endpoints for the share: one may be ejected nevertheless, unless the configuration says no.
    let mut few = World::new(3, |config| config.always_eject_one_host = false);
    few.see(0, Outcome::Status(500), 5);
    assert_eq!((few.ejected(), few.stat("ejections_overflow")), (vec![], 1));
    let mut few = World::new(3, |_| ());
    (0..3).for_each(|index| few.see(index, Outcome::Status(500), 5));
    assert_eq!((few.ejected(), few.stat("ejections_overflow")), (vec![0], 2));
    assert_eq!(few.intervals_until_back(), 3);
}

/// The one that is ejected beyond the share leaves a usable one in its priority, or it stays, or comes back.
#[test]
fn the_one_that_may_always_be_ejected_is_never_the_last_of_its_priority() {
    let mut alone = World::new(1, |_| ());
    alone.see(0, Outcome::Status(500), 5);
    assert_eq!((alone.ejected(), alone.stat("ejections_overflow")), (vec![], 1));
    let mut two = World::new(2, |_| ());
    two.see(0, Outcome::Status(500), 5);
    assert_eq!(two.ejected(), [0]);
    let other = two.host(1);
    two.cluster.set_flag(&other, HealthFlags::FAILED_ACTIVE_HC, true);
    two.interval();
    assert_eq!((two.ejected(), two.stat("ejections_active")), (vec![], 0), "before its time");
    two.see(0, Outcome::Status(500), 5);
    assert_eq!((two.ejected(), two.stat("ejections_overflow")), (vec![], 1));
    // The backup of another priority does not count.
    let mut backed = World::new(2, |_| ());
    let mut specs: Vec<_> = backed.cluster.hosts().iter().map(|host| host.spec.clone()).collect();
    specs[1].priority = 1;
    backed.cluster.set_members(specs);
    backed.detector.follow_members();
    backed.see(0, Outcome::Status(500), 5);
    assert_eq!((backed.ejected(), backed.stat("ejections_overflow")), (vec![], 1));
    // Within the share all may go: that is how the next priority takes over.
    let mut all = World::new(2, |config| config.max_ejection_percent = 100);
    (0..2).for_each(|index| all.see(index, Outcome::Status(500), 5));
    all.interval();
    assert_eq!(all.ejected(), [0, 1]);
}

/// With a base time of 30 s and intervals of 10 s: 3, 6, 9, ... intervals, at most 300 s; good intervals shorten it again.
#[test]
fn ejections_grow_and_decay() {
    let mut world = World::new(10, |_| ());
    let mut times = Vec::new();
    for _ in 0..12 {
        world.see(0, Outcome::Status(500), 5);
        assert_eq!(world.ejected(), [0]);
        times.push(world.intervals_until_back());
    }
    assert_eq!(times, [3, 6, 9, 12, 15, 18, 21, 24, 27, 30, 30, 30]);
    assert_eq!(world.stat("ejections_active"), 0);
    // The first good interval is a whole one after the return.
    (0..4).for_each(|_| world.interval());
    world.see(0, Outcome::Status(500), 5);
    assert_eq!(world.intervals_until_back(), 24, "of 11 steps four have decayed, and one comes on top");
    (0..100).for_each(|_| world.interval());
    world.see(0, Outcome::Status(500), 5);
    assert_eq!(world.intervals_until_back(), 3);
}

#[test]
fn jitter_is_added_up_to_its_maximum() {
    let mut world = World::new(10, |config| {
        config.max_ejection_time_jitter = Duration::from_secs(60);
        config.max_ejection_percent = 100;
    });
    (0..10).for_each(|index| world.see(index, Outcome::Status(500), 5));
    let start = world.now;
    let mut left = 10;
    let mut returns = Vec::new();
    while left > 0 {
        world.interval();
        let now = world.ejected().len();
        returns.extend(std::iter::repeat_n((world.now - start) / SECOND, left - now));
        left = now;
    }
    assert!(returns.iter().all(|after| (30..=100).contains(after)), "{returns:?}");
    assert!(returns[0] != returns[9], "all at once: {returns:?}");
}

#[test]
fn what_is_not_enforced_is_only_counted() {
    let mut world = World::new(10, |config| config.enforcing_consecutive_5xx = 0);
    world.see(0, Outcome::Status(500), 15);
    assert!(world.ejected().is_empty());
    assert_eq!(world.stat("ejections_detected_consecutive_5xx"), 3, "the count begins again each time");
    let mut half = World::new(100, |config| {
        config.enforcing_consecutive_5xx = 50;
        config.max_ejection_percent = 100;
    });
    (0..100).for_each(|index| half.see(index, Outcome::Status(500), 5));
    assert!((30..70).contains(&half.ejected().len()), "{}", half.ejected().len());
    let mut off = World::new(10, |config| config.consecutive_5xx = None);
    off.see(0, Outcome::Status(500), 50);
    assert_eq!(off.stat("ejections_detected_consecutive_5xx"), 0);
}

/// Envoy: logEject with `enforced: false`, and here also of an endpoint that stays because too many are out.
#[test]
fn what_is_not_enforced_is_told_once_an_interval() {
    let lines = |log: &str, text: &str| log.lines().filter(|line| line.contains(text)).count();
    let setting = "would be ejected, but enforcing_consecutive_5xx does not enforce it";
    let log = captured(|| {
        let mut world = World::new(10, |config| config.enforcing_consecutive_5xx = 0);
        world.see(0, Outcome::Status(500), 50);
        world.see(1, Outcome::Status(500), 5);
        world.interval();
        world.see(0, Outcome::Status(500), 50);
    });
    assert_eq!(lines(&log, setting), 3, "{log}");
    assert!(
        log.contains("INFO") && log.contains("host=10.0.0.1:80 reason=\"consecutive_5xx\" enforced=false"),
        "{log}"
    );
    let percentage = "would be ejected, but max_ejection_percent is reached";
    let log = captured(|| {
        let mut world = World::new(3, |_| ());
        (0..3).for_each(|index| world.see(index, Outcome::Status(500), 25));
        // The first one is back, and the next one goes.
        assert_eq!(world.intervals_until_back(), 3);
        world.see(1, Outcome::Status(500), 5);
        assert_eq!(world.ejected(), [1]);
        world.see(2, Outcome::Status(500), 5);
    });
    assert_eq!(lines(&log, percentage), 3, "{log}");
    let told = "host=10.0.0.2:80 reason=\"consecutive_5xx\" enforced=false ejected=1 endpoints=3";
    assert!(log.contains("WARN") && log.contains(told), "{log}");
    let ejected = "host=10.0.0.1:80 reason=\"consecutive_5xx\" enforced=true time=30s number=1";
    assert!(log.contains(ejected) && log.contains("after=30s"), "{log}");
}

/// The reason is the key, also where `max_ejection_percent` is reached: only what would be enforced is a warning.
#[test]
fn what_is_never_enforced_is_kept_by_its_key_at_the_percentage_too() {
    let log = captured(|| {
        let mut world = World::new(3, |config| {
            (config.consecutive_gateway_failure, config.enforcing_consecutive_gateway_failure) = (Some(5), 0);
        });
        (0..3).for_each(|index| world.see(index, Outcome::Status(503), 5));
        assert_eq!(world.ejected(), [0]);
        assert_eq!(world.stat("ejections_overflow"), 4, "as in Envoy, of both kinds");
    });
    let told = |text: &str, reason: &str| {
        let reason = format!("reason=\"{reason}\"");
        log.lines().filter(|line| line.contains(text) && line.contains(&reason)).count()
    };
    let setting = "enforcing_consecutive_gateway_failure does not enforce it";
    assert_eq!(told(setting, "consecutive_gateway_failure"), 3, "{log}");
    let percentage = "max_ejection_percent is reached";
    assert_eq!((told(percentage, "consecutive_gateway_failure"), told(percentage, "consecutive_5xx")), (0, 2), "{log}");
}

#[test]
fn an_endpoint_whose_success_rate_stands_out_is_ejected() {
    let mut world = World::new(10, |config| config.consecutive_5xx = None);
    (0..6).for_each(|index| world.see(index, Outcome::Status(200), 98));
    (0..5).for_each(|index| world.see(index, Outcome::Status(500), 2));
    world.see(5, Outcome::Status(500), 40);
    // Too few requests for a rate, however bad.
    world.see(6, Outcome::Status(500), 99);
    world.interval();
    assert_eq!(world.ejected(), [5]);
    assert_eq!(world.stat("ejections_enforced_success_rate"), 1);
    let (mean, threshold) = world.cluster.outlier.as_ref().expect("on").success_rates(Origin::External);
    assert!((93.0..94.0).contains(&mean) && (72.0..90.0).contains(&threshold), "{mean} {threshold}");
    assert!((world.host(5).state.monitor.success_rate(Origin::External) - 71.0).abs() < 1.0);
    assert_eq!(world.host(0).state.monitor.success_rate(Origin::External), 98.0);
    assert_eq!(world.host(7).state.monitor.success_rate(Origin::External), NO_RATE);
    // The rate is of the interval, not since the start.
    world.interval();
    assert_eq!(world.host(0).state.monitor.success_rate(Origin::External), NO_RATE);
    assert_eq!(world.stat("ejections_detected_success_rate"), 1);
}

#[test]
fn too_few_endpoints_with_enough_requests_are_not_compared() {
    let mut world = World::new(10, |config| config.consecutive_5xx = None);
    (0..3).for_each(|index| world.see(index, Outcome::Status(200), 100));
    world.see(3, Outcome::Status(500), 100);
    world.interval();
    assert_eq!((world.ejected(), world.stat("ejections_detected_success_rate")), (vec![], 0));
}

#[test]
fn a_percentage_of_failures_ejects() {
    let mut world = World::new(10, |config| {
        config.consecutive_5xx = None;
        config.enforcing_success_rate = 0;
        config.enforcing_failure_percentage = 100;
        config.max_ejection_percent = 100;
    });
    (0..5).for_each(|index| world.see(index, Outcome::Status(200), 50));
    world.see(5, Outcome::Status(200), 15);
    world.see(5, Outcome::Status(500), 85);
    world.see(6, Outcome::Status(200), 16);
    world.see(6, Outcome::Status(500), 84);
    world.interval();
    assert_eq!(world.ejected(), [5]);
    assert_eq!(world.stat("ejections_enforced_failure_percentage"), 1);
}

#[test]
fn a_passed_health_check_brings_back() {
    for allowed in [true, false] {
        let mut world = World::new(10, |config| config.successful_active_health_check_uneject_host = allowed);
        world.see(0, Outcome::Status(500), 5);
        let host = world.host(0);
        world.cluster.set_flag(&host, HealthFlags::FAILED_ACTIVE_HC, true);
        world.detector.on_check_passed(&host, world.now);
        assert_eq!(world.ejected(), [0], "one success of several that it takes");
        world.cluster.set_flag(&host, HealthFlags::FAILED_ACTIVE_HC, false);
        world.detector.on_check_passed(&host, world.now);
        assert_eq!(world.ejected().is_empty(), allowed);
    }
}

#[test]
fn members_come_and_go() {
    let mut world = World::new(10, |_| ());
    world.see(0, Outcome::Status(500), 5);
    let gone = world.host(0);
    let rest: Vec<_> = world.cluster.hosts().iter().skip(1).map(|host| host.spec.clone()).collect();
    world.cluster.set_members(rest);
    world.detector.follow_members();
    assert_eq!(world.stat("ejections_active"), 0);
    // A late report about it, and one about the endpoint that took its place.
    world.detector.on_consecutive(&gone, Ejection::Consecutive5xx, world.now, &world.random);
    assert_eq!(world.stat("ejections_enforced_total"), 1);
    let mut specs: Vec<_> = world.cluster.hosts().iter().map(|host| host.spec.clone()).collect();
    specs.push(gone.spec.clone());
    world.cluster.set_members(specs);
    world.detector.follow_members();
    world.cells = world.cluster.hosts().iter().map(|host| host.state.stats.join(0)).collect();
    assert!(world.ejected().is_empty());
    world.see(9, Outcome::Status(500), 5);
    assert_eq!(world.ejected(), [9]);
}

/// Four shards that fail at the same time: the row is counted exactly, so a limit that is just not reached does not
/// eject and the last failure does.
#[test]
fn failures_in_a_row_are_exact_across_threads() {
    const EACH: u32 = 5000;
    let mut world = World::new(10, |config| config.consecutive_5xx = Some(4 * EACH + 1));
    let host = world.host(0);
    std::thread::scope(|threads| {
        for shard in 0..4 {
            let (cluster, host) = (&world.cluster, &host);
            threads.spawn(move || {
                let cells = host.state.stats.join(shard);
                (0..EACH).for_each(|_| cluster.report(host, &cells, Outcome::Status(500)));
            });
        }
    });
    world.decide();
    assert!(world.ejected().is_empty());
    world.see(0, Outcome::Status(500), 1);
    assert_eq!(world.ejected(), [0]);
    assert_eq!(host.state.stats.sum(|stats| stats.rq_error.get() as i64), i64::from(4 * EACH) + 1);
}
