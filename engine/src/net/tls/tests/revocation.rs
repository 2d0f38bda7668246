//! What revocation lists do, and which of them are taken.

use super::*;
use crate::net::tls::crl::{self, Flaw, Subject};
use crate::net::tls::load::{chain, read};
use crate::net::tls::revocation;
use rcgen::{
    CertificateRevocationListParams, CrlDistributionPoint, CrlIssuingDistributionPoint, CrlScope, KeyIdMethod,
    KeyUsagePurpose, RevocationReason, RevokedCertParams, SerialNumber, date_time_ymd,
};
use ringway_config::model::Crl;
use std::cell::Cell;
use std::time::Instant;

/// A list of this authority, as parameters that can be changed.
pub(super) fn list(serials: &[u64]) -> CertificateRevocationListParams {
    let revoked = serials.iter().map(|serial| RevokedCertParams {
        serial_number: SerialNumber::from(*serial),
        revocation_time: date_time_ymd(2024, 1, 1),
        reason_code: Some(RevocationReason::KeyCompromise),
        invalidity_date: None,
    });
    CertificateRevocationListParams {
        this_update: date_time_ymd(2024, 1, 1),
        next_update: date_time_ymd(4000, 1, 1),
        crl_number: SerialNumber::from(1_u64),
        issuing_distribution_point: None,
        revoked_certs: revoked.collect(),
        key_identifier_method: KeyIdMethod::Sha256,
    }
}

pub(super) fn pem(files: &Files, list: CertificateRevocationListParams) -> String {
    list.signed_by(&files.ca).expect("signed").pem().expect("PEM")
}

impl Files {
    pub(super) fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PemFile {
        let path = self.dir.path().join(name);
        std::fs::write(&path, text).expect("written");
        file(&path)
    }

    /// A certificate with this serial number, and with these places of lists.
    pub(super) fn numbered(&self, serial: u64, points: &[&str]) -> Certificate {
        let mut params = Self::params(&["a.example"]);
        params.serial_number = Some(SerialNumber::from(serial));
        let points = points.iter().map(|uri| CrlDistributionPoint { uris: vec![(*uri).to_owned()] });
        params.crl_distribution_points = points.collect();
        self.issue_with(&params, &format!("serial{serial}"), &KeyPair::generate().expect("a key"))
    }
}

pub(super) fn with_crl(files: &Files, crl: PemFile) -> Validation {
    Validation { crl: Some(Crl { file: crl, only_leaf: false, allows_expired: false }), ..by(files) }
}

/// What a client with this certificate comes to, and what an endpoint with it.
pub(super) fn outcomes(
    files: &Files,
    validation: &Validation,
    certificate: &Certificate,
) -> [(Option<FailureKind>, String); 2] {
    let world = World::new(1);
    let asked = ClientCertificate { validation: validation.clone(), required: true };
    let plain = downstream(vec![files.issue(&["a.example"])]);
    let asking = server(&DownstreamTls { client_certificate: Some(asked), ..plain });
    let shown = UpstreamTls { certificate: Some(certificate.clone()), ..upstream(files, "a.example") };
    let client = world.shake(world.pipe(), &connector(&shown), &asking).1;
    let to = UpstreamTls { validation: validation.clone(), ..upstream(files, "a.example") };
    let of = server(&downstream(vec![certificate.clone()]));
    let endpoint = world.shake(world.pipe(), &connector(&to), &of).0;
    [client, endpoint].map(|outcome| {
        let failure = outcome.err();
        (failure.as_ref().map(Failure::kind), failure.map(|failure| failure.to_string()).unwrap_or_default())
    })
}

pub(super) fn assert_outcome(files: &Files, validation: &Validation, certificate: &Certificate, words: &str) {
    for (kind, said) in outcomes(files, validation, certificate) {
        assert_eq!(kind, (!words.is_empty()).then_some(FailureKind::Untrusted), "{said}");
        assert!(said.contains(words), "{said}");
    }
}

#[test]
fn revoked_certificates_are_refused_on_both_sides() {
    let files = Files::new();
    let (good, bad) = (files.numbered(4711, &[]), files.numbered(0x8899, &[]));
    let der = list(&[0x8899]).signed_by(&files.ca).expect("signed").der().to_vec();
    for crl in [files.write("crl.pem", pem(&files, list(&[1, 0x8899, 2]))), files.write("crl.der", &der)] {
        let validation = with_crl(&files, crl);
        assert_outcome(&files, &validation, &good, "");
        assert_outcome(&files, &validation, &bad, "it is revoked");
    }
}

