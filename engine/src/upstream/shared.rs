//! Connections that several exchanges share: the least loaded one gets the next exchange, up to as many as the protocol
//! allows, and each of them is driven by a task of its own until it ends.

use super::Work;
use super::connect::ConnectError;
use super::connection::Connection;
use super::lease::Lease;
use super::limits::{Lacking, Places, Priority};
use super::pool::Pool;
use crate::base::clock::{Nanos, nanos};
use crate::mux::Limits;
use crate::mux::Upstream;
use crate::mux::h2::{Asked, Driver, Leaving, Link, Over, Pulse, Role};
use crate::net::{ByteStream, Protocol};
use crate::ring::{Reactor, TaskId};
use crate::stats::Http2Stats;
use ringway_config::model::UpstreamProtocol;
use std::cell::Cell;
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::task::Poll;

/// What a server may send, whatever a listener takes of it: that is looked at for each exchange.
const LIMITS: Limits = Limits {
    head_bytes: 1 << 20,
    fields: Limits::FIELDS_MAX,
    target_bytes: 0,
    field_bytes: 1 << 20,
    chunk_extension_bytes: 0,
    trailer_bytes: 1 << 20,
};

/// A connection to which exchanges can be added.
pub(super) struct Shared {
    link: Rc<Link>,
    connection: Rc<Connection>,
    is_secure: bool,
    standing: Rc<Standing>,
    idle_since: Cell<Nanos>,
    driver: TaskId,
}

/// What its pool thinks of a connection.
#[derive(Default)]
struct Standing {
    /// It ends with its last exchange, and gets no other.
    is_retired: Cell<bool>,
    /// It was idle for long, and gets no exchange before the endpoint has shown that it is there.
    is_doubted: Cell<bool>,
    /// When the endpoint last did so.
    shown: Cell<Nanos>,
}

impl Shared {
    /// Take over a connection that stands.
    pub(super) fn new(pool: &Rc<Pool>, stream: ByteStream, connection: Rc<Connection>) -> Self {
        let reactor = &pool.reactor;
        let link =
            Link::new(reactor, Role::Client, &pool.options.http2, &LIMITS, Http2Stats::Endpoints(pool.stats.clone()));
        if let Some(streams_max) = pool.learned_streams.get() {
            link.expect_streams_max(streams_max);
        }
        if pool.options.protocol == UpstreamProtocol::Auto {
            link.allow_http1();
        }
        let standing = Rc::<Standing>::default();
        let is_secure = stream.tls().is_some();
        let driving = Driving {
            pool: Rc::downgrade(pool),
            link: link.clone(),
            stream,
            connection: connection.clone(),
            standing: standing.clone(),
            by_peer: false,
        };
        let driver = reactor.spawn(drive(driving));
        Self { link, connection, is_secure, standing, idle_since: Cell::new(reactor.now()), driver }
    }

    fn has_room(&self) -> bool {
        !self.standing.is_retired.get()
            && !self.standing.is_doubted.get()
            && self.link.has_room(self.connection.active.get())
    }

    fn is_idle(&self) -> bool {
        self.connection.active.get() == 0
    }

    pub(super) fn is_idle_since(&self, oldest: Nanos) -> bool {
        self.is_idle() && self.idle_since.get() <= oldest
    }

    /// Whether the endpoint may be gone without anything having come of that.
    fn is_stale(&self, oldest: Option<Nanos>) -> bool {
        oldest.is_some_and(|oldest| self.is_idle_since(oldest) && self.standing.shown.get() <= oldest)
    }

    /// Exchanges come to it, now or later.
    fn is_live(&self) -> bool {
        !self.standing.is_retired.get() && self.link.leaving() == Leaving::No && !self.link.is_over()
    }

    /// Whether it is to be seen how many exchanges it takes, if any.
    fn is_awaited(&self) -> bool {
        self.is_live() && (self.standing.is_doubted.get() || !self.link.has_settings())
    }

    /// Whether it has ended as one that the endpoint takes none of the exchanges of.
    fn was_refused(&self, now: Nanos) -> bool {
        let is_young = now - self.connection.opened < PAUSE;
        !self.standing.is_retired.get() && (is_young || self.connection.requests.get() == 0)
    }

    fn doubt(&self, reactor: &Reactor) {
        self.standing.is_doubted.set(true);
        reactor.wake(self.driver);
    }

    fn retire(&self, reactor: &Reactor) {
        self.standing.is_retired.set(true);
        reactor.wake(self.driver);
    }
}

