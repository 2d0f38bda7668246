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

use super::connect::{ConnectError, Made, connect};
use super::connection::Slot;
use super::lease::Lease;
use super::limits::{Overflow, Permit, Priority, Resource, ShardLimits};
use super::waiters::{Left, Outcome, WaiterKey, Waiters};
use crate::base::clock::nanos;
use crate::net::{Network, Protocol};
use crate::ring::{Reactor, TaskId, Timer};
use crate::stats::{ClusterStats, HostStats, ShardCopy};
use ringway_config::model::Address;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// What the cluster's configuration says about its connections.
#[derive(Clone, Debug)]
pub struct PoolOptions {
    pub connect_timeout: Duration,
    pub idle_timeout: Option<Duration>,
    /// Connections kept.
    pub max_idle: usize,
    /// Requests after which a connection is not kept.
    pub max_requests: Option<u64>,
    /// What is spoken with the endpoint.
    pub protocol: Protocol,
}

/// The pools of one cluster on one shard, which share its limits.
pub struct PoolGroup {
    pub limits: Rc<ShardLimits>,
    pools: RefCell<Vec<Weak<Pool>>>,
}

impl PoolGroup {
    pub fn new(limits: Rc<ShardLimits>) -> Rc<Self> {
        Rc::new(Self { limits, pools: RefCell::default() })
    }

    /// Close the connection that has been idle longest, if any is idle.
    fn close_oldest_idle(&self) {
        let pools: Vec<Rc<Pool>> = self.pools.borrow().iter().filter_map(Weak::upgrade).collect();
        #[cfg(feature = "second-wire")]
        if pools.iter().any(|pool| pool.close_idle_shared()) {
            return;
        }
        let oldest = |pool: &Rc<Pool>| {
            let idle = pool.idle.borrow();
            let oldest = idle.iter().enumerate().min_by_key(|(_, lease)| lease.idle_since);
            oldest.map(|(index, lease)| (lease.idle_since, index))
        };
        let found = pools.iter().filter_map(|pool| oldest(pool).map(|(since, index)| (since, index, pool)));
        let Some((_, index, pool)) = found.min_by_key(|(since, ..)| *since) else { return };
        let lease = pool.idle.borrow_mut().remove(index);
        drop(lease);
    }
}

pub struct Pool {
    pub(super) reactor: Rc<Reactor>,
    pub(super) network: Network,
    pub(super) address: RefCell<Address>,
    pub(super) options: PoolOptions,
    pub(super) stats: Arc<ClusterStats>,
    group: Rc<PoolGroup>,
    /// Of the endpoint.
    host: RefCell<Rc<ShardCopy<HostStats>>>,
    idle: RefCell<Vec<Lease>>,
    #[cfg(feature = "second-wire")]
    pub(super) shared: RefCell<Vec<super::shared::Shared>>,
    pub(super) waiters: RefCell<Waiters>,
    /// Tasks that make a connection.
    pub(super) connecting: RefCell<Vec<TaskId>>,
    keeper: Cell<TaskId>,
    /// How often it was drained: connections of earlier times are not kept.
    pub(super) drained: Cell<u64>,
    /// No connection is kept any more.
    pub(super) closed: Cell<bool>,
}

impl Pool {
    pub fn new(
        reactor: &Rc<Reactor>,
        network: &Network,
        address: Address,
        options: PoolOptions,
        stats: Arc<ClusterStats>,
        group: &Rc<PoolGroup>,
        host: Rc<ShardCopy<HostStats>>,
    ) -> Rc<Self> {
        let pool = Rc::new(Self {
            reactor: reactor.clone(),
            network: network.clone(),
            address: RefCell::new(address),
            options,
            stats,
            group: group.clone(),
            host: RefCell::new(host),
            idle: RefCell::default(),
            #[cfg(feature = "second-wire")]
            shared: RefCell::default(),
            waiters: RefCell::default(),
            connecting: RefCell::default(),
            keeper: Cell::new(TaskId::NONE),
            drained: Cell::new(0),
            closed: Cell::new(false),
        });
        let mut pools = group.pools.borrow_mut();
        if pools.len() == pools.capacity() {
            // Before it grows: dead ones make room.
            pools.retain(|pool| pool.strong_count() > 0);
        }
        pools.push(Rc::downgrade(&pool));
        drop(pools);
        pool
    }

    /// Connect to another address from now on, which is `host`'s; the connections there are stay.
    pub fn set_address(&self, address: Address, host: Rc<ShardCopy<HostStats>>) {
        self.address.replace(address);
        self.host.replace(host);
    }

