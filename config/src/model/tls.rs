//! TLS on either side: what is shown to the peer, what is asked of it, and which versions and algorithms may be used.

use super::Place;
use std::path::PathBuf;
use std::time::Duration;

/// TLS with the clients of a filter chain (Envoy: DownstreamTlsContext).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DownstreamTls {
    pub place: Place,
    /// Never empty. Which one a client gets is decided by the name that it asks for, exact names before wildcards, and
    /// by the algorithms that it knows; the first one serves clients that ask for no name.
    pub certificates: Vec<Certificate>,
    /// A client that asks for no name, or for one that is in no certificate, is refused instead of getting the first one
    /// (HAProxy: strict-sni; default false).
    pub strict_sni: bool,
    pub parameters: TlsParameters,
    /// Protocols that may be agreed on, best first (default `http/1.1`). A client that offers no common one is still
    /// served, as in Envoy.
    pub alpn_protocols: Vec<String>,
    /// Default true. There are none where clients are asked for certificates.
    pub session_tickets: bool,
    pub client_certificate: Option<ClientCertificate>,
    /// From the accept to the end of the handshake (default 10s).
    pub handshake_timeout: Duration,
}

/// A certificate with those that lead to its issuer, and its private key: PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    pub chain: PemFile,
    pub key: PemFile,
}

/// A file, and where it is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PemFile {
    pub path: PathBuf,
    pub place: Place,
}

/// What is asked of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    /// Those that may have issued it (Envoy: trusted_ca).
    pub ca: PemFile,
    /// A client without one is refused (Envoy: require_client_certificate; default true).
    pub required: bool,
}

/// TLS with the endpoints of a cluster (Envoy: UpstreamTlsContext).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTls {
    pub place: Place,
    /// The name to ask for and to find in the certificate; default: the endpoint's host name, or its address, which is not
    /// asked for and must still be in the certificate.
    pub sni: Option<String>,
    /// Those that may have issued the endpoint's certificate; default: those that the system trusts.
    pub ca: Option<PemFile>,
    /// Whatever certificate the endpoint shows is taken (Envoy: trust_chain_verification = ACCEPT_UNTRUSTED; default
    /// false).
    pub accept_untrusted: bool,
    /// What is shown to endpoints that ask for it.
    pub certificate: Option<Certificate>,
    pub parameters: TlsParameters,
    /// Sessions are resumed (default true).
    pub session_resumption: bool,
}

/// Versions and algorithms (Envoy: TlsParameters).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsParameters {
    /// Default 1.2.
    pub min_version: TlsVersion,
    /// Default 1.3.
    pub max_version: TlsVersion,
    /// Best first. Default: all, those with AES-128 first.
    pub cipher_suites: Vec<CipherSuite>,
    /// Best first. Default: all, X25519MLKEM768 first.
    pub groups: Vec<Group>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum TlsVersion {
    V1_2,
    V1_3,
}

/// Those of TLS 1.3, and of TLS 1.2 those with forward secrecy and authenticated encryption.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CipherSuite {
    Aes128GcmSha256,
    Aes256GcmSha384,
    Chacha20Poly1305Sha256,
    EcdheEcdsaAes128GcmSha256,
    EcdheEcdsaAes256GcmSha384,
    EcdheEcdsaChacha20Poly1305,
    EcdheRsaAes128GcmSha256,
    EcdheRsaAes256GcmSha384,
    EcdheRsaChacha20Poly1305,
}

/// How the key is agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    X25519MlKem768,
    X25519,
    P256,
    P384,
}
