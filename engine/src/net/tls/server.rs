//! What a filter chain shows its clients and asks of them.

use super::certificates::{Certificates, Pair, Stapling};
use super::key_log::KeyLog;
use super::load::{self, Fault, Faults, keep};
use super::parameters;
use super::tickets::{Dated, Scope, Ticketer};
use super::units::Context;
use super::verify::ClientVerifier;
use crate::net::Arrival;
use ringway_config::model::{self, Certificate, Cidr, DownstreamTls};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Loaded from a configuration, and shared by all shards.
pub struct Server {
    configs: Configs,
    /// For connections whose keys are logged.
    logged: Option<(Configs, model::KeyLog)>,
    certificates: Arc<Certificates>,
    strict_sni: bool,
    pub handshake_timeout: Duration,
    verifier: Option<Arc<ClientVerifier>>,
    /// What was asked for, and the keys of session tickets with it.
    model: DownstreamTls,
    ticketer: Option<Arc<dyn ProducesTickets>>,
}

struct Configs {
    config: Arc<ServerConfig>,
    /// For clients with which no protocol can be agreed on: they are served without one, as in Envoy.
    without_alpn: Arc<ServerConfig>,
}

impl Configs {
    fn new(mut config: ServerConfig, protocols: &[String]) -> Self {
        let without_alpn = Arc::new(config.clone());
        config.alpn_protocols = protocols.iter().map(|name| name.clone().into_bytes()).collect();
        Self { config: Arc::new(config), without_alpn }
    }
}

impl Server {
    /// `before`: what served in this place until now. Where it asked for the same, sessions from then go on.
    ///
    /// # Errors
    /// All files that cannot be used.
    pub fn load(model: &DownstreamTls, context: &mut Context, before: Option<&Self>) -> Result<Arc<Self>, Vec<Fault>> {
        let provider = parameters::provider(&model.parameters);
        let mut faults = Faults::new();
        let mut certificates = Certificates::new(model.ocsp_staple_policy, context.wall.clone());
        let mut scope = Scope::new(model);
        for certificate in &model.certificates {
            let pair = context.pair(certificate, &provider, |pair| check_staple(pair, certificate));
            let Some(pair) = keep(&mut faults, pair) else { continue };
            let leaf = pair.key.cert.first().map_or(&[][..], |leaf| leaf);
            if let Some(names) = keep(&mut faults, names(leaf, certificate)) {
                scope.add_names(&names);
                certificates.add(&pair, names);
            }
        }
        let verifier = model.client_certificate.as_ref().map(|asked| {
            let loaded = ClientVerifier::load(&asked.validation, asked.required, &provider, context);
            keep(&mut faults, loaded).map(Arc::new)
        });
        let ticketer = keep(&mut faults, ticketer(model, context, before, scope)).flatten();
        // Without its verifier, no client would be asked.
        let (true, None | Some(Some(_))) = (faults.is_empty(), &verifier) else { return Err(faults) };
        let (certificates, client_verifier) = (Arc::new(certificates), verifier.flatten());
        // Where a file of this table is named.
        let place = model.certificates.first().map_or(model.place, |certificate| certificate.chain.place);
        let fault = |message: String| Fault { place, message };
        let builder = ServerConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&parameters::versions(&model.parameters))
            .map_err(|error| fault(error.to_string()))?;
        let builder = match &client_verifier {
            None => builder.with_no_client_auth(),
            Some(verifier) => builder.with_client_cert_verifier(verifier.clone()),
        };
        let mut config = builder.with_cert_resolver(certificates.clone());
        config.time_provider = Arc::new(context.wall.clone());
        config.ignore_client_order = true;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        match &ticketer {
            Some(ticketer) => config.ticketer = Arc::new(Dated::new(ticketer.clone(), context.wall.clone())),
            None => config.send_tls13_tickets = 0,
        }
        let logged = model.key_log.as_ref().map(|wanted| {
            let log =
                KeyLog::start(&wanted.path).map_err(|error| fault(format!("no thread for the key log: {error}")))?;
            let mut config = config.clone();
            config.key_log = log;
            Ok::<_, Fault>((Configs::new(config, &model.alpn_protocols), wanted.clone()))
        });
        Ok(Arc::new(Self {
            configs: Configs::new(config, &model.alpn_protocols),
            logged: logged.transpose()?,
            certificates,
            strict_sni: model.strict_sni,
            handshake_timeout: model.handshake_timeout,
            verifier: client_verifier,
            model: model.clone(),
            ticketer,
        }))
    }

    /// The certificate that this client is shown, and what becomes of its staple if the client asks for one.
    pub(super) fn own(&self, hello: &ClientHello<'_>) -> Option<(&Arc<Pair>, Stapling)> {
        self.certificates.choose(hello)
    }

    /// Whether a client that was let in with these certificates has shown what it must.
    pub(super) fn has_verified(&self, chain: &[CertificateDer<'_>]) -> bool {
        self.verifier.as_ref().is_some_and(|verifier| verifier.has_verified(chain))
    }

    /// What serves this client. `None`: it asks for a name that is not served.
    pub(super) fn choose(&self, hello: &ClientHello<'_>, arrival: &Arrival) -> Option<&Arc<ServerConfig>> {
        if self.strict_sni && !hello.server_name().is_some_and(|name| self.certificates.has(name)) {
            return None;
        }
        let mut offered = hello.alpn().into_iter().flatten();
        let logged = self.logged.as_ref().filter(|(_, wanted)| is_logged(wanted, arrival));
        let Configs { config, without_alpn } = logged.map_or(&self.configs, |(configs, _)| configs);
        let is_known = |offer: &[u8]| config.alpn_protocols.iter().any(|own| own == offer);
        if hello.alpn().is_none() || offered.any(is_known) { Some(config) } else { Some(without_alpn) }
    }
}

