//! One connection to an endpoint: what is known of it, and its accounting.

use super::limits::{HostPlace, Lacking, Permit, Places, Priority, ShardLimits};
use super::pool::Pool;
use crate::base::clock::Nanos;
use crate::net::tls;
use crate::ring::Reactor;
use crate::stats::{ClusterStats, HostStats, ShardCopy};
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::{Rc, Weak};
use std::sync::Arc;

/// A connection's place among those of its cluster and of its endpoint, from before it is made to its end.
pub(super) struct Slot {
    permit: Cell<Option<Permit>>,
    place: Cell<Option<HostPlace>>,
    host: Rc<ShardCopy<HostStats>>,
    priority: Priority,
    /// Where connections are limited: gets told whether this one could be given up.
    limits: Option<Rc<ShardLimits>>,
    is_spare: Cell<bool>,
}

impl Slot {
    pub(super) fn new(
        places: Places,
        host: &Rc<ShardCopy<HostStats>>,
        priority: Priority,
        limits: Option<&Rc<ShardLimits>>,
    ) -> Rc<Self> {
        Rc::new(Self {
            permit: Cell::new(places.permit),
            place: Cell::new(places.host),
            host: host.clone(),
            priority,
            limits: limits.cloned(),
            is_spare: Cell::new(false),
        })
    }

    pub(super) fn host(&self) -> &HostStats {
        &self.host
    }

    /// Whether the connection's end makes room under this limit.
    pub(super) fn fits(&self, lacking: &Lacking) -> bool {
        match lacking {
            Lacking::Cluster(priority) => *priority == self.priority,
            Lacking::Host(host) => Arc::ptr_eq(host, self.host.shared()),
        }
    }

    /// Whether the connection could be given up.
    #[inline]
    pub(super) fn set_spare(&self, on: bool) {
        if let Some(limits) = &self.limits
            && self.is_spare.replace(on) != on
        {
            let change = if on { 1 } else { -1 };
            limits.spare(self.priority, change);
            self.host.cx_spare.add(change.into());
        }
    }

    /// The connection is given up: what it counted for.
    pub(super) fn vacate(&self) -> Places {
        self.set_spare(false);
        Places { permit: self.permit.take(), host: self.place.take() }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.set_spare(false);
    }
}

/// A connection that is established. All exchanges on it share it.
pub struct Connection {
    /// For logs; random, so that it is unique in the process without a count that all shards share.
    pub id: u64,
    /// This side's address; `None` on a Unix socket.
    pub local: Option<SocketAddr>,
    /// The endpoint's.
    pub remote: Option<SocketAddr>,
    /// What its handshake has come to, if it has TLS.
    pub tls: Option<Rc<tls::Endpoint>>,
    /// When it was asked for.
    pub connect_start: Nanos,
    /// When it was there, without its TLS.
    pub connected: Nanos,
    /// When it was established.
    pub opened: Nanos,
    reactor: Rc<Reactor>,
    stats: Arc<ClusterStats>,
    pub(super) slot: Rc<Slot>,
    /// Requests begun on it.
    pub(super) requests: Cell<u64>,
    /// Exchanges under way.
    pub(super) active: Cell<u32>,
    is_closed: Cell<bool>,
    /// How often its pool had been drained when it was asked for.
    pub(super) drained: u64,
    /// The one of several pools of the endpoint that it belongs to.
    pub(super) pool: Weak<Pool>,
}

/// The two ends of a connection and its beginning.
pub(super) struct Ends {
    pub local: Option<SocketAddr>,
    pub remote: Option<SocketAddr>,
    pub tls: Option<Rc<tls::Endpoint>>,
    pub connect_start: Nanos,
    pub connected: Nanos,
    /// Where there is more than one for the endpoint.
    pub pool: Weak<Pool>,
}

impl Connection {
    pub(super) fn new(
        ends: Ends,
        slot: Rc<Slot>,
        drained: u64,
        reactor: &Rc<Reactor>,
        stats: &Arc<ClusterStats>,
    ) -> Rc<Self> {
        stats.upstream_cx_total.inc();
        stats.upstream_cx_active.inc();
        slot.host().cx_total.inc();
        slot.set_spare(true);
        Rc::new(Self {
            // Numbers in JSON are exact up to 53 bits.
            id: reactor.random().next_u64() >> 11,
            local: ends.local,
            remote: ends.remote,
            tls: ends.tls,
            connect_start: ends.connect_start,
            connected: ends.connected,
            opened: reactor.now(),
            reactor: reactor.clone(),
            stats: stats.clone(),
            slot,
            requests: Cell::new(0),
            active: Cell::new(0),
            is_closed: Cell::new(false),
            drained,
            pool: ends.pool,
        })
    }

    /// An exchange begins.
    pub(super) fn begin(&self) {
        self.requests.set(self.requests.get() + 1);
        self.active.set(self.active.get() + 1);
        self.slot.set_spare(false);
    }

    /// An exchange has ended.
    pub(super) fn end(&self) {
        self.active.set(self.active.get() - 1);
        self.slot.set_spare(self.active.get() == 0 && !self.is_closed.get());
    }

    /// Whether another exchange was on it before the present one: the upstream may have closed it at any moment since.
    pub fn is_reused(&self) -> bool {
        self.requests.get() > 1
    }

    /// The connection is over; to be called once.
    pub(super) fn closed(&self, by_peer: bool) {
        self.is_closed.set(true);
        drop(self.slot.vacate());
        let stats = &self.stats;
        stats.upstream_cx_active.dec();
        stats.upstream_cx_destroy.inc();
        stats.upstream_cx_length_ms.record((self.reactor.now() - self.opened) / 1000);
        let is_active = self.active.get() > 0;
        if by_peer {
            stats.upstream_cx_destroy_remote.inc();
        } else {
            stats.upstream_cx_destroy_local.inc();
        }
        if is_active {
            stats.upstream_cx_destroy_with_active_rq.inc();
            if by_peer {
                stats.upstream_cx_destroy_remote_with_active_rq.inc();
            } else {
                stats.upstream_cx_destroy_local_with_active_rq.inc();
            }
        }
    }
}
