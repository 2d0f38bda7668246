//! HTTP/2 with tools that know it: h2spec, nghttp2's programs, curl.

use super::slow_clients::unfinished;
use super::support::{
    Origin, PATIENCE, Pki, Ringway, Server, Setup, curl, forwarding_to, free_port, must_run, program, response,
};
use super::tls::secured;
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// What speaks HTTP/2 with clients alone: on other listeners, text that is no preface is taken for HTTP/1.
const HTTP2: &str = "codec_type = \"http2\"";

/// Run all of its tests, the strict ones included, and see that all passed.
fn h2spec(address: SocketAddr, more: &[&str]) {
    // The project's installation puts it there.
    let Ok(mut command) = which("h2spec") else { return };
    let port = address.port().to_string();
    let output =
        command.args(["-S", "-o", "10", "-h", "127.0.0.1", "-p", &port]).args(more).output().expect("it starts");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("146 tests, 146 passed, 0 skipped, 0 failed"), "{text}");
}

/// A program that is built by Go; nothing is skipped where CI is set.
fn which(name: &str) -> Result<Command, ()> {
    let is_there = Command::new(name).arg("--version").output().is_ok();
    assert!(
        is_there || std::env::var_os("CI").is_none(),
        "{name} is missing: .ci/install builds it where Go is installed"
    );
    if !is_there {
        eprintln!("skipped: {name} is not installed");
    }
    is_there.then(|| Command::new(name)).ok_or(())
}

pub(super) fn hello() -> Origin {
    Origin::answering(|_| response(200, &[], "hello, world"))
}

