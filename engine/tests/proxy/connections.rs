//! How many connections there may be, and how long they are used.

use super::support::{Client, Origin, Ringway, Setup, eventually, forwarding, response};
use std::io::{Read, Write};
use std::net::{Ipv6Addr, SocketAddr, TcpStream};
use std::time::Duration;

/// Half a request: the connection is busy, and so is not closed to make room for another one.
const HALF: &[u8] = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\na";

#[test]
fn the_listeners_limit() {
    let origin = Origin::answering(|_| response(200, &[], "ok"));
    let config =
        forwarding(origin.address, "").replace("stat_prefix = \"main\"", "stat_prefix = \"main\"\nmax_connections = 3");
    let proxy = Setup::new(&config).runtime("shards = 2").start();
    let mut held: Vec<_> = (0..3).map(|_| proxy.connect()).collect();
    held.iter_mut().for_each(|client| assert_eq!(client.get("/").status(), 200));
    held.iter_mut().for_each(|client| client.send(HALF));
    proxy.wait_for_stat("http.ingress_http.downstream_rq_active", 3);
    // The limit is exact and holds over both shards.
    for _ in 0..5 {
        proxy.connect().expect_end();
    }
    assert_eq!(proxy.stat("listener.main.downstream_cx_overflow"), 5);
    assert_eq!(proxy.stat("listener.main.downstream_global_cx_overflow"), 0);
    held.iter_mut().for_each(|client| client.send(b"b"));
    held.iter_mut().for_each(|client| assert_eq!(client.response().status(), 200, "those within the limit stay"));
    held.pop();
    proxy.wait_for_stat("listener.main.downstream_cx_active", 2);
    assert_eq!(proxy.get("/").status(), 200, "a place became free");
}

#[test]
fn the_limit_of_the_process() {
    let origin = Origin::answering(|_| response(200, &[], "ok"));
    let two = "[[listeners]]\naddress = \"127.0.0.2:0\"\nstat_prefix = \"two\"\n\
               http.routes = [{ match = { prefix = \"/\" }, route = { cluster = \"app\" } }]\n";
    let one = forwarding(origin.address, "").replace("stat_prefix = \"main\"", "stat_prefix = \"one\"");
    let proxy = Setup::new(&format!("{one}{two}")).runtime("max_connections = 2").start();
    let mut first = proxy.connect();
    let mut second = Client::open(proxy.address(1));
    assert_eq!((first.get("/").status(), second.get("/").status()), (200, 200));
    [&mut first, &mut second].into_iter().for_each(|client| client.send(HALF));
    proxy.wait_for_stat("http.ingress_http.downstream_rq_active", 2);
    proxy.connect().expect_end();
    Client::open(proxy.address(1)).expect_end();
    assert_eq!(proxy.stat("listener.one.downstream_global_cx_overflow"), 1);
    assert_eq!(proxy.stat("listener.two.downstream_global_cx_overflow"), 1);
    assert_eq!(proxy.stat("server.total_connections"), 2);
    drop(first);
    proxy.wait_for_stat("server.total_connections", 1);
    assert_eq!(proxy.get("/").status(), 200);
}

#[test]
fn requests_per_downstream_connection() {
    let origin = Origin::answering(|_| response(200, &[], "ok"));
    let proxy = Ringway::before(origin.address, "max_requests_per_connection = 3");
    let mut client = proxy.connect();
    assert!(!client.get("/").says_close());
    assert!(!client.get("/").says_close());
    assert!(client.get("/").says_close());
    client.expect_end();
    assert_eq!(proxy.stat("http.ingress_http.downstream_cx_max_requests_reached"), 1);
}

#[test]
fn requests_per_upstream_connection() {
    let origin = Origin::answering(|_| response(200, &[], "ok"));
    let config = format!("{}max_requests_per_connection = 2\n", forwarding(origin.address, ""));
    let proxy = Ringway::start(&config);
    let mut client = proxy.connect();
    for _ in 0..6 {
        assert_eq!(client.get("/").status(), 200);
    }
    assert_eq!(origin.connections(), 3);
    assert_eq!(proxy.stat("cluster.app.upstream_cx_max_requests"), 3);
}

#[test]
fn idle_upstream_connections_are_limited() {
    let barrier = std::sync::Arc::new(std::sync::Barrier::new(4));
    let origin = Origin::answering(move |_| {
        barrier.wait();
        response(200, &[], "ok")
    });
    let proxy = Ringway::start(&format!("{}max_idle_connections = 1\n", forwarding(origin.address, "")));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| assert_eq!(proxy.get("/").status(), 200));
        }
    });
    assert_eq!(origin.connections(), 4, "four requests at once need four connections");
    proxy.wait_for_stat("cluster.app.upstream_cx_active", 1);
}

#[test]
fn accounting_adds_up() {
    let origin = Origin::answering(|_| response(200, &[], "ok"));
    let proxy = Ringway::before(origin.address, "");
    for _ in 0..10 {
        let mut client = proxy.connect();
        assert_eq!(client.get("/").status(), 200);
    }
    for (name, expected) in [
        ("listener.main.downstream_cx_active", 0),
        ("listener.main.downstream_cx_total", 10),
        ("listener.main.downstream_cx_destroy", 10),
        ("http.ingress_http.downstream_cx_active", 0),
        ("http.ingress_http.downstream_cx_total", 10),
        ("http.ingress_http.downstream_cx_destroy", 10),
        ("http.ingress_http.downstream_cx_destroy_remote", 10),
        ("http.ingress_http.downstream_rq_total", 10),
        ("http.ingress_http.downstream_rq_completed", 10),
        ("server.total_connections", 0),
    ] {
        proxy.wait_for_stat(name, expected);
    }
}

