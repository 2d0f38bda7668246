//! The response on its way out: its last edits, its head, its body, and what becomes of the connection.

use super::connection::Connection;
use super::exchange::Ending;
use super::h1::Next;
use super::local_reply::telling;
use super::relay::Relay;
use super::{Hcm, finalize};
use crate::codec::h1::BodyError;
use crate::http::format::ResponseFlags;
use crate::http::{BodyKind, Exchange, FieldId, Reply, Version};
use crate::http_filter::{Pace, Run};
use crate::router::{self, Deadlines, Downstream, DownstreamBody, Fault, ResponseShape, encode};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// What of a request's body nobody wanted is read for so long and so much before the connection is given up (RFC 9112
/// section 9.3).
const DISCARD_BYTES: u64 = 64 * 1024;
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// One exchange with all that serves it.
pub(super) struct Serving<'a, 'd> {
    pub hcm: &'a Rc<Hcm>,
    pub connection: &'a Connection,
    pub exchange: &'a mut Exchange,
    pub downstream: &'a mut Downstream<'d>,
    pub deadlines: &'a mut Deadlines,
    pub filters: &'a mut Run,
    /// The connection must end after this exchange.
    pub close: bool,
}

/// Relay the response whose head is in the exchange, and whose try is in `current`.
pub(super) async fn upstream(
    serving: &mut Serving<'_, '_>,
    current: &mut Option<router::Response<'_>>,
) -> Result<(Next, Ending), Fault> {
    let Serving { hcm, connection, exchange, downstream, deadlines, filters, close } = serving;
    deadlines.response_begun();
    // From here on nobody sends the request again.
    downstream.replay.clear(&hcm.shard.reactor);
    let response = current.as_mut().expect("a response has its try");
    add_own_fields(hcm, exchange, response);
    let details = match exchange.retry_abandoned {
        true => "via_upstream{request_payload_exceeded_retry_buffer_limit}",
        false => "via_upstream",
    };
    let ending = Ending { flags: ResponseFlags::empty(), details };
    finalize::routed_response(hcm, connection, exchange, &ending);
    let mut pace = hcm.filters.response(filters, exchange);
    finalize::response(hcm, exchange, false);
    // A client that waits for 100 and got a final response instead may or may not send its body now: nobody can tell
    // where the next request would begin (RFC 9110 section 10.1.1).
    let unsure = exchange.request.expect_continue && !downstream.is_begun();
    // A drain may have begun while the response was waited for.
    let drains = connection.drain.is_draining() && !*close;
    hcm.stats.downstream_cx_drain_close.add(u64::from(drains));
    let shape = ResponseShape::new(&exchange.request, exchange.response.framing, *close || drains || unsure);
    let keep_trailers = hcm.config.limits.enable_trailers && shape.framing == BodyKind::Chunked;
    let attempt = &mut response.attempt;
    attempt.upstream.start_body(exchange.response.framing, &hcm.codec_limits, keep_trailers);
    write_head(hcm, exchange, shape);
    let relay = Relay::new(attempt, exchange, downstream, deadlines, shape)
        .splice_from(hcm.splice_threshold)
        .at_pace(pace.as_mut());
    let result = relay.run().await;
    downstream.note(exchange);
    router::Response::end(current, exchange, downstream, result);
    result?;
    exchange.times.downstream_end = Some(hcm.shard.reactor.now());
    let next = finish(serving, shape.close).await;
    Ok((next, ending))
}

/// What the router has to say to the client.
fn add_own_fields(hcm: &Hcm, exchange: &mut Exchange, response: &router::Response<'_>) {
    let mut number = itoa::Buffer::new();
    let mut set = |exchange: &mut Exchange, id, value: u64| {
        exchange.response.fields.remove_id(id);
        let value = number.format(value);
        exchange.edit_response().add_known(id, |out| out.extend_from_slice(value.as_bytes()));
    };
    if hcm.config.headers.x_envoy_upstream_service_time {
        let waited = hcm.shard.reactor.now().saturating_sub(exchange.times.upstream_start);
        set(exchange, FieldId::XEnvoyUpstreamServiceTime, waited / 1_000_000);
    }
    let host = exchange.route.map(|at| &hcm.config.virtual_hosts[at.virtual_host as usize]);
    if host.is_some_and(|host| host.include_attempt_count_in_response) {
        set(exchange, FieldId::XEnvoyAttemptCount, u64::from(exchange.attempts));
    }
    for cookie in &response.attempt.forwarding.cookies {
        exchange.edit_response().add_known(FieldId::SetCookie, |out| cookie.write(out));
    }
}

