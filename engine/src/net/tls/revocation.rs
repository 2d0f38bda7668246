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
    pub standing: Arc<Standing>,
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

    /// Those of issuers with this name, with their places.
    pub fn of<'a>(&'a self, issuer: &[u8]) -> impl Iterator<Item = (usize, &'a List)> {
        self.by_issuer.get(issuer).into_iter().flatten().map(|at| (*at, &self.lists[*at]))
    }

    /// When they are out of date, in seconds since the epoch.
    pub fn ends(&self) -> impl Iterator<Item = i64> {
        self.lists.iter().filter_map(|list| list.next_update.map(seconds))
    }

    /// The first list that does not hold at this time.
    pub fn out_of_date(&self, now: UnixTime) -> Option<(usize, &List)> {
        self.lists.iter().enumerate().find(|(_, list)| list.is_early(now) || list.is_late(now))
    }
}

impl Revocation {
    pub fn new(revoked: Revoked, only_leaf: bool, allows_expired: bool) -> Self {
        Self { revoked, only_leaf, allows_expired }
    }

    /// Why chains may not end at the authority with this place, if lists are the reason. `is_in_date`: of another place.
    pub fn look_at(&self, at: usize, is_in_date: impl Fn(usize) -> bool, now: UnixTime) -> Option<Fallen> {
        let Revoked { lists, standing } = &self.revoked;
        let is_current = |list: usize| self.is_current(&lists.lists[list], now);
        if self.only_leaf { None } else { standing.look_at(at, &is_in_date, &is_current) }
    }

    fn is_current(&self, list: &List, now: UnixTime) -> bool {
        !list.is_early(now) && (self.allows_expired || !list.is_late(now))
    }

    /// Looks up the leaf and, unless it is the only one that counts, the authorities between it and the one that is trusted.
    pub fn check(&self, path: &VerifiedPath<'_>, now: UnixTime) -> Result<(), rustls::Error> {
        let (leaf, anchor) = (path.end_entity().der(), path.anchor());
        let ders: Vec<_> = std::iter::once(leaf).chain(path.intermediate_certificates().map(|it| it.der())).collect();
        let subjects: Option<Vec<_>> = ders.iter().map(|der| Subject::of(der)).collect();
        let Some(subjects) = subjects else { return Err(verify::error(Error::BadDer)) };
        let keys = subjects.iter().skip(1).map(|it| it.key).chain([anchor.subject_public_key_info.as_ref()]);
        let looked_up = if self.only_leaf { 1 } else { subjects.len() };
        let all: Vec<_> = subjects.iter().zip(keys).take(looked_up).collect();
        // What is revoked is the reason, whatever else is not known.
        for (at, (subject, key)) in all.iter().enumerate() {
            if self.of(subject, key).any(|list| list.serials.contain(subject.serial)) {
                return Err(match at {
                    0 => verify::error(Error::CertRevoked),
                    _ => Refused::Authority(NotInForce::Revoked { name: name(subject.subject), issuer: None }).into(),
                });
            }
        }
        for (at, (subject, key)) in all.iter().enumerate() {
            let mut about = self.of(subject, key).filter(|list| list.is_about(subject, at > 0)).peekable();
            let next_update = about.peek().map(|list| list.next_update.unwrap_or(now));
            if about.any(|list| self.is_current(list, now)) {
                continue;
            }
            let why = next_update.map(|next_update| Error::CrlExpired { time: now, next_update });
            return Err(verify::error(why.unwrap_or(Error::UnknownRevocationStatus)));
        }
        Ok(())
    }

    /// The lists of a certificate's issuer, which has this key: there may be several of its name.
    fn of<'a>(&'a self, subject: &Subject<'_>, key: &'a [u8]) -> impl Iterator<Item = &'a List> {
        let Revoked { lists, standing } = &self.revoked;
        lists.of(subject.issuer).filter(move |(at, _)| *standing.keys[*at] == *key).map(|(_, list)| list)
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
    let mut keys: Vec<Box<[u8]>> = Vec::with_capacity(signatures.len());
    for (at, (issuer, signed)) in signatures.iter().enumerate() {
        let mut named = subjects.iter().flatten().filter(|it| it.subject == &**issuer && it.signs_lists()).peekable();
        if named.peek().is_none() {
            let why = format!(
                "its issuer, {}, is no authority in {} that may sign such lists; add its certificate there",
                name(issuer),
                ca.path.display()
            );
            return Err(flawed(file, at, &why));
        }
        let Some(signer) = named.find(|issuer| has_signed(issuer.key, signed, algorithms)) else {
            let why = format!("its signature is not that of its issuer, {}", name(issuer));
            return Err(flawed(file, at, &why));
        };
        keys.push(signer.key.into());
    }
    let lists = shared(digest(&SHA256, &bytes).as_ref().try_into().unwrap_or_default(), lists);
    let standing = Arc::new(Standing::new(authorities, &subjects, &lists, keys, algorithms));
    Ok(Revoked { lists, standing })
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
