//! A connection's task: its way in, and then its service.
//!
//! ```text
//! accepted ── listener filters ── choice of the chain ── network filters: served to its end
//!    │             │  at most 15 s        │ none matches
//!    └─────────────┴── drain, refused ────┴──> closed
//! ```
//!
//! What the way in needs is not kept: a connection that is served is as small as if it had none.

use super::Listener;
use crate::net::{Accepted, Permits, Registration};
use crate::network_filter::NetworkFilter;
use crate::ring::{Pooled, Reactor, Timer};
use crate::stats::ListenerStats;
use pin_project_lite::pin_project;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

/// For all listener filters together (Envoy: listener_filters_timeout).
const FILTERS_TIMEOUT: Duration = Duration::from_secs(15);

/// The task of a connection that was accepted, and that `serve` serves.
pub(super) fn way_in<S: Future<Output = ()>>(
    reactor: &Rc<Reactor>,
    listener: &Rc<Listener>,
    accepted: Accepted,
    permits: Option<Permits>,
    serve: fn(NetworkFilter, Accepted) -> S,
) -> impl Future<Output = ()> + use<S> {
    let start = Start { listener: listener.clone(), accepted, inspect, serve };
    let life = Life {
        stats: listener.stats.clone(),
        opened: reactor.now(),
        reactor: reactor.clone(),
        stage: Stage::Accepted,
        registration: None,
        permits,
    };
    WayIn { phase: Phase::Arrived { start: Some(start) }, life }
}

pin_project! {
    // Not an async block: that would keep room for all phases next to each other, and an idle connection is little else
    // than this.
    struct WayIn<I, S>
    where
        I: Future,
    {
        #[pin]
        phase: Phase<I, S>,
        // Dropped last.
        life: Life,
    }
}

pin_project! {
    #[project = PhaseProjected]
    enum Phase<I, S>
    where
        I: Future,
    {
        Arrived { start: Option<Start<I, S>> },
        Inspecting { #[pin] inspecting: Pooled<I>, listener: Rc<Listener>, serve: fn(NetworkFilter, Accepted) -> S },
        Serving { #[pin] serving: S },
    }
}

/// What a connection begins with, and how its phases are made.
struct Start<I, S> {
    listener: Rc<Listener>,
    accepted: Accepted,
    inspect: fn(Rc<Reactor>, Rc<Listener>, Accepted) -> I,
    serve: fn(NetworkFilter, Accepted) -> S,
}

impl<I: Future<Output = Option<Accepted>>, S: Future<Output = ()>> Future for WayIn<I, S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        loop {
            let (listener, accepted, serve) = match this.phase.as_mut().project() {
                PhaseProjected::Serving { serving } => return serving.poll(context),
                PhaseProjected::Inspecting { inspecting, listener, serve } => match ready!(inspecting.poll(context)) {
                    Some(accepted) => (listener.clone(), accepted, *serve),
                    None => return Poll::Ready(()),
                },
                PhaseProjected::Arrived { start } => {
                    let Some(Start { listener, mut accepted, inspect, serve }) = start.take() else {
                        return Poll::Ready(());
                    };
                    let registration = accepted.drain.register(&this.life.reactor, this.life.permits.take());
                    accepted.seat = registration.seat();
                    this.life.registration = Some(registration);
                    if !listener.filters.borrow().is_empty() {
                        this.life.advance(Stage::Inspected);
                        let reactor = &this.life.reactor;
                        let inspecting = reactor.pooled(|| inspect(reactor.clone(), listener.clone(), accepted));
                        this.phase.set(Phase::Inspecting { inspecting, listener, serve });
                        continue;
                    }
                    (listener, accepted, serve)
                }
            };
            let Some(filter) = listener.choose(&accepted.arrival) else {
                listener.stats.no_filter_chain_match.inc();
                return Poll::Ready(());
            };
            this.life.advance(Stage::Served);
            this.phase.set(Phase::Serving { serving: serve(filter, accepted) });
        }
    }
}

/// Let the listener filters see the connection. `None`: it is refused, or came to nothing.
async fn inspect(reactor: Rc<Reactor>, listener: Rc<Listener>, mut accepted: Accepted) -> Option<Accepted> {
    let filters = listener.filters.borrow().clone();
    let timer = Timer::new(&reactor);
    timer.arm_in(FILTERS_TIMEOUT);
    let ending = Timer::new(&reactor);
    let (drain, seat, opened) = (accepted.drain.clone(), accepted.seat, reactor.now());
    let passed = {
        let mut inspecting = pin!(async {
            for filter in &*filters {
                if !filter.run(&mut accepted, &reactor).await {
                    return false;
                }
            }
            true
        });
        poll_fn(|context| {
            // A connection that is new when a drain begins has some time left for its first request.
            let end = drain.ends_new(opened);
            match inspecting.as_mut().poll(context) {
                Poll::Pending if timer.fired() => {
                    listener.stats.downstream_pre_cx_timeout.inc();
                    Poll::Ready(false)
                }
                Poll::Pending if end.is_some_and(|end| end <= reactor.now()) => Poll::Ready(false),
                Poll::Pending if drain.is_asked(seat) => {
                    listener.stats.downstream_cx_evicted.inc();
                    drain.give_up(seat);
                    Poll::Ready(false)
                }
                Poll::Pending => {
                    end.inspect(|end| ending.arm_at(*end));
                    Poll::Pending
                }
                polled => polled,
            }
        })
        .await
    };
    passed.then_some(accepted)
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Accepted,
    /// It is with the listener filters.
    Inspected,
    Served,
}

/// A connection's place in the listener's statistics and limits, for as long as it lives.
struct Life {
    stats: Arc<ListenerStats>,
    opened: u64,
    reactor: Rc<Reactor>,
    stage: Stage,
    registration: Option<Registration>,
    /// Until it is registered.
    permits: Option<Permits>,
}

impl Life {
    fn advance(&mut self, stage: Stage) {
        self.leave();
        match stage {
            Stage::Accepted => {}
            Stage::Inspected => self.stats.downstream_pre_cx_active.inc(),
            Stage::Served => self.stats.downstream_cx_active.inc(),
        }
        self.stage = stage;
    }

    /// The gauges forget the stage.
    fn leave(&self) {
        match self.stage {
            Stage::Accepted => {}
            Stage::Inspected => self.stats.downstream_pre_cx_active.dec(),
            Stage::Served => self.stats.downstream_cx_active.dec(),
        }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.leave();
        if self.stage == Stage::Served {
            self.stats.downstream_cx_destroy.inc();
            self.stats.downstream_cx_length_ms.record((self.reactor.now() - self.opened) / 1000);
        }
    }
}