    /// An idle connection that is alive as far as is known.
    pub fn take(self: &Rc<Self>) -> Option<Lease> {
        #[cfg(feature = "second-wire")]
        if self.options.protocol != Protocol::Http1 {
            return self.take_stream();
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
    /// here before. Meanwhile the request counts as one that waits.
    ///
    /// # Errors
    /// Over a limit: at once. Refused, unreachable, no descriptor left, or not established in time: when that happens.
    pub async fn acquire(self: &Rc<Self>, priority: Priority) -> Result<Lease, ConnectError> {
        #[cfg(feature = "second-wire")]
        if let Some(lease) = self.take_stream() {
            return Ok(lease);
        }
        let limits = &self.group.limits;
        let pending = limits.acquire(Resource::PendingRequests, priority).map_err(ConnectError::Overflow)?;
        // A connection that a request before this one asked for, and no longer needs, is as good as a new one.
        if self.connecting.borrow().len() * self.options.protocol.streams() <= self.waiters.borrow().waiting() {
            self.connect(priority).map_err(ConnectError::Overflow)?;
        }
        let key = self.waiters.borrow_mut().join(self.reactor.current_task());
        let waiting = Waiting { pool: self, key, _pending: pending };
        poll_fn(|_| waiting.poll()).await
    }

    /// Make one more connection.
    ///
    /// # Errors
    /// There may be no more.
    pub(super) fn connect(self: &Rc<Self>, priority: Priority) -> Result<(), Overflow> {
        let slot = self.slot(priority)?;
        let task = self.reactor.spawn(connect(self.clone(), slot));
        self.connecting.borrow_mut().push(task);
        Ok(())
    }

    /// A connect has ended, in the task that made it.
    pub(super) fn connected(self: &Rc<Self>, outcome: Result<Made, ConnectError>) {
        let task = self.reactor.current_task();
        self.connecting.borrow_mut().retain(|connecting| *connecting != task);
        match outcome {
            Ok(Made::Exclusive(lease)) => self.hand_out(lease),
            #[cfg(feature = "second-wire")]
            Ok(Made::Shared(shared)) => self.share(shared),
            // Where none waits any more, the error is of interest to none.
            Err(error) => drop(self.waiters.borrow_mut().serve(Err(error), &self.reactor)),
        }
        #[cfg(feature = "second-wire")]
        if self.options.protocol != Protocol::Http1 {
            self.cover_waiters();
        }
    }

    /// Room for one more connection. Where the cluster has no more, the one that has been idle longest goes.
    fn slot(&self, priority: Priority) -> Result<Slot, Overflow> {
        let (limits, host) = (&self.group.limits, self.host.borrow().clone());
        limits.check_host(priority, &host)?;
        let permit = match limits.try_acquire(Resource::Connections, priority) {
            Some(permit) => permit,
            None => {
                self.group.close_oldest_idle();
                limits.acquire(Resource::Connections, priority)?
            }
        };
        Ok(Slot::new(permit, &host))
    }

    /// Take back a connection whose exchange ended cleanly: for the oldest waiter, or to be kept. Where it may not be
    /// kept, it is closed.
    pub fn put(self: &Rc<Self>, mut lease: Lease) {
        if !lease.wire.is_exclusive() {
            return;
        }
        lease.end(&self.reactor);
        if self.closed.get() || lease.connection.drained != self.drained.get() {
            return;
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
            return;
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

    pub fn idle_count(&self) -> usize {
        self.idle.borrow().len()
    }

    /// Close the connections there are: idle ones now, each of the others when its exchange ends. Those made from now on
    /// are kept as ever (Envoy: DrainExistingConnections).
    pub fn drain(&self) {
        self.drained.set(self.drained.get() + 1);
        self.trim(0);
        #[cfg(feature = "second-wire")]
        self.retire_shared(|_| true);
    }

    /// The same, for ever: the endpoint is gone.
    pub fn close(&self) {
        self.closed.set(true);
        self.trim(0);
        #[cfg(feature = "second-wire")]
        self.retire_shared(|_| true);
    }

    /// Close what a burst left behind: all but `keep`, those with the lowest places in the socket table, which can shrink
    /// once the others are gone.
    pub fn trim(&self, keep: usize) {
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
        #[cfg(feature = "second-wire")]
        if let Some(oldest) = oldest {
            let retired = self.retire_shared(|shared| shared.is_idle_since(oldest));
            self.stats.upstream_cx_idle_timeout.add(retired);
        }
    }

    /// When the connection that is idle longest has been so for too long. The first in the list is not always the
    /// oldest, but no connection is younger than its place in the list says by more than one use.
    fn next_expiry(&self) -> Option<u64> {
        let timeout = nanos(self.options.idle_timeout?);
        let since = self.idle.borrow().iter().map(|lease| lease.idle_since).min();
        #[cfg(feature = "second-wire")]
        let since = since.into_iter().chain(self.shared_idle_since()).min();
        since.map(|since| since + timeout)
    }
}

/// A request's place in the queue; dropped, it leaves.
struct Waiting<'p> {
    pool: &'p Rc<Pool>,
    key: WaiterKey,
    _pending: Permit,
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
            Left::Unserved => {}
        }
    }
}

impl Pool {
    fn give_up_connects(&self) {
        let tasks = std::mem::take(&mut *self.connecting.borrow_mut());
        tasks.into_iter().for_each(|task| self.reactor.cancel(task));
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        #[cfg(feature = "second-wire")]
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
