//! The authorities that are trusted, with their dates. The library's trust anchors have none, and a certificate of an authority
//! that has expired is refused as in OpenSSL.

use super::identity;
use super::validity::{date, seconds};
use super::verify::Refused;
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use rustls::{DistinguishedName, RootCertStore};
use std::fmt;
use x509_parser::prelude::{FromDer, X509Certificate};

#[derive(Debug)]
pub(super) struct Anchors {
    store: RootCertStore,
    /// Of each anchor of the store.
    dates: Vec<Dates>,
}

/// Seconds since the epoch, both inclusive.
#[derive(Clone, Copy, Debug)]
struct Dates {
    from: i64,
    until: i64,
}

/// Why an authority does not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum NotInForce {
    Expired {
        name: Box<str>,
        until: i64,
    },
    NotYet {
        name: Box<str>,
        from: i64,
    },
    /// It is on a revocation list, or an authority that has issued it is.
    Revoked {
        name: Box<str>,
    },
}

impl fmt::Display for NotInForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired { name, until } => write!(f, "the authority {name} has expired, at {}", date(*until)),
            Self::NotYet { name, from } => {
                write!(f, "the authority {name} is not valid yet, only from {} on", date(*from))
            }
            Self::Revoked { name } => write!(f, "the authority {name} is revoked"),
        }
    }
}

impl Anchors {
    pub fn new() -> Self {
        Self { store: RootCertStore::empty(), dates: Vec::new() }
    }

    /// # Errors
    /// It cannot be an authority.
    pub fn add(&mut self, certificate: CertificateDer<'static>) -> Result<(), String> {
        let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|error| error.to_string())?;
        let (from, until) = (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp());
        self.store.add(certificate).map_err(|error| error.to_string())?;
        self.dates.push(Dates { from, until });
        Ok(())
    }

    pub fn roots(&self) -> &[TrustAnchor<'static>] {
        &self.store.roots
    }

    pub fn subjects(&self) -> Vec<DistinguishedName> {
        self.store.subjects()
    }

    /// Looks at an authority at which a chain ends: at its dates, and at whether `is_revoked` says so of the certificate with this
    /// place in the file. Of several certificates for the same name and key, such as one that has expired and its successor, one
    /// that is in force is enough.
    pub fn check(
        &self,
        anchor: &TrustAnchor<'_>,
        is_revoked: impl Fn(usize) -> bool,
        now: UnixTime,
    ) -> Result<(), Refused> {
        let now = seconds(now);
        let mut refused = Ok(());
        let same = self.store.roots.iter().zip(&self.dates).enumerate().filter(|(_, (root, _))| *root == anchor);
        for (at, (_, dates)) in same {
            let name = || identity::name(&anchor.subject);
            refused = Err(match dates {
                _ if is_revoked(at) => NotInForce::Revoked { name: name() },
                Dates { until, .. } if *until < now => NotInForce::Expired { name: name(), until: *until },
                Dates { from, .. } if *from > now => NotInForce::NotYet { name: name(), from: *from },
                _ => return Ok(()),
            });
        }
        refused.map_err(Refused::Authority)
    }
}
