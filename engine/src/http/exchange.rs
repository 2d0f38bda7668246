//! One request with its response, as data: what was read, what was decided, what there is to log.

use super::field_id::FieldId;
use super::format::ResponseFlags;
use super::head::{ImpliedPath, RequestHead, ResponseHead};
use super::message::Message;
use super::span::Span;
use super::trace::{Trace, Tracing, Tries};
use crate::base::clock::Nanos;
use crate::net::tls;
use crate::ring::Reactor;
use ringway_config::model;
use smallvec::SmallVec;
use std::borrow::Cow;
use std::net::SocketAddr;
use std::rc::Rc;

/// A UUID in text form.
pub type RequestId = [u8; 36];

/// Everything one exchange needs next to its two connections. Taken from a store when a request begins and given back
/// at its end, so that an idle connection holds none and a warm shard allocates none.
#[derive(Debug, Default)]
pub struct Exchange {
    pub request: Message<RequestHead>,
    /// From upstream or made here.
    pub response: Message<ResponseHead>,
    pub facts: Facts,
    /// Of the last try.
    pub last: TryFacts,
    /// Means something where `facts.tracing` says so.
    pub trace: Trace,
}

/// What is decided about an exchange and known of it, whatever its tries.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts {
    /// Body of a response that was made here, among the edits; only where a log asks for it.
    pub local_body: Span,
    /// The client, as far as it can be believed: the connection's peer or the address that x-forwarded-for gives.
    pub client: Option<SocketAddr>,
    /// What chance decides about the exchange's route: one number, however often a route is looked for, so that routes with
    /// a percentage stay chosen.
    pub random: u64,
    /// The request comes from inside (Envoy: x-envoy-internal).
    pub is_internal: bool,
    pub route: Option<RouteRef>,
    /// Index of the cluster in the configuration.
    pub cluster: Option<usize>,
    /// Index of the cluster among the route's weighted ones.
    pub weighted: Option<usize>,
    /// Times that the request was tried on an endpoint.
    pub tries: u32,
    /// A route has replaced the host that the client asked for.
    pub host_replaced: bool,
    /// Redirects of the upstream that were followed.
    pub redirects: u32,
    /// A retry was asked for, but the request's body was too large to be kept for it.
    pub retry_abandoned: bool,
    /// The client asked for an upgrade of the connection, which is not served.
    pub upgrade_dropped: bool,
    pub tracing: Tracing,
    /// The client asked for 204 instead of 504 when time is over (x-envoy-upstream-rq-timeout-alt-response).
    pub timeout_is_204: bool,
    /// Response flags, apart from those of the fault that ended the exchange.
    pub flags: ResponseFlags,
    /// The status sent, 0 before that.
    pub status: u16,
    pub times: Times,
    /// Bytes of body.
    pub received: u64,
    pub sent: u64,
    pub wire: WireBytes,
}

/// What is known of one try.
#[derive(Clone, Debug, Default)]
pub struct TryFacts {
    /// The address of the picked endpoint, in text form.
    pub endpoint: Option<Rc<str>>,
    /// Its host name, where it has one.
    pub endpoint_hostname: Option<Rc<str>>,
    /// Both sides of the connection; `None` on a Unix socket.
    pub local: Option<SocketAddr>,
    pub remote: Option<SocketAddr>,
    pub connection: Option<u64>,
    /// What its handshake has come to, if it has TLS.
    pub tls: Option<Rc<tls::Endpoint>>,
    /// "HTTP/1.1", once there is a connection.
    pub protocol: Option<&'static str>,
    /// Why a connection to the endpoint could not be made, or what its TLS failed of (Envoy: transport failure reason).
    pub transport_failure: Option<Cow<'static, str>>,
    pub times: TryTimes,
    pub wire: TryWireBytes,
}

/// Where the route stands in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RouteRef {
    pub virtual_host: u32,
    pub route: u32,
}

/// Moments of an exchange, on the monotonic clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct Times {
    /// The request's first byte came.
    pub start: Nanos,
    /// The same on the wall clock, in microseconds since the epoch.
    pub start_wall_micros: u64,
    /// The request's last byte came.
    pub request_end: Option<Nanos>,
    /// The response's first and last byte were handed to the downstream connection.
    pub downstream_start: Option<Nanos>,
    pub downstream_end: Option<Nanos>,
}

/// Moments of a try.
#[derive(Clone, Copy, Debug, Default)]
pub struct TryTimes {
    /// The request's head was handed to the upstream connection.
    pub start: Nanos,
    /// The request's last byte was handed to the upstream connection.
    pub end: Option<Nanos>,
    /// The upstream connection was begun and made, perhaps for an exchange before this one.
    pub connect_start: Option<Nanos>,
    pub connect_end: Option<Nanos>,
    /// The response's head came.
    pub response_start: Option<Nanos>,
    /// The first and the last byte of its body came.
    pub response_body_start: Option<Nanos>,
    pub response_end: Option<Nanos>,
}

