//! One try of a request on one endpoint: the request out, its body as far as the upstream takes it, the response's head
//! in, and the accounts of all that.

use super::forward::Forwarding;
use super::replay::ReplayPiece;
use super::upload::Upload;
use super::{Client, Fault, trace};
use crate::cluster::outlier::Outcome;
use crate::cluster::{Accounting, Endpoint, InFlight, RequestEnd};
use crate::http::{Exchange, FieldId, Message, ResponseHead, Trailers};
use crate::mux::{Broken, HeadKind, Moved, Piece, Pump, Sink, Source, Upstream};
use crate::ring::{Buf, Reactor, Timer};
use crate::stats::HttpStats;
use crate::upstream::Lease;
use crate::upstream::limits::Permit;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// How long the head of a call that may be tried again waits for trailers right behind it.
const HOLD_TIME: Duration = Duration::from_millis(5);

/// A try on a connection. Once the response's head is in the exchange, the body is to be read from its wire.
pub struct Try<'a> {
    pub forwarding: &'a Forwarding<'a>,
    pub lease: Lease,
    upload: Pump,
    /// The client has seen an interim response.
    pub(super) has_passed_interim: bool,
    /// Of a call: its head did not say how it ends, and outlier detection has not heard of it.
    is_unjudged: bool,
    started: Started<'a>,
}

/// A try on an endpoint, with its place in all accounts.
pub(super) struct Started<'a> {
    accounting: Accounting<'a>,
    in_flight: InFlight,
    _request: Permit,
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
            self.accounting.cluster().report(endpoint, outcome);
            self.in_flight.failed(reactor.now());
        }
        count(&mut self.accounting, fault);
    }
}

impl<'a> Try<'a> {
    pub(super) fn new(forwarding: &'a Forwarding<'a>, mut lease: Lease, started: Started<'a>) -> Self {
        lease.wire.begin(forwarding.codec_limits, forwarding.limits.enable_trailers);
        let upload = Pump::new(forwarding.limits.buffer_limit as usize);
        Self { forwarding, lease, upload, has_passed_interim: false, is_unjudged: false, started }
    }

