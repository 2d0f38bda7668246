//! Hedging: tries whose time is over and that may still answer, while others are under way (Envoy: HedgePolicy).

use super::Fault;
use super::attempt::fault;
use super::forward::{Forwarding, Response};
use crate::base::clock::Nanos;
use crate::http::{Exchange, HeadView, Method, ResponseHead};
use crate::net::HeadBytes;
use crate::ring::Reactor;
use crate::upstream::UpstreamHead;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::rc::Rc;
use std::task::Poll;

/// Tries beside the present one.
#[derive(Default)]
pub(super) struct Hedged<'a> {
    /// Boxed: they are large, and handed around.
    #[allow(clippy::vec_box)]
    tries: Vec<Box<Hedge<'a>>>,
}

/// One of them, with its own response and what the exchange is to say of it.
pub(super) struct Hedge<'a> {
    response: Response<'a>,
    method: Method,
    head: ResponseHead,
    bytes: HeadBytes,
    endpoint: Option<Rc<str>>,
    endpoint_hostname: Option<Rc<str>>,
    upstream_start: Nanos,
    upstream_end: Option<Nanos>,
    head_sent: u64,
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
    pub(super) fn push(&mut self, response: Response<'a>, exchange: &mut Exchange) {
        self.tries.push(Box::new(Hedge {
            response,
            method: exchange.request.method,
            head: std::mem::take(&mut exchange.response),
            bytes: std::mem::take(&mut exchange.response_bytes),
            endpoint: exchange.endpoint.clone(),
            endpoint_hostname: exchange.endpoint_hostname.clone(),
            upstream_start: exchange.times.upstream_start,
            upstream_end: exchange.times.upstream_end,
            head_sent: exchange.wire.upstream_head_sent,
        }));
    }

    /// Drive `next` until it ends or one of these tries has a good response.
    pub(super) async fn race(
        &mut self,
        forwarding: &Forwarding<'_>,
        mut next: Pin<&mut impl Future<Output = Result<(), Fault>>>,
    ) -> Raced<'a> {
        poll_fn(|context| {
            if !self.tries.is_empty()
                && let Ok(Some(hedge)) = self.poll(forwarding, true)
            {
                return Poll::Ready(Raced::Hedged(hedge));
            }
            next.as_mut().poll(context).map(Raced::Next)
        })
        .await
    }

    /// Wait for these tries alone.
    ///
    /// # Errors
    /// What `interrupted` says; `last`, or how the last of them failed, when none is left.
    pub(super) async fn wait(
        &mut self,
        forwarding: &Forwarding<'_>,
        mut last: Fault,
        mut interrupted: impl FnMut() -> Option<Fault>,
    ) -> Result<Box<Hedge<'a>>, Fault> {
        poll_fn(|_| {
            match self.poll(forwarding, false) {
                Ok(Some(hedge)) => return Poll::Ready(Ok(hedge)),
                Ok(None) => {}
                Err(fault) => last = fault,
            }
            if self.tries.is_empty() {
                return Poll::Ready(Err(last));
            }
            interrupted().map_or(Poll::Pending, |fault| {
                self.fail(fault);
                Poll::Ready(Err(fault))
            })
        })
        .await
    }

    /// None of these tries can end well any more.
    pub(super) fn fail(&mut self, fault: Fault) {
        self.tries.drain(..).for_each(|hedge| hedge.response.fail(fault));
    }

    /// Make a try's response that of the exchange. The other tries are given up.
    pub(super) fn adopt(&mut self, hedge: Box<Hedge<'a>>, exchange: &mut Exchange, reactor: &Reactor) -> Response<'a> {
        self.tries.clear();
        let hedge = *hedge;
        exchange.to_upstream.clear();
        exchange.clear_response(reactor);
        exchange.response = hedge.head;
        exchange.response_bytes = hedge.bytes;
        exchange.has_response = true;
        exchange.endpoint = hedge.endpoint;
        exchange.endpoint_hostname = hedge.endpoint_hostname;
        hedge.response.attempt.note_connection(exchange);
        exchange.times.upstream_start = hedge.upstream_start;
        exchange.times.upstream_end = hedge.upstream_end;
        exchange.times.response_start = Some(reactor.now());
        exchange.wire.upstream_head_sent = hedge.head_sent;
        hedge.response
    }

    /// The first try with a response for the client. A response that asks for another try is dropped as long as `others`
    /// or one of these may still have a better one. `Err`: the last failure, where one was seen.
    fn poll(&mut self, forwarding: &Forwarding<'_>, others: bool) -> Result<Option<Box<Hedge<'a>>>, Fault> {
        let mut at = 0;
        let mut failed = None;
        while at < self.tries.len() {
            match self.tries[at].poll_head(forwarding) {
                Poll::Pending => at += 1,
                Poll::Ready(Ok(())) => {
                    let hedge = self.tries.swap_remove(at);
                    hedge.response.responded(&hedge.head);
                    let view = HeadView::new(hedge.bytes.as_slice());
                    let is_bad = forwarding.policy.retries_response(&hedge.head, view);
                    if !is_bad || !others && self.tries.is_empty() {
                        return Ok(Some(hedge));
                    }
                }
                Poll::Ready(Err(fault)) => {
                    self.tries.swap_remove(at).response.fail(fault);
                    failed = Some(fault);
                }
            }
        }
        failed.map_or(Ok(None), Err)
    }
}

impl Hedge<'_> {
    /// Interim responses are not passed on: the client hears of one try only.
    fn poll_head(&mut self, forwarding: &Forwarding<'_>) -> Poll<Result<(), Fault>> {
        let upstream = &mut self.response.attempt.upstream;
        loop {
            let limits = forwarding.codec_limits;
            match upstream.poll_head(self.method, limits, &mut self.bytes, &mut self.head, forwarding.reactor) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(fault(&error, upstream.started))),
                Poll::Ready(Ok(UpstreamHead::Final)) => return Poll::Ready(Ok(())),
                Poll::Ready(Ok(UpstreamHead::Interim)) => {
                    self.head.clear();
                    self.bytes.clear(forwarding.reactor);
                }
            }
        }
    }
}
