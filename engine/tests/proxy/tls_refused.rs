//! Endpoints that do not take the proxy's certificate. In TLS 1.3 they say so when the proxy's side of the handshake is over and the
//! request is on its way.

use super::support::{Client, Pki, Setup, eventually, program};
use super::tls::{egress, secure_origin};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Stdio};

/// Python's server of TLS, as origin.example, which asks for a certificate of the authority.
struct Picky {
    address: SocketAddr,
    child: Child,
}

const SCRIPT: &str = r#"
import socket, ssl, sys, threading
cert, key, ca, version = sys.argv[1:]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(cert, key)
context.load_verify_locations(ca)
context.verify_mode = ssl.CERT_REQUIRED
context.maximum_version = ssl.TLSVersion[version]
def serve(client):
    try:
        with context.wrap_socket(client, server_side=True) as stream:
            while stream.recv(65536):
                stream.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\npicky")
    except OSError:
        pass
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
while True:
    client, _ = listener.accept()
    threading.Thread(target=serve, args=(client,), daemon=True).start()
"#;

impl Picky {
    fn start(pki: &Pki, version: &str) -> Self {
        let files = ["origin.pem", "origin.key", "ca.pem"].map(|file| pki.path(file));
        let mut python = program("python3");
        python.args(["-c", SCRIPT]).args(files).arg(version).stdout(Stdio::piped());
        let mut child = python.spawn().expect("python3 starts");
        let mut port = String::new();
        BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut port).expect("it listens");
        let port: u16 = port.trim().parse().expect("a port");
        Self { address: SocketAddr::from(([127, 0, 0, 1], port)), child }
    }
}

