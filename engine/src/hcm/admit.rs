//! What happens to a request's head before a route is looked for: which fields are believed, and which path it means
//! (Envoy: ConnectionManagerUtility::mutateRequestHeaders, maybeNormalizePath).

use super::connection::Connection;
use super::forwarded_cert;
use super::manager::Hcm;
use super::named_fields::NamedFields;
use crate::http::{
    Exchange, Field, FieldId, Fields, HeadView, RequestId, Scheme, Span, TargetForm, grammar, path, split_port,
};
use crate::mux::Downstream;
use crate::net::{Arrival, Transport, tls};
use crate::route::rewrite;
use ringway_config::model::{self, Cidr, EscapedSlashes, ForwardCert, PathOptions, Trust, Underscores};
use std::io::Write;
use std::net::{IpAddr, SocketAddr};

/// What is to be done with the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    Admitted,
    /// Status 400: no such path can be.
    InvalidPath,
    /// Status 400: a header's name has a `_`.
    Underscore,
    /// Status 307: the same request with this path.
    Redirect(Vec<u8>),
}

/// The two ends of a connection, and what it came over.
pub struct Peer<'a> {
    pub remote: Option<SocketAddr>,
    pub local: Option<SocketAddr>,
    /// The remote address without the port; empty where there is none.
    pub text: &'a [u8],
    /// Requests that come over the connection have the scheme `https`.
    pub is_secure: bool,
    /// If it showed a certificate that was verified.
    pub client: Option<tls::Known<'a>>,
}

pub(super) fn admit(hcm: &Hcm, connection: &Connection, wire: &Downstream<'_>, exchange: &mut Exchange) -> Admission {
    let Arrival { remote, local, transport, .. } = connection.arrival;
    let verified = connection.stream.tls().filter(|stream| stream.facts().is_peer_verified);
    let client = verified.map(tls::Known::Live);
    let peer = Peer { remote, local, text: connection.peer.as_bytes(), is_secure: transport == Transport::Tls, client };
    match admit_fields(hcm.config.trust.underscores, &hcm.headers.named, exchange) {
        Some(0) => {}
        Some(dropped) => hcm.stats.dropped_headers_with_underscores.add(dropped as u64),
        None => {
            hcm.stats.requests_rejected_with_underscores_in_headers.inc();
            return Admission::Underscore;
        }
    }
    if exchange.request.head.fields.contains_any(NOTED) {
        note(hcm, &peer, wire, exchange);
    }
    admit_head(&hcm.config, &peer, exchange, || hcm.shard.reactor.random().uuid())
}

fn note(hcm: &Hcm, peer: &Peer<'_>, wire: &Downstream<'_>, exchange: &mut Exchange) {
    if exchange.request.head.fields.contains_any(FORWARDED) {
        note_forwarded(hcm, peer);
    }
    if wire.asks_upgrade() {
        note_upgrade(hcm, peer, exchange);
    }
}

/// The request stays HTTP and goes on without the two headers. Log and details say so, since an upstream that expects an
/// upgrade may answer anything.
#[cold]
fn note_upgrade(hcm: &Hcm, peer: &Peer<'_>, exchange: &mut Exchange) {
    hcm.stats.downstream_rq_ws_on_non_ws_route.inc();
    exchange.facts.upgrade_dropped = true;
    if !hcm.headers.is_first_upgrade() {
        return;
    }
    let protocol = exchange.request.head.fields.value(FieldId::Upgrade, exchange.request.view()).unwrap_or_default();
    tracing::warn!(
        target: "ringway::http",
        stat_prefix = hcm.config.stat_prefix,
        peer = %String::from_utf8_lossy(peer.text),
        upgrade = %protocol.escape_ascii(),
        "a request asks for an upgrade of its connection, which is not supported: it is served as plain HTTP (said once)"
    );
}

/// Say once that a peer forwards requests without being believed: it is a client that tries, or the configuration does not
/// name a proxy in front of this one.
fn note_forwarded(hcm: &Hcm, peer: &Peer<'_>) {
    if believes(&hcm.config.trust, peer.remote) {
        return;
    }
    hcm.stats.downstream_rq_forwarded_not_trusted.inc();
    if !hcm.headers.is_first_forwarded() {
        return;
    }
    tracing::warn!(
        target: "ringway::http",
        stat_prefix = hcm.config.stat_prefix,
        peer = %String::from_utf8_lossy(peer.text),
        "x-forwarded-for or x-forwarded-proto of a peer that is not in xff_trusted_cidrs is not believed; if that is a proxy \
         in front of this one, name its addresses there (said once)"
    );
}

