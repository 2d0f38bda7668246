//! Checks are bounded, and say nothing of an endpoint that they could not reach for a reason of this host.

use super::*;

/// No descriptor is left: neither passed nor failed, and what was known stays.
#[test]
fn a_shortage_of_this_host_is_no_failure_of_the_endpoint() {
    let world = World::new(1, HealthCheck { reuse_connection: false, ..check() });
    world.pass(1);
    assert_eq!(world.stats(&["attempt", "success", "failure", "healthy"]), [1, 1, 0, 1]);
    for error in [libc::EMFILE, libc::ENOBUFS] {
        world.network.fail_connects(Some(error));
        world.pass(10);
    }
    assert!(!world.is_failed());
    assert_eq!(world.stats(&["attempt", "success", "failure", "local_shortage", "healthy"]), [5, 1, 0, 4, 1]);
    world.network.fail_connects(Some(libc::EHOSTUNREACH));
    world.pass(5);
    assert!(world.is_failed());
    assert_eq!(world.stats(&["attempt", "success", "failure", "network_failure"]), [6, 1, 1, 1]);
}

/// The status decides; a body is read on up to a bound, so that its connection can be used again, and no further.
#[test]
fn an_endless_body_is_not_read_on() {
    for (head, healthy) in [
        ("HTTP/1.1 200 OK\r\n\r\n", true),
        ("HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n", true),
        ("HTTP/1.1 503 Busy\r\n\r\n", false),
    ] {
        let world = World::new(1, check());
        world.behave(Behaviour::Endless(head));
        world.pass(1);
        assert_eq!(world.is_failed(), !healthy, "{head}");
        let (sent, bound) = (world.origins[0].sent.get(), 64 * 1024);
        assert!((bound..bound + 80_000).contains(&sent), "{sent} bytes");
        // The connection is closed.
        world.behave(OK);
        world.pass(5);
        assert_eq!((world.origins[0].connections.get(), world.is_failed()), (2, false));
    }
}
