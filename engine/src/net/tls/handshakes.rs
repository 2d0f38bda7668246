//! How many handshakes a shard computes at a time. Beyond that its listeners leave connections in the kernel's backlog: a
//! handshake that waits here for minutes is worked off for a client that is gone.

use crate::ring::{Reactor, TaskId};
use crate::stats::ShardStats;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

/// Those of one shard. One that waits for its client computes nothing and does not count, so that clients that say nothing
/// keep none from being served.
pub struct Handshakes {
    reactor: Rc<Reactor>,
    computing: Cell<usize>,
    max: Cell<usize>,
    /// Tasks that accept, or would.
    waiting: RefCell<Vec<TaskId>>,
    stats: Arc<ShardStats>,
}

impl Handshakes {
    pub fn new(reactor: &Rc<Reactor>, stats: &Arc<ShardStats>) -> Rc<Self> {
        Rc::new(Self {
            reactor: reactor.clone(),
            computing: Cell::new(0),
            max: Cell::new(usize::MAX),
            waiting: RefCell::default(),
            stats: stats.clone(),
        })
    }

    pub fn set_max(&self, max: usize) {
        self.max.set(max);
        self.wake();
    }

    /// Whether another one would have to wait.
    pub fn are_full(&self) -> bool {
        self.computing.get() >= self.max.get()
    }

    /// Ready when another one may come; wakes the task then.
    pub fn poll_room(&self) -> Poll<()> {
        if !self.are_full() {
            return Poll::Ready(());
        }
        let (task, mut waiting) = (self.reactor.current_task(), self.waiting.borrow_mut());
        if !waiting.contains(&task) {
            waiting.push(task);
        }
        Poll::Pending
    }

    /// One begins to compute, until the guard is dropped.
    pub(super) fn begin(self: &Rc<Self>) -> Computing {
        self.computing.set(self.computing.get() + 1);
        self.stats.handshakes_active.inc();
        Computing(self.clone())
    }

    fn wake(&self) {
        if !self.are_full() {
            self.waiting.take().into_iter().for_each(|task| self.reactor.wake(task));
        }
    }
}

/// A handshake has something to compute.
pub(super) struct Computing(Rc<Handshakes>);

impl Drop for Computing {
    fn drop(&mut self) {
        let all = &self.0;
        all.computing.set(all.computing.get() - 1);
        all.stats.handshakes_active.dec();
        all.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::PoolSize;
    use std::future::poll_fn;

    #[test]
    fn what_waits_for_room_goes_on_when_there_is_some() {
        let reactor = Reactor::simulated(1, PoolSize { count: 16, size: 1024 });
        let handshakes = Handshakes::new(&reactor, &Arc::default());
        handshakes.set_max(2);
        let (first, second) = (handshakes.begin(), handshakes.begin());
        assert!(handshakes.are_full());
        let went_on = Rc::new(Cell::new(0));
        for _ in 0..2 {
            let (handshakes, went_on) = (handshakes.clone(), went_on.clone());
            reactor.spawn(async move {
                poll_fn(|_| handshakes.poll_room()).await;
                went_on.set(went_on.get() + 1);
            });
        }
        (0..4).for_each(|_| reactor.turn());
        assert_eq!(went_on.get(), 0);
        drop(first);
        (0..4).for_each(|_| reactor.turn());
        assert_eq!(went_on.get(), 2, "there was room for either");
        drop(second);
        let _third = handshakes.begin();
        handshakes.set_max(1);
        assert!(handshakes.are_full());
        handshakes.set_max(2);
        assert!(!handshakes.are_full());
    }
}
