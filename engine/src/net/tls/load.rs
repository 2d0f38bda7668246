//! Certificates, keys and authorities from their files, and what is wrong with them.

use super::authorities::Anchors;
use super::certificates::is_slow;
use super::content::{self, Wanted};
use super::failure;
use crate::ring::workers;
use ringway_config::access;
use ringway_config::model::{Certificate, PemFile, Place};
use rustls::InconsistentKeys;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::sync::{Arc, OnceLock};

/// What is wrong with a file that the configuration names.
#[derive(Clone, Debug)]
pub struct Fault {
    /// Where it is named.
    pub place: Place,
    pub message: String,
}

/// All that is wrong with the files of one place.
pub(super) type Faults = Vec<Fault>;

impl From<Fault> for Faults {
    fn from(fault: Fault) -> Self {
        vec![fault]
    }
}

/// Goes on without what has faults, so that all of them are told.
pub(super) fn keep<T>(faults: &mut Faults, loaded: Result<T, impl Into<Faults>>) -> Option<T> {
    loaded.map_err(|found| faults.append(&mut found.into())).ok()
}

/// The authorities in a file.
pub(super) struct Authorities {
    pub anchors: Arc<Anchors>,
    pub certificates: Vec<CertificateDer<'static>>,
}

/// The authorities in a file.
pub(super) fn authorities(file: &PemFile) -> Result<Authorities, Fault> {
    let certificates = chain(file)?;
    let mut anchors = Anchors::new();
    for certificate in &certificates {
        anchors.add(certificate.clone()).map_err(|error| {
            fault(file, format!("a certificate in {} cannot be an authority: {error}", file.path.display()))
        })?;
    }
    Ok(Authorities { anchors: Arc::new(anchors), certificates })
}

/// Those that the system trusts: SSL_CERT_FILE and SSL_CERT_DIR, or where the system keeps them. Loaded once.
pub(super) fn system_authorities(place: Place) -> Result<Arc<Anchors>, Fault> {
    static ANCHORS: OnceLock<Result<Arc<Anchors>, String>> = OnceLock::new();
    let load = || {
        let found = rustls_native_certs::load_native_certs();
        let mut anchors = Anchors::new();
        for certificate in found.certs {
            // A system has some that are of no use here.
            let _ = anchors.add(certificate);
        }
        if !anchors.roots().is_empty() {
            return Ok(Arc::new(anchors));
        }
        let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
        Err(format!(
            "the system has no certificate authorities{why}; install them (package ca-certificates), set SSL_CERT_FILE, \
             or name a file: tls = {{ ca = \"ca.pem\" }}"
        ))
    };
    ANCHORS.get_or_init(load).clone().map_err(|message| Fault { place, message })
}

/// A certificate with its key.
pub(super) fn certified_key(certificate: &Certificate, provider: &CryptoProvider) -> Result<CertifiedKey, Faults> {
    let mut faults = Faults::new();
    let chain = keep(&mut faults, self::chain(&certificate.chain));
    let key = private_key(&certificate.key).and_then(|key| {
        let loaded = provider.key_provider.load_private_key(key.clone_key());
        loaded.map_err(|_| fault(&certificate.key, content::unusable_key(key.secret_der(), &certificate.key.path)))
    });
    let (Some(chain), Some(key)) = (chain, keep(&mut faults, key)) else { return Err(faults) };
    let certified = CertifiedKey::new(chain, key);
    if is_slow(&certified) {
        workers::start().map_err(|message| fault(&certificate.key, message))?;
    }
    match certified.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch)) => Err(vec![fault(
            &certificate.key,
            format!(
                "the key in {} does not belong to the first certificate in {}",
                certificate.key.path.display(),
                certificate.chain.path.display()
            ),
        )]),
        Err(error) => Err(vec![fault(
            &certificate.chain,
            format!(
                "the certificate in {} cannot be used: {}",
                certificate.chain.path.display(),
                failure::of_certificate(&error)
            ),
        )]),
    }
}

/// The certificates in a file: at least one.
pub(super) fn chain(file: &PemFile) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let bytes = read(file)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) => Err(fault(file, content::describe(&bytes, &file.path, Wanted::Certificate))),
        Err(error) => Err(not_pem(file, &error)),
    }
}

fn private_key(file: &PemFile) -> Result<PrivateKeyDer<'static>, Fault> {
    let bytes = read(file)?;
    match PrivateKeyDer::from_pem_slice(&bytes) {
        // The old form of an encrypted key has the name of a plain one, and is not quite PEM.
        _ if content::is_encrypted_in_place(&bytes) => {
            Err(fault(file, content::describe(&bytes, &file.path, Wanted::Key)))
        }
        Ok(key) => Ok(key),
        Err(Error::NoItemsFound) => Err(fault(file, content::describe(&bytes, &file.path, Wanted::Key))),
        Err(error) => Err(not_pem(file, &error)),
    }
}

pub(super) fn not_pem(file: &PemFile, error: &Error) -> Fault {
    let why = match error {
        Error::MissingSectionEnd { end_marker } => {
            format!("its end, -----END {}-----, is missing", String::from_utf8_lossy(end_marker))
        }
        Error::IllegalSectionStart { line } => {
            format!("a section begins with {:?}", String::from_utf8_lossy(line).trim_end())
        }
        error => error.to_string(),
    };
    fault(file, format!("{} is not valid PEM: {why}", file.path.display()))
}

pub(super) fn read(file: &PemFile) -> Result<Vec<u8>, Fault> {
    std::fs::read(&file.path).map_err(|error| fault(file, access::cannot_read(&file.path, &error)))
}

pub(super) fn fault(file: &PemFile, message: String) -> Fault {
    Fault { place: file.place, message }
}
