//! What was loaded from files, in units that change together or not at all: a certificate with its key and its staple,
//! authorities with what they have revoked, and the keys of a context's tickets.

use super::certificates::Pair;
use super::identity::{self, Identity};
use super::load::{self, Authorities, Fault, Faults, certified_key, fault, keep};
use super::revocation::{self, Revocation, Revoked};
use super::tickets::TicketKeys;
use super::{staple, time, validity};
use crate::base::clock::Wall;
use ringway_config::model::{Certificate, Crl, PemFile};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::UnixTime;
use std::collections::{BTreeSet, HashMap};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The files of a unit.
type Files = Vec<PathBuf>;
type Units<T> = HashMap<Files, Unit<T>>;

struct Unit<T> {
    value: Arc<T>,
    stamp: Stamp,
    /// When the first of its certificates expires, in seconds since the epoch.
    ends: i64,
}

/// A certificate that is in use, and its file.
pub struct Shown<'a> {
    pub file: &'a Path,
    /// It is trusted, and not shown to peers.
    pub is_authority: bool,
    /// From when and until when its staple holds, in seconds since the epoch.
    pub staple: Option<(i64, i64)>,
    pub identity: Identity,
}

/// What shows that a file is another one, or has been written. That of a symbolic link is that of its target.
type Stamp = Vec<Option<[i64; 6]>>;

/// Authorities, and what they have revoked.
pub(super) struct Trusted {
    pub authorities: Arc<Authorities>,
    pub revoked: Option<Revoked>,
}

/// What the parts of one configuration share: it takes long to parse and much memory.
#[derive(Default)]
pub struct Context {
    pub(super) wall: Wall,
    pairs: Units<Pair>,
    trusted: Units<Trusted>,
    tickets: Units<TicketKeys>,
    /// The authorities of each file while units are loaded that differ in what is revoked.
    authorities: HashMap<PathBuf, (Stamp, Arc<Authorities>)>,
    /// What is in force: a unit that has not changed, or cannot be used, is taken from there.
    before: Option<Arc<Self>>,
    is_patient: bool,
    /// Files of units that were loaded because they had changed.
    pub renewed: BTreeSet<PathBuf>,
    /// Why other ones that had changed were not.
    pub refused: Vec<Fault>,
    /// What is wrong and prevents nothing.
    pub warnings: Vec<Fault>,
}

impl Context {
    /// For what goes by this clock.
    pub fn at(wall: Wall) -> Self {
        Self { wall, ..Self::default() }
    }

    /// For what has changed since `before`.
    pub fn after(before: &Arc<Self>) -> Self {
        Self { before: Some(before.clone()), ..Self::at(before.wall.clone()) }
    }

    /// What cannot be used may be half of what is being written: it stays to be loaded.
    #[must_use]
    pub fn patient(self) -> Self {
        Self { is_patient: true, ..self }
    }

    /// Ready to be what is in force.
    pub fn finish(mut self) -> Arc<Self> {
        self.before = None;
        self.authorities.clear();
        Arc::new(self)
    }

    /// Whether a file has changed since it was loaded.
    pub fn is_stale(&self) -> bool {
        fn is_stale<T>(units: &Units<T>) -> bool {
            units.iter().any(|(files, unit)| stamp(files) != unit.stamp)
        }
        is_stale(&self.pairs) || is_stale(&self.trusted) || is_stale(&self.tickets)
    }

    /// All files.
    pub fn files(&self) -> BTreeSet<PathBuf> {
        self.pairs.keys().chain(self.trusted.keys()).chain(self.tickets.keys()).flatten().cloned().collect()
    }

    /// When the first certificate expires, in seconds since the epoch.
    pub fn ends(&self) -> Option<i64> {
        let ends = self.pairs.values().map(|unit| unit.ends);
        ends.chain(self.trusted.values().map(|unit| unit.ends)).min()
    }

    /// When the first staple is out of date, in seconds since the epoch.
    pub fn staples_end(&self) -> Option<i64> {
        self.pairs.values().filter_map(|unit| Some(unit.value.staple()?.until)).min()
    }

