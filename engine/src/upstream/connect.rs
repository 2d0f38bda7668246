//! Making one connection.

use super::Work;
use super::connection::{Connection, Ends, Slot};
use super::lease::Lease;
use super::limits::{Asking, HostPlace, Lacking, Overflow, Places, Priority, Resource};
use super::pool::Pool;
use crate::mux::{Upstream, h1};
use crate::net::{ByteStream, Protocol, tls};
use crate::ring::{Attempts, TaskId, Timer};
use crate::stats::{HostStats, ShardCopy};
use ringway_config::model::Address;
use std::borrow::Cow;
use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;

#[derive(Debug)]
pub enum ConnectError {
    /// A limit of the cluster is reached.
    Overflow(Overflow),
    /// It took longer than `connect_timeout`.
    Timeout {
        /// The connection stood, and TLS was not agreed on.
        in_handshake: bool,
    },
    Failed(io::Error),
    /// The connection stood, and its two ends could not agree.
    Tls(tls::Failure),
}

impl ConnectError {
    /// In words, for logs.
    pub fn reason(&self) -> Cow<'static, str> {
        let error = match self {
            Self::Overflow(overflow) => return overflow.config_key().into(),
            Self::Timeout { in_handshake: false } => return "connection timeout".into(),
            Self::Timeout { in_handshake: true } => return format!("TLS: {}", tls::Failure::Timeout).into(),
            Self::Tls(failure) => return format!("TLS: {failure}").into(),
            Self::Failed(error) => error,
        };
        let reason = match error.raw_os_error() {
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
        };
        reason.into()
    }
}

/// Whether it is this host that has no more descriptors, memory or ports.
pub fn is_local_shortage(error: &io::Error) -> bool {
    const LOCAL: [i32; 5] = [libc::EMFILE, libc::ENFILE, libc::ENOBUFS, libc::ENOMEM, libc::EADDRNOTAVAIL];
    error.raw_os_error().is_some_and(|code| LOCAL.contains(&code))
}

/// A connection under way.
pub(super) struct Connecting {
    pub task: TaskId,
    /// `None` while a place for it is asked for.
    slot: Option<Rc<Slot>>,
}

/// Times that another shard is asked for one place.
const CLAIMS_MAX: usize = 8;

/// A place that another shard is asked for.
struct Claimed {
    priority: Priority,
    work: Work,
    host: Rc<ShardCopy<HostStats>>,
    places: Places,
    lacking: Lacking,
    asking: Asking,
}

impl Pool {
    /// Make one more connection.
    ///
    /// # Errors
    /// There may be no more, and no shard has one to spare.
    pub(super) fn connect(self: &Rc<Self>, priority: Priority, work: Work) -> Result<(), Overflow> {
        let host = self.host.borrow().clone();
        let mut places = Places::default();
        let (task, slot) = match self.reserve(priority, work, &host, &mut places) {
            Ok(()) => {
                let slot = self.slot(places, &host, priority);
                (self.reactor.spawn(connect(self.clone(), slot.clone(), work)), Some(slot))
            }
            Err(lacking) => {
                let limits = &self.group.limits;
                let Some(asking) = limits.ask(&lacking, priority, work == Work::Main, &host) else {
                    return Err(limits.refuse(&lacking, priority));
                };
                let claimed = Claimed { priority, work, host, places, lacking, asking };
                (self.reactor.spawn(claim_and_connect(self.clone(), claimed)), None)
            }
        };
        self.connecting.borrow_mut().push(Connecting { task, slot });
        Ok(())
    }

    /// Room for one more connection, as far as it is not in `places` already. Where there is none, a connection of this shard
    /// that is spare makes room: the one that has been idle longest, as a rule.
    fn reserve(
        &self,
        priority: Priority,
        work: Work,
        host: &Rc<ShardCopy<HostStats>>,
        places: &mut Places,
    ) -> Result<(), Lacking> {
        let (group, limits) = (&self.group, &self.group.limits);
        let make_room = |places: &mut Places, lacking: Lacking| match group.give_up(&lacking, work == Work::Main) {
            Some(given) => {
                places.take_over(given, &lacking, priority);
                Ok(())
            }
            None => Err(lacking),
        };
        if places.host.is_none() {
            match limits.has_host_room(priority, host) {
                true => places.host = Some(HostPlace::new(host)),
                false => make_room(places, Lacking::Host(host.shared().clone()))?,
            }
        }
        if places.permit.is_none() {
            match limits.try_acquire(Resource::Connections, priority) {
                Some(permit) => places.permit = Some(permit),
                None => make_room(places, Lacking::Cluster(priority))?,
            }
        }
        Ok(())
    }

