//! A certificate revocation list (RFC 5280 section 5), read from its bytes, which nothing vouches for until its signature is
//! verified. What webpki's reader refuses and OpenSSL takes is taken: version 1, and lists without an end.

use super::der::{BIT_STRING, BOOLEAN, Element, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, Reader, SEQUENCE, context};
use rustls::pki_types::UnixTime;
use std::cmp::Ordering;
use std::time::Duration;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

/// What is kept of a list.
#[derive(Debug)]
pub(super) struct List {
    /// The content of the issuer's name.
    pub issuer: Box<[u8]>,
    /// From when on it holds.
    this_update: UnixTime,
    /// From then on it is out of date.
    pub next_update: Option<UnixTime>,
    pub scope: Scope,
    pub serials: Serials,
}

/// Which certificates of the issuer it is about.
#[derive(Debug)]
pub(super) struct Scope {
    pub leaves: bool,
    pub authorities: bool,
    /// Only those that name one of these places, if they name any. Empty: all.
    pub points: Vec<Box<[u8]>>,
}

/// Clocks of authorities and of this host differ by less.
const SKEW: Duration = Duration::from_secs(300);

impl List {
    pub fn is_early(&self, now: UnixTime) -> bool {
        self.this_update.as_secs() > now.as_secs() + SKEW.as_secs()
    }

    pub fn is_late(&self, now: UnixTime) -> bool {
        self.next_update.is_some_and(|end| end <= now)
    }

    /// Whether it is about this certificate of its issuer.
    pub fn is_about(&self, certificate: &Subject<'_>, is_authority: bool) -> bool {
        let scope = &self.scope;
        (if is_authority { scope.authorities } else { scope.leaves })
            && (scope.points.is_empty() || certificate.is_at(&scope.points))
    }
}

/// What the issuer has signed.
#[derive(Clone, Copy)]
pub(super) struct Signed<'a> {
    pub message: &'a [u8],
    /// The content of the AlgorithmIdentifier.
    pub algorithm: &'a [u8],
    pub signature: &'a [u8],
}

/// Octets of a serial number (RFC 5280 section 4.1.2.2).
const SERIAL_MAX: usize = 20;

/// Serial numbers in order, all of one size, so that a large list is one piece of memory.
#[derive(Debug, Default)]
pub(super) struct Serials {
    usual: Box<[[u8; SERIAL_MAX]]>,
    /// Those of authorities that do not keep to the limit.
    long: Vec<Box<[u8]>>,
}

impl Serials {
    pub fn contain(&self, serial: &[u8]) -> bool {
        self.find(serial, <[u8]>::cmp)
    }

    /// With each comparison by `compare`: a test counts them.
    pub fn find(&self, serial: &[u8], compare: impl Fn(&[u8], &[u8]) -> Ordering) -> bool {
        match padded(serial) {
            Some(serial) => self.usual.binary_search_by(|usual| compare(usual, &serial)).is_ok(),
            None => self.long.binary_search_by(|long| compare(long, without_zeros(serial))).is_ok(),
        }
    }

    /// Bytes that they take.
    #[cfg(test)]
    pub fn size(&self) -> usize {
        size_of_val(&*self.usual) + self.long.iter().map(|long| size_of_val(long) + long.len()).sum::<usize>()
    }
}

fn without_zeros(serial: &[u8]) -> &[u8] {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    &serial[zeros..]
}

fn padded(serial: &[u8]) -> Option<[u8; SERIAL_MAX]> {
    let digits = without_zeros(serial);
    let mut padded = [0; SERIAL_MAX];
    padded[SERIAL_MAX.checked_sub(digits.len())?..].copy_from_slice(digits);
    Some(padded)
}

/// Why a list cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    Broken,
    Delta,
    Indirect,
    /// It is only for some reasons, for certificates of attributes, or for a place without a URI.
    Partial,
    Critical,
}

impl Flaw {
    pub fn words(self) -> &'static str {
        match self {
            Self::Broken => "it is broken",
            Self::Delta => "it is a delta CRL, which names only what changed: a complete one is needed",
            Self::Indirect => "it is an indirect CRL, which names certificates of other authorities",
            Self::Partial => "it is about a part of the certificates that cannot be told apart",
            Self::Critical => "it has a critical extension that is not known here",
        }
    }
}

/// Extensions, by the last octet of their object identifiers below 2.5.29.
const REASON_CODE: u8 = 21;
const INVALIDITY_DATE: u8 = 24;
const CRL_NUMBER: u8 = 20;
const DELTA_INDICATOR: u8 = 27;
const DISTRIBUTION_POINT: u8 = 28;
const CERTIFICATE_ISSUER: u8 = 29;
const AUTHORITY_KEY: u8 = 35;
/// Of certificates.
pub(super) const KEY_USAGE: u8 = 15;
pub(super) const CRL_DISTRIBUTION_POINTS: u8 = 31;

