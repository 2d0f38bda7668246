//! A listener's log of its connections, with curl, openssl and sockets on the other side: also of those that never come to a
//! request.

use super::support::{Client, Origin, Pki, Ringway, Setup, curl, eventually, response};
use super::tls::{HELLO, curl_as, curl_to, openssl, rustls_to, s_client};
use rustix::process::Signal;
use std::io::{Read, Write};

/// What a line says of the protocol and of the end.
const FORMAT: &str = "%FILTER_CHAIN_NAME% %PROTOCOL% %DOWNSTREAM_TLS_VERSION% %REQUESTED_SERVER_NAME% %RESPONSE_FLAGS% \
                      %CONNECTION_REQUESTS% %CONNECTION_TERMINATION_DETAILS% %DOWNSTREAM_TRANSPORT_FAILURE_REASON%";

fn log(format: &str) -> String {
    format!("access_log = [{{ path = \"DIR/log\", format = \"{format}\" }}]\n")
}

const OK: &str = "routes = [{ match = { prefix = \"/\" }, direct_response = { status = 200, body = \"hello\" } }]\n";

fn start(listener: &str, http: &str) -> Ringway {
    let config = format!("[[listeners]]\naddress = \"127.0.0.1:0\"\n{listener}[listeners.http]\n{OK}{http}");
    run(Setup::new(&config))
}

/// With logs that are soon there.
fn run(setup: Setup) -> Ringway {
    setup.runtime("access_log_flush_interval = \"5ms\"").start()
}

/// Its bytes are those of TCP, its addresses those of the sockets, and the lines of its requests name it.
#[test]
fn a_line_has_the_bytes_and_addresses_of_the_connection() {
    let format = "%BYTES_RECEIVED% %BYTES_SENT% %DOWNSTREAM_WIRE_BYTES_RECEIVED% %DOWNSTREAM_WIRE_BYTES_SENT% \
                  %DOWNSTREAM_REMOTE_ADDRESS% %DOWNSTREAM_LOCAL_ADDRESS% %CONNECTION_ID% %ACCESS_LOG_TYPE%";
    let requests = "access_log = [{ path = \"DIR/requests\", format = \"%CONNECTION_ID%\" }]\n";
    let proxy = start(&log(format), requests);
    let [request, last] = ["", "Connection: close\r\n"].map(|more| format!("GET / HTTP/1.1\r\nHost: h\r\n{more}\r\n"));
    let mut client = Client::open(proxy.address(0));
    let near = client.stream.local_addr().expect("an address");
    for _ in 0..2 {
        client.send(request.as_bytes());
    }
    client.send(last.as_bytes());
    let mut answers = Vec::new();
    client.stream.read_to_end(&mut answers).expect("three answers");
    drop(client);
    let line = proxy.log_lines("log", 1).remove(0);
    let (received, sent) = (2 * request.len() + last.len(), answers.len());
    assert!(sent > 200, "{sent}");
    let id = proxy.log_lines("requests", 3).remove(0);
    let far = &proxy.addresses[0];
    assert_eq!(line, format!("{received} {sent} {received} {sent} {near} {far} {id} TcpConnectionEnd"));
}

/// A FIN is no byte, whichever side sends it first, and neither is a reset.
#[test]
fn the_end_of_a_connection_is_no_byte_of_it() {
    let proxy = start(&log("%BYTES_RECEIVED% %CONNECTION_TERMINATION_DETAILS%"), "max_requests_per_connection = 2\n");
    let request = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n";
    let once = request.len();
    type End = fn(Client);
    let ends: [(usize, End, String); 4] = [
        (1, drop, format!("{once} remote_close")),
        (1, Client::reset, format!("{once} remote_reset")),
        (2, |mut client| client.expect_end(), format!("{} max_requests_per_connection", 2 * once)),
        (0, drop, "0 remote_close".into()),
    ];
    for (at, (count, end, line)) in ends.into_iter().enumerate() {
        let mut client = Client::open(proxy.address(0));
        for _ in 0..count {
            client.send(request);
            assert_eq!(client.response().status(), 200);
        }
        end(client);
        assert_eq!(proxy.log_lines("log", at + 1)[at], line);
    }
}