impl Pool {
    /// What is spoken on a connection that stands.
    pub(super) fn spoken(&self, stream: &ByteStream) -> Protocol {
        match self.options.protocol {
            UpstreamProtocol::Http1 => Protocol::Http1,
            UpstreamProtocol::Http2 => Protocol::Http2,
            UpstreamProtocol::Auto => {
                let is_http2 = stream.agrees_on_http2();
                // The next connections are likely to be of the same kind.
                let streams = self.learned_streams.get().unwrap_or(self.options.http2.max_concurrent_streams);
                self.streams.set(if is_http2 { streams } else { 1 });
                if is_http2 { Protocol::Http2 } else { Protocol::Http1 }
            }
        }
    }

    /// A place on the least loaded connection, where one has room, for a request that does not wait yet.
    pub(super) fn take_stream(self: &Rc<Self>) -> Option<Lease> {
        self.take_stream_of(self.waiters.borrow().waiting() + 1)
    }

    /// The same, for the first of this many requests.
    fn take_stream_of(self: &Rc<Self>, requests: usize) -> Option<Lease> {
        let shared = self.shared.borrow();
        let interval = self.options.http2.keepalive.connection_idle_interval;
        let oldest = interval.and_then(|interval| self.reactor.now().checked_sub(nanos(interval)));
        let with_room = shared.iter().filter(|shared| shared.has_room());
        let keyed = with_room.map(|shared| ((shared.is_stale(oldest), shared.connection.active.get()), shared));
        let ((is_stale, _), least) = keyed.min_by_key(|(key, _)| *key)?;
        if is_stale {
            // As many are asked as the requests need.
            if requests > self.awaited_room() {
                least.doubt(&self.reactor);
            }
            return None;
        }
        let wire = Upstream::H2(Asked::new(&least.link, least.is_secure));
        let lease = Lease::shared(wire, least.connection.clone(), self);
        if self.options.max_requests.is_some_and(|max| least.connection.requests.get() >= max) {
            self.stats.upstream_cx_max_requests.inc();
            least.retire(&self.reactor);
        }
        Some(lease)
    }

    /// Make a further connection where there are fewer than there should be.
    pub(super) fn spread(self: &Rc<Self>) {
        let min = self.options.http2.connections_min as usize;
        if min <= 1 || self.live_connections() >= min || !self.refusals.allow(self.reactor.now()) {
            return;
        }
        // There is one for the request in any case.
        if self.connect(Priority::Default, Work::Main).is_err() {
            self.refusals.note(self.reactor.now());
        }
    }

    /// Whether a further connection has to be made for this many waiters, and may be.
    pub(super) fn needs_connection(&self, waiting: usize) -> bool {
        waiting > self.room_to_come() && !self.is_at_most()
    }

    fn live_connections(&self) -> usize {
        self.shared.borrow().iter().filter(|shared| shared.is_live()).count() + self.connecting.borrow().len()
    }

    /// Whether the endpoint has as many connections as it may.
    fn is_at_most(&self) -> bool {
        let Some(max) = self.options.http2.connections_max else { return false };
        let is_http2 = self.options.protocol == UpstreamProtocol::Http2 || !self.shared.borrow().is_empty();
        is_http2 && self.live_connections() >= max as usize
    }

    /// Exchanges for which there are connections of which is to be seen how many they take.
    pub(super) fn awaited_room(&self) -> usize {
        let (shared, streams) = (self.shared.borrow(), self.streams.get());
        let awaited = shared.iter().filter(|shared| shared.is_awaited());
        awaited.map(|shared| streams.saturating_sub(shared.connection.active.get()) as usize).sum()
    }

    /// A connection stands: it serves as many waiters as it has room for.
    pub(super) fn share(self: &Rc<Self>, shared: Shared) {
        let is_stale = self.closed.get() || shared.connection.drained != self.drained.get();
        let connection = shared.connection.clone();
        self.shared.borrow_mut().push(shared);
        self.start_keeper();
        self.serve_waiters();
        if is_stale {
            self.retire_shared(|shared| Rc::ptr_eq(&shared.connection, &connection));
        }
    }

    /// An exchange on the connection has ended.
    pub(super) fn stream_freed(self: &Rc<Self>, connection: &Rc<Connection>) {
        self.serve_waiters();
        let all = self.shared.borrow();
        let is_it = |shared: &&Shared| Rc::ptr_eq(&shared.connection, connection) && shared.is_idle();
        let Some(shared) = all.iter().find(is_it) else { return };
        shared.idle_since.set(self.reactor.now());
        match all.iter().filter(|shared| shared.is_idle()).count() > self.options.max_idle {
            true => shared.retire(&self.reactor),
            // It may have waited for this to end.
            false => self.reactor.wake(shared.driver),
        }
    }

