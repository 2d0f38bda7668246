//! A downstream connection: where it is from, what is counted for it, and which configuration it is served with.

use super::manager::Hcm;
use crate::base::clock::{NEVER, Nanos, deadline, nanos};
use crate::http::Exchange;
use crate::net::tls::{self, TlsStream};
use crate::net::{
    Accepted, Arrival, Before, ByteStream, Candidate, Drain, Ending, Notes, Place, Placed, Protocol, Seat, Stall,
    Taking,
};
use crate::ring::{Reactor, Timer};
use crate::route::matcher::Request;
use crate::router::LOOK;
use crate::stats::{HttpStats, ListenerStats};
use std::cell::{Cell, RefCell};
use std::io::Write;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

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

/// Text of an IP address, of which those of version 4 need no memory of their own.
pub(super) enum PeerText {
    Short { bytes: [u8; PEER_SHORT], len: u8 },
    Long(Box<str>),
}

/// `255.255.255.255`.
const PEER_SHORT: usize = 15;

impl PeerText {
    /// Empty where there is none.
    fn new(address: Option<SocketAddr>) -> Self {
        let (mut bytes, mut len) = ([0; PEER_SHORT], 0);
        if let Some(address) = address {
            let ip = address.ip().to_canonical();
            let mut rest = &mut bytes[..];
            if write!(rest, "{ip}").is_err() {
                return Self::Long(ip.to_string().into());
            }
            len = (PEER_SHORT - rest.len()) as u8;
        }
        Self::Short { bytes, len }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        match self {
            Self::Short { bytes, len } => &bytes[..usize::from(*len)],
            Self::Long(text) => text.as_bytes(),
        }
    }
}

/// A connection while it is served. Dropped, it is closed and accounted for, whatever ended it.
pub(super) struct Connection {
    pub stream: ByteStream,
    pub arrival: Arrival,
    pub peer: PeerText,
    /// Where its listener logs connections.
    notes: Option<Rc<Notes>>,
    /// Once its first bytes have come.
    protocol: Cell<Option<Protocol>>,
    requests: Cell<u64>,
    /// Whether the peer takes what is said.
    pub stall: Stall,
    pub drain: Rc<Drain>,
    pub seat: Seat,
    pub listener_stats: Arc<ListenerStats>,
    pub slot: Rc<ChainSlot>,
    /// Exchanges under way.
    active: Cell<u32>,
    /// Where HTTP/2 is spoken and its shard is chosen.
    placed: Cell<Option<Box<Placed>>>,
    /// Another shard serves it.
    has_gone: Cell<bool>,
    pub(super) stats: Arc<HttpStats>,
    opened: Nanos,
    /// When its time is over.
    pub(super) ends: Nanos,
    /// The peer ended it.
    pub ended_by_peer: Cell<bool>,
}

impl Connection {
    pub(super) fn new(accepted: Accepted, slot: Rc<ChainSlot>, hcm: &Hcm) -> Self {
        let reactor = &hcm.shard.reactor;
        // One that another shard has given to this one is counted already.
        let counted_since = accepted.placed.as_ref().and_then(|placed| placed.before.counted_since);
        let opened = counted_since.unwrap_or(reactor.now());
        let ends = end(hcm, opened);
        let stats = hcm.stats.clone();
        stats.downstream_cx_total.add(u64::from(counted_since.is_none()));
        stats.downstream_cx_active.inc();
        let (stream, notes) = accepted.stream.into_parts();
        Self {
            stream,
            notes,
            peer: PeerText::new(accepted.arrival.remote),
            arrival: accepted.arrival,
            protocol: Cell::new(None),
            requests: Cell::new(0),
            stall: Stall::default(),
            drain: accepted.drain,
            seat: accepted.seat,
            listener_stats: accepted.listener_stats,
            slot,
            active: Cell::new(0),
            placed: Cell::new(accepted.placed),
            has_gone: Cell::new(false),
            opened,
            ends,
            stats,
            ended_by_peer: Cell::new(false),
        }
    }

