//! Active health checks with real origins: an unhealthy endpoint gets no requests, and it shows why.

use super::name_server::{NameServer, Zone};
use super::support::{Origin, Ringway, dead_address, eventually, forwarding_to, response};
use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::Duration;

/// An origin whose health has a status that a test may change, and whose other answers are its name.
fn origin(name: &'static str) -> (Origin, Arc<AtomicU16>) {
    let health = Arc::new(AtomicU16::new(200));
    let status = health.clone();
    let origin = Origin::answering(move |request| match request.target() {
        "/health" => response(status.load(Ordering::Acquire), &[], ""),
        _ => response(200, &[], name),
    });
    (origin, health)
}

/// A cluster of these endpoints, with `check` as its lines for the check.
fn config(endpoints: &[SocketAddr], check: &str) -> String {
    let intervals = "interval = \"20ms\"\nno_traffic_interval = \"20ms\"";
    let check = format!("[[clusters.health_checks]]\n{intervals}\nunhealthy_threshold = 2\n{check}");
    forwarding_to(endpoints, "", &check)
}

const HTTP: &str = "http.path = \"/health\"\nhttp.host = \"check.internal\"";

/// The names with which `count` requests were answered.
fn answers(proxy: &Ringway, count: usize) -> BTreeSet<String> {
    let mut client = proxy.connect();
    let answer = |_| {
        let answer = client.get("/");
        assert_eq!(answer.status(), 200, "{answer:?}");
        answer.text().to_owned()
    };
    (0..count).map(answer).collect()
}

#[test]
fn unhealthy_endpoints_get_no_requests_and_come_back() {
    let ((a, a_health), (b, _)) = (origin("a"), origin("b"));
    let proxy = Ringway::start(&config(&[a.address, b.address], HTTP));
    assert_eq!(answers(&proxy, 20).len(), 2);
    a_health.store(503, Ordering::Release);
    eventually("a is out", || proxy.health_flags(a.address) == "/failed_active_hc");
    assert_eq!(proxy.health_flags(b.address), "healthy");
    assert_eq!(answers(&proxy, 40), BTreeSet::from(["b".to_owned()]));
    proxy.wait_for_stat("cluster.app.health_check.healthy", 1);
    proxy.wait_for_stat("cluster.app.membership_healthy", 1);
    assert!(proxy.stat("cluster.app.health_check.failure") >= 1);
    assert_eq!(proxy.stat("cluster.app.health_check.network_failure"), 0);
    // The log and /clusters say why.
    let reason = "status 503, expected 200";
    proxy.wait_for_log(&format!("unhealthy cluster=app host={} failure=\"ACTIVE\" reason=\"{reason}\"", a.address));
    let failure = format!("app::{}::health_check_failure::", a.address);
    let clusters = || proxy.admin("GET", "/clusters").text().to_owned();
    assert!(clusters().contains(&format!("{failure}{reason}\n")), "{}", clusters());
    let json = proxy.admin("GET", "/clusters?format=json");
    assert!(json.text().contains(&format!("\"health_check_failure\":\"{reason}\"")), "{}", json.text());
    a_health.store(200, Ordering::Release);
    eventually("a is back", || proxy.health_flags(a.address) == "healthy");
    eventually("the failure is forgotten", || !clusters().contains(&failure));
    assert_eq!(answers(&proxy, 20).len(), 2);
    let check = a.requests().into_iter().find(|request| request.target() == "/health").expect("a check");
    assert_eq!((check.method(), check.field("host")), ("GET", Some("check.internal")));
    // Checks keep their connection, and are no requests of the cluster.
    let checks = a.requests().iter().filter(|request| request.target() == "/health").count();
    assert!(checks > 3 && a.connections() <= 3, "{checks} checks on {} connections", a.connections());
    assert_eq!(proxy.stat("cluster.app.upstream_rq_total"), 80);
}

