//! Dates of authorities: a certificate of one that has expired, or is not valid yet, is refused on both sides.

use super::validation::{asking, kinds, showing};
use super::*;
use rcgen::date_time_ymd;

const UNTRUSTED: Option<FailureKind> = Some(FailureKind::Untrusted);

/// Valid from the first of January of one year to that of another one.
fn valid(from: i32, until: i32) -> CertificateParams {
    let mut params = CertificateParams::default();
    (params.not_before, params.not_after) = (date_time_ymd(from, 1, 1), date_time_ymd(until, 1, 1));
    params
}

fn outcomes(files: &Files) -> [(Option<FailureKind>, String); 2] {
    let to = upstream(files, "a.example");
    let of_endpoint = kinds(&to, &downstream(vec![files.issue(&["a.example"])]));
    let of_client = kinds(
        &UpstreamTls {
            validation: Validation { accept_untrusted: true, ..Validation::default() },
            ..showing(files, files.issue(&["b"]))
        },
        &asking(files, by(files)),
    );
    [(of_endpoint.0, of_endpoint.2), (of_client.1, of_client.2)]
}

#[test]
fn what_an_authority_has_issued_counts_while_it_is_valid() {
    for (from, until, words) in
        [(1999, 2020, " has expired, at Jan  1 "), (2998, 2999, " is not valid yet, only from Jan  1 ")]
    {
        for (kind, said) in outcomes(&Files::of(valid(from, until))) {
            assert_eq!(kind, UNTRUSTED, "{said}");
            assert!(said.contains("the authority CN=authority in ") && said.contains(words), "{said}");
        }
    }
    for (kind, said) in outcomes(&Files::of(valid(1999, 2999))) {
        assert_eq!(kind, None, "{said}");
    }
}

/// Authorities renew their certificate with the same key, and for some time both are in the file. One of another key with the
/// same name does not change what is said.
#[test]
fn a_valid_certificate_of_an_authority_stands_for_an_expired_one() {
    let files = Files::of(valid(1999, 2020));
    let expired = files.ca.pem();
    let mut params = valid(2019, 2999);
    params.distinguished_name.push(DnType::CommonName, format!("authority in {}", files.dir.path().display()));
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let write = |parts: &[&str]| std::fs::write(files.dir.path().join("ca.pem"), parts.concat()).expect("written");
    let of_other_key = params.self_signed(&KeyPair::generate().expect("a key")).expect("signed").pem();
    for parts in [[&of_other_key[..], &expired], [&expired, &of_other_key]] {
        write(&parts);
        for (kind, said) in outcomes(&files) {
            assert_eq!(kind, UNTRUSTED, "{said}");
            assert!(said.contains(" has expired, at "), "{said}");
        }
    }
    let renewed = params.self_signed(files.ca.key()).expect("signed").pem();
    for parts in [[&renewed[..], &expired], [&expired, &renewed]] {
        write(&parts);
        for (kind, said) in outcomes(&files) {
            assert_eq!(kind, None, "{said}");
        }
    }
}
