//! The response on its way out: its last edits, its head, its body, and what is left of the request after it.

use super::download::{Download, LocalBody};
use super::finalize;
use super::local_reply::{Telling, telling};
use super::manager::Hcm;
use super::reply_mapper;
use super::serving::{Ending, Serving};
use crate::base::clock::Nanos;
use crate::http::format::ResponseFlags;
use crate::http::grpc::GrpcStatus;
use crate::http::{Exchange, FieldId, Length, Reply};
use crate::http_filter::{Passed, Responding};
use crate::mux::h2::Code;
use crate::mux::{Downstream, Hooks, Piece};
use crate::router::{Client, Fault, Try};
use std::task::Poll;
use std::time::Duration;

/// The part of a request's body that was not wanted is read for this long and up to this many bytes before the connection
/// is given up (RFC 9112 section 9.3).
const READ_AWAY_TIME: Duration = Duration::from_secs(1);
const READ_AWAY_BYTES: u64 = 64 * 1024;

/// A reply of the proxy's own whose body passes filters may pause this long before it is given up.
const REPLY_IDLE_TIME: Duration = Duration::from_secs(30);

/// Relay the response whose head is in the exchange, and whose try is in `current`.
pub(super) async fn upstream(
    serving: &mut Serving<'_, '_, '_>,
    current: &mut Option<Try<'_>>,
) -> Result<Ending, Fault> {
    let Serving { hcm, connection, exchange, client, .. } = &mut *serving;
    client.deadlines.response_begun();
    // From here on the request is not sent again.
    client.upload.replay.clear(client.reactor);
    let tried = current.as_mut().expect("a response has its try");
    add_own_fields(hcm, exchange, tried);
    let details = match exchange.facts.retry_abandoned {
        true => "via_upstream{request_payload_exceeded_retry_buffer_limit}",
        false => "via_upstream",
    };
    let ending = Ending::whole(ResponseFlags::empty(), details);
    finalize::routed_response(hcm, connection, exchange, &ending);
    // `filter` would say the same, but as a future whose result is moved out of it.
    let hooks = match hcm.filters.is_empty() {
        true => Hooks::default(),
        false => filter(serving).await?,
    };
    finalize::response(serving.hcm, serving.exchange, false);
    write_head(serving, false);
    let Serving { hcm, exchange, client, .. } = &mut *serving;
    let result = {
        // What it holds is given back before the rest of a request is read away.
        let mut download = Download::new(hcm.config.limits.buffer_limit as usize, hooks, hcm.splice_threshold);
        let result = client.guard(|client, _| download.poll(tried, exchange, client)).await;
        download.stop(tried, exchange, client);
        result
    };
    client.upload.note(exchange);
    Try::end(current, exchange, &client.upload, result);
    result?;
    exchange.facts.times.downstream_end = Some(client.reactor.now());
    if !serving.client.upload.is_done() {
        read_away(serving).await;
    }
    Ok(ending)
}

/// Let the filters see the response. Gives what they want done with its body.
async fn filter(serving: &mut Serving<'_, '_, '_>) -> Result<Hooks, Fault> {
    let Serving { hcm, exchange, client, filters, .. } = serving;
    if hcm.filters.is_empty() {
        return Ok(Hooks::default());
    }
    let reactor = client.reactor;
    let mut context = Responding { exchange, client };
    // In memory of its own: an exchange without filters needs no room for what they wait for.
    reactor.pooled(|| hcm.filters.response(filters, &mut context)).await
}