/// The first checks have ended before the first request is taken: none goes to an endpoint that was dead from the start.
#[test]
fn a_start_waits_for_the_first_checks() {
    let (origin, _) = origin("a");
    for _ in 0..5 {
        let proxy = Ringway::start(&config(&[dead_address(), origin.address], HTTP));
        assert_eq!(answers(&proxy, 10), BTreeSet::from(["a".to_owned()]));
        assert_eq!(proxy.health_flags(dead_address()), "/failed_active_hc");
        let clusters = proxy.admin("GET", "/clusters");
        let refused = format!("app::{}::health_check_failure::connect: ECONNREFUSED\n", dead_address());
        assert!(clusters.text().contains(&refused), "{}", clusters.text());
    }
}

/// The recipe's sentence: two failed checks change nothing, three in a row take a server out, and two good ones bring it back.
#[test]
fn the_recipe_takes_a_server_out_after_three_failed_checks() {
    const STATUSES: [u16; 9] = [200, 503, 503, 200, 503, 503, 503, 200, 200];
    let checks = Arc::new(AtomicUsize::new(0));
    let count = checks.clone();
    let flaky = Origin::answering(move |request| match request.target() {
        "/healthz" => {
            let index = count.fetch_add(1, Ordering::AcqRel);
            response(STATUSES.get(index).copied().unwrap_or(200), &[], "")
        }
        _ => response(200, &[], "a"),
    });
    let (steady, _) = origin("b");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/examples/recipes/health-checks.toml");
    let mut config = std::fs::read_to_string(file).expect("the recipe");
    for (written, used) in [
        ("0.0.0.0:10000", "127.0.0.1:0".to_owned()),
        ("10.0.0.1:8080", flaky.address.to_string()),
        ("10.0.0.2:8080", steady.address.to_string()),
        ("interval = \"5s\"", "interval = \"20ms\"\nno_traffic_interval = \"20ms\"".to_owned()),
        ("timeout = \"1s\"", "timeout = \"60s\"".to_owned()),
    ] {
        assert!(config.contains(written), "{written} is not in the recipe");
        config = config.replace(written, &used);
    }
    let proxy = Ringway::start(&config);
    eventually("all statuses were seen", || checks.load(Ordering::Acquire) > STATUSES.len());
    proxy.wait_for_log(&format!("unhealthy cluster=app host={}", flaky.address));
    eventually("it is back", || proxy.stat("cluster.app.membership_healthy") == 2);
    assert_eq!(proxy.stat("cluster.app.health_check.failure"), 5);
    let log = proxy.stderr();
    assert_eq!(log.matches(&format!("unhealthy cluster=app host={}", flaky.address)).count(), 1, "{log}");
}

/// However few endpoints are healthy, they get all requests.
#[test]
fn one_healthy_endpoint_of_several_serves_all_requests() {
    let (origin, _) = origin("a");
    let other_dead = SocketAddr::from(([127, 0, 0, 1], 2));
    let proxy = Ringway::start(&config(&[dead_address(), other_dead, origin.address], HTTP));
    assert_eq!(answers(&proxy, 12), BTreeSet::from(["a".to_owned()]));
    assert_eq!(proxy.stat("cluster.app.lb_healthy_panic"), 0);
    assert!(!proxy.stderr().contains("panic"), "{}", proxy.stderr());
}

/// Without any healthy endpoint, health is ignored (Envoy: panic threshold), and the log says so once.
#[test]
fn panic_goes_to_all() {
    let ((a, a_health), (b, b_health)) = (origin("a"), origin("b"));
    let proxy = Ringway::start(&config(&[a.address, b.address], HTTP));
    let health = [a_health, b_health];
    health.iter().for_each(|health| health.store(500, Ordering::Release));
    eventually("both are out", || proxy.stat("cluster.app.membership_healthy") == 0);
    assert_eq!(answers(&proxy, 20).len(), 2);
    assert!(proxy.stat("cluster.app.lb_healthy_panic") >= 20);
    eventually("it is said", || proxy.stderr().contains("cluster=app usable=0 total=2"));
    health.iter().for_each(|health| health.store(200, Ordering::Release));
    eventually("it is said that it is over", || proxy.stderr().contains("panic is over"));
    let log = proxy.stderr();
    assert_eq!(log.matches("panic: requests go to all endpoints, healthy or not").count(), 1, "{log}");
}

