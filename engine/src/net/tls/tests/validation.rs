//! What a peer's certificate must be, on both sides: names, pins, untrusted ones.

use super::*;
use crate::net::tls::names::{Name, alternative_names, matches};
use aws_lc_rs::digest::{SHA256, digest};
use rcgen::string::Ia5String;
use rcgen::{CertificateParams, OtherNameValue, PublicKeyData, SanType};
use ringway_config::model::{SanKind, Sha256, StringMatch, StringMatchKind, SubjectAltName};

fn sha256(bytes: &[u8]) -> Sha256 {
    digest(&SHA256, bytes).as_ref().try_into().expect("32 bytes")
}

fn asked(kind: SanKind, value: StringMatchKind) -> SubjectAltName {
    SubjectAltName { kind, value: StringMatch { kind: value, ignore_case: false } }
}

fn exact(kind: SanKind, value: &str) -> SubjectAltName {
    asked(kind, StringMatchKind::Exact(value.into()))
}

fn ia5(text: &str) -> Ia5String {
    text.try_into().expect("ASCII")
}

/// The kinds of failures at the client and at the server.
pub(super) fn kinds(to: &UpstreamTls, of: &DownstreamTls) -> (Option<FailureKind>, Option<FailureKind>, String) {
    let world = World::new(1);
    let (client, accepted) = world.shake(world.pipe(), &connector(to), &server(of));
    let said = [client.as_ref().err(), accepted.as_ref().err()].into_iter().flatten().map(ToString::to_string);
    let said = said.collect::<Vec<_>>().join(" | ");
    let kind = |outcome: &Outcome| outcome.as_ref().err().map(Failure::kind);
    (kind(&client), kind(&accepted), said)
}

pub(super) fn asking(files: &Files, validation: Validation) -> DownstreamTls {
    DownstreamTls {
        client_certificate: Some(ClientCertificate { validation, required: true }),
        ..downstream(vec![files.issue(&["a.example"])])
    }
}

pub(super) fn showing(files: &Files, certificate: Certificate) -> UpstreamTls {
    UpstreamTls { certificate: Some(certificate), ..upstream(files, "a.example") }
}

const REFUSED: Option<FailureKind> = Some(FailureKind::Connection);

#[test]
fn clients_are_told_apart_by_their_names() {
    let files = Files::new();
    let mut params = Files::params(&["client.example"]);
    params.subject_alt_names.push(SanType::URI(ia5("spiffe://mesh/ns/shop/sa/checkout")));
    let certificate = files.issue_with(&params, "client", &KeyPair::generate().expect("a key"));
    let shown = showing(&files, certificate);
    let with = |names: Vec<SubjectAltName>| asking(&files, Validation { subject_alt_names: names, ..by(&files) });
    let prefix = |text: &str| asked(SanKind::Uri, StringMatchKind::Prefix(text.into()));
    for names in [
        vec![prefix("spiffe://mesh/ns/shop/")],
        vec![exact(SanKind::Dns, "other.example"), exact(SanKind::Dns, "Client.Example")],
    ] {
        assert_eq!(kinds(&shown, &with(names.clone())).1, None, "{names:?}");
    }
    for names in [vec![prefix("spiffe://mesh/ns/ops/")], vec![exact(SanKind::Uri, "client.example")]] {
        let (_, kind, said) = kinds(&shown, &with(names));
        assert_eq!(kind, Some(FailureKind::Name));
        assert!(said.contains("none of its alternative names is in subject_alt_names"), "{said}");
    }
    // The right name, and of another authority.
    let strangers = Files::new();
    let forged = strangers.issue_with(&params, "forged", &KeyPair::generate().expect("a key"));
    let (_, kind, said) = kinds(&showing(&files, forged), &with(vec![prefix("spiffe://")]));
    assert_eq!(kind, Some(FailureKind::Untrusted));
    assert!(said.contains("UnknownIssuer"), "{said}");
}

#[test]
fn a_list_of_names_stands_for_the_name_of_an_endpoint() {
    let files = Files::new();
    let mut params = CertificateParams::default();
    params.subject_alt_names.push(SanType::URI(ia5("spiffe://mesh/billing")));
    let of = downstream(vec![files.issue_with(&params, "billing", &KeyPair::generate().expect("a key"))]);
    let to = |uri: &str| {
        let names = vec![exact(SanKind::Uri, uri)];
        let validation = Validation { subject_alt_names: names, ..by(&files) };
        UpstreamTls { validation, ..upstream(&files, "a.example") }
    };
    assert_eq!(kinds(&upstream(&files, "a.example"), &of).0, Some(FailureKind::Name));
    assert_eq!(kinds(&to("spiffe://mesh/billing"), &of).0, None);
    assert_eq!(kinds(&to("spiffe://mesh/bill"), &of).0, Some(FailureKind::Name));
}

