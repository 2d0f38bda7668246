//! The local rate limit filter: token buckets in this process, for all requests, for a route, or for each client
//! (Envoy: extensions.filters.http.local_ratelimit.v3.LocalRateLimit).

mod bucket;
mod descriptor;

use super::{Context, Flow, Pace, Setup};
use crate::http::format::ResponseFlags;
use crate::http::matcher::is_in_share;
use crate::http::{Exchange, FieldId, Reply};
use crate::ring::Reactor;
use crate::router::Fault;
use crate::stats::LocalRateLimitStats;
use bucket::{Bucket, Lot, Quota};
use descriptor::{Descriptors, SharedDescriptors};
use ringway_config::model::LocalRateLimit;
use std::rc::Rc;
use std::sync::Arc;

pub struct Filter {
    settings: LocalRateLimit,
    stats: Arc<LocalRateLimitStats>,
    reactor: Rc<Reactor>,
    /// For every request.
    lot: Option<Lot>,
    descriptors: Descriptors,
}

/// The buckets.
pub struct Shared {
    bucket: Option<Arc<Bucket>>,
    descriptors: Arc<SharedDescriptors>,
}

/// What the response is to say.
#[derive(Default)]
pub struct State {
    quota: Option<Quota>,
}

impl Shared {
    pub fn new(settings: &LocalRateLimit) -> Arc<Self> {
        Arc::new(Self { bucket: settings.token_bucket.map(Bucket::new), descriptors: SharedDescriptors::new(settings) })
    }
}

impl Filter {
    pub fn new(settings: &LocalRateLimit, shared: &Arc<Shared>, setup: &Setup<'_>) -> Self {
        Self {
            settings: settings.clone(),
            stats: setup.registry.scope(&settings.stat_prefix, setup.shard),
            reactor: setup.reactor.clone(),
            lot: shared.bucket.clone().map(|bucket| Lot::new(bucket, setup.shards)),
            descriptors: Descriptors::new(settings, &shared.descriptors, setup.shards),
        }
    }

    // Filters are called alike, whether they wait or not.
    #[allow(clippy::unused_async)]
    pub async fn request<'s>(&'s self, context: &mut Context<'_, '_>, state: &mut State) -> Result<Flow<'s>, Fault> {
        let random = self.reactor.random();
        if !is_in_share(self.settings.enabled, random.next_u64()) {
            return Ok(Flow::Continue);
        }
        self.stats.enabled.inc();
        let now = self.reactor.now();
        let (is_ok, quota) = self.take(context, now);
        if self.settings.x_ratelimit_headers {
            state.quota = quota;
        }
        if is_ok {
            self.stats.ok.inc();
            return Ok(Flow::Continue);
        }
        self.stats.rate_limited.inc();
        if !is_in_share(self.settings.enforced, random.next_u64()) {
            return Ok(Flow::Continue);
        }
        self.stats.enforced.inc();
        context.begin_reply();
        let mut head = context.exchange.edit_response();
        head.add_known(FieldId::XEnvoyRatelimited, |out| out.extend_from_slice(b"true"));
        if let Some(quota) = quota {
            let mut number = itoa::Buffer::new();
            let seconds = number.format(quota.reset.max(1));
            head.add_known(FieldId::RetryAfter, |out| out.extend_from_slice(seconds.as_bytes()));
        }
        let flags = ResponseFlags::RATE_LIMITED;
        Ok(Flow::Reply(Reply::text(self.settings.status, "local_rate_limited", flags, "local_rate_limited")))
    }

    pub fn response(&self, exchange: &mut Exchange, state: &mut State) -> Option<Pace> {
        let quota = state.quota?;
        let mut head = exchange.edit_response();
        let fields: [(&[u8], u64); 3] = [
            (b"x-ratelimit-limit", u64::from(quota.limit)),
            (b"x-ratelimit-remaining", u64::from(quota.remaining)),
            (b"x-ratelimit-reset", quota.reset),
        ];
        for (name, value) in fields {
            let mut number = itoa::Buffer::new();
            head.set(name, number.format(value).as_bytes());
        }
        None
    }

    /// Take a token from each bucket that the request belongs to. The quota of the one that refused, or else of the one
    /// with the least left.
    fn take(&self, context: &Context<'_, '_>, now: u64) -> (bool, Option<Quota>) {
        let (is_ok, mut quota) = self.descriptors.take(&self.settings.rate_limits, context, now);
        if !is_ok {
            return (false, quota);
        }
        if let Some(lot) = &self.lot {
            let is_ok = lot.take(now);
            let own = lot.quota(now);
            if !is_ok || quota.is_none_or(|quota| own.remaining < quota.remaining) {
                quota = Some(own);
            }
            return (is_ok, quota);
        }
        (true, quota)
    }
}
