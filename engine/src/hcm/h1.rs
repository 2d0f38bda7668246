//! The HTTP/1 driver: one task per downstream connection, one exchange after the other.

use super::connection::{ChainSlot, Connection, ConnectionDeadlines, Expired};
use super::exchange;
use super::h2;
use super::manager::Hcm;
use crate::base::clock::Nanos;
use crate::http::Exchange;
use crate::mux::Downstream;
use crate::mux::h1::{Disposition, Served};
use crate::mux::h2::PREFACE;
use crate::net::{Accepted, Ending, Protocol, Served as Ended};
use crate::ring::{Buf, Memory, Reactor, Timer};
use crate::router::{Deadlines, Fault};
use ringway_config::model::CodecType;
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// After a close that the client may not expect, what it still sends is read and thrown away, for this long and up to this
/// many bytes: a close with unread bytes would be a reset, and that could destroy the response on its way (RFC 9112
/// section 9.6).
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 64 * 1024;

/// Bytes of a connection that may be left to the kernel when it ends, in all: what a client may be sent before it
/// acknowledges any of it (an initial window of ten segments, RFC 6928).
const LEFT_BEHIND: u64 = 14_600;

/// The longest time in which a client may take nothing of the last bytes, where it may take any time before them.
pub(super) const FLUSH_TIME: Duration = Duration::from_secs(60);

/// Serve a connection until it ends, or until another shard has it. Not an async function: its future would hold `accepted`,
/// too. Nor does it hold the connection itself, or what serves it with HTTP/2: that would be the memory of two.
pub fn serve(
    accepted: Accepted,
    slot: Rc<ChainSlot>,
) -> impl Future<Output = Ended<impl Future<Output = ()> + 'static>> {
    let hcm = slot.current();
    let reactor = hcm.shard.reactor.clone();
    let connection = Rc::new(Connection::new(accepted, slot, &hcm));
    drop(hcm);
    async move {
        let mut deadlines = ConnectionDeadlines::new(&reactor, connection.ends);
        let mut next = next_request::<true>(&reactor, &connection, &mut deadlines).await;
        let codec = connection.slot.current().config.codec_type;
        if let Ok(first) = &mut next
            && spoken(&connection, codec, first) == Spoken::Unclear
        {
            *first = reactor.pooled(|| gather(&reactor, &connection, &mut deadlines, first)).await;
        }
        next = match next {
            // The buffer goes along: kept here, it would be the connection's as long as that lives.
            Ok(first) if spoken(&connection, codec, &first) == Spoken::Http2 => {
                let Some(place) = reactor.pooled(|| connection.settle(&first)).await else { return Ended::Elsewhere };
                return Ended::GoesOn(h2::serve(connection, deadlines, first, place));
            }
            next => next,
        };
        if next.is_ok() {
            connection.speaks(Protocol::Http1);
        }
        let disposition = loop {
            let first = match next {
                Ok(first) => first,
                Err(disposition) => break disposition,
            };
            // Asked for only now: it may have been replaced while the connection waited.
            let hcm = connection.slot.current();
            connection.begin();
            let mut state = hcm.shard.take_exchange();
            // Apart from this task's own memory, which an idle connection keeps.
            let memory = Memory::of(&*state);
            let run = reactor.pooled(|| one(&hcm, &connection, &mut state, first, deadlines.lend()));
            reactor.works_in([run.memory(), memory]);
            let (disposition, timer) = run.await;
            deadlines.give_back(timer);
            hcm.shard.give_exchange(state);
            connection.end();
            if disposition != Disposition::KeepAlive {
                if matches!(disposition, Disposition::Abort | Disposition::Reset) && connection.is_left() {
                    connection.note(Ending::RemoteDisconnect);
                }
                break disposition;
            }
            next = next_request::<false>(&reactor, &connection, &mut deadlines).await;
        };
        connection.works();
        reactor.pooled(|| end(&reactor, &connection, &mut deadlines, disposition)).await;
        Ended::Over
    }
}

/// What is known of a connection's protocol by its first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Spoken {
    Http1,
    Http2,
    /// A few more bytes will tell.
    Unclear,
}

fn spoken(connection: &Connection, codec: CodecType, first: &[u8]) -> Spoken {
    let agreed = connection.stream.tls().and_then(|tls| tls.facts().application_protocol.as_deref());
    match (codec, agreed) {
        (CodecType::Http2, _) | (CodecType::Auto, Some("h2")) => Spoken::Http2,
        (CodecType::Http1, _) | (CodecType::Auto, Some(_)) => Spoken::Http1,
        // No request of HTTP/1 begins like this (RFC 9113 section 3.4).
        (CodecType::Auto, None) if first.starts_with(METHOD) => Spoken::Http2,
        (CodecType::Auto, None) if METHOD.starts_with(first) => Spoken::Unclear,
        (CodecType::Auto, None) => Spoken::Http1,
    }
}

/// What HTTP/2 begins with, as far as it is needed.
const METHOD: &[u8; 4] = PREFACE.first_chunk().unwrap();