#[test]
fn events_are_lines_of_json() {
    let (origin, health) = origin("a");
    let proxy = Ringway::start(&config(&[origin.address], &format!("{HTTP}\nevent_log = \"events.log\"")));
    health.store(500, Ordering::Release);
    eventually("it is out", || proxy.health_flags(origin.address) == "/failed_active_hc");
    health.store(200, Ordering::Release);
    eventually("it is back", || proxy.health_flags(origin.address) == "healthy");
    let lines = proxy.log_lines("events.log", 3);
    let events: Vec<serde_json::Value> =
        lines.iter().map(|line| serde_json::from_str(line).unwrap_or_else(|e| panic!("{line}: {e}"))).collect();
    for event in &events {
        assert_eq!((&event["cluster_name"], &event["health_checker_type"]), (&"app".into(), &"HTTP".into()));
        assert_eq!(event["host"]["socket_address"]["port_value"], origin.address.port());
    }
    assert_eq!(events[0]["add_healthy_event"]["first_check"], true);
    assert_eq!(events[1]["eject_unhealthy_event"]["failure_type"], "ACTIVE");
    assert_eq!(events[1]["eject_unhealthy_event"]["reason"], "status 500, expected 200");
    assert_eq!(events[2]["add_healthy_event"]["first_check"], false);
}

/// An origin that greets, as mail servers do, and one that accepts and says nothing.
#[test]
fn tcp_checks() {
    let greeting = Origin::raw(|mut connection, _| {
        connection.try_send(b"220 ready\r\n");
        connection.some();
    });
    let mute = Origin::raw(|mut connection, _| {
        connection.some();
    });
    let check = "tcp.receive = [\"220 \", \"ready\"]\ntimeout = \"300ms\"";
    let proxy = Ringway::start(&config(&[greeting.address, mute.address], check));
    assert_eq!(proxy.health_flags(greeting.address), "healthy");
    eventually("the mute one is out", || proxy.health_flags(mute.address) == "/failed_active_hc/active_hc_timeout");
    // Only a connection: both will do.
    let proxy = Ringway::start(&config(&[greeting.address, mute.address], "tcp = {}"));
    assert_eq!([greeting.address, mute.address].map(|address| proxy.health_flags(address)), ["healthy", "healthy"]);
}

#[test]
fn checks_go_to_a_port_of_their_own() {
    let (origin, _) = origin("a");
    let (probed, health) = self::origin("checks");
    let endpoint = format!("{{ address = \"{}\", health_check_port = {} }}", origin.address, probed.address.port());
    let proxy = Ringway::start(&config(&[origin.address], HTTP).replace(&format!("\"{}\"", origin.address), &endpoint));
    health.store(500, Ordering::Release);
    eventually("it is out", || proxy.health_flags(origin.address) == "/failed_active_hc");
    assert!(origin.requests().is_empty());
}

/// A response may say that its endpoint is to be left alone, which does not wait for the next check.
#[test]
fn a_response_says_that_its_endpoint_fails() {
    let leaving = Origin::answering(|request| match request.target() {
        "/health" => response(200, &[], ""),
        _ => response(200, &["x-envoy-immediate-health-check-fail: true"], "leaving"),
    });
    let (staying, _) = origin("staying");
    let check = format!("{HTTP}\nunhealthy_interval = \"1h\"");
    let proxy = Ringway::start(&config(&[leaving.address, staying.address], &check).replace("\"20ms\"", "\"1h\""));
    eventually("it is out", || {
        proxy.get("/");
        proxy.health_flags(leaving.address) == "/failed_active_hc/excluded_via_immediate_hc_fail"
    });
    assert_eq!(answers(&proxy, 20), BTreeSet::from(["staying".to_owned()]));
    proxy.wait_for_stat("cluster.app.health_check.passive_failure", 1);
}

