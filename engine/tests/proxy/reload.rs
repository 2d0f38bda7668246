//! SIGHUP: a new configuration takes the place of the old one without a request noticing, or nothing changes at all.

use super::name_server::{NameServer, addresses};
use super::support::{Client, Origin, Ringway, Setup, dead_address, eventually, forwarding, free_port, response};
use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;

/// A listener that answers with `body`.
fn answering(address: &str, body: &str) -> String {
    format!(
        "[[listeners]]\naddress = \"{address}\"\nhttp.routes = [{{ match = {{ prefix = \"/\" }}, direct_response = {{ status = 200, body = \"{body}\" }} }}]\n"
    )
}

#[test]
fn a_keep_alive_connection_sees_the_new_routes() {
    let proxy = Ringway::start(&answering("127.0.0.1:0", "old"));
    let mut client = proxy.connect();
    assert_eq!(client.get("/").text(), "old");
    proxy.write_config(&answering("127.0.0.1:0", "new"));
    assert!(proxy.reload());
    assert_eq!(client.get("/").text(), "new", "on the same connection");
    assert_eq!(proxy.get("/").text(), "new", "and on a new one");
    let dump = proxy.admin("GET", "/config_dump");
    assert!(dump.text().contains("\"new\"") && !dump.text().contains("\"old\""));
}

/// What `check` warns of is in the log of the process that runs the file, too: once for each start and reload, on a line.
#[test]
fn warnings_of_the_file_are_logged_at_start_and_reload() {
    let route = |prefix: &str| {
        format!(
            "[[listeners.http.routes]]\nmatch = {{ prefix = \"{prefix}\" }}\ndirect_response = {{ status = 200 }}\n"
        )
    };
    let config = format!("[[listeners]]\naddress = \"127.0.0.1:0\"\n{}{}", route("/"), route("/api"));
    let proxy = Ringway::start(&config);
    let checked =
        std::process::Command::new(env!("CARGO_BIN_EXE_ringway")).arg("check").arg(proxy.file("ringway.toml")).output();
    let checked = String::from_utf8(checked.expect("it starts").stderr).expect("text");
    let warning = checked.lines().find_map(|line| line.strip_prefix("warning: ")).expect("a warning").to_owned();
    let lines = |proxy: &Ringway| {
        proxy.stderr().lines().filter(|line| line.contains("WARN") && line.contains(&warning)).count()
    };
    assert_eq!(lines(&proxy), 1, "{warning}\n{}", proxy.stderr());
    assert!(proxy.reload());
    assert_eq!(lines(&proxy), 2, "{warning}\n{}", proxy.stderr());
    proxy.write_config(&format!("[[listeners]]\naddress = \"127.0.0.1:0\"\n{}", route("/")));
    assert!(proxy.reload());
    assert_eq!(lines(&proxy), 2, "{}", proxy.stderr());
}

/// "A bad config never changes or stops traffic; last good stays; the error says line and field."
#[test]
fn a_bad_file_changes_nothing() {
    let proxy = Ringway::start(&answering("127.0.0.1:0", "old"));
    let mut client = proxy.connect();
    assert_eq!(client.get("/").text(), "old");
    proxy.write_config("[[listeners]]\nadress = \"127.0.0.1:0\"\n");
    assert!(!proxy.reload());
    let said = proxy.stderr();
    assert!(said.contains("ringway.toml:7:1") && said.contains("did you mean"), "{said}");
    assert_eq!(client.get("/").text(), "old");
    assert!(proxy.admin("GET", "/config_dump").text().contains("\"old\""));
    // Not even TOML; then no file at all.
    proxy.write_config("= = =");
    assert!(!proxy.reload());
    std::fs::remove_file(proxy.file("ringway.toml")).expect("removed");
    assert!(!proxy.reload());
    assert_eq!(client.get("/").text(), "old");
    // And a good one is taken afterwards.
    proxy.write_config(&answering("127.0.0.1:0", "new"));
    assert!(proxy.reload());
    assert_eq!(client.get("/").text(), "new");
}

