//! One shard's idle connections to one endpoint.
//!
//! The connection used last is used next, so that the others can grow old. Every idle connection's receive stays armed:
//! when the upstream closes one, the keeper task hears of it and drops it before a request could meet it.

use super::connection::{Connection, Slot};
use super::limits::{Overflow, Priority, Resource, ShardLimits};
use crate::base::clock::nanos;
use crate::net::Network;
use crate::ring::{Reactor, TaskId, Timer};
use crate::stats::{ClusterStats, HostStats, ShardCopy};
use ringway_config::model::Address;
use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
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
}

#[derive(Debug)]
pub enum ConnectError {
    /// A limit of the cluster is reached.
    Overflow(Overflow),
    Timeout,
    Failed(io::Error),
}

impl ConnectError {
    /// In words, for logs.
    pub fn reason(&self) -> &'static str {
        let error = match self {
            Self::Overflow(overflow) => return overflow.config_key(),
            Self::Timeout => return "connection timeout",
            Self::Failed(error) => error,
        };
        match error.raw_os_error() {
            Some(libc::ECONNREFUSED) => "connection refused",
            Some(libc::ECONNRESET) => "connection reset by peer",
            Some(libc::ETIMEDOUT) => "connection timed out in the kernel",
            Some(libc::EHOSTUNREACH) => "no route to host",
            Some(libc::ENETUNREACH) => "network is unreachable",
            Some(libc::EADDRNOTAVAIL) => "no local address or port available",
            Some(libc::EMFILE | libc::ENFILE) => "too many open files",
            Some(libc::ENOBUFS | libc::ENOMEM) => "out of memory for sockets",
            Some(libc::ENOENT) => "no such socket file",
            Some(libc::EACCES | libc::EPERM) => "permission denied",
            _ => "connection failed",
        }
    }
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
        let oldest = |pool: &Rc<Pool>| {
            let idle = pool.idle.borrow();
            let oldest = idle.iter().enumerate().min_by_key(|(_, connection)| connection.idle_since);
            oldest.map(|(index, connection)| (connection.idle_since, index))
        };
        let found = pools.iter().filter_map(|pool| oldest(pool).map(|(since, index)| (since, index, pool)));
        let Some((_, index, pool)) = found.min_by_key(|(since, ..)| *since) else { return };
        let connection = pool.idle.borrow_mut().remove(index);
        drop(connection);
    }
}

pub struct Pool {
    reactor: Rc<Reactor>,
    network: Network,
    address: RefCell<Address>,
    options: PoolOptions,
    stats: Arc<ClusterStats>,
    group: Rc<PoolGroup>,
    /// Of the endpoint.
    host: RefCell<Rc<ShardCopy<HostStats>>>,
    idle: RefCell<Vec<Connection>>,
    keeper: Cell<TaskId>,
    /// How often it was drained: connections of earlier times are not kept.
    drained: Cell<u64>,
    /// No connection is kept any more.
    closed: Cell<bool>,
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
            idle: RefCell::new(Vec::new()),
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
    pub fn take(&self) -> Option<Connection> {
        loop {
            let mut connection = self.idle.borrow_mut().pop()?;
            if connection.stream.has_received() {
                // Its end, or bytes that nobody asked for.
                connection.ended_by_peer = true;
                continue;
            }
            connection.begin();
            return Some(connection);
        }
    }

