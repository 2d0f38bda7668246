//! Many handshakes at a time.

use super::support::{Client, Pki, Setup, eventually};
use super::tls::{curl_to, hello, openssl};
use rcgen::{KeyPair, RsaKeySize};
use std::io::Read;

/// The first message of openssl, as bytes.
fn client_hello() -> Vec<u8> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut client = openssl(listener.local_addr().expect("bound"), &["-servername", "a.example"]);
    let (mut stream, _) = listener.accept().expect("it connects");
    let mut hello = vec![0; 5];
    stream.read_exact(&mut hello).expect("a header");
    hello.resize(5 + usize::from(u16::from_be_bytes([hello[3], hello[4]])), 0);
    stream.read_exact(&mut hello[5..]).expect("the message");
    drop(stream);
    client.wait().expect("it ends");
    hello
}

/// Signatures with RSA are computed on other threads than the shards, and no more connections come in than those can serve;
/// clients that say hello and go away, or stay and say nothing, take nothing from the others.
#[test]
fn a_storm_of_hellos_waits_outside() {
    let origin = hello();
    let setup = Setup::new(&format!(
        r#"
[[listeners]]
address = "127.0.0.1:0"
tls = {{ certificate = "a.pem", key = "a.key" }}
http.routes = [{{ match = {{ prefix = "/" }}, route = {{ cluster = "app" }} }}]
[[clusters]]
name = "app"
endpoints = ["{}"]
"#,
        origin.address
    ))
    .runtime("max_handshakes = 1");
    let pki = Pki::new(setup.dir());
    let rsa = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_4096).expect("a key");
    pki.issue_with("a", &["a.example"], &rsa);
    let proxy = setup.start();
    let threads = || std::fs::read_dir(format!("/proc/{}/task", proxy.pid())).expect("it runs").flatten();
    let names = || threads().flat_map(|thread| std::fs::read_to_string(thread.path().join("comm")));
    assert!(names().any(|name| name.trim() == "worker-0"), "{:?}", names().collect::<Vec<_>>());
    let bytes = client_hello();
    let say_hello = |_| {
        let mut client = Client::open(proxy.address(0));
        client.send(&bytes);
        client
    };
    let _silent: Vec<_> = (0..10).map(|_| Client::open(proxy.address(0))).collect();
    eventually("a listener has stopped accepting", || {
        let replayed: Vec<_> = (0..20).map(say_hello).collect();
        let answer = curl_to(&proxy, &pki, "https://a.example/", &[]);
        assert_eq!((answer.status, &*answer.body), (200, &b"https"[..]), "{answer:?}");
        drop(replayed);
        proxy.stat("shard.0.handshakes_full") > 0
    });
    eventually("nothing is left to compute", || proxy.stat("shard.0.handshakes_active") == 0);
    assert_eq!(proxy.stat("shard.0.panics"), 0);
}
