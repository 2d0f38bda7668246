//! Bodies of every size and framing, byte for byte, between curl and a real nginx, copied and spliced.

use super::support::{Client, Nginx, Origin, Ringway, Setup, assert_same, curl, must_run, pattern, program, response};
use std::io::Read;
use std::path::{Path, PathBuf};

const SIZES: [(&str, usize); 4] = [("empty", 0), ("small", 46), ("16k", 16 * 1024), ("1m", 1024 * 1024)];

/// nginx with files of all sizes, a place for uploads and answers without a body.
fn nginx() -> Nginx {
    let nginx = Nginx::start(
        "root ROOT;
         keepalive_timeout 60s;
         location /chunked/ { alias ROOT/; ssi on; ssi_types *; default_type application/octet-stream; }
         location /upload/ { alias DIR/uploads/; dav_methods PUT; create_full_put_path on; }
         location = /204 { return 204; }
         location = /304 { return 304; }
         location = /echo-length { return 200 $content_length; }",
    );
    std::fs::create_dir(nginx.dir().join("uploads")).expect("a directory");
    for (name, size) in SIZES {
        std::fs::write(nginx.root().join(name), pattern(size)).expect("written");
    }
    nginx
}

/// Thresholds that send every body, no body, and those from 64 KiB on through splice.
const SPLICE: [&str; 3] = ["splice_threshold = \"1B\"", "splice_threshold = \"off\"", ""];

fn before(nginx: &Nginx, runtime: &str) -> Ringway {
    Setup::new(&super::support::forwarding(nginx.address, "")).runtime(runtime).start()
}

#[test]
fn downloads() {
    let nginx = nginx();
    for splice in SPLICE {
        let proxy = before(&nginx, splice);
        for (name, size) in SIZES {
            for kind in ["", "chunked/"] {
                let answer = curl(&[&proxy.url(&format!("/{kind}{name}"))]);
                assert_eq!((answer.exit, answer.status), (0, 200), "{splice} {kind}{name}");
                assert_same(&answer.body, &pattern(size), &format!("{splice} {kind}{name}"));
            }
        }
        assert_eq!(proxy.stat("cluster.app.upstream_cx_total"), 1, "every exchange left the connection in order");
    }
}

#[test]
fn a_download_of_100_mib() {
    let nginx = nginx();
    let expected = pattern(100 * 1024 * 1024);
    std::fs::write(nginx.root().join("100m"), &expected).expect("written");
    for splice in SPLICE {
        let proxy = before(&nginx, splice);
        for kind in ["", "chunked/"] {
            let answer = curl(&[&proxy.url(&format!("/{kind}100m"))]);
            assert_eq!((answer.exit, answer.status), (0, 200), "{splice} {kind}");
            assert_same(&answer.body, &expected, &format!("{splice} {kind}"));
        }
    }
}

/// Send a file and compare what nginx stored.
fn upload(proxy: &Ringway, nginx: &Nginx, file: &Path, options: &[&str]) {
    let name = format!("/upload/{}", file.file_name().expect("a name").to_string_lossy());
    let (file_name, url) = (file.to_string_lossy(), proxy.url(&name));
    let mut args = vec!["-T", &*file_name, &url];
    args.extend_from_slice(options);
    let answer = curl(&args);
    assert_eq!(answer.exit, 0, "{options:?}");
    assert!(matches!(answer.status, 201 | 204), "{options:?}: {}", answer.status);
    let stored = nginx.dir().join("uploads").join(file.file_name().expect("a name"));
    let (got, expected) = (std::fs::read(&stored).expect("stored"), std::fs::read(file).expect("there"));
    assert_same(&got, &expected, &format!("{name} {options:?}"));
    std::fs::remove_file(stored).expect("removed");
}

#[test]
fn uploads() {
    let nginx = nginx();
    let dir = tempfile::tempdir().expect("a directory");
    let files: Vec<PathBuf> = [("16k", 16 << 10), ("1m", 1 << 20), ("64m", 64 << 20)]
        .map(|(name, size)| {
            let path = dir.path().join(name);
            std::fs::write(&path, pattern(size)).expect("written");
            path
        })
        .into();
    for splice in SPLICE {
        let proxy = before(&nginx, splice);
        for file in &files {
            upload(&proxy, &nginx, file, &["-H", "Expect:"]);
            upload(&proxy, &nginx, file, &["-H", "Expect: 100-continue", "--expect100-timeout", "30"]);
            upload(&proxy, &nginx, file, &["-H", "Transfer-Encoding: chunked", "-H", "Expect:"]);
        }
    }
}

