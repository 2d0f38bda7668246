//! Clients that send all the time on connections that this side ends: none of their requests is lost.

use super::support::{Client, Origin, Ringway, Setup, eventually, forwarding, response};
use rustix::net::RecvFlags;
use rustix::process::Signal;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const CLIENTS: usize = 20;
const POST: &[u8] = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello";
/// A connection between two requests is kept for a second at least. A client that a busy machine stops for longer than this
/// may find it closed.
const BUSY: Duration = Duration::from_millis(800);

/// Sends one request after the other until it is told to stop or the listener is gone. How many were answered.
fn sends_all_the_time(address: SocketAddr, stop: &AtomicBool) -> u64 {
    let mut answered = 0;
    while !stop.load(Ordering::Relaxed) {
        let mut since = Instant::now();
        let Ok(stream) = TcpStream::connect(address) else { break };
        let mut client = Client::new(stream);
        while !stop.load(Ordering::Relaxed) {
            let begun = Instant::now();
            let answer = client.try_send(POST).then(|| client.try_response("POST")).flatten();
            let Some(answer) = answer else {
                assert!(since.elapsed() >= BUSY, "lost a request after {answered} others");
                break;
            };
            assert_eq!((answer.status(), answer.text(), answer.complete), (200, "5", true));
            answered += 1;
            if answer.says_close() {
                client.expect_end();
                break;
            }
            since = begun;
            std::thread::sleep(Duration::from_millis(15));
        }
    }
    answered
}

/// Runs the clients while `end` does what ends their connections.
fn while_clients_send(proxy: &Ringway, at: usize, end: impl FnOnce(&AtomicBool)) {
    let (address, stop) = (proxy.address(at), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS).map(|_| scope.spawn(|| sends_all_the_time(address, &stop))).collect();
        eventually("some load", || proxy.stat("http.ingress_http.downstream_rq_completed") >= 5 * CLIENTS as i64);
        end(&stop);
        let answered: u64 = clients.into_iter().map(|client| client.join().expect("nothing was lost")).sum();
        assert!(answered >= 5 * CLIENTS as u64, "{answered}");
    });
}

fn origin() -> Origin {
    Origin::answering(|request| response(200, &[], request.body.len().to_string()))
}

#[test]
fn connections_that_become_too_old_lose_nothing() {
    let origin = origin();
    let config = forwarding(origin.address, "max_connection_duration = \"200ms\"");
    let proxy = Setup::new(&config).runtime("shards = 2").start();
    while_clients_send(&proxy, 0, |stop| {
        let ended = || proxy.stat("http.ingress_http.downstream_cx_max_duration_reached");
        eventually("each connection ends three times", || ended() >= 3 * CLIENTS as i64);
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn connections_with_enough_requests_lose_nothing() {
    let origin = origin();
    let config = forwarding(origin.address, "max_requests_per_connection = 7");
    let proxy = Setup::new(&config).runtime("shards = 2").start();
    while_clients_send(&proxy, 0, |stop| {
        let ended = || proxy.stat("http.ingress_http.downstream_cx_max_requests_reached");
        eventually("each connection ends three times", || ended() >= 3 * CLIENTS as i64);
        stop.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_stop_loses_nothing() {
    let origin = origin();
    let mut proxy = Setup::new(&forwarding(origin.address, "")).runtime("drain_time = \"1h\"\nshards = 2").start();
    while_clients_send(&proxy, 0, |_| proxy.signal(Signal::TERM));
    assert_eq!(proxy.wait().code(), Some(0));
}

#[test]
fn a_listener_that_is_removed_loses_nothing() {
    let origin = origin();
    let (kept, drained) = (
        "[[listeners]]\naddress = \"127.0.0.2:0\"\nhttp.routes = [{ match = { prefix = \"/\" }, direct_response = { status = 200 } }]\n",
        forwarding(origin.address, ""),
    );
    let proxy = Setup::new(&format!("{kept}{drained}")).runtime("shards = 2").start();
    while_clients_send(&proxy, 1, |_| {
        proxy.write_config(kept);
        assert!(proxy.reload());
    });
    proxy.wait_for_stat("http.ingress_http.downstream_cx_active", 0);
}

/// A request that has come when the idle time runs out is served, though this side learns of both at the same moment.
#[test]
fn a_request_that_comes_before_the_end_of_the_idle_time_is_noticed_is_served() {
    let origin = origin();
    let idle = Duration::from_millis(500);
    let proxy = Ringway::before(origin.address, "idle_timeout = \"500ms\"");
    let mut tried = 0;
    loop {
        let mut client = proxy.connect();
        client.send(POST);
        assert_eq!(client.response().text(), "5");
        proxy.signal(Signal::STOP);
        eventually("it stands still", || proxy.status_line("State").contains("stopped"));
        // On a machine that is too busy the time was over before that.
        let is_open = rustix::net::recv(&client.stream, &mut [0; 1], RecvFlags::PEEK | RecvFlags::DONTWAIT)
            == Err(rustix::io::Errno::AGAIN);
        std::thread::sleep(idle + Duration::from_millis(100));
        client.send(POST);
        proxy.signal(Signal::CONT);
        if is_open {
            assert_eq!(client.response().text(), "5");
            break;
        }
        tried += 1;
        assert!(tried < 20, "the machine is too busy");
    }
    assert_eq!(proxy.stat("http.ingress_http.downstream_cx_idle_timeout"), tried);
}