    /// This is what its peer speaks.
    pub(super) fn speaks(&self, protocol: Protocol) {
        self.protocol.set(Some(protocol));
        let stats = &self.stats;
        let (total, active) = match protocol {
            Protocol::Http1 => (&stats.downstream_cx_http1_total, &stats.downstream_cx_http1_active),
            Protocol::Http2 => (&stats.downstream_cx_http2_total, &stats.downstream_cx_http2_active),
        };
        total.inc();
        active.inc();
    }

    /// The place of a connection that speaks HTTP/2 and begins with `first`. `None`: another shard serves it.
    pub(super) async fn settle(&self, first: &[u8]) -> Option<Place> {
        if let Some(placed) = self.placed.take() {
            return Some(placed.place);
        }
        let before = Before { counted_since: Some(self.opened), handshake_since: None };
        let Self { stream, arrival, drain, seat, .. } = self;
        let candidate = Candidate { stream, arrival, drain, seat: *seat, received: first, before };
        let place = candidate.settle().await;
        self.has_gone.set(place.is_none());
        place
    }

    /// Requests begun on it.
    pub(super) fn requests(&self) -> u64 {
        self.requests.get()
    }

    /// Since when it has been waiting for a request, if it begins to wait for the next one now.
    pub(super) fn waits_since(&self) -> Nanos {
        if self.requests() == 0 { self.opened } else { self.now() }
    }

    /// Whether the response that begins now is the connection's last, whatever the client wants, so that it has to say so: a
    /// client that is not told sends its next request into a closed connection. Asked once for each response, as late as
    /// possible. A connection with several exchanges at a time says so in its own way.
    pub(super) fn ends_with_this(&self, hcm: &Hcm) -> bool {
        if self.protocol.get() == Some(Protocol::Http2) {
            return false;
        }
        if self.drain.is_draining() {
            hcm.stats.downstream_cx_drain_close.inc();
            self.note(Ending::Drain);
        } else if hcm.config.limits.max_requests_per_connection.is_some_and(|max| self.requests() >= max) {
            hcm.stats.downstream_cx_max_requests_reached.inc();
            self.note(Ending::MaxRequests);
        } else if self.ends <= self.now() {
            hcm.stats.downstream_cx_max_duration_reached.inc();
            self.note(Ending::MaxDuration);
        } else {
            return false;
        }
        true
    }

    pub(super) fn now(&self) -> Nanos {
        self.stream.reactor().now()
    }

    /// Exchanges under way.
    pub(super) fn active(&self) -> u32 {
        self.active.get()
    }

    /// A request begins.
    pub(super) fn begin(&self) {
        self.requests.set(self.requests.get() + 1);
        self.stall.begin(self.stream.sent());
        self.active.set(self.active.get() + 1);
    }

    /// What its handshake has come to, if it has TLS.
    #[inline]
    pub(super) fn tls(&self) -> Option<&tls::Facts> {
        self.stream.tls().map(TlsStream::facts)
    }

    /// The request as conditions of routes see it.
    #[inline(always)]
    pub(super) fn routed<'a>(&'a self, exchange: &'a Exchange) -> Request<'a> {
        Request::new(&exchange.request.head, exchange.request.view(), exchange.facts.random)
            .from(exchange.facts.client.as_ref(), self.arrival.remote.as_ref())
            .over(self.tls())
    }

    /// A request has ended.
    pub(super) fn end(&self) {
        self.active.set(self.active.get() - 1);
    }

    /// The next request is awaited: the longer that takes, the sooner this connection makes room for a new one.
    #[inline]
    pub(super) fn waits(&self) {
        self.drain.waits(self.seat, self.now());
    }

    /// A request has come, or the connection ends.
    #[inline]
    pub(super) fn works(&self) {
        self.drain.works(self.seat);
    }

