//! Forwarding one request: what is decided for all its tries, and what each of them counts. The tries themselves are
//! tries.rs's; what becomes of the response is the caller's.

use super::attempt::Attempt;
use super::mirror::{self, MirrorOptions};
use super::replay::{Replay, ReplayPiece};
use super::retry::TryPolicy;
use super::{Deadlines, Downstream, Fault, tries};
use crate::cluster::outlier::Outcome;
use crate::cluster::{Cluster, Endpoint, InFlight};
use crate::codec::h1::Limits;
use crate::http::matcher::is_in_share;
use crate::http::{Exchange, FieldId, Method, ResponseHead};
use crate::ring::{Buf, Reactor};
use crate::route::hash_policy::NewCookie;
use crate::stats::HttpStats;
use crate::upstream::limits::{Permit, Priority};
use crate::upstream::{Connection, UpstreamBody};
use ringway_config::model;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// What forwarding needs to know beside the exchange.
pub struct Forwarding<'a> {
    pub reactor: &'a Rc<Reactor>,
    pub cluster: &'a Cluster,
    /// All clusters, in the order of the configuration.
    pub clusters: &'a [Rc<Cluster>],
    pub forward: &'a model::Forward,
    pub policy: TryPolicy<'a>,
    /// By what the consistent hashes pick.
    pub hash: Option<u64>,
    /// For the response, so that the client's next request gets the same hash.
    pub cookies: Vec<NewCookie<'a>>,
    /// The subset of the endpoints, sorted by key.
    pub metadata_match: &'a [(String, String)],
    pub codec_limits: &'a Limits,
    pub limits: &'a model::HttpLimits,
    /// How long nothing may move.
    pub stream_idle: Option<Duration>,
    /// Tell the upstream which try it is (x-envoy-attempt-count).
    pub tells_attempts: bool,
    pub stats: &'a HttpStats,
}

/// A try on a connection; once its response's head is in the exchange, the body is to be read from `attempt`.
pub struct Response<'a> {
    pub attempt: Attempt<'a>,
    started: Started<'a>,
}

/// A try on an endpoint, with its place in all accounts.
pub(super) struct Started<'a> {
    accounting: Accounting<'a>,
    in_flight: InFlight,
    _request: Permit,
}

/// Forward the request until a response's head is there, and its try in `current`, which is empty at the beginning. All
/// edits of the request's head have been made.
///
/// # Errors
/// Why there is no response.
pub async fn forward<'a>(
    forwarding: &'a Forwarding<'a>,
    exchange: &mut Exchange,
    downstream: &mut Downstream<'_>,
    deadlines: &mut Deadlines,
    current: &mut Option<Response<'a>>,
) -> Result<(), Fault> {
    if exchange.redirects == 0 {
        downstream.replay = Replay::new(forwarding.keeps_body(exchange.request.method), forwarding.replay_limit());
    }
    if downstream.is_done() {
        deadlines.start_route(forwarding.reactor.now(), forwarding.policy.timeouts.route);
    }
    forwarding.start_mirrors(exchange, downstream);
    tries::run(forwarding, exchange, downstream, deadlines, current).await
}

impl Forwarding<'_> {
    /// The circuit breakers that count.
    pub(super) fn priority(&self) -> Priority {
        match self.forward.priority {
            model::Priority::Default => Priority::Default,
            model::Priority::High => Priority::High,
        }
    }

    /// Whether the request may have to be sent again with all of its body: by the policy, elsewhere, or because a pooled
    /// connection turned out to be closed.
    fn keeps_body(&self, method: Method) -> bool {
        method.is_idempotent() || self.asks_for_body()
    }

    fn asks_for_body(&self) -> bool {
        self.policy.retries() || self.forward.internal_redirect.is_some()
    }

    fn replay_limit(&self) -> u64 {
        let own = self.policy.config.and_then(|config| config.max_replay_bytes);
        own.unwrap_or(u64::from(self.limits.buffer_limit))
    }

    /// A piece of the request's body goes out: keep it for another try, give it to the mirrors.
    pub(super) fn copy_body(&self, downstream: &mut Downstream<'_>, buf: &Buf) {
        if !downstream.replay.keep(buf, self.reactor) && self.asks_for_body() {
            self.abandon("is too large to be kept for another try");
        }
        for mirror in &downstream.mirrors {
            if !mirror.send(buf) {
                self.abandon("is not taken by its mirror fast enough");
            }
        }
    }

    #[cold]
    fn abandon(&self, why: &'static str) {
        self.cluster.stats.retry_or_shadow_abandoned.inc();
        let limit = self.replay_limit();
        tracing::debug!(target: "ringway::router", cluster = self.cluster.config.name, limit, "a request's body {why}");
    }

    /// Start the copies of the request.
    fn start_mirrors(&self, exchange: &Exchange, downstream: &mut Downstream<'_>) {
        for policy in &self.forward.mirrors {
            if !is_in_share(policy.fraction, self.reactor.random().next_u64()) {
                continue;
            }
            let options = MirrorOptions {
                cluster: self.clusters[policy.cluster].clone(),
                codec_limits: self.codec_limits,
                buffer_limit: self.limits.buffer_limit as usize,
                timeout: self.policy.timeouts.route,
                idle: self.stream_idle,
                priority: self.priority(),
            };
            let mut ended = downstream.is_done();
            let has_body = !ended || !downstream.replay.is_empty();
            let Some(mirror) = mirror::start(self.reactor, exchange, has_body, options) else { continue };
            // After an internal redirect, the body is one that was kept.
            downstream.replay.for_each(|piece| match piece {
                ReplayPiece::Buf(buf) => drop(mirror.send(&buf)),
                ReplayPiece::Bytes(bytes) => drop(mirror.send(&Buf::from(Box::from(bytes)))),
                ReplayPiece::End(trailers) => {
                    mirror.end(Some(trailers));
                    ended = true;
                }
            });
            if !ended {
                downstream.mirrors.push(mirror);
            }
        }
    }
}

