//! Why a TLS connection came to nothing, in words, and as which of Envoy's statistics it counts.

use super::Facts;
use super::certificates::Stapling;
use super::client_hello::HelloError;
use super::validity::{date, seconds};
use super::verify::Refused;
use crate::stats::{ListenerTlsStats, SslStats};
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, Error, OtherError, PeerIncompatible};
use std::fmt;

#[derive(Clone, Debug)]
pub enum Failure {
    /// The first bytes are none of TLS.
    NotTls,
    /// Nor are they meant to be.
    PlainHttp,
    /// The client asked for a name that is in no certificate, and that is not served (`strict_sni`).
    UnknownName(Box<str>),
    /// The client asked for a staple, and no certificate may be shown without (`ocsp_staple_policy`).
    NoStaple,
    /// The peer broke a rule, refused, or is another one than it must be.
    Peer(Box<Error>),
    /// The client's first message, which a chain is to be chosen by, cannot be read.
    Hello(HelloError),
    /// That message has not come in time.
    NoHello,
    /// The connection ended within the handshake.
    Ended,
    /// The same by a reset.
    Reset,
    /// The handshake took too long.
    Timeout,
    /// The peer keeps this side busy with records for TLS alone.
    Flood,
}

/// Envoy: SslStats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The peer must show a certificate and has none.
    NoCertificate,
    /// The peer's certificate is for another name.
    Name,
    /// The peer's certificate is none of those that are listed.
    Pin,
    /// The peer's certificate is not to be trusted.
    Untrusted,
    Connection,
}

impl Failure {
    pub fn kind(&self) -> FailureKind {
        let Self::Peer(error) = self else { return FailureKind::Connection };
        match &**error {
            Error::NoCertificatesPresented => FailureKind::NoCertificate,
            Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            ) => FailureKind::Name,
            Error::InvalidCertificate(error) => match refused(error) {
                Some(Refused::Names) => FailureKind::Name,
                Some(Refused::Pins) => FailureKind::Pin,
                Some(Refused::Authority(_)) | None => FailureKind::Untrusted,
            },
            _ => FailureKind::Connection,
        }
    }
}

/// What a server says that does not take a client's certificate, or its absence (RFC 8446 section 6.2).
const REFUSALS: [AlertDescription; 10] = [
    AlertDescription::HandshakeFailure,
    AlertDescription::BadCertificate,
    AlertDescription::UnsupportedCertificate,
    AlertDescription::CertificateRevoked,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateUnknown,
    AlertDescription::UnknownCA,
    AlertDescription::AccessDenied,
    AlertDescription::DecryptError,
    AlertDescription::CertificateRequired,
];

impl Failure {
    /// The peer does not take this side's certificate, or wants one.
    pub fn is_refusal(&self) -> bool {
        let Self::Peer(error) = self else { return false };
        matches!(&**error, Error::AlertReceived(alert) if REFUSALS.contains(alert))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::Peer(Box::new(error))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotTls => f.write_str("the first bytes are not TLS"),
            Self::PlainHttp => f.write_str("the first bytes are plain HTTP, not TLS"),
            Self::UnknownName(name) => write!(f, "no certificate is for the name {name}"),
            Self::NoStaple => f.write_str("no certificate for the name has an OCSP staple that is in date"),
            Self::Peer(error) => match &**error {
                Error::NoCertificatesPresented => f.write_str("the peer showed no certificate"),
                Error::PeerIncompatible(
                    why @ (PeerIncompatible::Tls12NotOffered
                    | PeerIncompatible::Tls12NotOfferedOrEnabled
                    | PeerIncompatible::SupportedVersionsExtensionRequired),
                ) => write!(f, "no version of TLS is offered that is spoken here ({why:?})"),
                Error::InvalidCertificate(error) => write!(f, "invalid peer certificate: {}", Words(error)),
                error => error.fmt(f),
            },
            Self::Hello(HelloError::TooLarge) => f.write_str("the client's first message is larger than 64 KiB"),
            Self::Hello(HelloError::Broken | HelloError::NotTls) => {
                f.write_str("the client's first message breaks a rule of TLS")
            }
            Self::NoHello => f.write_str("the client's first message has not come as a whole in time"),
            Self::Ended => f.write_str("the connection ended within the handshake"),
            Self::Reset => f.write_str("the connection was reset within the handshake"),
            Self::Timeout => f.write_str("the handshake took too long"),
            Self::Flood => f.write_str("more than 100 records without data within a second, such as KeyUpdates"),
        }
    }
}

