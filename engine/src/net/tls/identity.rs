//! What a certificate says of its holder, in the form in which logs and headers have it. All of it is foreign text: what could
//! end a line or a value there is escaped.

use super::Facts;
use super::names::{Name, alternative_names};
use aws_lc_rs::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use rustls::pki_types::CertificateDer;
use rustls::sign::CertifiedKey;
use std::cell::OnceCell;
use std::fmt::Write;
use std::sync::Arc;
use x509_parser::prelude::{FromDer, X509Certificate, X509Name};

/// Read from a certificate once a connection.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    /// As RFC 2253 has it: the last part first.
    pub subject: Box<str>,
    pub issuer: Box<str>,
    /// In hexadecimal digits, without leading zeros.
    pub serial: Box<str>,
    /// SHA-256 and SHA-1, in hexadecimal digits.
    pub sha256: Box<str>,
    pub sha1: Box<str>,
    /// Microseconds since the epoch.
    pub valid_from: u64,
    pub valid_until: u64,
    pub uris: Names,
    pub dns: Names,
    pub ips: Names,
    pub emails: Names,
    pub others: Names,
}

/// Alternative names of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// With commas between them.
    joined: Box<str>,
    ends: Box<[u32]>,
}

impl FromIterator<String> for Names {
    fn from_iter<I: IntoIterator<Item = String>>(names: I) -> Self {
        let (mut joined, mut ends) = (String::new(), Vec::new());
        for name in names {
            if !ends.is_empty() {
                joined.push(',');
            }
            joined += &name;
            ends.push(joined.len() as u32);
        }
        Self { joined: joined.into(), ends: ends.into() }
    }
}

impl Names {
    pub fn joined(&self) -> &str {
        &self.joined
    }

    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let starts = std::iter::once(0).chain(self.ends.iter().map(|end| end + 1));
        starts.zip(&*self.ends).filter_map(|(start, end)| self.joined.get(start as usize..*end as usize))
    }
}

/// Certificates of a peer that are looked at: chains have three or four, and a message has room for more than ten thousand.
const CHAIN_MAX: usize = 16;

/// The certificates of the two ends of a connection, and what they say.
#[derive(Clone, Debug, Default)]
pub struct Identities {
    /// `None`: the peer has shown none, or one that cannot be read.
    pub peer: Option<Identity>,
    /// The same of this side.
    pub own: Option<Identity>,
    /// What the peer has shown, its own certificate first; `CHAIN_MAX` of them at most.
    pub certificates: Box<[Box<[u8]>]>,
    /// SHA-256, SHA-1 and serial number of each.
    pub chain_sha256: Names,
    pub chain_sha1: Names,
    pub chain_serials: Names,
}

impl Identities {
    pub(super) fn of(shown: &[CertificateDer<'_>], own: Option<&CertifiedKey>) -> Self {
        let own = own.and_then(|own| own.cert.first());
        let shown = &shown[..shown.len().min(CHAIN_MAX)];
        let serial = |certificate: &CertificateDer<'_>| {
            let parsed = X509Certificate::from_der(certificate);
            // One that cannot be read keeps its place.
            parsed.map_or_else(|_| String::new(), |(_, parsed)| serial_number(&parsed).into())
        };
        Self {
            peer: shown.first().and_then(|certificate| Identity::of(certificate)),
            own: own.and_then(|certificate| Identity::of(certificate)),
            certificates: shown.iter().map(|certificate| Box::from(&**certificate)).collect(),
            chain_sha256: shown.iter().map(|certificate| hash(&SHA256, certificate).into()).collect(),
            chain_sha1: shown.iter().map(|certificate| hash(&SHA1_FOR_LEGACY_USE_ONLY, certificate).into()).collect(),
            chain_serials: shown.iter().map(serial).collect(),
        }
    }
}

/// What is known of TLS with an endpoint, for texts that are written when the connection may be gone. Its certificate is read
/// when something asks for it.
#[derive(Debug)]
pub struct Endpoint {
    pub(super) facts: Facts,
    certificate: Option<CertificateDer<'static>>,
    own: Option<Arc<CertifiedKey>>,
    identities: OnceCell<Box<Identities>>,
}

impl Endpoint {
    pub(super) fn new(facts: Facts, shown: &[CertificateDer<'static>], own: Option<Arc<CertifiedKey>>) -> Self {
        Self { facts, certificate: shown.first().cloned(), own, identities: OnceCell::new() }
    }

    pub(super) fn identities(&self) -> &Identities {
        self.identities.get_or_init(|| Box::new(Identities::of(self.certificate.as_slice(), self.own.as_deref())))
    }
}

impl Identity {
    /// `None`: it cannot be read.
    pub fn of(certificate: &[u8]) -> Option<Self> {
        let (_, parsed) = X509Certificate::from_der(certificate).ok()?;
        let micros = |seconds: i64| u64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000);
        let names = |text: fn(&Name<'_>) -> Option<String>| {
            alternative_names(&parsed).filter_map(|name| text(&name)).collect::<Names>()
        };
        Some(Self {
            subject: distinguished(parsed.subject()),
            issuer: distinguished(parsed.issuer()),
            serial: serial_number(&parsed),
            sha256: hash(&SHA256, certificate),
            sha1: hash(&SHA1_FOR_LEGACY_USE_ONLY, certificate),
            valid_from: micros(parsed.validity().not_before.timestamp()),
            valid_until: micros(parsed.validity().not_after.timestamp()),
            uris: names(|name| if let Name::Uri(uri) = name { Some(visible(uri)) } else { None }),
            dns: names(|name| if let Name::Dns(dns) = name { Some(visible(dns)) } else { None }),
            ips: names(|name| if let Name::Ip(ip) = name { Some(ip.to_string()) } else { None }),
            emails: names(|name| if let Name::Email(email) = name { Some(visible(email)) } else { None }),
            others: names(|name| if let Name::Other { value, .. } = name { Some(visible(value)) } else { None }),
        })
    }
}

