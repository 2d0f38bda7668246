//! From an exchange to the access log's record.

use super::Hcm;
use super::access_log::{EditedField, Record};
use super::connection::Connection;
use super::exchange::Ending;
use crate::http::Exchange;
use crate::router::Action;
use smallvec::SmallVec;

/// Write the exchange's line to each log.
pub(super) fn write(hcm: &Hcm, connection: &Connection, exchange: &Exchange, ending: &Ending) {
    if hcm.logs.is_empty() {
        return;
    }
    let now = hcm.shard.reactor.now();
    let start = exchange.times.start;
    let since_start = |at: u64| at.saturating_sub(start) / 1000;
    let bytes = exchange.request_bytes.as_slice();
    // Without a whole head its index means nothing.
    let parsed = exchange.request.len > 0 && exchange.request.len as usize <= bytes.len();
    let route = exchange.route.map(|at| (hcm.table.route(at), hcm.table.virtual_host(at)));
    let forward = match route.map(|(route, _)| &route.action) {
        Some(Action::Forward(forward)) => Some(forward),
        _ => None,
    };
    let cluster = forward.map(|forward| &hcm.clusters[forward.cluster]);
    let mut request_edits = SmallVec::<[EditedField<'_>; 4]>::new();
    if let Some(id) = &exchange.request_id {
        request_edits.push(("x-request-id", id));
    }
    if let Some(host) = forward.and_then(|forward| forward.host_rewrite.as_deref()) {
        request_edits.push((":authority", host.as_bytes()));
    }
    let mut number = itoa::Buffer::new();
    let mut response_edits = SmallVec::<[EditedField<'_>; 2]>::new();
    if let Some(milliseconds) = exchange.service_time_ms {
        response_edits.push(("x-envoy-upstream-service-time", number.format(milliseconds).as_bytes()));
    }
    let record = Record {
        start_unix_micros: exchange.times.start_wall_micros,
        request: parsed.then_some((&exchange.request, bytes)),
        request_edits: &request_edits,
        response: exchange.has_response.then_some((&exchange.response, exchange.response_bytes.as_slice())),
        response_edits: &response_edits,
        scheme: "http",
        protocol: parsed.then(|| exchange.request.version.as_str()),
        response_code: exchange.status,
        response_code_details: Some(ending.details),
        response_flags: ending.flags,
        bytes_received: exchange.received,
        bytes_sent: exchange.sent,
        duration_micros: Some(since_start(now)),
        request_duration_micros: exchange.times.request_end.map(since_start),
        response_duration_micros: exchange.times.response_start.map(since_start),
        upstream_host: exchange.endpoint.and_then(|index| Some(&*cluster?.endpoints[index].name)),
        upstream_cluster: cluster.map(|cluster| cluster.config.name.as_str()),
        upstream_local_address: exchange.upstream_local,
        downstream_remote_address: connection.remote,
        downstream_local_address: connection.local,
        route_name: route.and_then(|(route, _)| route.name.as_deref()),
        virtual_host_name: route.map(|(_, host)| &*host.name),
        connection_id: connection.id,
    };
    for log in &hcm.logs {
        hcm.shard.log.append(log, &record);
    }
}
