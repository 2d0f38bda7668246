//! Authorities that are trusted and revoked: a chain ends at any authority in the file, so that one whose own issuer is revoked does
//! not count either.

use super::revocation::{assert_outcome, between, list, pem, signed, with_crl};
use super::*;
use crate::net::tls::crl::Subject;
use crate::net::tls::load::chain;
use data_encoding::BASE64;
use rcgen::{
    CertificateRevocationListParams, CrlDistributionPoint, Issuer, RevokedCertParams, SerialNumber, date_time_ymd,
};
use ringway_config::model::Crl;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

const UPPER: &str = "the authority CN=upper is revoked (Revoked)";
const LOWER: &str = "the authority CN=lower was issued by CN=upper, and that one is revoked (Revoked)";

/// A root, `upper` with the serial number 77, `lower` below it, and what `lower` has issued.
struct Tree {
    files: Files,
    upper_pem: String,
    upper: Issuer<'static, KeyPair>,
    lower_pem: String,
    lower: Issuer<'static, KeyPair>,
    shown: Certificate,
}

impl Tree {
    fn new() -> Self {
        let files = Files::new();
        let (upper_pem, upper) = between("upper", 77, &files.ca);
        let (lower_pem, lower) = between("lower", 78, &upper);
        let shown = files.issued_by(&lower, "");
        Self { files, upper_pem, upper, lower_pem, lower, shown }
    }

    /// These authorities below the root are trusted, and it has revoked these serial numbers.
    fn trusting(&self, cas: &[&str], revoked: &[u64]) -> Validation {
        let lists = [pem(&self.files, list(revoked)), signed(list(&[]), &self.upper), signed(list(&[]), &self.lower)];
        let lists = self.files.write("lists.pem", lists.concat());
        Validation { ca: Some(self.files.cas(cas)), ..with_crl(&self.files, lists) }
    }

    /// Another certificate for `upper`.
    fn again(&self, serial: u64, key: &KeyPair, until: i32) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "upper");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.serial_number = Some(SerialNumber::from(serial));
        (params.not_before, params.not_after) = (date_time_ymd(2000, 1, 1), date_time_ymd(until, 1, 1));
        params.signed_by(key, &self.files.ca).expect("signed").pem()
    }

    fn warnings(&self, validation: Validation) -> Vec<String> {
        let mut context = Context::default();
        let to = UpstreamTls { validation, ..upstream(&self.files, "a.example") };
        Client::load(&to, &mut context).expect("it is loaded");
        context.warnings.into_iter().map(|warning| warning.message).collect()
    }
}

#[test]
fn what_a_revoked_authority_has_issued_falls_with_it() {
    let tree = Tree::new();
    let all = [&*tree.upper_pem, &tree.lower_pem];
    assert_outcome(&tree.files, &tree.trusting(&all, &[1]), &tree.shown, "");
    assert!(tree.warnings(tree.trusting(&all, &[1])).is_empty());
    let revoked = tree.trusting(&all, &[77]);
    assert_outcome(&tree.files, &revoked, &tree.shown, LOWER);
    assert_outcome(&tree.files, &revoked, &tree.files.issued_by(&tree.upper, ""), UPPER);
    assert_outcome(&tree.files, &revoked, &tree.files.numbered(1, &[]), "");
    let [said] = &tree.warnings(revoked.clone())[..] else { panic!("one is on a list") };
    assert!(
        said.contains("lists.pem revokes authority 2 in") && said.contains("CN=upper: what it has issued"),
        "{said}"
    );
    let mut only_leaf = revoked;
    only_leaf.crl.as_mut().expect("one").only_leaf = true;
    assert_outcome(&tree.files, &only_leaf, &tree.shown, "");
    // The authority that is trusted is the root; the others are shown by the peer.
    let shown = tree.files.issued_by(&tree.lower, &(tree.lower_pem.clone() + &tree.upper_pem));
    let lists = tree.files.write("root.pem", pem(&tree.files, list(&[77])));
    let mut root = with_crl(&tree.files, lists);
    assert_outcome(&tree.files, &root, &shown, UPPER);
    root.crl.as_mut().expect("one").only_leaf = true;
    assert_outcome(&tree.files, &root, &shown, "UnknownRevocationStatus");
}

