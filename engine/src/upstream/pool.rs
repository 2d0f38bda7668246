//! One shard's connections to one endpoint: those that are idle, those that are being made, and the requests that wait.
//!
//! The connection used last is used next, so that the others can grow old. Every idle connection's receive stays armed:
//! when the upstream closes one, the keeper task hears of it and drops it before a request could meet it.
//!
//! ```text
//! acquire ── idle connection ──────────────────────────────> lease
//!    └────── none: wait in the queue; connects under way <  waiters? one more
//! connected, put ── oldest waiter, if any ─────────────────> its lease
//!    └───────────── else idle
//! a connect fails ── the oldest waiter fails, no other
//! ```

use super::Work;
use super::connect::{ConnectError, Connecting, Made};
use super::group::{Loan, PoolGroup};
use super::lease::Lease;
use super::limits::{Lacking, Permit, Places, Priority, Resource};
use super::named::{Names, Split};
use super::waiters::{Left, Outcome, WaiterKey, Waiters};
use crate::base::clock::{Nanos, nanos};
use crate::net::{Network, tls};
use crate::ring::{Reactor, Spare, TaskId, Timer};
use crate::stats::{ClusterStats, HostStats, ShardCopy};
use ringway_config::model::{Address, Http2Keepalive, Http2Options, UpstreamProtocol};
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// What the cluster's configuration says about its connections.
#[derive(Clone)]
pub struct PoolOptions {
    pub connect_timeout: Duration,
    pub idle_timeout: Option<Duration>,
    /// Connections kept.
    pub max_idle: usize,
    /// Requests after which a connection is not kept.
    pub max_requests: Option<u64>,
    /// What is spoken with the endpoint.
    pub protocol: UpstreamProtocol,
    pub http2: Http2Options,
    /// What carries that, if not plain bytes.
    pub tls: Option<Rc<tls::Connector>>,
    pub split: Split,
}

#[cfg(test)]
impl PoolOptions {
    /// HTTP/1 in plain bytes.
    pub(super) fn plain() -> Self {
        Self {
            connect_timeout: Duration::from_secs(5),
            idle_timeout: None,
            max_idle: 1024,
            max_requests: None,
            protocol: UpstreamProtocol::Http1,
            http2: Http2Options::default(),
            tls: None,
            split: Split::None,
        }
    }
}

pub struct Pool {
    pub(super) reactor: Rc<Reactor>,
    pub(super) network: Network,
    /// In the order in which they are tried.
    pub(super) addresses: RefCell<Rc<[Address]>>,
    pub(super) options: PoolOptions,
    pub(super) stats: Arc<ClusterStats>,
    pub(super) group: Rc<PoolGroup>,
    /// Of the endpoint.
    pub(super) host: RefCell<Rc<ShardCopy<HostStats>>>,
    idle: RefCell<Vec<Lease>>,
    pub(super) shared: RefCell<Vec<super::shared::Shared>>,
    /// Exchanges that a connection serves at a time, as far as is known.
    pub(super) streams: Cell<u32>,
    /// Of connections that no request needs.
    pub(super) refusals: super::shared::Refusals,
    /// Exchanges that the endpoint's last connection of HTTP/2 said it takes, where one did.
    pub(super) learned_streams: Cell<Option<u32>>,
    /// How often PINGs are sent, where they are.
    pub(super) keepalive: Cell<Http2Keepalive>,
    pub(super) waiters: RefCell<Waiters>,
    /// Connections under way, oldest first.
    pub(super) connecting: RefCell<Vec<Connecting>>,
    keeper: Cell<TaskId>,
    /// How often it was drained: connections of earlier times are not kept.
    pub(super) drained: Cell<u64>,
    /// No connection is kept any more. Always, where others do it for each name.
    pub(super) closed: Cell<bool>,
    /// Where it is split by name.
    pub(super) names: Option<Box<Names>>,
}

