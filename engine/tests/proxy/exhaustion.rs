//! No descriptor left: what runs goes on, nothing spins, and it is over as soon as descriptors are back.

use super::support::{Client, Origin, Setup, eventually, forwarding, growth, response};
use std::net::TcpStream;
use std::time::Duration;

/// Clock ticks in a second (sysconf(3), _SC_CLK_TCK), as Linux has it on every architecture that io_uring runs on.
const TICKS: u64 = 100;

#[test]
fn out_of_descriptors() {
    let origin = Origin::answering(|_| response(200, &[], "ok"));
    let config = forwarding(origin.address, "");
    let proxy = Setup::new(&config).descriptors(64).runtime("max_connections = 10000").start();
    let mut existing: Vec<Client> = (0..4).map(|_| proxy.connect()).collect();
    existing.iter_mut().for_each(|client| assert_eq!(client.get("/").status(), 200));
    let mut admin = proxy.admin_connection();
    let mut accept_errors = || {
        admin.send(b"GET /stats?filter=listener.main.accept_error HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let answer = admin.response();
        answer.text().trim().rsplit(' ').next().and_then(|count| count.parse::<u64>().ok()).expect("a count")
    };
    accept_errors();
    // The kernel takes them all; the proxy cannot.
    let flood: Vec<TcpStream> =
        (0..200).map(|_| TcpStream::connect(proxy.address(0)).expect("the backlog has room")).collect();
    eventually("descriptors are gone", || accept_errors() > 0);
    assert!(proxy.open_files() >= 60);
    let (ticks, errors) = (proxy.cpu_ticks(), accept_errors());
    for _ in 0..30 {
        existing.iter_mut().for_each(|client| assert_eq!(client.get("/").status(), 200, "existing connections go on"));
        std::thread::sleep(Duration::from_millis(20));
    }
    let quiet = growth(Duration::from_secs(1), || proxy.cpu_ticks());
    assert!(quiet * 5 <= TICKS, "{quiet} of {TICKS} ticks while there was nothing to do: it spins");
    assert!(proxy.cpu_ticks() - ticks < 2 * TICKS);
    assert!(accept_errors() - errors < 100, "failed accepts come in pauses");
    drop(flood);
    eventually("connections are accepted again", || {
        let mut client = proxy.connect();
        client.try_send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        client.try_response("GET").is_some_and(|answer| answer.status() == 200)
    });
    existing.iter_mut().for_each(|client| assert_eq!(client.get("/").status(), 200));
}

/// By default half of the descriptors is kept back: a flood of connections cannot take those for upstreams, the admin
/// endpoint and the logs.
#[test]
fn the_default_limit_keeps_descriptors_back() {
    let origin = Origin::answering(|_| response(200, &[], "ok"));
    let proxy = Setup::new(&forwarding(origin.address, "")).descriptors(128).start();
    let mut existing = proxy.connect();
    assert_eq!(existing.get("/").status(), 200);
    let flood: Vec<TcpStream> =
        (0..300).map(|_| TcpStream::connect(proxy.address(0)).expect("the backlog has room")).collect();
    eventually("the limit is reached", || proxy.stat("listener.main.downstream_global_cx_overflow") > 100);
    for _ in 0..20 {
        assert_eq!(existing.get("/").status(), 200);
        assert_eq!(proxy.admin("GET", "/ready").status(), 200);
    }
    drop(flood);
    eventually("connections are served again", || {
        let mut client = proxy.connect();
        client.try_send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        client.try_response("GET").is_some_and(|answer| answer.status() == 200)
    });
    proxy.wait_for_stat("listener.main.downstream_cx_active", 1);
}

/// No descriptor for the upstream connection: 503, and the client's connection goes on.
#[test]
fn no_descriptor_for_an_upstream_connection() {
    let origin = Origin::answering(|_| response(200, &[], "ok"));
    let log = "access_log = [{ path = \"DIR/log\", format = \"%RESPONSE_CODE% %RESPONSE_FLAGS%\" }]";
    let proxy = Setup::new(&forwarding(origin.address, log))
        .descriptors(64)
        .runtime("max_connections = 10000\naccess_log_flush_interval = \"5ms\"")
        .start();
    let mut client = proxy.connect();
    // A body that never ends keeps the exchange, and with it the client, while the flood takes the rest.
    client.send(b"HEAD");
    let flood: Vec<TcpStream> =
        (0..200).map(|_| TcpStream::connect(proxy.address(0)).expect("the backlog has room")).collect();
    eventually("descriptors are gone", || proxy.open_files() >= 64);
    client.send(b" / HTTP/1.1\r\nHost: h\r\n\r\n");
    let answer = client.try_response("HEAD").expect("an answer");
    assert_eq!(answer.status(), 503);
    assert_eq!(proxy.log_lines("log", 1), ["503 UF"]);
    drop(flood);
    eventually("it works again", || {
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        client.response().status() == 200
    });
}
