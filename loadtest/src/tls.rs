//! TLS of the load test's clients, and the certificate that the peers of a comparison get.
//!
//! Everything is pinned to one choice, so that all peers do the same work: TLS 1.3, X25519, AES-256-GCM (what OpenSSL's
//! clients and servers agree on by themselves), a certificate with a P-256 key unless a scenario is about another kind.
use std::collections::VecDeque;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, aws_lc_rs, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, NamedGroup, SignatureScheme};
use serde::{Deserialize, Serialize};

use crate::generator::spec::Wire;
use crate::interrupt;

/// The name that clients ask for, and that the certificate is for.
pub const NAME: &str = "loadtest.example";

/// What the clients of a run have in common.
#[derive(Clone, Debug)]
pub struct Client {
    config: Arc<ClientConfig>,
    tickets: Option<Arc<Tickets>>,
}

impl Client {
    /// Clients that begin with a full handshake each, or with `resumes` go on with an earlier session. They take the
    /// certificate `expected`, or any.
    pub fn new(wire: Wire, resumes: bool, expected: Option<CertificateDer<'static>>) -> anyhow::Result<Client> {
        let provider = CryptoProvider {
            kx_groups: vec![aws_lc_rs::kx_group::X25519],
            cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384],
            ..aws_lc_rs::default_provider()
        };
        let verifier = Verifier { expected, algorithms: provider.signature_verification_algorithms };
        let mut config = ClientConfig::builder_with_provider(Arc::new(provider))
            .with_protocol_versions(&[&rustls::version::TLS13])?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier))
            .with_no_client_auth();
        let tickets = resumes.then(Arc::<Tickets>::default);
        config.resumption = match &tickets {
            Some(tickets) => Resumption::store(Arc::clone(tickets) as Arc<dyn ClientSessionStore>),
            None => Resumption::disabled(),
        };
        config.alpn_protocols = match wire {
            Wire::Http1 => vec![b"http/1.1".to_vec()],
            Wire::Http2 => vec![b"h2".to_vec()],
        };
        Ok(Client { config: Arc::new(config), tickets })
    }

    pub fn session(&self) -> io::Result<ClientConnection> {
        let name = ServerName::try_from(NAME).map_err(io::Error::other)?;
        ClientConnection::new(Arc::clone(&self.config), name).map_err(io::Error::other)
    }

    /// A first message, as clients send it: one that can be sent again and again by a client that goes no further.
    pub fn hello(&self) -> io::Result<Vec<u8>> {
        let mut hello = Vec::new();
        self.session()?.write_tls(&mut hello)?;
        Ok(hello)
    }

    /// Sessions that can be gone on with.
    pub fn tickets(&self) -> usize {
        self.tickets.as_ref().map_or(0, |tickets| tickets.lock().len())
    }

    /// Makes full handshakes with `open` until there are `wanted` tickets. Errors where none come.
    pub fn collect<T>(&self, wanted: usize, mut open: impl FnMut() -> io::Result<T>) -> anyhow::Result<()> {
        let Some(tickets) = &self.tickets else { return Ok(()) };
        tickets.is_collecting.store(true, Ordering::Relaxed);
        let mut result = Ok(());
        while self.tickets() < wanted && !interrupt::requested() && result.is_ok() {
            let before = self.tickets();
            result = match open() {
                Ok(_) if self.tickets() == before => Err(anyhow::anyhow!("it hands out no session tickets")),
                Ok(_) => Ok(()),
                Err(error) => Err(error.into()),
            };
        }
        tickets.is_collecting.store(false, Ordering::Relaxed);
        result
    }
}

/// Tickets of all connections of a run. Each is used once, as RFC 8446 appendix C.4 advises, and the oldest first.
#[derive(Debug, Default)]
struct Tickets {
    queue: Mutex<VecDeque<Tls13ClientSessionValue>>,
    /// Tickets are only kept, so that connections make full handshakes.
    is_collecting: AtomicBool,
}

impl Tickets {
    fn lock(&self) -> MutexGuard<'_, VecDeque<Tls13ClientSessionValue>> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientSessionStore for Tickets {
    fn set_kx_hint(&self, _: ServerName<'static>, _: NamedGroup) {}

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        None
    }

    fn set_tls12_session(&self, _: ServerName<'static>, _: Tls12ClientSessionValue) {}

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        None
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {}

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.lock().push_back(value);
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        if self.is_collecting.load(Ordering::Relaxed) {
            return None;
        }
        self.lock().pop_front()
    }
}

/// Takes one certificate, or any; that the server has its key is verified always, as every client does.
#[derive(Debug)]
struct Verifier {
    expected: Option<CertificateDer<'static>>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.expected {
            Some(expected) if expected != end_entity => Err(rustls::CertificateError::BadEncoding.into()),
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(rustls::PeerIncompatible::ServerDoesNotSupportTls12Or13.into())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}