#[test]
fn a_list_that_is_out_of_date_or_missing_refuses_all() {
    let (files, strangers) = (Files::new(), Files::new());
    let good = files.numbered(4711, &[]);
    let old = CertificateRevocationListParams { next_update: date_time_ymd(2024, 2, 1), ..list(&[]) };
    let old = pem(&files, old);
    let expired = with_crl(&files, files.write("old.pem", &old));
    assert_outcome(&files, &expired, &good, "out of date");
    let mut context = Context::default();
    let load = |validation: &Validation, context: &mut Context| {
        Client::load(&UpstreamTls { validation: validation.clone(), ..upstream(&files, "a.example") }, context)
    };
    load(&expired, &mut context).expect("it is loaded");
    assert!(context.warnings[0].message.contains("old.pem is out of date"), "{:?}", context.warnings);
    let mut lenient = expired.clone();
    lenient.crl.as_mut().expect("one").allows_expired = true;
    assert_outcome(&files, &lenient, &good, "");
    let early = CertificateRevocationListParams { this_update: date_time_ymd(3999, 1, 1), ..list(&[]) };
    let mut early = with_crl(&files, files.write("early.pem", pem(&files, early)));
    early.crl.as_mut().expect("one").allows_expired = true;
    assert_outcome(&files, &early, &good, "out of date");
    let mut context = Context::default();
    load(&early, &mut context).expect("it is loaded");
    assert!(context.warnings[0].message.contains("early.pem is not valid yet"), "{:?}", context.warnings);
    // A newer one of the same issuer next to it counts.
    let both = old + &pem(&files, list(&[7]));
    assert_outcome(&files, &with_crl(&files, files.write("both.pem", both)), &good, "");
    // Lists of another authority alone.
    let cas = [files.ca(), strangers.ca()].map(|ca| std::fs::read_to_string(ca.path).expect("read")).concat();
    let other = Validation {
        ca: Some(files.write("cas.pem", cas)),
        ..with_crl(&files, files.write("other.pem", pem(&strangers, list(&[]))))
    };
    assert_outcome(&files, &other, &good, "UnknownRevocationStatus");
}

/// An authority with this serial number, that another one has issued.
pub(super) fn between<'a>(
    name: &str,
    serial: u64,
    above: &rcgen::Issuer<'_, KeyPair>,
) -> (String, rcgen::Issuer<'a, KeyPair>) {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.serial_number = Some(SerialNumber::from(serial));
    let key = KeyPair::generate().expect("a key");
    let pem = params.signed_by(&key, above).expect("signed").pem();
    (pem, rcgen::Issuer::new(params, key))
}

impl Files {
    /// A certificate that this authority has issued, with these behind it.
    pub(super) fn issued_by(&self, issuer: &rcgen::Issuer<'_, KeyPair>, others: &str) -> Certificate {
        let key = KeyPair::generate().expect("a key");
        let leaf = Self::params(&["a.example"]).signed_by(&key, issuer).expect("signed");
        let number = std::fs::read_dir(self.dir.path()).expect("it can be read").count();
        Certificate {
            chain: self.write(&format!("chain{number}.pem"), leaf.pem() + others),
            key: self.write(&format!("chain{number}.key"), key.serialize_pem()),
            ocsp_staple: None,
        }
    }

    /// The root and these authorities.
    pub(super) fn cas(&self, others: &[&str]) -> PemFile {
        let root = std::fs::read_to_string(self.ca().path).expect("read");
        self.write("cas.pem", root + &others.concat())
    }
}

pub(super) fn signed(list: CertificateRevocationListParams, by: &rcgen::Issuer<'_, KeyPair>) -> String {
    list.signed_by(by).expect("signed").pem().expect("PEM")
}

/// The authorities between the certificate and the trusted one.
#[test]
fn authorities_on_the_way_are_looked_up_unless_only_the_leaf_counts() {
    let files = Files::new();
    let (between_pem, between) = between("in between", 77, &files.ca);
    let shown = files.issued_by(&between, &between_pem);
    let root = pem(&files, list(&[77]));
    let of_between = signed(list(&[]), &between);
    let lists = files.write("lists.pem", root.clone() + &of_between);
    // The list of an authority that is not in the file cannot be verified.
    let fault = load(&lists, &files.ca()).expect_err("it is refused");
    assert!(fault.message.contains("its issuer, CN=in between, is no authority in"), "{}", fault.message);
    // With it in the file the path ends there.
    let both = files.cas(&[&between_pem]);
    let none = files.write("none.pem", pem(&files, list(&[])) + &of_between);
    let validation = Validation { ca: Some(both.clone()), ..with_crl(&files, none) };
    assert_outcome(&files, &validation, &shown, "");
    let mut validation = Validation { ca: Some(both), ..with_crl(&files, lists) };
    assert_outcome(&files, &validation, &shown, "the authority CN=in between is revoked");
    assert_outcome(&files, &validation, &files.numbered(1, &[]), "");
    validation.crl.as_mut().expect("one").only_leaf = true;
    assert_outcome(&files, &validation, &shown, "");
    // Of the root alone: no list is about the leaf.
    let of_root = |list| with_crl(&files, files.write("root.pem", list));
    assert_outcome(&files, &of_root(pem(&files, list(&[]))), &shown, "UnknownRevocationStatus");
    assert_outcome(&files, &of_root(root), &shown, "the authority CN=in between is revoked");
}

