//! The alternative names in a certificate, and which of them match what a configuration asks for.

use super::der::{Reader, context};
use ringway_config::model::{SanKind, StringMatch, StringMatchKind, SubjectAltName};
use std::net::IpAddr;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;

/// One alternative name. Texts are octets, as the certificate has them.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Name<'a> {
    Dns(&'a [u8]),
    Uri(&'a [u8]),
    Email(&'a [u8]),
    Ip(IpAddr),
    Other { oid: &'a [u8], value: &'a [u8] },
}

/// All that can be compared. A name with a NUL byte is none: what reads it as a text may stop there (CVE-2025-66220).
pub(super) fn alternative_names<'a>(certificate: &'a X509Certificate<'_>) -> impl Iterator<Item = Name<'a>> {
    // Where the extension stands twice, or is broken, there is none.
    let extension = certificate.subject_alternative_name().ok().flatten();
    let names = extension.into_iter().flat_map(|extension| &extension.value.general_names);
    names.filter_map(|name| {
        let text = |text: &'a str| Some(text.as_bytes()).filter(|bytes| !bytes.contains(&0));
        match name {
            GeneralName::DNSName(name) => text(name).map(Name::Dns),
            GeneralName::URI(name) => text(name).map(Name::Uri),
            GeneralName::RFC822Name(name) => text(name).map(Name::Email),
            GeneralName::IPAddress(bytes) => address(bytes).map(Name::Ip),
            GeneralName::OtherName(oid, rest) => {
                // [0] EXPLICIT, and a string of any type in it.
                let mut inner = Reader::new(Reader::new(rest).take(context(0))?);
                let value = inner.next().filter(|_| inner.is_empty())?.value;
                let is_text = !value.contains(&0);
                is_text.then_some(Name::Other { oid: oid.as_bytes(), value })
            }
            _ => None,
        }
    })
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

/// Whether this condition holds for this name.
pub(super) fn matches(asked: &SubjectAltName, name: &Name<'_>) -> bool {
    match (&asked.kind, name) {
        (SanKind::Dns, Name::Dns(name)) => match &asked.value.kind {
            StringMatchKind::Exact(host) => is_for_host(name, host.as_bytes()),
            _ => matches_text(&asked.value, name),
        },
        (SanKind::Uri, Name::Uri(name)) | (SanKind::Email, Name::Email(name)) => matches_text(&asked.value, name),
        (SanKind::Ip, Name::Ip(address)) => matches_text(&asked.value, address.to_string().as_bytes()),
        (SanKind::Other(asked_oid), Name::Other { oid, value }) => {
            asked_oid == oid && matches_text(&asked.value, value)
        }
        _ => false,
    }
}

/// A wildcard stands for exactly one label (CVE-2020-15104).
fn is_for_host(name: &[u8], host: &[u8]) -> bool {
    let of_wildcard = || {
        let suffix = name.strip_prefix(b"*")?;
        let dot = host.iter().position(|byte| *byte == b'.').filter(|dot| *dot > 0)?;
        Some(suffix.len() > 1 && host[dot..].eq_ignore_ascii_case(suffix))
    };
    name.eq_ignore_ascii_case(host) || of_wildcard().unwrap_or(false)
}

/// A certificate has at most 64 KiB, so that the time this takes is bounded.
fn matches_text(matcher: &StringMatch, value: &[u8]) -> bool {
    let same = |a: &[u8], b: &[u8]| if matcher.ignore_case { a.eq_ignore_ascii_case(b) } else { a == b };
    match &matcher.kind {
        StringMatchKind::Exact(text) => same(value, text.as_bytes()),
        StringMatchKind::Prefix(text) => value.get(..text.len()).is_some_and(|start| same(start, text.as_bytes())),
        StringMatchKind::Suffix(text) => {
            value.len().checked_sub(text.len()).is_some_and(|start| same(&value[start..], text.as_bytes()))
        }
        StringMatchKind::Contains(text) => {
            text.is_empty() || value.windows(text.len()).any(|part| same(part, text.as_bytes()))
        }
        StringMatchKind::Regex(pattern) => pattern.is_match(value),
    }
}