    /// An endpoint has said how many exchanges a connection of its takes: further connections are thought to take as many, and
    /// one that takes more than was thought serves those that wait.
    fn learn_streams(self: &Rc<Self>, streams_max: u32) {
        let streams = streams_max.min(self.options.http2.max_concurrent_streams).max(1);
        self.streams.set(streams);
        self.learned_streams.set(Some(streams));
        self.heard();
    }

    /// An endpoint has got PINGs too often: its further connections get half as many, and so on (gRPC's A8).
    fn ping_less(&self) {
        let mut keepalive = self.keepalive.get();
        keepalive.interval = keepalive.interval.map(|interval| interval.saturating_mul(2));
        self.keepalive.set(keepalive);
    }

    /// An endpoint has shown that it is there.
    fn heard(self: &Rc<Self>) {
        self.serve_waiters();
        self.cover_waiters();
    }

    /// An endpoint that has accepted a connection says nothing: the requests that waited for it have waited long enough. For one
    /// that is retired none did.
    fn give_up_silent(&self, connection: &Connection, standing: &Standing) {
        self.stats.upstream_cx_connect_timeout.inc();
        if standing.is_retired.get() {
            return;
        }
        let room = self.streams.get().saturating_sub(connection.active.get());
        let mut waiters = self.waiters.borrow_mut();
        for _ in 0..waiters.waiting().min(room as usize) {
            drop(waiters.serve(Err(ConnectError::Timeout { in_handshake: false }), &self.reactor));
        }
    }

    /// Give the oldest waiters what room there is.
    fn serve_waiters(self: &Rc<Self>) {
        loop {
            let waiting = self.waiters.borrow().waiting();
            if waiting == 0 {
                break;
            }
            let Some(lease) = self.take_stream_of(waiting) else { return };
            let served = self.waiters.borrow_mut().serve(Ok(lease), &self.reactor);
            debug_assert!(served.is_ok(), "one waits");
        }
        self.settle_connects();
    }

    /// Connections are under way for all that wait. Where no more may be made, the oldest waiters are told so.
    pub(super) fn cover_waiters(self: &Rc<Self>) {
        while self.needs_connection(self.waiters.borrow().waiting()) {
            if let Err(overflow) = self.connect(Priority::Default, Work::Main) {
                drop(self.waiters.borrow_mut().serve(Err(ConnectError::Overflow(overflow)), &self.reactor));
            }
        }
    }

    /// Let connections end as soon as they are idle. How many they are.
    pub(super) fn retire_shared(&self, which: impl Fn(&Shared) -> bool) -> u64 {
        let shared = self.shared.borrow();
        let retired = shared.iter().filter(|shared| !shared.standing.is_retired.get() && which(shared));
        retired.map(|shared| shared.retire(&self.reactor)).count() as u64
    }

    /// Close the connection that has been idle longest, of all or of those whose end makes room under this limit, at once.
    /// What it counted for is returned.
    pub(super) fn give_up_idle_shared(&self, lacking: Option<&Lacking>) -> Option<Places> {
        let oldest = {
            let mut all = self.shared.borrow_mut();
            let fits = |shared: &Shared| lacking.is_none_or(|lacking| shared.connection.slot.fits(lacking));
            let idle = all.iter().enumerate().filter(|(_, shared)| shared.is_idle() && fits(shared));
            let oldest = idle.min_by_key(|(_, shared)| shared.idle_since.get()).map(|(index, _)| index);
            oldest.map(|index| all.swap_remove(index))
        };
        let Shared { driver, connection, .. } = oldest.as_ref()?;
        let places = connection.slot.vacate();
        self.reactor.cancel(*driver);
        Some(places)
    }

    /// Since when the connection is idle that has been so longest, of all or of those whose end makes room under this limit.
    pub(super) fn shared_idle_since(&self, lacking: Option<&Lacking>) -> Option<Nanos> {
        let shared = self.shared.borrow();
        let fits = |shared: &&Shared| lacking.is_none_or(|lacking| shared.connection.slot.fits(lacking));
        shared.iter().filter(|shared| shared.is_idle()).filter(fits).map(|shared| shared.idle_since.get()).min()
    }

    /// The connection is over.
    fn shared_ended(self: &Rc<Self>, connection: &Rc<Connection>) {
        let ended: Vec<Shared> =
            self.shared.borrow_mut().extract_if(.., |shared| Rc::ptr_eq(&shared.connection, connection)).collect();
        if ended.iter().any(|shared| shared.was_refused(self.reactor.now())) {
            self.refusals.note(self.reactor.now());
        }
        drop(ended);
        self.cover_waiters();
    }
}

