//! The HTTP/1 driver: one task per downstream connection, one exchange after the other.

use super::connection::{Accepted, ChainSlot, Connection};
use super::exchange;
use crate::ring::{Buf, Memory, Reactor};
use crate::router::{Deadlines, Fault};
use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// After a close that the client may not expect, what it still sends is read and thrown away for so long and so much:
/// a close with unread bytes would be a reset, and that could destroy the response on its way (RFC 9112 section 9.6).
const LINGER_TIME: Duration = Duration::from_secs(1);
const LINGER_BYTES: usize = 64 * 1024;

/// What an exchange left of its connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The next request may come.
    KeepAlive,
    /// All was said and read.
    Close,
    /// The client may still be sending.
    Linger,
    /// The response is incomplete, and the client must be able to tell.
    Abort,
    /// As `Abort`, where only a reset tells: the response's end would be the connection's.
    Reset,
}

/// Serve a connection until it ends.
pub async fn serve(accepted: Accepted, slot: Rc<ChainSlot>) {
    let hcm = slot.current();
    let reactor = hcm.shard.reactor.clone();
    let mut deadlines = Deadlines::new(&reactor, hcm.config.timeouts.max_connection_duration);
    let mut connection = Connection::new(accepted, slot, &hcm);
    drop(hcm);
    let next = loop {
        let Some(first) = next_request(&reactor, &mut connection, &mut deadlines).await else { break Next::Close };
        // Asked for only now: it may have been replaced while the connection waited.
        let hcm = connection.slot.current();
        connection.requests += 1;
        connection.active = true;
        let mut state = hcm.shard.take_exchange();
        // Apart from this task's own memory, which an idle connection keeps.
        let memory = Memory::of(&*state);
        let run = reactor.pooled(|| exchange::run(&hcm, &mut connection, &mut state, first, &mut deadlines));
        reactor.works_in([run.memory(), memory]);
        let next = run.await;
        hcm.shard.give_exchange(state);
        connection.active = false;
        if next != Next::KeepAlive {
            break next;
        }
    };
    reactor.pooled(|| end(&reactor, &connection, &mut deadlines, next)).await;
}

/// Wait for the next request's first bytes. `None`: the connection is over, and nobody needs to be told.
async fn next_request(reactor: &Rc<Reactor>, connection: &mut Connection, deadlines: &mut Deadlines) -> Option<Buf> {
    let is_new = connection.requests == 0;
    // An idle connection holds no connection manager, or a replaced one and its pools would live on with it.
    let (patience, limit) = {
        let hcm = connection.slot.current();
        let timeouts = &hcm.config.timeouts;
        let patience = if is_new { timeouts.request_headers.or(timeouts.idle) } else { timeouts.idle };
        // Responses to pipelined requests must not pile up.
        (patience, hcm.config.limits.buffer_limit as usize)
    };
    deadlines.start_waiting(reactor.now(), patience);
    let stats = &connection.stats;
    poll_fn(|_| {
        let stream = &connection.stream;
        if let Poll::Ready(Ok(())) = stream.poll_flushed(limit) {
            match stream.poll_recv() {
                Poll::Ready(Ok(Some(buf))) => return Poll::Ready(Some(buf)),
                Poll::Ready(Ok(None)) => {
                    connection.ended_by_peer = true;
                    return Poll::Ready(None);
                }
                Poll::Ready(Err(_)) => return Poll::Ready(None),
                Poll::Pending => {}
            }
        }
        if stream.is_broken() {
            return Poll::Ready(None);
        }
        if connection.drain.is_draining() {
            stats.downstream_cx_drain_close.inc();
            return Poll::Ready(None);
        }
        match deadlines.expired(reactor.now()) {
            Some(Fault::MaxConnectionDuration) => stats.downstream_cx_max_duration_reached.inc(),
            Some(_) => stats.downstream_cx_idle_timeout.inc(),
            None => return Poll::Pending,
        }
        Poll::Ready(None)
    })
    .await
}

/// Close as the last exchange requires.
async fn end(reactor: &Rc<Reactor>, connection: &Connection, deadlines: &mut Deadlines, next: Next) {
    let stream = &connection.stream;
    match next {
        Next::KeepAlive | Next::Abort => return,
        Next::Reset => return stream.reset_on_close(),
        Next::Close | Next::Linger => {}
    }
    deadlines.start_closing(reactor.now(), FLUSH_TIME);
    let mut unsent = stream.unsent();
    poll_fn(|_| {
        if stream.unsent() < unsent {
            unsent = stream.unsent();
            deadlines.start_closing(reactor.now(), FLUSH_TIME);
        }
        let flushed = stream.poll_flushed(0).map(|_| ());
        if flushed.is_pending() && deadlines.expired(reactor.now()).is_some() { Poll::Ready(()) } else { flushed }
    })
    .await;
    if next == Next::Linger || stream.has_received_bytes() {
        stream.shutdown_write();
        deadlines.start_closing(reactor.now(), LINGER_TIME);
        let mut left = LINGER_BYTES;
        poll_fn(|_| {
            while let Poll::Ready(received) = stream.poll_recv() {
                match received {
                    Ok(Some(buf)) if buf.len() < left => left -= buf.len(),
                    _ => return Poll::Ready(()),
                }
            }
            if deadlines.expired(reactor.now()).is_some() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }
}

/// How long the last bytes of a response may make no progress (a write stall).
const FLUSH_TIME: Duration = Duration::from_secs(30);