/// Bytes of an exchange's messages as they were on the downstream's connection, with what marks their ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct WireBytes {
    pub received: u64,
    pub head_received: u64,
    pub sent: u64,
    pub head_sent: u64,
}

/// The same on the upstream's connection, of one try.
#[derive(Clone, Copy, Debug, Default)]
pub struct TryWireBytes {
    pub sent: u64,
    pub head_sent: u64,
    pub received: u64,
    /// Of the final response's head.
    pub head_received: u64,
}

impl Exchange {
    /// Its place in a trace, where tracing is configured.
    pub fn trace(&self) -> Option<&Trace> {
        (self.facts.tracing != Tracing::Off).then_some(&self.trace)
    }

    /// Its tries so far, where their spans are told.
    pub fn traced_tries(&self) -> Option<&Rc<Tries>> {
        if self.facts.tracing == Tracing::Sampled { self.trace.tries.as_ref() } else { None }
    }

    /// The cluster that was picked among the route's weighted ones.
    pub fn weighted_cluster<'f>(&self, forward: &'f model::Forward) -> Option<&'f model::WeightedCluster> {
        match &forward.target {
            model::ClusterTarget::Weighted(clusters) => clusters.get(self.facts.weighted?),
            model::ClusterTarget::Cluster(_) | model::ClusterTarget::Header(_) => None,
        }
    }

    /// Replace the request's path and query by `target`; its first `path_len` bytes are the path.
    pub fn replace_target(&mut self, target: &[u8], path_len: usize) {
        let Message { head, edits, .. } = &mut self.request;
        head.path = edits.store(|out| out.extend_from_slice(target));
        head.path_len = path_len as u32;
        head.implied_path = ImpliedPath::None;
        head.matched_path = Span::EMPTY;
    }

    /// Replace the request's host. `tells`: which one the client asked for is then in x-envoy-original-host; `forwards`: and in
    /// x-forwarded-host.
    pub fn replace_host(&mut self, host: &[u8], tells: bool, forwards: bool) {
        // Each try has the host of its endpoint. The client's is the first one.
        if !std::mem::replace(&mut self.facts.host_replaced, true) {
            let old: SmallVec<[u8; 64]> = self.request.head.authority.of(self.request.view()).into();
            // Only the proxy says what the host was before it replaced it.
            self.request.head.fields.remove_id(FieldId::XEnvoyOriginalHost);
            // A client of HTTP/1.0 need not name one.
            if tells && !old.is_empty() {
                self.request.edit().add_known(FieldId::XEnvoyOriginalHost, |out| out.extend_from_slice(&old));
            }
            if forwards && !old.is_empty() {
                self.request.edit().append(b"x-forwarded-host", &old);
            }
        }
        self.request.head.authority = self.request.edits.store(|out| out.extend_from_slice(host));
    }

    /// Let conditions see the path `/`: the request has none of its own, and `/` is the prefix of all.
    pub fn match_root(&mut self) {
        let Message { head, edits, .. } = &mut self.request;
        head.matched_path = edits.store(|out| out.push(b'/'));
    }

    /// Let conditions see another path than the one that is sent on: `edit` gets a copy of it, as in `edit_path`.
    pub fn edit_matched_path(&mut self, edit: impl FnOnce(&mut Vec<u8>, usize)) {
        let Message { head, received, edits, .. } = &mut self.request;
        let received = received.as_slice();
        let path = Span { start: head.path.start, end: head.path.start + head.path_len };
        let copy = edits.extend(received, path, |_| {});
        (head.matched_path, ()) = edits.edit_last(copy, edit);
    }

    /// Change the request's path, in place: `edit` gets bytes of which the last ones, from the index it gets, are the path,
    /// and leaves it at least one. The query stays.
    pub fn edit_path<R>(&mut self, edit: impl FnOnce(&mut Vec<u8>, usize) -> R) -> R {
        let Message { head, received, edits, .. } = &mut self.request;
        let received = received.as_slice();
        let query = head.path_query();
        let path = Span { start: head.path.start, end: head.path.start + head.path_len };
        let copy = match head.path_len {
            0 => edits.store(|out| out.extend_from_slice(head.implied_path.as_bytes())),
            _ => edits.extend(received, path, |_| {}),
        };
        let (path, result) = edits.edit_last(copy, edit);
        head.path_len = path.end - path.start;
        head.path = query.map_or(path, |query| edits.extend_span(path, received, query));
        head.implied_path = ImpliedPath::None;
        head.matched_path = Span::EMPTY;
        result
    }

    /// Forget the response's head, so that another can be read or made.
    pub fn clear_response(&mut self, reactor: &Reactor) {
        self.response.clear(reactor);
        self.facts.local_body = Span::EMPTY;
    }

    /// Ready for the next request; capacities stay.
    pub fn reset(&mut self, reactor: &Reactor) {
        self.request.clear(reactor);
        self.response.clear(reactor);
        self.facts = Facts::default();
        self.last = TryFacts::default();
    }
}