/// All or nothing: a listener that cannot be bound refuses the whole file.
#[test]
fn a_port_that_is_taken_refuses_the_file() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let proxy = Ringway::start(&answering("127.0.0.1:0", "old"));
    let other = taken.local_addr().expect("bound").to_string();
    proxy.write_config(&(answering("127.0.0.1:0", "new") + &answering(&other, "other")));
    assert!(!proxy.reload());
    proxy.wait_for_log(&other);
    assert_eq!(proxy.get("/").text(), "old");
}

#[test]
fn listeners_come_and_go() {
    let (keep, add) = ("127.0.0.1:0", SocketAddr::from(([127, 0, 0, 1], free_port())));
    let proxy = Setup::new(&answering(keep, "kept")).runtime("shards = 2").start();
    let mut kept = proxy.connect();
    assert_eq!(kept.get("/").text(), "kept");
    assert!(TcpStream::connect(add).is_err());
    proxy.write_config(&(answering(keep, "kept") + &answering(&add.to_string(), "added")));
    assert!(proxy.reload());
    let mut clients: Vec<Client> = (0..16).map(|_| Client::open(add)).collect();
    clients.iter_mut().for_each(|client| assert_eq!(client.get("/").text(), "added"));
    assert!(proxy.admin("GET", "/listeners").text().contains(&add.to_string()));
    // Gone again: its idle connections end, and nothing listens there.
    proxy.write_config(&answering(keep, "kept"));
    assert!(proxy.reload());
    clients.iter_mut().for_each(Client::expect_end);
    eventually("connections are refused", || TcpStream::connect(add).is_err());
    assert!(!proxy.admin("GET", "/listeners").text().contains(&add.to_string()));
    assert_eq!(kept.get("/").text(), "kept", "the other one never noticed");
    // And back: the port was given back.
    proxy.write_config(&(answering(keep, "kept") + &answering(&add.to_string(), "again")));
    assert!(proxy.reload());
    assert_eq!(Client::open(add).get("/").text(), "again");
}

/// Each has a port and connections of its own, and keeps them through a reload.
#[test]
fn listeners_with_port_0_are_told_apart() {
    let any = |bodies: &[&str]| bodies.iter().map(|body| answering("127.0.0.1:0", body)).collect::<String>();
    let proxy = Setup::new(&any(&["a", "b", "c"])).runtime("shards = 2").start();
    let addresses = [0, 1, 2].map(|index| proxy.address(index));
    let ask = |index: usize| Client::open(addresses[index]).get("/").text().to_owned();
    assert_eq!([0, 1, 2].map(ask), ["a", "b", "c"]);
    let mut kept = Client::open(addresses[1]);
    assert_eq!(kept.get("/").text(), "b");
    proxy.write_config(&any(&["d", "e"]));
    assert!(proxy.reload());
    assert_eq!([0, 1].map(ask), ["d", "e"]);
    assert_eq!(kept.get("/").text(), "e", "on the same connection");
    eventually("the third one is gone", || TcpStream::connect(addresses[2]).is_err());
}