/// Answer with a redirect to `location`.
pub(super) async fn redirect(serving: &mut Serving<'_, '_>, reply: &Reply<'_>, location: &[u8]) -> (Next, Ending) {
    Reply::begin(serving.exchange, &serving.hcm.shard.reactor);
    serving.exchange.edit_response().add_known(FieldId::Location, |out| out.extend_from_slice(location));
    local(serving, reply).await
}

/// Answer here. `Reply::begin` was called, and what was added to the head since stays.
pub(super) async fn local(serving: &mut Serving<'_, '_>, reply: &Reply<'_>) -> (Next, Ending) {
    let Serving { hcm, connection, exchange, downstream, filters, close, .. } = serving;
    // Whether a client that waits for 100 sends its body now, nobody can tell.
    let unsure = exchange.request.expect_continue && !downstream.is_begun();
    let close = *close || unsure || !exchange.request.keep_alive;
    write_reply(hcm, connection, exchange, filters, reply, close);
    exchange.to_downstream.flush(downstream.stream);
    exchange.times.downstream_end = Some(hcm.shard.reactor.now());
    let next = finish(serving, close).await;
    serving.downstream.note(serving.exchange);
    (next, Ending { flags: reply.flags, details: reply.details })
}

/// Put a local reply into the batch for the downstream.
fn write_reply(
    hcm: &Hcm,
    connection: &Connection,
    exchange: &mut Exchange,
    filters: &mut Run,
    reply: &Reply<'_>,
    close: bool,
) {
    reply.finish(exchange);
    if hcm.keeps_local_body {
        exchange.local_body = exchange.response_edits.store(|out| out.extend_from_slice(reply.body));
    }
    let ending = Ending { flags: reply.flags, details: reply.details };
    finalize::routed_response(hcm, connection, exchange, &ending);
    let _: Option<Pace> = hcm.filters.response(filters, exchange);
    finalize::response(hcm, exchange, true);
    // The length is known, so that no version of HTTP needs the connection's end.
    let shape = ResponseShape { framing: exchange.response.framing, close };
    write_head(hcm, exchange, shape);
    if reply.has_body(exchange.request.method) {
        exchange.to_downstream.bytes(&hcm.shard.reactor).extend_from_slice(reply.body);
        exchange.sent = reply.body.len() as u64;
    }
}

fn write_head(hcm: &Hcm, exchange: &mut Exchange, shape: ResponseShape) {
    let (outbox, request, response, view) = exchange.response_to_send();
    let out = outbox.bytes(&hcm.shard.reactor);
    let before = out.len();
    encode::response(out, request, response, view, shape);
    exchange.wire.downstream_head_sent = (out.len() - before) as u64;
    exchange.times.downstream_start = Some(hcm.shard.reactor.now());
    exchange.status = exchange.response.status;
}

/// The response is said; what is left of the request's body is read away, or the connection ends.
async fn finish(serving: &mut Serving<'_, '_>, close: bool) -> Next {
    let Serving { hcm, exchange, downstream, deadlines, .. } = serving;
    if downstream.is_done() {
        // A client that did not ask for the close may be sending its next request.
        return match close {
            false => Next::KeepAlive,
            true if exchange.request.keep_alive => Next::Linger,
            true => Next::Close,
        };
    }
    hcm.stats.downstream_rq_response_before_rq_complete.inc();
    if close {
        return Next::Linger;
    }
    let reactor = &hcm.shard.reactor;
    deadlines.start_waiting(reactor.now(), Some(DISCARD_TIME));
    let most = downstream.received() + DISCARD_BYTES;
    let ended = poll_fn(|_| {
        while let Poll::Ready(piece) = downstream.poll_body() {
            match piece {
                Ok(DownstreamBody::Data(_)) if downstream.received() <= most => {}
                Ok(DownstreamBody::End(_)) => return Poll::Ready(true),
                Ok(DownstreamBody::Data(_)) | Err(_) => return Poll::Ready(false),
            }
        }
        if deadlines.expired(reactor.now()).is_some() { Poll::Ready(false) } else { Poll::Pending }
    })
    .await;
    exchange.times.request_end = ended.then(|| reactor.now());
    if ended { Next::KeepAlive } else { Next::Linger }
}

