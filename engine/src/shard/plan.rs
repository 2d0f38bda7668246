//! A configuration prepared once for all shards: route tables, log formats, limits.

use crate::hcm::access_log::{CompiledFormat, CompiledLog, OpenError, Writer};
use crate::listener::ConnectionLimit;
use crate::router::RouteTable;
use ringway_config::model::{self, Address, NetworkFilter};
use std::collections::HashMap;
use std::sync::Arc;

/// Immutable, and shared by all shards.
pub struct Plan {
    pub config: model::Config,
    /// For each listener, for each chain.
    pub chains: Vec<Vec<HcmPlan>>,
    /// For each listener; the same object as in the plan before, so that its count goes on.
    pub limits: Vec<Arc<ConnectionLimit>>,
    /// Of the process.
    pub global_limit: Arc<ConnectionLimit>,
}

pub struct HcmPlan {
    pub table: Arc<RouteTable>,
    pub logs: Vec<CompiledLog>,
}

impl Plan {
    /// `descriptors`: how many the process may open. Unless the configuration says otherwise, half of them, less a
    /// reserve for files and the admin endpoint, are for downstream connections: each may need one upstream.
    ///
    /// # Errors
    /// An access log cannot be opened.
    pub fn new(
        config: model::Config,
        writer: &Writer,
        descriptors: u64,
        before: Option<&Self>,
    ) -> Result<Arc<Self>, OpenError> {
        let mut chains = Vec::new();
        for listener in &config.listeners {
            let mut plans = Vec::new();
            for chain in &listener.filter_chains {
                let NetworkFilter::Http(hcm) = &chain.filter;
                let mut logs = Vec::new();
                for log in &hcm.access_logs {
                    logs.push(CompiledLog { format: CompiledFormat::new(&log.format), sink: writer.open(&log.sink)? });
                }
                plans.push(HcmPlan { table: Arc::new(RouteTable::new(&hcm.virtual_hosts)), logs });
            }
            chains.push(plans);
        }
        let kept: HashMap<&Address, &Arc<ConnectionLimit>> = before
            .map(|plan| plan.config.listeners.iter().map(|listener| &listener.address).zip(&plan.limits).collect())
            .unwrap_or_default();
        let limits = config.listeners.iter().map(|listener| match kept.get(&listener.address) {
            Some(limit) => {
                limit.set(listener.max_connections);
                Arc::clone(limit)
            }
            None => ConnectionLimit::new(listener.max_connections),
        });
        let limits = limits.collect();
        let reserve = (descriptors / 8).min(64);
        let max = Some(config.runtime.max_connections.unwrap_or((descriptors - reserve) / 2));
        let global_limit = match before {
            Some(plan) => {
                plan.global_limit.set(max);
                plan.global_limit.clone()
            }
            None => ConnectionLimit::new(max),
        };
        Ok(Arc::new(Self { config, chains, limits, global_limit }))
    }
}
