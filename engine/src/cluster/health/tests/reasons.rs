//! What is said of a check that failed.

use super::*;

/// What /clusters and the logs say of the last failure, until the endpoint is healthy again.
#[test]
fn failures_have_reasons() {
    let reason = |world: &World| world.shared.hosts()[0].state.failure().map(|reason| reason.to_string());
    let answer = |bytes: &'static str| Behaviour::Answer(bytes);
    let world = World::new(1, HealthCheck { healthy_threshold: 2, ..check() });
    world.pass(1);
    assert_eq!(reason(&world), None);
    for (behaviour, expected) in [
        (BUSY, "status 503, expected 200"),
        (answer("220 mail.example.com ESMTP\r\n"), "invalid response: http1.invalid_version"),
        (answer("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"), "timeout after 1s"),
        (Behaviour::Close, "connection closed, expected a response"),
        (
            Behaviour::AnswerAndClose("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n"),
            "connection closed within the response",
        ),
        (Behaviour::Silence, "timeout after 1s"),
    ] {
        world.behave(behaviour.clone());
        world.pass(7);
        assert_eq!(reason(&world).as_deref(), Some(expected), "{behaviour:?}");
    }
    world.behave(OK);
    world.pass(5);
    assert!(world.is_failed() && reason(&world).is_some(), "one success is not enough");
    world.pass(6);
    assert_eq!((world.is_failed(), reason(&world)), (false, None));
    // A failure that is not the last straw is told, too.
    let world = World::new(1, HealthCheck { unhealthy_threshold: 9, ..check() });
    world.pass(1);
    world.behave(BUSY);
    world.pass(5);
    assert_eq!((world.is_failed(), reason(&world).as_deref()), (false, Some("status 503, expected 200")));
    world.shared.report_immediate_failure(&world.shared.hosts()[0]);
    world.supervisor.look();
    assert_eq!(reason(&world).as_deref(), Some("a response has x-envoy-immediate-health-check-fail"));
}
