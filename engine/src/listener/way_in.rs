//! A connection's task: its way in, and then its service.
//!
//! ```text
//! accepted ── listener filters ── choice of the chain ── its TLS's handshake ── network filters: served to its end
//!    │             │  at most 15 s        │ none matches     │ handshake_timeout
//!    └─────────────┴── drain, refused ────┴──────────────────┴──> closed
//! ```
//!
//! A connection that turns out to speak HTTP/2, by its first message in TLS or by its first bytes without, may go over to
//! another shard before anything is said on it, and is forgotten here.
//!
//! What the way in needs is not kept: a connection that is served is as small as if it had none.

use super::log::ConnectionLog;
use super::{ChainTls, Listener, Served};
use crate::base::clock::{Nanos, nanos};
use crate::net::{
    Accepted, Before, ByteStream, Candidate, Drain, Ending, FirstBytes, Noted, Permits, Placed, Registration, Seat,
    Served as Ended, Transport, tls,
};
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
pub(super) fn way_in<S, F>(
    reactor: &Rc<Reactor>,
    listener: &Rc<Listener>,
    accepted: Accepted,
    permits: Option<Permits>,
    log: Option<Box<ConnectionLog>>,
    serve: fn(NetworkFilter, Accepted) -> S,
) -> impl Future<Output = ()> + use<S, F>
where
    S: Future<Output = Ended<F>>,
    F: Future<Output = ()> + 'static,
{
    let start = Start { listener: listener.clone(), accepted, permits, enter, serve };
    let life = Life {
        stats: listener.stats.clone(),
        opened: start.accepted.arrival.opened,
        reactor: reactor.clone(),
        stage: Stage::Accepted,
        registration: None,
        log,
    };
    WayIn { phase: Phase::Arrived { start: Some(start) }, life: Some(life) }
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
        // Dropped last. Gone where the connection goes on as `GoesOn`.
        life: Option<Life>,
    }
}

pin_project! {
    // What a connection is that needs nothing of its way in any more, and serves itself in another way than it began.
    struct GoesOn<F> {
        #[pin]
        serving: F,
        // Dropped last.
        life: Life,
    }
}

impl<F: Future<Output = ()>> Future for GoesOn<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let this = self.project();
        ready!(this.serving.poll(context));
        this.life.is_over();
        Poll::Ready(())
    }
}

pin_project! {
    #[project = PhaseProjected]
    enum Phase<I, S>
    where
        I: Future,
    {
        Arrived { start: Option<Start<I, S>> },
        Entering { #[pin] entering: Pooled<I>, serve: fn(NetworkFilter, Accepted) -> S },
        Serving { #[pin] serving: S },
    }
}

/// What a connection begins with, and how its phases are made.
struct Start<I, S> {
    listener: Rc<Listener>,
    accepted: Accepted,
    permits: Option<Permits>,
    enter: fn(Rc<Reactor>, Rc<Listener>, Accepted) -> I,
    serve: fn(NetworkFilter, Accepted) -> S,
}

impl<I, S, F> Future for WayIn<I, S>
where
    I: Future<Output = Option<(NetworkFilter, Accepted)>>,
    S: Future<Output = Ended<F>>,
    F: Future<Output = ()> + 'static,
{
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        loop {
            let mut this = self.as_mut().project();
            if this.life.is_none() {
                return Poll::Ready(());
            }
            // Nearly all polls are of this phase. The others are apart, since they need a larger frame.
            if let PhaseProjected::Serving { serving } = this.phase.as_mut().project() {
                let ended = ready!(serving.poll(context));
                end(this.life, ended);
                return Poll::Ready(());
            }
            if !ready!(self.as_mut().poll_begin(context)) {
                return Poll::Ready(());
            }
        }
    }
}

/// What is left to do for a connection that is served here no longer.
#[inline(never)]
fn end<F: Future<Output = ()> + 'static>(life: &mut Option<Life>, ended: Ended<F>) {
    match (ended, life.as_mut()) {
        (Ended::Elsewhere, Some(life)) => {
            life.advance(Stage::Accepted);
            life.log.iter().for_each(|log| log.notes.has_gone.set(true));
        }
        (Ended::Over, Some(life)) => life.is_over(),
        (Ended::GoesOn(serving), _) => {
            if let Some(life) = life.take() {
                life.reactor.clone().go_on_as(GoesOn { serving, life });
            }
        }
        (_, None) => {}
    }
}

