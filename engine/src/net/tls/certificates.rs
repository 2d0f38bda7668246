//! Which certificate a client gets.

use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{SignatureAlgorithm, SignatureScheme};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Certificates for the same name, for clients that know different algorithms; the cheapest for this side first.
type Choice = Vec<Arc<CertifiedKey>>;

/// All certificates of one place, by the names in them. A look-up takes the same time however many there are.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    exact: HashMap<Box<str>, Choice>,
    /// `*.example.com` as `example.com`.
    wildcard: HashMap<Box<str>, Choice>,
    /// For clients that ask for no name, or for an unknown one.
    default: Choice,
    /// Names in the first one.
    default_names: HashSet<Box<str>>,
}

impl Certificates {
    /// Add one, with the names in it. Where two of a kind are for the same name, the first has it.
    pub fn add(&mut self, key: &Arc<CertifiedKey>, names: Vec<String>) {
        let names: Vec<Box<str>> =
            names.into_iter().map(|name| name.trim_end_matches('.').to_ascii_lowercase().into()).collect();
        for name in &names {
            let (map, name) = match name.strip_prefix("*.") {
                Some(suffix) => (&mut self.wildcard, suffix),
                None => (&mut self.exact, &**name),
            };
            insert(map.entry(name.into()).or_default(), key);
        }
        if self.default.is_empty() {
            self.default_names.extend(names.iter().cloned());
            insert(&mut self.default, key);
        } else if names.iter().any(|name| self.default_names.contains(name)) {
            // One of another algorithm for the same name joins it.
            insert(&mut self.default, key);
        }
    }

    fn named(&self, name: &str) -> Option<&Choice> {
        // The library has made it lower case.
        let of_wildcard = || self.wildcard.get(name.split_once('.')?.1);
        self.exact.get(name).or_else(of_wildcard)
    }

    /// Whether a certificate is for this name.
    pub fn has(&self, name: &str) -> bool {
        self.named(name).is_some()
    }
}

/// Certificates with RSA keys go last: signing with one takes ten times as long.
fn insert(choice: &mut Choice, key: &Arc<CertifiedKey>) {
    if choice.iter().any(|other| other.key.algorithm() == key.key.algorithm() && same_schemes(other, key)) {
        return;
    }
    let at = if is_slow(key) { choice.len() } else { choice.partition_point(|other| !is_slow(other)) };
    choice.insert(at, key.clone());
}

/// Whether two keys can sign the same: curves make a difference.
fn same_schemes(a: &CertifiedKey, b: &CertifiedKey) -> bool {
    const CURVES: [SignatureScheme; 4] = [
        SignatureScheme::ECDSA_NISTP256_SHA256,
        SignatureScheme::ECDSA_NISTP384_SHA384,
        SignatureScheme::ECDSA_NISTP521_SHA512,
        SignatureScheme::ED25519,
    ];
    CURVES.iter().all(|scheme| a.key.choose_scheme(&[*scheme]).is_some() == b.key.choose_scheme(&[*scheme]).is_some())
}

/// Signing with it takes milliseconds.
pub(super) fn is_slow(key: &CertifiedKey) -> bool {
    key.key.algorithm() == SignatureAlgorithm::RSA
}

impl Certificates {
    /// The one that this client gets.
    pub fn choose(&self, hello: &ClientHello<'_>) -> Option<&Arc<CertifiedKey>> {
        let choice = hello.server_name().and_then(|name| self.named(name)).unwrap_or(&self.default);
        let usable = choice.iter().find(|key| key.key.choose_scheme(hello.signature_schemes()).is_some());
        // Where none is usable, the library says so.
        usable.or(choice.first())
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.choose(&hello).cloned()
    }
}