fn hash(algorithm: &'static Algorithm, bytes: &[u8]) -> Box<str> {
    hex(digest(algorithm, bytes).as_ref())
}

/// In hexadecimal digits, without leading zeros.
fn serial_number(certificate: &X509Certificate<'_>) -> Box<str> {
    hex(without_zeros(certificate.raw_serial()))
}

fn without_zeros(serial: &[u8]) -> &[u8] {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    &serial[zeros.min(serial.len().saturating_sub(1))..]
}

pub(super) fn hex(bytes: &[u8]) -> Box<str> {
    let mut text = String::with_capacity(2 * bytes.len());
    for byte in bytes {
        // Writing to a String cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text.into()
}

/// Bytes that may stand in a quoted value of a header, others as `%XX`.
fn visible(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for byte in bytes {
        match byte {
            0x21..=0x7e if !matches!(byte, b'"' | b'\\') => text.push(char::from(*byte)),
            _ => {
                let _ = write!(text, "%{byte:02X}");
            }
        }
    }
    text
}

/// A name, given as the content of its sequence.
pub(super) fn name(content: &[u8]) -> Box<str> {
    let der = rustls::DistinguishedName::in_sequence(content);
    let name = X509Name::from_der(der.as_ref());
    name.map_or_else(|_| "(a name that cannot be read)".into(), |(_, name)| distinguished(&name))
}

/// As OpenSSL writes it with XN_FLAG_RFC2253, which Envoy shows.
fn distinguished(name: &X509Name<'_>) -> Box<str> {
    let mut parts: Vec<String> = Vec::new();
    for part in name.iter() {
        let mut text = String::new();
        for (at, attribute) in part.iter().enumerate() {
            if at > 0 {
                text.push('+');
            }
            let id = attribute.attr_type().to_id_string();
            let known = ATTRIBUTES.iter().find(|(oid, _)| *oid == id).map(|(_, name)| *name);
            text += known.unwrap_or(&id);
            text.push('=');
            match (known, attribute.as_str()) {
                (Some(_), Ok(value)) => escape(value.as_bytes(), &mut text),
                // Of a type that is no text, or not one that can be read.
                _ => {
                    text.push('#');
                    text += &hex(attribute.as_slice());
                }
            }
        }
        parts.push(text);
    }
    parts.reverse();
    parts.join(",").into()
}

/// OpenSSL's short names.
const ATTRIBUTES: [(&str, &str); 15] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.4", "SN"),
    ("2.5.4.5", "serialNumber"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "street"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.12", "title"),
    ("2.5.4.17", "postalCode"),
    ("2.5.4.42", "GN"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
];

/// RFC 2253 section 2.4. What is not printable ASCII is written as `\XX`, and so are quotes and backslashes, so that the text can
/// stand in quotes as it is.
fn escape(value: &[u8], text: &mut String) {
    for (at, byte) in value.iter().enumerate() {
        let is_edge = at == 0 || at + 1 == value.len();
        match byte {
            b',' | b'+' | b'<' | b'>' | b';' => {
                text.push('\\');
                text.push(char::from(*byte));
            }
            b' ' if is_edge => text.push_str("\\ "),
            b'#' if at == 0 => text.push_str("\\#"),
            0x20..=0x7e if !matches!(byte, b'"' | b'\\') => text.push(char::from(*byte)),
            _ => {
                let _ = write!(text, "\\{byte:02X}");
            }
        }
    }
}

/// A certificate as PEM, percent-encoded as Envoy does it, behind `out`.
pub fn encode_pem(certificate: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    out.extend_from_slice(b"-----BEGIN%20CERTIFICATE-----%0A");
    for line in certificate.chunks(48) {
        for group in line.chunks(3) {
            let bytes = [group[0], group.get(1).copied().unwrap_or(0), group.get(2).copied().unwrap_or(0)];
            let bits = u32::from(bytes[0]) << 16 | u32::from(bytes[1]) << 8 | u32::from(bytes[2]);
            for digit in 0..4 {
                if digit > group.len() {
                    out.extend_from_slice(b"%3D");
                    continue;
                }
                match DIGITS[(bits >> (18 - 6 * digit)) as usize & 63] {
                    b'+' => out.extend_from_slice(b"%2B"),
                    b'/' => out.extend_from_slice(b"%2F"),
                    digit => out.push(digit),
                }
            }
        }
        out.extend_from_slice(b"%0A");
    }
    out.extend_from_slice(b"-----END%20CERTIFICATE-----%0A");
}
