//! What happens to a request's head before a route is looked for: whom to believe, and which path it means
//! (Envoy: ConnectionManagerUtility::mutateRequestHeaders, maybeNormalizePath).

use super::connection::Connection;
use super::manager::Hcm;
use crate::http::{
    Exchange, FieldId, Fields, HeadView, ImpliedPath, RequestId, Scheme, Span, TargetForm, path, split_port,
};
use crate::net::Arrival;
use ringway_config::model::{self, EscapedSlashes, PathOptions, Trust};
use std::net::{IpAddr, SocketAddr};

/// What is to be done with the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Admission {
    Admitted,
    /// Status 400: no such path can be.
    InvalidPath,
    /// Status 307: the same request with this path.
    Redirect(Vec<u8>),
}

/// The two ends of a connection, and what it came over.
pub struct Peer<'a> {
    pub remote: Option<SocketAddr>,
    pub local: Option<SocketAddr>,
    /// The remote address without the port; empty where there is none.
    pub text: &'a [u8],
    /// Of requests that come over the connection.
    pub scheme: &'static str,
}

pub(super) fn admit(hcm: &Hcm, connection: &Connection, exchange: &mut Exchange) -> Admission {
    let Arrival { remote, local, transport, .. } = connection.arrival;
    let peer = Peer { remote, local, text: connection.peer.as_bytes(), scheme: transport.scheme() };
    admit_head(&hcm.config, &peer, exchange, || hcm.shard.reactor.random().uuid())
}

