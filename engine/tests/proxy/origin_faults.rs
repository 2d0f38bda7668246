//! Origins that are down, die or misbehave at every phase: the status and response flag for each, nothing that looks
//! complete and is not, and no request that is delivered twice where that does harm.

use super::support::{Client, Connection, Nginx, Origin, Ringway, Setup, dead_address, forwarding, pattern, response};
use std::collections::HashMap;
use std::net::TcpStream;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A proxy whose access log has status, flags and details.
fn logged(origin: std::net::SocketAddr, runtime: &str) -> Ringway {
    let log =
        "access_log = [{ path = \"DIR/log\", format = \"%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\" }]";
    Setup::new(&forwarding(origin, log)).runtime("access_log_flush_interval = \"5ms\"").runtime(runtime).start()
}

/// An origin that reads each request's head and then does `act`, which is to end the connection.
fn dying(act: fn(Connection<TcpStream>)) -> Origin {
    Origin::raw(move |mut connection, _| {
        if connection.head().is_some() {
            act(connection);
        }
    })
}

#[test]
fn an_origin_that_is_down_is_503_uf() {
    let proxy = logged(dead_address(), "");
    let mut client = proxy.connect();
    for _ in 0..2 {
        let answer = client.get("/");
        assert_eq!(answer.status(), 503);
        assert!(answer.text().contains("connection failure"), "{}", answer.text());
    }
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(client.response().status(), 503);
    for line in proxy.log_lines("log", 3) {
        assert_eq!(line, "503 UF upstream_reset_before_response_started{remote_connection_failure|connection_refused}");
    }
    assert_eq!(proxy.stat("cluster.app.upstream_cx_connect_fail"), 3);
    assert_eq!(proxy.stat("http.ingress_http.downstream_rq_5xx"), 3);
    proxy.wait_for_stat("cluster.app.upstream_rq_active", 0);
}

#[test]
fn an_origin_that_resets_or_closes_before_its_response_is_503_uc() {
    let resets = dying(Connection::reset);
    let closes = dying(drop);
    for origin in [resets, closes] {
        let proxy = logged(origin.address, "");
        let mut client = proxy.connect();
        assert_eq!(client.get("/").status(), 503);
        client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(client.response().status(), 503);
        for line in proxy.log_lines("log", 2) {
            assert!(line.starts_with("503 UC upstream_reset_before_response_started"), "{line}");
        }
        assert_eq!(origin.connections(), 2, "a new connection's failure is not tried again");
        assert_eq!(proxy.stat("cluster.app.upstream_rq_rx_reset"), 2);
    }
}

/// RFC 9112 section 8: an incomplete head is no response. Nothing of it reaches the client.
#[test]
fn an_origin_that_dies_within_its_head_is_502() {
    for act in [
        |mut connection: Connection<TcpStream>| connection.send(b"HTTP/1.1 200 OK\r\nX-Half: o"),
        |mut connection: Connection<TcpStream>| {
            connection.send(b"HTTP/1.1 200 OK\r\nX-Half: o");
            std::thread::sleep(Duration::from_millis(50));
            connection.reset();
        },
    ] {
        let origin = dying(act);
        let proxy = logged(origin.address, "");
        let answer = proxy.get("/");
        assert_eq!((answer.status(), answer.field("x-half")), (502, None));
        let lines = proxy.log_lines("log", 1);
        assert!(lines[0].starts_with("502 UC "), "{lines:?}");
    }
}

#[test]
fn an_origin_that_sends_rubbish_is_502_upe() {
    for rubbish in [
        &b"SSH-2.0-OpenSSH_9.2p1 Debian\r\n"[..],
        b"HTTP/1.1 200 OK\nX: y\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
    ] {
        let origin = Origin::recording(move |connection, _, _| connection.try_send(rubbish));
        let proxy = logged(origin.address, "");
        let answer = proxy.get("/");
        assert_eq!(answer.status(), 502, "{}", String::from_utf8_lossy(rubbish));
        assert!(proxy.log_lines("log", 1)[0].starts_with("502 UPE "));
        assert_eq!(proxy.stat("cluster.app.upstream_cx_protocol_error"), 1);
        proxy.wait_for_stat("cluster.app.upstream_cx_active", 0);
    }
}