/// What a certificate's key is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum KeyKind {
    #[default]
    P256,
    /// Signatures of which cost some fifty times as much.
    Rsa4096,
}

impl KeyKind {
    fn generate(self) -> Result<rcgen::KeyPair, rcgen::Error> {
        match self {
            KeyKind::P256 => rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256),
            KeyKind::Rsa4096 => rcgen::KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_4096),
        }
    }

    /// For directories.
    pub fn name(self) -> &'static str {
        match self {
            KeyKind::P256 => "p256",
            KeyKind::Rsa4096 => "rsa4096",
        }
    }
}

/// A certificate that signs itself, with its key, in files as the peers want them.
#[derive(Clone, Debug)]
pub struct Identity {
    pub certificate: CertificateDer<'static>,
    /// `cert.pem`, `key.pem` and, for HAProxy, `both.pem` are here.
    pub directory: PathBuf,
}

impl Identity {
    pub fn make(directory: &Path, kind: KeyKind) -> anyhow::Result<Identity> {
        let key = kind.generate()?;
        let mut params = rcgen::CertificateParams::new(vec![NAME.to_owned()])?;
        params.distinguished_name.push(rcgen::DnType::CommonName, NAME);
        let certificate = params.self_signed(&key)?;
        let (cert_pem, key_pem) = (certificate.pem(), key.serialize_pem());
        fs::create_dir_all(directory)?;
        let directory = fs::canonicalize(directory)?;
        for (name, text) in
            [("cert.pem", &cert_pem), ("key.pem", &key_pem), ("both.pem", &(key_pem.clone() + &cert_pem))]
        {
            fs::write(directory.join(name), text)
                .with_context(|| format!("cannot write {name} in {}", directory.display()))?;
        }
        Ok(Identity { certificate: certificate.der().clone(), directory })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::thread;

    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject;
    use rustls::{HandshakeKind, ServerConfig, ServerConnection, StreamOwned};

    use super::*;
    use crate::generator::background::Caller;
    use crate::generator::spec::{Expect, ExpectStatus, Prepared, RequestText, Reuse};

    /// Answers `connections` requests, each on a connection of its own, and hands out one ticket in each.
    fn serve(identity: &Identity, connections: usize) -> SocketAddr {
        let key = PrivateKeyDer::from_pem_file(identity.directory.join("key.pem")).unwrap();
        let provider = Arc::new(aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![identity.certificate.clone()], key)
            .unwrap();
        config.ticketer = aws_lc_rs::Ticketer::new().unwrap();
        config.send_tls13_tickets = 1;
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        thread::spawn(move || {
            for _ in 0..connections {
                let (stream, _) = listener.accept().unwrap();
                let mut tls = StreamOwned::new(ServerConnection::new(Arc::clone(&config)).unwrap(), stream);
                // A client that refuses the certificate ends this connection, and the next one is served.
                if matches!(tls.read(&mut [0; 1_024]), Ok(1..)) {
                    tls.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").unwrap();
                    tls.flush().unwrap();
                }
            }
        });
        address
    }

    fn caller(resumes: bool, expected: &Identity) -> Caller {
        let request = Prepared::new(RequestText {
            method: "GET",
            target: "/",
            host: NAME,
            fields: &[],
            upload: None,
            reuse: Reuse::KeepAlive,
            expect: Expect { status: ExpectStatus::Exactly(200), content: None, grpc: false },
            secure: true,
        });
        let tls = Client::new(Wire::Http1, resumes, Some(expected.certificate.clone())).unwrap();
        Caller { request, wire: Wire::Http1, tls: Some(tls) }
    }

    fn kind(caller: &Caller, address: SocketAddr) -> Option<HandshakeKind> {
        caller.open(address).unwrap().take_handshake()
    }

    #[test]
    fn handshakes_are_full_or_resumed_as_was_asked_for() {
        let directory = tempfile::tempdir().unwrap();
        let identity = Identity::make(directory.path(), KeyKind::P256).unwrap();
        let address = serve(&identity, 8);
        let full = caller(false, &identity);
        assert_eq!([kind(&full, address), kind(&full, address)], [Some(HandshakeKind::Full); 2]);
        let resuming = caller(true, &identity);
        resuming.tls.as_ref().unwrap().collect(3, || resuming.open(address)).unwrap();
        assert_eq!(resuming.tls.as_ref().unwrap().tickets(), 3);
        for _ in 0..2 {
            assert_eq!(kind(&resuming, address), Some(HandshakeKind::Resumed));
        }
    }

    #[test]
    fn another_certificate_is_refused() {
        let directories = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let [own, other] =
            directories.each_ref().map(|directory| Identity::make(directory.path(), KeyKind::P256).unwrap());
        assert!(caller(false, &other).open(serve(&own, 1)).is_err());
    }
}
