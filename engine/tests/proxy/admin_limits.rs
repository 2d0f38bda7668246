//! The admin endpoint under attack: it answers, with little memory, whatever other connections do.

use super::support::{Client, Connection, Origin, Setup, eventually, forwarding, response};
use std::io::Read;
use std::os::unix::net::UnixStream;

fn connect(proxy: &super::support::Ringway) -> UnixStream {
    // The backlog may be full for a moment.
    let mut stream = None;
    eventually("it can be connected to", || {
        stream = UnixStream::connect(proxy.file("admin.sock")).ok();
        stream.is_some()
    });
    stream.expect("connected")
}

/// Many clusters, so that the statistics are long.
fn large() -> String {
    let clusters = (0..300).map(|at| format!("[[clusters]]\nname = \"app-{at}\"\nendpoints = [\"127.0.0.1:9\"]\n"));
    forwarding("127.0.0.1:9".parse().expect("an address"), "") + &clusters.collect::<String>()
}

#[test]
fn idle_connections_keep_no_question_waiting() {
    let proxy = Setup::new(&large()).start();
    let mut silent: Vec<UnixStream> = (0..300).map(|_| connect(&proxy)).collect();
    for _ in 0..10 {
        assert_eq!(proxy.admin("GET", "/ready").status(), 200);
    }
    // The longest idle ones have made room.
    assert!(matches!(silent[0].read(&mut [0]), Ok(0)));
    // Half a head is no question either.
    let mut half: Vec<_> = (0..100).map(|_| Connection::new(connect(&proxy))).collect();
    for half in &mut half {
        half.try_send(b"GET /ready HTT");
    }
    assert_eq!(proxy.admin("GET", "/ready").status(), 200);
    let last = half.last_mut().expect("the newest one");
    last.send(b"P/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(last.response().text(), "LIVE\n", "it is not cut as long as older ones wait");
}

#[test]
fn slow_readers_cost_little_memory_and_keep_no_question_waiting() {
    let proxy = Setup::new(&large()).start();
    let whole = proxy.admin("GET", "/stats?filter=cluster").body.len();
    assert!(whole > 900_000, "{whole}");
    let paths =
        ["/stats", "/stats/prometheus", "/stats?format=json", "/clusters", "/config_dump", "/clusters?format=json"];
    // Each kind of answer once, so that what is kept for all is there.
    paths.iter().for_each(|path| drop(proxy.admin("GET", path).body));
    let before = proxy.resident();
    let mut slow: Vec<_> = (0..100).map(|_| Connection::new(connect(&proxy))).collect();
    for (client, path) in slow.iter_mut().zip(paths.iter().cycle()) {
        client.try_send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
    }
    for _ in 0..10 {
        assert_eq!(proxy.admin("GET", "/ready").status(), 200);
    }
    let grown = proxy.resident().saturating_sub(before);
    assert!(grown < 24 << 20, "{grown} bytes for 64 readers of {whole} bytes each");
    // A reader that makes progress gets all of it.
    let text = proxy.admin("GET", "/stats?filter=cluster");
    assert!(text.body.len() >= whole - 1000 && text.body.ends_with(b"\n"));
    assert_eq!(text.text().lines().filter(|line| line.ends_with("upstream_rq_total: 0")).count(), 301);
    // The newest readers are there still, and are answered in full.
    let last = slow.last_mut().expect("the newest one");
    assert_eq!(last.response().status(), 200);
}

/// Descriptors are kept back for it.
#[test]
fn it_answers_when_the_process_is_out_of_descriptors() {
    let origin = Origin::answering(|_| response(200, &[], "ok"));
    let filter = "http_filters = [{ buffer = { max_request_bytes = \"10KiB\" } }]";
    let proxy =
        Setup::new(&forwarding(origin.address, filter)).descriptors(80).runtime("max_connections = 10000").start();
    let flood: Vec<Client> = (0..200)
        .map(|_| {
            let mut client = proxy.connect();
            client.try_send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhal");
            client
        })
        .collect();
    eventually("descriptors are gone", || proxy.open_files() >= 80);
    for _ in 0..20 {
        assert_eq!(proxy.admin("GET", "/ready").status(), 200);
        assert!(proxy.stat("listener.main.downstream_cx_active") > 40);
    }
    drop(flood);
    eventually("requests are served again", || {
        let mut client = proxy.connect();
        client.try_send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        client.try_response("GET").is_some_and(|answer| answer.status() == 200)
    });
}
