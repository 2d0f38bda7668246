//! Certificates of peers: which are good for what, which are revoked, and what is said of them.

use super::support::{Client, Origin, Pki, Ringway, Setup, must_run, program, response};
use super::tls::{curl_as, curl_to, egress, front, hello, is_reached, is_served, secure_origin, verifying};

/// A hash of a certificate or of its key, as openssl makes it.
fn hash_by_openssl(pki: &Pki, name: &str, command: &str) -> String {
    let script = command.replace("PEM", &pki.path(name));
    let output = program("sh").args(["-c", &script]).output().expect("openssl runs");
    String::from_utf8(output.stdout).expect("text").trim().rsplit('=').next().unwrap_or_default().to_owned()
}

#[test]
fn clients_are_told_apart_by_names_and_pins() {
    let origin = hello();
    let dir = tempfile::tempdir().expect("a directory");
    let strangers = Pki::new(dir.path());
    strangers.issue("partner", &["partner.example"]);
    strangers.issue("other", &["other.example"]);
    let hash = hash_by_openssl(&strangers, "partner.pem", "openssl x509 -in PEM -noout -fingerprint -sha256");
    assert_eq!(hash.len(), 95, "{hash}");
    let pinned = format!(", client_certificate = {{ verify_certificate_hash = [\"{hash}\"] }}");
    let (proxy, pki) = front(origin.address, &pinned, "");
    let get = |proxy: &Ringway, pki: &Pki, from: &Pki, name: &str| {
        curl_as(proxy, pki, "https://a.example/", (from, name), &[]).status
    };
    assert_eq!(get(&proxy, &pki, &strangers, "partner"), 200);
    assert_eq!(get(&proxy, &pki, &strangers, "other"), 0);
    assert_eq!(get(&proxy, &pki, &pki, "client"), 0);
    proxy.wait_for_stat("listener.main.ssl.fail_verify_cert_hash", 2);

    let names = ", client_certificate = { ca = \"ca.pem\", subject_alt_names = [{ type = \"uri\", prefix = \"spiffe://mesh/shop/\" }] }";
    let (proxy, pki) = front(origin.address, names, "");
    pki.issue("shop", &["spiffe://mesh/shop/checkout"]);
    pki.issue("ops", &["spiffe://mesh/ops/shell"]);
    assert_eq!(get(&proxy, &pki, &pki, "shop"), 200);
    assert_eq!(get(&proxy, &pki, &pki, "ops"), 0);
    assert_eq!(get(&proxy, &pki, &strangers, "partner"), 0);
    proxy.wait_for_stat("listener.main.ssl.fail_verify_san", 1);
    proxy.wait_for_stat("listener.main.ssl.fail_verify_error", 1);

    let (proxy, pki) = front(origin.address, ", client_certificate = { accept_untrusted = true }", "");
    assert_eq!(get(&proxy, &pki, &strangers, "other"), 200);
    assert_eq!(curl_to(&proxy, &pki, "https://a.example/", &[]).status, 0);
}

#[test]
fn endpoints_are_known_by_names_and_pins() {
    let setup = Setup::new("");
    let pki = Pki::new(setup.dir());
    pki.issue("origin", &["origin.example", "spiffe://mesh/origin"]);
    let command = "openssl x509 -in PEM -noout -pubkey | openssl pkey -pubin -outform DER | openssl dgst -sha256 -binary | base64";
    // Its last digit is cut off.
    let spki = hash_by_openssl(&pki, "origin.pem", &format!("{command} | tr -d =")) + "=";
    let origin = secure_origin(&pki, "");
    let proxy = egress(
        setup,
        origin.address,
        &[
            &format!("verify_certificate_spki = [\"{spki}\"]"),
            "verify_certificate_spki = [\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\"]",
            "ca = \"ca.pem\", subject_alt_names = [{ type = \"uri\", exact = \"spiffe://mesh/origin\" }]",
            "ca = \"ca.pem\", subject_alt_names = [{ type = \"uri\", exact = \"spiffe://mesh/o\" }]",
        ],
    );
    let status = |index: usize| Client::open(proxy.address(index)).get("/").status();
    assert_eq!([0, 1, 2, 3].map(status), [200, 503, 200, 503]);
    for (index, words) in [(1, "neither it nor its key"), (3, "none of its alternative names")] {
        let lines = proxy.log_lines(&format!("log{index}"), 1);
        assert!(lines[0].contains(words), "{lines:?}");
    }
    assert_eq!(proxy.stat("cluster.c1.ssl.fail_verify_cert_hash"), 1);
    assert_eq!(proxy.stat("cluster.c3.ssl.fail_verify_san"), 1);
}