/// Drop the headers whose names only look like others, and say how many those were. `None`: the request is refused for one.
pub fn admit_fields(action: Underscores, named: &NamedFields, exchange: &mut Exchange) -> Option<usize> {
    let (head, received) = (&mut exchange.request.head, exchange.request.received.as_slice());
    // No known name has one.
    let is_odd = |field: &Field| field.id == FieldId::Unknown && grammar::has_underscore(field.name.of(received));
    if !head.fields.contains(FieldId::Unknown) || !head.fields.iter().any(is_odd) {
        return Some(0);
    }
    let mut remove = |is_unwanted: &dyn Fn(&[u8]) -> bool| {
        head.fields.remove_unknown(received, |name| grammar::has_underscore(name) && is_unwanted(name))
    };
    match action {
        Underscores::Allow => Some(0),
        Underscores::RejectRequest => None,
        Underscores::DropHeader => Some(remove(&|_| true)),
        Underscores::DropShadowing => Some(remove(&|name| named.shadows(name))),
    }
}

/// As `admit`, without a connection: what `ringway explain` does.
pub fn admit_head(
    config: &model::Hcm,
    peer: &Peer<'_>,
    exchange: &mut Exchange,
    request_id: impl FnOnce() -> RequestId,
) -> Admission {
    let admission = match exchange.request.head.target_form {
        _ if exchange.request.head.is_asterisk() => {
            exchange.match_root();
            Admission::Admitted
        }
        TargetForm::Origin | TargetForm::Absolute => canonical_path(&config.paths, exchange),
        TargetForm::Authority | TargetForm::Asterisk => Admission::Admitted,
    };
    canonical_host(&config.paths, peer.local, exchange);
    if peer.is_secure {
        exchange.request.head.scheme.get_or_insert(Scheme::Https);
    }
    identify(config, peer, exchange, request_id);
    admission
}

/// Fields that only proxies of the same owner may send (Envoy: cleanInternalHeaders).
const INTERNAL: u128 = Fields::set_of(&[
    FieldId::XEnvoyRetriableStatusCodes,
    FieldId::XEnvoyRetriableHeaderNames,
    FieldId::XEnvoyRetryOn,
    FieldId::XEnvoyRetryGrpcOn,
    FieldId::XEnvoyMaxRetries,
    FieldId::XEnvoyUpstreamAltStatName,
    FieldId::XEnvoyUpstreamRqTimeoutMs,
    FieldId::XEnvoyUpstreamRqPerTryTimeoutMs,
    FieldId::XEnvoyUpstreamRqTimeoutAltResponse,
    FieldId::XEnvoyExpectedRqTimeoutMs,
    FieldId::XEnvoyForceTrace,
    FieldId::XEnvoyIpTags,
    FieldId::XEnvoyOriginalUrl,
    FieldId::XEnvoyHedgeOnPerTryTimeout,
    FieldId::XEnvoyInternal,
]);

/// What is removed at the edge in addition to those. The last three are not on Envoy's list, but no client of an edge
/// has anything to say in them.
const EDGE: u128 = Fields::set_of(&[
    FieldId::XEnvoyDecoratorOperation,
    FieldId::XEnvoyDownstreamServiceCluster,
    FieldId::XEnvoyDownstreamServiceNode,
    FieldId::XEnvoyExternalAddress,
    FieldId::XEnvoyOriginalHost,
    FieldId::XEnvoyOriginalPath,
]);

/// No client may send it: CGI makes the variable HTTP_PROXY of it, which names the proxy for outgoing requests (CVE-2016-5385,
/// httpoxy).
const NEVER: u128 = Fields::set_of(&[FieldId::Proxy]);

/// What a proxy says of the request that it forwards.
const FORWARDED: u128 = Fields::set_of(&[FieldId::XForwardedFor, FieldId::XForwardedProto]);

const HTTP_LINE: &[u8] = b"x-forwarded-proto: http\r\n";
const HTTPS_LINE: &[u8] = b"x-forwarded-proto: https\r\n";

/// Headers that make a request worth a second look.
const NOTED: u128 = FORWARDED | Fields::set_of(&[FieldId::Upgrade]);

/// Whether the peer's word counts in those. A peer on a Unix socket is a proxy on this machine that the path's permissions
/// let in.
pub(super) fn believes(trust: &Trust, peer: Option<SocketAddr>) -> bool {
    let Some(peer) = peer else { return true };
    match &trust.xff_trusted_cidrs[..] {
        [] => !trust.use_remote_address || trust.xff_num_trusted_hops > 0,
        ranges => is_within(ranges, peer.ip()),
    }
}

