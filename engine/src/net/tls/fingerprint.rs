//! Fingerprints of clients' first messages, by which programs are recognized whatever they say they are.

pub mod text;

use super::client_hello::ClientHello;
use super::identity::hex;
use aws_lc_rs::digest::{SHA256, digest};
use md5::{Digest, Md5};
use ringway_config::model::{TlsFingerprint, TlsFingerprints};
use std::sync::Arc;

/// Those that the configuration asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprints {
    ja3: Option<Box<str>>,
    ja4: Option<Box<str>>,
}

/// Bytes of suites and extensions. Browsers with ML-KEM send 2 KB; 64 KB of two-byte suites would take a shard milliseconds.
const HELLO_MAX: usize = 16 * 1024;

impl Fingerprints {
    /// `None`: none is wanted, or the message is longer than those of any client.
    pub fn of(hello: &ClientHello<'_>, wanted: TlsFingerprints) -> Option<Arc<Self>> {
        if wanted.is_empty() || hello.offer_length() > HELLO_MAX {
            return None;
        }
        let (ja3, ja4) = (wanted.ja3.then(|| ja3(hello)), wanted.ja4.then(|| ja4(hello)));
        Some(Arc::new(Self { ja3, ja4 }))
    }

    pub fn get(&self, which: TlsFingerprint) -> Option<&str> {
        match which {
            TlsFingerprint::Ja3 => self.ja3.as_deref(),
            TlsFingerprint::Ja4 => self.ja4.as_deref(),
        }
    }
}

fn ja3(hello: &ClientHello<'_>) -> Box<str> {
    hex(&Md5::digest(text::ja3(hello)))
}

fn ja4(hello: &ClientHello<'_>) -> Box<str> {
    let text::Ja4 { start, suites, extensions } = text::ja4(hello);
    format!("{start}_{}_{}", short_hash(&suites), short_hash(&extensions)).into()
}

fn short_hash(list: &str) -> Box<str> {
    match list {
        "" => hex(&[0; 6]),
        list => hex(&digest(&SHA256, list.as_bytes()).as_ref()[..6]),
    }
}