/// For clients and for endpoints; a reload takes a new list.
#[test]
fn what_is_revoked_is_refused() {
    let setup = Setup::new("");
    let pki = Pki::new(setup.dir());
    pki.revoke("crl.pem", &["client"]);
    let (proxy, _origin) = verifying(setup, &pki, "ca = \"ca.pem\", crl = \"crl.pem\"");
    let (served, reached) = (|| is_served(&proxy, &pki), || is_reached(&proxy));
    assert_eq!((served(), reached()), (false, true));
    proxy.wait_for_stat("listener.main.ssl.fail_verify_error", 1);
    pki.revoke("crl.pem", &["origin"]);
    assert!(proxy.reload());
    assert_eq!((served(), reached()), (true, false));
    assert_eq!(proxy.stat("cluster.app.ssl.fail_verify_error"), 1);
    std::fs::write(pki.path("crl.pem"), "no list").expect("written");
    assert!(!proxy.reload());
    proxy.wait_for_log("there is no revocation list in");
    assert_eq!((served(), reached()), (true, false), "the old list stays in force");
}

/// The route is chosen by the certificate, and the upstream is told of it, whatever the client says of itself.
#[test]
fn upstreams_are_told_which_certificate_a_request_came_with() {
    let origin =
        Origin::answering(|request| response(200, &[], request.field("x-forwarded-client-cert").unwrap_or("none")));
    let setup = Setup::new(&format!(
        r#"
[[listeners]]
address = "127.0.0.1:0"
[listeners.tls]
certificate = "a.pem"
key = "a.key"
client_certificate = {{ ca = "ca.pem", required = false, accept_untrusted = true }}
[listeners.http]
forward_client_cert_details = "sanitize_set"
set_current_client_cert_details = {{ subject = true, uri = true, dns = true }}
[[listeners.http.routes]]
match = {{ prefix = "/", tls_context = {{ validated = true }} }}
route = {{ cluster = "app" }}
[[listeners.http.routes]]
match = {{ prefix = "/", tls_context = {{ presented = true }} }}
direct_response = {{ status = 403 }}
[[listeners.http.routes]]
match = {{ prefix = "/open" }}
route = {{ cluster = "app" }}
[[clusters]]
name = "app"
endpoints = ["{}"]
"#,
        origin.address
    ));
    let (pki, dir) = (Pki::new(setup.dir()), tempfile::tempdir().expect("a directory"));
    let strangers = Pki::new(dir.path());
    pki.issue("a", &["a.example", "spiffe://mesh/front"]);
    pki.issue("client", &["client.example", "spiffe://mesh/client"]);
    strangers.issue("other", &["client.example"]);
    let proxy = setup.start();
    let get = |path: &str, pair: Option<(&Pki, &str)>| {
        let (url, forged) = (format!("https://a.example{path}"), ["-H", "X-Forwarded-Client-Cert: Hash=forged"]);
        let answer = match pair {
            Some(pair) => curl_as(&proxy, &pki, &url, pair, &forged),
            None => curl_to(&proxy, &pki, &url, &forged),
        };
        (answer.status, String::from_utf8(answer.body).expect("text"))
    };
    let hash = hash_by_openssl(&pki, "client.pem", "openssl x509 -in PEM -noout -fingerprint -sha256");
    let subject = must_run(program("openssl").args([
        "x509",
        "-noout",
        "-subject",
        "-nameopt",
        "RFC2253",
        "-in",
        &pki.path("client.pem"),
    ]));
    let expected = format!(
        "By=spiffe://mesh/front;Hash={};Subject=\"{}\";URI=spiffe://mesh/client;DNS=client.example",
        hash.replace(':', "").to_lowercase(),
        subject.trim().trim_start_matches("subject=")
    );
    assert_eq!(get("/", Some((&pki, "client"))), (200, expected));
    assert_eq!(get("/", Some((&strangers, "other"))).0, 403);
    assert_eq!(get("/", None).0, 404);
    assert_eq!(get("/open", None), (200, "none".into()));
}