/// A response that stops within its body never looks whole, whatever its framing, copied or spliced.
#[test]
fn an_origin_that_dies_within_its_body_is_visibly_truncated() {
    let deaths: [fn(Connection<TcpStream>); 2] = [drop, |connection| {
        std::thread::sleep(Duration::from_millis(100));
        connection.reset();
    }];
    for splice in ["splice_threshold = \"off\"", "splice_threshold = \"1B\""] {
        for death in deaths {
            for head in ["Content-Length: 500000", "Transfer-Encoding: chunked"] {
                let origin = Origin::raw(move |mut connection, _| {
                    if connection.head().is_some() {
                        connection.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n").as_bytes());
                        let chunk = if head.starts_with('T') { "30d40\r\n" } else { "" };
                        connection.send(chunk.as_bytes());
                        connection.send(&pattern(200_000));
                        death(connection);
                    }
                });
                let proxy = logged(origin.address, splice);
                let mut client = proxy.connect();
                client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
                let answer = client.try_response("GET").expect("a head came");
                assert_eq!(answer.status(), 200);
                assert!(!answer.complete, "{splice} {head}: {} bytes looked complete", answer.body.len());
                assert_eq!(answer.body, pattern(200_000)[..answer.body.len()], "{splice} {head}");
                let line = &proxy.log_lines("log", 1)[0];
                assert!(line.starts_with("200 UC upstream_reset_after_response_started"), "{line}");
                proxy.wait_for_stat("cluster.app.upstream_cx_active", 0);
                proxy.wait_for_stat("http.ingress_http.downstream_cx_active", 0);
            }
        }
    }
}

/// An HTTP/1.0 client sees the end of the body in the end of the connection: only a reset can tell it of a truncation.
#[test]
fn a_truncated_body_for_http_10_is_a_reset() {
    let origin = dying(|mut connection| {
        connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        std::thread::sleep(Duration::from_millis(50));
    });
    let proxy = logged(origin.address, "");
    let mut client = proxy.connect();
    client.send(b"GET / HTTP/1.0\r\n\r\n");
    let mut sink = Vec::new();
    let ended = std::io::Read::read_to_end(&mut client.stream, &mut sink);
    assert_eq!(ended.expect_err("not a clean end").kind(), std::io::ErrorKind::ConnectionReset);
}

/// An origin whose connections are dead when they are used again: what is safe to repeat is repeated, what is not, not.
#[test]
fn a_stale_pooled_connection_is_no_error_for_what_is_safe() {
    // Answers the first request of a connection; the second finds the connection closing.
    let origin = Origin::recording(|connection, request, _| {
        let again = request.target() == "/kill";
        !again && {
            connection.send(&response(200, &[], "ok"));
            // Read the next request and die without an answer.
            if connection.some() {
                let next = connection.request().expect("whole");
                return next.target() == "/never";
            }
            false
        }
    });
    let proxy = logged(origin.address, "");
    for method in ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"] {
        let mut client = proxy.connect();
        for _ in 0..3 {
            client.send(format!("{method} / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n").as_bytes());
            assert_eq!(client.try_response(method).expect("a response").status(), 200, "{method}");
        }
    }
    assert!(proxy.stat("cluster.app.upstream_rq_retry") >= 10);
    assert_eq!(proxy.stat("cluster.app.upstream_rq_retry"), proxy.stat("cluster.app.upstream_rq_retry_success"));
    assert_eq!(proxy.stat("http.ingress_http.downstream_rq_5xx"), 0);
    // RFC 9110 section 9.2.2: what is not idempotent is not sent again.
    let mut client = proxy.connect();
    assert_eq!(client.get("/").status(), 200);
    let before = origin.connections();
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc");
    assert_eq!(client.response().status(), 503);
    assert_eq!(origin.connections(), before, "no second delivery");
}

/// A PUT whose body was sent already is sent again with the whole body.
#[test]
fn a_repeated_request_has_its_whole_body() {
    let origin = Origin::recording(|connection, request, number| {
        if number == 0 && request.method() == "PUT" {
            return false;
        }
        connection.send(&response(200, &[], &request.body));
        true
    });
    let proxy = logged(origin.address, "");
    let mut client = proxy.connect();
    assert_eq!(client.get("/").status(), 200);
    let body = pattern(100_000);
    client.send(format!("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: {}\r\n\r\n", body.len()).as_bytes());
    client.send(&body);
    super::support::assert_same(&client.response().body, &body, "the body, twice sent");
    assert_eq!(origin.connections(), 2);
}

