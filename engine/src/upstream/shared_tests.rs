//! Connections that several requests share: how many there are, and which of them have to show that they live.

use super::connection::Connection;
use super::pool::PoolOptions;
use super::pool_tests::{World, of_streams};
use crate::codec::h2::frame;
use crate::ring::TaskId;
use ringway_config::model::UpstreamProtocol::Http2 as SHARED;
use ringway_config::model::{CircuitBreakers, Http2Options};
use std::rc::Rc;
use std::time::Duration;

/// After a long time without exchanges, an endpoint has to answer before it gets the next one.
#[test]
fn a_connection_that_was_idle_for_long_is_doubted() {
    let world = World::new(SHARED, CircuitBreakers::default());
    let lease = world.lease();
    let first = lease.connection.clone();
    drop(lease);
    world.sleep(Duration::from_secs(29));
    drop(world.lease());
    world.sleep(Duration::from_secs(31));
    world.requests("ab");
    world.settle();
    assert_eq!((world.order().as_str(), world.connections()), ("", (1, 1)));
    let mut answer = Vec::new();
    frame::ping(&mut answer, true, *b"ringway?");
    world.say(&answer);
    world.settle();
    assert_eq!((world.order().as_str(), world.connections()), ("ab", (1, 1)));
    assert!(Rc::ptr_eq(&world.connection_of('a'), &first) && Rc::ptr_eq(&world.connection_of('b'), &first));
}

/// Where several were idle for long, those that the requests need have to answer, and no more.
#[test]
fn no_more_connections_are_doubted_than_there_are_requests_for() {
    for (requests, pings) in [("g", 1), ("gh", 1), ("ghi", 2), ("ghijk", 3)] {
        let world = World::new(SHARED, CircuitBreakers::default());
        let tasks: Vec<TaskId> = "abcdef".chars().map(|name| world.request(name)).collect();
        world.settle();
        assert_eq!(world.connections(), (3, 3));
        tasks.into_iter().for_each(|task| world.reactor.cancel(task));
        world.sleep(Duration::from_secs(31));
        world.requests(requests);
        world.settle();
        assert_eq!((world.order().as_str(), world.pings()), ("abcdef", pings), "{requests}");
    }
}

/// One that does not answer is closed, and the requests go to another connection.
#[test]
fn what_waits_for_an_endpoint_that_is_gone_goes_elsewhere() {
    let world = World::new(SHARED, CircuitBreakers::default());
    drop(world.lease());
    world.sleep(Duration::from_secs(31));
    world.requests("ab");
    world.sleep(Duration::from_millis(900));
    assert_eq!((world.order().as_str(), world.connections()), ("", (1, 1)));
    world.sleep(Duration::from_millis(200));
    assert_eq!((world.order().as_str(), world.connections()), ("ab", (1, 2)));
    assert_eq!(world.stats.http2_keepalive_timeout.get(), 1);
}

#[test]
fn as_many_connections_are_made_as_there_are_to_be() {
    let http2 = Http2Options { connections_min: 3, connections_max: Some(4), ..of_streams(2) };
    let world = World::with(SHARED, CircuitBreakers::default(), http2);
    for (requests, connections) in [("a", 1), ("b", 2), ("c", 3), ("d", 3), ("ef", 3), ("gh", 4), ("i", 4)] {
        world.requests(requests);
        world.settle();
        assert_eq!(world.connections(), (connections, connections as u64), "{requests}");
    }
    // The ninth waits.
    assert_eq!(world.order(), "abcdefgh");
    let counts = |connection: &Rc<Connection>| connection.active.get();
    assert!("abcdefgh".chars().all(|name| counts(&world.connection_of(name)) == 2));
    // Where one ends, the next may be made.
    world.endpoint.accepted.borrow_mut().remove(0);
    world.settle();
    assert_eq!((world.order().as_str(), world.connections()), ("abcdefghi", (4, 5)));
}

/// An endpoint that takes no more connections than it has is asked for them after a second, and then ever more seldom.
#[test]
fn connections_that_are_refused_are_not_asked_for_with_each_request() {
    for way in ["connect", "close", "limit"] {
        let http2 = Http2Options { connections_min: 3, ..of_streams(100) };
        let breakers = CircuitBreakers { max_connections: (way == "limit").then_some(1), ..CircuitBreakers::default() };
        let world = World::with(SHARED, breakers, http2);
        world.requests("a");
        world.settle();
        assert_eq!(world.connections(), (1, 1));
        if way == "connect" {
            world.listen(false);
        }
        let refused = || match way {
            "connect" => world.stats.upstream_cx_connect_fail.get(),
            "close" => world.connections().1 - 1,
            _ => world.stats.upstream_cx_overflow.get(),
        };
        let mut after = Vec::new();
        for tenth in 0..600 {
            drop(world.pool.take().expect("there is room"));
            world.sleep(Duration::from_millis(100));
            world.endpoint.accepted.borrow_mut().truncate(1);
            world.settle();
            after.extend((refused() > after.len() as u64).then_some(tenth / 10));
        }
        assert_eq!(refused(), after.len() as u64, "{way}: one at a time");
        assert!((4..=7).contains(&after.len()), "{way}: refused after seconds {after:?}");
        assert!(after[..2] == [0, 1] && after[after.len() - 1] > 20, "{way}: {after:?}");
        assert_eq!(world.connections().0, 1, "{way}");
    }
}

/// One that has had all its requests is none of those that there may be, though the last of them may take long.
#[test]
fn a_connection_without_requests_to_come_does_not_count() {
    let http2 = Http2Options { connections_max: Some(1), ..of_streams(100) };
    let options = PoolOptions { protocol: SHARED, http2, max_requests: Some(2), ..PoolOptions::plain() };
    let world = World::of(CircuitBreakers::default(), options);
    world.requests("abc");
    world.settle();
    assert_eq!((world.order().as_str(), world.connections()), ("abc", (2, 2)));
    assert!(Rc::ptr_eq(&world.connection_of('a'), &world.connection_of('b')));
    assert_eq!(world.stats.upstream_cx_max_requests.get(), 1);
    // The next has one more to come, and is the only one.
    world.requests("de");
    world.settle();
    assert_eq!((world.order().as_str(), world.connections()), ("abcde", (3, 3)));
    assert!(Rc::ptr_eq(&world.connection_of('c'), &world.connection_of('d')));
}
