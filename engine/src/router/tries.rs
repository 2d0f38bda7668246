//! The tries of one request: one after another, or several at a time, until a response is there for the client.
//!
//! ```text
//!            ┌────────────── again, after a pause ──────────────┐
//!            v                                                  │
//!  pick ── connect ── send ── response's head ──┬── asked for? ─┴─ no ──> the client's
//!            │          │                       │
//!            └──────────┴── failed ─────────────┘
//! ```

use super::forward::Forwarding;
use super::hedge::{Hedge, Hedged, Raced};
use super::retry::{FailedTry, NoRetry, Tries, TryPolicy};
use super::r#try::{Started, Try};
use super::upload::Upload;
use super::{Client, Fault, trace};
use crate::cluster::{Endpoint, PickContext, RequestEnd};
use crate::http::format::ResponseFlags;
use crate::http::trace::{RetryReason, Tracing};
use crate::http::{Exchange, FieldId, TryFacts};
use crate::stats::ClusterStats;
use crate::upstream::limits::Resource;
use crate::upstream::{ConnectError, Lease, Pool, Work, is_local_shortage};
use ringway_config::model::HostRewrite;
use std::future::Future;
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

/// What happens after a try.
enum After {
    /// Another one; nothing is left of this one.
    Again,
    /// No other one, but one that was sent before may still be answered. Nothing is left of this one.
    Wait(Fault),
    End(Result<(), Fault>),
}

/// Try until there is a response for the client. It is in `current` then: a place for the try that is under way, empty at
/// the beginning, so that tries are not moved around.
///
/// # Errors
/// The last try's fault, or why it makes no sense to try any more.
pub(super) async fn run<'a>(
    forwarding: &'a Forwarding<'a>,
    exchange: &mut Exchange,
    client: &mut Client<'_, '_>,
    current: &mut Option<Try<'a>>,
) -> Result<(), Fault> {
    let mut tries = Tries::new(&forwarding.policy);
    let mut hedged = Hedged::default();
    loop {
        let raced = {
            // Pinned here: handed over by value, it would be held twice.
            let next = pin!(one(forwarding, exchange, client, &mut tries, current));
            hedged.race(forwarding, next).await
        };
        let after = match raced {
            Raced::Hedged(hedge) => {
                tries.end(true, &forwarding.cluster.stats);
                adopt(forwarding, &mut hedged, hedge, exchange, client, current);
                return Ok(());
            }
            Raced::Next(Ok(())) => after_response(forwarding, exchange, &client.upload, &mut tries, &hedged, current),
            Raced::Next(Err(fault)) => {
                after_failure(forwarding, exchange, &client.upload, &mut tries, &mut hedged, current, fault)
            }
        };
        match after {
            After::Again => {}
            After::End(result) => {
                if let Err(fault) = &result {
                    hedged.fail(*fault);
                }
                return result;
            }
            After::Wait(fault) => {
                client.deadlines.end_try();
                let hedge = hedged.wait(forwarding, fault, client).await?;
                adopt(forwarding, &mut hedged, hedge, exchange, client, current);
                return Ok(());
            }
        }
    }
}

/// Another try has the response for the client.
fn adopt<'a>(
    forwarding: &'a Forwarding<'a>,
    hedged: &mut Hedged<'a>,
    hedge: Box<Hedge<'a>>,
    exchange: &mut Exchange,
    client: &mut Client<'_, '_>,
    current: &mut Option<Try<'a>>,
) {
    client.deadlines.end_try();
    client.deadlines.start_try(forwarding.reactor.now(), None, forwarding.policy.timeouts.per_try_idle);
    // The present try, if there is one, is given up.
    *current = Some(hedged.adopt(hedge, exchange, forwarding.reactor));
}

