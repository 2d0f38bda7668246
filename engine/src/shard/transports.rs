//! TLS of a configuration, loaded from its files: for each filter chain and each cluster.

use super::plan::Plan;
use crate::net::tls::{Client, Context, Fault, Server};
use ringway_config::model::{Config, Diagnostic, Needed};
use std::collections::HashMap;
use std::sync::Arc;

/// What was loaded.
pub struct Transports {
    /// For each listener, for each chain.
    pub servers: Vec<Vec<Option<Arc<Server>>>>,
    /// For each cluster.
    pub clients: Vec<Option<Arc<Client>>>,
    pub warnings: Vec<Diagnostic>,
}

impl Transports {
    /// `before`: the plan in force. A chain of the same name that asked for the same goes on with its session tickets.
    ///
    /// # Errors
    /// All files that cannot be used.
    pub fn load(config: &Config, before: Option<&Plan>) -> Result<Self, Vec<Diagnostic>> {
        let mut faults = Vec::new();
        let mut context = Context::default();
        let old: HashMap<_, _> = before.into_iter().flat_map(old_servers).collect();
        let mut servers = Vec::new();
        for listener in &config.listeners {
            let load = |chain: &ringway_config::model::FilterChain| {
                let tls = chain.tls.as_ref()?;
                let old = old.get(&(&listener.address, &*chain.name)).map(|server| &***server);
                Server::load(tls, &mut context, old).map_err(|fault| faults.push(fault)).ok()
            };
            servers.push(listener.filter_chains.iter().map(load).collect());
        }
        let load = |cluster: &ringway_config::model::Cluster| {
            let tls = cluster.tls.as_ref()?;
            Client::load(tls, &mut context).map_err(|fault| faults.push(fault)).ok()
        };
        let clients = config.clusters.iter().map(load).collect();
        if faults.is_empty() {
            let warnings = context.warnings.into_iter().map(|fault| located(config, fault)).collect();
            return Ok(Self { servers, clients, warnings });
        }
        Err(faults.into_iter().map(|fault| located(config, fault)).collect())
    }
}

type Place<'a> = (&'a ringway_config::model::Address, &'a str);

fn old_servers(plan: &Plan) -> impl Iterator<Item = (Place<'_>, &Arc<Server>)> {
    let listeners = plan.config.listeners.iter().zip(&plan.servers);
    listeners.flat_map(|(listener, servers)| {
        let chains = listener.filter_chains.iter().zip(servers);
        chains.filter_map(|(chain, server)| Some(((&listener.address, &*chain.name), server.as_ref()?)))
    })
}

/// The fault with the line of the file that it is about.
fn located(config: &Config, fault: Fault) -> Diagnostic {
    let is_there = |at: &Diagnostic| (at.line, at.column) == (fault.place.line as usize, fault.place.column as usize);
    let mut needs = config.needs.iter().filter(|need| matches!(need.what, Needed::Pem(_) | Needed::Authorities));
    let need = needs.clone().find(|need| is_there(&need.at)).or_else(|| needs.next());
    let mut diagnostic = need.map_or_else(Diagnostic::default, |need| need.at.clone());
    diagnostic.message = fault.message;
    diagnostic
}