    fn slot(&self, places: Places, host: &Rc<ShardCopy<HostStats>>, priority: Priority) -> Rc<Slot> {
        let limits = Some(&self.group.limits).filter(|_| self.group.is_limited());
        Slot::new(places, host, priority, limits)
    }

    /// To be called when fewer requests wait, or fewer connections are under way: those that no request waits for are spare
    /// from now on, and a place that is only asked for is asked for no longer.
    pub(super) fn settle_connects(&self) {
        if !self.group.is_limited() {
            return;
        }
        let all = self.connects_for(self.waiters.borrow().waiting());
        let main = self.connects_for(self.waiters.borrow().waiting_main());
        let mut unneeded = Vec::new();
        {
            let mut connecting = self.connecting.borrow_mut();
            while connecting.len() > all
                && let Some(at) = connecting.iter().rposition(|connecting| connecting.slot.is_none())
            {
                unneeded.push(connecting.remove(at).task);
            }
            for (place, connecting) in connecting.iter().enumerate() {
                connecting.slot.iter().for_each(|slot| slot.set_spare(place >= main));
            }
        }
        unneeded.into_iter().for_each(|task| self.reactor.cancel(task));
    }

    /// Give up a connect that no request of main traffic waits for. What it counted for is returned.
    pub(super) fn give_up_connect(&self, lacking: &Lacking) -> Option<Places> {
        let needed = self.connects_for(self.waiters.borrow().waiting_main());
        let (task, places) = {
            let mut connecting = self.connecting.borrow_mut();
            let is_spare = |connecting: &Connecting| connecting.slot.as_ref().is_some_and(|slot| slot.fits(lacking));
            let at = connecting.iter().skip(needed).rposition(is_spare)? + needed;
            let given_up = connecting.remove(at);
            (given_up.task, given_up.slot?.vacate())
        };
        self.reactor.cancel(task);
        // Side work may have waited for it.
        if self.waiters.borrow().waiting() > self.room_to_come() {
            let overflow = match lacking {
                Lacking::Cluster(priority) => Overflow::Connections(*priority),
                Lacking::Host(_) => Overflow::ConnectionsPerHost(Priority::Default),
            };
            self.group.limits.count_shed();
            self.waiters.borrow_mut().serve_side(Err(ConnectError::Overflow(overflow)), &self.reactor);
        }
        Some(places)
    }

    pub(super) fn give_up_connects(&self) {
        let connecting = std::mem::take(&mut *self.connecting.borrow_mut());
        connecting.into_iter().for_each(|connecting| self.reactor.cancel(connecting.task));
    }
}

/// Connect within the cluster's timeout, in a task of its own: the connection is for the request that has waited longest
/// when it stands.
async fn connect(pool: Rc<Pool>, slot: Rc<Slot>, work: Work) {
    let timer = Timer::new(&pool.reactor);
    timer.arm_in(pool.options.connect_timeout);
    let outcome = establish(&pool, slot, work, &timer).await;
    pool.connected(outcome);
}

/// The same, once another shard has given a connection up.
async fn claim_and_connect(pool: Rc<Pool>, claimed: Claimed) {
    let timer = Timer::new(&pool.reactor);
    timer.arm_in(pool.options.connect_timeout);
    let work = claimed.work;
    let outcome = match claim(&pool, claimed, &timer).await {
        Ok(slot) => {
            let task = pool.reactor.current_task();
            if let Some(own) = pool.connecting.borrow_mut().iter_mut().find(|connecting| connecting.task == task) {
                own.slot = Some(slot.clone());
            }
            pool.settle_connects();
            establish(&pool, slot, work, &timer).await
        }
        Err(overflow) => Err(ConnectError::Overflow(overflow)),
    };
    pool.connected(outcome);
}