/// A response's head is in the exchange.
fn after_response<'a>(
    forwarding: &'a Forwarding<'a>,
    exchange: &mut Exchange,
    upload: &Upload<'_, '_>,
    tries: &mut Tries,
    hedged: &Hedged<'a>,
    current: &mut Option<Try<'a>>,
) -> After {
    let (policy, stats) = (&forwarding.policy, &forwarding.cluster.stats);
    let asked = policy.retries_response(&exchange.response);
    if asked {
        let endpoint = exchange.last.endpoint.as_deref();
        say(forwarding, exchange, endpoint, "its status is one to be tried again");
    }
    // What the client has seen of one try cannot be followed by another.
    let asked = asked && !has_passed_interim(current.as_ref());
    let now = forwarding.reactor.now();
    let permit = || forwarding.cluster.limits.acquire_retry(forwarding.priority(), false, now);
    match tries.decide(asked, may_repeat(policy, upload), permit, stats) {
        Ok(()) => {
            let wall_seconds = forwarding.reactor.wall_micros() / 1_000_000;
            let seen = Some((&exchange.response.head, exchange.response.view()));
            tries.pause = tries.wait(policy, seen, wall_seconds, forwarding.reactor.random(), stats);
            trace::retry(exchange, || match exchange.response.grpc_status() {
                Some(status) if policy.is_grpc => RetryReason::Grpc(status),
                _ => RetryReason::Status(exchange.response.head.status),
            });
            Try::discard(current, exchange, upload, RequestEnd::Retried);
            After::Again
        }
        Err(NoRetry::NotAsked) => {
            tries.end(true, stats);
            After::End(Ok(()))
        }
        Err(why) => {
            note(exchange, why);
            tries.end(false, stats);
            if hedged.is_empty() {
                return After::End(Ok(()));
            }
            Try::discard(current, exchange, upload, RequestEnd::Retried);
            After::Wait(Fault::UpstreamClosed)
        }
    }
}

/// A try failed, or its time is over.
fn after_failure<'a>(
    forwarding: &'a Forwarding<'a>,
    exchange: &mut Exchange,
    upload: &Upload<'_, '_>,
    tries: &mut Tries,
    hedged: &mut Hedged<'a>,
    current: &mut Option<Try<'a>>,
    fault: Fault,
) -> After {
    let (policy, stats) = (&forwarding.policy, &forwarding.cluster.stats);
    let is_picked = !matches!(fault, Fault::NoHealthyUpstream(_));
    say(forwarding, exchange, exchange.last.endpoint.as_deref().filter(|_| is_picked), fault.words());
    let failed = FailedTry::of(fault);
    let passed = has_passed_interim(current.as_ref());
    // Sent to another endpoint, it is no additional load.
    let is_unseen = failed == Some(FailedTry::Connect) || current.as_ref().is_some_and(|tried| is_unseen(fault, tried));
    let hedges = fault == Fault::PerTryTimeout && policy.hedge_on_per_try_timeout && policy.retries();
    let asked = match current.take() {
        Some(tried) if hedges => {
            // It may still answer; whether another one is sent does not depend on the conditions.
            hedged.push(tried, exchange);
            !passed
        }
        current => {
            if let Some(tried) = current {
                trace::ended(exchange, &tried, Some(fault));
                tried.fail(fault);
            }
            !passed && failed.is_some_and(|failed| policy.retries_failure(failed, tries.sent))
        }
    };
    exchange.clear_response(forwarding.reactor);
    let now = forwarding.reactor.now();
    let permit = || forwarding.cluster.limits.acquire_retry(forwarding.priority(), is_unseen, now);
    match tries.decide(asked, may_repeat(policy, upload), permit, stats) {
        Ok(()) => {
            let wall_seconds = forwarding.reactor.wall_micros() / 1_000_000;
            tries.pause = tries.wait(policy, None, wall_seconds, forwarding.reactor.random(), stats);
            trace::retry(exchange, || RetryReason::Failure(fault.words()));
            // The next try has its own.
            exchange.last.transport_failure = None;
            After::Again
        }
        Err(why) => {
            note(exchange, why);
            // Other tries are of no help when it is the client or the whole response's time that ended this one.
            let is_last = failed.is_none() && !matches!(fault, Fault::NoHealthyUpstream(_) | Fault::Overflow(_));
            if is_last || hedged.is_empty() { After::End(Err(fault)) } else { After::Wait(fault) }
        }
    }
}

/// Tells the program log that a try failed.
#[cold]
fn say(forwarding: &Forwarding<'_>, exchange: &Exchange, endpoint: Option<&str>, reason: &'static str) {
    let Exchange { request, response, last, .. } = exchange;
    tracing::debug!(
        target: "ringway::router",
        cluster = forwarding.cluster.config.name,
        endpoint = endpoint.map(display),
        attempt = exchange.facts.tries,
        request_id = request.head.fields.value(FieldId::XRequestId, request.view()).map(String::from_utf8_lossy).map(display),
        status = (response.head.status != 0).then_some(response.head.status),
        reason,
        cause = last.transport_failure.as_ref().map(display),
        "a try failed"
    );
}

