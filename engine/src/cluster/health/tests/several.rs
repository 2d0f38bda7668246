//! Several checks of one cluster: no check undoes the result of another.

use super::*;

/// One endpoint, already checked once by each of these.
fn world(checks: [HealthCheck; 2]) -> World {
    let mut world = World::new(1, check());
    let config = model::Cluster { health_checks: checks.into(), ..(*world.shared.config).clone() };
    world.shared = ClusterShared::new(&config, &world.registry, 1, None);
    let (warm, _warmed) = Warm::new();
    world.supervisor.apply(std::slice::from_ref(&world.shared), &warm);
    world.pass(1);
    assert_eq!(world.flags(), HealthFlags::default());
    world
}

/// Passes whatever the endpoint answers.
fn tcp() -> HealthCheck {
    HealthCheck { kind: HealthCheckKind::Tcp(TcpHealthCheck { send: vec![], receive: vec![] }), ..check() }
}

#[test]
fn several_checks_must_all_pass() {
    let world = world([check(), tcp()]);
    world.behave(BUSY);
    world.pass(6);
    assert!(world.is_failed(), "the port is open, but");
    world.behave(OK);
    world.pass(6);
    assert!(!world.is_failed());
    assert_eq!(world.stats(&["healthy"]), [1]);
}

/// The check that always passes is the last or the first of the two, and runs more often.
fn orders(http: &HealthCheck) -> [World; 2] {
    let often = Duration::from_secs(1);
    let tcp = HealthCheck { interval: often, ..tcp() };
    [world([http.clone(), tcp.clone()]), world([tcp, http.clone()])]
}

#[test]
fn degraded_as_long_as_one_check_says_so() {
    for world in orders(&check()) {
        world.behave(Behaviour::Answer("HTTP/1.1 200 OK\r\nx-envoy-degraded: 1\r\ncontent-length: 0\r\n\r\n"));
        world.pass(5);
        let generation = world.shared.generation();
        for _ in 0..15 {
            world.pass(1);
            assert_eq!((world.flags(), world.stats(&["degraded"])), (HealthFlags::DEGRADED_ACTIVE_HC, vec![1]));
        }
        assert_eq!(world.shared.generation(), generation, "no shard has anything to do");
        world.behave(OK);
        world.pass(6);
        assert_eq!((world.flags(), world.stats(&["degraded"])), (HealthFlags::default(), vec![0]));
    }
}

#[test]
fn left_out_until_no_check_is_against_it() {
    const BYE: Behaviour =
        Behaviour::Answer("HTTP/1.1 503 Bye\r\nx-envoy-immediate-health-check-fail: 1\r\ncontent-length: 0\r\n\r\n");
    // Only for a short time: the failure does not decide alone.
    for world in orders(&HealthCheck { unhealthy_threshold: 9, ..check() }) {
        world.behave(BYE);
        world.pass(5);
        for _ in 0..15 {
            world.pass(1);
            assert_eq!(world.flags(), HealthFlags::EXCLUDED_VIA_IMMEDIATE_HC_FAIL);
        }
        world.behave(OK);
        world.pass(6);
        assert_eq!(world.flags(), HealthFlags::default());
    }
    // By a response, which fails both checks: the quick one passes again before the other one runs.
    let out = HealthFlags(HealthFlags::FAILED_ACTIVE_HC.0 | HealthFlags::EXCLUDED_VIA_IMMEDIATE_HC_FAIL.0);
    for world in orders(&check()) {
        world.shared.report_immediate_failure(&world.shared.hosts()[0].clone());
        world.supervisor.look();
        assert_eq!(world.flags(), out);
        world.pass(2);
        assert_eq!(world.flags(), out);
        world.pass(4);
        assert_eq!(world.flags(), HealthFlags::default());
    }
}

/// The checks fail for different reasons. The one without a timeout runs more often, and is the first or the last.
#[test]
fn timed_out_as_long_as_one_check_says_so() {
    let failed = HealthFlags::FAILED_ACTIVE_HC;
    let timeout = HealthFlags(failed.0 | HealthFlags::ACTIVE_HC_TIMEOUT.0);
    let second = Duration::from_secs(1);
    let http = HealthCheck { interval: second, unhealthy_interval: second, unhealthy_edge_interval: second, ..check() };
    let receive = vec![b"200".to_vec()];
    let tcp = HealthCheck { kind: HealthCheckKind::Tcp(TcpHealthCheck { send: b"PING".to_vec(), receive }), ..check() };
    for world in [world([http.clone(), tcp.clone()]), world([tcp, http])] {
        // The status is wrong, and no 200 is to be expected.
        world.behave(BUSY);
        world.pass(7);
        let generation = world.shared.generation();
        for _ in 0..15 {
            world.pass(1);
            assert_eq!(world.flags(), timeout);
        }
        assert_eq!(world.shared.generation(), generation, "no shard has anything to do");
        world.behave(Behaviour::Answer("HTTP/1.1 503 200\r\ncontent-length: 0\r\n\r\n"));
        world.pass(7);
        assert_eq!(world.flags(), failed, "for its status alone");
        world.behave(BUSY);
        world.pass(7);
        assert_eq!(world.flags(), timeout);
        world.behave(OK);
        world.pass(7);
        assert_eq!(world.flags(), HealthFlags::default());
    }
}
