//! What is said of a certificate.

use super::*;
use crate::net::tls::{Identities, Identity, encode_pem};
use rcgen::string::Ia5String;
use rcgen::{SanType, SerialNumber};

fn ia5(text: &str) -> Ia5String {
    text.try_into().expect("ASCII")
}

#[test]
fn a_certificate_is_described_as_openssl_does_it() {
    let files = Files::new();
    let mut params = Files::params(&["a.example", "b.example", "10.1.2.3"]);
    let name = &mut params.distinguished_name;
    *name = rcgen::DistinguishedName::new();
    name.push(DnType::CountryName, "DE");
    name.push(DnType::OrganizationName, "Example, Inc.");
    name.push(DnType::CommonName, " #M\u{fc}ller \"x\\\r\n;");
    name.push(DnType::CustomDnType(vec![1, 2, 3]), "odd");
    params.serial_number = Some(SerialNumber::from_slice(&[0, 0x0a, 0xbc]));
    params.not_before = rcgen::date_time_ymd(2024, 1, 2);
    params.not_after = rcgen::date_time_ymd(2060, 1, 2);
    let evil = "spiffe://mesh/a;By=\"x\",\\";
    params.subject_alt_names.extend([
        SanType::URI(ia5(evil)),
        SanType::URI(ia5("urn:a,b")),
        SanType::Rfc822Name(ia5("me@x")),
        SanType::OtherName((vec![1, 2, 3], "user \"1\"".into())),
    ]);
    let certificate = params.signed_by(&KeyPair::generate().expect("a key"), &files.ca).expect("signed");
    let identity = Identity::of(certificate.der()).expect("it can be read");
    assert_eq!(&*identity.subject, "1.2.3=#6f6464,CN=\\ #M\\C3\\BCller \\22x\\5C\\0D\\0A\\;,O=Example\\, Inc.,C=DE");
    assert!(identity.issuer.starts_with("CN=authority in /"), "{}", identity.issuer);
    assert_eq!(&*identity.serial, "0abc");
    assert_eq!((identity.sha256.len(), identity.sha1.len()), (64, 40));
    assert_eq!((identity.valid_from, identity.valid_until), (1_704_153_600_000_000, 2_840_227_200_000_000));
    assert_eq!(identity.dns.joined(), "a.example,b.example");
    assert_eq!(identity.ips.joined(), "10.1.2.3");
    assert_eq!(identity.emails.joined(), "me@x");
    assert_eq!(identity.others.joined(), "user%20%221%22");
    let uris: Vec<_> = identity.uris.iter().collect();
    assert_eq!(uris, ["spiffe://mesh/a;By=%22x%22,%5C", "urn:a,b"]);
    let mut pem = Vec::new();
    encode_pem(certificate.der(), &mut pem);
    let expected = certificate.pem().replace("\r\n", "\n").replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
    assert_eq!(String::from_utf8(pem).expect("ASCII"), expected.replace('\n', "%0A").replace(' ', "%20"));
}

/// A message has room for more than ten thousand certificates, which may be empty below the first one.
#[test]
fn of_a_long_chain_a_few_certificates_are_looked_at() {
    let files = Files::new();
    let mut shown = vec![files.ca.der().clone()];
    shown.resize(10_000, Vec::new().into());
    let told = Identities::of(&shown, None);
    assert!(told.peer.is_some() && told.own.is_none());
    let counts = [&told.chain_sha256, &told.chain_sha1, &told.chain_serials].map(|names| names.iter().count());
    assert_eq!((told.certificates.len(), counts), (16, [16; 3]));
    assert!(told.chain_serials.joined().ends_with(",,,,,,,,,,,,,,,"), "what cannot be read keeps its place");
}

#[test]
fn what_is_no_certificate_has_no_identity() {
    let files = Files::new();
    let der = files.ca.der();
    for end in 0..der.len() {
        assert_eq!(Identity::of(&der[..end]), None, "{end}");
    }
    for at in 0..der.len() {
        let mut other = der.to_vec();
        other[at] ^= 0x5a;
        // Whatever it says, it says it in one line.
        if let Some(identity) = Identity::of(&other) {
            assert!(
                format!("{}{}", identity.subject, identity.issuer).bytes().all(|byte| (0x20..0x7f).contains(&byte))
            );
        }
    }
    assert_eq!(Identity::of(der).expect("one").dns.iter().count(), 0);
}

/// With untrusted clients let in, the facts say which ones have shown what they must.
#[test]
fn a_certificate_that_was_let_in_is_not_a_verified_one() {
    let (files, strangers, world) = (Files::new(), Files::new(), World::new(1));
    let (known, unknown) = (files.issue(&["client"]), strangers.issue(&["client"]));
    let lenient = Validation { accept_untrusted: true, ..by(&files) };
    let anyone = Validation { ca: None, ..lenient.clone() };
    let cases = [
        (by(&files), Some(&known), [true, true]),
        (by(&files), None, [false, false]),
        (lenient.clone(), Some(&known), [true, true]),
        (lenient.clone(), Some(&unknown), [true, false]),
        (lenient, None, [false, false]),
        (anyone, Some(&known), [true, false]),
    ];
    for (validation, certificate, expected) in cases {
        let asked = ClientCertificate { validation, required: false };
        let own = files.issue(&["a.example"]);
        let model = DownstreamTls { client_certificate: Some(asked), ..downstream(vec![own]) };
        let shown = UpstreamTls { certificate: certificate.cloned(), ..upstream(&files, "a.example") };
        let (client, accepted) = world.agree(&connector(&shown), &server(&model));
        let facts = accepted.facts();
        assert_eq!([facts.has_peer_certificate, facts.is_peer_verified], expected, "{shown:?}");
        let dns = |identity: &Option<Identity>| identity.as_ref().map(|identity| identity.dns.joined().to_owned());
        let [shown, front] = [certificate.map(|_| "client".to_owned()), Some("a.example".into())];
        let told = accepted.identities();
        assert_eq!([dns(&told.peer), dns(&told.own)], [shown.clone(), front.clone()]);
        let names = [&told.chain_sha256, &told.chain_sha1, &told.chain_serials].map(|names| names.iter().count());
        assert_eq!((told.certificates.len(), names), (usize::from(shown.is_some()), [told.certificates.len(); 3]));
        if let Some(peer) = &told.peer {
            let first = [&told.chain_sha256, &told.chain_sha1, &told.chain_serials].map(|names| names.joined());
            assert_eq!(first, [&*peer.sha256, &*peer.sha1, &*peer.serial]);
        }
        // The other side knows the same, also when the connection is gone.
        let endpoint = client.endpoint();
        drop(client);
        let told = endpoint.identities();
        assert_eq!([dns(&told.peer), dns(&told.own)], [front, shown]);
        assert_eq!(endpoint.facts.server_name.as_deref(), Some("a.example"));
    }
}