/// Find the client's address, remove what the client may not say, add what the upstream is to know.
fn identify(config: &model::Hcm, peer: &Peer<'_>, exchange: &mut Exchange, request_id: impl FnOnce() -> RequestId) {
    let (trust, options) = (&config.trust, &config.headers);
    let is_believed = believes(trust, peer.remote);
    let (client, is_internal) = client(trust, peer.remote, is_believed, exchange);
    exchange.facts.client = client;
    exchange.facts.is_internal = is_internal;
    let is_edge = trust.use_remote_address && !is_internal;
    let unwanted = match (is_internal, is_edge) {
        (true, _) => Fields::set_of(&[FieldId::XEnvoyInternal]),
        (false, false) => INTERNAL,
        (false, true) => INTERNAL | EDGE,
    };
    // The default needs no step of its own.
    let is_sanitized = trust.client_cert_details.forward == ForwardCert::Sanitize;
    let certificate = if is_sanitized { Fields::set_of(&[FieldId::XForwardedClientCert]) } else { 0 };
    exchange.request.head.fields.remove_all(unwanted | NEVER | certificate);
    if !is_sanitized {
        forwarded_cert::apply(&trust.client_cert_details, peer.client, exchange);
    }
    // An edge gives every request an id of its own.
    if is_edge && options.x_request_id {
        exchange.request.head.fields.remove_id(FieldId::XRequestId);
    }
    let mut head = exchange.request.edit();
    if !is_internal {
        for name in &trust.internal_only_headers {
            head.remove(name.as_bytes());
        }
    }
    if options.x_forwarded_for && !peer.text.is_empty() {
        head.append_known(FieldId::XForwardedFor, |out| out.extend_from_slice(peer.text));
    }
    // Only a proxy that is trusted knows better than this one how the client came.
    if options.x_forwarded_proto && (!is_believed || !head.forwards_known(FieldId::XForwardedProto)) {
        head.fields.remove_id(FieldId::XForwardedProto);
        head.add_whole(FieldId::XForwardedProto, if peer.is_secure { HTTPS_LINE } else { HTTP_LINE });
    }
    if options.x_request_id && !head.forwards_known(FieldId::XRequestId) {
        let id = request_id();
        head.fields.remove_id(FieldId::XRequestId);
        head.add_known(FieldId::XRequestId, |out| out.extend_from_slice(&id));
    }
    if is_internal {
        head.add_known(FieldId::XEnvoyInternal, |out| out.extend_from_slice(b"true"));
    }
    if is_edge && let Some(address) = client {
        head.add_known(FieldId::XEnvoyExternalAddress, |out| match client == peer.remote {
            // To format an address takes more than a thousand instructions.
            true => out.extend_from_slice(peer.text),
            false => write_address(address.ip(), out),
        });
    }
}

#[cold]
fn write_address(address: IpAddr, out: &mut Vec<u8>) {
    // Writing to a Vec cannot fail.
    let _ = write!(out, "{}", address.to_canonical());
}

/// The client's address and whether the request comes from inside. Inside means: from an internal address, and not
/// through a proxy that cannot be checked.
fn client(
    trust: &Trust,
    peer: Option<SocketAddr>,
    is_believed: bool,
    exchange: &Exchange,
) -> (Option<SocketAddr>, bool) {
    let fields = &exchange.request.head.fields;
    let has_field = fields.contains(FieldId::XForwardedFor);
    if !has_field && trust.use_remote_address || !is_believed {
        // Most requests end here, and nothing is parsed for them.
        let is_internal = !has_field && peer.is_some_and(|peer| is_within(&trust.internal_addresses, peer.ip()));
        return (peer, is_internal);
    }
    let (said, checkable) = match &trust.xff_trusted_cidrs[..] {
        [] => {
            let hops = trust.xff_num_trusted_hops;
            let skip = if trust.use_remote_address { hops.saturating_sub(1) } else { hops };
            let said = forwarded_for(fields, exchange.request.view(), skip);
            let checkable = !trust.use_remote_address && said.as_ref().is_some_and(|said| said.is_only);
            (said, checkable)
        }
        // Each proxy on the way is known.
        trusted => {
            let said = forwarded_through(fields, exchange.request.view(), trusted);
            let checkable = said.as_ref().is_some_and(|said| said.is_only);
            (said, checkable)
        }
    };
    let client = said.map(|said| SocketAddr::new(said.address, 0)).or(peer);
    (client, checkable && client.is_some_and(|client| is_within(&trust.internal_addresses, client.ip())))
}

struct ForwardedFor {
    address: IpAddr,
    /// Nothing stands before it in the list.
    is_only: bool,
}