/// A server of HTTP/2 that answers everything itself, once it has the whole request.
fn answering() -> Ringway {
    Ringway::start(&format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\n[listeners.http]\n{HTTP2}\n\
         http_filters = [{{ buffer = {{ max_request_bytes = \"1MiB\" }} }}]\n\
         routes = [{{ match = {{ prefix = \"/\" }}, direct_response = {{ status = 200, body = \"hello, world\" }} }}]\n"
    ))
}

#[test]
fn h2spec_is_content_with_answers_of_our_own() {
    h2spec(answering().address(0), &[]);
}

#[test]
fn h2spec_is_content_before_an_endpoint_of_http1() {
    let origin = hello();
    h2spec(Ringway::before(origin.address, HTTP2).address(0), &[]);
}

#[test]
fn h2spec_is_content_before_an_endpoint_of_http2() {
    let origin = answering();
    let config = forwarding_to(&[origin.address(0)], HTTP2, "protocol = \"http2\"");
    h2spec(Ringway::start(&config).address(0), &[]);
}

#[test]
fn h2spec_is_content_over_tls() {
    let origin = hello();
    let setup = Setup::new(&secured(origin.address, "certificate = \"a.pem\", key = \"a.key\"", HTTP2));
    let pki = Pki::new(setup.dir());
    pki.issue("a", &["a.example"]);
    h2spec(setup.start().address(0), &["-t", "-k"]);
}

/// What a client sends first: the preface, and SETTINGS without any.
pub(super) const BEGIN: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// What h2load counts: all requests succeeded, and none with another status than 2xx.
pub(super) fn h2load(address: SocketAddr, scheme: &str, more: &[&str]) {
    let url = format!("{scheme}://127.0.0.1:{}/", address.port());
    let text = must_run(program("h2load").args(["-n", "2000", "-c", "4", "-m", "32"]).args(more).arg(&url));
    let all = "2000 total, 2000 started, 2000 done, 2000 succeeded, 0 failed, 0 errored, 0 timeout";
    assert!(text.contains(all) && text.contains("2000 2xx, 0 3xx, 0 4xx, 0 5xx"), "{text}");
}

#[test]
fn h2load_gets_all_from_endpoints_of_both_kinds() {
    let origin = answering();
    let proxy = Ringway::start(&forwarding_to(&[origin.address(0)], "", "protocol = \"http2\""));
    h2load(proxy.address(0), "http", &[]);
    assert_eq!(
        (proxy.stat("http.ingress_http.downstream_rq_2xx"), proxy.stat("http.ingress_http.downstream_rq_active")),
        (2000, 0)
    );
    assert_eq!(proxy.stat("cluster.app.upstream_rq_active"), 0);
    let origin = hello();
    let proxy = Ringway::before(origin.address, "");
    h2load(proxy.address(0), "http", &[]);
    // A body for each.
    let file = proxy.file("body");
    std::fs::write(&file, vec![b'x'; 5000]).expect("written");
    h2load(proxy.address(0), "http", &["-d", &file.to_string_lossy()]);
    assert_eq!(proxy.stat("http.ingress_http.downstream_rq_2xx"), 4000);
}

/// nghttpd without TLS, in a directory with one file.
struct Nghttpd {
    address: SocketAddr,
    child: Child,
    _dir: tempfile::TempDir,
}

impl Nghttpd {
    fn start(more: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        std::fs::write(dir.path().join("file"), vec![b'x'; 100_000]).expect("written");
        for _ in 0..10 {
            let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
            let mut child = program("nghttpd")
                .args(["--no-tls", "-a", "127.0.0.1", "-d"])
                .arg(dir.path())
                .args(more)
                .arg(address.port().to_string())
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .expect("it starts");
            let start = Instant::now();
            while child.try_wait().expect("a child").is_none() && start.elapsed() < PATIENCE {
                if TcpStream::connect(address).is_ok() {
                    return Self { address, child, _dir: dir };
                }
                std::thread::sleep(Duration::from_millis(5));
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        panic!("nghttpd does not start");
    }
}

impl Drop for Nghttpd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn trailers_of_nghttpd_pass() {
    let origin = Nghttpd::start(&["--trailer", "checksum: abc"]);
    let proxy = Ringway::start(&forwarding_to(&[origin.address], "", "protocol = \"http2\""));
    let text = must_run(program("nghttp").args(["-nv", &proxy.url("/file")]));
    let trailer = text.find("checksum: abc").unwrap_or_else(|| panic!("no trailer: {text}"));
    assert!(text[..trailer].contains(":status: 200") && text[..trailer].contains("DATA frame"), "{text}");
    let data = text.matches("recv DATA frame").count();
    assert!(text[trailer..].contains("END_STREAM") || text.contains("; END_STREAM | END_HEADERS"), "{data}: {text}");
    // A body with trailers in the other direction.
    let file = proxy.file("body");
    std::fs::write(&file, vec![b'x'; 200_000]).expect("written");
    let file = file.to_string_lossy();
    let text = must_run(program("nghttp").args(["-nv", "-d", &file, "--trailer", "a: b", &proxy.url("/file")]));
    assert!(text.contains(":status: 200"), "{text}");
    assert_eq!(proxy.stat("cluster.app.upstream_rq_2xx"), 2);
}

/// A client that gives a request up, and one that closes its connection: before the response and within it.
#[test]
fn a_reset_is_no_end_of_its_connection() {
    let origin = unfinished();
    let log =
        "access_log = [{ path = \"log\", format = \"%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS%\" }]";
    let proxy = Ringway::before(origin.address, log);
    // The methods, schemes and paths are those of HPACK's table, the authority is `h`.
    let get = |path: &[u8]| [&[0x82, 0x86][..], path, b"\x41\x01h"].concat();
    let requests = [get(&[0x84]), get(b"\x44\x07/stream")];
    for request in &requests {
        for code in [Some(8), Some(7), None] {
            let mut client = proxy.connect();
            client.send(BEGIN);
            client.send(&[&[0, 0, request.len() as u8, 1, 5, 0, 0, 0, 1], &request[..]].concat());
            proxy.wait_for_stat("cluster.app.upstream_rq_active", 1);
            let mut received = Vec::new();
            while request == &requests[1] && !received.ends_with(b"some") {
                assert!(client.some());
                received.extend(client.take_buffered());
            }
            match code {
                Some(code) => client.send(&[0, 0, 4, 3, 0, 0, 0, 0, 1, 0, 0, 0, code]),
                None => client.half_close(),
            }
            proxy.wait_for_stat("cluster.app.upstream_rq_active", 0);
        }
    }
    let mut lines = proxy.log_lines("log", 6);
    lines.sort();
    let ends = ["DC downstream_remote_disconnect", "DR http2.remote_refuse", "DR http2.remote_reset"];
    assert_eq!(lines[..3], ends.map(|end| format!("0 {end}")));
    assert_eq!(lines[3..], ends.map(|end| format!("200 {end}")));
    assert_eq!(proxy.stat("http.ingress_http.downstream_rq_rx_reset"), 6);
}

#[test]
fn curl_sees_interim_responses_and_speaks_both_protocols() {
    let origin = Origin::answering(|_| {
        [b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n", &response(200, &[], "hello, world")[..]].concat()
    });
    let proxy = Ringway::before(origin.address, "");
    for (how, version) in [("--http2-prior-knowledge", "HTTP/2"), ("--http1.1", "HTTP/1.1")] {
        let text = must_run(program("curl").args(["-q", "-sS", "--noproxy", "*", "-i", how, &proxy.url("/")]));
        assert!(
            text.starts_with(&format!("{version} 103")) && text.to_ascii_lowercase().contains("link: </a.css>"),
            "{text}"
        );
        assert!(text.contains(&format!("{version} 200")) && text.ends_with("hello, world"), "{text}");
    }
    assert_eq!(
        (
            proxy.stat("http.ingress_http.downstream_cx_http2_total"),
            proxy.stat("http.ingress_http.downstream_cx_http1_total")
        ),
        (1, 1)
    );
}

/// An endpoint that is spoken HTTP/2 to as ALPN agreed, and wants HTTP/1.1 when it sees a request (RFC 9113 section 7).
#[test]
fn an_endpoint_that_requires_http1_gets_it() {
    for kind in ["reset", "goaway"] {
        for (protocol, expected) in [("auto", 200), ("http2", 503)] {
            let setup = Setup::new("");
            let pki = Pki::new(setup.dir());
            pki.issue("a", &["a.example"]);
            let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/http1_required.py");
            let mut python = program("python3");
            python.arg(script).args([pki.path("a.pem"), pki.path("a.key"), kind.into()]);
            let server = Server::start(python);
            let cluster = format!("protocol = \"{protocol}\"\ntls = {{ ca = \"ca.pem\", sni = \"a.example\" }}");
            let proxy = setup.replace_config(&forwarding_to(&[server.address], "", &cluster)).start();
            proxy.admin("POST", "/logging?ringway::h2=debug");
            for (method, body) in [("POST", "hello"), ("GET", ""), ("POST", "again")] {
                let answer = curl(&["-X", method, "-d", body, &proxy.url("/")]);
                assert_eq!(answer.status, expected, "{kind} {protocol}");
                if expected == 200 {
                    assert_eq!(String::from_utf8_lossy(&answer.body), format!("{method} {body}"));
                }
            }
            if kind == "goaway" {
                proxy.wait_for_log("the peer takes leave for an error");
            }
            let agreed = server.lines.lock().unwrap().clone();
            match protocol {
                "auto" => assert_eq!(agreed, ["h2", "http/1.1"], "{kind}"),
                _ => assert!(agreed.iter().all(|agreed| agreed == "h2"), "{kind} {agreed:?}"),
            }
            proxy.wait_for_stat("cluster.app.upstream_rq_active", 0);
        }
    }
}