impl Pool {
    pub fn new(
        reactor: &Rc<Reactor>,
        network: &Network,
        addresses: Rc<[Address]>,
        options: PoolOptions,
        stats: Arc<ClusterStats>,
        group: &Rc<PoolGroup>,
        host: Rc<ShardCopy<HostStats>>,
    ) -> Rc<Self> {
        let streams = match options.protocol {
            UpstreamProtocol::Http1 => 1,
            // Until the first handshake has agreed on something, one connection is made for as many requests as it could take.
            UpstreamProtocol::Http2 | UpstreamProtocol::Auto => options.http2.max_concurrent_streams,
        };
        let (is_split, keepalive) = (options.split == Split::ByName, options.http2.keepalive);
        let pool = Rc::new(Self {
            reactor: reactor.clone(),
            network: network.clone(),
            addresses: RefCell::new(addresses),
            options,
            stats,
            group: group.clone(),
            host: RefCell::new(host),
            idle: RefCell::default(),
            shared: RefCell::default(),
            streams: Cell::new(streams),
            refusals: super::shared::Refusals::default(),
            learned_streams: Cell::new(None),
            keepalive: Cell::new(keepalive),
            waiters: RefCell::default(),
            connecting: RefCell::default(),
            keeper: Cell::new(TaskId::NONE),
            drained: Cell::new(0),
            closed: Cell::new(is_split),
            names: is_split.then(Box::default),
        });
        group.add(&pool);
        let spare: Weak<Self> = Rc::downgrade(&pool);
        reactor.add_spare(spare);
        pool
    }

    /// Connect to other addresses from now on, which are `host`'s; the connections there are stay.
    pub fn set_addresses(&self, addresses: Rc<[Address]>, host: Rc<ShardCopy<HostStats>>) {
        self.each_named(|pool| pool.set_addresses(addresses.clone(), host.clone()));
        self.addresses.replace(addresses);
        self.host.replace(host);
    }

    #[inline]
    pub(super) fn streams(&self) -> usize {
        self.streams.get() as usize
    }

    /// Exchanges that connections under way, and those whose endpoints have yet to be heard, are thought to take.
    pub(super) fn room_to_come(&self) -> usize {
        self.connecting.borrow().len() * self.streams() + self.awaited_room()
    }

    /// Connections that this many waiters need under way.
    pub(super) fn connects_for(&self, waiting: usize) -> usize {
        waiting.saturating_sub(self.awaited_room()).div_ceil(self.streams())
    }

    /// An idle connection that is alive as far as is known, or room on one that is shared.
    pub fn take(self: &Rc<Self>) -> Option<Lease> {
        if self.options.protocol != UpstreamProtocol::Http1
            && let Some(lease) = self.take_stream()
        {
            self.spread();
            return Some(lease);
        }
        loop {
            let mut lease = self.idle.borrow_mut().pop()?;
            if lease.wire.poll_idle().is_pending() {
                lease.begin();
                return Some(lease);
            }
        }
    }

    /// A connection, once `take` has found none: the next one that is made or becomes free, after the requests that were
    /// here before. Side work comes after main traffic. Meanwhile the request counts as one that waits.
    ///
    /// # Errors
    /// Over a limit: at once, unless another shard can spare a connection. Refused, unreachable, no descriptor left, or not
    /// established in time: when that happens.
    pub async fn acquire(self: &Rc<Self>, priority: Priority, work: Work) -> Result<Lease, ConnectError> {
        if self.options.protocol != UpstreamProtocol::Http1
            && let Some(lease) = self.take_stream()
        {
            return Ok(lease);
        }
        let limits = &self.group.limits;
        let pending = match work {
            Work::Main => Some(limits.acquire(Resource::PendingRequests, priority).map_err(ConnectError::Overflow)?),
            Work::Side => None,
        };
        // A connection that a request before this one asked for, and no longer needs, is as good as a new one.
        if self.needs_connection(self.waiters.borrow().waiting() + 1) {
            self.connect(priority, work).map_err(ConnectError::Overflow)?;
        }
        let key = self.waiters.borrow_mut().join(self.reactor.current_task(), work);
        let waiting = Waiting { pool: self, key, _pending: pending };
        poll_fn(|_| waiting.poll()).await
    }

    /// A connect has ended, in the task that made it.
    pub(super) fn connected(self: &Rc<Self>, outcome: Result<Made, ConnectError>) {
        let task = self.reactor.current_task();
        self.connecting.borrow_mut().retain(|connecting| connecting.task != task);
        match outcome {
            Ok(Made::Exclusive(lease)) => self.hand_out(lease),
            Ok(Made::Shared(shared)) => self.share(shared),
            Err(error) => {
                self.refusals.note(self.reactor.now());
                // Where none waits any more, the error is of interest to none.
                drop(self.waiters.borrow_mut().serve(Err(error), &self.reactor));
            }
        }
        if self.options.protocol != UpstreamProtocol::Http1 {
            self.cover_waiters();
        }
        self.settle_connects();
    }

