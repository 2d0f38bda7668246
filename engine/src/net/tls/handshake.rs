//! The handshake: what is received goes into the library, what it makes of that goes out, until both sides agree.
//!
//! Each step is a job of the shard's background queue, which takes about a tenth of a millisecond. Those that sign with an RSA
//! key take several, and go to threads of their own. Before each step it is seen whether the peer is still there. The
//! deadline is the caller's, which drops the future, and with it the step if that has not begun.

use super::certificates::{Stapling, is_slow};
use super::client::Connector;
use super::client_hello::{ClientHello, HelloError, HelloReader};
use super::failure::Failure;
use super::handshakes::{Handshakes, Kind};
use super::plain::{PLAIN_HTTP, looks_like_http, not_tls};
use super::server::Server;
use super::session::{Processed, Session, State};
use super::stream::{Counted, TlsStream};
use super::{ALERT, Facts, Fingerprints, HANDSHAKE, tickets};
use crate::net::{Arrival, ByteStream, Noted};
use crate::ring::{Buf, Progress, Reactor, Segment, TaskId, Timer, workers};
use ringway_config::model::{Address, TlsFingerprints};
use rustls::client::UnbufferedClientConnection;
use rustls::server::{Acceptor, UnbufferedServerConnection};
use rustls::sign::CertifiedKey;
use rustls::{Error, PeerIncompatible, ProtocolVersion, ServerConfig};
use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

/// How long a peer has to take the reason for which its handshake failed.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// Longer than a request for another hello, and shorter than anything with a certificate.
const SIGNED_MIN: usize = 300;
/// RFC 8446 section 6.2: fatal, unrecognized_name, in a record of its own.
const UNRECOGNIZED_NAME: &[u8] = &[21, 3, 3, 0, 2, 2, 112];
/// The same, protocol_version.
const PROTOCOL_VERSION: &[u8] = &[21, 3, 3, 0, 2, 2, 70];
const TLS_1_2: u16 = 0x0303;
/// The same, handshake_failure.
const HANDSHAKE_FAILURE: &[u8] = &[21, 3, 3, 0, 2, 2, 40];

/// A client whose first message has come, and what is to be answered. Nothing has been said yet.
pub struct Greeted<'a> {
    stream: Noted,
    server: &'a Server,
    /// The message, and what has come behind it.
    input: Vec<u8>,
    config: Arc<ServerConfig>,
    server_name: Option<Box<str>>,
    own: Option<Arc<CertifiedKey>>,
    stapling: Stapling,
    fingerprints: Option<Arc<Fingerprints>>,
    /// The place in the configuration's list of the protocol that will be agreed on.
    protocol: Option<usize>,
}

/// Read the first message of a connection that was accepted. `wanted`: its fingerprints that some text tells.
///
/// # Errors
/// The client is no further use; it has been told why where it can be.
pub async fn greet<'a>(
    stream: Noted,
    server: &'a Server,
    arrival: &Arrival,
    wanted: TlsFingerprints,
    reactor: &Rc<Reactor>,
) -> Result<Greeted<'a>, Failure> {
    let mut input = reactor.take_vec();
    let mut acceptor = Acceptor::default();
    let read = loop {
        let buf = receive(&stream).await?;
        if input.is_empty() && buf[0] != HANDSHAKE {
            let is_http = looks_like_http(&buf);
            end(stream, if is_http { PLAIN_HTTP } else { &[] }, reactor).await;
            return Err(not_tls(is_http));
        }
        input.extend_from_slice(&buf);
        match read_hello(&mut acceptor, &buf) {
            Ok(None) => {}
            Ok(Some(accepted)) => break Ok(accepted),
            Err(failed) => break Err(failed),
        }
    };
    let (known, recognize) =
        (arrival.fingerprints().cloned(), |hello: &ClientHello<'_>| Fingerprints::of(hello, wanted));
    // As a rule none is wanted, and the message is not read again.
    let fingerprints =
        if wanted.is_empty() { known } else { known.or_else(|| read_again(&input, recognize).flatten()) };
    stream.notes().iter().for_each(|notes| notes.is_recognized_by(fingerprints.as_ref()));
    let accepted = match read {
        Ok(accepted) => accepted,
        Err((failure, alert)) => {
            let (failure, alert) = if is_old(&failure, &input) { old() } else { (failure, alert) };
            end(stream, &alert, reactor).await;
            return Err(failure);
        }
    };
    let hello = accepted.client_hello();
    let server_name: Option<Box<str>> = hello.server_name().map(Box::from);
    stream.notes().iter().for_each(|notes| notes.asks_for(server_name.as_deref()));
    let Some(config) = server.choose(&hello, arrival).cloned() else {
        drop(accepted);
        end(stream, UNRECOGNIZED_NAME, reactor).await;
        return Err(Failure::UnknownName(server_name.unwrap_or_else(|| "(none)".into())));
    };
    let (own, stapling) = server.own(&hello).unzip();
    let own = own.map(|pair| pair.key.clone());
    // The library chooses in the same way.
    let is_offered = |own: &Vec<u8>| hello.alpn().into_iter().flatten().any(|offer| offer == own);
    let protocol = config.alpn_protocols.iter().position(is_offered);
    let stapling = stapling.filter(|_| asks_for_staple(&input)).unwrap_or_default();
    Ok(Greeted { stream, server, input, config, server_name, own, stapling, fingerprints, protocol })
}