/// Tell the client what went wrong, as far as that is still possible.
pub(super) fn fault(
    hcm: &Hcm,
    connection: &Connection,
    exchange: &mut Exchange,
    filters: &mut Run,
    fault: Fault,
) -> (Next, Ending) {
    count_fault(hcm, fault);
    let mut telling = telling(fault);
    if exchange.retry_abandoned {
        telling.details = "request_payload_exceeded_retry_buffer_limit";
    }
    let ending = Ending { flags: telling.flags, details: telling.details };
    if exchange.status != 0 {
        // The response has begun: all that can be done is to leave it visibly incomplete.
        count_reset(hcm, fault);
        let until_close = exchange.request.version == Version::Http10
            && matches!(exchange.response.framing, BodyKind::Chunked | BodyKind::UntilClose);
        return (if until_close { Next::Reset } else { Next::Abort }, ending);
    }
    let is_late = matches!(fault, Fault::RouteTimeout | Fault::PerTryTimeout | Fault::PerTryIdleTimeout);
    if matches!(fault, Fault::StreamIdle | Fault::MaxStreamDuration) && exchange.times.request_end.is_none() {
        telling.status = Some(408);
    } else if is_late && exchange.timeout_is_204 {
        telling.status = Some(204);
    }
    let Some(status) = telling.status else {
        count_reset(hcm, fault);
        return (Next::Abort, ending);
    };
    exchange.to_downstream.clear();
    let request_unread = exchange.times.request_end.is_none();
    let close = telling.close || request_unread || !exchange.request.keep_alive || connection.drain.is_draining();
    Reply::begin(exchange, &hcm.shard.reactor);
    if status == 405 {
        // RFC 9110 section 15.5.6 wants the methods that would be allowed; only TRACE comes here.
        let write = |out: &mut Vec<u8>| out.extend_from_slice(b"GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH");
        exchange.edit_response().add_known(FieldId::Allow, write);
    }
    if let Fault::Overflow(_) = fault {
        exchange.edit_response().add(b"x-envoy-overloaded", b"true");
    }
    let reply = Reply::text(status, telling.body, telling.flags, telling.details);
    write_reply(hcm, connection, exchange, filters, &reply, close);
    exchange.times.downstream_end = Some(hcm.shard.reactor.now());
    let next = match (close, request_unread || telling.close || exchange.request.keep_alive) {
        (true, true) => Next::Linger,
        (true, false) => Next::Close,
        (false, _) => Next::KeepAlive,
    };
    (next, ending)
}

fn count_fault(hcm: &Hcm, fault: Fault) {
    let stats = &hcm.stats;
    match fault {
        Fault::RequestHead(_) => stats.downstream_cx_protocol_error.inc(),
        Fault::RequestBody(BodyError::Truncated) => {}
        Fault::RequestBody(_) => stats.downstream_cx_protocol_error.inc(),
        Fault::RequestTooLarge => stats.downstream_rq_too_large.inc(),
        Fault::RequestHeaderTimeout => stats.downstream_rq_header_timeout.inc(),
        Fault::RequestTimeout => stats.downstream_rq_timeout.inc(),
        Fault::StreamIdle => stats.downstream_rq_idle_timeout.inc(),
        Fault::MaxStreamDuration => stats.downstream_rq_max_duration_reached.inc(),
        _ => {}
    }
}

/// The exchange ends without a whole response. Every request ends in exactly one of these and `downstream_rq_completed`.
fn count_reset(hcm: &Hcm, fault: Fault) {
    match fault {
        Fault::RequestBody(BodyError::Truncated) | Fault::DownstreamReset => hcm.stats.downstream_rq_rx_reset.inc(),
        _ => hcm.stats.downstream_rq_tx_reset.inc(),
    }
}
