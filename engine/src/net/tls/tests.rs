//! Handshakes and bytes over pipes, both ends by this module; the files that a configuration names.

mod authorities;
mod badssl;
mod bytes;
mod content;
mod files;
mod fingerprints;
mod handshakes;
mod hello;
mod identity;
mod outgoing;
mod purpose;
mod revocation;
mod standing;
mod staples;
mod validation;
mod virtual_time;

use super::content::Wanted;
use super::*;
use crate::net::{Arrival, ByteStream, Noted, PipeEnd, pipe};
use crate::ring::{PoolSize, Reactor, Segment};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use ringway_config::model::{
    Address, Certificate, CipherSuite, ClientCertificate, DownstreamTls, Group, OcspStaplePolicy, PemFile, Place,
    TlsFingerprints, TlsParameters, TlsVersion, UpstreamTls, Validation,
};
use std::cell::RefCell;
use std::future::poll_fn;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// Bytes that do not repeat soon.
fn pattern(len: usize) -> Vec<u8> {
    (0..len as u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect()
}

/// A directory with an authority's certificate, `ca.pem`, and those that it issues.
struct Files {
    dir: tempfile::TempDir,
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Files {
    fn new() -> Self {
        Self::of(CertificateParams::default())
    }

    /// An authority with these dates and so on.
    fn of(mut params: CertificateParams) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let name = format!("authority in {}", dir.path().display());
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed");
        std::fs::write(dir.path().join("ca.pem"), ca.pem()).expect("written");
        Self { dir, ca }
    }

    fn params(names: &[&str]) -> CertificateParams {
        CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).expect("names")
    }

    /// A certificate with these names, in files that are named after the first one.
    fn issue(&self, names: &[&str]) -> Certificate {
        self.issue_with(&Self::params(names), names[0], &KeyPair::generate().expect("a key"))
    }

    fn issue_with(&self, params: &CertificateParams, name: &str, key: &KeyPair) -> Certificate {
        let certificate = params.signed_by(key, &self.ca).expect("signed");
        let write = |extension: &str, text: &str| {
            let path = self.dir.path().join(format!("{name}.{extension}"));
            std::fs::write(&path, text).expect("written");
            file(&path)
        };
        Certificate {
            chain: write("pem", &certificate.pem()),
            key: write("key", &key.serialize_pem()),
            ocsp_staple: None,
        }
    }

    fn ca(&self) -> PemFile {
        file(&self.dir.path().join("ca.pem"))
    }
}

fn file(path: &Path) -> PemFile {
    PemFile { path: path.to_owned(), place: Place { line: 7, column: 3 } }
}

fn parameters() -> TlsParameters {
    TlsParameters {
        min_version: TlsVersion::V1_2,
        max_version: TlsVersion::V1_3,
        cipher_suites: vec![
            CipherSuite::Aes128GcmSha256,
            CipherSuite::EcdheEcdsaAes128GcmSha256,
            CipherSuite::EcdheRsaAes128GcmSha256,
        ],
        groups: vec![Group::X25519MlKem768, Group::X25519, Group::P256],
    }
}

fn downstream(certificates: Vec<Certificate>) -> DownstreamTls {
    DownstreamTls {
        place: Place::default(),
        certificates,
        strict_sni: false,
        ocsp_staple_policy: OcspStaplePolicy::Lenient,
        parameters: parameters(),
        alpn_protocols: vec!["http/1.1".into()],
        session_tickets: true,
        session_ticket_keys: Vec::new(),
        client_certificate: None,
        key_log: None,
        handshake_timeout: Duration::from_secs(10),
    }
}

fn upstream(files: &Files, sni: &str) -> UpstreamTls {
    UpstreamTls {
        place: Place::default(),
        sni: Some(sni.into()),
        auto_sni: false,
        validation: by(files),
        certificate: None,
        parameters: parameters(),
        session_resumption: true,
        alpn_protocols: &[],
    }
}

/// The authority of these must have issued the certificate.
fn by(files: &Files) -> Validation {
    Validation { ca: Some(files.ca()), ..Validation::default() }
}