    /// Whether this connection, which waits, is asked to make room for a new one.
    #[inline]
    pub(super) fn is_asked(&self) -> bool {
        self.drain.is_asked(self.seat)
    }

    /// The connection closes, and a new one has its place.
    pub(super) fn make_room(&self) {
        self.listener_stats.downstream_cx_evicted.inc();
        self.note(Ending::Evicted);
        self.drain.give_up(self.seat);
    }

    /// Why it ends, for the logs of its listener.
    #[cold]
    pub(super) fn note(&self, ending: Ending) {
        if let Some(notes) = &self.notes {
            // Everything else follows from that.
            let is_failed = self.stream.tls_failure().is_some();
            notes.ends(if is_failed { Ending::Tls } else { ending });
        }
    }

    /// Whether the peer has ended it, as far as that was noticed.
    pub(super) fn is_left(&self) -> bool {
        self.is_ended_by_peer() || self.stream.has_ended()
    }

    /// Whether it ends because of the peer. A FIN that was noticed and not acted on does not count.
    fn is_ended_by_peer(&self) -> bool {
        self.ended_by_peer.get() || self.stream.is_broken()
    }

    /// Notes what there is to tell of it when its service ends, while its stream is still there.
    pub(super) fn note_service(&self) {
        let Some(notes) = &self.notes else { return };
        notes.ends_by_panic();
        if let Some(failure) = self.stream.tls_failure() {
            notes.ends(Ending::Tls);
            notes.fails(failure);
        }
        if self.is_ended_by_peer() {
            let is_reset = self.stream.is_broken() && !self.stream.has_ended();
            notes.ends(match self.active.get() {
                0 if is_reset => Ending::RemoteReset,
                0 => Ending::Remote,
                _ => Ending::RemoteDisconnect,
            });
        }
        notes.carried(self.stream.traffic());
        notes.requests.set(self.requests.get());
        notes.protocol.set(self.protocol.get());
    }
}

/// When the time of a connection is over that began at `opened`.
fn end(hcm: &Hcm, opened: Nanos) -> Nanos {
    let timeouts = &hcm.config.timeouts;
    let jitter = match nanos(timeouts.max_connection_duration_jitter) {
        0 => 0,
        jitter => hcm.shard.reactor.random().below(jitter + 1),
    };
    deadline(opened, timeouts.max_connection_duration).saturating_add(jitter)
}