    /// Give the connection up; the try goes on on another one.
    pub(super) fn into_started(self) -> Started<'a> {
        self.started
    }

    /// Put the request's head, and what is kept of its body, into the batch. HTTP/1.1 must name a host (RFC 9112 section
    /// 3.2): `default_host` is for HTTP/1.0 requests that do not.
    pub(super) fn send_head(&mut self, exchange: &mut Exchange, default_host: &str, upload: &Upload<'_, '_>) {
        self.note_connection(exchange);
        exchange.last.times.start = self.forwarding.reactor.now();
        let request = &exchange.request;
        let authority = request.head.authority.of(request.view());
        let host = if authority.is_empty() { default_host.as_bytes() } else { authority };
        let wire = &mut self.lease.wire;
        exchange.last.wire.head_sent = wire.send_head(request, host);
        upload.replay.for_each(|piece| match piece {
            ReplayPiece::Buf(buf) => drop(wire.put(buf)),
            ReplayPiece::Bytes(bytes) => wire.put_bytes(bytes),
            ReplayPiece::End => wire.end(&request.trailers),
        });
    }

    /// What logs and header values tell of the connection.
    fn note_connection(&self, exchange: &mut Exchange) {
        let (connection, last) = (&self.lease.connection, &mut exchange.last);
        last.local = connection.local;
        last.remote = connection.remote;
        last.connection = Some(connection.id);
        if connection.tls.is_some() {
            last.tls.clone_from(&connection.tls);
        }
        last.protocol = Some(self.lease.wire.protocol());
        last.times.connect_start = Some(connection.connect_start);
        last.times.connect_end = Some(connection.opened);
        last.times.end = None;
    }

    /// What has gone and come on it.
    pub(super) fn note_wire(&mut self, exchange: &mut Exchange) {
        let wire = &mut exchange.last.wire;
        wire.sent = self.lease.wire.sent();
        wire.received = self.lease.wire.received();
    }

    /// The same, and what TLS says of it, of a try that has failed.
    pub(super) fn note_failure(&mut self, exchange: &mut Exchange) {
        self.note_wire(exchange);
        if let Some(failure) = self.lease.wire.tls_failure() {
            exchange.last.transport_failure = Some(format!("TLS: {failure}").into());
        } else if self.lease.wire.is_cut() {
            exchange.last.transport_failure =
                Some("TLS: the connection ended without close_notify, so that bytes may be missing".into());
        }
    }

    /// What a failed read of the response's head means. In TLS 1.3 this side's handshake is over before the endpoint has seen its
    /// certificate: an endpoint that refuses it says so behind the request, which it has not read. So it counts as TLS 1.2's
    /// refusal does, within the handshake.
    pub(super) fn head_fault(&self, broken: Broken) -> Fault {
        let Lease { wire, connection, .. } = &self.lease;
        let fault = Fault::of_response_head(broken, wire.has_begun());
        let is_refusal = || wire.tls_failure().is_some_and(|failure| failure.is_refusal());
        match fault {
            Fault::UpstreamClosed if !connection.is_reused() && is_refusal() => Fault::ConnectFailed,
            fault => fault,
        }
    }

    /// Send the request and read the response's head.
    ///
    /// # Errors
    /// There is no response.
    pub(super) async fn run(&mut self, exchange: &mut Exchange, client: &mut Client<'_, '_>) -> Result<(), Fault> {
        let now = client.reactor.now();
        if client.upload.is_done() {
            let timeouts = &self.forwarding.policy.timeouts;
            client.deadlines.start_try(now, timeouts.per_try, timeouts.per_try_idle);
        } else if let Poll::Ready(Err(fault)) = self.pump(exchange, client) {
            // What of the body is here goes out with the head.
            return Err(fault);
        }
        self.lease.wire.flush();
        if client.upload.is_done() {
            exchange.last.times.end.get_or_insert(now);
        }
        let head_len = client.upload.wire.head_received() as usize;
        exchange.request.received.release_if_scarce(head_len, client.reactor);
        loop {
            let head = client.guard(|client, _| self.poll_head(exchange, client)).await?;
            let now = client.reactor.now();
            client.deadlines.moved(now);
            match head {
                HeadKind::Interim => self.pass_on_interim(exchange, client),
                HeadKind::Final | HeadKind::Switched => {
                    exchange.last.times.response_start = Some(now);
                    exchange.last.wire.head_received = self.lease.wire.head_received();
                    client.deadlines.try_responded();
                    if self.forwarding.policy.waits_for_trailers() && client.upload.is_done() {
                        let reactor = client.reactor;
                        return reactor.pooled(|| self.hold(exchange, client)).await;
                    }
                    return Ok(());
                }
            }
        }
    }

    /// A call that ends right behind its head, without a message, can be tried again: wait for its trailers for a moment. A
    /// client that waits for the head alone gets it then.
    async fn hold(&mut self, exchange: &mut Exchange, client: &mut Client<'_, '_>) -> Result<(), Fault> {
        if exchange.response.grpc_status().is_some() {
            return Ok(());
        }
        let timer = Timer::new(client.reactor);
        timer.arm_in(HOLD_TIME);
        let wire = &mut self.lease.wire;
        let is_bare = client.guard(|_, _| match wire.poll_bare_end() {
            Poll::Pending if timer.fired() => Poll::Ready(Ok(false)),
            polled => polled.map(Ok),
        });
        if is_bare.await? {
            // They are there, and stay there for the client.
            let _ = self.lease.wire.poll_piece(&mut exchange.response.trailers);
        }
        Ok(())
    }

    #[inline]
    fn poll_head(&mut self, exchange: &mut Exchange, client: &mut Client<'_, '_>) -> Poll<Result<HeadKind, Fault>> {
        // The response first: it may come before the request has ended.
        if let Poll::Ready(result) = self.lease.wire.poll_head(&mut exchange.response) {
            return Poll::Ready(result.map_err(|broken| self.head_fault(broken)));
        }
        self.pump_on(exchange, client)
    }

    /// While the response is awaited, the request's body goes on. Ready only with a fault.
    pub fn pump_on<T>(&mut self, exchange: &mut Exchange, client: &mut Client<'_, '_>) -> Poll<Result<T, Fault>> {
        if !client.upload.is_done()
            && let Poll::Ready(Err(fault)) = self.pump(exchange, client)
        {
            return Poll::Ready(Err(fault));
        }
        Poll::Pending
    }

    /// Move what there is of the request's body, as far as the upstream takes it. Ready when something moved.
    fn pump(&mut self, exchange: &mut Exchange, client: &mut Client<'_, '_>) -> Poll<Result<(), Fault>> {
        let forwarding = self.forwarding;
        let mut moved = false;
        while !client.upload.is_done() {
            let trailers = &mut exchange.request.trailers;
            let mut source = UploadSource { forwarding, upload: &mut client.upload, trailers };
            let mut sink = UploadSink { wire: &mut self.lease.wire, stats: forwarding.stats };
            match self.upload.poll(&mut source, &mut sink, client.reactor) {
                Poll::Pending => break,
                Poll::Ready(Ok(Moved::Some)) => {}
                Poll::Ready(Ok(Moved::All)) => self.request_ended(exchange, client),
                Poll::Ready(Err(fault)) => return Poll::Ready(Err(fault)),
            }
            moved = true;
        }
        if self.upload.is_paused() {
            exchange.request.received.settle(client.upload.wire.head_received() as usize);
        }
        if !moved {
            return Poll::Pending;
        }
        client.deadlines.moved(client.reactor.now());
        Poll::Ready(Ok(()))
    }

    fn request_ended(&self, exchange: &mut Exchange, client: &mut Client<'_, '_>) {
        let Client { upload, deadlines, .. } = client;
        let trailers = &exchange.request.trailers;
        upload.mirrors.drain(..).for_each(|mirror| mirror.end(trailers));
        upload.replay.end();
        let now = self.forwarding.reactor.now();
        exchange.facts.times.request_end = Some(now);
        exchange.last.times.end = Some(now);
        let timeouts = &self.forwarding.policy.timeouts;
        let awaited = |head: Option<_>| head.filter(|_| !exchange.response.is_whole);
        deadlines.start_route(now, awaited(timeouts.response_head), timeouts.route);
        deadlines.start_try(now, awaited(timeouts.per_try), timeouts.per_try_idle);
    }

    fn pass_on_interim(&mut self, exchange: &mut Exchange, client: &mut Client<'_, '_>) {
        self.has_passed_interim |= client.upload.wire.send_interim(&exchange.response);
        exchange.clear_response(client.reactor);
    }

    /// The response's head is there: load balancing, outlier detection and health checks hear of it.
    pub(super) fn responded(&mut self, response: &Message<ResponseHead>) {
        let Started { accounting, in_flight, .. } = &self.started;
        let (cluster, endpoint) = (accounting.cluster(), in_flight.endpoint());
        in_flight.responded(self.forwarding.reactor.now());
        let head = &response.head;
        let status = match self.forwarding.policy.is_grpc {
            false => Some(head.status),
            true => response.status_of_call(),
        };
        match status {
            Some(status) => cluster.report(endpoint, Outcome::Status(status)),
            None => self.is_unjudged = true,
        }
        if head.fields.contains(FieldId::XEnvoyImmediateHealthCheckFail) {
            cluster.shared.report_immediate_failure(&endpoint.host);
        }
    }

    /// There is no response, and there will be none.
    pub(super) fn fail(self, fault: Fault) {
        self.started.fail(fault, self.forwarding.reactor);
    }

    /// The response whose head is in the exchange is not wanted. The connection stays where all of it has come.
    pub fn discard(current: &mut Option<Self>, exchange: &mut Exchange, upload: &Upload<'_, '_>, ending: RequestEnd) {
        let Some(tried) = current else { return };
        let mut trailers = Trailers::default();
        let ended = loop {
            match tried.lease.wire.poll_piece(&mut trailers) {
                Poll::Ready(Ok(Piece::Data(_))) => {}
                Poll::Ready(Ok(Piece::End)) => break true,
                Poll::Ready(Err(_)) | Poll::Pending => break false,
            }
        };
        tried.started.accounting.ended(ending);
        let forwarding = tried.forwarding;
        trace::ended(exchange, tried, None);
        match ended {
            true => Self::give_back(current, upload),
            false => *current = None,
        }
        exchange.last.times.response_start = None;
        exchange.clear_response(forwarding.reactor);
    }

    /// The response has been relayed, or that failed; a connection of further use goes back to its pool.
    pub fn end(
        current: &mut Option<Self>,
        exchange: &mut Exchange,
        upload: &Upload<'_, '_>,
        result: Result<(), Fault>,
    ) {
        let Some(tried) = current else { return };
        match result {
            Err(fault) => {
                tried.note_failure(exchange);
                trace::ended(exchange, tried, Some(fault));
                match (fault, current.take()) {
                    // The endpoint has answered, and was judged by that. How long the rest takes is the client's doing, too.
                    (Fault::RouteTimeout | Fault::PerTryIdleTimeout, Some(mut tried)) => {
                        count(&mut tried.started.accounting, fault);
                    }
                    (_, tried) => tried.into_iter().for_each(|tried| tried.fail(fault)),
                }
            }
            Ok(()) => {
                tried.note_wire(exchange);
                let start = exchange.facts.times.request_end.unwrap_or(exchange.last.times.start);
                let micros = tried.forwarding.reactor.now().saturating_sub(start) / 1000;
                let wire = &exchange.last.wire;
                let mut status = exchange.response.head.status;
                if tried.forwarding.policy.is_grpc {
                    status = tried.judge(&exchange.response);
                }
                trace::ended(exchange, tried, None);
                tried.started.accounting.completed(status, wire.sent, wire.received, micros);
                Self::give_back(current, upload);
            }
        }
    }

    /// A call has ended: outlier detection hears how, if its head did not say. The status of HTTP that tells as much.
    fn judge(&self, response: &Message<ResponseHead>) -> u16 {
        let status = response.status_of_call().unwrap_or(200);
        if self.is_unjudged {
            let Started { accounting, in_flight, .. } = &self.started;
            accounting.cluster().report(in_flight.endpoint(), Outcome::Status(status));
        }
        status
    }

    /// The response has come whole: where the request went out whole, too, the connection may serve another exchange.
    #[inline]
    fn give_back(current: &mut Option<Self>, upload: &Upload<'_, '_>) {
        // Dropped in the reverse order: the connection before its place in the accounts.
        let Some(Self { started, lease, .. }) = current.take() else { return };
        if upload.is_done() && lease.wire.is_reusable() {
            started.in_flight.endpoint().pool.put(lease);
        }
    }
}

