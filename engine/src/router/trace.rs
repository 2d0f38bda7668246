//! What tries leave for their spans, where the exchange is traced.

use super::Fault;
use super::forward::Forwarding;
use super::r#try::Try;
use crate::base::clock::Nanos;
use crate::base::random;
use crate::cluster::Endpoint;
use crate::http::trace::{RetryReason, Tracing, Tries, TrySpan};
use crate::http::{Exchange, Message, ResponseHead, TryTimes};
use std::rc::Rc;

/// The span of a try that goes on next to the present one.
pub(super) struct Aside {
    tries: Rc<Tries>,
    at: usize,
}

/// A try on this endpoint begins. The request goes out with the id of its span.
#[cold]
pub(super) fn begin(forwarding: &Forwarding<'_>, exchange: &mut Exchange, endpoint: &Endpoint) {
    let Some(tries) = exchange.traced_tries() else { return };
    let id = random::hex(tries.begin(&endpoint.name, forwarding.reactor.random(), forwarding.reactor.now()));
    let Exchange { trace, request, .. } = exchange;
    trace.slots.iter().for_each(|slot| request.edits.overwrite(*slot, &id));
}

/// Why there is another try.
pub(super) fn retry(exchange: &Exchange, reason: impl FnOnce() -> RetryReason) {
    if let Some(tries) = exchange.traced_tries() {
        tries.retry(reason());
    }
}

/// The present try got no connection.
pub(super) fn unconnected(exchange: &Exchange, fault: Fault, now: Nanos) {
    if let Some(tries) = exchange.traced_tries() {
        tries.note(tries.present(), |span| end(span, now, Some(fault)));
    }
}

/// The present try has ended, with the response that is in the exchange or with a fault.
#[inline]
pub(super) fn ended(exchange: &Exchange, tried: &Try<'_>, fault: Option<Fault>) {
    if exchange.facts.tracing == Tracing::Sampled {
        note_end(exchange, tried, fault);
    }
}

#[cold]
fn note_end(exchange: &Exchange, tried: &Try<'_>, fault: Option<Fault>) {
    let Some(tries) = exchange.traced_tries() else { return };
    tries.note(tries.present(), |span| {
        note_connection(span, tried, &exchange.last.times);
        note_response(span, tried, &exchange.response);
        span.responded = exchange.last.times.response_start;
        end(span, tried.forwarding.reactor.now(), fault);
    });
}

/// Another try begins while this one goes on.
pub(super) fn aside(exchange: &Exchange, tried: &Try<'_>) -> Option<Aside> {
    let tries = exchange.traced_tries()?;
    let at = tries.present();
    tries.note(at, |span| note_connection(span, tried, &exchange.last.times));
    Some(Aside { tries: tries.clone(), at })
}

impl Aside {
    /// It has ended, with this response or with a fault.
    pub(super) fn ended(&self, tried: &Try<'_>, response: &Message<ResponseHead>, fault: Option<Fault>) {
        let now = tried.forwarding.reactor.now();
        self.tries.note(self.at, |span| {
            note_response(span, tried, response);
            span.responded = (span.status != 0).then_some(now);
            end(span, now, fault);
        });
    }

    /// It is the present one again.
    pub(super) fn resume(&self) {
        self.tries.set_present(self.at);
    }
}

fn note_connection(span: &mut TrySpan, tried: &Try<'_>, times: &TryTimes) {
    let connection = &tried.lease.connection;
    (span.local, span.remote, span.protocol) = (connection.local, connection.remote, tried.lease.wire.protocol());
    let made = [connection.connect_start, connection.connected, connection.opened];
    span.connect = (connection.connect_start >= span.start).then_some(made);
    span.sent = Some(times.start);
}

fn note_response(span: &mut TrySpan, tried: &Try<'_>, response: &Message<ResponseHead>) {
    if response.head.status != 0 {
        span.status = response.head.status;
        if tried.forwarding.policy.is_grpc {
            span.grpc_status = response.grpc_status();
        }
    }
}

fn end(span: &mut TrySpan, now: Nanos, fault: Option<Fault>) {
    (span.end, span.failure) = (Some(now), fault.map(Fault::words));
}
