//! The admin endpoint's connections: few, and none of them can keep others out. At the limit, the one that has waited longest
//! for its client is closed; descriptors are kept back for when the rest of the process has used them up.

use crate::base::clock::Nanos;
use crate::net::sys;
use crate::ring::{Reactor, TaskId};
use slab::Slab;
use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

/// Connections at the same time.
pub(super) const CONNECTIONS_MAX: usize = 64;
/// Descriptors kept back.
const RESERVE: usize = 8;
/// Between two tries to have the reserve full again: short, since the descriptors that become free are few.
const REFILL: Duration = Duration::from_millis(2);

/// What a connection waits for, and which of them is closed first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Wait {
    Request,
    /// The client is to take what was sent.
    Reader,
    /// Nothing: its answer is being made.
    Nothing,
}

pub(super) struct Guests {
    entries: RefCell<Slab<(TaskId, Wait, Nanos)>>,
    reserve: RefCell<Reserve>,
}

/// Descriptors to give up for connections that could not be accepted otherwise.
struct Reserve {
    listening: OwnedFd,
    spare: Vec<OwnedFd>,
    /// The task that fills it again.
    keeper: TaskId,
}

/// A connection's entry; dropped with it.
pub(super) struct Guest {
    guests: Rc<Guests>,
    key: usize,
}

impl Guests {
    /// # Errors
    /// EMFILE.
    pub(super) fn new(listening: &OwnedFd) -> io::Result<Rc<Self>> {
        let mut reserve =
            Reserve { listening: sys::share(listening)?, spare: Vec::with_capacity(RESERVE), keeper: TaskId::NONE };
        reserve.fill();
        Ok(Rc::new(Self { entries: RefCell::default(), reserve: RefCell::new(reserve) }))
    }

    pub(super) fn are_full(&self) -> bool {
        self.entries.borrow().len() >= CONNECTIONS_MAX
    }

    /// Closes the connection that has waited longest for a request or, if none does, for its reader. Returns whether there
    /// was one.
    pub(super) fn close_one(&self, reactor: &Reactor) -> bool {
        let longest =
            self.entries.borrow().iter().map(|(_, entry)| *entry).min_by_key(|(_, wait, since)| (*wait, *since));
        let Some((task, Wait::Request | Wait::Reader, _)) = longest else { return false };
        reactor.cancel(task);
        true
    }

    /// Accepts the connection that met the lack of a descriptor.
    pub(super) fn accept_from_reserve(&self, reactor: &Reactor) -> Option<OwnedFd> {
        let mut reserve = self.reserve.borrow_mut();
        reactor.wake(reserve.keeper);
        reserve.accept()
    }

    /// Enters the current task, which waits for a request.
    pub(super) fn register(self: &Rc<Self>, reactor: &Reactor) -> Guest {
        let entry = (reactor.current_task(), Wait::Request, reactor.now());
        Guest { guests: self.clone(), key: self.entries.borrow_mut().insert(entry) }
    }
}

impl Reserve {
    fn fill(&mut self) {
        while self.spare.len() < RESERVE {
            let Ok(fd) = sys::share(&self.listening) else { return };
            self.spare.push(fd);
        }
    }

    /// Another thread may be faster and take what is given up, so that several are tried.
    fn accept(&mut self) -> Option<OwnedFd> {
        while let Some(fd) = self.spare.pop() {
            drop(fd);
            match sys::accept_waiting(self.listening.as_raw_fd()) {
                Ok(accepted) => return Some(accepted),
                Err(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE)) => {}
                Err(_) => return None,
            }
        }
        None
    }
}

impl Guest {
    /// The connection waits for this from now on.
    pub(super) fn waits(&self, wait: Wait, now: Nanos) {
        if let Some(entry) = self.guests.entries.borrow_mut().get_mut(self.key) {
            (entry.1, entry.2) = (wait, now);
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.guests.entries.borrow_mut().remove(self.key);
    }
}

/// Fills the reserve again whenever something was taken, as soon as there are descriptors.
pub(super) async fn keep_reserve(reactor: Rc<Reactor>, guests: Rc<Guests>) {
    loop {
        poll_fn(|_| {
            let mut reserve = guests.reserve.borrow_mut();
            reserve.keeper = reactor.current_task();
            if reserve.spare.len() < RESERVE { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        reactor.sleep(REFILL).await;
        guests.reserve.borrow_mut().fill();
    }
}
