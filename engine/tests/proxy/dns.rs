//! Clusters whose endpoints are host names, against a real name server on loopback (docs/DISCOVERY.md).

use super::name_server::{NameServer, Zone, addresses, with_ttl};
use super::support::{Connection, Ringway, Setup, dead_address, eventually, response};
use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use std::collections::BTreeSet;
use std::net::{Ipv6Addr, TcpListener};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// An origin on every loopback address at one port. It answers with the address at which it was reached; `/hold` only
/// after `release`, `/fail` with 503.
pub struct Everywhere {
    pub port: u16,
    released: Arc<(Mutex<bool>, Condvar)>,
    stop: Arc<AtomicBool>,
}

impl Everywhere {
    pub fn start() -> Self {
        let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, 0)).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let (released, stop) = (Arc::new((Mutex::new(false), Condvar::new())), Arc::new(AtomicBool::new(false)));
        let (gate, stopped) = (released.clone(), stop.clone());
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::Acquire) {
                    return;
                }
                let (gate, here) = (gate.clone(), stream.local_addr().expect("connected").ip().to_canonical());
                std::thread::spawn(move || {
                    let mut connection = Connection::new(stream);
                    while let Some(request) = connection.request() {
                        if request.target() == "/hold" {
                            let open = gate.0.lock().expect("no panic");
                            drop(gate.1.wait_while(open, |open| !*open).expect("no panic"));
                        }
                        let status = if request.target() == "/fail" { 503 } else { 200 };
                        connection.send(&response(status, &[], here.to_string()));
                    }
                });
            }
        });
        Self { port, released, stop }
    }

    pub fn release(&self) {
        *self.released.0.lock().expect("no panic") = true;
        self.released.1.notify_all();
    }
}

impl Drop for Everywhere {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        self.release();
        drop(std::net::TcpStream::connect(("127.0.0.1", self.port)));
    }
}

/// A proxy before the cluster `app`, whose names are looked up at `server`. `dns`: more keys of `dns`, each with a comma
/// before it; `cluster`: more lines of the cluster; `PORT` in `endpoints` is the origin's.
pub fn config(server: &NameServer, origin: &Everywhere, dns: &str, cluster: &str, endpoints: &str) -> String {
    let endpoints = endpoints.replace("PORT", &origin.port.to_string());
    format!(
        r#"
[[listeners]]
address = "127.0.0.1:0"
http.routes = [{{ match = {{ prefix = "/" }}, route = {{ cluster = "app" }} }}]
[[clusters]]
name = "app"
dns = {{ resolvers = ["{}"]{dns} }}
endpoints = {endpoints}
{cluster}
"#,
        server.address
    )
}

pub const STRICT: &str = "discovery = \"strict_dns\"\ndns_lookup_family = \"v4_only\"";
pub const LOGICAL: &str = "discovery = \"logical_dns\"\ndns_lookup_family = \"v4_only\"";
/// Lookups every 20 ms, whatever the TTL.
pub const OFTEN: &str = ", respect_ttl = false, refresh_rate = \"20ms\"";
/// Also while they fail.
pub const OFTEN_ALWAYS: &str = ", respect_ttl = false, refresh_rate = \"20ms\", \
                            failure_refresh_rate = { base_interval = \"20ms\", max_interval = \"20ms\" }";

/// Where `count` requests arrived.
pub fn reached(proxy: &Ringway, count: usize) -> BTreeSet<String> {
    (0..count)
        .map(|_| {
            let answer = proxy.get("/");
            assert_eq!(answer.status(), 200, "{}", answer.text());
            answer.text().to_owned()
        })
        .collect()
}

pub fn set(addresses: &[&str]) -> BTreeSet<String> {
    addresses.iter().map(|address| (*address).to_owned()).collect()
}

pub fn wait_until_reached(proxy: &Ringway, addresses: &[&str]) {
    eventually(&format!("requests arrive at {addresses:?}"), || reached(proxy, 4 * addresses.len()) == set(addresses));
}

/// The endpoints that /clusters shows.
pub fn endpoints(proxy: &Ringway) -> BTreeSet<String> {
    let answer = proxy.admin("GET", "/clusters");
    let names = answer.text().lines().filter_map(|line| line.strip_prefix("app::")?.split("::health_flags").next());
    names.filter(|name| name.contains(':') && !name.contains("::")).map(str::to_owned).collect()
}

