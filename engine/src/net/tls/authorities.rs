//! The authorities that are trusted, with their dates. The library's trust anchors have none, and a certificate of an authority
//! that has expired is refused as in OpenSSL.

use super::identity;
use super::revocation::Revocation;
use super::standing::Fallen;
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
    /// It is on a revocation list, or another one that has issued it does not count for that reason.
    Revoked {
        name: Box<str>,
        issuer: Option<Box<str>>,
    },
}

impl fmt::Display for NotInForce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Expired { name, until } => write!(f, "the authority {name} has expired, at {}", date(*until)),
            Self::NotYet { name, from } => {
                write!(f, "the authority {name} is not valid yet, only from {} on", date(*from))
            }
            Self::Revoked { name, issuer: None } => write!(f, "the authority {name} is revoked (Revoked)"),
            Self::Revoked { name, issuer: Some(issuer) } => {
                write!(f, "the authority {name} was issued by {issuer}, and that one is revoked (Revoked)")
            }
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

    /// Looks at an authority at which a chain ends: at its dates, and at what lists say. Of several certificates for the same
    /// name and key, such as one that has expired and its successor, one that is in force is enough.
    pub fn check(
        &self,
        anchor: &TrustAnchor<'_>,
        revocation: Option<&Revocation>,
        now: UnixTime,
    ) -> Result<(), Refused> {
        let mut refused = Ok(());
        for (at, _) in self.store.roots.iter().enumerate().filter(|(_, root)| *root == anchor) {
            match self.look_at(at, revocation, now) {
                None => return Ok(()),
                Some(why @ NotInForce::Revoked { .. }) => refused = Err(why),
                Some(why) => refused = refused.and(Err(why)),
            }
        }
        refused.map_err(Refused::Authority)
    }

    /// The same of the one with this place.
    fn look_at(&self, at: usize, revocation: Option<&Revocation>, now: UnixTime) -> Option<NotInForce> {
        let name = |at: usize| identity::name(&self.store.roots[at].subject);
        let fallen = revocation.and_then(|it| it.look_at(at, |other| self.dates[other].are_met(now)));
        match (fallen, self.dates[at]) {
            (Some(Fallen::Listed), _) => Some(NotInForce::Revoked { name: name(at), issuer: None }),
            (Some(Fallen::Below(issuer)), _) => {
                Some(NotInForce::Revoked { name: name(at), issuer: Some(name(issuer)) })
            }
            (None, dates) if dates.are_met(now) => None,
            (None, Dates { until, .. }) if until < seconds(now) => Some(NotInForce::Expired { name: name(at), until }),
            (None, Dates { from, .. }) => Some(NotInForce::NotYet { name: name(at), from }),
        }
    }
}

impl Dates {
    fn are_met(self, now: UnixTime) -> bool {
        (self.from..=self.until).contains(&seconds(now))
    }
}
