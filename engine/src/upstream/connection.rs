//! One connection to an endpoint: what is known of it, and its accounting.

use super::limits::Permit;
use crate::base::clock::Nanos;
use crate::ring::Reactor;
use crate::stats::{ClusterStats, HostStats, ShardCopy};
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

/// A connection's place among those of its cluster and of its endpoint, from before it is made to its end.
pub(super) struct Slot {
    _permit: Permit,
    host: Rc<ShardCopy<HostStats>>,
}

impl Slot {
    pub(super) fn new(permit: Permit, host: &Rc<ShardCopy<HostStats>>) -> Self {
        host.cx_active.inc();
        Self { _permit: permit, host: host.clone() }
    }

    pub(super) fn host(&self) -> &HostStats {
        &self.host
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.host.cx_active.dec();
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
    /// When it was asked for.
    pub connect_start: Nanos,
    /// When it was established.
    pub opened: Nanos,
    reactor: Rc<Reactor>,
    stats: Arc<ClusterStats>,
    _slot: Slot,
    /// Requests begun on it.
    pub(super) requests: Cell<u64>,
    /// Exchanges under way.
    pub(super) active: Cell<u32>,
    /// How often its pool had been drained when it was asked for.
    pub(super) drained: u64,
}

/// The two ends of a connection and its beginning.
pub(super) struct Ends {
    pub local: Option<SocketAddr>,
    pub remote: Option<SocketAddr>,
    pub connect_start: Nanos,
}

impl Connection {
    pub(super) fn new(
        ends: Ends,
        slot: Slot,
        drained: u64,
        reactor: &Rc<Reactor>,
        stats: &Arc<ClusterStats>,
    ) -> Rc<Self> {
        stats.upstream_cx_total.inc();
        stats.upstream_cx_active.inc();
        slot.host().cx_total.inc();
        Rc::new(Self {
            // Numbers in JSON are exact up to 53 bits.
            id: reactor.random().next_u64() >> 11,
            local: ends.local,
            remote: ends.remote,
            connect_start: ends.connect_start,
            opened: reactor.now(),
            reactor: reactor.clone(),
            stats: stats.clone(),
            _slot: slot,
            requests: Cell::new(0),
            active: Cell::new(0),
            drained,
        })
    }

    /// An exchange begins.
    pub(super) fn begin(&self) {
        self.requests.set(self.requests.get() + 1);
        self.active.set(self.active.get() + 1);
    }

    /// An exchange has ended.
    pub(super) fn end(&self) {
        self.active.set(self.active.get() - 1);
    }

    /// Whether another exchange was on it before the present one: the upstream may have closed it at any moment since.
    pub fn is_reused(&self) -> bool {
        self.requests.get() > 1
    }

    /// The connection is over; to be called once.
    pub(super) fn closed(&self, by_peer: bool) {
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
