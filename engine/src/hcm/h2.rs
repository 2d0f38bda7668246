//! The HTTP/2 driver: one task for each downstream connection, which moves its bytes, and one for each exchange on it.

use super::connection::{Connection, ConnectionDeadlines, Expired};
use super::exchange;
use super::h1::{self, FLUSH_TIME};
use super::manager::Hcm;
use crate::base::clock::Nanos;
use crate::http::Exchange;
use crate::mux::h1::Disposition;
use crate::mux::h2::{Driver, Key, Leaving, Link, Pulse, Role, Served};
use crate::mux::{Broken, Downstream};
use crate::net::{Carrying, Ending, Place, Protocol, Stall};
use crate::ring::{Buf, Memory, Reactor};
use crate::router::{Deadlines, Fault};
use crate::stats::Http2Stats;
use std::cell::Cell;
use std::future::poll_fn;
use std::ops::Deref;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// After this time without exchanges a connection rests: it counts for less, and gives back what it has gathered of frames.
const REST_TIME: Duration = Duration::from_secs(1);

/// A client that does not say that it knows of the connection's end is taken to know it after this time.
const LEAVE_TIME: Duration = Duration::from_secs(1);

/// Serve a connection, of which `first` has come, until it ends. Not an async function: its future would hold what it is given
/// next to what becomes of that.
pub(super) fn serve(
    connection: Rc<Connection>,
    mut deadlines: ConnectionDeadlines,
    first: Buf,
    place: Place,
) -> impl Future<Output = ()> {
    connection.speaks(Protocol::Http2);
    connection.works();
    deadlines.start_shared(&connection);
    let hcm = connection.slot.current();
    let reactor = hcm.shard.reactor.clone();
    let stats = Http2Stats::Clients(hcm.stats.clone());
    let link = Link::new(&reactor, Role::Server, &hcm.config.http2, &hcm.codec_limits, stats);
    drop(hcm);
    let connection = Rc::new(Shared { connection, carrying: Carrying::new(place, reactor.now()) });
    let serving = Serving { reactor, connection, link, will_rest: Cell::new(false) };
    async move {
        let disposition = serving.run(&mut deadlines, first).await;
        let Serving { reactor, connection, .. } = &serving;
        connection.works();
        reactor.pooled(|| h1::end(reactor, connection, &mut deadlines, disposition)).await;
    }
}

/// What all exchanges of a connection share.
struct Shared {
    connection: Rc<Connection>,
    /// What it is for the shard's load.
    carrying: Carrying,
}

impl Deref for Shared {
    type Target = Connection;

    fn deref(&self) -> &Connection {
        &self.connection
    }
}

/// A connection and its exchanges. Dropped, the connection is over, and all exchanges hear of it.
struct Serving {
    reactor: Rc<Reactor>,
    connection: Rc<Shared>,
    link: Rc<Link>,
    /// It is idle, and does not rest yet.
    will_rest: Cell<bool>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Exchanges that are still there keep the connection for a moment, in which it has nothing more to tell.
        self.connection.note_service();
        self.link.close();
    }
}

/// What a connection is doing, for its deadlines.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The next request is awaited, since this moment whatever else comes; a part of one may have come.
    Idle { since: Nanos, is_within: bool },
    /// Exchanges are under way, with deadlines of their own.
    Busy,
    /// Exchanges are over; this many bytes of their responses are not sent.
    Flushing(usize),
    /// The client is to learn that the connection ends.
    Leaving,
}

impl Serving {
    /// Move the connection's bytes until it is over, and say how it is to be closed.
    async fn run(&self, deadlines: &mut ConnectionDeadlines, first: Buf) -> Disposition {
        let mut driver = Driver::new(&self.link, Some(first));
        let keepalive = self.connection.slot.current().config.http2.keepalive;
        let mut pulse = keepalive.interval.map(|_| Box::new(Pulse::new(&self.reactor, &keepalive)));
        let mut phase = None;
        poll_fn(|_| {
            let connection = &self.connection;
            if let Poll::Ready(over) = driver.poll(&connection.stream, |key| self.begin(key)) {
                connection.ended_by_peer.set(over.by_peer);
                let Some(error) = over.error else { return Poll::Ready(Disposition::Abort) };
                connection.stats.downstream_cx_protocol_error.inc();
                connection.note(Ending::ProtocolError);
                tracing::debug!(
                    target: "ringway::http",
                    connection = connection.arrival.id,
                    code = %error.code,
                    reason = error.reason,
                    "an HTTP/2 connection ends by an error"
                );
                // It has to learn of it.
                return Poll::Ready(Disposition::Linger);
            }
            if pulse.as_mut().is_some_and(|pulse| pulse.poll(&self.link).is_ready()) {
                connection.stats.http2_keepalive_timeout.inc();
                connection.note(Ending::KeepaliveTimeout);
                return Poll::Ready(Disposition::Reset);
            }
            if self.link.leaving() == Leaving::No {
                self.drain(deadlines);
            }
            if connection.is_asked() && self.link.leaving() == Leaving::No {
                connection.make_room();
                self.link.leave();
            }
            if let Some(disposition) = self.watch(&mut driver, deadlines, &mut phase) {
                return Poll::Ready(disposition);
            }
            match self.link.leaving() == Leaving::Final && self.link.is_quiet() {
                true => Poll::Ready(Disposition::Linger),
                false => Poll::Pending,
            }
        })
        .await
    }

    /// Say that the connection ends, if it drains: at once after its first request, because a client knows what becomes of
    /// requests that are on their way then.
    fn drain(&self, deadlines: &mut ConnectionDeadlines) {
        let connection = &self.connection;
        match connection.drain.ends_waiting(connection.waits_since()) {
            Some(end) if end > self.reactor.now() && connection.requests() == 0 => deadlines.wait_until(end),
            Some(_) => {
                connection.stats.downstream_cx_drain_close.inc();
                connection.note(Ending::Drain);
                self.link.leave();
            }
            None => {}
        }
    }

