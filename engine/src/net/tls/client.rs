//! What a cluster asks of its endpoints and shows them.

use super::Facts;
use super::certificates::is_slow;
use super::crl::Subject;
use super::current::Current;
use super::failure::{self, Failure};
use super::load::{Fault, Faults, keep};
use super::parameters;
use super::tickets::LIFETIME;
use super::units::Context;
use super::verify::EndpointVerifier;
use crate::stats::ClusterTlsStats;
use ringway_config::model::UpstreamTls;
use rustls::client::{ClientSessionStore, Resumption, Tls12ClientSessionValue, Tls13ClientSessionValue};
use rustls::pki_types::ServerName;
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, Error, NamedGroup};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::fmt;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};

/// Loaded from a configuration, and shared by all shards.
#[derive(Debug)]
pub struct Client {
    config: ClientConfig,
    sni: Option<ServerName<'static>>,
    resumes: bool,
    /// The dates of an endpoint's certificate count.
    checks_dates: bool,
    own: Option<Arc<CertifiedKey>>,
}

impl Client {
    /// # Errors
    /// All files that cannot be used.
    pub fn load(model: &UpstreamTls, context: &mut Context) -> Result<Arc<Self>, Vec<Fault>> {
        let place = model.validation.ca.as_ref().map_or(model.place, |ca| ca.place);
        let fault = |message: String| Fault { place, message };
        let provider = parameters::provider(&model.parameters);
        let mut faults = Faults::new();
        let verifier = EndpointVerifier::load(&model.validation, model.place, &provider, context);
        let verifier = keep(&mut faults, verifier);
        let key = model.certificate.as_ref().map(|certificate| context.pair(certificate, &provider, |_| Ok(())));
        let key = key.map(|key| keep(&mut faults, key));
        let (Some(verifier), None | Some(Some(_))) = (verifier, &key) else { return Err(faults) };
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_protocol_versions(&parameters::versions(&model.parameters))
            .map_err(|error| fault(error.to_string()))?
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(verifier));
        let own = key.flatten().map(|pair| pair.key.clone());
        let mut config = match &own {
            None => builder.with_no_client_auth(),
            Some(own) => builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(CertifiedKey::clone(own)))),
        };
        config.time_provider = Arc::new(context.wall.clone());
        config.resumption = Resumption::disabled();
        config.alpn_protocols = model.alpn_protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
        let sni = match &model.sni {
            None => None,
            Some(name) => Some(ServerName::try_from(name.clone()).map_err(|error| fault(error.to_string()))?),
        };
        // In a session that goes on the endpoint's certificate is not looked up again.
        let resumes = model.session_resumption && model.validation.crl.is_none();
        let validation = &model.validation;
        let checks_dates = !validation.accept_untrusted && (validation.ca.is_some() || !validation.has_pins());
        Ok(Arc::new(Self { config, sni, resumes, checks_dates, own }))
    }
}

/// What a connection begins with.
pub(super) struct Prepared {
    pub config: Arc<ClientConfig>,
    /// That the endpoint must have.
    pub name: ServerName<'static>,
    /// What this side shows where it is asked.
    pub own: Option<Arc<CertifiedKey>>,
}

impl Prepared {
    /// Signing takes milliseconds.
    pub(super) fn signs_slowly(&self) -> bool {
        self.own.as_deref().is_some_and(is_slow)
    }

    /// The name in the first message (SNI), where the endpoint has one (RFC 6066 section 3).
    pub(super) fn asks_for(&self) -> Option<Box<str>> {
        match &self.name {
            ServerName::DnsName(name) => Some(name.as_ref().into()),
            _ => None,
        }
    }
}

/// Connects one shard to one endpoint, under one name. Sessions are resumed only there.
pub struct Connector {
    current: Arc<Current<Client>>,
    hostname: Option<Box<str>>,
    stats: Option<Arc<ClusterTlsStats>>,
    /// The endpoint wants HTTP/1.1.
    without_http2: Cell<bool>,
    prepared: RefCell<Option<Offer>>,
}

/// What connections begin with for some time.
struct Offer {
    client: Arc<Client>,
    /// With the sessions that came of it.
    config: Arc<ClientConfig>,
    /// In seconds since 1970: when no session goes on any more.
    ends: Cell<u64>,
}

