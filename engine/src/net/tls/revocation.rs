//! Which certificates are revoked. Lists are read, and their signatures verified, when a configuration is loaded; a handshake
//! looks up issuer and serial number.

use super::authorities::NotInForce;
use super::content::{self, Wanted};
use super::crl::{self, List, Signed, Subject};
use super::der::{BIT_STRING, Reader, SEQUENCE};
use super::identity::name;
use super::load::{Fault, fault, not_pem, read};
use super::standing::{Fallen, Standing};
use super::validity::seconds;
use super::verify::{self, Refused};
use aws_lc_rs::digest::{SHA256, digest};
use ringway_config::model::{PemFile, Sha256};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, CertificateRevocationListDer, UnixTime};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use webpki::{Error, VerifiedPath};

/// The lists of one file.
#[derive(Debug, Default)]
pub(super) struct Lists {
    lists: Vec<List>,
    by_issuer: HashMap<Box<[u8]>, Vec<usize>>,
}

/// What the lists of one file say, also of the authorities that are trusted.
#[derive(Clone, Debug)]
pub(super) struct Revoked {
    pub lists: Arc<Lists>,
    /// `None`: no authority is on a list.
    standing: Option<Arc<Standing>>,
}

impl Revoked {
    /// Whether the authority with this place in the file of authorities is on a list.
    pub fn lists_authority(&self, at: usize) -> bool {
        self.standing.as_ref().is_some_and(|standing| standing.listed[at])
    }
}

/// What lists say of a peer's certificates.
#[derive(Debug)]
pub(super) struct Revocation {
    revoked: Revoked,
    only_leaf: bool,
    allows_expired: bool,
}

impl Lists {
    fn new(lists: Vec<List>) -> Self {
        let mut by_issuer: HashMap<_, Vec<usize>> = HashMap::new();
        for (at, list) in lists.iter().enumerate() {
            by_issuer.entry(list.issuer.clone()).or_default().push(at);
        }
        Self { lists, by_issuer }
    }

    /// With their places.
    fn of<'a>(&'a self, issuer: &[u8]) -> impl Iterator<Item = (usize, &'a List)> {
        self.by_issuer.get(issuer).into_iter().flatten().map(|at| (*at, &self.lists[*at]))
    }

    /// Whether this issuer has revoked a certificate with this serial number: by any of its lists, whatever else that is about.
    pub fn revoke(&self, issuer: &[u8], serial: &[u8]) -> bool {
        self.of(issuer).any(|(_, list)| list.serials.contain(serial))
    }

    /// When they are out of date, in seconds since the epoch.
    pub fn ends(&self) -> impl Iterator<Item = i64> {
        self.lists.iter().filter_map(|list| list.next_update.map(seconds))
    }

    /// The first list that is out of date.
    pub fn expired(&self, now: UnixTime) -> Option<usize> {
        self.lists.iter().position(|list| list.next_update.is_some_and(|end| end <= now))
    }
}

impl Revocation {
    pub fn new(revoked: Revoked, only_leaf: bool, allows_expired: bool) -> Self {
        Self { revoked, only_leaf, allows_expired }
    }

    /// Why chains may not end at the authority with this place, if a list is the reason. `is_in_date`: of another place.
    pub fn look_at(&self, at: usize, is_in_date: impl Fn(usize) -> bool) -> Option<Fallen> {
        let standing = self.revoked.standing.as_ref().filter(|_| !self.only_leaf)?;
        standing.look_at(at, &is_in_date)
    }

    /// Looks up the leaf and, unless it is the only one that counts, the authorities between it and the one that is trusted.
    pub fn check(&self, path: &VerifiedPath<'_>, now: UnixTime) -> Result<(), rustls::Error> {
        let leaf = path.end_entity();
        let authorities = || path.intermediate_certificates().filter(|_| !self.only_leaf);
        // What is revoked is the reason, whatever else is not known.
        if self.revoked.lists.revoke(leaf.issuer(), leaf.serial()) {
            return Err(verify::error(Error::CertRevoked));
        }
        for authority in authorities() {
            if self.revoked.lists.revoke(authority.issuer(), authority.serial()) {
                let name = name(authority.subject());
                return Err(Refused::Authority(NotInForce::Revoked { name, issuer: None }).into());
            }
        }
        self.look_up(&leaf.der(), leaf.issuer(), false, now).map_err(verify::error)?;
        for authority in authorities() {
            self.look_up(&authority.der(), authority.issuer(), true, now).map_err(verify::error)?;
        }
        Ok(())
    }

    /// Whether a list is about the certificate, and up to date.
    fn look_up(&self, der: &[u8], issuer: &[u8], is_authority: bool, now: UnixTime) -> Result<(), Error> {
        let mut found = Err(Error::UnknownRevocationStatus);
        let standing = self.revoked.standing.as_ref().filter(|_| !self.only_leaf);
        for (at, list) in self.revoked.lists.of(issuer) {
            // The key of an authority that is revoked may be in wrong hands.
            if standing.is_some_and(|standing| standing.unsound[at]) {
                continue;
            }
            let scope = &list.scope;
            let is_about = if is_authority { scope.authorities } else { scope.leaves };
            let is_at = || scope.points.is_empty() || Subject::of(der).is_some_and(|it| it.is_at(&scope.points));
            if !is_about || found.is_ok() || !is_at() {
                continue;
            }
            found = match list.next_update {
                Some(next_update) if next_update <= now && !self.allows_expired => {
                    Err(Error::CrlExpired { time: now, next_update })
                }
                _ => Ok(()),
            };
        }
        found
    }
}

