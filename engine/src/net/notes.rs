//! What is noted of a connection for the logs of its listener, where it has any.

use super::limit::Full;
use super::tls::client_hello::HelloError;
use super::tls::{Facts, Failure, Fingerprints, Identities, Known, TlsStream};
use super::{ByteStream, Protocol};
use std::cell::{Cell, OnceCell, RefCell};
use std::net::SocketAddr;
use std::ops::Deref;
use std::rc::Rc;
use std::sync::Arc;

/// Bytes of a connection, those of TLS included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub received: u64,
    pub sent: u64,
}

/// Why a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// A limit was reached, and no connection made room.
    Refused(Full),
    /// It made room for a new connection.
    Evicted,
    /// Its first bytes took too long.
    FiltersTimeout,
    /// Its first message cannot be read.
    Hello(HelloError),
    NoChain,
    /// The handshake came to nothing.
    Handshake,
    HandshakeTimeout,
    /// Its TLS broke after the handshake.
    Tls,
    /// The client ended it before it was served, or during an exchange.
    RemoteDisconnect,
    /// The client ended it.
    Remote,
    /// The client reset it.
    RemoteReset,
    /// It was closed here behind its last response.
    Local,
    Drain,
    IdleTimeout,
    /// The head of a request took too long.
    RequestHeadersTimeout,
    MaxDuration,
    MaxRequests,
    /// The client takes nothing.
    SendTimeout,
    /// The client does not answer PING.
    KeepaliveTimeout,
    ProtocolError,
    /// The drain time, or the process, was over.
    CutOff,
    Panic,
}

/// The first noted reason counts: later ones follow from it.
#[derive(Debug, Default)]
pub struct Notes {
    ending: Cell<Option<Ending>>,
    /// Why its TLS came to nothing.
    failure: RefCell<Option<Failure>>,
    traffic: Cell<Option<Traffic>>,
    /// In a box: connections without TLS would have the room for nothing.
    tls: RefCell<Option<Box<Facts>>>,
    wants_certificates: bool,
    certificates: RefCell<Option<Box<Identities>>>,
    server_name: RefCell<Option<Box<str>>>,
    fingerprints: OnceCell<Arc<Fingerprints>>,
    pub chain: RefCell<Option<Rc<str>>>,
    pub remote: Cell<Option<SocketAddr>>,
    pub local: Cell<Option<SocketAddr>>,
    pub protocol: Cell<Option<Protocol>>,
    pub requests: Cell<u64>,
    /// Another shard serves it, and notes the rest.
    pub has_gone: Cell<bool>,
}

impl Notes {
    /// Of a connection that begins. `wants_certificates`: a log tells them.
    pub fn new(remote: Option<SocketAddr>, local: Option<SocketAddr>, wants_certificates: bool) -> Rc<Self> {
        let (remote, local) = (Cell::new(remote), Cell::new(local));
        Rc::new(Self { remote, local, wants_certificates, ..Self::default() })
    }

    pub fn ends(&self, ending: Ending) {
        if self.ending.get().is_none() {
            self.ending.set(Some(ending));
        }
    }

    /// To be called where something of the connection is dropped: while a panic of its task is on its way, that is why.
    pub fn ends_by_panic(&self) {
        if std::thread::panicking() {
            self.ends(Ending::Panic);
        }
    }

    pub fn ending(&self) -> Option<Ending> {
        self.ending.get()
    }

    /// Its TLS came to nothing, in the handshake or later.
    pub fn fails(&self, failure: Failure) {
        self.failure.replace(Some(failure));
    }

    /// In words.
    pub fn failure(&self) -> Option<String> {
        self.failure.borrow().as_ref().map(ToString::to_string)
    }

    pub fn asks_for(&self, server_name: Option<&str>) {
        if let Some(name) = server_name {
            self.server_name.replace(Some(name.into()));
        }
    }