/// The same name and key again under another number, which must be in force.
#[test]
fn another_certificate_of_a_revoked_authority_stands_for_it() {
    let tree = Tree::new();
    let good = tree.again(79, tree.upper.key(), 4000);
    for cas in [[&*tree.upper_pem, &good, &tree.lower_pem], [&good, &tree.lower_pem, &tree.upper_pem]] {
        let trusting = tree.trusting(&cas, &[77]);
        assert_outcome(&tree.files, &trusting, &tree.shown, "");
        assert_outcome(&tree.files, &trusting, &tree.files.issued_by(&tree.upper, ""), "");
        assert!(tree.warnings(trusting).is_empty(), "nothing is refused");
        assert_outcome(&tree.files, &tree.trusting(&cas, &[77, 79]), &tree.shown, LOWER);
    }
    // One that has expired is not on the list any more.
    let expired = tree.again(79, tree.upper.key(), 2020);
    for cas in [[&*tree.upper_pem, &expired, &tree.lower_pem], [&expired, &tree.lower_pem, &tree.upper_pem]] {
        let trusting = tree.trusting(&cas, &[77]);
        assert_outcome(&tree.files, &trusting, &tree.shown, LOWER);
        assert_outcome(&tree.files, &trusting, &tree.files.issued_by(&tree.upper, ""), UPPER);
    }
    // Without the revoked one it is an authority that has expired, and the one below it is trusted by itself.
    assert_outcome(&tree.files, &tree.trusting(&[&expired, &tree.lower_pem], &[]), &tree.shown, "");
}

/// After the loss of its key an authority has a new one under its old name.
#[test]
fn a_namesake_with_another_key_stands_for_nothing_that_it_has_not_issued() {
    let tree = Tree::new();
    let key = KeyPair::generate().expect("a key");
    let namesake = tree.again(80, &key, 4000);
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "upper");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let of_new_key = Issuer::new(params, key);
    let (other_pem, other) = between("other", 81, &of_new_key);
    let cas = [&*tree.upper_pem, &namesake, &tree.lower_pem, &other_pem];
    let revoked = tree.trusting(&cas, &[77]);
    assert_outcome(&tree.files, &revoked, &tree.shown, LOWER);
    // What the old key has signed says nothing good of what the new one has issued; what it revokes is revoked.
    let shown = tree.files.issued_by(&of_new_key, "");
    assert_outcome(&tree.files, &revoked, &shown, "UnknownRevocationStatus");
    let with = |more: &[String]| {
        let root = pem(&tree.files, list(&[77])) + &signed(list(&[]), &tree.upper) + &more.concat();
        Validation { ca: Some(tree.files.cas(&cas)), ..with_crl(&tree.files, tree.files.write("more.pem", root)) }
    };
    let own = signed(list(&[]), &of_new_key);
    assert_outcome(&tree.files, &with(std::slice::from_ref(&own)), &shown, "");
    // Not everything that has the revoked one's name falls.
    let list_of_other = signed(list(&[]), &other);
    assert_outcome(&tree.files, &with(&[own, list_of_other]), &tree.files.issued_by(&other, ""), "");
}

#[test]
fn a_root_may_be_on_its_own_list() {
    let files = Files::new();
    let shown = files.numbered(0x55, &[]);
    let root = chain(&files.ca()).expect("it can be read").remove(0);
    let number = Subject::of(&root).expect("it can be read").serial;
    let own = CertificateRevocationListParams {
        revoked_certs: vec![RevokedCertParams {
            serial_number: SerialNumber::from_slice(number),
            revocation_time: date_time_ymd(2024, 1, 1),
            reason_code: None,
            invalidity_date: None,
        }],
        ..list(&[])
    };
    let validation = with_crl(&files, files.write("self.pem", pem(&files, own)));
    assert_outcome(&files, &validation, &shown, "is revoked (Revoked)");
}

/// Those of a dead authority are often out of date, and there may be none: that is not what is wrong.
#[test]
fn what_is_revoked_is_told_before_what_is_not_known() {
    let tree = Tree::new();
    let old = CertificateRevocationListParams { next_update: date_time_ymd(2024, 2, 1), ..list(&[]) };
    let shown = tree.files.issued_by(&tree.upper, &tree.upper_pem);
    for more in [String::new(), signed(old, &tree.upper)] {
        let lists = tree.files.write("some.pem", pem(&tree.files, list(&[77])) + &more);
        let validation = Validation { ca: Some(tree.files.cas(&[&tree.upper_pem])), ..with_crl(&tree.files, lists) };
        assert_outcome(&tree.files, &validation, &shown, UPPER);
    }
}