/// The body comes back while it is still being sent, both chunked: neither side waits for the other.
#[test]
fn chunked_both_ways_at_once() {
    let origin = Origin::raw(|mut connection, _| {
        while let Some(head) = connection.head() {
            assert_eq!(head.field("transfer-encoding"), Some("chunked"));
            connection.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            // Echo the chunks' bytes as they come, framing and all, until the last chunk.
            let mut seen = connection.take_buffered();
            connection.send(&seen);
            let mut byte = [0; 1];
            while !seen.ends_with(b"0\r\n\r\n") {
                if connection.stream.read(&mut byte).unwrap_or(0) == 0 {
                    return;
                }
                seen.push(byte[0]);
                connection.send(&byte);
            }
        }
    });
    let proxy = Ringway::before(origin.address, "");
    let mut client = proxy.connect();
    client.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    // The response begins before the request has ended.
    assert!(client.some());
    client.send(b"6;ext=1\r\n world\r\n0\r\nX-Trailer: dropped\r\n\r\n");
    let answer = client.response();
    assert_eq!(answer.text(), "hello world");
    assert!(answer.trailers.is_empty());
}

#[test]
fn trailers_pass_where_they_are_enabled() {
    let origin = Origin::recording(|connection, _, _| {
        connection.send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\nhi\r\n0\r\nX-Sum: 7\r\n\r\n",
        );
        true
    });
    for (options, expected) in [("enable_trailers = true", vec!["x-sum: 7"]), ("", vec![])] {
        let proxy = Ringway::before(origin.address, options);
        let mut client = proxy.connect();
        client.send(b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nX-Sum: 7\r\n\r\n");
        let lower = |lines: &[String]| lines.iter().map(|line| line.to_lowercase()).collect::<Vec<_>>();
        assert_eq!(lower(&client.response().trailers), expected, "response, {options}");
        assert_eq!(lower(&origin.last().trailers), expected, "request, {options}");
    }
}

#[test]
fn head_204_304_and_ranges() {
    let nginx = nginx();
    let proxy = before(&nginx, "");
    let mut client = proxy.connect();
    client.send(b"HEAD /1m HTTP/1.1\r\nHost: h\r\n\r\n");
    let head = client.try_response("HEAD").expect("a response");
    assert_eq!((head.status(), head.field("content-length")), (200, Some("1048576")));
    let none = client.get("/204");
    assert_eq!((none.status(), none.field("content-length"), none.field("transfer-encoding")), (204, None, None));
    let etag = client.get("/small").field("etag").expect("nginx sends one").to_owned();
    client.send(format!("GET /small HTTP/1.1\r\nHost: h\r\nIf-None-Match: {etag}\r\n\r\n").as_bytes());
    let unchanged = client.response();
    assert_eq!((unchanged.status(), unchanged.field("etag")), (304, Some(etag.as_str())));
    client.send(b"GET /1m HTTP/1.1\r\nHost: h\r\nRange: bytes=1000-200999\r\n\r\n");
    let part = client.response();
    assert_eq!((part.status(), part.field("content-range")), (206, Some("bytes 1000-200999/1048576")));
    assert_same(&part.body, &pattern(1 << 20)[1000..201_000], "a range");
    client.send(b"GET /16k HTTP/1.1\r\nHost: h\r\nRange: bytes=0-9,100-109\r\n\r\n");
    let parts = client.response();
    assert!(parts.field("content-type").expect("a type").starts_with("multipart/byteranges"));
    client.send(b"GET /16k HTTP/1.1\r\nHost: h\r\nRange: bytes=99999-\r\n\r\n");
    assert_eq!(client.response().status(), 416);
    assert_same(&client.get("/16k").body, &pattern(16 << 10), "the connection is still in order");
    assert_eq!(proxy.stat("http.ingress_http.downstream_cx_total"), 1);
}

