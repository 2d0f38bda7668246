//! Checks end to end on in-memory pipes, with virtual time: what they send, how they read the answer, and when.

mod bounds;
mod moving;
mod reasons;
mod several;

use super::*;
use crate::cluster::testing::{cluster, endpoint};
use crate::cluster::{HealthFlags, Supervisor, Warm, Warming};
use crate::net::{MemoryNetwork, PipeEnd};
use crate::ring::PoolSize;
use crate::stats::{ClusterStats, Registry};
use ringway_config::model::{self, HttpHealthCheck, Place, TcpHealthCheck};
use std::cell::{Cell, RefCell};
use std::sync::Arc;

/// An HTTP check with the smallest settings.
pub(crate) fn check() -> HealthCheck {
    HealthCheck {
        texts: Default::default(),
        place: Place::default(),
        kind: HealthCheckKind::Http(http_check()),
        timeout: Duration::from_secs(1),
        interval: Duration::from_secs(5),
        interval_jitter: Duration::ZERO,
        no_traffic_interval: Duration::from_secs(60),
        unhealthy_interval: Duration::from_secs(5),
        unhealthy_edge_interval: Duration::from_secs(5),
        healthy_edge_interval: Duration::from_secs(5),
        unhealthy_threshold: 1,
        healthy_threshold: 1,
        reuse_connection: true,
        event_log: None,
        always_log_failures: false,
    }
}

fn http_check() -> HttpHealthCheck {
    HttpHealthCheck {
        host: None,
        path: "/health?deep".into(),
        method: "GET".into(),
        expected_statuses: Vec::from([OK_STATUS]),
        retriable_statuses: Vec::from([SERVER_ERRORS]),
        request_headers: Vec::new(),
    }
}

const OK_STATUS: std::ops::Range<u16> = 200..201;
const SERVER_ERRORS: std::ops::Range<u16> = 500..600;

