//! What command operators can say about an exchange, for the access log and for header values.

use super::connection::Connection;
use super::manager::Hcm;
use super::serving::Ending;
use crate::http::Exchange;
use crate::http::format::{Record, ResponseFlags};
use crate::net::tls::Known;

/// `ending`: how the exchange ends, as far as that is known.
pub(super) fn record<'a>(
    hcm: &'a Hcm,
    connection: &'a Connection,
    exchange: &'a Exchange,
    ending: Option<&Ending>,
) -> Record<'a> {
    let route = exchange.facts.route.map(|at| (hcm.table.route(at), hcm.table.virtual_host(at)));
    let cluster = exchange.facts.cluster.map(|index| &hcm.clusters[index]);
    let (request, response) = (&exchange.request, &exchange.response);
    let (facts, last) = (&exchange.facts, &exchange.last);
    Record {
        connection: None,
        times: facts.times,
        try_times: last.times,
        now: hcm.shard.reactor.now(),
        random: Some(hcm.shard.reactor.random()),
        request: (request.is_whole || request.has_line).then(|| (&request.head, request.view())),
        response: response.is_whole.then(|| (&response.head, response.view())),
        response_trailers: Some(&response.trailers),
        protocol: request.is_whole.then(|| request.head.version.as_str()),
        // While a response's head is edited, its status has not been sent yet.
        response_code: if facts.status == 0 && response.is_whole { response.head.status } else { facts.status },
        response_code_details: ending.map(|ending| ending.details),
        upgrade_dropped: facts.upgrade_dropped,
        response_flags: ending.map_or(ResponseFlags::empty(), |ending| ending.flags) | facts.flags,
        received: facts.received,
        sent: facts.sent,
        wire: facts.wire,
        try_wire: last.wire,
        upstream_host: last.endpoint.as_deref(),
        upstream_host_name: last.endpoint_hostname.as_deref(),
        upstream_cluster: cluster.map(|cluster| cluster.config.name.as_str()),
        upstream_protocol: last.protocol,
        upstream_remote_address: last.remote,
        upstream_local_address: last.local,
        upstream_connection_id: last.connection,
        upstream_attempts: facts.tries,
        upstream_tls: last.tls.as_deref().map(Known::Endpoint),
        upstream_transport_failure: last.transport_failure.as_deref(),
        downstream_remote_address: facts.client.or(connection.arrival.remote),
        downstream_direct_remote_address: connection.arrival.remote,
        downstream_local_address: connection.arrival.local,
        downstream_tls: connection.stream.tls().map(Known::Live),
        requested_server_name: connection.arrival.server_name(),
        fingerprints: connection.arrival.fingerprints().map(|fingerprints| &**fingerprints),
        route_name: route.and_then(|(route, _)| route.name.as_deref()),
        virtual_host_name: route.map(|(_, host)| &*host.name),
        filter_chain_name: Some(&hcm.chain),
        connection_id: connection.arrival.id,
        local_reply_body: facts.local_body.of(response.view()),
        trace: exchange.trace(),
    }
}
