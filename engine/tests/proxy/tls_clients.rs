//! Clients with TLS of their own: GnuTLS, Node, Java, Chromium; and a scanner that tries what must not work.

use super::grpc::peers_directory;
use super::support::{Origin, Pki, Ringway, Setup, must_run, program};
use super::tls::{front, hello, pair, s_client, secured};
use rcgen::{CertificateParams, KeyPair, RsaKeySize, date_time_ymd};
use std::process::Command;
use std::time::{Duration, SystemTime};

const LOG: &str = "access_log = [{ path = \"DIR/log\", format = \"%DOWNSTREAM_TLS_VERSION% %DOWNSTREAM_TLS_GROUP% %REQUESTED_SERVER_NAME% %RESPONSE_CODE%\" }]";

fn served() -> (Ringway, Pki, Origin) {
    let origin = hello();
    let (proxy, pki) = front(origin.address, "", LOG);
    (proxy, pki, origin)
}

/// A program that not everyone has; nothing is skipped where CI is set.
fn installed(name: &str) -> Option<Command> {
    let is_there = Command::new(name).arg("--version").output().is_ok();
    assert!(is_there || std::env::var_os("CI").is_none(), "{name} is missing");
    if !is_there {
        eprintln!("skipped: {name} is not installed");
    }
    is_there.then(|| Command::new(name))
}

/// The alert says that it is the version, and so does the log: old clients are what is looked for there.
#[test]
fn clients_of_old_versions_are_told_that_it_is_the_version() {
    let origin = hello();
    for (tls, offers) in [("", &["-tls1", "-tls1_1"][..]), (", min_version = \"1.3\"", &["-tls1_1", "-tls1_2"])] {
        let pair = format!("certificate = \"a.pem\", key = \"a.key\"{tls}");
        let log = "access_log = [{ path = \"DIR/connections\", format = \"%DOWNSTREAM_TRANSPORT_FAILURE_REASON%\" }]";
        let config = secured(origin.address, &pair, "").replace("tls = {", &format!("{log}\ntls = {{"));
        let setup = Setup::new(&config).runtime("access_log_flush_interval = \"5ms\"");
        Pki::new(setup.dir()).issue("a", &["a.example"]);
        let proxy = setup.start();
        for version in offers {
            let said = s_client(proxy.address(0), &[version, "-cipher", "ALL:@SECLEVEL=0"], b"");
            assert!(said.contains("SSL alert number 70"), "{version}: {said}");
        }
        for line in proxy.log_lines("connections", offers.len()) {
            assert!(line.contains("no version of TLS is offered that is spoken here"), "{line}");
        }
        assert_eq!(proxy.stat("listener.main.ssl.connection_error"), offers.len() as i64);
    }
}

#[test]
fn gnutls_speaks_each_version() {
    let (proxy, pki, _origin) = served();
    let port = proxy.address(0).port().to_string();
    for (priority, version) in
        [("NORMAL:-VERS-ALL:+VERS-TLS1.2", "TLS1.2"), ("NORMAL:-VERS-ALL:+VERS-TLS1.3", "TLS1.3")]
    {
        let script = format!(
            "printf 'GET / HTTP/1.1\\r\\nHost: a.example\\r\\nConnection: close\\r\\n\\r\\n' | gnutls-cli --x509cafile {} \
             --sni-hostname a.example --verify-hostname a.example --priority {priority} -p {port} 127.0.0.1",
            pki.path("ca.pem")
        );
        drop(program("gnutls-cli"));
        let text = must_run(Command::new("sh").args(["-c", &script]));
        assert!(text.contains("HTTP/1.1 200") && text.contains(version), "{text}");
    }
    let lines = proxy.log_lines("log", 2);
    assert!(lines[0].starts_with("TLSv1.2 ") && lines[1].starts_with("TLSv1.3 "), "{lines:?}");
}

