//! The tries of one request: one after another, or beside one another, until a response is there for the client.
//!
//! ```text
//!            ┌────────────── again, after a pause ──────────────┐
//!            v                                                  │
//!  pick ── connect ── send ── response's head ──┬── asked for? ─┴─ no ──> the client's
//!            │          │                       │
//!            └──────────┴── failed ─────────────┘
//! ```

use super::attempt::Attempt;
use super::forward::{Forwarding, Response, Started, interrupted};
use super::hedge::{Hedge, Hedged, Raced};
use super::retry::{FailedTry, NoRetry, Tries, TryPolicy};
use super::{Deadlines, Downstream, Fault};
use crate::base::clock::Nanos;
use crate::cluster::{Endpoint, NoHost, PickContext};
use crate::http::format::ResponseFlags;
use crate::http::{Exchange, FieldId};
use crate::ring::Timer;
use crate::stats::ClusterStats;
use crate::upstream::limits::Resource;
use crate::upstream::{ConnectError, Connection, Pool};
use ringway_config::model::{Forward, HostRewrite};
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::rc::Rc;
use std::task::Poll;

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
    downstream: &mut Downstream<'_>,
    deadlines: &mut Deadlines,
    current: &mut Option<Response<'a>>,
) -> Result<(), Fault> {
    let mut tries = Tries::new(&forwarding.policy);
    let mut hedged = Hedged::default();
    loop {
        let raced = {
            // Pinned here: handed over by value, it would be held twice.
            let next = pin!(one(forwarding, exchange, downstream, deadlines, &mut tries, current));
            hedged.race(forwarding, next).await
        };
        let after = match raced {
            Raced::Hedged(hedge) => {
                tries.end(true, &forwarding.cluster.stats);
                adopt(forwarding, &mut hedged, hedge, exchange, deadlines, current);
                return Ok(());
            }
            Raced::Next(Ok(())) => after_response(forwarding, exchange, downstream, &mut tries, &hedged, current),
            Raced::Next(Err(fault)) => {
                after_failure(forwarding, exchange, downstream, &mut tries, &mut hedged, current, fault)
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
                deadlines.end_try();
                let is_over = || interrupted(forwarding.reactor, downstream, deadlines);
                let hedge = hedged.wait(forwarding, fault, is_over).await?;
                adopt(forwarding, &mut hedged, hedge, exchange, deadlines, current);
                return Ok(());
            }
        }
    }
}

/// One of the tries beside the present one has the response for the client.
fn adopt<'a>(
    forwarding: &'a Forwarding<'a>,
    hedged: &mut Hedged<'a>,
    hedge: Box<Hedge<'a>>,
    exchange: &mut Exchange,
    deadlines: &mut Deadlines,
    current: &mut Option<Response<'a>>,
) {
    deadlines.end_try();
    deadlines.start_try(forwarding.reactor.now(), None, forwarding.policy.timeouts.per_try_idle);
    // The present try, if there is one, is given up.
    *current = Some(hedged.adopt(hedge, exchange, forwarding.reactor));
}

/// A response's head is in the exchange.
fn after_response<'a>(
    forwarding: &'a Forwarding<'a>,
    exchange: &mut Exchange,
    downstream: &Downstream<'_>,
    tries: &mut Tries,
    hedged: &Hedged<'a>,
    current: &mut Option<Response<'a>>,
) -> After {
    let (policy, stats) = (&forwarding.policy, &forwarding.cluster.stats);
    let asked = policy.retries_response(&exchange.response, exchange.response_view());
    // What the client has seen of one try cannot be followed by another.
    let asked = asked && !has_passed_interim(current.as_ref());
    let permit = || forwarding.cluster.limits.acquire_retry(forwarding.priority());
    match tries.decide(asked, may_repeat(policy, downstream), permit, stats) {
        Ok(()) => {
            let wall_seconds = forwarding.reactor.wall_micros() / 1_000_000;
            let seen = Some((&exchange.response, exchange.response_view()));
            tries.pause = tries.wait(policy, seen, wall_seconds, forwarding.reactor.random(), stats);
            Response::discard(current, exchange, downstream);
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
            Response::discard(current, exchange, downstream);
            After::Wait(Fault::UpstreamClosed)
        }
    }
}