impl Greeted<'_> {
    /// What ALPN will agree on.
    pub fn application_protocol(&self) -> Option<&[u8]> {
        self.config.alpn_protocols.get(self.protocol?).map(|name| &name[..])
    }

    pub fn stream(&self) -> &ByteStream {
        &self.stream
    }

    pub fn fingerprints(&self) -> Option<&Arc<Fingerprints>> {
        self.fingerprints.as_ref()
    }

    /// What has been taken from the stream.
    pub fn received(&self) -> &[u8] {
        &self.input
    }

    /// Make the handshake.
    ///
    /// # Errors
    /// As `greet`.
    pub async fn answer(self, handshakes: &Rc<Handshakes>, reactor: &Rc<Reactor>) -> Result<Box<TlsStream>, Failure> {
        let Self { stream, server, input, config, server_name, own, stapling, .. } = self;
        if stapling == Stapling::Refused {
            end(stream, HANDSHAKE_FAILURE, reactor).await;
            return Err(Failure::NoStaple);
        }
        let session = Session::Server(Box::new(UnbufferedServerConnection::new(config)?));
        let takes_long = own.as_deref().is_some_and(is_slow);
        let steps = Steps { handshakes: Some(handshakes), takes_long, is_first: true, reactor };
        let mut stream = run(stream, session, input, server_name, steps).await?;
        stream.recognize(server, own, stapling);
        Ok(stream)
    }
}

/// Whether a client was refused for what TLS 1.2 begins with, and offers only older versions. The library misses the kinds of
/// signatures before it looks at versions.
fn is_old(failure: &Failure, input: &[u8]) -> bool {
    let Failure::Peer(error) = failure else { return false };
    let is_missed = matches!(**error, Error::PeerIncompatible(PeerIncompatible::SignatureAlgorithmsExtensionRequired));
    is_missed && read_again(input, |hello| hello.legacy_version < TLS_1_2).unwrap_or_default()
}

/// What the library makes of such a client where it looks at versions.
fn old() -> (Failure, Vec<u8>) {
    (Error::PeerIncompatible(PeerIncompatible::Tls12NotOffered).into(), PROTOCOL_VERSION.to_vec())
}

/// Whether a client that has sent this wants to know what the authority says of the certificate.
fn asks_for_staple(input: &[u8]) -> bool {
    read_again(input, |hello| hello.asks_for_status).unwrap_or_default()
}