/// Bodies that the kernel moves by itself are counted, too.
#[test]
fn spliced_bodies_are_counted() {
    const LEN: usize = 4 << 20;
    let origin = Origin::answering(|_| response(200, &[], "x".repeat(LEN)));
    let config = super::support::forwarding(origin.address, "")
        .replace("[listeners.http]", &format!("{}[listeners.http]", log("%BYTES_SENT%")));
    let proxy = run(Setup::new(&config));
    let answer = curl(&[&proxy.url("/")]);
    assert_eq!((answer.status, answer.body.len()), (200, LEN));
    let line = proxy.log_lines("log", 1).remove(0);
    assert_eq!(line, (LEN + answer.head.len()).to_string());
}

/// `NR`, and nothing else is known of it.
#[test]
fn a_connection_that_no_chain_is_for_has_a_line() {
    let config = format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\n{}[[listeners.filter_chains]]\nname = \"far\"\n\
         match = {{ source_prefix_ranges = [\"192.0.2.0/24\"] }}\n[listeners.filter_chains.http]\n{OK}",
        log(FORMAT)
    );
    let proxy = run(Setup::new(&config));
    Client::open(proxy.address(0)).expect_end();
    assert_eq!(proxy.log_lines("log", 1), ["- - - - NR 0 filter_chain_not_found -"]);
}

fn secure(tls: &str) -> (Ringway, Pki) {
    let listener =
        format!("stat_prefix = \"main\"\n{}tls = {{ certificate = \"a.pem\", key = \"a.key\"{tls} }}\n", log(FORMAT));
    let config = format!("[[listeners]]\naddress = \"127.0.0.1:0\"\n{listener}[listeners.http]\n{OK}");
    let setup = Setup::new(&config);
    let pki = Pki::new(setup.dir());
    pki.issue("a", &["a.example"]);
    pki.issue("client", &["client.example"]);
    (run(setup), pki)
}

/// Each has one line, with what is known and why it came to nothing, in words.
#[test]
fn handshakes_that_fail_have_a_line_each() {
    let (proxy, pki) = secure(", client_certificate = { ca = \"ca.pem\" }, strict_sni = true");
    let strangers = tempfile::tempdir().expect("a directory");
    let strangers = Pki::new(strangers.path());
    strangers.issue("other", &["client.example"]);
    let url = "https://a.example/";
    let mut expected: Vec<String> = Vec::new();
    let mut next = |line: &str| {
        expected.push(line.into());
        let lines = proxy.log_lines("log", expected.len());
        assert_eq!(lines, expected);
    };
    assert_eq!(curl_as(&proxy, &pki, url, (&pki, "client"), &["--http1.1"]).status, 200);
    next("default HTTP/1 TLSv1.3 a.example - 1 remote_close -");
    assert_eq!(curl_as(&proxy, &pki, url, (&pki, "client"), &["--http2", "--tls-max", "1.2"]).status, 200);
    next("default HTTP/2 TLSv1.2 a.example - 1 remote_close -");
    assert_eq!(curl_to(&proxy, &pki, url, &["--tls-max", "1.2"]).status, 0);
    next("default - - a.example DPE 0 tls_handshake_failed the peer showed no certificate");
    assert_eq!(curl_as(&proxy, &pki, url, (&strangers, "other"), &["--tls-max", "1.2"]).status, 0);
    next(
        "default - - a.example DPE 0 tls_handshake_failed invalid peer certificate: no trusted authority has issued it \
         (UnknownIssuer)",
    );
    // A client that does not trust this side says so.
    let untrusting = ["-servername", "a.example", "-verify_return_error", "-tls1_2"];
    s_client(proxy.address(0), &untrusting, b"");
    next("default - - a.example DPE 0 tls_handshake_failed received fatal alert: UnknownCA");
    s_client(proxy.address(0), &["-servername", "b.example"], b"");
    next("default - - b.example DPE 0 tls_handshake_failed no certificate is for the name b.example");
    assert_eq!(curl(&[&proxy.url("/")]).status, 400, "it is told what is wrong");
    next("default - - - DPE 0 tls_handshake_failed the first bytes are plain HTTP, not TLS");
    Client::open(proxy.address(0)).send(b"\x00\x01\x02\x03");
    next("default - - - DPE 0 tls_handshake_failed the first bytes are not TLS");
    drop(Client::open(proxy.address(0)));
    next("default - - - DC 0 downstream_remote_disconnect the connection ended within the handshake");
    let mut half = Client::open(proxy.address(0));
    half.send(&HELLO[..100]);
    half.reset();
    next("default - - - DC 0 downstream_remote_disconnect the connection was reset within the handshake");
    let total = proxy.stat("listener.main.downstream_cx_total");
    assert_eq!(total, expected.len() as i64);
}

