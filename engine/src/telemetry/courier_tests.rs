//! Reports to a collector that is well, busy, slow, dead or gone.

use super::*;
use crate::telemetry::testing::{BUSY, Behaviour, TAKEN, World};

#[derive(Default)]
struct Counted {
    ended: RefCell<Vec<(Fate, u64)>>,
    retried: Cell<usize>,
}

impl Tally for Rc<Counted> {
    fn ended(&self, fate: Fate, items: u64) {
        self.ended.borrow_mut().push((fate, items));
    }

    fn retried(&self) {
        self.retried.set(self.retried.get() + 1);
    }
}

const WELL: Fate = Fate::Taken { rejected: 0 };

fn destination() -> Destination {
    Destination {
        to: model::Destination {
            cluster: "app".into(),
            host: "zipkin.example".into(),
            path: "/api/v2/spans".into(),
            headers: vec![("x-token".into(), model::Secret("secret".into()))],
            timeout: Duration::from_secs(5),
        },
        protocol: Protocol::Http,
        content_type: "application/json",
        at_once: 1,
    }
}

fn courier(world: &World, to: Destination) -> (Rc<Courier>, Rc<Counted>) {
    let counted = Rc::new(Counted::default());
    (Courier::new(&world.reactor, &world.clusters, to, counted.clone()), counted)
}

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn reports_go_one_after_the_other_on_one_connection() {
    let world = World::new();
    let (courier, counted) = courier(&world, destination());
    (1..=3).for_each(|number: u8| courier.send(vec![b'0' + number; 3], number.into()));
    assert!(!courier.is_idle());
    world.pass(SECOND);
    assert!(courier.is_idle());
    assert_eq!(*counted.ended.borrow(), [(WELL, 1), (WELL, 2), (WELL, 3)]);
    assert_eq!(world.bodies(), [b"111", b"222", b"333"]);
    assert_eq!(world.collector.connections.get(), 1);
    let expected = concat!(
        "POST /api/v2/spans HTTP/1.1\r\nhost: zipkin.example\r\ncontent-type: application/json\r\nuser-agent: Ringway/",
        env!("CARGO_PKG_VERSION"),
        "\r\nx-token: secret\r\ncontent-length: 3\r\n\r\n"
    );
    assert_eq!(world.collector.reports.borrow()[0].1, expected);
    assert_eq!(world.registry.value("cluster.app.upstream_rq_completed"), Some(3));
}

/// It is longer than what the connection takes at once.
#[test]
fn a_long_report_arrives_whole() {
    let world = World::new();
    let (courier, counted) = courier(&world, destination());
    let body: Vec<u8> = (0..1_000_000u32).map(|number| number as u8).collect();
    courier.send(body.clone(), 1);
    world.pass(SECOND);
    assert_eq!(*counted.ended.borrow(), [(WELL, 1)]);
    assert!(world.bodies() == [body]);
}

#[test]
fn a_collector_that_is_busy_gets_the_report_later() {
    for (behaviour, tries) in [
        (BUSY, 5),
        (Behaviour::Close, 5),
        (Behaviour::Answer("HTTP/1.1 429 Slower\r\ncontent-length: 0\r\n\r\n"), 5),
        (Behaviour::Answer("HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"), 1),
        (Behaviour::Answer("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n"), 1),
    ] {
        let world = World::new();
        let (courier, counted) = courier(&world, destination());
        world.collector.behaviour.set(behaviour);
        courier.send(b"report".to_vec(), 7);
        world.pass(60 * SECOND);
        let expected = if matches!(behaviour, Behaviour::Close) { Fate::Unanswered } else { Fate::Refused };
        assert_eq!(*counted.ended.borrow(), [(expected, 7)], "{behaviour:?}");
        assert_eq!((world.bodies().len(), counted.retried.get()), (tries, tries - 1), "{behaviour:?}");
        assert!(courier.standing.is_bad.get());
        // Outlier detection hears of it. What a client did wrong is no failure of the endpoint.
        let failures = world.shared.hosts()[0].state.sum(|stats| stats.rq_error.get() as i64);
        let is_clients = matches!(behaviour, Behaviour::Answer(answer) if answer.starts_with("HTTP/1.1 4"));
        assert_eq!(failures, if is_clients { 0 } else { tries as i64 }, "{behaviour:?}");
        // Well again, also in between.
        courier.send(b"report".to_vec(), 7);
        world.pass(SECOND / 8);
        world.collector.behaviour.set(TAKEN);
        world.pass(60 * SECOND);
        let again = if tries == 1 { expected } else { WELL };
        assert_eq!(counted.ended.borrow()[1], (again, 7), "{behaviour:?}");
        assert_eq!(courier.standing.is_bad.get(), tries == 1);
    }
}

