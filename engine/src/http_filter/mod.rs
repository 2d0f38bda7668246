//! HTTP filters: what a request passes before it is answered, and its response on the way back.
//!
//! A filter is one module with a `Filter` (one shard's, for one set of settings), its `Shared` part (the whole process's)
//! and its `State` (one exchange's). The list of filters is `ringway_config::http_filters!`; docs/EXTENDING.md shows how
//! one is added.
//!
//! Invariant: filters see requests in the order of the configuration and responses in the opposite order; a filter that
//! did not see the request does not see the response.

mod buffer;
mod chain;
mod fault;
mod local_ratelimit;
mod pace;
#[cfg(test)]
pub mod testing;

pub use chain::{Chain, Run, SharedChain, number_overrides};
pub use pace::Pace;

use crate::codec::h1::encode;
use crate::http::{Exchange, FieldId, Reply};
use crate::ring::{Reactor, Timer};
use crate::router::{Collected, Deadlines, Downstream, Fault, interrupted};
use crate::stats::Registry;
use std::future::poll_fn;
use std::net::IpAddr;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// What filters are made with.
pub struct Setup<'a> {
    pub reactor: &'a Rc<Reactor>,
    pub registry: &'a Registry,
    pub shard: usize,
    /// Of the connection manager's statistics.
    pub stat_prefix: &'a str,
}

/// What a filter may use and change while a request is with it.
pub struct Context<'a, 'd> {
    pub reactor: &'a Rc<Reactor>,
    pub exchange: &'a mut Exchange,
    pub downstream: &'a mut Downstream<'d>,
    pub deadlines: &'a mut Deadlines,
    /// Name of the cluster that the route leads to.
    pub cluster: Option<&'a str>,
}

/// What becomes of a request after a filter.
pub enum Flow<'a> {
    /// It goes on to the next one.
    Continue,
    /// It is answered here. Fields of the answer's head are in `exchange.response`, after `Context::begin_reply`.
    Reply(Reply<'a>),
}

impl Context<'_, '_> {
    /// The client's address, as far as it is known and believed.
    pub fn client(&self) -> Option<IpAddr> {
        self.exchange.client.map(|client| client.ip().to_canonical())
    }

    /// Make room for the head of an answer.
    pub fn begin_reply(&mut self) {
        Reply::begin(self.exchange, self.reactor);
    }

    /// Wait, as far as the client and the deadlines allow.
    ///
    /// # Errors
    /// Why the exchange ends meanwhile.
    pub async fn pause(&mut self, duration: Duration) -> Result<(), Fault> {
        let timer = Timer::new(self.reactor);
        timer.arm_in(duration);
        poll_fn(|_| {
            if let Some(fault) = interrupted(self.reactor, self.downstream, self.deadlines) {
                return Poll::Ready(Err(fault));
            }
            if timer.fired() { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await
    }

    /// Read the request's body ahead of time, to its end or to more than `limit` bytes. A client that waits for
    /// `100 Continue` gets it: nobody else will say it in time.
    ///
    /// # Errors
    /// Why the exchange ends meanwhile.
    pub async fn collect_body(&mut self, limit: u64) -> Result<Collected, Fault> {
        self.invite_body();
        let mut received = self.downstream.received();
        let collected = poll_fn(|_| {
            match self.downstream.poll_collect(limit) {
                Poll::Pending => {}
                ready => return ready,
            }
            if self.downstream.received() > received {
                received = self.downstream.received();
                self.deadlines.moved(self.reactor.now());
            }
            interrupted(self.reactor, self.downstream, self.deadlines)
                .map_or(Poll::Pending, |fault| Poll::Ready(Err(fault)))
        })
        .await?;
        let now = self.reactor.now();
        self.deadlines.moved(now);
        if collected.is_whole {
            self.exchange.times.request_end = Some(now);
        }
        Ok(collected)
    }

    /// RFC 9110 section 10.1.1: who answers an expectation does not pass it on.
    fn invite_body(&mut self) {
        if !std::mem::take(&mut self.exchange.request.expect_continue) {
            return;
        }
        self.exchange.request.fields.remove_id(FieldId::Expect);
        if self.downstream.is_begun() {
            return;
        }
        let out = self.exchange.to_downstream.bytes(self.reactor);
        encode::status_line(out, 100, b"Continue");
        encode::end(out);
        self.exchange.to_downstream.flush(self.downstream.stream);
    }
}