impl Drop for Connection {
    fn drop(&mut self) {
        let stats = &self.stats;
        stats.downstream_cx_active.dec();
        match self.protocol.get() {
            Some(Protocol::Http1) => stats.downstream_cx_http1_active.dec(),
            Some(Protocol::Http2) => stats.downstream_cx_http2_active.dec(),
            None => {}
        }
        if self.has_gone.get() {
            return;
        }
        self.note_service();
        stats.downstream_cx_destroy.inc();
        stats.downstream_cx_length_ms.record(self.now().saturating_sub(self.opened) / 1000);
        match (self.is_ended_by_peer(), self.active.get() > 0) {
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

/// How long a connection whose time is over waits for its last request (Envoy: drain_timeout).
const LAST_WAIT: Duration = Duration::from_secs(5);

/// What ran out between two exchanges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expired {
    /// Nothing came.
    Idle,
    /// The connection's time is over.
    Age,
    /// It is time to see whether the peer takes what is there for it.
    Look,
}

/// The deadlines of a connection between exchanges: two limits, one timer.
pub(super) struct ConnectionDeadlines {
    /// An exchange has it while it lasts.
    timer: Option<Timer>,
    /// It never cuts an exchange short, and is of no interest any more once the connection is closing.
    age: Nanos,
    idle: Nanos,
    /// When to look at the peer, and how long it may take nothing.
    look: Nanos,
    patience: Nanos,
}

impl ConnectionDeadlines {
    /// `age`: when the connection's time is over.
    pub(super) fn new(reactor: &Rc<Reactor>, age: Nanos) -> Self {
        Self { timer: Some(Timer::new(reactor)), age, idle: NEVER, look: NEVER, patience: NEVER }
    }

    /// The connection tells its end at once, and not with a last response.
    pub(super) fn start_shared(&mut self, connection: &Connection) {
        (self.age, self.idle, self.look) = (connection.ends, NEVER, NEVER);
        self.arm();
    }

    /// The next request is awaited.
    pub(super) fn start_waiting(&mut self, now: Nanos, idle: Option<Duration>) {
        (self.idle, self.look) = (deadline(now, idle), NEVER);
        self.arm();
    }

    /// The same on `connection` behind a response, of which the peer may take nothing for `send`. If the connection's time is
    /// over when this wait begins, or within it, it still has one request, for a while: a busy client learns from its response
    /// that it is the last.
    pub(super) fn start_idle(&mut self, connection: &Connection, idle: Option<Duration>, send: Option<Duration>) {
        let now = connection.now();
        self.idle = deadline(now, idle);
        self.age = connection.ends.max(now).saturating_add(nanos(LAST_WAIT));
        match send {
            Some(send) => self.start_looking(connection, LOOK, send),
            None => self.look = NEVER,
        }
        self.arm();
    }

    /// The next request is awaited no longer than until `end`.
    pub(super) fn wait_until(&mut self, end: Nanos) {
        if end < self.idle {
            self.idle = end;
            self.arm();
        }
    }

    /// All is said; what is left of it goes out as long as the peer takes some of it in each `patience`.
    pub(super) fn start_flushing(&mut self, connection: &Connection, patience: Duration) {
        self.start_lingering(connection, Duration::ZERO, patience);
    }

    /// The same once all of it has been handed to the kernel: from the end of `limit` on.
    pub(super) fn start_lingering(&mut self, connection: &Connection, limit: Duration, patience: Duration) {
        (self.age, self.idle) = (NEVER, NEVER);
        self.start_looking(connection, nanos(limit), patience);
        self.arm();
    }

    fn start_looking(&mut self, connection: &Connection, after: Nanos, patience: Duration) {
        (self.look, self.patience) = (connection.now() + after, nanos(patience));
    }

    /// Look at the peer. Whether it has taken nothing for too long.
    pub(super) fn has_stalled(&mut self, connection: &Connection, now: Nanos) -> bool {
        let taking = connection.stall.look(connection.stream.delivery(), now);
        let patience = connection.stall.patience(self.patience);
        self.look = match taking {
            Taking::All => NEVER,
            Taking::Some => now + LOOK.min(patience),
            Taking::NothingSince(since) if since + patience <= now => return true,
            Taking::NothingSince(since) => (now + LOOK).min(since + patience),
        };
        self.arm();
        false
    }

    /// All is said; what is left of it must go out within `limit`, whatever the connection's own limit is.
    pub(super) fn start_closing(&mut self, now: Nanos, limit: Duration) {
        self.age = NEVER;
        self.start_waiting(now, Some(limit));
    }

    /// What has run out, if anything.
    pub(super) fn expired(&self, now: Nanos) -> Option<Expired> {
        if !self.timer().fired() {
            return None;
        }
        if self.age <= now {
            return Some(Expired::Age);
        }
        if self.idle <= now {
            return Some(Expired::Idle);
        }
        if self.look <= now {
            return Some(Expired::Look);
        }
        self.arm();
        None
    }

    fn arm(&self) {
        self.timer().arm_at(self.idle.min(self.look).min(self.age));
    }

    fn timer(&self) -> &Timer {
        self.timer.as_ref().expect("no exchange is under way")
    }

    /// For an exchange on a connection that has one at a time.
    pub(super) fn lend(&mut self) -> Timer {
        self.timer.take().expect("no other exchange is under way")
    }

    pub(super) fn give_back(&mut self, timer: Timer) {
        self.timer = Some(timer);
    }
}
