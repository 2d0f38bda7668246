//! What a certificate of a peer must be: its names, its hash, its key.

use crate::model::Sha256;
use crate::reader::{FromText, OneOf, Pattern, Refusal, Shape, Text, Word, holds, table};

table! {
    /// A condition on the alternative names in a certificate (Envoy: SubjectAltNameMatcher). Exactly one of `exact`, `prefix`,
    /// `suffix`, `contains` and `regex` is written. A name with a NUL byte in it matches nothing.
    SubjectAltName at "listeners[].tls.client_certificate.subject_alt_names[]", example "client-names.toml" {
        /// Which names are looked at: host names, URIs such as SPIFFE IDs, mail addresses, IP addresses or otherNames.
        r#type: OneOf<SanType>, required;
        /// The name is exactly this. A host name, in any case, also matches a wildcard of one label in the certificate.
        exact: Text, optional "another kind of match";
        /// The name starts with this.
        prefix: Text, optional "another kind of match";
        /// The name ends with this.
        suffix: Text, optional "another kind of match";
        /// The name contains this.
        contains: Text, optional "another kind of match";
        /// The whole name matches this pattern; see `match.regex`.
        regex: Pattern, optional "another kind of match";
        /// Compare without regard to upper and lower case. Not for `regex`: start the pattern with `(?i)`.
        ignore_case: bool, optional "`false`";
        /// The object identifier of an otherName, such as `1.3.6.1.4.1.311.20.2.3`, that of Microsoft's user principal names.
        oid: ObjectIdentifier, optional "required for the type `other`, and for no other type";
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SanType {
    Dns,
    Uri,
    Email,
    Ip,
    Other,
}

impl Word for SanType {
    const WORDS: &'static [(&'static str, Self)] =
        &[("dns", Self::Dns), ("uri", Self::Uri), ("email", Self::Email), ("ip", Self::Ip), ("other", Self::Other)];
    const LATER: &'static [&'static str] = &[];
}

/// SHA-256 of a certificate, in hexadecimal digits.
#[derive(Clone, Debug)]
pub struct CertificateHash(pub Sha256);

/// SHA-256 of a public key, in base64.
#[derive(Clone, Debug)]
pub struct SpkiHash(pub Sha256);

/// An object identifier, as the content of its element in DER.
#[derive(Clone, Debug)]
pub struct ObjectIdentifier(pub Vec<u8>);

holds! {
    [] CertificateHash: Sha256;
    [] SpkiHash: Sha256;
    [] ObjectIdentifier: Vec<u8>;
}

impl FromText for CertificateHash {
    fn shape() -> Shape {
        Shape::Text {
            noun: "a SHA-256 in hexadecimal digits",
            allowed: "64 hexadecimal digits, in which colons may stand between the bytes",
        }
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        let has_colons = text.contains(':');
        let bytes: Option<Vec<u8>> = match has_colons {
            true => text.split(':').map(byte).collect(),
            false => (0..text.len()).step_by(2).map(|at| byte(text.get(at..at + 2)?)).collect(),
        };
        let hash = bytes.and_then(|bytes| bytes.try_into().ok());
        hash.map(Self).ok_or_else(|| {
            let hint = match spki(text) {
                Some(_) => "this is base64, as verify_certificate_spki has it",
                None => "openssl x509 -in cert.pem -noout -fingerprint -sha256 shows it",
            };
            Refusal::new(format!("{text:?} is not a SHA-256 in hexadecimal digits")).hint(Some(hint.into()))
        })
    }
}

/// Exactly two hexadecimal digits.
fn byte(text: &str) -> Option<u8> {
    let is_hex = text.len() == 2 && text.bytes().all(|digit| digit.is_ascii_hexdigit());
    u8::from_str_radix(text, 16).ok().filter(|_| is_hex)
}

impl FromText for SpkiHash {
    fn shape() -> Shape {
        Shape::Text { noun: "a SHA-256 in base64", allowed: "44 characters of base64, the last of which is \"=\"" }
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        spki(text).map(Self).ok_or_else(|| {
            let hint = match CertificateHash::from_text(text) {
                Ok(_) => "hexadecimal digits are for verify_certificate_hash, which is of the whole certificate",
                Err(_) => {
                    "openssl x509 -in cert.pem -noout -pubkey | openssl pkey -pubin -outform DER | openssl dgst -sha256 -binary \
                     | base64 makes it"
                }
            };
            Refusal::new(format!("{text:?} is not a SHA-256 in base64")).hint(Some(hint.into()))
        })
    }
}