    /// What has come to its end behind one time and until another, in seconds since the epoch: in words.
    pub fn ended(&self, behind: i64, until: i64) -> BTreeSet<String> {
        let has_ended = |end: i64| behind < end && end <= until;
        let mut told = BTreeSet::new();
        for (files, unit) in &self.pairs {
            // A certificate holds until the end of its last second.
            if has_ended(unit.ends.saturating_add(1)) {
                told.insert(format!("a certificate in {} has expired: peers refuse it", files[0].display()));
            }
            if unit.value.staple().is_some_and(|staple| has_ended(staple.until)) {
                let file = files.last().unwrap_or(&files[0]).display();
                told.insert(format!("the OCSP staple in {file} is out of date: it is not sent any more"));
            }
        }
        for (files, unit) in &self.trusted {
            if has_ended(unit.ends.saturating_add(1)) {
                let file = files[0].display();
                told.insert(format!("an authority in {file} has expired: certificates that it has issued are refused"));
            }
            let mut ends = unit.value.revoked.iter().flat_map(|revoked| revoked.lists.ends());
            if let Some(file) = files.get(1).filter(|_| ends.any(has_ended)) {
                told.insert(format!(
                    "a revocation list in {} is out of date: without allow_expired_crl, the certificates that it is about are \
                     refused",
                    file.display()
                ));
            }
        }
        told
    }

    /// The time by the clock that they go by, in seconds since the epoch.
    pub fn now(&self) -> i64 {
        validity::seconds(time::now(&self.wall))
    }

    /// All certificates, those of a file in its order.
    pub fn certificates(&self) -> Vec<Shown<'_>> {
        let pairs = self.pairs.iter().map(|(files, unit)| {
            let staple = unit.value.staple().map(|staple| (staple.from, staple.until));
            (&files[0], false, &unit.value.key.cert, staple)
        });
        let trusted =
            self.trusted.iter().map(|(files, unit)| (&files[0], true, &unit.value.authorities.certificates, None));
        let mut units: Vec<_> = pairs.chain(trusted).collect();
        units.sort_by_key(|(file, is_authority, _, _)| (*is_authority, *file));
        units.dedup_by_key(|(file, is_authority, _, _)| (*is_authority, *file));
        let shown = units.into_iter().flat_map(|(file, is_authority, certificates, staple)| {
            let identities = certificates.iter().enumerate();
            let identities = identities.filter_map(|(at, certificate)| Some((at, Identity::of(certificate)?)));
            let shown =
                move |(at, identity)| Shown { file, is_authority, staple: staple.filter(|_| at == 0), identity };
            identities.map(shown)
        });
        shown.collect()
    }

    /// A certificate with its key, and its staple. `check`: what else it must be, so that it can take the place of another one.
    pub(super) fn pair(
        &mut self,
        certificate: &Certificate,
        provider: &CryptoProvider,
        check: impl FnOnce(&Pair) -> Result<(), Fault>,
    ) -> Result<Arc<Pair>, Faults> {
        let files = certificate.files().map(PathBuf::from).collect();
        let before = self.before.as_deref().map(|before| &before.pairs);
        let (warnings, now) = (&mut self.warnings, time::now(&self.wall));
        take(&mut self.pairs, before, files, &mut self.renewed, (&mut self.refused, self.is_patient), || {
            let key = certified_key(certificate, provider)?;
            let ends = validity::check(&key.cert, &certificate.chain, now, warnings);
            let load = |file| {
                let staple = staple::load(file, &key.cert, &certificate.chain)?;
                staple.check(file, now, warnings);
                Ok::<_, Fault>(staple)
            };
            let staple = certificate.ocsp_staple.as_ref().map(load).transpose()?;
            let must_staple = key.cert.first().is_some_and(|leaf| validity::must_staple(leaf));
            let pair = Pair::new(key, staple, must_staple);
            check(&pair)?;
            Ok((pair, ends))
        })
    }

    /// The keys in these files.
    pub(super) fn ticket_keys(&mut self, keys: &[PemFile]) -> Result<Arc<TicketKeys>, Faults> {
        let files = keys.iter().map(|file| file.path.clone()).collect();
        let before = self.before.as_deref().map(|before| &before.tickets);
        // They do not expire.
        let load = || Ok((TicketKeys::load(keys)?, i64::MAX));
        take(&mut self.tickets, before, files, &mut self.renewed, (&mut self.refused, self.is_patient), load)
    }

    /// The authorities in a file, and what they have revoked.
    pub(super) fn trusted(
        &mut self,
        ca: &PemFile,
        crl: Option<&Crl>,
        algorithms: &WebPkiSupportedAlgorithms,
    ) -> Result<Arc<Trusted>, Faults> {
        let files = [Some(&ca.path), crl.map(|crl| &crl.file.path)].into_iter().flatten().cloned().collect();
        let before = self.before.as_deref().map(|before| &before.trusted);
        let (authorities, warnings, now) = (&mut self.authorities, &mut self.warnings, time::now(&self.wall));
        take(&mut self.trusted, before, files, &mut self.renewed, (&mut self.refused, self.is_patient), || {
            let stamp = stamp(std::slice::from_ref(&ca.path));
            let loaded = match authorities.get(&ca.path) {
                Some((of, loaded)) if *of == stamp => Ok(loaded.clone()),
                _ => load::authorities(ca).map(Arc::new),
            };
            let mut faults = Faults::new();
            let Some(loaded) = keep(&mut faults, loaded) else {
                // Signatures cannot be verified without the authorities; what else is wrong with the lists is said nevertheless.
                faults.extend(crl.and_then(|crl| revocation::look_at(&crl.file).err()));
                return Err(faults);
            };
            authorities.insert(ca.path.clone(), (stamp, loaded.clone()));
            let revoked = crl.map(|crl| revoked(crl, &loaded, ca, algorithms, now, warnings)).transpose()?;
            let ends = validity::check_authorities(&loaded.certificates, ca, now, warnings);
            Ok((Trusted { authorities: loaded, revoked }, ends))
        })
    }
}