fn has_passed_interim(current: Option<&Try<'_>>) -> bool {
    current.is_some_and(|tried| tried.has_passed_interim)
}

/// Whether the request is still here, body and all. Where the policy has no retry to give, its body was not kept for one;
/// that is no reason of its own.
fn may_repeat(policy: &TryPolicy<'_>, upload: &Upload<'_, '_>) -> bool {
    upload.replay.is_possible() || !policy.retries()
}

/// Say in the log why there is no other try, where one was asked for.
fn note(exchange: &mut Exchange, why: NoRetry) {
    match why {
        NoRetry::NotAsked => {}
        NoRetry::LimitExceeded => exchange.facts.flags |= ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED,
        NoRetry::Overflow(_) => exchange.facts.flags |= ResponseFlags::UPSTREAM_OVERFLOW,
        NoRetry::BodyGone => exchange.facts.retry_abandoned = true,
    }
}

/// One try, after its pause: an endpoint, a connection, the request out, the response's head into the exchange. A pooled
/// connection that turns out to have been closed while it was idle, or refuses the request, does not make a try: where the
/// request can safely be sent again, it goes out on another one, and that is still the same try. `current` gets the try as
/// soon as it has a connection.
async fn one<'a>(
    forwarding: &'a Forwarding<'a>,
    exchange: &mut Exchange,
    client: &mut Client<'_, '_>,
    tries: &mut Tries,
    current: &mut Option<Try<'a>>,
) -> Result<(), Fault> {
    client.deadlines.end_try();
    if tries.pause > 0 {
        client.pause(Duration::from_nanos(std::mem::take(&mut tries.pause))).await?;
    }
    let (endpoint, mut started) = begin(forwarding, exchange, tries)?;
    exchange.facts.tries += 1;
    let mut acquired = match endpoint.pool.take() {
        Some(lease) => Ok(lease),
        None => client.reactor.pooled(|| acquire(forwarding, &endpoint.pool, exchange, client, true)).await,
    };
    let mut repeats = 0;
    loop {
        let lease = match acquired {
            Ok(lease) => lease,
            Err(fault) => {
                trace::unconnected(exchange, fault, forwarding.reactor.now());
                started.fail(fault, forwarding.reactor);
                return Err(fault);
            }
        };
        let tried = current.insert(Try::new(forwarding, lease, started));
        tries.sent = true;
        tried.send_head(exchange, &endpoint.name, &client.upload);
        match tried.run(exchange, client).await {
            Ok(()) => {
                tried.responded(&exchange.response);
                forwarding.cluster.stats.upstream_rq_retry_success.add(u64::from(repeats > 0));
                return Ok(());
            }
            Err(fault) if repeats < REPEATS_MAX && is_free(fault, tried, exchange, &client.upload) => {
                repeats += 1;
                forwarding.cluster.stats.upstream_rq_retry.inc();
                exchange.clear_response(forwarding.reactor);
                // The connection goes first: it may have had the last place that there is.
                started = current.take().expect("the try that failed").into_started();
                acquired = acquire(forwarding, &endpoint.pool, exchange, client, false).await;
            }
            Err(fault) => {
                tried.note_failure(exchange);
                return Err(fault);
            }
        }
    }
}

/// Times that one try may go out again free of charge.
const REPEATS_MAX: u32 = 3;

/// Whether the request can be sent again without a retry: it was not looked at, and all of it is still here.
fn is_free(fault: Fault, tried: &Try<'_>, exchange: &Exchange, upload: &Upload<'_, '_>) -> bool {
    // Of a connection that was closed it is not certain.
    let may_repeat = fault == Fault::UpstreamRefused || exchange.request.head.method.is_idempotent();
    may_repeat && is_unseen(fault, tried) && upload.replay.is_possible()
}

/// Whether the endpoint has not looked at the request: it said so, or had closed the pooled connection before, as far as
/// can be told.
fn is_unseen(fault: Fault, tried: &Try<'_>) -> bool {
    match fault {
        Fault::UpstreamRefused => true,
        Fault::UpstreamClosed => tried.lease.connection.is_reused() && !tried.lease.wire.has_heard(),
        _ => false,
    }
}

