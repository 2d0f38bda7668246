//! The pace of a response's body: bytes a second, given out in sixteenths of a second (as Envoy's StreamRateLimiter).

use crate::base::clock::Nanos;
use crate::ring::{Reactor, Timer};
use std::rc::Rc;
use std::task::Poll;

const SECOND: u64 = 1_000_000_000;
/// Bytes are given out this many times a second: a fraction small enough to be smooth, and large enough to be worth a
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
    /// `bytes_per_second`: 1 or more. To be made within the task that waits.
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
        let every = SECOND * portion / self.bytes_per_second;
        if let Some(late) = now.checked_sub(self.next) {
            // What was not used, or came late, is not lost, but no more than a second's worth of it.
            let missed = (late / every.max(1)).min(PORTIONS);
            self.allowance = (self.allowance + portion * (1 + missed)).min(self.bytes_per_second);
            self.next = (self.next + every * (1 + missed)).max(now + 1);
        }
        if self.allowance > 0 {
            return Poll::Ready(usize::try_from(self.allowance).unwrap_or(usize::MAX));
        }
        self.timer.arm_at(self.next);
        Poll::Pending
    }

    /// `bytes` went.
    pub fn spend(&mut self, bytes: usize) {
        self.allowance = self.allowance.saturating_sub(bytes as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ring::PoolSize;
    use std::future::poll_fn;

    /// How long `bytes` take at this rate, at most `at_once` of them at a time.
    fn time(bytes_per_second: u64, bytes: usize, at_once: usize) -> Nanos {
        let reactor = Reactor::simulated(1, PoolSize { count: 2, size: 1024 });
        let inner = reactor.clone();
        reactor.block_on(async move {
            let start = inner.now();
            let mut pace = Pace::new(&inner, bytes_per_second);
            let mut left = bytes;
            while left > 0 {
                let allowed = poll_fn(|_| pace.poll_allowance(inner.now())).await;
                let now = allowed.min(left).min(at_once);
                pace.spend(now);
                left -= now;
            }
            inner.now() - start
        })
    }

    #[test]
    fn bytes_take_their_time() {
        for (rate, bytes, at_once, milliseconds) in [
            (1024, 64, 1024, 0),
            (1024, 1024, 1024, 938),
            (1024, 10 * 1024, 1024, 9938),
            (65_536, 131_072, 100, 1938),
            (1_000_000_000, 1_000_000_000, usize::MAX, 938),
            (4, 8, 100, 1750),
        ] {
            let took = time(rate, bytes, at_once) / 1_000_000;
            // Rounded down; the wheel's ticks come on top.
            assert!(
                (milliseconds..=milliseconds + milliseconds / 50 + 5).contains(&(took + 1)),
                "{rate}/s, {bytes}: {took} ms"
            );
        }
    }

    #[test]
    fn a_pause_earns_no_more_than_a_second() {
        let reactor = Reactor::simulated(1, PoolSize { count: 2, size: 1024 });
        let inner = reactor.clone();
        let (first, after_pause) = reactor.block_on(async move {
            let mut pace = Pace::new(&inner, 1600);
            let first = pace.poll_allowance(inner.now());
            (first, pace.poll_allowance(inner.now() + 60 * SECOND))
        });
        assert_eq!((first, after_pause), (Poll::Ready(100), Poll::Ready(1600)));
    }
}
