//! One request with its response, as data: what was read, what was decided, what there is to log.

use super::edit::HeadEditor;
use super::format::ResponseFlags;
use super::head::{RequestHead, ResponseHead};
use super::span::{EditBytes, HeadView, Span};
use crate::base::clock::Nanos;
use crate::net::{HeadBytes, Outbox};
use crate::ring::Reactor;
use ringway_config::model;
use std::net::SocketAddr;
use std::rc::Rc;

/// A UUID in text form.
pub type RequestId = [u8; 36];

/// Everything one exchange needs beside its two connections. Taken from a store when a request begins and given back
/// at its end, so that an idle connection holds none and a warm shard allocates none.
#[derive(Debug, Default)]
pub struct Exchange {
    pub request: RequestHead,
    pub request_bytes: HeadBytes,
    pub request_edits: EditBytes,
    /// The head has been read whole; before, its index means nothing.
    pub has_request: bool,
    pub response: ResponseHead,
    pub response_bytes: HeadBytes,
    pub response_edits: EditBytes,
    /// Body of a response that was made here, among the edits; only where a log asks for it.
    pub local_body: Span,
    /// The response's head is whole, whether it came from upstream or was made here.
    pub has_response: bool,
    /// Batches to the downstream and to the upstream.
    pub to_downstream: Outbox,
    pub to_upstream: Outbox,
    /// The client, as far as it can be believed: the connection's peer or who x-forwarded-for says.
    pub client: Option<SocketAddr>,
    /// The request comes from inside (Envoy: x-envoy-internal).
    pub is_internal: bool,
    pub route: Option<RouteRef>,
    /// Index of the cluster in the configuration.
    pub cluster: Option<usize>,
    /// Index of the cluster among the route's weighted ones.
    pub weighted: Option<usize>,
    /// The address of the picked endpoint, in text form.
    pub endpoint: Option<Rc<str>>,
    /// Its host name, where it has one.
    pub endpoint_hostname: Option<Rc<str>>,
    /// Times that the request was tried on an endpoint.
    pub attempts: u32,
    /// Redirects of the upstream that were followed.
    pub redirects: u32,
    /// A retry was asked for, but the request's body was too large to be kept for it.
    pub retry_abandoned: bool,
    /// The client asked for 204 in the place of 504 when time is over (x-envoy-upstream-rq-timeout-alt-response).
    pub timeout_is_204: bool,
    /// Both sides of the upstream connection; `None` on a Unix socket.
    pub upstream_local: Option<SocketAddr>,
    pub upstream_remote: Option<SocketAddr>,
    pub upstream_connection: Option<u64>,
    /// Why the last connection to an endpoint could not be made.
    pub connect_error: Option<&'static str>,
    /// What is to be said of it in the access log, as far as it did not end the exchange.
    pub flags: ResponseFlags,
    /// The status sent, 0 before that.
    pub status: u16,
    pub times: Times,
    /// Bytes of body.
    pub received: u64,
    pub sent: u64,
    pub wire: WireBytes,
    /// Those of them that were spliced.
    pub spliced: u64,
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
    /// The request's head was handed to the upstream connection.
    pub upstream_start: Nanos,
    /// The request's last byte was handed to the upstream connection.
    pub upstream_end: Option<Nanos>,
    /// The upstream connection was begun and made, perhaps for an exchange before this one.
    pub connect_start: Option<Nanos>,
    pub connect_end: Option<Nanos>,
    /// The response's head came.
    pub response_start: Option<Nanos>,
    /// The first and the last byte of its body came.
    pub response_body_start: Option<Nanos>,
    pub response_end: Option<Nanos>,
    /// The response's first and last byte were handed to the downstream connection.
    pub downstream_start: Option<Nanos>,
    pub downstream_end: Option<Nanos>,
}

/// Bytes of an exchange's messages as they were on their connections, framing included.
#[derive(Clone, Copy, Debug, Default)]
pub struct WireBytes {
    pub downstream_received: u64,
    pub downstream_sent: u64,
    pub downstream_head_sent: u64,
    /// Of the last try, like those below.
    pub upstream_sent: u64,
    pub upstream_head_sent: u64,
    pub upstream_received: u64,
}

