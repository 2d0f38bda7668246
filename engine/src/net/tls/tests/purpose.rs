//! What certificates of authorities and of peers may be used for: as OpenSSL sees it, on both sides.

use super::revocation::outcomes;
use super::*;
use rcgen::{ExtendedKeyUsagePurpose, Issuer, KeyUsagePurpose};

/// What is refused, in words, at a server and at a client; empty: nothing.
fn assert_told(files: &Files, ca: &str, shown: &Certificate, words: [&str; 2]) {
    let validation = Validation { ca: Some(files.write("these.pem", ca)), ..Validation::default() };
    for ((kind, said), words) in outcomes(files, &validation, shown).into_iter().zip(words) {
        assert_eq!(kind, (!words.is_empty()).then_some(FailureKind::Untrusted), "{said}");
        assert!(said.contains(words), "{said}");
    }
}

fn named(name: &str, change: impl FnOnce(&mut CertificateParams)) -> CertificateParams {
    let mut params = CertificateParams::new(vec!["a.example".into()]).expect("a name");
    params.distinguished_name.push(DnType::CommonName, name);
    change(&mut params);
    params
}

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

/// A root that these parameters describe, and what it issues.
fn root(change: impl FnOnce(&mut CertificateParams)) -> (String, Issuer<'static, KeyPair>) {
    let (params, key) = (named("root", change), key());
    let pem = params.self_signed(&key).expect("signed").pem();
    (pem, Issuer::new(params, key))
}

fn authority(params: &mut CertificateParams) {
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
}

/// Of an authority below another one, in front of what a peer shows: its certificate, and what it issues.
fn below(
    above: &Issuer<'_, KeyPair>,
    change: impl FnOnce(&mut CertificateParams),
) -> (String, Issuer<'static, KeyPair>) {
    let (params, key) = (named("below", change), key());
    let pem = params.signed_by(&key, above).expect("signed").pem();
    (pem, Issuer::new(params, key))
}

#[test]
fn a_certificate_that_has_signed_itself_stands_for_itself_alone() {
    let files = Files::new();
    let own = |name: &str| {
        let (params, key) = (named(name, |it| it.is_ca = IsCa::ExplicitNoCa), key());
        let pem = params.self_signed(&key).expect("signed").pem();
        let shown = Certificate {
            chain: files.write(&format!("{name}.pem"), &pem),
            key: files.write(&format!("{name}.key"), key.serialize_pem()),
            ocsp_staple: None,
        };
        (pem, shown, Issuer::new(params, key))
    };
    let ((first_pem, first, first_issuer), (second_pem, second, _)) = (own("first"), own("second"));
    let both = first_pem + &second_pem;
    assert_told(&files, &both, &first, [""; 2]);
    assert_told(&files, &both, &second, [""; 2]);
    let minted = files.issued_by(&first_issuer, "");
    assert_told(&files, &both, &minted, ["CN=first, is no authority"; 2]);
    // With itself in the chain, too.
    let (below_pem, below) = below(&first_issuer, authority);
    assert_told(&files, &both, &files.issued_by(&below, &below_pem), ["CN=first, is no authority"; 2]);
}

#[test]
fn authorities_are_what_their_certificates_say() {
    let files = Files::new();
    let no_signing = |params: &mut CertificateParams| {
        authority(params);
        params.key_usages = vec![KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    };
    let (pem, issuer) = root(no_signing);
    assert_told(&files, &pem, &files.issued_by(&issuer, ""), ["CN=root, is no authority"; 2]);
    let (pem, issuer) = root(|params| {
        authority(params);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    });
    assert_told(&files, &pem, &files.issued_by(&issuer, ""), [""; 2]);
    // Between it and the peer.
    let (below_pem, of_below) = below(&issuer, no_signing);
    assert_told(&files, &pem, &files.issued_by(&of_below, &below_pem), ["CN=below, is no authority"; 2]);
    let (below_pem, of_below) = below(&issuer, authority);
    assert_told(&files, &pem, &files.issued_by(&of_below, &below_pem), [""; 2]);
    for (most, words) in [(0, "CN=root does not allow that many below it"), (1, "")] {
        let (pem, issuer) = root(|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(most)));
        assert_told(&files, &pem, &files.issued_by(&issuer, ""), [""; 2]);
        let (below_pem, of_below) = below(&issuer, authority);
        assert_told(&files, &pem, &files.issued_by(&of_below, &below_pem), [words; 2]);
    }
    const OTHER: &str = "the authority CN=root is for other purposes";
    for (purpose, words) in [
        (ExtendedKeyUsagePurpose::ClientAuth, ["", OTHER]),
        (ExtendedKeyUsagePurpose::ServerAuth, [OTHER, ""]),
        (ExtendedKeyUsagePurpose::Any, [""; 2]),
        (ExtendedKeyUsagePurpose::CodeSigning, [OTHER; 2]),
    ] {
        let (pem, issuer) = root(|params| {
            authority(params);
            params.extended_key_usages = vec![purpose];
        });
        assert_told(&files, &pem, &files.issued_by(&issuer, ""), words);
    }
}

#[test]
fn the_key_of_a_peer_is_for_handshakes() {
    let files = Files::new();
    let ca = std::fs::read_to_string(files.ca().path).expect("read");
    const PURPOSE: &str = "it is for another purpose";
    for (usage, words) in [
        (KeyUsagePurpose::DigitalSignature, [""; 2]),
        (KeyUsagePurpose::KeyAgreement, [""; 2]),
        (KeyUsagePurpose::KeyEncipherment, [PURPOSE, ""]),
        (KeyUsagePurpose::KeyCertSign, [PURPOSE; 2]),
    ] {
        let mut params = Files::params(&["a.example"]);
        params.key_usages = vec![usage];
        assert_told(&files, &ca, &files.issue_with(&params, "used", &key()), words);
    }
}