impl<'a> Started<'a> {
    pub(super) fn new(forwarding: &'a Forwarding<'a>, endpoint: &Rc<Endpoint>, request: Permit) -> Self {
        Self {
            accounting: Accounting::new(forwarding.cluster),
            in_flight: endpoint.request_started(forwarding.reactor.now()),
            _request: request,
        }
    }

    /// There is no response, and there will be none.
    pub(super) fn fail(mut self, fault: Fault, reactor: &Reactor) {
        let endpoint = self.in_flight.endpoint();
        if let Some(outcome) = outcome(fault) {
            self.accounting.cluster.report(endpoint, outcome);
            self.in_flight.failed(reactor.now());
        }
        self.accounting.failed(fault);
    }
}

impl<'a> Response<'a> {
    pub(super) fn new(forwarding: &'a Forwarding<'a>, connection: Connection, started: Started<'a>) -> Self {
        Self { attempt: Attempt::new(forwarding, connection), started }
    }

    /// The response's head is there: load balancing, outlier detection and health checks hear of it.
    pub(super) fn responded(&self, head: &ResponseHead) {
        let Started { accounting, in_flight, .. } = &self.started;
        let endpoint = in_flight.endpoint();
        in_flight.responded(self.attempt.forwarding.reactor.now());
        accounting.cluster.report(endpoint, Outcome::Status(head.status));
        if head.fields.contains(FieldId::XEnvoyImmediateHealthCheckFail) {
            accounting.cluster.shared.report_immediate_failure(&endpoint.host);
        }
    }

    /// There is no response, and there will be none.
    pub(super) fn fail(self, fault: Fault) {
        self.started.fail(fault, self.attempt.forwarding.reactor);
    }

    /// Nobody wants the response whose head is in the exchange. The connection stays where all of it has come.
    pub fn discard(current: &mut Option<Self>, exchange: &mut Exchange, downstream: &Downstream<'_>) {
        let Some(Self { mut attempt, mut started }) = current.take() else { return };
        let forwarding = attempt.forwarding;
        attempt.upstream.start_body(exchange.response.framing, forwarding.codec_limits, false);
        let ended = loop {
            match attempt.upstream.poll_body() {
                Poll::Ready(Ok(UpstreamBody::Data(_))) => {}
                Poll::Ready(Ok(UpstreamBody::End(_))) => break true,
                Poll::Ready(Err(_)) | Poll::Pending => break false,
            }
        };
        started.accounting.ended = true;
        if ended && is_clean(&attempt, exchange, downstream) {
            started.in_flight.endpoint().pool.put(attempt.upstream.connection);
        }
        exchange.to_upstream.clear();
        exchange.times.response_start = None;
        exchange.clear_response(forwarding.reactor);
    }

