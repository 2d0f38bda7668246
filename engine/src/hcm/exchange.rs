//! START READING HERE: one exchange on an HTTP/1 connection, from the request's first bytes to its line in the access
//! log.
//!
//! ```text
//! read_head -> route -> Forward: router::forward -> account
//!                    -> Redirect, DirectResponse, no route: local reply -> account
//!              any fault on the way: `fail` -> account
//! ```

use super::Hcm;
use super::access_log::ResponseFlags;
use super::connection::Connection;
use super::h1::Next;
use super::local_reply::{LocalReply, telling};
use super::log;
use crate::codec::h1::{BodyDecoder, BodyError, HeadScanner, Parse};
use crate::http::{BodyKind, Exchange, FieldId, Version};
use crate::ring::Buf;
use crate::router::encode::uuid4;
use crate::router::matcher::Request;
use crate::router::{Action, Deadlines, Downstream, DownstreamBody, Fault, Forwarding, Route, forward, is_too_large};
use ringway_config::model::{DirectResponse, Redirect};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// How an exchange ended, for the log.
pub(super) struct Ending {
    pub flags: ResponseFlags,
    pub details: &'static str,
}

/// What of a request's body nobody wanted is read for so long and so much before the connection is given up (RFC 9112
/// section 9.3).
const DISCARD_BYTES: u64 = 64 * 1024;
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// Serve one request, whose first bytes are `first`.
pub(super) async fn run(
    hcm: &Rc<Hcm>,
    connection: &mut Connection,
    exchange: &mut Exchange,
    first: Buf,
    deadlines: &mut Deadlines,
) -> Next {
    let reactor = &hcm.shard.reactor;
    exchange.times.start = reactor.now();
    exchange.times.start_wall_micros = reactor.wall_micros();
    let timeouts = &hcm.config.timeouts;
    deadlines.start_request(reactor.now(), timeouts.request_headers, timeouts.request);
    let active = ActiveRequest::new(hcm);
    let result = match read_head(hcm, connection, exchange, first, deadlines).await {
        Ok(()) => respond(hcm, connection, exchange, deadlines).await,
        Err(fault) => Err(fault),
    };
    let (next, ending) = match result {
        Ok(done) => done,
        Err(fault) => fail(hcm, connection, exchange, fault),
    };
    exchange.to_downstream.flush(&connection.stream);
    account(hcm, connection, exchange, next);
    log::write(hcm, connection, exchange, &ending);
    drop(active);
    next
}

/// Read the head into the exchange. What came behind it is put back.
async fn read_head(
    hcm: &Hcm,
    connection: &Connection,
    exchange: &mut Exchange,
    first: Buf,
    deadlines: &mut Deadlines,
) -> Result<(), Fault> {
    let reactor = &hcm.shard.reactor;
    let stream = &connection.stream;
    let mut scanner = HeadScanner::default();
    exchange.request_bytes.append(first, reactor);
    loop {
        let bytes = exchange.request_bytes.as_slice();
        match scanner.request(bytes, &hcm.codec_limits, &mut exchange.request) {
            Err(error) => return Err(Fault::RequestHead(error)),
            Ok(Parse::Complete) => break,
            Ok(Parse::Partial) => {}
        }
        let buf = poll_fn(|_| match stream.poll_recv() {
            Poll::Ready(Ok(Some(buf))) => Poll::Ready(Ok(buf)),
            Poll::Ready(Ok(None) | Err(_)) => Poll::Ready(Err(Fault::DownstreamReset)),
            Poll::Pending => deadlines.expired(reactor.now()).map_or(Poll::Pending, |fault| Poll::Ready(Err(fault))),
        })
        .await?;
        exchange.request_bytes.append(buf, reactor);
    }
    if let Some(rest) = exchange.request_bytes.rest(exchange.request.len as usize, reactor) {
        stream.unread(rest);
    }
    Ok(())
}

