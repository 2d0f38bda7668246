//! Fingerprints of clients by JA3 and JA4: curl and openssl have those that a second implementation, in Python, makes of their
//! first messages, wherever a text tells them.

use super::http2::h2load;
use super::support::{Client, Pki, Ringway, Setup, curl, program};
use super::tls::{HELLO, curl_to, s_client};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Stdio;

const TLS: &str = "tls = { certificate = \"a.pem\", key = \"a.key\" }\n";

/// Both, in a header of the response, in the log of requests, and in that of connections.
const HTTP: &str = r#"
routes = [{ match = { prefix = "/" }, direct_response = { status = 200 } }]
response_headers_to_add = [{ name = "x-client", value = "%TLS_JA3_FINGERPRINT% %TLS_JA4_FINGERPRINT%" }]
access_log = [{ path = "DIR/requests", format = "%TLS_JA3_FINGERPRINT% %TLS_JA4_FINGERPRINT% %PROTOCOL%" }]
"#;
const CONNECTIONS: &str = "access_log = [{ path = \"DIR/connections\", format = \"%TLS_JA3_FINGERPRINT% %TLS_JA4_FINGERPRINT% \
                           %CONNECTION_TERMINATION_DETAILS%\" }]\n";

/// One chain, whose first message nothing looks at but the handshake.
fn alone() -> String {
    format!("[[listeners]]\naddress = \"127.0.0.1:0\"\n{CONNECTIONS}{TLS}[listeners.http]{HTTP}")
}

/// Chains that are chosen by the first message; `raw.example` is for one that does not speak TLS.
fn inspected() -> String {
    let chain = |name: &str, tls: &str| {
        format!(
            "[[listeners.filter_chains]]\nmatch = {{ server_names = [\"{name}\"] }}\n{tls}[listeners.filter_chains.http]{HTTP}"
        )
    };
    let chains = [chain("a.example", TLS), chain("raw.example", "")].concat();
    format!("[[listeners]]\naddress = \"127.0.0.1:0\"\n{CONNECTIONS}{chains}")
}

/// On two shards: connections of HTTP/2 may go over to the other one.
fn start(config: &str) -> (Ringway, Pki) {
    let setup = Setup::new(config).runtime("access_log_flush_interval = \"5ms\"\nshards = 2");
    let pki = Pki::new(setup.dir());
    pki.issue("a", &["a.example"]);
    (setup.start(), pki)
}

/// The first message of what `run` connects.
pub fn first_message(run: impl FnOnce(SocketAddr) + Send) -> Vec<u8> {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::scope(|scope| {
        scope.spawn(move || run(address));
        let (mut stream, _) = listener.accept().expect("a client");
        let mut message = vec![0; 5];
        stream.read_exact(&mut message).expect("a record");
        message.resize(5 + usize::from(u16::from_be_bytes([message[3], message[4]])), 0);
        stream.read_exact(&mut message[5..]).expect("all of it");
        message
    })
}

/// Both fingerprints, by the second implementation.
pub fn expected(message: &[u8]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/tls/fingerprint.py");
    let mut python = program("python3");
    let mut child = python.arg(script).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("python3 starts");
    child.stdin.take().expect("piped").write_all(message).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let text = String::from_utf8(output.stdout).expect("text").trim().to_owned();
    assert!(output.status.success() && text.len() == 32 + 1 + 36, "{text}");
    text
}

/// curl with each protocol, of which several connections of HTTP/2 are on both shards, and openssl with each version.
#[test]
fn a_client_has_the_same_fingerprints_in_headers_and_in_both_logs() {
    for config in [alone(), inspected()] {
        let (proxy, pki) = start(&config);
        let (mut requests, mut connections) = (Vec::new(), Vec::new());
        for (protocol, version) in [("--http1.1", "HTTP/1.1"), ("--http2", "HTTP/2")] {
            let message = first_message(|address| {
                curl(&["-k", "--connect-to", &format!("::{address}"), "https://a.example/", protocol]);
            });
            let fingerprints = expected(&message);
            for _ in 0..6 {
                let answer = curl_to(&proxy, &pki, "https://a.example/", &[protocol]);
                assert_eq!(answer.status, 200);
                assert!(
                    answer.head.contains(&format!("x-client: {fingerprints}\r\n")),
                    "{fingerprints}: {}",
                    answer.head
                );
                requests.push(format!("{fingerprints} {version}"));
                connections.push(fingerprints.clone());
            }
        }
        for version in ["-tls1_2", "-tls1_3"] {
            let args = ["-servername", "a.example", "-quiet", version];
            let fingerprints = expected(&first_message(|address| drop(s_client(address, &args, b""))));
            let request = b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";
            let answer = s_client(proxy.address(0), &args, request);
            assert!(answer.contains(&format!("x-client: {fingerprints}\r\n")), "{fingerprints}: {answer}");
            requests.push(format!("{fingerprints} HTTP/1.1"));
            connections.push(fingerprints);
        }
        let sorted = |mut lines: Vec<String>| {
            lines.sort();
            lines
        };
        assert_eq!(sorted(proxy.log_lines("requests", requests.len())), sorted(requests));
        let lines = proxy.log_lines("connections", connections.len());
        let told = lines.iter().map(|line| line.rsplit_once(' ').expect("why it ended").0.to_owned());
        assert_eq!(sorted(told.collect()), sorted(connections));
    }
}