/// A try failed, or its time is over.
fn after_failure<'a>(
    forwarding: &'a Forwarding<'a>,
    exchange: &mut Exchange,
    downstream: &Downstream<'_>,
    tries: &mut Tries,
    hedged: &mut Hedged<'a>,
    current: &mut Option<Response<'a>>,
    fault: Fault,
) -> After {
    let (policy, stats) = (&forwarding.policy, &forwarding.cluster.stats);
    let failed = FailedTry::of(fault);
    let passed = has_passed_interim(current.as_ref());
    let hedges = fault == Fault::PerTryTimeout && policy.hedge_on_per_try_timeout && policy.retries();
    let asked = match current.take() {
        Some(response) if hedges => {
            // It may still answer; whether another one is sent does not depend on the conditions.
            hedged.push(response, exchange);
            !passed
        }
        current => {
            if let Some(response) = current {
                response.fail(fault);
            }
            !passed && failed.is_some_and(|failed| policy.retries_failure(failed, tries.sent))
        }
    };
    exchange.to_upstream.clear();
    exchange.clear_response(forwarding.reactor);
    let permit = || forwarding.cluster.limits.acquire_retry(forwarding.priority());
    match tries.decide(asked, may_repeat(policy, downstream), permit, stats) {
        Ok(()) => {
            let wall_seconds = forwarding.reactor.wall_micros() / 1_000_000;
            tries.pause = tries.wait(policy, None, wall_seconds, forwarding.reactor.random(), stats);
            After::Again
        }
        Err(why) => {
            note(exchange, why);
            // Other tries help nobody when it is the client or the whole response's time that ended this one.
            let is_last = failed.is_none() && !matches!(fault, Fault::NoHealthyUpstream | Fault::Overflow(_));
            if is_last || hedged.is_empty() { After::End(Err(fault)) } else { After::Wait(fault) }
        }
    }
}

fn has_passed_interim(current: Option<&Response<'_>>) -> bool {
    current.is_some_and(|response| response.attempt.interim_passed)
}

/// Whether the request is still here, body and all. Where the policy has no retry to give, its body was not kept for one;
/// that is no reason of its own.
fn may_repeat(policy: &TryPolicy<'_>, downstream: &Downstream<'_>) -> bool {
    downstream.replay.is_possible() || !policy.retries()
}

/// Say in the log why there is no other try, where one was asked for.
fn note(exchange: &mut Exchange, why: NoRetry) {
    match why {
        NoRetry::NotAsked => {}
        NoRetry::LimitExceeded => exchange.flags |= ResponseFlags::UPSTREAM_RETRY_LIMIT_EXCEEDED,
        NoRetry::Overflow(_) => exchange.flags |= ResponseFlags::UPSTREAM_OVERFLOW,
        NoRetry::BodyGone => exchange.retry_abandoned = true,
    }
}

/// One try, after its pause: an endpoint, a connection, the request out, the response's head into the exchange. A pooled
/// connection that turns out to have been closed while it was idle is none: where the request can safely be sent again,
/// it goes out on a new one, and that is no other try. `current` gets the try as soon as it has a connection.
async fn one<'a>(
    forwarding: &'a Forwarding<'a>,
    exchange: &mut Exchange,
    downstream: &mut Downstream<'_>,
    deadlines: &mut Deadlines,
    tries: &mut Tries,
    current: &mut Option<Response<'a>>,
) -> Result<(), Fault> {
    let stats = &forwarding.cluster.stats;
    deadlines.end_try();
    if tries.pause > 0 {
        pause(forwarding, downstream, deadlines, std::mem::take(&mut tries.pause)).await?;
    }
    let (endpoint, started) = begin(forwarding, exchange, tries)?;
    let mut started = Some(started);
    let mut pooled = endpoint.pool.take();
    let mut repeated = false;
    exchange.attempts += 1;
    loop {
        let connection = match pooled.take() {
            Some(connection) => Ok(connection),
            None => connect(forwarding, &endpoint.pool, exchange, downstream, deadlines).await,
        };
        let connection = match connection {
            Ok(connection) => connection,
            Err(fault) => {
                if let Some(started) = started {
                    started.fail(fault, forwarding.reactor);
                }
                return Err(fault);
            }
        };
        tries.sent = true;
        let may_repeat = connection.is_reused() && exchange.request.method.is_idempotent();
        let response = match (started.take(), &mut *current) {
            (None, Some(response)) => {
                response.attempt = Attempt::new(forwarding, connection);
                response
            }
            (started, current) => {
                let started = started.expect("begun once");
                current.insert(Response::new(forwarding, connection, started))
            }
        };
        response.attempt.send_head(exchange, &endpoint.name, downstream);
        match response.attempt.run(exchange, downstream, deadlines).await {
            Err(Fault::UpstreamClosed)
                if may_repeat && !response.attempt.upstream.started && downstream.replay.is_possible() =>
            {
                stats.upstream_rq_retry.inc();
                repeated = true;
                exchange.to_upstream.clear();
            }
            Err(fault) => {
                response.attempt.note_wire(exchange);
                return Err(fault);
            }
            Ok(()) => {
                response.responded(&exchange.response);
                stats.upstream_rq_retry_success.add(u64::from(repeated));
                return Ok(());
            }
        }
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
        cluster.pick(&context).map_err(|NoHost| Fault::NoHealthyUpstream)?
    };
    tries.picked(&forwarding.policy, &endpoint);
    exchange.endpoint = Some(endpoint.name.clone());
    exchange.endpoint_hostname = endpoint.hostname.clone();
    rewrite_host(forwarding.forward, exchange, tries.count == 1);
    if forwarding.tells_attempts {
        exchange.request.fields.remove_id(FieldId::XEnvoyAttemptCount);
        let mut number = itoa::Buffer::new();
        let write = |out: &mut Vec<u8>| out.extend_from_slice(number.format(tries.count).as_bytes());
        exchange.edit_request().add_known(FieldId::XEnvoyAttemptCount, write);
    }
    let permit = cluster.limits.acquire(Resource::Requests, forwarding.priority()).map_err(Fault::Overflow)?;
    Ok((endpoint.clone(), Started::new(forwarding, &endpoint, permit)))
}