/// What this says of a first message that the library does not show in full.
fn read_again<T>(input: &[u8], says: impl FnOnce(&ClientHello<'_>) -> T) -> Option<T> {
    let (mut reader, mut joined) = (HelloReader::default(), Vec::new());
    if !reader.is_whole(input).is_ok_and(|is_whole| is_whole) {
        return None;
    }
    reader.hello(input, &mut joined).ok().map(|hello| says(&hello))
}

/// End a connection whose client asks for a name that is not served.
pub async fn refuse_name(stream: Noted, reactor: &Rc<Reactor>) {
    end(stream, UNRECOGNIZED_NAME, reactor).await;
}

/// End a connection that has begun with something else than TLS.
pub async fn refuse_plain(stream: Noted, reactor: &Rc<Reactor>) {
    if let Ok(buf) = receive(&stream).await {
        let is_http = looks_like_http(&buf);
        stream.notes().iter().for_each(|notes| notes.fails(not_tls(is_http)));
        end(stream, if is_http { PLAIN_HTTP } else { &[] }, reactor).await;
    }
}

/// Speak TLS on a connection that was made. `address`: the endpoint's.
///
/// # Errors
/// The endpoint is another one than it must be, or cannot be agreed with.
pub async fn connect(
    stream: ByteStream,
    connector: &Connector,
    address: &Address,
    reactor: &Rc<Reactor>,
) -> Result<ByteStream, Failure> {
    let ip = match address {
        Address::Ip(address) => Some(address.ip()),
        Address::Unix(_) => None,
    };
    let begin = async {
        let prepared = connector.prepare(ip)?;
        let (takes_long, asked) = (prepared.signs_slowly(), prepared.asks_for());
        let session = UnbufferedClientConnection::new(prepared.config, prepared.name)?;
        let steps = Steps { handshakes: None, takes_long, is_first: true, reactor };
        let session = Session::Client(Box::new(session));
        let mut stream = run(Noted::new(stream, None), session, Vec::new(), asked, steps).await?;
        stream.shows(prepared.own);
        if !stream.facts().resumed {
            stream.with_peer_certificate(|certificate| connector.has_seen(certificate));
        }
        Ok(stream)
    };
    let mut outcome = begin.await;
    connector.count(outcome.as_ref().map(|stream| stream.facts()));
    if let (Ok(stream), Some(stats)) = (&mut outcome, connector.stats()) {
        stream.count_in(Counted::Cluster(stats.clone()));
    }
    outcome.map(ByteStream::Tls)
}

async fn run(
    stream: Noted,
    session: Session,
    input: Vec<u8>,
    server_name: Option<Box<str>>,
    mut steps: Steps<'_>,
) -> Result<Box<TlsStream>, Failure> {
    let reactor = steps.reactor;
    let mut work = Work { session, input, plain: Vec::new(), out: Vec::new(), begun: None };
    // An endpoint's first bytes are looked at here; those of a client have been.
    let mut has_begun = steps.handshakes.is_some();
    loop {
        let step = move || {
            let processed = work.process();
            (work, processed)
        };
        // It is gone where the step has panicked, or the peer.
        let Some((stepped, Processed { used, state, .. })) = steps.compute(&stream, step).await else {
            return Err(if stream.is_broken() { Failure::Reset } else { Failure::Ended });
        };
        work = stepped;
        work.input.drain(..used);
        match state {
            Err(error) => {
                end(stream, &work.out, reactor).await;
                return Err(error.into());
            }
            Ok(state) => {
                // What a client gets then is signed. Its side goes on to sign at some later step.
                steps.takes_long &= steps.handshakes.is_none() || work.out.len() < SIGNED_MIN;
                let says_nothing = work.out.is_empty();
                if !says_nothing {
                    let words = Segment::Owned(std::mem::take(&mut work.out));
                    let are_tickets = state == State::Open
                        && steps.handshakes.is_some()
                        && work.session.protocol_version() == Some(ProtocolVersion::TLSv1_3);
                    // They go out with the answer to a request that has come along.
                    if are_tickets && work.has_more(&stream) {
                        stream.queue(words);
                    } else {
                        stream.send_one(words);
                    }
                }
                if state != State::Handshaking {
                    let Work { session, mut input, plain, .. } = work;
                    // A client may hold its request back until it hears of its last message (Nagle's algorithm).
                    if says_nothing && steps.handshakes.is_some() && plain.is_empty() {
                        stream.acknowledge();
                    }
                    if input.is_empty() {
                        reactor.give_vec(std::mem::take(&mut input));
                    }
                    let facts = Facts::of(&session, server_name);
                    let closed = state == State::PeerClosed;
                    let (stream, _) = stream.into_parts();
                    return Ok(TlsStream::new(stream, reactor, session, facts, input, &plain, closed));
                }
            }
        }
        if steps.handshakes.is_some() {
            // Its last message, and a request with it. Where that is all, nothing is under way when the connection ends.
            stream.expect_one();
        }
        let received = receive(&stream).await?;
        if !std::mem::replace(&mut has_begun, true) && !matches!(received[0], HANDSHAKE | ALERT) {
            return Err(not_tls(looks_like_http(&received)));
        }
        work.input.extend_from_slice(&received);
    }
}

/// Where and when steps are computed.
struct Steps<'a> {
    /// What those of this side's clients count for.
    handshakes: Option<&'a Rc<Handshakes>>,
    /// The next one may take milliseconds.
    takes_long: bool,
    /// Nothing has been said yet. A peer that has nothing more to say at this point is gone.
    is_first: bool,
    reactor: &'a Rc<Reactor>,
}