    /// The response has been relayed, or that failed; a connection of further use goes back to its pool.
    pub fn end(
        current: &mut Option<Self>,
        exchange: &mut Exchange,
        downstream: &Downstream<'_>,
        result: Result<(), Fault>,
    ) {
        let Some(Self { attempt, mut started }) = current.take() else { return };
        attempt.note_wire(exchange);
        match result {
            // The endpoint has answered, and was judged by that. How long the rest takes is the client's doing, too.
            Err(fault @ (Fault::RouteTimeout | Fault::PerTryIdleTimeout)) => started.accounting.failed(fault),
            Err(fault) => started.fail(fault, attempt.forwarding.reactor),
            Ok(()) => {
                let start = exchange.times.request_end.unwrap_or(exchange.times.upstream_start);
                let micros = attempt.forwarding.reactor.now().saturating_sub(start) / 1000;
                let wire = &exchange.wire;
                let status = exchange.response.status;
                started.accounting.completed(status, wire.upstream_sent, wire.upstream_received, micros);
                if is_clean(&attempt, exchange, downstream) {
                    started.in_flight.endpoint().pool.put(attempt.upstream.connection);
                }
            }
        }
    }
}

/// Whether the connection can serve another exchange.
fn is_clean(attempt: &Attempt<'_>, exchange: &Exchange, downstream: &Downstream<'_>) -> bool {
    let upstream = &attempt.upstream;
    downstream.is_done()
        && exchange.response.keep_alive
        && !upstream.has_excess()
        && upstream.connection.stream.unsent() == 0
}

/// What outlier detection hears of a failure; `None`: it is not the endpoint's.
fn outcome(fault: Fault) -> Option<Outcome> {
    match fault {
        Fault::ConnectFailed => Some(Outcome::ConnectFailed),
        Fault::ConnectTimeout => Some(Outcome::ConnectTimeout),
        Fault::RouteTimeout | Fault::PerTryTimeout | Fault::PerTryIdleTimeout => Some(Outcome::ResponseTimeout),
        fault if fault.is_upstreams() => Some(Outcome::Reset),
        _ => None,
    }
}

/// Why waiting makes no sense any more, if so.
pub fn interrupted(reactor: &Reactor, downstream: &Downstream<'_>, deadlines: &mut Deadlines) -> Option<Fault> {
    if downstream.stream.is_broken() {
        return Some(Fault::DownstreamReset);
    }
    deadlines.expired(reactor.now())
}

/// The cluster's accounting of one try. One that nobody waits for any more counts as reset by this side.
pub(super) struct Accounting<'a> {
    cluster: &'a Cluster,
    ended: bool,
}

impl<'a> Accounting<'a> {
    pub(super) fn new(cluster: &'a Cluster) -> Self {
        cluster.stats.upstream_rq_total.inc();
        cluster.stats.upstream_rq_active.inc();
        Self { cluster, ended: false }
    }

    /// The whole response has come. `sent` and `received`: bytes on the wire; `micros`: from the request's end.
    pub(super) fn completed(&mut self, status: u16, sent: u64, received: u64, micros: u64) {
        let stats = &self.cluster.stats;
        stats.upstream_cx_tx_bytes_total.add(sent);
        stats.upstream_cx_rx_bytes_total.add(received);
        stats.upstream_rq_completed.inc();
        stats.count_status(status);
        stats.upstream_rq_time.record(micros);
        self.ended = true;
    }

    pub(super) fn failed(&mut self, fault: Fault) {
        let stats = &self.cluster.stats;
        match fault {
            Fault::RouteTimeout => {
                stats.upstream_rq_timeout.inc();
                stats.upstream_rq_tx_reset.inc();
            }
            Fault::PerTryTimeout => {
                stats.upstream_rq_per_try_timeout.inc();
                stats.upstream_rq_tx_reset.inc();
            }
            Fault::PerTryIdleTimeout => {
                stats.upstream_rq_per_try_idle_timeout.inc();
                stats.upstream_rq_tx_reset.inc();
            }
            Fault::MaxStreamDuration => {
                stats.upstream_rq_max_duration_reached.inc();
                stats.upstream_rq_tx_reset.inc();
            }
            Fault::UpstreamClosed | Fault::UpstreamTruncated => stats.upstream_rq_rx_reset.inc(),
            Fault::ResponseHead(_) | Fault::ResponseBody(_) | Fault::TooManyInterim => {
                stats.upstream_cx_protocol_error.inc();
            }
            Fault::NoHealthyUpstream
            | Fault::Overflow(_)
            | Fault::ConnectFailed
            | Fault::ConnectTimeout
            | Fault::LocalResources => {}
            _ => stats.upstream_rq_tx_reset.inc(),
        }
        self.ended = true;
    }
}

impl Drop for Accounting<'_> {
    fn drop(&mut self) {
        let stats = &self.cluster.stats;
        stats.upstream_rq_active.dec();
        stats.upstream_rq_tx_reset.add(u64::from(!self.ended));
    }
}