/// The request's body, each piece of which is kept and copied where that is wanted.
struct UploadSource<'s, 'f, 'w, 'c> {
    forwarding: &'f Forwarding<'f>,
    upload: &'s mut Upload<'w, 'c>,
    trailers: &'s mut Trailers,
}

impl Source for UploadSource<'_, '_, '_, '_> {
    type Error = Fault;

    fn poll_piece(&mut self) -> Poll<Result<Piece, Fault>> {
        let polled = self.upload.poll_piece(self.trailers, self.forwarding.reactor.now());
        if let Poll::Ready(Ok(Piece::Data(buf))) = &polled {
            self.forwarding.copy_body(self.upload, buf);
        }
        polled
    }

    fn wanted(&mut self, limit: usize) -> usize {
        // Copies have limits of their own, which large pieces would use up.
        if self.upload.mirrors.is_empty() { self.upload.wire.wanted(limit) } else { 0 }
    }

    fn trailers(&self) -> &Trailers {
        self.trailers
    }

    fn passed_end(&mut self) -> Result<(), Fault> {
        Err(Fault::RequestTruncated)
    }

    fn broken(&self) -> Fault {
        Fault::DownstreamReset
    }
}

/// The upstream, as the sink of the request's body.
struct UploadSink<'s> {
    wire: &'s mut Upstream,
    stats: &'s HttpStats,
}

