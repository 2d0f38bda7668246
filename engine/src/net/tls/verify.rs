//! What a peer's certificate must be: issued by an authority, for a name, one of a list. Chains are verified by webpki, and
//! that the peer has the key of its certificate is verified in every case.

use super::authorities::{Anchors, NotInForce};
use super::identity::name;
use super::load::{Faults, system_authorities};
use super::names::{alternative_names, matches};
use super::purpose;
use super::revocation::Revocation;
use super::time;
use super::units::Context;
use crate::base::clock::Wall;
use aws_lc_rs::digest::{SHA256, digest};
use ringway_config::model::{Place, Sha256, SubjectAltName, Validation};
use rustls::client::danger::{ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_name;
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DistinguishedName, Error, OtherError};
use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;
use webpki::{EndEntityCert, KeyUsage, VerifiedPath};

/// Whose certificate is looked at.
#[derive(Clone, Copy)]
pub(super) enum Peer<'a> {
    Client,
    /// The name that an endpoint was asked for.
    Endpoint(&'a ServerName<'a>),
}

/// The conditions.
#[derive(Debug)]
pub(super) struct Checks {
    algorithms: WebPkiSupportedAlgorithms,
    /// `None`: neither the issuer of a certificate nor its dates count.
    authorities: Option<Arc<Anchors>>,
    revocation: Option<Revocation>,
    names: Vec<SubjectAltName>,
    certificate_hashes: Vec<Sha256>,
    spki_hashes: Vec<Sha256>,
}

/// What webpki has no error for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// No alternative name is one of those that are asked for.
    Names,
    /// Neither the certificate nor its key is on the list.
    Pins,
    /// The authority that has issued it has expired, is not valid yet, or is revoked.
    Authority(NotInForce),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Names => f.write_str("none of its alternative names is in subject_alt_names"),
            Self::Pins => {
                f.write_str("neither it nor its key is in verify_certificate_hash or verify_certificate_spki")
            }
            Self::Authority(why) => why.fmt(f),
        }
    }
}

impl std::error::Error for Refused {}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refused))))
    }
}

impl Checks {
    /// `system`: the place of the table where endpoints may be of the system's authorities.
    fn load(
        model: &Validation,
        provider: &CryptoProvider,
        context: &mut Context,
        system: Option<Place>,
    ) -> Result<Self, Faults> {
        let algorithms = provider.signature_verification_algorithms;
        let (authorities, revoked) = match (&model.ca, system) {
            (Some(file), _) => {
                let trusted = context.trusted(file, model.crl.as_ref(), &algorithms)?;
                (Some(trusted.authorities.anchors.clone()), trusted.revoked.clone())
            }
            (None, Some(place)) if !model.has_pins() && !model.accept_untrusted => {
                (Some(system_authorities(place)?), None)
            }
            (None, _) => (None, None),
        };
        let revocation = model.crl.as_ref().zip(revoked);
        let revocation = revocation.map(|(crl, revoked)| Revocation::new(revoked, crl.only_leaf, crl.allows_expired));
        Ok(Self {
            algorithms,
            authorities,
            revocation,
            names: model.subject_alt_names.clone(),
            certificate_hashes: model.certificate_hashes.clone(),
            spki_hashes: model.spki_hashes.clone(),
        })
    }