/// What the router has to say to the client.
fn add_own_fields(hcm: &Hcm, exchange: &mut Exchange, tried: &Try<'_>) {
    let mut number = itoa::Buffer::new();
    let mut set = |exchange: &mut Exchange, id, value: u64| {
        exchange.response.head.fields.remove_id(id);
        let value = number.format(value);
        exchange.response.edit().add_known(id, |out| out.extend_from_slice(value.as_bytes()));
    };
    if hcm.config.headers.x_envoy_upstream_service_time {
        let waited = hcm.shard.reactor.now().saturating_sub(exchange.last.times.start);
        set(exchange, FieldId::XEnvoyUpstreamServiceTime, waited / 1_000_000);
    }
    let host = exchange.facts.route.map(|at| &hcm.config.virtual_hosts[at.virtual_host as usize]);
    if host.is_some_and(|host| host.include_attempt_count_in_response) {
        set(exchange, FieldId::XEnvoyAttemptCount, u64::from(exchange.facts.tries));
    }
    for cookie in &tried.forwarding.cookies {
        exchange.response.edit().add_known(FieldId::SetCookie, |out| cookie.write(out));
    }
}

/// Answer with a redirect to `location`.
///
/// # Errors
/// The response stays incomplete.
pub(super) async fn redirect(
    serving: &mut Serving<'_, '_, '_>,
    reply: &Reply<'_>,
    location: &[u8],
) -> Result<Ending, Fault> {
    Reply::begin(serving.exchange, serving.client.reactor);
    serving.exchange.response.edit().add_known(FieldId::Location, |out| out.extend_from_slice(location));
    local(serving, reply).await
}

/// Answer here. `Reply::begin` was called, and what was added to the head since stays.
///
/// # Errors
/// The response stays incomplete.
pub(super) async fn local(serving: &mut Serving<'_, '_, '_>, reply: &Reply<'_>) -> Result<Ending, Fault> {
    write_reply(serving, reply, false).await?;
    if !serving.client.upload.is_done() {
        read_away(serving).await;
    }
    serving.client.upload.note(serving.exchange);
    Ok(Ending::whole(reply.flags, reply.details))
}

/// Send a local reply. Its body goes at once, unless a filter wants to have it first.
async fn write_reply(serving: &mut Serving<'_, '_, '_>, reply: &Reply<'_>, closes: bool) -> Result<(), Fault> {
    let Serving { hcm, connection, exchange, .. } = serving;
    reply.finish(exchange);
    let keep_body = |exchange: &mut Exchange, body: &[u8]| {
        if hcm.keeps_local_body {
            exchange.facts.local_body = exchange.response.edits.store(|out| out.extend_from_slice(body));
        }
    };
    keep_body(exchange, reply.body);
    let mut body = Vec::new();
    let mut mapped = None;
    if !hcm.replies.is_empty() {
        mapped = reply_mapper::map(hcm, connection, exchange, reply, &mut body);
        mapped.iter().for_each(|mapped| keep_body(exchange, mapped.body));
    }
    let mut reply = mapped.as_ref().unwrap_or(reply);
    let trailers_only;
    if exchange.request.is_grpc() {
        trailers_only = reply.finish_grpc(exchange);
        reply = &trailers_only;
    }
    finalize::routed_response(hcm, connection, exchange, &Ending::whole(reply.flags, reply.details));
    let hooks = filter(serving).await?;
    finalize::response(serving.hcm, serving.exchange, true);
    write_head(serving, closes);
    let Serving { hcm, exchange, client, .. } = serving;
    let has_body = reply.has_body(exchange.request.head.method);
    if has_body && !hooks.is_empty() {
        let body = LocalBody::new(reply.body, hooks, hcm.config.limits.buffer_limit as usize);
        let reactor = client.reactor;
        // What ran out before does not count any more.
        client.deadlines.start_reading_away(reactor.now(), REPLY_IDLE_TIME);
        reactor.pooled(|| body.run(exchange, client)).await?;
    } else {
        let wire = &mut client.upload.wire;
        if has_body {
            wire.put_bytes(reply.body);
            exchange.facts.sent = reply.body.len() as u64;
        }
        wire.end(&exchange.response.trailers);
        wire.flush();
    }
    exchange.facts.times.downstream_end = Some(client.reactor.now());
    Ok(())
}

