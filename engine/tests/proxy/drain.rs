//! SIGTERM and SIGINT: no new connections, what is in flight ends as it should, then exit code 0.

use super::support::{Client, Nginx, Origin, Ringway, Setup, assert_same, eventually, forwarding, pattern, response};
use rustix::process::Signal;
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// An origin that answers when it is told to, with the target, and the way to tell it.
fn held() -> (Origin, mpsc::Sender<()>) {
    let (release, released) = mpsc::channel();
    let released = std::sync::Mutex::new(released);
    let origin = Origin::answering(move |request| {
        if request.target().starts_with("/held") {
            // A test that has ended needs no answer.
            let _ = released.lock().expect("no panic").recv();
        }
        response(200, &[], request.target())
    });
    (origin, release)
}

fn in_flight(proxy: &Ringway) -> Client {
    let mut client = proxy.connect();
    client.send(b"GET /held HTTP/1.1\r\nHost: h\r\n\r\n");
    proxy.wait_for_stat("cluster.app.upstream_rq_active", 1);
    client
}

#[test]
fn an_exchange_in_flight_ends_and_the_rest_is_closed() {
    for signal in [Signal::TERM, Signal::INT] {
        let (origin, release) = held();
        let mut proxy = Setup::new(&forwarding(origin.address, "")).runtime("drain_time = \"1h\"\nshards = 2").start();
        let mut idle: Vec<Client> = (0..8).map(|_| proxy.connect()).collect();
        idle.iter_mut().for_each(|client| assert_eq!(client.get("/").text(), "/"));
        let mut fresh = proxy.connect();
        let mut busy = in_flight(&proxy);
        proxy.signal(signal);
        idle.iter_mut().for_each(Client::expect_end);
        fresh.expect_end();
        eventually("new connections are refused", || TcpStream::connect(proxy.address(0)).is_err());
        let ready = proxy.admin("GET", "/ready");
        assert_eq!((ready.status(), ready.text()), (503, "DRAINING\n"));
        assert!(proxy.is_running());
        release.send(()).expect("the origin waits");
        let answer = busy.response();
        assert_eq!((answer.status(), answer.text()), (200, "/held"));
        assert!(answer.says_close(), "the last response says so");
        busy.expect_end();
        assert_eq!(proxy.wait().code(), Some(0));
    }
}

#[test]
fn without_traffic_it_ends_at_once() {
    let mut proxy =
        Setup::new(&forwarding("127.0.0.1:9".parse().expect("an address"), "")).runtime("drain_time = \"1h\"").start();
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait().code(), Some(0));
}

/// The drain time bounds it; what is left then is closed.
#[test]
fn the_drain_time_bounds_it() {
    let (origin, _release) = held();
    let mut proxy = Setup::new(&forwarding(origin.address, "")).runtime("drain_time = \"300ms\"").start();
    let mut busy = in_flight(&proxy);
    let start = Instant::now();
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait().code(), Some(0));
    assert!(start.elapsed() >= Duration::from_millis(300), "it waited");
    assert!(busy.try_response("GET").is_none_or(|answer| answer.status() == 503), "no response, or one that says why");
}

#[test]
fn a_second_signal_ends_it_now() {
    let (origin, _release) = held();
    let mut proxy = Setup::new(&forwarding(origin.address, "")).runtime("drain_time = \"1h\"").start();
    let _busy = in_flight(&proxy);
    proxy.signal(Signal::TERM);
    eventually("it drains", || proxy.stderr().contains("draining"));
    assert!(proxy.is_running());
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait().code(), Some(0));
}

/// A request whose body is still on its way is in flight, too.
#[test]
fn an_upload_in_flight_ends() {
    let origin = Origin::answering(|request| response(200, &[], request.body.len().to_string()));
    let mut proxy = Setup::new(&forwarding(origin.address, "")).runtime("drain_time = \"1h\"").start();
    let mut client = proxy.connect();
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n01234");
    proxy.wait_for_stat("cluster.app.upstream_rq_active", 1);
    proxy.signal(Signal::TERM);
    eventually("it drains", || proxy.stderr().contains("draining"));
    client.send(b"56789");
    let answer = client.response();
    assert_eq!(answer.text(), "10");
    assert!(answer.says_close());
    client.expect_end();
    assert_eq!(proxy.wait().code(), Some(0));
}