/// The old listener's sockets, which drain, have the port at an address that overlaps the new one, and share it.
#[test]
fn an_address_widens_and_narrows() {
    let port = free_port();
    let (narrow, wide) = (format!("127.0.0.1:{port}"), format!("0.0.0.0:{port}"));
    let proxy = Setup::new(&answering(&narrow, "0")).runtime("shards = 2").start();
    let mut kept: Client = Client::open(narrow.parse().expect("an address"));
    assert_eq!(kept.get("/").text(), "0");
    for (round, address) in [&wide, &narrow, &wide].into_iter().enumerate() {
        let body = (round + 1).to_string();
        proxy.write_config(&answering(address, &body));
        assert!(proxy.reload(), "{}", proxy.stderr());
        eventually("the new listener serves", || {
            let mut client = Client::open(narrow.parse().expect("an address"));
            client.try_send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
            client.try_response("GET").is_some_and(|answer| answer.text() == body)
        });
        eventually("the other one is closed", || {
            TcpStream::connect(format!("127.0.0.2:{port}")).is_ok() == (*address == wide)
        });
    }
    kept.expect_end();
    // The admin endpoint keeps its address until the next start.
    let file = proxy.file("ringway.toml");
    let admin = format!("unix:{}", proxy.file("admin.sock").display());
    let text = std::fs::read_to_string(&file).expect("text").replace("admin.sock", "other.sock");
    std::fs::write(&file, text + &answering(&admin, "no")).expect("written");
    assert!(!proxy.reload());
    proxy.wait_for_log("the admin endpoint has it until the next start");
}

/// An exchange ends with the configuration with which it began, even when its listener and cluster are gone.
#[test]
fn an_exchange_in_flight_keeps_its_configuration() {
    let (release, released) = mpsc::channel::<()>();
    let released = std::sync::Mutex::new(released);
    let origin = Origin::answering(move |_| {
        let _ = released.lock().expect("no panic").recv();
        response(200, &[], "from the old cluster")
    });
    let gone = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let old = forwarding(origin.address, "").replace("127.0.0.1:0", &gone.to_string());
    let proxy = Ringway::start(&(answering("127.0.0.2:0", "stays") + &old));
    let mut client = Client::open(gone);
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    proxy.wait_for_stat("cluster.app.upstream_rq_active", 1);
    proxy.write_config(&answering("127.0.0.2:0", "stays"));
    assert!(proxy.reload());
    release.send(()).expect("the origin waits");
    let answer = client.response();
    assert_eq!((answer.status(), answer.text()), (200, "from the old cluster"));
    assert!(answer.says_close(), "its listener is gone");
    client.expect_end();
}

#[test]
fn a_cluster_gets_new_endpoints() {
    let origins = [Origin::answering(|_| response(200, &[], "0")), Origin::answering(|_| response(200, &[], "1"))];
    let proxy = Ringway::before(origins[0].address, "");
    let mut client = proxy.connect();
    assert_eq!(client.get("/").text(), "0");
    proxy.write_config(&forwarding(origins[1].address, ""));
    assert!(proxy.reload());
    assert_eq!(client.get("/").text(), "1");
    assert_eq!(proxy.stat("cluster.app.upstream_rq_total"), 2, "a counter lives on");
    // The old endpoint's idle connections are not kept for ever.
    proxy.wait_for_stat("cluster.app.upstream_cx_active", 1);
    // One that stays the same keeps its pool.
    proxy.write_config(&forwarding(origins[1].address, "via = \"x\""));
    assert!(proxy.reload());
    assert_eq!(client.get("/").text(), "1");
    assert_eq!(origins[1].connections(), 1);
    proxy.write_config(&forwarding(dead_address(), ""));
    assert!(proxy.reload());
    assert_eq!(client.get("/").status(), 503);
}

/// Limits, access logs and statistics names of the new file hold.
#[test]
fn options_change() {
    let origin = Origin::answering(|_| response(200, &[], "ok"));
    let proxy = Setup::new(&forwarding(origin.address, "")).runtime("access_log_flush_interval = \"5ms\"").start();
    let mut client = proxy.connect();
    assert_eq!(client.get("/").status(), 200);
    let options = "stat_prefix = \"second\"\nserver_name = \"second\"\naccess_log = [{ path = \"DIR/log\", format = \"%REQ(:PATH)%\" }]";
    let limited = forwarding(origin.address, options)
        .replace("stat_prefix = \"main\"", "stat_prefix = \"main\"\nmax_connections = 1");
    proxy.write_config(&limited);
    assert!(proxy.reload());
    assert_eq!(client.get("/x").field("server"), Some("second"));
    assert_eq!(proxy.log_lines("log", 1), ["/x"]);
    assert_eq!(proxy.stat("http.second.downstream_rq_total"), 1);
    assert_eq!(proxy.connect().get("/y").status(), 200);
    client.expect_end();
    assert_eq!(proxy.stat("listener.main.downstream_cx_evicted"), 1);
    // What needs a restart says so.
    proxy.write_config(&format!("ring_entries = 2048\n{limited}"));
    assert!(proxy.reload());
    proxy.wait_for_log("ring_entries");
}

