//! Backpressure: a slow side stops the fast one, and the proxy holds next to nothing meanwhile.

use super::support::{
    Client, Connection, Nginx, Origin, Ringway, Setup, assert_same, eventually, forwarding, must_run, pattern, program,
    response,
};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

const LARGE: usize = 64 << 20;
const SPLICE: [&str; 2] = ["splice_threshold = \"off\"", "splice_threshold = \"64KiB\""];

/// A connection whose receive buffer is small, so that the kernel does not hide the proxy's work.
fn narrow(proxy: &Ringway) -> Client {
    with_receive_buffer(proxy, 64 * 1024)
}

/// A connection whose receive buffer has `size` bytes.
pub fn with_receive_buffer(proxy: &Ringway, size: usize) -> Client {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).expect("a socket");
    socket.set_recv_buffer_size(size).expect("SO_RCVBUF");
    socket.connect(&proxy.address(0).into()).expect("connected");
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(super::support::PATIENCE)).expect("SO_RCVTIMEO");
    Connection::new(stream)
}

/// Read to the end in small pieces with pauses, watching the proxy's memory. Returns what came and the most it grew.
fn read_slowly(client: &mut Client, proxy: &Ringway, baseline: u64, total: usize) -> (Vec<u8>, u64) {
    let mut body = Vec::with_capacity(total);
    let mut piece = vec![0; 256 * 1024];
    let mut most = 0;
    // Long enough for the proxy to fill whatever it may fill.
    std::thread::sleep(Duration::from_millis(700));
    loop {
        most = most.max(proxy.resident().saturating_sub(baseline));
        match client.stream.read(&mut piece).expect("bytes") {
            0 => return (body, most),
            n => body.extend_from_slice(&piece[..n]),
        }
        std::thread::sleep(Duration::from_millis(1));
        if body.len() == total {
            return (body, most);
        }
    }
}

/// Download `LARGE` bytes slowly; the most that resident memory grew.
fn slow_download(runtime: &str) -> u64 {
    let nginx = Nginx::start("root ROOT;");
    let expected = pattern(LARGE);
    std::fs::write(nginx.root().join("large"), &expected).expect("written");
    std::fs::write(nginx.root().join("small"), "x").expect("written");
    let proxy = Setup::new(&forwarding(nginx.address, "")).runtime(runtime).start();
    assert_eq!(proxy.get("/small").status(), 200);
    let baseline = proxy.resident();
    let mut client = narrow(&proxy);
    client.send(b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.head().expect("a response").field("content-length"), Some("67108864"));
    let mut body = client.take_buffered();
    let (rest, grown) = read_slowly(&mut client, &proxy, baseline, LARGE - body.len());
    body.extend(rest);
    assert_same(&body, &expected, runtime);
    grown
}

/// "a 1 GiB response to a client that reads 1 MB/s: resident memory grows by less than 2 MB".
#[test]
fn a_slow_reader_costs_no_memory() {
    let grown = slow_download("splice_threshold = \"64KiB\"");
    assert!(grown < 2 << 20, "resident memory grew by {grown} bytes");
}

/// The same promise for a body that is copied: what waits for the client is bounded by `buffer_limit` (256 KiB, 16 buffers)
/// and what the kernel hands over at a time, however large the body.
#[test]
fn a_slow_reader_holds_few_buffers_when_copied() {
    const MOST: i64 = 32;
    let expected = pattern(LARGE);
    let body = expected.clone();
    let origin = Origin::answering(move |_| response(200, &[], &body));
    let proxy = Setup::new(&forwarding(origin.address, "")).runtime("splice_threshold = \"off\"").start();
    let mut client = narrow(&proxy);
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.head().expect("a response").field("content-length"), Some("67108864"));
    let mut body = client.take_buffered();
    for part in 1..=4 {
        // The gauge is renewed once a second.
        eventually("the origin is stopped, and the buffers are counted", || {
            let paused = proxy.stat("cluster.app.upstream_flow_control_paused_reading_total");
            paused > 0 && proxy.stat("shard.0.buffers_in_use") > 0
        });
        let held = proxy.stat("shard.0.buffers_in_use");
        assert!(held <= MOST, "{held} buffers");
        let mut rest = vec![0; LARGE / 4 * part - body.len()];
        client.stream.read_exact(&mut rest).expect("bytes");
        body.extend(rest);
    }
    assert_same(&body, &expected, "the body");
    assert_eq!(proxy.stat("shard.0.heap_buffers"), 0);
}