#[test]
fn node_resumes_and_keeps_alive() {
    let Some(mut node) = installed("node") else { return };
    let (proxy, pki, _origin) = served();
    let script = r"
const https = require('https'), fs = require('fs');
const agent = new https.Agent({ keepAlive: true, maxSockets: 1 });
const ask = (agent) => new Promise((done, failed) => https.get({
    host: '127.0.0.1', port: process.env.PORT, servername: 'a.example', headers: { host: 'a.example' },
    ca: fs.readFileSync(process.env.CA), agent }, (response) => {
        const reused = response.socket.isSessionReused();
        let text = '';
        response.on('data', (piece) => text += piece).on('end', () => done([response.statusCode, text, reused]));
    }).on('error', failed));
(async () => {
    const seen = [];
    for (let i = 0; i < 3; i++) seen.push((await ask(agent)).join());
    agent.destroy();
    const sessions = new https.Agent({ maxCachedSessions: 10 });
    for (let i = 0; i < 2; i++) { seen.push((await ask(sessions)).join()); await new Promise((done) => setTimeout(done, 50)); }
    console.log(seen.join(' '));
})();";
    let port = proxy.address(0).port().to_string();
    let text = must_run(node.args(["-e", script]).env("PORT", port).env("CA", pki.path("ca.pem")));
    assert_eq!(text.trim(), "200,https,false 200,https,false 200,https,false 200,https,false 200,https,true");
    assert_eq!(proxy.stat("listener.main.downstream_cx_total"), 3, "one connection for the first three");
}

#[test]
fn java_verifies_and_is_served() {
    let Some(mut java) = installed("java") else { return };
    let (proxy, pki, _origin) = served();
    let dir = tempfile::tempdir().expect("a directory");
    let source = dir.path().join("Get.java");
    let text = r#"
import java.net.*; import java.net.http.*; import java.nio.file.*; import java.security.*; import java.security.cert.*; import javax.net.ssl.*;
public class Get {
    public static void main(String[] args) throws Exception {
        KeyStore store = KeyStore.getInstance(KeyStore.getDefaultType());
        store.load(null, null);
        try (var in = Files.newInputStream(Path.of(args[1]))) {
            store.setCertificateEntry("ca", CertificateFactory.getInstance("X.509").generateCertificate(in));
        }
        var trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
        trust.init(store);
        for (String version : new String[] { "TLSv1.3", "TLSv1.2" }) {
            var context = SSLContext.getInstance("TLS");
            context.init(null, trust.getTrustManagers(), null);
            var parameters = new SSLParameters();
            parameters.setProtocols(new String[] { version });
            var client = HttpClient.newBuilder().version(HttpClient.Version.HTTP_1_1).sslContext(context).sslParameters(parameters).build();
            var request = HttpRequest.newBuilder(URI.create("https://localhost:" + args[0] + "/")).build();
            for (int i = 0; i < 2; i++) {
                var response = client.send(request, HttpResponse.BodyHandlers.ofString());
                System.out.println(version + " " + response.statusCode() + " " + response.body());
            }
        }
    }
}"#;
    std::fs::write(&source, text).expect("written");
    pki.issue("a", &["a.example", "localhost"]);
    assert!(proxy.reload());
    let port = proxy.address(0).port().to_string();
    let text = must_run(java.arg(&source).args([&port, &pki.path("ca.pem")]));
    let expected = ["TLSv1.3", "TLSv1.3", "TLSv1.2", "TLSv1.2"].map(|version| format!("{version} 200 https\n"));
    assert_eq!(text, expected.concat());
}

/// A browser agrees on a key that quantum computers do not break.
#[test]
fn chromium_agrees_on_a_post_quantum_group() {
    let (proxy, _, _origin) = served();
    let dir = tempfile::tempdir().expect("a directory");
    let url = format!("https://localhost:{}/", proxy.address(0).port());
    let text = must_run(
        program("chromium")
            .args(["--headless", "--no-sandbox", "--disable-gpu", "--ignore-certificate-errors", "--dump-dom"])
            .arg(format!("--user-data-dir={}", dir.path().display()))
            .arg(url),
    );
    assert!(text.contains("https"), "{text}");
    let stat = |name: &str| proxy.stat(&format!("listener.main.ssl.{name}"));
    assert!(stat("handshake") > 0);
    assert_eq!(stat("curves.X25519MLKEM768"), stat("handshake"));
    assert_eq!(stat("versions.TLSv1.3"), stat("handshake"));
}