fn load(crl: &PemFile, ca: &PemFile) -> Result<revocation::Revoked, Fault> {
    let authorities = chain(ca).expect("they can be read");
    revocation::load(crl, &authorities, ca, &algorithms())
}

fn algorithms() -> rustls::crypto::WebPkiSupportedAlgorithms {
    super::super::parameters::provider(&parameters()).signature_verification_algorithms
}

#[test]
fn lists_are_about_what_they_say() {
    let files = Files::new();
    let at = |uri: &str, scope: Option<CrlScope>| {
        let point = CrlDistributionPoint { uris: vec![uri.into()] };
        let mut list = list(&[5]);
        list.issuing_distribution_point = Some(CrlIssuingDistributionPoint { distribution_point: point, scope });
        with_crl(&files, files.write("scoped.pem", pem(&files, list)))
    };
    let here = at("http://crl/1", None);
    assert_outcome(&files, &here, &files.numbered(1, &["http://crl/0", "http://crl/1"]), "");
    assert_outcome(&files, &here, &files.numbered(2, &[]), "");
    assert_outcome(&files, &here, &files.numbered(3, &["http://crl/2"]), "UnknownRevocationStatus");
    assert_outcome(&files, &here, &files.numbered(5, &["http://crl/2"]), "it is revoked");
    assert_outcome(&files, &at("x", Some(CrlScope::UserCertsOnly)), &files.numbered(6, &[]), "");
    assert_outcome(&files, &at("x", Some(CrlScope::CaCertsOnly)), &files.numbered(7, &[]), "UnknownRevocationStatus");
}

#[test]
fn each_fault_of_a_list_is_named() {
    let (files, strangers) = (Files::new(), Files::new());
    let good = pem(&files, list(&[1]));
    let der = list(&[1]).signed_by(&files.ca).expect("signed").der().to_vec();
    let mut forged = der.clone();
    *forged.last_mut().expect("bytes") ^= 1;
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "signs no lists");
    let key = KeyPair::generate().expect("a key");
    let issuer = rcgen::Issuer::new(params.clone(), KeyPair::from_pem(&key.serialize_pem()).expect("the key"));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let mute = params.self_signed(&key).expect("signed");
    let unsigned = list(&[]).signed_by(&issuer).expect("signed").pem().expect("PEM");
    let cases = [
        (files.ca(), file(std::path::Path::new("/nowhere/crl.pem")), "cannot read /nowhere/crl.pem: No such file"),
        (files.ca(), files.write("1", "nothing"), "-----BEGIN X509 CRL----- is missing"),
        (files.ca(), files.write("2", &der[..der.len() - 1]), "it is broken"),
        (files.ca(), files.write("3", forged), "its signature is not that of its issuer"),
        (strangers.ca(), files.write("4", good.clone() + &good), "revocation list 1 in"),
        (strangers.ca(), files.write("5", good), "is no authority in"),
        (files.write("mute.pem", mute.pem()), files.write("6", unsigned), "may sign such lists"),
    ];
    for (ca, crl, words) in cases {
        let fault = load(&crl, &ca).expect_err("it is refused");
        assert_eq!(fault.place.line, 7);
        assert!(fault.message.contains(words), "{}", fault.message);
    }
}

/// Whatever the bytes: no panic, and no list of what is not one.
#[test]
fn broken_lists_are_refused() {
    let files = Files::new();
    let der = list(&[1, 2, 3]).signed_by(&files.ca).expect("signed");
    let der = der.der().to_vec();
    for end in 0..der.len() {
        assert_eq!(crl::read(&der[..end]).err(), Some(Flaw::Broken), "{end}");
    }
    let mut taken = 0;
    for at in 0..der.len() {
        for bit in 0..8 {
            let mut other = der.clone();
            other[at] ^= 1 << bit;
            taken += usize::from(crl::read(&other).is_ok());
        }
    }
    assert!(taken > 0, "signatures, numbers and names can be any");
    let certificate = chain(&files.ca()).expect("it can be read").remove(0);
    for end in 0..certificate.len() {
        let _ = Subject::of(&certificate[..end]).map(|it| (it.signs_lists(), it.is_at(&[])));
    }
}

