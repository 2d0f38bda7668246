//! Ten thousand certificates on one listener.

use super::support::{Connection, Pki, Ringway, Setup};
use super::tls::{hello, pair, rustls_trusting, rustls_with, secured};
use rustls::client::Resumption;
use std::sync::Arc;

const CERTIFICATES: usize = 10_000;
/// Bytes that they may take more than one.
const RESIDENT_MAX: u64 = 50_000_000;
/// From one certificate that is asked for to the next.
const STEP: usize = 199;

fn name(number: usize) -> String {
    format!("c{number}")
}

/// A proxy with the first `count` of the certificates in its directory.
fn with(count: usize, origin: std::net::SocketAddr, prepare: impl FnOnce(&Pki)) -> (Ringway, Pki) {
    let certificates: Vec<_> = (0..count).map(|number| pair(&name(number))).collect();
    let tls = format!("certificates = [{}]", certificates.join(", "));
    let setup = Setup::new(&secured(origin, &tls, ""));
    let pki = Pki::new(setup.dir());
    prepare(&pki);
    (setup.start(), pki)
}

/// Each with a key of its own, for a name and for all names below another one.
fn issue(pki: &Pki, numbers: std::ops::Range<usize>) {
    for number in numbers {
        pki.issue(&name(number), &[&format!("{number}.example"), &format!("*.{number}.below.example")]);
    }
}

#[test]
fn ten_thousand_certificates_take_little_memory_and_each_is_found() {
    let origin = hello();
    let resident = |proxy: &Ringway| {
        let anonymous = proxy.status_line("RssAnon");
        anonymous.split(' ').next().and_then(|kib| kib.parse::<u64>().ok()).expect("a number of KiB") * 1024
    };
    let (one, _) = with(1, origin.address, |pki| issue(pki, 0..1));
    let (proxy, pki) = with(CERTIFICATES, origin.address, |pki| issue(pki, 0..CERTIFICATES));
    let (few, many) = (resident(&one), resident(&proxy));
    println!("{few} bytes with one certificate, {many} with {CERTIFICATES}");
    assert!(many - few <= RESIDENT_MAX, "{few} bytes with one, {many} with all");

    let mut config = (*rustls_trusting(&pki, b"http/1.1")).clone();
    // Each is to be shown.
    config.resumption = Resumption::disabled();
    let config = Arc::new(config);
    for number in (0..CERTIFICATES).step_by(STEP).chain([CERTIFICATES - 1]) {
        // The client verifies that the certificate is for the name; that no other one is, is how they were issued.
        for asked in [format!("{number}.example"), format!("x.{number}.below.example")] {
            let mut connection = Connection::new(rustls_with(&proxy, &config, &asked));
            assert_eq!(connection.get("/").status(), 200, "{asked}");
        }
    }
}