/// Reads the lists in a file, PEM or DER, and verifies that each is signed by one of the authorities, which are those in `ca`.
///
/// # Errors
/// A list is broken, or its issuer is not among the authorities or has not signed it.
pub(super) fn load(
    file: &PemFile,
    authorities: &[CertificateDer<'_>],
    ca: &PemFile,
    algorithms: &WebPkiSupportedAlgorithms,
) -> Result<Revoked, Fault> {
    let bytes = read(file)?;
    let ders = split(file, &bytes)?;
    let mut signatures = Vec::with_capacity(ders.len());
    let mut lists = Vec::with_capacity(ders.len());
    for (at, der) in ders.iter().enumerate() {
        let (list, signed) = crl::read(der).map_err(|flaw| flawed(file, at, flaw.words()))?;
        signatures.push((list.issuer.clone(), signed));
        lists.push(list);
    }
    let subjects: Vec<_> = authorities.iter().map(|certificate| Subject::of(certificate)).collect();
    let mut signers = Vec::with_capacity(signatures.len());
    for (at, (issuer, signed)) in signatures.iter().enumerate() {
        let may_sign = |it: &&Subject<'_>| it.subject == &**issuer && it.signs_lists();
        let named = subjects.iter().enumerate().filter_map(|(at, it)| Some((at, it.as_ref().filter(may_sign)?)));
        let mut named = named.peekable();
        if named.peek().is_none() {
            let why = format!(
                "its issuer, {}, is no authority in {} that may sign such lists; add its certificate there",
                name(issuer),
                ca.path.display()
            );
            return Err(flawed(file, at, &why));
        }
        let have_signed: Vec<_> =
            named.filter(|(_, issuer)| has_signed(issuer.key, signed, algorithms)).map(|(at, _)| at).collect();
        if have_signed.is_empty() {
            let why = format!("its signature is not that of its issuer, {}", name(issuer));
            return Err(flawed(file, at, &why));
        }
        signers.push(have_signed);
    }
    let lists = shared(digest(&SHA256, &bytes).as_ref().try_into().unwrap_or_default(), lists);
    let standing = Standing::new(authorities, &subjects, &lists, &signers, algorithms);
    Ok(Revoked { lists, standing: standing.map(Arc::new) })
}

/// The same without the authorities: only whether the lists can be read.
///
/// # Errors
/// A list is broken.
pub(super) fn look_at(file: &PemFile) -> Result<(), Fault> {
    let bytes = read(file)?;
    for (at, der) in split(file, &bytes)?.iter().enumerate() {
        crl::read(der).map_err(|flaw| flawed(file, at, flaw.words()))?;
    }
    Ok(())
}

fn split<'a>(file: &PemFile, bytes: &'a [u8]) -> Result<Vec<CertificateRevocationListDer<'a>>, Fault> {
    if content::may_be_revocation_list(bytes) {
        return Ok(vec![bytes.into()]);
    }
    let lists: Result<Vec<_>, _> = CertificateRevocationListDer::pem_slice_iter(bytes).collect();
    match lists {
        Ok(lists) if lists.is_empty() => Err(fault(file, content::describe(bytes, &file.path, Wanted::RevocationList))),
        Ok(lists) => Ok(lists),
        Err(error) => Err(not_pem(file, &error)),
    }
}

fn flawed(file: &PemFile, at: usize, why: &str) -> Fault {
    fault(file, format!("revocation list {} in {} cannot be used: {why}", at + 1, file.path.display()))
}

/// Whether the holder of this key, the content of a SubjectPublicKeyInfo, has signed it.
pub(super) fn has_signed(key: &[u8], signed: &Signed<'_>, algorithms: &WebPkiSupportedAlgorithms) -> bool {
    let mut parts = Reader::new(key);
    let (Some(kind), Some([0, key @ ..])) = (parts.take(SEQUENCE), parts.take(BIT_STRING)) else { return false };
    let mut fitting = algorithms
        .all
        .iter()
        .filter(|it| *it.public_key_alg_id() == *kind && *it.signature_alg_id() == *signed.algorithm);
    fitting.any(|it| it.verify_signature(key, signed.message, signed.signature).is_ok())
}

/// The same lists from another place or another time, if they are still in use: connections of an earlier configuration, too,
/// keep theirs.
fn shared(hash: Sha256, lists: Vec<List>) -> Arc<Lists> {
    static SHARED: Mutex<Vec<(Sha256, Weak<Lists>)>> = Mutex::new(Vec::new());
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    shared.retain(|(_, lists)| lists.strong_count() > 0);
    let known = shared.iter().find(|(known, _)| *known == hash);
    known.and_then(|(_, lists)| lists.upgrade()).unwrap_or_else(|| {
        let lists = Arc::new(Lists::new(lists));
        shared.push((hash, Arc::downgrade(&lists)));
        lists
    })
}
