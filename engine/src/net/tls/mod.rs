//! TLS on either side, by rustls behind a narrow seam: bytes in, plain buffers out; segments in, sealed bytes out.
//!
//! ```text
//! model ── load: files, keys, names ──> Server, Client ── accept, connect: the handshake ──> TlsStream, a ByteStream
//! ```
//!
//! Nothing outside this module knows the library. What a configuration asks for is loaded once, by the control thread, and
//! shared by all shards; handshakes are computed in the background queue of the shard whose connection it is, or on threads of
//! their own where that takes long.

mod authorities;
mod certificates;
mod client;
pub mod client_hello;
mod content;
mod crl;
mod current;
mod der;
mod failure;
pub mod fingerprint;
mod handshake;
mod handshakes;
mod hkdf;
mod identity;
mod key_log;
mod load;
mod names;
pub mod ocsp;
mod parameters;
mod plain;
mod purpose;
mod records;
mod revocation;
mod sealing;
mod server;
mod session;
mod standing;
mod staple;
mod stream;
#[cfg(test)]
mod tests;
mod tickets;
mod time;
mod units;
mod validity;
mod verify;

pub use certificates::Stapling;
pub use client::{Client, Connector};
pub use current::Current;
pub use failure::{Failure, FailureKind, count, count_staple};
pub use fingerprint::Fingerprints;
pub use handshake::{connect, greet, refuse_name, refuse_plain};
pub use handshakes::Handshakes;
pub use identity::{Endpoint, Identities, Identity, Names, encode_pem};
pub use load::Fault;
pub use server::{Server, certificates_for};
pub use stream::{Counted, TlsStream};
pub use units::{Context, Shown};

use rustls::ProtocolVersion;
use session::Session;

/// A record's header (RFC 8446 section 5.1).
const RECORD_HEADER: usize = 5;
/// The first byte of a handshake's first record.
const HANDSHAKE: u8 = 22;
/// The first byte of a record that says why there is none.
const ALERT: u8 = 21;

/// Prepares the library's source of randomness, which takes some 70 ms once a process: otherwise the first handshake of the
/// process would stop its shard for that time.
pub fn gather_entropy() {
    // Where that fails, handshakes say so.
    let _ = aws_lc_rs::rand::fill(&mut [0; 16]);
}

/// What is known of the TLS of a connection, while it lasts or later.
#[derive(Clone, Copy, Debug)]
pub enum Known<'a> {
    Live(&'a TlsStream),
    /// With the certificates, if they have been noted.
    Noted(&'a Facts, Option<&'a Identities>),
    Endpoint(&'a Endpoint),
}

impl<'a> Known<'a> {
    pub fn facts(self) -> &'a Facts {
        match self {
            Self::Live(stream) => stream.facts(),
            Self::Noted(facts, _) => facts,
            Self::Endpoint(endpoint) => &endpoint.facts,
        }
    }

    /// The certificates of both sides. Read when they are asked for the first time.
    pub fn identities(self) -> Option<&'a Identities> {
        match self {
            Self::Live(stream) => Some(stream.identities()),
            Self::Noted(_, identities) => identities,
            Self::Endpoint(endpoint) => Some(endpoint.identities()),
        }
    }
}

/// What a handshake has come to, in OpenSSL's words.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    pub version: &'static str,
    pub cipher: &'static str,
    pub group: &'static str,
    /// An earlier session went on.
    pub resumed: bool,
    /// The name that the server was asked for.
    pub server_name: Option<Box<str>>,
    /// What ALPN agreed on.
    pub application_protocol: Option<Box<str>>,
    /// The peer has shown a certificate.
    pub has_peer_certificate: bool,
    /// It is what the configuration asks for. Of clients.
    pub is_peer_verified: bool,
    /// Of clients.
    pub stapling: Stapling,
}

impl Facts {
    fn of(session: &Session, server_name: Option<Box<str>>) -> Self {
        Self {
            version: match session.protocol_version() {
                Some(ProtocolVersion::TLSv1_3) => "TLSv1.3",
                Some(ProtocolVersion::TLSv1_2) => "TLSv1.2",
                _ => "",
            },
            cipher: session.negotiated_cipher_suite().map_or("", |suite| parameters::suite_name(suite.suite())),
            group: session.negotiated_key_exchange_group().map_or("", |group| parameters::group_name(group.name())),
            resumed: session.is_resumed(),
            server_name,
            application_protocol: session
                .alpn_protocol()
                .map(|name| String::from_utf8_lossy(name).into_owned().into_boxed_str()),
            has_peer_certificate: session.peer_certificates().is_some_and(|chain| !chain.is_empty()),
            ..Self::default()
        }
    }
}
