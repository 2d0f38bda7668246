//! TLS to endpoints: handshakes that hang, the authorities of the system, the name that is verified where none is written, and
//! signatures that take long.

use super::cli::ringway;
use super::support::{Client, PATIENCE, Pki, Ringway, Setup, eventually, must_run, program};
use super::tls::{egress, secure_origin, telling};
use rcgen::{KeyPair, RsaKeySize};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::mpsc::{Receiver, channel};

/// An endpoint that reads the first message, answers it with these bytes, and waits. It tells what has come before the connection's end.
fn hanging(answer: &'static [u8]) -> (SocketAddr, Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("bound");
    let (sender, told) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            stream.set_read_timeout(Some(PATIENCE)).expect("SO_RCVTIMEO");
            stream.write_all(answer).expect("there is room");
            let mut all = Vec::new();
            // A reset is an end, too: what was answered may not have been read.
            let _ = stream.read_to_end(&mut all);
            if sender.send(all).is_err() {
                return;
            }
        }
    });
    (address, told)
}

/// The header of a record with a ServerHello of 118 bytes, and the first half of it.
const HALF_A_HELLO: &[u8] = &[
    22, 3, 3, 0, 122, 2, 0, 0, 118, 3, 3, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,
    22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 32,
];

const FORMAT: &str = "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %UPSTREAM_TRANSPORT_FAILURE_REASON%";

/// It fails as a connect that hangs, and the log says that it was the handshake.
#[test]
fn connect_timeout_covers_the_handshake() {
    for answer in [&[][..], HALF_A_HELLO] {
        let (address, told) = hanging(answer);
        let setup = Setup::new("");
        Pki::new(setup.dir());
        let config = format!(
            r#"
[[listeners]]
address = "127.0.0.1:0"
http.access_log = [{{ path = "DIR/log", format = "{FORMAT}" }}]
http.routes = [{{ match = {{ prefix = "/" }}, route = {{ cluster = "app" }} }}]
[[clusters]]
name = "app"
connect_timeout = "2s"
endpoints = ["{address}"]
tls = {{ sni = "origin.example", ca = "ca.pem" }}
"#
        );
        let proxy = setup.replace_config(&config).runtime("access_log_flush_interval = \"5ms\"").start();
        let answer = Client::open(proxy.address(0)).get("/");
        let words = "upstream connect error or disconnect/reset before headers. reset reason: connection timeout";
        assert_eq!((answer.status(), answer.text()), (503, words));
        assert_eq!(
            proxy.log_lines("log", 1)[0],
            "503 UF upstream_reset_before_response_started{connection_timeout} TLS: the handshake took too long"
        );
        let first = told.recv_timeout(PATIENCE).expect("the proxy ends the connection");
        assert!(first.starts_with(&[22, 3, 1]), "it was in the handshake: {first:?}");
        let stat = |name: &str| proxy.stat(&format!("cluster.app.{name}"));
        let counted = ["upstream_cx_connect_timeout", "upstream_cx_connect_fail", "upstream_rq_pending_failure_eject"];
        assert_eq!(counted.map(stat), [1; 3]);
        let not = [
            "ssl.handshake",
            "ssl.connection_error",
            "upstream_cx_total",
            "upstream_cx_active",
            "upstream_rq_pending_active",
        ];
        assert_eq!(not.map(stat), [0, 0, 0, 0, 0], "{not:?}");
    }
}

