//! The last edits of a head before it goes on: what the route, its virtual host and the connection manager say
//! (Envoy: finalizeRequestHeaders, finalizeResponseHeaders, mutateResponseHeaders).

use super::connection::Connection;
use super::manager::Hcm;
use super::record::record;
use super::serving::Ending;
use super::trace;
use crate::http::format::format_value;
use crate::http::trace::Tracing;
use crate::http::{Exchange, FieldId, HeadEditor, Mutations, Version, is_valid_authority, path};
use crate::route::rewrite;
use crate::router::Fault;
use ringway_config::model::{self, HostRewrite, ServerHeader};
use smallvec::SmallVec;

/// Edit the request that is about to be forwarded. Mutations come first: they see the path and the host as they came, and
/// a rewrite may take the host from a field that they set.
///
/// # Errors
/// The rewrite makes a path of the request's that leads elsewhere.
pub(super) fn request(
    hcm: &Hcm,
    connection: &Connection,
    exchange: &mut Exchange,
    forward: &model::Forward,
) -> Result<(), Fault> {
    let weighted = exchange.weighted_cluster(forward);
    let at = exchange.facts.route;
    for headers in hcm.headers.for_route(at, exchange.facts.weighted) {
        apply(&headers.request, hcm, connection, exchange, None, |exchange| exchange.request.edit());
    }
    rewrite(hcm, exchange, forward, weighted)?;
    if hcm.adds_to_requests {
        add_own_fields(hcm, exchange);
    }
    Ok(())
}

/// What goes on with every request: its place in a trace, and that it came through here.
fn add_own_fields(hcm: &Hcm, exchange: &mut Exchange) {
    if exchange.facts.tracing != Tracing::Off
        && let Some(table) = &hcm.tracing
    {
        trace::inject(hcm, table, exchange);
    }
    // Once for each message that came in: an internal redirect sends the same one again.
    if let Some(via) = hcm.config.headers.via.as_ref().filter(|_| exchange.facts.redirects == 0) {
        let version = exchange.request.head.version;
        add_via(&mut exchange.request.edit(), via, version);
    }
}

/// Edit a response to a request that has a route, wherever the response is from. `ending`: what is known of it so far.
pub(super) fn routed_response(hcm: &Hcm, connection: &Connection, exchange: &mut Exchange, ending: &Ending) {
    if exchange.facts.route.is_none() {
        return;
    }
    for headers in hcm.headers.for_route(exchange.facts.route, exchange.facts.weighted) {
        apply(&headers.response, hcm, connection, exchange, Some(ending), |exchange| exchange.response.edit());
    }
}

/// Rewrite path and host as the route says. `/c../x` has no dot segment, but with `/` for `/c` it gets one, and the upstream
/// would resolve it to a path outside of what the route gives access to: where paths are normalized it is refused.
fn rewrite(
    hcm: &Hcm,
    exchange: &mut Exchange,
    forward: &model::Forward,
    weighted: Option<&model::WeightedCluster>,
) -> Result<(), Fault> {
    if forward.path_rewrite.is_none() && forward.host_rewrite.is_none() && weighted.is_none() {
        return Ok(());
    }
    let Some(at) = exchange.facts.route else { return Ok(()) };
    let host = new_host(exchange, forward, weighted);
    if let Some(rewrite) = &forward.path_rewrite {
        let route = hcm.table.route(at);
        let mut target = hcm.shard.reactor.take_vec();
        let (head, view) = (&exchange.request.head, exchange.request.view());
        let path_len = rewrite::target(rewrite, route, head, view, &mut target);
        if hcm.config.paths.normalize && path::has_dot_segments(&target[..path_len]) {
            hcm.shard.reactor.give_vec(target);
            return Err(Fault::InvalidPath);
        }
        let original_at = target.len();
        head.target(view).iter().for_each(|part| target.extend_from_slice(part));
        // Only the proxy says what the path was before it rewrote it.
        exchange.request.head.fields.remove_id(FieldId::XEnvoyOriginalPath);
        let (target_now, original) = target.split_at(original_at);
        exchange.request.edit().add_known(FieldId::XEnvoyOriginalPath, |out| out.extend_from_slice(original));
        exchange.replace_target(target_now, path_len);
        hcm.shard.reactor.give_vec(target);
    }
    if let Some(host) = host {
        exchange.replace_host(&host, hcm.config.headers.x_envoy_original_host, forward.append_x_forwarded_host);
    }
    Ok(())
}