#[test]
fn back_off_grows_and_a_named_time_is_kept() {
    let world = World::new();
    let (courier, counted) = courier(&world, destination());
    world.collector.behaviour.set(BUSY);
    courier.send(b"1".to_vec(), 1);
    world.pass(60 * SECOND);
    let pauses = || {
        let reports = world.collector.reports.borrow();
        let pairs = reports.windows(2).map(|pair| (pair[1].0 - pair[0].0) / 1_000_000);
        pairs.collect::<Vec<_>>()
    };
    for (pause, most) in pauses().iter().zip([500, 1000, 2000, 4000]) {
        assert!((most / 2..=most + 2).contains(pause), "{:?}", pauses());
    }
    world.collector.reports.borrow_mut().clear();
    world.collector.behaviour.set(Behaviour::Answer("HTTP/1.1 503 B\r\nretry-after: 7\r\ncontent-length: 0\r\n\r\n"));
    courier.send(b"2".to_vec(), 1);
    world.pass(8 * SECOND);
    world.collector.behaviour.set(TAKEN);
    world.pass(60 * SECOND);
    assert_eq!(counted.ended.borrow().last(), Some(&(WELL, 1)));
    assert!(pauses()[0] >= 7000, "{:?}", pauses());
}

#[test]
fn a_collector_that_does_not_answer_or_is_not_there_is_given_up() {
    for is_silent in [true, false] {
        let world = World::new();
        let (courier, counted) = courier(&world, destination());
        world.collector.behaviour.set(Behaviour::Silence);
        if !is_silent {
            world.network.fail_connects(Some(libc::ECONNREFUSED));
        }
        courier.send(b"report".to_vec(), 1);
        world.pass(60 * SECOND);
        assert_eq!(*counted.ended.borrow(), [(Fate::Unanswered, 1)]);
        let timeouts = world.registry.value("cluster.app.upstream_rq_timeout");
        assert_eq!(timeouts, Some(if is_silent { 5 } else { 0 }));
        assert_eq!(world.registry.value("cluster.app.upstream_rq_active"), Some(0));
    }
}

#[test]
fn of_too_many_reports_the_oldest_are_lost() {
    let world = World::new();
    let (courier, counted) = courier(&world, destination());
    world.collector.behaviour.set(Behaviour::Silence);
    courier.send(vec![b'x'; 1000], 0);
    world.pass(SECOND);
    (1..=20).for_each(|number| courier.send(vec![b'x'; 1024 * 1024], number));
    let expected: Vec<_> = (1..=12).map(|number| (Fate::Overflow, number)).collect();
    assert_eq!(*counted.ended.borrow(), expected, "eight of them have room");
    world.collector.behaviour.set(TAKEN);
    world.pass(60 * SECOND);
    assert_eq!(world.bodies().len(), 10, "the first one twice");
}

#[test]
fn without_its_cluster_a_report_is_lost_at_once() {
    let world = World::new();
    let (courier, counted) = courier(&world, destination());
    world.clusters.apply(&[]);
    courier.send(b"report".to_vec(), 3);
    world.pass(SECOND);
    assert_eq!(*counted.ended.borrow(), [(Fate::NoCluster, 3)]);
    assert!(world.bodies().is_empty());
    world.clusters.apply(std::slice::from_ref(&world.shared));
    courier.send(b"report".to_vec(), 3);
    world.pass(SECOND);
    assert_eq!(counted.ended.borrow()[1], (WELL, 3));
}

#[test]
fn at_the_end_nothing_waits_for_another_try() {
    let world = World::new();
    let (courier, counted) = courier(&world, destination());
    world.collector.behaviour.set(BUSY);
    courier.send(b"1".to_vec(), 1);
    courier.send(b"2".to_vec(), 2);
    world.pass(SECOND / 8);
    assert!(counted.ended.borrow().is_empty());
    let start = world.reactor.now();
    courier.finish();
    let (reactor, finished) = (world.reactor.clone(), courier.clone());
    world.reactor.block_on(async move {
        while !finished.is_idle() {
            reactor.sleep(Duration::from_millis(1)).await;
        }
    });
    assert_eq!(*counted.ended.borrow(), [(Fate::Refused, 1), (Fate::Refused, 2)]);
    assert!(world.reactor.now() - start < 100_000_000);
}
