//! The second wire's driver: one task for each downstream connection, which moves its bytes, and one for each exchange on
//! it. What a multiplexed protocol needs is here and in `mux`; nothing else in this folder knows of it.

use super::connection::{ChainSlot, Connection, ConnectionDeadlines, Expired};
use super::exchange;
use super::h1::{self, FLUSH_TIME};
use super::manager::Hcm;
use crate::mux::Downstream;
use crate::mux::frames::{Driver, Key, Link, Role, Served};
use crate::mux::h1::Disposition;
use crate::net::Accepted;
use crate::ring::{Memory, Reactor, Timer};
use crate::router::{Deadlines, Fault};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

/// Serve a connection until it ends.
pub async fn serve(accepted: Accepted, slot: Rc<ChainSlot>) {
    let hcm = slot.current();
    let reactor = hcm.shard.reactor.clone();
    let connection = Rc::new(Connection::new(accepted, slot, &hcm));
    drop(hcm);
    let mut deadlines = ConnectionDeadlines::new(&reactor, connection.ends);
    let link = Link::new(&reactor, Role::Server, connection.arrival.protocol.streams() as u32);
    let serving = Serving { reactor, connection, link };
    let disposition = serving.run(&mut deadlines).await;
    h1::end(&serving.reactor, &serving.connection, &mut deadlines, disposition).await;
}

/// A connection and its exchanges. Dropped, the connection is over, and all exchanges hear of it.
struct Serving {
    reactor: Rc<Reactor>,
    connection: Rc<Connection>,
    link: Rc<Link>,
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.link.close();
    }
}

/// What a connection is doing, for its deadlines.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// The next request is awaited.
    Idle,
    /// Exchanges are under way, with deadlines of their own.
    Busy,
    /// Exchanges are over; this many bytes of their responses are not sent.
    Flushing(usize),
}

impl Serving {
    /// Move the connection's bytes until it is over, and say how it is to be closed.
    async fn run(&self, deadlines: &mut ConnectionDeadlines) -> Disposition {
        let mut driver = Driver::new(&self.link);
        let mut phase = None;
        poll_fn(|_| {
            let connection = &self.connection;
            if let Poll::Ready(over) = driver.poll(&connection.stream, |key| self.begin(key)) {
                connection.ended_by_peer.set(over.by_peer);
                connection.stats.downstream_cx_protocol_error.add(u64::from(over.is_violation));
                return Poll::Ready(Disposition::Abort);
            }
            if !self.link.is_leaving() {
                self.drain(deadlines);
            }
            if connection.is_asked() && !self.link.is_leaving() {
                connection.make_room();
                self.link.leave();
            }
            if let Some(disposition) = self.watch(deadlines, &mut phase) {
                return Poll::Ready(disposition);
            }
            match self.link.is_leaving() && self.link.is_quiet() {
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
                self.link.leave();
            }
            None => {}
        }
    }

    /// Keep the deadlines. `Some`: nothing moves any more.
    fn watch(&self, deadlines: &mut ConnectionDeadlines, phase: &mut Option<Phase>) -> Option<Disposition> {
        let (now, stats) = (self.reactor.now(), &self.connection.stats);
        let next = match (self.link.exchanges(), self.link.is_quiet()) {
            (0, true) => Phase::Idle,
            (0, false) => Phase::Flushing(self.link.queued() + self.connection.stream.unsent()),
            _ => Phase::Busy,
        };
        if *phase != Some(next) {
            *phase = Some(next);
            match next {
                Phase::Idle if !self.link.is_leaving() => self.connection.waits(),
                _ => self.connection.works(),
            }
            deadlines.start_waiting(
                now,
                match next {
                    Phase::Idle => self.patience(),
                    Phase::Busy => None,
                    Phase::Flushing(_) => Some(FLUSH_TIME),
                },
            );
        }
        match deadlines.expired(now)? {
            Expired::Age => {
                stats.downstream_cx_max_duration_reached.inc();
                deadlines.start_closing(now, FLUSH_TIME);
                *phase = None;
                self.link.leave();
            }
            Expired::Idle if next == Phase::Idle && !self.link.is_leaving() => {
                stats.downstream_cx_idle_timeout.inc();
                self.link.leave();
            }
            Expired::Idle | Expired::Look => return Some(Disposition::Reset),
        }
        // What was just said has to be sent.
        self.reactor.wake(self.reactor.current_task());
        None
    }

    /// How long the next request is awaited.
    fn patience(&self) -> Option<std::time::Duration> {
        let hcm = self.connection.slot.current();
        let timeouts = &hcm.config.timeouts;
        let is_new = self.connection.requests() == 0;
        if is_new { timeouts.request_headers.or(timeouts.idle) } else { timeouts.idle }
    }

    /// A request's head has come: its exchange begins, in a task of its own.
    fn begin(&self, key: Key) {
        let hcm = self.connection.slot.current();
        let active = Active::new(&self.connection);
        if hcm.config.limits.max_requests_per_connection.is_some_and(|max| self.connection.requests() >= max)
            && !self.link.is_leaving()
        {
            hcm.stats.downstream_cx_max_requests_reached.inc();
            self.link.leave();
        }
        let served = Served::new(&self.link, key, &hcm.codec_limits, hcm.config.limits.enable_trailers);
        let task = self.reactor.spawn_pooled(|| run_exchange(hcm, active, served));
        self.link.set_task(key, task);
    }
}

/// An exchange's place on its connection.
struct Active(Rc<Connection>);

impl Active {
    fn new(connection: &Rc<Connection>) -> Self {
        connection.begin();
        Self(connection.clone())
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// The task of one exchange.
async fn run_exchange(hcm: Rc<Hcm>, active: Active, served: Served) {
    let reactor = &hcm.shard.reactor;
    let mut state = hcm.shard.take_exchange();
    let memory = Memory::of(&*state);
    let run = reactor.pooled(|| one(&hcm, &active.0, &mut state, served));
    reactor.works_in([run.memory(), memory]);
    run.await;
    hcm.shard.give_exchange(state);
}

/// One exchange, whose head has come.
async fn one(hcm: &Rc<Hcm>, connection: &Connection, exchange: &mut crate::http::Exchange, mut served: Served) {
    let mut deadlines = Deadlines::new(&Rc::new(Timer::new(&hcm.shard.reactor)));
    let active = exchange::begin(hcm, exchange, &mut deadlines);
    let head = served.read_request(&mut exchange.request).map_err(Fault::of_request_head);
    let mut downstream = Downstream::Frames(served);
    // That a connection ends is told by GOAWAY, and by no response.
    let whole = exchange::run(hcm, connection, exchange, &mut downstream, &mut deadlines, head).await;
    drop(active);
    downstream.close(whole);
}