/// The host that the request is to have; `HostRewrite::Auto` is known only when an endpoint is.
fn new_host(
    exchange: &Exchange,
    forward: &model::Forward,
    weighted: Option<&model::WeightedCluster>,
) -> Option<SmallVec<[u8; 64]>> {
    let view = exchange.request.view();
    if let Some(host) = weighted.and_then(|cluster| cluster.host_rewrite.as_deref()) {
        return Some(SmallVec::from_slice(host.as_bytes()));
    }
    match forward.host_rewrite.as_ref()? {
        HostRewrite::Literal(host) => Some(SmallVec::from_slice(host.as_bytes())),
        HostRewrite::Auto => None,
        HostRewrite::Header(name) => {
            let value = exchange.request.head.fields.find(name.as_bytes(), view)?.value.of(view);
            (!value.is_empty() && is_valid_authority(value)).then(|| SmallVec::from_slice(value))
        }
        HostRewrite::PathRegex(regex) => {
            let mut host = Vec::new();
            rewrite::substitute_path(regex, &exchange.request.head, view, &mut host);
            is_valid_authority(&host).then(|| SmallVec::from_vec(host))
        }
    }
}

/// Edit any response.
pub(super) fn response(hcm: &Hcm, exchange: &mut Exchange, is_local: bool) {
    let options = &hcm.config.headers;
    let version = exchange.response.head.version;
    let mut head = exchange.response.edit();
    if !head.forwards_known(FieldId::Date) {
        head.fields.remove_id(FieldId::Date);
        head.add_whole(FieldId::Date, &hcm.shard.date_line());
    }
    let overwrites = is_local || options.server_header == ServerHeader::Overwrite;
    if overwrites {
        head.fields.remove_id(FieldId::Server);
    }
    let adds =
        overwrites || options.server_header == ServerHeader::AppendIfAbsent && !head.forwards_known(FieldId::Server);
    if adds && let Some(line) = &hcm.headers.server_line {
        head.fields.remove_id(FieldId::Server);
        head.add_whole(FieldId::Server, line);
    }
    if let Some(via) = options.via.as_deref().filter(|_| !is_local) {
        add_via(&mut head, via, version);
    }
}

/// RFC 9110 section 7.6.3; `received` is the version of the message that came in.
fn add_via(head: &mut HeadEditor<'_>, name: &str, received: Version) {
    head.add_known(FieldId::Via, |out| {
        out.extend_from_slice(match received {
            Version::Http10 => b"1.0 ",
            Version::Http11 => b"1.1 ",
            Version::Http2 => b"2 ",
        });
        out.extend_from_slice(name.as_bytes());
    });
}

fn apply(
    mutations: &Mutations,
    hcm: &Hcm,
    connection: &Connection,
    exchange: &mut Exchange,
    ending: Option<&Ending>,
    edit: fn(&mut Exchange) -> HeadEditor<'_>,
) {
    if mutations.is_empty() {
        return;
    }
    let mut value = hcm.shard.reactor.take_vec();
    for index in 0..mutations.len() {
        value.clear();
        if let Some(format) = mutations.format(index) {
            let record = record(hcm, connection, exchange, ending);
            format_value(format, &record, &mut value);
        }
        mutations.apply(index, &value, &mut edit(exchange));
    }
    hcm.shard.reactor.give_vec(value);
}
