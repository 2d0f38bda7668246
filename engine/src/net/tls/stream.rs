//! A stream of bytes through TLS, over another stream. The handshake is over; handshake.rs makes one.
//!
//! Received records are opened where they arrived, and their plain bytes travel on in the same buffer. What is sent goes
//! into as few records as it fits in, all records of a batch in one piece for the stream below.

use super::Facts;
use super::certificates::Stapling;
use super::failure::{self, Failure};
use super::identity::{Endpoint, Identities};
use super::records::Records;
use super::server::Server;
use super::session::{RECORD_MAX, Session, State, missing};
use crate::base::clock::Nanos;
use crate::net::ByteStream;
use crate::ring::{Buf, Reactor, Segment};
use crate::stats::{ClusterTlsStats, ListenerTlsStats};
use rustls::sign::CertifiedKey;
use smallvec::SmallVec;
use std::cell::{OnceCell, Ref, RefCell};
use std::fmt;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

/// Records without plain bytes that a peer may send within a second (HAProxy has the same limit for KeyUpdates). Each
/// KeyUpdate makes a new key, and the library ends none but those that send 32 of them in a row: a byte of data between two rows
/// is enough for more. Peers need one in 2^24 records or so, and servers send a few tickets behind a handshake.
const SILENT_MAX: usize = 100;
const SECOND: Nanos = 1_000_000_000;

thread_local! {
    /// Where plain bytes are for a moment, on their way out of records and into them.
    static SCRATCH: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    /// Memory for the next batch of any connection.
    static BATCH: RefCell<Vec<Segment>> = const { RefCell::new(Vec::new()) };
}

pub struct TlsStream {
    below: ByteStream,
    reactor: Rc<Reactor>,
    facts: Facts,
    inner: RefCell<Inner>,
    /// Read from certificates when something asks for it: few connections are asked.
    identities: OnceCell<Box<Identities>>,
    /// What the peer was shown, or would be if it asked for it.
    own: Option<Arc<CertifiedKey>>,
    /// Where a failure counts.
    stats: Option<Counted>,
}

/// The statistics of the side that a connection is on.
pub enum Counted {
    Listener(Arc<ListenerTlsStats>),
    Cluster(Arc<ClusterTlsStats>),
}

struct Inner {
    session: Session,
    /// The beginning of a record, or of a message of several. Empty in an idle connection, without memory.
    partial: Vec<u8>,
    /// Opened, and not yet taken. What one receive brings has room here.
    plain: SmallVec<[Buf; 1]>,
    /// To be sealed when the batch is whole. Without memory between two batches.
    pending: Vec<Segment>,
    /// The peer has said that it sends no more.
    peer_closed: bool,
    /// The connection has ended without that word.
    is_cut: bool,
    /// This side has said it.
    closed: bool,
    /// This side will, with what it sends next.
    is_ending: bool,
    /// Boxed: few connections have any.
    failure: Option<Box<Failure>>,
    /// When the first of the records without plain bytes came that are counted, and their number.
    silent: (Nanos, usize),
}

impl TlsStream {
    /// `partial`: what the handshake left of its input. `plain`: bytes that came behind it.
    pub(super) fn new(
        below: ByteStream,
        reactor: &Rc<Reactor>,
        session: Session,
        facts: Facts,
        partial: Vec<u8>,
        plain: &[u8],
        peer_closed: bool,
    ) -> Box<Self> {
        let mut inner = Inner {
            session,
            partial,
            plain: SmallVec::new(),
            pending: Vec::new(),
            peer_closed,
            is_cut: false,
            closed: false,
            is_ending: false,
            failure: None,
            silent: (0, 0),
        };
        inner.keep(plain, None, reactor);
        let inner = RefCell::new(inner);
        let (reactor, identities) = (reactor.clone(), OnceCell::new());
        Box::new(Self { below, reactor, facts, inner, identities, own: None, stats: None })
    }

    /// Notes what is known of the two certificates when the server's handshake is over.
    pub(super) fn recognize(&mut self, server: &Server, own: Option<Arc<CertifiedKey>>, stapling: Stapling) {
        let chain = self.inner.get_mut().session.peer_certificates().unwrap_or_default();
        self.facts.is_peer_verified = server.has_verified(chain);
        self.facts.stapling = stapling;
        self.own = own;
    }

    /// Notes what this side has to show an endpoint.
    pub(super) fn shows(&mut self, own: Option<Arc<CertifiedKey>>) {
        self.own = own;
    }

