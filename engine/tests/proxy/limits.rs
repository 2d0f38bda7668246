//! Limits of heads, bodies and paths: the status for each, at the boundary and beyond.

use super::support::{Client, Origin, Ringway, eventually, pattern, response};

fn echo() -> Origin {
    Origin::answering(|request| response(200, &[], request.body.len().to_string()))
}

/// Send a request that is refused; the proxy need not read all of it.
fn refused(client: &mut Client, request: &[u8], status: u16) {
    client.try_send(request);
    let answer = client.response();
    assert_eq!(answer.status(), status);
    assert!(answer.says_close());
    client.expect_end();
}

#[test]
fn bodies_with_a_length() {
    let origin = echo();
    let proxy = Ringway::before(origin.address, "max_request_body = \"10KiB\"");
    let mut client = proxy.connect();
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10240\r\n\r\n");
    client.send(&pattern(10_240));
    assert_eq!(client.response().text(), "10240");
    // Refused by its head; the body is not waited for.
    refused(&mut client, b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 10241\r\n\r\n", 413);
    assert_eq!(origin.requests().len(), 1);
    assert_eq!(proxy.stat("http.ingress_http.downstream_rq_too_large"), 1);
    // And also with all of it on its way.
    let mut request = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 60000\r\n\r\n".to_vec();
    request.extend(pattern(60_000));
    refused(&mut proxy.connect(), &request, 413);
}

#[test]
fn chunked_bodies() {
    let origin = echo();
    let proxy = Ringway::before(origin.address, "max_request_body = \"10KiB\"");
    let mut client = proxy.connect();
    let chunk = [b"400\r\n".to_vec(), pattern(1024), b"\r\n".to_vec()].concat();
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    (0..10).for_each(|_| client.send(&chunk));
    client.send(b"0\r\n\r\n");
    assert_eq!(client.response().text(), "10240");
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    for _ in 0..11 {
        client.try_send(&chunk);
    }
    refused(&mut client, b"0\r\n\r\n", 413);
    eventually("the origin has lost the connection", || proxy.stat("cluster.app.upstream_cx_active") == 0);
    // The origin recorded a request only if a whole one came, or one cut off.
    assert!(origin.requests().iter().skip(1).all(|request| !request.complete), "never a complete message");
}

#[test]
fn heads() {
    let origin = echo();
    let proxy = Ringway::before(
        origin.address,
        "max_headers_size = \"4KiB\"\nmax_headers_count = 10\nmax_path_size = \"1KiB\"",
    );
    let head = |path: usize, fields: usize, value: usize| {
        let mut head = format!("GET /{} HTTP/1.1\r\nHost: h\r\n", "p".repeat(path - 1));
        for i in 1..fields {
            head += &format!("X-{i}: {}\r\n", "v".repeat(if i == 1 { value } else { 1 }));
        }
        (head + "\r\n").into_bytes()
    };
    let mut client = proxy.connect();
    for fits in [head(1024, 2, 1), head(1, 10, 1)] {
        client.send(&fits);
        assert_eq!(client.response().status(), 200);
    }
    let exact = head(1, 2, 1).len();
    client.send(&head(1, 2, 4096 - exact + 1));
    assert_eq!(client.response().status(), 200, "4096 bytes are 4KiB");
    refused(&mut client, &head(1, 2, 4096 - exact + 2), 431);
    refused(&mut proxy.connect(), &head(1, 11, 1), 431);
    refused(&mut proxy.connect(), &head(1025, 2, 1), 414);
    refused(&mut proxy.connect(), &head(1, 2, 100_000), 431);
    refused(&mut proxy.connect(), &head(100_000, 2, 1), 414);
    // Without any end in sight.
    let mut endless = proxy.connect();
    endless.try_send(b"GET / HTTP/1.1\r\nHost: h\r\nX-Endless: ");
    eventually("it is refused", || !endless.try_send(&[b'x'; 1024]));
    assert_eq!(origin.requests().len(), 3);
    assert!(proxy.stat("http.ingress_http.downstream_cx_protocol_error") >= 5);
}

#[test]
fn the_defaults_are_60_kib_and_100_fields() {
    let origin = echo();
    let proxy = Ringway::before(origin.address, "");
    let fields = |count: usize| (1..count).map(|i| format!("X-{i}: v\r\n")).collect::<String>();
    let ask = |fields: &str| {
        let mut client = proxy.connect();
        client.try_send(format!("GET / HTTP/1.1\r\nHost: h\r\n{fields}\r\n").as_bytes());
        client.response().status()
    };
    assert_eq!(ask(&fields(100)), 200);
    assert_eq!(ask(&fields(101)), 431);
    assert_eq!(ask(&format!("X: {}\r\n", "v".repeat(59 * 1024))), 200);
    assert_eq!(ask(&format!("X: {}\r\n", "v".repeat(60 * 1024))), 431);
}

/// The same limits hold for responses; one that exceeds them is the upstream's fault.
#[test]
fn heads_of_responses() {
    let origin = Origin::answering(|request| {
        let number = |prefix: &str| request.target().strip_prefix(prefix)?.parse::<usize>().ok();
        if let Some(size) = number("/size/") {
            return response(200, &[&format!("X: {}", "v".repeat(size))], "");
        }
        let fields: Vec<String> = (0..number("/count/").expect("a number")).map(|i| format!("X-{i}: v")).collect();
        response(200, &fields.iter().map(String::as_str).collect::<Vec<_>>(), "")
    });
    let proxy = Ringway::before(origin.address, "max_headers_size = \"4KiB\"\nmax_headers_count = 10");
    let mut client = proxy.connect();
    for (target, status) in [("/size/3000", 200), ("/size/5000", 502), ("/count/9", 200), ("/count/10", 502)] {
        let answer = client.get(target);
        assert_eq!(answer.status(), status, "{target}");
        assert!(!answer.says_close(), "{target}: the client did nothing wrong");
    }
}
