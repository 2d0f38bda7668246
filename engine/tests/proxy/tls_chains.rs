//! Filter chains chosen by a client's first message, and requests that belong on another connection, with curl and
//! openssl.

use super::support::{Client, Curl, Pki, Ringway, Setup, curl, program};
use super::tls::{HELLO, curl_as, curl_to, s_client};
use std::process::Stdio;

/// On one port: `a` and `shared` want certificates of clients, `b` and everything else does not, plain HTTP is plain
/// HTTP.
const SITES: &str = r#"
[[listeners]]
address = "127.0.0.1:0"
stat_prefix = "main"

[[listeners.filter_chains]]
name = "a"
match = { server_names = ["a.example", "*.a.example"] }
tls = { certificate = "a.pem", key = "a.key", client_certificate = { ca = "ca.pem" } }
http = { stat_prefix = "a", routes = [{ match = { prefix = "/" }, direct_response = { status = 200, body = "a" } }] }

[[listeners.filter_chains]]
name = "shared"
match = { server_names = ["shared.example"] }
tls = { certificate = "a.pem", key = "a.key", client_certificate = { ca = "ca.pem" } }
http = { routes = [{ match = { prefix = "/" }, direct_response = { status = 200, body = "shared" } }] }

[[listeners.filter_chains]]
name = "b"
match = { server_names = ["B.example"] }
tls = { certificate = "b.pem", key = "b.key" }
[listeners.filter_chains.http]
stat_prefix = "b"
routes = [{ match = { prefix = "/" }, direct_response = { status = 200, body = "b" } }]
access_log = [{ path = "DIR/log", format = "%RESPONSE_CODE% %RESPONSE_CODE_DETAILS% %REQUESTED_SERVER_NAME%" }]
"#;

const PLAIN: &str = r#"
[[listeners.filter_chains]]
name = "plain"
match = { transport_protocol = "raw_buffer" }
http.routes = [{ match = { prefix = "/" }, direct_response = { status = 200, body = "plain" } }]
"#;

const OTHERS: &str = r#"
[[listeners.filter_chains]]
name = "others"
tls = { certificate = "b.pem", key = "b.key" }
http.routes = [{ match = { prefix = "/" }, direct_response = { status = 200, body = "others" } }]
"#;

fn sites(more: &str) -> (Ringway, Pki) {
    let setup = Setup::new(&format!("{SITES}{more}"));
    let pki = Pki::new(setup.dir());
    pki.issue("a", &["a.example", "*.a.example", "shared.example"]);
    pki.issue("b", &["b.example", "other.example"]);
    pki.issue("client", &["client.example"]);
    (setup.start(), pki)
}

/// curl to the proxy, with a client certificate if it is to show one.
fn ask(proxy: &Ringway, pki: &Pki, url: &str, has_certificate: bool, more: &[&str]) -> Curl {
    match has_certificate {
        true => curl_as(proxy, pki, url, (pki, "client"), more),
        false => curl_to(proxy, pki, url, more),
    }
}

fn body(answer: &Curl) -> (u16, &str) {
    (answer.status, std::str::from_utf8(&answer.body).expect("text"))
}

#[test]
fn sites_on_one_port_have_their_own_tls() {
    let (proxy, pki) = sites(&[PLAIN, OTHERS].concat());
    for (url, has_certificate, expected) in [
        ("https://a.example/", true, "a"),
        ("https://x.a.example/", true, "a"),
        ("https://A.EXAMPLE/", true, "a"),
        ("https://shared.example/", true, "shared"),
        ("https://b.example/", false, "b"),
        ("https://b.example/", true, "b"),
        ("https://other.example/", false, "others"),
        ("http://a.example/", false, "plain"),
    ] {
        let answer = ask(&proxy, &pki, url, has_certificate, &[]);
        assert_eq!(body(&answer), (200, expected), "{url}: {answer:?}");
    }
    let refused = ask(&proxy, &pki, "https://a.example/", false, &[]);
    assert_eq!((refused.status, refused.exit), (0, 56), "{refused:?}");
    // A client that connects to an address asks for no name.
    let nameless = ask(&proxy, &pki, "https://127.0.0.1/", false, &["-k"]);
    assert_eq!(body(&nameless), (200, "others"));
    let stat = |name: &str| proxy.stat(&format!("tls_inspector.{name}"));
    assert_eq!((stat("tls_found"), stat("tls_not_found"), stat("sni_found"), stat("sni_not_found")), (9, 1, 8, 1));
    assert_eq!((stat("alpn_found"), stat("alpn_not_found")), (9, 0));
    assert_eq!(proxy.stat("listener.main.no_filter_chain_match"), 0);
}

