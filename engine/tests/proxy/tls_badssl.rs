//! Endpoints with certificates that rcgen cannot make: openssl makes them and serves them. The others of their kind are in
//! net/tls/tests/badssl.rs.

use super::cli::ringway;
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

/// Before a peer refuses them, and none of it keeps the proxy from starting.
#[test]
fn check_says_which_certificates_will_be_refused() {
    let config = "[[listeners]]\naddress = \"127.0.0.1:0\"\n\
                  tls = { certificate = \"chain.pem\", key = \"sha1.key\", client_certificate = { ca = \"cas.pem\" } }\n\
                  http.routes = [{ match = { prefix = \"/\" }, direct_response = { status = 200 } }]\n";
    let dir = tempfile::tempdir().expect("a directory");
    let pki = Pki::new(dir.path());
    let file = pki.path("ringway.toml");
    std::fs::write(&file, config).expect("written");
    for (name, bits, hash) in [("sha1", 2048, "-sha1"), ("short", 1024, "-sha256"), ("good", 2048, "-sha256")] {
        issue(dir.path(), name, bits, hash);
    }
    let join = |name: &str, parts: &[&str]| {
        let parts: Vec<_> = parts.iter().map(|part| std::fs::read(pki.path(part)).expect("it is there")).collect();
        std::fs::write(pki.path(name), parts.concat()).expect("written");
    };
    join("chain.pem", &["sha1.pem", "short.pem", "ca.pem"]);
    join("cas.pem", &["ca.pem", "short.pem"]);
    let check = || {
        let output = ringway(&["check", &file]);
        assert!(output.status.success(), "{output:?}");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let told = check();
    let faults = [
        "the certificate in chain.pem is signed with SHA-1: peers refuse it",
        "certificate 2 of the chain in chain.pem has an RSA key of 1024 bits, at least 2048 are needed",
        "certificate 2 of the chain in chain.pem has issued none of the others: it is of no use there",
        "authority 2 in cas.pem says that it is no authority",
        "authority 2 in cas.pem has an RSA key of 1024 bits, at least 2048 are needed",
    ];
    for fault in faults {
        let fault = fault.replace(" in ", &format!(" in {}/", dir.path().display()));
        let is_told = |line: &str| line.contains("ringway.toml:3:") && line.contains(&fault);
        assert!(told.lines().any(is_told), "{fault}: {told}");
    }
    assert_eq!(told.matches("ringway.toml:3:").count(), faults.len(), "{told}");
    // One that nothing leads to.
    join("chain.pem", &["good.pem", "sha1.pem"]);
    std::fs::copy(pki.path("good.key"), pki.path("sha1.key")).expect("copied");
    assert!(check().contains("was issued by none of the others in the file: peers that do not know its issuer"));
    // In any order: peers find their way.
    join("chain.pem", &["good.pem", "ca.pem"]);
    join("cas.pem", &["ca.pem"]);
    assert!(!check().contains("ringway.toml:3:"));
    // What is wrong with files is told together with what is wrong with the configuration.
    std::fs::write(&file, config.replace("http.routes", "http.rutes").replace("cas.pem", "none.pem")).expect("written");
    let output = ringway(&["check", &file]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    for (line, words) in [("3:", "cannot read"), ("4:", "did you mean `routes`?")] {
        assert!(told.contains(&format!("ringway.toml:{line}")) && told.contains(words), "{told}");
    }
    assert!(told.contains("2 problems"), "{told}");
}
