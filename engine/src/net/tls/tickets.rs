//! Session tickets: how long a session goes on with them, and those that are sealed with keys from files, which several processes
//! share: what one has sealed, all can open.
//!
//! No key of a file seals anything itself. Each context derives its own from it, so that a ticket of one context is worth nothing
//! in another that has the same file. Contexts that ask for certificates of clients have no tickets at all.

use super::load::{Faults, fault, keep, read};
use crate::base::clock::Wall;
use aws_lc_rs::aead::{AES_256_GCM_SIV, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use aws_lc_rs::digest;
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Salt};
use ringway_config::model::{DownstreamTls, PemFile};
use rustls::server::ProducesTickets;
use std::cell::Cell;
use std::fmt;
use std::sync::Arc;

/// What a file holds: a random key of this size, as other proxies have them.
const SIZES: [usize; 2] = [80, 48];
/// Seconds from the handshake that a session began with, however often it has been resumed since.
pub(super) const LIFETIME: u32 = 12 * 60 * 60;
/// Seconds by which the clock of another process may be ahead. A session that began later than that would last longer than it may.
const AHEAD_MAX: u64 = 300;
const NAME_LEN: usize = 16;
const KEY_LEN: usize = 32;

/// The keys in files, in the order of the configuration.
pub(super) struct TicketKeys(Vec<Vec<u8>>);

impl TicketKeys {
    /// # Errors
    /// Files that cannot be read, or hold something else.
    pub fn load(files: &[PemFile]) -> Result<Self, Faults> {
        let mut faults = Faults::new();
        let load = |file: &PemFile| {
            let key = read(file)?;
            if SIZES.contains(&key.len()) {
                return Ok(key);
            }
            let path = file.path.display();
            let is_text = key.iter().all(|byte| byte.is_ascii_graphic() || byte.is_ascii_whitespace());
            let remedy = match is_text && !key.is_empty() {
                true => "it looks like text: openssl base64 -d -A makes bytes of it".to_owned(),
                false => format!("openssl rand 80 >{path} makes one"),
            };
            Err(fault(file, format!("{path} has {} bytes, and a key of tickets has 80 or 48; {remedy}", key.len())))
        };
        let keys = files.iter().filter_map(|file| keep(&mut faults, load(file))).collect();
        if faults.is_empty() { Ok(Self(keys)) } else { Err(faults) }
    }
}

/// What tickets are good for: the part of a context that must be the same where they are opened.
pub(super) struct Scope(digest::Context);

impl Scope {
    pub fn new(model: &DownstreamTls) -> Self {
        let mut scope = Self(digest::Context::new(&digest::SHA256));
        scope.add(&[u8::from(model.strict_sni)]);
        let parameters = &model.parameters;
        scope.add(format!("{:?} {:?}", parameters.min_version, parameters.max_version).as_bytes());
        scope
    }

    /// One of its certificates, by the names in it: others for the same names may take its place.
    pub fn add_names(&mut self, names: &[String]) {
        self.add(&names.len().to_be_bytes());
        names.iter().for_each(|name| self.add(name.as_bytes()));
    }

    fn add(&mut self, part: &[u8]) {
        self.0.update(&part.len().to_be_bytes());
        self.0.update(part);
    }
}

/// Seals and opens the tickets of one context.
pub(super) struct Ticketer {
    /// The first one seals.
    keys: Vec<Derived>,
}

struct Derived {
    /// Which key a ticket needs stands in front of it.
    name: [u8; NAME_LEN],
    key: RandomizedNonceKey,
}

impl Ticketer {
    /// `None`: the library refuses.
    pub fn new(keys: &TicketKeys, scope: Scope) -> Option<Arc<Self>> {
        let scope = scope.0.finish();
        let keys = keys.0.iter().map(|secret| Derived::new(secret, scope.as_ref())).collect::<Option<_>>()?;
        Some(Arc::new(Self { keys }))
    }
}

impl Derived {
    fn new(secret: &[u8], scope: &[u8]) -> Option<Self> {
        struct Length;
        impl KeyType for Length {
            fn len(&self) -> usize {
                NAME_LEN + KEY_LEN
            }
        }
        let mut bytes = [0; NAME_LEN + KEY_LEN];
        let extracted = Salt::new(HKDF_SHA256, b"ringway session ticket 1").extract(secret);
        extracted.expand(&[scope], Length).ok()?.fill(&mut bytes).ok()?;
        let (name, key) = bytes.split_first_chunk()?;
        Some(Self { name: *name, key: RandomizedNonceKey::new(&AES_256_GCM_SIV, key).ok()? })
    }
}