/// Memory is a sum that one can write down: the receive buffers (here 2 MiB) and little else, however large the body.
#[test]
fn a_slow_reader_costs_no_more_than_the_buffers() {
    let grown = slow_download("splice_threshold = \"off\"\nbuffer_count = 128");
    assert!(grown < 4 << 20, "resident memory grew by {grown} bytes");
}

/// The same in the other direction: an origin that reads slowly stops the client.
#[test]
fn a_slow_origin_stops_the_upload() {
    let origin = Origin::raw(|mut connection, _| {
        socket2::SockRef::from(&connection.stream).set_recv_buffer_size(64 * 1024).expect("SO_RCVBUF");
        std::thread::sleep(Duration::from_millis(700));
        let request = connection.request().expect("it comes");
        assert_same(&request.body, &pattern(LARGE), "the upload");
        connection.send(&response(200, &[], "stored"));
    });
    let proxy = Setup::new(&forwarding(origin.address, "")).runtime("buffer_count = 128").start();
    let baseline = proxy.resident();
    let client = proxy.connect();
    let mut writer = client.stream.try_clone().expect("a descriptor");
    let sending = std::thread::spawn(move || {
        writer
            .write_all(format!("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: {LARGE}\r\n\r\n").as_bytes())
            .expect("sent");
        writer.write_all(&pattern(LARGE)).expect("sent");
    });
    let mut most = 0;
    while !sending.is_finished() {
        most = most.max(proxy.resident().saturating_sub(baseline));
        std::thread::sleep(Duration::from_millis(20));
    }
    sending.join().expect("all of it was taken");
    let mut client = client;
    assert_eq!(client.response().text(), "stored");
    assert!(most < 4 << 20, "resident memory grew by {most} bytes");
}