/// A list, and what its issuer must have signed.
pub(super) fn read(der: &[u8]) -> Result<(List, Signed<'_>), Flaw> {
    let (body, signed) = signed(der).ok_or(Flaw::Broken)?;
    let mut body = Reader::new(body);
    // Version 2 is written as 1; version 1 is not written.
    let _version = body.take(INTEGER);
    let algorithm = body.take(SEQUENCE).ok_or(Flaw::Broken)?;
    // RFC 5280 section 5.1.1.2.
    if algorithm != signed.algorithm {
        return Err(Flaw::Broken);
    }
    let issuer = body.take(SEQUENCE).ok_or(Flaw::Broken)?;
    let this_update = time(body.next()).ok_or(Flaw::Broken)?;
    let next_update = match body.peek() {
        Some(0x17 | 0x18) => Some(time(body.next()).ok_or(Flaw::Broken)?),
        _ => None,
    };
    let serials = match body.take(SEQUENCE) {
        Some(entries) => serials(entries)?,
        None => Serials::default(),
    };
    let mut scope = Scope { leaves: true, authorities: true, points: Vec::new() };
    if let Some(extensions) = body.take(context(0)) {
        for_each_extension(extensions, |extension| match extension.id {
            Some(DELTA_INDICATOR) => Err(Flaw::Delta),
            Some(DISTRIBUTION_POINT) => {
                scope = read_scope(extension.value)?;
                Ok(())
            }
            Some(CRL_NUMBER | AUTHORITY_KEY) => Ok(()),
            _ if extension.is_critical => Err(Flaw::Critical),
            _ => Ok(()),
        })?;
    }
    if !body.is_empty() {
        return Err(Flaw::Broken);
    }
    Ok((List { issuer: issuer.into(), this_update, next_update, scope, serials }, signed))
}

/// The content of what is signed, and the signature.
pub(super) fn signed(der: &[u8]) -> Option<(&[u8], Signed<'_>)> {
    let mut outer = Reader::new(der);
    let mut parts = Reader::new(outer.take(SEQUENCE)?);
    let body = parts.next().filter(|body| body.tag == SEQUENCE)?;
    let algorithm = parts.take(SEQUENCE)?;
    let signature = parts.take(BIT_STRING)?.strip_prefix(&[0])?;
    let is_whole = outer.is_empty() && parts.is_empty();
    is_whole.then_some((body.value, Signed { message: body.whole, algorithm, signature }))
}

fn time(element: Option<Element<'_>>) -> Option<UnixTime> {
    let (_, time) = ASN1Time::from_der(element?.whole).ok()?;
    let seconds = u64::try_from(time.timestamp()).ok()?;
    Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
}

fn serials(entries: &[u8]) -> Result<Serials, Flaw> {
    let mut entries = Reader::new(entries);
    let (mut usual, mut long) = (Vec::new(), Vec::new());
    while !entries.is_empty() {
        let mut entry = Reader::new(entries.take(SEQUENCE).ok_or(Flaw::Broken)?);
        let serial = entry.take(INTEGER).ok_or(Flaw::Broken)?;
        // When it was revoked.
        entry.next().ok_or(Flaw::Broken)?;
        if !entry.is_empty() {
            let extensions = entry.next().ok_or(Flaw::Broken)?;
            for_each_extension(extensions.whole, |extension| match extension.id {
                Some(REASON_CODE | INVALIDITY_DATE) => Ok(()),
                Some(CERTIFICATE_ISSUER) => Err(Flaw::Indirect),
                _ if extension.is_critical => Err(Flaw::Critical),
                _ => Ok(()),
            })?;
        }
        match padded(serial) {
            Some(serial) => usual.push(serial),
            None => long.push(without_zeros(serial).into()),
        }
    }
    usual.sort_unstable();
    usual.dedup();
    long.sort_unstable();
    Ok(Serials { usual: usual.into_boxed_slice(), long })
}

struct Extension<'a> {
    /// Below 2.5.29.
    id: Option<u8>,
    is_critical: bool,
    value: &'a [u8],
}

