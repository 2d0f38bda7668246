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

/// Looks at a peer now and then.
#[derive(Clone, Copy, Debug, Default)]
pub struct Stall {
    /// What was taken, and when that was first seen.
    seen: Option<(u64, Nanos)>,
}

impl Stall {
    pub fn look(&mut self, delivery: Delivery, now: Nanos) -> Taking {
        if !delivery.waits {
            self.seen = None;
            return Taking::All;
        }
        match self.seen {
            Some((taken, since)) if taken == delivery.taken => Taking::NothingSince(since),
            _ => {
                self.seen = Some((delivery.taken, now));
                Taking::Some
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
