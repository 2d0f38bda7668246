//! The same over TLS: by what ALPN will agree on, before the handshake.

use super::spread_tests::{World, begin, get};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

/// A client of a listener whose certificate is for `a.example`.
struct Client {
    stream: UnixStream,
    session: ClientConnection,
    received: Vec<u8>,
}

impl Client {
    /// Its first message is said in these pieces, with turns of the shards between them.
    fn new(world: &World, protocols: &[&str], certificate: &CertificateDer<'static>, cuts: &[usize]) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(certificate.clone()).expect("a certificate");
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let mut config = builder.expect("versions").with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let name = ServerName::try_from("a.example").expect("a name");
        let mut session = ClientConnection::new(Arc::new(config), name).expect("a session");
        let mut hello = Vec::new();
        session.write_tls(&mut hello).expect("a vector takes everything");
        let mut stream = world.connect(0).into_stream();
        let mut said = 0;
        for cut in cuts.iter().copied().chain([hello.len()]) {
            stream.write_all(&hello[said..cut]).expect("there is room");
            said = cut;
            (0..6).for_each(|turn| world.turn(turn % 2));
        }
        Self { stream, session, received: Vec::new() }
    }

    /// Say it, and read until `done`.
    fn say(&mut self, world: &World, bytes: &[u8], done: impl Fn(&[u8]) -> bool) {
        self.session.writer().write_all(bytes).expect("it is kept");
        world.until("it is answered", || {
            let Self { stream, session, received } = self;
            while session.wants_write() {
                session.write_tls(stream).expect("there is room");
            }
            match session.read_tls(stream) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => panic!("{error}"),
            }
            session.process_new_packets().expect("no alert");
            let mut more = Vec::new();
            // It ends with "would block", and what came is there.
            let _ = session.reader().read_to_end(&mut more);
            received.extend(more);
            done(received)
        });
    }
}

/// A world whose listener has TLS, and its certificate.
fn world(http: &str) -> (World, CertificateDer<'static>, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("a directory");
    let issued = rcgen::generate_simple_self_signed(vec!["a.example".into()]).expect("a certificate");
    let (chain, key) = (dir.path().join("a.pem"), dir.path().join("a.key"));
    std::fs::write(&chain, issued.cert.pem()).expect("written");
    std::fs::write(&key, issued.signing_key.serialize_pem()).expect("written");
    let tls = format!("tls = {{ certificate = \"{}\", key = \"{}\" }}\n", chain.display(), key.display());
    (World::with(&tls, http), issued.cert.der().clone(), dir)
}

fn has_response(received: &[u8]) -> bool {
    received.windows(5).any(|part| part == b"hello")
}

#[test]
fn a_connection_goes_before_its_handshake() {
    let (world, certificate, _dir) = world("");
    let mut count = 0;
    let h2 = [begin(), get(1, "/")].concat();
    for cuts in [&[][..], &[1], &[5], &[6, 100], &[43, 44, 45, 200]] {
        let mut first = Client::new(&world, &["h2"], &certificate, &[]);
        assert_eq!(world.moved(), [0, count], "nothing is carried anywhere");
        let mut second = Client::new(&world, &["h2", "http/1.1"], &certificate, cuts);
        world.until("it is taken over", || world.moved() == [0, count + 1]);
        for client in [&mut first, &mut second] {
            client.say(&world, &h2, has_response);
            assert_eq!(client.session.alpn_protocol(), Some(&b"h2"[..]));
        }
        assert_eq!(world.connections(), [1, 1], "{cuts:?}");
        count += 1;
        drop((first, second));
        world.until("they have ended", || world.connections() == [0, 0]);
    }
    assert_eq!(world.stat("listener.main.ssl.handshake"), 2 * count);
    world.finish(2 * count);
}

/// Neither is one whose client takes no part in the choice of a protocol.
#[test]
fn one_that_will_speak_http1_is_not_moved() {
    let (world, certificate, _dir) = world("");
    let mut clients = Vec::new();
    for protocols in [&["http/1.1"][..], &[], &["other"], &["http/1.1"]] {
        let mut client = Client::new(&world, protocols, &certificate, &[7]);
        client.say(&world, b"GET / HTTP/1.1\r\nHost: a.example\r\n\r\n", has_response);
        clients.push(client);
    }
    assert_eq!((world.moved(), world.connections()), ([0, 0], [4, 0]));
    drop(clients);
    world.finish(4);
}

/// Where all clients speak HTTP/2, ALPN is not asked. A handshake that fails leaves nothing behind.
#[test]
fn without_alpn_the_listener_knows() {
    let (world, certificate, _dir) = world("codec_type = \"http2\"");
    let h2 = [begin(), get(1, "/")].concat();
    let mut first = Client::new(&world, &[], &certificate, &[]);
    let mut second = Client::new(&world, &[], &certificate, &[]);
    for client in [&mut first, &mut second] {
        client.say(&world, &h2, has_response);
    }
    assert_eq!((world.moved(), world.connections()), ([0, 1], [1, 1]));
    let before = world.stat("listener.main.ssl.connection_error");
    for _ in 0..3 {
        drop(Client::new(&world, &[], &certificate, &[]));
        world.until("it has failed", || world.connections() == [1, 1]);
    }
    // None of those counts any more: there is as much to do on either shard.
    let stays = Client::new(&world, &[], &certificate, &[]);
    world.until("it is there", || world.connections().iter().sum::<usize>() == 3);
    let failed = world.stat("listener.main.ssl.connection_error") - before;
    assert_eq!((world.connections(), failed), ([2, 1], 3));
    drop((first, second, stays));
    world.until("all have ended", || world.connections() == [0, 0]);
    assert_eq!(world.plan_used(), 0);
    assert_eq!(world.stat("listener.main.downstream_pre_cx_active"), 0);
}