/// What an endpoint does with a request.
#[derive(Clone, Debug)]
enum Behaviour {
    Answer(&'static str),
    /// Answers, and then closes the connection.
    AnswerAndClose(&'static str),
    Close,
    Silence,
    /// A head, and a body without an end.
    Endless(&'static str),
}

const OK: Behaviour = Behaviour::Answer("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
const BUSY: Behaviour = Behaviour::Answer("HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n");

/// An endpoint on the memory network.
struct Origin {
    behaviour: RefCell<Behaviour>,
    connections: Cell<usize>,
    /// Bytes of endless bodies.
    sent: Cell<usize>,
    /// Each request with the time of its arrival in whole seconds.
    requests: RefCell<Vec<(u64, String)>>,
}

struct World {
    reactor: Rc<Reactor>,
    registry: Arc<Registry>,
    shared: Arc<ClusterShared>,
    supervisor: Supervisor,
    network: Rc<MemoryNetwork>,
    origins: Vec<Rc<Origin>>,
    /// Dropped by the first checks.
    warming: Warming,
}

impl World {
    /// A number of endpoints that all answer well, under this check, in a cluster that has had traffic.
    fn new(count: u32, check: HealthCheck) -> Self {
        let reactor = Reactor::simulated(1, PoolSize { count: 64, size: 1024 });
        let registry = Registry::new();
        let network = Rc::new(MemoryNetwork::default());
        let endpoints = (1..=count).map(endpoint).collect();
        let config = model::Cluster { endpoints, health_checks: vec![check], ..cluster() };
        let shared = ClusterShared::new(&config, &registry, 1, None);
        shared.put_in_force();
        registry.scope::<ClusterStats>("app", 0).upstream_cx_total.inc();
        let (events, _) = EventLog::start(&registry).expect("a thread");
        let supervisor = Supervisor::new(&reactor, Network::Memory(network.clone()), registry.clone(), events);
        let (warm, warming) = Warm::new();
        let mut world = Self { reactor, registry, shared, supervisor, network, origins: Vec::new(), warming };
        for host in world.shared.hosts().iter() {
            let origin = world.listen(&host.spec.address);
            world.origins.push(origin);
        }
        world.supervisor.apply(std::slice::from_ref(&world.shared), &warm);
        world
    }

    fn listen(&self, address: &Address) -> Rc<Origin> {
        let (behaviour, requests) = (RefCell::new(OK), RefCell::default());
        let origin = Rc::new(Origin { behaviour, connections: Cell::new(0), sent: Cell::new(0), requests });
        let listener = self.network.listen(address.clone(), 64 * 1024);
        let (reactor, served) = (self.reactor.clone(), origin.clone());
        self.reactor.spawn(async move {
            loop {
                let stream = poll_fn(|_| listener.poll_accept(&reactor)).await;
                served.connections.set(served.connections.get() + 1);
                reactor.spawn(serve(reactor.clone(), served.clone(), stream));
            }
        });
        origin
    }

    /// Lets time pass.
    fn pass(&self, seconds: u64) {
        let end = self.reactor.now() + seconds * 1_000_000_000;
        let timer = self.reactor.clone();
        self.reactor.block_on(async move { timer.sleep(Duration::from_secs(seconds)).await });
        self.supervisor.look();
        assert!(self.reactor.now() >= end);
    }

    fn behave(&self, behaviour: Behaviour) {
        self.origins.iter().for_each(|origin| *origin.behaviour.borrow_mut() = behaviour.clone());
    }

    /// The flags of the first endpoint.
    fn flags(&self) -> HealthFlags {
        self.shared.hosts()[0].flags()
    }

    fn is_failed(&self) -> bool {
        self.flags().contains(HealthFlags::FAILED_ACTIVE_HC)
    }

    fn stats(&self, names: &[&str]) -> Vec<i64> {
        let stat = |name: &&str| self.registry.value(&format!("cluster.app.health_check.{name}")).expect("a statistic");
        names.iter().map(stat).collect()
    }

    fn times(&self) -> Vec<u64> {
        self.origins[0].requests.borrow().iter().map(|request| request.0).collect()
    }
}

async fn serve(reactor: Rc<Reactor>, origin: Rc<Origin>, stream: PipeEnd) {
    let mut text = String::new();
    while let Ok(Some(buf)) = poll_fn(|_| stream.poll_recv()).await {
        text += std::str::from_utf8(&buf).expect("text");
        if !text.ends_with("\r\n\r\n") && !text.starts_with("PING") {
            continue;
        }
        let seconds = reactor.now() / 1_000_000_000;
        origin.requests.borrow_mut().push((seconds, std::mem::take(&mut text)));
        let behaviour = origin.behaviour.borrow().clone();
        match behaviour {
            Behaviour::Answer(bytes) => stream.write(bytes.as_bytes()),
            Behaviour::AnswerAndClose(bytes) => return stream.write(bytes.as_bytes()),
            Behaviour::Close => return,
            Behaviour::Silence => {}
            Behaviour::Endless(head) => {
                stream.write(head.as_bytes());
                while poll_fn(|_| stream.poll_flushed(0)).await.is_ok() {
                    stream.write(&[b'a'; 1000]);
                    origin.sent.set(origin.sent.get() + 1000);
                    reactor.yield_now().await;
                }
                return;
            }
        }
    }
}

#[test]
fn the_request_says_who_asks_whom() {
    let world = World::new(1, check());
    world.pass(1);
    let request = world.origins[0].requests.borrow()[0].1.clone();
    assert_eq!(request, "GET /health?deep HTTP/1.1\r\nhost: app\r\nuser-agent: Ringway/HC\r\n\r\n");
    let http = HttpHealthCheck {
        host: Some("example.com".into()),
        method: "POST".into(),
        request_headers: vec![("User-Agent".into(), "mine".into()), ("x-check".into(), "1".into())],
        ..http_check()
    };
    let world = World::new(1, HealthCheck { kind: HealthCheckKind::Http(http), ..check() });
    world.pass(1);
    let request = world.origins[0].requests.borrow()[0].1.clone();
    let expected = "POST /health?deep HTTP/1.1\r\nhost: example.com\r\nUser-Agent: mine\r\nx-check: 1\r\ncontent-length: 0\r\n\r\n";
    assert_eq!(request, expected);
}

#[test]
fn endpoints_are_failed_until_their_first_check_which_is_at_once() {
    let world = World::new(3, check());
    assert!(world.shared.hosts().iter().all(|host| host.flags() == HealthFlags::FAILED_ACTIVE_HC));
    assert!(world.warming.missing().contains(" (cluster "), "{}", world.warming.missing());
    world.pass(1);
    assert!(world.shared.hosts().iter().all(|host| host.flags() == HealthFlags::default()));
    assert!(world.warming.is_over(), "every first check has ended");
    assert_eq!(world.stats(&["attempt", "success", "failure", "healthy"]), [3, 3, 0, 3]);
    assert_eq!(world.registry.value("cluster.app.membership_healthy"), Some(3));
}

#[test]
fn thresholds_intervals_and_one_connection_for_all_checks() {
    let seconds = Duration::from_secs;
    let check = HealthCheck {
        unhealthy_threshold: 3,
        healthy_threshold: 2,
        interval: seconds(10),
        unhealthy_interval: seconds(7),
        unhealthy_edge_interval: seconds(2),
        healthy_edge_interval: seconds(3),
        ..check()
    };
    let world = World::new(1, check);
    world.pass(5);
    assert!(!world.is_failed());
    world.behave(BUSY);
    // Failures at 10, 12 and 14.
    world.pass(8);
    assert!(!world.is_failed(), "two are not enough");
    world.pass(2);
    assert!(world.is_failed());
    assert_eq!(world.stats(&["attempt", "success", "failure", "network_failure", "healthy"]), [4, 1, 3, 0, 0]);
    world.behave(OK);
    // Successes at 21 and 24.
    world.pass(8);
    assert!(world.is_failed(), "one is not enough");
    world.pass(22);
    assert!(!world.is_failed());
    assert_eq!(world.times(), [0, 10, 12, 14, 21, 24, 34, 44]);
    assert_eq!(world.origins[0].connections.get(), 1);
}

#[test]
fn statuses_that_are_not_expected() {
    let kind = |status: &'static str| Behaviour::Answer(status);
    for (behaviour, failed) in [
        (kind("HTTP/1.1 500 Oops\r\ncontent-length: 0\r\n\r\n"), false),
        (kind("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"), true),
        (kind("HTTP/1.1 204 No Content\r\n\r\n"), true),
        (
            kind(
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\n",
            ),
            false,
        ),
        // This is no answer, so it counts like a broken connection.
        (kind("220 mail.example.com ESMTP\r\n"), false),
        (Behaviour::Close, false),
        (Behaviour::Silence, false),
    ] {
        let world = World::new(1, HealthCheck { unhealthy_threshold: 2, ..check() });
        world.pass(1);
        assert!(!world.is_failed());
        world.behave(behaviour.clone());
        world.pass(6);
        assert_eq!(world.is_failed(), failed, "{behaviour:?}");
    }
}

#[test]
fn nothing_in_time() {
    let world = World::new(1, check());
    world.pass(1);
    world.behave(Behaviour::Silence);
    world.pass(6);
    let timeout = HealthFlags(HealthFlags::FAILED_ACTIVE_HC.0 | HealthFlags::ACTIVE_HC_TIMEOUT.0);
    assert_eq!(world.flags(), timeout);
    assert_eq!(world.stats(&["failure", "network_failure"]), [1, 1]);
    // It still fails, but for another reason.
    world.behave(BUSY);
    world.pass(6);
    assert_eq!(world.flags(), HealthFlags::FAILED_ACTIVE_HC);
    world.behave(OK);
    world.pass(6);
    assert_eq!(world.flags(), HealthFlags::default());
    assert_eq!(world.origins[0].connections.get(), 2, "what timed out is not used again");
}

#[test]
fn a_refused_connection_is_a_failure_of_the_network() {
    let world = World::new(1, HealthCheck { unhealthy_threshold: 2, ..check() });
    world.pass(1);
    let gone = world.shared.hosts()[0].spec.address.clone();
    drop(world.network.listen(gone, 1));
    world.behave(Behaviour::Close);
    world.pass(12);
    assert!(world.is_failed());
    assert_eq!(world.stats(&["network_failure"]), [2]);
}

/// A server may close a connection between two checks; that is no failure, however often it happens.
#[test]
fn a_connection_closed_between_checks_is_no_failure() {
    let world = World::new(1, check());
    world.behave(Behaviour::AnswerAndClose("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n"));
    world.pass(24);
    assert_eq!(world.stats(&["attempt", "success", "failure"]), [5, 5, 0]);
    assert_eq!(world.origins[0].connections.get(), 5);
    // The same where each check has its own connection.
    let world = World::new(1, HealthCheck { reuse_connection: false, ..check() });
    world.pass(24);
    assert_eq!((world.stats(&["success"]), world.origins[0].connections.get()), (vec![5], 5));
}

#[test]
fn a_cluster_without_traffic_is_checked_rarely() {
    let mut world = World::new(1, check());
    // The same for a cluster without traffic.
    let config = model::Cluster { name: "quiet".into(), ..(*world.shared.config).clone() };
    let (warm, warming) = Warm::new();
    world.shared = ClusterShared::new(&config, &world.registry, 1, None);
    world.supervisor.apply(std::slice::from_ref(&world.shared), &warm);
    drop((warm, warming));
    world.pass(150);
    assert_eq!(world.times(), [0, 60, 120], "and the checks of the other cluster have ended");
}

#[test]
fn endpoints_say_that_they_are_degraded_or_want_to_be_left_out() {
    let world = World::new(2, check());
    world.behave(Behaviour::Answer("HTTP/1.1 200 OK\r\nx-envoy-degraded: 1\r\ncontent-length: 0\r\n\r\n"));
    world.pass(1);
    assert_eq!(world.flags(), HealthFlags::DEGRADED_ACTIVE_HC);
    assert_eq!(world.stats(&["healthy", "degraded"]), [2, 2]);
    world.behave(OK);
    world.pass(5);
    assert_eq!((world.flags(), world.stats(&["degraded"])), (HealthFlags::default(), vec![0]));
    world.behave(Behaviour::Answer(
        "HTTP/1.1 503 Bye\r\nx-envoy-immediate-health-check-fail: true\r\ncontent-length: 0\r\n\r\n",
    ));
    world.pass(5);
    let out = HealthFlags(HealthFlags::FAILED_ACTIVE_HC.0 | HealthFlags::EXCLUDED_VIA_IMMEDIATE_HC_FAIL.0);
    assert_eq!(world.flags(), out);
    assert_eq!(world.registry.value("cluster.app.membership_excluded"), Some(2));
    world.behave(OK);
    world.pass(5);
    assert_eq!(world.flags(), HealthFlags::default());
}

/// Requested with a failure that does not decide alone: the next success takes it back.
#[test]
fn left_out_for_a_moment() {
    let world = World::new(1, HealthCheck { unhealthy_threshold: 3, ..check() });
    world.pass(1);
    world.behave(Behaviour::Answer(
        "HTTP/1.1 503 Bye\r\nx-envoy-immediate-health-check-fail: true\r\ncontent-length: 0\r\n\r\n",
    ));
    world.pass(5);
    assert_eq!(world.flags(), HealthFlags::EXCLUDED_VIA_IMMEDIATE_HC_FAIL);
    world.behave(OK);
    world.pass(5);
    assert_eq!(world.flags(), HealthFlags::default());
}

#[test]
fn gauges_go_with_the_cluster() {
    let world = World::new(2, check());
    world.pass(1);
    assert_eq!(world.stats(&["healthy"]), [2]);
    let (warm, _warming) = Warm::new();
    world.supervisor.apply(&[], &warm);
    assert_eq!(world.stats(&["healthy", "degraded"]), [0, 0]);
    let seen = world.times().len();
    world.pass(30);
    assert_eq!(world.times().len(), seen);
}

/// A response to a request may say it, too, and takes effect before the next check.
#[test]
fn a_response_says_that_the_endpoint_fails() {
    let world = World::new(2, HealthCheck { unhealthy_threshold: 5, ..check() });
    world.pass(1);
    let host = world.shared.hosts()[0].clone();
    world.shared.report_immediate_failure(&host);
    world.supervisor.look();
    let out = HealthFlags(HealthFlags::FAILED_ACTIVE_HC.0 | HealthFlags::EXCLUDED_VIA_IMMEDIATE_HC_FAIL.0);
    assert_eq!(world.flags(), out);
    assert_eq!(world.stats(&["passive_failure", "failure", "network_failure", "healthy"]), [1, 1, 0, 1]);
    world.pass(5);
    assert_eq!(world.flags(), HealthFlags::default(), "the next check finds it well");
}

#[test]
fn members_come_and_go() {
    let world = World::new(2, check());
    world.pass(1);
    let hosts = world.shared.hosts();
    let mut third = hosts[0].spec.clone();
    third.address = Address::Ip(([10, 0, 0, 3], 80).into());
    third.health_check_port = Some(8080);
    let probed = world.listen(&Address::Ip(([10, 0, 0, 3], 8080).into()));
    world.shared.set_members(vec![hosts[1].spec.clone(), third]);
    world.supervisor.look();
    world.pass(1);
    assert_eq!(probed.requests.borrow().len(), 1, "at its own port, and at once");
    // The first is healthy and stays until it fails.
    assert_eq!(world.shared.hosts().len(), 3);
    world.origins[0].behaviour.replace(Behaviour::Silence);
    world.pass(6);
    assert_eq!(world.shared.hosts().len(), 2);
    assert_eq!(world.shared.stats.membership_change.get(), 3, "what its failure is called is no further change");
    let seen = world.times().len();
    world.pass(20);
    assert_eq!(world.times().len(), seen, "the checks of removed endpoints have ended");
    assert_eq!(world.stats(&["healthy"]), [2]);
}

#[test]
fn tcp_checks() {
    let tcp = |send: &str, receive: &[&str]| {
        let receive = receive.iter().map(|bytes| bytes.as_bytes().to_vec()).collect();
        let kind = HealthCheckKind::Tcp(TcpHealthCheck { send: send.into(), receive });
        World::new(1, HealthCheck { kind, unhealthy_threshold: 2, ..check() })
    };
    // A connection is enough, and each check makes one.
    let world = tcp("", &[]);
    world.pass(11);
    assert_eq!((world.stats(&["success"]), world.origins[0].connections.get()), (vec![3], 3));
    // Send and receive, on one connection.
    let world = tcp("PING", &["+", "PONG"]);
    world.behave(Behaviour::Answer("+xPONG\r\n"));
    world.pass(11);
    assert_eq!((world.stats(&["success"]), world.origins[0].connections.get()), (vec![3], 1));
    assert_eq!(world.origins[0].requests.borrow().len(), 3);
    world.behave(Behaviour::Answer("PONG+"));
    world.pass(6);
    assert!(!world.is_failed());
    world.pass(6);
    assert!(world.is_failed());
    assert_eq!(world.stats(&["network_failure"]), [2], "what is expected did not come in time");
    let reason = world.shared.hosts()[0].state.failure();
    assert_eq!(reason.as_deref(), Some(r#"timeout after 1s: received "PONG+", expected "+" and then "PONG""#));
}

/// One line of JSON for each event, in Envoy's form.
#[test]
fn events() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("events");
    let check = HealthCheck { event_log: Some(path.clone()), always_log_failures: true, ..check() };
    let world = World::new(1, check);
    world.pass(1);
    world.behave(BUSY);
    world.pass(11);
    world.behave(Behaviour::Answer("HTTP/1.1 200 OK\r\nx-envoy-degraded: 1\r\ncontent-length: 0\r\n\r\n"));
    world.pass(5);
    let expected = [
        "add_healthy_event\":{\"first_check\":true}",
        "eject_unhealthy_event\":{\"failure_type\":\"ACTIVE\",\"reason\":\"status 503, expected 200\"}",
        "health_check_failure_event\":{\"failure_type\":\"ACTIVE\",\"first_check\":false,\"reason\":\"status 503, expected 200\"}",
        "health_check_failure_event\":{\"failure_type\":\"ACTIVE\",\"first_check\":false,\"reason\":\"status 503, expected 200\"}",
        "add_healthy_event\":{\"first_check\":false}",
        "degraded_healthy_host\":{}",
    ];
    let start = std::time::Instant::now();
    let mut text = String::new();
    while text.lines().count() < expected.len() && start.elapsed() < Duration::from_secs(30) {
        std::thread::sleep(Duration::from_millis(5));
        text = std::fs::read_to_string(&path).unwrap_or_default();
    }
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{text}");
    assert!(lines.iter().zip(expected).all(|(line, end)| line.ends_with(&format!("\"{end}}}"))), "{text}");
    assert!(
        lines[0].starts_with(
            "{\"health_checker_type\":\"HTTP\",\"host\":{\"socket_address\":{\"protocol\":\"TCP\",\"address\":\"10.0.0.1\",\"port_value\":80}},\"cluster_name\":\"app\",\"timestamp\":\"2026-01-01T00:00:0"
        ),
        "{text}"
    );
}
