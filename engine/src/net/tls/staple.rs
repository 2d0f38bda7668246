//! What an authority says of a certificate, for clients that ask for it (OCSP stapling): read from a file, and found to be about
//! that certificate.

use super::crl::Subject;
use super::der::{BIT_STRING, Reader, SEQUENCE};
use super::load::{Fault, fault, read};
use super::ocsp::{self, Answer, CertificateId, Flaw, Status};
use super::validity::{date, seconds};
use aws_lc_rs::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, SHA384, SHA512, digest};
use ringway_config::model::PemFile;
use rustls::DistinguishedName;
use rustls::pki_types::{CertificateDer, UnixTime};

/// Clocks of authorities and of this host differ by less. OpenSSL's programs allow the same.
const SKEW: i64 = 300;

#[derive(Debug)]
pub(super) struct Staple {
    pub der: Vec<u8>,
    /// From when and until when it holds, in seconds since the epoch.
    pub from: i64,
    pub until: i64,
}

impl Staple {
    /// Whether clients take it at this time.
    pub fn is_current(&self, now: UnixTime) -> bool {
        let now = seconds(now);
        self.from - SKEW <= now && now < self.until
    }

    /// Says why it is not sent, if it is not.
    pub fn check(&self, file: &PemFile, now: UnixTime, warnings: &mut Vec<Fault>) {
        if self.is_current(now) {
            return;
        }
        let path = file.path.display();
        let message = match seconds(now) < self.until {
            true => {
                format!("the OCSP staple in {path} holds only from {} on: it is not sent until then", date(self.from))
            }
            false => format!("the OCSP staple in {path} is out of date since {}: it is not sent", date(self.until)),
        };
        warnings.push(fault(file, message));
    }
}

/// The staple for the first certificate of `chain`, which is in `shown`.
///
/// # Errors
/// It cannot be read, is about another certificate, or says that this one is not good.
pub(super) fn load(file: &PemFile, chain: &[CertificateDer<'_>], shown: &PemFile) -> Result<Staple, Fault> {
    let der = read(file)?;
    let (path, certificate) = (file.path.display(), shown.path.display());
    let fault = |message: String| Err(fault(file, message));
    let answers = match ocsp::read(&der) {
        Ok(answers) => answers,
        Err(flaw) => return fault(words(flaw, &der, &path.to_string())),
    };
    let Some(leaf) = chain.first().and_then(|leaf| Subject::of(leaf)) else {
        return fault(format!("the certificate in {certificate} cannot be read"));
    };
    let of_serial: Vec<_> = answers.iter().filter(|answer| answer.id.serial == leaf.serial).collect();
    if of_serial.is_empty() {
        return fault(format!(
            "the OCSP response in {path} is about another certificate than the first one in {certificate}: serial number {}, not {}",
            hex(answers[0].id.serial),
            hex(leaf.serial)
        ));
    }
    let issuer = chain.iter().filter_map(|other| Subject::of(other)).find(|other| other.subject == leaf.issuer);
    let is_by = |answer: &&&Answer<'_>| is_issuer(&answer.id, leaf.issuer, issuer.as_ref());
    let Some(answer) = of_serial.iter().find(is_by) else {
        return fault(format!(
            "the OCSP response in {path} is about a certificate of another issuer than the first one in {certificate}"
        ));
    };
    match answer.status {
        Status::Good => {}
        Status::Revoked => return fault(format!("{path} says that the certificate in {certificate} is revoked")),
        Status::Unknown => {
            return fault(format!("{path} says that the authority does not know the certificate in {certificate}"));
        }
    }
    let Some(until) = answer.next_update else {
        return fault(format!(
            "the OCSP response in {path} does not say until when it holds: it needs a next update (openssl ocsp -ndays)"
        ));
    };
    let from = answer.this_update;
    Ok(Staple { der, from, until })
}

fn words(flaw: Flaw, der: &[u8], path: &str) -> String {
    match flaw {
        Flaw::Broken if der.starts_with(b"-----") => {
            format!("{path} is PEM, and an OCSP response in DER is needed, as openssl ocsp -respout writes it")
        }
        Flaw::Broken => format!("{path} is no OCSP response in DER, as openssl ocsp -respout writes it"),
        Flaw::Refusal(number) => {
            let why = match number {
                1 => "malformed request",
                2 => "internal error",
                3 => "try later",
                5 => "signature required",
                6 => "unauthorized",
                _ => "unknown status",
            };
            format!(
                "the OCSP response in {path} says nothing of a certificate, but \"{why}\" ({number}): fetch it again"
            )
        }
        Flaw::Kind => format!("the OCSP response in {path} is not of the basic kind, the only one that clients know"),
    }
}

/// Whether it is about a certificate of this issuer. Its key is known where its certificate is.
fn is_issuer(id: &CertificateId<'_>, name: &[u8], issuer: Option<&Subject<'_>>) -> bool {
    // A hash that is unknown here says nothing.
    let Some(algorithm) = algorithm(id.hash) else { return true };
    let has_hash = |hash: &[u8], bytes: &[u8]| digest(algorithm, bytes).as_ref() == hash;
    let has_key = |issuer: &Subject<'_>| {
        let mut parts = Reader::new(issuer.key);
        let key = parts.take(SEQUENCE).and_then(|_| parts.take(BIT_STRING)?.strip_prefix(&[0]));
        key.is_some_and(|key| has_hash(id.issuer_key, key))
    };
    has_hash(id.issuer_name, DistinguishedName::in_sequence(name).as_ref()) && issuer.is_none_or(has_key)
}

/// By the content of its object identifier.
fn algorithm(oid: &[u8]) -> Option<&'static Algorithm> {
    const SHA1: &[u8] = &[0x2b, 0x0e, 3, 2, 0x1a];
    const SHA2: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2];
    match (oid, oid.strip_prefix(SHA2)) {
        (SHA1, _) => Some(&SHA1_FOR_LEGACY_USE_ONLY),
        (_, Some([1])) => Some(&SHA256),
        (_, Some([2])) => Some(&SHA384),
        (_, Some([3])) => Some(&SHA512),
        _ => None,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02X}")).collect()
}