const ALGORITHM: &str =
    "it is signed with an algorithm that is not taken, such as one with SHA-1 (UnsupportedSignatureAlgorithm)";
/// An authority is found by its name. Certificates that sign themselves are often named as others are: `localhost`.
const NAMESAKE: &str = "a signature is of another kind than the key of the authority that has the issuer's name: another one \
                        of that name has made it (UnsupportedSignatureAlgorithmForPublicKey)";

/// What is wrong with a certificate. Terms of the library stay in it: people search for them.
struct Words<'a>(&'a CertificateError);

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            CertificateError::UnknownIssuer => f.write_str("no trusted authority has issued it (UnknownIssuer)"),
            CertificateError::BadEncoding => f.write_str("it cannot be read (BadEncoding)"),
            CertificateError::BadSignature => {
                f.write_str(
                    "a signature is wrong, made by another authority than the one known by the issuer's name, or with a key \
                     that is too short (BadSignature)",
                )
            }
            CertificateError::UnsupportedSignatureAlgorithmContext { .. } => f.write_str(ALGORITHM),
            CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => f.write_str(NAMESAKE),
            CertificateError::UnhandledCriticalExtension => {
                f.write_str("it has a critical extension that is not known here (UnhandledCriticalExtension)")
            }
            CertificateError::Revoked => f.write_str("it is revoked (Revoked)"),
            CertificateError::UnknownRevocationStatus => {
                f.write_str("no revocation list is about it, or about an authority of it (UnknownRevocationStatus)")
            }
            CertificateError::ExpiredRevocationListContext { .. } => {
                f.write_str("the revocation list of its issuer is out of date (ExpiredRevocationList)")
            }
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                f.write_str("it is for another purpose (InvalidPurpose)")
            }
            CertificateError::Other(OtherError(other)) => match other.downcast_ref::<webpki::Error>() {
                Some(webpki::Error::CaUsedAsEndEntity) => {
                    f.write_str("it is the certificate of an authority (CaUsedAsEndEntity)")
                }
                Some(webpki::Error::EndEntityUsedAsCa) => {
                    f.write_str("a certificate in its chain is that of no authority (EndEntityUsedAsCa)")
                }
                Some(webpki::Error::UnsupportedCertVersion) => f.write_str(
                    "it, or one in its chain, is of version 1, which is not taken: openssl x509 -req makes it where it gets no \
                     extensions (UnsupportedCertVersion)",
                ),
                Some(webpki::Error::NameConstraintViolation) => {
                    f.write_str("an authority of it may not issue certificates for its names (NameConstraintViolation)")
                }
                Some(webpki::Error::PathLenConstraintViolated) => {
                    f.write_str("an authority of it does not allow that many below it (PathLenConstraintViolated)")
                }
                Some(webpki::Error::UnsupportedCriticalExtension) => {
                    f.write_str("it has a critical extension that is not known here (UnsupportedCriticalExtension)")
                }
                Some(webpki::Error::UnsupportedSignatureAlgorithmContext(_)) => f.write_str(ALGORITHM),
                Some(webpki::Error::UnsupportedSignatureAlgorithmForPublicKeyContext(_)) => f.write_str(NAMESAKE),
                Some(error) => error.fmt(f),
                None => other.fmt(f),
            },
            CertificateError::NotValidForNameContext { expected, presented } => {
                let kind = if matches!(expected, ServerName::DnsName(_)) { "" } else { "the address " };
                write!(f, "it is for {}, not for {kind}{} (NotValidForName)", Names(presented), expected.to_str())
            }
            CertificateError::ExpiredContext { not_after, .. } => {
                write!(f, "it, or an authority of it, expired at {} (Expired)", date(seconds(*not_after)))
            }
            CertificateError::NotValidYetContext { not_before, .. } => {
                let from = date(seconds(*not_before));
                write!(f, "it, or an authority of it, is not valid yet, only from {from} on (NotValidYet)")
            }
            error => error.fmt(f),
        }
    }
}

