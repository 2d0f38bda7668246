//! The local rate limit filter: token buckets in this process, for all requests, for a route, or for each client
//! (Envoy: extensions.filters.http.local_ratelimit.v3.LocalRateLimit).

mod bucket;
mod descriptor;

use super::{Context, Flow, Responding, Setup};
use crate::http::format::ResponseFlags;
use crate::http::grpc::GrpcStatus;
use crate::http::matcher::is_in_share;
use crate::http::{FieldId, Reply};
use crate::mux::Hooks;
use crate::ring::Reactor;
use crate::router::Fault;
use crate::stats::LocalRateLimitStats;
use bucket::{Bucket, Quota};
use descriptor::{Descriptors, SharedDescriptors};
use ringway_config::model::LocalRateLimit;
use std::rc::Rc;
use std::sync::Arc;

pub struct Filter {
    settings: LocalRateLimit,
    stats: Arc<LocalRateLimitStats>,
    reactor: Rc<Reactor>,
    shard: usize,
    /// For every request.
    bucket: Option<Arc<Bucket>>,
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
    pub fn new(settings: &LocalRateLimit, shards: usize) -> Arc<Self> {
        Arc::new(Self {
            bucket: settings.token_bucket.map(|bucket| Bucket::new(bucket, shards)),
            descriptors: SharedDescriptors::new(settings, shards),
        })
    }
}

impl Filter {
    pub fn new(settings: &LocalRateLimit, shared: &Arc<Shared>, setup: &Setup<'_>) -> Self {
        Self {
            settings: settings.clone(),
            stats: setup.registry.scope(&settings.stat_prefix, setup.shard),
            reactor: setup.reactor.clone(),
            shard: setup.shard,
            bucket: shared.bucket.clone(),
            descriptors: Descriptors::new(&shared.descriptors, setup.shard),
        }
    }

    // Filters are called alike, whether they wait or not.
    #[allow(clippy::unused_async)]
    pub async fn request<'s>(
        &'s self,
        context: &mut Context<'_, '_, '_>,
        state: &mut State,
    ) -> Result<Flow<'s>, Fault> {
        let random = self.reactor.random();
        if !is_in_share(self.settings.enabled, random.next_u64()) {
            return Ok(Flow::Continue);
        }
        self.stats.enabled.inc();
        let now = self.reactor.now();
        let (is_ok, quota) = self.take(context, now);
        state.quota = quota.filter(|_| self.settings.x_ratelimit_headers);
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
        let mut head = context.exchange.response.edit();
        head.add_known(FieldId::XEnvoyRatelimited, |out| out.extend_from_slice(b"true"));
        if let Some(quota) = quota {
            let mut number = itoa::Buffer::new();
            let seconds = number.format(quota.reset);
            head.add_known(FieldId::RetryAfter, |out| out.extend_from_slice(seconds.as_bytes()));
        }
        let flags = ResponseFlags::RATE_LIMITED;
        let mut reply = Reply::text(self.settings.status, "local_rate_limited", flags, "local_rate_limited");
        reply.grpc_status = self.settings.as_resource_exhausted.then_some(GrpcStatus::RESOURCE_EXHAUSTED);
        Ok(Flow::Reply(reply))
    }

    pub async fn response(&self, context: &mut Responding<'_, '_, '_>, state: &mut State) -> Result<Hooks, Fault> {
        let Some(quota) = state.quota else { return Ok(Hooks::default()) };
        let mut head = context.exchange.response.edit();
        let fields: [(&[u8], u64); 3] = [
            (b"x-ratelimit-limit", u64::from(quota.limit)),
            (b"x-ratelimit-remaining", u64::from(quota.remaining)),
            (b"x-ratelimit-reset", quota.reset),
        ];
        for (name, value) in fields {
            let mut number = itoa::Buffer::new();
            head.set(name, number.format(value).as_bytes());
        }
        Ok(Hooks::default())
    }

    /// Take a token from each bucket that the request belongs to. The quota of the one that refused, or else of the one
    /// that is filled most slowly, where it is to be told.
    fn take(&self, context: &Context<'_, '_, '_>, now: u64) -> (bool, Option<Quota>) {
        let wants_quota = self.settings.x_ratelimit_headers;
        let (is_ok, quota) = self.descriptors.take(context.exchange, context.client_address(), now, wants_quota);
        match &self.bucket {
            Some(bucket) if is_ok => {
                let (is_ok, own) = bucket.take_with_quota(self.shard, now, wants_quota && quota.is_none());
                (is_ok, if is_ok { quota.or(own) } else { own })
            }
            _ => (is_ok, quota),
        }
    }
}
