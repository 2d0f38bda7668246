//! One listener on one shard: accepting, limits, the choice of a filter chain, a connection's life.

mod choice;
mod filter;
mod limit;
mod way_in;

pub use choice::{ChainMatcher, matches};
pub use filter::ListenerFilter;
pub use limit::{ConnectionLimit, Permit};

use crate::hcm::ChainSlot;
use crate::net::{Accepted, Arrival, ByteStream, Drain, Protocol, sys};
use crate::network_filter::NetworkFilter;
use crate::ring::{Acceptor, Reactor, Socket};
use crate::stats::{ListenerStats, ShardStats};
use ringway_config::model::Address;
use std::cell::RefCell;
use std::future::poll_fn;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// After an accept that found no descriptor or memory left: the connection that met it is still in the backlog, and
/// asking at once would meet it again, without end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A filter chain on this shard.
pub struct FilterChain {
    pub name: String,
    pub filter: NetworkFilter,
}

pub struct Listener {
    pub address: Address,
    /// What looks at a connection before its chain is chosen.
    pub filters: RefCell<Rc<[ListenerFilter]>>,
    /// In the order of the configuration; replaced by a reload, with what finds the one for a connection.
    pub chains: RefCell<Vec<FilterChain>>,
    pub matcher: RefCell<Arc<ChainMatcher>>,
    pub stats: Arc<ListenerStats>,
    pub shard_stats: Arc<ShardStats>,
    pub drain: Rc<Drain>,
    /// Of this listener and of the process.
    pub limits: RefCell<[Arc<ConnectionLimit>; 2]>,
}

impl Listener {
    /// What serves a connection of this kind.
    fn choose(&self, arrival: &Arrival) -> Option<NetworkFilter> {
        let index = self.matcher.borrow().choose(arrival)?;
        self.chains.borrow().get(index).map(|chain| chain.filter.clone())
    }

    /// The place of the chain with this name, to put a new connection manager into.
    pub fn slot(&self, chain: &str) -> Option<Rc<ChainSlot>> {
        let chains = self.chains.borrow();
        chains.iter().find(|candidate| candidate.name == chain).map(|chain| match &chain.filter {
            NetworkFilter::Http(slot) => slot.clone(),
        })
    }
}

/// Accept on `socket` until the listener drains.
pub async fn accept(reactor: Rc<Reactor>, listener: Rc<Listener>, socket: OwnedFd) {
    // A bound address is every connection's local address unless it is a wildcard.
    let bound = sys::local_address(socket.as_raw_fd()).filter(|address| !address.ip().is_unspecified());
    let acceptor = Acceptor::new(&reactor, socket);
    listener.drain.watch(&reactor);
    let mut told = false;
    loop {
        let accepted = poll_fn(|_| match acceptor.poll_accept() {
            Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
            // What is accepted already is served before accepting ends.
            Poll::Pending if listener.drain.is_draining() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        })
        .await;
        match accepted {
            None => return,
            Some(Ok(fd)) => {
                told = false;
                start(&reactor, &listener, fd, bound);
            }
            Some(Err(error)) => {
                listener.stats.accept_error.inc();
                listener.shard_stats.accept_errors.inc();
                // Once for each time that it begins.
                if !std::mem::replace(&mut told, true) {
                    tracing::warn!(target: "ringway::listener", listener = %listener.address, %error, "cannot accept, trying again soon");
                }
                reactor.sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn start(reactor: &Rc<Reactor>, listener: &Rc<Listener>, fd: OwnedFd, bound: Option<SocketAddr>) {
    let remote = sys::peer_address(fd.as_raw_fd());
    let local = bound.or_else(|| sys::local_address(fd.as_raw_fd()));
    admit(reactor, listener, Arrival { remote, local, ..Arrival::default() }, || {
        ByteStream::Socket(Socket::accepted(reactor, fd))
    });
}

/// Take in a connection, unless there are too many. Its task begins with its way in.
pub fn admit(reactor: &Rc<Reactor>, listener: &Rc<Listener>, arrival: Arrival, stream: impl FnOnce() -> ByteStream) {
    let stats = &listener.stats;
    stats.downstream_cx_total.inc();
    let limits = listener.limits.borrow();
    let Some(own) = Permit::take(&limits[0]) else { return stats.downstream_cx_overflow.inc() };
    let Some(global) = Permit::take(&limits[1]) else { return stats.downstream_global_cx_overflow.inc() };
    drop(limits);
    let (listener_stats, drain) = (listener.stats.clone(), listener.drain.clone());
    let accepted = Accepted { stream: stream(), arrival, listener_stats, drain };
    let permits = [own, global];
    match arrival.protocol {
        Protocol::Http1 => reactor.spawn(way_in::way_in(reactor, listener, accepted, permits, NetworkFilter::run)),
        #[cfg(feature = "second-wire")]
        Protocol::Frames { .. } => {
            reactor.spawn(way_in::way_in(reactor, listener, accepted, permits, NetworkFilter::run_frames))
        }
    };
}
