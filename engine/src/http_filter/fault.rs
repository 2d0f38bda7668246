//! The fault filter: delays, aborts and slow responses on purpose (Envoy: extensions.filters.http.fault.v3.HTTPFault).

use super::{Context, Flow, Responding, Setup};
use crate::http::format::ResponseFlags;
use crate::http::grpc::GrpcStatus;
use crate::http::matcher::{HeadRef, is_in_share, matches_header};
use crate::http::{Exchange, Reply};
use crate::mux::{Hooks, Pace};
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

/// The faults under way, counted where there is a limit.
#[derive(Debug, Default)]
pub struct Shared {
    active: AtomicU32,
}

/// What is kept of an exchange that has a fault.
#[derive(Default)]
pub struct State {
    active: Option<Active>,
    bytes_per_second: Option<u64>,
}

/// One exchange with a fault, to its end.
struct Active {
    /// Where there is a limit.
    shared: Option<Arc<Shared>>,
    stats: Arc<FaultStats>,
}

impl Drop for Active {
    fn drop(&mut self) {
        if let Some(shared) = &self.shared {
            shared.active.fetch_sub(1, Relaxed);
        }
        self.stats.active_faults.dec();
    }
}

impl Shared {
    pub fn new(_: &Fault, _: usize) -> Arc<Self> {
        Arc::default()
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

    pub async fn request<'s>(
        &'s self,
        context: &mut Context<'_, '_, '_>,
        state: &mut State,
    ) -> Result<Flow<'s>, Failure> {
        let settings = &self.settings;
        if !applies(settings, context.exchange, context.cluster) {
            return Ok(Flow::Continue);
        }
        let random = || self.reactor.random().next_u64();
        if let Some(limit) = &settings.response_rate_limit
            && let Some(bytes_per_second) = rate_limit(limit, context.exchange, random())
            && self.begin(state)
        {
            self.stats.response_rl_injected.inc();
            state.bytes_per_second = Some(bytes_per_second);
        }
        if let Some(settings) = &settings.delay
            && let Some(duration) = delay(settings, context.exchange, random())
            && self.begin(state)
        {
            self.stats.delays_injected.inc();
            context.exchange.facts.flags.insert(ResponseFlags::DELAY_INJECTED);
            context.pause(duration).await?;
        }
        if let Some(settings) = &settings.abort
            && let Some((status, grpc_status)) = abort(settings, context.exchange, random())
            && self.begin(state)
        {
            self.stats.aborts_injected.inc();
            context.begin_reply();
            let flags = ResponseFlags::FAULT_INJECTED;
            let mut reply = Reply::text(status, "fault filter abort", flags, "fault_filter_abort");
            reply.grpc_status = grpc_status;
            return Ok(Flow::Reply(reply));
        }
        Ok(Flow::Continue)
    }

    pub async fn response(&self, _: &mut Responding<'_, '_, '_>, state: &mut State) -> Result<Hooks, Failure> {
        let pace = state.bytes_per_second.map(|limit| Pace::new(&self.reactor, limit));
        Ok(pace.map(Hooks::from).unwrap_or_default())
    }

    /// Count the exchange, unless there are as many with a fault as there may be. It counts once, whatever its faults.
    fn begin(&self, state: &mut State) -> bool {
        if state.active.is_some() {
            return true;
        }
        let mut shared = None;
        if let Some(max) = self.settings.max_active_faults {
            if self.shared.active.fetch_add(1, Relaxed) >= max {
                self.shared.active.fetch_sub(1, Relaxed);
                self.stats.faults_overflow.inc();
                return false;
            }
            shared = Some(self.shared.clone());
        }
        self.stats.active_faults.inc();
        state.active = Some(Active { shared, stats: self.stats.clone() });
        true
    }
}

/// Whether there may be faults for this request.
fn applies(settings: &Fault, exchange: &Exchange, cluster: Option<&str>) -> bool {
    let head = HeadRef::request(&exchange.request.head, exchange.request.view());
    let of_cluster = settings.upstream_cluster.as_deref().is_none_or(|name| cluster == Some(name));
    of_cluster && settings.headers.iter().all(|header| matches_header(header, head))
}

fn delay(settings: &FaultDelay, exchange: &Exchange, random: u64) -> Option<Duration> {
    let (duration, share) = match settings.kind {
        FaultDelayKind::Fixed(duration) => (duration, settings.percentage),
        FaultDelayKind::Header => {
            let milliseconds = number(exchange, b"x-envoy-fault-delay-request")?;
            let share = asked(exchange, b"x-envoy-fault-delay-request-percentage", settings.percentage);
            (Duration::from_millis(milliseconds), share)
        }
    };
    (!duration.is_zero() && is_in_share(share, random)).then_some(duration)
}

/// The status.
fn abort(settings: &FaultAbort, exchange: &Exchange, random: u64) -> Option<(u16, Option<GrpcStatus>)> {
    let mut grpc_status = None;
    let (status, share) = match settings.kind {
        FaultAbortKind::Status(status) => (status, settings.percentage),
        FaultAbortKind::GrpcStatus(status) => {
            grpc_status = Some(GrpcStatus(status));
            (GrpcStatus(status).to_http(), settings.percentage)
        }
        FaultAbortKind::Header => {
            let status = u16::try_from(number(exchange, b"x-envoy-fault-abort-request")?).ok()?;
            (status, asked(exchange, b"x-envoy-fault-abort-request-percentage", settings.percentage))
        }
    };
    ((200..600).contains(&status) && is_in_share(share, random)).then_some((status, grpc_status))
}

