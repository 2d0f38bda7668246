//! The filter `compressor`: what clients get, what heads say, what is left alone.

use super::filters::{filtering, get, refusal, start};
use super::support::{
    Connection, Message, Nginx, Origin, Ringway, Setup, assert_same, curl, forwarding, program, response,
};
use ringway::codec::coding::{Decoder, Encoder, Goal, Settings};
use ringway::http::coding::Coding;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const ALL: &str = "{ compressor = { compressor_library = [{ zstd = {} }, { brotli = {} }, { gzip = {} }] } }";
const CODINGS: [(&str, Coding); 3] = [("gzip", Coding::Gzip), ("br", Coding::Brotli), ("zstd", Coding::Zstd)];

/// A page of text that gets much smaller.
pub fn page(len: usize) -> Vec<u8> {
    (0..).flat_map(|line| format!("<p>line {line} of a page with text</p>\n").into_bytes()).take(len).collect()
}

pub fn decoded(coding: Coding, mut bytes: &[u8]) -> Vec<u8> {
    let (mut decoder, mut out, mut buffer) = (Decoder::new(coding), Vec::new(), vec![0; 16 * 1024]);
    loop {
        let step = decoder.step(bytes, &mut buffer).expect("what the coding says");
        bytes = &bytes[step.consumed..];
        out.extend_from_slice(&buffer[..step.produced]);
        if step.is_done {
            return out;
        }
    }
}

pub fn encoded(coding: Coding, mut text: &[u8]) -> Vec<u8> {
    let mut encoder = Encoder::new(match coding {
        Coding::Gzip => Settings::Gzip { level: 4, window_bits: 14 },
        Coding::Brotli => Settings::Brotli { quality: 1 },
        Coding::Zstd => Settings::Zstd { level: 3 },
    });
    let (mut out, mut buffer) = (Vec::new(), vec![0; 16 * 1024]);
    loop {
        let goal = if text.is_empty() { Goal::End } else { Goal::Take };
        let step = encoder.step(text, goal, &mut buffer).expect("encoding does not fail");
        text = &text[step.consumed..];
        out.extend_from_slice(&buffer[..step.produced]);
        if goal == Goal::End && step.is_done {
            return out;
        }
    }
}

fn html(fields: &'static [&'static str], len: usize) -> Origin {
    Origin::answering(move |request| match request.method() {
        "HEAD" => {
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {len}\r\nETag: \"a\"\r\n\r\n");
            head.into_bytes()
        }
        _ => response(200, &[&["Content-Type: text/html; charset=utf-8"], fields].concat(), page(len)),
    })
}

fn asking(proxy: &Ringway, accept: &str) -> Message {
    get(proxy, "/", &format!("Accept-Encoding: {accept}\r\n"))
}

#[test]
fn each_coding_comes_as_asked() {
    let origin = html(&["ETag: \"a\"", "Accept-Ranges: bytes"], 200_000);
    let proxy = filtering(&origin, ALL, "");
    for (name, coding) in CODINGS {
        let answer = asking(&proxy, name);
        assert_eq!((answer.status(), answer.field("content-encoding")), (200, Some(name)));
        assert_eq!((answer.field("content-length"), answer.field("transfer-encoding")), (None, Some("chunked")));
        assert_eq!((answer.field("etag"), answer.field("vary")), (Some("W/\"a\""), Some("Accept-Encoding")));
        assert_eq!(answer.field("accept-ranges"), None);
        assert!(answer.body.len() < 40_000, "{name}: {}", answer.body.len());
        assert_same(&decoded(coding, &answer.body), &page(200_000), name);
        let library = coding.envoy_name();
        let stat = |name: &str| proxy.stat(&format!("http.ingress_http.compressor.{library}.{library}.{name}"));
        proxy.wait_for_stat(&format!("http.ingress_http.compressor.{library}.{library}.response.compressed"), 1);
        assert_eq!(stat("response.total_uncompressed_bytes"), 200_000);
        assert_eq!(stat("response.total_compressed_bytes"), answer.body.len() as i64);
        assert_eq!(stat("header_compressor_used"), 1);
    }
    assert_eq!(proxy.stat("http.ingress_http.compressor.gzip.gzip.header_compressor_overshadowed"), 2);
    assert_eq!(proxy.stat("http.ingress_http.compressor.gzip.gzip.response.not_compressed"), 2);
    // The best wins, and nothing where nothing is accepted.
    for (accept, expected) in [
        ("gzip, deflate, br, zstd", Some("zstd")),
        ("gzip;q=1, br;q=0.9", Some("gzip")),
        ("*", Some("zstd")),
        ("identity", None),
        ("identity;q=0, *;q=0", None),
        ("deflate", None),
    ] {
        let answer = asking(&proxy, accept);
        assert_eq!((answer.field("content-encoding"), answer.field("vary")), (expected, Some("Accept-Encoding")));
        if expected.is_none() {
            assert_eq!((answer.field("etag"), answer.field("content-length")), (Some("\"a\""), Some("200000")));
            assert_same(&answer.body, &page(200_000), accept);
        }
    }
    assert_eq!(get(&proxy, "/", "").field("content-encoding"), None);
    assert_eq!(proxy.stat("http.ingress_http.compressor.gzip.gzip.no_accept_header"), 1);
}

