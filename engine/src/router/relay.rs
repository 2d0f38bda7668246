//! Relaying a response: the head with its edits, then the body as it comes, no faster than the downstream takes it.

use super::encode::{self, ResponseEdits, ResponseShape};
use super::forward::{Attempt, BodyWriter, Outcome, fault, interrupted};
use super::{Deadlines, Downstream, Fault};
use crate::http::{BodyKind, Exchange};
use crate::ring::{Moved, Splice};
use crate::upstream::UpstreamBody;
use std::future::poll_fn;
use std::task::Poll;

/// A body with so much to come, or that has brought so much already, streams: it is received one buffer at a time.
/// Shorter ones are bounded by their length.
pub(super) const LONG_BODY: u64 = 64 * 1024;

pub(super) fn is_long(remaining: Option<u64>) -> bool {
    remaining.is_some_and(|remaining| remaining >= LONG_BODY)
}

/// Relay the response whose head is in `exchange`.
pub(super) async fn response(
    attempt: &mut Attempt<'_>,
    exchange: &mut Exchange,
    downstream: &mut Downstream<'_>,
    deadlines: &mut Deadlines,
) -> Result<Outcome, Fault> {
    let forwarding = attempt.forwarding;
    let shape = start(attempt, exchange, downstream);
    let mut writer = BodyWriter::new(shape.framing == BodyKind::Chunked);
    let limit = forwarding.limits.buffer_limit as usize;
    let mut may_splice = !writer.chunked && exchange.response.framing != BodyKind::Chunked;
    let mut streaming = false;
    loop {
        let polled = poll_fn(|_| poll_piece(attempt, exchange, downstream, deadlines, &mut writer, may_splice)).await;
        // What came before a failure is the client's.
        exchange.to_downstream.flush(downstream.stream);
        if polled? {
            // Who had a long body to send will have another; then its head comes alone, and splice gets the rest.
            attempt.upstream.connection.stream.set_receive_once(streaming);
            return Ok(Outcome { close: shape.close });
        }
        if !streaming && (exchange.sent >= LONG_BODY || is_long(attempt.upstream.remaining())) {
            streaming = true;
            attempt.upstream.connection.stream.set_receive_once(true);
        }
        exchange.response_bytes.release_if_scarce(exchange.response.len as usize, forwarding.reactor);
        deadlines.moved(forwarding.reactor.now());
        if downstream.stream.poll_flushed(limit).is_pending() {
            forwarding.cluster.stats.upstream_flow_control_paused_reading_total.inc();
            poll_fn(|_| poll_flushed(attempt, exchange, downstream, deadlines, limit / 2)).await?;
            forwarding.cluster.stats.upstream_flow_control_resumed_reading_total.inc();
        }
        if may_splice && can_splice(attempt, downstream) {
            may_splice = splice(attempt, exchange, downstream, deadlines).await?;
        }
    }
}

/// Write the head and prepare for the body.
fn start(attempt: &mut Attempt<'_>, exchange: &mut Exchange, downstream: &Downstream<'_>) -> ResponseShape {
    let forwarding = attempt.forwarding;
    let reactor = forwarding.reactor;
    let options = &forwarding.policy.options;
    let waited = reactor.now().saturating_sub(exchange.times.upstream_start);
    exchange.service_time_ms = options.x_envoy_upstream_service_time.then_some(waited / 1_000_000);
    // A client that waits for 100 and got a final response instead may or may not send its body now: nobody can tell
    // where the next request would begin (RFC 9110 section 10.1.1).
    let unsure = exchange.request.expect_continue && !downstream.is_begun();
    let drains = forwarding.draining.get() && !forwarding.close;
    forwarding.stats.downstream_cx_drain_close.add(u64::from(drains));
    let close = forwarding.close || drains || unsure;
    let shape = ResponseShape::new(&exchange.request, exchange.response.framing, close);
    let keep_trailers = forwarding.limits.enable_trailers && shape.framing == BodyKind::Chunked;
    attempt.upstream.start_body(exchange.response.framing, forwarding.codec_limits, keep_trailers);
    let edits =
        ResponseEdits { policy: forwarding.policy, service_time_ms: exchange.service_time_ms, date: forwarding.date };
    let out = exchange.to_downstream.bytes(reactor);
    encode::response(out, &exchange.request, &exchange.response, exchange.response_bytes.as_slice(), shape, &edits);
    exchange.status = exchange.response.status;
    shape
}