/// As nginx and HAProxy look at the whole way up to the root.
#[test]
fn a_list_must_be_about_an_authority_whose_issuer_is_there() {
    let tree = Tree::new();
    let all = [&*tree.upper_pem, &tree.lower_pem];
    let below = signed(list(&[]), &tree.upper) + &signed(list(&[]), &tree.lower);
    let with = |root: &str, cas: &[&str]| {
        let number = tree.files.dir.path().read_dir().expect("it is there").count();
        let lists = tree.files.write(&format!("some{number}.pem"), root.to_owned() + &below);
        Validation { ca: Some(tree.files.cas(cas)), ..with_crl(&tree.files, lists) }
    };
    let old = CertificateRevocationListParams { next_update: date_time_ymd(2024, 2, 1), ..list(&[]) };
    let old = with(&pem(&tree.files, old), &all);
    let missing = "no revocation list is about the authority CN=upper";
    let is_old = "the revocation list about the authority CN=upper is out of date";
    let of_upper = tree.files.issued_by(&tree.upper, "");
    assert_outcome(&tree.files, &old, &of_upper, is_old);
    assert_outcome(&tree.files, &with("", &all), &of_upper, missing);
    assert!(tree.warnings(old.clone())[0].contains("is out of date: the certificates that it is about are refused"));
    // What is below it goes the same way.
    assert_outcome(&tree.files, &old, &tree.shown, is_old);
    assert_outcome(&tree.files, &with("", &all), &tree.shown, missing);
    for change in [|crl: &mut Crl| crl.allows_expired = true, |crl: &mut Crl| crl.only_leaf = true] {
        let mut lenient = old.clone();
        change(lenient.crl.as_mut().expect("one"));
        assert_outcome(&tree.files, &lenient, &of_upper, "");
    }
    // Without the root nothing is above it.
    let ca = tree.files.write("without-root.pem", all.concat());
    assert_outcome(&tree.files, &Validation { ca: Some(ca), ..with("", &all) }, &tree.shown, "");
}

/// Roots with new keys keep their names.
#[test]
fn lists_are_of_keys_and_not_of_names() {
    let root = |_| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "same");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("signed")
    };
    let (files, [old, new]) = (Files::new(), [0, 1].map(root));
    let numbered = |issuer: &CertifiedIssuer<'_, KeyPair>, serial: u64| {
        let mut params = Files::params(&["a.example"]);
        params.serial_number = Some(SerialNumber::from(serial));
        let key = KeyPair::generate().expect("a key");
        let leaf = params.signed_by(&key, issuer).expect("signed");
        let name = format!("{serial}-{}", files.dir.path().read_dir().expect("it is there").count());
        Certificate {
            chain: files.write(&format!("{name}.pem"), leaf.pem()),
            key: files.write(&format!("{name}.key"), key.serialize_pem()),
            ocsp_staple: None,
        }
    };
    let ca = files.write("same.pem", old.pem() + &new.pem());
    let with = |lists: &str| Validation { ca: Some(ca.clone()), ..with_crl(&files, files.write("lists.pem", lists)) };
    let of_old = signed(list(&[77]), &old);
    let of_both = of_old.clone() + &signed(list(&[88]), &new);
    for (lists, issuer, serial, words) in [
        (&of_old, &old, 77, "it is revoked"),
        (&of_old, &old, 88, ""),
        (&of_old, &new, 77, "UnknownRevocationStatus"),
        (&of_old, &new, 88, "UnknownRevocationStatus"),
        (&of_both, &old, 77, "it is revoked"),
        (&of_both, &old, 88, ""),
        (&of_both, &new, 77, ""),
        (&of_both, &new, 88, "it is revoked"),
    ] {
        assert_outcome(&files, &with(lists), &numbered(issuer, serial), words);
    }
}