#[test]
fn reloads_keep_what_is_known_and_follow_what_changes() {
    let ((a, a_health), (b, _)) = (origin("a"), origin("b"));
    let before = config(&[a.address, b.address], HTTP);
    let proxy = Ringway::start(&before);
    a_health.store(500, Ordering::Release);
    eventually("a is out", || proxy.health_flags(a.address) == "/failed_active_hc");
    // The same cluster goes on, and so do its checks.
    proxy.write_config(&before.replace("\"main\"", "\"other\""));
    assert!(proxy.reload());
    assert_eq!(proxy.health_flags(a.address), "/failed_active_hc");
    assert_eq!(answers(&proxy, 20), BTreeSet::from(["b".to_owned()]));
    assert!(a.connections() <= 3, "{}", a.connections());
    // Another endpoint is checked before requests come to it; checks of one that is gone end.
    let (c, _) = origin("c");
    proxy.write_config(&config(&[dead_address(), b.address, c.address], HTTP));
    assert!(proxy.reload());
    assert_eq!(answers(&proxy, 20), BTreeSet::from(["b".to_owned(), "c".to_owned()]));
    let seen = a.requests().len();
    eventually("b is checked again and again", {
        let checked = b.requests().len();
        move || b.requests().len() > checked + 5
    });
    assert_eq!(a.requests().len(), seen);
    // No checks at all: every endpoint is healthy.
    let unchecked = config(&[dead_address(), c.address], HTTP);
    proxy.write_config(unchecked.split("[[clusters.health_checks]]").next().expect("a beginning"));
    assert!(proxy.reload());
    assert_eq!(proxy.health_flags(dead_address()), "healthy");
}

/// Thousands of endpoints are checked by one thread.
#[test]
fn many_endpoints_take_one_thread() {
    const COUNT: usize = 3000;
    // All of 127/8 is this host. Bound to one address of it: the others refuse.
    let alive = TcpListener::bind("127.9.0.1:0").expect("a port");
    let port = alive.local_addr().expect("bound").port();
    let endpoints: Vec<SocketAddr> =
        (0..COUNT).map(|i| SocketAddr::from(([127, 9, (i / 250) as u8, (i % 250) as u8 + 1], port))).collect();
    let proxy = Ringway::start(&config(&endpoints, "tcp = {}").replace("\"20ms\"", "\"1s\""));
    eventually("all have been checked", || proxy.stat("cluster.app.health_check.attempt") >= 2 * COUNT as i64);
    proxy.wait_for_stat("cluster.app.health_check.healthy", 1);
    proxy.wait_for_stat("cluster.app.membership_healthy", 1);
    let threads: usize = proxy.status_line("Threads").parse().expect("a number");
    assert!(threads < 12, "{threads} threads");
}

/// An endpoint that becomes unhealthy loses the connections that are busy then as soon as they are idle; later ones, made in panic,
/// stay.
#[test]
fn a_busy_connection_of_an_endpoint_that_fails_is_not_kept() {
    let (health, release) = (Arc::new(AtomicU16::new(200)), Arc::new(std::sync::Barrier::new(2)));
    let (status, held) = (health.clone(), release.clone());
    let origin = Origin::answering(move |request| match request.target() {
        "/health" => response(status.load(Ordering::Acquire), &[], ""),
        "/hold" => {
            held.wait();
            response(200, &[], "held")
        }
        _ => response(200, &[], "a"),
    });
    let proxy = Ringway::start(&config(&[origin.address], HTTP));
    let mut client = proxy.connect();
    client.send(b"GET /hold HTTP/1.1\r\nHost: h\r\n\r\n");
    proxy.wait_for_stat("cluster.app.upstream_rq_active", 1);
    health.store(503, Ordering::Release);
    eventually("it is out", || proxy.health_flags(origin.address) == "/failed_active_hc");
    assert_eq!(answers(&proxy, 5).len(), 1);
    assert_eq!(proxy.stat("cluster.app.upstream_cx_active"), 2);
    release.wait();
    assert_eq!(client.response().text(), "held", "the exchange itself goes on");
    proxy.wait_for_stat("cluster.app.upstream_cx_active", 1);
    assert_eq!(answers(&proxy, 5).len(), 1);
    assert_eq!(proxy.stat("cluster.app.upstream_cx_total"), 2);
}

