//! One exchange's hold on a connection.

use super::connection::Connection;
use super::pool::Pool;
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
    /// Hears of the end where the connection is shared.
    shared_by: std::rc::Weak<Pool>,
}

impl Lease {
    pub(super) fn new(wire: Upstream, connection: Rc<Connection>) -> Self {
        Self { wire, connection, in_use: false, idle_since: 0, shared_by: std::rc::Weak::new() }
    }

    /// One exchange on a connection that others use, too.
    pub(super) fn shared(wire: Upstream, connection: Rc<Connection>, pool: &Rc<Pool>) -> Self {
        connection.begin();
        Self { wire, connection, in_use: true, idle_since: 0, shared_by: Rc::downgrade(pool) }
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
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.wire.is_exclusive() {
            self.connection.closed(self.wire.ended_by_peer());
        }
        if self.in_use {
            self.connection.end();
        }
        if let Some(pool) = self.shared_by.upgrade() {
            pool.stream_freed(&self.connection);
        }
    }
}
