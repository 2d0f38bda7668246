//! Forwarding one request: an endpoint, a connection to it, the request out, the response's head in. What becomes of
//! the response is the caller's.

use super::attempt::{Attempt, BodyWriter};
use super::{Deadlines, Downstream, Fault};
use crate::cluster::{Cluster, InFlight, NoHost, PickContext};
use crate::codec::h1::Limits;
use crate::http::Exchange;
use crate::net::Outbox;
use crate::ring::{Buf, Reactor};
use crate::stats::HttpStats;
use crate::upstream::{ConnectError, Connection, Pool};
use ringway_config::model;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

/// What forwarding needs to know beside the exchange.
pub struct Forwarding<'a> {
    pub reactor: &'a Rc<Reactor>,
    pub cluster: Rc<Cluster>,
    pub forward: &'a model::Forward,
    pub codec_limits: &'a Limits,
    pub limits: &'a model::HttpLimits,
    pub stats: &'a HttpStats,
}

/// A response whose head is in the exchange and whose body is still to be read from `attempt`.
pub struct Response<'a> {
    pub attempt: Attempt<'a>,
    active: ActiveRequest<'a>,
    in_flight: InFlight,
}

/// Forward the request until the response's head is there. All edits of the request's head have been made.
///
/// # Errors
/// Why there is no response.
pub async fn forward<'a>(
    forwarding: &'a Forwarding<'a>,
    exchange: &mut Exchange,
    downstream: &mut Downstream<'_>,
    deadlines: &mut Deadlines,
) -> Result<Response<'a>, Fault> {
    let active = ActiveRequest::new(&forwarding.cluster);
    if downstream.is_done() {
        deadlines.start_route(forwarding.reactor.now(), forwarding.forward.timeout);
    }
    match try_endpoints(forwarding, exchange, downstream, deadlines).await {
        Ok((attempt, in_flight)) => Ok(Response { attempt, active, in_flight }),
        Err(fault) => {
            active.failed(fault);
            Err(fault)
        }
    }
}

impl Response<'_> {
    /// The response has been relayed, or that failed; a connection of further use goes back to its pool.
    pub fn end(self, exchange: &mut Exchange, downstream: &Downstream<'_>, result: Result<(), Fault>) {
        let Self { attempt, active, in_flight } = self;
        attempt.note_wire(exchange);
        match result {
            Err(fault) => active.failed(fault),
            Ok(()) => {
                active.completed(attempt.forwarding, exchange);
                let upstream = attempt.upstream;
                let clean = downstream.is_done()
                    && exchange.response.keep_alive
                    && !upstream.has_excess()
                    && upstream.connection.stream.unsent() == 0;
                if clean {
                    in_flight.endpoint().pool.put(upstream.connection);
                }
            }
        }
    }
}

/// Try a pooled connection if there is one. If it turns out to have been closed while it was idle, and the request can
/// safely be sent again, send it on a new one: the client never hears of it.
async fn try_endpoints<'a>(
    forwarding: &'a Forwarding<'a>,
    exchange: &mut Exchange,
    downstream: &mut Downstream<'_>,
    deadlines: &mut Deadlines,
) -> Result<(Attempt<'a>, InFlight), Fault> {
    let cluster = &forwarding.cluster;
    let context = PickContext { metadata_match: &forwarding.forward.metadata_match, ..PickContext::default() };
    let endpoint = cluster.pick(&context).map_err(|NoHost| Fault::NoHealthyUpstream)?;
    exchange.endpoint = Some(endpoint.name.clone());
    exchange.endpoint_hostname = endpoint.hostname.clone();
    let in_flight = endpoint.request_started(forwarding.reactor.now());
    let pool = &endpoint.pool;
    let mut replay = Replay::new(exchange, forwarding);
    let mut pooled = pool.take();
    let mut retried = false;
    loop {
        exchange.attempts += 1;
        let connection = match pooled.take() {
            Some(connection) => connection,
            None => connect(forwarding, pool, exchange, downstream, deadlines)
                .await
                .inspect_err(|fault| note_failure(&in_flight, *fault, forwarding))?,
        };
        let may_retry = connection.is_reused();
        let mut attempt = Attempt::new(forwarding, connection);
        attempt.send_head(exchange, &endpoint.name, &replay);
        match attempt.run(exchange, downstream, deadlines, &mut replay).await {
            Err(fault) if may_retry && fault.is_retriable() && !attempt.upstream.started && replay.possible => {
                cluster.stats.upstream_rq_retry.inc();
                retried = true;
                exchange.to_upstream.clear();
            }
            Err(fault) => {
                attempt.note_wire(exchange);
                note_failure(&in_flight, fault, forwarding);
                return Err(fault);
            }
            Ok(()) => {
                in_flight.responded(forwarding.reactor.now());
                cluster.stats.upstream_rq_retry_success.add(u64::from(retried));
                return Ok((attempt, in_flight));
            }
        }
    }
}

/// Load balancing hears of what is the endpoint's fault.
fn note_failure(in_flight: &InFlight, fault: Fault, forwarding: &Forwarding<'_>) {
    if fault.is_upstreams() {
        in_flight.failed(forwarding.reactor.now());
    }
}

