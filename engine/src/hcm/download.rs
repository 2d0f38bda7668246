//! The response's body on its way to the client: no faster than the client takes it, or than a filter wants it, while the
//! rest of the request goes on.

use crate::http::{Exchange, Trailers, TryTimes};
use crate::http_filter::Pace;
use crate::mux::{Downstream, Moved, Piece, Pump, Sink, Source, Upstream};
use crate::net::ByteStream;
use crate::ring::Buf;
use crate::router::{Client, Fault, Try};
use crate::stats::ClusterStats;
use std::task::{Poll, ready};

/// One response's body.
pub(super) struct Download {
    pump: Pump,
    pace: Option<Pace>,
    /// Received, but not to be sent yet.
    held: Option<Buf>,
    splice_threshold: Option<u64>,
}

impl Download {
    /// Bodies of which `splice_threshold` bytes are left are spliced, where nothing speaks against it.
    pub(super) fn new(buffer_limit: usize, pace: Option<Pace>, splice_threshold: Option<u64>) -> Self {
        let splice_threshold = splice_threshold.filter(|_| pace.is_none());
        Self { pump: Pump::new(buffer_limit), pace, held: None, splice_threshold }
    }

    /// Relay the body of the response whose head was just put into the batch.
    ///
    /// # Errors
    /// The response stays incomplete.
    pub(super) async fn run(
        mut self,
        tried: &mut Try<'_>,
        exchange: &mut Exchange,
        client: &mut Client<'_, '_>,
    ) -> Result<(), Fault> {
        let result = client.guard(|client, _| self.poll(tried, exchange, client)).await;
        let reactor = tried.forwarding.reactor;
        let (pump, source, sink) = self.ends(tried, exchange, client);
        pump.stop(&source, &sink, reactor);
        result
    }

    fn poll(
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
                Poll::Pending => return tried.pump_on(exchange, client),
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
        let stats = &tried.forwarding.cluster.stats;
        let source = ResponseBody {
            wire: &mut tried.lease.wire,
            trailers: &mut exchange.response.trailers,
            times: &mut exchange.last.times,
            pace: &mut self.pace,
            held: &mut self.held,
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
    pace: &'s mut Option<Pace>,
    held: &'s mut Option<Buf>,
    now: u64,
}

impl ResponseBody<'_> {
    /// The part of `buf` that may go now; the rest is kept.
    fn hold_back(&mut self, buf: Buf, allowance: usize) -> Buf {
        let now = buf.len().min(allowance);
        if let Some(pace) = self.pace {
            pace.spend(now);
        }
        if now == buf.len() {
            return buf;
        }
        *self.held = Some(buf.slice(now..buf.len()));
        buf.slice(0..now)
    }
}

impl Source for ResponseBody<'_> {
    type Error = Fault;

    #[inline]
    fn poll_piece(&mut self) -> Poll<Result<Piece, Fault>> {
        let allowance = match self.pace {
            Some(pace) => ready!(pace.poll_allowance(self.now)),
            None => usize::MAX,
        };
        let buf = match self.held.take() {
            Some(buf) => buf,
            None => match ready!(self.wire.poll_piece(self.trailers)) {
                Ok(Piece::Data(buf)) => buf,
                Ok(Piece::End) => {
                    self.times.response_end = Some(self.now);
                    return Poll::Ready(Ok(Piece::End));
                }
                Err(broken) => return Poll::Ready(Err(Fault::of_response_body(broken))),
            },
        };
        self.times.response_body_start.get_or_insert(self.now);
        Poll::Ready(Ok(Piece::Data(self.hold_back(buf, allowance))))
    }

    fn trailers(&self) -> &Trailers {
        self.trailers
    }

    fn plain(&self) -> Option<(&ByteStream, u64)> {
        if self.held.is_some() { None } else { self.wire.plain() }
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

/// The client, as the sink of the response's body.
struct ClientSink<'s, 'c> {
    wire: &'s mut Downstream<'c>,
    /// Bytes of body.
    sent: &'s mut u64,
    stats: &'s ClusterStats,
}

impl Sink<Fault> for ClientSink<'_, '_> {
    #[inline]
    fn put(&mut self, buf: Buf) {
        *self.sent += buf.len() as u64;
        self.wire.put(buf);
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
    fn poll_room(&mut self, limit: usize) -> Poll<Result<(), Fault>> {
        self.wire.poll_room(limit).map_err(|_| Fault::DownstreamReset)
    }

    fn note_pause(&mut self, paused: bool) {
        match paused {
            true => self.stats.upstream_flow_control_paused_reading_total.inc(),
            false => self.stats.upstream_flow_control_resumed_reading_total.inc(),
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
