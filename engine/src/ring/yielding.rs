//! Tasks that give way: where a resource is short, the oldest of them is cancelled first.

use super::reactor::Reactor;
use super::task::TaskId;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::Future;

/// Oldest first; some may have ended.
#[derive(Default)]
pub(super) struct Yielding(RefCell<VecDeque<TaskId>>);

impl Reactor {
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
    pub fn shed(&self) -> bool {
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
