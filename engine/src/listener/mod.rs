//! One listener on one shard: accepting, limits, the choice of a filter chain, a connection's life.

mod choice;
mod filter;
mod full_house;
mod way_in;

pub use choice::{ChainMatcher, matches};
pub use filter::ListenerFilter;
pub use full_house::keep;

use crate::hcm::ChainSlot;
use crate::net::{Accepted, Arrival, ByteStream, Claim, Drain, Full, House, Limits, Permits, Protocol, Seat, sys};
use crate::network_filter::NetworkFilter;
use crate::ring::{Acceptor, Reactor, Socket};
use crate::stats::{ListenerStats, ShardStats};
use full_house::{free_descriptor, make_room, may_have_room};
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
/// The same after a connection was closed to make room: its descriptor is free a few turns later.
const CLOSE_TIME: Duration = Duration::from_millis(2);

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
    pub limits: RefCell<Rc<Limits>>,
    pub house: Arc<House>,
}

impl Listener {
    /// What serves a connection of this kind.
    fn choose(&self, arrival: &Arrival) -> Option<NetworkFilter> {
        let index = self.matcher.borrow().choose(arrival)?;
        self.chains.borrow().get(index).map(|chain| chain.filter.clone())
    }

    fn refused(&self, full: Full) {
        match full {
            Full::Client => self.stats.downstream_cx_client_overflow.inc(),
            Full::Listener => self.stats.downstream_cx_overflow.inc(),
            Full::Process => self.stats.downstream_global_cx_overflow.inc(),
        }
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
                let is_wanted = is_shortage_of_descriptors(&error) && sys::has_backlog(acceptor.raw_fd());
                let is_freed = is_wanted && free_descriptor(&reactor, &listener.house).await;
                reactor.sleep(if is_freed { CLOSE_TIME } else { ACCEPT_PAUSE }).await;
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

/// Take in a connection. Where a limit is reached, one that waits for a request makes room for it; if none does, it is
/// refused. Its task begins with its way in.
pub fn admit(reactor: &Rc<Reactor>, listener: &Rc<Listener>, arrival: Arrival, stream: impl FnOnce() -> ByteStream) {
    listener.stats.downstream_cx_total.inc();
    let mut claim = Claim::new(&listener.limits.borrow(), arrival.remote);
    match claim.fill() {
        Ok(()) => serve(reactor, listener, arrival, stream(), claim.permits()),
        Err(full) if !may_have_room(&listener.house, &claim, full) => listener.refused(full),
        Err(_) => {
            let (on, listener, stream) = (reactor.clone(), listener.clone(), stream());
            reactor.spawn(async move {
                match make_room(&on, &listener.house, &mut claim).await {
                    Ok(()) => serve(&on, &listener, arrival, stream, claim.permits()),
                    Err(full) => listener.refused(full),
                }
            });
        }
    }
}

fn serve(
    reactor: &Rc<Reactor>,
    listener: &Rc<Listener>,
    arrival: Arrival,
    stream: ByteStream,
    permits: Option<Permits>,
) {
    let (listener_stats, drain) = (listener.stats.clone(), listener.drain.clone());
    let accepted = Accepted { stream, arrival, listener_stats, drain, seat: Seat::NONE };
    match arrival.protocol {
        Protocol::Http1 => reactor.spawn(way_in::way_in(reactor, listener, accepted, permits, NetworkFilter::run)),
        #[cfg(feature = "second-wire")]
        Protocol::Frames { .. } => {
            reactor.spawn(way_in::way_in(reactor, listener, accepted, permits, NetworkFilter::run_frames))
        }
    };
}

fn is_shortage_of_descriptors(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}