/// What /ready says of a process that does not serve yet.
fn is_initializing(admin: &Path) -> bool {
    if UnixStream::connect(admin).is_err() {
        return false;
    }
    let mut connection = Connection::open_unix(admin);
    connection.send(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let answer = connection.try_response("GET");
    answer.is_some_and(|answer| answer.status() == 503 && answer.text() == "INITIALIZING\n")
}

#[test]
fn every_address_of_every_name_is_an_endpoint() {
    let (origin, server) = (Everywhere::start(), NameServer::start());
    server.set("a.test", addresses(&["127.0.0.1", "127.0.0.2"]));
    server.set("b.test", addresses(&["127.0.0.2", "127.0.0.3"]));
    let endpoints_written = r#"["a.test:PORT", "b.test:PORT", "127.0.0.9:PORT"]"#;
    let proxy = Ringway::start(&config(&server, &origin, "", STRICT, endpoints_written));
    let expected = ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.9"];
    assert_eq!(reached(&proxy, 8), set(&expected));
    assert_eq!(endpoints(&proxy), expected.map(|address| format!("{address}:{}", origin.port)).into());
    assert_eq!(proxy.stat("cluster.app.membership_total"), 4);
    assert_eq!(proxy.stat("cluster.app.membership_healthy"), 4);
}

/// Listeners serve only once the first lookups have ended.
#[test]
fn the_first_request_finds_endpoints() {
    let origin = Everywhere::start();
    let late = Zone::Late(Duration::from_millis(600), Box::new(addresses(&["127.0.0.2"])));
    let server = NameServer::with("a.test", late);
    let proxy = Ringway::start(&config(&server, &origin, "", STRICT, r#"["a.test:PORT"]"#));
    assert_eq!(reached(&proxy, 1), set(&["127.0.0.2"]));
}

/// A name server that says nothing delays the start by a bounded time and nothing else.
#[test]
fn a_silent_name_server_stalls_neither_the_start_nor_traffic() {
    let (origin, server) = (Everywhere::start(), NameServer::with("a.test", Zone::Silent));
    let second = NameServer::with("a.test", Zone::Silent);
    let text = config(&server, &origin, "", STRICT, r#"["127.0.0.4:PORT", "a.test:PORT"]"#);
    let text = text.replace("resolvers = [", &format!("resolvers = [\"{}\", ", second.address));
    let setup = Setup::new(&text);
    let admin = setup.dir().join("admin.sock");
    let start = Instant::now();
    let proxy = std::thread::scope(|scope| {
        let starting = scope.spawn(|| setup.start());
        eventually("the admin endpoint says that it waits", || is_initializing(&admin));
        assert!(!starting.is_finished(), "nobody is served yet");
        starting.join().expect("it starts")
    });
    assert!(start.elapsed() > Duration::from_secs(3), "it waits for a while");
    eventually("it is ready", || proxy.admin("GET", "/ready").status() == 200);
    proxy.wait_for_log("not all names are looked up yet");
    assert!(proxy.stderr().contains("missing=\"a.test (cluster app)\""), "{}", proxy.stderr());
    assert_eq!(proxy.stat("dns.hickory.pending_resolutions"), 1);
    let mut client = proxy.connect();
    // 500 requests that wait for a lookup take far longer than the patience.
    let start = Instant::now();
    for _ in 0..500 {
        assert_eq!(client.get("/").text(), "127.0.0.4");
    }
    assert!(start.elapsed() < super::support::PATIENCE, "{:?}", start.elapsed());
    assert!(second.count("a.test") > 1, "it asks more than once");
    // When one of them speaks, the endpoint comes.
    server.set("a.test", addresses(&["127.0.0.5"]));
    wait_until_reached(&proxy, &["127.0.0.4", "127.0.0.5"]);
}

#[test]
fn a_changed_answer_changes_the_endpoints() {
    let origin = Everywhere::start();
    let server = NameServer::with("a.test", with_ttl(1, &["127.0.0.1", "127.0.0.2"]));
    let proxy = Ringway::start(&config(&server, &origin, "", STRICT, r#"["a.test:PORT"]"#));
    assert_eq!(reached(&proxy, 4), set(&["127.0.0.1", "127.0.0.2"]));
    assert_eq!(proxy.stat("cluster.app.membership_change"), 1);
    // An exchange on an endpoint that goes away ends as it should.
    let mut held: Vec<_> = (0..2).map(|_| proxy.connect()).collect();
    held.iter_mut().for_each(|client| client.send(b"GET /hold HTTP/1.1\r\nHost: h\r\n\r\n"));
    proxy.wait_for_stat("cluster.app.upstream_rq_active", 2);
    server.set("a.test", with_ttl(1, &["127.0.0.2", "127.0.0.3"]));
    wait_until_reached(&proxy, &["127.0.0.2", "127.0.0.3"]);
    assert_eq!(proxy.stat("cluster.app.membership_change"), 2);
    assert_eq!(proxy.stat("cluster.app.membership_total"), 2);
    origin.release();
    let ended: BTreeSet<_> = held.iter_mut().map(|client| client.response().text().to_owned()).collect();
    assert_eq!(ended, set(&["127.0.0.1", "127.0.0.2"]));
}

/// The same addresses in another order change nothing.
#[test]
fn a_rotated_answer_changes_nothing() {
    let origin = Everywhere::start();
    let server = NameServer::with("a.test", addresses(&["127.0.0.1", "127.0.0.2", "127.0.0.3"]));
    let proxy = Ringway::start(&config(&server, &origin, OFTEN, STRICT, r#"["a.test:PORT"]"#));
    server.set("a.test", addresses(&["127.0.0.3", "127.0.0.1", "127.0.0.2"]));
    let before = server.count("a.test");
    eventually("it was asked again", || server.count("a.test") > before + 3);
    assert_eq!(proxy.stat("cluster.app.membership_change"), 1);
    let stats = proxy.admin("GET", "/stats?filter=cluster.app.update");
    let value = |name: &str| {
        let line = stats.text().lines().find_map(|line| line.strip_prefix(&format!("cluster.app.update_{name}: ")));
        line.and_then(|value| value.parse::<i64>().ok()).expect("a number")
    };
    assert_eq!(value("no_rebuild"), value("success") - 1, "all answers but the first");
}

#[test]
fn the_ttl_decides_when_to_ask_again() {
    let origin = Everywhere::start();
    let server = NameServer::start();
    server.set("hour.test", addresses(&["127.0.0.1"]));
    server.set("second.test", with_ttl(1, &["127.0.0.2"]));
    server.set("zero.test", with_ttl(0, &["127.0.0.3"]));
    // The shortest TTL of all records counts, that of an alias as well.
    server.set("alias.test", Zone::Alias(1, "target.test".into(), Box::new(addresses(&["127.0.0.4"]))));
    let names = r#"["hour.test:PORT", "second.test:PORT", "zero.test:PORT", "alias.test:PORT"]"#;
    let started = Instant::now();
    let proxy = Ringway::start(&config(&server, &origin, ", refresh_rate = \"20ms\"", STRICT, names));
    eventually("three lookups of each short one", || {
        ["second.test", "zero.test", "alias.test"].iter().all(|name| server.count(name) >= 3)
    });
    let (zero, seconds) = (server.count("zero.test") as f64, started.elapsed().as_secs_f64());
    assert!(seconds > 1.5, "two refreshes need two seconds, not {seconds}");
    assert_eq!(server.count("hour.test"), 1);
    assert!(zero <= 2.0 + seconds, "no faster than once a second");
    assert_eq!(proxy.stat("cluster.app.membership_total"), 4);
}

/// Both addresses of this host are one endpoint, and the one that is listened on is found, by health checks as well.
#[test]
fn localhost_is_one_endpoint_whatever_family_is_listened_on() {
    let server = NameServer::start();
    for discovery in ["strict_dns", "logical_dns"] {
        for family in ["", "dns_lookup_family = \"all\"", "dns_lookup_family = \"v4_preferred\""] {
            let origin = super::support::Origin::answering(|_| response(200, &[], "here"));
            let checks = "[[clusters.health_checks]]\ntcp = {}\ninterval = \"50ms\"\ntimeout = \"5s\"";
            let cluster = format!("discovery = \"{discovery}\"\n{family}\n{checks}");
            let endpoints = format!("[\"localhost:{}\"]", origin.address.port());
            let nowhere = Everywhere::start();
            let proxy = Ringway::start(&config(&server, &nowhere, "", &cluster, &endpoints));
            for _ in 0..5 {
                let answer = proxy.get("/");
                assert_eq!((answer.status(), answer.text()), (200, "here"), "{cluster}");
            }
            assert_eq!(proxy.stat("cluster.app.membership_total"), 1);
            assert_eq!(proxy.stat("cluster.app.membership_healthy"), 1, "{cluster}");
        }
    }
}

#[test]
fn families() {
    let origin = Everywhere::start();
    let server = NameServer::start();
    server.set("both.test", addresses(&["127.0.0.1", "::1"]));
    server.set("four.test", addresses(&["127.0.0.1"]));
    server.set("six.test", addresses(&["::1"]));
    let failing = Box::new(Zone::Error(ResponseCode::ServFail));
    server.set("half.test", Zone::Families(Box::new(addresses(&["127.0.0.1"])), failing));
    let cases: [(&str, &str, &[&str]); 9] = [
        ("auto", "both.test", &["::1"]),
        ("auto", "four.test", &["127.0.0.1"]),
        ("v4_preferred", "both.test", &["127.0.0.1"]),
        ("v4_preferred", "six.test", &["::1"]),
        ("all", "both.test", &["127.0.0.1", "::1"]),
        ("all", "half.test", &["127.0.0.1"]),
        ("v4_only", "both.test", &["127.0.0.1"]),
        ("v6_only", "both.test", &["::1"]),
        ("v6_only", "four.test", &[]),
    ];
    for (family, name, expected) in cases {
        let lines = format!("discovery = \"strict_dns\"\ndns_lookup_family = \"{family}\"");
        let proxy = Ringway::start(&config(&server, &origin, "", &lines, &format!("[\"{name}:PORT\"]")));
        assert_eq!(proxy.stat("cluster.app.membership_total"), expected.len() as i64, "{family} {name}");
        match expected {
            [] => assert_eq!(proxy.get("/").status(), 503, "{family} {name}"),
            _ => assert_eq!(reached(&proxy, 4), set(expected), "{family} {name}"),
        }
    }
    let kinds = |name: &str| -> BTreeSet<_> {
        let asked = server.asked().into_iter().filter(|asked| asked.name == format!("{name}."));
        asked.map(|asked| asked.kind == RecordType::AAAA).collect()
    };
    assert_eq!(kinds("half.test"), [false, true].into());
}

/// What does not fit a UDP message comes over TCP.
#[test]
fn a_truncated_answer_is_fetched_over_tcp() {
    let (origin, server) = (Everywhere::start(), NameServer::start());
    let many: Vec<String> = (1..=200).map(|i| format!("127.0.7.{i}")).collect();
    let many = addresses(&many.iter().map(String::as_str).collect::<Vec<_>>());
    server.set("a.test", Zone::OverTcpOnly(Box::new(many)));
    let proxy = Ringway::start(&config(&server, &origin, "", STRICT, r#"["a.test:PORT"]"#));
    assert_eq!(proxy.stat("cluster.app.membership_total"), 200);
    let reached = reached(&proxy, 20);
    assert_eq!(reached.len(), 20);
    assert!(reached.iter().all(|address| address.starts_with("127.0.7.")));
    let over: Vec<bool> = server.asked().iter().map(|asked| asked.tcp).collect();
    assert_eq!(over, [false, true]);
}

/// The next name server is asked where one does not answer or does not know.
#[test]
fn name_servers_stand_in_for_each_other() {
    let origin = Everywhere::start();
    let good = NameServer::with("a.test", addresses(&["127.0.0.2"]));
    let sick = NameServer::with("a.test", Zone::Error(ResponseCode::ServFail));
    for (first, dns) in [(dead_address(), OFTEN), (sick.address, OFTEN)] {
        let text = config(&good, &origin, dns, STRICT, r#"["a.test:PORT"]"#);
        let text = text.replace("resolvers = [", &format!("resolvers = [\"{first}\", "));
        let proxy = Ringway::start(&text);
        assert_eq!(proxy.get("/").text(), "127.0.0.2", "{first}");
        assert_eq!(proxy.stat("cluster.app.update_failure"), 0, "{first}");
    }
    assert!(sick.count("a.test") < 5, "the one that answered last is asked first: {}", sick.count("a.test"));
}

#[test]
fn a_reload_keeps_what_stays_and_looks_up_what_is_new() {
    let origin = Everywhere::start();
    let server = NameServer::start();
    server.set("a.test", addresses(&["127.0.0.1"]));
    server.set("b.test", addresses(&["127.0.0.2"]));
    let text = |endpoints: &str, more: &str| config(&server, &origin, "", &format!("{STRICT}\n{more}"), endpoints);
    let proxy = Ringway::start(&text(r#"["a.test:PORT"]"#, ""));
    assert_eq!(reached(&proxy, 2), set(&["127.0.0.1"]));
    // The cluster as it was keeps its endpoints, and looks its name up again.
    proxy.write_config(&text(r#"["a.test:PORT"]"#, "").replace("http.routes", "http.via = \"x\"\nhttp.routes"));
    assert!(proxy.reload());
    assert_eq!(reached(&proxy, 2), set(&["127.0.0.1"]));
    eventually("it is looked up", || server.count("a.test") == 2);
    // Another name next to it is there with the first request.
    proxy.write_config(&text(r#"["a.test:PORT", "b.test:PORT"]"#, ""));
    assert!(proxy.reload());
    assert_eq!(reached(&proxy, 8), set(&["127.0.0.1", "127.0.0.2"]));
    assert_eq!((server.count("a.test"), server.count("b.test")), (3, 1));
    // A changed cluster while no name server answers: what was known stays in force.
    server.set("a.test", Zone::Error(ResponseCode::ServFail));
    server.set("b.test", Zone::Error(ResponseCode::ServFail));
    proxy.write_config(&text(r#"["a.test:PORT", "b.test:PORT"]"#, "connect_timeout = \"1s\""));
    assert!(proxy.reload());
    assert!(server.count("a.test") > 3, "it was looked up again");
    assert_eq!(reached(&proxy, 8), set(&["127.0.0.1", "127.0.0.2"]));
}

#[test]
fn a_name_that_is_gone_is_looked_up_no_more() {
    let (origin, server) = (Everywhere::start(), NameServer::with("a.test", addresses(&["127.0.0.1"])));
    server.set("b.test", addresses(&["127.0.0.2"]));
    let proxy = Ringway::start(&config(&server, &origin, OFTEN, STRICT, r#"["a.test:PORT"]"#));
    eventually("it is looked up again and again", || server.count("a.test") > 5);
    proxy.write_config(&config(&server, &origin, OFTEN, STRICT, r#"["b.test:PORT"]"#));
    assert!(proxy.reload());
    assert_eq!(proxy.get("/").text(), "127.0.0.2");
    // One may have been on its way.
    let before = server.count("a.test");
    eventually("the other one is looked up again and again", || server.count("b.test") > 10);
    assert!(server.count("a.test") <= before + 1);
    // No name at all any more.
    let text = config(&server, &origin, "", "", "[\"127.0.0.3:PORT\"]").replace("dns = ", "# dns = ");
    proxy.write_config(&text);
    assert!(proxy.reload());
    assert_eq!(proxy.get("/").text(), "127.0.0.3");
}

/// Without name servers of its own a cluster resolves names as other programs of the host do.
#[test]
fn the_systems_files_are_used_where_no_name_server_is_given() {
    let origin = Everywhere::start();
    let server = NameServer::start();
    let text = config(&server, &origin, "", STRICT, r#"["localhost:PORT"]"#);
    let text = text.replace(&format!("resolvers = [\"{}\"]", server.address), "");
    let proxy = Ringway::start(&text);
    assert_eq!(proxy.get("/").text(), "127.0.0.1");
    assert!(server.asked().is_empty());
}

#[test]
fn statistics() {
    let origin = Everywhere::start();
    let server = NameServer::with("a.test", addresses(&["127.0.0.1"]));
    let proxy = Ringway::start(&config(&server, &origin, "", STRICT, r#"["a.test:PORT", "b.test:PORT"]"#));
    let expected = [
        ("cluster.app.update_attempt", 2),
        ("cluster.app.update_success", 2),
        ("cluster.app.update_failure", 0),
        ("cluster.app.update_empty", 0),
        // b.test had no address before and has none now.
        ("cluster.app.update_no_rebuild", 1),
        ("cluster.app.membership_change", 1),
        ("cluster.app.membership_total", 1),
        ("dns.hickory.resolve_total", 2),
        ("dns.hickory.not_found", 1),
        ("dns.hickory.timeouts", 0),
        ("dns.hickory.get_addr_failure", 0),
        ("dns.hickory.pending_resolutions", 0),
    ];
    for (name, value) in expected {
        assert_eq!(proxy.stat(name), value, "{name}");
    }
    let prometheus = proxy.admin("GET", "/stats/prometheus");
    assert!(prometheus.text().contains("\nenvoy_dns_hickory_resolve_total 2\n"), "{}", prometheus.text());
}
