//! Forwarding one request: what is decided for all its tries. The tries themselves are made in tries.rs; what becomes of
//! the response is the caller's.

use super::mirror::{self, MirrorOptions};
use super::replay::ReplayPiece;
use super::retry::TryPolicy;
use super::r#try::Try;
use super::upload::Upload;
use super::{Client, Fault, tries};
use crate::cluster::Cluster;
use crate::http::matcher::is_in_share;
use crate::http::{Exchange, Method};
use crate::mux::Limits;
use crate::ring::{Buf, Reactor};
use crate::route::hash_policy::NewCookie;
use crate::stats::HttpStats;
use crate::upstream::limits::Priority;
use ringway_config::model;
use std::rc::Rc;
use std::time::Duration;

/// What forwarding needs to know next to the exchange.
pub struct Forwarding<'a> {
    pub reactor: &'a Rc<Reactor>,
    pub cluster: &'a Cluster,
    /// All clusters, in the order of the configuration.
    pub clusters: &'a [Rc<Cluster>],
    pub forward: &'a model::Forward,
    pub policy: TryPolicy<'a>,
    /// By what the consistent hashes pick.
    pub hash: Option<u64>,
    /// For the response, so that the client's next request gets the same hash.
    pub cookies: Vec<NewCookie<'a>>,
    /// The subset of the endpoints, sorted by key.
    pub metadata_match: &'a [(String, String)],
    pub codec_limits: &'a Limits,
    pub limits: &'a model::HttpLimits,
    /// The longest time without a byte moving.
    pub stream_idle: Option<Duration>,
    /// Tell the upstream which try it is (x-envoy-attempt-count).
    pub tells_tries: bool,
    /// Tell the upstream which host was asked for, where it is replaced (x-envoy-original-host).
    pub tells_host: bool,
    pub stats: &'a HttpStats,
}

/// Forward the request until a response's head is there, and its try in `current`, which is empty at the beginning. All
/// edits of the request's head have been made.
///
/// # Errors
/// Why there is no response.
pub async fn forward<'a>(
    forwarding: &'a Forwarding<'a>,
    exchange: &mut Exchange,
    client: &mut Client<'_, '_>,
    current: &mut Option<Try<'a>>,
) -> Result<(), Fault> {
    if exchange.facts.redirects == 0 {
        let keeps = forwarding.keeps_body(exchange.request.head.method);
        client.upload.replay.start(keeps, forwarding.replay_limit());
    }
    if client.upload.is_done() {
        let timeouts = &forwarding.policy.timeouts;
        client.deadlines.start_route(client.reactor.now(), timeouts.response_head, timeouts.route);
    }
    forwarding.start_mirrors(exchange, &mut client.upload);
    forwarding.cluster.limits.note_request(forwarding.priority(), client.reactor.now());
    tries::run(forwarding, exchange, client, current).await
}

impl Forwarding<'_> {
    /// The circuit breakers that count.
    pub(super) fn priority(&self) -> Priority {
        match self.forward.priority {
            model::Priority::Default => Priority::Default,
            model::Priority::High => Priority::High,
        }
    }

    /// Whether the request may have to be sent again with all of its body: by the policy, elsewhere, or because a pooled
    /// connection turned out to be closed, or refused it.
    fn keeps_body(&self, method: Method) -> bool {
        method.is_idempotent() || self.asks_for_body() || self.cluster.may_refuse()
    }

    fn asks_for_body(&self) -> bool {
        self.policy.retries() || self.forward.internal_redirect.is_some()
    }

    fn replay_limit(&self) -> u64 {
        let own = self.policy.config.and_then(|config| config.max_replay_bytes);
        own.unwrap_or(u64::from(self.limits.buffer_limit))
    }

    /// A piece of the request's body goes out: keep it for another try, give it to the mirrors.
    pub(super) fn copy_body(&self, upload: &mut Upload<'_, '_>, buf: &Buf) {
        if !upload.replay.keep(buf, self.reactor) && self.asks_for_body() {
            self.abandon("is too large to be kept for another try");
        }
        for mirror in &upload.mirrors {
            if !mirror.send(buf) {
                self.abandon("is not taken by its mirror fast enough");
            }
        }
    }

    #[cold]
    fn abandon(&self, why: &'static str) {
        self.cluster.stats.retry_or_shadow_abandoned.inc();
        let limit = self.replay_limit();
        tracing::debug!(target: "ringway::router", cluster = self.cluster.config.name, limit, "a request's body {why}");
    }

    /// Start the copies of the request.
    fn start_mirrors(&self, exchange: &Exchange, upload: &mut Upload<'_, '_>) {
        for policy in &self.forward.mirrors {
            if !is_in_share(policy.fraction, self.reactor.random().next_u64()) {
                continue;
            }
            let options = MirrorOptions {
                cluster: self.clusters[policy.cluster].clone(),
                codec_limits: self.codec_limits,
                buffer_limit: self.limits.buffer_limit as usize,
                timeout: self.policy.timeouts.route.or(self.policy.timeouts.response_head),
                idle: self.stream_idle,
                priority: self.priority(),
            };
            let mut ended = upload.is_done();
            let has_body = !ended || !upload.replay.is_empty();
            let Some(mirror) = mirror::start(self.reactor, exchange, has_body, options) else { continue };
            // After an internal redirect, the body is one that was kept.
            upload.replay.for_each(|piece| match piece {
                ReplayPiece::Buf(buf) => drop(mirror.send(&buf)),
                ReplayPiece::Bytes(bytes) => drop(mirror.send(&Buf::from(Box::from(bytes)))),
                ReplayPiece::End => {
                    mirror.end(&exchange.request.trailers);
                    ended = true;
                }
            });
            if !ended {
                upload.mirrors.push(mirror);
            }
        }
    }
}
