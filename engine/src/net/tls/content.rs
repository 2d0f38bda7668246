//! What a file holds that is not what was asked for: its kind, and the command that makes PEM of it. Keys and
//! certificates come in many forms, and "not PEM" helps with none of them.

use super::der::{BIT_STRING, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, Reader, SEQUENCE, context};
use ringway_config::access::shell_quoted;
use std::path::Path;

/// What a file is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Certificate,
    Key,
    RevocationList,
}

/// A sentence about a file in which there is nothing that is wanted: what it is, and what to do.
pub(super) fn describe(bytes: &[u8], path: &Path, wanted: Wanted) -> String {
    let kind = kind(bytes);
    let shown = path.display();
    let missing = match wanted {
        Wanted::Certificate => format!("there is no certificate in {shown}"),
        Wanted::Key => format!("there is no private key in {shown}"),
        Wanted::RevocationList => format!("there is no revocation list in {shown}"),
    };
    match remedy(kind, path, wanted) {
        Some(remedy) => format!("{missing}: it is {}; {remedy}", words(kind)),
        None => format!("{missing}: -----BEGIN {}----- is missing", label(wanted)),
    }
}

/// Whether this is DER, and of nothing else that is known.
pub(super) fn may_be_revocation_list(bytes: &[u8]) -> bool {
    bytes.first() == Some(&SEQUENCE) && matches!(kind(bytes), Kind::RevocationList { .. } | Kind::Unknown)
}

/// Whether a key is encrypted in OpenSSL's old way, within the lines of a plain one.
pub(super) fn is_encrypted_in_place(bytes: &[u8]) -> bool {
    memchr::memmem::find(bytes, ENCRYPTED_IN_PLACE.as_bytes()).is_some()
}

const ENCRYPTED_IN_PLACE: &str = "Proc-Type: 4,ENCRYPTED";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Empty,
    Unknown,
    Certificate {
        is_der: bool,
    },
    TrustedCertificate,
    Key {
        is_der: bool,
    },
    EncryptedKey {
        is_der: bool,
    },
    OpenSsh {
        is_ed25519: bool,
    },
    Putty {
        is_ed25519: bool,
    },
    PublicKey,
    Request,
    RevocationList {
        is_der: bool,
    },
    Pkcs7 {
        is_der: bool,
    },
    Pkcs12,
    JavaKeyStore,
    /// What Windows calls Unicode.
    Utf16,
}

fn label(wanted: Wanted) -> &'static str {
    match wanted {
        Wanted::Certificate => "CERTIFICATE",
        Wanted::Key => "PRIVATE KEY",
        Wanted::RevocationList => "X509 CRL",
    }
}

fn words(kind: Kind) -> &'static str {
    match kind {
        Kind::Empty => "empty",
        Kind::Unknown => "of an unknown kind",
        Kind::Certificate { is_der: true } => "a certificate in DER, not PEM",
        Kind::Certificate { is_der: false } => "a certificate",
        Kind::TrustedCertificate => "a certificate in OpenSSL's own form",
        Kind::Key { is_der: true } => "a private key in DER, not PEM",
        Kind::Key { is_der: false } => "a private key",
        Kind::EncryptedKey { is_der: true } => "an encrypted private key in DER, not PEM",
        Kind::EncryptedKey { is_der: false } => "an encrypted private key, and the proxy cannot ask for its password",
        Kind::OpenSsh { .. } => "a private key in OpenSSH's own form",
        Kind::Putty { .. } => "a private key in PuTTY's own form",
        Kind::PublicKey => "a public key",
        Kind::Request => "a certificate signing request",
        Kind::RevocationList { is_der: true } => "a revocation list in DER",
        Kind::RevocationList { is_der: false } => "a revocation list",
        Kind::Pkcs7 { .. } => "PKCS#7, not PEM of certificates",
        Kind::Pkcs12 => "PKCS#12 (.p12, .pfx), not PEM",
        Kind::JavaKeyStore => "a Java keystore (JKS), not PEM",
        Kind::Utf16 => "text in UTF-16",
    }
}

