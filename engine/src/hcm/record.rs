//! What command operators can say about an exchange, for the access log and for header values.

use super::Hcm;
use super::connection::Connection;
use super::exchange::Ending;
use crate::http::Exchange;
use crate::http::format::{Record, ResponseFlags};

/// `ending`: how the exchange ends, as far as that is known.
pub(super) fn record<'a>(
    hcm: &'a Hcm,
    connection: &'a Connection,
    exchange: &'a Exchange,
    ending: Option<&Ending>,
) -> Record<'a> {
    let route = exchange.route.map(|at| (hcm.table.route(at), hcm.table.virtual_host(at)));
    let cluster = exchange.cluster.map(|index| &hcm.clusters[index]);
    Record {
        times: exchange.times,
        now: hcm.shard.reactor.now(),
        random: Some(hcm.shard.reactor.random()),
        request: exchange.has_request.then(|| (&exchange.request, exchange.request_view())),
        response: exchange.has_response.then(|| (&exchange.response, exchange.response_view())),
        protocol: exchange.has_request.then(|| exchange.request.version.as_str()),
        // While a response's head is edited, its status has not been sent yet.
        response_code: if exchange.status == 0 && exchange.has_response {
            exchange.response.status
        } else {
            exchange.status
        },
        response_code_details: ending.map(|ending| ending.details),
        response_flags: ending.map_or(ResponseFlags::empty(), |ending| ending.flags) | exchange.flags,
        received: exchange.received,
        sent: exchange.sent,
        wire: exchange.wire,
        upstream_host: exchange.endpoint.as_deref(),
        upstream_host_name: exchange.endpoint_hostname.as_deref(),
        upstream_cluster: cluster.map(|cluster| cluster.config.name.as_str()),
        upstream_protocol: exchange.upstream_connection.map(|_| "HTTP/1.1"),
        upstream_remote_address: exchange.upstream_remote,
        upstream_local_address: exchange.upstream_local,
        upstream_connection_id: exchange.upstream_connection,
        upstream_attempts: exchange.attempts,
        upstream_transport_failure: exchange.connect_error,
        downstream_remote_address: exchange.client.or(connection.remote),
        downstream_direct_remote_address: connection.remote,
        downstream_local_address: connection.local,
        route_name: route.and_then(|(route, _)| route.name.as_deref()),
        virtual_host_name: route.map(|(_, host)| &*host.name),
        filter_chain_name: Some(&hcm.chain),
        connection_id: connection.id,
        local_reply_body: exchange.local_body.of(exchange.response_view()),
    }
}