/// curl decodes what it asked for, from nginx's file, whatever its size.
#[test]
fn curl_gets_the_file_that_nginx_has() {
    let nginx = Nginx::start("root ROOT; default_type text/plain; types { }");
    let sizes = [40, 16 * 1024, 1_000_000, 20_000_000];
    for size in sizes {
        std::fs::write(nginx.root().join(size.to_string()), page(size)).expect("written");
    }
    let proxy = Setup::new(&forwarding(nginx.address, &format!("http_filters = [{ALL}]\n"))).start();
    for size in sizes {
        let url = proxy.url(&format!("/{size}"));
        for (name, _) in CODINGS {
            let accept = format!("Accept-Encoding: {name}");
            let answer = curl(&["--compressed", "-H", &accept, &url]);
            assert_eq!((answer.exit, answer.status), (0, 200), "{name} {size}");
            assert!(answer.head.to_lowercase().contains(&format!("content-encoding: {name}\r\n")), "{}", answer.head);
            assert_same(&answer.body, &page(size), name);
        }
        let answer = curl(&["-0", "--compressed", &url]);
        assert_same(&answer.body, &page(size), "HTTP/1.0");
    }
    // A part of the file, and a file that has not changed.
    let part = curl(&["--compressed", "-r", "10-19", &proxy.url("/1000000")]);
    assert_eq!((part.status, &part.body[..]), (206, &page(20)[10..]));
    let etag = |head: &str| {
        head.lines().find_map(|line| line.strip_prefix("ETag: ").or(line.strip_prefix("etag: "))).map(str::to_owned)
    };
    let weak = etag(&curl(&["--compressed", &proxy.url("/1000000")]).head).expect("an etag");
    assert!(weak.starts_with("W/\""), "{weak}");
    let asked = format!("If-None-Match: {weak}");
    let unchanged = curl(&["--compressed", "-H", &asked, &proxy.url("/1000000")]);
    assert_eq!((unchanged.status, etag(&unchanged.head)), (304, Some(weak)));
}

#[test]
fn what_must_not_be_compressed_is_left_alone() {
    for (fields, request) in [
        (&["Content-Encoding: br"][..], ""),
        (&["Cache-Control: max-age=60, no-transform"], ""),
        (&[], "Cache-Control: no-transform\r\n"),
        (&["Content-Range: bytes 0-199/200"], ""),
    ] {
        let origin = html(fields, 200);
        let proxy = filtering(&origin, ALL, "");
        let answer = get(&proxy, "/", &format!("Accept-Encoding: gzip\r\n{request}"));
        let named = fields.iter().find_map(|field| field.strip_prefix("Content-Encoding: "));
        assert_eq!((answer.field("content-encoding"), answer.field("vary")), (named, None), "{fields:?} {request}");
        assert_same(&answer.body, &page(200), "the page");
    }
    for (kind, len, expected) in [
        ("image/png", 200, None),
        ("text/event-stream", 200, None),
        ("application/grpc", 200, None),
        ("text/html", 29, None),
        ("text/html", 30, Some("gzip")),
        ("application/json", 200, Some("gzip")),
    ] {
        let origin = Origin::answering(move |_| response(200, &[&format!("Content-Type: {kind}")], page(len)));
        let proxy = filtering(&origin, "{ compressor = {} }", "");
        assert_eq!(asking(&proxy, "gzip, br").field("content-encoding"), expected, "{kind} {len}");
        // Where plain bodies are refused, there is no choice.
        assert_eq!(asking(&proxy, "gzip, identity;q=0").field("content-encoding"), Some("gzip"), "{kind} {len}");
    }
}