    /// Sends a wish for new keys.
    #[cfg(test)]
    pub(super) fn renew_keys(&self) {
        let mut out = Vec::new();
        self.inner.borrow_mut().session.renew_keys(&mut out);
        self.below.send_one(Segment::Owned(out));
    }

    /// Says where a failure counts that comes after the handshake.
    pub fn count_in(&mut self, stats: Counted) {
        self.stats = Some(stats);
    }

    pub fn reactor(&self) -> &Rc<Reactor> {
        &self.reactor
    }

    /// The certificates of both sides.
    pub fn identities(&self) -> &Identities {
        self.identities.get_or_init(|| {
            let inner = self.inner.borrow();
            Box::new(Identities::of(inner.session.peer_certificates().unwrap_or_default(), self.own.as_deref()))
        })
    }

    /// Shows the peer's own certificate, if it has one.
    pub(super) fn with_peer_certificate(&self, look: impl FnOnce(&[u8])) {
        let inner = self.inner.borrow();
        if let Some(leaf) = inner.session.peer_certificates().and_then(<[_]>::first) {
            look(leaf);
        }
    }

    /// What is known of an endpoint, to be told of when the connection may be gone.
    pub fn endpoint(&self) -> Endpoint {
        let inner = self.inner.borrow();
        Endpoint::new(self.facts.clone(), inner.session.peer_certificates().unwrap_or_default(), self.own.clone())
    }

    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// The stream that carries the records.
    pub fn below(&self) -> &ByteStream {
        &self.below
    }