/// Take what has come of the body into the batch; ready when there is something to send, with whether it was the last.
fn poll_piece(
    attempt: &mut Attempt<'_>,
    exchange: &mut Exchange,
    downstream: &mut Downstream<'_>,
    deadlines: &mut Deadlines,
    writer: &mut BodyWriter,
    may_splice: bool,
) -> Poll<Result<bool, Fault>> {
    let reactor = attempt.forwarding.reactor;
    let mut budget = attempt.forwarding.limits.buffer_limit as usize;
    loop {
        // Asking for more would start a receive that takes from what is to be spliced.
        let taken = !attempt.upstream.connection.stream.has_received();
        if may_splice && taken && can_splice(attempt, downstream) {
            return Poll::Ready(Ok(false));
        }
        match attempt.upstream.poll_body() {
            Poll::Ready(Ok(UpstreamBody::Data(buf))) => {
                exchange.sent += buf.len() as u64;
                budget = budget.saturating_sub(buf.charge());
                writer.data(&mut exchange.to_downstream, buf, reactor);
                if budget == 0 {
                    return Poll::Ready(Ok(false));
                }
            }
            Poll::Ready(Ok(UpstreamBody::End(trailers))) => {
                writer.end(&mut exchange.to_downstream, trailers.as_deref(), reactor);
                return Poll::Ready(Ok(true));
            }
            Poll::Ready(Err(error)) => return Poll::Ready(Err(fault(&error, true))),
            Poll::Pending => break,
        }
    }
    if !exchange.to_downstream.is_empty() {
        return Poll::Ready(Ok(false));
    }
    wait(attempt, exchange, downstream, deadlines)
}

fn poll_flushed(
    attempt: &mut Attempt<'_>,
    exchange: &mut Exchange,
    downstream: &mut Downstream<'_>,
    deadlines: &mut Deadlines,
    limit: usize,
) -> Poll<Result<(), Fault>> {
    match downstream.stream.poll_flushed(limit) {
        Poll::Ready(Ok(())) => Poll::Ready(Ok(())),
        Poll::Ready(Err(_)) => Poll::Ready(Err(Fault::DownstreamReset)),
        Poll::Pending => wait(attempt, exchange, downstream, deadlines),
    }
}

/// While the response waits, the request's body goes on. Ready only with a fault.
fn wait<T>(
    attempt: &mut Attempt<'_>,
    exchange: &mut Exchange,
    downstream: &mut Downstream<'_>,
    deadlines: &mut Deadlines,
) -> Poll<Result<T, Fault>> {
    if !downstream.is_done()
        && let Poll::Ready(Err(fault)) = attempt.pump(exchange, downstream, deadlines, None)
    {
        return Poll::Ready(Err(fault));
    }
    interrupted(attempt.forwarding, downstream, deadlines).map_or(Poll::Pending, |fault| Poll::Ready(Err(fault)))
}

/// Whether the rest of the body is plain and long, and nothing else goes on.
fn can_splice(attempt: &Attempt<'_>, downstream: &Downstream<'_>) -> bool {
    let Some(threshold) = attempt.forwarding.splice_threshold else { return false };
    attempt.upstream.skippable().is_none_or(|rest| rest > 0 && rest >= threshold)
        && downstream.is_done()
        && attempt.upstream.connection.stream.plain_socket().is_some()
        && downstream.stream.plain_socket().is_some()
}

/// Bytes moved before other tasks get their turn.
const SPLICE_TURN: usize = 1024 * 1024;