/// What x-forwarded-for lists, from the end. Several lines count as one.
fn members<'a>(fields: &'a Fields, view: HeadView<'a>) -> impl Iterator<Item = Option<IpAddr>> {
    let lines = fields.iter().rev().filter(|field| field.id == FieldId::XForwardedFor);
    let members = lines.flat_map(move |field| field.value.of(view).rsplit(|&byte| byte == b','));
    members.map(|member| std::str::from_utf8(member.trim_ascii()).ok()?.parse().ok())
}

/// The address in x-forwarded-for that stands behind `skip` others, counted from the end.
fn forwarded_for(fields: &Fields, view: HeadView<'_>, skip: u32) -> Option<ForwardedFor> {
    let mut members = members(fields, view);
    let address = members.nth(skip as usize)??;
    Some(ForwardedFor { address, is_only: skip == 0 && members.next().is_none() })
}

/// The last address in x-forwarded-for that is none of a trusted proxy; where all are, the first. What stands before one that
/// is no address was written by nothing that is known.
fn forwarded_through(fields: &Fields, view: HeadView<'_>, trusted: &[Cidr]) -> Option<ForwardedFor> {
    let mut members = members(fields, view);
    let mut found = None;
    for member in members.by_ref() {
        let Some(address) = member else { return found };
        found = Some(ForwardedFor { address, is_only: false });
        if !is_within(trusted, address) {
            break;
        }
    }
    let is_only = members.next().is_none();
    found.map(|found| ForwardedFor { is_only, ..found })
}

fn is_within(ranges: &[Cidr], address: IpAddr) -> bool {
    ranges.iter().any(|range| range.contains(address))
}

/// The path as the options want it: what is sent on, and what conditions see. Nearly every path stays as it came.
#[inline]
pub(super) fn canonical_path(options: &PathOptions, exchange: &mut Exchange) -> Admission {
    match path::is_plain(exchange.request.head.path(exchange.request.view())) {
        true => Admission::Admitted,
        false => canonical_odd_path(options, exchange),
    }
}

/// In Envoy's order: escaped slashes, normal form, rows of slashes.
#[inline(never)]
fn canonical_odd_path(options: &PathOptions, exchange: &mut Exchange) -> Admission {
    let path = exchange.request.head.path(exchange.request.view());
    let unescapes = options.escaped_slashes != EscapedSlashes::Keep && path::has_escaped_slash(path);
    if unescapes && options.escaped_slashes == EscapedSlashes::Reject {
        return Admission::InvalidPath;
    }
    // What is unescaped may need it.
    let normalizes = options.normalize && (unescapes || path::needs_normalizing(path));
    let merges = options.merge_slashes && (unescapes || normalizes || path::has_slashes_in_row(path));
    if unescapes || normalizes || merges {
        let result = exchange.edit_path(|out, start| {
            if unescapes {
                path::unescape_slashes(out, start);
            }
            let result = if normalizes { path::normalize(out, start) } else { Ok(()) };
            if merges {
                path::merge_slashes(out, start);
            }
            result
        });
        if let Err(path::InvalidPath) = result {
            return Admission::InvalidPath;
        }
        if unescapes && options.escaped_slashes == EscapedSlashes::UnescapeAndRedirect {
            let mut target = exchange.request.head.target(exchange.request.view()).concat();
            rewrite::on_this_host(&mut target, 0);
            return Admission::Redirect(target);
        }
    }
    let path = exchange.request.head.path(exchange.request.view());
    if options.matches_merged_slashes && path::has_slashes_in_row(path) {
        exchange.edit_matched_path(path::merge_slashes);
    }
    Admission::Admitted
}

/// Envoy: strip_matching_host_port and strip_trailing_host_dot.
pub(super) fn canonical_host(options: &PathOptions, local: Option<SocketAddr>, exchange: &mut Exchange) {
    if !(options.strip_matching_host_port || options.strip_trailing_host_dot) {
        return;
    }
    let span = exchange.request.head.authority;
    let (host, port) = split_port(span.of(exchange.request.view()));
    let is_ours = |port: &[u8]| local.is_some_and(|local| itoa::Buffer::new().format(local.port()).as_bytes() == port);
    let strips_port = options.strip_matching_host_port && port.is_some_and(is_ours);
    let strips_dot = options.strip_trailing_host_dot && host.ends_with(b".");
    let host = Span { start: span.start, end: span.start + (host.len() - usize::from(strips_dot)) as u32 };
    exchange.request.head.authority = match port {
        Some(port) if !strips_port && strips_dot => {
            let port = Span { start: span.end - port.len() as u32 - 1, end: span.end };
            let received = exchange.request.received.as_slice();
            let copy = exchange.request.edits.extend(received, host, |_| {});
            exchange.request.edits.extend_span(copy, received, port)
        }
        Some(_) if !strips_port => span,
        _ => host,
    };
}

#[cfg(test)]
#[path = "admit_tests.rs"]
mod tests;
