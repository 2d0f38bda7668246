//! What happens to a request's head before a route is looked for: whom to believe, and which path it means
//! (Envoy: ConnectionManagerUtility::mutateRequestHeaders, maybeNormalizePath).

use super::Hcm;
use super::connection::Connection;
use crate::http::{Exchange, FieldId, Fields, HeadView, RequestId, TargetForm, path};
use ringway_config::model::{self, Cidr, EscapedSlashes, PathOptions, Trust};
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

/// Whom a connection is from, where it arrived.
pub struct Peer<'a> {
    pub remote: Option<SocketAddr>,
    pub local: Option<SocketAddr>,
    /// The remote address without the port; empty where there is none.
    pub text: &'a str,
}

pub(super) fn admit(hcm: &Hcm, connection: &Connection, exchange: &mut Exchange) -> Admission {
    let peer = Peer { remote: connection.remote, local: connection.local, text: connection.peer.as_str() };
    admit_head(&hcm.config, &peer, exchange, || hcm.shard.reactor.random().uuid())
}

/// As `admit`, without a connection: what `ringway explain` does.
pub fn admit_head(
    config: &model::Hcm,
    peer: &Peer<'_>,
    exchange: &mut Exchange,
    request_id: impl FnOnce() -> RequestId,
) -> Admission {
    let admission = match exchange.request.target_form {
        TargetForm::Origin | TargetForm::Absolute => canonical_path(&config.paths, exchange),
        TargetForm::Authority | TargetForm::Asterisk => Admission::Admitted,
    };
    canonical_host(&config.paths, peer.local, exchange);
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
    FieldId::XEnvoyOriginalPath,
    FieldId::XEnvoyOriginalHost,
    FieldId::XEnvoyHedgeOnPerTryTimeout,
    FieldId::XEnvoyDecoratorOperation,
    FieldId::XEnvoyInternal,
]);

/// What is removed at the edge beside those.
const EDGE: u128 = Fields::set_of(&[
    FieldId::XEnvoyDownstreamServiceCluster,
    FieldId::XEnvoyDownstreamServiceNode,
    FieldId::XEnvoyExternalAddress,
    FieldId::XRequestId,
]);

