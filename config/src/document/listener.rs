//! `[[listeners]]` and their filter chains.

use super::http::Http;
use crate::model::{Address, Cidr};
use crate::reader::{Int, List, Name, table};

table! {
    /// A socket that accepts connections. It has either `http` (one filter chain for every connection: the short form)
    /// or `filter_chains` (Envoy: Listener).
    Listener at "listeners[]", example "listeners.toml" {
        /// Name in logs and in the admin endpoint; unique.
        name: Name, optional "the address";
        /// Where it listens; unique. Port 0 lets the kernel choose.
        address: Address, required;
        /// Part of the statistics' names after `listener.`.
        stat_prefix: Name, optional "the address with `:` replaced by `_`";
        /// Connections on this listener in the whole process; above it, new ones are closed.
        max_connections: Int<1, { u64::MAX }>, optional "no limit of its own";
        /// HTTP for every connection. Excludes `filter_chains`.
        http: Http, optional "see `filter_chains`";
        /// What to do with a connection, by its addresses: the first chain that matches serves it; without one it is
        /// closed. Excludes `http`.
        filter_chains: List<FilterChain>, optional "one chain with `http`";
    }
}

table! {
    /// What serves the connections that match it (Envoy: FilterChain).
    FilterChain at "listeners[].filter_chains[]", example "listeners.toml" {
        /// Name in logs; unique in the listener.
        name: Name, optional "`filter_chain_` and its index";
        /// Which connections. Only the last chain may leave it out.
        r#match: FilterChainMatch, optional "every connection";
        /// HTTP for these connections.
        http: Http, required;
    }
}

table! {
    /// Which connections a chain serves; all that is given must hold (Envoy: FilterChainMatch).
    FilterChainMatch at "listeners[].filter_chains[].match", example "listeners.toml" {
        /// Ranges of the peer's address; one must hold it.
        source_prefix_ranges: List<Cidr>, optional "every source";
        /// Ports that the connection was made to; one must be it.
        destination_ports: List<Int<1, 65535>>, optional "every port";
    }
}
