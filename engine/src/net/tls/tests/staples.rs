//! OCSP staples: which files are taken, and what clients that ask for one get.

use super::*;
use crate::net::tls::crl::Subject;
use crate::net::tls::load::chain;
use aws_lc_rs::digest::{SHA256, digest};
use rcgen::{CustomExtension, RsaKeySize};
use ringway_config::model::OcspStaplePolicy::{Lenient, Must, Strict};
use rustls::pki_types::UnixTime;
use x509_parser::prelude::{FromDer, X509Certificate};

fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let length = match content.len() {
        short @ 0..=0x7f => vec![short as u8],
        byte @ 0x80..=0xff => vec![0x81, byte as u8],
        long => vec![0x82, (long >> 8) as u8, long as u8],
    };
    [&[tag][..], &length, &content].concat()
}

/// What an authority may say of a certificate.
struct Said {
    status: &'static [u8],
    /// In seconds from now.
    from: i64,
    until: Option<i64>,
    issuer_name: Option<Vec<u8>>,
    issuer_key: Option<Vec<u8>>,
    serial: Option<Vec<u8>>,
}

impl Default for Said {
    fn default() -> Self {
        Self { status: &[0x80, 0], from: -60, until: Some(3600), issuer_name: None, issuer_key: None, serial: None }
    }
}

/// Seconds from now as an authority writes them.
fn time(offset: i64) -> Vec<u8> {
    let seconds = UnixTime::now().as_secs().saturating_add_signed(offset);
    let text: String = crate::base::date::Civil::from_unix(seconds).to_string();
    let digits: String = text.chars().filter(char::is_ascii_digit).collect();
    der(0x18, &[format!("{digits}Z").as_bytes()])
}

impl Files {
    /// A response of the authority about this certificate, with SHA-256. Its signature is none.
    fn response(&self, certificate: &Certificate, said: &Said) -> Vec<u8> {
        const SHA_256: &[u8] = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
        let leaf = chain(&certificate.chain).expect("a certificate")[0].clone();
        let serial = Subject::of(&leaf).expect("it is read").serial.to_vec();
        let (_, authority) = X509Certificate::from_der(self.ca.der()).expect("it is read");
        let hash = |bytes: &[u8]| digest(&SHA256, bytes).as_ref().to_vec();
        let name = said.issuer_name.clone().unwrap_or_else(|| hash(authority.subject().as_raw()));
        let key = said.issuer_key.clone().unwrap_or_else(|| hash(&authority.public_key().subject_public_key.data));
        let algorithm = der(0x30, &[&der(6, &[SHA_256]), &[5, 0]]);
        let id = der(
            0x30,
            &[&algorithm, &der(4, &[&name]), &der(4, &[&key]), &der(2, &[said.serial.as_ref().unwrap_or(&serial)])],
        );
        let until = said.until.map(|until| der(0xa0, &[&time(until)])).unwrap_or_default();
        let single = der(0x30, &[&id, said.status, &time(said.from), &until]);
        let data = der(0x30, &[&der(0xa2, &[&der(4, &[&[7; 20]])]), &time(0), &der(0x30, &[&single])]);
        let basic = der(0x30, &[&data, &algorithm, &der(3, &[&[0; 33]])]);
        let bytes = der(0x30, &[&der(6, &[&[0x2b, 6, 1, 5, 5, 7, 0x30, 1, 1]]), &der(4, &[&basic])]);
        der(0x30, &[&[0x0a, 1, 0], &der(0xa0, &[&bytes])])
    }

    /// The same certificate with a staple.
    fn stapled(&self, certificate: Certificate, said: &Said) -> Certificate {
        let path = certificate.chain.path.with_extension("der");
        std::fs::write(&path, self.response(&certificate, said)).expect("written");
        Certificate { ocsp_staple: Some(file(&path)), ..certificate }
    }

    /// A certificate that asks for a staple itself.
    fn must_staple(&self) -> Certificate {
        let mut params = Self::params(&["a.example"]);
        let feature = CustomExtension::from_oid_content(&[1, 3, 6, 1, 5, 5, 7, 1, 24], vec![0x30, 3, 2, 1, 5]);
        params.custom_extensions.push(feature);
        self.issue_with(&params, "must", &KeyPair::generate().expect("a key"))
    }
}