/// 32 bytes from base64 (RFC 4648 section 4).
fn spki(text: &str) -> Option<Sha256> {
    let digits = text.strip_suffix('=').filter(|digits| digits.len() == 43)?;
    let value = |digit: u8| match digit {
        b'A'..=b'Z' => Some(digit - b'A'),
        b'a'..=b'z' => Some(digit - b'a' + 26),
        b'0'..=b'9' => Some(digit - b'0' + 52),
        b'+' => Some(62),
        b'/' => Some(63),
        _ => None,
    };
    let (mut bits, mut count, mut bytes) = (0_u32, 0, Vec::with_capacity(32));
    for digit in digits.bytes() {
        bits = bits << 6 | u32::from(value(digit)?);
        count += 6;
        if count >= 8 {
            count -= 8;
            bytes.push((bits >> count) as u8);
            bits &= (1 << count) - 1;
        }
    }
    // What is left over must be zero.
    bytes.try_into().ok().filter(|_| bits == 0)
}

impl FromText for ObjectIdentifier {
    fn shape() -> Shape {
        Shape::Text { noun: "an object identifier", allowed: "numbers with dots, such as \"1.3.6.1.4.1.311.20.2.3\"" }
    }

    fn from_text(text: &str) -> Result<Self, Refusal> {
        let refusal = || Refusal::new(format!("{text:?} is not an object identifier"));
        let arcs: Result<Vec<u32>, _> = text.split('.').map(str::parse).collect();
        let arcs = arcs.map_err(|_| refusal())?;
        let [first @ 0..=2, second, rest @ ..] = &arcs[..] else { return Err(refusal()) };
        if *first < 2 && *second > 39 {
            return Err(refusal());
        }
        let mut bytes = Vec::new();
        let both = u64::from(*first) * 40 + u64::from(*second);
        for arc in std::iter::once(both).chain(rest.iter().map(|arc| u64::from(*arc))) {
            // Seven bits a byte, the highest first (X.690 section 8.19).
            let groups = (64 - arc.leading_zeros()).div_ceil(7).max(1);
            bytes.extend((0..groups).rev().map(|group| {
                let more = if group > 0 { 0x80 } else { 0 };
                (arc >> (7 * group)) as u8 & 0x7f | more
            }));
        }
        Ok(Self(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hashes_are_read_as_openssl_shows_them() {
        let plain = "00ff".repeat(16);
        let colons = ["00:FF"; 16].join(":");
        for text in [&plain, &colons] {
            let hash = CertificateHash::from_text(text).expect("a hash").0;
            assert_eq!(hash[..3], [0, 255, 0], "{text}");
        }
        let wrong = [
            "",
            "00",
            &plain[1..],
            &format!("{plain}00"),
            &plain.replace('f', "g"),
            &colons[3..],
            "+0".repeat(32).as_str(),
        ]
        .map(|text| CertificateHash::from_text(text).is_err());
        assert_eq!(wrong, [true; 7]);
    }

    #[test]
    fn keys_are_read_from_base64() {
        let hash = SpkiHash::from_text("47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=").expect("that of nothing").0;
        assert_eq!((hash[0], hash[1], hash[31]), (0xe3, 0xb0, 0x55));
        let wrong = [
            "",
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU",
            "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV=",
            "47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU=",
        ];
        for text in wrong {
            assert!(SpkiHash::from_text(text).is_err(), "{text}");
        }
    }

    #[test]
    fn object_identifiers_are_encoded_as_in_certificates() {
        let bytes = ObjectIdentifier::from_text("1.3.6.1.4.1.311.20.2.3").expect("one").0;
        assert_eq!(bytes, [0x2b, 6, 1, 4, 1, 0x82, 0x37, 20, 2, 3]);
        for wrong in ["", "1", "1.40", "3.1", "1..2", "1.a", "-1.2", "1.2.4294967296"] {
            assert!(ObjectIdentifier::from_text(wrong).is_err(), "{wrong}");
        }
    }
}