/// A large download ends whole, copied or spliced, and so do its last bytes in the socket.
#[test]
fn a_download_in_flight_ends_whole() {
    let expected = pattern(32 << 20);
    let nginx = Nginx::start("root ROOT;");
    std::fs::write(nginx.root().join("large"), &expected).expect("written");
    for splice in ["splice_threshold = \"off\"", ""] {
        let mut proxy =
            Setup::new(&forwarding(nginx.address, "")).runtime("drain_time = \"1h\"").runtime(splice).start();
        let mut client = proxy.connect();
        client.send(b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(client.some());
        proxy.signal(Signal::TERM);
        eventually("it drains", || proxy.stderr().contains("draining"));
        let answer = client.response();
        assert!(answer.complete);
        assert_same(&answer.body, &expected, splice);
        client.expect_end();
        assert_eq!(proxy.wait().code(), Some(0));
    }
}

/// Requests that were pipelined before the signal: the one in flight is answered, and its answer says that it is the
/// last; the client knows that the others were not looked at (RFC 9112 section 9.6).
#[test]
fn pipelined_requests_and_a_drain() {
    let (origin, release) = held();
    let mut proxy = Setup::new(&forwarding(origin.address, "")).runtime("drain_time = \"1h\"").start();
    let mut client = in_flight(&proxy);
    client.send(b"GET /second HTTP/1.1\r\nHost: h\r\n\r\n");
    proxy.signal(Signal::TERM);
    eventually("it drains", || proxy.stderr().contains("draining"));
    release.send(()).expect("the origin waits");
    let first = client.response();
    assert_eq!(first.text(), "/held");
    if first.says_close() {
        client.expect_end();
        assert_eq!(origin.requests().len(), 1, "what is not answered was not delivered");
    } else {
        assert!(client.response().says_close());
    }
    assert_eq!(proxy.wait().code(), Some(0));
}

/// Under load every answer that begins is whole, and a connection ends only between exchanges.
#[test]
fn a_drain_under_load_cuts_nothing() {
    let origin = Origin::answering(|_| response(200, &[], pattern(20_000)));
    let mut proxy = Setup::new(&forwarding(origin.address, "")).runtime("drain_time = \"1h\"\nshards = 2").start();
    let address = proxy.address(0);
    let expected = pattern(20_000);
    let served = std::thread::scope(|scope| {
        let worker = || {
            let mut served = 0_u64;
            while let Ok(stream) = TcpStream::connect(address) {
                let mut client = Client::new(stream);
                while client.try_send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n") {
                    // The idle connection may end while the request is on its way; a begun answer may not.
                    let Some(answer) = client.try_response("GET") else { break };
                    assert!(answer.complete, "cut off after {} bytes", answer.body.len());
                    assert_eq!(answer.status(), 200);
                    assert_same(&answer.body, &expected, "under load");
                    served += 1;
                    if answer.says_close() {
                        break;
                    }
                }
            }
            served
        };
        let workers: Vec<_> = (0..6).map(|_| scope.spawn(worker)).collect();
        proxy_has_served(&proxy, 200);
        proxy.signal(Signal::TERM);
        workers.into_iter().map(|worker| worker.join().expect("nothing was cut")).sum::<u64>()
    });
    assert!(served >= 200);
    assert_eq!(proxy.wait().code(), Some(0));
}

