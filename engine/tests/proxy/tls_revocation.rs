//! Revocation lists that change while the proxy runs, without a reload.

use super::support::{Connection, Pki, Ringway, Setup, eventually, must_run, program};
use super::tls::{curl_as, hello, is_reached, is_served, rustls_trusting, rustls_with, secured, shown, verifying};
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType, IsCa, Issuer, KeyIdMethod, KeyPair,
    SerialNumber, date_time_ymd,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

const VERIFYING: &str = "ca = \"ca.pem\", crl = \"crl.pem\"";

/// Whether a new connection with this certificate is served.
fn is_let_in(proxy: &Ringway, pki: &Pki, (from, name): (&Pki, &str)) -> bool {
    // Which certificate the proxy shows is not what is asked here.
    curl_as(proxy, pki, "https://a.example/", (from, name), &["-k"]).status == 200
}

/// A proxy in front of this origin that is a.example and asks its clients for certificates; `keys`: which of them are taken.
fn asking(origin: SocketAddr, keys: &str) -> (Setup, Pki) {
    let tls = format!("certificate = \"a.pem\", key = \"a.key\", client_certificate = {{ {keys} }}");
    let setup = Setup::new(&secured(origin, &tls, ""));
    let pki = Pki::new(setup.dir());
    pki.issue("a", &["a.example"]);
    (setup, pki)
}

fn refusals(proxy: &Ringway) -> i64 {
    proxy.stat("server.tls_files_refused")
}

/// Both for clients and for endpoints; what is open stays.
#[test]
fn what_a_new_list_revokes_gets_no_new_connection() {
    let setup = Setup::new("");
    let pki = Pki::new(setup.dir());
    pki.revoke("crl.pem", &[]);
    let (proxy, _origin) = verifying(setup, &pki, VERIFYING);
    let outcome = || (is_served(&proxy, &pki), is_reached(&proxy));
    assert_eq!(outcome(), (true, true));
    let mut config = (*rustls_trusting(&pki, b"http/1.1")).clone();
    let key = PrivateKeyDer::from_pem_file(pki.path("client.key")).expect("a key");
    let certificate = CertificateDer::from_pem_file(pki.path("client.pem")).expect("a certificate");
    let key = CertifiedKey::from_der(vec![certificate], key, config.crypto_provider()).expect("they belong together");
    config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(key));
    let mut open = Connection::new(rustls_with(&proxy, &Arc::new(config), "a.example"));
    assert_eq!(open.get("/").status(), 200);
    for (revoked, expected) in
        [(&["client"][..], (false, true)), (&["origin"], (true, false)), (&["client", "origin"], (false, false))]
    {
        pki.revoke("crl.pem", revoked);
        eventually("the list counts", || outcome() == expected);
        assert_eq!(open.get("/").status(), 200);
    }
    pki.revoke("crl.pem", &[]);
    eventually("nothing is revoked", || outcome() == (true, true));
    assert_eq!(refusals(&proxy), 0);
}

/// An authority between the root and the client that is in `ca` next to the root.
#[test]
fn an_authority_that_a_new_list_revokes_vouches_for_no_new_client() {
    let origin = hello();
    let (setup, pki) = asking(origin.address, "ca = \"cas.pem\", crl = \"crl.pem\"");
    pki.issue("direct", &["a.example"]);
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "between");
    let key = KeyPair::generate().expect("a key");
    pki.issue_params("between", params.clone(), &key);
    let between = Issuer::new(params, key);
    let key = KeyPair::generate().expect("a key");
    let client = CertificateParams::new(vec!["client.example".into()]).expect("a name").signed_by(&key, &between);
    fs::write(pki.path("below.pem"), client.expect("signed").pem()).expect("written");
    fs::write(pki.path("below.key"), key.serialize_pem()).expect("written");
    let read = |name| fs::read_to_string(pki.path(name)).expect("it is there");
    fs::write(pki.path("cas.pem"), read("ca.pem") + &read("between.pem")).expect("written");
    let none = CertificateRevocationListParams {
        this_update: date_time_ymd(2024, 1, 1),
        next_update: date_time_ymd(4000, 1, 1),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: Vec::new(),
        key_identifier_method: KeyIdMethod::Sha256,
    };
    let none = none.signed_by(&between).expect("signed").pem().expect("PEM");
    let revoke = |names: &[&str]| {
        pki.revoke("root.crl", names);
        fs::write(pki.path("crl.pem"), read("root.crl") + &none).expect("written");
    };
    revoke(&[]);
    let proxy = setup.start();
    let outcome = || ["direct", "below"].map(|name| is_let_in(&proxy, &pki, (&pki, name)));
    assert_eq!(outcome(), [true, true]);
    revoke(&["between"]);
    eventually("the list counts", || outcome() == [true, false]);
    proxy.wait_for_log("crl.pem revokes authority 2 in ");
    revoke(&["direct"]);
    eventually("the list counts", || outcome() == [false, true]);
    assert_eq!(refusals(&proxy), 0);
}