/// Find the route and do what it says.
async fn respond(
    hcm: &Rc<Hcm>,
    connection: &Connection,
    exchange: &mut Exchange,
    deadlines: &mut Deadlines,
) -> Result<(Next, Ending), Fault> {
    let reactor = &hcm.shard.reactor;
    let limits = &hcm.config.limits;
    if is_too_large(exchange.request.framing, limits.max_request_body) {
        return Err(Fault::RequestTooLarge);
    }
    if hcm.config.headers.x_request_id && !exchange.request.fields.contains(FieldId::XRequestId) {
        exchange.request_id = Some(uuid4(reactor.random().next_u64(), reactor.random().next_u64()));
    }
    deadlines.start_exchange(reactor.now(), hcm.config.timeouts.stream_idle);
    let decoder = BodyDecoder::with_limits(exchange.request.framing, &hcm.codec_limits, limits.enable_trailers);
    let mut downstream = Downstream::new(&connection.stream, decoder, limits.max_request_body);
    if downstream.is_done() {
        exchange.times.request_end = Some(reactor.now());
    }
    exchange.route = hcm.table.find(&Request::new(&exchange.request, exchange.request_bytes.as_slice()));
    let close = must_close(hcm, connection, deadlines);
    let Some(at) = exchange.route else {
        hcm.stats.no_route.inc();
        let ending = Ending { flags: ResponseFlags::NO_ROUTE_FOUND, details: "route_not_found" };
        let reply = LocalReply::text(404, "");
        return Ok((reply_locally(hcm, exchange, &mut downstream, deadlines, &reply, close).await, ending));
    };
    let table = hcm.table.clone();
    let route = table.route(at);
    let result = match &route.action {
        Action::Forward(target) => {
            hcm.stats.rq_total.inc();
            let forwarding = Forwarding {
                reactor,
                cluster: &hcm.clusters[target.cluster],
                route,
                forward: target,
                policy: &hcm.policy,
                codec_limits: &hcm.codec_limits,
                limits,
                stats: &hcm.stats,
                peer: connection.peer.as_str(),
                date: &hcm.shard.date(),
                splice_threshold: hcm.splice_threshold,
                close,
                draining: connection.drain.flag(),
            };
            let outcome = forward(&forwarding, exchange, &mut downstream, deadlines).await;
            exchange.received = downstream.received();
            let next = finish(hcm, exchange, &mut downstream, deadlines, outcome?.close).await;
            (next, Ending { flags: ResponseFlags::empty(), details: "via_upstream" })
        }
        Action::Redirect(redirect) => {
            hcm.stats.rq_redirect.inc();
            let location = location(redirect, route, exchange);
            let reply = LocalReply { location: Some(&location), ..LocalReply::text(redirect.status, "") };
            let next = reply_locally(hcm, exchange, &mut downstream, deadlines, &reply, close).await;
            (next, Ending { flags: ResponseFlags::empty(), details: "direct_response" })
        }
        Action::DirectResponse(response) => {
            hcm.stats.rq_direct_response.inc();
            let DirectResponse { status, body, content_type } = response;
            let reply = LocalReply { status: *status, body, content_type, location: None };
            let next = reply_locally(hcm, exchange, &mut downstream, deadlines, &reply, close).await;
            (next, Ending { flags: ResponseFlags::empty(), details: "direct_response" })
        }
    };
    Ok(result)
}

/// Whether this exchange is the connection's last, whatever the client wants.
fn must_close(hcm: &Hcm, connection: &Connection, deadlines: &Deadlines) -> bool {
    if connection.drain.is_draining() {
        hcm.stats.downstream_cx_drain_close.inc();
        return true;
    }
    if hcm.config.limits.max_requests_per_connection.is_some_and(|max| connection.requests >= max) {
        hcm.stats.downstream_cx_max_requests_reached.inc();
        return true;
    }
    deadlines.is_connection_over(hcm.shard.reactor.now())
}

async fn reply_locally(
    hcm: &Hcm,
    exchange: &mut Exchange,
    downstream: &mut Downstream<'_>,
    deadlines: &mut Deadlines,
    reply: &LocalReply<'_>,
    close: bool,
) -> Next {
    // Whether a client that waits for 100 sends its body now, nobody can tell.
    let unsure = exchange.request.expect_continue && !downstream.is_begun();
    let close = close || unsure || !exchange.request.keep_alive;
    reply.write(hcm, exchange, close);
    exchange.to_downstream.flush(downstream.stream);
    let next = finish(hcm, exchange, downstream, deadlines, close).await;
    exchange.received = downstream.received();
    next
}

