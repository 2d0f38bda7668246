//! One listener on one shard: accepting, limits, the choice of a filter chain, a connection's life.

mod limit;

pub use limit::{ConnectionLimit, Permit};

use crate::hcm::{Accepted, ChainSlot, Drain};
use crate::net::{ByteStream, sys};
use crate::network_filter::NetworkFilter;
use crate::ring::{Acceptor, Reactor, Socket};
use crate::stats::{ListenerStats, ShardStats};
use pin_project_lite::pin_project;
use ringway_config::model::{Address, FilterChainMatch};
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

/// After an accept that found no descriptor or memory left: the connection that met it is still in the backlog, and
/// asking at once would meet it again, without end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A filter chain on this shard.
pub struct FilterChain {
    pub name: String,
    pub matcher: Option<FilterChainMatch>,
    pub filter: NetworkFilter,
}

pub struct Listener {
    pub address: Address,
    /// In the order of the configuration; replaced by a reload.
    pub chains: RefCell<Vec<FilterChain>>,
    pub stats: Arc<ListenerStats>,
    pub shard_stats: Arc<ShardStats>,
    pub drain: Rc<Drain>,
    /// Of this listener and of the process.
    pub limits: RefCell<[Arc<ConnectionLimit>; 2]>,
}

impl Listener {
    /// The place of the first chain that matches.
    fn choose(&self, remote: Option<SocketAddr>, local: Option<SocketAddr>) -> Option<NetworkFilter> {
        let chains = self.chains.borrow();
        let chain = chains.iter().find(|chain| match &chain.matcher {
            None => true,
            Some(matcher) => matches(matcher, remote, local),
        })?;
        Some(chain.filter.clone())
    }

    /// The place of the chain with this name, to put a new connection manager into.
    pub fn slot(&self, chain: &str) -> Option<Rc<ChainSlot>> {
        let chains = self.chains.borrow();
        chains.iter().find(|candidate| candidate.name == chain).map(|chain| match &chain.filter {
            NetworkFilter::Http(slot) => slot.clone(),
        })
    }
}

/// Whether a connection with these addresses is for the filter chain.
pub fn matches(matcher: &FilterChainMatch, remote: Option<SocketAddr>, local: Option<SocketAddr>) -> bool {
    let source = &matcher.source_prefix_ranges;
    let ports = &matcher.destination_ports;
    (source.is_empty() || remote.is_some_and(|remote| source.iter().any(|range| range.contains(remote.ip()))))
        && (ports.is_empty() || local.is_some_and(|local| ports.contains(&local.port())))
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
    let stats = &listener.stats;
    stats.downstream_cx_total.inc();
    let limits = listener.limits.borrow();
    let Some(own) = Permit::take(&limits[0]) else { return stats.downstream_cx_overflow.inc() };
    let Some(global) = Permit::take(&limits[1]) else { return stats.downstream_global_cx_overflow.inc() };
    drop(limits);
    let remote = sys::peer_address(fd.as_raw_fd());
    let local = bound.or_else(|| sys::local_address(fd.as_raw_fd()));
    let Some(filter) = listener.choose(remote, local) else { return stats.no_filter_chain_match.inc() };
    let life = Life {
        stats: listener.stats.clone(),
        opened: reactor.now(),
        reactor: reactor.clone(),
        _permits: [own, global],
    };
    stats.downstream_cx_active.inc();
    let accepted = Accepted {
        stream: ByteStream::Socket(Socket::accepted(reactor, fd)),
        remote,
        local,
        listener_stats: listener.stats.clone(),
        drain: listener.drain.clone(),
    };
    reactor.spawn(Served { serving: filter.run(accepted), _life: life });
}

pin_project! {
    // Not an async block: that would keep room for all that the inner future is made of beside the future, and an idle
    // connection is little else.
    struct Served<F> {
        #[pin]
        serving: F,
        // Dropped last.
        _life: Life,
    }
}

impl<F: Future<Output = ()>> Future for Served<F> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        self.project().serving.poll(context)
    }
}

/// A connection's place in the listener's statistics and limits, for as long as it lives.
struct Life {
    stats: Arc<ListenerStats>,
    opened: u64,
    reactor: Rc<Reactor>,
    _permits: [Permit; 2],
}

impl Drop for Life {
    fn drop(&mut self) {
        self.stats.downstream_cx_active.dec();
        self.stats.downstream_cx_destroy.inc();
        self.stats.downstream_cx_length_ms.record((self.reactor.now() - self.opened) / 1000);
    }
}

#[cfg(test)]
mod tests {
    use ringway_config::model::Cidr;

    #[test]
    fn ranges_hold_their_addresses() {
        let range = |address: &str, prefix_len| Cidr { address: address.parse().expect("an address"), prefix_len };
        for (range, address, expected) in [
            (range("10.0.0.0", 8), "10.255.1.2", true),
            (range("10.0.0.0", 8), "11.0.0.0", false),
            (range("10.0.0.0", 8), "::ffff:10.1.1.1", true),
            (range("0.0.0.0", 0), "1.2.3.4", true),
            (range("192.168.1.7", 32), "192.168.1.7", true),
            (range("fd00::", 8), "fdff::1", true),
            (range("::", 0), "2001:db8::1", true),
            (range("::", 0), "1.2.3.4", false),
        ] {
            assert_eq!(range.contains(address.parse().expect("an address")), expected, "{range:?} {address}");
        }
    }
}
