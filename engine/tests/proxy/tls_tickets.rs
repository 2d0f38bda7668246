//! Session tickets whose keys are in files that several processes share.

use super::support::{Pki, Ringway, Setup, eventually};
use super::tls::{hello, s_client, secured};
use std::fs;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";

/// How openssl's handshake went: with a session that it keeps in this file, or that it brings from there.
fn handshake(proxy: &Ringway, version: &str, option: &str, session: &str) -> String {
    let args = [version, "-servername", "a.example", "-ign_eof", option, session];
    let text = s_client(proxy.address(0), &args, REQUEST);
    assert!(text.contains("HTTP/1.1 200"), "{text}");
    text
}

/// The second process has a directory of its own, with copies of the files and another order of keys.
#[test]
fn a_session_of_one_process_goes_on_at_another() {
    let origin = hello();
    let start = |keys: &str, from: Option<&Pki>| {
        let tls = format!("certificate = \"a.pem\", key = \"a.key\", session_ticket_keys = [{keys}]");
        let setup = Setup::new(&secured(origin.address, &tls, ""));
        let pki = Pki::new(setup.dir());
        match from {
            None => {
                pki.issue("a", &["a.example"]);
                fs::write(pki.path("1.key"), [1; 80]).expect("written");
                fs::write(pki.path("2.key"), [2; 80]).expect("written");
            }
            Some(from) => ["a.pem", "a.key", "1.key", "2.key"].into_iter().for_each(|name| {
                fs::copy(from.path(name), pki.path(name)).expect("copied");
            }),
        }
        (setup.start(), pki)
    };
    let (first, files) = start("\"1.key\"", None);
    let (second, copies) = start("\"2.key\", \"1.key\"", Some(&files));
    for version in ["-tls1_3", "-tls1_2"] {
        let session = files.path("session");
        assert!(handshake(&first, version, "-sess_out", &session).contains("New, TLSv1"));
        assert!(handshake(&second, version, "-sess_in", &session).contains("Reused, TLSv1"), "{version}");
        // What the second one seals, the first cannot open yet.
        assert!(handshake(&second, version, "-sess_out", &session).contains("New, TLSv1"));
        assert!(handshake(&first, version, "-sess_in", &session).contains("New, TLSv1"), "{version}");
    }
    assert_eq!(second.stat("listener.main.ssl.session_reused"), 2);
    // The key goes to the first process without a restart, where the second one's session is waiting for it.
    let session = files.path("session");
    handshake(&second, "-tls1_3", "-sess_out", &session);
    fs::copy(copies.path("2.key"), files.path("1.key")).expect("copied");
    eventually("the other key is in use", || first.stat("server.tls_files_renewed") == 1);
    assert!(handshake(&first, "-tls1_3", "-sess_in", &session).contains("Reused, TLSv1.3"));
    // A file that holds no key changes nothing.
    fs::write(files.path("1.key"), "no key").expect("written");
    first.wait_for_log("and a key of tickets has 80 or 48");
    handshake(&second, "-tls1_3", "-sess_out", &session);
    assert!(handshake(&first, "-tls1_3", "-sess_in", &session).contains("Reused, TLSv1.3"));
}

/// A session of a site that asks clients for nothing must not open one that does, with the same certificate and the same key.
#[test]
fn a_session_does_not_go_on_where_clients_are_asked_for_certificates() {
    let origin = hello();
    let tls = "certificate = \"a.pem\", key = \"a.key\"";
    let lax = secured(origin.address, &format!("{tls}, session_ticket_keys = [\"t.key\"]"), "");
    let strict = "session_ticket_keys = [\"t.key\"], client_certificate = { ca = \"ca.pem\" }";
    let strict = secured(origin.address, &format!("{tls}, {strict}"), "");
    let setup = Setup::new(&lax);
    let pki = Pki::new(setup.dir());
    pki.issue("a", &["a.example"]);
    fs::write(pki.path("t.key"), [7; 80]).expect("written");
    let proxy = setup.start();
    let other = Setup::new(&strict);
    ["a.pem", "a.key", "ca.pem", "t.key"].into_iter().for_each(|name| {
        fs::copy(pki.path(name), other.dir().join(name)).expect("copied");
    });
    let other = other.start();
    other.wait_for_log(
        "`session_ticket_keys` has no effect: a client with a certificate makes a full handshake each time",
    );
    let session = pki.path("session");
    for version in ["-tls1_3", "-tls1_2"] {
        handshake(&proxy, version, "-sess_out", &session);
        let args = [version, "-servername", "a.example", "-ign_eof", "-sess_in", &session];
        let text = s_client(other.address(0), &args, REQUEST);
        assert!(!text.contains("Reused, ") && !text.contains("HTTP/1.1 200"), "{version}: {text}");
    }
    eventually("both are refused", || other.stat("listener.main.ssl.fail_verify_no_cert") == 2);
}