/// An idle connection that the origin closes is forgotten before a request meets it: a POST after it succeeds.
#[test]
fn an_idle_close_is_noticed() {
    let origin = Origin::recording(|connection, _, _| {
        connection.send(&response(200, &[], "ok"));
        false
    });
    let proxy = logged(origin.address, "");
    let mut client = proxy.connect();
    for _ in 0..5 {
        client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi");
        assert_eq!(client.response().status(), 200);
        proxy.wait_for_stat("cluster.app.upstream_cx_active", 0);
    }
    assert_eq!(origin.requests().len(), 5);
    assert_eq!(proxy.stat("cluster.app.upstream_cx_destroy_remote"), 5);
}

/// Unasked bytes, behind a response or on an idle connection, reach no client (CWE-444, response queue
/// poisoning): the connection that brought them is closed.
#[test]
fn unasked_responses_reach_nobody() {
    let origin = Origin::recording(|connection, request, _| {
        let answer = response(200, &[], request.target());
        if request.target() == "/later" {
            connection.send(&answer);
            std::thread::sleep(Duration::from_millis(50));
            connection.try_send(&response(200, &[], "poison"))
        } else {
            connection.send(&[answer, response(200, &[], "poison")].concat());
            true
        }
    });
    let proxy = logged(origin.address, "");
    let mut clients: Vec<_> = (0..4).map(|_| proxy.connect()).collect();
    for round in 0..5 {
        for (i, client) in clients.iter_mut().enumerate() {
            let target = format!("/{round}/{i}");
            assert_eq!(client.get(&target).text(), target);
        }
        assert_eq!(clients[0].get("/later").text(), "/later");
        proxy.wait_for_stat("cluster.app.upstream_cx_active", 0);
    }
    assert_eq!(origin.connections(), 25);
}

/// The same behind bodies that never enter the process: splice moves what belongs to the body, and what the origin says
/// beyond it still waits in the kernel when the next request of the same client is there already.
#[test]
fn unasked_responses_behind_long_bodies_reach_nobody() {
    const ROUNDS: usize = 30;
    let body = "b".repeat(400_000);
    let origin = Origin::recording(move |connection, request, _| match request.target() {
        "/long" => connection.try_send(&[response(200, &[], &body), response(200, &[], "poison")].concat()),
        _ => connection.try_send(&response(200, &[], "short")),
    });
    for threshold in ["64KiB", "off"] {
        let setup = Setup::new(&forwarding(origin.address, ""));
        let proxy = setup.runtime(&format!("splice_threshold = \"{threshold}\"")).start();
        for _ in 0..ROUNDS {
            let mut client = proxy.connect();
            client.send(b"GET /long HTTP/1.1\r\nHost: h\r\n\r\nGET /short HTTP/1.1\r\nHost: h\r\n\r\n");
            assert_eq!(client.response().text().len(), 400_000);
            assert_eq!(client.response().text(), "short", "splice_threshold {threshold}");
        }
        assert_eq!(proxy.stat("cluster.app.upstream_rq_200"), 2 * ROUNDS as i64);
    }
}

/// An origin that closes connections at any moment between responses: GETs never fail, a POST is delivered once at most.
#[test]
fn random_closes_under_load() {
    let answered = AtomicUsize::new(0);
    let origin = Origin::recording(move |connection, _, _| {
        connection.send(&response(200, &[], "ok"));
        // Every third response is the connection's last, without a word about it.
        !answered.fetch_add(1, Ordering::Relaxed).is_multiple_of(3)
    });
    let proxy = Setup::new(&forwarding(origin.address, "")).runtime("shards = 2").start();
    let work = |worker: usize| {
        let mut client = proxy.connect();
        let mut failed_posts = 0;
        for i in 0..150 {
            assert_eq!(client.get(&format!("/get/{worker}/{i}")).status(), 200, "GET {worker}/{i}");
            client
                .send(format!("POST /post/{worker}/{i} HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi").as_bytes());
            match client.response().status() {
                200 => {}
                503 => failed_posts += 1,
                other => panic!("POST {worker}/{i}: {other}"),
            }
        }
        failed_posts
    };
    let failed: usize = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..4).map(|worker| scope.spawn(move || work(worker))).collect();
        workers.into_iter().map(|worker| worker.join().expect("no failure")).sum()
    });
    let mut deliveries: HashMap<String, usize> = HashMap::new();
    for request in origin.requests().iter().filter(|request| request.method() == "POST") {
        *deliveries.entry(request.target().to_owned()).or_default() += 1;
    }
    assert!(deliveries.values().all(|count| *count == 1), "a POST came twice");
    assert!(deliveries.len() + failed >= 600, "every POST was delivered or refused");
}

