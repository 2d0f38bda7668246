//! One pick: what the request asks for, and what the balancers on the way down need to know.

use crate::base::clock::Nanos;
use crate::base::random::Random;
use crate::cluster::Endpoint;
use crate::stats::ClusterStats;
use std::rc::Rc;
use std::sync::Arc;

/// What a request asks for.
#[derive(Clone, Copy, Default)]
pub struct PickContext<'a> {
    /// For the consistent hashes. Without a hash, and with another policy, the pick is random.
    pub hash: Option<u64>,
    /// The subset to pick from, sorted by key.
    pub metadata_match: &'a [(String, String)],
    /// Endpoints to avoid: those of the previous tries.
    pub tried: &'a [Rc<Endpoint>],
    /// The number of further picks to find an endpoint that is not in `tried`. The last pick is taken in any case (Envoy:
    /// host_selection_retry_max_attempts).
    pub max_attempts: u32,
    /// Priorities to leave out while others have capacity (Envoy: previous_priorities).
    pub excluded_priorities: &'a [u32],
}

/// Why no endpoint may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoHost {
    /// There is none: no name of the cluster has an address. (A file in which a cluster names no endpoint is refused.)
    Dns,
    /// None is in the subset that is asked for, and nothing stands in for it.
    Subset,
    /// Health checks, outlier detection or the configuration take all of them out.
    Unhealthy,
}

impl NoHost {
    /// Envoy's response code details, with the reason.
    pub fn details(self) -> &'static str {
        match self {
            Self::Dns => "no_healthy_upstream{dns}",
            Self::Subset => "no_healthy_upstream{subset}",
            Self::Unhealthy => "no_healthy_upstream{unhealthy}",
        }
    }
}

/// One pick on its way down.
#[derive(Clone, Copy)]
pub(super) struct Picking<'a> {
    pub context: &'a PickContext<'a>,
    pub endpoints: &'a [Rc<Endpoint>],
    pub random: &'a Random,
    pub now: Nanos,
    pub stats: &'a ClusterStats,
    /// The request's hash or a random one. Only for the consistent hashes.
    pub hash: u64,
    /// Picks for this request before this one.
    pub attempt: u32,
}

impl Picking<'_> {
    pub fn was_tried(&self, index: u32) -> bool {
        let host = &self.endpoints[index as usize].host;
        // Also by name: a host that is described again between two tries is another object.
        self.context.tried.iter().any(|tried| Arc::ptr_eq(&tried.host, host) || *tried.name == *host.name)
    }
}
