//! TLS on either side: what is shown to the peer, what is asked of it, and which versions and algorithms may be used.

use super::{Cidr, Place, StringMatch};
use std::path::{Path, PathBuf};
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
    pub ocsp_staple_policy: OcspStaplePolicy,
    pub parameters: TlsParameters,
    /// Protocols that may be agreed on, best first (by default what `codec_type` says). A client that offers no common one is
    /// still served, as in Envoy.
    pub alpn_protocols: Vec<String>,
    /// Default true. There are none where clients are asked for certificates.
    pub session_tickets: bool,
    /// Files with the keys that seal tickets, of which the first does and all open them (Envoy: session_ticket_keys).
    /// None: random keys.
    pub session_ticket_keys: Vec<PemFile>,
    pub client_certificate: Option<ClientCertificate>,
    pub key_log: Option<KeyLog>,
    /// From the accept to the end of the handshake (default 10s).
    pub handshake_timeout: Duration,
}

impl DownstreamTls {
    /// All files that are named.
    pub fn files(&self) -> Vec<&Path> {
        let validation = self.client_certificate.iter().flat_map(|asked| asked.validation.files());
        let keys = self.session_ticket_keys.iter().map(|file| &*file.path);
        self.certificates.iter().flat_map(Certificate::files).chain(validation).chain(keys).collect()
    }

    /// Whether sessions that began with the other one may go on with this one: all is the same that decides which clients are
    /// served, with which certificates, and how safely.
    pub fn continues(&self, other: &Self) -> bool {
        let Self {
            certificates,
            strict_sni,
            parameters,
            session_tickets,
            session_ticket_keys,
            client_certificate,
            // Both ends agree on a protocol in each handshake, and the rest is about this side alone.
            place: _,
            ocsp_staple_policy: _,
            alpn_protocols: _,
            key_log: _,
            handshake_timeout: _,
        } = self;
        *certificates == other.certificates
            && *strict_sni == other.strict_sni
            && *parameters == other.parameters
            && *session_tickets == other.session_tickets
            && *session_ticket_keys == other.session_ticket_keys
            && *client_certificate == other.client_certificate
    }
}

/// What a certificate without a staple that is in date is good for, where the client asks for one (Envoy: OcspStaplePolicy).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OcspStaplePolicy {
    /// It is shown without a staple.
    #[default]
    Lenient,
    /// It is shown if it never had one, and not if it has one that is out of date.
    Strict,
    /// It is not shown.
    Must,
}

/// A certificate with those that lead to its issuer, and its private key: PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    pub chain: PemFile,
    pub key: PemFile,
    /// What its issuer says of it, in DER. Of clusters never.
    pub ocsp_staple: Option<PemFile>,
}

impl Certificate {
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        [&self.chain, &self.key].into_iter().chain(&self.ocsp_staple).map(|file| &*file.path)
    }
}

/// A file that gets the keys of connections (Envoy: TlsKeyLog).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyLog {
    pub path: PathBuf,
    /// Those whose own end is in one of these. Empty: all.
    pub local_address_range: Vec<Cidr>,
    /// Those whose client is in one of these. Empty: all.
    pub remote_address_range: Vec<Cidr>,
}

/// A file of TLS, and where it is named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PemFile {
    pub path: PathBuf,
    pub place: Place,
}

/// What is asked of clients.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientCertificate {
    pub validation: Validation,
    /// A client without one is refused (Envoy: require_client_certificate; default true).
    pub required: bool,
}

/// What the certificate of a peer must be (Envoy: CertificateValidationContext).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Validation {
    /// Those that may have issued it (Envoy: trusted_ca). Without it, with pins, any may have; else, of endpoints, those that
    /// the system trusts.
    pub ca: Option<PemFile>,
    pub crl: Option<Crl>,
    /// One of its alternative names must match one of these (Envoy: match_typed_subject_alt_names). None: any may do.
    pub subject_alt_names: Vec<SubjectAltName>,
    /// It must be one of these, or its key one of `spki_hashes` (Envoy: verify_certificate_hash).
    pub certificate_hashes: Vec<Sha256>,
    /// Envoy: verify_certificate_spki.
    pub spki_hashes: Vec<Sha256>,
    /// A peer whose certificate is not what it must be is served nevertheless (Envoy: trust_chain_verification =
    /// ACCEPT_UNTRUSTED; default false).
    pub accept_untrusted: bool,
}

impl Validation {
    fn files(&self) -> impl Iterator<Item = &Path> {
        let crl = self.crl.as_ref().map(|crl| &crl.file);
        self.ca.iter().chain(crl).map(|file| &*file.path)
    }

    /// Whether the certificate, or its key, must be one of a list.
    pub fn has_pins(&self) -> bool {
        !(self.certificate_hashes.is_empty() && self.spki_hashes.is_empty())
    }
}

/// Lists of what the authorities have revoked (Envoy: crl).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crl {
    pub file: PemFile,
    /// Authorities between the certificate and the trusted one are not looked up (Envoy: only_verify_leaf_cert_crl; default
    /// false).
    pub only_leaf: bool,
    /// A list that is out of date still counts (default false).
    pub allows_expired: bool,
}

pub type Sha256 = [u8; 32];

/// Which alternative names match (Envoy: SubjectAltNameMatcher).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubjectAltName {
    pub kind: SanKind,
    /// Of an address in its canonical text form.
    pub value: StringMatch,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SanKind {
    /// An exact name also matches a wildcard of one label in the certificate.
    Dns,
    Uri,
    Email,
    Ip,
    /// An otherName of this type: the content of its object identifier, as DER has it.
    Other(Vec<u8>),
}

/// TLS with the endpoints of a cluster (Envoy: UpstreamTlsContext).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamTls {
    pub place: Place,
    /// The name to ask for and to find in the certificate; default: the endpoint's host name, or its address, which is not
    /// asked for and must still be in the certificate.
    pub sni: Option<String>,
    /// That name is the host of each request (default false).
    pub auto_sni: bool,
    /// Its name counts as well, unless alternative names or pins without authorities are listed.
    pub validation: Validation,
    /// What is shown to endpoints that ask for it.
    pub certificate: Option<Certificate>,
    pub parameters: TlsParameters,
    /// Sessions are resumed (default true).
    pub session_resumption: bool,
    /// What is offered (ALPN), by the cluster's `protocol`.
    pub alpn_protocols: &'static [&'static str],
}

impl UpstreamTls {
    /// All files that are named.
    pub fn files(&self) -> Vec<&Path> {
        self.certificate.iter().flat_map(Certificate::files).chain(self.validation.files()).collect()
    }
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
