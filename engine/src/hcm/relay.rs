//! Relaying a response's body as it comes, no faster than the downstream takes it, or than a filter wants it.

use crate::http::{BodyKind, Exchange};
use crate::http_filter::Pace;
use crate::ring::{Buf, Moved, Splice};
use crate::router::attempt::{Attempt, BodyWriter, LONG_BODY, fault, is_long};
use crate::router::{Deadlines, Downstream, Fault, ResponseShape, interrupted};
use crate::upstream::UpstreamBody;
use std::future::poll_fn;
use std::task::Poll;

/// One response's body on its way.
pub(super) struct Relay<'r, 'a, 'd> {
    pub attempt: &'r mut Attempt<'a>,
    pub exchange: &'r mut Exchange,
    pub downstream: &'r mut Downstream<'d>,
    pub deadlines: &'r mut Deadlines,
    writer: BodyWriter,
    /// Bodies from so many bytes on are spliced, as long as nothing speaks against it.
    splice_from: Option<u64>,
    pace: Option<&'r mut Pace>,
    /// Received, but not to be sent yet.
    held: Option<Buf>,
}

impl<'r, 'a, 'd> Relay<'r, 'a, 'd> {
    /// The response's head is in the batch for the downstream.
    pub(super) fn new(
        attempt: &'r mut Attempt<'a>,
        exchange: &'r mut Exchange,
        downstream: &'r mut Downstream<'d>,
        deadlines: &'r mut Deadlines,
        shape: ResponseShape,
    ) -> Self {
        let writer = BodyWriter::new(shape.framing == BodyKind::Chunked);
        Self { attempt, exchange, downstream, deadlines, writer, splice_from: None, pace: None, held: None }
    }

    /// Splice bodies from `threshold` bytes on, where both sides send the same bytes.
    pub(super) fn splice_from(mut self, threshold: Option<u64>) -> Self {
        let same = !self.writer.chunked && self.exchange.response.framing != BodyKind::Chunked;
        self.splice_from = threshold.filter(|_| same);
        self
    }

    /// Send no faster than this.
    pub(super) fn at_pace(mut self, pace: Option<&'r mut Pace>) -> Self {
        if pace.is_some() {
            self.splice_from = None;
        }
        self.pace = pace;
        self
    }

    /// Until the body's end.
    pub(super) async fn run(mut self) -> Result<(), Fault> {
        let forwarding = self.attempt.forwarding;
        let limit = forwarding.limits.buffer_limit as usize;
        let mut streaming = false;
        loop {
            let polled = poll_fn(|_| self.poll_piece()).await;
            // What came before a failure is the client's.
            self.exchange.to_downstream.flush(self.downstream.stream);
            if polled? {
                // Who had a long body to send will have another; then its head comes alone, and splice gets the rest.
                self.attempt.upstream.connection.stream.set_receive_once(streaming);
                return Ok(());
            }
            if !streaming && (self.exchange.sent >= LONG_BODY || is_long(self.attempt.upstream.remaining())) {
                streaming = true;
                self.attempt.upstream.connection.stream.set_receive_once(true);
            }
            let head_len = self.exchange.response.len as usize;
            self.exchange.response_bytes.release_if_scarce(head_len, forwarding.reactor);
            self.deadlines.moved(forwarding.reactor.now());
            if self.downstream.stream.poll_flushed(limit).is_pending() {
                forwarding.cluster.stats.upstream_flow_control_paused_reading_total.inc();
                poll_fn(|_| self.poll_flushed(limit / 2)).await?;
                forwarding.cluster.stats.upstream_flow_control_resumed_reading_total.inc();
            }
            if self.can_splice() && !self.splice().await? {
                self.splice_from = None;
            }
        }
    }

