//! TLS of a configuration, loaded from its files: for each filter chain and each cluster.

use super::plan::Plan;
use crate::base::clock::Wall;
use crate::net::tls::{self, Client, Context, Current, Fault, Server};
use ringway_config::model::{Config, Diagnostic, DownstreamTls, Need, Needed, UpstreamTls};
use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};

/// What was loaded.
pub struct Transports {
    /// For each listener, for each chain.
    pub servers: Vec<Vec<Option<Arc<Current<Server>>>>>,
    /// For each cluster, for each way to reach an endpoint.
    pub clients: Vec<Vec<Option<Arc<Client>>>>,
    /// All files.
    pub files: Arc<Current<Context>>,
    pub warnings: Vec<Diagnostic>,
}

impl Transports {
    /// `before`: the plan in force. A chain of the same name that asked for the same goes on with its session tickets.
    ///
    /// # Errors
    /// All files that cannot be used.
    pub fn load(config: &Config, before: Option<&Plan>, wall: Wall) -> Result<Self, Vec<Diagnostic>> {
        let mut faults = Vec::new();
        let mut context = Context::at(wall);
        let old: HashMap<_, _> = before.into_iter().flat_map(old_servers).collect();
        let mut servers: Vec<Vec<Option<_>>> = Vec::new();
        for listener in &config.listeners {
            let load = |chain: &ringway_config::model::FilterChain| {
                let tls = chain.tls.as_ref()?;
                let old = old.get(&(&listener.address, &*chain.name)).map(|server| server.get());
                let loaded = Server::load(tls, &mut context, old.as_deref()).map_err(|found| faults.extend(found));
                loaded.ok().map(Current::new)
            };
            servers.push(listener.filter_chains.iter().map(load).collect());
        }
        let mut load =
            |tls: Option<&UpstreamTls>| Client::load(tls?, &mut context).map_err(|found| faults.extend(found)).ok();
        let clients: Vec<Vec<Option<_>>> =
            config.clusters.iter().map(|cluster| cluster.transports().map(&mut load).collect()).collect();
        if faults.is_empty() {
            if clients.iter().flatten().any(Option::is_some) || servers.iter().flatten().any(Option::is_some) {
                tls::gather_entropy();
            }
            let warnings = std::mem::take(&mut context.warnings);
            let warnings = warnings.into_iter().map(|fault| located(&config.needs, fault)).collect();
            return Ok(Self { servers, clients, files: Current::new(context.finish()), warnings });
        }
        Err(faults.into_iter().map(|fault| located(&config.needs, fault)).collect())
    }
}

type Place<'a> = (&'a ringway_config::model::Address, &'a str);

fn old_servers(plan: &Plan) -> impl Iterator<Item = (Place<'_>, &Arc<Current<Server>>)> {
    let listeners = plan.config.listeners.iter().zip(&plan.servers);
    listeners.flat_map(|(listener, servers)| {
        let chains = listener.filter_chains.iter().zip(servers);
        chains.filter_map(|(chain, server)| Some(((&listener.address, &*chain.name), server.as_ref()?)))
    })
}

/// What of a plan is loaded again when its files change. It keeps no plan alive: what has been replaced is not renewed.
pub struct Renewable {
    needs: Arc<[Need]>,
    servers: Vec<(Arc<DownstreamTls>, Weak<Current<Server>>)>,
    clients: Vec<(UpstreamTls, Weak<Current<Client>>)>,
    files: Arc<Current<Context>>,
}

/// What has become of files that have changed.
#[derive(Debug, Default)]
pub struct Renewed {
    /// In use from now on.
    pub taken: BTreeSet<PathBuf>,
    /// Why others are not, and what was loaded from them before stays in use.
    pub refused: Vec<Diagnostic>,
    pub warnings: Vec<Diagnostic>,
}

impl Renewable {
    pub fn new(plan: &Plan) -> Self {
        let chains = plan.config.listeners.iter().flat_map(|listener| &listener.filter_chains);
        let servers = chains.zip(plan.servers.iter().flatten());
        let clusters = plan.config.clusters.iter().zip(&plan.clusters);
        let clients = clusters.flat_map(|(cluster, shared)| cluster.transports().zip(&shared.transports));
        Self {
            servers: servers
                .filter_map(|(chain, current)| Some((chain.tls.clone()?, Arc::downgrade(current.as_ref()?))))
                .collect(),
            clients: clients
                .filter_map(|(tls, current)| Some((tls?.clone(), Arc::downgrade(current.as_ref()?))))
                .collect(),
            files: plan.files.clone(),
            needs: plan.config.needs.clone(),
        }
    }

    /// All files.
    pub fn files(&self) -> BTreeSet<PathBuf> {
        self.files.get().files()
    }

    /// Whether a file has changed since it was loaded.
    pub fn is_stale(&self) -> bool {
        self.files.get().is_stale()
    }

    /// What has come to its end by now, and had not at `behind`, in seconds since the epoch; with the time that it is.
    pub fn ended(&self, behind: Option<i64>) -> (BTreeSet<String>, i64) {
        let files = self.files.get();
        let now = files.now();
        (behind.map(|behind| files.ended(behind, now)).unwrap_or_default(), now)
    }

    /// Loads what has changed. New handshakes see it at once, on all shards; connections that are open stay as they are. With
    /// `is_patient`, what cannot be used is loaded again the next time.
    pub fn renew(&mut self, is_patient: bool) -> Renewed {
        let before = self.files.get();
        if !before.is_stale() {
            return Renewed::default();
        }
        let context = Context::after(&before);
        let mut context = if is_patient { context.patient() } else { context };
        let servers: Vec<_> = self
            .servers
            .iter()
            .filter_map(|(model, current)| {
                let current = current.upgrade()?;
                let loaded = Server::load(model, &mut context, Some(&current.get()));
                Some((model, current, loaded))
            })
            .collect();
        let clients: Vec<_> = self
            .clients
            .iter()
            .filter_map(|(model, current)| Some((model, current.upgrade()?, Client::load(model, &mut context))))
            .collect();
        let is_renewed = |files: Vec<&Path>| files.into_iter().any(|file| context.renewed.contains(file));
        let mut refused = Vec::new();
        for (model, current, loaded) in servers {
            match loaded {
                Ok(server) if is_renewed(model.files()) => current.replace(server),
                Ok(_) => {}
                Err(faults) => refused.extend(faults),
            }
        }
        for (model, current, loaded) in clients {
            match loaded {
                Ok(client) if is_renewed(model.files()) => current.replace(client),
                Ok(_) => {}
                Err(faults) => refused.extend(faults),
            }
        }
        refused.append(&mut context.refused);
        let located = |faults: Vec<Fault>| faults.into_iter().map(|fault| located(&self.needs, fault)).collect();
        let renewed = Renewed {
            taken: std::mem::take(&mut context.renewed),
            refused: located(refused),
            warnings: located(std::mem::take(&mut context.warnings)),
        };
        self.files.replace(context.finish());
        renewed
    }
}

/// The fault with the line of the file that it is about.
fn located(needs: &[Need], fault: Fault) -> Diagnostic {
    let is_there = |at: &Diagnostic| (at.line, at.column) == (fault.place.line as usize, fault.place.column as usize);
    let mut needs = needs.iter().filter(|need| matches!(need.what, Needed::Pem(_) | Needed::Authorities));
    let need = needs.clone().find(|need| is_there(&need.at)).or_else(|| needs.next());
    let mut diagnostic = need.map_or_else(Diagnostic::default, |need| need.at.clone());
    diagnostic.message = fault.message;
    diagnostic
}
