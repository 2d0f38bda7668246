//! Endpoints with certificates that rcgen cannot make: openssl makes them and serves them. The others of their kind are in
//! net/tls/tests/badssl.rs.

use super::support::{Client, Pki, Server, Setup, must_run, program};
use std::path::Path;
use std::process::Stdio;

/// openssl's server, with a certificate from these files.
fn serve(dir: &Path, name: &str) -> Server {
    let mut openssl = program("openssl");
    openssl.args(["s_server", "-www", "-accept", "127.0.0.1:0", "-cipher", "DEFAULT:@SECLEVEL=0", "-cert"]);
    openssl.arg(dir.join(format!("{name}.pem"))).arg("-key").arg(dir.join(format!("{name}.key")));
    openssl.stderr(Stdio::null());
    Server::start_with(openssl, |line| line.strip_prefix("ACCEPT ")?.rsplit(':').next()?.parse().ok())
}

/// Issues `NAME.pem` for `a.example`, with a key of RSA.
fn issue(dir: &Path, name: &str, bits: u32, hash: &str) {
    let path = |name: String| dir.join(name).display().to_string();
    let (key, request, certificate) =
        (path(format!("{name}.key")), path(format!("{name}.csr")), path(format!("{name}.pem")));
    std::fs::write(dir.join("names"), "subjectAltName=DNS:a.example").expect("written");
    let new_key = format!("rsa:{bits}");
    must_run(
        program("openssl")
            .args(["req", "-newkey", &new_key, "-nodes", "-subj", "/CN=a.example"])
            .args(["-keyout", &key, "-out", &request]),
    );
    must_run(
        program("openssl").args(["x509", "-req", "-in", &request, "-out", &certificate, hash, "-days", "30"]).args([
            "-CA",
            &path("ca.pem".into()),
            "-CAkey",
            &path("ca.key".into()),
            "-CAcreateserial",
            "-extfile",
            &path("names".into()),
        ]),
    );
}

#[test]
fn weak_certificates_of_endpoints_are_refused() {
    let setup = Setup::new("");
    let _pki = Pki::new(setup.dir());
    let cases = [("good", 2048, "-sha256"), ("sha1", 2048, "-sha1"), ("short", 1024, "-sha256")];
    let servers = cases.map(|(name, bits, hash)| {
        issue(setup.dir(), name, bits, hash);
        serve(setup.dir(), name)
    });
    let mut config = String::from(
        "[[listeners]]\naddress = \"127.0.0.1:0\"\n[listeners.http]\n\
         access_log = [{ path = \"DIR/log\", format = \"%RESPONSE_CODE% %UPSTREAM_TRANSPORT_FAILURE_REASON%\" }]\n",
    );
    for (name, ..) in cases {
        config += &format!(
            "[[listeners.http.routes]]\nmatch = {{ prefix = \"/{name}\" }}\nroute = {{ cluster = \"{name}\", prefix_rewrite = \"/\" }}\n"
        );
    }
    for ((name, ..), server) in cases.iter().zip(&servers) {
        config += &format!(
            "[[clusters]]\nname = \"{name}\"\nendpoints = [\"{}\"]\ntls = {{ sni = \"a.example\", ca = \"ca.pem\" }}\n",
            server.address
        );
    }
    let proxy = setup.replace_config(&config).runtime("access_log_flush_interval = \"5ms\"").start();
    let statuses = cases.map(|(name, ..)| {
        let mut client = Client::open(proxy.address(0));
        client.send(format!("GET /{name} HTTP/1.1\r\nHost: a\r\n\r\n").as_bytes());
        client.response().status()
    });
    assert_eq!(statuses, [200, 503, 503]);
    let lines = proxy.log_lines("log", 3);
    assert_eq!(lines[0], "200 -");
    let why = "503 TLS: invalid peer certificate: ";
    let old =
        "it is signed with an algorithm that is not taken, such as one with SHA-1 (UnsupportedSignatureAlgorithm)";
    assert_eq!(lines[1], format!("{why}{old}"));
    let short = "a signature is wrong, made by another authority than the one known by the issuer's name, or with a key \
                 that is too short (BadSignature)";
    assert_eq!(lines[2], format!("{why}{short}"));
}