/// The host is that of the picked endpoint, where the route says so and the endpoint has one (Envoy: auto_host_rewrite).
fn rewrite_host(forward: &Forward, exchange: &mut Exchange, is_first: bool) {
    let Some(HostRewrite::Auto) = forward.host_rewrite else { return };
    let is_said = exchange.weighted_cluster(forward).is_some_and(|cluster| cluster.host_rewrite.is_some());
    let Some(hostname) = exchange.endpoint_hostname.clone().filter(|_| !is_said) else { return };
    if is_first && forward.append_x_forwarded_host {
        let old = exchange.request.authority.of(exchange.request_view()).to_vec();
        exchange.edit_request().append(b"x-forwarded-host", &old);
    }
    exchange.request.authority = exchange.request_edits.store(|out| out.extend_from_slice(hostname.as_bytes()));
}

/// A new connection. Meanwhile the request counts as one that waits.
async fn connect(
    forwarding: &Forwarding<'_>,
    pool: &Pool,
    exchange: &mut Exchange,
    downstream: &Downstream<'_>,
    deadlines: &mut Deadlines,
) -> Result<Connection, Fault> {
    let mut waiting = Waiting::new(&forwarding.cluster.stats);
    let mut connecting = pin!(pool.connect(forwarding.priority()));
    poll_fn(|context| {
        if let Poll::Ready(result) = connecting.as_mut().poll(context) {
            waiting.given_up = false;
            return Poll::Ready(result.map_err(|error| {
                exchange.connect_error = Some(error.reason());
                connect_fault(&error)
            }));
        }
        interrupted(forwarding.reactor, downstream, deadlines).map_or(Poll::Pending, |fault| Poll::Ready(Err(fault)))
    })
    .await
}

/// A request that waits for a connection, until this is dropped: a try beside it may have the response first.
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
    const LOCAL: [i32; 5] = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EADDRNOTAVAIL];
    match error {
        ConnectError::Overflow(overflow) => Fault::Overflow(*overflow),
        ConnectError::Timeout => Fault::ConnectTimeout,
        ConnectError::Failed(error) if error.raw_os_error().is_some_and(|code| LOCAL.contains(&code)) => {
            Fault::LocalResources
        }
        ConnectError::Failed(_) => Fault::ConnectFailed,
    }
}

/// Wait, as far as the client and the deadlines allow. `time`: nanoseconds.
async fn pause(
    forwarding: &Forwarding<'_>,
    downstream: &Downstream<'_>,
    deadlines: &mut Deadlines,
    time: Nanos,
) -> Result<(), Fault> {
    let reactor = forwarding.reactor;
    let timer = Timer::new(reactor);
    timer.arm_at(reactor.now().saturating_add(time));
    poll_fn(|_| match interrupted(reactor, downstream, deadlines) {
        Some(fault) => Poll::Ready(Err(fault)),
        None if timer.fired() => Poll::Ready(Ok(())),
        None => Poll::Pending,
    })
    .await
}