#[test]
fn http_10_clients() {
    let nginx = nginx();
    let proxy = before(&nginx, "");
    for (name, size) in SIZES {
        for kind in ["", "chunked/"] {
            let url = proxy.url(&format!("/{kind}{name}"));
            let answer = curl(&["--http1.0", &url]);
            assert_eq!((answer.exit, answer.status), (0, 200), "{url}");
            assert_same(&answer.body, &pattern(size), &url);
            assert!(!answer.head.to_lowercase().contains("transfer-encoding"), "1.0 knows none: {}", answer.head);
        }
    }
    // Without Host and without keep-alive: the connection ends with the response.
    let mut client = proxy.connect();
    client.send(b"GET /small HTTP/1.0\r\n\r\n");
    assert_same(&client.response().body, &pattern(46), "no Host");
    client.expect_end();
    // With keep-alive it goes on, and the proxy says so.
    let mut client = proxy.connect();
    for _ in 0..2 {
        client.send(b"GET /small HTTP/1.0\r\nConnection: keep-alive\r\n\r\n");
        let answer = client.response();
        assert_eq!(answer.field("connection").map(str::to_lowercase).as_deref(), Some("keep-alive"));
    }
}

#[test]
fn connection_close_is_honoured_on_both_sides() {
    let nginx = nginx();
    let proxy = before(&nginx, "");
    let mut client = proxy.connect();
    client.send(b"GET /1m HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n");
    let answer = client.response();
    assert!(answer.says_close() && answer.complete);
    assert_same(&answer.body, &pattern(1 << 20), "the whole body before the close");
    client.expect_end();
    let origin = Origin::answering(|_| response(200, &["Connection: close"], "x"));
    let proxy = Ringway::before(origin.address, "");
    let mut client = proxy.connect();
    for _ in 0..3 {
        let answer = client.get("/");
        assert!(!answer.says_close(), "it is the upstream's matter only");
    }
    assert_eq!(origin.connections(), 3, "a connection that the origin will close is not used again");
}

#[test]
fn bodies_until_the_end_of_the_connection() {
    let expected = pattern(300_000);
    let body = expected.clone();
    let origin = Origin::recording(move |connection, request, _| {
        let version = if request.target() == "/1.0" { "1.0" } else { "1.1" };
        connection.send(format!("HTTP/{version} 200 OK\r\nX-Until: close\r\n\r\n").as_bytes());
        connection.send(&body);
        false
    });
    for splice in SPLICE {
        let proxy = Setup::new(&super::support::forwarding(origin.address, "")).runtime(splice).start();
        let mut client = proxy.connect();
        for target in ["/1.0", "/1.1"] {
            let answer = client.get(target);
            assert!(answer.complete && answer.field("transfer-encoding") == Some("chunked"), "{splice} {target}");
            assert_same(&answer.body, &expected, &format!("{splice} {target}"));
        }
        client.send(b"GET /1.1 HTTP/1.0\r\n\r\n");
        let answer = client.response();
        assert_eq!(answer.field("transfer-encoding"), None);
        assert_same(&answer.body, &expected, "HTTP/1.0");
    }
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::answering(|request| {
        if request.target() == "/slow" {
            std::thread::sleep(std::time::Duration::from_millis(50));
        }
        response(200, &[], format!("{} {}", request.target(), request.body.len()))
    });
    let proxy = Ringway::before(origin.address, "");
    let mut client = proxy.connect();
    let mut batch = b"GET /slow HTTP/1.1\r\nHost: h\r\n\r\n".to_vec();
    for i in 0..50 {
        batch.extend_from_slice(format!("POST /{i} HTTP/1.1\r\nHost: h\r\nContent-Length: {i}\r\n\r\n").as_bytes());
        batch.extend_from_slice(&vec![b'x'; i]);
        batch.extend_from_slice(format!("GET /g{i} HTTP/1.1\r\nHost: h\r\n\r\n").as_bytes());
    }
    client.send(&batch);
    assert_eq!(client.response().text(), "/slow 0");
    for i in 0..50 {
        assert_eq!(client.response().text(), format!("/{i} {i}"));
        assert_eq!(client.response().text(), format!("/g{i} 0"));
    }
}

