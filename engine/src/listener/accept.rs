//! The task that accepts, and how it ends.
//!
//! ```text
//! accepting ── drain ──> new connections are refused ── backlog empty, or 1 s ──> cancelled ── the last ones ──> closed
//! ```
//!
//! A socket that is closed resets the connections in its backlog, of which the clients know nothing: they are connected. So
//! all that has come is accepted first. Each shard does so for its own socket, whenever its drain begins. A socket that the
//! service manager has passed stays open there, and its backlog with it.

use super::flood::{self, Flood};
use super::full_house::free_descriptor;
use super::{Listener, admit};
use crate::base::clock::{Nanos, nanos};
use crate::net::{Arrival, ByteStream, ListeningSocket, SocketOwner, sys};
use crate::ring::{Acceptor, Reactor, Socket, Timer};
use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// After an accept that found no descriptor or memory left: the connection that met it is still in the backlog, and
/// asking at once would meet it again, without end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// The same after a connection was closed to make room: its descriptor is free a few turns later.
const CLOSE_TIME: Duration = Duration::from_millis(2);
/// New connections between which those that are open have their turn.
const AT_ONCE: usize = 16;
/// Between two lines in the log that accepting fails. It may fail again after each connection that found room.
const SAY_AGAIN: Nanos = 10_000_000_000;
/// The longest time that the end takes.
const END_MAX: Duration = Duration::from_secs(1);
/// How long handshakes that have begun may take to reach the backlog.
const HANDSHAKES: Duration = Duration::from_millis(50);
/// Between two looks at the backlog.
const LOOK: Duration = Duration::from_millis(5);

/// Accepts on `socket` until the listener drains and all that has come is accepted.
pub async fn accept(reactor: Rc<Reactor>, listener: Rc<Listener>, socket: ListeningSocket) {
    let _arriving = listener.drain.arriving();
    // A bound address is every connection's local address unless it is a wildcard.
    let bound = sys::local_address(socket.fd.as_raw_fd()).filter(|address| !address.ip().is_unspecified());
    let acceptor = match socket.owner {
        SocketOwner::Shard => Acceptor::new(&reactor, socket.fd),
        SocketOwner::Process | SocketOwner::Manager => Acceptor::shared(&reactor, socket.fd),
    };
    let is_own = socket.owner != SocketOwner::Manager;
    let accepting = Accepting { acceptor, reactor, listener, bound, is_own };
    accepting.listener.drain.watch(&accepting.reactor);
    accepting.serve().await;
    // What is in the backlog of a passed socket waits for the next process; a filter that refuses would stay, too.
    if is_own {
        accepting.empty().await;
    }
    while let Some(fd) = poll_fn(|_| accepting.acceptor.poll_rest()).await {
        accepting.start(fd);
    }
    // A connection is one of the listener's once its task has run.
    accepting.reactor.yield_now().await;
}

struct Accepting {
    reactor: Rc<Reactor>,
    listener: Rc<Listener>,
    acceptor: Acceptor,
    bound: Option<SocketAddr>,
    /// The socket ends with this process.
    is_own: bool,
}

