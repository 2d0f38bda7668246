//! No descriptor left: what waits for a request makes room, what runs goes on, nothing spins, and it is over as soon as descriptors are back.

use super::support::{Client, Connection, Origin, Ringway, Setup, eventually, forwarding, growth, response};
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::Barrier;
use std::time::Duration;

/// Clock ticks in a second (sysconf(3), _SC_CLK_TCK), as Linux has it on every architecture that io_uring runs on.
const TICKS: u64 = 100;

/// Requests wait in the proxy for their bodies, so that each takes its client's descriptor and no other.
const BUFFER: &str = "http_filters = [{ buffer = { max_request_bytes = \"10KiB\" } }]";
const HALF: &[u8] = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhal";

/// Connections with a request that is not whole. Some are refused or reset, and then silent.
fn flood(proxy: &Ringway, count: usize, bytes: &[u8]) -> Vec<TcpStream> {
    let open = |_| {
        let mut client = TcpStream::connect(proxy.address(0)).expect("the backlog has room");
        let _ = client.write_all(bytes);
        client
    };
    (0..count).map(open).collect()
}

/// A connection to the admin endpoint that was there before, and the listener's statistics through it.
struct Admin(Connection<UnixStream>);

impl Admin {
    fn stat(&mut self, name: &str) -> u64 {
        let request = format!("GET /stats?filter=listener.main.{name}$ HTTP/1.1\r\nHost: localhost\r\n\r\n");
        self.0.send(request.as_bytes());
        let answer = self.0.response();
        answer.text().trim().rsplit(' ').next().and_then(|count| count.parse().ok()).expect("a count")
    }

    /// Descriptors are gone, and no connection is left that waits for a request.
    fn wait_until_nothing_makes_room(&mut self) {
        let mut state = (0, 0);
        eventually("descriptors are gone", || {
            let (evicted, errors) = (self.stat("downstream_cx_evicted"), self.stat("accept_error"));
            if evicted != state.0 || state.1 == 0 {
                state = (evicted, errors);
            }
            errors >= state.1 + 3 && state.1 > 0
        });
    }
}

#[test]
fn out_of_descriptors() {
    let origin = Origin::answering(|_| response(200, &[], "ok"));
    let proxy =
        Setup::new(&forwarding(origin.address, BUFFER)).descriptors(64).runtime("max_connections = 10000").start();
    let mut existing: Vec<Client> = (0..4).map(|_| proxy.connect()).collect();
    existing.iter_mut().for_each(|client| client.send(HALF));
    proxy.wait_for_stat("http.ingress_http.downstream_rq_active", 4);
    let mut admin = Admin(proxy.admin_connection());
    assert_eq!(admin.stat("accept_error"), 0);
    // The kernel takes them all; the proxy cannot.
    let flood = flood(&proxy, 200, HALF);
    admin.wait_until_nothing_makes_room();
    assert!(proxy.open_files() >= 60);
    let errors = admin.stat("accept_error");
    let quiet = growth(Duration::from_secs(1), || proxy.cpu_ticks());
    assert!(quiet * 5 <= TICKS, "{quiet} of {TICKS} ticks while there was nothing to do: it spins");
    assert!(admin.stat("accept_error") - errors < 100, "failed accepts come in pauses");
    drop(flood);
    eventually("connections are accepted again", || {
        let mut client = proxy.connect();
        client.try_send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        client.try_response("GET").is_some_and(|answer| answer.status() == 200)
    });
    for client in &mut existing {
        client.send(b"st");
        assert_eq!(client.response().status(), 200, "a request that is being served goes on");
    }
}

/// Connections that wait for a request give their descriptors up, the longest wait first.
#[test]
fn idle_connections_leave_their_descriptors_to_new_ones() {
    let origin = Origin::answering(|_| response(200, &[], "ok"));
    let proxy = Setup::new(&forwarding(origin.address, "")).descriptors(64).runtime("max_connections = 10000").start();
    let mut idle: Vec<Client> = (0..4).map(|_| proxy.connect()).collect();
    idle.iter_mut().for_each(|client| assert_eq!(client.get("/").status(), 200));
    let mut admin = Admin(proxy.admin_connection());
    assert_eq!(admin.stat("downstream_cx_active"), 4);
    let silent = flood(&proxy, 200, b"");
    eventually("all are accepted", || admin.stat("downstream_cx_total") >= 204);
    for _ in 0..20 {
        assert_eq!(proxy.connect().get("/").status(), 200, "each new one is served at once");
    }
    idle.iter_mut().for_each(|client| client.expect_end());
    assert!(admin.stat("downstream_cx_evicted") >= 150);
    drop(silent);
}