/// `None`: for what is not known. What holds a key is for its owner alone, which openssl sees to itself.
fn remedy(kind: Kind, path: &Path, wanted: Wanted) -> Option<String> {
    let file = shell_quoted(path);
    let [cert, key, store] = ["cert.pem", "key.pem", "store.p12"].map(|name| beside(path, name));
    let command = match (kind, wanted) {
        (Kind::Unknown, _) => return None,
        (Kind::Empty, _) => return Some("whatever writes it has not done so yet, or has failed".into()),
        (Kind::Utf16, Wanted::Key) => format!("(umask 077 && iconv -f UTF-16 -t ASCII {file} >{})", in_utf8(path)),
        (Kind::Utf16, _) => format!("iconv -f UTF-16 -t ASCII {file} >{}", in_utf8(path)),
        (Kind::Certificate { is_der: true }, Wanted::Certificate) => {
            format!("openssl x509 -inform DER -in {file} -out {cert}")
        }
        (Kind::TrustedCertificate, Wanted::Certificate) => format!("openssl x509 -in {file} -out {cert}"),
        (Kind::Key { is_der: true }, Wanted::Key) => format!("openssl pkey -inform DER -in {file} -out {key}"),
        (Kind::EncryptedKey { is_der: true }, Wanted::Key) => {
            format!("openssl pkcs8 -inform DER -in {file} -out {key}")
        }
        (Kind::EncryptedKey { is_der: false }, Wanted::Key) => {
            return Some(format!("openssl pkey -in {file} -out {key} decrypts it"));
        }
        (Kind::OpenSsh { is_ed25519: true } | Kind::Putty { is_ed25519: true }, Wanted::Key) => {
            return Some(format!(
                "ssh-keygen makes no PEM of keys of Ed25519; openssl genpkey -algorithm ED25519 -out {key} makes a new one, for which \
                 the authority has to issue a new certificate"
            ));
        }
        // It changes the file.
        (Kind::OpenSsh { .. }, Wanted::Key) => {
            format!("(umask 077 && cp {file} {key}) && ssh-keygen -p -N '' -m PKCS8 -f {key}")
        }
        (Kind::Putty { .. }, Wanted::Key) => {
            format!(
                "(umask 077 && puttygen {file} -O private-openssh-new -o {key}) && ssh-keygen -p -N '' -m PKCS8 -f {key}"
            )
        }
        (Kind::Pkcs7 { is_der }, Wanted::Certificate) => {
            let form = if is_der { " -inform DER" } else { "" };
            format!("openssl pkcs7{form} -in {file} -print_certs -out {cert}")
        }
        (Kind::Pkcs12, Wanted::Certificate) => format!("openssl pkcs12 -in {file} -nokeys -out {cert}"),
        (Kind::Pkcs12, Wanted::Key) => format!("openssl pkcs12 -in {file} -nocerts -nodes -out {key}"),
        (Kind::JavaKeyStore, Wanted::Certificate | Wanted::Key) => {
            let part = match wanted {
                Wanted::Key => format!("-nocerts -nodes -out {key}"),
                _ => format!("-nokeys -out {cert}"),
            };
            // The store in between has the key in either case.
            format!(
                "(umask 077 && keytool -importkeystore -srckeystore {file} -destkeystore {store} -deststoretype PKCS12) && \
                 openssl pkcs12 -in {store} {part}"
            )
        }
        (_, wanted) => return Some(advice(kind, wanted).into()),
    };
    let order = match (kind, wanted) {
        (Kind::Pkcs7 { .. } | Kind::Pkcs12 | Kind::JavaKeyStore, Wanted::Certificate) => {
            ", in which the server's own certificate has to come first"
        }
        _ => "",
    };
    Some(format!("{command} makes PEM of it{order}"))
}

/// What a command writes to in the shell's directory, where the file that it reads may be.
fn beside(path: &Path, name: &str) -> String {
    match path.file_name().is_some_and(|file| file == name) {
        true => format!("new-{name}"),
        false => name.into(),
    }
}

/// The same for a file that becomes UTF-8. It is longer than the name that it is made of.
fn in_utf8(path: &Path) -> String {
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    shell_quoted(Path::new(&format!("{stem}.utf8.pem")))
}

/// For what no command makes the wanted thing of.
fn advice(kind: Kind, wanted: Wanted) -> &'static str {
    match (kind, wanted) {
        (Kind::Request, Wanted::Certificate) => "send it to an authority, and use the certificate that comes back",
        (Kind::Certificate { .. } | Kind::TrustedCertificate | Kind::Pkcs7 { .. }, Wanted::Key) => {
            "the key is the file that the request for it was made with; are `certificate` and `key` the wrong way round?"
        }
        (
            Kind::Key { .. } | Kind::EncryptedKey { .. } | Kind::OpenSsh { .. } | Kind::Putty { .. },
            Wanted::Certificate,
        ) => {
            "the certificate is what the authority has issued for it; are `certificate` and `key` the wrong way round?"
        }
        (Kind::PublicKey, Wanted::Key) => "the private key is the file that it was taken from",
        (_, Wanted::Key) => "the key is the file that openssl genpkey or the certificate's request has made",
        (_, Wanted::Certificate) => "the certificate is the file that the authority has issued",
        (_, Wanted::RevocationList) => "the list is the file that the authority publishes (openssl ca -gencrl)",
    }
}