/// One byte at a time is slow, not wrong.
#[test]
fn a_slow_writer_is_served() {
    let origin = Origin::answering(|request| response(200, &[], &request.body));
    let proxy = Ringway::before(origin.address, "");
    let mut client = proxy.connect();
    for byte in b"POST /slow HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello" {
        client.send(&[*byte]);
        std::thread::sleep(Duration::from_millis(2));
    }
    assert_eq!(client.response().text(), "hello");
    for byte in b"POST /slow HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"
    {
        client.send(&[*byte]);
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(client.response().text(), "abcde");
}

const SERVE: &str = "client_half_close = \"serve\"";

/// With `serve`, a client that says that it is done sending still wants its answer (RFC 9112 section 9.6 speaks of
/// half-closes).
#[test]
fn a_half_closed_client_gets_its_answer() {
    let origin = Origin::answering(|request| {
        std::thread::sleep(Duration::from_millis(200));
        response(200, &[], format!("{} {}", request.method(), request.body.len()))
    });
    let proxy = Ringway::before(origin.address, SERVE);
    for (request, expected) in [
        (&b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"[..], "GET 0"),
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc", "POST 3"),
        (b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", "POST 3"),
    ] {
        let mut client = proxy.connect();
        client.send(request);
        client.half_close();
        assert_eq!(client.response().text(), expected);
        client.expect_end();
    }
    // Pipelined requests before the half-close are all answered.
    let mut client = proxy.connect();
    client.send(&b"GET /a HTTP/1.1\r\nHost: h\r\n\r\n".repeat(3));
    client.half_close();
    for _ in 0..3 {
        assert_eq!(client.response().text(), "GET 0");
    }
    client.expect_end();
}

/// A large answer to a half-closed client that reads slowly is whole.
#[test]
fn a_half_closed_slow_reader_gets_all_of_a_large_answer() {
    let expected = pattern(8 << 20);
    let body = expected.clone();
    let origin = Origin::answering(move |_| response(200, &[], &body));
    for splice in SPLICE {
        let proxy = Setup::new(&forwarding(origin.address, SERVE)).runtime(splice).start();
        let mut client = narrow(&proxy);
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        client.stream.shutdown(Shutdown::Write).expect("shutdown");
        std::thread::sleep(Duration::from_millis(300));
        assert_same(&client.response().body, &expected, splice);
    }
}

/// While one client does not read at all, the others on the same shard are served.
#[test]
fn a_stalled_reader_does_not_stop_the_others() {
    let body = pattern(32 << 20);
    let origin = Origin::answering(move |request| match request.target() {
        "/large" => response(200, &[], &body),
        _ => response(200, &[], "small"),
    });
    for splice in SPLICE {
        let proxy = Setup::new(&forwarding(origin.address, "")).runtime(splice).start();
        let mut stalled: Vec<_> = (0..8).map(|_| narrow(&proxy)).collect();
        for client in &mut stalled {
            client.send(b"GET /large HTTP/1.1\r\nHost: h\r\n\r\n");
        }
        let mut client = proxy.connect();
        for _ in 0..100 {
            assert_eq!(client.get("/").text(), "small");
        }
        drop(stalled);
        proxy.wait_for_stat("http.ingress_http.downstream_rq_active", 0);
        proxy.wait_for_stat("cluster.app.upstream_rq_active", 0);
    }
}

/// Nothing of a response waits for what comes later: an event stream may be silent for long after its head.
#[test]
fn a_head_does_not_wait_for_its_body() {
    let (go, told) = std::sync::mpsc::channel::<()>();
    let told = std::sync::Mutex::new(told);
    let origin = Origin::raw(move |mut connection, _| {
        while connection.request().is_some() {
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
            told.lock().expect("one at a time").recv().expect("the test goes on");
            connection.send(b"body");
        }
    });
    let proxy = Ringway::before(origin.address, "");
    let mut client = proxy.connect();
    client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
    assert_eq!(client.head().expect("a head").status(), 200);
    go.send(()).expect("the origin waits");
    while client.take_buffered().is_empty() {
        assert!(client.some());
    }
}

/// A body that is spliced is moved in large pieces, as long as it comes fast. What is there waits for no more than some milliseconds
/// for what comes later, and the connection serves the next exchange as before.
#[test]
fn a_spliced_body_does_not_wait_for_what_does_not_come() {
    const PIECES: [usize; 9] = [100_000, 1, 17, 17_000, 70_000, 300_000, 5, 400_000, 50_000];
    let total: usize = PIECES.iter().sum();
    let (go, told) = std::sync::mpsc::channel::<()>();
    let told = std::sync::Mutex::new(told);
    let body = pattern(total);
    let origin = Origin::raw(move |mut connection, _| {
        while let Some(request) = connection.request() {
            if request.target() == "/small" {
                connection.send(&response(200, &[], "small"));
                continue;
            }
            connection.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {total}\r\n\r\n").as_bytes());
            let mut rest = &body[..];
            for piece in PIECES {
                told.lock().expect("one at a time").recv().expect("the test goes on");
                let (next, later) = rest.split_at(piece);
                connection.send(next);
                rest = later;
            }
        }
    });
    let proxy = Setup::new(&forwarding(origin.address, "")).runtime("splice_threshold = \"1B\"").start();
    let mut client = proxy.connect();
    for _ in 0..2 {
        client.send(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n");
        assert_eq!(client.head().expect("a head").status(), 200);
        let mut body = client.take_buffered();
        for piece in PIECES {
            go.send(()).expect("the origin waits");
            let mut came = vec![0; piece];
            client.stream.read_exact(&mut came).expect("the piece comes without the next one");
            body.extend(came);
        }
        assert_same(&body, &pattern(total), "the body");
        assert_eq!(client.get("/small").text(), "small");
    }
    assert_eq!(proxy.stat("cluster.app.upstream_cx_total"), 1);
}

/// What ss(8) tells of the congestion control of connections.
fn congestion_controls(filter: &str) -> Vec<String> {
    let known = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_available_congestion_control").expect("Linux");
    let known: Vec<_> = known.split_whitespace().collect();
    let told = must_run(program("ss").args(["-tinOH", "state", "established"]).args(filter.split(' ')));
    told.lines()
        .filter_map(|line| line.split_whitespace().find(|word| known.contains(word)).map(str::to_owned))
        .collect()
}

/// Within the host nothing is paced, unless it is asked for: neither what goes to clients nor what goes to endpoints.
#[test]
fn pacing_ends_at_loopback() {
    let system = std::fs::read_to_string("/proc/sys/net/ipv4/tcp_congestion_control").expect("Linux");
    let system = system.trim().to_owned();
    let unpaced = if system.starts_with("bbr") { "reno" } else { &*system };
    for (runtime, expected) in
        [("", unpaced), ("loopback_pacing = false", unpaced), ("loopback_pacing = true", &*system)]
    {
        let origin = Origin::answering(|_| response(200, &[], "here"));
        let proxy = Setup::new(&forwarding(origin.address, "")).runtime(runtime).start();
        let mut client = proxy.connect();
        assert_eq!(client.get("/").text(), "here");
        let port = client.stream.local_addr().expect("connected").port();
        assert_eq!(congestion_controls(&format!("dport = :{port}")), [expected], "{runtime}");
        assert_eq!(congestion_controls(&format!("dport = :{}", origin.address.port())), [expected], "{runtime}");
    }
}