/// New connections while the process is told to stop, or while their listener is removed: each is served or refused, and
/// none is reset. The response of those that come last says that they are.
#[test]
fn a_drain_resets_no_new_connection() {
    let served_by = |body: &str| {
        format!(
            "http.routes = [{{ match = {{ prefix = \"/\" }}, direct_response = {{ status = 200, body = \"{body}\" }} }}]\n"
        )
    };
    for round in 0..6 {
        let kept = format!("[[listeners]]\naddress = \"127.0.0.2:0\"\n{}", served_by("kept"));
        let drained = format!("{kept}[[listeners]]\naddress = \"127.0.0.1:0\"\n{}", served_by("drained"));
        let mut proxy = Setup::new(&drained).runtime("drain_time = \"1h\"\nshards = 2").start();
        let address = proxy.address(1);
        let exchange = || {
            let Ok(stream) = TcpStream::connect(address) else { return None };
            let mut client = Client::new(stream);
            assert!(client.try_send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"), "round {round}: reset before the request");
            let answer = client.try_response("GET").unwrap_or_else(|| panic!("round {round}: reset"));
            assert_eq!((answer.status(), answer.text(), answer.complete), (200, "drained", true));
            Some(answer.says_close())
        };
        let (mut before, mut last) = (0, 0);
        std::thread::scope(|scope| {
            let worker = || {
                let (mut served, mut last) = (0, 0);
                while let Some(is_last) = exchange() {
                    served += 1;
                    last += u64::from(is_last);
                }
                (served, last)
            };
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(worker)).collect();
            eventually("some load", || proxy.stat("http.ingress_http.downstream_rq_completed") >= 200);
            match round % 2 {
                0 => proxy.signal(Signal::TERM),
                _ => {
                    proxy.write_config(&kept);
                    assert!(proxy.reload());
                }
            }
            for worker in workers {
                let (of_worker, last_of_worker) = worker.join().expect("no connection was reset");
                before += of_worker;
                last += last_of_worker;
            }
        });
        assert!(before >= 200 && last <= before);
        if round % 2 == 0 {
            assert_eq!(proxy.wait().code(), Some(0));
        }
    }
}

/// The same for a Unix socket, which the shards share: it refuses new connections from one moment to the next.
#[test]
fn a_drain_resets_no_new_connection_of_a_unix_socket() {
    for _ in 0..3 {
        let config = "[[listeners]]\naddress = \"unix:DIR/http.sock\"\nhttp.routes = [{ match = { prefix = \"/\" }, direct_response = { status = 200, body = \"ok\" } }]\n";
        let mut proxy = Setup::new(config).runtime("drain_time = \"1h\"\nshards = 2").start();
        let path = proxy.file("http.sock");
        std::thread::scope(|scope| {
            let worker = || {
                let mut served = 0;
                while let Ok(stream) = std::os::unix::net::UnixStream::connect(&path) {
                    let mut client = super::support::Connection::new(stream);
                    assert_eq!(client.get("/").text(), "ok");
                    served += 1;
                }
                served
            };
            let workers: Vec<_> = (0..4).map(|_| scope.spawn(worker)).collect();
            eventually("some load", || proxy.stat("http.ingress_http.downstream_rq_completed") >= 200);
            proxy.signal(Signal::TERM);
            let served = workers.into_iter().map(|worker| worker.join().expect("no connection was reset")).sum::<u64>();
            assert!(served >= 200);
        });
        assert_eq!(proxy.wait().code(), Some(0));
        assert!(!proxy.stderr().contains("cannot accept"), "{}", proxy.stderr());
    }
}

/// A burst right before the signal: what is accepted already, and what is still in the backlog.
#[test]
fn a_drain_serves_what_is_in_the_backlog() {
    let config = "[[listeners]]\naddress = \"127.0.0.1:0\"\nhttp.routes = [{ match = { prefix = \"/\" }, direct_response = { status = 200 } }]\n";
    let mut proxy = Setup::new(config).runtime("drain_time = \"1h\"").start();
    let mut clients: Vec<Client> = Vec::new();
    // All at once: those that are not accepted yet when the signal comes are in the backlog.
    for _ in 0..200 {
        let mut client = proxy.connect();
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        clients.push(client);
    }
    proxy.signal(Signal::TERM);
    for client in &mut clients {
        assert_eq!(client.response().status(), 200);
    }
    assert_eq!(proxy.wait().code(), Some(0));
}