impl Exchange {
    /// The bytes of the request's head.
    #[inline]
    pub fn request_view(&self) -> HeadView<'_> {
        HeadView { received: self.request_bytes.as_slice(), edits: self.request_edits.as_slice() }
    }

    /// The bytes of the response's head.
    #[inline]
    pub fn response_view(&self) -> HeadView<'_> {
        HeadView { received: self.response_bytes.as_slice(), edits: self.response_edits.as_slice() }
    }

    /// The batch that the request's head goes into, the head, and the bytes that it is in.
    #[inline]
    pub fn request_to_send(&mut self) -> (&mut Outbox, &RequestHead, HeadView<'_>) {
        let view = HeadView { received: self.request_bytes.as_slice(), edits: self.request_edits.as_slice() };
        (&mut self.to_upstream, &self.request, view)
    }

    /// The batch that the response's head goes into, the heads of request and response, and the bytes that the latter is in.
    #[inline]
    pub fn response_to_send(&mut self) -> (&mut Outbox, &RequestHead, &ResponseHead, HeadView<'_>) {
        let view = HeadView { received: self.response_bytes.as_slice(), edits: self.response_edits.as_slice() };
        (&mut self.to_downstream, &self.request, &self.response, view)
    }

    pub fn edit_request(&mut self) -> HeadEditor<'_> {
        HeadEditor {
            fields: &mut self.request.fields,
            received: self.request_bytes.as_slice(),
            edits: &mut self.request_edits,
        }
    }

    pub fn edit_response(&mut self) -> HeadEditor<'_> {
        HeadEditor {
            fields: &mut self.response.fields,
            received: self.response_bytes.as_slice(),
            edits: &mut self.response_edits,
        }
    }

    /// The cluster that was picked among the route's weighted ones.
    pub fn weighted_cluster<'f>(&self, forward: &'f model::Forward) -> Option<&'f model::WeightedCluster> {
        match &forward.target {
            model::ClusterTarget::Weighted(clusters) => clusters.get(self.weighted?),
            model::ClusterTarget::Cluster(_) | model::ClusterTarget::Header(_) => None,
        }
    }

    /// Put `target` in the place of the request's path and query; its first `path_len` bytes are the path.
    pub fn replace_target(&mut self, target: &[u8], path_len: usize) {
        self.request.path = self.request_edits.store(|out| out.extend_from_slice(target));
        self.request.path_len = path_len as u32;
        self.request.implied_path = super::head::ImpliedPath::None;
    }

    /// Change the request's path, in place: `edit` gets bytes of which the last ones, from the index it gets, are the path,
    /// and leaves it at least one. The query stays.
    pub fn edit_path<R>(&mut self, edit: impl FnOnce(&mut Vec<u8>, usize) -> R) -> R {
        let received = self.request_bytes.as_slice();
        let (head, edits) = (&mut self.request, &mut self.request_edits);
        let query = head.path_query();
        let path = Span { start: head.path.start, end: head.path.start + head.path_len };
        let copy = match head.path_len {
            0 => edits.store(|out| out.extend_from_slice(head.implied_path.as_bytes())),
            _ => edits.extend(received, path, |_| {}),
        };
        let (path, result) = edits.edit_last(copy, edit);
        head.path_len = path.end - path.start;
        head.path = query.map_or(path, |query| edits.extend_span(path, received, query));
        head.implied_path = super::head::ImpliedPath::None;
        result
    }

    /// Forget the response's head, so that another can be read or made.
    pub fn clear_response(&mut self, reactor: &Reactor) {
        self.response.clear();
        self.response_bytes.clear(reactor);
        self.response_edits.clear();
        self.local_body = Span::EMPTY;
        self.has_response = false;
    }

    /// Ready for the next request; capacities stay.
    pub fn reset(&mut self, reactor: &Reactor) {
        self.request_bytes.clear(reactor);
        self.response_bytes.clear(reactor);
        self.request_edits.clear();
        self.response_edits.clear();
        self.request.clear();
        self.response.clear();
        self.has_request = false;
        self.has_response = false;
        self.to_downstream.clear();
        self.to_upstream.clear();
        self.client = None;
        self.is_internal = false;
        self.route = None;
        self.cluster = None;
        self.weighted = None;
        self.endpoint = None;
        self.endpoint_hostname = None;
        self.local_body = Span::EMPTY;
        self.attempts = 0;
        self.redirects = 0;
        self.retry_abandoned = false;
        self.timeout_is_204 = false;
        self.upstream_local = None;
        self.upstream_remote = None;
        self.upstream_connection = None;
        self.connect_error = None;
        self.wire = WireBytes::default();
        self.flags = ResponseFlags::empty();
        self.status = 0;
        self.times = Times::default();
        self.received = 0;
        self.sent = 0;
        self.spliced = 0;
    }
}
