//! Hedging: tries whose time is over and that may still answer, while others are under way (Envoy: HedgePolicy).

use super::forward::Forwarding;
use super::trace::{self, Aside};
use super::r#try::Try;
use super::{Client, Fault};
use crate::http::{Exchange, Message, ResponseHead, TryFacts};
use crate::mux::HeadKind;
use crate::ring::Reactor;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

/// Tries next to the present one.
#[derive(Default)]
pub(super) struct Hedged<'a> {
    /// Boxed: they are large, and handed around.
    #[allow(clippy::vec_box)]
    tries: Vec<Box<Hedge<'a>>>,
}

/// One of them, with its own response and what is known of it.
pub(super) struct Hedge<'a> {
    tried: Try<'a>,
    response: Message<ResponseHead>,
    facts: TryFacts,
    /// Where the exchange is traced.
    trace: Option<Aside>,
}

/// Which came first.
pub(super) enum Raced<'a> {
    Hedged(Box<Hedge<'a>>),
    Next(Result<(), Fault>),
}

impl<'a> Hedged<'a> {
    pub(super) fn is_empty(&self) -> bool {
        self.tries.is_empty()
    }

    /// Go on waiting for a try whose time is over. What it received so far is taken out of the exchange.
    pub(super) fn push(&mut self, tried: Try<'a>, exchange: &mut Exchange) {
        let trace = trace::aside(exchange, &tried);
        let response = std::mem::take(&mut exchange.response);
        self.tries.push(Box::new(Hedge { tried, response, facts: exchange.last.clone(), trace }));
    }

    /// Drive `next` until it ends or one of these tries has a good response.
    pub(super) fn race(
        &mut self,
        forwarding: &Forwarding<'_>,
        mut next: Pin<&mut impl Future<Output = Result<(), Fault>>>,
    ) -> impl Future<Output = Raced<'a>> {
        poll_fn(move |context| {
            if !self.tries.is_empty()
                && let Ok(Some(hedge)) = self.poll(forwarding, true)
            {
                return Poll::Ready(Raced::Hedged(hedge));
            }
            next.as_mut().poll(context).map(Raced::Next)
        })
    }

    /// Wait for these tries alone.
    ///
    /// # Errors
    /// Why waiting makes no sense any more; `last`, or how the last of them failed, when none is left.
    pub(super) async fn wait(
        &mut self,
        forwarding: &Forwarding<'_>,
        mut last: Fault,
        client: &mut Client<'_, '_>,
    ) -> Result<Box<Hedge<'a>>, Fault> {
        let waited = client
            .guard(|_, _| {
                match self.poll(forwarding, false) {
                    Ok(Some(hedge)) => return Poll::Ready(Ok(hedge)),
                    Ok(None) => {}
                    Err(fault) => last = fault,
                }
                if self.tries.is_empty() { Poll::Ready(Err(last)) } else { Poll::Pending }
            })
            .await;
        waited.inspect_err(|fault| self.fail(*fault))
    }

    /// None of these tries can end well any more.
    pub(super) fn fail(&mut self, fault: Fault) {
        self.tries.drain(..).for_each(|hedge| hedge.fail(fault));
    }

    /// Make a try's response that of the exchange. The other tries are given up.
    pub(super) fn adopt(&mut self, hedge: Box<Hedge<'a>>, exchange: &mut Exchange, reactor: &Reactor) -> Try<'a> {
        self.tries.clear();
        let mut hedge = *hedge;
        exchange.clear_response(reactor);
        std::mem::swap(&mut exchange.response, &mut hedge.response);
        hedge.trace.iter().for_each(Aside::resume);
        exchange.last = hedge.facts;
        exchange.last.times.response_start = Some(reactor.now());
        exchange.last.wire.head_received = hedge.tried.lease.wire.head_received();
        hedge.tried
    }

    /// The first try with a response for the client. A response that asks for another try is dropped as long as `others`
    /// or one of these may still have a better one. `Err`: the last failure, where one was seen.
    fn poll(&mut self, forwarding: &Forwarding<'_>, others: bool) -> Result<Option<Box<Hedge<'a>>>, Fault> {
        let mut at = 0;
        let mut failed = None;
        while at < self.tries.len() {
            match self.tries[at].poll_head(forwarding.reactor) {
                Poll::Pending => at += 1,
                Poll::Ready(Ok(())) => {
                    let mut hedge = self.tries.swap_remove(at);
                    let Hedge { tried, response, trace, .. } = &mut *hedge;
                    tried.responded(response);
                    let is_bad = forwarding.policy.retries_response(response);
                    if !is_bad || !others && self.tries.is_empty() {
                        return Ok(Some(hedge));
                    }
                    trace.iter().for_each(|trace| trace.ended(tried, response, None));
                }
                Poll::Ready(Err(fault)) => {
                    self.tries.swap_remove(at).fail(fault);
                    failed = Some(fault);
                }
            }
        }
        failed.map_or(Ok(None), Err)
    }
}

impl Hedge<'_> {
    fn fail(self, fault: Fault) {
        self.trace.iter().for_each(|trace| trace.ended(&self.tried, &self.response, Some(fault)));
        self.tried.fail(fault);
    }

    /// Interim responses are not passed on: the client hears of one try only.
    fn poll_head(&mut self, reactor: &Reactor) -> Poll<Result<(), Fault>> {
        loop {
            match self.tried.lease.wire.poll_head(&mut self.response) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(broken)) => {
                    return Poll::Ready(Err(self.tried.head_fault(broken)));
                }
                Poll::Ready(Ok(HeadKind::Final | HeadKind::Switched)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(HeadKind::Interim)) => self.response.clear(reactor),
            }
        }
    }
}