/// The next endpoint gets the request, as after each connect that failed.
#[test]
fn a_handshake_that_hangs_is_tried_elsewhere() {
    let setup = Setup::new("");
    let pki = Pki::new(setup.dir());
    pki.issue("origin", &["origin.example"]);
    let (good, (hangs, _told)) = (secure_origin(&pki, ""), hanging(HALF_A_HELLO));
    let config = format!(
        r#"
[[listeners]]
address = "127.0.0.1:0"
http.access_log = [{{ path = "DIR/log", format = "%RESPONSE_CODE% %UPSTREAM_HOST% %UPSTREAM_TRANSPORT_FAILURE_REASON%" }}]
http.routes = [{{ match = {{ prefix = "/" }}, route = {{ cluster = "app", retry_policy = {{ retry_on = ["connect-failure"], num_retries = 1, retry_host_predicate = ["previous_hosts"], host_selection_retry_max_attempts = 10 }} }} }}]
[[clusters]]
name = "app"
connect_timeout = "2s"
endpoints = ["{hangs}", "{}"]
tls = {{ sni = "origin.example", ca = "ca.pem" }}
"#,
        good.address
    );
    let proxy = setup.replace_config(&config).runtime("access_log_flush_interval = \"5ms\"").start();
    let mut client = Client::open(proxy.address(0));
    for _ in 0..2 {
        assert_eq!(client.get("/").status(), 200);
    }
    let expected = format!("200 {} -", good.address);
    assert_eq!(proxy.log_lines("log", 2), [&*expected; 2]);
    let timeouts = proxy.stat("cluster.app.upstream_cx_connect_timeout");
    assert!((1..=2).contains(&timeouts), "in turns, one of the two began with it at least: {timeouts}");
}

/// What openssl calls a directory of authorities: each under the hash of its name.
fn hashed(pki: &Pki) -> tempfile::TempDir {
    let dir = tempfile::tempdir().expect("a directory");
    let hash = must_run(program("openssl").args(["x509", "-noout", "-hash", "-in", &pki.path("ca.pem")]));
    std::fs::copy(pki.path("ca.pem"), dir.path().join(format!("{}.0", hash.trim()))).expect("copied");
    dir
}

/// SSL_CERT_FILE and SSL_CERT_DIR, as for OpenSSL: instead of the system's authorities.
#[test]
fn the_environment_says_which_authorities_the_system_trusts() {
    let (theirs, ours) = (tempfile::tempdir().expect("a directory"), tempfile::tempdir().expect("a directory"));
    let (strangers, pki) = (Pki::new(theirs.path()), Pki::new(ours.path()));
    pki.issue("origin", &["origin.example"]);
    let origin = secure_origin(&pki, "");
    let (own, other) = (hashed(&pki), hashed(&strangers));
    let path = |dir: &tempfile::TempDir| dir.path().display().to_string();
    let (file, dir) = ("SSL_CERT_FILE", "SSL_CERT_DIR");
    let cases: [(&[(&str, String)], u16); 6] = [
        (&[(file, pki.path("ca.pem"))], 200),
        (&[(dir, path(&own))], 200),
        (&[(file, strangers.path("ca.pem")), (dir, path(&own))], 200),
        (&[(file, strangers.path("ca.pem"))], 503),
        (&[(dir, path(&other))], 503),
        (&[], 503),
    ];
    for (environment, status) in cases {
        let setup = environment.iter().fold(Setup::new(""), |setup, (name, value)| setup.environment(name, value));
        let proxy = egress(setup, origin.address, &["sni = \"origin.example\""]);
        assert_eq!(Client::open(proxy.address(0)).get("/").status(), status, "{environment:?}");
        if status == 503 {
            let line = proxy.log_lines("log0", 1).remove(0);
            assert!(line.contains("no trusted authority has issued it (UnknownIssuer)"), "{line}");
        }
    }
}

/// A store without authorities would refuse every endpoint: that is said beforehand, with its place.
#[test]
fn a_system_without_authorities_is_refused_by_check() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("ringway.toml");
    let text = "[[listeners]]\naddress = \"127.0.0.1:0\"\nhttp.routes = [{ match = { prefix = \"/\" }, route = { cluster = \"c\" } }]\n\
                [[clusters]]\nname = \"c\"\nendpoints = [\"127.0.0.1:1\"]\ntls = { sni = \"origin.example\" }\n";
    std::fs::write(&config, text).expect("written");
    std::fs::write(dir.path().join("empty.pem"), "").expect("written");
    for name in ["none.pem", "empty.pem"] {
        let mut check = program(env!("CARGO_BIN_EXE_ringway"));
        check.arg("check").arg(&config).env_remove("SSL_CERT_DIR").env("SSL_CERT_FILE", dir.path().join(name));
        let output = check.output().expect("it runs");
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains("ringway.toml:7:") && told.contains("has no certificate authorities"), "{told}");
    }
}

