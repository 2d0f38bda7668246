//! One connection to an endpoint, with its accounting.

use super::limits::Permit;
use crate::base::clock::Nanos;
use crate::net::{ByteStream, sys};
use crate::ring::Reactor;
use crate::stats::{ClusterStats, HostStats, ShardCopy};
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

/// A connection that is established. Dropping it closes it.
pub struct Connection {
    pub stream: ByteStream,
    /// For logs; random, so that it is unique in the process without anybody counting.
    pub id: u64,
    /// This side's address; `None` on a Unix socket.
    pub local: Option<SocketAddr>,
    /// The endpoint's.
    pub remote: Option<SocketAddr>,
    /// When it was asked for.
    pub connect_start: Nanos,
    reactor: Rc<Reactor>,
    stats: Arc<ClusterStats>,
    _slot: Slot,
    /// When it was established.
    pub opened: Nanos,
    pub(super) idle_since: Nanos,
    /// Requests begun on it.
    pub requests: u64,
    /// An exchange is under way.
    pub(super) active: bool,
    /// The upstream ended it.
    pub(super) ended_by_peer: bool,
    /// How often its pool had been drained when it was asked for.
    pub(super) drained: u64,
}

impl Connection {
    pub(super) fn new(
        stream: ByteStream,
        slot: Slot,
        remote: Option<SocketAddr>,
        connect_start: Nanos,
        reactor: &Rc<Reactor>,
        stats: &Arc<ClusterStats>,
    ) -> Self {
        stats.upstream_cx_total.inc();
        stats.upstream_cx_http1_total.inc();
        stats.upstream_cx_active.inc();
        slot.host().cx_total.inc();
        let now = reactor.now();
        let local = stream.plain_socket().and_then(|socket| sys::local_address(socket.raw_fd()));
        Self {
            stream,
            // Numbers in JSON are exact up to 53 bits.
            id: reactor.random().next_u64() >> 11,
            local,
            remote,
            connect_start,
            reactor: reactor.clone(),
            stats: stats.clone(),
            _slot: slot,
            opened: now,
            idle_since: now,
            requests: 0,
            active: false,
            ended_by_peer: false,
            drained: 0,
        }
    }

    /// Whether another exchange was on it before the present one: the upstream may have closed it at any moment since.
    pub fn is_reused(&self) -> bool {
        self.requests > 1
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let stats = &self.stats;
        stats.upstream_cx_active.dec();
        stats.upstream_cx_destroy.inc();
        stats.upstream_cx_length_ms.record((self.reactor.now() - self.opened) / 1000);
        let by_peer = self.ended_by_peer || self.stream.is_broken();
        if by_peer {
            stats.upstream_cx_destroy_remote.inc();
        } else {
            stats.upstream_cx_destroy_local.inc();
        }
        if self.active {
            stats.upstream_cx_destroy_with_active_rq.inc();
            if by_peer {
                stats.upstream_cx_destroy_remote_with_active_rq.inc();
            } else {
                stats.upstream_cx_destroy_local_with_active_rq.inc();
            }
        }
    }
}
