//! TLS between the peers of a test and the proxy: a relay gives each peer the plain end of a pipe, and what happens on one
//! side happens on the other. A FIN is a close_notify with a FIN; a FIN alone is a connection that was cut, so a reset.

use rcgen::{CertificateParams, KeyPair, PKCS_ED25519, date_time_ymd};
use ringway::net::{PipeEnd, Protocol, pipe};
use ringway::ring::Reactor;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection};
use std::cell::Cell;
use std::io::{Read, Write};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, LazyLock};
use std::task::Poll;

/// Bytes of a plain pipe, in each direction.
const CAPACITY: usize = 16 * 1024;

/// One certificate for all, its own authority; signatures of Ed25519 are all of one length. It is valid when virtual time
/// begins, and at no time at which this can be run.
struct Identity {
    dir: tempfile::TempDir,
    certificate: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
}

static IDENTITY: LazyLock<Identity> = LazyLock::new(|| {
    let dir = tempfile::tempdir().expect("a directory");
    let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
    let mut params = CertificateParams::new(vec!["h".into(), "127.0.0.1".into()]).expect("names");
    (params.not_before, params.not_after) = (date_time_ymd(2025, 12, 31), date_time_ymd(2026, 2, 1));
    let certificate = params.self_signed(&key).expect("signed");
    std::fs::write(dir.path().join("cert.pem"), certificate.pem()).expect("written");
    std::fs::write(dir.path().join("key.pem"), key.serialize_pem()).expect("written");
    let key = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
    Identity { dir, certificate: certificate.der().clone(), key }
});

/// The files of the certificate and its key, for the proxy.
pub fn files() -> [PathBuf; 2] {
    ["cert.pem", "key.pem"].map(|name| IDENTITY.dir.path().join(name))
}

/// What the peers of one run bring along.
pub struct Veil {
    client: Arc<ClientConfig>,
    server: Arc<ServerConfig>,
}

fn alpn(protocol: Protocol) -> Vec<Vec<u8>> {
    match protocol {
        Protocol::Http1 => vec![b"http/1.1".to_vec()],
        Protocol::Http2 => vec![b"h2".to_vec()],
    }
}

impl Veil {
    /// Its peers go by the clock of this reactor.
    pub fn new(wires: (Protocol, Protocol), reactor: &Reactor) -> Self {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let mut roots = RootCertStore::empty();
        roots.add(IDENTITY.certificate.clone()).expect("an authority");
        let client = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
        let mut client = client.expect("versions").with_root_certificates(roots).with_no_client_auth();
        client.time_provider = Arc::new(reactor.wall());
        client.alpn_protocols = alpn(wires.0);
        let server = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let server = server.expect("versions").with_no_client_auth();
        let chain = vec![IDENTITY.certificate.clone()];
        let mut server = server.with_single_cert(chain, IDENTITY.key.clone_key()).expect("a pair");
        server.time_provider = Arc::new(reactor.wall());
        server.alpn_protocols = alpn(wires.1);
        Self { client: Arc::new(client), server: Arc::new(server) }
    }

    pub fn client(&self) -> Connection {
        let name = ServerName::try_from("h").expect("a name");
        ClientConnection::new(self.client.clone(), name).expect("a connection").into()
    }

    pub fn server(&self) -> Connection {
        ServerConnection::new(self.server.clone()).expect("a connection").into()
    }
}

pub struct Relay {
    /// The peer's side.
    far: PipeEnd,
    wire: PipeEnd,
    tls: Connection,
    /// The peer has sent all that it sends, and the proxy.
    has_left: bool,
    was_left: bool,
    /// Since the last look.
    moved: Cell<bool>,
}

impl Relay {
    /// A relay, and the peer's end.
    pub fn new(reactor: &Rc<Reactor>, wire: PipeEnd, mut tls: Connection) -> (Self, PipeEnd) {
        tls.set_buffer_limit(None);
        let (near, far) = pipe(reactor, CAPACITY);
        (Self { far, wire, tls, has_left: false, was_left: false, moved: Cell::new(false) }, near)
    }

    /// Ready when one of the two is gone.
    pub fn poll(&mut self) -> Poll<()> {
        loop {
            self.moved.set(false);
            if self.receive().is_err() {
                self.send();
                self.far.reset();
                self.wire.reset();
                return Poll::Ready(());
            }
            self.send();
            let is_gone = |left: bool, end: &PipeEnd| left && end.is_broken();
            let is_over = is_gone(self.has_left, &self.far) || is_gone(self.was_left, &self.wire);
            if is_over || self.has_left && self.was_left {
                return Poll::Ready(());
            }
            if !self.moved.get() {
                return Poll::Pending;
            }
        }
    }

    /// # Errors
    /// One side broke the connection.
    fn receive(&mut self) -> Result<(), ()> {
        if !self.was_left && self.far.poll_flushed(0).is_ready() {
            match self.wire.poll_recv() {
                Poll::Pending => {}
                Poll::Ready(Err(_)) => return Err(()),
                Poll::Ready(Ok(Some(bytes))) => {
                    let mut rest = &bytes[..];
                    while !rest.is_empty() {
                        self.tls.read_tls(&mut rest).map_err(drop)?;
                        let state = self.tls.process_new_packets().map_err(drop)?;
                        let mut plain = vec![0; state.plaintext_bytes_to_read()];
                        self.tls.reader().read_exact(&mut plain).map_err(drop)?;
                        self.far.write(&plain);
                        if state.peer_has_closed() && !self.was_left {
                            self.was_left = true;
                            self.far.shutdown_write();
                        }
                    }
                    self.moved.set(true);
                }
                // Cut: nothing said that this is all.
                Poll::Ready(Ok(None)) => return Err(()),
            }
        }
        if !self.has_left && self.wire.poll_flushed(CAPACITY).is_ready() {
            match self.far.poll_recv() {
                Poll::Pending => {}
                Poll::Ready(Err(_)) => return Err(()),
                Poll::Ready(Ok(Some(bytes))) => {
                    self.tls.writer().write_all(&bytes).map_err(drop)?;
                    self.moved.set(true);
                }
                Poll::Ready(Ok(None)) => {
                    self.has_left = true;
                    self.tls.send_close_notify();
                    self.moved.set(true);
                }
            }
        }
        Ok(())
    }

    fn send(&mut self) {
        let mut out = Vec::new();
        while self.tls.wants_write() {
            self.tls.write_tls(&mut out).expect("a vector takes it");
        }
        if !out.is_empty() {
            self.wire.write(&out);
        }
        if self.has_left {
            self.wire.shutdown_write();
        }
    }
}