#[test]
fn head_tells_what_get_would_get() {
    let origin = html(&["ETag: \"a\""], 5000);
    let proxy = filtering(&origin, ALL, "");
    let mut client = proxy.connect();
    client.send(b"HEAD / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n");
    let answer = client.try_response("HEAD").expect("an answer");
    assert_eq!((answer.field("content-encoding"), answer.field("etag")), (Some("gzip"), Some("W/\"a\"")));
    assert_eq!((answer.field("content-length"), answer.field("vary")), (None, Some("Accept-Encoding")));
    assert_eq!(client.get("/").status(), 200, "the connection is in order");
}

/// An origin that writes a line whenever it is told to.
fn slow(trailers: bool) -> (Origin, Sender<&'static str>) {
    let (lines, told) = channel::<&str>();
    let told = Arc::new(Mutex::new(told));
    let origin = Origin::raw(move |mut connection: Connection<_>, _| {
        while connection.request().is_some() {
            connection.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n");
            while let Ok(line) = told.lock().expect("one at a time").recv() {
                if line.is_empty() {
                    break;
                }
                connection.send(format!("{:x}\r\n{line}\r\n", line.len()).as_bytes());
            }
            connection.send(if trailers { b"0\r\nX-Sum: 7\r\n\r\n" } else { b"0\r\n\r\n" });
        }
    });
    (origin, lines)
}

/// Each line arrives before the next one is written.
#[test]
fn slow_streams_arrive_line_by_line() {
    for (name, coding) in CODINGS {
        let (origin, lines) = slow(true);
        let proxy = start(&origin, ALL, "", "enable_trailers = true", "");
        let mut client = proxy.connect();
        let request = format!("GET / HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nAccept-Encoding: {name}\r\n\r\n");
        client.send(request.as_bytes());
        let head = client.head().expect("a head");
        assert_eq!(head.field("content-encoding"), Some(name));
        let (mut decoder, mut buffer, mut text) = (Decoder::new(coding), vec![0; 1000], Vec::new());
        for line in ["first", "second", "third"] {
            lines.send(line).expect("the origin listens");
            text.clear();
            while text.len() < line.len() {
                let mut chunk = Vec::new();
                assert_eq!(client.chunk(&mut chunk), Some(true));
                let step = decoder.step(&chunk, &mut buffer).expect("what the coding says");
                assert!(step.is_done);
                text.extend_from_slice(&buffer[..step.produced]);
            }
            assert_eq!(text, line.as_bytes());
        }
        lines.send("").expect("the origin listens");
        while client.chunk(&mut text) == Some(true) {}
        let trailers = client.trailers().expect("the end").join("\n").to_lowercase();
        assert_eq!(trailers, "x-sum: 7", "{name}: trailers are kept");
    }
}

/// Answers of the proxy pass the filter like others.
#[test]
fn local_replies_are_compressed() {
    let origin = html(&[], 10);
    let body = "much text, ".repeat(50);
    let route = format!(
        "{{ match = {{ prefix = \"/\" }}, direct_response = {{ status = 200, body = \"{body}\", content_type = \"text/plain\" }} }}"
    );
    let proxy = filtering(&origin, ALL, &route);
    for (name, coding) in CODINGS {
        let mut client = proxy.connect();
        for _ in 0..3 {
            client.send(format!("GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: {name}\r\n\r\n").as_bytes());
            let answer = client.response();
            assert_eq!((answer.status(), answer.field("content-encoding")), (200, Some(name)));
            assert_same(&decoded(coding, &answer.body), body.as_bytes(), name);
        }
    }
    assert_eq!(proxy.get("/").text(), body);
}

