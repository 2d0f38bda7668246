//! One request with its response, as data: what was read, what was decided, what there is to log.

use super::head::{RequestHead, ResponseHead};
use crate::base::clock::Nanos;
use crate::net::{HeadBytes, Outbox};
use crate::ring::Reactor;
use std::net::SocketAddr;

/// A UUID in text form.
pub type RequestId = [u8; 36];

/// Everything one exchange needs beside its two connections. Taken from a store when a request begins and given back
/// at its end, so that an idle connection holds none and a warm shard allocates none.
#[derive(Debug, Default)]
pub struct Exchange {
    pub request: RequestHead,
    pub request_bytes: HeadBytes,
    pub response: ResponseHead,
    pub response_bytes: HeadBytes,
    /// The response's head came from upstream and is whole.
    pub has_response: bool,
    /// Batches to the downstream and to the upstream.
    pub to_downstream: Outbox,
    pub to_upstream: Outbox,
    /// Set when the request had none.
    pub request_id: Option<RequestId>,
    pub route: Option<RouteRef>,
    /// Index of the picked endpoint in its cluster.
    pub endpoint: Option<usize>,
    /// This side of the upstream connection.
    pub upstream_local: Option<SocketAddr>,
    /// The status sent, 0 before that.
    pub status: u16,
    pub times: Times,
    /// Bytes of body.
    pub received: u64,
    pub sent: u64,
    /// Those of them that were spliced.
    pub spliced: u64,
    /// Value of x-envoy-upstream-service-time, in milliseconds.
    pub service_time_ms: Option<u64>,
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
    /// The response's head came.
    pub response_start: Option<Nanos>,
}

impl Exchange {
    /// Ready for the next request; capacities stay.
    pub fn reset(&mut self, reactor: &Reactor) {
        self.request_bytes.clear(reactor);
        self.response_bytes.clear(reactor);
        self.request.clear();
        self.response.clear();
        self.has_response = false;
        self.to_downstream.clear();
        self.to_upstream.clear();
        self.request_id = None;
        self.route = None;
        self.endpoint = None;
        self.upstream_local = None;
        self.status = 0;
        self.times = Times::default();
        self.received = 0;
        self.sent = 0;
        self.spliced = 0;
        self.service_time_ms = None;
    }
}