/// Put the response's head into the batch. `closes`: the connection cannot go on after it. What else ends the connection is
/// looked at here: it may have come up while the response was waited for.
fn write_head(serving: &mut Serving<'_, '_, '_>, closes: bool) {
    let Serving { hcm, connection, exchange, client, .. } = serving;
    let closes = closes || connection.ends_with_this(hcm);
    let head_sent = client.upload.wire.send_head(&exchange.request.head, &exchange.response, closes);
    exchange.facts.wire.head_sent = head_sent;
    exchange.facts.times.downstream_start = Some(client.reactor.now());
    exchange.facts.status = exchange.response.head.status;
    client.vigil.expect_taking(hcm.config.timeouts.send);
}

/// The response is said, and the request's body is not done: what is left of it is read away, where the connection could go
/// on after it.
async fn read_away(serving: &mut Serving<'_, '_, '_>) {
    let Serving { hcm, exchange, client, .. } = serving;
    hcm.stats.downstream_rq_response_before_rq_complete.inc();
    if !client.upload.wire.reads_away() {
        return;
    }
    client.deadlines.start_reading_away(client.reactor.now(), READ_AWAY_TIME);
    let most = client.upload.received() + READ_AWAY_BYTES;
    let trailers = &mut exchange.request.trailers;
    let ended = client.guard(|client, _| {
        while let Poll::Ready(piece) = client.upload.poll_away(trailers) {
            match piece {
                Ok(Piece::Data(_)) if client.upload.received() <= most => {}
                Ok(Piece::End) => return Poll::Ready(Ok(())),
                Ok(Piece::Data(_)) => return Poll::Ready(Err(Fault::RequestTooLarge)),
                Err(fault) => return Poll::Ready(Err(fault)),
            }
        }
        Poll::Pending
    });
    let ended = ended.await;
    exchange.facts.times.request_end = ended.is_ok().then(|| client.reactor.now());
}

/// Tell the client what went wrong, as far as that is still possible.
pub(super) async fn fault(serving: &mut Serving<'_, '_, '_>, fault: Fault) -> Ending {
    let Serving { hcm, connection, exchange, client, filters, .. } = serving;
    count_fault(hcm, fault);
    // Where bytes wait at the end of an idle time, it is the client that has taken none of them. Before a connection's first
    // response there are only those of a handshake, such as tickets, which may have left just now.
    let has_answered = exchange.facts.status != 0 || connection.requests() > 1;
    let takes_nothing = |wire: &Downstream<'_>| has_answered && wire.delivery().is_some_and(|delivery| delivery.waits);
    if fault == Fault::DownstreamStalled || fault == Fault::StreamIdle && takes_nothing(client.upload.wire) {
        client.upload.wire.give_up();
    }
    let mut telling = telling(fault, exchange.facts.times.request_end.is_some(), exchange.facts.timeout_is_204);
    if exchange.facts.retry_abandoned {
        telling.details = "request_payload_exceeded_retry_buffer_limit";
    }
    if fault == Fault::DownstreamReset
        && let Some(code) = client.upload.wire.reset_code()
    {
        telling = Telling { flags: ResponseFlags::DOWNSTREAM_REMOTE_RESET, details: reset_details(code), ..telling };
    }
    if is_deadline(exchange, fault, client.reactor.now()) {
        telling.grpc_status = Some(GrpcStatus::DEADLINE_EXCEEDED);
    }
    let ending = Ending { flags: telling.flags, details: telling.details, is_whole: true };
    let Some(status) = telling.status.filter(|_| exchange.facts.status == 0) else {
        if ends_call(exchange, client, filters, fault, &telling) {
            return ending;
        }
        // Where the response has begun, all that can be done is to leave it visibly incomplete.
        client.upload.wire.reset_with(fault.reset_code());
        count_reset(hcm, fault);
        return Ending { is_whole: false, ..ending };
    };
    let request_unread = exchange.facts.times.request_end.is_none();
    let closes = telling.close || request_unread;
    Reply::begin(exchange, client.reactor);
    if status == 405 {
        // RFC 9110 section 15.5.6 wants the methods that would be allowed; only TRACE comes here.
        let write = |out: &mut Vec<u8>| out.extend_from_slice(b"GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH");
        exchange.response.edit().add_known(FieldId::Allow, write);
    }
    if let Fault::Overflow(_) = fault {
        exchange.response.edit().add(b"x-envoy-overloaded", b"true");
    }
    let mut reply = Reply::text(status, telling.body, telling.flags, telling.details);
    reply.grpc_status = telling.grpc_status;
    match write_reply(serving, &reply, closes).await {
        Ok(()) => ending,
        Err(fault) => {
            count_reset(serving.hcm, fault);
            Ending { is_whole: false, ..ending }
        }
    }
}

