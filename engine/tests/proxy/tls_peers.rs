//! Certificates of peers: which are good for what, which are revoked, and what is said of them.

use super::support::{Client, Origin, Pki, Ringway, Setup, must_run, program, response};
use super::tls::{curl_as, curl_to, egress, front, hello, is_reached, is_served, secure_origin, verifying};
use std::net::SocketAddr;

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

/// What openssl says of a certificate: subject, issuer, serial number, SHA-256 and SHA-1.
fn by_openssl(pki: &Pki, file: &str) -> [String; 5] {
    let x509 = |args: &[&str]| {
        let mut openssl = program("openssl");
        let text = must_run(openssl.args(["x509", "-noout", "-nameopt", "RFC2253", "-in", &pki.path(file)]).args(args));
        text.trim().split_once('=').expect("a value").1.to_owned()
    };
    let hash = |name: &str| x509(&["-fingerprint", name]).replace(':', "").to_lowercase();
    [x509(&["-subject"]), x509(&["-issuer"]), x509(&["-serial"]).to_lowercase(), hash("-sha256"), hash("-sha1")]
}

/// A proxy with client certificates and clusters with TLS over HTTP/1.1 and HTTP/2 and without, which logs what its operators tell.
fn telling_of_both(secured: SocketAddr, plain: SocketAddr) -> String {
    let of_peer = "%SIDE_PEER_SUBJECT%|%SIDE_PEER_ISSUER%|%SIDE_PEER_SERIAL%|%SIDE_PEER_FINGERPRINT_256%|%SIDE_PEER_FINGERPRINT_1%";
    let names = "%SIDE_TLS_VERSION%|%SIDE_TLS_CIPHER%|%SIDE_PEER_URI_SAN%|%SIDE_PEER_DNS_SAN%|%SIDE_PEER_IP_SAN%|%SIDE_LOCAL_URI_SAN%|%SIDE_LOCAL_DNS_SAN%";
    let both = |text: &str| format!("{}|{}", text.replace("SIDE", "DOWNSTREAM"), text.replace("SIDE", "UPSTREAM"));
    format!(
        r#"
[[listeners]]
address = "127.0.0.1:0"
tls = {{ certificate = "front.pem", key = "front.key", client_certificate = {{ ca = "ca.pem", required = false }} }}
[listeners.http]
response_headers_to_add = [{{ name = "x-endpoint", value = "%UPSTREAM_SERVER_NAME% %UPSTREAM_PEER_DNS_SAN%" }}]
access_log = [
  {{ path = "DIR/peers", format = "{}" }},
  {{ path = "DIR/names", format = "{}|%REQUESTED_SERVER_NAME%|%UPSTREAM_SERVER_NAME%" }},
  {{ path = "DIR/chains", format = "%DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256%|%DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1%|%DOWNSTREAM_PEER_CHAIN_SERIALS%" }},
  {{ path = "DIR/client", format = "%DOWNSTREAM_PEER_CERT%" }},
  {{ path = "DIR/endpoint", json = {{ pem = "%UPSTREAM_PEER_CERT%", until = "%UPSTREAM_PEER_CERT_V_END(%Y)%", cut = "%UPSTREAM_PEER_CERT:10%" }} }},
]
routes = [
  {{ match = {{ prefix = "/none" }}, direct_response = {{ status = 200 }} }},
  {{ match = {{ prefix = "/plain" }}, route = {{ cluster = "plain" }} }},
  {{ match = {{ prefix = "/2" }}, route = {{ cluster = "http2" }} }},
  {{ match = {{ prefix = "/" }}, route = {{ cluster = "http1" }} }},
]
[[clusters]]
name = "http1"
endpoints = ["{secured}"]
tls = {{ sni = "a.example", ca = "ca.pem", certificate = "client.pem", key = "client.key" }}
[[clusters]]
name = "http2"
endpoints = ["{secured}"]
protocol = "http2"
tls = {{ sni = "a.example", ca = "ca.pem", max_version = "1.2" }}
[[clusters]]
name = "plain"
endpoints = ["{plain}"]
"#,
        both(of_peer),
        both(names),
    )
}