/// `[::]` takes IPv6 only, unless `ipv4_compat` says otherwise; then an IPv4 client is one in ranges, logs and headers.
#[test]
fn ipv4_compat() {
    let origin = Origin::answering(|request| response(200, &[], request.field("x-forwarded-for").unwrap_or("none")));
    let config = |compat| {
        let log = "access_log = [{ path = \"DIR/log\", format = \"%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%\" }]";
        let config = forwarding(origin.address, log).replace("\"127.0.0.1:0\"", "\"[::]:0\"");
        let chain = "[[listeners.filter_chains]]\nmatch = { source_prefix_ranges = [\"127.0.0.0/8\"] }";
        let config = config.replace("[listeners.http]", &format!("ipv4_compat = {compat}\n{chain}\n[listeners.http]"));
        let direct = "direct_response = { status = 200, body = \"v6\" }";
        let routes =
            format!("[[listeners.filter_chains]]\nhttp.routes = [{{ match = {{ prefix = \"/\" }}, {direct} }}]");
        let config = config.replace("[listeners.http]", "[listeners.filter_chains.http]");
        config.replace("[[clusters]]", &format!("{routes}\n[[clusters]]"))
    };
    let v4 = |proxy: &Ringway| SocketAddr::from(([127, 0, 0, 1], proxy.address(0).port()));
    let v6 = |proxy: &Ringway| SocketAddr::from((Ipv6Addr::LOCALHOST, proxy.address(0).port()));
    let proxy = Setup::new(&config(false)).runtime("shards = 2\naccess_log_flush_interval = \"5ms\"").start();
    assert!(TcpStream::connect(v4(&proxy)).is_err());
    assert_eq!(Client::open(v6(&proxy)).get("/").text(), "v6");
    let port = format!("[::]:{}", proxy.address(0).port());
    drop(proxy);

    // A reload that changes the key binds the address again; what was open ends like the connections of a listener that
    // is gone.
    let config = |compat| config(compat).replace("[::]:0", &port);
    let proxy = Setup::new(&config(false)).runtime("shards = 2\naccess_log_flush_interval = \"5ms\"").start();
    let mut kept = Client::open(v6(&proxy));
    assert_eq!(kept.get("/").text(), "v6");
    proxy.write_config(&config(true));
    assert!(proxy.reload());
    kept.expect_end();
    assert_eq!(Client::open(v4(&proxy)).get("/").text(), "127.0.0.1");
    assert_eq!(proxy.log_lines("log", 1)[0], "127.0.0.1");
    assert_eq!(Client::open(v6(&proxy)).get("/").text(), "v6");
    proxy.write_config(&config(false));
    assert!(proxy.reload());
    eventually("IPv4 is refused", || TcpStream::connect(v4(&proxy)).is_err());
    assert_eq!(Client::open(v6(&proxy)).get("/").text(), "v6");
}

/// A client that asked for the close and has read the response finds its end without waiting: both come in one segment, but for
/// times in which the machine does something else for 200 ms.
#[test]
fn the_end_comes_with_the_last_response() {
    const TIMES: usize = 9;
    let origin = Origin::answering(|_| response(200, &[], "all"));
    let proxy = Ringway::before(origin.address, "");
    for (option, closes) in [("close", true), ("keep-alive", false)] {
        let ended = (0..TIMES).filter(|_| {
            let mut client = TcpStream::connect(proxy.address(0)).expect("a listener");
            let request = format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: {option}\r\n\r\n");
            client.write_all(request.as_bytes()).expect("sent");
            let mut bytes = vec![0; 4096];
            let read = client.read(&mut bytes).expect("a response");
            assert!(bytes[..read].ends_with(b"\r\n\r\nall"));
            client.set_nonblocking(true).expect("a socket");
            client.read(&mut bytes).is_ok_and(|read| read == 0)
        });
        let ended = ended.count();
        assert_eq!(ended > TIMES / 2, closes, "{option}: {ended} of {TIMES}");
    }
}

/// A close with unread bytes would be a reset, which takes what is on its way with it.
#[test]
fn what_a_client_says_behind_its_last_request_takes_nothing_from_the_response() {
    let (origin, begun, gate) = Origin::held(response(200, &[], "all"));
    let proxy = Ringway::before(origin.address, "");
    let upload =
        [&b"POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 100000\r\n\r\n"[..], &[b'.'; 100_000]]
            .concat();
    for request in [&b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"[..], &upload].repeat(3) {
        let mut client = proxy.connect();
        client.send(request);
        begun.wait();
        client.send(b"\r\nGET /unasked HTTP/1.1\r\n");
        // By then it has come.
        std::thread::sleep(Duration::from_millis(20));
        gate.wait();
        assert_eq!(client.response().text(), "all");
        client.expect_end();
    }
}

/// A connection that ends because nothing is asked of it is closed at once, whatever it has carried, and not only this side of it.
#[test]
fn an_idle_connection_is_closed_as_a_whole() {
    let origin = Origin::answering(|_| response(200, &[], vec![b'.'; 100_000]));
    let proxy = Ringway::before(origin.address, "idle_timeout = \"200ms\"");
    let mut client = proxy.connect();
    assert_eq!(client.get("/").body.len(), 100_000);
    client.expect_end();
    // What nothing reads any more is answered by a reset. Half a connection would be read for a second.
    let is_refused = (0..50).any(|_| {
        std::thread::sleep(Duration::from_millis(10));
        !client.try_send(b"?")
    });
    assert!(is_refused, "half of it is still there");
}
