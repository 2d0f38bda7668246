//! Whether a peer takes what is sent to it: by what it has acknowledged, not by the room that the kernel had.

use crate::base::clock::Nanos;

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

/// Looks at a peer now and then, while it takes what was said after some byte.
///
/// A program that reads slowly out of a receive buffer lets its kernel acknowledge in bursts: the buffer is full, and nothing is
/// acknowledged until most of it has been read. A small buffer shows in the size of the bursts, so such a peer has as much more
/// time as the largest one is longer than [`BURST`]. Behind a large buffer slow readers and those that read nothing look the
/// same for minutes, and get no such time.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stall {
    /// Bytes that were taken at the last look, of them since the look before.
    taken: u64,
    more: u64,
    /// The most that was taken between a look and the last but one before it.
    burst: u64,
    /// When the last byte taken was first seen.
    since: Option<Nanos>,
}

/// What a reader at 100 B/s, less what clocks and readers are out by, takes in 60 s, the patience that there is by default: it
/// is never cut. Half the patience asks for twice the rate.
const BURST: u64 = 80 * 60;
/// The largest burst of a small buffer.
const SMALL: u64 = 16 << 10;

impl Stall {
    /// Of the bytes behind the first `said` ones.
    pub fn behind(said: u64) -> Self {
        Self { taken: said, ..Self::default() }
    }

    pub fn look(&mut self, delivery: Delivery, now: Nanos) -> Taking {
        let last = match delivery.taken.checked_sub(self.taken) {
            Some(more) => std::mem::replace(&mut self.more, more),
            // Something said before is still on its way, and no burst of that was seen.
            None => SMALL,
        };
        self.burst = self.burst.max(last + self.more);
        let has_taken = std::mem::replace(&mut self.taken, delivery.taken) != delivery.taken;
        if !delivery.waits {
            self.since = None;
            return Taking::All;
        }
        match self.since {
            Some(since) if !has_taken => Taking::NothingSince(since),
            _ => {
                self.since = Some(now);
                Taking::Some
            }
        }
    }

    /// How long the peer may take nothing, if `patience` is how long one may that has no small buffer.
    pub fn patience(&self, patience: Nanos) -> Nanos {
        if self.burst <= SMALL { patience.max(patience / BURST * self.burst) } else { patience }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Nanos = 1_000_000_000;

    #[test]
    fn a_peer_stalls_from_the_first_look_that_finds_nothing_new() {
        let mut stall = Stall::default();
        let mut look = |taken, waits, now| stall.look(Delivery { taken, waits }, now);
        assert_eq!(look(0, true, 10), Taking::Some);
        assert_eq!(look(0, true, 20), Taking::NothingSince(10));
        assert_eq!(look(1, true, 30), Taking::Some);
        assert_eq!(look(1, true, 90), Taking::NothingSince(30));
        assert_eq!(look(1, false, 100), Taking::All);
        assert_eq!(look(1, true, 110), Taking::Some, "there is something to take again");
    }

    /// Looks each 10 s at a peer that has `taken` bytes more each time.
    fn patience(said: u64, taken: &[u64]) -> Nanos {
        let mut stall = Stall::behind(said);
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
        assert_eq!(patience(0, &[4096, 2048, 0, 0, 4096]), 76, "what is taken while a look passes is one burst");
        assert_eq!(patience(0, &[8192, 0, 0, 0, 0, 100]), 102, "the largest one counts");
        assert_eq!(patience(0, &[16_384]), 204, "80 B/s");
        assert_eq!(patience(0, &[16_385]), 60, "a large buffer");
        assert_eq!(patience(0, &[100_000, 0, 0, 10]), 60);
        assert_eq!(patience(1 << 20, &[(1 << 20) + 6400, 0]), 80, "what was said before does not count");
        assert_eq!(patience(1 << 20, &[1 << 19, 10]), 204, "unless it is on its way: its bursts are unknown");
    }
}