    /// Take back a connection whose exchange ended cleanly: for the oldest waiter, or to be kept. Where it may not be
    /// kept, it is closed.
    pub fn put(self: &Rc<Self>, mut lease: Lease) {
        if !lease.wire.is_exclusive() {
            return;
        }
        lease.end(&self.reactor);
        self.put_ended(lease);
    }

    #[inline]
    pub(super) fn put_ended(self: &Rc<Self>, lease: Lease) {
        if self.closed.get() || lease.connection.drained != self.drained.get() {
            return self.put_by_name(lease);
        }
        if self.options.max_requests.is_some_and(|max| lease.connection.requests.get() >= max) {
            self.stats.upstream_cx_max_requests.inc();
            return;
        }
        self.hand_out(lease);
    }

    /// Give the connection to the oldest waiter, or keep it.
    fn hand_out(self: &Rc<Self>, mut lease: Lease) {
        if let Poll::Ready(ended) = lease.wire.poll_idle() {
            self.stats.upstream_cx_protocol_error.add(u64::from(ended.unasked));
            return self.replace_for_waiters();
        }
        if self.waiters.borrow().waiting() > 0 {
            lease.begin();
            let served = self.waiters.borrow_mut().serve(Ok(lease), &self.reactor);
            debug_assert!(served.is_ok(), "one waits");
            return self.settle_connects();
        }
        if self.closed.get() || self.idle.borrow().len() >= self.options.max_idle {
            return;
        }
        self.start_keeper();
        lease.wire.watch(self.keeper.get());
        lease.idle_since = self.reactor.now();
        self.idle.borrow_mut().push(lease);
    }

    pub(super) fn start_keeper(self: &Rc<Self>) {
        if self.keeper.get() == TaskId::NONE {
            self.keeper.set(self.reactor.spawn(keep(Rc::downgrade(self), self.reactor.clone())));
        }
    }

    /// A connection came to nothing at the moment at which it was to serve a waiter: the oldest is told so, where no other
    /// connect is under way for it.
    fn replace_for_waiters(&self) {
        let mut waiters = self.waiters.borrow_mut();
        if waiters.waiting() > self.connecting.borrow().len() {
            let closed = std::io::ErrorKind::ConnectionReset.into();
            let _: Result<(), Outcome> = waiters.serve(Err(ConnectError::Failed(closed)), &self.reactor);
        }
    }

    /// The lease serves side work, which gives way to main traffic: its task is cancelled where connections are short.
    pub fn lend(&self, lease: &Lease) -> Option<Loan> {
        self.group.lend(lease)
    }

    /// Whether it has any, or makes one.
    pub(super) fn has_connections(&self) -> bool {
        !(self.idle.borrow().is_empty() && self.shared.borrow().is_empty() && self.connecting.borrow().is_empty())
    }

    pub fn idle_count(&self) -> usize {
        self.idle.borrow().len()
    }

    /// Close the connections there are: idle ones now, each of the others when its exchange ends. Those made from now on
    /// are kept as ever (Envoy: DrainExistingConnections).
    pub fn drain(&self) {
        self.each_named(|pool| pool.drain());
        self.drained.set(self.drained.get() + 1);
        self.trim(0);
        self.retire_shared(|_| true);
    }

    /// The same, for ever: the endpoint is gone.
    pub fn close(&self) {
        self.each_named(|pool| pool.close());
        self.closed.set(true);
        self.trim(0);
        self.retire_shared(|_| true);
    }

    /// Close what a burst left behind: all but `keep`, those with the lowest places in the socket table, which can shrink
    /// once the others are gone.
    pub fn trim(&self, keep: usize) {
        self.each_named(|pool| pool.trim(keep));
        let mut idle = self.idle.borrow_mut();
        let kept = idle.len().min(keep);
        idle.sort_by_key(|lease| lease.wire.place());
        let gone = idle.split_off(kept);
        idle.shrink_to_fit();
        drop(idle);
        drop(gone);
    }

