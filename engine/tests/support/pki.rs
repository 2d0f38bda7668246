//! Certificates for tests: an authority and what it issues, as PEM files in a directory.

use super::{must_run, program};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair, KeyUsagePurpose, SanType,
    SerialNumber, date_time_ymd,
};
use std::path::{Path, PathBuf};

/// An authority, whose certificate is `ca.pem`, and its key `ca.key`.
pub struct Pki {
    dir: PathBuf,
    params: CertificateParams,
    ca: CertifiedIssuer<'static, KeyPair>,
}

impl Pki {
    pub fn new(dir: &Path) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages =
            vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
        params.distinguished_name.push(DnType::CommonName, format!("authority in {}", dir.display()));
        let ca = CertifiedIssuer::self_signed(params.clone(), KeyPair::generate().expect("a key")).expect("signed");
        std::fs::write(dir.join("ca.pem"), ca.pem()).expect("written");
        std::fs::write(dir.join("ca.key"), ca.key().serialize_pem()).expect("written");
        Self { dir: dir.to_owned(), params, ca }
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
        self.issue_params(file, params, key);
    }

    /// The same for what these parameters say.
    pub fn issue_params(&self, file: &str, mut params: CertificateParams, key: &KeyPair) {
        // So that it can be revoked by its name.
        params.serial_number = Some(SerialNumber::from_slice(file.as_bytes()));
        let certificate = params.signed_by(key, &self.ca).expect("signed");
        std::fs::write(self.dir.join(format!("{file}.pem")), certificate.pem()).expect("written");
        std::fs::write(self.dir.join(format!("{file}.key")), key.serialize_pem()).expect("written");
    }

    /// `FILE.pem` becomes another certificate of the authority, valid from the beginning of one year to that of another.
    pub fn date(&self, file: &str, from: i32, until: i32) {
        let mut params = self.params.clone();
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
        let certificate = params.self_signed(self.ca.key()).expect("signed");
        std::fs::write(self.dir.join(format!("{file}.pem")), certificate.pem()).expect("written");
    }

    /// `NAME` becomes the authority's list of what is revoked, by names of files; openssl makes it, of version 1.
    pub fn revoke(&self, name: &str, files: &[&str]) {
        let hex = |file: &&str| file.bytes().map(|byte| format!("{byte:02X}")).collect::<String>();
        let line = |file: &&str| format!("R\t400101000000Z\t240101000000Z\t{}\tunknown\t/CN={file}\n", hex(file));
        let config = format!(
            "[ca]\ndefault_ca = it\n[it]\ndatabase = {}\ndefault_md = sha256\ndefault_crl_days = 30\n",
            self.path("index.txt")
        );
        std::fs::write(self.path("index.txt"), files.iter().map(line).collect::<String>()).expect("written");
        std::fs::write(self.path("ca.cnf"), config).expect("written");
        let (config, key, certificate) = (self.path("ca.cnf"), self.path("ca.key"), self.path("ca.pem"));
        let mut openssl = program("openssl");
        openssl.args([
            "ca",
            "-gencrl",
            "-config",
            &config,
            "-keyfile",
            &key,
            "-cert",
            &certificate,
            "-out",
            &self.path(name),
        ]);
        must_run(&mut openssl);
    }

    /// `NAME.der` becomes what the authority says of `NAME.pem`, for a day: that it is good, or else revoked; openssl makes it.
    pub fn staple(&self, name: &str, is_good: bool) {
        let hex: String = name.bytes().map(|byte| format!("{byte:02X}")).collect();
        let (kind, revoked) = if is_good { ("V", "") } else { ("R", "240101000000Z") };
        let line = format!("{kind}\t400101000000Z\t{revoked}\t{hex}\tunknown\t/CN={name}\n");
        let index = self.path(&format!("{name}.index"));
        std::fs::write(&index, line).expect("written");
        let [ca, key] = ["ca.pem", "ca.key"].map(|file| self.path(file));
        let (certificate, out) = (self.path(&format!("{name}.pem")), self.path(&format!("{name}.der")));
        let mut openssl = program("openssl");
        openssl.args(["ocsp", "-index", &index, "-CA", &ca, "-rsigner", &ca, "-rkey", &key, "-issuer", &ca]);
        openssl.args(["-cert", &certificate, "-ndays", "1", "-respout", &out]);
        must_run(&mut openssl);
    }

    pub fn path(&self, file: &str) -> String {
        self.dir.join(file).display().to_string()
    }
}