fn kind(bytes: &[u8]) -> Kind {
    match bytes {
        [0xfe, 0xed, 0xfe, 0xed, ..] | [0xce, 0xce, 0xce, 0xce, ..] => Kind::JavaKeyStore,
        [0xff, 0xfe, ..] | [0xfe, 0xff, ..] => Kind::Utf16,
        [SEQUENCE, ..] => of_der(bytes).unwrap_or(Kind::Unknown),
        _ if bytes.iter().all(u8::is_ascii_whitespace) => Kind::Empty,
        _ => of_text(bytes),
    }
}

/// By the first of these lines, but for a key behind the parameters of its curve or behind its certificate.
fn of_text(bytes: &[u8]) -> Kind {
    let has = |text: &str| memchr::memmem::find(bytes, text.as_bytes()).is_some();
    // An OpenSSH key is encrypted or not; both need the same.
    const KINDS: [(&str, Kind); 17] = [
        (ENCRYPTED_IN_PLACE, Kind::EncryptedKey { is_der: false }),
        ("-----BEGIN ENCRYPTED PRIVATE KEY-----", Kind::EncryptedKey { is_der: false }),
        ("-----BEGIN OPENSSH PRIVATE KEY-----", Kind::OpenSsh { is_ed25519: false }),
        ("PuTTY-User-Key-File-", Kind::Putty { is_ed25519: false }),
        ("-----BEGIN PRIVATE KEY-----", Kind::Key { is_der: false }),
        ("-----BEGIN RSA PRIVATE KEY-----", Kind::Key { is_der: false }),
        ("-----BEGIN EC PRIVATE KEY-----", Kind::Key { is_der: false }),
        ("-----BEGIN DSA PRIVATE KEY-----", Kind::Key { is_der: false }),
        ("-----BEGIN CERTIFICATE-----", Kind::Certificate { is_der: false }),
        ("-----BEGIN TRUSTED CERTIFICATE-----", Kind::TrustedCertificate),
        ("CERTIFICATE REQUEST-----", Kind::Request),
        ("-----BEGIN X509 CRL-----", Kind::RevocationList { is_der: false }),
        ("-----BEGIN PKCS7-----", Kind::Pkcs7 { is_der: false }),
        ("PUBLIC KEY-----", Kind::PublicKey),
        ("ssh-rsa AAAA", Kind::PublicKey),
        ("ssh-ed25519 AAAA", Kind::PublicKey),
        ("ecdsa-sha2-nistp", Kind::PublicKey),
    ];
    match KINDS.into_iter().find(|(text, _)| has(text)).map_or(Kind::Unknown, |(_, kind)| kind) {
        Kind::OpenSsh { .. } => Kind::OpenSsh { is_ed25519: is_ed25519_of_openssh(bytes) },
        Kind::Putty { .. } => Kind::Putty { is_ed25519: has("ssh-ed25519") },
        kind => kind,
    }
}

/// By the name of its algorithm in Base64, which depends on the place: that of a key in clear, of an encrypted one, and the third.
fn is_ed25519_of_openssh(bytes: &[u8]) -> bool {
    let text: Vec<_> = bytes.iter().copied().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let has = |name: &&str| memchr::memmem::find(&text, name.as_bytes()).is_some();
    ["zc2gtZWQyNTUxO", "NzaC1lZDI1NTE5", "c3NoLWVkMjU1MTk"].iter().any(has)
}