/// What is wrong with a certificate of this side.
pub(super) fn of_certificate(error: &Error) -> String {
    match error {
        Error::InvalidCertificate(why) => Words(why).to_string(),
        error => error.to_string(),
    }
}

/// Alternative names, in the library's words, such as `DnsName("a.example")`; what is in the quotes is foreign text.
struct Names<'a>(&'a [String]);

/// A certificate may have thousands.
const NAMES_MAX: usize = 5;
const NAME_LEN_MAX: usize = 253;

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no alternative name (the common name does not count)");
        }
        for (at, name) in self.0.iter().take(NAMES_MAX).enumerate() {
            f.write_str(if at > 0 { ", " } else { "" })?;
            let (kind, value) = name.split_once('(').unwrap_or(("", name));
            let value = value.strip_suffix(')').unwrap_or(value).trim_matches('"');
            f.write_str(match kind {
                "DnsName" => "",
                "IpAddress" => "the address ",
                "UniformResourceIdentifier" => "the URI ",
                // The library does not show it.
                _ => {
                    f.write_str("a name of another kind")?;
                    continue;
                }
            })?;
            write!(f, "{}", value.chars().take(NAME_LEN_MAX).collect::<String>().escape_debug())?;
        }
        match self.0.len().saturating_sub(NAMES_MAX) {
            0 => Ok(()),
            more => write!(f, " and {more} more"),
        }
    }
}

fn refused(error: &CertificateError) -> Option<&Refused> {
    match error {
        CertificateError::Other(OtherError(other)) => other.downcast_ref(),
        _ => None,
    }
}

/// Counts a handshake.
pub fn count(stats: &SslStats<'_>, outcome: Result<&Facts, &Failure>) {
    match outcome {
        Ok(facts) => {
            stats.handshake.inc();
            stats.session_reused.add(u64::from(facts.resumed));
            stats.no_certificate.add(u64::from(!facts.has_peer_certificate));
            stats.agreed(facts.version, facts.cipher, facts.group);
        }
        Err(failure) => match failure.kind() {
            FailureKind::NoCertificate => stats.fail_verify_no_cert.inc(),
            FailureKind::Name => stats.fail_verify_san.inc(),
            FailureKind::Pin => stats.fail_verify_cert_hash.inc(),
            FailureKind::Untrusted => stats.fail_verify_error.inc(),
            FailureKind::Connection => stats.connection_error.inc(),
        },
    }
}

/// Counts what became of a client's wish for a staple.
pub fn count_staple(stats: &ListenerTlsStats, outcome: Result<&Facts, &Failure>) {
    let stapling = match outcome {
        Ok(facts) => facts.stapling,
        Err(Failure::NoStaple) => Stapling::Refused,
        Err(_) => Stapling::NotAsked,
    };
    let end = match stapling {
        Stapling::NotAsked => return,
        Stapling::Sent => &stats.ocsp_staple_responses,
        Stapling::Omitted => &stats.ocsp_staple_omitted,
        Stapling::Refused => &stats.ocsp_staple_failed,
    };
    stats.ocsp_staple_requests.inc();
    end.inc();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_on_one_line() {
        let words =
            |names: &[&str]| Names(&names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).to_string();
        assert_eq!(words(&[]), "no alternative name (the common name does not count)");
        assert_eq!(words(&["DnsName(\"a.example\")", "IpAddress(::1)"]), "a.example, the address ::1");
        let uri = words(&["UniformResourceIdentifier(\"http://x\na::\x1b[31m\0\r\")", "Unsupported(0x01)"]);
        assert_eq!(uri, "the URI http://x\\na::\\u{1b}[31m\\0\\r, a name of another kind");
        let many = vec!["DnsName(\"a\")"; 900];
        assert_eq!(words(&many), "a, a, a, a, a and 895 more");
        let long = format!("DnsName(\"{}\")", "x".repeat(60_000));
        assert_eq!(words(&[&long]).len(), NAME_LEN_MAX);
    }
}