/// Receive until it shows whether the bytes are the beginning of HTTP/2, or nothing more comes.
async fn gather(
    reactor: &Rc<Reactor>,
    connection: &Connection,
    deadlines: &mut ConnectionDeadlines,
    first: &Buf,
) -> Buf {
    let mut all = first.to_vec();
    poll_fn(|_| {
        while all.len() < METHOD.len() && METHOD.starts_with(&all) {
            match connection.stream.poll_recv() {
                Poll::Ready(Ok(Some(more))) => all.extend_from_slice(&more),
                // What reads on finds the same.
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending if deadlines.expired(reactor.now()).is_some() => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Ready(())
    })
    .await;
    Buf::from(all.into_boxed_slice())
}

/// One exchange, whose first bytes are `first`.
async fn one(
    hcm: &Rc<Hcm>,
    connection: &Connection,
    exchange: &mut Exchange,
    first: Buf,
    timer: Timer,
) -> (Disposition, Timer) {
    let reactor = &hcm.shard.reactor;
    let mut deadlines = Deadlines::new(timer);
    let active = exchange::begin(hcm, exchange, &mut deadlines);
    hcm.stats.downstream_rq_http1_total.inc();
    exchange.request.received.append(first, reactor);
    let keep_trailers = hcm.config.limits.enable_trailers;
    let mut downstream = Downstream::H1(Served::new(&connection.stream, reactor, &hcm.codec_limits, keep_trailers));
    let Downstream::H1(served) = &mut downstream else { unreachable!("it was just made") };
    let mut is_half = false;
    let head = poll_fn(|_| match served.poll_request(&mut exchange.request) {
        Poll::Ready(head) => Poll::Ready(head.map_err(Fault::of_request_head)),
        Poll::Pending => half_head(connection, &mut is_half, deadlines.expired(reactor.now())),
    });
    let head = head.await;
    connection.works();
    if let Err(fault) = &head {
        served.keep_line(&mut exchange.request);
        match fault {
            Fault::RequestHead(_) => connection.note(Ending::ProtocolError),
            Fault::RequestHeaderTimeout => connection.note(Ending::RequestHeadersTimeout),
            _ => {}
        }
    }
    let whole =
        exchange::run::<false>(hcm, connection, &connection.stall, exchange, &mut downstream, &mut deadlines, head)
            .await;
    drop(active);
    (downstream.close(whole), deadlines.into_timer())
}

/// Only a part of a head has come. Like a connection without a request, this one makes room for a new one if it is asked to.
fn half_head<T>(connection: &Connection, is_half: &mut bool, expired: Option<Fault>) -> Poll<Result<T, Fault>> {
    if let Some(fault) = expired {
        return Poll::Ready(Err(fault));
    }
    if !std::mem::replace(is_half, true) {
        // The wait begins with the first bytes. More bytes do not make it shorter.
        connection.waits();
    } else if connection.is_asked() {
        connection.make_room();
        return Poll::Ready(Err(Fault::RequestHeadEvicted));
    }
    Poll::Pending
}

/// Wait for the next request's first bytes; those of the `FIRST` one have another time to come in.
///
/// # Errors
/// The connection is over, and the client need not be told.
fn next_request<'c, const FIRST: bool>(
    reactor: &'c Rc<Reactor>,
    connection: &'c Connection,
    deadlines: &'c mut ConnectionDeadlines,
) -> impl Future<Output = Result<Buf, Disposition>> + use<'c, FIRST> {
    // An idle connection holds no connection manager, or a replaced one and its pools would live on with it.
    let (patience, limit, send) = {
        let hcm = connection.slot.current();
        let timeouts = &hcm.config.timeouts;
        let patience = if FIRST { timeouts.request_headers.or(timeouts.idle) } else { timeouts.idle };
        // Responses to pipelined requests must not pile up.
        (patience, hcm.config.limits.buffer_limit as usize, if FIRST { None } else { timeouts.send })
    };
    deadlines.start_idle(connection, patience, send);
    connection.waits();
    let (since, mut is_flushing) = (connection.waits_since(), false);
    // Not an async function: it would keep all of this twice, in each idle connection.
    poll_fn(move |_| {
        let stream = &connection.stream;
        let reads = matches!(stream.poll_flushed(limit), Poll::Ready(Ok(())));
        if reads {
            match stream.poll_recv() {
                Poll::Ready(Ok(Some(buf))) => return Poll::Ready(Ok(buf)),
                Poll::Ready(Ok(None)) => {
                    connection.ended_by_peer.set(true);
                    return Poll::Ready(Err(Disposition::Close));
                }
                Poll::Ready(Err(_)) => return Poll::Ready(Err(Disposition::Close)),
                Poll::Pending => {}
            }
        }
        if stream.is_broken() {
            return Poll::Ready(Err(Disposition::Close));
        }
        let now = reactor.now();
        let stats = &connection.stats;
        let counter = match deadlines.expired(now) {
            _ if drain_ends(connection, deadlines, since, now) => {
                Some((&stats.downstream_cx_drain_close, Ending::Drain))
            }
            Some(Expired::Age) => Some((&stats.downstream_cx_max_duration_reached, Ending::MaxDuration)),
            Some(Expired::Idle) => Some((&stats.downstream_cx_idle_timeout, Ending::IdleTimeout)),
            Some(Expired::Look) if deadlines.has_stalled(connection, now) => {
                stats.downstream_cx_send_timeout.inc();
                connection.note(Ending::SendTimeout);
                return Poll::Ready(Err(Disposition::Reset));
            }
            Some(Expired::Look) | None if is_asked(connection, &mut is_flushing) => None,
            Some(Expired::Look) | None => return Poll::Pending,
        };
        // A request that has come by now is served, though the ring may not have told of it yet.
        if reads && stream.has_unread_bytes() {
            connection.waits();
            return Poll::Pending;
        }
        match counter {
            Some((counter, ending)) => {
                counter.inc();
                connection.note(ending);
            }
            None => connection.make_room(),
        }
        Poll::Ready(Err(Disposition::Close))
    })
}

