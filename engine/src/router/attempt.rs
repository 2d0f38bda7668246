//! One try of a request on one upstream connection: the request out, its body as far as the upstream takes it, the
//! response's head in.

use super::downstream::DownstreamBody;
use super::encode;
use super::forward::{Forwarding, interrupted};
use super::replay::ReplayPiece;
use super::{Deadlines, Downstream, Fault};
use crate::codec::h1::encode::{ChunkHeader, LAST_CHUNK, LAST_CHUNK_AFTER_DATA, last_chunk};
use crate::http::{BodyKind, Exchange, Version};
use crate::net::Outbox;
use crate::ring::{Buf, Reactor};
use crate::upstream::{Connection, UpstreamError, UpstreamExchange, UpstreamHead};
use std::future::poll_fn;
use std::task::Poll;

/// A body with so much to come, or that has brought so much already, streams: it is received one buffer at a time.
/// Shorter ones are bounded by their length.
pub const LONG_BODY: u64 = 64 * 1024;

pub fn is_long(remaining: Option<u64>) -> bool {
    remaining.is_some_and(|remaining| remaining >= LONG_BODY)
}

/// One try on one connection. Once the response's head is there, whoever asked for it goes on reading from here.
pub struct Attempt<'a> {
    pub forwarding: &'a Forwarding<'a>,
    pub upstream: UpstreamExchange,
    body: BodyWriter,
    /// The request's body waits for the upstream to take what came before.
    paused: bool,
    /// The client has seen an interim response.
    pub(super) interim_passed: bool,
}

impl<'a> Attempt<'a> {
    pub(super) fn new(forwarding: &'a Forwarding<'a>, connection: Connection) -> Self {
        let upstream = UpstreamExchange::new(connection);
        Self { forwarding, upstream, body: BodyWriter::default(), paused: false, interim_passed: false }
    }

    /// Put the request's head, and what is kept of its body, into the batch.
    pub(super) fn send_head(&mut self, exchange: &mut Exchange, default_host: &str, downstream: &Downstream<'_>) {
        let reactor = self.forwarding.reactor;
        self.note_connection(exchange);
        exchange.times.upstream_start = reactor.now();
        self.body.chunked = exchange.request.framing == BodyKind::Chunked;
        let (outbox, request, view) = exchange.request_to_send();
        let out = outbox.bytes(reactor);
        let before = out.len();
        encode::request(out, request, view, default_host);
        let head_sent = out.len() - before;
        downstream.replay.for_each(|piece| match piece {
            ReplayPiece::Buf(buf) => self.body.data(outbox, buf, reactor),
            ReplayPiece::Bytes(bytes) => self.body.bytes(outbox, bytes, reactor),
            ReplayPiece::End(trailers) => self.body.end(outbox, Some(trailers), reactor),
        });
        exchange.wire.upstream_head_sent = head_sent as u64;
    }

    /// What logs and header values tell of the connection.
    pub(super) fn note_connection(&self, exchange: &mut Exchange) {
        let connection = &self.upstream.connection;
        exchange.upstream_local = connection.local;
        exchange.upstream_remote = connection.remote;
        exchange.upstream_connection = Some(connection.id);
        exchange.times.connect_start = Some(connection.connect_start);
        exchange.times.connect_end = Some(connection.opened);
        exchange.times.upstream_end = None;
    }

    /// What has gone and come on it.
    pub(super) fn note_wire(&self, exchange: &mut Exchange) {
        exchange.wire.upstream_sent = exchange.to_upstream.take_total();
        exchange.wire.upstream_received = self.upstream.wire;
    }

    /// Send the request and read the response's head.
    pub(super) async fn run(
        &mut self,
        exchange: &mut Exchange,
        downstream: &mut Downstream<'_>,
        deadlines: &mut Deadlines,
    ) -> Result<(), Fault> {
        if downstream.is_done() {
            let timeouts = &self.forwarding.policy.timeouts;
            deadlines.start_try(self.forwarding.reactor.now(), timeouts.per_try, timeouts.per_try_idle);
        } else if let Poll::Ready(Err(fault)) = self.pump(exchange, downstream, deadlines) {
            // What of the body is here goes out with the head.
            return Err(fault);
        }
        exchange.to_upstream.flush(&self.upstream.connection.stream);
        if downstream.is_done() {
            exchange.times.upstream_end.get_or_insert(self.forwarding.reactor.now());
        }
        exchange.request_bytes.release_if_scarce(exchange.request.len as usize, self.forwarding.reactor);
        loop {
            let head = poll_fn(|_| self.poll_head(exchange, downstream, deadlines)).await?;
            let now = self.forwarding.reactor.now();
            deadlines.moved(now);
            match head {
                UpstreamHead::Interim => self.pass_on_interim(exchange, downstream),
                UpstreamHead::Final => {
                    exchange.times.response_start = Some(now);
                    exchange.has_response = true;
                    deadlines.try_responded();
                    return Ok(());
                }
            }
        }
    }

