//! TLS on both sides, with curl, openssl and nginx at the other ends.

use super::cli::ringway;
use super::support::{
    Client, Curl, Nginx, Origin, PATIENCE, Pki, Ringway, Setup, curl, eventually, forwarding, pattern, program,
    response,
};
use rcgen::{KeyPair, RsaKeySize};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Stdio};
use std::sync::Arc;

/// A proxy that speaks TLS with its clients, as a.example, and plain HTTP with `origin`. `tls` are more keys of its table.
pub(super) fn front(origin: SocketAddr, tls: &str, http: &str) -> (Ringway, Pki) {
    let setup = Setup::new(&secured(origin, &format!("certificate = \"a.pem\", key = \"a.key\"{tls}"), http));
    let pki = Pki::new(setup.dir());
    pki.issue("a", &["a.example"]);
    pki.issue("client", &["client.example"]);
    (setup.start(), pki)
}

/// `forwarding`, and its listener speaks TLS: `tls` are all keys of its table.
pub fn secured(origin: SocketAddr, tls: &str, http: &str) -> String {
    forwarding(origin, http).replace("[listeners.http]", &format!("tls = {{ {tls} }}\n[listeners.http]"))
}

/// A member of `certificates`.
pub fn pair(name: &str) -> String {
    format!("{{ certificate = \"{name}.pem\", key = \"{name}.key\" }}")
}

/// curl to a name, at the proxy's first listener.
pub fn curl_to(proxy: &Ringway, pki: &Pki, url: &str, more: &[&str]) -> Curl {
    let (ca, to) = (pki.path("ca.pem"), format!("::{}", proxy.addresses[0]));
    curl(&[&["--cacert", &ca, "--connect-to", &to, url], more].concat())
}

/// The same with a certificate of the client: `name` of those in `from`.
pub fn curl_as(proxy: &Ringway, pki: &Pki, url: &str, (from, name): (&Pki, &str), more: &[&str]) -> Curl {
    let (cert, key) = (from.path(&format!("{name}.pem")), from.path(&format!("{name}.key")));
    curl_to(proxy, pki, url, &[&["--cert", &cert, "--key", &key], more].concat())
}

/// A first message of openssl, which asks for a.example.
pub const HELLO: &[u8] = include_bytes!("../../fuzz/corpus/client_hello/openssl");

/// The certificate that a new connection gets.
pub fn shown(proxy: &Ringway) -> String {
    let text = s_client(proxy.address(0), &["-servername", "a.example", "-showcerts"], b"");
    let start = text.find("-----BEGIN CERTIFICATE-----").expect("a certificate");
    text[start..text[start..].find("-----END").expect("its end") + start].to_owned()
}

/// What openssl says about a handshake, with `input` as what it sends.
pub fn s_client(address: SocketAddr, args: &[&str], input: &[u8]) -> String {
    let mut child = openssl(address, args);
    child.stdin.take().expect("piped").write_all(input).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A client of the library, which asks the proxy's first listener for `name`.
pub fn rustls_to(
    proxy: &Ringway,
    pki: &Pki,
    name: &'static str,
    alpn: &[u8],
) -> StreamOwned<ClientConnection, TcpStream> {
    rustls_with(proxy, &rustls_trusting(pki, alpn), name)
}

/// What such clients know: with the same, a later one goes on with the session of an earlier one.
pub fn rustls_trusting(pki: &Pki, alpn: &[u8]) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(pki.path("ca.pem")).expect("a certificate")).expect("an authority");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut config = config.expect("versions").with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![alpn.to_vec()];
    Arc::new(config)
}

pub fn rustls_with(
    proxy: &Ringway,
    config: &Arc<ClientConfig>,
    name: &str,
) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    let tls = ClientConnection::new(config.clone(), name).expect("a client");
    let stream = TcpStream::connect(proxy.address(0)).expect("connected");
    stream.set_read_timeout(Some(PATIENCE)).expect("SO_RCVTIMEO");
    StreamOwned::new(tls, stream)
}