/// From then on all clients are refused, so that the log must say why.
#[test]
fn a_list_that_runs_out_while_it_is_in_use_is_told() {
    let origin = hello();
    let (setup, pki) = asking(origin.address, VERIFYING);
    pki.revoke("crl.pem", &[]);
    let mut openssl = program("openssl");
    let [config, key, certificate, list] = ["ca.cnf", "ca.key", "ca.pem", "crl.pem"].map(|name| pki.path(name));
    openssl.args(["ca", "-gencrl", "-crlsec", "6", "-config", &config, "-keyfile", &key, "-cert", &certificate]);
    must_run(openssl.args(["-out", &list]));
    let proxy = setup.start();
    // A machine that is too busy to start within that time tells it then.
    proxy.wait_for_log("crl.pem is out of date");
    eventually("it is refused", || !is_let_in(&proxy, &pki, (&pki, "a")));
}

/// Authorities and list change together or not at all, and so do a certificate and its key: neither of these waits for the
/// other.
#[test]
fn a_list_that_cannot_be_used_holds_back_no_certificate_and_is_held_back_by_none() {
    let origin = hello();
    let (setup, pki) = asking(origin.address, VERIFYING);
    for name in ["client", "other"] {
        pki.issue(name, &["a.example"]);
    }
    pki.revoke("crl.pem", &["client"]);
    let proxy = setup.start();
    let outcome = || ["client", "other"].map(|name| is_let_in(&proxy, &pki, (&pki, name)));
    assert_eq!(outcome(), [false, true]);
    let first = shown(&proxy);

    let elsewhere = tempfile::tempdir().expect("a directory");
    let strangers = Pki::new(elsewhere.path());
    strangers.revoke("crl.pem", &["other"]);
    let list = fs::read(pki.path("crl.pem")).expect("a list");
    let broken = [
        (b"no list".to_vec(), "there is no revocation list in "),
        (list[..list.len() / 2].to_vec(), "crl.pem is not valid PEM"),
        (fs::read(strangers.path("crl.pem")).expect("a list"), " is no authority in "),
    ];
    for (count, (bytes, words)) in (1..).zip(broken) {
        fs::write(pki.path("crl.pem"), bytes).expect("written");
        eventually("it is refused", || refusals(&proxy) >= count);
        proxy.wait_for_log(words);
        assert_eq!(outcome(), [false, true], "the old one stays in force");
    }
    assert!(proxy.stderr().contains("not renewed, what was there before stays in use: "));
    pki.issue("a", &["a.example"]);
    eventually("a certificate does not wait for the list", || shown(&proxy) != first);
    assert_eq!(outcome(), [false, true]);

    let (second, count) = (shown(&proxy), refusals(&proxy));
    fs::copy(pki.path("other.pem"), pki.path("a.pem")).expect("copied");
    eventually("half of a pair is refused", || refusals(&proxy) > count);
    pki.revoke("crl.pem", &["other"]);
    eventually("a list does not wait for the key", || outcome() == [true, false]);
    assert_eq!(shown(&proxy), second);
    fs::copy(pki.path("other.key"), pki.path("a.key")).expect("copied");
    eventually("the other half has come", || shown(&proxy) != second);
}

/// As Kubernetes mounts them: links through `..data`, which is swapped.
#[test]
fn a_list_behind_a_link_that_is_swapped_counts() {
    let origin = hello();
    let (setup, pki) = asking(origin.address, "ca = \"mount/ca.crt\", crl = \"mount/ca.crl\"");
    pki.issue("client", &["client.example"]);
    let elsewhere = tempfile::tempdir().expect("a directory");
    let strangers = Pki::new(elsewhere.path());
    strangers.issue("client", &["client.example"]);
    let mount = setup.dir().join("mount");
    let version = |name: &str, ca: &Pki, list: &Pki, revoked: &[&str]| {
        list.revoke("crl.pem", revoked);
        swap(&mount, name, &[(ca.path("ca.pem"), "ca.crt"), (list.path("crl.pem"), "ca.crl")]);
    };
    version("..1", &pki, &pki, &[]);
    for file in ["ca.crt", "ca.crl"] {
        symlink(format!("..data/{file}"), mount.join(file)).expect("linked");
    }
    let proxy = setup.start();
    let outcome = || [&pki, &strangers].map(|from| is_let_in(&proxy, &pki, (from, "client")));
    assert_eq!(outcome(), [true, false]);
    version("..2", &pki, &pki, &["client"]);
    eventually("it is revoked", || outcome() == [false, false]);
    version("..3", &strangers, &pki, &[]);
    eventually("another authority's list is refused", || refusals(&proxy) == 1);
    assert_eq!(outcome(), [false, false], "and with it the authority");
    version("..4", &strangers, &strangers, &[]);
    eventually("both count", || outcome() == [false, true]);
    version("..5", &pki, &pki, &[]);
    eventually("both count", || outcome() == [true, false]);
    assert_eq!(refusals(&proxy), 1);
}

/// A directory of this name with these files becomes what `..data` leads to.
fn swap(mount: &Path, name: &str, files: &[(String, &str)]) {
    fs::create_dir_all(mount.join(name)).expect("made");
    for (from, to) in files {
        fs::copy(from, mount.join(name).join(to)).expect("copied");
    }
    symlink(name, mount.join("..new")).expect("linked");
    fs::rename(mount.join("..new"), mount.join("..data")).expect("swapped");
}