impl Steps<'_> {
    /// What `step` comes to; `None` where it panicked or the peer is gone.
    async fn compute<T: Send + 'static>(
        &mut self,
        stream: &ByteStream,
        step: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let is_first = std::mem::replace(&mut self.is_first, false);
        // In a simulation there is one thread and one clock.
        let goes_elsewhere = self.takes_long && self.reactor.has_background();
        let kind = if goes_elsewhere { Kind::Slow } else { Kind::Quick };
        let computing = self.handshakes.map(|all| if is_first { all.begin_first(kind) } else { all.begin() });
        // What an endpoint has said before it broke the connection is why it did.
        let has_last_words = self.handshakes.is_none() && !is_first;
        let is_gone = || stream.is_broken() && !has_last_words || is_first && stream.has_ended();
        if let Some(computing) = &computing
            && !poll_fn(|_| if is_gone() { Poll::Ready(false) } else { computing.poll_turn() }).await
        {
            return None;
        }
        if goes_elsewhere {
            let mut computed = pin!(workers::compute(step));
            return poll_fn(|context| match computed.as_mut().poll(context) {
                Poll::Pending if is_gone() => Poll::Ready(None),
                polled => polled,
            })
            .await;
        }
        in_background(self.reactor, is_gone, step).await
    }
}

/// What a step works on.
struct Work {
    session: Session,
    input: Vec<u8>,
    plain: Vec<u8>,
    out: Vec<u8>,
    /// When the session began that goes on, in seconds since the epoch.
    begun: Option<u64>,
}

impl Work {
    /// Whether the peer has said more than the handshake, at least the beginning of it.
    fn has_more(&self, stream: &ByteStream) -> bool {
        !self.plain.is_empty() || !self.input.is_empty() || stream.has_received_bytes()
    }

    fn process(&mut self) -> Processed {
        let Self { session, input, plain, out, begun } = self;
        let processed = tickets::within(begun, || session.process(input, plain, out));
        // A ticket may have been opened that is no use here.
        *begun = begun.filter(|_| session.is_resumed());
        processed
    }
}

/// Shows the next bytes to what reads the client's first message. Where it is broken: why, and the alert that says so.
fn read_hello(
    acceptor: &mut Acceptor,
    mut bytes: &[u8],
) -> Result<Option<rustls::server::Accepted>, (Failure, Vec<u8>)> {
    while !bytes.is_empty() {
        let read = acceptor.read_tls(&mut bytes);
        let accepted = acceptor.accept().map_err(|(error, mut alert)| {
            let mut words = Vec::new();
            // A vector takes everything.
            let _ = alert.write_all(&mut words);
            (error.into(), words)
        })?;
        if accepted.is_some() {
            return Ok(accepted);
        }
        // Where it is full: of records with very little in each.
        if !matches!(read, Ok(1..)) {
            return Err((Failure::Hello(HelloError::TooLarge), Vec::new()));
        }
    }
    Ok(None)
}

async fn receive(stream: &ByteStream) -> Result<Buf, Failure> {
    match poll_fn(|_| stream.poll_recv()).await {
        Ok(Some(buf)) => Ok(buf),
        Ok(None) => Err(Failure::Ended),
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Err(Failure::Reset),
        Err(_) => Err(Failure::Ended),
    }
}

/// Says `words` and ends the connection, so that the peer can read them.
async fn end(stream: Noted, words: &[u8], reactor: &Rc<Reactor>) {
    if words.is_empty() {
        return;
    }
    let timer = Timer::new(reactor);
    timer.arm_in(LAST_WORDS);
    stream.send_one(Segment::Owned(words.to_vec()));
    let mut flushed = false;
    poll_fn(|_| {
        if timer.fired() {
            return Poll::Ready(());
        }
        if !flushed {
            match stream.poll_flushed(0) {
                Poll::Ready(Ok(())) => {}
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
            stream.shutdown_write();
            flushed = true;
        }
        // A close with unread bytes would be a reset, which takes the words back.
        loop {
            match stream.poll_recv() {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(Some(_))) => {}
                Poll::Ready(Ok(None) | Err(_)) => return Poll::Ready(()),
            }
        }
    })
    .await;
}

/// The result of a step that is computed between the turns of the reactor.
async fn in_background<T: 'static>(
    reactor: &Rc<Reactor>,
    is_gone: impl Fn() -> bool,
    step: impl FnOnce() -> T + 'static,
) -> Option<T> {
    let result = Rc::new(RefCell::new(None));
    let mut once = Some((step, result.clone(), Waking { reactor: reactor.clone(), task: reactor.current_task() }));
    let job = reactor.compute(move || {
        if let Some((step, result, _waking)) = once.take() {
            let done = step();
            result.replace(Some(done));
        }
        Progress::Done
    });
    poll_fn(|_| if job.is_over() || is_gone() { Poll::Ready(()) } else { Poll::Pending }).await;
    result.take()
}

/// Wakes the task when it is dropped: also where the step panics.
struct Waking {
    reactor: Rc<Reactor>,
    task: TaskId,
}

impl Drop for Waking {
    fn drop(&mut self) {
        self.reactor.wake(self.task);
    }
}