    /// Why the connection cannot go on, where TLS is the reason.
    pub fn failure(&self) -> Option<Ref<'_, Failure>> {
        Ref::filter_map(self.inner.borrow(), |inner| inner.failure.as_deref()).ok()
    }

    /// As `Socket::poll_recv`. The end without the peer's word for it is an error: bytes may have been cut off.
    ///
    /// # Errors
    /// What the stream below reports; UnexpectedEof; InvalidData, see `failure`.
    pub fn poll_recv(&self) -> Poll<io::Result<Option<Buf>>> {
        let mut inner = self.inner.borrow_mut();
        loop {
            if !inner.plain.is_empty() {
                return Poll::Ready(Ok(Some(inner.plain.remove(0))));
            }
            if inner.failure.is_some() {
                return Poll::Ready(Err(io::ErrorKind::InvalidData.into()));
            }
            if inner.peer_closed {
                return Poll::Ready(Ok(None));
            }
            match self.below.poll_recv() {
                Poll::Pending => {
                    // Tickets that wait for an answer (`handshake::run`): their segment acknowledges what has come, which a peer with
                    // Nagle's algorithm may be waiting for before it says the rest.
                    self.below.start_send();
                    return Poll::Pending;
                }
                Poll::Ready(Ok(Some(buf))) => self.open(&mut inner, buf),
                Poll::Ready(Ok(None)) => {
                    inner.is_cut = true;
                    return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
                }
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
    }

    /// Whether the peer has ended the connection without the word that nothing more comes: bytes may be missing.
    pub fn is_cut(&self) -> bool {
        self.inner.borrow().is_cut
    }

    pub fn unread(&self, buf: Buf) {
        self.inner.borrow_mut().plain.insert(0, buf);
    }

    /// Opens what has arrived below: records may carry nothing for those above, such as a session ticket.
    fn open_arrived(&self) -> std::cell::RefMut<'_, Inner> {
        let mut inner = self.inner.borrow_mut();
        while inner.failure.is_none() && !inner.peer_closed && self.below.has_received_bytes() {
            match self.below.poll_recv() {
                Poll::Ready(Ok(Some(buf))) => self.open(&mut inner, buf),
                Poll::Pending | Poll::Ready(_) => break,
            }
        }
        inner
    }

    pub fn has_received(&self) -> bool {
        let inner = self.open_arrived();
        let is_over = inner.peer_closed || inner.failure.is_some();
        is_over || !inner.plain.is_empty() || self.below.has_received()
    }

    pub fn has_received_bytes(&self) -> bool {
        !self.open_arrived().plain.is_empty()
    }

    /// What is still in the kernel is taken for bytes, although it may be none for those above. Behind it is the peer's FIN,
    /// it is asked for, and the current task is woken when it is here.
    pub fn has_unread_bytes(&self) -> bool {
        if self.has_received_bytes() {
            return true;
        }
        if self.below.has_ended() && self.below.has_unread_bytes() {
            let mut inner = self.inner.borrow_mut();
            if let Poll::Ready(Ok(Some(buf))) = self.below.poll_recv() {
                self.open(&mut inner, buf);
            }
            return !inner.plain.is_empty() || self.below.has_unread_bytes();
        }
        self.below.has_unread_bytes()
    }

    /// Whether the peer has said that it sends no more, or has just stopped.
    pub fn has_ended(&self) -> bool {
        self.inner.borrow().peer_closed || self.below.has_ended()
    }

    /// Opens what came in `buf`.
    fn open(&self, inner: &mut Inner, mut buf: Buf) {
        SCRATCH.with_borrow_mut(|plain| {
            plain.clear();
            let (mut out, now) = (Vec::new(), self.reactor.now());
            // A record that began in an earlier buffer is put together with its end, and nothing else.
            while !inner.partial.is_empty() && !buf.is_empty() {
                let count = missing(&inner.partial).min(buf.len());
                inner.partial.extend_from_slice(&buf[..count]);
                buf.advance(count);
                if missing(&inner.partial) == 0 {
                    let mut partial = std::mem::take(&mut inner.partial);
                    let used = inner.process(&mut partial, plain, &mut out, now);
                    inner.partial = partial;
                    if used == inner.partial.len() || inner.failure.is_some() {
                        self.reactor.give_vec(std::mem::take(&mut inner.partial));
                    } else {
                        // A message of several records: the next one belongs to it.
                        inner.partial.drain(..used);
                        inner.partial.extend_from_slice(&buf);
                        buf.truncate(0);
                    }
                }
            }
            if !buf.is_empty() && inner.failure.is_none() {
                let used = match buf.unique_mut() {
                    Some(bytes) => inner.process(bytes, plain, &mut out, now),
                    None => inner.process(&mut buf.to_vec(), plain, &mut out, now),
                };
                if used < buf.len() && inner.failure.is_none() {
                    inner.partial = self.reactor.take_vec();
                    inner.partial.extend_from_slice(&buf[used..]);
                }
            }
            if !out.is_empty() {
                self.below.send_one(Segment::Owned(out));
            }
            inner.keep(plain, Some(buf), &self.reactor);
        });
        if let (Some(failure), Some(stats)) = (&inner.failure, &self.stats) {
            let cells = match stats {
                Counted::Listener(stats) => stats.cells(),
                Counted::Cluster(stats) => stats.cells(),
            };
            failure::count(&cells, Err(failure));
        }
    }

    pub fn send(&self, segments: &mut Vec<Segment>) {
        self.inner.borrow_mut().batch().append(segments);
        self.start_send();
    }

    pub fn send_one(&self, segment: Segment) {
        self.inner.borrow_mut().batch().push(segment);
        self.start_send();
    }

    pub fn queue(&self, segment: Segment) {
        self.inner.borrow_mut().batch().push(segment);
    }

    /// As of the stream below. What waits for an answer there (`handshake::run`) does not wait where it is in the way.
    pub fn poll_room(&self, limit: usize) -> Poll<io::Result<usize>> {
        let room = self.below.poll_room(limit);
        if room.is_pending() {
            self.below.start_send();
        }
        room
    }

    /// As of the stream below. Nothing else waits for an answer that takes half a second.
    pub fn watch_end(&self) {
        self.below.start_send();
        self.below.watch_end();
    }

    /// Nothing follows what is sent next: this side's last word goes out with it, in one segment.
    pub fn ends_with_next(&self) {
        self.inner.borrow_mut().is_ending = true;
    }

    /// Seal what is queued and begin to send it.
    pub fn start_send(&self) {
        let mut inner = self.inner.borrow_mut();
        if inner.pending.is_empty() {
            return self.below.start_send();
        }
        let mut records = Records::new(&self.reactor, inner.pending.iter().map(|segment| segment.bytes().len()).sum());
        if !inner.closed && inner.failure.is_none() {
            if let Err(error) = inner.seal_pending(&mut records) {
                inner.failure = Some(Box::new(error.into()));
            } else if inner.is_ending {
                let Inner { session, partial, closed, .. } = &mut *inner;
                // Where it cannot be said, the stream ends without.
                *closed = records.append(|out| session.close(partial, out)).is_ok();
                self.below.ends_with_next();
            }
        }
        let mut batch = std::mem::take(&mut inner.pending);
        for segment in batch.drain(..) {
            if let Segment::Owned(bytes) = segment {
                self.reactor.give_vec(bytes);
            }
        }
        records.take(&mut batch);
        if !batch.is_empty() {
            self.below.send(&mut batch);
        }
        BATCH.set(batch);
    }

    pub fn unsent(&self) -> usize {
        self.inner.borrow().pending.iter().map(|segment| segment.bytes().len()).sum::<usize>() + self.below.unsent()
    }

    pub fn is_broken(&self) -> bool {
        self.inner.borrow().failure.is_some() || self.below.is_broken()
    }

    pub fn shutdown_write(&self) {
        self.close();
        self.below.shutdown_write();
    }

    /// The peer is to see a reset: it is told nothing more.
    pub fn reset_on_close(&self) {
        self.inner.borrow_mut().closed = true;
        self.below.reset_on_close();
    }

    /// Tell the peer that this side sends no more, so that it knows that nothing is cut off (RFC 8446 section 6.1). At once,
    /// since the connection ends as a rule before a send could.
    fn close(&self) {
        let mut inner = self.inner.borrow_mut();
        if std::mem::replace(&mut inner.closed, true) || inner.failure.is_some() || self.below.is_broken() {
            return;
        }
        let mut out = self.reactor.take_vec();
        let Inner { session, partial, .. } = &mut *inner;
        if session.close(partial, &mut out).is_ok() && self.below.unsent() == 0 {
            self.below.send_now(&out);
        }
        self.reactor.give_vec(out);
    }
}

