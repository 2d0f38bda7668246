//! `[[clusters]]` and their endpoints.

use toml::de::DeValue;

use super::read::{Input, List, Located, Read, Slot};
use super::scalar::{CountOrOff, Int, OneOf};
use super::shape::Shape;
use super::table::table;
use super::text::Name;
use super::units::{Time, Timeout};
use crate::diagnostic::Problems;
use crate::model::{Address, LbPolicy};

table! {
    /// Servers that can answer the same requests (Envoy: Cluster). The list is static: IP addresses or unix sockets,
    /// not host names.
    Cluster at "clusters[]", example "clusters.toml" {
        /// Name that routes use, and part of the statistics' names after `cluster.`; unique.
        name: Name, required;
        /// The servers, at least one; each an address, or a table with a weight.
        endpoints: List<EndpointEntry>, required;
        /// How the endpoint for a request is chosen.
        lb_policy: OneOf<LbPolicy>, default "\"round_robin\"";
        /// Time for a connection to be made. Status 503.
        connect_timeout: Time<1>, default "\"5s\"";
        /// Time that a connection stays unused in the pool.
        idle_timeout: Timeout, default "\"1h\"";
        /// Unused connections that each shard keeps for each endpoint.
        max_idle_connections: Int<0, 1_000_000>, default "1024";
        /// Requests after which a connection is closed.
        max_requests_per_connection: CountOrOff, default "\"off\"";
    }
}

table! {
    /// A server of a cluster, with its weight.
    Endpoint at "clusters[].endpoints[]", example "clusters.toml" {
        /// Where it listens.
        address: Address, required;
        /// Its share of the requests, relative to the other endpoints.
        weight: Int<1, 128>, default "1";
    }
}

/// An endpoint, written as an address alone or as a table.
#[derive(Clone, Debug)]
pub struct EndpointEntry {
    pub address: Slot<Address>,
    pub weight: u32,
}

impl Read for EndpointEntry {
    fn shape() -> Shape {
        Shape::Either(vec![Shape::Address, Endpoint::shape()])
    }

    fn read(input: &Input<'_, '_>, problems: &mut Problems<'_>) -> Option<Self> {
        match input.value {
            DeValue::String(_) => {
                let value = Address::read(input, problems)?;
                Some(Self { address: Slot::Given(Located { value, origin: input.origin.clone() }), weight: 1 })
            }
            DeValue::Table(_) => {
                let endpoint = Endpoint::read(input, problems)?;
                Some(Self { address: endpoint.address, weight: endpoint.weight.value.to_u32() })
            }
            _ => {
                input.refuse_type::<Self>(problems);
                None
            }
        }
    }
}
