//! The fault filter: delays, aborts and slow responses on purpose (Envoy: extensions.filters.http.fault.v3.HTTPFault).

use super::{Context, Flow, Pace, Setup};
use crate::http::format::ResponseFlags;
use crate::http::matcher::{HeadRef, is_in_share, matches_header};
use crate::http::{Exchange, Reply};
use crate::ring::Reactor;
use crate::router::Fault as Failure;
use crate::stats::FaultStats;
use ringway_config::model::{
    Fault, FaultAbort, FaultAbortKind, FaultDelay, FaultDelayKind, FaultRateLimit, FaultRateLimitKind, Fraction,
};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;

pub struct Filter {
    settings: Fault,
    shared: Arc<Shared>,
    stats: Arc<FaultStats>,
    reactor: Rc<Reactor>,
}

/// The faults under way, counted for the limit.
pub struct Shared {
    active: AtomicU32,
}

/// What is kept while a fault is under way.
#[derive(Default)]
pub struct State {
    active: Option<Active>,
    bytes_per_second: Option<u64>,
}

/// One fault under way.
struct Active {
    shared: Arc<Shared>,
    stats: Arc<FaultStats>,
}

impl Drop for Active {
    fn drop(&mut self) {
        self.shared.active.fetch_sub(1, Relaxed);
        self.stats.active_faults.dec();
    }
}

impl Shared {
    pub fn new(_: &Fault) -> Arc<Self> {
        Arc::new(Self { active: AtomicU32::new(0) })
    }
}

impl Filter {
    pub fn new(settings: &Fault, shared: &Arc<Shared>, setup: &Setup<'_>) -> Self {
        Self {
            settings: settings.clone(),
            shared: shared.clone(),
            stats: setup.registry.scope(setup.stat_prefix, setup.shard),
            reactor: setup.reactor.clone(),
        }
    }

    pub async fn request<'s>(&'s self, context: &mut Context<'_, '_>, state: &mut State) -> Result<Flow<'s>, Failure> {
        if !self.applies(context) {
            return Ok(Flow::Continue);
        }
        if let Some(delay) = self.settings.delay.as_ref().and_then(|delay| self.delay(delay, context))
            && self.begin(state)
        {
            self.stats.delays_injected.inc();
            context.exchange.flags.insert(ResponseFlags::DELAY_INJECTED);
            context.pause(delay).await?;
        }
        if let Some(status) = self.settings.abort.as_ref().and_then(|abort| self.abort(abort, context))
            && self.begin(state)
        {
            self.stats.aborts_injected.inc();
            context.begin_reply();
            let flags = ResponseFlags::FAULT_INJECTED;
            return Ok(Flow::Reply(Reply::text(status, "fault filter abort", flags, "fault_filter_abort")));
        }
        let limit = self.settings.response_rate_limit.as_ref();
        if let Some(limit) = limit.and_then(|limit| self.rate_limit(limit, context))
            && self.begin(state)
        {
            self.stats.response_rl_injected.inc();
            state.bytes_per_second = Some(limit);
        }
        // What lasts on from here is only a slow response.
        if state.bytes_per_second.is_none() {
            state.active = None;
        }
        Ok(Flow::Continue)
    }

    pub fn response(&self, _: &mut Exchange, state: &mut State) -> Option<Pace> {
        state.bytes_per_second.map(|limit| Pace::new(&self.reactor, limit))
    }

    fn applies(&self, context: &Context<'_, '_>) -> bool {
        let head = HeadRef::request(&context.exchange.request, context.exchange.request_view());
        let of_cluster = self.settings.upstream_cluster.as_deref().is_none_or(|name| context.cluster == Some(name));
        of_cluster && self.settings.headers.iter().all(|header| matches_header(header, head))
    }

    /// Count the fault, unless there are as many as there may be. A request counts once.
    fn begin(&self, state: &mut State) -> bool {
        if state.active.is_some() {
            return true;
        }
        let before = self.shared.active.fetch_add(1, Relaxed);
        if self.settings.max_active_faults.is_some_and(|max| before >= max) {
            self.shared.active.fetch_sub(1, Relaxed);
            self.stats.faults_overflow.inc();
            return false;
        }
        self.stats.active_faults.inc();
        state.active = Some(Active { shared: self.shared.clone(), stats: self.stats.clone() });
        true
    }

    fn delay(&self, delay: &FaultDelay, context: &Context<'_, '_>) -> Option<Duration> {
        let (duration, percentage) = match delay.kind {
            FaultDelayKind::Fixed(duration) => (duration, delay.percentage),
            FaultDelayKind::Header => {
                let milliseconds = number(context, b"x-envoy-fault-delay-request")?;
                let percentage = asked(context, b"x-envoy-fault-delay-request-percentage", delay.percentage);
                (Duration::from_millis(milliseconds), percentage)
            }
        };
        self.is_drawn(percentage).then_some(duration).filter(|duration| !duration.is_zero())
    }

    fn abort(&self, abort: &FaultAbort, context: &Context<'_, '_>) -> Option<u16> {
        let (status, percentage) = match abort.kind {
            FaultAbortKind::Status(status) => (status, abort.percentage),
            FaultAbortKind::Header => {
                let status = number(context, b"x-envoy-fault-abort-request")?;
                let status = u16::try_from(status).ok().filter(|status| (200..600).contains(status))?;
                (status, asked(context, b"x-envoy-fault-abort-request-percentage", abort.percentage))
            }
        };
        self.is_drawn(percentage).then_some(status)
    }

    /// Bytes a second.
    fn rate_limit(&self, limit: &FaultRateLimit, context: &Context<'_, '_>) -> Option<u64> {
        let (bytes, percentage) = match limit.kind {
            FaultRateLimitKind::Fixed(bytes) => (bytes, limit.percentage),
            FaultRateLimitKind::Header => {
                let kibibytes = number(context, b"x-envoy-fault-throughput-response")?;
                let name = b"x-envoy-fault-throughput-response-percentage";
                (kibibytes.saturating_mul(1024), asked(context, name, limit.percentage))
            }
        };
        (bytes > 0 && self.is_drawn(percentage)).then_some(bytes)
    }

    fn is_drawn(&self, share: Fraction) -> bool {
        is_in_share(share, self.reactor.random().next_u64())
    }
}

/// The number in a field of the request.
fn number(context: &Context<'_, '_>, name: &[u8]) -> Option<u64> {
    let view = context.exchange.request_view();
    let value = context.exchange.request.fields.find(name, view)?.value.of(view);
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The percentage that a request asks for; never more than the configuration allows.
fn asked(context: &Context<'_, '_>, name: &[u8], allowed: Fraction) -> Fraction {
    match number(context, name) {
        Some(percent) => Fraction {
            per_million: u32::try_from(percent.saturating_mul(10_000)).unwrap_or(u32::MAX).min(allowed.per_million),
        },
        None => allowed,
    }
}
