//! One listener on one shard: accepting, limits, the choice of a filter chain, a connection's life.

mod accept;
mod filter;
mod flood;
mod full_house;
mod log;
mod way_in;

pub use accept::accept;
pub use filter::ListenerFilter;
pub use full_house::keep;
pub use log::ConnectionLogs;

use crate::base::clock::Nanos;
use crate::hcm::ChainSlot;
use crate::net::{
    Accepted, Arrival, ByteStream, ChainMatcher, Claim, Crossing, Drain, Ending, FirstBytes, Full, House, Limits,
    Noted, Notes, Permits, Placed, Seat, tls,
};
use crate::network_filter::NetworkFilter;
use crate::ring::{Buf, Reactor, Socket};
use crate::stats::{ListenerStats, ListenerTlsStats, ShardStats};
use full_house::{make_room, may_have_room};
use log::{ConnectionLog, noted};
use ringway_config::model::{Binding, TlsFingerprints};
use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

/// A filter chain on this shard.
pub struct FilterChain {
    pub name: Rc<str>,
    /// What its connections begin with, if not with the filter's bytes.
    pub tls: Option<Rc<ChainTls>>,
    pub filter: NetworkFilter,
}

/// What a chain shows its clients and asks of them, and how that goes.
pub struct ChainTls {
    pub server: Arc<tls::Current<tls::Server>>,
    pub stats: Arc<ListenerTlsStats>,
}

/// What a chain does with a connection.
struct Served {
    tls: Option<Rc<ChainTls>>,
    filter: NetworkFilter,
}

pub struct Listener {
    pub binding: Binding,
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
    pub handshakes: Rc<tls::Handshakes>,
    pub logs: Rc<ConnectionLogs>,
    /// Which fingerprints of first messages its logs and headers tell.
    pub fingerprints: Cell<TlsFingerprints>,
}

impl Listener {
    /// What serves a connection of this kind.
    fn choose(&self, arrival: &Arrival, notes: Option<&Rc<Notes>>) -> Option<Served> {
        let index = self.matcher.borrow().choose(arrival);
        let chains = self.chains.borrow();
        let chain = index.and_then(|index| chains.get(index));
        if let Some(notes) = notes {
            notes.remote.set(arrival.remote);
            notes.local.set(arrival.local);
            notes.asks_for(arrival.server_name());
            notes.is_recognized_by(arrival.fingerprints());
            notes.chain.replace(chain.map(|chain| chain.name.clone()));
        }
        chain.map(|chain| Served { tls: chain.tls.clone(), filter: chain.filter.clone() })
    }

    /// Whether a connection that comes now would wait for its handshake with too many others.
    fn has_too_many_handshakes(&self) -> bool {
        self.handshakes.are_full() && self.chains.borrow().iter().any(|chain| chain.tls.is_some())
    }

    /// End a connection that no chain is for, and tell it why where it can be told.
    async fn refuse(&self, accepted: Accepted, reactor: &Rc<Reactor>) {
        match accepted.arrival.first.as_deref() {
            Some(FirstBytes::Tls { .. }) => tls::refuse_name(accepted.stream, reactor).await,
            // Where only TLS is spoken, a client that speaks HTTP without it may have taken the wrong port.
            Some(FirstBytes::Raw) if self.chains.borrow().iter().all(|chain| chain.tls.is_some()) => {
                tls::refuse_plain(accepted.stream, reactor).await;
            }
            Some(FirstBytes::Raw) | None => {}
        }
    }

    fn refused(&self, claim: &Claim, remote: Option<SocketAddr>, full: Full, now: Nanos) {
        match full {
            Full::Client => self.stats.downstream_cx_client_overflow.inc(),
            Full::Listener => self.stats.downstream_cx_overflow.inc(),
            Full::Process => self.stats.downstream_global_cx_overflow.inc(),
        }
        let (limit, refusals) = claim.limits.of(full);
        tracing::debug!(
            target: "ringway::listener",
            listener = %self.binding.address, remote = remote.map(display), key = full.config_key(),
            "a connection is refused"
        );
        let Some(refused) = refusals.note(now) else { return };
        let peer = remote.map_or_else(|| "unix".into(), |remote| remote.to_string());
        tracing::warn!(
            target: "ringway::limits",
            listener = %self.binding.address, peer, key = full.config_key(), limit, refused,
            "connections are refused: the limit is reached, and none of the open ones is idle; {} counts them (said at most \
             once in 10 s)",
            full.statistic(),
        );
    }