    /// Drop connections that the upstream closed and those that were idle too long.
    fn sweep(&self) {
        let oldest = self.options.idle_timeout.and_then(|timeout| self.reactor.now().checked_sub(nanos(timeout)));
        let mut gone = Vec::new();
        {
            let mut idle = self.idle.borrow_mut();
            let mut i = 0;
            while i < idle.len() {
                let lease = &mut idle[i];
                if lease.wire.poll_idle().is_ready() {
                    gone.push(idle.remove(i));
                } else if oldest.is_some_and(|oldest| lease.idle_since <= oldest) {
                    self.stats.upstream_cx_idle_timeout.inc();
                    gone.push(idle.remove(i));
                } else {
                    i += 1;
                }
            }
        }
        drop(gone);
        if let Some(oldest) = oldest {
            let retired = self.retire_shared(|shared| shared.is_idle_since(oldest));
            self.stats.upstream_cx_idle_timeout.add(retired);
        }
    }

    /// When the connection that is idle longest has been so for too long. The first in the list is not always the
    /// oldest, but no connection is younger than its place in the list says by more than one use.
    fn next_expiry(&self) -> Option<u64> {
        let timeout = nanos(self.options.idle_timeout?);
        self.idle_since(None).map(|since| since + timeout)
    }
}

/// A request's place in the queue; dropped, it leaves.
struct Waiting<'p> {
    pool: &'p Rc<Pool>,
    key: WaiterKey,
    _pending: Option<Permit>,
}

impl Waiting<'_> {
    fn poll(&self) -> Poll<Outcome> {
        let task = self.pool.reactor.current_task();
        self.pool.waiters.borrow_mut().poll(self.key, task).map_or(Poll::Pending, Poll::Ready)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let left = self.pool.waiters.borrow_mut().leave(self.key);
        match left {
            // It came too late.
            Left::Served(Some(Ok(lease))) if !lease.wire.is_exclusive() => drop(lease),
            Left::Served(Some(Ok(mut lease))) => {
                lease.end(&self.pool.reactor);
                self.pool.hand_out(lease);
            }
            Left::Served(_) => {}
            // A connect whose request got another connection goes on, and its connection will be idle. One that no request
            // has a use for is given up.
            Left::Unserved if self.pool.waiters.borrow().waiting() == 0 => self.pool.give_up_connects(),
            Left::Unserved => self.pool.settle_connects(),
        }
    }
}

impl Pool {
    /// Since when the connection is idle that has been so longest, of all or of those whose end makes room under this limit.
    pub(super) fn idle_since(&self, lacking: Option<&Lacking>) -> Option<Nanos> {
        let idle = self.idle.borrow();
        let since = oldest(&idle, lacking).map(|at| idle[at].idle_since);
        since.into_iter().chain(self.shared_idle_since(lacking)).min()
    }

    /// Close that connection. What it counted for is returned.
    pub(super) fn give_up_idle(&self, lacking: Option<&Lacking>) -> Option<Places> {
        if let Some(places) = self.give_up_idle_shared(lacking) {
            return Some(places);
        }
        let mut idle = self.idle.borrow_mut();
        let lease = oldest(&idle, lacking).map(|at| idle.remove(at))?;
        drop(idle);
        Some(lease.connection.slot.vacate())
    }
}

fn oldest(idle: &[Lease], lacking: Option<&Lacking>) -> Option<usize> {
    let fits = |lease: &Lease| lacking.is_none_or(|lacking| lease.connection.slot.fits(lacking));
    let fitting = idle.iter().enumerate().filter(|(_, lease)| fits(lease));
    fitting.min_by_key(|(_, lease)| lease.idle_since).map(|(at, _)| at)
}

/// Idle connections are closed where descriptors are short: a request to another endpoint needs them more.
impl Spare for Pool {
    fn kept_since(&self) -> Option<Nanos> {
        self.idle_since(None)
    }

    fn give_up(&self) {
        drop(self.give_up_idle(None));
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.retire_shared(|_| true);
        self.reactor.wake(self.keeper.get());
    }
}

/// Runs as long as the pool lives. Woken when an idle connection receives something, which is its end as a rule.
async fn keep(pool: Weak<Pool>, reactor: Rc<Reactor>) {
    let timer = Timer::new(&reactor);
    loop {
        {
            let Some(pool) = pool.upgrade() else { return };
            pool.sweep();
            match pool.next_expiry() {
                Some(expiry) => timer.arm_at(expiry),
                // A connection put back later needs its deadline seen: look again by then.
                None => timer.set(pool.options.idle_timeout),
            }
        }
        let mut woken = false;
        poll_fn(|_| if std::mem::replace(&mut woken, true) { Poll::Ready(()) } else { Poll::Pending }).await;
    }
}