/// Without `sni`: the endpoint's name, else its address, which is not asked for.
#[test]
fn the_name_that_is_verified_is_the_endpoints_own() {
    let setup = Setup::new("");
    let pki = Pki::new(setup.dir());
    for (file, name) in [("name", "localhost"), ("address", "127.0.0.1"), ("other", "127.0.0.2")] {
        pki.issue(file, &[name]);
    }
    let origins = ["name", "address", "other"].map(|file| telling(&pki, file, "[$ssl_server_name]", ""));
    // Which certificate, how the endpoint is written, and what comes of it.
    let by_address = "endpoints = [\"127.0.0.1:PORT\"]";
    let by_name = "discovery = \"strict_dns\"\ndns_lookup_family = \"v4_only\"\nendpoints = [\"localhost:PORT\"]";
    let logical = "discovery = \"logical_dns\"\ndns_lookup_family = \"v4_only\"\nendpoints = [\"localhost:PORT\"]";
    let named = "endpoints = [{ address = \"127.0.0.1:PORT\", hostname = \"localhost\" }]";
    let cases = [
        (1, by_address, Ok("[]")),
        (2, by_address, Err("127.0.0.1")),
        (0, by_address, Err("127.0.0.1")),
        (0, by_name, Ok("[localhost]")),
        (0, logical, Ok("[localhost]")),
        (0, named, Ok("[localhost]")),
        // The address of a name is not what was asked for.
        (1, by_name, Err("localhost")),
        (1, logical, Err("localhost")),
        (1, named, Err("localhost")),
    ];
    let mut config = String::new();
    for (index, (origin, endpoint, _)) in cases.iter().enumerate() {
        let endpoint = endpoint.replace("PORT", &origins[*origin].address.port().to_string());
        config += &format!(
            "[[listeners]]\naddress = \"127.0.0.{}:0\"\n\
             http.access_log = [{{ path = \"DIR/log{index}\", format = \"%RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON%\" }}]\n\
             http.routes = [{{ match = {{ prefix = \"/\" }}, route = {{ cluster = \"c{index}\" }} }}]\n\
             [[clusters]]\nname = \"c{index}\"\n{endpoint}\ntls = {{ ca = \"ca.pem\" }}\n",
            index + 1
        );
    }
    let proxy = setup.replace_config(&config).runtime("access_log_flush_interval = \"5ms\"").start();
    for (index, (origin, endpoint, expected)) in cases.iter().enumerate() {
        let answer = Client::open(proxy.address(index)).get("/");
        let failed = proxy.stat(&format!("cluster.c{index}.ssl.fail_verify_san"));
        match expected {
            Ok(name) => assert_eq!((answer.status(), answer.text(), failed), (200, *name, 0), "{origin} {endpoint}"),
            Err(name) => {
                assert_eq!((answer.status(), failed), (503, 1), "{origin} {endpoint}");
                let line = proxy.log_lines(&format!("log{index}"), 1).remove(0);
                assert!(line.starts_with("UF TLS: ") && line.contains("(NotValidForName)"), "{line}");
                assert!(line.contains(name), "{line}");
            }
        }
    }
}

/// How often the threads for signatures have gone to sleep: at least once for each signature.
fn signed(proxy: &Ringway) -> u64 {
    let is_worker = |name: &str| name.starts_with("worker-") || name.starts_with("helper-");
    proxy.wakeups().iter().filter(|(name, _)| is_worker(name)).map(|(_, count)| count).sum()
}