    /// Its first message has been read: by a listener filter, by the handshake, or by both.
    pub fn is_recognized_by(&self, fingerprints: Option<&Arc<Fingerprints>>) {
        if let Some(fingerprints) = fingerprints {
            self.fingerprints.get_or_init(|| fingerprints.clone());
        }
    }

    pub fn fingerprints(&self) -> Option<&Fingerprints> {
        self.fingerprints.get().map(|fingerprints| &**fingerprints)
    }

    /// Its handshake is over.
    pub fn agrees(&self, stream: &TlsStream) {
        self.tls.replace(Some(Box::new(stream.facts().clone())));
        if self.wants_certificates {
            self.certificates.replace(Some(Box::new(stream.identities().clone())));
        }
    }

    /// What its handshake has come to, and the name that the client has asked for.
    pub fn with_tls<R>(&self, tell: impl FnOnce(Option<Known<'_>>, Option<&str>) -> R) -> R {
        let (tls, certificates) = (self.tls.borrow(), self.certificates.borrow());
        let known = tls.as_ref().map(|facts| Known::Noted(facts, certificates.as_deref()));
        tell(known, self.server_name.borrow().as_deref())
    }

    /// What its stream has carried so far. `None`: that is not known, as on a Unix socket.
    pub fn carried(&self, traffic: Option<Traffic>) {
        self.traffic.set(traffic);
    }

    pub fn traffic(&self) -> Option<Traffic> {
        self.traffic.get()
    }
}

/// The stream of a connection on its way in. What it has carried is noted when it is dropped, whatever drops it.
pub struct Noted {
    /// `None` once it is taken.
    stream: Option<ByteStream>,
    notes: Option<Rc<Notes>>,
}

impl Noted {
    pub fn new(stream: ByteStream, notes: Option<Rc<Notes>>) -> Self {
        Self { stream: Some(stream), notes }
    }

    pub fn notes(&self) -> Option<&Rc<Notes>> {
        self.notes.as_ref()
    }

    /// Why it ends, if that is noted.
    pub fn ends(&self, ending: Ending) {
        if let Some(notes) = &self.notes {
            notes.ends(ending);
        }
    }

    /// The stream goes on elsewhere, and so do the notes.
    pub fn into_parts(mut self) -> (ByteStream, Option<Rc<Notes>>) {
        let notes = self.notes.take();
        (self.stream.take().expect(TAKEN), notes)
    }
}

/// Only what consumes the value takes the stream.
const TAKEN: &str = "the stream is there as long as this is";

impl Deref for Noted {
    type Target = ByteStream;

    fn deref(&self) -> &ByteStream {
        self.stream.as_ref().expect(TAKEN)
    }
}

impl Drop for Noted {
    fn drop(&mut self) {
        if let (Some(stream), Some(notes)) = (&self.stream, &self.notes) {
            notes.carried(stream.traffic());
            notes.ends_by_panic();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::pipe;
    use crate::ring::{PoolSize, Reactor};

    #[test]
    fn the_first_reason_counts() {
        let notes = Notes::default();
        assert_eq!(notes.ending(), None);
        notes.ends(Ending::IdleTimeout);
        notes.ends(Ending::RemoteReset);
        assert_eq!(notes.ending(), Some(Ending::IdleTimeout));
    }

    #[test]
    fn a_stream_notes_what_it_has_carried_when_it_is_dropped_and_not_where_it_goes_on() {
        let reactor = Reactor::simulated(1, PoolSize { count: 4, size: 4096 });
        let notes = Rc::new(Notes::default());
        let (client, server) = pipe(&reactor, 4096);
        client.write(b"hello");
        server.write(b"hi");
        let noted = Noted::new(ByteStream::Pipe(server), Some(notes.clone()));
        let (stream, same) = noted.into_parts();
        assert_eq!((notes.traffic(), same.is_some()), (None, true));
        drop(Noted::new(stream, same));
        assert_eq!(notes.traffic(), Some(Traffic { received: 5, sent: 2 }));
        reactor.shut_down();
    }
}
