//! Certificates as badssl.com has them, and what becomes of a handshake with each. Those that rcgen cannot make are in
//! tests/proxy/tls_badssl.rs, what is revoked in `revocation`.

use super::validation::{asking, kinds, showing};
use super::*;
use rcgen::{
    ExtendedKeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P521_SHA512, PKCS_ED25519, SanType, date_time_ymd,
};

/// A certificate of an authority below others.
type Authority = CertifiedIssuer<'static, KeyPair>;

fn key() -> KeyPair {
    KeyPair::generate().expect("a key")
}

fn authority(name: &str, above: Option<&Authority>) -> Authority {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    match above {
        Some(above) => CertifiedIssuer::signed_by(params, key(), above).expect("signed"),
        None => CertifiedIssuer::self_signed(params, key()).expect("signed"),
    }
}

/// What a client that trusts `files`' authority makes of an endpoint that shows this.
fn told(files: &Files, sni: &str, certificate: Certificate) -> (Option<FailureKind>, String) {
    let (kind, _, said) = kinds(&upstream(files, sni), &downstream(vec![certificate]));
    (kind, said)
}

#[track_caller]
fn assert_refused((kind, said): (Option<FailureKind>, String), as_what: FailureKind, why: &str) {
    assert_eq!(kind, Some(as_what), "{said}");
    assert!(said.contains(why), "{said}");
}

#[track_caller]
fn assert_taken((kind, said): (Option<FailureKind>, String)) {
    assert_eq!(kind, None, "{said}");
}

#[test]
fn dates() {
    let files = Files::new();
    for (from, until, why) in [(2000, 2020, "expired"), (2090, 2099, "not valid yet")] {
        let mut params = Files::params(&["a.example"]);
        (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
        let certificate = files.issue_with(&params, "dated", &key());
        assert_refused(told(&files, "a.example", certificate.clone()), FailureKind::Untrusted, why);
        let (_, kind, said) = kinds(&showing(&files, certificate), &asking(&files, by(&files)));
        assert_refused((kind, said), FailureKind::Untrusted, why);
    }
}

#[test]
fn names() {
    let files = Files::new();
    let issue = |names: &[&str]| files.issue_with(&Files::params(names), "named", &key());
    for (names, sni) in [
        (&["a.example"][..], "A.Example"),
        (&["*.a.example"], "www.a.example"),
        (&["b.example", "a.example"], "a.example"),
        (&["10.1.2.3"], "10.1.2.3"),
        (&["fd00::1"], "fd00::1"),
    ] {
        assert_taken(told(&files, sni, issue(names)));
    }
    for (names, sni) in [
        (&["b.example"][..], "a.example"),
        (&["*.a.example"], "x.www.a.example"),
        // One label below a wildcard is a domain of the first level.
        (&["*.example"], "a.example"),
        (&["*.example"], "example"),
        (&["*.a.example"], "a.example"),
        (&["10.1.2.4", "a.example"], "10.1.2.3"),
        (&["10.1.2.3.example"], "10.1.2.3"),
    ] {
        assert_refused(told(&files, sni, issue(names)), FailureKind::Name, "(NotValidForName)");
    }
    // Envoy CVE-2020-15104: a wildcard is one level, and the leftmost; CVE-2025-66220: what stands behind a NUL counts.
    for name in ["a.*.example", "a.example\0.evil.example", "a*.example"] {
        let mut params = CertificateParams::default();
        params.subject_alt_names.push(SanType::DnsName(name.try_into().expect("ASCII")));
        let certificate = files.issue_with(&params, "odd", &key());
        for sni in ["a.example", "a.b.example"] {
            let (kind, said) = told(&files, sni, certificate.clone());
            assert!(kind.is_some(), "{name:?} {sni} {said}");
        }
    }
    // The common name is no name of an endpoint, and neither is an address as a DNS name.
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "a.example");
    assert_refused(
        told(&files, "a.example", files.issue_with(&params, "cn", &key())),
        FailureKind::Name,
        "(NotValidForName)",
    );
    let mut params = CertificateParams::default();
    params.subject_alt_names.push(SanType::DnsName("10.1.2.3".try_into().expect("ASCII")));
    let certificate = files.issue_with(&params, "text", &key());
    assert!(told(&files, "10.1.2.3", certificate).0.is_some());
}

#[test]
fn issuers() {
    let (files, strangers) = (Files::new(), Files::new());
    let untrusted = strangers.issue(&["a.example"]);
    assert_refused(told(&files, "a.example", untrusted), FailureKind::Untrusted, "UnknownIssuer");
    // Signed by its own key, with and without a claim to be an authority; trusted by name or not.
    for (is_ca, why) in [(IsCa::NoCa, None), (IsCa::Ca(BasicConstraints::Unconstrained), Some("CaUsedAsEndEntity"))] {
        let mut params = Files::params(&["a.example"]);
        params.is_ca = is_ca;
        let own = CertifiedIssuer::self_signed(params, key()).expect("signed");
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: String| {
            std::fs::write(dir.path().join(name), text).expect("written");
            file(&dir.path().join(name))
        };
        let (chain, key) = (write("own.pem", own.pem()), write("own.key", own.key().serialize_pem()));
        let certificate = Certificate { chain: chain.clone(), key, ocsp_staple: None };
        let unknown = told(&files, "a.example", certificate.clone());
        assert_eq!(unknown.0, Some(FailureKind::Untrusted), "{}", unknown.1);
        let trusting = Validation { ca: Some(chain), ..Validation::default() };
        let to = UpstreamTls { validation: trusting, ..upstream(&files, "a.example") };
        let (kind, _, said) = kinds(&to, &downstream(vec![certificate]));
        match why {
            Some(why) => assert_refused((kind, said), FailureKind::Untrusted, why),
            None => assert_taken((kind, said)),
        }
    }
}