/// One list is enough; pins hold with and without authorities, for clients and for endpoints.
#[test]
fn pins_are_of_certificates_or_of_keys() {
    let (files, strangers) = (Files::new(), Files::new());
    let key = KeyPair::generate().expect("a key");
    let certificate = strangers.issue_with(&Files::params(&["b.example"]), "pinned", &key);
    let der = super::super::load::chain(&certificate.chain).expect("it can be read").remove(0);
    let (hash, spki) = (sha256(&der), sha256(&key.subject_public_key_info()));
    let none = Validation::default();
    let right = [
        Validation { certificate_hashes: vec![[0; 32], hash], ..none.clone() },
        Validation { spki_hashes: vec![spki], ..none.clone() },
        Validation { certificate_hashes: vec![[0; 32]], spki_hashes: vec![spki], ..none.clone() },
        Validation { certificate_hashes: vec![hash], ..by(&strangers) },
    ];
    let wrong = [
        Validation { certificate_hashes: vec![spki], spki_hashes: vec![hash], ..none.clone() },
        Validation { certificate_hashes: vec![[0; 32]], ..by(&strangers) },
    ];
    let untrusted = Validation { certificate_hashes: vec![hash], ..by(&files) };
    let cases = right.map(|validation| (validation, None)).into_iter();
    let cases = cases.chain(wrong.map(|validation| (validation, Some(FailureKind::Pin))));
    for (validation, kind) in cases.chain([(untrusted, Some(FailureKind::Untrusted))]) {
        let outcome = kinds(&showing(&files, certificate.clone()), &asking(&files, validation.clone()));
        assert_eq!(outcome.1, kind, "{validation:?}");
        // Its name counts where an authority vouches for it.
        let sni = if validation.ca.is_some() { "b.example" } else { "a.example" };
        let to = UpstreamTls { validation, ..upstream(&files, sni) };
        let outcome = kinds(&to, &downstream(vec![certificate.clone()]));
        assert_eq!((outcome.0, outcome.1), (kind, kind.and(REFUSED)), "{}", outcome.2);
    }
}

#[test]
fn untrusted_clients_are_served_on_demand_if_they_have_their_key() {
    let (files, strangers) = (Files::new(), Files::new());
    for ca in [None, Some(files.ca())] {
        let of = asking(&files, Validation { ca, accept_untrusted: true, ..Validation::default() });
        assert_eq!(kinds(&showing(&files, strangers.issue(&["x"])), &of).1, None);
        assert_eq!(kinds(&upstream(&files, "a.example"), &of).1, Some(FailureKind::NoCertificate));
    }
}

#[test]
fn names_are_compared_as_octets() {
    let other = (vec![1, 3, 6, 1, 4, 1, 311, 20, 2, 3], OtherNameValue::Utf8String("user@corp".into()));
    let mut params = Files::params(&["*.wild.example", "host.example", "10.1.2.3", "fd00::1"]);
    params.subject_alt_names.extend([
        SanType::Rfc822Name(ia5("me@example.org")),
        SanType::OtherName(other),
        SanType::URI(ia5("spiffe://mesh/a\0b")),
        SanType::DnsName(ia5("evil.example\0.good.example")),
    ]);
    let certificate = params.self_signed(&KeyPair::generate().expect("a key")).expect("signed");
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate.der()).expect("one");
    let names: Vec<Name<'_>> = alternative_names(&parsed).collect();
    assert_eq!(names.len(), 6, "those with NUL are none: {names:?}");
    let holds = |asked: &SubjectAltName| names.iter().any(|name| matches(asked, name));
    let upn = || SanKind::Other(vec![0x2b, 6, 1, 4, 1, 0x82, 0x37, 20, 2, 3]);
    use StringMatchKind::{Contains, Prefix, Regex, Suffix};
    let regex = |text: &str| Regex(ringway_config::model::Pattern::whole(text.parse().expect("a pattern")));
    let right = [
        exact(SanKind::Dns, "host.example"),
        exact(SanKind::Dns, "HOST.example"),
        exact(SanKind::Dns, "a.wild.example"),
        exact(SanKind::Dns, "*.wild.example"),
        asked(SanKind::Dns, Suffix(".wild.example".into())),
        exact(SanKind::Ip, "10.1.2.3"),
        exact(SanKind::Ip, "fd00::1"),
        asked(SanKind::Ip, Prefix("10.1.".into())),
        exact(SanKind::Email, "me@example.org"),
        asked(SanKind::Email, regex("^(?:[a-z]+@example\\.org)$")),
        exact(upn(), "user@corp"),
        asked(upn(), Contains("@".into())),
    ];
    for asked in &right {
        assert!(holds(asked), "{asked:?}");
    }
    let wrong = [
        exact(SanKind::Dns, "a.b.wild.example"),
        exact(SanKind::Dns, "wild.example"),
        exact(SanKind::Dns, ".wild.example"),
        exact(SanKind::Dns, "evil.example"),
        asked(SanKind::Dns, Suffix("good.example".into())),
        asked(SanKind::Uri, Prefix("spiffe://".into())),
        exact(SanKind::Email, "Me@example.org"),
        exact(SanKind::Uri, "host.example"),
        exact(SanKind::Other(vec![0x2b, 6]), "user@corp"),
        exact(SanKind::Ip, "10.1.2.30"),
    ];
    for asked in &wrong {
        assert!(!holds(asked), "{asked:?}");
    }
}
