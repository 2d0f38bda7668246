//! What tries leave for their spans, where the exchange is traced. Where it is not, each of these looks and does nothing.

use super::forward::Forwarding;
use crate::base::clock::Nanos;
use crate::base::random;
use crate::cluster::Endpoint;
use crate::http::trace::{RetryReason, TryTrace};
use crate::http::{Exchange, Message, ResponseHead};
use crate::upstream::Lease;

/// A try on this endpoint begins. The request goes out with the id of its span.
#[inline]
pub(super) fn begin(forwarding: &Forwarding<'_>, exchange: &mut Exchange, endpoint: &Endpoint) -> Option<TryTrace> {
    let trace = exchange.trace.as_ref().filter(|trace| trace.sampled)?;
    let tried = trace.begin_try(&endpoint.name, forwarding.reactor.random(), forwarding.reactor.now());
    let id = random::hex(tried.id());
    trace.slots.borrow().iter().for_each(|slot| exchange.request.edits.overwrite(*slot, &id));
    Some(tried)
}

/// Why there is another try.
#[inline]
pub(super) fn retry(exchange: &Exchange, reason: impl FnOnce() -> RetryReason) {
    if let Some(trace) = &exchange.trace {
        trace.retry(reason());
    }
}

/// The request goes out over this connection.
#[inline]
pub(super) fn sending(trace: &Option<TryTrace>, lease: &Lease, now: Nanos) {
    let Some(trace) = trace else { return };
    let connection = &lease.connection;
    trace.note(|span| {
        span.sent = Some(now);
        (span.local, span.remote, span.protocol) = (connection.local, connection.remote, lease.wire.protocol());
        let made = [connection.connect_start, connection.connected, connection.opened];
        span.connect = (connection.connect_start >= span.start).then_some(made);
    });
}

/// The response's head came.
#[inline]
pub(super) fn responded(trace: &Option<TryTrace>, status: u16, now: Nanos) {
    if let Some(trace) = trace {
        trace.note(|span| (span.responded, span.status) = (Some(now), status));
    }
}

/// A try that had a response has ended.
#[inline]
pub(super) fn ended(
    trace: &Option<TryTrace>,
    is_grpc: bool,
    response: &Message<ResponseHead>,
    failure: Option<&'static str>,
    now: Nanos,
) {
    let Some(trace) = trace else { return };
    if is_grpc {
        trace.note(|span| span.grpc_status = response.grpc_status());
    }
    trace.end(now, failure);
}
