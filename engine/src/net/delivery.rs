//! Whether a peer takes what is sent to it: by what it has acknowledged, not by the room that the kernel had.

use crate::base::clock::Nanos;
use std::cell::{Cell, RefCell};

/// How far the bytes of a stream came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivery {
    /// Bytes that the peer has taken; only differences mean something.
    pub taken: u64,
    /// There are bytes that it has not taken.
    pub waits: bool,
}

/// What a look at a peer finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    /// All that was sent.
    All,
    /// Something, since the last look.
    Some,
    /// Nothing since this moment, though there is something to take.
    NothingSince(Nanos),
}

/// Looks at a peer now and then, as long as its connection lasts.
///
/// A program that reads slowly out of a receive buffer lets its kernel acknowledge in bursts: the buffer is full, and nothing is
/// acknowledged until most of it has been read. A small buffer shows in the size of the bursts. Such a peer has as much more
/// time as it needs for what it may hold, if it reads at the lowest rate that is allowed. Behind a large buffer slow readers and
/// those that read nothing look the same for minutes, and get no such time.
#[derive(Debug, Default)]
pub struct Stall {
    /// Bytes that were taken at the last look.
    taken: Cell<u64>,
    /// Boxed: most connections are never looked at.
    seen: RefCell<Option<Box<Seen>>>,
}

/// What looks have found.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    at: Nanos,
    /// Taken between the last look and the one before it.
    more: u64,
    /// The most that was taken between a look and the last but one before it.
    burst: u64,
    /// What a reader at the lowest rate has not read yet.
    held: u64,
    /// When the last byte taken was first seen, and what was held then.
    since: Option<Nanos>,
    at_stall: u64,
}

/// The patience for which a reader at 100 B/s, less what clocks and readers are out by, is never cut: the default. Half the
/// patience asks for twice the rate.
const RATE: u64 = 80;
const PATIENCE: u64 = 60;
/// The largest burst of a small buffer, and what it holds at most.
const SMALL: u64 = 16 << 10;
/// A kernel may let a buffer fill up in as many bursts.
const BURSTS: u64 = 3;
const SECOND: Nanos = 1_000_000_000;

impl Stall {
    /// A message begins, behind the `said` bytes before it. If some of those are on their way, what is known of the peer stays.
    #[inline]
    pub fn begin(&self, said: u64) {
        let mut seen = self.seen.borrow_mut();
        if seen.as_ref().is_none_or(|seen| seen.since.is_none()) {
            self.taken.set(said);
            *seen = None;
        }
    }

    pub fn look(&self, delivery: Delivery, now: Nanos) -> Taking {
        let before = self.taken.replace(delivery.taken);
        let mut seen = self.seen.borrow_mut();
        let seen = seen.get_or_insert_with(|| Box::new(Seen { at: now, ..Seen::default() }));
        let Seen { at, more: last, mut burst, mut held, mut since, mut at_stall } = **seen;
        let more = delivery.taken.saturating_sub(before);
        held = held.saturating_sub((now - at) / SECOND * RATE) + more;
        burst = burst.max(last + more);
        if delivery.taken < before {
            // Something said before is still on its way, and no burst of that was seen.
            (held, burst) = (SMALL, SMALL);
        }
        let taking = match since {
            _ if !delivery.waits => {
                since = None;
                Taking::All
            }
            Some(since) if delivery.taken == before => Taking::NothingSince(since),
            _ => {
                (since, at_stall) = (Some(now), held);
                Taking::Some
            }
        };
        **seen = Seen { at: now, more, burst, held, since, at_stall };
        taking
    }

    /// How long the peer may take nothing, if `patience` is how long one may that has no small buffer.
    pub fn patience(&self, patience: Nanos) -> Nanos {
        let Seen { burst, at_stall, .. } = self.seen.borrow().as_deref().copied().unwrap_or_default();
        if burst > SMALL {
            return patience;
        }
        let held = at_stall.min(BURSTS * burst).min(SMALL);
        patience.max(patience / (PATIENCE * RATE) * held)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_stalls_from_the_first_look_that_finds_nothing_new() {
        let stall = Stall::default();
        let look = |taken, waits, now| stall.look(Delivery { taken, waits }, now);
        assert_eq!(look(0, true, 10), Taking::Some);
        assert_eq!(look(0, true, 20), Taking::NothingSince(10));
        assert_eq!(look(1, true, 30), Taking::Some);
        assert_eq!(look(1, true, 90), Taking::NothingSince(30));
        assert_eq!(look(1, false, 100), Taking::All);
        assert_eq!(look(1, true, 110), Taking::Some, "there is something to take again");
    }

    /// Looks each 10 s at a peer that takes these numbers of bytes between them.
    fn patience(said: u64, taken: &[u64]) -> Nanos {
        let stall = Stall::default();
        stall.begin(said);
        let mut sum = 0;
        for (n, more) in taken.iter().enumerate() {
            sum += more;
            stall.look(Delivery { taken: sum, waits: true }, 10 * SECOND * n as u64);
        }
        stall.patience(60 * SECOND) / SECOND
    }

    #[test]
    fn a_small_receive_buffer_has_the_time_that_a_slow_reader_needs_for_it() {
        assert_eq!(patience(0, &[4096, 0, 0]), 60, "4096 bytes take 51 s");
        assert_eq!(patience(0, &[6400, 0, 0]), 80);
        // As Linux does with SO_RCVBUF = 4096: 8192 bytes in two steps, of which 1600 have been read then.
        assert_eq!(patience(0, &[4096, 0, 4096, 0, 0]), 82);
        // With 6144: three steps, and then nothing for 93 s.
        assert_eq!(patience(0, &[6144, 0, 0, 3072, 0, 0, 6144, 0, 0]), 132);
        assert_eq!(
            patience(0, &[100, 1500, 1500, 1500, 1500, 1500, 1500]),
            62,
            "faster, with a buffer of 3000 or less"
        );
        assert_eq!(patience(0, &[16_384]), 204, "80 B/s");
        assert_eq!(patience(0, &[16_385]), 60, "a large buffer");
        assert_eq!(patience(0, &[100_000, 0, 0, 10]), 60);
        assert_eq!(patience(1 << 20, &[(1 << 20) + 6400, 0]), 80, "what was said before does not count");
        assert_eq!(patience(1 << 20, &[1 << 19, 10]), 194, "unless it is on its way: its bursts are unknown");
    }

    #[test]
    fn what_is_known_of_a_peer_outlives_a_message_that_it_has_not_taken() {
        let stall = Stall::default();
        stall.look(Delivery { taken: 8192, waits: true }, 0);
        stall.begin(9000);
        assert_eq!(stall.patience(60 * SECOND) / SECOND, 102);
        stall.look(Delivery { taken: 9000, waits: false }, SECOND);
        stall.begin(9000);
        stall.look(Delivery { taken: 9100, waits: true }, 2 * SECOND);
        assert_eq!(stall.patience(60 * SECOND) / SECOND, 60);
    }
}