/// The unit that is there, is still good, or can be loaded; or else the one before.
fn take<T>(
    units: &mut Units<T>,
    before: Option<&Units<T>>,
    files: Files,
    renewed: &mut BTreeSet<PathBuf>,
    (refused, is_patient): (&mut Vec<Fault>, bool),
    load: impl FnOnce() -> Result<(T, i64), Faults>,
) -> Result<Arc<T>, Faults> {
    if let Some(unit) = units.get(&files) {
        return Ok(unit.value.clone());
    }
    // Before the files are read: what is written from now on is a change.
    let mut stamp = stamp(&files);
    let old = before.and_then(|before| before.get(&files));
    let (value, ends) = match old {
        Some(old) if old.stamp == stamp => (old.value.clone(), old.ends),
        Some(old) => match load() {
            Ok((value, ends)) => {
                renewed.extend(files.iter().cloned());
                (Arc::new(value), ends)
            }
            Err(mut faults) => {
                refused.append(&mut faults);
                if is_patient {
                    // It is still to be loaded.
                    stamp.clone_from(&old.stamp);
                }
                (old.value.clone(), old.ends)
            }
        },
        None => {
            let (value, ends) = load()?;
            (Arc::new(value), ends)
        }
    };
    units.insert(files, Unit { value: value.clone(), stamp, ends });
    Ok(value)
}

fn stamp(files: &[PathBuf]) -> Stamp {
    let of = |path: &PathBuf| {
        let data = std::fs::metadata(path).ok()?;
        let numbers = [data.dev(), data.ino(), data.size()].map(u64::cast_signed);
        let [dev, ino, size] = numbers;
        Some([dev, ino, size, data.mtime(), data.mtime_nsec(), data.ctime_nsec()])
    };
    files.iter().map(of).collect()
}

/// What the authorities in `ca` have revoked.
fn revoked(
    crl: &Crl,
    authorities: &Authorities,
    ca: &PemFile,
    algorithms: &WebPkiSupportedAlgorithms,
    now: UnixTime,
    warnings: &mut Vec<Fault>,
) -> Result<Revoked, Fault> {
    let revoked = revocation::load(&crl.file, &authorities.certificates, ca, algorithms)?;
    let mut warn = |message: String| warnings.push(fault(&crl.file, message));
    let path = crl.file.path.display();
    if let Some((at, list)) = revoked.lists.out_of_date(now) {
        let (what, consequence) = match (list.is_early(now), crl.allows_expired) {
            (true, _) => ("not valid yet", "the certificates that it is about are refused until then"),
            (false, true) => ("out of date", "it is used nevertheless (allow_expired_crl)"),
            (false, false) => ("out of date", "the certificates that it is about are refused"),
        };
        warn(format!("revocation list {} in {path} is {what}: {consequence}", at + 1));
    }
    for at in (0..authorities.certificates.len()).filter(|at| revoked.standing.listed[*at]) {
        let (anchor, ca) = (&authorities.anchors.roots()[at], ca.path.display());
        // Of one that another certificate stands for, nothing is refused.
        let all = Revocation::new(revoked.clone(), false, true);
        if authorities.anchors.is_in_force(at, &all, now) {
            continue;
        }
        let subject = identity::name(&anchor.subject);
        warn(format!(
            "{path} revokes authority {} in {ca}, {subject}: what it has issued, authorities in {ca} included, is refused where \
             only_verify_leaf_cert_crl is not set; as long as those are there, leave it there as well",
            at + 1
        ));
    }
    Ok(revoked)
}