impl ProducesTickets for Ticketer {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let Derived { name, key } = self.keys.first()?;
        let mut sealed = plain.to_vec();
        let nonce = key.seal_in_place_append_tag(Aad::from(name), &mut sealed).ok()?;
        Some([&name[..], nonce.as_ref(), &sealed].concat())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (name, rest) = ticket.split_first_chunk::<NAME_LEN>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let key = &self.keys.iter().find(|key| key.name == *name)?.key;
        let mut sealed = sealed.to_vec();
        let plain = key.open_in_place(Nonce::assume_unique_for_key(*nonce), Aad::from(name), &mut sealed).ok()?;
        Some(plain.to_vec())
    }
}

thread_local! {
    /// See `within`.
    static BEGUN: Cell<Option<u64>> = const { Cell::new(None) };
}

/// Take a step of a handshake; `begun`: when the session began that goes on by it, where one does. The library does not hand this
/// from the ticket that it opens to those that it makes.
pub(super) fn within<R>(begun: &mut Option<u64>, step: impl FnOnce() -> R) -> R {
    BEGUN.set(*begun);
    let result = step();
    *begun = BEGUN.take();
    result
}

/// Tickets that say when their session began. A resumption brings new tickets: without this, a session would go on for as long as
/// it is used.
#[derive(Debug)]
pub(super) struct Dated {
    by: Arc<dyn ProducesTickets>,
    wall: Wall,
}

impl Dated {
    pub fn new(by: Arc<dyn ProducesTickets>, wall: Wall) -> Self {
        Self { by, wall }
    }

    /// Seconds since the epoch.
    fn now(&self) -> u64 {
        self.wall.since_epoch().as_secs()
    }

    fn seal(&self, plain: &[u8], begun: u64) -> Option<Vec<u8>> {
        self.by.encrypt(&[&begun.to_be_bytes(), plain].concat())
    }

    /// When the session began, and what was sealed of it.
    fn open(&self, ticket: &[u8], now: u64) -> Option<(u64, Vec<u8>)> {
        let dated = self.by.decrypt(ticket)?;
        let (begun, plain) = dated.split_first_chunk()?;
        let begun = u64::from_be_bytes(*begun);
        let is_fresh = begun <= now.saturating_add(AHEAD_MAX) && now.saturating_sub(begun) <= LIFETIME.into();
        is_fresh.then(|| (begun, plain.to_vec()))
    }
}

impl ProducesTickets for Dated {
    fn enabled(&self) -> bool {
        self.by.enabled()
    }

    fn lifetime(&self) -> u32 {
        LIFETIME
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        self.seal(plain, BEGUN.get().unwrap_or_else(|| self.now()))
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let (begun, plain) = self.open(ticket, self.now())?;
        BEGUN.set(Some(begun));
        Some(plain)
    }
}

impl fmt::Debug for Ticketer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Ticketer").field("keys", &self.keys.len()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ticketer(secrets: &[u8], scope: &[&str]) -> Ticketer {
        let mut context = Scope(digest::Context::new(&digest::SHA256));
        context.add_names(&scope.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let keys = TicketKeys(secrets.iter().map(|byte| vec![*byte; 80]).collect());
        Arc::into_inner(Ticketer::new(&keys, context).expect("keys")).expect("the only one")
    }

    #[test]
    fn the_first_key_seals_and_each_opens() {
        let (old, both, new) = (ticketer(&[1], &[]), ticketer(&[2, 1], &[]), ticketer(&[2], &[]));
        let plain = b"a session".to_vec();
        let opens = |by: &Ticketer, ticket: &[u8]| by.decrypt(ticket).as_ref() == Some(&plain);
        let sealed = |by: &Ticketer| by.encrypt(&plain).expect("it is sealed");
        assert!(opens(&old, &sealed(&old)) && opens(&both, &sealed(&old)) && !opens(&new, &sealed(&old)));
        assert!(!opens(&old, &sealed(&both)) && opens(&new, &sealed(&both)));
        assert_ne!(sealed(&old), sealed(&old));
    }

    #[test]
    fn a_ticket_is_of_one_context_and_of_one_piece() {
        let by = ticketer(&[1], &["a", "b"]);
        let ticket = by.encrypt(b"a session").expect("it is sealed");
        assert!(by.decrypt(&ticket).is_some());
        for other in [&["ab"][..], &["a"], &["a", "b", ""], &[]] {
            assert!(ticketer(&[1], other).decrypt(&ticket).is_none(), "{other:?}");
        }
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert!(by.decrypt(&changed).is_none() && by.decrypt(&ticket[..at]).is_none(), "{at}");
        }
    }

    #[test]
    fn a_ticket_is_good_for_twelve_hours() {
        let by = Dated::new(Arc::new(ticketer(&[1], &[])), Wall::System);
        let ticket = by.seal(b"a session", 1_000_000).expect("it is sealed");
        let behind = [(900_000, false), (999_699, false), (999_700, true), (999_990, true)];
        for (now, opens) in behind.into_iter().chain([(1_000_000, true), (1_043_200, true), (1_043_201, false)]) {
            assert_eq!(by.open(&ticket, now).is_some(), opens, "{now}");
        }
    }
}
