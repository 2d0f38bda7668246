//! The pace of a response's body: bytes a second, given out in sixteenths of a second.

use crate::base::clock::Nanos;
use crate::ring::{Reactor, Timer};
use std::rc::Rc;
use std::task::Poll;

const SECOND: u64 = 1_000_000_000;
/// Bytes are given out so many times a second: a fraction small enough to be smooth, and large enough to be worth a
/// packet.
const PORTIONS: u64 = 16;

/// Lets bytes go at a rate.
pub struct Pace {
    timer: Timer,
    bytes_per_second: u64,
    allowance: u64,
    /// When the next portion comes.
    next: Nanos,
}

impl Pace {
    /// `bytes_per_second`: 1 or more.
    pub fn new(reactor: &Rc<Reactor>, bytes_per_second: u64) -> Self {
        Self { timer: Timer::new(reactor), bytes_per_second, allowance: 0, next: reactor.now() }
    }

    pub fn is_slower_than(&self, other: &Self) -> bool {
        self.bytes_per_second < other.bytes_per_second
    }

    /// Bytes that may go now; pending wakes the task when there are some.
    pub fn poll_allowance(&mut self, now: Nanos) -> Poll<usize> {
        // Few bytes a second come one by one.
        let portion = (self.bytes_per_second / PORTIONS).max(1);
        if now >= self.next {
            let every = SECOND * portion / self.bytes_per_second;
            self.allowance = portion;
            self.next = now + every;
        }
        if self.allowance > 0 {
            return Poll::Ready(self.allowance as usize);
        }
        self.timer.arm_at(self.next);
        Poll::Pending
    }

    /// So many bytes went.
    pub fn spend(&mut self, bytes: usize) {
        self.allowance = self.allowance.saturating_sub(bytes as u64);
    }
}