async fn claim(pool: &Rc<Pool>, claimed: Claimed, timer: &Timer) -> Result<Rc<Slot>, Overflow> {
    let Claimed { priority, work, host, mut places, mut lacking, mut asking } = claimed;
    let limits = &pool.group.limits;
    for _ in 0..CLAIMS_MAX {
        let answer = poll_fn(|context| match Pin::new(&mut asking).poll(context) {
            Poll::Pending if timer.fired() => Poll::Ready(None),
            polled => polled,
        });
        match answer.await {
            Some(given) => places.take_over(given, &lacking, priority),
            None if timer.fired() => break,
            // What was spare is in use again.
            None => {}
        }
        match pool.reserve(priority, work, &host, &mut places) {
            Ok(()) => return Ok(pool.slot(places, &host, priority)),
            Err(still) => lacking = still,
        }
        let Some(next) = limits.ask(&lacking, priority, work == Work::Main, &host) else { break };
        asking = next;
    }
    Err(limits.refuse(&lacking, priority))
}

/// A connection that stands.
pub(super) enum Made {
    /// It serves one exchange at a time.
    Exclusive(Lease),
    /// It serves many.
    Shared(super::shared::Shared),
}

/// A stream to one of the addresses, and its index. Where no descriptor or memory is left for main traffic, side work of the
/// shard is given up first, then the pooled connections that have been idle longest, to whichever endpoint.
async fn open(pool: &Rc<Pool>, work: Work, addresses: &[Address]) -> io::Result<(ByteStream, usize)> {
    let (network, reactor) = (&pool.network, &pool.reactor);
    if work == Work::Side {
        let opened = network.connect_any_side(reactor, addresses).await;
        return opened.inspect_err(|error| pool.group.limits.count_shed_if(is_local_shortage(error)));
    }
    let mut attempts = Attempts::default();
    loop {
        match network.connect_any(reactor, addresses).await {
            Err(error) if is_local_shortage(&error) => {
                if !reactor.make_room(&mut attempts).await {
                    return Err(error);
                }
            }
            opened => return opened,
        }
    }
}

async fn establish(pool: &Rc<Pool>, slot: Rc<Slot>, work: Work, timer: &Timer) -> Result<Made, ConnectError> {
    let reactor = &pool.reactor;
    let (started, drained) = (reactor.now(), pool.drained.get());
    // The addresses may change while this waits.
    let addresses = pool.addresses.borrow().clone();
    let is_connected = Cell::new(false);
    let result = {
        let mut connecting = pin!(async {
            let (stream, index) = open(pool, work, &addresses).await.map_err(ConnectError::Failed)?;
            let connected = reactor.now();
            is_connected.set(true);
            match &pool.options.tls {
                None => Ok((stream, index, connected)),
                Some(connector) => {
                    let secured = tls::connect(stream, connector, &addresses[index], reactor).await;
                    Ok((secured.map_err(ConnectError::Tls)?, index, connected))
                }
            }
        });
        poll_fn(|context| match connecting.as_mut().poll(context) {
            Poll::Ready(result) => Poll::Ready(result),
            Poll::Pending if timer.fired() => {
                Poll::Ready(Err(ConnectError::Timeout { in_handshake: is_connected.get() }))
            }
            Poll::Pending => Poll::Pending,
        })
        .await
    };
    match result {
        Ok((stream, index, connected)) => {
            let remote = match &addresses[index] {
                Address::Ip(address) => Some(*address),
                Address::Unix(_) => None,
            };
            pool.stats.upstream_cx_connect_ms.record((reactor.now() - started) / 1000);
            let (local, pool_of_name) = (stream.local_address(), pool.for_name());
            let tls = stream.tls().map(|stream| Rc::new(stream.endpoint()));
            let ends = Ends { local, remote, tls, connect_start: started, connected, pool: pool_of_name };
            let connection = Connection::new(ends, slot, drained, reactor, &pool.stats);
            Ok(match pool.spoken(&stream) {
                Protocol::Http1 => {
                    pool.stats.upstream_cx_http1_total.inc();
                    Made::Exclusive(Lease::new(Upstream::H1(h1::Asked::new(stream, reactor)), connection))
                }
                Protocol::Http2 => {
                    pool.stats.upstream_cx_http2_total.inc();
                    Made::Shared(super::shared::Shared::new(pool, stream, connection))
                }
            })
        }
        Err(error) => {
            tracing::debug!(target: "ringway::upstream", address = addresses.first().map(display), reason = %error.reason(), "no connection");
            pool.stats.upstream_cx_connect_fail.inc();
            slot.host().cx_connect_fail.inc();
            if matches!(error, ConnectError::Timeout { .. }) {
                pool.stats.upstream_cx_connect_timeout.inc();
            }
            Err(error)
        }
    }
}
