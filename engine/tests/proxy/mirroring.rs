//! Mirroring: a copy of each request, or of a share of them, goes to another cluster, and the client never notices.

use super::support::{Origin, Ringway, Setup, assert_same, dead_address, eventually, pattern, response};
use std::net::SocketAddr;
use std::time::Duration;

fn mirroring(app: SocketAddr, shadow: SocketAddr, policy: &str, http: &str) -> Ringway {
    Ringway::start(&config(app, shadow, policy, http))
}

/// Ends within the mirror's cluster.
fn config(app: SocketAddr, shadow: SocketAddr, policy: &str, http: &str) -> String {
    format!(
        r#"
[[listeners]]
address = "127.0.0.1:0"
[listeners.http]
{http}
[[listeners.http.virtual_hosts]]
name = "all"
domains = ["*"]
[[listeners.http.virtual_hosts.routes]]
match = {{ prefix = "/" }}
route = {{ cluster = "app", request_mirror_policies = [{{ cluster = "shadow"{policy} }}] }}
[[clusters]]
name = "app"
endpoints = ["{app}"]
[[clusters]]
name = "shadow"
endpoints = ["{shadow}"]
"#
    )
}

fn echo() -> Origin {
    Origin::answering(|request| response(200, &["x-from: app"], &request.body))
}

#[test]
fn the_mirror_gets_the_same_request_under_another_host() {
    let (app, shadow) = (echo(), Origin::answering(|_| response(500, &[], pattern(50_000))));
    let proxy = mirroring(app.address, shadow.address, "", "");
    let mut client = proxy.connect();
    for number in 0..3 {
        let head = "POST /path?q HTTP/1.1\r\nHost: example.com:8080\r\nX-A: 1\r\n";
        client.send(format!("{head}Content-Length: 5\r\n\r\nbody{number}").as_bytes());
        let answer = client.response();
        assert_eq!((answer.status(), answer.text()), (200, format!("body{number}").as_str()));
        assert_eq!(answer.field("x-from"), Some("app"));
        proxy.wait_for_stat("cluster.shadow.upstream_rq_500", number + 1);
    }
    client.send(b"GET /get HTTP/1.1\r\nHost: example.com\r\n\r\n");
    assert_eq!(client.response().status(), 200);
    eventually("four copies", || shadow.requests().len() == 4);
    let copy = &shadow.requests()[0];
    assert_eq!((copy.method(), copy.target(), copy.text()), ("POST", "/path?q", "body0"));
    assert_eq!((copy.field("host"), copy.field("x-a")), (Some("example.com-shadow:8080"), Some("1")));
    assert_eq!(shadow.requests()[3].field("host"), Some("example.com-shadow"));
    assert_eq!(app.requests()[0].field("host"), Some("example.com:8080"));
    proxy.wait_for_stat("cluster.shadow.upstream_rq_500", 4);
    proxy.wait_for_stat("cluster.shadow.upstream_rq_active", 0);
    assert_eq!(proxy.stat("cluster.app.upstream_rq_200"), 4);
    assert_eq!(shadow.connections(), 1, "its connection is used again");
}

#[test]
fn a_long_body_streams_to_both() {
    let (app, shadow) = (echo(), echo());
    let proxy = mirroring(app.address, shadow.address, "", "");
    let body = pattern(3_000_000);
    let mut client = proxy.connect();
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    for piece in body.chunks(100_000) {
        client.send(format!("{:x}\r\n", piece.len()).as_bytes());
        client.send(piece);
        client.send(b"\r\n");
    }
    client.send(b"0\r\n\r\n");
    assert_same(&client.response().body, &body, "the answer");
    assert_same(&app.last().body, &body, "the request");
    // A mirror that keeps up gets all of it; one that does not is given up, which is counted.
    eventually("the copy ended, one way or the other", || {
        shadow.requests().len() == 1 || proxy.stat("cluster.app.retry_or_shadow_abandoned") == 1
    });
    if let Some(copy) = shadow.requests().first().filter(|copy| copy.complete) {
        assert_same(&copy.body, &body, "the copy");
    }
}