impl Sink<Fault> for UploadSink<'_> {
    fn put(&mut self, buf: Buf) -> usize {
        self.wire.put(buf)
    }

    fn end(&mut self, trailers: &Trailers) {
        self.wire.end(trailers);
        self.wire.flush();
    }

    fn flush(&mut self) {
        self.wire.flush();
    }

    /// A failed send shows as the response's failure, unless a response came nevertheless.
    fn poll_room(&mut self, limit: usize) -> Poll<Result<usize, Fault>> {
        match self.wire.poll_room(limit) {
            Poll::Ready(Ok(room)) => Poll::Ready(Ok(room)),
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }

    fn note_pause(&mut self, paused: bool) {
        match paused {
            true => self.stats.downstream_flow_control_paused_reading_total.inc(),
            false => self.stats.downstream_flow_control_resumed_reading_total.inc(),
        }
    }

    fn broken(&self) -> Fault {
        Fault::UpstreamTruncated
    }
}

/// What outlier detection hears of a failure; `None`: it is not the endpoint's.
fn outcome(fault: Fault) -> Option<Outcome> {
    match fault {
        Fault::ConnectFailed => Some(Outcome::ConnectFailed),
        Fault::ConnectTimeout => Some(Outcome::ConnectTimeout),
        Fault::RouteTimeout | Fault::ResponseHeadTimeout | Fault::PerTryTimeout | Fault::PerTryIdleTimeout => {
            Some(Outcome::ResponseTimeout)
        }
        fault if fault.is_upstreams() => Some(Outcome::Reset),
        _ => None,
    }
}

/// Count a failed try in the cluster's statistics.
fn count(accounting: &mut Accounting<'_>, fault: Fault) {
    let stats = &accounting.cluster().stats;
    match fault {
        Fault::RouteTimeout | Fault::ResponseHeadTimeout => stats.upstream_rq_timeout.inc(),
        Fault::PerTryTimeout => stats.upstream_rq_per_try_timeout.inc(),
        Fault::PerTryIdleTimeout => stats.upstream_rq_per_try_idle_timeout.inc(),
        Fault::MaxStreamDuration => stats.upstream_rq_max_duration_reached.inc(),
        Fault::ResponseHead(_) | Fault::ResponseBody(_) => stats.upstream_cx_protocol_error.inc(),
        _ => {}
    }
    accounting.ended(match fault {
        Fault::UpstreamClosed | Fault::UpstreamTruncated | Fault::UpstreamReset { .. } | Fault::UpstreamRefused => {
            RequestEnd::ReceivedReset
        }
        Fault::NoHealthyUpstream(_)
        | Fault::Overflow(_)
        | Fault::ConnectFailed
        | Fault::ConnectTimeout
        | Fault::LocalResources => RequestEnd::NoConnection,
        _ => RequestEnd::SentReset,
    });
}
