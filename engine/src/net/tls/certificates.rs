//! Which certificate a client gets.

use super::staple::Staple;
use super::time;
use crate::base::clock::Wall;
use ringway_config::model::OcspStaplePolicy;
use rustls::pki_types::UnixTime;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{SignatureAlgorithm, SignatureScheme};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A certificate with its key.
#[derive(Debug)]
pub(super) struct Pair {
    pub key: Arc<CertifiedKey>,
    staple: Option<(Staple, Arc<CertifiedKey>)>,
    /// It says itself that it is worth nothing without a staple (RFC 7633).
    pub must_staple: bool,
}

/// What becomes of a staple in a handshake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stapling {
    #[default]
    NotAsked,
    Sent,
    /// There is none that is in date.
    Omitted,
    /// The same, and the certificate must not be shown without.
    Refused,
}

impl Pair {
    pub fn new(key: CertifiedKey, staple: Option<Staple>, must_staple: bool) -> Self {
        let with_staple = |staple: Staple| {
            let stapled = CertifiedKey { ocsp: Some(staple.der.clone()), ..key.clone() };
            (staple, Arc::new(stapled))
        };
        let staple = staple.map(with_staple);
        Self { key: Arc::new(key), staple, must_staple }
    }

    pub fn staple(&self) -> Option<&Staple> {
        self.staple.as_ref().map(|(staple, _)| staple)
    }

    fn current(&self, now: UnixTime) -> Option<&Arc<CertifiedKey>> {
        self.staple.as_ref().filter(|(staple, _)| staple.is_current(now)).map(|(_, stapled)| stapled)
    }

    /// For a client that asks for a staple.
    fn stapling(&self, policy: OcspStaplePolicy, now: UnixTime) -> Stapling {
        let must = self.must_staple || policy == OcspStaplePolicy::Must;
        match (self.current(now), policy) {
            (Some(_), _) => Stapling::Sent,
            (None, _) if must => Stapling::Refused,
            (None, OcspStaplePolicy::Strict) if self.staple.is_some() => Stapling::Refused,
            (None, _) => Stapling::Omitted,
        }
    }
}

/// Certificates for the same name, for clients that know different algorithms; the cheapest for this side first.
type Choice = Vec<Arc<Pair>>;

/// All certificates of one place, by the names in them. A look-up takes the same time however many there are.
#[derive(Debug, Default)]
pub(super) struct Certificates {
    exact: HashMap<Box<str>, Choice>,
    /// `*.example.com` as `example.com`.
    wildcard: HashMap<Box<str>, Choice>,
    /// For clients that ask for no name, or for an unknown one.
    default: Choice,
    /// Names in the first one.
    default_names: HashSet<String>,
    policy: OcspStaplePolicy,
    wall: Wall,
}

impl Certificates {
    pub fn new(policy: OcspStaplePolicy, wall: Wall) -> Self {
        Self { policy, wall, ..Self::default() }
    }

    /// Add one, with the names in it, in lower case. Where two of a kind are for the same name, the first has it.
    pub fn add(&mut self, pair: &Arc<Pair>, names: Vec<String>) {
        for name in &names {
            let (map, name) = match name.strip_prefix("*.") {
                Some(suffix) => (&mut self.wildcard, suffix),
                None => (&mut self.exact, name.as_str()),
            };
            insert(map.entry(name.into()).or_default(), pair);
        }
        if self.default.is_empty() {
            self.default_names.extend(names);
            insert(&mut self.default, pair);
        } else if names.iter().any(|name| self.default_names.contains(name)) {
            // One of another algorithm for the same name joins it.
            insert(&mut self.default, pair);
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
fn insert(choice: &mut Choice, pair: &Arc<Pair>) {
    let key = &pair.key;
    if choice.iter().any(|other| other.key.key.algorithm() == key.key.algorithm() && same_schemes(&other.key, key)) {
        return;
    }
    let at = if is_slow(key) { choice.len() } else { choice.partition_point(|other| !is_slow(&other.key)) };
    choice.insert(at, pair.clone());
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
    /// The one that this client gets, and what becomes of its staple where the client asks for one. One that would be refused
    /// goes behind all others, also where the client does not ask: the library does not say whether it does.
    pub fn choose(&self, hello: &ClientHello<'_>) -> Option<(&Arc<Pair>, Stapling)> {
        let now = time::now(&self.wall);
        let choice = hello.server_name().and_then(|name| self.named(name)).unwrap_or(&self.default);
        let usable = choice.iter().filter(|pair| pair.key.key.choose_scheme(hello.signature_schemes()).is_some());
        let mut usable = usable.map(|pair| (pair, pair.stapling(self.policy, now)));
        let first = usable.clone().next();
        let found = usable.find(|(_, stapling)| *stapling != Stapling::Refused).or(first);
        // Where none is usable, the library says so.
        found.or_else(|| choice.first().map(|pair| (pair, pair.stapling(self.policy, now))))
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let now = time::now(&self.wall);
        // A client that does not ask for the staple is not sent it.
        self.choose(&hello).map(|(pair, _)| pair.current(now).unwrap_or(&pair.key).clone())
    }
}