/// Move the rest of the body without copying it through this process. Returns early, having done no harm, when there
/// is no pipe to be had (`false`: do not try again) or when the connection has something else to tell.
async fn splice(
    attempt: &mut Attempt<'_>,
    exchange: &mut Exchange,
    downstream: &mut Downstream<'_>,
    deadlines: &mut Deadlines,
) -> Result<bool, Fault> {
    let reactor = attempt.forwarding.reactor;
    poll_fn(|_| match attempt.upstream.connection.stream.plain_socket() {
        Some(from) => from.poll_receive_stopped(),
        None => Poll::Ready(()),
    })
    .await;
    // What the ring has received goes first. Asking only while bytes are there keeps the receive stopped.
    while attempt.upstream.connection.stream.has_received_bytes() {
        match attempt.upstream.poll_body() {
            Poll::Ready(Ok(UpstreamBody::Data(buf))) => {
                exchange.sent += buf.len() as u64;
                exchange.to_downstream.body(buf, reactor);
            }
            Poll::Ready(Err(error)) => return Err(fault(&error, true)),
            Poll::Ready(Ok(UpstreamBody::End(_))) | Poll::Pending => break,
        }
    }
    exchange.to_downstream.flush(downstream.stream);
    poll_fn(|_| poll_flushed(attempt, exchange, downstream, deadlines, 0)).await?;
    if attempt.upstream.is_body_done() || attempt.upstream.connection.stream.has_received() {
        return Ok(true);
    }
    let Ok(mut pipe) = reactor.take_pipe() else { return Ok(false) };
    set_nonblocking(attempt, downstream, true);
    let result = poll_fn(|_| poll_splice(attempt, exchange, downstream, deadlines, &mut pipe)).await;
    set_nonblocking(attempt, downstream, false);
    reactor.give_pipe(pipe);
    result.map(|()| true)
}

fn set_nonblocking(attempt: &Attempt<'_>, downstream: &Downstream<'_>, on: bool) {
    for stream in [&attempt.upstream.connection.stream, downstream.stream] {
        if let Some(socket) = stream.plain_socket() {
            socket.set_nonblocking(on);
        }
    }
}

fn poll_splice(
    attempt: &mut Attempt<'_>,
    exchange: &mut Exchange,
    downstream: &mut Downstream<'_>,
    deadlines: &mut Deadlines,
    pipe: &mut Splice,
) -> Poll<Result<(), Fault>> {
    let reactor = attempt.forwarding.reactor;
    let mut turn = 0;
    loop {
        let (Some(from), Some(to)) =
            (attempt.upstream.connection.stream.plain_socket(), downstream.stream.plain_socket())
        else {
            return Poll::Ready(Ok(()));
        };
        let ready = if pipe.held() > 0 {
            match pipe.push(to) {
                Ok(Moved::Bytes(n)) => {
                    exchange.sent += n as u64;
                    exchange.spliced += n as u64;
                    turn += n;
                    Poll::Ready(())
                }
                Ok(Moved::WouldBlock) => to.poll_writable(),
                Ok(Moved::Eof) | Err(_) => return Poll::Ready(Err(Fault::DownstreamReset)),
            }
        } else {
            let want = attempt.upstream.skippable().unwrap_or(u64::MAX).min(SPLICE_TURN as u64) as usize;
            if want == 0 {
                return Poll::Ready(Ok(()));
            }
            match pipe.pull(from, want) {
                Ok(Moved::Bytes(n)) => {
                    attempt.upstream.skip(n as u64);
                    Poll::Ready(())
                }
                Ok(Moved::WouldBlock) => from.poll_readable(),
                Ok(Moved::Eof) => return Poll::Ready(attempt.upstream.on_eof().map_err(|error| fault(&error, true))),
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
        deadlines.moved(reactor.now());
    }
    interrupted(attempt.forwarding, downstream, deadlines).map_or(Poll::Pending, |fault| Poll::Ready(Err(fault)))
}
