//! Keys of connections in a file, compared with those that openssl writes itself.

use super::support::{Pki, Ringway, Setup, eventually};
use super::tls::s_client;
use std::collections::BTreeSet;
use std::fs;

/// The first listener logs the keys of clients here, the second one those of others.
fn logging() -> (Ringway, Pki) {
    let listener = |name: &str, address: &str, ranges: &str| {
        let tls = format!("certificate = \"a.pem\", key = \"a.key\", key_log = {{ path = \"{name}\", {ranges} }}");
        format!(
            "[[listeners]]\nname = \"{name}\"\naddress = \"{address}:0\"\ntls = {{ {tls} }}\n\
             http.routes = [{{ match = {{ prefix = \"/\" }}, direct_response = {{ status = 200 }} }}]\n"
        )
    };
    let here = "local_address_range = [\"127.0.0.1/32\"], remote_address_range = [\"10.0.0.0/8\", \"127.0.0.0/8\"]";
    let elsewhere = "local_address_range = [\"127.0.0.2/32\"], remote_address_range = [\"10.0.0.0/8\"]";
    let setup = Setup::new(&(listener("here", "127.0.0.1", here) + &listener("elsewhere", "127.0.0.2", elsewhere)));
    let pki = Pki::new(setup.dir());
    pki.issue("a", &["a.example"]);
    (setup.start(), pki)
}

fn lines(path: &str) -> BTreeSet<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    // A comment says which program has written it.
    text.lines().filter(|line| !line.starts_with('#')).map(str::to_ascii_lowercase).collect()
}

#[test]
fn the_keys_are_those_of_the_client() {
    let (proxy, pki) = logging();
    let own = pki.path("own");
    for (version, labels) in [("-tls1_3", 5), ("-tls1_2", 1)] {
        let _ = fs::remove_file(&own);
        let args = [version, "-servername", "a.example", "-keylogfile", &own];
        s_client(proxy.address(1), &args, b"");
        let unlogged = lines(&own);
        s_client(proxy.address(0), &args, b"");
        let all = lines(&own);
        let logged: BTreeSet<_> = all.difference(&unlogged).cloned().collect();
        assert!(logged.len() >= labels && !unlogged.is_empty(), "{version}: {all:?}");
        eventually("the keys are written", || lines(&pki.path("here")).is_superset(&logged));
        assert!(lines(&pki.path("here")).is_disjoint(&unlogged));
    }
    assert!(!fs::exists(pki.path("elsewhere")).expect("it can be seen"), "no client comes from there");
    // It may be renamed at any time.
    fs::rename(pki.path("here"), pki.path("old")).expect("renamed");
    s_client(proxy.address(0), &["-servername", "a.example", "-keylogfile", &own], b"");
    eventually("there is another file", || !lines(&pki.path("here")).is_empty());
    proxy.wait_for_log("the keys of connections are written to this file");
}