/// As `admit`, without a connection: what `ringway explain` does.
pub fn admit_head(
    config: &model::Hcm,
    peer: &Peer<'_>,
    exchange: &mut Exchange,
    request_id: impl FnOnce() -> RequestId,
) -> Admission {
    let admission = match exchange.request.head.target_form {
        // `OPTIONS http://host` is about the host, and not about a path (RFC 9112 section 3.2.4).
        TargetForm::Absolute if exchange.request.head.implied_path == ImpliedPath::Asterisk => Admission::Admitted,
        TargetForm::Origin | TargetForm::Absolute => canonical_path(&config.paths, exchange),
        TargetForm::Authority | TargetForm::Asterisk => Admission::Admitted,
    };
    canonical_host(&config.paths, peer.local, exchange);
    if peer.scheme == "https" {
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

/// What is removed at the edge beside those. The last three are not on Envoy's list, but no client of an edge
/// has anything to say in them.
const EDGE: u128 = Fields::set_of(&[
    FieldId::XEnvoyDecoratorOperation,
    FieldId::XEnvoyDownstreamServiceCluster,
    FieldId::XEnvoyDownstreamServiceNode,
    FieldId::XEnvoyExternalAddress,
    FieldId::XEnvoyOriginalHost,
    FieldId::XEnvoyOriginalPath,
]);

/// Find out who the client is, remove what it may not say, add what the upstream is to know.
fn identify(config: &model::Hcm, peer: &Peer<'_>, exchange: &mut Exchange, request_id: impl FnOnce() -> RequestId) {
    let (trust, options) = (&config.trust, &config.headers);
    let (client, is_internal) = client(trust, peer.remote, exchange);
    exchange.facts.client = client;
    exchange.facts.is_internal = is_internal;
    let is_edge = trust.use_remote_address && !is_internal;
    let unwanted = match (is_internal, is_edge) {
        (true, _) => Fields::set_of(&[FieldId::XEnvoyInternal]),
        (false, false) => INTERNAL,
        (false, true) => INTERNAL | EDGE,
    };
    exchange.request.head.fields.remove_all(unwanted);
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
        head.append_known(FieldId::XForwardedFor, peer.text);
    }
    // Only a proxy that is trusted knows better than this one how the client came.
    let is_first = trust.use_remote_address && trust.xff_num_trusted_hops == 0;
    if options.x_forwarded_proto && (is_first || !head.forwards_known(FieldId::XForwardedProto)) {
        head.fields.remove_id(FieldId::XForwardedProto);
        head.add_known(FieldId::XForwardedProto, |out| out.extend_from_slice(peer.scheme.as_bytes()));
    }
    if options.x_request_id && !head.forwards_known(FieldId::XRequestId) {
        let id = request_id();
        head.fields.remove_id(FieldId::XRequestId);
        head.add_known(FieldId::XRequestId, |out| out.extend_from_slice(&id));
    }
    if is_internal {
        head.add_known(FieldId::XEnvoyInternal, |out| out.extend_from_slice(b"true"));
    }
    if is_edge && let Some(client) = client {
        use std::io::Write;
        // Writing to a Vec cannot fail.
        head.add_known(FieldId::XEnvoyExternalAddress, |out| drop(write!(out, "{}", client.ip().to_canonical())));
    }
}

/// The client's address and whether the request comes from inside. Inside means: from an internal address, and not
/// through somebody who cannot be checked.
fn client(trust: &Trust, peer: Option<SocketAddr>, exchange: &Exchange) -> (Option<SocketAddr>, bool) {
    let has_field = exchange.request.head.fields.contains(FieldId::XForwardedFor);
    if trust.use_remote_address && trust.xff_num_trusted_hops == 0 {
        // Most requests end here, and nothing is parsed for them.
        let is_internal = !has_field && peer.is_some_and(|peer| is_internal(trust, peer.ip()));
        return (peer, is_internal);
    }
    let skip = if trust.use_remote_address { trust.xff_num_trusted_hops - 1 } else { trust.xff_num_trusted_hops };
    let said =
        if has_field { forwarded_for(&exchange.request.head.fields, exchange.request.view(), skip) } else { None };
    let checkable = match (trust.use_remote_address, &said) {
        (true, _) => !has_field,
        (false, said) => said.as_ref().is_some_and(|said| said.is_only),
    };
    let client = said.map(|said| SocketAddr::new(said.address, 0)).or(peer);
    (client, checkable && client.is_some_and(|client| is_internal(trust, client.ip())))
}

struct ForwardedFor {
    address: IpAddr,
    /// No other proxy has added itself.
    is_only: bool,
}

/// The address in x-forwarded-for that stands behind `skip` others, counted from the end. Several lines count as one.
fn forwarded_for(fields: &Fields, view: HeadView<'_>, skip: u32) -> Option<ForwardedFor> {
    let lines = fields.iter().rev().filter(|field| field.id == FieldId::XForwardedFor);
    let mut members = lines.flat_map(|field| field.value.of(view).rsplit(|&byte| byte == b','));
    let member = members.nth(skip as usize)?;
    let address = std::str::from_utf8(member.trim_ascii()).ok()?.parse().ok()?;
    Some(ForwardedFor { address, is_only: skip == 0 && members.next().is_none() })
}

fn is_internal(trust: &Trust, address: IpAddr) -> bool {
    trust.internal_addresses.iter().any(|range| range.contains(address))
}

/// In Envoy's order: escaped slashes, normal form, rows of slashes.
pub(super) fn canonical_path(options: &PathOptions, exchange: &mut Exchange) -> Admission {
    let path = exchange.request.head.path(exchange.request.view());
    let unescapes = options.escaped_slashes != EscapedSlashes::Keep && path::has_escaped_slash(path);
    if unescapes && options.escaped_slashes == EscapedSlashes::Reject {
        return Admission::InvalidPath;
    }
    let normalizes = options.normalize && path::needs_normalizing(path);
    // The steps before it can make rows of slashes.
    let merges = options.merge_slashes && (unescapes || normalizes || memchr::memmem::find(path, b"//").is_some());
    if !(unescapes || normalizes || merges) {
        return Admission::Admitted;
    }
    let result = exchange.edit_path(|out, start| {
        if unescapes {
            path::unescape_slashes(out, start);
        }
        // An escaped dot needs no escaped slash: whoever has either came here with `normalizes`.
        let result = if normalizes { path::normalize(out, start) } else { Ok(()) };
        if merges {
            path::merge_slashes(out, start);
        }
        result
    });
    match result {
        Err(path::InvalidPath) => Admission::InvalidPath,
        Ok(()) if unescapes && options.escaped_slashes == EscapedSlashes::UnescapeAndRedirect => {
            Admission::Redirect(on_this_host(exchange.request.head.target(exchange.request.view()).concat()))
        }
        Ok(()) => Admission::Admitted,
    }
}

/// A target that begins with two slashes would lead to another host (RFC 3986 section 4.2), and browsers take backslashes
/// for slashes.
fn on_this_host(mut target: Vec<u8>) -> Vec<u8> {
    let slashes = target.iter().take_while(|byte| matches!(byte, b'/' | b'\\')).count();
    target.splice(..slashes, *b"/");
    target
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