/// A signature with RSA-4096 takes milliseconds, which a shard does not have.
#[test]
fn signatures_for_endpoints_are_computed_on_the_threads_for_them() {
    let setup = Setup::new("");
    let pki = Pki::new(setup.dir());
    pki.issue("origin", &["origin.example"]);
    pki.issue("quick", &["proxy.example"]);
    let rsa = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_4096).expect("a key");
    pki.issue_with("slow", &["proxy.example"], &rsa);
    let origin = secure_origin(&pki, &format!("ssl_client_certificate {}; ssl_verify_client on;", pki.path("ca.pem")));
    let known = "sni = \"origin.example\", ca = \"ca.pem\", session_resumption = false";
    let of = |name: &str, version: &str| {
        format!("{known}, max_version = \"{version}\", certificate = \"{name}.pem\", key = \"{name}.key\"")
    };
    let proxy = egress(
        setup,
        origin.address,
        &[&of("quick", "1.3"), &of("slow", "1.3"), &of("quick", "1.2"), &of("slow", "1.2")],
    );
    let get = |index: usize| {
        for _ in 0..3 {
            let answer = Client::open(proxy.address(index)).get("/");
            assert_eq!(answer.status(), 200, "the endpoint takes the certificate: {}", answer.text());
        }
    };
    for (quick, slow) in [(0, 1), (2, 3)] {
        // What a thread has still to do for an earlier signature may come in between.
        eventually("signatures with P-256 need no thread", || {
            let before = signed(&proxy);
            get(quick);
            signed(&proxy) == before
        });
        let before = signed(&proxy);
        get(slow);
        eventually("each signature with RSA has woken one", || signed(&proxy) >= before + 3);
        assert_eq!(proxy.stat(&format!("cluster.c{slow}.ssl.handshake")), 3);
    }
}

/// `own.key` with a certificate, `own.pem`, as openssl makes them.
fn self_signed(dir: &Path, kind: &str) {
    let [key, certificate] = ["own.key", "own.pem"].map(|name| dir.join(name));
    let mut openssl = program("openssl");
    openssl.args(["req", "-x509", "-newkey", kind, "-nodes", "-days", "30", "-subj", "/CN=a.example", "-keyout"]);
    must_run(openssl.arg(key).args(["-addext", "subjectAltName=DNS:a.example", "-out"]).arg(certificate));
}

/// A key of one's own that is too short for the peers to trust it.
#[test]
fn a_key_of_1024_bits_is_refused_by_check_and_at_the_start() {
    let dir = tempfile::tempdir().expect("a directory");
    self_signed(dir.path(), "rsa:1024");
    let config = dir.path().join("ringway.toml");
    let text = "[[listeners]]\naddress = \"127.0.0.1:0\"\ntls = { certificate = \"own.pem\", key = \"own.key\" }\n\
                http.routes = [{ match = { prefix = \"/\" }, direct_response = { status = 200 } }]\n";
    std::fs::write(&config, text).expect("written");
    let file = config.to_str().expect("text");
    for (command, code) in [("check", 1), ("run", 3)] {
        let output = ringway(&[command, file]);
        let told = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{told}");
        let words = "own.key has 1024 bits, which is too short to be safe: at least 2048 are needed";
        assert!(told.contains("ringway.toml:3:") && told.contains(words), "{told}");
    }
    // As openssl req -x509 makes it: of an authority, which is a warning.
    self_signed(dir.path(), "rsa:2048");
    for (strict, code) in [("--portable", 0), ("--strict", 1)] {
        let output = ringway(&["check", strict, file]);
        assert_eq!(output.status.code(), Some(code), "{output:?}");
    }
    let told = String::from_utf8_lossy(&ringway(&["check", file]).stderr).into_owned();
    assert!(told.contains("warning: ") && told.contains("ringway.toml:3:"), "{told}");
    assert!(told.contains("own.pem says that it is an authority (CA:TRUE)"), "{told}");
}
