//! From when and until when certificates are valid, and what is wrong with one that can be loaded nevertheless.

use super::load::{Fault, fault};
use ringway_config::model::PemFile;
use rustls::pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

/// When the first of them expires, in seconds since the epoch.
pub(super) fn ends(certificates: &[CertificateDer<'_>]) -> i64 {
    let end = |der: &CertificateDer<'_>| Some(X509Certificate::from_der(der).ok()?.1.validity().not_after.timestamp());
    certificates.iter().filter_map(end).min().unwrap_or(i64::MAX)
}

/// Says of authorities which of them have expired. Returns `ends` of them.
pub(super) fn check_authorities(authorities: &[CertificateDer<'_>], file: &PemFile, warnings: &mut Vec<Fault>) -> i64 {
    let now = i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX);
    for (at, der) in authorities.iter().enumerate() {
        let Ok((_, certificate)) = X509Certificate::from_der(der) else { continue };
        let until = certificate.validity().not_after;
        if until.timestamp() < now {
            let (at, path) = (at + 1, file.path.display());
            let message = format!("authority {at} in {path} expired at {until}: what it has issued is still accepted");
            warnings.push(fault(file, message));
        }
    }
    ends(authorities)
}

/// Says of a chain that is shown to peers why they will refuse it. Returns `ends` of it.
pub(super) fn check(chain: &[CertificateDer<'_>], file: &PemFile, warnings: &mut Vec<Fault>) -> i64 {
    let now = i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX);
    let path = file.path.display();
    for (at, der) in chain.iter().enumerate() {
        // What cannot be read has been refused, or is a peer's business.
        let Ok((_, certificate)) = X509Certificate::from_der(der) else { continue };
        let which = if at == 0 { "the certificate".to_owned() } else { format!("certificate {} of the chain", at + 1) };
        let validity = certificate.validity();
        let mut warn = |what: String| warnings.push(fault(file, format!("{which} in {path} {what}")));
        if validity.not_after.timestamp() < now {
            warn(format!("expired at {}: peers refuse it", validity.not_after));
        } else if validity.not_before.timestamp() > now {
            warn(format!("is valid only from {} on: peers refuse it until then", validity.not_before));
        }
        if at == 0 && certificate.is_ca() {
            warn(
                "says that it is an authority (CA:TRUE), as openssl req -x509 makes it unless basicConstraints=critical,CA:FALSE is \
                 added: some peers refuse that"
                    .into(),
            );
        }
    }
    ends(chain)
}