    /// Keep the deadlines. `Some`: nothing moves any more.
    fn watch(
        &self,
        driver: &mut Driver,
        deadlines: &mut ConnectionDeadlines,
        phase: &mut Option<Phase>,
    ) -> Option<Disposition> {
        let (now, stats) = (self.reactor.now(), &self.connection.stats);
        let next = match (self.link.leaving(), self.link.exchanges(), self.link.is_quiet()) {
            (Leaving::Announced, _, _) => Phase::Leaving,
            (_, 0, true) => {
                let since = if let Some(Phase::Idle { since, .. }) = *phase { since } else { now };
                Phase::Idle { since, is_within: driver.is_within() }
            }
            (_, 0, false) => Phase::Flushing(self.link.queued() + self.connection.stream.unsent()),
            _ => Phase::Busy,
        };
        if *phase != Some(next) {
            match (next, phase.replace(next)) {
                (Phase::Idle { .. }, Some(Phase::Idle { .. })) => {}
                (Phase::Idle { .. }, _) => self.connection.waits(),
                _ => self.connection.works(),
            }
            self.will_rest.set(matches!(next, Phase::Idle { is_within: false, .. }));
            let (since, patience) = match next {
                Phase::Idle { since, is_within: false } => {
                    (since, Some(self.patience(false).map_or(REST_TIME, |patience| patience.min(REST_TIME))))
                }
                Phase::Idle { is_within: true, .. } => (now, self.patience(true)),
                Phase::Busy => (now, None),
                Phase::Flushing(_) => (now, Some(FLUSH_TIME)),
                Phase::Leaving => (now, Some(LEAVE_TIME)),
            };
            deadlines.start_waiting(since, patience);
        }
        match deadlines.expired(now)? {
            Expired::Age => {
                stats.downstream_cx_max_duration_reached.inc();
                self.connection.note(Ending::MaxDuration);
                deadlines.start_closing(now, FLUSH_TIME);
                *phase = None;
                self.link.leave();
            }
            Expired::Idle if self.will_rest.take() => {
                driver.shrink();
                self.connection.carrying.rest();
                if let Phase::Idle { since, .. } = next {
                    deadlines.start_waiting(since, self.patience(false));
                }
            }
            Expired::Idle if next == Phase::Leaving => self.link.leave_finally(),
            Expired::Idle if matches!(next, Phase::Idle { .. }) => {
                stats.downstream_cx_idle_timeout.inc();
                self.connection.note(Ending::IdleTimeout);
                self.link.leave();
            }
            Expired::Idle | Expired::Look => {
                self.connection.note(Ending::SendTimeout);
                return Some(Disposition::Reset);
            }
        }
        // What was just said has to be sent, and other deadlines may be nearer.
        self.reactor.wake(self.reactor.current_task());
        None
    }

    /// How long the next request is awaited; `is_within`: how long the rest of what has begun to come.
    fn patience(&self, is_within: bool) -> Option<Duration> {
        let hcm = self.connection.slot.current();
        let timeouts = &hcm.config.timeouts;
        if is_within { timeouts.request_headers.or(timeouts.idle) } else { timeouts.idle }
    }

    /// A request's head has come: its exchange begins, in a task of its own.
    fn begin(&self, key: Key) {
        let hcm = self.connection.slot.current();
        let active = Active::new(&self.connection);
        if hcm.config.limits.max_requests_per_connection.is_some_and(|max| self.connection.requests() >= max)
            && self.link.leaving() == Leaving::No
        {
            hcm.stats.downstream_cx_max_requests_reached.inc();
            self.connection.note(Ending::MaxRequests);
            self.link.leave();
        }
        let mut state = hcm.shard.take_exchange();
        let mut served = Served::new(&self.link, key, &hcm.codec_limits);
        // At once, while what was decoded is near and not behind all other heads that have come with it.
        let head = served.read_request(&mut state.request);
        let task = self.reactor.spawn_pooled(|| run_exchange(hcm, active, state, Downstream::H2(served), head));
        self.link.set_task(key, task);
    }
}

/// An exchange's place on its connection.
struct Active(Rc<Shared>);

impl Active {
    fn new(connection: &Rc<Shared>) -> Self {
        connection.carrying.begin(connection.active(), connection.now());
        connection.begin();
        Self(connection.clone())
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.end();
        self.0.carrying.end(self.0.active(), self.0.now());
    }
}

/// The task of one exchange, whose head has come and is in `state`, or breaks a rule. Not an async function, as `serve` is not.
fn run_exchange(
    hcm: Rc<Hcm>,
    active: Active,
    mut state: Box<Exchange>,
    mut downstream: Downstream<'static>,
    head: Result<(), Broken>,
) -> impl Future<Output = ()> {
    let timer = hcm.shard.take_timer();
    async move {
        let shard = &hcm.shard;
        shard.reactor.works_in([Memory::of(&*state), Memory::NONE]);
        let mut deadlines = Deadlines::new(timer);
        let request = exchange::begin(&hcm, &mut state, &mut deadlines);
        hcm.stats.downstream_rq_http2_total.inc();
        let stall = Stall::default();
        let head = head.and_then(|()| downstream.begin(&state.request)).map_err(Fault::of_request_head);
        // That a connection ends is told by GOAWAY, and by no response.
        let whole =
            exchange::run::<true>(&hcm, &active.0, &stall, &mut state, &mut downstream, &mut deadlines, head).await;
        drop(request);
        downstream.close(whole);
        shard.give_timer(deadlines.into_timer());
        shard.give_exchange(state);
    }
}