impl<I, S> WayIn<I, S>
where
    I: Future<Output = Option<(NetworkFilter, Accepted)>>,
    S: Future,
{
    /// Go on to the next phase. `false`: the connection is refused, or came to nothing.
    #[inline(never)]
    fn poll_begin(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<bool> {
        let mut this = self.project();
        let Some(life) = this.life.as_mut() else { return Poll::Ready(false) };
        let (filter, accepted, serve) = match this.phase.as_mut().project() {
            PhaseProjected::Serving { .. } => return Poll::Ready(true),
            PhaseProjected::Entering { entering, serve } => match ready!(entering.poll(context)) {
                Some((filter, accepted)) => (filter, accepted, *serve),
                None => return Poll::Ready(false),
            },
            PhaseProjected::Arrived { start } => {
                let Some(Start { listener, mut accepted, permits, enter, serve }) = start.take() else {
                    return Poll::Ready(false);
                };
                let registration = accepted.drain.register(&life.reactor, permits);
                accepted.seat = registration.seat();
                life.registration = Some(registration);
                let is_inspected = listener.filters.borrow().is_empty() || accepted.placed.is_some();
                let notes = accepted.stream.notes();
                let served = if is_inspected { listener.choose(&accepted.arrival, notes) } else { None };
                match served {
                    Some(Served { tls: None, filter }) => (filter, accepted, serve),
                    // There is more to do first, or nothing at all.
                    _ => {
                        life.advance(Stage::Entering);
                        let reactor = &life.reactor;
                        let entering = reactor.pooled(|| enter(reactor.clone(), listener, accepted));
                        this.phase.set(Phase::Entering { entering, serve });
                        return Poll::Ready(true);
                    }
                }
            }
        };
        life.advance(Stage::Served);
        this.phase.set(Phase::Serving { serving: serve(filter, accepted) });
        Poll::Ready(true)
    }
}

/// Let the listener filters see the connection, choose its chain, and speak its TLS. `None`: it is refused, or came to
/// nothing.
async fn enter(
    reactor: Rc<Reactor>,
    listener: Rc<Listener>,
    mut accepted: Accepted,
) -> Option<(NetworkFilter, Accepted)> {
    let watch = Watch::new(&reactor, &listener, &accepted);
    // Those of a connection that another shard has accepted have seen it there.
    if accepted.placed.is_none() && !is_passed(&watch, &mut accepted).await {
        return None;
    }
    let Some(Served { tls, filter }) = listener.choose(&accepted.arrival, accepted.stream.notes()) else {
        listener.stats.no_filter_chain_match.inc();
        tracing::debug!(
            target: "ringway::listener",
            listener = %listener.binding.address,
            remote = accepted.arrival.remote.map(display),
            server_name = accepted.arrival.server_name(),
            "no filter chain is for this connection"
        );
        accepted.stream.ends(Ending::NoChain);
        listener.refuse(accepted, &reactor).await;
        return None;
    };
    let Some(tls) = tls else {
        // What a handshake that is not made here asks for, and from what program, goes into logs; other bytes have nothing to say any
        // more.
        if accepted.arrival.server_name().is_none() && accepted.arrival.fingerprints().is_none() {
            accepted.arrival.first = None;
        }
        return Some((filter, accepted));
    };
    let accepted = secure(&watch, &tls, &filter, accepted).await?;
    Some((filter, accepted))
}

/// Let the listener filters see the connection. `false`: it is of no further use, for a reason that is noted.
async fn is_passed(watch: &Watch<'_>, accepted: &mut Accepted) -> bool {
    let (reactor, listener) = (watch.reactor, watch.listener);
    let filters = listener.filters.borrow().clone();
    if filters.is_empty() {
        return true;
    }
    let inspected = watch.within(FILTERS_TIMEOUT, reactor.now(), async {
        for filter in &*filters {
            filter.run(accepted, reactor).await?;
        }
        Ok(())
    });
    let ending = match inspected.await {
        Watched::Done(Ok(())) => return true,
        Watched::Done(Err(ending)) | Watched::Ended(ending) => ending,
        Watched::Late => {
            listener.stats.downstream_pre_cx_timeout.inc();
            Ending::FiltersTimeout
        }
    };
    if let Some(notes) = accepted.stream.notes() {
        notes.ends(ending);
        match ending {
            Ending::Hello(error) => notes.fails(tls::Failure::Hello(error)),
            Ending::FiltersTimeout => notes.fails(tls::Failure::NoHello),
            _ => {}
        }
    }
    false
}

/// Speak the chain's TLS. `None`: that has come to nothing, or the connection is served elsewhere.
async fn secure(watch: &Watch<'_>, tls: &ChainTls, filter: &NetworkFilter, accepted: Accepted) -> Option<Accepted> {
    let (reactor, listener) = (watch.reactor, watch.listener);
    let Accepted { stream, mut arrival, listener_stats, drain, seat, mut placed } = accepted;
    let notes = stream.notes().cloned();
    let server = tls.server.get();
    let since = placed.as_ref().and_then(|placed| placed.before.handshake_since).unwrap_or(reactor.now());
    let mut fingerprints = None;
    let accepting = async {
        let greeted = tls::greet(stream, &server, &arrival, listener.fingerprints.get(), reactor).await?;
        fingerprints = greeted.fingerprints().cloned();
        if placed.is_none() && filter.speaks_http2(greeted.application_protocol()) {
            let before = Before { handshake_since: Some(since), counted_since: None };
            let (stream, received) = (greeted.stream(), greeted.received());
            let candidate = Candidate { stream, arrival: &arrival, drain: &drain, seat, received, before };
            let Some(place) = candidate.settle().await else {
                notes.iter().for_each(|notes| notes.has_gone.set(true));
                return Ok(None);
            };
            placed = Some(Placed::here(place));
        }
        greeted.answer(&listener.handshakes, reactor).await.map(Some)
    };
    let handshake = match watch.within(server.handshake_timeout, since, accepting).await {
        Watched::Done(handshake) => handshake.transpose()?,
        Watched::Ended(ending) => {
            notes.iter().for_each(|notes| notes.ends(ending));
            return None;
        }
        Watched::Late => {
            listener.stats.downstream_cx_transport_socket_connect_timeout.inc();
            Err(tls::Failure::Timeout)
        }
    };
    let outcome = handshake.as_ref().map(|stream| stream.facts());
    tls::count(&tls.stats.cells(), outcome);
    tls::count_staple(&tls.stats, outcome);
    match handshake {
        Ok(mut stream) => {
            stream.count_in(tls::Counted::Listener(tls.stats.clone()));
            arrival.transport = Transport::Tls;
            arrival.first = FirstBytes::behind_handshake(fingerprints);
            notes.iter().for_each(|notes| notes.agrees(&stream));
            let stream = Noted::new(ByteStream::Tls(stream), notes);
            Some(Accepted { stream, arrival, listener_stats, drain, seat, placed })
        }
        Err(failure) => {
            tracing::debug!(target: "ringway::listener", listener = %listener.binding.address, remote = arrival.remote.map(display), server_name = arrival.server_name(), %failure, "no TLS");
            if let Some(notes) = notes {
                notes.ends(match &failure {
                    tls::Failure::Ended | tls::Failure::Reset => Ending::RemoteDisconnect,
                    tls::Failure::Timeout => Ending::HandshakeTimeout,
                    _ => Ending::Handshake,
                });
                notes.fails(failure);
            }
            None
        }
    }
}

/// What may end a connection while it is on its way in.
struct Watch<'a> {
    reactor: &'a Rc<Reactor>,
    listener: &'a Listener,
    timer: Timer,
    ending: Timer,
    drain: Rc<Drain>,
    seat: Seat,
    opened: Nanos,
}

