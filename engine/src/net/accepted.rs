//! A connection as it was accepted, and what is known of its way here.

use super::tls::Fingerprints;
use super::tls::client_hello::Asked;
use super::{Drain, Noted, Placed, Seat};
use crate::base::clock::Nanos;
use crate::stats::ListenerStats;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

/// A connection on its way in.
pub struct Accepted {
    pub stream: Noted,
    pub arrival: Arrival,
    pub listener_stats: Arc<ListenerStats>,
    pub drain: Rc<Drain>,
    pub seat: Seat,
    /// Of a connection of HTTP/2 whose shard is chosen.
    pub placed: Option<Box<Placed>>,
}

/// Where a connection is from, and what it arrived over. Listener filters may learn more than the socket says.
#[derive(Clone, Debug, Default)]
pub struct Arrival {
    /// The client's address; `None` on a Unix socket.
    pub remote: Option<SocketAddr>,
    /// This side's, the one that the client connected to.
    pub local: Option<SocketAddr>,
    pub transport: Transport,
    /// When it was accepted.
    pub opened: Nanos,
    /// Its number in the process, which begins with the shard that serves it.
    pub id: u64,
    /// What its first bytes are, where they have been looked at.
    pub first: Option<Rc<FirstBytes>>,
}

impl Arrival {
    /// The name that the client asks for in a handshake that is not made here.
    pub fn server_name(&self) -> Option<&str> {
        match self.first.as_deref() {
            Some(FirstBytes::Tls { asked, .. }) => asked.server_name.as_deref(),
            Some(FirstBytes::Raw) | None => None,
        }
    }

    /// Of the client's first message, wherever the handshake is made.
    pub fn fingerprints(&self) -> Option<&Arc<Fingerprints>> {
        match self.first.as_deref() {
            Some(FirstBytes::Tls { fingerprints, .. }) => fingerprints.as_ref(),
            Some(FirstBytes::Raw) | None => None,
        }
    }
}

/// How serving a connection has ended.
pub enum Served<F> {
    /// With the connection.
    Over,
    /// Not at all: it goes on with this future, in memory that is just as large as that needs.
    GoesOn(F),
    /// Another shard serves it, and counts it from now on.
    Elsewhere,
}

/// What a connection begins with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FirstBytes {
    /// The first message of a handshake. Once that is made here, the session knows what was asked for.
    Tls { asked: Asked, fingerprints: Option<Arc<Fingerprints>> },
    /// Something else.
    Raw,
}

impl FirstBytes {
    /// What is kept of it behind a handshake that is made here: nothing, where no fingerprint is told.
    pub fn behind_handshake(fingerprints: Option<Arc<Fingerprints>>) -> Option<Rc<Self>> {
        fingerprints.map(|known| Rc::new(Self::Tls { asked: Asked::default(), fingerprints: Some(known) }))
    }
}

/// What carries a connection's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Transport {
    /// As they are.
    #[default]
    Plain,
    /// Through records of TLS.
    Tls,
}