#[test]
fn without_a_chain_for_it_a_connection_ends() {
    let (proxy, pki) = sites("");
    let unknown = ask(&proxy, &pki, "https://other.example/", false, &[]);
    assert_eq!((unknown.status, unknown.exit), (0, 35), "unrecognized_name: {unknown:?}");
    let plain = proxy.get("/");
    assert_eq!(plain.status(), 400);
    assert!(plain.text().contains("speaks HTTPS"), "{}", plain.text());
    let mut silent = Client::open(proxy.address(0));
    silent.send(b"\0\0\0\0");
    silent.expect_end();
    proxy.wait_for_stat("listener.main.no_filter_chain_match", 3);
    // In a record of version 2, and the first message of a server.
    for bytes in [&b"\x16\x02\x00\x00\x05\x01\x00\x00\x01\x03"[..], b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x03"] {
        let mut broken = Client::open(proxy.address(0));
        broken.send(bytes);
        broken.expect_end();
    }
    proxy.wait_for_stat("tls_inspector.client_hello_invalid", 2);
    assert_eq!(proxy.stat("http.b.downstream_cx_total"), 0);
}

/// A record for each byte, and each record in pieces: the name is still found.
#[test]
fn a_first_message_in_one_byte_records_still_asks_for_its_name() {
    let (proxy, pki) = sites(OTHERS);
    let hello = HELLO.windows(9).position(|part| part == b"a.example").map(|at| (at, HELLO.to_vec()));
    let (at, mut hello) = hello.expect("it asks for a.example");
    hello[at] = b'b';
    let records: Vec<u8> = hello[5..].iter().flat_map(|byte| [22, 3, 1, 0, 1, *byte]).collect();
    let mut client = Client::open(proxy.address(0));
    for piece in records.chunks(7) {
        client.send(piece);
    }
    // The handshake goes on with what the inspector has read: a ServerHello comes.
    assert!(client.some());
    assert_eq!(client.take_buffered()[..3], [22, 3, 3]);
    assert_eq!(proxy.stat("tls_inspector.sni_found"), 1);
    drop(client);
    // And a whole handshake, its bytes one by one.
    let (ca, address) = (pki.path("ca.pem"), proxy.address(0).to_string());
    let relay = super::support::free_port();
    let script = r#"
import socket, sys, threading
host, port = sys.argv[2].rsplit(":", 1)
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen(1)
print("ready", flush=True)
client, _ = listener.accept()
server = socket.create_connection((host, int(port)))
server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
def back():
    while data := server.recv(65536):
        client.sendall(data)
    client.shutdown(socket.SHUT_WR)
threading.Thread(target=back, daemon=True).start()
while data := client.recv(65536):
    for byte in data:
        server.sendall(bytes([byte]))
"#;
    let mut child = program("python3")
        .args(["-c", script, &relay.to_string(), &address])
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 starts");
    let mut ready = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().expect("piped"), &mut ready).expect("it listens");
    let to = format!("::127.0.0.1:{relay}");
    let answer = curl(&["--cacert", &ca, "--connect-to", &to, "https://b.example/"]);
    let _ = child.kill();
    let _ = child.wait();
    assert_eq!(body(&answer), (200, "b"), "{answer:?}");
}

/// Requests on a connection to b.example, each with its Host.
fn on_one_connection(proxy: &Ringway, asked: &str, hosts: &[&str]) -> Vec<String> {
    let name = match asked {
        "" => vec!["-noservername"],
        name => vec!["-servername", name],
    };
    let mut requests: String = hosts.iter().map(|host| format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).collect();
    requests += "GET / HTTP/1.1\r\nHost: b.example\r\nConnection: close\r\n\r\n";
    let text = s_client(proxy.address(0), &[&["-quiet"][..], &name].concat(), requests.as_bytes());
    let statuses = text.split("HTTP/1.1 ").skip(1).map(|answer| answer[..3].to_owned());
    statuses.take(hosts.len()).collect()
}