#[test]
fn a_handshake_that_takes_too_long_has_a_line() {
    let (proxy, _) = secure(", handshake_timeout = \"100ms\"");
    let mut slow = Client::open(proxy.address(0));
    slow.send(&HELLO[..100]);
    slow.expect_end();
    let late = "default - - - DT 0 transport_socket_timeout the handshake took too long";
    assert_eq!(proxy.log_lines("log", 1), [late]);
}

#[test]
fn a_record_that_cannot_be_decrypted_is_told() {
    let (proxy, pki) = secure("");
    let mut client = rustls_to(&proxy, &pki, "a.example", b"http/1.1");
    client.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").expect("it is sent");
    let mut answer = [0; 15];
    client.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 200 OK");
    client.sock.write_all(&[&[23, 3, 3, 0, 32][..], &[7; 32]].concat()).expect("it is sent");
    let line = proxy.log_lines("log", 1).remove(0);
    assert_eq!(line, "default HTTP/1 TLSv1.3 a.example DPE 1 tls_failed cannot decrypt peer's message");
}

/// Its chain is chosen by the name, and none has this one.
#[test]
fn a_name_that_no_chain_is_for_is_in_the_line() {
    let config = format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\n{}[[listeners.filter_chains]]\nname = \"site\"\n\
         match = {{ server_names = [\"a.example\"] }}\ntls = {{ certificate = \"a.pem\", key = \"a.key\" }}\n\
         [listeners.filter_chains.http]\n{OK}",
        log(&format!("{FORMAT} %BYTES_RECEIVED%"))
    );
    let setup = Setup::new(&config);
    let pki = Pki::new(setup.dir());
    pki.issue("a", &["a.example"]);
    let proxy = run(setup);
    assert_eq!(curl_to(&proxy, &pki, "https://a.example/", &["--http1.1"]).status, 200);
    let line = proxy.log_lines("log", 1).remove(0);
    let bytes =
        line.strip_prefix("site HTTP/1 TLSv1.3 a.example - 1 remote_close - ").unwrap_or_else(|| panic!("{line}"));
    assert!(bytes.parse::<u64>().is_ok_and(|bytes| bytes > 500), "the handshake counts: {line}");
    s_client(proxy.address(0), &["-servername", "b.example"], b"");
    let line = proxy.log_lines("log", 2).remove(1);
    assert!(line.starts_with("- - - b.example NR 0 filter_chain_not_found - "), "{line}");
    // What is no such message has its reason, as where there is one chain.
    for (count, (bytes, details)) in (3..).zip([
        (&b"GET / HTTP/1.1\r\n\r\n"[..], "NR 0 filter_chain_not_found the first bytes are plain HTTP, not TLS"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "NR 0 filter_chain_not_found the first bytes are not TLS"),
        (&[22, 3, 1, 0, 4, 9, 0, 0, 0], "DPE 0 client_hello_invalid the client's first message breaks a rule of TLS"),
        (
            &[22, 3, 1, 0, 4, 1, 1, 0, 0],
            "DPE 0 client_hello_too_large the client's first message is larger than 64 KiB",
        ),
    ]) {
        let mut client = Client::open(proxy.address(0));
        client.send(bytes);
        let line = proxy.log_lines("log", count).remove(count - 1);
        assert_eq!(line, format!("- - - - {details} {}", bytes.len()));
    }
}

