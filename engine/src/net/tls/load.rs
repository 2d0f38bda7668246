//! Certificates, keys and authorities from their files, and what is wrong with them.

use super::authorities::Anchors;
use super::certificates::is_slow;
use crate::ring::workers;
use ringway_config::model::{Certificate, PemFile, Place};
use rustls::InconsistentKeys;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use std::path::Path;
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
        provider.key_provider.load_private_key(key).map_err(|_| {
            let path = certificate.key.path.display();
            fault(&certificate.key, format!("the key in {path} is of no kind that can be used: RSA of 2048 to 8192 bits, P-256, P-384, P-521, or Ed25519"))
        })
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
            format!("the certificate in {} cannot be read: {error}", certificate.chain.path.display()),
        )]),
    }
}

/// The certificates in a file: at least one.
pub(super) fn chain(file: &PemFile) -> Result<Vec<CertificateDer<'static>>, Fault> {
    let bytes = read(file)?;
    let path = file.path.display();
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match chain {
        Ok(chain) if !chain.is_empty() => Ok(chain),
        Ok(_) if bytes.first() == Some(&0x30) => Err(fault(
            file,
            format!(
                "{path} is not PEM but DER or PKCS#12; convert it: openssl x509 -inform DER -in {path} -out cert.pem, or openssl pkcs12 -in {path} -nodes -out cert.pem"
            ),
        )),
        Ok(_) => Err(fault(file, format!("there is no certificate in {path}: -----BEGIN CERTIFICATE----- is missing"))),
        Err(error) => Err(fault(file, format!("{path} is not valid PEM: {error}"))),
    }
}

fn private_key(file: &PemFile) -> Result<PrivateKeyDer<'static>, Fault> {
    let bytes = read(file)?;
    let path = file.path.display();
    let has = |text: &str| memchr::memmem::find(&bytes, text.as_bytes()).is_some();
    match PrivateKeyDer::from_pem_slice(&bytes) {
        Ok(key) if !has("Proc-Type: 4,ENCRYPTED") => Ok(key),
        _ if has("ENCRYPTED") => Err(fault(
            file,
            format!(
                "the key in {path} is encrypted, and there is nobody to ask for the password; decrypt it: openssl pkey -in {path} -out key.pem"
            ),
        )),
        Err(rustls::pki_types::pem::Error::NoItemsFound) | Ok(_) => {
            Err(fault(file, format!("there is no private key in {path}: -----BEGIN PRIVATE KEY----- is missing")))
        }
        Err(error) => Err(fault(file, format!("{path} is not valid PEM: {error}"))),
    }
}

pub(super) fn read(file: &PemFile) -> Result<Vec<u8>, Fault> {
    let cannot = |path: &Path, error| format!("cannot read {}: {error}", path.display());
    std::fs::read(&file.path).map_err(|error| fault(file, cannot(&file.path, error)))
}

pub(super) fn fault(file: &PemFile, message: String) -> Fault {
    Fault { place: file.place, message }
}
