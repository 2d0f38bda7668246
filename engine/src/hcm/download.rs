//! The response's body on its way to the client: no faster than the client takes it, or than a filter wants it, while the
//! rest of the request goes on.

use crate::http::{Exchange, Trailers, TryTimes};
use crate::mux::{Downstream, Hooks, Moved, Piece, Pump, Sink, Source, Upstream};
use crate::net::ByteStream;
use crate::ring::Buf;
use crate::router::{Client, Fault, Try};
use crate::stats::ClusterStats;
use std::task::{Poll, ready};

/// One response's body.
pub(super) struct Download {
    pump: Pump,
    hooks: Hooks,
    splice_threshold: Option<u64>,
}

impl Download {
    /// Bodies of which `splice_threshold` bytes are left are spliced, where nothing speaks against it.
    pub(super) fn new(buffer_limit: usize, hooks: Hooks, splice_threshold: Option<u64>) -> Self {
        let splice_threshold = splice_threshold.filter(|_| hooks.is_empty());
        Self { pump: Pump::new(buffer_limit), hooks, splice_threshold }
    }

    /// What was under way is to go on no more.
    pub(super) fn stop(&mut self, tried: &mut Try<'_>, exchange: &mut Exchange, client: &mut Client<'_, '_>) {
        let reactor = tried.forwarding.reactor;
        let (pump, source, sink) = self.ends(tried, exchange, client);
        pump.stop(&source, &sink, reactor);
    }

    /// Relay the body of the response whose head was just put into the batch.
    ///
    /// # Errors
    /// The response stays incomplete.
    pub(super) fn poll(
        &mut self,
        tried: &mut Try<'_>,
        exchange: &mut Exchange,
        client: &mut Client<'_, '_>,
    ) -> Poll<Result<(), Fault>> {
        let reactor = tried.forwarding.reactor;
        // Bytes that are spliced pass without a look at the request.
        self.pump.splice_from(self.splice_threshold.filter(|_| client.upload.is_done()));
        loop {
            let (pump, mut source, mut sink) = self.ends(tried, exchange, client);
            match pump.poll(&mut source, &mut sink, reactor) {
                Poll::Pending => {
                    if self.pump.is_paused() {
                        exchange.request.received.settle(client.upload.wire.head_received() as usize);
                        exchange.response.received.settle(tried.lease.wire.head_received() as usize);
                    }
                    return tried.pump_on(exchange, client);
                }
                Poll::Ready(Ok(Moved::All)) => return Poll::Ready(Ok(())),
                Poll::Ready(Err(fault)) => return Poll::Ready(Err(fault)),
                Poll::Ready(Ok(Moved::Some)) => {}
            }
            let head_len = tried.lease.wire.head_received() as usize;
            exchange.response.received.release_if_scarce(head_len, reactor);
            client.deadlines.moved(reactor.now());
        }
    }

    fn ends<'s, 'c>(
        &'s mut self,
        tried: &'s mut Try<'_>,
        exchange: &'s mut Exchange,
        client: &'s mut Client<'_, 'c>,
    ) -> (&'s mut Pump, ResponseBody<'s>, ClientSink<'s, 'c>) {
        let stats = Some(&*tried.forwarding.cluster.stats);
        let source = ResponseBody {
            wire: &mut tried.lease.wire,
            trailers: &mut exchange.response.trailers,
            times: &mut exchange.last.times,
            hooks: &mut self.hooks,
            now: client.reactor.now(),
        };
        let sink = ClientSink { wire: client.upload.wire, sent: &mut exchange.facts.sent, stats };
        (&mut self.pump, source, sink)
    }
}

/// The response's body as it comes from its try.
struct ResponseBody<'s> {
    wire: &'s mut Upstream,
    trailers: &'s mut Trailers,
    times: &'s mut TryTimes,
    hooks: &'s mut Hooks,
    now: u64,
}