/// What checks of the old endpoints find while a reload waits for a name is not said of the new ones.
#[test]
fn a_reload_that_waits_shows_its_own_members_afterwards() {
    let ((a, _), (b, b_health)) = (origin("a"), origin("b"));
    let server = NameServer::with("late.test", Zone::Late(Duration::from_secs(1), Box::new(Zone::NoSuchName)));
    let proxy = Ringway::start(&config(&[a.address, b.address], HTTP));
    assert_eq!(proxy.stat("cluster.app.membership_total"), 2);
    let name = format!("\"late.test:{}\"", b.address.port());
    let found = format!("discovery = \"strict_dns\"\ndns.resolvers = [\"{}\"]", server.address);
    let new = forwarding_to(&[a.address, b.address], "", &found).replace(&format!("\"{}\"", b.address), &name);
    proxy.write_config(&new);
    std::thread::scope(|scope| {
        let reload = scope.spawn(|| proxy.reload());
        eventually("the name is looked up", || server.count("late.test") > 0);
        b_health.store(503, Ordering::Release);
        eventually("b is out", || proxy.stderr().contains("unhealthy"));
        assert!(!reload.is_finished(), "the reload waits");
        assert_eq!(proxy.stat("cluster.app.membership_total"), 2, "the old ones are in force");
        assert!(reload.join().expect("no panic"));
    });
    let shown = ["total", "healthy"].map(|name| proxy.stat(&format!("cluster.app.membership_{name}")));
    assert_eq!(shown, [1, 1]);
    // A cluster that is gone has none, and begins again when it is back.
    proxy.write_config(&new.replace("\"app\"", "\"other\""));
    assert!(proxy.reload());
    assert_eq!(proxy.admin("GET", "/stats?filter=cluster.app").text(), "");
    proxy.write_config(&config(&[a.address], HTTP));
    assert!(proxy.reload());
    let shown = ["total", "healthy", "change"].map(|name| proxy.stat(&format!("cluster.app.membership_{name}")));
    assert_eq!(shown, [1, 1, 1]);
}

/// Of a server that speaks HTTP/2 alone; one connection is enough for all checks.
#[test]
fn checks_speak_what_the_cluster_speaks() {
    let origin = |status: u16| {
        Ringway::start(&format!(
            "[[listeners]]\naddress = \"127.0.0.1:0\"\nhttp.codec_type = \"http2\"\n\
             http.routes = [{{ match = {{ path = \"/health\" }}, direct_response = {{ status = {status} }} }}]\n"
        ))
    };
    let (good, bad) = (origin(200), origin(503));
    let protocol = format!(
        "protocol = \"http2\"\n[[clusters.health_checks]]\ninterval = \"20ms\"\n{HTTP}\nno_traffic_interval = \"20ms\""
    );
    let proxy = Ringway::start(&forwarding_to(&[good.address(0), bad.address(0)], "", &protocol));
    eventually("one is in", || proxy.health_flags(good.address(0)) == "healthy");
    eventually("one is out", || proxy.health_flags(bad.address(0)) == "/failed_active_hc");
    eventually("several checks", || good.stat("http.ingress_http.downstream_rq_http2_total") >= 5);
    assert_eq!(good.stat("http.ingress_http.downstream_cx_total"), 1);
    proxy.wait_for_log("status 503, expected 200");
}
