//! A connection goes over to another shard, with what has come on it.

use super::house::Room;
use super::limit::Permits;
use super::spread::{Place, Placement, Ticket};
use super::{Arrival, ByteStream, Drain, FirstBytes, Seat};
use crate::base::clock::Nanos;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// A connection between two shards. Dropped, it is closed and its permits are given back.
#[derive(Debug)]
pub struct Crossing {
    pub fd: OwnedFd,
    /// What has come on it and is to be read again.
    pub received: Vec<u8>,
    pub remote: Option<SocketAddr>,
    pub local: Option<SocketAddr>,
    pub first: Option<FirstBytes>,
    pub opened: Nanos,
    pub permits: Option<Permits>,
    pub before: Before,
}

/// What has been done for a connection on the shard that has accepted it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Before {
    /// Since when its handshake takes time.
    pub handshake_since: Option<Nanos>,
    /// Since when the connection manager counts it.
    pub counted_since: Option<Nanos>,
}

/// A connection whose shard is chosen.
pub struct Placed {
    pub place: Place,
    pub before: Before,
}

impl Placed {
    /// On the shard that has accepted it.
    pub fn here(place: Place) -> Box<Self> {
        Box::new(Self { place, before: Before::default() })
    }
}

/// A connection that has been found to speak HTTP/2 before anything was said on it.
pub struct Candidate<'a> {
    pub stream: &'a ByteStream,
    pub arrival: &'a Arrival,
    pub drain: &'a Drain,
    pub seat: Seat,
    /// What has been taken from its stream.
    pub received: &'a [u8],
    pub before: Before,
}

impl Candidate<'_> {
    /// Its place, if it is to be served here. `None`: another shard serves it, and this one is to forget it.
    pub async fn settle(&self) -> Option<Place> {
        let spreader = self.drain.spreader();
        // On its last connections a listener has no work to give away.
        if self.drain.is_draining() || !matches!(self.stream, ByteStream::Socket(_)) {
            return Some(spreader.stay());
        }
        match spreader.place() {
            Placement::Here(place) => Some(place),
            Placement::There(ticket) => match self.cross(&ticket).await {
                true => {
                    ticket.used();
                    None
                }
                false => Some(ticket.stay()),
            },
        }
    }

    /// Whether the other shard has it now. If not, what came meanwhile is back in its stream.
    async fn cross(&self, ticket: &Ticket) -> bool {
        let Some(room) = self.drain.room().on(&ticket.from.house, ticket.to.shard) else { return false };
        let Ok((fd, rest)) = poll_fn(|_| self.stream.poll_copy()).await else { return false };
        let mut received = self.received.to_vec();
        rest.iter().for_each(|buf| received.extend_from_slice(buf));
        let is_taken = self.hand_over(&room, fd, received);
        if !is_taken {
            rest.into_iter().rev().for_each(|buf| self.stream.unread(buf));
        }
        is_taken
    }

    fn hand_over(&self, room: &Arc<Room>, fd: OwnedFd, received: Vec<u8>) -> bool {
        let Self { arrival, drain, seat, before, .. } = *self;
        room.take_in(|| Crossing {
            fd,
            received,
            remote: arrival.remote,
            local: arrival.local,
            first: arrival.first.as_deref().cloned(),
            opened: arrival.opened,
            permits: drain.take_permits(seat),
            before,
        })
    }
}
