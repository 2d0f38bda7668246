//! Many handshakes at a time.

use super::support::{Client, Pki, Setup, eventually};
use super::tls::{HELLO, curl_to, hello, secured};
use rcgen::{KeyPair, RsaKeySize};

/// Signatures with RSA are computed on other threads than the shards, and no more connections come in than those can serve;
/// clients that say hello and go away, or stay and say nothing, take nothing from the others.
#[test]
fn a_storm_of_hellos_waits_outside() {
    let origin = hello();
    let tls = "certificate = \"a.pem\", key = \"a.key\"";
    let setup = Setup::new(&secured(origin.address, tls, "")).runtime("max_handshakes = 1");
    let pki = Pki::new(setup.dir());
    let rsa = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_4096).expect("a key");
    pki.issue_with("a", &["a.example"], &rsa);
    let proxy = setup.start();
    let threads = || std::fs::read_dir(format!("/proc/{}/task", proxy.pid())).expect("it runs").flatten();
    let names = || threads().flat_map(|thread| std::fs::read_to_string(thread.path().join("comm")));
    assert!(names().any(|name| name.trim() == "worker-0"), "{:?}", names().collect::<Vec<_>>());
    let say_hello = |_| {
        let mut client = Client::open(proxy.address(0));
        client.send(HELLO);
        client
    };
    let _silent: Vec<_> = (0..10).map(|_| Client::open(proxy.address(0))).collect();
    eventually("a listener has stopped accepting", || {
        let replayed: Vec<_> = (0..20).map(say_hello).collect();
        let answer = curl_to(&proxy, &pki, "https://a.example/", &[]);
        // On a busy machine it may wait for the second after which it gives way.
        let has_given_way = answer.status == 0 && proxy.stat("shard.0.handshakes_shed") > 0;
        assert!(has_given_way || (answer.status, &*answer.body) == (200, &b"https"[..]), "{answer:?}");
        drop(replayed);
        proxy.stat("shard.0.handshakes_full") > 0
    });
    eventually("nothing is left to compute", || proxy.stat("shard.0.handshakes_active") == 0);
    assert_eq!(curl_to(&proxy, &pki, "https://a.example/", &[]).status, 200);
    assert_eq!(proxy.stat("shard.0.panics"), 0);
}
