//! An endpoint whose address changes (Envoy: LogicalHost) stays the same under checks.

use super::*;
use crate::cluster::HostSpec;

/// An endpoint with a logical name that is at 10.0.0.x.
fn logical(x: u8) -> HostSpec {
    HostSpec {
        logical_name: Some("app.test:80".into()),
        ..HostSpec::new(&endpoint(1), Address::Ip(([10, 0, 0, x], 80).into()))
    }
}

/// Each check goes to the endpoint's current address, and earlier results count.
#[test]
fn checks_follow_an_endpoint_that_moves() {
    let world = World::new(0, HealthCheck { unhealthy_threshold: 2, ..check() });
    let origins = [1, 2].map(|x| world.listen(&logical(x).address));
    let seen = || origins.each_ref().map(|origin| origin.requests.borrow().len());
    let move_to = |x| {
        world.shared.set_members(vec![logical(x)]);
        world.supervisor.look();
    };
    move_to(1);
    world.pass(1);
    move_to(2);
    world.pass(3);
    assert_eq!(
        (world.flags(), seen(), world.stats(&["attempt", "healthy"])),
        (HealthFlags::default(), [1, 0], vec![1, 1])
    );
    world.pass(2);
    assert_eq!((seen(), world.stats(&["attempt", "healthy"])), ([1, 1], vec![2, 1]));
    // A failure here and one there are two in a row.
    origins.iter().for_each(|origin| *origin.behaviour.borrow_mut() = BUSY);
    world.pass(5);
    assert!(!world.is_failed());
    move_to(1);
    world.pass(5);
    assert!(world.is_failed());
    assert_eq!(seen(), [2, 2]);
    // It stays failed, at any address, until a check passes.
    move_to(2);
    origins[1].behaviour.replace(OK);
    assert!(world.is_failed());
    world.pass(5);
    assert_eq!((world.flags(), world.stats(&["healthy"])), (HealthFlags::default(), vec![1]));
}

/// The address that did not answer is no longer the endpoint's.
#[test]
fn a_check_that_fails_while_the_endpoint_moves_is_made_again() {
    let world = World::new(0, HealthCheck { timeout: Duration::from_secs(2), ..check() });
    let origins = [1, 2].map(|x| world.listen(&logical(x).address));
    world.shared.set_members(vec![logical(1)]);
    world.supervisor.look();
    world.pass(1);
    origins[0].behaviour.replace(Behaviour::Silence);
    world.pass(5);
    world.shared.set_members(vec![logical(2)]);
    world.supervisor.look();
    world.pass(2);
    assert_eq!(origins[1].requests.borrow().len(), 1);
    assert_eq!(
        (world.flags(), world.stats(&["attempt", "success", "failure"])),
        (HealthFlags::default(), vec![3, 2, 0])
    );
    // Only once: an endpoint that answers nowhere has failed.
    origins.iter().for_each(|origin| *origin.behaviour.borrow_mut() = Behaviour::Silence);
    world.pass(5);
    world.shared.set_members(vec![logical(1)]);
    world.supervisor.look();
    world.pass(4);
    assert!(world.is_failed());
    assert_eq!(world.stats(&["attempt", "success", "failure"]), [5, 2, 1]);
}
