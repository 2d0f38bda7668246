//! Connections that several exchanges share: the least loaded one gets the next exchange, up to as many as the protocol
//! allows, and each of them is driven by a task of its own until it ends.

use super::Work;
use super::connect::ConnectError;
use super::connection::Connection;
use super::lease::Lease;
use super::limits::{Lacking, Places, Priority};
use super::pool::Pool;
use crate::base::clock::Nanos;
use crate::mux::Limits;
use crate::mux::Upstream;
use crate::mux::h2::{Asked, Driver, Leaving, Link, Role};
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
    /// It ends with its last exchange, and gets no other.
    retired: Rc<Cell<bool>>,
    idle_since: Cell<Nanos>,
    driver: TaskId,
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
        let retired = Rc::new(Cell::new(false));
        let is_secure = stream.tls().is_some();
        let driving = Driving {
            pool: Rc::downgrade(pool),
            link: link.clone(),
            stream,
            connection: connection.clone(),
            retired: retired.clone(),
            by_peer: false,
        };
        let driver = reactor.spawn(drive(driving));
        Self { link, connection, is_secure, retired, idle_since: Cell::new(reactor.now()), driver }
    }

    fn has_room(&self, max_requests: Option<u64>) -> bool {
        let connection = &self.connection;
        !self.retired.get()
            && self.link.has_room(connection.active.get())
            && max_requests.is_none_or(|max| connection.requests.get() < max)
    }

    fn is_idle(&self) -> bool {
        self.connection.active.get() == 0
    }

    pub(super) fn is_idle_since(&self, oldest: Nanos) -> bool {
        self.is_idle() && self.idle_since.get() <= oldest
    }

    fn retire(&self, reactor: &Reactor) {
        self.retired.set(true);
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

    /// A place on the least loaded connection, where one has room.
    pub(super) fn take_stream(self: &Rc<Self>) -> Option<Lease> {
        let shared = self.shared.borrow();
        let with_room = shared.iter().filter(|shared| shared.has_room(self.options.max_requests));
        let least = with_room.min_by_key(|shared| shared.connection.active.get())?;
        Some(Lease::shared(Upstream::H2(Asked::new(&least.link, least.is_secure)), least.connection.clone(), self))
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
        let is_it = |shared: &&Shared| Rc::ptr_eq(&shared.connection, connection) && shared.is_idle();
        if let Some(shared) = self.shared.borrow().iter().find(is_it) {
            shared.idle_since.set(self.reactor.now());
            // It may have waited for this to end.
            self.reactor.wake(shared.driver);
        }
        let idle = self.shared.borrow().iter().filter(|shared| shared.is_idle()).count();
        let max = self.options.max_requests.unwrap_or(u64::MAX);
        let is_surplus = idle > self.options.max_idle || connection.requests.get() >= max;
        let retired = self.retire_shared(|shared| is_it(&shared) && is_surplus);
        if connection.requests.get() >= max {
            self.stats.upstream_cx_max_requests.add(retired);
        }
    }

    /// An endpoint has said how many exchanges a connection of its takes: further connections are thought to take as many, and
    /// one that takes more than was thought serves those that wait.
    fn learn_streams(self: &Rc<Self>, streams_max: u32) {
        let streams = streams_max.min(self.options.http2.max_concurrent_streams).max(1);
        self.streams.set(streams);
        self.learned_streams.set(Some(streams));
        self.serve_waiters();
        self.cover_waiters();
    }

    /// Give the oldest waiters what room there is.
    fn serve_waiters(self: &Rc<Self>) {
        while self.waiters.borrow().waiting() > 0 {
            let Some(lease) = self.take_stream() else { return };
            let served = self.waiters.borrow_mut().serve(Ok(lease), &self.reactor);
            debug_assert!(served.is_ok(), "one waits");
        }
        self.settle_connects();
    }

    /// Connections are under way for all that wait. Where no more may be made, the oldest waiters are told so.
    pub(super) fn cover_waiters(self: &Rc<Self>) {
        let is_covered = || self.connecting.borrow().len() * self.streams() >= self.waiters.borrow().waiting();
        while !is_covered() {
            if let Err(overflow) = self.connect(Priority::Default, Work::Main) {
                drop(self.waiters.borrow_mut().serve(Err(ConnectError::Overflow(overflow)), &self.reactor));
            }
        }
    }

    /// Let connections end as soon as they are idle. How many they are.
    pub(super) fn retire_shared(&self, which: impl Fn(&Shared) -> bool) -> u64 {
        let shared = self.shared.borrow();
        let retired = shared.iter().filter(|shared| !shared.retired.get() && which(shared));
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
        drop(ended);
        self.cover_waiters();
    }
}

/// What a connection's driver holds. Dropped, the connection is over, whatever ended it.
struct Driving {
    pool: Weak<Pool>,
    link: Rc<Link>,
    stream: ByteStream,
    connection: Rc<Connection>,
    retired: Rc<Cell<bool>>,
    by_peer: bool,
}

async fn drive(mut driving: Driving) {
    let mut driver = Driver::new(&driving.link, None);
    let mut streams_max = driving.link.peer_streams_max();
    let over = poll_fn(|_| {
        let polled = driver.poll(&driving.stream, |_| {});
        let said = driving.link.peer_streams_max();
        if std::mem::replace(&mut streams_max, said) != said
            && let Some(pool) = driving.pool.upgrade()
        {
            pool.learn_streams(said);
        }
        let ends = driving.retired.get() || driving.link.leaving() != Leaving::No;
        if polled.is_pending() && ends && driving.connection.active.get() == 0 && driving.link.is_quiet() {
            return Poll::Ready(None);
        }
        polled.map(Some)
    })
    .await;
    if let Some(over) = over {
        driving.by_peer = over.by_peer;
        if let Some(pool) = driving.pool.upgrade() {
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
