//! Forwarding one request: an endpoint, a connection to it, the request out, the response's head in. The response's
//! body is relay.rs's.

use super::downstream::DownstreamBody;
use super::encode::{self, HeaderPolicy};
use super::{Deadlines, Downstream, Fault, Route, relay};
use crate::cluster::Cluster;
use crate::codec::h1::Limits;
use crate::codec::h1::encode::{ChunkHeader, LAST_CHUNK, LAST_CHUNK_AFTER_DATA, last_chunk};
use crate::http::{BodyKind, Exchange, Version};
use crate::net::Outbox;
use crate::ring::{Buf, Reactor};
use crate::stats::HttpStats;
use crate::upstream::{ConnectError, Connection, UpstreamError, UpstreamExchange, UpstreamHead};
use ringway_config::model;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

/// What forwarding needs to know beside the exchange.
pub struct Forwarding<'a> {
    pub reactor: &'a Rc<Reactor>,
    pub cluster: &'a Rc<Cluster>,
    pub route: &'a Route,
    pub forward: &'a model::Forward,
    pub policy: &'a HeaderPolicy,
    pub codec_limits: &'a Limits,
    pub limits: &'a model::HttpLimits,
    pub stats: &'a HttpStats,
    /// The downstream's address in text form, without the port; empty where it has none.
    pub peer: &'a str,
    /// Value of `date` now.
    pub date: &'a [u8],
    /// Bodies from this length on are spliced.
    pub splice_threshold: Option<u64>,
    /// The downstream connection must end after this exchange.
    pub close: bool,
    /// The same for every connection, from the moment that this turns true: a drain may begin before the response does.
    pub draining: &'a Cell<bool>,
}

/// How an exchange that did not fail left the downstream connection.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    pub close: bool,
}

/// Forward the request and relay the response.
///
/// # Errors
/// `exchange.status` tells whether a response was begun before it failed.
pub async fn forward(
    forwarding: &Forwarding<'_>,
    exchange: &mut Exchange,
    downstream: &mut Downstream<'_>,
    deadlines: &mut Deadlines,
) -> Result<Outcome, Fault> {
    let cluster = forwarding.cluster;
    let active = ActiveRequest::new(cluster);
    if downstream.is_done() {
        deadlines.start_route(forwarding.reactor.now(), forwarding.forward.timeout);
    }
    let result = try_endpoints(forwarding, exchange, downstream, deadlines).await;
    match &result {
        Ok(_) => active.completed(forwarding, exchange),
        Err(fault) => active.failed(*fault),
    }
    result
}

/// Try a pooled connection if there is one. If it turns out to have been closed while it was idle, and the request can
/// safely be sent again, send it on a new one: the client never hears of it.
async fn try_endpoints(
    forwarding: &Forwarding<'_>,
    exchange: &mut Exchange,
    downstream: &mut Downstream<'_>,
    deadlines: &mut Deadlines,
) -> Result<Outcome, Fault> {
    let cluster = forwarding.cluster;
    let endpoint = cluster.pick();
    exchange.endpoint = Some(endpoint);
    let pool = &cluster.endpoints[endpoint].pool;
    let mut replay = Replay::new(exchange, forwarding);
    let mut pooled = pool.take();
    let mut retried = false;
    loop {
        let connection = match pooled.take() {
            Some(connection) => connection,
            None => connect(forwarding, endpoint, downstream, deadlines).await?,
        };
        let may_retry = connection.is_reused();
        exchange.upstream_local = connection.local;
        let mut upstream = UpstreamExchange::new(connection);
        let mut attempt = Attempt { forwarding, body: BodyWriter::default(), upstream: &mut upstream, paused: false };
        attempt.send_head(exchange, endpoint);
        replay.resend(&mut attempt.body, &mut exchange.to_upstream, forwarding.reactor);
        match attempt.run(exchange, downstream, deadlines, &mut replay).await {
            Err(fault) if may_retry && fault.is_retriable() && !upstream.started && replay.possible => {
                cluster.stats.upstream_rq_retry.inc();
                retried = true;
                exchange.to_upstream.clear();
            }
            Err(fault) => return Err(fault),
            Ok(outcome) => {
                cluster.stats.upstream_rq_retry_success.add(u64::from(retried));
                let clean = downstream.is_done()
                    && exchange.response.keep_alive
                    && !upstream.has_excess()
                    && upstream.connection.stream.unsent() == 0;
                if clean {
                    pool.put(upstream.connection);
                }
                return Ok(outcome);
            }
        }
    }
}

