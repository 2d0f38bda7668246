//! `x-forwarded-client-cert`: which certificate a request came with, for upstreams that do not see the connection (Envoy:
//! mutateXfccRequestHeader).

use crate::http::{Exchange, FieldId};
use crate::net::tls::{Identities, Identity, Known, encode_pem};
use ringway_config::model::{CertificatePart, ClientCertDetails, ForwardCert};

/// Does with the header what the configuration says. `client`: the peer, if it showed a certificate that was verified.
pub fn apply(model: &ClientCertDetails, client: Option<Known<'_>>, exchange: &mut Exchange) {
    let fields = &mut exchange.request.head.fields;
    match (model.forward, client) {
        // A certificate is not read where nothing of it is told.
        (ForwardCert::AlwaysForwardOnly, _) | (ForwardCert::ForwardOnly, Some(_)) => {}
        (ForwardCert::Sanitize, _) | (ForwardCert::ForwardOnly, None) => {
            fields.remove_id(FieldId::XForwardedClientCert);
        }
        (mode @ (ForwardCert::SanitizeSet | ForwardCert::AppendForward), client) => {
            let identities = client.and_then(Known::identities);
            let identity = identities.and_then(|client| Some((client, client.peer.as_ref()?)));
            if mode == ForwardCert::SanitizeSet || identity.is_none() {
                fields.remove_id(FieldId::XForwardedClientCert);
            }
            if let Some((client, identity)) = identity {
                let write = |out: &mut Vec<u8>| element(client, identity, &model.set, out);
                exchange.request.edit().append_known(FieldId::XForwardedClientCert, write);
            }
        }
    }
}

/// One element of the header: pairs of keys and values.
fn element(client: &Identities, identity: &Identity, parts: &[CertificatePart], out: &mut Vec<u8>) {
    let start = out.len();
    let key = |name: &str, out: &mut Vec<u8>| {
        if out.len() > start {
            out.push(b';');
        }
        out.extend_from_slice(name.as_bytes());
        out.push(b'=');
    };
    for uri in client.own.iter().flat_map(|own| own.uris.iter()) {
        key("By", out);
        quote_if_needed(uri, out);
    }
    key("Hash", out);
    out.extend_from_slice(identity.sha256.as_bytes());
    for part in parts {
        match part {
            CertificatePart::Cert => {
                key("Cert", out);
                out.push(b'"');
                client.certificates.iter().take(1).for_each(|certificate| encode_pem(certificate, out));
                out.push(b'"');
            }
            CertificatePart::Chain => {
                key("Chain", out);
                out.push(b'"');
                client.certificates.iter().for_each(|certificate| encode_pem(certificate, out));
                out.push(b'"');
            }
            CertificatePart::Subject => {
                key("Subject", out);
                quote(&identity.subject, out);
            }
            CertificatePart::Uri => identity.uris.iter().for_each(|uri| {
                key("URI", out);
                quote_if_needed(uri, out);
            }),
            CertificatePart::Dns => identity.dns.iter().for_each(|dns| {
                key("DNS", out);
                quote_if_needed(dns, out);
            }),
        }
    }
}

fn quote_if_needed(value: &str, out: &mut Vec<u8>) {
    match value.contains([',', ';', '=']) {
        true => quote(value, out),
        false => out.extend_from_slice(value.as_bytes()),
    }
}

/// Neither a quote nor a backslash is in a text of an `Identity`.
fn quote(value: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    out.extend_from_slice(value.as_bytes());
    out.push(b'"');
}