/// The response is said; what is left of the request's body is read away, or the connection ends.
async fn finish(
    hcm: &Hcm,
    exchange: &mut Exchange,
    downstream: &mut Downstream<'_>,
    deadlines: &mut Deadlines,
    close: bool,
) -> Next {
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
fn fail(hcm: &Hcm, connection: &Connection, exchange: &mut Exchange, fault: Fault) -> (Next, Ending) {
    count_fault(hcm, fault);
    let mut telling = telling(fault);
    let ending = Ending { flags: telling.flags, details: telling.details };
    if exchange.status != 0 {
        // The response has begun: all that can be done is to leave it visibly incomplete.
        count_reset(hcm, fault);
        let until_close = exchange.request.version == Version::Http10
            && matches!(exchange.response.framing, BodyKind::Chunked | BodyKind::UntilClose);
        return (if until_close { Next::Reset } else { Next::Abort }, ending);
    }
    if fault == Fault::StreamIdle && exchange.times.request_end.is_none() {
        telling.status = Some(408);
    }
    let Some(status) = telling.status else {
        count_reset(hcm, fault);
        return (Next::Abort, ending);
    };
    exchange.to_downstream.clear();
    let request_unread = exchange.times.request_end.is_none();
    let close = telling.close || request_unread || !exchange.request.keep_alive || connection.drain.is_draining();
    LocalReply::text(status, telling.body).write(hcm, exchange, close);
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

/// Envoy: RedirectAction. What is not given is kept from the request.
fn location(redirect: &Redirect, route: &Route, exchange: &Exchange) -> Vec<u8> {
    let (head, bytes) = (&exchange.request, exchange.request_bytes.as_slice());
    let authority = head.authority.of(bytes);
    let scheme = redirect.scheme.as_deref().unwrap_or("http");
    let mut location = Vec::with_capacity(128);
    location.extend_from_slice(scheme.as_bytes());
    location.extend_from_slice(b"://");
    match &redirect.host {
        Some(host) => location.extend_from_slice(host.as_bytes()),
        None => location.extend_from_slice(kept_authority(authority, redirect)),
    }
    if let Some(port) = redirect.port {
        location.extend_from_slice(format!(":{port}").as_bytes());
    }
    let path = head.path(bytes);
    match (&redirect.path, &redirect.prefix_rewrite) {
        (Some(path), _) => location.extend_from_slice(path.as_bytes()),
        (None, Some(prefix)) => {
            location.extend_from_slice(prefix.as_bytes());
            location.extend_from_slice(&path[route.matched_len(path).min(path.len())..]);
        }
        (None, None) => location.extend_from_slice(path),
    }
    let has_query = redirect.path.as_ref().is_some_and(|path| path.contains('?'));
    if let Some(query) = head.query(bytes).filter(|_| !redirect.strip_query && !has_query) {
        location.push(b'?');
        location.extend_from_slice(query);
    }
    location
}

/// The request's host, with its port unless that is replaced, or was the default of a scheme that is.
fn kept_authority<'a>(authority: &'a [u8], redirect: &Redirect) -> &'a [u8] {
    // A colon within the brackets of an IPv6 address begins no port.
    let Some(at) = authority.iter().rposition(|&byte| matches!(byte, b':' | b']')).filter(|&at| authority[at] == b':')
    else {
        return authority;
    };
    let drops = redirect.port.is_some() || redirect.scheme.is_some() && &authority[at..] == b":80";
    if drops { &authority[..at] } else { authority }
}

fn account(hcm: &Hcm, connection: &Connection, exchange: &mut Exchange, next: Next) {
    let stats = &hcm.stats;
    if exchange.status != 0 {
        stats.count_status(exchange.status);
        stats.downstream_rq_completed.add(u64::from(!matches!(next, Next::Abort | Next::Reset)));
    }
    let micros = hcm.shard.reactor.now().saturating_sub(exchange.times.start) / 1000;
    stats.downstream_rq_time.record(micros);
    connection.listener_stats.downstream_rq_time.record(micros);
    stats.downstream_cx_rx_bytes_total.add(u64::from(exchange.request.len) + exchange.received);
    stats.downstream_cx_tx_bytes_total.add(exchange.to_downstream.take_total() + exchange.spliced);
}

/// The request's place in the statistics while it lasts.
struct ActiveRequest<'a> {
    hcm: &'a Hcm,
}

impl<'a> ActiveRequest<'a> {
    fn new(hcm: &'a Hcm) -> Self {
        hcm.stats.downstream_rq_total.inc();
        hcm.stats.downstream_rq_http1_total.inc();
        hcm.stats.downstream_rq_active.inc();
        Self { hcm }
    }
}

impl Drop for ActiveRequest<'_> {
    fn drop(&mut self) {
        self.hcm.stats.downstream_rq_active.dec();
    }
}