#[test]
fn routes_have_settings_of_their_own() {
    let origin = html(&["ETag: \"a\""], 500);
    let other = "filters = { compressor = { compressor_library = [{ brotli = {} }], response = { disable_on_etag_header = true } } }";
    let routes = format!(
        "{{ match = {{ prefix = \"/off\" }}, route = {{ cluster = \"app\" }}, filters = {{ compressor = \"off\" }} }}, \
         {{ match = {{ prefix = \"/none\" }}, route = {{ cluster = \"app\" }}, filters = {{ compressor = {{ response = \"off\" }} }} }}, \
         {{ match = {{ prefix = \"/etag\" }}, route = {{ cluster = \"app\" }}, {other} }}, \
         {{ match = {{ prefix = \"/hide\" }}, route = {{ cluster = \"app\" }}, filters = {{ compressor = {{ response = {{ \
         remove_accept_encoding_header = true, uncompressible_response_codes = [404] }} }} }} }}, \
         {{ match = {{ prefix = \"/\" }}, route = {{ cluster = \"app\" }} }}"
    );
    let proxy = filtering(&origin, ALL, &routes);
    let coding = |target: &str| {
        get(&proxy, target, "Accept-Encoding: gzip, br\r\n").field("content-encoding").map(str::to_owned)
    };
    assert_eq!(coding("/").as_deref(), Some("br"));
    assert_eq!(origin.last().field("accept-encoding"), Some("gzip, br"));
    assert_eq!((coding("/off"), coding("/none"), coding("/etag")), (None, None, None));
    assert_eq!(proxy.stat("http.ingress_http.compressor.brotli.brotli.not_compressed_etag"), 1);
    assert_eq!(coding("/hide").as_deref(), Some("gzip"));
    assert_eq!(origin.last().field("accept-encoding"), None);
}

/// Retries and mirrors send what the filter made of the body.
#[test]
fn requests_are_compressed_for_every_try_and_every_mirror() {
    let tries = Arc::new(Mutex::new(0));
    let origin = Origin::answering(move |_| {
        let mut tries = tries.lock().expect("one at a time");
        *tries += 1;
        response(if *tries % 2 == 1 { 503 } else { 200 }, &[], "ok")
    });
    let mirror = Origin::answering(|_| response(200, &[], "ok"));
    let routes = "{ match = { prefix = \"/\" }, route = { cluster = \"app\", retry_policy = { retry_on = [\"5xx\"] }, \
                  request_mirror_policies = [{ cluster = \"mirror\" }] } }";
    let filter = "{ compressor = { compressor_library = [{ zstd = {} }], response = \"off\", request = { content_type = [\"text/*\"] } } }";
    let mut config = forwarding(origin.address, &format!("http_filters = [{filter}]\n"));
    let (at, end) = (config.find("routes = ").expect("routes"), config.find("http_filters").expect("filters"));
    config.replace_range(at..end, &format!("routes = [{routes}]\n"));
    config.push_str(&format!("[[clusters]]\nname = \"mirror\"\nendpoints = [\"{}\"]\n", mirror.address));
    let proxy = Setup::new(&config).start();
    let body = page(50_000);
    let mut client = proxy.connect();
    client.send(
        format!("POST / HTTP/1.1\r\nHost: h\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", body.len())
            .as_bytes(),
    );
    client.send(&body);
    assert_eq!(client.response().status(), 200);
    super::support::eventually("the mirror has it", || mirror.requests().len() == 1);
    let requests = [origin.requests(), mirror.requests()].concat();
    assert_eq!(requests.len(), 3, "two tries and a mirror");
    for request in &requests {
        assert_eq!((request.field("content-encoding"), request.field("content-length")), (Some("zstd"), None));
        assert_same(&decoded(Coding::Zstd, &request.body), &body, "the body");
    }
    // Neither short ones nor what is compressed already.
    for fields in [
        "Content-Type: text/plain\r\nContent-Length: 2\r\n\r\nab",
        "Content-Type: text/plain\r\nContent-Encoding: gzip\r\nContent-Length: 40\r\n\r\n0123456789012345678901234567890123456789",
    ] {
        client.send(format!("POST / HTTP/1.1\r\nHost: h\r\n{fields}").as_bytes());
        assert_eq!(client.response().status(), 200);
        assert_ne!(origin.last().field("content-encoding"), Some("zstd"));
    }
}

/// More bodies at once than there is memory for: the others pass as they are, and all arrive.
#[test]
fn without_memory_bodies_pass_as_they_are() {
    let (origin, lines) = slow(false);
    let proxy = start(&origin, "{ compressor = {} }", "", "", "shards = 1\ncompression_memory = \"1MiB\"");
    let mut clients: Vec<_> = (0..6).map(|_| proxy.connect()).collect();
    let heads: Vec<_> = clients
        .iter_mut()
        .map(|client| {
            client.send(b"GET / HTTP/1.1\r\nHost: h\r\nAccept-Encoding: gzip\r\n\r\n");
            client.head().expect("a head").field("content-encoding").map(str::to_owned)
        })
        .collect();
    assert_eq!(heads.iter().flatten().count(), 3, "300 KiB each: {heads:?}");
    assert_eq!(proxy.stat("http.ingress_http.compressor.gzip.gzip.response.memory_overflow"), 3);
    drop((lines, clients));
}

