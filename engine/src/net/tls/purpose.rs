//! What a certificate may be used for (RFC 5280 sections 4.2.1.3, 4.2.1.9 and 4.2.1.12), where the library does not look: it takes
//! trust anchors for authorities whatever their certificates say, and looks at no key usage. OpenSSL looks at both.

use super::crl::Subject;
use super::verify::Peer;
use x509_parser::prelude::X509Certificate;

/// Of an authority that is trusted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Purpose {
    pub signs_certificates: bool,
    /// Authorities that may be between it and a certificate; `None`: any number.
    path_len: Option<u32>,
    for_servers: bool,
    for_clients: bool,
}

/// Bits of the first octet of KeyUsage.
const DIGITAL_SIGNATURE: u8 = 0x80;
const KEY_ENCIPHERMENT: u8 = 0x20;
const KEY_AGREEMENT: u8 = 0x08;
const KEY_CERT_SIGN: u8 = 0x04;

impl Purpose {
    pub fn of(certificate: &X509Certificate<'_>) -> Self {
        let constraints = certificate.basic_constraints().ok().flatten().map(|extension| extension.value);
        let usage = certificate.key_usage().ok().flatten().map(|extension| extension.value.key_cert_sign());
        let is_authority = match constraints {
            Some(constraints) => constraints.ca,
            // Before version 3, there is no extension that could say so: roots alone are taken for authorities.
            None => certificate.version().0 < 2 && certificate.subject() == certificate.issuer() || usage == Some(true),
        };
        let extended = certificate.extended_key_usage().ok().flatten().map(|extension| extension.value);
        let (for_servers, for_clients) = extended
            .map_or((true, true), |usages| (usages.any || usages.server_auth, usages.any || usages.client_auth));
        Self {
            signs_certificates: is_authority && usage != Some(false),
            path_len: constraints.and_then(|constraints| constraints.path_len_constraint),
            for_servers,
            for_clients,
        }
    }

    /// Whether it may vouch for this peer.
    pub fn is_for(self, peer: Peer<'_>) -> bool {
        match peer {
            Peer::Client => self.for_clients,
            Peer::Endpoint(_) => self.for_servers,
        }
    }

    /// Whether a chain may have this many authorities below it.
    pub fn takes(self, below: usize) -> bool {
        self.path_len.is_none_or(|most| below <= most as usize)
    }
}

/// Whether the key of this certificate may sign others. Without the extension it may.
pub(super) fn signs_certificates(certificate: &[u8]) -> bool {
    Subject::of(certificate).is_some_and(|it| it.key_usage().is_none_or(|bits| bits & KEY_CERT_SIGN != 0))
}

/// Whether the peer with this certificate may use its key in a handshake, in any kind of it, as OpenSSL sees it.
pub(super) fn is_for_handshakes(certificate: &[u8], peer: Peer<'_>) -> bool {
    let wanted = match peer {
        Peer::Client => DIGITAL_SIGNATURE | KEY_AGREEMENT,
        Peer::Endpoint(_) => DIGITAL_SIGNATURE | KEY_ENCIPHERMENT | KEY_AGREEMENT,
    };
    Subject::of(certificate).is_some_and(|it| it.key_usage().is_none_or(|bits| bits & wanted != 0))
}
