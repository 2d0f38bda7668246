//! What the TLS of both connections says in a record.

use super::Record;
use crate::net::tls::{Identities, Known};
use ringway_config::model::{CertificateFact, CertificateOf, TlsFact, TlsSide};

fn known<'a>(record: &Record<'a>, side: TlsSide) -> Option<Known<'a>> {
    match side {
        TlsSide::Downstream => record.downstream_tls,
        TlsSide::Upstream => record.upstream_tls,
    }
}

fn identities<'a>(record: &Record<'a>, side: TlsSide) -> Option<&'a Identities> {
    known(record, side)?.identities()
}

pub(super) fn fact<'a>(record: &Record<'a>, side: TlsSide, fact: TlsFact) -> Option<&'a str> {
    // A handshake that is not made here has a name, too.
    let passing = record.requested_server_name.filter(|_| (side, fact) == (TlsSide::Downstream, TlsFact::ServerName));
    if passing.is_some() {
        return passing;
    }
    let facts = known(record, side)?.facts();
    match fact {
        TlsFact::Version => Some(facts.version),
        TlsFact::Cipher => Some(facts.cipher),
        TlsFact::Group => Some(facts.group),
        TlsFact::ServerName => facts.server_name.as_deref(),
    }
}

pub(super) fn certificate_fact<'a>(
    record: &Record<'a>,
    side: TlsSide,
    of: CertificateOf,
    fact: CertificateFact,
) -> Option<&'a str> {
    let identities = identities(record, side)?;
    let identity = match of {
        CertificateOf::Peer => identities.peer.as_ref(),
        CertificateOf::Local => identities.own.as_ref(),
    };
    Some(match fact {
        CertificateFact::Subject => &identity?.subject,
        CertificateFact::Issuer => &identity?.issuer,
        CertificateFact::Serial => &identity?.serial,
        CertificateFact::Sha256 => &identity?.sha256,
        CertificateFact::Sha1 => &identity?.sha1,
        CertificateFact::UriSan => identity?.uris.joined(),
        CertificateFact::DnsSan => identity?.dns.joined(),
        CertificateFact::IpSan => identity?.ips.joined(),
        CertificateFact::EmailSan => identity?.emails.joined(),
        CertificateFact::OtherNameSan => identity?.others.joined(),
        CertificateFact::ChainSha256 => identities.chain_sha256.joined(),
        CertificateFact::ChainSha1 => identities.chain_sha1.joined(),
        CertificateFact::ChainSerials => identities.chain_serials.joined(),
    })
}

/// The certificate itself.
pub(super) fn peer_certificate<'a>(record: &Record<'a>, side: TlsSide) -> Option<&'a [u8]> {
    identities(record, side)?.certificates.first().map(|certificate| &**certificate)
}

/// When it begins to be valid, or ends, in microseconds since the epoch.
pub(super) fn peer_validity(record: &Record<'_>, side: TlsSide, is_end: bool) -> Option<u64> {
    let peer = identities(record, side)?.peer.as_ref()?;
    Some(if is_end { peer.valid_until } else { peer.valid_from })
}