#[test]
fn a_browser_shows_a_page_that_was_compressed() {
    let origin = Origin::answering(|request| match request.target() {
        "/page" => {
            let script = "<script src=\"/script.js\"></script>";
            response(
                200,
                &["Content-Type: text/html"],
                format!("<html><body><p>a page</p>{script}{}</body></html>", "<p>more</p>".repeat(3000)),
            )
        }
        "/script.js" => {
            let script = format!(
                "{}document.body.appendChild(document.createElement('h1')).textContent = 'script ' + (6 * 7);",
                "// filler\n".repeat(5000)
            );
            response(200, &["Content-Type: text/javascript"], script)
        }
        _ => response(404, &[], ""),
    });
    for library in ["gzip", "brotli", "zstd"] {
        let filter = format!("{{ compressor = {{ compressor_library = [{{ {library} = {{}} }}] }} }}");
        let proxy = filtering(&origin, &filter, "");
        let profile = tempfile::tempdir().expect("a directory");
        let quiet = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"];
        let closed = ["--disable-background-networking", "--disable-component-update", "--disable-sync"];
        let output = program("chromium")
            .args(quiet)
            .args(closed)
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .args(["--dump-dom", &proxy.url("/page")])
            .output()
            .expect("chromium starts");
        let dom = String::from_utf8_lossy(&output.stdout);
        assert!(dom.contains("<p>a page</p>") && dom.contains("<h1>script 42</h1>"), "{library}: {dom:.500}");
        // Chromium asks for br and zstd over HTTP on localhost only if it regards it as secure.
        let stat = |name: &str| proxy.stat(&format!("http.ingress_http.compressor.{library}.{library}.{name}"));
        let seen = stat("header_compressor_used") + stat("header_not_valid");
        assert!(seen >= 2, "{library}: {seen} responses were seen");
        assert!(library != "gzip" || stat("response.compressed") >= 2, "the page and its script");
    }
}

#[test]
fn wrong_settings_are_explained() {
    for (filter, complaint) in [
        ("{ compressor = { compressor_library = [] } }", "there is no library"),
        ("{ compressor = { compressor_library = [{ gzip = {} }, { gzip = {} }] } }", "`gzip` is in the list twice"),
        ("{ compressor = { compressor_library = [{ brotli = { quality = 5 } }] } }", "0 to 1"),
        ("{ compressor = { response = { content_type = [\"html\"] } } }", "is not a media type"),
        ("{ compressor = { response = { content_type = [\"text/html; charset=utf-8\"] } } }", "has a parameter"),
    ] {
        let text = refusal(filter, "");
        assert!(text.contains(complaint), "{filter}: {text}");
    }
    assert!(refusal("", "compressor = \"off\"").contains("no filter `compressor`"));
}

/// A try that goes out next to one that is late gets the same bytes.
#[test]
fn hedged_tries_get_the_compressed_body() {
    let is_late = Arc::new(Mutex::new(true));
    let origin = Origin::answering(move |_| {
        if std::mem::take(&mut *is_late.lock().expect("one at a time")) {
            std::thread::sleep(Duration::from_millis(1500));
        }
        response(200, &[], "ok")
    });
    let filter = "{ compressor = { response = \"off\", request = { content_type = [\"text/*\"] } } }";
    let route = "{ match = { prefix = \"/\" }, route = { cluster = \"app\", hedge_on_per_try_timeout = true, retry_policy = \
                 { retry_on = [\"5xx\"], num_retries = 1, per_try_timeout = \"200ms\" } } }";
    let proxy = filtering(&origin, filter, route);
    let body = page(40_000);
    let mut client = proxy.connect();
    let head =
        format!("PUT / HTTP/1.1\r\nHost: h\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\r\n", body.len());
    client.send(head.as_bytes());
    client.send(&body);
    assert_eq!(client.response().status(), 200);
    let requests = origin.requests();
    assert_eq!(requests.len(), 2, "the late one and the one next to it");
    for request in &requests {
        assert_eq!(request.field("content-encoding"), Some("gzip"));
        assert_same(&decoded(Coding::Gzip, &request.body), &body, "the body");
    }
}