/// In the lines of connections and of requests, and in headers.
#[test]
fn certificates_of_clients_are_told() {
    let format = "%DOWNSTREAM_PEER_DNS_SAN% %DOWNSTREAM_PEER_SUBJECT% %DOWNSTREAM_PEER_CERT_V_END(%Y)% %DOWNSTREAM_LOCAL_DNS_SAN%";
    let config = format!(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\n{}\
         tls = {{ certificate = \"a.pem\", key = \"a.key\", client_certificate = {{ ca = \"ca.pem\", required = false }} }}\n\
         [listeners.http]\n{OK}access_log = [{{ path = \"DIR/requests\", format = \"{format}\" }}]\n\
         response_headers_to_add = [{{ name = \"x-client\", value = \"%DOWNSTREAM_PEER_DNS_SAN%\" }}]\n",
        log(format)
    );
    let setup = Setup::new(&config);
    let pki = Pki::new(setup.dir());
    pki.issue("a", &["a.example"]);
    pki.issue("client", &["client.example"]);
    let proxy = run(setup);
    let url = "https://a.example/";
    let answer = curl_as(&proxy, &pki, url, (&pki, "client"), &["--http1.1"]);
    assert!(answer.status == 200 && answer.head.contains("x-client: client.example\r\n"), "{answer:?}");
    let line = proxy.log_lines("log", 1).remove(0);
    assert_eq!(proxy.log_lines("requests", 1), [&*line]);
    assert!(line.starts_with("client.example CN=") && line.ends_with(" a.example"), "{line}");
    let answer = curl_to(&proxy, &pki, url, &["--http1.1"]);
    assert!(answer.status == 200 && !answer.head.contains("x-client"), "{answer:?}");
    assert_eq!(proxy.log_lines("log", 2)[1], "- - - a.example");
}

/// A connection that is open when the process ends has its line, too.
#[test]
fn the_end_of_the_process_has_a_line() {
    let (mut proxy, _) = secure("");
    let mut client = openssl(proxy.address(0), &["-servername", "a.example", "-quiet", "-alpn", "http/1.1"]);
    let mut input = client.stdin.take().expect("piped");
    input.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").expect("it reads");
    eventually("it is served", || proxy.stat("http.ingress_http.downstream_rq_completed") == 1);
    proxy.signal(Signal::TERM);
    assert!(proxy.wait().success());
    assert_eq!(proxy.log_lines("log", 1), ["default HTTP/1 TLSv1.3 a.example - 1 drain -"]);
    drop(input);
    let _ = client.wait();
}

/// Both kinds of lines may go into one file. It is closed when no log has it any more.
#[test]
fn requests_and_connections_may_share_a_file_and_a_reload_removes_the_log() {
    let requests = "access_log = [{ path = \"DIR/log\", format = \"request\" }]\n";
    let with =
        format!("[[listeners]]\naddress = \"127.0.0.1:0\"\n{}[listeners.http]\n{OK}{requests}", log("connection"));
    let proxy = run(Setup::new(&with));
    assert_eq!(curl(&[&proxy.url("/")]).status, 200);
    assert_eq!(proxy.log_lines("log", 2), ["request", "connection"]);
    let is_open = |name: &str| {
        let files = std::fs::read_dir(format!("/proc/{}/fd", proxy.pid())).expect("it runs").filter_map(Result::ok);
        files.filter_map(|entry| std::fs::read_link(entry.path()).ok()).any(|target| target == proxy.file(name))
    };
    proxy.write_config(&with.replace(&log("connection"), &log("connection").replace("DIR/log", "DIR/other")));
    assert!(proxy.reload(), "{}", proxy.stderr());
    assert_eq!(curl(&[&proxy.url("/")]).status, 200);
    assert_eq!(proxy.log_lines("log", 3)[2], "request");
    assert_eq!(proxy.log_lines("other", 1), ["connection"]);
    proxy.write_config(&with.replace(&log("connection"), "").replace(requests, ""));
    assert!(proxy.reload(), "{}", proxy.stderr());
    assert_eq!(curl(&[&proxy.url("/")]).status, 200);
    eventually("the files are closed", || !is_open("log") && !is_open("other"));
    assert_eq!((proxy.log_lines("log", 3).len(), proxy.log_lines("other", 1).len()), (3, 1));
}

/// The kernel does not count there.
#[test]
fn a_unix_socket_has_lines_without_bytes() {
    let config = format!(
        "[[listeners]]\naddress = \"unix:DIR/in.sock\"\n{}[listeners.http]\n{OK}",
        log("%BYTES_RECEIVED% %DOWNSTREAM_REMOTE_ADDRESS% %CONNECTION_REQUESTS%")
    );
    let proxy = run(Setup::new(&config));
    let socket = proxy.file("in.sock");
    let answer = curl(&["--unix-socket", &socket.display().to_string(), "http://h/"]);
    assert_eq!(answer.status, 200);
    assert_eq!(proxy.log_lines("log", 1), ["- - 1"]);
}