/// The structures that RFC 5280, 5208, 5958, 5915, 8017, 2986, 2315 and 7292 begin with.
fn of_der(bytes: &[u8]) -> Option<Kind> {
    // Streamed PKCS#12 has no length.
    if let [SEQUENCE, 0x80, INTEGER, 1, 3, ..] = bytes {
        return Some(Kind::Pkcs12);
    }
    let mut parts = Reader::new(Reader::new(bytes).take(SEQUENCE)?);
    if let Some(kind) = parts.take(OBJECT_IDENTIFIER) {
        // id-signedData.
        return (kind == [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 2]).then_some(Kind::Pkcs7 { is_der: true });
    }
    if let Some(version) = parts.take(INTEGER) {
        return match (version, parts.peek()?) {
            ([3], SEQUENCE) => Some(Kind::Pkcs12),
            ([0 | 1], SEQUENCE | INTEGER | OCTET_STRING) => Some(Kind::Key { is_der: true }),
            _ => None,
        };
    }
    let mut first = Reader::new(parts.take(SEQUENCE)?);
    match (parts.peek()?, first.peek()?) {
        (OCTET_STRING, OBJECT_IDENTIFIER) => Some(Kind::EncryptedKey { is_der: true }),
        (BIT_STRING, OBJECT_IDENTIFIER) => Some(Kind::PublicKey),
        (SEQUENCE, tag) if tag == context(0) => Some(Kind::Certificate { is_der: true }),
        (SEQUENCE, INTEGER) => {
            let version = first.take(INTEGER)?;
            first.take(SEQUENCE)?;
            match (version, first.next()?.tag, first.next()?.tag) {
                // Version, subject, key: its second part begins with an algorithm.
                ([0], SEQUENCE, tag) if tag == context(0) => Some(Kind::Request),
                // Version, algorithm, issuer, the time of the update.
                (_, SEQUENCE, 0x17 | 0x18) => Some(Kind::RevocationList { is_der: true }),
                // A certificate of version 1.
                _ => Some(Kind::Certificate { is_der: true }),
            }
        }
        _ => None,
    }
}

/// Why a private key that could be read cannot be used.
pub(super) fn unusable_key(der: &[u8], path: &Path) -> String {
    const TAKEN: &str = "RSA of 2048 to 8192 bits, P-256, P-384, P-521 and Ed25519 are taken";
    let (path, key) = (path.display(), beside(path, "key.pem"));
    match algorithm(der) {
        Some(Algorithm::Rsa(bits @ 0..2048)) => format!(
            "the RSA key in {path} has {bits} bits, which is too short to be safe: at least 2048 are needed; openssl genpkey -algorithm \
             EC -pkeyopt ec_paramgen_curve:P-256 -out {key} makes a better one, for which the authority has to issue a new certificate"
        ),
        Some(Algorithm::Rsa(bits)) if bits > 8192 => {
            format!("the RSA key in {path} has {bits} bits, and at most 8192 are taken")
        }
        Some(Algorithm::Other(name)) => {
            format!("the key in {path} is of a kind that TLS does not use here, {name}: {TAKEN}")
        }
        Some(Algorithm::Rsa(_)) | None => {
            format!("the key in {path} is damaged, or of a kind that cannot be used: {TAKEN}")
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    /// With its length in bits.
    Rsa(usize),
    Other(&'static str),
}

/// Of PKCS#8, PKCS#1 and SEC1.
fn algorithm(der: &[u8]) -> Option<Algorithm> {
    const RSA: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
    const EC: &[u8] = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
    let mut parts = Reader::new(Reader::new(der).take(SEQUENCE)?);
    parts.take(INTEGER)?;
    match parts.peek()? {
        INTEGER => Some(Algorithm::Rsa(bits(parts.take(INTEGER)?))),
        OCTET_STRING => {
            parts.take(OCTET_STRING)?;
            curve(Reader::new(parts.take(context(0))?).take(OBJECT_IDENTIFIER)?)
        }
        _ => {
            let mut algorithm = Reader::new(parts.take(SEQUENCE)?);
            match algorithm.take(OBJECT_IDENTIFIER)? {
                RSA => self::algorithm(parts.take(OCTET_STRING)?),
                EC => curve(algorithm.take(OBJECT_IDENTIFIER)?),
                other => named(other),
            }
        }
    }
}

fn bits(modulus: &[u8]) -> usize {
    let start = modulus.iter().position(|byte| *byte != 0).unwrap_or(modulus.len());
    let modulus = &modulus[start..];
    modulus.len() * 8 - modulus.first().map_or(0, |first| first.leading_zeros() as usize)
}

fn curve(oid: &[u8]) -> Option<Algorithm> {
    let name = match oid {
        [0x2b, 0x81, 0x04, 0, 0x21] => "EC on the curve P-224",
        [0x2b, 0x81, 0x04, 0, 0x0a] => "EC on the curve secp256k1",
        [0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 1] => "EC on the curve P-192",
        [0x2b, 0x24, 3, 3, 2, 8, 1, 1, ..] => "EC on a Brainpool curve",
        _ => return None,
    };
    Some(Algorithm::Other(name))
}

fn named(oid: &[u8]) -> Option<Algorithm> {
    let name = match oid {
        [0x2a, 0x86, 0x48, 0xce, 0x38, 4, 1] => "DSA",
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 0x0a] => "RSA for RSA-PSS only",
        [0x2b, 0x65, 0x6e] => "X25519",
        [0x2b, 0x65, 0x6f] => "X448",
        [0x2b, 0x65, 0x71] => "Ed448",
        _ => return None,
    };
    Some(Algorithm::Other(name))
}