/// By default half of the descriptors is kept back: a flood of connections cannot take those for upstreams, the admin
/// endpoint and the logs.
#[test]
fn the_default_limit_keeps_descriptors_back() {
    let origin = Origin::answering(|_| response(200, &[], "ok"));
    let proxy = Setup::new(&forwarding(origin.address, BUFFER)).descriptors(128).start();
    let mut existing = proxy.connect();
    existing.send(HALF);
    proxy.wait_for_stat("http.ingress_http.downstream_rq_active", 1);
    let flood = flood(&proxy, 300, HALF);
    eventually("the limit is reached", || proxy.stat("listener.main.downstream_global_cx_overflow") > 100);
    for _ in 0..20 {
        assert_eq!(proxy.admin("GET", "/ready").status(), 200);
    }
    existing.send(b"st");
    assert_eq!(existing.response().status(), 200);
    drop((flood, existing));
    eventually("connections are served again", || {
        let mut client = proxy.connect();
        client.try_send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        client.try_response("GET").is_some_and(|answer| answer.status() == 200)
    });
    proxy.wait_for_stat("listener.main.downstream_cx_active", 0);
}

/// Pooled connections to one endpoint leave their descriptors to requests for another one.
#[test]
fn idle_upstream_connections_leave_their_descriptors_to_others() {
    const CLIENTS: usize = 24;
    // Answers once all clients have asked, so that each needs a connection of its own.
    let together = || {
        let all = Barrier::new(CLIENTS);
        Origin::answering(move |_| {
            all.wait();
            response(200, &[], "ok")
        })
    };
    let (app, other) = (together(), together());
    let config = forwarding(app.address, "")
        .replace("routes = [", "routes = [{ match = { prefix = \"/other\" }, route = { cluster = \"other\" } }, ");
    let config = format!("{config}[[clusters]]\nname = \"other\"\nendpoints = [\"{}\"]\n", other.address);
    let start = |descriptors| {
        let setup = Setup::new(&config).descriptors(descriptors);
        setup.runtime("shards = 1\nmax_connections = 10000").start()
    };
    // Room for the clients and one upstream connection for each.
    let needed = start(1024).open_files() + 2 * CLIENTS + 4;
    let proxy = start(needed as u64);
    let mut clients: Vec<Client> = (0..CLIENTS).map(|_| proxy.connect()).collect();
    for target in ["/app", "/other", "/app"] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n");
        clients.iter_mut().for_each(|client| client.send(request.as_bytes()));
        clients.iter_mut().for_each(|client| assert_eq!(client.response().status(), 200, "{target}"));
    }
    assert!(proxy.stat("cluster.app.upstream_cx_destroy_local") > 0, "some made room");
}

/// No descriptor for the upstream connection of a request, but copies of others hold some: they give theirs up.
#[test]
fn copies_give_descriptors_up() {
    let origin = Origin::answering(|_| response(200, &["connection: close"], "ok"));
    let stuck = Origin::raw(|connection, _| {
        std::thread::sleep(Duration::from_secs(60));
        drop(connection);
    });
    let mirrors = "request_mirror_policies = [{ cluster = \"shadow\" }]";
    let text =
        forwarding(origin.address, BUFFER).replace("cluster = \"app\"", &format!("cluster = \"app\", {mirrors}"));
    assert!(text.contains(mirrors));
    let shadow = format!("[[clusters]]\nname = \"shadow\"\nendpoints = [\"{}\"]\n", stuck.address);
    let proxy = Setup::new(&format!("{text}\n{shadow}")).descriptors(128).runtime("max_connections = 10000").start();
    (0..8).for_each(|_| assert_eq!(proxy.get("/").status(), 200));
    proxy.wait_for_stat("cluster.shadow.upstream_rq_active", 8);
    let mut client = proxy.connect();
    client.send(HALF);
    let mut admin = Admin(proxy.admin_connection());
    eventually("it is read", || admin.stat("downstream_cx_active") == 1);
    let flood = flood(&proxy, 200, HALF);
    admin.wait_until_nothing_makes_room();
    client.send(b"st");
    assert_eq!(client.response().status(), 200);
    drop(flood);
    eventually("statistics can be had again", || proxy.stat("cluster.shadow.upstream_rq_mirror_shed") > 0);
}

/// No descriptor for the upstream connection: 503, and the client's connection goes on.
#[test]
fn no_descriptor_for_an_upstream_connection() {
    let origin = Origin::answering(|_| response(200, &[], "ok"));
    let log = "access_log = [{ path = \"DIR/log\", format = \"%RESPONSE_CODE% %RESPONSE_FLAGS%\" }]";
    let proxy = Setup::new(&forwarding(origin.address, &format!("{log}\n{BUFFER}")))
        .descriptors(64)
        .runtime("max_connections = 10000\naccess_log_flush_interval = \"5ms\"")
        .start();
    let mut client = proxy.connect();
    // The request waits in the proxy for the rest of its body; meanwhile the flood takes the descriptors.
    client.send(HALF);
    let mut admin = Admin(proxy.admin_connection());
    eventually("it is read", || admin.stat("downstream_cx_active") == 1);
    let flood = flood(&proxy, 200, HALF);
    admin.wait_until_nothing_makes_room();
    client.send(b"st");
    let answer = client.response();
    assert_eq!(answer.status(), 503);
    assert_eq!(proxy.log_lines("log", 1), ["503 UF"]);
    drop(flood);
    eventually("it works again", || proxy.connect().get("/").status() == 200);
}