/// The certificates of which a client that asks for this name gets one, and whether they are for it. It reads their files,
/// without their keys.
///
/// # Errors
/// A file that cannot be read.
pub fn certificates_for<'m>(
    model: &'m DownstreamTls,
    name: Option<&str>,
) -> Result<(Vec<&'m Certificate>, bool), Fault> {
    let load = |certificate: &'m Certificate| {
        let chain = load::chain(&certificate.chain)?;
        let names = names(chain.first().map_or(&[][..], |leaf| leaf), certificate)?;
        Ok::<_, Fault>((certificate, names))
    };
    let all: Vec<_> = model.certificates.iter().map(load).collect::<Result<_, _>>()?;
    let with = |wanted: &str| -> Vec<_> {
        let has = |(_, names): &&(_, Vec<String>)| names.iter().any(|name| name == wanted);
        all.iter().filter(has).map(|(certificate, _)| *certificate).collect()
    };
    let exact = name.map(with).unwrap_or_default();
    let wildcard = || name.and_then(|name| Some(with(&format!("*.{}", name.split_once('.')?.1)))).unwrap_or_default();
    let found = if exact.is_empty() { wildcard() } else { exact };
    let is_for_it = !found.is_empty();
    Ok((if is_for_it { found } else { model.certificates.first().into_iter().collect() }, is_for_it))
}

/// Whether the keys of this connection are logged.
fn is_logged(wanted: &model::KeyLog, arrival: &Arrival) -> bool {
    let is_in = |ranges: &[Cidr], end: Option<SocketAddr>| {
        ranges.is_empty() || end.is_some_and(|end| ranges.iter().any(|range| range.contains(end.ip())))
    };
    is_in(&wanted.local_address_range, arrival.local) && is_in(&wanted.remote_address_range, arrival.remote)
}

/// What seals the tickets of sessions, if there are any.
fn ticketer(
    model: &DownstreamTls,
    context: &mut Context,
    before: Option<&Server>,
    scope: Scope,
) -> Result<Option<Arc<dyn ProducesTickets>>, Faults> {
    // In a session that goes on the client's certificate is not looked at again.
    if !model.session_tickets || model.client_certificate.is_some() {
        return Ok(None);
    }
    let unusable = |error: String| Fault { place: model.place, message: format!("session tickets: {error}") };
    if !model.session_ticket_keys.is_empty() {
        let keys = context.ticket_keys(&model.session_ticket_keys)?;
        let ticketer = Ticketer::new(&keys, scope).ok_or_else(|| unusable("no keys can be derived".into()))?;
        return Ok(Some(ticketer));
    }
    let before = before.filter(|before| model.continues(&before.model)).and_then(|before| before.ticketer.clone());
    let fresh = || aws_lc_rs::Ticketer::new().map_err(|error| unusable(error.to_string()));
    Ok(Some(before.map_or_else(fresh, Ok)?))
}

/// A certificate that must not be shown without a staple has one.
fn check_staple(pair: &Pair, certificate: &Certificate) -> Result<(), Fault> {
    if !pair.must_staple || pair.staple().is_some() {
        return Ok(());
    }
    let path = certificate.chain.path.display();
    let message = format!(
        "the certificate in {path} must not be shown without an OCSP staple (must-staple), and has none; add ocsp_staple, a file \
         that is fetched from its authority before it is out of date"
    );
    Err(Fault { place: certificate.chain.place, message })
}

/// The names that a certificate is for, in lower case.
fn names(leaf: &[u8], certificate: &Certificate) -> Result<Vec<String>, Fault> {
    let unreadable = |error: String| {
        let message = format!("the certificate in {} cannot be read: {error}", certificate.chain.path.display());
        Fault { place: certificate.chain.place, message }
    };
    let (_, parsed) = x509_parser::parse_x509_certificate(leaf).map_err(|error| unreadable(error.to_string()))?;
    let names = parsed.subject_alternative_name().ok().flatten();
    let names = names.iter().flat_map(|extension| &extension.value.general_names);
    let mut names: Vec<&str> = names
        .filter_map(|name| match name {
            x509_parser::extensions::GeneralName::DNSName(name) => Some(*name),
            _ => None,
        })
        .collect();
    // Envoy: the common name counts where there is no alternative one.
    if names.is_empty() {
        let common = parsed.subject().iter_common_name().filter_map(|name| name.as_str().ok());
        names.extend(common);
    }
    Ok(names.into_iter().map(|name| name.trim_end_matches('.').to_ascii_lowercase()).collect())
}
