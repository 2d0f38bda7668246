//! What revocation lists say of the authorities that are trusted. A chain ends at any authority that is trusted, so that what is
//! above that one in the file is looked at here: where an authority is revoked, those that it has issued fall with it, and one whose
//! issuer is there must be on no list of that issuer.

use super::crl::{self, Subject};
use super::revocation::{Lists, has_signed};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::pki_types::CertificateDer;
use std::collections::HashMap;

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

/// Longer chains of authorities are not followed: nothing counts at their end.
const LEVELS_MAX: usize = 64;

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
                let is_by = |key: &[u8]| has_signed(key, &signed, algorithms);
                for (at, list) in lists.of(subject.issuer).filter(|(at, _)| is_by(&keys[*at])) {
                    is_listed |= list.serials.contain(subject.serial);
                    about_it.extend(list.is_about(subject, true).then_some(at));
                }
                if let Some(named) = by_name.get(subject.issuer).filter(|_| !is_by(subject.key)) {
                    let has_signed = |at: &usize| subjects[*at].as_ref().is_some_and(|it| is_by(it.key));
                    signers.extend(named.iter().copied().filter(has_signed));
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
        self.follow(at, is_in_date, is_current, &mut HashMap::new(), 0)
    }

    fn follow(
        &self,
        at: usize,
        is_in_date: &impl Fn(usize) -> bool,
        is_current: &impl Fn(usize) -> bool,
        known: &mut HashMap<usize, Option<Fallen>>,
        level: usize,
    ) -> Option<Fallen> {
        if self.listed[at] {
            return Some(Fallen::Listed);
        }
        // It has signed itself, or its issuer is not there.
        if self.issuers[at].is_empty() {
            return None;
        }
        if level == LEVELS_MAX {
            return Some(Fallen::Below(at));
        }
        if let Some(known) = known.get(&at) {
            return *known;
        }
        // Authorities that have issued each other.
        known.insert(at, None);
        let own = match &self.about[at] {
            about if about.iter().any(|list| is_current(*list)) => None,
            about if about.is_empty() => Some(Fallen::Unlisted(at)),
            _ => Some(Fallen::OutOfDate(at)),
        };
        let (mut above, mut stands) = (None, false);
        for issuer in self.issuers[at].iter().copied() {
            match self.follow(issuer, is_in_date, is_current, known, level + 1) {
                Some(Fallen::Listed | Fallen::Below(_)) => above = Some(Fallen::Below(issuer)),
                Some(why) => above = above.or(Some(why)),
                // One that has merely expired does not stand for it, and does not speak against it.
                None => stands |= is_in_date(issuer),
            }
        }
        let above = above.filter(|_| !stands);
        let fallen = above.filter(|why| matches!(why, Fallen::Below(_))).or(own).or(above);
        known.insert(at, fallen);
        fallen
    }
}
