//! Authorities that are trusted and on a revocation list themselves. A chain ends at any authority that is trusted, so that what
//! is above that one is looked at here: where an authority is revoked, those that it has issued fall with it.

use super::crl::{self, Subject};
use super::revocation::{Lists, has_signed};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::CertificateDer;
use std::collections::HashMap;

/// Of all authorities of a file, by their places, where at least one is on a list.
#[derive(Debug)]
pub(super) struct Standing {
    pub listed: Box<[bool]>,
    /// Those in the file that have signed its certificate. None where it has signed that itself.
    issuers: Box<[Box<[usize]>]>,
    /// Of the lists: those that only authorities have signed which are revoked. They revoke more, and vouch for nothing.
    pub unsound: Box<[bool]>,
}

/// Why an authority does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fallen {
    Listed,
    /// The one with this place has issued it, does not count itself, and no other one that does has issued it.
    Below(usize),
}

/// Longer chains of authorities are not followed: nothing counts at their end.
const LEVELS_MAX: usize = 64;

impl Standing {
    /// `None`: no authority is on a list. `signers`: of each list, the places of those that have signed it.
    pub fn new(
        certificates: &[CertificateDer<'_>],
        subjects: &[Option<Subject<'_>>],
        lists: &Lists,
        signers: &[Vec<usize>],
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Option<Self> {
        let is_listed = |it: &Option<Subject<'_>>| it.as_ref().is_some_and(|it| lists.revoke(it.issuer, it.serial));
        let listed: Box<[bool]> = subjects.iter().map(is_listed).collect();
        if !listed.contains(&true) {
            return None;
        }
        let mut by_name: HashMap<&[u8], Vec<usize>> = HashMap::new();
        for (at, subject) in subjects.iter().enumerate().filter_map(|(at, it)| Some((at, it.as_ref()?))) {
            by_name.entry(subject.subject).or_default().push(at);
        }
        // By signature: authorities get new keys under their old names.
        let issuers = |(certificate, subject): (&CertificateDer<'_>, &Option<Subject<'_>>)| -> Option<Box<[usize]>> {
            let (_, signed) = crl::signed(certificate)?;
            let subject = subject.as_ref()?;
            let has_signed = |it: &Subject<'_>| has_signed(it.key, &signed, algorithms);
            let named = by_name.get(subject.issuer).filter(|_| !has_signed(subject))?;
            Some(named.iter().copied().filter(|at| subjects[*at].as_ref().is_some_and(has_signed)).collect())
        };
        let issuers = certificates.iter().zip(subjects).map(|it| issuers(it).unwrap_or_default()).collect();
        let mut this = Self { listed, issuers, unsound: Box::default() };
        let has_fallen = |at: &usize| this.look_at(*at, &|_| true).is_some();
        this.unsound = signers.iter().map(|signers| signers.iter().all(has_fallen)).collect();
        Some(this)
    }

    /// Why the authority with this place does not count, if it does not. `is_in_date`: of others.
    pub fn look_at(&self, at: usize, is_in_date: &impl Fn(usize) -> bool) -> Option<Fallen> {
        self.follow(at, is_in_date, &mut HashMap::new(), 0)
    }

    fn follow(
        &self,
        at: usize,
        is_in_date: &impl Fn(usize) -> bool,
        known: &mut HashMap<usize, Option<Fallen>>,
        level: usize,
    ) -> Option<Fallen> {
        if self.listed[at] {
            return Some(Fallen::Listed);
        }
        if level == LEVELS_MAX {
            return Some(Fallen::Below(at));
        }
        if let Some(known) = known.get(&at) {
            return *known;
        }
        // Authorities that have issued each other.
        known.insert(at, None);
        let mut fallen = None;
        for issuer in self.issuers[at].iter().copied() {
            match self.follow(issuer, is_in_date, known, level + 1) {
                Some(_) => fallen = Some(Fallen::Below(issuer)),
                None if is_in_date(issuer) => {
                    fallen = None;
                    break;
                }
                // One that has merely expired does not stand for it, and does not speak against it.
                None => {}
            }
        }
        known.insert(at, fallen);
        fallen
    }
}