    fn verify(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        peer: Peer<'_>,
        now: UnixTime,
    ) -> Result<(), Error> {
        let parsed = EndEntityCert::try_from(leaf).map_err(error)?;
        if let Some(authorities) = &self.authorities {
            let usage = match peer {
                Peer::Client => KeyUsage::client_auth(),
                Peer::Endpoint(_) => KeyUsage::server_auth(),
            };
            // Why a chain does not count that is right in everything else. What else was tried fits less well.
            let refused = RefCell::new(None);
            let is_in_force = |path: &VerifiedPath<'_>| {
                let revocation = self.revocation.as_ref();
                let anchor = authorities.check(path, peer, revocation, now).map_err(Error::from);
                let outcome = anchor
                    .and_then(|()| check_usage(path, peer))
                    .and_then(|()| revocation.map_or(Ok(()), |it| it.check(path, now)));
                outcome.map_err(|why| {
                    let mut refused = refused.borrow_mut();
                    if refused.as_ref().is_none_or(|known| weight(known) < weight(&why)) {
                        *refused = Some(why);
                    }
                    webpki::Error::UnknownIssuer
                })
            };
            let (algorithms, roots) = (self.algorithms.all, authorities.roots());
            let path = parsed.verify_for_usage(algorithms, roots, others, now, usage, None, Some(&is_in_force));
            path.map_err(|why| refused.take().unwrap_or_else(|| error(why)))?;
        }
        match peer {
            _ if !self.names.is_empty() => self.verify_names(leaf)?,
            // A pin stands for the name where no authority vouches for it.
            Peer::Endpoint(name) if self.authorities.is_some() => {
                verify_server_name(&ParsedCertificate::try_from(leaf)?, name)?;
            }
            Peer::Endpoint(_) | Peer::Client => {}
        }
        self.verify_pins(leaf, &parsed)
    }

    fn verify_names(&self, leaf: &CertificateDer<'_>) -> Result<(), Error> {
        let (_, certificate) = x509_parser::parse_x509_certificate(leaf).map_err(|_| CertificateError::BadEncoding)?;
        let mut names = alternative_names(&certificate);
        match names.any(|name| self.names.iter().any(|asked| matches(asked, &name))) {
            true => Ok(()),
            false => Err(Refused::Names.into()),
        }
    }

    fn verify_pins(&self, leaf: &CertificateDer<'_>, parsed: &EndEntityCert<'_>) -> Result<(), Error> {
        if self.certificate_hashes.is_empty() && self.spki_hashes.is_empty() {
            return Ok(());
        }
        let is_listed = |list: &[Sha256], bytes: &[u8]| {
            !list.is_empty() && list.iter().any(|hash| digest(&SHA256, bytes).as_ref() == hash)
        };
        let is_known = is_listed(&self.certificate_hashes, leaf)
            || is_listed(&self.spki_hashes, &parsed.subject_public_key_info());
        if is_known { Ok(()) } else { Err(Refused::Pins.into()) }
    }
}

/// Looks at the key usage of the certificates in a path.
fn check_usage(path: &VerifiedPath<'_>, peer: Peer<'_>) -> Result<(), Error> {
    for authority in path.intermediate_certificates() {
        if !purpose::signs_certificates(&authority.der()) {
            return Err(Refused::Authority(NotInForce::NoAuthority { name: name(authority.subject()) }).into());
        }
    }
    match purpose::is_for_handshakes(&path.end_entity().der(), peer) {
        true => Ok(()),
        false => Err(CertificateError::InvalidPurpose.into()),
    }
}

/// Which of several reasons is told: what is revoked stays so, whatever lists are fetched and certificates renewed.
fn weight(why: &Error) -> u8 {
    let Error::InvalidCertificate(why) = why else { return 0 };
    match why {
        CertificateError::Revoked => 2,
        CertificateError::Other(OtherError(other)) => match other.downcast_ref() {
            Some(Refused::Authority(NotInForce::Revoked { .. })) => 2,
            Some(Refused::Authority(NotInForce::Unlisted { .. } | NotInForce::ListOutOfDate { .. })) => 1,
            _ => 0,
        },
        _ => 1,
    }
}

/// As rustls has it.
pub(super) fn error(error: webpki::Error) -> Error {
    use webpki::Error as Pki;
    let error = match error {
        Pki::BadDer | Pki::BadDerTime | Pki::TrailingData(_) => CertificateError::BadEncoding,
        Pki::CertNotValidYet { time, not_before } => CertificateError::NotValidYetContext { time, not_before },
        Pki::CertExpired { time, not_after } => CertificateError::ExpiredContext { time, not_after },
        Pki::InvalidCertValidity => CertificateError::Expired,
        Pki::CertRevoked => CertificateError::Revoked,
        Pki::UnknownRevocationStatus => CertificateError::UnknownRevocationStatus,
        Pki::CrlExpired { time, next_update } => CertificateError::ExpiredRevocationListContext { time, next_update },
        Pki::UnknownIssuer => CertificateError::UnknownIssuer,
        Pki::InvalidSignatureForPublicKey => CertificateError::BadSignature,
        Pki::RequiredEkuNotFoundContext(_) => CertificateError::InvalidPurpose,
        other => CertificateError::Other(OtherError(Arc::new(other))),
    };
    Error::InvalidCertificate(error)
}