async fn connect(
    forwarding: &Forwarding<'_>,
    pool: &Pool,
    exchange: &mut Exchange,
    downstream: &Downstream<'_>,
    deadlines: &mut Deadlines,
) -> Result<Connection, Fault> {
    let stats = &forwarding.cluster.stats;
    stats.upstream_rq_pending_total.inc();
    stats.upstream_rq_pending_active.inc();
    let mut connecting = pin!(pool.connect());
    let result = poll_fn(|context| {
        if let Poll::Ready(result) = connecting.as_mut().poll(context) {
            return Poll::Ready(result.map_err(|error| {
                exchange.connect_error = Some(error.reason());
                match error {
                    ConnectError::Timeout => Fault::ConnectTimeout,
                    ConnectError::Failed(error) if is_local(&error) => Fault::LocalResources,
                    ConnectError::Failed(_) => Fault::ConnectFailed,
                }
            }));
        }
        interrupted(forwarding.reactor, downstream, deadlines).map_or(Poll::Pending, |fault| Poll::Ready(Err(fault)))
    })
    .await;
    stats.upstream_rq_pending_active.dec();
    let given_up = !matches!(result, Ok(_) | Err(Fault::ConnectFailed | Fault::ConnectTimeout | Fault::LocalResources));
    stats.upstream_rq_cancelled.add(u64::from(given_up));
    result
}

fn is_local(error: &std::io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::EMFILE | libc::ENFILE | libc::ENOBUFS | libc::ENOMEM | libc::EADDRNOTAVAIL)
    )
}

/// Why waiting makes no sense any more, if so.
pub fn interrupted(reactor: &Reactor, downstream: &Downstream<'_>, deadlines: &mut Deadlines) -> Option<Fault> {
    if downstream.stream.is_broken() {
        return Some(Fault::DownstreamReset);
    }
    deadlines.expired(reactor.now())
}

/// The body as far as it was sent, in case it has to be sent again.
pub(super) struct Replay {
    /// Sending the request twice does no harm, and all of it that was sent is still here.
    possible: bool,
    pieces: Vec<Buf>,
    /// The trailers' lines, once the body's end was sent.
    pub(super) end: Option<Vec<u8>>,
    charge: usize,
    limit: usize,
}

impl Replay {
    fn new(exchange: &Exchange, forwarding: &Forwarding<'_>) -> Self {
        let limit = forwarding.limits.buffer_limit as usize;
        Self { possible: exchange.request.method.is_idempotent(), pieces: Vec::new(), end: None, charge: 0, limit }
    }

    pub(super) fn keep(&mut self, buf: &Buf) {
        if !self.possible {
            return;
        }
        self.charge += buf.charge();
        if self.charge > self.limit {
            self.possible = false;
            self.pieces = Vec::new();
        } else {
            self.pieces.push(buf.slice(0..buf.len()));
        }
    }

    pub(super) fn resend(&self, body: &mut BodyWriter, out: &mut Outbox, reactor: &Reactor) {
        for piece in &self.pieces {
            body.data(out, piece.slice(0..piece.len()), reactor);
        }
        if let Some(trailers) = &self.end {
            body.end(out, Some(trailers), reactor);
        }
    }
}

/// The cluster's accounting of one request.
struct ActiveRequest<'a> {
    cluster: &'a Cluster,
}

impl<'a> ActiveRequest<'a> {
    fn new(cluster: &'a Cluster) -> Self {
        cluster.stats.upstream_rq_total.inc();
        cluster.stats.upstream_rq_active.inc();
        Self { cluster }
    }

    fn completed(&self, forwarding: &Forwarding<'_>, exchange: &mut Exchange) {
        let stats = &self.cluster.stats;
        stats.upstream_cx_tx_bytes_total.add(exchange.wire.upstream_sent);
        stats.upstream_cx_rx_bytes_total.add(exchange.wire.upstream_received);
        stats.upstream_rq_completed.inc();
        stats.count_status(exchange.response.status);
        let start = exchange.times.request_end.unwrap_or(exchange.times.upstream_start);
        stats.upstream_rq_time.record(forwarding.reactor.now().saturating_sub(start) / 1000);
    }

    fn failed(&self, fault: Fault) {
        let stats = &self.cluster.stats;
        match fault {
            Fault::RouteTimeout => {
                stats.upstream_rq_timeout.inc();
                stats.upstream_rq_tx_reset.inc();
            }
            Fault::UpstreamClosed | Fault::UpstreamTruncated => stats.upstream_rq_rx_reset.inc(),
            Fault::ResponseHead(_) | Fault::ResponseBody(_) | Fault::TooManyInterim => {
                stats.upstream_cx_protocol_error.inc();
            }
            Fault::NoHealthyUpstream | Fault::ConnectFailed | Fault::ConnectTimeout | Fault::LocalResources => {}
            _ => stats.upstream_rq_tx_reset.inc(),
        }
    }
}

impl Drop for ActiveRequest<'_> {
    fn drop(&mut self) {
        self.cluster.stats.upstream_rq_active.dec();
    }
}
