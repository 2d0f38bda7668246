//! What a certificate says of its holder, in the form in which logs and headers have it. All of it is foreign text: what could
//! end a line or a value there is escaped.

use super::names::{Name, alternative_names};
use aws_lc_rs::digest::{Algorithm, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use std::fmt;
use std::fmt::Write;
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

/// The other end of a connection, as far as its certificate tells of it.
pub trait Peer: fmt::Debug {
    /// `None`: it showed none, or one that cannot be read.
    fn identity(&self) -> Option<&Identity>;

    /// The same of the certificate that it was shown.
    fn own(&self) -> Option<&Identity>;

    /// Shows its certificates, its own first.
    fn certificates(&self, show: &mut dyn FnMut(&[u8]));
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
            serial: hex(without_zeros(parsed.raw_serial())),
            sha256: hash(&SHA256, certificate),
            sha1: hash(&SHA1_FOR_LEGACY_USE_ONLY, certificate),
            valid_from: micros(parsed.validity().not_before.timestamp()),
            valid_until: micros(parsed.validity().not_after.timestamp()),
            uris: names(|name| if let Name::Uri(uri) = name { Some(visible(uri)) } else { None }),
            dns: names(|name| if let Name::Dns(dns) = name { Some(visible(dns)) } else { None }),
            ips: names(|name| if let Name::Ip(ip) = name { Some(ip.to_string()) } else { None }),
            emails: names(|name| if let Name::Email(email) = name { Some(visible(email)) } else { None }),
        })
    }
}

fn hash(algorithm: &'static Algorithm, bytes: &[u8]) -> Box<str> {
    hex(digest(algorithm, bytes).as_ref())
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