    /// Take what has come of the body into the batch; ready when there is something to send, with whether it was the
    /// last.
    fn poll_piece(&mut self) -> Poll<Result<bool, Fault>> {
        let reactor = self.attempt.forwarding.reactor;
        let mut budget = self.attempt.forwarding.limits.buffer_limit as usize;
        if let Some(pace) = &mut self.pace {
            match pace.poll_allowance(reactor.now()) {
                Poll::Ready(allowance) => budget = budget.min(allowance),
                Poll::Pending => return self.wait(),
            }
        }
        loop {
            // Asking for more would start a receive that takes from what is to be spliced.
            if self.splice_from.is_some()
                && !self.attempt.upstream.connection.stream.has_received()
                && self.can_splice()
            {
                return Poll::Ready(Ok(false));
            }
            match self.poll_body() {
                Poll::Ready(Ok(UpstreamBody::Data(buf))) => {
                    self.exchange.times.response_body_start.get_or_insert(reactor.now());
                    let buf = self.hold_back(buf, budget);
                    self.exchange.sent += buf.len() as u64;
                    budget = budget.saturating_sub(if self.pace.is_some() { buf.len() } else { buf.charge() });
                    self.writer.data(&mut self.exchange.to_downstream, buf, reactor);
                    if budget == 0 {
                        return Poll::Ready(Ok(false));
                    }
                }
                Poll::Ready(Ok(UpstreamBody::End(trailers))) => {
                    self.exchange.times.response_end = Some(reactor.now());
                    self.writer.end(&mut self.exchange.to_downstream, trailers.as_deref(), reactor);
                    return Poll::Ready(Ok(true));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Pending => break,
            }
        }
        if !self.exchange.to_downstream.is_empty() {
            return Poll::Ready(Ok(false));
        }
        self.wait()
    }

    fn poll_body(&mut self) -> Poll<Result<UpstreamBody, Fault>> {
        match self.held.take() {
            Some(buf) => Poll::Ready(Ok(UpstreamBody::Data(buf))),
            None => self.attempt.upstream.poll_body().map_err(|error| fault(&error, true)),
        }
    }

    /// What of `buf` may go now; the rest is kept.
    fn hold_back(&mut self, buf: Buf, budget: usize) -> Buf {
        let Some(pace) = &mut self.pace else { return buf };
        let now = buf.len().min(budget);
        pace.spend(now);
        if now == buf.len() {
            return buf;
        }
        self.held = Some(buf.slice(now..buf.len()));
        buf.slice(0..now)
    }

    fn poll_flushed(&mut self, limit: usize) -> Poll<Result<(), Fault>> {
        match self.downstream.stream.poll_flushed(limit) {
            Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
            Poll::Ready(Err(_)) => Poll::Ready(Err(Fault::DownstreamReset)),
            Poll::Pending => self.wait(),
        }
    }

    /// While the response waits, the request's body goes on. Ready only with a fault.
    fn wait<T>(&mut self) -> Poll<Result<T, Fault>> {
        if !self.downstream.is_done()
            && let Poll::Ready(Err(fault)) = self.attempt.pump(self.exchange, self.downstream, self.deadlines)
        {
            return Poll::Ready(Err(fault));
        }
        interrupted(self.attempt.forwarding.reactor, self.downstream, self.deadlines)
            .map_or(Poll::Pending, |fault| Poll::Ready(Err(fault)))
    }

    /// Whether the rest of the body is plain and long, and nothing else goes on.
    fn can_splice(&self) -> bool {
        let Some(threshold) = self.splice_from else { return false };
        self.attempt.upstream.skippable().is_none_or(|rest| rest > 0 && rest >= threshold)
            && self.downstream.is_done()
            && self.attempt.upstream.connection.stream.plain_socket().is_some()
            && self.downstream.stream.plain_socket().is_some()
    }

    /// Move the rest of the body without copying it through this process. Returns early, having done no harm, when there
    /// is no pipe to be had (`false`: do not try again) or when the connection has something else to tell.
    async fn splice(&mut self) -> Result<bool, Fault> {
        let reactor = self.attempt.forwarding.reactor;
        poll_fn(|_| match self.attempt.upstream.connection.stream.plain_socket() {
            Some(from) => from.poll_receive_stopped(),
            None => Poll::Ready(()),
        })
        .await;
        // What the ring has received goes first. Asking only while bytes are there keeps the receive stopped.
        while self.attempt.upstream.connection.stream.has_received_bytes() {
            match self.attempt.upstream.poll_body() {
                Poll::Ready(Ok(UpstreamBody::Data(buf))) => {
                    self.exchange.sent += buf.len() as u64;
                    self.exchange.to_downstream.body(buf, reactor);
                }
                Poll::Ready(Err(error)) => return Err(fault(&error, true)),
                Poll::Ready(Ok(UpstreamBody::End(_))) | Poll::Pending => break,
            }
        }
        self.exchange.to_downstream.flush(self.downstream.stream);
        poll_fn(|_| self.poll_flushed(0)).await?;
        let upstream = &self.attempt.upstream;
        if upstream.is_body_done() || upstream.connection.stream.has_received() {
            return Ok(true);
        }
        let Ok(mut pipe) = reactor.take_pipe() else { return Ok(false) };
        self.set_nonblocking(true);
        let result = poll_fn(|_| self.poll_splice(&mut pipe)).await;
        self.set_nonblocking(false);
        reactor.give_pipe(pipe);
        result.map(|()| true)
    }

    fn set_nonblocking(&self, on: bool) {
        for stream in [&self.attempt.upstream.connection.stream, self.downstream.stream] {
            if let Some(socket) = stream.plain_socket() {
                socket.set_nonblocking(on);
            }
        }
    }

    fn poll_splice(&mut self, pipe: &mut Splice) -> Poll<Result<(), Fault>> {
        let reactor = self.attempt.forwarding.reactor;
        let mut turn = 0;
        loop {
            let (Some(from), Some(to)) =
                (self.attempt.upstream.connection.stream.plain_socket(), self.downstream.stream.plain_socket())
            else {
                return Poll::Ready(Ok(()));
            };
            let ready = if pipe.held() > 0 {
                match pipe.push(to) {
                    Ok(Moved::Bytes(n)) => {
                        self.exchange.sent += n as u64;
                        self.exchange.spliced += n as u64;
                        turn += n;
                        Poll::Ready(())
                    }
                    Ok(Moved::WouldBlock) => to.poll_writable(),
                    Ok(Moved::Eof) | Err(_) => return Poll::Ready(Err(Fault::DownstreamReset)),
                }
            } else {
                let want = self.attempt.upstream.skippable().unwrap_or(u64::MAX).min(SPLICE_TURN as u64) as usize;
                if want == 0 {
                    return Poll::Ready(Ok(()));
                }
                match pipe.pull(from, want) {
                    Ok(Moved::Bytes(n)) => {
                        self.exchange.times.response_body_start.get_or_insert(reactor.now());
                        self.attempt.upstream.skip(n as u64);
                        Poll::Ready(())
                    }
                    Ok(Moved::WouldBlock) => from.poll_readable(),
                    Ok(Moved::Eof) => {
                        return Poll::Ready(self.attempt.upstream.on_eof().map_err(|error| fault(&error, true)));
                    }
                    Err(_) => return Poll::Ready(Err(Fault::UpstreamTruncated)),
                }
            };
            if ready.is_pending() {
                break;
            }
            if turn >= SPLICE_TURN {
                // Others want to move, too.
                reactor.wake(reactor.current_task());
                break;
            }
        }
        if turn > 0 {
            self.deadlines.moved(reactor.now());
        }
        interrupted(reactor, self.downstream, self.deadlines).map_or(Poll::Pending, |fault| Poll::Ready(Err(fault)))
    }
}

/// Bytes moved before other tasks get their turn.
const SPLICE_TURN: usize = 1024 * 1024;
