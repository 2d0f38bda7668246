//! What gives way where a resource is short: tasks, of which the oldest is cancelled first, and things that are only kept
//! for later use.
//!
//! A descriptor that is given up is free a few turns later, and the next task to open a socket takes it, whichever task it
//! was given up for. So what counts is that there are as many on their way as tasks that wait for one.

use super::reactor::Reactor;
use super::task::TaskId;
use crate::base::clock::Nanos;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::rc::{Rc, Weak};
use std::time::Duration;

/// Times that a task tries again, each after a millisecond or more.
const TRIES_MAX: usize = 64;
/// Things given up for one task: what is short may be something that no descriptor brings back.
const GIVEN_UP_MAX: usize = 8;

/// Oldest first; some may have ended.
#[derive(Default)]
pub(super) struct Yielding(RefCell<VecDeque<TaskId>>);

/// Keeps things that hold descriptors and that it can do without.
pub trait Spare {
    /// Since when the one is kept that has been kept longest.
    fn kept_since(&self) -> Option<Nanos>;

    /// Close that one.
    fn give_up(&self);
}

/// Some may be gone.
#[derive(Default)]
pub(super) struct Spares(RefCell<Vec<Weak<dyn Spare>>>);

/// The attempts of one task to get something that is short.
#[derive(Default)]
pub struct Attempts {
    tries: usize,
    given_up: usize,
}

/// A task waits for a descriptor.
struct Waiting<'r>(&'r Cell<usize>);

impl<'r> Waiting<'r> {
    fn new(count: &'r Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}

impl Reactor {
    /// No descriptor or memory was left for the current task: let something give way and wait a moment. Whether it is worth
    /// trying again.
    pub async fn make_room(self: &Rc<Self>, attempts: &mut Attempts) -> bool {
        let _waiting = Waiting::new(&self.short_of);
        attempts.tries += 1;
        if attempts.tries > TRIES_MAX || !self.gives_way(&mut attempts.given_up) {
            return false;
        }
        self.sleep(Duration::from_millis(1)).await;
        true
    }

    /// Whether a descriptor is on its way. Unless there is one for each task that waits, something is given up.
    fn gives_way(&self, given_up: &mut usize) -> bool {
        let closing = self.closing();
        let mut something = closing > 0;
        while closing < self.short_of.get() && *given_up < GIVEN_UP_MAX {
            if self.spare_pipes.borrow_mut().pop().is_some() {
                return true;
            }
            if !self.shed() && !self.give_up_spare() {
                break;
            }
            something = true;
            *given_up += 1;
            // A task that was cancelled may have held no socket yet.
            if self.closing() > closing {
                break;
            }
        }
        something
    }

    /// Descriptors that are being closed.
    fn closing(&self) -> usize {
        self.io.as_ref().map_or(0, |io| io.borrow().closing())
    }

    /// What `spare` keeps is given up where descriptors are short.
    pub fn add_spare(&self, spare: Weak<dyn Spare>) {
        let mut spares = self.spares.0.borrow_mut();
        if spares.len() == spares.capacity() {
            spares.retain(|spare| spare.strong_count() > 0);
        }
        spares.push(spare);
    }

    /// Give up what has been kept longest. Whether there was something.
    fn give_up_spare(&self) -> bool {
        let oldest = {
            let spares = self.spares.0.borrow();
            let kept = spares.iter().filter_map(Weak::upgrade).filter_map(|spare| Some((spare.kept_since()?, spare)));
            kept.min_by_key(|(since, _)| *since).map(|(_, spare)| spare)
        };
        oldest.as_ref().inspect(|spare| spare.give_up()).is_some()
    }

    /// As `spawn`, for a task that gives way where resources are short: `shed` may cancel it.
    pub fn spawn_yielding(&self, future: impl Future<Output = ()> + 'static) -> TaskId {
        let task = self.spawn(future);
        let mut yielding = self.yielding.0.borrow_mut();
        if yielding.len() == yielding.capacity() {
            yielding.retain(|task| self.executor.is_alive(*task));
        }
        yielding.push_back(task);
        task
    }

    /// Cancel the oldest task that gives way. Whether there was one.
    fn shed(&self) -> bool {
        loop {
            let Some(task) = self.yielding.0.borrow_mut().pop_front() else { return false };
            if self.executor.is_alive(task) {
                self.cancel(task);
                return true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::ring::{PoolSize, Reactor};
    use std::cell::RefCell;
    use std::future::pending;
    use std::rc::Rc;
    use std::time::Duration;

    #[test]
    fn the_oldest_that_still_runs_goes_first() {
        struct Named(char, Rc<RefCell<String>>);
        impl Drop for Named {
            fn drop(&mut self) {
                self.1.borrow_mut().push(self.0);
            }
        }
        let reactor = Reactor::simulated(1, PoolSize { count: 16, size: 1024 });
        let ended: Rc<RefCell<String>> = Rc::default();
        let task = |name: char, lasts: bool| {
            let named = Named(name, ended.clone());
            reactor.spawn_yielding(async move {
                let _named = named;
                if lasts {
                    pending::<()>().await;
                }
            });
        };
        task('a', false);
        task('b', true);
        task('c', true);
        let sleeps = reactor.clone();
        reactor.block_on(async move { sleeps.sleep(Duration::from_secs(1)).await });
        task('d', true);
        assert_eq!([reactor.shed(), reactor.shed(), reactor.shed(), reactor.shed()], [true, true, true, false]);
        assert_eq!(*ended.borrow(), "abcd");
        (0..100).for_each(|_| task('e', true));
        assert!((0..100).all(|_| reactor.shed()) && !reactor.shed());
    }
}
