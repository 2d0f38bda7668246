//! A downstream connection: who it is from, what is counted for it, and which configuration it is served with.

use super::Hcm;
use super::drain::{Drain, Registration};
use crate::base::clock::Nanos;
use crate::net::ByteStream;
use crate::ring::Reactor;
use crate::stats::{HttpStats, ListenerStats};
use std::cell::RefCell;
use std::io::Write;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

/// The place of a filter chain's connection manager. A new configuration puts a new one in, and connections find it
/// there with their next request: no connection is closed for it.
pub struct ChainSlot(RefCell<Rc<Hcm>>);

impl ChainSlot {
    pub fn new(hcm: Rc<Hcm>) -> Rc<Self> {
        Rc::new(Self(RefCell::new(hcm)))
    }

    pub fn current(&self) -> Rc<Hcm> {
        self.0.borrow().clone()
    }

    pub fn replace(&self, hcm: Rc<Hcm>) {
        self.0.replace(hcm);
    }
}

/// A connection as the listener hands it over.
pub struct Accepted {
    pub stream: ByteStream,
    /// `None` on a Unix socket.
    pub remote: Option<SocketAddr>,
    pub local: Option<SocketAddr>,
    pub listener_stats: Arc<ListenerStats>,
    pub drain: Rc<Drain>,
}

/// Text of an IP address: at most 45 bytes (RFC 4291 section 2.2 with an IPv4 tail).
#[derive(Clone, Copy)]
pub(super) struct PeerText {
    bytes: [u8; 45],
    len: u8,
}

impl PeerText {
    fn new(address: Option<SocketAddr>) -> Self {
        let mut text = Self { bytes: [0; 45], len: 0 };
        if let Some(address) = address {
            let mut rest = &mut text.bytes[..];
            // Never longer than the array.
            let _ = write!(rest, "{}", address.ip().to_canonical());
            text.len = 45 - rest.len() as u8;
        }
        text
    }

    pub(super) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..self.len as usize]).unwrap_or_default()
    }
}

/// A connection while it is served. Dropped, it is closed and accounted for, whatever ended it.
pub(super) struct Connection {
    pub stream: ByteStream,
    pub remote: Option<SocketAddr>,
    pub local: Option<SocketAddr>,
    pub peer: PeerText,
    pub id: u64,
    pub requests: u64,
    pub drain: Rc<Drain>,
    pub listener_stats: Arc<ListenerStats>,
    pub slot: Rc<ChainSlot>,
    /// An exchange is under way.
    pub active: bool,
    reactor: Rc<Reactor>,
    pub(super) stats: Arc<HttpStats>,
    opened: Nanos,
    /// The peer ended it.
    pub ended_by_peer: bool,
    _registration: Registration,
}

impl Connection {
    pub(super) fn new(accepted: Accepted, slot: Rc<ChainSlot>, hcm: &Hcm) -> Self {
        let reactor = hcm.shard.reactor.clone();
        let stats = hcm.stats.clone();
        stats.downstream_cx_total.inc();
        stats.downstream_cx_active.inc();
        stats.downstream_cx_http1_total.inc();
        stats.downstream_cx_http1_active.inc();
        Self {
            stream: accepted.stream,
            remote: accepted.remote,
            local: accepted.local,
            peer: PeerText::new(accepted.remote),
            id: hcm.shard.next_connection_id(),
            requests: 0,
            _registration: accepted.drain.register(&reactor),
            drain: accepted.drain,
            listener_stats: accepted.listener_stats,
            slot,
            active: false,
            opened: reactor.now(),
            reactor,
            stats,
            ended_by_peer: false,
        }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        let stats = &self.stats;
        stats.downstream_cx_active.dec();
        stats.downstream_cx_http1_active.dec();
        stats.downstream_cx_destroy.inc();
        stats.downstream_cx_length_ms.record((self.reactor.now() - self.opened) / 1000);
        let by_peer = self.ended_by_peer || self.stream.is_broken();
        match (by_peer, self.active) {
            (true, false) => stats.downstream_cx_destroy_remote.inc(),
            (true, true) => {
                stats.downstream_cx_destroy_remote.inc();
                stats.downstream_cx_destroy_remote_active_rq.inc();
            }
            (false, false) => stats.downstream_cx_destroy_local.inc(),
            (false, true) => {
                stats.downstream_cx_destroy_local.inc();
                stats.downstream_cx_destroy_local_active_rq.inc();
            }
        }
        if std::thread::panicking() {
            stats.downstream_cx_panic.inc();
        }
    }
}
