//! What TLS makes of the request: which certificate the client gets, what it is asked for, and whether its request may come on
//! this connection.

use super::page::Page;
use super::question::Question;
use crate::hcm::TlsContext;
use crate::http::Exchange;
use crate::net::tls::{Facts, certificates_for};
use crate::net::{Arrival, ChainMatcher};
use ringway_config::model::{Certificate, ClientCertificate, DownstreamTls, FilterChain, Listener};
use ringway_config::quoted;
use std::sync::Arc;

/// There is no connection, and the page says why.
pub(super) struct Refused;

/// What the handshake comes to; `None` where TLS does not end here.
pub(super) fn handshake(
    page: &mut Page<'_>,
    chain: &FilterChain,
    question: &Question,
) -> Result<Option<Facts>, Refused> {
    let Some(tls) = &chain.tls else {
        if question.is_secure() == Some(true) {
            page.line("tls", "none: a client that speaks TLS here gets status 400");
            page.line("", "the rest is for a client whose TLS ends at a proxy in front of this one");
        }
        return Ok(None);
    };
    if question.is_secure() == Some(false) {
        page.line_at("tls", "required by this chain, and the URL says http", tls.place);
        page.line("result", "status 400: this port speaks HTTPS, and the request is plain HTTP");
        return Err(Refused);
    }
    let name = question.server_name();
    certificate(page, tls, name.as_deref())?;
    let has_peer_certificate = tls.client_certificate.as_ref().is_some_and(|asked| of_client(page, tls, asked));
    let server_name = name.map(Into::into);
    Ok(Some(Facts { server_name, has_peer_certificate, is_peer_verified: has_peer_certificate, ..Facts::default() }))
}

/// Says which certificate the client gets.
fn certificate(page: &mut Page<'_>, tls: &DownstreamTls, name: Option<&str>) -> Result<(), Refused> {
    let asked = name.map_or_else(|| "no name".to_owned(), str::to_owned);
    let (certificates, is_for_it) = match certificates_for(tls, name) {
        Ok(found) => found,
        Err(fault) => {
            page.line_at("tls", format!("for {asked}: which certificate has that name is unknown"), tls.place);
            page.line_at("", fault.message, fault.place);
            return Ok(());
        }
    };
    let path = |certificate: &&Certificate| certificate.chain.path.display().to_string();
    let paths: Vec<_> = certificates.iter().map(path).collect();
    let (paths, place) = (paths.join(" or "), certificates.first().map_or(tls.place, |first| first.chain.place));
    match (is_for_it, tls.strict_sni) {
        (true, _) => page.line_at("tls", format!("for {asked}: certificate {paths}"), place),
        (false, false) => {
            page.line_at(
                "tls",
                format!("for {asked}: certificate {paths}, the first one, as none has that name"),
                place,
            );
        }
        (false, true) => {
            page.line_at("tls", format!("for {asked}, which no certificate has, and strict_sni is on"), tls.place);
            page.line("result", "no connection: the client gets the alert unrecognized_name");
            return Err(Refused);
        }
    }
    Ok(())
}

/// Says what the client is asked for. Returns whether it shows a certificate.
fn of_client(page: &mut Page<'_>, tls: &DownstreamTls, asked: &ClientCertificate) -> bool {
    let validation = &asked.validation;
    let (of, place) = match &validation.ca {
        Some(ca) => (format!("of an authority in {}", ca.path.display()), ca.place),
        None if validation.has_pins() => ("that is listed".to_owned(), tls.place),
        None => ("of any issuer".to_owned(), tls.place),
    };
    let of = if validation.accept_untrusted { "of any issuer".to_owned() } else { of };
    match asked.required {
        true => {
            page.line_at(
                "tls",
                format!("clients must show a certificate {of}; without one there is no connection"),
                place,
            );
            page.line("", "the rest is for a client with a valid certificate");
        }
        false => {
            page.line_at("tls", format!("clients may show a certificate {of}"), place);
            page.line("", "the rest is for a client without one");
        }
    }
    asked.required
}

/// Says so if the request belongs on another connection.
pub(super) fn is_misdirected(
    page: &mut Page<'_>,
    listener: &Listener,
    chain: &FilterChain,
    arrival: &Arrival,
    tls: Option<&Facts>,
    exchange: &Exchange,
) -> bool {
    let Some(tls) = tls else { return false };
    let chains = &listener.filter_chains;
    let contexts = TlsContext::of_chains(chains, &Arc::new(ChainMatcher::new(chains)));
    let at = chains.iter().position(|other| std::ptr::eq(other, chain));
    let context = at.and_then(|at| contexts.get(at)?.as_ref());
    let authority = exchange.request.head.authority.of(exchange.request.view());
    let is_left = context.is_some_and(|it| it.is_left_by(authority, tls.server_name.as_deref(), arrival));
    if is_left {
        let host = quoted(&String::from_utf8_lossy(authority));
        page.line("result", format!("status 421: {host} belongs to a chain that asks clients for other certificates"));
    }
    is_left
}