impl fmt::Debug for TlsStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("TlsStream").field(&self.facts).finish()
    }
}

impl Drop for TlsStream {
    fn drop(&mut self) {
        self.close();
    }
}

impl Inner {
    /// What the next batch is made of.
    #[inline]
    fn batch(&mut self) -> &mut Vec<Segment> {
        if self.pending.capacity() == 0 {
            self.pending = BATCH.take();
        }
        &mut self.pending
    }

    /// Takes `input`, and returns how much of it is done with.
    fn process(&mut self, input: &mut [u8], plain: &mut Vec<u8>, out: &mut Vec<u8>, now: Nanos) -> usize {
        let processed = self.session.process(input, plain, out);
        match processed.state {
            Ok(State::PeerClosed) => self.peer_closed = true,
            Ok(State::Open | State::Handshaking) => {}
            Err(error) => self.failure = Some(Box::new(error.into())),
        }
        if processed.silent > 0 && self.failure.is_none() {
            let (since, count) = self.silent;
            self.silent =
                if now - since < SECOND { (since, count + processed.silent) } else { (now, processed.silent) };
            self.failure = (self.silent.1 > SILENT_MAX).then(|| Box::new(Failure::Flood));
        }
        processed.used
    }

    /// Keeps plain bytes until they are taken: in `room`, where their records were, and in further buffers if need be.
    fn keep(&mut self, mut plain: &[u8], room: Option<Buf>, reactor: &Reactor) {
        if let Some(mut room) = room
            && !plain.is_empty()
        {
            let count = plain.len().min(room.len());
            if let Some(bytes) = room.unique_mut().filter(|_| count > 0) {
                bytes[..count].copy_from_slice(&plain[..count]);
                room.truncate(count);
                self.plain.push(room);
                plain = &plain[count..];
            }
        }
        while !plain.is_empty() {
            let buf = reactor.copy_from(plain);
            plain = &plain[buf.len()..];
            self.plain.push(buf);
        }
    }

    /// Seals the batch: pieces that fit into one record go into one.
    fn seal_pending(&mut self, out: &mut Records) -> Result<(), rustls::Error> {
        let Self { session, partial, pending, .. } = self;
        if let [segment] = &pending[..] {
            return out.seal(session, segment.bytes(), partial);
        }
        SCRATCH.with_borrow_mut(|record| {
            record.clear();
            for segment in &*pending {
                let mut bytes = segment.bytes();
                while !bytes.is_empty() {
                    // Whole records of one piece need not be put together.
                    if record.is_empty() && bytes.len() >= RECORD_MAX {
                        let (whole, rest) = bytes.split_at(bytes.len() / RECORD_MAX * RECORD_MAX);
                        out.seal(session, whole, partial)?;
                        bytes = rest;
                        continue;
                    }
                    let (first, rest) = bytes.split_at(bytes.len().min(RECORD_MAX - record.len()));
                    record.extend_from_slice(first);
                    bytes = rest;
                    if record.len() == RECORD_MAX {
                        out.seal(session, record, partial)?;
                        record.clear();
                    }
                }
            }
            if record.is_empty() { Ok(()) } else { out.seal(session, record, partial) }
        })
    }
}