/// Whether an endpoint has given a call up because its time is over. It says CANCEL then, which clients that know the deadline
/// take for that; they would believe a status.
fn is_deadline(exchange: &Exchange, fault: Fault, now: Nanos) -> bool {
    let is_cancel = matches!(fault, Fault::UpstreamReset { code, begun: false } if Code(code) == Code::CANCEL);
    let since_start = Duration::from_nanos(now.saturating_sub(exchange.facts.times.start));
    is_cancel && exchange.request.grpc_timeout().is_some_and(|timeout| since_start >= timeout)
}

/// Envoy's details of a client's reset, which leaves its connection as it is.
fn reset_details(code: u32) -> &'static str {
    match Code(code) {
        Code::REFUSED_STREAM => "http2.remote_refuse",
        _ => "http2.remote_reset",
    }
}

/// A call of gRPC whose response has begun ends with its trailers, so that the client knows more than that it was cut. Whether it
/// does. The code of an endpoint's reset says that already, a request that breaks a rule gets no answer, and a body with a length
/// cannot end before it.
fn ends_call(
    exchange: &mut Exchange,
    client: &mut Client<'_, '_>,
    filters: &Passed,
    fault: Fault,
    telling: &Telling,
) -> bool {
    if matches!(fault, Fault::UpstreamReset { .. } | Fault::RequestBody(_)) {
        return false;
    }
    let Some(status) = telling.status else { return false };
    if exchange.response.head.length != Length::Unknown || !exchange.request.is_grpc() {
        return false;
    }
    let status = telling.grpc_status.unwrap_or_else(|| GrpcStatus::of_http(status));
    let Exchange { response, facts, .. } = exchange;
    response.trailers.set_grpc_status(status, telling.body);
    let Some(frame) = filters.cut_call(facts.sent, &mut response.trailers, client.reactor.now()) else {
        response.trailers.clear();
        return false;
    };
    let wire = &mut client.upload.wire;
    if !frame.is_empty() {
        wire.put_bytes(&frame);
    }
    wire.end(&exchange.response.trailers);
    wire.flush();
    true
}

fn count_fault(hcm: &Hcm, fault: Fault) {
    let stats = &hcm.stats;
    match fault {
        Fault::RequestHead(_) | Fault::RequestBody(_) => stats.downstream_cx_protocol_error.inc(),
        Fault::RequestCoding(violation) => stats.downstream_rq_too_large.add(u64::from(violation.status == 413)),
        Fault::MatchCost => stats.downstream_rq_match_cost_exceeded.inc(),
        Fault::RequestTooLarge => stats.downstream_rq_too_large.inc(),
        Fault::RequestHeaderTimeout => stats.downstream_rq_header_timeout.inc(),
        Fault::RequestTimeout => stats.downstream_rq_timeout.inc(),
        Fault::RequestBodyTooSlow => stats.downstream_rq_body_too_slow.inc(),
        Fault::DownstreamStalled => stats.downstream_rq_send_timeout.inc(),
        Fault::StreamIdle => stats.downstream_rq_idle_timeout.inc(),
        Fault::MaxStreamDuration => stats.downstream_rq_max_duration_reached.inc(),
        _ => {}
    }
}

/// The exchange ends without a whole response. Every request ends in exactly one of these and `downstream_rq_completed`.
fn count_reset(hcm: &Hcm, fault: Fault) {
    match fault {
        Fault::RequestTruncated | Fault::DownstreamReset => hcm.stats.downstream_rq_rx_reset.inc(),
        _ => hcm.stats.downstream_rq_tx_reset.inc(),
    }
}
