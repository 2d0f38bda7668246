//! What revocation lists say of the authorities that are trusted. A chain ends at any authority that is trusted, so that what is
//! above that one in the file is looked at here: where an authority is revoked, those that it has issued fall with it, and one whose
//! issuer is there must be on no list of that issuer.

use super::crl::{self, Subject};
use super::revocation::{Lists, has_signed};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::CertificateDer;
use std::collections::{HashMap, HashSet};

/// Of all authorities of a file, by their places.
#[derive(Debug)]
pub(super) struct Standing {
    pub listed: Box<[bool]>,
    /// Those in the file that have signed its certificate. None where it has signed that itself.
    issuers: Box<[Box<[usize]>]>,
    /// The places of the lists that are about it.
    about: Box<[Box<[usize]>]>,
    /// Of each list, the key that has signed it: authorities get new keys under their old names.
    pub keys: Box<[Box<[u8]>]>,
}

/// Why an authority does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fallen {
    Listed,
    /// The one with this place has issued it, does not count itself, and no other one that does has issued it.
    Below(usize),
    /// No list is about this one, which is it or has issued it.
    Unlisted(usize),
    /// Those that are about this one do not hold at this time.
    OutOfDate(usize),
}

impl Standing {
    /// `keys`: of each list, the one that has signed it.
    pub fn new(
        certificates: &[CertificateDer<'_>],
        subjects: &[Option<Subject<'_>>],
        lists: &Lists,
        keys: Vec<Box<[u8]>>,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Self {
        let mut by_name: HashMap<&[u8], Vec<usize>> = HashMap::new();
        for (at, subject) in subjects.iter().enumerate().filter_map(|(at, it)| Some((at, it.as_ref()?))) {
            by_name.entry(subject.subject).or_default().push(at);
        }
        let (mut listed, mut issuers, mut about) = (Vec::new(), Vec::new(), Vec::new());
        for (certificate, subject) in certificates.iter().zip(subjects) {
            let (mut is_listed, mut signers, mut about_it) = (false, Vec::new(), Vec::new());
            if let (Some((_, signed)), Some(subject)) = (crl::signed(certificate), subject) {
                // Some signatures, such as those with SHA-1, are not verified here: then names must do, or nothing would be revoked.
                let is_verified = algorithms.all.iter().any(|it| *it.signature_alg_id() == *signed.algorithm);
                // Each key once: an authority may have hundreds of lists.
                let mut by_key: HashMap<&[u8], bool> = HashMap::new();
                let mut is_by =
                    |key| !is_verified || *by_key.entry(key).or_insert_with(|| has_signed(key, &signed, algorithms));
                for (at, list) in lists.of(subject.issuer).filter(|(at, _)| is_by(&keys[*at])) {
                    is_listed |= list.serials.contain(subject.serial);
                    about_it.extend(list.is_about(subject, true).then_some(at));
                }
                let signs_itself = if is_verified { is_by(subject.key) } else { subject.issuer == subject.subject };
                if let Some(named) = by_name.get(subject.issuer).filter(|_| !signs_itself) {
                    let is_signer = |at: &usize| subjects[*at].as_ref().is_some_and(|it| is_by(it.key));
                    signers.extend(named.iter().copied().filter(is_signer));
                }
            }
            listed.push(is_listed);
            issuers.push(signers.into_boxed_slice());
            about.push(about_it.into_boxed_slice());
        }
        Self { listed: listed.into(), issuers: issuers.into(), about: about.into(), keys: keys.into() }
    }

    /// Why the authority with this place does not count, if it does not. `is_in_date`: of others. `is_current`: of lists.
    pub fn look_at(
        &self,
        at: usize,
        is_in_date: &impl Fn(usize) -> bool,
        is_current: &impl Fn(usize) -> bool,
    ) -> Option<Fallen> {
        let mut left = self.lineage(at);
        let mut known: HashMap<usize, Option<Fallen>> = HashMap::new();
        // From those at the top downwards. `None` of a step: it cannot be said yet.
        while !left.is_empty() {
            let before = left.len();
            left.retain(|at| match self.step(*at, &known, is_in_date, is_current) {
                Some(fallen) => known.insert(*at, fallen).is_some(),
                None => true,
            });
            if left.len() < before {
                continue;
            }
            // What is left has issued each other: that vouches for none of them where one above has fallen.
            let below = left.iter().find_map(|at| Some((*at, self.fallen_issuer(*at, &known)?)));
            match below {
                Some((at, issuer)) => {
                    known.insert(at, Some(Fallen::Below(issuer)));
                    left.retain(|other| *other != at);
                }
                None => known.extend(left.drain(..).map(|at| (at, self.own(at, is_current)))),
            }
        }
        known.remove(&at).flatten()
    }

    /// It and all above it.
    fn lineage(&self, at: usize) -> Vec<usize> {
        let (mut all, mut seen, mut next) = (vec![at], HashSet::from([at]), 0);
        while let Some(at) = all.get(next).copied() {
            next += 1;
            all.extend(self.issuers[at].iter().copied().filter(|issuer| seen.insert(*issuer)));
        }
        all
    }

    /// Why the lists of its issuers do not let it count, if it needs any.
    fn own(&self, at: usize, is_current: &impl Fn(usize) -> bool) -> Option<Fallen> {
        match &self.about[at] {
            about if about.iter().any(|list| is_current(*list)) => None,
            about if about.is_empty() => Some(Fallen::Unlisted(at)),
            _ => Some(Fallen::OutOfDate(at)),
        }
    }

    fn fallen_issuer(&self, at: usize, known: &HashMap<usize, Option<Fallen>>) -> Option<usize> {
        let is_fallen = |issuer: &usize| matches!(known.get(issuer), Some(Some(Fallen::Listed | Fallen::Below(_))));
        self.issuers[at].iter().copied().find(is_fallen)
    }

    /// What follows from its issuers. `None`: nothing yet.
    fn step(
        &self,
        at: usize,
        known: &HashMap<usize, Option<Fallen>>,
        is_in_date: &impl Fn(usize) -> bool,
        is_current: &impl Fn(usize) -> bool,
    ) -> Option<Option<Fallen>> {
        if self.listed[at] {
            return Some(Some(Fallen::Listed));
        }
        let issuers = &self.issuers[at];
        // It has signed itself, or its issuer is not there.
        if issuers.is_empty() {
            return Some(None);
        }
        if issuers.iter().any(|issuer| known.get(issuer) == Some(&None) && is_in_date(*issuer)) {
            return Some(self.own(at, is_current));
        }
        if !issuers.iter().all(|issuer| known.contains_key(issuer)) {
            return None;
        }
        // One that has merely expired does not stand for it, and does not speak against it.
        let above = || issuers.iter().find_map(|issuer| known[issuer]);
        let below = self.fallen_issuer(at, known).map(Fallen::Below);
        Some(below.or_else(|| self.own(at, is_current)).or_else(above))
    }
}
