//! A task's deadline, kept by its reactor's wheel.

use super::reactor::Reactor;
use super::task::TaskId;
use super::timer::TimerKey;
use crate::base::clock::{NEVER, Nanos, nanos};
use std::rc::Rc;
use std::time::Duration;

/// One deadline of one task. Arming and disarming cost O(1) and allocate nothing.
pub struct Timer {
    reactor: Rc<Reactor>,
    key: TimerKey,
}

impl Timer {
    pub fn new(reactor: &Rc<Reactor>) -> Self {
        let key = reactor.timers().borrow_mut().insert(TaskId::NONE);
        Self { reactor: reactor.clone(), key }
    }

    /// Wake the current task at `deadline` (which replaces the one before), or not at all where it is `NEVER`. Resolution is
    /// about a millisecond.
    pub fn arm_at(&self, deadline: Nanos) {
        if deadline == NEVER {
            return self.disarm();
        }
        self.reactor.timers().borrow_mut().arm(self.key, deadline, self.reactor.current_task());
    }

    pub fn arm_in(&self, duration: Duration) {
        self.arm_at(self.reactor.now().saturating_add(nanos(duration)));
    }

    /// Arm, or disarm where there is no limit.
    pub fn set(&self, duration: Option<Duration>) {
        match duration {
            Some(duration) => self.arm_in(duration),
            None => self.disarm(),
        }
    }

    pub fn disarm(&self) {
        self.reactor.timers().borrow_mut().disarm(self.key);
    }

    /// Whether the deadline has passed.
    pub fn fired(&self) -> bool {
        self.reactor.timers().borrow().fired(self.key)
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        self.reactor.timers().borrow_mut().remove(self.key);
    }
}