/// RFC 9110 section 10.1.1.
#[test]
fn expect_100_continue() {
    let origin = Origin::raw(|mut connection, _| {
        while let Some(head) = connection.head() {
            if head.target() == "/refused" {
                connection.send(&response(403, &[], "no"));
                continue;
            }
            connection.send(b"HTTP/1.1 100 Continue\r\n\r\n");
            let mut body = [0; 5];
            connection.stream.read_exact(&mut body).expect("the body comes after 100");
            connection.send(&response(200, &[], body));
        }
    });
    let proxy = Ringway::before(origin.address, "");
    let ask = |client: &mut Client, target: &str| {
        client.send(
            format!("POST {target} HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n")
                .as_bytes(),
        );
        client.response()
    };
    let mut client = proxy.connect();
    assert_eq!(ask(&mut client, "/").status(), 100);
    client.send(b"hello");
    assert_eq!(client.response().text(), "hello");
    // A final status instead: the client keeps its body, so it is unknown what comes next on this connection.
    let refused = ask(&mut client, "/refused");
    assert_eq!((refused.status(), refused.text()), (403, "no"));
    assert!(refused.says_close());
    client.expect_end();
}

#[test]
fn interim_responses_pass() {
    let origin = Origin::recording(|connection, _, _| {
        connection
            .send(b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok");
        true
    });
    let proxy = Ringway::before(origin.address, "");
    let mut client = proxy.connect();
    let hints = client.get("/");
    assert_eq!((hints.status(), hints.field("link")), (103, Some("</a.css>")));
    assert_eq!(client.response().text(), "ok");
    // RFC 9110 section 15.2: none to an HTTP/1.0 client.
    client.send(b"GET / HTTP/1.0\r\n\r\n");
    assert_eq!(client.response().status(), 200);
}

#[test]
fn unix_sockets_on_both_sides() {
    let dir = tempfile::tempdir().expect("a directory");
    let socket = dir.path().join("origin.sock");
    let nginx = Nginx::start(&format!("listen unix:{}; root ROOT;", socket.display()));
    std::fs::write(nginx.root().join("1m"), pattern(1 << 20)).expect("written");
    let config = format!(
        "[[listeners]]\naddress = \"unix:DIR/front.sock\"\nhttp.routes = [{{ match = {{ prefix = \"/\" }}, route = {{ cluster = \"app\" }} }}]\n\
         [[clusters]]\nname = \"app\"\nendpoints = [\"unix:{}\"]",
        socket.display()
    );
    for splice in SPLICE {
        let proxy = Setup::new(&config).runtime(splice).runtime("shards = 2").start();
        let front = proxy.file("front.sock");
        for _ in 0..4 {
            let answer = curl(&["--unix-socket", &front.to_string_lossy(), "http://h/1m"]);
            assert_eq!((answer.exit, answer.status), (0, 200), "{splice}");
            assert_same(&answer.body, &pattern(1 << 20), splice);
        }
    }
}

#[test]
fn keep_alive_is_used() {
    let nginx = nginx();
    let proxy = before(&nginx, "");
    let urls: Vec<String> = (0..20).map(|_| proxy.url("/small")).collect();
    let outputs = tempfile::tempdir().expect("a directory");
    let mut args: Vec<String> = Vec::new();
    for (i, url) in urls.iter().enumerate() {
        args.extend([url.clone(), "-o".into(), outputs.path().join(i.to_string()).display().to_string()]);
    }
    let answer = curl(&args.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(answer.exit, 0);
    assert_eq!(proxy.stat("http.ingress_http.downstream_rq_total"), 20);
    assert_eq!(proxy.stat("http.ingress_http.downstream_cx_total"), 1, "curl keeps its connection");
    assert_eq!(proxy.stat("cluster.app.upstream_cx_total"), 1, "and the proxy its own");
}

/// Two seconds of wrk, and not a single error.
#[test]
fn wrk_sees_no_error() {
    let nginx = nginx();
    let proxy = Setup::new(&super::support::forwarding(nginx.address, "")).runtime("shards = 2").start();
    for file in ["small", "16k"] {
        let out = must_run(program("wrk").args(["-t", "1", "-c", "32", "-d", "2s", &proxy.url(&format!("/{file}"))]));
        assert!(!out.contains("Socket errors") && !out.contains("Non-2xx"), "{out}");
        let requests: u64 = out
            .lines()
            .find_map(|line| line.split_once(" requests in ")?.0.trim().parse().ok())
            .unwrap_or_else(|| panic!("no count in {out}"));
        assert!(requests > 100, "{out}");
    }
    assert_eq!(proxy.stat("http.ingress_http.downstream_rq_5xx"), 0);
    assert_eq!(proxy.stat("http.ingress_http.downstream_rq_4xx"), 0);
}