fn for_each_extension<'a>(
    extensions: &'a [u8],
    mut look: impl FnMut(Extension<'a>) -> Result<(), Flaw>,
) -> Result<(), Flaw> {
    let mut list = Reader::new(Reader::new(extensions).take(SEQUENCE).ok_or(Flaw::Broken)?);
    while !list.is_empty() {
        let mut extension = Reader::new(list.take(SEQUENCE).ok_or(Flaw::Broken)?);
        let id = match extension.take(OBJECT_IDENTIFIER).ok_or(Flaw::Broken)? {
            [0x55, 0x1d, id] => Some(*id),
            _ => None,
        };
        let is_critical = extension.take(BOOLEAN).is_some_and(|value| value != [0]);
        let value = extension.take(OCTET_STRING).ok_or(Flaw::Broken)?;
        look(Extension { id, is_critical, value })?;
    }
    Ok(())
}

/// IssuingDistributionPoint (RFC 5280 section 5.2.5).
fn read_scope(value: &[u8]) -> Result<Scope, Flaw> {
    let mut parts = Reader::new(Reader::new(value).take(SEQUENCE).ok_or(Flaw::Broken)?);
    let mut scope = Scope { leaves: true, authorities: true, points: Vec::new() };
    while !parts.is_empty() {
        let part = parts.next().ok_or(Flaw::Broken)?;
        let is_set = part.value != [0];
        match part.tag {
            0xa0 => {
                scope.points = uris(part.value).map(Into::into).collect();
                if scope.points.is_empty() {
                    return Err(Flaw::Partial);
                }
            }
            0x81 => scope.authorities = !is_set,
            0x82 => scope.leaves = !is_set,
            0x84 if is_set => return Err(Flaw::Indirect),
            0x84 => {}
            0x85 if !is_set => {}
            _ => return Err(Flaw::Partial),
        }
    }
    Ok(scope)
}

/// The URIs in a DistributionPointName.
fn uris(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut names = Reader::new(Reader::new(name).take(context(0)).unwrap_or_default());
    std::iter::from_fn(move || names.next()).filter(|name| name.tag == 0x86).map(|name| name.value)
}

/// The parts of a certificate that lists are looked up by.
pub(super) struct Subject<'a> {
    pub serial: &'a [u8],
    pub issuer: &'a [u8],
    validity: &'a [u8],
    pub subject: &'a [u8],
    /// The content of SubjectPublicKeyInfo.
    pub key: &'a [u8],
    extensions: Option<&'a [u8]>,
}

impl<'a> Subject<'a> {
    pub fn of(certificate: &'a [u8]) -> Option<Self> {
        let mut parts = Reader::new(Reader::new(Reader::new(certificate).take(SEQUENCE)?).take(SEQUENCE)?);
        let _version = parts.take(context(0));
        let serial = parts.take(INTEGER)?;
        let _algorithm = parts.take(SEQUENCE)?;
        let issuer = parts.take(SEQUENCE)?;
        let validity = parts.take(SEQUENCE)?;
        let subject = parts.take(SEQUENCE)?;
        let key = parts.take(SEQUENCE)?;
        let mut extensions = None;
        while let Some(part) = parts.next() {
            if part.tag == context(3) {
                extensions = Some(part.value);
            }
        }
        Some(Self { serial, issuer, validity, subject, key, extensions })
    }

    /// The content of an extension below 2.5.29.
    fn extension(&self, id: u8) -> Option<&'a [u8]> {
        let mut found = None;
        for_each_extension(self.extensions?, |extension| {
            if extension.id == Some(id) {
                found = Some(extension.value);
            }
            Ok(())
        })
        .ok()?;
        found
    }

    /// Its last second.
    pub fn valid_until(&self) -> Option<UnixTime> {
        let mut times = Reader::new(self.validity);
        times.next()?;
        time(times.next())
    }

    /// Whether it may sign revocation lists (RFC 5280 section 4.2.1.3, cRLSign). Without the extension it may.
    pub fn signs_lists(&self) -> bool {
        self.key_usage().is_none_or(|bits| bits & 0x02 != 0)
    }

    /// The first octet of KeyUsage, if there is the extension; one that is broken allows nothing.
    pub fn key_usage(&self) -> Option<u8> {
        let bits = Reader::new(self.extension(KEY_USAGE)?).take(BIT_STRING);
        Some(bits.and_then(|bits| bits.get(1)).copied().unwrap_or_default())
    }

    /// Whether it names one of these places, or none at all.
    pub fn is_at(&self, points: &[Box<[u8]>]) -> bool {
        let Some(named) = self.extension(CRL_DISTRIBUTION_POINTS) else { return true };
        let mut places = Reader::new(Reader::new(named).take(SEQUENCE).unwrap_or_default());
        let places = std::iter::from_fn(move || places.take(SEQUENCE));
        let mut named = places.flat_map(|place| uris(Reader::new(place).take(context(0)).unwrap_or_default()));
        named.any(|uri| points.iter().any(|point| **point == *uri))
    }
}