/// Protocols, ciphers, forward secrecy, preferences and known vulnerabilities, by testssl.sh.
#[test]
fn a_scanner_finds_nothing_that_is_not_ok() {
    let (proxy, _, _origin) = served();
    let dir = tempfile::tempdir().expect("a directory");
    let report = dir.path().join("report.json");
    let mut scan = program("testssl");
    scan.args(["-p", "-f", "-s", "-P", "-U", "-q", "--color", "0", "--warnings", "off", "--jsonfile"]).arg(&report);
    let output = scan.arg(proxy.address(0).to_string()).output().expect("it starts");
    let report: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(&report).expect("a report")).expect("JSON");
    let findings = report.as_array().expect("a list");
    let text = |finding: &serde_json::Value, key: &str| finding[key].as_str().unwrap_or_default().to_owned();
    // What it misses in the openssl that it runs with is nothing about the server.
    let of_server = |one: &&serde_json::Value| text(one, "id") != "engine_problem";
    let is_bad = |one: &&serde_json::Value| !matches!(&*text(one, "severity"), "OK" | "INFO" | "LOW");
    let bad: Vec<_> = findings.iter().filter(of_server).filter(is_bad).collect();
    assert!(bad.is_empty(), "{bad:?}");
    let says =
        |id: &str, part: &str| findings.iter().any(|one| text(one, "id") == id && text(one, "finding").contains(part));
    assert!(says("TLS1_2", "offered") && says("TLS1_3", "offered") && says("TLS1_1", "not offered"), "{output:?}");
}

/// Mozilla's recommendation "intermediate", by sslyze: versions, suites, groups, certificates and known vulnerabilities. The
/// certificates are as Mozilla asks for them, of both kinds.
#[test]
fn a_scanner_finds_what_mozilla_recommends() {
    let packages = peers_directory().join("python");
    let is_there = packages.join("sslyze").is_dir();
    assert!(is_there || std::env::var_os("CI").is_none(), "sslyze is missing: .ci/install fetches it");
    if !is_there {
        eprintln!("skipped: sslyze is not installed");
        return;
    }
    let origin = hello();
    let tls = format!("certificates = [{}, {}]", pair("ecdsa"), pair("rsa"));
    let setup = Setup::new(&secured(origin.address, &tls, LOG));
    let pki = Pki::new(setup.dir());
    let rsa = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key");
    for (file, key) in [("ecdsa", KeyPair::generate().expect("a key")), ("rsa", rsa)] {
        let mut params = CertificateParams::new(["a.example".to_owned()]).expect("a name");
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        const DAY: Duration = Duration::from_secs(86_400);
        params.not_before = date_time_ymd(1970, 1, 1) + (now - DAY);
        // At most 366 days in all.
        params.not_after = params.not_before + 90 * DAY;
        params.use_authority_key_identifier_extension = true;
        pki.issue_params(file, params, &key);
    }
    let proxy = setup.start();
    let mut scan = program("python3");
    scan.env("PYTHONPATH", packages).args(["-m", "sslyze", "--mozilla_config=intermediate", "--certinfo_ca_file"]);
    let address = proxy.address(0);
    scan.arg(pki.path("ca.pem")).arg(format!("a.example:{}{{{}}}", address.port(), address.ip()));
    // Exit code 0 says that nothing is missing.
    let text = must_run(&mut scan);
    let words: Vec<_> = text.split_whitespace().collect();
    let says = |line: &str| {
        let line: Vec<_> = line.split_whitespace().collect();
        assert!(words.windows(line.len()).any(|words| words == line), "{line:?}: {text}");
    };
    // That it has seen what there is to see.
    says("Number of cert chains detected: 2");
    says("Supported curves: X25519, secp256r1, secp384r1");
    for key in ["ECDSA", "RSA"] {
        for suite in ["AES_128_GCM_SHA256", "AES_256_GCM_SHA384", "CHACHA20_POLY1305_SHA256"] {
            says(&format!("TLS_ECDHE_{key}_WITH_{suite}"));
        }
    }
    says(
        "* TLS 1.3 Cipher Suites: Attempted to connect using 5 cipher suites. The server accepted the following 3 cipher suites:",
    );
    says("a.example:PORT OK - Compliant.".replace("PORT", &format!("{}:", address.port())).as_str());
}