impl Connector {
    /// `hostname`: the endpoint's, if it has one; a port behind it does not count.
    /// `stats`: where handshakes count, if they do.
    pub fn new(
        current: &Arc<Current<Client>>,
        hostname: Option<&str>,
        stats: Option<Arc<ClusterTlsStats>>,
    ) -> Rc<Self> {
        let without_port = |name: &str| match name.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => Box::from(host),
            _ => Box::from(name),
        };
        let hostname = hostname.map(without_port);
        let (without_http2, prepared) = (Cell::default(), RefCell::default());
        Rc::new(Self { current: current.clone(), hostname, stats, without_http2, prepared })
    }

    /// The same for another name, with sessions of its own. Empty: for the endpoint's own name.
    pub fn named(&self, name: &str) -> Rc<Self> {
        let hostname = if name.is_empty() { self.hostname.clone() } else { Some(name.into()) };
        Rc::new(Self {
            current: self.current.clone(),
            hostname,
            stats: self.stats.clone(),
            without_http2: self.without_http2.clone(),
            prepared: RefCell::default(),
        })
    }

    /// HTTP/2 is not offered from now on.
    pub fn give_up_http2(&self) {
        if !self.without_http2.replace(true) {
            self.prepared.take();
        }
    }

    pub(super) fn count(&self, outcome: Result<&Facts, &Failure>) {
        if let Some(stats) = &self.stats {
            failure::count(&stats.cells(), outcome);
        }
    }

    /// Where a connection counts that fails later.
    pub(super) fn stats(&self) -> Option<&Arc<ClusterTlsStats>> {
        self.stats.as_ref()
    }

    /// What an endpoint has shown in a full handshake: no session outlives it.
    pub(super) fn has_seen(&self, certificate: &[u8]) {
        let prepared = self.prepared.borrow();
        let Some(offer) = prepared.as_ref().filter(|offer| offer.client.checks_dates) else { return };
        if let Some(until) = Subject::of(certificate).and_then(|it| it.valid_until()) {
            offer.ends.set(offer.ends.get().min(until.as_secs().saturating_add(1)));
        }
    }

    /// For the next connection.
    pub(super) fn prepare(&self, address: Option<IpAddr>) -> Result<Prepared, Failure> {
        let client = self.current.get();
        let name = match (&client.sni, self.hostname.as_deref()) {
            (Some(name), _) => name.clone(),
            (None, Some(name)) => ServerName::try_from(name.to_owned())
                .map_err(|_| Error::General(format!("{name} is no name that a certificate could be for")))?,
            (None, None) => match address {
                Some(address) => ServerName::from(address),
                None => return Err(Error::General("an endpoint at a Unix socket needs `sni`".into()).into()),
            },
        };
        let mut prepared = self.prepared.borrow_mut();
        let now = client.config.time_provider.current_time().ok_or(Error::FailedToGetCurrentTime)?.as_secs();
        // Each resumption may bring new tickets, and in a session that goes on the endpoint's certificate is not looked at again.
        if let Some(offer) = &*prepared
            && Arc::ptr_eq(&offer.client, &client)
            && now < offer.ends.get()
        {
            return Ok(Prepared { config: offer.config.clone(), name, own: client.own.clone() });
        }
        let mut config = client.config.clone();
        if self.without_http2.get() {
            config.alpn_protocols.retain(|name| name != b"h2");
        }
        if client.resumes {
            config.resumption = Resumption::store(Arc::new(Sessions::default()));
        }
        let (config, own) = (Arc::new(config), client.own.clone());
        let ends = Cell::new(now + u64::from(LIFETIME));
        *prepared = Some(Offer { client, config: config.clone(), ends });
        Ok(Prepared { config, name, own })
    }
}

/// Sessions with one endpoint under one name, the newest ones: each is used once.
#[derive(Default)]
struct Sessions(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    group: Option<NamedGroup>,
    tls12: Option<Tls12ClientSessionValue>,
    tls13: VecDeque<Tls13ClientSessionValue>,
}

/// Tickets kept for an endpoint.
const TICKETS_MAX: usize = 4;

impl Sessions {
    fn with<R>(&self, f: impl FnOnce(&mut Kept) -> R) -> R {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions")
    }
}

// All have one name: each name of an endpoint has a connector of its own.
impl ClientSessionStore for Sessions {
    fn set_kx_hint(&self, _: ServerName<'static>, group: NamedGroup) {
        self.with(|kept| kept.group = Some(group));
    }

    fn kx_hint(&self, _: &ServerName<'_>) -> Option<NamedGroup> {
        self.with(|kept| kept.group)
    }

    fn set_tls12_session(&self, _: ServerName<'static>, value: Tls12ClientSessionValue) {
        self.with(|kept| kept.tls12 = Some(value));
    }

    fn tls12_session(&self, _: &ServerName<'_>) -> Option<Tls12ClientSessionValue> {
        self.with(|kept| kept.tls12.clone())
    }

    fn remove_tls12_session(&self, _: &ServerName<'static>) {
        self.with(|kept| kept.tls12 = None);
    }

    fn insert_tls13_ticket(&self, _: ServerName<'static>, value: Tls13ClientSessionValue) {
        self.with(|kept| {
            kept.tls13.push_back(value);
            if kept.tls13.len() > TICKETS_MAX {
                kept.tls13.pop_front();
            }
        });
    }

    fn take_tls13_ticket(&self, _: &ServerName<'static>) -> Option<Tls13ClientSessionValue> {
        self.with(|kept| kept.tls13.pop_back())
    }
}