async fn connect(
    forwarding: &Forwarding<'_>,
    endpoint: usize,
    downstream: &Downstream<'_>,
    deadlines: &mut Deadlines,
) -> Result<Connection, Fault> {
    let stats = &forwarding.cluster.stats;
    stats.upstream_rq_pending_total.inc();
    stats.upstream_rq_pending_active.inc();
    let mut connecting = pin!(forwarding.cluster.endpoints[endpoint].pool.connect());
    let result = poll_fn(|context| {
        if let Poll::Ready(result) = connecting.as_mut().poll(context) {
            return Poll::Ready(result.map_err(|error| match error {
                ConnectError::Timeout => Fault::ConnectTimeout,
                ConnectError::Failed(error) if is_local(&error) => Fault::LocalResources,
                ConnectError::Failed(_) => Fault::ConnectFailed,
            }));
        }
        interrupted(forwarding, downstream, deadlines).map_or(Poll::Pending, |fault| Poll::Ready(Err(fault)))
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
pub(super) fn interrupted(
    forwarding: &Forwarding<'_>,
    downstream: &Downstream<'_>,
    deadlines: &mut Deadlines,
) -> Option<Fault> {
    if downstream.stream.is_broken() {
        return Some(Fault::DownstreamReset);
    }
    deadlines.expired(forwarding.reactor.now())
}

/// One try on one connection.
pub(super) struct Attempt<'a> {
    pub forwarding: &'a Forwarding<'a>,
    pub body: BodyWriter,
    pub upstream: &'a mut UpstreamExchange,
    /// The request's body waits for the upstream to take what came before.
    pub paused: bool,
}

impl Attempt<'_> {
    fn send_head(&mut self, exchange: &mut Exchange, endpoint: usize) {
        let forwarding = self.forwarding;
        exchange.times.upstream_start = forwarding.reactor.now();
        self.body.chunked = exchange.request.framing == BodyKind::Chunked;
        let matched_len = match forwarding.forward.prefix_rewrite {
            Some(_) => forwarding.route.matched_len(exchange.request.path(exchange.request_bytes.as_slice())),
            None => 0,
        };
        let mut outbox = std::mem::take(&mut exchange.to_upstream);
        let default_host = &forwarding.cluster.endpoints[endpoint].name;
        let out = outbox.bytes(forwarding.reactor);
        encode::request(
            out,
            exchange,
            forwarding.policy,
            forwarding.forward,
            matched_len,
            forwarding.peer,
            default_host,
        );
        exchange.to_upstream = outbox;
    }

    /// Send the request, read the response's head, relay the response.
    async fn run(
        &mut self,
        exchange: &mut Exchange,
        downstream: &mut Downstream<'_>,
        deadlines: &mut Deadlines,
        replay: &mut Replay,
    ) -> Result<Outcome, Fault> {
        if !downstream.is_done() {
            // What of the body is here goes out with the head.
            if let Poll::Ready(Err(fault)) = self.pump(exchange, downstream, deadlines, Some(replay)) {
                return Err(fault);
            }
        }
        exchange.to_upstream.flush(&self.upstream.connection.stream);
        exchange.request_bytes.release_if_scarce(exchange.request.len as usize, self.forwarding.reactor);
        loop {
            let head = poll_fn(|_| self.poll_head(exchange, downstream, deadlines, replay)).await?;
            let now = self.forwarding.reactor.now();
            deadlines.moved(now);
            match head {
                UpstreamHead::Interim => self.pass_on_interim(exchange, downstream),
                UpstreamHead::Final => {
                    exchange.times.response_start = Some(now);
                    exchange.has_response = true;
                    return relay::response(self, exchange, downstream, deadlines).await;
                }
            }
        }
    }

    fn poll_head(
        &mut self,
        exchange: &mut Exchange,
        downstream: &mut Downstream<'_>,
        deadlines: &mut Deadlines,
        replay: &mut Replay,
    ) -> Poll<Result<UpstreamHead, Fault>> {
        // The response first: it may come before the request has ended.
        let polled = self.upstream.poll_head(
            exchange.request.method,
            self.forwarding.codec_limits,
            &mut exchange.response_bytes,
            &mut exchange.response,
            self.forwarding.reactor,
        );
        if let Poll::Ready(result) = polled {
            let started = self.upstream.started;
            return Poll::Ready(result.map_err(|error| fault(&error, started)));
        }
        if !downstream.is_done()
            && let Poll::Ready(Err(fault)) = self.pump(exchange, downstream, deadlines, Some(replay))
        {
            return Poll::Ready(Err(fault));
        }
        interrupted(self.forwarding, downstream, deadlines).map_or(Poll::Pending, |fault| Poll::Ready(Err(fault)))
    }

    /// Move what there is of the request's body, as far as the upstream takes it. Ready when something moved.
    pub(super) fn pump(
        &mut self,
        exchange: &mut Exchange,
        downstream: &mut Downstream<'_>,
        deadlines: &mut Deadlines,
        mut replay: Option<&mut Replay>,
    ) -> Poll<Result<(), Fault>> {
        let stream = &self.upstream.connection.stream;
        let limit = self.forwarding.limits.buffer_limit as usize;
        let mut moved = false;
        self.note_pause(stream.poll_flushed(limit).is_pending());
        let stream = &self.upstream.connection.stream;
        // A failed send shows as the response's failure, unless a response came all the same.
        while !downstream.is_done() && matches!(stream.poll_flushed(limit), Poll::Ready(Ok(()))) {
            match downstream.poll_body() {
                Poll::Pending => break,
                Poll::Ready(Err(fault)) => return Poll::Ready(Err(fault)),
                Poll::Ready(Ok(DownstreamBody::Data(buf))) => {
                    if let Some(replay) = &mut replay {
                        replay.keep(&buf);
                    }
                    self.body.data(&mut exchange.to_upstream, buf, self.forwarding.reactor);
                    // Counted against the limit only once it is queued.
                    exchange.to_upstream.flush(stream);
                }
                Poll::Ready(Ok(DownstreamBody::End(trailers))) => {
                    self.body.end(&mut exchange.to_upstream, trailers.as_deref(), self.forwarding.reactor);
                    if let Some(replay) = &mut replay {
                        replay.end = Some(trailers.unwrap_or_default());
                    }
                    exchange.to_upstream.flush(stream);
                    let now = self.forwarding.reactor.now();
                    exchange.times.request_end = Some(now);
                    deadlines.start_route(now, self.forwarding.forward.timeout);
                }
            }
            moved = true;
        }
        if moved {
            // The body streams: no faster than the upstream takes it.
            if downstream.is_done() {
                downstream.stream.set_receive_once(false);
            } else if relay::is_long(downstream.remaining()) || downstream.received() >= relay::LONG_BODY {
                downstream.stream.set_receive_once(true);
            }
            deadlines.moved(self.forwarding.reactor.now());
            return Poll::Ready(Ok(()));
        }
        Poll::Pending
    }

    fn note_pause(&mut self, paused: bool) {
        let stats = self.forwarding.stats;
        match (self.paused, paused) {
            (false, true) => stats.downstream_flow_control_paused_reading_total.inc(),
            (true, false) => stats.downstream_flow_control_resumed_reading_total.inc(),
            _ => {}
        }
        self.paused = paused;
    }

    /// HTTP/1.0 knows no interim responses (RFC 9110 section 15.2).
    fn pass_on_interim(&mut self, exchange: &mut Exchange, downstream: &Downstream<'_>) {
        let reactor = self.forwarding.reactor;
        if exchange.request.version == Version::Http11 {
            if exchange.response.status == 100 {
                exchange.request.expect_continue = false;
            }
            let out = exchange.to_downstream.bytes(reactor);
            encode::interim(out, &exchange.response, exchange.response_bytes.as_slice());
            exchange.to_downstream.flush(downstream.stream);
        }
        exchange.response.clear();
        exchange.response_bytes.clear(reactor);
    }
}

/// Writes a body with the framing it was announced with.
#[derive(Debug, Default)]
pub(super) struct BodyWriter {
    pub chunked: bool,
    /// A chunk has been written.
    begun: bool,
}

impl BodyWriter {
    pub(super) fn new(chunked: bool) -> Self {
        Self { chunked, begun: false }
    }

    pub(super) fn data(&mut self, out: &mut Outbox, buf: Buf, reactor: &Reactor) {
        if self.chunked {
            let size = buf.len() as u64;
            let header = if self.begun { ChunkHeader::after_data(size) } else { ChunkHeader::new(size) };
            out.bytes(reactor).extend_from_slice(header.as_slice());
            self.begun = true;
        }
        out.body(buf, reactor);
    }

    pub(super) fn end(&mut self, out: &mut Outbox, trailers: Option<&[u8]>, reactor: &Reactor) {
        if !self.chunked {
            return;
        }
        let bytes = out.bytes(reactor);
        match trailers {
            Some(lines) => last_chunk(bytes, lines, self.begun),
            None => bytes.extend_from_slice(if self.begun { LAST_CHUNK_AFTER_DATA } else { LAST_CHUNK }),
        }
    }
}

/// The body as far as it was sent, in case it has to be sent again.
pub(super) struct Replay {
    /// Sending the request twice does no harm, and all of it that was sent is still here.
    possible: bool,
    pieces: Vec<Buf>,
    /// The trailers' lines, once the body's end was sent.
    end: Option<Vec<u8>>,
    charge: usize,
    limit: usize,
}

impl Replay {
    fn new(exchange: &Exchange, forwarding: &Forwarding<'_>) -> Self {
        let limit = forwarding.limits.buffer_limit as usize;
        Self { possible: exchange.request.method.is_idempotent(), pieces: Vec::new(), end: None, charge: 0, limit }
    }

    fn keep(&mut self, buf: &Buf) {
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

    fn resend(&self, body: &mut BodyWriter, out: &mut Outbox, reactor: &Reactor) {
        for piece in &self.pieces {
            body.data(out, piece.slice(0..piece.len()), reactor);
        }
        if let Some(trailers) = &self.end {
            body.end(out, Some(trailers), reactor);
        }
    }
}

/// What a failed read of the response means; `started`: a byte of it had come.
pub(super) fn fault(error: &UpstreamError, started: bool) -> Fault {
    match error {
        UpstreamError::Closed | UpstreamError::Reset(_) if started => Fault::UpstreamTruncated,
        UpstreamError::Closed | UpstreamError::Reset(_) => Fault::UpstreamClosed,
        UpstreamError::Head(error) => Fault::ResponseHead(*error),
        UpstreamError::Body(error) => Fault::ResponseBody(*error),
        UpstreamError::TooManyInterim => Fault::TooManyInterim,
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
        stats.upstream_cx_tx_bytes_total.add(exchange.to_upstream.take_total());
        stats.upstream_cx_rx_bytes_total.add(u64::from(exchange.response.len) + exchange.sent);
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
            Fault::ConnectFailed | Fault::ConnectTimeout | Fault::LocalResources => {}
            _ => stats.upstream_rq_tx_reset.inc(),
        }
    }
}

impl Drop for ActiveRequest<'_> {
    fn drop(&mut self) {
        self.cluster.stats.upstream_rq_active.dec();
    }
}