/// Pick an endpoint and take the request's place among those of its cluster.
fn begin<'a>(
    forwarding: &'a Forwarding<'a>,
    exchange: &mut Exchange,
    tries: &mut Tries,
) -> Result<(Rc<Endpoint>, Started<'a>), Fault> {
    let cluster = &forwarding.cluster;
    let endpoint = {
        let context = PickContext {
            hash: forwarding.hash,
            metadata_match: forwarding.metadata_match,
            ..tries.pick_context(&forwarding.policy)
        };
        cluster.pick(&context).map_err(Fault::NoHealthyUpstream)?
    };
    tries.picked(&forwarding.policy, &endpoint);
    if tries.count > 1 {
        // Nothing of an earlier one's connection is left: this one may end before it has any.
        exchange.last = TryFacts::default();
    }
    exchange.last.endpoint = Some(endpoint.name.clone());
    if endpoint.hostname.is_some() {
        exchange.last.endpoint_hostname.clone_from(&endpoint.hostname);
    }
    rewrite_host(forwarding, exchange);
    if forwarding.tells_tries {
        exchange.request.head.fields.remove_id(FieldId::XEnvoyAttemptCount);
        let mut number = itoa::Buffer::new();
        let write = |out: &mut Vec<u8>| out.extend_from_slice(number.format(tries.count).as_bytes());
        exchange.request.edit().add_known(FieldId::XEnvoyAttemptCount, write);
    }
    let permit = cluster.limits.acquire(Resource::Requests, forwarding.priority()).map_err(Fault::Overflow)?;
    if exchange.facts.tracing == Tracing::Sampled {
        trace::begin(forwarding, exchange, &endpoint);
    }
    Ok((endpoint.clone(), Started::new(forwarding, &endpoint, permit)))
}

/// The host is that of the picked endpoint, where the route says so and the endpoint has one (Envoy: auto_host_rewrite).
fn rewrite_host(forwarding: &Forwarding<'_>, exchange: &mut Exchange) {
    let forward = forwarding.forward;
    let Some(HostRewrite::Auto) = forward.host_rewrite else { return };
    let is_said = exchange.weighted_cluster(forward).is_some_and(|cluster| cluster.host_rewrite.is_some());
    let Some(hostname) = exchange.last.endpoint_hostname.clone().filter(|_| !is_said) else { return };
    exchange.replace_host(hostname.as_bytes(), forwarding.tells_host, forward.append_x_forwarded_host);
}

/// The next connection that there is. Meanwhile the request counts as one that waits. `is_first`: where the endpoint has several
/// pools, an idle one of this request's pool will do; no other was looked for yet.
async fn acquire(
    forwarding: &Forwarding<'_>,
    pool: &Rc<Pool>,
    exchange: &mut Exchange,
    client: &mut Client<'_, '_>,
    is_first: bool,
) -> Result<Lease, Fault> {
    let named = pool.named(exchange.request.head.authority.of(exchange.request.view()));
    let pool = named.as_ref().unwrap_or(pool);
    if is_first && let Some(lease) = named.as_ref().and_then(Pool::take) {
        return Ok(lease);
    }
    let mut waiting = Waiting::new(&forwarding.cluster.stats);
    let mut acquiring = pin!(pool.acquire(forwarding.priority(), Work::Main));
    let result = client.guard(|_, context| acquiring.as_mut().poll(context).map(Ok)).await;
    let acquired = result?;
    waiting.given_up = false;
    acquired.map_err(|error| {
        exchange.last.transport_failure = Some(error.reason());
        connect_fault(&error)
    })
}

/// A request that waits for a connection, until this is dropped: another try may have the response first.
struct Waiting<'a> {
    stats: &'a ClusterStats,
    given_up: bool,
}

impl<'a> Waiting<'a> {
    fn new(stats: &'a ClusterStats) -> Self {
        stats.upstream_rq_pending_total.inc();
        stats.upstream_rq_pending_active.inc();
        Self { stats, given_up: true }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.stats.upstream_rq_pending_active.dec();
        self.stats.upstream_rq_cancelled.add(u64::from(self.given_up));
    }
}

/// Whose fault a failed connection is.
pub(super) fn connect_fault(error: &ConnectError) -> Fault {
    match error {
        ConnectError::Overflow(overflow) => Fault::Overflow(*overflow),
        ConnectError::Timeout { .. } => Fault::ConnectTimeout,
        ConnectError::Failed(error) if is_local_shortage(error) => Fault::LocalResources,
        ConnectError::Failed(_) | ConnectError::Tls(_) => Fault::ConnectFailed,
    }
}