/// Find out who the client is, remove what it may not say, add what the upstream is to know.
fn identify(config: &model::Hcm, peer: &Peer<'_>, exchange: &mut Exchange, request_id: impl FnOnce() -> RequestId) {
    let (trust, options) = (&config.trust, &config.headers);
    let (client, is_internal) = client(trust, peer.remote, exchange);
    exchange.client = client;
    exchange.is_internal = is_internal;
    let is_edge = trust.use_remote_address && !is_internal;
    let unwanted = match (is_internal, is_edge) {
        (true, _) => Fields::set_of(&[FieldId::XEnvoyInternal]),
        (false, false) => INTERNAL,
        (false, true) => INTERNAL | EDGE,
    };
    exchange.request.fields.remove_all(unwanted);
    let mut head = exchange.edit_request();
    if !is_internal {
        for name in &trust.internal_only_headers {
            head.remove(name.as_bytes());
        }
    }
    if options.x_forwarded_for && !peer.text.is_empty() {
        head.append(b"x-forwarded-for", peer.text.as_bytes());
    }
    // Only a proxy that is trusted knows better than this one how the client came.
    let is_first = trust.use_remote_address && trust.xff_num_trusted_hops == 0;
    if options.x_forwarded_proto && (is_first || !head.fields.contains(FieldId::XForwardedProto)) {
        head.fields.remove_id(FieldId::XForwardedProto);
        head.add_known(FieldId::XForwardedProto, |out| out.extend_from_slice(b"http"));
    }
    if options.x_request_id && !head.fields.contains(FieldId::XRequestId) {
        let id = request_id();
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
    let has_field = exchange.request.fields.contains(FieldId::XForwardedFor);
    if trust.use_remote_address && trust.xff_num_trusted_hops == 0 {
        // Most requests end here, and nothing is parsed for them.
        let is_internal = !has_field && peer.is_some_and(|peer| is_internal(trust, peer.ip()));
        return (peer, is_internal);
    }
    let skip = if trust.use_remote_address { trust.xff_num_trusted_hops - 1 } else { trust.xff_num_trusted_hops };
    let said = if has_field { forwarded_for(&exchange.request.fields, exchange.request_view(), skip) } else { None };
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
    let address = address.to_canonical();
    trust.internal_addresses.iter().any(|range| contains(range, address))
}

fn contains(range: &Cidr, address: IpAddr) -> bool {
    match (range.address, address) {
        (IpAddr::V4(range_at), IpAddr::V4(address)) => {
            let differing = u32::from(range_at) ^ u32::from(address);
            differing.leading_zeros() >= u32::from(range.prefix_len)
        }
        (IpAddr::V6(range_at), IpAddr::V6(address)) => {
            let differing = u128::from(range_at) ^ u128::from(address);
            differing.leading_zeros() >= u32::from(range.prefix_len)
        }
        _ => false,
    }
}

fn canonical_path(options: &PathOptions, exchange: &mut Exchange) -> Admission {
    if !(options.normalize || options.merge_slashes || options.escaped_slashes != EscapedSlashes::Keep) {
        return Admission::Admitted;
    }
    let now = exchange.request.path(exchange.request_view());
    let mut redirects = false;
    let mut changed: Option<Vec<u8>> = None;
    if options.escaped_slashes != EscapedSlashes::Keep && path::has_escaped_slash(now) {
        match options.escaped_slashes {
            EscapedSlashes::Reject => return Admission::InvalidPath,
            EscapedSlashes::UnescapeAndRedirect => redirects = true,
            EscapedSlashes::UnescapeAndForward | EscapedSlashes::Keep => {}
        }
        path::unescape_slashes(now, changed.insert(Vec::new()));
    }
    if options.normalize && path::needs_normalizing(changed.as_deref().unwrap_or(now)) {
        let mut normal = Vec::new();
        if path::normalize(changed.as_deref().unwrap_or(now), &mut normal).is_err() {
            return Admission::InvalidPath;
        }
        changed = Some(normal);
    }
    if options.merge_slashes && memchr::memmem::find(changed.as_deref().unwrap_or(now), b"//").is_some() {
        let mut merged = Vec::new();
        path::merge_slashes(changed.as_deref().unwrap_or(now), &mut merged);
        changed = Some(merged);
    }
    let Some(changed) = changed else { return Admission::Admitted };
    if redirects {
        let query = exchange.request.query(exchange.request_view());
        return Admission::Redirect(with_query(changed, query));
    }
    exchange.replace_path(&changed);
    Admission::Admitted
}

fn with_query(mut path: Vec<u8>, query: Option<&[u8]>) -> Vec<u8> {
    if let Some(query) = query {
        path.push(b'?');
        path.extend_from_slice(query);
    }
    path
}

/// Envoy: strip_matching_host_port and strip_trailing_host_dot.
fn canonical_host(options: &PathOptions, local: Option<SocketAddr>, exchange: &mut Exchange) {
    if !(options.strip_matching_host_port || options.strip_trailing_host_dot) {
        return;
    }
    let authority = exchange.request.authority.of(exchange.request_view());
    let (host, port) = split_port(authority);
    let matches = options.strip_matching_host_port
        && port.is_some_and(|port| local.is_some_and(|local| port == local.port().to_string().as_bytes()));
    let dot = options.strip_trailing_host_dot && host.ends_with(b".");
    if !(matches || dot) {
        return;
    }
    let mut host = host[..host.len() - usize::from(dot)].to_vec();
    if let Some(port) = port.filter(|_| !matches) {
        host.push(b':');
        host.extend_from_slice(port);
    }
    exchange.request.authority = exchange.request_edits.store(|out| out.extend_from_slice(&host));
}

/// Host and port of an authority; a colon within the brackets of an IPv6 address begins no port.
fn split_port(authority: &[u8]) -> (&[u8], Option<&[u8]>) {
    match authority.iter().rposition(|&byte| matches!(byte, b':' | b']')) {
        Some(at) if authority[at] == b':' => (&authority[..at], Some(&authority[at + 1..])),
        _ => (authority, None),
    }
}
