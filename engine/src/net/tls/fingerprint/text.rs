//! The texts that fingerprints of first messages are hashes of. As of `client_hello`, nothing is computed here that a
//! client could make long: each list of the message is read once, and sorted at most.

use crate::net::tls::client_hello::ClientHello;
use std::fmt::Write;

/// ExtensionType.
const SERVER_NAME: u16 = 0;
const SUPPORTED_GROUPS: u16 = 10;
const EC_POINT_FORMATS: u16 = 11;
const SIGNATURE_ALGORITHMS: u16 = 13;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;

/// What JA3 makes of a message: version, suites, extensions, groups and formats of points, in the order of the message.
pub fn ja3(hello: &ClientHello<'_>) -> String {
    let lists: [Vec<u16>; 4] = [
        known(hello.suites()).collect(),
        known(hello.extensions().map(|(kind, _)| kind)).collect(),
        list(hello, SUPPORTED_GROUPS, 2),
        hello.extension(EC_POINT_FORMATS).unwrap_or_default().iter().skip(1).map(|format| u16::from(*format)).collect(),
    ];
    let mut text = hello.legacy_version.to_string();
    for list in lists {
        text.push(',');
        push(&list, '-', &mut text, |number, text| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{number}");
        });
    }
    text
}

/// What JA4 makes of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ja4 {
    /// The first part, which is no hash: `t13d1516h2`.
    pub start: String,
    /// Sorted. Empty: there are none, and their hash is zeros.
    pub suites: String,
    /// The same of extensions, with the algorithms of signatures behind them, which are not sorted.
    pub extensions: String,
}

pub fn ja4(hello: &ClientHello<'_>) -> Ja4 {
    let mut suites: Vec<u16> = known(hello.suites()).collect();
    let mut extensions: Vec<u16> = known(hello.extensions().map(|(kind, _)| kind)).collect();
    let to = if extensions.contains(&SERVER_NAME) { 'd' } else { 'i' };
    let (version, protocol) = (version(hello), protocol(hello));
    let start = format!("t{version}{to}{:02}{:02}{protocol}", suites.len().min(99), extensions.len().min(99));
    suites.sort_unstable();
    // The first part has these.
    extensions.retain(|kind| !matches!(*kind, SERVER_NAME | ALPN));
    extensions.sort_unstable();
    let mut ja4 = Ja4 { start, suites: String::new(), extensions: String::new() };
    push_hex(&suites, &mut ja4.suites);
    push_hex(&extensions, &mut ja4.extensions);
    let algorithms = list(hello, SIGNATURE_ALGORITHMS, 2);
    if !extensions.is_empty() && !algorithms.is_empty() {
        ja4.extensions.push('_');
        push_hex(&algorithms, &mut ja4.extensions);
    }
    ja4
}

/// The newest version that the client offers.
fn version(hello: &ClientHello<'_>) -> &'static str {
    let offered = list(hello, SUPPORTED_VERSIONS, 1).into_iter().max();
    match offered.unwrap_or(hello.legacy_version) {
        0x0304 => "13",
        0x0303 => "12",
        0x0302 => "11",
        0x0301 => "10",
        0x0300 => "s3",
        0x0002 => "s2",
        _ => "00",
    }
}

/// First and last character of the client's favourite protocol, or of its bytes in hexadecimal digits.
fn protocol(hello: &ClientHello<'_>) -> String {
    let (first, last) = match hello.protocols().next() {
        Some([first, .., last]) => (*first, *last),
        Some([only]) => (*only, *only),
        Some([]) | None => return "00".into(),
    };
    if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() {
        return [char::from(first), char::from(last)].iter().collect();
    }
    format!("{:x}{:x}", first >> 4, last & 0xf)
}

/// The numbers in an extension, behind their length, which has `skipped` bytes.
fn list(hello: &ClientHello<'_>, kind: u16, skipped: usize) -> Vec<u16> {
    let body = hello.extension(kind).and_then(|body| body.get(skipped..)).unwrap_or_default();
    let (numbers, _) = body.as_chunks();
    known(numbers.iter().map(|number| u16::from_be_bytes(*number))).collect()
}

/// Without those that mean nothing (GREASE, RFC 8701): clients draw them at random.
fn known(numbers: impl Iterator<Item = u16>) -> impl Iterator<Item = u16> {
    numbers.filter(|number| {
        let [high, low] = number.to_be_bytes();
        high != low || low & 0xf != 0xa
    })
}

fn push_hex(numbers: &[u16], text: &mut String) {
    push(numbers, ',', text, |number, text| {
        let _ = write!(text, "{number:04x}");
    });
}

fn push(numbers: &[u16], between: char, text: &mut String, write: fn(u16, &mut String)) {
    for (at, number) in numbers.iter().enumerate() {
        if at > 0 {
            text.push(between);
        }
        write(*number, text);
    }
}