/// Whether a drain ends the connection, which has waited for a request since `since`. If not yet, its deadlines know when.
fn drain_ends(connection: &Connection, deadlines: &mut ConnectionDeadlines, since: Nanos, now: Nanos) -> bool {
    let Some(end) = connection.drain.ends_waiting(since) else { return false };
    deadlines.wait_until(end);
    end <= now
}

/// Whether the connection is asked to make room for a new one. One whose last response is still on its way declines, and waits
/// only from the moment when that has been sent.
fn is_asked(connection: &Connection, is_flushing: &mut bool) -> bool {
    if connection.is_asked() {
        if connection.stream.unsent() == 0 {
            return true;
        }
        connection.works();
        *is_flushing = true;
    }
    if *is_flushing && connection.stream.poll_flushed(0).is_ready() {
        connection.waits();
        *is_flushing = false;
    }
    false
}

/// Close as the last exchange requires: behind everything that was said, as long as the client takes some of it in each
/// `send_timeout`. What is not taken in time is not left to the kernel, but for what is short: the client gets a reset.
pub(super) async fn end(
    reactor: &Rc<Reactor>,
    connection: &Connection,
    deadlines: &mut ConnectionDeadlines,
    disposition: Disposition,
) {
    let stream = &connection.stream;
    match disposition {
        Disposition::KeepAlive => return,
        Disposition::Reset => {
            if !connection.is_left() {
                connection.note(Ending::Local);
            }
            return stream.reset_on_close();
        }
        Disposition::Close | Disposition::Linger | Disposition::Abort => {}
    }
    let is_left = connection.is_left();
    let patience = connection.slot.current().config.timeouts.send.unwrap_or(FLUSH_TIME);
    deadlines.start_flushing(connection, patience);
    let mut waits = 0;
    let stalled = poll_fn(|_| {
        let (flushed, now) = (stream.poll_flushed(0).map(|_| false), reactor.now());
        waits += u32::from(flushed.is_pending());
        let looks = flushed.is_pending() && deadlines.expired(now).is_some();
        if looks && deadlines.has_stalled(connection, now) { Poll::Ready(true) } else { flushed }
    });
    let mut stalled = stalled.await;
    // What this turn sends is reported in the next one. Anything longer is the client's doing.
    let is_taken = waits == 0 || waits == 1 && stream.sent() <= LEFT_BEHIND;
    if !stalled && (disposition != Disposition::Close || !is_taken || stream.would_reset()) {
        stream.shutdown_write();
        deadlines.start_lingering(connection, LINGER_TIME, patience);
        stalled = linger(reactor, connection, deadlines).await;
    }
    if stalled {
        connection.stats.downstream_cx_send_timeout.inc();
        connection.note(Ending::SendTimeout);
        stream.reset_on_close();
    } else if !is_left {
        // Whatever the client has done since then follows from it.
        connection.note(Ending::Local);
    }
}

/// All is said and on its way. Whether the client has stopped taking it.
async fn linger(reactor: &Rc<Reactor>, connection: &Connection, deadlines: &mut ConnectionDeadlines) -> bool {
    let stream = &connection.stream;
    let (mut left, mut has_ended) = (LINGER_BYTES, false);
    poll_fn(|_| {
        while !has_ended && let Poll::Ready(received) = stream.poll_recv() {
            match received {
                Ok(Some(buf)) if buf.len() < left => left -= buf.len(),
                Ok(None) if stream.delivery().waits => has_ended = true,
                _ => return Poll::Ready(false),
            }
        }
        let now = reactor.now();
        match deadlines.expired(now) {
            _ if stream.is_broken() => Poll::Ready(false),
            None => Poll::Pending,
            Some(_) if !stream.delivery().waits => Poll::Ready(false),
            Some(_) if deadlines.has_stalled(connection, now) => Poll::Ready(true),
            Some(_) => Poll::Pending,
        }
    })
    .await
}