impl Drop for Picky {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn pki(setup: &Setup) -> Pki {
    let pki = Pki::new(setup.dir());
    pki.issue("origin", &["origin.example"]);
    pki.issue("me", &["proxy.example"]);
    pki
}

const KNOWN: &str = "sni = \"origin.example\", ca = \"ca.pem\"";
const SHOWN: &str = "certificate = \"me.pem\", key = \"me.key\"";

/// The same in both versions, whether a certificate is missing or of a stranger.
#[test]
fn a_refused_certificate_is_a_failed_connection_that_says_why() {
    for (version, missing) in [("TLSv1_3", "CertificateRequired"), ("TLSv1_2", "HandshakeFailure")] {
        let setup = Setup::new("");
        let pki = pki(&setup);
        let strangers = tempfile::tempdir().expect("a directory");
        let strangers = Pki::new(strangers.path());
        strangers.issue("other", &["proxy.example"]);
        let other =
            format!("certificate = \"{}\", key = \"{}\"", strangers.path("other.pem"), strangers.path("other.key"));
        let picky = Picky::start(&pki, version);
        let proxy = egress(setup, picky.address, &[&format!("{KNOWN}, {SHOWN}"), KNOWN, &format!("{KNOWN}, {other}")]);
        let answer = Client::open(proxy.address(0)).get("/");
        assert_eq!((answer.status(), answer.text()), (200, "picky"), "{version}");
        for (index, alert) in [(1, missing), (2, "UnknownCA")] {
            let answer = Client::open(proxy.address(index)).get("/");
            let told =
                "upstream connect error or disconnect/reset before headers. reset reason: remote connection failure";
            assert_eq!((answer.status(), answer.text()), (503, told), "{version}");
            let line = proxy.log_lines(&format!("log{index}"), 1).remove(0);
            assert_eq!(line, format!("503 UF TLS: received fatal alert: {alert}"), "{version}");
            let stat = |name: &str| proxy.stat(&format!("cluster.c{index}.{name}"));
            assert_eq!((stat("ssl.connection_error"), stat("upstream_rq_pending_failure_eject")), (1, 1), "{version}");
        }
        assert_eq!(proxy.stat("cluster.c0.ssl.connection_error"), 0);
    }
}

/// The details say it, and what clients are told is for the configuration to say.
#[test]
fn a_local_reply_may_tell_clients_why() {
    let setup = Setup::new("");
    let pki = pki(&setup);
    let picky = Picky::start(&pki, "TLSv1_3");
    let config = format!(
        r#"
[[listeners]]
address = "127.0.0.1:0"
[listeners.http]
access_log = [{{ path = "DIR/log", format = "%RESPONSE_CODE_DETAILS%" }}]
routes = [{{ match = {{ prefix = "/" }}, route = {{ cluster = "app" }} }}]
[[listeners.http.local_reply]]
filter = {{ response_flags = ["UF"] }}
format = "%LOCAL_REPLY_BODY%, transport failure reason: %UPSTREAM_TRANSPORT_FAILURE_REASON%"
[[clusters]]
name = "app"
endpoints = ["{}"]
tls = {{ {KNOWN} }}
"#,
        picky.address
    );
    let proxy = setup.replace_config(&config).runtime("access_log_flush_interval = \"5ms\"").start();
    let answer = Client::open(proxy.address(0)).get("/");
    let told = "reset reason: remote connection failure, transport failure reason: TLS: received fatal alert: CertificateRequired";
    assert!(answer.status() == 503 && answer.text().ends_with(told), "{}", answer.text());
    let details = "upstream_reset_before_response_started{remote_connection_failure|TLS:_received_fatal_alert:_CertificateRequired}";
    assert_eq!(proxy.log_lines("log", 1)[0], details);
}

/// The endpoint has not read the request, so that another one may get it, whatever its method.
#[test]
fn a_refused_request_is_sent_again_as_after_a_failed_connect() {
    let setup = Setup::new("");
    let pki = pki(&setup);
    let (picky, good) = (Picky::start(&pki, "TLSv1_3"), secure_origin(&pki, ""));
    let policy = "retry_on = [\"connect-failure\"], retry_host_predicate = [\"previous_hosts\"], host_selection_retry_max_attempts = 10";
    let config = format!(
        r#"
[[listeners]]
address = "127.0.0.1:0"
http.access_log = [{{ path = "DIR/log", format = "%RESPONSE_CODE% %UPSTREAM_REQUEST_ATTEMPT_COUNT% %UPSTREAM_TRANSPORT_FAILURE_REASON%" }}]
http.routes = [{{ match = {{ prefix = "/" }}, route = {{ cluster = "app", retry_policy = {{ {policy} }} }} }}]
[[clusters]]
name = "app"
endpoints = ["{0}", "{1}"]
tls = {{ {KNOWN} }}
[[clusters]]
name = "checked"
endpoints = ["{0}"]
tls = {{ {KNOWN} }}
health_checks = [{{ http.path = "/", interval = "20ms", no_traffic_interval = "20ms" }}]
"#,
        picky.address, good.address
    );
    let proxy = setup.replace_config(&config).runtime("access_log_flush_interval = \"5ms\"").start();
    let failure =
        format!("checked::{}::health_check_failure::TLS: received fatal alert: CertificateRequired", picky.address);
    eventually("its check says why", || proxy.admin("GET", "/clusters").text().contains(&failure));
    assert!(proxy.stat("cluster.checked.ssl.connection_error") > 0, "and the statistics of the cluster count it");
    let mut client = Client::open(proxy.address(0));
    for _ in 0..4 {
        client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody");
        assert_eq!(client.response().status(), 200);
    }
    let lines = proxy.log_lines("log", 4);
    let is_again = |line: &&String| **line == "200 2 -";
    assert!(lines.iter().any(|line| is_again(&line)), "{lines:?}");
    assert!(
        lines.iter().all(|line| is_again(&line) || line == "200 1 -"),
        "what failed is not the reason of what went well: {lines:?}"
    );
    assert_eq!(proxy.stat("cluster.app.upstream_rq_retry_success"), proxy.stat("cluster.app.upstream_rq_retry"));
}
