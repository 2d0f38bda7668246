//! Files of TLS that change while the proxy runs.

use super::cli::ringway;
use super::support::{Client, Pki, Ringway, Setup, eventually};
use super::tls::{
    curl_as, egress, front, hello, is_reached, is_served, openssl, pair, secure_origin, secured, shown, verifying,
};
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, date_time_ymd};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::symlink;
use std::time::{Duration, SystemTime};

fn renewed(proxy: &Ringway) -> i64 {
    proxy.stat("server.tls_files_renewed")
}

/// As Kubernetes mounts a secret: `tls.crt` is a link through `..data`, and a new version changes that one.
#[test]
fn a_link_that_is_swapped_renews_what_is_behind_it() {
    let origin = hello();
    let tls = "certificate = \"mount/tls.crt\", key = \"mount/tls.key\"";
    let setup = Setup::new(&secured(origin.address, tls, ""));
    let pki = Pki::new(setup.dir());
    let mount = setup.dir().join("mount");
    let version = |name: &str| {
        let to = mount.join(name);
        fs::create_dir_all(&to).expect("made");
        pki.issue("a", &["a.example"]);
        fs::rename(pki.path("a.pem"), to.join("tls.crt")).expect("moved");
        fs::rename(pki.path("a.key"), to.join("tls.key")).expect("moved");
        symlink(name, mount.join("..new")).expect("linked");
        fs::rename(mount.join("..new"), mount.join("..data")).expect("swapped");
    };
    version("..1");
    symlink("..data/tls.crt", mount.join("tls.crt")).expect("linked");
    symlink("..data/tls.key", mount.join("tls.key")).expect("linked");
    let proxy = setup.start();
    let first = shown(&proxy);
    let mut open = openssl(proxy.address(0), &["-servername", "a.example", "-quiet"]);
    let (mut to, from) = (open.stdin.take().expect("piped"), open.stdout.take().expect("piped"));
    let mut from = BufReader::new(from);
    let mut ask = || {
        to.write_all(b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n").expect("it reads");
        let mut line = String::new();
        while !line.ends_with("https") {
            line.clear();
            let buffered = from.fill_buf().expect("it answers");
            assert!(!buffered.is_empty(), "the connection is open");
            line.push_str(&String::from_utf8_lossy(buffered));
            let used = buffered.len();
            from.consume(used);
        }
    };
    ask();
    for (name, so_far) in [("..2", 2), ("..3", 4)] {
        version(name);
        eventually("both files are in use", || renewed(&proxy) == so_far);
        assert_ne!(shown(&proxy), first);
        ask();
    }
    proxy.wait_for_log("renewed: new connections use these files");
    assert_eq!(proxy.stat("server.tls_files_refused"), 0);
    // With -quiet, the end of its input does not end it.
    open.kill().expect("it runs");
    open.wait().expect("it ends");
}

/// A pair changes together or not at all, and holds back nothing else.
#[test]
fn half_of_a_pair_is_refused_and_the_rest_is_taken() {
    let origin = hello();
    let (proxy, pki) = front(origin.address, ", client_certificate = { ca = \"ca.pem\" }", "");
    let other = tempfile::tempdir().expect("a directory");
    let strangers = Pki::new(other.path());
    strangers.issue("s", &["s.example"]);
    let get = |from: &Pki, name: &str| curl_as(&proxy, &pki, "https://a.example/", (from, name), &["-k"]).status;
    assert_eq!((get(&pki, "client"), get(&strangers, "s")), (200, 0));
    let first = shown(&proxy);
    pki.issue("new", &["a.example"]);
    fs::copy(pki.path("new.pem"), pki.path("a.pem")).expect("copied");
    eventually("the half is refused", || proxy.stat("server.tls_files_refused") > 0);
    proxy.wait_for_log("not renewed, what was there before stays in use: ");
    assert_eq!(shown(&proxy), first, "the old one stays in use");
    fs::copy(strangers.path("ca.pem"), pki.path("ca.pem")).expect("copied");
    eventually("other authorities count", || (get(&pki, "client"), get(&strangers, "s")) == (0, 200));
    assert_eq!(shown(&proxy), first);
    fs::copy(pki.path("new.key"), pki.path("a.key")).expect("copied");
    eventually("the other half has come", || shown(&proxy) != first);
}

#[test]
fn a_cluster_takes_renewed_authorities() {
    let setup = Setup::new("");
    let pki = Pki::new(setup.dir());
    pki.issue("origin", &["origin.example"]);
    let other = tempfile::tempdir().expect("a directory");
    let strangers = Pki::new(other.path());
    fs::copy(strangers.path("ca.pem"), pki.path("trusted.pem")).expect("copied");
    let origin = secure_origin(&pki, "");
    let proxy = egress(setup, origin.address, &["ca = \"trusted.pem\", sni = \"origin.example\""]);
    let status = || Client::open(proxy.address(0)).get("/").status();
    assert_eq!(status(), 503);
    fs::copy(pki.path("ca.pem"), pki.path("trusted.pem")).expect("copied");
    eventually("the endpoint is trusted", || status() == 200);
}

/// As OpenSSL does it. A new certificate of the authority, with the same key, is taken without a restart.
#[test]
fn an_authority_out_of_date_is_not_trusted_until_it_is_renewed() {
    let setup = Setup::new("");
    let pki = Pki::new(setup.dir());
    pki.date("trusted", 1999, 2020);
    let (proxy, _origin) = verifying(setup, &pki, "ca = \"trusted.pem\"");
    let (served, reached) = (|| is_served(&proxy, &pki), || is_reached(&proxy));
    proxy.wait_for_log("certificates that it has issued are refused");
    assert_eq!((served(), reached()), (false, false));
    proxy.wait_for_stat("listener.main.ssl.fail_verify_error", 1);
    assert_eq!(proxy.stat("cluster.app.ssl.fail_verify_error"), 1);
    let line = proxy.log_lines("log", 1).remove(0);
    let words = "503 UF TLS: invalid peer certificate: the authority CN=authority in ";
    assert!(line.starts_with(words) && line.contains(" has expired, at Jan  1 00:00:00 2020"), "{line}");
    pki.date("trusted", 2999, 3000);
    eventually("what is not valid yet is taken, too", || renewed(&proxy) > 0);
    assert_eq!((served(), reached()), (false, false));
    fs::copy(pki.path("ca.pem"), pki.path("trusted.pem")).expect("copied");
    eventually("the renewed authority counts", || (served(), reached()) == (true, true));
}

/// What `/certs`, the statistic and `check` say of dates and of an authority that is used as a server's certificate.
#[test]
fn dates_of_certificates_are_shown() {
    let origin = hello();
    let setup = Setup::new("");
    let pki = Pki::new(setup.dir());
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let at = |days: i64| {
        // A little later, so that whole days are left for a while.
        let seconds = now.as_secs().saturating_add_signed(86_400 * days) + 3600;
        date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds)
    };
    let issue = |name: &str, from: i64, until: i64| {
        let mut params = CertificateParams::new(vec![format!("{name}.example")]).expect("a name");
        (params.not_before, params.not_after) = (at(from), at(until));
        pki.issue_params(name, params, &KeyPair::generate().expect("a key"));
    };
    issue("soon", -1, 5);
    issue("gone", -9, -2);
    issue("later", 3, 90);
    fs::copy(pki.path("ca.pem"), pki.path("authority.pem")).expect("copied");
    fs::copy(pki.path("ca.key"), pki.path("authority.key")).expect("copied");
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    (params.not_before, params.not_after) = (at(-9), at(-1));
    pki.issue_params("old-ca", params, &KeyPair::generate().expect("a key"));
    let config = |names: &[&str], more: &str| {
        let certificates: Vec<_> = names.iter().map(|name| pair(name)).collect();
        secured(origin.address, &format!("certificates = [{}]{more}", certificates.join(", ")), "")
    };
    let file = setup.dir().join("check.toml");
    let with_ca = config(&["soon", "gone", "later", "authority"], ", client_certificate = { ca = \"old-ca.pem\" }");
    fs::write(&file, with_ca).expect("written");
    let output = ringway(&["check", "--strict", file.to_str().expect("text")]);
    let text = String::from_utf8_lossy(&output.stderr).into_owned() + &String::from_utf8_lossy(&output.stdout);
    assert!(!output.status.success(), "{text}");
    for what in [
        "gone.pem expired at ",
        "later.pem is valid only from ",
        "authority.pem says that it is an authority",
        "old-ca.pem expired at ",
    ] {
        assert!(text.contains(what), "{what}: {text}");
    }
    assert!(!text.contains("/soon.pem "), "{text}");

    let proxy = setup.replace_config(&config(&["soon"], "")).start();
    assert_eq!(proxy.stat("server.days_until_first_cert_expiring"), 5);
    let certs = proxy.admin("GET", "/certs");
    let shown: serde_json::Value = serde_json::from_str(certs.text()).expect("JSON");
    let chain = &shown["certificates"][0]["cert_chain"][0];
    assert_eq!(chain["days_until_expiration"], "5");
    assert_eq!(chain["subject_alt_names"][0]["dns"], "soon.example");
    assert!(chain["path"].as_str().expect("text").ends_with("/soon.pem"));
    issue("soon", -1, 50);
    eventually("a renewed one is shown", || proxy.stat("server.days_until_first_cert_expiring") == 50);
}