/// Host names another site whose clients are asked for certificates: 421, however it is written.
#[test]
fn a_request_for_a_site_with_other_client_certificates_is_misdirected() {
    let (proxy, _) = sites(OTHERS);
    let hosts =
        ["a.example", "A.Example", "a.example:443", "a.example.", "x.a.example", "y.x.a.example:1", "shared.example"];
    assert_eq!(on_one_connection(&proxy, "b.example", &hosts), ["421"; 7]);
    assert_eq!(proxy.stat("http.b.downstream_rq_misdirected"), 7);
    let lines = proxy.log_lines("log", 8);
    assert_eq!(lines[0], "421 misdirected_request b.example");
    assert_eq!(lines[7], "200 direct_response b.example");
    // It holds for clients that asked for no name, and in the other direction.
    assert_eq!(on_one_connection(&proxy, "", &["a.example", "other.example", "127.0.0.1"]), ["421", "200", "200"]);
}

/// Names of sites that ask their clients for the same share connections: whatever the port, the dot and the wildcard.
#[test]
fn sites_that_ask_clients_for_the_same_share_connections() {
    let (proxy, pki) = sites(OTHERS);
    let hosts =
        ["b.example", "B.EXAMPLE:443", "b.example.", "other.example", "nowhere.example:8443", "127.0.0.1", "[::1]:443"];
    assert_eq!(on_one_connection(&proxy, "b.example", &hosts), ["200"; 7]);
    assert_eq!(proxy.stat("http.b.downstream_rq_misdirected"), 0);
    for (host, expected) in
        [("x.a.example", 200), ("shared.example", 200), ("b.example", 421), ("unknown.example", 421)]
    {
        let field = format!("host: {host}");
        let answer = ask(&proxy, &pki, "https://a.example/", true, &["-H", &field]);
        assert_eq!(answer.status, expected, "{host}");
    }
}

/// With two groups, and the first offer of the client unusable, there is a second first message; it is none for the
/// inspector.
#[test]
fn a_second_first_message_belongs_to_the_handshake() {
    let (proxy, pki) = sites(OTHERS);
    let answer = ask(&proxy, &pki, "https://b.example/", false, &["--curves", "P-521:X448:P-384:X25519"]);
    assert_eq!(body(&answer), (200, "b"), "{answer:?}");
    assert_eq!(proxy.stat("tls_inspector.tls_found"), 1);
    assert_eq!(proxy.stat("listener.main.ssl.curves.P-384") + proxy.stat("listener.main.ssl.curves.X25519"), 1);
}

/// A handshake that is not made here: the chain reads it as HTTP, and its log says which name it asks for.
#[test]
fn a_chain_without_tls_still_knows_the_name() {
    let proxy = Ringway::start(
        r#"
[[listeners]]
address = "127.0.0.1:0"
[[listeners.filter_chains]]
match = { server_names = ["*.example"] }
[listeners.filter_chains.http]
routes = [{ match = { prefix = "/" }, direct_response = { status = 200 } }]
access_log = [{ path = "DIR/log", format = "%RESPONSE_CODE% %REQUESTED_SERVER_NAME% %DOWNSTREAM_TLS_VERSION%" }]
"#,
    );
    let mut client = Client::open(proxy.address(0));
    client.send(HELLO);
    assert_eq!(client.response().status(), 400);
    assert_eq!(proxy.log_lines("log", 1), ["400 a.example -"]);
}

#[test]
fn a_reload_brings_chains_by_name_to_a_listener_without() {
    let plain = "[[listeners]]\naddress = \"127.0.0.1:0\"\nstat_prefix = \"main\"\n\
                 http.routes = [{ match = { prefix = \"/\" }, direct_response = { status = 200, body = \"before\" } }]\n";
    let setup = Setup::new(plain);
    let pki = Pki::new(setup.dir());
    for (name, names) in [("a", "a.example"), ("b", "b.example"), ("client", "client.example")] {
        pki.issue(name, &[names]);
    }
    let proxy = setup.start();
    assert_eq!(proxy.get("/").text(), "before");
    proxy.write_config(&[SITES, PLAIN].concat());
    assert!(proxy.reload());
    assert_eq!(body(&ask(&proxy, &pki, "https://b.example/", false, &[])), (200, "b"));
    assert_eq!(body(&ask(&proxy, &pki, "http://b.example/", false, &[])), (200, "plain"));
    proxy.write_config(plain);
    assert!(proxy.reload());
    assert_eq!(proxy.get("/").text(), "before");
}