pub fn openssl(address: SocketAddr, args: &[&str]) -> Child {
    let mut command = program("openssl");
    command.args(["s_client", "-connect", &address.to_string()]).args(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("openssl starts")
}

pub fn hello() -> Origin {
    Origin::answering(|request| response(200, &[], request.field("x-forwarded-proto").unwrap_or("")))
}

#[test]
fn curl_speaks_https_with_each_version() {
    let origin = hello();
    let format = "%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_CIPHER% %DOWNSTREAM_TLS_GROUP% %REQUESTED_SERVER_NAME%";
    let (proxy, pki) =
        front(origin.address, "", &format!("access_log = [{{ path = \"DIR/log\", format = \"{format}\" }}]"));
    for version in [&["--tlsv1.3"][..], &["--tls-max", "1.2"], &["--http1.0"], &["--no-alpn"]] {
        let answer = curl_to(&proxy, &pki, "https://a.example/", version);
        assert_eq!((answer.status, &*answer.body), (200, &b"https"[..]), "{version:?}: {answer:?}");
    }
    let old = curl_to(&proxy, &pki, "https://a.example/", &["--tls-max", "1.1", "--ciphers", "DEFAULT@SECLEVEL=0"]);
    assert_eq!((old.status, old.exit), (0, 35), "{old:?}");
    let lines = proxy.log_lines("log", 4);
    assert_eq!(lines[0], "TLSv1.3 TLS_AES_128_GCM_SHA256 X25519 a.example");
    assert_eq!(lines[1], "TLSv1.2 ECDHE-ECDSA-AES128-GCM-SHA256 X25519 a.example");
    let stat = |name: &str| proxy.stat(&format!("listener.main.ssl.{name}"));
    assert_eq!((stat("handshake"), stat("connection_error"), stat("no_certificate")), (4, 1, 4));
    assert_eq!((stat("versions.TLSv1.3"), stat("versions.TLSv1.2")), (3, 1));
    assert_eq!((stat("ciphers.TLS_AES_128_GCM_SHA256"), stat("curves.X25519")), (3, 4));
}

#[test]
fn long_bodies_go_through_whole_in_both_directions() {
    let body = pattern(3_000_000);
    let expected = body.clone();
    let origin = Origin::answering(move |request| match request.body.is_empty() {
        true => response(200, &[], &expected),
        false => response(200, &[], &request.body),
    });
    let (proxy, pki) = front(origin.address, "", "");
    let file = proxy.file("upload");
    std::fs::write(&file, &body).expect("written");
    let upload = format!("@{}", file.display());
    for version in ["--tlsv1.3", "--tlsv1.2"] {
        let down = curl_to(&proxy, &pki, "https://a.example/", &[version]);
        assert!(down.status == 200 && down.body == body);
        let echo = curl_to(&proxy, &pki, "https://a.example/", &[version, "--data-binary", &upload, "-H", "expect:"]);
        assert!(echo.status == 200 && echo.body == body);
        let headers = ["transfer-encoding: chunked", "expect:"];
        let chunked = [version, "--data-binary", &upload, "-H", headers[0], "-H", headers[1]];
        let echo = curl_to(&proxy, &pki, "https://a.example/", &chunked);
        assert!(echo.status == 200 && echo.body == body);
    }
}

#[test]
fn plain_http_is_told_what_the_port_speaks() {
    let origin = hello();
    let (proxy, _) = front(origin.address, "", "");
    let answer = proxy.get("/");
    assert_eq!(answer.status(), 400);
    assert!(answer.text().contains("speaks HTTPS"), "{}", answer.text());
    let mut silent = Client::open(proxy.address(0));
    silent.send(b"\0\0\0\0");
    silent.expect_end();
    proxy.wait_for_stat("listener.main.ssl.connection_error", 2);
}

#[test]
fn sessions_are_resumed_and_keys_are_updated() {
    let origin = hello();
    let (proxy, pki) = front(origin.address, "", "");
    let session = pki.path("session");
    let request = b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";
    for version in ["-tls1_3", "-tls1_2"] {
        let common = [version, "-servername", "a.example", "-ign_eof"];
        let first = s_client(proxy.address(0), &[&common[..], &["-sess_out", &session]].concat(), request);
        assert!(first.contains("New, TLSv1"), "{first}");
        let second = s_client(proxy.address(0), &[&common[..], &["-sess_in", &session]].concat(), request);
        assert!(second.contains("Reused, TLSv1") && second.contains("HTTP/1.1 200"), "{second}");
    }
    assert_eq!(proxy.stat("listener.main.ssl.session_reused"), 2);
    // `K` and `k` at the start of what is read at a time ask for new keys, of both sides and of this one.
    let command = format!("openssl s_client -connect {} -tls1_3 -servername a.example 2>&1", proxy.address(0));
    let mut child = program("sh").args(["-c", &command]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let child = child.as_mut().expect("it starts");
    let (mut input, mut out) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    let mut seen = String::new();
    let mut say = |text: &[u8], answer: &str, count: usize| {
        input.write_all(text).expect("it reads");
        let mut chunk = [0; 4096];
        while seen.matches(answer).count() < count {
            let n = out.read(&mut chunk).expect("it writes");
            assert!(n > 0, "{seen}");
            seen += &String::from_utf8_lossy(&chunk[..n]);
        }
    };
    for round in 0..3 {
        say(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", "HTTP/1.1 200", round + 1);
        say(b"K\n", "KEYUPDATE", 2 * round + 1);
        say(b"k\n", "KEYUPDATE", 2 * round + 2);
    }
    say(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", "HTTP/1.1 200", 4);
    drop(input);
    let _ = child.kill();
    let _ = child.wait();
}

#[test]
fn clients_show_who_they_are() {
    let origin = hello();
    let (proxy, pki) = front(origin.address, ", client_certificate = { ca = \"ca.pem\" }", "");
    let refused = curl_to(&proxy, &pki, "https://a.example/", &[]);
    assert_eq!((refused.status, refused.exit), (0, 56), "{refused:?}");
    let (cert, key) = (pki.path("client.pem"), pki.path("client.key"));
    for version in ["--tlsv1.3", "--tls-max"] {
        let mut args = vec![version];
        args.extend((version == "--tls-max").then_some("1.2"));
        assert_eq!(curl_as(&proxy, &pki, "https://a.example/", (&pki, "client"), &args).status, 200);
    }
    proxy.wait_for_stat("listener.main.ssl.fail_verify_no_cert", 1);
    assert_eq!(proxy.stat("listener.main.ssl.no_certificate"), 0);
    // The certificate of a session that goes on would not be looked at, so none goes on.
    let session = pki.path("session");
    let args = ["-cert", &cert, "-key", &key, "-ign_eof"];
    let request = b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";
    s_client(proxy.address(0), &[&args[..], &["-sess_out", &session]].concat(), request);
    let again = s_client(proxy.address(0), &[&args[..], &["-sess_in", &session]].concat(), request);
    assert!(!again.contains("Reused, "), "{again}");
}

#[test]
fn the_name_decides_on_the_certificate_and_the_client_on_its_kind() {
    let origin = hello();
    let certificates = ["rsa", "a", "wild"].map(pair).join(", ");
    let tls = format!("strict_sni = true, certificates = [{certificates}]");
    let setup = Setup::new(&secured(origin.address, &tls, ""));
    let pki = Pki::new(setup.dir());
    pki.issue("a", &["a.example"]);
    pki.issue("wild", &["*.wild.example"]);
    let rsa = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key");
    pki.issue_with("rsa", &["a.example"], &rsa);
    let proxy = setup.start();
    for name in ["a.example", "x.wild.example", "X.WILD.example"] {
        assert_eq!(curl_to(&proxy, &pki, &format!("https://{name}/"), &[]).status, 200, "{name}");
    }
    for name in ["b.example", "x.y.wild.example", "127.0.0.1"] {
        let refused = curl_to(&proxy, &pki, &format!("https://{name}/"), &["-k"]);
        assert_eq!((refused.status, refused.exit), (0, 35), "{name}: {refused:?}");
    }
    let kind = |args: &[&str]| {
        let text = s_client(proxy.address(0), &[&["-servername", "a.example"], args].concat(), b"");
        let line = text.lines().find_map(|line| line.trim().strip_prefix("Peer signature type: "));
        line.unwrap_or_else(|| panic!("{text}")).to_owned()
    };
    assert_eq!(kind(&[]), "ECDSA");
    assert_eq!(kind(&["-sigalgs", "RSA-PSS+SHA256"]), "RSA-PSS");
    assert_eq!(kind(&["-tls1_2", "-cipher", "ECDHE-RSA-AES128-GCM-SHA256"]), "RSA-PSS");
}

/// nginx with a certificate for origin.example.
pub(super) fn secure_origin(pki: &Pki, more: &str) -> Nginx {
    telling(pki, "origin", "$ssl_protocol $ssl_server_name $ssl_session_reused $ssl_client_s_dn", more)
}

/// nginx with a certificate from this file, which answers with what it makes of `told`.
pub(super) fn telling(pki: &Pki, certificate: &str, told: &str, more: &str) -> Nginx {
    let [cert, key] = ["pem", "key"].map(|end| pki.path(&format!("{certificate}.{end}")));
    Nginx::start(&format!(
        "ssl_certificate {cert}; ssl_certificate_key {key}; ssl_protocols TLSv1.2 TLSv1.3; {more}
        location / {{ return 200 \"{told}\"; }}"
    ))
}

/// A proxy that speaks plain HTTP with its clients and TLS with the origin; `tls` are the keys of its table.
pub(super) fn egress(dir: Setup, origin: SocketAddr, tls: &[&str]) -> Ringway {
    let mut config = String::new();
    for (index, tls) in tls.iter().enumerate() {
        let host = index + 1;
        config += &format!(
            r#"
[[listeners]]
address = "127.0.0.{host}:0"
http.access_log = [{{ path = "DIR/log{index}", format = "%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON%" }}]
http.routes = [{{ match = {{ prefix = "/" }}, route = {{ cluster = "c{index}" }} }}]
[[clusters]]
name = "c{index}"
max_requests_per_connection = 1
endpoints = ["{origin}"]
tls = {{ {tls} }}
"#
        );
    }
    dir.replace_config(&config).runtime("access_log_flush_interval = \"5ms\"").start()
}

/// A proxy that asks its clients for certificates, and whose second listener leads to `secure_origin`; `trusted`: the keys of
/// both that say which authorities count.
pub(super) fn verifying(setup: Setup, pki: &Pki, trusted: &str) -> (Ringway, Nginx) {
    for name in ["a", "client", "origin"] {
        pki.issue(name, &[&format!("{name}.example")]);
    }
    let origin = secure_origin(pki, "");
    let config = format!(
        r#"
[[listeners]]
address = "127.0.0.1:0"
stat_prefix = "main"
tls = {{ certificate = "a.pem", key = "a.key", client_certificate = {{ {trusted} }} }}
http.routes = [{{ match = {{ prefix = "/" }}, direct_response = {{ status = 200 }} }}]
[[listeners]]
address = "127.0.0.2:0"
http.access_log = [{{ path = "DIR/log", format = "%RESPONSE_CODE% %RESPONSE_FLAGS% %UPSTREAM_TRANSPORT_FAILURE_REASON%" }}]
http.routes = [{{ match = {{ prefix = "/" }}, route = {{ cluster = "app" }} }}]
[[clusters]]
name = "app"
max_requests_per_connection = 1
endpoints = ["{}"]
tls = {{ sni = "origin.example", {trusted} }}
"#,
        origin.address
    );
    (setup.replace_config(&config).runtime("access_log_flush_interval = \"5ms\"").start(), origin)
}

/// Whether the first listener of `verifying` lets its client in.
pub(super) fn is_served(proxy: &Ringway, pki: &Pki) -> bool {
    curl_as(proxy, pki, "https://a.example/", (pki, "client"), &[]).status == 200
}

/// Whether its second listener lets its endpoint be.
pub(super) fn is_reached(proxy: &Ringway) -> bool {
    Client::open(proxy.address(1)).get("/").status() == 200
}

#[test]
fn endpoints_are_verified_unless_that_is_switched_off() {
    let setup = Setup::new("");
    let pki = Pki::new(setup.dir());
    pki.issue("origin", &["origin.example", "127.0.0.1"]);
    let origin = secure_origin(&pki, "");
    let proxy = egress(
        setup,
        origin.address,
        &[
            "sni = \"origin.example\", ca = \"ca.pem\"",
            "ca = \"ca.pem\"",
            "sni = \"other.example\", ca = \"ca.pem\"",
            "sni = \"origin.example\"",
            "accept_untrusted = true",
            "sni = \"origin.example\", ca = \"ca.pem\", max_version = \"1.2\"",
        ],
    );
    let get = |index: usize| {
        let answer = Client::open(proxy.address(index)).get("/");
        (answer.status(), answer.text().trim().to_owned())
    };
    assert_eq!(get(0), (200, "TLSv1.3 origin.example .".into()));
    assert_eq!(get(0), (200, "TLSv1.3 origin.example r".into()), "the session goes on");
    assert_eq!(get(1), (200, "TLSv1.3  .".into()), "an address is no name to ask for");
    assert_eq!(get(4), (200, "TLSv1.3  .".into()));
    assert_eq!(get(5), (200, "TLSv1.2 origin.example .".into()));
    for (index, words) in [(2, "NotValidForName"), (3, "UnknownIssuer")] {
        assert_eq!(get(index).0, 503);
        let lines = proxy.log_lines(&format!("log{index}"), 1);
        assert!(lines[0].starts_with("503 UF TLS: ") && lines[0].contains(words), "{lines:?}");
    }
    assert_eq!(proxy.stat("cluster.c2.ssl.fail_verify_san"), 1);
    assert_eq!(proxy.stat("cluster.c3.ssl.fail_verify_error"), 1);
    assert_eq!((proxy.stat("cluster.c0.ssl.handshake"), proxy.stat("cluster.c0.ssl.session_reused")), (2, 1));
}

#[test]
fn an_endpoint_may_ask_who_the_proxy_is() {
    let setup = Setup::new("");
    let pki = Pki::new(setup.dir());
    pki.issue("origin", &["origin.example"]);
    pki.issue("me", &["proxy.example"]);
    let origin = secure_origin(&pki, &format!("ssl_client_certificate {}; ssl_verify_client on;", pki.path("ca.pem")));
    let known = "sni = \"origin.example\", ca = \"ca.pem\", certificate = \"me.pem\", key = \"me.key\"";
    let proxy = egress(setup, origin.address, &[known, "sni = \"origin.example\", ca = \"ca.pem\""]);
    let (good, bad) = (Client::open(proxy.address(0)).get("/"), Client::open(proxy.address(1)).get("/"));
    assert_eq!((good.status(), bad.status()), (200, 400), "{} {}", good.text(), bad.text());
}

/// Renewed files take effect with a reload, for new connections; what is open stays.
#[test]
fn a_reload_takes_renewed_certificates_and_refuses_broken_ones() {
    let origin = hello();
    let (proxy, pki) = front(origin.address, "", "");
    let first = shown(&proxy);
    assert_eq!(shown(&proxy), first);
    pki.issue("a", &["a.example"]);
    assert!(proxy.reload());
    let second = shown(&proxy);
    assert_ne!(second, first);
    std::fs::write(pki.path("a.key"), "no key").expect("written");
    assert!(!proxy.reload());
    proxy.wait_for_log("there is no private key in");
    assert_eq!(shown(&proxy), second, "the old one stays in force");
}

#[test]
fn check_reads_the_files() {
    let dir = tempfile::tempdir().expect("a directory");
    let pki = Pki::new(dir.path());
    pki.issue("a", &["a.example"]);
    pki.issue("b", &["b.example"]);
    let file = dir.path().join("ringway.toml");
    let config = "[[listeners]]\naddress = \"127.0.0.1:0\"\ntls = { certificate = \"a.pem\", key = \"b.key\" }\nhttp.routes = [{ match = { prefix = \"/\" }, direct_response = { status = 200 } }]\n";
    std::fs::write(&file, config).expect("written");
    let check = || ringway(&["check", file.to_str().expect("text")]);
    let output = check();
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("ringway.toml:3:") && text.contains("does not belong to the first certificate"), "{text}");
    // All that is wrong is said at once, also of a cluster.
    let cluster = "[[clusters]]\nname = \"c\"\nendpoints = [\"127.0.0.1:1\"]\ntls = { ca = \"no-ca.pem\", certificate = \"no.pem\", key = \"no.key\" }\n";
    std::fs::write(&file, config.replace("a.pem", "none.pem").replace("b.key", "none.key") + cluster).expect("written");
    let text = String::from_utf8_lossy(&check().stderr).into_owned();
    for (line, name) in [(3, "none.pem"), (3, "none.key"), (8, "no-ca.pem"), (8, "no.pem"), (8, "no.key")] {
        let is_told = |told: &str| {
            told.contains(&format!("ringway.toml:{line}:")) && told.contains(&format!("/{name}: No such file"))
        };
        assert!(text.lines().any(is_told), "{name}: {text}");
    }
    std::fs::write(&file, config.replace("b.key", "a.key")).expect("written");
    let output = check();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_slow_handshake_ends() {
    let origin = hello();
    let (proxy, _) = front(origin.address, ", handshake_timeout = \"200ms\"", "");
    let mut slow = Client::open(proxy.address(0));
    slow.send(&[22, 3, 1]);
    slow.expect_end();
    proxy.wait_for_stat("listener.main.downstream_cx_transport_socket_connect_timeout", 1);
    eventually("nothing is left of it", || proxy.stat("listener.main.downstream_pre_cx_active") == 0);
}
