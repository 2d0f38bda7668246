//! Certificates for tests: an authority and what it issues, as PEM files in a directory.

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, SanType};
use std::path::{Path, PathBuf};

/// An authority, whose certificate is `ca.pem`.
pub struct Pki {
    dir: PathBuf,
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    pub fn new(dir: &Path) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, format!("authority in {}", dir.display()));
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed");
        std::fs::write(dir.join("ca.pem"), ca.pem()).expect("written");
        Self { dir: dir.to_owned(), ca }
    }

    /// Issues `NAME.pem` and `NAME.key`, P-256, for these names: hosts, addresses and URIs.
    pub fn issue(&self, file: &str, names: &[&str]) {
        self.issue_with(file, names, &KeyPair::generate().expect("a key"));
    }

    /// The same for this key.
    pub fn issue_with(&self, file: &str, names: &[&str], key: &KeyPair) {
        let is_uri = |name: &&&str| name.contains("://");
        let hosts: Vec<_> = names.iter().filter(|name| !is_uri(name)).map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(hosts).expect("names");
        let uris = names.iter().filter(is_uri).map(|uri| SanType::URI((*uri).try_into().expect("ASCII")));
        params.subject_alt_names.extend(uris);
        let certificate = params.signed_by(key, &self.ca).expect("signed");
        std::fs::write(self.dir.join(format!("{file}.pem")), certificate.pem()).expect("written");
        std::fs::write(self.dir.join(format!("{file}.key")), key.serialize_pem()).expect("written");
    }

    pub fn path(&self, file: &str) -> String {
        self.dir.join(file).display().to_string()
    }
}