impl Accepting {
    /// Until the listener drains.
    async fn serve(&self) {
        let Self { listener, reactor, acceptor, .. } = self;
        let mut told: Option<Nanos> = None;
        let mut accepted_at_once = 0;
        let mut flood = Flood::new(&listener.handshakes, self.is_own);
        let calm = Timer::new(reactor);
        loop {
            if listener.has_too_many_handshakes() {
                acceptor.pause();
                if !listener.handshakes.shed() {
                    self.wait_for_handshakes().await;
                }
                flood.swells(acceptor.raw_fd(), reactor.now());
                calm.arm_in(flood::LOOK);
            }
            let accepted = poll_fn(|_| {
                if calm.fired() {
                    if flood.is_over(reactor.now(), || {
                        listener.handshakes.are_none() && !sys::has_backlog(acceptor.raw_fd())
                    }) {
                        calm.disarm();
                        flood.ends(acceptor.raw_fd());
                        acceptor.catch_up();
                    } else {
                        calm.arm_in(flood::LOOK);
                    }
                }
                match acceptor.poll_accept() {
                    Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
                    Poll::Pending if listener.drain.is_draining() => Poll::Ready(None),
                    Poll::Pending => Poll::Pending,
                }
            });
            match accepted.await {
                None => return flood.ends(acceptor.raw_fd()),
                Some(Ok(fd)) => {
                    self.start(fd);
                    accepted_at_once += 1;
                    let is_behind = flood.brings(acceptor.has_caught_up());
                    if is_behind && listener.handshakes.are_many() {
                        reactor.idle(flood::IDLE_MAX).await;
                    } else if accepted_at_once >= AT_ONCE {
                        accepted_at_once = 0;
                        reactor.yield_now().await;
                    }
                }
                // On another shard, which shares the socket, the drain has begun.
                Some(Err(error)) if is_shut(&error) => reactor.sleep(LOOK).await,
                Some(Err(error)) => {
                    listener.stats.accept_error.inc();
                    listener.shard_stats.accept_errors.inc();
                    let now = reactor.now();
                    if told.is_none_or(|told| now >= told + SAY_AGAIN) {
                        told = Some(now);
                        tracing::warn!(target: "ringway::listener", listener = %listener.binding.address, %error, "cannot accept, trying again soon");
                    }
                    let is_wanted = is_shortage(&error) && sys::has_backlog(acceptor.raw_fd());
                    let is_freed = is_wanted && free_descriptor(reactor, &listener.house).await;
                    reactor.sleep(if is_freed { CLOSE_TIME } else { ACCEPT_PAUSE }).await;
                }
            }
        }
    }

    /// New connections wait in the kernel's backlog meanwhile.
    async fn wait_for_handshakes(&self) {
        let listener = &self.listener;
        listener.shard_stats.handshakes_full.inc();
        listener.handshakes.wait_for_room(|| listener.drain.is_draining()).await;
    }

    /// Takes no new connections, and accepts those that have come.
    async fn empty(&self) {
        let Self { listener, reactor, acceptor, .. } = self;
        let is_refusing = sys::refuse_new(acceptor.raw_fd());
        if let Err(error) = &is_refusing {
            tracing::debug!(target: "ringway::listener", listener = %listener.binding.address, %error, "new connections come to the end");
        }
        acceptor.catch_up();
        let start = reactor.now();
        let timer = Timer::new(reactor);
        timer.arm_at(start);
        loop {
            let accepted = poll_fn(|_| match acceptor.poll_accept() {
                Poll::Ready(accepted) => Poll::Ready(Some(accepted)),
                Poll::Pending if timer.fired() => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            });
            let accepted = accepted.await;
            let since = reactor.now() - start;
            match accepted {
                Some(Ok(fd)) => self.start(fd),
                Some(Err(error)) if is_shut(&error) => return,
                Some(Err(_)) => reactor.sleep(LOOK).await,
                None if since >= nanos(HANDSHAKES) && !sys::has_backlog(acceptor.raw_fd()) => return,
                None => timer.arm_in(LOOK),
            }
            if since >= nanos(END_MAX) {
                return;
            }
        }
    }

    fn start(&self, fd: OwnedFd) {
        let remote = sys::peer_address(fd.as_raw_fd());
        let local = self.bound.or_else(|| sys::local_address(fd.as_raw_fd()));
        admit(&self.reactor, &self.listener, Arrival { remote, local, ..Arrival::default() }, || {
            ByteStream::Socket(Socket::accepted(&self.reactor, fd))
        });
    }
}

fn is_shortage(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

/// Nothing comes any more from a Unix socket of which `sys::refuse_new` has shut the reading side.
fn is_shut(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EINVAL)
}