/// Bytes a second.
fn rate_limit(settings: &FaultRateLimit, exchange: &Exchange, random: u64) -> Option<u64> {
    let (bytes, share) = match settings.kind {
        FaultRateLimitKind::Fixed(bytes) => (bytes, settings.percentage),
        FaultRateLimitKind::Header => {
            let kibibytes = number(exchange, b"x-envoy-fault-throughput-response")?;
            let name = b"x-envoy-fault-throughput-response-percentage";
            (kibibytes.saturating_mul(1024), asked(exchange, name, settings.percentage))
        }
    };
    (bytes > 0 && is_in_share(share, random)).then_some(bytes)
}

/// The number in a field of the request.
fn number(exchange: &Exchange, name: &[u8]) -> Option<u64> {
    let view = exchange.request.view();
    let value = exchange.request.head.fields.find(name, view)?.value.of(view);
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The percentage that a request asks for; never more than the configuration allows.
fn asked(exchange: &Exchange, name: &[u8], allowed: Fraction) -> Fraction {
    match number(exchange, name) {
        Some(percent) => Fraction {
            per_million: u32::try_from(percent.saturating_mul(10_000)).unwrap_or(u32::MAX).min(allowed.per_million),
        },
        None => allowed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http_filter::testing::exchange;
    use ringway_config::model::{HeaderMatch, HeaderMatchKind};

    const ALL: Fraction = Fraction { per_million: 1_000_000 };
    const HALF: Fraction = Fraction { per_million: 500_000 };
    /// The last number of the first half, the first one of the second.
    const LOW: u64 = 499_999;
    const HIGH: u64 = 500_000;

    #[test]
    fn faults_are_for_the_requests_that_match() {
        let header = HeaderMatch {
            name: "x-test".into(),
            kind: HeaderMatchKind::Present,
            invert: false,
            missing_as_empty: false,
        };
        let settings = Fault {
            delay: None,
            abort: None,
            response_rate_limit: None,
            headers: vec![header],
            upstream_cluster: Some("app".into()),
            max_active_faults: None,
        };
        let (with, without) = (exchange("X-Test: 1\r\n"), exchange(""));
        assert!(applies(&settings, &with, Some("app")));
        assert!(!applies(&settings, &with, Some("other")) && !applies(&settings, &with, None));
        assert!(!applies(&settings, &without, Some("app")));
    }

    #[test]
    fn fixed_faults_are_for_a_share() {
        let request = exchange("");
        let second = Duration::from_secs(1);
        let of = FaultDelay { kind: FaultDelayKind::Fixed(second), percentage: HALF };
        assert_eq!((delay(&of, &request, LOW), delay(&of, &request, HIGH)), (Some(second), None));
        let of = FaultAbort { kind: FaultAbortKind::Status(503), percentage: HALF };
        assert_eq!((abort(&of, &request, LOW), abort(&of, &request, HIGH)), (Some((503, None)), None));
        let of = FaultAbort { kind: FaultAbortKind::GrpcStatus(8), percentage: ALL };
        assert_eq!(abort(&of, &request, LOW), Some((429, Some(GrpcStatus::RESOURCE_EXHAUSTED))));
        let of = FaultRateLimit { kind: FaultRateLimitKind::Fixed(2048), percentage: HALF };
        assert_eq!((rate_limit(&of, &request, LOW), rate_limit(&of, &request, HIGH)), (Some(2048), None));
    }

    #[test]
    fn requests_ask_for_a_delay() {
        let of = FaultDelay { kind: FaultDelayKind::Header, percentage: HALF };
        let asks = |fields: &str, random| delay(&of, &exchange(fields), random).map(|delay| delay.as_millis());
        assert_eq!(asks("x-envoy-fault-delay-request: 250\r\n", LOW), Some(250));
        for none in ["", "x-envoy-fault-delay-request: 0\r\n", "x-envoy-fault-delay-request: soon\r\n"] {
            assert_eq!(asks(none, 0), None, "{none}");
        }
        // The share is at most what the configuration says.
        let percent = |percent: u32, random| {
            let fields =
                format!("x-envoy-fault-delay-request: 1\r\nx-envoy-fault-delay-request-percentage: {percent}\r\n");
            asks(&fields, random)
        };
        assert_eq!((percent(10, 99_999), percent(10, 100_000)), (Some(1), None));
        assert_eq!((percent(100, LOW), percent(100, HIGH), percent(0, 0)), (Some(1), None, None));
    }

    #[test]
    fn requests_ask_for_an_abort_or_a_slow_response() {
        let of = FaultAbort { kind: FaultAbortKind::Header, percentage: ALL };
        let asks = |status: &str| {
            let aborted = abort(&of, &exchange(&format!("x-envoy-fault-abort-request: {status}\r\n")), 0);
            aborted.map(|(status, _)| status)
        };
        assert_eq!((asks("429"), asks("200"), asks("599")), (Some(429), Some(200), Some(599)));
        assert_eq!((asks("199"), asks("600"), asks("65965"), asks("x")), (None, None, None, None));
        let of = FaultRateLimit { kind: FaultRateLimitKind::Header, percentage: ALL };
        let asks =
            |rate: &str| rate_limit(&of, &exchange(&format!("x-envoy-fault-throughput-response: {rate}\r\n")), 0);
        assert_eq!((asks("64"), asks("0"), asks("")), (Some(65_536), None, None));
    }
}