/// Of the connection with the client and of that with the endpoint, over HTTP/1.1 and HTTP/2, as openssl describes the certificates.
#[test]
fn logs_and_headers_tell_of_both_connections() {
    let front = "[[listeners]]\naddress = \"127.0.0.1:0\"\ntls = { certificate = \"front.pem\", key = \"front.key\" }\n\
                 http.routes = [{ match = { prefix = \"/\" }, direct_response = { status = 200 } }]\n";
    let (setup, plain) = (Setup::new(front), hello());
    let pki = Pki::new(setup.dir());
    pki.issue("front", &["a.example", "spiffe://mesh/front"]);
    pki.issue("client", &["client.example", "10.9.8.7", "spiffe://mesh/client"]);
    let origin = setup.start();
    let config = telling_of_both(origin.address(0), plain.address);
    let setup = Setup::new(&config);
    for file in ["front.pem", "front.key", "ca.pem", "client.pem", "client.key"] {
        std::fs::copy(pki.path(file), setup.dir().join(file)).expect("it can be written");
    }
    let proxy = setup.runtime("access_log_flush_interval = \"5ms\"").start();
    // The client shows its authority's certificate, too.
    let [leaf, ca] = ["client.pem", "ca.pem"].map(|file| std::fs::read_to_string(pki.path(file)).expect("it is there"));
    let (chain, key) = (pki.path("chain.pem"), pki.path("client.key"));
    std::fs::write(&chain, format!("{leaf}{ca}")).expect("it can be written");
    let shown = ["--cert", &chain, "--key", &key];
    let requests: [(&str, &[&str]); 5] =
        [("1", &["--http1.1"]), ("2", &["--http2"]), ("plain", &[]), ("none", &[]), ("2", &["--http1.1"])];
    for (at, (path, wire)) in requests.iter().enumerate() {
        let args = [*wire, if at < 4 { &shown } else { &[] }].concat();
        let answer = curl_to(&proxy, &pki, &format!("https://a.example/{path}"), &args);
        assert_eq!(answer.status, 200, "{path}");
        let header = answer.head.lines().find_map(|line| line.strip_prefix("x-endpoint: "));
        assert_eq!(header, (path.len() == 1).then_some("a.example a.example"), "{path}");
    }
    let [client, front, authority] = ["client.pem", "front.pem", "ca.pem"].map(|file| by_openssl(&pki, file));
    let [of_client, of_front, nothing] = [client.join("|"), front.join("|"), "-|-|-|-|-".to_owned()];
    let peers = [(&of_client, &of_front); 2].into_iter().chain([(&of_client, &nothing); 2]);
    let peers = peers.chain([(&nothing, &of_front)]).map(|(client, endpoint)| format!("{client}|{endpoint}"));
    assert_eq!(proxy.log_lines("peers", 5), peers.collect::<Vec<_>>());
    let of_client = "spiffe://mesh/client|client.example|10.9.8.7|spiffe://mesh/front|a.example";
    let downstream = format!("TLSv1.3|TLS_AES_128_GCM_SHA256|{of_client}");
    let lines = proxy.log_lines("names", 5);
    let from = |line: &str| line.strip_prefix(&downstream).unwrap_or_else(|| panic!("{line}")).to_owned();
    let by_http1 = "|TLSv1.3|TLS_AES_128_GCM_SHA256|spiffe://mesh/front|a.example|-|spiffe://mesh/client|client.example|a.example|a.example";
    let by_http2 = "|TLSv1.2|ECDHE-ECDSA-AES128-GCM-SHA256|spiffe://mesh/front|a.example|-|-|-|a.example|a.example";
    assert_eq!([from(&lines[0]), from(&lines[1])], [by_http1, by_http2]);
    assert_eq!([from(&lines[2]), from(&lines[3])], ["|-|-|-|-|-|-|-|a.example|-"; 2]);
    assert_eq!(lines[4], format!("TLSv1.3|TLS_AES_128_GCM_SHA256|-|-|-|spiffe://mesh/front|a.example{by_http2}"));
    let chains = [3, 4, 2].map(|fact: usize| format!("{},{}", client[fact], authority[fact])).join("|");
    assert_eq!(proxy.log_lines("chains", 5), [&chains, &chains, &chains, &chains, "-|-|-"]);
    let decoded = |text: &str| {
        let text = text.replace("%0A", "\n").replace("%20", " ");
        text.replace("%2B", "+").replace("%2F", "/").replace("%3D", "=")
    };
    let pem = |file: &str| std::fs::read_to_string(pki.path(file)).expect("it is there").replace("\r\n", "\n");
    assert_eq!(decoded(&proxy.log_lines("client", 5)[1]), pem("client.pem"));
    let endpoint: serde_json::Value = serde_json::from_str(&proxy.log_lines("endpoint", 5)[1]).expect("JSON");
    assert_eq!(decoded(endpoint["pem"].as_str().expect("a text")), pem("front.pem"));
    assert_eq!(endpoint["cut"], "-----BEGIN");
    assert!(endpoint["until"].as_str().is_some_and(|year| year.len() == 4), "{endpoint}");
}