/// Signed by an authority that has the name of one that is trusted, and another key: a certificate that signs itself, named
/// `localhost` as one of the system's authorities is.
#[test]
fn namesakes() {
    let files = Files::new();
    for (algorithm, why) in [
        (&PKCS_ECDSA_P256_SHA256, "made by another authority than the one known by the issuer's name"),
        (&PKCS_ED25519, "(UnsupportedSignatureAlgorithmForPublicKey)"),
    ] {
        let key = KeyPair::generate_for(algorithm).expect("a key");
        let mut params = Files::params(&["a.example"]);
        params.distinguished_name.push(DnType::CommonName, "localhost");
        let own = params.self_signed(&key).expect("signed");
        let trusted = authority("localhost", None);
        let write = |name: &str, text: String| {
            std::fs::write(files.dir.path().join(name), text).expect("written");
            file(&files.dir.path().join(name))
        };
        let (chain, key, ca) =
            (write("own.pem", own.pem()), write("own.key", key.serialize_pem()), write("localhost.pem", trusted.pem()));
        let trusting = Validation { ca: Some(ca), ..Validation::default() };
        let to = UpstreamTls { validation: trusting, ..upstream(&files, "a.example") };
        let (kind, _, said) = kinds(&to, &downstream(vec![Certificate { chain, key, ocsp_staple: None }]));
        assert_refused((kind, said), FailureKind::Untrusted, why);
    }
}

/// A chain of `count` authorities below that of `files`, and what the last one issues.
fn chain(files: &Files, count: usize, leaf: &CertificateParams) -> (String, KeyPair) {
    let mut authorities: Vec<Authority> = Vec::new();
    for number in 0..count {
        let above = authorities.last().unwrap_or(&files.ca);
        authorities.push(authority(&format!("below {number}"), Some(above)));
    }
    let key = key();
    let leaf = leaf.signed_by(&key, authorities.last().unwrap_or(&files.ca)).expect("signed");
    let all = authorities.iter().rev().map(|authority| authority.pem());
    (std::iter::once(leaf.pem()).chain(all).collect(), key)
}

#[test]
fn chains() {
    let files = Files::new();
    let shown = |pem: &str, key: &KeyPair| {
        std::fs::write(files.dir.path().join("chain.pem"), pem).expect("written");
        std::fs::write(files.dir.path().join("chain.key"), key.serialize_pem()).expect("written");
        let [chain, key] = ["chain.pem", "chain.key"].map(|name| file(&files.dir.path().join(name)));
        told(&files, "a.example", Certificate { chain, key, ocsp_staple: None })
    };
    let leaf = Files::params(&["a.example"]);
    for count in [1, 2, 5] {
        let (pem, key) = chain(&files, count, &leaf);
        assert_taken(shown(&pem, &key));
        // The intermediates are missing.
        let first = pem.split_inclusive("-----END CERTIFICATE-----\n").next().expect("the leaf");
        assert_refused(shown(first, &key), FailureKind::Untrusted, "UnknownIssuer");
    }
    // Longer ones than any that is in use are not followed.
    let (pem, key) = chain(&files, 10, &leaf);
    assert_eq!(shown(&pem, &key).0, Some(FailureKind::Untrusted));
    // 60 KB of it.
    let names: Vec<String> = (0..1500).map(|number| format!("host-{number:04}.department.a.example")).collect();
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.push("a.example");
    let (pem, key) = chain(&files, 1, &Files::params(&names));
    assert!(pem.len() > 60_000, "{}", pem.len());
    assert_taken(shown(&pem, &key));
}

/// Extended key usage (RFC 5280 section 4.2.1.12).
#[test]
fn purposes() {
    use ExtendedKeyUsagePurpose::{ClientAuth, CodeSigning, ServerAuth};
    let files = Files::new();
    for (purposes, serves, asks) in [
        (vec![], true, true),
        (vec![ServerAuth], true, false),
        (vec![ClientAuth], false, true),
        (vec![ServerAuth, ClientAuth], true, true),
        (vec![CodeSigning], false, false),
    ] {
        let mut params = Files::params(&["a.example"]);
        params.extended_key_usages = purposes.clone();
        let certificate = files.issue_with(&params, "purpose", &key());
        let serving = told(&files, "a.example", certificate.clone());
        let (_, kind, said) = kinds(&showing(&files, certificate), &asking(&files, by(&files)));
        for ((kind, said), is_taken) in [(serving, serves), ((kind, said), asks)] {
            match is_taken {
                true => assert_eq!(kind, None, "{purposes:?} {said}"),
                false => assert_refused((kind, said), FailureKind::Untrusted, "InvalidPurpose"),
            }
        }
    }
}

#[test]
fn keys() {
    let files = Files::new();
    let key = KeyPair::generate_for(&PKCS_ECDSA_P521_SHA512).expect("a key");
    let certificate = files.issue_with(&Files::params(&["a.example"]), "p521", &key);
    assert_taken(told(&files, "a.example", certificate));
}