/// Neither a mirror that is down, nor one that takes nothing, nor one that never answers, delays a request.
#[test]
fn a_bad_mirror_costs_nothing() {
    let app = echo();
    let down = mirroring(app.address, dead_address(), "", "");
    assert_eq!(down.get("/").status(), 200);
    down.wait_for_stat("cluster.shadow.upstream_cx_connect_fail", 1);
    down.wait_for_stat("cluster.shadow.upstream_rq_active", 0);
    // What of a body comes afterwards is not kept for it; it was not too slow.
    let body = pattern(5_000_000);
    let mut client = down.connect();
    client.send(format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes());
    client.send(&body[..1000]);
    down.wait_for_stat("cluster.shadow.upstream_cx_connect_fail", 2);
    down.wait_for_stat("cluster.shadow.upstream_rq_active", 0);
    let sender = proxy_sender(&client, body[1000..].to_vec());
    assert_same(&client.response().body, &body, "the answer");
    sender.join().expect("sent");
    assert_eq!(down.stat("cluster.app.retry_or_shadow_abandoned"), 0);

    // Reads nothing until the test is over.
    let (over, ended) = std::sync::mpsc::channel::<()>();
    let ended = std::sync::Mutex::new(ended);
    let stuck = Origin::raw(move |connection, _| {
        let _ = ended.lock().map(|ended| ended.recv());
        drop(connection);
    });
    let proxy = mirroring(app.address, stuck.address, "", "buffer_limit = \"64KiB\"");
    let body = pattern(20_000_000);
    let mut client = proxy.connect();
    client.send(format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes());
    let sender = proxy_sender(&client, body.clone());
    assert_same(&client.response().body, &body, "the answer");
    sender.join().expect("sent");
    assert_eq!(proxy.stat("cluster.app.retry_or_shadow_abandoned"), 1);
    proxy.wait_for_stat("cluster.shadow.upstream_rq_active", 0);
    assert_eq!(proxy.get("/").status(), 200);
    drop(over);
}

/// Send from a thread, so that an echo can flow.
fn proxy_sender(client: &super::support::Client, body: Vec<u8>) -> std::thread::JoinHandle<()> {
    let mut stream = client.stream.try_clone().expect("a second handle");
    std::thread::spawn(move || std::io::Write::write_all(&mut stream, &body).expect("the proxy takes it"))
}

/// A mirror that answers nothing holds no descriptor that a request needs, whatever the number of copies.
#[test]
fn a_stalled_mirror_leaves_descriptors_to_main_traffic() {
    let app = Origin::answering(|_| response(200, &["connection: close"], "ok"));
    let stuck = Origin::raw(|connection, _| {
        std::thread::sleep(Duration::from_secs(60));
        drop(connection);
    });
    for (limits, copies) in [("", 64), ("circuit_breakers = { max_mirrors = 1000 }", 130)] {
        let text = config(app.address, stuck.address, "", "");
        let proxy = Setup::new(&format!("{text}{limits}\n")).descriptors(192).start();
        for _ in 0..200 {
            // Each needs a descriptor for the client and one for the origin.
            assert_eq!(proxy.get("/").status(), 200);
        }
        let (active, kept) = (proxy.stat("cluster.shadow.upstream_rq_active"), proxy.open_files());
        assert!((32..=copies).contains(&active), "{active} copies");
        assert!(kept < 160, "{kept} descriptors");
        let refused = ["upstream_rq_mirror_overflow", "upstream_rq_mirror_shed"];
        let refused = refused.map(|name| proxy.stat(&format!("cluster.shadow.{name}")));
        assert!(refused.iter().sum::<i64>() > 0, "{refused:?}");
        assert_eq!(proxy.stat("http.ingress_http.downstream_rq_5xx"), 0);
    }
}

#[test]
fn a_share_is_mirrored() {
    let (app, shadow) = (echo(), echo());
    let proxy = mirroring(app.address, shadow.address, ", percent = 25", "");
    let mut client = proxy.connect();
    for _ in 0..400 {
        assert_eq!(client.get("/").status(), 200);
    }
    proxy.wait_for_stat("cluster.shadow.upstream_rq_active", 0);
    let copies = proxy.stat("cluster.shadow.upstream_rq_total");
    assert!((50..=150).contains(&copies), "{copies} of 400");
}

/// The client goes away within its request: the copy is broken off, not completed.
#[test]
fn a_broken_request_breaks_its_copy() {
    let (app, shadow) = (echo(), echo());
    let proxy = mirroring(app.address, shadow.address, "", "");
    let mut client = proxy.connect();
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nhalf");
    proxy.wait_for_stat("cluster.shadow.upstream_cx_active", 1);
    client.reset();
    proxy.wait_for_stat("cluster.shadow.upstream_cx_active", 0);
    proxy.wait_for_stat("cluster.shadow.upstream_rq_active", 0);
    eventually("the mirror saw the end", || shadow.requests().iter().all(|request| !request.complete));
}