    /// A new connection. The caller's request counts as waiting meanwhile.
    ///
    /// # Errors
    /// Over a limit, refused, unreachable, no descriptor left, or not established in time.
    pub async fn connect(&self, priority: Priority) -> Result<Connection, ConnectError> {
        let limits = &self.group.limits;
        let _pending = limits.acquire(Resource::PendingRequests, priority).map_err(ConnectError::Overflow)?;
        let slot = self.slot(priority).map_err(ConnectError::Overflow)?;
        let (started, drained) = (self.reactor.now(), self.drained.get());
        let timer = Timer::new(&self.reactor);
        timer.arm_in(self.options.connect_timeout);
        // Not within the match, and not afterwards: the address may change while this waits.
        let connecting = self.network.connect(&self.reactor, &self.address.borrow());
        let remote = match &*self.address.borrow() {
            Address::Ip(address) => Some(*address),
            Address::Unix(_) => None,
        };
        let result = match connecting {
            Ok(stream) => {
                let connected = poll_fn(|_| match stream.poll_connected() {
                    Poll::Ready(result) => Poll::Ready(result.map_err(ConnectError::Failed)),
                    Poll::Pending if timer.fired() => Poll::Ready(Err(ConnectError::Timeout)),
                    Poll::Pending => Poll::Pending,
                });
                connected.await.map(|()| stream)
            }
            Err(error) => Err(ConnectError::Failed(error)),
        };
        match result {
            Ok(stream) => {
                self.stats.upstream_cx_connect_ms.record((self.reactor.now() - started) / 1000);
                let mut connection = Connection::new(stream, slot, remote, started, &self.reactor, &self.stats);
                connection.drained = drained;
                connection.begin();
                Ok(connection)
            }
            Err(error) => {
                self.stats.upstream_cx_connect_fail.inc();
                slot.host().cx_connect_fail.inc();
                if matches!(error, ConnectError::Timeout) {
                    self.stats.upstream_cx_connect_timeout.inc();
                }
                Err(error)
            }
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

    /// Keep a connection whose exchange ended cleanly, or close it where it may not be kept.
    pub fn put(self: &Rc<Self>, mut connection: Connection) {
        connection.active = false;
        if self.closed.get() || connection.drained != self.drained.get() {
            return;
        }
        if self.options.max_requests.is_some_and(|max| connection.requests >= max) {
            self.stats.upstream_cx_max_requests.inc();
            return;
        }
        if self.idle.borrow().len() >= self.options.max_idle {
            return;
        }
        // Keep the receive armed: its completion is how the upstream's close is noticed.
        if connection.stream.poll_recv().is_ready() {
            connection.ended_by_peer = true;
            self.stats.upstream_cx_protocol_error.add(u64::from(connection.stream.has_received_bytes()));
            return;
        }
        if self.keeper.get() == TaskId::NONE {
            self.keeper.set(self.reactor.spawn(keep(Rc::downgrade(self), self.reactor.clone())));
        }
        connection.stream.set_receive_waiter(self.keeper.get());
        connection.idle_since = self.reactor.now();
        self.idle.borrow_mut().push(connection);
    }

    pub fn idle_count(&self) -> usize {
        self.idle.borrow().len()
    }

    /// Close the connections there are: idle ones now, each of the others when its exchange ends. Those made from now on
    /// are kept as ever (Envoy: DrainExistingConnections).
    pub fn drain(&self) {
        self.drained.set(self.drained.get() + 1);
        self.trim(0);
    }

    /// The same, for ever: the endpoint is gone.
    pub fn close(&self) {
        self.closed.set(true);
        self.trim(0);
    }

    /// Close what a burst left behind: all but `keep`, those with the lowest places in the socket table, which can shrink
    /// once the others are gone.
    pub fn trim(&self, keep: usize) {
        let mut idle = self.idle.borrow_mut();
        let kept = idle.len().min(keep);
        idle.sort_by_key(|connection| connection.stream.plain_socket().map(crate::ring::Socket::place));
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
                let connection = &mut idle[i];
                if connection.stream.has_received() {
                    connection.ended_by_peer = true;
                    gone.push(idle.remove(i));
                } else if oldest.is_some_and(|oldest| connection.idle_since <= oldest) {
                    self.stats.upstream_cx_idle_timeout.inc();
                    gone.push(idle.remove(i));
                } else {
                    i += 1;
                }
            }
        }
        drop(gone);
    }

    /// When the connection that is idle longest has been so for too long. The first in the list is not always the
    /// oldest, but no connection is younger than its place in the list says by more than one use.
    fn next_expiry(&self) -> Option<u64> {
        let timeout = nanos(self.options.idle_timeout?);
        self.idle.borrow().iter().map(|connection| connection.idle_since).min().map(|since| since + timeout)
    }
}

impl Connection {
    fn begin(&mut self) {
        self.requests += 1;
        self.active = true;
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.reactor.wake(self.keeper.get());
    }
}

/// Runs as long as the pool lives. Woken when an idle connection receives something, which is its end.
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
