//! Accepting connections: one multishot accept per listening socket, or one accept after the other where shards share it.
//!
//! A multishot accept brings all that waits in the backlog at once, before anything else has its turn: a thousand connections
//! take the kernel 5 ms, and their tasks more. So accepting that was paused goes on with one connection a turn, until the backlog
//! has been empty. Kernels before 6.10 do not tell (IORING_CQE_F_SOCK_NONEMPTY), and none does of Unix sockets; there it goes on with
//! one connection, and then all.

use super::driver::{Io, SlotKey};
use super::reactor::Reactor;
use super::task::TaskId;
use super::uring::Completion;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::rc::Rc;
use std::task::Poll;

pub(super) struct AcceptorState {
    fd: OwnedFd,
    pub generation: u32,
    accepted: VecDeque<OwnedFd>,
    error: Option<i32>,
    pub armed: bool,
    is_shared: bool,
    /// Connections that have waited during a pause come one at a time.
    one_by_one: bool,
    /// A cancel is on its way.
    stopping: bool,
    closing: bool,
    pub waiter: TaskId,
}

/// Connections accepted and not yet taken at which accepting stops: more wait in the kernel's backlog, where they cost
/// no descriptor. One entry of the kernel may bring some beyond it.
const ACCEPTED_MAX: usize = 256;

impl AcceptorState {
    /// Returns whether accepting is to be cancelled, because what comes is not taken.
    #[must_use]
    pub(super) fn on_completion(&mut self, accepted: Option<OwnedFd>, completion: Completion) -> bool {
        let (result, more) = (completion.result, completion.more());
        self.one_by_one &= more || result < 0 || completion.left_some();
        self.armed = more;
        self.stopping &= more;
        if let Some(fd) = accepted
            && !self.closing
        {
            self.accepted.push_back(fd);
        } else if result < 0 {
            // Errors of one connection (RFC: it went away in the queue) are not errors of the listener.
            let passing = [libc::ECANCELED, libc::EINTR, libc::EAGAIN, libc::ECONNABORTED, libc::EPROTO];
            self.error = (!passing.contains(&-result)).then_some(-result);
        }
        let stop = more && !self.closing && !self.stopping && self.accepted.len() >= ACCEPTED_MAX;
        self.stopping |= stop;
        stop
    }

    pub(super) fn trim(&mut self) {
        self.accepted.shrink_to(16);
    }

    pub(super) fn is_done(&self) -> bool {
        self.closing && !self.armed
    }
}

/// A listening socket on this shard. Dropped, it stops accepting and closes its descriptor.
pub struct Acceptor {
    reactor: Rc<Reactor>,
    key: SlotKey,
}

impl Acceptor {
    /// Accept on `fd`, which is bound and listens.
    pub fn new(reactor: &Rc<Reactor>, fd: OwnedFd) -> Self {
        Self::with(reactor, fd, false)
    }

    /// As `new`, on a socket on which other rings accept, too: each gets its share of the connections.
    pub fn shared(reactor: &Rc<Reactor>, fd: OwnedFd) -> Self {
        Self::with(reactor, fd, true)
    }

    fn with(reactor: &Rc<Reactor>, fd: OwnedFd, is_shared: bool) -> Self {
        let key = reactor.io(|io| {
            let generation = io.next_generation();
            let index = io.acceptors.insert(AcceptorState {
                fd,
                generation,
                accepted: VecDeque::new(),
                error: None,
                armed: false,
                is_shared,
                one_by_one: false,
                stopping: false,
                closing: false,
                waiter: TaskId::NONE,
            });
            SlotKey { index: index as u32, generation }
        });
        Self { reactor: reactor.clone(), key }
    }

    /// The listening descriptor.
    pub fn raw_fd(&self) -> RawFd {
        self.reactor.io(|io| io.acceptors[self.key.index as usize].fd.as_raw_fd())
    }

    /// Ends accepting: the next connection that was accepted before the end, or `None` after the last one. A cancelled
    /// accept may still bring connections, which have been told that they are accepted.
    pub fn poll_rest(&self) -> Poll<Option<OwnedFd>> {
        let task = self.reactor.current_task();
        self.reactor.io(|io| {
            let state = &mut io.acceptors[self.key.index as usize];
            state.waiter = task;
            if let Some(fd) = state.accepted.pop_front() {
                return Poll::Ready(Some(fd));
            }
            if !state.armed {
                return Poll::Ready(None);
            }
            if !std::mem::replace(&mut state.stopping, true) {
                io.cancel_accept(self.key);
            }
            Poll::Pending
        })
    }

    /// Whether no connection is left in the backlog that has waited there during a pause.
    pub fn has_caught_up(&self) -> bool {
        self.reactor.io(|io| !io.acceptors[self.key.index as usize].one_by_one)
    }

    /// Take those that are left as fast as they come.
    pub fn catch_up(&self) {
        self.reactor.io(|io| io.acceptors[self.key.index as usize].one_by_one = false);
    }

    /// More connections stay in the kernel's backlog, but for those that are on their way, until the next `poll_accept`. Then
    /// they come one at a time.
    pub fn pause(&self) {
        self.reactor.io(|io| {
            let state = &mut io.acceptors[self.key.index as usize];
            state.one_by_one = true;
            if state.armed && !std::mem::replace(&mut state.stopping, true) {
                io.cancel_accept(self.key);
            }
        });
    }

    /// The next connection.
    ///
    /// # Errors
    /// EMFILE, ENFILE, ENOBUFS, ENOMEM: nothing can be accepted for now, whether a connection waits or not. Accepting starts
    /// again with the next poll, so wait a while before it: the connection that caused the error is still in the backlog
    /// and would cause it again.
    pub fn poll_accept(&self) -> Poll<io::Result<OwnedFd>> {
        let task = self.reactor.current_task();
        self.reactor.io(|io| {
            let state = &mut io.acceptors[self.key.index as usize];
            state.waiter = task;
            if let Some(fd) = state.accepted.pop_front() {
                return Poll::Ready(Ok(fd));
            }
            if let Some(errno) = state.error.take() {
                return Poll::Ready(Err(io::Error::from_raw_os_error(errno)));
            }
            if !state.armed {
                state.armed = true;
                let (fd, one) = (state.fd.as_raw_fd(), state.is_shared || state.one_by_one);
                io.submit_accept(self.key, fd, one);
            }
            Poll::Pending
        })
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.reactor.io(|io| close(io, self.key));
    }
}

fn close(io: &mut Io, key: SlotKey) {
    let state = &mut io.acceptors[key.index as usize];
    state.closing = true;
    state.waiter = TaskId::NONE;
    state.accepted.clear();
    if state.armed {
        io.cancel_accept(key);
    } else {
        io.acceptors.remove(key.index as usize);
    }
}