/// One file is in memory once, however many places name it, and over a reload.
#[test]
fn lists_are_shared() {
    let files = Files::new();
    let crl = files.write("crl.pem", pem(&files, list(&[1, 2, 3])));
    let again = files.write("again.pem", read(&crl).expect("it can be read"));
    let load = |crl| load(crl, &files.ca()).expect("it can be used").lists;
    let first = load(&crl);
    assert!(Arc::ptr_eq(&first, &load(&crl)) && Arc::ptr_eq(&first, &load(&again)));
}

/// As large as they come: 140,000 serial numbers of 16 bytes in 4.9 MB, and the numbers.
fn large(files: &Files) -> (Vec<u8>, Vec<[u8; 16]>) {
    const ENTRIES: u64 = 140_000;
    let numbers: Vec<[u8; 16]> = (1..=ENTRIES)
        .map(|entry| {
            let [high, low] = [0x9e37_79b9_7f4a_7c15, 0xd1b5_4a32_d192_ed03_u64].map(|odd| entry.wrapping_mul(odd));
            // Positive, and as long as authorities have them.
            (u128::from(high) << 64 | u128::from(low)).to_be_bytes().map(|byte| byte >> 1 | 0x40)
        })
        .collect();
    let revoked = numbers.iter().map(|number| RevokedCertParams {
        serial_number: SerialNumber::from_slice(number),
        revocation_time: date_time_ymd(2024, 1, 1),
        reason_code: None,
        invalidity_date: None,
    });
    let list = CertificateRevocationListParams { revoked_certs: revoked.collect(), ..list(&[]) };
    (list.signed_by(&files.ca).expect("signed").der().to_vec(), numbers)
}

/// What a handshake does with a list does not grow with it, but by one comparison each time it doubles; nor does a list take
/// more memory than its numbers.
#[test]
fn a_large_list_takes_few_steps_and_little_memory() {
    let files = Files::new();
    let (der, numbers) = large(&files);
    assert!(der.len() > 4_800_000, "{}", der.len());
    let list = crl::read(&der).expect("it can be read").0;
    assert!(list.serials.size() <= 20 * numbers.len(), "{}", list.serials.size());
    let steps = |serial: &[u8]| {
        let count = Cell::new(0);
        let found = list.serials.find(serial, |a, b| {
            count.set(count.get() + 1);
            a.cmp(b)
        });
        assert_eq!(found, list.serials.contain(serial));
        (found, count.get())
    };
    let mut most = 0;
    for number in &numbers {
        let (is_found, count) = steps(number);
        assert!(is_found);
        let mut other = *number;
        other[15] ^= 0x80;
        let (is_found, of_other) = steps(&other);
        assert!(!is_found, "no number has this bit set");
        most = most.max(count).max(of_other);
    }
    assert!(most <= 19, "{most} comparisons");

    let validation = with_crl(&files, files.write("large.der", &der));
    let of = |serial: &[u8; 16]| {
        let mut params = Files::params(&["a.example"]);
        params.serial_number = Some(SerialNumber::from_slice(serial));
        files.issue_with(&params, "large", &KeyPair::generate().expect("a key"))
    };
    assert_outcome(&files, &validation, &of(&numbers[70_000]), "it is revoked");
    assert_outcome(&files, &validation, &of(&[0x3f; 16]), "");
}

/// By hand: `cargo test --profile quick -p ringway --lib -- --ignored --nocapture what_a_large_list_costs`.
#[test]
#[ignore = "a measurement"]
fn what_a_large_list_costs() {
    let files = Files::new();
    let (der, numbers) = large(&files);
    let crl = files.write("large.der", &der);
    let start = Instant::now();
    let lists = load(&crl, &files.ca()).expect("it can be used").lists;
    println!("{} bytes, loaded in {:?}", der.len(), start.elapsed());
    let issuer = crl::read(&der).expect("it can be read").0.issuer;
    let revoke = |serial: &[u8]| lists.of(&issuer).any(|(_, list)| list.serials.contain(serial));
    for (name, each) in [("each in a random place", 7919), ("all in one place", 0)] {
        let start = Instant::now();
        let at = |step: usize| &numbers[step * each % numbers.len()];
        let found = (0..numbers.len()).filter(|step| revoke(at(*step))).count();
        println!("{name}: {:?} for each look-up", start.elapsed() / numbers.len() as u32);
        assert_eq!(found, numbers.len());
    }
}