/// For how long a pool does without connections that no request needs, after the endpoint has refused one: longer each time.
#[derive(Default)]
pub(super) struct Refusals {
    pause: Cell<Nanos>,
    until: Cell<Nanos>,
}

const PAUSE: Nanos = 1_000_000_000;
const PAUSE_MAX: Nanos = 60 * PAUSE;

impl Refusals {
    fn allow(&self, now: Nanos) -> bool {
        now >= self.until.get()
    }

    /// A connection came to nothing.
    pub(super) fn note(&self, now: Nanos) {
        if !self.allow(now) {
            return;
        }
        // What was refused long ago tells nothing.
        let is_long_ago = now - self.until.get() > self.pause.get();
        self.pause.set(if is_long_ago { PAUSE } else { (2 * self.pause.get()).min(PAUSE_MAX) });
        self.until.set(now + self.pause.get());
    }
}

/// What a connection's driver holds. Dropped, the connection is over, whatever ended it.
struct Driving {
    pool: Weak<Pool>,
    link: Rc<Link>,
    stream: ByteStream,
    connection: Rc<Connection>,
    standing: Rc<Standing>,
    by_peer: bool,
}

/// How long an endpoint is doubted at most before the request goes elsewhere.
const DOUBT_TIME: Nanos = 1_000_000_000;

/// How a connection ended.
enum End {
    /// Nothing was left to do.
    Quiet,
    /// The endpoint said nothing when it should have.
    Silent,
    Over(Over),
}

async fn drive(mut driving: Driving) {
    let Some(pool) = driving.pool.upgrade() else { return };
    let (reactor, connector) = (pool.reactor.clone(), pool.options.tls.clone());
    let mut driver = Driver::new(&driving.link, None);
    let mut pulse = Pulse::new(&reactor, &pool.keepalive.get());
    pulse.expect(&driving.link, nanos(pool.options.connect_timeout));
    let doubt_time = nanos(pool.options.http2.keepalive.timeout).min(DOUBT_TIME);
    drop(pool);
    let mut said = None;
    let mut is_going = false;
    let end = poll_fn(|_| {
        let (link, standing) = (&driving.link, &driving.standing);
        let polled = driver.poll(&driving.stream, |_| {});
        let pool = driving.pool.upgrade();
        let streams_max = link.has_settings().then(|| link.peer_streams_max());
        if let (Some(pool), Some(streams_max)) = (&pool, streams_max)
            && said.replace(streams_max) != Some(streams_max)
        {
            pool.learn_streams(streams_max);
        }
        if link.pings_too_often() {
            pulse.slow_down();
            pool.iter().for_each(|pool| pool.ping_less());
        }
        if link.requires_http1()
            && let Some(connector) = &connector
        {
            connector.give_up_http2();
        }
        if standing.is_doubted.get() && !pulse.is_awaited() {
            link.ping();
            pulse.expect(link, doubt_time);
        }
        if let Poll::Ready(over) = polled {
            return Poll::Ready(End::Over(over));
        }
        if pulse.poll(link).is_ready() {
            return Poll::Ready(End::Silent);
        }
        if !pulse.is_awaited() && standing.is_doubted.take() {
            standing.shown.set(reactor.now());
            pool.iter().for_each(Pool::heard);
        }
        let ends = standing.is_retired.get() || link.leaving() != Leaving::No;
        if ends && !std::mem::replace(&mut is_going, true) {
            // Others have to serve its waiters.
            pool.iter().for_each(Pool::cover_waiters);
        }
        match ends && driving.connection.active.get() == 0 && link.is_quiet() {
            true => Poll::Ready(End::Quiet),
            false => Poll::Pending,
        }
    })
    .await;
    let Some(pool) = driving.pool.upgrade() else { return };
    match end {
        End::Quiet => {}
        End::Silent if !driving.link.has_settings() => pool.give_up_silent(&driving.connection, &driving.standing),
        End::Silent => pool.stats.http2_keepalive_timeout.inc(),
        End::Over(over) => {
            driving.by_peer = over.by_peer;
            pool.stats.upstream_cx_protocol_error.add(u64::from(over.error.is_some()));
        }
    }
}

impl Drop for Driving {
    fn drop(&mut self) {
        self.connection.closed(self.by_peer);
        self.link.close();
        if let Some(pool) = self.pool.upgrade() {
            pool.shared_ended(&self.connection);
        }
    }
}