/// An authority is trusted without its signature, which may be one that is not verified here. A list of its issuer counts nevertheless.
#[test]
fn an_authority_whose_signature_is_not_verified_here_may_be_revoked() {
    let tree = Tree::new();
    let der = CertificateDer::from_pem_slice(tree.upper_pem.as_bytes()).expect("a certificate");
    // ecdsa-with-SHA224 in place of ecdsa-with-SHA256, in both places.
    const KNOWN: [u8; 8] = [0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2];
    let mut other = der.to_vec();
    let places: Vec<_> = (0..der.len()).filter(|at| der[*at..].starts_with(&KNOWN)).collect();
    assert_eq!(places.len(), 2);
    places.into_iter().for_each(|at| other[at + 7] = 1);
    let other_pem = format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", BASE64.encode(&other));
    let shown = tree.files.issued_by(&tree.upper, "");
    let cas = [&*other_pem, &tree.lower_pem];
    assert_outcome(&tree.files, &tree.trusting(&cas, &[1]), &shown, "");
    assert_outcome(&tree.files, &tree.trusting(&cas, &[77]), &shown, UPPER);
    assert_outcome(&tree.files, &tree.trusting(&cas, &[77]), &tree.shown, LOWER);
}

/// As in a change of keys (RFC 4210 section 4.4): the old root, which is on its own list, and the two that lead from one key to the
/// other. They vouch for each other, and nothing else does.
#[test]
fn authorities_that_have_issued_each_other_fall_with_the_one_above_them() {
    let files = Files::new();
    let key = |_| KeyPair::generate().expect("a key");
    let copy = |key: &KeyPair| KeyPair::from_pem(&key.serialize_pem()).expect("the key");
    let [old_key, new_key] = [0, 1].map(key);
    let params = |serial: u64| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "root");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.serial_number = Some(SerialNumber::from(serial));
        params
    };
    let [old, new] = [&old_key, &new_key].map(|key| Issuer::new(params(0), copy(key)));
    let old_with_old = params(1).self_signed(&old_key).expect("signed").pem();
    let new_with_new = params(2).self_signed(&new_key).expect("signed").pem();
    let old_with_new = params(3).signed_by(&old_key, &new).expect("signed").pem();
    let new_with_old = params(4).signed_by(&new_key, &old).expect("signed").pem();
    let outcome = |cas: &[&str], issuer: &Issuer<'_, KeyPair>, words: &str| {
        let lists = files.write("lists.pem", signed(list(&[1]), &old) + &signed(list(&[]), &new));
        for turn in 0..cas.len() {
            let mut cas = cas.to_vec();
            cas.rotate_left(turn);
            let ca = files.write("turned.pem", cas.concat());
            let validation = Validation { ca: Some(ca), ..with_crl(&files, lists.clone()) };
            assert_outcome(&files, &validation, &files.issued_by(issuer, ""), words);
        }
    };
    let three = [&*old_with_old, &old_with_new, &new_with_old];
    outcome(&three, &old, "the authority CN=root ");
    outcome(&three, &new, "the authority CN=root ");
    let four = [&*old_with_old, &old_with_new, &new_with_old, &new_with_new];
    outcome(&four, &old, "");
    outcome(&four, &new, "");
}

/// Two that have issued each other, in a file that names a revoked one.
#[test]
fn authorities_that_have_issued_each_other_are_looked_at_once() {
    let files = Files::new();
    let key = |_| KeyPair::generate().expect("a key");
    let [left_key, right_key] = [0, 1].map(key);
    let params = |name: &str, serial: u64| {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.serial_number = Some(SerialNumber::from(serial));
        params.crl_distribution_points = Vec::<CrlDistributionPoint>::new();
        params
    };
    let copy = |key: &KeyPair| KeyPair::from_pem(&key.serialize_pem()).expect("the key");
    let left = Issuer::new(params("left", 1), copy(&left_key));
    let right = Issuer::new(params("right", 2), copy(&right_key));
    let left_pem = params("left", 1).signed_by(&left_key, &right).expect("signed").pem();
    let right_pem = params("right", 2).signed_by(&right_key, &left).expect("signed").pem();
    let (revoked_pem, _) = between("revoked", 77, &files.ca);
    let lists = [pem(&files, list(&[77])), signed(list(&[]), &left), signed(list(&[]), &right)].concat();
    let lists = files.write("lists.pem", lists);
    let ca = files.cas(&[&left_pem, &right_pem, &revoked_pem]);
    let validation = Validation { ca: Some(ca), ..with_crl(&files, lists) };
    for issuer in [&left, &right] {
        assert_outcome(&files, &validation, &files.issued_by(issuer, ""), "");
    }
}