/// Verifies clients.
#[derive(Debug)]
pub(super) struct ClientVerifier {
    checks: Checks,
    is_required: bool,
    accepts_untrusted: bool,
    /// The authorities that clients are told, so that they can choose a certificate.
    hints: Vec<DistinguishedName>,
    wall: Wall,
}

impl ClientVerifier {
    pub fn load(
        model: &Validation,
        is_required: bool,
        provider: &CryptoProvider,
        context: &mut Context,
    ) -> Result<Self, Faults> {
        let checks = Checks::load(model, provider, context, None)?;
        let hints = match &checks.authorities {
            // Others are welcome, too.
            Some(authorities) if !model.accept_untrusted => authorities.subjects(),
            _ => Vec::new(),
        };
        Ok(Self { checks, is_required, accepts_untrusted: model.accept_untrusted, hints, wall: context.wall.clone() })
    }
}

impl ClientVerifier {
    /// Whether certificates that were let in are what they must be. Where untrusted ones are let in, they are looked at again:
    /// a verifier serves all connections, and cannot tell more of one of them.
    pub fn has_verified(&self, chain: &[CertificateDer<'_>]) -> bool {
        let Some((leaf, others)) = chain.split_first() else { return false };
        let checks = &self.checks;
        let is_demanding =
            checks.authorities.is_some() || !checks.certificate_hashes.is_empty() || !checks.spki_hashes.is_empty();
        is_demanding
            && (!self.accepts_untrusted || checks.verify(leaf, others, Peer::Client, time::now(&self.wall)).is_ok())
    }
}

/// Verifies endpoints.
#[derive(Debug)]
pub(super) struct EndpointVerifier {
    checks: Checks,
    accepts_untrusted: bool,
}

impl EndpointVerifier {
    /// `place`: of the table.
    pub fn load(
        model: &Validation,
        place: Place,
        provider: &CryptoProvider,
        context: &mut Context,
    ) -> Result<Self, Faults> {
        let checks = Checks::load(model, provider, context, Some(place))?;
        Ok(Self { checks, accepts_untrusted: model.accept_untrusted })
    }
}

/// That the peer has the key of the certificate that it shows.
macro_rules! verify_signatures {
    () => {
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, Error> {
            verify_tls12_signature(message, certificate, signature, &self.checks.algorithms)
        }

        fn verify_tls13_signature(
            &self,
            message: &[u8],
            certificate: &CertificateDer<'_>,
            signature: &rustls::DigitallySignedStruct,
        ) -> Result<rustls::client::danger::HandshakeSignatureValid, Error> {
            verify_tls13_signature(message, certificate, signature, &self.checks.algorithms)
        }

        fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
            self.checks.algorithms.supported_schemes()
        }
    };
}

impl ClientCertVerifier for ClientVerifier {
    fn client_auth_mandatory(&self) -> bool {
        self.is_required
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.hints
    }

    fn verify_client_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        if !self.accepts_untrusted {
            self.checks.verify(leaf, others, Peer::Client, now)?;
        }
        Ok(ClientCertVerified::assertion())
    }

    verify_signatures!();
}

impl ServerCertVerifier for EndpointVerifier {
    fn verify_server_cert(
        &self,
        leaf: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        _ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if !self.accepts_untrusted {
            self.checks.verify(leaf, others, Peer::Endpoint(name), now)?;
        }
        Ok(ServerCertVerified::assertion())
    }

    verify_signatures!();
}