fn proxy_has_served(proxy: &Ringway, count: i64) {
    eventually("some load", || proxy.stat("http.ingress_http.downstream_rq_completed") >= count);
}

/// What is still under way when the drain time is over, or at the second order to stop, is cut off: that is logged, in
/// the access log as well, and is no failure.
#[test]
fn what_is_cut_off_is_told() {
    for twice in [false, true] {
        let (origin, _release) = held();
        let slow = Origin::recording(|connection, _, _| {
            connection.try_send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")
        });
        let log = "access_log = [{ path = \"DIR/log\", format = \"%REQ(:PATH)% %RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %BYTES_SENT%\" }]";
        let route = "routes = [{ match = { path = \"/slow\" }, route = { cluster = \"slow\" } }, ";
        let config = forwarding(origin.address, log).replace("routes = [", route)
            + &format!("[[clusters]]\nname = \"slow\"\nendpoints = [\"{}\"]\n", slow.address);
        let time = if twice { "1h" } else { "1ms" };
        let runtime = format!("drain_time = \"{time}\"\nshards = 2");
        let mut proxy = Setup::new(&config).runtime(&runtime).start();
        let mut clients = [in_flight(&proxy), proxy.connect(), proxy.connect()];
        clients[1].send(b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n");
        assert!(clients[1].head().is_some());
        let mut received = clients[1].take_buffered();
        while received.len() < 3 && clients[1].some() {
            received.extend(clients[1].take_buffered());
        }
        // Half a head is no exchange yet.
        clients[2].send(b"GET /half HTTP/1.1\r\nHo");
        proxy.signal(Signal::TERM);
        if twice {
            proxy.wait_for_log("draining");
            proxy.signal(Signal::TERM);
        }
        assert_eq!(proxy.wait().code(), Some(0));
        proxy.wait_for_log("exchanges were cut off exchanges=2 longest=");
        let mut lines = proxy.log_lines("log", 2);
        lines.sort();
        let details = "DC downstream_local_disconnect(shutdown)";
        assert_eq!(lines, [format!("/held 0 {details} 0"), format!("/slow 200 {details} 3")]);
    }
}

/// A load balancer sees that the process is going, and has the time to turn away.
#[test]
fn a_drain_begins_after_its_delay() {
    let origin = Origin::answering(|request| response(200, &[], request.target()));
    let setup = |delay| Setup::new(&forwarding(origin.address, "")).runtime(&format!("drain_delay = \"{delay}\""));
    let mut proxy = setup("1h").start();
    let mut kept = proxy.connect();
    assert_eq!(kept.get("/1").text(), "/1");
    proxy.signal(Signal::TERM);
    eventually("it is not ready", || proxy.admin("GET", "/ready").status() == 503);
    let answer = kept.get("/2");
    assert_eq!((answer.text(), answer.says_close()), ("/2", false));
    assert_eq!(proxy.get("/3").text(), "/3", "a new connection");
    proxy.signal(Signal::HUP);
    proxy.wait_for_log("the configuration is not read again");
    // The second order is obeyed at once, as ever.
    proxy.signal(Signal::TERM);
    assert_eq!(proxy.wait().code(), Some(0));
    kept.expect_end();
    // And where nothing intervenes, the drain comes by itself.
    let mut proxy = setup("10ms").start();
    let mut kept = proxy.connect();
    assert_eq!(kept.get("/").text(), "/");
    assert_eq!(proxy.admin("POST", "/quitquitquit").status(), 200);
    kept.expect_end();
    assert_eq!(proxy.wait().code(), Some(0));
    let log = proxy.stderr();
    let (delayed, draining) = (log.find("draining after the delay"), log.find(" draining time=30s"));
    assert!(delayed.is_some() && delayed < draining, "{log}");
}
