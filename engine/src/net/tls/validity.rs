//! From when and until when certificates are valid, and what is wrong with one that can be loaded nevertheless: dates, keys that are
//! too short, signatures that none takes, and chains that are none.

use super::der::{INTEGER, Reader, SEQUENCE};
use super::load::{Fault, fault};
use super::purpose::Purpose;
use ringway_config::model::PemFile;
use rustls::pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::time::ASN1Time;

/// Says of authorities which of them do not count because of their dates. Returns when the first of
/// them expires, in seconds since the epoch.
pub(super) fn check_authorities(
    authorities: &[CertificateDer<'_>],
    file: &PemFile,
    now: UnixTime,
    warnings: &mut Vec<Fault>,
) -> i64 {
    look_at(authorities, now, |at, certificate, now| {
        let (validity, path) = (certificate.validity(), file.path.display());
        let mut warn = |what: String| warnings.push(fault(file, format!("authority {} in {path} {what}", at + 1)));
        if validity.not_after.timestamp() < now {
            warn(format!("expired at {}: certificates that it has issued are refused", validity.not_after));
        } else if validity.not_before.timestamp() > now {
            warn(format!(
                "is valid only from {} on: certificates that it has issued are refused until then",
                validity.not_before
            ));
        }
        // A certificate that has signed itself stands for itself.
        if !Purpose::of(certificate).signs_certificates && certificate.subject() != certificate.issuer() {
            warn(
                "says that it is no authority (CA:FALSE, or a key usage without the signing of certificates): what it has issued is \
                 refused"
                    .into(),
            );
        }
        if let Some(bits) = short_key(certificate) {
            warn(format!(
                "has an RSA key of {bits} bits, at least 2048 are needed: certificates that it has issued are refused"
            ));
        }
    })
}

/// Says of a chain that is shown to peers why they will refuse it. Returns the same.
pub(super) fn check(chain: &[CertificateDer<'_>], file: &PemFile, now: UnixTime, warnings: &mut Vec<Fault>) -> i64 {
    let path = file.path.display();
    let names = if chain.len() > 1 { names(chain) } else { Names::new() };
    look_at(chain, now, |at, certificate, now| {
        let which = if at == 0 { "the certificate".to_owned() } else { format!("certificate {} of the chain", at + 1) };
        let validity = certificate.validity();
        let mut warn = |what: String| warnings.push(fault(file, format!("{which} in {path} {what}")));
        if validity.not_after.timestamp() < now {
            warn(format!("expired at {}: peers refuse it", validity.not_after));
        } else if validity.not_before.timestamp() > now {
            warn(format!("is valid only from {} on: peers refuse it until then", validity.not_before));
        }
        let signs_itself = certificate.subject() == certificate.issuer();
        // The signature of the last one, which peers know, is not looked at.
        if let Some(algorithm) = old_signature(certificate).filter(|_| at == 0 || !signs_itself) {
            warn(format!("is signed with {algorithm}: peers refuse it"));
        }
        if let Some(bits) = short_key(certificate).filter(|_| at > 0) {
            warn(format!("has an RSA key of {bits} bits, at least 2048 are needed: peers refuse what it has issued"));
        }
        if let Some(why) = lonely(&names, at) {
            warn(why.into());
        }
        if at == 0 && certificate.is_ca() {
            warn(
                "says that it is an authority (CA:TRUE), as openssl req -x509 makes it unless basicConstraints=critical,CA:FALSE is \
                 added: some peers refuse that"
                    .into(),
            );
        }
    })
}

/// The place, the subject and the issuer of each certificate of a chain.
type Names = Vec<(usize, String, String)>;

fn names(chain: &[CertificateDer<'_>]) -> Names {
    let parsed = chain.iter().enumerate().filter_map(|(at, der)| Some((at, X509Certificate::from_der(der).ok()?.1)));
    parsed.map(|(at, it)| (at, it.subject().to_string(), it.issuer().to_string())).collect()
}

/// Why this certificate does not belong to the others, which may be in any order: peers find their way.
fn lonely(names: &Names, at: usize) -> Option<&'static str> {
    let (_, subject, issuer) = names.iter().find(|(known, ..)| *known == at)?;
    let mut others = names.iter().filter(|(other, ..)| *other != at);
    if at > 0 {
        let is_of_use = others.any(|(_, _, of)| of == subject);
        return (!is_of_use).then_some("has issued none of the others: it is of no use there");
    }
    let is_followed = names.len() == 1 || subject == issuer || others.any(|(_, name, _)| name == issuer);
    (!is_followed)
        .then_some("was issued by none of the others in the file: peers that do not know its issuer refuse it")
}

/// Bits of an RSA key that no signature of is taken, here and elsewhere.
fn short_key(certificate: &X509Certificate<'_>) -> Option<usize> {
    match certificate.public_key().parsed() {
        Ok(PublicKey::RSA(key)) if key.key_size() < 2048 => Some(key.key_size()),
        _ => None,
    }
}

/// The hash of a signature that is not taken any more.
fn old_signature(certificate: &X509Certificate<'_>) -> Option<&'static str> {
    // RFC 8017 appendix C and RFC 3279 section 2.2.3.
    const OLD: [(&[u8], &str); 4] = [
        (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 5], "SHA-1"),
        (&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 1], "SHA-1"),
        // Of OIW, as old tools of Microsoft write it.
        (&[0x2b, 0x0e, 3, 2, 0x1d], "SHA-1"),
        (&[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 4], "MD5"),
    ];
    let algorithm = certificate.signature_algorithm.algorithm.as_bytes();
    OLD.iter().find(|(old, _)| *old == algorithm).map(|(_, name)| *name)
}

/// Whether a certificate says that it is worth nothing without an OCSP staple: the extension of RFC 7633 names status_request.
pub(super) fn must_staple(leaf: &[u8]) -> bool {
    // id-pe-tlsfeature, 1.3.6.1.5.5.7.1.24.
    const TLS_FEATURE: &[u8] = &[0x2b, 6, 1, 5, 5, 7, 1, 0x18];
    let Ok((_, certificate)) = X509Certificate::from_der(leaf) else { return false };
    let extension = certificate.extensions().iter().find(|extension| extension.oid.as_bytes() == TLS_FEATURE);
    let Some(mut features) = extension.and_then(|it| Reader::new(it.value).take(SEQUENCE)).map(Reader::new) else {
        return false;
    };
    std::iter::from_fn(|| features.take(INTEGER)).any(|feature| feature == [5])
}

/// Since the epoch.
pub(super) fn seconds(time: UnixTime) -> i64 {
    i64::try_from(time.as_secs()).unwrap_or(i64::MAX)
}

/// These seconds since the epoch as dates of certificates are written.
pub(super) fn date(seconds: i64) -> String {
    ASN1Time::from_timestamp(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
}

/// Shows each certificate, with its place and the time that it is. What cannot be read has been refused, or is a peer's business.
fn look_at(
    certificates: &[CertificateDer<'_>],
    now: UnixTime,
    mut look: impl FnMut(usize, &X509Certificate<'_>, i64),
) -> i64 {
    let now = seconds(now);
    let mut first = i64::MAX;
    for (at, der) in certificates.iter().enumerate() {
        let Ok((_, certificate)) = X509Certificate::from_der(der) else { continue };
        look(at, &certificate, now);
        first = first.min(certificate.validity().not_after.timestamp());
    }
    first
}