/// A connection of HTTP/2 that goes over to the other shard has its first message read again there. Rounds, since the kernel may
/// spread the connections well by chance.
#[test]
fn a_connection_that_goes_over_takes_its_fingerprints_along() {
    let (proxy, _) = start(&alone());
    let handed_over = || proxy.stat("shard.0.http2_cx_handed_over") + proxy.stat("shard.1.http2_cx_handed_over");
    let mut rounds = 0;
    while handed_over() == 0 && rounds < 40 {
        h2load(proxy.address(0), "https", &[]);
        rounds += 1;
    }
    assert!(handed_over() > 0, "none has gone over in {rounds} rounds");
    let lines = proxy.log_lines("requests", rounds * 2000);
    assert!(lines[0].len() == 32 + 1 + 36 + " HTTP/2".len() && lines[0].contains(" t13i"), "{}", lines[0]);
    assert!(lines.iter().all(|line| *line == lines[0]));
    let (known, _) = lines[0].rsplit_once(' ').expect("a protocol");
    assert!(proxy.log_lines("connections", rounds * 4).iter().all(|line| line.starts_with(known)));
}

/// Clients that are refused are those that fingerprints are wanted of.
#[test]
fn a_client_that_is_refused_has_fingerprints_too() {
    for (config, name, ending) in [
        (alone(), "a.example", "tls_handshake_failed"),
        (inspected(), "a.example", "tls_handshake_failed"),
        (inspected(), "other.example", "filter_chain_not_found"),
    ] {
        let (proxy, _) = start(&config);
        let args = ["-servername", name, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0"];
        let fingerprints = expected(&first_message(|address| drop(s_client(address, &args, b""))));
        s_client(proxy.address(0), &args, b"");
        assert_eq!(proxy.log_lines("connections", 1), [format!("{fingerprints} {ending}")]);
    }
}

/// A handshake that is not made here: its chain reads it as HTTP, and tells whose it is. Without TLS there is nothing to tell.
#[test]
fn a_chain_without_tls_tells_the_fingerprints_of_what_passes() {
    let (proxy, _) = start(&inspected().replace("raw.example", "*.example").replacen("a.example", "b.example", 1));
    let mut client = Client::open(proxy.address(0));
    client.send(HELLO);
    assert_eq!(client.response().status(), 400);
    drop(client);
    let fingerprints = expected(HELLO);
    assert!(proxy.log_lines("requests", 1)[0].starts_with(&fingerprints));
    assert!(proxy.log_lines("connections", 1)[0].starts_with(&fingerprints));
    let (proxy, _) = start(&format!("[[listeners]]\naddress = \"127.0.0.1:0\"\n{CONNECTIONS}[listeners.http]{HTTP}"));
    assert_eq!(proxy.get("/").status(), 200);
    assert_eq!(proxy.log_lines("requests", 1), ["- - HTTP/1.1"]);
}

/// Connections that stand have none yet: nothing was computed for them.
#[test]
fn a_reload_brings_them_to_new_connections() {
    let config = alone();
    let asked_first: String = config.replace("%TLS_JA3_FINGERPRINT% %TLS_JA4_FINGERPRINT%", "-");
    let (proxy, pki) = start(&asked_first);
    assert!(curl_to(&proxy, &pki, "https://a.example/", &["--http1.1"]).head.contains("x-client: -\r\n"));
    proxy.write_config(&config);
    assert!(proxy.reload());
    let message = first_message(|address| {
        curl(&["-k", "--connect-to", &format!("::{address}"), "https://a.example/", "--http1.1"]);
    });
    let answer = curl_to(&proxy, &pki, "https://a.example/", &["--http1.1"]);
    assert!(answer.head.contains(&format!("x-client: {}\r\n", expected(&message))), "{}", answer.head);
}