fn server(model: &DownstreamTls) -> Arc<Server> {
    Server::load(model, &mut Context::default(), None).expect("it can be loaded")
}

fn connector(model: &UpstreamTls) -> Rc<Connector> {
    let client = Client::load(model, &mut Context::default()).expect("it can be loaded");
    Connector::new(&Current::new(client), None, None)
}

struct World {
    reactor: Rc<Reactor>,
    handshakes: Rc<Handshakes>,
}

type Outcome = Result<Box<TlsStream>, Failure>;

impl World {
    fn new(seed: u64) -> Self {
        let reactor = Reactor::simulated(seed, PoolSize { count: 64, size: 16 * 1024 });
        Self { handshakes: Handshakes::new(&reactor, &Arc::default()), reactor }
    }

    /// What `future` comes to, while all other tasks run.
    fn run<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> T {
        self.reactor.block_on(future)
    }

    fn pipe(&self) -> (PipeEnd, PipeEnd) {
        pipe(&self.reactor, 64 * 1024)
    }

    /// Both outcomes of a handshake over these two ends.
    fn shake(&self, ends: (PipeEnd, PipeEnd), connector: &Rc<Connector>, server: &Arc<Server>) -> (Outcome, Outcome) {
        let (client_end, server_end) = ends;
        let accepted = Rc::new(RefCell::new(None));
        let (reactor, server, place) = (self.reactor.clone(), server.clone(), accepted.clone());
        let handshakes = self.handshakes.clone();
        self.reactor.spawn(async move {
            let outcome = accept(server_end, &server, &handshakes, &reactor).await;
            place.replace(Some(outcome));
            reactor.yield_now().await;
        });
        let (reactor, connector) = (self.reactor.clone(), connector.clone());
        let connected = self.run(async move {
            let address = Address::Unix("/pipe".into());
            let outcome = connect(ByteStream::Pipe(client_end), &connector, &address, &reactor).await;
            let outcome = outcome.map(|stream| match stream {
                ByteStream::Tls(stream) => stream,
                ByteStream::Socket(_) | ByteStream::Pipe(_) => unreachable!("it speaks TLS"),
            });
            // In TLS 1.3 the client is done first; what the server makes of its certificate comes afterwards.
            reactor.sleep(Duration::from_secs(2)).await;
            outcome
        });
        let outcome = accepted.take().expect("the server has come to an end");
        (connected, outcome)
    }

    /// The two streams of a handshake that succeeds.
    fn agree(&self, connector: &Rc<Connector>, server: &Arc<Server>) -> (Box<TlsStream>, Box<TlsStream>) {
        let (client, server) = self.shake(self.pipe(), connector, server);
        (client.expect("agreed"), server.expect("agreed"))
    }
}

/// The server's side of a handshake.
async fn accept(
    end: PipeEnd,
    server: &Server,
    handshakes: &Rc<Handshakes>,
    reactor: &Rc<Reactor>,
) -> Result<Box<TlsStream>, Failure> {
    let greeted = greet(
        Noted::new(ByteStream::Pipe(end), None),
        server,
        &Arrival::default(),
        TlsFingerprints::default(),
        reactor,
    )
    .await?;
    let expected: Option<String> = greeted.application_protocol().map(|name| String::from_utf8_lossy(name).into());
    let stream = greeted.answer(handshakes, reactor).await?;
    assert_eq!(stream.facts().application_protocol.as_deref(), expected.as_deref(), "it is known beforehand");
    Ok(stream)
}

/// The bytes that have come, and whether the end has.
fn received(stream: &TlsStream) -> (Vec<u8>, bool) {
    let mut bytes = Vec::new();
    loop {
        match stream.poll_recv() {
            Poll::Ready(Ok(Some(buf))) => bytes.extend_from_slice(&buf),
            Poll::Ready(Ok(None)) => return (bytes, true),
            Poll::Ready(Err(_)) | Poll::Pending => return (bytes, false),
        }
    }
}
