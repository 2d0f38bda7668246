//! One exchange's hold on a connection.

use super::connection::Connection;
use crate::base::clock::Nanos;
use crate::mux::Upstream;
use crate::ring::Reactor;
use std::rc::Rc;

/// A wire to an endpoint, and the connection that it runs on. Dropped, the exchange is given up, and with it a connection
/// that serves one exchange at a time: `Pool::put` keeps that one.
pub struct Lease {
    pub wire: Upstream,
    pub connection: Rc<Connection>,
    /// An exchange is under way.
    in_use: bool,
    pub(super) idle_since: Nanos,
}

impl Lease {
    pub(super) fn new(wire: Upstream, connection: Rc<Connection>) -> Self {
        Self { wire, connection, in_use: false, idle_since: 0 }
    }

    pub(super) fn begin(&mut self) {
        self.connection.begin();
        self.in_use = true;
    }

    /// The exchange is over, and nothing of it is left on the wire.
    pub(super) fn end(&mut self, reactor: &Reactor) {
        self.connection.end();
        self.in_use = false;
        self.idle_since = reactor.now();
    }

    /// Whether the connection serves one exchange at a time, and ends with this.
    pub(super) fn is_exclusive(&self) -> bool {
        match self.wire {
            Upstream::H1(_) => true,
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.is_exclusive() {
            self.connection.closed(self.wire.ended_by_peer());
        }
        if self.in_use {
            self.connection.end();
        }
    }
}