    /// The place of the chain with this name, to put a new connection manager into.
    pub fn slot(&self, chain: &str) -> Option<Rc<ChainSlot>> {
        let chains = self.chains.borrow();
        chains.iter().find(|candidate| &*candidate.name == chain).map(|chain| match &chain.filter {
            NetworkFilter::Http(slot) => slot.clone(),
        })
    }
}

/// Take in a connection. Where a limit is reached, one that waits for a request makes room for it; if none does, it is
/// refused. Its task begins with its way in.
pub fn admit(
    reactor: &Rc<Reactor>,
    listener: &Rc<Listener>,
    mut arrival: Arrival,
    stream: impl FnOnce() -> ByteStream,
) {
    (arrival.opened, arrival.id) = (reactor.now(), listener.logs.next_id());
    listener.stats.downstream_cx_total.inc();
    let log = listener.logs.begin(&arrival);
    let mut claim = Claim::new(&listener.limits.borrow(), arrival.remote);
    match claim.fill() {
        Ok(()) => {
            let stream = noted(stream(), log.as_deref());
            serve(reactor, listener, arrival, stream, claim.permits(), None, log);
        }
        Err(full) if !may_have_room(&listener.house, &claim, full) => {
            listener.refused(&claim, arrival.remote, full, reactor.now());
            if log.is_some() {
                noted(stream(), log.as_deref()).ends(Ending::Refused(full));
            }
        }
        Err(_) => {
            let (on, listener) = (reactor.clone(), listener.clone());
            let (arriving, remote) = (listener.drain.arriving(), arrival.remote);
            let stream = noted(stream(), log.as_deref());
            reactor.spawn(async move {
                // Dropped after the stream.
                let (_arriving, log) = (arriving, log);
                let stream = stream;
                match make_room(&on, &listener.house, &mut claim).await {
                    Ok(()) => serve(&on, &listener, arrival, stream, claim.permits(), None, log),
                    Err(full) => {
                        listener.refused(&claim, remote, full, on.now());
                        stream.ends(Ending::Refused(full));
                        drop(stream);
                    }
                }
                on.yield_now().await;
            });
        }
    }
}

/// Go on with a connection that another shard has accepted, as far as that shard has come.
fn take_over(reactor: &Rc<Reactor>, listener: &Rc<Listener>, crossing: Crossing) {
    let Crossing { fd, received, remote, local, mut first, opened, permits, before } = crossing;
    if first.is_none() && !listener.filters.borrow().is_empty() {
        first = Some(filter::first_bytes(&received));
    }
    let id = listener.logs.next_id();
    let arrival = Arrival { remote, local, opened, id, first: first.map(Rc::new), ..Arrival::default() };
    let stream = Socket::new(reactor, fd);
    stream.unread(Buf::from(received.into_boxed_slice()));
    let placed = Placed { place: listener.drain.spreader().arrived(), before };
    let log = listener.logs.begin(&arrival);
    let stream = noted(ByteStream::Socket(stream), log.as_deref());
    serve(reactor, listener, arrival, stream, permits, Some(Box::new(placed)), log);
}

fn serve(
    reactor: &Rc<Reactor>,
    listener: &Rc<Listener>,
    arrival: Arrival,
    stream: Noted,
    permits: Option<Permits>,
    placed: Option<Box<Placed>>,
    log: Option<Box<ConnectionLog>>,
) {
    let (listener_stats, drain) = (listener.stats.clone(), listener.drain.clone());
    let accepted = Accepted { stream, arrival, listener_stats, drain, seat: Seat::NONE, placed };
    reactor.spawn(way_in::way_in(reactor, listener, accepted, permits, log, NetworkFilter::run));
}
