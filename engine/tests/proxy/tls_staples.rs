//! OCSP staples, made and asked for by openssl.

use super::cli::ringway;
use super::support::{Origin, Pki, Ringway, Setup, eventually};
use super::tls::{curl_to, hello, s_client, secured, shown};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use std::fs;

const STAPLED: &str = "certificate = \"a.pem\", key = \"a.key\", ocsp_staple = \"a.der\"";

/// What openssl says about the staple, and about the handshake.
fn status(proxy: &Ringway, pki: &Pki, more: &[&str]) -> String {
    let ca = pki.path("ca.pem");
    let args = ["-servername", "a.example", "-status", "-CAfile", &ca, "-verify_return_error"];
    s_client(proxy.address(0), &[&args[..], more].concat(), b"")
}

fn stat(proxy: &Ringway, name: &str) -> i64 {
    proxy.stat(&format!("listener.main.ssl.ocsp_staple_{name}"))
}

/// A proxy that is to be started, with a certificate and its staple.
fn stapled(origin: &Origin) -> (Setup, Pki) {
    let setup = Setup::new(&secured(origin.address, STAPLED, ""));
    let pki = Pki::new(setup.dir());
    pki.issue("a", &["a.example"]);
    pki.staple("a", true);
    (setup, pki)
}

#[test]
fn clients_that_ask_get_the_staple() {
    let origin = hello();
    let (setup, pki) = stapled(&origin);
    // curl needs the issuer in the chain, whose key then counts here, too.
    let chain = ["a.pem", "ca.pem"].map(|file| fs::read_to_string(pki.path(file)).expect("read")).concat();
    fs::write(pki.path("a.pem"), chain).expect("written");
    let proxy = setup.start();
    for version in ["-tls1_3", "-tls1_2"] {
        let text = status(&proxy, &pki, &[version]);
        for words in ["OCSP Response Status: successful", "Cert Status: good", "Verify return code: 0 (ok)"] {
            assert!(text.contains(words), "{words}: {text}");
        }
    }
    // curl asks for one and verifies its signature.
    let answer = curl_to(&proxy, &pki, "https://a.example/", &["--cert-status"]);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(!s_client(proxy.address(0), &["-servername", "a.example"], b"").contains("OCSP Response Status"));
    assert_eq!((stat(&proxy, "requests"), stat(&proxy, "responses")), (3, 3));
    assert_eq!((stat(&proxy, "omitted"), stat(&proxy, "failed")), (0, 0));
    let left = proxy.stat("server.seconds_until_first_ocsp_response_expiring");
    assert!((80_000..=86_400).contains(&left), "{left}");
    let certs = proxy.admin("GET", "/certs");
    let certs: serde_json::Value = serde_json::from_str(certs.text()).expect("JSON");
    let details = &certs["certificates"][0]["cert_chain"][0]["ocsp_details"];
    assert!(details["valid_from"].is_string() && details["expiration"].is_string(), "{certs}");
}

/// A renewed certificate waits for its staple, and both come without a restart.
#[test]
fn a_renewed_certificate_comes_with_its_staple() {
    let origin = hello();
    let (setup, pki) = stapled(&origin);
    let proxy = setup.start();
    let first = shown(&proxy);
    pki.issue("b", &["a.example"]);
    pki.staple("b", true);
    fs::copy(pki.path("b.pem"), pki.path("a.pem")).expect("copied");
    fs::copy(pki.path("b.key"), pki.path("a.key")).expect("copied");
    proxy.wait_for_log("is about another certificate than the first one in");
    assert_eq!(shown(&proxy), first, "the old one stays in use");
    assert!(status(&proxy, &pki, &[]).contains("Cert Status: good"));
    fs::copy(pki.path("b.der"), pki.path("a.der")).expect("copied");
    eventually("all three are in use", || proxy.stat("server.tls_files_renewed") == 3);
    assert_ne!(shown(&proxy), first);
    let text = status(&proxy, &pki, &[]);
    assert!(text.contains("Serial Number: 62") && text.contains("Cert Status: good"), "{text}");
    // Of a staple that says otherwise, only the log hears.
    pki.staple("b", false);
    fs::copy(pki.path("b.der"), pki.path("a.der")).expect("copied");
    proxy.wait_for_log("a.pem is revoked");
    assert!(status(&proxy, &pki, &[]).contains("Cert Status: good"));
}

#[test]
fn without_a_staple_clients_are_told_nothing() {
    let origin = hello();
    let setup = Setup::new(&secured(origin.address, "certificate = \"a.pem\", key = \"a.key\"", ""));
    let pki = Pki::new(setup.dir());
    pki.issue("a", &["a.example"]);
    let proxy = setup.start();
    assert!(status(&proxy, &pki, &[]).contains("OCSP response: no response sent"));
    assert_eq!((stat(&proxy, "requests"), stat(&proxy, "omitted")), (1, 1));
    assert_eq!(proxy.stat("server.seconds_until_first_ocsp_response_expiring"), i64::from(u32::MAX));
}

#[test]
fn check_says_what_is_wrong_with_a_staple() {
    let origin = hello();
    let setup = Setup::new(&secured(origin.address, STAPLED, ""));
    let pki = Pki::new(setup.dir());
    let check = || {
        let output = ringway(&["check", setup.dir().join("check.toml").to_str().expect("text")]);
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let refused = |words: &str| {
        let (is_good, text) = check();
        assert!(!is_good && text.contains(words) && text.contains("check.toml:"), "{words}: {text}");
    };
    fs::write(setup.dir().join("check.toml"), secured(origin.address, STAPLED, "")).expect("written");
    let mut params = CertificateParams::new(vec!["a.example".to_owned()]).expect("a name");
    let feature = CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 24], vec![0x30, 3, 2, 1, 5]);
    params.custom_extensions.push(feature);
    pki.issue_params("a", params, &KeyPair::generate().expect("a key"));
    refused("cannot read ");
    fs::copy(pki.path("a.pem"), pki.path("a.der")).expect("copied");
    refused("is PEM");
    pki.staple("a", false);
    refused("is revoked");
    pki.staple("a", true);
    let (is_good, text) = check();
    assert!(is_good, "{text}");
    let without = secured(origin.address, &STAPLED.replace(", ocsp_staple = \"a.der\"", ""), "");
    fs::write(setup.dir().join("check.toml"), without).expect("written");
    refused("must not be shown without an OCSP staple (must-staple)");
}