#[test]
fn a_staple_is_about_its_certificate_and_says_that_it_is_good() {
    let files = Files::new();
    let plain = files.issue(&["a.example"]);
    // With its issuer in the chain, the issuer's key counts as well.
    let text = [&plain.chain.path, &files.ca().path].map(|path| std::fs::read_to_string(path).expect("read")).concat();
    std::fs::write(files.dir.path().join("full.pem"), text).expect("written");
    let full = Certificate { chain: file(&files.dir.path().join("full.pem")), ..plain.clone() };
    let load = |certificate: &Certificate, said: &Said| {
        let mut context = Context::default();
        let model = downstream(vec![files.stapled(certificate.clone(), said)]);
        let loaded = Server::load(&model, &mut context, None);
        let warnings: Vec<_> = context.warnings.into_iter().map(|warning| warning.message).collect();
        loaded.map(|_| warnings).map_err(|faults| faults[0].message.clone())
    };
    assert_eq!(load(&full, &Said::default()), Ok(vec![]));
    assert_eq!(load(&plain, &Said { issuer_key: Some(vec![1; 32]), ..Said::default() }), Ok(vec![]), "it is unknown");
    let refused: [(Said, &str); 6] = [
        (Said { issuer_key: Some(vec![1; 32]), ..Said::default() }, "of another issuer than the first one in"),
        (Said { issuer_name: Some(vec![1; 32]), ..Said::default() }, "of another issuer than the first one in"),
        (Said { serial: Some(vec![1, 2]), ..Said::default() }, "serial number 0102, not "),
        (Said { status: &[0x82, 0], ..Said::default() }, "does not know the certificate in"),
        (
            Said {
                status: &[0xa1, 17, 0x18, 15, 50, 48, 50, 54, 48, 49, 48, 49, 48, 48, 48, 48, 48, 48, 90],
                ..Said::default()
            },
            "is revoked",
        ),
        (Said { until: None, ..Said::default() }, "does not say until when it holds"),
    ];
    for (said, words) in &refused {
        let fault = load(&full, said).expect_err(words);
        assert!(fault.contains(words), "{fault}");
    }
    let warned = [
        (Said { until: Some(-1), from: -9, ..Said::default() }, "is out of date since "),
        (Said { from: 3600, until: Some(7200), ..Said::default() }, "holds only from "),
    ];
    for (said, words) in &warned {
        let warnings = load(&full, said).expect(words);
        assert!(warnings.len() == 1 && warnings[0].contains(words), "{warnings:?}");
    }
    // The clock of the authority may be a little ahead.
    assert_eq!(load(&full, &Said { from: 120, ..Said::default() }), Ok(vec![]));
    let contents = [
        (&b"-----BEGIN OCSP RESPONSE-----"[..], "is PEM"),
        (b"", "is no OCSP response"),
        (b"\x30\x03\x0a\x01\x06", "\"unauthorized\" (6)"),
    ];
    for (bytes, words) in contents {
        std::fs::write(files.dir.path().join("other.der"), bytes).expect("written");
        let staple = Some(file(&files.dir.path().join("other.der")));
        let model = downstream(vec![Certificate { ocsp_staple: staple, ..plain.clone() }]);
        let Err(faults) = Server::load(&model, &mut Context::default(), None) else { panic!("it is refused") };
        assert!(faults[0].message.contains(words), "{faults:?}");
    }
}