enum Watched<T> {
    Done(T),
    /// It took too long.
    Late,
    /// The listener drains, or the place is needed.
    Ended(Ending),
}

impl<'a> Watch<'a> {
    fn new(reactor: &'a Rc<Reactor>, listener: &'a Listener, accepted: &Accepted) -> Self {
        let (timer, ending) = (Timer::new(reactor), Timer::new(reactor));
        let (drain, seat, opened) = (accepted.drain.clone(), accepted.seat, reactor.now());
        Self { reactor, listener, timer, ending, drain, seat, opened }
    }

    /// What `work`, which has begun at `since`, comes to, if it takes no longer than `time`.
    async fn within<T>(&self, time: Duration, since: Nanos, work: impl Future<Output = T>) -> Watched<T> {
        self.timer.arm_at(since + nanos(time));
        let mut work = pin!(work);
        poll_fn(|context| {
            if let Poll::Ready(done) = work.as_mut().poll(context) {
                return Poll::Ready(Watched::Done(done));
            }
            // A connection that is new when a drain begins has some time left for its first request.
            let end = self.drain.ends_waiting(self.opened);
            if self.timer.fired() {
                Poll::Ready(Watched::Late)
            } else if end.is_some_and(|end| end <= self.reactor.now()) {
                Poll::Ready(Watched::Ended(Ending::Drain))
            } else if self.drain.is_asked(self.seat) {
                self.listener.stats.downstream_cx_evicted.inc();
                self.drain.give_up(self.seat);
                Poll::Ready(Watched::Ended(Ending::Evicted))
            } else {
                end.inspect(|end| self.ending.arm_at(*end));
                Poll::Pending
            }
        })
        .await
    }
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Accepted,
    /// It is with the listener filters, or in the handshake.
    Entering,
    Served,
}

/// A connection's place in the listener's statistics and limits, for as long as it lives.
struct Life {
    stats: Arc<ListenerStats>,
    opened: u64,
    reactor: Rc<Reactor>,
    stage: Stage,
    registration: Option<Registration>,
    /// Where the listener has logs. Dropped when all else is.
    log: Option<Box<ConnectionLog>>,
}

impl Life {
    /// The connection has been served to its end.
    fn is_over(&self) {
        self.log.iter().for_each(|log| log.notes.ends(Ending::Local));
    }

    fn advance(&mut self, stage: Stage) {
        self.leave();
        match stage {
            Stage::Accepted => {}
            Stage::Entering => self.stats.downstream_pre_cx_active.inc(),
            Stage::Served => self.stats.downstream_cx_active.inc(),
        }
        self.stage = stage;
    }

    /// The gauges forget the stage.
    fn leave(&self) {
        match self.stage {
            Stage::Accepted => {}
            Stage::Entering => self.stats.downstream_pre_cx_active.dec(),
            Stage::Served => self.stats.downstream_cx_active.dec(),
        }
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        self.leave();
        if self.stage == Stage::Served {
            self.stats.downstream_cx_destroy.inc();
            self.stats.downstream_cx_length_ms.record(self.reactor.now().saturating_sub(self.opened) / 1000);
        }
    }
}
