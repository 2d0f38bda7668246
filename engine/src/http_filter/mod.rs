//! HTTP filters: what a request passes before it is answered, and its response on the way back.
//!
//! A filter is one module with a `Filter` (one shard's, for one set of settings), its `Shared` part (the whole process's)
//! and its `State` (one exchange's). The list of filters is `ringway_config::http_filters!`; docs/EXTENDING.md shows how
//! one is added.
//!
//! Invariant: filters see requests in the order of the configuration and responses in the opposite order; a filter that
//! did not see the request does not see the response.

mod buffer;
mod calls;
mod chain;
mod compressor;
mod decompressor;
mod fault;
mod grpc_stats;
mod grpc_web;
mod local_ratelimit;
mod methods;
#[cfg(test)]
pub mod testing;

pub use chain::{Chain, Passed, SharedChain, number_overrides};

use crate::http::{Exchange, FieldId, Reply};
use crate::mux::{Coders, Hooks};
use crate::ring::Reactor;
use crate::router::{Client, Collected, Fault};
use crate::stats::Registry;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// What filters are made with.
pub struct Setup<'a> {
    pub reactor: &'a Rc<Reactor>,
    pub registry: &'a Arc<Registry>,
    pub shard: usize,
    /// Of the connection manager's statistics.
    pub stat_prefix: &'a str,
    /// For filters that change bodies.
    pub coders: &'a Rc<Coders>,
}

/// What a filter has as its `Shared` where shards have nothing of it in common.
pub struct Unshared;

impl Unshared {
    pub fn new<S>(_: &S, _: usize) -> Arc<Self> {
        Arc::new(Self)
    }
}

/// What a filter may use and change while a request is with it.
pub struct Context<'a, 'w, 'c> {
    pub exchange: &'a mut Exchange,
    pub client: &'a mut Client<'w, 'c>,
    /// Name of the cluster that the route leads to.
    pub cluster: Option<&'a str>,
}

/// What a filter may use and change while a response is with it.
pub struct Responding<'a, 'w, 'c> {
    pub exchange: &'a mut Exchange,
    pub client: &'a mut Client<'w, 'c>,
}

/// What becomes of a request after a filter.
pub enum Flow<'a> {
    /// It goes on to the next one.
    Continue,
    /// The same, and its body goes through these hooks.
    Hooked(Hooks),
    /// It is answered here. Fields of the answer's head are in `exchange.response`, after `Context::begin_reply`.
    Reply(Reply<'a>),
}

impl Context<'_, '_, '_> {
    /// The client's address, as far as it is known and believed.
    pub fn client_address(&self) -> Option<IpAddr> {
        self.exchange.facts.client.map(|client| client.ip().to_canonical())
    }

    /// Make room for the head of an answer.
    pub fn begin_reply(&mut self) {
        Reply::begin(self.exchange, self.client.reactor);
    }

    /// Wait, as far as the client and the deadlines allow.
    ///
    /// # Errors
    /// Why the exchange ends meanwhile.
    pub async fn pause(&mut self, duration: Duration) -> Result<(), Fault> {
        self.client.pause(duration).await
    }

    /// Read the request's body ahead of time, to its end or to more than `limit` bytes. A client that waits for
    /// `100 Continue` gets it: the upstream cannot say it in time.
    ///
    /// # Errors
    /// Why the exchange ends meanwhile.
    pub async fn collect_body(&mut self, limit: u64) -> Result<Collected, Fault> {
        let request = &mut self.exchange.request;
        // RFC 9110 section 10.1.1: an expectation that is answered here is not passed on.
        if self.client.upload.wire.invite() {
            request.head.fields.remove_id(FieldId::Expect);
        }
        let mut received = self.client.upload.received();
        let collecting = self.client.guard(|client, _| {
            let collected = client.upload.poll_collect(request, limit, client.reactor.now());
            if client.upload.received() > received {
                received = client.upload.received();
                client.deadlines.moved(client.reactor.now());
            }
            collected
        });
        let collected = collecting.await?;
        let now = self.client.reactor.now();
        self.client.deadlines.moved(now);
        if collected.is_whole {
            self.exchange.facts.times.request_end = Some(now);
        }
        Ok(collected)
    }
}