/// A client of the library always asks for one.
#[test]
fn the_policy_decides_on_clients_that_cannot_get_one() {
    let (files, world) = (Files::new(), World::new(1));
    let plain = files.issue(&["a.example"]);
    let connector = connector(&upstream(&files, "a.example"));
    let current = Said::default();
    let old = Said { from: -9, until: Some(-1), ..Said::default() };
    let early = Said { from: 3600, until: Some(7200), ..Said::default() };
    let cases = [
        (Lenient, None, Stapling::Omitted),
        (Lenient, Some(&current), Stapling::Sent),
        (Lenient, Some(&old), Stapling::Omitted),
        (Lenient, Some(&early), Stapling::Omitted),
        (Strict, None, Stapling::Omitted),
        (Strict, Some(&current), Stapling::Sent),
        (Strict, Some(&old), Stapling::Refused),
        (Must, Some(&current), Stapling::Sent),
        (Must, Some(&old), Stapling::Refused),
        (Must, Some(&early), Stapling::Refused),
    ];
    let check = |policy, certificates: Vec<Certificate>, expected| {
        let server = server(&DownstreamTls { ocsp_staple_policy: policy, ..downstream(certificates) });
        let (client, accepted) = world.shake(world.pipe(), &connector, &server);
        match accepted {
            Ok(stream) => assert_eq!(stream.facts().stapling, expected, "{policy:?}"),
            Err(failure) => {
                assert_eq!((Stapling::Refused, failure.kind()), (expected, FailureKind::Connection), "{policy:?}");
                assert!(matches!(failure, Failure::NoStaple));
                let said = client.err().map(|failure| failure.to_string()).unwrap_or_default();
                assert!(said.contains("HandshakeFailure"), "{said}");
            }
        }
    };
    for (policy, said, expected) in cases {
        let certificate = match said {
            Some(said) => files.stapled(plain.clone(), said),
            None => plain.clone(),
        };
        check(policy, vec![certificate], expected);
    }
    // A certificate may ask for one itself.
    let must = files.must_staple();
    for (said, expected) in [(&current, Stapling::Sent), (&old, Stapling::Refused)] {
        check(Lenient, vec![files.stapled(must.clone(), said)], expected);
    }
    let Err(faults) = Server::load(&downstream(vec![must]), &mut Context::default(), None) else { panic!("refused") };
    assert!(faults[0].message.contains("must not be shown without an OCSP staple (must-staple)"), "{faults:?}");
    // Another one for the same name is taken before the client is refused.
    let rsa = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, RsaKeySize::_2048).expect("a key");
    let rsa = files.issue_with(&Files::params(&["a.example"]), "rsa", &rsa);
    let both = vec![files.stapled(plain, &old), files.stapled(rsa, &current)];
    check(Strict, both, Stapling::Sent);
}

/// A staple for a renewed certificate alone changes nothing, and neither does the certificate alone.
#[test]
fn a_pair_and_its_staple_change_together() {
    let files = Files::new();
    let first = files.stapled(files.issue(&["a.example"]), &Said::default());
    let model = downstream(vec![first]);
    let mut context = Context::default();
    let server = Server::load(&model, &mut context, None).expect("it is taken");
    let old = context.finish();
    let second = files.issue(&["a.example"]);
    // With patience, what does not fit is looked at again.
    let mut context = Context::after(&old).patient();
    Server::load(&model, &mut context, Some(&server)).expect("the old one stays");
    assert_eq!((context.renewed.len(), context.refused.len()), (0, 1));
    let old = context.finish();
    assert!(old.is_stale());
    let mut context = Context::after(&old);
    Server::load(&model, &mut context, Some(&server)).expect("the old one stays");
    assert!(context.renewed.is_empty() && context.refused[0].message.contains("about another certificate"));
    let between = context.finish();
    assert!(!between.is_stale());
    files.stapled(second, &Said::default());
    let mut context = Context::after(&between);
    Server::load(&model, &mut context, Some(&server)).expect("the new one fits");
    assert_eq!((context.renewed.len(), context.refused.len()), (3, 0));
}

/// One that wants a staple where none is configured is another pair that cannot be used, and holds back no other.
#[test]
fn a_renewed_certificate_that_lacks_its_staple_does_not_replace_the_old_one() {
    let (files, world) = (Files::new(), World::new(1));
    let (first, other) = (files.issue(&["a.example"]), files.issue(&["b.example"]));
    let taken = [other.chain.path.clone(), other.key.path.clone()];
    let model = downstream(vec![first.clone(), other]);
    let mut context = Context::default();
    let server = Server::load(&model, &mut context, None).expect("it is taken");
    let context = context.finish();
    let must = files.must_staple();
    for (from, to) in [(&must.chain, &first.chain), (&must.key, &first.key)] {
        std::fs::copy(&from.path, &to.path).expect("copied");
    }
    files.issue(&["b.example"]);
    let mut after = Context::after(&context);
    let renewed = Server::load(&model, &mut after, Some(&server)).expect("the old one stays");
    assert!(after.renewed == taken.into() && after.refused.len() == 1, "{:?} {:?}", after.renewed, after.refused);
    assert!(after.refused[0].message.contains("must not be shown without an OCSP staple"), "{:?}", after.refused);
    let certificate = |name: &str, server: &Arc<Server>| {
        let (client, _) = world.agree(&connector(&upstream(&files, name)), server);
        client.identities().peer.as_ref().expect("it is shown").sha256.clone()
    };
    assert_eq!(certificate("a.example", &renewed), certificate("a.example", &server));
    assert_ne!(certificate("b.example", &renewed), certificate("b.example", &server));
}