/// Twenty reloads, bad ones among them, while requests come on keep-alive and new connections: none fails.
#[test]
fn reloads_under_load_lose_nothing() {
    let origin = Origin::answering(|request| response(200, &[], &request.body));
    let proxy = Setup::new(&forwarding(origin.address, "")).runtime("shards = 2").start();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let (proxy, stop) = (&proxy, &stop);
            scope.spawn(move || {
                let mut client = proxy.connect();
                let mut i = 0;
                while !stop.load(Ordering::Relaxed) {
                    if worker == 3 {
                        client = proxy.connect();
                    }
                    let body = format!("{worker}/{i}");
                    client.send(
                        format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n{body}", body.len())
                            .as_bytes(),
                    );
                    let answer = client.try_response("POST").expect("no connection ends");
                    assert_eq!((answer.status(), answer.text()), (200, body.as_str()));
                    i += 1;
                }
            });
        }
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 0..20 {
                if round % 5 == 4 {
                    proxy.write_config("nonsense");
                    assert!(!proxy.reload());
                } else {
                    proxy.write_config(&forwarding(origin.address, &format!("server_name = \"round-{round}\"")));
                    assert!(proxy.reload());
                }
            }
        }));
        stop.store(true, Ordering::Relaxed);
        ended.expect("every reload went as it should");
    });
    assert_eq!(proxy.get("/").field("server"), Some("round-18"));
    assert_eq!(proxy.stat("http.ingress_http.downstream_rq_5xx"), 0);
}

/// Many signals at once, also between the reloads, and the last file is the one in force.
#[test]
fn a_storm_of_signals() {
    let proxy = Ringway::start(&answering("127.0.0.1:0", "old"));
    for i in 0..50 {
        proxy.write_config(&answering("127.0.0.1:0", &format!("round {i}")));
        proxy.signal(Signal::HUP);
        proxy.signal(Signal::USR1);
    }
    let mut client = proxy.connect();
    eventually("the last file is in force", || client.get("/").text() == "round 49");
}

/// Reload with so few descriptors left that it fails, one more each time, until it goes well; `unchanged` looks at the
/// proxy after each failure. Returns what the program log says.
fn reload_with_more_and_more_descriptors(proxy: &Ringway, unchanged: impl Fn()) -> String {
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", proxy.pid())).expect("it runs");
    let whole = limits.lines().find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().nth(1));
    let whole: u64 = whole.and_then(|maximum| maximum.parse().ok()).expect("a number");
    let limit = |current| {
        let limit = Rlimit { current: Some(current), maximum: Some(whole) };
        prlimit(Pid::from_raw(proxy.pid().cast_signed()), Resource::Nofile, limit).expect("it runs");
    };
    let least = proxy.open_files() as u64 - 4;
    for spare in 0..64 {
        limit(least + spare);
        let taken = proxy.reload();
        limit(whole);
        if taken {
            return proxy.stderr();
        }
        unchanged();
    }
    panic!("it fails with 64 descriptors to spare: {}", proxy.stderr());
}

/// Descriptors come and go, so it may be at any of these steps.
fn has_failed_to_start_checks(log: &str) -> bool {
    ["io_uring: raise", "eventfd: Too many", "the control thread ended"].iter().any(|step| log.contains(step))
}