/// nginx that gives its connections a millisecond: they close under the proxy all the time.
#[test]
fn nginx_with_a_short_keepalive_timeout() {
    let nginx = Nginx::start("keepalive_timeout 1ms; location / { return 200 ok; }");
    let proxy = Setup::new(&forwarding(nginx.address, "")).start();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let proxy = &proxy;
            scope.spawn(move || {
                let mut client = proxy.connect();
                for i in 0..200_u64 {
                    let answer = client.get(&format!("/{worker}/{i}"));
                    assert_eq!(answer.status(), 200, "{worker}/{i}: {}", answer.text());
                    // Around the moment of the close.
                    std::thread::sleep(Duration::from_micros(i * 7919 % 2500));
                }
            });
        }
    });
    assert_eq!(proxy.stat("http.ingress_http.downstream_rq_5xx"), 0);
}

/// While nginx is away requests get 503, and once it is back all is well: no connection of before is in the way.
#[test]
fn nginx_comes_back() {
    let server = "keepalive_timeout 60s; location / { return 200 ok; }";
    let mut nginx = Nginx::start(server);
    let proxy = logged(nginx.address, "");
    let mut clients: Vec<Client> = (0..8).map(|_| proxy.connect()).collect();
    for _ in 0..3 {
        clients.iter_mut().for_each(|client| assert_eq!(client.get("/").status(), 200));
        nginx.kill();
        clients.iter_mut().for_each(|client| assert_eq!(client.get("/").status(), 503));
        nginx.restart(server);
        clients.iter_mut().for_each(|client| assert_eq!(client.get("/").status(), 200));
        // Killed and back again between two requests: no client notices.
        nginx.restart(server);
        clients.iter_mut().for_each(|client| assert_eq!(client.get("/").status(), 200));
    }
}

/// RFC 9112 section 9.5: a response that comes before the request has ended is passed on at once.
#[test]
fn an_early_response_is_passed_on() {
    let origin = dying(|mut connection| {
        connection.send(&response(413, &["Connection: close"], "too much"));
        // The proxy may still be sending: a close with unread bytes would destroy the response.
        connection.half_close();
        let mut sink = Vec::new();
        let _ = std::io::Read::read_to_end(&mut connection.stream, &mut sink);
    });
    let proxy = logged(origin.address, "");
    let mut client = proxy.connect();
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\n");
    client.send(&pattern(10_000));
    let answer = client.response();
    assert_eq!((answer.status(), answer.text()), (413, "too much"));
    drop(client);
    assert_eq!(proxy.log_lines("log", 1)[0].split(' ').next(), Some("413"));
    proxy.wait_for_stat("cluster.app.upstream_cx_active", 0);
}

/// A client that goes away takes its exchange with it.
#[test]
fn a_client_that_goes_away_frees_everything() {
    let origin = Origin::recording(|connection, request, _| {
        if request.target() == "/mid-body" {
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
            while connection.try_send(&pattern(100_000)) {}
        } else {
            // Never answers; ends when the proxy gives up.
            connection.some();
        }
        false
    });
    let proxy = logged(origin.address, "");
    for reset in [true, false] {
        for (i, target) in ["/waiting", "/mid-body"].into_iter().enumerate() {
            let mut client = proxy.connect();
            client.send(format!("GET {target} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
            if i == 1 {
                assert!(client.some());
            } else {
                proxy.wait_for_stat("cluster.app.upstream_rq_active", 1);
            }
            if reset {
                client.reset()
            } else {
                drop(client)
            }
            for gauge in [
                "http.ingress_http.downstream_rq_active",
                "cluster.app.upstream_rq_active",
                "cluster.app.upstream_cx_active",
            ] {
                proxy.wait_for_stat(gauge, 0);
            }
        }
    }
    for line in proxy.log_lines("log", 4) {
        assert!(line.contains(" DC "), "{line}");
    }
}
