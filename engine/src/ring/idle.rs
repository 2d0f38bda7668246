//! Work that waits for the shard to have nothing else to do: what it takes comes out of the time that traffic leaves.

use super::deadline::Timer;
use super::reactor::Reactor;
use super::task::{Executor, TaskId};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

#[derive(Default)]
pub(super) struct Idle {
    /// Times that nothing was left to do while something waited for that.
    moments: Cell<u64>,
    waiting: RefCell<Vec<TaskId>>,
}

impl Idle {
    pub(super) fn is_awaited(&self) -> bool {
        !self.waiting.borrow().is_empty()
    }

    /// Nothing is left to do.
    pub(super) fn comes(&self, executor: &Executor) {
        self.moments.set(self.moments.get() + 1);
        self.waiting.borrow_mut().drain(..).for_each(|task| executor.wake(task));
    }
}

impl Reactor {
    /// Until no task is ready and a look into the ring brings nothing; not longer than `longest`, so that a shard that is never
    /// idle goes on with the work, too.
    pub async fn idle(self: &Rc<Self>, longest: Duration) {
        let timer = Timer::new(self);
        timer.arm_in(longest);
        let before = self.idle.moments.get();
        std::future::poll_fn(|_| {
            if timer.fired() || self.idle.moments.get() != before {
                return Poll::Ready(());
            }
            let (task, mut waiting) = (self.current_task(), self.idle.waiting.borrow_mut());
            if !waiting.contains(&task) {
                waiting.push(task);
            }
            Poll::Pending
        })
        .await;
    }
}