/// Of the threads that only some clusters need, those that run.
fn threads(proxy: &Ringway) -> BTreeSet<String> {
    let names = proxy.wakeups().into_iter().map(|(name, _)| name);
    names.filter(|name| matches!(name.as_str(), "dns" | "control" | "health-events")).collect()
}

/// A cluster that is looked up at `server` and checked, behind a listener of its own.
fn discovered(listener: SocketAddr, server: &NameServer, name: &str, checks: &str) -> String {
    format!(
        "[[listeners]]\naddress = \"{listener}\"\nhttp.routes = [{{ match = {{ prefix = \"/\" }}, route = {{ cluster = \"app\" }} }}]\n\
         [[clusters]]\nname = \"app\"\ndiscovery = \"strict_dns\"\ndns_lookup_family = \"v4_only\"\nendpoints = [\"{name}\"]\n\
         dns = {{ resolvers = [\"{}\"], respect_ttl = false, refresh_rate = \"20ms\", \
         failure_refresh_rate = {{ base_interval = \"20ms\", max_interval = \"20ms\" }} }}\n{checks}",
        server.address
    )
}

const CHECKED: &str = "[[clusters.health_checks]]\ntcp = {}\n";

/// All or nothing, at whatever step it fails: neither socket nor thread nor lookup, limit or statistic of the new file
/// is left.
#[test]
fn a_reload_that_cannot_start_its_threads_leaves_nothing_behind() {
    let origin = Origin::answering(|_| response(200, &[], "new"));
    let server = NameServer::with("a.test", addresses(&["127.0.0.1"]));
    let proxy = Ringway::start(&answering("127.0.0.1:0", "old"));
    let added = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let limited = answering("127.0.0.1:0", "limited").replace("http.routes", "max_connections = 1\nhttp.routes");
    proxy.write_config(&(limited + &discovered(added, &server, &format!("a.test:{}", origin.address.port()), CHECKED)));
    let log = reload_with_more_and_more_descriptors(&proxy, || {
        eventually("its threads have ended", || threads(&proxy).is_empty());
        assert!(TcpStream::connect(added).is_err());
        assert_eq!(server.asked(), []);
        let mut clients = [proxy.connect(), proxy.connect()];
        clients.iter_mut().for_each(|client| assert_eq!(client.get("/").text(), "old"));
        assert_eq!(proxy.admin("GET", "/stats?filter=^(cluster|dns)").text(), "");
    });
    assert!(log.contains("dns runtime") && has_failed_to_start_checks(&log), "{log}");
    // The first lookup may have found no descriptor.
    eventually("the name is known", || Client::open(added).get("/").text() == "new");
    assert_eq!(threads(&proxy).len(), 3);
    let mut first = proxy.connect();
    assert_eq!(first.get("/").text(), "limited");
    proxy.connect().expect_end();
}

/// The thread that looks names up runs already and goes on with the old ones.
#[test]
fn a_reload_that_cannot_start_health_checks_leaves_discovery_alone() {
    let origins = ["old", "new"].map(|name| Origin::answering(move |_| response(200, &[], name)));
    let server = NameServer::with("a.test", addresses(&["127.0.0.1"]));
    server.set("b.test", addresses(&["127.0.0.1"]));
    let listener = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let text = |name: &str, origin: &Origin, checks: &str| {
        discovered(listener, &server, &format!("{name}:{}", origin.address.port()), checks)
    };
    let proxy = Ringway::start(&text("a.test", &origins[0], ""));
    proxy.write_config(&text("b.test", &origins[1], CHECKED));
    let log = reload_with_more_and_more_descriptors(&proxy, || {
        let before = server.count("a.test");
        eventually("the old name is looked up again", || server.count("a.test") > before + 1);
        assert_eq!(server.count("b.test"), 0);
        assert_eq!(proxy.get("/").text(), "old");
    });
    assert!(has_failed_to_start_checks(&log), "{log}");
    // Its first lookup may have found no descriptor.
    eventually("the new name is known", || proxy.get("/").text() == "new");
}