    fn poll_head(
        &mut self,
        exchange: &mut Exchange,
        downstream: &mut Downstream<'_>,
        deadlines: &mut Deadlines,
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
            && let Poll::Ready(Err(fault)) = self.pump(exchange, downstream, deadlines)
        {
            return Poll::Ready(Err(fault));
        }
        interrupted(self.forwarding.reactor, downstream, deadlines)
            .map_or(Poll::Pending, |fault| Poll::Ready(Err(fault)))
    }

    /// Move what there is of the request's body, as far as the upstream takes it. Ready when something moved.
    pub fn pump(
        &mut self,
        exchange: &mut Exchange,
        downstream: &mut Downstream<'_>,
        deadlines: &mut Deadlines,
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
                    self.forwarding.copy_body(downstream, &buf);
                    self.body.data(&mut exchange.to_upstream, buf, self.forwarding.reactor);
                    // Counted against the limit only once it is queued.
                    exchange.to_upstream.flush(stream);
                }
                Poll::Ready(Ok(DownstreamBody::End(trailers))) => {
                    self.body.end(&mut exchange.to_upstream, trailers.as_deref(), self.forwarding.reactor);
                    downstream.mirrors.drain(..).for_each(|mirror| mirror.end(trailers.as_deref()));
                    downstream.replay.end(trailers);
                    exchange.to_upstream.flush(stream);
                    let now = self.forwarding.reactor.now();
                    exchange.times.request_end = Some(now);
                    exchange.times.upstream_end = Some(now);
                    let timeouts = &self.forwarding.policy.timeouts;
                    deadlines.start_route(now, timeouts.route);
                    let head = timeouts.per_try.filter(|_| !exchange.has_response);
                    deadlines.start_try(now, head, timeouts.per_try_idle);
                }
            }
            moved = true;
        }
        if moved {
            // The body streams: no faster than the upstream takes it.
            if downstream.is_done() {
                downstream.stream.set_receive_once(false);
            } else if is_long(downstream.remaining()) || downstream.received() >= LONG_BODY {
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
            self.interim_passed = true;
            if exchange.response.status == 100 {
                exchange.request.expect_continue = false;
            }
            let out = exchange.to_downstream.bytes(reactor);
            encode::interim(out, &exchange.response, exchange.response_bytes.as_slice());
            exchange.to_downstream.flush(downstream.stream);
        }
        exchange.clear_response(reactor);
    }
}

/// Writes a body with the framing it was announced with.
#[derive(Debug, Default)]
pub struct BodyWriter {
    pub chunked: bool,
    /// A chunk has been written.
    begun: bool,
}

impl BodyWriter {
    pub fn new(chunked: bool) -> Self {
        Self { chunked, begun: false }
    }

    pub fn data(&mut self, out: &mut Outbox, buf: Buf, reactor: &Reactor) {
        if self.chunked {
            let size = buf.len() as u64;
            let header = if self.begun { ChunkHeader::after_data(size) } else { ChunkHeader::new(size) };
            out.bytes(reactor).extend_from_slice(header.as_slice());
            self.begun = true;
        }
        out.body(buf, reactor);
    }

    fn bytes(&mut self, out: &mut Outbox, bytes: &[u8], reactor: &Reactor) {
        let out = out.bytes(reactor);
        if self.chunked {
            let size = bytes.len() as u64;
            let header = if self.begun { ChunkHeader::after_data(size) } else { ChunkHeader::new(size) };
            out.extend_from_slice(header.as_slice());
            self.begun = true;
        }
        out.extend_from_slice(bytes);
    }

    pub fn end(&mut self, out: &mut Outbox, trailers: Option<&[u8]>, reactor: &Reactor) {
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

/// What a failed read of the response means; `started`: a byte of it had come.
pub fn fault(error: &UpstreamError, started: bool) -> Fault {
    match error {
        UpstreamError::Closed | UpstreamError::Reset(_) if started => Fault::UpstreamTruncated,
        UpstreamError::Closed | UpstreamError::Reset(_) => Fault::UpstreamClosed,
        UpstreamError::Head(error) => Fault::ResponseHead(*error),
        UpstreamError::Body(error) => Fault::ResponseBody(*error),
        UpstreamError::TooManyInterim => Fault::TooManyInterim,
    }
}
