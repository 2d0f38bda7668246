//! The authorities that are trusted, with their dates and what they may be used for. The library's trust anchors have neither, and a
//! certificate of an authority that has expired, or that is none, is refused as in OpenSSL.

use super::identity;
use super::purpose::Purpose;
use super::revocation::Revocation;
use super::standing::Fallen;
use super::validity::{date, seconds};
use super::verify::{Peer, Refused};
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use rustls::{DistinguishedName, RootCertStore};
use std::collections::HashMap;
use std::fmt;
use webpki::VerifiedPath;
use x509_parser::prelude::{FromDer, X509Certificate};

#[derive(Debug)]
pub(super) struct Anchors {
    store: RootCertStore,
    /// Of each anchor of the store.
    dates: Vec<Dates>,
    purposes: Vec<Purpose>,
    /// The certificates of those that may sign none, by their places: each is trusted as it is.
    alone: HashMap<usize, CertificateDer<'static>>,
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
    /// No list is about it, and one must be.
    Unlisted {
        name: Box<str>,
    },
    /// The list that is about it does not hold at this time.
    ListOutOfDate {
        name: Box<str>,
    },
    /// Its certificate says that it may sign none.
    NoAuthority {
        name: Box<str>,
    },
    /// More authorities are below it than its certificate allows.
    TooLong {
        name: Box<str>,
    },
    /// Its certificate is not for this kind of peers.
    Purpose {
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
            Self::Revoked { name, issuer: None } => write!(f, "the authority {name} is revoked (Revoked)"),
            Self::Revoked { name, issuer: Some(issuer) } => {
                write!(f, "the authority {name} was issued by {issuer}, and that one is revoked (Revoked)")
            }
            Self::Unlisted { name } => {
                write!(f, "no revocation list is about the authority {name} (UnknownRevocationStatus)")
            }
            Self::ListOutOfDate { name } => {
                write!(f, "the revocation list about the authority {name} is out of date (ExpiredRevocationList)")
            }
            Self::NoAuthority { name } => write!(
                f,
                "what has issued it, {name}, is no authority: CA:FALSE, or a key usage without the signing of certificates"
            ),
            Self::TooLong { name } => write!(f, "the authority {name} does not allow that many below it (pathlen)"),
            Self::Purpose { name } => write!(f, "the authority {name} is for other purposes (extended key usage)"),
        }
    }
}

impl Anchors {
    pub fn new() -> Self {
        Self { store: RootCertStore::empty(), dates: Vec::new(), purposes: Vec::new(), alone: HashMap::new() }
    }

    /// # Errors
    /// It cannot be an authority.
    pub fn add(&mut self, certificate: CertificateDer<'static>) -> Result<(), String> {
        let (_, parsed) = X509Certificate::from_der(&certificate).map_err(|error| error.to_string())?;
        let (from, until) = (parsed.validity().not_before.timestamp(), parsed.validity().not_after.timestamp());
        let purpose = Purpose::of(&parsed);
        self.store.add(certificate.clone()).map_err(|error| error.to_string())?;
        if !purpose.signs_certificates {
            self.alone.insert(self.dates.len(), certificate);
        }
        self.dates.push(Dates { from, until });
        self.purposes.push(purpose);
        Ok(())
    }

    pub fn roots(&self) -> &[TrustAnchor<'static>] {
        &self.store.roots
    }

    pub fn subjects(&self) -> Vec<DistinguishedName> {
        self.store.subjects()
    }

    /// Looks at an authority at which a chain ends: at its dates, at what lists say, and at what it may be used for. Of several
    /// certificates for the same name and key, such as one that has expired and its successor, one that is in force is enough.
    pub fn check(
        &self,
        path: &VerifiedPath<'_>,
        peer: Peer<'_>,
        revocation: Option<&Revocation>,
        now: UnixTime,
    ) -> Result<(), Refused> {
        let below = path.intermediate_certificates().count();
        let is_itself =
            |at: usize| below == 0 && self.alone.get(&at).is_some_and(|own| **own == *path.end_entity().der());
        self.check_all(path.anchor(), |at| {
            let (name, purpose) = (|| identity::name(&self.store.roots[at].subject), self.purposes[at]);
            if let Some(why) = self.look_at(at, revocation, now) {
                Some(why)
            } else if !purpose.signs_certificates && !is_itself(at) {
                Some(NotInForce::NoAuthority { name: name() })
            } else if !purpose.takes(below) {
                Some(NotInForce::TooLong { name: name() })
            } else if !purpose.is_for(peer) {
                Some(NotInForce::Purpose { name: name() })
            } else {
                None
            }
        })
    }

    /// Whether chains may end at the one with this place, or one that stands for it, as far as dates and lists decide.
    pub fn is_in_force(&self, at: usize, revocation: &Revocation, now: UnixTime) -> bool {
        self.check_all(&self.store.roots[at], |at| self.look_at(at, Some(revocation), now)).is_ok()
    }

    fn check_all(
        &self,
        anchor: &TrustAnchor<'_>,
        mut look: impl FnMut(usize) -> Option<NotInForce>,
    ) -> Result<(), Refused> {
        let mut refused = Ok(());
        for (at, _) in self.store.roots.iter().enumerate().filter(|(_, root)| *root == anchor) {
            match look(at) {
                None => return Ok(()),
                Some(why @ NotInForce::Revoked { .. }) => refused = Err(why),
                Some(why) => refused = refused.and(Err(why)),
            }
        }
        refused.map_err(Refused::Authority)
    }

    /// Looks at the dates of the one with this place, and at what lists say.
    fn look_at(&self, at: usize, revocation: Option<&Revocation>, now: UnixTime) -> Option<NotInForce> {
        let name = |at: usize| identity::name(&self.store.roots[at].subject);
        let fallen = revocation.and_then(|it| it.look_at(at, |other| self.dates[other].are_met(now), now));
        match (fallen, self.dates[at]) {
            (Some(Fallen::Listed), _) => Some(NotInForce::Revoked { name: name(at), issuer: None }),
            (Some(Fallen::Below(issuer)), _) => {
                Some(NotInForce::Revoked { name: name(at), issuer: Some(name(issuer)) })
            }
            (Some(Fallen::Unlisted(which)), _) => Some(NotInForce::Unlisted { name: name(which) }),
            (Some(Fallen::OutOfDate(which)), _) => Some(NotInForce::ListOutOfDate { name: name(which) }),
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