impl Source for ResponseBody<'_> {
    type Error = Fault;

    #[inline]
    fn poll_piece(&mut self) -> Poll<Result<Piece, Fault>> {
        let Self { wire, trailers, times, hooks, now } = self;
        let received = |trailers: &mut Trailers| match ready!(wire.poll_piece(trailers)) {
            Ok(Piece::Data(buf)) => {
                times.response_body_start.get_or_insert(*now);
                Poll::Ready(Ok(Piece::Data(buf)))
            }
            Ok(Piece::End) => {
                times.response_end = Some(*now);
                Poll::Ready(Ok(Piece::End))
            }
            Err(broken) => Poll::Ready(Err(Fault::of_response_body(broken))),
        };
        hooks.poll(*now, trailers, received, Fault::ResponseCoding)
    }

    fn wanted(&mut self, limit: usize) -> usize {
        self.wire.wanted(limit)
    }

    fn trailers(&self) -> &Trailers {
        self.trailers
    }

    fn plain(&self) -> Option<(&ByteStream, u64)> {
        if self.hooks.is_empty() { self.wire.plain() } else { None }
    }

    fn passed(&mut self, count: u64) {
        self.times.response_body_start.get_or_insert(self.now);
        self.wire.passed(count);
    }

    fn passed_end(&mut self) -> Result<(), Fault> {
        self.wire.passed_end().map_err(Fault::of_response_body)
    }

    fn broken(&self) -> Fault {
        Fault::UpstreamTruncated
    }
}

/// The body of a response that was made here, on its way through hooks.
pub(super) struct LocalBody {
    pump: Pump,
    source: Made,
}

struct Made {
    body: Option<Buf>,
    hooks: Hooks,
    now: u64,
}

impl LocalBody {
    pub(super) fn new(body: &[u8], hooks: Hooks, buffer_limit: usize) -> Self {
        let source = Made { body: Some(Buf::from(Box::from(body))), hooks, now: 0 };
        Self { pump: Pump::new(buffer_limit), source }
    }

    /// Send the body of the response whose head was just put into the batch.
    ///
    /// # Errors
    /// The response stays incomplete.
    pub(super) async fn run(mut self, exchange: &mut Exchange, client: &mut Client<'_, '_>) -> Result<(), Fault> {
        let sent = client.guard(|client, _| {
            loop {
                let reactor = client.reactor;
                self.source.now = reactor.now();
                let sent = &mut exchange.facts.sent;
                let mut sink = ClientSink { wire: client.upload.wire, sent, stats: None };
                match self.pump.poll(&mut self.source, &mut sink, reactor) {
                    Poll::Ready(Ok(Moved::Some)) => client.deadlines.moved(reactor.now()),
                    Poll::Ready(Ok(Moved::All)) => return Poll::Ready(Ok(())),
                    Poll::Ready(Err(fault)) => return Poll::Ready(Err(fault)),
                    Poll::Pending => return Poll::Pending,
                }
            }
        });
        sent.await
    }
}

impl Source for Made {
    type Error = Fault;

    fn poll_piece(&mut self) -> Poll<Result<Piece, Fault>> {
        let Self { body, hooks, now } = self;
        let made = |_: &mut Trailers| Poll::Ready(Ok(body.take().map_or(Piece::End, Piece::Data)));
        hooks.poll(*now, &mut Trailers::default(), made, Fault::ResponseCoding)
    }

    fn trailers(&self) -> &Trailers {
        const { &Trailers::NONE }
    }

    fn passed_end(&mut self) -> Result<(), Fault> {
        Err(Fault::DownstreamReset)
    }

    fn broken(&self) -> Fault {
        Fault::DownstreamReset
    }
}

/// The client, as the sink of the response's body.
struct ClientSink<'s, 'c> {
    wire: &'s mut Downstream<'c>,
    /// Bytes of body.
    sent: &'s mut u64,
    /// Of the cluster that the response is from.
    stats: Option<&'s ClusterStats>,
}

impl Sink<Fault> for ClientSink<'_, '_> {
    #[inline]
    fn put(&mut self, buf: Buf) -> usize {
        *self.sent += buf.len() as u64;
        self.wire.put(buf)
    }

    fn end(&mut self, trailers: &Trailers) {
        self.wire.end(trailers);
        self.wire.flush();
    }

    #[inline]
    fn flush(&mut self) {
        self.wire.flush();
    }

    #[inline]
    fn poll_room(&mut self, limit: usize) -> Poll<Result<usize, Fault>> {
        self.wire.poll_room(limit).map_err(|_| Fault::DownstreamReset)
    }

    fn note_pause(&mut self, paused: bool) {
        match (self.stats, paused) {
            (Some(stats), true) => stats.upstream_flow_control_paused_reading_total.inc(),
            (Some(stats), false) => stats.upstream_flow_control_resumed_reading_total.inc(),
            (None, _) => {}
        }
    }

    fn plain(&self) -> Option<&ByteStream> {
        self.wire.plain()
    }

    fn passed(&mut self, count: u64) {
        *self.sent += count;
        self.wire.passed(count);
    }

    fn broken(&self) -> Fault {
        Fault::DownstreamReset
    }
}
